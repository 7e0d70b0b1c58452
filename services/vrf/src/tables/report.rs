//! Rows for whoever looks: pages, what is held, traces and sums. The machine reads none of this.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256};
use windlass_store::{Store, UnixMillis, Value, params};

use super::{Scope, corrupt, from_text, tasks_of};
use crate::error::VrfError;
use crate::machine::{State, Task, TaskKey};

/// Rows that are held in memory at a time while sums are made.
const PAGE: u32 = 1_000;

/// Which tasks a list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filter {
    /// All that are stored.
    All,
    /// Those in a state.
    In(State),
    /// Those in which something may still happen.
    Unfinished,
    /// Those of them that do not move.
    Held,
}

impl Filter {
    /// By the name of a state, or `all`, `unfinished`, `held`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "all" => Some(Self::All),
            "unfinished" => Some(Self::Unfinished),
            "held" => Some(Self::Held),
            name => State::from_name(name).map(Self::In),
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::In(state) => state.name(),
            Self::Unfinished => "unfinished",
            Self::Held => "held",
        }
    }

    fn condition(self) -> String {
        match self {
            Self::All => String::new(),
            Self::In(state) => format!(" AND state = '{}'", state.name()),
            // A task that has ended may still be bound to a Band sequence: then it is live, but nothing happens to it.
            Self::Unfinished => format!(" AND live = 1 AND state NOT IN ({})", ended()),
            Self::Held => format!(" AND live = 1 AND hold IS NOT NULL AND state NOT IN ({})", ended()),
        }
    }
}

/// The names of the states in which nothing happens any more, for a statement.
fn ended() -> String {
    let names = State::ALL.into_iter().filter(|state| state.is_terminal()).map(|state| format!("'{}'", state.name()));
    names.collect::<Vec<_>>().join(", ")
}

/// Which message of which transaction asked for a value, and the id it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidRequest {
    /// Hash of the transaction.
    pub tx_hash: String,
    /// Place of the message in it, from 0.
    pub place: u32,
    /// Seed of the task it was made for.
    pub seed: B256,
    /// The id.
    pub id: u64,
}

/// What one day's transactions on BandChain cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BandDay {
    /// Transactions in a block.
    pub transactions: u64,
    /// Those of them that failed: paid for, without a request.
    pub failed: u64,
    /// Requests made.
    pub requests: u64,
    /// Fees paid, in the smallest unit of the fee's denomination.
    pub fees: u128,
}

/// What one day's relays earned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskDay {
    /// Tasks answered by this relay.
    pub tasks: u64,
    /// Their fees, wei.
    pub earned: U256,
    /// Band requests that were paid for them.
    pub requests: u64,
}

/// Days since 1970-01-01 UTC.
pub const fn day_of(at: UnixMillis) -> i64 {
    at.0.div_euclid(DAY_MS)
}

const DAY_MS: i64 = 86_400_000;

impl Scope {
    /// The scopes of a provider in this database: more than one if it has the same address on several chains. For when no endpoint tells
    /// the chain id.
    ///
    /// # Errors
    /// The database fails.
    pub async fn stored(store: &Store, provider: Address) -> Result<Vec<Self>, VrfError> {
        let sql = "SELECT chain_id FROM vrf_scans WHERE provider = $1 ORDER BY chain_id";
        let rows = store.query(sql, params![provider]).await?;
        rows.iter().map(|row| Ok(Self { chain_id: row.get("chain_id")?, provider })).collect()
    }

    /// Tasks with the highest numbers first, at most `limit`, below `before` if it is given.
    ///
    /// # Errors
    /// The database fails, or holds what this version does not understand.
    pub async fn page(&self, store: &Store, filter: Filter, before: Option<TaskKey>, limit: u32) -> Result<Vec<Task>, VrfError> {
        let mut values = self.params();
        let below = match before {
            Some(key) => {
                values.extend(params![key.nonce, key.seed]);
                " AND (nonce, seed) < ($3, $4)"
            }
            None => "",
        };
        let and = filter.condition();
        let sql = format!(
            "SELECT task FROM vrf_tasks WHERE chain_id = $1 AND provider = $2{and}{below} ORDER BY nonce DESC, seed DESC LIMIT {limit}"
        );
        tasks_of(&store.query(&sql, values).await?)
    }

    /// Tasks with the lowest numbers first, at most `limit`.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub async fn oldest(&self, store: &Store, filter: Filter, limit: u32) -> Result<Vec<Task>, VrfError> {
        let and = filter.condition();
        let sql =
            format!("SELECT task FROM vrf_tasks WHERE chain_id = $1 AND provider = $2{and} ORDER BY nonce, seed LIMIT {limit}");
        tasks_of(&store.query(&sql, self.params()).await?)
    }

    /// Number of held tasks per hold.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub async fn holds(&self, store: &Store) -> Result<BTreeMap<String, u64>, VrfError> {
        let and = Filter::Held.condition();
        let sql =
            format!("SELECT hold, COUNT(*) AS number FROM vrf_tasks WHERE chain_id = $1 AND provider = $2{and} GROUP BY hold");
        let rows = store.query(&sql, self.params()).await?;
        rows.iter().map(|row| Ok((row.get("hold")?, row.get("number")?))).collect()
    }

    /// The paid requests of the tasks under one number, oldest first.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub async fn paid_requests(&self, store: &Store, nonce: u64) -> Result<Vec<PaidRequest>, VrfError> {
        let mut values = self.params();
        values.push(Value::from(nonce));
        let sql = "SELECT tx_hash, place, seed, request_id FROM vrf_requests
                   WHERE chain_id = $1 AND provider = $2 AND nonce = $3 ORDER BY request_id";
        let rows = store.query(sql, values).await?;
        rows.iter()
            .map(|row| {
                let place: u64 = row.get("place")?;
                Ok(PaidRequest {
                    tx_hash: row.get("tx_hash")?,
                    place: u32::try_from(place).map_err(|error| corrupt("vrf_requests.place", error))?,
                    seed: row.get("seed")?,
                    id: row.get("request_id")?,
                })
            })
            .collect()
    }

    /// What relays earned, by the day (see [`day_of`]) on which their task changed last: the day on which the relay became final, or, until
    /// then, on which it was in a block. From `from_day` on.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub async fn earned_by_day(&self, store: &Store, from_day: i64) -> Result<BTreeMap<i64, TaskDay>, VrfError> {
        let mut days: BTreeMap<i64, TaskDay> = BTreeMap::new();
        let mut last = TaskKey::first(0);
        let sql = format!(
            "SELECT task FROM vrf_tasks WHERE chain_id = $1 AND provider = $2 AND state IN ('mined', 'resolved') AND updated_at >= $3
                 AND (nonce, seed) > ($4, $5) ORDER BY nonce, seed LIMIT {PAGE}"
        );
        loop {
            let mut values = self.params();
            values.extend(params![from_day.saturating_mul(DAY_MS), last.nonce, last.seed]);
            let tasks = tasks_of(&store.query(&sql, values).await?)?;
            for task in &tasks {
                let day = days.entry(day_of(task.updated_at)).or_default();
                day.tasks = day.tasks.saturating_add(1);
                day.earned = day.earned.saturating_add(task.chain.task_fee);
                day.requests = day.requests.saturating_add(u64::from(task.requests_paid));
            }
            match tasks.last() {
                Some(task) => last = task.key(),
                None => return Ok(days),
            }
        }
    }

    /// What transactions on BandChain cost, by the day on which they were signed. From `from_day` on.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub async fn band_fees_by_day(&self, store: &Store, from_day: i64) -> Result<BTreeMap<i64, BandDay>, VrfError> {
        let mut values = self.params();
        values.push(Value::from(from_day.saturating_mul(DAY_MS)));
        let sql = "SELECT signed_at, fee, state, tasks FROM vrf_band_txs
                   WHERE chain_id = $1 AND provider = $2 AND signed_at >= $3 AND state IN ('included', 'failed')";
        let mut days: BTreeMap<i64, BandDay> = BTreeMap::new();
        for row in store.query(sql, values).await? {
            let (state, tasks, fee): (String, String, U256) = (row.get("state")?, row.get("tasks")?, row.get("fee")?);
            let tasks: Vec<TaskKey> = from_text("vrf_band_txs.tasks", &tasks)?;
            let day = days.entry(day_of(row.get("signed_at")?)).or_default();
            day.transactions = day.transactions.saturating_add(1);
            day.fees = day.fees.saturating_add(u128::try_from(fee).unwrap_or(u128::MAX));
            if state == "included" {
                day.requests = day.requests.saturating_add(u64::try_from(tasks.len()).unwrap_or(u64::MAX));
            } else {
                day.failed = day.failed.saturating_add(1);
            }
        }
        Ok(days)
    }
}
