//! Provider, lens and Bridge are read from an embedded chain, and from nodes that answer nonsense.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod contracts;
mod hostile;
mod world;
