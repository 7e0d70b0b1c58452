//! How a contract of the client chain refuses a call.

use std::fmt;

/// How a call ends that does not succeed. The reason is exactly the one the contract gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// `revert(reason)`: one of [`reason`]'s texts.
    Revert(&'static str),
    /// A `Panic(uint256)` of the language: 0x11 arithmetic, 0x41 too much memory.
    Panic(u8),
    /// Reverts without data: the ABI decoder met malformed bytes.
    Empty,
}

impl Refusal {
    /// Arithmetic over- or underflow. The contracts' varint cannot encode zero and ends in this.
    pub const ARITHMETIC: Self = Self::Panic(0x11);
    /// A claimed length for which no memory can be had.
    pub const MEMORY: Self = Self::Panic(0x41);

    /// The revert data of the call.
    pub fn data(&self) -> Vec<u8> {
        match self {
            Self::Revert(text) => error_string(text),
            Self::Panic(code) => {
                let mut data = vec![0x4e, 0x48, 0x7b, 0x71];
                data.resize(4 + 31, 0);
                data.push(*code);
                data
            }
            Self::Empty => Vec::new(),
        }
    }

    /// The text of a `revert(reason)`.
    pub fn text(&self) -> Option<&'static str> {
        match self {
            Self::Revert(text) => Some(text),
            _ => None,
        }
    }
}

/// `Error(string)` in Solidity ABI.
fn error_string(text: &str) -> Vec<u8> {
    let padded = text.len().div_ceil(32) * 32;
    let mut data = Vec::with_capacity(68 + padded);
    data.extend_from_slice(&[0x08, 0xc3, 0x79, 0xa0]);
    for word in [32, text.len()] {
        data.resize(data.len() + 24, 0);
        data.extend_from_slice(&(word as u64).to_be_bytes());
    }
    data.extend_from_slice(text.as_bytes());
    data.resize(68 + padded, 0);
    data
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revert(text) => f.write_str(text),
            Self::Panic(code) => write!(f, "Panic({code:#04x})"),
            Self::Empty => f.write_str("malformed ABI encoding (reverts without data)"),
        }
    }
}

impl std::error::Error for Refusal {}

/// The texts that the contracts revert with.
pub mod reason {
    /// A relayed signature does not follow the previous one, or nobody can be recovered from it.
    pub const SIGNER_ORDER: &str = "INVALID_SIGNATURE_SIGNER_ORDER";
    /// The signers known to the Bridge hold no more than two thirds of its total power.
    pub const INSUFFICIENT_SIGNATURES: &str = "INSUFFICIENT_VALIDATOR_SIGNATURES";
    /// The path does not lead from the result to the root.
    pub const DATA_PROOF: &str = "INVALID_ORACLE_DATA_PROOF";
    /// No block of this height was relayed.
    pub const NO_STATE: &str = "NO_ORACLE_ROOT_STATE_DATA";
    /// `relayBlock` failed inside `relayAndVerify`.
    pub const RELAY_BLOCK_FAILED: &str = "RELAY_BLOCK_FAILED";
    /// `verifyOracleData` failed inside `relayAndVerify`.
    pub const VERIFY_DATA_FAILED: &str = "VERIFY_ORACLE_DATA_FAILED";
    /// `verifyRequestsCount` failed inside `relayAndVerifyCount`.
    pub const VERIFY_COUNT_FAILED: &str = "VERIFY_REQUESTS_COUNT_FAILED";
    /// The part of the vote before the block hash has neither 15 nor 24 bytes.
    pub const PREFIX_SIZE: &str = "CommonEncodedVotePart: Invalid prefix's size";
    /// The part of the vote after the block hash has not 38 bytes.
    pub const SUFFIX_SIZE: &str = "CommonEncodedVotePart: Invalid suffix's size";
    /// A vote's timestamp has less than 6 or more than 12 bytes.
    pub const TIMESTAMP_SIZE: &str = "TMSignature: Invalid timestamp's size";
    /// Two equal addresses at initialization.
    pub const DUPLICATE_VALIDATOR: &str = "DUPLICATION_IN_INITIAL_VALIDATOR_SET";
    /// The total after an update is not the announced one.
    pub const TOTAL_POWER: &str = "TOTAL_POWER_CHECKING_FAIL";
    /// OBI bytes end too early.
    pub const OBI_RANGE: &str = "Obi: Out of range";
    /// OBI bytes go on after their end.
    pub const OBI_NOT_FINISHED: &str = "DATA_DECODE_NOT_FINISHED";
    /// The seed in the calldata has not 32 bytes.
    pub const OBI_BYTES32: &str = "DATA_DECODE_INVALID_SIZE_FOR_BYTES32";
    /// The worker in the calldata has not 20 bytes.
    pub const OBI_ADDRESS: &str = "DATA_DECODE_INVALID_SIZE_FOR_ADDRESS";
    /// The nonce names no task.
    pub const TASK_NOT_FOUND: &str = "VRFProviderBase: Task not found";
    /// Somebody was faster.
    pub const TASK_RESOLVED: &str = "VRFProviderBase: Task already resolved";
    /// The result is of another oracle script.
    pub const ORACLE_SCRIPT: &str = "VRFProviderBase: Oracle Script ID not match";
    /// The request was made with another minimum count (V1).
    pub const MIN_COUNT: &str = "VRFProviderBase: Min Count not match";
    /// The request was made with another ask count (V1).
    pub const ASK_COUNT: &str = "VRFProviderBase: Ask Count not match";
    /// The request failed or expired.
    pub const NOT_RESOLVED: &str = "VRFProviderBase: Request not successfully resolved";
    /// The sender is not the worker of the request.
    pub const SENDER: &str = "VRFProviderBase: The sender must be the task worker";
    /// The request was made for another seed.
    pub const SEED: &str = "VRFProviderBase: Seed is mismatched";
    /// The request was made for another time.
    pub const TIME: &str = "VRFProviderBase: Time is mismatched";
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_sol_types::{Panic, Revert, SolError};

    #[test]
    fn data_are_those_of_the_language() {
        for text in ["", "x", reason::SIGNER_ORDER, reason::PREFIX_SIZE] {
            assert_eq!(Refusal::Revert(text).data(), Revert { reason: text.into() }.abi_encode());
        }
        assert_eq!(Refusal::ARITHMETIC.data(), Panic::from(0x11).abi_encode());
        assert_eq!(Refusal::MEMORY.data(), Panic::from(0x41).abi_encode());
        assert!(Refusal::Empty.data().is_empty());
    }
}
