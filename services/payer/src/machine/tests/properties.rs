//! What must hold for every sequence of events.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Observe { ahead: u64, paid: u64, fork: u8 },
    CannotTell,
    Timer { ahead: u64 },
    Remove { fork: u8 },
    Finish { good: bool },
    Look { running: Option<bool> },
    Restart,
    Command(Command),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0_u64..40, prop_oneof![Just(50_u64), Just(150), Just(10_000)], 0_u8..2)
            .prop_map(|(ahead, paid, fork)| Step::Observe { ahead, paid, fork }),
        2 => Just(Step::CannotTell),
        3 => (0_u64..400).prop_map(|ahead| Step::Timer { ahead }),
        1 => (0_u8..2).prop_map(|fork| Step::Remove { fork }),
        3 => any::<bool>().prop_map(|good| Step::Finish { good }),
        1 => prop_oneof![Just(None), Just(Some(true)), Just(Some(false))].prop_map(|running| Step::Look { running }),
        1 => Just(Step::Restart),
        1 => prop_oneof![Just(Command::Recheck), Just(Command::RetryNow)].prop_map(Step::Command),
    ];
    prop::collection::vec(step, 1..120)
}

fn to_event(step: &Step, machine: &Agreement, second: u64) -> Event {
    match step {
        Step::Observe { paid, fork, .. } => Event::Observed(Box::new(observation(second, *paid, *fork))),
        Step::CannotTell => Event::CannotTell(CannotTell::NoCode),
        Step::Timer { .. } => Event::Timer,
        Step::Remove { fork } => Event::Removed((0..second + 1).rev().take(64).map(|s| block(s, *fork)).collect()),
        Step::Finish { good } => {
            let (id, attempt) = machine.action.as_ref().map_or((0, 0), |action| (action.id, action.attempt));
            let outcome = if *good {
                ActionOutcome::Verified { detail: String::new() }
            } else {
                ActionOutcome::Failed { detail: "no".into() }
            };
            Event::ActionDone { id, attempt, outcome }
        }
        Step::Look { running } => Event::TargetSeen { running: *running },
        Step::Restart => Event::Started,
        Step::Command(command) => Event::Command(*command),
    }
}

fn new_decision(before: &Agreement, after: &Agreement, kind: ActionKind) -> bool {
    after.last_action > before.last_action && after.action.as_ref().is_some_and(|action| action.kind == kind)
}

proptest! {
    #[test]
    fn decisions_are_sound(steps in steps(), grace in prop_oneof![Just(0_u64), Just(60)], can_resume: bool) {
        let policy = Policy { grace_seconds: grace, can_resume, ..policy() };
        let mut machine = Agreement::default();
        let mut second = 100;
        machine.step(at(second), &policy, Event::Started);
        for step in &steps {
            second += match step { Step::Observe { ahead, .. } | Step::Timer { ahead } => *ahead, _ => 0 };
            let event = to_event(step, &machine, second);
            let before = machine.clone();
            let out = machine.step(at(second), &policy, event.clone());

            // The step is a function: the same input gives the same output.
            let mut twin = before.clone();
            prop_assert_eq!(twin.step(at(second), &policy, event.clone()), out.clone());
            prop_assert_eq!(&twin, &machine);

            if new_decision(&before, &machine, ActionKind::Stop) {
                prop_assert!(machine.unknown.is_none(), "a stop was decided while it cannot be told");
                prop_assert_eq!(machine.verdict, Some(Verdict::Unpaid));
                prop_assert!(
                    matches!(event, Event::Observed(_) | Event::ActionDone { .. } | Event::TargetSeen { running: Some(true) }),
                    "a stop was decided on {:?}", event
                );
                if before.verdict != Some(Verdict::Unpaid) {
                    let run = machine.unpaid_run.as_ref().expect("witnesses");
                    prop_assert!(run.blocks.len() >= 2);
                    prop_assert!(at(second).0 - run.first_at.0 >= 30_000);
                }
            }
            if new_decision(&before, &machine, ActionKind::Resume) {
                prop_assert!(can_resume);
                prop_assert_eq!(machine.verdict, Some(Verdict::Paid));
            }
            // Every running attempt was asked for exactly when it began (or at a restart).
            let asked = out.effects.iter().filter(|effect| matches!(effect, Effect::RunAction { .. })).count();
            prop_assert!(asked <= 1);
            let running = |m: &Agreement| m.action.as_ref().filter(|a| matches!(a.status, ActionStatus::Running { .. })).map(|a| (a.id, a.attempt));
            if !matches!(event, Event::Started) {
                prop_assert_eq!(asked == 1, running(&machine).is_some() && running(&machine) != running(&before));
            }
            // The overlay never changes the firm state.
            if matches!(event, Event::CannotTell(_)) {
                prop_assert_eq!(machine.phase, before.phase);
                prop_assert_eq!(machine.verdict, before.verdict);
                prop_assert_eq!(&machine.unpaid_run, &before.unpaid_run);
                prop_assert_eq!(&machine.action, &before.action);
            }
            // Phases and actions belong together.
            match machine.phase {
                Some(Phase::Stopping) => prop_assert_eq!(machine.action.as_ref().map(|a| a.kind), Some(ActionKind::Stop)),
                Some(Phase::Resuming) => prop_assert_eq!(machine.action.as_ref().map(|a| a.kind), Some(ActionKind::Resume)),
                _ => prop_assert!(machine.action.is_none()),
            }
            // A timer that came due was dealt with: the next one lies ahead.
            if matches!(event, Event::Timer) {
                prop_assert!(machine.next_timer(&policy) > at(second));
            }
            // The row holds everything.
            let text = serde_json::to_string(&machine).expect("state as text");
            prop_assert_eq!(&serde_json::from_str::<Agreement>(&text).expect("state from text"), &machine);
        }
    }
}
