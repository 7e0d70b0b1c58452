//! Rate, delay, calls and memory of the relay: an EVM chain and a BandChain in one process with blocks every 50 ms, the relay alone in
//! another process, SQLite with full synchronisation.
//!
//! `cargo bench -p windlass-vrf --bench relay` prints, for a steady load, a light one and a thousand tasks in flight at once: tasks per second,
//! the time from the block with the request to the block with the relay, what of that is the relay's own, endpoint calls per task, and
//! memory and processor time of the relay's process. Every value is checked on chain: the provider must have as many resolved tasks as
//! were asked for, and BandChain as many requests.
//!
//! Own time of a task: from the block that made the request deep enough to the Band transaction's acceptance, plus from the Band
//! block whose signatures make the result provable to the relay's arrival in the pool of the client chain. The rest is the chains'.
//!
//! `WINDLASS_BENCH_TASKS`, `WINDLASS_BENCH_RATE` (per second), `WINDLASS_BENCH_VALIDATORS`, `WINDLASS_BENCH_FOLDER` (disk of the
//! database) change the load.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, U256, hex};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use windlass_chain::{Answer, Endpoints, EndpointsConfig, Header, Rpc, RpcCall, RpcError, WsRpc, WsRpcOptions};
use windlass_devnet_band::{BandConfig, BandDevnet, GenesisAccount, GenesisValidator};
use windlass_devnet_evm::{Devnet, DevnetConfig, Mining};
use windlass_keys::{LocalSigner, Mnemonic, Secret, Signer as _};
use windlass_node::config::{Schema, Sources};
use windlass_node::{Service as _, ServiceContext};
use windlass_outbox::{Outbox, OutboxConfig};
use windlass_store::{Store, params};
use windlass_vrf::deploy::{Deployed, Deployment, deploy};
use windlass_vrf::ports::client_chain::request_call;
use windlass_vrf::protocol::multistore::Layout;
use windlass_vrf::protocol::task::ProviderVersion;
use windlass_vrf::protocol::tx::BandAddress;
use windlass_vrf::{VrfConfig, VrfService, service};

const BLOCK: Duration = Duration::from_millis(50);
const PHRASE: &str = "test test test test test test test test test test test junk";
const CHILD: &str = "WINDLASS_BENCH_CHILD";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    windlass_chain::install_crypto_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Ok(folder) = std::env::var(CHILD) {
        runtime.block_on(child(&folder));
        return;
    }
    runtime.block_on(async {
        let tasks = number("WINDLASS_BENCH_TASKS", 4_000);
        let rate = number("WINDLASS_BENCH_RATE", 220);
        println!("blocks of both chains every {} ms, {} validators", BLOCK.as_millis(), validators());
        steady(tasks, rate).await;
        // With one task in every block nothing queues: what is left is the relay's own.
        steady(tasks.min(400), rate.min(20)).await;
        at_once(1_000).await;
    });
}

fn validators() -> usize {
    usize::try_from(number("WINDLASS_BENCH_VALIDATORS", 35)).unwrap()
}

// --- the relay's process ---------------------------------------------------------------------------------------------------------------------

/// A connection that counts what is asked.
struct Counted {
    node: WsRpc,
    asked: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Counted {
    fn count(&self, method: &str) {
        *self.asked.lock().unwrap().entry(method.to_owned()).or_default() += 1;
    }
}

#[async_trait]
impl Rpc for Counted {
    async fn request(&self, method: &str, params: Value) -> Result<Answer, RpcError> {
        self.count(method);
        self.node.request(method, params).await
    }

    async fn batch(&self, calls: Vec<RpcCall>) -> Result<Vec<Result<Answer, RpcError>>, RpcError> {
        calls.iter().for_each(|call| self.count(&call.method));
        self.node.batch(calls).await
    }

    fn label(&self) -> &str {
        self.node.label()
    }

    fn new_heads(&self) -> Option<tokio::sync::watch::Receiver<Option<Header>>> {
        self.node.new_heads()
    }
}

/// Runs the relay until its standard input ends, then prints what it asked.
async fn child(folder: &str) {
    let text = std::fs::read_to_string(format!("{folder}/windlass.toml")).unwrap();
    let schema = Schema::new().section::<VrfConfig>();
    let config = schema.load(&Sources::text("windlass.toml", &text)).unwrap_or_else(|errors| panic!("{errors}"));
    let (name, section) = config.instances::<VrfConfig>().next().unwrap();
    let url = config.chain("bench").unwrap().urls[0].expose().to_string();
    let asked = Arc::new(Mutex::new(BTreeMap::new()));
    let node = Counted { node: WsRpc::new(&url, WsRpcOptions::default()).unwrap(), asked: Arc::clone(&asked) };
    let endpoints = Endpoints::with_rpcs(
        &EndpointsConfig { chain_id: Some(31337), ..EndpointsConfig::new("bench", []) },
        vec![Arc::new(node) as Arc<dyn Rpc>],
        Vec::new(),
        true,
    );
    let store = Store::open(&format!("sqlite:{folder}/relay.db")).await.unwrap();
    let band = service::band_client(&section.band, section.quorum).unwrap();
    let counts = band.counts();
    let relay = Arc::new(VrfService::new(name, section.clone(), endpoints, Arc::new(band), store.clone()));
    for migrations in relay.migrations() {
        store.migrate(migrations).await.unwrap();
    }
    let ctx = ServiceContext::detached("vrf.bench");
    let shutdown = ctx.shutdown.clone();
    let running = tokio::spawn(Arc::clone(&relay).run(ctx));
    while !relay.status().await.ready.is_ready() {
        assert!(!running.is_finished(), "{:?}", running.await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("ready");
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().next());
    let _ = ended.await;
    shutdown.cancel();
    let _ = running.await;
    store.close().await;
    let band: BTreeMap<String, u64> =
        counts.snapshot().into_iter().map(|(method, count)| (method.name().to_owned(), count)).collect();
    println!("{}", json!({ "client": *asked.lock().unwrap(), "band": band }));
}

// --- the chains' process ---------------------------------------------------------------------------------------------------------------------

/// What the chains' process has seen, with the Unix milliseconds of the first time.
#[derive(Default)]
struct Seen {
    evm_blocks: Mutex<BTreeMap<u64, i64>>,
    band_blocks: Mutex<BTreeMap<u64, i64>>,
    /// Transactions in the pool of the client chain, by hash.
    pool: Mutex<HashMap<String, i64>>,
}

struct Bench {
    evm: Devnet,
    band: Arc<BandDevnet>,
    deployed: Deployed,
    folder: tempfile::TempDir,
    relay: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    seen: Arc<Seen>,
    consumers: Vec<Address>,
    /// Relayed values up to a block.
    counted: Mutex<(u64, u64)>,
    _server: windlass_devnet_evm::DevnetServer,
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

impl Bench {
    async fn start(resolve_after: std::ops::RangeInclusive<u64>) -> Self {
        let block_ms = u64::try_from(BLOCK.as_millis()).unwrap();
        let config = DevnetConfig { mining: Mining::Interval(block_ms), gas_limit: 120_000_000, ..DevnetConfig::default() };
        let keys: Vec<LocalSigner> =
            config.accounts.iter().map(|account| LocalSigner::from_bytes(&account.secret.0).unwrap()).collect();
        let evm = Devnet::new(config);
        let server = evm.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let phrase = Mnemonic::parse(&Secret::new(PHRASE.to_owned())).unwrap();
        let band_key = phrase.derive_path("m/44'/494'/0'/0/0", &Secret::new(String::new())).unwrap();
        let key = k256::ecdsa::SigningKey::from_slice(band_key.to_bytes().as_slice()).unwrap();
        let account = GenesisAccount { address: BandAddress::of_key(key.verifying_key()).to_string(), uband: 1_000_000_000_000 };
        let band = BandDevnet::start(BandConfig {
            validators: GenesisValidator::many(1, validators()),
            accounts: vec![account],
            resolve_after,
            block_interval: Some(BLOCK),
            max_block_gas: 10_000_000_000,
            store_leaves: 1 << 14,
            keep_heights: 200,
            ..BandConfig::default()
        })
        .await
        .unwrap();
        let band = Arc::new(band);
        let deployed = deploy_contracts(&keys[0], &server.ws_url().to_string(), &band).await;
        let consumers = keys[2..].iter().map(|key| key.address()).collect::<Vec<_>>();
        let folder = match std::env::var_os("WINDLASS_BENCH_FOLDER") {
            Some(parent) => tempfile::tempdir_in(parent).unwrap(),
            None => tempfile::tempdir().unwrap(),
        };
        let key = hex::encode(keys[1].to_bytes());
        write_configuration(folder.path(), &server.ws_url().to_string(), &band, &deployed, &consumers, &key);
        let mut relay = Command::new(std::env::current_exe().unwrap())
            .env(CHILD, folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(relay.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let seen = Arc::new(Seen::default());
        tokio::spawn(look(evm.clone(), Arc::clone(&band), Arc::clone(&seen)));
        let counted = Mutex::default();
        Self { evm, band, deployed, folder, relay, lines, seen, consumers, counted, _server: server }
    }

    async fn request(&self, number: u64) {
        let from = self.consumers[usize::try_from(number).unwrap() % self.consumers.len()];
        let call = json!([{
            "from": from, "to": self.deployed.provider, "data": request_call(format!("seed {number}").as_bytes()),
            "value": "0x38d7ea4c68000", "gas": "0x40000",
        }]);
        self.evm.request("eth_sendTransaction", call).await.unwrap_or_else(|error| panic!("{error:?}"));
    }

    /// Relayed values on the chain. Blocks that were counted before are not looked at again.
    async fn relayed(&self) -> u64 {
        let topic = "0xbb35e03f369500c47da299f2f157992432def6f457e32bf81db41dfd1e7cca9c";
        let (head, (until, count)) = (self.evm.height(), *self.counted.lock().unwrap());
        if until == head {
            return count;
        }
        let [from, to] = [until + 1, head].map(|number| format!("{number:#x}"));
        let filter = json!([{ "address": self.deployed.provider, "fromBlock": from, "toBlock": to, "topics": [topic] }]);
        let logs = self.evm.request("eth_getLogs", filter).await.unwrap();
        let count = count + u64::try_from(logs.as_array().unwrap().len()).unwrap();
        *self.counted.lock().unwrap() = (head, count);
        count
    }

    /// Peak and present resident memory in kB, and processor time in seconds.
    fn usage(&self) -> (u64, u64, f64) {
        usage_of(self.relay.id())
    }

    async fn wait_for(&self, tasks: u64, patience: Duration) {
        let begun = Instant::now();
        while self.relayed().await < tasks {
            assert!(begun.elapsed() < patience, "{} of {tasks} relayed", self.relayed().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the relay, and reads what it noted.
    async fn finish(mut self, tasks: u64) {
        let (_, _, cpu) = self.usage();
        let (_, _, chains) = usage_of(std::process::id());
        let head = self.evm.height();
        drop(self.relay.stdin.take());
        let asked: Value = serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap();
        self.relay.wait().unwrap();
        let paid = self.band.chain().request_count();
        assert_eq!(paid, tasks, "each task is paid for once");
        assert_eq!(self.relayed().await, tasks, "each task is relayed once");
        let store = Store::open(&format!("sqlite:{}/relay.db", self.folder.path().display())).await.unwrap();
        for (what, mut delays) in self.delays(&store).await {
            print_percentiles(what, &mut delays);
        }
        let sum = |part: &str| asked[part].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum::<u64>();
        let per_task = |count: u64| count as f64 / tasks as f64;
        println!(
            "  calls per task                        {:.2} (client chain {:.2}, BandChain {:.2})",
            per_task(sum("client") + sum("band")),
            per_task(sum("client")),
            per_task(sum("band"))
        );
        println!("  calls                                 {asked}");
        println!(
            "  processor time of the relay           {cpu:.1} s, {:.2} ms per task; of the chains so far {chains:.1} s; {head} blocks",
            cpu * 1_000.0 / tasks as f64
        );
    }

    /// Delays of every task, milliseconds.
    async fn delays(&self, store: &Store) -> Vec<(&'static str, Vec<i64>)> {
        let rows = store.query("SELECT nonce, at, to_state FROM vrf_history ORDER BY position", params![]).await.unwrap();
        let mut times: BTreeMap<u64, BTreeMap<String, i64>> = BTreeMap::new();
        for row in rows {
            let (nonce, at, state): (u64, i64, String) =
                (row.get("nonce").unwrap(), row.get("at").unwrap(), row.get("to_state").unwrap());
            times.entry(nonce).or_default().entry(state).or_insert(at);
        }
        let sql = "SELECT a.tx_hash AS hash, i.label AS label FROM outbox_attempts a JOIN outbox_intents i ON i.id = a.intent_id";
        let mut sent: BTreeMap<u64, i64> = BTreeMap::new();
        for row in store.query(sql, params![]).await.unwrap() {
            let (hash, label): (Vec<u8>, String) = (row.get("hash").unwrap(), row.get("label").unwrap());
            let nonce: u64 = label.rsplit(' ').next().unwrap().parse().unwrap();
            if let Some(at) = self.seen.pool.lock().unwrap().get(&hex::encode_prefixed(hash)) {
                sent.entry(nonce).and_modify(|first| *first = *at.min(first)).or_insert(*at);
            }
        }
        let names = [
            "request to relay, both in a block",
            "of that the relay's own time",
            "  block with the request to its row",
            "  row to signed Band transaction",
            "  signed to accepted",
            "  provable to row",
            "  row to relay recorded",
            "  relay recorded to broadcast",
        ];
        let mut delays: Vec<(&str, Vec<i64>)> = names.into_iter().map(|name| (name, Vec::new())).collect();
        let tasks = store.query("SELECT nonce, task FROM vrf_tasks", params![]).await.unwrap();
        let (evm, band) = (self.seen.evm_blocks.lock().unwrap(), self.seen.band_blocks.lock().unwrap());
        for row in tasks {
            let (nonce, text): (u64, String) = (row.get("nonce").unwrap(), row.get("task").unwrap());
            let task: Value = serde_json::from_str(&text).unwrap();
            let times = &times[&nonce];
            let seen = task["seen_block"].as_u64().unwrap();
            let resolved = task["request"]["resolved"].as_u64().unwrap();
            let mined = task["settled_block"].as_u64().unwrap();
            // A look may find the transaction in a block before its acceptance is told.
            let accepted = times.get("band_broadcast").unwrap_or(&times["band_signed"]);
            let blocks = (evm.get(&seen), band.get(&(resolved + 1)), evm.get(&mined));
            let ((Some(asked), Some(provable), Some(landed)), Some(sent)) = (blocks, sent.get(&nonce)) else { continue };
            let values = [
                landed - asked,
                (accepted - asked).max(0) + (sent - provable).max(0),
                times["confirmed"] - asked,
                times["band_signed"] - times["confirmed"],
                accepted - times["band_signed"],
                times["band_resolved"] - provable,
                times["relaying"] - times["band_resolved"],
                sent - times["relaying"],
            ];
            for (delays, value) in delays.iter_mut().zip(values) {
                delays.1.push(value);
            }
        }
        delays
    }
}

/// Peak and present resident memory in kB, and processor time in seconds, of a process.
fn usage_of(process: u32) -> (u64, u64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let ticks: f64 =
        stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2).map(|t| t.parse::<f64>().unwrap()).sum();
    (field("VmHWM:"), field("VmRSS:"), ticks / 100.0)
}

async fn look(evm: Devnet, band: Arc<BandDevnet>, seen: Arc<Seen>) {
    let pool = evm.request("eth_newPendingTransactionFilter", json!([])).await.unwrap();
    loop {
        seen.evm_blocks.lock().unwrap().entry(evm.height()).or_insert_with(now_ms);
        seen.band_blocks.lock().unwrap().entry(band.height()).or_insert_with(now_ms);
        let fresh = evm.request("eth_getFilterChanges", json!([pool])).await.unwrap();
        let now = now_ms();
        for hash in fresh.as_array().unwrap() {
            seen.pool.lock().unwrap().entry(hash.as_str().unwrap().to_owned()).or_insert(now);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn deploy_contracts(deployer: &LocalSigner, url: &str, band: &BandDevnet) -> Deployed {
    let endpoints = Endpoints::connect(EndpointsConfig::new("bench", [windlass_chain::EndpointUrl::new(url)])).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}/deploy.db", folder.path().display())).await.unwrap();
    let outbox = Outbox::open(store, endpoints, Arc::new(deployer.clone()), OutboxConfig::for_chain("bench")).await.unwrap();
    let stop = CancellationToken::new();
    let sender = tokio::spawn({
        let (outbox, stop) = (outbox.clone(), stop.clone());
        async move { outbox.run(stop).await }
    });
    let plan = Deployment {
        version: ProviderVersion::V2,
        layout: Layout::V3,
        validators: band.validators_for_bridge().into_iter().map(|(address, power)| (address, U256::from(power))).collect(),
        encoded_chain_id: band.encoded_chain_id(),
        oracle_script_id: 43,
        minimum_fee: U256::from(1_000_u64),
        counts: (2, 3),
    };
    let deployed = deploy(&outbox, "bench", &plan, Duration::from_secs(30)).await.unwrap();
    stop.cancel();
    let _ = sender.await;
    deployed
}

fn write_configuration(folder: &std::path::Path, url: &str, band: &BandDevnet, at: &Deployed, consumers: &[Address], key: &str) {
    let callers: Vec<String> = consumers.iter().map(|caller| format!("\"{caller}\"")).collect();
    let text = format!(
        "[chain.bench]\nurls = [\"{url}\"]\nchain_id = 31337\n\n[vrf.bench]\nchain = \"bench\"\nprovider = \"{}\"\nlens = \"{}\"\n\
         callers = [{}]\nconfirmations = 1\nfinal_depth = 5\nmax_in_flight = 2000\n\n[vrf.bench.account]\nprivate_key = \"{key}\"\nmax_in_flight = 256\n\n\
         [vrf.bench.band]\ngrpc = [\"{}\"]\nrpc = [\"{}\"]\nmnemonic = \"{PHRASE}\"\nmax_batch = 100\nmax_in_flight = 8\npoll_interval = \"5ms\"\n",
        at.provider,
        at.lens,
        callers.join(", "),
        band.grpc_url(),
        band.rpc_url(),
    );
    std::fs::File::create(folder.join("windlass.toml")).unwrap().write_all(text.as_bytes()).unwrap();
}

fn print_percentiles(what: &str, values: &mut [i64]) {
    values.sort_unstable();
    let at = |percent: usize| values[(values.len() - 1) * percent / 100];
    println!(
        "  {what:<37} p50 {} ms, p90 {} ms, p99 {} ms, most {} ms ({} tasks)",
        at(50),
        at(90),
        at(99),
        at(100),
        values.len()
    );
}

/// A steady load: a few requests in every block.
async fn steady(tasks: u64, rate: u64) {
    let bench = Bench::start(1..=1).await;
    let begun = Instant::now();
    let mut sent = 0;
    while sent < tasks {
        let due = (begun.elapsed().as_millis() as u64 * rate / 1_000).min(tasks);
        while sent < due {
            bench.request(sent).await;
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let asked = begun.elapsed();
    bench.wait_for(tasks, Duration::from_secs(120)).await;
    let took = begun.elapsed();
    let (peak, ..) = bench.usage();
    println!("steady load: {tasks} requests at {:.0} per second", tasks as f64 / asked.as_secs_f64());
    println!(
        "  rate                                  {:.0} tasks per second, all relayed after {:.1} s",
        tasks as f64 / took.as_secs_f64(),
        took.as_secs_f64()
    );
    println!("  peak memory of the relay              {:.1} MB", peak as f64 / 1_024.0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.finish(tasks).await;
}

/// So many tasks at once, whose results take two seconds.
async fn at_once(tasks: u64) {
    let bench = Bench::start(40..=40).await;
    let (_, before, _) = bench.usage();
    for task in 0..tasks {
        bench.request(task).await;
    }
    let begun = Instant::now();
    bench.wait_for(tasks, Duration::from_secs(120)).await;
    let (peak, ..) = bench.usage();
    println!("{tasks} tasks in flight at once, results after 40 blocks");
    println!("  all relayed after                     {:.1} s", begun.elapsed().as_secs_f64());
    println!(
        "  memory of the relay                   {:.1} MB idle, {:.1} MB at its peak",
        before as f64 / 1_024.0,
        peak as f64 / 1_024.0
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.finish(tasks).await;
}
