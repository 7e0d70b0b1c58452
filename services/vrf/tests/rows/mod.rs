//! A database with the rows of a relay, all of them made by the machine and the outbox: what the commands and the interface show.

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

use alloy_primitives::{Address, B256, Bytes, U256, address};
use windlass_chain::{Endpoints, EndpointsConfig, Rpc};
use windlass_node::config::{Schema, Sources};
use windlass_outbox::{Intent, Outbox, OutboxConfig};
use windlass_sim::chain::{SimChain, SimChainConfig, ether};
use windlass_sim::{FaultProfile, FaultyRpc};
use windlass_store::{Clock as _, ManualClock, Store, StoreOptions, UnixMillis};
use windlass_vrf::machine::{
    BandAccount, BridgeView, ChainTask, Command, Effect, Event, LandedTx, OfferOutcome, ProofOutcome, ProviderView, Relay,
    RelayProgress, Resolution, TasksAt,
};
use windlass_vrf::ports::client_chain::relay_call;
use windlass_vrf::service::policy;
use windlass_vrf::tables::{BandScope, Scope, callers_hash};
use windlass_vrf::{VrfConfig, VrfError};

pub const PROVIDER: Address = address!("0x5FbDB2315678afecb367f032d93F642f64180aa3");
pub const CALLER: Address = address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
const BRIDGE: Address = Address::repeat_byte(0xb1);
/// 2023-11-14T22:13:20Z.
const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// A configuration with one relay. Its keys are those of a development chain.
pub fn settings(more: &str) -> String {
    format!(
        "[chain.sim]\nchain_id = 31337\nurls = [\"http://127.0.0.1:1\"]\n\n\
         [vrf.sim]\nchain = \"sim\"\nprovider = \"{PROVIDER}\"\ncallers = [\"{CALLER}\"]\nfinal_depth = 2\n{more}\n\
         [vrf.sim.account]\nprivate_key = \"ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80\"\n\n\
         [vrf.sim.band]\ngrpc = [\"http://127.0.0.1:1\"]\nmax_requests = 1\n\
         mnemonic = \"test test test test test test test test test test test junk\"\n\n\
         [vrf.sim.profit]\nrequest_cost = \"100 gwei\"\n"
    )
}

pub fn config(text: &str) -> VrfConfig {
    let config = Schema::new().section::<VrfConfig>().load(&Sources::text("windlass.toml", text));
    config.unwrap_or_else(|errors| panic!("{errors}")).instance::<VrfConfig>("sim").unwrap().clone()
}

pub fn chain_task(nonce: u64) -> ChainTask {
    let mut seed = B256::repeat_byte(0x5e);
    seed.0[..8].copy_from_slice(&nonce.to_be_bytes());
    ChainTask {
        nonce,
        is_resolved: false,
        time: 1_700_000_000 + nonce,
        caller: CALLER,
        task_fee: ether(1) / U256::from(1_000),
        seed,
        client_seed: Bytes::from(format!("seed {nonce}").into_bytes()),
    }
}

pub struct Rows {
    pub store: Store,
    pub clock: Arc<ManualClock>,
    pub scope: Scope,
    pub config: VrfConfig,
    pub endpoints: Endpoints,
    pub chain: SimChain,
    pub worker: Address,
    relay: Relay,
    outbox: Outbox,
    band_height: u64,
    block: u64,
}

impl Rows {
    /// A relay that has read both chains, and nothing else.
    pub async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let options = StoreOptions { clock: clock.clone(), ..StoreOptions::default() };
        let store = Store::open_with("sqlite::memory:", options).await.unwrap();
        for set in windlass_vrf::migrations() {
            store.migrate(set).await.unwrap();
        }
        let config = config(&settings(""));
        let signer = config.account.key_config().open().await.unwrap();
        let worker = signer.address();
        let balances = BTreeMap::from([(worker, ether(1_000))]);
        let chain = SimChain::new(SimChainConfig { balances, ..SimChainConfig::default() });
        let rpc = FaultyRpc::new(chain.clone(), "node", 1, FaultProfile::none());
        let asked = EndpointsConfig { clock: clock.clone(), chain_id: Some(31_337), ..EndpointsConfig::new("sim", []) };
        let endpoints = Endpoints::with_rpcs(&asked, vec![Arc::new(rpc) as Arc<dyn Rpc>], Vec::new(), false);
        let sending = OutboxConfig { holder: "test".to_owned(), ..config.account.outbox("sim", config.final_depth) };
        let outbox = Outbox::open(store.clone(), endpoints.clone(), signer, sending).await.unwrap();
        let scope = Scope { chain_id: 31_337, provider: PROVIDER };
        let relay = Relay::load(policy(&config, worker), Vec::new(), Vec::new(), None);
        let (band_height, block) = (100, 10);
        let mut rows = Self { store, clock, scope, config, endpoints, chain, worker, relay, outbox, band_height, block };
        rows.step(vec![Event::Started]).await;
        rows.step(vec![Event::Found(Ok(Vec::new()))]).await;
        let view = ProviderView { head: 10, counts: None, oracle_script_id: 43, bridge: BRIDGE, task_nonce: 0, gas_price: None };
        rows.step(vec![Event::ProviderRead(Ok(view))]).await;
        let view = BridgeView { chain_id: "band".to_owned(), fingerprint: B256::repeat_byte(1) };
        rows.step(vec![Event::BridgeRead(Ok(view))]).await;
        rows.band().await;
        rows.step(vec![Event::AccountRead(Ok(Some(BandAccount { number: 7, sequence: 5 })))]).await;
        rows
    }

    /// Task 0 is answered for good, 1 waits for Band's validators, 2 is held because its consumer reverts, 3 because Band failed, 4 was given
    /// up, and 5 was just seen.
    pub async fn filled() -> Self {
        let mut rows = Self::new().await;
        rows.answer(0, 900).await;
        rows.pay(1, 901).await;
        rows.refuse(2, 902).await;
        rows.fail(3, 903).await;
        rows.request(4).await;
        rows.step(vec![Event::Command(Command::GiveUp { nonce: 4, reason: "the lottery is over".to_owned() })]).await;
        rows.request(5).await;
        rows.clock.advance(Duration::from_secs(90));
        rows
    }

    /// Steps the machine and commits what it changed, as the agent does.
    pub async fn step(&mut self, events: Vec<Event>) -> Vec<Effect> {
        self.clock.advance(Duration::from_millis(1));
        let now = self.clock.now();
        let output = self.relay.step(now, events);
        let changes = output.changes;
        let intents: Vec<Intent> = changes
            .intents
            .iter()
            .map(|relay| {
                let key = format!("vrf/{PROVIDER}/{}/{}/{}", relay.key.nonce, relay.key.seed, relay.number);
                let data = relay_call(&relay.proof, relay.key.nonce);
                Intent::new(key, PROVIDER).with_data(data).with_confirmations(2)
            })
            .collect();
        let (scope, outbox) = (self.scope, self.outbox.clone());
        let band = BandScope { chain: "band".to_owned(), account: "band1test".to_owned() };
        let callers = callers_hash(&self.config.callers.iter().copied().collect());
        let written: Result<(), VrfError> = self
            .store
            .write("test", move |tx| {
                Box::pin(async move {
                    scope.write(tx, &band, callers, &changes, now).await?;
                    for intent in intents {
                        outbox.record(tx, intent).await?;
                    }
                    Ok(())
                })
            })
            .await;
        written.unwrap();
        output.effects
    }

    async fn band(&mut self) -> Vec<Effect> {
        self.band_height += 1;
        let height = self.band_height;
        self.step(vec![Event::BandHead(Ok(("band".to_owned(), height)))]).await
    }

    async fn head(&mut self) -> Vec<Effect> {
        self.block += 1;
        let head = self.block;
        let event = Event::Client { removed: vec![], head, requested: vec![], relayed: vec![], provider_changed: false };
        self.step(vec![event]).await
    }

    pub async fn request(&mut self, nonce: u64) {
        self.block += 1;
        let head = self.block;
        let requested = vec![(chain_task(nonce), head, B256::from(U256::from(head)))];
        let event = Event::Client { removed: vec![], head, requested, relayed: vec![], provider_changed: false };
        self.step(vec![event]).await;
    }

    async fn read(&mut self, nonce: u64) -> Vec<Effect> {
        let result = Ok(TasksAt { head: self.block, tasks: vec![(nonce, Some(chain_task(nonce)))] });
        self.step(vec![Event::TasksRead { nonces: vec![nonce], result }]).await
    }

    /// From the request to the paid Band request.
    async fn pay(&mut self, nonce: u64, id: u64) {
        self.request(nonce).await;
        self.head().await;
        let effects = self.read(nonce).await;
        let plan = effects.iter().find_map(|effect| match effect {
            Effect::Sign(plan) => Some(plan.clone()),
            _ => None,
        });
        let plan = plan.unwrap_or_else(|| panic!("nothing is to be signed: {effects:?}"));
        let (sequence, hash) = (plan.sequence, format!("BAND{}", plan.sequence));
        let result = Ok((hash.clone(), Bytes::from(hash.clone().into_bytes())));
        self.step(vec![Event::Signed { plan, result }]).await;
        self.step(vec![Event::Offered { hash: hash.clone(), outcome: OfferOutcome::Accepted }]).await;
        self.band().await;
        let height = self.band_height;
        let landed = LandedTx { hash: hash.clone(), height, code: 0, text: String::new(), request_ids: vec![id] };
        self.step(vec![Event::Looked { sequence, hash, result: Ok(Some(landed)) }]).await;
    }

    async fn end(&mut self, id: u64, resolution: Resolution) {
        self.band().await;
        let height = self.band_height;
        self.step(vec![Event::BlockResults { height, result: Ok(Some(vec![(id, resolution)])) }]).await;
    }

    /// To the recorded relay transaction.
    async fn prove(&mut self, nonce: u64, id: u64) {
        self.pay(nonce, id).await;
        self.end(id, Resolution::Success).await;
        let version = self.band_height;
        // The Proof service has it two blocks later.
        self.band().await;
        self.band().await;
        self.read(nonce).await;
        let outcome = ProofOutcome::Proven { proof: Bytes::from_static(b"proof"), version };
        self.step(vec![Event::Proved { key: chain_task(nonce).key(), id, outcome }]).await;
    }

    async fn relayed(&mut self, nonce: u64, progress: RelayProgress) {
        self.step(vec![Event::Relayed { key: chain_task(nonce).key(), number: 1, progress }]).await;
    }

    async fn answer(&mut self, nonce: u64, id: u64) {
        self.prove(nonce, id).await;
        for _ in 0..4 {
            self.outbox.turn(self.clock.now()).await.unwrap();
            self.clock.advance(Duration::from_secs(1));
            self.chain.mine(u64::try_from(self.clock.now().0 / 1000).unwrap());
        }
        self.outbox.turn(self.clock.now()).await.unwrap();
        self.relayed(nonce, RelayProgress::Included { block: self.block }).await;
        self.relayed(nonce, RelayProgress::Final { block: Some(self.block) }).await;
    }

    async fn refuse(&mut self, nonce: u64, id: u64) {
        self.prove(nonce, id).await;
        self.relayed(nonce, RelayProgress::Reverted { reason: "Lottery: the round is over".to_owned() }).await;
    }

    async fn fail(&mut self, nonce: u64, id: u64) {
        self.pay(nonce, id).await;
        self.end(id, Resolution::Failure).await;
        self.head().await;
        self.read(nonce).await;
    }
}
