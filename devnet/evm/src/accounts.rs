//! Accounts whose keys the chain holds, and accounts it lets act without a key.

use std::collections::BTreeSet;

use alloy_consensus::{SignableTransaction, Transaction, TxEnvelope, TypedTransaction};
use alloy_primitives::{Address, B256, Signature, U256, eip191_hash_message, keccak256};
use k256::ecdsa::SigningKey;

use crate::DevAccount;
use crate::block::SignedTx;
use crate::error::JsonRpcError;

impl DevAccount {
    /// The address of the key. An invalid key has the zero address and cannot sign.
    pub fn address(&self) -> Address {
        SigningKey::from_slice(self.secret.as_slice()).map_or(Address::ZERO, |key| Address::from_private_key(&key))
    }
}

/// Who may send without bringing a signature.
#[derive(Debug, Default)]
pub(crate) struct Signers {
    keys: Vec<(Address, Key)>,
    chain_id: u64,
    impersonated: BTreeSet<Address>,
    anybody: bool,
}

struct Key(SigningKey);

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

impl Signers {
    pub(crate) fn new(accounts: &[DevAccount], chain_id: u64) -> Self {
        let key = |account: &DevAccount| SigningKey::from_slice(account.secret.as_slice()).ok().map(Key);
        let keys = accounts.iter().filter_map(|account| Some((account.address(), key(account)?))).collect();
        Self { keys, chain_id, ..Self::default() }
    }

    /// Accounts with a key, then impersonated ones.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        let mut addresses: Vec<Address> = self.keys.iter().map(|(address, _)| *address).collect();
        addresses.extend(self.impersonated.iter().filter(|address| self.key(**address).is_none()));
        addresses
    }

    pub(crate) fn first(&self) -> Option<Address> {
        self.keys.first().map(|(address, _)| *address)
    }

    pub(crate) fn set_chain_id(&mut self, chain_id: u64) {
        self.chain_id = chain_id;
    }

    pub(crate) fn impersonate(&mut self, address: Address) {
        self.impersonated.insert(address);
    }

    pub(crate) fn stop_impersonating(&mut self, address: Address) {
        self.impersonated.remove(&address);
    }

    pub(crate) fn impersonate_anybody(&mut self, enabled: bool) {
        self.anybody = enabled;
    }

    fn key(&self, address: Address) -> Option<&SigningKey> {
        self.keys.iter().find(|(known, _)| *known == address).map(|(_, key)| &key.0)
    }

    fn sign_hash(&self, address: Address, hash: B256) -> Result<Signature, JsonRpcError> {
        let key = self.key(address).ok_or_else(|| JsonRpcError::invalid_params("No Signer available"))?;
        let signed = key.sign_prehash_recoverable(hash.as_slice());
        signed.map(Signature::from).map_err(|error| JsonRpcError::internal(error.to_string()))
    }

    /// Signs a message with the prefix of EIP-191.
    pub(crate) fn sign_message(&self, address: Address, message: &[u8]) -> Result<Signature, JsonRpcError> {
        self.sign_hash(address, eip191_hash_message(message))
    }

    /// Signs a transaction with the key of `from`.
    pub(crate) fn sign(&self, from: Address, tx: TypedTransaction) -> Result<SignedTx, JsonRpcError> {
        if let Some(id) = tx.chain_id().filter(|id| *id != self.chain_id && self.key(from).is_some()) {
            return Err(JsonRpcError::invalid_params(format!(
                "transaction-provided chain ID ({id}) does not match the signer's chain ID ({})",
                self.chain_id
            )));
        }
        let signature = self.sign_hash(from, tx.signature_hash())?;
        let envelope: TxEnvelope = tx.into_signed(signature).into();
        let hash = *envelope.tx_hash();
        Ok(SignedTx { envelope, hash, from })
    }

    /// Signs a transaction, or takes it without a signature if `from` is impersonated.
    pub(crate) fn authorize(&self, from: Address, tx: TypedTransaction) -> Result<SignedTx, JsonRpcError> {
        if !self.anybody && !self.impersonated.contains(&from) {
            return self.sign(from, tx);
        }
        Ok(self.unsigned(from, tx))
    }

    /// Takes a transaction as if `from` had signed it.
    pub(crate) fn unsigned(&self, from: Address, tx: TypedTransaction) -> SignedTx {
        let signature = Signature::new(U256::ZERO, U256::ZERO, false);
        let unsigned: TxEnvelope = tx.clone().into_signed(signature).into();
        // Without a signature two senders could have the same hash; the sender goes into it.
        let hash = keccak256([alloy_rlp::encode(&unsigned).as_slice(), from.as_slice()].concat());
        SignedTx { envelope: TxEnvelope::new_unchecked(tx, signature, hash), hash, from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DevnetConfig;
    use alloy_primitives::address;

    #[test]
    fn the_default_accounts_are_those_of_the_test_mnemonic() {
        let addresses = Signers::new(&DevnetConfig::default().accounts, 31337).addresses();
        assert_eq!(addresses.len(), 10);
        assert_eq!(addresses.first(), Some(&address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266")));
        assert_eq!(addresses.last(), Some(&address!("a0Ee7A142d267C1f36714E4a8F75612F20a79720")));
    }
}
