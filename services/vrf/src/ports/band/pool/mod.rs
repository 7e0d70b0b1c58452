//! Several endpoints of BandChain behind one interface.

mod ask;
mod config;
mod raw;
mod reads;

use std::sync::atomic::AtomicI64;

use alloy_primitives::{Address, B256, Bytes};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;
use windlass_chain::endpoints::health::{Health, Identity, Pause};
use windlass_node::EndpointView;
use windlass_vrf_protocol::oracle_result::ResolveStatus;
use windlass_vrf_protocol::tx::MessageType;

pub use config::BandClientConfig;

use super::BandApi;
use super::error::BandError;
use super::grpc::{GrpcNode, Limits};
use super::meter::{Meter, Method, RequestCounts};
use super::node::{Kind, Node, NodeExt};
use super::rest::RestNode;
use super::rpc::RpcNode;
use super::types::{AccountState, BandBlock, BroadcastAnswer, BroadcastMode, GasInfo, RequestState, ServedProof, TxInfo};
use super::{convert, meter};
use ask::Freshness;
use raw::Blocks;

/// The event that ties a transaction to the sequence that it used.
const SEQUENCE_EVENT: &str = "tx.acc_seq";
/// The event that names the sender of a message.
const SENDER_EVENT: &str = "message.sender";

/// BandChain behind several endpoints. See the description of [the module](super) for how it chooses among them.
pub struct BandClient {
    endpoints: Vec<Endpoint>,
    config: BandClientConfig,
    counts: RequestCounts,
    /// The chain that every endpoint must serve: configured, or that of the first one that answered.
    expected: Mutex<Option<String>>,
    newest: Mutex<Newest>,
    blocks: Blocks,
    probed_at: AtomicI64,
}

struct Endpoint {
    node: Box<dyn Node>,
    health: Mutex<Health<String>>,
    /// Held while the chain id is asked, so that many questions at once ask it once.
    identifying: AsyncMutex<()>,
}

impl Endpoint {
    fn new(node: impl Node + 'static) -> Self {
        Self { node: Box::new(node), health: Mutex::new(Health::new(Identity::Unknown)), identifying: AsyncMutex::new(()) }
    }

    fn host(&self) -> &str {
        self.node.host()
    }
}

/// The newest block that was told to the relay.
#[derive(Default)]
struct Newest {
    block: Option<BandBlock>,
    /// How many answers in a row were lower.
    lower: u32,
}

impl BandClient {
    /// Prepares the endpoints; nothing is sent yet.
    ///
    /// # Errors
    /// [`BandError::Config`] for unusable URLs and settings, all at once.
    pub fn new(config: BandClientConfig) -> Result<Self, BandError> {
        let mut problems = config.problems();
        let counts = RequestCounts::default();
        let limits = Limits {
            timeout: config.timeout,
            block_timeout: config.block_timeout.max(config.timeout),
            max_bytes: config.max_answer_bytes,
        };
        let mut endpoints = Vec::new();
        let mut add = |host: String, made: Result<Endpoint, String>| match made {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(problem) => problems.push(format!("endpoint {host}: {problem}")),
        };
        let meter = |host: &str| Meter { host: host.to_owned(), counts: counts.clone() };
        for url in &config.grpc {
            let host = windlass_chain::Redactor::new(url).label().to_owned();
            add(host.clone(), GrpcNode::new(url, limits, meter(&host)).map(Endpoint::new));
        }
        for url in &config.rpc {
            let host = url.host();
            add(host.clone(), RpcNode::new(url.expose(), limits, meter(&host)).map(Endpoint::new));
        }
        for url in &config.rest {
            let host = url.host();
            add(host.clone(), RestNode::new(url.expose(), limits, meter(&host)).map(Endpoint::new));
        }
        if !problems.is_empty() {
            return Err(BandError::Config { problems });
        }
        let expected = Mutex::new(config.chain_id.clone());
        let (newest, blocks, probed_at) = (Mutex::default(), Blocks::default(), AtomicI64::new(i64::MIN));
        Ok(Self { endpoints, config, counts, expected, newest, blocks, probed_at })
    }

    /// How many requests were sent, by method.
    pub fn counts(&self) -> RequestCounts {
        self.counts.clone()
    }

    /// The chain that the endpoints must serve, if it is configured or some endpoint has answered.
    pub fn chain_id(&self) -> Option<String> {
        self.expected.lock().clone()
    }

    /// Asks every endpoint for its chain id. Returns host, kind and outcome of each, in the order gRPC, CometBFT RPC, REST.
    pub async fn identify_all(&self) -> Vec<(String, &'static str, Result<(), BandError>)> {
        let one = |endpoint| async move {
            (Endpoint::host(endpoint).to_owned(), endpoint.node.kind().name(), self.identify(endpoint).await)
        };
        futures::future::join_all(self.endpoints.iter().map(one)).await
    }
}

#[async_trait]
impl BandApi for BandClient {
    async fn account(&self, address: &str) -> Result<AccountState, BandError> {
        self.agree(Method::Account, |node| node.account(address)).await
    }

    async fn balance(&self, address: &str, denom: &str) -> Result<u128, BandError> {
        match self.ask(Method::Balance, Freshness::Latest, |node| node.balance(address, denom)).await {
            Err(BandError::NotFound { .. }) => Ok(0),
            answer => answer,
        }
    }

    async fn latest_block(&self) -> Result<BandBlock, BandError> {
        self.newest_block().await
    }

    async fn block_hash(&self, height: u64) -> Result<B256, BandError> {
        self.ask(Method::Block, Freshness::At(height), |node| node.block_hash(height)).await
    }

    async fn broadcast(&self, tx: &[u8], mode: BroadcastMode) -> Result<BroadcastAnswer, BandError> {
        self.hand_over(tx, mode).await
    }

    async fn broadcast_all(&self, tx: &[u8]) -> Result<BroadcastAnswer, BandError> {
        self.hand_to_all(tx).await
    }

    async fn transaction(&self, hash: &str) -> Result<Option<TxInfo>, BandError> {
        self.find(hash).await
    }

    async fn transaction_at_sequence(&self, address: &str, sequence: u64) -> Result<Option<TxInfo>, BandError> {
        let query = format!("{SEQUENCE_EVENT}='{address}/{sequence}'");
        let found = self.ask(Method::SearchTransactions, Freshness::Latest, |node| node.search(&query, 1)).await?;
        Ok(found.into_iter().next().map(|(info, _)| info))
    }

    async fn transactions_of(&self, address: &str, limit: u32) -> Result<Vec<(TxInfo, Bytes)>, BandError> {
        let query = format!("{SENDER_EVENT}='{address}'");
        self.ask(Method::SearchTransactions, Freshness::Latest, |node| {
            let query = &query;
            Box::pin(async move {
                let site = node.site(Method::SearchTransactions);
                let found = node.search(query, limit).await?.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX));
                let whole = found.map(|(info, bytes)| {
                    let bytes = bytes.ok_or_else(|| site.malformed("a transaction without the bytes that were signed"))?;
                    Ok((info, bytes))
                });
                whole.collect()
            })
        })
        .await
    }

    async fn simulate(&self, tx: &[u8]) -> Result<GasInfo, BandError> {
        self.ask(Method::Simulate, Freshness::Latest, |node| node.simulate(tx)).await
    }

    async fn resolved_in(&self, height: u64) -> Result<Vec<(u64, ResolveStatus)>, BandError> {
        self.ask(Method::BlockResults, Freshness::At(height), |node| node.resolved_in(height)).await
    }

    async fn message_type(&self) -> Result<MessageType, BandError> {
        self.ask(Method::OracleParams, Freshness::Any, |node| node.message_type()).await
    }

    async fn request(&self, id: u64) -> Result<RequestState, BandError> {
        self.ask(Method::Request, Freshness::Latest, |node| node.request(id)).await
    }

    async fn proof(&self, id: u64, height: Option<u64>) -> Result<ServedProof, BandError> {
        let freshness = height.map_or(Freshness::Latest, Freshness::At);
        self.ask(Method::Proof, freshness, |node| {
            Box::pin(async move {
                node.proof(id, height).await.map_err(|error| if height.is_some() { gone_state(error) } else { error })
            })
        })
        .await
    }

    async fn raw_proof(&self, id: u64, height: u64) -> Result<ServedProof, BandError> {
        self.build_proof(id, height).await
    }

    async fn validators(&self) -> Result<Vec<(Address, u64)>, BandError> {
        self.ask(Method::Validators, Freshness::Latest, |node| {
            Box::pin(async move {
                let site = node.site(Method::Validators);
                node.validators().await?.iter().map(|validator| convert::validator(site, validator)).collect()
            })
        })
        .await
    }

    fn status(&self) -> Vec<EndpointView> {
        let now = self.config.clock.now();
        let reference = self.reference_head(now);
        let view = |endpoint: &Endpoint| {
            let health = endpoint.health.lock();
            let behind = health.head.zip(reference).map_or(0, |(head, best)| best.saturating_sub(head));
            let reason = match health.pause_now(now) {
                _ if let Some(found) = health.quarantined(now) => Some(format!("serves chain {found}")),
                Pause::RateLimited { .. } => Some("asked for fewer requests".to_owned()),
                Pause::Failing { .. } => Some(health.last_error.clone().unwrap_or_default()),
                Pause::None if behind > self.config.max_lag_blocks => Some(format!("{behind} blocks behind")),
                Pause::None => None,
            };
            EndpointView {
                host: format!("{} ({})", endpoint.host(), endpoint.node.kind().name()),
                healthy: reason.is_none(),
                head: health.head,
                latency_ms: health.latency_ms,
                note: reason.or_else(|| health.last_error.clone()),
            }
        };
        self.endpoints.iter().map(view).collect()
    }
}

/// The Proof service looks for the block first. Where it has that, and no proof of any kind, the state is gone: of a state that is there it
/// proves that the request is not in it.
fn gone_state(error: BandError) -> BandError {
    match error {
        BandError::NotReady { host, method, text } if text.starts_with("Proof not found") => {
            BandError::Pruned { host, method, lowest: None, text }
        }
        error => error,
    }
}

impl BandClient {
    fn note_head(&self, endpoint: &Endpoint, height: u64) {
        endpoint.health.lock().observe_head(height, self.config.clock.now());
        meter::head(endpoint.host(), height);
    }

    fn rank(&self, kind: Kind, method: Method) -> Option<u8> {
        let rank = kind.rank(method)?;
        // The other way round, if the operator wants it so.
        let turned = self.config.rest_proofs_first && method == Method::Proof && kind == Kind::Grpc;
        Some(if turned { u8::MAX } else { rank })
    }
}
