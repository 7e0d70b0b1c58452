//! Settings of the former workers become a configuration that says the same, and every mistake is told with its place.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::{Address, address};
use proptest::prelude::*;
use windlass_node::config::{AlertSection, Config, Schema, Sources};
use windlass_node::dotenv::{Comments, Environment, Precedence, parse};
use windlass_outbox::FeeMode;
use windlass_vrf::config::{AccountKey, VrfConfig};
use windlass_vrf::import::cli::{ImportArgs, TargetKind, import};
use windlass_vrf::import::tasks::{FormerTask, Takeover, TasksError, read_tasks};
use windlass_vrf::import::{
    ImportFailure, Note, RenderOptions, SecretStyle, WorkerSettings, from_worker_yaml, read_env, read_environment, read_yaml,
    section_name, to_toml, to_yaml,
};

/// The template of worker 0.1, filled in.
const ENV: &str = r#"PORT=8080
HOST=0.0.0.0
CHAIN=ASTAR Mainnet
POA_CHAIN=False
EVM_JSON_RPC_ENDPOINTS=https://rpc.example/v3/apikey, https://other.example:8545/
BAND_GRPC_ENDPOINTS=laozi1.bandchain.org:443,grpc.example.org:9090
BAND_RPC_ENDPOINTS=https://rpc.laozi1.bandchain.org
BAND_PROOF_URLS=https://laozi1.bandchain.org/api/oracle/proof/
BAND_PREPARE_GAS=100000
BAND_EXECUTE_GAS=400000
BAND_DS_FEE_LIMIT=48
BAND_GAS_LIMIT=800000
BAND_GAS_PRICE=0.0025
MIN_COUNT=2
ASK_COUNT=3
VRF_PROVIDER_ADDRESS=0x5FbDB2315678afecb367f032d93F642f64180aa3
VRF_LENS_ADDRESS=0xe7f1725e7734ce288f8367e1bb143e90bb3f0512
BRIDGE_ADDRESS=0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0
MAX_RELAY_PROOF_GAS=1200000
WORKER_PK=0xhunter2key
START_NONCE=7
BAND_MNEMONIC=hunter2 phrase # not part of it
DISCORD_WEBHOOK=https://discord.example/hunter2
WHITELISTED_CALLERS=0x70997970C51812dc3A010C7d01b50e0d17dc79C8, 0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc,,nobody
WORKER_FEE_BAND=0
BLOCK_DIFF=12
SUPPORT_EIP1559=True

# CloudSQL
DB_USER=vrf@worker
DB_PASSWORD=hunter2#/p
DB_HOST=10.1.2.3
DB_PORT=5432
DB_NAME=postgres

PROJECT=my-project
QUEUE=queue1
LOCATION=asia-southeast1
CLOUD_RUN_URL=https://vrf-test.a.run.app
IN_SECONDS=5
DEADLINE=60
AUDIENCE=https://vrf-test.a.run.app
SERVICE_ACCOUNT_DETAIL=vrf@my-project.iam.gserviceaccount.com
WHITELISTED_CALLER=0x1
just some words
"#;

const YAML: &str = r#"evm_chain_config:
  chain_id: "592"
  rpc_endpoint: "https://rpc.example/v3/apikey"
  vrf_provider_address: "0x5FbDB2315678afecb367f032d93F642f64180aa3"
  vrf_lens_address: "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"
  bridge_address: "0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0"
  private_key: "0xhunter2key"
  start_nonce: 7
  eip1559: false
  whitelisted_callers:
    - "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    - "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"

band_chain_config:
  grpc_endpoint: "band-v3-testnet.bandchain.org:443"
  mnemonic: "hunter2 phrase"
  min_count: 4
  ask_count: 6
  prepare_gas: 100000
  execute_gas: 400000
  ds_fee_limit: 1000000
  gas_limit: 800000
  gas_price: 0.0025
"#;

fn load(text: &str) -> (Config, VrfConfig) {
    let config = Schema::new().section::<VrfConfig>().load(&Sources::text("windlass.toml", text));
    let config = config.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    let relay = config.instances::<VrfConfig>().next().unwrap().1.clone();
    (config, relay)
}

fn settings(text: &str) -> (WorkerSettings, Vec<Note>) {
    read_env("worker.env", text).unwrap_or_else(|failure| panic!("{failure}"))
}

fn cloud() -> (WorkerSettings, Vec<Note>) {
    settings(&format!("{ENV}RUN_LOCAL=False\n"))
}

fn page(settings: &WorkerSettings, notes: &[Note], options: &RenderOptions) -> String {
    let notes: Vec<String> = notes.iter().map(|note| format!("{note}\n")).collect();
    format!("{}{}", notes.concat(), to_toml(settings, options))
}

#[test]
fn a_local_worker_0_1() {
    let (settings, notes) = settings(ENV);
    insta::assert_snapshot!(page(&settings, &notes, &RenderOptions::default()));
    let (config, relay) = load(&to_toml(&settings, &RenderOptions::default()));
    let chain = config.chain("astar-mainnet").unwrap();
    assert_eq!(
        chain.urls.iter().map(|url| url.expose().as_str()).collect::<Vec<_>>(),
        ["https://rpc.example/v3/apikey", "https://other.example:8545/"]
    );
    assert_eq!(
        relay.callers,
        [address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"), address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC")]
    );
    assert_eq!((relay.start_nonce, relay.look_back, relay.final_depth), (7, 1_000_000, 12));
    assert_eq!((relay.account.fee_mode, relay.account.gas_limit), (FeeMode::Eip1559, Some(1_200_000)));
    assert!(matches!(&relay.account.key, AccountKey::PrivateKey(key) if key.expose() == "env:WORKER_PK"));
    assert_eq!(relay.band.mnemonic.expose(), "env:BAND_MNEMONIC");
    assert_eq!((relay.band.ds_fee_limit, relay.band.gas_price.as_str()), (48, "0.0025"));
    assert_eq!(relay.band.rest[0].expose().as_str(), "https://laozi1.bandchain.org/api/oracle/proof");
    assert!(relay.trigger.is_none());
    assert_eq!(config.instances::<AlertSection>().count(), 1, "the webhook is told of alerts");
}

#[test]
fn a_worker_0_1_in_the_cloud() {
    let (settings, notes) = cloud();
    insta::assert_snapshot!(page(&settings, &notes, &RenderOptions::default()));
    let (config, relay) = load(&to_toml(&settings, &RenderOptions::default()));
    assert_eq!(config.http().listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.store().url.unwrap().expose(), "env:DATABASE_URL");
    let trigger = relay.trigger.unwrap();
    assert_eq!(trigger.name.as_deref(), Some("ASTAR Mainnet"));
    assert_eq!(trigger.audience.as_deref(), Some("https://vrf-test.a.run.app"));
    assert_eq!(trigger.webhook.unwrap().expose(), "env:DISCORD_WEBHOOK");
    let queue = trigger.queue.unwrap();
    assert_eq!(queue.parent(), "projects/my-project/locations/asia-southeast1/queues/queue1");
    assert_eq!((queue.delay, queue.deadline), (Duration::from_secs(5), Some(Duration::from_secs(60))));
    assert_eq!(config.instances::<AlertSection>().count(), 0, "the trigger tells the webhook itself");
}

#[test]
fn secrets_are_written_only_when_asked_for() {
    let (settings, notes) = cloud();
    let folder = RenderOptions { secrets: SecretStyle::Folder(PathBuf::from("/run/secrets")), ..RenderOptions::default() };
    for options in [RenderOptions::default(), folder] {
        let page = page(&settings, &notes, &options);
        assert!(!page.contains("hunter2"), "{page}");
    }
    assert!(!format!("{settings:?}").contains("hunter2"));
    let inline = to_toml(&settings, &RenderOptions { secrets: SecretStyle::Inline, ..RenderOptions::default() });
    let (config, relay) = load(&inline);
    assert!(matches!(&relay.account.key, AccountKey::PrivateKey(key) if key.expose() == "0xhunter2key"));
    assert_eq!(relay.band.mnemonic.expose(), "hunter2 phrase");
    assert_eq!(config.store().url.unwrap().expose(), "postgres://vrf%40worker:hunter2%23%2Fp@10.1.2.3:5432/postgres");
}

#[test]
fn variables_of_the_process_stay_where_they_are() {
    let process = [("WORKER_PK", "0xfrom-process"), ("START_NONCE", "9"), ("RUN_LOCAL", "False")];
    let process = process.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment = Environment::of_file(process, &parse(ENV, Comments::AfterBlank), Precedence::Environment);
    let (settings, _) = read_environment(".env", &environment).unwrap();
    let text = to_toml(&settings, &RenderOptions { secrets: SecretStyle::Process, ..RenderOptions::default() });
    let (_, relay) = load(&text);
    assert_eq!(relay.start_nonce, 9);
    assert!(matches!(&relay.account.key, AccountKey::PrivateKey(key) if key.expose() == "env:WORKER_PK"));
    // The file is known to this process only.
    assert_eq!(relay.band.mnemonic.expose(), "hunter2 phrase");
}

#[test]
fn a_worker_0_2() {
    let (settings, notes) = read_yaml("config.yaml", YAML, |_| None).unwrap();
    insta::assert_snapshot!(page(&settings, &notes, &RenderOptions::default()));
    let (config, relay) = load(&to_toml(&settings, &RenderOptions::default()));
    assert!(config.chain("chain-592").is_some_and(|chain| chain.chain_id.is_none()));
    assert_eq!((relay.look_back, relay.start_nonce, relay.account.gas_limit), (100, 7, None));
    assert_eq!((relay.account.fee_mode, relay.band.min_count, relay.band.ask_count), (FeeMode::Legacy, 4, 6));
}

#[test]
fn variables_win_over_the_yaml() {
    let variable = |name: &str| match name {
        "EVM_PRIVATE_KEY" => Some("0xother".to_owned()),
        "BAND_MNEMONIC" => Some(" ".to_owned()),
        _ => None,
    };
    let (settings, _) = read_yaml("config.yaml", YAML, variable).unwrap();
    assert_eq!(settings.key.value.unwrap().expose(), "0xother");
    assert_eq!(settings.mnemonic.value.unwrap().expose(), "hunter2 phrase");
}

#[test]
fn yaml_is_read_as_people_write_it() {
    let plain = "evm_chain_config: {chain_id: 1, rpc_endpoint: https://rpc.example, eip1559: True, start_nonce:\n,\n\
                 vrf_provider_address: '0x5FbDB2315678afecb367f032d93F642f64180aa3', whitelisted_callers: }\n\
                 band_chain_config:\n  grpc_endpoint: host:443\n  gas_price: 2.5e-3\n  colour: red\n";
    let (settings, notes) = read_yaml("config.yaml", plain, |_| None).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((settings.chain.as_deref(), settings.eip1559, settings.start_nonce), (Some("1"), Some(true), 0));
    assert_eq!((settings.gas_price.as_str(), settings.ds_fee_limit), ("0.0025", 48));
    assert!(settings.key.value.is_none() && settings.callers.is_empty());
    let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
    assert!(notes.contains(&"note: config.yaml:7: colour: no worker knew this key, so it has no effect".to_owned()), "{notes:?}");
}

#[test]
fn mistakes_are_told_with_place_rule_and_remedy() {
    let wrong_env = "CHAIN=<CHAIN_NAME>\nEVM_JSON_RPC_ENDPOINTS=rpc.example/secretkey\nVRF_PROVIDER_ADDRESS=0x5fbDB2315678afecb367f032d93F642f64180aa3\n\
                     VRF_LENS_ADDRESS=0x0000000000000000000000000000000000000000\nBRIDGE_ADDRESS=0x12\nSTART_NONCE=-1\nMIN_COUNT=two\n\
                     BAND_GAS_PRICE=cheap\nBAND_GRPC_ENDPOINTS=a:b:c\nRUN_LOCAL=False\nHOST=everywhere\nPORT=808080\nDB_HOST=10.0.0.1\n";
    let wrong_yaml = "evm_chain_config:\n  rpc_endpoint: \"ftp://x\"\n  eip1559: maybe\nband_chain_config:\n  grpc_endpoint: \"\"\n  mnemonic: hunter2\n  gas_price: -1\n";
    let cases = [
        ("env", read_env("worker.env", wrong_env)),
        ("empty env", read_env("worker.env", "")),
        ("yaml", read_yaml("config.yaml", wrong_yaml, |_| None)),
        ("empty yaml", read_yaml("config.yaml", "", |_| None)),
        ("no yaml", read_yaml("config.yaml", "evm_chain_config:\n  private_key: \"hunter2\n", |_| None)),
        ("a list", read_yaml("config.yaml", "evm_chain_config:\n  private_key: [hunter2]\n", |_| None)),
        ("twice", read_yaml("config.yaml", "evm_chain_config:\n  private_key: hunter2\n  private_key: hunter2\n", |_| None)),
    ];
    let mut page = String::new();
    for (name, outcome) in cases {
        let said = outcome.expect_err(name).to_string();
        assert!(!said.contains("hunter2") && !said.contains("secretkey"), "{said}");
        page.push_str(&format!("== {name}\n{said}\n\n"));
    }
    insta::assert_snapshot!(page);
}

#[test]
fn a_missing_file_is_told_in_the_words_of_the_former_worker() {
    let failure = from_worker_yaml(&PathBuf::from("/nowhere/config.yaml")).unwrap_err();
    assert_eq!(failure.to_string(), "/nowhere/config.yaml not found");
    assert!(matches!(failure, ImportFailure::NotFound { .. }));
}

#[test]
fn a_yaml_file_is_enough_to_start_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, YAML).unwrap();
    let imported = from_worker_yaml(&path).unwrap();
    let (_, relay) = load(&imported.toml);
    assert_eq!(imported.name, "chain-592");
    assert_eq!(relay.band.mnemonic.expose(), "hunter2 phrase");
    assert!(!format!("{imported:?}").contains("hunter2"));
}

#[test]
fn the_migration_of_0_1_to_0_2_is_the_official_one() {
    let (settings, _) = settings(ENV);
    let yaml = to_yaml(&settings, true);
    insta::assert_snapshot!(yaml);
    assert!(!to_yaml(&settings, false).contains("hunter2"));
    let (again, _) = read_yaml("output.yaml", &yaml, |_| None).unwrap();
    same(&settings, &again);
    // EIP-1559 is on unless it is switched off.
    let (settings, _) = read_env("worker.env", &ENV.replace("SUPPORT_EIP1559=True\n", "")).unwrap();
    assert!(to_yaml(&settings, true).contains("  eip1559: true\n"));
    assert!(to_toml(&settings, &RenderOptions::default()).contains("fee_mode = \"legacy\""));
}

/// What both formats can say is the same.
fn same(a: &WorkerSettings, b: &WorkerSettings) {
    assert_eq!((&a.chain, &a.rpc[0], a.provider, a.lens, a.bridge), (&b.chain, &b.rpc[0], b.provider, b.lens, b.bridge));
    assert_eq!(
        (&a.callers, a.start_nonce, &a.grpc[0], a.eip1559.unwrap_or(true)),
        (&b.callers, b.start_nonce, &b.grpc[0], b.eip1559.unwrap_or(true))
    );
    assert_eq!(
        (a.min_count, a.ask_count, a.prepare_gas, a.execute_gas),
        (b.min_count, b.ask_count, b.prepare_gas, b.execute_gas)
    );
    assert_eq!((a.ds_fee_limit, a.gas_limit, &a.gas_price), (b.ds_fee_limit, b.gas_limit, &b.gas_price));
    assert_eq!(a.key.value.as_ref().map(|key| key.expose()), b.key.value.as_ref().map(|key| key.expose()));
    assert_eq!(a.mnemonic.value.as_ref().map(|key| key.expose()), b.mnemonic.value.as_ref().map(|key| key.expose()));
}

#[test]
fn the_first_versions_had_other_names() {
    let text = "CHAIN=RINKEBY\nJSON_RPC_ENDPOINT=https://rpc.example\nBAND_RPC=laozi-testnet5.bandchain.org\nBAND_RPC_PORT=443\n\
                BAND_RPC_BLOCK=https://rpc.laozi-testnet5.bandchain.org\nBAND_PROOF_URL=https://laozi-testnet5.bandchain.org/api/oracle/proof/\n\
                VRF_PROVIDER_ADDRESS=0xd814466Bee0D793a4Ba1E90Fe275A2dE75184aB6\nRUN_LOCAL=False\nINSTANCE_HOST=10.0.0.1\nDB_USER=u\nDB_NAME=d\n";
    let (settings, _) = settings(text);
    assert_eq!(settings.grpc, ["laozi-testnet5.bandchain.org:443"]);
    assert_eq!(settings.band_rpc, ["https://rpc.laozi-testnet5.bandchain.org"]);
    assert_eq!(settings.proof_urls, ["https://laozi-testnet5.bandchain.org/api/oracle/proof"]);
    assert_eq!(settings.database.unwrap().place(), "postgres://u@10.0.0.1:5432/d");
}

#[test]
fn the_example_for_the_cloud_is_complete() {
    let text = include_str!("../../../deploy/google-cloud/.env.example");
    let (settings, notes) = settings(&format!(
        "{text}RUN_LOCAL=False\nCLOUD_RUN_URL=https://x.run.app\nAUDIENCE=https://x.run.app\nDB_HOST=10.0.0.1\nPROJECT=p\nLOCATION=l\n"
    ));
    let told: Vec<String> = notes.iter().map(ToString::to_string).collect();
    assert!(told.iter().all(|note| note.contains("vrf cloud recipe")), "{told:?}");
    let (_, relay) = load(&to_toml(&settings, &RenderOptions::default()));
    let queue = relay.trigger.unwrap().queue.unwrap();
    assert_eq!((queue.delay, queue.deadline), (Duration::from_secs(5), Some(Duration::from_secs(300))));
    assert_eq!(relay.band.ds_fee_limit, 1_000_000);
}

#[test]
fn names_of_sections() {
    for (text, name) in [
        ("ASTAR", "astar"),
        ("Astar Mainnet (592)", "astar-mainnet-592"),
        ("592", "chain-592"),
        ("", "client"),
        ("__--", "client"),
        ("Ünïcode chain", "n-code-chain"),
        ("a-very-long-name-of-a-chain-that-does-not-fit", "a-very-long-name-of-a-chain-that"),
    ] {
        assert_eq!(section_name(text), name, "{text}");
    }
}

fn args(file: PathBuf) -> ImportArgs {
    ImportArgs {
        file,
        from: None,
        to: TargetKind::Toml,
        name: None,
        inline_secrets: false,
        secrets_dir: None,
        database: None,
        output: None,
        dry_run: false,
    }
}

async fn run(arguments: &ImportArgs, json: bool) -> (u8, String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let code = import(arguments, &mut stdout, &mut stderr, json).await;
    (code, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn the_command_prints_the_configuration_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".env");
    std::fs::write(&path, ENV).unwrap();
    let (code, stdout, stderr) = run(&args(path.clone()), false).await;
    assert_eq!(code, 0, "{stderr}");
    load(&stdout);
    assert!(stderr.lines().all(|line| line.starts_with("note: ")), "{stderr}");
    let (code, stdout, _) = run(&args(path.clone()), true).await;
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, document["name"].as_str()), (0, Some("astar-mainnet")));
    load(document["text"].as_str().unwrap());
    assert!(document["notes"].as_array().unwrap().len() > 3);

    let (code, stdout, stderr) = run(&ImportArgs { to: TargetKind::Yaml, ..args(path.clone()) }, false).await;
    assert!(code == 0 && stdout.starts_with("evm_chain_config:\n") && stderr.contains("knows one endpoint"), "{stderr}");

    let (code, stdout, stderr) = run(&args(folder.path().join("missing.yaml")), false).await;
    assert!(code == 1 && stdout.is_empty() && stderr.contains("missing.yaml not found"), "{stderr}");

    // What the former worker took and this program does not.
    std::fs::write(&path, ENV.replace("ASK_COUNT=3", "ASK_COUNT=1")).unwrap();
    let (code, stdout, stderr) = run(&args(path), false).await;
    assert!(code == 1 && stdout.is_empty() && stderr.contains("must be at least min_count"), "{stderr}");
}

#[tokio::test]
async fn secrets_go_into_files_of_their_own() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".env");
    std::fs::write(&path, format!("{ENV}RUN_LOCAL=False\n")).unwrap();
    let secrets = folder.path().join("secrets");
    let output = folder.path().join("windlass.toml");
    let arguments = ImportArgs { secrets_dir: Some(secrets.clone()), output: Some(output.clone()), ..args(path) };
    let (code, stdout, stderr) = run(&ImportArgs { dry_run: true, ..arguments.clone() }, false).await;
    assert!(code == 0 && !secrets.exists() && stderr.contains("would write"), "{stderr}");
    load(&stdout);
    let (code, stdout, stderr) = run(&arguments, false).await;
    assert!(code == 0 && stdout.is_empty(), "{stderr}");
    let text = std::fs::read_to_string(&output).unwrap();
    let (config, relay) = load(&text);
    assert!(!text.contains("hunter2"));
    for (pointer, value) in [
        (relay.band.mnemonic.expose(), "hunter2 phrase"),
        (config.store().url.unwrap().expose(), "postgres://vrf%40worker:hunter2%23%2Fp@10.1.2.3:5432/postgres"),
    ] {
        let file = PathBuf::from(pointer.strip_prefix("file:").unwrap());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), value);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let (code, _, stderr) = run(&arguments, false).await;
    assert!(code == 1 && stderr.contains("nothing is overwritten"), "{stderr}");
}

async fn former_database(path: &std::path::Path, rows: &str) -> String {
    let url = format!("sqlite:{}", path.display());
    let statements = format!(
        "CREATE TABLE provider_tasks (nonce INTEGER NOT NULL, is_resolve BOOLEAN NOT NULL, time INTEGER NOT NULL, caller VARCHAR NOT NULL,\
         task_fee VARCHAR NOT NULL, seed VARCHAR NOT NULL, client_seed VARCHAR NOT NULL, resolved_block_height INTEGER,\
         fork_checked BOOLEAN NOT NULL, PRIMARY KEY (nonce)); {rows}"
    );
    // A store of our own kind is made of the tables; the reader does not care.
    let store = windlass_store::Store::open(&url).await.unwrap();
    for statement in statements.split(';').map(str::trim).filter(|text| !text.is_empty()) {
        let statement = statement.to_owned();
        store
            .write("test", move |tx| {
                Box::pin(async move {
                    tx.execute(&statement, windlass_store::params![]).await?;
                    Ok::<_, windlass_store::StoreError>(())
                })
            })
            .await
            .unwrap();
    }
    store.close().await;
    url
}

#[tokio::test]
async fn tasks_of_the_former_worker_say_where_to_begin() {
    let folder = tempfile::tempdir().unwrap();
    let seed = "ab".repeat(32);
    let caller = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    let rows = format!(
        "INSERT INTO provider_tasks VALUES (11, true, 1655972425, '{caller}', '1000000000000000000000', '{seed}', 'one', 500, true);\
         INSERT INTO provider_tasks VALUES (12, false, 1655972426, '{caller}', '5', '{seed}', '', NULL, false);\
         INSERT INTO provider_tasks VALUES (13, true, 1655972427, '{caller}', '5', '{seed}', 'x', 501, false)"
    );
    let url = former_database(&folder.path().join("vrf_worker.db"), &rows).await;
    let tasks = read_tasks(&url).await.unwrap();
    assert_eq!(tasks.len(), 3);
    assert_eq!(
        tasks[0],
        FormerTask {
            nonce: 11,
            is_resolve: true,
            time: 1_655_972_425,
            caller: caller.parse::<Address>().unwrap(),
            task_fee: "1000000000000000000000".parse().unwrap(),
            seed: seed.parse().unwrap(),
            client_seed: "one".to_owned(),
            resolved_block_height: Some(500),
            fork_checked: true,
        }
    );
    let takeover = Takeover::of(&tasks);
    assert_eq!((takeover.start_nonce(), &takeover.unresolved, &takeover.unchecked), (Some(12), &vec![12], &vec![13]));
    assert_eq!(Takeover::of(&tasks[..1]).start_nonce(), Some(11));
    assert_eq!(Takeover::default().start_nonce(), None);

    let path = folder.path().join(".env");
    std::fs::write(&path, ENV).unwrap();
    let arguments = ImportArgs { database: Some(url.parse().unwrap()), ..args(path) };
    let (code, stdout, stderr) = run(&arguments, false).await;
    assert!(code == 0 && stderr.contains("had stored 3 tasks, 1 of them not resolved; the first nonce is 12"), "{stderr}");
    assert_eq!(load(&stdout).1.start_nonce, 12);
}

#[tokio::test]
async fn a_damaged_row_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "INSERT INTO provider_tasks VALUES (3, true, 1, 'nobody', '1', 'aa', '', NULL, true)";
    let url = former_database(&folder.path().join("vrf_worker.db"), rows).await;
    let error = read_tasks(&url).await.unwrap_err();
    assert!(matches!(error, TasksError::Row { nonce: 3, column: "caller", .. }), "{error}");
    let error = read_tasks(&format!("sqlite:{}", folder.path().join("none.db").display())).await.unwrap_err();
    assert!(error.to_string().starts_with("the tasks of the former worker cannot be read"), "{error}");
}

fn value() -> impl Strategy<Value = String> {
    "[ -~]{0,24}".prop_map(|text| text.trim().to_owned())
}

proptest! {
    #[test]
    fn any_text_is_settings_or_a_list_of_mistakes(text in "(\\PC|\n){0,200}") {
        let _ = read_env("x", &text);
        let _ = read_yaml("x", &text, |_| None);
    }

    #[test]
    fn whatever_is_read_can_be_loaded(
        chain in value(), key in value(), mnemonic in value(), nonce in 0_u64..1 << 40, depth in 1_u64..1_000,
        counts in (1_u64..16, 0_u64..16), price in 0_u32..100_000, callers in prop::collection::vec(any::<[u8; 20]>(), 0..5),
    ) {
        let quoted = |text: &str| format!("'{}'", text.replace(['\'', '\\'], ""));
        let callers: Vec<String> = callers.iter().map(|bytes| Address::from(*bytes).to_string()).collect();
        let text = format!(
            "CHAIN={}\nEVM_JSON_RPC_ENDPOINTS=https://rpc.example\nVRF_PROVIDER_ADDRESS=0x5FbDB2315678afecb367f032d93F642f64180aa3\n\
             WORKER_PK={}\nBAND_MNEMONIC={}\nSTART_NONCE={nonce}\nBLOCK_DIFF={depth}\nMIN_COUNT={}\nASK_COUNT={}\nBAND_GAS_PRICE={}e-4\n\
             WHITELISTED_CALLERS={}\nRUN_LOCAL=False\nDISCORD_WEBHOOK=https://discord.example/x\n",
            quoted(&chain), quoted(&key), quoted(&mnemonic), counts.0, counts.0 + counts.1, price, callers.join(","),
        );
        let (settings, _) = read_env("x", &text).map_err(|failure| TestCaseError::fail(failure.to_string()))?;
        for secrets in [SecretStyle::Reference, SecretStyle::Inline, SecretStyle::Process] {
            let (_, relay) = load(&to_toml(&settings, &RenderOptions { secrets, ..RenderOptions::default() }));
            prop_assert_eq!(relay.callers.len(), settings.callers.len());
            prop_assert_eq!((relay.start_nonce, relay.final_depth), (nonce, depth));
            prop_assert_eq!(&relay.band.gas_price, &settings.gas_price);
        }
        let (again, _) = read_yaml("x", &to_yaml(&settings, true), |_| None).map_err(|failure| TestCaseError::fail(failure.to_string()))?;
        same(&settings, &again);
    }
}
