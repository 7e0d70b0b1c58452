//! Provider, lens, Bridge and consumers on the scripted chain, as pure functions of call and slots.
//!
//! They check what the real contracts check, in the same order, on the real bytes: a proof is verified by the Bridge's rules down to the
//! signatures. Fees are noted and never moved. Everything lies in slots, so it follows every reorganisation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolValue;
use windlass_sim::chain::{CallContext, CallOutcome, Handler, SimChain, State, Storage, revert_with};
use windlass_vrf::protocol::contract::{
    RANDOM_DATA_RELAYED, RANDOM_DATA_REQUESTED, SET_ASK_COUNT, SET_ORACLE_SCRIPT_ID, selector, topic,
};
use windlass_vrf::protocol::multistore::Layout;
use windlass_vrf::protocol::refusal::Refusal;
use windlass_vrf::protocol::seed::seed;
use windlass_vrf::protocol::signature::Signers;
use windlass_vrf::protocol::task::{ProviderSettings, ProviderVersion, Task};
use windlass_vrf::protocol::validators::ValidatorSet;
use windlass_vrf::protocol::verify::{BlockDetail, BridgeState, Verifier, relay_proof_v1, relay_proof_v2};
use windlass_vrf::protocol::vote::EncodedChainId;

/// Where the contracts are.
pub(crate) const PROVIDER: Address = Address::repeat_byte(0xb1);
pub(crate) const LENS: Address = Address::repeat_byte(0xb2);
pub(crate) const BRIDGE: Address = Address::repeat_byte(0xb3);

/// What a consumer that is closed reverts with.
pub(crate) const CLOSED: &str = "lottery: the round is closed";

/// Gas of a relay beside its calldata; about what the real contracts use. It differs from block to block, as that of real consumers does.
const RELAY_GAS: u64 = 280_000;
const RELAY_GAS_STEP: u64 = 12_000;

// Kinds of slots. The rest of a slot's name is two numbers.
const SETTING: u8 = 1;
const TASK: u8 = 2;
const TASK_SEED: u8 = 3;
const TASK_RESULT: u8 = 4;
const USED: u8 = 5;
const POWERS: u8 = 6;
const BLOCK: u8 = 7;

// Settings of a provider.
const SCRIPT: u64 = 1;
const TASKS: u64 = 2;
const ASK_COUNT: u64 = 3;
// Settings of the Bridge.
const IS_V3: u64 = 4;
// Fields of a task.
const RESOLVED: u64 = 0;
const TIME: u64 = 1;
const CALLER: u64 = 2;
const FEE: u64 = 3;
const SEED: u64 = 4;
const RELAYER: u64 = 5;
// Settings of a consumer.
const IS_CLOSED: u64 = 1;
const CALLBACKS: u64 = 2;

fn slot(kind: u8, a: u64, b: u64) -> B256 {
    let mut name = [0; 32];
    name[0] = kind;
    name[16..24].copy_from_slice(&a.to_be_bytes());
    name[24..].copy_from_slice(&b.to_be_bytes());
    B256::from(name)
}

fn word(storage: &Storage, name: B256) -> B256 {
    storage.get(&name).copied().unwrap_or_default()
}

fn number(storage: &Storage, name: B256) -> u64 {
    U256::from_be_bytes(word(storage, name).0).saturating_to()
}

fn put(storage: &mut Storage, name: B256, value: impl Into<U256>) {
    storage.insert(name, B256::from(value.into()));
}

/// A byte string in slots: its length, then 32 bytes each.
fn put_bytes(storage: &mut Storage, kind: u8, a: u64, bytes: &[u8]) {
    put(storage, slot(kind, a, 0), U256::from(bytes.len()));
    for (chunk, index) in bytes.chunks(32).zip(1..) {
        storage.insert(slot(kind, a, index), B256::right_padding_from(chunk));
    }
}

fn bytes(storage: &Storage, kind: u8, a: u64) -> Bytes {
    let length = number(storage, slot(kind, a, 0)) as usize;
    let chunks = (1..=length.div_ceil(32) as u64).flat_map(|index| word(storage, slot(kind, a, index)).0);
    chunks.take(length).collect::<Vec<u8>>().into()
}

/// What stands on the chain from the beginning.
#[derive(Clone, Debug)]
pub(crate) struct Genesis {
    pub(crate) version: ProviderVersion,
    pub(crate) oracle_script_id: u64,
    pub(crate) min_count: u8,
    pub(crate) ask_count: u8,
    pub(crate) validators: Vec<(Address, u64)>,
    pub(crate) encoded_chain_id: EncodedChainId,
    pub(crate) layout: Layout,
    /// Contracts that ask and are called back.
    pub(crate) consumers: Vec<Address>,
}

/// The calls of users and of the owner.
pub(crate) mod calls {
    use super::*;

    fn call(signature: &str, arguments: Vec<u8>) -> Bytes {
        [selector(signature).as_slice(), &arguments].concat().into()
    }

    /// Asks the provider for a value. The client seed need not be text.
    pub(crate) fn request(client_seed: &[u8]) -> Bytes {
        call("requestRandomData(string)", (Bytes::copy_from_slice(client_seed),).abi_encode_params())
    }

    /// Lets a consumer ask.
    pub(crate) fn ask(client_seed: &[u8]) -> Bytes {
        call("ask(bytes)", (Bytes::copy_from_slice(client_seed),).abi_encode_params())
    }

    /// Makes a consumer revert when it is called back, or takes that away.
    pub(crate) fn close(closed: bool) -> Bytes {
        call("close(bool)", (closed,).abi_encode_params())
    }

    pub(crate) fn relay(proof: &[u8], nonce: u64) -> Bytes {
        call("relayProof(bytes,uint64)", (Bytes::copy_from_slice(proof), nonce).abi_encode_params())
    }

    pub(crate) fn set_oracle_script(id: u64) -> Bytes {
        call("setOracleScriptID(uint64)", (id,).abi_encode_params())
    }

    /// Lets the Bridge expect the stores of BandChain v3 from now on, as a new implementation behind its proxy does.
    pub(crate) fn upgrade_bridge() -> Bytes {
        call("upgrade()", Vec::new())
    }

    pub(crate) fn set_ask_count(count: u8) -> Bytes {
        call("setAskCount(uint8)", (U256::from(count),).abi_encode_params())
    }

    /// Replaces the Bridge's validators. The real method changes single powers; nobody who only reads can tell.
    pub(crate) fn set_validators(validators: &[(Address, u64)]) -> Bytes {
        let list: Vec<(Address, U256)> = validators.iter().map(|(address, power)| (*address, U256::from(*power))).collect();
        call("setValidators((address,uint256)[])", (list,).abi_encode_params())
    }
}

/// Proof and nonce of a `relayProof` call.
pub(crate) fn decode_relay(input: &[u8]) -> Option<(Bytes, u64)> {
    let arguments = input.strip_prefix(selector("relayProof(bytes,uint64)").as_slice())?;
    <(Bytes, u64)>::abi_decode_params(arguments).ok()
}

/// Puts all contracts on a chain.
pub(crate) fn deploy(chain: &SimChain, genesis: &Genesis) {
    let signers = Arc::new(Mutex::new(Signers::with_capacity(20_000)));
    chain.register(BRIDGE, bridge(genesis.clone()));
    chain.register(PROVIDER, provider(genesis.clone(), signers));
    chain.register(LENS, lens(genesis.version));
    for consumer in &genesis.consumers {
        chain.register(*consumer, consumer_handler());
    }
}

fn returned(value: Vec<u8>) -> CallOutcome {
    CallOutcome::Return(value.into())
}

fn refused(refusal: Refusal) -> CallOutcome {
    CallOutcome::Revert(refusal.data().into())
}

/// Dispatch by selector: the arguments, if the input calls this method.
fn arguments<'a>(input: &'a Bytes, signature: &str) -> Option<&'a [u8]> {
    input.strip_prefix(selector(signature).as_slice())
}

/// Runs the first method that the input names. What cannot be decoded, and what nobody knows, reverts without data.
macro_rules! dispatch {
    ($context:ident, $($signature:literal => $method:expr),+ $(,)?) => {{
        let input = $context.input.clone();
        $(if let Some(arguments) = arguments(&input, $signature) {
            let method: fn(&mut CallContext<'_>, &[u8]) -> Option<CallOutcome> = $method;
            return method($context, arguments).unwrap_or(CallOutcome::Revert(Bytes::new()));
        })+
        CallOutcome::Revert(Bytes::new())
    }};
}

// --- the Bridge -----------------------------------------------------------------------------------------------------------------------------

fn powers(storage: &Storage, genesis: &[(Address, u64)]) -> Vec<(Address, U256)> {
    match number(storage, slot(POWERS, 0, 0)) {
        0 => genesis.iter().map(|(address, power)| (*address, U256::from(*power))).collect(),
        count => (1..count)
            .map(|index| {
                let address = Address::from_word(word(storage, slot(POWERS, 1, index)));
                (address, U256::from_be_bytes(word(storage, slot(POWERS, 2, index)).0))
            })
            .collect(),
    }
}

fn bridge(genesis: Genesis) -> Handler {
    Arc::new(move |context| {
        let input = context.input.clone();
        if arguments(&input, "getAllValidatorPowers()").is_some() {
            return returned(powers(context.storage, &genesis.validators).abi_encode());
        }
        if arguments(&input, "totalValidatorPower()").is_some() {
            let total: U256 = powers(context.storage, &genesis.validators).iter().map(|(_, power)| *power).sum();
            return returned(total.abi_encode());
        }
        if arguments(&input, "encodedChainID()").is_some() {
            return returned((genesis.encoded_chain_id.0.clone(),).abi_encode_params());
        }
        if arguments(&input, "isLayoutV3()").is_some() {
            let upgraded = number(context.storage, slot(SETTING, 0, IS_V3)) == 1;
            return returned((upgraded || genesis.layout == Layout::V3).abi_encode());
        }
        dispatch!(context,
            "upgrade()" => |context, _| {
                put(context.storage, slot(SETTING, 0, IS_V3), U256::from(1));
                Some(returned(Vec::new()))
            },
            "blockDetails(uint256)" => |context, arguments| {
                let height = U256::abi_decode(arguments).ok()?.saturating_to();
                let detail = block_detail(context.storage, height);
                Some(returned((detail.oracle_state, detail.time_second, detail.time_nano_second).abi_encode_params()))
            },
            "record(uint64,bytes32,uint64,uint32)" => |context, arguments| {
                let (height, root, second, nano) = <(u64, B256, u64, u32)>::abi_decode_params(arguments).ok()?;
                if context.from != PROVIDER {
                    return None;
                }
                context.storage.insert(slot(BLOCK, height, 0), root);
                put(context.storage, slot(BLOCK, height, 1), U256::from(second));
                put(context.storage, slot(BLOCK, height, 2), U256::from(nano));
                Some(returned(Vec::new()))
            },
            "setValidators((address,uint256)[])" => |context, arguments| {
                let (list,) = <(Vec<(Address, U256)>,)>::abi_decode_params(arguments).ok()?;
                put(context.storage, slot(POWERS, 0, 0), U256::from(list.len() + 1));
                for ((address, power), index) in list.into_iter().zip(1..) {
                    context.storage.insert(slot(POWERS, 1, index), address.into_word());
                    put(context.storage, slot(POWERS, 2, index), power);
                }
                Some(returned(Vec::new()))
            },
        )
    })
}

fn block_detail(storage: &Storage, height: u64) -> BlockDetail {
    BlockDetail {
        oracle_state: word(storage, slot(BLOCK, height, 0)),
        time_second: number(storage, slot(BLOCK, height, 1)),
        time_nano_second: number(storage, slot(BLOCK, height, 2)) as u32,
    }
}

// --- the provider ---------------------------------------------------------------------------------------------------------------------------

fn first_word(bytes: &[u8]) -> B256 {
    B256::right_padding_from(bytes.get(..32).unwrap_or(bytes))
}

fn task(storage: &Storage, version: ProviderVersion, nonce: u64) -> Task {
    let field = |field| word(storage, slot(TASK, nonce, field));
    let result = bytes(storage, TASK_RESULT, nonce);
    let stored = if version == ProviderVersion::V2 { first_word(&result).to_vec().into() } else { result.clone() };
    Task {
        nonce,
        is_resolved: number(storage, slot(TASK, nonce, RESOLVED)) == 1,
        time: number(storage, slot(TASK, nonce, TIME)),
        caller: Address::from_word(field(CALLER)),
        task_fee: U256::from_be_bytes(field(FEE).0),
        seed: field(SEED),
        client_seed: bytes(storage, TASK_SEED, nonce),
        proof: result,
        result: stored,
    }
}

type EncodedV1 = (bool, u64, Address, U256, B256, Bytes, Bytes, Bytes);
type EncodedV2 = (bool, u64, Address, U256, B256, B256, Bytes);

fn encoded_v1(task: Task) -> EncodedV1 {
    (task.is_resolved, task.time, task.caller, task.task_fee, task.seed, task.client_seed, task.proof, task.result)
}

fn encoded_v2(task: Task) -> EncodedV2 {
    let result = first_word(&task.result);
    (task.is_resolved, task.time, task.caller, task.task_fee, task.seed, result, task.client_seed)
}

fn script_of(storage: &Storage, genesis: &Genesis) -> u64 {
    match number(storage, slot(SETTING, 0, SCRIPT)) {
        0 => genesis.oracle_script_id,
        changed => changed,
    }
}

fn provider(genesis: Genesis, signers: Arc<Mutex<Signers>>) -> Handler {
    Arc::new(move |context| {
        let input = context.input.clone();
        let is = |signature| arguments(&input, signature).is_some();
        if is("oracleScriptID()") {
            return returned(script_of(context.storage, &genesis).abi_encode());
        }
        if is("minimumFee()") {
            return returned(U256::from(1).abi_encode());
        }
        if is("bridge()") {
            return returned(BRIDGE.abi_encode());
        }
        if is("taskNonce()") {
            return returned(number(context.storage, slot(SETTING, 0, TASKS)).abi_encode());
        }
        if genesis.version == ProviderVersion::V1 && is("minCount()") {
            return returned(U256::from(counts(context.storage, &genesis).0).abi_encode());
        }
        if genesis.version == ProviderVersion::V1 && is("askCount()") {
            return returned(U256::from(counts(context.storage, &genesis).1).abi_encode());
        }
        if let Some(nonce) = arguments(&input, "tasks(uint64)") {
            let Ok(nonce) = u64::abi_decode(nonce) else { return CallOutcome::Revert(Bytes::new()) };
            let task = task(context.storage, genesis.version, nonce);
            return returned(match genesis.version {
                ProviderVersion::V1 => encoded_v1(task).abi_encode_params(),
                ProviderVersion::V2 => encoded_v2(task).abi_encode_params(),
            });
        }
        if let Some((proof, nonce)) = decode_relay(&input) {
            return relay(context, &genesis, &signers, &proof, nonce);
        }
        dispatch!(context,
            "requestRandomData(string)" => |context, arguments| {
                let (client_seed,) = <(Bytes,)>::abi_decode_params(arguments).ok()?;
                Some(request(context, &client_seed))
            },
            "setOracleScriptID(uint64)" => |context, arguments| {
                let id = u64::abi_decode(arguments).ok()?;
                put(context.storage, slot(SETTING, 0, SCRIPT), U256::from(id));
                context.emit(vec![topic(SET_ORACLE_SCRIPT_ID)], id.abi_encode().into());
                Some(returned(Vec::new()))
            },
            "setAskCount(uint8)" => |context, arguments| {
                let count: u8 = U256::abi_decode(arguments).ok()?.saturating_to();
                put(context.storage, slot(SETTING, 0, ASK_COUNT), U256::from(count));
                context.emit(vec![topic(SET_ASK_COUNT)], U256::from(count).abi_encode().into());
                Some(returned(Vec::new()))
            },
        )
    })
}

fn counts(storage: &Storage, genesis: &Genesis) -> (u8, u8) {
    match number(storage, slot(SETTING, 0, ASK_COUNT)) {
        0 => (genesis.min_count, genesis.ask_count),
        changed => (genesis.min_count, changed as u8),
    }
}

fn request(context: &mut CallContext<'_>, client_seed: &Bytes) -> CallOutcome {
    let caller = context.from;
    let used = keccak256([caller.as_slice(), client_seed].concat());
    let used = slot(USED, u64::from_be_bytes(used[..8].try_into().unwrap()), u64::from_be_bytes(used[8..16].try_into().unwrap()));
    if context.storage.contains_key(&used) {
        return revert_with("VRFProviderBase: Seed already existed for this sender");
    }
    if context.value < U256::from(1) {
        return revert_with("VRFProviderBase: Task fee is lower than the minimum fee");
    }
    put(context.storage, used, U256::from(1));
    let nonce = number(context.storage, slot(SETTING, 0, TASKS));
    let (time, fee, chain_id) = (context.timestamp, context.value, U256::from(context.chain_id));
    let seed = seed(time, caller, context.parent_hash, chain_id, U256::from(nonce), client_seed);
    put(context.storage, slot(TASK, nonce, TIME), U256::from(time));
    context.storage.insert(slot(TASK, nonce, CALLER), caller.into_word());
    put(context.storage, slot(TASK, nonce, FEE), fee);
    context.storage.insert(slot(TASK, nonce, SEED), seed);
    put_bytes(context.storage, TASK_SEED, nonce, client_seed);
    put(context.storage, slot(SETTING, 0, TASKS), U256::from(nonce + 1));
    let data = (time, nonce, context.parent_hash, seed, chain_id, fee, client_seed.clone()).abi_encode_params();
    context.emit(vec![topic(RANDOM_DATA_REQUESTED), caller.into_word()], data.into());
    context.gas += 110_000;
    returned(nonce.abi_encode())
}

/// What the Bridge says now, asked as the contract asks.
fn ask_bridge(context: &mut CallContext<'_>, signature: &str, arguments: &[u8]) -> Bytes {
    let input = [selector(signature).as_slice(), arguments].concat().into();
    match context.call(BRIDGE, U256::ZERO, &input) {
        CallOutcome::Return(data) => data,
        CallOutcome::Revert(_) => Bytes::new(),
    }
}

fn relay(context: &mut CallContext<'_>, genesis: &Genesis, signers: &Mutex<Signers>, proof: &[u8], nonce: u64) -> CallOutcome {
    let task = task(context.storage, genesis.version, nonce);
    let (min_count, ask_count) = counts(context.storage, genesis);
    let settings = ProviderSettings { oracle_script_id: script_of(context.storage, genesis), min_count, ask_count };
    let list = <Vec<(Address, U256)>>::abi_decode(&ask_bridge(context, "getAllValidatorPowers()", &[])).unwrap();
    let mut state = BridgeState::new(ValidatorSet::new(list).unwrap(), genesis.encoded_chain_id.clone());
    if let Ok((height, ..)) = windlass_vrf::prove::relayed_block(proof) {
        let detail = ask_bridge(context, "blockDetails(uint256)", &U256::from(height).abi_encode());
        let (oracle_state, time_second, time_nano_second) = <(B256, u64, u32)>::abi_decode_params(&detail).unwrap();
        state.blocks.insert(height, BlockDetail { oracle_state, time_second, time_nano_second });
    }
    let is_v3 = bool::abi_decode(&ask_bridge(context, "isLayoutV3()", &[])).unwrap();
    let layout = if is_v3 { Layout::V3 } else { Layout::V2 };
    let mut signers = signers.lock().unwrap();
    let mut verifier = Verifier::new(layout, &state, &mut signers);
    let (id, stored, block) = match genesis.version {
        ProviderVersion::V1 => match relay_proof_v1(&task, &settings, context.from, proof, &mut verifier) {
            Ok((relayed, result)) => (relayed.value.request_id, result.result, relayed.block),
            Err(refusal) => return refused(refusal),
        },
        ProviderVersion::V2 => match relay_proof_v2(&task, &settings, context.from, proof, &mut verifier) {
            Ok((result, value)) => (result.request_id, value.to_vec().into(), None),
            Err(refusal) => return refused(refusal),
        },
    };
    drop(signers);
    if let Some((height, detail)) = block {
        let detail = (height, detail.oracle_state, detail.time_second, detail.time_nano_second).abi_encode_params();
        ask_bridge(context, "record(uint64,bytes32,uint64,uint32)", &detail);
    }
    put(context.storage, slot(TASK, nonce, RESOLVED), U256::from(1));
    context.storage.insert(slot(TASK, nonce, RELAYER), context.from.into_word());
    put_bytes(context.storage, TASK_RESULT, nonce, &stored);
    let hash = if genesis.version == ProviderVersion::V1 { keccak256(&stored) } else { first_word(&stored) };
    let data = (task.time, id, hash, task.seed, task.client_seed.clone()).abi_encode_params();
    context.emit(vec![topic(RANDOM_DATA_RELAYED), task.caller.into_word()], data.into());
    context.gas += RELAY_GAS + RELAY_GAS_STEP * (context.block_number % 5);
    if context.is_contract(task.caller) {
        let consume = (task.client_seed, task.time, hash).abi_encode_params();
        let input = [selector("consume(string,uint64,bytes32)").as_slice(), &consume].concat().into();
        if let CallOutcome::Revert(data) = context.call(task.caller, U256::ZERO, &input) {
            return CallOutcome::Revert(data);
        }
    }
    returned(Vec::new())
}

// --- lens and consumers ---------------------------------------------------------------------------------------------------------------------

fn lens(version: ProviderVersion) -> Handler {
    Arc::new(move |context| {
        let input = context.input.clone();
        if arguments(&input, "provider()").is_some() {
            return returned(PROVIDER.abi_encode());
        }
        let Some((nonces,)) =
            arguments(&input, "getTasksBulk(uint64[])").and_then(|data| <(Vec<u64>,)>::abi_decode_params(data).ok())
        else {
            return CallOutcome::Revert(Bytes::new());
        };
        let mut ask = |nonce: u64| {
            let input = [selector("tasks(uint64)").as_slice(), &nonce.abi_encode()].concat().into();
            match context.call(PROVIDER, U256::ZERO, &input) {
                CallOutcome::Return(data) => data,
                CallOutcome::Revert(_) => Bytes::new(),
            }
        };
        match version {
            ProviderVersion::V1 => {
                let list = nonces.into_iter().map(|nonce| EncodedV1::abi_decode_params(&ask(nonce)).unwrap());
                returned(list.collect::<Vec<_>>().abi_encode())
            }
            ProviderVersion::V2 => {
                let list = nonces.into_iter().map(|nonce| EncodedV2::abi_decode_params(&ask(nonce)).unwrap());
                returned(list.collect::<Vec<_>>().abi_encode())
            }
        }
    })
}

fn consumer_handler() -> Handler {
    Arc::new(move |context| {
        dispatch!(context,
            "ask(bytes)" => |context, arguments| {
                let (client_seed,) = <(Bytes,)>::abi_decode_params(arguments).ok()?;
                let value = context.value;
                Some(context.call(PROVIDER, value, &calls::request(&client_seed)))
            },
            "close(bool)" => |context, arguments| {
                let closed = bool::abi_decode(arguments).ok()?;
                put(context.storage, slot(SETTING, 0, IS_CLOSED), U256::from(u8::from(closed)));
                Some(returned(Vec::new()))
            },
            "consume(string,uint64,bytes32)" => |context, _| {
                if context.from != PROVIDER {
                    return Some(revert_with("VRFConsumerBaseStaticProvider: The sender is not the provider"));
                }
                if number(context.storage, slot(SETTING, 0, IS_CLOSED)) == 1 {
                    return Some(revert_with(CLOSED));
                }
                let count = number(context.storage, slot(SETTING, 0, CALLBACKS));
                put(context.storage, slot(SETTING, 0, CALLBACKS), U256::from(count + 1));
                Some(returned(Vec::new()))
            },
        )
    })
}

// --- looking at the state -------------------------------------------------------------------------------------------------------------------

/// A task as the chain has it, with who relayed its value.
#[derive(Clone, Debug)]
pub(crate) struct OnChain {
    pub(crate) task: Task,
    pub(crate) relayer: Address,
}

/// The slots of a contract in a state.
fn slots(state: &State, address: Address) -> Storage {
    state.get(&address).map(|account| account.storage.clone()).unwrap_or_default()
}

/// All tasks of a state, by nonce.
pub(crate) fn tasks_of(state: &State) -> BTreeMap<u64, OnChain> {
    let storage = slots(state, PROVIDER);
    (0..number(&storage, slot(SETTING, 0, TASKS)))
        .map(|nonce| {
            let on_chain = OnChain {
                task: task(&storage, ProviderVersion::V2, nonce),
                relayer: Address::from_word(word(&storage, slot(TASK, nonce, RELAYER))),
            };
            (nonce, on_chain)
        })
        .collect()
}

/// What the provider compares results with in a state.
pub(crate) fn settings_in(state: &State, genesis: &Genesis) -> ProviderSettings {
    let storage = slots(state, PROVIDER);
    let (min_count, ask_count) = counts(&storage, genesis);
    ProviderSettings { oracle_script_id: script_of(&storage, genesis), min_count, ask_count }
}

/// The blocks of BandChain that the Bridge has relayed in a state.
pub(crate) fn relayed_blocks(state: &State) -> BTreeMap<u64, BlockDetail> {
    let storage = slots(state, BRIDGE);
    let heights = storage.range(slot(BLOCK, 0, 0)..slot(BLOCK + 1, 0, 0)).filter_map(|(name, _)| name[16..24].try_into().ok());
    heights.map(u64::from_be_bytes).map(|height| (height, block_detail(&storage, height))).collect()
}
