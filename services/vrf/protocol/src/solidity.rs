//! Reads and writes Solidity ABI exactly as the contracts' decoder does.
//!
//! The decoder is stricter than a plain one in some points and laxer in others, and a relay that is refused costs money, so
//! the rules are followed one by one:
//!
//! * a head must lie within the data; an offset must be below 2^64; lengths and elements must lie within the data;
//! * numbers and booleans must be in range, an enumeration must be known; else the call reverts without data;
//! * memory is taken before the bounds of bytes and lists are checked, so a length for which there can be no memory is a
//!   panic 0x41 and not an empty revert;
//! * padding, gaps, shared tails and trailing bytes do not matter.
//!
//! Nothing is allocated by a claimed length: the reader borrows. Several fields may share one tail, which the contract pays
//! for in gas; here all fields together may have [`SHARING`] times as many bytes as the data, or it is too much memory.

use alloy_primitives::{B256, U256};

use crate::Refusal;

/// Offsets of nested heads add up, so they are kept wider than the 64 bits of one of them.
pub(crate) type Position = u128;

const OFFSET_LIMIT: u128 = u64::MAX as u128;

/// How many times the bytes of the data may be read in fields. Canonical data are read once.
const SHARING: usize = 8;

/// Reads one ABI-encoded block.
pub(crate) struct Reader<'a> {
    data: &'a [u8],
    memory: Memory,
    /// Bytes that further fields may have.
    budget: usize,
}

/// The free-memory pointer of the call, as far as the decoder moves it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory(u128);

impl Memory {
    /// At the start of a call whose return value is a zeroed result struct.
    pub(crate) const CALL: Self = Self(0x80 + 11 * 32);

    fn take(&mut self, size: u128) -> Result<(), Refusal> {
        let end = self.0 + size.div_ceil(32) * 32;
        if end > OFFSET_LIMIT {
            return Err(Refusal::MEMORY);
        }
        self.0 = end;
        Ok(())
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(data: &'a [u8], memory: Memory) -> Self {
        Self { data, memory, budget: data.len().saturating_mul(SHARING) }
    }

    pub(crate) fn memory(&self) -> Memory {
        self.memory
    }

    /// Checks that a head of `size` bytes is there.
    pub(crate) fn head(&self, at: Position, size: u128) -> Result<(), Refusal> {
        if at + size > self.data.len() as u128 { Err(Refusal::Empty) } else { Ok(()) }
    }

    /// Checks the head of a struct and takes memory for its `fields` words.
    pub(crate) fn open(&mut self, at: Position, head: u128, fields: u128) -> Result<(), Refusal> {
        self.head(at, head)?;
        self.memory.take(fields * 32)
    }

    pub(crate) fn word(&self, at: Position) -> Result<&'a [u8; 32], Refusal> {
        let from = usize::try_from(at).map_err(|_| Refusal::Empty)?;
        self.data.get(from..).and_then(|rest| rest.first_chunk()).ok_or(Refusal::Empty)
    }

    pub(crate) fn hash(&self, at: Position) -> Result<B256, Refusal> {
        self.word(at).map(|word| B256::new(*word))
    }

    pub(crate) fn number(&self, at: Position) -> Result<U256, Refusal> {
        self.word(at).map(|word| U256::from_be_bytes(*word))
    }

    /// A number that must fit 64 bits.
    pub(crate) fn uint64(&self, at: Position) -> Result<u64, Refusal> {
        u64::try_from(self.number(at)?).map_err(|_| Refusal::Empty)
    }

    /// A number that must fit 32 bits.
    pub(crate) fn uint32(&self, at: Position) -> Result<u32, Refusal> {
        u32::try_from(self.number(at)?).map_err(|_| Refusal::Empty)
    }

    /// A number that must fit 8 bits.
    pub(crate) fn uint8(&self, at: Position) -> Result<u8, Refusal> {
        u8::try_from(self.number(at)?).map_err(|_| Refusal::Empty)
    }

    /// Zero or one.
    pub(crate) fn boolean(&self, at: Position) -> Result<bool, Refusal> {
        match self.uint8(at)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Refusal::Empty),
        }
    }

    /// Where the tail of a dynamic field is, whose offset at `at` counts from `base`.
    pub(crate) fn tail(&self, base: Position, at: Position) -> Result<Position, Refusal> {
        self.uint64(at).map(|offset| base + u128::from(offset))
    }

    /// The bytes whose length stands at `at`.
    pub(crate) fn bytes(&mut self, at: Position) -> Result<&'a [u8], Refusal> {
        let length = self.length(at)?;
        self.memory.take(length.div_ceil(32) * 32 + 32)?;
        self.head(at + 32, length)?;
        let from = usize::try_from(at + 32).map_err(|_| Refusal::Empty)?;
        let length = usize::try_from(length).map_err(|_| Refusal::Empty)?;
        self.budget = self.budget.checked_sub(length).ok_or(Refusal::MEMORY)?;
        self.data.get(from..).and_then(|rest| rest.get(..length)).ok_or(Refusal::Empty)
    }

    /// A list whose length stands at `at`: the place of its first element and how many there are. An element takes `stride`
    /// bytes there.
    pub(crate) fn list(&mut self, at: Position, stride: u128) -> Result<(Position, usize), Refusal> {
        let length = self.length(at)?;
        self.memory.take(length * 32 + 32)?;
        self.head(at + 32, length * stride)?;
        Ok((at + 32, usize::try_from(length).map_err(|_| Refusal::Empty)?))
    }

    /// The length at `at`, for which there must be an address at least.
    fn length(&self, at: Position) -> Result<u128, Refusal> {
        self.head(at, 32)?;
        let length = self.number(at)?;
        u64::try_from(length).map(u128::from).map_err(|_| Refusal::MEMORY)
    }
}

/// Writes ABI in its canonical form: heads, then tails in order, zero padding.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn word(&mut self, word: &[u8; 32]) {
        self.0.extend_from_slice(word);
    }

    pub(crate) fn hash(&mut self, hash: &B256) {
        self.word(&hash.0);
    }

    pub(crate) fn number(&mut self, number: U256) {
        self.word(&number.to_be_bytes());
    }

    pub(crate) fn uint(&mut self, number: u64) {
        self.0.extend_from_slice(&[0; 24]);
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub(crate) fn size(&mut self, size: usize) {
        self.uint(size as u64);
    }

    /// Length, bytes and padding.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.size(bytes.len());
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(32), 0);
    }
}

/// What [`Writer::bytes`] writes, in bytes.
pub(crate) const fn bytes_size(length: usize) -> usize {
    32 + length.next_multiple_of(32)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    /// One dynamic field: the offset 0x20 and then this length.
    fn claimed(length: U256) -> Vec<u8> {
        [U256::from(32).to_be_bytes::<32>(), length.to_be_bytes()].concat()
    }

    fn read_bytes(data: &[u8]) -> Result<&[u8], Refusal> {
        let mut reader = Reader::new(data, Memory::CALL);
        let at = reader.tail(0, 0)?;
        reader.bytes(at)
    }

    fn read_list(data: &[u8]) -> Result<usize, Refusal> {
        let mut reader = Reader::new(data, Memory::CALL);
        let at = reader.tail(0, 0)?;
        reader.list(at, 32).map(|(_, length)| length)
    }

    #[test]
    fn lengths_without_memory_are_panics() {
        let beyond = U256::from(u64::MAX);
        for (length, bytes, list) in [
            (U256::from(1), Refusal::Empty, Refusal::Empty),
            (U256::from(1u64 << 58), Refusal::Empty, Refusal::Empty),
            (U256::from(1u64 << 59), Refusal::Empty, Refusal::MEMORY),
            (U256::from(1u64 << 63), Refusal::Empty, Refusal::MEMORY),
            (beyond, Refusal::MEMORY, Refusal::MEMORY),
            (beyond + U256::from(1), Refusal::MEMORY, Refusal::MEMORY),
            (U256::MAX, Refusal::MEMORY, Refusal::MEMORY),
        ] {
            assert_eq!(read_bytes(&claimed(length)), Err(bytes), "{length}");
            assert_eq!(read_list(&claimed(length)), Err(list), "{length}");
        }
    }

    #[test]
    fn a_length_word_that_is_not_there_is_malformed() {
        assert_eq!(read_bytes(&[]), Err(Refusal::Empty));
        assert_eq!(read_bytes(&claimed(U256::ZERO)[..63]), Err(Refusal::Empty));
        assert_eq!(read_bytes(&claimed(U256::ZERO)), Ok(&[][..]));
        let far = [U256::MAX.to_be_bytes::<32>(), [0; 32]].concat();
        assert_eq!(read_bytes(&far), Err(Refusal::Empty));
    }

    #[test]
    fn padding_is_not_asked_for() {
        let mut data = claimed(U256::from(3));
        data.extend_from_slice(b"abc");
        assert_eq!(read_bytes(&data), Ok(&b"abc"[..]));
        assert_eq!(read_bytes(&data[..66]), Err(Refusal::Empty));
    }

    #[test]
    fn numbers_are_in_range() {
        let word = |number: U256| number.to_be_bytes::<32>();
        let max = U256::from(u64::MAX);
        for (number, bits64, bits32, bits8, flag) in [
            (U256::from(1), true, true, true, true),
            (U256::from(2), true, true, true, false),
            (U256::from(256), true, true, false, false),
            (U256::from(1u64 << 32), true, false, false, false),
            (max, true, false, false, false),
            (max + U256::from(1), false, false, false, false),
        ] {
            let data = word(number);
            let reader = Reader::new(&data, Memory::CALL);
            assert_eq!(reader.uint64(0).is_ok(), bits64);
            assert_eq!(reader.uint32(0).is_ok(), bits32);
            assert_eq!(reader.uint8(0).is_ok(), bits8);
            assert_eq!(reader.boolean(0).is_ok(), flag);
        }
    }
}
