//! The chain itself: no clock, no IO. The same calls make the same chain, to the block hash.

mod ante;
mod bank;
mod block;
mod execute;
mod index;
mod mempool;
pub(crate) mod oracle;
mod query;
mod transaction;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};
use prost::Message;
use windlass_vrf_protocol::header::{BlockId, Header};
use windlass_vrf_protocol::merkle::{self, sha256};
use windlass_vrf_protocol::messages::tx::Event;
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::oracle_result::{COUNT_KEY, OracleResult, store_key};
use windlass_vrf_protocol::vote::EncodedChainId;

use crate::config::{BandConfig, GenesisValidator, LATEST_TIME_MS};
use crate::error::DevnetError;
use crate::faults::{Faults, hit};
use crate::tree::{Leaf, StoreItem, Tree};
use crate::validators::ValidatorSet;

use ante::{Gas, Mode};
use bank::{Bank, Failure};
use block::{Parts, State};
use execute::Execution;
use index::TxIndex;
use mempool::Mempool;
use oracle::{Oracle, Resolved};
use transaction::{Transaction, hash_of};

pub use bank::Account;
pub(crate) use block::PARTS_TOTAL;
pub use block::{Block, Commit, Vote};
pub use index::IncludedTx;
pub(crate) use oracle::DATA_SOURCE_ID;
pub use oracle::{OracleRequest, Resolved as ResolvedRequest};
pub use query::{RequestState, ServedProof, StoreAnswer};

/// Key of the entry that changes with every block.
const ROLLING_SEED_KEY: &[u8] = b"\x00RollingSeed";

/// Places before that of the first request.
const FIXED_PLACES: u64 = 2;

/// Version of the block format that CometBFT 0.38 writes.
const BLOCK_VERSION: u64 = 11;

/// The answer to a broadcast.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckAnswer {
    /// Hash of the transaction, as nodes write it.
    pub hash: String,
    /// 0: it waits for a block.
    pub code: u32,
    /// Module of the code.
    pub codespace: String,
    /// Why it was refused.
    pub raw_log: String,
}

impl CheckAnswer {
    /// Whether it waits for a block.
    pub fn is_ok(&self) -> bool {
        self.code == 0
    }

    fn new(hash: B256, outcome: Result<(), Failure>) -> Self {
        let hash = hex::encode_upper(hash);
        match outcome {
            Ok(()) => Self { hash, ..Self::default() },
            Err(Failure { codespace, code, raw_log }) => Self { hash, code, codespace: codespace.to_owned(), raw_log },
        }
    }
}

/// A simulated BandChain.
#[derive(Debug)]
pub struct Chain {
    config: BandConfig,
    faults: Faults,
    bank: Bank,
    /// Accounts as they will be once what waits is in a block.
    checked: Bank,
    /// Accounts that may differ between the two.
    touched: HashSet<String>,
    mempool: Mempool,
    oracle: Oracle,
    layout: Layout,
    /// The oldest first; never empty.
    blocks: VecDeque<Block>,
    index: TxIndex,
    validators: ValidatorSet,
    /// Validators of later blocks: height from which on, and who.
    coming: VecDeque<(u64, ValidatorSet)>,
    last_results_hash: B256,
}

impl Chain {
    /// A chain with one block, made from the settings.
    ///
    /// # Errors
    /// [`DevnetError::Config`] for a setting out of range, [`DevnetError::Genesis`] for a validator's key that is none.
    pub fn new(config: BandConfig) -> Result<Self, DevnetError> {
        config.check()?;
        let validators = ValidatorSet::genesis(&config.validators)?;
        let mut bank = Bank::default();
        config.accounts.iter().for_each(|account| bank.credit(&account.address, account.uband));
        let state = State::new(config.layout, genesis_tree(&config)?, config.seed, 0);
        let mut chain = Self {
            checked: bank.clone(),
            bank,
            faults: Faults::none(),
            touched: HashSet::new(),
            mempool: Mempool::default(),
            oracle: Oracle::new(config.first_request_id),
            layout: config.layout,
            blocks: VecDeque::new(),
            index: TxIndex::default(),
            validators,
            coming: VecDeque::new(),
            last_results_hash: merkle::root::<Vec<u8>>(&[]),
            config,
        };
        let genesis_time = chain.config.genesis_time_ms;
        chain.make_block(1, genesis_time, &BlockId::default(), &state)?;
        Ok(chain)
    }

    /// The settings.
    pub fn config(&self) -> &BandConfig {
        &self.config
    }

    /// The faults in force, with what is left of their counters.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The faults, to change some of them.
    pub fn faults_mut(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// Replaces all faults.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Changes the range from which each later request's blocks until its result are taken. A range that is empty or begins at 0 changes
    /// nothing.
    pub fn set_resolve_after(&mut self, blocks: std::ops::RangeInclusive<u64>) {
        if *blocks.start() >= 1 && !blocks.is_empty() {
            self.config.resolve_after = blocks;
        }
    }

    /// Gives coins to an account; makes it if it is new.
    pub fn fund(&mut self, address: &str, uband: u128) {
        self.bank.credit(address, uband);
        match (self.bank.get(address), self.checked.get(address)) {
            (Some(_), Some(_)) => self.checked.credit(address, uband),
            (account, _) => self.checked.restore(address, account),
        }
    }

    /// Takes coins from an account, as many as it has at most; what waits in the mempool may no longer be paid for.
    pub fn drain(&mut self, address: &str, uband: u128) {
        for bank in [&mut self.bank, &mut self.checked] {
            if let Some(account) = bank.get_mut(address) {
                account.uband = account.uband.saturating_sub(uband);
            }
        }
    }

    /// Replaces the validators from the block after next on, as CometBFT does.
    ///
    /// # Errors
    /// [`DevnetError::Config`] for an empty list or a power of zero, [`DevnetError::Genesis`] for a key that is none.
    pub fn set_validators(&mut self, validators: &[GenesisValidator]) -> Result<(), DevnetError> {
        if validators.is_empty() || validators.iter().any(|validator| validator.power == 0) {
            let reason = "must not be empty and have powers above zero".to_owned();
            return Err(DevnetError::Config { setting: "validators", reason });
        }
        self.schedule(ValidatorSet::genesis(validators)?);
        Ok(())
    }

    /// Replaces the strongest `count` validators by new ones of the same powers, from the block after next on: a rotation away from what the
    /// Bridge knows.
    pub fn rotate_validators(&mut self, count: usize) {
        // Other keys at each height, and none of the genesis block.
        let seed = self.config.seed.wrapping_add(self.height().wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let fresh = GenesisValidator::many(seed, count);
        let current = self.newest_validators().validators().iter().enumerate();
        let list = current.map(|(index, validator)| {
            let rotated = fresh.get(index).and_then(|new| validator.with_key(&new.private_key));
            rotated.unwrap_or_else(|| validator.clone())
        });
        self.schedule(ValidatorSet::new(list.collect()));
    }

    fn newest_validators(&self) -> &ValidatorSet {
        self.coming.back().map_or(&self.validators, |(_, set)| set)
    }

    fn schedule(&mut self, set: ValidatorSet) {
        let from = self.height().saturating_add(2);
        self.coming.retain(|(height, _)| *height < from);
        self.coming.push_back((from, set));
    }

    /// Height of the newest block.
    pub fn height(&self) -> u64 {
        self.blocks.back().map_or(0, |block| block.header.height)
    }

    /// The newest block. `None` never happens: there is a block from the beginning.
    pub fn latest(&self) -> Option<&Block> {
        self.blocks.back()
    }

    /// How many transactions wait.
    pub fn waiting(&self) -> usize {
        self.mempool.len()
    }

    /// How many requests wait for their result.
    pub fn open_requests(&self) -> usize {
        self.oracle.open()
    }

    /// Validators and powers as the Bridge is initialized with them.
    pub fn validators_for_bridge(&self) -> Vec<(Address, u64)> {
        self.validators.for_bridge()
    }

    /// The chain id as the Bridge keeps it.
    pub fn encoded_chain_id(&self) -> EncodedChainId {
        EncodedChainId::new(&self.config.chain_id)
    }

    /// Hands a transaction to the chain, as BroadcastTx in SYNC mode does. A code other than 0 refuses it.
    pub fn check_tx(&mut self, bytes: &[u8]) -> CheckAnswer {
        let hash = hash_of(bytes);
        let outcome = self.admit(hash, bytes);
        CheckAnswer::new(hash, outcome)
    }

    fn admit(&mut self, hash: B256, bytes: &[u8]) -> Result<(), Failure> {
        if self.faults.mempool_full || self.mempool.len() >= self.config.mempool_size {
            return Err(Failure::sdk(20, ""));
        }
        let is_included = self.index.get(&hash).is_some_and(|included| included.code == 0);
        if is_included || self.mempool.contains(&hash) {
            return Err(Failure::sdk(19, ""));
        }
        let transaction = Transaction::decode(bytes)?;
        if self.config.strict_message_type {
            transaction.check_types(self.layout)?;
        }
        if hit(&mut self.faults.sequence_errors) {
            let behind = transaction.sequence.saturating_sub(1);
            return Err(ante::sequence_mismatch(behind, transaction.sequence));
        }
        let next = self.height().saturating_add(1);
        if hit(&mut self.faults.lose_broadcasts) {
            // The node that answers checks it all the same.
            let mut scratch = Bank::default();
            scratch.restore(&transaction.sender, self.checked.get(&transaction.sender));
            return ante::run(&self.config, &mut scratch, &transaction, next, Mode::Check).map(drop);
        }
        ante::run(&self.config, &mut self.checked, &transaction, next, Mode::Check)?;
        self.touched.insert(transaction.sender.clone());
        self.mempool.add(transaction, next.saturating_add(self.faults.delay_inclusion_blocks));
        Ok(())
    }

    /// Makes the next block at this time, in Unix milliseconds; a time that is not after the last block's is moved there. Returns the new
    /// height, or `None` while the chain is halted.
    pub fn advance(&mut self, now_ms: u64) -> Option<u64> {
        if self.faults.halted {
            return None;
        }
        let (height, time_ms, last_id, state) = {
            let last = self.blocks.back()?;
            (last.header.height + 1, now_ms.min(LATEST_TIME_MS).max(last.time_ms + 1), last.id(), last.state.clone())
        };
        match self.make_block(height, time_ms, &last_id, &state) {
            Ok(()) => Some(height),
            Err(error) => {
                tracing::error!(%error, height, "the simulated chain cannot go on");
                None
            }
        }
    }

    fn make_block(&mut self, height: u64, time_ms: u64, last_id: &BlockId, before: &State) -> Result<(), DevnetError> {
        if self.faults.upgrade_to_v3_at.is_some_and(|from| height >= from) {
            self.layout = Layout::V3;
        }
        let first_id = self.oracle.next_id();
        let taken = self.mempool.reap(height, self.config.max_block_gas, &mut self.faults.drop_from_mempool);
        let data_hashes: Vec<B256> = taken.iter().map(|transaction| transaction.hash).collect();
        let mut included = Vec::with_capacity(taken.len());
        for (place, transaction) in taken.into_iter().enumerate() {
            included.push(self.deliver(transaction, height, time_ms, place as u32));
        }
        let resolved = self.oracle.resolve(height, time_ms / 1_000, &self.config.oracle_scripts);
        self.oracle.forget(height, self.config.expiration_blocks);
        let counted = self.oracle.next_id() != first_id;
        let tree = self.write_store(&before.tree, height, &last_id.hash, counted, &resolved)?;
        let state = State::new(self.layout, tree, self.config.seed, height);

        let header = self.header(height, time_ms, last_id, &before.app_hash, &data_hashes);
        self.last_results_hash = results_hash(&included);
        self.blocks.push_back(Block::new(Parts {
            header,
            time_ms,
            round: self.config.round,
            validators: self.validators.clone(),
            absent: self.faults.absent_validators.min(self.validators.validators().len()),
            transactions: included.clone(),
            resolved: resolved.into_iter().map(|(resolved, _)| resolved).collect(),
            multi_store: before.multi_store,
            state,
        }));
        included.into_iter().for_each(|transaction| self.index.add(transaction));
        self.finish_block(height);
        Ok(())
    }

    /// Validators of the next block, pruning, and the mempool's look at the new state.
    fn finish_block(&mut self, height: u64) {
        if let Some((_, set)) = self.coming.pop_front_if(|(from, _)| *from <= height + 1) {
            self.validators = set;
        }
        while self.blocks.len() as u64 > self.config.keep_heights {
            self.blocks.pop_front();
        }
        self.index.prune(height.saturating_sub(self.config.keep_transaction_heights));
        for address in self.touched.drain() {
            self.checked.restore(&address, self.bank.get(&address));
        }
        let Self { config, checked, touched, mempool, layout, .. } = self;
        mempool.recheck(|transaction| {
            touched.insert(transaction.sender.clone());
            let known = !config.strict_message_type || transaction.check_types(*layout).is_ok();
            known && ante::run(config, checked, transaction, height + 1, Mode::Recheck).is_ok()
        });
    }

    /// Runs a transaction of a block. A failing one uses its sequence and pays its fee all the same.
    fn deliver(&mut self, transaction: Transaction, height: u64, time_ms: u64, index: u32) -> Arc<IncludedTx> {
        let paid = ante::run(&self.config, &mut self.bank, &transaction, height, Mode::Deliver);
        self.touched.insert(transaction.sender.clone());
        let sequence = paid.is_ok().then_some(transaction.sequence);
        let mut events = Vec::new();
        let (gas, done) = match paid {
            Ok(gas) => {
                events = ante_events(&transaction);
                let at = (height, time_ms / 1_000);
                let next_id = self.oracle.next_id();
                let Self { config, faults, bank, layout, .. } = self;
                let outcome = Execution::new(config, faults, bank, *layout, at, next_id, gas).run(&transaction);
                (outcome.gas, outcome.result)
            }
            Err(failure) => (Gas { limit: transaction.gas_limit, used: 0 }, Err(failure)),
        };
        let (code, codespace, raw_log) = match done {
            Ok((requests, of_messages)) => {
                requests.into_iter().for_each(|request| self.oracle.add(request));
                self.touch_recipients(&of_messages);
                let log = if self.layout == Layout::V2 { message_logs(&transaction, &of_messages) } else { String::new() };
                events.extend(of_messages);
                (0, "", log)
            }
            Err(failure) => (failure.code, failure.codespace, failure.raw_log),
        };
        Arc::new(IncludedTx {
            hash: transaction.hash,
            height,
            index,
            time_ms,
            bytes: transaction.bytes,
            sender: transaction.sender,
            sequence,
            codespace: codespace.to_owned(),
            code,
            raw_log,
            gas_wanted: transaction.gas_limit,
            gas_used: gas.used,
            events,
        })
    }

    fn touch_recipients(&mut self, events: &[Event]) {
        self.touched.insert(execute::TREASURY.to_owned());
        let transfers = events.iter().filter(|event| event.r#type == "transfer");
        let recipients = transfers.flat_map(|event| &event.attributes).filter(|attribute| attribute.key == "recipient");
        self.touched.extend(recipients.map(|attribute| attribute.value.clone()));
    }

    /// The oracle store after a block: the number of requests, the rolling seed, and the results.
    fn write_store(
        &self,
        before: &Tree,
        height: u64,
        last_hash: &Bytes,
        counted: bool,
        resolved: &[(Resolved, OracleResult)],
    ) -> Result<Tree, DevnetError> {
        let leaf = |key: &[u8], value: Vec<u8>| {
            Leaf::Item(Arc::new(StoreItem { key: Bytes::copy_from_slice(key), value: value.into(), version: height }))
        };
        let first_id = self.config.first_request_id;
        let mut changes = Vec::with_capacity(resolved.len() + 2);
        if counted {
            changes.push((0, leaf(COUNT_KEY, (self.oracle.next_id() - 1).to_be_bytes().to_vec())));
        }
        changes.push((1, leaf(ROLLING_SEED_KEY, sha256(&[b"rolling seed", last_hash]).to_vec())));
        let mut tree = before.clone();
        for (resolved, stored) in resolved {
            let place = FIXED_PLACES + (resolved.id - first_id);
            while place >= tree.len() {
                tree = tree.doubled(first_id + (tree.len() - FIXED_PLACES), height)?;
            }
            changes.push((place, leaf(&store_key(resolved.id), stored.encode())));
        }
        Ok(tree.with(&changes)?)
    }

    fn header(&self, height: u64, time_ms: u64, last_id: &BlockId, app_hash: &B256, data: &[B256]) -> Header {
        let bytes = |hash: B256| Bytes::from(hash.to_vec());
        let next = self.coming.iter().find(|(from, _)| *from <= height + 1).map_or(&self.validators, |(_, set)| set);
        Header {
            version_block: BLOCK_VERSION,
            version_app: 0,
            chain_id: self.config.chain_id.clone(),
            height,
            time_second: time_ms / 1_000,
            time_nano: (time_ms % 1_000 * 1_000_000) as u32,
            last_block_id: last_id.clone(),
            // A real one covers the signatures of the last block. They are signed only when asked for, so this is a substitute.
            last_commit_hash: bytes(sha256(&[b"last commit", &last_id.hash])),
            data_hash: bytes(merkle::root(data)),
            validators_hash: bytes(self.validators.hash()),
            next_validators_hash: bytes(next.hash()),
            consensus_hash: bytes(sha256(&[b"consensus parameters"])),
            app_hash: bytes(*app_hash),
            last_results_hash: bytes(self.last_results_hash),
            evidence_hash: bytes(merkle::root::<Vec<u8>>(&[])),
            proposer_address: self.validators.proposer(height).to_vec().into(),
        }
    }
}

/// The store of a chain without requests: two entries, and a place for each request that fits.
fn genesis_tree(config: &BandConfig) -> Result<Tree, DevnetError> {
    let item = |key: &[u8], value: Vec<u8>| {
        Leaf::Item(Arc::new(StoreItem { key: Bytes::copy_from_slice(key), value: value.into(), version: 1 }))
    };
    let count = (config.first_request_id - 1).to_be_bytes().to_vec();
    let mut leaves = vec![item(COUNT_KEY, count), item(ROLLING_SEED_KEY, vec![0; 32])];
    let requests = (0..config.store_leaves.saturating_sub(FIXED_PLACES)).map(|index| config.first_request_id + index);
    leaves.extend(requests.map(|request_id| Leaf::Vacant { request_id, version: 1 }));
    Ok(Tree::build(&leaves)?)
}

/// What CometBFT hashes of a transaction's result: code and gas.
#[derive(Clone, PartialEq, prost::Message)]
struct ExecTxResult {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(int64, tag = "5")]
    gas_wanted: i64,
    #[prost(int64, tag = "6")]
    gas_used: i64,
}

fn results_hash(transactions: &[Arc<IncludedTx>]) -> B256 {
    let one = |transaction: &Arc<IncludedTx>| ExecTxResult {
        code: transaction.code,
        gas_wanted: i64::try_from(transaction.gas_wanted).unwrap_or(i64::MAX),
        gas_used: i64::try_from(transaction.gas_used).unwrap_or(i64::MAX),
    };
    let items: Vec<Vec<u8>> = transactions.iter().map(|transaction| one(transaction).encode_to_vec()).collect();
    merkle::root(&items)
}

fn ante_events(transaction: &Transaction) -> Vec<Event> {
    let signature = transaction.raw.signatures.first().map(base64_text).unwrap_or_default();
    let acc_seq = format!("{}/{}", transaction.sender, transaction.sequence);
    vec![
        oracle::event("tx", &[("fee", &transaction.fee_text), ("fee_payer", &transaction.sender)]),
        oracle::event("tx", &[("acc_seq", &acc_seq)]),
        oracle::event("tx", &[("signature", &signature)]),
    ]
}

fn base64_text(bytes: impl AsRef<[u8]>) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Logs as chains before SDK 0.50 write them: one entry per message with its events.
fn message_logs(transaction: &Transaction, events: &[Event]) -> String {
    let mut logs: Vec<(usize, Vec<serde_json::Value>)> = Vec::new();
    for event in events {
        if event.r#type == "message" && logs.len() < transaction.messages.len() {
            logs.push((logs.len(), Vec::new()));
        }
        let attributes: Vec<_> = event
            .attributes
            .iter()
            .map(|attribute| serde_json::json!({ "key": attribute.key, "value": attribute.value }))
            .collect();
        if let Some((_, of_message)) = logs.last_mut() {
            of_message.push(serde_json::json!({ "type": event.r#type, "attributes": attributes }));
        }
    }
    let logs: Vec<_> =
        logs.into_iter().map(|(index, events)| serde_json::json!({ "msg_index": index, "events": events })).collect();
    serde_json::Value::Array(logs).to_string()
}
