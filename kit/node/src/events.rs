//! What services did, for the dashboard and the API: a bounded log in the store.
//!
//! [`EventLog::emit`] never waits and never fails: an event goes to live listeners at once and to the store in the next batch.
//! [`EventLog::record`] writes inside the caller's own transaction, for events that must not exist without the change they tell of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use windlass_store::{Clock, Store, StoreError, SystemClock, Tx, UnixMillis, Value};

use crate::metrics;
use crate::service::EventView;

/// Events that wait for the store. When full, the newest is not stored (and counted): an event is a note, not the truth.
const QUEUE: usize = 1_024;
/// Events a slow live listener may be behind before it misses some.
const LIVE: usize = 256;
/// Events written in one transaction.
const BATCH: usize = 128;
/// Most events of one page.
pub const MAX_PAGE: u32 = 500;
/// Longest message kept, in bytes.
const MAX_MESSAGE: usize = 2_000;

/// How much an event matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Normal progress.
    #[default]
    Info,
    /// Something an operator may want to look at.
    Warning,
    /// Something failed.
    Error,
}

impl Level {
    /// The word in the store and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something that a service did or saw.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// The service: `payer.gnosis`.
    pub service: String,
    /// Kind, one word with underscores: `unpaid`, `transaction_final`.
    pub kind: String,
    /// How much it matters.
    pub level: Level,
    /// One sentence. No secrets.
    pub message: String,
    /// Details by name: `tx_hash`, `chain`.
    pub fields: BTreeMap<String, String>,
}

impl Event {
    /// An event at level `info`.
    pub fn new(service: impl Into<String>, kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { service: service.into(), kind: kind.into(), message: message.into(), ..Self::default() }
    }

    /// With another level.
    #[must_use]
    pub const fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// With a detail.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.fields.insert(name.into(), value.to_string());
        self
    }
}

/// An event with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredEvent {
    /// Grows with time. As a text in JSON: it does not fit into the numbers of JavaScript.
    #[serde(serialize_with = "as_text")]
    pub id: i64,
    /// Time in Unix milliseconds.
    pub at_ms: i64,
    /// The service.
    pub service: String,
    /// Kind.
    pub kind: String,
    /// `info`, `warning` or `error`.
    pub level: String,
    /// One sentence.
    pub message: String,
    /// Details by name.
    pub fields: BTreeMap<String, String>,
}

fn as_text<S: serde::Serializer>(id: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

impl From<StoredEvent> for EventView {
    fn from(event: StoredEvent) -> Self {
        Self { at_ms: event.at_ms, service: event.service, kind: event.kind, message: event.message, level: event.level }
    }
}

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only those of one service.
    pub service: Option<String>,
    /// Only those older than this id.
    pub before: Option<i64>,
    /// At most so many; [`MAX_PAGE`] at most.
    pub limit: u32,
}

/// The log of events. Clones share it.
#[derive(Clone, Debug)]
pub struct EventLog {
    inner: Arc<Inner>,
}

struct Inner {
    store: Option<Store>,
    queue: mpsc::Sender<StoredEvent>,
    waiting: Mutex<Option<mpsc::Receiver<StoredEvent>>>,
    live: broadcast::Sender<StoredEvent>,
    last_id: Mutex<i64>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLog").field("stored", &self.store.is_some()).finish_non_exhaustive()
    }
}

impl EventLog {
    /// A log in this store. Its tables must be there, and [`run`](Self::run) must run for emitted events to be stored.
    pub(crate) fn new(store: Store) -> Self {
        let clock = store.clock();
        Self::build(Some(store), clock)
    }

    /// A log without a store: events go to live listeners only.
    pub fn detached() -> Self {
        Self::build(None, Arc::new(SystemClock))
    }

    fn build(store: Option<Store>, clock: Arc<dyn Clock>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (live, _) = broadcast::channel(LIVE);
        let waiting = Mutex::new(Some(waiting));
        Self { inner: Arc::new(Inner { store, queue, waiting, live, last_id: Mutex::new(0), clock }) }
    }

    /// Notes an event, without waiting.
    pub fn emit(&self, event: Event) {
        let event = self.place(event);
        // Nobody listening is no failure.
        let _ = self.inner.live.send(event.clone());
        if self.inner.store.is_some() && self.inner.queue.try_send(event).is_err() {
            metrics::events_dropped(1);
        }
    }

    /// Notes an event in the caller's transaction. Live listeners hear of it with [`announce`](Self::announce), which the caller
    /// calls after the commit.
    ///
    /// # Errors
    /// The store's.
    pub async fn record(&self, tx: &mut Tx<'_>, event: Event) -> Result<StoredEvent, StoreError> {
        let event = self.place(event);
        insert(tx, &event).await?;
        Ok(event)
    }

    /// Tells live listeners of a recorded event.
    pub fn announce(&self, event: StoredEvent) {
        let _ = self.inner.live.send(event);
    }

    /// Events from now on. A listener that falls behind misses some and is told so.
    pub fn subscribe(&self) -> broadcast::Receiver<StoredEvent> {
        self.inner.live.subscribe()
    }

    /// Stored events, newest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn page(&self, filter: &EventFilter) -> Result<Vec<StoredEvent>, StoreError> {
        let Some(store) = &self.inner.store else { return Ok(Vec::new()) };
        let before = filter.before.unwrap_or(i64::MAX);
        let limit = i64::from(filter.limit.clamp(1, MAX_PAGE));
        let columns = "SELECT id, at_ms, service, kind, level, message, fields FROM node_event";
        let rows = match &filter.service {
            None => {
                let sql = format!("{columns} WHERE id < $1 ORDER BY id DESC LIMIT $2");
                store.query(&sql, vec![Value::Integer(before), Value::Integer(limit)]).await?
            }
            Some(service) => {
                let sql = format!("{columns} WHERE service = $3 AND id < $1 ORDER BY id DESC LIMIT $2");
                let params = vec![Value::Integer(before), Value::Integer(limit), Value::Text(service.clone())];
                store.query(&sql, params).await?
            }
        };
        rows.iter()
            .map(|row| {
                let fields: String = row.get("fields")?;
                Ok(StoredEvent {
                    id: row.get("id")?,
                    at_ms: row.get("at_ms")?,
                    service: row.get("service")?,
                    kind: row.get("kind")?,
                    level: row.get("level")?,
                    message: row.get("message")?,
                    fields: serde_json::from_str(&fields).unwrap_or_default(),
                })
            })
            .collect()
    }

    /// Stores what was emitted and removes what is over `keep`, until `shutdown`; then stores what still waits.
    pub(crate) async fn run(&self, keep: u64, shutdown: CancellationToken) -> Result<(), StoreError> {
        let Some(store) = self.inner.store.clone() else { return Ok(()) };
        let Some(mut waiting) = self.inner.waiting.lock().take() else { return Ok(()) };
        let mut batch = Vec::with_capacity(BATCH);
        let mut prune = tokio::time::interval(Duration::from_secs(60));
        let result = loop {
            tokio::select! {
                biased;
                received = waiting.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        break Ok(());
                    }
                    if let Err(error) = write(&store, std::mem::take(&mut batch)).await {
                        break Err(error);
                    }
                }
                _ = prune.tick() => {
                    if let Err(error) = remove_old(&store, keep).await {
                        break Err(error);
                    }
                }
                () = shutdown.cancelled() => {
                    waiting.close();
                    let mut rest = Vec::new();
                    while let Some(event) = waiting.recv().await {
                        rest.push(event);
                    }
                    break if rest.is_empty() { Ok(()) } else { write(&store, rest).await };
                }
            }
        };
        // The next run after a failure goes on with the same queue.
        *self.inner.waiting.lock() = Some(waiting);
        result
    }

    /// Gives an event its id and time.
    fn place(&self, mut event: Event) -> StoredEvent {
        let UnixMillis(at_ms) = self.inner.clock.now();
        // The time, then 20 random bits: several nodes write into one table without asking each other.
        let id = {
            let mut last = self.inner.last_id.lock();
            let fresh = at_ms.saturating_mul(1 << 20) | i64::from(rand::random_range(0..1_u32 << 19));
            *last = fresh.max(last.saturating_add(1));
            *last
        };
        truncate(&mut event.message, MAX_MESSAGE);
        metrics::event(&event.service, event.level.as_str());
        StoredEvent {
            id,
            at_ms,
            service: event.service,
            kind: event.kind,
            level: event.level.as_str().to_owned(),
            message: event.message,
            fields: event.fields,
        }
    }
}

/// Cuts a text at a character border.
fn truncate(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

async fn write(store: &Store, batch: Vec<StoredEvent>) -> Result<(), StoreError> {
    let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
    let written = store
        .write("node events", move |tx| {
            Box::pin(async move {
                for event in &batch {
                    insert(tx, event).await?;
                }
                Ok::<(), StoreError>(())
            })
        })
        .await;
    if written.is_err() {
        metrics::events_dropped(count);
    }
    written
}

async fn insert(tx: &mut Tx<'_>, event: &StoredEvent) -> Result<(), StoreError> {
    let fields = serde_json::to_string(&event.fields).unwrap_or_default();
    let params = vec![
        Value::Integer(event.id),
        Value::Integer(event.at_ms),
        Value::Text(event.service.clone()),
        Value::Text(event.kind.clone()),
        Value::Text(event.level.clone()),
        Value::Text(event.message.clone()),
        Value::Text(fields),
    ];
    let sql = "INSERT INTO node_event (id, at_ms, service, kind, level, message, fields) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING";
    tx.execute(sql, params).await.map(|_| ())
}

async fn remove_old(store: &Store, keep: u64) -> Result<(), StoreError> {
    let keep = i64::try_from(keep).unwrap_or(i64::MAX);
    let oldest =
        store.query_optional("SELECT id FROM node_event ORDER BY id DESC LIMIT 1 OFFSET $1", vec![Value::Integer(keep)]).await?;
    let Some(row) = oldest else { return Ok(()) };
    let id: i64 = row.get("id")?;
    store
        .write("node events prune", move |tx| {
            Box::pin(async move {
                tx.execute("DELETE FROM node_event WHERE id <= $1", vec![Value::Integer(id)]).await?;
                Ok::<(), StoreError>(())
            })
        })
        .await
}
