//! A service under a lease: of several nodes on one database exactly one runs it, another takes over when that one is gone.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use windlass_store::{Store, lease};

use crate::alerts::Alerts;
use crate::events::{Event, EventLog};
use crate::metrics;
use crate::service::{LeaseRequest, Service, ServiceContext, ServiceError};
use crate::supervisor::TaskSpawner;

/// How long the lease may be held by another before the log says so. Less would speak at every ordinary start.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// What a service may do in this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// It needs no lease.
    #[default]
    Free,
    /// It waits for the lease that another node holds.
    Standby,
    /// It holds the lease.
    Leader,
}

/// Everything a service needs to be run.
#[derive(Clone)]
pub(crate) struct Runner {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) role: Arc<Mutex<Role>>,
    pub(crate) store: Store,
    pub(crate) holder: String,
    pub(crate) tasks: TaskSpawner,
    pub(crate) alerts: Alerts,
    pub(crate) events: EventLog,
    /// How long the service may take to stop.
    pub(crate) stop_limit: Duration,
}

impl Runner {
    /// Runs the service until `shutdown`, its end, or its failure.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> Result<(), ServiceError> {
        match self.service.lease() {
            None => {
                *self.role.lock() = Role::Free;
                self.once(&shutdown, None).await
            }
            Some(request) => self.under_lease(&request, &shutdown).await,
        }
    }

    async fn under_lease(&self, request: &LeaseRequest, shutdown: &CancellationToken) -> Result<(), ServiceError> {
        loop {
            *self.role.lock() = Role::Standby;
            metrics::lease_held(&request.name, false);
            let waiting = lease::wait_acquire(&self.store, &request.name, &self.holder, request.ttl);
            tokio::pin!(waiting);
            let mut told = false;
            let mut held = loop {
                tokio::select! {
                    held = &mut waiting => break held.inspect_err(|_| *self.role.lock() = Role::Free)?,
                    () = shutdown.cancelled() => return Ok(()),
                    () = tokio::time::sleep(TELL_AFTER), if !told => {
                        told = true;
                        tracing::info!(
                            service = self.service.name(),
                            lease = %request.name,
                            "standby: another node acts on this database, or one that was killed did until just now"
                        );
                    }
                }
            };
            *self.role.lock() = Role::Leader;
            metrics::lease_held(&request.name, true);
            let fence = held.fence().clone();
            let name = self.service.name();
            tracing::info!(service = %name, lease = %request.name, fence = fence.number, "this node acts");
            self.events.emit(
                Event::new(name, "lease_acquired", format!("node {} acts from now on", self.holder)).field("fence", fence.number),
            );
            let stop = shutdown.child_token();
            let work = self.once(&stop, Some(fence));
            tokio::pin!(work);
            let ended = tokio::select! {
                result = &mut work => Some(result),
                loss = lease::keep(&self.store, &mut held) => {
                    tracing::warn!(service = %name, lease = %request.name, ?loss, "the lease is lost, another node may act");
                    None
                }
            };
            metrics::lease_held(&request.name, false);
            match ended {
                Some(result) => {
                    // What failed waits for its next try and says why; to call it a standby would hide that.
                    *self.role.lock() = if result.is_err() { Role::Free } else { Role::Standby };
                    // Best effort: without it the lease runs out by itself.
                    if let Err(error) = lease::release(&self.store, held).await {
                        tracing::debug!(service = %name, %error, "the lease could not be released");
                    }
                    return result;
                }
                None => {
                    // Whatever it still writes is refused by the fence.
                    *self.role.lock() = Role::Standby;
                    stop.cancel();
                    if tokio::time::timeout(self.stop_limit, &mut work).await.is_err() {
                        tracing::warn!(service = %name, "the service did not stop in time after it lost its lease");
                    }
                }
            }
            if shutdown.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// One run of the service with its tasks; those have ended when this returns.
    async fn once(&self, stop: &CancellationToken, fence: Option<windlass_store::Fence>) -> Result<(), ServiceError> {
        let tasks = self.tasks.scope();
        // The tasks also end when this future is dropped, by a panic or an abort.
        let _guard = tasks.token().clone().drop_guard();
        let context = ServiceContext {
            shutdown: stop.child_token(),
            tasks: tasks.clone(),
            alerts: self.alerts.clone(),
            events: self.events.clone(),
            fence,
        };
        let linked = {
            let (tasks, stop) = (tasks.token().clone(), stop.clone());
            async move {
                stop.cancelled().await;
                tasks.cancel();
            }
        };
        let run = self.service.clone().run(context);
        tokio::pin!(run);
        // The tasks are told to end together with the service.
        let result = tokio::select! {
            result = &mut run => result,
            () = linked => run.await,
        };
        if !tasks.stop(self.stop_limit).await {
            tracing::warn!(service = %self.service.name(), "tasks of the service did not stop in time");
        }
        result
    }
}
