//! One connection to one node: ask a method, get an answer or a typed error.

mod classify;
mod envelope;
mod error;
mod http;
mod redact;
mod ws;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

pub use error::RpcError;
pub use http::{HttpRpc, HttpRpcOptions, install_crypto_provider};
pub use redact::Redactor;
pub use ws::{LogEvent, QUEUE_MAX, Subscription, WsRpc, WsRpcOptions};

use crate::types::Header;

/// A method with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct RpcCall {
    /// `eth_...`
    pub method: String,
    /// Positional parameters: a JSON array.
    pub params: Value,
}

impl RpcCall {
    /// A call.
    pub fn new(method: impl Into<String>, params: Value) -> Self {
        Self { method: method.into(), params }
    }
}

/// The `result` of a JSON-RPC answer: checked to be JSON, not yet read. Blocks and logs are read straight from it into
/// their types, without a tree of values in between.
#[derive(Debug, Clone)]
pub struct Answer(Box<RawValue>);

impl Answer {
    /// From JSON that is already at hand as text.
    pub fn from_raw(raw: Box<RawValue>) -> Self {
        Self(raw)
    }

    /// From anything that serialises to JSON: the short way for fakes.
    ///
    /// # Errors
    /// [`RpcError::Malformed`] if the value does not serialise.
    pub fn of(value: &impl Serialize) -> Result<Self, RpcError> {
        serde_json::value::to_raw_value(value).map(Self).map_err(|error| RpcError::malformed("", error))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Whether it is JSON `null`, which nodes send for "not found".
    pub fn is_null(&self) -> bool {
        self.0.get() == "null"
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`RpcError::Malformed`] naming `method`, if the answer has another shape.
    pub fn parse<T: DeserializeOwned>(&self, method: &str) -> Result<T, RpcError> {
        serde_json::from_str(self.0.get()).map_err(|error| RpcError::malformed(method, error))
    }
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        // The text of a `Value` is always valid JSON, so the fallback is never taken.
        RawValue::from_string(value.to_string()).map_or_else(|_| Self(RawValue::NULL.to_owned()), Self)
    }
}

/// One node, or something that behaves like one.
///
/// An implementation makes one attempt and reports; patience, retries and choice are the business of
/// [`Endpoints`](crate::Endpoints).
#[async_trait]
pub trait Rpc: Send + Sync + 'static {
    /// Asks `method` with positional `params` (a JSON array) and returns the `result`.
    async fn request(&self, method: &str, params: Value) -> Result<Answer, RpcError>;

    /// Asks several methods of the same node, with one answer per call in the same order. The outer error means that the
    /// batch as a whole failed. Without an own implementation the calls are made one after the other.
    async fn batch(&self, calls: Vec<RpcCall>) -> Result<Vec<Result<Answer, RpcError>>, RpcError> {
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            answers.push(self.request(&call.method, call.params).await);
        }
        Ok(answers)
    }

    /// Name for logs and the dashboard: host and port only, never a path or credentials.
    fn label(&self) -> &str;

    /// A stream of new heads, if this connection can push them. The receiver is a `watch`: whoever is slow sees the newest
    /// head only, which is what a follower wants.
    fn new_heads(&self) -> Option<tokio::sync::watch::Receiver<Option<Header>>> {
        None
    }
}
