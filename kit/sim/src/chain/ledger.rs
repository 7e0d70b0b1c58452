//! The truth that the nodes of a scripted chain share: blocks, forks, state and mempool.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header, Signed, TxEnvelope, TxLegacy};
use alloy_eips::eip1559::{BaseFeeParams, calc_next_block_base_fee};
use alloy_primitives::{Address, B64, B256, Bytes, Log, Signature, TxKind, U256, keccak256};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::block::{Account, Edit, SimBlock, SimReceipt, State, bloom};
use super::handler::{self, CallOutcome, Handler, Place};
use super::pool::{Pool, Refusal, Standing};
use super::transaction::{Decoder, SignedTransaction};
use super::{Fate, SimChainConfig};

/// Sender of the transactions that carry scripted logs.
const SCRIPT_SENDER: Address = Address::repeat_byte(0xfe);

pub(super) struct Ledger {
    pub(super) config: SimChainConfig,
    pub(super) blocks: HashMap<B256, Arc<SimBlock>>,
    /// Canonical hashes; the index is the block number.
    pub(super) canonical: Vec<B256>,
    /// Every head there ever was, oldest first: what a node that lags may still believe.
    pub(super) heads: Vec<B256>,
    /// Blocks, canonical or not, that hold a transaction, and its index there.
    pub(super) places: HashMap<B256, Vec<(B256, usize)>>,
    pub(super) finalized: u64,
    pub(super) highest: u64,
    pub(super) reorganisations: u64,
    /// Length of `heads` when the last reorganisation was done.
    pub(super) fork_ended_at: usize,
    pub(super) pool: Pool,
    pub(super) decoder: Decoder,
    pub(super) handlers: BTreeMap<Address, Handler>,
    /// Valid signed transactions that any node was ever handed, in order of arrival.
    pub(super) seen: Vec<Arc<SignedTransaction>>,
    seen_hashes: BTreeSet<B256>,
    /// Transactions that no miner takes although they are valid.
    pub(super) frozen: BTreeSet<B256>,
    pub(super) miner_tip_floor: u128,
    pub(super) next_base_fee: Option<u64>,
    pub(super) edits: Vec<Edit>,
    pub(super) scripted_logs: Vec<Log>,
    rng: ChaCha8Rng,
}

impl Ledger {
    pub(super) fn new(config: SimChainConfig) -> Self {
        let state: State = config
            .balances
            .iter()
            .map(|(address, balance)| (*address, Account { balance: *balance, ..Account::default() }))
            .collect();
        let header = Header {
            gas_limit: config.block_gas_limit,
            base_fee_per_gas: Some(config.base_fee),
            timestamp: config.genesis_timestamp,
            extra_data: config.chain_id.to_be_bytes().to_vec().into(),
            ..Header::default()
        };
        let hash = header.hash_slow();
        let genesis = Arc::new(SimBlock {
            header,
            hash,
            transactions: Vec::new(),
            receipts: Vec::new(),
            state: Arc::new(state),
            edits: Vec::new(),
        });
        let rng = ChaCha8Rng::seed_from_u64(config.seed);
        Self {
            config,
            blocks: HashMap::from([(hash, genesis)]),
            canonical: vec![hash],
            heads: vec![hash],
            places: HashMap::new(),
            finalized: 0,
            highest: 0,
            reorganisations: 0,
            fork_ended_at: 0,
            pool: Pool::default(),
            decoder: Decoder::default(),
            handlers: BTreeMap::new(),
            seen: Vec::new(),
            seen_hashes: BTreeSet::new(),
            frozen: BTreeSet::new(),
            miner_tip_floor: 0,
            next_base_fee: None,
            edits: Vec::new(),
            scripted_logs: Vec::new(),
            rng,
        }
    }

    #[expect(clippy::expect_used, reason = "the genesis block is canonical from the start and never removed")]
    pub(super) fn head(&self) -> Arc<SimBlock> {
        self.canonical.last().and_then(|hash| self.blocks.get(hash)).cloned().expect("a chain has a genesis block")
    }

    pub(super) fn canonical_block(&self, number: u64) -> Option<&Arc<SimBlock>> {
        self.canonical.get(usize::try_from(number).ok()?).and_then(|hash| self.blocks.get(hash))
    }

    /// Where a transaction is on the canonical chain.
    pub(super) fn canonical_place(&self, hash: &B256) -> Option<(&Arc<SimBlock>, usize)> {
        self.places.get(hash)?.iter().find_map(|(block, index)| {
            let block = self.blocks.get(block)?;
            self.is_canonical(block).then_some((block, *index))
        })
    }

    pub(super) fn is_canonical(&self, block: &SimBlock) -> bool {
        usize::try_from(block.header.number).ok().and_then(|number| self.canonical.get(number)) == Some(&block.hash)
    }

    /// Remembers signed bytes that left a program, whatever becomes of them.
    pub(super) fn witness(&mut self, raw: &[u8]) -> Result<Arc<SignedTransaction>, Refusal> {
        let transaction = self.decoder.decode(raw, self.config.chain_id)?;
        if self.seen_hashes.insert(transaction.hash) {
            self.seen.push(transaction.clone());
        }
        Ok(transaction)
    }

    pub(super) fn submit(&mut self, raw: &[u8]) -> Result<B256, Refusal> {
        let transaction = self.witness(raw)?;
        let hash = transaction.hash;
        let standing = self.standing(transaction.sender);
        self.pool.add(transaction, standing, &self.config.pool).map(|()| hash)
    }

    pub(super) fn standing(&self, address: Address) -> Standing {
        let head = self.head();
        let account = head.state.get(&address);
        Standing {
            next_nonce: account.map_or(0, |account| account.nonce),
            balance: account.map_or(U256::ZERO, |account| account.balance),
            block_gas_limit: self.config.block_gas_limit,
        }
    }

    /// Base fee in wei of the block after `parent`.
    pub(super) fn base_fee_after(&self, parent: &SimBlock) -> u64 {
        calc_next_block_base_fee(
            parent.header.gas_used,
            parent.header.gas_limit,
            parent.header.base_fee_per_gas.unwrap_or_default(),
            BaseFeeParams::ethereum(),
        )
        .max(self.config.base_fee_floor)
    }

    /// Mines one block on the head with at most `limit` transactions of the pool.
    pub(super) fn mine(&mut self, timestamp: u64, limit: usize) -> Arc<SimBlock> {
        let parent = self.head();
        let block = self.build(&parent, timestamp, limit);
        self.adopt(block.clone());
        block
    }

    fn build(&mut self, parent: &SimBlock, timestamp: u64, limit: usize) -> Arc<SimBlock> {
        let base_fee = self.next_base_fee.take().unwrap_or_else(|| self.base_fee_after(parent));
        let mut building = Building {
            state: (*parent.state).clone(),
            number: parent.header.number + 1,
            parent_hash: parent.hash,
            chain_id: self.config.chain_id,
            timestamp: timestamp.max(parent.header.timestamp + 1),
            base_fee,
            gas_used: 0,
            logs: 0,
            transactions: Vec::new(),
            receipts: Vec::new(),
        };
        let edits = std::mem::take(&mut self.edits);
        for edit in &edits {
            building.edit(edit);
        }
        self.carry_scripted_logs(&mut building);
        while building.transactions.len() < limit {
            let Some(transaction) = self.choose(&building) else {
                break;
            };
            building.run(transaction, &self.handlers);
        }
        let header = Header {
            parent_hash: parent.hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            logs_bloom: bloom(building.receipts.iter().flat_map(|receipt| &receipt.logs)),
            number: building.number,
            gas_limit: self.config.block_gas_limit,
            gas_used: building.gas_used,
            timestamp: building.timestamp,
            base_fee_per_gas: Some(base_fee),
            // Random, so that two blocks of equal content on two branches differ.
            mix_hash: B256::from(self.rng.random::<[u8; 32]>()),
            nonce: B64::ZERO,
            ..Header::default()
        };
        let hash = header.hash_slow();
        Arc::new(SimBlock {
            header,
            hash,
            transactions: building.transactions,
            receipts: building.receipts,
            state: Arc::new(building.state),
            edits,
        })
    }

    /// The best transaction that can go next: of each account only the one with its next nonce, highest tip first.
    fn choose(&self, building: &Building) -> Option<Arc<SignedTransaction>> {
        self.pool
            .accounts()
            .into_iter()
            .filter_map(|account| {
                let standing = building.state.get(&account);
                let nonce = standing.map_or(0, |account| account.nonce);
                let transaction = self.pool.at(account, nonce)?;
                let tip = transaction.effective_tip(building.base_fee)?;
                let payable = standing.is_some_and(|account| account.balance >= transaction.cost());
                let fits = building.gas_used.saturating_add(transaction.gas_limit) <= self.config.block_gas_limit;
                let wanted = tip >= self.miner_tip_floor && !self.frozen.contains(&transaction.hash);
                (payable && fits && wanted).then(|| (tip, transaction.clone()))
            })
            .max_by_key(|(tip, transaction)| (*tip, transaction.hash))
            .map(|(_, transaction)| transaction)
    }

    /// Puts the logs that scripts asked for into one transaction of nobody's.
    fn carry_scripted_logs(&mut self, building: &mut Building) {
        let logs = std::mem::take(&mut self.scripted_logs);
        if logs.is_empty() {
            return;
        }
        let salt = self.rng.random::<[u8; 32]>();
        let hash = keccak256(salt);
        let body = TxLegacy {
            chain_id: Some(self.config.chain_id),
            nonce: building.number,
            gas_price: u128::from(building.base_fee),
            gas_limit: 21_000,
            to: TxKind::Call(SCRIPT_SENDER),
            value: U256::ZERO,
            input: Bytes::new(),
        };
        let transaction = Arc::new(SignedTransaction {
            hash,
            sender: SCRIPT_SENDER,
            nonce: body.nonce,
            to: Some(SCRIPT_SENDER),
            value: U256::ZERO,
            input: Bytes::new(),
            gas_limit: body.gas_limit,
            max_fee_per_gas: body.gas_price,
            max_priority_fee_per_gas: 0,
            kind: 0,
            raw: Bytes::new(),
            envelope: TxEnvelope::Legacy(Signed::new_unchecked(body, Signature::test_signature(), hash)),
        });
        building.push(transaction, true, 21_000, u128::from(building.base_fee), logs, None);
    }

    fn adopt(&mut self, block: Arc<SimBlock>) {
        self.canonical.push(block.hash);
        self.heads.push(block.hash);
        self.highest = self.highest.max(block.header.number);
        for (index, transaction) in block.transactions.iter().enumerate() {
            let places = self.places.entry(transaction.hash).or_default();
            if !places.contains(&(block.hash, index)) {
                places.push((block.hash, index));
            }
        }
        self.blocks.insert(block.hash, block);
        let settled = (self.canonical.len() as u64 - 1).saturating_sub(self.config.finality_depth);
        self.finalized = self.finalized.max(settled);
        self.settle_pool();
    }

    fn settle_pool(&mut self) {
        for account in self.pool.accounts() {
            let standing = self.standing(account);
            self.pool.settle(account, standing.next_nonce, standing.balance);
        }
    }

    /// Replaces the last `depth` blocks by `length` new ones. Never touches a finalized block. Returns the depth done.
    pub(super) fn reorganise(&mut self, depth: u64, length: u64, fate: Fate, limit: usize) -> u64 {
        let head = self.head().header.number;
        let asked = depth;
        let depth = depth.min(head - self.finalized);
        let length = length.saturating_sub(asked - depth);
        if depth == 0 {
            return 0;
        }
        self.reorganisations += 1;
        let keep = usize::try_from(head - depth + 1).unwrap_or(usize::MAX);
        let removed: Vec<Arc<SimBlock>> =
            self.canonical.split_off(keep).iter().filter_map(|hash| self.blocks.get(hash).cloned()).collect();
        for block in &removed {
            self.edits.extend(block.edits.iter().cloned());
            for (transaction, receipt) in block.transactions.iter().zip(&block.receipts) {
                let returns = match fate {
                    Fate::Return => true,
                    Fate::Vanish => false,
                    Fate::Random => self.rng.random_bool(0.5),
                };
                if !returns {
                    continue;
                }
                if transaction.sender == SCRIPT_SENDER {
                    self.scripted_logs.extend(receipt.logs.iter().cloned());
                } else if self.pool.at(transaction.sender, transaction.nonce).is_none() {
                    self.pool.insert(transaction.clone());
                }
            }
        }
        self.settle_pool();
        for _ in 0..length {
            let parent = self.head();
            let timestamp = parent.header.timestamp + self.rng.random_range(1..=12);
            // Some blocks of the new branch come without the transactions, others with all of them.
            let limit = if self.rng.random_bool(0.5) { limit } else { 0 };
            let block = self.build(&parent, timestamp, limit);
            self.adopt(block);
        }
        if length == 0 {
            let head = self.head().hash;
            self.heads.push(head);
        }
        self.fork_ended_at = self.heads.len();
        depth
    }

    /// Makes a block that was left, with the branch below it, the head again. Not below the finalized block. Balances that the script gave
    /// on the branch that is left stay behind; those that it set are set again.
    pub(super) fn return_to(&mut self, hash: B256) -> bool {
        let mut branch = Vec::new();
        let mut next = self.blocks.get(&hash).cloned();
        let fork = loop {
            match next {
                Some(block) if self.is_canonical(&block) => break block.header.number,
                Some(block) => {
                    next = self.blocks.get(&block.header.parent_hash).cloned();
                    branch.push(block);
                }
                None => return false,
            }
        };
        if branch.is_empty() || fork < self.finalized {
            return false;
        }
        self.reorganisations += 1;
        let keep = usize::try_from(fork + 1).unwrap_or(usize::MAX);
        let removed: Vec<Arc<SimBlock>> =
            self.canonical.split_off(keep).iter().filter_map(|hash| self.blocks.get(hash).cloned()).collect();
        for block in &removed {
            self.edits.extend(block.edits.iter().filter(|edit| matches!(edit, Edit::SetBalance(..))).cloned());
            for transaction in block.transactions.iter().filter(|transaction| transaction.sender != SCRIPT_SENDER) {
                if self.pool.at(transaction.sender, transaction.nonce).is_none() {
                    self.pool.insert(transaction.clone());
                }
            }
        }
        for block in branch.into_iter().rev() {
            self.adopt(block);
        }
        self.fork_ended_at = self.heads.len();
        true
    }

    /// Runs a call on the state after `block` without keeping anything.
    pub(super) fn call(&self, block: &SimBlock, call: &Call) -> (CallOutcome, u64) {
        let Some(to) = call.to else {
            return (CallOutcome::Return(Bytes::new()), 32_000);
        };
        let place = Place {
            block_number: block.header.number,
            timestamp: block.header.timestamp,
            parent_hash: block.header.parent_hash,
            chain_id: self.config.chain_id,
            depth: 0,
        };
        let inner = handler::Call { from: call.from, to, value: call.value, input: &call.input };
        let mut state = (*block.state).clone();
        let ran = handler::run(place, &inner, &mut state, &self.handlers);
        (ran.outcome, ran.gas)
    }
}

/// The parameters of `eth_call` and `eth_estimateGas`.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    pub(super) from: Address,
    pub(super) to: Option<Address>,
    pub(super) value: U256,
    pub(super) input: Bytes,
}

/// A block in the making.
struct Building {
    state: State,
    number: u64,
    parent_hash: B256,
    chain_id: u64,
    timestamp: u64,
    base_fee: u64,
    gas_used: u64,
    logs: u64,
    transactions: Vec<Arc<SignedTransaction>>,
    receipts: Vec<SimReceipt>,
}

impl Building {
    fn edit(&mut self, edit: &Edit) {
        match edit {
            Edit::SetBalance(address, balance) => {
                self.state.entry(*address).or_default().balance = *balance;
            }
            Edit::AddBalance(address, amount) => {
                let account = self.state.entry(*address).or_default();
                account.balance = account.balance.saturating_add(*amount);
            }
        }
    }

    fn run(&mut self, transaction: Arc<SignedTransaction>, handlers: &BTreeMap<Address, Handler>) {
        let price = u128::from(self.base_fee) + transaction.effective_tip(self.base_fee).unwrap_or_default();
        let created = transaction.to.is_none().then(|| transaction.sender.create(transaction.nonce));
        let target = transaction.to.or(created).unwrap_or_default();
        self.state.entry(transaction.sender).or_default().nonce += 1;

        let place = Place {
            block_number: self.number,
            timestamp: self.timestamp,
            parent_hash: self.parent_hash,
            chain_id: self.chain_id,
            depth: 0,
        };
        let call = handler::Call { from: transaction.sender, to: target, value: transaction.value, input: &transaction.input };
        let before = self.state.clone();
        let ran = handler::run(place, &call, &mut self.state, handlers);
        let mut logs = ran.logs;
        let gas = transaction.intrinsic_gas().saturating_add(ran.gas);
        let enough = gas <= transaction.gas_limit || !handlers.contains_key(&target);
        let success = matches!(ran.outcome, CallOutcome::Return(_)) && enough;
        if !success {
            self.state = before;
        }
        let gas = gas.min(transaction.gas_limit);
        let fee = U256::from(gas) * U256::from(price);
        let sender = self.state.entry(transaction.sender).or_default();
        sender.balance = sender.balance.saturating_sub(fee);
        if success {
            sender.balance = sender.balance.saturating_sub(transaction.value);
            let receiver = self.state.entry(target).or_default();
            receiver.balance = receiver.balance.saturating_add(transaction.value);
            if created.is_some() {
                receiver.code = transaction.input.clone();
            }
        } else {
            logs.clear();
        }
        let created = created.filter(|_| success);
        self.push(transaction, success, gas, price, logs, created);
    }

    fn push(
        &mut self,
        transaction: Arc<SignedTransaction>,
        success: bool,
        gas_used: u64,
        effective_gas_price: u128,
        logs: Vec<Log>,
        contract_address: Option<Address>,
    ) {
        self.gas_used = self.gas_used.saturating_add(gas_used);
        let first_log_index = self.logs;
        self.logs += logs.len() as u64;
        self.transactions.push(transaction);
        self.receipts.push(SimReceipt {
            success,
            gas_used,
            cumulative_gas_used: self.gas_used,
            effective_gas_price,
            logs,
            first_log_index,
            contract_address,
        });
    }
}
