//! Provider, lens and Bridge on the client chain.
//!
//! Everything is read at one block, pinned by its hash. Nothing that a contract or a node answers is trusted beyond its type: lengths are
//! checked before anything is allocated, a lens must answer exactly the tasks that were asked for, and the lens must read this provider.
//! Without a lens, tasks are read from the provider itself, one call each.

mod abi;
mod decode;
mod error;
mod events;
mod reader;

use alloy_primitives::Bytes;
use alloy_sol_types::{SolCall, SolValue};
use windlass_contracts::vrf::VRFProviderV2;

pub use abi::AbiFault;
pub use decode::TaskFault;
pub use error::{ReadError, RelayRefusal};
pub use events::{EVENTS, ProviderEvent, Requested, decode_log, decode_requested, filter};
pub use reader::{ProviderReader, Settings};

pub use crate::protocol::verify::{BlockDetail, BridgeState};

/// Calldata of `relayProof(proof, nonce)`, which is the same for both versions.
pub fn relay_call(proof: &[u8], nonce: u64) -> Bytes {
    call(VRFProviderV2::relayProofCall::SELECTOR, &(Bytes::copy_from_slice(proof), nonce).abi_encode_params())
}

/// Calldata of `requestRandomData(client_seed)`, which is the same for both versions. The client seed need not be text.
pub fn request_call(client_seed: &[u8]) -> Bytes {
    call(VRFProviderV2::requestRandomDataCall::SELECTOR, &(Bytes::copy_from_slice(client_seed),).abi_encode_params())
}

fn call(selector: [u8; 4], arguments: &[u8]) -> Bytes {
    [&selector, arguments].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_those_of_the_bindings() {
        let request = VRFProviderV2::requestRandomDataCall { clientSeed: "mumu1".into() };
        assert_eq!(request_call(b"mumu1"), request.abi_encode());
        let relay = VRFProviderV2::relayProofCall { proof: Bytes::from_static(&[7; 40]), nonce: 9 };
        assert_eq!(relay_call(&[7; 40], 9), relay.abi_encode());
    }
}
