//! `SimChain`: a scripted chain that looks like an EVM chain from outside and executes no EVM code.
//!
//! Kept as on a real chain: signatures, nonces, balances, the rules of the mempool, base fees, receipts, logs, forks with
//! the state of every block, `finalized`. Left out: code execution (addresses get [`Handler`]s), gas refunds, state and
//! receipt roots.
//!
//! Time stands still unless a script mines: [`SimChain::mine`] takes the timestamp. All randomness comes from the seed.

mod block;
mod handler;
mod ledger;
mod node;
mod pool;
mod transaction;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, Log, LogData, U256};
use parking_lot::Mutex;
use serde_json::Value;

pub use block::{Account, SimBlock, SimReceipt, State};
pub use handler::{CallContext, CallOutcome, Handler, Storage, revert_with};
pub use node::{NodeError, View};
pub use pool::{PoolRules, Refusal};
pub use transaction::SignedTransaction;

use block::Edit;
use ledger::Ledger;

/// One gwei in wei.
pub const GWEI: u64 = 1_000_000_000;

/// One ether in wei.
pub fn ether(amount: u64) -> U256 {
    U256::from(amount) * U256::from(1_000_000_000_000_000_000u64)
}

/// What a chain is like.
#[derive(Clone, Debug)]
pub struct SimChainConfig {
    /// Chain id.
    pub chain_id: u64,
    /// Seed of block hashes and of what a reorganisation does to transactions.
    pub seed: u64,
    /// Timestamp of block 0, seconds.
    pub genesis_timestamp: u64,
    /// Gas limit of each block.
    pub block_gas_limit: u64,
    /// Base fee of block 0, wei.
    pub base_fee: u64,
    /// The base fee does not fall under this, wei.
    pub base_fee_floor: u64,
    /// What `eth_maxPriorityFeePerGas` suggests, wei.
    pub suggested_tip: u64,
    /// A block is finalized when this many follow it; no reorganisation goes deeper.
    pub finality_depth: u64,
    /// Widest block range that `eth_getLogs` answers.
    pub log_range_limit: Option<u64>,
    /// Rules of the mempool.
    pub pool: PoolRules,
    /// Balances at the start, wei.
    pub balances: BTreeMap<Address, U256>,
}

impl Default for SimChainConfig {
    fn default() -> Self {
        Self {
            chain_id: 31_337,
            seed: 0,
            genesis_timestamp: 1_700_000_000,
            block_gas_limit: 30_000_000,
            base_fee: GWEI,
            base_fee_floor: GWEI / 10,
            suggested_tip: GWEI,
            finality_depth: 96,
            log_range_limit: None,
            pool: PoolRules::default(),
            balances: BTreeMap::new(),
        }
    }
}

/// What becomes of the transactions of blocks that a reorganisation removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They go back to the mempool, and may enter the new branch.
    Return,
    /// No node knows them any more.
    Vanish,
    /// Each by the seed.
    Random,
}

/// A transaction on the canonical chain.
#[derive(Clone, Debug)]
pub struct Landed {
    /// The transaction.
    pub transaction: Arc<SignedTransaction>,
    /// Number of its block.
    pub block_number: u64,
    /// Hash of its block.
    pub block_hash: B256,
    /// Whether it succeeded.
    pub success: bool,
    /// Fee paid, wei.
    pub fee: U256,
}

fn landed(block: &SimBlock, index: usize) -> Option<Landed> {
    let receipt = block.receipts.get(index)?;
    Some(Landed {
        transaction: block.transactions.get(index)?.clone(),
        block_number: block.header.number,
        block_hash: block.hash,
        success: receipt.success,
        fee: U256::from(receipt.gas_used) * U256::from(receipt.effective_gas_price),
    })
}

/// A scripted chain. Clones are the same chain.
#[derive(Clone)]
pub struct SimChain {
    ledger: Arc<Mutex<Ledger>>,
}

impl fmt::Debug for SimChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.head();
        f.debug_struct("SimChain").field("number", &head.header.number).field("hash", &head.hash).finish_non_exhaustive()
    }
}

impl SimChain {
    /// A chain with nothing but block 0.
    pub fn new(config: SimChainConfig) -> Self {
        Self { ledger: Arc::new(Mutex::new(Ledger::new(config))) }
    }

    /// The chain id.
    pub fn chain_id(&self) -> u64 {
        self.ledger.lock().config.chain_id
    }

    /// The newest canonical block.
    pub fn head(&self) -> Arc<SimBlock> {
        self.ledger.lock().head()
    }

    /// The highest number that a head ever had.
    pub fn highest(&self) -> u64 {
        self.ledger.lock().highest
    }

    /// The canonical block at `number`.
    pub fn block(&self, number: u64) -> Option<Arc<SimBlock>> {
        self.ledger.lock().canonical_block(number).cloned()
    }

    /// Any block ever made, canonical or not.
    pub fn block_by_hash(&self, hash: B256) -> Option<Arc<SimBlock>> {
        self.ledger.lock().blocks.get(&hash).cloned()
    }

    /// Number of the newest finalized block.
    pub fn finalized(&self) -> u64 {
        self.ledger.lock().finalized
    }

    /// Mines a block with all that is executable. `timestamp` (seconds) is raised above the parent's if need be.
    pub fn mine(&self, timestamp: u64) -> Arc<SimBlock> {
        self.ledger.lock().mine(timestamp, usize::MAX)
    }

    /// Mines a block with at most `limit` transactions.
    pub fn mine_at_most(&self, timestamp: u64, limit: usize) -> Arc<SimBlock> {
        self.ledger.lock().mine(timestamp, limit)
    }

    /// Replaces the last `depth` blocks by `length` others, seeded ones of which take transactions of the mempool. Stops at
    /// the finalized block. Returns the depth done.
    pub fn reorganise(&self, depth: u64, length: u64, fate: Fate) -> u64 {
        self.ledger.lock().reorganise(depth, length, fate, usize::MAX)
    }

    /// Makes a block that a reorganisation left the head again, as when the losing branch wins after all: its blocks come back as they
    /// were, with hashes, transactions and logs. Answers whether it was done: not below the finalized block, and not if it is canonical.
    pub fn return_to(&self, hash: B256) -> bool {
        self.ledger.lock().return_to(hash)
    }

    /// Hands raw bytes to the mempool, as `eth_sendRawTransaction` of a faultless node would.
    pub fn submit(&self, raw: &[u8]) -> Result<B256, Refusal> {
        self.ledger.lock().submit(raw)
    }

    /// Remembers signed bytes that left a program although no node accepted them.
    pub fn witness(&self, raw: &[u8]) {
        // Bytes that are no transaction cannot land, so there is nothing to remember.
        let _ = self.ledger.lock().witness(raw);
    }

    /// Every valid signed transaction that was ever handed to any node, by order of arrival.
    pub fn seen(&self) -> Vec<Arc<SignedTransaction>> {
        self.ledger.lock().seen.clone()
    }

    /// Number of entries of [`SimChain::seen`].
    pub fn seen_count(&self) -> usize {
        self.ledger.lock().seen.len()
    }

    /// The entries of [`SimChain::seen`] from index `from` on.
    pub fn seen_since(&self, from: usize) -> Vec<Arc<SignedTransaction>> {
        self.ledger.lock().seen.get(from..).unwrap_or_default().to_vec()
    }

    /// All transactions on the canonical chain, oldest first.
    pub fn landed(&self) -> Vec<Landed> {
        let ledger = self.ledger.lock();
        ledger
            .canonical
            .iter()
            .filter_map(|hash| ledger.blocks.get(hash))
            .flat_map(|block| (0..block.transactions.len()).filter_map(|index| landed(block, index)))
            .collect()
    }

    /// Transactions of `account` on the canonical chain, by order of their first broadcast. Faster than [`SimChain::landed`].
    pub fn landed_of(&self, account: Address) -> Vec<Landed> {
        let ledger = self.ledger.lock();
        ledger
            .seen
            .iter()
            .filter(|transaction| transaction.sender == account)
            .filter_map(|transaction| {
                let (block, index) = ledger.canonical_place(&transaction.hash)?;
                landed(block, index)
            })
            .collect()
    }

    /// Where a transaction is on the canonical chain.
    pub fn landed_at(&self, hash: B256) -> Option<Landed> {
        let ledger = self.ledger.lock();
        let (block, index) = ledger.canonical_place(&hash)?;
        landed(block, index)
    }

    /// Number of reorganisations so far.
    pub fn reorganisations(&self) -> u64 {
        self.ledger.lock().reorganisations
    }

    /// Changes of the head since the last reorganisation, or since the start.
    pub fn heads_since_reorganisation(&self) -> usize {
        let ledger = self.ledger.lock();
        ledger.heads.len() - ledger.fork_ended_at
    }

    /// The transactions that wait in the mempool.
    pub fn pooled(&self) -> Vec<Arc<SignedTransaction>> {
        self.ledger.lock().pool.all().cloned().collect()
    }

    /// Next nonce of an account by the canonical state.
    pub fn nonce(&self, address: Address) -> u64 {
        self.ledger.lock().standing(address).next_nonce
    }

    /// Balance of an account in wei by the canonical state.
    pub fn balance(&self, address: Address) -> U256 {
        self.ledger.lock().standing(address).balance
    }

    /// Sets a balance with the next block.
    pub fn set_balance(&self, address: Address, balance: U256) {
        self.ledger.lock().edits.push(Edit::SetBalance(address, balance));
    }

    /// Gives wei to an account with the next block.
    pub fn fund(&self, address: Address, amount: U256) {
        self.ledger.lock().edits.push(Edit::AddBalance(address, amount));
    }

    /// Sets the base fee of the next block, in wei; from there it moves by EIP-1559.
    pub fn set_next_base_fee(&self, base_fee: u64) {
        self.ledger.lock().next_base_fee = Some(base_fee);
    }

    /// The miners take nothing with a lower tip (wei) from now on; the mempool still does.
    pub fn set_miner_tip_floor(&self, tip: u128) {
        self.ledger.lock().miner_tip_floor = tip;
    }

    /// What `eth_maxPriorityFeePerGas` suggests from now on, wei.
    pub fn set_suggested_tip(&self, tip: u64) {
        self.ledger.lock().config.suggested_tip = tip;
    }

    /// Changes the rules of the mempool for newcomers.
    pub fn set_pool_rules(&self, rules: PoolRules) {
        self.ledger.lock().config.pool = rules;
    }

    /// No miner takes this transaction from now on, as if it were stuck.
    pub fn freeze(&self, hash: B256) {
        self.ledger.lock().frozen.insert(hash);
    }

    /// Takes back [`SimChain::freeze`].
    pub fn thaw(&self, hash: B256) {
        self.ledger.lock().frozen.remove(&hash);
    }

    /// Takes back every [`SimChain::freeze`].
    pub fn thaw_all(&self) {
        self.ledger.lock().frozen.clear();
    }

    /// Removes a transaction from the mempool, as nodes do at will. Answers whether it was there.
    pub fn evict(&self, hash: B256) -> bool {
        self.ledger.lock().pool.remove(&hash).is_some()
    }

    /// Answers calls to `address` from now on.
    pub fn register(&self, address: Address, handler: Handler) {
        self.ledger.lock().handlers.insert(address, handler);
    }

    /// Emits a log with the next block, in a transaction that belongs to the script. After a reorganisation the log follows
    /// the fate of transactions.
    pub fn emit(&self, address: Address, mut topics: Vec<B256>, data: Bytes) {
        topics.truncate(4);
        self.ledger.lock().scripted_logs.push(Log { address, data: LogData::new_unchecked(topics, data) });
    }

    /// Answers a JSON-RPC request as a node with that view would.
    pub fn request(&self, view: View, method: &str, params: &Value) -> Result<Value, NodeError> {
        node::answer(&mut self.ledger.lock(), view, method, params)
    }
}
