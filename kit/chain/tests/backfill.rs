//! Backfill: complete, in order, whatever ranges the endpoints take.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};
use futures::StreamExt;
use proptest::prelude::*;
use windlass_chain::testing::{FakeChain, FakeNode};
use windlass_chain::{BackfillOptions, ChainError, Chunk, Endpoints, Log, LogFilter, Rpc, RpcError, backfill};
use windlass_store::{ManualClock, UnixMillis};

const CONTRACT: Address = Address::repeat_byte(0xc0);

fn chain(blocks: u64, every: u64) -> FakeChain {
    let chain = FakeChain::new();
    for index in 1..blocks {
        let log = (CONTRACT, vec![B256::repeat_byte(1)], Bytes::new());
        if index % every == 0 {
            chain.push(&[log.clone(), log])
        } else {
            chain.push(&[])
        };
    }
    chain
}

fn endpoints(nodes: &[&Arc<FakeNode>]) -> Endpoints {
    let rpcs = nodes.iter().map(|node| Arc::clone(node) as Arc<dyn Rpc>).collect();
    Endpoints::from_rpcs("test", rpcs, Arc::new(ManualClock::new(UnixMillis(0))))
}

fn check(chunks: &[Chunk], from: u64, to: u64, chain: &FakeChain) {
    let mut next = from;
    let canonical = chain.canonical();
    for chunk in chunks {
        assert_eq!(chunk.from, next, "in order and without gaps");
        assert_eq!(chunk.first, canonical[chunk.from as usize].block);
        assert_eq!(chunk.last, canonical[chunk.to as usize].block);
        assert!(chunk.blocks.iter().all(|block| block.block == canonical[block.block.number as usize].block));
        next = chunk.to + 1;
    }
    assert_eq!(next, to + 1);
    let logs: Vec<Log> = chunks.iter().flat_map(|chunk| &chunk.blocks).flat_map(|block| block.logs.clone()).collect();
    let mut expected = chain.canonical_logs(&LogFilter::address(CONTRACT));
    expected.retain(|log| (from..=to).contains(&log.block_number));
    assert_eq!(logs, expected);
}

async fn read(endpoints: Endpoints, from: u64, to: u64, options: BackfillOptions) -> Result<Vec<Chunk>, ChainError> {
    let chunks = backfill(endpoints, from..=to, LogFilter::address(CONTRACT), options).collect::<Vec<_>>().await;
    chunks.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_log_once_and_in_order(
        (blocks, every) in (2..400u64, 1..60u64),
        (start, max_range) in (0..50u64, 1..120u64),
        (initial_range, concurrency) in (1..200u64, 1..6usize),
    ) {
        let chain = chain(blocks, every);
        let node = FakeNode::new("a", &chain);
        node.misbehave(|faults| faults.max_range = Some(max_range));
        let (from, to) = (start.min(blocks - 1), blocks - 1);
        let options = BackfillOptions { initial_range, max_range: 500, concurrency };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let chunks = runtime.block_on(read(endpoints(&[&node]), from, to, options)).unwrap();
        check(&chunks, from, to, &chain);
    }
}

#[tokio::test]
async fn ranges_grow_so_that_long_distances_take_few_requests() {
    let chain = chain(20_000, 5_000);
    let node = FakeNode::new("a", &chain);
    let options = BackfillOptions { initial_range: 100, max_range: 10_000, concurrency: 1 };
    let chunks = read(endpoints(&[&node]), 0, 19_999, options).await.unwrap();
    check(&chunks, 0, 19_999, &chain);
    assert!(chunks.len() <= 9, "{} chunks", chunks.len());
    assert!(node.requests() < 40, "{} requests", node.requests());
}

#[tokio::test]
async fn failures_that_are_not_about_size_go_to_another_endpoint() {
    let chain = chain(1_000, 10);
    let (bad, good) = (FakeNode::new("bad", &chain), FakeNode::new("good", &chain));
    bad.fail_next((0..100).map(|_| RpcError::Closed { reason: "reset".into() }));
    let chunks = read(endpoints(&[&bad, &good]), 0, 999, BackfillOptions::default()).await.unwrap();
    check(&chunks, 0, 999, &chain);
}

#[tokio::test]
async fn an_endpoint_that_has_not_got_so_far_does_not_answer_with_silence() {
    let chain = chain(1_000, 10);
    let (late, good) = (FakeNode::new("late", &chain), FakeNode::new("good", &chain));
    late.misbehave(|faults| faults.lag = 300);
    let chunks = read(endpoints(&[&late, &good]), 0, 999, BackfillOptions::default()).await.unwrap();
    check(&chunks, 0, 999, &chain);
    let alone = read(endpoints(&[&late]), 0, 999, BackfillOptions::default()).await;
    assert!(alone.is_err(), "late everywhere is an error, not an empty answer");
}

#[tokio::test]
async fn an_empty_range_gives_nothing() {
    let chain = chain(10, 1);
    let node = FakeNode::new("a", &chain);
    #[expect(clippy::reversed_empty_ranges, reason = "that is the case under test")]
    let chunks: Vec<_> = backfill(endpoints(&[&node]), 5..=4, LogFilter::any(), BackfillOptions::default()).collect().await;
    assert!(chunks.is_empty());
    assert_eq!(node.requests(), 0);
}
