//! Far below the head: only blocks with wanted logs, many at a time.

use futures::stream::{BoxStream, StreamExt};
use parking_lot::Mutex;

use super::batch::FollowedBlock;
use super::{Batch, Follower};
use crate::backfill::{Chunk, backfill};
use crate::error::ChainError;
use crate::types::BlockRef;

/// Shorter distances are not worth it.
const DISTANCE_MIN: u64 = 64;

/// A backfill that runs ahead of the consumer.
pub(super) struct CatchUp {
    next_from: u64,
    /// Never locked: the lock makes the follower `Sync`, so that its futures can move between threads.
    chunks: Mutex<BoxStream<'static, Result<Chunk, ChainError>>>,
}

/// What a sparse step gave.
pub(super) enum Sparse {
    /// A batch.
    Batch(Box<Batch>),
    /// The distance is too short, sparse batches are not wanted, or the blocks do not continue ours: read headers instead.
    NotNow,
}

impl Follower {
    /// The next chunk from `start`, which must be the block after the position, up to the reorganisation depth below `target`.
    pub(super) async fn sparse_step(&mut self, start: u64, target: u64, head: BlockRef) -> Result<Sparse, ChainError> {
        let Some(filter) = self.config.filter.clone() else { return Ok(Sparse::NotNow) };
        let settled = target.saturating_sub(self.config.max_reorg_depth);
        let far = settled.checked_sub(start).is_some_and(|distance| distance >= DISTANCE_MIN);
        let running = self.catch_up.as_ref().is_some_and(|catch_up| catch_up.next_from == start);
        if !self.config.sparse_catch_up || self.config.transactions || !(far || running) {
            self.catch_up = None;
            return Ok(Sparse::NotNow);
        }
        if !running {
            let chunks = backfill(self.endpoints.clone(), start..=settled, filter, self.config.backfill.clone());
            self.catch_up = Some(CatchUp { next_from: start, chunks: Mutex::new(chunks.boxed()) });
        }
        // Taken out, so that an error or a dropped future ends it.
        let Some(mut catch_up) = self.catch_up.take() else { return Ok(Sparse::NotNow) };
        let Some(chunk) = catch_up.chunks.get_mut().next().await.transpose()? else { return Ok(Sparse::NotNow) };
        if self.window.tip().is_some_and(|tip| chunk.first.parent_hash != tip.hash) {
            return Ok(Sparse::NotNow);
        }
        catch_up.next_from = chunk.to.saturating_add(1);
        self.catch_up = Some(catch_up);
        let mut added = chunk.blocks;
        if added.last().is_none_or(|last| last.block.number != chunk.last.number) {
            added.push(FollowedBlock { block: chunk.last, logs: Vec::new(), transactions: Vec::new() });
        }
        Ok(Sparse::Batch(Box::new(self.batch(Vec::new(), added, head))))
    }
}
