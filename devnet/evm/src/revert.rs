//! Turning revert data into text, worded as `anvil` words it.

use alloy_primitives::{Bytes, hex};
use alloy_sol_types::{Panic, Revert, SolError};

/// The reason in `data`, or `None` if there is no data.
pub(crate) fn describe(data: &Bytes) -> Option<String> {
    if data.is_empty() {
        return None;
    }
    if let Ok(revert) = Revert::abi_decode(data) {
        return Some(revert.reason);
    }
    if let Ok(panic) = Panic::abi_decode(data) {
        let text = match panic.kind() {
            Some(kind) => format!("panic: {} (0x{:02x})", kind.as_str(), kind as u32),
            None => format!("panic: unknown code ({:#x})", panic.code),
        };
        return Some(text);
    }
    // Old compilers and hand-written code revert with a bare text.
    if let Ok(text) = std::str::from_utf8(data) {
        return Some(text.to_owned());
    }
    match data.split_at_checked(4) {
        Some((selector, rest)) if !rest.is_empty() => {
            Some(format!("custom error 0x{}: {}", hex::encode(selector), hex::encode(rest)))
        }
        _ => Some(format!("custom error 0x{}", hex::encode(data))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_worded_as_anvil_words_them() {
        let word = |tail: &str| format!("{tail:0>64}");
        let text = format!("08c379a0{}{}{:0<64}", word("20"), word("2"), hex::encode("hi"));
        let cases = [
            (String::new(), None),
            (text, Some("hi")),
            (hex::encode("hi"), Some("hi")),
            (format!("4e487b71{}", word("11")), Some("panic: arithmetic underflow or overflow (0x11)")),
            (format!("4e487b71{}", word("ee")), Some("panic: unknown code (0xee)")),
            ("ff345678".to_owned(), Some("custom error 0xff345678")),
            ("ff34567801".to_owned(), Some("custom error 0xff345678: 01")),
        ];
        for (data, expected) in cases {
            let data = Bytes::from(hex::decode(&data).unwrap());
            assert_eq!(describe(&data).as_deref(), expected, "{data}");
        }
    }
}
