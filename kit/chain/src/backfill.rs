//! The logs of a long range of blocks, read in parallel and delivered in order.
//!
//! Ranges adapt: they double while everything goes well, halve when an endpoint says "too much" (in any of the many ways) or takes
//! too long, and then grow slowly. A part is read by one endpoint together with its first and last block, so that an endpoint which
//! has not got that far cannot answer with silence. Errors that are not about size go to another endpoint.
//!
//! Meant for blocks that are not reorganised any more: the stream checks that its parts are consistent, but does not notice when the
//! chain changes behind it. The follower uses it below its reorganisation depth.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use alloy_primitives::B256;
use futures::future::BoxFuture;
use futures::stream::{self, FuturesOrdered, Stream, StreamExt};
use parking_lot::Mutex;
use serde_json::json;

use crate::endpoints::Endpoints;
use crate::endpoints::ask::{Ask, Freshness, Outcomes};
use crate::endpoints::reads::{block_call, read_header, read_logs};
use crate::error::ChainError;
use crate::follow::FollowedBlock;
use crate::rpc::{RpcCall, RpcError};
use crate::types::{BlockId, BlockRef, Header, Log, LogFilter};

/// Headers asked for in one go.
const HEADERS_PER_ASK: usize = 200;
/// After a range was too large, it grows by a tenth after so many successes.
const SUCCESSES_TO_GROW: u32 = 8;

/// Settings of a backfill.
#[derive(Debug, Clone)]
pub struct BackfillOptions {
    /// Blocks per request at the start.
    pub initial_range: u64,
    /// Blocks per request at most.
    pub max_range: u64,
    /// Requests in flight. What they answer is held in memory until the consumer takes it.
    pub concurrency: usize,
}

impl Default for BackfillOptions {
    fn default() -> Self {
        Self { initial_range: 1_000, max_range: 50_000, concurrency: 4 }
    }
}

/// A part of the range, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// First height.
    pub from: u64,
    /// Last height. To resume after this chunk, start a backfill at `to + 1`.
    pub to: u64,
    /// The first block of the part: its parent is the last block of the part before.
    pub first: BlockRef,
    /// The last block of the part.
    pub last: BlockRef,
    /// The blocks with wanted logs, oldest first. Their transactions are not read.
    pub blocks: Vec<FollowedBlock>,
}

/// Reads the logs of `range` (both ends included) that `filter` selects. Chunks come in order and without gaps; an error ends the stream.
/// Nothing runs unless the stream is polled.
pub fn backfill(
    endpoints: Endpoints,
    range: RangeInclusive<u64>,
    filter: LogFilter,
    options: BackfillOptions,
) -> impl Stream<Item = Result<Chunk, ChainError>> + Send + 'static {
    let reader = Reader { endpoints, filter, size: Arc::new(Mutex::new(RangeSize::new(&options))) };
    let plan = Plan {
        reader,
        next: Some(*range.start()).filter(|start| start <= range.end()),
        end: *range.end(),
        concurrency: options.concurrency.max(1),
        running: FuturesOrdered::new(),
    };
    stream::unfold(Some(plan), |plan| async move {
        let mut plan = plan?;
        plan.start_more();
        match plan.running.next().await? {
            Ok(chunk) => Some((Ok(chunk), Some(plan))),
            Err(error) => Some((Err(error), None)),
        }
    })
}

struct Plan {
    reader: Reader,
    next: Option<u64>,
    end: u64,
    concurrency: usize,
    running: FuturesOrdered<BoxFuture<'static, Result<Chunk, ChainError>>>,
}

impl Plan {
    fn start_more(&mut self) {
        while let (true, Some(from)) = (self.running.len() < self.concurrency, self.next) {
            let blocks = self.reader.size.lock().blocks;
            let to = from.saturating_add(blocks - 1).min(self.end);
            let reader = self.reader.clone();
            self.running.push_back(Box::pin(async move { reader.chunk(from, to).await }));
            self.next = to.checked_add(1).filter(|next| *next <= self.end);
        }
    }
}

/// How many blocks are asked for at once, learned from what happens.
struct RangeSize {
    /// Never zero.
    blocks: u64,
    max: u64,
    was_too_large: bool,
    successes: u32,
}

impl RangeSize {
    fn new(options: &BackfillOptions) -> Self {
        let max = options.max_range.max(1);
        Self { blocks: options.initial_range.clamp(1, max), max, was_too_large: false, successes: 0 }
    }

    fn too_large(&mut self, asked: u64) {
        self.was_too_large = true;
        self.successes = 0;
        self.blocks = self.blocks.min((asked / 2).max(1));
    }

    fn succeeded(&mut self, asked: u64) {
        if asked < self.blocks {
            return;
        }
        if !self.was_too_large {
            self.blocks = self.blocks.saturating_mul(2).min(self.max);
            return;
        }
        self.successes += 1;
        if self.successes >= SUCCESSES_TO_GROW {
            self.successes = 0;
            self.blocks = (self.blocks + self.blocks.div_ceil(10)).min(self.max);
        }
    }
}

/// What is known of a part after the first round trip.
struct Part {
    first: Header,
    last: Header,
    logs: Vec<Log>,
    endpoint: usize,
}

#[derive(Clone)]
struct Reader {
    endpoints: Endpoints,
    filter: LogFilter,
    size: Arc<Mutex<RangeSize>>,
}

impl Reader {
    async fn chunk(&self, from: u64, to: u64) -> Result<Chunk, ChainError> {
        let mut position = from;
        let mut ends: Option<(BlockRef, BlockRef)> = None;
        let mut blocks = Vec::new();
        while position <= to {
            let wanted = self.size.lock().blocks.min(to - position + 1);
            let part_to = position + (wanted - 1);
            match self.part(position, part_to).await {
                Ok(part) => {
                    self.size.lock().succeeded(wanted);
                    if ends.is_some_and(|(_, last)| part.first.block.parent_hash != last.hash) {
                        return Err(self.inconsistent(format!("block {position} does not continue the one before it")));
                    }
                    let first = ends.map_or(part.first.block, |(first, _)| first);
                    ends = Some((first, part.last.block));
                    blocks.extend(self.with_headers(part).await?);
                    match part_to.checked_add(1) {
                        Some(next) => position = next,
                        None => break,
                    }
                }
                Err(error) if wanted > 1 && asks_for_less(&error) => {
                    tracing::debug!(chain = self.endpoints.name(), blocks = wanted, %error, "range too large");
                    self.size.lock().too_large(wanted);
                }
                Err(error) => return Err(error),
            }
        }
        match ends {
            Some((first, last)) => Ok(Chunk { from, to, first, last, blocks }),
            None => Err(self.inconsistent(format!("empty range {from} to {to}"))),
        }
    }

    /// First block, last block and logs of a part, from one endpoint.
    async fn part(&self, from: u64, to: u64) -> Result<Part, ChainError> {
        let filter = self.filter.clone().range(from, to);
        let calls = vec![
            block_call(from.into(), false),
            block_call(to.into(), false),
            RpcCall::new("eth_getLogs", json!([filter.to_param()])),
        ];
        let ask = Ask::many(calls).fresh(Freshness::At(to)).ranged();
        let read = |outcomes: &Outcomes| {
            let [first, last, logs] = outcomes.as_slice() else {
                return Err(RpcError::malformed("batch", "not three answers"));
            };
            let first = present(read_header(&first.clone()?, from.into())?)?;
            let last = present(read_header(&last.clone()?, to.into())?)?;
            let logs = read_logs(&logs.clone()?, &filter)?;
            let fits = |log: &Log| {
                (log.block_number != from || log.block_hash == first.block.hash)
                    && (log.block_number != to || log.block_hash == last.block.hash)
            };
            if !logs.iter().all(fits) {
                return Err(RpcError::malformed("eth_getLogs", "logs of another fork than the blocks"));
            }
            Ok((first, last, logs))
        };
        let answered = self.endpoints.ask_majority(&ask, read).await?;
        let (first, last, logs) = answered.value;
        Ok(Part { first, last, logs, endpoint: answered.endpoint })
    }

    /// Gives every block with logs its header.
    async fn with_headers(&self, part: Part) -> Result<Vec<FollowedBlock>, ChainError> {
        let mut blocks: BTreeMap<u64, (B256, Vec<Log>)> = BTreeMap::new();
        for log in part.logs {
            let (hash, logs) = blocks.entry(log.block_number).or_insert_with(|| (log.block_hash, Vec::new()));
            if *hash != log.block_hash {
                return Err(self.inconsistent(format!("logs of two blocks at height {}", log.block_number)));
            }
            logs.push(log);
        }
        let mut headers: BTreeMap<u64, BlockRef> = BTreeMap::new();
        for known in [&part.first.block, &part.last.block] {
            headers.insert(known.number, *known);
        }
        let missing: Vec<B256> =
            blocks.iter().filter(|(number, _)| !headers.contains_key(number)).map(|(_, (hash, _))| *hash).collect();
        for hashes in missing.chunks(HEADERS_PER_ASK) {
            let found = headers_by_hash(&self.endpoints, hashes, Some(part.endpoint)).await?;
            headers.extend(found.into_iter().map(|header| (header.block.number, header.block)));
        }
        let give = |(number, (hash, logs)): (u64, (B256, Vec<Log>))| match headers.get(&number) {
            Some(block) if block.hash == hash => Ok(FollowedBlock { block: *block, logs, transactions: Vec::new() }),
            _ => Err(self.inconsistent(format!("logs name block {hash} at height {number}, which it is not"))),
        };
        blocks.into_iter().map(give).collect()
    }

    fn inconsistent(&self, detail: String) -> ChainError {
        ChainError::Inconsistent { chain: self.endpoints.name().to_owned(), detail }
    }
}

/// Headers by hash, all of them, from one endpoint that has them all.
pub(crate) async fn headers_by_hash(
    endpoints: &Endpoints,
    hashes: &[B256],
    prefer: Option<usize>,
) -> Result<Vec<Header>, ChainError> {
    let calls = hashes.iter().map(|hash| block_call(BlockId::Hash(*hash), false)).collect();
    let ask = Ask::many(calls).preferring(prefer);
    let read = |outcomes: &Outcomes| {
        let pairs = outcomes.iter().zip(hashes);
        pairs.map(|(outcome, hash)| present(read_header(&outcome.clone()?, BlockId::Hash(*hash))?)).collect()
    };
    Ok(endpoints.ask(&ask, read).await?.value)
}

/// A block that the endpoint must have; without it another endpoint is asked.
pub(crate) fn present<T>(found: Option<T>) -> Result<T, RpcError> {
    found.ok_or_else(|| RpcError::response(-32001, "block not found"))
}

/// Whether a smaller range may succeed where this failed.
pub(crate) fn asks_for_less(error: &ChainError) -> bool {
    error.rpc_error().is_some_and(|error| error.is_range_too_large() || matches!(error, RpcError::Timeout { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_double_halve_and_then_creep() {
        let mut size = RangeSize::new(&BackfillOptions { initial_range: 100, max_range: 350, concurrency: 1 });
        size.succeeded(100);
        assert_eq!(size.blocks, 200);
        size.succeeded(100);
        assert_eq!(size.blocks, 200, "a short part proves nothing");
        size.succeeded(200);
        assert_eq!(size.blocks, 350);
        size.too_large(350);
        assert_eq!(size.blocks, 175);
        for _ in 0..SUCCESSES_TO_GROW {
            assert_eq!(size.blocks, 175);
            size.succeeded(175);
        }
        assert_eq!(size.blocks, 193);
        size.too_large(1);
        assert_eq!(size.blocks, 1);
    }
}
