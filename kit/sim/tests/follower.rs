//! The follower's recorded view under forks, restarts, lies and late endpoints.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use support::{START, databases, pass};
use windlass_chain::{Delivery, FollowConfig, LogFilter, Start};
use windlass_sim::chain::{SimChain, SimChainConfig};
use windlass_sim::follower::{Emitter, FollowerChecker, FollowerProgram};
use windlass_sim::world::{Calm, Forker, Miner, Weather};
use windlass_sim::{CrashPolicy, Database, Failure, FaultProfile, FaultyRpc, Simulation};

const WATCHED: Address = Address::repeat_byte(0x77);

struct Options {
    delivery: Delivery,
    sparse: bool,
    profiles: Vec<FaultProfile>,
    weather: bool,
    quorum: usize,
    forks: RangeInclusive<u64>,
    crashes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            delivery: Delivery::Instant,
            sparse: false,
            profiles: vec![FaultProfile::none()],
            weather: false,
            quorum: 1,
            forks: 1..=20,
            crashes: 40,
        }
    }
}

async fn follow(seed: u64, database: Database, options: Options) -> (Simulation, Result<(), Failure>) {
    let mut sim = Simulation::new(seed, database, START);
    sim.set_tick_ms(0..=2_000);
    let calm = Calm::default();
    let chain = SimChain::new(SimChainConfig {
        seed: sim.draw_seed(),
        genesis_timestamp: START.to_seconds().0 as u64 - 12,
        log_range_limit: Some(50),
        ..SimChainConfig::default()
    });
    let liars = options.profiles.iter().any(|profile| profile.lies != Default::default());
    let nodes: Vec<FaultyRpc> = options
        .profiles
        .iter()
        .enumerate()
        .map(|(index, profile)| FaultyRpc::new(chain.clone(), &format!("node{index}"), sim.draw_seed(), profile.clone()))
        .collect();
    let program = FollowerProgram {
        chain: chain.clone(),
        nodes: nodes.clone(),
        config: FollowConfig {
            delivery: options.delivery,
            start: Start::Block(1),
            filter: Some(LogFilter::address(WATCHED)),
            sparse_catch_up: options.sparse,
            batch_blocks: 20,
            ..FollowConfig::new("consumer")
        },
        quorum: options.quorum,
        view: Arc::default(),
    };
    sim.add_checker(Box::new(FollowerChecker::new(&program, WATCHED, liars)));
    let view = program.view.clone();
    sim.add_process(Arc::new(program));
    let (a, b, c, d) = (sim.draw_seed(), sim.draw_seed(), sim.draw_seed(), sim.draw_seed());
    let interval = Duration::from_secs(3);
    sim.add_actor(10, Box::new(Miner::new(chain.clone(), interval, a, calm.clone())));
    sim.add_actor(10, Box::new(Emitter::new(chain.clone(), WATCHED, 0.2, b, calm.clone())));
    let forker = Forker::new(chain.clone(), 0.1, options.forks, c, calm.clone());
    sim.add_actor(3, Box::new(forker));
    if options.weather {
        let weather = Weather::new(nodes.clone(), 0.1, false, d, calm.clone());
        sim.add_actor(2, Box::new(weather));
    }
    sim.set_crashes(Some(CrashPolicy { budget: options.crashes, within_commits: 5, within_broadcasts: 0, down_ms: 0..=60_000 }));
    sim.on_heal(move || {
        calm.set();
        nodes.iter().for_each(FaultyRpc::heal);
    });
    let outcome = async {
        sim.run(1_200).await?;
        // The chain goes on while the last of it is delivered; then a moment without blocks would be unfair to wait for, so
        // the goal is to have caught up with the head of some moment.
        sim.settle(2_000, move |_| {
            let head = chain.head();
            let distance = match options.delivery {
                Delivery::Instant => 0,
                Delivery::Confirmed(blocks) => blocks,
                Delivery::Finalized => head.header.number - chain.finalized(),
            };
            let wanted = chain.block(head.header.number - distance);
            let newest = view.lock().last().map(|seen| seen.hash);
            newest.is_some() && newest == wanted.map(|block| block.hash)
        })
        .await
    }
    .await;
    (sim, outcome)
}

fn each(default_seeds: u64, options: impl Fn(u64) -> Options + Sync) {
    support::each(default_seeds, async |seed| {
        for database in databases().await {
            let (sim, outcome) = follow(seed, database, options(seed)).await;
            pass(outcome);
            sim.close().await;
        }
    });
}

#[test]
fn forks_and_restarts() {
    each(6, |_| Options::default());
}

#[test]
fn forks_as_deep_as_is_allowed() {
    each(3, |_| Options { forks: 50..=96, ..Options::default() });
}

#[test]
fn confirmed_delivery() {
    each(3, |_| Options { delivery: Delivery::Confirmed(5), ..Options::default() });
}

#[test]
fn finalized_delivery_takes_nothing_back() {
    each(3, |_| Options { delivery: Delivery::Finalized, forks: 1..=96, ..Options::default() });
}

#[test]
fn endpoints_that_fail_and_lag() {
    each(4, |_| Options { profiles: vec![FaultProfile::none(); 3], weather: true, ..Options::default() });
}

#[test]
fn one_endpoint_of_three_lies() {
    each(4, |seed| {
        let mut profiles = vec![FaultProfile::none(); 3];
        profiles[(seed % 3) as usize] = FaultProfile::lying(0.2);
        Options { profiles, quorum: 2, crashes: 10, ..Options::default() }
    });
}
