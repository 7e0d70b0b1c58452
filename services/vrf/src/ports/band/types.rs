//! What BandChain's nodes tell, in the words of the relay.

use std::sync::Arc;

use alloy_primitives::{B256, Bytes};
use windlass_vrf_protocol::messages::oracle::ResolveStatus;
use windlass_vrf_protocol::messages::tx::Event;
use windlass_vrf_protocol::signature::Recovered;

/// An account as the next transaction needs it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct AccountState {
    /// Number that the chain gave the account when it first received coins.
    pub account_number: u64,
    /// Sequence of the next transaction: how many were included so far.
    pub sequence: u64,
}

/// A block of BandChain, as far as the relay looks at it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BandBlock {
    /// Chain id, for example `laozi-mainnet`.
    pub chain_id: String,
    /// Height.
    pub height: u64,
    /// Hash of the block.
    pub hash: B256,
    /// Time of the block, Unix milliseconds, cut to whole milliseconds.
    pub time_ms: i64,
}

/// How long the node keeps the caller waiting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum BroadcastMode {
    /// The node checks the transaction, takes it into its pool and answers.
    #[default]
    Sync,
    /// The node answers when the transaction stands in a block. Only chains before SDK 0.47 know it; others are asked in
    /// [`Sync`](Self::Sync) mode instead.
    Block,
    /// The node answers before it has looked at the transaction.
    Async,
}

/// The answer to a broadcast. A code other than zero is an answer, not an error: the node has looked at the transaction and refused it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BroadcastAnswer {
    /// Transaction hash, upper-case hexadecimal.
    pub hash: String,
    /// Zero: taken. Otherwise the reason, within `codespace`.
    pub code: u32,
    /// Module that the code belongs to, `sdk` for those of the framework.
    pub codespace: String,
    /// The reason in words.
    pub raw_log: String,
    /// The included transaction, if the node waited for it ([`BroadcastMode::Block`]).
    pub included: Option<TxInfo>,
}

impl BroadcastAnswer {
    /// Whether the node took the transaction, or had it already.
    pub fn is_taken(&self) -> bool {
        self.code == 0 || (self.codespace == "sdk" && self.code == 19)
    }
}

/// A transaction that stands in a block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TxInfo {
    /// Transaction hash, upper-case hexadecimal.
    pub hash: String,
    /// Height of its block.
    pub height: u64,
    /// Zero: executed. Otherwise it failed, its fee was taken all the same.
    pub code: u32,
    /// Module that the code belongs to.
    pub codespace: String,
    /// Chain v2: the events as JSON text. Chain v3: empty on success. On failure the reason.
    pub raw_log: String,
    /// Events in order. Empty on some nodes of chain v2, where they are in `raw_log` only.
    pub events: Vec<Event>,
    /// Gas limit of the transaction.
    pub gas_wanted: u64,
    /// Gas that it used.
    pub gas_used: u64,
}

/// Outcome of a simulated transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct GasInfo {
    /// Gas limit that the node simulated with.
    pub gas_wanted: u64,
    /// Gas that the transaction would use.
    pub gas_used: u64,
}

/// State of an oracle request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestState {
    /// Validators are still to report.
    Open,
    /// Resolved; the status is never [`ResolveStatus::Open`].
    Resolved(ResolveStatus),
}

/// A proof that a node served, or that was built from what it served. Not verified yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServedProof {
    /// Height of the block whose header and signatures are in the proof.
    pub block_height: u64,
    /// `abi.encode(bytes relay, bytes verify)`.
    pub evm_proof_bytes: Bytes,
    /// Signers that were recovered while it was built: they need not be recovered again.
    pub recovered: Arc<[Recovered]>,
}
