//! Naming a key.

use std::path::PathBuf;

use alloy_primitives::Address;
use url::Url;
use windlass_keys::{KeyConfig, SecretSource};
use windlass_node::config::{Keys, SecretText};

/// The four ways to name a key.
#[derive(Debug, Clone)]
pub enum AccountKey {
    /// 64 hexadecimal digits.
    PrivateKey(SecretText),
    /// A Web3 Secret Storage file and its password.
    Keystore(PathBuf, SecretText),
    /// A recovery phrase and the index of the account.
    Mnemonic(SecretText, u32),
    /// A remote signer and the account.
    Web3Signer(Url, Address),
}

impl AccountKey {
    /// The key, ready to be opened.
    pub fn key_config(&self) -> KeyConfig {
        match self {
            Self::PrivateKey(text) => KeyConfig::PrivateKey(secret(text)),
            Self::Keystore(path, password) => KeyConfig::Keystore { path: path.clone(), password: secret(password) },
            Self::Mnemonic(phrase, index) => KeyConfig::Mnemonic { phrase: secret(phrase), index: *index, path: None },
            Self::Web3Signer(url, address) => KeyConfig::Web3signer { url: url.clone(), address: *address },
        }
    }
}

/// A configured secret as something that can be resolved: `env:NAME`, `file:PATH`, `command:PROGRAM`, or the secret itself.
pub fn secret(text: &SecretText) -> SecretSource {
    match text.expose().parse() {
        Ok(source) => source,
        Err(never) => match never {},
    }
}

/// What the example file shows for the secrets of a service. They differ so that two sections do not seem to share a key.
#[derive(Debug, Clone, Copy)]
pub struct Examples {
    /// For `private_key`.
    pub private_key: Option<&'static str>,
    /// For `keystore`: a path.
    pub keystore: &'static str,
    /// For `password`.
    pub password: Option<&'static str>,
    /// For `mnemonic`.
    pub mnemonic: Option<&'static str>,
}

/// A key as a table names it.
#[derive(Debug, Clone)]
pub struct NamedKey {
    /// The key; an empty private key if none is named, which the caller's check refuses.
    pub key: AccountKey,
    /// How many of the four ways are complete.
    pub complete: usize,
    /// How many are begun.
    pub begun: usize,
}

impl NamedKey {
    /// Every key of the table that [`read`](Self::read) reads and that decides, but the first: what a check of them is about.
    pub const OTHERS: [&'static str; 5] = ["keystore", "password", "mnemonic", "web3signer", "address"];
    /// What the operator can do when not exactly one is named.
    pub const HINT: &'static str = "give one of private_key, keystore with password, mnemonic, or web3signer with address";

    /// Reads the keys `private_key`, `keystore`, `password`, `mnemonic`, `index`, `web3signer` and `address`. The caller checks that exactly
    /// one is named, under the key where its operators look for it.
    pub fn read(keys: &mut Keys<'_>, examples: &Examples) -> Self {
        let private_key = optional(keys, "private_key", "The private key, 64 hexadecimal digits.", examples.private_key);
        let keystore = keys.path("keystore").doc("A Web3 Secret Storage file.").example(examples.keystore).optional();
        let password = optional(keys, "password", "Password of the keystore.", examples.password);
        let mnemonic = optional(keys, "mnemonic", "A recovery phrase.", examples.mnemonic);
        let index = keys.integer("index").doc("Which account of the phrase.").range(0..=1_000_000).default("0");
        let web3signer = keys.url("web3signer").doc("Address of a Web3Signer.").example("http://signer:9000").optional();
        let address = keys.address("address").doc("The account at the Web3Signer.").optional();
        let begun = [private_key.is_some(), keystore.is_some(), mnemonic.is_some(), web3signer.is_some()];
        let ways = [
            private_key.map(AccountKey::PrivateKey),
            keystore.zip(password).map(|(path, password)| AccountKey::Keystore(path, password)),
            mnemonic.map(|phrase| AccountKey::Mnemonic(phrase, index)),
            web3signer.zip(address).map(|(url, address)| AccountKey::Web3Signer(url, address)),
        ];
        Self {
            complete: ways.iter().flatten().count(),
            begun: begun.iter().filter(|begun| **begun).count(),
            key: ways.into_iter().flatten().next().unwrap_or_else(|| AccountKey::PrivateKey(SecretText::default())),
        }
    }

    /// Whether exactly one way is begun, and complete.
    pub const fn is_one(&self) -> bool {
        self.complete == 1 && self.begun == 1
    }
}

fn optional(keys: &mut Keys<'_>, name: &'static str, doc: &'static str, example: Option<&'static str>) -> Option<SecretText> {
    let key = keys.secret(name).doc(doc);
    match example {
        Some(example) => key.example(example).optional(),
        None => key.optional(),
    }
}
