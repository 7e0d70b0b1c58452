//! What to offer per gas: first attempts, replacements, and when neither fits under the caps.
//!
//! The replacement rule is that of the common nodes: both the fee cap and the priority fee must rise by at least the
//! node's percentage (10 to 12.5) over every transaction of the same nonce that a pool may hold. We do not know which of
//! our attempts a pool holds, so a replacement beats the highest of each field over all of them.

use crate::config::{FeeConfig, FeeMode, Limits};
use crate::model::Hold;

/// What a transaction offers per gas, in wei. Legacy: both fields are the gas price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fees {
    /// `maxFeePerGas`, or the legacy gas price.
    pub max_fee: u128,
    /// `maxPriorityFeePerGas`, or the legacy gas price.
    pub priority_fee: u128,
    /// Sign as a legacy transaction.
    pub legacy: bool,
}

/// What the chain asks per gas at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Market {
    /// Base fee of the head; `None` on chains without EIP-1559.
    pub base_fee: Option<u128>,
    /// Suggested priority fee (1559) in wei.
    pub priority_fee: u128,
    /// Suggested legacy gas price in wei.
    pub gas_price: u128,
}

impl Market {
    /// Whether transactions are signed in the legacy form under `mode`.
    pub fn legacy(&self, mode: FeeMode) -> bool {
        match mode {
            FeeMode::Detect => self.base_fee.is_none(),
            FeeMode::Eip1559 => false,
            FeeMode::Legacy => true,
        }
    }

    /// Least fee per gas with which a block takes a transaction now.
    pub fn floor(&self, fee: &FeeConfig) -> u128 {
        match self.base_fee {
            Some(base) => base.saturating_add(fee.min_priority_fee_per_gas),
            None => self.gas_price.max(fee.min_priority_fee_per_gas),
        }
    }

    /// What a transaction would offer if there were no caps.
    fn wanted(&self, fee: &FeeConfig, limits: &Limits) -> Fees {
        let legacy = self.legacy(fee.mode);
        if legacy {
            // On a chain with a base fee a legacy gas price is a fee cap: leave room for it to rise as well.
            let price = match self.base_fee {
                Some(base) => percent(base, fee.base_fee_percent).saturating_add(fee.min_priority_fee_per_gas),
                None => 0,
            };
            let price = price.max(self.gas_price).max(fee.min_priority_fee_per_gas);
            return Fees { max_fee: price, priority_fee: price, legacy };
        }
        let priority_fee = self.priority_fee.max(fee.min_priority_fee_per_gas).min(limits.max_priority_fee_per_gas);
        let max_fee = percent(self.base_fee.unwrap_or(0), fee.base_fee_percent).saturating_add(priority_fee);
        Fees { max_fee, priority_fee, legacy }
    }
}

/// Fees of a first attempt with `gas_limit`.
///
/// The room for a rising base fee is cut off at the cap; what a block takes now must fit under it.
///
/// # Errors
/// The hold that says which cap is too low.
pub(crate) fn first(market: &Market, fee: &FeeConfig, limits: &Limits, gas_limit: u64) -> Result<Fees, Hold> {
    let floor = market.floor(fee);
    if floor > limits.max_fee_per_gas {
        return Err(Hold::FeeAboveCap { needed: floor, cap: limits.max_fee_per_gas });
    }
    let wanted = market.wanted(fee, limits);
    let max_fee = wanted.max_fee.min(limits.max_fee_per_gas);
    let fees = under_total(Fees { max_fee, priority_fee: wanted.priority_fee.min(max_fee), ..wanted }, floor, limits, gas_limit)?;
    Ok(fees)
}

/// Fees that beat `beaten` (the highest of each field over all attempts of the nonce) and suit the market.
///
/// # Errors
/// The hold that says which cap does not leave room for the least rise.
pub(crate) fn replacement(market: &Market, fee: &FeeConfig, limits: &Limits, gas_limit: u64, beaten: Fees) -> Result<Fees, Hold> {
    let least = Fees {
        max_fee: bump(beaten.max_fee, fee.bump_permille),
        priority_fee: bump(beaten.priority_fee, fee.bump_permille),
        legacy: beaten.legacy,
    };
    // A field that must rise above the other takes it along: the priority fee may not exceed the fee cap.
    let least_max = least.max_fee.max(least.priority_fee);
    if least_max > limits.max_fee_per_gas {
        return Err(Hold::FeeAboveCap { needed: least_max, cap: limits.max_fee_per_gas });
    }
    let wanted = market.wanted(fee, limits);
    let max_fee = wanted.max_fee.min(limits.max_fee_per_gas).max(least_max);
    if beaten.legacy {
        return under_total(Fees { max_fee, priority_fee: max_fee, legacy: true }, least_max, limits, gas_limit);
    }
    // The cap of the priority fee holds for replacements too, but the fee cap alone cannot be raised: nodes want both.
    if least.priority_fee > limits.max_priority_fee_per_gas {
        return Err(Hold::FeeAboveCap { needed: least.priority_fee, cap: limits.max_priority_fee_per_gas });
    }
    let priority_fee = wanted.priority_fee.max(least.priority_fee).min(max_fee);
    under_total(Fees { max_fee, priority_fee, legacy: false }, least_max, limits, gas_limit)
}

/// Lowers the fee cap so that the whole transaction stays under its total, but not below `floor`.
fn under_total(fees: Fees, floor: u128, limits: &Limits, gas_limit: u64) -> Result<Fees, Hold> {
    let Some(cap) = limits.max_total_fee else { return Ok(fees) };
    let gas = u128::from(gas_limit.max(1));
    let affordable = cap / gas;
    if fees.max_fee <= affordable {
        return Ok(fees);
    }
    if affordable < floor {
        return Err(Hold::TotalFeeAboveCap { needed: floor.saturating_mul(gas), cap });
    }
    let max_fee = affordable;
    Ok(Fees { max_fee, priority_fee: if fees.legacy { max_fee } else { fees.priority_fee.min(max_fee) }, ..fees })
}

/// The least value that is `permille` thousandths higher, rounded up, and higher by at least one.
fn bump(value: u128, permille: u64) -> u128 {
    let rise = value.saturating_mul(u128::from(permille)).div_ceil(1000);
    value.saturating_add(rise.max(1))
}

fn percent(value: u128, percent: u64) -> u128 {
    value.saturating_mul(u128::from(percent)) / 100
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::config::GWEI;
    use crate::model::FeePolicy;
    use proptest::prelude::*;

    fn limits(cap: u128) -> (FeeConfig, Limits) {
        let fee = FeeConfig { max_fee_per_gas: cap, max_priority_fee_per_gas: cap.min(20 * GWEI), ..FeeConfig::default() };
        let limits = fee.limits(&FeePolicy::default());
        (fee, limits)
    }

    fn market(base: u128, priority: u128) -> Market {
        Market { base_fee: Some(base), priority_fee: priority, gas_price: base + priority }
    }

    #[test]
    fn first_attempt_leaves_room_for_the_base_fee_to_double() {
        let (fee, limits) = limits(300 * GWEI);
        let fees = first(&market(10 * GWEI, 2 * GWEI), &fee, &limits, 21_000).unwrap();
        assert_eq!(fees, Fees { max_fee: 22 * GWEI, priority_fee: 2 * GWEI, legacy: false });
    }

    #[test]
    fn first_attempt_is_cut_at_the_cap_while_a_block_would_still_take_it() {
        let (fee, limits) = limits(15 * GWEI);
        let fees = first(&market(10 * GWEI, 2 * GWEI), &fee, &limits, 21_000).unwrap();
        assert_eq!(fees.max_fee, 15 * GWEI);
        let hold = first(&market(16 * GWEI, 2 * GWEI), &fee, &limits, 21_000).unwrap_err();
        assert_eq!(hold, Hold::FeeAboveCap { needed: 16 * GWEI + 1, cap: 15 * GWEI });
    }

    #[test]
    fn chains_without_base_fee_get_a_legacy_price() {
        let (fee, limits) = limits(15 * GWEI);
        let legacy = Market { base_fee: None, priority_fee: 0, gas_price: 3 * GWEI };
        let fees = first(&legacy, &fee, &limits, 21_000).unwrap();
        assert_eq!(fees, Fees { max_fee: 3 * GWEI, priority_fee: 3 * GWEI, legacy: true });
        let again = replacement(&legacy, &fee, &limits, 21_000, fees).unwrap();
        assert_eq!(again.max_fee, 3 * GWEI * 1125 / 1000);
        assert_eq!(again.max_fee, again.priority_fee);
    }

    #[test]
    fn total_cap_lowers_the_offer_and_then_holds() {
        let (fee, mut limits) = limits(300 * GWEI);
        limits.max_total_fee = Some(15 * GWEI * 21_000);
        let fees = first(&market(10 * GWEI, 2 * GWEI), &fee, &limits, 21_000).unwrap();
        assert_eq!(fees.max_fee, 15 * GWEI);
        limits.max_total_fee = Some(9 * GWEI * 21_000);
        assert!(matches!(first(&market(10 * GWEI, 2 * GWEI), &fee, &limits, 21_000), Err(Hold::TotalFeeAboveCap { .. })));
    }

    #[test]
    fn zero_fees_still_rise() {
        let (fee, limits) = limits(GWEI);
        let zero = Fees { max_fee: 0, priority_fee: 0, legacy: false };
        let fees = replacement(&market(0, 0), &fee, &limits, 21_000, zero).unwrap();
        assert!(fees.max_fee >= 1 && fees.priority_fee >= 1);
    }

    proptest! {
        /// What nodes check, and what the operator asked for, both hold for every replacement that is made.
        #[test]
        fn replacements_beat_and_stay_under_caps(
            base in 0u128..500 * GWEI, priority in 0u128..50 * GWEI, old_max in 0u128..400 * GWEI, old_priority in 0u128..20 * GWEI,
            cap in 1u128..400 * GWEI, gas in 21_000u64..30_000_000, total in proptest::option::of(1u128..10 * GWEI * GWEI), legacy: bool,
        ) {
            let (fee, mut limits) = limits(cap);
            limits.max_total_fee = total;
            let old_max = if legacy { old_max } else { old_max.max(old_priority) };
            let beaten = Fees { max_fee: old_max, priority_fee: if legacy { old_max } else { old_priority }, legacy };
            if let Ok(new) = replacement(&market(base, priority), &fee, &limits, gas, beaten) {
                prop_assert!(new.max_fee > beaten.max_fee && new.max_fee * 1000 >= beaten.max_fee * 1125);
                prop_assert!(new.priority_fee > beaten.priority_fee && new.priority_fee * 1000 >= beaten.priority_fee * 1125);
                prop_assert!(new.priority_fee <= new.max_fee);
                prop_assert!(new.max_fee <= limits.max_fee_per_gas);
                prop_assert!(total.is_none_or(|total| new.max_fee * u128::from(gas) <= total));
            }
        }

        #[test]
        fn first_attempts_are_takeable_and_under_caps(
            base in 0u128..500 * GWEI, priority in 0u128..50 * GWEI, cap in 1u128..400 * GWEI, gas in 21_000u64..30_000_000,
            total in proptest::option::of(1u128..10 * GWEI * GWEI),
        ) {
            let (fee, mut limits) = limits(cap);
            limits.max_total_fee = total;
            match first(&market(base, priority), &fee, &limits, gas) {
                Ok(new) => {
                    prop_assert!(new.max_fee > base);
                    prop_assert!(new.priority_fee <= new.max_fee && new.priority_fee <= limits.max_priority_fee_per_gas);
                    prop_assert!(new.max_fee <= cap && total.is_none_or(|total| new.max_fee * u128::from(gas) <= total));
                }
                Err(Hold::FeeAboveCap { needed, cap }) => prop_assert!(needed > cap),
                Err(Hold::TotalFeeAboveCap { needed, cap }) => prop_assert!(needed > cap),
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
