//! Who signed. Every signature that leaves is checked, so this runs as often as signing, and is left to libsecp256k1, which is faster than
//! the portable curve.

use alloy_primitives::{Address, B256, Signature, keccak256};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, SECP256K1};

/// The address of the key that signed this hash; `None` if the signature is nobody's. Halves `s` above the middle of the group order
/// are taken, as by the EVM's `ecrecover`.
pub fn recover(hash: &B256, signature: &Signature) -> Option<Address> {
    let id = if signature.v() { RecoveryId::One } else { RecoveryId::Zero };
    let halves = [signature.r().to_be_bytes::<32>(), signature.s().to_be_bytes::<32>()].concat();
    let signature = RecoverableSignature::from_compact(&halves, id).ok()?;
    let key = SECP256K1.recover_ecdsa(Message::from_digest(hash.0), &signature).ok()?;
    let uncompressed = key.serialize_uncompressed();
    Some(Address::from_word(keccak256(uncompressed.get(1..)?)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloy_primitives::U256;

    use super::*;
    use crate::{LocalSigner, Signer};

    #[tokio::test]
    async fn agrees_with_the_other_library() {
        for number in 1..=50u8 {
            let signer = LocalSigner::from_bytes(&[number; 32]).unwrap();
            let signature = signer.sign_preimage(&[number]).await.unwrap();
            let hash = keccak256([number]);
            assert_eq!(recover(&hash, &signature), Some(signer.address()));
            for bent in [
                Signature::new(signature.r() + U256::from(number), signature.s(), signature.v()),
                Signature::new(signature.r(), signature.s(), !signature.v()),
                Signature::new(signature.r(), U256::from(number), signature.v()),
            ] {
                assert_eq!(recover(&hash, &bent), bent.recover_address_from_prehash(&hash).ok());
            }
        }
        let order = U256::from_str_radix("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16).unwrap();
        for (r, s) in
            [(U256::ZERO, U256::ONE), (U256::ONE, U256::ZERO), (order, U256::ONE), (U256::ONE, order), (U256::MAX, U256::MAX)]
        {
            assert_eq!(recover(&B256::repeat_byte(1), &Signature::new(r, s, false)), None);
        }
    }
}
