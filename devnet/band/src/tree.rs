//! The oracle store's tree: a persistent one, so that the state after each block is a root of its own.
//!
//! Any list of leaves in ascending order of keys has exactly one tree: it is split into the first `ceil(k / 2)` and the rest, an
//! inner node is one higher than the higher child, its size is the number of leaves below it, its version the newer of its children's.
//! A change copies the nodes on its way to the root and shares all others; the tree before the change stays as it was.

use std::sync::Arc;

use alloy_primitives::{B256, Bytes, U256};
use windlass_vrf_protocol::iavl::{self, Existence, MerklePath};
use windlass_vrf_protocol::merkle::sha256;
use windlass_vrf_protocol::oracle_result::store_key;

use crate::error::BuildError;

/// An entry of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreItem {
    /// Key, such as `0xff || uint64be(request id)`.
    pub key: Bytes,
    /// Value.
    pub value: Bytes,
    /// Height of the block that wrote it; at least 1.
    pub version: u64,
}

/// What a leaf holds.
#[derive(Clone, Debug)]
pub(crate) enum Leaf {
    /// An entry.
    Item(Arc<StoreItem>),
    /// The place of a request that has no result yet. Its key sorts right before the key of the result, see [`vacant_key`].
    Vacant { request_id: u64, version: u64 },
}

impl Leaf {
    pub(crate) fn item(&self) -> StoreItem {
        match self {
            Self::Item(item) => (**item).clone(),
            Self::Vacant { request_id, version } => {
                StoreItem { key: vacant_key(*request_id), value: vacant_value(), version: *version }
            }
        }
    }

    fn version(&self) -> u64 {
        match self {
            Self::Item(item) => item.version,
            Self::Vacant { version, .. } => *version,
        }
    }

    fn hash(&self) -> Result<B256, BuildError> {
        let item = self.item();
        Ok(iavl::leaf_hash(&item.key, &sha256(&[&item.value]), U256::from(item.version))?)
    }
}

/// Key of the entry that keeps the place of a result: the result key of the request before, with a zero byte behind it. It sorts
/// after that result and before the result it keeps the place for, so a result takes its place without moving any other leaf.
pub(crate) fn vacant_key(request_id: u64) -> Bytes {
    let mut key = store_key(request_id.wrapping_sub(1)).to_vec();
    key.push(0);
    key.into()
}

/// Value of the entry that keeps the place of a result.
pub(crate) fn vacant_value() -> Bytes {
    Bytes::from_static(&[0])
}

#[derive(Debug)]
struct Node {
    hash: B256,
    height: u8,
    size: u64,
    version: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Leaf(Leaf),
    Inner(Arc<Node>, Arc<Node>),
}

impl Node {
    fn leaf(leaf: Leaf) -> Result<Arc<Self>, BuildError> {
        let (hash, version) = (leaf.hash()?, leaf.version());
        Ok(Arc::new(Self { hash, height: 0, size: 1, version, content: Content::Leaf(leaf) }))
    }

    fn inner(left: Arc<Self>, right: Arc<Self>) -> Result<Arc<Self>, BuildError> {
        let height = left.height.max(right.height).saturating_add(1);
        let size = left.size.saturating_add(right.size);
        let version = left.version.max(right.version);
        let hash = iavl::inner_hash(height, U256::from(size), U256::from(version), &left.hash, &right.hash)?;
        Ok(Arc::new(Self { hash, height, size, version, content: Content::Inner(left, right) }))
    }
}

/// A tree with at least one leaf. Clones are cheap and share everything.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: Arc<Node>,
}

impl Tree {
    /// The tree of these leaves, which are in ascending order of their keys.
    pub(crate) fn build(leaves: &[Leaf]) -> Result<Self, BuildError> {
        Ok(Self { root: build(leaves)? })
    }

    /// The tree of twice the size whose left half is this tree; the right half keeps the places of the requests from `first_id` on.
    /// Only a tree whose size is a power of two may grow so: then the split of the bigger tree is between the two.
    pub(crate) fn doubled(&self, first_id: u64, version: u64) -> Result<Self, BuildError> {
        let right = vacant(first_id, self.len(), version)?;
        Ok(Self { root: Node::inner(self.root.clone(), right)? })
    }

    /// The tree with other leaves at some places: pairs of place and leaf in ascending order. Keys keep their order.
    pub(crate) fn with(&self, changes: &[(u64, Leaf)]) -> Result<Self, BuildError> {
        Ok(Self { root: changed(&self.root, 0, changes)? })
    }

    pub(crate) fn root(&self) -> B256 {
        self.root.hash
    }

    /// Number of leaves.
    pub(crate) fn len(&self) -> u64 {
        self.root.size
    }

    /// The entry at a place with its proof.
    pub(crate) fn prove(&self, place: u64) -> Option<(StoreItem, Existence)> {
        let (mut node, mut place) = (&self.root, place);
        let mut path = Vec::with_capacity(usize::from(self.root.height));
        loop {
            match &node.content {
                Content::Leaf(leaf) if place == 0 => {
                    path.reverse();
                    return Some((leaf.item(), Existence { version: node.version, leaf_hash: node.hash, path }));
                }
                Content::Leaf(_) => return None,
                Content::Inner(left, right) => {
                    let is_data_on_right = place >= left.size;
                    let (next, sibling) = if is_data_on_right { (right, left) } else { (left, right) };
                    if is_data_on_right {
                        place -= left.size;
                    }
                    path.push(MerklePath {
                        is_data_on_right,
                        subtree_height: node.height,
                        subtree_size: U256::from(node.size),
                        subtree_version: U256::from(node.version),
                        sibling_hash: sibling.hash,
                    });
                    node = next;
                }
            }
        }
    }

    /// The place of a key, or of the first key after it.
    pub(crate) fn find(&self, key: &[u8]) -> Result<u64, u64> {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from + (to - from) / 2;
            match self.item(middle) {
                Some(item) if item.key.as_ref() == key => return Ok(middle),
                Some(item) if item.key.as_ref() < key => from = middle + 1,
                _ => to = middle,
            }
        }
        Err(from)
    }

    fn item(&self, place: u64) -> Option<StoreItem> {
        let (mut node, mut place) = (&self.root, place);
        loop {
            match &node.content {
                Content::Leaf(leaf) => return (place == 0).then(|| leaf.item()),
                Content::Inner(left, _) if place < left.size => node = left,
                Content::Inner(left, right) => {
                    place -= left.size;
                    node = right;
                }
            }
        }
    }

    /// All entries, in order.
    pub(crate) fn items(&self) -> Vec<StoreItem> {
        let mut items = Vec::new();
        let mut waiting = vec![&self.root];
        while let Some(node) = waiting.pop() {
            match &node.content {
                Content::Leaf(leaf) => items.push(leaf.item()),
                Content::Inner(left, right) => waiting.extend([right, left]),
            }
        }
        items
    }
}

fn build(leaves: &[Leaf]) -> Result<Arc<Node>, BuildError> {
    match leaves {
        [] => Err(BuildError::EmptyStore),
        [leaf] => Node::leaf(leaf.clone()),
        _ => {
            let (left, right) = leaves.split_at(leaves.len().div_ceil(2));
            Node::inner(build(left)?, build(right)?)
        }
    }
}

/// `count` places for the requests from `first_id` on.
fn vacant(first_id: u64, count: u64, version: u64) -> Result<Arc<Node>, BuildError> {
    if count <= 1 {
        return Node::leaf(Leaf::Vacant { request_id: first_id, version });
    }
    let left = count.div_ceil(2);
    Node::inner(vacant(first_id, left, version)?, vacant(first_id.wrapping_add(left), count - left, version)?)
}

/// The node whose first leaf is at place `first`, with the changes that fall into it.
fn changed(node: &Arc<Node>, first: u64, changes: &[(u64, Leaf)]) -> Result<Arc<Node>, BuildError> {
    let Some((_, last)) = changes.last() else { return Ok(node.clone()) };
    match &node.content {
        Content::Leaf(_) => Node::leaf(last.clone()),
        Content::Inner(left, right) => {
            let middle = first.saturating_add(left.size);
            let (lower, upper) = changes.split_at(changes.partition_point(|(place, _)| *place < middle));
            Node::inner(changed(left, first, lower)?, changed(right, middle, upper)?)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn item(id: u64, version: u64) -> Leaf {
        let value = Bytes::copy_from_slice(&[id as u8, version as u8]);
        Leaf::Item(Arc::new(StoreItem { key: store_key(id).to_vec().into(), value, version }))
    }

    /// The same leaves in the tree of the protocol crate, which is built from nothing each time.
    fn reference(tree: &Tree) -> iavl::Tree {
        let leaves = tree.items().into_iter().map(|item| iavl::Leaf::new(item.key, &item.value, item.version).unwrap());
        iavl::Tree::new(leaves).unwrap()
    }

    #[test]
    fn trees_of_all_sizes_are_those_of_the_rule() {
        for size in 1..40 {
            let leaves: Vec<Leaf> = (0..size).map(|id| item(id, 1 + id * 7 % 5)).collect();
            let tree = Tree::build(&leaves).unwrap();
            let reference = reference(&tree);
            assert_eq!(Some(tree.root()), reference.root(), "{size}");
            for place in 0..size {
                let (item, existence) = tree.prove(place).unwrap();
                assert_eq!(Some(existence), reference.prove(&item.key));
                assert_eq!(tree.find(&item.key), Ok(place));
            }
            assert!(tree.prove(size).is_none());
        }
    }

    #[test]
    fn changes_and_growth_keep_the_rule_and_the_old_tree() {
        let mut tree = Tree::build(&[item(1, 1), item(2, 1), Leaf::Vacant { request_id: 3, version: 1 }, item(4, 1)]).unwrap();
        for round in 0..40u64 {
            let before = (tree.root(), tree.items());
            let next = 5 + round;
            let mut grown = tree.clone();
            while grown.len() < next {
                grown = grown.doubled(grown.len() + 1, round + 2).unwrap();
            }
            let mut changes = vec![(next - 1, item(next, round + 2))];
            if round % 3 == 0 {
                changes.insert(0, (2, item(3, round + 2)));
            }
            grown = grown.with(&changes).unwrap();
            let reference = reference(&grown);
            assert_eq!(Some(grown.root()), reference.root(), "round {round}");
            let (item, existence) = grown.prove(next - 1).unwrap();
            assert_eq!(item.key, store_key(next).to_vec());
            assert_eq!(Some(existence), reference.prove(&item.key));
            assert_eq!(grown.find(&store_key(next)), Ok(next - 1));
            assert!(grown.find(&store_key(next + 1)).is_err());
            assert_eq!(before, (tree.root(), tree.items()));
            tree = grown;
        }
    }

    #[test]
    fn the_place_of_a_result_lies_between_its_neighbours() {
        let (before, after) = (store_key(6).to_vec(), store_key(7).to_vec());
        let key = vacant_key(7).to_vec();
        assert!(before < key && key < after);
        assert!(store_key(7).to_vec() < vacant_key(8).to_vec());
    }

    #[test]
    fn an_empty_store_has_no_tree() {
        assert!(matches!(Tree::build(&[]), Err(BuildError::EmptyStore)));
    }
}
