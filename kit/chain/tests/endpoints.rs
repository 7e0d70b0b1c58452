//! Endpoints that fail, lag, lie, or ask to be left alone. Time is tokio's, paused.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use serde_json::{Value, json};
use windlass_chain::testing::{FakeChain, FakeNode, Reply, ScriptedRpc};
use windlass_chain::{
    BlockId, BlockTag, CallRequest, ChainError, EndpointState, Endpoints, EndpointsConfig, LogFilter, RevertReason, Rpc,
    RpcError, SendError,
};
use windlass_store::{Clock, ManualClock, UnixMillis};

/// A clock that shows tokio's (paused) time.
struct TokioClock(tokio::time::Instant);

impl Clock for TokioClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.elapsed().as_millis() as i64)
    }
}

fn config() -> EndpointsConfig {
    EndpointsConfig {
        clock: Arc::new(TokioClock(tokio::time::Instant::now())),
        timeout_ms: 1_000,
        hedge_after_ms: Some(200),
        ..EndpointsConfig::new("test", [])
    }
}

fn rpcs(nodes: &[&Arc<ScriptedRpc>]) -> Vec<Arc<dyn Rpc>> {
    nodes.iter().map(|node| Arc::clone(node) as Arc<dyn Rpc>).collect()
}

fn timed(nodes: &[&Arc<ScriptedRpc>]) -> Endpoints {
    Endpoints::with_rpcs(&config(), rpcs(nodes), Vec::new(), true)
}

fn header(number: u64) -> Value {
    json!({
        "number": format!("{number:#x}"), "hash": B256::with_last_byte(number as u8), "timestamp": "0x1",
        "parentHash": B256::with_last_byte(number as u8 - 1), "transactions": []
    })
}

fn node(label: &str) -> ScriptedRpc {
    ScriptedRpc::new(label)
}

const WHO: Address = Address::repeat_byte(0xaa);

#[tokio::test(start_paused = true)]
async fn a_failing_endpoint_is_passed_over_and_then_left_alone() {
    let bad = Arc::new(node("bad").always("eth_gasPrice", RpcError::Closed { reason: "reset".into() }));
    let good = Arc::new(node("good").always("eth_gasPrice", json!("0x5")));
    let endpoints = timed(&[&bad, &good]);
    assert_eq!(endpoints.gas_price().await.unwrap(), 5);
    assert_eq!((bad.count("eth_gasPrice"), good.count("eth_gasPrice")), (1, 1));
    assert_eq!(endpoints.gas_price().await.unwrap(), 5);
    assert_eq!(bad.count("eth_gasPrice"), 1, "it is in its pause");
    assert!(matches!(endpoints.status()[0].state, EndpointState::Failing { .. }));
    tokio::time::advance(Duration::from_millis(600)).await;
    bad.set("eth_gasPrice", json!("0x7"));
    assert_eq!(endpoints.gas_price().await.unwrap(), 7, "after the pause the configured order holds again");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_deadline() {
    let silent = Arc::new(node("silent").always("eth_gasPrice", Reply::Never));
    let endpoints = timed(&[&silent]);
    let started = tokio::time::Instant::now();
    let error = endpoints.gas_price().await.unwrap_err();
    assert!(matches!(error.rpc_error(), Some(RpcError::Timeout { after_ms: 1_000 })), "{error}");
    assert!(error.is_transient());
    assert_eq!(started.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_slow_read_is_hedged_but_a_broadcast_is_not() {
    let raw = [1u8, 2, 3];
    let slow_hash = Reply::from(json!(keccak256(raw))).after(Duration::from_millis(900));
    let slow = Arc::new(
        node("slow")
            .always("eth_gasPrice", Reply::from(json!("0x1")).after(Duration::from_millis(900)))
            .always("eth_sendRawTransaction", slow_hash),
    );
    let quick =
        Arc::new(node("quick").always("eth_gasPrice", json!("0x2")).always("eth_sendRawTransaction", json!(keccak256(raw))));
    let endpoints = timed(&[&slow, &quick]);
    let started = tokio::time::Instant::now();
    assert_eq!(endpoints.send_raw_transaction(&raw).await.unwrap(), keccak256(raw));
    assert_eq!(started.elapsed(), Duration::from_millis(900));
    assert_eq!(quick.calls(), []);

    let endpoints = timed(&[&slow, &quick]);
    let started = tokio::time::Instant::now();
    assert_eq!(endpoints.gas_price().await.unwrap(), 2);
    assert_eq!(started.elapsed(), Duration::from_millis(200));
    assert_eq!(endpoints.gas_price().await.unwrap(), 2, "the slow one has shown that it is slow");
    assert_eq!(started.elapsed(), Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_is_respected_per_endpoint_and_waited_out_when_short() {
    let busy = Arc::new(
        node("busy")
            .once("eth_gasPrice", RpcError::TooManyRequests { retry_after_ms: Some(800) })
            .always("eth_gasPrice", json!("0x1")),
    );
    let other = Arc::new(node("other").always("eth_gasPrice", json!("0x2")));
    let endpoints = timed(&[&busy, &other]);
    for _ in 0..5 {
        assert_eq!(endpoints.gas_price().await.unwrap(), 2);
    }
    assert_eq!(busy.count("eth_gasPrice"), 1);

    let alone = Arc::new(
        node("alone")
            .once("eth_gasPrice", RpcError::TooManyRequests { retry_after_ms: Some(800) })
            .once("eth_gasPrice", json!("0x1"))
            .once("eth_gasPrice", RpcError::TooManyRequests { retry_after_ms: Some(30_000) }),
    );
    let endpoints = timed(&[&alone]);
    let started = tokio::time::Instant::now();
    assert!(endpoints.gas_price().await.is_err());
    assert_eq!(endpoints.gas_price().await.unwrap(), 1);
    assert_eq!(started.elapsed(), Duration::from_millis(800));
    assert!(endpoints.gas_price().await.is_err());
    let error = endpoints.gas_price().await.unwrap_err();
    assert_eq!(error.retry_after_ms(), Some(30_000), "{error}");
    assert_eq!(alone.count("eth_gasPrice"), 3, "not asked while it wants to be left alone");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_of_another_chain_is_never_used() {
    let wrong = Arc::new(node("wrong").always("eth_chainId", json!("0x5")).always("eth_gasPrice", json!("0x1")));
    let right = Arc::new(node("right").always("eth_chainId", json!("0x64")).always("eth_gasPrice", json!("0x2")));
    let config = EndpointsConfig { chain_id: Some(100), ..config() };
    let endpoints = Endpoints::with_rpcs(&config, rpcs(&[&wrong, &right]), Vec::new(), true);
    assert_eq!(endpoints.gas_price().await.unwrap(), 2);
    assert_eq!(wrong.count("eth_gasPrice"), 0);
    let EndpointState::Quarantined { reason } = &endpoints.status()[0].state else { panic!() };
    assert_eq!(reason, "serves chain id 5, expected 100");
    let only_wrong = Endpoints::with_rpcs(&config, rpcs(&[&wrong]), Vec::new(), true);
    for _ in 0..2 {
        let error = only_wrong.gas_price().await.unwrap_err();
        assert!(
            matches!(&error, ChainError::WrongChain { expected: 100, found, .. } if found == &[("wrong".to_owned(), 5)]),
            "{error}"
        );
        assert!(!error.is_transient());
    }
    // The operator repairs the node; after a while it is looked at again.
    wrong.set("eth_chainId", json!("0x64"));
    tokio::time::advance(Duration::from_secs(301)).await;
    assert_eq!(only_wrong.gas_price().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_endpoint_is_not_asked_about_the_newest_state() {
    let late = Arc::new(node("late").always("eth_getBlockByNumber", header(90)).always("eth_getBalance", json!("0x1")));
    let good = Arc::new(node("good").always("eth_getBlockByNumber", header(100)).always("eth_getBalance", json!("0x2")));
    let endpoints = timed(&[&late, &good]);
    assert_eq!(endpoints.head().await.unwrap().number, 100);
    assert_eq!(endpoints.balance(WHO, BlockId::LATEST).await.unwrap(), U256::from(2));
    assert_eq!(late.count("eth_getBalance"), 0);
    assert_eq!(endpoints.status()[0].state, EndpointState::Lagging { behind: 10 });
    // When the good one goes away the late one is better than nothing.
    good.set("eth_getBalance", RpcError::Closed { reason: "gone".into() });
    assert_eq!(endpoints.balance(WHO, BlockId::LATEST).await.unwrap(), U256::from(1));
}

#[tokio::test(start_paused = true)]
async fn reads_about_a_transaction_stay_where_it_was_sent() {
    let raw = [9u8];
    let first =
        Arc::new(node("first").always("eth_getTransactionReceipt", Value::Null).always("eth_getTransactionCount", json!("0x0")));
    let second = Arc::new(
        node("second")
            .always("eth_sendRawTransaction", json!(keccak256(raw)))
            .always("eth_getTransactionReceipt", Value::Null)
            .always("eth_getTransactionCount", json!("0x1")),
    );
    first.push("eth_sendRawTransaction", RpcError::connect("refused"));
    let endpoints = timed(&[&first, &second]);
    endpoints.send_raw_transaction(&raw).await.unwrap();
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(endpoints.transaction_count(WHO, BlockTag::Pending).await.unwrap(), 1);
    assert_eq!(endpoints.receipt(keccak256(raw)).await.unwrap(), None);
    assert_eq!((first.count("eth_getTransactionReceipt"), second.count("eth_getTransactionReceipt")), (0, 1));
    second.set("eth_getTransactionCount", RpcError::Closed { reason: "gone".into() });
    assert_eq!(endpoints.transaction_count(WHO, BlockTag::Pending).await.unwrap(), 0, "unless it fails");
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_goes_on_only_when_it_certainly_did_not_arrive() {
    let raw = [7u8];
    let accept = || Arc::new(node("b").always("eth_sendRawTransaction", json!(keccak256(raw))));
    for (reply, goes_on, unknown) in [
        (Reply::Error(RpcError::connect("refused")), true, false),
        (Reply::Error(RpcError::TooManyRequests { retry_after_ms: None }), true, false),
        (Reply::Error(RpcError::Closed { reason: "reset".into() }), false, true),
        (Reply::Never, false, true),
        (Reply::Error(RpcError::Http { status: 502, retry_after_ms: None, body: String::new() }), false, true),
        (Reply::Error(RpcError::Http { status: 403, retry_after_ms: None, body: String::new() }), true, false),
        (Reply::Value(json!(B256::ZERO)), false, true),
        (Reply::refusal(-32000, "nonce too low"), false, false),
    ] {
        let (a, b) = (Arc::new(node("a").always("eth_sendRawTransaction", reply.clone())), accept());
        let outcome = timed(&[&a, &b]).send_raw_transaction(&raw).await;
        assert_eq!(b.count("eth_sendRawTransaction"), usize::from(goes_on), "{reply:?}");
        match outcome {
            Ok(hash) => assert!(goes_on && hash == keccak256(raw)),
            Err(error) => assert_eq!(error.outcome_unknown(), unknown, "{error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_are_typed() {
    let a = Arc::new(
        node("a")
            .once("eth_sendRawTransaction", Reply::refusal(-32000, "already known"))
            .once("eth_sendRawTransaction", Reply::refusal(-32000, "insufficient funds for gas * price + value")),
    );
    let endpoints = timed(&[&a]);
    let error = endpoints.send_raw_transaction(&[1]).await.unwrap_err();
    assert_eq!(error.send_error(), Some(&SendError::AlreadyKnown));
    let error = endpoints.send_raw_transaction(&[1]).await.unwrap_err();
    assert!(matches!(error.send_error(), Some(SendError::InsufficientFunds { .. })));
    assert!(error.hint().is_some());
}

#[tokio::test(start_paused = true)]
async fn with_broadcast_endpoints_one_acceptance_suffices() {
    let raw = [3u8];
    let reader = Arc::new(node("reader"));
    let accepts = Arc::new(node("accepts").always("eth_sendRawTransaction", json!(keccak256(raw))));
    let silent = Arc::new(node("silent").always("eth_sendRawTransaction", Reply::Never));
    let refuses = Arc::new(node("refuses").always("eth_sendRawTransaction", Reply::refusal(-32000, "nonce too low")));
    let send = |broadcast: Vec<Arc<dyn Rpc>>| {
        let endpoints = Endpoints::with_rpcs(&config(), rpcs(&[&reader]), broadcast, true);
        async move { endpoints.send_raw_transaction(&raw).await }
    };
    assert_eq!(send(rpcs(&[&refuses, &silent, &accepts])).await.unwrap(), keccak256(raw));
    assert!(send(rpcs(&[&refuses, &silent])).await.unwrap_err().outcome_unknown());
    let refused = send(rpcs(&[&refuses])).await.unwrap_err();
    assert!(matches!(refused.send_error(), Some(SendError::NonceTooLow { .. })));
    assert_eq!(reader.calls(), []);
}

#[tokio::test]
async fn quorum_reads_are_pinned_and_name_those_who_disagree() {
    let answers = |label: &str, balance: &str| {
        Arc::new(node(label).always("eth_getBlockByNumber", header(100)).always("eth_getBalance", json!(balance)))
    };
    let (a, b, liar) = (answers("a", "0x5"), answers("b", "0x5"), answers("liar", "0x6"));
    let untimed =
        |nodes: &[&Arc<ScriptedRpc>]| Endpoints::from_rpcs("test", rpcs(nodes), Arc::new(ManualClock::new(UnixMillis(0))));
    assert_eq!(untimed(&[&a, &b, &liar]).quorum_balance(2, WHO, BlockTag::Latest).await.unwrap(), U256::from(5));
    let asked = a.calls().into_iter().find(|call| call.method == "eth_getBalance").unwrap();
    assert_eq!(asked.params[1], json!({ "blockHash": B256::with_last_byte(100) }));

    let error = untimed(&[&a, &liar]).quorum_balance(2, WHO, BlockTag::Latest).await.unwrap_err();
    let ChainError::Disagreement { answers, .. } = &error else { panic!("{error}") };
    assert_eq!(answers, &[("a".to_owned(), "\"0x5\"".to_owned()), ("liar".to_owned(), "\"0x6\"".to_owned())]);

    let down = Arc::new(node("down").always("eth_getBalance", RpcError::connect("refused")));
    let block = BlockId::Hash(B256::with_last_byte(100));
    assert_eq!(untimed(&[&a, &down, &b]).quorum_balance(2, WHO, block).await.unwrap(), U256::from(5));
    let error = untimed(&[&a, &down]).quorum_balance(2, WHO, block).await.unwrap_err();
    assert!(matches!(&error, ChainError::QuorumNotReached { wanted: 2, answered, .. } if answered == &["a"]), "{error}");
}

#[tokio::test]
async fn reverts_are_decoded_wherever_nodes_put_them_and_not_asked_twice() {
    let text = alloy_sol_types::SolError::abi_encode(&alloy_sol_types::Revert::from("paid already"));
    let with_data = RpcError::Response { code: 3, message: "execution reverted".into(), data: Some(text.into()) };
    for (reply, reason) in [
        (Reply::Error(with_data), RevertReason::Error("paid already".into())),
        (Reply::refusal(3, "execution reverted: paid already"), RevertReason::Error("paid already".into())),
        (Reply::refusal(-32000, "execution reverted"), RevertReason::Empty),
        (
            Reply::refusal(-32015, "VM execution error: Reverted 0x11223344"),
            RevertReason::Custom { selector: [0x11, 0x22, 0x33, 0x44], data: Bytes::new() },
        ),
    ] {
        let a = Arc::new(node("a").always("eth_call", reply));
        let b = Arc::new(node("b").always("eth_call", json!("0x")));
        let endpoints = timed(&[&a, &b]);
        let error = endpoints.call(WHO, Bytes::new(), BlockId::LATEST).await.unwrap_err();
        assert_eq!(error.revert_reason(), Some(&reason));
        assert_eq!(b.calls(), []);
        assert_eq!(endpoints.status()[0].failures, 0, "a revert is no failure of the endpoint");
    }
}

#[tokio::test]
async fn calls_carry_sender_value_and_overrides() {
    let a = Arc::new(node("a").always("eth_call", json!("0x01")).always("eth_estimateGas", json!("0x5208")));
    let endpoints = timed(&[&a]);
    let mut request = CallRequest::new(WHO, vec![1u8]).from(Address::ZERO).value(U256::from(5));
    request.state_override = Some(json!({ "0x00": { "balance": "0x1" } }));
    let block = BlockId::Hash(B256::repeat_byte(1));
    assert_eq!(endpoints.call_request(&request, block).await.unwrap(), Bytes::from_static(&[1]));
    let params = &a.calls()[0].params;
    assert_eq!(params[0], json!({ "from": Address::ZERO, "to": WHO, "value": "0x5", "data": "0x01" }));
    assert_eq!(params[1], json!({ "blockHash": B256::repeat_byte(1) }));
    assert_eq!(params[2], request.state_override.clone().unwrap());
    assert_eq!(params.as_array().unwrap().len(), 3);
    assert_eq!(endpoints.estimate_gas(&CallRequest::new(WHO, vec![])).await.unwrap(), 21_000);
}

#[tokio::test]
async fn many_calls_are_answered_by_one_endpoint_each_with_its_own_outcome() {
    let a = Arc::new(
        node("a")
            .once("eth_call", json!("0x01"))
            .once("eth_call", Reply::refusal(3, "execution reverted"))
            .once("eth_call", json!("0x03")),
    );
    let b = Arc::new(node("b"));
    let requests = [CallRequest::new(WHO, vec![1u8]), CallRequest::new(WHO, vec![2u8]), CallRequest::new(WHO, vec![3u8])];
    let outcomes = timed(&[&a, &b]).call_many(&requests, B256::repeat_byte(1)).await.unwrap();
    assert_eq!(outcomes[0].as_ref().unwrap(), &Bytes::from_static(&[1]));
    assert!(matches!(outcomes[1], Err(ChainError::Reverted { .. })));
    assert_eq!(outcomes[2].as_ref().unwrap(), &Bytes::from_static(&[3]));
    assert_eq!(b.calls(), []);
}

#[tokio::test]
async fn a_block_that_one_endpoint_lacks_is_found_at_another() {
    let chain = FakeChain::new();
    chain.extend(10);
    let (late, good) = (FakeNode::new("late", &chain), FakeNode::new("good", &chain));
    late.misbehave(|faults| faults.lag = 6);
    let nodes: Vec<Arc<dyn Rpc>> = vec![late.clone(), good];
    let endpoints = Endpoints::from_rpcs("test", nodes, Arc::new(ManualClock::new(UnixMillis(0))));
    let logs = LogFilter::any().at_block(chain.head().hash);
    assert_eq!(endpoints.logs(&logs).await.unwrap(), []);
    assert_eq!(endpoints.head().await.unwrap(), chain.head());
    assert_eq!(endpoints.block_ref(chain.head().number).await.unwrap(), Some(chain.head()));
    assert_eq!(endpoints.block_ref(99).await.unwrap(), None);
}

/// Every typed read, so that no method is forgotten when answers are distorted.
async fn read_everything(endpoints: &Endpoints) -> Vec<Result<(), ChainError>> {
    let hash = B256::repeat_byte(7);
    let request = CallRequest::new(WHO, vec![1u8]);
    vec![
        endpoints.chain_id().await.map(drop),
        endpoints.head().await.map(drop),
        endpoints.block_ref(5).await.map(drop),
        endpoints.block_ref(hash).await.map(drop),
        endpoints.block(5, true).await.map(drop),
        endpoints.block(hash, false).await.map(drop),
        endpoints.finalized().await.map(drop),
        endpoints.call(WHO, vec![1u8], hash).await.map(drop),
        endpoints.call_many(&[request.clone(), request.clone()], hash).await.map(drop),
        endpoints.balance(WHO, hash).await.map(drop),
        endpoints.code(WHO, hash).await.map(drop),
        endpoints.storage(WHO, U256::ZERO, hash).await.map(drop),
        endpoints.transaction_count(WHO, BlockTag::Pending).await.map(drop),
        endpoints.estimate_gas(&request).await.map(drop),
        endpoints.fee_history(4, &[50.0]).await.map(drop),
        endpoints.gas_price().await.map(drop),
        endpoints.max_priority_fee().await.map(drop),
        endpoints.transaction(hash).await.map(drop),
        endpoints.receipt(hash).await.map(drop),
        endpoints.block_receipts(hash).await.map(drop),
        endpoints.logs(&LogFilter::any().range(1, 5)).await.map(drop),
        endpoints.send_raw_transaction(&[1]).await.map(drop),
        endpoints.quorum_call(2, WHO, vec![], hash).await.map(drop),
        endpoints.quorum_receipt(2, hash).await.map(drop),
        endpoints.quorum_block_ref(2, 5).await.map(drop),
        endpoints.quorum_logs(2, &LogFilter::any().at_block(hash)).await.map(drop),
    ]
}

/// Answers every method with the same value.
struct Parrot(Value, &'static str);

#[async_trait::async_trait]
impl Rpc for Parrot {
    async fn request(&self, _: &str, _: Value) -> Result<windlass_chain::Answer, RpcError> {
        Ok(self.0.clone().into())
    }
    fn label(&self) -> &str {
        self.1
    }
}

fn parrots(value: &Value) -> Endpoints {
    let nodes: Vec<Arc<dyn Rpc>> = vec![Arc::new(Parrot(value.clone(), "a")), Arc::new(Parrot(value.clone(), "b"))];
    Endpoints::from_rpcs("test", nodes, Arc::new(ManualClock::new(UnixMillis(0))))
}

#[tokio::test]
async fn answers_of_a_wrong_shape_are_errors_of_the_endpoint_in_every_method() {
    for value in [json!({}), json!([[]]), json!("zz"), json!(-1), json!(1.5), json!(true), json!({ "number": "0x" })] {
        for (index, outcome) in read_everything(&parrots(&value)).await.into_iter().enumerate() {
            let error = outcome.expect_err(&format!("read {index} took {value}"));
            assert!(error.is_transient(), "read {index}, {value}: {error}");
        }
    }
}

mod distorted {
    use proptest::prelude::*;

    use super::*;

    /// JSON as a broken node might send it: the right field names with wrong values, and anything else.
    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "0x[0-9a-f]{0,70}".prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            Just(json!(B256::repeat_byte(7))),
            Just(json!(WHO)),
        ];
        let key = prop_oneof![
            Just("number"),
            Just("hash"),
            Just("parentHash"),
            Just("timestamp"),
            Just("logsBloom"),
            Just("transactions"),
            Just("logs"),
            Just("topics"),
            Just("data"),
            Just("address"),
            Just("blockHash"),
            Just("blockNumber"),
            Just("transactionHash"),
            Just("logIndex"),
            Just("transactionIndex"),
            Just("gasUsed"),
            Just("from"),
            Just("to"),
            Just("value"),
            Just("input"),
            Just("nonce"),
            Just("gas"),
            Just("status"),
            Just("oldestBlock"),
            Just("reward"),
        ];
        leaf.prop_recursive(4, 64, 12, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((key.clone(), inner), 0..14)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_answer_makes_a_read_panic(value in json_value()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async { drop(read_everything(&parrots(&value)).await) });
        }
    }
}
