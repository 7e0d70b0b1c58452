//! The payer service: guards payment agreements of keyper sets, and gives payers and keypers their tools.
//!
//! For each agreement it follows the chain, computes exactly until when the agreement is paid, and stops the guarded
//! program when it is not, after warnings, a grace time and confirmation. See `README.md` for states and invariants.

pub mod actions;
mod agent;
pub mod api;
pub mod checks;
pub mod cli;
pub mod config;
mod error;
pub mod guard;
pub mod history;
pub mod machine;
pub mod metrics;
pub mod payments;
pub mod ports;
pub mod protocol;
mod service;
pub mod tables;
pub mod targets;

pub use config::PayerConfig;
pub use error::PayerError;
pub use service::PayerService;
