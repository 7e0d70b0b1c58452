//! The canonical chain as a stream of batches, from a stored position.

use alloy_primitives::B256;
use windlass_store::{Migration, Migrations, Store, Tx};

use crate::endpoints::Endpoints;
use crate::error::ChainError;
use crate::types::{BlockRef, Log, LogFilter, Transaction};

/// Tables of this crate.
pub static MIGRATIONS: Migrations = Migrations { component: "chain", steps: &[] };

/// When a block is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// As soon as it is seen; it may be taken back.
    Instant,
    /// When so many blocks are on top of it.
    Confirmed(u64),
    /// When consensus does not take it back any more.
    Finalized,
}

/// Where a subscriber without a stored position starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At this height.
    Block(u64),
    /// At the next new block.
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
    /// Which logs to read; `None`: no logs, headers only.
    pub filter: Option<LogFilter>,
    /// Deepest reorganisation that is followed, blocks.
    pub max_reorg_depth: u64,
    /// Block hashes kept in the store; at least `max_reorg_depth` + 1 are.
    pub window: u64,
    /// Whether whole transactions are read with every block.
    pub transactions: bool,
    /// Whether blocks without wanted logs are left out of batches far below the head.
    pub sparse_catch_up: bool,
    /// Most blocks in one batch.
    pub batch_blocks: u64,
    /// How often the head is asked for where no endpoint announces it, milliseconds.
    pub poll_interval_ms: u64,
}

impl FollowConfig {
    /// Instant delivery from the next new block, without logs.
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
        }
    }
}

/// A delivered block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedBlock {
    /// The block.
    pub block: BlockRef,
    /// Its logs that the filter selects, in order.
    pub logs: Vec<Log>,
    /// Its transactions, if [`FollowConfig::transactions`] is set.
    pub transactions: Vec<Transaction>,
}

/// One step of the canonical chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Delivered blocks that are no longer canonical, newest first.
    pub removed: Vec<BlockRef>,
    /// Blocks that follow, oldest first.
    pub added: Vec<FollowedBlock>,
    /// The newest block known when the batch was made.
    pub head: BlockRef,
}

impl Batch {
    /// Stores the position after this batch, in the consumer's own transaction.
    pub async fn record(&self, _tx: &mut Tx<'_>) -> Result<(), ChainError> {
        Ok(())
    }
}

/// The canonical chain for one subscriber.
pub struct Follower {
    _store: Store,
    _endpoints: Endpoints,
    tip: Option<(u64, B256)>,
}

impl Follower {
    /// Loads the stored position.
    pub async fn load(store: Store, endpoints: Endpoints, _config: FollowConfig) -> Result<Self, ChainError> {
        Ok(Self { _store: store, _endpoints: endpoints, tip: None })
    }

    /// One deterministic round.
    pub async fn poll(&mut self) -> Result<Option<Batch>, ChainError> {
        let _ = self.tip;
        Ok(None)
    }

    /// Waits for the next batch.
    pub async fn next(&mut self) -> Result<Batch, ChainError> {
        std::future::pending().await
    }
}
