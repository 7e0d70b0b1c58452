//! The VRF relay: answers requests for random values on a client chain with values that BandChain has proven.
//!
//! A consumer asks a `VRFProvider` contract. The relay pays a request on BandChain, waits until the validators there have answered, proves the
//! answer with their signatures, and hands the proof to the provider, which lets the Bridge contract verify it. Each request is paid
//! once, whatever crashes, reorganises or lies in between.

pub mod agent;
mod api;
pub mod cli;
pub mod cloud;
pub mod config;
pub mod deploy;
pub mod drift;
pub mod economics;
mod error;
pub mod import;
pub mod machine;
pub mod metrics;
pub mod ports;
pub mod prove;
pub mod service;
pub mod shared;
pub mod tables;
mod tell;
pub mod trace;
mod view;
mod watch;
pub mod work;

pub use config::VrfConfig;
pub use error::VrfError;
pub use service::VrfService;
pub use windlass_vrf_protocol as protocol;

/// Every table that the relay needs.
pub fn migrations() -> Vec<&'static windlass_store::Migrations> {
    vec![&windlass_keys::sign_once::MIGRATIONS, &windlass_chain::MIGRATIONS, &windlass_outbox::MIGRATIONS, &tables::MIGRATIONS]
}
