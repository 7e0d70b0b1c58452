//! From a decision to signed bytes. Nothing here touches the database or the network, except a remote signer.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use windlass_keys::Signer;

use crate::error::OutboxError;
use crate::fees::Fees;

/// All fields of a transaction except its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unsigned {
    pub(crate) chain_id: u64,
    pub(crate) nonce: u64,
    pub(crate) to: Option<Address>,
    pub(crate) value: U256,
    pub(crate) data: Bytes,
    pub(crate) gas_limit: u64,
    pub(crate) fees: Fees,
}

/// Signed bytes and their hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) hash: B256,
    pub(crate) raw: Bytes,
}

impl Unsigned {
    /// A zero-value transfer of the account to itself: uses the nonce and does nothing else.
    pub(crate) fn self_transfer(chain_id: u64, account: Address, nonce: u64, gas_limit: u64, fees: Fees) -> Self {
        Self { chain_id, nonce, to: Some(account), value: U256::ZERO, data: Bytes::new(), gas_limit, fees }
    }

    /// Signs with `signer` and checks that the signature is of its account: a wrong key would spend another's nonce.
    pub(crate) async fn sign(self, signer: &dyn Signer) -> Result<Signed, OutboxError> {
        let to = self.to.map_or(TxKind::Create, TxKind::Call);
        let signed = if self.fees.legacy {
            let transaction = TxLegacy {
                chain_id: Some(self.chain_id),
                nonce: self.nonce,
                gas_price: self.fees.max_fee,
                gas_limit: self.gas_limit,
                to,
                value: self.value,
                input: self.data,
            };
            let signature = sign_checked(&transaction.encoded_for_signing(), signer).await?;
            TxEnvelope::from(transaction.into_signed(signature))
        } else {
            let transaction = TxEip1559 {
                chain_id: self.chain_id,
                nonce: self.nonce,
                gas_limit: self.gas_limit,
                max_fee_per_gas: self.fees.max_fee,
                max_priority_fee_per_gas: self.fees.priority_fee,
                to,
                value: self.value,
                access_list: Default::default(),
                input: self.data,
            };
            let signature = sign_checked(&transaction.encoded_for_signing(), signer).await?;
            TxEnvelope::from(transaction.into_signed(signature))
        };
        let raw = signed.encoded_2718();
        Ok(Signed { hash: keccak256(&raw), raw: raw.into() })
    }
}

async fn sign_checked(preimage: &[u8], signer: &dyn Signer) -> Result<Signature, OutboxError> {
    let signature = signer.sign_preimage(preimage).await?;
    let signature = signature.normalized_s();
    let expected = signer.address();
    let recovered = windlass_keys::recover(&keccak256(preimage), &signature).unwrap_or(Address::ZERO);
    if recovered != expected {
        return Err(OutboxError::WrongSigner { expected, recovered });
    }
    Ok(signature)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use alloy_consensus::Transaction;
    use alloy_consensus::transaction::SignerRecoverable;
    use alloy_eips::eip2718::Decodable2718;
    use async_trait::async_trait;
    use windlass_keys::{KeyError, LocalSigner};

    use super::*;

    fn unsigned(legacy: bool) -> Unsigned {
        Unsigned {
            chain_id: 31_337,
            nonce: 7,
            to: None,
            value: U256::from(5),
            data: Bytes::from_static(&[1, 2, 3]),
            gas_limit: 100_000,
            fees: Fees { max_fee: 30, priority_fee: if legacy { 30 } else { 2 }, legacy },
        }
    }

    #[tokio::test]
    async fn signed_bytes_decode_to_what_was_asked() {
        let signer = LocalSigner::from_bytes(&[7; 32]).unwrap();
        for legacy in [false, true] {
            let signed = unsigned(legacy).sign(&signer).await.unwrap();
            let envelope = TxEnvelope::decode_2718(&mut signed.raw.as_ref()).unwrap();
            assert_eq!(*envelope.tx_hash(), signed.hash);
            assert_eq!(envelope.recover_signer().unwrap(), signer.address());
            assert_eq!(envelope.nonce(), 7);
            assert_eq!(envelope.chain_id(), Some(31_337));
            assert_eq!(envelope.max_fee_per_gas(), 30);
            assert_eq!(envelope.is_legacy(), legacy);
            assert!(envelope.is_create());
        }
    }

    #[tokio::test]
    async fn signing_the_same_twice_gives_the_same_bytes() {
        let signer = LocalSigner::from_bytes(&[7; 32]).unwrap();
        let first = unsigned(false).sign(&signer).await.unwrap();
        assert_eq!(unsigned(false).sign(&signer).await.unwrap(), first);
    }

    struct Liar(LocalSigner, LocalSigner);

    #[async_trait]
    impl Signer for Liar {
        fn address(&self) -> Address {
            self.0.address()
        }
        async fn sign_preimage(&self, preimage: &[u8]) -> Result<Signature, KeyError> {
            self.1.sign_preimage(preimage).await
        }
    }

    #[tokio::test]
    async fn a_signature_of_another_key_is_refused() {
        let liar = Liar(LocalSigner::from_bytes(&[7; 32]).unwrap(), LocalSigner::from_bytes(&[8; 32]).unwrap());
        let error = unsigned(false).sign(&liar).await.unwrap_err();
        assert!(matches!(error, OutboxError::WrongSigner { .. }), "{error}");
    }
}
