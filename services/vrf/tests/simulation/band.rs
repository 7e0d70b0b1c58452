//! BandChain in the simulation: one chain that all nodes share, nodes that misbehave by seed, and the small pool that asks them.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alloy_primitives::{Address, B256, Bytes};
use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use windlass_devnet_band::{Chain, IncludedTx, QueryError};
use windlass_node::EndpointView;
use windlass_sim::{CrashPlan, Pulse, Trace};
use windlass_vrf::ports::band::{
    AccountState, BandApi, BandBlock, BandError, BroadcastAnswer, BroadcastMode, GasInfo, RequestState, ResolveStatus,
    ServedProof, TxInfo,
};
use windlass_vrf::protocol::tx;

/// What left the relay towards BandChain.
#[derive(Clone, Debug)]
pub(crate) struct SeenTx {
    /// Upper-case hexadecimal.
    pub(crate) hash: String,
    pub(crate) bytes: Bytes,
}

struct World {
    chain: Chain,
    /// Every transaction that any node was handed by the relay, in order of arrival.
    seen: Vec<SeenTx>,
    /// The relay's account after each block: what a node that lags tells.
    accounts: BTreeMap<u64, Option<AccountState>>,
}

/// A BandChain. Clones are the same chain.
#[derive(Clone)]
pub(crate) struct SimBand {
    world: Arc<Mutex<World>>,
    /// The relay's account.
    account: String,
}

impl SimBand {
    pub(crate) fn new(chain: Chain, account: &str) -> Self {
        let world = World { chain, seen: Vec::new(), accounts: BTreeMap::new() };
        let band = Self { world: Arc::new(Mutex::new(world)), account: account.to_owned() };
        band.note_account();
        band
    }

    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    /// The chain itself, to look at or to change.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Chain) -> T) -> T {
        look(&mut self.world.lock().chain)
    }

    /// Makes a block.
    pub(crate) fn advance(&self, now_ms: u64) -> Option<u64> {
        let height = self.with(|chain| chain.advance(now_ms));
        self.note_account();
        height
    }

    fn note_account(&self) {
        let mut world = self.world.lock();
        let account = world.chain.account(&self.account);
        let state = account.map(|account| AccountState { account_number: account.number, sequence: account.sequence });
        let height = world.chain.height();
        world.accounts.insert(height, state);
    }

    /// The next sequence of the relay's account.
    pub(crate) fn sequence(&self) -> u64 {
        self.with(|chain| chain.account(&self.account).map_or(0, |account| account.sequence))
    }

    /// What the relay handed to nodes, from this index on.
    pub(crate) fn seen_since(&self, from: usize) -> Vec<SeenTx> {
        self.world.lock().seen.get(from..).unwrap_or_default().to_vec()
    }

    /// Old bytes of the relay come back to the mempool, as they may at any time. Answers whether they were taken.
    pub(crate) fn echo(&self, index: usize) -> Option<bool> {
        let mut world = self.world.lock();
        let bytes = world.seen.get(index)?.bytes.clone();
        Some(world.chain.check_tx(&bytes).is_ok())
    }
}

fn witness(world: &mut MutexGuard<'_, World>, bytes: &[u8]) {
    let hash = tx::hash(bytes);
    if world.seen.iter().all(|seen| seen.hash != hash) {
        world.seen.push(SeenTx { hash, bytes: Bytes::copy_from_slice(bytes) });
    }
}

/// How often a node does what, as probabilities per question.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BandProfile {
    /// No answer, and the question had no effect.
    pub(crate) timeout_before: f64,
    /// No answer, but the question had its effect.
    pub(crate) timeout_after: f64,
    /// Connection refused.
    pub(crate) refused: f64,
    /// Too many questions.
    pub(crate) rate_limited: f64,
    /// An answer that cannot be read. It had its effect.
    pub(crate) garbage: f64,
    /// The node falls behind, or catches up, at this question.
    pub(crate) lag_changes: f64,
    /// How many blocks it may be behind.
    pub(crate) lag_blocks: u64,
    /// A broadcast is answered with code 0 and thrown away.
    pub(crate) broadcast_lost: f64,
    /// A broadcast is answered with code 32 as if another sequence were due.
    pub(crate) wrong_sequence: f64,
    /// A broadcast is answered with code 20.
    pub(crate) mempool_full: f64,
    /// The node has not indexed the transaction yet that it is asked for.
    pub(crate) index_blind: f64,
    /// The state that a proof needs is gone.
    pub(crate) pruned: f64,
    /// Bytes of a proof are wrong or missing.
    pub(crate) bad_proof: f64,
    /// There is no CometBFT endpoint: no block results, no raw proofs.
    pub(crate) grpc_only: bool,
    /// It has no index of transactions by sequence and sender.
    pub(crate) no_search: bool,
}

impl BandProfile {
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// A random mixture: some faults off, some rare, some frequent.
    pub(crate) fn mixture(rng: &mut impl Rng) -> Self {
        let mut draw = || match rng.random_range(0..4) {
            0 | 1 => 0.0,
            2 => 0.02,
            _ => 0.12,
        };
        Self {
            timeout_before: draw(),
            timeout_after: draw(),
            refused: draw(),
            rate_limited: draw(),
            garbage: draw(),
            lag_changes: draw(),
            lag_blocks: 3,
            broadcast_lost: draw(),
            wrong_sequence: draw(),
            mempool_full: draw(),
            index_blind: draw(),
            pruned: draw(),
            bad_proof: draw(),
            grpc_only: false,
            no_search: false,
        }
    }
}

struct Node {
    rng: ChaCha8Rng,
    profile: BandProfile,
    down: bool,
    behind: u64,
}

/// One node of a [`SimBand`], faulty by seed. Clones share dice and profile; each may belong to another process.
#[derive(Clone)]
pub(crate) struct FaultyBand {
    band: SimBand,
    label: String,
    node: Arc<Mutex<Node>>,
    process: Option<Arc<CrashPlan>>,
    trace: Trace,
}

/// What the dice say about one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    TimeoutBefore,
    TimeoutAfter,
    Refused,
    RateLimited,
    Garbage,
}

impl Node {
    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability.min(1.0))
    }

    fn roll(&mut self) -> Fault {
        if self.down {
            return Fault::Refused;
        }
        let table = [
            (self.profile.timeout_before, Fault::TimeoutBefore),
            (self.profile.timeout_after, Fault::TimeoutAfter),
            (self.profile.refused, Fault::Refused),
            (self.profile.rate_limited, Fault::RateLimited),
            (self.profile.garbage, Fault::Garbage),
        ];
        let mut dice: f64 = self.rng.random();
        for (probability, fault) in table {
            if dice < probability {
                return fault;
            }
            dice -= probability;
        }
        Fault::None
    }
}

/// A line of the trace.
struct Line(String);

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() > 200 {
            return Err(fmt::Error);
        }
        self.0.extend(text.chars().take(200));
        Ok(())
    }
}

impl FaultyBand {
    pub(crate) fn new(band: SimBand, label: &str, seed: u64, profile: BandProfile) -> Self {
        let node = Node { rng: ChaCha8Rng::seed_from_u64(seed), profile, down: false, behind: 0 };
        Self { band, label: label.to_owned(), node: Arc::new(Mutex::new(node)), process: None, trace: Trace::default() }
    }

    /// A connection of a process: it ends when the process dies, and its questions are written to the trace.
    pub(crate) fn connect(&self, process: Arc<CrashPlan>, trace: Trace) -> Self {
        Self { process: Some(process), trace, ..self.clone() }
    }

    /// Changes the faults. What kind of node it is stays.
    pub(crate) fn set_profile(&self, profile: BandProfile) {
        let mut node = self.node.lock();
        if profile.lag_blocks == 0 {
            node.behind = 0;
        }
        let (grpc_only, no_search) = (node.profile.grpc_only, node.profile.no_search);
        node.profile = BandProfile { grpc_only, no_search, ..profile };
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.node.lock().down = down;
    }

    pub(crate) fn heal(&self) {
        self.set_down(false);
        self.set_profile(BandProfile::none());
    }

    fn unavailable(&self, method: &str, reason: &str, outcome_unknown: bool) -> BandError {
        BandError::Unavailable { host: self.label.clone(), method: method.to_owned(), reason: reason.to_owned(), outcome_unknown }
    }

    fn not_found(&self, method: &str, text: impl ToString) -> BandError {
        BandError::NotFound { host: self.label.clone(), method: method.to_owned(), text: text.to_string() }
    }

    fn not_ready(&self, method: &str, text: impl ToString) -> BandError {
        BandError::NotReady { host: self.label.clone(), method: method.to_owned(), text: text.to_string() }
    }

    fn pruned(&self, method: &str, text: impl ToString) -> BandError {
        BandError::Pruned { host: self.label.clone(), method: method.to_owned(), lowest: None, text: text.to_string() }
    }

    /// The meaning of the chain's own words.
    fn refusal(&self, method: &str, error: &QueryError) -> BandError {
        match error {
            QueryError::PrunedBlock { .. } => self.pruned(method, error),
            QueryError::NoRequest { .. } => self.not_found(method, error),
            QueryError::NotCanonical | QueryError::ProofNotFound | QueryError::NoExistence | QueryError::FutureHeight { .. } => {
                self.not_ready(method, error)
            }
            _ => BandError::Refused {
                host: self.label.clone(),
                method: method.to_owned(),
                code: "UNKNOWN".into(),
                text: error.to_string(),
            },
        }
    }

    /// Asks: `read` gets the chain and the newest height that this node has.
    fn ask<T: fmt::Debug>(&self, method: &str, read: impl FnOnce(&World, u64) -> Result<T, BandError>) -> Result<T, BandError> {
        let answer = self.attempt(method, read);
        self.note(method, &answer);
        answer
    }

    fn note<T: fmt::Debug>(&self, method: &str, answer: &Result<T, BandError>) {
        let mut line = Line(format!("{} {method} -> ", self.label));
        // What is longer than a line is cut, which the formatter is told by an error.
        let _ = match answer {
            Ok(value) => write!(line, "{value:?}"),
            Err(error) => write!(line, "error {error}"),
        };
        self.trace.push(line.0);
    }

    fn attempt<T>(&self, method: &str, read: impl FnOnce(&World, u64) -> Result<T, BandError>) -> Result<T, BandError> {
        if self.process.as_deref().is_some_and(|process| process.before_request() == Pulse::Dead) {
            return Err(self.unavailable(method, "the process is dead", false));
        }
        let (fault, behind) = {
            let mut node = self.node.lock();
            let fault = node.roll();
            let (changes, most) = (node.profile.lag_changes, node.profile.lag_blocks);
            if node.chance(changes) {
                node.behind = node.rng.random_range(0..=most);
            }
            (fault, node.behind)
        };
        match fault {
            Fault::None => {}
            Fault::TimeoutBefore | Fault::TimeoutAfter => {
                return Err(self.unavailable(method, "no answer within 10000 ms", true));
            }
            Fault::Refused => return Err(self.unavailable(method, "connection refused", false)),
            Fault::RateLimited => {
                return Err(BandError::RateLimited { host: self.label.clone(), method: method.to_owned(), retry_after: None });
            }
            Fault::Garbage => {
                let reason = "a field has the wrong wire type".to_owned();
                return Err(BandError::Malformed { host: self.label.clone(), method: method.to_owned(), reason });
            }
        }
        let world = self.band.world.lock();
        let newest = world.chain.height().saturating_sub(behind).max(1);
        read(&world, newest)
    }

    fn chance(&self, probability: impl Fn(&BandProfile) -> f64) -> bool {
        let mut node = self.node.lock();
        let probability = probability(&node.profile);
        node.chance(probability)
    }

    fn unsupported(&self, method: &str, needs: &str) -> BandError {
        BandError::Unsupported { method: method.to_owned(), needs: needs.to_owned() }
    }

    fn needs_rpc(&self, method: &str) -> Result<(), BandError> {
        if self.node.lock().profile.grpc_only { Err(self.unsupported(method, "a CometBFT endpoint")) } else { Ok(()) }
    }

    fn needs_index(&self, method: &str) -> Result<(), BandError> {
        if self.node.lock().profile.no_search { Err(self.unsupported(method, "a transaction index")) } else { Ok(()) }
    }

    /// Hands signed bytes to the chain, or loses them on the way there or back.
    fn hand_over(&self, bytes: &[u8]) -> Result<BroadcastAnswer, BandError> {
        const METHOD: &str = "BroadcastTx";
        let process = self.process.as_deref();
        if process.is_some_and(|process| process.before_broadcast() == Pulse::Dead) {
            return Err(self.unavailable(METHOD, "the process is dead", false));
        }
        let answer = self.deliver(METHOD, bytes);
        if process.is_some_and(|process| process.after_broadcast() == Pulse::Dead) {
            return Err(self.unavailable(METHOD, "the process died", true));
        }
        answer
    }

    fn deliver(&self, method: &str, bytes: &[u8]) -> Result<BroadcastAnswer, BandError> {
        let (fault, lost, wrong, full) = {
            let mut node = self.node.lock();
            let profile = node.profile.clone();
            let fault = node.roll();
            (fault, node.chance(profile.broadcast_lost), node.chance(profile.wrong_sequence), node.chance(profile.mempool_full))
        };
        let host = self.label.clone();
        if fault == Fault::Refused {
            return Err(self.unavailable(method, "connection refused", false));
        }
        let mut world = self.band.world.lock();
        // Whatever the node does with them: the bytes are in foreign hands now.
        witness(&mut world, bytes);
        let hash = tx::hash(bytes);
        let refused = |code: u32, raw_log: &str| {
            Ok(BroadcastAnswer { hash: hash.clone(), code, codespace: "sdk".into(), raw_log: raw_log.to_owned(), included: None })
        };
        match fault {
            Fault::RateLimited => return Err(BandError::RateLimited { host, method: method.to_owned(), retry_after: None }),
            Fault::TimeoutBefore => return Err(self.unavailable(method, "no answer within 10000 ms", true)),
            _ if wrong => return refused(32, "account sequence mismatch, expected 7, got 9: incorrect account sequence"),
            _ if full => return refused(20, "mempool is full"),
            _ if lost => return Ok(BroadcastAnswer { hash, ..BroadcastAnswer::default() }),
            _ => {}
        }
        let answer = world.chain.check_tx(bytes);
        match fault {
            Fault::TimeoutAfter => Err(self.unavailable(method, "no answer within 10000 ms", true)),
            Fault::Garbage => Err(BandError::Malformed { host, method: method.to_owned(), reason: "no JSON".to_owned() }),
            _ => Ok(BroadcastAnswer {
                hash: answer.hash,
                code: answer.code,
                codespace: answer.codespace,
                raw_log: answer.raw_log,
                included: None,
            }),
        }
    }

    /// A proof with wrong or missing bytes now and then.
    fn bend(&self, proof: ServedProof) -> ServedProof {
        let mut node = self.node.lock();
        let probability = node.profile.bad_proof;
        if !node.chance(probability) {
            return proof;
        }
        let mut bytes = proof.evm_proof_bytes.to_vec();
        let at = node.rng.random_range(0..bytes.len().max(1));
        if node.rng.random_bool(0.3) {
            bytes.truncate(at);
        } else if let Some(byte) = bytes.get_mut(at) {
            *byte ^= node.rng.random_range(1..=255u8);
        }
        ServedProof { evm_proof_bytes: bytes.into(), ..proof }
    }
}

fn info(found: &IncludedTx) -> TxInfo {
    TxInfo {
        hash: found.hash_text(),
        height: found.height,
        code: found.code,
        codespace: found.codespace.clone(),
        raw_log: found.raw_log.clone(),
        events: found.events.clone(),
        gas_wanted: found.gas_wanted,
        gas_used: found.gas_used,
    }
}

#[async_trait]
impl BandApi for FaultyBand {
    async fn account(&self, address: &str) -> Result<AccountState, BandError> {
        self.ask("AccountInfo", |world, newest| {
            let known = match address == self.band.account {
                true => world.accounts.range(..=newest).next_back().and_then(|(_, account)| *account),
                false => None,
            };
            known.ok_or_else(|| self.not_found("AccountInfo", format!("account {address} not found")))
        })
    }

    async fn balance(&self, address: &str, denom: &str) -> Result<u128, BandError> {
        self.ask("Balance", |world, _| Ok(world.chain.balance(address, denom)))
    }

    async fn latest_block(&self) -> Result<BandBlock, BandError> {
        self.ask("GetLatestBlock", |world, newest| {
            let block = world.chain.block(newest).map_err(|error| self.refusal("GetLatestBlock", &error))?;
            Ok(BandBlock {
                chain_id: block.header().chain_id.clone(),
                height: newest,
                hash: block.hash(),
                time_ms: block.time_ms() as i64,
            })
        })
    }

    async fn block_hash(&self, height: u64) -> Result<B256, BandError> {
        self.ask("GetBlockByHeight", |world, newest| match world.chain.block(height) {
            Ok(block) if height <= newest => Ok(block.hash()),
            _ => Err(self.not_found("GetBlockByHeight", "height above the newest")),
        })
    }

    async fn broadcast(&self, bytes: &[u8], _mode: BroadcastMode) -> Result<BroadcastAnswer, BandError> {
        let answer = self.hand_over(bytes);
        self.note(&format!("BroadcastTx {}", tx::hash(bytes)), &answer);
        answer
    }

    async fn transaction(&self, hash: &str) -> Result<Option<TxInfo>, BandError> {
        let blind = self.chance(|profile| profile.index_blind);
        self.ask("GetTx", |world, newest| {
            Ok(world.chain.transaction(hash).filter(|found| found.height <= newest && !blind).map(|found| info(&found)))
        })
    }

    async fn transaction_at_sequence(&self, address: &str, sequence: u64) -> Result<Option<TxInfo>, BandError> {
        self.needs_index("GetTxsEvent")?;
        let blind = self.chance(|profile| profile.index_blind);
        self.ask("GetTxsEvent", |world, newest| {
            let found = world.chain.transaction_at_sequence(address, sequence);
            Ok(found.filter(|found| found.height <= newest && !blind).map(|found| info(&found)))
        })
    }

    async fn transactions_of(&self, address: &str, limit: u32) -> Result<Vec<(TxInfo, Bytes)>, BandError> {
        self.needs_index("GetTxsEvent")?;
        self.ask("GetTxsEvent of sender", |world, newest| {
            let found = world.chain.transactions_of(address, limit as usize);
            let of_node = found.iter().filter(|found| found.height <= newest);
            Ok(of_node.map(|found| (info(found), found.bytes.clone())).collect())
        })
    }

    async fn simulate(&self, bytes: &[u8]) -> Result<GasInfo, BandError> {
        self.ask("Simulate", |world, _| {
            let (gas_wanted, gas_used) = world.chain.simulate(bytes).map_err(|error| self.refusal("Simulate", &error))?;
            Ok(GasInfo { gas_wanted, gas_used })
        })
    }

    async fn resolved_in(&self, height: u64) -> Result<Vec<(u64, ResolveStatus)>, BandError> {
        self.needs_rpc("block_results")?;
        self.ask(&format!("block_results {height}"), |world, newest| {
            if height > newest {
                return Err(self.not_ready("block_results", "could not find results for that height"));
            }
            world.chain.resolved_in(height).map_err(|error| self.refusal("block_results", &error))
        })
    }

    async fn request(&self, id: u64) -> Result<RequestState, BandError> {
        self.ask("Request", |world, _| {
            let state = world.chain.request(id).map_err(|error| self.refusal("Request", &error))?;
            Ok(match state.status() {
                ResolveStatus::Open => RequestState::Open,
                status => RequestState::Resolved(status),
            })
        })
    }

    async fn proof(&self, id: u64, height: Option<u64>) -> Result<ServedProof, BandError> {
        let gone = self.chance(|profile| profile.pruned);
        let served = self.ask(&format!("Proof {id}"), |world, newest| {
            let height = height.unwrap_or(newest.saturating_sub(1));
            if gone {
                return Err(self.pruned("Proof", format!("height {height} is not available, lowest height is {}", height + 1)));
            }
            if height >= newest {
                return Err(self.not_ready("Proof", "commit is not canonical"));
            }
            let served = world.chain.proof(id, Some(height)).map_err(|error| self.refusal("Proof", &error))?;
            Ok(ServedProof {
                block_height: served.block_height,
                evm_proof_bytes: served.evm_proof_bytes,
                ..ServedProof::default()
            })
        })?;
        Ok(self.bend(served))
    }

    async fn raw_proof(&self, id: u64, height: u64) -> Result<ServedProof, BandError> {
        self.needs_rpc("abci_query")?;
        let gone = self.chance(|profile| profile.pruned);
        let served = self.ask(&format!("abci_query {id} at {height}"), |world, newest| {
            if gone {
                return Err(
                    self.pruned("abci_query", format!("height {height} is not available, lowest height is {}", height + 1))
                );
            }
            if height > newest {
                return Err(self.not_ready("commit", "height must be less than or equal to the current blockchain height"));
            }
            let served = world.chain.raw_proof(id, height).map_err(|error| self.refusal("abci_query", &error))?;
            Ok(ServedProof {
                block_height: served.block_height,
                evm_proof_bytes: served.evm_proof_bytes,
                ..ServedProof::default()
            })
        })?;
        Ok(self.bend(served))
    }

    async fn validators(&self) -> Result<Vec<(Address, u64)>, BandError> {
        self.ask("GetLatestValidatorSet", |world, _| Ok(world.chain.validators_for_bridge()))
    }

    fn status(&self) -> Vec<EndpointView> {
        Vec::new()
    }
}

/// Asks one node after the other. No timers, no tasks: the same questions give the same answers.
pub(crate) struct Nodes {
    nodes: Vec<FaultyBand>,
    next: AtomicUsize,
}

impl Nodes {
    pub(crate) fn new(nodes: Vec<FaultyBand>) -> Self {
        Self { nodes, next: AtomicUsize::new(0) }
    }

    /// The nodes in the order of asking; each question begins with the next one.
    fn order(&self) -> impl Iterator<Item = &FaultyBand> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.nodes.len();
        (0..count).filter_map(move |index| self.nodes.get((first + index) % count))
    }
}

/// The first answer that is one. What no node can say is told by the last of them.
macro_rules! first {
    ($pool:expr, $node:ident => $ask:expr) => {{
        let mut last = None;
        for $node in $pool.order() {
            match $ask.await {
                Ok(answer) => return Ok(answer),
                // Only if no node offers it at all.
                Err(error @ BandError::Unsupported { .. }) => drop(last.get_or_insert(error)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap())
    }};
}

/// As `first`, but a node that knows nothing does not end the search.
macro_rules! first_known {
    ($pool:expr, $node:ident => $ask:expr) => {{
        let (mut last, mut silent) = (None, false);
        for $node in $pool.order() {
            match $ask.await {
                Ok(Some(answer)) => return Ok(Some(answer)),
                Ok(None) => silent = true,
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) if !silent => Err(error),
            _ => Ok(None),
        }
    }};
}

#[async_trait]
impl BandApi for Nodes {
    async fn account(&self, address: &str) -> Result<AccountState, BandError> {
        first!(self, node => node.account(address))
    }

    async fn balance(&self, address: &str, denom: &str) -> Result<u128, BandError> {
        first!(self, node => node.balance(address, denom))
    }

    async fn latest_block(&self) -> Result<BandBlock, BandError> {
        first!(self, node => node.latest_block())
    }

    async fn block_hash(&self, height: u64) -> Result<B256, BandError> {
        first!(self, node => node.block_hash(height))
    }

    async fn broadcast(&self, bytes: &[u8], mode: BroadcastMode) -> Result<BroadcastAnswer, BandError> {
        let mut last = None;
        for node in self.order() {
            match node.broadcast(bytes, mode).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.outcome_unknown() => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap())
    }

    async fn transaction(&self, hash: &str) -> Result<Option<TxInfo>, BandError> {
        first_known!(self, node => node.transaction(hash))
    }

    async fn transaction_at_sequence(&self, address: &str, sequence: u64) -> Result<Option<TxInfo>, BandError> {
        first_known!(self, node => node.transaction_at_sequence(address, sequence))
    }

    async fn transactions_of(&self, address: &str, limit: u32) -> Result<Vec<(TxInfo, Bytes)>, BandError> {
        first!(self, node => node.transactions_of(address, limit))
    }

    async fn simulate(&self, bytes: &[u8]) -> Result<GasInfo, BandError> {
        first!(self, node => node.simulate(bytes))
    }

    async fn resolved_in(&self, height: u64) -> Result<Vec<(u64, ResolveStatus)>, BandError> {
        first!(self, node => node.resolved_in(height))
    }

    async fn request(&self, id: u64) -> Result<RequestState, BandError> {
        first!(self, node => node.request(id))
    }

    async fn proof(&self, id: u64, height: Option<u64>) -> Result<ServedProof, BandError> {
        first!(self, node => node.proof(id, height))
    }

    async fn raw_proof(&self, id: u64, height: u64) -> Result<ServedProof, BandError> {
        first!(self, node => node.raw_proof(id, height))
    }

    async fn validators(&self) -> Result<Vec<(Address, u64)>, BandError> {
        first!(self, node => node.validators())
    }

    fn status(&self) -> Vec<EndpointView> {
        Vec::new()
    }
}
