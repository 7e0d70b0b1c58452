//! BandChain as the relay sees it: one trait, [`BandApi`], and [`BandClient`], which puts its questions to nodes over gRPC, CometBFT RPC and
//! REST.
//!
//! # What each kind of endpoint offers
//!
//! | Question | gRPC | CometBFT RPC | REST | proof URL |
//! | --- | --- | --- | --- | --- |
//! | newest block, block hash, validators | 1st | 2nd | 3rd | |
//! | broadcast, transaction by hash or sequence | 1st | 2nd | 3rd | |
//! | transactions of a sender, with their signed bytes | 1st | 2nd | | |
//! | account, balance, simulation, state of a request, message type | 1st | 3rd, through a query of the application | 2nd | |
//! | Proof service | 1st | | 2nd | 3rd |
//! | requests resolved in a block, proof from the store itself | | only | | |
//!
//! gRPC alone serves everything but the last line; CometBFT RPC alone everything but the Proof service, which it makes unnecessary. A
//! question that no endpoint can answer is [`BandError::Unsupported`] and names the kind that could. A REST URL whose path ends with
//! `/proof` is the proof route itself, as public sites publish it.
//!
//! Old and new nodes are both understood: services of chain v2 (`oracle.v1`, `bandchain.v1.oracle`), accounts before SDK 0.47, events in
//! base64 (CometBFT 0.34), begin and end block events (up to 0.37) and those of `FinalizeBlock` (0.38), the block broadcast mode, which newer
//! nodes refuse and then get the transaction in sync mode. What a node does not know under the new name is asked under the old one, and
//! that is remembered.
//!
//! # Who is asked
//!
//! - An endpoint is used only after it has shown the right chain id. One of another chain is left alone for five minutes and then looked
//!   at again; if all are, that is [`BandError::WrongChain`]. Proof URLs cannot show it: their proofs name the chain in every signature.
//! - Working ones come first, then those that have the height in question, then by kind, then by speed, then as configured.
//! - After a failure (no connection, no answer in time, `UNAVAILABLE`, an answer that is none) an endpoint comes last for half a second,
//!   doubling up to a minute. One that asks for fewer requests (`RESOURCE_EXHAUSTED`, 429, `Retry-After`) is not asked at all until its
//!   time is over.
//! - One that is more than a few blocks behind is not asked about the newest state. Heights are learnt from the newest block, from a probe
//!   of all endpoints every few seconds, and from what answers mention in passing.
//! - "Not found" and "gone" go on to the next endpoint; "not yet" only to one that is further. A simulation that fails is an answer.
//!
//! # What is made of the answers
//!
//! - The newest block never goes back, unless the chain insists on it three times.
//! - The account can be asked of several independent hosts, which must agree ([`BandClientConfig::quorum`]), as must those that know an
//!   included transaction. That a transaction is unknown is believed of two, or of all that are in order if those are fewer.
//! - A transaction is handed to one endpoint, and to the next only where the first certainly did not take it: not reached, too many
//!   requests, refused without looking, pool full. Otherwise the error says [`BandError::outcome_unknown`]; handing out the same bytes
//!   again is always safe, [`BandApi::broadcast_all`] does it at once. A refusal with a code is an answer.
//! - Answers are checked as far as they can be without the Bridge: the account, the transaction hash and the request are those asked for,
//!   signed bytes have the hash, a proof can be decoded. What is proven is decided by `protocol::verify`.
//! - A proof from CometBFT RPC is header and votes of a block, fetched once for all its requests, and the store proof of the block before. The
//!   newest block can be used: its votes are those that the node saw, and are fetched again once the next block carries the rest. Only
//!   votes for the block count, in the order of the signers' EVM addresses.
//!
//! Errors name host and method, never a URL. Requests are counted per method in the metrics and in [`BandClient::counts`].

mod convert;
mod error;
mod grpc;
mod http;
mod json;
pub mod meter;
mod node;
mod pool;
mod rest;
mod rpc;
mod rpc_json;
mod site;
#[cfg(test)]
mod tests;
mod types;

use alloy_primitives::{Address, B256, Bytes};
use async_trait::async_trait;
use windlass_node::EndpointView;
use windlass_vrf_protocol::tx::MessageType;

pub use error::BandError;
pub use meter::{Method, RequestCounts};
pub use pool::{BandClient, BandClientConfig};
pub use types::{AccountState, BandBlock, BroadcastAnswer, BroadcastMode, GasInfo, RequestState, ServedProof, TxInfo};
pub use windlass_vrf_protocol::messages::oracle::ResolveStatus;
pub use windlass_vrf_protocol::messages::tx::{Event, EventAttribute};

/// BandChain, whoever answers. Every method is one question; fail-over, time limits and checks of the chain id are the
/// implementation's. Nothing here is verified: proofs are checked by who uses them.
#[async_trait]
pub trait BandApi: Send + Sync + 'static {
    /// Number and sequence of an account.
    ///
    /// # Errors
    /// [`BandError::NotFound`] if the account never received coins.
    async fn account(&self, address: &str) -> Result<AccountState, BandError>;

    /// How much of `denom` the account holds; zero for an unknown account.
    ///
    /// # Errors
    /// As every question: see [`BandError`].
    async fn balance(&self, address: &str, denom: &str) -> Result<u128, BandError>;

    /// The newest block.
    ///
    /// # Errors
    /// As every question: see [`BandError`].
    async fn latest_block(&self) -> Result<BandBlock, BandError>;

    /// Hash of the block of this height.
    ///
    /// # Errors
    /// [`BandError::NotFound`] above the newest block, [`BandError::Pruned`] below the oldest.
    async fn block_hash(&self, height: u64) -> Result<B256, BandError>;

    /// Hands a signed transaction to one node, and to the next only if the first certainly did not take it. A refusal is an answer
    /// with a code.
    ///
    /// # Errors
    /// See [`BandError::outcome_unknown`]: whether some node may have it all the same.
    async fn broadcast(&self, tx: &[u8], mode: BroadcastMode) -> Result<BroadcastAnswer, BandError>;

    /// Hands the same bytes to every node; the first acceptance is the answer, otherwise the most telling refusal. Safe at any time: the
    /// bytes have one hash and one sequence.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    async fn broadcast_all(&self, tx: &[u8]) -> Result<BroadcastAnswer, BandError> {
        self.broadcast(tx, BroadcastMode::Sync).await
    }

    /// The included transaction with this hash (upper-case hexadecimal). `None` if enough nodes say that they do not know it.
    ///
    /// # Errors
    /// As every question: see [`BandError`].
    async fn transaction(&self, hash: &str) -> Result<Option<TxInfo>, BandError>;

    /// The transaction that used this sequence (event `tx.acc_seq` = `address/sequence`): positive evidence that the sequence is gone, and
    /// whether it was somebody else who has the same key.
    ///
    /// # Errors
    /// As every question: see [`BandError`].
    async fn transaction_at_sequence(&self, address: &str, sequence: u64) -> Result<Option<TxInfo>, BandError>;

    /// Included transactions of the sender, newest first, at most `limit`: what happened and the signed bytes. With them, requests that were
    /// paid for are found again after the database was lost.
    ///
    /// # Errors
    /// As every question: see [`BandError`].
    async fn transactions_of(&self, address: &str, limit: u32) -> Result<Vec<(TxInfo, Bytes)>, BandError>;

    /// What the transaction would use.
    ///
    /// # Errors
    /// [`BandError::Refused`] with the node's reason if it would fail.
    async fn simulate(&self, tx: &[u8]) -> Result<GasInfo, BandError>;

    /// Requests that were resolved in this block.
    ///
    /// # Errors
    /// [`BandError::Unsupported`] without a CometBFT endpoint.
    async fn resolved_in(&self, height: u64) -> Result<Vec<(u64, ResolveStatus)>, BandError>;

    /// Which message asks for a value on this chain. Nodes know the oracle module under the one name or the other.
    ///
    /// # Errors
    /// As every question: see [`BandError`].
    async fn message_type(&self) -> Result<MessageType, BandError> {
        Ok(MessageType::V3)
    }

    /// State of one request.
    ///
    /// # Errors
    /// [`BandError::NotFound`] if there is no such request.
    async fn request(&self, id: u64) -> Result<RequestState, BandError>;

    /// A proof from the node's Proof service. `height` is that of the header in the proof; `None`: the newest possible.
    ///
    /// # Errors
    /// [`BandError::NotReady`] while the request is not resolved or the block not canonical, [`BandError::Pruned`] for a height whose
    /// state is gone.
    async fn proof(&self, id: u64, height: Option<u64>) -> Result<ServedProof, BandError>;

    /// A proof built from CometBFT RPC: the commit of `height`, which may be the newest block, and the store proof at `height - 1`.
    ///
    /// # Errors
    /// As [`proof`](Self::proof); [`BandError::Unsupported`] without a CometBFT endpoint.
    async fn raw_proof(&self, id: u64, height: u64) -> Result<ServedProof, BandError>;

    /// Live validators: EVM address of the consensus key, and voting power.
    ///
    /// # Errors
    /// As every question: see [`BandError`].
    async fn validators(&self) -> Result<Vec<(Address, u64)>, BandError>;

    /// Health of every endpoint.
    fn status(&self) -> Vec<EndpointView>;
}
