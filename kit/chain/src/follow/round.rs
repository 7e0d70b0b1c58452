//! One round of following: where is the chain, where are we, what comes next.

use serde_json::json;

use super::batch::FollowedBlock;
use super::catch_up::Sparse;
use super::window::{self, Window};
use super::{Batch, Delivery, Follower, Origin, Start};
use crate::backfill::present;
use crate::endpoints::ask::{Ask, Freshness, Outcomes, single};
use crate::endpoints::reads::{block_call, read_block, read_header};
use crate::error::ChainError;
use crate::rpc::{RpcCall, RpcError};
use crate::types::{Block, BlockId, BlockRef, Header, Transactions};

/// How often a round starts anew when the chain moves while it is read.
const ATTEMPTS: u32 = 3;
/// Heights asked for at once while the common ancestor is searched: a few first, because most reorganisations are shallow.
const ANCESTOR_STEP_MIN: usize = 4;
const ANCESTOR_STEP_MAX: usize = 64;
/// Whole blocks asked for at once.
const BLOCKS_PER_ASK: usize = 50;

/// What the round leads to.
struct Target {
    number: u64,
    /// The block of that height, where the head says it already.
    block: Option<BlockRef>,
    /// Its header, where it is known.
    header: Option<Header>,
    /// The endpoint that showed the head: it has the blocks below, too.
    source: Option<usize>,
    head: BlockRef,
}

/// Headers that should continue a block.
enum Linked {
    /// They do.
    Headers(Vec<Header>),
    /// They continue another block.
    OtherBranch,
    /// The endpoint does not have the first of them.
    Nothing,
}

impl Follower {
    pub(super) async fn round(&mut self) -> Result<Option<Batch>, ChainError> {
        self.sync_with_store().await?;
        let mut outcome = self.attempt().await;
        for _ in 1..ATTEMPTS {
            if !matches!(outcome, Err(ChainError::Inconsistent { .. })) {
                break;
            }
            outcome = self.attempt().await;
        }
        if let Ok(Some(batch)) = &outcome {
            self.pending = Some(self.window.after(batch));
        }
        outcome
    }

    /// The store is the truth; memory follows it.
    async fn sync_with_store(&mut self) -> Result<(), ChainError> {
        let stored = window::stored_position(&self.store, &self.config.subscriber).await?;
        if stored == self.window.position() {
            return Ok(());
        }
        self.window = match self.pending.take() {
            Some(pending) if pending.position() == stored => pending,
            _ => Window::load(&self.store, &self.config.subscriber).await?,
        };
        Ok(())
    }

    async fn attempt(&mut self) -> Result<Option<Batch>, ChainError> {
        let (head, source) = self.endpoints.head_header().await?;
        self.status.send_if_modified(|status| status.head.replace(head.block) != Some(head.block));
        if self.idle == Some((head.block, self.window.position())) {
            return Ok(None);
        }
        let Some(target) = self.target(head, source).await? else { return Ok(None) };
        match self.window.tip().copied() {
            None => self.begin(target).await,
            Some(tip) if target.number <= tip.number => self.not_higher(tip, target).await,
            Some(tip) => self.forward(tip, target).await,
        }
    }

    /// The highest block that may be delivered.
    async fn target(&self, head: Header, source: usize) -> Result<Option<Target>, ChainError> {
        let source = Some(source);
        let block = head.block;
        Ok(match self.config.delivery {
            Delivery::Instant | Delivery::Confirmed(0) => {
                Some(Target { number: block.number, block: Some(block), header: Some(head), source, head: block })
            }
            Delivery::Confirmed(depth) => {
                block.number.checked_sub(depth).map(|number| Target { number, block: None, header: None, source, head: block })
            }
            Delivery::Finalized => {
                let settled = self.endpoints.finalized().await?;
                Some(Target { number: settled.number, block: Some(settled), header: None, source, head: block })
            }
        })
    }

    /// The first batch of a subscriber.
    async fn begin(&mut self, target: Target) -> Result<Option<Batch>, ChainError> {
        let start = match self.config.start {
            Start::Head => target.number,
            Start::Block(number) if number > target.number => return Ok(None),
            Start::Block(number) => number,
        };
        if let Sparse::Batch(batch) = self.sparse_step(start, target.number, target.head).await? {
            return Ok(Some(*batch));
        }
        match self.linked_headers(start, None, &target).await? {
            Linked::Headers(headers) => self.deliver(Vec::new(), headers, &target).await,
            Linked::OtherBranch | Linked::Nothing => Ok(None),
        }
    }

    /// The chain shows a head that is not above what was delivered: nothing new, a late endpoint, or another branch.
    async fn not_higher(&mut self, tip: BlockRef, target: Target) -> Result<Option<Batch>, ChainError> {
        let shown = match target.block {
            Some(block) => Some(block),
            None => self.endpoints.block_ref(target.number).await?,
        };
        let Some(shown) = shown else { return Ok(None) };
        let known = self.window.at(target.number).map(|known| known.hash == shown.hash);
        if known == Some(true) {
            self.idle = Some((target.head, self.window.position()));
            return Ok(None);
        }
        if self.is_canonical_somewhere(&tip).await? {
            // The head came from an endpoint that is late, on a branch that lost.
            return Ok(None);
        }
        if known.is_some() {
            return self.reorganise(tip, target).await;
        }
        // So far below that we do not remember the height. Late by a little is no matter, and another branch will grow.
        if tip.number - target.number <= self.config.max_reorg_depth {
            return Ok(None);
        }
        Err(self.inconsistent(format!(
            "the endpoints' head {} is far below the last delivered block {}",
            target.head.number, tip.number
        )))
    }

    /// Whether any endpoint has this block in its canonical chain. All are asked, one after the other.
    async fn is_canonical_somewhere(&self, block: &BlockRef) -> Result<bool, ChainError> {
        let ask = Ask::many(vec![block_call(block.number.into(), false)]);
        let read = |outcomes: &Outcomes| {
            let shown = read_header(single(outcomes)?, block.number.into())?;
            present(shown.filter(|shown| shown.block.hash == block.hash))
        };
        match self.endpoints.ask(&ask, read).await {
            Ok(_) => Ok(true),
            Err(ChainError::Rpc { source, .. }) if source.is_state_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The chain is higher than what was delivered.
    async fn forward(&mut self, tip: BlockRef, target: Target) -> Result<Option<Batch>, ChainError> {
        if let Sparse::Batch(batch) = self.sparse_step(tip.number + 1, target.number, target.head).await? {
            return Ok(Some(*batch));
        }
        match self.linked_headers(tip.number + 1, Some(tip), &target).await? {
            Linked::Headers(headers) => self.deliver(Vec::new(), headers, &target).await,
            Linked::OtherBranch => self.reorganise(tip, target).await,
            // The endpoint announced a head whose ancestors it does not have yet.
            Linked::Nothing => Ok(None),
        }
    }

    /// Goes back to the last common block and forward on the other branch.
    async fn reorganise(&mut self, tip: BlockRef, target: Target) -> Result<Option<Batch>, ChainError> {
        let ancestor = self.common_ancestor(tip, &target).await?;
        let start = match ancestor {
            Some(ancestor) => ancestor.number + 1,
            None => self.window.first_number.unwrap_or(tip.number),
        };
        let removed: Vec<BlockRef> = self.window.newest_first().take_while(|one| one.number >= start).copied().collect();
        match self.linked_headers(start, ancestor, &target).await? {
            Linked::Headers(headers) => self.deliver(removed, headers, &target).await,
            Linked::OtherBranch | Linked::Nothing => Err(self.inconsistent("the chain changed while a reorganisation was read")),
        }
    }

    /// The highest delivered block that is still canonical. `None`: not even the first delivered block is.
    async fn common_ancestor(&self, tip: BlockRef, target: &Target) -> Result<Option<BlockRef>, ChainError> {
        let too_deep = || ChainError::ReorgTooDeep {
            chain: self.endpoints.name().to_owned(),
            subscriber: self.config.subscriber.clone(),
            limit: self.config.max_reorg_depth,
            tip: tip.number,
        };
        let within = |block: &&BlockRef| tip.number - block.number <= self.config.max_reorg_depth;
        let delivered: Vec<BlockRef> = self.window.newest_first().take_while(within).copied().collect();
        let mut left = delivered.iter().filter(|block| block.number <= target.number).copied().collect::<Vec<_>>();
        let mut step = ANCESTOR_STEP_MIN;
        while !left.is_empty() {
            let part: Vec<BlockRef> = left.drain(..step.min(left.len())).collect();
            let numbers: Vec<u64> = part.iter().map(|block| block.number).collect();
            let found = self.headers_at(&numbers, target.source).await?;
            let same =
                part.iter().zip(found).find(|(ours, found)| found.as_ref().is_some_and(|found| found.block.hash == ours.hash));
            if let Some((ours, _)) = same {
                return Ok(Some(*ours));
            }
            step = (step * 4).min(ANCESTOR_STEP_MAX);
        }
        // Everything within reach is gone. That is in order only if it is all that was ever delivered.
        let first_gone = self.window.lowest().map(|lowest| lowest.number) == self.window.first_number;
        let whole_depth = self.window.first_number.and_then(|first| tip.number.checked_sub(first));
        if first_gone && whole_depth.is_some_and(|depth| depth < self.config.max_reorg_depth) {
            return Ok(None);
        }
        Err(too_deep())
    }

    /// Headers from `start` towards the target that link to each other and to `parent`.
    async fn linked_headers(&self, start: u64, parent: Option<BlockRef>, target: &Target) -> Result<Linked, ChainError> {
        let end = target.number.min(start.saturating_add(self.config.batch_blocks.max(1) - 1));
        let mut headers: Vec<Header> = match &target.header {
            Some(header) if start == target.number => vec![header.clone()],
            _ => {
                let numbers: Vec<u64> = (start..=end).collect();
                self.headers_at(&numbers, target.source).await?.into_iter().map_while(|header| header).collect()
            }
        };
        let Some(first) = headers.first() else { return Ok(Linked::Nothing) };
        if parent.is_some_and(|parent| first.block.parent_hash != parent.hash) {
            return Ok(Linked::OtherBranch);
        }
        // The chain may have moved between two of the answers; what links is still right.
        let broken = headers.windows(2).position(|pair| match pair {
            [a, b] => b.block.parent_hash != a.block.hash,
            _ => false,
        });
        if let Some(broken) = broken {
            headers.truncate(broken + 1);
        }
        Ok(Linked::Headers(headers))
    }

    /// Headers by height; `None` where the endpoint has none.
    async fn headers_at(&self, numbers: &[u64], prefer: Option<usize>) -> Result<Vec<Option<Header>>, ChainError> {
        let calls: Vec<RpcCall> = numbers.iter().map(|number| block_call((*number).into(), false)).collect();
        let highest = numbers.iter().max().copied().unwrap_or_default();
        let ask = Ask::many(calls).fresh(Freshness::At(highest)).preferring(prefer);
        let read = |outcomes: &Outcomes| {
            let pairs = outcomes.iter().zip(numbers);
            pairs
                .map(|(outcome, number)| match outcome {
                    Ok(answer) => read_header(answer, (*number).into()),
                    Err(error) if error.is_state_missing() => Ok(None),
                    Err(error) => Err(error.clone()),
                })
                .collect::<Result<Vec<_>, RpcError>>()
        };
        Ok(self.endpoints.ask(&ask, read).await?.value)
    }

    /// Adds logs and transactions to headers and makes the batch.
    async fn deliver(
        &mut self,
        removed: Vec<BlockRef>,
        mut headers: Vec<Header>,
        target: &Target,
    ) -> Result<Option<Batch>, ChainError> {
        let (mut logs, ready) = self.logs_of(&headers, target.head.number, target.source).await?;
        headers.truncate(ready);
        if headers.is_empty() {
            return Ok(None);
        }
        let transactions = self.transactions_of(&headers, target.source).await?;
        let blocks = headers.iter().zip(transactions);
        let added = blocks.map(|(header, transactions)| FollowedBlock {
            block: header.block,
            logs: logs.remove(&header.block.hash).unwrap_or_default(),
            transactions,
        });
        let added = added.collect();
        Ok(Some(self.batch(removed, added, target.head)))
    }

    /// The transactions of every block, or empty lists if they are not wanted.
    async fn transactions_of(
        &self,
        headers: &[Header],
        prefer: Option<usize>,
    ) -> Result<Vec<Vec<crate::Transaction>>, ChainError> {
        if !self.config.transactions {
            return Ok(vec![Vec::new(); headers.len()]);
        }
        let mut all = Vec::with_capacity(headers.len());
        for part in headers.chunks(BLOCKS_PER_ASK) {
            let ids: Vec<BlockId> = part.iter().map(|header| BlockId::Hash(header.block.hash)).collect();
            let calls = part.iter().map(|header| RpcCall::new("eth_getBlockByHash", json!([header.block.hash, true]))).collect();
            let read = |outcomes: &Outcomes| {
                let pairs = outcomes.iter().zip(&ids);
                pairs
                    .map(|(outcome, id)| present(read_block(&outcome.clone()?, *id, true)?))
                    .collect::<Result<Vec<Block>, RpcError>>()
            };
            let blocks = self.endpoints.ask(&Ask::many(calls).preferring(prefer), read).await;
            let blocks = blocks.map_err(|error| match error {
                ChainError::Rpc { source, .. } if source.is_state_missing() => {
                    self.inconsistent("a block vanished while its transactions were read")
                }
                error => error,
            })?;
            all.extend(blocks.value.into_iter().map(|block| match block.transactions {
                Transactions::Full(transactions) => transactions,
                Transactions::Hashes(_) => Vec::new(),
            }));
        }
        Ok(all)
    }

    pub(super) fn batch(&self, removed: Vec<BlockRef>, added: Vec<FollowedBlock>, head: BlockRef) -> Batch {
        let origin = Origin {
            chain: self.endpoints.name().to_owned(),
            subscriber: self.config.subscriber.clone(),
            previous: self.window.position(),
            window: self.config.window.max(self.config.max_reorg_depth.saturating_add(1)),
        };
        Batch { removed, added, head, origin }
    }
}
