//! A node that shows a [`FakeChain`].

use std::collections::VecDeque;
use std::sync::Arc;

use alloy_primitives::{B256, Bytes, keccak256};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::chain::{FakeBlock, FakeChain, log_json};
use crate::rpc::{Answer, Rpc, RpcError};
use crate::types::{LogFilter, quantity};

/// How a [`FakeNode`] misbehaves. The default is a good node.
#[derive(Debug, Clone, Default)]
pub struct NodeFaults {
    /// Does not know the newest so many blocks yet.
    pub lag: u64,
    /// Has no logs (and no receipts) of the newest so many blocks it shows yet.
    pub logs_lag: u64,
    /// Refuses `eth_getLogs` over more blocks than this.
    pub max_range: Option<u64>,
    /// Does not offer `eth_getBlockReceipts`.
    pub no_block_receipts: bool,
    /// Does not know the tags `safe` and `finalized`.
    pub no_finality: bool,
    /// Shows no bloom filters.
    pub no_bloom: bool,
}

struct State {
    chain_id: u64,
    faults: NodeFaults,
    branch: Option<Vec<B256>>,
    failures: VecDeque<RpcError>,
    requests: u64,
}

/// One node of a [`FakeChain`]. `finalized` and `safe` are 8 and 4 blocks below its head.
pub struct FakeNode {
    label: String,
    chain: FakeChain,
    state: Mutex<State>,
}

impl FakeNode {
    /// A good node with chain id 1.
    pub fn new(label: &str, chain: &FakeChain) -> Arc<Self> {
        let state = State { chain_id: 1, faults: NodeFaults::default(), branch: None, failures: VecDeque::new(), requests: 0 };
        Arc::new(Self { label: label.to_owned(), chain: chain.clone(), state: Mutex::new(state) })
    }

    /// Sets the chain id that the node shows.
    pub fn set_chain_id(&self, chain_id: u64) {
        self.state.lock().chain_id = chain_id;
    }

    /// Changes how the node misbehaves.
    pub fn misbehave(&self, change: impl FnOnce(&mut NodeFaults)) {
        change(&mut self.state.lock().faults);
    }

    /// Shows this branch (see [`FakeChain::branch`]) instead of the canonical one; `None` shows the canonical one again.
    pub fn show_branch(&self, branch: Option<Vec<B256>>) {
        self.state.lock().branch = branch;
    }

    /// The next requests fail with these errors, one after the other.
    pub fn fail_next(&self, errors: impl IntoIterator<Item = RpcError>) {
        self.state.lock().failures.extend(errors);
    }

    /// How many requests came so far.
    pub fn requests(&self) -> u64 {
        self.state.lock().requests
    }

    /// The hashes that the node shows, by height.
    fn shown(&self, faults: &NodeFaults) -> Vec<B256> {
        let mut branch = self.state.lock().branch.clone().unwrap_or_else(|| self.chain.branch());
        let keep = branch.len().saturating_sub(usize::try_from(faults.lag).unwrap_or(usize::MAX)).max(1);
        branch.truncate(keep);
        branch
    }

    fn block_named(&self, name: &Value, shown: &[B256], faults: &NodeFaults) -> Result<Option<Arc<FakeBlock>>, RpcError> {
        let head = shown.len().saturating_sub(1);
        let index = match name.as_str().unwrap_or_default() {
            "latest" | "pending" => head,
            "earliest" => 0,
            "finalized" | "safe" if faults.no_finality => {
                return Err(RpcError::response(-32602, "invalid block tag"));
            }
            "finalized" => head.saturating_sub(8),
            "safe" => head.saturating_sub(4),
            number => match quantity::parse(number).and_then(|number| usize::try_from(number).ok()) {
                Some(number) => number,
                None => return Err(RpcError::response(-32602, "invalid block number")),
            },
        };
        Ok(shown.get(index).and_then(|hash| self.chain.block(*hash)))
    }

    /// A block by hash. A late node does not know blocks above its head; a node on another branch does.
    fn block_by_hash(&self, hash: &Value, shown: &[B256]) -> Option<Arc<FakeBlock>> {
        let hash: B256 = serde_json::from_value(hash.clone()).ok()?;
        self.chain.block(hash).filter(|block| block.block.number < shown.len() as u64)
    }

    fn has_logs(block: &FakeBlock, shown: &[B256], faults: &NodeFaults) -> bool {
        block.block.number.saturating_add(faults.logs_lag) < shown.len() as u64
    }

    fn logs(&self, filter: &Value, shown: &[B256], faults: &NodeFaults) -> Result<Value, RpcError> {
        let wanted = parse_selection(filter)?;
        let blocks: Vec<Arc<FakeBlock>> = match filter.get("blockHash") {
            Some(hash) => {
                let block = self.block_by_hash(hash, shown);
                vec![block.ok_or_else(|| RpcError::response(-32000, "unknown block"))?]
            }
            None => {
                let end = |key: &str| self.block_number(filter.get(key), shown, faults);
                let (from, to) = (end("fromBlock")?, end("toBlock")?);
                if faults.max_range.is_some_and(|max| to.saturating_sub(from) >= max) {
                    return Err(RpcError::response(-32005, "query returned more than 10000 results"));
                }
                let range = usize::try_from(from).unwrap_or(usize::MAX)..=usize::try_from(to).unwrap_or(usize::MAX);
                let hashes = shown.iter().enumerate().filter(|(index, _)| range.contains(index));
                hashes.filter_map(|(_, hash)| self.chain.block(*hash)).collect()
            }
        };
        let with_logs = blocks.iter().filter(|block| Self::has_logs(block, shown, faults));
        let logs = with_logs.flat_map(|block| &block.logs).filter(|log| wanted.matches(log));
        Ok(Value::Array(logs.map(log_json).collect()))
    }

    fn block_number(&self, name: Option<&Value>, shown: &[B256], faults: &NodeFaults) -> Result<u64, RpcError> {
        let name = name.cloned().unwrap_or_else(|| json!("latest"));
        if let Some(number) = name.as_str().and_then(quantity::parse) {
            return u64::try_from(number).map_err(|_| RpcError::response(-32602, "invalid block number"));
        }
        let block = self.block_named(&name, shown, faults)?;
        block.map(|block| block.block.number).ok_or_else(|| RpcError::response(-32000, "unknown block"))
    }

    fn receipt(&self, hash: &Value, shown: &[B256], faults: &NodeFaults) -> Value {
        let blocks = shown.iter().filter_map(|hash| self.chain.block(*hash));
        for block in blocks.filter(|block| Self::has_logs(block, shown, faults)) {
            if let Some(log) = block.logs.iter().find(|log| json!(log.transaction_hash) == *hash) {
                return block.receipt_json(log);
            }
        }
        Value::Null
    }

    fn answer(&self, method: &str, params: &Value, faults: &NodeFaults) -> Result<Value, RpcError> {
        let shown = self.shown(faults);
        let first = params.get(0).cloned().unwrap_or(Value::Null);
        let full = params.get(1).and_then(Value::as_bool).unwrap_or(false);
        let show = |block: Option<Arc<FakeBlock>>| {
            let mut json = block.map(|block| block.to_json(full));
            if let (true, Some(Value::Object(object))) = (faults.no_bloom, &mut json) {
                object.remove("logsBloom");
            }
            json.unwrap_or(Value::Null)
        };
        match method {
            "eth_chainId" => Ok(json!(quantity::hex(self.state.lock().chain_id))),
            "eth_blockNumber" => Ok(json!(quantity::hex(shown.len().saturating_sub(1)))),
            "eth_getBlockByNumber" => self.block_named(&first, &shown, faults).map(show),
            "eth_getBlockByHash" => Ok(show(self.block_by_hash(&first, &shown))),
            "eth_getLogs" => self.logs(&first, &shown, faults),
            "eth_getBlockReceipts" if !faults.no_block_receipts => {
                let block = self.block_by_hash(&first, &shown);
                let block = block.filter(|block| Self::has_logs(block, &shown, faults));
                Ok(block.map_or(Value::Null, |block| block.logs.iter().map(|log| block.receipt_json(log)).collect()))
            }
            "eth_getTransactionReceipt" => Ok(self.receipt(&first, &shown, faults)),
            "eth_sendRawTransaction" => {
                let raw: Bytes = serde_json::from_value(first).map_err(|_| RpcError::response(-32602, "invalid bytes"))?;
                Ok(json!(keccak256(&raw)))
            }
            "eth_getBalance" | "eth_getTransactionCount" => Ok(json!("0x0")),
            _ => Err(RpcError::response(-32601, "method not found")),
        }
    }
}

fn parse_selection(filter: &Value) -> Result<LogFilter, RpcError> {
    let invalid = |_| RpcError::response(-32602, "invalid filter");
    let list = |value: Option<&Value>| match value {
        None | Some(Value::Null) => json!([]),
        Some(Value::Array(many)) => json!(many),
        Some(one) => json!([one]),
    };
    let mut wanted = LogFilter::any();
    wanted.addresses = serde_json::from_value(list(filter.get("address"))).map_err(invalid)?;
    for index in 0..4 {
        let topic = list(filter.get("topics").and_then(|topics| topics.get(index)));
        let values: Vec<B256> = serde_json::from_value(topic).map_err(invalid)?;
        wanted = wanted.topic(index, values);
    }
    Ok(wanted)
}

#[async_trait]
impl Rpc for FakeNode {
    async fn request(&self, method: &str, params: Value) -> Result<Answer, RpcError> {
        let (faults, failure) = {
            let mut state = self.state.lock();
            state.requests += 1;
            (state.faults.clone(), state.failures.pop_front())
        };
        match failure {
            Some(failure) => Err(failure),
            None => self.answer(method, &params, &faults).map(Answer::from),
        }
    }

    fn label(&self) -> &str {
        &self.label
    }
}
