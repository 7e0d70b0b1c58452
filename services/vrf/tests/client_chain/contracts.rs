//! With contracts that do what they should, and a consumer that does not.

use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{Panic, Revert, SolCall, SolError};
use serde_json::json;
use windlass_chain::{BlockTag, decode_revert};
use windlass_contracts::init_code;
use windlass_contracts::test::FailingConsumer;
use windlass_contracts::vrf::{Bridge, VRFConsumer, VRFProviderV1};
use windlass_outbox::OutboxError;
use windlass_vrf::deploy::{DeployError, deploy};
use windlass_vrf::ports::client_chain::{
    BlockDetail, ProviderEvent, ProviderReader, ReadError, RelayRefusal, decode_log, decode_requested, relay_call, request_call,
};
use windlass_vrf::protocol::multistore::Layout;
use windlass_vrf::protocol::oracle_result::OracleResult;
use windlass_vrf::protocol::task::{ProviderVersion, Task};

use super::world::{COUNTS, FEE, SCRIPT, World, announced, plan, prove_changed};

/// No text, and longer than a storage slot.
const NO_TEXT: [u8; 40] = [0xfe; 40];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_read_and_relayed_with_either_version() {
    for (version, layout) in
        [(ProviderVersion::V1, Layout::V3), (ProviderVersion::V2, Layout::V3), (ProviderVersion::V2, Layout::V2)]
    {
        let world = World::new(version, layout).await;
        let (caller, worker) = (world.accounts[1], world.accounts[2]);
        let reader = world.reader();

        let settings = reader.settings(&world.head().await).await.unwrap();
        assert_eq!((settings.version, settings.oracle_script_id, settings.bridge), (version, SCRIPT, world.deployed.bridge));
        assert_eq!((settings.minimum_fee, settings.task_nonce), (U256::from(FEE), 0));
        assert_eq!(settings.counts, (version == ProviderVersion::V1).then_some(COUNTS));
        assert_eq!(settings.compared().oracle_script_id, SCRIPT);

        let asked = world.transact(caller, Some(world.deployed.provider), FEE, request_call(&NO_TEXT)).await;
        assert!(decode_requested(&asked[0]).unwrap().seed_is_right());
        let task = announced(&asked, world.deployed.provider);
        assert_eq!((task.nonce, task.caller, task.client_seed.as_ref()), (0, caller, &NO_TEXT[..]));
        let other = world.request(world.accounts[3], b"").await;

        let head = world.head().await;
        assert_eq!(reader.settings(&head).await.unwrap().task_nonce, 2);
        let stored = Task { result: open_result(version), ..task.clone() };
        let by_lens = reader.tasks(&[1, 0, 7, 0], &head, 1).await.unwrap();
        let expected = [Some(Task { result: open_result(version), ..other }), Some(stored.clone()), None, Some(stored.clone())];
        assert_eq!(by_lens, expected);
        assert_eq!(reader.task(0, &head, 1).await.unwrap(), Some(stored.clone()));
        assert_eq!(reader.task(2, &head, 1).await.unwrap(), None);
        let without_lens = ProviderReader::new(world.endpoints.clone(), world.deployed.provider, None, Some(version));
        assert_eq!(without_lens.tasks(&[1, 0, 7, 0], &head, 1).await.unwrap(), by_lens);
        let careful = world.reader().with_cross_check(true);
        assert_eq!(careful.tasks(&[1, 0, 7, 0], &head, 1).await.unwrap(), by_lens);

        let proof = world.prove(&task, worker);
        let gas = reader.simulate_relay(worker, &proof, 0).await.unwrap();
        assert!((100_000..600_000).contains(&gas), "{gas}");
        let logs = world.transact(worker, Some(world.deployed.provider), 0, relay_call(&proof, 0)).await;
        let value = keccak256(task.seed);
        let result_hash = if version == ProviderVersion::V1 { keccak256([value, value].concat()) } else { value };
        let relayed = ProviderEvent::Relayed { time: task.time, band_request_id: 1000, to: caller, result_hash, seed: task.seed };
        assert_eq!(logs.iter().filter_map(decode_log).collect::<Vec<_>>(), [relayed]);

        let resolved = reader.task(0, &world.head().await, 1).await.unwrap().unwrap();
        assert!(resolved.is_resolved);
        match version {
            ProviderVersion::V1 => assert_eq!((resolved.proof.len(), resolved.result.len()), (80, 64)),
            ProviderVersion::V2 => assert_eq!(resolved.result.as_ref(), value.as_slice()),
        }
        // The block read before still says what it said.
        assert_eq!(reader.task(0, &head, 1).await.unwrap(), Some(stored));
        let refusal = reader.simulate_relay(worker, &proof, 0).await.unwrap_err();
        assert!(
            matches!(&refusal, RelayRefusal::Provider(text) if text == "VRFProviderBase: Task already resolved"),
            "{refusal}"
        );

        // A proof relayed by V1 leaves the block behind in the Bridge.
        let detail = reader.relayed_block(world.deployed.bridge, 7_001, &world.head().await).await.unwrap();
        let expected = if version == ProviderVersion::V1 { (1_700_000_010, 5) } else { (0, 0) };
        assert_eq!((detail.time_second, detail.time_nano_second), expected);
        assert_eq!(detail == BlockDetail::default(), version == ProviderVersion::V2);
    }
}

/// An unresolved task has no result in V1, and zeros in V2.
fn open_result(version: ProviderVersion) -> Bytes {
    match version {
        ProviderVersion::V1 => Bytes::new(),
        ProviderVersion::V2 => vec![0; 32].into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_bridge_believes_is_read_in_its_order() {
    let world = World::new(ProviderVersion::V2, Layout::V3).await;
    let plan = plan(world.version, world.layout);
    let reader = world.reader();
    let state = reader.bridge_state(world.deployed.bridge, &world.head().await).await.unwrap();
    assert_eq!(state.validators.iter().collect::<Vec<_>>(), plan.validators);
    assert_eq!(state.encoded_chain_id.name(), Some("band-dev-1"));
    let wrong = reader.bridge_state(world.deployed.lens, &world.head().await).await.unwrap_err();
    assert!(matches!(wrong, ReadError::Reverts { method: "getAllValidatorPowers()", .. }), "{wrong}");
    let nobody = reader.bridge_state(Address::repeat_byte(1), &world.head().await).await.unwrap_err();
    assert!(matches!(nobody, ReadError::NoCode { role: "bridge", .. }), "{nobody}");

    // The admin gives the role to a stranger, who removes the first validator: the last one moves into its place.
    let role = Bridge::VALIDATORS_UPDATER_ROLECall {}.abi_encode();
    let role = B256::from_slice(&world.endpoints.call(world.deployed.bridge, role, BlockTag::Latest).await.unwrap());
    let updater = world.accounts[5];
    let grant = Bridge::grantRoleCall { role, account: updater };
    world.transact(world.accounts[0], Some(world.deployed.bridge), 0, grant.abi_encode()).await;
    let change =
        windlass_contracts::vrf::bridge::ValidatorPowers::ValidatorWithPower { addr: plan.validators[0].0, power: U256::ZERO };
    let update = Bridge::updateValidatorPowersCall { validators: vec![change], expectedTotalPower: U256::from(90) };
    world.transact(updater, Some(world.deployed.bridge), 0, update.abi_encode()).await;
    let state = reader.bridge_state(world.deployed.bridge, &world.head().await).await.unwrap();
    let expected = [plan.validators[3], plan.validators[1], plan.validators[2]];
    assert_eq!(state.validators.iter().collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_carry_the_text_of_whoever_refuses() {
    let world = World::new(ProviderVersion::V1, Layout::V3).await;
    let (caller, worker) = (world.accounts[1], world.accounts[2]);
    let task = world.request(caller, b"one").await;
    let reader = world.reader();
    let proof = world.prove(&task, worker);
    let refused = async |from, proof: &[u8], nonce| reader.simulate_relay(from, proof, nonce).await.unwrap_err();

    let refusal = refused(worker, &proof, 9).await;
    assert_eq!(refusal.to_string(), "VRFProviderBase: Task not found");
    assert!(matches!(refusal, RelayRefusal::Provider(_)));
    assert_eq!(refused(caller, &proof, 0).await.to_string(), "VRFProviderBase: The sender must be the task worker");
    let refusal = refused(worker, &world.prove(&Task { nonce: 3, ..task.clone() }, worker)[..64], 0).await;
    assert!(matches!(refusal, RelayRefusal::Empty), "{refusal}");
    let other_layout = super::world::prove(&task, worker, world.version, Layout::V2);
    let refusal = refused(worker, &other_layout, 0).await;
    assert!(matches!(&refusal, RelayRefusal::Bridge(text) if text == "RELAY_BLOCK_FAILED"), "{refusal}");
    type Change = fn(&mut OracleResult);
    let cases: [(Change, &str); 4] = [
        (|result| result.oracle_script_id = 1, "VRFProviderBase: Oracle Script ID not match"),
        (|result| result.min_count = 3, "VRFProviderBase: Min Count not match"),
        (|result| result.ask_count = 300, "VRFProviderBase: Ask Count not match"),
        (|result| result.result = Bytes::from_static(&[0, 0, 0, 9]), "Obi: Out of range"),
    ];
    for (change, text) in cases {
        let proof = prove_changed(&task, worker, world.version, world.layout, change);
        assert_eq!(refused(worker, &proof, 0).await.to_string(), text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_does_not_take_its_value_is_told_apart() {
    let world = World::new(ProviderVersion::V2, Layout::V3).await;
    let worker = world.accounts[2];
    let constructor = FailingConsumer::constructorCall { provider_: world.deployed.provider };
    let consumer = world.create(init_code(&FailingConsumer::BYTECODE, &constructor)).await;
    let ask = FailingConsumer::requestRandomDataFromProviderCall { clientSeed: "one".into() };
    let logs = world.transact(world.accounts[1], Some(consumer), FEE, ask.abi_encode()).await;
    let task = announced(&logs, world.deployed.provider);
    assert_eq!(task.caller, consumer);
    let proof = world.prove(&task, worker);
    let reader = world.reader();
    let told = |mode_, failure_: Vec<u8>| FailingConsumer::setModeCall { mode_, failure_: failure_.into() }.abi_encode();
    let panic = Panic { code: U256::from(0x12) }.abi_encode();
    for (mode, failure, text, of_consumer) in [
        (1, Revert::from("the game is over").abi_encode(), "the game is over", true),
        (1, Vec::new(), "no reason given", false),
        (1, vec![1, 2, 3, 4, 5], "custom error 0x01020304 with 0x05", true),
        (1, panic, "panic 0x12 (division or modulo by zero)", false),
        (2, Vec::new(), "ReentrancyGuard: reentrant call", true),
        (3, Vec::new(), "no reason given", false),
    ] {
        world.transact(world.accounts[1], Some(consumer), 0, told(mode, failure)).await;
        let refusal = reader.simulate_relay(worker, &proof, 0).await.unwrap_err();
        assert_eq!(
            (refusal.to_string().as_str(), refusal.is_of_consumer(), refusal.is_refusal()),
            (text, of_consumer, true),
            "{mode} {text}"
        );
        // Sent all the same, it leaves the task open.
        let receipt = world.attempt(worker, Some(world.deployed.provider), 0, relay_call(&proof, 0)).await;
        assert_eq!(receipt["status"], "0x0");
        assert!(!reader.task(0, &world.head().await, 1).await.unwrap().unwrap().is_resolved);
    }
    world.transact(world.accounts[1], Some(consumer), 0, told(0, Vec::new())).await;
    reader.simulate_relay(worker, &proof, 0).await.unwrap();
    world.transact(worker, Some(world.deployed.provider), 0, relay_call(&proof, 0)).await;
    let latest = FailingConsumer::latestResultCall {}.abi_encode();
    assert_eq!(world.endpoints.call(consumer, latest, BlockTag::Latest).await.unwrap().as_ref(), keccak256(task.seed).as_slice());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_consumer_of_the_deployment_keeps_its_value() {
    let world = World::new(ProviderVersion::V2, Layout::V2).await;
    let worker = world.accounts[2];
    let ask = VRFConsumer::requestRandomDataFromProviderCall { clientSeed: "lottery 1".into() };
    let logs = world.transact(world.accounts[1], Some(world.deployed.consumer), FEE, ask.abi_encode()).await;
    let task = announced(&logs, world.deployed.provider);
    let before = world.endpoints.balance(worker, BlockTag::Latest).await.unwrap();
    world.transact(worker, Some(world.deployed.provider), 0, relay_call(&world.prove(&task, worker), task.nonce)).await;
    let after = world.endpoints.balance(worker, BlockTag::Latest).await.unwrap();
    assert!(after < before, "gas costs more than the fee of this test");
    let latest = VRFConsumer::latestResultCall {}.abi_encode();
    let answer = world.endpoints.call(world.deployed.consumer, latest, BlockTag::Latest).await.unwrap();
    assert_eq!(answer.as_ref(), keccak256(task.seed).as_slice());
    // Nobody else can hand it a value.
    let forged = VRFConsumer::consumeCall { seed: "x".into(), time: 1, result: B256::ZERO };
    let call = json!([{ "from": worker, "to": world.deployed.consumer, "data": Bytes::from(forged.abi_encode()) }, "latest"]);
    let error = world.devnet.request("eth_call", call).await.unwrap_err();
    let data: Bytes = serde_json::from_value(error.data.unwrap()).unwrap();
    assert_eq!(decode_revert(&data).to_string(), "VRFConsumerBaseStaticProvider: The sender is not the provider");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_is_made_once_under_its_name() {
    let world = World::new(ProviderVersion::V1, Layout::V3).await;
    let height = world.devnet.height();
    let patience = Duration::from_secs(30);
    let again = deploy(&world.outbox, "test", &plan(world.version, world.layout), patience).await.unwrap();
    assert_eq!((again, world.devnet.height()), (world.deployed, height));
    let other = deploy(&world.outbox, "test", &plan(ProviderVersion::V2, world.layout), patience).await.unwrap_err();
    assert!(matches!(&other, DeployError::Outbox(OutboxError::ContentDiffers { .. })), "{other}");
    assert!(other.hint().unwrap().contains("another name"));
    let second = deploy(&world.outbox, "second", &plan(ProviderVersion::V2, world.layout), patience).await.unwrap();
    assert_ne!(second.provider, world.deployed.provider);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_do_not_belong_together_are_named() {
    let world = World::new(ProviderVersion::V1, Layout::V3).await;
    let second =
        deploy(&world.outbox, "second", &plan(ProviderVersion::V2, world.layout), Duration::from_secs(30)).await.unwrap();
    let head = world.head().await;
    let reader = |provider, lens, version| ProviderReader::new(world.endpoints.clone(), provider, lens, version);
    let error = reader(world.deployed.provider, Some(second.lens), None).settings(&head).await.unwrap_err();
    assert!(matches!(error, ReadError::ForeignLens { found, .. } if found == second.provider), "{error}");
    let error = reader(second.provider, None, Some(ProviderVersion::V1)).settings(&head).await.unwrap_err();
    assert!(matches!(error, ReadError::OtherVersion { found: ProviderVersion::V2, .. }), "{error}");
    let error = reader(Address::repeat_byte(9), None, None).tasks(&[0], &head, 1).await.unwrap_err();
    assert!(matches!(error, ReadError::NoCode { role: "provider", .. }), "{error}");
    let error = reader(world.deployed.provider, Some(Address::repeat_byte(9)), None).settings(&head).await.unwrap_err();
    assert!(matches!(error, ReadError::NoCode { role: "lens", .. }), "{error}");
    let error = reader(world.deployed.bridge, None, None).settings(&head).await.unwrap_err();
    assert!(matches!(error, ReadError::Reverts { role: "provider", method: "oracleScriptID()", .. }), "{error}");
    assert!(!error.is_transient() && error.hint().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_by_the_owner_are_announced_and_read() {
    let world = World::new(ProviderVersion::V1, Layout::V3).await;
    let owner = world.accounts[0];
    let bridge = Address::repeat_byte(5);
    let provider = world.deployed.provider;
    let mut logs = Vec::new();
    for call in [
        VRFProviderV1::setOracleScriptIDCall { _oracleScriptID: u64::MAX }.abi_encode(),
        VRFProviderV1::setMinimumFeeCall { _minimumFee: U256::MAX }.abi_encode(),
        VRFProviderV1::setMinCountCall { _minCount: 1 }.abi_encode(),
        VRFProviderV1::setAskCountCall { _askCount: 255 }.abi_encode(),
        VRFProviderV1::setBridgeCall { _bridge: bridge }.abi_encode(),
    ] {
        logs.extend(world.transact(owner, Some(provider), 0, call).await);
    }
    let expected = [
        ProviderEvent::SetOracleScriptId(u64::MAX),
        ProviderEvent::SetMinimumFee(U256::MAX),
        ProviderEvent::SetMinCount(1),
        ProviderEvent::SetAskCount(255),
        ProviderEvent::SetBridge(bridge),
    ];
    assert_eq!(logs.iter().filter_map(decode_log).collect::<Vec<_>>(), expected);
    let settings = world.reader().settings(&world.head().await).await.unwrap();
    assert_eq!((settings.oracle_script_id, settings.counts, settings.bridge), (u64::MAX, Some((1, 255)), bridge));
    assert_eq!(settings.minimum_fee, U256::MAX);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_tasks_than_fit_one_question_are_read_in_order() {
    let world = World::new(ProviderVersion::V2, Layout::V3).await;
    for number in 0..3_u8 {
        world.request(world.accounts[1], &[number]).await;
    }
    // Far beyond the end, in chunks.
    let nonces: Vec<u64> = (0..250).rev().collect();
    let tasks = world.reader().tasks(&nonces, &world.head().await, 1).await.unwrap();
    assert_eq!(tasks.len(), 250);
    let found: Vec<u64> = tasks.iter().flatten().map(|task| task.nonce).collect();
    assert_eq!(found, [2, 1, 0]);
    assert!(tasks[..247].iter().all(Option::is_none));
}
