//! Whether an agreement that is to be kept paid needs a payment now. Pure.

use std::time::Duration;

use alloy_primitives::U256;

use crate::machine::Agreement;

/// How far ahead an agreement is to be paid by the node itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepPaid {
    /// A payment reaches this far ahead.
    pub keep: Duration,
    /// It is made when less than this is left.
    pub below: Duration,
    /// No single payment is larger; token base units.
    pub max_amount: Option<U256>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Enough is left.
    Nothing,
    /// It cannot be told; nobody pays on doubtful figures.
    CannotTell,
    /// Pay so that it is paid until this moment, Unix seconds.
    Pay {
        /// The moment.
        until_s: u64,
    },
}

/// Decides by the last observation and by its block's time, in which the agreement counts.
///
/// The moment follows from the observation alone, so a repeated look at the same block asks for the same payment.
pub fn need(plan: &KeepPaid, state: &Agreement) -> Need {
    let Some(seen) = state.seen.as_ref().filter(|seen| !seen.retracted && state.unknown.is_none()) else {
        return Need::CannotTell;
    };
    let observation = &seen.observation;
    let now_s = observation.block.time_s;
    let at_least = now_s.saturating_add(plan.below.as_secs());
    match observation.terms.deficit_at(observation.total_paid, at_least) {
        None => Need::CannotTell,
        Some(missing) if missing.is_zero() => Need::Nothing,
        Some(_) => Need::Pay { until_s: now_s.saturating_add(plan.keep.as_secs()) },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use alloy_primitives::B256;
    use proptest::prelude::*;
    use windlass_store::UnixMillis;

    use super::*;
    use crate::machine::{BlockPoint, CannotTell, Observation, Seen, Unknown};
    use crate::protocol::Terms;

    const PLAN: KeepPaid = KeepPaid { keep: Duration::from_secs(1_000), below: Duration::from_secs(400), max_amount: None };

    /// Ten units per second from second 1,000; the block has this time and the contract this much.
    fn state(rate: u64, total_paid: u64, time_s: u64) -> Agreement {
        let terms = Terms { requested_rate: U256::from(rate), start_timestamp: U256::from(1_000) };
        let observation = Observation {
            block: BlockPoint { number: 1, hash: B256::ZERO, time_s },
            terms,
            total_paid: U256::from(total_paid),
            contract_says_paid: terms.is_paid(U256::from(total_paid), time_s),
            held: U256::from(total_paid),
            owed: U256::from(total_paid),
            finalized: None,
        };
        Agreement { seen: Some(Seen { observation, at: UnixMillis(0), retracted: false }), ..Agreement::default() }
    }

    #[test]
    fn a_payment_is_due_when_less_than_the_lower_bound_is_left() {
        // Paid until second 2,000.
        let cases = [
            (1_000, Need::Nothing),
            (1_600, Need::Nothing),
            (1_601, Need::Pay { until_s: 2_601 }),
            (2_000, Need::Pay { until_s: 3_000 }),
            (9_000, Need::Pay { until_s: 10_000 }),
        ];
        for (time_s, expected) in cases {
            assert_eq!(need(&PLAN, &state(10, 10_000, time_s)), expected, "at {time_s}");
        }
    }

    #[test]
    fn nothing_is_due_long_before_the_start_or_without_a_rate() {
        assert_eq!(need(&PLAN, &state(10, 0, 600)), Need::Nothing);
        assert_eq!(need(&PLAN, &state(10, 0, 601)), Need::Pay { until_s: 1_601 });
        assert_eq!(need(&PLAN, &state(0, 0, 5_000)), Need::Nothing);
    }

    #[test]
    fn nobody_pays_on_doubtful_figures() {
        assert_eq!(need(&PLAN, &Agreement::default()), Need::CannotTell);
        let mut doubtful = state(10, 0, 5_000);
        doubtful.unknown = Some(Unknown { cause: CannotTell::NoCode, since: UnixMillis(0), alerted: false });
        assert_eq!(need(&PLAN, &doubtful), Need::CannotTell);
        let mut removed = state(10, 0, 5_000);
        removed.seen.as_mut().unwrap().retracted = true;
        assert_eq!(need(&PLAN, &removed), Need::CannotTell);
        let mut huge = state(10, 0, 5_000);
        huge.seen.as_mut().unwrap().observation.terms.requested_rate = U256::MAX;
        assert_eq!(need(&PLAN, &huge), Need::CannotTell);
    }

    proptest! {
        /// What is paid for is enough at the same block, and a later look asks for no less.
        #[test]
        fn a_payment_settles_the_need(rate in 1_u64..1_000, paid in 0_u64..1_000_000, time_s in 0_u64..100_000, entries in 1_usize..20) {
            let before = state(rate, paid, time_s);
            if let Need::Pay { until_s } = need(&PLAN, &before) {
                let observation = &before.seen.as_ref().unwrap().observation;
                let quote = observation.terms.quote(observation.total_paid, until_s, entries).unwrap();
                prop_assert!(!quote.amount.is_zero());
                let after = paid + u64::try_from(quote.amount).unwrap();
                prop_assert_eq!(need(&PLAN, &state(rate, after, time_s)), Need::Nothing);
                prop_assert_eq!(need(&PLAN, &state(rate, after, time_s + 600)), Need::Nothing);
            }
        }
    }
}
