//! The variables of `deploy`, read in the order that decides which fault is named.

use alloy_primitives::{Address, U256};
use windlass_keys::{KeyError, LocalSigner, Secret};

use super::super::env::Environment;
use crate::protocol::abi::Deployment;
use crate::protocol::{
    AddressError, AddressForm, Integer, IntegerError, ParsedAddress, parse_address_form, parse_address_list, parse_integer,
};

/// The variables `deploy` reads.
pub const VARIABLES: [&str; 6] =
    ["RPC_URL", "PRIV_KEY", "TOKEN_ADDRESS", "KEYPER_ADDRESSES", "REQUESTED_RATE", "START_TIMESTAMP"];

/// A variable is missing or wrong. The texts of the first four are those operators and scripts know.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// `<NAME> env variable should be set`.
    #[error("{0} env variable should be set")]
    Missing(&'static str),
    /// `TOKEN_ADDRESS is not an address`.
    #[error("TOKEN_ADDRESS is not an address")]
    TokenNotAnAddress,
    /// `KEYPER_ADDRESSES is not a comma separated list of addresses`.
    #[error("KEYPER_ADDRESSES is not a comma separated list of addresses")]
    KeypersNotAddresses,
    /// `<NAME> should be a decimal integer`.
    #[error("{0} should be a decimal integer")]
    NotAnInteger(&'static str),
    /// An address that is recognised but in a form that cannot be used.
    #[error("{name}: {source}")]
    IrregularAddress {
        /// The variable.
        name: &'static str,
        /// How to write it.
        #[source]
        source: AddressError,
    },
    /// An integer that the contract cannot store.
    #[error("{name} is {value}: {source}")]
    OutOfRange {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: Integer,
        /// The rule.
        #[source]
        source: IntegerError,
    },
    /// `PRIV_KEY` is no private key. The value is not repeated.
    #[error("PRIV_KEY is not a private key: {0}")]
    Key(#[source] KeyError),
}

/// Everything a deployment needs to know.
#[derive(Debug)]
pub struct Settings {
    /// The endpoint.
    pub rpc_url: String,
    /// The account that pays.
    pub signer: LocalSigner,
    /// Token, keypers, rate and start.
    pub deployment: Deployment,
}

impl Settings {
    /// Reads and checks the variables: key, token, keypers, rate, start; then what is well written but cannot be used.
    ///
    /// # Errors
    /// The first fault.
    pub fn read(environment: &Environment, default_rpc_url: &str) -> Result<Self, SettingsError> {
        // The network of the original did not exist without a key, so a missing one was noticed before anything else.
        let key = Secret::new(required(environment, "PRIV_KEY")?.to_owned());
        let signer = LocalSigner::from_hex(&key).map_err(SettingsError::Key)?;

        let token = parse_address_form(required(environment, "TOKEN_ADDRESS")?);
        let token = token.map_err(|_| SettingsError::TokenNotAnAddress)?;
        let keypers = parse_address_list(required(environment, "KEYPER_ADDRESSES")?);
        let keypers = keypers.map_err(|_| SettingsError::KeypersNotAddresses)?;
        let rate = integer(environment, "REQUESTED_RATE")?;
        let start = integer(environment, "START_TIMESTAMP")?;

        let keypers: Result<_, _> = keypers.into_iter().map(|keyper| regular("KEYPER_ADDRESSES", keyper)).collect();
        let deployment = Deployment {
            token: regular("TOKEN_ADDRESS", token)?,
            keypers: keypers?,
            requested_rate: fitting("REQUESTED_RATE", rate)?,
            start_timestamp: fitting("START_TIMESTAMP", start)?,
        };
        let rpc_url = match environment.get("RPC_URL") {
            "" => default_rpc_url,
            url => url,
        };
        Ok(Self { rpc_url: rpc_url.to_owned(), signer, deployment })
    }
}

fn required<'a>(environment: &'a Environment, name: &'static str) -> Result<&'a str, SettingsError> {
    match environment.get(name) {
        "" => Err(SettingsError::Missing(name)),
        value => Ok(value),
    }
}

fn integer(environment: &Environment, name: &'static str) -> Result<Integer, SettingsError> {
    parse_integer(required(environment, name)?).map_err(|_| SettingsError::NotAnInteger(name))
}

fn fitting(name: &'static str, value: Integer) -> Result<U256, SettingsError> {
    value.to_u256().map_err(|source| SettingsError::OutOfRange { name, value, source })
}

fn regular(name: &'static str, parsed: ParsedAddress) -> Result<Address, SettingsError> {
    match parsed.form {
        AddressForm::Regular => Ok(parsed.address),
        AddressForm::WithoutPrefix | AddressForm::Icap => {
            Err(SettingsError::IrregularAddress { name, source: AddressError::IrregularForm(parsed.address) })
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cli::env::Precedence;

    const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    const TOKEN: &str = "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512";
    const KEYPER: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";

    fn read(changes: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let mut values = vec![
            ("PRIV_KEY", KEY),
            ("TOKEN_ADDRESS", TOKEN),
            ("KEYPER_ADDRESSES", KEYPER),
            ("REQUESTED_RATE", "2"),
            ("START_TIMESTAMP", "1704067200"),
        ];
        values.extend(changes);
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Settings::read(&Environment::new(values, "", Precedence::default()), "http://localhost:8545")
    }

    fn fault(changes: &[(&str, &str)]) -> String {
        read(changes).unwrap_err().to_string()
    }

    #[test]
    fn good_settings() {
        let settings = read(&[("KEYPER_ADDRESSES", &format!(" {KEYPER} ,{}", KEYPER.to_lowercase()))]).unwrap();
        assert_eq!(settings.deployment.keypers.len(), 2);
        assert_eq!(settings.deployment.requested_rate, U256::from(2));
        assert_eq!(settings.rpc_url, "http://localhost:8545");
        assert_eq!(read(&[("RPC_URL", "http://node")]).unwrap().rpc_url, "http://node");
    }

    #[test]
    fn the_first_fault_in_order_is_named() {
        let mut changes = vec![];
        for (name, bad, expected) in [
            ("START_TIMESTAMP", "x", "START_TIMESTAMP should be a decimal integer"),
            ("START_TIMESTAMP", "", "START_TIMESTAMP env variable should be set"),
            ("REQUESTED_RATE", "1.5", "REQUESTED_RATE should be a decimal integer"),
            ("REQUESTED_RATE", "", "REQUESTED_RATE env variable should be set"),
            ("KEYPER_ADDRESSES", "0x12", "KEYPER_ADDRESSES is not a comma separated list of addresses"),
            ("KEYPER_ADDRESSES", "", "KEYPER_ADDRESSES env variable should be set"),
            ("TOKEN_ADDRESS", "0x", "TOKEN_ADDRESS is not an address"),
            ("TOKEN_ADDRESS", "", "TOKEN_ADDRESS env variable should be set"),
            ("PRIV_KEY", "", "PRIV_KEY env variable should be set"),
        ] {
            // Each fault is checked before those that were added earlier.
            changes.push((name, bad));
            assert_eq!(fault(&changes), expected);
        }
    }

    #[test]
    fn what_is_well_written_but_unusable_comes_last() {
        assert_eq!(fault(&[("REQUESTED_RATE", "-1")]), "REQUESTED_RATE is -1: out of range, must be from 0 to 2^256-1");
        let bare = KEYPER.trim_start_matches("0x");
        assert_eq!(fault(&[("KEYPER_ADDRESSES", bare)]), format!("KEYPER_ADDRESSES: write the address with 0x: {KEYPER}"));
        assert_eq!(fault(&[("TOKEN_ADDRESS", bare), ("START_TIMESTAMP", "x")]), "START_TIMESTAMP should be a decimal integer");
    }

    #[test]
    fn a_bad_key_is_never_repeated() {
        let text = fault(&[("PRIV_KEY", "0xdeadbeefdeadbeef")]);
        assert!(text.starts_with("PRIV_KEY is not a private key") && !text.contains("deadbeef"), "{text}");
    }
}
