//! BandChain as the relay sees it: one trait, and its clients over gRPC, REST and CometBFT RPC.

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
