//! The payer service: guards payment agreements of keyper sets, and gives payers and keypers their tools.
//!
//! For each agreement it follows the chain, computes exactly until when the agreement is paid, and stops the guarded
//! program when it is not, after warnings, a grace time and confirmation. See `README.md` for states and invariants.

pub mod actions;
pub mod checks;
pub mod cli;
pub mod machine;
pub mod ports;
pub mod protocol;
