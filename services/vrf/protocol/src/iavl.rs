//! The oracle store's tree: hashes of leaves and inner nodes, paths, and a builder for simulators.

use std::collections::BTreeMap;

use alloy_primitives::{B256, Bytes, U256};

use crate::merkle::sha256;
use crate::{Refusal, varint};

/// One step from a leaf to the root, as the Bridge wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MerklePath {
    /// Whether our own node is the right child.
    pub is_data_on_right: bool,
    /// Height of the parent.
    pub subtree_height: u8,
    /// Leaves below the parent.
    pub subtree_size: U256,
    /// Block that wrote the parent.
    pub subtree_version: U256,
    /// Hash of the other child.
    pub sibling_hash: B256,
}

impl MerklePath {
    /// Hash of the parent of `child`.
    ///
    /// # Errors
    /// Size or version zero make the contract panic with 0x11.
    pub fn parent_hash(&self, child: &B256) -> Result<B256, Refusal> {
        let (left, right) = if self.is_data_on_right { (&self.sibling_hash, child) } else { (child, &self.sibling_hash) };
        inner_hash(self.subtree_height, self.subtree_size, self.subtree_version, left, right)
    }
}

/// Hash of a leaf: `sha256(0x00 || 0x02 || svarint(version) || uint8(length of key) || key || 0x20 || sha256(value))`.
///
/// # Errors
/// Version zero makes the contract panic with 0x11.
pub fn leaf_hash(key: &[u8], value_hash: &B256, version: U256) -> Result<B256, Refusal> {
    let version = varint::signed(version)?;
    // The contract keeps the low byte of the length, and keys here have 9 or 13 bytes.
    Ok(sha256(&[&[0, 2], version.as_ref(), &[key.len() as u8], key, &[32], value_hash.as_slice()]))
}

/// Hash of an inner node: `sha256(uint8(height << 1) || svarint(size) || svarint(version) || 0x20 || left || 0x20 || right)`.
/// Height 128 wraps, as in the contract.
///
/// # Errors
/// Size or version zero make the contract panic with 0x11.
pub fn inner_hash(height: u8, size: U256, version: U256, left: &B256, right: &B256) -> Result<B256, Refusal> {
    let (size, version) = (varint::signed(size)?, varint::signed(version)?);
    Ok(sha256(&[&[height << 1], size.as_ref(), version.as_ref(), &[32], left.as_slice(), &[32], right.as_slice()]))
}

/// The root that a leaf and its path lead to.
///
/// # Errors
/// Size or version zero in a step make the contract panic with 0x11.
pub fn climb(leaf: B256, path: &[MerklePath]) -> Result<B256, Refusal> {
    path.iter().try_fold(leaf, |node, step| step.parent_hash(&node))
}

/// A leaf with its hash, which does not change while the entry does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Key in the store.
    pub key: Bytes,
    /// Block that wrote the value.
    pub version: u64,
    /// See [`leaf_hash`].
    pub hash: B256,
}

impl Leaf {
    /// A leaf of these bytes.
    ///
    /// # Errors
    /// Version zero has no encoding.
    pub fn new(key: Bytes, value: &[u8], version: u64) -> Result<Self, Refusal> {
        let hash = leaf_hash(&key, &sha256(&[value]), U256::from(version))?;
        Ok(Self { key, version, hash })
    }
}

/// A whole tree: keys in ascending order, split into the first `ceil(k / 2)` and the rest.
#[derive(Debug, Clone)]
pub struct Tree {
    leaves: Vec<Leaf>,
    /// Inner nodes by the half-open range of leaves below them.
    nodes: BTreeMap<(usize, usize), Node>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    height: u8,
    version: u64,
    hash: B256,
}

/// Proof that a tree holds an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existence {
    /// Block that wrote the value.
    pub version: u64,
    /// Hash of the leaf.
    pub leaf_hash: B256,
    /// From the leaf to the root.
    pub path: Vec<MerklePath>,
}

impl Tree {
    /// The tree of these leaves. The last of several with one key counts.
    ///
    /// # Errors
    /// A version of zero cannot be encoded.
    pub fn new(leaves: impl IntoIterator<Item = Leaf>) -> Result<Self, Refusal> {
        let sorted: BTreeMap<Bytes, Leaf> = leaves.into_iter().map(|leaf| (leaf.key.clone(), leaf)).collect();
        let mut tree = Self { leaves: sorted.into_values().collect(), nodes: BTreeMap::new() };
        let length = tree.leaves.len();
        if length > 0 {
            tree.grow(0, length)?;
        }
        Ok(tree)
    }

    /// Hash of the root; `None` of an empty tree.
    pub fn root(&self) -> Option<B256> {
        match self.leaves.as_slice() {
            [] => None,
            _ => self.node(0, self.leaves.len()).map(|node| node.hash),
        }
    }

    /// The leaf of a key and its path. `None` if the tree does not hold it.
    pub fn prove(&self, key: &[u8]) -> Option<Existence> {
        let index = self.leaves.binary_search_by(|leaf| leaf.key.as_ref().cmp(key)).ok()?;
        let (mut from, mut to) = (0, self.leaves.len());
        let mut path = Vec::new();
        while to - from > 1 {
            let middle = middle(from, to);
            let parent = self.node(from, to)?;
            let is_data_on_right = index >= middle;
            let sibling = if is_data_on_right { self.node(from, middle)? } else { self.node(middle, to)? };
            path.push(MerklePath {
                is_data_on_right,
                subtree_height: parent.height,
                subtree_size: U256::from(to - from),
                subtree_version: U256::from(parent.version),
                sibling_hash: sibling.hash,
            });
            if is_data_on_right {
                from = middle;
            } else {
                to = middle;
            }
        }
        path.reverse();
        let leaf = self.leaves.get(index)?;
        Some(Existence { version: leaf.version, leaf_hash: leaf.hash, path })
    }

    fn node(&self, from: usize, to: usize) -> Option<Node> {
        if to - from == 1 {
            return self.leaves.get(from).map(|leaf| Node { height: 0, version: leaf.version, hash: leaf.hash });
        }
        self.nodes.get(&(from, to)).copied()
    }

    fn grow(&mut self, from: usize, to: usize) -> Result<Node, Refusal> {
        if let Some(leaf) = self.leaves.get(from).filter(|_| to - from == 1) {
            return Ok(Node { height: 0, version: leaf.version, hash: leaf.hash });
        }
        let middle = middle(from, to);
        let (left, right) = (self.grow(from, middle)?, self.grow(middle, to)?);
        let height = left.height.max(right.height).saturating_add(1);
        let version = left.version.max(right.version);
        let hash = inner_hash(height, U256::from(to - from), U256::from(version), &left.hash, &right.hash)?;
        let node = Node { height, version, hash };
        self.nodes.insert((from, to), node);
        Ok(node)
    }
}

/// Where the range is split: after the first half, which gets the odd one.
fn middle(from: usize, to: usize) -> usize {
    from + (to - from).div_ceil(2)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaf(number: u64, version: u64) -> Leaf {
        Leaf::new(crate::oracle_result::store_key(number).to_vec().into(), &number.to_be_bytes(), version).unwrap()
    }

    #[test]
    fn a_tree_without_leaves_proves_nothing() {
        let tree = Tree::new([]).unwrap();
        assert_eq!(tree.root(), None);
        assert_eq!(tree.prove(b"x"), None);
    }

    #[test]
    fn the_only_leaf_is_the_root() {
        let tree = Tree::new([leaf(1, 7)]).unwrap();
        let existence = tree.prove(&crate::oracle_result::store_key(1)).unwrap();
        assert_eq!(existence, Existence { version: 7, leaf_hash: tree.root().unwrap(), path: Vec::new() });
    }

    #[test]
    fn version_zero_cannot_be_hashed() {
        assert_eq!(Leaf::new(Bytes::new(), b"", 0).unwrap_err(), Refusal::ARITHMETIC);
    }

    proptest! {
        #[test]
        fn every_leaf_leads_to_the_root(versions in prop::collection::vec(1u64..1000, 1..70)) {
            let leaves: Vec<Leaf> = versions.iter().enumerate().map(|(number, version)| leaf(number as u64, *version)).collect();
            let tree = Tree::new(leaves.iter().rev().cloned()).unwrap();
            for leaf in &leaves {
                let existence = tree.prove(&leaf.key).unwrap();
                prop_assert_eq!(existence.version, leaf.version);
                prop_assert_eq!(Some(climb(existence.leaf_hash, &existence.path).unwrap()), tree.root());
                if let Some(top) = existence.path.last() {
                    prop_assert_eq!(top.subtree_size, U256::from(leaves.len()));
                    prop_assert_eq!(top.subtree_version, U256::from(*versions.iter().max().unwrap()));
                }
            }
        }
    }
}
