//! What one observation says: pure arithmetic over the terms, block time and the sum paid.

use alloy_primitives::U256;

use super::{CannotTell, Observation, Policy, Seen, Terms};
use windlass_store::clock::UnixMillis;

/// Where an agreement stands at a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The start lies ahead.
    NotStarted,
    /// Paid at the block.
    Paid {
        /// Seconds from the block to the last paid second; `None` when the cover never ends.
        left_seconds: Option<u64>,
    },
    /// Not paid at the block.
    Lapsed {
        /// Seconds from the last paid second to the block; at least 1.
        lapsed_seconds: u64,
        /// Token units missing.
        deficit: U256,
    },
}

/// Last paid second, if it can be reached by a block time.
pub(super) fn paid_until_s(terms: &Terms, total_paid: U256) -> Option<u64> {
    terms.paid_until(total_paid).unix_seconds()
}

/// Computes where the agreement stands at block time `time_s`; `None` when the product overflows 256 bits.
pub fn standing(terms: &Terms, total_paid: U256, time_s: u64) -> Option<Standing> {
    if U256::from(time_s) < terms.start_timestamp {
        return Some(Standing::NotStarted);
    }
    let deficit = terms.deficit_at(total_paid, time_s)?;
    let paid_until = paid_until_s(terms, total_paid);
    if deficit.is_zero() {
        return Some(Standing::Paid { left_seconds: paid_until.map(|until| until.saturating_sub(time_s)) });
    }
    let lapsed_seconds = paid_until.map_or(1, |until| time_s.saturating_sub(until)).max(1);
    Some(Standing::Lapsed { lapsed_seconds, deficit })
}

/// Refuses an observation that proves nothing; otherwise says where the agreement stands.
pub(super) fn examine(
    now: UnixMillis,
    policy: &Policy,
    known: Option<&Seen>,
    observation: &Observation,
) -> Result<Standing, CannotTell> {
    if known.is_some_and(|seen| seen.observation.terms != observation.terms) {
        return Err(CannotTell::TermsChanged);
    }
    let head_ms = i128::from(observation.block.time_s) * 1_000;
    let behind_ms = (i128::from(now.0) - head_ms).max(0);
    if behind_ms > i128::from(policy.stale_after_seconds) * 1_000 {
        let behind_seconds = u64::try_from(behind_ms / 1_000).unwrap_or(u64::MAX);
        return Err(CannotTell::Stale { block: observation.block.number, behind_seconds });
    }
    let standing = standing(&observation.terms, observation.total_paid, observation.block.time_s);
    let computed = standing.map(|standing| !matches!(standing, Standing::Lapsed { .. }));
    match (standing, computed, observation.contract_says_paid) {
        (Some(standing), Some(computed), Some(contract)) if computed == contract => Ok(standing),
        (_, Some(computed), Some(contract)) => {
            Err(CannotTell::CrossCheck { computed, contract, block: observation.block.number })
        }
        (_, Some(_), None) => Err(CannotTell::Malformed {
            detail: "isPaid() reverted with an overflow although the figures do not overflow".into(),
        }),
        (_, None, _) => Err(CannotTell::Overflow),
    }
}
