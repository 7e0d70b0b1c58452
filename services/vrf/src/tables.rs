//! The rows of the relay. Nothing here decides anything.

mod report;

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use serde::Serialize;
use serde::de::DeserializeOwned;
use windlass_keys::sign_once::{self, Slot};
use windlass_store::{Migration, Migrations, Row, Store, StoreError, Tx, UnixMillis, Value, params};

use crate::error::VrfError;
use crate::machine::lane::{BandTx, BandTxState};
use crate::machine::{Changes, Hold, Record, Scan, State, Task, TaskKey};

pub use report::{BandDay, Filter, PaidRequest, TaskDay, day_of};

/// The tables of this service.
pub static MIGRATIONS: Migrations = Migrations {
    component: "vrf",
    steps: &[Migration { number: 1, name: "relay", sql: include_str!("../migrations/0001_relay.sql") }],
};

/// Rows per statement.
const CHUNK: usize = 64;

/// Whose rows: one provider on one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Chain id of the client chain.
    pub chain_id: u64,
    /// The provider contract.
    pub provider: Address,
}

/// Whose transactions on BandChain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BandScope {
    /// Chain id.
    pub chain: String,
    /// Address, `band1...`.
    pub account: String,
}

/// What a relay starts with.
#[derive(Debug, Default)]
pub struct Memory {
    /// Tasks that are not finished.
    pub tasks: Vec<Task>,
    /// All transactions of sequences that are not settled.
    pub band_txs: Vec<BandTx>,
    /// Where reading goes on.
    pub scan: Option<Scan>,
}

/// One line of a task's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryLine {
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// Seed of the task: a reorganisation may have put another task under the same number.
    pub seed: B256,
    /// State before.
    pub from: Option<String>,
    /// State after.
    pub to: String,
    /// What happened.
    pub text: String,
    /// Whether an operator should look.
    pub bad: bool,
}

/// A line of the whole history of a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditLine {
    /// Its place in the history, ascending.
    pub position: u64,
    /// Number of the task.
    pub nonce: u64,
    /// What happened to it.
    #[serde(flatten)]
    pub line: HistoryLine,
}

fn corrupt(what: &'static str, error: impl std::fmt::Display) -> VrfError {
    VrfError::Row { what, detail: error.to_string() }
}

fn to_text<T: Serialize>(what: &'static str, value: &T) -> Result<String, VrfError> {
    serde_json::to_string(value).map_err(|error| corrupt(what, error))
}

fn from_text<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, VrfError> {
    serde_json::from_str(text).map_err(|error| corrupt(what, error))
}

/// `($1, $2), ($3, $4), ...`: `rows` rows of `width` parameters.
fn rows_of(rows: usize, width: usize) -> String {
    let row = |row: usize| {
        let places: Vec<String> =
            (1..=width).map(|place| format!("${}", row.saturating_mul(width).saturating_add(place))).collect();
        format!("({})", places.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

impl Scope {
    fn params(&self) -> Vec<Value> {
        params![self.chain_id, self.provider]
    }

    /// Everything that a relay starts with. A list of callers that is not the one of the last run makes all numbers unread again:
    /// tasks of new callers may be among them.
    ///
    /// # Errors
    /// The database fails, or holds what this version does not understand.
    pub async fn load(&self, store: &Store, callers: B256) -> Result<Memory, VrfError> {
        let sql = "SELECT task FROM vrf_tasks WHERE chain_id = $1 AND provider = $2 AND live = 1 ORDER BY nonce";
        let tasks = tasks_of(&store.query(sql, self.params()).await?)?;
        // All transactions of a sequence that has an open one: the ones that were replaced may land as well.
        let sql = "SELECT * FROM vrf_band_txs WHERE chain_id = $1 AND provider = $2 AND state IN ('signed', 'broadcast') ORDER BY sequence, number";
        let band_txs = store.query(sql, self.params()).await?.iter().map(band_tx_of).collect::<Result<_, _>>()?;
        let sql = "SELECT next, callers FROM vrf_scans WHERE chain_id = $1 AND provider = $2";
        let scan = match store.query_optional(sql, self.params()).await? {
            Some(row) if row.get::<B256>("callers")? == callers => Some(Scan { next: row.get("next")? }),
            _ => None,
        };
        Ok(Memory { tasks, band_txs, scan })
    }

    /// The sequence after the last one that this account signed a Band transaction for; 0 if it signed none.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn signed_below(&self, store: &Store, account: &str) -> Result<u64, VrfError> {
        let mut values = self.params();
        values.push(Value::from(account));
        let sql = "SELECT sequence FROM vrf_band_txs WHERE chain_id = $1 AND provider = $2 AND account = $3 ORDER BY sequence DESC LIMIT 1";
        let last = store.query_optional(sql, values).await?.map(|row| row.get::<u64>("sequence")).transpose()?;
        Ok(last.map_or(0, |last| last.saturating_add(1)))
    }

    /// The rows of these tasks, whatever their state.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn tasks(&self, store: &Store, keys: &[TaskKey]) -> Result<Vec<Task>, VrfError> {
        let mut tasks = Vec::new();
        for chunk in keys.chunks(CHUNK) {
            let mut values = self.params();
            values.extend(chunk.iter().map(|key| Value::from(key.seed)));
            let places: Vec<String> = (3..3_usize.saturating_add(chunk.len())).map(|place| format!("${place}")).collect();
            let sql =
                format!("SELECT task FROM vrf_tasks WHERE chain_id = $1 AND provider = $2 AND seed IN ({})", places.join(", "));
            tasks.extend(tasks_of(&store.query(&sql, values).await?)?);
        }
        Ok(tasks)
    }

    /// All tasks under one number: more than one if reorganisations replaced it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn tasks_under(&self, store: &Store, nonce: u64) -> Result<Vec<Task>, VrfError> {
        let mut values = self.params();
        values.push(Value::from(nonce));
        let sql = "SELECT task FROM vrf_tasks WHERE chain_id = $1 AND provider = $2 AND nonce = $3 ORDER BY seen_at";
        tasks_of(&store.query(sql, values).await?)
    }

    /// The newest tasks first, at most `limit`; only those in a state with this name when one is given.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn newest(&self, store: &Store, state: Option<&str>, limit: u32) -> Result<Vec<Task>, VrfError> {
        let mut values = self.params();
        let and = match state {
            Some(state) => {
                values.push(Value::from(state));
                " AND state = $3"
            }
            None => "",
        };
        let sql =
            format!("SELECT task FROM vrf_tasks WHERE chain_id = $1 AND provider = $2{and} ORDER BY nonce DESC LIMIT {limit}");
        tasks_of(&store.query(&sql, values).await?)
    }

    /// Number of tasks per state.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn counts(&self, store: &Store) -> Result<BTreeMap<State, u64>, VrfError> {
        let sql = "SELECT state, COUNT(*) AS number FROM vrf_tasks WHERE chain_id = $1 AND provider = $2 GROUP BY state";
        let mut counts = BTreeMap::new();
        for row in store.query(sql, self.params()).await? {
            let name: String = row.get("state")?;
            let state = State::from_name(&name).ok_or_else(|| corrupt("vrf_tasks.state", &name))?;
            counts.insert(state, row.get("number")?);
        }
        Ok(counts)
    }

    /// History of the tasks under one number, oldest first.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn history(&self, store: &Store, nonce: u64) -> Result<Vec<HistoryLine>, VrfError> {
        let mut values = self.params();
        values.push(Value::from(nonce));
        let sql = "SELECT at, seed, from_state, to_state, text, bad FROM vrf_history
                   WHERE chain_id = $1 AND provider = $2 AND nonce = $3 ORDER BY position";
        let rows = store.query(sql, values).await?;
        rows.iter().map(history_line_of).collect()
    }

    /// The next lines of the whole history behind a position, oldest first.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn history_after(&self, store: &Store, position: u64, limit: u32) -> Result<Vec<AuditLine>, VrfError> {
        let mut values = self.params();
        values.extend(params![position, u64::from(limit)]);
        let sql = "SELECT position, at, nonce, seed, from_state, to_state, text, bad FROM vrf_history
                   WHERE chain_id = $1 AND provider = $2 AND position > $3 ORDER BY position LIMIT $4";
        let rows = store.query(sql, values).await?;
        rows.iter()
            .map(|row| {
                let (position, nonce) = (row.get("position")?, row.get("nonce")?);
                Ok(AuditLine { position, nonce, line: history_line_of(row)? })
            })
            .collect()
    }

    /// Band transactions that carried a task, oldest first.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn band_txs_of(&self, store: &Store, nonce: u64) -> Result<Vec<BandTx>, VrfError> {
        let mut values = self.params();
        values.push(Value::from(format!("%\"nonce\":{nonce},%")));
        let sql = "SELECT * FROM vrf_band_txs WHERE chain_id = $1 AND provider = $2 AND tasks LIKE $3 ORDER BY sequence, number";
        store.query(sql, values).await?.iter().map(band_tx_of).collect()
    }

    /// Writes what a step changed, in the caller's transaction. A Band transaction takes its sign-once slot here: for one sequence and number
    /// there is one sequence of bytes, for ever.
    ///
    /// # Errors
    /// The database fails, or another transaction was signed for the slot: then nothing may leave.
    pub async fn write(
        &self,
        tx: &mut Tx<'_>,
        band: &BandScope,
        callers: B256,
        changes: &Changes,
        now: UnixMillis,
    ) -> Result<(), VrfError> {
        for chunk in changes.tasks.chunks(CHUNK) {
            self.write_tasks(tx, chunk).await?;
        }
        for band_tx in &changes.band_txs {
            self.write_band_tx(tx, band, band_tx, now).await?;
        }
        for (hash, place, key, id) in &changes.requests {
            tx.execute(
                "INSERT INTO vrf_requests (tx_hash, place, chain_id, provider, nonce, seed, request_id) VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (tx_hash, place) DO NOTHING",
                params![hash.as_str(), u64::from(*place), self.chain_id, self.provider, key.nonce, key.seed, *id],
            )
            .await?;
        }
        for chunk in changes.records.chunks(CHUNK) {
            self.write_history(tx, chunk, now).await?;
        }
        if let Some(scan) = changes.scan {
            tx.execute(
                "INSERT INTO vrf_scans (chain_id, provider, next, callers) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (chain_id, provider) DO UPDATE SET next = excluded.next, callers = excluded.callers",
                params![self.chain_id, self.provider, scan.next, callers],
            )
            .await?;
        }
        Ok(())
    }

    async fn write_tasks(&self, tx: &mut Tx<'_>, tasks: &[Task]) -> Result<(), VrfError> {
        let mut values = Vec::with_capacity(tasks.len().saturating_mul(10));
        for task in tasks {
            let hold = task.hold.as_ref().map(Hold::name);
            values.extend(params![
                self.chain_id,
                self.provider,
                task.chain.nonce,
                task.chain.seed,
                task.state.name(),
                hold,
                !task.state.is_terminal() || task.sequence.is_some(),
                to_text("task", task)?,
                task.seen_at,
                task.updated_at
            ]);
        }
        let sql = format!(
            "INSERT INTO vrf_tasks (chain_id, provider, nonce, seed, state, hold, live, task, seen_at, updated_at) VALUES {}
             ON CONFLICT (chain_id, provider, nonce, seed) DO UPDATE SET state = excluded.state, hold = excluded.hold,
                 live = excluded.live, task = excluded.task, updated_at = excluded.updated_at",
            rows_of(tasks.len(), 10)
        );
        tx.execute(&sql, values).await?;
        Ok(())
    }

    async fn write_history(&self, tx: &mut Tx<'_>, records: &[Record], now: UnixMillis) -> Result<(), VrfError> {
        let mut values = Vec::with_capacity(records.len().saturating_mul(9));
        for record in records {
            values.extend(params![
                self.chain_id,
                self.provider,
                record.key.nonce,
                record.key.seed,
                now,
                record.from.map(State::name),
                record.to.name(),
                record.text.as_str(),
                record.bad
            ]);
        }
        let sql = format!(
            "INSERT INTO vrf_history (chain_id, provider, nonce, seed, at, from_state, to_state, text, bad) VALUES {}",
            rows_of(records.len(), 9)
        );
        tx.execute(&sql, values).await?;
        Ok(())
    }

    async fn write_band_tx(&self, tx: &mut Tx<'_>, band: &BandScope, band_tx: &BandTx, now: UnixMillis) -> Result<(), VrfError> {
        let slot = Slot {
            domain: format!("vrf/band/{}/{}", band.chain, band.account),
            key: format!("{}/{}", band_tx.sequence, band_tx.number),
        };
        sign_once::guard(tx, &slot, keccak256(&band_tx.bytes), now).await?;
        tx.execute(
            "INSERT INTO vrf_band_txs (band_chain, account, sequence, number, chain_id, provider, tx_hash, raw, tasks, terms, fee,
                 gas_limit, state, height, signed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
             ON CONFLICT (band_chain, account, sequence, number) DO UPDATE SET state = excluded.state, height = excluded.height",
            params![
                band.chain.as_str(),
                band.account.as_str(),
                band_tx.sequence,
                u64::from(band_tx.number),
                self.chain_id,
                self.provider,
                band_tx.hash.as_str(),
                band_tx.bytes.to_vec(),
                to_text("tasks", &band_tx.tasks)?,
                to_text("terms", &band_tx.terms)?,
                U256::from(band_tx.fee),
                band_tx.gas_limit,
                band_tx.state.name(),
                band_tx.height,
                band_tx.signed_at
            ],
        )
        .await?;
        Ok(())
    }
}

fn tasks_of(rows: &[Row]) -> Result<Vec<Task>, VrfError> {
    rows.iter()
        .map(|row| {
            let text: String = row.get("task")?;
            from_text("vrf_tasks.task", &text)
        })
        .collect()
}

fn history_line_of(row: &Row) -> Result<HistoryLine, VrfError> {
    let at: UnixMillis = row.get("at")?;
    Ok(HistoryLine {
        at_ms: at.0,
        seed: row.get("seed")?,
        from: row.get("from_state")?,
        to: row.get("to_state")?,
        text: row.get("text")?,
        bad: row.get("bad")?,
    })
}

fn band_tx_of(row: &Row) -> Result<BandTx, VrfError> {
    let (tasks, terms, state): (String, String, String) = (row.get("tasks")?, row.get("terms")?, row.get("state")?);
    let fee: U256 = row.get("fee")?;
    let number: u64 = row.get("number")?;
    let bytes: Vec<u8> = row.get("raw")?;
    Ok(BandTx {
        sequence: row.get("sequence")?,
        number: u32::try_from(number).map_err(|error| corrupt("vrf_band_txs.number", error))?,
        hash: row.get("tx_hash")?,
        bytes: Bytes::from(bytes),
        tasks: from_text("vrf_band_txs.tasks", &tasks)?,
        terms: from_text("vrf_band_txs.terms", &terms)?,
        fee: u128::try_from(fee).map_err(|error| corrupt("vrf_band_txs.fee", error))?,
        gas_limit: row.get("gas_limit")?,
        state: BandTxState::from_name(&state).ok_or_else(|| corrupt("vrf_band_txs.state", &state))?,
        height: row.get("height")?,
        signed_at: row.get("signed_at")?,
    })
}

/// What tells one list of callers from another, whatever its order.
pub fn callers_hash(callers: &std::collections::BTreeSet<Address>) -> B256 {
    keccak256(callers.iter().flat_map(|caller| caller.0).collect::<Vec<u8>>())
}

impl From<StoreError> for VrfError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
