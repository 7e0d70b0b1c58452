//! One node behind one endpoint.

use alloy_primitives::{B256, Bytes};
use async_trait::async_trait;
use windlass_chain::Redactor;
use windlass_vrf_protocol::messages::tendermint::{Commit, Header, ProofOps, Validator};
use windlass_vrf_protocol::tx::MessageType;

use super::ResolveStatus;
use super::error::BandError;
use super::meter::Method;
use super::site::Site;
use super::types::{AccountState, BandBlock, BroadcastAnswer, BroadcastMode, GasInfo, RequestState, ServedProof, TxInfo};

/// The way in which an endpoint is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Grpc,
    Rpc,
    Rest,
    /// The proof route alone, as a public site publishes it.
    ProofUrl,
}

impl Kind {
    /// For operators.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "gRPC",
            Self::Rpc => "CometBFT RPC",
            Self::Rest => "REST",
            Self::ProofUrl => "proof URL",
        }
    }

    /// Whether the endpoint answers this, and whether others are better at it: the lowest number is asked first.
    pub(super) const fn rank(self, method: Method) -> Option<u8> {
        match (self, method) {
            (Self::Rpc, Method::BlockResults | Method::Commit | Method::StoreProof) => Some(0),
            (_, Method::BlockResults | Method::Commit | Method::StoreProof) => None,
            (Self::Grpc, _) => Some(0),
            (Self::Rpc, Method::Proof) => None,
            // Possible through a query of the application, which few providers have in mind when they filter.
            (Self::Rpc, Method::Account | Method::Balance | Method::Simulate | Method::Request | Method::OracleParams) => Some(3),
            (Self::Rpc, _) => Some(1),
            (Self::Rest, Method::Proof) => Some(1),
            (Self::Rest, _) => Some(2),
            (Self::ProofUrl, Method::Proof) => Some(2),
            (Self::ProofUrl, _) => None,
        }
    }
}

/// Header and votes of one block.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SignedBlock {
    pub(super) header: Header,
    pub(super) commit: Commit,
    /// Whether the votes are those that the next block carries; otherwise those that this node happened to see first.
    pub(super) canonical: bool,
}

/// A value of the oracle store with its proof.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoreProof {
    pub(super) value: Vec<u8>,
    pub(super) ops: ProofOps,
}

/// One node behind one endpoint. What its kind does not offer it refuses as unsupported, and is not asked for.
#[async_trait]
pub(super) trait Node: Send + Sync {
    fn kind(&self) -> Kind;

    fn redactor(&self) -> &Redactor;

    /// The newest height that any answer mentioned in passing; 0 if none did.
    fn height_seen(&self) -> u64 {
        0
    }

    async fn chain_id(&self) -> Result<String, BandError> {
        Ok(self.latest_block().await?.chain_id)
    }

    async fn account(&self, _address: &str) -> Result<AccountState, BandError> {
        self.unsupported(Method::Account)
    }

    async fn balance(&self, _address: &str, _denom: &str) -> Result<u128, BandError> {
        self.unsupported(Method::Balance)
    }

    async fn latest_block(&self) -> Result<BandBlock, BandError> {
        self.unsupported(Method::LatestBlock)
    }

    async fn block_hash(&self, _height: u64) -> Result<B256, BandError> {
        self.unsupported(Method::Block)
    }

    async fn broadcast(&self, _tx: &[u8], _mode: BroadcastMode) -> Result<BroadcastAnswer, BandError> {
        self.unsupported(Method::Broadcast)
    }

    async fn transaction(&self, _hash: &str) -> Result<TxInfo, BandError> {
        self.unsupported(Method::Transaction)
    }

    /// Transactions with this event, newest first, with the signed bytes where the node has them.
    async fn search(&self, _query: &str, _limit: u32) -> Result<Vec<(TxInfo, Option<Bytes>)>, BandError> {
        self.unsupported(Method::SearchTransactions)
    }

    async fn simulate(&self, _tx: &[u8]) -> Result<GasInfo, BandError> {
        self.unsupported(Method::Simulate)
    }

    async fn resolved_in(&self, _height: u64) -> Result<Vec<(u64, ResolveStatus)>, BandError> {
        self.unsupported(Method::BlockResults)
    }

    async fn request(&self, _id: u64) -> Result<RequestState, BandError> {
        self.unsupported(Method::Request)
    }

    async fn message_type(&self) -> Result<MessageType, BandError> {
        self.unsupported(Method::OracleParams)
    }

    async fn proof(&self, _id: u64, _height: Option<u64>) -> Result<ServedProof, BandError> {
        self.unsupported(Method::Proof)
    }

    async fn commit(&self, _height: u64) -> Result<SignedBlock, BandError> {
        self.unsupported(Method::Commit)
    }

    async fn store_proof(&self, _id: u64, _height: u64) -> Result<StoreProof, BandError> {
        self.unsupported(Method::StoreProof)
    }

    async fn validators(&self) -> Result<Vec<Validator>, BandError> {
        self.unsupported(Method::Validators)
    }
}

/// What every kind of node can say without a request.
pub(super) trait NodeExt: Node {
    fn site(&self, method: Method) -> Site<'_> {
        Site { redactor: self.redactor(), method }
    }

    fn unsupported<T>(&self, method: Method) -> Result<T, BandError> {
        Err(self.site(method).unsupported(&format!("an endpoint of another kind than {}", self.kind().name())))
    }

    fn host(&self) -> &str {
        self.redactor().label()
    }
}

impl<N: Node + ?Sized> NodeExt for N {}

/// Which kinds of endpoints offer this.
pub(super) fn who_offers(method: Method) -> String {
    let kinds = [Kind::Grpc, Kind::Rest, Kind::Rpc].into_iter().filter(|kind| kind.rank(method).is_some());
    let names: Vec<_> = kinds.map(Kind::name).collect();
    format!("a {} endpoint", names.join(" or "))
}
