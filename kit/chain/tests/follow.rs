//! The follower against chains that fork, nodes that are late or wrong, and restarts at bad moments.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use windlass_chain::testing::{FakeChain, FakeNode};
use windlass_chain::{
    Batch, BlockRef, ChainError, Delivery, Endpoints, EndpointsConfig, FollowConfig, Follower, Log, LogFilter, MIGRATIONS, Rpc,
    RpcError, Start,
};
use windlass_store::{ManualClock, Store, StoreOptions, Synchronous, UnixMillis};

const CONTRACT: Address = Address::repeat_byte(0xc0);
const OTHER: Address = Address::repeat_byte(0x0d);
const EVENT: B256 = B256::repeat_byte(0xe1);

fn wanted() -> LogFilter {
    LogFilter::address(CONTRACT).events([EVENT])
}

fn log(tag: u8) -> (Address, Vec<B256>, Bytes) {
    (CONTRACT, vec![EVENT, B256::repeat_byte(tag)], Bytes::from(vec![tag]))
}

fn noise() -> (Address, Vec<B256>, Bytes) {
    (OTHER, vec![B256::repeat_byte(0x55)], Bytes::new())
}

async fn store() -> Store {
    let options = StoreOptions { synchronous: Synchronous::Off, ..StoreOptions::default() };
    let store = Store::open_with("sqlite::memory:", options).await.unwrap();
    store.migrate(&MIGRATIONS).await.unwrap();
    store
}

fn endpoints(nodes: &[&Arc<FakeNode>]) -> Endpoints {
    let rpcs = nodes.iter().map(|node| Arc::clone(node) as Arc<dyn Rpc>).collect();
    Endpoints::from_rpcs("test", rpcs, Arc::new(ManualClock::new(UnixMillis(0))))
}

fn config() -> FollowConfig {
    FollowConfig { filter: Some(wanted()), start: Start::Block(0), ..FollowConfig::new("reader") }
}

/// A consumer that keeps what it was given, as a machine's tables would.
#[derive(Default)]
struct Replay {
    blocks: Vec<BlockRef>,
    logs: Vec<Log>,
}

impl Replay {
    fn apply(&mut self, batch: &Batch) {
        for removed in &batch.removed {
            assert_eq!(self.blocks.pop(), Some(*removed), "removed blocks come newest first and were delivered");
            self.logs.retain(|log| log.block_hash != removed.hash);
        }
        for added in &batch.added {
            self.blocks.push(added.block);
            self.logs.extend(added.logs.iter().cloned());
        }
    }

    fn assert_linked(&self) {
        for pair in self.blocks.windows(2) {
            assert_eq!(pair[1].parent_hash, pair[0].hash, "blocks {} and {}", pair[0].number, pair[1].number);
        }
    }
}

async fn record(store: &Store, batch: &Batch) -> Result<(), ChainError> {
    let batch = batch.clone();
    store.write("record", move |tx| Box::pin(async move { batch.record(tx).await })).await
}

async fn drain(follower: &mut Follower, store: &Store, replay: &mut Replay) {
    while let Some(batch) = follower.poll().await.unwrap() {
        record(store, &batch).await.unwrap();
        replay.apply(&batch);
    }
}

#[tokio::test]
async fn delivers_blocks_and_logs_in_order_and_takes_back_a_fork() {
    let chain = FakeChain::new();
    let node = FakeNode::new("a", &chain);
    let store = store().await;
    let mut follower = Follower::load(store.clone(), endpoints(&[&node]), config()).await.unwrap();
    let mut replay = Replay::default();
    chain.push(&[log(1), noise()]);
    chain.extend(3);
    chain.push(&[log(2)]);
    drain(&mut follower, &store, &mut replay).await;
    assert_eq!(replay.blocks.last(), Some(&chain.head()));
    assert_eq!(replay.logs, chain.canonical_logs(&wanted()));
    assert_eq!(replay.logs.len(), 2);

    chain.truncate(2);
    chain.push(&[log(3)]);
    chain.extend(3);
    let batch = follower.poll().await.unwrap().unwrap();
    assert_eq!(batch.removed.len(), 2);
    record(&store, &batch).await.unwrap();
    replay.apply(&batch);
    drain(&mut follower, &store, &mut replay).await;
    replay.assert_linked();
    assert_eq!(replay.logs, chain.canonical_logs(&wanted()));
    assert_eq!(follower.poll().await.unwrap(), None);
}

#[tokio::test]
async fn what_is_not_recorded_is_delivered_again_and_nothing_is_recorded_twice() {
    let chain = FakeChain::new();
    let node = FakeNode::new("a", &chain);
    let store = store().await;
    let mut follower = Follower::load(store.clone(), endpoints(&[&node]), config()).await.unwrap();
    chain.push(&[log(1)]);
    let first = follower.poll().await.unwrap().unwrap();
    assert_eq!(follower.poll().await.unwrap().unwrap(), first);
    record(&store, &first).await.unwrap();
    assert!(matches!(record(&store, &first).await, Err(ChainError::StaleBatch { .. })));
    assert_eq!(follower.poll().await.unwrap(), None);
}

#[tokio::test]
async fn a_reorganisation_while_the_program_was_off_is_seen() {
    let chain = FakeChain::new();
    let node = FakeNode::new("a", &chain);
    let store = store().await;
    let mut replay = Replay::default();
    chain.extend(100);
    chain.push(&[log(1)]);
    let mut follower = Follower::load(store.clone(), endpoints(&[&node]), config()).await.unwrap();
    drain(&mut follower, &store, &mut replay).await;
    drop(follower);
    chain.reorganise(64, 10);
    chain.push(&[log(2)]);
    chain.extend(60);
    let mut follower = Follower::load(store.clone(), endpoints(&[&node]), config()).await.unwrap();
    let batch = follower.poll().await.unwrap().unwrap();
    assert_eq!(batch.removed.len(), 64);
    record(&store, &batch).await.unwrap();
    replay.apply(&batch);
    drain(&mut follower, &store, &mut replay).await;
    replay.assert_linked();
    assert_eq!(replay.blocks.last(), Some(&chain.head()));
    assert_eq!(replay.logs, chain.canonical_logs(&wanted()));
}

#[tokio::test]
async fn a_reorganisation_deeper_than_allowed_is_an_error_each_time_and_changes_nothing() {
    let chain = FakeChain::new();
    let node = FakeNode::new("a", &chain);
    let store = store().await;
    let mut replay = Replay::default();
    chain.extend(300);
    let config = FollowConfig { max_reorg_depth: 10, window: 20, ..config() };
    let mut follower = Follower::load(store.clone(), endpoints(&[&node]), config.clone()).await.unwrap();
    drain(&mut follower, &store, &mut replay).await;
    let tip = follower.tip();
    chain.reorganise(10, 20);
    drain(&mut follower, &store, &mut replay).await;
    assert_ne!(follower.tip(), tip, "as deep as allowed is followed");
    let tip = follower.tip();
    chain.reorganise(11, 20);
    for _ in 0..3 {
        let error = follower.poll().await.unwrap_err();
        assert!(matches!(error, ChainError::ReorgTooDeep { limit: 10, .. }), "{error}");
        assert!(!error.is_transient() && error.hint().is_some());
        assert_eq!(follower.tip(), tip);
    }
    let mut follower = Follower::load(store.clone(), endpoints(&[&node]), config).await.unwrap();
    assert!(follower.poll().await.is_err(), "also after a restart");
    store.write("forget", |tx| Box::pin(async move { windlass_chain::follow::forget(tx, "reader").await })).await.unwrap();
    let mut replay = Replay::default();
    drain(&mut follower, &store, &mut replay).await;
    assert_eq!(replay.blocks.last(), Some(&chain.head()));
}

#[tokio::test]
async fn all_delivered_blocks_may_be_taken_back_if_the_stream_is_young() {
    let chain = FakeChain::new();
    let node = FakeNode::new("a", &chain);
    let store = store().await;
    chain.extend(50);
    let config = FollowConfig { start: Start::Block(48), ..config() };
    let mut follower = Follower::load(store.clone(), endpoints(&[&node]), config).await.unwrap();
    let mut replay = Replay::default();
    drain(&mut follower, &store, &mut replay).await;
    assert_eq!(replay.blocks.len(), 3);
    chain.reorganise(10, 12);
    drain(&mut follower, &store, &mut replay).await;
    replay.assert_linked();
    assert_eq!((replay.blocks[0].number, replay.blocks.last()), (48, Some(&chain.head())));
    assert!(replay.blocks.iter().all(|block| chain.branch().contains(&block.hash)));
}

#[tokio::test]
async fn a_late_endpoint_takes_nothing_back() {
    let chain = FakeChain::new();
    let node = FakeNode::new("a", &chain);
    let store = store().await;
    let mut replay = Replay::default();
    chain.extend(40);
    let mut follower = Follower::load(store.clone(), endpoints(&[&node]), config()).await.unwrap();
    drain(&mut follower, &store, &mut replay).await;
    for lag in [1, 5, 20] {
        node.misbehave(|faults| faults.lag = lag);
        assert_eq!(follower.poll().await.unwrap(), None, "{lag} blocks late");
    }
    node.misbehave(|faults| faults.lag = 0);
    chain.push(&[log(1)]);
    drain(&mut follower, &store, &mut replay).await;
    assert_eq!(replay.logs, chain.canonical_logs(&wanted()));
}

#[tokio::test]
async fn a_chain_that_restarted_from_nothing_is_not_silence() {
    let chain = FakeChain::new();
    let node = FakeNode::new("a", &chain);
    let store = store().await;
    let mut replay = Replay::default();
    chain.extend(400);
    let mut follower = Follower::load(store.clone(), endpoints(&[&node]), config()).await.unwrap();
    drain(&mut follower, &store, &mut replay).await;
    chain.reorganise(400, 3);
    let error = follower.poll().await.unwrap_err();
    assert!(matches!(&error, ChainError::Inconsistent { detail, .. } if detail.contains("far below")), "{error}");
    chain.extend(600);
    assert!(matches!(follower.poll().await, Err(ChainError::ReorgTooDeep { .. })));
}

#[tokio::test]
async fn an_endpoint_on_a_branch_that_lost_is_tolerated() {
    let chain = FakeChain::new();
    let (good, stale) = (FakeNode::new("good", &chain), FakeNode::new("stale", &chain));
    let store = store().await;
    let mut replay = Replay::default();
    chain.extend(20);
    let losing = chain.branch();
    chain.reorganise(2, 3);
    let mut follower = Follower::load(store.clone(), endpoints(&[&good, &stale]), config()).await.unwrap();
    drain(&mut follower, &store, &mut replay).await;
    stale.show_branch(Some(losing));
    // The good endpoint fails once, so that the head comes from the stale one.
    good.fail_next([RpcError::Timeout { after_ms: 1 }]);
    assert_eq!(follower.poll().await.unwrap(), None);
    chain.push(&[log(9)]);
    drain(&mut follower, &store, &mut replay).await;
    replay.assert_linked();
    assert_eq!(replay.logs, chain.canonical_logs(&wanted()));
}

#[tokio::test]
async fn logs_that_come_later_than_their_block_are_waited_for() {
    for no_block_receipts in [false, true] {
        let chain = FakeChain::new();
        let node = FakeNode::new("a", &chain);
        let store = store().await;
        let mut replay = Replay::default();
        let mut follower = Follower::load(store.clone(), endpoints(&[&node]), config()).await.unwrap();
        drain(&mut follower, &store, &mut replay).await;
        node.misbehave(|faults| {
            faults.logs_lag = 1;
            faults.no_block_receipts = no_block_receipts;
        });
        chain.push(&[log(1)]);
        assert_eq!(follower.poll().await.unwrap(), None, "the bloom filter says that there are logs");
        assert_eq!(follower.poll().await.unwrap(), None);
        node.misbehave(|faults| faults.logs_lag = 0);
        drain(&mut follower, &store, &mut replay).await;
        assert_eq!(replay.logs, chain.canonical_logs(&wanted()));
        assert_eq!(replay.logs.len(), 1);
    }
}

#[tokio::test]
async fn a_second_endpoint_has_the_logs_that_the_first_lacks() {
    let chain = FakeChain::new();
    let (slow, good) = (FakeNode::new("slow", &chain), FakeNode::new("good", &chain));
    let store = store().await;
    let mut replay = Replay::default();
    let mut follower = Follower::load(store.clone(), endpoints(&[&slow, &good]), config()).await.unwrap();
    drain(&mut follower, &store, &mut replay).await;
    slow.misbehave(|faults| (faults.logs_lag, faults.no_block_receipts) = (1, true));
    good.misbehave(|faults| faults.no_block_receipts = true);
    chain.push(&[log(1)]);
    drain(&mut follower, &store, &mut replay).await;
    assert_eq!(replay.logs, chain.canonical_logs(&wanted()));
}

#[tokio::test]
async fn confirmed_and_finalized_blocks_come_later() {
    for (delivery, depth) in [(Delivery::Confirmed(3), 3), (Delivery::Finalized, 8)] {
        let chain = FakeChain::new();
        let node = FakeNode::new("a", &chain);
        let store = store().await;
        let mut replay = Replay::default();
        let config = FollowConfig { delivery, ..config() };
        let mut follower = Follower::load(store.clone(), endpoints(&[&node]), config).await.unwrap();
        chain.extend(30);
        drain(&mut follower, &store, &mut replay).await;
        assert_eq!(replay.blocks.last().unwrap().number, 30 - depth, "{delivery:?}");
        chain.reorganise(2, 5);
        drain(&mut follower, &store, &mut replay).await;
        replay.assert_linked();
        assert_eq!(replay.blocks.last().unwrap().number, 33 - depth);
    }
}

#[tokio::test]
async fn a_chain_without_finality_falls_back_to_depth() {
    let chain = FakeChain::new();
    let node = FakeNode::new("a", &chain);
    node.misbehave(|faults| faults.no_finality = true);
    chain.extend(100);
    let endpoints = endpoints(&[&node]);
    assert_eq!(endpoints.finalized().await.unwrap().number, 36);
    assert_eq!(endpoints.safe().await.unwrap().number, 36);
}

#[tokio::test]
async fn sparse_catch_up_leaves_out_empty_blocks_but_no_log() {
    let chain = FakeChain::new();
    let node = FakeNode::new("a", &chain);
    node.misbehave(|faults| faults.max_range = Some(70));
    let store = store().await;
    let mut replay = Replay::default();
    for index in 0..2_000u64 {
        if index % 97 == 0 {
            chain.push(&[log((index % 251) as u8), noise()])
        } else {
            chain.push(&[])
        };
    }
    let mut follower = Follower::load(store.clone(), endpoints(&[&node]), config()).await.unwrap();
    drain(&mut follower, &store, &mut replay).await;
    assert_eq!(replay.logs, chain.canonical_logs(&wanted()));
    assert!(replay.blocks.len() < 500, "{} blocks delivered", replay.blocks.len());
    let recent: Vec<u64> = replay.blocks.iter().rev().take(128).map(|block| block.number).collect();
    assert_eq!(recent, (1_873..=2_000).rev().collect::<Vec<_>>(), "near the head every block is delivered");
    chain.reorganise(100, 120);
    drain(&mut follower, &store, &mut replay).await;
    assert_eq!(replay.blocks.last(), Some(&chain.head()));
}

#[tokio::test]
async fn whole_transactions_come_with_every_block() {
    let chain = FakeChain::new();
    let node = FakeNode::new("a", &chain);
    let store = store().await;
    chain.push(&[log(1), noise()]);
    chain.extend(300);
    chain.push(&[noise()]);
    let config = FollowConfig { transactions: true, filter: None, ..config() };
    let mut follower = Follower::load(store.clone(), endpoints(&[&node]), config).await.unwrap();
    let (mut blocks, mut transactions) = (0, Vec::new());
    while let Some(batch) = follower.poll().await.unwrap() {
        record(&store, &batch).await.unwrap();
        for added in &batch.added {
            blocks += 1;
            assert!(added.transactions.iter().all(|one| one.block_hash == Some(added.block.hash)));
            transactions.extend(added.transactions.iter().map(|one| (added.block.number, one.to)));
        }
    }
    assert_eq!(blocks, 303);
    assert_eq!(transactions, [(1, Some(CONTRACT)), (1, Some(OTHER)), (302, Some(OTHER))]);
}

/// What may happen to the chain, the nodes and the program between two rounds.
#[derive(Debug, Clone)]
enum Step {
    Extend { blocks: u8, logs: u8 },
    Reorganise { depth: u8, blocks: u8, logs: u8 },
    Truncate { depth: u8 },
    Lag { node: bool, blocks: u8 },
    LogsLag { node: bool, blocks: u8 },
    OldBranch { node: bool },
    Fail { node: bool, times: u8 },
    Poll,
    PollWithoutRecord,
    RestartAfterPoll,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..40u8, 0..4u8).prop_map(|(blocks, logs)| Step::Extend { blocks, logs }),
        3 => (1..20u8, 0..25u8, 0..4u8).prop_map(|(depth, blocks, logs)| Step::Reorganise { depth, blocks, logs }),
        1 => (1..6u8).prop_map(|depth| Step::Truncate { depth }),
        1 => (any::<bool>(), 0..8u8).prop_map(|(node, blocks)| Step::Lag { node, blocks }),
        1 => (any::<bool>(), 0..3u8).prop_map(|(node, blocks)| Step::LogsLag { node, blocks }),
        1 => any::<bool>().prop_map(|node| Step::OldBranch { node }),
        1 => (any::<bool>(), 1..4u8).prop_map(|(node, times)| Step::Fail { node, times }),
        8 => Just(Step::Poll),
        1 => Just(Step::PollWithoutRecord),
        1 => Just(Step::RestartAfterPoll),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

fn grow(chain: &FakeChain, blocks: u8, logs: u8) {
    for index in 0..blocks {
        if index < logs {
            chain.push(&[noise(), log(index), log(index + 1)])
        } else {
            chain.push(&[noise()])
        };
    }
}

async fn play(steps: &[Step], delivery: Delivery) {
    let chain = FakeChain::new();
    let nodes = [FakeNode::new("a", &chain), FakeNode::new("b", &chain)];
    let node = |second: bool| &nodes[usize::from(second)];
    let store = store().await;
    let clock = Arc::new(ManualClock::new(UnixMillis(0)));
    let endpoints = || {
        let rpcs = nodes.iter().map(|node| Arc::clone(node) as Arc<dyn Rpc>).collect();
        Endpoints::from_rpcs("test", rpcs, Arc::clone(&clock) as _)
    };
    let config = FollowConfig { delivery, batch_blocks: 16, max_reorg_depth: 2_000, window: 2_000, ..config() };
    let load = || Follower::load(store.clone(), endpoints(), config.clone());
    let mut follower = load().await.unwrap();
    let mut replay = Replay::default();
    for step in steps {
        clock.advance(std::time::Duration::from_millis(700));
        match step {
            Step::Extend { blocks, logs } => grow(&chain, *blocks, *logs),
            Step::Reorganise { depth, blocks, logs } => {
                chain.truncate(u64::from(*depth));
                grow(&chain, *blocks, *logs);
            }
            Step::Truncate { depth } => chain.truncate(u64::from(*depth)),
            Step::Lag { node: which, blocks } => node(*which).misbehave(|faults| faults.lag = u64::from(*blocks)),
            Step::LogsLag { node: which, blocks } => {
                node(*which).misbehave(|faults| faults.logs_lag = u64::from(*blocks));
            }
            Step::OldBranch { node: which } => node(*which).show_branch(Some(chain.branch())),
            Step::Fail { node: which, times } => {
                node(*which).fail_next((0..*times).map(|_| RpcError::Closed { reason: "test".into() }));
            }
            Step::Poll => {
                if let Ok(Some(batch)) = follower.poll().await {
                    record(&store, &batch).await.unwrap();
                    replay.apply(&batch);
                }
            }
            Step::PollWithoutRecord => drop(follower.poll().await),
            Step::RestartAfterPoll => {
                drop(follower.poll().await);
                follower = load().await.unwrap();
            }
            Step::Restart => follower = load().await.unwrap(),
        }
        replay.assert_linked();
    }
    for node in &nodes {
        node.misbehave(|faults| *faults = Default::default());
        node.show_branch(None);
        node.fail_next([]);
    }
    // One block more than ever: a chain that only became shorter is not visible before it grows again.
    let highest = replay.blocks.last().map_or(0, |block| block.number) + 10;
    chain.extend((highest + 20).saturating_sub(chain.head().number).max(12));
    let mut idle = 0;
    while idle < 5 {
        clock.advance(std::time::Duration::from_secs(61));
        match follower.poll().await {
            Ok(Some(batch)) => {
                record(&store, &batch).await.unwrap();
                replay.apply(&batch);
                idle = 0;
            }
            Ok(None) => idle += 1,
            // What a node still had to fail with: it passes, because the faults are finite.
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
    replay.assert_linked();
    let last = replay.blocks.last().unwrap();
    let expected_height = match delivery {
        Delivery::Instant => chain.head().number,
        Delivery::Confirmed(depth) => chain.head().number - depth,
        Delivery::Finalized => chain.head().number - 8,
    };
    assert_eq!(last.number, expected_height);
    let canonical = chain.canonical();
    assert_eq!(replay.blocks.len() as u64, expected_height + 1, "no gap");
    assert!(replay.blocks.iter().zip(&canonical).all(|(ours, theirs)| *ours == theirs.block));
    let mut logs = chain.canonical_logs(&wanted());
    logs.retain(|log| log.block_number <= expected_height);
    assert_eq!(replay.logs, logs);
}

#[test]
fn the_replayed_stream_is_the_canonical_chain_whatever_happens() {
    let cases = std::env::var("WINDLASS_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(48);
    let seed: u64 = std::env::var("WINDLASS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut bytes = [0u8; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config { cases, failure_persistence: None, ..Config::default() }, rng);
    let delivery = prop_oneof![
        3 => Just(Delivery::Instant),
        1 => (1..5u64).prop_map(Delivery::Confirmed),
        1 => Just(Delivery::Finalized),
    ];
    let outcome = runner.run(&(steps(), delivery), |(steps, delivery)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(&steps, delivery));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("WINDLASS_SEED={seed} WINDLASS_SEEDS={cases}: {error}");
    }
}

/// Shows everything, but leaves out the last log of every answer with several.
struct Liar(Arc<FakeNode>);

#[async_trait::async_trait]
impl Rpc for Liar {
    async fn request(&self, method: &str, params: serde_json::Value) -> Result<windlass_chain::Answer, RpcError> {
        let answer = self.0.request(method, params).await?;
        if method != "eth_getLogs" {
            return Ok(answer);
        }
        let mut logs: Vec<serde_json::Value> = answer.parse(method)?;
        logs.pop();
        Ok(serde_json::Value::from(logs).into())
    }
    fn label(&self) -> &str {
        "liar"
    }
}

#[tokio::test]
async fn with_a_quorum_one_liar_of_three_hides_nothing() {
    let chain = FakeChain::new();
    let (a, b) = (FakeNode::new("a", &chain), FakeNode::new("b", &chain));
    let liar = Arc::new(Liar(FakeNode::new("hidden", &chain)));
    let settings =
        EndpointsConfig { quorum: 2, clock: Arc::new(ManualClock::new(UnixMillis(0))), ..EndpointsConfig::new("test", []) };
    let nodes: Vec<Arc<dyn Rpc>> = vec![liar, a, b];
    let endpoints = Endpoints::with_rpcs(&settings, nodes, Vec::new(), false);
    let store = store().await;
    let mut replay = Replay::default();
    for index in 0..600u64 {
        if index % 50 == 0 {
            chain.push(&[log(1), log(2)])
        } else {
            chain.push(&[noise()])
        };
    }
    let mut follower = Follower::load(store.clone(), endpoints, config()).await.unwrap();
    drain(&mut follower, &store, &mut replay).await;
    chain.push(&[log(3), log(4)]);
    drain(&mut follower, &store, &mut replay).await;
    chain.push(&[noise()]);
    drain(&mut follower, &store, &mut replay).await;
    assert_eq!(replay.logs, chain.canonical_logs(&wanted()));
    assert_eq!(replay.blocks.last(), Some(&chain.head()));
}

/// Two endpoints that differ and no third to decide: the error says who answered what.
#[tokio::test]
async fn without_a_majority_the_error_names_who_answered_what() {
    let chain = FakeChain::new();
    let honest = FakeNode::new("honest", &chain);
    let liar = Arc::new(Liar(FakeNode::new("hidden", &chain)));
    let settings =
        EndpointsConfig { quorum: 2, clock: Arc::new(ManualClock::new(UnixMillis(0))), ..EndpointsConfig::new("test", []) };
    let nodes: Vec<Arc<dyn Rpc>> = vec![liar, honest];
    let endpoints = Endpoints::with_rpcs(&settings, nodes, Vec::new(), false);
    chain.push(&[log(1), log(2)]);
    let mut follower = Follower::load(store().await, endpoints, config()).await.unwrap();
    let mut outcome = follower.poll().await;
    while matches!(outcome, Ok(Some(_))) {
        outcome = follower.poll().await;
    }
    let error = outcome.unwrap_err();
    let windlass_chain::ChainError::Disagreement { answers, .. } = &error else { panic!("{error}") };
    let hosts: Vec<&str> = answers.iter().map(|(host, _)| host.as_str()).collect();
    assert_eq!(hosts, ["liar", "honest"]);
    assert_ne!(answers[0].1, answers[1].1, "{error}");
}

#[test]
fn a_follower_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let check = |mut follower: Follower| async move {
        is_send(&follower);
        is_send(&follower.poll());
        is_send(&follower.next());
    };
    let _ = check;
}

#[tokio::test]
async fn the_window_is_kept_alike_in_every_kind_of_store() {
    for test in windlass_store::testing::stores().await {
        let store = test.store.clone();
        store.migrate(&MIGRATIONS).await.unwrap();
        let chain = FakeChain::new();
        let node = FakeNode::new("a", &chain);
        chain.extend(400);
        let config = FollowConfig { window: 150, batch_blocks: 70, sparse_catch_up: false, ..config() };
        let mut replay = Replay::default();
        let mut follower = Follower::load(store.clone(), endpoints(&[&node]), config.clone()).await.unwrap();
        drain(&mut follower, &store, &mut replay).await;
        let rows = store.query("SELECT number FROM chain_follow_block", vec![]).await.unwrap();
        assert_eq!(rows.len(), 151, "no more is kept than the window");
        chain.reorganise(100, 120);
        let mut restarted = Follower::load(store.clone(), endpoints(&[&node]), config).await.unwrap();
        let (mut other, store_view) = (follower, restarted.tip());
        assert_eq!(other.tip(), store_view, "memory and store agree");
        assert_eq!(other.poll().await.unwrap(), restarted.poll().await.unwrap());
        drain(&mut restarted, &store, &mut replay).await;
        replay.assert_linked();
        assert_eq!(replay.blocks.last(), Some(&chain.head()));
    }
}
