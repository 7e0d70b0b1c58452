//! The logs of a long range of blocks, read in parallel and delivered in order.

use std::ops::RangeInclusive;

use futures::Stream;

use crate::endpoints::Endpoints;
use crate::error::ChainError;
use crate::follow::FollowedBlock;
use crate::types::{BlockRef, LogFilter};

/// Settings of a backfill.
#[derive(Debug, Clone)]
pub struct BackfillOptions {
    /// Blocks per request at the start.
    pub initial_range: u64,
    /// Blocks per request at most.
    pub max_range: u64,
    /// Requests in flight.
    pub concurrency: usize,
}

impl Default for BackfillOptions {
    fn default() -> Self {
        Self { initial_range: 1_000, max_range: 20_000, concurrency: 4 }
    }
}

/// A part of the range.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// First height.
    pub from: u64,
    /// Last height; the next chunk starts one above it.
    pub to: u64,
    /// The blocks with wanted logs, in order.
    pub blocks: Vec<FollowedBlock>,
    /// The last block of the part.
    pub end: BlockRef,
}

/// Reads a range of blocks.
pub fn backfill(
    _endpoints: Endpoints,
    _range: RangeInclusive<u64>,
    _filter: LogFilter,
    _options: BackfillOptions,
) -> impl Stream<Item = Result<Chunk, ChainError>> + Send + 'static {
    futures::stream::empty()
}
