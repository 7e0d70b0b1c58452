//! Metrics of the outbox, each with the question it answers.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::model::{State, TurnReport};

/// Registers the descriptions. Safe to call more than once.
pub fn describe() {
    describe_counter!("outbox_transitions_total", "How many intents reached which state?");
    describe_counter!("outbox_offers_total", "How many transactions were offered to nodes, and with which result?");
    describe_counter!("outbox_replacements_total", "How many replacements were signed (higher fees, cancellations)?");
    describe_counter!("outbox_fillers_total", "How many nonces without an intent had to be filled?");
    describe_counter!("outbox_put_back_total", "How many included transactions did reorganisations take back?");
    describe_counter!("outbox_foreign_nonces_total", "How many nonces were used outside of this program?");
    describe_counter!("outbox_round_errors_total", "How many rounds failed?");
    describe_gauge!("outbox_in_flight", "How many nonces are signed and not in a block?");
    describe_gauge!("outbox_held", "How many of the intents that the last round looked at are held?");
    describe_gauge!("outbox_leader", "Does this instance act (1) or stand by (0)?");
    describe_gauge!("outbox_balance_wei", "What does the account have? (rounded)");
    describe_histogram!("outbox_round_seconds", Unit::Seconds, "How long does a round take?");
}

#[derive(Debug, Clone)]
pub(crate) struct Labels {
    pub(crate) chain: String,
    pub(crate) account: String,
}

impl Labels {
    pub(crate) fn transition(&self, to: &State) {
        counter!("outbox_transitions_total", "chain" => self.chain.clone(), "account" => self.account.clone(), "state" => to.name())
            .increment(1);
    }

    pub(crate) fn offers(&self, result: &'static str, number: usize) {
        if number > 0 {
            counter!("outbox_offers_total", "chain" => self.chain.clone(), "account" => self.account.clone(), "result" => result)
                .increment(number as u64);
        }
    }

    pub(crate) fn round(&self, report: &TurnReport, seconds: f64) {
        let count = |name: &'static str, number: usize| {
            if number > 0 {
                counter!(name, "chain" => self.chain.clone(), "account" => self.account.clone()).increment(number as u64);
            }
        };
        count("outbox_replacements_total", report.replaced);
        count("outbox_fillers_total", report.filled);
        count("outbox_put_back_total", report.put_back);
        count("outbox_foreign_nonces_total", report.released);
        let show = |name: &'static str, value: f64| {
            gauge!(name, "chain" => self.chain.clone(), "account" => self.account.clone()).set(value)
        };
        show("outbox_in_flight", report.in_flight as f64);
        show("outbox_held", report.held as f64);
        show("outbox_leader", if report.standby { 0.0 } else { 1.0 });
        histogram!("outbox_round_seconds", "chain" => self.chain.clone(), "account" => self.account.clone()).record(seconds);
    }

    pub(crate) fn failed_round(&self) {
        counter!("outbox_round_errors_total", "chain" => self.chain.clone(), "account" => self.account.clone()).increment(1);
    }

    pub(crate) fn balance(&self, wei: alloy_primitives::U256) {
        let wei = f64::from(wei);
        gauge!("outbox_balance_wei", "chain" => self.chain.clone(), "account" => self.account.clone()).set(wei);
    }
}
