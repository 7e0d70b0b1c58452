//! The VRF relay: answers requests for random values on a client chain with values that BandChain has proven.
//!
//! A consumer asks a `VRFProvider` contract. The relay pays a request on BandChain, waits until the validators there have answered, proves the
//! answer with their signatures, and hands the proof to the provider, which lets the Bridge contract verify it. Each request is paid
//! once, whatever crashes, reorganises or lies in between.

pub mod agent;
mod api;
pub mod audit;
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

/// Asks provider and Bridge whether they can be served, for checks before a start. The result is one line.
///
/// # Errors
/// A chain does not answer, a contract is not what the section says, or both chains do not fit each other.
pub async fn check_contracts(
    endpoints: &windlass_chain::Endpoints,
    band: &dyn ports::band::BandApi,
    config: &VrfConfig,
) -> Result<String, VrfError> {
    let reader = service::provider_reader(endpoints.clone(), config);
    let head = endpoints.head().await?;
    let settings = reader.settings(&head).await?;
    let bridge = reader.bridge_state(settings.bridge, &head).await?;
    let block = band.latest_block().await?;
    let accepted = bridge.encoded_chain_id.name().unwrap_or_default().to_owned();
    if accepted != block.chain_id {
        return Err(VrfError::Setup {
            problem: format!("the Band node serves chain {}, the Bridge accepts chain {accepted}", block.chain_id),
            hint: "use nodes of the chain that the Bridge accepts",
        });
    }
    Ok(format!(
        "provider {} with {} requests, oracle script {}, Bridge with {} validators of {accepted}, Band block {}",
        settings.version,
        settings.task_nonce,
        settings.oracle_script_id,
        bridge.validators.len(),
        block.height
    ))
}
