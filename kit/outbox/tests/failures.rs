//! Failures that broke other relayers, and those that every sender meets, each as a test that carries its name.
//! References name the public report of the failure.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alloy_primitives::{Address, Signature, U256};
use async_trait::async_trait;
use support::{TARGET, World, config, endpoints, intent, open, worlds};
use windlass_keys::{KeyError, LocalSigner, Signer};
use windlass_outbox::{FeePolicy, GWEI, Hold, Outbox, OutboxConfig, OutboxError, Reason, State};
use windlass_sim::chain::{CallOutcome, Fate, ether, revert_with};
use windlass_sim::{FaultProfile, FaultyRpc, Lies};

/// The plain life of an intent.
#[tokio::test]
async fn an_intent_goes_from_recorded_to_final() {
    for world in worlds(config()).await {
        let mut events = world.outbox.events();
        let id = world.submit(1).await;
        assert_eq!(world.status(id).await.state, State::Recorded);
        let report = world.turn().await;
        assert_eq!((report.signed, report.broadcast), (1, 1));
        assert_eq!(world.status(id).await.state, State::Broadcast);
        world.mine();
        world.turn().await;
        let status = world.status(id).await;
        assert_eq!(status.state, State::Included);
        assert_eq!(status.success, Some(true));
        world.run(1).await;
        assert_eq!(world.status(id).await.state, State::Included, "two of three confirmations");
        world.run(1).await;
        let status = world.status(id).await;
        assert_eq!(status.state, State::Final);
        assert!(status.fee_paid.unwrap() > U256::ZERO && status.nonce == Some(0));
        world.check_landed_once(1..2);
        let told: Vec<State> = std::iter::from_fn(|| events.try_recv().ok()).map(|transition| transition.to).collect();
        assert_eq!(told, [State::Signed, State::Broadcast, State::Included, State::Final]);
        let history: Vec<State> = world.outbox.history(id).await.unwrap().into_iter().map(|transition| transition.to).collect();
        assert_eq!(history, told);
        let summary = world.outbox.summary().await.unwrap();
        assert_eq!((summary.finalized, summary.recorded, summary.oldest_age_ms), (1, 0, None));
        assert_eq!(summary.fees_today, status.fee_paid.unwrap());
    }
}

#[tokio::test]
async fn the_same_key_is_one_intent_and_other_content_is_an_error() {
    for world in worlds(config()).await {
        let id = world.submit(1).await;
        assert_eq!(world.submit(1).await, id);
        let error = world.outbox.submit(intent(1).with_value(U256::from(77))).await.unwrap_err();
        assert!(matches!(error, OutboxError::ContentDiffers { .. }), "{error}");
        world.run(5).await;
        assert_eq!(world.submit(1).await, id, "also after the end");
        world.run(2).await;
        world.check_landed_once(1..2);
    }
}

#[tokio::test]
async fn an_intent_exists_exactly_when_the_callers_transaction_commits() {
    for world in worlds(config()).await {
        let outbox = world.outbox.clone();
        let failed: Result<(), OutboxError> = world
            .store
            .write("caller", move |tx| {
                Box::pin(async move {
                    outbox.record(tx, intent(1)).await?;
                    Err(OutboxError::Closed)
                })
            })
            .await;
        assert!(failed.is_err());
        assert_eq!(world.outbox.status(world.outbox.id_of("order/1")).await.unwrap(), None);
        assert_eq!(world.turn().await.signed, 0);
    }
}

/// A signer that fails when told to.
struct Moody(LocalSigner, Arc<AtomicBool>);

#[async_trait]
impl Signer for Moody {
    fn address(&self) -> Address {
        self.0.address()
    }
    async fn sign_preimage(&self, preimage: &[u8]) -> Result<Signature, KeyError> {
        if self.1.load(Ordering::Relaxed) {
            let reason = "busy".to_owned();
            return Err(KeyError::RemoteSigner { host: "signer".to_owned(), reason, transient: true });
        }
        self.0.sign_preimage(preimage).await
    }
}

/// OpenZeppelin/openzeppelin-relayer#818: a counter was raised before signing, a failure after it burned the nonce, and every
/// later transaction was rejected with "nonce too high" for ever.
#[tokio::test]
async fn a_failure_between_nonce_and_signature_burns_no_nonce() {
    for mut world in worlds(config()).await {
        let broken = Arc::new(AtomicBool::new(true));
        let signer = Arc::new(Moody(world.signer.clone(), broken.clone()));
        let endpoints = endpoints(vec![world.rpc.clone()], &world.clock);
        world.outbox = Outbox::open(world.store.store.clone(), endpoints, signer, world.config.clone()).await.unwrap();
        let ids = world.submit_many(0..5).await;
        for _ in 0..10 {
            assert_eq!(world.turn().await.signed, 0);
            world.mine();
        }
        let status = world.status(ids[0]).await;
        assert_eq!(status.state, State::Recorded);
        assert!(matches!(status.hold, Some(Hold::SignerFailed { .. })), "{:?}", status.hold);
        broken.store(false, Ordering::Relaxed);
        world.pass(60);
        world.run(6).await;
        world.check_landed_once(0..5);
        assert_eq!(world.chain.nonce(world.account()), 5, "no nonce was burned");
    }
}

/// OpenZeppelin/openzeppelin-relayer#843: broadcasts fail for a while and the region of signed transactions grows; with every
/// nonce of it occupied no recovery path fired, and the jam stayed.
#[tokio::test]
async fn signed_but_never_broadcast_transactions_drain_when_the_endpoint_is_back() {
    for world in worlds(config()).await {
        let ids = world.submit_many(0..20).await;
        // Reads work, broadcasts are lost in transport.
        world.turn().await;
        for pooled in world.chain.pooled() {
            world.chain.evict(pooled.hash);
        }
        world.rpc.set_down(true);
        for _ in 0..20 {
            world.try_turn().await;
            world.pass(30);
        }
        world.rpc.heal();
        world.pass(60);
        world.run(12).await;
        world.check_landed_once(0..20);
        for id in ids {
            assert_eq!(world.status(id).await.state, State::Final);
        }
        assert_eq!(world.chain.nonce(world.account()), 20);
    }
}

/// OpenZeppelin/openzeppelin-relayer#683 and #681: the chain's nonce moves on without the counter, the counter is only
/// compared at start, and "nonce too low" counts as a fault of the endpoint.
#[tokio::test]
async fn a_nonce_used_outside_while_idle_is_noticed_without_a_restart() {
    for world in worlds(config()).await {
        world.submit(0).await;
        world.run(4).await;
        for nonce in 1..4 {
            world.foreign(nonce, 50).await;
        }
        world.mine();
        world.turn().await;
        let id = world.submit(1).await;
        world.run(4).await;
        let status = world.status(id).await;
        assert_eq!((status.state, status.nonce), (State::Final, Some(4)));
        world.check_landed_once(0..2);
    }
}

/// The same key used outside for a nonce that was signed here: the intent gets a new nonce only when the foreign transaction
/// cannot be reorganised away any more.
#[tokio::test]
async fn a_nonce_taken_by_a_foreign_transaction_is_given_up_only_at_finality_depth() {
    for world in worlds(OutboxConfig { finality_depth: 8, ..config() }).await {
        let id = world.submit(0).await;
        world.turn().await;
        for pooled in world.chain.pooled() {
            world.chain.evict(pooled.hash);
        }
        world.foreign(0, 200).await;
        world.mine();
        for _ in 0..7 {
            world.run(1).await;
            let status = world.status(id).await;
            assert_eq!((status.state.clone(), status.nonce), (State::Broadcast, Some(0)), "given up too early");
        }
        assert_eq!(world.status(id).await.hold, Some(Hold::NonceTaken { nonce: 0 }));
        world.run(8).await;
        let status = world.status(id).await;
        assert_eq!((status.state, status.nonce), (State::Final, Some(1)));
        world.check_landed_once(0..1);
    }
}

/// As above, but the foreign transaction is reorganised away before: the bytes signed first land after all, once.
#[tokio::test]
async fn a_foreign_transaction_that_is_reorganised_away_gives_the_nonce_back() {
    for world in worlds(OutboxConfig { finality_depth: 20, ..config() }).await {
        let id = world.submit(0).await;
        world.turn().await;
        for pooled in world.chain.pooled() {
            world.chain.evict(pooled.hash);
        }
        world.foreign(0, 200).await;
        world.mine();
        world.run(3).await;
        assert_eq!(world.status(id).await.state, State::Broadcast);
        assert!(world.chain.reorganise(4, 5, Fate::Vanish) > 0);
        world.pass(60);
        world.run(6).await;
        let status = world.status(id).await;
        assert_eq!((status.state, status.nonce), (State::Final, Some(0)));
        world.check_landed_once(0..1);
    }
}

/// OpenZeppelin/openzeppelin-relayer#817: a receipt that is transiently missing made a mined transaction a failed one.
#[tokio::test]
async fn a_missing_receipt_never_fails_a_mined_transaction() {
    for world in worlds(OutboxConfig { finality_depth: 6, ..config() }).await {
        let ids = world.submit_many(0..5).await;
        world.turn().await;
        world.rpc.set_profile(FaultProfile { lies: Lies { missing_receipt: 1.0, ..Lies::default() }, ..FaultProfile::none() });
        for _ in 0..4 {
            world.mine();
            world.try_turn().await;
        }
        for id in &ids {
            assert!(!world.status(*id).await.state.is_terminal());
        }
        world.rpc.heal();
        world.run(4).await;
        for id in ids {
            assert_eq!(world.status(id).await.state, State::Final);
        }
        world.check_landed_once(0..5);
    }
}

/// OpenZeppelin/openzeppelin-relayer#843 (second incident): the transaction at the head of the line lost its task before the
/// broadcast and was never touched again while its successors were retried for hours.
#[tokio::test]
async fn the_head_of_the_line_is_offered_again_without_a_restart() {
    for world in worlds(config()).await {
        world.submit_many(0..4).await;
        world.rpc.set_profile(FaultProfile { broadcast_lost: 1.0, ..FaultProfile::none() });
        world.turn().await;
        assert!(world.chain.pooled().is_empty(), "accepted by the endpoint and thrown away");
        world.rpc.heal();
        world.run(8).await;
        world.check_landed_once(0..4);
        assert_eq!(world.chain.nonce(world.account()), 4);
    }
}

/// hyperlane-xyz/hyperlane-monorepo#2924: "replacement transaction underpriced" for ever; only another account helped.
#[tokio::test]
async fn an_unknown_transaction_in_the_pool_is_outbid_not_stumbled_over() {
    for world in worlds(config()).await {
        world.chain.set_next_base_fee(1);
        world.foreign(0, 4).await;
        let id = world.submit(0).await;
        for _ in 0..40 {
            world.turn().await;
            world.pass(5);
        }
        let status = world.status(id).await;
        assert!(status.attempts > 1, "fees were raised");
        world.run(5).await;
        assert_eq!(world.status(id).await.state, State::Final);
        world.check_landed_once(0..1);
    }
}

/// hyperlane-xyz/hyperlane-monorepo#2959: a transaction whose fee is no longer enough stays in the pool and blocks the account.
#[tokio::test]
async fn a_stuck_transaction_is_escalated_and_never_beyond_its_cap() {
    for world in worlds(config()).await {
        let cap = 40 * GWEI;
        let id = world
            .outbox
            .submit(intent(0).with_fee(FeePolicy { max_fee_per_gas: Some(cap), ..FeePolicy::default() }))
            .await
            .unwrap();
        world.turn().await;
        for _ in 0..30 {
            world.chain.set_next_base_fee(100_000_000_000);
            world.mine();
            world.turn().await;
        }
        let status = world.status(id).await;
        assert_eq!(status.state, State::Broadcast);
        assert!(matches!(status.hold, Some(Hold::FeeAboveCap { .. })), "{:?}", status.hold);
        let highest = world.chain.seen().iter().map(|seen| seen.max_fee_per_gas).max().unwrap();
        assert!(highest <= cap, "{highest}");
        world.chain.set_next_base_fee(1_000_000_000);
        world.run(30).await;
        assert_eq!(world.status(id).await.state, State::Final);
        world.check_landed_once(0..1);
    }
}

/// A reorganisation puts an included transaction back, at any depth, and the same bytes land again.
#[tokio::test]
async fn a_reorganisation_of_64_blocks_puts_back_and_lands_again() {
    for world in worlds(config()).await {
        let mut deep = intent(0);
        deep.confirmations = 80;
        let id = world.outbox.submit(deep).await.unwrap();
        world.run(70).await;
        let before = world.status(id).await;
        assert_eq!(before.state, State::Included);
        assert_eq!(world.chain.reorganise(70, 71, Fate::Vanish), 70);
        world.turn().await;
        assert_eq!(world.status(id).await.state, State::Broadcast);
        world.run(1).await;
        let after = world.status(id).await;
        assert_eq!((after.state, after.tx_hash), (State::Included, before.tx_hash), "the same bytes");
        world.check_landed_once(0..1);
    }
}

#[tokio::test]
async fn a_reorganisation_while_the_program_is_off_is_seen_at_the_start() {
    for mut world in worlds(config()).await {
        let mut slow = intent(0);
        slow.confirmations = 80;
        let id = world.outbox.submit(slow).await.unwrap();
        world.submit_many(1..6).await;
        world.run(2).await;
        assert_eq!(world.status(id).await.state, State::Included);
        world.chain.reorganise(3, 66, Fate::Vanish);
        for _ in 0..5 {
            world.mine();
        }
        world.restart().await;
        world.run(90).await;
        assert_eq!(world.status(id).await.state, State::Final);
        world.check_landed_once(0..6);
    }
}

#[tokio::test]
async fn an_account_that_runs_dry_holds_without_losing_a_nonce_and_resumes() {
    for world in worlds(config()).await {
        world.chain.set_balance(world.account(), U256::from(1_000));
        world.mine();
        let ids = world.submit_many(0..3).await;
        world.run(2).await;
        let status = world.status(ids[0]).await;
        assert!(matches!(status.hold, Some(Hold::InsufficientFunds { .. })), "{:?}", status.hold);
        assert_eq!((status.state, status.nonce), (State::Recorded, None));
        assert_eq!(world.outbox.summary().await.unwrap().held, 3);
        world.chain.fund(world.account(), ether(1));
        world.run(5).await;
        world.check_landed_once(0..3);
        assert_eq!(world.chain.nonce(world.account()), 3);
        assert_eq!(world.status(ids[0]).await.hold, None);
    }
}

#[tokio::test]
async fn the_budget_of_a_day_holds_and_the_next_day_resumes() {
    let mut limited = config();
    // One transaction of 21,000 gas and some data at about 3 gwei fits, two do not.
    limited.fee.budget_per_day = Some(U256::from(100_000_000_000_000u64));
    for mut world in worlds(limited).await {
        let ids = world.submit_many(0..4).await;
        world.run(6).await;
        let spent = world.outbox.summary().await.unwrap().fees_today;
        assert!(spent <= U256::from(100_000_000_000_000u64), "{spent}");
        let held = world.status(ids[3]).await;
        assert!(matches!(held.hold, Some(Hold::BudgetSpent { .. })), "{:?}", held.hold);
        world.restart().await;
        world.turn().await;
        assert_eq!(world.status(ids[3]).await.state, State::Recorded, "the budget survives a restart");
        for _ in 0..6 {
            world.pass(86_400);
            world.run(3).await;
        }
        world.check_landed_once(0..4);
    }
}

#[tokio::test]
async fn a_deadline_before_the_signature_drops() {
    for world in worlds(config()).await {
        world.chain.set_balance(world.account(), U256::ZERO);
        world.mine();
        let deadline = windlass_store::UnixMillis(support::START.0 + 60_000);
        let id = world.outbox.submit(intent(0).with_deadline(deadline)).await.unwrap();
        world.run(2).await;
        assert_eq!(world.status(id).await.state, State::Recorded);
        world.pass(60);
        world.turn().await;
        assert_eq!(world.status(id).await.state, State::Dropped(Reason::Deadline));
        world.chain.fund(world.account(), ether(1));
        world.run(3).await;
        assert_eq!(world.landings(0), 0);
    }
}

#[tokio::test]
async fn a_deadline_after_the_signature_cancels_by_replacement() {
    for world in worlds(config()).await {
        let deadline = windlass_store::UnixMillis(support::START.0 + 20_000);
        let id = world.outbox.submit(intent(0).with_deadline(deadline)).await.unwrap();
        let other = world.submit(1).await;
        world.turn().await;
        world.pass(21);
        let report = world.turn().await;
        assert_eq!(report.replaced, 1);
        assert!(world.status(id).await.cancelling);
        world.run(5).await;
        assert_eq!(world.status(id).await.state, State::Dropped(Reason::Deadline));
        assert_eq!(world.status(other).await.state, State::Final);
        assert_eq!(world.landings(0), 0);
        assert_eq!(world.landings(1), 1);
    }
}

#[tokio::test]
async fn whichever_of_cancellation_and_original_is_included_decides() {
    for world in worlds(config()).await {
        let id = world.submit(0).await;
        world.turn().await;
        world.outbox.cancel(id).await.unwrap();
        // The original is mined before the cancellation is offered.
        world.mine();
        world.run(4).await;
        assert_eq!(world.status(id).await.state, State::Final);
        assert!(matches!(world.outbox.cancel(id).await, Err(OutboxError::NotPossible { .. })));
        world.check_landed_once(0..1);
    }
}

#[tokio::test]
async fn a_certain_revert_is_dropped_with_its_reason_before_a_nonce_is_spent() {
    for world in worlds(config()).await {
        world.chain.register(TARGET, Arc::new(|_| revert_with("already fulfilled")));
        let id = world.submit(0).await;
        world.run(4).await;
        let Reason::Reverted { reason } = world.status(id).await.state.reason().cloned().unwrap() else { panic!() };
        assert!(reason.contains("already fulfilled"), "{reason}");
        assert_eq!(world.chain.nonce(world.account()), 0);
    }
}

#[tokio::test]
async fn an_endpoint_failure_is_not_taken_for_a_revert() {
    for world in worlds(config()).await {
        let id = world.submit(0).await;
        world.rpc.set_profile(FaultProfile { internal_error: 0.5, garbage: 0.2, rate_limited: 0.2, ..FaultProfile::none() });
        for _ in 0..30 {
            world.try_turn().await;
            world.pass(7);
        }
        assert!(!matches!(world.status(id).await.state, State::Dropped(_)));
        world.rpc.heal();
        world.pass(60);
        world.run(5).await;
        assert_eq!(world.status(id).await.state, State::Final);
        world.check_landed_once(0..1);
    }
}

/// A transaction that reverts on chain used its nonce: terminal, with the reason, and nothing is sent a second time.
#[tokio::test]
async fn a_revert_on_chain_is_terminal_because_it_used_its_nonce() {
    for world in worlds(config()).await {
        world.chain.register(TARGET, Arc::new(|_| revert_with("too late")));
        let id = world.outbox.submit(intent(0).with_simulate(false).with_gas_limit(100_000)).await.unwrap();
        world.turn().await;
        world.mine();
        world.turn().await;
        let status = world.status(id).await;
        assert_eq!((status.state, status.success), (State::Included, Some(false)));
        world.run(4).await;
        assert_eq!(world.status(id).await.state, State::Reverted(Reason::Reverted { reason: "too late".to_owned() }));
        assert_eq!(world.chain.nonce(world.account()), 1);
    }
}

/// An intent that is only possible after an earlier one of the same account is not dropped for it.
#[tokio::test]
async fn a_revert_that_an_own_transaction_in_flight_may_heal_is_not_certain() {
    for world in worlds(config()).await {
        let first = support::marker(0);
        world.chain.register(
            TARGET,
            Arc::new(move |call| {
                let key = alloy_primitives::B256::ZERO;
                if *call.input == first {
                    call.storage.insert(key, alloy_primitives::B256::repeat_byte(1));
                    return CallOutcome::Return(Default::default());
                }
                if call.storage.contains_key(&key) {
                    CallOutcome::Return(Default::default())
                } else {
                    revert_with("not approved")
                }
            }),
        );
        world.submit(0).await;
        world.turn().await;
        let second = world.submit(1).await;
        for _ in 0..5 {
            world.turn().await;
            world.pass(3);
        }
        assert!(matches!(world.status(second).await.hold, Some(Hold::WouldRevert { .. })));
        world.pass(30);
        world.run(6).await;
        assert_eq!(world.status(second).await.state, State::Final);
        world.check_landed_once(0..2);
    }
}

/// A transaction that no node will ever take must not block those behind it.
#[tokio::test]
async fn a_poisoned_head_of_the_line_is_cancelled() {
    for world in worlds(config()).await {
        let poisoned = intent(0).with_simulate(false).with_gas_limit(60_000_000);
        let id = world.outbox.submit(poisoned).await.unwrap();
        let behind = world.submit(1).await;
        world.run(6).await;
        assert!(matches!(world.status(id).await.state, State::Dropped(Reason::Rejected { .. })), "{:?}", world.status(id).await);
        assert_eq!(world.status(behind).await.state, State::Final);
    }
}

/// Two instances on one database: one acts, and when it is gone the other does.
#[tokio::test]
async fn of_two_instances_exactly_one_acts() {
    for world in worlds(config()).await {
        let second =
            open(&world.store, &world.rpc, &world.clock, &world.signer, &OutboxConfig { holder: "two".to_owned(), ..config() })
                .await;
        let ids = world.submit_many(0..3).await;
        assert_eq!(world.turn().await.signed, 3);
        let report = second.turn(windlass_store::Clock::now(world.clock.as_ref())).await.unwrap();
        assert!(report.standby && report.signed == 0);
        if world.store.backend() != windlass_store::Backend::Sqlite {
            continue; // Leases expire by the server's own clock there; the takeover is tested where time can be moved.
        }
        world.submit(3).await;
        world.pass(10);
        world.chain.mine(0);
        let report = second.turn(windlass_store::Clock::now(world.clock.as_ref())).await.unwrap();
        assert!(!report.standby && report.signed == 1, "{report:?}");
        let late = world.outbox.turn(windlass_store::Clock::now(world.clock.as_ref())).await.unwrap();
        assert!(late.standby, "the paused holder finds out");
        assert_eq!(world.status(ids[0]).await.state, State::Included);
        world.mine();
        world.check_landed_once(0..4);
    }
}

#[tokio::test]
async fn no_more_than_the_window_is_in_flight_and_all_land_in_order() {
    for world in worlds(OutboxConfig { max_in_flight: 4, ..config() }).await {
        world.submit_many(0..10).await;
        assert_eq!(world.turn().await.in_flight, 4);
        assert_eq!(world.chain.pooled().len(), 4);
        world.run(8).await;
        world.check_landed_once(0..10);
        let order: Vec<_> =
            world.chain.landed_of(world.account()).into_iter().map(|landed| landed.transaction.input.clone()).collect();
        assert_eq!(order, (0..10).map(support::marker).collect::<Vec<_>>());
    }
}

/// hyperlane-xyz/hyperlane-monorepo: a base fee spike between signing and inclusion.
#[tokio::test]
async fn a_base_fee_spike_is_followed_within_the_cap() {
    for world in worlds(config()).await {
        let id = world.submit(0).await;
        world.turn().await;
        for _ in 0..25 {
            world.chain.set_next_base_fee(30_000_000_000);
            world.mine();
            world.turn().await;
            if world.status(id).await.state == State::Included {
                break;
            }
        }
        assert_eq!(world.status(id).await.state, State::Included);
        world.check_landed_once(0..1);
    }
}

/// What one endpoint answers about a count must not make holes: the nonces below are filled again.
#[tokio::test]
async fn untrue_transaction_counts_leave_no_gap() {
    for world in worlds(config()).await {
        world.rpc.set_profile(FaultProfile { lies: Lies { wrong_nonce: 0.3, ..Lies::default() }, ..FaultProfile::none() });
        for number in 0..12 {
            world.submit(number).await;
            world.try_turn().await;
            world.mine();
        }
        world.rpc.heal();
        world.pass(120);
        for _ in 0..10 {
            world.run(8).await;
            world.pass(60);
        }
        world.check_landed_once(0..12);
        assert!(world.chain.pooled().is_empty());
    }
}

#[tokio::test]
async fn a_final_transaction_that_vanishes_below_finality_is_offered_again() {
    for world in worlds(config()).await {
        let id = world.outbox.submit(intent(0).with_confirmations(1)).await.unwrap();
        world.run(2).await;
        assert_eq!(world.status(id).await.state, State::Final);
        world.chain.reorganise(3, 4, Fate::Vanish);
        assert_eq!(world.landings(0), 0);
        world.submit(1).await;
        world.run(3).await;
        world.check_landed_once(0..2);
    }
}

#[tokio::test]
async fn operators_list_bump_retry_and_read_the_history() {
    for world in worlds(config()).await {
        let ids = world.submit_many(0..3).await;
        assert!(matches!(world.outbox.bump(ids[0]).await, Err(OutboxError::NotPossible { .. })), "nothing to replace yet");
        world.turn().await;
        world.outbox.bump(ids[0]).await.unwrap();
        assert_eq!(world.turn().await.replaced, 1);
        assert_eq!(world.turn().await.replaced, 0, "once");
        assert_eq!(world.status(ids[0]).await.attempts, 2);
        let listed: Vec<_> = world.outbox.list(Some("broadcast"), 2).await.unwrap().into_iter().map(|status| status.id).collect();
        assert_eq!(listed, [ids[2], ids[1]]);
        assert_eq!(world.outbox.list(None, 10).await.unwrap().len(), 3);
        world.outbox.retry(ids[1]).await.unwrap();
        let unknown = world.outbox.id_of("never recorded");
        assert!(matches!(world.outbox.cancel(unknown).await, Err(OutboxError::Unknown { .. })));
        world.run(5).await;
        world.check_landed_once(0..3);
    }
}

#[tokio::test]
async fn intents_that_no_chain_takes_are_refused_at_once() {
    for world in worlds(config()).await {
        let mut bad = vec![intent(0), intent(0), intent(0), intent(0)];
        bad[0].key = String::new();
        bad[1].gas_limit = Some(20_999);
        bad[2].to = None;
        bad[2].data = Default::default();
        bad[3].data = vec![0; 200_000].into();
        for intent in bad {
            let error = world.outbox.submit(intent).await.unwrap_err();
            assert!(matches!(error, OutboxError::BadIntent { .. }), "{error}");
        }
    }
}

/// Transactions go to the private endpoint only; everything is read from the public ones.
#[tokio::test]
async fn a_private_endpoint_gets_all_transactions() {
    for world in worlds(config()).await {
        let private = FaultyRpc::new(world.chain.clone(), "private", 2, FaultProfile::none());
        let outbox = Outbox::open_with(
            world.store.store.clone(),
            endpoints(vec![world.rpc.clone()], &world.clock),
            Some(endpoints(vec![private.clone()], &world.clock)),
            Arc::new(world.signer.clone()),
            config(),
        )
        .await
        .unwrap();
        world.submit(0).await;
        // A public broadcast would be lost here.
        world.rpc.set_profile(FaultProfile { broadcast_lost: 1.0, ..FaultProfile::none() });
        outbox.turn(windlass_store::Clock::now(world.clock.as_ref())).await.unwrap();
        assert_eq!(world.chain.pooled().len(), 1);
    }
}

#[tokio::test]
async fn the_futures_can_be_spawned() {
    fn sendable<T: Send>(_: &T) {}
    for world in worlds(config()).await {
        sendable(&world.outbox.turn(support::START));
        sendable(&world.outbox.run(tokio_util::sync::CancellationToken::new()));
        sendable(&world.outbox.wait(world.outbox.id_of("x"), windlass_outbox::Until::Final));
    }
}

#[test]
fn settings_that_cannot_work_are_refused_with_all_reasons() {
    let mut broken = OutboxConfig { max_in_flight: 0, lease_ttl: Duration::ZERO, ..config() };
    broken.fee.max_fee_per_gas = 0;
    assert!(broken.problems().len() >= 3, "{:?}", broken.problems());
}

async fn wait_for(world: &World, id: windlass_outbox::IntentId, state: &State) {
    for _ in 0..100 {
        if world.status(id).await.state == *state {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never {state}: {:?}", world.status(id).await);
}

/// The loop: woken by the commit of an intent, not by its timer.
#[tokio::test]
async fn the_running_outbox_is_woken_by_a_commit() {
    let slow = OutboxConfig { idle_poll: Duration::from_secs(3_600), lease_ttl: Duration::from_secs(3_600), ..config() };
    for world in worlds(slow).await {
        let stop = tokio_util::sync::CancellationToken::new();
        let (outbox, token) = (world.outbox.clone(), stop.clone());
        let running = tokio::spawn(async move { outbox.run(token).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let id = world.submit(0).await;
        wait_for(&world, id, &State::Broadcast).await;
        stop.cancel();
        running.await.unwrap().unwrap();
    }
}
