//! What a write job sees of its transaction.

use std::collections::HashMap;
use std::fmt;

use crate::engine::{self, Backend, Conn, Role, Target};
use crate::error::StoreError;
use crate::store::Store;
use crate::value::{Row, Value};

/// Fencing numbers that were checked in this group. The rows stay locked until its commit, so one check is enough.
pub(crate) type Fences = HashMap<String, u64>;

/// Something to do once the job is durable.
pub(crate) type Effect = Box<dyn FnOnce() + Send>;

/// The transaction of a write job. Everything done through it is kept or dropped as a whole.
///
/// When a statement fails, the job is rolled back even if it goes on and returns `Ok`: PostgreSQL cannot continue such a
/// transaction, and the same job must mean the same on both engines.
pub struct Tx<'c> {
    job: &'static str,
    conn: &'c mut Conn,
    target: &'c Target,
    fences: &'c mut Fences,
    /// Statements that open this job's savepoint, until the first statement has run. A job that runs none needs none.
    prefix: &'static str,
    started: bool,
    /// A statement is under way. Stays set when the job drops a statement before its end.
    interrupted: bool,
    failure: Option<StoreError>,
    effects: Vec<Effect>,
}

impl fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("place", &self.target.place).field("started", &self.started).finish_non_exhaustive()
    }
}

impl<'c> Tx<'c> {
    pub(crate) fn new(
        job: &'static str,
        conn: &'c mut Conn,
        target: &'c Target,
        fences: &'c mut Fences,
        prefix: &'static str,
    ) -> Self {
        let (started, interrupted, failure, effects) = (false, false, None, Vec::new());
        Self { job, conn, target, fences, prefix, started, interrupted, failure, effects }
    }

    /// The engine, for the rare statement that needs another text on each.
    pub fn backend(&self) -> Backend {
        self.conn.backend()
    }

    /// Runs a statement and returns the number of rows it inserted, updated or deleted.
    ///
    /// # Errors
    /// [`StoreError::Constraint`], [`StoreError::ParameterCount`], [`StoreError::ValueRange`] for mistakes of the job;
    /// [`StoreError::Unavailable`] and others when the database fails. After any of them the job is rolled back.
    pub async fn execute(&mut self, sql: &str, params: Vec<Value>) -> Result<u64, StoreError> {
        self.run(sql, params).await.map(|(_, changed)| changed)
    }

    /// Runs a statement and returns all its rows: `SELECT`, or a change with `RETURNING`. Sees what the job wrote.
    ///
    /// # Errors
    /// As [`Tx::execute`].
    pub async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.run(sql, params).await.map(|(rows, _)| rows)
    }

    /// As [`Tx::query`], for at most one row; of several rows the first is returned.
    ///
    /// # Errors
    /// As [`Tx::execute`].
    pub async fn query_optional(&mut self, sql: &str, params: Vec<Value>) -> Result<Option<Row>, StoreError> {
        self.run(sql, params).await.map(|(rows, _)| rows.into_iter().next())
    }

    /// Has `effect` run by the writer as soon as the commit that holds this job is durable, before the job is answered. It
    /// never runs when the job or the commit fails, nor when it is unknown whether the commit was kept. It should only wake
    /// somebody: the next group waits for it, and after a crash it is lost.
    pub fn after_commit(&mut self, effect: impl FnOnce() + Send + 'static) {
        self.effects.push(Box::new(effect));
    }

    async fn run(&mut self, sql: &str, params: Vec<Value>) -> Result<(Vec<Row>, u64), StoreError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.interrupted {
            return Err(StoreError::StatementAbandoned { job: self.job });
        }
        let checked = if engine::is_transaction_control(sql) {
            Err(StoreError::TransactionControl { statement: engine::excerpt(sql) })
        } else {
            engine::check_parameters(sql, &params)
        };
        if let Err(error) = checked {
            return Err(self.fail(error));
        }
        self.started = true;
        let prefix = std::mem::take(&mut self.prefix);
        self.interrupted = true;
        let outcome = self.conn.run(prefix, sql, params).await;
        self.interrupted = false;
        outcome.map_err(|error| {
            let error = error.into_store(self.target, Role::Writer, sql);
            self.fail(error)
        })
    }

    /// Runs statements of this crate that take no parameters: migrations.
    pub(crate) async fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        self.started = true;
        let text = format!("{}{sql}", std::mem::take(&mut self.prefix));
        self.interrupted = true;
        let outcome = self.conn.batch(&text).await;
        self.interrupted = false;
        outcome.map_err(|error| {
            let error = self.target.error(Role::Writer, sql, error);
            self.fail(error)
        })
    }

    /// Forgets prepared statements whose result may have changed.
    pub(crate) async fn forget_statements(&mut self) -> Result<(), StoreError> {
        let outcome = self.conn.forget_statements().await;
        outcome.map_err(|error| {
            let error = self.target.error(Role::Writer, "deallocate", error);
            self.fail(error)
        })
    }

    fn fail(&mut self, error: StoreError) -> StoreError {
        self.failure.get_or_insert(error).clone()
    }

    pub(crate) fn place(&self) -> String {
        self.target.place.to_string()
    }

    pub(crate) fn fences(&mut self) -> &mut Fences {
        self.fences
    }

    /// Whether a statement was dropped before its end, so that the state of the transaction is not known.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Whether a statement was sent, so that a savepoint is open.
    pub(crate) fn started(&self) -> bool {
        self.started
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(crate) fn take_failure(&mut self) -> Option<StoreError> {
        self.failure.take()
    }
}

/// Something that can be read from: `&Store` (committed rows) or `&mut Tx` (also what the job wrote itself).
pub trait Query: Send {
    /// Runs a reading statement.
    fn query(self, sql: &str, params: Vec<Value>) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send;
}

impl Query for &Store {
    async fn query(self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        Store::query(self, sql, params).await
    }
}

impl Query for &mut Tx<'_> {
    async fn query(self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        Tx::query(self, sql, params).await
    }
}
