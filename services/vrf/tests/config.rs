//! What the section says about mistakes, word for word: operators search for these texts. And what it makes of right values.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use alloy_primitives::{U256, address};
use proptest::prelude::*;
use windlass_keys::KeyConfig;
use windlass_node::config::{ItemDoc, Presence, Schema, Sources};
use windlass_outbox::FeeMode;
use windlass_vrf::config::{
    AccountKey, GasPrice, MessageChoice, ProofSource, Unprofitable, VersionChoice, VrfConfig, parse_grpc,
};
use windlass_vrf::ports::band::BroadcastMode;

fn load_with_warnings(section: &str) -> Result<(VrfConfig, Vec<String>), String> {
    let text = format!("[chain.astar]\nchain_id = 592\nurls = [\"https://rpc.example\"]\n\n[vrf.astar]\n{section}");
    let config = Schema::new().section::<VrfConfig>().load(&Sources::text("windlass.toml", &text));
    let config = config.map_err(|errors| errors.to_string())?;
    Ok((config.instance::<VrfConfig>("astar").unwrap().clone(), config.warnings().to_vec()))
}

fn load(section: &str) -> Result<VrfConfig, String> {
    load_with_warnings(section).map(|(config, _)| config)
}

const TOP: &str = "chain = \"astar\"\nprovider = \"0x5FbDB2315678afecb367f032d93F642f64180aa3\"\n\
                   callers = [\"0x70997970c51812dc3a010c7d01b50e0d17dc79c8\"]\n";
const ACCOUNT: &str = "[vrf.astar.account]\nprivate_key = \"env:EVM_PRIVATE_KEY\"\n";
const BAND: &str = "[vrf.astar.band]\ngrpc = [\"laozi1.bandchain.org:443\"]\nmnemonic = \"env:BAND_MNEMONIC\"\n";
const TRIGGER: &str = "[vrf.astar.trigger]\n";

fn with(top: &str, account: &str, band: &str, rest: &str) -> String {
    format!("{TOP}{top}{ACCOUNT}{account}{BAND}{band}{rest}")
}

#[test]
fn mistakes_are_told_with_rule_and_remedy() {
    let queue =
        "[vrf.astar.trigger.queue]\nproject = \"p\"\nlocation = \"us-central1\"\nqueue = \"q\"\nurl = \"https://x.run.app\"\n";
    let cases = [
        ("nothing", String::new()),
        (
            "bad values",
            with(
                "lens = \"0x0000000000000000000000000000000000000000\"\nversion = \"v3\"\nlookback = 5\nconfirmations = 0\n",
                "fee_mode = \"eip-1559\"\ngas_margin_percent = 99\nmax_total_fee = \"1\"\n",
                "gas_price = 0.0025\nmax_gas_price = \"1e-3\"\nclient_id = \"\"\npath = \"44'/494'/0'\"\nbroadcast = \"async\"\nrest = [\"ftp://x\"]\n",
                "",
            ),
        ),
        ("bad grpc", format!("{TOP}{ACCOUNT}[vrf.astar.band]\nmnemonic = \"env:M\"\ngrpc = [\"https://a.example/key\"]\n")),
        (
            "mistyped caller",
            with("", "", "", "")
                .replace("0x70997970c51812dc3a010c7d01b50e0d17dc79c8", "0x70997970C51812dc3A010C7d01b50e0d17dc79c9"),
        ),
        ("confirmations too deep", with("confirmations = 200\n", "", "", "")),
        ("retry upside down", with("retry_first = \"1h\"\nretry_max = \"1m\"\n", "", "", "")),
        ("no key", format!("{TOP}[vrf.astar.account]\ngas_limit = 1200000\n{BAND}")),
        ("two keys", with("", "mnemonic = \"env:EVM_MNEMONIC\"\n", "", "")),
        ("half a key", format!("{TOP}[vrf.astar.account]\nkeystore = \"/k.json\"\n{BAND}")),
        ("counts upside down", with("", "", "min_count = 4\nask_count = 3\n", "")),
        ("too much gas", with("", "", "prepare_gas = 4000000\nexecute_gas = 4000001\n", "")),
        ("price above its limit", with("", "", "gas_price = \"0.03\"\n", "")),
        ("proofs from nowhere", with("", "", "proof_source = \"rpc\"\n", "")),
        ("queue without account", with("", "", "", &format!("{TRIGGER}{queue}"))),
        ("account without audience", with("", "", "", &format!("{TRIGGER}service_account = \"a@b.example\"\n"))),
        ("queue with a short deadline", with("", "", "", &format!("{TRIGGER}{queue}deadline = \"5s\"\n"))),
    ];
    let mut page = String::new();
    for (name, section) in cases {
        let said = load(&section).expect_err(name);
        page.push_str(&format!("== {name}\n{}\n\n", said.trim_end()));
    }
    insta::assert_snapshot!(page);
}

#[test]
fn defaults_are_those_of_the_protocol_document() {
    let (config, warnings) = load_with_warnings(&with("", "", "", "")).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.chain, "astar");
    assert_eq!(config.callers, [address!("70997970C51812dc3A010C7d01b50e0d17dc79C8")]);
    assert_eq!((config.lens, config.bridge, config.version), (None, None, VersionChoice::Auto));
    assert_eq!((config.start_nonce, config.look_back, config.confirmations, config.final_depth), (0, 100, 2, 10));
    assert_eq!(config.reconcile_every, Duration::from_secs(30));
    assert!(!config.dry_run && config.trigger.is_none());
    let account = &config.account;
    assert!(matches!(&account.key, AccountKey::PrivateKey(key) if key.expose() == "env:EVM_PRIVATE_KEY"));
    assert_eq!((account.fee_mode, account.gas_limit, account.gas_margin_percent), (FeeMode::Detect, None, 125));
    let band = &config.band;
    assert_eq!(band.grpc[0].as_str(), "https://laozi1.bandchain.org/");
    assert_eq!((band.min_count, band.ask_count, band.prepare_gas, band.execute_gas), (2, 3, 100_000, 400_000));
    assert_eq!((band.gas_limit, band.gas_price.as_str(), band.denom.as_str()), (800_000, "0.0025", "uband"));
    assert_eq!((band.max_requests, band.client_id.as_str(), band.path.as_str()), (3, "vrf_worker", "m/44'/494'/0'/0/0"));
    assert_eq!((band.message, band.broadcast, band.proof_source), (MessageChoice::Auto, BroadcastMode::Sync, ProofSource::Auto));
    assert_eq!((band.inclusion_timeout, band.proof_timeout), (Duration::from_secs(30), Duration::from_secs(60)));
    assert_eq!(config.profit.unprofitable, Unprofitable::Relay);
}

#[test]
fn everything_can_be_set() {
    let trigger = "[vrf.astar.trigger]\nname = \"ASTAR\"\naudience = \"https://x.run.app\"\nservice_account = \"w@p.example.com\"\n\
                   webhook = \"env:DISCORD_WEBHOOK\"\n[vrf.astar.trigger.queue]\nproject = \"my-project\"\nlocation = \"us-central1\"\n\
                   queue = \"vrf\"\nurl = \"https://x.run.app\"\ndelay = \"5s\"\ndeadline = \"5m\"\n";
    let profit = "[vrf.astar.profit]\nunprofitable = \"wait\"\nmin_margin_percent = 10\nrequest_cost = \"0.001 ether\"\n";
    let section = with(
        "lens = \"0x70997970c51812dc3a010c7d01b50e0d17dc79c8\"\nversion = \"v1\"\nquorum = 2\ndry_run = true\n",
        "gas_limit = 1200000\nfee_mode = \"legacy\"\nbudget_per_day = \"2 ether\"\nmax_fee_per_gas = \"5 gwei\"\n",
        "message = \"v2\"\nbroadcast = \"block\"\nproof_source = \"rest\"\nrest = [\"https://x.example/api/oracle/proof\"]\n\
         gas_price = \".0030\"\nds_fee_limit = 48\nchain_id = \"laozi-mainnet\"\n",
        &format!("{profit}{trigger}"),
    );
    let config = load(&section).unwrap();
    let outbox = config.account.outbox("astar", config.final_depth);
    assert_eq!(outbox.problems(), Vec::<String>::new());
    assert_eq!((outbox.fee.mode, outbox.fee.max_fee_per_gas), (FeeMode::Legacy, 5_000_000_000));
    // The tip may never exceed the whole price.
    assert_eq!(outbox.fee.max_priority_fee_per_gas, 5_000_000_000);
    assert_eq!(outbox.fee.budget_per_day, Some(U256::from(2_000_000_000_000_000_000_u64)));
    assert!(matches!(config.account.key_config(), KeyConfig::PrivateKey(_)));
    assert_eq!(config.band.gas_price.as_str(), "0.003");
    let trigger = config.trigger.unwrap();
    let queue = trigger.queue.unwrap();
    assert_eq!(queue.parent(), "projects/my-project/locations/us-central1/queues/vrf");
    assert_eq!((queue.delay, queue.deadline), (Duration::from_secs(5), Some(Duration::from_secs(300))));
    assert_eq!((config.quorum, config.dry_run, config.version), (2, true, VersionChoice::V1));
}

#[test]
fn an_empty_list_of_callers_is_told() {
    let (_, warnings) =
        load_with_warnings(&with("", "", "", "").replace("\"0x70997970c51812dc3a010c7d01b50e0d17dc79c8\"", "")).unwrap();
    assert_eq!(warnings, ["vrf.astar.callers: the list is empty, so no request is served"]);
}

#[test]
fn callers_may_be_in_any_case() {
    for caller in [
        "0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
        "0x70997970C51812DC3A010C7D01B50E0D17DC79C8",
        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    ] {
        let section = with("", "", "", "").replace("0x70997970c51812dc3a010c7d01b50e0d17dc79c8", caller);
        assert_eq!(load(&section).unwrap().callers, [address!("70997970C51812dc3A010C7d01b50e0d17dc79C8")]);
    }
}

#[test]
fn every_key_is_explained() {
    let sections = Schema::new().section::<VrfConfig>().describe();
    let section = sections.iter().find(|section| section.kind == "vrf").unwrap();
    for item in &section.items {
        let (path, doc) = match item {
            ItemDoc::Key(key) => {
                // A default must be a value that the key takes.
                assert!(!matches!(&key.presence, Presence::Default(text) if text.is_empty()), "{:?}", key.path);
                (&key.path, key.doc)
            }
            ItemDoc::Table { path, doc, .. } => (path, *doc),
        };
        assert!(doc.ends_with('.'), "{path:?}: {doc}");
    }
}

#[test]
fn grpc_endpoints_are_read_as_operators_write_them() {
    for (text, url) in [
        ("laozi1.bandchain.org:443", "https://laozi1.bandchain.org/"),
        ("laozi1.bandchain.org", "https://laozi1.bandchain.org/"),
        ("10.0.0.1:9090", "https://10.0.0.1:9090/"),
        ("[::1]:9090", "https://[::1]:9090/"),
        (" http://127.0.0.1:9090 ", "http://127.0.0.1:9090/"),
        ("https://band.example:9443/", "https://band.example:9443/"),
    ] {
        assert_eq!(parse_grpc(text).unwrap().as_str(), url, "{text}");
    }
    for (text, says) in [
        ("", "empty host"),
        ("a:b:c", "port"),
        ("tcp://x:1", "no support"),
        ("https://x/path", "host and port only"),
        ("user:password@x:443", "host and port only"),
    ] {
        let error = parse_grpc(text).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}

fn price() -> impl Strategy<Value = (u64, u64, GasPrice)> {
    (0_u64..1_000_000_000, 0_u64..1_000_000_000, 0_usize..4, 0_usize..4).prop_map(|(whole, nanos, left, right)| {
        let text = format!("{}{whole}.{nanos:09}{}", "0".repeat(left), "0".repeat(right));
        (whole, nanos, text.parse().unwrap())
    })
}

proptest! {
    #[test]
    fn prices_compare_as_numbers(a in price(), b in price()) {
        prop_assert_eq!(a.2.cmp(&b.2), (a.0, a.1).cmp(&(b.0, b.1)));
        prop_assert_eq!(a.2.as_str().parse::<GasPrice>().unwrap(), a.2);
    }

    #[test]
    fn any_text_is_a_price_or_a_sentence(text in "\\PC{0,40}") {
        match text.parse::<GasPrice>() {
            Ok(price) => prop_assert!(price.as_str().bytes().all(|b| b.is_ascii_digit() || b == b'.')),
            Err(error) => prop_assert!(error.starts_with("it ")),
        }
        let _ = parse_grpc(&text);
    }
}
