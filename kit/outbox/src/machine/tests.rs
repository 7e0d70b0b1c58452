#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::config::{FeeConfig, GWEI};

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

fn config() -> OutboxConfig {
    OutboxConfig::default()
}

fn live(number: u8) -> LiveIntent {
    LiveIntent {
        id: IntentId([number; 16]),
        state: State::Recorded,
        value: U256::from(1),
        fee: FeePolicy::default(),
        gas_limit: None,
        deadline: None,
        cancel: false,
        bump: false,
        simulate: true,
        hold: None,
    }
}

fn waiting(number: u8) -> Waiting {
    Waiting { intent: live(number), gas: Gas::Limit(50_000) }
}

fn attempt(hash: u8, kind: Kind, max_fee: u128) -> Attempt {
    Attempt {
        hash: B256::repeat_byte(hash),
        kind,
        fees: Fees { max_fee, priority_fee: GWEI, legacy: false },
        gas_limit: 50_000,
        accepted_at: Some(NOW),
        accepted_block: Some(100),
        offered_at: Some(NOW),
        failures: 0,
        rejection: None,
    }
}

fn slot(nonce: u64, number: u8) -> Slot {
    let intent = LiveIntent { state: State::Broadcast, ..live(number) };
    Slot { nonce, intent: Some(intent), attempts: vec![attempt(number, Kind::Send, 21 * GWEI)] }
}

fn view() -> View {
    View {
        now: NOW,
        head: 100,
        count: 5,
        balance: U256::from(10u64).pow(U256::from(18)),
        market: Market { base_fee: Some(10 * GWEI), priority_fee: GWEI, gas_price: 11 * GWEI },
        ..View::default()
    }
}

fn with_open(mut view: View, slots: Vec<Slot>) -> View {
    view.covered = slots.iter().map(|slot| slot.nonce).filter(|nonce| *nonce >= view.count).collect();
    view.lowest = slots.iter().map(|slot| slot.nonce).min().unwrap_or(0);
    view.next = slots.iter().map(|slot| slot.nonce + 1).max().unwrap_or(0);
    view.open = slots;
    view
}

fn later(view: View, span: Duration) -> View {
    View { now: view.now.saturating_add(span), ..view }
}

#[test]
fn the_first_nonce_is_the_chains_count() {
    let plan = plan(&config(), &View { waiting: vec![waiting(1), waiting(2)], ..view() });
    assert_eq!(plan.sign.iter().map(|sign| sign.nonce).collect::<Vec<_>>(), [5, 6]);
    assert!(plan.sign.iter().all(|sign| sign.new_nonce && sign.kind == Kind::Send));
    assert!(plan.drop.is_empty() && plan.holds.is_empty() && plan.offer.is_empty());
}

#[test]
fn later_nonces_follow_the_rows_not_the_chain() {
    let view = View { waiting: vec![waiting(3)], ..with_open(view(), vec![slot(5, 1), slot(6, 2)]) };
    let plan = plan(&config(), &view);
    assert_eq!(plan.sign.iter().map(|sign| sign.nonce).collect::<Vec<_>>(), [7]);
}

#[test]
fn a_gap_is_given_to_a_waiting_intent_and_else_filled() {
    let holed = with_open(view(), vec![slot(5, 1), slot(8, 2)]);
    let plan_filled = plan(&config(), &holed);
    assert_eq!(
        plan_filled.sign.iter().map(|sign| (sign.nonce, sign.kind)).collect::<Vec<_>>(),
        [(6, Kind::Filler), (7, Kind::Filler)]
    );
    let plan_used = plan(&config(), &View { waiting: vec![waiting(3)], ..holed });
    let signed: Vec<_> = plan_used.sign.iter().map(|sign| (sign.nonce, sign.kind)).collect();
    assert_eq!(signed, [(6, Kind::Send), (7, Kind::Filler)]);
}

#[test]
fn nonces_used_before_the_first_row_are_no_gap() {
    // An endpoint that lags says 3, our first row is 5.
    let view = View { count: 3, ..with_open(view(), vec![slot(5, 1)]) };
    assert!(plan(&config(), &view).sign.is_empty());
}

#[test]
fn a_used_nonce_is_left_to_settle() {
    let mut used = slot(4, 1);
    used.attempts[0].offered_at = None;
    let plan = plan(&config(), &later(with_open(view(), vec![used]), Duration::from_secs(3_600)));
    assert_eq!(plan, Plan::default());
}

#[test]
fn bytes_not_included_are_offered_again_after_a_while() {
    let open = with_open(view(), vec![slot(5, 1)]);
    assert!(plan(&config(), &open).offer.is_empty());
    let again = plan(&config(), &later(open, Duration::from_secs(15)));
    assert_eq!(again.offer, [B256::repeat_byte(1)]);
    assert!(again.sign.is_empty());
}

#[test]
fn a_failed_offer_backs_off() {
    let mut failed = slot(5, 1);
    failed.attempts[0].failures = 3;
    failed.attempts[0].rejection = Some((Rejection::Transient, "pool full".to_owned()));
    let open = with_open(view(), vec![failed]);
    assert!(plan(&config(), &later(open.clone(), Duration::from_millis(1_999))).offer.is_empty());
    let again = plan(&config(), &later(open, Duration::from_millis(2_000)));
    assert_eq!(again.offer.len(), 1);
    assert_eq!(again.holds[0].1, Some(Hold::BroadcastFailed { message: "pool full".to_owned() }));
}

#[test]
fn only_the_head_of_the_line_is_escalated() {
    let stuck = later(with_open(view(), vec![slot(5, 1), slot(6, 2), slot(7, 3)]), Duration::from_secs(30));
    let plan = plan(&config(), &stuck);
    assert_eq!(plan.sign.iter().map(|sign| sign.nonce).collect::<Vec<_>>(), [5]);
    assert!(plan.sign[0].fees.max_fee * 1000 >= 21 * GWEI * 1125 && !plan.sign[0].new_nonce);
    assert_eq!(plan.offer, [B256::repeat_byte(2), B256::repeat_byte(3)], "the others are offered again");
}

#[test]
fn all_below_the_market_are_escalated() {
    let mut stuck = later(with_open(view(), vec![slot(5, 1), slot(6, 2)]), Duration::from_secs(30));
    stuck.market.base_fee = Some(50 * GWEI);
    assert_eq!(plan(&config(), &stuck).sign.len(), 2);
}

#[test]
fn escalation_by_blocks() {
    let fee = FeeConfig { escalate_after_blocks: Some(3), escalate_after: Duration::from_secs(86_400), ..FeeConfig::default() };
    let config = OutboxConfig { fee, ..config() };
    let open = with_open(view(), vec![slot(5, 1)]);
    assert!(plan(&config, &View { head: 102, ..open.clone() }).sign.is_empty());
    assert_eq!(plan(&config, &View { head: 103, ..open }).sign.len(), 1);
}

#[test]
fn at_the_cap_it_is_held_and_still_offered() {
    let mut capped = slot(5, 1);
    capped.intent.as_mut().unwrap().fee.max_fee_per_gas = Some(22 * GWEI);
    let plan = plan(&config(), &later(with_open(view(), vec![capped]), Duration::from_secs(30)));
    assert!(plan.sign.is_empty());
    assert!(matches!(plan.holds[0].1, Some(Hold::FeeAboveCap { .. })));
    assert_eq!(plan.offer.len(), 1);
}

#[test]
fn a_replacement_beats_every_attempt_not_only_the_last() {
    let mut many = slot(5, 1);
    many.attempts.push(attempt(9, Kind::Send, 10 * GWEI));
    many.attempts[0].fees.priority_fee = 7 * GWEI;
    let plan = plan(&config(), &later(with_open(view(), vec![many]), Duration::from_secs(30)));
    let fees = plan.sign[0].fees;
    assert!(fees.max_fee * 1000 >= 21 * GWEI * 1125 && fees.priority_fee * 1000 >= 7 * GWEI * 1125, "{fees:?}");
}

#[test]
fn a_past_deadline_drops_what_waits_and_cancels_what_is_signed() {
    let mut signed = slot(5, 1);
    signed.intent.as_mut().unwrap().deadline = Some(NOW);
    let mut late = waiting(2);
    late.intent.deadline = Some(NOW);
    let plan = plan(&config(), &View { waiting: vec![late], ..with_open(view(), vec![signed]) });
    assert_eq!(plan.drop, [(IntentId([2; 16]), Reason::Deadline)]);
    assert_eq!(plan.sign.len(), 1);
    assert_eq!((plan.sign[0].kind, plan.sign[0].nonce, plan.sign[0].gas_limit), (Kind::Cancel, 5, 21_000));
    assert!(plan.offer.is_empty(), "the original is not offered any more");
}

#[test]
fn a_cancellation_may_exceed_the_intents_own_cap_but_not_the_accounts() {
    let mut signed = slot(5, 1);
    let intent = signed.intent.as_mut().unwrap();
    intent.cancel = true;
    intent.fee.max_fee_per_gas = Some(21 * GWEI);
    let open = with_open(view(), vec![signed]);
    assert_eq!(plan(&config(), &open).sign[0].kind, Kind::Cancel);
    let fee = FeeConfig { max_fee_per_gas: 22 * GWEI, ..FeeConfig::default() };
    let held = plan(&OutboxConfig { fee, ..config() }, &open);
    assert!(held.sign.is_empty() && held.offer.is_empty());
    assert!(matches!(held.holds[0].1, Some(Hold::FeeAboveCap { .. })));
}

#[test]
fn after_a_cancellation_only_the_cancellation_is_cared_for() {
    let mut signed = slot(5, 1);
    signed.intent.as_mut().unwrap().cancel = true;
    signed.attempts.push(attempt(9, Kind::Cancel, 30 * GWEI));
    let plan = plan(&config(), &later(with_open(view(), vec![signed]), Duration::from_secs(30)));
    assert_eq!((plan.sign.len(), plan.sign[0].kind), (1, Kind::Cancel));
}

#[test]
fn money_is_not_promised_twice() {
    // Worst case of one: 50,000 gas at 21 gwei and 1 wei.
    let cost = U256::from(50_000u64) * U256::from(21 * GWEI) + U256::from(1);
    let view =
        View { balance: cost * U256::from(2), waiting: vec![waiting(2), waiting(3)], ..with_open(view(), vec![slot(5, 1)]) };
    let plan = plan(&config(), &view);
    assert_eq!(plan.sign.iter().map(|sign| sign.intent).collect::<Vec<_>>(), [Some(IntentId([2; 16]))]);
    assert_eq!(plan.holds, [(IntentId([3; 16]), Some(Hold::InsufficientFunds { needed: cost, have: U256::ZERO }))]);
}

#[test]
fn a_small_intent_passes_one_that_cannot_be_paid() {
    let mut large = waiting(1);
    large.intent.value = U256::MAX;
    let plan = plan(&config(), &View { waiting: vec![large, waiting(2)], ..view() });
    assert_eq!(plan.sign[0].intent, Some(IntentId([2; 16])));
    assert_eq!(plan.sign[0].nonce, 5, "no nonce is lost");
}

#[test]
fn only_a_settled_revert_drops_and_only_when_simulation_is_wanted() {
    let revert = |settled, simulate| {
        let mut one = waiting(1);
        one.intent.simulate = simulate;
        one.gas = Gas::Reverts { reason: "no".to_owned(), settled };
        plan(&config(), &View { waiting: vec![one], ..view() })
    };
    assert_eq!(revert(true, true).drop, [(IntentId([1; 16]), Reason::Reverted { reason: "no".to_owned() })]);
    for held in [revert(false, true), revert(true, false)] {
        assert!(held.drop.is_empty() && held.sign.is_empty());
        assert_eq!(held.holds[0].1, Some(Hold::WouldRevert { reason: "no".to_owned() }));
    }
}

#[test]
fn findings_settle_only_what_is_certain() {
    let open = vec![slot(2, 1), slot(3, 2), slot(4, 3), slot(5, 4), slot(6, 5)];
    let inclusion = |hash: u8| Inclusion {
        hash: B256::repeat_byte(hash),
        block_number: 100,
        block_hash: B256::repeat_byte(0xbb),
        success: true,
        fee_paid: U256::ZERO,
        revert_reason: None,
    };
    let findings = BTreeMap::from([
        (2, Finding::Ours(inclusion(1))),
        (3, Finding::Unclear),
        (4, Finding::Foreign { hash: None, buried: false }),
        (5, Finding::Foreign { hash: None, buried: true }),
        // A hash that was never signed for this nonce proves nothing.
        (6, Finding::Ours(inclusion(0x77))),
    ]);
    let settled = settle(&open, &findings);
    assert_eq!(
        settled,
        [
            Settlement::Included { nonce: 2, inclusion: inclusion(1) },
            Settlement::Taken { nonce: 4 },
            Settlement::Released { nonce: 5, foreign: None },
        ]
    );
}

#[test]
fn blocks_stand_fall_or_are_unknown() {
    let (one, two) = (B256::repeat_byte(1), B256::repeat_byte(2));
    assert_eq!(standing(one, Some(one)), Standing::Canonical);
    assert_eq!(standing(one, Some(two)), Standing::Orphaned);
    assert_eq!(standing(one, None), Standing::Unknown);
    assert_eq!((final_block(10, 0), final_block(10, 1), final_block(10, 3)), (10, 10, 12));
}

fn any_attempt() -> impl Strategy<Value = Attempt> {
    (0u8..3, 1u128..60 * GWEI, 0u128..10 * GWEI, 0u64..120, any::<bool>(), 0u32..6, 0u8..5).prop_map(
        |(kind, max, priority, age, accepted, failures, rejection)| Attempt {
            hash: B256::ZERO,
            kind: if kind == 2 { Kind::Cancel } else { Kind::Send },
            fees: Fees { max_fee: max.max(priority), priority_fee: priority, legacy: false },
            gas_limit: 50_000,
            accepted_at: accepted.then_some(UnixMillis(NOW.0 - 1000 * age as i64)),
            accepted_block: accepted.then_some(100 - age.min(99)),
            offered_at: Some(UnixMillis(NOW.0 - 1000 * age as i64)),
            failures,
            rejection: (failures > 0).then(|| {
                let all = [
                    Rejection::Transient,
                    Rejection::Underpriced,
                    Rejection::Permanent,
                    Rejection::InsufficientFunds,
                    Rejection::NonceTooHigh,
                ];
                (all[usize::from(rejection)], "no".to_owned())
            }),
        },
    )
}

prop_compose! {
    fn any_live(number: u8)(
        value in 0u64..2_000_000_000_000_000, cap in proptest::option::of(1u128..80 * GWEI), deadline in proptest::option::of(-50i64..50),
        cancel in proptest::bool::weighted(0.1), bump in proptest::bool::weighted(0.1), simulate: bool,
    ) -> LiveIntent {
        LiveIntent {
            value: U256::from(value),
            fee: FeePolicy { max_fee_per_gas: cap, ..FeePolicy::default() },
            deadline: deadline.map(|seconds| UnixMillis(NOW.0 + 1000 * seconds)),
            cancel, bump, simulate,
            ..live(number)
        }
    }
}

fn any_view() -> impl Strategy<Value = (OutboxConfig, View)> {
    let slots = proptest::collection::btree_map(
        0u64..24,
        (proptest::collection::vec(any_attempt(), 1..4), any::<bool>(), any_live(0)),
        0..8,
    );
    let waiting = proptest::collection::vec((any_live(0), 0u8..8), 0..8);
    let chain = (
        0u64..12,
        0u64..20_000_000_000_000_000,
        0u64..60_000_000_000,
        1u64..12,
        proptest::option::of(0u64..5_000_000_000_000_000),
    );
    (slots, waiting, chain).prop_map(|(slots, waiting, (count, balance, base, window, budget))| {
        let mut number = 0u8;
        let mut next_id = || {
            number += 1;
            IntentId([number; 16])
        };
        let open: Vec<Slot> = slots
            .into_iter()
            .map(|(nonce, (mut attempts, filler, intent))| {
                let mut cancelled = false;
                for (place, attempt) in attempts.iter_mut().enumerate() {
                    // After a cancellation nothing else is ever signed for the nonce.
                    cancelled |= attempt.kind == Kind::Cancel;
                    if cancelled {
                        attempt.kind = Kind::Cancel;
                    }
                    attempt.hash = B256::from(U256::from(nonce * 10 + place as u64 + 1));
                    if filler {
                        attempt.kind = Kind::Filler;
                    }
                }
                let intent = LiveIntent { id: next_id(), state: State::Broadcast, ..intent };
                Slot { nonce, intent: (!filler).then_some(intent), attempts }
            })
            .collect();
        let waiting = waiting
            .into_iter()
            .map(|(intent, gas)| Waiting {
                intent: LiveIntent { id: next_id(), bump: false, ..intent },
                gas: match gas {
                    0 => Gas::Unknown,
                    1 => Gas::Reverts { reason: "no".to_owned(), settled: true },
                    2 => Gas::Failed { message: "no".to_owned() },
                    _ => Gas::Limit(60_000),
                },
            })
            .collect();
        let view = View { count, balance: U256::from(balance), waiting, ..view() };
        let mut view = with_open(view, open);
        view.market.base_fee = Some(u128::from(base));
        let fee = FeeConfig { budget_per_day: budget.map(U256::from), ..FeeConfig::default() };
        (OutboxConfig { max_in_flight: window, fee, ..config() }, view)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn new_nonces_are_fresh_unique_and_inside_the_window((config, view) in any_view()) {
        let plan = plan(&config, &view);
        let mut seen = BTreeSet::new();
        for sign in plan.sign.iter().filter(|sign| sign.new_nonce) {
            prop_assert!(!view.covered.contains(&sign.nonce), "nonce {} has a row", sign.nonce);
            prop_assert!(sign.nonce >= view.count && sign.nonce < view.count + config.max_in_flight);
            prop_assert!(seen.insert(sign.nonce), "nonce {} given twice", sign.nonce);
            prop_assert!(sign.kind != Kind::Cancel);
        }
        // With money for it, nothing is left open below the highest new nonce.
        if let Some(highest) = plan.sign.iter().filter(|sign| sign.new_nonce && sign.kind == Kind::Send).map(|sign| sign.nonce).max() {
            let rich = view.balance > U256::from(10u64.pow(16)) && config.fee.budget_per_day.is_none();
            for nonce in view.count.max(view.lowest)..highest {
                prop_assert!(!rich || view.covered.contains(&nonce) || seen.contains(&nonce), "gap at {nonce}");
            }
        }
    }

    #[test]
    fn an_intent_meets_one_fate_per_plan((config, view) in any_view()) {
        let plan = plan(&config, &view);
        let mut signed = BTreeSet::new();
        for sign in &plan.sign {
            if let Some(id) = sign.intent {
                prop_assert!(signed.insert(id), "{id} signed twice");
                prop_assert!(plan.drop.iter().all(|(dropped, _)| *dropped != id), "{id} signed and dropped");
                let owner = view.open.iter().find(|slot| slot.intent.as_ref().is_some_and(|intent| intent.id == id));
                match owner {
                    Some(slot) => prop_assert!(slot.nonce == sign.nonce && !sign.new_nonce, "a second nonce for {id}"),
                    None => prop_assert!(sign.new_nonce && sign.kind == Kind::Send),
                }
            }
        }
        for (id, _) in &plan.drop {
            prop_assert!(view.waiting.iter().any(|waiting| waiting.intent.id == *id), "only what has no nonce is dropped");
        }
    }

    #[test]
    fn replacements_beat_all_before_them_and_keep_the_caps((config, view) in any_view()) {
        for sign in plan(&config, &view).sign.iter() {
            prop_assert!(sign.fees.max_fee <= config.fee.max_fee_per_gas);
            if sign.new_nonce {
                continue;
            }
            let slot = view.open.iter().find(|slot| slot.nonce == sign.nonce).unwrap();
            prop_assert!(slot.nonce >= view.count, "nothing is signed for a used nonce");
            for attempt in &slot.attempts {
                prop_assert!(sign.fees.max_fee * 1000 >= attempt.fees.max_fee * 1125);
                prop_assert!(sign.fees.priority_fee * 1000 >= attempt.fees.priority_fee * 1125);
            }
            let stopped = slot.attempts.iter().any(|attempt| attempt.kind == Kind::Cancel);
            prop_assert!(!stopped || sign.kind != Kind::Send, "what was cancelled is not sent again");
            if let (Kind::Send, Some(intent)) = (sign.kind, &slot.intent) {
                prop_assert!(intent.fee.max_fee_per_gas.is_none_or(|cap| sign.fees.max_fee <= cap));
            }
        }
    }

    #[test]
    fn a_plan_never_promises_more_than_there_is((config, view) in any_view()) {
        let plan = plan(&config, &view);
        let value = |id: Option<IntentId>| {
            let intents = view.waiting.iter().map(|waiting| &waiting.intent).chain(view.open.iter().filter_map(|slot| slot.intent.as_ref()));
            intents.into_iter().find(|intent| Some(intent.id) == id).map_or(U256::ZERO, |intent| intent.value)
        };
        let mut total: U256 = view.open.iter().map(Slot::commitment).sum();
        let mut fees: U256 = view.open.iter().map(Slot::fee_commitment).sum();
        let (before, fees_before) = (total, fees);
        for sign in &plan.sign {
            let fee = fee_of(sign.fees, sign.gas_limit);
            let cost = fee + if sign.kind == Kind::Send { value(sign.intent) } else { U256::ZERO };
            let old = view.open.iter().find(|slot| slot.nonce == sign.nonce);
            total += cost.saturating_sub(old.map_or(U256::ZERO, Slot::commitment));
            fees += fee.saturating_sub(old.map_or(U256::ZERO, Slot::fee_commitment));
        }
        prop_assert!(total == before || total <= view.balance, "{total} of {}", view.balance);
        if let Some(budget) = config.fee.budget_per_day {
            prop_assert!(fees == fees_before || fees <= budget, "{fees} of {budget}");
        }
    }

    #[test]
    fn offers_are_newest_attempts_of_open_nonces((config, view) in any_view()) {
        let plan = plan(&config, &view);
        for hash in &plan.offer {
            let slot = view.open.iter().find(|slot| slot.attempts.last().is_some_and(|attempt| attempt.hash == *hash)).unwrap();
            prop_assert!(slot.nonce >= view.count);
            prop_assert!(plan.sign.iter().all(|sign| sign.nonce != slot.nonce), "signed anew and offered the old");
        }
    }
}

/// A clock that was days ahead and was put right must not freeze what it wrote down meanwhile.
#[test]
fn moments_of_a_clock_that_went_back_count_as_passed() {
    let (span, day) = (Duration::from_secs(30), Duration::from_secs(86_400));
    assert!(!elapsed(NOW, span, NOW) && elapsed(NOW, span, NOW.saturating_add(span)));
    assert!(!elapsed(NOW.saturating_add(span), span, NOW), "a step back within the span only makes the wait longer");
    assert!(elapsed(NOW.saturating_add(day), span, NOW));
    let mut old = slot(5, 1);
    old.attempts[0].offered_at = Some(NOW.saturating_add(day));
    old.attempts[0].accepted_at = None;
    assert_eq!(plan(&config(), &with_open(view(), vec![old])).offer.len(), 1);
}

/// All nonces of the window have rows that are not open: the chain shows less than it did. Nothing can be signed, and the
/// operator is told why.
#[test]
fn a_chain_behind_its_own_past_is_named() {
    let behind = View { covered: (5..40).collect(), next: 40, lowest: 0, waiting: vec![waiting(1)], ..view() };
    let plan = plan(&config(), &behind);
    assert!(plan.sign.is_empty());
    assert_eq!(plan.holds, [(waiting(1).intent.id, Some(Hold::ChainBehind { count: 5, used: 40 }))]);
}
