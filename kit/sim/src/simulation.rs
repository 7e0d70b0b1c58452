//! The scheduler: one random step after the other, from one seed, on a clock that only it moves.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use windlass_store::{Clock, ManualClock, Store, UnixMillis};

use crate::crash::{CrashPlan, CrashPoint};
use crate::database::Database;
use crate::trace::Trace;

/// Steps without a crash after which the crash points are drawn again.
const REARM_STEPS: u64 = 60;

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing to do.
    Idle,
    /// Something was done; the words go into the trace.
    Did(String),
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// An error that the machine reported and that a fault explains. The run goes on.
    #[error(transparent)]
    Fault(Box<dyn std::error::Error + Send + Sync>),
    /// Something that must never happen. The run ends.
    #[error(transparent)]
    Violation(#[from] Violation),
}

impl StepError {
    /// An error of a machine.
    pub fn fault(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Fault(Box::new(error))
    }
}

/// A broken invariant, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);

impl Violation {
    /// Answers `Err` with the text if `holds` is false.
    pub fn unless(holds: bool, text: impl FnOnce() -> String) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self(text())) }
    }
}

/// Something that the scheduler lets act: a machine of a process, or a part of the outside world (miners, users, faults).
#[async_trait]
pub trait Actor: Send {
    /// Name in the trace.
    fn name(&self) -> &str;

    /// Acts once. It must wait for nothing but the store and the endpoints that it was given.
    async fn step(&mut self, now: UnixMillis) -> Result<Progress, StepError>;
}

/// A process: builds its machines from nothing but the database, as a start of the real program does.
#[async_trait]
pub trait Program: Send + Sync {
    /// Name in the trace.
    fn name(&self) -> &str;

    /// Builds the machines. Called at the start and after every crash.
    async fn start(&self, host: &Host) -> Result<Vec<Box<dyn Actor>>, StepError>;
}

/// What a process finds when it starts.
#[derive(Clone)]
pub struct Host {
    /// The store, freshly opened.
    pub store: Store,
    /// The clock.
    pub clock: Arc<ManualClock>,
    /// The life of this process; endpoints are connected with it.
    pub process: Arc<CrashPlan>,
    /// The trace.
    pub trace: Trace,
    /// Number of this start, from 1.
    pub incarnation: u64,
}

/// A rule that holds at every moment.
#[async_trait]
pub trait Checker: Send {
    /// Name in the failure.
    fn name(&self) -> &str;

    /// Looks at the world after a step.
    async fn check(&mut self, now: UnixMillis) -> Result<(), Violation>;

    /// Looks at the world after the last step, when everything that was to happen has happened.
    async fn check_end(&mut self, now: UnixMillis) -> Result<(), Violation> {
        self.check(now).await
    }
}

/// How processes die.
#[derive(Clone, Debug)]
pub struct CrashPolicy {
    /// Crashes that may happen in the run.
    pub budget: u64,
    /// A process dies at one of this many next commits,
    pub within_commits: u64,
    /// or at one of this many next broadcasts; 0 if it makes none.
    pub within_broadcasts: u64,
    /// How long it stays down, milliseconds.
    pub down_ms: RangeInclusive<u64>,
}

/// A process that the scheduler owns.
struct Process {
    program: Arc<dyn Program>,
    life: Arc<CrashPlan>,
    store: Option<Store>,
    actors: Vec<Box<dyn Actor>>,
    incarnation: u64,
    /// Down until then, when there are no actors.
    start_at: UnixMillis,
    paused: bool,
}

/// Names a process of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessId(usize);

/// Why a run failed. The display form is what a developer needs to start with: seed, rule, last steps.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Seed of the run.
    pub seed: u64,
    /// Steps done.
    pub step: u64,
    /// Who found it, and what.
    pub what: String,
    /// Last lines of the trace.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "step {}: {}", self.step, self.what)?;
        write!(f, "reproduce with WINDLASS_SEED={}", self.seed)
    }
}

impl std::error::Error for Failure {}

/// A simulated world: processes over one database, actors of the outside world, rules, and one clock.
pub struct Simulation {
    seed: u64,
    rng: ChaCha8Rng,
    clock: Arc<ManualClock>,
    trace: Trace,
    database: Database,
    processes: Vec<Process>,
    world: Vec<(u32, Box<dyn Actor>)>,
    checkers: Vec<Box<dyn Checker>>,
    healers: Vec<Box<dyn FnMut() + Send>>,
    crash_policy: Option<CrashPolicy>,
    crashes: u64,
    steps: u64,
    /// Step of the last crash or arming.
    armed_at: u64,
    tick_ms: RangeInclusive<u64>,
    /// Share of the steps that machines get, against the weights of the world.
    machine_weight: u32,
}

impl Simulation {
    /// An empty world at `start`.
    pub fn new(seed: u64, database: Database, start: UnixMillis) -> Self {
        Self {
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            clock: Arc::new(ManualClock::new(start)),
            trace: Trace::default(),
            database,
            processes: Vec::new(),
            world: Vec::new(),
            checkers: Vec::new(),
            healers: Vec::new(),
            crash_policy: None,
            crashes: 0,
            steps: 0,
            armed_at: 0,
            tick_ms: 0..=400,
            machine_weight: 10,
        }
    }

    /// The clock of the world.
    pub fn clock(&self) -> Arc<ManualClock> {
        self.clock.clone()
    }

    /// The trace of the run.
    pub fn trace(&self) -> Trace {
        self.trace.clone()
    }

    /// A seed for a part of the world, drawn from the seed of the run.
    pub fn draw_seed(&mut self) -> u64 {
        self.rng.random()
    }

    /// By how much a step moves the clock, milliseconds.
    pub fn set_tick_ms(&mut self, tick_ms: RangeInclusive<u64>) {
        self.tick_ms = tick_ms;
    }

    /// Adds a process; it starts with the next step.
    pub fn add_process(&mut self, program: Arc<dyn Program>) -> ProcessId {
        self.processes.push(Process {
            program,
            life: Arc::new(CrashPlan::new(self.trace.clone())),
            store: None,
            actors: Vec::new(),
            incarnation: 0,
            start_at: self.clock.now(),
            paused: false,
        });
        ProcessId(self.processes.len() - 1)
    }

    /// Adds a part of the outside world. Machines have weight 10 each.
    pub fn add_actor(&mut self, weight: u32, actor: Box<dyn Actor>) {
        self.world.push((weight, actor));
    }

    /// Adds a rule.
    pub fn add_checker(&mut self, checker: Box<dyn Checker>) {
        self.checkers.push(checker);
    }

    /// Adds what [`Simulation::settle`] does first: take faults away.
    pub fn on_heal(&mut self, healer: impl FnMut() + Send + 'static) {
        self.healers.push(Box::new(healer));
    }

    /// Lets processes die; `None` lets them live.
    pub fn set_crashes(&mut self, policy: Option<CrashPolicy>) {
        self.crash_policy = policy;
        self.arm();
    }

    /// Gives every process a moment to die at, or none.
    fn arm(&mut self) {
        self.armed_at = self.steps;
        for index in 0..self.processes.len() {
            let point = self.crash_point();
            if let Some(process) = self.processes.get(index) {
                process.life.arm(point);
            }
        }
    }

    /// Crashes so far.
    pub fn crashes(&self) -> u64 {
        self.crashes
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Kills a process from outside; it starts again after `down`.
    pub async fn kill(&mut self, id: ProcessId, down: Duration) {
        if let Some(process) = self.processes.get(id.0) {
            process.life.kill();
        }
        self.bury(id.0, down).await;
    }

    /// The database is gone, and an empty one is in its place. All processes die with it and start again after `down`.
    pub async fn lose_database(&mut self, empty: Database, down: Duration) {
        self.trace.push("the database is lost");
        for index in 0..self.processes.len() {
            if let Some(process) = self.processes.get(index) {
                process.life.kill();
            }
            self.bury(index, down).await;
        }
        std::mem::replace(&mut self.database, empty).remove().await;
    }

    /// Stops a process in the middle of life, as `SIGSTOP` or a long pause of a virtual machine does, or lets it go on.
    pub fn pause(&mut self, id: ProcessId, paused: bool) {
        self.trace.push(format!("process {} paused={paused}", id.0));
        if let Some(process) = self.processes.get_mut(id.0) {
            process.paused = paused;
        }
    }

    /// Runs `steps` steps.
    pub async fn run(&mut self, steps: u64) -> Result<(), Failure> {
        for _ in 0..steps {
            self.step().await?;
        }
        Ok(())
    }

    /// Runs until `done`, for at most `limit` steps. Answers whether it was reached.
    pub async fn run_until(&mut self, limit: u64, mut done: impl FnMut(&Self) -> bool) -> Result<bool, Failure> {
        for _ in 0..limit {
            if done(self) {
                return Ok(true);
            }
            self.step().await?;
        }
        Ok(done(self))
    }

    /// The second half of a run: the faults end, and what was begun must come to its end within `limit` steps. Then the
    /// final checks.
    pub async fn settle(&mut self, limit: u64, done: impl FnMut(&Self) -> bool) -> Result<(), Failure> {
        self.trace.push("heal");
        self.set_crashes(None);
        let mut healers = std::mem::take(&mut self.healers);
        for healer in &mut healers {
            healer();
        }
        self.healers = healers;
        if !self.run_until(limit, done).await? {
            return Err(self.failure(format!("not live: without faults the goal was not reached in {limit} steps")));
        }
        let now = self.clock.now();
        let mut checkers = std::mem::take(&mut self.checkers);
        for checker in &mut checkers {
            if let Err(violation) = checker.check_end(now).await {
                return Err(self.failure(format!("{} at the end: {violation}", checker.name())));
            }
        }
        self.checkers = checkers;
        Ok(())
    }

    /// A failure of this run with its seed and trace.
    pub fn failure(&self, what: impl Into<String>) -> Failure {
        Failure { seed: self.seed, step: self.steps, what: what.into(), trace: self.trace.tail(80) }
    }

    /// Closes the stores and removes the database. Without it the database is removed as well as can be.
    pub async fn close(mut self) {
        for process in &mut self.processes {
            process.actors.clear();
            if let Some(store) = process.store.take() {
                store.close().await;
            }
        }
        self.database.remove().await;
    }

    /// One step: the clock moves, then a process that is due starts, or one actor acts; then the rules are checked.
    pub async fn step(&mut self) -> Result<(), Failure> {
        self.steps += 1;
        let tick = self.rng.random_range(self.tick_ms.clone());
        let now = self.clock.advance(Duration::from_millis(tick));
        // A moment that does not come, such as a broadcast when all is sent, is exchanged for another.
        if self.crash_policy.is_some() && self.steps - self.armed_at > REARM_STEPS {
            self.arm();
        }
        let due = self.processes.iter().position(|process| process.store.is_none() && process.start_at <= now);
        match due {
            Some(index) => self.start(index, now).await?,
            None => self.act(now).await?,
        }
        for index in 0..self.processes.len() {
            let dead = self.processes.get(index).is_some_and(|process| process.store.is_some() && process.life.is_dead());
            if dead {
                self.crashes += 1;
                self.armed_at = self.steps;
                let down_ms = match &self.crash_policy {
                    Some(policy) => self.rng.random_range(policy.down_ms.clone()),
                    None => 0,
                };
                self.bury(index, Duration::from_millis(down_ms)).await;
            }
        }
        self.check(now).await
    }

    async fn check(&mut self, now: UnixMillis) -> Result<(), Failure> {
        let mut checkers = std::mem::take(&mut self.checkers);
        for checker in &mut checkers {
            if let Err(violation) = checker.check(now).await {
                return Err(self.failure(format!("{}: {violation}", checker.name())));
            }
        }
        self.checkers = checkers;
        Ok(())
    }

    async fn act(&mut self, now: UnixMillis) -> Result<(), Failure> {
        let machines = self.processes.iter().filter(|process| !process.paused).map(|process| process.actors.len()).sum::<usize>();
        let machines = u32::try_from(machines).unwrap_or(u32::MAX);
        let world: u32 = self.world.iter().map(|(weight, _)| *weight).sum();
        let total = machines * self.machine_weight + world;
        if total == 0 {
            return Ok(());
        }
        let mut dice = self.rng.random_range(0..total);
        for process in &mut self.processes {
            if process.paused {
                continue;
            }
            for actor in &mut process.actors {
                if dice < self.machine_weight {
                    let alive = !process.life.is_dead();
                    let outcome = actor.step(now).await;
                    let alive = alive && !process.life.is_dead();
                    return report(&self.trace, actor.name(), now, outcome, alive).map_err(|violation| self.failure(violation.0));
                }
                dice -= self.machine_weight;
            }
        }
        for (weight, actor) in &mut self.world {
            if dice < *weight {
                let outcome = actor.step(now).await;
                return report(&self.trace, actor.name(), now, outcome, true).map_err(|violation| self.failure(violation.0));
            }
            dice -= *weight;
        }
        Ok(())
    }

    /// Starts a process over the database as it is.
    async fn start(&mut self, index: usize, now: UnixMillis) -> Result<(), Failure> {
        let life = Arc::new(CrashPlan::new(self.trace.clone()));
        life.arm(self.crash_point());
        let opened = self.database.open(self.clock.clone(), life.clone()).await;
        let Some(process) = self.processes.get_mut(index) else {
            return Ok(());
        };
        process.incarnation += 1;
        process.life = life.clone();
        let program = process.program.clone();
        let incarnation = process.incarnation;
        let name = program.name();
        let store = match opened {
            Ok(store) => store,
            Err(_) if life.is_dead() => {
                self.crashes += 1;
                self.trace.push(format!("{now} {name} died at its start"));
                return Ok(());
            }
            Err(error) => {
                return Err(self.failure(format!("{name}: the database does not open: {error}")));
            }
        };
        let host = Host {
            store: store.clone(),
            clock: self.clock.clone(),
            process: life.clone(),
            trace: self.trace.clone(),
            incarnation,
        };
        let started = program.start(&host).await;
        process.store = Some(store);
        match started {
            Ok(actors) => {
                self.trace.push(format!("{now} {name} started, incarnation {incarnation}"));
                process.actors = actors;
                Ok(())
            }
            Err(StepError::Violation(violation)) => Err(self.failure(violation.0)),
            Err(StepError::Fault(error)) => {
                self.trace.push(format!("{now} {name} did not start: {error}"));
                if !life.is_dead() {
                    // A supervisor would start it again.
                    self.bury(index, Duration::from_secs(1)).await;
                }
                Ok(())
            }
        }
    }

    /// Drops the machines and the store of a process.
    async fn bury(&mut self, index: usize, down: Duration) {
        let now = self.clock.now();
        let Some(process) = self.processes.get_mut(index) else {
            return;
        };
        process.actors.clear();
        process.start_at = now.saturating_add(down);
        self.trace.push(format!("{now} {} is down", process.program.name()));
        if let Some(store) = process.store.take() {
            store.close().await;
        }
    }

    fn crash_point(&mut self) -> Option<CrashPoint> {
        let policy = self.crash_policy.as_ref()?;
        if self.crashes >= policy.budget {
            return None;
        }
        let commit = self.rng.random_range(1..=policy.within_commits.max(1));
        let broadcast = self.rng.random_range(1..=policy.within_broadcasts.max(1));
        let kinds = if policy.within_broadcasts == 0 { 2 } else { 4 };
        Some(match self.rng.random_range(0..kinds) {
            0 => CrashPoint::BeforeCommit(commit),
            1 => CrashPoint::AfterCommit(commit),
            2 => CrashPoint::BeforeBroadcast(broadcast),
            _ => CrashPoint::AfterBroadcast(broadcast),
        })
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("seed", &self.seed)
            .field("steps", &self.steps)
            .field("crashes", &self.crashes)
            .finish_non_exhaustive()
    }
}

fn report(
    trace: &Trace,
    name: &str,
    now: UnixMillis,
    outcome: Result<Progress, StepError>,
    alive: bool,
) -> Result<(), Violation> {
    match outcome {
        Ok(Progress::Idle) => trace.push(format!("{now} {name}: idle")),
        Ok(Progress::Did(what)) => trace.push(format!("{now} {name}: {what}")),
        Err(StepError::Violation(violation)) => {
            return Err(Violation(format!("{name}: {violation}")));
        }
        // What a dead process says of itself has no meaning, and depends on where it noticed.
        Err(StepError::Fault(_)) if !alive => trace.push(format!("{now} {name}: died")),
        Err(StepError::Fault(error)) => trace.push(format!("{now} {name}: error {error}")),
    }
    Ok(())
}
