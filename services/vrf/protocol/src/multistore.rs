//! From the root of the oracle store to the AppHash. The stores of a chain version decide the layout.

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::merkle::{self, Sibling};
use crate::varint;

/// Name of the oracle store.
pub const ORACLE: &str = "oracle";

/// Which stores a chain has, and so on which side the siblings of the oracle store are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// BandChain v3, 27 stores.
    V3,
    /// BandChain v2.4 and v2.5, 18 stores.
    V2,
}

const STORES_V3: [&str; 27] = [
    "acc",
    "authz",
    "bandtss",
    "bank",
    "capability",
    "consensus",
    "crisis",
    "distribution",
    "evidence",
    "feeds",
    "feegrant",
    "feeibc",
    "globalfee",
    "gov",
    "ibc",
    "icahost",
    "mint",
    "oracle",
    "params",
    "restake",
    "rollingseed",
    "slashing",
    "staking",
    "transfer",
    "tss",
    "tunnel",
    "upgrade",
];

const STORES_V2: [&str; 18] = [
    "acc",
    "authz",
    "bank",
    "capability",
    "crisis",
    "distribution",
    "evidence",
    "feegrant",
    "gov",
    "ibc",
    "icahost",
    "mint",
    "oracle",
    "params",
    "slashing",
    "staking",
    "transfer",
    "upgrade",
];

impl Layout {
    /// All layouts, the newest first.
    pub const ALL: [Self; 2] = [Self::V3, Self::V2];

    /// The stores, in ascending order of their names.
    pub const fn stores(self) -> &'static [&'static str] {
        match self {
            Self::V3 => &STORES_V3,
            Self::V2 => &STORES_V2,
        }
    }

    /// Which siblings of the oracle store are on the left, from the leaf to the root.
    pub const fn siblings_on_left(self) -> [bool; 5] {
        match self {
            Self::V3 => [true, false, false, false, true],
            Self::V2 => [false, false, true, true, false],
        }
    }

    /// `v3` or `v2`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V3 => "v3",
            Self::V2 => "v2",
        }
    }
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The root of the oracle store and its five siblings up to the AppHash: the six fields of the contract's struct, in both
/// layouts in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MultiStoreProof(pub [B256; 6]);

impl MultiStoreProof {
    /// The proof of these siblings, from the leaf to the root.
    pub fn new(oracle_root: B256, siblings: [B256; 5]) -> Self {
        let [a, b, c, d, e] = siblings;
        Self([oracle_root, a, b, c, d, e])
    }

    /// Root of the oracle store.
    pub fn oracle_root(&self) -> B256 {
        let [root, ..] = self.0;
        root
    }

    /// The siblings, from the leaf to the root.
    pub fn siblings(&self) -> [B256; 5] {
        let [_, siblings @ ..] = self.0;
        siblings
    }

    /// The siblings with their sides.
    pub fn path(&self, layout: Layout) -> [Sibling; 5] {
        let [a, b, c, d, e] = self.siblings();
        let [l, m, n, o, p] = layout.siblings_on_left();
        [(l, a), (m, b), (n, c), (o, d), (p, e)].map(|(on_left, hash)| Sibling { on_left, hash })
    }

    /// The AppHash of a chain with this layout.
    pub fn app_hash(&self, layout: Layout) -> B256 {
        let leaf = merkle::leaf(&item(ORACLE, &self.oracle_root()));
        merkle::climb(leaf, &self.path(layout))
    }
}

/// What a store is in the tree: `uvarint(length of name) || name || 0x20 || sha256(root)`.
pub fn item(name: &str, root: &B256) -> Vec<u8> {
    let mut item = Vec::with_capacity(name.len() + 34);
    varint::push(&mut item, name.len() as u64);
    item.extend_from_slice(name.as_bytes());
    item.push(32);
    item.extend_from_slice(merkle::sha256(&[root.as_slice()]).as_slice());
    item
}

/// The proof of the oracle store and the AppHash of a chain whose stores have these roots.
///
/// `root_of` is asked once for each store of the layout.
pub fn build(layout: Layout, mut root_of: impl FnMut(&str) -> B256) -> (MultiStoreProof, B256) {
    let roots: Vec<B256> = layout.stores().iter().map(|name| root_of(name)).collect();
    let items: Vec<Vec<u8>> = layout.stores().iter().zip(&roots).map(|(name, root)| item(name, root)).collect();
    let index = layout.stores().iter().position(|name| *name == ORACLE).unwrap_or_default();
    let mut fields = [B256::ZERO; 6];
    let siblings = merkle::path(&items, index).unwrap_or_default();
    let values = roots.get(index).copied().into_iter().chain(siblings.into_iter().map(|sibling| sibling.hash));
    for (field, value) in fields.iter_mut().zip(values) {
        *field = value;
    }
    (MultiStoreProof(fields), merkle::root(&items))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;

    #[test]
    fn both_layouts_lead_to_the_root_of_all_stores() {
        for layout in Layout::ALL {
            let (proof, app_hash) = build(layout, |name| keccak256(name));
            assert_eq!(proof.oracle_root(), keccak256("oracle"));
            assert_eq!(proof.app_hash(layout), app_hash);
            let items: Vec<Vec<u8>> = layout.stores().iter().map(|name| item(name, &keccak256(name))).collect();
            let index = layout.stores().iter().position(|name| *name == ORACLE).unwrap();
            assert_eq!(merkle::path(&items, index).unwrap(), proof.path(layout));
            assert!(layout.stores().is_sorted());
        }
        let (proof, app_hash) = build(Layout::V3, |name| keccak256(name));
        assert_ne!(proof.app_hash(Layout::V2), app_hash);
    }

    /// The layout v3 spelled as the contract nests it.
    #[test]
    fn layout_v3_is_nested_as_in_the_contract() {
        let proof = MultiStoreProof([1, 2, 3, 4, 5, 6].map(B256::repeat_byte));
        let [root, mint, params, rolling, tss, auth] = proof.0;
        let leaf = merkle::leaf(&item(ORACLE, &root));
        let left = |a: &B256, b: &B256| merkle::inner(a, b);
        let expected = left(&auth, &left(&left(&left(&left(&mint, &leaf), &params), &rolling), &tss));
        assert_eq!(proof.app_hash(Layout::V3), expected);
    }
}
