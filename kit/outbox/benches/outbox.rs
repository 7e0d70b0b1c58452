//! Rate and delay of the outbox: one account, the embedded chain over HTTP, SQLite with full synchronisation.
//!
//! `cargo bench -p windlass-outbox` prints: intents recorded per second; transactions per second from recorded to included
//! (checked on the chain: each landed once); and the time from the call that records an intent to the request that broadcasts
//! it, which is the outbox's own (two commits in it), and to the node's answer. `WINDLASS_BENCH_FOLDER` chooses where the
//! database lies.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, U256};
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use windlass_chain::{Answer, BlockId, Endpoints, EndpointsConfig, HttpRpc, HttpRpcOptions, Rpc, RpcCall, RpcError};
use windlass_devnet_evm::{Devnet, DevnetConfig, Mining};
use windlass_keys::{LocalSigner, Signer};
use windlass_outbox::{Intent, Outbox, OutboxConfig, State, Until};
use windlass_store::Store;

const RECORDS: u64 = 10_000;
const TRANSACTIONS: u64 = 5_000;
const PROBES: u64 = 300;

/// A connection that notes when the last broadcast left and when it was answered.
struct Timed {
    node: HttpRpc,
    sent: Arc<Mutex<Option<(Instant, Instant)>>>,
}

#[async_trait]
impl Rpc for Timed {
    async fn request(&self, method: &str, params: Value) -> Result<Answer, RpcError> {
        let began = Instant::now();
        let answer = self.node.request(method, params).await;
        if method == "eth_sendRawTransaction" {
            *self.sent.lock().unwrap() = Some((began, Instant::now()));
        }
        answer
    }

    async fn batch(&self, calls: Vec<RpcCall>) -> Result<Vec<Result<Answer, RpcError>>, RpcError> {
        self.node.batch(calls).await
    }

    fn label(&self) -> &str {
        self.node.label()
    }
}

struct Bench {
    outbox: Outbox,
    endpoints: Endpoints,
    account: Address,
    sent: Arc<Mutex<Option<(Instant, Instant)>>>,
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
    let sent = Arc::new(Mutex::new(None));
    let node = HttpRpc::new(&server.http_url(), HttpRpcOptions::default()).unwrap();
    let rpc: Arc<dyn Rpc> = Arc::new(Timed { node, sent: Arc::clone(&sent) });
    let endpoints = Endpoints::with_rpcs(&EndpointsConfig::new("devnet", []), vec![rpc], Vec::new(), true);
    let signer = LocalSigner::from_bytes(&key.0).unwrap();
    let account = signer.address();
    let config = OutboxConfig {
        max_in_flight,
        head_poll_min: Duration::from_millis(5),
        head_poll: Duration::from_millis(100),
        ..OutboxConfig::for_chain("devnet")
    };
    let outbox = Outbox::open(store, endpoints.clone(), Arc::new(signer), config).await.unwrap();
    Bench { outbox, endpoints, account, sent, _folder: folder, _server: server }
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

/// Millisecond percentiles.
fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |permille: usize| times[(times.len() - 1) * permille / 1000].as_secs_f64() * 1000.0;
    format!("p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, most {:.1} ms", at(500), at(900), at(990), at(1000))
}

async fn latency() {
    let bench = bench(Mining::Interval(200), 64).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (outbox, stop) = (bench.outbox.clone(), stop.clone());
        async move { outbox.run(stop).await }
    });
    let (mut own, mut node, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..PROBES {
        let mut events = bench.outbox.events();
        let started = Instant::now();
        let id = bench.outbox.submit(intent("probe", number)).await.unwrap();
        while let Ok(transition) = events.recv().await {
            if transition.id == id && transition.to == State::Broadcast {
                break;
            }
        }
        let (left, answered) = bench.sent.lock().unwrap().take().unwrap();
        own.push(left - started);
        node.push(answered - left);
        whole.push(answered - started);
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    println!("event to broadcast, without the node's time: {} ({PROBES} probes, two commits each)", percentiles(own));
    println!("the node's time for a broadcast, over HTTP:  {}", percentiles(node));
    println!("event to the node's acceptance:              {}", percentiles(whole));
    stop.cancel();
    running.await.unwrap().unwrap();
}

fn main() {
    // `cargo test --benches` only asks whether it runs.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load average at the start: {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        recording().await;
        throughput("a block every 100 ms", Mining::Interval(100)).await;
        throughput("a block per transaction", Mining::Automatic).await;
        latency().await;
    });
}
