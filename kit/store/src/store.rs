//! The handle of a store.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::engine::{self, Backend, Target};
use crate::error::StoreError;
use crate::lease::{self, Fence};
use crate::migrate::{self, Migrations};
use crate::options::StoreOptions;
use crate::params;
use crate::tx::Tx;
use crate::value::{Row, Value};
use crate::writer::{Job, Shared, TypedJob, Writer};

/// A database, opened once per process. Clones are cheap and share everything.
///
/// Reads ([`Store::query`]) see what is committed. Writes are jobs ([`Store::write`]) of one writer task, which commits many
/// of them together. When the last clone is dropped, the writer finishes what is queued and closes; [`Store::close`] waits
/// for that.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// `None` after `close`.
    jobs: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    writer: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("place", &self.place()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a store with default options.
    ///
    /// - `sqlite:<path>`: a file, created (readable by its owner only) with its folder when missing.
    /// - `sqlite::memory:`: a private temporary database that ends with the last handle.
    /// - `postgres://user:password@host:port/database`: with the usual parameters, such as `sslmode` and
    ///   `options[search_path]`.
    ///
    /// # Errors
    /// Says what is wrong with the URL, the file or the server; [`StoreError::hint`] says what to do. Never shows the URL.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url, StoreOptions::default()).await
    }

    /// Opens a store. See [`Store::open`].
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_with(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        let (target, scratch) = Target::parse(url, &options)?;
        let conn = target.prepare().await?;
        let queue = options.queue_limit.max(1);
        let shared = Arc::new(Shared::new(target, options));
        let (sender, receiver) = mpsc::channel(queue);
        let writer = tokio::spawn(Writer::new(Arc::clone(&shared), conn, scratch).run(receiver));
        let inner = Inner { shared, jobs: Mutex::new(Some(sender)), writer: tokio::sync::Mutex::new(Some(writer)) };
        let store = Self { inner: Arc::new(inner) };
        store.migrate(&migrate::OWN).await?;
        Ok(store)
    }

    /// The engine below.
    pub fn backend(&self) -> Backend {
        self.inner.shared.target.backend()
    }

    /// The clock this store was opened with.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.inner.shared.options.clock)
    }

    /// Names the database for people: path, or database name, host and port. Never user or password.
    pub fn place(&self) -> &str {
        &self.inner.shared.target.place
    }

    pub(crate) fn target(&self) -> &Target {
        &self.inner.shared.target
    }

    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        self.inner.shared.check_open()
    }

    /// Brings the tables of a component up to date. All missing steps are applied in one commit.
    ///
    /// # Errors
    /// [`StoreError::MigrationEdited`], [`StoreError::MigrationNewer`], [`StoreError::MigrationNumbering`],
    /// [`StoreError::MigrationFailed`]; nothing is changed then. Otherwise as [`Store::write`].
    pub async fn migrate(&self, set: &Migrations) -> Result<(), StoreError> {
        let (set, now) = (*set, self.clock().now());
        self.enqueue("store.migrate", false, move |tx| Box::pin(async move { migrate::apply(tx, &set, None, now).await }))
            .await?;
        self.forget_read_connections();
        Ok(())
    }

    /// Number of the last step of a component that was applied to this database; 0 if none was. For commands that only look: they must not
    /// bring tables up to date under a running node.
    ///
    /// # Errors
    /// As [`Store::query`].
    pub async fn newest_migration(&self, component: &str) -> Result<u32, StoreError> {
        let sql = "SELECT coalesce(max(number), 0) AS newest FROM windlass_migration WHERE component = $1";
        let row = self.query_optional(sql, params![component]).await?;
        row.map_or(Ok(0), |row| row.get("newest"))
    }

    /// After a migration: the prepared statements of these connections may have another result now.
    pub(crate) fn forget_read_connections(&self) {
        self.inner.shared.pool.clear();
    }

    /// Runs `job` in the next commit and returns its result after that commit.
    ///
    /// The writer takes all jobs that wait, runs each in a savepoint of its own, and commits once. A job that returns an error
    /// is rolled back alone. Waits for a place when the queue is full. When the caller stops waiting, a queued job runs all
    /// the same. The job should do nothing but talk to the database: everybody else's writes wait for it.
    ///
    /// # Errors
    /// The job's own error, or a [`StoreError`] through `From`. After [`StoreError::CommitUnknown`] it is not known whether
    /// the job was kept; after any other error it was not.
    pub async fn write<T, E, F>(&self, name: &'static str, job: F) -> Result<T, E>
    where
        F: for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.enqueue(name, true, job).await
    }

    /// As [`Store::write`], but refused when the lease of `fence` has another holder by now. The check is part of the same
    /// transaction; see [`lease`].
    ///
    /// # Errors
    /// [`StoreError::Fenced`] for a stale fence; otherwise as [`Store::write`].
    pub async fn write_fenced<T, E, F>(&self, fence: &Fence, name: &'static str, job: F) -> Result<T, E>
    where
        F: for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let fence = fence.clone();
        self.enqueue(name, true, move |tx| {
            Box::pin(async move {
                lease::check(tx, &fence).await?;
                job(tx).await
            })
        })
        .await
    }

    /// Queues a job. `limited` is whether the job time limit holds for it.
    pub(crate) async fn enqueue<T, E, F>(&self, name: &'static str, limited: bool, job: F) -> Result<T, E>
    where
        F: for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let shared = &self.inner.shared;
        shared.check_open()?;
        if shared.is_writing() {
            return Err(StoreError::NestedWrite { job: name }.into());
        }
        let Some(jobs) = self.lock_jobs().clone() else { return Err(shared.ended().into()) };
        let (reply, answer) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(TypedJob::new(name, limited, job, reply));
        if jobs.send(job).await.is_err() {
            return Err(shared.ended().into());
        }
        // The writer's last act must not wait for the handle that waits for it.
        drop(jobs);
        answer.await.unwrap_or_else(|_| Err(shared.ended().into()))
    }

    fn lock_jobs(&self) -> std::sync::MutexGuard<'_, Option<mpsc::Sender<Box<dyn Job>>>> {
        self.inner.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a reading statement on committed data and returns all rows.
    ///
    /// # Errors
    /// [`StoreError::ParameterCount`], [`StoreError::ValueRange`], [`StoreError::Sql`] (also when the statement writes),
    /// [`StoreError::UnsupportedColumn`]; [`StoreError::Unavailable`] and others when the database fails.
    pub async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let shared = &self.inner.shared;
        shared.check_open()?;
        engine::check_parameters(sql, &params)?;
        match shared.pool.query(&shared.target, &shared.options, sql, params).await {
            Err(StoreError::Closed) => Err(shared.ended()),
            other => other,
        }
    }

    /// As [`Store::query`], for at most one row; of several rows the first is returned.
    ///
    /// # Errors
    /// As [`Store::query`].
    pub async fn query_optional(&self, sql: &str, params: Vec<Value>) -> Result<Option<Row>, StoreError> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// Refuses new work, finishes what is queued, and closes all connections. Other clones answer [`StoreError::Closed`].
    pub async fn close(&self) {
        drop(self.lock_jobs().take());
        self.inner.shared.set_closed();
        if let Some(writer) = self.inner.writer.lock().await.take() {
            // An aborted writer (its runtime ended) has nothing left to finish.
            let _ = writer.await;
        }
    }
}
