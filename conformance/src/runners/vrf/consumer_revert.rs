//! `consumer_revert`: a consumer that does not take its value keeps its task open.
//!
//! The record names neither the chain id under which the proof was signed, nor the hash of the block before the request. Both can be
//! chosen: under any chain id the signatures recover to some accounts, which are then the Bridge's validators as long as they come out
//! in ascending order; and the task, once made, is given the recorded seed and time in its place in storage.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolCall;
use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;
use windlass_chain::CallRequest;
use windlass_contracts::test::FailingConsumer;
use windlass_contracts::vrf::VRFProviderV2;
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::proof::{Proof, RelayPart};
use windlass_vrf_protocol::task::ProviderVersion;
use windlass_vrf_protocol::validators::ValidatorSet;
use windlass_vrf_protocol::vote::EncodedChainId;

use super::super::{bytes, same};
use super::common::{Number, Revert, address, document, hash};
use super::contract_events::mapped;
use super::provider::check_task;
use super::stage::{self, Provider, World};
use crate::{Bench, Chain, Sheet};

/// What a nested request ends in.
const REENTRANT: &str = "ReentrancyGuard: reentrant call";
/// Chain ids that are tried. Four signatures come out in ascending order under one of 24, seven under one of 5,040.
const CHAIN_IDS: u32 = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    note: String,
    proof: String,
    sender: String,
    ok: bool,
    revert: Option<Revert>,
    task_after: Vec<Value>,
}

/// Checks the document.
pub(crate) async fn run(bench: &Bench, json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document = document::<Case>(json, "consumer_revert")?;
    for (number, case) in document.cases.iter().enumerate() {
        sheet.case(&format!("{number} {}", case.note), play(bench, case).await);
    }
    Ok(())
}

async fn play(bench: &Bench, case: &Case) -> anyhow::Result<()> {
    let task = RecordedTask::read(&case.task_after)?;
    let (proof, sender) = (bytes(&case.proof)?, address(&case.sender)?);
    let decoded = Proof::decode(&proof)?;
    let (chain_id, validators) = signers_in_order(&decoded.relay)?;
    let chain = &bench.fresh_chain().await?;
    let bridge = stage::make_bridge(chain, Layout::V3, &validators, &chain_id).await?;
    let result = &decoded.verify.result;
    let provider = Address::from_word(keccak256("the provider"));
    let settings = Provider {
        version: task.version,
        bridge,
        oracle_script_id: result.oracle_script_id,
        minimum_fee: task.fee,
        min_count: u8::try_from(result.min_count)?,
        ask_count: u8::try_from(result.ask_count)?,
        world: World { time: task.time, block_hash: B256::ZERO, chain_id: U256::ZERO },
    };
    stage::put_provider(chain, provider, settings).await?;
    stage::put_failing_consumer(chain, task.caller, provider).await?;
    let mode = mode(case)?;
    execute(chain, sender, task.caller, mode.abi_encode(), U256::ZERO).await?;
    let ask = FailingConsumer::requestRandomDataFromProviderCall { clientSeed: task.client_seed.clone() };
    execute(chain, sender, task.caller, ask.abi_encode(), task.fee).await?;
    let seed = mapped(B256::ZERO, U256::from(6)).wrapping_add(U256::from(2));
    stage::set_slot(chain, provider, seed, task.seed.into()).await?;

    let relay = Bytes::from(VRFProviderV2::relayProofCall { proof, nonce: 0 }.abi_encode());
    let simulated = chain.simulate(CallRequest::new(provider, relay.clone()).from(sender)).await?;
    match (case.ok, &case.revert, &simulated) {
        (true, None, Ok(_)) => {}
        (false, Some(recorded), Err(data)) => recorded.check_data(data)?,
        _ => bail!("ours is {simulated:?}, recorded is success {} and {:?}", case.ok, case.revert),
    }
    let receipt = chain.execute(sender, Some(provider), &relay).await?;
    same("the mined transaction succeeded", receipt.succeeded(), case.ok)?;
    check_task(chain, provider, task.version, 0, &case.task_after).await.context("task_after")
}

async fn execute(chain: &Chain, from: Address, to: Address, data: Vec<u8>, value: U256) -> anyhow::Result<()> {
    let receipt = chain.execute_with_value(from, Some(to), &data.into(), value).await?;
    same("the mined transaction succeeded", receipt.succeeded(), true)
}

/// How the consumer must be told to behave for this outcome.
fn mode(case: &Case) -> anyhow::Result<FailingConsumer::setModeCall> {
    let failure_ = case.revert.as_ref().map(Revert::data).transpose()?.unwrap_or_default();
    let mode_ = match case.ok {
        true => 0,
        false if case.revert.as_ref().and_then(Revert::reason) == Some(REENTRANT) => 2,
        false => 1,
    };
    Ok(FailingConsumer::setModeCall { mode_, failure_ })
}

/// A chain id under which the signatures recover in ascending order, and their signers with equal powers.
fn signers_in_order(relay: &RelayPart) -> anyhow::Result<(EncodedChainId, ValidatorSet)> {
    let app_hash = relay.multi_store.app_hash(Layout::V3);
    let block_hash = relay.merkle_parts.block_hash(&app_hash).map_err(|refusal| anyhow::anyhow!("block hash: {refusal}"))?;
    'names: for number in 0..CHAIN_IDS {
        let chain_id = EncodedChainId::new(&format!("chain-{number}"));
        let mut signers: Vec<Address> = Vec::with_capacity(relay.signatures.len());
        for signature in &relay.signatures {
            let digest = relay.common.digest(&block_hash, &signature.encoded_timestamp, &chain_id);
            match signature.signer(&digest) {
                Some(signer) if signers.last().is_none_or(|last| *last < signer) => signers.push(signer),
                _ => continue 'names,
            }
        }
        return Ok((chain_id, ValidatorSet::new(signers.into_iter().map(|signer| (signer, U256::from(1))))?));
    }
    bail!("under none of {CHAIN_IDS} chain ids do {} signatures recover in ascending order", relay.signatures.len())
}

/// What is needed of `task_after` to make the task.
struct RecordedTask {
    version: ProviderVersion,
    time: u64,
    caller: Address,
    fee: U256,
    seed: B256,
    client_seed: String,
}

impl RecordedTask {
    /// V1 has eight fields, with the client seed sixth; V2 has seven, with the client seed last.
    fn read(fields: &[Value]) -> anyhow::Result<Self> {
        let (version, client_seed) = match fields.len() {
            8 => (ProviderVersion::V1, fields.get(5)),
            7 => (ProviderVersion::V2, fields.get(6)),
            other => bail!("a task of {other} fields"),
        };
        let field = |index: usize| fields.get(index).context("too few fields");
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned).context("a field is no text");
        Ok(Self {
            version,
            time: Number::deserialize(field(1)?)?.u64()?,
            caller: address(&text(fields.get(2))?)?,
            fee: Number::deserialize(field(3)?)?.unsigned()?,
            seed: hash(&text(fields.get(4))?)?,
            client_seed: text(client_seed)?,
        })
    }
}
