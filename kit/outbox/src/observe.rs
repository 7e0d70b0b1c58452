//! Reading the chain: what the account looks like, what became of its nonces, what an intent's gas is.
//!
//! Nothing is concluded from one missing answer. Inclusion is only taken from a receipt whose block is canonical; a foreign
//! use of a nonce only from the block in which the account's count passed it, or, where no endpoint has that history any
//! more, from a count at finality depth together with receipts that the quorum denies for many heads.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use alloy_primitives::{Address, B256, Bytes, U256};
use futures::StreamExt;
use windlass_chain::{BlockId, BlockRef, CallRequest, ChainError, Endpoints, Receipt, Transactions};
use windlass_store::BoxFuture;

use crate::config::{FeeMode, OutboxConfig};
use crate::fees::Market;
use crate::machine::{Finding, Inclusion, Slot};

/// Blocks whose receipts are always read whole; more only while that is cheaper than one request per nonce.
const SCAN_LIMIT: u64 = 8;
/// Requests in flight at the same time while many blocks or receipts are read.
const READ_CONCURRENCY: usize = 8;
/// Heads for which a nonce must stay unclear before missing receipts count, where its history cannot be read.
const PATIENCE: u64 = 32;
/// Most nonces per round that are searched for a foreign transaction: each costs about a dozen requests.
const SEARCH_LIMIT: usize = 4;

/// Number of a block, and what was read of it.
type Numbered<T> = (u64, Result<Option<T>, ChainError>);

/// The account and the market, as one endpoint answered.
#[derive(Debug, Clone)]
pub(crate) struct Observation {
    pub(crate) head: BlockRef,
    pub(crate) count: u64,
    pub(crate) balance: U256,
    pub(crate) market: Market,
}

/// One look at the chain, and how it relates to the one before.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) last: Option<BlockRef>,
    pub(crate) seen: Observation,
    pub(crate) progress: Progress,
    pub(crate) canonical: Canonical,
}

/// How the head relates to the one seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing was seen before: anything may have happened.
    First,
    /// Same block.
    Same,
    /// The old head is an ancestor: no reorganisation.
    Forward,
    /// It is not, or that cannot be told.
    Doubtful,
}

/// The chain as one account sees it.
#[derive(Clone)]
pub(crate) struct Chain {
    pub(crate) endpoints: Endpoints,
    pub(crate) account: Address,
}

/// Canonical hashes by number, read once per round.
#[derive(Debug, Default)]
pub(crate) struct Canonical(HashMap<u64, Option<B256>>);

impl Look {
    /// Whether this look compared the chain with `last`.
    pub(crate) fn follows(&self, last: Option<&Observation>) -> bool {
        self.last.map(|block| block.hash) == last.map(|last| last.head.hash)
    }
}

impl Chain {
    /// Looks at the account, and finds out whether the chain only grew since the last look.
    pub(crate) async fn look(&self, config: &OutboxConfig, last: Option<&Observation>) -> Result<Look, ChainError> {
        let mut canonical = Canonical::default();
        let mut seen = self.observe(config, last).await?;
        let last_head = last.map(|last| last.head);
        let progress = self.progress(last_head.as_ref(), &seen.head, &mut canonical).await?;
        if let (Progress::Same | Progress::Forward, Some(last)) = (progress, last) {
            // On one branch the count never falls: a lower one is the answer of an endpoint that lags.
            seen.count = seen.count.max(last.count);
        }
        Ok(Look { last: last_head, seen, progress, canonical })
    }

    /// Reads head, count, balance and fees. Fee suggestions are kept while the head is the same.
    async fn observe(&self, config: &OutboxConfig, last: Option<&Observation>) -> Result<Observation, ChainError> {
        let head = self.endpoints.head().await?;
        let (count, balance) = futures::try_join!(
            self.endpoints.transaction_count(self.account, BlockId::LATEST),
            self.endpoints.balance(self.account, BlockId::LATEST),
        )?;
        let market = match last {
            Some(last) if last.head.hash == head.hash => last.market,
            _ => self.market(config, &head).await?,
        };
        Ok(Observation { head, count, balance, market })
    }

    async fn market(&self, config: &OutboxConfig, head: &BlockRef) -> Result<Market, ChainError> {
        let base_fee = head.base_fee_per_gas.map(u128::from);
        let legacy = match config.fee.mode {
            FeeMode::Detect => base_fee.is_none(),
            FeeMode::Eip1559 => false,
            FeeMode::Legacy => true,
        };
        if legacy {
            return Ok(Market { base_fee, priority_fee: 0, gas_price: self.endpoints.gas_price().await? });
        }
        // Not every node offers the suggestion; the gas price holds one as well. Without either the least fee is offered,
        // and escalation finds the price.
        let priority_fee = match self.endpoints.max_priority_fee().await {
            Ok(fee) => fee,
            Err(_) => match self.endpoints.gas_price().await {
                Ok(price) => price.saturating_sub(base_fee.unwrap_or(0)),
                Err(_) => config.fee.min_priority_fee_per_gas,
            },
        };
        Ok(Market { base_fee, priority_fee, gas_price: base_fee.unwrap_or(0).saturating_add(priority_fee) })
    }

    /// Tells how `head` follows `last`.
    async fn progress(
        &self,
        last: Option<&BlockRef>,
        head: &BlockRef,
        canonical: &mut Canonical,
    ) -> Result<Progress, ChainError> {
        canonical.0.insert(head.number, Some(head.hash));
        let Some(last) = last else { return Ok(Progress::First) };
        if last.hash == head.hash {
            return Ok(Progress::Same);
        }
        if head.parent_hash == last.hash {
            return Ok(Progress::Forward);
        }
        if head.number > last.number && self.hash_of(last.number, canonical).await? == Some(last.hash) {
            return Ok(Progress::Forward);
        }
        Ok(Progress::Doubtful)
    }

    /// Hash of the canonical block `number`; `None` when the endpoint has no such block.
    pub(crate) async fn hash_of(&self, number: u64, canonical: &mut Canonical) -> Result<Option<B256>, ChainError> {
        if let Some(known) = canonical.0.get(&number) {
            return Ok(*known);
        }
        let hash = self.endpoints.block_ref(BlockId::Number(number)).await?.map(|block| block.hash);
        canonical.0.insert(number, hash);
        Ok(hash)
    }

    /// Looks for what used the open nonces below the account's count.
    ///
    /// One request per new block where few blocks are new, else one per attempt.
    pub(crate) async fn find(
        &self,
        open: &[Slot],
        seen: &Observation,
        last: Option<&BlockRef>,
        canonical: &mut Canonical,
    ) -> Result<BTreeMap<u64, Finding>, ChainError> {
        let wanted: Vec<&Slot> = open.iter().filter(|slot| slot.nonce < seen.count).collect();
        let mut findings = BTreeMap::new();
        if wanted.is_empty() {
            return Ok(findings);
        }
        if let Some(last) = last {
            let new_blocks = seen.head.number.saturating_sub(last.number);
            let limit = SCAN_LIMIT.max(wanted.len() as u64);
            if (1..=limit).contains(&new_blocks) {
                self.scan(last.number.saturating_add(1)..=seen.head.number, &wanted, canonical, &mut findings).await;
            }
        }
        let open: Vec<&Slot> = wanted.into_iter().filter(|slot| !findings.contains_key(&slot.nonce)).collect();
        let asking: Vec<BoxFuture<'_, _>> =
            open.iter().map(|slot| Box::pin(self.receipts_of(slot)) as BoxFuture<'_, _>).collect();
        let answers: Vec<Result<Vec<Receipt>, ChainError>> =
            futures::stream::iter(asking).buffered(READ_CONCURRENCY).collect().await;
        let mut failure = None;
        for (slot, receipts) in open.into_iter().zip(answers) {
            // A node that fails for one hash must not hold up what it knows of the others.
            match self.canonical_of(receipts, canonical).await {
                Ok(finding) => {
                    findings.insert(slot.nonce, finding);
                }
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if findings.is_empty() => Err(error),
            Some(error) => {
                tracing::debug!(%error, "some receipts could not be read; trying again");
                Ok(findings)
            }
            None => Ok(findings),
        }
    }

    /// What the receipts of a nonce's attempts say: the one whose block is on the chain counts.
    async fn canonical_of(
        &self,
        receipts: Result<Vec<Receipt>, ChainError>,
        canonical: &mut Canonical,
    ) -> Result<Finding, ChainError> {
        for receipt in receipts? {
            if self.hash_of(receipt.block_number, canonical).await? == Some(receipt.block_hash) {
                return Ok(Finding::Ours(inclusion(&receipt)));
            }
        }
        Ok(Finding::Unclear)
    }

    /// Reads all receipts of new blocks, one request per block. A block that cannot be read (not every node offers that) ends
    /// the scan: single receipts are asked for instead.
    async fn scan(
        &self,
        numbers: std::ops::RangeInclusive<u64>,
        wanted: &[&Slot],
        canonical: &mut Canonical,
        findings: &mut BTreeMap<u64, Finding>,
    ) {
        let of_hash: HashMap<B256, u64> =
            wanted.iter().flat_map(|slot| slot.attempts.iter().map(|attempt| (attempt.hash, slot.nonce))).collect();
        let reading: Vec<BoxFuture<'_, Numbered<Vec<Receipt>>>> = numbers
            .map(|number| {
                Box::pin(async move { (number, self.endpoints.block_receipts(BlockId::Number(number)).await) })
                    as BoxFuture<'_, _>
            })
            .collect();
        let mut blocks = futures::stream::iter(reading).buffered(READ_CONCURRENCY);
        while let Some((number, receipts)) = blocks.next().await {
            let Ok(Some(receipts)) = receipts else { return };
            for receipt in receipts {
                // The head's hash is known: a block of another branch in its place is not taken.
                let known = *canonical.0.entry(number).or_insert(Some(receipt.block_hash));
                if let Some(nonce) = of_hash.get(&receipt.transaction_hash)
                    && known == Some(receipt.block_hash)
                {
                    findings.insert(*nonce, Finding::Ours(inclusion(&receipt)));
                }
            }
            if findings.len() == wanted.len() {
                return;
            }
        }
    }

    /// Receipts of all attempts of a nonce, newest first: any of them may be the one in the block.
    async fn receipts_of(&self, slot: &Slot) -> Result<Vec<Receipt>, ChainError> {
        let mut found = Vec::new();
        for attempt in slot.attempts.iter().rev() {
            found.extend(self.endpoints.receipt(attempt.hash).await?);
        }
        Ok(found)
    }

    /// Reads the hashes of many blocks at once, so that [`Chain::hash_of`] knows them. A failure leaves a block unknown.
    pub(crate) async fn learn(&self, numbers: impl IntoIterator<Item = u64>, canonical: &mut Canonical) {
        let missing: BTreeSet<u64> = numbers.into_iter().filter(|number| !canonical.0.contains_key(number)).collect();
        let reading: Vec<BoxFuture<'_, Numbered<BlockRef>>> = missing
            .into_iter()
            .map(|number| {
                Box::pin(async move { (number, self.endpoints.block_ref(BlockId::Number(number)).await) }) as BoxFuture<'_, _>
            })
            .collect();
        let mut blocks = futures::stream::iter(reading).buffered(READ_CONCURRENCY);
        while let Some((number, block)) = blocks.next().await {
            if let Ok(block) = block {
                canonical.0.insert(number, block.map(|block| block.hash));
            }
        }
    }

    /// Searches what used the nonces that stayed unclear at an earlier head already.
    pub(crate) async fn search(
        &self,
        config: &OutboxConfig,
        open: &[Slot],
        seen: &Observation,
        suspects: &mut BTreeMap<u64, Suspect>,
        findings: &mut BTreeMap<u64, Finding>,
    ) {
        let unclear: BTreeSet<u64> =
            findings.iter().filter(|(_, finding)| matches!(finding, Finding::Unclear)).map(|(nonce, _)| *nonce).collect();
        suspects.retain(|nonce, _| unclear.contains(nonce));
        let mut budget = SEARCH_LIMIT;
        for slot in open.iter().filter(|slot| unclear.contains(&slot.nonce)) {
            let suspect = suspects.entry(slot.nonce).or_insert(Suspect { first: seen.head.number, asked: seen.head.number });
            // A node that lags behind its own count has the receipt one block later.
            if suspect.asked == seen.head.number || budget == 0 {
                continue;
            }
            suspect.asked = seen.head.number;
            budget -= 1;
            match self.locate(config, slot, &seen.head, suspect.first).await {
                Ok(Some(finding)) => {
                    findings.insert(slot.nonce, finding);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(nonce = slot.nonce, %error, "the use of a nonce could not be searched");
                }
            }
        }
    }

    /// Finds the transaction that used the nonce of `slot`: the block in which the account's count passes the nonce holds it.
    async fn locate(
        &self,
        config: &OutboxConfig,
        slot: &Slot,
        head: &BlockRef,
        since: u64,
    ) -> Result<Option<Finding>, ChainError> {
        let nonce = slot.nonce;
        let deep = head.number.saturating_sub(config.finality_depth);
        let buried = self.sure_count(BlockId::Number(deep)).await? > nonce;
        let Some(low) = self.count_below(nonce, deep, config.finality_depth).await else {
            // No node has the state of that time any more.
            return self.denied_for_long(slot, buried, head.number.saturating_sub(since)).await;
        };
        let (mut low, mut high) = (low, head.number);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.count_at(middle).await? > nonce {
                high = middle;
            } else {
                low = middle;
            }
        }
        let Some(block) = self.endpoints.block(BlockId::Number(high), true).await? else { return Ok(None) };
        let Transactions::Full(transactions) = block.transactions else { return Ok(None) };
        match transactions.iter().find(|one| one.from == self.account && one.nonce == nonce) {
            Some(own) if slot.attempts.iter().any(|attempt| attempt.hash == own.hash) => {
                let receipt = self.receipt_in(own.hash, block.header.block.hash).await?;
                Ok(receipt.map(|receipt| Finding::Ours(inclusion(&receipt))))
            }
            // Signed by this key for this very nonce: no doubt is left.
            Some(foreign) => Ok(Some(Finding::Foreign { hash: Some(foreign.hash), buried })),
            // No transaction of the account used it there: a delegation of the account did (EIP-7702), or the counts came from
            // two branches.
            None => self.denied_for_long(slot, buried, head.number.saturating_sub(since)).await,
        }
    }

    /// The receipt of a transaction that was seen in a block; some nodes tell it only with the whole block.
    async fn receipt_in(&self, hash: B256, block: B256) -> Result<Option<Receipt>, ChainError> {
        if let Some(receipt) = self.endpoints.receipt(hash).await?.filter(|receipt| receipt.block_hash == block) {
            return Ok(Some(receipt));
        }
        let receipts = self.endpoints.block_receipts(BlockId::Hash(block)).await?.unwrap_or_default();
        Ok(receipts.into_iter().find(|receipt| receipt.transaction_hash == hash))
    }

    /// Where nobody can show what used a nonce. A missing receipt alone proves nothing, so it takes all there is: the count at
    /// finality depth, every receipt denied by the quorum, and that for many heads.
    async fn denied_for_long(&self, slot: &Slot, buried: bool, heads: u64) -> Result<Option<Finding>, ChainError> {
        let gone = buried && heads >= PATIENCE && self.all_denied(slot).await?;
        Ok(gone.then_some(Finding::Foreign { hash: None, buried }))
    }

    /// A block at which the nonce was not used yet, looked for in growing steps below `from`; `None` when no endpoint can tell.
    async fn count_below(&self, nonce: u64, from: u64, step: u64) -> Option<u64> {
        let (mut number, mut step) = (from, step.max(1));
        loop {
            number = number.saturating_sub(step);
            if self.count_at(number).await.ok()? <= nonce {
                return Some(number);
            }
            if number == 0 {
                return None;
            }
            step = step.saturating_mul(4);
        }
    }

    /// Whether the quorum of endpoints denies every attempt of a nonce.
    async fn all_denied(&self, slot: &Slot) -> Result<bool, ChainError> {
        for attempt in &slot.attempts {
            if self.endpoints.quorum_receipt(self.endpoints.quorum(), attempt.hash).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn count_at(&self, number: u64) -> Result<u64, ChainError> {
        self.endpoints.transaction_count(self.account, BlockId::Number(number)).await
    }

    /// A count that decides about money: a nonce given up for good.
    pub(crate) async fn sure_count(&self, block: BlockId) -> Result<u64, ChainError> {
        self.endpoints.quorum_transaction_count(self.endpoints.quorum(), self.account, block).await
    }

    /// Hash of a block that makes something final, agreed on by the quorum.
    pub(crate) async fn sure_hash(&self, number: u64) -> Result<Option<B256>, ChainError> {
        let block = self.endpoints.quorum_block_ref(self.endpoints.quorum(), BlockId::Number(number)).await?;
        Ok(block.map(|block| block.hash))
    }

    /// Gas of a call by the account. The state is the node's default, newest or pending.
    pub(crate) async fn estimate(
        &self,
        to: Option<Address>,
        value: U256,
        data: Bytes,
        gas: Option<u64>,
    ) -> Result<u64, ChainError> {
        let request = CallRequest { from: Some(self.account), to, value: Some(value), data, gas, ..CallRequest::default() };
        self.endpoints.estimate_gas(&request).await
    }

    /// Why an included transaction reverted, as far as an endpoint can still tell: the call on the state before its block.
    pub(crate) async fn revert_reason(&self, to: Option<Address>, value: U256, data: Bytes, block: u64) -> Option<String> {
        let request = CallRequest { from: Some(self.account), to, value: Some(value), data, ..CallRequest::default() };
        let state = BlockId::Number(block.saturating_sub(1));
        match self.endpoints.call_request(&request, state).await {
            Err(error) => error.revert_reason().map(ToString::to_string),
            Ok(_) => None,
        }
    }
}

/// A nonce below the count for which no receipt was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Suspect {
    /// Head when that was first so.
    pub(crate) first: u64,
    /// Head of the last search.
    pub(crate) asked: u64,
}

fn inclusion(receipt: &Receipt) -> Inclusion {
    Inclusion {
        hash: receipt.transaction_hash,
        block_number: receipt.block_number,
        block_hash: receipt.block_hash,
        success: receipt.succeeded(),
        fee_paid: receipt.fee(),
        revert_reason: None,
    }
}
