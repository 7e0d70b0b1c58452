//! Tasks with a name, a restart policy, metrics and a place in readiness.
//!
//! Nothing in Windlass is spawned bare. A task belongs to a service (or to the node), is restarted after a failure or a panic with
//! growing pauses, and is listed with its state. All tasks of a spawner end with its token.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics as names;
use crate::service::ServiceError;

/// Pauses between restarts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Pause after the first failure.
    pub initial: Duration,
    /// Longest pause.
    pub max: Duration,
    /// A task that ran this long without failure starts again with the initial pause.
    pub reset_after: Duration,
    /// Share of the pause that is random, from 0.0 to 1.0, so that many tasks that failed together do not come back together.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(30),
            reset_after: Duration::from_secs(60),
            jitter: 0.2,
        }
    }
}

impl Backoff {
    /// The pause after this many failures in a row (from 1).
    pub fn pause(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let pause = self.initial.saturating_mul(1 << doublings).min(self.max);
        let jitter = self.jitter.clamp(0.0, 1.0);
        if jitter == 0.0 {
            return pause;
        }
        // Only ever shorter, so that `max` holds.
        pause.mul_f64(1.0 - jitter * rand::random::<f64>())
    }
}

/// What happens when a task ends before it is told to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RestartPolicy {
    /// Nothing: an end is an end, a failure stays visible in readiness.
    Never,
    /// Started again after a failure or a panic.
    OnFailure(Backoff),
    /// Started again after any end.
    Always(Backoff),
}

impl RestartPolicy {
    /// [`OnFailure`](Self::OnFailure) with the usual pauses.
    pub fn on_failure() -> Self {
        Self::OnFailure(Backoff::default())
    }

    /// [`Always`](Self::Always) with the usual pauses.
    pub fn always() -> Self {
        Self::Always(Backoff::default())
    }
}

/// State of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TaskState {
    /// It runs.
    Running,
    /// It failed and waits before it runs again.
    BackingOff {
        /// What it failed with.
        error: String,
        /// Failures in a row.
        failures: u32,
        /// Length of the whole pause.
        pause_ms: u64,
    },
    /// It ended well before it was told to.
    Finished,
    /// It failed for good.
    Failed {
        /// What it failed with.
        error: String,
    },
    /// It ended because it was told to.
    Stopped,
}

/// A task as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskView {
    /// The service it belongs to.
    pub service: String,
    /// Its name within the service.
    pub task: String,
    /// Its state.
    #[serde(flatten)]
    pub state: TaskState,
    /// How often it was started again.
    pub restarts: u64,
}

#[derive(Debug)]
struct Entry {
    service: String,
    task: String,
    state: TaskState,
    restarts: u64,
    abort: Option<AbortHandle>,
}

/// All tasks of a node.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: Mutex<BTreeMap<u64, Entry>>,
    next: Mutex<u64>,
    tracker: TaskTracker,
}

impl Registry {
    fn add(&self, service: &str, task: &str) -> u64 {
        let id = {
            let mut next = self.next.lock();
            *next += 1;
            *next
        };
        let entry =
            Entry { service: service.to_owned(), task: task.to_owned(), state: TaskState::Running, restarts: 0, abort: None };
        let mut entries = self.entries.lock();
        // A task that ended and is spawned anew under its name takes the old one's place, so that the list stays bounded.
        entries.retain(|_, old| {
            let over = !matches!(old.state, TaskState::Running | TaskState::BackingOff { .. });
            !(over && old.service == service && old.task == task)
        });
        entries.insert(id, entry);
        id
    }

    fn update(&self, id: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.lock().get_mut(&id) {
            change(entry);
        }
    }

    /// A well-behaved end needs no place in the list.
    fn remove(&self, id: u64) {
        self.entries.lock().remove(&id);
    }

    pub(crate) fn list(&self) -> Vec<TaskView> {
        let view = |entry: &Entry| TaskView {
            service: entry.service.clone(),
            task: entry.task.clone(),
            state: entry.state.clone(),
            restarts: entry.restarts,
        };
        self.entries.lock().values().map(view).collect()
    }

    /// Why the tasks of a service make it not ready.
    pub(crate) fn reasons(&self, service: &str) -> Vec<String> {
        let reason = |entry: &Entry| match &entry.state {
            TaskState::BackingOff { error, failures, pause_ms } => Some(format!(
                "task {} failed {failures} time{} in a row and is started again within {}: {error}",
                entry.task,
                if *failures == 1 { "" } else { "s" },
                pause_text(*pause_ms),
            )),
            TaskState::Failed { error } => Some(format!("task {} failed for good: {error}", entry.task)),
            TaskState::Running | TaskState::Finished | TaskState::Stopped => None,
        };
        self.entries.lock().values().filter(|entry| entry.service == service).filter_map(reason).collect()
    }

    /// Names of the tasks that still run.
    pub(crate) fn running(&self, but: &str) -> Vec<String> {
        let entries = self.entries.lock();
        let running = entries.values().filter(|e| matches!(e.state, TaskState::Running | TaskState::BackingOff { .. }));
        running.filter(|e| e.service != but).map(|e| format!("{}/{}", e.service, e.task)).collect()
    }

    pub(crate) fn abort_all(&self) {
        for entry in self.entries.lock().values() {
            if let Some(abort) = &entry.abort {
                abort.abort();
            }
        }
    }
}

/// Starts tasks that belong to one service.
#[derive(Clone, Debug)]
pub struct TaskSpawner {
    service: Arc<str>,
    registry: Arc<Registry>,
    /// Tasks of this spawner and its scopes, to be waited for.
    tracker: TaskTracker,
    token: CancellationToken,
}

impl TaskSpawner {
    pub(crate) fn new(service: &str, registry: Arc<Registry>, token: CancellationToken) -> Self {
        Self { service: service.into(), registry, tracker: TaskTracker::new(), token }
    }

    /// A spawner that belongs to no node.
    pub fn detached(service: &str, token: CancellationToken) -> Self {
        Self::new(service, Arc::new(Registry::default()), token)
    }

    /// The token with which all tasks of this spawner end.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// A spawner of the same service whose tasks end with their own token (a child of this one's) and can be waited for alone.
    #[must_use]
    pub fn scope(&self) -> Self {
        Self {
            service: self.service.clone(),
            registry: self.registry.clone(),
            tracker: TaskTracker::new(),
            token: self.token.child_token(),
        }
    }

    /// Starts a task. `make` is called for the first run and for each restart, with a token that tells when to end.
    /// The name should be unique within the service.
    pub fn spawn<F, Fut, E>(&self, name: impl Into<String>, policy: RestartPolicy, mut make: F) -> TaskHandle
    where
        F: FnMut(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<ServiceError> + Send + 'static,
    {
        let name = name.into();
        let token = self.token.child_token();
        let id = self.registry.add(&self.service, &name);
        let run = Run { id, name: name.clone(), service: self.service.clone(), registry: self.registry.clone() };
        let inner = token.clone();
        let work = async move { run.until_end(policy, &inner, &mut make).await };
        // Both trackers: the spawner's for whoever stops it, the registry's for the node as a whole.
        let handle = tokio::spawn(self.registry.tracker.track_future(self.tracker.track_future(work)));
        self.registry.update(id, |entry| entry.abort = Some(handle.abort_handle()));
        let abort = handle.abort_handle();
        TaskHandle { name, token, abort, handle: Some(handle) }
    }

    /// Starts a task that runs once: for work with an end. It does not see a token; it is ended at its next `await` when the
    /// spawner stops.
    pub fn spawn_once<Fut, E>(&self, name: impl Into<String>, future: Fut) -> TaskHandle
    where
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<ServiceError> + Send + 'static,
    {
        let mut future = Some(future);
        self.spawn(name, RestartPolicy::Never, move |token| {
            let future = future.take();
            async move {
                let Some(future) = future else { return Ok(()) };
                tokio::select! {
                    result = future => result.map_err(Into::into),
                    () = token.cancelled() => Ok::<(), ServiceError>(()),
                }
            }
        })
    }

    /// Tells all tasks of this spawner to end and waits until they have, at most `limit`. Returns whether all ended.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.token.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

/// A task that was started.
#[derive(Debug)]
pub struct TaskHandle {
    name: String,
    token: CancellationToken,
    abort: AbortHandle,
    handle: Option<tokio::task::JoinHandle<()>>,
}

impl TaskHandle {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells it to end.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// Ends it at its next `await`, whatever it does.
    pub fn abort(&self) {
        self.abort.abort();
    }

    /// Whether it has ended and will not start again.
    pub fn is_finished(&self) -> bool {
        self.abort.is_finished()
    }

    /// Waits until it has ended and will not start again.
    pub async fn wait(mut self) {
        if let Some(handle) = self.handle.take() {
            // A task's own failure is reported where it happens; the join error can only be an abort.
            let _ = handle.await;
        }
    }
}

/// One task through its runs.
struct Run {
    id: u64,
    name: String,
    service: Arc<str>,
    registry: Arc<Registry>,
}

impl Run {
    async fn until_end<F, Fut, E>(self, policy: RestartPolicy, token: &CancellationToken, make: &mut F)
    where
        F: FnMut(CancellationToken) -> Fut + Send,
        Fut: Future<Output = Result<(), E>> + Send,
        E: Into<ServiceError> + Send,
    {
        let mut failures: u32 = 0;
        loop {
            let started = Instant::now();
            let gauge = names::TaskRunning::enter(&self.service, &self.name);
            let child = token.child_token();
            // `make` itself may panic, so it is called inside.
            let outcome = AssertUnwindSafe(async { make(child).await }).catch_unwind().await;
            drop(gauge);
            let failure = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.into()),
                Err(panic) => {
                    names::task_panicked(&self.service, &self.name);
                    Some(ServiceError::msg(format!("panicked: {}", panic_message(&*panic))))
                }
            };
            if token.is_cancelled() {
                if let Some(error) = &failure {
                    tracing::warn!(service = %self.service, task = %self.name, error = error.to_string(), "task failed while it was stopped");
                }
                self.registry.remove(self.id);
                return;
            }
            let Some(backoff) = self.after(policy, failure.as_ref()) else { return };
            if started.elapsed() >= backoff.reset_after {
                failures = 0;
            }
            failures = failures.saturating_add(1);
            let pause = backoff.pause(failures);
            self.back_off(failure.as_ref(), failures, pause);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = token.cancelled() => {
                    self.registry.remove(self.id);
                    return;
                }
            }
            names::task_restarted(&self.service, &self.name);
            self.registry.update(self.id, |entry| {
                entry.state = TaskState::Running;
                entry.restarts += 1;
            });
        }
    }

    /// The pauses with which the task goes on, or `None` when it has ended (which is noted then).
    fn after(&self, policy: RestartPolicy, failure: Option<&ServiceError>) -> Option<Backoff> {
        let hint = failure.and_then(ServiceError::hint);
        let backoff = match (policy, failure) {
            (RestartPolicy::Always(backoff), None) => return Some(backoff),
            (RestartPolicy::Never | RestartPolicy::OnFailure(_), None) => {
                tracing::debug!(service = %self.service, task = %self.name, "task finished");
                self.registry.update(self.id, |entry| entry.state = TaskState::Finished);
                return None;
            }
            (RestartPolicy::OnFailure(backoff) | RestartPolicy::Always(backoff), Some(error)) if error.is_transient() => {
                Some(backoff)
            }
            _ => None,
        };
        let Some(error) = failure else { return backoff };
        names::task_failed(&self.service, &self.name);
        if backoff.is_none() {
            tracing::error!(service = %self.service, task = %self.name, error = error.to_string(), hint, "task failed for good");
            self.registry.update(self.id, |entry| entry.state = TaskState::Failed { error: error.to_string() });
        }
        backoff
    }

    fn back_off(&self, failure: Option<&ServiceError>, failures: u32, pause: Duration) {
        let Some(error) = failure else { return };
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let hint = error.hint();
        tracing::warn!(service = %self.service, task = %self.name, error = error.to_string(), hint, failures, pause_ms, "task failed, will be restarted");
        self.registry.update(self.id, |entry| {
            entry.state = TaskState::BackingOff { error: error.to_string(), failures, pause_ms };
        });
    }
}

/// A pause for people: whole seconds where it is longer than one.
fn pause_text(pause_ms: u64) -> String {
    let pause = if pause_ms > 1_000 { Duration::from_secs(pause_ms.div_ceil(1_000)) } else { Duration::from_millis(pause_ms) };
    humantime::format_duration(pause).to_string()
}

/// The text of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests;
