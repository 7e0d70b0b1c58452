//! What is said of a proof.

use alloy_primitives::{Address, B256, Bytes, U256};
use serde::Serialize;

use crate::cli::output::{pairs, table};
use crate::ports::client_chain::BridgeState;
use crate::protocol::messages::oracle::ResolveStatus;
use crate::protocol::multistore::Layout;
use crate::protocol::obi::{Calldata, ResultV1, ResultV2};
use crate::protocol::oracle_result::OracleResult;
use crate::protocol::proof::{RawProof, RelayPart, VerifyPart};
use crate::protocol::signature::Signers;
use crate::protocol::trim::{BlockHash, trim};
use crate::protocol::verify::{Verifier, detect_layout_with};
use crate::trace::{as_optional_text, as_text};
use crate::view;

/// What the Bridge on the chain says.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ChainVerdict {
    pub(super) bridge: Address,
    /// The method that the provider calls.
    pub(super) method: &'static str,
    pub(super) accepted: bool,
    pub(super) refusal: Option<String>,
}

/// All that can be said of a proof.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    /// Whether the Bridge accepts it: as computed here, and as it says itself if it was asked.
    pub(super) accepted: bool,
    /// Bytes.
    length: usize,
    /// `v3` or `v2`; `null` if no signer is known under either.
    layout: Option<&'static str>,
    /// Why it is not even a proof.
    malformed: Option<String>,
    block: Option<Block>,
    signatures: Vec<Signature>,
    power: Option<Power>,
    trimmed: Option<Trimmed>,
    #[serde(skip)]
    pub(super) trimmed_bytes: Option<Bytes>,
    /// `accepted`, or the Bridge's exact reason.
    verify_oracle_result: String,
    /// The same for the method that V1 providers call. It hides the reason of what it calls, which is added in brackets.
    relay_and_verify: String,
    /// What the Bridge itself says; `null` offline.
    on_chain: Option<ChainVerdict>,
    result: Option<Outcome>,
}

#[derive(Debug, Clone, Serialize)]
struct Block {
    height: u64,
    /// Hash under the found layout.
    hash: Option<B256>,
    time: String,
    oracle_root: B256,
}

#[derive(Debug, Clone, Serialize)]
struct Signature {
    /// `null` if nobody can be recovered.
    signer: Option<Address>,
    /// Power at the Bridge; `null` of a stranger.
    #[serde(serialize_with = "as_optional_text")]
    power: Option<U256>,
    /// Whether the trimmed proof keeps it.
    kept: bool,
}

#[derive(Debug, Clone, Serialize)]
struct Power {
    /// Of all signers that the Bridge knows.
    #[serde(serialize_with = "as_text")]
    signed: U256,
    /// Smallest sum that the Bridge accepts.
    #[serde(serialize_with = "as_text")]
    needed: U256,
    #[serde(serialize_with = "as_text")]
    total: U256,
}

#[derive(Debug, Clone, Serialize)]
struct Trimmed {
    length: usize,
    signatures: usize,
    #[serde(serialize_with = "as_text")]
    power: U256,
    /// The verdict on the trimmed bytes.
    verify_oracle_result: String,
}

#[derive(Debug, Clone, Serialize)]
struct Outcome {
    request_id: u64,
    oracle_script_id: u64,
    client_id: String,
    ask_count: u64,
    min_count: u64,
    ans_count: u64,
    /// Unix seconds.
    request_time: u64,
    resolve_time: u64,
    status: &'static str,
    /// Height at which it was resolved.
    version: String,
    /// Why the calldata are not those of a random value.
    calldata_fault: Option<String>,
    seed: Option<B256>,
    /// Block time of the request on the client chain, Unix seconds.
    time: Option<u64>,
    worker: Option<Address>,
    /// The random value: 32 bytes of a V2 script, the bytes of a V1 script.
    value: Option<Bytes>,
    /// Proof bytes of a V1 script.
    vrf_proof: Option<Bytes>,
}

const ACCEPTED: &str = "accepted";

fn verdict<T, E: std::fmt::Display>(judged: &Result<T, E>) -> String {
    judged.as_ref().map_or_else(ToString::to_string, |_| ACCEPTED.to_owned())
}

impl Report {
    /// Judges a proof. A layout that is not given is found out from the signers; without any that is known, BandChain 3's is assumed.
    pub(super) fn new(proof: &Bytes, bridge: &BridgeState, layout: Option<Layout>, on_chain: Option<ChainVerdict>) -> Self {
        let mut signers = Signers::default();
        let decoded = decode(proof);
        let relay = decoded.as_ref().ok().map(|(relay, _)| relay);
        let found = layout.or_else(|| detect_layout_with(relay?, &bridge.encoded_chain_id, &bridge.validators, &mut signers));
        let assumed = found.unwrap_or(Layout::V3);
        let block_hash = relay.and_then(|relay| relay.merkle_parts.block_hash(&relay.multi_store.app_hash(assumed)).ok());
        let trimmed = trim(proof, BlockHash::Layout(assumed), &bridge.encoded_chain_id, &bridge.validators, &mut signers).ok();
        let kept = trimmed.as_ref().map(|trimmed| trimmed.kept.clone()).unwrap_or_default();
        let signatures = relay.zip(block_hash).map(|(relay, hash)| signatures(relay, &hash, bridge, &kept, &mut signers));
        let judged = Verifier::new(assumed, bridge, &mut signers).oracle_result(proof);
        let relayed = relay_and_verify(proof, assumed, bridge, &mut signers);
        let signatures = signatures.unwrap_or_default();
        Self {
            accepted: judged.is_ok() && on_chain.as_ref().is_none_or(|chain| chain.accepted),
            length: proof.len(),
            layout: found.map(Layout::name),
            malformed: decoded.as_ref().err().cloned(),
            block: relay.map(|relay| block(relay, found.and(block_hash))),
            power: relay.map(|_| power(&signatures, bridge)),
            signatures,
            trimmed: trimmed.as_ref().map(|trimmed| Trimmed {
                length: trimmed.bytes.len(),
                signatures: trimmed.kept.len(),
                power: trimmed.power,
                verify_oracle_result: verdict(&Verifier::new(assumed, bridge, &mut signers).oracle_result(&trimmed.bytes)),
            }),
            trimmed_bytes: trimmed.map(|trimmed| trimmed.bytes),
            verify_oracle_result: verdict(&judged),
            relay_and_verify: relayed,
            on_chain,
            result: decoded.ok().map(|(_, verify)| outcome(&verify)),
        }
    }
}

fn decode(proof: &[u8]) -> Result<(RelayPart, VerifyPart), String> {
    let raw = RawProof::decode(proof).map_err(|error| error.to_string())?;
    let relay = RelayPart::decode(raw.relay).map_err(|error| error.to_string())?;
    let verify = VerifyPart::decode(raw.verify).map_err(|error| error.to_string())?;
    Ok((relay, verify))
}

/// The verdict of `relayAndVerify`, with the reason that it hides.
fn relay_and_verify(proof: &[u8], layout: Layout, bridge: &BridgeState, signers: &mut Signers) -> String {
    let mut verifier = Verifier::new(layout, bridge, signers);
    let refusal = match verifier.relay_and_verify(proof) {
        Ok(_) => return ACCEPTED.to_owned(),
        Err(refusal) => refusal,
    };
    let hidden = RawProof::decode(proof).ok().and_then(|raw| match verifier.relay_block(raw.relay) {
        Err(inner) => Some(inner),
        Ok(block) => verifier.oracle_data(raw.verify, block).err(),
    });
    match hidden {
        Some(inner) if inner != refusal => format!("{refusal} ({inner})"),
        _ => refusal.to_string(),
    }
}

fn signatures(relay: &RelayPart, hash: &B256, bridge: &BridgeState, kept: &[Address], signers: &mut Signers) -> Vec<Signature> {
    let mut seen = Vec::new();
    let each = relay.signatures.iter().map(|signature| {
        let digest = relay.common.digest(hash, &signature.encoded_timestamp, &bridge.encoded_chain_id);
        let signer = signers.signer(&digest, signature);
        // A second signature of the same signer counts nothing and is not kept.
        let first = signer.is_some_and(|signer| !seen.contains(&signer));
        seen.extend(signer);
        let power = signer.filter(|_| first).and_then(|signer| bridge.validators.power(&signer));
        Signature { signer, power, kept: first && signer.is_some_and(|signer| kept.contains(&signer)) }
    });
    each.collect()
}

fn power(signatures: &[Signature], bridge: &BridgeState) -> Power {
    Power {
        signed: signatures.iter().filter_map(|signature| signature.power).fold(U256::ZERO, U256::saturating_add),
        needed: bridge.validators.needed(),
        total: bridge.validators.total(),
    }
}

fn block(relay: &RelayPart, hash: Option<B256>) -> Block {
    let parts = &relay.merkle_parts;
    let seconds = i64::try_from(parts.time_second).unwrap_or(i64::MAX);
    let time = view::moment(seconds.saturating_mul(1_000).saturating_add(i64::from(parts.time_nano_second / 1_000_000)));
    Block { height: parts.height, hash, time, oracle_root: relay.multi_store.oracle_root() }
}

fn outcome(verify: &VerifyPart) -> Outcome {
    let result: &OracleResult = &verify.result;
    let calldata = Calldata::decode(&result.calldata);
    let status = match result.resolve_status {
        ResolveStatus::Open => "open",
        ResolveStatus::Success => "success",
        ResolveStatus::Failure => "failure",
        ResolveStatus::Expired => "expired",
    };
    // A V2 result is one byte string, a V1 result two: decoding must use everything up, so no bytes are both.
    let v2 = ResultV2::decode(&result.result).ok();
    let v1 = ResultV1::decode(&result.result).ok().filter(|_| v2.is_none());
    Outcome {
        request_id: result.request_id,
        oracle_script_id: result.oracle_script_id,
        client_id: String::from_utf8_lossy(&result.client_id).into_owned(),
        ask_count: result.ask_count,
        min_count: result.min_count,
        ans_count: result.ans_count,
        request_time: result.request_time,
        resolve_time: result.resolve_time,
        status,
        version: verify.version.to_string(),
        calldata_fault: calldata.as_ref().err().map(ToString::to_string),
        seed: calldata.as_ref().ok().map(|calldata| calldata.seed),
        time: calldata.as_ref().ok().map(|calldata| calldata.time),
        worker: calldata.as_ref().ok().map(|calldata| calldata.worker),
        vrf_proof: v1.as_ref().map(|value| value.proof.clone()),
        value: v2.map(|value| Bytes::from(value.word().0)).or_else(|| v1.map(|value| value.result)),
    }
}

/// The report for people.
pub(super) fn render(report: &Report) -> String {
    let mut lines = vec![("verdict", if report.accepted { ACCEPTED } else { "REFUSED" }.to_owned())];
    lines.push(("length", format!("{} bytes", report.length)));
    if let Some(malformed) = &report.malformed {
        lines.push(("malformed", malformed.clone()));
    }
    lines.push(("layout", report.layout.unwrap_or("unknown: no signer is known to the Bridge").to_owned()));
    if let Some(block) = &report.block {
        lines.push(("block", format!("{} of {}", block.height, block.time)));
        lines.extend(block.hash.map(|hash| ("block hash", hash.to_string())));
        lines.push(("oracle root", block.oracle_root.to_string()));
    }
    if let Some(power) = &report.power {
        lines.push(("power", format!("{} of {} signed, {} are needed", power.signed, power.total, power.needed)));
    }
    if let Some(trimmed) = &report.trimmed {
        let text = format!("{} bytes with {} of {} signatures", trimmed.length, trimmed.signatures, report.signatures.len());
        lines.push(("trimmed", format!("{text}: {}", trimmed.verify_oracle_result)));
    }
    lines.push(("verifyOracleResult", report.verify_oracle_result.clone()));
    lines.push(("relayAndVerify", report.relay_and_verify.clone()));
    if let Some(chain) = &report.on_chain {
        let said = chain.refusal.as_deref().unwrap_or(ACCEPTED);
        lines.push(("on chain", format!("{} of {}: {said}", chain.method, chain.bridge)));
    }
    if let Some(result) = &report.result {
        lines.extend(result_lines(result));
    }
    let mut page = pairs(&lines);
    if !report.signatures.is_empty() {
        let rows: Vec<_> = report
            .signatures
            .iter()
            .map(|one| {
                let signer = one.signer.map_or_else(|| "nobody can be recovered".to_owned(), |signer| signer.to_string());
                let power = one.power.map_or_else(|| "-".to_owned(), |power| power.to_string());
                vec![signer, power, if one.kept { "kept".to_owned() } else { String::new() }]
            })
            .collect();
        page.push_str(&format!("\n\n{}", table(&["signer", "power", ""], &rows)));
    }
    page
}

fn result_lines(result: &Outcome) -> Vec<(&'static str, String)> {
    let counts = format!("{} of {} came, {} were needed", result.ans_count, result.ask_count, result.min_count);
    let mut lines = vec![
        ("request", format!("{}, {}, resolved at {}", result.request_id, result.status, result.version)),
        ("oracle script", result.oracle_script_id.to_string()),
        ("reports", counts),
    ];
    match (&result.seed, result.time, result.worker) {
        (Some(seed), Some(time), Some(worker)) => {
            lines.push(("seed", seed.to_string()));
            lines.push(("time", time.to_string()));
            lines.push(("worker", worker.to_string()));
        }
        _ => lines.push(("calldata", result.calldata_fault.clone().unwrap_or_default())),
    }
    lines.extend(result.value.as_ref().map(|value| ("value", value.to_string())));
    lines
}
