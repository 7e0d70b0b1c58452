//! Settings of one outbox. Every default is safe for mainnet.

use std::time::Duration;

use alloy_primitives::U256;

use crate::model::FeePolicy;

/// One billion wei.
pub const GWEI: u128 = 1_000_000_000;

/// Settings of the outbox of one account on one chain.
#[derive(Debug, Clone)]
pub struct OutboxConfig {
    /// Name of the chain in logs and metrics.
    pub chain: String,
    /// Name of this instance in the lease. Must differ between instances that share a database: one with the same name takes
    /// the lease over at once. Default: unique per process.
    pub holder: String,
    /// How long the lease lasts without renewal; another instance takes over after that.
    pub lease_ttl: Duration,
    /// Most nonces in flight (signed and not included). Default 16: what geth guarantees one account in its pool.
    pub max_in_flight: u64,
    /// Depth at which the chain is taken as unchangeable when a foreign transaction used one of our nonces. Default 64.
    pub finality_depth: u64,
    /// How many transactions are offered to the node at the same time, started in nonce order. Set 1 for chains without a
    /// pool for future nonces (Arbitrum). Default 8.
    pub broadcast_concurrency: usize,
    /// Bytes already accepted by a node are offered again after this time when they are not included. Default 15 s.
    pub rebroadcast_after: Duration,
    /// First pause after a failed offer or estimate; doubled up to `backoff_max`. Default 500 ms.
    pub backoff_min: Duration,
    /// Longest pause after failures. Default 30 s.
    pub backoff_max: Duration,
    /// How often the head is asked for while something is in flight. Default 1 s.
    pub head_poll: Duration,
    /// How often the chain is looked at when nothing is in flight. Default 15 s.
    pub idle_poll: Duration,
    /// How soon after a broadcast the head is asked for the first time; doubled up to `head_poll`. Default 20 ms.
    pub head_poll_min: Duration,
    /// A simulation that reverts counts when it reverts again after this time or at a later head: the first endpoint asked
    /// may lag behind the event that made the caller record the intent. Default 2 s.
    pub revert_recheck: Duration,
    /// Gas limit = estimate times this, in percent. Default 125.
    pub gas_margin_percent: u64,
    /// Gas limit of self transfers that fill a nonce or cancel. Default 21,000; some roll-ups need more.
    pub filler_gas_limit: u64,
    /// Fees.
    pub fee: FeeConfig,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            chain: "ethereum".to_owned(),
            holder: unique_holder(),
            lease_ttl: Duration::from_secs(6),
            max_in_flight: 16,
            finality_depth: 64,
            broadcast_concurrency: 8,
            rebroadcast_after: Duration::from_secs(15),
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            head_poll: Duration::from_secs(1),
            idle_poll: Duration::from_secs(15),
            head_poll_min: Duration::from_millis(20),
            revert_recheck: Duration::from_secs(2),
            gas_margin_percent: 125,
            filler_gas_limit: 21_000,
            fee: FeeConfig::default(),
        }
    }
}

impl OutboxConfig {
    /// A configuration with the defaults for the chain called `chain`.
    pub fn for_chain(chain: impl Into<String>) -> Self {
        Self { chain: chain.into(), ..Self::default() }
    }

    /// Every rule that the settings break, in words; empty when they are usable.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut rule = |holds: bool, text: &str| {
            if !holds {
                problems.push(text.to_owned());
            }
        };
        rule(self.max_in_flight >= 1, "max_in_flight must be at least 1");
        rule(self.finality_depth >= 1, "finality_depth must be at least 1");
        rule(self.broadcast_concurrency >= 1, "broadcast_concurrency must be at least 1");
        rule(self.gas_margin_percent >= 100, "gas_margin_percent must be at least 100");
        rule(self.filler_gas_limit >= 21_000, "filler_gas_limit must be at least 21000");
        rule(self.lease_ttl >= Duration::from_secs(1), "lease_ttl must be at least 1 s");
        rule(self.backoff_min <= self.backoff_max, "backoff_min must not exceed backoff_max");
        rule(!self.backoff_min.is_zero(), "backoff_min must not be zero");
        rule(self.fee.bump_permille >= 125, "bump_permille must be at least 125 (12.5 %): nodes refuse smaller replacements");
        rule(self.fee.base_fee_percent >= 100, "base_fee_percent must be at least 100");
        rule(self.fee.max_fee_per_gas >= 1, "max_fee_per_gas must be at least 1 wei");
        rule(
            self.fee.min_priority_fee_per_gas <= self.fee.max_priority_fee_per_gas,
            "min_priority_fee_per_gas must not exceed max_priority_fee_per_gas",
        );
        rule(
            self.fee.max_priority_fee_per_gas <= self.fee.max_fee_per_gas,
            "max_priority_fee_per_gas must not exceed max_fee_per_gas",
        );
        problems
    }
}

/// Host, process and 64 random bits: containers share process ids, and hosts may share names.
fn unique_holder() -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "host".to_owned());
    format!("{host}-{}-{random:016x}", std::process::id())
}

/// Which kind of transaction is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FeeMode {
    /// EIP-1559 when the head has a base fee, legacy otherwise.
    #[default]
    Detect,
    /// EIP-1559 (type 2) always.
    Eip1559,
    /// Legacy with EIP-155 always.
    Legacy,
}

/// Fee rules of one account; an intent's [`FeePolicy`] can only lower the caps.
#[derive(Debug, Clone)]
pub struct FeeConfig {
    /// Kind of transaction.
    pub mode: FeeMode,
    /// Cap of the fee per gas in wei. Default 300 gwei.
    pub max_fee_per_gas: u128,
    /// Cap of the priority fee per gas in wei. Default 20 gwei.
    pub max_priority_fee_per_gas: u128,
    /// Least priority fee per gas in wei, whatever the endpoints suggest. Default 1 wei.
    pub min_priority_fee_per_gas: u128,
    /// Cap of the fee of one transaction in wei. Default none.
    pub max_total_fee: Option<u128>,
    /// Room for a rising base fee in a first attempt, in percent of the base fee. Default 200: survives six full blocks.
    pub base_fee_percent: u64,
    /// Rise of both fees in a replacement, in thousandths. Default 125 (12.5 %), the least that all nodes accept.
    pub bump_permille: u64,
    /// Replace when not included after this time. Default 30 s.
    pub escalate_after: Duration,
    /// Replace when not included after this many blocks. Default none.
    pub escalate_after_blocks: Option<u64>,
    /// Fees that the account may spend per day (UTC) in wei, transactions in flight counted in full. Default none.
    pub budget_per_day: Option<U256>,
}

impl Default for FeeConfig {
    fn default() -> Self {
        Self {
            mode: FeeMode::Detect,
            max_fee_per_gas: 300 * GWEI,
            max_priority_fee_per_gas: 20 * GWEI,
            min_priority_fee_per_gas: 1,
            max_total_fee: None,
            base_fee_percent: 200,
            bump_permille: 125,
            escalate_after: Duration::from_secs(30),
            escalate_after_blocks: None,
            budget_per_day: None,
        }
    }
}

/// The caps and times in force for one intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub max_fee_per_gas: u128,
    pub max_priority_fee_per_gas: u128,
    pub max_total_fee: Option<u128>,
    pub escalate_after: Duration,
    pub escalate_after_blocks: Option<u64>,
}

impl FeeConfig {
    /// Joins the account's rules with an intent's; caps only become lower.
    pub(crate) fn limits(&self, policy: &FeePolicy) -> Limits {
        let max_fee_per_gas = policy.max_fee_per_gas.map_or(self.max_fee_per_gas, |cap| cap.min(self.max_fee_per_gas));
        Limits {
            max_fee_per_gas,
            max_priority_fee_per_gas: policy
                .max_priority_fee_per_gas
                .map_or(self.max_priority_fee_per_gas, |cap| cap.min(self.max_priority_fee_per_gas))
                .min(max_fee_per_gas),
            max_total_fee: match (policy.max_total_fee, self.max_total_fee) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
            escalate_after: policy.escalate_after_ms.map_or(self.escalate_after, Duration::from_millis),
            escalate_after_blocks: policy.escalate_after_blocks.or(self.escalate_after_blocks),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn defaults_break_no_rule() {
        assert_eq!(OutboxConfig::default().problems(), Vec::<String>::new());
    }

    #[test]
    fn all_broken_rules_are_told_at_once() {
        let mut config = OutboxConfig { max_in_flight: 0, gas_margin_percent: 99, ..OutboxConfig::default() };
        config.fee.bump_permille = 100;
        assert_eq!(config.problems().len(), 3);
    }

    #[test]
    fn a_policy_lowers_caps_and_never_raises_them() {
        let fee = FeeConfig::default();
        let higher = FeePolicy { max_fee_per_gas: Some(u128::MAX), max_total_fee: Some(5), ..FeePolicy::default() };
        assert_eq!(fee.limits(&higher).max_fee_per_gas, fee.max_fee_per_gas);
        assert_eq!(fee.limits(&higher).max_total_fee, Some(5));
        let lower = FeePolicy { max_fee_per_gas: Some(7), ..FeePolicy::default() };
        assert_eq!(fee.limits(&lower).max_fee_per_gas, 7);
        assert_eq!(fee.limits(&lower).max_priority_fee_per_gas, 7);
    }
}
