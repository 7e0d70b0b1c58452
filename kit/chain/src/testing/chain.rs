//! A tree of blocks with one canonical branch.

use std::collections::HashMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bloom, Bytes, keccak256};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::types::{BlockRef, Log, LogFilter, quantity};

/// Seconds between blocks, and the time of the first.
const BLOCK_SECONDS: u64 = 12;
const GENESIS_SECONDS: u64 = 1_700_000_000;

/// A block of a [`FakeChain`].
#[derive(Debug, Clone)]
pub struct FakeBlock {
    /// Identity and time.
    pub block: BlockRef,
    /// Bloom filter of the logs.
    pub bloom: Bloom,
    /// The logs; each belongs to a transaction of its own.
    pub logs: Vec<Log>,
}

#[derive(Default)]
struct Tree {
    blocks: HashMap<B256, Arc<FakeBlock>>,
    canonical: Vec<B256>,
    /// Makes blocks at the same height differ.
    salt: u64,
}

/// A chain that tests extend and reorganise. Clones are handles to the same chain. Starts with a genesis block at height 0.
#[derive(Clone)]
pub struct FakeChain {
    tree: Arc<Mutex<Tree>>,
}

impl Default for FakeChain {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeChain {
    /// A chain of one block.
    pub fn new() -> Self {
        let chain = Self { tree: Arc::new(Mutex::new(Tree::default())) };
        chain.push(&[]);
        chain
    }

    /// Appends a block with logs, each given as address, topics and data.
    pub fn push(&self, logs: &[(Address, Vec<B256>, Bytes)]) -> BlockRef {
        let mut tree = self.tree.lock();
        let number = tree.canonical.len() as u64;
        let parent_hash = tree.canonical.last().copied().unwrap_or_default();
        tree.salt += 1;
        let hash = keccak256([parent_hash.as_slice(), &number.to_be_bytes(), &tree.salt.to_be_bytes()].concat());
        let block = BlockRef {
            number,
            hash,
            parent_hash,
            timestamp: GENESIS_SECONDS + number * BLOCK_SECONDS,
            base_fee_per_gas: Some(7),
            gas_limit: 30_000_000,
            gas_used: 21_000 * logs.len() as u64,
        };
        let mut bloom = Bloom::ZERO;
        let logs = (0u64..).zip(logs).map(|(index, (address, topics, data))| {
            bloom.accrue_raw_log(*address, topics);
            Log {
                address: *address,
                topics: topics.clone(),
                data: data.clone(),
                block_number: number,
                block_hash: hash,
                transaction_hash: keccak256([hash.as_slice(), &index.to_be_bytes()].concat()),
                transaction_index: index,
                log_index: index,
            }
        });
        let logs = logs.collect();
        tree.blocks.insert(hash, Arc::new(FakeBlock { block, bloom, logs }));
        tree.canonical.push(hash);
        block
    }

    /// Appends blocks without logs.
    pub fn extend(&self, blocks: u64) {
        for _ in 0..blocks {
            self.push(&[]);
        }
    }

    /// Takes back the newest `depth` blocks (never the first one). They stay known by hash.
    pub fn truncate(&self, depth: u64) {
        let mut tree = self.tree.lock();
        let keep = tree.canonical.len().saturating_sub(usize::try_from(depth).unwrap_or(usize::MAX)).max(1);
        tree.canonical.truncate(keep);
    }

    /// Replaces the newest `depth` blocks by `new_blocks` empty ones.
    pub fn reorganise(&self, depth: u64, new_blocks: u64) {
        self.truncate(depth);
        self.extend(new_blocks);
    }

    /// The hashes of the canonical branch, by height: for [`FakeNode::show_branch`](super::FakeNode::show_branch).
    pub fn branch(&self) -> Vec<B256> {
        self.tree.lock().canonical.clone()
    }

    /// The newest canonical block.
    pub fn head(&self) -> BlockRef {
        let tree = self.tree.lock();
        tree.canonical.last().and_then(|hash| tree.blocks.get(hash)).map(|block| block.block).unwrap_or_default()
    }

    /// A block by hash, canonical or not.
    pub fn block(&self, hash: B256) -> Option<Arc<FakeBlock>> {
        self.tree.lock().blocks.get(&hash).cloned()
    }

    /// The canonical blocks in order.
    pub fn canonical(&self) -> Vec<Arc<FakeBlock>> {
        let tree = self.tree.lock();
        tree.canonical.iter().filter_map(|hash| tree.blocks.get(hash).cloned()).collect()
    }

    /// The logs of the canonical branch that a filter selects.
    pub fn canonical_logs(&self, filter: &LogFilter) -> Vec<Log> {
        let blocks = self.canonical();
        blocks.iter().flat_map(|block| &block.logs).filter(|log| filter.matches(log)).cloned().collect()
    }
}

impl FakeBlock {
    /// The block as `eth_getBlockBy*` shows it.
    pub fn to_json(&self, full: bool) -> Value {
        let transactions: Vec<Value> =
            self.logs.iter().map(|log| if full { self.transaction_json(log) } else { json!(log.transaction_hash) }).collect();
        json!({
            "number": quantity::hex(self.block.number),
            "hash": self.block.hash,
            "parentHash": self.block.parent_hash,
            "timestamp": quantity::hex(self.block.timestamp),
            "baseFeePerGas": self.block.base_fee_per_gas.map(quantity::hex),
            "gasLimit": quantity::hex(self.block.gas_limit),
            "gasUsed": quantity::hex(self.block.gas_used),
            "logsBloom": self.bloom,
            "miner": Address::ZERO,
            "transactions": transactions,
        })
    }

    fn transaction_json(&self, log: &Log) -> Value {
        json!({
            "hash": log.transaction_hash,
            "nonce": quantity::hex(log.log_index),
            "blockHash": self.block.hash,
            "blockNumber": quantity::hex(self.block.number),
            "transactionIndex": quantity::hex(log.transaction_index),
            "from": Address::ZERO,
            "to": log.address,
            "value": "0x0",
            "gas": "0x5208",
            "gasPrice": "0x7",
            "input": log.data,
            "type": "0x2",
            "chainId": "0x1",
        })
    }

    /// The receipt of the transaction that emitted a log.
    pub fn receipt_json(&self, log: &Log) -> Value {
        json!({
            "transactionHash": log.transaction_hash,
            "transactionIndex": quantity::hex(log.transaction_index),
            "blockHash": self.block.hash,
            "blockNumber": quantity::hex(self.block.number),
            "from": Address::ZERO,
            "to": log.address,
            "contractAddress": null,
            "status": "0x1",
            "gasUsed": "0x5208",
            "cumulativeGasUsed": "0x5208",
            "effectiveGasPrice": "0x7",
            "type": "0x2",
            "logs": [log_json(log)],
        })
    }
}

/// A log as nodes show it.
pub(super) fn log_json(log: &Log) -> Value {
    json!({
        "address": log.address,
        "topics": log.topics,
        "data": log.data,
        "blockNumber": quantity::hex(log.block_number),
        "blockHash": log.block_hash,
        "transactionHash": log.transaction_hash,
        "transactionIndex": quantity::hex(log.transaction_index),
        "logIndex": quantity::hex(log.log_index),
        "removed": false,
    })
}
