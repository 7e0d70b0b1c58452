//! Web3 Secret Storage, version 3: the password-protected key file that geth, clef and most wallets write.

use std::io::Write as _;
use std::path::Path;

use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use alloy_primitives::{Address, keccak256};
use k256::elliptic_curve::rand_core::{OsRng, RngCore as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{KeyError, LocalSigner, Secret, Signer as _};

/// The most memory that a foreign file may make us use for scrypt: four times what geth's standard parameters need.
const MAX_SCRYPT_BYTES: u64 = 1 << 30;
/// The most rounds that a foreign file may make us run, for scrypt's `p` and for PBKDF2.
const MAX_SCRYPT_P: u32 = 16;
const MAX_PBKDF2_ROUNDS: u32 = 10_000_000;

/// How hard it is made to guess the password of a file that we write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// `n = 2^18, r = 8, p = 1`: 256 MiB and about a second; what geth writes by default.
    Standard,
    /// `n = 2^12, r = 8, p = 6`: 4 MiB; for tests and small machines.
    Light,
}

impl Strength {
    const fn log_n_and_p(self) -> (u8, u32) {
        match self {
            Self::Standard => (18, 1),
            Self::Light => (12, 6),
        }
    }
}

/// A key file, still closed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Keystore {
    /// The account, 40 hexadecimal digits without `0x`; files of some wallets leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
    /// A random UUID.
    #[serde(default)]
    id: String,
    version: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: String,
    #[serde(flatten)]
    kdf: Kdf,
    mac: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct CipherParams {
    iv: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kdf", content = "kdfparams", rename_all = "lowercase")]
enum Kdf {
    Scrypt { dklen: usize, n: u64, r: u32, p: u32, salt: String },
    Pbkdf2 { dklen: usize, c: u32, prf: String, salt: String },
}

impl Keystore {
    /// Encrypts a key under a password.
    pub fn encrypt(signer: &LocalSigner, password: &Secret<String>, strength: Strength) -> Result<Self, KeyError> {
        let mut random = [0_u8; 64];
        OsRng.fill_bytes(&mut random);
        let (salt, rest) = random.split_at(32);
        let (iv, id) = rest.split_at(16);
        let (log_n, p) = strength.log_n_and_p();
        let kdf = Kdf::Scrypt { dklen: 32, n: 1 << log_n, r: 8, p, salt: hex::encode(salt) };
        let derived = kdf.derive(password)?;
        let mut text = signer.to_bytes();
        apply_cipher(&derived, iv, text.as_mut_slice())?;
        Ok(Self {
            address: Some(hex::encode(signer.address())),
            crypto: Crypto {
                cipher: "aes-128-ctr".to_owned(),
                cipherparams: CipherParams { iv: hex::encode(iv) },
                ciphertext: hex::encode(text.as_slice()),
                mac: hex::encode(mac(&derived, text.as_slice())?),
                kdf,
            },
            id: uuid_v4(id),
            version: 3,
        })
    }

    /// Reads a file; only its form is checked.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text = std::fs::read_to_string(path).map_err(|source| KeyError::ReadFile { path: path.to_owned(), source })?;
        Self::from_json(&text)
    }

    /// Reads the JSON text of a key file; only its form is checked.
    pub fn from_json(text: &str) -> Result<Self, KeyError> {
        let keystore: Self = serde_json::from_str(text).map_err(|error| bad(format!("it is not a key file: {error}")))?;
        if keystore.version != 3 {
            return Err(bad(format!("version is {}, not 3", keystore.version)));
        }
        if keystore.crypto.cipher != "aes-128-ctr" {
            return Err(bad(format!("cipher is `{}`, not aes-128-ctr", keystore.crypto.cipher)));
        }
        Ok(keystore)
    }

    /// Writes a new file that only its owner can read. An existing file is never overwritten.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let write_error = |source| KeyError::WriteFile { path: path.to_owned(), source };
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(write_error)?;
        file.write_all(self.to_json()?.as_bytes()).map_err(write_error)?;
        file.sync_all().map_err(write_error)
    }

    /// The file's text.
    pub fn to_json(&self) -> Result<String, KeyError> {
        serde_json::to_string_pretty(self).map_err(|error| bad(error.to_string()))
    }

    /// The address that the file claims to be for, if it says so.
    pub fn claimed_address(&self) -> Result<Option<Address>, KeyError> {
        self.address
            .as_deref()
            .map(|text| text.parse().map_err(|_| bad("address is not 40 hexadecimal digits".to_owned())))
            .transpose()
    }

    /// Opens the file. The address it claims must be the key's.
    pub fn decrypt(&self, password: &Secret<String>) -> Result<LocalSigner, KeyError> {
        let field = |name: &str, text: &str| {
            hex::decode(text.strip_prefix("0x").unwrap_or(text)).map_err(|_| bad(format!("{name} is not hexadecimal")))
        };
        let iv = field("iv", &self.crypto.cipherparams.iv)?;
        let expected_mac = field("mac", &self.crypto.mac)?;
        let mut text = Zeroizing::new(field("ciphertext", &self.crypto.ciphertext)?);
        let derived = self.crypto.kdf.derive(password)?;
        if !bool::from(mac(&derived, &text)?.ct_eq(expected_mac.as_slice())) {
            return Err(KeyError::WrongPassword);
        }
        apply_cipher(&derived, &iv, &mut text)?;
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(
            text.as_slice().try_into().map_err(|_| bad(format!("the key in it has {} bytes, not 32", text.len())))?,
        );
        let signer = LocalSigner::from_bytes(&key)?;
        match self.claimed_address()? {
            Some(claimed) if claimed != signer.address() => {
                Err(KeyError::WrongSigner { expected: claimed, recovered: signer.address() })
            }
            _ => Ok(signer),
        }
    }
}

impl Kdf {
    fn derive(&self, password: &Secret<String>) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (dklen, salt) = match self {
            Self::Scrypt { dklen, salt, .. } | Self::Pbkdf2 { dklen, salt, .. } => (*dklen, salt),
        };
        if !(32..=64).contains(&dklen) {
            return Err(bad(format!("dklen is {dklen}; 32 is usual")));
        }
        let salt = hex::decode(salt.strip_prefix("0x").unwrap_or(salt)).map_err(|_| bad("salt is not hexadecimal".to_owned()))?;
        let mut derived = Zeroizing::new(vec![0_u8; dklen]);
        match self {
            Self::Scrypt { n, r, p, .. } => {
                let memory = n.checked_mul(u64::from(*r)).and_then(|blocks| blocks.checked_mul(128));
                if !n.is_power_of_two()
                    || *n < 2
                    || *p == 0
                    || *p > MAX_SCRYPT_P
                    || memory.is_none_or(|bytes| bytes > MAX_SCRYPT_BYTES)
                {
                    return Err(bad(format!("scrypt parameters n {n}, r {r}, p {p} are out of bounds")));
                }
                let log_n = u8::try_from(n.trailing_zeros()).unwrap_or(u8::MAX);
                let parameters =
                    scrypt::Params::new(log_n, *r, *p, 32).map_err(|error| bad(format!("scrypt parameters: {error}")))?;
                scrypt::scrypt(password.expose().as_bytes(), &salt, &parameters, &mut derived)
                    .map_err(|error| bad(format!("scrypt: {error}")))?;
            }
            Self::Pbkdf2 { c, prf, .. } => {
                if prf != "hmac-sha256" {
                    return Err(bad(format!("prf is `{prf}`, not hmac-sha256")));
                }
                if *c == 0 || *c > MAX_PBKDF2_ROUNDS {
                    return Err(bad(format!("pbkdf2 count {c} is out of bounds")));
                }
                pbkdf2::pbkdf2_hmac::<Sha256>(password.expose().as_bytes(), &salt, *c, &mut derived);
            }
        }
        Ok(derived)
    }
}

/// AES-128 in counter mode under the first half of the derived key; encrypting and decrypting are the same.
fn apply_cipher(derived: &[u8], iv: &[u8], text: &mut [u8]) -> Result<(), KeyError> {
    let key = derived.get(..16).ok_or_else(|| bad("the derived key is too short".to_owned()))?;
    ctr::Ctr128BE::<aes::Aes128>::new_from_slices(key, iv)
        .map_err(|_| bad(format!("iv has {} bytes, not 16", iv.len())))?
        .apply_keystream(text);
    Ok(())
}

/// Keccak-256 of the second half of the derived key and the ciphertext.
fn mac(derived: &[u8], text: &[u8]) -> Result<[u8; 32], KeyError> {
    let key = derived.get(16..32).ok_or_else(|| bad("the derived key is too short".to_owned()))?;
    Ok(keccak256([key, text].concat()).0)
}

fn uuid_v4(random: &[u8]) -> String {
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(random) {
        *to = *from;
    }
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let digits = format!("{number:032x}");
    let mut text = String::with_capacity(36);
    for (index, digit) in digits.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

fn bad(reason: String) -> KeyError {
    KeyError::Keystore { reason }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use alloy_primitives::hex;
    use proptest::prelude::*;

    use super::*;

    /// The first example of the Web3 Secret Storage definition, and a file written by eth-account 0.13. The definition's second example has
    /// `n = 2^18` with `r = 1`, which RFC 7914 forbids (`n < 2^(16 r)`); no wallet writes such files.
    const KNOWN: [(&str, &str, [u8; 32]); 2] = [
        (
            "testpassword",
            r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},"ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2","kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},"mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#,
            hex!("7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"),
        ),
        (
            "test",
            r#"{"address": "9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F", "crypto": {"cipher": "aes-128-ctr", "cipherparams": {"iv": "128e77857dc3ca9cc8a75a0886c67dd8"}, "ciphertext": "4a526f59dbb03431481c1e41999699f8f98d533650b3630711dfd6ed402477e3", "kdf": "scrypt", "kdfparams": {"dklen": 32, "n": 1024, "r": 8, "p": 1, "salt": "f58561f98d69434b54b5a64f70f9dba0"}, "mac": "c231e15b68b43b2748de07b7c817540bc918b6fe6b644ba58bf2dc52e7bc4452"}, "id": "5eb8da5d-3a20-4455-b3eb-f164033aca74", "version": 3}"#,
            [0x46; 32],
        ),
    ];

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[test]
    fn opens_files_of_others() {
        for (password, text, key) in KNOWN {
            let signer = Keystore::from_json(text).unwrap().decrypt(&secret(password)).unwrap();
            assert_eq!(*signer.to_bytes(), key);
        }
        let wrong = Keystore::from_json(KNOWN[0].1).unwrap().decrypt(&secret("testpassword "));
        assert!(matches!(wrong, Err(KeyError::WrongPassword)));
    }

    #[test]
    fn what_is_written_is_private_and_opens_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.json");
        let signer = LocalSigner::random();
        let keystore = Keystore::encrypt(&signer, &secret("a"), Strength::Light).unwrap();
        keystore.write(&path).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
        let read = Keystore::read(&path).unwrap();
        assert_eq!(read.claimed_address().unwrap(), Some(signer.address()));
        assert_eq!(*read.decrypt(&secret("a")).unwrap().to_bytes(), *signer.to_bytes());
        assert!(matches!(read.write(&path), Err(KeyError::WriteFile { .. })), "never overwrites");
        assert_eq!(read.id.len(), 36);
        assert_eq!((&read.id[14..15], read.id.matches('-').count()), ("4", 4));
    }

    #[test]
    fn a_file_whose_address_is_not_its_keys_is_refused() {
        let keystore = Keystore::encrypt(&LocalSigner::random(), &secret("a"), Strength::Light).unwrap();
        let other = Keystore { address: Some("00".repeat(20)), ..keystore };
        assert!(matches!(other.decrypt(&secret("a")), Err(KeyError::WrongSigner { .. })));
    }

    #[test]
    fn absurd_parameters_are_refused_before_they_cost_anything() {
        for (from, to) in [
            ("\"n\": 1024", "\"n\": 1099511627776"),
            ("\"n\": 1024", "\"n\": 1023"),
            ("\"p\": 1", "\"p\": 4000000000"),
            ("\"dklen\": 32", "\"dklen\": 16"),
            ("\"version\": 3", "\"version\": 1"),
            ("aes-128-ctr", "aes-256-gcm"),
            ("128e7785", "zz"),
            ("\"kdf\": \"scrypt\"", "\"kdf\": \"argon2\""),
        ] {
            let text = KNOWN[1].1.replacen(from, to, 1);
            assert_ne!(text, KNOWN[1].1);
            let result = Keystore::from_json(&text).and_then(|store| store.decrypt(&secret("test")));
            assert!(matches!(result, Err(KeyError::Keystore { .. })), "{to}: {result:?}");
        }
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(text in ".{0,200}") {
            let _ = Keystore::from_json(&text);
        }
    }
}
