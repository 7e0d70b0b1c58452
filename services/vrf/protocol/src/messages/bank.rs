//! `cosmos.bank.v1beta1`: balances.

use super::Coin;

/// Calls of the service.
pub mod path {
    /// Balance of one address in one denomination.
    pub const BALANCE: &str = "/cosmos.bank.v1beta1.Query/Balance";
}

/// Asks for one balance.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryBalanceRequest {
    /// Bech32.
    #[prost(string, tag = "1")]
    pub address: String,
    /// Such as `uband`.
    #[prost(string, tag = "2")]
    pub denom: String,
}

/// One balance.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryBalanceResponse {
    /// Always there, with amount `0` for an unknown address.
    #[prost(message, optional, tag = "1")]
    pub balance: Option<Coin>,
}
