//! The process: a relay and its outbox over one store, as a start of the real program builds them from the database alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alloy_primitives::Address;
use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use windlass_chain::{ChainError, Endpoints, EndpointsConfig, FollowConfig, Follower, Rpc};
use windlass_keys::LocalSigner;
use windlass_node::ServiceContext;
use windlass_outbox::{Outbox, OutboxConfig, OutboxError};
use windlass_sim::chain::SimChain;
use windlass_sim::{Actor, CrashPlan, FaultyRpc, Host, Program, Progress, StepError, Violation};
use windlass_store::lease::{self, Lease};
use windlass_store::{Store, StoreError, UnixMillis, params};
use windlass_vrf::VrfError;
use windlass_vrf::agent::{Agent, IntentTerms, Pace, Parts, Travel};
use windlass_vrf::machine::lane::Slot;
use windlass_vrf::machine::{BandTx, BandTxState, LaneHold, Policy, Relay, Task, TaskKey};
use windlass_vrf::ports::client_chain::{ProviderReader, filter};
use windlass_vrf::shared::Shared;
use windlass_vrf::tables::{self, Scope};
use windlass_vrf::work::{BandKey, RequestOptions, Work};

use crate::band::{FaultyBand, Nodes, SimBand};
use crate::contracts::{LENS, PROVIDER};

/// The relay as its process last showed it, for the end of a run. Rules do not look at it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    /// Every task that was in memory since the database began, as it was last.
    pub(crate) tasks: BTreeMap<TaskKey, Task>,
    /// Sequences of the Band account that are not settled. One whose tasks have all ended before a node took it waits for others.
    pub(crate) open: usize,
    pub(crate) lane_hold: Option<LaneHold>,
    /// Every hold that any task ever had, by name.
    pub(crate) holds: BTreeMap<&'static str, usize>,
    pub(crate) obstacles: Vec<String>,
    /// How many of the transactions that Band nodes saw were found in the database.
    found_in_rows: usize,
    turns: u64,
}

impl Picture {
    /// The tasks that are not finished.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().filter(|task| !task.state.is_terminal())
    }

    /// The database is gone, and with it what was known.
    pub(crate) fn forget(&mut self, seen: usize) {
        *self = Self { found_in_rows: seen, holds: std::mem::take(&mut self.holds), ..Self::default() };
    }
}

pub(crate) type SharedPicture = Arc<Mutex<Picture>>;

/// Everything that a process is made of.
#[derive(Clone)]
pub(crate) struct RelayProgram {
    /// Name in the trace, and holder of the leases.
    pub(crate) name: String,
    pub(crate) chain: SimChain,
    pub(crate) nodes: Vec<FaultyRpc>,
    pub(crate) band: SimBand,
    pub(crate) band_nodes: Vec<FaultyBand>,
    pub(crate) signer: LocalSigner,
    pub(crate) key: BandKey,
    pub(crate) policy: Policy,
    pub(crate) options: RequestOptions,
    pub(crate) outbox: OutboxConfig,
    /// Whether tasks are read through the lens.
    pub(crate) lens: bool,
    /// Endpoints of the client chain that must agree.
    pub(crate) quorum: usize,
    /// Deepest reorganisation that is followed.
    pub(crate) max_reorg_depth: u64,
    /// Whether other processes share the database.
    pub(crate) shared: bool,
    /// How far the clock of the process is from the chains' time, milliseconds.
    pub(crate) skew_ms: i64,
    /// How probable it is that a question or a reply is still on its way after a turn.
    pub(crate) slowness: f64,
    pub(crate) seed: u64,
    pub(crate) picture: SharedPicture,
}

impl RelayProgram {
    fn scope(&self) -> Scope {
        Scope { chain_id: self.chain.chain_id(), provider: PROVIDER }
    }
}

#[async_trait]
impl Program for RelayProgram {
    fn name(&self) -> &str {
        &self.name
    }

    async fn start(&self, host: &Host) -> Result<Vec<Box<dyn Actor>>, StepError> {
        let connect = |node: &FaultyRpc| Arc::new(node.connect(host.process.clone(), host.trace.clone())) as Arc<dyn Rpc>;
        let config = EndpointsConfig {
            clock: host.clock.clone(),
            chain_id: Some(self.chain.chain_id()),
            quorum: self.quorum,
            ..EndpointsConfig::new("sim", [])
        };
        let endpoints = Endpoints::with_rpcs(&config, self.nodes.iter().map(connect).collect(), Vec::new(), false);
        let connect = |node: &FaultyBand| node.connect(host.process.clone(), host.trace.clone());
        let band = Arc::new(Nodes::new(self.band_nodes.iter().map(connect).collect()));
        for migrations in windlass_vrf::migrations() {
            host.store.migrate(migrations).await.map_err(StepError::fault)?;
        }
        let config = OutboxConfig { chain: "sim".to_owned(), holder: self.name.clone(), ..self.outbox.clone() };
        let outbox = Outbox::open(host.store.clone(), endpoints.clone(), Arc::new(self.signer.clone()), config);
        let outbox = outbox.await.map_err(StepError::fault)?;
        let leads = Arc::new(AtomicBool::new(!self.shared));
        let relay = RelayActor {
            name: format!("{} relay", self.name),
            program: self.clone(),
            store: host.store.clone(),
            process: host.process.clone(),
            endpoints,
            band,
            outbox: outbox.clone(),
            agent: None,
            lease: None,
            renew_at: UnixMillis(0),
            leads: leads.clone(),
            rng: ChaCha8Rng::seed_from_u64(self.seed ^ host.incarnation),
        };
        relay.look_at_rows().await?;
        let sender = OutboxActor { name: format!("{} outbox", self.name), outbox, process: host.process.clone(), leads };
        Ok(vec![Box::new(relay), Box::new(sender)])
    }
}

/// How long a lease lasts.
const LEASE: Duration = Duration::from_secs(10);

/// Lets the relay do one turn, from its rows whenever the turn before failed, as a supervisor does.
struct RelayActor {
    name: String,
    program: RelayProgram,
    store: Store,
    process: Arc<CrashPlan>,
    endpoints: Endpoints,
    band: Arc<Nodes>,
    outbox: Outbox,
    agent: Option<Agent>,
    lease: Option<Lease>,
    renew_at: UnixMillis,
    leads: Arc<AtomicBool>,
    rng: ChaCha8Rng,
}

impl RelayActor {
    /// Builds the relay from the database, as the service does when it begins to run.
    async fn load(&self) -> Result<Agent, VrfError> {
        let program = &self.program;
        let lens: Option<Address> = program.lens.then_some(LENS);
        let reader = ProviderReader::new(self.endpoints.clone(), PROVIDER, lens, None);
        let work = Work::new(reader, self.band.clone(), program.key.clone(), program.policy.worker, program.options.clone());
        let scope = program.scope();
        let callers = tables::callers_hash(&program.policy.callers);
        let memory = scope.load(&self.store, callers).await?;
        let machine = Relay::load(program.policy.clone(), memory.tasks, memory.band_txs, memory.scan);
        let follow = FollowConfig {
            filter: Some(filter(PROVIDER)),
            max_reorg_depth: program.max_reorg_depth,
            window: program.max_reorg_depth + 1,
            ..FollowConfig::new("vrf.sim")
        };
        let follower = Follower::load(self.store.clone(), self.endpoints.clone(), follow).await?;
        let mut context = ServiceContext::detached("vrf.sim");
        context.fence = self.lease.as_ref().map(|lease| lease.fence().clone());
        let second = Duration::from_secs(1);
        let parts = Parts {
            service: "vrf.sim".to_owned(),
            machine,
            scope,
            callers,
            store: self.store.clone(),
            work: Arc::new(work),
            follower,
            outbox: self.outbox.clone(),
            terms: IntentTerms { provider: PROVIDER, confirmations: program.policy.final_depth, gas_limit: None },
            shared: Arc::new(Shared::default()),
            pace: Pace { client_poll: second, band_poll: second },
        };
        Ok(Agent::new(parts, &context))
    }

    /// No fault of the world explains an error that calls itself permanent, unless the process is dead or was replaced.
    fn judge(&self, error: VrfError) -> StepError {
        let replaced = matches!(&error, VrfError::Store(StoreError::Fenced { .. }));
        // Another instance has moved the position on.
        let behind = matches!(&error, VrfError::Chain(ChainError::StaleBatch { .. }));
        let excused = self.program.shared && (replaced || behind);
        if error.is_transient() || self.process.is_dead() || excused {
            return StepError::fault(error);
        }
        Violation(format!("a turn failed for good: {error}")).into()
    }

    /// Answers whether this process may act.
    async fn hold_lease(&mut self, now: UnixMillis) -> Result<bool, StepError> {
        if !self.program.shared {
            return Ok(true);
        }
        if self.lease.is_none() {
            self.lease = lease::acquire(&self.store, "vrf.sim", &self.program.name, LEASE).await.map_err(StepError::fault)?;
            self.renew_at = now.saturating_add(LEASE / 3);
            self.agent = None;
        }
        self.leads.store(self.lease.is_some(), Ordering::Relaxed);
        Ok(self.lease.is_some())
    }

    /// Renews after the turn: one that wakes up late acts once more with its old fence, which must stop it.
    async fn renew_lease(&mut self, now: UnixMillis) -> Result<(), StepError> {
        let Some(lease) = self.lease.as_mut().filter(|_| now >= self.renew_at) else { return Ok(()) };
        self.renew_at = now.saturating_add(LEASE / 3);
        let kept = lease::renew(&self.store, lease).await.map_err(StepError::fault)?;
        if !kept {
            (self.lease, self.agent) = (None, None);
            self.leads.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether nobody else may have written since.
    async fn is_holder(&self) -> Result<bool, StepError> {
        let Some(lease) = &self.lease else { return Ok(!self.program.shared) };
        let status = lease::status(&self.store, &lease.fence().name).await.map_err(StepError::fault)?;
        Ok(status.is_some_and(|status| status.number == lease.fence().number))
    }

    /// What left is recorded: every transaction that a Band node saw has its row.
    async fn look_at_rows(&self) -> Result<(), StepError> {
        let from = self.program.picture.lock().found_in_rows;
        let fresh = self.program.band.seen_since(from);
        for seen in &fresh {
            let sql = "SELECT raw FROM vrf_band_txs WHERE tx_hash = $1";
            let row = self.store.query_optional(sql, params![seen.hash.as_str()]).await.map_err(StepError::fault)?;
            let raw: Option<Vec<u8>> = row.map(|row| row.get("raw")).transpose().map_err(StepError::fault)?;
            Violation::unless(raw.as_deref() == Some(&seen.bytes[..]), || format!("{} left before it was recorded", seen.hash))?;
        }
        self.program.picture.lock().found_in_rows = from + fresh.len();
        Ok(())
    }

    /// Memory and rows are the same, so that a relay that is restarted now goes on as this one does.
    async fn compare_with_rows(&self, machine: &Relay) -> Result<(), StepError> {
        let callers = tables::callers_hash(&self.program.policy.callers);
        let memory = self.program.scope().load(&self.store, callers).await.map_err(StepError::fault)?;
        let live = |task: &&Task| !task.state.is_terminal();
        let mut rows: BTreeMap<TaskKey, Task> = memory.tasks.into_iter().map(|task| (task.key(), task)).collect();
        rows.retain(|_, task| live(&&*task));
        for task in machine.tasks().filter(live) {
            let row = rows.remove(&task.key());
            Violation::unless(row.as_ref() == Some(task), || format!("memory has {task:?}, the row is {row:?}"))?;
        }
        Violation::unless(rows.is_empty(), || format!("rows that are not in memory: {rows:?}"))?;
        let of_slots: Vec<&BandTx> = machine.lane().open.values().flat_map(|slot| &slot.versions).collect();
        let of_rows: Vec<&BandTx> = memory.band_txs.iter().collect();
        Violation::unless(of_slots == of_rows, || format!("open transactions {of_slots:?}, rows {of_rows:?}"))?;
        Ok(())
    }

    async fn publish(&self, machine: &Relay) -> Result<u64, StepError> {
        // What ended in a commit after which the process died is not in memory any more.
        let left: Vec<TaskKey> = {
            let picture = self.program.picture.lock();
            picture.live().map(Task::key).filter(|key| !machine.knows(*key)).collect()
        };
        let ended = match left.is_empty() {
            true => Vec::new(),
            false => self.program.scope().tasks(&self.store, &left).await.map_err(StepError::fault)?,
        };
        let mut picture = self.program.picture.lock();
        picture.tasks.extend(ended.into_iter().map(|task| (task.key(), task)));
        for task in machine.tasks() {
            if let Some(hold) = &task.hold
                && picture.tasks.get(&task.key()).is_none_or(|before| before.hold.as_ref() != Some(hold))
            {
                *picture.holds.entry(hold.name()).or_default() += 1;
            }
            picture.tasks.insert(task.key(), task.clone());
        }
        if let Some(hold) = &machine.lane().hold {
            *picture.holds.entry(hold.name()).or_default() += 1;
        }
        let live = |task: &TaskKey| machine.task(*task).is_some_and(|task| !task.state.is_terminal());
        let open = |slot: &&Slot| {
            slot.newest().is_some_and(|tx| tx.state == BandTxState::Broadcast) || slot.tasks().any(|task| live(&task))
        };
        picture.open = machine.lane().open.values().filter(open).count();
        picture.lane_hold = machine.lane().hold.clone();
        picture.obstacles = machine.obstacles();
        picture.turns += 1;
        Ok(picture.turns)
    }
}

#[async_trait]
impl Actor for RelayActor {
    fn name(&self) -> &str {
        &self.name
    }

    async fn step(&mut self, now: UnixMillis) -> Result<Progress, StepError> {
        if !self.hold_lease(now).await? {
            return Ok(Progress::Idle);
        }
        if self.agent.is_none() {
            self.agent = Some(self.load().await.map_err(|error| self.judge(error))?);
        }
        let Some(agent) = &mut self.agent else { return Ok(Progress::Idle) };
        let (rng, slowness) = (&mut self.rng, self.program.slowness);
        let travel = || match rng.random_bool(slowness) {
            false => Travel::Arrives,
            true if rng.random_bool(0.5) => Travel::Waits,
            true => Travel::Answered,
        };
        let local = UnixMillis(now.0.saturating_add(self.program.skew_ms));
        let report = match agent.turn(local, travel).await {
            Ok(report) => report,
            Err(error) => {
                self.agent = None;
                if !self.process.is_dead() {
                    self.look_at_rows().await?;
                }
                return Err(self.judge(error));
            }
        };
        if !self.process.is_dead() {
            self.look_at_rows().await?;
            if let Some(agent) = &self.agent
                && self.publish(agent.machine()).await? % 4 == 0
                && self.is_holder().await?
            {
                self.compare_with_rows(agent.machine()).await?;
            }
        }
        self.renew_lease(now).await?;
        if !report.wrote && report.effects == 0 {
            return Ok(Progress::Idle);
        }
        Ok(Progress::Did(format!("{report:?}")))
    }
}

/// Lets the outbox do one round.
struct OutboxActor {
    name: String,
    outbox: Outbox,
    process: Arc<CrashPlan>,
    leads: Arc<AtomicBool>,
}

impl OutboxActor {
    fn judge(&self, error: OutboxError) -> StepError {
        if error.is_transient() || self.process.is_dead() {
            return StepError::fault(error);
        }
        Violation(format!("a round failed for good: {error}")).into()
    }
}

#[async_trait]
impl Actor for OutboxActor {
    fn name(&self) -> &str {
        &self.name
    }

    async fn step(&mut self, now: UnixMillis) -> Result<Progress, StepError> {
        if !self.leads.load(Ordering::Relaxed) {
            return Ok(Progress::Idle);
        }
        let report = self.outbox.turn(now).await.map_err(|error| self.judge(error))?;
        Ok(if report.is_idle() { Progress::Idle } else { Progress::Did(format!("{report:?}")) })
    }
}
