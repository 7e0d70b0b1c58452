//! CometBFT's answers in JSON, and the same as protobuf messages.

use alloy_primitives::Bytes;
use serde::Deserialize;
use windlass_vrf_protocol::messages::Any;
use windlass_vrf_protocol::messages::tendermint::{
    BlockId, Commit, CommitSig, Consensus, Header, PartSetHeader, ProofOp, ProofOps, Validator,
};
use windlass_vrf_protocol::messages::tx::TxResponse;

use super::convert;
use super::error::BandError;
use super::json::{self, Base64, Event, Hex, Int, Time};
use super::node::SignedBlock;
use super::site::Site;
use super::types::{BandBlock, TxInfo};

/// What CometBFT calls a key of the kind that BandChain's validators have.
const SECP256K1: &str = "tendermint/PubKeySecp256k1";

/// Answer of `/status`.
#[derive(Deserialize)]
pub(super) struct Status {
    node_info: NodeInfo,
    sync_info: SyncInfo,
}

#[derive(Deserialize)]
struct NodeInfo {
    network: String,
}

#[derive(Deserialize)]
struct SyncInfo {
    latest_block_hash: Hex,
    latest_block_height: Int,
    latest_block_time: Time,
}

impl Status {
    pub(super) fn read(self, site: Site<'_>) -> Result<BandBlock, BandError> {
        let height = self.sync_info.latest_block_height.to().ok_or_else(|| site.malformed("an impossible height"))?;
        let time = Some(self.sync_info.latest_block_time.0);
        let header = Header { chain_id: self.node_info.network, height, time, ..Header::default() };
        convert::block(site, &header, &self.sync_info.latest_block_hash.0)
    }
}

/// Answer of `/block`.
#[derive(Deserialize)]
pub(super) struct BlockAnswer {
    #[serde(default)]
    block_id: BlockIdJson,
    block: BlockJson,
}

#[derive(Deserialize)]
struct BlockJson {
    header: LastBlock,
}

#[derive(Deserialize)]
struct LastBlock {
    #[serde(default)]
    last_block_id: BlockIdJson,
}

impl BlockAnswer {
    /// Hash of the block itself, if the node tells it.
    pub(super) fn own_hash(&self) -> Option<&[u8]> {
        Some(self.block_id.hash.0.as_slice()).filter(|hash| !hash.is_empty())
    }

    /// Hash of the block before.
    pub(super) fn hash_of_last(&self) -> &[u8] {
        &self.block.header.last_block_id.hash.0
    }
}

#[derive(Deserialize, Default)]
struct BlockIdJson {
    #[serde(default)]
    hash: Hex,
    #[serde(default, alias = "part_set_header")]
    parts: PartsJson,
}

#[derive(Deserialize, Default)]
struct PartsJson {
    #[serde(default)]
    total: Int,
    #[serde(default)]
    hash: Hex,
}

impl BlockIdJson {
    fn read(self, site: Site<'_>) -> Result<BlockId, BandError> {
        let total = self.parts.total.to().ok_or_else(|| site.malformed("an impossible number of parts"))?;
        Ok(BlockId { hash: self.hash.0, part_set_header: Some(PartSetHeader { total, hash: self.parts.hash.0 }) })
    }
}

/// Answer of `/commit`.
#[derive(Deserialize)]
pub(super) struct CommitAnswer {
    signed_header: SignedHeader,
    #[serde(default)]
    canonical: bool,
}

#[derive(Deserialize)]
struct SignedHeader {
    header: HeaderJson,
    commit: CommitJson,
}

#[derive(Deserialize)]
struct HeaderJson {
    #[serde(default)]
    version: VersionJson,
    chain_id: String,
    height: Int,
    time: Time,
    #[serde(default)]
    last_block_id: BlockIdJson,
    #[serde(default)]
    last_commit_hash: Hex,
    #[serde(default)]
    data_hash: Hex,
    #[serde(default)]
    validators_hash: Hex,
    #[serde(default)]
    next_validators_hash: Hex,
    #[serde(default)]
    consensus_hash: Hex,
    #[serde(default)]
    app_hash: Hex,
    #[serde(default)]
    last_results_hash: Hex,
    #[serde(default)]
    evidence_hash: Hex,
    #[serde(default)]
    proposer_address: Hex,
}

#[derive(Deserialize, Default)]
struct VersionJson {
    #[serde(default)]
    block: Int,
    #[serde(default)]
    app: Int,
}

impl HeaderJson {
    fn read(self, site: Site<'_>) -> Result<Header, BandError> {
        let numbers = self.version.block.to().zip(self.version.app.to()).zip(self.height.to());
        let ((block, app), height) = numbers.ok_or_else(|| site.malformed("an impossible version or height"))?;
        Ok(Header {
            version: Some(Consensus { block, app }),
            chain_id: self.chain_id,
            height,
            time: Some(self.time.0),
            last_block_id: Some(self.last_block_id.read(site)?),
            last_commit_hash: self.last_commit_hash.0,
            data_hash: self.data_hash.0,
            validators_hash: self.validators_hash.0,
            next_validators_hash: self.next_validators_hash.0,
            consensus_hash: self.consensus_hash.0,
            app_hash: self.app_hash.0,
            last_results_hash: self.last_results_hash.0,
            evidence_hash: self.evidence_hash.0,
            proposer_address: self.proposer_address.0,
        })
    }
}

#[derive(Deserialize)]
struct CommitJson {
    height: Int,
    #[serde(default)]
    round: Int,
    block_id: BlockIdJson,
    signatures: Vec<SignatureJson>,
}

#[derive(Deserialize)]
struct SignatureJson {
    block_id_flag: Int,
    #[serde(default)]
    validator_address: Hex,
    timestamp: Time,
    #[serde(default)]
    signature: Base64,
}

impl CommitAnswer {
    pub(super) fn read(self, site: Site<'_>) -> Result<SignedBlock, BandError> {
        let commit = self.signed_header.commit;
        let numbers = commit.height.to().zip(commit.round.to());
        let (height, round) = numbers.ok_or_else(|| site.malformed("an impossible height or round"))?;
        let signatures = commit.signatures.into_iter().map(|vote| CommitSig {
            // A flag that no version knows is no vote for the block.
            block_id_flag: vote.block_id_flag.to().unwrap_or(0),
            validator_address: vote.validator_address.0,
            timestamp: Some(vote.timestamp.0),
            signature: vote.signature.0,
        });
        let commit = Commit { height, round, block_id: Some(commit.block_id.read(site)?), signatures: signatures.collect() };
        Ok(SignedBlock { header: self.signed_header.header.read(site)?, commit, canonical: self.canonical })
    }
}

/// Answer of `/abci_query`.
#[derive(Deserialize)]
pub(super) struct AbciAnswer {
    pub(super) response: AbciResponse,
}

#[derive(Deserialize)]
pub(super) struct AbciResponse {
    #[serde(default)]
    pub(super) code: Int,
    #[serde(default)]
    pub(super) log: String,
    #[serde(default)]
    pub(super) codespace: String,
    #[serde(default)]
    pub(super) value: Base64,
    #[serde(default, rename = "proofOps", alias = "proof_ops", alias = "proof")]
    proof_ops: Option<OpsJson>,
}

#[derive(Deserialize)]
struct OpsJson {
    #[serde(default)]
    ops: Option<Vec<OpJson>>,
}

#[derive(Deserialize)]
struct OpJson {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    key: Base64,
    #[serde(default)]
    data: Base64,
}

impl AbciResponse {
    pub(super) fn ops(&self) -> ProofOps {
        let ops = self.proof_ops.iter().filter_map(|proof| proof.ops.as_ref()).flatten();
        ProofOps {
            ops: ops.map(|op| ProofOp { r#type: op.kind.clone(), key: op.key.0.clone(), data: op.data.0.clone() }).collect(),
        }
    }
}

/// Answer of `/block_results`: the events outside of transactions, of CometBFT 0.34 and 0.37, and of 0.38.
#[derive(Deserialize)]
pub(super) struct BlockResults {
    begin_block_events: Option<Vec<Event>>,
    end_block_events: Option<Vec<Event>>,
    finalize_block_events: Option<Vec<Event>>,
}

impl BlockResults {
    pub(super) fn into_events(self) -> Vec<Event> {
        [self.begin_block_events, self.end_block_events, self.finalize_block_events].into_iter().flatten().flatten().collect()
    }
}

/// Answer of `/broadcast_tx_sync`.
#[derive(Deserialize)]
pub(super) struct BroadcastResult {
    #[serde(default)]
    code: Int,
    #[serde(default)]
    codespace: String,
    #[serde(default)]
    log: String,
    hash: Hex,
}

impl BroadcastResult {
    pub(super) fn into_response(self) -> TxResponse {
        TxResponse {
            // A code that is none must not pass for success.
            code: self.code.to().unwrap_or(u32::MAX),
            txhash: hex::encode_upper(&self.hash.0),
            codespace: self.codespace,
            raw_log: self.log,
            ..TxResponse::default()
        }
    }
}

/// Answer of `/tx_search`.
#[derive(Deserialize)]
pub(super) struct TxSearch {
    #[serde(default)]
    pub(super) txs: Vec<TxAnswer>,
}

/// Answer of `/tx`.
#[derive(Deserialize)]
pub(super) struct TxAnswer {
    hash: Hex,
    height: Int,
    tx_result: TxResult,
    #[serde(default)]
    tx: Base64,
}

#[derive(Deserialize)]
struct TxResult {
    #[serde(default)]
    code: Int,
    #[serde(default)]
    codespace: String,
    #[serde(default)]
    log: String,
    #[serde(default)]
    gas_wanted: Int,
    #[serde(default)]
    gas_used: Int,
    #[serde(default)]
    events: Option<Vec<Event>>,
}

impl TxAnswer {
    pub(super) fn read(self, site: Site<'_>) -> Result<(TxInfo, Option<Bytes>), BandError> {
        let result = self.tx_result;
        let numbers = self.height.to().zip(result.code.to());
        let (height, code) = numbers.ok_or_else(|| site.malformed("an impossible height or code"))?;
        let hash = hex::encode_upper(&self.hash.0);
        let bytes = Some(self.tx.0).filter(|tx| convert::tx_hash(tx) == hash).map(Bytes::from);
        let info = TxInfo {
            hash,
            height,
            code,
            codespace: result.codespace,
            raw_log: result.log,
            events: json::events(result.events.unwrap_or_default()),
            gas_wanted: result.gas_wanted.to().unwrap_or(0),
            gas_used: result.gas_used.to().unwrap_or(0),
        };
        Ok((info, bytes))
    }
}

/// Answer of `/validators`.
#[derive(Deserialize)]
pub(super) struct Validators {
    #[serde(default)]
    pub(super) block_height: Int,
    pub(super) validators: Vec<ValidatorJson>,
    #[serde(default)]
    pub(super) total: Int,
}

#[derive(Deserialize)]
pub(super) struct ValidatorJson {
    #[serde(default)]
    address: String,
    pub_key: KeyJson,
    voting_power: Int,
}

#[derive(Deserialize)]
struct KeyJson {
    #[serde(rename = "type")]
    kind: String,
    value: Base64,
}

impl ValidatorJson {
    pub(super) fn read(self, site: Site<'_>) -> Result<Validator, BandError> {
        let pub_key = if self.pub_key.kind == SECP256K1 {
            convert::secp256k1_key(self.pub_key.value.0)
        } else {
            Any { type_url: self.pub_key.kind, value: Vec::new() }
        };
        let voting_power = self.voting_power.to().ok_or_else(|| site.malformed("an impossible power"))?;
        Ok(Validator { address: self.address, pub_key: Some(pub_key), voting_power, proposer_priority: 0 })
    }
}
