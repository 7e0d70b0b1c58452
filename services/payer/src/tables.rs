//! The rows of the payer service.

use alloy_primitives::Address;
use windlass_store::{Migration, Migrations, Store, Tx, UnixMillis, Value, params};

use crate::error::PayerError;
use crate::machine::{Agreement, Record, Severity};

/// The tables of this service.
pub static MIGRATIONS: Migrations = Migrations {
    component: "payer",
    steps: &[Migration { number: 1, name: "agreements", sql: include_str!("../migrations/0001_agreements.sql") }],
};

/// Which agreement a row belongs to. A row of another contract under the same name is not taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreementKey {
    /// Name of the instance.
    pub name: String,
    /// The chain.
    pub chain_id: u64,
    /// The contract.
    pub contract: Address,
}

/// One entry of the history.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HistoryEntry {
    /// Position, from 1.
    pub sequence: i64,
    /// When it was recorded, Unix milliseconds.
    pub at_ms: i64,
    /// How loud it is.
    pub severity: Severity,
    /// One sentence.
    pub text: String,
    /// The fact itself.
    #[serde(flatten)]
    pub record: Record,
}

fn corrupt(what: &'static str, error: impl std::fmt::Display) -> PayerError {
    PayerError::Row { what, detail: error.to_string() }
}

fn to_text<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String, PayerError> {
    serde_json::to_string(value).map_err(|error| corrupt(what, error))
}

/// The stored state; `None` when there is none or when it belongs to another contract.
pub async fn load(store: &Store, key: &AgreementKey) -> Result<Option<Agreement>, PayerError> {
    let row = store
        .query_optional(
            "SELECT state FROM payer_agreements WHERE name = $1 AND chain_id = $2 AND contract = $3",
            params![key.name.as_str(), key.chain_id, key.contract],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let state: String = row.get("state")?;
    serde_json::from_str(&state).map(Some).map_err(|error| corrupt("payer_agreements.state", error))
}

/// The stored state under a name, whatever contract it belongs to: for an instance that does not act now.
pub async fn load_by_name(store: &Store, name: &str, contract: Address) -> Result<Option<Agreement>, PayerError> {
    let row = store
        .query_optional("SELECT state FROM payer_agreements WHERE name = $1 AND contract = $2", params![name, contract])
        .await?;
    let Some(row) = row else { return Ok(None) };
    let state: String = row.get("state")?;
    serde_json::from_str(&state).map(Some).map_err(|error| corrupt("payer_agreements.state", error))
}

/// Writes the state and appends the records, in the caller's transaction.
pub async fn save(
    tx: &mut Tx<'_>,
    key: &AgreementKey,
    state: &Agreement,
    records: &[Record],
    now: UnixMillis,
) -> Result<(), PayerError> {
    let phase = state.phase.map_or("none", |phase| phase.as_str());
    let health = to_text("health", &state.health())?;
    tx.execute(
        "INSERT INTO payer_agreements (name, chain_id, contract, phase, health, state, updated_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (name) DO UPDATE SET chain_id = excluded.chain_id, contract = excluded.contract,
             phase = excluded.phase, health = excluded.health, state = excluded.state,
             updated_at_ms = excluded.updated_at_ms",
        params![key.name.as_str(), key.chain_id, key.contract, phase, health.trim_matches('"'), to_text("state", state)?, now],
    )
    .await?;
    if records.is_empty() {
        return Ok(());
    }
    let last = tx
        .query_optional(
            "SELECT COALESCE(MAX(sequence), 0) AS last FROM payer_history WHERE agreement = $1",
            params![key.name.as_str()],
        )
        .await?;
    let mut sequence: i64 = last.map_or(Ok(0), |row| row.get("last"))?;
    for record in records {
        sequence += 1;
        let severity = to_text("severity", &record.severity())?;
        tx.execute(
            "INSERT INTO payer_history (agreement, sequence, at_ms, code, severity, record)
             VALUES ($1, $2, $3, $4, $5, $6)",
            params![key.name.as_str(), sequence, now, record.code(), severity.trim_matches('"'), to_text("record", record)?],
        )
        .await?;
    }
    Ok(())
}

async fn entries(store: &Store, sql: &str, params: Vec<Value>) -> Result<Vec<HistoryEntry>, PayerError> {
    let rows = store.query(sql, params).await?;
    rows.iter()
        .map(|row| {
            let text: String = row.get("record")?;
            let record: Record = serde_json::from_str(&text).map_err(|error| corrupt("payer_history.record", error))?;
            let at: UnixMillis = row.get("at_ms")?;
            Ok(HistoryEntry {
                sequence: row.get("sequence")?,
                at_ms: at.0,
                severity: record.severity(),
                text: record.to_string(),
                record,
            })
        })
        .collect()
}

/// The latest entries, newest first.
pub async fn history(store: &Store, name: &str, limit: u32) -> Result<Vec<HistoryEntry>, PayerError> {
    entries(
        store,
        "SELECT sequence, at_ms, record FROM payer_history WHERE agreement = $1 ORDER BY sequence DESC LIMIT $2",
        params![name, i64::from(limit)],
    )
    .await
}

/// The latest attempts of actions, newest first.
pub async fn actions(store: &Store, name: &str, limit: u32) -> Result<Vec<HistoryEntry>, PayerError> {
    entries(
        store,
        "SELECT sequence, at_ms, record FROM payer_history
         WHERE agreement = $1 AND code IN ('action_started', 'action_ended', 'action_withdrawn', 'target_came_back')
         ORDER BY sequence DESC LIMIT $2",
        params![name, i64::from(limit)],
    )
    .await
}
