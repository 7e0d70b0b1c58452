//! What the whole node is doing now: asked of all services, kept for a moment, shown by health, API and dashboard.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use crate::alerts::{ActiveAlert, Alerts};
use crate::events::{EventFilter, EventLog, StoredEvent};
use crate::leading::Role;
use crate::metrics;
use crate::service::{Readiness, Service, ServiceStatus};
use crate::supervisor::{Registry, TaskView};

/// How long a service may take to say what it does.
const STATUS_LIMIT: Duration = Duration::from_secs(1);
/// How long an answer is good for the next who asks.
const FRESH: Duration = Duration::from_millis(500);
/// Events on the dashboard.
const LATEST_EVENTS: u32 = 50;

/// A service within the node.
pub(crate) struct Slot {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) role: Arc<Mutex<Role>>,
}

/// A service as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceView {
    /// What it says itself, with what its tasks and its lease add to readiness.
    #[serde(flatten)]
    pub status: ServiceStatus,
    /// Its tasks.
    pub tasks: Vec<TaskView>,
    /// `active`, or `standby` while another node holds its lease.
    pub role: &'static str,
}

/// What the whole node is doing.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Name of the node.
    pub node: String,
    /// Version of the program.
    pub version: String,
    /// When it was asked, in Unix milliseconds.
    pub at_ms: i64,
    /// Time since the start.
    pub uptime_seconds: u64,
    /// Whether all services are ready.
    pub ready: bool,
    /// Why the node itself is not ready, whatever its services say.
    pub reasons: Vec<String>,
    /// The services, in the order in which they were added.
    pub services: Vec<ServiceView>,
    /// What is raised and not resolved.
    pub alerts: Vec<ActiveAlert>,
    /// The latest events, newest first.
    pub events: Vec<StoredEvent>,
    /// Tasks of the node itself.
    pub tasks: Vec<TaskView>,
}

/// Asks and keeps.
pub(crate) struct Board {
    pub(crate) node: String,
    pub(crate) version: String,
    pub(crate) slots: Vec<Slot>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) alerts: Alerts,
    pub(crate) events: EventLog,
    pub(crate) clock: Arc<dyn windlass_store::Clock>,
    pub(crate) started: Instant,
    pub(crate) stopping: AtomicBool,
    pub(crate) kept: tokio::sync::Mutex<Option<(Instant, Arc<Snapshot>)>>,
}

impl Board {
    /// The present state, at most half a second old.
    pub(crate) async fn snapshot(&self) -> Arc<Snapshot> {
        // Held while asking: whoever comes meanwhile waits for the same answer.
        let mut kept = self.kept.lock().await;
        if let Some((at, snapshot)) = &*kept
            && at.elapsed() < FRESH
        {
            return snapshot.clone();
        }
        let fresh = Arc::new(self.ask().await);
        *kept = Some((Instant::now(), fresh.clone()));
        fresh
    }

    async fn ask(&self) -> Snapshot {
        let tasks = self.registry.list();
        let asked = self.slots.iter().map(|slot| self.ask_one(slot, &tasks));
        let services = futures::future::join_all(asked).await;
        let mut reasons = Vec::new();
        if self.stopping.load(Ordering::Relaxed) {
            reasons.push("the node is stopping".to_owned());
        }
        let filter = EventFilter { limit: LATEST_EVENTS, ..EventFilter::default() };
        let events = match tokio::time::timeout(STATUS_LIMIT, self.events.page(&filter)).await {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => {
                reasons.push(format!("the store does not answer: {error}"));
                Vec::new()
            }
            Err(_) => {
                reasons.push("the store does not answer within a second".to_owned());
                Vec::new()
            }
        };
        reasons.extend(self.registry.reasons(crate::node::OWN_TASKS));
        for view in &services {
            metrics::service_ready(&view.status.name, view.status.ready.is_ready());
        }
        Snapshot {
            node: self.node.clone(),
            version: self.version.clone(),
            at_ms: self.clock.now().0,
            uptime_seconds: self.started.elapsed().as_secs(),
            ready: reasons.is_empty() && services.iter().all(|view| view.status.ready.is_ready()),
            reasons,
            services,
            alerts: self.alerts.active(),
            events,
            tasks: tasks.into_iter().filter(|task| task.service == crate::node::OWN_TASKS).collect(),
        }
    }

    async fn ask_one(&self, slot: &Slot, tasks: &[TaskView]) -> ServiceView {
        let name = slot.service.name();
        let role = *slot.role.lock();
        let asked = AssertUnwindSafe(slot.service.status()).catch_unwind();
        let mut status = match tokio::time::timeout(STATUS_LIMIT, asked).await {
            Ok(Ok(status)) => status,
            Ok(Err(_)) => unknown("panicked when it was asked for its state"),
            Err(_) => unknown("did not say within a second what it does"),
        };
        name.clone_into(&mut status.name);
        slot.service.kind().clone_into(&mut status.kind);
        if role == Role::Standby {
            // Another node does the work; this one is ready to. What its idle parts say of themselves does not matter.
            status.state = "standby".to_owned();
            status.ready = Readiness::Ready;
        }
        for reason in self.registry.reasons(name) {
            status.ready.push(reason);
        }
        let role = if role == Role::Standby { "standby" } else { "active" };
        ServiceView { status, tasks: tasks.iter().filter(|task| task.service == name).cloned().collect(), role }
    }
}

fn unknown(why: &str) -> ServiceStatus {
    let mut status = ServiceStatus::new("", "", "unknown");
    status.ready.push(format!("the service {why}"));
    status
}
