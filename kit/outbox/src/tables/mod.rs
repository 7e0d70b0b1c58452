//! Rows and SQL of the outbox. Nothing here decides anything.
//!
//! Statements that touch many rows name them in an `IN` list or insert them with many `VALUES`, so that a round costs a few
//! statements, not a few per transaction.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use read::{DueInclusion, RecordedIntent, WaitingRow};
pub(crate) use write::{Broken, Changes, HoldChange, Mark, NewAttempt, NewInclusion, OfferOutcome, Offers, day_of};

use alloy_primitives::{Address, U256};
use windlass_store::{Migration, Migrations, Row, StoreError, Value};

use crate::machine::{Attempt, Kind, LiveIntent};
use crate::model::{Hold, IntentId, Reason, State};
use crate::rejection::Rejection;

/// Tables of the outbox, to be applied with [`windlass_store::Store::migrate`]; [`crate::Outbox::open`] does it.
pub static MIGRATIONS: Migrations = Migrations {
    component: "outbox",
    steps: &[
        Migration { number: 1, name: "outbox", sql: include_str!("../../migrations/0001_outbox.sql") },
        Migration { number: 2, name: "outbox_order", sql: include_str!("../../migrations/0002_outbox_order.sql") },
    ],
};

/// Rows per statement where the number of rows is not bounded otherwise.
const CHUNK: usize = 128;

/// Whose rows: one chain, one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) chain_id: u64,
    pub(crate) account: Address,
}

impl Scope {
    fn params(&self) -> Vec<Value> {
        vec![Value::from(self.chain_id), Value::from(self.account)]
    }
}

impl From<IntentId> for Value {
    fn from(id: IntentId) -> Self {
        Self::from(id.0)
    }
}

/// `$first, $first+1, ...` for `count` parameters.
fn places(first: usize, count: usize) -> String {
    (first..first + count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

/// `($1, $2), ($3, $4), ...`: `rows` rows of `width` parameters.
fn rows_of(rows: usize, width: usize) -> String {
    (0..rows).map(|row| format!("({})", places(row * width + 1, width))).collect::<Vec<_>>().join(", ")
}

/// A stored text that this version does not understand: written by a later one, or damaged.
fn unreadable(column: &str, found: &str) -> StoreError {
    StoreError::ColumnType { column: column.to_owned(), expected: "a value this version knows", found: found.to_owned() }
}

fn id_of(row: &Row, column: &str) -> Result<IntentId, StoreError> {
    row.get::<[u8; 16]>(column).map(IntentId)
}

fn optional_id_of(row: &Row, column: &str) -> Result<Option<IntentId>, StoreError> {
    Ok(row.get::<Option<[u8; 16]>>(column)?.map(IntentId))
}

fn json_of<T: serde::de::DeserializeOwned>(row: &Row, column: &str) -> Result<Option<T>, StoreError> {
    let Some(text) = row.get::<Option<String>>(column)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|_| unreadable(column, &text))
}

fn kind_of(row: &Row, column: &str) -> Result<Kind, StoreError> {
    let name: String = row.get(column)?;
    Kind::from_name(&name).ok_or_else(|| unreadable(column, &name))
}

fn wei_of(row: &Row, column: &str) -> Result<u128, StoreError> {
    let wei: U256 = row.get(column)?;
    u128::try_from(wei).map_err(|_| unreadable(column, "a number above 128 bits"))
}

fn wei(value: u128) -> Value {
    Value::from(U256::from(value))
}

/// Text of a reason or hold. These types hold only texts and numbers: writing them cannot fail.
fn json<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_string(value).map_or(Value::Null, Value::from)
}

fn state_of(name: &str, reason: Option<Reason>) -> Option<State> {
    Some(match (name, reason) {
        ("recorded", _) => State::Recorded,
        ("signed", _) => State::Signed,
        ("broadcast", _) => State::Broadcast,
        ("included", _) => State::Included,
        ("final", _) => State::Final,
        ("reverted", Some(reason)) => State::Reverted(reason),
        ("dropped", Some(reason)) => State::Dropped(reason),
        _ => return None,
    })
}

fn state_in(row: &Row) -> Result<State, StoreError> {
    let name: String = row.get("state")?;
    state_of(&name, json_of(row, "reason")?).ok_or_else(|| unreadable("state", &name))
}

fn live_intent(row: &Row, id: IntentId) -> Result<LiveIntent, StoreError> {
    Ok(LiveIntent {
        id,
        state: state_in(row)?,
        value: row.get("value")?,
        fee: json_of(row, "fee_policy")?.unwrap_or_default(),
        gas_limit: row.get("asked_gas")?,
        deadline: row.get("deadline")?,
        cancel: row.get("cancel")?,
        bump: row.get("bump")?,
        simulate: row.get("simulate")?,
        hold: json_of::<Hold>(row, "hold")?,
    })
}

fn attempt_of(row: &Row) -> Result<Attempt, StoreError> {
    let rejection: Option<String> = row.get("rejection")?;
    let message: Option<String> = row.get("rejection_message")?;
    Ok(Attempt {
        hash: row.get("tx_hash")?,
        kind: kind_of(row, "kind")?,
        fees: crate::fees::Fees {
            max_fee: wei_of(row, "max_fee")?,
            priority_fee: wei_of(row, "priority_fee")?,
            legacy: row.get("legacy")?,
        },
        gas_limit: row.get("gas_limit")?,
        accepted_at: row.get("accepted_at")?,
        accepted_block: row.get("accepted_block")?,
        offered_at: row.get("offered_at")?,
        failures: row.get("failures")?,
        rejection: rejection.map(|name| (Rejection::from_name(&name), message.unwrap_or_default())),
    })
}
