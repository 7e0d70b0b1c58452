//! `iavl`: hashes of inner nodes, and whole small trees with their paths.

use alloy_primitives::{Bytes, U256};
use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use windlass_vrf_protocol::iavl::{Leaf, Tree, climb, leaf_hash};
use windlass_vrf_protocol::merkle::sha256;

use super::super::{bytes, same};
use super::common::{Number, Outcome, Step, document, hash, path};
use crate::Sheet;

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Case {
    ParentHash {
        path: Step,
        child: String,
        contract: Outcome,
    },
    ParentHashEdge {
        #[serde(rename = "note")]
        _note: Option<String>,
        path: Step,
        child: String,
        contract: Outcome,
    },
    Tree(Box<TreeCase>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TreeCase {
    leaves: Vec<Entry>,
    key: String,
    leaf_hash: String,
    version: Number,
    paths: Vec<Step>,
    root: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: String,
    value: String,
    version: Number,
}

/// Checks the document.
pub(crate) fn run(json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document = document::<Case>(json, "iavl")?;
    for (number, case) in document.cases.iter().enumerate() {
        sheet.case(&number.to_string(), check(case));
    }
    Ok(())
}

fn check(case: &Case) -> anyhow::Result<()> {
    match case {
        Case::ParentHash { path, child, contract } | Case::ParentHashEdge { path, child, contract, .. } => {
            contract.check_bytes(path.read()?.parent_hash(&hash(child)?))
        }
        Case::Tree(case) => check_tree(case),
    }
}

fn check_tree(case: &TreeCase) -> anyhow::Result<()> {
    let (key, root) = (bytes(&case.key)?, hash(&case.root)?);
    let leaves = case.leaves.iter().map(|entry| Ok(Leaf::new(bytes(&entry.key)?, &bytes(&entry.value)?, entry.version.u64()?)?));
    let tree = Tree::new(leaves.collect::<anyhow::Result<Vec<_>>>()?)?;
    same("root", tree.root(), Some(root))?;
    let existence = tree.prove(&key).context("the tree does not hold the key")?;
    same("version", existence.version, case.version.u64()?)?;
    same("leaf", existence.leaf_hash, hash(&case.leaf_hash)?)?;
    let recorded = path(&case.paths)?;
    same("path", &existence.path, &recorded)?;
    // The recorded path leads to the root, and the leaf follows from its entry alone.
    same("climbed root", climb(existence.leaf_hash, &recorded)?, root)?;
    let entry = case.leaves.iter().find(|entry| entry.key == case.key).context("the entry is not recorded")?;
    let value: Bytes = bytes(&entry.value)?;
    same("leaf of the entry", leaf_hash(&key, &sha256(&[&value]), U256::from(existence.version))?, existence.leaf_hash)
}
