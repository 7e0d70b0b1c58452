//! An in-process EVM development chain with the JSON-RPC interface of `anvil`.
//!
//! The chain keeps everything in memory and is driven by explicit calls: a test that uses [`Devnet::request`] or the helper
//! methods needs no wall clock and no network. [`Devnet::serve`] puts the same chain behind HTTP and WebSocket on one port.
//!
//! From the outside in: `server` and `websocket` move bytes, `jsonrpc` knows requests and batches, [`Devnet`] adds what needs
//! waiting, `rpc` has the methods, `chain` is the synchronous core, `evm` runs transactions on `state`.

mod accounts;
mod block;
mod chain;
mod clock;
mod config;
mod devnet;
mod error;
mod evm;
mod faults;
mod filters;
mod jsonrpc;
mod lock;
mod pool;
mod precompiles;
mod revert;
mod rpc;
mod server;
mod state;
mod validate;
mod websocket;

pub use config::{DevAccount, DevnetConfig, Mining, TimeSource};
pub use devnet::Devnet;
pub use error::{DevnetError, JsonRpcError};
pub use faults::{Fault, FaultRule};
pub use server::DevnetServer;
