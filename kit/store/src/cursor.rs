//! Named positions: how far a stream was consumed. Moved in the same commit as what was done with the input.
//!
//! A cursor holds a number or bytes, whichever it was last set to.

use crate::error::StoreError;
use crate::params;
use crate::tx::{Query, Tx};
use crate::value::Value;

const GET: &str = "SELECT number, bytes FROM windlass_cursor WHERE name = $1";

/// The bytes of a cursor; `None` when it was never set.
///
/// # Errors
/// [`StoreError::ColumnType`] when the cursor holds a number; otherwise as a read.
pub async fn get(source: impl Query, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    match source.query(GET, params![name]).await?.first() {
        Some(row) => row.get("bytes").map(Some),
        None => Ok(None),
    }
}

/// The number of a cursor; `None` when it was never set.
///
/// # Errors
/// [`StoreError::ColumnType`] when the cursor holds bytes; otherwise as a read.
pub async fn get_number(source: impl Query, name: &str) -> Result<Option<i64>, StoreError> {
    match source.query(GET, params![name]).await?.first() {
        Some(row) => row.get("number").map(Some),
        None => Ok(None),
    }
}

/// Sets a cursor to a number or to bytes.
///
/// # Errors
/// [`StoreError::ValueRange`] for text, null, or a number above `i64::MAX`; otherwise as a write.
pub async fn set(tx: &mut Tx<'_>, name: &str, value: impl Into<Value>) -> Result<(), StoreError> {
    let (number, bytes) = match value.into() {
        number @ (Value::Integer(_) | Value::TooLarge(_)) => (number, Value::Null),
        bytes @ Value::Blob(_) => (Value::Null, bytes),
        Value::Text(_) | Value::Null => {
            return Err(StoreError::ValueRange { parameter: 2, reason: "a cursor holds a number or bytes".to_owned() });
        }
    };
    tx.execute(
        "INSERT INTO windlass_cursor (name, number, bytes) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO UPDATE SET number = excluded.number, bytes = excluded.bytes",
        params![name, number, bytes],
    )
    .await?;
    Ok(())
}

/// Forgets a cursor. True when it was there.
///
/// # Errors
/// As a write.
pub async fn remove(tx: &mut Tx<'_>, name: &str) -> Result<bool, StoreError> {
    Ok(tx.execute("DELETE FROM windlass_cursor WHERE name = $1", params![name]).await? > 0)
}
