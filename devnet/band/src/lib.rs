//! A BandChain simulator: what a VRF relay needs of BandChain, with proofs that the Bridge accepts.
//!
//! [`Chain`] is the core: no clock, no IO, deterministic. [`BandDevnet`] puts it behind gRPC, the REST gateway and CometBFT
//! RPC. [`build_proof`] makes a proof from inputs that are all given.

mod chain;
mod config;
mod devnet;
mod error;
mod faults;
mod proof;
mod server;
mod tree;
mod validators;

pub use chain::{
    Account, Block, Chain, CheckAnswer, Commit, IncludedTx, OracleRequest, RequestState, ResolvedRequest, ServedProof,
    StoreAnswer, Vote,
};
pub use config::{BandConfig, DENOM, GenesisAccount, GenesisValidator, MAX_CHAIN_ID_LENGTH, ResultVersion};
pub use devnet::BandDevnet;
pub use error::{BuildError, DevnetError, QueryError};
pub use faults::{CallFault, CallRule, Faults};
pub use proof::{BuiltProof, ProofInputs, build_proof};
pub use tree::StoreItem;
pub use validators::{Validator, ValidatorSet};
