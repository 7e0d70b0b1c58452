//! Reading the parameters of a request.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::U256;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::JsonRpcError;

/// Positional parameters.
#[derive(Debug)]
pub(crate) struct Params(Vec<Value>);

impl Params {
    /// Takes an array, or nothing at all.
    pub(crate) fn new(params: Value) -> Result<Self, JsonRpcError> {
        match params {
            Value::Null => Ok(Self(Vec::new())),
            Value::Array(values) => Ok(Self(values)),
            _ => Err(JsonRpcError::invalid_params("invalid type: map, expected a sequence")),
        }
    }

    /// Fails if there are more than `most` parameters.
    pub(crate) fn at_most(&self, most: usize) -> Result<(), JsonRpcError> {
        match self.0.len() {
            count if count > most => {
                Err(JsonRpcError::invalid_params(format!("expected params sequence with length {most} but got {count}")))
            }
            _ => Ok(()),
        }
    }

    /// The raw value at `index`; null counts as missing.
    pub(crate) fn value(&mut self, index: usize) -> Option<Value> {
        self.0.get_mut(index).map(Value::take).filter(|value| !value.is_null())
    }

    pub(crate) fn optional<T: DeserializeOwned>(&mut self, index: usize) -> Result<Option<T>, JsonRpcError> {
        self.value(index).map(from_value).transpose()
    }

    pub(crate) fn required<T: DeserializeOwned>(&mut self, index: usize) -> Result<T, JsonRpcError> {
        self.optional(index)?.ok_or_else(|| missing(index))
    }

    /// A number given as JSON number, hex text or decimal text.
    pub(crate) fn number(&mut self, index: usize) -> Result<U256, JsonRpcError> {
        self.optional_number(index)?.ok_or_else(|| missing(index))
    }

    pub(crate) fn optional_number(&mut self, index: usize) -> Result<Option<U256>, JsonRpcError> {
        self.value(index).map(|value| to_number(&value)).transpose()
    }

    pub(crate) fn u64(&mut self, index: usize) -> Result<u64, JsonRpcError> {
        self.number(index).and_then(to_u64)
    }

    pub(crate) fn optional_u64(&mut self, index: usize) -> Result<Option<u64>, JsonRpcError> {
        self.optional_number(index)?.map(to_u64).transpose()
    }

    /// A block by number, tag, hash or EIP-1898 object; missing means the newest.
    pub(crate) fn block(&mut self, index: usize) -> Result<BlockId, JsonRpcError> {
        Ok(self.optional_block(index)?.unwrap_or(BlockId::Number(BlockNumberOrTag::Latest)))
    }

    pub(crate) fn optional_block(&mut self, index: usize) -> Result<Option<BlockId>, JsonRpcError> {
        match self.value(index) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                let number = number.as_u64().ok_or_else(|| JsonRpcError::invalid_params("invalid block number"))?;
                Ok(Some(BlockId::number(number)))
            }
            Some(value) => from_value(value).map(Some),
        }
    }
}

fn missing(index: usize) -> JsonRpcError {
    JsonRpcError::invalid_params(format!("missing value for required argument {index}"))
}

pub(crate) fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, JsonRpcError> {
    serde_json::from_value(value).map_err(|error| JsonRpcError::invalid_params(error.to_string()))
}

fn to_number(value: &Value) -> Result<U256, JsonRpcError> {
    let parsed = match value {
        Value::Number(number) => number.as_u64().map(U256::from),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    parsed.ok_or_else(|| JsonRpcError::invalid_params(format!("invalid number: {value}")))
}

fn to_u64(number: U256) -> Result<u64, JsonRpcError> {
    u64::try_from(number).map_err(|_| JsonRpcError::invalid_params(format!("number too large: {number}")))
}
