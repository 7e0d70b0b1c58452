//! The loop around one machine: a bounded batch of events in, one commit, effects out.
//!
//! Whatever waits is taken together, stepped in order and committed together with the position on the client chain, the relay
//! transactions for the outbox and the sign-once slots; only then do the effects begin. They run beside the loop and report back as
//! events, so that a slow node never delays what others have answered.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use windlass_chain::{Batch, ChainError, Follower, HeadSignal};
use windlass_node::ServiceContext;
use windlass_outbox::{Intent, IntentId, IntentStatus, Outbox, Reason, State as IntentState, Transition};
use windlass_store::{Fence, Store, Tx, UnixMillis};

use crate::error::VrfError;
use crate::machine::{Changes, Command, Effect, Event, Relay, RelayIntent, RelayProgress, State, TaskKey};
use crate::ports::client_chain::{ProviderEvent, decode_log};
use crate::shared::Shared;
use crate::tables::{BandScope, Scope};
use crate::tell::Teller;
use crate::work::{Work, chain_task};

/// Events taken together at the most.
const BATCH: usize = 1_024;
/// Relay transactions that are looked at together without news of them.
const RECONCILED: usize = 100;
/// Longest time without a look at what is due.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How often things are asked that nobody announces.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The client chain's head, if no endpoint announces it.
    pub client_poll: Duration,
    /// BandChain's newest block.
    pub band_poll: Duration,
}

/// What relays are recorded with.
#[derive(Debug, Clone, Copy)]
pub struct IntentTerms {
    /// The provider.
    pub provider: Address,
    /// Depth at which a relay is final.
    pub confirmations: u64,
    /// Gas limit; `None` asks the chain.
    pub gas_limit: Option<u64>,
}

/// The parts of one running relay.
pub struct Agent {
    machine: Relay,
    scope: Scope,
    band_account: String,
    callers: B256,
    store: Store,
    work: Arc<Work>,
    follower: Option<Follower>,
    outbox: Outbox,
    transitions: broadcast::Receiver<Transition>,
    intents: HashMap<IntentId, (TaskKey, u32)>,
    reconciled_at: UnixMillis,
    /// The last task that was looked at, when there were more.
    reconcile_from: Option<TaskKey>,
    terms: IntentTerms,
    fence: Option<Fence>,
    teller: Teller,
    shared: Arc<Shared>,
    pace: Pace,
    /// Asked for by earlier turns of a simulation, and not carried out yet.
    pending: Vec<Effect>,
    /// Replies of a simulation that are on their way.
    replies: Vec<Event>,
    started: bool,
    /// Blocks were announced while a round of the follower was under way.
    follow_again: bool,
}

/// What ended beside the loop.
enum Done {
    Events(Vec<Event>),
    Followed(Box<(Follower, Result<Option<Batch>, ChainError>)>),
}

/// How far a question comes in one turn of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Travel {
    /// It is on its way to the node.
    Waits,
    /// The node has answered, and the reply is on its way.
    Answered,
    /// The reply is there.
    Arrives,
}

/// What one turn did, for simulations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnReport {
    /// Events taken in.
    pub events: usize,
    /// Whether anything was written.
    pub wrote: bool,
    /// Effects carried out.
    pub effects: usize,
}

/// Everything that an agent is made of.
pub struct Parts {
    /// Name of the service: `vrf.sepolia`.
    pub service: String,
    /// The machine, loaded from its rows.
    pub machine: Relay,
    /// Whose rows.
    pub scope: Scope,
    /// Tells one list of callers from another.
    pub callers: B256,
    /// The database.
    pub store: Store,
    /// What carries effects out.
    pub work: Arc<Work>,
    /// The client chain.
    pub follower: Follower,
    /// The sender of relays.
    pub outbox: Outbox,
    /// What relays are recorded with.
    pub terms: IntentTerms,
    /// What status and interface see.
    pub shared: Arc<Shared>,
    /// How often things are asked.
    pub pace: Pace,
}

impl Agent {
    /// Puts the parts together. Contacts nobody.
    pub fn new(parts: Parts, ctx: &ServiceContext) -> Self {
        let transitions = parts.outbox.events();
        Self {
            teller: Teller::new(parts.service, ctx, &parts.shared),
            band_account: parts.work.band_address().to_owned(),
            machine: parts.machine,
            scope: parts.scope,
            callers: parts.callers,
            store: parts.store,
            work: parts.work,
            follower: Some(parts.follower),
            outbox: parts.outbox,
            transitions,
            intents: HashMap::new(),
            reconciled_at: UnixMillis(0),
            reconcile_from: None,
            terms: parts.terms,
            fence: ctx.fence.clone(),
            shared: parts.shared,
            pace: parts.pace,
            pending: Vec::new(),
            replies: Vec::new(),
            started: false,
            follow_again: false,
        }
    }

    /// The machine, to look at.
    pub const fn machine(&self) -> &Relay {
        &self.machine
    }

    /// Runs until `ctx.shutdown`. Ending at any moment loses nothing.
    ///
    /// # Errors
    /// What does not go away by itself, and failures of the database: a new start goes on from the rows.
    pub async fn run(mut self, ctx: &ServiceContext, mut inbox: mpsc::Receiver<Command>) -> Result<(), VrfError> {
        let mut jobs: JoinSet<Done> = JoinSet::new();
        let mut heads = self.work.head_signal();
        let mut client_poll = interval(self.pace.client_poll);
        let mut band_poll = interval(self.pace.band_poll);
        let mut reading_band = false;
        let events = self.begin().await?;
        self.spawn_all(&mut jobs, events, None).await?;
        loop {
            let mut events = Vec::new();
            let mut moved = Vec::new();
            let mut batch = None;
            let wait = self.wait();
            tokio::select! {
                biased;
                () = ctx.shutdown.cancelled() => return Ok(()),
                Some(done) = jobs.join_next() => self.take(done.map_err(failed)?, &mut events, &mut batch, &mut reading_band),
                transition = self.transitions.recv() => match transition {
                    Ok(transition) => moved.push(transition),
                    Err(broadcast::error::RecvError::Lagged(_)) => events.extend(self.catch_up().await?),
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                },
                Some(command) = inbox.recv() => self.command(command, &mut events).await?,
                () = announced(&mut heads) => self.follow(&mut jobs),
                _ = client_poll.tick() => self.follow(&mut jobs),
                _ = band_poll.tick(), if !reading_band => {
                    reading_band = true;
                    let work = Arc::clone(&self.work);
                    jobs.spawn(async move { Done::Events(vec![work.read_band_head().await]) });
                }
                () = tokio::time::sleep(wait) => events.push(Event::Timer),
            }
            // Whatever else is there already goes into the same commit.
            while events.len() < BATCH
                && let Some(done) = jobs.try_join_next()
            {
                self.take(done.map_err(failed)?, &mut events, &mut batch, &mut reading_band);
            }
            while moved.len() < BATCH
                && let Ok(transition) = self.transitions.try_recv()
            {
                moved.push(transition);
            }
            events.extend(self.moved(&moved).await?);
            if !events.is_empty() || batch.is_some() {
                let followed = batch.is_some();
                self.spawn_all(&mut jobs, events, batch).await?;
                // There may be more behind the batch.
                self.follow_again |= followed;
            }
            if self.follow_again && self.follower.is_some() {
                self.follow(&mut jobs);
            }
        }
    }

    /// One deterministic turn without timers of its own: carries out what was asked for, one after the other, looks at both chains, steps
    /// and commits. `travel` says how far each question comes in this turn. For simulations.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn turn(&mut self, now: UnixMillis, mut travel: impl FnMut() -> Travel + Send) -> Result<TurnReport, VrfError> {
        let mut events = vec![Event::Timer];
        if !std::mem::replace(&mut self.started, true) {
            events = self.begin().await?;
        }
        let mut report = TurnReport::default();
        for reply in std::mem::take(&mut self.replies) {
            match travel() {
                Travel::Arrives => events.push(reply),
                Travel::Waits | Travel::Answered => self.replies.push(reply),
            }
        }
        let mut waiting = Vec::new();
        for effect in std::mem::take(&mut self.pending) {
            let far = travel();
            if far == Travel::Waits {
                waiting.push(effect);
                continue;
            }
            report.effects = report.effects.saturating_add(1);
            let reply = self.work.perform(effect).await;
            if far == Travel::Answered { self.replies.push(reply) } else { events.push(reply) }
        }
        let mut batch = None;
        if let Some(follower) = &mut self.follower {
            match follower.poll().await {
                Ok(found) => batch = found,
                Err(error) if is_permanent(&error) => return Err(error.into()),
                Err(_) => {}
            }
        }
        events.push(self.work.read_band_head().await);
        let mut moved = Vec::new();
        loop {
            match self.transitions.try_recv() {
                Ok(transition) => moved.push(transition),
                Err(broadcast::error::TryRecvError::Lagged(_)) => events.extend(self.catch_up().await?),
                Err(_) => break,
            }
        }
        events.extend(self.moved(&moved).await?);
        report.events = events.len();
        let (wrote, asked) = self.absorb(now, events, batch).await?;
        (report.wrote, self.pending) = (wrote, waiting.into_iter().chain(asked).collect());
        Ok(report)
    }

    fn wait(&self) -> Duration {
        let now = self.store.clock().now();
        self.machine.next_timer(now).map_or(LONGEST_WAIT, |at| at.saturating_since(now).min(LONGEST_WAIT))
    }

    /// Begins a round of the follower, or has another one made after the one that is under way: that may not see what was just announced.
    fn follow(&mut self, jobs: &mut JoinSet<Done>) {
        let Some(mut follower) = self.follower.take() else {
            self.follow_again = true;
            return;
        };
        self.follow_again = false;
        jobs.spawn(async move {
            let result = follower.poll().await;
            Done::Followed(Box::new((follower, result)))
        });
    }

    fn take(&mut self, done: Done, events: &mut Vec<Event>, batch: &mut Option<Batch>, reading_band: &mut bool) {
        match done {
            Done::Events(found) => {
                *reading_band &= !found.iter().any(|event| matches!(event, Event::BandHead(_)));
                events.extend(found);
            }
            Done::Followed(followed) => {
                let (follower, result) = *followed;
                self.follower = Some(follower);
                match result {
                    Ok(found) => {
                        self.shared.followed();
                        *batch = found;
                    }
                    Err(error) => self.shared.follow_failed(&error),
                }
            }
        }
    }

    async fn command(&self, command: Command, events: &mut Vec<Event>) -> Result<(), VrfError> {
        if let Command::Retry { nonce, .. } = &command {
            events.push(Event::Loaded(self.scope.tasks_under(&self.store, *nonce).await?));
        }
        events.push(Event::Command(command));
        Ok(())
    }

    /// Relay transactions moved. That one is signed or offered says nothing new of its task.
    async fn moved(&self, transitions: &[Transition]) -> Result<Vec<Event>, VrfError> {
        let on_its_way = |moved: &&Transition| {
            !matches!(
                (&moved.from, &moved.to),
                (IntentState::Recorded, IntentState::Signed) | (IntentState::Signed, IntentState::Broadcast)
            )
        };
        let ids: BTreeSet<IntentId> = transitions.iter().filter(on_its_way).map(|moved| moved.id).collect();
        let ids: Vec<IntentId> = ids.into_iter().filter(|id| self.intents.contains_key(id)).collect();
        self.progress_of(&ids).await
    }

    /// What the rows say that the machine was not loaded with.
    async fn begin(&mut self) -> Result<Vec<Event>, VrfError> {
        self.machine.signed_below(self.scope.signed_below(&self.store, &self.band_account).await?);
        let mut events = vec![Event::Started];
        events.extend(self.catch_up().await?);
        Ok(events)
    }

    /// Where all relay transactions stand: at the start, and after missed news.
    async fn catch_up(&mut self) -> Result<Vec<Event>, VrfError> {
        let open = self.open_relays().collect();
        self.progress_of_all(open).await
    }

    /// Where some relay transactions stand that were not heard of for long. News go to the instance whose outbox makes them, which for a
    /// moment after a change of the holder may be another one.
    async fn reconcile(&mut self, now: UnixMillis) -> Result<Vec<Event>, VrfError> {
        if now.saturating_since(self.reconciled_at) < Duration::from_millis(self.machine.policy().reconcile_ms) {
            return Ok(Vec::new());
        }
        self.reconciled_at = now;
        let from = self.reconcile_from;
        let later: Vec<(TaskKey, u32)> = self.open_relays().filter(|(key, _)| Some(*key) > from).take(RECONCILED).collect();
        self.reconcile_from = later.last().filter(|_| later.len() == RECONCILED).map(|(key, _)| *key);
        self.progress_of_all(later).await
    }

    fn open_relays(&self) -> impl Iterator<Item = (TaskKey, u32)> + '_ {
        let open = self.machine.tasks().filter(|task| matches!(task.state, State::Relaying | State::Mined));
        open.map(|task| (task.key(), task.relays))
    }

    async fn progress_of_all(&mut self, relays: Vec<(TaskKey, u32)>) -> Result<Vec<Event>, VrfError> {
        let mut ids = Vec::with_capacity(relays.len());
        for (key, number) in relays {
            let id = self.outbox.id_of(&intent_key(self.terms.provider, key, number));
            self.intents.insert(id, (key, number));
            ids.push(id);
        }
        self.progress_of(&ids).await
    }

    /// Where relay transactions stand, as far as it is known which task they are for.
    async fn progress_of(&self, ids: &[IntentId]) -> Result<Vec<Event>, VrfError> {
        let mut statuses = self.outbox.statuses(ids).await?;
        // In an order that does not depend on the database.
        statuses.sort_unstable_by_key(|status| status.id);
        let event = |status: &IntentStatus| {
            let (key, number) = *self.intents.get(&status.id)?;
            Some(Event::Relayed { key, number, progress: progress_of(status) })
        };
        Ok(statuses.iter().filter_map(event).collect())
    }

    async fn spawn_all(&mut self, jobs: &mut JoinSet<Done>, events: Vec<Event>, batch: Option<Batch>) -> Result<(), VrfError> {
        let now = self.store.clock().now();
        let (_, effects) = self.absorb(now, events, batch).await?;
        for effect in effects {
            let work = Arc::clone(&self.work);
            jobs.spawn(async move { Done::Events(vec![work.perform(effect).await]) });
        }
        Ok(())
    }

    /// Steps, commits, tells.
    async fn absorb(
        &mut self,
        now: UnixMillis,
        mut events: Vec<Event>,
        batch: Option<Batch>,
    ) -> Result<(bool, Vec<Effect>), VrfError> {
        events.extend(self.reconcile(now).await?);
        if let Some(batch) = &batch {
            events.push(client_event(batch));
        }
        let loaded = self.load_rows(&events).await?;
        if !loaded.is_empty() {
            events.insert(0, Event::Loaded(loaded));
        }
        // A commit that fails must leave the machine as it was: the agent then ends, and a new one is loaded from the rows.
        let output = self.machine.step(now, events);
        let wrote = batch.is_some() || !output.changes.is_empty();
        if wrote {
            let step = Step {
                scope: self.scope,
                band: BandScope { chain: self.band_chain(), account: self.band_account.clone() },
                callers: self.callers,
                intents: output.changes.intents.iter().map(|intent| self.intent(intent)).collect(),
                changes: output.changes.clone(),
                batch,
                outbox: self.outbox.clone(),
                now,
            };
            step.commit(&self.store, self.fence.as_ref()).await?;
        }
        for intent in &output.changes.intents {
            let id = self.outbox.id_of(&intent_key(self.terms.provider, intent.key, intent.number));
            self.intents.insert(id, (intent.key, intent.number));
        }
        self.forget_intents(&output.changes);
        self.teller.tell(now, &self.machine, &output.changes);
        Ok((wrote, output.effects))
    }

    /// Relays of tasks that have ended are not listened to any more.
    fn forget_intents(&mut self, changes: &Changes) {
        for task in changes.tasks.iter().filter(|task| matches!(task.state, State::Resolved)) {
            let id = self.outbox.id_of(&intent_key(self.terms.provider, task.key(), task.relays));
            self.intents.remove(&id);
        }
    }

    /// The Band chain that transactions are stored under: they are signed only once a node and the Bridge agree on it.
    fn band_chain(&self) -> String {
        self.machine.known().band.as_ref().map(|(chain, _)| chain.clone()).unwrap_or_default()
    }

    /// Rows of tasks that the events name and that are not in memory: those that had ended.
    async fn load_rows(&self, events: &[Event]) -> Result<Vec<crate::machine::Task>, VrfError> {
        let mut keys = Vec::new();
        let mut note = |key: TaskKey| {
            if !self.machine.knows(key) {
                keys.push(key);
            }
        };
        for event in events {
            match event {
                Event::Client { requested, .. } => requested.iter().for_each(|(task, _, _)| note(task.key())),
                Event::TasksRead { result: Ok(read), .. } => {
                    read.tasks.iter().filter_map(|(_, task)| task.as_ref()).for_each(|task| note(task.key()));
                }
                _ => {}
            }
        }
        if keys.is_empty() { Ok(Vec::new()) } else { self.scope.tasks(&self.store, &keys).await }
    }

    fn intent(&self, relay: &RelayIntent) -> Intent {
        let IntentTerms { provider, confirmations, gas_limit } = self.terms;
        let intent = Intent::new(intent_key(provider, relay.key, relay.number), provider)
            .with_data(crate::ports::client_chain::relay_call(&relay.proof, relay.key.nonce))
            .with_confirmations(confirmations)
            .with_label(format!("random value of task {}", relay.key.nonce));
        match gas_limit {
            Some(gas) => intent.with_gas_limit(gas),
            None => intent,
        }
    }
}

/// The idempotency key of a relay transaction.
pub(crate) fn intent_key(provider: Address, key: TaskKey, number: u32) -> String {
    format!("vrf/{provider}/{}/{}/{number}", key.nonce, key.seed)
}

/// What an outbox entry means for its task.
pub(crate) fn progress_of(status: &IntentStatus) -> RelayProgress {
    let block = status.block.map(|block| block.number);
    match &status.state {
        IntentState::Included => match (status.success, block) {
            (Some(true), Some(block)) => RelayProgress::Included { block },
            // A revert may become a success by a reorganisation; it counts when it is final.
            _ => RelayProgress::Pending,
        },
        IntentState::Final => RelayProgress::Final { block },
        IntentState::Reverted(Reason::Reverted { reason }) | IntentState::Dropped(Reason::Reverted { reason }) => {
            RelayProgress::Reverted { reason: reason.clone() }
        }
        IntentState::Reverted(reason) | IntentState::Dropped(reason) => RelayProgress::Dropped { reason: reason.to_string() },
        IntentState::Recorded | IntentState::Signed | IntentState::Broadcast => RelayProgress::Pending,
    }
}

/// What a batch of blocks says.
fn client_event(batch: &Batch) -> Event {
    let (mut requested, mut relayed, mut provider_changed) = (Vec::new(), Vec::new(), false);
    for block in &batch.added {
        for log in &block.logs {
            match decode_log(log) {
                Some(ProviderEvent::Requested(task)) => requested.push((chain_task(task), block.block.number, block.block.hash)),
                Some(ProviderEvent::Relayed { seed, .. }) => relayed.push(seed),
                Some(_) => provider_changed = true,
                None => {}
            }
        }
    }
    Event::Client {
        removed: batch.removed.iter().map(|block| block.hash).collect(),
        head: batch.head.number,
        requested,
        relayed,
        provider_changed,
    }
}

fn is_permanent(error: &ChainError) -> bool {
    matches!(error, ChainError::ReorgTooDeep { .. } | ChainError::StaleBatch { .. } | ChainError::Store(_))
}

fn failed(error: tokio::task::JoinError) -> VrfError {
    VrfError::Work { detail: error.to_string() }
}

fn interval(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

async fn announced(heads: &mut Option<HeadSignal>) {
    match heads {
        Some(signal) => signal.changed().await,
        None => std::future::pending().await,
    }
}

/// What one step writes.
struct Step {
    scope: Scope,
    band: BandScope,
    callers: B256,
    changes: Changes,
    intents: Vec<Intent>,
    batch: Option<Batch>,
    outbox: Outbox,
    now: UnixMillis,
}

impl Step {
    async fn commit(self, store: &Store, fence: Option<&Fence>) -> Result<(), VrfError> {
        match fence {
            Some(fence) => store.write_fenced(fence, "vrf.step", move |tx| Box::pin(self.write(tx))).await,
            None => store.write("vrf.step", move |tx| Box::pin(self.write(tx))).await,
        }
    }

    async fn write(self, tx: &mut Tx<'_>) -> Result<(), VrfError> {
        if let Some(batch) = &self.batch {
            batch.record(tx).await?;
        }
        self.scope.write(tx, &self.band, self.callers, &self.changes, self.now).await?;
        for intent in self.intents {
            self.outbox.record(tx, intent).await?;
        }
        Ok(())
    }
}
