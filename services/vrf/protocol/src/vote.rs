//! What a validator signs: the canonical vote for a block.
//!
//! ```text
//! vote   = prefix || block hash || suffix || 0x2a || uint8(length) || timestamp || encoded chain id
//! digest = sha256(uint8(length of vote) || vote)
//! ```

use alloy_primitives::{B256, Bytes};
use sha2::{Digest, Sha256};

use crate::merkle::sha256;
use crate::refusal::reason;
use crate::varint::{self, push_bytes, push_field};
use crate::{Refusal, U256};

/// Longest vote whose length fits the single length byte that both sides write. See [`Common::check_length`].
pub const LONGEST_VOTE: usize = 127;

/// A protobuf timestamp: `0x08 || uvarint(second) [|| 0x10 || uvarint(nano)]`, zero values omitted.
pub fn timestamp(second: u64, nano: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(12);
    push_field(&mut out, 1, second);
    push_field(&mut out, 2, u64::from(nano));
    out
}

/// A timestamp as the contract encodes it.
///
/// # Errors
/// Second zero makes the contract panic with 0x11.
pub fn encode_time(second: u64, nano: u32) -> Result<Vec<u8>, Refusal> {
    varint::unsigned(U256::from(second))?;
    Ok(timestamp(second, nano))
}

/// The part of the vote before the block hash: 15 bytes in round 0, else 24.
pub fn prefix(height: u64, round: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    // Type 2 is a precommit.
    out.extend_from_slice(&[0x08, 0x02]);
    if height != 0 {
        out.push(0x11);
        out.extend_from_slice(&height.to_le_bytes());
    }
    if round != 0 {
        out.push(0x19);
        out.extend_from_slice(&round.to_le_bytes());
    }
    out.extend_from_slice(&[0x22, 0x48, 0x0a, 0x20]);
    out
}

/// The part of the vote after the block hash: 38 bytes for 1 to 127 parts.
pub fn suffix(parts_total: u32, parts_hash: &[u8]) -> Vec<u8> {
    let mut parts = Vec::with_capacity(36);
    push_field(&mut parts, 1, u64::from(parts_total));
    push_bytes(&mut parts, 2, parts_hash);
    let mut out = Vec::with_capacity(38);
    push_bytes(&mut out, 2, &parts);
    out
}

/// What all votes for a block share, before and after the block hash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Common {
    /// See [`prefix`].
    pub prefix: Bytes,
    /// See [`suffix`].
    pub suffix: Bytes,
}

impl Common {
    /// The parts for a block.
    pub fn new(height: u64, round: u64, parts_total: u32, parts_hash: &[u8]) -> Self {
        Self { prefix: prefix(height, round).into(), suffix: suffix(parts_total, parts_hash).into() }
    }

    /// The contract's size rules: a prefix of 15 or 24 bytes, a suffix of 38.
    ///
    /// # Errors
    /// The contract's reason.
    pub fn check(&self) -> Result<(), Refusal> {
        if !matches!(self.prefix.len(), 15 | 24) {
            return Err(Refusal::Revert(reason::PREFIX_SIZE));
        }
        if self.suffix.len() != 38 {
            return Err(Refusal::Revert(reason::SUFFIX_SIZE));
        }
        Ok(())
    }

    /// `prefix || block hash || suffix`, after [`Common::check`].
    ///
    /// # Errors
    /// The contract's reason.
    pub fn encode(&self, block_hash: &B256) -> Result<Vec<u8>, Refusal> {
        self.check()?;
        Ok([&self.prefix[..], block_hash.as_slice(), &self.suffix[..]].concat())
    }

    /// The bytes whose SHA-256 is signed.
    pub fn sign_bytes(&self, block_hash: &B256, timestamp: &[u8], chain_id: &EncodedChainId) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        self.parts(block_hash, timestamp, chain_id, |part| out.extend_from_slice(part));
        out
    }

    /// What is signed.
    pub fn digest(&self, block_hash: &B256, timestamp: &[u8], chain_id: &EncodedChainId) -> B256 {
        let mut hasher = Sha256::new();
        self.parts(block_hash, timestamp, chain_id, |part| hasher.update(part));
        B256::new(hasher.finalize().into())
    }

    /// Whether the length of a vote fits the single byte it is written in. With a round above 0 and a timestamp of 12 bytes,
    /// that holds for chain ids of up to 17 characters. Validators of another chain sign other bytes than the contract hashes.
    ///
    /// # Errors
    /// The length.
    pub fn check_length(&self, timestamp: &[u8], chain_id: &EncodedChainId) -> Result<(), VoteTooLong> {
        let length = self.vote_length(timestamp, chain_id);
        if length > LONGEST_VOTE { Err(VoteTooLong { length }) } else { Ok(()) }
    }

    fn vote_length(&self, timestamp: &[u8], chain_id: &EncodedChainId) -> usize {
        self.prefix.len() + 32 + self.suffix.len() + 2 + timestamp.len() + chain_id.0.len()
    }

    /// Both lengths are written in one byte as in the contract, which keeps the low eight bits.
    fn parts(&self, block_hash: &B256, timestamp: &[u8], chain_id: &EncodedChainId, mut write: impl FnMut(&[u8])) {
        write(&[self.vote_length(timestamp, chain_id) as u8]);
        write(&self.prefix);
        write(block_hash.as_slice());
        write(&self.suffix);
        write(&[0x2a, timestamp.len() as u8]);
        write(timestamp);
        write(&chain_id.0);
    }
}

/// What is signed, for a common part that is joined already: see [`Common::encode`] and [`Common::digest`].
pub fn digest(common: &[u8], timestamp: &[u8], chain_id: &EncodedChainId) -> B256 {
    let length = common.len() + 2 + timestamp.len() + chain_id.0.len();
    sha256(&[&[length as u8], common, &[0x2a, timestamp.len() as u8], timestamp, &chain_id.0])
}

/// A vote is longer than [`LONGEST_VOTE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("votes of this chain have {length} bytes, and the Bridge can check votes of up to {LONGEST_VOTE} bytes")]
pub struct VoteTooLong {
    /// Its length in bytes.
    pub length: usize,
}

/// The chain id as the Bridge keeps it: `0x32 || uint8(length) || name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EncodedChainId(pub Bytes);

impl EncodedChainId {
    /// The encoding of a name.
    pub fn new(name: &str) -> Self {
        let mut out = Vec::with_capacity(name.len() + 2);
        push_bytes(&mut out, 6, name.as_bytes());
        Self(out.into())
    }

    /// The name, if the bytes are the encoding of one.
    pub fn name(&self) -> Option<&str> {
        let [0x32, length, name @ ..] = self.0.as_ref() else {
            return None;
        };
        std::str::from_utf8(name).ok().filter(|name| name.len() == usize::from(*length) && name.len() < 128)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_contracts() {
        let common = |prefix: usize, suffix: usize| Common { prefix: vec![0; prefix].into(), suffix: vec![0; suffix].into() };
        for size in 0..30 {
            let expected = if size == 15 || size == 24 { Ok(()) } else { Err(Refusal::Revert(reason::PREFIX_SIZE)) };
            assert_eq!(common(size, 38).check(), expected);
        }
        for size in [0, 36, 37, 39] {
            assert_eq!(common(15, size).check(), Err(Refusal::Revert(reason::SUFFIX_SIZE)));
        }
        // The prefix is looked at first.
        assert_eq!(common(14, 37).check(), Err(Refusal::Revert(reason::PREFIX_SIZE)));
    }

    #[test]
    fn parts_of_a_running_chain_have_the_sizes_the_contract_wants() {
        for (round, parts, length) in [(0, 1, 15), (1, 127, 24), (u64::MAX, 48, 24)] {
            let common = Common::new(7, round, parts, &[1; 32]);
            assert_eq!(common.prefix.len(), length);
            assert_eq!(common.check(), Ok(()));
        }
        assert_eq!(suffix(128, &[1; 32]).len(), 39);
        assert_eq!(suffix(0, &[1; 32]).len(), 36);
    }

    #[test]
    fn long_chain_ids_are_refused_with_the_length() {
        let (early, late) = (timestamp(1 << 28, 0), timestamp(1 << 31, 999_999_999));
        assert_eq!((early.len(), late.len()), (6, 12));
        let common = Common::new(7, 1, 1, &[1; 32]);
        let limit = EncodedChainId::new(&"x".repeat(17));
        assert_eq!(common.check_length(&late, &limit), Ok(()));
        assert_eq!(common.sign_bytes(&B256::ZERO, &late, &limit).len(), 128);
        let beyond = EncodedChainId::new(&"x".repeat(18));
        assert_eq!(common.check_length(&late, &beyond), Err(VoteTooLong { length: 128 }));
    }

    #[test]
    fn chain_ids_are_read_back() {
        let id = EncodedChainId::new("band-v3-testnet-1");
        assert_eq!(hex::encode(&id.0), "321162616e642d76332d746573746e65742d31");
        assert_eq!(id.name(), Some("band-v3-testnet-1"));
        for bad in [&b""[..], b"2", b"\x32\x05abc", b"\x33\x03abc", b"\x32\x01\xff"] {
            assert_eq!(EncodedChainId(bad.to_vec().into()).name(), None);
        }
    }

    #[test]
    fn second_zero_cannot_be_encoded_by_the_contract() {
        assert_eq!(encode_time(0, 5), Err(Refusal::ARITHMETIC));
        assert_eq!(timestamp(0, 5), [0x10, 5]);
        assert_eq!(encode_time(1, 0), Ok(vec![0x08, 1]));
    }
}
