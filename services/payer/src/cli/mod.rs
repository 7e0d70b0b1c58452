//! The commands of the payer service.

mod commands;
pub mod deploy;
pub mod env;
pub mod monitor;
pub mod run;
pub mod text;

pub use commands::{AgreementArgs, ExportFormat, GuardArgs, KeyArgs, PayerCommand, SendArgs, TopUpArgs, WithdrawArgs};
pub use run::{Handles, Output, run};
