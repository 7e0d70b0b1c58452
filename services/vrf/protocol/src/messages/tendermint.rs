//! `cosmos.base.tendermint.v1beta1`: blocks and validators, and the CometBFT types in them.

use super::{Any, PageRequest, PageResponse, Timestamp};

/// Calls of the service.
pub mod path {
    /// The newest block.
    pub const GET_LATEST_BLOCK: &str = "/cosmos.base.tendermint.v1beta1.Service/GetLatestBlock";
    /// A block by its height.
    pub const GET_BLOCK_BY_HEIGHT: &str = "/cosmos.base.tendermint.v1beta1.Service/GetBlockByHeight";
    /// The validators of the newest block, in pages.
    pub const GET_LATEST_VALIDATOR_SET: &str = "/cosmos.base.tendermint.v1beta1.Service/GetLatestValidatorSet";
    /// The validators of a block, in pages.
    pub const GET_VALIDATOR_SET_BY_HEIGHT: &str = "/cosmos.base.tendermint.v1beta1.Service/GetValidatorSetByHeight";
    /// A query of the application's store, with proof.
    pub const ABCI_QUERY: &str = "/cosmos.base.tendermint.v1beta1.Service/ABCIQuery";
}

/// Type URL of a validator's consensus key in an [`Any`] that holds a [`super::tx::PubKey`]. CometBFT's own type of the
/// key has the same fields.
pub const SECP256K1_TYPE_URL: &str = "/cosmos.crypto.secp256k1.PubKey";

/// Asks for the newest block.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct GetLatestBlockRequest {}

/// The newest block.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetLatestBlockResponse {
    /// Its hash.
    #[prost(message, optional, tag = "1")]
    pub block_id: Option<BlockId>,
    /// The block.
    #[prost(message, optional, tag = "2")]
    pub block: Option<Block>,
    /// The same block in the SDK's form, whose proposer is bech32; not looked into.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub sdk_block: Option<Vec<u8>>,
}

/// Asks for a block.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct GetBlockByHeightRequest {
    /// Its height.
    #[prost(int64, tag = "1")]
    pub height: i64,
}

/// A block.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetBlockByHeightResponse {
    /// Its hash.
    #[prost(message, optional, tag = "1")]
    pub block_id: Option<BlockId>,
    /// The block.
    #[prost(message, optional, tag = "2")]
    pub block: Option<Block>,
    /// The same block in the SDK's form, whose proposer is bech32; not looked into.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub sdk_block: Option<Vec<u8>>,
}

/// Asks for the newest validators.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetLatestValidatorSetRequest {
    /// Which page.
    #[prost(message, optional, tag = "1")]
    pub pagination: Option<PageRequest>,
}

/// Asks for the validators of a block.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetValidatorSetByHeightRequest {
    /// The block.
    #[prost(int64, tag = "1")]
    pub height: i64,
    /// Which page.
    #[prost(message, optional, tag = "2")]
    pub pagination: Option<PageRequest>,
}

/// A page of validators; the answer of both calls has this form.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ValidatorSetResponse {
    /// The block they belong to.
    #[prost(int64, tag = "1")]
    pub block_height: i64,
    /// The validators.
    #[prost(message, repeated, tag = "2")]
    pub validators: Vec<Validator>,
    /// Where the next page begins.
    #[prost(message, optional, tag = "3")]
    pub pagination: Option<PageResponse>,
}

/// One validator.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Validator {
    /// `bandvalcons1...`.
    #[prost(string, tag = "1")]
    pub address: String,
    /// Consensus key: see [`SECP256K1_TYPE_URL`].
    #[prost(message, optional, tag = "2")]
    pub pub_key: Option<Any>,
    /// Power.
    #[prost(int64, tag = "3")]
    pub voting_power: i64,
    /// State of the choice of the proposer.
    #[prost(int64, tag = "4")]
    pub proposer_priority: i64,
}

/// A query of the application's store.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AbciQueryRequest {
    /// The key.
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
    /// Such as `/store/oracle/key`.
    #[prost(string, tag = "2")]
    pub path: String,
    /// State after this block.
    #[prost(int64, tag = "3")]
    pub height: i64,
    /// Whether a proof is wanted.
    #[prost(bool, tag = "4")]
    pub prove: bool,
}

/// Answer of a query of the application's store.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AbciQueryResponse {
    /// 0 is success.
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// For people.
    #[prost(string, tag = "3")]
    pub log: String,
    /// For people.
    #[prost(string, tag = "4")]
    pub info: String,
    /// Place in the tree.
    #[prost(int64, tag = "5")]
    pub index: i64,
    /// The key.
    #[prost(bytes = "vec", tag = "6")]
    pub key: Vec<u8>,
    /// The value.
    #[prost(bytes = "vec", tag = "7")]
    pub value: Vec<u8>,
    /// The proof: see [`crate::ics23`].
    #[prost(message, optional, tag = "8")]
    pub proof_ops: Option<ProofOps>,
    /// State after this block.
    #[prost(int64, tag = "9")]
    pub height: i64,
    /// Module of the code.
    #[prost(string, tag = "10")]
    pub codespace: String,
}

/// Steps of a proof, from the key to the AppHash.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProofOps {
    /// The steps.
    #[prost(message, repeated, tag = "1")]
    pub ops: Vec<ProofOp>,
}

/// One step of a proof.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProofOp {
    /// `ics23:iavl` or `ics23:simple`.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// The key in that tree.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    /// An encoded `CommitmentProof`.
    #[prost(bytes = "vec", tag = "3")]
    pub data: Vec<u8>,
}

/// Hash of a block and of its parts.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BlockId {
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub hash: Vec<u8>,
    /// How the block travels.
    #[prost(message, optional, tag = "2")]
    pub part_set_header: Option<PartSetHeader>,
}

/// How a block travels.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PartSetHeader {
    /// Number of parts.
    #[prost(uint32, tag = "1")]
    pub total: u32,
    /// Root of their tree, 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub hash: Vec<u8>,
}

/// A block.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Block {
    /// Its header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    /// Its transactions.
    #[prost(message, optional, tag = "2")]
    pub data: Option<Data>,
    /// `EvidenceList`; not looked into.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub evidence: Option<Vec<u8>>,
    /// Signatures of the block before.
    #[prost(message, optional, tag = "4")]
    pub last_commit: Option<Commit>,
}

/// The transactions of a block.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Data {
    /// Their bytes.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub txs: Vec<Vec<u8>>,
}

/// Versions in a header.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Consensus {
    /// Of the block format.
    #[prost(uint64, tag = "1")]
    pub block: u64,
    /// Of the application.
    #[prost(uint64, tag = "2")]
    pub app: u64,
}

/// Header of a block; see [`crate::header`] for its hash.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Header {
    /// Versions.
    #[prost(message, optional, tag = "1")]
    pub version: Option<Consensus>,
    /// Name of the chain.
    #[prost(string, tag = "2")]
    pub chain_id: String,
    /// Height.
    #[prost(int64, tag = "3")]
    pub height: i64,
    /// Time.
    #[prost(message, optional, tag = "4")]
    pub time: Option<Timestamp>,
    /// The block before.
    #[prost(message, optional, tag = "5")]
    pub last_block_id: Option<BlockId>,
    /// Hash of its signatures.
    #[prost(bytes = "vec", tag = "6")]
    pub last_commit_hash: Vec<u8>,
    /// Hash of the transactions.
    #[prost(bytes = "vec", tag = "7")]
    pub data_hash: Vec<u8>,
    /// Hash of the validators.
    #[prost(bytes = "vec", tag = "8")]
    pub validators_hash: Vec<u8>,
    /// Hash of the next block's validators.
    #[prost(bytes = "vec", tag = "9")]
    pub next_validators_hash: Vec<u8>,
    /// Hash of the consensus parameters.
    #[prost(bytes = "vec", tag = "10")]
    pub consensus_hash: Vec<u8>,
    /// Root of the state after the block before.
    #[prost(bytes = "vec", tag = "11")]
    pub app_hash: Vec<u8>,
    /// Hash of the results of the block before.
    #[prost(bytes = "vec", tag = "12")]
    pub last_results_hash: Vec<u8>,
    /// Hash of the evidence.
    #[prost(bytes = "vec", tag = "13")]
    pub evidence_hash: Vec<u8>,
    /// 20 bytes.
    #[prost(bytes = "vec", tag = "14")]
    pub proposer_address: Vec<u8>,
}

/// The signatures of a block.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Commit {
    /// Height of the block.
    #[prost(int64, tag = "1")]
    pub height: i64,
    /// Round in which it was decided.
    #[prost(int32, tag = "2")]
    pub round: i32,
    /// The block.
    #[prost(message, optional, tag = "3")]
    pub block_id: Option<BlockId>,
    /// One entry per validator.
    #[prost(message, repeated, tag = "4")]
    pub signatures: Vec<CommitSig>,
}

/// Whether a validator voted, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum BlockIdFlag {
    /// Not allowed.
    Unknown = 0,
    /// No vote.
    Absent = 1,
    /// For this block.
    Commit = 2,
    /// For no block.
    Nil = 3,
}

/// One validator's vote.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CommitSig {
    /// Whether it voted.
    #[prost(enumeration = "BlockIdFlag", tag = "1")]
    pub block_id_flag: i32,
    /// 20 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub validator_address: Vec<u8>,
    /// When.
    #[prost(message, optional, tag = "3")]
    pub timestamp: Option<Timestamp>,
    /// 64 bytes.
    #[prost(bytes = "vec", tag = "4")]
    pub signature: Vec<u8>,
}
