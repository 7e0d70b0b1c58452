//! The chain with its servers and its clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::Address;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use windlass_vrf_protocol::vote::EncodedChainId;

use crate::chain::Chain;
use crate::config::BandConfig;
use crate::error::DevnetError;
use crate::faults::Faults;
use crate::server::{self, Shared};

/// How long calls may go on after the servers were told to stop.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// A running simulator: one chain, three servers, and a timer if blocks have an interval. Dropping it stops everything.
#[derive(Debug)]
pub struct BandDevnet {
    chain: Arc<RwLock<Chain>>,
    heights: Arc<watch::Sender<u64>>,
    interval: watch::Sender<Option<Duration>>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
    grpc: SocketAddr,
    rest: SocketAddr,
    rpc: SocketAddr,
}

impl BandDevnet {
    /// Makes a chain and serves it on the ports of its settings.
    ///
    /// # Errors
    /// If a setting is out of range, or a port cannot be had.
    pub async fn start(config: BandConfig) -> Result<Self, DevnetError> {
        let (ip, ports) = (config.listen, [config.grpc_port, config.rest_port, config.rpc_port]);
        let interval = watch::Sender::new(config.block_interval);
        let chain = Arc::new(RwLock::new(Chain::new(config)?));
        let heights = Arc::new(watch::Sender::new(chain.read().height()));
        let [grpc, rest, rpc] = ports.map(|port| SocketAddr::new(ip, port));
        let (grpc_listener, grpc) = server::listen(grpc).await?;
        let (rest_listener, rest) = server::listen(rest).await?;
        let (rpc_listener, rpc) = server::listen(rpc).await?;
        let shutdown = CancellationToken::new();
        let shared = Shared { chain: chain.clone(), heights: heights.subscribe(), shutdown: shutdown.clone() };
        let mut tasks = JoinSet::new();
        tasks.spawn(server::serve_grpc(grpc_listener, shared.clone()));
        tasks.spawn(server::serve_rest(rest_listener, shared.clone()));
        tasks.spawn(server::serve_rpc(rpc_listener, shared));
        tasks.spawn(make_blocks(chain.clone(), heights.clone(), interval.subscribe(), shutdown.clone()));
        tracing::debug!(%grpc, %rest, %rpc, "simulated BandChain listens");
        Ok(Self { chain, heights, interval, shutdown, tasks, grpc, rest, rpc })
    }

    /// The chain, to look at. Hold it briefly: the servers wait meanwhile.
    pub fn chain(&self) -> RwLockReadGuard<'_, Chain> {
        self.chain.read()
    }

    /// The chain, to change. Hold it briefly: the servers wait meanwhile.
    pub fn chain_mut(&self) -> RwLockWriteGuard<'_, Chain> {
        self.chain.write()
    }

    /// Makes a block now. Returns its height, or `None` while the chain is halted.
    pub fn advance(&self) -> Option<u64> {
        advance(&self.chain, &self.heights)
    }

    /// Makes so many blocks now.
    pub fn advance_by(&self, blocks: u64) {
        for _ in 0..blocks {
            self.advance();
        }
    }

    /// Changes the time between blocks; `None` stops the timer.
    pub fn set_block_interval(&self, interval: Option<Duration>) {
        self.interval.send_replace(interval);
    }

    /// Gives coins to an account; makes it if it is new.
    pub fn fund(&self, address: &str, uband: u128) {
        self.chain.write().fund(address, uband);
    }

    /// Replaces all faults.
    pub fn set_faults(&self, faults: Faults) {
        self.chain.write().set_faults(faults);
    }

    /// Height of the newest block.
    pub fn height(&self) -> u64 {
        self.chain.read().height()
    }

    /// Validators and powers as the Bridge is initialized with them.
    pub fn validators_for_bridge(&self) -> Vec<(Address, u64)> {
        self.chain.read().validators_for_bridge()
    }

    /// The chain id as the Bridge keeps it.
    pub fn encoded_chain_id(&self) -> EncodedChainId {
        self.chain.read().encoded_chain_id()
    }

    /// Address of gRPC, with the real port. It is plain HTTP/2.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc
    }

    /// `http://host:port` of gRPC.
    pub fn grpc_url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// Address of the REST gateway, with the real port.
    pub fn rest_address(&self) -> SocketAddr {
        self.rest
    }

    /// `http://host:port` of the REST gateway.
    pub fn rest_url(&self) -> String {
        format!("http://{}", self.rest)
    }

    /// Address of CometBFT RPC, with the real port.
    pub fn rpc_address(&self) -> SocketAddr {
        self.rpc
    }

    /// `http://host:port` of CometBFT RPC.
    pub fn rpc_url(&self) -> String {
        format!("http://{}", self.rpc)
    }

    /// A token that stops everything when it is cancelled.
    pub fn cancellation(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Stops listening, closes all connections and waits until they are closed, for two seconds at most.
    pub async fn shutdown(mut self) {
        self.shutdown.cancel();
        let finished = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_LIMIT, finished).await.is_err() {
            tracing::debug!("calls were cut off by the end of the simulated chain");
            self.tasks.shutdown().await;
        }
    }
}

impl Drop for BandDevnet {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn advance(chain: &RwLock<Chain>, heights: &watch::Sender<u64>) -> Option<u64> {
    let height = chain.write().advance(now_ms())?;
    heights.send_replace(height);
    Some(height)
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Makes a block at each interval while there is one.
async fn make_blocks(
    chain: Arc<RwLock<Chain>>,
    heights: Arc<watch::Sender<u64>>,
    mut interval: watch::Receiver<Option<Duration>>,
    shutdown: CancellationToken,
) {
    let timer = async {
        loop {
            let current = *interval.borrow_and_update();
            let Some(period) = current else {
                if interval.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let mut ticks = tokio::time::interval(period.max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await;
            loop {
                tokio::select! {
                    _ = ticks.tick() => {
                        advance(&chain, &heights);
                    }
                    changed = interval.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        break;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = timer => {}
    }
}
