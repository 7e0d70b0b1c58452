//! The commands of payers and keypers on the development chain.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use alloy_primitives::U256;
use clap::Parser as _;
use common::{KEY, World};
use serde_json::{Value, json};
use windlass_chain::Endpoints;
use windlass_payer::cli::{Handles, Output, PayerCommand, run};
use windlass_payer::protocol::abi;
use windlass_payer::{PayerConfig, PayerError};
use windlass_store::Store;
use windlass_store::testing::{TestStore, sqlite};

#[derive(clap::Parser)]
struct Line {
    #[command(subcommand)]
    command: PayerCommand,
}

struct Desk {
    world: World,
    store: TestStore,
    config: PayerConfig,
}

#[async_trait::async_trait]
impl Handles for Desk {
    async fn section(&self, name: Option<&str>) -> Result<(String, PayerConfig), PayerError> {
        assert!(name.is_none_or(|name| name == "test"));
        Ok(("test".into(), self.config.clone()))
    }

    async fn chain(&self, name: &str) -> Result<Endpoints, PayerError> {
        assert_eq!(name, "devnet");
        Ok(self.world.endpoints.clone())
    }

    async fn store(&self) -> Result<Store, PayerError> {
        Ok(self.store.store.clone())
    }
}

struct Said {
    code: u8,
    stdout: String,
    stderr: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }
}

impl Desk {
    async fn new() -> Self {
        let world = World::new().await;
        let key = "[payer.test.account]\nprivate_key = \"0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80\"\n\
                   confirmations = 1\n";
        let config = world.config(key);
        Self { world, store: sqlite().await, config }
    }

    async fn run(&self, arguments: &[&str]) -> Said {
        let (json, rest): (Vec<&str>, Vec<&str>) = arguments.iter().partition(|one| **one == "--json");
        let json = !json.is_empty();
        let line = Line::try_parse_from(std::iter::once("payer").chain(rest)).unwrap();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let code = run(line.command, self, &mut Output { stdout: &mut stdout, stderr: &mut stderr, json }).await;
        Said { code, stdout: String::from_utf8(stdout).unwrap(), stderr: String::from_utf8(stderr).unwrap() }
    }

    async fn total_paid(&self) -> u64 {
        let status = self.run(&["status", "--json"]).await.json();
        status["total_paid"].as_str().unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn status_tells_state_and_shares() {
    let desk = Desk::new().await;
    desk.world.pay(1_000).await;
    desk.world.transact(desk.world.accounts[1], Some(desk.world.contract), abi::withdraw()).await;
    let stray = desk.world.transfer_data(desk.world.contract, 7);
    desk.world.transact(desk.world.accounts[0], Some(desk.world.token), stray).await;
    let said = desk.run(&["status", "--json"]).await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    let status = said.json();
    assert_eq!((status["state"].as_str(), status["stray"].as_str()), (Some("paid"), Some("7")));
    assert_eq!(status["paid_until"], desk.world.start + 100);
    let first = status["keypers"].as_array().unwrap().iter().find(|k| k["keyper"] == json!(desk.world.accounts[1])).unwrap();
    assert_eq!(
        (first["earned"].as_str(), first["withdrawn"].as_str(), first["held"].as_str()),
        (Some("500"), Some("500"), Some("0"))
    );
    desk.world.pass(200);
    let said = desk.run(&["status"]).await;
    assert_eq!(said.code, 1);
    assert!(said.stdout.contains("unpaid") && said.stderr.is_empty(), "{}{}", said.stdout, said.stderr);
}

#[tokio::test]
async fn pay_names_the_time_so_that_repeating_it_changes_nothing() {
    let desk = Desk::new().await;
    let until = (desk.world.start + 1_001).to_string();
    let quote = desk.run(&["quote", "--until", &until]).await;
    assert_eq!((quote.code, quote.stdout.as_str()), (0, "10010\n"), "{}", quote.stderr);

    let dry = desk.run(&["pay", "--until", &until, "--dry-run", "--json"]).await;
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    assert_eq!((dry.json()["approves"].as_bool(), desk.total_paid().await), (Some(true), 0));

    let limited = desk.run(&["pay", "--until", &until, "--max-amount", "10009"]).await;
    assert_eq!(limited.code, 1);
    assert!(limited.stderr.contains("more than the limit"), "{}", limited.stderr);

    let paid = desk.run(&["pay", "--until", &until]).await;
    assert_eq!(paid.code, 0, "{}", paid.stderr);
    assert_eq!(desk.total_paid().await, 10_010);
    let again = desk.run(&["pay", "--until", &until]).await;
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stdout.contains("nothing to pay"), "{}", again.stdout);
    assert_eq!(desk.total_paid().await, 10_010);

    let later = (desk.world.start + 2_000).to_string();
    let more = desk.run(&["pay", "--until", &later, "--json"]).await;
    assert_eq!(more.json()["quote"]["amount"], "9990", "{}", more.stderr);
    assert_eq!(desk.total_paid().await, 20_000);
}

#[tokio::test]
async fn pay_checks_funds_before_it_sends() {
    let desk = Desk::new().await;
    let poor = "env:WINDLASS_TEST_NO_SUCH_KEY";
    let said = desk.run(&["pay", "--until", "+10d", "--key", poor]).await;
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(said.stderr.contains("WINDLASS_TEST_NO_SUCH_KEY"), "{}", said.stderr);
    // Account 3 has coin but no tokens.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6").unwrap();
    std::os::unix::fs::PermissionsExt::set_mode(&mut std::fs::metadata(&file).unwrap().permissions(), 0o600);
    std::fs::set_permissions(&file, <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600)).unwrap();
    let key = format!("file:{}", file.display());
    let said = desk.run(&["pay", "--until", "+10d", "--key", &key]).await;
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("holds 0 token units") && said.stderr.contains("hint: send tokens"), "{}", said.stderr);
    assert!(!said.stderr.contains(KEY));
}

#[tokio::test]
async fn top_up_pays_only_when_too_little_is_left() {
    let desk = Desk::new().await;
    let first = desk.run(&["top-up", "--keep", "1000s", "--once"]).await;
    assert_eq!(first.code, 0, "{}", first.stderr);
    let paid = desk.total_paid().await;
    assert!(paid >= 10_000, "{paid}");
    let second = desk.run(&["top-up", "--keep", "1000s", "--once"]).await;
    assert_eq!((second.code, desk.total_paid().await), (0, paid), "{}", second.stderr);
}

#[tokio::test]
async fn withdraw_respects_its_bounds() {
    let desk = Desk::new().await;
    desk.world.pay(1_000).await;
    let said = desk.run(&["withdraw"]).await;
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("is not a keyper"), "{}", said.stderr);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d").unwrap();
    std::fs::set_permissions(&file, <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600)).unwrap();
    let key = format!("file:{}", file.display());
    let high = desk.run(&["withdraw", "--key", &key, "--min-amount", "501", "--json"]).await;
    assert_eq!((high.code, high.json()["below_minimum"].as_bool()), (0, Some(true)), "{}", high.stderr);
    let dear = desk.run(&["withdraw", "--key", &key, "--max-gas-price", "1 wei", "--json"]).await;
    assert!(dear.json()["gas_price_above"].is_string(), "{}", dear.stdout);
    let done = desk.run(&["withdraw", "--key", &key, "--json"]).await;
    assert_eq!((done.code, done.json()["transaction"].is_string()), (0, true), "{}", done.stderr);
    let empty = desk.run(&["withdraw", "--key", &key, "--json"]).await;
    assert_eq!(empty.json()["balance"], "0", "{}", empty.stderr);
}

#[tokio::test]
async fn export_tells_payments_withdrawals_and_stray_transfers_apart() {
    let desk = Desk::new().await;
    let world = &desk.world;
    let (payer, keyper) = (world.accounts[0], world.accounts[1]);
    world.pay(100).await;
    world.transact(payer, Some(world.token), world.transfer_data(world.contract, 50)).await;
    // Payments and a plain transfer of the same amount in one block.
    world.approve(400).await;
    world.devnet.request("evm_setAutomine", json!([false])).await.unwrap();
    world.send(payer, Some(world.contract), abi::pay(U256::from(200))).await;
    world.send(payer, Some(world.token), world.transfer_data(world.contract, 200)).await;
    world.send(payer, Some(world.contract), abi::pay(U256::from(200))).await;
    world.devnet.mine(1, 1);
    world.devnet.request("evm_setAutomine", json!([true])).await.unwrap();
    world.transact(keyper, Some(world.contract), abi::withdraw()).await;

    let said = desk.run(&["export", "--format", "json"]).await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    let found = said.json();
    let kinds: Vec<(&str, &str)> = found["movements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["kind"].as_str().unwrap(), one["amount"].as_str().unwrap()))
        .collect();
    let expected =
        [("payment", "100"), ("stray", "50"), ("payment", "200"), ("stray", "200"), ("payment", "200"), ("withdrawal", "250")];
    assert_eq!(kinds, expected);
    assert_eq!((found["payments"].as_str(), found["stray"].as_str()), (Some("500"), Some("250")));
    assert_eq!(found["complete"], true);

    let csv = desk.run(&["export"]).await;
    let lines: Vec<&str> = csv.stdout.lines().collect();
    assert_eq!(lines.len(), 7, "{}", csv.stdout);
    assert_eq!(lines[0], "kind,block,time,transaction,log_index,account,amount,credited,total_paid_after");
    assert!(lines[1].starts_with("payment,") && lines[1].ends_with(",100,100,100"), "{}", lines[1]);
}

#[tokio::test]
async fn check_finds_what_would_cost_money() {
    let desk = Desk::new().await;
    let said = desk.run(&["check", "--json"]).await;
    assert_eq!(said.code, 0, "{} {}", said.stdout, said.stderr);
    let view = said.json();
    assert_eq!(
        (view["ok"].as_bool(), view["known_code"].as_bool(), view["chain_id"].as_u64()),
        (Some(true), Some(true), Some(31337))
    );
    let world = &desk.world;
    let twice = world.agreement(vec![world.accounts[1], world.accounts[1]], world.start).await;
    let url = world.server.http_url();
    let said = desk.run(&["check", "--contract", &twice.to_string(), "--rpc-url", &url]).await;
    assert_eq!(said.code, 1);
    assert!(said.stdout.contains("is listed 2 times"), "{}", said.stdout);
    let said = desk.run(&["check", "--contract", &world.token.to_string(), "--rpc-url", &url]).await;
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("not a payer contract") && said.stderr.contains("hint:"), "{}", said.stderr);
    let said = desk.run(&["status", "--contract", &twice.to_string(), "--rpc-url", &url, "--chain-id", "1"]).await;
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("31337"), "{}", said.stderr);
}

#[tokio::test]
async fn a_fee_on_transfers_is_found_by_simulation() {
    use windlass_contracts::init_code;
    use windlass_contracts::test::FeeToken;
    use windlass_payer::checks::{Finding, token_findings};
    use windlass_payer::ports::contract::token_facts;
    let desk = Desk::new().await;
    let world = &desk.world;
    let plain = token_facts(&world.endpoints, world.token, &[]).await.unwrap();
    assert_eq!((plain.symbol.as_deref(), token_findings(&plain)), (Ok("SPT"), vec![]));
    assert_eq!(plain.transfer, Ok((U256::from(1_000_000_000), U256::from(1_000_000_000))));
    let constructor =
        FeeToken::constructorCall { name_: "Fee".into(), symbol_: "FEE".into(), decimals_: 18, feeBps_: U256::from(100) };
    let token = world.deploy(init_code(&FeeToken::BYTECODE, &constructor)).await;
    let mint = windlass_contracts::TestToken::mintCall { to: world.accounts[0], amount: U256::from(10_000) };
    world.transact(world.accounts[0], Some(token), alloy_sol_types::SolCall::abi_encode(&mint).into()).await;
    let facts = token_facts(&world.endpoints, token, &[]).await.unwrap();
    let expected = Finding::FeeOnTransfer { sent: U256::from(10_000), received: U256::from(9_900) };
    assert_eq!(token_findings(&facts), vec![expected]);
}

#[test]
fn the_command_line_refuses_nonsense() {
    for bad in [
        &["payer", "pay"][..],
        &["payer", "guard"],
        &["payer", "quote", "--until", "+1d", "--contract", "0x12"],
        &["payer", "status", "--contract", "0x5FbDB2315678afecb367f032d93F642f64180aa3"],
        &["payer", "withdraw", "--min-amount", "1.5"],
        &["payer", "withdraw", "--max-gas-price", "50"],
        &["payer", "top-up", "--keep", "30"],
    ] {
        assert!(Line::try_parse_from(bad).is_err(), "{bad:?}");
    }
}
