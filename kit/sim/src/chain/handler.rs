//! Contracts of the scripted chain: functions of the call and of the address's slots.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, Log, LogData, U256};

use super::block::State;

/// Calls within calls; more are refused, as the chain would run out of gas.
const DEEPEST: usize = 16;

/// The slots of an address. Clones share them until one of them is changed, since every block has its own state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage(Arc<BTreeMap<B256, B256>>);

impl Deref for Storage {
    type Target = BTreeMap<B256, B256>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Storage {
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(&mut self.0)
    }
}

/// A call to a registered address, from a transaction, `eth_call`, `eth_estimateGas` or another registered address.
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
    /// Hash of the block before it.
    pub parent_hash: B256,
    /// Chain id.
    pub chain_id: u64,
    /// The slots of the address. Changes are kept if a transaction called and did not revert; they follow reorganisations.
    pub storage: &'a mut Storage,
    /// Gas that the call uses beyond the intrinsic gas. Handlers may raise it.
    pub gas: u64,
    logs: Vec<Log>,
    state: &'a mut State,
    handlers: &'a BTreeMap<Address, Handler>,
    depth: usize,
}

impl fmt::Debug for CallContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallContext")
            .field("from", &self.from)
            .field("to", &self.to)
            .field("value", &self.value)
            .field("input", &self.input)
            .field("block_number", &self.block_number)
            .finish_non_exhaustive()
    }
}

impl CallContext<'_> {
    /// Calls another registered address, as a contract does: its changes and logs are kept unless it reverts. `value` is told to it and
    /// not moved. An address without a handler returns nothing.
    pub fn call(&mut self, to: Address, value: U256, input: &Bytes) -> CallOutcome {
        if self.depth >= DEEPEST {
            return revert_with("too many calls within calls");
        }
        let place = Place {
            block_number: self.block_number,
            timestamp: self.timestamp,
            parent_hash: self.parent_hash,
            chain_id: self.chain_id,
            depth: self.depth + 1,
        };
        let call = Call { from: self.to, to, value, input };
        // Whoever calls back sees what was written so far.
        self.state.entry(self.to).or_default().storage = self.storage.clone();
        let ran = run(place, &call, self.state, self.handlers);
        *self.storage = self.state.entry(self.to).or_default().storage.clone();
        self.gas = self.gas.saturating_add(ran.gas);
        self.logs.extend(ran.logs);
        ran.outcome
    }

    /// Whether calls to this address do anything.
    pub fn is_contract(&self, address: Address) -> bool {
        self.handlers.contains_key(&address)
    }

    /// Emits a log of the called address. More than four topics are not a log and are cut.
    pub fn emit(&mut self, mut topics: Vec<B256>, data: Bytes) {
        topics.truncate(4);
        self.logs.push(Log { address: self.to, data: LogData::new_unchecked(topics, data) });
    }
}

/// Where a call runs.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) block_number: u64,
    pub(super) timestamp: u64,
    pub(super) parent_hash: B256,
    pub(super) chain_id: u64,
    pub(super) depth: usize,
}

/// Who calls whom, and with what.
pub(super) struct Call<'a> {
    pub(super) from: Address,
    pub(super) to: Address,
    pub(super) value: U256,
    pub(super) input: &'a Bytes,
}

/// What a call did.
pub(super) struct Ran {
    pub(super) outcome: CallOutcome,
    pub(super) gas: u64,
    pub(super) logs: Vec<Log>,
}

/// Runs the handler of the called address on `state`, which stays as it was if it reverts.
pub(super) fn run(place: Place, call: &Call<'_>, state: &mut State, handlers: &BTreeMap<Address, Handler>) -> Ran {
    let Some(handler) = handlers.get(&call.to) else {
        return Ran { outcome: CallOutcome::Return(Bytes::new()), gas: 0, logs: Vec::new() };
    };
    let before = state.clone();
    let mut storage = state.entry(call.to).or_default().storage.clone();
    let mut context = CallContext {
        from: call.from,
        to: call.to,
        value: call.value,
        input: call.input,
        block_number: place.block_number,
        timestamp: place.timestamp,
        parent_hash: place.parent_hash,
        chain_id: place.chain_id,
        storage: &mut storage,
        gas: 0,
        logs: Vec::new(),
        state: &mut *state,
        handlers,
        depth: place.depth,
    };
    let outcome = handler(&mut context);
    let (gas, logs) = (context.gas, context.logs);
    match outcome {
        CallOutcome::Return(_) => {
            state.entry(call.to).or_default().storage = storage;
            Ran { outcome, gas, logs }
        }
        CallOutcome::Revert(_) => {
            *state = before;
            Ran { outcome, gas, logs: Vec::new() }
        }
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
