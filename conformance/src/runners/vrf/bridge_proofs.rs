//! `bridge_proofs` and `bridge_real_proofs`: proofs, accepted and damaged, judged by the local verifier.

use alloy_primitives::U256;
use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::Value;
use windlass_vrf_protocol::iavl::MerklePath;
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::proof::{CountProof, MultiProof, Proof, RelayPart};
use windlass_vrf_protocol::signature::{Signers, TmSignature};
use windlass_vrf_protocol::verify::{BridgeState, Verifier, detect_layout};
use windlass_vrf_protocol::vote::EncodedChainId;

use super::super::{bytes, same};
use super::block_header::TupleParts;
use super::common::{Number, Outcome, TupleStep, Validator, check_path, contract_result, document, hash, layout};
use super::trim_proof::validators;
use crate::Sheet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    note: String,
    layout: String,
    chain_id: Option<String>,
    encoded_chain_id: String,
    validators: Option<Vec<Validator>>,
    validator_set: Option<String>,
    proof: String,
    #[serde(rename = "verifyOracleResult")]
    verify_oracle_result: Option<Outcome>,
    #[serde(rename = "relayAndVerify")]
    relay_and_verify: Option<Outcome>,
    #[serde(rename = "relayAndMultiVerify")]
    relay_and_multi_verify: Option<Outcome>,
    #[serde(rename = "relayAndVerifyCount")]
    relay_and_verify_count: Option<Outcome>,
    parts: Option<Parts>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    multi_store: Vec<String>,
    block_header_merkle_parts: TupleParts,
    signed_data_prefix: String,
    signed_data_suffix: String,
    signatures: Vec<TupleSignature>,
    block_height: Number,
    versions: Vec<Number>,
    merkle_paths: Vec<Vec<TupleStep>>,
    block_hash: String,
}

/// `r`, `s`, `v` and the timestamp.
#[derive(Deserialize)]
struct TupleSignature(String, String, Number, String);

/// Checks the document.
pub(crate) fn run(json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let name = json.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    ensure!(matches!(name.as_str(), "bridge_proofs" | "bridge_real_proofs"), "the name is {name:?}");
    let document = document::<Case>(json, &name)?;
    for (number, case) in document.cases.iter().enumerate() {
        let list = match (&case.validators, &case.validator_set) {
            (Some(list), None) => Ok(list),
            (None, Some(name)) => document.validator_sets.get(name).with_context(|| format!("there is no set {name}")),
            _ => Err(anyhow::anyhow!("there must be either validators or a set")),
        };
        sheet.case(&format!("{number} {} {}", case.layout, case.note), list.and_then(|list| check(case, list)));
    }
    Ok(())
}

fn check(case: &Case, list: &[Validator]) -> anyhow::Result<()> {
    let (layout, proof) = (layout(&case.layout)?, bytes(&case.proof)?);
    let chain_id = EncodedChainId(bytes(&case.encoded_chain_id)?);
    if let Some(name) = &case.chain_id {
        same("encoded chain id", &EncodedChainId::new(name), &chain_id)?;
    }
    let bridge = BridgeState::new(validators(list)?, chain_id);
    let mut signers = Signers::default();
    let mut verifier = Verifier::new(layout, &bridge, &mut signers);
    let mut methods = 0;
    if let Some(recorded) = &case.verify_oracle_result {
        recorded.check_result(verifier.oracle_result(&proof)).context("verifyOracleResult")?;
        methods += 1;
    }
    if let Some(recorded) = &case.relay_and_verify {
        recorded.check_result(verifier.relay_and_verify(&proof).map(|relayed| relayed.value)).context("relayAndVerify")?;
        methods += 1;
    }
    if let Some(recorded) = &case.relay_and_multi_verify {
        let ours = verifier.relay_and_multi_verify(&proof).map(|relayed| relayed.value);
        let check = recorded.check(ours, |ours, recorded| {
            let recorded = recorded.as_array().context("the results are no list")?;
            same("results", ours, recorded.iter().map(contract_result).collect::<anyhow::Result<Vec<_>>>()?)
        });
        check.context("relayAndMultiVerify")?;
        methods += 1;
    }
    if let Some(recorded) = &case.relay_and_verify_count {
        let ours = verifier.relay_and_verify_count(&proof).map(|relayed| relayed.value);
        let check = recorded.check(ours, |ours, recorded| {
            let (time, count) = <(Number, Number)>::deserialize(recorded)?;
            same("time and count", ours, (time.u64()?, count.u64()?))
        });
        check.context("relayAndVerifyCount")?;
        methods += 1;
    }
    ensure!(methods > 0, "there is no method");
    check_decoding(case, layout, &proof, &bridge)
}

/// The proof reads as the recorded parts, encodes to an equal one, and shows its layout if it is accepted.
fn check_decoding(case: &Case, layout: Layout, proof: &[u8], bridge: &BridgeState) -> anyhow::Result<()> {
    let succeeded = |outcome: &Option<Outcome>| outcome.as_ref().is_some_and(Outcome::succeeded);
    let accepted = succeeded(&case.verify_oracle_result) || succeeded(&case.relay_and_multi_verify);
    let (relay, verify) = if case.relay_and_multi_verify.is_some() {
        let Ok(multi) = MultiProof::decode(proof) else {
            return check_malformed(case, accepted);
        };
        same("proof that is encoded and decoded", &MultiProof::decode(&multi.encode())?, &multi)?;
        (multi.relay, multi.verify.into_iter().map(|part| (part.block_height, part.version, part.path)).collect())
    } else if case.relay_and_verify_count.is_some() {
        let Ok(count) = CountProof::decode(proof) else {
            return check_malformed(case, accepted);
        };
        same("proof that is encoded and decoded", &CountProof::decode(&count.encode())?, &count)?;
        (count.relay, vec![(count.verify.block_height, count.verify.version, count.verify.path)])
    } else {
        let Ok(single) = Proof::decode(proof) else {
            return check_malformed(case, accepted);
        };
        same("proof that is encoded and decoded", &Proof::decode(&single.encode())?, &single)?;
        (single.relay, vec![(single.verify.block_height, single.verify.version, single.verify.path)])
    };
    if accepted {
        same("layout", detect_layout(&relay, bridge), Some(layout))?;
    }
    let Some(parts) = &case.parts else {
        return Ok(());
    };
    check_parts(parts, &relay, &verify)?;
    check_block_hash(parts, &relay, bridge, accepted)
}

fn check_malformed(case: &Case, accepted: bool) -> anyhow::Result<()> {
    ensure!(!accepted, "an accepted proof cannot be read");
    ensure!(case.parts.is_none(), "the parts of a malformed proof are recorded");
    Ok(())
}

fn check_parts(parts: &Parts, relay: &RelayPart, verify: &[(U256, U256, Vec<MerklePath>)]) -> anyhow::Result<()> {
    let fields = parts.multi_store.iter().map(|field| hash(field)).collect::<anyhow::Result<Vec<_>>>()?;
    same("multistore", relay.multi_store.0.as_slice(), fields.as_slice())?;
    same("header parts", relay.merkle_parts, parts.block_header_merkle_parts.read()?)?;
    same("prefix", &relay.common.prefix, &bytes(&parts.signed_data_prefix)?)?;
    same("suffix", &relay.common.suffix, &bytes(&parts.signed_data_suffix)?)?;
    let signatures = parts.signatures.iter().map(|TupleSignature(r, s, v, timestamp)| {
        Ok(TmSignature { r: hash(r)?, s: hash(s)?, v: v.u8()?, encoded_timestamp: bytes(timestamp)? })
    });
    same("signatures", &relay.signatures, &signatures.collect::<anyhow::Result<Vec<_>>>()?)?;
    same("verify parts", verify.len(), parts.versions.len())?;
    same("paths", verify.len(), parts.merkle_paths.len())?;
    for ((height, version, path), (recorded_version, recorded_path)) in
        verify.iter().zip(parts.versions.iter().zip(&parts.merkle_paths))
    {
        same("block height", *height, parts.block_height.unsigned()?)?;
        same("version", *version, recorded_version.unsigned()?)?;
        check_path(path, recorded_path)?;
    }
    Ok(())
}

/// The recorded hash is that of the block before a part of its header was damaged, if one was. Then the proof is refused, and
/// validators of the Bridge have signed the recorded hash.
fn check_block_hash(parts: &Parts, relay: &RelayPart, bridge: &BridgeState, accepted: bool) -> anyhow::Result<()> {
    let recorded = hash(&parts.block_hash)?;
    let ours = Layout::ALL.map(|layout| relay.merkle_parts.block_hash(&relay.multi_store.app_hash(layout)));
    let signed = relay.signatures.iter().any(|signature| {
        let digest = relay.common.digest(&recorded, &signature.encoded_timestamp, &bridge.encoded_chain_id);
        signature.signer(&digest).is_some_and(|signer| bridge.validators.contains(&signer))
    });
    ensure!(
        ours.contains(&Ok(recorded)) || (signed && !accepted),
        "ours is {ours:?}, recorded is the block hash {recorded}, which no validator has signed"
    );
    Ok(())
}
