//! Who signs: a trait, and the signer that holds its key in memory.

use std::fmt;

use alloy_primitives::{Address, B256, Signature, eip191_hash_message, keccak256};
use async_trait::async_trait;
use k256::ecdsa::SigningKey;
use zeroize::Zeroizing;

use crate::{KeyError, Secret};

/// Something that signs for one Ethereum account.
///
/// Both methods take the *message*, not its hash: remote signers hash by themselves (Web3Signer's `eth1/sign`), and a signer that sees what
/// it signs can refuse it.
#[async_trait]
pub trait Signer: Send + Sync + 'static {
    /// The account that this signer speaks for.
    fn address(&self) -> Address;

    /// Signs `keccak256(preimage)`. For a transaction the preimage is what EIP-2718 calls its signing payload: the type byte and the RLP list
    /// without signature (EIP-155 fields included for legacy ones). The `s` value is in the lower half (EIP-2).
    async fn sign_preimage(&self, preimage: &[u8]) -> Result<Signature, KeyError>;

    /// Signs `message` with the EIP-191 prefix `"\x19Ethereum Signed Message:\n" ‖ decimal length`.
    async fn sign_message(&self, message: &[u8]) -> Result<Signature, KeyError> {
        let mut preimage = format!("\x19Ethereum Signed Message:\n{}", message.len()).into_bytes();
        preimage.extend_from_slice(message);
        self.sign_preimage(&preimage).await
    }
}

/// A signer that holds its private key in memory. The key is wiped when it is dropped and never printed.
#[derive(Clone)]
pub struct LocalSigner {
    key: SigningKey,
    address: Address,
}

impl LocalSigner {
    /// Takes 32 bytes, big-endian. Zero and values not below the order of secp256k1 are refused.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = SigningKey::from_slice(bytes).map_err(|_| KeyError::InvalidKey {
            what: "the key".to_owned(),
            reason: "it is zero or not below the order of secp256k1",
        })?;
        Ok(Self::from_signing_key(key))
    }

    /// Takes 64 hexadecimal digits, with or without `0x`, blanks around them ignored.
    pub fn from_hex(text: &Secret<String>) -> Result<Self, KeyError> {
        let text = text.expose().trim();
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let invalid = |reason| KeyError::InvalidKey { what: "the key".to_owned(), reason };
        if digits.len() != 64 {
            return Err(invalid("it does not have 64 hexadecimal digits"));
        }
        let mut bytes = Zeroizing::new([0_u8; 32]);
        hex::decode_to_slice(digits, bytes.as_mut_slice())
            .map_err(|_| invalid("it has characters that are not hexadecimal digits"))?;
        Self::from_bytes(&bytes)
    }

    /// A fresh random key from the operating system's generator.
    pub fn random() -> Self {
        Self::from_signing_key(SigningKey::random(&mut k256::elliptic_curve::rand_core::OsRng))
    }

    pub(crate) fn from_signing_key(key: SigningKey) -> Self {
        let address = Address::from_public_key(key.verifying_key());
        Self { key, address }
    }

    /// The private key, for writing it into a keystore. The copy is wiped when it is dropped.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes().into())
    }

    /// Signs a 32-byte hash. Deterministic (RFC 6979), so that the same bytes are signed the same way after a restart.
    pub fn sign_hash(&self, hash: &B256) -> Result<Signature, KeyError> {
        let (signature, recovery) = self
            .key
            .sign_prehash_recoverable(hash.as_slice())
            .map_err(|_| KeyError::InvalidKey { what: "the key".to_owned(), reason: "signing failed" })?;
        Ok(Signature::from_signature_and_parity(signature, recovery.is_y_odd()))
    }
}

impl fmt::Debug for LocalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSigner").field("address", &self.address).finish_non_exhaustive()
    }
}

#[async_trait]
impl Signer for LocalSigner {
    fn address(&self) -> Address {
        self.address
    }

    async fn sign_preimage(&self, preimage: &[u8]) -> Result<Signature, KeyError> {
        self.sign_hash(&keccak256(preimage))
    }

    async fn sign_message(&self, message: &[u8]) -> Result<Signature, KeyError> {
        self.sign_hash(&eip191_hash_message(message))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use alloy_primitives::{address, hex};

    use super::*;

    /// The example key of EIP-155.
    const EIP155_KEY: [u8; 32] = [0x46; 32];

    #[tokio::test]
    async fn signs_the_example_of_eip155() {
        let signer = LocalSigner::from_bytes(&EIP155_KEY).unwrap();
        assert_eq!(signer.address(), address!("9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F"));
        let payload = hex!("ec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080018080");
        let signature = signer.sign_preimage(&payload).await.unwrap();
        assert_eq!(signature.r().to_string(), "18515461264373351373200002665853028612451056578545711640558177340181847433846");
        assert_eq!(signature.s().to_string(), "46948507304638947509940763649030358759909902576025900602547168820602576006531");
        assert!(!signature.v(), "v is 37 for chain 1: even parity");
    }

    #[tokio::test]
    async fn a_signed_message_recovers_to_its_signer() {
        let signer = LocalSigner::random();
        let signature = signer.sign_message(b"windlass").await.unwrap();
        assert_eq!(signature.recover_address_from_msg(b"windlass").unwrap(), signer.address());
    }

    #[test]
    fn bad_keys_are_refused_without_being_repeated() {
        for text in ["", "0x12", &"zz".repeat(32), &"00".repeat(32), &"ff".repeat(32), &format!("0x0x{}", "11".repeat(31))] {
            let error = LocalSigner::from_hex(&Secret::new(text.to_owned())).unwrap_err();
            assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
            assert!(error.hint().is_some());
        }
        let text = format!(" 0x{}\n", "46".repeat(32));
        assert_eq!(
            LocalSigner::from_hex(&Secret::new(text)).unwrap().address(),
            LocalSigner::from_bytes(&EIP155_KEY).unwrap().address()
        );
    }

    #[test]
    fn debug_shows_the_address_only() {
        let shown = format!("{:?}", LocalSigner::from_bytes(&EIP155_KEY).unwrap());
        assert!(shown.contains("0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f") && !shown.contains("4646"), "{shown}");
    }
}
