//! The payer as a service of the node: one instance guards one agreement.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, watch};
use windlass_account::chain_head;
use windlass_chain::Endpoints;
use windlass_node::openapi::Operation;
use windlass_node::{ChainHead, LeaseRequest, Readiness, Service, ServiceContext, ServiceError, ServiceStatus};
use windlass_store::{Migrations, Store};

use crate::account::Account;
use crate::agent::Agent;
use crate::api;
use crate::cli::text;
use crate::config::PayerConfig;
use crate::error::PayerError;
use crate::machine::{Agreement, CannotTell, Event, Health, Policy, Unknown};
use crate::metrics;
use crate::ports::Target;
use crate::ports::contract::ContractReader;
use crate::tables::{self, AgreementKey};
use crate::targets;

/// Events from the API that wait for the agent; more are refused.
const INBOX: usize = 32;

/// Guards one agreement.
pub struct PayerService {
    name: String,
    config: Arc<PayerConfig>,
    store: Store,
    reader: Arc<ContractReader>,
    target: Option<Arc<dyn Target>>,
    account: Option<Arc<Account>>,
    shared: Arc<Shared>,
}

/// What the agent shows and the interface asks.
pub(crate) struct Shared {
    /// Name of the instance: `gnosis`.
    pub(crate) instance: String,
    pub(crate) contract: alloy_primitives::Address,
    pub(crate) store: Store,
    pub(crate) reader: Arc<ContractReader>,
    pub(crate) policy: Policy,
    pub(crate) deployed_at_block: Option<u64>,
    state: RwLock<Option<Agreement>>,
    inbox: Mutex<Option<mpsc::Sender<Event>>>,
    /// Tells that the state was published.
    news: watch::Sender<()>,
}

impl Shared {
    pub(crate) fn open_inbox(&self) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(INBOX);
        *self.inbox.lock() = Some(sender);
        receiver
    }

    pub(crate) fn publish(&self, state: &Agreement) {
        *self.state.write() = Some(state.clone());
        self.news.send_replace(());
    }

    /// Sees each new state.
    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    fn close(&self) {
        *self.inbox.lock() = None;
        *self.state.write() = None;
    }

    /// Hands an event to the agent; `false` when it does not run here or is too busy.
    pub(crate) fn send(&self, event: Event) -> bool {
        self.inbox.lock().as_ref().is_some_and(|inbox| inbox.try_send(event).is_ok())
    }

    /// The state: the agent's, or what another instance stored last. A state that is too old tells nothing.
    pub(crate) async fn state(&self) -> Result<Agreement, PayerError> {
        let running = self.state.read().clone();
        let mut state = match running {
            Some(state) => state,
            None => tables::load_by_name(&self.store, &self.instance, self.contract).await?.unwrap_or_default(),
        };
        let now = self.store.clock().now();
        if let Some(seen) = &state.seen
            && state.unknown.is_none()
        {
            let seconds = now.saturating_since(seen.at).as_secs();
            if seconds > self.policy.stale_after_seconds.saturating_add(self.policy.observe_every_seconds) {
                state.unknown = Some(Unknown { cause: CannotTell::Silent { seconds }, since: seen.at, alerted: false });
            }
        }
        Ok(state)
    }

    /// Whether the agent runs in this process.
    pub(crate) fn runs_here(&self) -> bool {
        self.inbox.lock().is_some()
    }
}

impl PayerService {
    /// A service for `[payer.<instance>]`. Reads secrets, contacts nobody.
    pub fn new(instance: &str, config: PayerConfig, endpoints: Endpoints, store: Store) -> Result<Self, PayerError> {
        let target = config.target.as_ref().map(|target| targets::build(target, config.limits)).transpose()?;
        Ok(Self::with_target(instance, config, endpoints, store, target))
    }

    /// The same with a target of the caller's own: for the demonstration and for tests.
    pub fn with_target(
        instance: &str,
        config: PayerConfig,
        endpoints: Endpoints,
        store: Store,
        target: Option<Arc<dyn Target>>,
    ) -> Self {
        let quorum = usize::try_from(config.quorum).unwrap_or(1).max(endpoints.quorum());
        let reader = Arc::new(ContractReader::new(endpoints, config.contract, quorum));
        let mut policy = config.policy();
        if target.is_some() {
            policy.can_stop = true;
            policy.can_resume = config.resume;
        }
        let shared = Arc::new(Shared {
            instance: instance.to_owned(),
            contract: config.contract,
            store: store.clone(),
            reader: Arc::clone(&reader),
            policy,
            deployed_at_block: config.deployed_at_block,
            state: RwLock::new(None),
            inbox: Mutex::new(None),
            news: watch::Sender::new(()),
        });
        metrics::describe();
        let (name, config) = (format!("payer.{instance}"), Arc::new(config));
        let account = Account::of(&name, &config, &store, &reader);
        Self { name, config, store, reader, target, account, shared }
    }

    /// The present state of the agreement.
    pub async fn agreement(&self) -> Result<Agreement, PayerError> {
        self.shared.state().await
    }

    async fn run_agent(&self, ctx: ServiceContext) -> Result<(), ServiceError> {
        let key = AgreementKey {
            name: self.shared.instance.clone(),
            chain_id: self.reader.endpoints().chain_id().await.map_err(PayerError::from)?,
            contract: self.config.contract,
        };
        if let Some(account) = &self.account {
            account.start(&ctx, &self.shared);
        }
        let agent = Agent::load(
            self.name.clone(),
            key,
            Arc::clone(&self.config),
            (self.store.clone(), Arc::clone(&self.reader)),
            self.target.clone(),
            Arc::clone(&self.shared),
            ctx,
        )
        .await?;
        agent.run().await
    }

    fn chain(&self, state: &Agreement) -> ChainHead {
        let now = self.store.clock().now();
        let head = state.seen.as_ref().map(|seen| seen.observation.block);
        let age_seconds = head.map(|head| u64::try_from(now.to_seconds().0).unwrap_or(0).saturating_sub(head.time_s));
        chain_head(self.reader.endpoints(), head.map(|head| head.number), age_seconds)
    }
}

/// One phrase for the dashboard.
pub(crate) fn state_phrase(state: &Agreement) -> String {
    let phase = state.phase.map_or("no observation yet", |phase| phase.as_str()).replace('_', " ");
    match (&state.unknown, state.failing_action()) {
        (Some(_), _) => format!("{phase}, cannot tell at the moment"),
        (None, Some(action)) => format!("{phase}, the {} action fails", action.kind),
        (None, None) => phase,
    }
}

/// Why the agreement is not being guarded as it should.
pub(crate) fn reasons(state: &Agreement) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(unknown) = &state.unknown {
        reasons.push(format!("cannot tell whether it is paid: {}; hint: {}", unknown.cause, unknown.cause.hint()));
    } else if state.seen.is_none() {
        reasons.push("no observation has been made yet".to_owned());
    }
    if let Some(action) = state.failing_action() {
        let detail = action.last_failure.as_deref().unwrap_or_default();
        reasons.push(format!("{} failed ({} attempts): {detail}", action.kind, action.attempt));
    }
    reasons
}

fn summary(state: &Agreement, config: &PayerConfig, target: Option<&Arc<dyn Target>>) -> Vec<(String, String)> {
    let mut lines = vec![("contract".to_owned(), config.contract.to_string())];
    if let Some(seen) = &state.seen {
        let observation = &seen.observation;
        let until = state.paid_until_s().map_or_else(|| "for ever".to_owned(), text::time);
        lines.push(("paid until".to_owned(), until));
        lines.push(("total paid".to_owned(), observation.total_paid.to_string()));
        let deficit = observation.terms.deficit_at(observation.total_paid, observation.block.time_s);
        if let Some(deficit) = deficit.filter(|deficit| !deficit.is_zero()) {
            lines.push(("missing".to_owned(), deficit.to_string()));
        }
    }
    if let Some(plan) = &config.keep_paid {
        let (keep, below) = (text::span(plan.keep.as_secs()), text::span(plan.below.as_secs()));
        let dry = if config.dry_run { " (dry run)" } else { "" };
        lines.push(("keeps paid".to_owned(), format!("for {keep} when less than {below} is left{dry}")));
    }
    let guarded = target.map_or_else(|| "nothing; the agreement is only reported".to_owned(), |target| target.describe());
    lines.push(("guards".to_owned(), if config.dry_run { format!("{guarded} (dry run)") } else { guarded }));
    lines
}

#[async_trait]
impl Service for PayerService {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "payer"
    }

    fn migrations(&self) -> Vec<&'static Migrations> {
        crate::migrations()
    }

    fn router(&self) -> Option<Router> {
        Some(api::router(Arc::clone(&self.shared)))
    }

    fn health_router(&self) -> Option<Router> {
        Some(api::health_router(Arc::clone(&self.shared)))
    }

    fn operations(&self) -> Vec<Operation> {
        api::operations(&self.shared.instance)
    }

    fn lease(&self) -> Option<LeaseRequest> {
        Some(LeaseRequest::new(self.name.clone()))
    }

    async fn status(&self) -> ServiceStatus {
        let mut status = ServiceStatus::new(self.name.clone(), "payer", "starting");
        match self.shared.state().await {
            Ok(state) => {
                status.state = state_phrase(&state);
                status.ready = Readiness::from_reasons(reasons(&state));
                status.summary = summary(&state, &self.config, self.target.as_ref());
                status.summary.push(("answer".to_owned(), health_word(state.health()).to_owned()));
                status.chains = vec![self.chain(&state)];
            }
            Err(error) => status.ready.push(error.to_string()),
        }
        if let Some(account) = &self.account {
            if let Some(problem) = account.problem() {
                status.ready.push(format!("the account cannot send transactions: {problem}"));
            }
            match account.view().await {
                Ok(view) => status.outboxes.extend(view),
                Err(error) => status.ready.push(error.to_string()),
            }
        }
        status
    }

    async fn run(self: Arc<Self>, ctx: ServiceContext) -> Result<(), ServiceError> {
        let ended = self.run_agent(ctx).await;
        self.shared.close();
        if let Some(account) = &self.account {
            account.close();
        }
        ended
    }
}

/// The word of a health answer.
pub(crate) fn health_word(health: Health) -> &'static str {
    match health {
        Health::Paid => "paid",
        Health::Unpaid => "unpaid",
        Health::Unknown => "unknown",
    }
}
