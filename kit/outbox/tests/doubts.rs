//! What a sender must not lose while the chain, the endpoint or the clock is in doubt.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alloy_primitives::Address;
use async_trait::async_trait;
use serde_json::{Value, json};
use support::{START, TARGET, World, config, intent, marker, worlds};
use windlass_chain::{Answer, Endpoints, Rpc, RpcError};
use windlass_outbox::{Hold, Outbox, OutboxConfig, State};
use windlass_sim::chain::{CallOutcome, Fate, SimChain, SimChainConfig, ether, revert_with};
use windlass_sim::{FaultProfile, FaultyRpc};

/// A reorganisation first shows a chain that is shorter than the block of an inclusion, so that nothing can be said of it. When
/// the new branch grows, its head continues the short one: the comparison must still be made.
#[tokio::test]
async fn a_reorganisation_that_begins_with_a_shorter_chain_is_not_forgotten() {
    for world in worlds(config()).await {
        world.run(4).await;
        let id = world.outbox.submit(intent(0).with_confirmations(3)).await.unwrap();
        world.turn().await;
        world.mine();
        world.turn().await;
        let block = world.status(id).await.block.unwrap();
        assert_eq!(world.chain.reorganise(3, 1, Fate::Vanish), 3);
        assert!(world.chain.head().header.number < block.number);
        world.turn().await;
        assert_eq!(world.status(id).await.state, State::Included, "a shorter chain alone proves nothing");
        for _ in 0..4 {
            world.mine();
        }
        world.turn().await;
        assert_eq!(world.status(id).await.state, State::Broadcast, "put back");
        world.run(5).await;
        assert_eq!(world.status(id).await.state, State::Final);
        world.check_landed_once(0..1);
    }
}

/// A clock that was ten days ahead wrote down when to look at a held intent again. Put right, it must not keep it for ten days.
#[tokio::test]
async fn a_clock_that_goes_back_does_not_freeze_a_held_intent() {
    for world in worlds(config()).await {
        let open_for_all = Arc::new(AtomicBool::new(false));
        let door = Arc::clone(&open_for_all);
        let answer = move || match door.load(Ordering::Relaxed) {
            true => CallOutcome::Return(Default::default()),
            false => revert_with("closed"),
        };
        world.chain.register(TARGET, Arc::new(move |_| answer()));
        world.pass(10 * 86_400);
        let id = world.submit(0).await;
        world.turn().await;
        assert!(matches!(world.status(id).await.hold, Some(Hold::WouldRevert { .. })));
        world.clock.set(START);
        open_for_all.store(true, Ordering::Relaxed);
        world.turn().await;
        assert_eq!(world.status(id).await.state, State::Broadcast);
    }
}

type Warp = dyn Fn(&str, &Value, Value) -> Result<Value, RpcError> + Send + Sync;

/// An endpoint that answers as told for some questions.
struct Warped {
    node: FaultyRpc,
    warp: Box<Warp>,
}

#[async_trait]
impl Rpc for Warped {
    async fn request(&self, method: &str, params: Value) -> Result<Answer, RpcError> {
        let answer = self.node.ask(method, &params)?;
        (self.warp)(method, &params, answer).map(Answer::from)
    }

    fn label(&self) -> &str {
        "warped"
    }
}

fn unknown_method() -> RpcError {
    RpcError::Response { code: -32601, message: "the method does not exist".to_owned(), data: None }
}

async fn warped(world: &World, warp: impl Fn(&str, &Value, Value) -> Result<Value, RpcError> + Send + Sync + 'static) -> Outbox {
    let rpc: Arc<dyn Rpc> = Arc::new(Warped { node: world.rpc.clone(), warp: Box::new(warp) });
    let endpoints = Endpoints::from_rpcs("sim", vec![rpc], world.clock.clone());
    Outbox::open(world.store.store.clone(), endpoints, Arc::new(world.signer.clone()), world.config.clone()).await.unwrap()
}

/// A node that fails for one receipt ("transaction indexing is in progress") must not keep the others from being settled.
#[tokio::test]
async fn a_receipt_that_cannot_be_read_does_not_hold_up_the_others() {
    for world in worlds(config()).await {
        let bad = Arc::new(std::sync::Mutex::new(None::<Value>));
        let spoiled = Arc::clone(&bad);
        let outbox = warped(&world, move |method, params, answer| match method {
            "eth_getBlockReceipts" => Err(unknown_method()),
            "eth_getTransactionReceipt" if spoiled.lock().unwrap().as_ref() == params.get(0) => {
                Err(RpcError::Response { code: -32000, message: "transaction indexing is in progress".to_owned(), data: None })
            }
            _ => Ok(answer),
        })
        .await;
        let ids = world.submit_many(0..4).await;
        outbox.turn(world.now()).await.unwrap();
        *bad.lock().unwrap() = Some(json!(world.status(ids[1]).await.tx_hash.unwrap()));
        world.mine();
        outbox.turn(world.now()).await.unwrap();
        for (number, id) in ids.iter().enumerate() {
            let expected = if number == 1 { State::Broadcast } else { State::Included };
            assert_eq!(world.status(*id).await.state, expected, "intent {number}");
        }
        *bad.lock().unwrap() = None;
        for _ in 0..4 {
            world.mine();
            outbox.turn(world.now()).await.unwrap();
        }
        assert_eq!(world.status(ids[1]).await.state, State::Final);
        world.check_landed_once(0..4);
    }
}

async fn take_nonce_0(world: &World, outbox: &Outbox) -> windlass_outbox::IntentId {
    let id = world.submit(0).await;
    outbox.turn(world.now()).await.unwrap();
    for pooled in world.chain.pooled() {
        world.chain.evict(pooled.hash);
    }
    world.foreign(0, 200).await;
    world.mine();
    id
}

/// Not every node has `eth_getBlockReceipts`: what used the nonce is found without it.
#[tokio::test]
async fn a_foreign_use_is_found_by_a_node_without_block_receipts() {
    for world in worlds(OutboxConfig { finality_depth: 4, ..config() }).await {
        let outbox = warped(&world, |method, _, answer| match method {
            "eth_getBlockReceipts" => Err(unknown_method()),
            _ => Ok(answer),
        })
        .await;
        let id = take_nonce_0(&world, &outbox).await;
        for _ in 0..12 {
            outbox.turn(world.now()).await.unwrap();
            world.mine();
        }
        outbox.turn(world.now()).await.unwrap();
        assert_eq!(world.status(id).await.nonce, Some(1));
        assert_eq!(world.status(id).await.state, State::Final);
        world.check_landed_once(0..1);
    }
}

/// A delegation of the account uses its nonce without a transaction of the account (EIP-7702). The intent must neither wait for
/// ever nor be sent again before every receipt was denied for a long time at finality depth.
#[tokio::test]
async fn a_nonce_used_without_a_transaction_is_given_up_late_but_not_never() {
    for world in worlds(OutboxConfig { finality_depth: 4, ..config() }).await {
        let account = world.account();
        let outbox = warped(&world, move |method, params, mut answer| {
            let hide = |one: &Value| one["from"].as_str().and_then(|from| from.parse().ok()) == Some(account);
            let foreign =
                |one: &Value| hide(one) && one["to"].as_str().and_then(|to| to.parse().ok()) == Some(Address::repeat_byte(0xbb));
            if method == "eth_getBlockByNumber"
                && params[1] == json!(true)
                && let Some(list) = answer["transactions"].as_array_mut()
            {
                list.retain(|one| !foreign(one));
            }
            Ok(answer)
        })
        .await;
        let id = take_nonce_0(&world, &outbox).await;
        for _ in 0..20 {
            outbox.turn(world.now()).await.unwrap();
            world.mine();
        }
        assert_eq!(world.status(id).await.nonce, Some(0), "given up too early");
        for _ in 0..24 {
            outbox.turn(world.now()).await.unwrap();
            world.mine();
        }
        outbox.turn(world.now()).await.unwrap();
        assert_eq!((world.status(id).await.state, world.status(id).await.nonce), (State::Final, Some(1)));
        world.check_landed_once(0..1);
    }
}

/// A development chain started anew under an old database: the hold names it, no nonce is signed twice, and when the new chain
/// has grown over the old blocks, work goes on.
#[tokio::test]
async fn a_chain_that_was_started_anew_is_named() {
    for mut world in worlds(OutboxConfig { max_in_flight: 4, ..config() }).await {
        world.submit_many(0..6).await;
        world.run(10).await;
        world.chain = SimChain::new(SimChainConfig {
            balances: BTreeMap::from([(world.account(), ether(1_000))]),
            ..SimChainConfig::default()
        });
        world.rpc = FaultyRpc::new(world.chain.clone(), "node", 2, FaultProfile::none());
        world.restart().await;
        let id = world.submit(6).await;
        world.pass(60);
        world.turn().await;
        assert_eq!(world.status(id).await.hold, Some(Hold::ChainBehind { count: 0, used: 6 }));
        world.run(30).await;
        assert_eq!(world.status(id).await.state, State::Final);
        world.check_landed_once(0..7);
    }
}

/// Many intents that revert at the same time are all dropped: each needs a second answer, and the first must not be forgotten
/// for the sake of the others.
#[tokio::test]
async fn a_thousand_reverting_intents_are_all_dropped() {
    const MANY: u64 = 1_500;
    let world = worlds(config()).await.remove(0);
    world.chain.register(TARGET, Arc::new(|_| revert_with("paused")));
    let mut ids = Vec::new();
    for number in 0..MANY {
        ids.push(world.outbox.submit(intent(number).with_value(Default::default()).with_data(marker(number))).await.unwrap());
    }
    for _ in 0..6 {
        while world.turn().await.again {}
        world.mine();
        world.pass(60);
    }
    let summary = world.outbox.summary().await.unwrap();
    assert_eq!((summary.dropped, summary.recorded), (MANY, 0));
    assert!(matches!(world.status(ids[0]).await.state, State::Dropped(_)));
}
