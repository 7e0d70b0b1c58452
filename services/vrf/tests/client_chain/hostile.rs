//! With nodes that answer whatever the test writes down.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolValue;
use serde_json::{Value, json};
use windlass_chain::testing::{Reply, ScriptedRpc};
use windlass_chain::{BlockRef, ChainError, Endpoints, Rpc, RpcError};
use windlass_store::SystemClock;
use windlass_vrf::ports::client_chain::{ProviderReader, ReadError, RelayRefusal, TaskFault};
use windlass_vrf::protocol::task::ProviderVersion;

const PROVIDER: Address = Address::repeat_byte(1);
const LENS: Address = Address::repeat_byte(2);
const BRIDGE: Address = Address::repeat_byte(3);

type TaskV2 = (bool, u64, Address, U256, B256, B256, Bytes);

fn block() -> BlockRef {
    BlockRef { number: 5, hash: B256::repeat_byte(9), ..BlockRef::default() }
}

fn endpoints(nodes: &[Arc<ScriptedRpc>]) -> Endpoints {
    let rpcs = nodes.iter().map(|node| Arc::clone(node) as Arc<dyn Rpc>).collect();
    Endpoints::from_rpcs("test", rpcs, Arc::new(SystemClock))
}

fn node() -> ScriptedRpc {
    ScriptedRpc::new("node").always("eth_getCode", json!("0x6000"))
}

fn reader(nodes: &[Arc<ScriptedRpc>], lens: bool) -> ProviderReader {
    ProviderReader::new(endpoints(nodes), PROVIDER, lens.then_some(LENS), None)
}

fn bytes(data: Vec<u8>) -> Value {
    json!(Bytes::from(data))
}

fn revert() -> Reply {
    Reply::Error(RpcError::Response { code: 3, message: "execution reverted".into(), data: Some(Bytes::new()) })
}

fn word(value: u64) -> Value {
    bytes(U256::from(value).to_be_bytes_vec())
}

/// The settings of a V2 provider, read by the lens, for a node that is asked for them once.
fn with_settings(node: ScriptedRpc, lens: bool) -> ScriptedRpc {
    let node = node.once("eth_call", word(152_u64)).once("eth_call", word(1_u64));
    let node = node.once("eth_call", bytes(BRIDGE.abi_encode())).once("eth_call", word(3_u64));
    let node = node.once("eth_call", revert()).once("eth_call", revert());
    if lens { node.once("eth_call", bytes(PROVIDER.abi_encode())) } else { node }
}

fn task(seed: u8) -> TaskV2 {
    (false, 4, Address::repeat_byte(7), U256::from(8), B256::repeat_byte(seed), B256::ZERO, Bytes::from_static(b"\xff"))
}

#[tokio::test]
async fn settings_of_the_wrong_shape_name_the_function() {
    for (position, method) in
        ["oracleScriptID()", "minimumFee()", "bridge()", "taskNonce()", "minCount()", "askCount()", "provider()"]
            .iter()
            .enumerate()
    {
        // What no function of these returns: a word that is too large for all narrow types, or cut for the one that takes any.
        let nonsense = if *method == "minimumFee()" { bytes(vec![1; 31]) } else { bytes(vec![0xff; 32]) };
        let mut right = [152, 1, 0, 3, 10, 16, 0].map(word);
        right[2] = bytes(BRIDGE.abi_encode());
        right[6] = bytes(PROVIDER.abi_encode());
        right[position] = nonsense;
        let node = right.into_iter().fold(node(), |node, answer| node.once("eth_call", answer));
        let error = reader(&[Arc::new(node)], true).settings(&block()).await.unwrap_err();
        assert!(matches!(&error, ReadError::Malformed { method: found, .. } if found == method), "{error}");
        assert!(error.to_string().contains(method), "{error}");
        assert!(error.is_transient() && error.hint().is_some());
    }
}

#[tokio::test]
async fn a_provider_without_counts_is_v2_whether_it_reverts_or_says_nothing() {
    for without in [revert(), Reply::Value(json!("0x"))] {
        let answers = [word(152_u64), word(1_u64), bytes(BRIDGE.abi_encode()), word(3_u64)];
        let node = answers.into_iter().fold(node(), |node, answer| node.once("eth_call", answer));
        let node = node.once("eth_call", without.clone()).once("eth_call", without);
        let settings = reader(&[Arc::new(node)], false).settings(&block()).await.unwrap();
        assert_eq!((settings.version, settings.counts), (ProviderVersion::V2, None));
    }
}

#[tokio::test]
async fn a_lens_that_answers_another_number_of_tasks_is_refused() {
    for answered in [0_usize, 1, 3] {
        let tasks: Vec<TaskV2> = (0..answered).map(|_| task(1)).collect();
        let node = with_settings(node(), true).once("eth_call", bytes(tasks.abi_encode()));
        let error = reader(&[Arc::new(node)], true).tasks(&[0, 1], &block(), 1).await.unwrap_err();
        let ReadError::Malformed { contract, fault, .. } = &error else { panic!("{error}") };
        assert_eq!((*contract, fault), (LENS, &TaskFault::Count { asked: 2, answered }));
    }
}

#[tokio::test]
async fn answers_that_are_no_tasks_are_refused() {
    let huge = [U256::from(32), U256::from(u64::MAX)].abi_encode_params();
    let half = vec![(false, 0_u64, Address::ZERO, U256::ZERO, B256::repeat_byte(1), B256::ZERO, Bytes::new())].abi_encode();
    let mut no_flag = vec![task(1)].abi_encode();
    no_flag[96 + 31] = 2;
    for nonsense in [Vec::new(), vec![0; 31], vec![0xff; 640], huge, half, no_flag] {
        let node = with_settings(node(), true).once("eth_call", bytes(nonsense.clone()));
        let error = reader(&[Arc::new(node)], true).tasks(&[0], &block(), 1).await.unwrap_err();
        assert!(matches!(&error, ReadError::Malformed { role: "lens", method: "getTasksBulk()", .. }), "{nonsense:?}: {error}");
    }
}

#[tokio::test]
async fn a_question_that_is_too_large_is_asked_in_parts() {
    let both = [revert(), Reply::refusal(-32000, "out of gas"), Reply::refusal(-32000, "response size exceeded")];
    for too_much in both {
        // Three tasks at once, then the first; the other two, then each; the last of them only by the provider.
        let node = with_settings(node(), true)
            .once("eth_call", too_much.clone())
            .once("eth_call", bytes(vec![task(1)].abi_encode()))
            .once("eth_call", too_much.clone())
            .once("eth_call", bytes(vec![task(2)].abi_encode()))
            .once("eth_call", too_much.clone())
            .once("eth_call", bytes(task(3).abi_encode_params()));
        let node = Arc::new(node);
        let tasks = reader(&[Arc::clone(&node)], true).tasks(&[10, 11, 12], &block(), 1).await.unwrap();
        let seeds: Vec<_> = tasks.into_iter().map(|task| task.map(|task| (task.nonce, task.seed))).collect();
        assert_eq!(seeds, [(10, 1), (11, 2), (12, 3)].map(|(nonce, seed)| Some((nonce, B256::repeat_byte(seed)))));
        assert_eq!(node.count("eth_call"), 7 + 6);
    }
}

#[tokio::test]
async fn a_node_that_is_away_is_no_reason_to_ask_for_less() {
    let away = RpcError::Closed { reason: "reset".into() };
    let node = Arc::new(with_settings(node(), true).always("eth_call", away));
    let error = reader(&[Arc::clone(&node)], true).tasks(&[0, 1], &block(), 1).await.unwrap_err();
    assert!(matches!(&error, ReadError::Chain(_)) && error.is_transient(), "{error}");
    assert_eq!(node.count("eth_call"), 7 + 1);
}

#[tokio::test]
async fn a_lens_that_contradicts_the_provider_is_noticed() {
    let answers = |by_provider: TaskV2| {
        with_settings(node(), true)
            .once("eth_call", bytes(vec![task(1), task(2)].abi_encode()))
            .once("eth_call", bytes(task(1).abi_encode_params()))
            .once("eth_call", bytes(by_provider.abi_encode_params()))
    };
    let careful = |node: ScriptedRpc| reader(&[Arc::new(node)], true).with_cross_check(true);
    assert_eq!(careful(answers(task(2))).tasks(&[5, 6], &block(), 1).await.unwrap().len(), 2);
    let mut later = task(2);
    later.1 += 1;
    for (by_provider, differs) in [(task(3), "seed"), (later, "time"), (TaskV2::default(), "caller")] {
        let error = careful(answers(by_provider)).tasks(&[5, 6], &block(), 1).await.unwrap_err();
        assert!(matches!(&error, ReadError::Contradiction { nonce: 6, field, .. } if *field == differs), "{error}");
    }
}

#[tokio::test]
async fn endpoints_that_disagree_about_a_task_are_named() {
    let node = |label: &str, seed| {
        let node = ScriptedRpc::new(label).always("eth_getCode", json!("0x6000"));
        let node = node.always("eth_getBlockByHash", Value::Null);
        Arc::new(node.always("eth_call", bytes(vec![task(seed)].abi_encode())))
    };
    let (honest, liar) = (node("honest", 1), node("liar", 2));
    for answer in with_settings_answers() {
        honest.push("eth_call", answer);
    }
    let error = reader(&[honest, liar], true).tasks(&[0], &block(), 2).await.unwrap_err();
    assert!(matches!(&error, ReadError::Chain(ChainError::Disagreement { .. })), "{error}");
    assert!(error.to_string().contains("honest") && error.to_string().contains("liar"), "{error}");
}

fn with_settings_answers() -> Vec<Reply> {
    let words = [word(152_u64), word(1_u64), bytes(BRIDGE.abi_encode()), word(3_u64)].map(Reply::Value);
    let mut answers = Vec::from(words);
    answers.extend([revert(), revert(), Reply::Value(bytes(PROVIDER.abi_encode()))]);
    answers
}

#[tokio::test]
async fn validators_that_are_no_set_are_refused() {
    let powers = |list: &[(u8, u64)]| {
        list.iter().map(|(number, power)| (Address::repeat_byte(*number), U256::from(*power))).collect::<Vec<_>>().abi_encode()
    };
    let huge = [U256::from(32), U256::from(1_u64 << 40)].abi_encode_params();
    let chain_id = bytes(Bytes::from_static(b"\x32\x01x").abi_encode());
    let ask = async |list: Vec<u8>, total: Value, chain_id: Value| {
        let node = node().once("eth_call", bytes(list)).once("eth_call", total).once("eth_call", chain_id);
        reader(&[Arc::new(node)], false).bridge_state(BRIDGE, &block()).await
    };
    let state = ask(powers(&[(2, 10), (1, 5)]), word(15_u64), chain_id.clone()).await.unwrap();
    assert_eq!((state.validators.len(), state.encoded_chain_id.name()), (2, Some("x")));
    let error = ask(powers(&[(1, 10), (2, 3), (1, 10)]), word(23_u64), chain_id.clone()).await.unwrap_err();
    assert!(matches!(&error, ReadError::Validators { bridge: BRIDGE, .. }), "{error}");
    assert!(error.to_string().contains(&Address::repeat_byte(1).to_string()), "{error}");
    let error = ask(powers(&[(1, 10)]), word(11_u64), chain_id.clone()).await.unwrap_err();
    assert!(matches!(&error, ReadError::TotalPower { .. }), "{error}");
    let error = ask(huge, word(1_u64), chain_id.clone()).await.unwrap_err();
    assert!(matches!(&error, ReadError::Malformed { method: "getAllValidatorPowers()", .. }), "{error}");
    let error = ask(powers(&[(1, 10)]), word(10_u64), bytes(vec![0xff; 64])).await.unwrap_err();
    assert!(matches!(&error, ReadError::Malformed { method: "encodedChainID()", .. }), "{error}");
}

#[tokio::test]
async fn an_estimate_without_a_reason_is_asked_for_one() {
    let reason = RpcError::Response {
        code: 3,
        message: "execution reverted".into(),
        data: Some(
            alloy_sol_types::SolError::abi_encode(&alloy_sol_types::Revert::from("VRFProviderBase: Seed is mismatched")).into(),
        ),
    };
    let node = Arc::new(node().always("eth_estimateGas", revert()).once("eth_call", reason).always("eth_call", json!("0x")));
    let reader = reader(&[Arc::clone(&node)], false);
    let refusal = reader.simulate_relay(LENS, &[], 0).await.unwrap_err();
    assert!(matches!(refusal, RelayRefusal::Provider(_)), "{refusal}");
    // The estimate refuses and the call does not: nobody knows.
    let refusal = reader.simulate_relay(LENS, &[], 0).await.unwrap_err();
    assert!(!refusal.is_refusal(), "{refusal}");
    node.set("eth_estimateGas", Reply::refusal(-32000, "insufficient funds for gas * price + value"));
    let refusal = reader.simulate_relay(LENS, &[], 0).await.unwrap_err();
    assert!(!refusal.is_refusal(), "{refusal}");
    node.set("eth_estimateGas", json!("0x5208"));
    assert_eq!(reader.simulate_relay(LENS, &[], 0).await.unwrap(), 21_000);
}
