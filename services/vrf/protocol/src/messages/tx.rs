//! `cosmos.tx.v1beta1`: transactions, how they are signed, sent and found again.

use prost::bytes::Bytes;

pub use super::{Any, Coin};
use super::{PageRequest, PageResponse};

/// Calls of the service.
pub mod path {
    /// Hands a transaction to a node.
    pub const BROADCAST_TX: &str = "/cosmos.tx.v1beta1.Service/BroadcastTx";
    /// Finds a transaction by its hash; `NOT_FOUND` until it is indexed.
    pub const GET_TX: &str = "/cosmos.tx.v1beta1.Service/GetTx";
    /// Finds transactions by their events.
    pub const GET_TXS_EVENT: &str = "/cosmos.tx.v1beta1.Service/GetTxsEvent";
    /// Estimates gas.
    pub const SIMULATE: &str = "/cosmos.tx.v1beta1.Service/Simulate";
}

/// What is signed about a transaction: its messages.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TxBody {
    /// The messages, executed in order; all or none take effect.
    #[prost(message, repeated, tag = "1")]
    pub messages: Vec<Any>,
    /// Free text.
    #[prost(string, tag = "2")]
    pub memo: String,
    /// Last block that may include it; 0 for any.
    #[prost(uint64, tag = "3")]
    pub timeout_height: u64,
    /// Extensions that must be understood.
    #[prost(message, repeated, tag = "1023")]
    pub extension_options: Vec<Any>,
    /// Extensions that may be ignored.
    #[prost(message, repeated, tag = "2047")]
    pub non_critical_extension_options: Vec<Any>,
}

/// What is signed about a transaction: who signs and what it costs.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AuthInfo {
    /// One entry per signer.
    #[prost(message, repeated, tag = "1")]
    pub signer_infos: Vec<SignerInfo>,
    /// The fee.
    #[prost(message, optional, tag = "2")]
    pub fee: Option<Fee>,
}

/// One signer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SignerInfo {
    /// A [`PubKey`].
    #[prost(message, optional, tag = "1")]
    pub public_key: Option<Any>,
    /// How it signs.
    #[prost(message, optional, tag = "2")]
    pub mode_info: Option<ModeInfo>,
    /// The account's sequence.
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
}

/// How somebody signs.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ModeInfo {
    /// With one key.
    #[prost(message, optional, tag = "1")]
    pub single: Option<ModeInfoSingle>,
    /// With several keys; not looked into.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub multi: Option<Vec<u8>>,
}

/// How one key signs.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ModeInfoSingle {
    /// 1 is SIGN_MODE_DIRECT.
    #[prost(int32, tag = "1")]
    pub mode: i32,
}

/// SIGN_MODE_DIRECT: the signature covers the bytes of [`SignDoc`].
pub const SIGN_MODE_DIRECT: i32 = 1;

/// `cosmos.crypto.secp256k1.PubKey`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PubKey {
    /// Compressed, 33 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
}

/// What a transaction costs.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Fee {
    /// Paid whether or not it succeeds.
    #[prost(message, repeated, tag = "1")]
    pub amount: Vec<Coin>,
    /// Most gas it may use.
    #[prost(uint64, tag = "2")]
    pub gas_limit: u64,
    /// Who pays; empty: the first signer.
    #[prost(string, tag = "3")]
    pub payer: String,
    /// Whose allowance pays.
    #[prost(string, tag = "4")]
    pub granter: String,
}

/// What is signed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SignDoc {
    /// Encoded [`TxBody`].
    #[prost(bytes = "vec", tag = "1")]
    pub body_bytes: Vec<u8>,
    /// Encoded [`AuthInfo`].
    #[prost(bytes = "vec", tag = "2")]
    pub auth_info_bytes: Vec<u8>,
    /// Name of the chain.
    #[prost(string, tag = "3")]
    pub chain_id: String,
    /// Number of the account.
    #[prost(uint64, tag = "4")]
    pub account_number: u64,
}

/// A transaction as it is broadcast.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TxRaw {
    /// Encoded [`TxBody`].
    #[prost(bytes = "vec", tag = "1")]
    pub body_bytes: Vec<u8>,
    /// Encoded [`AuthInfo`].
    #[prost(bytes = "vec", tag = "2")]
    pub auth_info_bytes: Vec<u8>,
    /// 64 bytes each.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub signatures: Vec<Vec<u8>>,
}

/// A transaction with its parts decoded. Encoding it again need not give the bytes that were signed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Tx {
    /// Its messages.
    #[prost(message, optional, tag = "1")]
    pub body: Option<TxBody>,
    /// Who signs.
    #[prost(message, optional, tag = "2")]
    pub auth_info: Option<AuthInfo>,
    /// 64 bytes each.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub signatures: Vec<Vec<u8>>,
}

/// What a node does before it answers a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum BroadcastMode {
    /// Not allowed.
    Unspecified = 0,
    /// Waits for the block; only on old chains.
    Block = 1,
    /// Checks the transaction.
    Sync = 2,
    /// Nothing.
    Async = 3,
}

/// Hands a transaction to a node.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BroadcastTxRequest {
    /// Encoded [`TxRaw`].
    #[prost(bytes = "bytes", tag = "1")]
    pub tx_bytes: Bytes,
    /// What the node does before it answers.
    #[prost(enumeration = "BroadcastMode", tag = "2")]
    pub mode: i32,
}

/// What the node says of the transaction.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BroadcastTxResponse {
    /// Hash, code and log.
    #[prost(message, optional, tag = "1")]
    pub tx_response: Option<TxResponse>,
}

/// Finds a transaction.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetTxRequest {
    /// Upper-case hex.
    #[prost(string, tag = "1")]
    pub hash: String,
}

/// A transaction that was found.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetTxResponse {
    /// The transaction.
    #[prost(message, optional, tag = "1")]
    pub tx: Option<Tx>,
    /// What became of it.
    #[prost(message, optional, tag = "2")]
    pub tx_response: Option<TxResponse>,
}

/// In which order transactions are returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum OrderBy {
    /// Oldest first.
    Unspecified = 0,
    /// Oldest first.
    Ascending = 1,
    /// Newest first.
    Descending = 2,
}

/// Finds transactions by their events.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetTxsEventRequest {
    /// Conditions such as `message.sender='band1...'`; up to SDK 0.47.
    #[prost(string, repeated, tag = "1")]
    pub events: Vec<String>,
    /// Which page; up to SDK 0.46.
    #[prost(message, optional, tag = "2")]
    pub pagination: Option<PageRequest>,
    /// In which order.
    #[prost(enumeration = "OrderBy", tag = "3")]
    pub order_by: i32,
    /// Which page, from 1; SDK 0.46 and later.
    #[prost(uint64, tag = "4")]
    pub page: u64,
    /// Most transactions per page; SDK 0.46 and later.
    #[prost(uint64, tag = "5")]
    pub limit: u64,
    /// Conditions joined by `AND`; SDK 0.50 and later.
    #[prost(string, tag = "6")]
    pub query: String,
}

/// Transactions that were found.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetTxsEventResponse {
    /// The transactions.
    #[prost(message, repeated, tag = "1")]
    pub txs: Vec<Tx>,
    /// What became of them, in the same order.
    #[prost(message, repeated, tag = "2")]
    pub tx_responses: Vec<TxResponse>,
    /// Which page; up to SDK 0.46.
    #[prost(message, optional, tag = "3")]
    pub pagination: Option<PageResponse>,
    /// Transactions in all.
    #[prost(uint64, tag = "4")]
    pub total: u64,
}

/// Asks what a transaction would use.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SimulateRequest {
    /// The transaction; before SDK 0.43.
    #[prost(message, optional, tag = "1")]
    pub tx: Option<Tx>,
    /// Encoded [`TxRaw`].
    #[prost(bytes = "bytes", tag = "2")]
    pub tx_bytes: Bytes,
}

/// What a transaction would use.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SimulateResponse {
    /// Gas.
    #[prost(message, optional, tag = "1")]
    pub gas_info: Option<GasInfo>,
    /// Data, log and events.
    #[prost(message, optional, tag = "2")]
    pub result: Option<SimulationResult>,
}

/// `cosmos.base.abci.v1beta1.GasInfo`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct GasInfo {
    /// Most it may use.
    #[prost(uint64, tag = "1")]
    pub gas_wanted: u64,
    /// What it uses.
    #[prost(uint64, tag = "2")]
    pub gas_used: u64,
}

/// `cosmos.base.abci.v1beta1.Result`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SimulationResult {
    /// Encoded answers of the messages.
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
    /// For people.
    #[prost(string, tag = "2")]
    pub log: String,
    /// Events.
    #[prost(message, repeated, tag = "3")]
    pub events: Vec<Event>,
    /// Encoded answers of the messages, SDK 0.46 and later.
    #[prost(message, repeated, tag = "4")]
    pub msg_responses: Vec<Any>,
}

/// `cosmos.base.abci.v1beta1.TxResponse`: what became of a transaction.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TxResponse {
    /// Block that holds it; 0 in the answer of a broadcast.
    #[prost(int64, tag = "1")]
    pub height: i64,
    /// Upper-case hex.
    #[prost(string, tag = "2")]
    pub txhash: String,
    /// Module of the code.
    #[prost(string, tag = "3")]
    pub codespace: String,
    /// 0 is success.
    #[prost(uint32, tag = "4")]
    pub code: u32,
    /// Hex of the encoded answers.
    #[prost(string, tag = "5")]
    pub data: String,
    /// Logs as JSON up to SDK 0.49, or the text of an error.
    #[prost(string, tag = "6")]
    pub raw_log: String,
    /// The same logs, decoded; up to SDK 0.49.
    #[prost(message, repeated, tag = "7")]
    pub logs: Vec<AbciMessageLog>,
    /// For people.
    #[prost(string, tag = "8")]
    pub info: String,
    /// Most gas it might use.
    #[prost(int64, tag = "9")]
    pub gas_wanted: i64,
    /// Gas it used.
    #[prost(int64, tag = "10")]
    pub gas_used: i64,
    /// The transaction, a [`Tx`].
    #[prost(message, optional, tag = "11")]
    pub tx: Option<Any>,
    /// Time of the block, RFC 3339.
    #[prost(string, tag = "12")]
    pub timestamp: String,
    /// All events, in order.
    #[prost(message, repeated, tag = "13")]
    pub events: Vec<Event>,
}

/// Logs of one message.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AbciMessageLog {
    /// Which message.
    #[prost(uint32, tag = "1")]
    pub msg_index: u32,
    /// For people.
    #[prost(string, tag = "2")]
    pub log: String,
    /// Its events.
    #[prost(message, repeated, tag = "3")]
    pub events: Vec<StringEvent>,
}

/// An event in a log.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StringEvent {
    /// Its type.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// Its attributes, in order.
    #[prost(message, repeated, tag = "2")]
    pub attributes: Vec<Attribute>,
}

/// An attribute of an event in a log.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Attribute {
    /// Name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `tendermint.abci.Event`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Event {
    /// Its type, such as `request`.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// Its attributes, in order.
    #[prost(message, repeated, tag = "2")]
    pub attributes: Vec<EventAttribute>,
}

/// `tendermint.abci.EventAttribute`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EventAttribute {
    /// Name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
    /// Whether the node indexes it.
    #[prost(bool, tag = "3")]
    pub index: bool,
}
