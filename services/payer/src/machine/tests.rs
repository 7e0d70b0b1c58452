//! Tables, properties and a simulation of the machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod properties;
mod simulation;
mod table;

use alloy_primitives::{B256, U256};
use windlass_store::clock::UnixMillis;

use super::*;

/// Start of the agreement and of the clock, seconds.
const START: u64 = 1_000_000;
/// Token units per second.
const RATE: u64 = 10;

fn terms() -> Terms {
    Terms { requested_rate: U256::from(RATE), start_timestamp: U256::from(START) }
}

fn policy() -> Policy {
    Policy {
        warn_before_seconds: vec![3_600, 600],
        confirm_blocks: 2,
        confirm_seconds: 30,
        stale_after_seconds: 180,
        unknown_alert_after_seconds: 300,
        observe_every_seconds: 60,
        can_stop: true,
        can_resume: true,
        ..Policy::default()
    }
}

/// The block at `second` after the start, on branch `fork`.
fn block(second: u64, fork: u8) -> BlockPoint {
    let mut hash = [fork; 32];
    hash[..8].copy_from_slice(&second.to_be_bytes());
    BlockPoint { number: second, hash: B256::new(hash), time_s: START + second }
}

/// What a correct endpoint says at the block of `second` when `paid_seconds` seconds are paid for.
fn observation(second: u64, paid_seconds: u64, fork: u8) -> Observation {
    let total_paid = U256::from(paid_seconds * RATE);
    let block = block(second, fork);
    Observation {
        block,
        terms: terms(),
        total_paid,
        contract_says_paid: terms().is_paid(total_paid, block.time_s),
        held: total_paid,
        owed: total_paid,
        finalized: None,
    }
}

fn at(second: u64) -> UnixMillis {
    UnixMillis(i64::try_from((START + second) * 1_000).unwrap())
}

/// A machine with its policy, driven by hand.
struct Bench {
    machine: Agreement,
    policy: Policy,
    records: Vec<Record>,
}

impl Bench {
    fn new(policy: Policy) -> Self {
        let mut bench = Self { machine: Agreement::default(), policy, records: Vec::new() };
        bench.event(0, Event::Started);
        bench
    }

    fn event(&mut self, second: u64, event: Event) -> Vec<Effect> {
        let out = self.machine.step(at(second), &self.policy, event);
        self.records.extend(out.records);
        out.effects
    }

    fn observe(&mut self, second: u64, paid_seconds: u64) -> Vec<Effect> {
        self.event(second, Event::Observed(Box::new(observation(second, paid_seconds, 0))))
    }

    fn unreachable(&mut self, second: u64) -> Vec<Effect> {
        self.event(second, Event::CannotTell(CannotTell::Unreachable { detail: "down".into() }))
    }

    fn done(&mut self, second: u64, id: u64, attempt: u32, good: bool) -> Vec<Effect> {
        let outcome = if good {
            ActionOutcome::Verified { detail: "seen".into() }
        } else {
            ActionOutcome::Failed { detail: "broken".into() }
        };
        self.event(second, Event::ActionDone { id, attempt, outcome })
    }

    fn phase(&self) -> Option<Phase> {
        self.machine.phase
    }

    fn count(&self, code: &str) -> usize {
        self.records.iter().filter(|record| record.code() == code).count()
    }

    /// Drives an agreement that is paid for 100 s into `Stopped`.
    fn stopped() -> Self {
        let mut bench = Self::new(policy());
        bench.observe(90, 100);
        bench.observe(101, 100);
        assert_eq!(bench.observe(131, 100), vec![run(1, 1, ActionKind::Stop)]);
        bench.done(133, 1, 1, true);
        assert_eq!(bench.phase(), Some(Phase::Stopped));
        bench
    }
}

fn run(id: u64, attempt: u32, kind: ActionKind) -> Effect {
    Effect::RunAction { id, attempt, kind }
}
