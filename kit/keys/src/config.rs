//! How an operator names the key of an account.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use serde::Deserialize;
use url::Url;

use crate::mnemonic::{Coin, Mnemonic};
use crate::{KeyError, Keystore, LocalSigner, Secret, SecretSource, Signer, Web3Signer};

/// How long one request to a remote signer may take.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(10);

/// One key: exactly one of the four ways, each with what it needs.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum KeyConfig {
    /// A private key, 64 hexadecimal digits.
    PrivateKey(SecretSource),
    /// A Web3 Secret Storage file.
    Keystore {
        /// The file.
        path: PathBuf,
        /// Its password.
        password: SecretSource,
    },
    /// A recovery phrase.
    Mnemonic {
        /// The words.
        phrase: SecretSource,
        /// Which account of `m/44'/60'/0'/0/`; 0 when left out.
        #[serde(default)]
        index: u32,
        /// Another BIP-32 path, instead of `index`.
        #[serde(default)]
        path: Option<String>,
    },
    /// A remote signer with the Web3Signer interface.
    Web3signer {
        /// Its base URL.
        url: Url,
        /// The account.
        address: Address,
    },
}

impl KeyConfig {
    /// Whether a secret stands in the configuration in clear, which deserves a warning.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        match self {
            Self::PrivateKey(source) => source.is_plain(),
            Self::Keystore { password, .. } => password.is_plain(),
            Self::Mnemonic { phrase, .. } => phrase.is_plain(),
            Self::Web3signer { .. } => false,
        }
    }

    /// Opens the key. A keystore takes about a second of processor time, a command as long as it takes: both run beside the executor.
    pub async fn open(&self) -> Result<Arc<dyn Signer>, KeyError> {
        if let Self::Web3signer { url, address } = self {
            return Ok(Arc::new(Web3Signer::connect(url, *address, REMOTE_TIMEOUT).await?));
        }
        let config = self.clone();
        let opened = tokio::task::spawn_blocking(move || config.open_local()).await;
        match opened {
            Ok(signer) => Ok(Arc::new(signer?)),
            // The closure cannot panic and is never cancelled, except when the runtime itself goes down.
            Err(_) => Err(KeyError::Empty { what: "the key (the program is stopping)".to_owned() }),
        }
    }

    fn open_local(&self) -> Result<LocalSigner, KeyError> {
        match self {
            Self::PrivateKey(source) => LocalSigner::from_hex(&source.resolve()?),
            Self::Keystore { path, password } => Keystore::read(path)?.decrypt(&password.resolve()?),
            Self::Mnemonic { phrase, index, path } => {
                let path = path.clone().unwrap_or_else(|| Coin::Ethereum.path(*index));
                Mnemonic::parse(&phrase.resolve()?)?.derive_path(&path, &Secret::new(String::new()))
            }
            Self::Web3signer { url, address } => {
                Err(KeyError::UnknownKey { host: url.host_str().unwrap_or_default().to_owned(), address: *address })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use alloy_primitives::address;
    use serde_json::json;

    use super::*;
    use crate::keystore::Strength;

    const DEV_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    #[tokio::test]
    async fn each_way_opens_the_same_account() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.json");
        let signer = LocalSigner::from_hex(&Secret::new(DEV_KEY.to_owned())).unwrap();
        Keystore::encrypt(&signer, &Secret::new("pw".to_owned()), Strength::Light).unwrap().write(&path).unwrap();
        for config in [
            json!({ "private_key": DEV_KEY }),
            json!({ "keystore": { "path": path, "password": "pw" } }),
            json!({ "mnemonic": { "phrase": "test test test test test test test test test test test junk" } }),
            json!({ "mnemonic": { "phrase": "test test test test test test test test test test test junk", "path": "m/44'/60'/0'/0/0" } }),
        ] {
            let config: KeyConfig = serde_json::from_value(config).unwrap();
            assert!(config.is_plain());
            assert!(!format!("{config:?}").contains("junk") && !format!("{config:?}").contains("ac0974"));
            let opened = config.open().await.unwrap();
            assert_eq!(opened.address(), address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"));
        }
    }

    #[test]
    fn two_ways_at_once_or_an_unknown_one_are_refused() {
        for config in [
            json!({ "private_key": "x", "keystore": { "path": "y", "password": "z" } }),
            json!({ "ledger": {} }),
            json!({ "keystore": { "path": "y", "password": "z", "pasword": "z" } }),
        ] {
            assert!(serde_json::from_value::<KeyConfig>(config).is_err());
        }
    }
}
