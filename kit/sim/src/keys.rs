//! Accounts of the simulated world, and transactions that are signed beside the outbox.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, TxKind, U256, keccak256};
use windlass_keys::{KeyError, LocalSigner, Signer};

use crate::chain::GWEI;

/// The signer number `index` of a world. The same index gives the same key in every run.
pub fn signer(index: u64) -> Result<LocalSigner, KeyError> {
    let mut preimage = b"windlass-sim account ".to_vec();
    preimage.extend_from_slice(&index.to_be_bytes());
    LocalSigner::from_bytes(&keccak256(preimage).0)
}

/// A transaction to sign by hand: what a foreign user of the key, or a user of the chain, sends.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Chain id.
    pub chain_id: u64,
    /// Nonce.
    pub nonce: u64,
    /// Recipient.
    pub to: Address,
    /// Value in wei.
    pub value: U256,
    /// Call data.
    pub data: Bytes,
    /// Gas limit.
    pub gas_limit: u64,
    /// Fee cap in wei per gas.
    pub max_fee_per_gas: u128,
    /// Tip in wei per gas.
    pub max_priority_fee_per_gas: u128,
}

impl Transfer {
    /// A transfer of nothing to `to` with a fee cap of 100 gwei and a tip of 2 gwei.
    pub fn new(chain_id: u64, nonce: u64, to: Address) -> Self {
        Self {
            chain_id,
            nonce,
            to,
            value: U256::ZERO,
            data: Bytes::new(),
            gas_limit: 100_000,
            max_fee_per_gas: u128::from(100 * GWEI),
            max_priority_fee_per_gas: u128::from(2 * GWEI),
        }
    }

    /// The signed bytes.
    pub async fn sign(&self, signer: &dyn Signer) -> Result<Bytes, KeyError> {
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: self.max_fee_per_gas,
            max_priority_fee_per_gas: self.max_priority_fee_per_gas,
            to: TxKind::Call(self.to),
            value: self.value,
            access_list: Default::default(),
            input: self.data.clone(),
        };
        let signature = signer.sign_preimage(&transaction.encoded_for_signing()).await?;
        let signed = TxEnvelope::Eip1559(transaction.into_signed(signature));
        Ok(signed.encoded_2718().into())
    }
}
