//! The commands of payers and keypers on the development chain.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use alloy_primitives::{Address, U256};
use clap::Parser as _;
use common::{KEY, World};
use serde_json::{Value, json};
use windlass_chain::Endpoints;
use windlass_outbox::{Intent, Outbox, OutboxConfig};
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
        Self::of(World::new().await).await
    }

    async fn of(world: World) -> Self {
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

#[tokio::test]
async fn top_up_pays_again_when_the_time_has_come() {
    let desk = Desk::new().await;
    let first = desk.run(&["top-up", "--keep", "1000s", "--once"]).await;
    assert_eq!(first.code, 0, "{}", first.stderr);
    let before = desk.total_paid().await;
    let rest = desk.run(&["top-up", "--keep", "2000s", "--below", "1500s", "--once"]).await;
    assert_eq!(rest.code, 0, "{}", rest.stderr);
    let after = desk.total_paid().await;
    assert!((before + 10_000..before + 10_100).contains(&after), "{before} {after}");

    // As a loop: a second later a second is missing again, and it goes on after a failure.
    desk.world.devnet.request("evm_setAutomine", json!([true])).await.unwrap();
    let arguments = ["top-up", "--keep", "3000s", "--below", "2999s", "--every", "1s", "--max-amount", "20000"];
    tokio::select! {
        said = desk.run(&arguments) => panic!("it ended: {} {}", said.stdout, said.stderr),
        () = common::eventually("it paid twice", || async { desk.payments().await.len() >= 4 }) => {}
    }
    let payments = desk.payments().await;
    assert!((9_900..10_200).contains(&payments[2]), "{payments:?}");
    assert!((10..500).contains(&payments[3]), "only the seconds that had passed: {payments:?}");
}

impl Desk {
    async fn payments(&self) -> Vec<u64> {
        let found = self.run(&["export", "--format", "json"]).await.json();
        let movements = found["movements"].as_array().unwrap().iter();
        movements.filter(|one| one["kind"] == "payment").map(|one| one["amount"].as_str().unwrap().parse().unwrap()).collect()
    }

    /// The outbox of the account, with nobody who sends.
    async fn outbox(&self, store: Store) -> Outbox {
        let signer = windlass_keys::KeyConfig::PrivateKey(KEY.parse().unwrap()).open().await.unwrap();
        store.migrate(&windlass_outbox::MIGRATIONS).await.unwrap();
        Outbox::open(store, self.world.endpoints.clone(), signer, OutboxConfig::for_chain("devnet")).await.unwrap()
    }
}

#[tokio::test]
async fn two_payments_at_the_same_time_pay_no_second_twice() {
    let desk = Desk::new().await;
    let (near, far) = ((desk.world.start + 1_000).to_string(), (desk.world.start + 3_000).to_string());
    let (first, second) = (["pay", "--until", &near], ["pay", "--until", &far]);
    let (one, two) = futures::join!(desk.run(&first), desk.run(&second));
    assert_eq!((one.code, two.code), (0, 0), "{} {}", one.stderr, two.stderr);
    assert_eq!(desk.total_paid().await, 30_000, "{:?}", desk.payments().await);
}

#[tokio::test]
async fn what_an_interrupted_payment_recorded_counts() {
    let desk = Desk::new().await;
    desk.world.approve(10_000).await;
    let outbox = desk.outbox(desk.store.store.clone()).await;
    let key = format!("payer/pay/{}/0/10000", desk.world.contract);
    let intent = Intent::new(key, desk.world.contract).with_data(abi::pay(U256::from(10_000))).with_confirmations(1);
    outbox.submit(intent).await.unwrap();
    let until = (desk.world.start + 3_000).to_string();
    let paid = desk.run(&["pay", "--until", &until, "--json"]).await;
    assert_eq!(paid.code, 0, "{}", paid.stderr);
    assert_eq!(paid.json()["quote"]["amount"], "20000");
    assert_eq!(desk.payments().await, [10_000, 20_000]);
}

#[tokio::test]
async fn the_sender_of_another_process_takes_over_what_is_recorded() {
    let desk = Desk::new().await;
    // Another handle on the same database file, as a daemon would have.
    let theirs = desk.store.open_again(windlass_store::testing::options()).await.unwrap();
    let daemon = desk.outbox(theirs).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let sending = tokio::spawn({
        let (daemon, stop) = (daemon.clone(), stop.clone());
        async move { daemon.run(stop).await }
    });
    common::eventually("the daemon holds the lease", || async { daemon.summary().await.unwrap().leader }).await;
    let until = (desk.world.start + 1_000).to_string();
    let started = std::time::Instant::now();
    let paid = desk.run(&["pay", "--until", &until]).await;
    let took = started.elapsed();
    assert_eq!(paid.code, 0, "{}", paid.stderr);
    assert_eq!(desk.total_paid().await, 10_000);
    let summary = daemon.summary().await.unwrap();
    assert!(summary.leader && summary.finalized == 2, "{summary:?}");
    // Two transactions, one after the other, each noticed within a third of the lease's six seconds.
    assert!(took < std::time::Duration::from_secs(15), "{took:?}");
    stop.cancel();
    sending.await.unwrap().unwrap();
}

/// Code that keeps its state as the token at `token` would, and refuses to change an allowance that is not zero into
/// another one that is not zero: `approve` reverts then, everything else is passed on.
fn strict_about_allowances(token: Address) -> Vec<u8> {
    // Slot of `allowance` in the token's storage.
    const ALLOWANCE: u8 = 4;
    let (mut code, mut jumps) = (Vec::new(), Vec::new());
    let bytes = |code: &mut Vec<u8>, hex: &str| code.extend(alloy_primitives::hex::decode(hex).unwrap());
    // calldatacopy(0, 0, calldatasize); not approve(address,uint256)? pass on
    bytes(&mut code, "3660006000376000 3560e01c63095ea7b314 1561".replace(' ', "").as_str());
    jumps.push(code.len());
    // approve(_, 0)? pass on
    bytes(&mut code, "0000576024351561");
    jumps.push(code.len());
    // slot = keccak(spender, keccak(caller, ALLOWANCE)); sload(slot) == 0? pass on
    bytes(&mut code, &format!("0000573361010052 60{ALLOWANCE:02x}61012052 604061010020 61012052").replace(' ', ""));
    bytes(&mut code, "600435610100526040610100205415 61".replace(' ', "").as_str());
    jumps.push(code.len());
    bytes(&mut code, "00005760006000fd");
    let pass = code.len();
    // delegatecall(gas, token, 0, calldatasize, 0, 0); give back what it gives back
    bytes(
        &mut code,
        &format!("5b60006000366000 73{}5af4 3d600060003e 61", alloy_primitives::hex::encode(token)).replace(' ', ""),
    );
    let ok = code.len();
    bytes(&mut code, "0000573d6000fd");
    let end = code.len();
    bytes(&mut code, "5b3d6000f3");
    for (place, target) in jumps.into_iter().map(|place| (place, pass)).chain([(ok, end)]) {
        code[place..place + 2].copy_from_slice(&u16::try_from(target).unwrap().to_be_bytes());
    }
    let mut init = vec![0x61];
    init.extend(u16::try_from(code.len()).unwrap().to_be_bytes());
    bytes(&mut init, "80600c6000396000f3");
    init.extend(code);
    init
}

#[tokio::test]
async fn a_token_that_wants_the_old_allowance_taken_back_is_paid() {
    let mut world = World::new().await;
    world.token = world.deploy(strict_about_allowances(world.token).into()).await;
    world.mint(world.accounts[0], 1_000_000).await;
    world.contract = world.agreement(vec![world.accounts[1], world.accounts[2]], world.start).await;
    world.approve(77).await;
    let refused = abi::approve(world.contract, U256::from(78));
    let sent = world.send(world.accounts[0], Some(world.token), refused).await;
    let receipt = world.devnet.request("eth_getTransactionReceipt", json!([sent])).await.unwrap();
    assert_eq!(receipt["status"], "0x0", "the token of this test is not strict");
    let desk = Desk::of(world).await;
    let until = (desk.world.start + 1_000).to_string();
    let dry = desk.run(&["pay", "--until", &until, "--dry-run", "--json"]).await.json();
    assert_eq!((&dry["approves"], &dry["resets"]), (&json!(true), &json!(true)));
    let paid = desk.run(&["pay", "--until", &until, "--json"]).await;
    assert_eq!(paid.code, 0, "{}", paid.stderr);
    assert_eq!(paid.json()["transactions"].as_array().unwrap().len(), 3);
    assert_eq!(desk.payments().await, [10_000]);
    // The allowance was used up, so the next payment needs no reset.
    let later = (desk.world.start + 2_000).to_string();
    let more = desk.run(&["pay", "--until", &later, "--json"]).await.json();
    assert_eq!((&more["resets"], more["transactions"].as_array().unwrap().len()), (&json!(false), 2));
}

#[tokio::test]
async fn an_approval_that_was_taken_back_is_given_again() {
    let desk = Desk::new().await;
    let until = (desk.world.start + 1_000).to_string();
    let outbox = desk.outbox(desk.store.store.clone()).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let sending = tokio::spawn({
        let (outbox, stop) = (outbox.clone(), stop.clone());
        async move { outbox.run(stop).await }
    });
    // An earlier run got as far as the approval; then somebody took it back.
    let key = format!("payer/approve/{}/0/10000", desk.world.contract);
    let data = abi::approve(desk.world.contract, U256::from(10_000));
    let id = outbox.submit(Intent::new(key, desk.world.token).with_data(data).with_confirmations(1)).await.unwrap();
    outbox.wait(id, windlass_outbox::Until::Final).await.unwrap();
    stop.cancel();
    sending.await.unwrap().unwrap();
    desk.world.approve(0).await;
    let paid = desk.run(&["pay", "--until", &until]).await;
    assert_eq!((paid.code, desk.total_paid().await), (0, 10_000), "{}", paid.stderr);
}

#[tokio::test]
async fn gas_is_checked_before_anything_is_sent() {
    let desk = Desk::new().await;
    let until = (desk.world.start + 1_000).to_string();
    let dry = desk.run(&["pay", "--until", &until, "--dry-run", "--json"]).await.json();
    let cost: u128 = dry["gas_cost"].as_str().unwrap().parse().unwrap();
    assert!(dry["gas"].as_u64().unwrap() >= 250_000 && cost > 0, "{dry}");
    desk.world.devnet.set_balance(desk.world.accounts[0], U256::from(cost / 2));
    let said = desk.run(&["pay", "--until", &until]).await;
    assert_eq!((said.code, desk.total_paid().await), (1, 0));
    assert!(said.stderr.contains("wei, the transactions may cost"), "{}", said.stderr);
    assert!(said.stderr.contains("hint: send some of the chain's coin to"), "{}", said.stderr);
    assert_eq!(desk.outbox(desk.store.store.clone()).await.list(None, 10).await.unwrap().len(), 0, "nothing was recorded");
    // With the allowance there, the payment itself can be estimated.
    desk.world.devnet.set_balance(desk.world.accounts[0], U256::from(10).pow(U256::from(18)));
    desk.world.approve(10_000).await;
    let dry = desk.run(&["pay", "--until", &until, "--dry-run", "--json"]).await.json();
    assert!((50_000..200_000).contains(&dry["gas"].as_u64().unwrap()), "{dry}");
}
