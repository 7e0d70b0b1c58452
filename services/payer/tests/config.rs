//! What the section says about mistakes, word for word: operators search for these texts.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use windlass_node::config::{Schema, Sources};
use windlass_payer::PayerConfig;

fn load(section: &str) -> Result<PayerConfig, String> {
    let text = format!("[chain.gnosis]\nchain_id = 100\nurls = [\"https://rpc.example\"]\n\n[payer.gnosis]\n{section}");
    let config = Schema::new().section::<PayerConfig>().load(&Sources::text("windlass.toml", &text));
    let config = config.map_err(|errors| errors.to_string())?;
    Ok(config.instance::<PayerConfig>("gnosis").unwrap().clone())
}

const BASE: &str = "chain = \"gnosis\"\ncontract = \"0x5FbDB2315678afecb367f032d93F642f64180aa3\"\n";
const ACCOUNT: &str = "[payer.gnosis.account]\nprivate_key = \"env:PAYER_KEY\"\n";

#[test]
fn mistakes_are_told_with_rule_and_remedy() {
    let cases = [
        ("nothing", String::new()),
        (
            "bad values",
            "chain = \"gnosys\"\ncontract = \"0x0000000000000000000000000000000000000000\"\ngrace = \"soon\"\n\
             confirm_blocks = 0\nquorum = 17\nwarn_befor = [\"1d\"]\n"
                .to_owned(),
        ),
        (
            "two programs",
            format!("{BASE}[payer.gnosis.docker]\ncontainer = \"keyper\"\n[payer.gnosis.systemd]\nunit = \"k.service\"\n"),
        ),
        ("resume without a way", format!("{BASE}resume = true\n[payer.gnosis.command]\nstop = \"stop-keyper\"\n")),
        ("stale before looked at", format!("{BASE}observe_every = \"10m\"\n")),
        ("keep_paid without account", format!("{BASE}keep_paid = \"30d\"\n")),
        ("keep_paid_below alone", format!("{BASE}keep_paid_below = \"15d\"\n{ACCOUNT}")),
        ("keep_paid_below too long", format!("{BASE}keep_paid = \"30d\"\nkeep_paid_below = \"30d\"\n{ACCOUNT}")),
        ("keep_paid_max_amount", format!("{BASE}keep_paid = \"30d\"\nkeep_paid_max_amount = \"1.5\"\n{ACCOUNT}")),
        ("two keys", format!("{BASE}{ACCOUNT}keystore = \"/k.json\"\npassword = \"env:PW\"\n")),
        ("no key", format!("{BASE}[payer.gnosis.account]\nconfirmations = 2\n")),
    ];
    let mut page = String::new();
    for (name, section) in cases {
        let said = load(&section).expect_err(name);
        page.push_str(&format!("== {name}\n{}\n\n", said.trim_end()));
    }
    insta::assert_snapshot!(page);
}

#[test]
fn keep_paid_is_read() {
    assert!(load(BASE).unwrap().keep_paid.is_none());
    let plan = load(&format!("{BASE}keep_paid = \"30d\"\n{ACCOUNT}")).unwrap().keep_paid.unwrap();
    assert_eq!(
        (plan.keep, plan.below, plan.max_amount),
        (Duration::from_secs(30 * 86_400), Duration::from_secs(15 * 86_400), None)
    );
    let section = format!("{BASE}keep_paid = \"30d\"\nkeep_paid_below = \"7d\"\nkeep_paid_max_amount = \"5000\"\n{ACCOUNT}");
    let plan = load(&section).unwrap().keep_paid.unwrap();
    assert_eq!((plan.below, plan.max_amount), (Duration::from_secs(7 * 86_400), Some(alloy_primitives::U256::from(5_000))));
}
