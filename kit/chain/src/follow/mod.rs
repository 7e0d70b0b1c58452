//! The canonical chain as a stream of batches, from a stored position.
//!
//! Invariants:
//! - Replaying the batches (take back `removed`, then append `added`) always gives a chain whose blocks link, and in the end the canonical
//!   one. No block that holds wanted logs is ever left out.
//! - The position is stored by the consumer, in its own transaction ([`Batch::record`]). What is not recorded is delivered again.
//! - The last blocks are stored with their hashes, so a reorganisation while the program was off is seen at the next start.
//! - A reorganisation deeper than `max_reorg_depth` is an error at every round and changes nothing.
//! - An endpoint that is late or goes back on the same branch takes nothing back.
//!
//! [`Follower::poll`] is one round without timers. [`Follower::next`] waits for announcements of endpoints, or for the polling interval,
//! and makes rounds until there is a batch; nothing is queued, so a slow consumer costs no memory.

mod batch;
mod catch_up;
mod logs;
mod round;
mod window;

use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use windlass_store::{Migration, Migrations, Store, Tx, UnixMillis};

pub(crate) use batch::Origin;
pub use batch::{Batch, FollowedBlock};

use crate::backfill::BackfillOptions;
use crate::endpoints::{Endpoints, HeadSignal};
use crate::error::ChainError;
use crate::types::{BlockRef, LogFilter};
use catch_up::CatchUp;
use logs::Held;
use window::Window;

/// Tables of this crate. Apply them before loading a follower.
pub static MIGRATIONS: Migrations = Migrations {
    component: "chain",
    steps: &[Migration { number: 1, name: "follow", sql: include_str!("../../migrations/0001_follow.sql") }],
};

/// First and longest pause of [`Follower::next`] after failures.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(15);

/// When a block is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// As soon as it is seen; it may be taken back.
    Instant,
    /// When so many blocks are on top of it. It may still be taken back, if the chain reorganises deeper.
    Confirmed(u64),
    /// When consensus does not take it back any more.
    Finalized,
}

/// Where a subscriber without a stored position starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the block of this height.
    Block(u64),
    /// With the newest block that can be delivered.
    Head,
}

/// Settings of a follower.
#[derive(Debug, Clone)]
pub struct FollowConfig {
    /// Name under which the position is stored; unique in the store.
    pub subscriber: String,
    /// When a block is delivered.
    pub delivery: Delivery,
    /// Where to start the first time.
    pub start: Start,
    /// Which logs to read (the span of the filter is ignored); `None`: no logs.
    pub filter: Option<LogFilter>,
    /// Deepest reorganisation that is followed, blocks.
    pub max_reorg_depth: u64,
    /// Block hashes kept in the store; at least `max_reorg_depth` + 1 are.
    pub window: u64,
    /// Whether whole transactions are read with every block.
    pub transactions: bool,
    /// Whether blocks without wanted logs may be left out further than `max_reorg_depth` below the head. Far quicker. Without effect if there
    /// is no filter or if transactions are wanted.
    pub sparse_catch_up: bool,
    /// Most blocks in one batch, where no blocks are left out.
    pub batch_blocks: u64,
    /// How long [`Follower::next`] waits for an announcement before it asks for the head itself, milliseconds.
    pub poll_interval_ms: u64,
    /// Ranges of sparse catch-up.
    pub backfill: BackfillOptions,
}

impl FollowConfig {
    /// Instant delivery from the newest block on, without logs, reorganisations to a depth of 128.
    pub fn new(subscriber: impl Into<String>) -> Self {
        Self {
            subscriber: subscriber.into(),
            delivery: Delivery::Instant,
            start: Start::Head,
            filter: None,
            max_reorg_depth: 128,
            window: 256,
            transactions: false,
            sparse_catch_up: true,
            batch_blocks: 1_000,
            poll_interval_ms: 2_000,
            backfill: BackfillOptions::default(),
        }
    }
}

/// How a follower is doing, for readiness and the dashboard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FollowStatus {
    /// The last recorded block.
    pub tip: Option<BlockRef>,
    /// The newest block known.
    pub head: Option<BlockRef>,
    /// Why the last round failed, if it did.
    pub error: Option<String>,
    /// Whether that failure goes away by itself.
    pub error_is_transient: bool,
    /// When the last successful round ended, Unix milliseconds.
    pub succeeded_at: Option<UnixMillis>,
}

/// The canonical chain for one subscriber.
pub struct Follower {
    store: Store,
    endpoints: Endpoints,
    config: FollowConfig,
    window: Window,
    /// The window as it will be once the last batch is recorded.
    pending: Option<Window>,
    catch_up: Option<CatchUp>,
    held: Held,
    /// Head and position of the last round that found nothing to do.
    idle: Option<(BlockRef, window::Position)>,
    signal: Option<HeadSignal>,
    status: watch::Sender<FollowStatus>,
}

impl Follower {
    /// Loads the stored position. The tables of [`MIGRATIONS`] must be there.
    ///
    /// # Errors
    /// [`ChainError::Store`].
    pub async fn load(store: Store, endpoints: Endpoints, config: FollowConfig) -> Result<Self, ChainError> {
        let window = Window::load(&store, &config.subscriber).await?;
        let signal = endpoints.head_signal();
        let status = FollowStatus { tip: window.tip().copied(), ..FollowStatus::default() };
        Ok(Self {
            store,
            endpoints,
            config,
            window,
            pending: None,
            catch_up: None,
            held: Held::default(),
            idle: None,
            signal,
            status: watch::Sender::new(status),
        })
    }

    /// The last recorded block, as of the last round.
    pub fn tip(&self) -> Option<BlockRef> {
        self.window.tip().copied()
    }

    /// How the follower is doing, also while [`Follower::next`] waits.
    pub fn status(&self) -> watch::Receiver<FollowStatus> {
        self.status.subscribe()
    }

    /// One round: what comes next after the stored position, or `None` if that is up to date. Without [`Batch::record`] the next round gives
    /// the same step again, as it looks then.
    ///
    /// # Errors
    /// [`ChainError::ReorgTooDeep`]; [`ChainError::Inconsistent`] if the chain did not stand still or endpoints contradict themselves; or
    /// as the reads of [`Endpoints`]. Nothing is changed by a failed round.
    pub async fn poll(&mut self) -> Result<Option<Batch>, ChainError> {
        let outcome = self.round().await;
        let now = self.endpoints.clock().now();
        let tip = self.window.tip().copied();
        self.status.send_modify(|status| {
            status.tip = tip;
            match &outcome {
                Ok(batch) => {
                    if let Some(batch) = batch {
                        status.head = Some(batch.head);
                    }
                    status.error = None;
                    status.succeeded_at = Some(now);
                }
                Err(error) => {
                    status.error = Some(error.to_string());
                    status.error_is_transient = error.is_transient();
                }
            }
        });
        if let Ok(Some(batch)) = &outcome {
            let chain = self.endpoints.name();
            if let Some(tip) = batch.tip() {
                crate::metrics::followed(chain, &self.config.subscriber, tip.number);
            }
            if !batch.removed.is_empty() {
                crate::metrics::reorged(chain, &self.config.subscriber, batch.removed.len());
                tracing::info!(
                    chain, subscriber = %self.config.subscriber, depth = batch.removed.len(),
                    number = batch.removed.last().map(|block| block.number), "chain reorganised"
                );
            }
        }
        outcome
    }

    /// Waits for the next batch. Failures that go away by themselves are waited out and shown in [`Follower::status`]. Record the batch
    /// before calling again. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Only those that do not go away by themselves, among them [`ChainError::ReorgTooDeep`].
    pub async fn next(&mut self) -> Result<Batch, ChainError> {
        let mut pause = RETRY_MIN;
        loop {
            match self.poll().await {
                Ok(Some(batch)) => return Ok(batch),
                Ok(None) => {
                    pause = RETRY_MIN;
                    self.wait().await;
                }
                Err(error) if error.is_transient() => {
                    let asked = error.retry_after_ms().map_or(Duration::ZERO, Duration::from_millis);
                    let subscriber = &self.config.subscriber;
                    tracing::warn!(chain = self.endpoints.name(), %subscriber, %error, "cannot follow now; trying again");
                    tokio::time::sleep(pause.max(asked).min(RETRY_MAX)).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Until an endpoint announces a head, or the interval is over.
    async fn wait(&mut self) {
        let interval = tokio::time::sleep(Duration::from_millis(self.config.poll_interval_ms.max(1)));
        match &mut self.signal {
            None => interval.await,
            Some(signal) => {
                tokio::select! {
                    () = signal.changed() => {}
                    () = interval => {}
                }
            }
        }
    }

    fn inconsistent(&self, detail: impl Into<String>) -> ChainError {
        ChainError::Inconsistent { chain: self.endpoints.name().to_owned(), detail: detail.into() }
    }
}

/// Forgets the position of a subscriber, which then starts anew as its configuration says. For operators, after a reorganisation that
/// was too deep or when a subscriber is removed. Stop the follower first.
///
/// # Errors
/// [`ChainError::Store`].
pub async fn forget(tx: &mut Tx<'_>, subscriber: &str) -> Result<(), ChainError> {
    Ok(window::forget(tx, subscriber).await?)
}
