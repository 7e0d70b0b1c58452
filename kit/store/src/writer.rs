//! The one task that writes: takes the jobs that wait, runs each in its own savepoint, commits once, then answers.
//!
//! Invariants:
//! - No job is answered before the commit that holds it, or before it is certain that nothing of it is kept.
//! - A job that fails (an error, a panic, a time limit, a failed statement) leaves no trace; the others of its group stay.
//! - A job runs at most once. When the connection breaks, jobs that have run get an error, jobs that have not run yet go
//!   into a group on a new connection.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::engine::{self, Backend, Conn, Role, Scratch, Target};
use crate::error::StoreError;
use crate::hook::HookAction;
use crate::metrics;
use crate::options::StoreOptions;
use crate::pool::Pool;
use crate::tx::{Effect, Fences, Tx};

/// A job's savepoint. Two names take turns: undoing a job whose savepoint was never made then fails, and does not reach back to
/// the savepoint of the job before it.
#[derive(Clone, Copy)]
struct Savepoint {
    /// Run before the first statement of the job.
    open: &'static str,
    undo: &'static str,
}

const FIRST: Savepoint = Savepoint { open: "SAVEPOINT job_a;", undo: "ROLLBACK TO SAVEPOINT job_a" };
const AFTER_A: Savepoint = Savepoint { open: "RELEASE SAVEPOINT job_a;SAVEPOINT job_b;", undo: "ROLLBACK TO SAVEPOINT job_b" };
const AFTER_B: Savepoint = Savepoint { open: "RELEASE SAVEPOINT job_b;SAVEPOINT job_a;", undo: "ROLLBACK TO SAVEPOINT job_a" };

/// How long undoing may take on a server that may have gone away, before the connection is given up.
const UNDO_TIME_LIMIT: Duration = Duration::from_secs(5);

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const CRASHED: u8 = 2;

tokio::task_local! {
    /// Identity of the store whose writer is the present task.
    static WRITING: usize;
}

/// What the handles of a store and its writer have in common.
pub(crate) struct Shared {
    pub(crate) target: Target,
    pub(crate) options: StoreOptions,
    pub(crate) pool: Pool,
    state: AtomicU8,
}

impl Shared {
    pub(crate) fn new(target: Target, options: StoreOptions) -> Self {
        let pool = Pool::new(&options);
        Self { target, options, pool, state: AtomicU8::new(OPEN) }
    }

    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        match self.state.load(Ordering::SeqCst) {
            OPEN => Ok(()),
            _ => Err(self.ended()),
        }
    }

    /// Why there is no writer any more.
    pub(crate) fn ended(&self) -> StoreError {
        if self.is_crashed() { StoreError::Crashed } else { StoreError::Closed }
    }

    fn is_crashed(&self) -> bool {
        self.state.load(Ordering::SeqCst) == CRASHED
    }

    pub(crate) fn set_closed(&self) {
        let _ = self.state.compare_exchange(OPEN, CLOSED, Ordering::SeqCst, Ordering::SeqCst);
        self.pool.close();
    }

    fn set_crashed(&self) {
        self.state.store(CRASHED, Ordering::SeqCst);
        self.pool.close();
    }

    fn identity(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    /// Whether the caller runs inside a job of this store.
    pub(crate) fn is_writing(self: &Arc<Self>) -> bool {
        WRITING.try_with(|identity| *identity == self.identity()).unwrap_or(false)
    }
}

/// A queued job, with its types erased.
pub(crate) trait Job: Send {
    fn name(&self) -> &'static str;

    /// Whether the job time limit holds for it.
    fn is_limited(&self) -> bool;

    /// Runs it and keeps its outcome; true when it returned `Ok`.
    fn run<'t>(&'t mut self, tx: &'t mut Tx<'_>) -> BoxFuture<'t, bool>;

    /// Answers the caller: with the outcome of the job itself, or with `instead`.
    fn answer(self: Box<Self>, instead: Option<StoreError>);
}

pub(crate) struct TypedJob<T, E, F> {
    name: &'static str,
    limited: bool,
    job: Option<F>,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> TypedJob<T, E, F> {
    pub(crate) fn new(name: &'static str, limited: bool, job: F, reply: oneshot::Sender<Result<T, E>>) -> Self {
        Self { name, limited, job: Some(job), outcome: None, reply }
    }
}

impl<T, E, F> Job for TypedJob<T, E, F>
where
    F: for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn is_limited(&self) -> bool {
        self.limited
    }

    fn run<'t>(&'t mut self, tx: &'t mut Tx<'_>) -> BoxFuture<'t, bool> {
        Box::pin(async move {
            let Some(job) = self.job.take() else { return false };
            let outcome = job(tx).await;
            let kept = outcome.is_ok();
            self.outcome = Some(outcome);
            kept
        })
    }

    fn answer(self: Box<Self>, instead: Option<StoreError>) {
        let answer = match (instead, self.outcome) {
            (Some(error), _) => Err(E::from(error)),
            (None, Some(outcome)) => outcome,
            (None, None) => Err(E::from(StoreError::Closed)),
        };
        // A caller that went away does not need its answer; the job is kept all the same.
        let _ = self.reply.send(answer);
    }
}

/// A job that has run, and the error that replaces its own outcome, if any.
struct Done {
    job: Box<dyn Job>,
    kept: bool,
    instead: Option<StoreError>,
    effects: Vec<Effect>,
}

impl Done {
    fn kept(job: Box<dyn Job>, effects: Vec<Effect>) -> Self {
        Self { job, kept: true, instead: None, effects }
    }

    fn failed(job: Box<dyn Job>, instead: Option<StoreError>) -> Self {
        Self { job, kept: false, instead, effects: Vec::new() }
    }
}

/// How a job ended.
enum Ran {
    /// With what is to be done after the commit.
    Kept(Vec<Effect>),
    /// To be undone. `instead` replaces the job's own error, which stands if there is none; `cause` is the statement that
    /// failed, if one did.
    Failed { instead: Option<StoreError>, cause: Option<StoreError> },
    /// The connection is of no use any more, so the whole group is gone.
    Lost(StoreError),
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    conn: Option<Conn>,
    scratch: Scratch,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, conn: Conn, scratch: Scratch) -> Self {
        metrics::writer_connected();
        Self { shared, conn: Some(conn), scratch }
    }

    /// Runs until all handles are gone or a hook ends the store.
    pub(crate) async fn run(self, jobs: mpsc::Receiver<Box<dyn Job>>) {
        let identity = self.shared.identity();
        WRITING.scope(identity, self.serve(jobs)).await;
    }

    async fn serve(mut self, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
        let limit = self.shared.options.group_limit.max(1);
        while let Some(first) = jobs.recv().await {
            let mut group = VecDeque::from([first]);
            while group.len() < limit {
                let Ok(job) = jobs.try_recv() else { break };
                group.push_back(job);
            }
            let taken = group.len();
            let failed = self.process(group).await;
            metrics::group(taken, failed, jobs.len());
            if self.shared.is_crashed() {
                break;
            }
        }
        // After a crash: whoever still waits, or was about to, is told so.
        jobs.close();
        while let Some(job) = jobs.recv().await {
            job.answer(Some(self.shared.ended()));
        }
        if let Some(conn) = self.conn.take() {
            conn.close().await;
        }
        drop(self.scratch.take());
    }

    /// Runs jobs in as few groups as possible (one, unless a connection breaks). Returns how many failed.
    async fn process(&mut self, mut waiting: VecDeque<Box<dyn Job>>) -> usize {
        let mut failed = 0;
        while !waiting.is_empty() {
            let begun = if self.shared.is_crashed() { Err(StoreError::Crashed) } else { self.begin().await };
            match begun {
                Ok(conn) => failed += self.group(conn, &mut waiting).await,
                Err(error) => {
                    failed += waiting.len();
                    for job in waiting.drain(..) {
                        job.answer(Some(error.clone()));
                    }
                }
            }
        }
        failed
    }

    /// A connection with an open transaction. A connection that broke since the last group is replaced.
    async fn begin(&mut self) -> Result<Conn, StoreError> {
        // SQLite: take the write lock at once, so that no job fails in its middle because another process writes.
        let sql = match self.shared.target.backend() {
            Backend::Sqlite => "BEGIN IMMEDIATE",
            Backend::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        };
        if let Some(mut conn) = self.conn.take() {
            match self.control(&mut conn, sql, self.shared.options.job_time_limit).await {
                Ok(()) => return Ok(conn),
                Err(error) => {
                    let error = self.shared.target.error(Role::Writer, sql, error);
                    if !engine::is_lost(&error) {
                        self.conn = Some(conn);
                        return Err(error);
                    }
                    tracing::warn!(place = %self.shared.target.place, %error, "the writer lost its connection; reconnecting");
                }
            }
        }
        let mut conn = self.shared.target.connect(Role::Writer).await?;
        metrics::writer_connected();
        self.control(&mut conn, sql, self.shared.options.job_time_limit)
            .await
            .map_err(|error| self.shared.target.error(Role::Writer, sql, error))?;
        Ok(conn)
    }

    /// Runs one group on an open transaction and answers its jobs. Jobs that could not be run stay in `waiting`.
    async fn group(&mut self, mut conn: Conn, waiting: &mut VecDeque<Box<dyn Job>>) -> usize {
        // A job alone needs no savepoint: the whole transaction is its own.
        let alone = waiting.len() == 1;
        let mut savepoint = FIRST;
        let mut fences = Fences::default();
        let mut done: Vec<Done> = Vec::with_capacity(waiting.len());
        while let Some(mut job) = waiting.pop_front() {
            let prefix = if alone { "" } else { savepoint.open };
            let (mut ran, started) = self.run_job(job.as_mut(), &mut conn, &mut fences, prefix).await;
            if started && !alone {
                if let Ran::Failed { cause, .. } = &mut ran {
                    // Locks taken since the savepoint are given back with it, so fences have to be checked again.
                    fences.clear();
                    if let Err(error) = self.control(&mut conn, savepoint.undo, Some(UNDO_TIME_LIMIT)).await {
                        // The engine has rolled back everything by itself (a full disk), or the connection is gone.
                        let undo = self.shared.target.error(Role::Writer, savepoint.undo, error);
                        ran = Ran::Lost(cause.take().unwrap_or(undo));
                    }
                }
                savepoint = if savepoint.undo == AFTER_A.undo { AFTER_B } else { AFTER_A };
            }
            match ran {
                Ran::Kept(effects) => done.push(Done::kept(job, effects)),
                Ran::Failed { instead, .. } => done.push(Done::failed(job, instead)),
                Ran::Lost(error) => {
                    done.push(Done::failed(job, None));
                    return self.lose(conn, done, error).await;
                }
            }
        }
        self.finish(conn, done).await
    }

    async fn run_job(&self, job: &mut dyn Job, conn: &mut Conn, fences: &mut Fences, prefix: &'static str) -> (Ran, bool) {
        let name = job.name();
        let limit = self.shared.options.job_time_limit.filter(|_| job.is_limited());
        let mut tx = Tx::new(name, conn, &self.shared.target, fences, prefix);
        let running = AssertUnwindSafe(job.run(&mut tx)).catch_unwind();
        let outcome = match limit {
            Some(limit) => tokio::time::timeout(limit, running).await.map_err(|_| limit),
            None => Ok(running.await),
        };
        let started = tx.started();
        let failure = tx.take_failure();
        let effects = tx.take_effects();
        let interrupted = tx.is_interrupted();
        let ran = match (outcome, failure) {
            (_, Some(failure)) if engine::is_lost(&failure) => Ran::Lost(failure),
            // Ended in the middle of a statement: nobody knows how far it got.
            (Err(limit), _) if interrupted => Ran::Lost(StoreError::JobTimeLimit { job: name, limit }),
            _ if interrupted => Ran::Lost(StoreError::StatementAbandoned { job: name }),
            (Err(limit), cause) => Ran::Failed { instead: Some(StoreError::JobTimeLimit { job: name, limit }), cause },
            (Ok(Err(panic)), cause) => {
                let message = panic_message(panic.as_ref());
                tracing::error!(job = name, message, "a write job panicked; it was rolled back");
                Ran::Failed { instead: Some(StoreError::JobPanicked { job: name, message }), cause }
            }
            (Ok(Ok(true)), Some(failure)) => {
                let source = Box::new(failure.clone());
                let instead = StoreError::FailedStatementIgnored { job: name, source };
                Ran::Failed { instead: Some(instead), cause: Some(failure) }
            }
            (Ok(Ok(true)), None) => Ran::Kept(effects),
            (Ok(Ok(false)), cause) => Ran::Failed { instead: None, cause },
        };
        (ran, started)
    }

    /// Commits what is left of the group, or rolls back when nothing is, and answers.
    async fn finish(&mut self, mut conn: Conn, mut done: Vec<Done>) -> usize {
        let kept: Vec<&'static str> = done.iter().filter(|done| done.kept).map(|done| done.job.name()).collect();
        let failed = done.len().saturating_sub(kept.len());
        if kept.is_empty() {
            if let Err(error) = self.control(&mut conn, "ROLLBACK", Some(UNDO_TIME_LIMIT)).await {
                // Nothing was kept and nothing will be: a connection that is gone has no transaction.
                tracing::debug!(%error, "rolling back failed; the connection is dropped");
            } else {
                self.conn = Some(conn);
            }
            answer(done, None);
            return failed;
        }
        let hook = self.shared.options.hook.clone();
        if hook.as_ref().is_some_and(|hook| hook.before_commit(&kept) == HookAction::Crash) {
            let _ = self.control(&mut conn, "ROLLBACK", Some(UNDO_TIME_LIMIT)).await;
            return self.crash(conn, done).await;
        }
        let start = Instant::now();
        let committed = self.control(&mut conn, "COMMIT", self.shared.options.job_time_limit).await;
        metrics::commit(start.elapsed());
        if let Err(error) = committed {
            metrics::commit_failed();
            let error = self.commit_error(error);
            tracing::error!(place = %self.shared.target.place, %error, jobs = kept.len(), "a commit failed");
            return self.lose(conn, done, error).await;
        }
        if hook.as_ref().is_some_and(|hook| hook.after_commit(&kept) == HookAction::Crash) {
            return self.crash(conn, done).await;
        }
        self.conn = Some(conn);
        for effect in done.iter_mut().flat_map(|entry| entry.effects.drain(..)) {
            if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(effect)) {
                tracing::error!(message = panic_message(panic.as_ref()), "an action after a commit panicked");
            }
        }
        answer(done, None);
        failed
    }

    fn commit_error(&self, error: sqlx::Error) -> StoreError {
        let place = self.shared.target.place.to_string();
        if engine::outcome_is_unknown(self.shared.target.backend(), &error) {
            return StoreError::CommitUnknown { place, source: Arc::new(error) };
        }
        StoreError::Commit { place, source: Box::new(self.shared.target.error(Role::Writer, "COMMIT", error)) }
    }

    /// The transaction is gone: everybody in the group is told `error`, and the next group gets a new connection.
    async fn lose(&mut self, mut conn: Conn, done: Vec<Done>, error: StoreError) -> usize {
        // The connection may be healthy (the engine rolled back by itself): give its locks back before it is dropped.
        let _ = self.control(&mut conn, "ROLLBACK", Some(UNDO_TIME_LIMIT)).await;
        if self.shared.target.backend() == Backend::Sqlite {
            conn.close().await;
        }
        let failed = done.len();
        answer(done, Some(&error));
        failed
    }

    async fn crash(&mut self, conn: Conn, done: Vec<Done>) -> usize {
        // Closed before anybody is told, so that the database can be opened again at once.
        self.shared.set_crashed();
        conn.close().await;
        let failed = done.len();
        for entry in done {
            entry.job.answer(Some(StoreError::Crashed));
        }
        failed
    }

    /// Runs a statement of the writer itself. Only a server can leave it without an answer, so only there is a limit.
    async fn control(&self, conn: &mut Conn, sql: &str, limit: Option<Duration>) -> Result<(), sqlx::Error> {
        let limited = self.shared.options.job_time_limit.is_some() && conn.backend() == Backend::Postgres;
        match limit.filter(|_| limited) {
            Some(limit) => tokio::time::timeout(limit, conn.batch(sql))
                .await
                .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
            None => conn.batch(sql).await,
        }
    }
}

/// Answers all jobs: with their own outcome, or, where the group was lost, with its error.
///
/// A job that had failed by itself keeps its own error only when the group was committed: what it had seen may have been
/// rows of the same group.
fn answer(done: Vec<Done>, lost: Option<&StoreError>) {
    for entry in done {
        let instead = match (entry.instead, lost) {
            (Some(own), _) => Some(own),
            (None, Some(error)) => Some(error.clone()),
            (None, None) => None,
        };
        entry.job.answer(instead);
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
