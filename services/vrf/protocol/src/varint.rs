//! Base-128 varints: the protobuf kind, and the contracts' kind, which cannot encode zero.

use alloy_primitives::U256;

use crate::Refusal;

/// Appends a protobuf varint.
pub fn push(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a protobuf field of type varint, unless it is zero.
pub fn push_field(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        push(out, u64::from(number) << 3);
        push(out, value);
    }
}

/// Appends a protobuf field of type bytes, also when it is empty.
pub fn push_bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    push(out, (u64::from(number) << 3) | 2);
    push(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends a protobuf field of type bytes, unless it is empty.
pub fn push_bytes_field(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    if !value.is_empty() {
        push_bytes(out, number, value);
    }
}

/// A varint of up to 256 bits without allocation.
#[derive(Clone, Copy, Debug)]
pub struct Varint {
    bytes: [u8; 37],
    length: usize,
}

impl AsRef<[u8]> for Varint {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The contracts' unsigned varint.
///
/// # Errors
/// Zero makes the contract panic with 0x11.
pub fn unsigned(value: U256) -> Result<Varint, Refusal> {
    let mut varint = Varint { bytes: [0; 37], length: 0 };
    let mut rest = value;
    while !rest.is_zero() {
        let low = rest.as_limbs().first().map_or(0, |limb| *limb as u8 & 0x7f);
        rest >>= 7;
        let byte = if rest.is_zero() { low } else { low | 0x80 };
        if let Some(place) = varint.bytes.get_mut(varint.length) {
            *place = byte;
        }
        varint.length += 1;
    }
    if varint.length == 0 { Err(Refusal::ARITHMETIC) } else { Ok(varint) }
}

/// The contracts' signed varint of a value that is not negative: the unsigned one of its double.
///
/// # Errors
/// Zero, and a value whose double does not fit 256 bits, make the contract panic with 0x11.
pub fn signed(value: U256) -> Result<Varint, Refusal> {
    unsigned(value.checked_mul(U256::from(2)).ok_or(Refusal::ARITHMETIC)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_contract_cannot_encode_zero() {
        assert_eq!(unsigned(U256::ZERO).unwrap_err(), Refusal::ARITHMETIC);
        assert_eq!(signed(U256::ZERO).unwrap_err(), Refusal::ARITHMETIC);
        assert_eq!(signed(U256::from(1) << 255).unwrap_err(), Refusal::ARITHMETIC);
    }

    #[test]
    fn the_longest_has_37_bytes() {
        let longest = unsigned(U256::MAX).unwrap();
        assert_eq!(longest.as_ref().len(), 37);
        assert_eq!(longest.as_ref().last(), Some(&0x0f));
        assert!(longest.as_ref().iter().rev().skip(1).all(|byte| *byte == 0xff));
    }

    proptest! {
        #[test]
        fn both_kinds_agree_where_both_exist(value in 1u64..) {
            let mut out = Vec::new();
            push(&mut out, value);
            let ours = unsigned(U256::from(value)).unwrap();
            prop_assert_eq!(ours.as_ref(), &out[..]);
            prop_assert_eq!(prost::encoding::encoded_len_varint(value), out.len());
        }

        #[test]
        fn signed_is_zig_zag(value in 1i64..) {
            let mut out = Vec::new();
            push(&mut out, ((value << 1) ^ (value >> 63)) as u64);
            let ours = signed(U256::from(value as u64)).unwrap();
            prop_assert_eq!(ours.as_ref(), &out[..]);
        }
    }
}
