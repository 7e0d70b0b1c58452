//! The seed of a task.

use alloy_primitives::{Address, B256, U256, keccak256};

use crate::solidity::Writer;

/// The seed that the provider computes: `keccak256(abi.encode(time, caller, blockHash, chainID, nonce, clientSeed))`.
///
/// `block_hash` is that of the block before the request's, so a reorganisation changes the seed. The client seed is a
/// Solidity string, which is any bytes.
pub fn seed(time: u64, caller: Address, block_hash: B256, chain_id: U256, nonce: U256, client_seed: &[u8]) -> B256 {
    let mut out = Writer::with_capacity(7 * 32 + client_seed.len().next_multiple_of(32));
    out.uint(time);
    out.hash(&caller.into_word());
    out.hash(&block_hash);
    out.number(chain_id);
    out.number(nonce);
    out.size(6 * 32);
    out.bytes(client_seed);
    keccak256(out.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_sol_types::SolValue;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_encoding_is_solidity_abi(time: u64, nonce: u64, client_seed in ".{0,80}") {
            let (caller, hash, chain) = (Address::repeat_byte(7), B256::repeat_byte(8), U256::MAX);
            let encoded = (time, caller, hash, chain, U256::from(nonce), client_seed.clone()).abi_encode_params();
            prop_assert_eq!(seed(time, caller, hash, chain, U256::from(nonce), client_seed.as_bytes()), keccak256(encoded));
        }
    }

    #[test]
    fn client_seeds_need_not_be_text() {
        let of = |client_seed: &[u8]| seed(1, Address::ZERO, B256::ZERO, U256::from(1), U256::ZERO, client_seed);
        assert_ne!(of(&[0xff, 0xfe]), of("\u{fffd}\u{fffd}".as_bytes()));
    }
}
