//! The commands over rows that the machine made, over recorded proofs, and over embedded chains.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod chains;
mod rows;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use chains::Chains;
use clap::Parser;
use rows::Rows;
use serde_json::{Value, json};
use windlass_chain::Endpoints;
use windlass_node::client::NodeClient;
use windlass_node::config::HttpSection;
use windlass_node::{NodeBuilder, PlainSecrets, Settings};
use windlass_store::Store;
use windlass_vrf::cli::{Failure, Handles, Output, RunArgs, VrfCommand, run};
use windlass_vrf::{VrfConfig, VrfService};

/// What the commands are given: of what is missing they must say so.
#[derive(Default)]
struct Given {
    config: Option<VrfConfig>,
    store: Option<Store>,
    endpoints: Option<Endpoints>,
    node: Option<NodeClient>,
}

impl Given {
    fn rows(rows: &Rows) -> Self {
        Self {
            config: Some(rows.config.clone()),
            store: Some(rows.store.clone()),
            endpoints: Some(rows.endpoints.clone()),
            node: None,
        }
    }
}

#[async_trait]
impl Handles for Given {
    async fn section(&self, name: Option<&str>) -> Result<(String, VrfConfig), Failure> {
        match (name, &self.config) {
            (None | Some("sim"), Some(config)) => Ok(("sim".to_owned(), config.clone())),
            _ => Err(Failure::usage("there is no such relay")),
        }
    }

    async fn chain(&self, _: &str) -> Result<Endpoints, Failure> {
        self.endpoints.clone().ok_or_else(|| Failure::usage("no chain was to be asked"))
    }

    async fn store(&self) -> Result<Store, Failure> {
        self.store.clone().ok_or_else(|| Failure::usage("no database was to be opened"))
    }

    async fn node(&self) -> Result<NodeClient, Failure> {
        self.node.clone().ok_or_else(|| Failure::usage("no node was to be asked"))
    }

    async fn serve(&self, _: &RunArgs) -> Result<u8, Failure> {
        Ok(42)
    }
}

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: VrfCommand,
}

struct Said {
    code: u8,
    stdout: String,
    stderr: String,
}

async fn say_as(given: &Given, line: &[&str], json: bool) -> Said {
    let line = Line::try_parse_from(["vrf"].iter().chain(line)).unwrap_or_else(|error| panic!("{error}"));
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut output = Output { stdout: &mut stdout, stderr: &mut stderr, json };
    let code = run(line.command, given, &mut output).await;
    Said { code, stdout: String::from_utf8(stdout).unwrap(), stderr: String::from_utf8(stderr).unwrap() }
}

async fn say(given: &Given, line: &[&str]) -> Said {
    say_as(given, line, false).await
}

async fn document(given: &Given, line: &[&str]) -> (u8, Value) {
    let said = say_as(given, line, true).await;
    let document = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", said.stdout, said.stderr));
    (said.code, document)
}

#[tokio::test]
async fn status_counts_and_says_why() {
    let rows = Rows::filled().await;
    let given = Given { endpoints: None, ..Given::rows(&rows) };
    let said = say(&given, &["status"]).await;
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "no endpoint is needed");
    insta::assert_snapshot!("status", said.stdout);
    let (_, found) = document(&given, &["status", "--limit", "2"]).await;
    assert_eq!(found["unfinished"], 4);
    let listed: Vec<_> = found["tasks"].as_array().unwrap().iter().map(|task| task["nonce"].as_u64().unwrap()).collect();
    assert_eq!(listed, [1, 2], "the oldest first");
    assert_eq!(found["holds"], json!({ "band_failed": 1, "consumer_reverts": 1 }));
    let said = say(&given, &["status", "--limit", "1"]).await;
    assert!(said.stderr.contains("3 more unfinished tasks"), "{}", said.stderr);
}

#[tokio::test]
async fn the_history_is_written_signed_and_checked() {
    let rows = Rows::filled().await;
    let given = Given { endpoints: None, ..Given::rows(&rows) };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (log, bent, cut) = (path("log"), path("bent"), path("cut"));
    let (code, written) = document(&given, &["audit", "write", &log]).await;
    assert_eq!(code, 0);
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(written["lines"].as_u64().unwrap() as usize, lines.len() - 2);
    assert!(lines.len() > 5, "{text}");
    let again = say(&given, &["audit", "write", &log]).await;
    assert!(again.code == 2 && again.stderr.contains("cannot write"), "{}", again.stderr);

    // Needs neither configuration nor database.
    let nobody = Given::default();
    let account = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    let (code, found) = document(&nobody, &["audit", "verify", &log, "--signer", account, "--extends", &log]).await;
    assert_eq!((code, &found["holds"], &found["head"]), (0, &json!(true), &written["head"]));
    assert_eq!(found["earlier_lines"], written["lines"]);
    let refusal = async |file: &str, more: &[&str]| {
        let said = say(&nobody, &[&["audit", "verify", file], more].concat()).await;
        (said.code, format!("{}{}", said.stdout, said.stderr))
    };
    let (code, text_of) = refusal(&log, &["--signer", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"]).await;
    assert!(code == 1 && text_of.contains("not by 0x70997970"), "{text_of}");

    // Whatever line is changed, exchanged or left out: it shows. Also when the head is made to fit.
    for place in 1..lines.len() - 1 {
        let mut other: Vec<String> = lines.iter().map(ToString::to_string).collect();
        other[place] = other[place].replacen("\"bad\":", "\"bad\": ", 1);
        std::fs::write(&bent, other.join("\n") + "\n").unwrap();
        let (code, text_of) = refusal(&bent, &[]).await;
        assert!(code == 1 && text_of.contains("was changed, added or left out"), "{text_of}");
        let (code, text_of) = refusal(&bent, &["--extends", &log]).await;
        assert!(code == 1 && text_of.contains(&format!("line {} is another one", place + 1)), "{text_of}");
        other.remove(place);
        std::fs::write(&bent, other.join("\n") + "\n").unwrap();
        assert!(refusal(&bent, &[]).await.1.contains("lines of history"));
    }
    let head = written["head"].as_str().unwrap();
    std::fs::write(&bent, text.replacen(head, &format!("{:#066x}", 1), 1)).unwrap();
    assert_eq!(refusal(&bent, &[]).await.0, 1);
    // An earlier log that knows more than this one, and files that are none.
    std::fs::write(&cut, [&lines[..lines.len() - 2], &lines[lines.len() - 1..]].concat().join("\n") + "\n").unwrap();
    assert!(refusal(&log, &["--extends", &cut]).await.0 == 0, "one line more than the earlier one");
    for (content, reason) in
        [("", "no history"), ("{}\n", "no history"), ("{}\n{}\n", "line 1"), ("abc", "cut off"), (&text[..90], "cut off")]
    {
        std::fs::write(&bent, content).unwrap();
        let (code, text_of) = refusal(&bent, &[]).await;
        assert!(code != 0 && text_of.contains(reason), "{content:?}: {text_of}");
    }
    assert!(refusal(&path("missing"), &[]).await.1.contains("cannot read"));
    let (code, text_of) = refusal(&log, &["--extends", &bent]).await;
    assert!(code == 2 && text_of.contains(&format!("{bent}: cannot read line")), "it names the file that is meant: {text_of}");
}

#[tokio::test]
async fn an_empty_database_says_what_to_do() {
    let store = Store::open("sqlite::memory:").await.unwrap();
    let config = Some(rows::config(&rows::settings("")));
    let given = Given { config, store: Some(store.clone()), ..Given::default() };
    let said = say(&given, &["status"]).await;
    assert_eq!((said.code, said.stdout.as_str()), (1, ""));
    assert!(said.stderr.contains("no relay has run on") && said.stderr.contains("windlass run"), "{}", said.stderr);
    assert_eq!(store.newest_migration("vrf").await.unwrap(), 0, "whoever looks changes nothing");
    for set in windlass_vrf::migrations() {
        store.migrate(set).await.unwrap();
    }
    let said = say(&given, &["inspect", "1", "--offline"]).await;
    assert!(said.code == 1 && said.stderr.contains("nothing is stored about the provider"), "{}", said.stderr);
}

#[tokio::test]
async fn inspect_tells_the_whole_story() {
    let rows = Rows::filled().await;
    let given = Given { endpoints: None, ..Given::rows(&rows) };
    for nonce in ["0", "2"] {
        let said = say(&given, &["inspect", nonce, "--offline"]).await;
        assert_eq!((said.code, said.stderr.as_str()), (0, ""));
        insta::assert_snapshot!(format!("inspect_{nonce}"), said.stdout);
    }
    let (_, trace) = document(&given, &["inspect", "0", "--offline"]).await;
    assert_eq!((&trace["state"], &trace["provider"]), (&json!("resolved"), &Value::Null));
    assert_eq!(trace["requests"][0]["id"], 900);
    assert_eq!(trace["relays"][0]["state"], "final");
    assert!(trace["relays"][0]["history"].as_array().unwrap().len() >= 4);
    let unknown = say(&given, &["inspect", "77"]).await;
    assert!(unknown.code == 1 && unknown.stderr.contains("nothing is stored about task 77"), "{}", unknown.stderr);
    assert_eq!(say(&given, &["inspect", "18446744073709551615"]).await.code, 1, "no row has such a number");
}

#[tokio::test]
async fn inspect_shows_what_is_stored_when_nobody_answers() {
    let rows = Rows::filled().await;
    // Nothing stands at the provider's address of this chain.
    let said = say(&Given::rows(&rows), &["inspect", "1"]).await;
    assert_eq!(said.code, 0);
    assert!(said.stdout.contains("band_included") && said.stderr.contains("the provider was not asked"), "{}", said.stderr);
}

#[tokio::test]
async fn what_changes_a_task_needs_the_running_node() {
    let rows = Rows::filled().await;
    let nobody = NodeClient::new("http://127.0.0.1:1".parse().unwrap(), None).unwrap();
    let given = Given { node: Some(nobody), ..Given::rows(&rows) };
    for line in [&["retry", "3", "--request-again"][..], &["give-up", "3", "--reason", "over"]] {
        let said = say(&given, line).await;
        assert_eq!((said.code, said.stdout.as_str()), (3, ""));
        assert!(
            said.stderr.contains("no node answers at http://127.0.0.1:1") && said.stderr.contains("windlass run"),
            "{}",
            said.stderr
        );
    }
    let said = say(&given, &["retry", "3", "--url", "ftp://127.0.0.1"]).await;
    assert!(said.code == 2 && said.stderr.contains("http://"), "{}", said.stderr);
    assert!(Line::try_parse_from(["vrf", "give-up", "3"]).is_err(), "a reason must be given");
    let said = say(&given, &["retry", "3", "--relay", "other"]).await;
    assert_eq!(said.code, 2);
}

#[tokio::test]
async fn the_nodes_own_words_are_passed_on() {
    let rows = Rows::filled().await;
    let band = windlass_vrf::service::band_client(&rows.config.band, 1).unwrap();
    let (config, endpoints) = (rows.config.clone(), rows.endpoints.clone());
    let service = VrfService::new("sim", config, endpoints, Arc::new(band), rows.store.clone());
    let http = HttpSection { listen: "127.0.0.1:0".parse().unwrap(), ..HttpSection::default() };
    let settings = Settings { http, ..Settings::default() };
    let builder = NodeBuilder::with_store(settings, rows.store.clone(), Arc::new(PlainSecrets)).await.unwrap();
    let node = builder.service(Arc::new(service)).build().await.unwrap();
    let (url, stop) = (format!("http://{}", node.address().unwrap()), node.shutdown_token());
    let running = tokio::spawn(node.run_until(std::future::pending()));
    let given = Given::rows(&rows);
    let said = say(&given, &["retry", "0", "--url", &url]).await;
    assert_eq!((said.code, said.stdout.as_str()), (1, ""));
    assert!(said.stderr.contains("task 0: answered"), "{}", said.stderr);
    let said = say(&given, &["give-up", "77", "--reason", "over", "--url", &url]).await;
    assert!(said.code == 1 && said.stderr.contains("nothing is stored about task 77"), "{}", said.stderr);
    // With both given no configuration is needed.
    let said = say(&Given::default(), &["retry", "2", "--relay", "other", "--url", &url]).await;
    assert!(said.code == 1 && said.stderr.contains("runs no relay other"), "{}", said.stderr);
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn starting_like_the_original_worker_is_the_programs_task() {
    assert_eq!(say(&Given::default(), &["run", "--env"]).await.code, 42);
}

fn vectors(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/vectors/vrf").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file: Value = serde_json::from_str(&text).unwrap();
    file["cases"].as_array().unwrap().clone()
}

/// What a vector says of a method: `accepted`, or the reason.
fn expected(outcome: &Value) -> String {
    if outcome["ok"] == true {
        return "accepted".to_owned();
    }
    let revert = &outcome["revert"];
    match revert["kind"].as_str().unwrap() {
        "Panic(uint256)" => format!("Panic({:#04x})", revert["code"].as_u64().unwrap()),
        "Error(string)" => revert["reason"].as_str().unwrap().to_owned(),
        _ => "malformed ABI encoding (reverts without data)".to_owned(),
    }
}

#[tokio::test]
async fn verify_proof_gives_the_bridges_verdict_on_recorded_proofs() {
    let folder = tempfile::tempdir().unwrap();
    let (proof, validators) = (folder.path().join("proof.hex"), folder.path().join("validators.json"));
    let (mut accepted, mut refused) = (0, 0);
    for case in vectors("bridge_proofs.json") {
        let Some(outcome) = case.get("verifyOracleResult") else { continue };
        // Nothing at all is no proof, and told before it is judged.
        let Some(digits) = case["proof"].as_str().filter(|digits| *digits != "0x") else { continue };
        std::fs::write(&proof, digits).unwrap();
        std::fs::write(&validators, case["validators"].to_string()).unwrap();
        let (proof, validators) = (proof.to_str().unwrap(), validators.to_str().unwrap());
        let chain_id = case["chain_id"].as_str().unwrap();
        let layout = case["layout"].as_str().unwrap();
        let line = ["verify-proof", proof, "--validators", validators, "--chain-id", chain_id, "--layout", layout];
        let (code, report) = document(&Given::default(), &line).await;
        let note = case["note"].as_str().unwrap_or_default();
        assert_eq!(report["verify_oracle_result"], expected(outcome), "{note}");
        assert_eq!(code, u8::from(outcome["ok"] != true), "{note}");
        if let Some(relayed) = case.get("relayAndVerify") {
            let said = report["relay_and_verify"].as_str().unwrap();
            let reason = expected(relayed);
            assert!(said == reason || said.starts_with(&format!("{reason} (")), "{note}: {said} for {reason}");
        }
        if outcome["ok"] == true {
            accepted += 1;
            assert_eq!(report["trimmed"]["verify_oracle_result"], "accepted", "{note}");
            assert!(report["trimmed"]["length"].as_u64() <= report["length"].as_u64(), "{note}");
            // Without being told, the layout is found out from the signers.
            let (code, found) = document(&Given::default(), &line[..6]).await;
            assert_eq!((code, &found["layout"]), (0, &case["layout"]), "{note}");
        } else {
            refused += 1;
        }
    }
    assert!(accepted >= 5 && refused >= 5, "{accepted} accepted, {refused} refused");
}

#[tokio::test]
async fn verify_proof_says_what_is_proven() {
    let case = vectors("bridge_proofs.json").into_iter().find(|case| case["note"] == "all validators sign, round 0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (answer, raw, validators, trimmed) = (at("answer.json"), at("proof.bin"), at("validators.json"), at("trimmed.hex"));
    let digits = case["proof"].as_str().unwrap().trim_start_matches("0x").to_uppercase();
    std::fs::write(&answer, json!({ "height": "5", "result": { "evm_proof_bytes": digits, "proof": {} } }).to_string()).unwrap();
    std::fs::File::create(&raw).unwrap().write_all(&alloy_primitives::hex::decode(&digits).unwrap()).unwrap();
    std::fs::write(&validators, case["validators"].to_string()).unwrap();
    let chain_id = case["chain_id"].as_str().unwrap();
    let tail = ["--validators", validators.as_str(), "--chain-id", chain_id];
    let said =
        say(&Given::default(), &[&["verify-proof", answer.as_str(), "--trimmed", trimmed.as_str()][..], &tail].concat()).await;
    assert_eq!(said.code, 0);
    insta::assert_snapshot!("verify_proof", said.stdout);
    let again = say(&Given::default(), &[&["verify-proof", raw.as_str()][..], &tail].concat()).await;
    assert_eq!(again.stdout, said.stdout, "raw bytes are the same proof");
    let (code, of_trimmed) = document(&Given::default(), &[&["verify-proof", trimmed.as_str()][..], &tail].concat()).await;
    assert_eq!((code, of_trimmed["length"].as_u64()), (0, of_trimmed["trimmed"]["length"].as_u64()), "nothing is left to trim");
    // Another chain's votes: strangers are recovered, and it is said.
    let said =
        say(&Given::default(), &["verify-proof", answer.as_str(), "--validators", validators.as_str(), "--chain-id", "other"])
            .await;
    assert!(said.code == 1 && said.stdout.contains("REFUSED") && said.stdout.contains("no signer is known"), "{}", said.stdout);
    let said = say(&Given::default(), &[&["verify-proof", validators.as_str()][..], &tail].concat()).await;
    assert!(said.code == 1 && said.stdout.is_empty() && said.stderr.contains("cannot read"), "{}", said.stderr);
}

/// Contracts on both embedded chains, deployed by the command itself.
async fn deployed(chains: &Chains) -> (Given, Value) {
    let store = Store::open(&format!("sqlite:{}", chains.path("store.db"))).await.unwrap();
    let given = Given { store: Some(store), endpoints: Some(chains.endpoints.clone()), ..Given::default() };
    let (key, rpc) = (format!("file:{}", chains.key_file), chains.band.rpc_url());
    let line = ["deploy-dev", "--rpc-url", &chains.url, "--key", &key, "--band-rpc", &rpc, "--oracle-script-id", "43"];
    let (code, planned) = document(&given, &[&line[..], &["--dry-run"]].concat()).await;
    assert_eq!((code, &planned["deployed"], &planned["validators"]), (0, &Value::Null, &json!(4)));
    assert_eq!(chains.nonce(chains.account(0)).await, 0, "a dry run sends nothing");
    let (code, view) = document(&given, &line).await;
    assert_eq!((code, &view["band_chain_id"]), (0, &json!("windlass-band-1")));
    let (_, again) = document(&given, &line).await;
    assert_eq!(again["deployed"], view["deployed"], "the same name is the same deployment");
    let address = |name: &str| view["deployed"][name].as_str().unwrap().parse().unwrap();
    let config = chains.config(address("provider"), address("lens"), &[address("consumer")]);
    (Given { config: Some(config), ..given }, view["deployed"].clone())
}

#[tokio::test]
async fn contracts_are_deployed_checked_and_watched() {
    let chains = Chains::new().await;
    let (given, contracts) = deployed(&chains).await;
    // The Band account has no coins yet.
    let (code, view) = document(&given, &["check"]).await;
    let wrong: Vec<_> = view["findings"].as_array().unwrap().iter().filter(|one| one["mark"] == "wrong").collect();
    assert_eq!((code, wrong.len(), &wrong[0]["subject"]), (1, 1, &json!("Band account")), "{view:#}");
    let config = given.config.clone().unwrap();
    chains.band.fund(&windlass_vrf::service::band_key(&config).await.unwrap().address, 5_000_000_000);
    let said = say(&given, &["check"]).await;
    assert_eq!(said.code, 0, "{}", said.stdout);
    for part in ["relay sim: ok", "nodes and Bridge agree on windlass-band-1", "reads this provider", "holds 5000000000 uband"] {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
    assert!(!said.stdout.contains("junk"), "no phrase is shown");

    let said = say(&given, &["drift"]).await;
    assert_eq!(said.code, 0);
    assert!(said.stdout.contains("exactly the validators that sign now"), "{}", said.stdout);
    chains.band.chain_mut().rotate_validators(1);
    chains.band.advance_by(3);
    let (code, drift) = document(&given, &["drift"]).await;
    assert_eq!((code, &drift["bridge"], &drift["can_relay"]), (0, &contracts["bridge"], &json!(true)), "three of four are known");
    let kinds: Vec<_> = drift["differences"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["gone", "unknown"]);
    chains.band.chain_mut().rotate_validators(2);
    chains.band.advance_by(3);
    let said = say(&given, &["drift"]).await;
    assert_eq!(said.code, 1);
    assert!(said.stdout.contains("blocks are refused") && said.stderr.contains("refuses every block"), "{}", said.stdout);
    let (code, view) = document(&given, &["check"]).await;
    assert_eq!((code, &view["ok"]), (1, &json!(false)));
}

#[tokio::test]
async fn a_proof_of_the_chain_is_judged_by_the_bridge_of_the_chain() {
    let chains = Chains::new().await;
    let (given, contracts) = deployed(&chains).await;
    let config = given.config.clone().unwrap();
    let task = chains.request(config.provider, "a seed").await;
    let proof = chains.prove(&config, &task, chains.account(0)).await;
    let file = chains.path("proof");
    std::fs::write(&file, &proof).unwrap();
    let (code, report) = document(&given, &["verify-proof", &file]).await;
    assert_eq!(
        (code, &report["layout"], &report["on_chain"]["method"]),
        (0, &json!("v3"), &json!("verifyOracleResult")),
        "{report:#}"
    );
    assert_eq!((&report["on_chain"]["bridge"], &report["on_chain"]["accepted"]), (&contracts["bridge"], &json!(true)));
    assert_eq!((&report["result"]["seed"], &report["result"]["worker"]), (&json!(task.seed), &json!(chains.account(0))));
    let mut damaged = proof.to_vec();
    let place = damaged.len() - 1;
    damaged[place] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    let (code, report) = document(&given, &["verify-proof", &file]).await;
    assert_eq!((code, &report["accepted"]), (1, &json!(false)));
    let (here, there) = (&report["verify_oracle_result"], &report["on_chain"]["refusal"]);
    assert!(there.as_str().unwrap().contains(here.as_str().unwrap()), "the same reason: {here} and {there}");
}

#[tokio::test]
async fn deploy_dev_wants_to_know_where_and_for_whom() {
    let given = Given::default();
    let said = say(&given, &["deploy-dev", "--key", "env:NONE", "--band-rpc", "http://127.0.0.1:1"]).await;
    assert!(said.code == 2 && said.stderr.contains("--chain or --rpc-url"), "{}", said.stderr);
    assert!(Line::try_parse_from(["vrf", "deploy-dev", "--key", "env:NONE", "--chain", "sim"]).is_err(), "no validators");
    assert!(Line::try_parse_from(["vrf", "verify-proof", "x", "--validators", "y"]).is_err(), "no chain id");
}
