//! Accounts of BandChain: 20 bytes, written in bech32.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::Address;
use bech32::{Bech32, Hrp};
use k256::ecdsa::VerifyingKey;

use crate::signature::validator_address;

/// An account: `RIPEMD160(sha256(compressed key))`. Written as `band1...`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BandAddress(pub [u8; 20]);

const ACCOUNT: &str = "band";
const OPERATOR: &str = "bandvaloper";
const CONSENSUS: &str = "bandvalcons";

/// Why a text is no address of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is no bech32, or its checksum is wrong.
    #[error("{0:?} is no bech32 address")]
    Malformed(String),
    /// It begins with another prefix.
    #[error("the address {text:?} does not begin with {prefix}1")]
    Prefix {
        /// The text.
        text: String,
        /// What it must begin with.
        prefix: &'static str,
    },
    /// It has not 20 bytes.
    #[error("the address {0:?} has not 20 bytes")]
    Length(String),
}

impl BandAddress {
    /// The account of a key.
    pub fn of_key(key: &VerifyingKey) -> Self {
        Self(validator_address(key.to_encoded_point(true).as_bytes()))
    }

    /// The account with these 20 bytes.
    pub fn from_bytes(bytes: Address) -> Self {
        Self(bytes.into_array())
    }

    /// As a validator's operator: `bandvaloper1...`.
    pub fn to_operator(&self) -> String {
        self.encode(OPERATOR)
    }

    /// As a validator's consensus address: `bandvalcons1...`.
    pub fn to_consensus(&self) -> String {
        self.encode(CONSENSUS)
    }

    /// Reads `band1...`.
    ///
    /// # Errors
    /// If it is no such address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        Self::decode(text, ACCOUNT)
    }

    /// Reads `bandvaloper1...`.
    ///
    /// # Errors
    /// If it is no such address.
    pub fn parse_operator(text: &str) -> Result<Self, AddressError> {
        Self::decode(text, OPERATOR)
    }

    /// Reads `bandvalcons1...`.
    ///
    /// # Errors
    /// If it is no such address.
    pub fn parse_consensus(text: &str) -> Result<Self, AddressError> {
        Self::decode(text, CONSENSUS)
    }

    fn encode(&self, prefix: &'static str) -> String {
        // The prefixes are valid and 20 bytes are short enough, so neither step fails.
        Hrp::parse(prefix).ok().and_then(|hrp| bech32::encode::<Bech32>(hrp, &self.0).ok()).unwrap_or_default()
    }

    fn decode(text: &str, prefix: &'static str) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed(text.chars().take(100).collect());
        let checked = bech32::primitives::decode::CheckedHrpstring::new::<Bech32>(text).map_err(|_| malformed())?;
        if checked.hrp().to_lowercase() != prefix {
            return Err(AddressError::Prefix { text: text.to_owned(), prefix });
        }
        let bytes: Vec<u8> = checked.byte_iter().collect();
        bytes.try_into().map(Self).map_err(|_| AddressError::Length(text.to_owned()))
    }
}

impl fmt::Display for BandAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encode(ACCOUNT))
    }
}

impl fmt::Debug for BandAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BandAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}
