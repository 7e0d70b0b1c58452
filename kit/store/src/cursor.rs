//! Named positions: how far a stream was consumed. Moved in the same commit as what was done with the input.
#![allow(clippy::todo, unused_variables)]
use crate::error::StoreError;
use crate::store::{Query, Tx};
use crate::value::Value;

/// The bytes of a cursor that was set with bytes.
pub async fn get(source: impl Query, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    todo!()
}

/// The number of a cursor that was set with a number.
pub async fn get_number(source: impl Query, name: &str) -> Result<Option<i64>, StoreError> {
    todo!()
}

/// Sets a cursor to a number or to bytes.
pub async fn set(tx: &mut Tx<'_>, name: &str, value: impl Into<Value>) -> Result<(), StoreError> {
    todo!()
}
