//! The chain behind a lock, with what needs waiting: delays, timers, synchronous sends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{B256, Bytes};
use parking_lot::Mutex;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::chain::{Chain, Event};
use crate::faults::{Fault, FaultRule, Faults};
use crate::lock::Locked;
use crate::rpc::params::Params;
use crate::rpc::{self, control, reply, send};
use crate::{DevnetConfig, DevnetError, DevnetServer, JsonRpcError, Mining};

/// How long `eth_sendRawTransactionSync` waits for the receipt.
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

/// Blocks that are mined while the lock is held once.
const MINE_CHUNK: u64 = 1_000;

/// A development chain. Clones share the same chain.
#[derive(Clone, Debug)]
pub struct Devnet {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Arc<DevnetConfig>,
    chain: Locked,
    faults: Mutex<Faults>,
    mining: watch::Sender<Mining>,
    /// Held by the task that runs the interval timer, so that there is only one.
    timer: tokio::sync::Mutex<()>,
}

/// How a call ends when a fault meant for the transport hits it.
#[derive(Debug)]
pub(crate) enum Answer {
    Outcome(rpc::Outcome),
    HttpStatus { status: u16, retry_after_seconds: Option<u64> },
    Disconnect,
}

impl Devnet {
    /// A new chain with a genesis block made from `config`.
    pub fn new(config: DevnetConfig) -> Self {
        let config = Arc::new(config);
        let mining = watch::Sender::new(config.mining);
        let chain = Locked::new(Chain::new(config.clone()));
        let inner = Inner { config, chain, faults: Mutex::default(), mining, timer: tokio::sync::Mutex::new(()) };
        Self { inner: Arc::new(inner) }
    }

    /// The settings this chain was started with.
    pub fn config(&self) -> &DevnetConfig {
        &self.inner.config
    }

    /// Answers one JSON-RPC request in process, without a network.
    ///
    /// Subscriptions need a connection and are only served over WebSocket. Faults of the transport (a lost answer, an HTTP status)
    /// come as an error with code -32000.
    pub async fn request(&self, method: &str, params: Value) -> Result<Value, JsonRpcError> {
        let outcome = match self.call(method, params).await {
            Answer::Outcome(outcome) => outcome?,
            Answer::HttpStatus { status, .. } => return Err(JsonRpcError::server(format!("HTTP status {status}"))),
            Answer::Disconnect => return Err(JsonRpcError::server("connection closed before the answer")),
        };
        serde_json::from_str(outcome.get()).map_err(|error| JsonRpcError::internal(error.to_string()))
    }

    /// Serves HTTP and WebSocket on `addr` (port 0 picks a free port) until the returned handle is shut down or dropped.
    pub async fn serve(&self, addr: SocketAddr) -> Result<DevnetServer, DevnetError> {
        crate::server::serve(self.clone(), addr).await
    }

    /// Mines a block at each interval while interval mining is on, until `shutdown` is cancelled. [`Devnet::serve`] does this by
    /// itself; only who uses the chain in process and wants the timer calls it. A second call waits for the first to end.
    pub async fn run_interval_mining(&self, shutdown: CancellationToken) {
        let timer = async {
            let _only_one = self.inner.timer.lock().await;
            let mut mining = self.inner.mining.subscribe();
            loop {
                let mode = *mining.borrow_and_update();
                let Mining::Interval(milliseconds) = mode else {
                    if mining.changed().await.is_err() {
                        return;
                    }
                    continue;
                };
                let mut ticks = tokio::time::interval(Duration::from_millis(milliseconds.max(1)));
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                ticks.tick().await;
                while *mining.borrow() == mode {
                    tokio::select! {
                        _ = ticks.tick() => self.mine(1, 0),
                        changed = mining.changed() => if changed.is_err() { return },
                    }
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = timer => {}
        }
    }

    // ---- helpers for tests in process ----

    /// Mines `count` blocks, each `interval_seconds` later than the clock says.
    pub fn mine(&self, count: u64, interval_seconds: u64) {
        let mut left = count;
        while left > 0 {
            let now = left.min(MINE_CHUNK);
            self.inner.chain.write().mine(now, Some(interval_seconds));
            left -= now;
        }
    }

    /// Moves the chain's clock forward; the next block has the new time.
    pub fn increase_time(&self, seconds: u64) {
        self.inner.chain.write().clock.increase(seconds);
    }

    /// Sets the timestamp of the next block, in unix seconds. It must not be before the newest block.
    pub fn set_next_block_timestamp(&self, timestamp: u64) -> Result<(), JsonRpcError> {
        self.inner.chain.write().clock.set_next(timestamp)
    }

    /// Sets the balance of an account, in wei.
    pub fn set_balance(&self, address: alloy_primitives::Address, balance: alloy_primitives::U256) {
        self.inner.chain.write().set_balance(address, balance);
    }

    /// Replaces the newest `depth` blocks by as many empty ones. The depth is limited by the height.
    pub fn reorg(&self, depth: u64) {
        let mut chain = self.inner.chain.write();
        let depth = depth.min(chain.blocks.height());
        chain.reorg(depth, std::collections::BTreeMap::new());
    }

    /// Number of the newest block.
    pub fn height(&self) -> u64 {
        self.inner.chain.read().blocks.height()
    }

    /// Adds a rule for faults; the same as `windlass_injectFault`.
    pub fn inject_fault(&self, rule: FaultRule) {
        self.inner.faults.lock().add(rule);
    }

    /// Removes all rules for faults.
    pub fn clear_faults(&self) {
        self.inner.faults.lock().clear();
    }

    // ---- requests ----

    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.chain.read().subscribe()
    }

    pub(crate) fn base_fee(&self) -> u64 {
        self.inner.chain.read().base_fee
    }

    /// Answers one call, with the faults that are asked for.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Answer {
        let fault = self.take_fault(method);
        match fault {
            None => Answer::Outcome(self.carry_out(method, params).await),
            Some(Fault::Delay { milliseconds }) => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                Answer::Outcome(self.carry_out(method, params).await)
            }
            Some(Fault::Error { code, message, data }) => Answer::Outcome(Err(JsonRpcError { code, message, data })),
            Some(Fault::HttpStatus { status, retry_after_seconds }) => Answer::HttpStatus { status, retry_after_seconds },
            Some(Fault::LoseAnswer) => {
                let _ = self.carry_out(method, params).await;
                Answer::Disconnect
            }
            Some(Fault::ErrorAfter { code, message }) => {
                let _ = self.carry_out(method, params).await;
                Answer::Outcome(Err(JsonRpcError::new(code, message)))
            }
            Some(Fault::DropBroadcast) if method == "eth_sendRawTransaction" => Answer::Outcome(pretend_broadcast(params)),
            Some(Fault::DropBroadcast) => Answer::Outcome(self.carry_out(method, params).await),
        }
    }

    fn take_fault(&self, method: &str) -> Option<Fault> {
        let mut faults = self.inner.faults.lock();
        if faults.is_empty() { None } else { faults.take(method) }
    }

    /// Whether calls can be taken together because no fault may hit one of them.
    pub(crate) fn is_faultless(&self) -> bool {
        self.inner.faults.lock().is_empty()
    }

    /// Takes several `eth_sendRawTransaction` at once.
    pub(crate) fn send_raw_together(&self, raw: Vec<Result<Bytes, JsonRpcError>>) -> Vec<rpc::Outcome> {
        send::send_raw_together(&self.inner.chain, raw)
    }

    async fn carry_out(&self, method: &str, params: Value) -> rpc::Outcome {
        let mut params = Params::new(params)?;
        if method.starts_with("windlass_")
            && let Some(outcome) = self.inner.faults.lock().answer(method, &mut params)
        {
            return outcome;
        }
        match method {
            "anvil_mine" | "hardhat_mine" => self.mine_in_chunks(&mut params).await,
            "eth_sendRawTransactionSync" | "eth_sendTransactionSync" => self.send_and_wait(method, &mut params).await,
            _ => {
                let outcome = rpc::answer(&self.inner.chain, method, &mut params);
                self.note_mining_mode(method);
                outcome
            }
        }
    }

    /// Tells the timer when a method may have changed the mining mode.
    fn note_mining_mode(&self, method: &str) {
        if method.ends_with("Automine") || method.ends_with("IntervalMining") {
            let mode = self.inner.chain.read().mining;
            self.inner.mining.send_if_modified(|current| std::mem::replace(current, mode) != mode);
        }
    }

    /// Mines with a pause between chunks, so that other requests are answered meanwhile.
    async fn mine_in_chunks(&self, params: &mut Params) -> rpc::Outcome {
        let (mut left, interval) = control::mine_params(params)?;
        while left > 0 {
            let now = left.min(MINE_CHUNK);
            self.inner.chain.write().mine(now, interval);
            left -= now;
            tokio::task::yield_now().await;
        }
        reply(&Value::Null)
    }

    /// Sends, then waits until the transaction is in a block.
    async fn send_and_wait(&self, method: &str, params: &mut Params) -> rpc::Outcome {
        let mut events = self.events();
        let sent = rpc::answer(&self.inner.chain, method, params)?;
        let hash: B256 = serde_json::from_str(sent.get()).map_err(|error| JsonRpcError::internal(error.to_string()))?;
        let waiting = async {
            loop {
                if let Some(receipt) = send::mined_receipt(&self.inner.chain.read(), hash) {
                    return receipt;
                }
                if matches!(events.recv().await, Err(broadcast::error::RecvError::Closed)) {
                    return Err(JsonRpcError::internal("Failed to await transaction inclusion"));
                }
            }
        };
        let timed_out = |_| Err(JsonRpcError::internal("Transaction confirmation timeout"));
        tokio::time::timeout(SYNC_TIMEOUT, waiting).await.unwrap_or_else(timed_out)
    }
}

/// The answer that a broadcast would have had.
fn pretend_broadcast(params: Value) -> Result<Box<RawValue>, JsonRpcError> {
    let raw: Bytes = Params::new(params)?.required(0)?;
    reply(&crate::chain::decode_transaction(&raw)?.hash)
}
