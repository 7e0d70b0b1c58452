//! Reading the logs of blocks that are known by hash, and not believing silence.
//!
//! A node may know a block and not yet have its logs, and then answers with an empty list. The block's bloom filter says whether there
//! can be wanted logs; where it says yes and the answer is empty, the receipts decide, or a second endpoint, or time.

use std::collections::{HashMap, HashSet};

use alloy_primitives::B256;
use serde_json::json;

use super::Follower;
use crate::backfill::{asks_for_less, present};
use crate::endpoints::ask::{Ask, Freshness, Outcomes, single};
use crate::endpoints::reads::read_logs;
use crate::error::ChainError;
use crate::rpc::{RpcCall, RpcError};
use crate::types::{Header, Log, LogFilter, Receipt};

/// Up to so many blocks are read one by one, pinned to their hashes; more are read as a range and checked afterwards.
const PINNED_MAX: usize = 4;
/// Pinned reads in one go.
const PINNED_PER_ASK: usize = 100;
/// Blocks less than this below the head are waited for: their logs come in a moment.
const RECENT_DEPTH: u64 = 3;
/// Where no endpoint offers receipts, a recent doubted block is held back for so many rounds.
const HOLDS_MAX: u32 = 2;

/// Logs by block hash.
pub(super) type LogsByBlock = HashMap<B256, Vec<Log>>;

/// A doubted block that waits for its logs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    hash: B256,
    rounds: u32,
}

impl Follower {
    /// The wanted logs of linked headers, and how many of the headers can be delivered: fewer than all if a block is held back.
    pub(super) async fn logs_of(
        &mut self,
        headers: &[Header],
        head: u64,
        prefer: Option<usize>,
    ) -> Result<(LogsByBlock, usize), ChainError> {
        let Some(filter) = self.config.filter.clone() else {
            return Ok((LogsByBlock::new(), headers.len()));
        };
        let hashes: Vec<B256> = headers.iter().map(|header| header.block.hash).collect();
        // With a quorum always by hash: ranges of endpoints at different heads differ without anybody lying.
        let mut logs = if hashes.len() <= PINNED_MAX || self.endpoints.quorum() > 1 {
            self.pinned_logs(&filter, &hashes, prefer).await?
        } else {
            self.range_logs(&filter, headers, prefer).await?
        };
        for (index, header) in headers.iter().enumerate() {
            let recent = head.saturating_sub(header.block.number) < RECENT_DEPTH;
            let silent = logs.get(&header.block.hash).is_none_or(Vec::is_empty);
            let doubted = header.logs_bloom.as_ref().is_some_and(|bloom| filter.may_match(bloom));
            if !(silent && doubted) {
                continue;
            }
            match self.confirm_silence(&filter, header, recent, prefer).await? {
                Some(found) => {
                    logs.insert(header.block.hash, found);
                }
                None => {
                    let (chain, number) = (self.endpoints.name(), header.block.number);
                    tracing::debug!(chain, number, "the logs of a block are not there yet; waiting");
                    return Ok((logs, index));
                }
            }
        }
        self.held = Held::default();
        Ok((logs, headers.len()))
    }

    /// Reads a range at once, and again by hash what does not fit to the headers or contradicts the bloom filter.
    async fn range_logs(&self, filter: &LogFilter, headers: &[Header], prefer: Option<usize>) -> Result<LogsByBlock, ChainError> {
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else {
            return Ok(LogsByBlock::new());
        };
        let all = || headers.iter().map(|header| header.block.hash).collect::<Vec<_>>();
        let filter_range = filter.clone().range(first.block.number, last.block.number);
        let ask = Ask::one("eth_getLogs", json!([filter_range.to_param()]))
            .fresh(Freshness::At(last.block.number))
            .preferring(prefer)
            .ranged();
        let found = match self.endpoints.ask(&ask, |outcomes| read_logs(single(outcomes)?, &filter_range)).await {
            Ok(answered) => answered.value,
            Err(error) if asks_for_less(&error) => {
                return self.pinned_logs(filter, &all(), prefer).await;
            }
            Err(error) => return Err(error),
        };
        let known: HashSet<B256> = all().into_iter().collect();
        if !found.iter().all(|log| known.contains(&log.block_hash)) {
            // The range was read from another fork than the headers.
            return self.pinned_logs(filter, &all(), prefer).await;
        }
        let mut logs = LogsByBlock::new();
        for log in found {
            logs.entry(log.block_hash).or_default().push(log);
        }
        let suspicious = |header: &&Header| {
            !logs.contains_key(&header.block.hash) && header.logs_bloom.as_ref().is_some_and(|bloom| filter.may_match(bloom))
        };
        let doubted: Vec<B256> = headers.iter().filter(suspicious).map(|header| header.block.hash).collect();
        logs.extend(self.pinned_logs(filter, &doubted, prefer).await?);
        Ok(logs)
    }

    /// Reads the logs of each block by its hash.
    async fn pinned_logs(&self, filter: &LogFilter, hashes: &[B256], prefer: Option<usize>) -> Result<LogsByBlock, ChainError> {
        let mut logs = LogsByBlock::new();
        for part in hashes.chunks(PINNED_PER_ASK) {
            let filters: Vec<LogFilter> = part.iter().map(|hash| filter.clone().at_block(*hash)).collect();
            let calls = filters.iter().map(|filter| RpcCall::new("eth_getLogs", json!([filter.to_param()]))).collect();
            let ask = Ask::many(calls).preferring(prefer);
            let read = |outcomes: &Outcomes| -> Result<Vec<Vec<Log>>, RpcError> {
                outcomes.iter().zip(&filters).map(|(outcome, filter)| read_logs(&outcome.clone()?, filter)).collect()
            };
            let found = self.endpoints.ask_majority(&ask, read).await.map_err(|error| self.vanished(error))?;
            logs.extend(part.iter().copied().zip(found.value));
        }
        Ok(logs)
    }

    /// A block that vanished between reading the header and reading its logs was reorganised away: the round starts anew.
    fn vanished(&self, error: ChainError) -> ChainError {
        match error {
            ChainError::Rpc { source, .. } if source.is_state_missing() => {
                self.inconsistent("a block vanished while its logs were read")
            }
            error => error,
        }
    }

    /// Logs of a block that seems to have none although its bloom filter says that it may. `None`: wait.
    async fn confirm_silence(
        &mut self,
        filter: &LogFilter,
        header: &Header,
        recent: bool,
        prefer: Option<usize>,
    ) -> Result<Option<Vec<Log>>, ChainError> {
        match self.logs_from_receipts(filter, header, prefer).await {
            Ok(logs) => return Ok(Some(logs)),
            Err(ChainError::Rpc { source, .. }) if source.is_state_missing() => {
                if recent {
                    return Ok(None);
                }
                return Err(self.inconsistent(format!(
                    "the bloom filter of block {} promises logs, but no endpoint has them",
                    header.block.number
                )));
            }
            // The method is not offered; other failures are those of the endpoints.
            Err(ChainError::QuorumNotReached { .. }) => {}
            Err(error) if matches!(error.rpc_error(), Some(RpcError::Response { .. })) => {}
            Err(error) => return Err(error),
        }
        let hash = header.block.hash;
        let again = self.pinned_logs(filter, &[hash], self.endpoints.another_than(prefer)).await?;
        let again: Vec<Log> = again.into_values().flatten().collect();
        if !again.is_empty() || !recent {
            return Ok(Some(again));
        }
        if self.held.hash != hash {
            self.held = Held { hash, rounds: 0 };
        }
        self.held.rounds += 1;
        // Asked again in each of these rounds and always empty: the bloom filter was a false alarm.
        Ok((self.held.rounds > HOLDS_MAX).then(Vec::new))
    }

    /// The wanted logs of a block out of its receipts, from an endpoint that has them.
    async fn logs_from_receipts(
        &self,
        filter: &LogFilter,
        header: &Header,
        prefer: Option<usize>,
    ) -> Result<Vec<Log>, ChainError> {
        let hash = header.block.hash;
        let ask = Ask::one("eth_getBlockReceipts", json!([hash])).preferring(prefer);
        let read = |outcomes: &Outcomes| {
            let receipts: Option<Vec<Receipt>> = single(outcomes)?.parse("eth_getBlockReceipts")?;
            let receipts = present(receipts)?;
            if receipts.iter().any(|receipt| receipt.block_hash != hash) {
                return Err(RpcError::malformed("eth_getBlockReceipts", "receipts of another block"));
            }
            // No receipts for a block with transactions: the node has not got them yet.
            present((!receipts.is_empty() || header.transaction_count == 0).then_some(receipts))
        };
        let receipts = self.endpoints.ask_majority(&ask, read).await?.value;
        let logs = receipts.into_iter().flat_map(|receipt| receipt.logs);
        Ok(logs.filter(|log| filter.matches(log)).collect())
    }
}
