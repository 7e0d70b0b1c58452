//! The chain itself: blocks, state, pool, time and the controls over them. Everything here is synchronous and driven by calls.

use std::collections::BTreeMap;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use alloy_consensus::{Header, Transaction, TxEnvelope};
use alloy_eips::eip1559::BaseFeeParams;
use alloy_eips::eip2935::{HISTORY_STORAGE_ADDRESS, HISTORY_STORAGE_CODE};
use alloy_primitives::map::DefaultHashBuilder;
use alloy_primitives::{Address, B256, Bytes, U256, address, bytes, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use parking_lot::Mutex;
use revm::bytecode::Bytecode;
use revm::context::{BlockEnv, CfgEnv};
use revm::database::{Cache, CacheDB};
use tokio::sync::broadcast;

use crate::accounts::Signers;
use crate::block::{Block, Blocks, SignedTx};
use crate::clock::Clock;
use crate::error::JsonRpcError;
use crate::evm::{self, Executed, View, Writer};
use crate::filters::Filters;
use crate::pool::{Pool, Replacement};
use crate::precompiles;
use crate::state::{State, Version};
use crate::{DevnetConfig, Mining};

/// Where `CREATE2` factories are expected on a development chain, and its code.
const CREATE2_DEPLOYER: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");
const CREATE2_DEPLOYER_CODE: Bytes = bytes!(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
);

/// Events kept for a slow subscriber before it loses some.
const EVENT_CAPACITY: usize = 4_096;

/// Something subscribers hear of.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// New blocks of the canonical chain, oldest first.
    Added(Arc<[Arc<Block>]>),
    /// Blocks that left the canonical chain, newest first.
    Removed(Arc<[Arc<Block>]>),
    /// A transaction became executable.
    Pending(Arc<SignedTx>),
}

#[derive(Clone, Debug)]
struct Snapshot {
    version: Version,
    number: u64,
    hash: B256,
    base_fee: u64,
}

/// A contract and the selector of its function.
pub(crate) type Function = (Address, [u8; 4]);

/// Functions whose estimates are remembered.
const ESTIMATES: usize = 1_024;

/// Gas that calls needed beyond what they spent. It makes estimates quick and never decides them.
#[derive(Debug, Default)]
pub(crate) struct Estimates(HashMap<Function, u64, DefaultHashBuilder>);

impl Estimates {
    pub(crate) fn get(&self, function: &Function) -> Option<&u64> {
        self.0.get(function)
    }

    pub(crate) fn note(&mut self, function: Function, beyond: u64) {
        if self.0.len() >= ESTIMATES {
            self.0.clear();
        }
        self.0.insert(function, beyond);
    }
}

/// A pending block, and what its transactions change.
#[derive(Clone, Debug)]
struct PendingBlock {
    block: Arc<Block>,
    changes: Cache,
}

/// State of a chain.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) state: State,
    pub(crate) blocks: Blocks,
    pub(crate) pool: Pool,
    pub(crate) clock: Clock,
    pub(crate) signers: Signers,
    pub(crate) chain_id: u64,
    pub(crate) coinbase: Address,
    pub(crate) gas_limit: u64,
    /// Base fee of the next block.
    pub(crate) base_fee: u64,
    pub(crate) mining: Mining,
    /// Made anew by a reset, so that a client can tell.
    pub(crate) instance: B256,
    snapshots: BTreeMap<u64, Snapshot>,
    next_snapshot: u64,
    pub(crate) filters: Filters,
    pending_block: Mutex<Option<PendingBlock>>,
    pub(crate) estimates: Mutex<Estimates>,
    config: Arc<DevnetConfig>,
    events: broadcast::Sender<Event>,
}

impl Chain {
    pub(crate) fn new(config: Arc<DevnetConfig>) -> Self {
        precompiles::remember_recoveries();
        let timestamp = config.genesis_timestamp.unwrap_or_else(|| config.time.now());
        let mut state = State::default();
        state.begin();
        for account in &config.accounts {
            state.update(account.address(), |it| it.balance = account.balance);
        }
        state.set_code(HISTORY_STORAGE_ADDRESS, Bytecode::new_raw(HISTORY_STORAGE_CODE.clone()));
        state.set_code(CREATE2_DEPLOYER, Bytecode::new_raw(CREATE2_DEPLOYER_CODE));
        let header = Header {
            state_root: EMPTY_ROOT_HASH,
            gas_limit: config.gas_limit,
            base_fee_per_gas: Some(config.base_fee),
            timestamp,
            ..Header::default()
        };
        let genesis = Block::seal(header, Vec::new(), Vec::new());
        let instance = keccak256([genesis.hash.as_slice(), &timestamp.to_be_bytes()].concat());
        let replacement = config.replacement_percent.map_or(Replacement::AnyHigher, Replacement::Percent);
        Self {
            state,
            blocks: Blocks::new(genesis),
            pool: Pool::new(replacement),
            clock: Clock::new(config.time.clone(), timestamp),
            signers: Signers::new(&config.accounts, config.chain_id),
            chain_id: config.chain_id,
            coinbase: Address::ZERO,
            gas_limit: config.gas_limit,
            base_fee: config.base_fee,
            mining: config.mining,
            instance,
            snapshots: BTreeMap::new(),
            next_snapshot: 0,
            filters: Filters::default(),
            pending_block: Mutex::default(),
            estimates: Mutex::default(),
            config,
            events: broadcast::channel(EVENT_CAPACITY).0,
        }
    }

    /// Starts again from a new genesis block; subscriptions stay.
    pub(crate) fn reset(&mut self) {
        let fresh = Self::new(self.config.clone());
        let (mining, events) = (self.mining, self.events.clone());
        let (filters, next_snapshot) = (std::mem::take(&mut self.filters), self.next_snapshot);
        let instance = keccak256([self.instance.as_slice(), fresh.instance.as_slice()].concat());
        *self = Self { mining, events, filters, next_snapshot, instance, ..fresh };
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    fn announce(&mut self, event: Event) {
        self.filters.record(&event);
        // Nobody listening is not an error.
        let _ = self.events.send(event);
    }

    // ---- reading ----

    pub(crate) fn rules(&self) -> CfgEnv {
        evm::rules(self.chain_id)
    }

    /// The state after block `number`.
    pub(crate) fn view(&self, number: u64) -> Result<View<'_>, JsonRpcError> {
        let version = self.blocks.version_after(number, self.state.version());
        let version = version.ok_or_else(|| JsonRpcError::block_out_of_range(self.blocks.height(), number))?;
        Ok(View { state: &self.state, blocks: &self.blocks, version, number })
    }

    /// The newest state.
    pub(crate) fn latest(&self) -> View<'_> {
        View { state: &self.state, blocks: &self.blocks, version: self.state.version(), number: self.blocks.height() }
    }

    pub(crate) fn nonce(&self, address: Address) -> u64 {
        self.state.account(address, self.state.version()).map_or(0, |account| account.nonce)
    }

    /// The nonce for the next transaction of `address`, after what is pending.
    pub(crate) fn pending_nonce(&self, address: Address) -> u64 {
        self.pool.next_nonce(address, self.nonce(address))
    }

    pub(crate) fn pending(&self) -> Vec<Arc<SignedTx>> {
        self.pool.pending(|sender| self.nonce(sender))
    }

    /// The block that would be mined now, and the state after it.
    ///
    /// It is made once for all who ask while nothing changes: an estimate runs on it, and a sender asks for many.
    pub(crate) fn pending_block(&self) -> (Arc<Block>, CacheDB<View<'_>>) {
        let timestamp = self.clock.peek();
        let mut made = self.pending_block.lock();
        let current = made.as_ref().filter(|pending| pending.block.header.timestamp == timestamp);
        let PendingBlock { block, changes } = match current {
            Some(pending) => pending.clone(),
            None => made.insert(self.make_pending_block(timestamp)).clone(),
        };
        let number = block.header.number;
        (block, CacheDB { cache: changes, db: View { number, ..self.latest() } })
    }

    fn make_pending_block(&self, timestamp: u64) -> PendingBlock {
        let head = self.blocks.head();
        let mut header = self.next_header(timestamp);
        header.mix_hash = head.header.mix_hash;
        let mut db = CacheDB::new(View { number: header.number, ..self.latest() });
        let executed = evm::run_block(&mut db, self.rules(), evm::environment(&header), &self.pending());
        let Executed { transactions, receipts, gas_used, .. } = executed;
        header.gas_used = gas_used;
        PendingBlock { block: Arc::new(Block::seal(header, transactions, receipts)), changes: db.cache }
    }

    /// Something changes: the pending block will be another one.
    pub(crate) fn forget_pending_block(&mut self) {
        *self.pending_block.get_mut() = None;
    }

    /// The environment of calls on the newest block.
    pub(crate) fn latest_environment(&self) -> BlockEnv {
        let mut environment = evm::environment(&self.blocks.head().header);
        environment.gas_limit = self.gas_limit;
        environment.beneficiary = self.coinbase;
        environment
    }

    fn next_header(&self, timestamp: u64) -> Header {
        let head = self.blocks.head();
        Header {
            parent_hash: head.hash,
            number: head.number() + 1,
            beneficiary: self.coinbase,
            gas_limit: self.gas_limit,
            base_fee_per_gas: Some(self.base_fee),
            timestamp,
            ..Header::default()
        }
    }

    // ---- transactions ----

    /// Checks a transaction and puts it into the pool.
    pub(crate) fn add_transaction(&mut self, tx: SignedTx) -> Result<B256, JsonRpcError> {
        crate::validate::transaction(self, &tx)?;
        let tx = Arc::new(tx);
        let before = self.pending_nonce(tx.from);
        self.pool.add(tx.clone())?;
        let after = self.pending_nonce(tx.from);
        let nonce = tx.envelope.nonce();
        if nonce < after {
            // This one is executable, and so are those that waited behind it.
            self.announce(Event::Pending(tx.clone()));
            if before < after {
                self.announce_range(tx.from, nonce + 1, after);
            }
        }
        Ok(tx.hash)
    }

    fn announce_range(&mut self, sender: Address, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let waiting = self.pending();
        let unlocked = waiting.into_iter().filter(|tx| tx.from == sender && (from..to).contains(&tx.envelope.nonce()));
        for tx in unlocked {
            self.announce(Event::Pending(tx));
        }
    }

    // ---- mining ----

    /// In automatic mode, mines until nothing is executable.
    pub(crate) fn mine_automatically(&mut self) {
        if self.mining != Mining::Automatic {
            return;
        }
        loop {
            let waiting = self.pending();
            if waiting.is_empty() {
                return;
            }
            let block = self.mine_with(&waiting);
            let progress = !block.transactions.is_empty();
            self.announce(Event::Added(Arc::from(vec![block])));
            if !progress {
                return;
            }
        }
    }

    /// Mines `count` blocks; each is `interval` seconds later than the time would be without it.
    pub(crate) fn mine(&mut self, count: u64, interval: Option<u64>) -> Vec<Arc<Block>> {
        let mut mined = Vec::new();
        for _ in 0..count {
            if let Some(interval) = interval {
                self.clock.increase(interval);
            }
            let waiting = if self.pool.is_empty() { Vec::new() } else { self.pending() };
            mined.push(self.mine_with(&waiting));
        }
        if !mined.is_empty() {
            self.announce(Event::Added(Arc::from(mined.clone())));
        }
        mined
    }

    fn mine_with(&mut self, candidates: &[Arc<SignedTx>]) -> Arc<Block> {
        let parent_version = self.state.version();
        let version = self.state.begin();
        let timestamp = self.clock.advance();
        let mut header = self.next_header(timestamp);
        header.mix_hash = keccak256([header.parent_hash.as_slice(), &header.number.to_le_bytes()].concat());
        let executed = if candidates.is_empty() {
            Executed::default()
        } else {
            let writer = Writer { state: &mut self.state, blocks: &self.blocks, number: header.number };
            evm::run_block(writer, evm::rules(self.chain_id), evm::environment(&header), candidates)
        };
        let Executed { transactions, receipts, gas_used, invalid } = executed;
        header.gas_used = gas_used;
        header.state_root = self.state_root(version);
        let block = Arc::new(Block::seal(header, transactions, receipts));
        self.blocks.push(block.clone(), parent_version);
        self.base_fee = next_base_fee(&block.header, self.base_fee);
        for hash in invalid {
            self.pool.remove(hash);
        }
        let senders: HashSet<Address> = block.transactions.iter().map(|tx| tx.from).collect();
        for sender in senders {
            self.pool.forget_below(sender, self.nonce(sender));
        }
        block
    }

    /// A substitute for the root of the state trie: a hash chained over the changes of each block. It is deterministic and
    /// differs when the state differs, but it proves nothing; `eth_getProof` is not offered.
    fn state_root(&self, version: Version) -> B256 {
        let parent = self.blocks.head().header.state_root;
        match self.state.digest_of(version) {
            Some(changes) => keccak256([parent.as_slice(), &changes].concat()),
            None => parent,
        }
    }

    // ---- going back ----

    /// Makes `number` the newest block again.
    pub(crate) fn rollback(&mut self, number: u64) {
        let Some(version) = self.blocks.version_after(number, self.state.version()) else { return };
        self.go_back(number, version);
        let head = self.blocks.head().header.clone();
        self.base_fee = next_base_fee(&head, head.base_fee_per_gas.unwrap_or_default());
        self.gas_limit = head.gas_limit;
    }

    fn go_back(&mut self, number: u64, version: Version) {
        let removed = self.blocks.truncate(number);
        self.state.rollback(version);
        self.snapshots.retain(|_, snapshot| snapshot.version <= version);
        self.clock.reset(self.blocks.head().header.timestamp);
        if removed.is_empty() {
            return;
        }
        if self.config.reorg_returns_transactions {
            for tx in removed.iter().rev().flat_map(|block| &block.transactions) {
                // What no longer fits the chain is dropped, as a node does.
                if crate::validate::transaction(self, tx).is_ok() {
                    let _ = self.pool.add(tx.clone());
                }
            }
        }
        self.announce(Event::Removed(Arc::from(removed)));
    }

    /// Replaces the newest `depth` blocks by as many new ones; `transactions` gives those of each new block.
    pub(crate) fn reorg(&mut self, depth: u64, mut transactions: BTreeMap<u64, Vec<Arc<SignedTx>>>) {
        let common = self.blocks.height().saturating_sub(depth);
        self.rollback(common);
        let mined: Vec<_> = (0..depth)
            .map(|index| {
                let candidates = transactions.remove(&index).unwrap_or_default();
                self.mine_with(&candidates)
            })
            .collect();
        if !mined.is_empty() {
            self.announce(Event::Added(Arc::from(mined)));
        }
    }

    pub(crate) fn snapshot(&mut self) -> u64 {
        let id = self.next_snapshot;
        self.next_snapshot += 1;
        let head = self.blocks.head();
        let snapshot =
            Snapshot { version: self.state.version(), number: head.number(), hash: head.hash, base_fee: self.base_fee };
        self.snapshots.insert(id, snapshot);
        id
    }

    /// Goes back to a snapshot; it and the later ones are gone then. `false` if there is no such snapshot.
    pub(crate) fn revert(&mut self, id: u64) -> bool {
        let Some(snapshot) = self.snapshots.get(&id).cloned() else { return false };
        self.snapshots.retain(|other, _| *other < id);
        self.go_back(snapshot.number, snapshot.version);
        self.base_fee = snapshot.base_fee;
        self.gas_limit = self.blocks.head().header.gas_limit;
        true
    }

    /// Snapshots that can be reverted to: id, number and hash of their newest block.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = (u64, u64, B256)> {
        self.snapshots.iter().map(|(id, snapshot)| (*id, snapshot.number, snapshot.hash))
    }

    // ---- changes by hand ----

    /// Changes the newest state.
    pub(crate) fn edit<T>(&mut self, change: impl FnOnce(&mut State) -> T) -> T {
        self.state.begin();
        change(&mut self.state)
    }

    pub(crate) fn set_nonce(&mut self, address: Address, nonce: u64) {
        self.edit(|state| state.update(address, |account| account.nonce = nonce));
        self.pool.forget_below(address, nonce);
    }

    pub(crate) fn set_balance(&mut self, address: Address, balance: U256) {
        self.edit(|state| state.update(address, |account| account.balance = balance));
    }
}

/// The base fee after `header` by EIP-1559. A fee of zero was set by hand and stays.
fn next_base_fee(header: &Header, current: u64) -> u64 {
    if current == 0 {
        return 0;
    }
    BaseFeeParams::ethereum().next_block_base_fee(header.gas_used, header.gas_limit, header.base_fee_per_gas.unwrap_or_default())
}

/// Decodes a raw transaction and finds its sender.
pub(crate) fn decode_transaction(raw: &[u8]) -> Result<SignedTx, JsonRpcError> {
    use alloy_eips::eip2718::Decodable2718;
    if raw.is_empty() {
        return Err(JsonRpcError::invalid_params("Empty transaction data"));
    }
    let mut rest = raw;
    let envelope =
        TxEnvelope::decode_2718(&mut rest).map_err(|_| JsonRpcError::invalid_params("Failed to decode transaction"))?;
    if envelope.is_eip4844() {
        return Err(crate::validate::blobs_refused());
    }
    let from = precompiles::signer(&envelope).ok_or_else(|| JsonRpcError::invalid_params("Failed to recover the signer"))?;
    let hash = *envelope.tx_hash();
    Ok(SignedTx { envelope, hash, from })
}
