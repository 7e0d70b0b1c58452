//! The types of values a key can have: how each is read from TOML and from plain text, named, and printed.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use url::Url;

use super::raw::Raw;
use super::value::{Amount, MASK, SecretText, SecretUrl, mask_url_text};

/// How much of a value may be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mask {
    /// All of it.
    Open,
    /// Nothing.
    Secret,
    /// Scheme and host.
    Url,
}

/// How a value is written in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Literal {
    /// In quotes.
    Quoted,
    /// As it is: numbers and booleans.
    Bare,
    /// A list of quoted values.
    QuotedList,
    /// A list of bare values.
    BareList,
}

type Parse<T> = Arc<dyn Fn(&Raw) -> Result<T, String> + Send + Sync>;

/// A type of value: made by the functions of this module, used by [`Keys::key`](super::Keys::key) and [`list`].
#[derive(Clone)]
pub struct Kind<T> {
    /// For the reference: `duration`, `list of addresses`.
    pub(crate) name: String,
    /// For errors, to follow "must be": `a duration with a unit, such as "10s"`.
    pub(crate) rule: String,
    /// A valid value as plain text, for the example file and for remedies.
    pub(crate) example: String,
    pub(crate) mask: Mask,
    pub(crate) literal: Literal,
    pub(crate) parse: Parse<T>,
    /// Stands in for a value that was missing or wrong, until the errors are reported. Never reaches a service.
    pub(crate) placeholder: T,
    /// For a key that names an instance of another section: the kind of that section.
    pub(crate) refers_to: Option<&'static str>,
    /// The allowed words with what each means, for the reference.
    pub(crate) words: Vec<(&'static str, &'static str)>,
}

impl<T> fmt::Debug for Kind<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({})", self.name)
    }
}

impl<T> Kind<T> {
    fn new(
        name: &str,
        rule: &str,
        example: &str,
        literal: Literal,
        placeholder: T,
        parse: impl Fn(&Raw) -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            rule: rule.to_owned(),
            example: example.to_owned(),
            mask: Mask::Open,
            literal,
            parse: Arc::new(parse),
            placeholder,
            refers_to: None,
            words: Vec::new(),
        }
    }

    fn masked(mut self, mask: Mask) -> Self {
        self.mask = mask;
        self
    }

    /// The same kind with its values masked wherever they would be printed.
    #[must_use]
    pub fn secret(self) -> Self {
        self.masked(Mask::Secret)
    }

    /// The same kind with its values shown as scheme and host.
    #[must_use]
    pub(crate) fn shown_as_url(self) -> Self {
        self.masked(Mask::Url)
    }

    /// The value as it may be shown.
    pub(crate) fn show(&self, raw: &Raw) -> String {
        raw.show(self.literal, self.mask)
    }
}

/// Any text.
pub fn string() -> Kind<String> {
    Kind::new("string", "a text in quotes", "text", Literal::Quoted, String::new(), |raw| raw.text().map(str::to_owned))
}

/// `true` or `false`.
pub fn boolean() -> Kind<bool> {
    Kind::new("boolean", "true or false", "true", Literal::Bare, false, |raw| match raw {
        Raw::Boolean(value) => Ok(*value),
        Raw::Text(text) => match text.trim() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(String::new()),
        },
        _ => Err(String::new()),
    })
}

/// A whole number that fits into `T` (`u16`, `u32`, `u64`, `usize`, `i64` ...).
pub fn integer<T>() -> Kind<T>
where
    T: TryFrom<i128> + Default + Send + Sync + 'static,
{
    Kind::new("integer", "a whole number", "1", Literal::Bare, T::default(), |raw| {
        let number = match raw {
            Raw::Integer(number) => i128::from(*number),
            Raw::Text(text) => text.trim().replace('_', "").parse().map_err(|_| String::new())?,
            _ => return Err(String::new()),
        };
        T::try_from(number).map_err(|_| "it is too small or too large".to_owned())
    })
}

/// A whole number of up to 256 bits: a TOML integer, or a text of decimal or `0x` hexadecimal digits.
pub fn u256() -> Kind<U256> {
    let rule = "a whole number from 0 to 2^256 - 1 (in quotes when it is larger than 2^63 - 1)";
    Kind::new("256-bit integer", rule, "1000", Literal::Quoted, U256::ZERO, |raw| match raw {
        Raw::Integer(number) => u64::try_from(*number).map(U256::from).map_err(|_| "it is negative".to_owned()),
        other => {
            let text = other.text()?.trim().replace('_', "");
            let parsed = match text.strip_prefix("0x") {
                Some(digits) if !digits.is_empty() => U256::from_str_radix(digits, 16),
                _ if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) => return Err(String::new()),
                _ => U256::from_str_radix(&text, 10),
            };
            parsed.map_err(|error| error.to_string())
        }
    })
}

/// A span of time with a unit: `"10s"`, `"1m 30s"`, `"500ms"`, `"2h"`, `"7d"`.
pub fn duration() -> Kind<Duration> {
    let rule = "a duration with a unit, such as \"10s\", \"1m 30s\", \"500ms\" or \"2h\"";
    Kind::new("duration", rule, "10s", Literal::Quoted, Duration::ZERO, |raw| {
        if matches!(raw, Raw::Integer(_) | Raw::Float(_)) {
            return Err("the unit is missing".to_owned());
        }
        humantime::parse_duration(raw.text()?.trim()).map_err(|_| String::new())
    })
}

/// A sum of the native coin with a unit: `"1.5 gwei"`, `"0.1 ether"`, `"21000 wei"`.
pub fn amount() -> Kind<Amount> {
    let rule = "an amount with a unit, such as \"1.5 gwei\", \"0.1 ether\" or \"21000 wei\"";
    Kind::new("amount", rule, "1.5 gwei", Literal::Quoted, Amount::default(), |raw| match raw {
        Raw::Integer(0) => Ok(Amount::default()),
        Raw::Integer(_) | Raw::Float(_) => Err("the unit is missing".to_owned()),
        other => Amount::parse(other.text()?),
    })
}

/// An Ethereum address: `0x` and 40 hexadecimal digits; mixed case must be a correct EIP-55 checksum.
pub fn address() -> Kind<Address> {
    let rule = "an address: 0x and 40 hexadecimal digits, in one case or with a correct checksum";
    let example = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
    Kind::new("address", rule, example, Literal::Quoted, Address::ZERO, |raw| {
        let text = raw.text()?.trim();
        let digits = text.strip_prefix("0x").ok_or_else(|| "the 0x is missing".to_owned())?;
        if digits.len() != 40 {
            return Err(format!("it has {} digits after 0x", digits.chars().count()));
        }
        let parsed = Address::from_str(text).map_err(|_| "it has a character that is no hexadecimal digit".to_owned())?;
        let one_case = !digits.bytes().any(|b| b.is_ascii_uppercase()) || !digits.bytes().any(|b| b.is_ascii_lowercase());
        if !one_case && parsed.to_checksum(None) != text {
            return Err("the checksum (the mix of upper and lower case) is wrong: a digit was mistyped".to_owned());
        }
        Ok(parsed)
    })
}

/// An absolute `http`, `https`, `ws` or `wss` URL without secrets in it. Its user part, path and query are masked all the same.
pub fn url() -> Kind<Url> {
    let rule = "a URL that starts with http://, https://, ws:// or wss://";
    Kind::new("URL", rule, "https://example.org", Literal::Quoted, local_url(), |raw| parse_url(raw.text()?)).masked(Mask::Url)
}

/// [`url()`] for URLs that may hold a key (RPC providers, webhooks): kept in a [`SecretUrl`].
pub fn secret_url() -> Kind<SecretUrl> {
    let rule = "a URL that starts with http://, https://, ws:// or wss://";
    let example = "https://rpc.example.org";
    let placeholder = SecretUrl::new(local_url());
    Kind::new("URL (may hold a key)", rule, example, Literal::Quoted, placeholder, |raw| {
        parse_url(raw.text()?).map(SecretUrl::new)
    })
    .masked(Mask::Url)
}

/// A secret: `env:NAME`, `file:path`, `command:program arguments`, or the secret itself (for development).
pub fn secret() -> Kind<SecretText> {
    let rule = "a secret: \"env:NAME\", \"file:path\", \"command:program arguments\", or the secret itself";
    Kind::new("secret", rule, "env:NAME", Literal::Quoted, SecretText::default(), |raw| {
        let text = raw.text()?;
        if text.trim().is_empty() {
            return Err("it is empty".to_owned());
        }
        Ok(SecretText::new(text))
    })
    .masked(Mask::Secret)
}

/// A path in the file system.
pub fn path() -> Kind<PathBuf> {
    Kind::new("path", "a path", "/var/lib/windlass", Literal::Quoted, PathBuf::new(), |raw| {
        let text = raw.text()?;
        if text.trim().is_empty() {
            return Err("it is empty".to_owned());
        }
        Ok(PathBuf::from(text))
    })
}

/// An IP address and a port.
pub fn socket_address() -> Kind<SocketAddr> {
    let placeholder = SocketAddr::from(([127, 0, 0, 1], 0));
    let rule = "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
    Kind::new("socket address", rule, "127.0.0.1:8080", Literal::Quoted, placeholder, |raw| {
        let text = raw.text()?.trim();
        let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        text.parse().map_err(|_| String::new())
    })
}

/// One of several words. Each is `(word, value, what it means)`; the list must not be empty.
pub fn choice<T: Clone + Send + Sync + 'static>(first: Word<T>, others: Vec<Word<T>>) -> Kind<T> {
    let placeholder = first.1.clone();
    let mut words = vec![first];
    words.extend(others);
    let names: Vec<String> = words.iter().map(|word| format!("\"{}\"", word.0)).collect();
    let rule = format!("one of {}", names.join(", "));
    let example = words.first().map(|word| word.0).unwrap_or_default();
    let docs = words.iter().map(|word| (word.0, word.2)).collect();
    let mut kind = Kind::new("choice", &rule, example, Literal::Quoted, placeholder, move |raw| {
        let text = raw.text()?.trim();
        if let Some((_, value, _)) = words.iter().find(|(word, _, _)| *word == text) {
            return Ok(value.clone());
        }
        match super::suggest(text, words.iter().map(|(word, _, _)| *word)) {
            Some(word) => Err(format!("did you mean {word:?}?")),
            None => Err(String::new()),
        }
    });
    kind.words = docs;
    kind
}

/// A word of [`choice`]: the word, its value, what it means.
pub type Word<T> = (&'static str, T, &'static str);

/// The name of an instance of another named section, for example of a `[chain.<name>]`. Checked to exist.
pub fn instance_of(kind: &'static str) -> Kind<String> {
    let rule = format!("the name of a [{kind}.<name>] section");
    let name = format!("name of a [{kind}.*] section");
    let mut made = Kind::new(&name, &rule, "gnosis", Literal::Quoted, String::new(), |raw| raw.text().map(str::to_owned));
    made.refers_to = Some(kind);
    made
}

/// A value in a notation of the service's own, written as a text. `parse` returns what is wrong as a short sentence.
pub fn custom<T: Send + Sync + 'static>(
    name: &str,
    rule: &str,
    example: &str,
    placeholder: T,
    parse: impl Fn(&str) -> Result<T, String> + Send + Sync + 'static,
) -> Kind<T> {
    Kind::new(name, rule, example, Literal::Quoted, placeholder, move |raw| match raw {
        Raw::Integer(number) => parse(&number.to_string()),
        other => parse(other.text()?),
    })
}

/// A list. In TOML an array; in the environment and in `--set` either an array or values separated by commas.
pub fn list<T: Send + Sync + 'static>(of: Kind<T>) -> Kind<Vec<T>> {
    let literal = match of.literal {
        Literal::Bare | Literal::BareList => Literal::BareList,
        Literal::Quoted | Literal::QuotedList => Literal::QuotedList,
    };
    let parse = of.parse.clone();
    Kind {
        name: format!("list of {}", of.name),
        rule: format!("a list [a, b] in which each is {}", of.rule),
        example: of.example.clone(),
        mask: of.mask,
        literal,
        placeholder: Vec::new(),
        refers_to: of.refers_to,
        words: of.words.clone(),
        parse: Arc::new(move |raw| {
            let elements = raw.elements()?;
            let mut values = Vec::with_capacity(elements.len());
            for (index, element) in elements.iter().enumerate() {
                values.push(parse(element).map_err(|error| match error.as_str() {
                    "" => format!("element {} is not", index + 1),
                    _ => format!("element {}: {error}", index + 1),
                })?);
            }
            Ok(values)
        }),
    }
}

fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" | "ws" | "wss" if url.has_host() => Ok(url),
        "http" | "https" | "ws" | "wss" => Err("the host is missing".to_owned()),
        scheme => Err(format!("there is no support for {scheme:?}")),
    }
}

fn local_url() -> Url {
    #[expect(clippy::expect_used, reason = "a constant that is a valid URL")]
    Url::parse("http://localhost/").expect("a valid URL")
}

/// A plain text (environment, flag, default) as a TOML literal.
pub(crate) fn text_literal(text: &str, literal: Literal, mask: Mask) -> String {
    let quote = |text: &str| match mask {
        Mask::Open => toml_edit::Value::from(text).to_string(),
        // Where a secret is to be found is no secret, and what an operator wants to know.
        Mask::Secret if text.starts_with("env:") || text.starts_with("file:") => toml_edit::Value::from(text).to_string(),
        Mask::Secret => format!("\"{MASK}\""),
        Mask::Url if text.starts_with("command:") => format!("\"command:{MASK}\""),
        Mask::Url => format!("\"{}\"", mask_url_text(text)),
    };
    match literal {
        Literal::Quoted => quote(text),
        Literal::Bare if mask == Mask::Open => text.trim().to_owned(),
        Literal::Bare => quote(text),
        Literal::QuotedList | Literal::BareList => {
            let inner = if literal == Literal::BareList { Literal::Bare } else { Literal::Quoted };
            let elements = Raw::Text(text.to_owned()).elements().unwrap_or_default();
            let shown: Vec<String> = elements.iter().map(|element| element.show(inner, mask)).collect();
            format!("[{}]", shown.join(", "))
        }
    }
}
