//! Reads what contracts answer, without trusting a single length in it.
//!
//! A reader borrows the answer. All byte strings together may be as long as the answer itself: in proper ABI no byte is used
//! twice, and an answer whose strings share one tail would otherwise grow in memory.

use alloy_primitives::{Address, B256, Bytes, U256};

/// Bytes of a word.
pub(super) const WORD: usize = 32;

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AbiFault {
    /// Something lies beyond the end.
    #[error("it ends before byte {wanted}, it has {found} bytes")]
    TooShort {
        /// First byte that must be there but one.
        wanted: usize,
        /// Length of the answer.
        found: usize,
    },
    /// A word is no value of its type.
    #[error("the word at byte {at} is no {expected}: {word}")]
    NoValue {
        /// Where it is.
        at: usize,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        word: B256,
    },
    /// Byte strings use the same bytes again and again.
    #[error("its byte strings are longer than the answer itself")]
    Overlap,
}

/// An ABI-encoded answer.
pub(super) struct Answer<'a> {
    data: &'a [u8],
    budget: usize,
}

impl<'a> Answer<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, budget: data.len() }
    }

    fn slice(&self, at: usize, length: usize) -> Result<&'a [u8], AbiFault> {
        let end = at.saturating_add(length);
        self.data.get(at..end).ok_or(AbiFault::TooShort { wanted: end, found: self.data.len() })
    }

    pub(super) fn word(&self, at: usize) -> Result<B256, AbiFault> {
        Ok(B256::from_slice(self.slice(at, WORD)?))
    }

    pub(super) fn number(&self, at: usize) -> Result<U256, AbiFault> {
        Ok(self.word(at)?.into())
    }

    /// A number of a narrower type, called `expected` where it does not fit.
    pub(super) fn narrow<T: TryFrom<U256>>(&self, at: usize, expected: &'static str) -> Result<T, AbiFault> {
        let word = self.word(at)?;
        T::try_from(word.into()).map_err(|_| AbiFault::NoValue { at, expected, word })
    }

    pub(super) fn uint64(&self, at: usize) -> Result<u64, AbiFault> {
        self.narrow(at, "64-bit number")
    }

    pub(super) fn flag(&self, at: usize) -> Result<bool, AbiFault> {
        match self.narrow::<u8>(at, "truth value")? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(AbiFault::NoValue { at, expected: "truth value", word: self.word(at)? }),
        }
    }

    pub(super) fn address(&self, at: usize) -> Result<Address, AbiFault> {
        let word = self.word(at)?;
        let address = Address::from_word(word);
        if address.into_word() == word { Ok(address) } else { Err(AbiFault::NoValue { at, expected: "address", word }) }
    }

    /// Where the offset at `at`, counted from `base`, leads to.
    pub(super) fn target(&self, base: usize, at: usize) -> Result<usize, AbiFault> {
        let offset: usize = self.narrow(at, "offset within the answer")?;
        let target = base.saturating_add(offset);
        if target > self.data.len() {
            return Err(AbiFault::NoValue { at, expected: "offset within the answer", word: self.word(at)? });
        }
        Ok(target)
    }

    /// A byte string or text whose offset stands at `at`.
    pub(super) fn bytes(&mut self, base: usize, at: usize) -> Result<Bytes, AbiFault> {
        let start = self.target(base, at)?;
        let length: usize = self.narrow(start, "length")?;
        let content = self.slice(start.saturating_add(WORD), length)?;
        self.budget = self.budget.checked_sub(length).ok_or(AbiFault::Overlap)?;
        Ok(Bytes::copy_from_slice(content))
    }

    /// The number of items of a list whose offset stands at `at`, and where the items begin. There is room for all of them, each
    /// having at least `item` bytes.
    pub(super) fn list(&self, at: usize, item: usize) -> Result<(usize, usize), AbiFault> {
        let start = self.target(0, at)?;
        let length: usize = self.narrow(start, "length of a list")?;
        let items = start.saturating_add(WORD);
        self.slice(items, length.saturating_mul(item))?;
        Ok((length, items))
    }
}

/// One word and nothing else, as getters of single values return it.
pub(super) fn single(data: &[u8]) -> Result<Answer<'_>, AbiFault> {
    let answer = Answer::new(data);
    answer.word(0)?;
    Ok(answer)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloy_sol_types::SolValue;
    use proptest::prelude::*;

    #[test]
    fn values_have_their_range() {
        let data = (U256::from(2), U256::MAX).abi_encode_params();
        let answer = Answer::new(&data);
        assert_eq!(answer.uint64(0).unwrap(), 2);
        for fault in [answer.flag(0).err(), answer.flag(32).err(), answer.uint64(32).err(), answer.address(32).err()] {
            assert!(matches!(fault, Some(AbiFault::NoValue { .. })), "{fault:?}");
        }
        assert_eq!(answer.word(33), Err(AbiFault::TooShort { wanted: 65, found: 64 }));
        assert_eq!(answer.word(usize::MAX), Err(AbiFault::TooShort { wanted: usize::MAX, found: 64 }));
    }

    #[test]
    fn strings_that_share_a_tail_are_refused() {
        let mut data = (U256::from(64), U256::from(64)).abi_encode_params();
        data.extend(U256::from(64).to_be_bytes::<32>());
        data.extend([7; 64]);
        let mut answer = Answer::new(&data);
        assert_eq!(answer.bytes(0, 0).unwrap().len(), 64);
        assert_eq!(answer.bytes(0, 32).unwrap().len(), 64);
        assert_eq!(answer.bytes(0, 32), Err(AbiFault::Overlap));
    }

    #[test]
    fn claimed_lengths_are_not_believed() {
        for claimed in [U256::from(33), U256::from(u64::MAX), U256::MAX] {
            let mut data = (U256::from(32), claimed).abi_encode_params();
            data.extend([0; 32]);
            assert!(Answer::new(&data).bytes(0, 0).is_err());
            assert!(Answer::new(&data).list(0, WORD).is_err());
            let data = (claimed, claimed).abi_encode_params();
            assert!(Answer::new(&data).bytes(32, 0).is_err());
        }
    }

    proptest! {
        #[test]
        fn byte_strings_are_read_as_they_were_written(first: Vec<u8>, second: Vec<u8>) {
            let data = (Bytes::from(first.clone()), 7_u64, Bytes::from(second.clone())).abi_encode_params();
            let mut answer = Answer::new(&data);
            prop_assert_eq!(answer.bytes(0, 0).unwrap(), first);
            prop_assert_eq!(answer.uint64(32).unwrap(), 7);
            prop_assert_eq!(answer.bytes(0, 64).unwrap(), second);
        }

        #[test]
        fn no_bytes_make_it_panic(data: Vec<u8>, base: usize, at in 0_usize..100) {
            let mut answer = Answer::new(&data);
            let _ = answer.bytes(base, at);
            let _ = answer.list(at, WORD);
            let _ = answer.flag(at);
        }
    }
}
