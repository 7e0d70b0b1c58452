//! The terms of an agreement and what follows from them: owed, paid, paid until when, and what to pay next.

use std::fmt;

use alloy_primitives::{U256, U512};
use serde::{Deserialize, Serialize};

/// What the keypers ask for. Fixed for the life of a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Terms {
    /// Token base units per second for the whole set of keypers.
    pub requested_rate: U256,
    /// Unix time in seconds from which the rate is owed. Any 256-bit value is possible.
    pub start_timestamp: U256,
}

/// The last second at which an agreement still counts as paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PaidUntil {
    /// This Unix second, inclusive. Saturates at 2^256 - 1, far beyond any block.
    At(U256),
    /// The rate is zero: nothing will ever be owed.
    Forever,
}

/// What a payer has to pay to reach a target time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// What is missing at the target time, to the base unit.
    pub needed: U256,
    /// `needed` rounded up to a multiple of the number of keyper entries: the least amount the contract accepts for it.
    /// Zero when nothing is missing.
    pub amount: U256,
}

impl Terms {
    /// Everything owed since the start when the block time is `t`. Zero before the start.
    ///
    /// `None` when the product does not fit 256 bits. The contract's `isPaid` reverts with `Panic(0x11)` then, so the
    /// answer is "cannot tell", which is not the same as "unpaid".
    pub fn required_at(&self, t: u64) -> Option<U256> {
        let elapsed = U256::from(t).saturating_sub(self.start_timestamp);
        self.requested_rate.checked_mul(elapsed)
    }

    /// The contract's answer to `isPaid()` in a block with time `t`. `None`: it reverts.
    pub fn is_paid(&self, total_paid: U256, t: u64) -> Option<bool> {
        Some(total_paid >= self.required_at(t)?)
    }

    /// How much is missing at `t`; zero when paid. `None`: overflow, see [`Terms::required_at`].
    pub fn deficit_at(&self, total_paid: U256, t: u64) -> Option<U256> {
        Some(self.required_at(t)?.saturating_sub(total_paid))
    }

    /// How much more than required has been paid at `t`; zero when unpaid. `None`: overflow, see [`Terms::required_at`].
    pub fn surplus_at(&self, total_paid: U256, t: u64) -> Option<U256> {
        Some(total_paid.saturating_sub(self.required_at(t)?))
    }

    /// The last second at which `total_paid` still suffices, in exact arithmetic: `start + floor(total_paid / rate)`.
    /// The sum may need 257 bits. `None`: for ever, because the rate is zero.
    pub fn paid_until_exact(&self, total_paid: U256) -> Option<U512> {
        let seconds = total_paid.checked_div(self.requested_rate)?;
        Some(U512::from(self.start_timestamp) + U512::from(seconds))
    }

    /// [`Terms::paid_until_exact`], saturated to what the contract can store.
    pub fn paid_until(&self, total_paid: U256) -> PaidUntil {
        match total_paid.checked_div(self.requested_rate) {
            None => PaidUntil::Forever,
            Some(seconds) => PaidUntil::At(self.start_timestamp.saturating_add(seconds)),
        }
    }

    /// What to pay now so that the agreement is still paid at `until`, with `keypers` entries in the list.
    ///
    /// `None` when the amount does not fit 256 bits, or when there is no keyper (the contract cannot exist then).
    pub fn quote(&self, total_paid: U256, until: u64, keypers: usize) -> Option<Quote> {
        let needed = self.deficit_at(total_paid, until)?;
        Some(Quote { needed, amount: round_up_to_multiple(needed, keypers)? })
    }
}

impl PaidUntil {
    /// The moment as Unix seconds, or `None` when it lies beyond 64 bits or never comes.
    pub fn unix_seconds(&self) -> Option<u64> {
        match self {
            PaidUntil::At(moment) => u64::try_from(*moment).ok(),
            PaidUntil::Forever => None,
        }
    }

    /// Whole seconds that are still paid for at `t`; negative seconds are reported as zero. `None`: no end in 64 bits.
    pub fn seconds_left(&self, t: u64) -> Option<u64> {
        Some(self.unix_seconds()?.saturating_sub(t))
    }
}

/// Unix seconds in decimal, or `never`: the word for "never ends".
impl fmt::Display for PaidUntil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PaidUntil::At(moment) => moment.fmt(f),
            PaidUntil::Forever => f.write_str("never"),
        }
    }
}

/// The smallest multiple of `entries` that is at least `amount`. `None`: beyond 256 bits, or `entries` is zero.
pub fn round_up_to_multiple(amount: U256, entries: usize) -> Option<U256> {
    let entries = U256::from(entries);
    if entries.is_zero() {
        return None;
    }
    let over = amount % entries;
    if over.is_zero() { Some(amount) } else { amount.checked_add(entries - over) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn terms(rate: u64, start: u64) -> Terms {
        Terms { requested_rate: U256::from(rate), start_timestamp: U256::from(start) }
    }

    #[test]
    fn quote_rounds_up_to_what_the_contract_accepts() {
        let quote = terms(7, 1000).quote(U256::from(700), 1200, 3).unwrap();
        assert_eq!(quote, Quote { needed: U256::from(700), amount: U256::from(702) });
    }

    #[test]
    fn quote_is_zero_when_the_target_is_covered() {
        let quote = terms(7, 1000).quote(U256::from(1400), 1200, 3).unwrap();
        assert_eq!(quote, Quote { needed: U256::ZERO, amount: U256::ZERO });
    }

    #[test]
    fn quote_refuses_what_does_not_fit() {
        let huge = Terms { requested_rate: U256::MAX, start_timestamp: U256::ZERO };
        assert_eq!(huge.quote(U256::ZERO, 2, 1), None);
        assert_eq!(huge.quote(U256::ZERO, 1, 2), None, "rounding up passes 2^256");
        assert_eq!(terms(1, 0).quote(U256::ZERO, 1, 0), None);
    }

    #[test]
    fn paid_until_saturates_but_is_known_exactly() {
        let late = Terms { requested_rate: U256::from(1), start_timestamp: U256::MAX };
        assert_eq!(late.paid_until(U256::from(5)), PaidUntil::At(U256::MAX));
        assert_eq!(late.paid_until_exact(U256::from(5)).unwrap(), U512::from(U256::MAX) + U512::from(5));
        assert_eq!(late.paid_until(U256::from(5)).unix_seconds(), None);
    }

    #[test]
    fn display_is_a_figure_or_never() {
        assert_eq!(terms(2, 10).paid_until(U256::from(7)).to_string(), "13");
        assert_eq!(terms(0, 10).paid_until(U256::ZERO).to_string(), "never");
        assert!(PaidUntil::Forever > PaidUntil::At(U256::MAX));
    }

    fn any_u256() -> impl Strategy<Value = U256> {
        prop_oneof![
            any::<u64>().prop_map(U256::from),
            any::<[u8; 32]>().prop_map(U256::from_be_bytes),
            (0u64..4).prop_map(|below| U256::MAX - U256::from(below)),
        ]
    }

    proptest! {
        /// `paid_until` is the boundary of `is_paid`: true there, false one second later.
        #[test]
        fn paid_until_is_the_last_paid_second(rate in 1u64.., start in any::<u32>(), paid in any::<u64>()) {
            let terms = terms(rate, start.into());
            let last = terms.paid_until(U256::from(paid)).unix_seconds();
            prop_assume!(last.is_some_and(|last| last < u64::MAX));
            let last = last.unwrap();
            prop_assert_eq!(terms.is_paid(U256::from(paid), last), Some(true));
            prop_assert_eq!(terms.is_paid(U256::from(paid), last + 1), Some(false));
        }

        /// required = total + deficit - surplus, and at most one of the two differs from zero.
        #[test]
        fn deficit_and_surplus_balance(rate in any_u256(), start in any_u256(), paid in any_u256(), t in any::<u64>()) {
            let terms = Terms { requested_rate: rate, start_timestamp: start };
            match terms.required_at(t) {
                None => {
                    prop_assert_eq!(terms.is_paid(paid, t), None);
                    prop_assert_eq!(terms.deficit_at(paid, t), None);
                    prop_assert_eq!(terms.surplus_at(paid, t), None);
                }
                Some(required) => {
                    let (deficit, surplus) = (terms.deficit_at(paid, t).unwrap(), terms.surplus_at(paid, t).unwrap());
                    prop_assert!(deficit.is_zero() || surplus.is_zero());
                    prop_assert_eq!(U512::from(required) + U512::from(surplus), U512::from(paid) + U512::from(deficit));
                    prop_assert_eq!(terms.is_paid(paid, t), Some(deficit.is_zero()));
                }
            }
        }

        /// Paying a quote reaches the target, and the contract accepts it; one share less per entry would not do.
        #[test]
        fn a_paid_quote_reaches_its_target(
            rate in 0u64..1_000_000, start in any::<u32>(), paid in any::<u32>(), until in any::<u32>(), keypers in 1usize..200,
        ) {
            let terms = terms(rate, start.into());
            let paid = U256::from(paid);
            let quote = terms.quote(paid, until.into(), keypers).unwrap();
            let entries = U256::from(keypers);
            prop_assert!((quote.amount % entries).is_zero());
            prop_assert!(quote.amount >= quote.needed && quote.amount - quote.needed < entries);
            prop_assert_eq!(terms.is_paid(paid + quote.amount, until.into()), Some(true));
            if !quote.amount.is_zero() {
                prop_assert_eq!(terms.is_paid(paid + quote.amount - entries, until.into()), Some(false));
            }
        }

        #[test]
        fn the_exact_and_the_saturated_moment_agree(rate in any_u256(), start in any_u256(), paid in any_u256()) {
            let terms = Terms { requested_rate: rate, start_timestamp: start };
            match (terms.paid_until(paid), terms.paid_until_exact(paid)) {
                (PaidUntil::Forever, None) => prop_assert!(rate.is_zero()),
                (PaidUntil::At(moment), Some(exact)) => {
                    prop_assert_eq!(U512::from(moment), exact.min(U512::from(U256::MAX)));
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
