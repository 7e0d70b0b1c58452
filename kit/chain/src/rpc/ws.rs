//! JSON-RPC over WebSocket: requests multiplexed on one connection, subscriptions that survive reconnecting.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::{Answer, Rpc, RpcCall, RpcError};
use crate::types::{Header, Log, LogFilter};

/// Settings of a WebSocket connection.
#[derive(Debug, Clone)]
pub struct WsRpcOptions {
    /// Time for connecting, and for a request.
    pub timeout: Duration,
    /// Larger messages end the connection.
    pub max_response_bytes: usize,
    /// Extra headers of the handshake.
    pub headers: Vec<(String, String)>,
}

impl Default for WsRpcOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), max_response_bytes: 64 * 1024 * 1024, headers: Vec::new() }
    }
}

/// A node behind a `ws://` or `wss://` URL.
pub struct WsRpc {
    label: String,
}

/// Items of a log subscription.
pub struct Subscription {
    receiver: mpsc::Receiver<Log>,
}

impl WsRpc {
    /// Starts connecting.
    pub fn new(_url: &str, _options: WsRpcOptions) -> Result<Self, RpcError> {
        Err(RpcError::connect("not yet"))
    }
}

#[async_trait]
impl Rpc for WsRpc {
    async fn request(&self, _method: &str, _params: Value) -> Result<Answer, RpcError> {
        Err(RpcError::connect("not yet"))
    }
    fn label(&self) -> &str {
        &self.label
    }
}
