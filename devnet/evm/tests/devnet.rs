//! What only this chain has: use in process, faults, stricter rules on request.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, TxKind, U256, address};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use windlass_devnet_evm::{Devnet, DevnetConfig, DevnetServer, Fault, FaultRule, Mining, TimeSource};

const ALICE: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
const BOB: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
const GWEI: u128 = 1_000_000_000;

fn transfer(nonce: u64, max_fee: u128, tip: u128) -> Bytes {
    let key: PrivateKeySigner = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80".parse().unwrap();
    let tx = TxEip1559 {
        chain_id: 31_337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: max_fee,
        max_priority_fee_per_gas: tip,
        to: TxKind::Call(BOB),
        value: U256::from(1),
        ..Default::default()
    };
    let signature = key.sign_hash_sync(&tx.signature_hash()).unwrap();
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
}

async fn send(devnet: &Devnet, raw: &Bytes) -> Value {
    devnet.request("eth_sendRawTransaction", json!([raw])).await.unwrap()
}

async fn post(server: &DevnetServer, method: &str, params: Value) -> reqwest::Result<reqwest::Response> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let request = reqwest::Client::new().post(server.http_url()).header("content-type", "application/json");
    request.body(body.to_string()).send().await
}

fn rule(method: &str, times: u64, fault: Fault) -> FaultRule {
    FaultRule { method: method.to_owned(), times: Some(times), skip: 0, fault }
}

async fn served() -> (Devnet, DevnetServer) {
    let devnet = Devnet::new(DevnetConfig::default());
    let server = devnet.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
    (devnet, server)
}

#[tokio::test]
async fn it_needs_neither_network_nor_clock() {
    let seconds = Arc::new(AtomicU64::new(5_000));
    let time = TimeSource::Manual(seconds);
    let config = || DevnetConfig { time: time.clone(), genesis_timestamp: Some(7), ..DevnetConfig::default() };
    let (one, two) = (Devnet::new(config()), Devnet::new(config()));
    let mut heads = Vec::new();
    for devnet in [&one, &two] {
        let hash = send(devnet, &transfer(0, 4 * GWEI, GWEI)).await;
        let receipt = devnet.request("eth_getTransactionReceipt", json!([hash])).await.unwrap();
        assert_eq!(receipt["status"], "0x1", "mined before the answer");
        devnet.mine(2, 10);
        devnet.increase_time(100);
        devnet.set_next_block_timestamp(1_000).unwrap();
        devnet.mine(1, 0);
        heads.push(devnet.request("eth_getBlockByNumber", json!(["latest", true])).await.unwrap());
    }
    assert_eq!(heads[0], heads[1], "the same calls make the same chain");
    assert_eq!(heads[0]["timestamp"], "0x3e8");
    assert_eq!(one.height(), 4);
    let error = one.request("no_such", json!([])).await.unwrap_err();
    assert_eq!(error.code, -32601);
}

#[tokio::test]
async fn a_taken_port_is_a_clear_error() {
    let (devnet, server) = served().await;
    let error = devnet.serve(server.address()).await.unwrap_err();
    assert!(error.is_transient());
    assert!(error.hint().unwrap().contains("port"));
}

#[tokio::test]
async fn shutting_down_closes_connections_and_frees_the_port() {
    let (devnet, server) = served().await;
    let (mut socket, _) = tokio_tungstenite::connect_async(server.ws_url()).await.unwrap();
    let address = server.address();
    server.shutdown().await;
    use futures::StreamExt;
    let last = tokio::time::timeout(Duration::from_secs(5), async {
        let mut last = None;
        while let Some(message) = socket.next().await {
            last = message.ok();
        }
        last
    });
    assert!(last.await.unwrap().unwrap().is_close());
    devnet.serve(address).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn faults_answer_with_errors_and_statuses() {
    let (devnet, server) = served().await;
    let error = json!({ "method": "eth_chainId", "times": 1, "fault": { "kind": "error", "code": -32005, "message": "limit" } });
    devnet.request("windlass_injectFault", json!([error])).await.unwrap();
    assert_eq!(devnet.request("eth_chainId", json!([])).await.unwrap_err().code, -32005);
    assert_eq!(devnet.request("eth_chainId", json!([])).await.unwrap(), "0x7a69");

    devnet.inject_fault(rule("*", 1, Fault::HttpStatus { status: 429, retry_after_seconds: Some(3) }));
    let answer = post(&server, "eth_blockNumber", json!([])).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (429, "3"));
    assert_eq!(post(&server, "eth_blockNumber", json!([])).await.unwrap().status(), 200);

    devnet.inject_fault(rule("eth_blockNumber", 9, Fault::HttpStatus { status: 503, retry_after_seconds: None }));
    assert_eq!(devnet.request("windlass_faults", json!([])).await.unwrap().as_array().unwrap().len(), 1);
    devnet.request("windlass_clearFaults", json!([])).await.unwrap();
    assert_eq!(post(&server, "eth_blockNumber", json!([])).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_lost_answer_was_carried_out() {
    let (devnet, server) = served().await;
    devnet.inject_fault(rule("eth_sendRawTransaction", 1, Fault::LoseAnswer));
    let raw = json!([transfer(0, 4 * GWEI, GWEI)]);
    let lost = post(&server, "eth_sendRawTransaction", raw.clone()).await;
    let unread = match lost {
        Ok(response) => response.text().await.is_err(),
        Err(_) => true,
    };
    assert!(unread, "no answer arrives");
    assert_eq!(devnet.height(), 1, "but the transaction did");
    devnet.inject_fault(rule("evm_mine", 1, Fault::ErrorAfter { code: -32000, message: "timeout".to_owned() }));
    assert_eq!(devnet.request("evm_mine", json!([])).await.unwrap_err().message, "timeout");
    assert_eq!(devnet.height(), 2);
}

#[tokio::test]
async fn a_websocket_closes_where_http_has_a_status() {
    use futures::{SinkExt, StreamExt};
    let (devnet, server) = served().await;
    devnet.inject_fault(rule("eth_chainId", 1, Fault::HttpStatus { status: 503, retry_after_seconds: None }));
    let (mut socket, _) = tokio_tungstenite::connect_async(server.ws_url()).await.unwrap();
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" }).to_string();
    socket.send(call.into()).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(5), socket.next()).await.unwrap();
    assert!(end.is_none_or(|message| message.is_err()), "no answer, no proper goodbye");
}

#[tokio::test]
async fn a_slow_request_does_not_hold_up_the_shutdown() {
    let (devnet, server) = served().await;
    devnet.inject_fault(rule("eth_chainId", 1, Fault::Delay { milliseconds: 600_000 }));
    let url = server.http_url();
    let waiting = tokio::spawn(async move {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" }).to_string();
        reqwest::Client::new().post(url).body(body).send().await
    });
    while !devnet.request("windlass_faults", json!([])).await.unwrap().as_array().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::timeout(Duration::from_secs(10), server.shutdown()).await.unwrap();
    waiting.abort();
}

#[tokio::test]
async fn hardhat_clients_reset_without_a_fork() {
    let devnet = Devnet::new(DevnetConfig::default());
    devnet.mine(3, 0);
    devnet.request("hardhat_reset", json!([{ "forking": { "blockNumber": null } }])).await.unwrap();
    assert_eq!(devnet.height(), 0);
    let fork = json!([{ "forking": { "jsonRpcUrl": "http://127.0.0.1:1" } }]);
    assert_eq!(devnet.request("hardhat_reset", fork).await.unwrap_err().code, -32602);
}

#[tokio::test]
async fn a_dropped_broadcast_looks_accepted() {
    let devnet = Devnet::new(DevnetConfig::default());
    devnet.inject_fault(rule("eth_sendRawTransaction", 1, Fault::DropBroadcast));
    let raw = transfer(0, 4 * GWEI, GWEI);
    let pretended = send(&devnet, &raw).await;
    assert_eq!(devnet.request("eth_getTransactionByHash", json!([pretended])).await.unwrap(), Value::Null);
    assert_eq!(devnet.height(), 0);
    assert_eq!(send(&devnet, &raw).await, pretended);
    assert_eq!(devnet.height(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_delay_uses_the_clock_of_the_runtime() {
    let devnet = Devnet::new(DevnetConfig::default());
    devnet.inject_fault(rule("eth_chainId", 1, Fault::Delay { milliseconds: 60_000 }));
    let (started, wall) = (tokio::time::Instant::now(), Instant::now());
    devnet.request("eth_chainId", json!([])).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(60));
    assert!(wall.elapsed() < Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn the_interval_timer_mines() {
    let devnet = Devnet::new(DevnetConfig { mining: Mining::Interval(2_000), ..DevnetConfig::default() });
    let stop = CancellationToken::new();
    let timer = tokio::spawn({
        let (devnet, stop) = (devnet.clone(), stop.clone());
        async move { devnet.run_interval_mining(stop).await }
    });
    tokio::time::sleep(Duration::from_millis(6_500)).await;
    assert_eq!(devnet.height(), 3);
    devnet.request("evm_setIntervalMining", json!([1])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    assert_eq!(devnet.height(), 7);
    devnet.request("evm_setAutomine", json!([true])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(devnet.height(), 7);
    stop.cancel();
    timer.await.unwrap();
}

#[tokio::test]
async fn replacement_can_ask_for_a_rise() {
    let config = DevnetConfig { mining: Mining::Manual, replacement_percent: Some(10), ..DevnetConfig::default() };
    let devnet = Devnet::new(config);
    send(&devnet, &transfer(0, 100 * GWEI, 10 * GWEI)).await;
    let low = devnet.request("eth_sendRawTransaction", json!([transfer(0, 109 * GWEI, 11 * GWEI)])).await.unwrap_err();
    assert_eq!(low.message, "replacement transaction underpriced");
    send(&devnet, &transfer(0, 110 * GWEI, 11 * GWEI)).await;
}

#[tokio::test]
async fn removed_transactions_can_go_back_to_the_pool() {
    let config = DevnetConfig { reorg_returns_transactions: true, ..DevnetConfig::default() };
    let devnet = Devnet::new(config);
    let hashes = [send(&devnet, &transfer(0, 4 * GWEI, GWEI)).await, send(&devnet, &transfer(1, 4 * GWEI, GWEI)).await];
    devnet.reorg(2);
    let pool = devnet.request("txpool_status", json!([])).await.unwrap();
    assert_eq!(pool["pending"], "0x2");
    devnet.mine(1, 0);
    for hash in hashes {
        let receipt = devnet.request("eth_getTransactionReceipt", json!([hash])).await.unwrap();
        assert_eq!(receipt["blockNumber"], "0x3");
    }
}

#[tokio::test]
async fn a_transaction_without_enough_gas_for_its_data_is_refused_at_once() {
    let devnet = Devnet::new(DevnetConfig::default());
    let request = json!([{ "from": ALICE, "to": BOB, "data": "0x1234", "gas": "0x5208" }]);
    let error = devnet.request("eth_sendTransaction", request).await.unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (-32000, "intrinsic gas too low"));
}

#[tokio::test]
async fn blob_transactions_are_refused_clearly() {
    let devnet = Devnet::new(DevnetConfig::default());
    let request = json!([{ "from": ALICE, "to": BOB, "type": "0x3", "maxFeePerBlobGas": "0x1" }]);
    let error = devnet.request("eth_sendTransaction", request).await.unwrap_err();
    assert_eq!(error.code, -32602);
    assert!(error.message.contains("blob"), "{error}");
}

#[tokio::test]
async fn a_synchronous_send_answers_with_the_receipt() {
    let devnet = Devnet::new(DevnetConfig::default());
    let params = json!([transfer(0, 4 * GWEI, GWEI)]);
    let receipt = devnet.request("eth_sendRawTransactionSync", params).await.unwrap();
    assert_eq!((&receipt["status"], &receipt["blockNumber"]), (&json!("0x1"), &json!("0x1")));

    devnet.request("evm_setAutomine", json!([false])).await.unwrap();
    let waiting = tokio::spawn({
        let devnet = devnet.clone();
        async move { devnet.request("eth_sendRawTransactionSync", json!([transfer(1, 4 * GWEI, GWEI)])).await }
    });
    while devnet.request("txpool_status", json!([])).await.unwrap()["pending"] != "0x1" {
        tokio::task::yield_now().await;
    }
    devnet.mine(1, 0);
    assert_eq!(waiting.await.unwrap().unwrap()["blockNumber"], "0x2");
}

#[tokio::test]
async fn deep_reorganisations_and_snapshots_keep_the_state_right() {
    let devnet = Devnet::new(DevnetConfig::default());
    for nonce in 0..64 {
        send(&devnet, &transfer(nonce, 4 * GWEI, GWEI)).await;
    }
    let snapshot = devnet.request("evm_snapshot", json!([])).await.unwrap();
    let balance = async |at: &str| devnet.request("eth_getBalance", json!([BOB, at])).await.unwrap();
    let (middle, end) = (balance("0x20").await, balance("latest").await);
    devnet.reorg(32);
    assert_eq!(balance("latest").await, middle);
    assert_eq!(balance("0x20").await, middle);
    assert_eq!(devnet.height(), 64);
    assert_eq!(devnet.request("evm_revert", json!([snapshot])).await.unwrap(), false, "its blocks are gone");
    assert_ne!(middle, end);
    let next = devnet.request("eth_getTransactionCount", json!([ALICE, "latest"])).await.unwrap();
    assert_eq!(next, "0x20");
    send(&devnet, &transfer(32, 4 * GWEI, GWEI)).await;
    assert_eq!(devnet.height(), 65);
}
