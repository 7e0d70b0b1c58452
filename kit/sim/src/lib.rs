//! Deterministic simulation: the real machines, outbox, follower and store in a world that follows from one seed.
//!
//! - [`chain`]: a scripted chain without an EVM; [`FaultyRpc`] is an endpoint of it that misbehaves by seed.
//! - [`CrashPlan`]: the life of a process, ended around a commit or a broadcast; [`Database`] is what outlives it.
//! - [`Simulation`]: the scheduler with the only clock. It drives [`Actor`]s: the machines of [`Program`]s, and the outside
//!   [`world`]. [`Checker`]s look at the world after each step.
//! - [`outbox`], [`follower`]: the two machines of the kit as programs, with the rules that they must keep.
//!
//! A run has two halves. In the first everything may go wrong and nothing wrong may happen; in the second, after
//! [`Simulation::settle`], nothing goes wrong any more and everything must come to its end.

pub mod chain;
mod crash;
mod database;
mod faults;
pub mod follower;
mod gate;
mod keys;
pub mod outbox;
mod simulation;
mod trace;
pub mod world;

pub use crash::{CrashPlan, CrashPoint, Pulse};
pub use database::{Database, POSTGRES_VARIABLE};
pub use faults::{FaultProfile, FaultyRpc, Lies};
pub use gate::Gate;
pub use keys::{Transfer, signer};
pub use simulation::{
    Actor, Checker, CrashPolicy, Failure, Host, ProcessId, Program, Progress, Simulation, StepError, Violation,
};
pub use trace::Trace;
