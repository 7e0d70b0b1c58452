//! A world for one outbox: a scripted chain, an endpoint that can misbehave, a store, and a clock that moves when told.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use windlass_chain::{Endpoints, EndpointsConfig, Rpc};
use windlass_keys::{LocalSigner, Signer};
use windlass_outbox::{Intent, IntentId, IntentStatus, Outbox, OutboxConfig, TurnReport};
use windlass_sim::chain::{SimChain, SimChainConfig, ether};
use windlass_sim::{FaultProfile, FaultyRpc, Transfer, signer};
use windlass_store::testing::{TestStore, options, postgres_with, sqlite_with};
use windlass_store::{Clock, ManualClock, StoreOptions, UnixMillis};

pub const START: UnixMillis = UnixMillis(1_700_000_000_000);
pub const TARGET: Address = Address::repeat_byte(0xaa);

pub struct World {
    pub chain: SimChain,
    pub rpc: FaultyRpc,
    pub clock: Arc<ManualClock>,
    pub store: TestStore,
    pub signer: LocalSigner,
    pub config: OutboxConfig,
    pub outbox: Outbox,
}

/// One world per back end that can be tested here.
pub async fn worlds(config: OutboxConfig) -> Vec<World> {
    let clock = || Arc::new(ManualClock::new(START));
    let with = |clock: &Arc<ManualClock>| StoreOptions { clock: clock.clone(), ..options() };
    let mine = clock();
    let mut worlds = vec![World::new(sqlite_with(with(&mine)).await, mine, config.clone()).await];
    let mine = clock();
    if let Some(store) = postgres_with(with(&mine)).await {
        worlds.push(World::new(store, mine, config).await);
    }
    worlds
}

pub fn config() -> OutboxConfig {
    OutboxConfig { holder: "one".to_owned(), ..OutboxConfig::for_chain("sim") }
}

impl World {
    pub async fn new(store: TestStore, clock: Arc<ManualClock>, config: OutboxConfig) -> Self {
        let signer = signer(1).unwrap();
        let chain = SimChain::new(SimChainConfig {
            balances: BTreeMap::from([(signer.address(), ether(1_000))]),
            ..SimChainConfig::default()
        });
        let rpc = FaultyRpc::new(chain.clone(), "node", 1, FaultProfile::none());
        let outbox = open(&store, &rpc, &clock, &signer, &config).await;
        Self { chain, rpc, clock, store, signer, config, outbox }
    }

    pub fn account(&self) -> Address {
        self.signer.address()
    }

    /// The process ends and starts again on the same rows.
    pub async fn restart(&mut self) {
        self.outbox = open(&self.store, &self.rpc, &self.clock, &self.signer, &self.config).await;
    }

    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    pub async fn turn(&self) -> TurnReport {
        self.outbox.turn(self.clock.now()).await.unwrap()
    }

    /// A round that may fail.
    pub async fn try_turn(&self) -> Option<TurnReport> {
        self.outbox.turn(self.clock.now()).await.ok()
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Twelve seconds go by and a block comes.
    pub fn mine(&self) {
        self.pass(12);
        self.chain.mine(u64::try_from(self.clock.now().0 / 1000).unwrap());
    }

    /// `rounds` times: a round, a block.
    pub async fn run(&self, rounds: usize) {
        for _ in 0..rounds {
            self.turn().await;
            self.mine();
        }
        self.turn().await;
    }

    pub async fn status(&self, id: IntentId) -> IntentStatus {
        self.outbox.status(id).await.unwrap().unwrap()
    }

    pub async fn submit(&self, number: u64) -> IntentId {
        self.outbox.submit(intent(number)).await.unwrap()
    }

    pub async fn submit_many(&self, numbers: std::ops::Range<u64>) -> Vec<IntentId> {
        let mut ids = Vec::new();
        for number in numbers {
            ids.push(self.submit(number).await);
        }
        ids
    }

    /// Transactions of the account on the chain that carry intent `number`.
    pub fn landings(&self, number: u64) -> usize {
        let data = marker(number);
        self.chain.landed_of(self.account()).iter().filter(|landed| landed.success && landed.transaction.input == data).count()
    }

    /// Hands the node a transaction of the same key that the outbox knows nothing of.
    pub async fn foreign(&self, nonce: u64, max_fee_gwei: u64) -> B256 {
        let mut transfer = Transfer::new(self.chain.chain_id(), nonce, Address::repeat_byte(0xbb));
        transfer.max_fee_per_gas = u128::from(max_fee_gwei) * 1_000_000_000;
        transfer.max_priority_fee_per_gas = transfer.max_fee_per_gas / 2;
        let raw = transfer.sign(&self.signer).await.unwrap();
        self.chain.submit(&raw).unwrap()
    }

    /// What must hold at every end: each intent landed once, no nonce carries two intents, no gap is left.
    pub fn check_landed_once(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            assert_eq!(self.landings(number), 1, "intent {number}");
        }
        let mut of_nonce: BTreeMap<u64, Bytes> = BTreeMap::new();
        for seen in self.chain.seen() {
            if seen.sender == self.account() && !seen.input.is_empty() {
                let other = of_nonce.insert(seen.nonce, seen.input.clone());
                assert!(other.is_none_or(|other| other == seen.input), "nonce {} was signed for two intents", seen.nonce);
            }
        }
    }
}

pub async fn open(
    store: &TestStore,
    rpc: &FaultyRpc,
    clock: &Arc<ManualClock>,
    signer: &LocalSigner,
    config: &OutboxConfig,
) -> Outbox {
    Outbox::open(store.store.clone(), endpoints(vec![rpc.clone()], clock), Arc::new(signer.clone()), config.clone())
        .await
        .unwrap()
}

pub fn endpoints(rpcs: Vec<FaultyRpc>, clock: &Arc<ManualClock>) -> Endpoints {
    let rpcs = rpcs.into_iter().map(|rpc| Arc::new(rpc) as Arc<dyn Rpc>).collect();
    let config = EndpointsConfig { clock: clock.clone(), chain_id: Some(31_337), ..EndpointsConfig::new("sim", []) };
    Endpoints::with_rpcs(&config, rpcs, Vec::new(), false)
}

pub fn marker(number: u64) -> Bytes {
    let mut data = b"intent ".to_vec();
    data.extend_from_slice(&number.to_be_bytes());
    data.into()
}

pub fn intent(number: u64) -> Intent {
    Intent::new(format!("order/{number}"), TARGET).with_data(marker(number)).with_confirmations(3).with_value(U256::from(number))
}
