//! Keys and promises: secrets that are never printed, signers in memory and in other processes, recovery phrases, keystores, and the guard
//! that never lets two different things be signed for one slot.

pub mod config;
pub mod error;
pub mod keystore;
pub mod mnemonic;
mod recover;
pub mod secret;
pub mod sign_once;
pub mod signer;
pub mod web3signer;

pub use config::KeyConfig;
pub use error::KeyError;
pub use keystore::Keystore;
pub use mnemonic::{Coin, Mnemonic};
pub use recover::recover;
pub use secret::{Secret, SecretSource};
pub use signer::{LocalSigner, Signer};
pub use web3signer::Web3Signer;
