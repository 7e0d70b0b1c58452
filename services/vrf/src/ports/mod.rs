//! The outside world: the contracts of the client chain, and the nodes of BandChain.

pub mod band;
pub mod client_chain;
