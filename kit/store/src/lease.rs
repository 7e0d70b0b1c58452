//! Leases with fencing: of several instances on one database exactly one acts.
//!
//! A lease has a name, a holder, an expiry and a *fencing number*. The number grows with every change of the holder and with
//! every release, and never shrinks. Writes of the holder go through [`Store::write_fenced`], which compares the number inside
//! the same transaction: a holder that was paused, replaced and wakes up again can change nothing. On PostgreSQL the check
//! locks the lease's row until the commit, so a takeover waits for a write that has passed the check, and a write that comes
//! after the takeover sees the new number. A process that is paused in the middle of a transaction loses it after 5 seconds
//! (`idle_in_transaction_session_timeout`), and the row becomes free.
//!
//! Expiry is judged by the clock of the database server on PostgreSQL, where instances may be on machines whose clocks
//! differ, and by the store's [`crate::clock::Clock`] on SQLite. Safety does not depend on clocks: they only decide how soon
//! another instance may take over.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::clock::UnixMillis;
use crate::engine::Backend;
use crate::error::StoreError;
use crate::params;
use crate::store::Store;
use crate::tx::Tx;
use crate::value::{Row, Value};

/// A time to live that lets another instance act well within 10 seconds after the holder was killed.
pub const DEFAULT_TTL: Duration = Duration::from_secs(6);

/// How often [`wait_acquire`] looks, at most.
const POLL_LIMIT: Duration = Duration::from_secs(1);

/// Milliseconds of the server's clock.
const SERVER_NOW: &str = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";

/// Proof of having held a lease: shown with every write of the holder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    /// Name of the lease.
    pub name: String,
    /// The fencing number.
    pub number: u64,
}

/// A lease that was acquired.
#[derive(Debug, Clone)]
pub struct Lease {
    fence: Fence,
    holder: String,
    ttl: Duration,
    expires_at: UnixMillis,
    /// Until when the lease is certainly held, by this process's own clock: counted from before the request was sent.
    valid_until: Instant,
}

impl Lease {
    /// To be shown with every write: [`Store::write_fenced`].
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Who holds it.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Time to live after each renewal.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// When it expires unless renewed, by the clock that judges it (see the module).
    pub fn expires_at(&self) -> UnixMillis {
        self.expires_at
    }
}

/// Why a lease was lost.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Loss {
    /// Another holder took it over.
    #[error("another instance holds the lease now")]
    Replaced,
    /// It could not be renewed in time, so that another holder may take it at any moment.
    #[error("the lease could not be renewed in time")]
    Expired {
        /// The last failure of a renewal, if there was an answer.
        #[source]
        last: Option<StoreError>,
    },
    /// The store was closed or crashed.
    #[error("the store has ended")]
    StoreEnded(#[source] StoreError),
}

/// A lease as it is stored, for status displays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseStatus {
    /// The present or last holder; empty after a release.
    pub holder: String,
    /// The fencing number.
    pub number: u64,
    /// When it expires; in the past when it is free.
    pub expires_at: UnixMillis,
}

/// Takes the lease if it is free, expired, or already of this holder. `None` when another holder has it.
///
/// `holder` must be unique per process (host name and process id, or random): a second process with the same name would take
/// the lease over at once. Every success has a new, larger fencing number; fences of earlier successes are stale from then on.
///
/// # Errors
/// As a write.
pub async fn acquire(store: &Store, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, StoreError> {
    let valid_until = Instant::now() + ttl;
    let (lease_name, new_holder, clock) = (name.to_owned(), holder.to_owned(), store.clock());
    let taken = store
        .write("lease.acquire", move |tx| {
            Box::pin(async move { acquire_row(tx, &lease_name, &new_holder, ttl, clock.now()).await })
        })
        .await?;
    Ok(taken.map(|(number, expires_at)| {
        let fence = Fence { name: name.to_owned(), number };
        Lease { fence, holder: holder.to_owned(), ttl, expires_at, valid_until }
    }))
}

async fn acquire_row(
    tx: &mut Tx<'_>,
    name: &str,
    holder: &str,
    ttl: Duration,
    local_now: UnixMillis,
) -> Result<Option<(u64, UnixMillis)>, StoreError> {
    // Look first without a lock: standing by must not hold up the writes of the holder.
    if let Some(row) = read_row(tx, name, "", local_now).await?
        && !is_free(&row, holder)?
    {
        return Ok(None);
    }
    tx.execute(
        "INSERT INTO windlass_lease (name, holder, number, expires_at_ms) VALUES ($1, '', 0, 0) \
         ON CONFLICT (name) DO NOTHING",
        params![name],
    )
    .await?;
    // A row that is locked belongs to somebody who is writing at this moment: the lease is not free.
    let lock = match tx.backend() {
        Backend::Sqlite => "",
        Backend::Postgres => " FOR UPDATE SKIP LOCKED",
    };
    let Some(row) = read_row(tx, name, lock, local_now).await? else { return Ok(None) };
    if !is_free(&row, holder)? {
        return Ok(None);
    }
    let number = row.get::<u64>("number")?.saturating_add(1);
    let expires_at = row.get::<UnixMillis>("now_ms")?.saturating_add(ttl);
    tx.execute(
        "UPDATE windlass_lease SET holder = $2, number = $3, expires_at_ms = $4 WHERE name = $1",
        params![name, holder, number, expires_at],
    )
    .await?;
    tx.fences().remove(name);
    Ok(Some((number, expires_at)))
}

async fn read_row(tx: &mut Tx<'_>, name: &str, lock: &str, local_now: UnixMillis) -> Result<Option<Row>, StoreError> {
    match tx.backend() {
        Backend::Sqlite => {
            let sql = "SELECT holder, number, expires_at_ms, $2 AS now_ms FROM windlass_lease WHERE name = $1";
            tx.query_optional(sql, params![name, local_now]).await
        }
        Backend::Postgres => {
            let sql =
                format!("SELECT holder, number, expires_at_ms, {SERVER_NOW} AS now_ms FROM windlass_lease WHERE name = $1{lock}");
            tx.query_optional(&sql, params![name]).await
        }
    }
}

fn is_free(row: &Row, holder: &str) -> Result<bool, StoreError> {
    let expired = row.get::<UnixMillis>("expires_at_ms")? <= row.get::<UnixMillis>("now_ms")?;
    Ok(expired || row.get::<String>("holder")? == holder)
}

/// Extends the lease by its time to live. False when another holder has taken it over (or it was released): then it is lost
/// for good, and this `Lease` is of no further use. An expired lease that nobody has taken is extended.
///
/// # Errors
/// As a write. The lease may still be held; try again.
pub async fn renew(store: &Store, lease: &mut Lease) -> Result<bool, StoreError> {
    let valid_until = Instant::now() + lease.ttl;
    let (fence, ttl, clock) = (lease.fence.clone(), lease.ttl, store.clock());
    let expires_at = store
        .write("lease.renew", move |tx| {
            Box::pin(async move {
                let row = match tx.backend() {
                    Backend::Sqlite => {
                        let sql = "UPDATE windlass_lease SET expires_at_ms = $3 WHERE name = $1 AND number = $2 \
                                   RETURNING expires_at_ms";
                        let until = clock.now().saturating_add(ttl);
                        tx.query_optional(sql, params![&fence.name, fence.number, until]).await?
                    }
                    Backend::Postgres => {
                        let sql = format!(
                            "UPDATE windlass_lease SET expires_at_ms = {SERVER_NOW} + $3 \
                             WHERE name = $1 AND number = $2 RETURNING expires_at_ms"
                        );
                        let span = UnixMillis(0).saturating_add(ttl);
                        tx.query_optional(&sql, params![&fence.name, fence.number, span]).await?
                    }
                };
                row.map(|row| row.get::<UnixMillis>("expires_at_ms")).transpose()
            })
        })
        .await;
    match expires_at {
        Ok(Some(expires_at)) => {
            lease.expires_at = expires_at;
            lease.valid_until = valid_until;
            Ok(true)
        }
        Ok(None) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the lease back, so that another instance can act at once. Fences of this lease are stale from then on.
/// Does nothing when the lease was lost before.
///
/// # Errors
/// As a write. The lease then ends by expiry.
pub async fn release(store: &Store, lease: Lease) -> Result<(), StoreError> {
    let fence = lease.fence;
    store
        .write("lease.release", move |tx| {
            Box::pin(async move {
                tx.execute(
                    "UPDATE windlass_lease SET holder = '', number = number + 1, expires_at_ms = 0 \
                     WHERE name = $1 AND number = $2",
                    params![&fence.name, fence.number],
                )
                .await?;
                tx.fences().remove(&fence.name);
                Ok(())
            })
        })
        .await
}

/// Refuses the rest of a job when the fence is stale. [`Store::write_fenced`] does this first; a job that needs several
/// leases calls it for each.
///
/// # Errors
/// [`StoreError::Fenced`] when another holder has the lease or it was released; otherwise as a write.
pub async fn check(tx: &mut Tx<'_>, fence: &Fence) -> Result<(), StoreError> {
    if tx.fences().get(&fence.name) == Some(&fence.number) {
        return Ok(());
    }
    // On SQLite the transaction holds the only write lock already.
    let sql = match tx.backend() {
        Backend::Sqlite => "SELECT number FROM windlass_lease WHERE name = $1",
        Backend::Postgres => "SELECT number FROM windlass_lease WHERE name = $1 FOR UPDATE",
    };
    let current: u64 = match tx.query_optional(sql, params![&fence.name]).await? {
        Some(row) => row.get("number")?,
        None => 0,
    };
    if current != fence.number {
        return Err(StoreError::Fenced { lease: fence.name.clone(), held: fence.number, current });
    }
    tx.fences().insert(fence.name.clone(), fence.number);
    Ok(())
}

/// The stored state of a lease; `None` when nobody ever held it.
///
/// # Errors
/// As a read.
pub async fn status(store: &Store, name: &str) -> Result<Option<LeaseStatus>, StoreError> {
    let sql = "SELECT holder, number, expires_at_ms FROM windlass_lease WHERE name = $1";
    let row = store.query_optional(sql, vec![Value::from(name)]).await?;
    row.map(|row| {
        Ok(LeaseStatus { holder: row.get("holder")?, number: row.get("number")?, expires_at: row.get("expires_at_ms")? })
    })
    .transpose()
}

/// Waits until the lease is free and takes it. Looks every third of the time to live, at most every second; goes on after
/// failures that can pass.
///
/// # Errors
/// A failure that does not pass by itself.
pub async fn wait_acquire(store: &Store, name: &str, holder: &str, ttl: Duration) -> Result<Lease, StoreError> {
    let pause = (ttl / 3).min(POLL_LIMIT);
    loop {
        match acquire(store, name, holder, ttl).await {
            Ok(Some(lease)) => return Ok(lease),
            Ok(None) => {}
            Err(error) if error.is_transient() => {
                tracing::warn!(lease = name, %error, "asking for the lease failed; trying again");
            }
            Err(error) => return Err(error),
        }
        sleep(pause).await;
    }
}

/// Renews the lease every third of its time to live, and returns when it is lost. Runs beside the work of the holder:
/// [`while_held`].
pub async fn keep(store: &Store, lease: &mut Lease) -> Loss {
    let pause = lease.ttl / 3;
    let retry_pause = lease.ttl / 12;
    let mut last = None;
    let mut next = Instant::now() + pause;
    loop {
        let valid_until = lease.valid_until;
        if next >= valid_until {
            tokio::time::sleep_until(valid_until).await;
            return Loss::Expired { last };
        }
        tokio::time::sleep_until(next).await;
        match timeout_at(valid_until, renew(store, lease)).await {
            Ok(Ok(true)) => {
                last = None;
                next = Instant::now() + pause;
            }
            Ok(Ok(false)) => return Loss::Replaced,
            Ok(Err(error @ (StoreError::Closed | StoreError::Crashed))) => return Loss::StoreEnded(error),
            Ok(Err(error)) => {
                tracing::warn!(lease = lease.fence.name, %error, "renewing the lease failed; trying again");
                last = Some(error);
                next = Instant::now() + retry_pause;
            }
            Err(_) => return Loss::Expired { last },
        }
    }
}

/// Runs `work` while the lease is held: `Ok` with its result when it ends by itself, `Err` when the lease is lost first. The
/// work is dropped then; what it has queued as fenced writes is refused by the fence.
///
/// # Errors
/// [`Loss`], with the reason.
pub async fn while_held<W: Future>(store: &Store, lease: &mut Lease, work: W) -> Result<W::Output, Loss> {
    tokio::select! {
        output = work => Ok(output),
        loss = keep(store, lease) => Err(loss),
    }
}
