//! Metrics of the payer service, each with the question it answers.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use windlass_store::UnixMillis;

use crate::machine::{ActionOutcome, Agreement, Health, Phase, Record};
use crate::protocol::Holdings;

/// Registers the descriptions. Safe to call more than once.
pub fn describe() {
    describe_gauge!("payer_paid_until_seconds", Unit::Seconds, "Until when is it paid? Unix time; +Inf: for ever.");
    describe_gauge!("payer_seconds_left", Unit::Seconds, "How long is it still paid? Negative: overdue for so long.");
    describe_gauge!("payer_total_paid", "How much has been paid in all? Token base units.");
    describe_gauge!("payer_owed", "How much does the contract owe to the keypers? Token base units.");
    describe_gauge!("payer_deficit", "How much is missing at the last seen block? Token base units.");
    describe_gauge!("payer_held_minus_owed", "Stray tokens of the contract; negative: it cannot pay all keypers.");
    describe_gauge!("payer_last_observation_age_seconds", Unit::Seconds, "How old is the last useful observation?");
    describe_gauge!("payer_phase", "In which state is it? 1 for the present one.");
    describe_gauge!("payer_paid", "Is it paid? 1 yes, 0 no, -1 cannot tell.");
    describe_gauge!("payer_action_failing", "Has an action failed that has not been verified since?");
    describe_counter!("payer_actions_total", "How many attempts of which action ended how?");
    describe_counter!("payer_transitions_total", "How often was which state entered?");
    describe_counter!("payer_observations_total", "How many observations were made, and with which result?");
}

/// Base units as a float: fit for a graph, not for accounting.
fn units(value: alloy_primitives::U256) -> f64 {
    f64::from(value)
}

/// Shows the state of an agreement.
pub(crate) fn publish(agreement: &str, state: &Agreement, now: UnixMillis) {
    let label = || agreement.to_owned();
    for phase in Phase::ALL {
        let on = if state.phase == Some(phase) { 1.0 } else { 0.0 };
        gauge!("payer_phase", "agreement" => label(), "phase" => phase.as_str()).set(on);
    }
    let paid = match state.health() {
        Health::Paid => 1.0,
        Health::Unpaid => 0.0,
        Health::Unknown => -1.0,
    };
    gauge!("payer_paid", "agreement" => label()).set(paid);
    let failing = if state.failing_action().is_some() { 1.0 } else { 0.0 };
    gauge!("payer_action_failing", "agreement" => label()).set(failing);
    let Some(seen) = &state.seen else { return };
    let observation = &seen.observation;
    let head = observation.block.time_s;
    gauge!("payer_total_paid", "agreement" => label()).set(units(observation.total_paid));
    gauge!("payer_owed", "agreement" => label()).set(units(observation.owed));
    let holdings = Holdings { held: observation.held, owed: observation.owed };
    gauge!("payer_held_minus_owed", "agreement" => label()).set(units(holdings.stray()) - units(holdings.shortfall()));
    let deficit = observation.terms.deficit_at(observation.total_paid, head).unwrap_or_default();
    gauge!("payer_deficit", "agreement" => label()).set(units(deficit));
    let since_head = now.saturating_since(seen.at);
    let (until, left) = match state.paid_until_s() {
        Some(until) => {
            let chain_now = Duration::from_secs(head).saturating_add(since_head).as_secs_f64();
            let until = Duration::from_secs(until).as_secs_f64();
            (until, until - chain_now)
        }
        None => (f64::INFINITY, f64::INFINITY),
    };
    gauge!("payer_paid_until_seconds", "agreement" => label()).set(until);
    gauge!("payer_seconds_left", "agreement" => label()).set(left);
    gauge!("payer_last_observation_age_seconds", "agreement" => label()).set(since_head.as_secs_f64());
}

/// Counts what happened.
pub(crate) fn count(agreement: &str, record: &Record) {
    let label = || agreement.to_owned();
    match record {
        Record::Phase { to, .. } => {
            counter!("payer_transitions_total", "agreement" => label(), "to" => to.as_str()).increment(1);
        }
        Record::ActionEnded { kind, outcome, .. } => {
            let result = match outcome {
                ActionOutcome::Verified { .. } => "verified",
                ActionOutcome::Failed { .. } => "failed",
            };
            counter!("payer_actions_total", "agreement" => label(), "action" => kind.as_str(), "result" => result).increment(1);
        }
        _ => {}
    }
}

/// Counts an observation: `ok` or the code of the reason.
pub(crate) fn observed(agreement: &str, result: &'static str) {
    counter!("payer_observations_total", "agreement" => agreement.to_owned(), "result" => result).increment(1);
}
