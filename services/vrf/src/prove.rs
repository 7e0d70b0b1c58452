//! Judges a served proof before any gas is spent: trims it, then applies the Bridge's and the provider's rules to what would be sent.

use alloy_primitives::{Address, B256};
use windlass_vrf_protocol as protocol;
use windlass_vrf_protocol::messages::oracle::ResolveStatus;
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::oracle_result::OracleResult;
use windlass_vrf_protocol::proof::RawProof;
use windlass_vrf_protocol::signature::Signers;
use windlass_vrf_protocol::task::{ProviderSettings, ProviderVersion, Task};
use windlass_vrf_protocol::trim::{BlockHash, TrimError, trim};
use windlass_vrf_protocol::validators::ValidatorSet;
use windlass_vrf_protocol::verify::{BridgeState, Verifier, check_relay_v1, check_relay_v2};
use windlass_vrf_protocol::vote::VoteTooLong;

use crate::machine::{ChainTask, ProofOutcome, Request, Resolution};

/// What the client chain's contracts would compare a proof with.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The Bridge.
    pub bridge: &'a BridgeState,
    /// Generation of the provider.
    pub version: ProviderVersion,
    /// Its settings.
    pub settings: ProviderSettings,
    /// The account that will relay.
    pub worker: Address,
}

/// What comes of a served proof. Never panics, whatever the bytes are.
pub fn judge(served: &[u8], task: &ChainTask, request: &Request, terms: Terms<'_>, signers: &mut Signers) -> ProofOutcome {
    let bridge = terms.bridge;
    let trimmed = match trim(served, BlockHash::Detected, &bridge.encoded_chain_id, &bridge.validators, signers) {
        Ok(trimmed) => trimmed,
        Err(TrimError::InsufficientPower { offered, .. }) if offered.known == 0 => {
            return unknown_signers(served, bridge, signers);
        }
        Err(error @ TrimError::InsufficientPower { .. }) => return ProofOutcome::Stale { detail: error.to_string() },
        Err(error) => return ProofOutcome::Invalid { reason: error.to_string() },
    };
    let Some(layout) = trimmed.layout else {
        return ProofOutcome::Invalid { reason: "the store layout of the proof is not known".to_owned() };
    };
    let result = match Verifier::new(layout, bridge, signers).oracle_result(&trimmed.bytes) {
        Ok(result) => result,
        Err(refusal) => return ProofOutcome::Invalid { reason: format!("{refusal} (store layout {layout:?})") },
    };
    if result.request_id != request.id {
        let reason = format!("it proves request {}, {} was asked for", result.request_id, request.id);
        return ProofOutcome::Invalid { reason };
    }
    let version = match RawProof::decode(&trimmed.bytes).and_then(|raw| protocol::proof::VerifyPart::decode(raw.verify)) {
        Ok(part) => u64::try_from(part.version).unwrap_or(u64::MAX),
        Err(error) => return ProofOutcome::Invalid { reason: error.to_string() },
    };
    let resolution = match result.resolve_status {
        ResolveStatus::Success => None,
        ResolveStatus::Failure => Some(Resolution::Failure),
        ResolveStatus::Expired => Some(Resolution::Expired),
        ResolveStatus::Open => return ProofOutcome::NotReady,
    };
    if let Some(resolution) = resolution {
        return ProofOutcome::Ended { resolution, version };
    }
    match refusal_of_provider(task, &result, terms) {
        Some(reason) => ProofOutcome::Refused { reason },
        None => ProofOutcome::Proven { proof: trimmed.bytes, version },
    }
}

/// Nobody that the Bridge knows signed, under either layout: another chain, another validator set, a damaged proof, or a chain id that is too
/// long for the Bridge's length byte.
fn unknown_signers(served: &[u8], bridge: &BridgeState, signers: &mut Signers) -> ProofOutcome {
    if let Some(too_long) = votes_too_long(served, bridge) {
        return ProofOutcome::Invalid { reason: too_long.to_string() };
    }
    // Which of the Bridge's rules refuses it tells a damaged proof from a rotated set.
    let refusals = Layout::ALL.map(|layout| Verifier::new(layout, bridge, signers).oracle_result(served).err());
    let reasons: Vec<String> = refusals.into_iter().flatten().map(|refusal| refusal.to_string()).collect();
    ProofOutcome::Stale { detail: format!("none of the signers is a validator of the Bridge ({})", reasons.join("; ")) }
}

fn votes_too_long(served: &[u8], bridge: &BridgeState) -> Option<VoteTooLong> {
    let raw = RawProof::decode(served).ok()?;
    let relay = protocol::proof::RelayPart::decode(raw.relay).ok()?;
    let stamp = relay.signatures.iter().map(|signature| &signature.encoded_timestamp).max_by_key(|stamp| stamp.len())?;
    relay.common.check_length(stamp, &bridge.encoded_chain_id).err()
}

fn refusal_of_provider(task: &ChainTask, result: &OracleResult, terms: Terms<'_>) -> Option<String> {
    let stored = Task {
        nonce: task.nonce,
        is_resolved: task.is_resolved,
        time: task.time,
        caller: task.caller,
        task_fee: task.task_fee,
        seed: task.seed,
        client_seed: task.client_seed.clone(),
        proof: alloy_primitives::Bytes::new(),
        result: alloy_primitives::Bytes::new(),
    };
    let refusal = match terms.version {
        ProviderVersion::V1 => check_relay_v1(&stored, &terms.settings, terms.worker, result).err(),
        ProviderVersion::V2 => check_relay_v2(&stored, &terms.settings, terms.worker, result).err(),
    };
    refusal.map(|refusal| refusal.to_string())
}

/// The same proof without signatures: what a V1 provider's Bridge accepts for a block that it has relayed before, with equal root and time
/// (section 8.2 item 5). About 12,000 gas and 224 bytes less for each signature.
///
/// # Errors
/// The proof cannot be read.
pub fn without_signatures(proof: &[u8]) -> Result<alloy_primitives::Bytes, protocol::proof::ProofError> {
    let mut decoded = protocol::proof::Proof::decode(proof)?;
    decoded.relay.signatures.clear();
    Ok(decoded.encode())
}

/// Height, root, second and nanosecond of the block that a proof relays: what the Bridge keeps of it.
///
/// # Errors
/// The proof cannot be read.
pub fn relayed_block(proof: &[u8]) -> Result<(u64, B256, u64, u32), protocol::proof::ProofError> {
    let raw = RawProof::decode(proof)?;
    let relay = protocol::proof::RelayPart::decode(raw.relay)?;
    let parts = relay.merkle_parts;
    Ok((parts.height, relay.multi_store.oracle_root(), parts.time_second, parts.time_nano_second))
}

/// Compares what the Bridge stores with who signs now.
pub fn drift(bridge: &ValidatorSet, live: &[(Address, u64)]) -> Result<protocol::validators::Drift, String> {
    let live = live.iter().map(|(address, power)| (*address, alloy_primitives::U256::from(*power)));
    let live = ValidatorSet::new(live).map_err(|error| error.to_string())?;
    Ok(protocol::validators::Drift::between(bridge, &live))
}
