//! The tasks that worker 0.1 has stored, in SQLite or PostgreSQL.
//!
//! Everything in them can be read from the client chain again, and is: a task counts as the chain tells it. What is taken over is where
//! to begin, so that a request the former worker left behind is not forgotten.

use alloy_primitives::{Address, B256, U256};
use windlass_store::{ForeignDatabase, Row, StoreError, params};

/// One row of the table `provider_tasks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerTask {
    /// Number of the task.
    pub nonce: u64,
    /// Whether it was resolved when the worker last looked.
    pub is_resolve: bool,
    /// Block time of the request, Unix seconds.
    pub time: u64,
    /// Who asked.
    pub caller: Address,
    /// Fee, in the base unit of the client chain.
    pub task_fee: U256,
    /// Seed.
    pub seed: B256,
    /// The caller's own seed. The worker stored it as text.
    pub client_seed: String,
    /// Block in which the worker saw it resolved.
    pub resolved_block_height: Option<u64>,
    /// Whether it was looked at again after a reorganisation could not change it any more.
    pub fork_checked: bool,
}

/// Why the tasks cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TasksError {
    /// The database failed, or is not one of worker 0.1.
    #[error("the tasks of the former worker cannot be read: {0}")]
    Store(#[from] StoreError),
    /// A row is not what the worker writes.
    #[error("row with nonce {nonce} of provider_tasks in {place}: {column} is {problem}")]
    Row {
        /// The database.
        place: String,
        /// The row.
        nonce: u64,
        /// The column.
        column: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
}

impl TasksError {
    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Row { .. } => Some("leave the database out: all tasks are read from the chain again".to_owned()),
        }
    }
}

/// What the former worker had stored, in short.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Takeover {
    /// Number of tasks.
    pub tasks: usize,
    /// Nonces of those that were not resolved, ascending.
    pub unresolved: Vec<u64>,
    /// Resolved ones that were not looked at again, ascending.
    pub unchecked: Vec<u64>,
    /// The highest nonce.
    pub highest: Option<u64>,
}

impl Takeover {
    /// Of tasks in any order.
    pub fn of(tasks: &[FormerTask]) -> Self {
        let nonces = |keep: &dyn Fn(&FormerTask) -> bool| {
            let mut nonces: Vec<u64> = tasks.iter().filter(|task| keep(task)).map(|task| task.nonce).collect();
            nonces.sort_unstable();
            nonces
        };
        Self {
            tasks: tasks.len(),
            unresolved: nonces(&|task| !task.is_resolve),
            unchecked: nonces(&|task| task.is_resolve && !task.fork_checked),
            highest: tasks.iter().map(|task| task.nonce).max(),
        }
    }

    /// Where to begin: at the first task that was not resolved for good, else at the last one stored, as the former worker did. `None`
    /// if nothing was stored.
    pub fn start_nonce(&self) -> Option<u64> {
        let open = self.unresolved.first().into_iter().chain(self.unchecked.first()).min();
        open.copied().or(self.highest)
    }
}

/// Reads all tasks of the database of a worker 0.1: `sqlite:<path>` or `postgres://...`. Nothing is written to it.
///
/// # Errors
/// The database cannot be read, has no such table, or holds a row that the worker does not write.
pub async fn read_tasks(url: &str) -> Result<Vec<FormerTask>, TasksError> {
    let mut database = ForeignDatabase::open(url).await?;
    let sql = "SELECT nonce, is_resolve, time, caller, task_fee, seed, client_seed, resolved_block_height, fork_checked \
               FROM provider_tasks ORDER BY nonce";
    let rows = database.query(sql, params![]).await?;
    let place = database.place().to_owned();
    let tasks = rows.iter().map(|row| task(row, &place)).collect();
    database.close().await;
    tasks
}

fn task(row: &Row, place: &str) -> Result<FormerTask, TasksError> {
    let nonce: u64 = row.get("nonce")?;
    let wrong = |column: &'static str, problem: &'static str| TasksError::Row { place: place.to_owned(), nonce, column, problem };
    let text = |column: &str| -> Result<String, StoreError> { row.get(column) };
    let caller = text("caller")?.parse().map_err(|_| wrong("caller", "no address"))?;
    let task_fee = U256::from_str_radix(&text("task_fee")?, 10).map_err(|_| wrong("task_fee", "no decimal number"))?;
    let seed = text("seed")?;
    let seed = seed.strip_prefix("0x").unwrap_or(&seed).parse().map_err(|_| wrong("seed", "not 64 hexadecimal digits"))?;
    Ok(FormerTask {
        nonce,
        is_resolve: row.get("is_resolve")?,
        time: row.get("time")?,
        caller,
        task_fee,
        seed,
        client_seed: text("client_seed")?,
        resolved_block_height: row.get("resolved_block_height")?,
        fork_checked: row.get("fork_checked")?,
    })
}
