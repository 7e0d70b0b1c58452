//! The program as its operators use it: real processes, a real chain over HTTP, files, signals, `kill -9`.
//!
//! Runs on our embedded chain; with `WINDLASS_E2E_CHAIN=anvil` on the `anvil` that `WINDLASS_ANVIL` names.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod relay;
mod support;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use support::{Chain, Guarded, Node, deploy_agreement, eventually, run, run_ok, windlass};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn write_config(folder: &Path, chain: &Chain, contract: &str, guarded: &Guarded, store: Option<&str>) {
    let store = store.map(|url| format!("[store]\nurl = \"{url}\"\n")).unwrap_or_default();
    let text = format!(
        "{store}[chain.local]\nurls = [\"{url}\"]\nchain_id = 31337\n\n\
         [payer.keyper]\nchain = \"local\"\ncontract = \"{contract}\"\npoll_interval = \"100ms\"\nconfirm_time = \"0s\"\n\
         settle = \"0s\"\nresume = true\nwarn_before = []\n\n\
         [payer.keyper.signal]\npid_file = {pid:?}\nresume = {resume:?}\n\n\
         [payer.keyper.account]\nprivate_key = \"file:key\"\nconfirmations = 1\n",
        url = chain.url,
        pid = guarded.pid_file.display().to_string(),
        resume = guarded.shell_line(),
    );
    std::fs::write(folder.join("windlass.toml"), text).unwrap();
}

#[tokio::test]
async fn an_agreement_from_deployment_to_resumption_with_a_crash_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let chain = Chain::start(folder).await;
    let contract = deploy_agreement(folder, &chain, now());
    let guarded = Guarded::start(folder);
    write_config(folder, &chain, &contract, &guarded, None);
    let checked = run_ok(folder, &["config", "check", "--online"]);
    assert!(checked.contains("ok     chain.local: chain id 31337") && checked.contains("ok     payer.keyper"), "{checked}");

    run_ok(folder, &["payer", "pay", "--until", "+1h"]);
    let mut node = Node::start(folder, "windlass.toml").await;
    eventually("paid", || async { node.status("/health/paid/keyper").await == Some(200) }).await;
    assert!(guarded.runs());

    // The node dies, the payment lapses while it is away, and the next one stops the program.
    node.process.kill_9();
    chain.pass(7_200).await;
    chain.pass(1).await;
    let mut node = Node::start(folder, "windlass.toml").await;
    eventually("the program to be stopped", || async {
        chain.pass(1).await;
        !guarded.runs()
    })
    .await;
    eventually("unpaid", || async { node.status("/health/paid/keyper").await == Some(402) }).await;

    // It dies again; nothing is repeated, and payment brings the program back once.
    node.process.kill_9();
    let node = Node::start(folder, "windlass.toml").await;
    run_ok(folder, &["payer", "pay", "--until", &(now() + 20_000).to_string()]);
    chain.pass(1).await;
    eventually("the program to run again", || async { guarded.runs() }).await;
    eventually("paid again", || async { node.status("/health/paid/keyper").await == Some(200) }).await;
    assert_eq!(guarded.started(), 2, "started by the test and once by the node");
    let status = run_ok(folder, &["status", "--url", &node.base]);
    assert!(status.contains("payer.keyper") && status.contains("ready"), "{status}");
}

#[tokio::test]
async fn a_stop_is_in_order_and_a_backup_brings_everything_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let chain = Chain::start(folder).await;
    let contract = deploy_agreement(folder, &chain, now() + 3_600);
    let guarded = Guarded::start(folder);
    write_config(folder, &chain, &contract, &guarded, None);
    let mut node = Node::start(folder, "windlass.toml").await;
    eventually("ready", || async { node.status("/health/ready").await == Some(200) }).await;
    run_ok(folder, &["backup", "copy.backup"]);
    let second = run(folder, &["backup", "copy.backup"]);
    assert!(!second.status.success(), "a backup never replaces a file");
    node.process.signal(Signal::SIGTERM);
    assert!(node.process.wait().success());
    run_ok(folder, &["restore", "copy.backup", "--store", "sqlite:restored.db"]);
    run_ok(folder, &["export", "exported", "--store", "sqlite:restored.db"]);
    assert!(folder.join("exported").read_dir().unwrap().count() > 3);
}

#[test]
fn the_demonstration_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let printed = run_ok(folder.path(), &["demo", "--once", "--json"]);
    let steps: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert!(steps.as_array().unwrap().len() >= 6, "{printed}");
}

#[test]
fn a_fresh_phrase_and_its_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let printed = run_ok(folder.path(), &["keys", "new", "--words", "24", "--count", "5", "--json"]);
    let wallet: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let phrase = wallet["phrase"].as_str().unwrap();
    assert_eq!(phrase.split(' ').count(), 24);
    assert_eq!(wallet["addresses"].as_array().unwrap().len(), 5);
    // The phrase gives the same addresses again, from where a phrase should be kept.
    let file = folder.path().join("phrase");
    std::fs::write(&file, phrase).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let again = run_ok(folder.path(), &["keys", "derive", "--phrase", "file:phrase", "--count", "5", "--json"]);
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    assert_eq!(wallet["addresses"], again["addresses"]);
    for coin in ["bitcoin", "cosmos", "band"] {
        let printed = run_ok(folder.path(), &["keys", "new", "--coin", coin]);
        assert_eq!(printed.lines().next().unwrap().split(' ').count(), 24, "{printed}");
    }
    let refused = run(folder.path(), &["keys", "derive", "--phrase", phrase]);
    assert!(!refused.status.success());
    assert!(!String::from_utf8_lossy(&refused.stderr).contains(phrase), "a secret is never repeated");
}

#[test]
fn every_error_of_a_configuration_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "[store]\nulr = \"sqlite:x\"\n[chain.a]\nurls = []\n[payer.p]\nchain = \"b\"\ncontract = \"0x12\"\ngrace = \"soon\"\n";
    std::fs::write(folder.path().join("windlass.toml"), text).unwrap();
    let output = run(folder.path(), &["config", "check"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for expected in
        ["windlass.toml:2:", "did you mean", "windlass.toml:4:", "windlass.toml:6:", "windlass.toml:7:", "windlass.toml:8:"]
    {
        assert!(stderr.contains(expected), "`{expected}` is missing in\n{stderr}");
    }
    // The same from `run`: nothing is begun.
    assert_eq!(run(folder.path(), &["run"]).status.code(), Some(2));
    assert!(!folder.path().join("windlass-data").exists());
}

#[test]
fn a_configuration_for_a_service_is_written_and_then_found_wanting() {
    let folder = tempfile::tempdir().unwrap();
    run_ok(folder.path(), &["init", "payer", "--name", "gnosis", "--out", "windlass.toml"]);
    let again = run(folder.path(), &["init", "payer", "--out", "windlass.toml"]);
    assert!(!again.status.success(), "an existing file is never replaced");
    assert_eq!(run(folder.path(), &["init", "payer", "--name", "Bad.Name"]).status.code(), Some(2));
    // The file is whole; only the chain can say what in it is wrong.
    let output = run_ok(folder.path(), &["config", "check"]);
    assert!(output.contains("payer.gnosis"), "{output}");
    std::fs::write(folder.path().join("dead.toml"), dead_chain()).unwrap();
    let output = run(folder.path(), &["--config", "dead.toml", "config", "check", "--online"]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A configuration whose only endpoint does not answer.
fn dead_chain() -> String {
    "[chain.a]\nurls = [\"http://127.0.0.1:1\"]\n[payer.p]\nchain = \"a\"\n\
     contract = \"0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC\"\n"
        .to_owned()
}

/// The exit code says whose turn it is: the user's (2) or time's (3). Nothing is made where nothing was.
#[test]
fn mistakes_and_absences_have_their_codes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), "[node]\nfrob = 1\n").unwrap();
    std::fs::create_dir(folder.path().join("full")).unwrap();
    std::fs::write(folder.path().join("full/file"), "x").unwrap();
    for (arguments, code, word) in [
        (&["status", "--url", "http://127.0.0.1:1"][..], 3, "no node answers at http://127.0.0.1:1"),
        (&["status", "--url", "ftp://secret@host"], 2, "http://"),
        (&["keys", "new", "--words", "13"], 2, "12, 15, 18, 21 or 24"),
        (&["backup", "b.db"], 2, "there is no database"),
        (&["export", "folder"], 2, "there is no database"),
        (&["keys", "sign-once", "export", "--out", "promises"], 2, "there is no database"),
        (&["--config", "none.toml", "config", "check"], 2, "none.toml\n"),
        (&["--set", "node.frob=1", "config", "check"], 2, "config show"),
        (&["--config", "bad.toml", "payer", "status"], 2, "bad.toml:2:1"),
        (&["payer", "status"], 2, "no agreement"),
        (&["demo", "--once", "--keep", "full"], 2, "not empty"),
    ] {
        let output = run(folder.path(), arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(word), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("secret"), "{stderr}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["bad.toml", "full"]);
}

#[test]
fn a_time_that_cannot_be_understood_is_a_mistake_of_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let contract = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
    let output =
        run(folder.path(), &["payer", "quote", "--contract", contract, "--rpc-url", "http://127.0.0.1:1", "--until", "tomorrow"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("tomorrow") && stderr.contains("a span from now such as +30d"), "{stderr}");
}

#[test]
fn an_unreachable_endpoint_ends_the_monitor_with_its_own_code() {
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let output = windlass(folder.path())
        .args(["payer", "monitor"])
        .env("RPC_URL", "http://127.0.0.1:1")
        .env("CONTRACT_ADDRESS", "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC")
        .env("UNPAID_COMMAND", "touch ran")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(!folder.path().join("ran").exists());
    assert!(begun.elapsed() < Duration::from_secs(30));
}

/// Two instances share one PostgreSQL: exactly one acts, and when it is killed the other acts within ten seconds.
#[tokio::test]
async fn of_two_instances_one_acts_and_the_other_takes_over() {
    let Ok(server) = std::env::var("WINDLASS_TEST_POSTGRES") else { return };
    let database = TestDatabase::create(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let chain = Chain::start(folder).await;
    let contract = deploy_agreement(folder, &chain, now());
    let guarded = Guarded::start(folder);
    write_config(folder, &chain, &contract, &guarded, Some(&database.url));
    run_ok(folder, &["payer", "pay", "--until", "+1h"]);
    let first = Node::start(folder, "windlass.toml").await;
    eventually("the first to lead", || async { first.get("/v1/status").await.contains("\"role\":\"active\"") }).await;
    let second = Node::start(folder, "windlass.toml").await;
    assert!(second.get("/v1/status").await.contains("\"role\":\"standby\""));

    let mut first = first;
    first.process.kill_9();
    let killed = Instant::now();
    chain.pass(7_200).await;
    eventually("the second to act", || async {
        chain.pass(1).await;
        !guarded.runs()
    })
    .await;
    assert!(killed.elapsed() < Duration::from_secs(10), "took {:?}", killed.elapsed());
    assert!(second.get("/v1/status").await.contains("\"role\":\"active\""));
    assert_eq!(guarded.started(), 1);
    drop(second);
    database.drop().await;
}

/// A database of its own on the test server.
struct TestDatabase {
    server: String,
    name: String,
    url: String,
}

impl TestDatabase {
    async fn create(server: &str) -> Self {
        let name = format!("windlass_e2e_{}", std::process::id());
        Self::execute(server, &format!("CREATE DATABASE {name}"));
        let mut url: url::Url = server.parse().unwrap();
        url.set_path(&name);
        Self { server: server.to_owned(), url: url.to_string(), name }
    }

    fn execute(server: &str, statement: &str) {
        let status = std::process::Command::new("psql").args([server, "--quiet", "--command", statement]).status().unwrap();
        assert!(status.success(), "{statement}");
    }

    async fn drop(self) {
        Self::execute(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}
