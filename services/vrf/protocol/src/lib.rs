//! The bytes of the VRF relay between BandChain and an EVM chain: what is encoded, hashed, signed and verified. Pure functions
//! without IO, clock or randomness, shared by the service, the BandChain simulator, the conformance runners and the fuzzers.
//!
//! | From | To | Modules |
//! | --- | --- | --- |
//! | a task of the provider | a request on BandChain | [`task`], [`seed`], [`obi`], [`tx`], [`events`] |
//! | a stored result | the root of the oracle store | [`oracle_result`], [`iavl`] |
//! | that root | the AppHash | [`multistore`] |
//! | the AppHash | the block hash | [`header`], [`merkle`] |
//! | the block hash | the signers and their power | [`vote`], [`signature`], [`validators`] |
//! | all of it | proof bytes for the Bridge, fewer signatures, a verdict | [`proof`], [`assemble`], [`trim`], [`verify`] |
//! | answers of a Band node | the above | [`messages`], [`ics23`] |
//!
//! Where a contract would refuse something, the result is a [`Refusal`] with the contract's exact reason.

pub mod assemble;
pub mod contract;
pub mod events;
pub mod header;
pub mod iavl;
pub mod ics23;
pub mod merkle;
pub mod messages;
pub mod multistore;
pub mod obi;
pub mod oracle_result;
pub mod proof;
pub mod refusal;
pub mod seed;
pub mod signature;
mod solidity;
pub mod task;
pub mod trim;
pub mod tx;
pub mod validators;
pub mod varint;
pub mod verify;
pub mod vote;

pub use alloy_primitives::{Address, B256, Bytes, U256};
pub use refusal::Refusal;
