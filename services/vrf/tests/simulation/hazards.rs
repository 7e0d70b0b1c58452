//! The failure cases of the protocol document, one by one, and all at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use alloy_primitives::B256;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use windlass_sim::chain::{Fate, GWEI, ether};
use windlass_sim::world::{Banker, FeeStorm, MoodyPool, Weather};
use windlass_sim::{CrashPolicy, Database, Failure, FaultProfile, Lies};
use windlass_vrf::config::Unprofitable;
use windlass_vrf::machine::State;
use windlass_vrf::protocol::multistore::Layout;
use windlass_vrf::protocol::obi::Calldata;
use windlass_vrf::protocol::task::ProviderVersion;
use windlass_vrf::protocol::tx;

use crate::band::BandProfile;
use crate::contracts::{self, BRIDGE, PROVIDER, calls};
use crate::program::Picture;
use crate::rules::{Limits, Tally};
use crate::users::{BandBanker, BandUser, KeySharer, OwnerPlan};
use crate::world::{self, CONSUMERS, OTHER_SCRIPT, Options, SCRIPT, World, pass};

/// Runs `life` in the world of each seed on each database.
fn each<F>(default_seeds: u64, options: fn(u64) -> Options, life: F)
where
    F: AsyncFn(&mut World) -> Result<(), Failure> + Sync,
{
    world::each(default_seeds, async |seed, database| {
        let mut world = World::new(seed, database, options(seed));
        let outcome = life(&mut world).await;
        pass(outcome);
        world.sim.close().await;
    });
}

/// Asserts about a run, with its seed.
fn expect(world: &World, holds: bool, what: &str) -> Result<(), Failure> {
    if holds {
        Ok(())
    } else {
        Err(world.sim.failure(format!("{what}: {:?} {:?}", world.tally.lock(), world.picture.lock().holds)))
    }
}

fn tally(world: &World) -> Tally {
    *world.tally.lock()
}

/// Whether some task is in this state.
fn any_in(state: State) -> impl Fn(&Picture, &Tally) -> bool {
    move |picture, _| picture.tasks.values().any(|task| task.state == state)
}

/// Whether some task was ever held for this reason.
fn held(name: &'static str) -> impl Fn(&Picture, &Tally) -> bool {
    move |picture, _| picture.holds.contains_key(name)
}

/// For worlds in which the relay is up and its nodes answer.
fn patient() -> Limits {
    Limits { patience_ms: Some(60_000), ..Limits::default() }
}

/// A V1 provider in every other world.
fn version(seed: u64) -> ProviderVersion {
    if seed % 2 == 1 { ProviderVersion::V1 } else { ProviderVersion::V2 }
}

fn plain(seed: u64) -> Options {
    Options { version: version(seed), ..Options::default() }
}

// --- restarts -------------------------------------------------------------------------------------------------------------------------------

#[test]
fn case_01_a_restart_between_request_and_relay_pays_nothing_again() {
    let options = |seed: u64| Options { tasks: 20, ..plain(seed) };
    each(6, options, async |world| {
        for state in
            [State::BandSigned, State::BandBroadcast, State::BandIncluded, State::BandResolved, State::Relaying, State::Mined]
        {
            // Two of five may be of users that are not served.
            world.demand.release(world.demand.released() + 3);
            let picture = world.picture.clone();
            world.sim.run_until(400, move |_| any_in(state)(&picture.lock(), &Tally::default())).await?;
            world.sim.kill(world.processes[0], Duration::from_secs(20)).await;
        }
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).tasks, "one request per task")
    });
}

#[test]
fn case_02_a_backlog_of_the_time_it_was_off_is_served() {
    each(4, plain, async |world| {
        world.load(20, 20).await?;
        world.sim.kill(world.processes[0], Duration::from_secs(1_200)).await;
        world.sim.run(400).await?;
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).tasks, "one request per task")
    });
}

#[test]
fn case_24_a_lost_database_is_rebuilt_from_the_chains() {
    let options = |seed: u64| Options { tasks: 6, limits: Limits { lost_database: true, ..Limits::default() }, ..plain(seed) };
    each(8, options, async |world| {
        world.load(40, 30).await?;
        // What waits for a block cannot be known to one who has lost its rows: that is let land first.
        world.until("no request under way", |picture, _| picture.open == 0).await?;
        let seen = world.band.seen_since(0).len();
        world.sim.lose_database(Database::sqlite().unwrap(), Duration::from_secs(10)).await;
        world.picture.lock().forget(seen);
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).seeds, "requests of the time before are adopted")
    });
}

#[test]
fn case_24_a_database_that_is_lost_with_requests_under_way() {
    let options = |seed: u64| Options { tasks: 8, limits: Limits { lost_database: true, ..Limits::default() }, ..plain(seed) };
    each(8, options, async |world| {
        world.load(15, 0).await?;
        world.until("a request under way", |picture, _| picture.open > 0).await?;
        let under_way: usize = world.picture.lock().live().filter(|task| task.sequence.is_some()).count();
        let seen = world.band.seen_since(0).len();
        world.sim.lose_database(Database::sqlite().unwrap(), Duration::from_secs(10)).await;
        world.picture.lock().forget(seen);
        world.settle().await?;
        // At most what was not in a block is paid for once more.
        expect(world, tally(world).paid <= tally(world).seeds + under_way, "requests of the time before are adopted")
    });
}

#[test]
fn case_24_requests_that_land_after_the_database_was_lost() {
    let options = |seed: u64| Options {
        tasks: 8,
        policy: |policy| policy.band_max_in_flight = 1,
        limits: Limits { lost_database: true, ..Limits::default() },
        ..plain(seed)
    };
    each(6, options, async |world| {
        world.band.with(|chain| chain.faults_mut().delay_inclusion_blocks = 10);
        world.load(2, 0).await?;
        world.until("a request under way", any_in(State::BandBroadcast)).await?;
        let seen = world.band.seen_since(0).len();
        world.sim.lose_database(Database::sqlite().unwrap(), Duration::from_millis(10)).await;
        world.picture.lock().forget(seen);
        world.settle().await?;
        expect(
            world,
            tally(world).paid == tally(world).seeds,
            "what used the sequence is looked at before anything is paid again",
        )
    });
}

#[test]
fn case_25_a_clock_that_is_days_off() {
    let options = |seed: u64| {
        let day = 86_400_000;
        Options {
            tasks: 5,
            skew_ms: if seed.is_multiple_of(2) { 2 * day } else { -2 * day },
            band_ends: (0.1, 0.1),
            ..plain(seed / 2)
        }
    };
    each(4, options, async |world| {
        world.load(40, 200).await?;
        world.settle().await
    });
}

// --- the client chain -----------------------------------------------------------------------------------------------------------------------

#[test]
fn case_03_reorganisations_that_change_seeds() {
    let changed = AtomicUsize::new(0);
    let options = |seed: u64| Options { tasks: 8, forks: Some((0.1, 1..=5)), limits: patient(), ..plain(seed) };
    each(8, options, async |world| {
        world.load(40, 300).await?;
        world.settle().await?;
        let superseded = world.picture.lock().tasks.values().filter(|task| task.state == State::Superseded).count();
        changed.fetch_add(superseded, Ordering::Relaxed);
        Ok(())
    });
    assert!(changed.into_inner() > 0);
}

#[test]
fn case_03_reorganisations_deeper_than_the_confirmations() {
    let wasted = AtomicUsize::new(0);
    let options = |seed: u64| Options { tasks: 5, confirmations: 1, final_depth: 12, forks: Some((0.03, 2..=11)), ..plain(seed) };
    each(8, options, async |world| {
        world.load(60, 300).await?;
        world.settle().await?;
        wasted.fetch_add(tally(world).seeds.saturating_sub(tally(world).tasks), Ordering::Relaxed);
        Ok(())
    });
    // Nobody can know beforehand; what was paid for a seed that is gone is not paid for another time either.
    assert!(wasted.into_inner() > 0);
}

#[test]
fn case_03_what_was_reorganised_away_while_there_were_no_coins_is_not_paid() {
    let options = |seed: u64| Options { tasks: 8, forks: Some((0.1, 1..=5)), band_funds: 0, limits: patient(), ..plain(seed) };
    let changed = AtomicUsize::new(0);
    each(6, options, async |world| {
        world.load(30, 200).await?;
        world.calm.set();
        world.sim.run(100).await?;
        world.band.with(|chain| chain.fund(BandUser::new(0).address(), 1_000_000_000));
        world.settle().await?;
        let superseded = world.picture.lock().tasks.values().filter(|task| task.state == State::Superseded).count();
        changed.fetch_add(superseded, Ordering::Relaxed);
        expect(world, tally(world).paid == tally(world).tasks, "only what stands is paid")
    });
    assert!(changed.into_inner() > 0);
}

#[test]
fn case_04_a_relay_that_is_reorganised_away_is_sent_again() {
    let options = |seed: u64| Options { tasks: 12, ..plain(seed) };
    each(6, options, async |world| {
        world.demand.release(4);
        for fate in [Fate::Vanish, Fate::Return, Fate::Random] {
            world.until("a relay in a block", any_in(State::Mined)).await?;
            world.chain.reorganise(3, 4, fate);
            world.sim.run(60).await?;
            world.demand.release(world.demand.released() + 4);
        }
        world.settle().await
    });
}

#[test]
fn case_05_somebody_else_relays() {
    let options = |seed: u64| Options { tasks: 8, foreign: 0.5, limits: patient(), ..plain(seed) };
    let foreign = AtomicUsize::new(0);
    each(8, options, async |world| {
        world.load(40, 200).await?;
        world.settle().await?;
        foreign.fetch_add(tally(world).foreign, Ordering::Relaxed);
        let (ours, all) = (tally(world).relayed, tally(world).tasks);
        expect(world, ours + tally(world).foreign == all, "every task has one value")
    });
    // One run may be lucky; not all of them.
    assert!(foreign.into_inner() > 0);
}

#[test]
fn case_05_what_was_answered_while_there_were_no_coins_is_not_paid() {
    // One transaction at a time: one before others that are still wanted is paid for whatever became of its tasks, for its sequence.
    let options = |seed: u64| Options {
        tasks: 8,
        foreign: 0.8,
        band_funds: 0,
        policy: |policy| policy.band_max_in_flight = 1,
        limits: patient(),
        ..plain(seed)
    };
    let foreign = AtomicUsize::new(0);
    each(4, options, async |world| {
        world.load(20, 500).await?;
        world.calm.set();
        world.sim.run(150).await?;
        let answered = tally(world).foreign;
        foreign.fetch_add(answered, Ordering::Relaxed);
        // What was answered within the last seconds may not have been read yet.
        world.sim.run(40).await?;
        world.band.with(|chain| chain.fund(BandUser::new(0).address(), 1_000_000_000));
        world.settle().await?;
        expect(world, tally(world).paid + answered <= tally(world).tasks, "what was answered before is not paid")
    });
    assert!(foreign.into_inner() > 0);
}

#[test]
fn case_06_endpoints_of_both_chains_come_and_go() {
    let options = |seed: u64| Options {
        tasks: 6,
        profiles: vec![FaultProfile::none(); 2],
        band_weather: (0.05, 0.0),
        forks: Some((0.01, 1..=3)),
        ..plain(seed)
    };
    each(8, options, async |world| {
        let weather = Weather::new(world.nodes.clone(), 0.05, false, world.sim.draw_seed(), world.calm.clone());
        world.sim.add_actor(2, Box::new(weather));
        world.load(60, 400).await?;
        world.settle().await
    });
}

#[test]
fn case_07_one_endpoint_of_three_lies_and_lags() {
    let options = |seed: u64| {
        let mut profiles = vec![FaultProfile::none(); 3];
        let lies = Lies { wrong_call: 0.5, ..Lies::all(0.3) };
        profiles[(seed % 3) as usize] = FaultProfile { lies, ..FaultProfile::lagging(3) };
        Options { tasks: 5, profiles, quorum: 2, lens: seed % 4 < 2, ..plain(seed) }
    };
    each(8, options, async |world| {
        world.load(60, 400).await?;
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).tasks, "no lie costs a request")
    });
}

#[test]
fn case_08_relays_stuck_in_the_pool_are_replaced() {
    each(6, plain, async |world| {
        let pool = MoodyPool::new(world.chain.clone(), 0.05, 0.3, world.sim.draw_seed(), world.calm.clone());
        world.sim.add_actor(4, Box::new(pool));
        let storm = FeeStorm::new(world.chain.clone(), 0.1, 1..=80, world.sim.draw_seed(), world.calm.clone());
        world.sim.add_actor(2, Box::new(storm));
        world.load(60, 500).await?;
        world.settle().await
    });
}

#[test]
fn case_09_gas_that_differs_from_block_to_block() {
    let options = |seed: u64| Options { tasks: 6, ..plain(seed) };
    each(4, options, async |world| {
        world.load(20, 50).await?;
        world.settle().await?;
        expect(world, tally(world).reverted == 0, "no relay runs out of gas")
    });
}

#[test]
fn case_10_a_fee_below_the_cost_waits_for_cheaper_gas() {
    // At 80 gwei a relay costs more than its fee, at 2 gwei less.
    let options = |seed: u64| Options {
        tasks: 4,
        fee: 2_000_000_000_000_000..=2_000_000_000_000_000,
        policy: |policy| policy.unprofitable = Unprofitable::Wait,
        ..plain(seed)
    };
    each(4, options, async |world| {
        for steps in 0..70 {
            world.chain.set_next_base_fee(80 * GWEI);
            world.sim.run(10).await?;
            if steps == 10 {
                world.demand.release(4);
            }
        }
        expect(world, tally(world).tasks == 0 || world.picture.lock().holds.contains_key("unprofitable"), "it says why")?;
        expect(world, world.band.seen_since(0).is_empty(), "nothing is paid at a loss")?;
        world.chain.set_next_base_fee(GWEI);
        world.settle().await
    });
}

#[test]
fn case_11_a_consumer_that_reverts_holds_its_task_until_it_is_mended() {
    let options = |seed: u64| Options { tasks: 6, ..plain(seed) };
    each(6, options, async |world| {
        for consumer in CONSUMERS {
            world.admin.send(consumer, 0, calls::close(true)).await;
        }
        world.load(30, 100).await?;
        world.until("a consumer that reverts", held("consumer_reverts")).await?;
        world.sim.run(600).await?;
        let paid_before = world.band.seen_since(0).len();
        for consumer in CONSUMERS {
            world.admin.send(consumer, 0, calls::close(false)).await;
        }
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).tasks, "one request per task")?;
        expect(world, world.band.seen_since(0).len() == paid_before, "mending costs no request")?;
        expect(world, tally(world).reverted <= tally(world).tasks, "what reverts is not sent again and again")
    });
}

#[test]
fn case_26_a_task_that_cannot_be_relayed_blocks_no_other() {
    let options =
        |seed| Options { tasks: 8, limits: Limits { may_stay_open: vec![CONSUMERS[1]], ..Limits::default() }, ..plain(seed) };
    each(4, options, async |world| {
        world.admin.send(CONSUMERS[1], 0, calls::close(true)).await;
        world.load(20, 20).await?;
        world.settle().await?;
        let picture = world.picture.lock().clone();
        let reasons: Vec<String> = picture.live().map(|task| task.why()).collect();
        expect(world, reasons.iter().all(|why| why.contains(contracts::CLOSED)), "what stays open says why")
    });
}

// --- BandChain ------------------------------------------------------------------------------------------------------------------------------

#[test]
fn case_12_sequences_that_nodes_do_not_expect() {
    let options = |seed: u64| {
        let profile =
            BandProfile { wrong_sequence: 0.3, lag_changes: 0.2, lag_blocks: 4, mempool_full: 0.1, ..BandProfile::none() };
        Options { tasks: 8, band_profiles: vec![profile.clone(), profile], ..plain(seed) }
    };
    each(8, options, async |world| {
        world.load(20, 300).await?;
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).tasks, "one request per task")
    });
}

#[test]
fn case_12_somebody_else_uses_the_key_on_band() {
    let options = |seed: u64| Options { tasks: 8, band_echo: 0.1, band_weather: (0.0, 0.02), ..plain(seed) };
    each(8, options, async |world| {
        let seed = world.sim.draw_seed();
        let sharer = KeySharer::new(BandUser::new(0), world.band.clone(), SCRIPT, 0.3, seed, world.calm.clone());
        world.sim.add_actor(4, Box::new(sharer));
        world.load(30, 300).await?;
        world.settle().await
    });
}

#[test]
fn case_13_lost_broadcasts_are_offered_again_as_the_same_bytes() {
    let options = |seed: u64| {
        let profile = BandProfile { broadcast_lost: 0.5, timeout_before: 0.1, timeout_after: 0.1, ..BandProfile::none() };
        Options {
            tasks: 8,
            band_profiles: vec![profile.clone(), profile],
            band_weather: (0.0, 0.05),
            band_echo: 0.02,
            ..plain(seed)
        }
    };
    each(8, options, async |world| {
        world.load(20, 300).await?;
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).tasks, "one request per task")?;
        expect(world, tally(world).band_txs <= tally(world).tasks, "no transaction is made anew because it was lost")
    });
}

#[test]
fn case_13_a_node_that_finds_transactions_late() {
    let options = |seed: u64| {
        let profile =
            BandProfile { index_blind: 0.6, broadcast_lost: 0.2, no_search: seed.is_multiple_of(3), ..BandProfile::none() };
        Options { tasks: 6, band_profiles: vec![profile.clone(), profile], ..plain(seed) }
    };
    each(6, options, async |world| {
        world.band.with(|chain| chain.faults_mut().index_lag_blocks = 6);
        world.load(30, 300).await?;
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).tasks, "one request per task")
    });
}

#[test]
fn case_13_a_sequence_that_is_used_by_nobody_knows_what_is_told() {
    let options = |seed: u64| {
        // Every node takes the bytes and none of them lands, and none can tell which transaction used a sequence.
        let profile = BandProfile { broadcast_lost: 1.0, no_search: true, ..BandProfile::none() };
        Options { tasks: 3, band_profiles: vec![profile.clone(), profile], ..plain(seed) }
    };
    each(4, options, async |world| {
        world.load(10, 10).await?;
        if world.until("a lost request", any_in(State::BandBroadcast)).await.is_err() {
            // None of those who asked is served.
            return Ok(());
        }
        let calldata = Calldata { seed: B256::repeat_byte(9), time: 1, worker: world.worker };
        let other = BandUser::new(0).request(&world.band, SCRIPT, &calldata, (2, 3));
        world.band.with(|chain| chain.check_tx(&other.bytes));
        world.until("a task without a trace", held("band_unknown")).await?;
        world.sim.run(1_000).await?;
        let lost: Vec<_> = world.picture.lock().live().filter(|task| task.hold.is_some()).map(|task| task.why()).collect();
        expect(world, !lost.is_empty() && lost.iter().all(|why| why.contains("is used, and no node tells")), "it says why")?;
        let all = world.band.seen_since(0).len();
        expect(world, all <= tally(world).tasks, "nothing is asked again")
    });
}

#[test]
fn case_14_an_account_without_coins_waits_until_it_is_funded() {
    let options = |seed: u64| Options { tasks: 6, band_funds: if seed.is_multiple_of(2) { 0 } else { 5_000 }, ..plain(seed) };
    each(6, options, async |world| {
        world.load(40, 100).await?;
        world.until("no funds", |picture, _| picture.lane_hold.is_some()).await?;
        let address = world.band.account().to_owned();
        world.band.with(|chain| chain.fund(&address, 1_000_000_000));
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).tasks, "one request per task")
    });
}

#[test]
fn case_14_a_transaction_that_cannot_pay_when_its_block_comes() {
    let options = |seed: u64| Options { tasks: 5, ..plain(seed) };
    let failed = AtomicUsize::new(0);
    each(6, options, async |world| {
        world.load(5, 0).await?;
        let band = world.band.clone();
        world.sim.run_until(4_000, |_| band.with(|chain| chain.waiting() > 0)).await?;
        // The node has taken it; when its block comes the account is empty. It fails there before its messages, and uses no sequence.
        let address = world.band.account().to_owned();
        let height = world.band.with(|chain| {
            chain.drain(&address, u128::MAX);
            chain.height()
        });
        world.sim.run(150).await?;
        let included = world.band.with(|chain| {
            (height..=chain.height()).flat_map(|at| chain.block(at).unwrap().transactions().to_vec()).collect::<Vec<_>>()
        });
        failed.fetch_add(included.iter().filter(|included| included.sequence.is_none()).count(), Ordering::Relaxed);
        world.band.with(|chain| chain.fund(&address, 1_000_000_000));
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).tasks, "one request per task")
    });
    assert!(failed.into_inner() > 0);
}

#[test]
fn case_14_coins_come_and_go_on_both_chains() {
    let options = |seed: u64| Options { tasks: 8, ..plain(seed) };
    each(8, options, async |world| {
        let banker = BandBanker::new(world.band.clone(), 100_000_000, 0.05, world.sim.draw_seed(), world.calm.clone());
        world.sim.add_actor(4, Box::new(banker));
        let banker = Banker::new(world.chain.clone(), world.worker, ether(100), 0.05, world.sim.draw_seed(), world.calm.clone());
        world.sim.add_actor(2, Box::new(banker));
        world.load(60, 400).await?;
        world.settle().await
    });
}

#[test]
fn case_14_a_node_that_asks_a_higher_fee_gets_it_within_the_limit() {
    let options = |seed: u64| Options { tasks: 4, band_gas_price: "0.01", ..plain(seed) };
    each(4, options, async |world| {
        world.load(20, 20).await?;
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).tasks, "one request per task")
    });
}

#[test]
fn case_14_a_fee_above_the_limit_is_told_and_paid_once_the_limit_is_raised() {
    let options = |seed: u64| Options { tasks: 4, band_gas_price: "0.1", ..plain(seed) };
    each(4, options, async |world| {
        world.load(20, 20).await?;
        world.until("a fee that is too low", held("band_fee_too_low")).await?;
        world.sim.run(300).await?;
        expect(world, tally(world).paid == 0, "nothing is paid above the limit")?;
        world.restart_with(|policy| policy.band_max_gas_price = "0.2".parse().unwrap()).await;
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).tasks, "one request per task")
    });
}

#[test]
fn case_15_requests_that_fail_and_expire_are_made_again() {
    let options = |seed: u64| Options { tasks: 6, band_ends: (0.3, 0.2), ..plain(seed) };
    each(8, options, async |world| {
        world.load(40, 400).await?;
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).tasks + tally(world).failed, "one request per task and failure")
    });
}

#[test]
fn case_15_a_request_that_never_succeeds_is_held_at_the_limit() {
    let options = |seed: u64| Options {
        tasks: 3,
        band_ends: (1.0, 0.0),
        policy: |policy| policy.max_requests = 3,
        limits: Limits { may_stay_open: CONSUMERS.to_vec(), ..Limits::default() },
        ..plain(seed)
    };
    each(4, options, async |world| {
        world.load(20, 20).await?;
        world.sim.run(1_500).await?;
        let live = world.picture.lock().live().count();
        let asked = world.band.seen_since(0).len();
        expect(world, asked <= 3 * live && (live == 0 || asked >= 3), "three requests per task and no more")?;
        let picture = world.picture.lock().clone();
        expect(world, picture.live().all(|task| task.why().contains("without a value")), "each says why")
    });
}

#[test]
fn case_15_a_transaction_with_several_requests_that_fails() {
    let options = |seed: u64| Options { tasks: 8, band_funds: 0, ..plain(seed) };
    let together = AtomicUsize::new(0);
    each(6, options, async |world| {
        // All tasks wait; then there is enough for the fees of what is signed, and for all of its requests but one.
        world.load(5, 200).await?;
        let address = world.band.account().to_owned();
        let newest: BTreeMap<u64, tx::DecodedTx> = (world.band.seen_since(0).iter())
            .map(|seen| tx::decode(&seen.bytes).unwrap())
            .map(|decoded| (decoded.sequence, decoded))
            .collect();
        let fees = newest.values().flat_map(|decoded| &decoded.fee).map(|coin| coin.amount.parse::<u128>().unwrap());
        let requests: usize = newest.values().map(|decoded| decoded.requests.len()).sum();
        let funds = fees.sum::<u128>() + 9 * (requests as u128).saturating_sub(1);
        world.band.with(|chain| chain.fund(&address, funds));
        world.sim.run(300).await?;
        let failed =
            world.band.with(|chain| chain.transactions_of(&address, 10)).iter().filter(|included| included.code != 0).count();
        together.fetch_add(failed, Ordering::Relaxed);
        world.band.with(|chain| chain.fund(&address, 1_000_000_000));
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).tasks, "one request per task")
    });
    assert!(together.into_inner() > 0);
}

#[test]
fn case_16_proofs_that_are_gone_or_damaged() {
    let options = |seed: u64| {
        let profile =
            BandProfile { pruned: 0.4, bad_proof: 0.4, garbage: 0.1, grpc_only: seed.is_multiple_of(3), ..BandProfile::none() };
        Options { tasks: 6, band_profiles: vec![profile.clone(), profile], ..plain(seed) }
    };
    each(9, options, async |world| {
        world.load(40, 400).await?;
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).tasks, "a bad proof costs no request")
    });
}

#[test]
fn case_16_nodes_without_block_results() {
    let options = |seed: u64| {
        let profile = BandProfile { grpc_only: true, ..BandProfile::none() };
        Options { tasks: 6, band_profiles: vec![profile.clone(), profile], band_ends: (0.2, 0.2), ..plain(seed) }
    };
    each(4, options, async |world| {
        world.load(40, 100).await?;
        world.settle().await
    });
}

#[test]
fn case_17_validators_that_the_bridge_does_not_know_hold_the_tasks() {
    each(6, plain, async |world| {
        let all = world.band.with(|chain| chain.validators_for_bridge());
        let strangers = vec![(alloy_primitives::Address::repeat_byte(0xe1), 5_000)];
        world.admin.send(BRIDGE, 0, calls::set_validators(&strangers)).await;
        world.load(30, 50).await?;
        world.until("a stale validator set", held("validators_stale")).await?;
        world.sim.run(400).await?;
        world.admin.send(BRIDGE, 0, calls::set_validators(&all)).await;
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).tasks, "a stale set costs no request")
    });
}

#[test]
fn case_17_validators_of_the_bridge_change_at_any_time() {
    let options = |seed: u64| Options {
        tasks: 6,
        owner: OwnerPlan { rotate: 0.1, ..OwnerPlan::default() },
        forks: Some((0.01, 1..=3)),
        ..plain(seed)
    };
    each(6, options, async |world| {
        world.load(60, 400).await?;
        world.settle().await
    });
}

#[test]
fn case_18_a_new_layout_of_the_stores_holds_the_tasks_until_the_bridge_knows_it() {
    let options = |seed: u64| Options { tasks: 5, layout: Layout::V2, ..plain(seed) };
    each(6, options, async |world| {
        world.load(20, 20).await?;
        let height = world.band.with(|chain| chain.height());
        world.band.with(|chain| chain.faults_mut().upgrade_to_v3_at = Some(height + 2));
        world.sim.run(800).await?;
        world.admin.send(BRIDGE, 0, calls::upgrade_bridge()).await;
        world.settle().await?;
        expect(world, tally(world).paid == tally(world).tasks, "an upgrade costs no request")
    });
}

#[test]
fn case_19_the_owner_changes_the_oracle_script() {
    let options = |seed: u64| Options { tasks: 6, ..plain(seed) };
    each(6, options, async |world| {
        world.load(10, 30).await?;
        world.admin.send(PROVIDER, 0, calls::set_oracle_script(OTHER_SCRIPT)).await;
        world.settle().await?;
        expect(world, tally(world).paid <= 2 * tally(world).tasks, "at most one more request per task")
    });
}

#[test]
fn case_19_the_owner_changes_settings_under_reorganisations() {
    let options = |seed: u64| Options {
        tasks: 6,
        version: ProviderVersion::V1,
        owner: OwnerPlan { script: Some(OTHER_SCRIPT), ask_count: Some(5), change: 0.03, ..OwnerPlan::default() },
        forks: Some((0.03, 1..=4)),
        ..plain(seed)
    };
    each(6, options, async |world| {
        world.load(40, 300).await?;
        world.settle().await
    });
}

#[test]
fn case_30_votes_of_a_later_round() {
    let options = |seed: u64| Options { tasks: 3, round: 1, ..plain(seed) };
    each(2, options, async |world| {
        world.load(20, 20).await?;
        world.settle().await
    });
}

#[test]
fn case_32_a_band_chain_that_the_bridge_does_not_accept() {
    let options = |seed: u64| Options { tasks: 3, other_band: true, ..plain(seed) };
    each(2, options, async |world| {
        world.load(20, 400).await?;
        let obstacles = world.picture.lock().obstacles.join("; ");
        expect(world, obstacles.contains("the Bridge accepts chain laozi-mainnet"), "it says why")?;
        expect(world, world.band.seen_since(0).is_empty(), "nothing is signed for it")
    });
}

// --- instances ------------------------------------------------------------------------------------------------------------------------------

#[test]
fn case_21_of_two_instances_on_one_database_one_pays() {
    let options = |seed: u64| Options { tasks: 8, instances: 2, forks: Some((0.01, 1..=3)), ..plain(seed) };
    each(6, options, async |world| {
        let mut rng = ChaCha8Rng::seed_from_u64(world.sim.draw_seed());
        world.sim.set_crashes(Some(CrashPolicy { budget: 10, within_commits: 20, within_broadcasts: 3, down_ms: 0..=30_000 }));
        for count in 1..=8 {
            world.demand.release(count);
            for process in world.processes.clone() {
                world.sim.pause(process, rng.random_bool(0.4));
            }
            world.sim.run(100).await?;
        }
        for process in world.processes.clone() {
            world.sim.pause(process, false);
        }
        world.settle().await
    });
}

// --- everything -----------------------------------------------------------------------------------------------------------------------------

fn everything(seed: u64) -> Options {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Options {
        tasks: 8,
        forks: Some((0.02, 1..=5)),
        profiles: (0..3).map(|_| FaultProfile::mixture(&mut rng)).collect(),
        band_profiles: (0..2).map(|_| BandProfile::mixture(&mut rng)).collect(),
        band_weather: (0.03, 0.02),
        band_echo: 0.1,
        band_ends: (0.1, 0.1),
        owner: OwnerPlan { close: 0.02, rotate: 0.02, script: Some(OTHER_SCRIPT), change: 0.005, ..OwnerPlan::default() },
        foreign: 0.05,
        slowness: 0.3,
        instances: 1 + (seed % 2) as usize,
        lens: rng.random_bool(0.5),
        ..plain(seed / 2)
    }
}

async fn everything_at_once(world: &mut World) -> Result<(), Failure> {
    let (chain, calm) = (world.chain.clone(), world.calm.clone());
    let seeds: Vec<u64> = (0..6).map(|_| world.sim.draw_seed()).collect();
    world.sim.add_actor(2, Box::new(Weather::new(world.nodes.clone(), 0.03, false, seeds[0], calm.clone())));
    world.sim.add_actor(2, Box::new(FeeStorm::new(chain.clone(), 0.05, 1..=100, seeds[1], calm.clone())));
    world.sim.add_actor(2, Box::new(MoodyPool::new(chain.clone(), 0.05, 0.05, seeds[2], calm.clone())));
    world.sim.add_actor(2, Box::new(Banker::new(chain, world.worker, ether(100), 0.02, seeds[3], calm.clone())));
    world.sim.add_actor(2, Box::new(BandBanker::new(world.band.clone(), 100_000_000, 0.02, seeds[4], calm.clone())));
    let sharer = KeySharer::new(BandUser::new(0), world.band.clone(), SCRIPT, 0.05, seeds[5], calm);
    world.sim.add_actor(2, Box::new(sharer));
    world.sim.set_crashes(Some(CrashPolicy { budget: 30, within_commits: 20, within_broadcasts: 3, down_ms: 0..=20_000 }));
    world.load(150, 500).await?;
    world.settle().await
}

#[test]
fn everything_at_the_same_time() {
    each(16, everything, everything_at_once);
}

#[tokio::test]
async fn everything_at_the_same_time_is_exactly_repeatable() {
    let mut hashes = Vec::new();
    for _ in 0..2 {
        let mut world = World::new(1, Database::sqlite().unwrap(), everything(1));
        pass(everything_at_once(&mut world).await);
        hashes.push((world.sim.trace().hash(), world.sim.trace().count()));
        world.sim.close().await;
    }
    assert_eq!(hashes[0], hashes[1]);
}
