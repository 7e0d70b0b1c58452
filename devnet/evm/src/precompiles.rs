//! Signature recovery that is done once.
//!
//! A contract that checks signatures recovers the same ones in every estimate, call and block. One recovery costs as much time as
//! hundreds of other instructions, so results are remembered; gas is charged as ever.

use std::collections::HashMap;
use std::sync::Once;

use alloy_consensus::TxEnvelope;
use alloy_primitives::Address;
use alloy_primitives::map::DefaultHashBuilder;
use parking_lot::Mutex;
use revm::precompile::{Crypto, DefaultCrypto, PrecompileHalt, install_crypto};

/// Recoveries in one generation; the last two are kept, about 200 bytes each.
const GENERATION: usize = 16_384;

/// Signature, recovery id and message.
type Question = ([u8; 64], u8, [u8; 32]);

/// The address, left-padded; `None` if there is none.
type Recovered = Option<[u8; 32]>;

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Question, Recovered, DefaultHashBuilder>,
    old: HashMap<Question, Recovered, DefaultHashBuilder>,
}

impl Generations {
    fn get(&mut self, question: &Question) -> Option<Recovered> {
        if let Some(known) = self.young.get(question) {
            return Some(*known);
        }
        let known = self.old.remove(question)?;
        self.put(*question, known);
        Some(known)
    }

    fn put(&mut self, question: Question, recovered: Recovered) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(question, recovered);
    }
}

/// The default cryptography with a memory for `ecrecover`.
#[derive(Debug, Default)]
struct Remembering {
    recovered: Mutex<Generations>,
}

impl Crypto for Remembering {
    fn secp256k1_ecrecover(&self, sig: &[u8; 64], recid: u8, msg: &[u8; 32]) -> Result<[u8; 32], PrecompileHalt> {
        let question = (*sig, recid, *msg);
        let known = self.recovered.lock().get(&question);
        let recovered = known.unwrap_or_else(|| {
            let recovered = DefaultCrypto.secp256k1_ecrecover(sig, recid, msg).ok();
            self.recovered.lock().put(question, recovered);
            recovered
        });
        recovered.ok_or(PrecompileHalt::Secp256k1RecoverFailed)
    }
}

/// Who signed a transaction. A half `s` above the middle of the group order is nobody's (EIP-2).
pub(crate) fn signer(envelope: &TxEnvelope) -> Option<Address> {
    let signature = envelope.signature();
    if signature.normalize_s().is_some() {
        return None;
    }
    let halves = [signature.r().to_be_bytes::<32>(), signature.s().to_be_bytes::<32>()];
    let sig = halves.as_flattened().first_chunk::<64>()?;
    let recovered = DefaultCrypto.secp256k1_ecrecover(sig, signature.v().into(), &envelope.signature_hash()).ok()?;
    Some(Address::from_word(recovered.into()))
}

/// Makes the chains of this process remember recoveries.
pub(crate) fn remember_recoveries() {
    static ONCE: Once = Once::new();
    // The interpreter takes one provider for the whole process; if a program has set its own, that one stays.
    ONCE.call_once(|| {
        install_crypto(Remembering::default());
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_remembered_recovery_is_the_same_and_old_ones_are_forgotten() {
        let crypto = Remembering::default();
        let key = k256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let (signature, id) = key.sign_prehash_recoverable(&[9; 32]).unwrap();
        let sig: [u8; 64] = signature.to_bytes().into();
        let expected = DefaultCrypto.secp256k1_ecrecover(&sig, id.to_byte(), &[9; 32]).unwrap();
        for _ in 0..2 {
            assert_eq!(crypto.secp256k1_ecrecover(&sig, id.to_byte(), &[9; 32]), Ok(expected));
            assert_eq!(
                crypto.secp256k1_ecrecover(&[0; 64], 0, &[9; 32]),
                Err(PrecompileHalt::Secp256k1RecoverFailed),
                "there is nothing to recover from zeros"
            );
        }
        // Of a message that differs in one bit another address is recovered, and not the remembered one.
        let other = crypto.secp256k1_ecrecover(&sig, id.to_byte(), &[8; 32]);
        assert_ne!(other, Ok(expected));

        let mut generations = Generations::default();
        let question = |number: u64| {
            let mut message = [0; 32];
            message[..8].copy_from_slice(&number.to_be_bytes());
            ([0; 64], 0, message)
        };
        for number in 0..3 * GENERATION as u64 {
            generations.put(question(number), None);
            assert!(generations.get(&question(0)).is_some(), "what is used stays");
        }
        assert_eq!(generations.get(&question(1)), None);
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
    }
}
