//! The proof bytes that the Bridge gets, and their parts.
//!
//! ```text
//! proof       = abi.encode(bytes relay, bytes verify)
//! multi proof = abi.encode(bytes relay, bytes[] verify)
//! count proof = abi.encode(bytes relay, bytes verify), with another verify part
//! ```
//!
//! Decoding accepts what the contracts accept, also if it is not canonical; encoding is canonical. So `encode(decode(x))` is
//! `x` for what the Proof service serves, and something equal in meaning for anything else. [`RawProof`] keeps both parts as
//! they came.

use alloy_primitives::{B256, Bytes, U256};

use crate::Refusal;
use crate::header::MerkleParts;
use crate::iavl::MerklePath;
use crate::multistore::MultiStoreProof;
use crate::oracle_result::{OracleResult, ResolveStatus};
use crate::signature::TmSignature;
use crate::solidity::{Memory, Position, Reader, Writer, bytes_size};
use crate::vote::Common;

/// Why bytes are no proof: how the contract would refuse them, and in which part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {part} of the proof is malformed: {refusal}")]
pub struct ProofError {
    /// Which part cannot be read.
    pub part: Part,
    /// What the contract would do.
    pub refusal: Refusal,
}

/// A part of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The two outer byte strings.
    Envelope,
    /// The arguments of `relayBlock`.
    Relay,
    /// The arguments of `verifyOracleData` or `verifyRequestsCount`.
    Verify,
}

impl Part {
    fn fault(self) -> impl Fn(Refusal) -> ProofError {
        move |refusal| ProofError { part: self, refusal }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Envelope => "envelope",
            Self::Relay => "relay part",
            Self::Verify => "verify part",
        })
    }
}

/// The two parts of a proof or count proof as bytes, borrowed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawProof<'a> {
    /// Decoded by [`RelayPart::decode`].
    pub relay: &'a [u8],
    /// Decoded by [`VerifyPart::decode`] or [`CountVerifyPart::decode`].
    pub verify: &'a [u8],
}

impl<'a> RawProof<'a> {
    /// Opens the envelope.
    ///
    /// # Errors
    /// If the contract's decoder refuses it.
    pub fn decode(proof: &'a [u8]) -> Result<Self, ProofError> {
        Self::read(proof, Memory::CALL).map(|(raw, _)| raw).map_err(Part::Envelope.fault())
    }

    pub(crate) fn read(proof: &'a [u8], memory: Memory) -> Result<(Self, Memory), Refusal> {
        let mut reader = Reader::new(proof, memory);
        reader.head(0, 64)?;
        let at = reader.tail(0, 0)?;
        let relay = reader.bytes(at)?;
        let at = reader.tail(0, 32)?;
        let verify = reader.bytes(at)?;
        Ok((Self { relay, verify }, reader.memory()))
    }

    /// The canonical envelope.
    pub fn encode(&self) -> Bytes {
        let (relay, verify) = (bytes_size(self.relay.len()), bytes_size(self.verify.len()));
        let mut out = Writer::with_capacity(64 + relay + verify);
        out.size(64);
        out.size(64 + relay);
        out.bytes(self.relay);
        out.bytes(self.verify);
        out.into_bytes().into()
    }
}

/// The parts of a multi proof as bytes, borrowed from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMultiProof<'a> {
    /// Decoded by [`RelayPart::decode`].
    pub relay: &'a [u8],
    /// Each decoded by [`VerifyPart::decode`].
    pub verify: Vec<&'a [u8]>,
}

impl<'a> RawMultiProof<'a> {
    /// Opens the envelope.
    ///
    /// # Errors
    /// If the contract's decoder refuses it.
    pub fn decode(proof: &'a [u8]) -> Result<Self, ProofError> {
        Self::read(proof, Memory::CALL).map_err(Part::Envelope.fault())
    }

    pub(crate) fn read(proof: &'a [u8], memory: Memory) -> Result<Self, Refusal> {
        let mut reader = Reader::new(proof, memory);
        reader.head(0, 64)?;
        let at = reader.tail(0, 0)?;
        let relay = reader.bytes(at)?;
        let at = reader.tail(0, 32)?;
        let (first, length) = reader.list(at, 32)?;
        // The list lies within the data, so its length is bounded by them.
        let mut verify = Vec::with_capacity(length);
        for number in 0..length as Position {
            let at = reader.tail(first, first + number * 32)?;
            verify.push(reader.bytes(at)?);
        }
        Ok(Self { relay, verify })
    }

    /// The canonical envelope.
    pub fn encode(&self) -> Bytes {
        let relay = bytes_size(self.relay.len());
        let parts: usize = self.verify.iter().map(|part| 32 + bytes_size(part.len())).sum();
        let mut out = Writer::with_capacity(96 + relay + parts);
        out.size(64);
        out.size(64 + relay);
        out.bytes(self.relay);
        out.size(self.verify.len());
        let mut offset = self.verify.len() * 32;
        for part in &self.verify {
            out.size(offset);
            offset += bytes_size(part.len());
        }
        for part in &self.verify {
            out.bytes(part);
        }
        out.into_bytes().into()
    }
}

/// The arguments of `relayBlock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayPart {
    /// From the root of the oracle store to the AppHash.
    pub multi_store: MultiStoreProof,
    /// From the AppHash to the block hash.
    pub merkle_parts: MerkleParts,
    /// What all votes share.
    pub common: Common,
    /// Ascending by signer.
    pub signatures: Vec<TmSignature>,
}

/// Words in the head of the relay part: six, eight, and two offsets.
const RELAY_HEAD: usize = 16 * 32;

impl RelayPart {
    /// Decodes the part.
    ///
    /// # Errors
    /// If the contract's decoder refuses it.
    pub fn decode(relay: &[u8]) -> Result<Self, ProofError> {
        Self::read(relay, Memory::CALL).map(|(part, _)| part).map_err(Part::Relay.fault())
    }

    pub(crate) fn read(relay: &[u8], memory: Memory) -> Result<(Self, Memory), Refusal> {
        let mut reader = Reader::new(relay, memory);
        reader.head(0, RELAY_HEAD as u128)?;
        let (multi_store, merkle_parts) = read_block(&mut reader)?;
        let at = reader.tail(0, 14 * 32)?;
        reader.open(at, 64, 2)?;
        let tail = reader.tail(at, at)?;
        let prefix = reader.bytes(tail)?;
        let tail = reader.tail(at, at + 32)?;
        let suffix = reader.bytes(tail)?;
        let common = Common { prefix: Bytes::copy_from_slice(prefix), suffix: Bytes::copy_from_slice(suffix) };
        let at = reader.tail(0, 15 * 32)?;
        let (first, length) = reader.list(at, 32)?;
        let mut signatures = Vec::with_capacity(length);
        for number in 0..length as Position {
            let at = reader.tail(first, first + number * 32)?;
            signatures.push(read_signature(&mut reader, at)?);
        }
        Ok((Self { multi_store, merkle_parts, common, signatures }, reader.memory()))
    }

    /// What the contract looks at before it knows whether the block is new: the fixed fields, and that the heads of the dynamic
    /// ones are there. These are calldata, for which no memory is taken yet.
    pub(crate) fn peek(relay: &[u8]) -> Result<(MultiStoreProof, MerkleParts), Refusal> {
        let mut reader = Reader::new(relay, Memory::CALL);
        reader.head(0, RELAY_HEAD as u128)?;
        let at = reader.tail(0, 14 * 32)?;
        reader.head(at, 64)?;
        let at = reader.tail(0, 15 * 32)?;
        reader.list(at, 32).map_err(|_| Refusal::Empty)?;
        read_block(&mut reader)
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_with(self.signatures.iter(), self.signatures.len())
    }

    /// The canonical encoding with these signatures in place of its own.
    pub(crate) fn encode_with<'a>(&self, signatures: impl Iterator<Item = &'a TmSignature> + Clone, count: usize) -> Vec<u8> {
        let (prefix, suffix) = (bytes_size(self.common.prefix.len()), bytes_size(self.common.suffix.len()));
        let signature_size = |signature: &TmSignature| 128 + bytes_size(signature.encoded_timestamp.len());
        let of_signatures: usize = signatures.clone().map(|signature| 32 + signature_size(signature)).sum();
        let common = 64 + prefix + suffix;
        let mut out = Writer::with_capacity(RELAY_HEAD + common + 32 + of_signatures);
        self.multi_store.0.iter().for_each(|hash| out.hash(hash));
        let parts = &self.merkle_parts;
        out.hash(&parts.version_and_chain_id_hash);
        out.uint(parts.height);
        out.uint(parts.time_second);
        out.uint(u64::from(parts.time_nano_second));
        out.hash(&parts.last_block_id_and_other);
        out.hash(&parts.next_validator_hash_and_consensus_hash);
        out.hash(&parts.last_results_hash);
        out.hash(&parts.evidence_and_proposer_hash);
        out.size(RELAY_HEAD);
        out.size(RELAY_HEAD + common);
        out.size(64);
        out.size(64 + prefix);
        out.bytes(&self.common.prefix);
        out.bytes(&self.common.suffix);
        out.size(count);
        let mut offset = count * 32;
        for signature in signatures.clone() {
            out.size(offset);
            offset += signature_size(signature);
        }
        for signature in signatures {
            out.hash(&signature.r);
            out.hash(&signature.s);
            out.uint(u64::from(signature.v));
            out.size(128);
            out.bytes(&signature.encoded_timestamp);
        }
        out.into_bytes()
    }
}

fn read_block(reader: &mut Reader<'_>) -> Result<(MultiStoreProof, MerkleParts), Refusal> {
    reader.open(0, 6 * 32, 6)?;
    let mut fields = [B256::ZERO; 6];
    for (field, at) in fields.iter_mut().zip((0..).step_by(32)) {
        *field = reader.hash(at)?;
    }
    reader.open(6 * 32, 8 * 32, 8)?;
    let at = |number: u128| (6 + number) * 32;
    let parts = MerkleParts {
        version_and_chain_id_hash: reader.hash(at(0))?,
        height: reader.uint64(at(1))?,
        time_second: reader.uint64(at(2))?,
        time_nano_second: reader.uint32(at(3))?,
        last_block_id_and_other: reader.hash(at(4))?,
        next_validator_hash_and_consensus_hash: reader.hash(at(5))?,
        last_results_hash: reader.hash(at(6))?,
        evidence_and_proposer_hash: reader.hash(at(7))?,
    };
    Ok((MultiStoreProof(fields), parts))
}

fn read_signature(reader: &mut Reader<'_>, at: Position) -> Result<TmSignature, Refusal> {
    reader.open(at, 128, 4)?;
    let (r, s, v) = (reader.hash(at)?, reader.hash(at + 32)?, reader.uint8(at + 64)?);
    let tail = reader.tail(at, at + 96)?;
    Ok(TmSignature { r, s, v, encoded_timestamp: Bytes::copy_from_slice(reader.bytes(tail)?) })
}

/// The arguments of `verifyOracleData`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyPart {
    /// Block whose header proves the result. Only methods that relay look at it.
    pub block_height: U256,
    /// The stored result.
    pub result: OracleResult,
    /// Block that wrote it.
    pub version: U256,
    /// From the leaf to the root.
    pub path: Vec<MerklePath>,
}

impl VerifyPart {
    /// Decodes the part.
    ///
    /// # Errors
    /// If the contract's decoder refuses it.
    pub fn decode(verify: &[u8]) -> Result<Self, ProofError> {
        Self::read(verify, Memory::CALL).map_err(Part::Verify.fault())
    }

    pub(crate) fn read(verify: &[u8], memory: Memory) -> Result<Self, Refusal> {
        let mut reader = Reader::new(verify, memory);
        reader.head(0, 128)?;
        let block_height = reader.number(0)?;
        let at = reader.tail(0, 32)?;
        let result = read_result(&mut reader, at)?;
        let version = reader.number(64)?;
        let at = reader.tail(0, 96)?;
        let path = read_path(&mut reader, at)?;
        Ok(Self { block_height, result, version, path })
    }

    /// What the contract looks at before it knows whether the block was relayed: the height, and that the heads of the dynamic
    /// fields are there. These are calldata, for which no memory is taken yet.
    pub(crate) fn peek(verify: &[u8]) -> Result<U256, Refusal> {
        let mut reader = Reader::new(verify, Memory::CALL);
        reader.head(0, 128)?;
        let at = reader.tail(0, 32)?;
        reader.head(at, RESULT_HEAD as u128)?;
        let at = reader.tail(0, 96)?;
        reader.list(at, 160).map_err(|_| Refusal::Empty)?;
        reader.number(0)
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let result = result_size(&self.result);
        let mut out = Writer::with_capacity(160 + result + self.path.len() * 160);
        out.number(self.block_height);
        out.size(128);
        out.number(self.version);
        out.size(128 + result);
        write_result(&mut out, &self.result);
        write_path(&mut out, &self.path);
        out.into_bytes()
    }
}

/// The arguments of `verifyRequestsCount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountVerifyPart {
    /// Block whose header proves the number.
    pub block_height: U256,
    /// The number; the contract takes its low 64 bits.
    pub count: U256,
    /// Block that wrote it.
    pub version: U256,
    /// From the leaf to the root.
    pub path: Vec<MerklePath>,
}

impl CountVerifyPart {
    /// Decodes the part.
    ///
    /// # Errors
    /// If the contract's decoder refuses it.
    pub fn decode(verify: &[u8]) -> Result<Self, ProofError> {
        Self::read(verify, Memory::CALL).map_err(Part::Verify.fault())
    }

    pub(crate) fn read(verify: &[u8], memory: Memory) -> Result<Self, Refusal> {
        let mut reader = Reader::new(verify, memory);
        reader.head(0, 128)?;
        let (block_height, count, version) = (reader.number(0)?, reader.number(32)?, reader.number(64)?);
        let at = reader.tail(0, 96)?;
        let path = read_path(&mut reader, at)?;
        Ok(Self { block_height, count, version, path })
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(160 + self.path.len() * 160);
        out.number(self.block_height);
        out.number(self.count);
        out.number(self.version);
        out.size(128);
        write_path(&mut out, &self.path);
        out.into_bytes()
    }
}

/// Words in the head of a result.
const RESULT_HEAD: usize = 11 * 32;

fn read_result(reader: &mut Reader<'_>, at: Position) -> Result<OracleResult, Refusal> {
    reader.open(at, RESULT_HEAD as u128, 11)?;
    let field = |number: u128| at + number * 32;
    let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let tail = reader.tail(at, field(0))?;
    let client_id = copy(reader.bytes(tail)?);
    let oracle_script_id = reader.uint64(field(1))?;
    let tail = reader.tail(at, field(2))?;
    let calldata = copy(reader.bytes(tail)?);
    let mut numbers = [0; 6];
    for (number, index) in numbers.iter_mut().zip(3..) {
        *number = reader.uint64(field(index))?;
    }
    let status = i32::from(reader.uint8(field(9))?);
    let resolve_status = ResolveStatus::try_from(status).map_err(|_| Refusal::Empty)?;
    let tail = reader.tail(at, field(10))?;
    let result = copy(reader.bytes(tail)?);
    let [ask_count, min_count, request_id, ans_count, request_time, resolve_time] = numbers;
    Ok(OracleResult {
        client_id,
        oracle_script_id,
        calldata,
        ask_count,
        min_count,
        request_id,
        ans_count,
        request_time,
        resolve_time,
        resolve_status,
        result,
    })
}

fn result_size(result: &OracleResult) -> usize {
    RESULT_HEAD + bytes_size(result.client_id.len()) + bytes_size(result.calldata.len()) + bytes_size(result.result.len())
}

fn write_result(out: &mut Writer, result: &OracleResult) {
    let calldata = RESULT_HEAD + bytes_size(result.client_id.len());
    out.size(RESULT_HEAD);
    out.uint(result.oracle_script_id);
    out.size(calldata);
    for number in [
        result.ask_count,
        result.min_count,
        result.request_id,
        result.ans_count,
        result.request_time,
        result.resolve_time,
        result.resolve_status as u64,
    ] {
        out.uint(number);
    }
    out.size(calldata + bytes_size(result.calldata.len()));
    out.bytes(&result.client_id);
    out.bytes(&result.calldata);
    out.bytes(&result.result);
}

fn read_path(reader: &mut Reader<'_>, at: Position) -> Result<Vec<MerklePath>, Refusal> {
    let (first, length) = reader.list(at, 160)?;
    let mut path = Vec::with_capacity(length);
    for number in 0..length as Position {
        let at = first + number * 160;
        reader.open(at, 160, 5)?;
        path.push(MerklePath {
            is_data_on_right: reader.boolean(at)?,
            subtree_height: reader.uint8(at + 32)?,
            subtree_size: reader.number(at + 64)?,
            subtree_version: reader.number(at + 96)?,
            sibling_hash: reader.hash(at + 128)?,
        });
    }
    Ok(path)
}

fn write_path(out: &mut Writer, path: &[MerklePath]) {
    out.size(path.len());
    for step in path {
        out.uint(u64::from(step.is_data_on_right));
        out.uint(u64::from(step.subtree_height));
        out.number(step.subtree_size);
        out.number(step.subtree_version);
        out.hash(&step.sibling_hash);
    }
}

/// The proof of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The block.
    pub relay: RelayPart,
    /// The result in it.
    pub verify: VerifyPart,
}

impl Proof {
    /// Decodes a proof.
    ///
    /// # Errors
    /// If the contract's decoder refuses it.
    pub fn decode(proof: &[u8]) -> Result<Self, ProofError> {
        let raw = RawProof::decode(proof)?;
        Ok(Self { relay: RelayPart::decode(raw.relay)?, verify: VerifyPart::decode(raw.verify)? })
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Bytes {
        RawProof { relay: &self.relay.encode(), verify: &self.verify.encode() }.encode()
    }
}

/// One proof for several requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiProof {
    /// The block.
    pub relay: RelayPart,
    /// The results in it.
    pub verify: Vec<VerifyPart>,
}

impl MultiProof {
    /// Decodes a multi proof.
    ///
    /// # Errors
    /// If the contract's decoder refuses it.
    pub fn decode(proof: &[u8]) -> Result<Self, ProofError> {
        let raw = RawMultiProof::decode(proof)?;
        let verify = raw.verify.iter().map(|part| VerifyPart::decode(part)).collect::<Result<_, _>>()?;
        Ok(Self { relay: RelayPart::decode(raw.relay)?, verify })
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Bytes {
        let parts: Vec<Vec<u8>> = self.verify.iter().map(VerifyPart::encode).collect();
        RawMultiProof { relay: &self.relay.encode(), verify: parts.iter().map(Vec::as_slice).collect() }.encode()
    }
}

/// The proof of the number of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountProof {
    /// The block.
    pub relay: RelayPart,
    /// The number in it.
    pub verify: CountVerifyPart,
}

impl CountProof {
    /// Decodes a count proof.
    ///
    /// # Errors
    /// If the contract's decoder refuses it.
    pub fn decode(proof: &[u8]) -> Result<Self, ProofError> {
        let raw = RawProof::decode(proof)?;
        Ok(Self { relay: RelayPart::decode(raw.relay)?, verify: CountVerifyPart::decode(raw.verify)? })
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Bytes {
        RawProof { relay: &self.relay.encode(), verify: &self.verify.encode() }.encode()
    }
}
