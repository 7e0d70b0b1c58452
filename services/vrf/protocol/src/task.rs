//! A task of the provider: one request for a random number on the client chain.

use alloy_primitives::{Address, B256, Bytes, U256};
use serde::{Deserialize, Serialize};

/// Which generation of the provider contract serves the tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderVersion {
    /// Relays blocks through the Bridge's state, asks for its own ask and minimum count, stores proof and result bytes.
    V1,
    /// Verifies without state and stores 32 bytes.
    V2,
}

impl std::fmt::Display for ProviderVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

/// A task as the provider stores it. An unknown nonce gives one whose caller is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its number.
    pub nonce: u64,
    /// Whether it has its random number.
    pub is_resolved: bool,
    /// Unix seconds of the block that holds the request.
    pub time: u64,
    /// Who asked, and is called back if it is a contract.
    pub caller: Address,
    /// What resolving it pays, in wei.
    pub task_fee: U256,
    /// See [`crate::seed::seed`].
    pub seed: B256,
    /// Free bytes of the caller.
    pub client_seed: Bytes,
    /// Proof bytes of the VRF script; V1 only, empty until it is resolved.
    pub proof: Bytes,
    /// The random number: in V1 the script's bytes, empty until it is resolved; in V2 always 32 bytes.
    pub result: Bytes,
}

impl Task {
    /// Whether there is such a task at all.
    pub fn exists(&self) -> bool {
        !self.caller.is_zero()
    }
}

/// What the provider compares a result with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProviderSettings {
    /// The oracle script that must have run.
    pub oracle_script_id: u64,
    /// V1: the minimum count that the request must have had.
    pub min_count: u8,
    /// V1: the ask count that the request must have had.
    pub ask_count: u8,
}
