//! What the contract holds against what it owes.

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};

/// Tokens the contract holds and tokens it owes to keypers, both in base units, read at the same block.
///
/// With an ordinary token `held >= owed`. More is a plain transfer to the contract, which is never counted and can never
/// leave; less means that the token takes a fee or changes balances by itself, and the last keypers will go without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    /// The contract's balance of the token.
    pub held: U256,
    /// Sum of `balanceOf` over the distinct keypers.
    pub owed: U256,
}

impl Holdings {
    /// Adds up what is owed. `balances` has one entry per distinct keyper: an address listed twice has one balance.
    /// `None` when the sum does not fit 256 bits; the contract's own bookkeeping cannot reach that.
    pub fn new(held: U256, balances: impl IntoIterator<Item = U256>) -> Option<Holdings> {
        let owed = balances.into_iter().try_fold(U256::ZERO, |sum, balance| sum.checked_add(balance))?;
        Some(Holdings { held, owed })
    }

    /// Tokens that came by plain transfer and are locked for ever.
    pub fn stray(&self) -> U256 {
        self.held.saturating_sub(self.owed)
    }

    /// Tokens owed that are not there.
    pub fn shortfall(&self) -> U256 {
        self.owed.saturating_sub(self.held)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn stray_and_shortfall_exclude_each_other() {
        let stray = Holdings::new(U256::from(50), [U256::from(5), U256::from(5)]).unwrap();
        assert_eq!((stray.stray(), stray.shortfall()), (U256::from(40), U256::ZERO));
        let short = Holdings::new(U256::from(9900), [U256::from(5000), U256::from(5000)]).unwrap();
        assert_eq!((short.stray(), short.shortfall()), (U256::ZERO, U256::from(100)));
        let even = Holdings::new(U256::ZERO, []).unwrap();
        assert_eq!((even.stray(), even.shortfall()), (U256::ZERO, U256::ZERO));
    }

    #[test]
    fn an_impossible_sum_is_refused() {
        assert_eq!(Holdings::new(U256::ZERO, [U256::MAX, U256::from(1)]), None);
    }
}
