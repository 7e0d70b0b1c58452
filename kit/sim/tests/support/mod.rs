//! Worlds that several tests use.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::{Address, U256};
use windlass_keys::{LocalSigner, Signer};
use windlass_outbox::{Intent, OutboxConfig};
use windlass_sim::chain::{SimChain, SimChainConfig, ether};
use windlass_sim::outbox::{Orders, OutboxChecker, OutboxLimits, OutboxProgram};
use windlass_sim::world::{Calm, ForeignHashes, Forker, Miner};
use windlass_sim::{Database, Failure, FaultProfile, FaultyRpc, Simulation, signer};
use windlass_store::UnixMillis;

/// Start of the virtual time, milliseconds.
pub(crate) const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// The seeds of a test: one from `WINDLASS_SEED`, or as many as `WINDLASS_SEEDS` says, or `default`.
pub(crate) fn seeds(default: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(seed) = number("WINDLASS_SEED") {
        return vec![seed];
    }
    (0..number("WINDLASS_SEEDS").unwrap_or(default)).collect()
}

/// Runs `life` for each seed, on all cores. A simulation itself is one thread; each has a runtime of its own.
pub(crate) fn each<F>(default_seeds: u64, life: F)
where
    F: AsyncFn(u64) + Sync,
{
    let waiting = Mutex::new(seeds(default_seeds).into_iter());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                loop {
                    let Some(seed) = waiting.lock().unwrap().next() else {
                        return;
                    };
                    runtime.block_on(life(seed));
                }
            });
        }
    });
}

/// SQLite, and PostgreSQL where there is one.
pub(crate) async fn databases() -> Vec<Database> {
    let mut databases = vec![Database::sqlite().unwrap()];
    if let Some(postgres) = Database::postgres().await {
        databases.push(postgres.unwrap());
    }
    databases
}

/// What a world with an outbox is like.
pub(crate) struct Options {
    pub(crate) orders: usize,
    pub(crate) confirmations: u64,
    pub(crate) profiles: Vec<FaultProfile>,
    pub(crate) block_interval: Duration,
    pub(crate) tick_ms: RangeInclusive<u64>,
    pub(crate) config: OutboxConfig,
    pub(crate) limits: OutboxLimits,
    pub(crate) quorum: usize,
    /// Probability per step, and depth.
    pub(crate) forks: Option<(f64, RangeInclusive<u64>)>,
    pub(crate) adjust: fn(usize, Intent) -> Intent,
    pub(crate) instances: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            orders: 5,
            confirmations: 4,
            profiles: vec![FaultProfile::none()],
            block_interval: Duration::from_secs(4),
            tick_ms: 0..=800,
            config: OutboxConfig { finality_depth: 6, ..OutboxConfig::default() },
            limits: OutboxLimits::default(),
            quorum: 1,
            forks: None,
            adjust: |_, intent| intent,
            instances: 1,
        }
    }
}

/// A world with one account, its outbox and a miner.
pub(crate) struct World {
    pub(crate) sim: Simulation,
    pub(crate) chain: SimChain,
    pub(crate) nodes: Vec<FaultyRpc>,
    pub(crate) orders: Orders,
    pub(crate) signer: LocalSigner,
    pub(crate) foreign: ForeignHashes,
    pub(crate) calm: Calm,
    pub(crate) processes: Vec<windlass_sim::ProcessId>,
}

impl World {
    pub(crate) fn new(seed: u64, database: Database, options: Options) -> Self {
        let mut sim = Simulation::new(seed, database, START);
        sim.set_tick_ms(options.tick_ms);
        let signer = signer(1).unwrap();
        let calm = Calm::default();
        let chain = SimChain::new(SimChainConfig {
            seed: sim.draw_seed(),
            genesis_timestamp: START.to_seconds().0 as u64 - 12,
            // What has its confirmations is final on the chain too: two forks in a row may reach deeper than either.
            finality_depth: options.confirmations - 1,
            balances: BTreeMap::from([(signer.address(), ether(10))]),
            ..SimChainConfig::default()
        });
        let nodes: Vec<FaultyRpc> = options
            .profiles
            .iter()
            .enumerate()
            .map(|(index, profile)| FaultyRpc::new(chain.clone(), &format!("node{index}"), sim.draw_seed(), profile.clone()))
            .collect();
        let orders = Orders::new(options.orders, sim.draw_seed(), options.confirmations, options.adjust);
        let foreign = ForeignHashes::default();
        let processes = (0..options.instances)
            .map(|index| {
                let program = OutboxProgram {
                    name: format!("instance{index}"),
                    chain: chain.clone(),
                    nodes: nodes.clone(),
                    signer: signer.clone(),
                    config: options.config.clone(),
                    quorum: options.quorum,
                    orders: orders.clone(),
                    foreign: foreign.clone(),
                    seed: sim.draw_seed(),
                };
                sim.add_process(Arc::new(program))
            })
            .collect();
        let miner_seed = sim.draw_seed();
        sim.add_actor(10, Box::new(Miner::new(chain.clone(), options.block_interval, miner_seed, calm.clone())));
        if let Some((probability, depth)) = options.forks {
            let seed = sim.draw_seed();
            let forker = Forker::new(chain.clone(), probability, depth, seed, calm.clone());
            sim.add_actor(5, Box::new(forker));
        }
        sim.add_checker(Box::new(OutboxChecker::new(
            chain.clone(),
            signer.address(),
            orders.clone(),
            foreign.clone(),
            options.limits,
        )));
        let healed = (calm.clone(), nodes.clone(), chain.clone());
        sim.on_heal(move || {
            let (calm, nodes, chain) = &healed;
            calm.set();
            nodes.iter().for_each(FaultyRpc::heal);
            chain.thaw_all();
        });
        Self { sim, chain, nodes, orders, signer, foreign, calm, processes }
    }

    pub(crate) fn account(&self) -> Address {
        self.signer.address()
    }

    /// Ends the faults and waits until all orders are finished.
    pub(crate) async fn settle(&mut self) -> Result<(), Failure> {
        let orders = self.orders.clone();
        orders.release(usize::MAX);
        let outcome = self.sim.settle(20_000, move |_| orders.all_finished()).await;
        outcome.map_err(|failure| Failure { what: format!("{}\n{}", failure.what, self.describe()), ..failure })
    }

    /// Orders, chain and pool for a failure.
    fn describe(&self) -> String {
        let orders = self.orders.all();
        let orders = orders.iter().map(|order| format!("  {} {:?} told {:?}", order.key, order.id, order.state));
        let seen = self.chain.seen().into_iter().map(|transaction| {
            format!(
                "  signed {} nonce {} fee {} tip {} landed {} data {}",
                transaction.hash,
                transaction.nonce,
                transaction.max_fee_per_gas,
                transaction.max_priority_fee_per_gas,
                self.chain.landed_at(transaction.hash).is_some(),
                transaction.input
            )
        });
        let pooled = self.chain.pooled();
        let pooled = pooled.iter().map(|transaction| format!("  pooled {} nonce {}", transaction.hash, transaction.nonce));
        let next = self.chain.nonce(self.account());
        let head = self.chain.head();
        orders
            .chain(seen)
            .chain(pooled)
            .chain([format!(
                "  next nonce {next}, balance {}, head {} with base fee {:?}",
                self.chain.balance(self.account()),
                head.header.number,
                head.header.base_fee_per_gas
            )])
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// A balance that is enough for everything.
pub(crate) fn plenty() -> U256 {
    ether(10)
}

/// Fails the test with seed and trace.
pub(crate) fn pass(outcome: Result<(), Failure>) {
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
