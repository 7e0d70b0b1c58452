//! `cosmos.auth.v1beta1`: account number and sequence.

use super::Any;

/// Calls of the service.
pub mod path {
    /// Account number and sequence of one address. `NOT_FOUND`: the account has never received coins.
    pub const ACCOUNT_INFO: &str = "/cosmos.auth.v1beta1.Query/AccountInfo";
    /// The same for chains before SDK 0.47: the account in an `Any`.
    pub const ACCOUNT: &str = "/cosmos.auth.v1beta1.Query/Account";
}

/// Type URL of [`BaseAccount`] in an answer of `Account`.
pub const BASE_ACCOUNT_TYPE_URL: &str = "/cosmos.auth.v1beta1.BaseAccount";

/// Asks for one account.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryAccountInfoRequest {
    /// Bech32.
    #[prost(string, tag = "1")]
    pub address: String,
}

/// One account.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueryAccountInfoResponse {
    /// The account.
    #[prost(message, optional, tag = "1")]
    pub info: Option<BaseAccount>,
}

/// Asks for one account of any type.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryAccountRequest {
    /// Bech32.
    #[prost(string, tag = "1")]
    pub address: String,
}

/// One account of any type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueryAccountResponse {
    /// Usually a [`BaseAccount`].
    #[prost(message, optional, tag = "1")]
    pub account: Option<Any>,
}

/// An ordinary account.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BaseAccount {
    /// Bech32.
    #[prost(string, tag = "1")]
    pub address: String,
    /// Known once the account has signed something.
    #[prost(message, optional, tag = "2")]
    pub pub_key: Option<Any>,
    /// Number that every signature covers.
    #[prost(uint64, tag = "3")]
    pub account_number: u64,
    /// Sequence of the next transaction.
    #[prost(uint64, tag = "4")]
    pub sequence: u64,
}
