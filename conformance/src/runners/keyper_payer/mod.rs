//! Runners of `keyper-payer`.

pub(super) mod cli;
pub(super) mod contract_sequences;
pub(super) mod encodings;
pub(super) mod monitor_decisions;
mod reverts;
