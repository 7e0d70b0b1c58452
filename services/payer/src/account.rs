//! The account of an agreement in the node: its sender of transactions, and the payments that the node makes by itself.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::U256;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;
use windlass_account::outbox_view;
use windlass_node::alerts::{Alert, Severity};
use windlass_node::events::{Event as NodeEvent, Level};
use windlass_node::{OutboxView, RestartPolicy, ServiceContext, ServiceError};
use windlass_outbox::{Outbox, OutboxConfig};
use windlass_store::Store;

use crate::config::{AccountConfig, PayerConfig};
use crate::error::PayerError;
use crate::keep::{KeepPaid, Need, need};
use crate::payments::{self, PaymentReport, SendOptions};
use crate::ports::contract::ContractReader;
use crate::service::Shared;

/// Page of the book that says what to do about the alert of this module.
const RUNBOOK: &str = "operations/runbook.html#payer";
/// How long one payment may take before it is reported. What was recorded goes on, and the next attempt waits for it.
const PAYMENT_LIMIT: Duration = Duration::from_secs(600);

/// The account of one agreement.
pub(crate) struct Account {
    service: String,
    config: Arc<PayerConfig>,
    account: AccountConfig,
    store: Store,
    reader: Arc<ContractReader>,
    /// Open while the service runs here.
    outbox: RwLock<Option<Outbox>>,
    /// Why it could not be opened.
    problem: RwLock<Option<String>>,
}

impl Account {
    /// The account of the section, if it names one.
    pub(crate) fn of(service: &str, config: &Arc<PayerConfig>, store: &Store, reader: &Arc<ContractReader>) -> Option<Arc<Self>> {
        let account = config.account.clone()?;
        Some(Arc::new(Self {
            service: service.to_owned(),
            config: Arc::clone(config),
            account,
            store: store.clone(),
            reader: Arc::clone(reader),
            outbox: RwLock::new(None),
            problem: RwLock::new(None),
        }))
    }

    /// Starts the tasks of the account under `ctx`: a failure of theirs is shown and followed by a new start, and never stops
    /// the watching.
    pub(crate) fn start(self: &Arc<Self>, ctx: &ServiceContext, shared: &Arc<Shared>) {
        let account = Arc::clone(self);
        ctx.tasks.spawn("outbox", RestartPolicy::on_failure(), move |token| {
            let account = Arc::clone(&account);
            async move { account.send(token).await }
        });
        let Some(plan) = self.config.keep_paid else { return };
        let (account, shared, context) = (Arc::clone(self), Arc::clone(shared), ctx.clone());
        ctx.tasks.spawn("keep_paid", RestartPolicy::on_failure(), move |token| {
            let keeper = Keeper { account: Arc::clone(&account), shared: Arc::clone(&shared), ctx: context.clone(), plan };
            async move { keeper.run(token).await }
        });
    }

    /// The service does not run here any more.
    pub(crate) fn close(&self) {
        *self.outbox.write() = None;
        *self.problem.write() = None;
    }

    async fn open(&self) -> Result<Outbox, PayerError> {
        let signer = self.account.key.key_config().open().await?;
        let endpoints = self.reader.endpoints().clone();
        let settings = OutboxConfig::for_chain(endpoints.name());
        Ok(Outbox::open(self.store.clone(), endpoints, signer, settings).await?)
    }

    /// Opens the outbox and sends from it until `token`. Its lease decides between this sender and one of a command.
    async fn send(&self, token: CancellationToken) -> Result<(), ServiceError> {
        let outbox = match self.open().await {
            Ok(outbox) => outbox,
            Err(error) => {
                let hint = error.hint().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
                *self.problem.write() = Some(format!("{error}{hint}"));
                return Err(error.into());
            }
        };
        *self.problem.write() = None;
        *self.outbox.write() = Some(outbox.clone());
        let ended = outbox.run(token).await;
        if let Err(error) = &ended {
            *self.problem.write() = Some(error.to_string());
        }
        Ok(ended?)
    }

    /// Why no transactions can be sent.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.read().clone()
    }

    /// What the dashboard shows; `None` while it is not open here.
    pub(crate) async fn view(&self) -> Result<Option<OutboxView>, PayerError> {
        let outbox = self.outbox.read().clone();
        match outbox {
            Some(outbox) => Ok(Some(outbox_view(&outbox.summary().await?))),
            None => Ok(None),
        }
    }

    fn options(&self) -> SendOptions {
        SendOptions {
            dry_run: self.config.dry_run,
            max_fee_per_gas: u128::try_from(self.account.max_fee_per_gas.wei()).ok(),
            confirmations: self.account.confirmations,
            max_amount: self.config.keep_paid.and_then(|plan| plan.max_amount),
        }
    }
}

/// Keeps an agreement paid.
struct Keeper {
    account: Arc<Account>,
    shared: Arc<Shared>,
    ctx: ServiceContext,
    plan: KeepPaid,
}

impl Keeper {
    /// Looks after each observation. Ends with the first failure: the supervisor shows it and starts anew after a pause.
    async fn run(self, token: CancellationToken) -> Result<(), ServiceError> {
        let mut news = self.shared.news();
        // A dry run says once what it would pay at each sum.
        let mut said: Option<U256> = None;
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => return Ok(()),
                done = self.look(&mut said) => done?,
            }
            tokio::select! {
                biased;
                () = token.cancelled() => return Ok(()),
                changed = news.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    async fn look(&self, said: &mut Option<U256>) -> Result<(), PayerError> {
        let state = self.shared.state().await?;
        let until = match need(&self.plan, &state) {
            Need::CannotTell => return Ok(()),
            Need::Nothing => {
                self.ctx.alerts.resolve(&self.account.service, ALERT);
                return Ok(());
            }
            Need::Pay { until_s } => until_s,
        };
        let total_paid = state.seen.as_ref().map(|seen| seen.observation.total_paid);
        if self.account.config.dry_run && *said == total_paid {
            return Ok(());
        }
        // Not open yet: its own task says why, and the next observation comes soon.
        let Some(outbox) = self.account.outbox.read().clone() else { return Ok(()) };
        let (account, options) = (&self.account, self.account.options());
        let paying = payments::pay_in_turn(&account.store, &account.reader, &outbox, until, &options);
        let done = tokio::time::timeout(PAYMENT_LIMIT, paying).await.unwrap_or_else(|_| {
            let detail = format!("not done within {} s; it is recorded and goes on", PAYMENT_LIMIT.as_secs());
            Err(PayerError::Transaction { label: "the payment".into(), detail })
        });
        match done {
            Ok(report) => {
                *said = total_paid;
                self.tell(&report);
                Ok(())
            }
            Err(error) => {
                self.complain(&error);
                Err(error)
            }
        }
    }

    fn tell(&self, report: &PaymentReport) {
        let service = &self.account.service;
        self.ctx.alerts.resolve(service, ALERT);
        let (amount, until) = (report.quote.amount.0, crate::cli::text::time(report.quote.until));
        let (kind, text) = match (report.dry_run, report.quote.covered) {
            // Paid already when its turn came: by hand, or by an earlier run.
            (_, true) => return,
            (true, false) => {
                ("would_top_up", format!("dry run, nothing was paid: would pay {amount} token units, paid until {until}"))
            }
            (false, false) => ("topped_up", format!("paid {amount} token units: paid until {until}")),
        };
        tracing::info!(agreement = %self.shared.instance, contract = %self.shared.contract, "{text}");
        let event = NodeEvent::new(service.as_str(), kind, text).level(Level::Info);
        let event = event.field("contract", self.shared.contract).field("account", report.account);
        self.ctx.events.emit(event.field("transactions", report.transactions.join(" ")));
    }

    fn complain(&self, error: &PayerError) {
        let (service, name) = (&self.account.service, &self.shared.instance);
        let title = format!("{name} cannot be kept paid: {error}");
        let hint = error.hint().unwrap_or_default();
        let alert = Alert::new(service, "keep_paid_failed", Severity::Critical, title.as_str(), RUNBOOK).detail(hint);
        self.ctx.alerts.raise(alert);
        let event = NodeEvent::new(service.as_str(), "top_up_failed", title).level(Level::Error);
        self.ctx.events.emit(event.field("contract", self.shared.contract));
    }
}

/// Key of the alert: the node could not pay.
const ALERT: &str = "keep_paid_failed";
