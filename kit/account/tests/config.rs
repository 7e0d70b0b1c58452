//! The table of an account: exactly one key, and limits that reach the sender.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use alloy_primitives::U256;
use windlass_account::{AccountConfig, AccountKey, Examples};
use windlass_keys::KeyConfig;
use windlass_node::config::{Keys, Schema, Section, Sources};
use windlass_outbox::{FeeMode, OutboxConfig};

#[derive(Debug, Clone)]
struct Sender(AccountConfig);

impl Section for Sender {
    const KIND: &'static str = "sender";
    const NAMED: bool = true;
    const DOC: &'static str = "One sender.";

    fn read(keys: &mut Keys<'_>) -> Self {
        let examples =
            Examples { private_key: Some("env:KEY"), keystore: "/etc/windlass/key.json", password: None, mnemonic: None };
        Self(AccountConfig::read(keys, &examples))
    }
}

fn load(text: &str) -> Result<AccountConfig, String> {
    let schema = Schema::new().section::<Sender>();
    let config =
        schema.load(&Sources::text("windlass.toml", &format!("[sender.a]\n{text}"))).map_err(|errors| errors.to_string())?;
    Ok(config.instance::<Sender>("a").unwrap().0.clone())
}

#[test]
fn each_way_to_name_a_key_is_understood() {
    let address = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    let key = |text: &str| load(text).unwrap().key;
    assert!(matches!(key("private_key = \"env:KEY\"\n"), AccountKey::PrivateKey(_)));
    let keystore = key("keystore = \"/k.json\"\npassword = \"env:PASSWORD\"\n");
    assert!(matches!(keystore.key_config(), KeyConfig::Keystore { path, .. } if path.ends_with("k.json")));
    let mnemonic = key("mnemonic = \"env:PHRASE\"\nindex = 7\n");
    assert!(matches!(mnemonic.key_config(), KeyConfig::Mnemonic { index: 7, .. }));
    let remote = key(&format!("web3signer = \"http://signer:9000\"\naddress = \"{address}\"\n"));
    assert!(matches!(remote.key_config(), KeyConfig::Web3signer { address: named, .. } if named.to_string() == address));
}

#[test]
fn none_several_and_halves_are_refused() {
    for text in [
        "",
        "keystore = \"/k.json\"\n",
        "private_key = \"env:KEY\"\nmnemonic = \"env:PHRASE\"\n",
        "private_key = \"env:KEY\"\nkeystore = \"/k.json\"\n",
        "web3signer = \"http://signer:9000\"\n",
    ] {
        let errors = load(text).unwrap_err();
        assert!(
            errors.contains("exactly one key must be named") && errors.contains("keystore with password"),
            "{text}: {errors}"
        );
    }
}

#[test]
fn limits_reach_the_sender() {
    let text = "private_key = \"env:KEY\"\nmax_fee_per_gas = \"3 gwei\"\nbudget_per_day = \"1 ether\"\nfee_mode = \"legacy\"\n\
                max_in_flight = 5\nescalate_after = \"10s\"\nmax_total_fee = \"0.1 ether\"\n";
    let settings = load(text).unwrap().outbox("gnosis", 200);
    assert_eq!((settings.chain.as_str(), settings.max_in_flight, settings.finality_depth), ("gnosis", 5, 200));
    assert_eq!((settings.fee.mode, settings.fee.escalate_after), (FeeMode::Legacy, Duration::from_secs(10)));
    let gwei = 1_000_000_000;
    assert_eq!(
        (settings.fee.max_fee_per_gas, settings.fee.max_priority_fee_per_gas),
        (3 * gwei, 3 * gwei),
        "a tip is within the price"
    );
    assert_eq!(
        (settings.fee.max_total_fee, settings.fee.budget_per_day),
        (Some(100_000_000 * gwei), Some(U256::from(10_u64.pow(18))))
    );
    assert!(settings.problems().is_empty(), "{:?}", settings.problems());
    let standard = load("private_key = \"env:KEY\"\n").unwrap().outbox("gnosis", 1);
    assert_eq!(standard.finality_depth, OutboxConfig::for_chain("gnosis").finality_depth, "never less than what is safe");
}

#[test]
fn no_secret_is_printed() {
    let account = load("private_key = \"ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80\"\n").unwrap();
    assert!(!format!("{account:?} {:?}", account.key_config()).contains("ac0974"));
}
