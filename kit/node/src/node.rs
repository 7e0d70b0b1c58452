//! One program from many services: start in order, run, stop in order.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use parking_lot::Mutex;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use windlass_store::Store;

use crate::alerts::{Alert, Alerts, Channel, Severity, Worker};
use crate::board::{Board, Slot};
use crate::config::{AlertSection, Config, HttpSection, NodeSection, SecretText};
use crate::error::NodeError;
use crate::events::EventLog;
use crate::http::{self, Access};
use crate::leading::{Role, Runner};
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::migrations::MIGRATIONS;
use crate::openapi::{Group, document};
use crate::service::{RouteRule, Service, ServiceError};
use crate::supervisor::{Backoff, Registry, RestartPolicy, TaskSpawner};

/// Under this name the tasks of the node itself are listed.
pub(crate) const OWN_TASKS: &str = "node";
/// How often the node looks at its own state.
const WATCH: Duration = Duration::from_secs(5);
/// The page of the book about a service that is not ready.
const NOT_READY_RUNBOOK: &str = "operations/runbook.html#service-not-ready";

/// Turns `env:NAME`, `file:path` and `command:...` into the secret. `windlass-keys` has the real one.
#[async_trait]
pub trait SecretResolver: Send + Sync + 'static {
    /// The secret itself.
    ///
    /// # Errors
    /// What is wrong, without the secret.
    async fn resolve(&self, secret: &SecretText) -> Result<SecretText, String>;
}

/// A function that needs no waiting is a resolver.
#[async_trait]
impl<F> SecretResolver for F
where
    F: Fn(&SecretText) -> Result<SecretText, String> + Send + Sync + 'static,
{
    async fn resolve(&self, secret: &SecretText) -> Result<SecretText, String> {
        self(secret)
    }
}

/// Resolves nothing: for tests and embedded nodes whose secrets stand in their settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainSecrets;

#[async_trait]
impl SecretResolver for PlainSecrets {
    async fn resolve(&self, secret: &SecretText) -> Result<SecretText, String> {
        if secret.is_pointer() { Err("this program cannot look it up".to_owned()) } else { Ok(secret.clone()) }
    }
}

/// What a node needs to know beside its store and services.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `[node]`.
    pub node: NodeSection,
    /// `[http]`.
    pub http: HttpSection,
    /// `[alerts.<name>]`.
    pub alerts: Vec<(String, AlertSection)>,
    /// Version of the program, for the dashboard and the API.
    pub version: String,
}

impl Settings {
    /// The settings of a configuration.
    pub fn from_config(config: &Config) -> Self {
        Self {
            node: config.node(),
            http: config.http(),
            alerts: config.instances::<AlertSection>().map(|(name, section)| (name.to_owned(), section.clone())).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// A node that is being put together.
pub struct NodeBuilder {
    settings: Settings,
    store: Store,
    resolver: Arc<dyn SecretResolver>,
    services: Vec<Arc<dyn Service>>,
    alerts: Alerts,
    events: EventLog,
    name: String,
}

impl std::fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeBuilder").field("name", &self.name).field("services", &self.services.len()).finish_non_exhaustive()
    }
}

impl NodeBuilder {
    /// Opens the store that the configuration names, and makes the data folder if that is not there.
    ///
    /// # Errors
    /// The folder cannot be made, the store's URL cannot be resolved, the store cannot be opened or brought up to date.
    pub async fn open(config: &Config, resolver: Arc<dyn SecretResolver>) -> Result<Self, NodeError> {
        let settings = Settings::from_config(config);
        let folder = &settings.node.data_dir;
        std::fs::create_dir_all(folder).map_err(|source| NodeError::DataFolder { path: folder.display().to_string(), source })?;
        let url = resolve(&*resolver, "store.url", &config.store().url_or_default(&settings.node)).await?;
        Logs::current().redactor().add(config.secrets());
        for warning in config.warnings() {
            tracing::warn!("configuration: {warning}");
        }
        // Before the store, which has metrics too.
        Metrics::install()?;
        let store = Store::open(url.expose()).await.map_err(|source| NodeError::Store { doing: "it was opened", source })?;
        Self::with_store(settings, store, resolver).await
    }

    /// Begins with a store that is open already.
    ///
    /// # Errors
    /// The node's tables cannot be made.
    pub async fn with_store(settings: Settings, store: Store, resolver: Arc<dyn SecretResolver>) -> Result<Self, NodeError> {
        store
            .migrate(&MIGRATIONS)
            .await
            .map_err(|source| NodeError::Store { doing: "the tables of the node were made", source })?;
        let name = settings.node.name.clone().unwrap_or_else(own_name);
        let (alerts, events) = (Alerts::new(store.clock()), EventLog::new(store.clone()));
        Ok(Self { settings, store, resolver, services: Vec::new(), alerts, events, name })
    }

    /// The store, for building services.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The alerts, for building services.
    pub fn alerts(&self) -> &Alerts {
        &self.alerts
    }

    /// The event log, for building services.
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// Name of this node: holder of its leases.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a service.
    #[must_use]
    pub fn service(mut self, service: Arc<dyn Service>) -> Self {
        self.services.push(service);
        self
    }

    /// Makes the tables of the services, resolves secrets, and listens (without answering yet).
    ///
    /// # Errors
    /// Anything that would keep the node from doing its work.
    pub async fn build(self) -> Result<Node, NodeError> {
        let mut names = BTreeSet::new();
        for service in &self.services {
            if !names.insert(service.name().to_owned()) {
                return Err(NodeError::DuplicateService { name: service.name().to_owned() });
            }
            for set in service.migrations() {
                let doing = "the tables of a service were made";
                self.store.migrate(set).await.map_err(|source| NodeError::Store { doing, source })?;
            }
        }
        let metrics = Metrics::install()?;
        let access = self.access().await?;
        let told = self
            .alerts
            .load(&self.store, &names.into_iter().chain([OWN_TASKS.to_owned()]).collect::<Vec<_>>())
            .await
            .map_err(|source| NodeError::Store { doing: "the active alerts were read", source })?;
        let mut workers = Vec::new();
        for (name, section) in &self.settings.alerts {
            let channel = self.channel(name, section).await?;
            workers.push((name.clone(), Worker::new(channel, self.alerts.add_channel(name), &told)));
        }
        let listener = match self.settings.http.enabled {
            true => Some(self.listen(&access)?),
            false => None,
        };
        let board = Arc::new(Board {
            node: self.name.clone(),
            version: self.settings.version.clone(),
            slots: self
                .services
                .iter()
                .map(|service| Slot { service: service.clone(), role: Arc::new(Mutex::new(initial_role(&**service))) })
                .collect(),
            registry: Arc::new(Registry::default()),
            alerts: self.alerts.clone(),
            events: self.events.clone(),
            clock: self.store.clock(),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            kept: tokio::sync::Mutex::new(None),
        });
        let shutdown = CancellationToken::new();
        let router = self.router(&board, metrics, &access, &shutdown)?;
        Ok(Node { settings: self.settings, store: self.store, board, workers, listener, router, shutdown })
    }

    async fn access(&self) -> Result<Arc<Access>, NodeError> {
        let mut tokens = Vec::new();
        for (index, token) in self.settings.http.tokens.iter().enumerate() {
            let token = resolve(&*self.resolver, &format!("http.tokens[{index}]"), token).await?;
            if token.expose().trim().is_empty() {
                // An empty token would let everybody in who sends an empty one.
                return Err(NodeError::Secret { key: format!("http.tokens[{index}]"), problem: "it is empty".to_owned() });
            }
            tokens.push(token);
        }
        Ok(Arc::new(Access::new(&self.settings.http, &tokens, self.route_rules()?)))
    }

    /// The rules of the services for their routes. None may speak of a route of the node.
    fn route_rules(&self) -> Result<Vec<RouteRule>, NodeError> {
        let own: Vec<(&str, String)> = http::operations().iter().map(|operation| operation.route("")).collect();
        let mut rules = Vec::new();
        for service in &self.services {
            for rule in service.route_rules() {
                let method = rule.method.as_str().to_ascii_lowercase();
                let reserved = ["/health", "/v1", "/assets", "/login"]
                    .iter()
                    .any(|first| rule.path.strip_prefix(first).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
                if reserved || own.iter().any(|(known, path)| *known == method && *path == rule.path) {
                    return Err(NodeError::RouteConflict { service: service.name().to_owned() });
                }
                rules.push(rule);
            }
        }
        Ok(rules)
    }

    fn listen(&self, access: &Access) -> Result<std::net::TcpListener, NodeError> {
        let address = self.settings.http.listen;
        // The configuration says the same; this is the second place, because an open interface costs money.
        if !address.ip().is_loopback() && !access.needs_token() {
            return Err(NodeError::OpenInterface { address });
        }
        let listen = || {
            let listener = std::net::TcpListener::bind(address)?;
            // As the runtime wants it.
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        listen().map_err(|source| NodeError::Listen { address, source })
    }

    async fn channel(&self, name: &str, section: &AlertSection) -> Result<Channel, NodeError> {
        let key = |key: &str| format!("alerts.{name}.{key}");
        let mut secrets = [None, None];
        for (place, (field, given)) in secrets.iter_mut().zip([("url", &section.url), ("token", &section.token)]) {
            if let Some(given) = given {
                *place = Some(resolve(&*self.resolver, &key(field), given).await?);
            }
        }
        let [url, token] = secrets;
        // The HTTP client is built for the ring provider, which it finds as the default of the process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(NodeError::Client)?;
        let runbook = self.settings.node.runbook_url.clone();
        Channel::new(name, section, url, token, &self.name, runbook, client)
            .map_err(|problem| NodeError::Secret { key: key("url"), problem })
    }

    fn router(
        &self,
        board: &Arc<Board>,
        metrics: Metrics,
        access: &Arc<Access>,
        shutdown: &CancellationToken,
    ) -> Result<Router, NodeError> {
        let mut groups = vec![Group { tag: "node".to_owned(), prefix: String::new(), operations: http::operations() }];
        for service in &self.services {
            let prefix = prefix_of(&**service);
            groups.push(Group { tag: service.name().to_owned(), prefix, operations: service.operations() });
        }
        let openapi = Arc::new(document(&self.settings.version, &groups, access.needs_token()));
        let shared = http::Shared { board: board.clone(), metrics, logs: Logs::current(), openapi };
        let mut router = http::router(shared).merge(crate::dashboard::router(board.clone(), access.clone(), shutdown.clone()));
        for service in &self.services {
            let store = self.store.clone();
            // axum panics where two routes are the same, which two instances with a common path would be.
            let mounted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| mount(router, &**service, store)));
            router = mounted.map_err(|_| NodeError::RouteConflict { service: service.name().to_owned() })?;
        }
        Ok(http::apply(router, access.clone()))
    }
}

fn prefix_of(service: &dyn Service) -> String {
    format!("/v1/{}/{}", service.kind(), service.instance())
}

fn mount(mut router: Router, service: &dyn Service, store: Store) -> Router {
    let once = |inner: Router| http::idempotency::apply(inner, store.clone(), service.name());
    if let Some(inner) = service.router() {
        router = router.nest(&prefix_of(service), once(inner));
    }
    if let Some(inner) = service.health_router() {
        router = router.nest("/health", inner);
    }
    if let Some(inner) = service.root_router() {
        router = router.merge(once(inner));
    }
    router
}

fn initial_role(service: &dyn Service) -> Role {
    if service.lease().is_some() { Role::Standby } else { Role::Free }
}

async fn resolve(resolver: &dyn SecretResolver, key: &str, secret: &SecretText) -> Result<SecretText, NodeError> {
    let resolved = resolver.resolve(secret).await.map_err(|problem| NodeError::Secret { key: key.to_owned(), problem })?;
    Logs::current().redactor().add([resolved.clone()]);
    Ok(resolved)
}

/// A name that no other running process has.
fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "node",
        host => host,
    };
    // The number of a process in a container is the same in every container.
    format!("{host}-{}-{}", std::process::id(), hex::encode(rand::random::<[u8; 2]>()))
}

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In order.
    Stopped,
    /// At once, by a second signal.
    Forced,
}

/// A node that is ready to run.
pub struct Node {
    settings: Settings,
    store: Store,
    board: Arc<Board>,
    workers: Vec<(String, Worker)>,
    listener: Option<std::net::TcpListener>,
    router: Router,
    shutdown: CancellationToken,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("name", &self.board.node).finish_non_exhaustive()
    }
}

impl Node {
    /// The address it listens on: with the real port if 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Cancel it to stop the node in order.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// All routes with all checks, for tests that need no connection.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Runs until SIGTERM or SIGINT, or until [`shutdown_token`](Self::shutdown_token) is cancelled, and stops in order. A second
    /// signal ends everything at once; what is recorded is not lost by it.
    ///
    /// # Errors
    /// Signals cannot be listened for, or the stop took longer than `node.shutdown_timeout`.
    pub async fn run(self) -> Result<Outcome, NodeError> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(NodeError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(NodeError::Signals)?;
        let stop = self.shutdown.clone();
        let second = async move {
            for round in 0..2 {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if round == 0 {
                    tracing::info!(signal = name, "stopping; once more ends everything at once");
                    stop.cancel();
                }
            }
        };
        self.run_until(second).await
    }

    /// [`run`](Self::run) without signals: stops in order when [`shutdown_token`](Self::shutdown_token) is cancelled, at once when
    /// `force` is done.
    ///
    /// # Errors
    /// The stop took longer than `node.shutdown_timeout`.
    pub async fn run_until(self, force: impl Future<Output = ()>) -> Result<Outcome, NodeError> {
        let limit = self.settings.node.shutdown_timeout;
        let board = self.board.clone();
        let shutdown = self.shutdown.clone();
        let running = self.start(limit);
        notify(&[NotifyState::Ready]);
        tracing::info!(node = %board.node, version = %board.version, services = board.slots.len(), "node started");
        let outcome = {
            tokio::pin!(force);
            tokio::select! {
                () = shutdown.cancelled() => {
                    board.stopping.store(true, Ordering::Relaxed);
                    notify(&[NotifyState::Stopping]);
                    tokio::select! {
                        all = running.stop(limit) => Some(all),
                        () = &mut force => None,
                    }
                }
                () = &mut force => None,
            }
        };
        if outcome.is_none() {
            tracing::warn!("ended at once");
            return Ok(Outcome::Forced);
        }
        let tasks = board.registry.running("");
        if tasks.is_empty() {
            tracing::info!("node stopped");
            return Ok(Outcome::Stopped);
        }
        Err(NodeError::StopTimedOut { tasks, limit })
    }

    fn start(self, limit: Duration) -> Running {
        let registry = &self.board.registry;
        let spawner = |service: &str| TaskSpawner::new(service, registry.clone(), CancellationToken::new());
        let own = spawner(OWN_TASKS);
        let quick = RestartPolicy::Always(Backoff { max: Duration::from_secs(5), ..Backoff::default() });
        let (events, keep) = (self.board.events.clone(), self.settings.node.events_kept);
        own.spawn("events", quick, move |token| {
            let events = events.clone();
            async move { events.run(keep, token).await }
        });
        let (alerts, store) = (self.board.alerts.clone(), self.store.clone());
        own.spawn("alerts", quick, move |token| {
            let (alerts, store) = (alerts.clone(), store.clone());
            async move { alerts.keep(store, token).await }
        });
        for (name, worker) in self.workers {
            let worker = Arc::new(tokio::sync::Mutex::new(worker));
            own.spawn(format!("alerts.{name}"), quick, move |token| {
                let worker = worker.clone();
                async move {
                    worker.lock().await.run(token).await;
                    Ok::<(), ServiceError>(())
                }
            });
        }
        let (board, after) = (self.board.clone(), self.settings.node.not_ready_alert_after);
        own.spawn("watch", quick, move |token| watch(board.clone(), after, token));
        let services: Vec<TaskSpawner> = self
            .board
            .slots
            .iter()
            .map(|slot| {
                let tasks = spawner(slot.service.name());
                let runner = Runner {
                    service: slot.service.clone(),
                    role: slot.role.clone(),
                    store: self.store.clone(),
                    holder: self.board.node.clone(),
                    tasks: tasks.clone(),
                    alerts: self.board.alerts.clone(),
                    events: self.board.events.clone(),
                    stop_limit: limit,
                };
                tasks.spawn("run", slot.service.restart(), move |token| runner.clone().run(token));
                tasks
            })
            .collect();
        let server = spawner(OWN_TASKS);
        if let Some(listener) = self.listener {
            let router = self.router;
            let listener = Arc::new(listener);
            server.spawn("http", quick, move |token| serve(listener.clone(), router.clone(), token));
        }
        Running { own, server, services, store: self.store, _guard: AbortOnDrop(self.board.registry.clone()) }
    }
}

/// Answers requests until `token`; then finishes those that are under way. The socket outlives one run of the server.
async fn serve(listener: Arc<std::net::TcpListener>, router: Router, token: CancellationToken) -> Result<(), std::io::Error> {
    let listener = TcpListener::from_std(listener.try_clone()?)?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(token.cancelled_owned()).await
}

/// What runs.
struct Running {
    own: TaskSpawner,
    server: TaskSpawner,
    services: Vec<TaskSpawner>,
    store: Store,
    _guard: AbortOnDrop,
}

/// Ends what is left when the node ends for any reason, also when nobody waits for its end any more.
struct AbortOnDrop(Arc<Registry>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}

impl Running {
    /// Stops in order: first no new requests, then the services, then what serves them, then the store.
    async fn stop(self, limit: Duration) {
        let end = Instant::now() + limit;
        let left = |keep: Duration| end.saturating_duration_since(Instant::now()).saturating_sub(keep);
        // Clients get a quarter of the time, and the last alerts and events keep a tenth.
        self.server.stop(left(limit.mul_f64(0.75))).await;
        let services = self.services.iter().map(|service| service.stop(left(limit.mul_f64(0.1))));
        futures::future::join_all(services).await;
        self.own.stop(left(Duration::ZERO)).await;
        let _ = tokio::time::timeout(left(Duration::ZERO).max(Duration::from_millis(500)), self.store.close()).await;
    }
}

/// Looks at the state: tells systemd, and raises an alert when a service is not ready for long.
async fn watch(board: Arc<Board>, after: Duration, token: CancellationToken) -> Result<(), ServiceError> {
    let beat = sd_notify::watchdog_enabled().map_or(WATCH, |limit| WATCH.min(limit / 3)).max(Duration::from_millis(100));
    let mut ticks = tokio::time::interval(beat);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut unready_since: BTreeMap<String, Instant> = BTreeMap::new();
    let mut told: BTreeMap<String, bool> = BTreeMap::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = token.cancelled() => return Ok(()),
        }
        let snapshot = board.snapshot().await;
        let unready: Vec<&str> =
            snapshot.services.iter().filter(|view| !view.status.ready.is_ready()).map(|view| view.status.name.as_str()).collect();
        let text = match (snapshot.ready, unready.is_empty()) {
            (true, _) => "ready".to_owned(),
            (false, true) => snapshot.reasons.join("; "),
            (false, false) => format!("not ready: {}", unready.join(", ")),
        };
        notify(&[NotifyState::Status(&text), NotifyState::Watchdog]);
        for view in &snapshot.services {
            let status = &view.status;
            if status.ready.is_ready() {
                unready_since.remove(&status.name);
                if told.insert(status.name.clone(), true) != Some(true) {
                    tracing::info!(service = status.name, state = status.state, "ready");
                }
                board.alerts.resolve(&status.name, "not_ready");
                continue;
            }
            // Nothing is ready at the very first look; that is no news.
            let is_first = !told.contains_key(&status.name) && !unready_since.contains_key(&status.name);
            let since = unready_since.entry(status.name.clone()).or_insert_with(Instant::now);
            if !is_first && told.insert(status.name.clone(), false) != Some(false) {
                tracing::warn!(
                    service = status.name,
                    state = status.state,
                    reasons = status.ready.reasons().join("; "),
                    "not ready"
                );
            }
            if since.elapsed() >= after {
                let title = format!("not ready for more than {}", humantime::format_duration(after));
                let alert = Alert::new(&status.name, "not_ready", Severity::Warning, title, NOT_READY_RUNBOOK);
                board.alerts.raise(alert.detail(status.ready.reasons().join("\n")));
            }
        }
    }
}

/// Tells the service manager, if there is one.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
