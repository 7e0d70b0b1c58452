//! A whole world around the machine, on a virtual clock: a chain with payments and reorganisations, endpoints that fail,
//! a target that obeys or not. The same world is run without and with restarts after every commit, and both must end
//! with the same history.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::*;

/// What the scripted world does, second by second. It does not depend on how often the machine restarts.
struct Script {
    /// Per second: seconds paid for in the canonical block.
    paid: Vec<u64>,
    /// Per second: whether the endpoints answer.
    reachable: Vec<bool>,
    /// Per second: fork of the canonical block, and how many blocks were replaced in that second.
    fork: Vec<(u8, u64)>,
    /// Outcome of the n-th attempt of any action.
    attempts: Vec<bool>,
}

const LENGTH: u64 = 4_000;

impl Script {
    fn new(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut below = |limit: u64| random.next_u64() % limit;
        let (mut paid_now, mut up, mut fork_now) = (below(500), true, 0_u8);
        let mut script = Self { paid: vec![], reachable: vec![], fork: vec![], attempts: vec![] };
        for _ in 0..LENGTH {
            if below(400) == 0 {
                paid_now += below(900);
            }
            if below(if up { 300 } else { 120 }) == 0 {
                up = !up;
            }
            let depth = if below(250) == 0 { 1 + below(12) } else { 0 };
            if depth > 0 {
                fork_now = fork_now.wrapping_add(1);
                if below(4) == 0 {
                    paid_now = paid_now.saturating_sub(below(300)); // a payment vanished with the branch
                }
            }
            script.paid.push(paid_now);
            script.reachable.push(up);
            script.fork.push((fork_now, depth));
            script.attempts.push(below(3) != 0);
        }
        script
    }

    fn observe(&self, second: u64) -> Event {
        let index = usize::try_from(second).unwrap();
        if !self.reachable[index] {
            return Event::CannotTell(CannotTell::Unreachable { detail: "scripted".into() });
        }
        Event::Observed(Box::new(observation(second, self.paid[index], self.fork[index].0)))
    }
}

/// Everything outside the machine that is durable: its row, its history, and the target itself.
struct World<'s> {
    script: &'s Script,
    policy: Policy,
    row: String,
    history: Vec<(u64, Record)>,
    /// Results on their way: (second, id, attempt).
    pending: Vec<(u64, u64, u32)>,
    /// When each attempt was asked for first; asked again, it finds the target as the first time left it.
    asked: std::collections::BTreeMap<(u64, u32), u64>,
    /// Attempts that had an effect on the target.
    carried_out: Vec<(u64, u32, ActionKind)>,
    restart: bool,
    restarts: u64,
    target_runs: bool,
}

impl World<'_> {
    /// Steps, commits, and does the effects; with restarts on, the process dies right after the commit, before any of
    /// its effects, and starts anew from the row.
    fn event(&mut self, second: u64, event: Event) {
        let mut machine: Agreement = serde_json::from_str(&self.row).unwrap();
        let out = machine.step(at(second), &self.policy, event);
        self.row = serde_json::to_string(&machine).unwrap();
        self.history.extend(out.records.into_iter().map(|record| (second, record)));
        let effects = if self.restart {
            self.restarts += 1;
            self.pending.clear(); // whatever ran in the process died with it
            let mut reborn: Agreement = serde_json::from_str(&self.row).unwrap();
            let out = reborn.step(at(second), &self.policy, Event::Started);
            self.row = serde_json::to_string(&reborn).unwrap();
            self.history.extend(out.records.into_iter().map(|record| (second, record)));
            out.effects
        } else {
            out.effects
        };
        for effect in effects {
            if let Effect::RunAction { id, attempt, kind } = effect {
                let good = self.script.attempts[usize::try_from(id * 7 + u64::from(attempt)).unwrap()];
                if good && !self.carried_out.contains(&(id, attempt, kind)) {
                    self.carried_out.push((id, attempt, kind));
                    self.target_runs = kind == ActionKind::Resume;
                }
                let first = *self.asked.entry((id, attempt)).or_insert(second);
                self.pending.push((first + 1, id, attempt));
            }
        }
    }

    fn run(&mut self) {
        self.event(0, Event::Started);
        for second in 0..LENGTH {
            let (fork, depth) = self.script.fork[usize::try_from(second).unwrap()];
            if depth > 0 {
                // Every hash that a block of the last `depth` seconds may have had is gone.
                let gone = (0..=fork).flat_map(|fork| (second.saturating_sub(depth)..second).rev().map(move |s| block(s, fork)));
                self.event(second, Event::Removed(gone.collect()));
            }
            let (due, later): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.pending).into_iter().partition(|(due, ..)| *due <= second);
            self.pending = later;
            for (_, id, attempt) in due {
                let good = self.script.attempts[usize::try_from(id * 7 + u64::from(attempt)).unwrap()];
                let outcome = if good {
                    ActionOutcome::Verified { detail: "scripted".into() }
                } else {
                    ActionOutcome::Failed { detail: "scripted".into() }
                };
                self.event(second, Event::ActionDone { id, attempt, outcome });
            }
            if second % 12 == 0 {
                self.event(second, self.script.observe(second));
            }
            let machine: Agreement = serde_json::from_str(&self.row).unwrap();
            if machine.next_timer(&self.policy) <= at(second) {
                self.event(second, Event::Timer);
            }
            self.check(second);
        }
    }

    fn check(&self, second: u64) {
        let machine: Agreement = serde_json::from_str(&self.row).unwrap();
        match machine.phase {
            Some(Phase::Stopped) => assert!(!self.target_runs, "second {second}: stopped, but the target runs"),
            Some(Phase::Paid | Phase::ExpiringSoon | Phase::NotStarted | Phase::Grace) => {
                assert!(self.target_runs, "second {second}: paid, but the target stands still");
            }
            _ => {}
        }
    }
}

/// History, actions carried out, number of restarts.
type Outcome = (Vec<(u64, Record)>, Vec<(u64, u32, ActionKind)>, u64);

fn run_world(seed: u64, restart: bool) -> Outcome {
    let script = Script::new(seed);
    let mut world = World {
        script: &script,
        policy: Policy { grace_seconds: 30, ..policy() },
        row: serde_json::to_string(&Agreement::default()).unwrap(),
        history: Vec::new(),
        pending: Vec::new(),
        asked: std::collections::BTreeMap::new(),
        carried_out: Vec::new(),
        restart,
        restarts: 0,
        target_runs: true,
    };
    world.run();
    (world.history, world.carried_out, world.restarts)
}

/// Silence is measured from the start of the process, so a process that restarts all the time never notices it; the
/// script has no silence, endpoints that fail say so.
#[test]
fn restarts_after_every_commit_change_nothing() {
    let base = std::env::var("WINDLASS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1_u64);
    let count = std::env::var("WINDLASS_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12_u64);
    let (mut stops, mut resumes, mut failures) = (0, 0, 0);
    for seed in base..base + count {
        let (steady, steady_actions, _) = run_world(seed, false);
        let (shaken, shaken_actions, restarts) = run_world(seed, true);
        assert!(restarts > 300, "seed {seed}: the process was restarted only {restarts} times");
        assert_eq!(steady, shaken, "seed {seed}: histories differ; run again with WINDLASS_SEED={seed} WINDLASS_SEEDS=1");
        assert_eq!(steady_actions, shaken_actions, "seed {seed}: different actions were carried out");
        stops += steady_actions.iter().filter(|(.., kind)| *kind == ActionKind::Stop).count();
        resumes += steady_actions.iter().filter(|(.., kind)| *kind == ActionKind::Resume).count();
        failures += steady
            .iter()
            .filter(|(_, record)| matches!(record, Record::ActionEnded { outcome: ActionOutcome::Failed { .. }, .. }))
            .count();
    }
    assert!(
        count < 12 || (stops > 10 && resumes > 10 && failures > 5),
        "the scripts exercise too little: {stops} stops, {resumes} resumes, {failures} failures"
    );
}
