//! Validators' signatures: recovery as `ecrecover` does it, signing for simulators, and a cache of recovered signers.

use std::collections::HashMap;

use alloy_primitives::{Address, B256, Bytes, keccak256};
use k256::ecdsa::{SigningKey, VerifyingKey};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey, SECP256K1};

use crate::merkle::sha256;
use crate::refusal::reason;
use crate::vote::{Common, EncodedChainId};
use crate::{Refusal, vote};

/// A validator's signature of a vote: the contract's struct.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TmSignature {
    /// First half.
    pub r: B256,
    /// Second half.
    pub s: B256,
    /// 27 plus the recovery id.
    pub v: u8,
    /// Encoded timestamp of the vote: see [`vote::timestamp`].
    pub encoded_timestamp: Bytes,
}

impl TmSignature {
    /// The contract's size rule: 6 to 12 bytes of timestamp.
    ///
    /// # Errors
    /// The contract's reason.
    pub fn check(&self) -> Result<(), Refusal> {
        if (6..=12).contains(&self.encoded_timestamp.len()) { Ok(()) } else { Err(Refusal::Revert(reason::TIMESTAMP_SIZE)) }
    }

    /// Who signed this digest. `None` where `ecrecover` gives the zero address.
    pub fn signer(&self, digest: &B256) -> Option<Address> {
        recover(digest, &self.r, &self.s, self.v)
    }

    /// Signs a vote, as a validator does.
    pub fn sign(key: &SigningKey, common: &Common, block_hash: &B256, time: (u64, u32), chain_id: &EncodedChainId) -> Self {
        let encoded_timestamp = Bytes::from(vote::timestamp(time.0, time.1));
        let digest = common.digest(block_hash, &encoded_timestamp, chain_id);
        let (r, s, v) = sign(key, &digest);
        Self { r, s, v, encoded_timestamp }
    }
}

/// `ecrecover`: the EVM address of the key that signed, for `v` 27 or 28 and halves within the group order. High halves are
/// accepted, as by the precompile. `None` where the precompile gives nothing.
pub fn recover(digest: &B256, r: &B256, s: &B256, v: u8) -> Option<Address> {
    recover_key(digest, r, s, v).map(|key| address_of(&key))
}

/// Left to libsecp256k1: a block has dozens of signatures, and the portable curve takes more than twice as long for each.
fn recover_key(digest: &B256, r: &B256, s: &B256, v: u8) -> Option<PublicKey> {
    let id = match v {
        27 => RecoveryId::Zero,
        28 => RecoveryId::One,
        _ => return None,
    };
    let signature = RecoverableSignature::from_compact([r.0, s.0].as_flattened(), id).ok()?;
    SECP256K1.recover_ecdsa(Message::from_digest(digest.0), &signature).ok()
}

fn address_of(key: &PublicKey) -> Address {
    // The first of the 65 bytes says that the rest are both coordinates.
    let [_, coordinates @ ..] = key.serialize_uncompressed();
    Address::from_word(keccak256(coordinates))
}

/// Signs a digest: deterministic nonce, `s` in the lower half. Returns `r`, `s` and `v`.
pub fn sign(key: &SigningKey, digest: &B256) -> (B256, B256, u8) {
    // Signing fails for a nonce with probability 2^-128; then the digest of the digest would serve a simulator as well, but the
    // library already tries further nonces by itself.
    let Ok((signature, recovery)) = key.sign_prehash_recoverable(digest.as_slice()) else {
        return (B256::ZERO, B256::ZERO, 0);
    };
    let (r, s) = signature.split_bytes();
    (B256::new(r.into()), B256::new(s.into()), 27 + u8::from(recovery.is_y_odd()))
}

/// The EVM address of a consensus key: the last 20 bytes of the Keccak hash of the uncompressed key.
pub fn eth_address(key: &VerifyingKey) -> Address {
    Address::from_public_key(key)
}

/// CometBFT's address of a key, and the bytes of a Cosmos account: `RIPEMD160(sha256(compressed key))`.
pub fn validator_address(compressed: &[u8]) -> [u8; 20] {
    use ripemd::Digest;
    ripemd::Ripemd160::digest(sha256(&[compressed])).into()
}

/// The EVM address of a compressed key of 33 bytes; `None` if it is no point of the curve.
pub fn eth_address_of_compressed(compressed: &[u8]) -> Option<Address> {
    VerifyingKey::from_sec1_bytes(compressed).ok().map(|key| eth_address(&key))
}

/// Finds `v` and the EVM address for a 64-byte signature of a commit, which names only CometBFT's address of its key.
/// `None` if this key did not sign this digest.
pub fn recover_from_commit(digest: &B256, signature: &[u8], validator: &[u8]) -> Option<(B256, B256, u8, Address)> {
    let (r, s) = signature.split_at_checked(32)?;
    let (r, s) = (B256::try_from(r).ok()?, B256::try_from(s).ok()?);
    [27, 28].into_iter().find_map(|v| {
        let key = recover_key(digest, &r, &s, v)?;
        (validator_address(&key.serialize()) == *validator).then(|| (r, s, v, address_of(&key)))
    })
}

/// A signature and who made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// What was signed.
    pub digest: B256,
    /// First half.
    pub r: B256,
    /// Second half.
    pub s: B256,
    /// 27 plus the recovery id.
    pub v: u8,
    /// The EVM address of the key.
    pub signer: Address,
}

/// A cache of recovered signers, so that a signature is recovered once however many proofs carry it: all requests that one
/// Band block resolves share their signatures, and a trimmed proof has some of those of the full one.
///
/// It holds at most twice the capacity; the older half is dropped at once when the newer one is full.
#[derive(Debug)]
pub struct Signers {
    capacity: usize,
    newer: HashMap<Key, Option<Address>>,
    older: HashMap<Key, Option<Address>>,
    recoveries: u64,
}

type Key = (B256, B256, B256, u8);

impl Default for Signers {
    /// Room for the votes of some sixty blocks of 64 validators.
    fn default() -> Self {
        Self::with_capacity(4096)
    }
}

impl Signers {
    /// A cache that keeps between this and twice this many signatures.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), newer: HashMap::new(), older: HashMap::new(), recoveries: 0 }
    }

    /// Who signed; see [`TmSignature::signer`].
    pub fn signer(&mut self, digest: &B256, signature: &TmSignature) -> Option<Address> {
        let key = (*digest, signature.r, signature.s, signature.v);
        if let Some(known) = self.newer.get(&key) {
            return *known;
        }
        let signer = match self.older.get(&key) {
            Some(known) => *known,
            None => {
                self.recoveries += 1;
                signature.signer(digest)
            }
        };
        self.note(key, signer);
        signer
    }

    /// Takes over what was recovered elsewhere.
    pub fn learn(&mut self, recovered: &[Recovered]) {
        for Recovered { digest, r, s, v, signer } in recovered {
            let key = (*digest, *r, *s, *v);
            if !self.newer.contains_key(&key) {
                self.note(key, Some(*signer));
            }
        }
    }

    fn note(&mut self, key: Key, signer: Option<Address>) {
        if self.newer.len() >= self.capacity {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key, signer);
    }

    /// How many signatures were recovered, rather than found.
    pub fn recoveries(&self) -> u64 {
        self.recoveries
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use k256::elliptic_curve::PrimeField;
    use k256::elliptic_curve::sec1::ToEncodedPoint;
    use k256::{AffinePoint, Scalar};
    use proptest::prelude::*;

    fn key(number: u8) -> SigningKey {
        SigningKey::from_slice(keccak256([number]).as_slice()).unwrap()
    }

    /// The group order minus `s`.
    fn negated(s: &B256) -> B256 {
        B256::new((-Scalar::from_repr(s.0.into()).unwrap()).to_repr().into())
    }

    proptest! {
        #[test]
        fn a_signer_is_recovered(number: u8, digest in prop::array::uniform32(any::<u8>())) {
            let (key, digest) = (key(number), B256::new(digest));
            let (r, s, v) = sign(&key, &digest);
            let address = eth_address(key.verifying_key());
            prop_assert_eq!(recover(&digest, &r, &s, v), Some(address));
            // The precompile accepts the high half with the other recovery id, and so do we.
            prop_assert_eq!(recover(&digest, &r, &negated(&s), 55 - v), Some(address));
            prop_assert_ne!(recover(&digest, &r, &s, 55 - v), Some(address));
            let signature = [r.0, s.0].concat();
            let compressed = key.verifying_key().to_encoded_point(true);
            let validator = validator_address(compressed.as_bytes());
            prop_assert_eq!(recover_from_commit(&digest, &signature, &validator), Some((r, s, v, address)));
            prop_assert_eq!(recover_from_commit(&digest, &signature, &[7; 20]), None);
            prop_assert_eq!(eth_address_of_compressed(compressed.as_bytes()), Some(address));
        }

        #[test]
        fn agrees_with_the_library(number: u8, digest in prop::array::uniform32(any::<u8>()), v in 26u8..30, flip in 0usize..64) {
            let digest = B256::new(digest);
            let (mut r, mut s, _) = sign(&key(number), &digest);
            if flip < 32 { r.0[flip] ^= 1 } else { s.0[flip - 32] ^= 1 }
            let library = alloy_primitives::Signature::new(r.into(), s.into(), v == 28);
            let library = library.recover_address_from_prehash(&digest).ok().filter(|_| v == 27 || v == 28);
            prop_assert_eq!(recover(&digest, &r, &s, v), library);
        }

        #[test]
        fn foreign_halves_do_no_harm(r in prop::array::uniform32(any::<u8>()), s in prop::array::uniform32(any::<u8>()), v: u8) {
            let _ = recover(&B256::repeat_byte(7), &B256::new(r), &B256::new(s), v);
        }
    }

    #[test]
    fn halves_outside_of_the_group_are_nobodys() {
        let digest = B256::repeat_byte(3);
        let (r, s, v) = sign(&key(1), &digest);
        let order = B256::new(
            hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").unwrap().try_into().unwrap(),
        );
        for bad in [B256::ZERO, order, B256::repeat_byte(0xff)] {
            assert_eq!(recover(&digest, &bad, &s, v), None);
            assert_eq!(recover(&digest, &r, &bad, v), None);
        }
        for bad in [0, 1, 26, 29, 255] {
            assert_eq!(recover(&digest, &r, &s, bad), None);
        }
    }

    /// `s = z / k` for the nonce `k = 1` and `r = x(G)` makes the point at infinity: `z G = s R`.
    #[test]
    fn the_point_at_infinity_is_nobody() {
        let generator = AffinePoint::GENERATOR.to_encoded_point(false);
        let r = B256::from_slice(generator.x().unwrap());
        let digest = B256::with_last_byte(9);
        let v = 27 + (generator.y().unwrap()[31] & 1);
        assert_eq!(recover(&digest, &r, &digest, v), None);
    }

    #[test]
    fn a_signature_is_recovered_once() {
        let mut signers = Signers::with_capacity(2);
        let digest = B256::repeat_byte(5);
        let signatures: Vec<TmSignature> = (0..6)
            .map(|number| {
                let (r, s, v) = sign(&key(number), &digest);
                TmSignature { r, s, v, encoded_timestamp: Bytes::new() }
            })
            .collect();
        for _ in 0..3 {
            assert_eq!(signers.signer(&digest, &signatures[0]), Some(eth_address(key(0).verifying_key())));
        }
        assert_eq!(signers.recoveries(), 1);
        for signature in &signatures {
            signers.signer(&digest, signature);
        }
        assert_eq!(signers.recoveries(), 6);
        assert!(signers.newer.len() <= 2 && signers.older.len() <= 2);
        // Another digest is another signature.
        signers.signer(&B256::ZERO, &signatures[5]);
        assert_eq!(signers.recoveries(), 7);
        // What was learnt needs none.
        let TmSignature { r, s, v, .. } = signatures[1];
        let digest = B256::repeat_byte(6);
        signers.learn(&[Recovered { digest, r, s, v, signer: Address::repeat_byte(1) }]);
        assert_eq!(signers.signer(&digest, &signatures[1]), Some(Address::repeat_byte(1)));
        assert_eq!(signers.recoveries(), 7);
    }
}
