//! Where the contract keeps its state. For storage proofs, reads pinned to a block, and tests.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolValue;

/// Slot of the mapping from keyper to balance; see [`balance_slot`] for its entries.
pub const BALANCES: u64 = 0;
/// Slot of `totalPaid`.
pub const TOTAL_PAID: u64 = 1;
/// Slot of `startTimestamp`.
pub const START_TIMESTAMP: u64 = 2;
/// Slot of the length of the keyper list; see [`keyper_slot`] for its elements.
pub const KEYPERS: u64 = 3;
/// Slot of `sptTokenAddress`, in the low 20 bytes.
pub const TOKEN: u64 = 4;
/// Slot of `requestedRate`.
pub const REQUESTED_RATE: u64 = 5;

/// Slot of one of the fixed variables as a 32-byte key.
pub fn slot(number: u64) -> B256 {
    U256::from(number).into()
}

/// Slot of the balance of `keyper`: `keccak256(pad32(keyper) ‖ pad32(0))`.
pub fn balance_slot(keyper: Address) -> B256 {
    keccak256((keyper, U256::from(BALANCES)).abi_encode())
}

/// Slot of entry `index` of the keyper list: `keccak256(pad32(3)) + index`.
pub fn keyper_slot(index: u64) -> B256 {
    let first = U256::from_be_bytes(keccak256(slot(KEYPERS)).0);
    first.wrapping_add(U256::from(index)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{address, b256};

    #[test]
    fn balance_slot_of_a_known_address() {
        assert_eq!(
            balance_slot(address!("90F79bf6EB2c4f870365E785982E1f101E93b906")),
            b256!("6d1035fce6503985ab075a4ff3f7ce2e57cd5a9c5e6a0589dccacfea7bcb0af4")
        );
    }

    /// The well-known position of the first element of an array in slot 3.
    #[test]
    fn keyper_slots_follow_each_other() {
        assert_eq!(keyper_slot(0), b256!("c2575a0e9e593c00f959f8c92f12db2869c3395a3b0502d05e2516446f71f85b"));
        assert_eq!(keyper_slot(1), b256!("c2575a0e9e593c00f959f8c92f12db2869c3395a3b0502d05e2516446f71f85c"));
    }
}
