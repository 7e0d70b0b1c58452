//! The commands of the VRF relay.
//!
//! What is stored is read from the database, beside a running node or without one. What changes a task goes through the running node, because
//! only its machine may decide. Standard output carries the result and nothing else.

mod act;
mod audit;
mod check;
mod commands;
mod deploy;
mod drift;
mod failure;
mod inspect;
mod output;
mod run;
mod status;
mod verify;

pub use commands::{
    AuditCommand, AuditVerifyArgs, CloudCommand, DeployArgs, LayoutArg, NodeArgs, RelayArgs, RunArgs, VerifyArgs, VersionArg,
    VrfCommand,
};
pub use failure::Failure;
pub use output::Output;
pub use run::{Handles, run};
