//! `trim_proof`: proofs before and after needless signatures were dropped.

use alloy_primitives::Bytes;
use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::proof::{RawProof, RelayPart};
use windlass_vrf_protocol::signature::Signers;
use windlass_vrf_protocol::trim::{BlockHash, TrimError, Trimmed, trim};
use windlass_vrf_protocol::validators::ValidatorSet;
use windlass_vrf_protocol::vote::EncodedChainId;

use super::super::{bytes, same};
use super::common::{Validator, address, document, hash};
use crate::{Deviation, Sheet};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    note: String,
    proof: String,
    block_hash: String,
    encoded_chain_id: String,
    validator_powers: Vec<Validator>,
    ok: bool,
    trimmed: Option<String>,
    signatures_kept: Option<usize>,
    error: Option<String>,
}

/// What the original says when the known signers are too weak.
const INSUFFICIENT: &str = "failed to trim necessary signatures: Accumulated power does not exceed 2/3 of total power";
/// How it begins when a signature cannot be recovered.
const UNRECOVERABLE: &str = "failed to trim necessary signatures: failed to recover addresses: ";

/// Checks the document.
pub(crate) fn run(json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document = document::<Case>(json, "trim_proof")?;
    for case in &document.cases {
        let result = check(case);
        let result = result.map(|deviation| sheet.deviations.extend(deviation));
        sheet.case(&case.note, result);
    }
    Ok(())
}

/// The validators of a record.
pub(super) fn validators(list: &[Validator]) -> anyhow::Result<ValidatorSet> {
    let read = list.iter().map(|validator| Ok((address(&validator.address)?, validator.power.unsigned()?)));
    Ok(ValidatorSet::new(read.collect::<anyhow::Result<Vec<_>>>()?)?)
}

fn check(case: &Case) -> anyhow::Result<Option<Deviation>> {
    let (proof, block_hash) = (bytes(&case.proof)?, hash(&case.block_hash)?);
    let chain_id = EncodedChainId(bytes(&case.encoded_chain_id)?);
    let validators = validators(&case.validator_powers)?;
    let mut signers = Signers::default();
    let ours = trim(&proof, BlockHash::Given(block_hash), &chain_id, &validators, &mut signers);
    match (ours, case.ok, &case.trimmed, case.signatures_kept, case.error.as_deref()) {
        (Ok(ours), true, Some(trimmed), Some(kept), None) => {
            check_trimmed(&proof, &ours, &bytes(trimmed)?, kept)?;
            // Where the hash follows from the proof, it need not be given.
            let relay = RelayPart::decode(RawProof::decode(&proof)?.relay)?;
            let own = |layout| relay.merkle_parts.block_hash(&relay.multi_store.app_hash(layout));
            if let Some(layout) = Layout::ALL.into_iter().find(|layout| own(*layout) == Ok(block_hash)) {
                for known in [BlockHash::Layout(layout), BlockHash::Detected] {
                    let again = trim(&proof, known, &chain_id, &validators, &mut signers)?;
                    same("layout", again.layout, Some(layout))?;
                    same("trimmed without a given block hash", again.bytes, ours.bytes.clone())?;
                }
            }
            Ok(None)
        }
        (Err(TrimError::InsufficientPower { .. }), false, None, None, Some(INSUFFICIENT)) => Ok(None),
        (ours, false, None, None, Some(error)) if error.starts_with(UNRECOVERABLE) => {
            let skipped = match &ours {
                Ok(ours) => ours.offered.unrecoverable,
                Err(TrimError::InsufficientPower { offered, .. }) => offered.unrecoverable,
                Err(_) => 0,
            };
            if skipped == 0 {
                bail!("recorded is {error:?}, but all signatures can be recovered");
            }
            let ours = ours.map_or_else(|fault| fault.to_string(), |ours| format!("{} signatures kept", ours.kept.len()));
            Ok(Some(Deviation { case: case.note.clone(), recorded: error.to_owned(), ours, section: "4.9" }))
        }
        (ours, ..) => bail!("ours is {ours:?}, recorded is ok {} with the error {:?}", case.ok, case.error),
    }
}

fn check_trimmed(proof: &Bytes, ours: &Trimmed, recorded: &Bytes, kept: usize) -> anyhow::Result<()> {
    same("kept signatures", ours.kept.len(), kept)?;
    same("trimmed proof", &ours.bytes, recorded)?;
    let (before, after) = (RawProof::decode(proof)?, RawProof::decode(&ours.bytes)?);
    same("verify part", after.verify, before.verify)?;
    let relay = RelayPart::decode(after.relay).context("the trimmed proof")?;
    same("signatures in the trimmed proof", relay.signatures.len(), kept)?;
    same("canonical encoding", Bytes::from(relay.encode()), Bytes::copy_from_slice(after.relay))
}
