//! `band.oracle.v1`: the request message, stored results, and the state of a request.

use super::Coin;

/// Calls of the query service.
pub mod path {
    /// State of one request. Before a request is resolved there is no result in the answer.
    pub const REQUEST: &str = "/band.oracle.v1.Query/Request";
    /// The same on chain v2.
    pub const REQUEST_V2: &str = "/oracle.v1.Query/Request";
    /// Parameters of the oracle module.
    pub const PARAMS: &str = "/band.oracle.v1.Query/Params";
    /// The same on chain v2.
    pub const PARAMS_V2: &str = "/oracle.v1.Query/Params";
}

/// `band.oracle.v1.MsgRequestData`; on chain v2 `oracle.v1.MsgRequestData`, which has no field 10.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MsgRequestData {
    /// Which oracle script runs.
    #[prost(uint64, tag = "1")]
    pub oracle_script_id: u64,
    /// Its OBI-encoded input.
    #[prost(bytes = "vec", tag = "2")]
    pub calldata: Vec<u8>,
    /// How many validators are asked.
    #[prost(uint64, tag = "3")]
    pub ask_count: u64,
    /// How many of them must answer.
    #[prost(uint64, tag = "4")]
    pub min_count: u64,
    /// Free text of the requester, at most 128 bytes.
    #[prost(string, tag = "5")]
    pub client_id: String,
    /// Most that data sources may cost.
    #[prost(message, repeated, tag = "6")]
    pub fee_limit: Vec<Coin>,
    /// Gas to prepare the raw requests.
    #[prost(uint64, tag = "7")]
    pub prepare_gas: u64,
    /// Gas to execute the script.
    #[prost(uint64, tag = "8")]
    pub execute_gas: u64,
    /// Who pays. Bech32.
    #[prost(string, tag = "9")]
    pub sender: String,
    /// How a threshold signature would be encoded; 0 for none.
    #[prost(int32, tag = "10")]
    pub tss_encoder: i32,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ResolveStatus {
    /// Not yet.
    Open = 0,
    /// With a result.
    Success = 1,
    /// The script failed.
    Failure = 2,
    /// Too few reports in time.
    Expired = 3,
}

/// `band.oracle.v1.Result`: what the oracle store keeps for a resolved request, under `0xff || uint64be(request_id)`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Result {
    /// Free text of the requester.
    #[prost(string, tag = "1")]
    pub client_id: String,
    /// Which oracle script ran.
    #[prost(uint64, tag = "2")]
    pub oracle_script_id: u64,
    /// Its input.
    #[prost(bytes = "vec", tag = "3")]
    pub calldata: Vec<u8>,
    /// How many validators were asked.
    #[prost(uint64, tag = "4")]
    pub ask_count: u64,
    /// How many had to answer.
    #[prost(uint64, tag = "5")]
    pub min_count: u64,
    /// Number of the request.
    #[prost(uint64, tag = "6")]
    pub request_id: u64,
    /// How many answered.
    #[prost(uint64, tag = "7")]
    pub ans_count: u64,
    /// Unix seconds of the block that made the request.
    #[prost(int64, tag = "8")]
    pub request_time: i64,
    /// Unix seconds of the block that resolved it.
    #[prost(int64, tag = "9")]
    pub resolve_time: i64,
    /// How it ended.
    #[prost(enumeration = "ResolveStatus", tag = "10")]
    pub resolve_status: i32,
    /// OBI-encoded output of the script.
    #[prost(bytes = "vec", tag = "11")]
    pub result: Vec<u8>,
}

/// Asks for the state of a request.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryRequestRequest {
    /// Number of the request.
    #[prost(uint64, tag = "1")]
    pub request_id: u64,
}

/// State of a request.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryRequestResponse {
    /// The request; the chain forgets it some time after it is resolved.
    #[prost(message, optional, tag = "1")]
    pub request: Option<Request>,
    /// Reports that have come in.
    #[prost(message, repeated, tag = "2")]
    pub reports: Vec<Report>,
    /// There once it is resolved.
    #[prost(message, optional, tag = "3")]
    pub result: Option<Result>,
    /// `SigningResult`; not looked into.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub signing: Option<Vec<u8>>,
}

/// A request that is waiting or was served lately.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Request {
    /// Which oracle script runs.
    #[prost(uint64, tag = "1")]
    pub oracle_script_id: u64,
    /// Its input.
    #[prost(bytes = "vec", tag = "2")]
    pub calldata: Vec<u8>,
    /// The validators that were picked: `bandvaloper1...`.
    #[prost(string, repeated, tag = "3")]
    pub requested_validators: Vec<String>,
    /// How many must answer.
    #[prost(uint64, tag = "4")]
    pub min_count: u64,
    /// Block that made it.
    #[prost(int64, tag = "5")]
    pub request_height: i64,
    /// Unix seconds of that block.
    #[prost(int64, tag = "6")]
    pub request_time: i64,
    /// Free text of the requester.
    #[prost(string, tag = "7")]
    pub client_id: String,
    /// What the data sources are asked.
    #[prost(message, repeated, tag = "8")]
    pub raw_requests: Vec<RawRequest>,
    /// `IBCChannel`; not looked into.
    #[prost(bytes = "vec", optional, tag = "9")]
    pub ibc_channel: Option<Vec<u8>>,
    /// Gas to execute the script.
    #[prost(uint64, tag = "10")]
    pub execute_gas: u64,
    /// How a threshold signature would be encoded.
    #[prost(int32, tag = "11")]
    pub tss_encoder: i32,
    /// Who pays. Bech32.
    #[prost(string, tag = "12")]
    pub requester: String,
    /// Most that data sources may cost.
    #[prost(message, repeated, tag = "13")]
    pub fee_limit: Vec<Coin>,
}

/// One question to one data source.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RawRequest {
    /// Number within the request.
    #[prost(uint64, tag = "1")]
    pub external_id: u64,
    /// Which data source.
    #[prost(uint64, tag = "2")]
    pub data_source_id: u64,
    /// Its input; for the VRF script the text `<seed hex> <time decimal>`.
    #[prost(bytes = "vec", tag = "3")]
    pub calldata: Vec<u8>,
}

/// The answer of one validator.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Report {
    /// `bandvaloper1...`.
    #[prost(string, tag = "1")]
    pub validator: String,
    /// Whether it came in time to count.
    #[prost(bool, tag = "2")]
    pub in_before_resolve: bool,
    /// Answers of the data sources.
    #[prost(message, repeated, tag = "3")]
    pub raw_reports: Vec<RawReport>,
}

/// The answer of one data source.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RawReport {
    /// Number within the request.
    #[prost(uint64, tag = "1")]
    pub external_id: u64,
    /// 0 is success.
    #[prost(uint32, tag = "2")]
    pub exit_code: u32,
    /// The answer.
    #[prost(bytes = "vec", tag = "3")]
    pub data: Vec<u8>,
}

/// Asks for the parameters of the oracle module.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct QueryParamsRequest {}

/// The parameters of the oracle module.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryParamsResponse {
    /// The parameters.
    #[prost(message, optional, tag = "1")]
    pub params: Option<Params>,
}

/// Parameters of the oracle module.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Params {
    /// Most data sources a request may ask.
    #[prost(uint64, tag = "1")]
    pub max_raw_request_count: u64,
    /// Most validators a request may ask.
    #[prost(uint64, tag = "2")]
    pub max_ask_count: u64,
    /// Longest calldata in bytes.
    #[prost(uint64, tag = "3")]
    pub max_calldata_size: u64,
    /// Longest report in bytes.
    #[prost(uint64, tag = "4")]
    pub max_report_data_size: u64,
    /// Blocks until an unanswered request expires.
    #[prost(uint64, tag = "5")]
    pub expiration_block_count: u64,
    /// Gas charged for each run of a script.
    #[prost(uint64, tag = "6")]
    pub base_owasm_gas: u64,
    /// Gas charged per validator asked.
    #[prost(uint64, tag = "7")]
    pub per_validator_request_gas: u64,
    /// How often a set of validators is drawn before the strongest is taken.
    #[prost(uint64, tag = "8")]
    pub sampling_try_count: u64,
    /// Share of block rewards for oracle validators.
    #[prost(uint64, tag = "9")]
    pub oracle_reward_percentage: u64,
    /// Nanoseconds that a validator is kept out after a missed report.
    #[prost(uint64, tag = "10")]
    pub inactive_penalty_duration: u64,
    /// Whether requests over IBC are allowed.
    #[prost(bool, tag = "11")]
    pub ibc_request_enabled: bool,
}
