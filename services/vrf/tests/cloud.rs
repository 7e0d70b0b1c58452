//! The trigger and its queue against small servers on this machine, and the recipe against a stand-in for its program.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "cloud/identity.rs"]
mod identity;
#[path = "cloud/queue.rs"]
mod queue;
#[path = "cloud/recipe.rs"]
mod recipe;
#[path = "cloud/support.rs"]
mod support;
#[path = "cloud/trigger.rs"]
mod trigger;
