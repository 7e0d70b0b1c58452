//! What a service is to the node.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::http::Method;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use windlass_store::{Fence, Migrations};

use crate::alerts::Alerts;
use crate::events::EventLog;
use crate::openapi::Operation;
use crate::supervisor::{RestartPolicy, TaskSpawner};

/// A service: one instance of one kind of work, for example the payer `gnosis`.
///
/// The node applies its [`migrations`](Self::migrations), mounts its routers, asks for its [`status`](Self::status), and keeps
/// [`run`](Self::run) running: a failure or a panic is reported and followed by a new call, with growing pauses.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Unique name, `<kind>.<instance>`: `payer.gnosis`.
    fn name(&self) -> &str;

    /// Kind of the service: `payer`.
    fn kind(&self) -> &'static str;

    /// The part of the name after the kind: `gnosis`. The whole name if it does not begin with the kind.
    fn instance(&self) -> &str {
        let name = self.name();
        name.strip_prefix(self.kind()).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name)
    }

    /// The tables it needs.
    fn migrations(&self) -> Vec<&'static Migrations> {
        Vec::new()
    }

    /// Its routes, mounted under `/v1/<kind>/<instance>`. Behind tokens, limits and the error shape of the node.
    fn router(&self) -> Option<Router> {
        None
    }

    /// Routes mounted under `/health`, for doors that a health check knocks at: open to everybody, as `/health/ready` is.
    fn health_router(&self) -> Option<Router> {
        None
    }

    /// Routes mounted at the root, for interfaces that existing clients call by a path of their own. Behind tokens.
    fn root_router(&self) -> Option<Router> {
        None
    }

    /// What is different about some of the routes of [`root_router`](Self::root_router). A rule holds for exactly its method and
    /// path; everything it does not say is as for every route.
    fn route_rules(&self) -> Vec<RouteRule> {
        Vec::new()
    }

    /// Descriptions of all these routes for `/openapi.json`. Paths are relative to `/v1/<kind>/<instance>` unless marked
    /// [`at_root`](Operation::at_root).
    fn operations(&self) -> Vec<Operation> {
        Vec::new()
    }

    /// The lease under which it runs, if of several nodes on one database exactly one may act.
    fn lease(&self) -> Option<LeaseRequest> {
        None
    }

    /// When `run` is called again after it ended.
    fn restart(&self) -> RestartPolicy {
        RestartPolicy::on_failure()
    }

    /// What it is doing now. Must answer within a second: from memory or with one read of the store.
    async fn status(&self) -> ServiceStatus;

    /// Does the work until `ctx.shutdown` is cancelled. `Ok` before that means that the work is done for good.
    async fn run(self: Arc<Self>, ctx: ServiceContext) -> Result<(), ServiceError>;
}

/// What is different about one route at the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// Method.
    pub method: Method,
    /// Path, without parameters: `/`.
    pub path: String,
    /// The service itself decides who may call it, for example by tokens of another issuer. The tokens of the node are not looked
    /// at then, and the service must refuse everybody whom it does not know.
    pub own_access: bool,
    /// How long a request may take, in place of `http.request_timeout`.
    pub timeout: Option<Duration>,
}

impl RouteRule {
    /// A rule that changes nothing yet.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), own_access: false, timeout: None }
    }

    /// The service itself decides who may call it.
    #[must_use]
    pub const fn own_access(mut self) -> Self {
        self.own_access = true;
        self
    }

    /// How long a request may take.
    #[must_use]
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }
}

/// A lease that a service wants to hold while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Name of the lease in the store; usually the name of the service.
    pub name: String,
    /// How long the lease is valid without a renewal: the longest time nobody acts after the holder died.
    pub ttl: Duration,
}

impl LeaseRequest {
    /// A lease of six seconds: another node takes over within ten.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ttl: Duration::from_secs(6) }
    }
}

/// What a service is given to run with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServiceContext {
    /// Cancelled when the service must stop: the node stops, or the lease was lost.
    pub shutdown: CancellationToken,
    /// Starts tasks that belong to the service. They end with `shutdown`.
    pub tasks: TaskSpawner,
    /// Raises and resolves alerts.
    pub alerts: Alerts,
    /// Notes what was done, for the dashboard and the API.
    pub events: EventLog,
    /// The fence of the held lease, for [`Store::write_fenced`](windlass_store::Store::write_fenced).
    pub fence: Option<Fence>,
}

impl ServiceContext {
    /// A context that belongs to no node: for tests and for commands that run a service once. Alerts go nowhere, events are only
    /// broadcast.
    pub fn detached(service: &str) -> Self {
        let shutdown = CancellationToken::new();
        Self {
            tasks: TaskSpawner::detached(service, shutdown.clone()),
            shutdown,
            alerts: Alerts::detached(),
            events: EventLog::detached(),
            fence: None,
        }
    }
}

/// What a service is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ServiceStatus {
    /// Name, as [`Service::name`].
    pub name: String,
    /// Kind, as [`Service::kind`].
    pub kind: String,
    /// One word or short phrase of the service's own: `paid`, `unpaid, stopped`.
    pub state: String,
    /// Whether it is useful now.
    pub ready: Readiness,
    /// What an operator wants to see first, as label and text.
    pub summary: Vec<(String, String)>,
    /// The chains it follows.
    pub chains: Vec<ChainHead>,
    /// Its senders of transactions.
    pub outboxes: Vec<OutboxView>,
    /// Quantities that are compared with each other, such as tasks per state.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bars: Vec<BarsView>,
    /// Lists that an operator works through, such as tasks that are held. A few rows: the page shows all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableView>,
    /// Its latest events, newest first. Empty if it has none of its own: the node adds those of the event log.
    pub events: Vec<EventView>,
}

impl ServiceStatus {
    /// A status with the given state, ready, and nothing else.
    pub fn new(name: impl Into<String>, kind: impl Into<String>, state: impl Into<String>) -> Self {
        Self { name: name.into(), kind: kind.into(), state: state.into(), ..Self::default() }
    }
}

/// Whether a service is useful now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "status", content = "reasons", rename_all = "snake_case")]
pub enum Readiness {
    /// It does its work on fresh data.
    #[default]
    Ready,
    /// It does not, for these reasons, each a sentence for an operator.
    NotReady(Vec<String>),
}

impl Readiness {
    /// Ready if there are no reasons.
    pub fn from_reasons(reasons: Vec<String>) -> Self {
        if reasons.is_empty() { Self::Ready } else { Self::NotReady(reasons) }
    }

    /// Whether it is [`Ready`](Self::Ready).
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }

    /// Why not; empty when ready.
    pub fn reasons(&self) -> &[String] {
        match self {
            Self::Ready => &[],
            Self::NotReady(reasons) => reasons,
        }
    }

    /// Not ready for this reason as well.
    pub fn push(&mut self, reason: impl Into<String>) {
        match self {
            Self::Ready => *self = Self::NotReady(vec![reason.into()]),
            Self::NotReady(reasons) => reasons.push(reason.into()),
        }
    }
}

/// The head of a chain as a service sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ChainHead {
    /// Name of the chain.
    pub chain: String,
    /// Number of the latest block, `None` before the first answer.
    pub number: Option<u64>,
    /// Age of that block by this machine's clock.
    pub age_seconds: Option<u64>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointView>,
}

/// One endpoint of a chain.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EndpointView {
    /// Host only.
    pub host: String,
    /// Whether it is used.
    pub healthy: bool,
    /// Its own latest block.
    pub head: Option<u64>,
    /// Typical time of an answer.
    pub latency_ms: Option<u64>,
    /// Why it is not used, or its latest error.
    pub note: Option<String>,
}

/// One sender of transactions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OutboxView {
    /// Name of the chain.
    pub chain: String,
    /// Address of the account.
    pub account: String,
    /// Number of transactions per state, in the order of their life.
    pub counts: Vec<(String, u64)>,
    /// Why nothing is sent, if so: `no funds`, `the fee is over its limit`.
    pub held: Option<String>,
    /// Age of the oldest transaction that is not final.
    pub oldest_age_seconds: Option<u64>,
}

/// Quantities of one kind, drawn as bars of which the longest fills the width.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BarsView {
    /// What is shown: `Tasks by state`.
    pub title: String,
    /// Label and quantity, in the order in which they are shown.
    pub bars: Vec<(String, u64)>,
}

impl BarsView {
    /// These quantities under this title.
    pub fn new<L: Into<String>>(title: impl Into<String>, bars: impl IntoIterator<Item = (L, u64)>) -> Self {
        Self { title: title.into(), bars: bars.into_iter().map(|(label, value)| (label.into(), value)).collect() }
    }
}

/// A small table. The first cell of a row names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableView {
    /// What is shown: `Held tasks`.
    pub title: String,
    /// The columns.
    pub columns: Vec<ColumnView>,
    /// The rows, each with one text per column.
    pub rows: Vec<Vec<String>>,
    /// A sentence below the rows, such as how many more there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl TableView {
    /// A table without rows.
    pub fn new(title: impl Into<String>, columns: impl IntoIterator<Item = ColumnView>) -> Self {
        Self { title: title.into(), columns: columns.into_iter().collect(), rows: Vec::new(), note: None }
    }

    /// With one row more.
    #[must_use]
    pub fn row<T: Into<String>>(mut self, cells: impl IntoIterator<Item = T>) -> Self {
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }
}

/// A column of a [`TableView`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ColumnView {
    /// Its heading.
    pub title: String,
    /// Whether its cells are numbers, which stand one below the other by their last digit.
    pub number: bool,
}

impl ColumnView {
    /// A column of texts.
    pub fn text(title: impl Into<String>) -> Self {
        Self { title: title.into(), number: false }
    }

    /// A column of numbers.
    pub fn number(title: impl Into<String>) -> Self {
        Self { title: title.into(), number: true }
    }
}

/// One event as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EventView {
    /// Time in Unix milliseconds.
    pub at_ms: i64,
    /// The service.
    pub service: String,
    /// Kind of the event: `unpaid`, `transaction_final`.
    pub kind: String,
    /// One sentence.
    pub message: String,
    /// How much it matters.
    pub level: String,
}

/// Why a service ended. Made from any error with `?`, or from a sentence with [`msg`](Self::msg).
pub struct ServiceError {
    source: Box<dyn StdError + Send + Sync>,
    hint: Option<String>,
    permanent: bool,
}

impl ServiceError {
    /// From a sentence.
    pub fn msg(sentence: impl Into<String>) -> Self {
        Self { source: sentence.into().into(), hint: None, permanent: false }
    }

    /// What the operator can do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Trying again cannot help: the service stays down until the node is started anew.
    #[must_use]
    pub const fn permanent(mut self) -> Self {
        self.permanent = true;
        self
    }

    /// Whether trying again can help.
    pub const fn is_transient(&self) -> bool {
        !self.permanent
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The cause.
    pub fn source(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.source
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for ServiceError {
    fn from(error: E) -> Self {
        Self { source: error.into(), hint: None, permanent: false }
    }
}

impl fmt::Display for ServiceError {
    /// The error and its causes, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        let mut shown = self.source.to_string();
        let mut cause = self.source.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Many errors repeat their cause in their own text.
            if !shown.contains(&text) {
                write!(f, ": {text}")?;
            }
            shown = text;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
