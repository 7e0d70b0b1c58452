//! Contracts of the scripted chain: functions of the call and of the address's slots.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, Log, LogData, U256};

/// A call to a registered address, from a transaction, `eth_call` or `eth_estimateGas`.
#[derive(Debug)]
pub struct CallContext<'a> {
    /// The caller.
    pub from: Address,
    /// The registered address.
    pub to: Address,
    /// Value in wei.
    pub value: U256,
    /// Call data.
    pub input: &'a Bytes,
    /// Number of the block in which the call runs.
    pub block_number: u64,
    /// Timestamp of that block, seconds.
    pub timestamp: u64,
    /// The slots of the address. Changes are kept if a transaction called and did not revert; they follow reorganisations.
    pub storage: &'a mut BTreeMap<B256, B256>,
    /// Gas that the call uses beyond the intrinsic gas. Handlers may raise it.
    pub gas: u64,
    pub(crate) logs: Vec<Log>,
}

impl CallContext<'_> {
    /// Emits a log of the called address. More than four topics are not a log and are cut.
    pub fn emit(&mut self, mut topics: Vec<B256>, data: Bytes) {
        topics.truncate(4);
        self.logs.push(Log { address: self.to, data: LogData::new_unchecked(topics, data) });
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// Returned data.
    Return(Bytes),
    /// Reverted with data.
    Revert(Bytes),
}

/// Answers calls to an address. It must depend on nothing but the context, or a seed would not reproduce.
pub type Handler = Arc<dyn Fn(&mut CallContext<'_>) -> CallOutcome + Send + Sync>;

/// ABI encoding of `Error(string)`, the revert data of `require(false, reason)`.
pub fn revert_with(reason: &str) -> CallOutcome {
    let mut data = vec![0x08, 0xc3, 0x79, 0xa0];
    data.extend_from_slice(&U256::from(32).to_be_bytes::<32>());
    data.extend_from_slice(&U256::from(reason.len()).to_be_bytes::<32>());
    data.extend_from_slice(reason.as_bytes());
    let padding = (32 - reason.len() % 32) % 32;
    data.extend(std::iter::repeat_n(0, padding));
    CallOutcome::Revert(data.into())
}
