//! Drops signatures that a proof does not need: about 12,000 gas and 224 bytes each.
//!
//! The strongest signers known to the Bridge are kept until they hold more than two thirds of its total power, which gives the
//! smallest possible number; they are written in ascending order of their addresses. The verify part stays as it is, byte for
//! byte. A signature from which nobody can be recovered is skipped, and so is a second one of the same signer, which the Bridge
//! would refuse.

use std::cmp::Reverse;
use std::collections::HashSet;

use alloy_primitives::{Address, B256, Bytes, U256};

use crate::Refusal;
use crate::multistore::Layout;
use crate::proof::{Part, ProofError, RawProof, RelayPart};
use crate::signature::{Signers, TmSignature};
use crate::validators::ValidatorSet;
use crate::verify::detect_layout_with;
use crate::vote::EncodedChainId;

/// Where the block hash comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockHash {
    /// From elsewhere. The layout then does not matter.
    Given(B256),
    /// Computed from the proof for this layout.
    Layout(Layout),
    /// Computed from the proof for the layout under which its signers are known.
    Detected,
}

/// A proof with the signatures it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trimmed {
    /// The new proof, canonically encoded.
    pub bytes: Bytes,
    /// Whose signatures were kept, ascending.
    pub kept: Vec<Address>,
    /// Their power.
    pub power: U256,
    /// The block hash they signed.
    pub block_hash: B256,
    /// The layout it was computed for; `None` if it was given.
    pub layout: Option<Layout>,
    /// What was there before.
    pub offered: Offered,
}

/// The signatures of a proof before it is trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offered {
    /// How many there are.
    pub signatures: usize,
    /// How many different validators of the Bridge are among the signers.
    pub known: usize,
    /// Their power.
    pub power: U256,
    /// How many signers the Bridge does not know.
    pub strangers: usize,
    /// From how many signatures nobody can be recovered.
    pub unrecoverable: usize,
}

/// Why a proof cannot be trimmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrimError {
    /// It is no proof.
    #[error(transparent)]
    Malformed(#[from] ProofError),
    /// Its block hash cannot be computed.
    #[error("the block of the proof cannot be hashed: {0}")]
    Block(Refusal),
    /// All known signers together hold no more than two thirds of the Bridge's total power.
    #[error(
        "Accumulated power does not exceed 2/3 of total power: {power} of {total}, {needed} are needed; \
         {known} of {signatures} signatures are by validators of the Bridge",
        power = offered.power, known = offered.known, signatures = offered.signatures
    )]
    InsufficientPower {
        /// What the proof holds.
        offered: Box<Offered>,
        /// The smallest power that is enough.
        needed: U256,
        /// All power in the Bridge's set.
        total: U256,
    },
}

/// Trims a proof, a count proof or any other `abi.encode(bytes relay, bytes verify)`.
///
/// # Errors
/// If it is malformed, or its known signers are too weak.
pub fn trim(
    proof: &[u8],
    block_hash: BlockHash,
    chain_id: &EncodedChainId,
    validators: &ValidatorSet,
    signers: &mut Signers,
) -> Result<Trimmed, TrimError> {
    let raw = RawProof::decode(proof)?;
    let relay = RelayPart::decode(raw.relay)?;
    let (block_hash, layout) = hash_of(&relay, block_hash, chain_id, validators, signers)?;
    let mut offered = Offered { signatures: relay.signatures.len(), ..Offered::default() };
    let mut known = known_signatures(&relay, &block_hash, chain_id, validators, signers, &mut offered);
    // The sort is stable: of equal powers the one that stood first stays first.
    known.sort_by_key(|signature| Reverse(signature.power));
    let mut power = U256::ZERO;
    let mut count = 0;
    for signature in &known {
        if validators.exceeds_two_thirds(power) {
            break;
        }
        power = power.saturating_add(signature.power);
        count += 1;
    }
    if !validators.exceeds_two_thirds(power) {
        let (needed, total) = (validators.needed(), validators.total());
        return Err(TrimError::InsufficientPower { offered: Box::new(offered), needed, total });
    }
    known.truncate(count);
    known.sort_by_key(|signature| signature.signer);
    let relay = relay.encode_with(known.iter().map(|signature| signature.signature), known.len());
    Ok(Trimmed {
        bytes: RawProof { relay: &relay, verify: raw.verify }.encode(),
        kept: known.iter().map(|signature| signature.signer).collect(),
        power,
        block_hash,
        layout,
        offered,
    })
}

fn hash_of(
    relay: &RelayPart,
    block_hash: BlockHash,
    chain_id: &EncodedChainId,
    validators: &ValidatorSet,
    signers: &mut Signers,
) -> Result<(B256, Option<Layout>), TrimError> {
    let layout = match block_hash {
        BlockHash::Given(hash) => return Ok((hash, None)),
        BlockHash::Layout(layout) => layout,
        // When no signer is known under any layout, the newest one serves to say so.
        BlockHash::Detected => detect_layout_with(relay, chain_id, validators, signers).unwrap_or(Layout::V3),
    };
    let hash = relay.merkle_parts.block_hash(&relay.multi_store.app_hash(layout)).map_err(TrimError::Block)?;
    Ok((hash, Some(layout)))
}

struct Known<'a> {
    signature: &'a TmSignature,
    signer: Address,
    power: U256,
}

/// The signatures of the Bridge's validators, in the order of the proof.
fn known_signatures<'a>(
    relay: &'a RelayPart,
    block_hash: &B256,
    chain_id: &EncodedChainId,
    validators: &ValidatorSet,
    signers: &mut Signers,
    offered: &mut Offered,
) -> Vec<Known<'a>> {
    let mut known = Vec::with_capacity(relay.signatures.len());
    let mut seen = HashSet::new();
    for signature in &relay.signatures {
        let digest = relay.common.digest(block_hash, &signature.encoded_timestamp, chain_id);
        let Some(signer) = signers.signer(&digest, signature) else {
            offered.unrecoverable += 1;
            continue;
        };
        let Some(power) = validators.power(&signer) else {
            offered.strangers += 1;
            continue;
        };
        if seen.insert(signer) {
            offered.known += 1;
            offered.power = offered.power.saturating_add(power);
            known.push(Known { signature, signer, power });
        }
    }
    known
}

impl TrimError {
    /// Which part of the proof is malformed, if one is.
    pub fn malformed_part(&self) -> Option<Part> {
        match self {
            Self::Malformed(fault) => Some(fault.part),
            _ => None,
        }
    }
}
