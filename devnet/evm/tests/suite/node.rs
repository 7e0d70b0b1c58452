//! Starts a chain of its own for each test and talks to it.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope, TypedTransaction};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address, hex};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use serde_json::{Value, json};
use windlass_devnet_evm::{Devnet, DevnetConfig, DevnetServer};

pub(crate) const ALICE: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
pub(crate) const BOB: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
pub(crate) const CAROL: Address = address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC");
/// No key, no money.
pub(crate) const NOBODY: Address = address!("00000000000000000000000000000000000000cc");
const ALICE_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const BOB_KEY: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

pub(crate) const GWEI: u128 = 1_000_000_000;
pub(crate) const ETHER: u128 = GWEI * GWEI;

/// Deploys a contract that emits its first argument word as data under its second as topic.
pub(crate) const EMITTER: &str = "0x600d80600a5f395ff3fe60205f5f3760203560205fa100";
/// Deploys a contract that returns slot 0, which is 1.
pub(crate) const ONE: &str = "0x6001600055600b8060106000396000f360005460005260206000f3";

#[derive(Debug)]
enum Backing {
    Ours { devnet: Devnet, server: DevnetServer },
    Anvil(Child),
}

/// A running chain.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) http: String,
    pub(crate) ws: String,
    client: reqwest::Client,
    backing: Backing,
}

/// An error object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: i64,
    pub(crate) message: String,
    pub(crate) data: Option<Value>,
}

pub(crate) fn is_anvil() -> bool {
    std::env::var("WINDLASS_E2E_CHAIN").is_ok_and(|chain| chain == "anvil")
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Backing::Anvil(child) = &mut self.backing {
            // From npm, `anvil` is a script that starts the real one: the whole group has to go.
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            let _ = child.wait();
        }
    }
}

pub(crate) fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

impl Node {
    pub(crate) async fn start() -> Self {
        install_tls();
        let (http, ws, backing) = if is_anvil() { start_anvil() } else { start_ours().await };
        Self { http, ws, client: reqwest::Client::new(), backing }
    }

    /// A chain that mines only when told to.
    pub(crate) async fn start_manual() -> Self {
        let node = Self::start().await;
        node.ok("evm_setAutomine", json!([false])).await;
        node
    }

    /// Posts a body as it is; gives status and text.
    pub(crate) async fn post(&self, body: &str) -> (u16, String) {
        let request = self.client.post(&self.http).header("content-type", "application/json").body(body.to_owned());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) async fn rpc(&self, method: &str, params: Value) -> Result<Value, Failure> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let (_, text) = self.post(&body.to_string()).await;
        let mut answer: Value = serde_json::from_str(&text).unwrap();
        match answer.get_mut("error") {
            Some(error) => Err(Failure {
                code: error["code"].as_i64().unwrap(),
                message: error["message"].as_str().unwrap().to_owned(),
                data: error.get("data").cloned(),
            }),
            None => Ok(answer["result"].take()),
        }
    }

    pub(crate) async fn ok(&self, method: &str, params: Value) -> Value {
        let shown = params.to_string();
        self.rpc(method, params).await.unwrap_or_else(|failure| panic!("{method}{shown}: {failure:?}"))
    }

    pub(crate) async fn fails(&self, method: &str, params: Value) -> (i64, String) {
        let shown = params.to_string();
        match self.rpc(method, params).await {
            Err(failure) => (failure.code, failure.message),
            Ok(result) => panic!("{method}{shown} succeeded with {result}"),
        }
    }

    pub(crate) async fn number(&self, method: &str, params: Value) -> u128 {
        number(&self.ok(method, params).await)
    }

    pub(crate) async fn height(&self) -> u128 {
        self.number("eth_blockNumber", json!([])).await
    }

    pub(crate) async fn block(&self, id: &str) -> Value {
        self.ok("eth_getBlockByNumber", json!([id, false])).await
    }

    /// Sends from a dev account and waits for the receipt.
    pub(crate) async fn transact(&self, request: Value) -> Value {
        let hash = self.ok("eth_sendTransaction", json!([request])).await;
        self.receipt(&hash).await
    }

    pub(crate) async fn send_raw(&self, raw: &Bytes) -> Value {
        self.ok("eth_sendRawTransaction", json!([raw])).await
    }

    /// The receipt. `anvil` mines a moment after it has answered, so this waits for it.
    pub(crate) async fn receipt(&self, hash: &Value) -> Value {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let receipt = self.ok("eth_getTransactionReceipt", json!([hash])).await;
            if !receipt.is_null() {
                return receipt;
            }
            assert!(Instant::now() < deadline, "no receipt for {hash}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A mined transaction. `anvil` shows it as waiting for a moment after its receipt is there.
    pub(crate) async fn mined(&self, hash: &Value) -> Value {
        loop {
            let tx = self.ok("eth_getTransactionByHash", json!([hash])).await;
            if !tx["blockHash"].is_null() {
                return tx;
            }
            assert!(is_anvil(), "a transaction with a receipt is in a block: {tx}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn deploy(&self, code: &str) -> Value {
        let receipt = self.transact(json!({ "from": ALICE, "data": code, "gas": "0x100000" })).await;
        assert_eq!(receipt["status"], "0x1");
        receipt["contractAddress"].clone()
    }

    /// The chain in process, when it is ours.
    pub(crate) fn devnet(&self) -> Option<&Devnet> {
        match &self.backing {
            Backing::Ours { devnet, server } => {
                assert_eq!(server.http_url(), self.http);
                Some(devnet)
            }
            Backing::Anvil(_) => None,
        }
    }
}

async fn start_ours() -> (String, String, Backing) {
    let devnet = Devnet::new(DevnetConfig::default());
    let server = devnet.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
    (server.http_url(), server.ws_url(), Backing::Ours { devnet, server })
}

fn start_anvil() -> (String, String, Backing) {
    let program = std::env::var("WINDLASS_ANVIL").unwrap_or_else(|_| "anvil".to_owned());
    let mut child = Command::new(program)
        .args(["--port", "0", "--threads", "2"])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("anvil starts; set WINDLASS_ANVIL to its path");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines
        .by_ref()
        .map(Result::unwrap)
        .find_map(|line| line.strip_prefix("Listening on ").map(str::to_owned))
        .expect("anvil says where it listens");
    // Its log has to be read, or it blocks.
    std::thread::spawn(move || lines.for_each(drop));
    (format!("http://{address}"), format!("ws://{address}"), Backing::Anvil(child))
}

pub(crate) fn number(value: &Value) -> u128 {
    let text = value.as_str().unwrap_or_else(|| panic!("not a quantity: {value}"));
    u128::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}

pub(crate) fn quantity(value: u128) -> String {
    format!("{value:#x}")
}

pub(crate) fn word(value: u64) -> String {
    format!("{:#x}", B256::from(U256::from(value)))
}

/// Call data of the emitter.
pub(crate) fn emit(data: u64, topic: u64) -> String {
    format!("{}{}", word(data), word(topic).trim_start_matches("0x"))
}

/// Init code that reverts with `data`.
pub(crate) fn reverting(data: &[u8]) -> String {
    let length = u8::try_from(data.len()).unwrap();
    format!("0x60{length:02x}600c60003960{length:02x}6000fd{}", hex::encode(data))
}

pub(crate) fn alice() -> PrivateKeySigner {
    ALICE_KEY.parse().unwrap()
}

pub(crate) fn bob() -> PrivateKeySigner {
    BOB_KEY.parse().unwrap()
}

/// A transfer of 1 wei to Carol.
pub(crate) fn transfer(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: 31_337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 4 * GWEI,
        max_priority_fee_per_gas: GWEI,
        to: TxKind::Call(CAROL),
        value: U256::from(1),
        ..Default::default()
    }
}

pub(crate) fn sign(signer: &PrivateKeySigner, tx: impl Into<TypedTransaction>) -> Bytes {
    let tx = tx.into();
    let signature = signer.sign_hash_sync(&tx.signature_hash()).unwrap();
    let envelope: TxEnvelope = tx.into_signed(signature).into();
    envelope.encoded_2718().into()
}
