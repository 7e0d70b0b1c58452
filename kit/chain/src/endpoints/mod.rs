//! Several nodes of one chain behind one interface.
//!
//! Rules, each with its test in `tests/endpoints.rs`:
//! - An endpoint is used only after it has shown the right chain id; one that serves another chain is quarantined.
//! - Reads go to the best endpoint: working, not late, quick, in this order; configured order decides between equals. Failing reads
//!   go on to the next one. A read without an answer after `hedge_after_ms` is asked of a second one as well.
//! - A signed transaction is never hedged. Nonce and receipt reads stay at the endpoint that took the transaction.
//! - "Too many requests" is respected per endpoint. A late endpoint is not asked about the newest state.
//! - Quorum reads compare answers pinned to one block hash; a disagreement is an error that names the hosts.
//! - Every request has a deadline.
//!
//! With [`Endpoints::from_rpcs`] there are no timers at all, so that a simulation decides what happens when: an attempt is awaited
//! as long as it takes, nothing is hedged, nothing is waited for, and all times come from the given clock.

pub(crate) mod ask;
mod config;
pub mod health;
mod quorum;
pub(crate) mod reads;
mod send;
mod status;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use alloy_primitives::B256;
use futures::future::{self, BoxFuture};
use parking_lot::Mutex;
use tokio::sync::watch;
use windlass_store::{Clock, UnixMillis};

pub use config::{EndpointUrl, EndpointsConfig};
pub use status::{EndpointState, EndpointStatus};

use crate::error::ChainError;
use crate::rpc::{HttpRpc, HttpRpcOptions, Rpc, RpcError, WsRpc, WsRpcOptions};
use crate::types::Header;
use health::{Health, Identity, reference_head};

/// How many transactions' endpoints are remembered.
const STICKY_MAX: usize = 4096;

/// Several nodes of one chain. A clone is another handle to the same.
#[derive(Clone)]
pub struct Endpoints {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    /// Zero: not known yet.
    chain_id: AtomicU64,
    /// Whether endpoints have to show their chain id.
    verify: bool,
    endpoints: Vec<Endpoint>,
    broadcast: Vec<Endpoint>,
    quorum: usize,
    max_lag_blocks: u64,
    finality_depth: u64,
    probe_interval_ms: u64,
    probed_at: AtomicI64,
    clock: Arc<dyn Clock>,
    timing: Option<Timing>,
    sticky: Mutex<Sticky>,
}

/// Deadlines; absent in simulations.
#[derive(Debug, Clone, Copy)]
struct Timing {
    timeout: Duration,
    hedge_after: Option<Duration>,
}

struct Endpoint {
    rpc: Arc<dyn Rpc>,
    health: Mutex<Health>,
}

impl Endpoint {
    fn new(rpc: Arc<dyn Rpc>, identity: Identity) -> Self {
        Self { rpc, health: Mutex::new(Health::new(identity)) }
    }

    fn label(&self) -> &str {
        self.rpc.label()
    }
}

/// Which endpoint took which transaction.
#[derive(Default)]
struct Sticky {
    last: Option<usize>,
    by_hash: HashMap<B256, usize>,
    order: VecDeque<B256>,
}

impl Sticky {
    fn remember(&mut self, hash: B256, endpoint: usize) {
        self.last = Some(endpoint);
        if self.by_hash.insert(hash, endpoint).is_none() {
            self.order.push_back(hash);
        }
        if self.order.len() > STICKY_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_hash.remove(&oldest);
        }
    }
}

impl Endpoints {
    /// Prepares the endpoints and asks all of them for their chain id. Endpoints that cannot be reached now are tried again when they
    /// are needed.
    ///
    /// # Errors
    /// [`ChainError::Config`] for unusable URLs (all at once); [`ChainError::WrongChain`] if every endpoint serves another chain.
    pub async fn connect(config: EndpointsConfig) -> Result<Self, ChainError> {
        let endpoints = Self::prepare(config)?;
        endpoints.verify_all().await?;
        Ok(endpoints)
    }

    /// As [`connect`](Self::connect), but asks nothing yet: each endpoint is asked for its chain id before its first use.
    ///
    /// # Errors
    /// [`ChainError::Config`] for unusable URLs (all at once).
    pub fn prepare(config: EndpointsConfig) -> Result<Self, ChainError> {
        let mut problems = Vec::new();
        if config.urls.is_empty() {
            problems.push("no endpoint URL is given".to_owned());
        }
        if config.quorum > config.urls.len().max(1) {
            problems.push(format!("a quorum of {} needs as many endpoints, there are {}", config.quorum, config.urls.len()));
        }
        let mut open = |urls: &[EndpointUrl]| -> Vec<Arc<dyn Rpc>> {
            let opened = urls.iter().map(|url| open_url(url, &config));
            opened.filter_map(|one| one.map_err(|problem| problems.push(problem)).ok()).collect()
        };
        let rpcs = open(&config.urls);
        let broadcast = open(&config.broadcast_urls);
        if !problems.is_empty() {
            return Err(ChainError::Config { chain: config.name, problems });
        }
        let timing = Timing {
            timeout: Duration::from_millis(config.timeout_ms.max(1)),
            hedge_after: config.hedge_after_ms.map(Duration::from_millis),
        };
        Ok(Self::build(&config, rpcs, broadcast, Some(timing), true))
    }

    /// Endpoints without timers, for simulations and tests. Chain ids are not checked. See the module's description.
    pub fn from_rpcs(name: &str, rpcs: Vec<Arc<dyn Rpc>>, clock: Arc<dyn Clock>) -> Self {
        let config = EndpointsConfig { clock, ..EndpointsConfig::new(name, []) };
        Self::build(&config, rpcs, Vec::new(), None, false)
    }

    /// Endpoints over given connections, with all settings but the URLs. `timers` decides whether deadlines, hedging and waiting take
    /// place. Chain ids are checked if one is configured.
    pub fn with_rpcs(config: &EndpointsConfig, rpcs: Vec<Arc<dyn Rpc>>, broadcast: Vec<Arc<dyn Rpc>>, timers: bool) -> Self {
        let timing = timers.then(|| Timing {
            timeout: Duration::from_millis(config.timeout_ms.max(1)),
            hedge_after: config.hedge_after_ms.map(Duration::from_millis),
        });
        Self::build(config, rpcs, broadcast, timing, config.chain_id.is_some())
    }

    fn build(
        config: &EndpointsConfig,
        rpcs: Vec<Arc<dyn Rpc>>,
        broadcast: Vec<Arc<dyn Rpc>>,
        timing: Option<Timing>,
        verify: bool,
    ) -> Self {
        let identity = if verify { Identity::Unknown } else { Identity::Verified };
        let wrap = |rpcs: Vec<Arc<dyn Rpc>>| rpcs.into_iter().map(|rpc| Endpoint::new(rpc, identity.clone())).collect();
        let inner = Inner {
            name: config.name.clone(),
            chain_id: AtomicU64::new(config.chain_id.unwrap_or(0)),
            verify,
            endpoints: wrap(rpcs),
            broadcast: wrap(broadcast),
            quorum: config.quorum.max(1),
            max_lag_blocks: config.max_lag_blocks,
            finality_depth: config.finality_depth,
            probe_interval_ms: config.probe_interval_ms,
            probed_at: AtomicI64::new(i64::MIN),
            clock: Arc::clone(&config.clock),
            timing,
            sticky: Mutex::new(Sticky::default()),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Name of the chain.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// How many endpoints must agree in reads that decide about money, as configured.
    pub fn quorum(&self) -> usize {
        self.inner.quorum
    }

    /// The clock of back-off and health.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.inner.clock)
    }

    /// A signal that fires when some endpoint announces a new head. `None` if no endpoint can push (all are HTTP).
    pub fn head_signal(&self) -> Option<HeadSignal> {
        let receivers: Vec<_> = self.inner.endpoints.iter().filter_map(|one| one.rpc.new_heads()).collect();
        (!receivers.is_empty()).then_some(HeadSignal { receivers })
    }

    pub(crate) fn has_timers(&self) -> bool {
        self.inner.timing.is_some()
    }

    fn now(&self) -> UnixMillis {
        self.inner.clock.now()
    }

    fn reference_head(&self) -> Option<u64> {
        reference_head(self.inner.endpoints.iter().filter_map(|one| one.health.lock().head))
    }

    fn expected_chain_id(&self) -> Option<u64> {
        Some(self.inner.chain_id.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    fn wrong_chain_reason(&self, found: u64) -> String {
        let expected = self.expected_chain_id().unwrap_or_default();
        format!("serves chain id {found}, expected {expected}")
    }

    /// Asks every endpoint for its chain id. Fails only if all of them serve a wrong chain.
    async fn verify_all(&self) -> Result<(), ChainError> {
        let all: Vec<&Endpoint> = self.inner.endpoints.iter().chain(&self.inner.broadcast).collect();
        if self.expected_chain_id().is_none() {
            // One after the other, so that the configured order decides which chain is meant.
            for endpoint in &self.inner.endpoints {
                if self.verify(endpoint).await.is_ok() {
                    break;
                }
            }
        }
        future::join_all(all.iter().map(|endpoint| self.verify(endpoint))).await;
        let now = self.now();
        let found: Vec<_> = self
            .inner
            .endpoints
            .iter()
            .filter_map(|one| one.health.lock().quarantined(now).map(|id| (one.label().to_owned(), id)))
            .collect();
        if found.len() == self.inner.endpoints.len() {
            let expected = self.expected_chain_id().unwrap_or_default();
            return Err(ChainError::WrongChain { chain: self.inner.name.clone(), expected, found });
        }
        Ok(())
    }
}

fn open_url(endpoint: &EndpointUrl, config: &EndpointsConfig) -> Result<Arc<dyn Rpc>, String> {
    let describe = |error: RpcError| format!("endpoint {}: {error}", endpoint.label());
    let timeout = Duration::from_millis(config.timeout_ms.max(1));
    let scheme = endpoint.url.split(':').next().unwrap_or_default();
    if matches!(scheme, "ws" | "wss") {
        let options = WsRpcOptions {
            timeout,
            max_response_bytes: config.max_response_bytes,
            headers: endpoint.headers.clone(),
            ..WsRpcOptions::default()
        };
        return WsRpc::new(&endpoint.url, options).map(|rpc| Arc::new(rpc) as Arc<dyn Rpc>).map_err(describe);
    }
    let options = HttpRpcOptions {
        timeout,
        max_response_bytes: config.max_response_bytes,
        max_batch: config.max_batch,
        headers: endpoint.headers.clone(),
    };
    HttpRpc::new(&endpoint.url, options).map(|rpc| Arc::new(rpc) as Arc<dyn Rpc>).map_err(describe)
}

/// Fires when an endpoint announces a new head.
pub struct HeadSignal {
    receivers: Vec<watch::Receiver<Option<Header>>>,
}

impl HeadSignal {
    /// Waits for the next announcement of any endpoint. Announcements that came between two calls count. Never returns if no endpoint
    /// can push any more. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        loop {
            if self.receivers.is_empty() {
                return future::pending().await;
            }
            let waiting: Vec<BoxFuture<'_, Result<(), watch::error::RecvError>>> =
                self.receivers.iter_mut().map(|receiver| Box::pin(receiver.changed()) as _).collect();
            let (outcome, index, _) = future::select_all(waiting).await;
            if outcome.is_ok() {
                return;
            }
            self.receivers.swap_remove(index);
        }
    }
}
