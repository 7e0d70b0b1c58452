//! The loop around one machine: events in, one commit, effects out.
//!
//! Each event is stepped on a copy of the state; the copy, its records and, for events from the chain, the position of the
//! follower are committed together; only then does the copy become the state and are the effects done. Actions and looks
//! at the target run beside the loop and report back as events, so that a hanging command never delays an observation.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use windlass_chain::{Batch, BlockRef, ChainError, FollowConfig, Follower};
use windlass_node::alerts::{Alert, Severity as AlertSeverity};
use windlass_node::events::{Event as NodeEvent, Level};
use windlass_node::{ServiceContext, ServiceError};
use windlass_store::{Clock, Fence, Store, Tx, UnixMillis};

use crate::actions::carry_out;
use crate::config::PayerConfig;
use crate::error::PayerError;
use crate::machine::{ActionKind, Agreement, BlockPoint, Effect, Event, Phase, Policy, Record, Severity};
use crate::metrics;
use crate::ports::Target;
use crate::ports::contract::{ContractReader, cannot_tell};
use crate::service::Shared;
use crate::tables::{self, AgreementKey};

/// Page of the book that says what to do about the alerts of this service.
const RUNBOOK: &str = "operations/runbook.html#payer";

pub(crate) struct Agent {
    service: String,
    key: AgreementKey,
    config: Arc<PayerConfig>,
    policy: Policy,
    store: Store,
    clock: Arc<dyn Clock>,
    reader: Arc<ContractReader>,
    target: Option<Arc<dyn Target>>,
    follower: Follower,
    shared: Arc<Shared>,
    ctx: ServiceContext,
    state: Agreement,
    /// An effect asked for an observation that has not been made.
    observation_wanted: bool,
    inbox: mpsc::Receiver<Event>,
    work: JoinSet<Event>,
}

fn to_point(block: &BlockRef) -> BlockPoint {
    BlockPoint { number: block.number, hash: block.hash, time_s: block.timestamp }
}

impl Agent {
    pub(crate) async fn load(
        service: String,
        key: AgreementKey,
        config: Arc<PayerConfig>,
        (store, reader): (Store, Arc<ContractReader>),
        target: Option<Arc<dyn Target>>,
        shared: Arc<Shared>,
        ctx: ServiceContext,
    ) -> Result<Self, PayerError> {
        let follow = FollowConfig {
            max_reorg_depth: config.max_reorg_depth,
            window: config.max_reorg_depth.saturating_add(1),
            poll_interval_ms: u64::try_from(config.poll_interval.as_millis()).unwrap_or(u64::MAX),
            ..FollowConfig::new(service.clone())
        };
        let follower = Follower::load(store.clone(), reader.endpoints().clone(), follow).await?;
        let state = tables::load(&store, &key).await?.unwrap_or_default();
        let inbox = shared.open_inbox();
        Ok(Self {
            service,
            policy: shared.policy.clone(),
            key,
            config,
            clock: store.clock(),
            store,
            reader,
            target,
            follower,
            shared,
            ctx,
            state,
            observation_wanted: false,
            inbox,
            work: JoinSet::new(),
        })
    }

    pub(crate) async fn run(mut self) -> Result<(), ServiceError> {
        let shutdown = self.ctx.shutdown.clone();
        let mut heads = self.reader.endpoints().head_signal();
        let mut poll = tokio::time::interval(self.config.poll_interval);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.handle(Event::Started, None).await?;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                done = self.round(&mut poll, &mut heads) => done?,
            }
        }
    }

    /// Waits for one thing and deals with it. Dropping it between events loses nothing: what was not committed is asked
    /// for again at the next start.
    async fn round(
        &mut self,
        poll: &mut tokio::time::Interval,
        heads: &mut Option<windlass_chain::HeadSignal>,
    ) -> Result<(), PayerError> {
        if std::mem::take(&mut self.observation_wanted) {
            return self.observe(None).await;
        }
        let wait = self.state.next_timer(&self.policy).saturating_since(self.clock.now());
        tokio::select! {
            biased;
            Some(event) = self.inbox.recv() => self.handle(event, None).await,
            Some(done) = self.work.join_next() => match done {
                Ok(event) => self.handle(event, None).await,
                // An attempt that panicked is still open in the state; the next start asks for it again.
                Err(error) => Err(PayerError::Work { detail: error.to_string() }),
            },
            () = announced(heads) => self.follow().await,
            _ = poll.tick() => self.follow().await,
            () = tokio::time::sleep(wait.min(Duration::from_secs(3_600))) => self.handle(Event::Timer, None).await,
        }
    }

    /// Takes the next blocks of the chain, as far as there are any.
    async fn follow(&mut self) -> Result<(), PayerError> {
        let batch = match self.follower.poll().await {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(()),
            Err(error @ (ChainError::ReorgTooDeep { .. } | ChainError::StaleBatch { .. } | ChainError::Store(_))) => {
                return Err(error.into());
            }
            Err(error) => return self.handle(Event::CannotTell(cannot_tell(&error)), None).await,
        };
        let head = batch.head;
        let news = !batch.added.is_empty();
        let removed: Vec<BlockPoint> = batch.removed.iter().map(to_point).collect();
        self.handle(Event::Removed(removed), Some(batch)).await?;
        if news {
            self.observation_wanted = false;
            return self.observe(Some(head)).await;
        }
        Ok(())
    }

    async fn observe(&mut self, head: Option<BlockRef>) -> Result<(), PayerError> {
        let read = match &head {
            Some(head) => self.reader.observe(head).await,
            None => self.reader.observe_head().await,
        };
        let event = match read {
            Ok(observation) => {
                metrics::observed(&self.key.name, "ok");
                Event::Observed(Box::new(observation))
            }
            Err(cause) => {
                metrics::observed(&self.key.name, cause.code());
                Event::CannotTell(cause)
            }
        };
        self.handle(event, None).await
    }

    /// Steps, commits, publishes, does the effects.
    async fn handle(&mut self, event: Event, batch: Option<Batch>) -> Result<(), PayerError> {
        let now = self.clock.now();
        let mut state = self.state.clone();
        let out = state.step(now, &self.policy, event);
        if batch.is_some() || state != self.state || !out.records.is_empty() {
            let step = Step { key: self.key.clone(), state: state.clone(), records: out.records.clone(), batch, now };
            let fence = self.ctx.fence.clone();
            step.commit(self.store.clone(), fence).await?;
        }
        self.state = state;
        for record in &out.records {
            self.tell(record);
        }
        self.raise_alerts();
        metrics::publish(&self.key.name, &self.state, now);
        self.shared.publish(&self.state);
        for effect in out.effects {
            self.perform(effect);
        }
        Ok(())
    }

    fn tell(&self, record: &Record) {
        metrics::count(&self.key.name, record);
        let text = record.to_string();
        tracing::info!(agreement = %self.key.name, contract = %self.key.contract, record = record.code(), "{text}");
        let level = match record.severity() {
            Severity::Critical => Level::Error,
            Severity::Warning => Level::Warning,
            Severity::Info | Severity::Quiet => Level::Info,
        };
        self.ctx.events.emit(
            NodeEvent::new(self.service.as_str(), record.code(), text)
                .level(level)
                .field("contract", self.key.contract)
                .field("chain_id", self.key.chain_id),
        );
        if matches!(record, Record::ResumeLeftToOperator) {
            let title = format!("{} is paid again; start the program yourself", self.key.name);
            self.ctx.alerts.raise(self.alert("start_by_hand", AlertSeverity::Warning, title));
        }
    }

    fn alert(&self, key: impl Into<String>, severity: AlertSeverity, title: impl Into<String>) -> Alert {
        Alert::new(self.service.as_str(), key, severity, title, RUNBOOK).detail(self.detail())
    }

    fn detail(&self) -> String {
        let until = self.state.paid_until_s().map_or_else(|| "for ever".into(), crate::cli::text::time);
        format!("contract {} on chain {}, paid until {until}", self.key.contract, self.key.chain_id)
    }

    /// Conditions are derived from the state, so a restart neither forgets nor repeats them. Each state has a key of its
    /// own: entering it is told, and leaving it is told as its end.
    fn raise_alerts(&self) {
        let name = &self.key.name;
        for phase in Phase::ALL {
            let said = match phase {
                Phase::NotStarted | Phase::Paid => continue,
                Phase::ExpiringSoon => (AlertSeverity::Warning, format!("{name} is not paid for much longer")),
                Phase::Grace => (AlertSeverity::Warning, format!("{name} is not paid any more; the grace time runs")),
                Phase::Unpaid => (AlertSeverity::Critical, format!("{name} is not paid")),
                Phase::Stopping => (AlertSeverity::Critical, format!("{name} is not paid; its program is being stopped")),
                Phase::Stopped => (AlertSeverity::Critical, format!("{name} is not paid; its program was stopped")),
                Phase::Resuming => (AlertSeverity::Info, format!("{name} is paid again; its program is being started")),
            };
            let raised = (self.state.phase == Some(phase)).then(|| self.alert(phase.as_str(), said.0, said.1));
            self.ctx.alerts.set(&self.service, phase.as_str(), raised);
        }
        for threshold in &self.policy.warn_before_seconds {
            let key = format!("expiring_{threshold}");
            let on = self.state.phase == Some(Phase::ExpiringSoon) && self.state.warned_seconds == Some(*threshold);
            let span = crate::cli::text::span(*threshold);
            let title = format!("{name} is paid for less than {span}");
            self.ctx.alerts.set(&self.service, &key, on.then(|| self.alert(key.as_str(), AlertSeverity::Warning, title)));
        }
        let unknown = self.state.unknown.as_ref().filter(|unknown| unknown.alerted).map(|unknown| {
            let title = format!("cannot tell whether {name} is paid: {}", unknown.cause);
            self.alert("cannot_tell", AlertSeverity::Critical, title).detail(unknown.cause.hint())
        });
        self.ctx.alerts.set(&self.service, "cannot_tell", unknown);
        let failing = self.state.failing_action().map(|action| {
            let title = format!("{name}: the {} action fails", action.kind);
            let detail = format!("attempt {}: {}", action.attempt, action.last_failure.clone().unwrap_or_default());
            self.alert("action_failed", AlertSeverity::Critical, title).detail(detail)
        });
        self.ctx.alerts.set(&self.service, "action_failed", failing);
        let short = self.state.shortfall_reported.then(|| {
            self.alert("held_below_owed", AlertSeverity::Critical, format!("{name}: the contract holds less than it owes"))
        });
        self.ctx.alerts.set(&self.service, "held_below_owed", short);
        if !matches!(self.state.phase, Some(Phase::Paid | Phase::ExpiringSoon | Phase::NotStarted)) {
            self.ctx.alerts.resolve(&self.service, "start_by_hand");
        }
    }

    fn perform(&mut self, effect: Effect) {
        match (effect, &self.target) {
            (Effect::Observe, _) => self.observation_wanted = true,
            (Effect::RunAction { id, attempt, kind }, Some(target)) => {
                let (target, limits, dry_run) = (Arc::clone(target), self.config.limits, self.config.dry_run);
                self.work.spawn(async move {
                    let outcome = carry_out(target.as_ref(), kind, limits, dry_run).await;
                    Event::ActionDone { id, attempt, outcome }
                });
            }
            (Effect::Inspect, Some(target)) if !self.config.dry_run => {
                let (target, limit) = (Arc::clone(target), self.config.limits.act);
                self.work.spawn(async move {
                    let seen = tokio::time::timeout(limit, target.running()).await;
                    Event::TargetSeen { running: seen.ok().and_then(Result::ok).flatten() }
                });
            }
            // Without a target the policy allows no action.
            (Effect::RunAction { kind: ActionKind::Stop | ActionKind::Resume, .. } | Effect::Inspect, _) => {}
        }
    }
}

/// What one step writes.
struct Step {
    key: AgreementKey,
    state: Agreement,
    records: Vec<Record>,
    batch: Option<Batch>,
    now: UnixMillis,
}

impl Step {
    async fn commit(self, store: Store, fence: Option<Fence>) -> Result<(), PayerError> {
        match fence {
            Some(fence) => store.write_fenced(&fence, "payer.step", move |tx| Box::pin(self.write(tx))).await,
            None => store.write("payer.step", move |tx| Box::pin(self.write(tx))).await,
        }
    }

    async fn write(self, tx: &mut Tx<'_>) -> Result<(), PayerError> {
        if let Some(batch) = &self.batch {
            batch.record(tx).await?;
        }
        tables::save(tx, &self.key, &self.state, &self.records, self.now).await
    }
}

async fn announced(heads: &mut Option<windlass_chain::HeadSignal>) {
    match heads {
        Some(signal) => signal.changed().await,
        None => std::future::pending().await,
    }
}
