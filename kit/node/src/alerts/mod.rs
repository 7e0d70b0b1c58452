//! Alerts: conditions that need somebody, told to webhooks, Slack, Discord and Telegram.
//!
//! A service [raises](Alerts::raise) a condition under a key, as often as it sees it, and [resolves](Alerts::resolve) it when it is
//! over. A channel tells each condition once, again after a long time if it lasts, and once more when it is over. Conditions that
//! were told are kept in the store, so that a restart neither repeats them nor forgets to tell their end.

mod channel;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use windlass_store::{Clock, Store, StoreError, SystemClock, UnixMillis, Value};

pub use crate::config::Severity;
pub(crate) use channel::{Channel, rfc3339};
pub(crate) use worker::Worker;

use crate::metrics;

/// Notices that wait for one channel. When full, the newest is dropped and counted.
const QUEUE: usize = 256;
/// Conditions that can be active at a time, over all services.
const MAX_ACTIVE: usize = 1_000;

/// A condition that needs somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The service that says it: `payer.gnosis`.
    pub service: String,
    /// Names the condition within the service: `unpaid`. The same key is the same condition.
    pub key: String,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence: what is wrong.
    pub title: String,
    /// Figures and circumstances. No secrets.
    pub detail: String,
    /// Page of the book that says what to do: `operations/runbook.html#payer-unpaid`.
    pub runbook: String,
}

impl Alert {
    /// An alert without details.
    pub fn new(
        service: impl Into<String>,
        key: impl Into<String>,
        severity: Severity,
        title: impl Into<String>,
        runbook: impl Into<String>,
    ) -> Self {
        Self {
            service: service.into(),
            key: key.into(),
            severity,
            title: title.into(),
            detail: String::new(),
            runbook: runbook.into(),
        }
    }

    /// With figures and circumstances.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    fn id(&self) -> AlertId {
        (self.service.clone(), self.key.clone())
    }
}

/// Service and key.
pub(crate) type AlertId = (String, String);

/// A condition that was raised and not resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActiveAlert {
    /// The condition as it was raised last.
    #[serde(flatten)]
    pub alert: Alert,
    /// Since when, in Unix milliseconds.
    pub since_ms: i64,
}

/// What a channel is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A condition is there, or has become worse.
    Raised(ActiveAlert),
    /// It is over.
    Resolved(ActiveAlert),
}

impl Notice {
    pub(crate) const fn alert(&self) -> &ActiveAlert {
        match self {
            Self::Raised(alert) | Self::Resolved(alert) => alert,
        }
    }
}

/// Raises and resolves alerts. Clones share everything.
#[derive(Clone, Debug)]
pub struct Alerts {
    inner: Arc<Inner>,
}

struct Inner {
    active: Mutex<BTreeMap<AlertId, ActiveAlert>>,
    channels: Mutex<Vec<(String, mpsc::Sender<Notice>)>>,
    /// Counts changes, so that the keeper of the table knows when to write.
    changed: watch::Sender<u64>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alerts").field("active", &self.active.lock().len()).finish_non_exhaustive()
    }
}

impl Alerts {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let (changed, _) = watch::channel(0);
        let inner = Inner { active: Mutex::default(), channels: Mutex::default(), changed, clock };
        Self { inner: Arc::new(inner) }
    }

    /// Alerts that go nowhere but can be listed with [`active`](Self::active): for tests and one-shot commands.
    pub fn detached() -> Self {
        Self::new(Arc::new(SystemClock))
    }

    /// Says that a condition is there. Call it as often as it is seen: channels are told when it is new or has become worse.
    pub fn raise(&self, alert: Alert) {
        let UnixMillis(now) = self.inner.clock.now();
        let notice = {
            let mut active = self.inner.active.lock();
            let id = alert.id();
            let full = active.len() >= MAX_ACTIVE;
            match active.get_mut(&id) {
                Some(known) => {
                    let worse = alert.severity > known.alert.severity;
                    if known.alert == alert {
                        return;
                    }
                    known.alert = alert;
                    worse.then(|| known.clone())
                }
                None if full => {
                    tracing::error!(service = %alert.service, key = %alert.key, "too many alerts are active, this one is dropped");
                    return;
                }
                None => {
                    let fresh = ActiveAlert { alert, since_ms: now };
                    active.insert(id, fresh.clone());
                    Some(fresh)
                }
            }
        };
        self.changed();
        let Some(raised) = notice else { return };
        let alert = &raised.alert;
        match alert.severity {
            Severity::Info => {
                tracing::info!(service = %alert.service, key = %alert.key, detail = alert.detail.as_str(), "{}", alert.title)
            }
            _ => tracing::warn!(service = %alert.service, key = %alert.key, severity = alert.severity.as_str(),
                detail = alert.detail.as_str(), runbook = alert.runbook.as_str(), "{}", alert.title),
        }
        self.tell(&Notice::Raised(raised));
    }

    /// Says that a condition is over, or that it is not there. Channels are told if they were told of the condition.
    pub fn resolve(&self, service: &str, key: &str) {
        let resolved = self.inner.active.lock().remove(&(service.to_owned(), key.to_owned()));
        let Some(resolved) = resolved else { return };
        self.changed();
        tracing::info!(service, key, "resolved: {}", resolved.alert.title);
        self.tell(&Notice::Resolved(resolved));
    }

    /// [`raise`](Self::raise) if `alert` is given, else [`resolve`](Self::resolve): for checks that run again and again.
    pub fn set(&self, service: &str, key: &str, alert: Option<Alert>) {
        match alert {
            Some(alert) => self.raise(alert),
            None => self.resolve(service, key),
        }
    }

    /// What is raised and not resolved, the worst first.
    pub fn active(&self) -> Vec<ActiveAlert> {
        let mut all: Vec<ActiveAlert> = self.inner.active.lock().values().cloned().collect();
        all.sort_by(|a, b| (b.alert.severity, a.since_ms).cmp(&(a.alert.severity, b.since_ms)));
        all
    }

    /// Adds a channel and returns what it is told.
    pub(crate) fn add_channel(&self, name: &str) -> mpsc::Receiver<Notice> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        self.inner.channels.lock().push((name.to_owned(), sender));
        receiver
    }

    fn tell(&self, notice: &Notice) {
        for (name, channel) in self.inner.channels.lock().iter() {
            if channel.try_send(notice.clone()).is_err() {
                metrics::alert(name, "dropped");
                tracing::error!(channel = %name, "the queue of the alert channel is full, an alert was dropped");
            }
        }
    }

    fn changed(&self) {
        metrics::alerts_active(self.inner.active.lock().len());
        self.inner.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Takes over what was active when the node last ran, of the services it still has. Returns it for the channels, which told it then.
    pub(crate) async fn load(&self, store: &Store, services: &[String]) -> Result<Vec<ActiveAlert>, StoreError> {
        let rows = store.query("SELECT content, raised_at_ms FROM node_alert", Vec::new()).await?;
        let mut loaded = Vec::new();
        for row in rows {
            let content: String = row.get("content")?;
            // A row of an older version that cannot be read is as good as none: the condition will be raised again.
            let Ok(alert) = serde_json::from_str::<Alert>(&content) else { continue };
            if services.contains(&alert.service) {
                loaded.push(ActiveAlert { alert, since_ms: row.get("raised_at_ms")? });
            }
        }
        let mut active = self.inner.active.lock();
        for alert in &loaded {
            active.entry(alert.alert.id()).or_insert_with(|| alert.clone());
        }
        metrics::alerts_active(active.len());
        Ok(loaded)
    }

    /// Keeps the table equal to what is active, until `shutdown`.
    pub(crate) async fn keep(&self, store: Store, shutdown: CancellationToken) -> Result<(), StoreError> {
        let mut changed = self.inner.changed.subscribe();
        let mut stored: BTreeMap<AlertId, ActiveAlert> = BTreeMap::new();
        let mut first = true;
        loop {
            let wanted = self.inner.active.lock().clone();
            if first || wanted != stored {
                replace(&store, &wanted, first).await?;
                stored = wanted;
                first = false;
            }
            if shutdown.is_cancelled() {
                return Ok(());
            }
            tokio::select! {
                _ = changed.changed() => {
                    // Conditions that come and go together are written together.
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_millis(200)) => {}
                        () = shutdown.cancelled() => {}
                    }
                }
                () = shutdown.cancelled() => {}
            }
        }
    }
}

/// Writes the whole set: it is small.
async fn replace(store: &Store, wanted: &BTreeMap<AlertId, ActiveAlert>, first: bool) -> Result<(), StoreError> {
    if first && wanted.is_empty() && store.query_optional("SELECT service FROM node_alert LIMIT 1", Vec::new()).await?.is_none() {
        return Ok(());
    }
    let rows: Vec<Vec<Value>> = wanted
        .values()
        .map(|active| {
            let content = serde_json::to_string(&active.alert).unwrap_or_default();
            vec![
                Value::Text(active.alert.service.clone()),
                Value::Text(active.alert.key.clone()),
                Value::Text(content),
                Value::Integer(active.since_ms),
            ]
        })
        .collect();
    store
        .write("node alerts", move |tx| {
            Box::pin(async move {
                tx.execute("DELETE FROM node_alert", Vec::new()).await?;
                for row in rows {
                    let sql = "INSERT INTO node_alert (service, alert_key, content, raised_at_ms) VALUES ($1, $2, $3, $4) \
                               ON CONFLICT (service, alert_key) DO NOTHING";
                    tx.execute(sql, row).await?;
                }
                Ok::<(), StoreError>(())
            })
        })
        .await
}
