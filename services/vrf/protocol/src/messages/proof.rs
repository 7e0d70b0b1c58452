//! `band.base.oracle.v1`: the Proof service. Sizes of its byte fields are checked where they are used.

use prost::bytes::Bytes;

use super::oracle::Result;

/// Calls of the service.
pub mod path {
    /// Proof of one request.
    pub const PROOF: &str = "/band.base.oracle.v1.Service/Proof";
    /// One proof for several requests.
    pub const MULTI_PROOF: &str = "/band.base.oracle.v1.Service/MultiProof";
    /// Proof of the number of requests.
    pub const REQUEST_COUNT_PROOF: &str = "/band.base.oracle.v1.Service/RequestCountProof";
}

/// Asks for the proof of one request.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ProofRequest {
    /// Number of the request.
    #[prost(uint64, tag = "1")]
    pub request_id: u64,
    /// Block whose header proves it; 0 means the newest but one. The smallest that works is the version plus one.
    #[prost(int64, tag = "2")]
    pub height: i64,
}

/// The proof of one request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProofResponse {
    /// Block whose header proves it.
    #[prost(int64, tag = "1")]
    pub height: i64,
    /// The proof.
    #[prost(message, optional, tag = "2")]
    pub result: Option<SingleProofResult>,
}

/// Asks for one proof for several requests.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MultiProofRequest {
    /// Numbers of the requests.
    #[prost(uint64, repeated, tag = "1")]
    pub request_ids: Vec<u64>,
}

/// One proof for several requests.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MultiProofResponse {
    /// Block whose header proves them.
    #[prost(int64, tag = "1")]
    pub height: i64,
    /// The proof.
    #[prost(message, optional, tag = "2")]
    pub result: Option<MultiProofResult>,
}

/// Asks for the proof of the number of requests.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RequestCountProofRequest {}

/// The proof of the number of requests.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RequestCountProofResponse {
    /// Block whose header proves it.
    #[prost(int64, tag = "1")]
    pub height: i64,
    /// The proof.
    #[prost(message, optional, tag = "2")]
    pub result: Option<CountProofResult>,
}

/// The proof of one request, in parts and as bytes for the Bridge.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SingleProofResult {
    /// In parts.
    #[prost(message, optional, tag = "1")]
    pub proof: Option<SingleProof>,
    /// As `relayAndVerify` and `verifyOracleResult` want it.
    #[prost(bytes = "bytes", tag = "2")]
    pub evm_proof_bytes: Bytes,
}

/// The proof of several requests, in parts and as bytes for the Bridge.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MultiProofResult {
    /// In parts.
    #[prost(message, optional, tag = "1")]
    pub proof: Option<MultiProof>,
    /// As `relayAndMultiVerify` wants it.
    #[prost(bytes = "bytes", tag = "2")]
    pub evm_proof_bytes: Bytes,
}

/// The proof of the number of requests, in parts and as bytes for the Bridge.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CountProofResult {
    /// In parts.
    #[prost(message, optional, tag = "1")]
    pub proof: Option<CountProof>,
    /// As `relayAndVerifyCount` wants it.
    #[prost(bytes = "bytes", tag = "2")]
    pub evm_proof_bytes: Bytes,
}

/// Parts of the proof of one request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SingleProof {
    /// Block whose header proves it.
    #[prost(uint64, tag = "1")]
    pub block_height: u64,
    /// From the result to the root of the oracle store.
    #[prost(message, optional, tag = "2")]
    pub oracle_data_proof: Option<OracleDataProof>,
    /// From that root to the signatures.
    #[prost(message, optional, tag = "3")]
    pub block_relay_proof: Option<BlockRelayProof>,
}

/// Parts of the proof of several requests.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MultiProof {
    /// Block whose header proves them.
    #[prost(uint64, tag = "1")]
    pub block_height: u64,
    /// From each result to the root of the oracle store.
    #[prost(message, repeated, tag = "2")]
    pub oracle_data_multi_proof: Vec<OracleDataProof>,
    /// From that root to the signatures.
    #[prost(message, optional, tag = "3")]
    pub block_relay_proof: Option<BlockRelayProof>,
}

/// Parts of the proof of the number of requests.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CountProof {
    /// Block whose header proves it.
    #[prost(uint64, tag = "1")]
    pub block_height: u64,
    /// From the number to the root of the oracle store.
    #[prost(message, optional, tag = "2")]
    pub count_proof: Option<RequestsCountProof>,
    /// From that root to the signatures.
    #[prost(message, optional, tag = "3")]
    pub block_relay_proof: Option<BlockRelayProof>,
}

/// From a result to the root of the oracle store.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OracleDataProof {
    /// The stored result.
    #[prost(message, optional, tag = "1")]
    pub result: Option<Result>,
    /// Block that wrote it.
    #[prost(uint64, tag = "2")]
    pub version: u64,
    /// Steps from the leaf to the root.
    #[prost(message, repeated, tag = "3")]
    pub merkle_paths: Vec<IavlMerklePath>,
}

/// One step from a leaf to the root of the oracle store.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct IavlMerklePath {
    /// Whether the sibling is on the left.
    #[prost(bool, tag = "1")]
    pub is_data_on_right: bool,
    /// Height of the inner node.
    #[prost(uint32, tag = "2")]
    pub subtree_height: u32,
    /// Leaves below it.
    #[prost(uint64, tag = "3")]
    pub subtree_size: u64,
    /// Block that wrote it.
    #[prost(uint64, tag = "4")]
    pub subtree_version: u64,
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "5")]
    pub sibling_hash: Vec<u8>,
}

/// From the root of the oracle store to the signatures.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BlockRelayProof {
    /// From the root of the oracle store to the AppHash.
    #[prost(message, optional, tag = "1")]
    pub multi_store_proof: Option<MultiStoreProof>,
    /// From the AppHash to the block hash.
    #[prost(message, optional, tag = "2")]
    pub block_header_merkle_parts: Option<BlockHeaderMerkleParts>,
    /// What all votes share.
    #[prost(message, optional, tag = "3")]
    pub common_encoded_vote_part: Option<CommonEncodedVotePart>,
    /// Signatures in ascending order of the signers' EVM addresses.
    #[prost(message, repeated, tag = "4")]
    pub signatures: Vec<TmSignature>,
}

/// The root of the oracle store and its siblings up to the AppHash, 32 bytes each. The names are those of layout v3.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MultiStoreProof {
    /// Root of the oracle store.
    #[prost(bytes = "vec", tag = "1")]
    pub oracle_iavl_state_hash: Vec<u8>,
    /// First sibling; in layout v2 `params`.
    #[prost(bytes = "vec", tag = "2")]
    pub mint_store_merkle_hash: Vec<u8>,
    /// Second; in layout v2 `slashing` to `staking`.
    #[prost(bytes = "vec", tag = "3")]
    pub params_to_restake_stores_merkle_hash: Vec<u8>,
    /// Third; in layout v2 `gov` to `mint`.
    #[prost(bytes = "vec", tag = "4")]
    pub rollingseed_to_transfer_stores_merkle_hash: Vec<u8>,
    /// Fourth; in layout v2 `auth` to `feegrant`.
    #[prost(bytes = "vec", tag = "5")]
    pub tss_to_upgrade_stores_merkle_hash: Vec<u8>,
    /// Fifth; in layout v2 `transfer` to `upgrade`.
    #[prost(bytes = "vec", tag = "6")]
    pub auth_to_icahost_stores_merkle_hash: Vec<u8>,
}

/// What is needed beside the AppHash to compute the block hash. Hashes are 32 bytes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BlockHeaderMerkleParts {
    /// Root of leaves 0 and 1.
    #[prost(bytes = "vec", tag = "1")]
    pub version_and_chain_id_hash: Vec<u8>,
    /// Height of the block.
    #[prost(uint64, tag = "2")]
    pub height: u64,
    /// Unix seconds of the block.
    #[prost(uint64, tag = "3")]
    pub time_second: u64,
    /// Nanoseconds within the second.
    #[prost(uint32, tag = "4")]
    pub time_nano_second: u32,
    /// Root of leaves 4 to 7.
    #[prost(bytes = "vec", tag = "5")]
    pub last_block_id_and_other: Vec<u8>,
    /// Root of leaves 8 and 9.
    #[prost(bytes = "vec", tag = "6")]
    pub next_validator_hash_and_consensus_hash: Vec<u8>,
    /// Leaf 11.
    #[prost(bytes = "vec", tag = "7")]
    pub last_results_hash: Vec<u8>,
    /// Root of leaves 12 and 13.
    #[prost(bytes = "vec", tag = "8")]
    pub evidence_and_proposer_hash: Vec<u8>,
}

/// What all votes for a block share, before and after the block hash.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CommonEncodedVotePart {
    /// Before the block hash.
    #[prost(bytes = "vec", tag = "1")]
    pub signed_data_prefix: Vec<u8>,
    /// After it.
    #[prost(bytes = "vec", tag = "2")]
    pub signed_data_suffix: Vec<u8>,
}

/// One validator's signature.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TmSignature {
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub r: Vec<u8>,
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub s: Vec<u8>,
    /// 27 plus the recovery id.
    #[prost(uint32, tag = "3")]
    pub v: u32,
    /// Encoded `Timestamp` of the vote.
    #[prost(bytes = "vec", tag = "4")]
    pub encoded_timestamp: Vec<u8>,
}

/// From the number of requests to the root of the oracle store.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RequestsCountProof {
    /// The number.
    #[prost(uint64, tag = "1")]
    pub count: u64,
    /// Block that wrote it.
    #[prost(uint64, tag = "2")]
    pub version: u64,
    /// Steps from the leaf to the root.
    #[prost(message, repeated, tag = "3")]
    pub merkle_paths: Vec<IavlMerklePath>,
}
