//! The commands of the payer service.
pub mod deploy;
pub mod env;
pub mod monitor;
