//! Metrics of the relay, each with the question it answers.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::machine::{Record, State};
use crate::shared::{Balances, DriftView, Picture};

/// Registers the descriptions. Safe to call more than once.
pub fn describe() {
    describe_gauge!("vrf_tasks", "How many unfinished tasks are in which state?");
    describe_gauge!("vrf_tasks_held", "How many tasks are held, and why?");
    describe_gauge!("vrf_oldest_task_age_seconds", Unit::Seconds, "How old is the oldest unfinished task?");
    describe_counter!("vrf_transitions_total", "How often was which state entered?");
    describe_histogram!(
        "vrf_relay_seconds",
        Unit::Seconds,
        "How long does it take from seeing a request to its relay in a block?"
    );
    describe_gauge!("vrf_band_height", "What is the newest block of BandChain?");
    describe_gauge!("vrf_band_open_transactions", "How many Band transactions are not settled?");
    describe_gauge!("vrf_band_balance", "How much does the Band account hold? In the fee's denomination.");
    describe_gauge!("vrf_client_balance", "How much does the client chain's account hold? Wei.");
    describe_gauge!("vrf_tasks_skipped", "How many tasks were not served since the start, because their caller is not listed?");
    describe_gauge!(
        "vrf_bridge_spare_per_mille",
        "How much of the Bridge's power may still be missing? Thousandths; -1: blocks are refused."
    );
}

/// A count as a float: fit for a graph.
fn number(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

pub(crate) fn publish(relay: &str, picture: &Picture, now_ms: i64) {
    let label = || relay.to_owned();
    for state in State::ALL.into_iter().filter(|state| !state.is_terminal()) {
        let count = picture.states.get(&state).copied().unwrap_or(0);
        gauge!("vrf_tasks", "relay" => label(), "state" => state.name()).set(number(count));
    }
    for hold in HOLDS {
        let count = picture.holds.get(hold).copied().unwrap_or(0);
        gauge!("vrf_tasks_held", "relay" => label(), "hold" => hold).set(number(count));
    }
    let age_ms = picture.oldest_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest).max(0));
    gauge!("vrf_oldest_task_age_seconds", "relay" => label()).set(number(age_ms.unsigned_abs()) / 1_000.0);
    gauge!("vrf_band_open_transactions", "relay" => label()).set(number(u64::try_from(picture.band_open).unwrap_or(u64::MAX)));
    gauge!("vrf_tasks_skipped", "relay" => label()).set(number(picture.skipped));
    if let Some(height) = picture.band_height {
        gauge!("vrf_band_height", "relay" => label()).set(number(height));
    }
}

/// Every name that a hold may have.
pub(crate) const HOLDS: [&str; 11] = [
    "dry_run",
    "unprofitable",
    "band_failed",
    "band_refused",
    "band_unknown",
    "validators_stale",
    "proof_invalid",
    "proof_unavailable",
    "bridge_refuses",
    "consumer_reverts",
    "relay_dropped",
];

pub(crate) fn count(relay: &str, record: &Record) {
    if record.from != Some(record.to) {
        counter!("vrf_transitions_total", "relay" => relay.to_owned(), "state" => record.to.name()).increment(1);
    }
}

pub(crate) fn relayed(relay: &str, ms: u64) {
    histogram!("vrf_relay_seconds", "relay" => relay.to_owned()).record(number(ms) / 1_000.0);
}

pub(crate) fn balances(relay: &str, balances: &Balances) {
    if let Some(wei) = balances.client_wei {
        gauge!("vrf_client_balance", "relay" => relay.to_owned()).set(f64::from(wei));
    }
    if let Some(band) = balances.band {
        gauge!("vrf_band_balance", "relay" => relay.to_owned()).set(f64::from(alloy_primitives::U256::from(band)));
    }
}

pub(crate) fn drift(relay: &str, drift: &DriftView) {
    let spare = drift.spare_per_mille.map_or(-1.0, number);
    gauge!("vrf_bridge_spare_per_mille", "relay" => relay.to_owned()).set(spare);
}
