//! Two instances over one database: one acts, and one that was replaced can change nothing.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{Options, START, World, databases, each, pass};
use windlass_chain::{Endpoints, EndpointsConfig, Rpc};
use windlass_keys::Signer;
use windlass_outbox::{Intent, Outbox, OutboxConfig};
use windlass_sim::chain::{SimChain, SimChainConfig, ether};
use windlass_sim::{CrashPlan, CrashPolicy, Database, FaultProfile, FaultyRpc, Gate, Trace, signer};
use windlass_store::{Clock, ManualClock, Store, params};

#[test]
fn instances_take_over_from_each_other() {
    each(5, async |seed| {
        for database in databases().await {
            let options = Options { instances: 3, orders: 8, forks: Some((0.01, 1..=3)), ..Options::default() };
            let mut world = World::new(seed, database, options);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            world.sim.set_crashes(Some(CrashPolicy {
                budget: 10,
                within_commits: 12,
                within_broadcasts: 4,
                down_ms: 0..=30_000,
            }));
            let outcome = async {
                for count in 1..=8 {
                    world.orders.release(count);
                    for process in world.processes.clone() {
                        world.sim.pause(process, rng.random_bool(0.4));
                    }
                    world.sim.run(120).await?;
                }
                for process in world.processes.clone() {
                    world.sim.pause(process, false);
                }
                world.settle().await
            }
            .await;
            pass(outcome);
            world.sim.close().await;
        }
    });
}

/// One instance, built by hand, so that it can be stopped in the middle of a round.
struct Instance {
    outbox: Outbox,
    store: Store,
    gate: Gate,
}

async fn instance(name: &str, database: &Database, clock: &Arc<ManualClock>, chain: &SimChain) -> Instance {
    let life = Arc::new(CrashPlan::new(Trace::default()));
    let store = database.open(clock.clone(), life.clone()).await.unwrap();
    let gate = Gate::default();
    let node =
        FaultyRpc::new(chain.clone(), "node", 0, FaultProfile::none()).connect(life, Trace::default()).behind(gate.clone());
    let config = EndpointsConfig { clock: clock.clone(), chain_id: Some(chain.chain_id()), ..EndpointsConfig::new("sim", []) };
    let rpc: Arc<dyn Rpc> = Arc::new(node);
    let endpoints = Endpoints::with_rpcs(&config, vec![rpc], Vec::new(), false);
    let config = OutboxConfig {
        chain: "sim".to_owned(),
        holder: name.to_owned(),
        lease_ttl: Duration::from_secs(1),
        ..OutboxConfig::default()
    };
    let signer = Arc::new(signer(1).unwrap());
    let outbox = Outbox::open(store.clone(), endpoints, signer, config).await.unwrap();
    Instance { outbox, store, gate }
}

impl Instance {
    /// Every row of the outbox.
    async fn rows(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for table in
            ["outbox_intents", "outbox_nonces", "outbox_attempts", "outbox_inclusions", "outbox_transitions", "outbox_spending"]
        {
            let found = self.store.query(&format!("SELECT * FROM {table}"), params![]).await.unwrap();
            rows.extend(found.iter().map(|row| format!("{table} {row:?}")));
        }
        rows.sort();
        rows
    }

    async fn submit(&self, number: u8) {
        let intent = Intent::new(format!("order/{number}"), Address::repeat_byte(0xaa))
            .with_data(B256::repeat_byte(number).to_vec())
            .with_confirmations(2);
        self.outbox.submit(intent).await.unwrap();
    }
}

#[tokio::test]
async fn a_holder_that_wakes_up_late_changes_nothing() {
    // The holder falls asleep at each request of its round in turn.
    for asleep_at in 0..12 {
        for database in databases().await {
            if !stale_holder(&database, asleep_at).await {
                assert!(asleep_at > 3, "a round has more requests than {asleep_at}");
            }
            database.remove().await;
        }
    }
}

/// Answers whether the holder fell asleep at all.
async fn stale_holder(database: &Database, asleep_at: u64) -> bool {
    let account = signer(1).unwrap().address();
    let chain = SimChain::new(SimChainConfig {
        genesis_timestamp: START.to_seconds().0 as u64 - 12,
        balances: BTreeMap::from([(account, ether(10))]),
        ..SimChainConfig::default()
    });
    let clock = Arc::new(ManualClock::new(START));
    let old = instance("old", database, &clock, &chain).await;
    let new = instance("new", database, &clock, &chain).await;
    let seconds = |clock: &ManualClock| clock.now().to_seconds().0 as u64;

    old.submit(1).await;
    old.outbox.turn(clock.now()).await.unwrap();
    chain.mine(seconds(&clock));
    assert!(new.outbox.turn(clock.now()).await.unwrap().standby);
    old.submit(2).await;
    old.gate.close_after(asleep_at);
    let (sleeper, now) = (old.outbox.clone(), clock.now());
    let local = tokio::task::LocalSet::new();
    let round = local.spawn_local(async move { sleeper.turn(now).await });
    let asleep = local
        .run_until(async {
            while old.gate.waiting() == 0 && !round.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            !round.is_finished()
        })
        .await;

    // The lease runs out, and the other one acts: it takes over, asks for more money per gas, and goes on.
    if matches!(database, Database::Postgres { .. }) {
        // There the server's clock decides, so that instances need not agree on the time.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
    }
    for _ in 0..6 {
        clock.advance(Duration::from_secs(10));
        assert!(!new.outbox.turn(clock.now()).await.unwrap().standby);
    }
    new.submit(3).await;
    for _ in 0..4 {
        clock.advance(Duration::from_secs(1));
        new.outbox.turn(clock.now()).await.unwrap();
        chain.mine(seconds(&clock));
    }
    let before = new.rows().await;
    let seen: Vec<B256> = chain.seen().iter().map(|t| t.hash).collect();

    old.gate.open();
    let late = local.run_until(round).await.unwrap();
    if asleep {
        // Whatever the round came to, it says that it was replaced or did nothing that counts.
        if let Ok(report) = &late {
            assert_eq!((report.signed, report.replaced, report.filled), (0, 0, 0));
        }
        assert_eq!(new.rows().await, before, "asleep at {asleep_at}: {late:?}");
        // Old bytes may be offered once more; new ones may not come into being.
        let stored: Vec<String> = before.iter().filter(|row| row.starts_with("outbox_attempts")).cloned().collect();
        for transaction in chain.seen() {
            let known =
                seen.contains(&transaction.hash) || stored.iter().any(|row| row.contains(&format!("{:x}", transaction.raw)));
            assert!(known, "asleep at {asleep_at}: {} is new", transaction.hash);
        }
    }
    assert!(old.outbox.turn(clock.now()).await.unwrap().standby);
    for _ in 0..6 {
        clock.advance(Duration::from_secs(1));
        new.outbox.turn(clock.now()).await.unwrap();
        chain.mine(seconds(&clock));
    }
    let markers: Vec<u8> = chain.landed().iter().map(|l| l.transaction.input[0]).collect();
    assert_eq!(markers, [1, 2, 3], "asleep at {asleep_at}");
    old.store.close().await;
    new.store.close().await;
    asleep
}
