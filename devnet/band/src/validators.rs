//! Consensus validators: keys, powers, order, hash.

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use k256::ecdsa::SigningKey;
use windlass_vrf_protocol::merkle;
use windlass_vrf_protocol::signature::{eth_address, validator_address};
use windlass_vrf_protocol::varint::{push_bytes, push_field};

use crate::config::GenesisValidator;
use crate::error::BuildError;

/// A validator that votes.
#[derive(Clone)]
pub struct Validator {
    key: SigningKey,
    public_key: [u8; 33],
    address: [u8; 20],
    evm_address: Address,
    power: u64,
}

impl std::fmt::Debug for Validator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { evm_address, power, .. } = self;
        f.debug_struct("Validator").field("evm_address", evm_address).field("power", power).finish_non_exhaustive()
    }
}

impl Validator {
    /// A validator with this private key. `None` if the key is zero or not below the order of the curve.
    pub fn new(private_key: &B256, power: u64) -> Option<Self> {
        let key = SigningKey::from_slice(private_key.as_slice()).ok()?;
        let public_key = <[u8; 33]>::try_from(key.verifying_key().to_encoded_point(true).as_bytes()).ok()?;
        Some(Self {
            address: validator_address(&public_key),
            evm_address: eth_address(key.verifying_key()),
            public_key,
            key,
            power,
        })
    }

    /// The same validator with another private key. `None` if the key is none.
    #[must_use]
    pub fn with_key(&self, private_key: &B256) -> Option<Self> {
        Self::new(private_key, self.power)
    }

    /// The key that it signs with.
    pub fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// Compressed public key.
    pub fn public_key(&self) -> &[u8; 33] {
        &self.public_key
    }

    /// CometBFT's address of the key.
    pub fn address(&self) -> &[u8; 20] {
        &self.address
    }

    /// The Bridge's address of the key.
    pub fn evm_address(&self) -> Address {
        self.evm_address
    }

    /// Voting power.
    pub fn power(&self) -> u64 {
        self.power
    }

    /// CometBFT's `SimpleValidator{1 pub_key{2 secp256k1}, 2 voting_power}`.
    fn encode(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(35);
        push_bytes(&mut key, 2, &self.public_key);
        let mut out = Vec::with_capacity(48);
        push_bytes(&mut out, 1, &key);
        push_field(&mut out, 2, self.power);
        out
    }
}

/// The validators of a block: by power, the strongest first, then by address. Clones share the list.
#[derive(Clone, Debug)]
pub struct ValidatorSet {
    validators: Arc<[Validator]>,
    hash: B256,
}

impl ValidatorSet {
    /// A set of these validators, in any order.
    pub fn new(mut validators: Vec<Validator>) -> Self {
        validators.sort_by(|a, b| b.power.cmp(&a.power).then_with(|| a.address.cmp(&b.address)));
        let items: Vec<Vec<u8>> = validators.iter().map(Validator::encode).collect();
        Self { validators: validators.into(), hash: merkle::root(&items) }
    }

    /// The validators of the genesis block.
    ///
    /// # Errors
    /// [`BuildError::PrivateKey`] for a key that is none.
    pub fn genesis(validators: &[GenesisValidator]) -> Result<Self, BuildError> {
        let one = |(index, validator): (usize, &GenesisValidator)| {
            Validator::new(&validator.private_key, validator.power).ok_or(BuildError::PrivateKey { index })
        };
        Ok(Self::new(validators.iter().enumerate().map(one).collect::<Result<_, _>>()?))
    }

    /// The validators in the order of the set.
    pub fn validators(&self) -> &[Validator] {
        &self.validators
    }

    /// What headers call `validators_hash`.
    pub fn hash(&self) -> B256 {
        self.hash
    }

    /// Addresses and powers as the Bridge is initialized with them.
    pub fn for_bridge(&self) -> Vec<(Address, u64)> {
        self.validators.iter().map(|validator| (validator.evm_address, validator.power)).collect()
    }

    /// The validator whose turn it is to propose.
    pub(crate) fn proposer(&self, height: u64) -> [u8; 20] {
        let index = height % (self.validators.len() as u64).max(1);
        self.validators.get(index as usize).map(|validator| validator.address).unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_by_power_then_address() {
        let with = |power| GenesisValidator { power, ..GenesisValidator::many(power, 1).remove(0) };
        let set = ValidatorSet::genesis(&[with(1), with(5), with(3)]).unwrap();
        assert_eq!(set.for_bridge().iter().map(|(_, power)| *power).collect::<Vec<_>>(), [5, 3, 1]);
        let equal: Vec<_> = (10..14).map(|seed| GenesisValidator { power: 7, ..with(seed) }).collect();
        let set = ValidatorSet::genesis(&equal).unwrap();
        assert!(set.validators().is_sorted_by_key(|validator| validator.address));
        assert_ne!(set.proposer(1), set.proposer(2));
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        let none = GenesisValidator { private_key: B256::ZERO, power: 1 };
        assert!(matches!(ValidatorSet::genesis(&[none]), Err(BuildError::PrivateKey { index: 0 })));
    }
}
