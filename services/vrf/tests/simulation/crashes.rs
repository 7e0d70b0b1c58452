//! The life of tasks under crashes at every kind of moment.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use windlass_sim::{CrashPolicy, Database, Failure, FaultProfile};

use windlass_vrf::protocol::task::ProviderVersion;

use crate::band::BandProfile;
use crate::world::{Options, World, each, pass};

/// Tasks and crashes of one seed. One user in five is not served; with the default number of seeds more than 100 tasks are, and the process
/// dies 1,000 times.
const TASKS: usize = 7;
const CRASHES: u64 = 50;
const SEEDS: u64 = 20;

async fn life(seed: u64, database: Database) -> (World, Result<(), Failure>) {
    let band = BandProfile {
        broadcast_lost: 0.08,
        timeout_after: 0.03,
        refused: 0.02,
        wrong_sequence: 0.03,
        index_blind: 0.1,
        lag_changes: 0.05,
        lag_blocks: 2,
        bad_proof: 0.03,
        ..BandProfile::none()
    };
    let options = Options {
        tasks: TASKS,
        version: if seed % 2 == 1 { ProviderVersion::V1 } else { ProviderVersion::V2 },
        forks: Some((0.015, 1..=4)),
        profiles: vec![FaultProfile {
            broadcast_lost: 0.05,
            broadcast_errored: 0.05,
            timeout_after: 0.02,
            ..FaultProfile::none()
        }],
        band_profiles: vec![band.clone(), band],
        band_weather: (0.0, 0.01),
        band_echo: 0.05,
        band_ends: (0.15, 0.08),
        ..Options::default()
    };
    let mut world = World::new(seed, database, options);
    let outcome = crash_and_settle(&mut world).await;
    (world, outcome)
}

async fn crash_and_settle(world: &mut World) -> Result<(), Failure> {
    world.sim.set_crashes(Some(CrashPolicy { budget: CRASHES, within_commits: 10, within_broadcasts: 2, down_ms: 0..=3_000 }));
    let demand = world.demand.clone();
    let reached = world
        .sim
        .run_until(60_000, |sim| {
            // Spread over the run, so that crashes meet tasks of every age.
            demand.release(3 + sim.crashes() as usize * TASKS / CRASHES as usize);
            sim.crashes() >= CRASHES
        })
        .await?;
    if !reached {
        return Err(world.sim.failure("the crashes did not happen"));
    }
    world.settle().await
}

#[test]
fn a_thousand_crashes() {
    let (lives, crashes, tasks) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    each(SEEDS, async |seed, database| {
        let (world, outcome) = life(seed, database).await;
        pass(outcome);
        let tally = *world.tally.lock();
        lives.fetch_add(1, Relaxed);
        crashes.fetch_add(world.sim.crashes() as usize, Relaxed);
        tasks.fetch_add(tally.relayed, Relaxed);
        world.sim.close().await;
    });
    let [lives, crashes, tasks] = [lives, crashes, tasks].map(AtomicUsize::into_inner);
    assert!(crashes >= lives * CRASHES as usize);
    assert!(tasks >= lives * 5, "{tasks} tasks in {lives} lives");
    println!("{tasks} tasks relayed, {crashes} crashes");
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
