//! How many blocks per second the follower and the backfill read from the embedded chain, over HTTP on the loopback interface.
//!
//! `cargo bench -p windlass-chain`; `WINDLASS_BENCH_BLOCKS` sets the length of the chain (default 100000). One block in 500 has a log.
//! Every run checks that all logs were delivered, once and in order. The store is SQLite in a file, in full-synchronous mode.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256};
use futures::StreamExt;
use serde_json::{Value, json};
use windlass_chain::{
    BackfillOptions, Endpoints, EndpointsConfig, FollowConfig, Follower, LogFilter, MIGRATIONS, Start, backfill,
};
use windlass_devnet_evm::{Devnet, DevnetConfig, Mining};
use windlass_store::Store;

const BLOCKS_PER_LOG: u64 = 500;
/// Deploys a contract whose every call emits one log with topic 1: `LOG1(0, 0, 1)`.
const EMITTER: &str = "0x676001600060 00a100600052600860 18f3";

async fn chain(blocks: u64) -> (Devnet, Address, u64) {
    let config = DevnetConfig { mining: Mining::Manual, genesis_timestamp: Some(1_700_000_000), ..DevnetConfig::default() };
    let devnet = Devnet::new(config);
    let accounts = devnet.request("eth_accounts", json!([])).await.unwrap();
    let sender = accounts[0].clone();
    let send = |transaction: Value| devnet.request("eth_sendTransaction", json!([transaction]));
    let hash = send(json!({ "from": sender, "data": EMITTER.replace(' ', ""), "gas": "0x100000" })).await.unwrap();
    devnet.mine(1, 12);
    let receipt = devnet.request("eth_getTransactionReceipt", json!([hash])).await.unwrap();
    let emitter: Address = serde_json::from_value(receipt["contractAddress"].clone()).unwrap();
    let mut logs = 0;
    while devnet.height() < blocks {
        send(json!({ "from": sender, "to": emitter, "gas": "0x10000" })).await.unwrap();
        logs += 1;
        devnet.mine(BLOCKS_PER_LOG.min(blocks - devnet.height()), 12);
    }
    (devnet, emitter, logs)
}

fn report(what: &str, blocks: u64, logs: u64, elapsed: Duration) {
    let rate = blocks as f64 / elapsed.as_secs_f64();
    println!("{what:<44} {blocks:>8} blocks {logs:>6} logs {:>9.3} s {rate:>12.0} blocks/s", elapsed.as_secs_f64());
}

async fn bench_backfill(endpoints: &Endpoints, blocks: u64, filter: &LogFilter, logs: u64) {
    let started = Instant::now();
    let mut found = Vec::new();
    let mut next = 0;
    let chunks = backfill(endpoints.clone(), 0..=blocks, filter.clone(), BackfillOptions::default());
    futures::pin_mut!(chunks);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.unwrap();
        assert_eq!(chunk.from, next);
        next = chunk.to + 1;
        found.extend(chunk.blocks.iter().flat_map(|block| &block.logs).map(|log| log.block_number));
    }
    report("backfill", blocks, found.len() as u64, started.elapsed());
    assert!(found.len() as u64 == logs && found.is_sorted() && next == blocks + 1);
}

async fn bench_follow(what: &str, endpoints: &Endpoints, blocks: u64, config: FollowConfig, logs: Option<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}", folder.path().join("bench.db").display())).await.unwrap();
    store.migrate(&MIGRATIONS).await.unwrap();
    let mut follower = Follower::load(store.clone(), endpoints.clone(), config).await.unwrap();
    let started = Instant::now();
    let (mut found, mut tip, mut delivered) = (0, None, 0);
    while let Some(batch) = follower.poll().await.unwrap() {
        found += batch.logs().count() as u64;
        tip = batch.tip().map(|block| block.number);
        delivered += batch.added.len() as u64;
        store
            .write("record", move |tx| Box::pin(async move { batch.record(tx).await }))
            .await
            .map_err(|error: windlass_chain::ChainError| error)
            .unwrap();
    }
    report(what, blocks, found, started.elapsed());
    assert_eq!(tip, Some(blocks));
    assert!(logs.is_none_or(|logs| logs == found));
    assert!(delivered <= blocks + 1);
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let blocks = std::env::var("WINDLASS_BENCH_BLOCKS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
        let started = Instant::now();
        let (devnet, emitter, logs) = chain(blocks).await;
        println!("embedded chain of {blocks} blocks made in {:.1} s", started.elapsed().as_secs_f64());
        let server = devnet.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let config = EndpointsConfig::new("bench", [server.http_url().into()]);
        let endpoints = Endpoints::connect(config).await.unwrap();
        let filter = LogFilter::address(emitter).events([B256::with_last_byte(1)]);
        let follow = FollowConfig { start: Start::Block(0), filter: Some(filter.clone()), ..FollowConfig::new("bench") };

        bench_backfill(&endpoints, blocks, &filter, logs).await;
        bench_follow("follow, sparse catch-up", &endpoints, blocks, follow.clone(), Some(logs)).await;
        let every = FollowConfig { sparse_catch_up: false, ..follow.clone() };
        bench_follow("follow, every block", &endpoints, blocks, every, Some(logs)).await;
        let whole = FollowConfig { transactions: true, filter: None, ..follow };
        bench_follow("follow, every block with transactions", &endpoints, blocks, whole, None).await;
        server.shutdown().await;
    });
}
