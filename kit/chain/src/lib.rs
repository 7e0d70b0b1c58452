//! EVM chains as Windlass sees them: endpoints that may fail, lag or lie, and a canonical stream of blocks made from them.
//!
//! - [`Rpc`], [`HttpRpc`], [`WsRpc`]: one connection to one node.
//! - [`Endpoints`]: several of them behind one typed interface, with fail-over, hedging, quorum reads and typed refusals.
//! - [`Follower`]: the canonical chain as batches of removed and added blocks, from a stored position, without gaps.
//! - [`backfill()`]: the logs of a long range, in parallel and in order.
//! - [`decode_revert`]: what a reverting call meant.
//! - [`testing`]: scripted nodes for the tests of everything that is built on this crate.

pub mod backfill;
pub mod endpoints;
mod error;
pub mod follow;
pub mod metrics;
mod revert;
pub mod rpc;
mod send_error;
pub mod testing;
mod types;

pub use backfill::{BackfillOptions, Chunk, backfill};
pub use endpoints::{EndpointState, EndpointStatus, EndpointUrl, Endpoints, EndpointsConfig, HeadSignal};
pub use error::ChainError;
pub use follow::{Batch, Delivery, FollowConfig, FollowStatus, FollowedBlock, Follower, MIGRATIONS, Start};
pub use revert::{RevertReason, decode_revert, panic_name};
pub use rpc::{
    Answer, HttpRpc, HttpRpcOptions, LogEvent, Redactor, Rpc, RpcCall, RpcError, Subscription, WsRpc, WsRpcOptions,
    install_crypto_provider,
};
pub use send_error::{SendError, SendErrorKind};
pub use types::{
    Block, BlockId, BlockRef, BlockTag, CallRequest, FeeHistory, Header, Log, LogFilter, LogSpan, Receipt, Transaction,
    Transactions,
};
