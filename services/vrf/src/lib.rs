//! The VRF relay: answers requests for random values on a client chain with values that BandChain has proven.

pub mod cloud;
pub mod config;
pub mod import;
pub mod machine;
pub mod ports;

pub use windlass_vrf_protocol as protocol;
