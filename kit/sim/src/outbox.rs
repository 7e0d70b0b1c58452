//! The outbox as a process of a simulation: a user who asks for transactions, the outbox, and the rules that it must keep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::broadcast;
use windlass_chain::{Endpoints, EndpointsConfig, Rpc};
use windlass_keys::LocalSigner;
use windlass_outbox::{FeePolicy, Intent, IntentId, IntentStatus, Outbox, OutboxConfig, OutboxError, State, Transition};
use windlass_store::{Store, UnixMillis, params};

use crate::chain::{Landed, SignedTransaction, SimChain};
use crate::crash::CrashPlan;
use crate::faults::FaultyRpc;
use crate::simulation::{Actor, Checker, Host, Program, Progress, StepError, Violation};
use crate::world::ForeignHashes;

/// No endpoint lags by more changes of the head than this.
const LAG_HEADS: usize = 8;

/// One transaction that the user wants, and what the outbox told of it.
#[derive(Clone, Debug)]
pub struct Order {
    /// Idempotency key.
    pub key: String,
    /// What marks it on the chain.
    pub marker: B256,
    /// The whole intent.
    pub intent: Intent,
    /// Given back by the outbox; `None` until the user was told that it is recorded.
    pub id: Option<IntentId>,
    /// State as last told.
    pub state: Option<State>,
    /// Block in which it was last told to be.
    pub block: Option<B256>,
}

#[derive(Debug, Default)]
struct Book {
    orders: Vec<Order>,
    by_id: BTreeMap<IntentId, usize>,
    by_marker: BTreeMap<B256, usize>,
    /// How many of the orders the user may ask for by now.
    released: usize,
    /// How many of the signed transactions that nodes saw were found in the database.
    found_in_rows: usize,
}

/// What the user wants and was told. Lives outside of the processes, as a user does.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    book: Arc<Mutex<Book>>,
}

impl Orders {
    /// `count` orders with contents by seed, none of them released.
    pub fn new(count: usize, seed: u64, confirmations: u64, mut adjust: impl FnMut(usize, Intent) -> Intent) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut book = Book::default();
        for index in 0..count {
            let marker = keccak256(format!("order {seed} {index}"));
            let intent = Intent {
                key: format!("order/{index}"),
                to: Some(Address::repeat_byte(0xaa)),
                value: U256::from(rng.random_range(0..1_000u64)),
                data: Bytes::copy_from_slice(marker.as_slice()),
                gas_limit: rng.random_bool(0.5).then_some(60_000),
                fee: FeePolicy::default(),
                confirmations,
                deadline: None,
                simulate: rng.random_bool(0.5),
                label: String::new(),
            };
            book.by_marker.insert(marker, index);
            book.orders.push(Order {
                key: intent.key.clone(),
                marker,
                intent: adjust(index, intent),
                id: None,
                state: None,
                block: None,
            });
        }
        Self { book: Arc::new(Mutex::new(book)) }
    }

    /// The user may ask for the first `count` orders from now on.
    pub fn release(&self, count: usize) {
        let mut book = self.book.lock();
        book.released = count.min(book.orders.len());
    }

    /// Number of orders that the user may ask for.
    pub fn released(&self) -> usize {
        self.book.lock().released
    }

    /// A copy of all orders.
    pub fn all(&self) -> Vec<Order> {
        self.book.lock().orders.clone()
    }

    /// Number of orders whose state is terminal.
    pub fn finished(&self) -> usize {
        let book = self.book.lock();
        let terminal = |order: &&Order| order.state.as_ref().is_some_and(State::is_terminal);
        book.orders.iter().filter(terminal).count()
    }

    /// Whether every released order is in a terminal state.
    pub fn all_finished(&self) -> bool {
        let book = self.book.lock();
        let terminal = |order: &Order| order.state.as_ref().is_some_and(State::is_terminal);
        book.orders.iter().take(book.released).all(terminal)
    }

    fn pick(&self, rng: &mut ChaCha8Rng) -> Option<(usize, Order)> {
        let book = self.book.lock();
        let waiting = book.orders.iter().take(book.released).position(|order| order.id.is_none());
        let index = match waiting {
            Some(index) if book.released == 1 || rng.random_bool(0.8) => index,
            // A user who is not sure asks again.
            _ if book.released > 0 => rng.random_range(0..book.released),
            _ => return None,
        };
        book.orders.get(index).map(|order| (index, order.clone()))
    }

    fn acknowledge(&self, index: usize, id: IntentId) -> Result<(), Violation> {
        let mut book = self.book.lock();
        let known = book.by_id.insert(id, index);
        Violation::unless(known.is_none_or(|known| known == index), || format!("two orders have the id {id}"))?;
        let Some(order) = book.orders.get_mut(index) else {
            return Ok(());
        };
        let before = order.id.replace(id);
        Violation::unless(before.is_none_or(|before| before == id), || format!("{} has two ids", order.key))
    }

    /// Takes note of what the outbox tells, and checks that the way there is allowed.
    fn told(&self, status: &IntentStatus, chain: &SimChain) -> Result<(), Violation> {
        let mut book = self.book.lock();
        let Some(index) = book.by_id.get(&status.id).copied() else {
            // Recorded, but the user was not told: its process died in between.
            return Ok(());
        };
        let Some(order) = book.orders.get_mut(index) else {
            return Ok(());
        };
        if let Some(before) = &order.state {
            let taken_back = order.block.is_none_or(|block| may_be_lost(block, chain));
            allowed(before, &status.state, taken_back).map_err(|violation| Violation(format!("{}: {violation}", order.key)))?;
        }
        if matches!(status.state, State::Final | State::Reverted(_)) {
            buried(order, status.tx_hash, chain)?;
        }
        order.state = Some(status.state.clone());
        order.block = status.block.map(|position| position.hash);
        Ok(())
    }
}

/// Whether some node may believe that a block is not canonical: it is not, or nodes that lag still answer from the branch
/// before.
fn may_be_lost(hash: B256, chain: &SimChain) -> bool {
    let canonical =
        chain.block_by_hash(hash).is_some_and(|block| chain.block(block.header.number).is_some_and(|found| found.hash == hash));
    !canonical || chain.heads_since_reorganisation() <= LAG_HEADS
}

/// How far a state is. Equal ranks do not occur.
fn rank(state: &State) -> u8 {
    match state {
        State::Recorded => 0,
        State::Signed => 1,
        State::Broadcast => 2,
        State::Included => 3,
        State::Final | State::Reverted(_) | State::Dropped(_) => 4,
    }
}

/// Whether a state may follow another. Terminal states stay. A state goes back for one of two reasons only: the chain took
/// the block back, or the nonce was used by somebody else; both need a look at the chain, which the caller and
/// [`OutboxChecker`] have.
fn allowed(before: &State, after: &State, taken_back: bool) -> Result<(), Violation> {
    if before.is_terminal() {
        return Violation::unless(before == after, || format!("the terminal state {before} became {after}"));
    }
    let back = rank(after) < rank(before);
    let from_block = matches!(before, State::Included);
    Violation::unless(!back || !from_block || taken_back, || {
        format!("{before} became {after} although the chain took nothing back")
    })
}

/// Final means: on the canonical chain, as deep as was asked for. The user may hear of it late, after a new branch that is
/// shorter; so the highest head counts.
fn buried(order: &Order, hash: Option<B256>, chain: &SimChain) -> Result<(), Violation> {
    let hash = hash.ok_or_else(|| Violation(format!("{} is finished without a transaction", order.key)))?;
    let place =
        chain.landed_at(hash).ok_or_else(|| Violation(format!("{} is finished, but {hash} is not on the chain", order.key)))?;
    let depth = (chain.highest() + 1).saturating_sub(place.block_number);
    Violation::unless(depth >= order.intent.confirmations, || {
        format!("{} is finished at depth {depth} of {}", order.key, order.intent.confirmations)
    })
}

/// A process with one outbox and its user.
#[derive(Clone, Debug)]
pub struct OutboxProgram {
    /// Name in the trace, and holder of the lease.
    pub name: String,
    /// The chain, for the checks.
    pub chain: SimChain,
    /// Endpoints of the chain.
    pub nodes: Vec<FaultyRpc>,
    /// The account.
    pub signer: LocalSigner,
    /// Settings; chain name and holder are filled in.
    pub config: OutboxConfig,
    /// How many endpoints must agree in reads that decide about money.
    pub quorum: usize,
    /// What its user wants.
    pub orders: Orders,
    /// Transactions that others sign with its key.
    pub foreign: ForeignHashes,
    /// Seed of the user.
    pub seed: u64,
}

#[async_trait]
impl Program for OutboxProgram {
    fn name(&self) -> &str {
        &self.name
    }

    async fn start(&self, host: &Host) -> Result<Vec<Box<dyn Actor>>, StepError> {
        let rpcs = self
            .nodes
            .iter()
            .map(|node| Arc::new(node.connect(host.process.clone(), host.trace.clone())) as Arc<dyn Rpc>)
            .collect();
        let endpoints = Endpoints::with_rpcs(
            &EndpointsConfig {
                clock: host.clock.clone(),
                chain_id: Some(self.chain.chain_id()),
                quorum: self.quorum,
                ..EndpointsConfig::new("sim", [])
            },
            rpcs,
            Vec::new(),
            false,
        );
        host.store.migrate(&windlass_outbox::MIGRATIONS).await.map_err(StepError::fault)?;
        let config = OutboxConfig { chain: "sim".to_owned(), holder: self.name.clone(), ..self.config.clone() };
        let outbox =
            Outbox::open(host.store.clone(), endpoints, Arc::new(self.signer.clone()), config).await.map_err(StepError::fault)?;
        let mut machine = OutboxActor {
            name: format!("{} outbox", self.name),
            events: outbox.events(),
            outbox: outbox.clone(),
            orders: self.orders.clone(),
            chain: self.chain.clone(),
            caught_up: false,
            process: host.process.clone(),
            store: host.store.clone(),
            foreign: self.foreign.clone(),
        };
        machine.look_at_rows().await?;
        let user = UserActor {
            name: format!("{} user", self.name),
            outbox,
            orders: self.orders.clone(),
            rng: ChaCha8Rng::seed_from_u64(self.seed ^ host.incarnation),
        };
        Ok(vec![Box::new(machine), Box::new(user)])
    }
}

/// Lets the outbox do one round, and hears what it says.
struct OutboxActor {
    name: String,
    outbox: Outbox,
    events: broadcast::Receiver<Transition>,
    orders: Orders,
    chain: SimChain,
    /// Whether the states of all orders were read since the start: events of the time before the start are lost.
    caught_up: bool,
    process: Arc<CrashPlan>,
    store: Store,
    foreign: ForeignHashes,
}

impl OutboxActor {
    async fn catch_up(&mut self) -> Result<(), StepError> {
        for order in self.orders.all() {
            let Some(id) = order.id else { continue };
            if order.state.as_ref().is_some_and(State::is_terminal) && self.caught_up {
                continue;
            }
            let status = self
                .outbox
                .status(id)
                .await
                .map_err(StepError::fault)?
                .ok_or_else(|| Violation(format!("{} was recorded and is unknown", order.key)))?;
            self.hear(&status)?;
        }
        self.caught_up = true;
        Ok(())
    }

    /// What left is recorded, and no nonce is given to two intents: every signed transaction that a node saw has its row.
    async fn look_at_rows(&mut self) -> Result<(), StepError> {
        let from = self.orders.book.lock().found_in_rows;
        let fresh = self.chain.seen_since(from);
        let account = self.outbox.account();
        for transaction in &fresh {
            let ours = transaction.sender == account && !self.foreign.lock().contains(&transaction.hash);
            if !ours {
                continue;
            }
            let sql = "SELECT raw FROM outbox_attempts WHERE tx_hash = $1";
            let row = self.store.query_optional(sql, params![transaction.hash]).await.map_err(StepError::fault)?;
            Violation::unless(row.is_some(), || format!("{} left before it was recorded", transaction.hash))?;
        }
        if fresh.is_empty() {
            return Ok(());
        }
        self.orders.book.lock().found_in_rows = from + fresh.len();
        let shared = self
            .store
            .query(
                "SELECT nonce FROM outbox_attempts WHERE intent_id IS NOT NULL \
                 GROUP BY nonce HAVING COUNT(DISTINCT intent_id) > 1",
                params![],
            )
            .await
            .map_err(StepError::fault)?;
        Violation::unless(shared.is_empty(), || format!("the rows have nonces of two intents: {shared:?}"))?;
        Ok(())
    }

    /// Hears the events since the last round.
    async fn listen(&mut self) -> Result<(), StepError> {
        loop {
            match self.events.try_recv() {
                Ok(event) => {
                    let status = self.outbox.status(event.id).await;
                    // A store that died answers nothing; the next start reads everything.
                    if let Ok(Some(status)) = status {
                        self.hear(&status)?;
                    }
                }
                Err(broadcast::error::TryRecvError::Lagged(_)) => self.caught_up = false,
                Err(_) => return Ok(()),
            }
        }
    }

    /// No fault of the world explains an error that calls itself permanent, unless the process is dead.
    fn judge(&self, error: OutboxError) -> StepError {
        if error.is_transient() || self.process.is_dead() {
            return StepError::fault(error);
        }
        Violation(format!("a round failed for good: {error}")).into()
    }

    fn hear(&self, status: &IntentStatus) -> Result<(), StepError> {
        self.orders.told(status, &self.chain)?;
        Ok(())
    }
}

#[async_trait]
impl Actor for OutboxActor {
    fn name(&self) -> &str {
        &self.name
    }

    async fn step(&mut self, now: UnixMillis) -> Result<Progress, StepError> {
        if !self.caught_up {
            self.catch_up().await?;
        }
        let report = self.outbox.turn(now).await.map_err(|error| self.judge(error));
        self.listen().await?;
        if !self.process.is_dead() {
            self.look_at_rows().await?;
        }
        let report = report?;
        if report.is_idle() {
            return Ok(Progress::Idle);
        }
        Ok(Progress::Did(format!("{report:?}")))
    }
}

/// Asks for orders, sometimes twice.
struct UserActor {
    name: String,
    outbox: Outbox,
    orders: Orders,
    rng: ChaCha8Rng,
}

#[async_trait]
impl Actor for UserActor {
    fn name(&self) -> &str {
        &self.name
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        let Some((index, order)) = self.orders.pick(&mut self.rng) else {
            return Ok(Progress::Idle);
        };
        let known = order.id.is_some();
        // Most of the time a user who has its answer is content.
        if known && self.rng.random_bool(0.9) {
            return Ok(Progress::Idle);
        }
        let id = self.outbox.submit(order.intent).await.map_err(StepError::fault)?;
        self.orders.acknowledge(index, id)?;
        Ok(Progress::Did(format!("{} is {id}", order.key)))
    }
}

/// Limits that the bytes and the chain are held against.
#[derive(Clone, Debug, Default)]
pub struct OutboxLimits {
    /// No signed transaction may offer more, wei per gas.
    pub max_fee_per_gas: Option<u128>,
    /// Fees that may be paid per day (UTC, by block time) in wei.
    pub budget_per_day: Option<U256>,
    /// Whether orders may be dropped (deadlines).
    pub may_drop: bool,
    /// Whether the state of a nonce that a stranger used may be shared: needed when strangers use the key.
    pub strangers: bool,
}

/// What a signed transaction of the account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Order(usize),
    /// A transfer of nothing to itself: fills a nonce or cancels.
    Filler,
}

/// The rules of an outbox, checked on what left the process and on the chain, not on what the outbox says of itself.
#[derive(Debug)]
pub struct OutboxChecker {
    chain: SimChain,
    account: Address,
    orders: Orders,
    foreign: ForeignHashes,
    limits: OutboxLimits,
    looked_at: usize,
    head: B256,
    /// Orders that were signed for a nonce.
    by_nonce: BTreeMap<u64, BTreeSet<usize>>,
}

impl OutboxChecker {
    /// Watches `account`.
    pub fn new(chain: SimChain, account: Address, orders: Orders, foreign: ForeignHashes, limits: OutboxLimits) -> Self {
        Self { chain, account, orders, foreign, limits, looked_at: 0, head: B256::ZERO, by_nonce: BTreeMap::new() }
    }

    fn purpose(&self, transaction: &SignedTransaction) -> Result<Purpose, Violation> {
        let own = transaction.to == Some(self.account);
        if own && transaction.value.is_zero() && transaction.input.is_empty() {
            return Ok(Purpose::Filler);
        }
        let book = self.orders.book.lock();
        let index = B256::try_from(transaction.input.as_ref()).ok().and_then(|marker| book.by_marker.get(&marker).copied());
        let (index, order) = index
            .and_then(|index| Some((index, book.orders.get(index)?)))
            .ok_or_else(|| Violation(format!("{} is no order of anybody", transaction.hash)))?;
        let same = transaction.to == order.intent.to && transaction.value == order.intent.value;
        Violation::unless(same, || format!("{} is not what {} asked for", transaction.hash, order.key))?;
        Ok(Purpose::Order(index))
    }

    fn look_at_bytes(&mut self) -> Result<(), Violation> {
        let fresh = self.chain.seen_since(self.looked_at);
        self.looked_at += fresh.len();
        for transaction in fresh {
            let ours = transaction.sender == self.account && !self.foreign.lock().contains(&transaction.hash);
            if !ours {
                continue;
            }
            let cap = self.limits.max_fee_per_gas;
            Violation::unless(cap.is_none_or(|cap| transaction.max_fee_per_gas <= cap), || {
                format!("{} offers {} wei per gas, above the cap", transaction.hash, transaction.max_fee_per_gas)
            })?;
            if let Purpose::Order(index) = self.purpose(&transaction)? {
                let users = self.by_nonce.entry(transaction.nonce).or_default();
                users.insert(index);
                Violation::unless(users.len() == 1, || {
                    format!("nonce {} was signed for the orders {users:?}", transaction.nonce)
                })?;
            }
        }
        Ok(())
    }

    fn look_at_chain(&self) -> Result<BTreeMap<Purpose, Vec<Landed>>, Violation> {
        let mut landed: BTreeMap<Purpose, Vec<Landed>> = BTreeMap::new();
        let mut fees: BTreeMap<u64, U256> = BTreeMap::new();
        for entry in self.chain.landed_of(self.account) {
            if self.foreign.lock().contains(&entry.transaction.hash) {
                continue;
            }
            if let Some(block) = self.chain.block(entry.block_number) {
                let day = block.header.timestamp / 86_400;
                *fees.entry(day).or_default() += entry.fee;
            }
            let purpose = self.purpose(&entry.transaction)?;
            landed.entry(purpose).or_default().push(entry);
        }
        for (purpose, entries) in &landed {
            Violation::unless(*purpose == Purpose::Filler || entries.len() == 1, || {
                let nonces: Vec<u64> = entries.iter().map(|entry| entry.transaction.nonce).collect();
                format!("{purpose:?} is on the chain at the nonces {nonces:?}")
            })?;
        }
        if let Some(budget) = self.limits.budget_per_day {
            for (day, paid) in fees {
                Violation::unless(paid <= budget, || format!("{paid} wei of fees on day {day}, the budget is {budget}"))?;
            }
        }
        let dropped = self.orders.all();
        for (index, order) in dropped.iter().enumerate() {
            let is_dropped = matches!(order.state, Some(State::Dropped(_)));
            Violation::unless(!is_dropped || !landed.contains_key(&Purpose::Order(index)), || {
                format!("{} is dropped and on the chain", order.key)
            })?;
        }
        Ok(landed)
    }
}

#[async_trait]
impl Checker for OutboxChecker {
    fn name(&self) -> &str {
        "outbox rules"
    }

    async fn check(&mut self, _now: UnixMillis) -> Result<(), Violation> {
        self.look_at_bytes()?;
        let head = self.chain.head().hash;
        if head != self.head {
            self.look_at_chain()?;
            self.head = head;
        }
        Ok(())
    }

    async fn check_end(&mut self, now: UnixMillis) -> Result<(), Violation> {
        self.check(now).await?;
        let landed = self.look_at_chain()?;
        let orders = self.orders.all();
        for (index, order) in orders.iter().take(self.orders.released()).enumerate() {
            let times = landed.get(&Purpose::Order(index)).map_or(0, Vec::len);
            let expected = match &order.state {
                Some(State::Final) => 1,
                Some(State::Dropped(_)) if self.limits.may_drop => 0,
                other => {
                    return Err(Violation(format!("{} ended as {other:?}", order.key)));
                }
            };
            Violation::unless(times == expected, || format!("{} is {times} times on the chain", order.key))?;
        }
        let waiting: Vec<u64> = self
            .chain
            .pooled()
            .iter()
            .filter(|transaction| transaction.sender == self.account)
            .filter(|transaction| !self.foreign.lock().contains(&transaction.hash))
            .map(|transaction| transaction.nonce)
            .collect();
        Violation::unless(waiting.is_empty(), || {
            let next = self.chain.nonce(self.account);
            format!("the nonces {waiting:?} still wait, the next is {next}")
        })
    }
}
