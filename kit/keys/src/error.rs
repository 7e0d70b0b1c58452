//! What can go wrong with a key, as data.

use std::path::PathBuf;

use alloy_primitives::{Address, B256};

/// Every failure of this crate. No variant carries key material, a password, or a full URL.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A private key is not 32 bytes of hexadecimal text, or is not a scalar of secp256k1.
    #[error("{what} is not a private key: {reason}")]
    InvalidKey {
        /// Where the key was given.
        what: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A secret source names an environment variable that is not set.
    #[error("environment variable {name} is not set")]
    MissingVariable {
        /// The variable.
        name: String,
    },
    /// A file with a secret cannot be read.
    #[error("cannot read {path}")]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file with a secret cannot be written.
    #[error("cannot write {path}")]
    WriteFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file with a secret can be read by others.
    #[error("{path} can be read by other users (mode {mode:03o})")]
    OpenPermissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The command that prints a secret failed.
    #[error("the command {program} that should print a secret failed: {reason}")]
    Command {
        /// The program, without its arguments.
        program: String,
        /// Exit status or cause.
        reason: String,
    },
    /// A source resolved to an empty text.
    #[error("{what} is empty")]
    Empty {
        /// The source.
        what: String,
    },
    /// A recovery phrase is not valid under BIP-39.
    #[error("the recovery phrase is not valid: {reason}")]
    Mnemonic {
        /// Which rule it breaks; never the words.
        reason: String,
    },
    /// A derivation path is not valid under BIP-32.
    #[error("`{path}` is not a derivation path: {reason}")]
    DerivationPath {
        /// The path as given.
        path: String,
        /// Which rule it breaks.
        reason: String,
    },
    /// A keystore file is not Web3 Secret Storage version 3, or asks for absurd parameters.
    #[error("the keystore is not usable: {reason}")]
    Keystore {
        /// Which field, and why.
        reason: String,
    },
    /// The password does not open the keystore.
    #[error("the password does not open the keystore")]
    WrongPassword,
    /// The remote signer did not answer as its interface says.
    #[error("remote signer {host}: {reason}")]
    RemoteSigner {
        /// Host and port only.
        host: String,
        /// What it answered or why it could not be reached.
        reason: String,
        /// Whether the same request may succeed later.
        transient: bool,
    },
    /// The remote signer has no key for the wanted address.
    #[error("remote signer {host} has no key for {address}")]
    UnknownKey {
        /// Host and port only.
        host: String,
        /// The address.
        address: Address,
    },
    /// A signature does not recover to the signer's address.
    #[error("the signature is by {recovered}, not by {expected}")]
    WrongSigner {
        /// Who should have signed.
        expected: Address,
        /// Who did.
        recovered: Address,
    },
    /// Something else was already promised in this slot.
    #[error("slot {slot} of {domain} was already signed with digest {signed}; {asked} is refused")]
    Conflict {
        /// Kind of promise.
        domain: String,
        /// The slot.
        slot: String,
        /// What was signed first.
        signed: B256,
        /// What was asked now.
        asked: B256,
    },
    /// A sign-once export is malformed.
    #[error("line {line} of the sign-once file: {reason}")]
    Import {
        /// Counted from 1.
        line: usize,
        /// Which rule it breaks.
        reason: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] windlass_store::StoreError),
}

impl KeyError {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::RemoteSigner { transient, .. } => *transient,
            Self::Store(error) => error.is_transient(),
            _ => false,
        }
    }

    /// What an operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::InvalidKey { .. } => "give 32 bytes as 64 hexadecimal digits, with or without 0x".to_owned(),
            Self::MissingVariable { name } => format!("set {name}, or name another source"),
            Self::OpenPermissions { path, .. } => format!("run: chmod 600 {}", path.display()),
            Self::Mnemonic { .. } => "give 12, 15, 18, 21 or 24 English words of BIP-39, separated by blanks".to_owned(),
            Self::DerivationPath { .. } => "write it like m/44'/60'/0'/0/0".to_owned(),
            Self::WrongPassword => "check the password file: a line end at its end is ignored, other blanks count".to_owned(),
            Self::UnknownKey { .. } => "load the key into the signer, or correct the address".to_owned(),
            Self::Conflict { .. } => {
                "nothing was signed; if the slot was signed by an older installation, this is the guard at work".to_owned()
            }
            _ => return None,
        })
    }
}
