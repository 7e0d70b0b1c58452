//! The life of transactions under crashes at every kind of moment.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::indexing_slicing)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use support::{Options, World, databases, each, pass};
use windlass_sim::{CrashPolicy, Database, Failure, FaultProfile};

/// Orders and crashes of one seed; with the default number of seeds 100 orders and 1,000 crashes.
const ORDERS: usize = 5;
const CRASHES: u64 = 50;
const SEEDS: u64 = 20;

async fn life(seed: u64, database: Database) -> (World, Result<(), Failure>) {
    let options = Options {
        orders: ORDERS,
        forks: Some((0.01, 1..=3)),
        profiles: vec![FaultProfile {
            broadcast_lost: 0.05,
            broadcast_errored: 0.05,
            timeout_after: 0.02,
            ..FaultProfile::none()
        }],
        ..Options::default()
    };
    let mut world = World::new(seed, database, options);
    let outcome = crash_and_settle(&mut world).await;
    (world, outcome)
}

async fn crash_and_settle(world: &mut World) -> Result<(), Failure> {
    world.sim.set_crashes(Some(CrashPolicy { budget: CRASHES, within_commits: 3, within_broadcasts: 2, down_ms: 0..=3_000 }));
    let orders = world.orders.clone();
    let reached = world
        .sim
        .run_until(60_000, |sim| {
            // Spread over the run, so that crashes meet transactions of every age.
            let due = 1 + sim.crashes() as usize * ORDERS / CRASHES as usize;
            if due > orders.released() {
                orders.release(due);
            }
            sim.crashes() >= CRASHES
        })
        .await?;
    if !reached {
        return Err(world.sim.failure("the crashes did not happen"));
    }
    world.settle().await
}

#[test]
fn each_intent_lands_exactly_once_whenever_the_process_dies() {
    let (lives, crashes, orders) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    each(SEEDS, async |seed| {
        for database in databases().await {
            let (world, outcome) = life(seed, database).await;
            pass(outcome);
            lives.fetch_add(1, Relaxed);
            crashes.fetch_add(world.sim.crashes() as usize, Relaxed);
            orders.fetch_add(world.orders.finished(), Relaxed);
            world.sim.close().await;
        }
    });
    let [lives, crashes, orders] = [lives, crashes, orders].map(AtomicUsize::into_inner);
    assert!(lives > 0);
    assert!(crashes >= lives * CRASHES as usize);
    assert_eq!(orders, lives * ORDERS);
    println!("{orders} transactions, {crashes} crashes");
}

#[tokio::test]
async fn a_seed_reproduces_the_run_exactly() {
    let mut hashes = Vec::new();
    for seed in [3, 3, 4] {
        let (world, outcome) = life(seed, Database::sqlite().unwrap()).await;
        pass(outcome);
        hashes.push((world.sim.trace().hash(), world.sim.trace().count()));
        world.sim.close().await;
    }
    assert_eq!(hashes[0], hashes[1]);
    assert_ne!(hashes[0], hashes[2]);
}
