//! The compatible one-shot commands against an embedded chain: exact output, exit codes, and endpoints that misbehave.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use alloy_primitives::{Address, Bytes, U256};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use windlass_contracts::{TestToken, init_code};
use windlass_devnet_evm::{Devnet, DevnetConfig, DevnetServer};
use windlass_payer::cli::deploy::{DeployOptions, deploy};
use windlass_payer::cli::env::{Environment, Exit, Precedence};
use windlass_payer::cli::monitor::{MonitorOptions, monitor};
use windlass_payer::protocol::abi::Deployment;

/// The first development account; its key is public knowledge.
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const ACCOUNT: Address = alloy_primitives::address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
const KEYPER: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";

struct Chain {
    devnet: Devnet,
    server: DevnetServer,
    token: Address,
}

impl Chain {
    async fn start() -> Self {
        let devnet = Devnet::new(DevnetConfig::default());
        let server = devnet.serve(local()).await.unwrap();
        let arguments = TestToken::constructorCall { name_: "Test".into(), symbol_: "T".into(), decimals_: 18 };
        let token = create(&devnet, init_code(&TestToken::BYTECODE, &arguments)).await;
        Self { devnet, server, token }
    }

    async fn contract(&self, rate: u64) -> Address {
        let (token, keypers) = (self.token, vec![Address::repeat_byte(1)]);
        let deployment = Deployment { token, keypers, requested_rate: U256::from(rate), start_timestamp: U256::ZERO };
        create(&self.devnet, deployment.creation_data()).await
    }

    async fn nonce(&self) -> Value {
        self.devnet.request("eth_getTransactionCount", json!([ACCOUNT, "latest"])).await.unwrap()
    }
}

async fn create(devnet: &Devnet, data: Bytes) -> Address {
    let transaction = json!([{ "from": ACCOUNT, "data": data, "gas": "0x7a1200" }]);
    let hash = devnet.request("eth_sendTransaction", transaction).await.unwrap();
    let receipt = devnet.request("eth_getTransactionReceipt", json!([hash])).await.unwrap();
    receipt["contractAddress"].as_str().unwrap().parse().unwrap()
}

fn local() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn environment(variables: &[(&str, &str)], file: &str) -> Environment {
    let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Environment::new(variables, file, Precedence::default())
}

async fn check(variables: &[(&str, &str)], file: &str) -> (Exit, String) {
    let options = MonitorOptions { timeout: Duration::from_secs(30) };
    let mut stderr = Vec::new();
    let exit = monitor(&environment(variables, file), options, &mut stderr).await;
    (exit, String::from_utf8(stderr).unwrap())
}

/// Serves `answer` for every request and counts them.
async fn serve<F, R>(answer: F) -> (String, Arc<AtomicUsize>)
where
    F: Fn(Value) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response> + Send + 'static,
{
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let handler = move |Json(request): Json<Value>| {
        counter.fetch_add(1, Ordering::SeqCst);
        answer(request)
    };
    let listener = tokio::net::TcpListener::bind(local()).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await });
    (url, count)
}

/// Answers one request as the chain would.
async fn forward(devnet: &Devnet, request: &Value) -> Response {
    let answer = devnet.request(request["method"].as_str().unwrap(), request["params"].clone()).await;
    let mut body = json!({ "jsonrpc": "2.0", "id": request["id"] });
    match answer {
        Ok(result) => body["result"] = result,
        Err(error) => body["error"] = json!({ "code": error.code, "message": error.message, "data": error.data }),
    }
    Json(body).into_response()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn monitor_says_exactly_what_scripts_expect() {
    let chain = Chain::start().await;
    let url = chain.server.http_url();
    let (paid, unpaid) = (chain.contract(0).await.to_string(), chain.contract(1).await.to_string());
    let run = async |contract: &str, command: &str| {
        check(&[("CONTRACT_ADDRESS", contract), ("RPC_URL", &url), ("UNPAID_COMMAND", command)], "").await
    };
    assert_eq!(run(&paid, "echo ran").await, (Exit::Success, String::new()));
    let lead = "Keypers are not paid sufficiently.\n";
    let expected = format!("{lead}UNPAID_COMMAND not specified, exiting.\n\n");
    assert_eq!(run(&unpaid, "").await, (Exit::Failure, expected));
    // What the command prints ends with its own line end, and the message with another; then comes the empty line.
    let command = "echo out; echo problem >&2";
    let expected = format!(
        "{lead}Executing UNPAID_COMMAND: {command}\nUNPAID_COMMAND executed successfully.\nstdout: out\n\nstderr: problem\n\n\n"
    );
    assert_eq!(run(&unpaid, command).await, (Exit::Failure, expected));
    let expected =
        format!("{lead}Executing UNPAID_COMMAND: exit 7\nFailed to execute unpaid command: Error: Command failed: exit 7\n\n\n");
    assert_eq!(run(&unpaid, "exit 7").await, (Exit::Failure, expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_fills_gaps_and_a_conflict_is_told() {
    let chain = Chain::start().await;
    let unpaid = chain.contract(1).await.to_string();
    let file = format!(
        "CONTRACT_ADDRESS={unpaid}\nUNPAID_COMMAND='printf %s \"$GREETING\"'\nGREETING=hello\nRPC_URL=http://127.0.0.1:1\n"
    );
    let (exit, said) = check(&[("RPC_URL", &chain.server.http_url())], &file).await;
    assert_eq!(exit, Exit::Failure);
    assert!(said.starts_with("note: RPC_URL is taken from the environment; .env has another value\n"), "{said}");
    assert!(said.contains("\nstdout: hello\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_gives_no_answer_ends_with_its_own_code() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("ran");
    let command = format!("touch '{}'", trace.display());
    let plain = |status: StatusCode, body: &'static str| async move { (status, body).into_response() };
    let (broken, _) = serve(move |_| plain(StatusCode::INTERNAL_SERVER_ERROR, "oops")).await;
    let (busy, _) = serve(move |_| plain(StatusCode::TOO_MANY_REQUESTS, "")).await;
    let (page, _) = serve(move |_| plain(StatusCode::OK, "<html>hello</html>")).await;
    let (odd, _) = serve(|request: Value| async move {
        Json(json!({ "jsonrpc": "2.0", "id": request["id"], "result": { "paid": false } })).into_response()
    })
    .await;
    for url in ["http://127.0.0.1:1", "not a url", "ws://127.0.0.1:1", &broken, &busy, &page, &odd] {
        let (exit, said) = check(&[("CONTRACT_ADDRESS", KEYPER), ("RPC_URL", url), ("UNPAID_COMMAND", &command)], "").await;
        assert_eq!(exit, Exit::CannotTell, "{url}: {said}");
        assert!(said.starts_with("cannot tell whether the keypers are paid") && said.contains("hint: "), "{url}: {said}");
    }
    assert!(!trace.exists(), "the command ran");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_never_answers_is_given_up() {
    let (silent, asked) = serve(|_| std::future::pending()).await;
    let options = MonitorOptions { timeout: Duration::from_millis(200) };
    let mut stderr = Vec::new();
    let environment = environment(&[("CONTRACT_ADDRESS", KEYPER), ("RPC_URL", &silent), ("UNPAID_COMMAND", "echo ran")], "");
    assert_eq!(monitor(&environment, options, &mut stderr).await, Exit::CannotTell);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(String::from_utf8(stderr).unwrap().contains("no answer within 200 ms"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_no_boolean_is_a_failure_but_not_unpaid() {
    let chain = Chain::start().await;
    let url = chain.server.http_url();
    let token = chain.token.to_string();
    let (refusing, _) = serve(|request: Value| async move {
        let error = json!({ "code": -32000, "message": "not today" });
        Json(json!({ "jsonrpc": "2.0", "id": request["id"], "error": error })).into_response()
    })
    .await;
    for (contract, url, expected) in [
        (KEYPER, &url, "does not answer isPaid()\nhint: there is probably no contract"),
        (&token, &url, "reverted: no reason given\nhint: check CONTRACT_ADDRESS"),
        (KEYPER, &refusing, "refused the call to 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC: error -32000: not today\nhint: "),
        (&KEYPER[2..], &url, "CONTRACT_ADDRESS: write the address with 0x: 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
    ] {
        let (exit, said) = check(&[("CONTRACT_ADDRESS", contract), ("RPC_URL", url), ("UNPAID_COMMAND", "echo ran")], "").await;
        assert_eq!(exit, Exit::Failure, "{said}");
        assert!(said.contains(expected) && !said.contains("Executing"), "{said}");
    }
}

/// Runs `deploy` and returns its exit code, stdout and stderr.
async fn deploy_with(url: &str, token: Address, changes: &[(&str, &str)], options: DeployOptions) -> (Exit, String, String) {
    let token = token.to_string();
    let mut variables = vec![
        ("RPC_URL", url),
        ("PRIV_KEY", KEY),
        ("TOKEN_ADDRESS", &token),
        ("KEYPER_ADDRESSES", KEYPER),
        ("REQUESTED_RATE", "2"),
        ("START_TIMESTAMP", "1704067200"),
    ];
    variables.extend(changes);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let exit = deploy(&environment(&variables, ""), &options, &mut stdout, &mut stderr).await;
    (exit, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploy_prints_exactly_address_and_terms() {
    let chain = Chain::start().await;
    let (exit, stdout, stderr) = deploy_with(
        &chain.server.http_url(),
        chain.token,
        &[("KEYPER_ADDRESSES", &KEYPER.to_lowercase()), ("REQUESTED_RATE", "0x10"), ("START_TIMESTAMP", "0")],
        DeployOptions::default(),
    )
    .await;
    assert_eq!(exit, Exit::Success, "{stderr}");
    let address = ACCOUNT.create(1);
    let token = chain.token;
    assert_eq!(
        stdout,
        format!(
            "KeyperPayer deployed to {address}.\n tokenAddress: {token},\n keyperAddresses: {KEYPER},\n requestedRate: 16,\n startTimestamp: 0\n"
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unwise_is_accepted_with_a_warning() {
    let chain = Chain::start().await;
    let twice = format!("{KEYPER},{KEYPER}");
    let no_code = Address::repeat_byte(9);
    let changes = [("KEYPER_ADDRESSES", twice.as_str()), ("REQUESTED_RATE", "0")];
    let (exit, stdout, stderr) = deploy_with(&chain.server.http_url(), no_code, &changes, DeployOptions::default()).await;
    assert_eq!(exit, Exit::Success, "{stderr}");
    assert!(stdout.contains(&format!(" keyperAddresses: {twice},\n")), "{stdout}");
    let warnings: Vec<&str> = stderr.lines().collect();
    assert!(warnings.len() >= 3 && warnings.iter().all(|line| line.starts_with("warning: ")), "{stderr}");
    for part in ["is listed 2 times", "the rate is 0", "there is no code at the token address"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_sends_nothing() {
    let chain = Chain::start().await;
    let before = chain.nonce().await;
    let options = DeployOptions { dry_run: true, ..DeployOptions::default() };
    let (exit, stdout, stderr) = deploy_with(&chain.server.http_url(), chain.token, &[], options).await;
    assert_eq!(exit, Exit::Success, "{stderr}");
    assert!(stdout.starts_with(&format!("KeyperPayer would be deployed to {}.\n", ACCOUNT.create(1))), "{stdout}");
    for part in [format!(" account: {ACCOUNT} (nonce 1),\n"), " chainId: 31337,\n".into(), " gasLimit: ".into(), " wei\n".into()]
    {
        assert!(stdout.contains(&part), "{part}: {stdout}");
    }
    assert_eq!(chain.nonce().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_account_is_noticed_before_sending() {
    let chain = Chain::start().await;
    let poor = ("PRIV_KEY", "0x0000000000000000000000000000000000000000000000000000000000000007");
    let (exit, stdout, stderr) = deploy_with(&chain.server.http_url(), chain.token, &[poor], DeployOptions::default()).await;
    assert_eq!((exit, stdout.as_str()), (Exit::Failure, ""));
    assert!(stderr.contains("0 wei") || stderr.contains("insufficient funds"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_deployed_when_the_endpoint_is_not_there() {
    let (exit, stdout, stderr) = deploy_with("http://127.0.0.1:1", ACCOUNT, &[], DeployOptions::default()).await;
    assert_eq!((exit, stdout.as_str()), (Exit::Failure, ""), "{stderr}");
    assert!(stderr.contains("127.0.0.1:1") && stderr.contains("hint: "), "{stderr}");
}

/// The node took the transaction, but its answer was lost: the deployment is found all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_the_broadcast_does_not_matter() {
    let chain = Chain::start().await;
    let devnet = chain.devnet.clone();
    let (url, _) = serve(move |request: Value| {
        let devnet = devnet.clone();
        async move {
            let answer = forward(&devnet, &request).await;
            if request["method"] == "eth_sendRawTransaction" { StatusCode::BAD_GATEWAY.into_response() } else { answer }
        }
    })
    .await;
    let (exit, stdout, stderr) = deploy_with(&url, chain.token, &[], DeployOptions::default()).await;
    assert_eq!(exit, Exit::Success, "{stderr}");
    assert!(stdout.starts_with(&format!("KeyperPayer deployed to {}.\n", ACCOUNT.create(1))), "{stdout}");
}

/// After sending, a failure no longer means that there is no contract, and the exit code says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_after_sending_has_its_own_code() {
    let chain = Chain::start().await;
    let devnet = chain.devnet.clone();
    let (url, _) = serve(move |request: Value| {
        let devnet = devnet.clone();
        async move {
            match request["method"].as_str() {
                Some("eth_getTransactionReceipt") => StatusCode::UNAUTHORIZED.into_response(),
                _ => forward(&devnet, &request).await,
            }
        }
    })
    .await;
    let (exit, stdout, stderr) = deploy_with(&url, chain.token, &[], DeployOptions::default()).await;
    assert_eq!((exit, stdout.as_str()), (Exit::CannotTell, ""), "{stderr}");
    let address = ACCOUNT.create(1).to_string();
    assert!(stderr.contains("may have created a contract") && stderr.contains(&address) && stderr.contains("hint: "), "{stderr}");
}
