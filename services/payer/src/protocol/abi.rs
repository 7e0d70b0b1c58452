//! Calldata, constructor arguments and return values of the payment contract, and the one token call a payer needs.

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::{SolCall, SolConstructor, SolValue, sol};
use windlass_contracts::{KeyperPayer, init_code};

sol! {
    /// Lets `spender` take up to `amount` of the caller's tokens.
    function approve(address spender, uint256 amount) external returns (bool);
}

/// What an agreement is deployed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The token payments are made in.
    pub token: Address,
    /// The keyper entries in order, duplicates included.
    pub keypers: Vec<Address>,
    /// Token base units per second for the whole set.
    pub requested_rate: U256,
    /// Unix seconds.
    pub start_timestamp: U256,
}

impl Deployment {
    /// The ABI-encoded constructor arguments, as they follow the creation code.
    pub fn constructor_arguments(&self) -> Bytes {
        self.constructor().abi_encode().into()
    }

    /// The data of the transaction that creates the contract.
    pub fn creation_data(&self) -> Bytes {
        init_code(&KeyperPayer::BYTECODE, &self.constructor())
    }

    fn constructor(&self) -> KeyperPayer::constructorCall {
        KeyperPayer::constructorCall {
            _sptTokenAddress: self.token,
            _keypers: self.keypers.clone(),
            _requestedRate: self.requested_rate,
            _startTimestamp: self.start_timestamp,
        }
    }
}

/// Calldata of `pay(amount)`.
pub fn pay(amount: U256) -> Bytes {
    KeyperPayer::payCall { amount }.abi_encode().into()
}

/// Calldata of `withdraw()`.
pub fn withdraw() -> Bytes {
    KeyperPayer::withdrawCall {}.abi_encode().into()
}

/// Calldata of `isPaid()`.
pub fn is_paid() -> Bytes {
    KeyperPayer::isPaidCall {}.abi_encode().into()
}

/// Calldata of `balanceOf(keyper)`, the same on the contract and on any ERC-20 token.
pub fn balance_of(keyper: Address) -> Bytes {
    KeyperPayer::balanceOfCall { keyperAddress: keyper }.abi_encode().into()
}

/// Calldata of the token's `approve(spender, amount)`.
pub fn approve(spender: Address, amount: U256) -> Bytes {
    approveCall { spender, amount }.abi_encode().into()
}

/// Reads the answer to `isPaid()`. `None` when it is not one ABI-encoded boolean: no contract, or another one.
pub fn decode_is_paid(output: &[u8]) -> Option<bool> {
    KeyperPayer::isPaidCall::abi_decode_returns_validate(output).ok()
}

/// Reads the answer to `getKeypers()`. `None` when it is not an ABI-encoded list of addresses.
pub fn decode_keypers(output: &[u8]) -> Option<Vec<Address>> {
    KeyperPayer::getKeypersCall::abi_decode_returns_validate(output).ok()
}

/// What `getKeypers()` answers for this list.
pub fn encode_keypers(keypers: &[Address]) -> Bytes {
    keypers.abi_encode().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_clean_boolean_is_an_answer() {
        let word = |last: u8| {
            let mut word = [0u8; 32];
            if let Some(byte) = word.last_mut() {
                *byte = last;
            }
            word
        };
        assert_eq!(decode_is_paid(&word(0)), Some(false));
        assert_eq!(decode_is_paid(&word(1)), Some(true));
        assert_eq!(decode_is_paid(&word(2)), None);
        assert_eq!(decode_is_paid(&[]), None);
        assert_eq!(decode_is_paid(&[0; 31]), None);
        assert_eq!(decode_is_paid(&[0xff; 32]), None);
    }

    proptest! {
        #[test]
        fn keyper_lists_survive_a_round_trip(list in proptest::collection::vec(any::<[u8; 20]>(), 0..20)) {
            let list: Vec<Address> = list.into_iter().map(Address::from).collect();
            prop_assert_eq!(decode_keypers(&encode_keypers(&list)), Some(list));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_keypers(&bytes);
            let _ = decode_is_paid(&bytes);
        }
    }
}
