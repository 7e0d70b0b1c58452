//! windlass-sim
pub mod chain;
mod crash;
mod database;
mod faults;
mod keys;
mod simulation;
mod trace;
pub mod world;
pub use crash::{CrashPlan, CrashPoint, Pulse};
pub use faults::{FaultProfile, FaultyRpc, Lies};
pub use trace::Trace;
pub use database::{Database, POSTGRES_VARIABLE};
pub use keys::{Transfer, signer};
pub use simulation::{
    Actor, Checker, CrashPolicy, Failure, Host, ProcessId, Program, Progress, Simulation,
    StepError, Violation,
};
