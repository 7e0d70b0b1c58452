//! Merkle trees in the manner of RFC 6962: headers, multistore, validator sets.

use alloy_primitives::B256;
use sha2::{Digest, Sha256};

/// A sibling on the way from a leaf to the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sibling {
    /// Whether it is the left child, so that our own node is the right one.
    pub on_left: bool,
    /// Its hash.
    pub hash: B256,
}

/// SHA-256 of the parts, one after the other.
pub fn sha256(parts: &[&[u8]]) -> B256 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    B256::new(hasher.finalize().into())
}

/// Hash of a leaf: `sha256(0x00 || value)`.
pub fn leaf(value: &[u8]) -> B256 {
    sha256(&[&[0], value])
}

/// Hash of an inner node: `sha256(0x01 || left || right)`.
pub fn inner(left: &B256, right: &B256) -> B256 {
    sha256(&[&[1], left.as_slice(), right.as_slice()])
}

/// Root of the tree over `items`. Without items: the hash of nothing.
pub fn root<T: AsRef<[u8]>>(items: &[T]) -> B256 {
    match items {
        [] => sha256(&[]),
        [only] => leaf(only.as_ref()),
        _ => {
            let (left, right) = items.split_at(split(items.len()));
            inner(&root(left), &root(right))
        }
    }
}

/// Siblings of item `index`, from the leaf to the root. `None` if there is no such item.
pub fn path<T: AsRef<[u8]>>(items: &[T], index: usize) -> Option<Vec<Sibling>> {
    if index >= items.len() {
        return None;
    }
    if items.len() == 1 {
        return Some(Vec::new());
    }
    let middle = split(items.len());
    let (left, right) = items.split_at(middle);
    let (mut siblings, sibling) = if index < middle {
        (path(left, index)?, Sibling { on_left: false, hash: root(right) })
    } else {
        (path(right, index - middle)?, Sibling { on_left: true, hash: root(left) })
    };
    siblings.push(sibling);
    Some(siblings)
}

/// The root that a leaf and its siblings lead to.
pub fn climb<'a>(leaf: B256, siblings: impl IntoIterator<Item = &'a Sibling>) -> B256 {
    siblings.into_iter().fold(
        leaf,
        |node, sibling| {
            if sibling.on_left { inner(&sibling.hash, &node) } else { inner(&node, &sibling.hash) }
        },
    )
}

/// The largest power of two below `length`, which is at least 2.
fn split(length: usize) -> usize {
    let half = length.next_power_of_two() / 2;
    half.max(1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use alloy_primitives::b256;

    #[test]
    fn trees_of_rfc_6962() {
        let none: [&[u8]; 0] = [];
        assert_eq!(root(&none), b256!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
        assert_eq!(root(&[b""]), b256!("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"));
    }

    #[test]
    fn the_left_side_is_the_largest_power_of_two_below() {
        assert_eq!((2..=9).map(split).collect::<Vec<_>>(), [1, 2, 2, 4, 4, 4, 4, 8]);
    }

    #[test]
    fn every_path_leads_to_the_root() {
        for length in 1usize..40 {
            let items: Vec<Vec<u8>> = (0..length).map(|item| vec![item as u8; item]).collect();
            for (index, item) in items.iter().enumerate() {
                let siblings = path(&items, index).unwrap();
                assert_eq!(climb(leaf(item), &siblings), root(&items));
            }
            assert_eq!(path(&items, length), None);
        }
    }
}
