//! Recorded revert data against ours.
//!
//! The bytes must be the same, except that an address of a contract is another one on another chain. Accounts have the
//! recorded addresses, so whatever recorded address is no account stands for one of the contracts of the scenario, and
//! for the same one all the way.

use std::collections::BTreeMap;

use alloy_json_abi::{Error, JsonAbi};
use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::{Panic, Revert as RevertText, SolError};
use anyhow::{Context, ensure};
use serde::Deserialize;
use windlass_contracts::Artifact;

use super::super::same;

/// Revert data, read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
pub(super) enum Revert {
    /// `Error(string)`.
    Error { reason: String },
    /// `Panic(uint256)`, the code in hex.
    Panic { code: String },
    /// A custom error, its arguments in decimal or as checksummed addresses.
    #[serde(rename = "custom")]
    Custom { name: String, args: Vec<String> },
    /// No data.
    #[serde(rename = "empty")]
    Empty {},
}

/// Which recorded addresses stand for which contracts of this run.
#[derive(Debug, Default)]
pub(super) struct Substitution {
    /// Addresses of accounts: the same here and there.
    accounts: Vec<Address>,
    /// Contracts of this run that a revert may name.
    contracts: Vec<Address>,
    bound: BTreeMap<Address, Address>,
}

/// Checks that the recorded data mean what is recorded beside them, and that ours are the same.
pub(super) fn check(recorded: &Bytes, meaning: &Revert, ours: &Bytes, substitution: &mut Substitution) -> anyhow::Result<()> {
    same("the recorded revert", &read(recorded)?, meaning)?;
    let expected = substitution.translate(recorded, ours)?;
    ensure!(*ours == expected, "revert data: ours are {ours} ({:?}), recorded are {expected} ({meaning:?})", read(ours));
    Ok(())
}

/// Reads revert data. An error that neither the contract nor a token has is a failure.
pub(super) fn read(data: &Bytes) -> anyhow::Result<Revert> {
    if data.is_empty() {
        return Ok(Revert::Empty {});
    }
    if let Ok(text) = RevertText::abi_decode_validate(data) {
        return Ok(Revert::Error { reason: text.reason });
    }
    if let Ok(panic) = Panic::abi_decode_validate(data) {
        return Ok(Revert::Panic { code: format!("{:#04x}", panic.code) });
    }
    let error = error_of(data)?;
    let args = error.inputs.iter().zip(words(data)).map(|(input, word)| match input.ty.as_str() {
        "address" => as_address(word).map(|address| address.to_string()),
        _ => Ok(U256::from_be_slice(word).to_string()),
    });
    Ok(Revert::Custom { name: error.name.clone(), args: args.collect::<anyhow::Result<_>>()? })
}

impl Substitution {
    /// Nothing is bound yet.
    pub(super) fn new(accounts: impl IntoIterator<Item = Address>, contracts: impl IntoIterator<Item = Address>) -> Self {
        let (accounts, contracts) = (accounts.into_iter().collect(), contracts.into_iter().collect());
        Self { accounts, contracts, bound: BTreeMap::new() }
    }

    /// A contract that was deployed later.
    pub(super) fn add_contract(&mut self, contract: Address) {
        self.contracts.push(contract);
    }

    /// The recorded data as they must be in this run.
    fn translate(&mut self, recorded: &Bytes, ours: &Bytes) -> anyhow::Result<Bytes> {
        let Ok(error) = error_of(recorded) else {
            return Ok(recorded.clone());
        };
        let mut expected = recorded.to_vec();
        for (index, input) in error.inputs.iter().enumerate() {
            if input.ty != "address" {
                continue;
            }
            let position = 4 + 32 * index..4 + 32 * (index + 1);
            let there = as_address(recorded.get(position.clone()).context("the recorded data are too short")?)?;
            let Some(here) = ours.get(position.clone()).and_then(|word| as_address(word).ok()) else {
                continue;
            };
            let here = self.here(there, here)?;
            if let Some(word) = expected.get_mut(position) {
                word.copy_from_slice(here.into_word().as_slice());
            }
        }
        Ok(expected.into())
    }

    /// The address of this run for a recorded one. `candidate` is what stands in its place in this run.
    fn here(&mut self, recorded: Address, candidate: Address) -> anyhow::Result<Address> {
        if self.accounts.contains(&recorded) {
            return Ok(recorded);
        }
        if let Some(bound) = self.bound.get(&recorded) {
            return Ok(*bound);
        }
        ensure!(self.contracts.contains(&candidate), "{recorded} is recorded for a contract, ours names {candidate}");
        let taken = self.bound.iter().find(|(_, here)| **here == candidate);
        if let Some((other, _)) = taken {
            anyhow::bail!("{recorded} and {other} are both recorded for the contract {candidate}");
        }
        self.bound.insert(recorded, candidate);
        Ok(candidate)
    }
}

/// The custom error of these data, with the right number of argument words behind its selector.
fn error_of(data: &Bytes) -> anyhow::Result<Error> {
    let mut abis = Vec::new();
    for name in ["KeyperPayer", "TestToken"] {
        abis.push(Artifact::by_name(name).context("there is no artifact")?.abi()?);
    }
    let known = abis.iter().flat_map(JsonAbi::errors).find(|error| data.starts_with(error.selector().as_slice()));
    let error = known.with_context(|| format!("revert data {data} are of no known error"))?;
    ensure!(data.len() == 4 + 32 * error.inputs.len(), "revert data {data} are no well-formed {}", error.signature());
    Ok(error.clone())
}

fn words(data: &Bytes) -> impl Iterator<Item = &[u8]> {
    data.get(4..).unwrap_or_default().chunks_exact(32)
}

fn as_address(word: &[u8]) -> anyhow::Result<Address> {
    let value = U256::try_from_be_slice(word).filter(|value| value.bit_len() <= 160);
    Ok(Address::from_word(value.context("not an address")?.into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use windlass_contracts::TestToken::ERC20InsufficientBalance as Insufficient;

    const HERE: Address = Address::repeat_byte(1);
    const THERE: Address = Address::repeat_byte(2);

    fn data(sender: Address, balance: u64) -> Bytes {
        Insufficient { sender, balance: U256::from(balance), needed: U256::from(9) }.abi_encode().into()
    }

    fn meaning(sender: Address, balance: u64) -> Revert {
        Revert::Custom {
            name: "ERC20InsufficientBalance".into(),
            args: vec![sender.to_string(), balance.to_string(), "9".into()],
        }
    }

    #[test]
    fn a_contract_has_its_own_address_in_each_run() {
        let mut substitution = Substitution::new([], [HERE]);
        check(&data(THERE, 5), &meaning(THERE, 5), &data(HERE, 5), &mut substitution).unwrap();
        // The same recorded address stands for the same contract, and another one for another.
        check(&data(THERE, 6), &meaning(THERE, 6), &data(HERE, 6), &mut substitution).unwrap();
        let other = Address::repeat_byte(3);
        assert!(check(&data(other, 5), &meaning(other, 5), &data(HERE, 5), &mut substitution).is_err());
    }

    #[test]
    fn differences_are_found() {
        let mut substitution = Substitution::new([THERE], [HERE]);
        check(&data(THERE, 5), &meaning(THERE, 5), &data(THERE, 5), &mut substitution).unwrap();
        for (recorded, meaning, ours) in [
            (data(THERE, 5), meaning(THERE, 5), data(THERE, 6)),
            (data(THERE, 5), meaning(THERE, 6), data(THERE, 5)),
            (data(THERE, 5), meaning(THERE, 5), data(HERE, 5)),
            (data(THERE, 5), meaning(THERE, 5), Bytes::new()),
            (Bytes::new(), Revert::Empty {}, data(THERE, 5)),
            (Bytes::new(), meaning(THERE, 5), Bytes::new()),
            (Bytes::from_static(&[1, 2, 3, 4]), Revert::Empty {}, Bytes::from_static(&[1, 2, 3, 4])),
        ] {
            assert!(check(&recorded, &meaning, &ours, &mut substitution).is_err(), "{recorded} {meaning:?} {ours}");
        }
    }
}
