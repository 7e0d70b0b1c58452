//! The typed reads.

use alloy_primitives::{Address, B256, Bytes, U256};
use futures::future;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

use super::ask::{Ask, Freshness, Outcomes, read_quantity, single};
use super::{Endpoint, Endpoints};
use crate::error::ChainError;
use crate::rpc::{Answer, RpcCall, RpcError};
use crate::types::{
    Block, BlockId, BlockRef, BlockTag, CallRequest, FeeHistory, Header, Log, LogFilter, LogSpan, Receipt, Transaction, quantity,
};

impl BlockId {
    fn freshness(self) -> Freshness {
        match self {
            Self::Number(number) => Freshness::At(number),
            Self::Hash(_) | Self::Tag(BlockTag::Earliest) => Freshness::Any,
            Self::Tag(_) => Freshness::Latest,
        }
    }
}

impl Endpoints {
    /// Any read method, with the answer unread. The method must be idempotent: it may be asked of several endpoints.
    ///
    /// # Errors
    /// [`ChainError::Rpc`] or [`ChainError::NoEndpoint`]; [`ChainError::Reverted`] where the node reports a revert.
    pub async fn request(&self, method: &str, params: Value) -> Result<Answer, ChainError> {
        let ask = Ask::one(method, params).fresh(Freshness::Latest);
        Ok(self.ask(&ask, |outcomes| single(outcomes).cloned()).await?.value)
    }

    async fn read<T: DeserializeOwned + Send>(&self, ask: Ask) -> Result<T, ChainError> {
        Ok(self.ask(&ask, |outcomes| single(outcomes)?.parse(ask.method())).await?.value)
    }

    async fn read_number<T: TryFrom<u128> + Send>(&self, ask: Ask) -> Result<T, ChainError> {
        Ok(self.ask(&ask, |outcomes| read_quantity(outcomes, ask.method())).await?.value)
    }

    /// The chain id: the configured one, or the one that the endpoints serve.
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn chain_id(&self) -> Result<u64, ChainError> {
        if let Some(known) = self.expected_chain_id() {
            return Ok(known);
        }
        let id: u64 = self.read_number(Ask::one("eth_chainId", json!([]))).await?;
        self.inner.chain_id.store(id, Ordering::Relaxed);
        Ok(id)
    }

    /// The newest block. From time to time all endpoints are asked, so that late ones are known.
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn head(&self) -> Result<BlockRef, ChainError> {
        Ok(self.head_header().await?.0.block)
    }

    /// The newest header, and which endpoint showed it.
    pub(crate) async fn head_header(&self) -> Result<(Header, usize), ChainError> {
        self.probe_if_due().await;
        let ask = Ask::one("eth_getBlockByNumber", json!(["latest", false])).fresh(Freshness::Latest);
        let mut best: Option<(Header, usize)> = None;
        // An endpoint that turns out to be late only by this very answer is not among the candidates of the next round.
        for _ in 0..self.inner.endpoints.len().max(1) {
            let answered = self.ask(&ask, read_head).await?;
            self.note_head(answered.endpoint, answered.value.block.number);
            let late = self.is_late(answered.endpoint);
            if best.as_ref().is_none_or(|(best, _)| best.block.number < answered.value.block.number) {
                best = Some((answered.value, answered.endpoint));
            }
            if !late {
                break;
            }
        }
        best.ok_or_else(|| self.block_not_found(BlockId::LATEST))
    }

    fn note_head(&self, index: usize, number: u64) {
        if let Some(endpoint) = self.inner.endpoints.get(index) {
            endpoint.health.lock().observe_head(number, self.now());
            crate::metrics::head(&self.inner.name, endpoint.label(), number);
        }
    }

    fn is_late(&self, index: usize) -> bool {
        !self.candidates(Freshness::Latest, None).order.contains(&index)
            && self.candidates(Freshness::Any, None).order.contains(&index)
    }

    /// An endpoint in order other than this one.
    pub(crate) fn another_than(&self, this: Option<usize>) -> Option<usize> {
        let now = self.now();
        let in_order = |index: &usize| {
            self.inner.endpoints.get(*index).is_some_and(|endpoint| {
                let health = endpoint.health.lock();
                health.pause_now(now) == super::health::Pause::None && health.quarantined(now).is_none()
            })
        };
        self.candidates(Freshness::Latest, None).order.into_iter().filter(in_order).find(|index| Some(*index) != this)
    }

    /// Asks every endpoint for its head if the last time was long enough ago. Slow ones are not waited for longer than hedging would.
    async fn probe_if_due(&self) {
        let now = self.now().0;
        let last = self.inner.probed_at.load(Ordering::Relaxed);
        let interval = i64::try_from(self.inner.probe_interval_ms).unwrap_or(i64::MAX);
        if self.inner.endpoints.len() < 2 || now.saturating_sub(last) < interval {
            return;
        }
        self.inner.probed_at.store(now, Ordering::Relaxed);
        let at = self.now();
        let idle = |endpoint: &Endpoint| {
            let health = endpoint.health.lock();
            health.quarantined(at).is_none() && health.pause_now(at) == super::health::Pause::None
        };
        let ask = Ask::one("eth_getBlockByNumber", json!(["latest", false]));
        let ask = &ask;
        let probes = self.inner.endpoints.iter().enumerate().filter(|(_, one)| idle(one)).map(|(index, _)| async move {
            if let Ok(header) = self.attempt(index, ask, read_head).await {
                self.note_head(index, header.block.number);
            }
        });
        let all = future::join_all(probes);
        match self.inner.timing {
            None => {
                all.await;
            }
            Some(timing) => {
                // An endpoint that is slower than this keeps its old head; the next probe asks it again.
                let _ = tokio::time::timeout(timing.hedge_after.unwrap_or(timing.timeout), all).await;
            }
        }
    }

    /// A block by height, hash or tag; `None` if the endpoints do not have it.
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn block_ref(&self, block: impl Into<BlockId>) -> Result<Option<BlockRef>, ChainError> {
        Ok(self.header(block).await?.map(|header| header.block))
    }

    /// Like [`Endpoints::block_ref`], with the bloom filter.
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn header(&self, block: impl Into<BlockId>) -> Result<Option<Header>, ChainError> {
        let block = block.into();
        let ask = Ask::many(vec![block_call(block, false)]).fresh(block.freshness());
        let found = self.ask(&ask, |outcomes| read_header(single(outcomes)?, block)).await;
        none_if_missing(found.map(|answered| answered.value))
    }

    /// A block with its transactions, whole or as hashes; `None` if the endpoints do not have it.
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn block(&self, block: impl Into<BlockId>, full: bool) -> Result<Option<Block>, ChainError> {
        let block = block.into();
        let ask = Ask::many(vec![block_call(block, full)]).fresh(block.freshness());
        let found = self.ask(&ask, |outcomes| read_block(single(outcomes)?, block, full)).await;
        none_if_missing(found.map(|answered| answered.value))
    }

    /// The newest block that consensus will not take back. On chains whose nodes know no `finalized` tag: the block
    /// `finality_depth` below the head.
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn finalized(&self) -> Result<BlockRef, ChainError> {
        self.settled(BlockTag::Finalized).await
    }

    /// The newest block that is unlikely to be taken back; falls back like [`Endpoints::finalized`].
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn safe(&self) -> Result<BlockRef, ChainError> {
        self.settled(BlockTag::Safe).await
    }

    async fn settled(&self, tag: BlockTag) -> Result<BlockRef, ChainError> {
        match self.block_ref(tag).await {
            Ok(Some(block)) => return Ok(block),
            Ok(None) => {}
            // "Invalid params", "unknown block tag" and the like: this chain's nodes do not know the tag.
            Err(error) if matches!(error.rpc_error(), Some(RpcError::Response { .. })) => {}
            Err(error) => return Err(error),
        }
        let head = self.head().await?;
        let number = head.number.saturating_sub(self.inner.finality_depth);
        self.block_ref(number).await?.ok_or_else(|| self.block_not_found(number.into()))
    }

    pub(crate) fn block_not_found(&self, block: BlockId) -> ChainError {
        let block = match block {
            BlockId::Number(number) => number.to_string(),
            BlockId::Hash(hash) => hash.to_string(),
            BlockId::Tag(tag) => tag.as_str().to_owned(),
        };
        ChainError::BlockNotFound { chain: self.inner.name.clone(), block }
    }

    /// Executes a call on the state after `block`.
    ///
    /// # Errors
    /// [`ChainError::Reverted`] with the reason, else as [`Endpoints::request`].
    pub async fn call(&self, to: Address, data: impl Into<Bytes>, block: impl Into<BlockId>) -> Result<Bytes, ChainError> {
        self.call_request(&CallRequest::new(to, data), block).await
    }

    /// Like [`Endpoints::call`], with sender, value, fees and overrides.
    ///
    /// # Errors
    /// As [`Endpoints::call`].
    pub async fn call_request(&self, request: &CallRequest, block: impl Into<BlockId>) -> Result<Bytes, ChainError> {
        let block = block.into();
        self.read(Ask::one("eth_call", request.to_params(block.to_param())).fresh(block.freshness())).await
    }

    /// Several calls on the state after one block, answered by one endpoint. A revert is the outcome of its call; any other failure is
    /// that of all. Pin `block` by hash for answers that belong together.
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn call_many(
        &self,
        requests: &[CallRequest],
        block: impl Into<BlockId>,
    ) -> Result<Vec<Result<Bytes, ChainError>>, ChainError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let block = block.into();
        let calls = requests.iter().map(|one| RpcCall::new("eth_call", one.to_params(block.to_param()))).collect();
        let ask = Ask::many(calls).fresh(block.freshness());
        let read_one = |outcome: &Result<Answer, RpcError>| match outcome {
            Ok(answer) => answer.parse::<Bytes>("eth_call").map(Ok),
            Err(error) if error.revert_data().is_some() => Ok(Err(error.clone())),
            Err(error) => Err(error.clone()),
        };
        let answered = self
            .ask(&ask, |outcomes| outcomes.iter().map(read_one).collect::<Result<Vec<Result<Bytes, RpcError>>, RpcError>>())
            .await?;
        let label = self.label_of(answered.endpoint);
        let to_error = |error| self.rpc_to_error("eth_call", &label, error);
        Ok(answered.value.into_iter().map(|one| one.map_err(to_error)).collect())
    }

    pub(crate) fn label_of(&self, index: usize) -> String {
        self.inner.endpoints.get(index).map_or("unknown", |endpoint| endpoint.label()).to_owned()
    }

    /// Wei owned by an account after `block`.
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn balance(&self, address: Address, block: impl Into<BlockId>) -> Result<U256, ChainError> {
        let block = block.into();
        self.read(Ask::one("eth_getBalance", json!([address, block.to_param()])).fresh(block.freshness())).await
    }

    /// Code at an address after `block`; empty for accounts without code.
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn code(&self, address: Address, block: impl Into<BlockId>) -> Result<Bytes, ChainError> {
        let block = block.into();
        self.read(Ask::one("eth_getCode", json!([address, block.to_param()])).fresh(block.freshness())).await
    }

    /// One storage slot of a contract after `block`.
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn storage(&self, address: Address, slot: U256, block: impl Into<BlockId>) -> Result<B256, ChainError> {
        let block = block.into();
        let params = json!([address, slot, block.to_param()]);
        let word: U256 = self.read(Ask::one("eth_getStorageAt", params).fresh(block.freshness())).await?;
        Ok(B256::from(word))
    }

    /// Number of transactions an account has sent: the next nonce. Asked of the endpoint that took the last transaction, as long as it
    /// works, because others may not know of it yet.
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn transaction_count(&self, address: Address, block: impl Into<BlockId>) -> Result<u64, ChainError> {
        let block = block.into();
        let ask = Ask::one("eth_getTransactionCount", json!([address, block.to_param()]))
            .fresh(block.freshness())
            .preferring(self.inner.sticky.lock().last);
        self.read_number(ask).await
    }

    /// Gas that a transaction would need on top of `pending` state, as the node estimates it.
    ///
    /// # Errors
    /// [`ChainError::Reverted`] with the reason if it would revert, else as [`Endpoints::request`].
    pub async fn estimate_gas(&self, request: &CallRequest) -> Result<u64, ChainError> {
        // The block is left to the node's default: some nodes refuse the parameter, and the default is what a sender wants.
        let params = match (&request.state_override, &request.block_override) {
            (None, None) => json!([request.to_param()]),
            _ => request.to_params(json!("latest")),
        };
        let ask = Ask::one("eth_estimateGas", params).fresh(Freshness::Latest).preferring(self.inner.sticky.lock().last);
        self.read_number(ask).await
    }

    /// Fees of the last `blocks` blocks up to the newest, with the priority fees at the given percentiles (ascending).
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn fee_history(&self, blocks: u64, percentiles: &[f64]) -> Result<FeeHistory, ChainError> {
        let params = json!([quantity::hex(blocks), "latest", percentiles]);
        self.read(Ask::one("eth_feeHistory", params).fresh(Freshness::Latest)).await
    }

    /// The node's proposal for a legacy gas price, wei per gas.
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn gas_price(&self) -> Result<u128, ChainError> {
        self.read_number(Ask::one("eth_gasPrice", json!([])).fresh(Freshness::Latest)).await
    }

    /// The node's proposal for a priority fee, wei per gas.
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn max_priority_fee(&self) -> Result<u128, ChainError> {
        self.read_number(Ask::one("eth_maxPriorityFeePerGas", json!([])).fresh(Freshness::Latest)).await
    }

    /// A transaction, pending or included; `None` if the endpoint does not know it. Asked first of the endpoint that took it.
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn transaction(&self, hash: B256) -> Result<Option<Transaction>, ChainError> {
        let ask = Ask::one("eth_getTransactionByHash", json!([hash])).fresh(Freshness::Latest).preferring(self.sticky_for(hash));
        let found = self.ask(&ask, |outcomes| {
            let found: Option<Transaction> = single(outcomes)?.parse("eth_getTransactionByHash")?;
            refuse_other("eth_getTransactionByHash", found, |one| one.hash == hash)
        });
        none_if_missing(found.await.map(|answered| answered.value))
    }

    /// The receipt of an included transaction; `None` while it is not included as far as the endpoint knows. Asked first of the
    /// endpoint that took the transaction.
    ///
    /// # Errors
    /// As [`Endpoints::request`].
    pub async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, ChainError> {
        let ask = receipt_ask(hash).preferring(self.sticky_for(hash));
        let found = self.ask(&ask, |outcomes| read_receipt(single(outcomes)?, hash)).await;
        // Geth says "transaction indexing is in progress" and others "not found" where `null` is meant.
        none_if_missing(found.map(|answered| answered.value))
    }

    fn sticky_for(&self, hash: B256) -> Option<usize> {
        let sticky = self.inner.sticky.lock();
        sticky.by_hash.get(&hash).copied().or(sticky.last)
    }

    /// All receipts of a block, in order; `None` if the endpoints do not have the block.
    ///
    /// # Errors
    /// As [`Endpoints::request`]; not every node offers the method.
    pub async fn block_receipts(&self, block: impl Into<BlockId>) -> Result<Option<Vec<Receipt>>, ChainError> {
        let block = block.into();
        // Not in the EIP-1898 form: this method takes the bare hash everywhere.
        let param = match block {
            BlockId::Hash(hash) => json!(hash),
            other => other.to_param(),
        };
        let ask = Ask::one("eth_getBlockReceipts", json!([param])).fresh(block.freshness());
        let found = self.ask(&ask, |outcomes| {
            let receipts: Option<Vec<Receipt>> = single(outcomes)?.parse("eth_getBlockReceipts")?;
            refuse_other("eth_getBlockReceipts", receipts, |receipts| match block {
                BlockId::Hash(hash) => receipts.iter().all(|one| one.block_hash == hash),
                BlockId::Number(number) => receipts.iter().all(|one| one.block_number == number),
                BlockId::Tag(_) => true,
            })
        });
        none_if_missing(found.await.map(|answered| answered.value))
    }

    /// The logs that a filter selects, in chain order. Every log is checked against the filter.
    ///
    /// # Errors
    /// As [`Endpoints::request`]. A range that is too large for the endpoints is an error whose source says so
    /// ([`RpcError::is_range_too_large`]); [`backfill`](crate::backfill()) copes with that.
    pub async fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>, ChainError> {
        let freshness = match filter.span {
            LogSpan::Block(_) => Freshness::Any,
            LogSpan::Range { to, .. } => Freshness::At(to),
            LogSpan::Latest => Freshness::Latest,
        };
        let ask = Ask::one("eth_getLogs", json!([filter.to_param()])).fresh(freshness);
        Ok(self.ask(&ask, |outcomes| read_logs(single(outcomes)?, filter)).await?.value)
    }
}

/// "Not here" as an error becomes "not here" as a value.
fn none_if_missing<T>(found: Result<Option<T>, ChainError>) -> Result<Option<T>, ChainError> {
    match found {
        Err(ChainError::Rpc { source, .. }) if source.is_state_missing() => Ok(None),
        found => found,
    }
}

fn refuse_other<T>(method: &str, found: Option<T>, right: impl Fn(&T) -> bool) -> Result<Option<T>, RpcError> {
    match found {
        Some(found) if !right(&found) => Err(RpcError::malformed(method, "not what was asked for")),
        found => Ok(found),
    }
}

fn read_head(outcomes: &Outcomes) -> Result<Header, RpcError> {
    let header = read_header(single(outcomes)?, BlockId::LATEST)?;
    header.ok_or_else(|| RpcError::malformed("eth_getBlockByNumber", "no newest block"))
}

pub(crate) fn block_call(block: BlockId, full: bool) -> RpcCall {
    match block {
        BlockId::Hash(hash) => RpcCall::new("eth_getBlockByHash", json!([hash, full])),
        other => RpcCall::new("eth_getBlockByNumber", json!([other.to_param(), full])),
    }
}

pub(crate) fn read_header(answer: &Answer, block: BlockId) -> Result<Option<Header>, RpcError> {
    let header: Option<Header> = answer.parse("eth_getBlockBy")?;
    refuse_other("eth_getBlockBy", header, |header| is_block(&header.block, block))
}

pub(crate) fn read_block(answer: &Answer, block: BlockId, full: bool) -> Result<Option<Block>, RpcError> {
    let parsed = if full { Block::from_full_json(answer.as_str()) } else { Block::from_hashes_json(answer.as_str()) };
    let parsed = parsed.map_err(|error| RpcError::malformed("eth_getBlockBy", error))?;
    refuse_other("eth_getBlockBy", parsed, |parsed| is_block(&parsed.header.block, block))
}

fn is_block(found: &BlockRef, asked: BlockId) -> bool {
    match asked {
        BlockId::Number(number) => found.number == number,
        BlockId::Hash(hash) => found.hash == hash,
        BlockId::Tag(_) => true,
    }
}

fn receipt_ask(hash: B256) -> Ask {
    Ask::one("eth_getTransactionReceipt", json!([hash])).fresh(Freshness::Latest)
}

pub(crate) fn read_receipt(answer: &Answer, hash: B256) -> Result<Option<Receipt>, RpcError> {
    let found: Option<Receipt> = answer.parse("eth_getTransactionReceipt")?;
    refuse_other("eth_getTransactionReceipt", found, |one| one.transaction_hash == hash)
}

/// Reads logs, puts them in chain order, and refuses those that nobody asked for.
pub(crate) fn read_logs(answer: &Answer, filter: &LogFilter) -> Result<Vec<Log>, RpcError> {
    let method = "eth_getLogs";
    let mut logs: Vec<Log> = answer.parse(method)?;
    let in_span = |log: &Log| match filter.span {
        LogSpan::Block(hash) => log.block_hash == hash,
        LogSpan::Range { from, to } => (from..=to).contains(&log.block_number),
        LogSpan::Latest => true,
    };
    if !logs.iter().all(|log| in_span(log) && filter.matches(log)) {
        return Err(RpcError::malformed(method, "a log that was not asked for"));
    }
    logs.sort_by_key(Log::position);
    let repeated = logs.windows(2).any(|pair| matches!(pair, [a, b] if a.position() == b.position()));
    if repeated {
        return Err(RpcError::malformed(method, "two logs at one position"));
    }
    Ok(logs)
}
