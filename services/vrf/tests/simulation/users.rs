//! The outside world: consumers who ask, an owner who changes things, somebody else who relays, BandChain's clock, and bad weather there.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;
use k256::ecdsa::SigningKey;
use parking_lot::Mutex;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use windlass_keys::{LocalSigner, Signer};
use windlass_sim::chain::SimChain;
use windlass_sim::world::Calm;
use windlass_sim::{Actor, Progress, StepError, Transfer, signer};
use windlass_store::UnixMillis;
use windlass_vrf::protocol::events::request_ids;
use windlass_vrf::protocol::messages::oracle::MsgRequestData;
use windlass_vrf::protocol::messages::tx::Coin;
use windlass_vrf::protocol::obi::Calldata;
use windlass_vrf::protocol::tx::{self, BandAddress, MessageType, RequestDataMsg, SignInput};

use crate::band::{BandProfile, FaultyBand, SimBand};
use crate::contracts::{self, BRIDGE, Genesis, PROVIDER, calls};

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A transaction of an account.
#[derive(Clone, Debug)]
struct Sent {
    raw: Bytes,
    hash: B256,
    to: Address,
    value: u64,
}

/// An account that sends transactions and looks after them: what a reorganisation or a node lost is sent again.
#[derive(Debug)]
pub(crate) struct Account {
    chain: SimChain,
    signer: LocalSigner,
    /// By nonce.
    sent: Vec<Sent>,
}

impl Account {
    pub(crate) fn new(chain: SimChain, index: u64) -> Self {
        Self { chain, signer: signer(index).unwrap(), sent: Vec::new() }
    }

    pub(crate) fn address(&self) -> Address {
        self.signer.address()
    }

    async fn sign(&self, nonce: usize, to: Address, value: u64, data: Bytes) -> Sent {
        let transfer = Transfer {
            value: U256::from(value),
            data,
            gas_limit: 2_000_000,
            ..Transfer::new(self.chain.chain_id(), nonce as u64, to)
        };
        let raw = transfer.sign(&self.signer).await.unwrap();
        Sent { hash: alloy_primitives::keccak256(&raw), raw, to, value }
    }

    pub(crate) async fn send(&mut self, to: Address, value: u64, data: Bytes) -> B256 {
        let sent = self.sign(self.sent.len(), to, value, data).await;
        // A refusal is looked after later, like a loss.
        let _ = self.chain.submit(&sent.raw);
        self.sent.push(sent.clone());
        sent.hash
    }

    /// The nonces of transactions that neither stand on the chain nor wait.
    fn lost(&self) -> Vec<usize> {
        let pooled: Vec<B256> = self.chain.pooled().iter().map(|waiting| waiting.hash).collect();
        let next = self.chain.nonce(self.address()) as usize;
        (next..self.sent.len()).filter(|nonce| self.sent.get(*nonce).is_some_and(|sent| !pooled.contains(&sent.hash))).collect()
    }

    /// Sends again what was lost.
    fn nurse(&self) -> usize {
        let lost = self.lost();
        for nonce in &lost {
            let _ = self.chain.submit(&self.sent[*nonce].raw);
        }
        lost.len()
    }

    /// Sends something else in the place of what was lost.
    async fn replace(&mut self, nonce: usize, data: Bytes) {
        let old = self.sent[nonce].clone();
        let sent = self.sign(nonce, old.to, old.value, data).await;
        let _ = self.chain.submit(&sent.raw);
        self.sent[nonce] = sent;
    }

    /// Whether everything that was sent stands on the chain.
    pub(crate) fn is_done(&self) -> bool {
        self.chain.nonce(self.address()) as usize >= self.sent.len()
    }
}

/// How much the users have asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand {
    state: Arc<Mutex<(usize, usize, bool)>>,
}

impl Demand {
    /// Users may ask for so many values in all.
    pub(crate) fn release(&self, count: usize) {
        let mut state = self.state.lock();
        state.0 = state.0.max(count);
    }

    pub(crate) fn released(&self) -> usize {
        self.state.lock().0
    }

    /// Whether everything was asked for, and every request stands on the chain.
    pub(crate) fn is_met(&self) -> bool {
        let state = self.state.lock();
        state.1 >= state.0 && state.2
    }
}

/// One who asks.
struct User {
    account: Account,
    /// The contract that asks for it; `None` asks the provider itself.
    consumer: Option<Address>,
    /// Asks for something else when its request was lost.
    fickle: bool,
}

/// Everybody who asks.
pub(crate) struct Users {
    users: Vec<User>,
    demand: Demand,
    fee: RangeInclusive<u64>,
    rng: ChaCha8Rng,
    asked: u64,
    calm: Calm,
}

impl Users {
    /// Users with the accounts `first..`, one for each consumer, and one without.
    pub(crate) fn new(
        chain: &SimChain,
        first: u64,
        consumers: &[Address],
        demand: Demand,
        fee: RangeInclusive<u64>,
        seed: u64,
        calm: Calm,
    ) -> Self {
        let consumers = consumers.iter().copied().map(Some).chain([None]);
        let users = consumers.zip(first..).map(|(consumer, index)| User {
            account: Account::new(chain.clone(), index),
            consumer,
            fickle: index % 3 == 1,
        });
        Self { users: users.collect(), demand, fee, rng: rng(seed), asked: 0, calm }
    }

    /// The address of the user without a contract.
    pub(crate) fn plain(&self) -> Address {
        self.users.last().map(|user| user.account.address()).unwrap_or_default()
    }

    /// Client seeds that differ, some of them no text, some long, one of them empty.
    fn client_seed(&mut self) -> Vec<u8> {
        self.asked += 1;
        let mut seed = match self.rng.random_range(0..6) {
            0 => vec![0xff, 0xfe, 0xc3],
            1 => vec![b'x'; self.rng.random_range(30..100)],
            2 if self.asked == 1 => return Vec::new(),
            _ => b"ticket ".to_vec(),
        };
        seed.extend_from_slice(self.asked.to_string().as_bytes());
        seed
    }
}

impl User {
    fn call(&self, client_seed: &[u8]) -> (Address, Bytes) {
        match self.consumer {
            Some(consumer) => (consumer, calls::ask(client_seed)),
            None => (PROVIDER, calls::request(client_seed)),
        }
    }
}

#[async_trait]
impl Actor for Users {
    fn name(&self) -> &str {
        "users"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        let calm = self.calm.is_set();
        let mut did = Vec::new();
        for index in 0..self.users.len() {
            // Not everybody looks all the time.
            if !calm && self.rng.random_bool(0.5) {
                continue;
            }
            for nonce in self.users[index].account.lost() {
                if self.users[index].fickle && self.rng.random_bool(0.7) {
                    let client_seed = self.client_seed();
                    let (_, data) = self.users[index].call(&client_seed);
                    self.users[index].account.replace(nonce, data).await;
                    did.push(format!("user {index} asks for something else"));
                } else {
                    self.users[index].account.nurse();
                    did.push(format!("user {index} asks again"));
                }
            }
        }
        let released = self.demand.released();
        if (self.asked as usize) < released && (calm || self.rng.random_bool(0.3)) {
            let index = self.rng.random_range(0..self.users.len());
            let client_seed = self.client_seed();
            let fee = self.rng.random_range(self.fee.clone());
            let (to, data) = self.users[index].call(&client_seed);
            let hash = self.users[index].account.send(to, fee, data).await;
            did.push(format!("user {index} asks with {hash}"));
        }
        let mut state = self.demand.state.lock();
        state.1 = self.asked as usize;
        state.2 = self.users.iter().all(|user| user.account.is_done());
        Ok(if did.is_empty() { Progress::Idle } else { Progress::Did(did.join(", ")) })
    }
}

/// What the owner may do in a world.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnerPlan {
    /// Consumers that are closed and opened again, with this probability per step.
    pub(crate) close: f64,
    /// Validators leave the Bridge and come back, with this probability per step.
    pub(crate) rotate: f64,
    /// The oracle script becomes another one, once.
    pub(crate) script: Option<u64>,
    /// V1: the ask count becomes another one, once.
    pub(crate) ask_count: Option<u8>,
    /// Probability per step of those two.
    pub(crate) change: f64,
}

/// The owner of all contracts.
pub(crate) struct Owner {
    account: Account,
    genesis: Genesis,
    plan: OwnerPlan,
    closed: BTreeMap<Address, bool>,
    rotated: bool,
    rng: ChaCha8Rng,
    calm: Calm,
}

impl Owner {
    pub(crate) fn new(chain: &SimChain, index: u64, genesis: Genesis, plan: OwnerPlan, seed: u64, calm: Calm) -> Self {
        let account = Account::new(chain.clone(), index);
        Self { account, genesis, plan, closed: BTreeMap::new(), rotated: false, rng: rng(seed), calm }
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability)
    }

    async fn close(&mut self, consumer: Address, closed: bool) -> String {
        self.closed.insert(consumer, closed);
        self.account.send(consumer, 0, calls::close(closed)).await;
        format!("closed={closed} {consumer}")
    }

    async fn rotate(&mut self, away: bool) -> String {
        self.rotated = away;
        let mut list = self.genesis.validators.clone();
        if away {
            // The strongest half is unknown to the Bridge: two thirds cannot be reached.
            let strangers = (0..list.len() / 2).map(|index| Address::repeat_byte(0xe0 + index as u8));
            list.sort_by_key(|(_, power)| std::cmp::Reverse(*power));
            list.iter_mut().zip(strangers).for_each(|(entry, stranger)| entry.0 = stranger);
        }
        self.account.send(BRIDGE, 0, calls::set_validators(&list)).await;
        format!("validators rotated={away}")
    }
}

#[async_trait]
impl Actor for Owner {
    fn name(&self) -> &str {
        "owner"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        self.account.nurse();
        if self.calm.is_set() {
            let closed = self.closed.iter().find(|(_, closed)| **closed).map(|(consumer, _)| *consumer);
            return Ok(match closed {
                Some(consumer) => Progress::Did(self.close(consumer, false).await),
                None if self.rotated => Progress::Did(self.rotate(false).await),
                None => Progress::Idle,
            });
        }
        let plan = self.plan.clone();
        if self.chance(plan.close)
            && let Some(consumer) = self.genesis.consumers.choose(&mut self.rng).copied()
        {
            let closed = self.closed.get(&consumer).copied().unwrap_or_default();
            return Ok(Progress::Did(self.close(consumer, !closed).await));
        }
        if self.chance(plan.rotate) {
            return Ok(Progress::Did(self.rotate(!self.rotated).await));
        }
        if let Some(script) = plan.script.filter(|_| self.chance(plan.change)) {
            self.plan.script = None;
            self.account.send(PROVIDER, 0, calls::set_oracle_script(script)).await;
            return Ok(Progress::Did(format!("oracle script {script}")));
        }
        if let Some(count) = plan.ask_count.filter(|_| self.chance(plan.change)) {
            self.plan.ask_count = None;
            self.account.send(PROVIDER, 0, calls::set_ask_count(count)).await;
            return Ok(Progress::Did(format!("ask count {count}")));
        }
        Ok(Progress::Idle)
    }
}

/// A Band account that is used by hand.
pub(crate) struct BandUser {
    key: SigningKey,
    address: String,
}

impl BandUser {
    pub(crate) fn new(number: u64) -> Self {
        let secret = alloy_primitives::keccak256(format!("band user {number}"));
        let key = SigningKey::from_slice(secret.as_slice()).unwrap();
        let address = BandAddress::of_key(key.verifying_key()).to_string();
        Self { key, address }
    }

    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A signed request with the account's next sequence.
    pub(crate) fn request(
        &self,
        band: &SimBand,
        script: u64,
        calldata: &Calldata,
        (min_count, ask_count): (u64, u64),
    ) -> tx::SignedTx {
        let (account, chain_id) =
            band.with(|chain| (chain.account(&self.address).unwrap_or_default(), chain.config().chain_id.clone()));
        let message = MsgRequestData {
            oracle_script_id: script,
            calldata: calldata.encode().to_vec(),
            ask_count,
            min_count,
            client_id: "somebody".to_owned(),
            fee_limit: vec![Coin { denom: "uband".to_owned(), amount: "1000".to_owned() }],
            prepare_gas: 100_000,
            execute_gas: 400_000,
            sender: self.address.clone(),
            ..MsgRequestData::default()
        };
        let input = SignInput {
            messages: vec![RequestDataMsg { version: MessageType::V3, message }],
            memo: String::new(),
            fee: 2_500,
            denom: "uband".to_owned(),
            gas_limit: 1_000_000,
            sequence: account.sequence,
            account_number: account.number,
            chain_id,
        };
        tx::sign(&self.key, &input).unwrap()
    }
}

/// Somebody else who relays for the fee.
pub(crate) struct ForeignRelayer {
    account: Account,
    band_user: BandUser,
    chain: SimChain,
    band: SimBand,
    genesis: Genesis,
    probability: f64,
    /// Task and Band transaction under way.
    busy: Option<(u64, String)>,
    rng: ChaCha8Rng,
    calm: Calm,
}

impl ForeignRelayer {
    /// The Band account that it uses.
    pub(crate) const BAND_USER: u64 = 77;

    pub(crate) fn new(
        chain: &SimChain,
        band: &SimBand,
        index: u64,
        genesis: Genesis,
        probability: f64,
        seed: u64,
        calm: Calm,
    ) -> Self {
        Self {
            account: Account::new(chain.clone(), index),
            band_user: BandUser::new(Self::BAND_USER),
            chain: chain.clone(),
            band: band.clone(),
            genesis,
            probability,
            busy: None,
            rng: rng(seed),
            calm,
        }
    }

    /// Asks Band for the value of an open task.
    fn begin(&mut self) -> Option<String> {
        let state = self.chain.head().state.clone();
        let open: Vec<_> = contracts::tasks_of(&state).into_values().filter(|on_chain| !on_chain.task.is_resolved).collect();
        let task = open.choose(&mut self.rng)?.task.clone();
        let calldata = Calldata { seed: task.seed, time: task.time, worker: self.account.address() };
        let settings = contracts::settings_in(&state, &self.genesis);
        let counts = (u64::from(settings.min_count), u64::from(settings.ask_count));
        let signed = self.band_user.request(&self.band, settings.oracle_script_id, &calldata, counts);
        if !self.band.with(|chain| chain.check_tx(&signed.bytes)).is_ok() {
            return None;
        }
        self.busy = Some((task.nonce, signed.hash));
        Some(format!("asks Band for task {}", task.nonce))
    }

    /// Relays what Band has answered.
    async fn go_on(&mut self, nonce: u64, hash: &str) -> Option<String> {
        let proof = self.band.with(|chain| {
            let included = chain.transaction(hash)?;
            let id = *request_ids(&included.events, &included.raw_log).ok()?.first()?;
            Some(chain.proof(id, None).ok()?.evm_proof_bytes)
        })?;
        self.busy = None;
        self.account.send(PROVIDER, 0, calls::relay(&proof, nonce)).await;
        Some(format!("relays task {nonce}"))
    }
}

#[async_trait]
impl Actor for ForeignRelayer {
    fn name(&self) -> &str {
        "foreign relayer"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        self.account.nurse();
        let did = match self.busy.clone() {
            Some((nonce, hash)) => self.go_on(nonce, &hash).await,
            None if !self.calm.is_set() && self.rng.random_bool(self.probability) => self.begin(),
            None => None,
        };
        Ok(did.map_or(Progress::Idle, Progress::Did))
    }
}

/// Makes a Band block about every `interval`.
pub(crate) struct BandClock {
    band: SimBand,
    interval: Duration,
    next: UnixMillis,
}

impl BandClock {
    pub(crate) fn new(band: SimBand, interval: Duration) -> Self {
        Self { band, interval, next: UnixMillis(0) }
    }
}

#[async_trait]
impl Actor for BandClock {
    fn name(&self) -> &str {
        "band"
    }

    async fn step(&mut self, now: UnixMillis) -> Result<Progress, StepError> {
        if now < self.next {
            return Ok(Progress::Idle);
        }
        self.next = now.saturating_add(self.interval);
        let Some(height) = self.band.advance(u64::try_from(now.0).unwrap_or_default()) else { return Ok(Progress::Idle) };
        let text = self.band.with(|chain| {
            let block = chain.latest().unwrap();
            let resolved: Vec<String> = block.resolved().iter().map(|ended| format!("{} {:?}", ended.id, ended.status)).collect();
            format!("block {height} with {} transactions, resolved {resolved:?}", block.transactions().len())
        });
        Ok(Progress::Did(text))
    }
}

/// Gives the Band nodes other faults from time to time, and lets single transactions of the chain's mempool vanish.
pub(crate) struct BandWeather {
    band: SimBand,
    nodes: Vec<FaultyBand>,
    probability: f64,
    drops: f64,
    rng: ChaCha8Rng,
    calm: Calm,
}

impl BandWeather {
    pub(crate) fn new(band: SimBand, nodes: Vec<FaultyBand>, probability: f64, drops: f64, seed: u64, calm: Calm) -> Self {
        Self { band, nodes, probability, drops, rng: rng(seed), calm }
    }
}

#[async_trait]
impl Actor for BandWeather {
    fn name(&self) -> &str {
        "band weather"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        if self.calm.is_set() {
            return Ok(Progress::Idle);
        }
        if self.drops > 0.0 && self.rng.random_bool(self.drops) {
            self.band.with(|chain| chain.faults_mut().drop_from_mempool = 1);
            return Ok(Progress::Did("a transaction will vanish".to_owned()));
        }
        if self.probability <= 0.0 || !self.rng.random_bool(self.probability) {
            return Ok(Progress::Idle);
        }
        for node in &self.nodes {
            node.set_down(self.rng.random_bool(0.15));
            node.set_profile(BandProfile::mixture(&mut self.rng));
        }
        Ok(Progress::Did("changed".to_owned()))
    }
}

/// Nodes that remember: some transaction of the relay comes back to the mempool, also after its sender has given it up.
pub(crate) struct BandEcho {
    band: SimBand,
    probability: f64,
    rng: ChaCha8Rng,
    calm: Calm,
}

impl BandEcho {
    pub(crate) fn new(band: SimBand, probability: f64, seed: u64, calm: Calm) -> Self {
        Self { band, probability, rng: rng(seed), calm }
    }
}

#[async_trait]
impl Actor for BandEcho {
    fn name(&self) -> &str {
        "band echo"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        let seen = self.band.seen_since(0).len();
        if self.calm.is_set() || seen == 0 || !self.rng.random_bool(self.probability) {
            return Ok(Progress::Idle);
        }
        let index = self.rng.random_range(0..seen);
        Ok(match self.band.echo(index) {
            Some(true) => Progress::Did(format!("transaction {index} is back")),
            _ => Progress::Idle,
        })
    }
}

/// Takes the Band account's coins away, and gives them back later.
pub(crate) struct BandBanker {
    band: SimBand,
    probability: f64,
    full: u128,
    dry: bool,
    rng: ChaCha8Rng,
    calm: Calm,
}

impl BandBanker {
    pub(crate) fn new(band: SimBand, full: u128, probability: f64, seed: u64, calm: Calm) -> Self {
        Self { band, probability, full, dry: false, rng: rng(seed), calm }
    }
}

#[async_trait]
impl Actor for BandBanker {
    fn name(&self) -> &str {
        "band banker"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        let calm = self.calm.is_set();
        if (calm && !self.dry) || (!calm && !self.rng.random_bool(self.probability)) {
            return Ok(Progress::Idle);
        }
        self.dry = !self.dry;
        let address = self.band.account().to_owned();
        let left = self.rng.random_range(0..3_000u128);
        self.band.with(|chain| {
            if self.dry {
                let balance = chain.balance(&address, "uband");
                chain.drain(&address, balance.saturating_sub(left));
            } else {
                chain.fund(&address, self.full);
            }
        });
        Ok(Progress::Did(format!("dry={}", self.dry)))
    }
}

/// Somebody else who has the key of the relay's Band account, and uses it for requests of its own.
pub(crate) struct KeySharer {
    user: BandUser,
    band: SimBand,
    script: u64,
    probability: f64,
    rng: ChaCha8Rng,
    calm: Calm,
}

impl KeySharer {
    pub(crate) fn new(user: BandUser, band: SimBand, script: u64, probability: f64, seed: u64, calm: Calm) -> Self {
        Self { user, band, script, probability, rng: rng(seed), calm }
    }
}

#[async_trait]
impl Actor for KeySharer {
    fn name(&self) -> &str {
        "key sharer"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        if self.calm.is_set() || !self.rng.random_bool(self.probability) {
            return Ok(Progress::Idle);
        }
        let calldata = Calldata { seed: B256::from(self.rng.random::<[u8; 32]>()), time: 1, worker: Address::repeat_byte(1) };
        let signed = self.user.request(&self.band, self.script, &calldata, (2, 3));
        let answer = self.band.with(|chain| chain.check_tx(&signed.bytes));
        Ok(Progress::Did(format!("offered {}: code {}", signed.hash, answer.code)))
    }
}

/// How many blocks a Band request takes in a world.
pub(crate) const RESOLVE_AFTER: RangeInclusive<u64> = 1..=3;
