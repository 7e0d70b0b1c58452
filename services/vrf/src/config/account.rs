//! The account of the client chain.

use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::Address;
use url::Url;
use windlass_keys::{KeyConfig, SecretSource};
use windlass_node::config::{Amount, Keys, SecretText};
use windlass_outbox::{FeeConfig, FeeMode, OutboxConfig};

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
    /// Gas limit of every relay; estimated if not given.
    pub gas_limit: Option<u64>,
    /// Gas limit = estimate times this, in percent.
    pub gas_margin_percent: u64,
    /// Most transactions that are sent and not included.
    pub max_in_flight: u64,
    /// A transaction that is not included after this time is replaced by one with a higher fee.
    pub escalate_after: Duration,
}

/// The four ways to name a key.
#[derive(Debug, Clone)]
pub enum AccountKey {
    /// 64 hexadecimal digits.
    PrivateKey(SecretText),
    /// A Web3 Secret Storage file and its password.
    Keystore(PathBuf, SecretText),
    /// A recovery phrase and the index of the account.
    Mnemonic(SecretText, u32),
    /// A remote signer and the account.
    Web3Signer(Url, Address),
}

impl AccountConfig {
    /// The key, ready to be opened.
    pub fn key_config(&self) -> KeyConfig {
        match &self.key {
            AccountKey::PrivateKey(text) => KeyConfig::PrivateKey(secret(text)),
            AccountKey::Keystore(path, password) => KeyConfig::Keystore { path: path.clone(), password: secret(password) },
            AccountKey::Mnemonic(phrase, index) => KeyConfig::Mnemonic { phrase: secret(phrase), index: *index, path: None },
            AccountKey::Web3Signer(url, address) => KeyConfig::Web3signer { url: url.clone(), address: *address },
        }
    }

    /// The settings of the outbox that sends for the account on the chain called `chain`. Amounts beyond 128 bits, which no
    /// chain has, count as the largest that fits.
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

/// A configured secret as something that can be resolved.
fn secret(text: &SecretText) -> SecretSource {
    match text.expose().parse() {
        Ok(source) => source,
        Err(never) => match never {},
    }
}

pub(super) fn read(keys: &mut Keys<'_>) -> AccountConfig {
    let key = read_key(keys);
    AccountConfig {
        key,
        max_fee_per_gas: keys
            .amount("max_fee_per_gas")
            .doc("Highest price of gas that is paid; relays wait until it is lower.")
            .at_least("1 wei")
            .default("200 gwei"),
        max_priority_fee_per_gas: keys
            .amount("max_priority_fee_per_gas")
            .doc("Highest tip per unit of gas that is paid.")
            .at_least("1 wei")
            .default("20 gwei"),
        max_total_fee: keys
            .amount("max_total_fee")
            .doc("Most that one relay may cost. Without it only the price of gas is limited.")
            .at_least("1 wei")
            .example("0.05 ether")
            .optional(),
        budget_per_day: keys
            .amount("budget_per_day")
            .doc("Most that all relays of a day (UTC) may cost; the rest waits for the next day.")
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
            .doc("Gas limit of every relay, in place of an estimate with a margin. A relay that needs more fails before it is sent.")
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
            .doc("Most relays that are sent and not included. Nodes keep only so many per account.")
            .range(1..=1_000)
            .default("16"),
        escalate_after: keys
            .duration("escalate_after")
            .doc("A relay that is not included after this time is replaced by one with a higher fee, up to the limits.")
            .at_least("1s")
            .at_most("1d")
            .default("30s"),
    }
}

fn read_key(keys: &mut Keys<'_>) -> AccountKey {
    let private_key =
        keys.secret("private_key").doc("The private key, 64 hexadecimal digits.").example("env:EVM_PRIVATE_KEY").optional();
    let keystore = keys.path("keystore").doc("A Web3 Secret Storage file.").example("/etc/windlass/relay.json").optional();
    let password = keys.secret("password").doc("Password of the keystore.").example("file:/run/secrets/password").optional();
    let mnemonic = keys.secret("mnemonic").doc("A recovery phrase.").example("env:EVM_MNEMONIC").optional();
    let index = keys.integer("index").doc("Which account of the phrase.").range(0..=1_000_000).default("0");
    let web3signer = keys.url("web3signer").doc("Address of a Web3Signer.").example("http://signer:9000").optional();
    let address = keys.address("address").doc("The account at the Web3Signer.").optional();
    let given = [private_key.is_some(), keystore.is_some(), mnemonic.is_some(), web3signer.is_some()];
    let ways = [
        private_key.map(AccountKey::PrivateKey),
        keystore.zip(password).map(|(path, password)| AccountKey::Keystore(path, password)),
        mnemonic.map(|phrase| AccountKey::Mnemonic(phrase, index)),
        web3signer.zip(address).map(|(url, address)| AccountKey::Web3Signer(url, address)),
    ];
    let count = ways.iter().flatten().count();
    keys.check_among(
        "private_key",
        &["keystore", "password", "mnemonic", "web3signer", "address"],
        || count == 1 && given.iter().filter(|given| **given).count() == 1,
        "exactly one key must be named",
        "give one of private_key, keystore with password, mnemonic, or web3signer with address",
    );
    ways.into_iter().flatten().next().unwrap_or_else(|| AccountKey::PrivateKey(SecretText::default()))
}
