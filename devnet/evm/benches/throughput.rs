//! How fast the chain is, in process and over HTTP with the client on the same machine.
//!
//! `cargo bench -p windlass-devnet-evm` prints one line per figure.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::time::Instant;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use serde_json::{Value, json};
use windlass_devnet_evm::{Devnet, DevnetConfig};

fn rate(name: &str, count: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("{name:<58} {count:>8} in {seconds:>7.3} s  {:>10.0} /s", count as f64 / seconds);
}

fn transfers(count: u64, first: u64) -> Vec<Bytes> {
    let key: PrivateKeySigner = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80".parse().unwrap();
    let sign = |nonce| {
        let tx = TxEip1559 {
            chain_id: 31_337,
            nonce,
            gas_limit: 21_000,
            max_fee_per_gas: 4_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            to: TxKind::Call(Address::repeat_byte(7)),
            value: U256::from(1),
            ..Default::default()
        };
        let signature = key.sign_hash_sync(&tx.signature_hash()).unwrap();
        TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
    };
    (first..first + count).map(sign).collect()
}

fn call(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let devnet = Devnet::new(DevnetConfig::default());

    let started = Instant::now();
    devnet.request("anvil_mine", json!([50_000])).await.unwrap();
    rate("sparse blocks mined, in process", 50_000, started);

    let raw = transfers(3_000, 0);
    let started = Instant::now();
    for tx in &raw {
        devnet.request("eth_sendRawTransaction", json!([tx])).await.unwrap();
    }
    rate("transfers, one block each, in process", 3_000, started);

    let server = devnet.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let client = reqwest::Client::new();
    let post = |body: Value| {
        let request = client.post(server.http_url()).header("content-type", "application/json").body(body.to_string());
        async move { request.send().await.unwrap().text().await.unwrap() }
    };

    let started = Instant::now();
    for chunk in 0..100u64 {
        let calls = (0..200).map(|at| call(at, "eth_getBlockByNumber", json!([format!("{:#x}", chunk * 200 + at), false])));
        let text = post(calls.collect()).await;
        assert!(text.len() > 200 * 500);
    }
    rate("eth_getBlockByNumber, batches of 200 over HTTP", 20_000, started);

    let started = Instant::now();
    for at in 0..1_000u64 {
        post(call(at, "eth_getBlockByNumber", json!([format!("{at:#x}"), false]))).await;
    }
    rate("eth_getBlockByNumber, one by one over HTTP", 1_000, started);

    let started = Instant::now();
    for _ in 0..100 {
        let filter = json!([{ "fromBlock": "0x0", "toBlock": "0xc350", "address": Address::repeat_byte(9) }]);
        post(call(1, "eth_getLogs", filter)).await;
    }
    rate("eth_getLogs over 50,000 sparse blocks (blocks)", 5_000_000, started);

    let raw = transfers(3_000, 3_000);
    let started = Instant::now();
    for tx in &raw {
        post(call(1, "eth_sendRawTransaction", json!([tx]))).await;
    }
    rate("eth_sendRawTransaction, one by one over HTTP", 3_000, started);

    let raw = transfers(6_000, 6_000);
    let started = Instant::now();
    for chunk in raw.chunks(100) {
        post(chunk.iter().map(|tx| call(1, "eth_sendRawTransaction", json!([tx]))).collect()).await;
    }
    rate("eth_sendRawTransaction, batches of 100 over HTTP", 6_000, started);

    let count = devnet.request("eth_getTransactionCount", json!([key_address(), "latest"])).await.unwrap();
    assert_eq!(count, "0x2ee0", "all 12,000 are mined");
    server.shutdown().await;
}

fn key_address() -> Address {
    alloy_primitives::address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266")
}
