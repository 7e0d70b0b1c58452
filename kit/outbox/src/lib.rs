//! Durable transactions: an [`Intent`] is recorded with the caller's own rows, gets a nonce and a signature in one database
//! transaction, is broadcast only after that commit, and is watched until it is final. After a crash at any point the same
//! bytes are broadcast again; no intent is lost, and none lands twice.
//!
//! - [`Outbox`]: the handle for one account on one chain.
//! - [`Ledger`]: what is stored, for whoever only looks.
//! - [`machine`]: the decisions, pure.
//! - [`MIGRATIONS`]: the tables.
//!
//! See `docs/design/outbox.md` for the fault model and the reasons.

mod config;
mod error;
mod fees;
mod ledger;
pub mod machine;
pub mod metrics;
mod model;
mod observe;
mod outbox;
mod rejection;
mod run;
mod settle;
mod sign;
mod tables;
mod turn;

pub use config::{FeeConfig, FeeMode, GWEI, OutboxConfig};
pub use error::OutboxError;
pub use fees::{Fees, Market};
pub use ledger::{DayFees, Ledger};
pub use model::{
    BadIntentId, BlockPosition, FeePolicy, Hold, Intent, IntentId, IntentStatus, OutboxSummary, Reason, State, Transition,
    TurnReport, Until,
};
pub use outbox::Outbox;
pub use rejection::Rejection;
pub use tables::MIGRATIONS;
