//! `block_header`: headers, their leaves, the Bridge's parts and the block hash.

use alloy_primitives::{B256, Bytes};
use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use windlass_vrf_protocol::header::{BlockId, Header, MerkleParts};
use windlass_vrf_protocol::messages::tendermint;

use super::super::{bytes, same};
use super::common::{Number, Outcome, document, hash};
use crate::Sheet;

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Case {
    Header(Box<HeaderCase>),
    PartsEdge {
        #[serde(rename = "note")]
        _note: Option<String>,
        merkle_parts: Box<TupleParts>,
        app_hash: String,
        contract: Box<Outcome>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderCase {
    #[serde(rename = "note")]
    _note: Option<String>,
    chain_id: String,
    height: Number,
    time_second: Number,
    time_nano: Number,
    version_block: Number,
    version_app: Number,
    last_block_id: LastBlock,
    last_commit_hash: String,
    data_hash: String,
    validators_hash: String,
    next_validators_hash: String,
    consensus_hash: String,
    app_hash: String,
    last_results_hash: String,
    evidence_hash: String,
    proposer_address: String,
    leaves: Vec<String>,
    merkle_parts: Parts,
    block_hash: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LastBlock {
    hash: String,
    parts_total: Number,
    parts_hash: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    version_and_chain_id_hash: String,
    height: Number,
    time_second: Number,
    time_nano: Number,
    last_block_id_and_other: String,
    next_validator_hash_and_consensus_hash: String,
    last_results_hash: String,
    evidence_and_proposer_hash: String,
}

/// The contract's struct as a tuple.
#[derive(Deserialize)]
pub(super) struct TupleParts(String, Number, Number, Number, String, String, String, String);

impl TupleParts {
    pub(super) fn read(&self) -> anyhow::Result<MerkleParts> {
        let Self(version, height, second, nano, last, next, results, evidence) = self;
        read_parts([version, last, next, results, evidence], [height, second, nano])
    }
}

fn read_parts(hashes: [&str; 5], numbers: [&Number; 3]) -> anyhow::Result<MerkleParts> {
    let [version, last, next, results, evidence] = hashes;
    let [height, second, nano] = numbers;
    Ok(MerkleParts {
        version_and_chain_id_hash: hash(version)?,
        height: height.u64()?,
        time_second: second.u64()?,
        time_nano_second: nano.u32()?,
        last_block_id_and_other: hash(last)?,
        next_validator_hash_and_consensus_hash: hash(next)?,
        last_results_hash: hash(results)?,
        evidence_and_proposer_hash: hash(evidence)?,
    })
}

/// Checks the document.
pub(crate) fn run(json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document = document::<Case>(json, "block_header")?;
    for (number, case) in document.cases.iter().enumerate() {
        let result = match case {
            Case::Header(case) => check_header(case),
            Case::PartsEdge { merkle_parts, app_hash, contract, .. } => {
                merkle_parts.read().and_then(|parts| contract.check_bytes(parts.block_hash(&hash(app_hash)?)))
            }
        };
        sheet.case(&number.to_string(), result);
    }
    Ok(())
}

fn read_header(case: &HeaderCase) -> anyhow::Result<Header> {
    Ok(Header {
        version_block: case.version_block.u64()?,
        version_app: case.version_app.u64()?,
        chain_id: case.chain_id.clone(),
        height: case.height.u64()?,
        time_second: case.time_second.u64()?,
        time_nano: case.time_nano.u32()?,
        last_block_id: BlockId {
            hash: bytes(&case.last_block_id.hash)?,
            parts_total: case.last_block_id.parts_total.u32()?,
            parts_hash: bytes(&case.last_block_id.parts_hash)?,
        },
        last_commit_hash: bytes(&case.last_commit_hash)?,
        data_hash: bytes(&case.data_hash)?,
        validators_hash: bytes(&case.validators_hash)?,
        next_validators_hash: bytes(&case.next_validators_hash)?,
        consensus_hash: bytes(&case.consensus_hash)?,
        app_hash: bytes(&case.app_hash)?,
        last_results_hash: bytes(&case.last_results_hash)?,
        evidence_hash: bytes(&case.evidence_hash)?,
        proposer_address: bytes(&case.proposer_address)?,
    })
}

fn check_header(case: &HeaderCase) -> anyhow::Result<()> {
    let header = read_header(case)?;
    let leaves = case.leaves.iter().map(|leaf| bytes(leaf)).collect::<anyhow::Result<Vec<_>>>()?;
    let ours: Vec<Bytes> = header.leaves().into_iter().map(Bytes::from).collect();
    same("leaves", ours, leaves)?;
    let parts = &case.merkle_parts;
    let recorded = read_parts(
        [
            &parts.version_and_chain_id_hash,
            &parts.last_block_id_and_other,
            &parts.next_validator_hash_and_consensus_hash,
            &parts.last_results_hash,
            &parts.evidence_and_proposer_hash,
        ],
        [&parts.height, &parts.time_second, &parts.time_nano],
    )?;
    same("parts", header.merkle_parts(), recorded)?;
    let block_hash = hash(&case.block_hash)?;
    same("block hash", header.hash(), block_hash)?;
    let app_hash = B256::try_from(header.app_hash.as_ref()).context("the AppHash has not 32 bytes")?;
    same("block hash from the parts", recorded.block_hash(&app_hash)?, block_hash)?;
    // A header that came in a message is the same.
    same("header in a message", Header::try_from(tendermint::Header::from(&header))?, header)
}
