//! Recovery phrases (BIP-39), key derivation (BIP-32, BIP-44), and the addresses that the derived keys have on the chains we work for.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::Address;
use bip32::{DerivationPath, XPrv};
use k256::ecdsa::{SigningKey, VerifyingKey};
use ripemd::Ripemd160;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{KeyError, LocalSigner, Secret};

/// A chain family, by its registered BIP-44 coin type (SLIP-44).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coin {
    /// Coin type 60; addresses with EIP-55 checksum. Also right for every other EVM chain.
    Ethereum,
    /// Coin type 0; pay-to-public-key-hash addresses of the main network (`1…`).
    Bitcoin,
    /// Coin type 118; bech32 with the prefix `cosmos`.
    Cosmos,
    /// Coin type 494; bech32 with the prefix `band`.
    Band,
}

impl Coin {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Ethereum, Self::Bitcoin, Self::Cosmos, Self::Band];

    /// The coin type of SLIP-44.
    #[must_use]
    pub const fn coin_type(self) -> u32 {
        match self {
            Self::Ethereum => 60,
            Self::Bitcoin => 0,
            Self::Cosmos => 118,
            Self::Band => 494,
        }
    }

    /// The name on the command line and in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ethereum => "ethereum",
            Self::Bitcoin => "bitcoin",
            Self::Cosmos => "cosmos",
            Self::Band => "band",
        }
    }

    /// The BIP-44 path of the first account's external address number `index`.
    #[must_use]
    pub fn path(self, index: u32) -> String {
        format!("m/44'/{}'/0'/0/{index}", self.coin_type())
    }

    /// The address of a public key in this family's notation.
    pub fn address(self, key: &VerifyingKey) -> Result<String, KeyError> {
        let hash160 = || Ripemd160::digest(Sha256::digest(key.to_encoded_point(true).as_bytes()));
        let bech32 = |prefix: &str| {
            let failed = |reason: String| KeyError::Mnemonic { reason };
            let prefix = bech32::Hrp::parse(prefix).map_err(|error| failed(error.to_string()))?;
            bech32::encode::<bech32::Bech32>(prefix, &hash160()).map_err(|error| failed(error.to_string()))
        };
        match self {
            Self::Ethereum => Ok(Address::from_public_key(key).to_checksum(None)),
            Self::Bitcoin => {
                let mut payload = vec![0_u8];
                payload.extend_from_slice(&hash160());
                Ok(bs58::encode(payload).with_check().into_string())
            }
            Self::Cosmos => bech32("cosmos"),
            Self::Band => bech32("band"),
        }
    }
}

impl fmt::Display for Coin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Coin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|coin| coin.name() == text)
            .ok_or_else(|| format!("`{text}` is not one of ethereum, bitcoin, cosmos, band"))
    }
}

/// A BIP-39 recovery phrase with English words. Its words are never printed by `Debug`.
#[derive(Clone)]
pub struct Mnemonic(Zeroizing<bip39::Mnemonic>);

impl Mnemonic {
    /// A fresh phrase of 12, 15, 18, 21 or 24 words from the operating system's generator.
    pub fn generate(words: usize) -> Result<Self, KeyError> {
        if !matches!(words, 12 | 15 | 18 | 21 | 24) {
            return Err(KeyError::Mnemonic { reason: format!("{words} is not a length of BIP-39") });
        }
        // Four bytes of entropy give three words.
        let mut entropy = Zeroizing::new(vec![0_u8; words / 3 * 4]);
        k256::elliptic_curve::rand_core::RngCore::fill_bytes(&mut k256::elliptic_curve::rand_core::OsRng, &mut entropy);
        bip39::Mnemonic::from_entropy(&entropy)
            .map(|phrase| Self(Zeroizing::new(phrase)))
            .map_err(|error| KeyError::Mnemonic { reason: error.to_string() })
    }

    /// Reads a phrase; its number of words, each word and the checksum must be right.
    pub fn parse(phrase: &Secret<String>) -> Result<Self, KeyError> {
        use bip39::Error;
        bip39::Mnemonic::parse_in(bip39::Language::English, phrase.expose().as_str())
            .map(|phrase| Self(Zeroizing::new(phrase)))
            .map_err(|error| KeyError::Mnemonic {
                // The library's own texts may grow to repeat a word; these never do.
                reason: match error {
                    Error::BadWordCount(count) => format!("it has {count} words"),
                    Error::UnknownWord(index) => {
                        format!("word {} is not in the English list", index.saturating_add(1))
                    }
                    Error::InvalidChecksum => "its checksum is wrong: a word is mistyped or out of order".to_owned(),
                    Error::BadEntropyBitCount(_) | Error::AmbiguousLanguages(_) => {
                        "it is not an English phrase of BIP-39".to_owned()
                    }
                },
            })
    }

    /// The words, separated by single blanks.
    #[must_use]
    pub fn phrase(&self) -> Secret<String> {
        Secret::new(self.0.to_string())
    }

    /// Derives the account at a BIP-32 path (`m/44'/60'/0'/0/0`). `passphrase` is BIP-39's optional one, usually empty.
    pub fn derive_path(&self, path: &str, passphrase: &Secret<String>) -> Result<LocalSigner, KeyError> {
        self.signing_key(path, passphrase).map(LocalSigner::from_signing_key)
    }

    /// Derives account number `index` of a coin.
    pub fn derive(&self, coin: Coin, index: u32, passphrase: &Secret<String>) -> Result<DerivedAccount, KeyError> {
        let path = coin.path(index);
        let key = self.signing_key(&path, passphrase)?;
        let address = coin.address(key.verifying_key())?;
        Ok(DerivedAccount { coin, path, address, signer: LocalSigner::from_signing_key(key) })
    }

    fn signing_key(&self, path: &str, passphrase: &Secret<String>) -> Result<SigningKey, KeyError> {
        let bad_path = |reason: String| KeyError::DerivationPath { path: path.to_owned(), reason };
        let parsed: DerivationPath = path.parse().map_err(|error: bip32::Error| bad_path(error.to_string()))?;
        let seed = Zeroizing::new(self.0.to_seed(passphrase.expose().as_str()));
        XPrv::derive_from_path(seed.as_slice(), &parsed)
            .map(|key| key.private_key().clone())
            .map_err(|error| bad_path(error.to_string()))
    }
}

impl fmt::Debug for Mnemonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mnemonic(*** {} words)", self.0.word_count())
    }
}

/// One account of a recovery phrase.
#[derive(Clone, Debug)]
pub struct DerivedAccount {
    /// The chain family.
    pub coin: Coin,
    /// The BIP-44 path.
    pub path: String,
    /// The address in the family's notation.
    pub address: String,
    /// Signs for it.
    pub signer: LocalSigner,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use alloy_primitives::{address, hex};

    use super::*;
    use crate::Signer as _;

    const ZERO_12: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
    const TEST_JUNK: &str = "test test test test test test test test test test test junk";

    fn phrase(text: &str) -> Mnemonic {
        Mnemonic::parse(&Secret::new(text.to_owned())).unwrap()
    }

    fn none() -> Secret<String> {
        Secret::new(String::new())
    }

    #[test]
    fn seeds_are_those_published_with_bip39() {
        let seed = phrase(ZERO_12).0.to_seed("TREZOR");
        assert_eq!(
            seed,
            hex!(
                "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04"
            )
        );
        let long = format!("{}art", "abandon ".repeat(23));
        let seed = phrase(&long).0.to_seed("TREZOR");
        assert_eq!(
            seed,
            hex!(
                "bda85446c68413707090a52022edd26a1c9462295029f2e60cd7c4f2bbd3097170af7a4d73245cafa9c3cca8d561a7c3de6f5d4a10be8ed2a5e608d68f92fcc8"
            )
        );
    }

    #[test]
    fn the_first_addresses_of_known_phrases_per_coin() {
        let long = format!("{}art", "abandon ".repeat(23));
        let expected = [
            (
                ZERO_12,
                Coin::Ethereum,
                ["0x9858EfFD232B4033E47d90003D41EC34EcaEda94", "0x6Fac4D18c912343BF86fa7049364Dd4E424Ab9C0"],
            ),
            (ZERO_12, Coin::Bitcoin, ["1LqBGSKuX5yYUonjxT5qGfpUsXKYYWeabA", "1Ak8PffB2meyfYnbXZR9EGfLfFZVpzJvQP"]),
            (
                ZERO_12,
                Coin::Cosmos,
                ["cosmos19rl4cm2hmr8afy4kldpxz3fka4jguq0auqdal4", "cosmos1jrkmdcwgq94uaamx6zax2luewlhf7u4kucx3kz"],
            ),
            (ZERO_12, Coin::Band, ["band1vh8tr8ddf7g0gfep23t46yllmlvtqfjknjdd38", "band1c2pramju9wtdz2jqulfalku58pq2ecgxcqj0f8"]),
            (&long, Coin::Ethereum, ["0xF278cF59F82eDcf871d630F28EcC8056f25C1cdb", "0xf785bD075874b8423D3583728a981399f31e95aA"]),
            (&long, Coin::Bitcoin, ["1KBdbBJRVYffWHWWZ1moECfdVBSEnDpLHi", "1EiJMaaahrhpbhgaNzMeUe1ZoiXdbBhWhR"]),
            (
                &long,
                Coin::Cosmos,
                ["cosmos1r5v5srda7xfth3hn2s26txvrcrntldjumt8mhl", "cosmos1vtad8680vhdfqvxx0f2yaxa6agdylelmcwusgk"],
            ),
            (&long, Coin::Band, ["band1lyyu4k5utuvt38t4m0lmmz3fhp2tmga9fc5xz7", "band1v76vd7xucn0d6w9qq848hmvfggakpmp5u0jd57"]),
        ];
        for (words, coin, addresses) in expected {
            let mnemonic = phrase(words);
            for (index, address) in (0_u32..).zip(addresses) {
                let account = mnemonic.derive(coin, index, &none()).unwrap();
                assert_eq!(account.address, address, "{coin} {index}");
                assert_eq!(account.path, format!("m/44'/{}'/0'/0/{index}", coin.coin_type()));
            }
        }
    }

    #[test]
    fn development_accounts_are_the_well_known_ones() {
        let account = phrase(TEST_JUNK).derive(Coin::Ethereum, 0, &none()).unwrap();
        assert_eq!(account.signer.address(), address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"));
        assert_eq!(*account.signer.to_bytes(), hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"));
    }

    #[test]
    fn fresh_phrases_have_the_asked_length_and_differ() {
        for words in [12, 15, 18, 21, 24] {
            let (one, two) = (Mnemonic::generate(words).unwrap(), Mnemonic::generate(words).unwrap());
            assert_eq!(one.phrase().expose().split(' ').count(), words);
            assert_ne!(one.phrase().expose(), two.phrase().expose());
            let again = Mnemonic::parse(&one.phrase()).unwrap();
            assert_eq!(again.phrase().expose(), one.phrase().expose());
        }
        assert!(Mnemonic::generate(13).is_err());
    }

    #[test]
    fn bad_phrases_and_paths_are_refused_without_their_words() {
        for (text, expected) in [
            ("", "it has 0 words"),
            ("abandon about", "it has 2 words"),
            (&ZERO_12.replace("about", "abandon"), "checksum"),
            (&ZERO_12.replace("about", "windlass"), "word 12 is not in the English list"),
        ] {
            let error = Mnemonic::parse(&Secret::new(text.to_owned())).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("abandon") && !error.contains("windlass"));
        }
        let error = phrase(ZERO_12).derive_path("44/60", &none()).unwrap_err();
        assert!(matches!(error, KeyError::DerivationPath { .. }));
        assert!(!format!("{:?}", phrase(ZERO_12)).contains("abandon"));
    }
}
