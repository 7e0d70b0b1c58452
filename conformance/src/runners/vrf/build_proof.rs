//! `build_proof`: from keys, store, header and votes to every hash, signature and byte of the proof, by the simulator's own code.

use std::collections::BTreeMap;

use alloy_primitives::{Bytes, U256};
use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::Value;
use windlass_devnet_band::{BuiltProof, ProofInputs, StoreItem, Validator, build_proof};
use windlass_vrf_protocol::header::{BlockId, Header};
use windlass_vrf_protocol::oracle_result::OracleResult;
use windlass_vrf_protocol::validators::ValidatorSet;
use windlass_vrf_protocol::verify::{BridgeState, relay_and_verify, verify_oracle_result};
use windlass_vrf_protocol::vote::EncodedChainId;

use super::super::{bytes, same};
use super::common::{Number, Outcome, TupleStep, address, check_path, document, hash, layout, status};
use crate::Sheet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(rename = "note")]
    _note: Option<String>,
    layout: String,
    chain_id: String,
    round: Number,
    height: Number,
    validators: Vec<Key>,
    oracle_store: Vec<Entry>,
    request_id: Number,
    result: StoredResult,
    other_store_roots: BTreeMap<String, String>,
    header: HeaderFields,
    vote: Vote,
    expected: Expected,
    bridge_accepts: Outcome,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    private_key: String,
    power: Number,
    eth_address: String,
    validator_address: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: String,
    value: String,
    version: Number,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredResult {
    client_id: String,
    oracle_script_id: Number,
    calldata: String,
    ask_count: Number,
    min_count: Number,
    ans_count: Number,
    request_time: Number,
    resolve_time: Number,
    resolve_status: Number,
    result: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderFields {
    version_block: Number,
    version_app: Number,
    time_second: Number,
    time_nano: Number,
    last_block_id: LastBlockId,
    last_commit_hash: String,
    data_hash: String,
    validators_hash: String,
    next_validators_hash: String,
    consensus_hash: String,
    last_results_hash: String,
    evidence_hash: String,
    proposer_address: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LastBlockId {
    hash: String,
    parts_total: Number,
    parts_hash: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vote {
    parts_total: Number,
    parts_hash: String,
    encoded_timestamps_by_ascending_eth_address: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    oracle_root: String,
    app_hash: String,
    block_hash: String,
    version: Number,
    merkle_path: Vec<TupleStep>,
    multi_store: Vec<String>,
    signatures: Vec<Signature>,
    relay: String,
    verify: String,
    evm_proof_bytes: String,
}

/// `r`, `s`, `v`, encoded timestamp.
#[derive(Deserialize)]
struct Signature(String, String, Number, String);

/// Checks the document.
pub(crate) fn run(json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document = document::<Case>(json, "build_proof")?;
    for (number, case) in document.cases.iter().enumerate() {
        sheet.case(&number.to_string(), check(case));
    }
    Ok(())
}

fn check(case: &Case) -> anyhow::Result<()> {
    let inputs = inputs(case)?;
    let built = build_proof(&inputs)?;
    check_expected(&built, &case.expected)?;
    let powers = inputs.validators.iter().map(|validator| (validator.evm_address(), U256::from(validator.power())));
    let bridge = BridgeState::new(ValidatorSet::new(powers)?, EncodedChainId::new(&case.chain_id));
    let judged = verify_oracle_result(&built.evm_proof_bytes, inputs.layout, &bridge);
    let relayed = relay_and_verify(&built.evm_proof_bytes, inputs.layout, &bridge);
    same("relayAndVerify", relayed.map(|relayed| relayed.value).ok(), judged.clone().ok())?;
    case.bridge_accepts.check_result(judged)
}

fn inputs(case: &Case) -> anyhow::Result<ProofInputs> {
    let items = case
        .oracle_store
        .iter()
        .map(|entry| Ok(StoreItem { key: bytes(&entry.key)?, value: bytes(&entry.value)?, version: entry.version.u64()? }));
    let roots = case.other_store_roots.iter().map(|(name, root)| Ok((name.clone(), hash(root)?)));
    let timestamps = case.vote.encoded_timestamps_by_ascending_eth_address.iter();
    Ok(ProofInputs {
        layout: layout(&case.layout)?,
        validators: case.validators.iter().map(validator).collect::<anyhow::Result<_>>()?,
        oracle_store: items.collect::<anyhow::Result<_>>()?,
        result: result(case)?,
        other_store_roots: roots.collect::<anyhow::Result<_>>()?,
        header: header(case)?,
        round: case.round.u64()?,
        parts_total: case.vote.parts_total.u32()?,
        parts_hash: hash(&case.vote.parts_hash)?,
        encoded_timestamps: timestamps.map(|text| bytes(text)).collect::<anyhow::Result<_>>()?,
    })
}

fn validator(key: &Key) -> anyhow::Result<Validator> {
    let validator = Validator::new(&hash(&key.private_key)?, key.power.u64()?).context("the private key is none")?;
    same("EVM address", validator.evm_address(), address(&key.eth_address)?)?;
    same("validator address", Bytes::copy_from_slice(validator.address()), bytes(&key.validator_address)?)?;
    Ok(validator)
}

fn result(case: &Case) -> anyhow::Result<OracleResult> {
    let result = &case.result;
    Ok(OracleResult {
        client_id: result.client_id.clone().into_bytes().into(),
        oracle_script_id: result.oracle_script_id.u64()?,
        calldata: bytes(&result.calldata)?,
        ask_count: result.ask_count.u64()?,
        min_count: result.min_count.u64()?,
        request_id: case.request_id.u64()?,
        ans_count: result.ans_count.u64()?,
        request_time: result.request_time.u64()?,
        resolve_time: result.resolve_time.u64()?,
        resolve_status: status(&result.resolve_status)?,
        result: bytes(&result.result)?,
    })
}

fn header(case: &Case) -> anyhow::Result<Header> {
    let header = &case.header;
    Ok(Header {
        version_block: header.version_block.u64()?,
        version_app: header.version_app.u64()?,
        chain_id: case.chain_id.clone(),
        height: case.height.u64()?,
        time_second: header.time_second.u64()?,
        time_nano: header.time_nano.u32()?,
        last_block_id: BlockId {
            hash: bytes(&header.last_block_id.hash)?,
            parts_total: header.last_block_id.parts_total.u32()?,
            parts_hash: bytes(&header.last_block_id.parts_hash)?,
        },
        last_commit_hash: bytes(&header.last_commit_hash)?,
        data_hash: bytes(&header.data_hash)?,
        validators_hash: bytes(&header.validators_hash)?,
        next_validators_hash: bytes(&header.next_validators_hash)?,
        consensus_hash: bytes(&header.consensus_hash)?,
        app_hash: Bytes::new(),
        last_results_hash: bytes(&header.last_results_hash)?,
        evidence_hash: bytes(&header.evidence_hash)?,
        proposer_address: bytes(&header.proposer_address)?,
    })
}

fn check_expected(built: &BuiltProof, expected: &Expected) -> anyhow::Result<()> {
    same("oracle root", built.oracle_root, hash(&expected.oracle_root)?)?;
    same("app hash", built.app_hash, hash(&expected.app_hash)?)?;
    same("block hash", built.block_hash, hash(&expected.block_hash)?)?;
    same("version", built.version, expected.version.u64()?)?;
    check_path(&built.merkle_path, &expected.merkle_path)?;
    let fields = expected.multi_store.iter().map(|field| hash(field)).collect::<anyhow::Result<Vec<_>>>()?;
    same("multistore", built.multi_store.0.as_slice(), fields.as_slice())?;
    ensure!(built.signatures.len() == expected.signatures.len(), "there are {} signatures", expected.signatures.len());
    for (number, (ours, Signature(r, s, v, timestamp))) in built.signatures.iter().zip(&expected.signatures).enumerate() {
        let recorded = (hash(r)?, hash(s)?, v.u8()?, bytes(timestamp)?);
        let ours = (ours.r, ours.s, ours.v, ours.encoded_timestamp.clone());
        same(&format!("signature {number}"), ours, recorded)?;
    }
    same("relay part", &built.relay, &bytes(&expected.relay)?)?;
    same("verify part", &built.verify, &bytes(&expected.verify)?)?;
    same("proof", &built.evm_proof_bytes, &bytes(&expected.evm_proof_bytes)?)
}
