//! `vote_sign_bytes`: votes, digests, signatures and their recovery, sizes that the contract refuses, and a whole commit.

use alloy_primitives::{Address, B256, Bytes};
use anyhow::{Context, ensure};
use k256::ecdsa::SigningKey;
use prost::Message;
use serde::Deserialize;
use serde_json::Value;
use windlass_vrf_protocol::assemble::in_order;
use windlass_vrf_protocol::messages::Timestamp;
use windlass_vrf_protocol::signature::{
    TmSignature, eth_address, eth_address_of_compressed, recover, recover_from_commit, sign, validator_address,
};
use windlass_vrf_protocol::vote::{self, Common, EncodedChainId};

use super::super::{bytes, same};
use super::common::{Number, Outcome, address, document, hash};
use crate::Sheet;

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Case {
    Vote(Box<VoteCase>),
    CommonPartSize {
        #[serde(rename = "note")]
        _note: Option<String>,
        prefix: String,
        suffix: String,
        block_hash: String,
        contract: Outcome,
    },
    TimestampSize(SignatureCase),
    BadV(SignatureCase),
    RealCommit(Box<CommitCase>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VoteCase {
    chain_id: String,
    encoded_chain_id: String,
    height: Number,
    round: Number,
    block_hash: String,
    parts_total: Number,
    parts_hash: String,
    signed_data_prefix: String,
    signed_data_suffix: String,
    common: String,
    encoded_timestamp: String,
    sign_bytes: String,
    sign_digest: String,
    private_key: String,
    public_key_compressed: String,
    validator_address: String,
    eth_address: String,
    r: String,
    s: String,
    v: Number,
    signature64: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureCase {
    #[serde(rename = "note")]
    _note: Option<String>,
    r: String,
    s: String,
    v: Number,
    encoded_timestamp: String,
    common: String,
    encoded_chain_id: String,
    true_signer: Option<String>,
    contract: Outcome,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitCase {
    #[serde(rename = "note")]
    _note: Option<String>,
    chain_id: String,
    height: Number,
    round: Number,
    block_hash: String,
    signed_data_prefix: String,
    signed_data_suffix: String,
    encoded_chain_id: String,
    votes: Vec<CommitVote>,
    order_in_proof: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitVote {
    validator_address: String,
    time_second: Number,
    time_nano: Number,
    signature64: String,
    encoded_timestamp: String,
    v: Number,
    eth_address: String,
}

/// Checks the document.
pub(crate) fn run(json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document = document::<Case>(json, "vote_sign_bytes")?;
    for (number, case) in document.cases.iter().enumerate() {
        sheet.case(&number.to_string(), check(case));
    }
    Ok(())
}

fn check(case: &Case) -> anyhow::Result<()> {
    match case {
        Case::Vote(case) => check_vote(case),
        Case::CommonPartSize { prefix, suffix, block_hash, contract, .. } => {
            let common = Common { prefix: bytes(prefix)?, suffix: bytes(suffix)? };
            contract.check_bytes(common.encode(&hash(block_hash)?))
        }
        Case::TimestampSize(case) | Case::BadV(case) => check_signature(case),
        Case::RealCommit(case) => check_commit(case),
    }
}

fn check_vote(case: &VoteCase) -> anyhow::Result<()> {
    let block_hash = hash(&case.block_hash)?;
    let common = Common::new(case.height.u64()?, case.round.u64()?, case.parts_total.u32()?, &bytes(&case.parts_hash)?);
    same("prefix", &common.prefix, &bytes(&case.signed_data_prefix)?)?;
    same("suffix", &common.suffix, &bytes(&case.signed_data_suffix)?)?;
    same("common part", Bytes::from(common.encode(&block_hash)?), bytes(&case.common)?)?;
    let chain_id = EncodedChainId::new(&case.chain_id);
    same("encoded chain id", &chain_id.0, &bytes(&case.encoded_chain_id)?)?;
    same("chain id", chain_id.name(), Some(case.chain_id.as_str()))?;
    let timestamp = bytes(&case.encoded_timestamp)?;
    let time = Timestamp::decode(timestamp.as_ref()).context("the timestamp is malformed")?;
    let (second, nano) = (u64::try_from(time.seconds)?, u32::try_from(time.nanos)?);
    same("timestamp", Bytes::from(vote::timestamp(second, nano)), timestamp.clone())?;
    same("sign bytes", Bytes::from(common.sign_bytes(&block_hash, &timestamp, &chain_id)), bytes(&case.sign_bytes)?)?;
    let digest = hash(&case.sign_digest)?;
    same("digest", common.digest(&block_hash, &timestamp, &chain_id), digest)?;

    let key = SigningKey::from_slice(&bytes(&case.private_key)?).context("the private key is out of range")?;
    let compressed = bytes(&case.public_key_compressed)?;
    same("public key", Bytes::copy_from_slice(key.verifying_key().to_encoded_point(true).as_bytes()), compressed.clone())?;
    let validator = bytes(&case.validator_address)?;
    same("validator address", Bytes::copy_from_slice(&validator_address(&compressed)), validator.clone())?;
    let signer = address(&case.eth_address)?;
    same("EVM address", eth_address(key.verifying_key()), signer)?;
    same("EVM address of the public key", eth_address_of_compressed(&compressed), Some(signer))?;
    let (r, s, v) = (hash(&case.r)?, hash(&case.s)?, case.v.u8()?);
    same("signature", sign(&key, &digest), (r, s, v))?;
    same("halves", Bytes::from([r.0, s.0].concat()), bytes(&case.signature64)?)?;
    same("recovered signer", recover(&digest, &r, &s, v), Some(signer))?;
    let found = recover_from_commit(&digest, &bytes(&case.signature64)?, &validator);
    same("recovered from the commit", found, Some((r, s, v, signer)))?;
    let whole = TmSignature::sign(&key, &common, &block_hash, (second, nano), &chain_id);
    same("vote", whole, TmSignature { r, s, v, encoded_timestamp: timestamp })
}

fn check_signature(case: &SignatureCase) -> anyhow::Result<()> {
    let (r, s) = (hash(&case.r)?, hash(&case.s)?);
    let signature = TmSignature { r, s, v: case.v.u8()?, encoded_timestamp: bytes(&case.encoded_timestamp)? };
    let chain_id = EncodedChainId(bytes(&case.encoded_chain_id)?);
    let digest = vote::digest(&bytes(&case.common)?, &signature.encoded_timestamp, &chain_id);
    let ours = signature.check().map(|()| signature.signer(&digest).unwrap_or_default());
    case.contract.check_bytes(ours)?;
    let Some(true_signer) = &case.true_signer else {
        return Ok(());
    };
    let (signer, possible) = (address(true_signer)?, [27, 28].map(|v| recover(&digest, &r, &s, v)));
    ensure!(possible.contains(&Some(signer)), "the true signer {signer} is not among {possible:?}");
    Ok(())
}

fn check_commit(case: &CommitCase) -> anyhow::Result<()> {
    let (height, round, block_hash) = (case.height.u64()?, case.round.u64()?, hash(&case.block_hash)?);
    let common = Common { prefix: bytes(&case.signed_data_prefix)?, suffix: bytes(&case.signed_data_suffix)? };
    same("prefix", Bytes::from(vote::prefix(height, round)), common.prefix.clone())?;
    common.check()?;
    let chain_id = EncodedChainId::new(&case.chain_id);
    same("encoded chain id", &chain_id.0, &bytes(&case.encoded_chain_id)?)?;
    let mut votes = Vec::new();
    for vote in &case.votes {
        votes.push(check_commit_vote(vote, &common, &block_hash, &chain_id).context(vote.validator_address.clone())?);
    }
    ensure!(case.order_in_proof == "ascending eth_address", "the order {:?} is not known", case.order_in_proof);
    let (signers, signatures) = in_order(votes);
    ensure!(signers.is_sorted() && signatures.len() == case.votes.len(), "the signatures are not in the Bridge's order");
    Ok(())
}

fn check_commit_vote(
    vote: &CommitVote,
    common: &Common,
    block_hash: &B256,
    chain_id: &EncodedChainId,
) -> anyhow::Result<(Address, TmSignature)> {
    let encoded_timestamp = Bytes::from(vote::timestamp(vote.time_second.u64()?, vote.time_nano.u32()?));
    same("timestamp", &encoded_timestamp, &bytes(&vote.encoded_timestamp)?)?;
    let digest = common.digest(block_hash, &encoded_timestamp, chain_id);
    let found = recover_from_commit(&digest, &bytes(&vote.signature64)?, &bytes(&vote.validator_address)?);
    let (r, s, v, signer) = found.context("the signature is not by this validator")?;
    same("v", v, vote.v.u8()?)?;
    same("EVM address", signer, address(&vote.eth_address)?)?;
    Ok((signer, TmSignature { r, s, v, encoded_timestamp }))
}
