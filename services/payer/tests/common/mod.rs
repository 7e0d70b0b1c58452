//! A development chain with a token and an agreement on it, and a target that only remembers.
#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use async_trait::async_trait;
use serde_json::{Value, json};
use windlass_chain::{EndpointUrl, Endpoints, EndpointsConfig};
use windlass_contracts::{TestToken, init_code};
use windlass_devnet_evm::{Devnet, DevnetConfig, DevnetServer};
use windlass_node::config::{Schema, Sources};
use windlass_payer::PayerConfig;
use windlass_payer::ports::{Target, TargetError};
use windlass_payer::protocol::abi::{self, Deployment};

/// Token units per second.
pub const RATE: u64 = 10;
/// The key of the first account of the development chain; public knowledge.
pub const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

pub struct World {
    pub devnet: Devnet,
    pub server: DevnetServer,
    pub endpoints: Endpoints,
    pub accounts: Vec<Address>,
    pub token: Address,
    pub contract: Address,
    pub start: u64,
}

impl World {
    /// An agreement of two keypers (accounts 1 and 2) that begins now; account 0 pays.
    pub async fn new() -> Self {
        let devnet = Devnet::new(DevnetConfig::default());
        let server = devnet.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let config = EndpointsConfig {
            chain_id: Some(31337),
            timeout_ms: 2_000,
            ..EndpointsConfig::new("devnet", [EndpointUrl::new(server.http_url())])
        };
        let endpoints = Endpoints::connect(config).await.unwrap();
        let accounts: Vec<Address> = serde_json::from_value(devnet.request("eth_accounts", json!([])).await.unwrap()).unwrap();
        let mut world = Self { devnet, server, endpoints, accounts, token: Address::ZERO, contract: Address::ZERO, start: 0 };
        let constructor = TestToken::constructorCall { name_: "Shutter".into(), symbol_: "SPT".into(), decimals_: 18 };
        world.token = world.deploy(init_code(&TestToken::BYTECODE, &constructor)).await;
        world.mint(world.accounts[0], 1_000_000_000).await;
        world.start = world.now().await;
        world.contract = world.agreement(vec![world.accounts[1], world.accounts[2]], world.start).await;
        world
    }

    pub async fn agreement(&self, keypers: Vec<Address>, start: u64) -> Address {
        let deployment =
            Deployment { token: self.token, keypers, requested_rate: U256::from(RATE), start_timestamp: U256::from(start) };
        self.deploy(deployment.creation_data()).await
    }

    pub async fn now(&self) -> u64 {
        let block = self.devnet.request("eth_getBlockByNumber", json!(["latest", false])).await.unwrap();
        u64::from_str_radix(block["timestamp"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    }

    pub async fn deploy(&self, data: Bytes) -> Address {
        let receipt = self.transact(self.accounts[0], None, data).await;
        receipt["contractAddress"].as_str().unwrap().parse().unwrap()
    }

    pub async fn transact(&self, from: Address, to: Option<Address>, data: Bytes) -> Value {
        let hash = self.send(from, to, data).await;
        let receipt = self.devnet.request("eth_getTransactionReceipt", json!([hash])).await.unwrap();
        assert_eq!(receipt["status"], "0x1", "transaction to {to:?} failed");
        receipt
    }

    pub async fn send(&self, from: Address, to: Option<Address>, data: Bytes) -> B256 {
        let mut transaction = json!({ "from": from, "data": data, "gas": "0x4c4b40" });
        if let Some(to) = to {
            transaction["to"] = json!(to);
        }
        let hash = self.devnet.request("eth_sendTransaction", json!([transaction])).await.unwrap();
        serde_json::from_value(hash).unwrap()
    }

    pub async fn mint(&self, to: Address, amount: u64) {
        let data = TestToken::mintCall { to, amount: U256::from(amount) }.abi_encode();
        self.transact(self.accounts[0], Some(self.token), data.into()).await;
    }

    pub fn transfer_data(&self, to: Address, amount: u64) -> Bytes {
        TestToken::transferCall { to, amount: U256::from(amount) }.abi_encode().into()
    }

    pub async fn approve(&self, amount: u64) {
        let data = abi::approve(self.contract, U256::from(amount));
        self.transact(self.accounts[0], Some(self.token), data).await;
    }

    pub async fn pay(&self, amount: u64) {
        self.approve(amount).await;
        self.transact(self.accounts[0], Some(self.contract), abi::pay(U256::from(amount))).await;
    }

    /// Lets time pass on the chain and makes two blocks.
    pub fn pass(&self, seconds: u64) {
        self.devnet.increase_time(seconds);
        self.devnet.mine(2, 1);
    }

    /// Makes a block four times a second until the result is dropped, as a live chain does.
    pub fn live(&self) -> Live {
        let devnet = self.devnet.clone();
        Live(tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(250)).await;
                devnet.mine(1, 1);
            }
        }))
    }

    pub fn config(&self, more: &str) -> PayerConfig {
        parse_config(&format!(
            "chain = \"devnet\"\ncontract = \"{}\"\nconfirm_time = \"0s\"\npoll_interval = \"100ms\"\nobserve_every = \"1s\"\n\
             warn_before = [\"1h\"]\nretry_first = \"1s\"\nsettle = \"0s\"\n{more}",
            self.contract
        ))
    }
}

pub fn parse_config(section: &str) -> PayerConfig {
    let text = format!("[chain.devnet]\nchain_id = 31337\nurls = [\"http://127.0.0.1:8545\"]\n[payer.test]\n{section}");
    let schema = Schema::new().section::<PayerConfig>();
    let config = schema.load(&Sources::text("test.toml", &text)).unwrap();
    config.instance::<PayerConfig>("test").unwrap().clone()
}

/// A chain that goes on by itself.
pub struct Live(tokio::task::JoinHandle<()>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A program that only remembers what was done to it.
#[derive(Default)]
pub struct Memory {
    pub stopped: AtomicBool,
    pub stops: AtomicU32,
    pub starts: AtomicU32,
    /// So many of the next stops do nothing.
    pub deaf: AtomicU32,
}

impl Memory {
    pub fn runs(&self) -> bool {
        !self.stopped.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Target for Memory {
    fn describe(&self) -> String {
        "the test program".into()
    }

    fn plan_stop(&self) -> String {
        "stop the test program".into()
    }

    fn plan_start(&self) -> Option<String> {
        Some("start the test program".into())
    }

    async fn stop(&self) -> Result<(), TargetError> {
        self.stops.fetch_add(1, Ordering::SeqCst);
        if self.deaf.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            self.stopped.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    async fn start(&self) -> Result<(), TargetError> {
        self.starts.fetch_add(1, Ordering::SeqCst);
        self.stopped.store(false, Ordering::SeqCst);
        Ok(())
    }

    async fn running(&self) -> Result<Option<bool>, TargetError> {
        Ok(Some(self.runs()))
    }
}

/// Waits until `holds`, at most 20 s.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..400 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never happened: {what}");
}

pub fn shared<T>(value: T) -> Arc<T> {
    Arc::new(value)
}
