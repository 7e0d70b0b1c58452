//! What a follower delivers.

use windlass_store::Tx;

use super::window::{self, Position};
use crate::error::ChainError;
use crate::types::{BlockRef, Log, Transaction};

/// A delivered block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedBlock {
    /// The block.
    pub block: BlockRef,
    /// Its logs that the filter selects, in order.
    pub logs: Vec<Log>,
    /// Its transactions, if [`FollowConfig::transactions`](super::FollowConfig::transactions) is set.
    pub transactions: Vec<Transaction>,
}

/// One step of the canonical chain: first take back `removed`, then take `added`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Delivered blocks that are no longer canonical, newest first.
    pub removed: Vec<BlockRef>,
    /// Blocks that follow, oldest first. Each is the child of the one before, except where sparse catch-up left out blocks without wanted
    /// logs.
    pub added: Vec<FollowedBlock>,
    /// The newest block known when the batch was made; further than the last of `added` while catching up or waiting for confirmations.
    pub head: BlockRef,
    pub(crate) origin: Origin,
}

/// Where a batch belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) chain: String,
    pub(crate) subscriber: String,
    pub(crate) previous: Position,
    pub(crate) window: u64,
}

impl Batch {
    /// The last block of the batch: the subscriber's position once it is recorded.
    pub fn tip(&self) -> Option<&BlockRef> {
        self.added.last().map(|last| &last.block)
    }

    /// All logs of the added blocks, in order.
    pub fn logs(&self) -> impl Iterator<Item = &Log> {
        self.added.iter().flat_map(|block| &block.logs)
    }

    /// Stores the position after this batch. Call it in the transaction in which the consumer stores what it made of the batch: then both
    /// happen or neither. Until it has happened, the follower delivers the same step again.
    ///
    /// # Errors
    /// [`ChainError::StaleBatch`] if the stored position is not the one this batch continues: it was recorded already, or by a second
    /// process. Let the transaction fail then. [`ChainError::Store`] if the store fails.
    pub async fn record(&self, tx: &mut Tx<'_>) -> Result<(), ChainError> {
        let Origin { chain, subscriber, previous, window: size } = &self.origin;
        let stored = window::position_in(tx, subscriber).await?;
        if stored != *previous {
            return Err(ChainError::StaleBatch {
                chain: chain.clone(),
                subscriber: subscriber.clone(),
                expected: describe(previous),
                stored: describe(&stored),
            });
        }
        if let Some(lowest_removed) = self.removed.last() {
            window::remove_from(tx, subscriber, lowest_removed.number).await?;
        }
        let (Some(first), Some(tip)) = (self.added.first(), self.tip()) else {
            return Ok(());
        };
        if previous.is_none() {
            window::begin(tx, subscriber, first.block.number).await?;
        }
        let lowest_kept = tip.number.saturating_sub(*size);
        let kept: Vec<BlockRef> = self.added.iter().map(|one| one.block).filter(|block| block.number >= lowest_kept).collect();
        window::insert(tx, subscriber, &kept).await?;
        window::prune_below(tx, subscriber, lowest_kept).await?;
        Ok(())
    }
}

fn describe(position: &Position) -> String {
    position.map_or_else(|| "nothing".to_owned(), |(number, hash)| format!("{number} {hash}"))
}
