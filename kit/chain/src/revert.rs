//! Why a call or a transaction reverted.

use std::fmt;

use alloy_primitives::{Bytes, U256, hex};
use alloy_sol_types::{Panic, Revert, SolError};

/// The meaning of the bytes that a reverting call returned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RevertReason {
    /// `require(..., "text")` or `revert("text")`.
    Error(String),
    /// The compiler's own checks; the code says which, see [`panic_name`].
    Panic(U256),
    /// A custom error (`error Name(...)`).
    Custom {
        /// First four bytes of the hash of its signature.
        selector: [u8; 4],
        /// ABI-encoded arguments, without the selector.
        data: Bytes,
    },
    /// No data, or fewer bytes than a selector has: `require(x)` without text, out of gas, invalid opcode, or no such function.
    Empty,
}

impl fmt::Display for RevertReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(text) => write!(formatter, "{text}"),
            Self::Panic(code) => write!(formatter, "panic {code:#04x} ({})", panic_name(*code)),
            Self::Custom { selector, data } => {
                write!(formatter, "custom error 0x{}", hex::encode(selector))?;
                if data.is_empty() { Ok(()) } else { write!(formatter, " with {data}") }
            }
            Self::Empty => formatter.write_str("no reason given"),
        }
    }
}

impl RevertReason {
    /// Reads a custom error of a `sol!` binding; `None` if it is another one.
    pub fn decode<E: SolError>(&self) -> Option<E> {
        match self {
            Self::Custom { selector, data } if *selector == E::SELECTOR => E::abi_decode_raw(data).ok(),
            _ => None,
        }
    }
}

/// Decodes the return data of a reverted call. Never fails: what is not understood is [`RevertReason::Custom`].
pub fn decode_revert(data: &[u8]) -> RevertReason {
    let Some((selector, arguments)) = data.split_first_chunk::<4>() else {
        return RevertReason::Empty;
    };
    if *selector == Revert::SELECTOR
        && let Ok(revert) = Revert::abi_decode_raw(arguments)
    {
        return RevertReason::Error(revert.reason);
    }
    if *selector == Panic::SELECTOR
        && let Ok(panic) = Panic::abi_decode_raw(arguments)
    {
        return RevertReason::Panic(panic.code);
    }
    RevertReason::Custom { selector: *selector, data: Bytes::copy_from_slice(arguments) }
}

/// What a panic code of the Solidity compiler means (Solidity documentation, "Panic via assert and Error via require").
pub fn panic_name(code: U256) -> &'static str {
    match u64::try_from(code) {
        Ok(0x00) => "generic compiler panic",
        Ok(0x01) => "assertion failed",
        Ok(0x11) => "arithmetic overflow or underflow",
        Ok(0x12) => "division or modulo by zero",
        Ok(0x21) => "value out of range of an enum",
        Ok(0x22) => "incorrectly encoded storage byte array",
        Ok(0x31) => "pop of an empty array",
        Ok(0x32) => "array index out of bounds",
        Ok(0x41) => "out of memory",
        Ok(0x51) => "call of an uninitialised function pointer",
        _ => "unknown panic code",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use alloy_primitives::hex;
    use alloy_sol_types::sol;

    use super::*;

    sol! {
        #[derive(Debug, PartialEq)]
        error TooLate(uint64 now, uint64 deadline);
    }

    #[test]
    fn decodes_texts_panics_and_custom_errors() {
        let text = Revert::from("paid already").abi_encode();
        assert_eq!(decode_revert(&text), RevertReason::Error("paid already".into()));
        let panic = Panic { code: U256::from(0x11) }.abi_encode();
        let reason = decode_revert(&panic);
        assert_eq!(reason, RevertReason::Panic(U256::from(0x11)));
        assert_eq!(reason.to_string(), "panic 0x11 (arithmetic overflow or underflow)");
        let custom = TooLate { now: 7, deadline: 5 }.abi_encode();
        let reason = decode_revert(&custom);
        assert_eq!(reason.decode::<TooLate>(), Some(TooLate { now: 7, deadline: 5 }));
        assert!(reason.to_string().starts_with("custom error 0x"));
    }

    #[test]
    fn short_or_broken_data_is_never_an_error() {
        assert_eq!(decode_revert(&[]), RevertReason::Empty);
        assert_eq!(decode_revert(&[1, 2, 3]), RevertReason::Empty);
        // The selector of Error(string) with arguments that are no string.
        let broken = hex!("08c379a0ffff");
        assert_eq!(
            decode_revert(&broken),
            RevertReason::Custom { selector: [0x08, 0xc3, 0x79, 0xa0], data: Bytes::from_static(&[0xff, 0xff]) }
        );
    }
}
