//! An account of an EVM chain in the node: how a section of the configuration names its key and limits, and how it and its chain are
//! shown.
//!
//! - [`NamedKey`], [`AccountKey`]: the four ways to name a key.
//! - [`AccountConfig`]: key and limits, and the settings of the sender made from them.
//! - [`outbox_view`], [`chain_head`]: what the dashboard shows.
//!
//! Nothing here opens a key, contacts anybody or prints a secret.

mod config;
mod key;
mod view;

pub use config::AccountConfig;
pub use key::{AccountKey, Examples, NamedKey, secret};
pub use view::{chain_head, endpoint_views, outbox_view};
