//! Single decisions.

use super::*;

#[test]
fn phases_follow_the_remaining_time() {
    let cases = [
        // (second, seconds paid for, phase)
        (0, 10_000, Phase::Paid),
        (0, 3_600, Phase::Paid),
        (1, 3_600, Phase::ExpiringSoon),
        (3_600, 3_600, Phase::ExpiringSoon), // the last paid second
        (3_601, 3_600, Phase::Unpaid),
        (0, 0, Phase::ExpiringSoon), // nothing is owed at the very start
    ];
    for (second, paid, expected) in cases {
        let mut bench = Bench::new(policy());
        bench.observe(second, paid);
        assert_eq!(bench.phase(), Some(expected), "second {second}, {paid} s paid for");
    }
}

#[test]
fn before_the_start_nothing_is_owed() {
    let mut bench = Bench::new(policy());
    let mut early = observation(0, 0, 0);
    early.block.time_s = START - 1;
    bench.event(0, Event::Observed(Box::new(early)));
    assert_eq!(bench.phase(), Some(Phase::NotStarted));
    assert_eq!(bench.machine.health(), Health::Paid);
}

#[test]
fn a_rate_of_zero_is_paid_for_ever() {
    let mut bench = Bench::new(policy());
    let mut free = observation(5_000, 0, 0);
    free.terms.requested_rate = U256::ZERO;
    free.contract_says_paid = Some(true);
    bench.event(5_000, Event::Observed(Box::new(free)));
    assert_eq!(bench.phase(), Some(Phase::Paid));
    assert_eq!(bench.machine.paid_until_s(), None);
}

#[test]
fn each_threshold_warns_once_and_a_payment_arms_it_again() {
    let mut bench = Bench::new(policy());
    bench.observe(0, 4_000);
    assert_eq!(bench.count("expiring"), 0);
    bench.observe(401, 4_000);
    bench.observe(402, 4_000);
    assert_eq!(bench.count("expiring"), 1, "below one hour");
    bench.observe(3_401, 4_000);
    bench.observe(3_500, 4_000);
    assert_eq!(bench.count("expiring"), 2, "below ten minutes");
    bench.observe(3_501, 6_000);
    assert_eq!(bench.count("expiring"), 2, "still below one hour, which was announced");
    bench.observe(5_401, 6_000);
    assert_eq!(bench.count("expiring"), 3, "below ten minutes again");
}

#[test]
fn a_first_look_deep_below_all_thresholds_warns_once() {
    let mut bench = Bench::new(policy());
    bench.observe(0, 5);
    assert_eq!(bench.count("expiring"), 1);
}

#[test]
fn unpaid_needs_two_blocks_and_thirty_seconds() {
    let mut bench = Bench::new(policy());
    bench.observe(90, 100);
    assert_eq!(bench.observe(101, 100), vec![]);
    assert_eq!(bench.phase(), Some(Phase::Unpaid));
    assert_eq!(bench.machine.health(), Health::Paid, "not confirmed yet");
    assert_eq!(bench.observe(130, 100), vec![], "29 s are not enough");
    assert_eq!(bench.observe(131, 100), vec![run(1, 1, ActionKind::Stop)]);
    assert_eq!(bench.phase(), Some(Phase::Stopping));
    assert_eq!(bench.machine.health(), Health::Unpaid);
}

#[test]
fn the_same_block_twice_is_one_witness() {
    let mut bench = Bench::new(policy());
    bench.observe(101, 100);
    let again = Event::Observed(Box::new(observation(101, 100, 0)));
    assert_eq!(bench.event(150, again), vec![]);
    assert_eq!(bench.phase(), Some(Phase::Unpaid));
}

#[test]
fn one_paid_answer_in_between_counts_anew() {
    let mut bench = Bench::new(policy());
    bench.observe(101, 100);
    bench.observe(110, 200);
    bench.observe(201, 200);
    assert_eq!(bench.observe(225, 200), vec![], "only 24 s since the new first witness");
    assert_eq!(bench.observe(231, 200), vec![run(1, 1, ActionKind::Stop)]);
}

#[test]
fn an_unpaid_start_is_unknown_until_confirmed() {
    let mut bench = Bench::new(policy());
    assert_eq!(bench.machine.health(), Health::Unknown);
    bench.observe(500, 100);
    assert_eq!(bench.machine.health(), Health::Unknown);
    bench.observe(531, 100);
    assert_eq!(bench.machine.health(), Health::Unpaid);
}

#[test]
fn grace_is_served_and_ends_to_the_second() {
    let mut bench = Bench::new(Policy { grace_seconds: 50, confirm_blocks: 1, confirm_seconds: 0, ..policy() });
    bench.observe(101, 100);
    assert_eq!(bench.phase(), Some(Phase::Grace));
    assert_eq!(bench.machine.health(), Health::Paid);
    assert_eq!(bench.observe(150, 100), vec![]);
    assert_eq!(bench.observe(151, 100), vec![run(1, 1, ActionKind::Stop)]);
}

#[test]
fn without_a_stop_action_unpaid_is_reported_only() {
    let mut bench = Bench::new(Policy { can_stop: false, can_resume: false, ..policy() });
    bench.observe(101, 100);
    assert_eq!(bench.observe(131, 100), vec![]);
    bench.observe(190, 100);
    assert_eq!(bench.phase(), Some(Phase::Unpaid));
    assert_eq!(bench.machine.health(), Health::Unpaid);
    assert_eq!(bench.count("unpaid_confirmed"), 1);
}

#[test]
fn the_stop_runs_once_however_many_unpaid_blocks_follow() {
    let mut bench = Bench::stopped();
    for second in 134..200 {
        assert_eq!(bench.observe(second, 100), vec![]);
    }
    assert_eq!(bench.count("action_started"), 1);
}

#[test]
fn a_failed_stop_is_retried_with_back_off() {
    let mut bench = Bench::new(policy());
    bench.observe(101, 100);
    bench.observe(131, 100);
    bench.done(131, 1, 1, false);
    assert_eq!(bench.phase(), Some(Phase::Stopping));
    assert!(bench.machine.failing_action().is_some());
    assert_eq!(bench.event(135, Event::Timer), vec![], "too early");
    assert_eq!(bench.event(136, Event::Timer), vec![run(1, 2, ActionKind::Stop)]);
    bench.done(136, 1, 2, false);
    assert_eq!(bench.event(145, Event::Timer), vec![]);
    assert_eq!(bench.event(146, Event::Timer), vec![run(1, 3, ActionKind::Stop)]);
    assert_eq!(bench.done(147, 1, 2, true), vec![], "the answer of an earlier attempt changes nothing");
    assert_eq!(bench.phase(), Some(Phase::Stopping));
    bench.done(147, 1, 3, true);
    assert_eq!(bench.phase(), Some(Phase::Stopped));
}

#[test]
fn an_operator_can_cut_the_back_off_short() {
    let mut bench = Bench::new(policy());
    bench.observe(101, 100);
    bench.observe(131, 100);
    bench.done(131, 1, 1, false);
    assert_eq!(bench.event(132, Event::Command(Command::RetryNow)), vec![run(1, 2, ActionKind::Stop)]);
    assert_eq!(bench.event(132, Event::Command(Command::RetryNow)), vec![], "it runs already");
}

#[test]
fn retry_waits_double_up_to_the_limit() {
    let policy = Policy { retry_first_seconds: 5, retry_max_seconds: 300, ..Policy::default() };
    let waits: Vec<u64> = (1..=9).map(|attempt| policy.retry_wait_seconds(attempt)).collect();
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    assert_eq!(policy.retry_wait_seconds(u32::MAX), 300);
}

#[test]
fn a_payment_resumes_the_target() {
    let mut bench = Bench::stopped();
    assert_eq!(bench.observe(140, 100_000), vec![run(2, 1, ActionKind::Resume)]);
    assert_eq!(bench.phase(), Some(Phase::Resuming));
    assert_eq!(bench.machine.health(), Health::Paid);
    bench.done(141, 2, 1, true);
    assert_eq!(bench.phase(), Some(Phase::Paid));
    assert_eq!(bench.machine.target, Target::Untouched);
}

#[test]
fn without_a_resume_action_the_operator_is_told() {
    let mut bench = Bench::stopped();
    bench.policy.can_resume = false;
    assert_eq!(bench.observe(140, 100_000), vec![]);
    assert_eq!(bench.phase(), Some(Phase::Paid));
    assert_eq!(bench.count("resume_left_to_operator"), 1);
    bench.observe(141, 100_000);
    assert_eq!(bench.count("resume_left_to_operator"), 1);
}

#[test]
fn a_payment_during_the_stop_resumes_after_it() {
    let mut bench = Bench::new(policy());
    bench.observe(101, 100);
    bench.observe(131, 100);
    assert_eq!(bench.observe(132, 100_000), vec![], "the attempt that runs is not disturbed");
    assert_eq!(bench.done(133, 1, 1, true), vec![run(2, 1, ActionKind::Resume)]);
}

#[test]
fn a_payment_between_two_attempts_withdraws_the_stop() {
    let mut bench = Bench::new(policy());
    bench.observe(101, 100);
    bench.observe(131, 100);
    bench.done(131, 1, 1, false);
    assert_eq!(bench.observe(132, 100_000), vec![run(2, 1, ActionKind::Resume)], "it may have stopped after all");
    assert_eq!(bench.count("action_withdrawn"), 1);
}

#[test]
fn a_payment_into_the_grace_time_does_not_resume() {
    let mut bench = Bench::stopped();
    bench.policy.grace_seconds = 50;
    assert_eq!(bench.observe(150, 140), vec![]);
    assert_eq!(bench.phase(), Some(Phase::Stopped));
    assert_eq!(bench.observe(151, 151), vec![run(2, 1, ActionKind::Resume)]);
}

#[test]
fn unpaid_during_a_failing_resume_stops_again() {
    let mut bench = Bench::stopped();
    bench.observe(140, 150);
    bench.done(141, 2, 1, false);
    bench.observe(151, 150);
    assert_eq!(bench.observe(181, 150), vec![run(3, 1, ActionKind::Stop)]);
    assert_eq!(bench.phase(), Some(Phase::Stopping));
}

#[test]
fn a_target_that_comes_back_is_stopped_again() {
    let mut bench = Bench::stopped();
    assert_eq!(bench.event(193, Event::Timer), vec![Effect::Inspect, Effect::Observe]);
    assert_eq!(bench.event(194, Event::TargetSeen { running: Some(false) }), vec![]);
    assert_eq!(bench.event(194, Event::TargetSeen { running: None }), vec![]);
    assert_eq!(bench.event(194, Event::TargetSeen { running: Some(true) }), vec![run(2, 1, ActionKind::Stop)]);
    assert_eq!(bench.count("target_came_back"), 1);
}

#[test]
fn a_target_that_comes_back_is_left_alone_while_it_cannot_be_told() {
    let mut bench = Bench::stopped();
    bench.unreachable(150);
    assert_eq!(bench.event(194, Event::TargetSeen { running: Some(true) }), vec![]);
    assert_eq!(bench.phase(), Some(Phase::Stopped));
}

#[test]
fn cannot_tell_keeps_the_firm_state_and_its_witnesses() {
    let mut bench = Bench::new(policy());
    bench.observe(90, 100);
    bench.observe(101, 100);
    bench.unreachable(110);
    assert_eq!(bench.machine.health(), Health::Unknown);
    assert_eq!(bench.phase(), Some(Phase::Unpaid));
    for second in [131, 200, 1_000] {
        assert!(!bench.event(second, Event::Timer).iter().any(|effect| matches!(effect, Effect::RunAction { .. })));
    }
    assert_eq!(bench.observe(1_001, 100), vec![run(1, 1, ActionKind::Stop)], "the second witness");
}

#[test]
fn cannot_tell_alerts_once_after_the_limit_and_tells_the_recovery() {
    let mut bench = Bench::new(policy());
    bench.observe(0, 100_000);
    bench.unreachable(10);
    bench.event(309, Event::Timer);
    assert_eq!(bench.count("unknown"), 0);
    bench.event(310, Event::Timer);
    bench.unreachable(400);
    assert_eq!(bench.count("unknown"), 1);
    bench.observe(410, 100_000);
    assert_eq!(bench.count("known"), 1);
    bench.unreachable(420);
    bench.observe(430, 100_000);
    assert_eq!(bench.count("known"), 1, "a short gap is not news");
}

#[test]
fn silence_is_noticed_without_any_event() {
    let mut bench = Bench::new(policy());
    bench.observe(0, 100_000);
    bench.event(239, Event::Timer);
    assert_eq!(bench.machine.health(), Health::Paid);
    bench.event(240, Event::Timer);
    assert_eq!(bench.machine.health(), Health::Unknown);
}

#[test]
fn an_old_head_proves_nothing() {
    let mut bench = Bench::new(policy());
    let old = Event::Observed(Box::new(observation(10_000, 100, 0)));
    bench.event(10_181, old);
    assert_eq!(bench.machine.unknown.as_ref().map(|unknown| unknown.cause.code()), Some("stale"));
    assert_eq!(bench.phase(), None);
    let edge = Event::Observed(Box::new(observation(10_010, 100, 0)));
    bench.event(10_190, edge);
    assert_eq!(bench.phase(), Some(Phase::Unpaid), "exactly at the limit");
}

#[test]
fn a_head_ahead_of_the_clock_decides_by_block_time() {
    let mut bench = Bench::new(Policy { confirm_blocks: 1, confirm_seconds: 0, ..policy() });
    let ahead = Event::Observed(Box::new(observation(5_000, 100, 0)));
    assert_eq!(bench.event(50, ahead), vec![run(1, 1, ActionKind::Stop)]);
}

#[test]
fn answers_that_contradict_themselves_prove_nothing() {
    type Spoil = fn(&mut Observation);
    let cases: [(&str, Spoil); 4] = [
        ("cross_check", |o| o.contract_says_paid = Some(false)),
        ("malformed", |o| o.contract_says_paid = None),
        ("terms_changed", |o| o.terms.requested_rate = U256::from(11)),
        ("overflow", |o| {
            o.contract_says_paid = None;
            o.terms.requested_rate = U256::MAX;
        }),
    ];
    for (code, spoil) in cases {
        let mut bench = Bench::new(policy());
        if code == "terms_changed" {
            bench.observe(0, 100);
        }
        let mut bad = observation(10, 100, 0);
        spoil(&mut bad);
        assert_eq!(bench.event(10, Event::Observed(Box::new(bad))), vec![]);
        assert_eq!(bench.machine.unknown.as_ref().map(|unknown| unknown.cause.code()), Some(code));
        assert_eq!(bench.machine.health(), Health::Unknown);
    }
}

#[test]
fn a_lagging_answer_changes_nothing() {
    let mut bench = Bench::new(policy());
    bench.observe(90, 100_000);
    let before = bench.machine.clone();
    let old = Event::Observed(Box::new(observation(80, 10, 0)));
    assert_eq!(bench.event(91, old), vec![]);
    assert_eq!(bench.machine, before);
}

#[test]
fn a_removed_witness_counts_anew() {
    let mut bench = Bench::new(policy());
    bench.observe(90, 100);
    bench.observe(101, 100);
    assert_eq!(bench.event(125, Event::Removed(vec![block(101, 0)])), vec![Effect::Observe]);
    assert_eq!(bench.count("retracted"), 1);
    let other = |second| Event::Observed(Box::new(observation(second, 100, 1)));
    assert_eq!(bench.event(126, other(101)), vec![]);
    assert_eq!(bench.event(155, other(155)), vec![], "29 s since the new first witness");
    assert_eq!(bench.event(156, other(156)), vec![run(1, 1, ActionKind::Stop)]);
}

#[test]
fn a_payment_that_vanishes_needs_confirmation_like_any_other() {
    let mut bench = Bench::new(policy());
    bench.observe(90, 100_000);
    bench.event(91, Event::Removed(vec![block(90, 0)]));
    let without = |second| Event::Observed(Box::new(observation(second, 10, 1)));
    assert_eq!(bench.event(92, without(89)), vec![], "a lower block is fine after the removal");
    assert_eq!(bench.phase(), Some(Phase::Unpaid));
    assert_eq!(bench.event(121, without(121)), vec![]);
    assert_eq!(bench.event(122, without(122)), vec![run(1, 1, ActionKind::Stop)]);
}

#[test]
fn removed_blocks_that_nothing_rests_on_are_no_news() {
    let mut bench = Bench::new(policy());
    bench.observe(90, 100_000);
    assert_eq!(bench.event(91, Event::Removed(vec![block(50, 7)])), vec![]);
    assert_eq!(bench.count("retracted"), 0);
}

#[test]
fn the_next_look_is_at_the_exact_moment() {
    let mut bench = Bench::new(policy());
    bench.observe(95, 100);
    assert_eq!(bench.machine.next_timer(&bench.policy), at(101), "the first unpaid second");
    let mut bench = Bench::new(policy());
    bench.observe(0, 3_620);
    assert_eq!(bench.machine.next_timer(&bench.policy), at(21), "the first second below one hour");
    let mut bench = Bench::new(policy());
    bench.observe(0, 100_000);
    assert_eq!(bench.machine.next_timer(&bench.policy), at(60), "the longest time between two looks");
}

#[test]
fn a_restart_during_the_stop_asks_for_the_same_attempt_again() {
    let mut bench = Bench::new(policy());
    bench.observe(101, 100);
    bench.observe(131, 100);
    assert_eq!(bench.event(132, Event::Started), vec![Effect::Observe, run(1, 1, ActionKind::Stop)]);
    bench.done(133, 1, 1, true);
    assert_eq!(bench.event(134, Event::Started), vec![Effect::Observe], "what is done is not repeated");
    assert_eq!(bench.count("action_started"), 1);
}

#[test]
fn an_action_that_is_no_longer_configured_is_withdrawn_at_the_start() {
    let mut bench = Bench::new(policy());
    bench.observe(101, 100);
    bench.observe(131, 100);
    bench.policy.can_stop = false;
    assert_eq!(bench.event(132, Event::Started), vec![Effect::Observe]);
    assert_eq!(bench.phase(), Some(Phase::Unpaid));
    assert_eq!(bench.count("action_withdrawn"), 1);
}

#[test]
fn a_long_rest_is_not_silence() {
    let mut bench = Bench::new(policy());
    bench.observe(0, 1_000_000);
    bench.event(50_000, Event::Started);
    bench.event(50_001, Event::Timer);
    assert!(bench.machine.unknown.is_none());
}

#[test]
fn holding_less_than_owed_is_told_once() {
    let mut bench = Bench::new(policy());
    let short = |second| {
        let mut short = observation(second, 100_000, 0);
        short.held -= U256::ONE;
        Event::Observed(Box::new(short))
    };
    bench.event(1, short(1));
    bench.event(2, short(2));
    assert_eq!(bench.count("held_below_owed"), 1);
}

#[test]
fn the_state_survives_its_own_text_form() {
    let bench = Bench::stopped();
    let text = serde_json::to_string(&bench.machine).unwrap();
    assert_eq!(serde_json::from_str::<Agreement>(&text).unwrap(), bench.machine);
}
