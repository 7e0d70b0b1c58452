//! Schema texts: `u8` to `u256`, `i8` to `i256`, `bool`, `string`, `bytes`, `[T]`, `[T;N]` and `{name:T,...}`.
//!
//! Items of lists and arrays take at least one byte, so that a few bytes cannot claim billions of items.

use std::fmt;
use std::str::FromStr;

/// How deep types may be nested. Oracle scripts nest two or three.
const DEPTH: usize = 32;

/// A type of OBI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// Unsigned integer of this many bytes: 1, 2, 4, 8, 16 or 32.
    Unsigned(usize),
    /// Signed integer of this many bytes, two's complement.
    Signed(usize),
    /// One byte, zero or not.
    Bool,
    /// UTF-8 text.
    String,
    /// Bytes.
    Bytes,
    /// Any number of items.
    List(Box<Schema>),
    /// This many items.
    Array(Box<Schema>, u32),
    /// Named fields in order.
    Struct(Vec<(String, Schema)>),
}

/// Why a text is no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the OBI schema {text:?} is not understood at byte {at}")]
pub struct SchemaError {
    /// The whole text.
    pub text: String,
    /// Where the fault is.
    pub at: usize,
}

impl Schema {
    /// Reads a schema. Blanks do not matter.
    ///
    /// # Errors
    /// If it is not understood, or nested deeper than 32 types.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        let mut parser = Parser { text, at: 0 };
        let parsed = parser.schema(DEPTH).filter(|_| parser.peek().is_none());
        let at = parser.at;
        parsed.ok_or_else(|| SchemaError { text: text.to_owned(), at })
    }

    /// Reads the two schemas of an oracle script, `input/output`.
    ///
    /// # Errors
    /// If one of them is not understood or there are not two.
    pub fn parse_pair(text: &str) -> Result<(Self, Self), SchemaError> {
        let (input, output) = text.split_once('/').ok_or_else(|| SchemaError { text: text.to_owned(), at: text.len() })?;
        Ok((Self::parse(input)?, Self::parse(output)?))
    }

    /// The fewest bytes a value takes.
    pub(super) fn smallest(&self) -> usize {
        match self {
            Self::Unsigned(size) | Self::Signed(size) => *size,
            Self::Bool => 1,
            Self::String | Self::Bytes | Self::List(_) => 4,
            Self::Array(item, length) => item.smallest().saturating_mul(*length as usize),
            Self::Struct(fields) => fields.iter().fold(0, |sum, (_, field)| sum.saturating_add(field.smallest())),
        }
    }
}

impl FromStr for Schema {
    type Err = SchemaError;

    fn from_str(text: &str) -> Result<Self, SchemaError> {
        Self::parse(text)
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(size) => write!(f, "u{}", size * 8),
            Self::Signed(size) => write!(f, "i{}", size * 8),
            Self::Bool => f.write_str("bool"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::List(item) => write!(f, "[{item}]"),
            Self::Array(item, length) => write!(f, "[{item};{length}]"),
            Self::Struct(fields) => {
                f.write_str("{")?;
                for (number, (name, field)) in fields.iter().enumerate() {
                    let comma = if number == 0 { "" } else { "," };
                    write!(f, "{comma}{name}:{field}")?;
                }
                f.write_str("}")
            }
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_blanks();
        self.rest().chars().next()
    }

    fn take(&mut self, wanted: char) -> Option<()> {
        self.peek().filter(|found| *found == wanted)?;
        self.at += wanted.len_utf8();
        Some(())
    }

    fn word(&mut self) -> Option<&'a str> {
        self.skip_blanks();
        let rest = self.rest();
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let word = rest.get(..length).filter(|word| !word.is_empty())?;
        self.at += length;
        Some(word)
    }

    fn schema(&mut self, depth: usize) -> Option<Schema> {
        let depth = depth.checked_sub(1)?;
        match self.peek()? {
            '[' => self.items(depth),
            '{' => self.fields(depth),
            _ => {
                let start = self.at;
                let schema = primitive(self.word()?);
                if schema.is_none() {
                    self.at = start;
                }
                schema
            }
        }
    }

    fn items(&mut self, depth: usize) -> Option<Schema> {
        self.take('[')?;
        let item = Box::new(self.schema(depth).filter(|item| item.smallest() > 0)?);
        if self.take(';').is_none() {
            self.take(']')?;
            return Some(Schema::List(item));
        }
        let length = self.word()?.parse().ok().filter(|length| *length > 0)?;
        self.take(']')?;
        Some(Schema::Array(item, length))
    }

    fn fields(&mut self, depth: usize) -> Option<Schema> {
        self.take('{')?;
        let mut fields = Vec::new();
        if self.take('}').is_some() {
            return Some(Schema::Struct(fields));
        }
        loop {
            let name = self.word()?.to_owned();
            self.take(':')?;
            fields.push((name, self.schema(depth)?));
            if self.take('}').is_some() {
                return Some(Schema::Struct(fields));
            }
            self.take(',')?;
        }
    }
}

fn primitive(word: &str) -> Option<Schema> {
    match word {
        "bool" => return Some(Schema::Bool),
        "string" => return Some(Schema::String),
        "bytes" => return Some(Schema::Bytes),
        _ => {}
    }
    let (kind, bits) = word.split_at_checked(1)?;
    let size = match bits {
        "8" => 1,
        "16" => 2,
        "32" => 4,
        "64" => 8,
        "128" => 16,
        "256" => 32,
        _ => return None,
    };
    match kind {
        "u" => Some(Schema::Unsigned(size)),
        "i" => Some(Schema::Signed(size)),
        _ => None,
    }
}
