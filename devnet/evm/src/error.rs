//! Errors of the chain as JSON-RPC clients see them, and errors of the server.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A JSON-RPC error object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct JsonRpcError {
    /// Error code; `-32xxx` of the JSON-RPC specification or 3 for a revert.
    pub code: i64,
    /// Text for people; texts are those of `anvil` so that clients which match on them work.
    pub message: String,
    /// Revert data as a hex string, or another payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl JsonRpcError {
    /// An error without data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The method does not exist (-32601).
    pub fn method_not_found(method: &str) -> Self {
        let _ = method;
        Self::new(-32601, "Method not found")
    }
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum DevnetError {
    /// The address could not be bound.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}
