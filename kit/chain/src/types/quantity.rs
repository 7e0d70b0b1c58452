//! JSON-RPC quantities: `"0x1a"`, with the small liberties that nodes in the field take.
//!
//! The rule (Ethereum execution API): hexadecimal, `0x` prefix, no leading zeros. Some nodes send leading zeros or
//! plain JSON integers, so both are read; anything else is an error and never a silent zero.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserializer, Visitor};

/// Reads a quantity into `u64` or `u128`. For `#[serde(deserialize_with = ...)]`.
pub(crate) fn required<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u128>,
{
    deserializer.deserialize_any(QuantityVisitor(PhantomData))
}

/// Like [`required`], for a field that may be absent or `null`.
pub(crate) fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u128>,
{
    deserializer.deserialize_option(OptionalVisitor(PhantomData))
}

/// Parses the text form of a quantity.
pub(crate) fn parse(text: &str) -> Option<u128> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    // `from_str_radix` accepts a sign, a quantity does not have one.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(digits, 16).ok()
}

/// Writes a quantity.
pub(crate) fn hex(value: impl fmt::LowerHex) -> String {
    format!("{value:#x}")
}

struct QuantityVisitor<T>(PhantomData<T>);

impl<T: TryFrom<u128>> Visitor<'_> for QuantityVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a hexadecimal quantity with 0x prefix")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let value = parse(text).ok_or_else(|| E::custom("not a hexadecimal quantity"))?;
        T::try_from(value).map_err(|_| E::custom("quantity out of range"))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        T::try_from(u128::from(value)).map_err(|_| E::custom("quantity out of range"))
    }
}

struct OptionalVisitor<T>(PhantomData<T>);

impl<'de, T: TryFrom<u128>> Visitor<'de> for OptionalVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a hexadecimal quantity with 0x prefix, or null")
    }

    fn visit_none<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        required(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_what_nodes_send_and_nothing_else() {
        assert_eq!(parse("0x0"), Some(0));
        assert_eq!(parse("0x001a"), Some(26));
        assert_eq!(parse("0Xff"), Some(255));
        for bad in ["", "0x", "1a", "0x+1", "0x-1", "0xg", " 0x1", "0x1 ", "0x100000000000000000000000000000000"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
