//! The table of an account.

use std::time::Duration;

use windlass_keys::KeyConfig;
use windlass_node::config::{Amount, Keys};
use windlass_outbox::{FeeConfig, FeeMode, OutboxConfig};

use crate::key::{AccountKey, Examples, NamedKey};

/// Where the key of an account is, and what it may pay.
#[derive(Debug, Clone)]
pub struct AccountConfig {
    /// The key.
    pub key: AccountKey,
    /// Highest price of gas that is paid.
    pub max_fee_per_gas: Amount,
    /// Highest tip that is paid per unit of gas.
    pub max_priority_fee_per_gas: Amount,
    /// Most that one transaction may cost.
    pub max_total_fee: Option<Amount>,
    /// Most that all transactions of a day (UTC) may cost.
    pub budget_per_day: Option<Amount>,
    /// Kind of transaction.
    pub fee_mode: FeeMode,
    /// Gas limit of every transaction; estimated if not given.
    pub gas_limit: Option<u64>,
    /// Gas limit = estimate times this, in percent.
    pub gas_margin_percent: u64,
    /// Most transactions that are sent and not included.
    pub max_in_flight: u64,
    /// A transaction that is not included after this time is replaced by one with a higher fee.
    pub escalate_after: Duration,
}

impl AccountConfig {
    /// Reads the table.
    pub fn read(keys: &mut Keys<'_>, examples: &Examples) -> Self {
        let named = NamedKey::read(keys, examples);
        let is_one = named.is_one();
        keys.check_among("private_key", &NamedKey::OTHERS, || is_one, "exactly one key must be named", NamedKey::HINT);
        Self {
            key: named.key,
            max_fee_per_gas: keys
                .amount("max_fee_per_gas")
                .doc("Highest price of gas that is paid; transactions wait until it is lower.")
                .at_least("1 wei")
                .default("200 gwei"),
            max_priority_fee_per_gas: keys
                .amount("max_priority_fee_per_gas")
                .doc("Highest tip per unit of gas that is paid.")
                .at_least("1 wei")
                .default("20 gwei"),
            max_total_fee: keys
                .amount("max_total_fee")
                .doc("Most that one transaction may cost. Without it only the price of gas is limited.")
                .at_least("1 wei")
                .example("0.05 ether")
                .optional(),
            budget_per_day: keys
                .amount("budget_per_day")
                .doc("Most that all transactions of a day (UTC) may cost; the rest waits for the next day.")
                .at_least("1 wei")
                .example("1 ether")
                .optional(),
            fee_mode: keys
                .choice(
                    "fee_mode",
                    ("detect", FeeMode::Detect, "EIP-1559 if blocks have a base fee, else legacy"),
                    vec![("eip1559", FeeMode::Eip1559, "EIP-1559 always"), ("legacy", FeeMode::Legacy, "legacy with EIP-155 always")],
                )
                .doc("Kind of transaction.")
                .default("detect"),
            gas_limit: keys
                .integer("gas_limit")
                .doc(
                    "Gas limit of every transaction, in place of an estimate with a margin. One that needs more fails before it is sent.",
                )
                .range(21_000..=30_000_000)
                .example("1200000")
                .optional(),
            gas_margin_percent: keys
                .integer("gas_margin_percent")
                .doc("Gas limit as percent of the estimate.")
                .range(100..=1_000)
                .default("125"),
            max_in_flight: keys
                .integer("max_in_flight")
                .doc("Most transactions that are sent and not included. Nodes keep only so many per account.")
                .range(1..=1_000)
                .default("16"),
            escalate_after: keys
                .duration("escalate_after")
                .doc("A transaction that is not included after this time is replaced by one with a higher fee, up to the limits.")
                .at_least("1s")
                .at_most("1d")
                .default("30s"),
        }
    }

    /// The key, ready to be opened.
    pub fn key_config(&self) -> KeyConfig {
        self.key.key_config()
    }

    /// The settings of the outbox that sends for the account on the chain called `chain`. Amounts beyond 128 bits, which no chain has, count
    /// as the largest that fits.
    pub fn outbox(&self, chain: &str, final_depth: u64) -> OutboxConfig {
        let narrow = |amount: Amount| u128::try_from(amount.wei()).unwrap_or(u128::MAX);
        let standard = OutboxConfig::for_chain(chain);
        OutboxConfig {
            max_in_flight: self.max_in_flight,
            finality_depth: final_depth.max(standard.finality_depth),
            gas_margin_percent: self.gas_margin_percent,
            fee: FeeConfig {
                mode: self.fee_mode,
                max_fee_per_gas: narrow(self.max_fee_per_gas),
                max_priority_fee_per_gas: narrow(self.max_priority_fee_per_gas.min(self.max_fee_per_gas)),
                max_total_fee: self.max_total_fee.map(narrow),
                budget_per_day: self.budget_per_day.map(Amount::wei),
                escalate_after: self.escalate_after,
                ..FeeConfig::default()
            },
            ..standard
        }
    }
}
