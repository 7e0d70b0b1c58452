//! Rate and delay of the outbox: one account, the embedded chain over HTTP, SQLite with full synchronisation.
//!
//! `cargo bench -p windlass-outbox` prints three figures: intents recorded per second, transactions per second from recorded
//! to included (checked on the chain: each landed once), and the time from the call that records an intent to the node's
//! acceptance. `WINDLASS_BENCH_FOLDER` chooses where the database lies.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, U256};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use windlass_chain::{BlockId, EndpointUrl, Endpoints, EndpointsConfig};
use windlass_devnet_evm::{Devnet, DevnetConfig, Mining};
use windlass_keys::{LocalSigner, Signer};
use windlass_outbox::{Intent, Outbox, OutboxConfig, State, Until};
use windlass_store::Store;

const RECORDS: u64 = 10_000;
const TRANSACTIONS: u64 = 5_000;
const PROBES: u64 = 300;

struct Bench {
    outbox: Outbox,
    endpoints: Endpoints,
    account: Address,
    _folder: tempfile::TempDir,
    _server: windlass_devnet_evm::DevnetServer,
}

async fn bench(mining: Mining, max_in_flight: u64) -> Bench {
    let devnet = Devnet::new(DevnetConfig { mining, ..DevnetConfig::default() });
    let key: B256 = devnet.config().accounts[0].secret;
    let server = devnet.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let folder = match std::env::var_os("WINDLASS_BENCH_FOLDER") {
        Some(parent) => tempfile::tempdir_in(parent).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let store = Store::open(&format!("sqlite:{}", folder.path().join("bench.db").display())).await.unwrap();
    let endpoints = Endpoints::connect(EndpointsConfig::new("devnet", [EndpointUrl::new(server.http_url())])).await.unwrap();
    let signer = LocalSigner::from_bytes(&key.0).unwrap();
    let account = signer.address();
    let config = OutboxConfig {
        max_in_flight,
        head_poll_min: Duration::from_millis(5),
        head_poll: Duration::from_millis(100),
        ..OutboxConfig::for_chain("devnet")
    };
    let outbox = Outbox::open(store, endpoints.clone(), Arc::new(signer), config).await.unwrap();
    Bench { outbox, endpoints, account, _folder: folder, _server: server }
}

fn intent(name: &str, number: u64) -> Intent {
    Intent::new(format!("{name}/{number}"), Address::repeat_byte(0xaa))
        .with_value(U256::from(1))
        .with_gas_limit(21_000)
        .with_simulate(false)
        .with_confirmations(3)
}

async fn record(outbox: &Outbox, name: &str, number: u64) {
    futures::stream::iter((0..number).map(|at| outbox.submit(intent(name, at))))
        .for_each_concurrent(256, |one| async {
            one.await.unwrap();
        })
        .await;
}

async fn recording() {
    let bench = bench(Mining::Manual, 16).await;
    let started = Instant::now();
    record(&bench.outbox, "record", RECORDS).await;
    let rate = RECORDS as f64 / started.elapsed().as_secs_f64();
    println!("recorded: {rate:.0} intents/s ({RECORDS} intents, 256 callers)");
}

async fn throughput(name: &str, mining: Mining) {
    let bench = bench(mining, 512).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (outbox, stop) = (bench.outbox.clone(), stop.clone());
        async move { outbox.run(stop).await }
    });
    let before = bench.endpoints.transaction_count(bench.account, BlockId::LATEST).await.unwrap();
    let started = Instant::now();
    record(&bench.outbox, "throughput", TRANSACTIONS).await;
    let last = bench.outbox.id_of(&format!("throughput/{}", TRANSACTIONS - 1));
    bench.outbox.wait(last, Until::Included).await.unwrap();
    loop {
        let summary = bench.outbox.summary().await.unwrap();
        if summary.recorded + summary.signed + summary.broadcast == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let rate = TRANSACTIONS as f64 / started.elapsed().as_secs_f64();
    let after = bench.endpoints.transaction_count(bench.account, BlockId::LATEST).await.unwrap();
    assert_eq!(after - before, TRANSACTIONS, "each landed once");
    println!("recorded to included, {name}: {rate:.0} transactions/s ({TRANSACTIONS} transactions, 512 in flight)");
    stop.cancel();
    running.await.unwrap().unwrap();
}

async fn latency() {
    let bench = bench(Mining::Interval(200), 64).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (outbox, stop) = (bench.outbox.clone(), stop.clone());
        async move { outbox.run(stop).await }
    });
    let mut times = Vec::new();
    for number in 0..PROBES {
        let mut events = bench.outbox.events();
        let started = Instant::now();
        let id = bench.outbox.submit(intent("probe", number)).await.unwrap();
        while let Ok(transition) = events.recv().await {
            if transition.id == id && transition.to == State::Broadcast {
                break;
            }
        }
        times.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    times.sort();
    let at = |permille: usize| times[(times.len() - 1) * permille / 1000].as_secs_f64() * 1000.0;
    println!(
        "event to broadcast: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms ({PROBES} probes, two commits and the node's time included)",
        at(500),
        at(900),
        at(990)
    );
    stop.cancel();
    running.await.unwrap().unwrap();
}

fn main() {
    // `cargo test --benches` only asks whether it runs.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        recording().await;
        throughput("a block every 100 ms", Mining::Interval(100)).await;
        throughput("a block per transaction", Mining::Automatic).await;
        latency().await;
    });
}
