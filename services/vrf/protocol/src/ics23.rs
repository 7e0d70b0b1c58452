//! Store proofs as CometBFT RPC serves them: ICS-23 existence proofs of the oracle store's tree and of the multistore.

use alloy_primitives::{B256, Bytes, U256};
use prost::Message;

use crate::iavl::{self, Existence, MerklePath};
use crate::merkle::{self, Sibling};
use crate::messages::tendermint::ProofOp;
use crate::multistore::{Layout, MultiStoreProof, ORACLE};

/// Type of the proof op of the oracle store's tree.
pub const IAVL_OP: &str = "ics23:iavl";
/// Type of the proof op of the multistore.
pub const SIMPLE_OP: &str = "ics23:simple";

/// `CommitmentProof`, of which only existence proofs are of use here.
#[derive(Clone, PartialEq, Message)]
struct CommitmentProof {
    #[prost(message, optional, tag = "1")]
    exist: Option<ExistenceProof>,
}

#[derive(Clone, PartialEq, Message)]
struct ExistenceProof {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    leaf: Option<LeafOp>,
    #[prost(message, repeated, tag = "4")]
    path: Vec<InnerOp>,
}

#[derive(Clone, PartialEq, Message)]
struct LeafOp {
    #[prost(int32, tag = "1")]
    hash: i32,
    #[prost(int32, tag = "2")]
    prehash_key: i32,
    #[prost(int32, tag = "3")]
    prehash_value: i32,
    #[prost(int32, tag = "4")]
    length: i32,
    #[prost(bytes = "vec", tag = "5")]
    prefix: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct InnerOp {
    #[prost(int32, tag = "1")]
    hash: i32,
    #[prost(bytes = "vec", tag = "2")]
    prefix: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    suffix: Vec<u8>,
}

/// Numbers of the ICS-23 enumerations.
const SHA256: i32 = 1;
const NO_HASH: i32 = 0;
const VAR_PROTO: i32 = 1;

/// Why a store proof cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ics23Error {
    /// It is no protobuf message of this kind.
    #[error("the store proof is malformed")]
    Malformed,
    /// It proves absence: the key is not in the store at this height.
    #[error("the store proof is no proof of existence")]
    NoExistence,
    /// Its hashing rules are not those of this kind of tree.
    #[error("the {0} of the store proof is not as in this kind of tree")]
    Rules(&'static str),
    /// The ops are not the two that are expected.
    #[error("the answer has the proof ops {0:?}, expected are ics23:iavl and ics23:simple")]
    Ops(Vec<String>),
    /// The proof is for another key.
    #[error("the store proof is for another key")]
    OtherKey,
    /// The tree's root is not what the multistore holds.
    #[error("the root of the oracle store is not what the multistore holds")]
    OtherRoot,
    /// The siblings are on sides that no known chain version has.
    #[error("the oracle store has siblings on the sides {0:?}, which no known layout has")]
    UnknownLayout(Vec<bool>),
}

/// An entry of the oracle store with its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IavlProof {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// Version, leaf and path.
    pub existence: Existence,
}

impl IavlProof {
    /// Reads the data of an `ics23:iavl` op.
    ///
    /// # Errors
    /// If it is no existence proof of such a tree.
    pub fn decode(data: &[u8]) -> Result<Self, Ics23Error> {
        let proof = existence(data)?;
        let leaf = proof.leaf.ok_or(Ics23Error::Rules("leaf"))?;
        let rules = [leaf.hash, leaf.prehash_key, leaf.prehash_value, leaf.length];
        if rules != [SHA256, NO_HASH, SHA256, VAR_PROTO] || proof.key.len() > 127 {
            return Err(Ics23Error::Rules("leaf"));
        }
        let mut prefix = leaf.prefix.as_slice();
        let numbers = (signed_varint(&mut prefix), signed_varint(&mut prefix), signed_varint(&mut prefix));
        let (Some(0), Some(1), Some(version)) = numbers else {
            return Err(Ics23Error::Rules("leaf"));
        };
        let version = positive(version).filter(|_| prefix.is_empty()).ok_or(Ics23Error::Rules("leaf"))?;
        let value_hash = merkle::sha256(&[&proof.value]);
        let leaf_hash = iavl::leaf_hash(&proof.key, &value_hash, U256::from(version)).map_err(|_| Ics23Error::Rules("leaf"))?;
        let path = proof.path.iter().map(iavl_step).collect::<Option<Vec<_>>>().ok_or(Ics23Error::Rules("path"))?;
        Ok(Self { key: proof.key.into(), value: proof.value.into(), existence: Existence { version, leaf_hash, path } })
    }

    /// The root that the path leads to.
    ///
    /// # Errors
    /// If the path cannot be hashed, which [`IavlProof::decode`] excludes.
    pub fn root(&self) -> Result<B256, Ics23Error> {
        iavl::climb(self.existence.leaf_hash, &self.existence.path).map_err(|_| Ics23Error::Rules("path"))
    }
}

/// A store of the multistore with its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimpleProof {
    /// Name of the store.
    pub key: Bytes,
    /// Its root.
    pub value: Bytes,
    /// From the leaf to the AppHash.
    pub siblings: Vec<Sibling>,
}

impl SimpleProof {
    /// Reads the data of an `ics23:simple` op.
    ///
    /// # Errors
    /// If it is no existence proof of such a tree.
    pub fn decode(data: &[u8]) -> Result<Self, Ics23Error> {
        let proof = existence(data)?;
        let leaf = proof.leaf.ok_or(Ics23Error::Rules("leaf"))?;
        let rules = [leaf.hash, leaf.prehash_key, leaf.prehash_value, leaf.length];
        if rules != [SHA256, NO_HASH, SHA256, VAR_PROTO] || leaf.prefix != [0] || proof.key.len() > 127 {
            return Err(Ics23Error::Rules("leaf"));
        }
        let siblings = proof.path.iter().map(simple_step).collect::<Option<Vec<_>>>().ok_or(Ics23Error::Rules("path"))?;
        Ok(Self { key: proof.key.into(), value: proof.value.into(), siblings })
    }

    /// The AppHash that the path leads to.
    pub fn root(&self) -> B256 {
        let (length, value) = ([self.key.len() as u8], merkle::sha256(&[&self.value]));
        let leaf = merkle::sha256(&[&[0], &length, &self.key, &[32], value.as_slice()]);
        merkle::climb(leaf, &self.siblings)
    }

    /// The Bridge's fields, with the layout whose siblings are on these sides.
    ///
    /// # Errors
    /// If it is not the oracle store, or of a chain of no known layout.
    pub fn multi_store(&self) -> Result<(MultiStoreProof, Layout), Ics23Error> {
        if *self.key != *ORACLE.as_bytes() {
            return Err(Ics23Error::OtherKey);
        }
        let sides: Vec<bool> = self.siblings.iter().map(|sibling| sibling.on_left).collect();
        let hashes: Vec<B256> = self.siblings.iter().map(|sibling| sibling.hash).collect();
        let layout = Layout::ALL.into_iter().find(|layout| sides == layout.siblings_on_left());
        let (Some(layout), Ok(siblings)) = (layout, <[B256; 5]>::try_from(hashes)) else {
            return Err(Ics23Error::UnknownLayout(sides));
        };
        let root = B256::try_from(self.value.as_ref()).map_err(|_| Ics23Error::Rules("root"))?;
        Ok((MultiStoreProof::new(root, siblings), layout))
    }
}

/// An entry of the oracle store, proven up to the AppHash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreProof {
    /// The value.
    pub value: Bytes,
    /// From the value to the root of the oracle store.
    pub existence: Existence,
    /// From that root to the AppHash.
    pub multi_store: MultiStoreProof,
    /// The chain version.
    pub layout: Layout,
}

impl StoreProof {
    /// Reads the proof ops of an ABCI query of the oracle store for this key.
    ///
    /// The AppHash is `multi_store.app_hash(layout)`; it must be that of the header of the block after the queried one.
    ///
    /// # Errors
    /// If the ops prove something else, or nothing.
    pub fn from_ops(ops: &[ProofOp], key: &[u8]) -> Result<Self, Ics23Error> {
        let [iavl, simple] = ops else {
            return Err(unexpected(ops));
        };
        if iavl.r#type != IAVL_OP || simple.r#type != SIMPLE_OP {
            return Err(unexpected(ops));
        }
        let (iavl, simple) = (IavlProof::decode(&iavl.data)?, SimpleProof::decode(&simple.data)?);
        if *iavl.key != *key {
            return Err(Ics23Error::OtherKey);
        }
        if iavl.root()?.as_slice() != &simple.value[..] {
            return Err(Ics23Error::OtherRoot);
        }
        let (multi_store, layout) = simple.multi_store()?;
        Ok(Self { value: iavl.value, existence: iavl.existence, multi_store, layout })
    }
}

fn unexpected(ops: &[ProofOp]) -> Ics23Error {
    Ics23Error::Ops(ops.iter().take(8).map(|op| op.r#type.chars().take(40).collect()).collect())
}

/// Writes the proof ops of an entry, for simulators.
pub fn to_ops(key: &[u8], value: &[u8], existence: &Existence, multi_store: &MultiStoreProof, layout: Layout) -> Vec<ProofOp> {
    let leaf =
        |prefix: Vec<u8>| Some(LeafOp { hash: SHA256, prehash_key: NO_HASH, prehash_value: SHA256, length: VAR_PROTO, prefix });
    let mut prefix = vec![0, 2];
    push_signed(&mut prefix, U256::from(existence.version));
    let iavl = ExistenceProof {
        key: key.to_vec(),
        value: value.to_vec(),
        leaf: leaf(prefix),
        path: existence.path.iter().map(to_iavl_step).collect(),
    };
    let siblings = multi_store.path(layout).into_iter().map(|sibling| {
        let hash = sibling.hash.as_slice();
        let (prefix, suffix) = if sibling.on_left { ([&[1], hash].concat(), Vec::new()) } else { (vec![1], hash.to_vec()) };
        InnerOp { hash: SHA256, prefix, suffix }
    });
    let simple = ExistenceProof {
        key: ORACLE.as_bytes().to_vec(),
        value: multi_store.oracle_root().to_vec(),
        leaf: leaf(vec![0]),
        path: siblings.collect(),
    };
    let op = |kind: &str, exist: ExistenceProof| ProofOp {
        r#type: kind.to_owned(),
        key: exist.key.clone(),
        data: CommitmentProof { exist: Some(exist) }.encode_to_vec(),
    };
    vec![op(IAVL_OP, iavl), op(SIMPLE_OP, simple)]
}

fn to_iavl_step(step: &MerklePath) -> InnerOp {
    let mut prefix = vec![step.subtree_height << 1];
    push_signed(&mut prefix, step.subtree_size);
    push_signed(&mut prefix, step.subtree_version);
    prefix.push(32);
    let hash = step.sibling_hash.as_slice();
    let mut suffix = Vec::new();
    if step.is_data_on_right {
        prefix.extend_from_slice(hash);
        prefix.push(32);
    } else {
        suffix.push(32);
        suffix.extend_from_slice(hash);
    }
    InnerOp { hash: SHA256, prefix, suffix }
}

/// Sizes and versions of a tree are never zero.
fn push_signed(out: &mut Vec<u8>, value: U256) {
    if let Ok(varint) = crate::varint::signed(value) {
        out.extend_from_slice(varint.as_ref());
    }
}

fn existence(data: &[u8]) -> Result<ExistenceProof, Ics23Error> {
    let proof = CommitmentProof::decode(data).map_err(|_| Ics23Error::Malformed)?;
    proof.exist.ok_or(Ics23Error::NoExistence)
}

/// Prefix `svarint(height) svarint(size) svarint(version) 0x20 [left 0x20]`, suffix `[0x20 right]`. The contract writes the height
/// in one byte, which is the same up to 63; a tree of that height has more leaves than any store.
fn iavl_step(step: &InnerOp) -> Option<MerklePath> {
    let mut prefix = step.prefix.as_slice();
    let height = u8::try_from(signed_varint(&mut prefix)?).ok().filter(|height| (1..64).contains(height))?;
    let size = positive(signed_varint(&mut prefix)?)?;
    let version = positive(signed_varint(&mut prefix)?)?;
    let (is_data_on_right, sibling) = match (prefix, step.suffix.as_slice()) {
        ([32], [32, right @ ..]) => (false, right),
        ([32, left @ .., 32], []) => (true, left),
        _ => return None,
    };
    let sibling_hash = B256::try_from(sibling).ok().filter(|_| step.hash == SHA256)?;
    Some(MerklePath {
        is_data_on_right,
        subtree_height: height,
        subtree_size: U256::from(size),
        subtree_version: U256::from(version),
        sibling_hash,
    })
}

/// Prefix `0x01 [left]`, suffix `[right]`.
fn simple_step(step: &InnerOp) -> Option<Sibling> {
    let (on_left, hash) = match (step.prefix.as_slice(), step.suffix.as_slice()) {
        ([1], right) => (false, right),
        ([1, left @ ..], []) => (true, left),
        _ => return None,
    };
    let hash = B256::try_from(hash).ok().filter(|_| step.hash == SHA256)?;
    Some(Sibling { on_left, hash })
}

fn positive(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|value| *value > 0)
}

/// Reads a zig-zag varint in its shortest form.
fn signed_varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().copied().enumerate().take(10) {
        let low = u64::from(byte & 0x7f);
        let shift = 7 * index as u32;
        if (low << shift) >> shift != low || (byte == 0 && index > 0) {
            return None;
        }
        value |= low << shift;
        if byte & 0x80 == 0 {
            *bytes = bytes.get(index + 1..)?;
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}
