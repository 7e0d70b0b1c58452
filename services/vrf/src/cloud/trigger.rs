//! `POST /`: one cycle, as the former worker offered it to its queue.
//!
//! The relay works by itself, event by event. A call asks it to look now, waits until everything that can be done now was done, and
//! answers `200 Success` or `500 <NAME> Error running VRF Worker`. There is one cycle at a time: who calls while one is under way gets its
//! outcome. The cycle belongs to a task of the service, not to the request, so a caller that goes away changes nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use windlass_node::RouteRule;
use windlass_node::http::{ApiError, RawBody};
use windlass_node::openapi::Operation;
use windlass_store::{Fence, Store, StoreError, UnixMillis};

use super::identity::IdentityCheck;
use super::notify::Notifier;
use super::schedule::Schedule;
use super::state::{self, CloudState};
use super::tasks::TaskQueue;
use crate::config::TriggerConfig;

/// Callers that may wait for a cycle at the same time.
const MAX_WAITING: usize = 64;
/// What a call may take beside the cycle: waiting for the one before, and making the next task.
const BESIDE: Duration = Duration::from_secs(60);
/// How often the schedule is looked at, at most.
const LOOK: Duration = Duration::from_secs(30);

/// What one cycle did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CycleReport {
    /// Newest block of the client chain that was looked at.
    pub block: u64,
    /// Tasks that were found new.
    pub found: u64,
    /// Requests that were paid on BandChain.
    pub requested: u64,
    /// Values that were relayed.
    pub relayed: u64,
    /// Tasks that wait for something that takes its time.
    pub waiting: u64,
    /// Tasks that are held for a reason.
    pub held: u64,
}

/// The relay, as the trigger asks it.
#[async_trait]
pub trait Cycle: Send + Sync + 'static {
    /// Looks now, and returns when everything that can be done now was done. May be dropped at any time: what was begun goes on.
    ///
    /// # Errors
    /// In one sentence what kept the relay from doing its work.
    async fn run_once(&self) -> Result<CycleReport, String>;
}

/// Why the trigger cannot be built, or ended.
#[derive(Debug, thiserror::Error)]
pub enum TriggerError {
    /// Its queue.
    #[error(transparent)]
    Queue(#[from] super::QueueError),
    /// Its webhook.
    #[error(transparent)]
    Notify(#[from] super::NotifyError),
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be built: {0}")]
    Client(#[source] reqwest::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Waiting = oneshot::Sender<bool>;

/// How a cycle ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Success,
    Failure,
    /// The program stops.
    Stopped,
}

/// The trigger of one relay.
pub struct Trigger {
    instance: String,
    name: String,
    path: String,
    limit: Duration,
    notify_at: u32,
    identity: Option<IdentityCheck>,
    notifier: Option<Notifier>,
    queue: Option<TaskQueue>,
    cycle: Arc<dyn Cycle>,
    store: Store,
    calls: mpsc::Sender<Waiting>,
    inbox: Mutex<mpsc::Receiver<Waiting>>,
}

impl fmt::Debug for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trigger").field("instance", &self.instance).field("path", &self.path).finish_non_exhaustive()
    }
}

impl Trigger {
    /// The trigger that a configuration asks for. `instance` is the name of the service, `vrf.<name>`; `chain` that of the chain section,
    /// used in texts if the configuration has no other name.
    ///
    /// # Errors
    /// The webhook cannot be looked up, or a client not be built.
    pub fn new(
        config: &TriggerConfig,
        (instance, chain): (&str, &str),
        cycle: Arc<dyn Cycle>,
        store: Store,
    ) -> Result<Arc<Self>, TriggerError> {
        let (calls, inbox) = mpsc::channel(MAX_WAITING);
        let clock = store.clock();
        Ok(Arc::new(Self {
            instance: instance.to_owned(),
            name: config.name.clone().unwrap_or_else(|| chain.to_owned()),
            path: config.path.clone(),
            limit: config.cycle_limit,
            notify_at: config.notify_at,
            identity: IdentityCheck::new(config, Arc::clone(&clock)).map_err(TriggerError::Client)?,
            notifier: config.webhook.as_ref().map(Notifier::new).transpose()?,
            queue: config.queue.as_ref().map(|_| TaskQueue::new(config, clock)).transpose()?,
            cycle,
            store,
            calls,
            inbox: Mutex::new(inbox),
        }))
    }

    /// Its route, to be mounted at the root.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new().route(&self.path, post(call)).with_state(Arc::clone(self))
    }

    /// What is different about that route: it takes as long as a cycle, and judges its callers itself when an audience is configured.
    pub fn rules(&self) -> Vec<RouteRule> {
        let rule = RouteRule::new(Method::POST, &self.path).timeout(self.call_limit().saturating_add(BESIDE));
        vec![if self.identity.is_some() { rule.own_access() } else { rule }]
    }

    /// Its description.
    pub fn operations(&self) -> Vec<Operation> {
        let text = json!({"type": "string"});
        let operation = Operation::new("post", &self.path, "Works off everything that can be done now. Any body; needs an identity token of the cloud if an audience is configured.")
            .at_root()
            .answer_as(200, "Success", "text/plain", text.clone())
            .answer_as(500, "<NAME> Error running VRF Worker", "text/plain", text);
        vec![if self.identity.is_some() { operation.open() } else { operation }]
    }

    /// The text of a failed cycle. The angle brackets are part of it.
    pub fn failure_text(&self) -> String {
        format!("<{}> Error running VRF Worker", self.name)
    }

    /// How long a caller waits: for a cycle under way, and then for one of its own.
    fn call_limit(&self) -> Duration {
        self.limit.saturating_mul(2).saturating_add(BESIDE)
    }

    /// Carries out cycles until `shutdown`. To be run by one task of the service while the relay runs; with `fence`, only what the holder
    /// of the lease finds is kept.
    ///
    /// # Errors
    /// The database failed.
    pub async fn run(&self, fence: Option<Fence>, shutdown: CancellationToken) -> Result<(), TriggerError> {
        let mut inbox = self.inbox.lock().await;
        let mut state = state::load(&self.store, &self.instance).await?;
        let mut schedule = self.queue.as_ref().map(|queue| {
            let config = queue.config();
            Schedule::new(config.heal_after, config.delay, state.next_due, self.now())
        });
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                // The trigger itself holds a sender, so the channel never ends.
                call = inbox.recv() => {
                    let mut waiting: Vec<Waiting> = call.into_iter().collect();
                    if let Some(schedule) = schedule.as_mut() {
                        schedule.arrived(self.now());
                    }
                    let done = self.cycle(&state, &shutdown).await;
                    // Who came meanwhile has this outcome too. It may be the call that was waited for.
                    while let Ok(call) = inbox.try_recv() {
                        waiting.push(call);
                        if let Some(schedule) = schedule.as_mut() {
                            schedule.arrived(self.now());
                        }
                    }
                    let success = self.conclude(&mut state, schedule.as_mut(), done).await;
                    self.keep(state, fence.as_ref()).await?;
                    for call in waiting {
                        // A caller that went away needs no answer.
                        let _ = call.send(success);
                    }
                }
                () = tokio::time::sleep(self.pause(schedule.as_ref())) => {
                    if let Some(schedule) = schedule.as_mut() && schedule.is_lost(self.now()) {
                        self.heal(schedule).await;
                        state.next_due = schedule.outstanding();
                        self.keep(state, fence.as_ref()).await?;
                    }
                }
            }
        }
    }

    fn now(&self) -> UnixMillis {
        self.store.clock().now()
    }

    /// Until the schedule is to be looked at: not all at once, because the clock of the machine may be set.
    fn pause(&self, schedule: Option<&Schedule>) -> Duration {
        schedule.map_or(LOOK, |schedule| schedule.lost_at().saturating_since(self.now()).min(LOOK))
    }

    /// One cycle, and before it the message that cycles fail.
    async fn cycle(&self, state: &CloudState, shutdown: &CancellationToken) -> Done {
        if state.is_told(self.notify_at) {
            self.tell().await;
        }
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(self.limit, self.cycle.run_once()) => outcome,
            () = shutdown.cancelled() => {
                tracing::info!(instance = %self.instance, "the cycle ends with the program; what it began goes on at the next start");
                return Done::Stopped;
            }
        };
        match outcome {
            Ok(Ok(report)) => {
                let CycleReport { block, found, requested, relayed, waiting, held } = report;
                tracing::info!(instance = %self.instance, block, found, requested, relayed, waiting, held, "cycle done");
                Done::Success
            }
            Ok(Err(reason)) => {
                tracing::warn!(instance = %self.instance, reason, "{}", self.failure_text());
                Done::Failure
            }
            Err(_) => {
                let seconds = self.limit.as_secs();
                tracing::warn!(instance = %self.instance, "{}: not done within {seconds} s", self.failure_text());
                Done::Failure
            }
        }
    }

    /// The next task and the count, after a cycle. Whether all went well.
    async fn conclude(&self, state: &mut CloudState, schedule: Option<&mut Schedule>, done: Done) -> bool {
        let mut made = true;
        if let Some(schedule) = schedule {
            made = self.make_next(schedule, done).await;
            schedule.ended(self.now());
            state.next_due = schedule.outstanding();
        }
        let success = made && done == Done::Success;
        // A stop is nobody's failure.
        if done != Done::Stopped {
            *state = state.after(success);
        }
        success
    }

    /// Makes the next task if none is outstanding. False if that failed. A program that stops has time for one attempt.
    async fn make_next(&self, schedule: &mut Schedule, done: Done) -> bool {
        let Some(queue) = &self.queue else { return true };
        if !schedule.wants_next() {
            tracing::debug!(instance = %self.instance, "a task is outstanding; this call makes none");
            return true;
        }
        let made = if done == Done::Stopped { queue.try_create().await } else { queue.create().await };
        match made {
            Ok(task) => {
                tracing::debug!(instance = %self.instance, task = task.name, "next task made");
                schedule.made(UnixMillis(task.due_ms));
                true
            }
            Err(error) => {
                tracing::warn!(instance = %self.instance, %error, hint = error.hint(), "the next task was not made; it is tried again");
                false
            }
        }
    }

    /// Replaces a task that did not arrive.
    async fn heal(&self, schedule: &mut Schedule) {
        let Some(queue) = &self.queue else { return };
        let made = queue.create().await;
        match &made {
            Ok(task) => tracing::warn!(instance = %self.instance, task = task.name, "no call came in time; a new task was made"),
            Err(error) => {
                tracing::warn!(instance = %self.instance, %error, hint = error.hint(), "no call came in time, and no new task could be made");
            }
        }
        schedule.healed(self.now(), made.ok().map(|task| UnixMillis(task.due_ms)));
    }

    async fn tell(&self) {
        let Some(notifier) = &self.notifier else { return };
        match notifier.tell(&self.name).await {
            Ok(()) => tracing::info!(instance = %self.instance, "the webhook was told that cycles fail"),
            Err(error) => tracing::warn!(instance = %self.instance, %error, "the webhook was not told that cycles fail"),
        }
    }

    async fn keep(&self, state: CloudState, fence: Option<&Fence>) -> Result<(), StoreError> {
        let instance = self.instance.clone();
        match fence {
            Some(fence) => {
                self.store
                    .write_fenced(fence, "vrf.cloud", move |tx| Box::pin(async move { state::save(tx, &instance, &state).await }))
                    .await
            }
            None => {
                self.store.write("vrf.cloud", move |tx| Box::pin(async move { state::save(tx, &instance, &state).await })).await
            }
        }
    }
}

/// One call. The body is not looked at.
async fn call(State(trigger): State<Arc<Trigger>>, headers: HeaderMap) -> Response {
    if let Some(identity) = &trigger.identity
        && let Err(error) = identity.check(&headers).await
    {
        tracing::debug!(instance = %trigger.instance, %error, "a caller of the trigger was refused");
        return ApiError::from(error).into_response();
    }
    let (answer, outcome) = oneshot::channel();
    if trigger.calls.try_send(answer).is_ok()
        && let Ok(Ok(true)) = tokio::time::timeout(trigger.call_limit(), outcome).await
    {
        return "Success".into_response();
    }
    let mut response = (StatusCode::INTERNAL_SERVER_ERROR, trigger.failure_text()).into_response();
    response.extensions_mut().insert(RawBody);
    response
}
