//! Reading single values out of settings, with everything that is wrong told at once.

use std::fmt::Display;
use std::str::FromStr;

use alloy_primitives::Address;
use url::Url;
use windlass_node::config::SecretText;

use super::settings::FormerSecret;
use super::{ImportError, ImportFailure, Note, Place};
use crate::config::{GasPrice, parse_grpc};

/// A value and where it stands. Not `Debug`: it may be a secret.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) text: String,
    pub(super) place: Place,
}

type Lookup<'a> = Box<dyn Fn(&str) -> Option<Found> + 'a>;

/// Settings, read one by one.
pub(super) struct Reader<'a> {
    lookup: Lookup<'a>,
    /// The source as a whole, for what is missing.
    pub(super) source: String,
    pub(super) errors: Vec<ImportError>,
    pub(super) notes: Vec<Note>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: impl Into<String>, lookup: impl Fn(&str) -> Option<Found> + 'a) -> Self {
        Self { lookup: Box::new(lookup), source: source.into(), errors: Vec::new(), notes: Vec::new() }
    }

    /// The settings with all notes, or everything that was wrong; both in the order of the source.
    pub(super) fn finish<T>(mut self, settings: T) -> Result<(T, Vec<Note>), ImportFailure> {
        let line = |place: &Place| match place {
            Place::Line { line, .. } => *line,
            Place::Variable(_) | Place::Missing(_) => usize::MAX,
        };
        self.errors.sort_by_key(|error| line(&error.place));
        self.notes.sort_by_key(|note| line(&note.place));
        match self.errors.is_empty() {
            true => Ok((settings, self.notes)),
            false => Err(ImportFailure::Settings(self.errors)),
        }
    }

    /// The value of a key without blanks around; nothing if it is empty or still the text of the template, `<...>`.
    pub(super) fn find(&self, key: &str) -> Option<Found> {
        let mut found = (self.lookup)(key)?;
        found.text = found.text.trim().to_owned();
        let template = found.text.starts_with('<') && found.text.ends_with('>');
        (!found.text.is_empty() && !template).then_some(found)
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.find(key).map(|found| found.text)
    }

    pub(super) fn note(&mut self, key: &str, text: impl Into<String>) {
        let place = (self.lookup)(key).map_or_else(|| Place::Missing(self.source.clone()), |found| found.place);
        self.notes.push(Note { place, key: key.to_owned(), text: text.into() });
    }

    pub(super) fn error(&mut self, key: &str, rule: impl Into<String>, remedy: impl Into<String>) {
        let place = (self.lookup)(key).map_or_else(|| Place::Missing(self.source.clone()), |found| found.place);
        self.errors.push(ImportError { place, key: key.to_owned(), rule: rule.into(), remedy: remedy.into() });
    }

    /// A whole number of the former settings.
    pub(super) fn number<T: FromStr + Display>(&mut self, key: &str, default: T) -> T {
        let Some(found) = self.find(key) else { return default };
        let digits = found.text.replace('_', "");
        match digits.parse() {
            Ok(number) if digits.bytes().all(|b| b.is_ascii_digit()) => number,
            _ => {
                self.error(
                    key,
                    "must be a whole number that is not negative and not too large",
                    format!("write for example {default}"),
                );
                default
            }
        }
    }

    /// A price, also in the notation of floating point numbers.
    pub(super) fn price(&mut self, key: &str, default: &str) -> GasPrice {
        let text = self.text(key).unwrap_or_else(|| default.to_owned());
        let plain = match text.contains(['e', 'E']) {
            true => text.parse::<f64>().ok().filter(|price| price.is_finite()).map_or(text, |price| price.to_string()),
            false => text,
        };
        plain.parse().unwrap_or_else(|_| {
            self.error(key, "must be a decimal number that is not negative", format!("write for example {default}"));
            GasPrice::default()
        })
    }

    /// The address of a contract.
    pub(super) fn address(&mut self, key: &str) -> Option<Address> {
        let found = self.find(key)?;
        let parsed = match parse_address(&found.text) {
            Some(parsed) if parsed.1 && !parsed.0.is_zero() => Some(parsed.0),
            Some(parsed) if !parsed.1 => {
                self.error(
                    key,
                    "the mix of upper and lower case is no correct checksum: a digit was mistyped",
                    "copy the address again from a block explorer",
                );
                None
            }
            _ => {
                self.error(
                    key,
                    "must be the address of a contract: 0x and 40 hexadecimal digits, not all zero",
                    "copy the address from a block explorer",
                );
                None
            }
        };
        Some(parsed.unwrap_or_default())
    }

    /// The address of a contract that must be there.
    pub(super) fn required_address(&mut self, key: &str) -> Address {
        self.address(key).unwrap_or_else(|| {
            self.error(key, "is required: the address of a contract", format!("write {key}, the address of the contract"));
            Address::ZERO
        })
    }

    /// Callers, each given as text with its place. The former workers compared texts, so that some of them never matched.
    pub(super) fn callers(&mut self, key: &str, texts: &[Found]) -> Vec<Address> {
        let mut callers = Vec::new();
        for found in texts {
            let text = found.text.trim();
            let mut told = |text: String| self.notes.push(Note { place: found.place.clone(), key: key.to_owned(), text });
            match parse_address(text) {
                _ if text.is_empty() => {}
                None => told(format!("{text:?} is no address and is left out; the former worker never served it either")),
                Some((address, right)) => {
                    if !right {
                        told(format!(
                            "{text} has no correct checksum, so the former worker never served it; it is served now: check its digits"
                        ));
                    } else if address.to_checksum(None) != text {
                        told(format!(
                            "{text} is not in checksum notation, so the former worker never served it; it is served now"
                        ));
                    }
                    if !callers.contains(&address) {
                        callers.push(address);
                    }
                }
            }
        }
        if callers.is_empty() {
            self.note(key, "no caller is named, so no request is served, as with the former worker; add addresses to callers");
        }
        callers
    }

    /// URLs in a list with commas.
    pub(super) fn urls(&mut self, key: &str) -> Vec<String> {
        let Some(text) = self.text(key) else { return Vec::new() };
        let mut urls = Vec::new();
        for (index, part) in text.split(',').map(str::trim).enumerate().filter(|(_, part)| !part.is_empty()) {
            match Url::parse(part) {
                Ok(url) if matches!(url.scheme(), "http" | "https" | "ws" | "wss") && url.has_host() => {
                    urls.push(part.trim_end_matches('/').to_owned());
                }
                // The text itself is not shown: it may hold a key.
                _ => self.error(
                    key,
                    format!(
                        "element {} must be a URL that starts with http://, https://, ws:// or wss://",
                        index.saturating_add(1)
                    ),
                    "write the whole URL, with its scheme",
                ),
            }
        }
        urls
    }

    /// gRPC endpoints in a list with commas.
    pub(super) fn grpc(&mut self, key: &str, default: Option<&str>) -> Vec<String> {
        let text = match (self.text(key), default) {
            (Some(text), _) => text,
            (None, Some(default)) => default.to_owned(),
            (None, None) => {
                self.error(key, "is required: a gRPC endpoint of BandChain", "write for example laozi1.bandchain.org:443");
                return Vec::new();
            }
        };
        let mut endpoints = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match parse_grpc(part) {
                Ok(_) => endpoints.push(part.to_owned()),
                Err(reason) => self.error(
                    key,
                    format!("invalid grpc endpoint. endpoint must be in the format of host:port; {reason}"),
                    "write for example laozi1.bandchain.org:443",
                ),
            }
        }
        endpoints
    }

    /// A secret that may stand in the settings or be given in a variable.
    pub(super) fn secret(&self, key: &str, variable: &'static str) -> FormerSecret {
        match self.find(key) {
            Some(found) => FormerSecret { value: Some(SecretText::new(found.text)), place: found.place, variable },
            None => FormerSecret { value: None, place: Place::Missing(self.source.clone()), variable },
        }
    }
}

/// An address and whether its case is right: one case, or a correct checksum. The `0x` may be missing, as it may for the former worker.
fn parse_address(text: &str) -> Option<(Address, bool)> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let address = Address::from_str(digits).ok().filter(|_| digits.len() == 40)?;
    let one_case = !digits.bytes().any(|b| b.is_ascii_uppercase()) || !digits.bytes().any(|b| b.is_ascii_lowercase());
    Some((address, one_case || address.to_checksum(None).strip_prefix("0x") == Some(digits)))
}
