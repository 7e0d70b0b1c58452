//! What clients can observe of a development chain. The same tests run against this crate and, with `WINDLASS_E2E_CHAIN=anvil`,
//! against a real `anvil` (its path in `WINDLASS_ANVIL`, else found in `PATH`).

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod calls;
mod control;
mod jsonrpc;
mod logs;
mod node;
mod pool;
mod provider;
mod transactions;
mod websocket;
