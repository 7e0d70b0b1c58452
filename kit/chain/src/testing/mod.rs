//! Nodes for tests: no network, no time of their own, everything decided by the test.
//!
//! - [`ScriptedRpc`] answers each method from a script and remembers what it was asked. For tests of single requests.
//! - [`FakeChain`] is a tree of blocks with logs and true bloom filters; [`FakeNode`] shows it over [`Rpc`](crate::Rpc), with the
//!   faults of real nodes: late, on another branch, blocks before logs, limited ranges, failing. For tests of followers.
//! - [`batch`] makes a [`Batch`] for the tests of a consumer.

mod chain;
mod node;
mod scripted;

pub use chain::{FakeBlock, FakeChain};
pub use node::{FakeNode, NodeFaults};
pub use scripted::{Reply, ScriptedRpc};

use crate::follow::{Batch, FollowedBlock, Origin};
use crate::types::BlockRef;

/// A batch that no follower made. Recording it works for a subscriber named `subscriber` without a stored position.
pub fn batch(subscriber: &str, removed: Vec<BlockRef>, added: Vec<FollowedBlock>, head: BlockRef) -> Batch {
    let origin = Origin { chain: "test".to_owned(), subscriber: subscriber.to_owned(), previous: None, window: 256 };
    Batch { removed, added, head, origin }
}
