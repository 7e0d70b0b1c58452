//! Signed transactions as a node sees them: raw bytes in, the fields that the pool and the blocks need out.

use std::collections::HashMap;
use std::sync::Arc;

use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{Transaction as _, TxEnvelope, Typed2718};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};

use super::pool::Refusal;

/// A decoded transaction whose signature was checked.
#[derive(Debug)]
pub struct SignedTransaction {
    /// Hash of the raw bytes.
    pub hash: B256,
    /// The account that signed.
    pub sender: Address,
    /// Nonce of the sender.
    pub nonce: u64,
    /// Recipient; `None` creates a contract.
    pub to: Option<Address>,
    /// Value in wei.
    pub value: U256,
    /// Call data or init code.
    pub input: Bytes,
    /// Gas limit.
    pub gas_limit: u64,
    /// Highest price per gas in wei (`gasPrice` of the older types).
    pub max_fee_per_gas: u128,
    /// Highest tip per gas in wei (`gasPrice` of the older types).
    pub max_priority_fee_per_gas: u128,
    /// EIP-2718 type byte.
    pub kind: u8,
    /// The bytes as they came.
    pub raw: Bytes,
    pub(crate) envelope: TxEnvelope,
}

impl SignedTransaction {
    /// What the sender must own for the transaction to be accepted: `gas_limit * max_fee + value`.
    pub fn cost(&self) -> U256 {
        U256::from(self.gas_limit).saturating_mul(U256::from(self.max_fee_per_gas)).saturating_add(self.value)
    }

    /// The tip that a miner gets per gas under `base_fee`, or `None` if the transaction does not pay the base fee.
    pub fn effective_tip(&self, base_fee: u64) -> Option<u128> {
        self.max_fee_per_gas.checked_sub(u128::from(base_fee)).map(|left| left.min(self.max_priority_fee_per_gas))
    }

    /// Gas that a transaction uses before any code runs: 21,000 (53,000 for a creation) and 4 or 16 per byte.
    pub fn intrinsic_gas(&self) -> u64 {
        intrinsic_gas(&self.input, self.to.is_none())
    }
}

/// Gas used before code runs, for call data `input`.
pub(crate) fn intrinsic_gas(input: &[u8], create: bool) -> u64 {
    let base: u64 = if create { 53_000 } else { 21_000 };
    input.iter().fold(base, |sum, byte| sum + if *byte == 0 { 4 } else { 16 })
}

/// Decodes raw transactions and remembers the result: recovering a signer is the slowest thing that a debug build does.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    known: HashMap<B256, Arc<SignedTransaction>>,
}

impl Decoder {
    /// Decodes, checks the chain id and recovers the signer.
    pub(crate) fn decode(&mut self, raw: &[u8], chain_id: u64) -> Result<Arc<SignedTransaction>, Refusal> {
        let hash = keccak256(raw);
        if let Some(known) = self.known.get(&hash) {
            return Ok(known.clone());
        }
        let mut rest = raw;
        let envelope = TxEnvelope::decode_2718(&mut rest).map_err(|_| Refusal::Undecodable)?;
        if !rest.is_empty() {
            return Err(Refusal::Undecodable);
        }
        if envelope.ty() == 3 {
            return Err(Refusal::UnsupportedType);
        }
        match envelope.chain_id() {
            Some(found) if found != chain_id => {
                return Err(Refusal::WrongChain { expected: chain_id, found });
            }
            _ => {}
        }
        let sender = envelope.recover_signer().map_err(|_| Refusal::InvalidSender)?;
        let transaction = Arc::new(SignedTransaction {
            hash,
            sender,
            nonce: envelope.nonce(),
            to: envelope.to(),
            value: envelope.value(),
            input: envelope.input().clone(),
            gas_limit: envelope.gas_limit(),
            max_fee_per_gas: envelope.max_fee_per_gas(),
            max_priority_fee_per_gas: envelope.max_priority_fee_per_gas().unwrap_or_else(|| envelope.max_fee_per_gas()),
            kind: envelope.ty(),
            raw: Bytes::copy_from_slice(raw),
            envelope,
        });
        self.known.insert(hash, transaction.clone());
        Ok(transaction)
    }
}
