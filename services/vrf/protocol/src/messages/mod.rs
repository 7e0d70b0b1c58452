//! The protobuf messages of the Cosmos SDK, CometBFT and BandChain that the relay, its tests and its simulator exchange.
//!
//! They are written by hand with `prost` derives, so no protobuf compiler is needed. A struct has the name of its message,
//! one field per protobuf field, and the field's number. Messages that nobody here looks into are kept as bytes, which has
//! the same encoding. Unknown fields are skipped when decoding, so an encoded copy may be shorter than what came in; bytes
//! that were signed are therefore always kept as they came.
//!
//! Each service has a `path` module with one constant per call, in the form gRPC wants it: `/package.Service/Method`.

pub mod auth;
pub mod bank;
pub mod oracle;
pub mod proof;
pub mod tendermint;
pub mod tx;

/// `google.protobuf.Any`: an encoded message with its type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    /// `/package.Message`.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Timestamp {
    /// Unix seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds within the second.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `cosmos.base.v1beta1.Coin`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Coin {
    /// Smallest unit, such as `uband`.
    #[prost(string, tag = "1")]
    pub denom: String,
    /// Decimal integer.
    #[prost(string, tag = "2")]
    pub amount: String,
}

/// `cosmos.base.query.v1beta1.PageRequest`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PageRequest {
    /// Where the previous page ended.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Items to skip; not together with `key`.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    /// Most items to return.
    #[prost(uint64, tag = "3")]
    pub limit: u64,
    /// Whether the total is wanted.
    #[prost(bool, tag = "4")]
    pub count_total: bool,
    /// Descending order.
    #[prost(bool, tag = "5")]
    pub reverse: bool,
}

/// `cosmos.base.query.v1beta1.PageResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PageResponse {
    /// Where the next page begins; empty at the end.
    #[prost(bytes = "vec", tag = "1")]
    pub next_key: Vec<u8>,
    /// Items in all, if it was asked for.
    #[prost(uint64, tag = "2")]
    pub total: u64,
}
