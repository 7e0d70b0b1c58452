//! `multistore`: both layouts, full lists of stores, and ICS-23 proofs.

use std::collections::BTreeMap;

use alloy_primitives::{B256, Bytes};
use anyhow::{Context, ensure};
use base64::Engine;
use serde::Deserialize;
use serde_json::Value;
use windlass_vrf_protocol::ics23::{IavlProof, SimpleProof};
use windlass_vrf_protocol::merkle::Sibling;
use windlass_vrf_protocol::multistore::{Layout, MultiStoreProof, build};
use windlass_vrf_protocol::{Refusal, merkle, multistore};

use super::super::{bytes, same};
use super::common::{Number, Outcome, Step, document, hash, layout, path};
use crate::Sheet;

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Case {
    Ics23Iavl {
        commitment_proof_base64: String,
        key: String,
        value: String,
        version: Number,
        paths: Vec<Step>,
        root: String,
    },
    Ics23Multistore {
        layout: String,
        commitment_proof_base64: String,
        key: String,
        fields: Vec<String>,
        app_hash_ics23: String,
        contract_app_hash: Outcome,
    },
    FullTree {
        layout: String,
        store_roots: BTreeMap<String, String>,
        fields: Vec<String>,
        siblings_leaf_to_root: Vec<Side>,
        app_hash: String,
    },
    FieldsOnly {
        layout: String,
        fields: Vec<String>,
        app_hash: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Side {
    sibling_on_left: bool,
    hash: String,
}

/// Checks the document.
pub(crate) fn run(json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document = document::<Case>(json, "multistore")?;
    for (number, case) in document.cases.iter().enumerate() {
        sheet.case(&number.to_string(), check(case));
    }
    Ok(())
}

fn check(case: &Case) -> anyhow::Result<()> {
    match case {
        Case::Ics23Iavl { commitment_proof_base64, key, value, version, paths, root } => {
            let proof = IavlProof::decode(&base64(commitment_proof_base64)?)?;
            same("key", &proof.key, &bytes(key)?)?;
            same("value", &proof.value, &bytes(value)?)?;
            same("version", proof.existence.version, version.u64()?)?;
            same("path", &proof.existence.path, &path(paths)?)?;
            same("root", proof.root()?, hash(root)?)
        }
        Case::Ics23Multistore { layout: name, commitment_proof_base64, key, fields, app_hash_ics23, contract_app_hash } => {
            let proof = SimpleProof::decode(&base64(commitment_proof_base64)?)?;
            same("key", &proof.key, &bytes(key)?)?;
            same("root", proof.root(), hash(app_hash_ics23)?)?;
            let (multi_store, detected) = proof.multi_store()?;
            same("layout", detected, layout(name)?)?;
            same("fields", multi_store, read_fields(fields)?)?;
            contract_app_hash.check_bytes(Ok::<_, Refusal>(multi_store.app_hash(detected)))
        }
        Case::FullTree { layout: name, store_roots, fields, siblings_leaf_to_root, app_hash } => {
            let layout = layout(name)?;
            let names: Vec<&str> = store_roots.keys().map(String::as_str).collect();
            same("stores", names.as_slice(), layout.stores())?;
            let roots = store_roots.iter().map(|(name, root)| Ok((name.as_str(), hash(root)?)));
            let roots: BTreeMap<&str, B256> = roots.collect::<anyhow::Result<_>>()?;
            let (proof, ours) = build(layout, |name| roots.get(name).copied().unwrap_or_default());
            let recorded = hash(app_hash)?;
            same("AppHash", ours, recorded)?;
            same("fields", proof, read_fields(fields)?)?;
            let siblings = siblings_leaf_to_root
                .iter()
                .map(|side| Ok(Sibling { on_left: side.sibling_on_left, hash: hash(&side.hash)? }))
                .collect::<anyhow::Result<Vec<_>>>()?;
            same("siblings", proof.path(layout).as_slice(), siblings.as_slice())?;
            let leaf = merkle::leaf(&multistore::item(multistore::ORACLE, &proof.oracle_root()));
            same("climbed AppHash", merkle::climb(leaf, &siblings), recorded)
        }
        Case::FieldsOnly { layout: name, fields, app_hash } => {
            same("AppHash", read_fields(fields)?.app_hash(layout(name)?), hash(app_hash)?)?;
            let other = Layout::ALL.into_iter().find(|other| other.name() != name).context("there is no other layout")?;
            ensure!(read_fields(fields)?.app_hash(other) != hash(app_hash)?, "both layouts give one AppHash");
            Ok(())
        }
    }
}

fn read_fields(fields: &[String]) -> anyhow::Result<MultiStoreProof> {
    let read = fields.iter().map(|field| hash(field)).collect::<anyhow::Result<Vec<_>>>()?;
    <[B256; 6]>::try_from(read).map(MultiStoreProof).map_err(|read| anyhow::anyhow!("there are {} fields, not six", read.len()))
}

fn base64(text: &str) -> anyhow::Result<Bytes> {
    Ok(base64::engine::general_purpose::STANDARD.decode(text).with_context(|| format!("{text:?} is no base64"))?.into())
}
