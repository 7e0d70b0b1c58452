//! The values that go into statements and come out of rows, the same for both back ends.
//!
//! A store knows four kinds: null, 64-bit signed integer, text, bytes. Everything else is written as one of them:
//!
//! | Rust | stored as |
//! | --- | --- |
//! | `i64`, `i32`, `u32`, `u64`, `usize` | integer; a number above `i64::MAX` is refused when the statement runs |
//! | `bool` | integer 0 or 1 |
//! | `UnixMillis`, `UnixSeconds` | integer |
//! | `Address` | 20 bytes |
//! | `B256` | 32 bytes |
//! | `U256` | 32 bytes, big endian, so that byte order is number order |
//! | `Option<T>` | `T` or null |

use std::fmt;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};

use crate::clock::{UnixMillis, UnixSeconds};
use crate::error::StoreError;

/// One stored value or statement parameter.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A 64-bit signed integer.
    Integer(i64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// An unsigned number that does not fit a signed 64-bit column. Only a parameter can be this; the statement is
    /// refused with [`StoreError::ValueRange`] before anything runs. Rows never contain it.
    TooLarge(u64),
}

impl Value {
    /// What it is, for error messages. Text and bytes are not shown: they may be long or private.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Integer(number) => format!("integer {number}"),
            Self::Text(text) => format!("text of {} bytes", text.len()),
            Self::Blob(bytes) => format!("blob of {} bytes", bytes.len()),
            Self::TooLarge(number) => format!("unsigned integer {number}"),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Integer(number) => write!(f, "Integer({number})"),
            Self::Text(text) => write!(f, "Text({text:?})"),
            Self::Blob(bytes) => write!(f, "Blob({})", alloy_primitives::hex::encode_prefixed(bytes)),
            Self::TooLarge(number) => write!(f, "TooLarge({number})"),
        }
    }
}

macro_rules! integer_values {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Value {
            fn from(number: $kind) -> Self {
                Self::Integer(i64::from(number))
            }
        }
    )*};
}
integer_values!(i64, i32, i16, i8, u32, u16, u8, bool);

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or(Self::TooLarge(number), Self::Integer)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        // A usize has at most 64 bits on every supported platform.
        Self::from(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Blob(bytes)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Blob(bytes.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        Self::Blob(bytes.to_vec())
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Blob(bytes.to_vec())
    }
}

impl From<&Bytes> for Value {
    fn from(bytes: &Bytes) -> Self {
        Self::Blob(bytes.to_vec())
    }
}

impl From<Address> for Value {
    fn from(address: Address) -> Self {
        Self::Blob(address.to_vec())
    }
}

impl From<B256> for Value {
    fn from(hash: B256) -> Self {
        Self::Blob(hash.to_vec())
    }
}

impl From<U256> for Value {
    fn from(number: U256) -> Self {
        Self::Blob(number.to_be_bytes::<32>().to_vec())
    }
}

impl From<UnixMillis> for Value {
    fn from(time: UnixMillis) -> Self {
        Self::Integer(time.0)
    }
}

impl From<UnixSeconds> for Value {
    fn from(time: UnixSeconds) -> Self {
        Self::Integer(time.0)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The parameters of a statement, in the order of `$1`, `$2`, ...: `params![id, name, None::<i64>]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        ::std::vec![$($crate::Value::from($value)),*]
    };
}

/// A Rust type that a column can be read as.
pub trait FromColumn: Sized {
    /// What a fitting column holds, for error messages: "20 bytes", "an integer from 0".
    const EXPECTED: &'static str;

    /// Reads the value; `None` when kind, length or range do not fit.
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! integer_columns {
    ($($kind:ty => $expected:literal),* $(,)?) => {$(
        impl FromColumn for $kind {
            const EXPECTED: &'static str = $expected;
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Integer(number) => Self::try_from(*number).ok(),
                    _ => None,
                }
            }
        }
    )*};
}
integer_columns! {
    i64 => "an integer",
    i32 => "an integer of 32 bits",
    u64 => "an integer from 0",
    u32 => "an integer from 0 to 4294967295",
    u16 => "an integer from 0 to 65535",
    u8 => "an integer from 0 to 255",
    usize => "an integer from 0",
}

impl FromColumn for bool {
    const EXPECTED: &'static str = "0 or 1";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(0) => Some(false),
            Value::Integer(1) => Some(true),
            _ => None,
        }
    }
}

impl FromColumn for String {
    const EXPECTED: &'static str = "text";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl FromColumn for Vec<u8> {
    const EXPECTED: &'static str = "bytes";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Blob(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }
}

impl FromColumn for Bytes {
    const EXPECTED: &'static str = "bytes";

    fn from_value(value: &Value) -> Option<Self> {
        Vec::<u8>::from_value(value).map(Self::from)
    }
}

impl<const N: usize> FromColumn for [u8; N] {
    const EXPECTED: &'static str = "bytes of the exact length";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Blob(bytes) => Self::try_from(bytes.as_slice()).ok(),
            _ => None,
        }
    }
}

impl FromColumn for Address {
    const EXPECTED: &'static str = "20 bytes";

    fn from_value(value: &Value) -> Option<Self> {
        <[u8; 20]>::from_value(value).map(Self::from)
    }
}

impl FromColumn for B256 {
    const EXPECTED: &'static str = "32 bytes";

    fn from_value(value: &Value) -> Option<Self> {
        <[u8; 32]>::from_value(value).map(Self::from)
    }
}

impl FromColumn for U256 {
    const EXPECTED: &'static str = "32 bytes";

    fn from_value(value: &Value) -> Option<Self> {
        <[u8; 32]>::from_value(value).map(Self::from_be_bytes)
    }
}

impl FromColumn for UnixMillis {
    const EXPECTED: &'static str = "an integer (milliseconds)";

    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(Self)
    }
}

impl FromColumn for UnixSeconds {
    const EXPECTED: &'static str = "an integer (seconds)";

    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(Self)
    }
}

impl FromColumn for Value {
    const EXPECTED: &'static str = "anything";

    fn from_value(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
}

impl<T: FromColumn> FromColumn for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            other => T::from_value(other).map(Some),
        }
    }
}

/// One row of a result. Owns its values; the column names are shared by all rows of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    pub(crate) fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// The value of a column by name.
    ///
    /// # Errors
    /// [`StoreError::NoColumn`] when the result has no column of this name, [`StoreError::ColumnType`] when the value
    /// cannot be read as `T` (also: null without `Option`, wrong number of bytes, number out of range).
    pub fn get<T: FromColumn>(&self, column: &str) -> Result<T, StoreError> {
        let found = self.columns.iter().zip(&self.values).find(|(name, _)| name.as_str() == column);
        let Some((_, value)) = found else {
            return Err(StoreError::NoColumn { column: column.to_owned(), available: self.columns.join(", ") });
        };
        T::from_value(value).ok_or_else(|| StoreError::ColumnType {
            column: column.to_owned(),
            expected: T::EXPECTED,
            found: value.describe(),
        })
    }

    /// Column names in the order of the statement.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Values in the order of [`Row::columns`].
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    pub(crate) fn into_values(self) -> Vec<Value> {
        self.values
    }
}
