//! Worlds that the tests use.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::{Address, U256};
use windlass_devnet_band::{BandConfig, Chain, GenesisAccount, GenesisValidator, ResultVersion};
use windlass_keys::Signer;
use windlass_outbox::OutboxConfig;
use windlass_sim::chain::{SimChain, SimChainConfig, ether};
use windlass_sim::world::{Calm, Forker, Miner};
use windlass_sim::{Database, Failure, FaultProfile, FaultyRpc, ProcessId, Simulation, signer};
use windlass_store::UnixMillis;
use windlass_vrf::config::{ProofSource, Unprofitable};
use windlass_vrf::machine::Policy;
use windlass_vrf::ports::band::BroadcastMode;
use windlass_vrf::protocol::multistore::Layout;
use windlass_vrf::protocol::task::ProviderVersion;
use windlass_vrf::protocol::tx::MessageType;
use windlass_vrf::protocol::vote::EncodedChainId;
use windlass_vrf::work::{BandKey, RequestOptions};

use crate::band::{BandProfile, FaultyBand, SimBand};
use crate::contracts::{self, Genesis};
use crate::program::{Picture, RelayProgram, SharedPicture};
use crate::rules::{Limits, RelayRules, SharedTally, Tally};
use crate::users::{
    Account, BandClock, BandEcho, BandUser, BandWeather, Demand, ForeignRelayer, Owner, OwnerPlan, RESOLVE_AFTER, Users,
};

/// Start of the virtual time, milliseconds.
pub(crate) const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// Consumers whose callers are served, and one that is not.
pub(crate) const CONSUMERS: [Address; 3] = [Address::repeat_byte(0xc1), Address::repeat_byte(0xc2), Address::repeat_byte(0xc3)];
pub(crate) const STRANGER: Address = Address::repeat_byte(0xc9);

/// Accounts of the client chain by index.
const WORKER: u64 = 1;
const USERS: u64 = 10;
const OWNER: u64 = 20;
const ADMIN: u64 = 21;
const FOREIGNER: u64 = 30;

/// Oracle scripts that Band has: one for each generation, and one to change to.
pub(crate) const SCRIPT: u64 = 43;
pub(crate) const OTHER_SCRIPT: u64 = 44;

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
    F: AsyncFn(u64, Database) + Sync,
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
                    runtime.block_on(async {
                        for database in databases().await {
                            life(seed, database).await;
                        }
                    });
                }
            });
        }
    });
}

/// SQLite, and PostgreSQL where there is one.
async fn databases() -> Vec<Database> {
    let mut databases = vec![Database::sqlite().unwrap()];
    if let Some(postgres) = Database::postgres().await {
        databases.push(postgres.unwrap());
    }
    databases
}

/// What a world is like.
pub(crate) struct Options {
    /// Values that users ask for.
    pub(crate) tasks: usize,
    pub(crate) version: ProviderVersion,
    pub(crate) layout: Layout,
    pub(crate) confirmations: u64,
    /// One more than the deepest reorganisation.
    pub(crate) final_depth: u64,
    pub(crate) block_interval: Duration,
    pub(crate) band_interval: Duration,
    pub(crate) tick_ms: RangeInclusive<u64>,
    /// Probability per step, and depth.
    pub(crate) forks: Option<(f64, RangeInclusive<u64>)>,
    /// Endpoints of the client chain, and how many of them must agree.
    pub(crate) profiles: Vec<FaultProfile>,
    pub(crate) quorum: usize,
    pub(crate) lens: bool,
    pub(crate) band_profiles: Vec<BandProfile>,
    /// Probability per step that the nodes of BandChain get other faults, and that a waiting transaction vanishes.
    pub(crate) band_weather: (f64, f64),
    /// Probability per step that some old Band transaction comes back.
    pub(crate) band_echo: f64,
    /// Shares of the requests that fail and expire.
    pub(crate) band_ends: (f64, f64),
    pub(crate) owner: OwnerPlan,
    /// Probability per step that somebody else begins to relay.
    pub(crate) foreign: f64,
    pub(crate) instances: usize,
    /// How probable it is that a question or a reply is still on its way after a turn of the relay.
    pub(crate) slowness: f64,
    /// How far the clock of the relay is from the chains' time, milliseconds.
    pub(crate) skew_ms: i64,
    /// What users pay for a task, wei.
    pub(crate) fee: RangeInclusive<u64>,
    /// Whether the Bridge accepts another BandChain.
    pub(crate) other_band: bool,
    /// Round in which Band's blocks are decided.
    pub(crate) round: u32,
    /// Price of gas that Band's nodes ask.
    pub(crate) band_gas_price: &'static str,
    pub(crate) band_funds: u128,
    pub(crate) policy: fn(&mut Policy),
    pub(crate) limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tasks: 5,
            version: ProviderVersion::V2,
            layout: Layout::V3,
            confirmations: 2,
            final_depth: 6,
            block_interval: Duration::from_secs(4),
            band_interval: Duration::from_secs(2),
            tick_ms: 0..=800,
            forks: None,
            profiles: vec![FaultProfile::none()],
            quorum: 1,
            lens: true,
            band_profiles: vec![BandProfile::none(), BandProfile::none()],
            band_weather: (0.0, 0.0),
            band_echo: 0.0,
            band_ends: (0.0, 0.0),
            owner: OwnerPlan::default(),
            foreign: 0.0,
            instances: 1,
            slowness: 0.2,
            skew_ms: 0,
            fee: 1..=1_000_000,
            other_band: false,
            round: 0,
            band_gas_price: "0.0025",
            band_funds: 1_000_000_000,
            policy: |_| {},
            limits: Limits::default(),
        }
    }
}

/// A world with users, a provider, BandChain and a relay between them.
pub(crate) struct World {
    pub(crate) sim: Simulation,
    pub(crate) chain: SimChain,
    pub(crate) band: SimBand,
    pub(crate) nodes: Vec<FaultyRpc>,
    pub(crate) band_nodes: Vec<FaultyBand>,
    pub(crate) demand: Demand,
    pub(crate) picture: SharedPicture,
    pub(crate) tally: SharedTally,
    pub(crate) calm: Calm,
    pub(crate) processes: Vec<ProcessId>,
    pub(crate) worker: Address,
    /// Changes contracts by the word of a test. Not looked after: for worlds without forks.
    pub(crate) admin: Account,
    program: RelayProgram,
    tasks: usize,
    limits: Limits,
    callers: BTreeSet<Address>,
}

/// BandChain with its genesis.
fn band_chain(seed: u64, options: &Options, account: &str) -> Chain {
    let rich = |address: &str, uband: u128| GenesisAccount { address: address.to_owned(), uband };
    let foreign = BandUser::new(ForeignRelayer::BAND_USER);
    let version = if options.version == ProviderVersion::V1 { ResultVersion::V1 } else { ResultVersion::V2 };
    let mut chain = Chain::new(BandConfig {
        layout: options.layout,
        validators: GenesisValidator::many(seed, 4),
        seed,
        genesis_time_ms: START.0 as u64 - 10_000,
        accounts: vec![rich(foreign.address(), 1_000_000_000), rich(account, options.band_funds)],
        oracle_scripts: [(SCRIPT, version), (OTHER_SCRIPT, version)].into(),
        resolve_after: RESOLVE_AFTER,
        expiration_blocks: 12,
        keep_heights: 20_000,
        round: options.round,
        min_gas_price: options.band_gas_price.to_owned(),
        ..BandConfig::default()
    })
    .unwrap();
    (chain.faults_mut().fail_probability, chain.faults_mut().expire_probability) = options.band_ends;
    chain
}

fn policy(options: &Options, worker: Address, callers: BTreeSet<Address>) -> Policy {
    let mut policy = Policy {
        worker,
        callers,
        start_nonce: 0,
        look_back: None,
        confirmations: options.confirmations,
        final_depth: options.final_depth,
        reconcile_ms: 15_000,
        dry_run: false,
        unprofitable: Unprofitable::Relay,
        min_margin_percent: 0,
        expected_relay_gas: 600_000,
        request_cost: U256::ZERO,
        max_in_flight: 256,
        min_count: 2,
        ask_count: 3,
        max_requests: 12,
        pause_first_ms: 500,
        pause_max_ms: 8_000,
        hold_max_ms: 30_000,
        band_chain_id: None,
        band_denom: "uband".to_owned(),
        band_gas_limit: 800_000,
        band_gas_price: "0.0025".parse().unwrap(),
        band_max_gas_price: "0.025".parse().unwrap(),
        band_max_batch: 4,
        band_max_in_flight: 3,
        band_rebroadcast_ms: 10_000,
        band_search_blocks: 20,
        band_search_ms: 60_000,
        band_proof_after: if options.band_profiles.iter().all(|profile| profile.grpc_only) { 2 } else { 1 },
        band_answer_ms: 60_000,
    };
    (options.policy)(&mut policy);
    policy
}

fn request_options(options: &Options) -> RequestOptions {
    RequestOptions {
        client_id: "vrf_worker".to_owned(),
        prepare_gas: 100_000,
        execute_gas: 400_000,
        ds_fee_limit: 1_000,
        denom: "uband".to_owned(),
        message: if options.layout == Layout::V3 { MessageType::V3 } else { MessageType::V2 },
        broadcast: BroadcastMode::Sync,
        proof_source: ProofSource::Auto,
        has_rpc: options.band_profiles.iter().any(|profile| !profile.grpc_only),
        wants_gas_price: true,
        quorum: options.quorum,
    }
}

impl World {
    pub(crate) fn new(seed: u64, database: Database, options: Options) -> Self {
        let mut sim = Simulation::new(seed, database, START);
        sim.set_tick_ms(options.tick_ms.clone());
        let calm = Calm::default();
        let worker = signer(WORKER).unwrap();
        let rich = (USERS..USERS + 5).chain([WORKER, OWNER, ADMIN, FOREIGNER]);
        let chain = SimChain::new(SimChainConfig {
            seed: sim.draw_seed(),
            genesis_timestamp: START.to_seconds().0 as u64 - 12,
            // What has its confirmations is final on the chain too: two forks in a row may reach deeper than either.
            finality_depth: options.final_depth - 1,
            balances: rich.map(|index| (signer(index).unwrap().address(), ether(100))).collect::<BTreeMap<_, _>>(),
            ..SimChainConfig::default()
        });
        let relay = BandUser::new(0);
        let band_seed = sim.draw_seed();
        let band = SimBand::new(band_chain(band_seed, &options, relay.address()), relay.address());
        let genesis = Genesis {
            version: options.version,
            oracle_script_id: SCRIPT,
            min_count: 2,
            ask_count: 3,
            validators: band.with(|chain| chain.validators_for_bridge()),
            encoded_chain_id: if options.other_band {
                EncodedChainId::new("laozi-mainnet")
            } else {
                band.with(|chain| chain.encoded_chain_id())
            },
            layout: options.layout,
            consumers: CONSUMERS.into_iter().chain([STRANGER]).collect(),
        };
        contracts::deploy(&chain, &genesis);
        let nodes: Vec<FaultyRpc> = options
            .profiles
            .iter()
            .enumerate()
            .map(|(index, profile)| FaultyRpc::new(chain.clone(), &format!("node{index}"), sim.draw_seed(), profile.clone()))
            .collect();
        let band_nodes: Vec<FaultyBand> = options
            .band_profiles
            .iter()
            .enumerate()
            .map(|(index, profile)| FaultyBand::new(band.clone(), &format!("band{index}"), sim.draw_seed(), profile.clone()))
            .collect();
        let demand = Demand::default();
        let users =
            Users::new(&chain, USERS, &genesis.consumers, demand.clone(), options.fee.clone(), sim.draw_seed(), calm.clone());
        let callers: BTreeSet<Address> = CONSUMERS.into_iter().chain([users.plain()]).collect();
        let picture = SharedPicture::default();
        let program = RelayProgram {
            name: String::new(),
            chain: chain.clone(),
            nodes: nodes.clone(),
            band: band.clone(),
            band_nodes: band_nodes.clone(),
            signer: worker.clone(),
            key: BandKey { key: relay.key().clone(), address: relay.address().to_owned() },
            policy: policy(&options, worker.address(), callers.clone()),
            options: request_options(&options),
            outbox: OutboxConfig { finality_depth: options.final_depth, ..OutboxConfig::default() },
            lens: options.lens,
            quorum: options.quorum,
            max_reorg_depth: options.final_depth + 4,
            shared: options.instances > 1,
            skew_ms: options.skew_ms,
            slowness: options.slowness,
            seed: sim.draw_seed(),
            picture: picture.clone(),
        };
        let add = |index| sim.add_process(Arc::new(RelayProgram { name: format!("instance{index}"), ..program.clone() }));
        let processes = (0..options.instances).map(add).collect();
        let tally = SharedTally::default();
        sim.add_checker(Box::new(RelayRules::new(
            chain.clone(),
            band.clone(),
            genesis.clone(),
            worker.address(),
            callers.clone(),
            options.confirmations,
            options.limits.clone(),
            tally.clone(),
        )));
        let (tasks, limits) = (options.tasks, options.limits.clone());
        let admin = Account::new(chain.clone(), ADMIN);
        let mut world = Self {
            admin,
            program,
            sim,
            chain,
            band,
            nodes,
            band_nodes,
            demand,
            picture,
            tally,
            calm,
            processes,
            worker: worker.address(),
            tasks,
            limits,
            callers,
        };
        world.populate(genesis, users, options);
        world
    }

    fn populate(&mut self, genesis: Genesis, users: Users, options: Options) {
        let Self { sim, chain, band, calm, .. } = self;
        let mut seeds = (0..6).map(|_| sim.draw_seed()).collect::<Vec<u64>>().into_iter();
        let mut draw = || seeds.next().unwrap();
        sim.add_actor(10, Box::new(Miner::new(chain.clone(), options.block_interval, draw(), calm.clone())));
        sim.add_actor(10, Box::new(BandClock::new(band.clone(), options.band_interval)));
        sim.add_actor(4, Box::new(users));
        let owner = Owner::new(chain, OWNER, genesis.clone(), options.owner, draw(), calm.clone());
        sim.add_actor(2, Box::new(owner));
        if let Some((probability, depth)) = options.forks {
            sim.add_actor(5, Box::new(Forker::new(chain.clone(), probability, depth, draw(), calm.clone()).returning(0.25)));
        }
        if options.foreign > 0.0 {
            let foreign = ForeignRelayer::new(chain, band, FOREIGNER, genesis, options.foreign, draw(), calm.clone());
            sim.add_actor(4, Box::new(foreign));
        }
        let (changes, drops) = options.band_weather;
        if changes > 0.0 || drops > 0.0 {
            let weather = BandWeather::new(band.clone(), self.band_nodes.clone(), changes, drops, draw(), calm.clone());
            sim.add_actor(2, Box::new(weather));
        }
        if options.band_echo > 0.0 {
            sim.add_actor(4, Box::new(BandEcho::new(band.clone(), options.band_echo, draw(), calm.clone())));
        }
        let healed = (calm.clone(), self.nodes.clone(), self.band_nodes.clone(), chain.clone(), band.clone());
        sim.on_heal(move || {
            let (calm, nodes, band_nodes, chain, band) = &healed;
            calm.set();
            nodes.iter().for_each(FaultyRpc::heal);
            band_nodes.iter().for_each(FaultyBand::heal);
            chain.thaw_all();
            band.with(|chain| chain.set_faults(windlass_devnet_band::Faults::none()));
        });
    }

    /// Lets the users ask for one more value every `every` steps, until all are asked for; then some more steps.
    pub(crate) async fn load(&mut self, every: u64, after: u64) -> Result<(), Failure> {
        for count in 1..=self.tasks {
            self.demand.release(count);
            self.sim.run(every).await?;
        }
        self.sim.run(after).await
    }

    /// One more process over the same database, with other settings; the first one does not come back.
    pub(crate) async fn restart_with(&mut self, change: impl FnOnce(&mut Policy)) {
        self.sim.kill(self.processes[0], Duration::from_secs(100_000_000)).await;
        let mut program = RelayProgram { name: "restarted".to_owned(), ..self.program.clone() };
        change(&mut program.policy);
        self.processes.push(self.sim.add_process(Arc::new(program)));
    }

    /// Ends the faults and waits until every task has its value and the relay has nothing left to do.
    pub(crate) async fn settle(&mut self) -> Result<(), Failure> {
        self.demand.release(self.tasks);
        let (demand, picture, chain) = (self.demand.clone(), self.picture.clone(), self.chain.clone());
        let (callers, stays) = (self.callers.clone(), self.limits.may_stay_open.clone());
        let outcome =
            self.sim.settle(20_000, move |_| demand.is_met() && is_done(&picture.lock(), &chain, &callers, &stays)).await;
        outcome.map_err(|failure| Failure { what: format!("{}\n{}", failure.what, self.describe()), ..failure })
    }

    /// Runs until the relay's picture is as wanted.
    pub(crate) async fn until(&mut self, what: &str, reached: impl Fn(&Picture, &Tally) -> bool) -> Result<(), Failure> {
        let (picture, tally) = (self.picture.clone(), self.tally.clone());
        if self.sim.run_until(8_000, move |_| reached(&picture.lock(), &tally.lock())).await? {
            return Ok(());
        }
        Err(self.sim.failure(format!("it never came to this: {what}\n{}", self.describe())))
    }

    /// Tasks, transactions and chains for a failure.
    fn describe(&self) -> String {
        let picture = self.picture.lock();
        let tasks = picture.tasks.values().filter(|task| !task.state.is_terminal()).map(|task| {
            format!("  task {} {} request {:?}: {}; last {:?}", task.key(), task.state, task.request, task.why(), task.last_error)
        });
        let on_chain =
            contracts::tasks_of(&self.chain.head().state).into_iter().filter(|(_, on_chain)| !on_chain.task.is_resolved);
        let on_chain = on_chain
            .map(|(nonce, on_chain)| format!("  open on chain: {nonce} of {} {}", on_chain.task.caller, on_chain.task.seed));
        let rest = format!(
            "  open slots {}, lane {:?}, obstacles {:?}, {:?}, holds {:?}",
            picture.open,
            picture.lane_hold,
            picture.obstacles,
            self.tally.lock(),
            picture.holds
        );
        tasks.chain(on_chain).chain([rest]).collect::<Vec<_>>().join("\n")
    }
}

/// Every served task has its value, and the relay knows it.
fn is_done(picture: &Picture, chain: &SimChain, callers: &BTreeSet<Address>, stays: &[Address]) -> bool {
    let settled = picture.live().all(|task| stays.contains(&task.chain.caller) && task.hold.is_some());
    settled
        && picture.open == 0
        && contracts::tasks_of(&chain.head().state).values().all(|on_chain| {
            on_chain.task.is_resolved || !callers.contains(&on_chain.task.caller) || stays.contains(&on_chain.task.caller)
        })
}

/// Fails the test with seed and trace.
pub(crate) fn pass(outcome: Result<(), Failure>) {
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
