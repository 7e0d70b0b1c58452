//! Integers as JavaScript's `BigInt()` reads them, which is how the environment variables have always been written.

use std::fmt;

use alloy_primitives::U256;

/// An integer of any size and sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integer {
    negative: bool,
    /// Decimal digits in groups of nine, least significant group first; no leading zero group, empty for zero.
    groups: Vec<u32>,
}

/// A text is not an integer, or an integer does not fit the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntegerError {
    /// Not an integer in any accepted form: decimal with optional sign, or `0x`, `0o`, `0b` without one.
    #[error("not an integer")]
    NotAnInteger,
    /// Below zero or at least 2^256: an integer, but nothing the contract can store.
    #[error("out of range, must be from 0 to 2^256-1")]
    OutOfRange,
}

const GROUP: u64 = 1_000_000_000;

impl Integer {
    /// The value as the contract's 256-bit unsigned integer.
    ///
    /// # Errors
    /// [`IntegerError::OutOfRange`] for negative values and values of 2^256 or more.
    pub fn to_u256(&self) -> Result<U256, IntegerError> {
        if self.negative {
            return Err(IntegerError::OutOfRange);
        }
        let base = U256::from(GROUP);
        self.groups
            .iter()
            .rev()
            .try_fold(U256::ZERO, |value, group| value.checked_mul(base)?.checked_add(U256::from(*group)))
            .ok_or(IntegerError::OutOfRange)
    }

    /// Appends a digit: `self * radix + digit`. Both are at most 16.
    fn push(&mut self, radix: u32, digit: u32) {
        let mut carry = u64::from(digit);
        for group in &mut self.groups {
            let value = u64::from(*group) * u64::from(radix) + carry;
            *group = (value % GROUP) as u32;
            carry = value / GROUP;
        }
        if carry > 0 {
            self.groups.push(carry as u32);
        }
    }
}

/// Decimal digits with a leading `-` for negative values.
impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative {
            f.write_str("-")?;
        }
        let mut groups = self.groups.iter().rev();
        write!(f, "{}", groups.next().unwrap_or(&0))?;
        groups.try_for_each(|group| write!(f, "{group:09}"))
    }
}

/// Reads an integer the way `BigInt(text)` does.
///
/// White space around is ignored and an empty or blank text is zero. A sign is allowed before decimal digits only; the
/// prefixes `0x`, `0o`, `0b` may be written in either case. Fractions, exponents, underscores and the suffix `n` are refused.
///
/// # Errors
/// [`IntegerError::NotAnInteger`]. Size and sign are no fault here; see [`Integer::to_u256`].
pub fn parse_integer(text: &str) -> Result<Integer, IntegerError> {
    let text = text.trim_matches(is_javascript_space);
    let mut value = Integer { negative: false, groups: Vec::new() };
    if text.is_empty() {
        return Ok(value);
    }
    let (radix, digits) = match text.get(..2) {
        Some("0x" | "0X") => (16, text.get(2..)),
        Some("0o" | "0O") => (8, text.get(2..)),
        Some("0b" | "0B") => (2, text.get(2..)),
        _ => {
            let unsigned = text.strip_prefix(['+', '-']);
            value.negative = text.starts_with('-');
            (10, Some(unsigned.unwrap_or(text)))
        }
    };
    let digits = digits.filter(|digits| !digits.is_empty()).ok_or(IntegerError::NotAnInteger)?;
    for character in digits.chars() {
        let digit = character.to_digit(radix).ok_or(IntegerError::NotAnInteger)?;
        value.push(radix, digit);
    }
    // There is one zero only.
    value.negative &= !value.groups.is_empty();
    Ok(value)
}

/// White space and line ends of ECMAScript, which differ from Unicode's: the byte order mark counts, U+0085 does not.
fn is_javascript_space(character: char) -> bool {
    character == '\u{feff}' || (character.is_whitespace() && character != '\u{85}')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Option<String> {
        parse_integer(text).ok().map(|value| value.to_string())
    }

    #[test]
    fn accepts_what_bigint_accepts() {
        for (text, value) in [
            ("0", "0"),
            ("007", "7"),
            (" 12 ", "12"),
            ("\u{feff}12\u{a0}\n", "12"),
            ("", "0"),
            ("   ", "0"),
            ("+5", "5"),
            ("-1", "-1"),
            ("-0", "0"),
            ("0x10", "16"),
            ("0XfF", "255"),
            ("0o17", "15"),
            ("0B101", "5"),
            ("1000000000", "1000000000"),
            ("100000000000000000000000000000000000000001", "100000000000000000000000000000000000000001"),
        ] {
            assert_eq!(decimal(text).as_deref(), Some(value), "{text:?}");
        }
    }

    #[test]
    fn refuses_what_bigint_refuses() {
        for text in [
            "1.5", "1e18", "1_000", "abc", "5n", "-", "+", "--1", "- 1", "+0x1", "-0x1", "0x", "0o8", "0b2", "1 2", "\u{85}1",
            "٣",
        ] {
            assert_eq!(decimal(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_contract_takes_256_bits() {
        let most = U256::MAX.to_string();
        assert_eq!(parse_integer(&most).unwrap().to_u256(), Ok(U256::MAX));
        let more = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
        assert_eq!(parse_integer(more).unwrap().to_u256(), Err(IntegerError::OutOfRange));
        assert_eq!(parse_integer("-1").unwrap().to_u256(), Err(IntegerError::OutOfRange));
    }

    proptest! {
        #[test]
        fn every_256_bit_value_survives(bytes in any::<[u8; 32]>()) {
            let value = U256::from_be_bytes(bytes);
            for text in [value.to_string(), format!("{value:#x}"), format!("{value:#o}"), format!("{value:#b}")] {
                let integer = parse_integer(&text).unwrap();
                prop_assert_eq!(integer.to_u256(), Ok(value));
                prop_assert_eq!(integer.to_string(), value.to_string());
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            if let Ok(integer) = parse_integer(&text) {
                prop_assert_eq!(parse_integer(&integer.to_string()), Ok(integer));
            }
        }
    }
}
