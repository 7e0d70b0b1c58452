//! Transactions under everything that chains, endpoints, money and people do to them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use alloy_primitives::U256;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{Options, World, databases, pass, plenty};
use windlass_outbox::{FeePolicy, OutboxConfig};
use windlass_sim::chain::{Fate, GWEI};
use windlass_sim::outbox::OutboxLimits;
use windlass_sim::world::{Banker, Echo, FeeStorm, MoodyPool, Stranger, Weather};
use windlass_sim::{CrashPolicy, Database, Failure, FaultProfile};

/// Runs `life` for each seed on each database.
fn each<F>(default_seeds: u64, life: F)
where
    F: AsyncFn(u64, Database) -> (World, Result<(), Failure>) + Sync,
{
    support::each(default_seeds, async |seed| {
        for database in databases().await {
            let (world, outcome) = life(seed, database).await;
            pass(outcome);
            world.sim.close().await;
        }
    });
}

/// Lets the user ask for one more order every `every` steps, until all are asked for; then some more steps.
async fn load(world: &mut World, every: u64, after: u64) -> Result<(), Failure> {
    for count in 1..=world.orders.all().len() {
        world.orders.release(count);
        world.sim.run(every).await?;
    }
    world.sim.run(after).await
}

fn deep() -> Options {
    Options {
        orders: 6,
        // More than the deepest reorganisation, or "final" would be a promise that the chain may break.
        confirmations: 66,
        block_interval: Duration::from_secs(12),
        tick_ms: 0..=6_000,
        config: OutboxConfig { finality_depth: 66, ..OutboxConfig::default() },
        ..Options::default()
    }
}

#[test]
fn reorganisations_to_depth_64_under_load() {
    each(5, async |seed, database| {
        let options = Options { forks: Some((0.1, 1..=64)), ..deep() };
        let mut world = World::new(seed, database, options);
        let outcome = async {
            load(&mut world, 60, 300).await?;
            world.settle().await
        }
        .await;
        (world, outcome)
    });
}

#[test]
fn reorganisations_while_the_program_is_off() {
    each(5, async |seed, database| {
        let mut world = World::new(seed, database, deep());
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let outcome = async {
            for count in 1..=6 {
                world.orders.release(count);
                world.sim.run(rng.random_range(30..250)).await?;
                let process = world.processes[0];
                world.sim.kill(process, Duration::from_secs(60)).await;
                let depth = rng.random_range(1..=64);
                let fate = [Fate::Return, Fate::Vanish, Fate::Random][rng.random_range(0..3)];
                world.chain.reorganise(depth, depth + rng.random_range(0..=1), fate);
            }
            world.settle().await
        }
        .await;
        (world, outcome)
    });
}

#[test]
fn endpoints_that_time_out_refuse_and_lag() {
    each(8, async |seed, database| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let options = Options {
            profiles: (0..3).map(|_| FaultProfile::mixture(&mut rng)).collect(),
            forks: Some((0.01, 1..=3)),
            ..Options::default()
        };
        let mut world = World::new(seed, database, options);
        let weather = Weather::new(world.nodes.clone(), 0.05, false, world.sim.draw_seed(), world.calm.clone());
        world.sim.add_actor(2, Box::new(weather));
        let outcome = async {
            load(&mut world, 60, 500).await?;
            world.settle().await
        }
        .await;
        (world, outcome)
    });
}

#[test]
fn one_endpoint_of_three_lies() {
    each(8, async |seed, database| {
        let liar = (seed % 3) as usize;
        let mut profiles = vec![FaultProfile::none(); 3];
        profiles[liar] = FaultProfile::lying(0.3);
        let options = Options { profiles, quorum: 2, ..Options::default() };
        let mut world = World::new(seed, database, options);
        let outcome = async {
            load(&mut world, 60, 500).await?;
            world.settle().await
        }
        .await;
        (world, outcome)
    });
}

#[test]
fn base_fees_that_jump() {
    each(8, async |seed, database| {
        let cap = u128::from(100 * GWEI);
        let mut options = Options {
            forks: Some((0.01, 1..=3)),
            limits: OutboxLimits { max_fee_per_gas: Some(cap), ..OutboxLimits::default() },
            ..Options::default()
        };
        options.config.fee.max_fee_per_gas = cap;
        let mut world = World::new(seed, database, options);
        let storm = FeeStorm::new(
            world.chain.clone(),
            0.2,
            // Now and then above the cap: then nothing may be sent.
            1..=250,
            world.sim.draw_seed(),
            world.calm.clone(),
        );
        world.sim.add_actor(2, Box::new(storm));
        let outcome = async {
            load(&mut world, 100, 600).await?;
            world.settle().await
        }
        .await;
        (world, outcome)
    });
}

#[test]
fn transactions_stuck_in_the_pool_are_replaced() {
    // One run may be lucky; not all of them.
    let replaced = AtomicUsize::new(0);
    each(8, async |seed, database| {
        let mut world = World::new(seed, database, Options::default());
        let pool = MoodyPool::new(world.chain.clone(), 0.1, 0.9, world.sim.draw_seed(), world.calm.clone());
        world.sim.add_actor(4, Box::new(pool));
        let outcome = async {
            load(&mut world, 80, 800).await?;
            let mut attempts: BTreeMap<u64, usize> = BTreeMap::new();
            for transaction in world.chain.seen() {
                *attempts.entry(transaction.nonce).or_default() += 1;
            }
            replaced.fetch_add(attempts.values().filter(|count| **count > 1).count(), Relaxed);
            world.settle().await
        }
        .await;
        (world, outcome)
    });
    assert!(replaced.into_inner() > 0);
}

#[test]
fn an_account_runs_dry_and_is_funded_again() {
    each(8, async |seed, database| {
        let options = Options {
            adjust: |index, intent| intent.with_value(U256::from(index as u64 * 20_000 * u64::from(u32::MAX))),
            ..Options::default()
        };
        let mut world = World::new(seed, database, options);
        let banker = Banker::new(world.chain.clone(), world.account(), plenty(), 0.1, world.sim.draw_seed(), world.calm.clone());
        world.sim.add_actor(2, Box::new(banker));
        let outcome = async {
            load(&mut world, 100, 500).await?;
            world.settle().await
        }
        .await;
        (world, outcome)
    });
}

#[test]
fn the_key_is_used_by_somebody_else() {
    // The worst of it, an old transaction that comes back after its nonce was freed again, is rare.
    each(60, async |seed, database| {
        let options = Options { forks: Some((0.2, 1..=3)), ..Options::default() };
        let mut world = World::new(seed, database, options);
        let stranger = Stranger::new(
            world.chain.clone(),
            world.signer.clone(),
            0.2,
            world.foreign.clone(),
            world.sim.draw_seed(),
            world.calm.clone(),
        );
        world.sim.add_actor(2, Box::new(stranger));
        let echo = Echo::new(world.chain.clone(), 0.5, world.sim.draw_seed(), world.calm.clone());
        world.sim.add_actor(4, Box::new(echo));
        let outcome = async {
            load(&mut world, 100, 400).await?;
            world.settle().await
        }
        .await;
        (world, outcome)
    });
}

#[test]
fn deadlines_end_in_one_of_two_ways() {
    each(8, async |seed, database| {
        let options = Options {
            orders: 8,
            limits: OutboxLimits { may_drop: true, ..OutboxLimits::default() },
            adjust: |index, intent| {
                let at = support::START.0 + 20_000 + 15_000 * index as i64;
                intent.with_deadline(windlass_store::UnixMillis(at))
            },
            ..Options::default()
        };
        let mut world = World::new(seed, database, options);
        let pool = MoodyPool::new(world.chain.clone(), 0.05, 0.3, world.sim.draw_seed(), world.calm.clone());
        world.sim.add_actor(4, Box::new(pool));
        let outcome = async {
            load(&mut world, 40, 400).await?;
            world.settle().await
        }
        .await;
        (world, outcome)
    });
}

#[test]
fn a_daily_budget_is_kept() {
    each(3, async |seed, database| {
        // Room for about ten of the thirty orders.
        let budget = U256::from(60_000 * 4 * GWEI);
        let mut options = Options {
            orders: 30,
            // A day in 720 steps.
            tick_ms: 0..=240_000,
            block_interval: Duration::from_secs(600),
            limits: OutboxLimits { budget_per_day: Some(budget), ..OutboxLimits::default() },
            adjust: |_, intent| intent.with_fee(FeePolicy { escalate_after_ms: Some(3_600_000), ..FeePolicy::default() }),
            ..Options::default()
        };
        options.config.fee.budget_per_day = Some(budget);
        let mut world = World::new(seed, database, options);
        let outcome = async {
            load(&mut world, 5, 500).await?;
            world.settle().await
        }
        .await;
        (world, outcome)
    });
}

async fn everything(seed: u64, database: Database) -> (World, Result<(), Failure>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let options = Options {
        orders: 6,
        profiles: (0..3).map(|_| FaultProfile::mixture(&mut rng)).collect(),
        forks: Some((0.01, 1..=3)),
        instances: 2,
        ..Options::default()
    };
    let mut world = World::new(seed, database, options);
    let (chain, calm) = (world.chain.clone(), world.calm.clone());
    let mut draw = || rng.random::<u64>();
    let (a, b, c, d, e) = (draw(), draw(), draw(), draw(), draw());
    let account = world.account();
    world.sim.add_actor(2, Box::new(Weather::new(world.nodes.clone(), 0.05, false, a, calm.clone())));
    world.sim.add_actor(2, Box::new(FeeStorm::new(chain.clone(), 0.1, 1..=100, b, calm.clone())));
    world.sim.add_actor(2, Box::new(MoodyPool::new(chain.clone(), 0.1, 0.1, c, calm.clone())));
    world.sim.add_actor(2, Box::new(Banker::new(chain.clone(), account, plenty(), 0.03, d, calm.clone())));
    world
        .sim
        .add_actor(2, Box::new(Stranger::new(chain.clone(), world.signer.clone(), 0.05, world.foreign.clone(), e, calm.clone())));
    world.sim.add_actor(2, Box::new(Echo::new(chain.clone(), 0.3, draw(), calm.clone())));
    world.sim.set_crashes(Some(CrashPolicy { budget: 30, within_commits: 8, within_broadcasts: 2, down_ms: 0..=20_000 }));
    let outcome = async {
        load(&mut world, 150, 500).await?;
        world.settle().await
    }
    .await;
    (world, outcome)
}

#[test]
fn everything_at_once() {
    each(12, everything);
}

#[tokio::test]
async fn everything_at_once_is_exactly_repeatable() {
    let mut hashes = Vec::new();
    for _ in 0..2 {
        let (world, outcome) = everything(1, Database::sqlite().unwrap()).await;
        pass(outcome);
        hashes.push((world.sim.trace().hash(), world.sim.trace().count()));
        world.sim.close().await;
    }
    assert_eq!(hashes[0], hashes[1]);
}
