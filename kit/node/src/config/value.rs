//! Typed values that a configuration can hold and that the standard library has no type for.

use std::fmt;

use alloy_primitives::U256;
use serde::{Serialize, Serializer};
use url::Url;
use zeroize::Zeroize;

/// What is printed in place of a secret.
pub const MASK: &str = "***";

/// A secret as it stands in the configuration: `env:NAME`, `file:path`, `command:...` or the secret itself.
///
/// Resolving it is the work of `windlass-keys`; this type only makes sure that nothing prints it. `Debug`, `Display` and
/// `Serialize` give [`MASK`]; the memory is cleared on drop.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Name of the method as a warning to the reader: do not print what it returns.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True for the forms that only point at a secret (`env:`, `file:`, `command:`), and so are not secret themselves.
    pub fn is_pointer(&self) -> bool {
        ["env:", "file:", "command:"].iter().any(|prefix| self.0.starts_with(prefix))
    }
}

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// A URL that may carry a key in its path, query or user part: of an RPC provider, of a webhook.
/// Printed as scheme, host and port only.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// Wraps a URL.
    pub fn new(url: Url) -> Self {
        Self(url)
    }

    /// The whole URL. Do not print what it returns.
    pub fn expose(&self) -> &Url {
        &self.0
    }

    /// Host and port, for labels in logs and on the dashboard.
    pub fn host(&self) -> String {
        host_of(&self.0)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask_url(&self.0))
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Host and port of a URL.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("");
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// A URL with everything after the host, and everything before it except the scheme, replaced by [`MASK`].
fn mask_url(url: &Url) -> String {
    if url.host_str().is_none() {
        // sqlite:path and the like: no host, nothing a provider could have put a key into.
        return url.to_string();
    }
    let bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if bare {
        return format!("{}://{}", url.scheme(), host_of(url));
    }
    format!("{}://{}/{MASK}", url.scheme(), host_of(url))
}

/// [`mask_url`] for a text that may not be a URL at all.
pub(crate) fn mask_url_text(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) => mask_url(&url),
        Err(_) => match text.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://{MASK}"),
            None => MASK.to_owned(),
        },
    }
}

/// A sum of the native coin, in wei. Written with a unit: `"1.5 gwei"`, `"0.1 ether"`, `"21000 wei"`, or `"0"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub U256);

impl Amount {
    /// The sum in wei.
    pub const fn wei(self) -> U256 {
        self.0
    }

    /// Reads `"<decimal> <unit>"`, unit being `wei`, `gwei`, `ether` or `eth`. Zero needs no unit.
    ///
    /// # Errors
    /// A sentence that says what is wrong: no unit, an unknown unit, not a number, a fraction of a wei, too large.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let (number, unit) = (number.trim(), unit.trim().to_ascii_lowercase());
        let decimals = match unit.as_str() {
            "wei" => 0,
            "gwei" => 9,
            "ether" | "eth" => 18,
            "" if number == "0" => 0,
            "" => return Err("the unit is missing".to_owned()),
            _ => return Err(format!("there is no unit {unit:?}")),
        };
        scaled(number, decimals).map(Self)
    }
}

/// `number` times ten to the power of `decimals`, exactly.
fn scaled(number: &str, decimals: usize) -> Result<U256, String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || (number.contains('.') && !digits(fraction)) {
        return Err(format!("{number:?} is not a plain decimal number"));
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > decimals {
        return Err("it has a fraction of a wei".to_owned());
    }
    let text = format!("{whole}{fraction:0<decimals$}");
    U256::from_str_radix(&text, 10).map_err(|_| "it does not fit into 256 bits".to_owned())
}

impl fmt::Display for Amount {
    /// In the largest unit that keeps the text short and exact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gwei = U256::from(1_000_000_000_u64);
        if self.0.is_zero() {
            return f.write_str("0");
        }
        if self.0 < U256::from(100_000_u64) {
            return write!(f, "{} wei", self.0);
        }
        let (decimals, unit) = if self.0 < gwei * U256::from(100_000_u64) { (9, "gwei") } else { (18, "ether") };
        let digits = format!("{:0>width$}", self.0.to_string(), width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(decimals));
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{whole} {unit}"),
            fraction => write!(f, "{whole}.{fraction} {unit}"),
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly() {
        for (text, wei) in [
            ("1.5 gwei", "1500000000"),
            ("0.1 ether", "100000000000000000"),
            ("2eth", "2000000000000000000"),
            ("21000 wei", "21000"),
            ("0", "0"),
            ("1.50 gwei", "1500000000"),
            ("0.000000001 gwei", "1"),
        ] {
            assert_eq!(Amount::parse(text).unwrap().wei().to_string(), wei, "{text}");
        }
    }

    #[test]
    fn wrong_amounts_say_what_is_wrong() {
        for (text, says) in [
            ("10", "unit is missing"),
            ("1 finney", "no unit"),
            ("1. gwei", "not a plain decimal"),
            ("-1 gwei", "not a plain decimal"),
            ("1e9 wei", "no unit"),
            ("0.5 wei", "fraction of a wei"),
            (".5 gwei", "not a plain decimal"),
            ("", "unit is missing"),
        ] {
            let error = Amount::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        let huge = format!("{} ether", "9".repeat(80));
        assert!(Amount::parse(&huge).unwrap_err().contains("256 bits"));
    }

    #[test]
    fn amounts_print_as_they_are_read() {
        for text in ["0", "1 wei", "99999 wei", "1.5 gwei", "0.1 ether", "12345.000000001 gwei", "123.456 ether"] {
            assert_eq!(Amount::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn secrets_print_nothing() {
        let secret = SecretText::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {}", serde_json::to_string(&secret).unwrap()), "*** *** \"***\"");
        let url = SecretUrl::new(Url::parse("https://user:pw@rpc.example:8545/v3/key?x=1").unwrap());
        assert_eq!(format!("{url} {url:?}"), "https://rpc.example:8545/*** https://rpc.example:8545/***");
        let bare = SecretUrl::new(Url::parse("http://127.0.0.1:8545").unwrap());
        assert_eq!(bare.to_string(), "http://127.0.0.1:8545");
    }
}
