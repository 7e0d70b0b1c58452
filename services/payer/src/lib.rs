//! The payer service: guards payment agreements of keyper sets, and gives payers and keypers their tools.
//!
//! For each agreement it follows the chain, computes exactly until when the agreement is paid, and stops the guarded
//! program when it is not, after warnings, a grace time and confirmation. See `README.md` for states and invariants.

mod account;
pub mod actions;
mod agent;
pub mod api;
pub mod checks;
pub mod cli;
pub mod config;
mod error;
pub mod guard;
pub mod history;
pub mod keep;
pub mod machine;
pub mod metrics;
pub mod payments;
pub mod ports;
pub mod protocol;
mod service;
pub mod tables;
pub mod targets;

pub use config::PayerConfig;
pub use error::PayerError;
pub use service::PayerService;

/// The tables that the service and its commands need, in the order in which they are made.
pub fn migrations() -> Vec<&'static windlass_store::Migrations> {
    vec![&windlass_chain::MIGRATIONS, &windlass_outbox::MIGRATIONS, &tables::MIGRATIONS]
}

/// Asks a contract whether it is a payer contract, for checks before a start. The result is its terms in one line.
pub async fn check_contract(
    endpoints: &windlass_chain::Endpoints,
    contract: alloy_primitives::Address,
) -> Result<impl std::fmt::Display + use<>, PayerError> {
    let reader = ports::contract::ContractReader::new(endpoints.clone(), contract, 1);
    let wrap = |cause| PayerError::Agreement { contract, cause };
    let head = endpoints.head().await?;
    let constants = reader.constants(&head).await.map_err(wrap)?;
    let seen = reader.observe(&head).await.map_err(wrap)?;
    let until = seen.terms.paid_until(seen.total_paid);
    Ok(format!(
        "{} keyper entries, {} units of {} per second from {}, {} paid, until {until}",
        constants.keypers.len(),
        seen.terms.requested_rate,
        constants.token,
        seen.terms.start_timestamp,
        seen.total_paid,
    ))
}
