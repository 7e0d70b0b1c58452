//! Validator sets: powers by EVM address, the two-thirds line, and how far the Bridge's set is from the live one.

use std::collections::HashMap;

use alloy_primitives::{Address, U256, U512};

/// Validators with their powers, in the order they were given in, which is the Bridge's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ValidatorSet {
    list: Vec<(Address, U256)>,
    powers: HashMap<Address, U256>,
    total: U256,
}

/// Why a list is no validator set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValidatorSetError {
    /// An address stands twice in the list.
    #[error("the validator {0} is listed twice")]
    Duplicate(Address),
    /// The sum of the powers does not fit 256 bits.
    #[error("the sum of all powers does not fit 256 bits")]
    TotalOverflow,
}

impl ValidatorSet {
    /// A set of these validators.
    ///
    /// # Errors
    /// If an address stands twice in the list or the total cannot be counted.
    pub fn new(list: impl IntoIterator<Item = (Address, U256)>) -> Result<Self, ValidatorSetError> {
        let mut set = Self::default();
        for (address, power) in list {
            if set.powers.insert(address, power).is_some() {
                return Err(ValidatorSetError::Duplicate(address));
            }
            set.total = set.total.checked_add(power).ok_or(ValidatorSetError::TotalOverflow)?;
            set.list.push((address, power));
        }
        Ok(set)
    }

    /// Power of a validator; `None` of a stranger.
    pub fn power(&self, address: &Address) -> Option<U256> {
        self.powers.get(address).copied()
    }

    /// Whether it holds this validator.
    pub fn contains(&self, address: &Address) -> bool {
        self.powers.contains_key(address)
    }

    /// Sum of all powers.
    pub fn total(&self) -> U256 {
        self.total
    }

    /// The validators in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Address, U256)> + Clone + '_ {
        self.list.iter().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether this sum is more than two thirds of the total: `3 * sum > 2 * total`. Exactly two thirds is not enough.
    pub fn exceeds_two_thirds(&self, sum: U256) -> bool {
        U512::from(sum) * U512::from(3) > U512::from(self.total) * U512::from(2)
    }

    /// The smallest sum that is more than two thirds.
    pub fn needed(&self) -> U256 {
        let line = U512::from(self.total) * U512::from(2) / U512::from(3);
        // Two thirds of a number of 256 bits and one more fit 256 bits.
        line.wrapping_to::<U256>().saturating_add(U256::from(1))
    }
}

/// How the Bridge's set differs from the live one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// In the Bridge's set, but no live validator: their power there can no longer sign. Strongest first.
    pub gone: Vec<(Address, U256)>,
    /// Live, but unknown to the Bridge. Strongest first.
    pub unknown: Vec<(Address, U256)>,
    /// In both, with another power. Largest difference first.
    pub changed: Vec<PowerChange>,
    /// Total of the Bridge's set.
    pub bridge_total: U256,
    /// Total of the live set.
    pub live_total: U256,
    /// Power in the Bridge's set that live validators hold: what a block signed by all of them counts there.
    pub reachable: U256,
    /// Smallest sum that the Bridge accepts.
    pub needed: U256,
}

/// A validator whose power has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerChange {
    /// Who.
    pub address: Address,
    /// Its power in the Bridge's set.
    pub bridge: U256,
    /// Its live power.
    pub live: U256,
}

impl Drift {
    /// Compares the sets.
    pub fn between(bridge: &ValidatorSet, live: &ValidatorSet) -> Self {
        let missing = |from: &ValidatorSet, of: &ValidatorSet| {
            let mut list: Vec<_> = of.iter().filter(|(address, _)| !from.contains(address)).collect();
            list.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
            list
        };
        let shared = bridge.iter().filter_map(|(address, power)| Some((address, power, live.power(&address)?)));
        let mut changed: Vec<_> = shared
            .clone()
            .filter(|(_, bridge, live)| bridge != live)
            .map(|(address, bridge, live)| PowerChange { address, bridge, live })
            .collect();
        changed.sort_by(|a, b| b.bridge.abs_diff(b.live).cmp(&a.bridge.abs_diff(a.live)).then(a.address.cmp(&b.address)));
        Self {
            gone: missing(live, bridge),
            unknown: missing(bridge, live),
            changed,
            bridge_total: bridge.total(),
            live_total: live.total(),
            reachable: shared.fold(U256::ZERO, |sum, (_, power, _)| sum.saturating_add(power)),
            needed: bridge.needed(),
        }
    }

    /// Whether both sets are equal.
    pub fn is_none(&self) -> bool {
        self.gone.is_empty() && self.unknown.is_empty() && self.changed.is_empty()
    }

    /// Whether a block signed by all live validators is accepted.
    pub fn can_relay(&self) -> bool {
        self.reachable >= self.needed
    }

    /// Power in the Bridge's set that may be missing on a block before it is refused. `None` if every block is refused.
    pub fn spare(&self) -> Option<U256> {
        self.reachable.checked_sub(self.needed)
    }

    /// The same in thousandths of the Bridge's total, from 0 to 333.
    pub fn spare_per_mille(&self) -> Option<u64> {
        let spare = self.spare()?;
        let scaled = U512::from(spare) * U512::from(1000);
        scaled.checked_div(U512::from(self.bridge_total)).map(|quotient| quotient.saturating_to())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(number: u8) -> Address {
        Address::repeat_byte(number)
    }

    fn set(powers: &[(u8, u64)]) -> ValidatorSet {
        ValidatorSet::new(powers.iter().map(|(number, power)| (address(*number), U256::from(*power)))).unwrap()
    }

    #[test]
    fn exactly_two_thirds_is_not_enough() {
        for (total, needed) in [(300, 201), (301, 201), (302, 202), (303, 203), (1, 1), (2, 2), (3, 3), (0, 1)] {
            let set = set(&[(1, total)]);
            assert_eq!(set.needed(), U256::from(needed), "{total}");
            assert!(set.exceeds_two_thirds(U256::from(needed)) || total == 0);
            assert!(!set.exceeds_two_thirds(U256::from(needed - 1)), "{total}");
        }
    }

    #[test]
    fn large_powers_are_counted_without_overflow() {
        let set = ValidatorSet::new([(address(1), U256::MAX - U256::from(1)), (address(2), U256::from(1))]).unwrap();
        assert_eq!(set.total(), U256::MAX);
        assert!(set.exceeds_two_thirds(set.needed()));
        assert!(!set.exceeds_two_thirds(set.needed() - U256::from(1)));
        let more = ValidatorSet::new([(address(1), U256::MAX), (address(2), U256::from(1))]);
        assert_eq!(more, Err(ValidatorSetError::TotalOverflow));
    }

    #[test]
    fn nobody_is_counted_twice() {
        let twice = ValidatorSet::new([(address(1), U256::from(5)), (address(2), U256::from(1)), (address(1), U256::from(5))]);
        assert_eq!(twice, Err(ValidatorSetError::Duplicate(address(1))));
    }

    #[test]
    fn drift_names_who_and_how_much() {
        let bridge = set(&[(1, 50), (2, 40), (3, 10), (4, 7)]);
        let live = set(&[(1, 60), (5, 30), (3, 10), (4, 6)]);
        let drift = Drift::between(&bridge, &live);
        assert_eq!(drift.gone, [(address(2), U256::from(40))]);
        assert_eq!(drift.unknown, [(address(5), U256::from(30))]);
        let change = |number, bridge: u64, live: u64| PowerChange {
            address: address(number),
            bridge: U256::from(bridge),
            live: U256::from(live),
        };
        assert_eq!(drift.changed, [change(1, 50, 60), change(4, 7, 6)]);
        assert_eq!((drift.reachable, drift.needed), (U256::from(67), U256::from(72)));
        assert!(!drift.can_relay() && drift.spare().is_none() && drift.spare_per_mille().is_none());
        let same = Drift::between(&bridge, &bridge);
        assert!(same.is_none() && same.can_relay());
        assert_eq!(same.spare(), Some(U256::from(107 - 72)));
        assert_eq!(same.spare_per_mille(), Some(327));
    }

    #[test]
    fn an_empty_bridge_accepts_nothing() {
        let drift = Drift::between(&ValidatorSet::default(), &set(&[(1, 1)]));
        assert!(!drift.can_relay());
        assert_eq!(drift.spare_per_mille(), None);
    }

    proptest! {
        #[test]
        fn the_line_is_where_the_contract_draws_it(powers in prop::collection::vec(0u64..1000, 1..20), sum in 0u64..20_000) {
            let list: Vec<(u8, u64)> = powers.iter().enumerate().map(|(number, power)| (number as u8, *power)).collect();
            let set = set(&list);
            let total: u64 = powers.iter().sum();
            prop_assert_eq!(set.exceeds_two_thirds(U256::from(sum)), 3 * sum > 2 * total);
            prop_assert_eq!(U256::from(sum) >= set.needed(), 3 * sum > 2 * total);
        }
    }
}
