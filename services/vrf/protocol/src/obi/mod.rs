//! OBI, the encoding of oracle inputs and outputs: the fixed forms of the VRF script, and any schema.
//!
//! Integers are big-endian and of fixed width, a boolean is one byte, texts, bytes and lists carry their length in four bytes,
//! arrays and structs are the plain sequence of their items. Decoding must consume everything.

mod schema;
mod value;

use alloy_primitives::{Address, B256, Bytes, keccak256};

use crate::Refusal;
use crate::refusal::reason;

pub use schema::{Schema, SchemaError};
pub use value::{CodecError, Value};

/// Schema of the VRF script's input.
pub const CALLDATA_SCHEMA: &str = "{seed:[u8],time:u64,worker_address:[u8]}";
/// Schema of the V1 script's output.
pub const RESULT_V1_SCHEMA: &str = "{proof:[u8],result:[u8]}";
/// Schema of the V2 script's output.
pub const RESULT_V2_SCHEMA: &str = "{result:[u8]}";

/// Input of the VRF script: 68 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Calldata {
    /// Seed of the task.
    pub seed: B256,
    /// Time of the task.
    pub time: u64,
    /// The only sender that may relay the result.
    pub worker: Address,
}

impl Calldata {
    /// Its length in bytes.
    pub const SIZE: usize = 4 + 32 + 8 + 4 + 20;

    /// The OBI bytes.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        let time = self.time.to_be_bytes();
        let fields: [&[u8]; 5] = [&[0, 0, 0, 32], self.seed.as_slice(), &time, &[0, 0, 0, 20], self.worker.as_slice()];
        for (place, byte) in out.iter_mut().zip(fields.into_iter().flatten()) {
            *place = *byte;
        }
        out
    }

    /// Reads the bytes as the provider does.
    ///
    /// # Errors
    /// The provider's reason.
    pub fn decode(encoded: &[u8]) -> Result<Self, Refusal> {
        let mut cursor = Cursor(encoded);
        let seed = B256::try_from(cursor.bytes()?).map_err(|_| Refusal::Revert(reason::OBI_BYTES32))?;
        let time = u64::from_be_bytes(cursor.array()?);
        let worker = Address::try_from(cursor.bytes()?).map_err(|_| Refusal::Revert(reason::OBI_ADDRESS))?;
        cursor.finish()?;
        Ok(Self { seed, time, worker })
    }
}

/// Output of the V1 script.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResultV1 {
    /// Proof of the random function; 80 bytes where it was seen.
    pub proof: Bytes,
    /// The random bytes; 64 where it was seen.
    pub result: Bytes,
}

impl ResultV1 {
    /// The OBI bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.proof.len() + self.result.len());
        push_bytes(&mut out, &self.proof);
        push_bytes(&mut out, &self.result);
        out
    }

    /// Reads the bytes as the provider does.
    ///
    /// # Errors
    /// The provider's reason.
    pub fn decode(encoded: &[u8]) -> Result<Self, Refusal> {
        let mut cursor = Cursor(encoded);
        let (proof, result) = (cursor.bytes()?, cursor.bytes()?);
        cursor.finish()?;
        Ok(Self { proof: Bytes::copy_from_slice(proof), result: Bytes::copy_from_slice(result) })
    }

    /// What the consumer gets: the hash of the random bytes.
    pub fn hash(&self) -> B256 {
        keccak256(&self.result)
    }
}

/// Output of the V2 script. The provider wants 32 bytes, and pads shorter ones with zeros on the right and cuts longer ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResultV2 {
    /// The random bytes.
    pub result: Bytes,
}

impl ResultV2 {
    /// The OBI bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.result.len());
        push_bytes(&mut out, &self.result);
        out
    }

    /// Reads the bytes as the provider does.
    ///
    /// # Errors
    /// The provider's reason.
    pub fn decode(encoded: &[u8]) -> Result<Self, Refusal> {
        let mut cursor = Cursor(encoded);
        let result = cursor.bytes()?;
        cursor.finish()?;
        Ok(Self { result: Bytes::copy_from_slice(result) })
    }

    /// What the provider stores and the consumer gets.
    pub fn word(&self) -> B256 {
        let length = self.result.len().min(32);
        B256::right_padding_from(self.result.get(..length).unwrap_or_default())
    }
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Reads as the contract's OBI library does, with its only reason. (A length of gigabytes costs the contract all its gas before
/// it gets so far; the outcome is a refusal either way.)
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Refusal::Revert(reason::OBI_RANGE))?;
        self.0 = rest;
        Ok(*head)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Refusal> {
        let length = u32::from_be_bytes(self.array()?) as usize;
        let (head, rest) = self.0.split_at_checked(length).ok_or(Refusal::Revert(reason::OBI_RANGE))?;
        self.0 = rest;
        Ok(head)
    }

    fn finish(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::Revert(reason::OBI_NOT_FINISHED)) }
    }
}

#[cfg(test)]
mod tests;
