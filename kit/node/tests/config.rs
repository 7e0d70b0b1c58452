//! Configuration: typed values, precedence, every error at once, generated documents that equal the defaults.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::Address;
use windlass_node::config::{Amount, Config, ConfigErrors, Keys, Origin, Schema, SecretText, Section, Sources, kind};

/// A section with a key of every kind.
#[derive(Debug, PartialEq)]
struct Beacon {
    chain: String,
    contract: Address,
    interval: Duration,
    max_fee: Amount,
    mode: Mode,
    keeper: SecretText,
    names: Vec<String>,
    limits: (u32, u32),
    stop: Option<Stop>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Watch,
    Act,
}

#[derive(Debug, PartialEq)]
struct Stop {
    command: String,
    grace: Duration,
}

impl Section for Beacon {
    const KIND: &'static str = "beacon";
    const NAMED: bool = true;
    const DOC: &'static str = "A light that is kept burning.";

    fn read(keys: &mut Keys<'_>) -> Self {
        let beacon = Self {
            chain: keys.chain("chain").doc("The chain it burns on.").required(),
            contract: keys.address("contract").doc("The contract that pays for it.").required(),
            interval: keys.duration("interval").doc("Time between two looks.").at_least("1s").at_most("1h").default("10s"),
            max_fee: keys.amount("max_fee").doc("The most it pays per gas.").default("100 gwei"),
            mode: keys
                .choice("mode", ("watch", Mode::Watch, "only look"), vec![("act", Mode::Act, "look and act")])
                .doc("What it does.")
                .default("watch"),
            keeper: keys.secret("keeper").doc("Key of the keeper.").required(),
            names: keys.list("names", kind::string()).doc("Other names.").example("north,south").default(""),
            limits: keys.table("limits", "How much it may do.", |keys| {
                let low = keys.integer("low").doc("The least.").range(0..=100).default("10");
                let high = keys.integer("high").doc("The most.").range(0..=100).default("90");
                keys.check("high", || low <= high, "must be at least low", "raise high or lower low");
                (low, high)
            }),
            stop: keys.optional_table("stop", "How it is put out.", |keys| Stop {
                command: keys.string("command").doc("The command.").example("systemctl stop light").required(),
                grace: keys.duration("grace").doc("Time before it is run.").default("0s"),
            }),
        };
        if beacon.mode == Mode::Act {
            keys.warn("mode", "acts on its own");
        }
        beacon
    }
}

const GOOD: &str = r#"
[store]
url = "sqlite:/var/lib/windlass/w.db"

[chain.gnosis]
urls = ["https://user:pw@rpc.example/v1/abcdef0123456789", "wss://two.example"]
chain_id = 100
quorum = 2

[beacon.north]
chain = "gnosis"
contract = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
keeper = "super-secret-value"
interval = "1m 30s"
limits.high = 50
"#;

fn schema() -> Schema {
    Schema::new().section::<Beacon>()
}

fn load(sources: &Sources) -> Result<Config, ConfigErrors> {
    schema().load(sources)
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn values_arrive_with_their_types() {
    let config = load(&Sources::text("windlass.toml", GOOD)).unwrap();
    let (name, beacon) = config.instances::<Beacon>().next().unwrap();
    assert_eq!(name, "north");
    assert_eq!(beacon.chain, "gnosis");
    assert_eq!(beacon.interval, Duration::from_secs(90));
    assert_eq!(beacon.max_fee.to_string(), "100 gwei");
    assert_eq!(beacon.limits, (10, 50));
    assert_eq!(beacon.keeper.expose(), "super-secret-value");
    assert_eq!(beacon.stop, None);
    let chain = config.chain("gnosis").unwrap();
    assert_eq!(chain.urls[0].expose().path(), "/v1/abcdef0123456789");
    assert_eq!((chain.chain_id, chain.quorum), (Some(100), 2));
    assert_eq!(config.http().listen.port(), 9464);
}

#[test]
fn show_tells_value_and_origin_and_no_secret() {
    let sources = Sources {
        file: Some(("windlass.toml".to_owned(), GOOD.to_owned())),
        environment: environment(&[
            ("WINDLASS_HTTP__LISTEN", "127.0.0.1:8080"),
            ("WINDLASS_BEACON__NORTH__MAX_FEE", "2 gwei"),
            ("WINDLASS_LOG_LEVEL", "debug"),
            ("WINDLASS_HTTP__TOKENS", "token-one-secret, token-two-secret"),
            ("PATH", "/bin"),
        ]),
        overrides: vec!["beacon.north.names=a,b".to_owned(), "log.level=warn".to_owned()],
    };
    let config = load(&sources).unwrap();
    let shown: Vec<String> = config
        .show()
        .iter()
        .map(|shown| format!("{} = {}  # {}", shown.key, shown.value.as_deref().unwrap_or("(none)"), shown.origin))
        .collect();
    let text = shown.join("\n");
    for secret in ["super-secret", "abcdef0123456789", "user:pw", "token-one", "token-two"] {
        assert!(!text.contains(secret), "{secret} is shown");
        assert!(!format!("{config:?}").contains(secret), "{secret} is in the debug text");
    }
    insta::assert_snapshot!("show", text);
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file = Sources::text("windlass.toml", "[log]\nlevel = \"error\"\n");
    let origin = |config: &Config| {
        let shown = config.show().iter().find(|shown| shown.key == "log.level").unwrap();
        (shown.value.clone().unwrap(), shown.origin.clone())
    };
    let level = |sources: &Sources| origin(&load(sources).unwrap());
    assert_eq!(level(&Sources::default()), ("\"info\"".to_owned(), Origin::Default));
    let place = Origin::File { file: "windlass.toml".to_owned(), line: 2, column: 1 };
    assert_eq!(level(&file), ("\"error\"".to_owned(), place));
    let mut sources = file;
    sources.environment = environment(&[("WINDLASS_LOG_LEVEL", "warn")]);
    assert_eq!(level(&sources).0, "\"warn\"");
    // The exact name wins over the short one.
    sources.environment = environment(&[("WINDLASS_LOG_LEVEL", "warn"), ("WINDLASS_LOG__LEVEL", "debug")]);
    assert_eq!(level(&sources), ("\"debug\"".to_owned(), Origin::Environment { variable: "WINDLASS_LOG__LEVEL".to_owned() }));
    // An empty variable counts as not set.
    sources.environment = environment(&[("WINDLASS_LOG_LEVEL", "")]);
    assert_eq!(level(&sources).0, "\"error\"");
    sources.environment = environment(&[("WINDLASS_LOG_LEVEL", "warn")]);
    sources.overrides = vec!["log.level=trace".to_owned()];
    assert_eq!(level(&sources), ("\"trace\"".to_owned(), Origin::Flag));
}

#[test]
fn an_instance_can_come_from_the_environment_alone() {
    let sources = Sources {
        environment: environment(&[
            ("WINDLASS_CHAIN__GNOSIS__URLS", "http://127.0.0.1:8545"),
            ("WINDLASS_BEACON__NORTH__CHAIN", "gnosis"),
            ("WINDLASS_BEACON__NORTH__CONTRACT", "0x5fbdb2315678afecb367f032d93f642f64180aa3"),
            ("WINDLASS_BEACON__NORTH__KEEPER", "env:KEEPER"),
            ("WINDLASS_BEACON__NORTH__STOP__COMMAND", "true"),
        ]),
        ..Sources::default()
    };
    let config = load(&sources).unwrap();
    let beacon = config.instance::<Beacon>("north").unwrap();
    assert_eq!(beacon.stop, Some(Stop { command: "true".to_owned(), grace: Duration::ZERO }));
    // A pointer is no secret, and must not be blotted out of the log.
    assert!(config.secrets().iter().all(|secret| !secret.expose().contains("KEEPER")));
}

#[test]
fn every_error_is_reported_at_once_with_its_place_and_remedy() {
    let text = r#"
[http]
listen = "0.0.0.0:80"
max_body_bytes = 12
lsten = "127.0.0.1:1"
url = "sqlite:x"

[log]
level = "inof"
format = "jason"

[chain.Gnosis]
urls = []

[chain.gnosis]
urls = ["ftp://rpc.example/key-in-path", 7]
chain_id = "hundred"
quorum = 9

[beacon]
interval = "1s"

[beacon.north]
chain = "gnosos"
contract = "0x5FbDB2315678afecb367f032d93F642f64180aa4"
interval = "10"
max_fee = "1.5"
mode = "watsh"
keeper = 12345
limits = { low = 60, high = 40, hihg = 1 }
stop = "now"
grace = "1s"

[becon.south]
chain = "gnosis"
"#;
    let sources = Sources {
        file: Some(("windlass.toml".to_owned(), text.to_owned())),
        environment: environment(&[
            ("WINDLASS_NODE__SHUTDOWN_TIMEOUT", "soon"),
            ("WINDLASS_NODE__SHUTDWN_TIMEOUT", "10s"),
            ("WINDLASS_VERSION", "1"),
        ]),
        overrides: vec!["log".to_owned(), "store.ulr=secret-db".to_owned(), "chain.gnosis.timeout=1ms".to_owned()],
    };
    let errors = load(&sources).unwrap_err();
    let text = errors.to_string();
    for secret in ["key-in-path", "12345", "secret-db"] {
        assert!(!text.contains(secret), "{secret} is in the errors");
    }
    insta::assert_snapshot!("errors", text);
}

#[test]
fn missing_keys_are_reported_at_their_section() {
    let sources = Sources::text("windlass.toml", "[chain.gnosis]\n\n[beacon.north]\nchain = \"gnosis\"\n[beacon.north.stop]\n");
    insta::assert_snapshot!("missing", load(&sources).unwrap_err().to_string());
}

#[test]
fn rules_between_keys_wait_until_the_keys_are_right() {
    let with = |limits: &str| format!("{}\nlimits.low = {limits}\n", GOOD.replace("limits.high = 50", "limits.high = 5"));
    let errors = load(&Sources::text("w.toml", &with("10"))).unwrap_err();
    assert_eq!(errors.0.len(), 1, "{errors}");
    assert_eq!(errors.0[0].key, "beacon.north.limits.high");
    // `low` is wrong in itself: nothing can be said about the two together.
    let errors = load(&Sources::text("w.toml", &with("\"x\""))).unwrap_err();
    assert_eq!(errors.0.iter().map(|error| error.key.as_str()).collect::<Vec<_>>(), ["beacon.north.limits.low"]);
}

#[test]
fn a_file_that_is_no_toml_is_reported_with_its_line() {
    let errors = load(&Sources::text("windlass.toml", "[log]\nlevel = info\n")).unwrap_err();
    assert!(errors.to_string().contains("windlass.toml:2:"), "{errors}");
    let errors = load(&Sources::text("windlass.toml", "[log]\nlevel = \"info\"\nlevel = \"warn\"\n")).unwrap_err();
    assert!(errors.to_string().contains("windlass.toml:3:1"), "{errors}");
}

#[test]
fn a_missing_file_is_an_error_only_if_it_was_named() {
    let path = std::path::Path::new("/nonexistent/windlass.toml");
    assert!(Sources::from_system(path, false, Vec::new()).unwrap().file.is_none());
    let errors = Sources::from_system(path, true, Vec::new()).unwrap_err();
    assert!(errors.to_string().contains("windlass init"), "{errors}");
}

#[test]
fn a_variable_of_a_platform_is_no_error_but_a_near_miss_is_told() {
    let sources = Sources {
        environment: environment(&[("WINDLASS_HTTP_SERVICE_HOST", "10.0.0.1"), ("WINDLASS_LOG_LEVLE", "debug")]),
        ..Sources::default()
    };
    let config = load(&sources).unwrap();
    assert_eq!(config.warnings(), ["the variable WINDLASS_LOG_LEVLE is not used; did you mean WINDLASS_LOG_LEVEL?"]);
}

#[test]
fn warnings_are_collected() {
    let config = load(&Sources::text("w.toml", &format!("{GOOD}mode = \"act\"\n"))).unwrap();
    assert_eq!(config.warnings(), ["beacon.north.mode: acts on its own"]);
}

#[test]
fn the_example_file_equals_the_defaults() {
    let example = schema().example();
    // As it stands it sets nothing.
    let untouched = load(&Sources::text("example.toml", &example)).unwrap();
    let defaults = load(&Sources::default()).unwrap();
    let values = |config: &Config| -> BTreeMap<String, Option<String>> {
        config.show().iter().map(|shown| (shown.key.clone(), shown.value.clone())).collect()
    };
    assert_eq!(values(&untouched), values(&defaults));
    // With every setting switched on it still says what is the default anyway.
    let switched_on: String = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => rest,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
        // A webhook needs a URL, which other channels do not.
        .replace("# url = \"env:ALERT_URL\"", "url = \"env:X\"")
        // The one key that refers to another section: the example of that has its own name.
        .replace("chain = \"gnosis\"", "chain = \"main\"");
    let all = load(&Sources::text("example.toml", &switched_on)).unwrap();
    let required = "[chain.main]\nurls = [\"https://rpc.example.org\", \"wss://rpc.example.net\"]\n[alerts.main]\nchannel = \"webhook\"\nurl = \"env:X\"\n\
                    [beacon.main]\nchain = \"main\"\ncontract = \"0x5FbDB2315678afecb367f032d93F642f64180aa3\"\nkeeper = \"env:NAME\"\n\
                    [beacon.main.stop]\ncommand = \"systemctl stop light\"\n";
    let wanted = load(&Sources::text("required.toml", required)).unwrap();
    assert_eq!(values(&all), values(&wanted));
    for shown in all.show() {
        assert_eq!(shown.value.is_some(), matches!(shown.origin, Origin::File { .. }), "{shown:?} is not in the example");
    }
    insta::assert_snapshot!("example", example);
}

#[test]
fn the_reference_names_every_key_and_variable() {
    let reference = schema().reference();
    for section in schema().describe() {
        for item in section.items {
            if let windlass_node::config::ItemDoc::Key(key) = item {
                assert!(!key.doc.is_empty(), "{}.{} has no text", section.kind, key.path.join("."));
                assert!(reference.contains(&format!("#### `{}`", key.path.join("."))));
            }
        }
    }
    assert!(reference.contains("WINDLASS_BEACON__<NAME>__STOP__GRACE"));
    insta::assert_snapshot!("reference", reference);
}

#[test]
fn a_template_begins_a_section() {
    let template = schema().template("beacon", "east").unwrap();
    insta::assert_snapshot!("template", template);
    // What is required stands open, so that the file says what to fill in and nothing else is missing.
    let text = format!("[chain.gnosis]\nurls = [\"http://127.0.0.1:8545\"]\n{template}");
    load(&Sources::text("w.toml", &text)).unwrap();
    assert!(schema().template("becon", "x").is_none());
    assert!(schema().template("beacon", "A B").is_none());
}
