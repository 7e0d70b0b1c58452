//! The committed artifacts are whole, belong to the committed sources, and are what the bindings were made from.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use alloy_primitives::{Bytes, hex};
use alloy_sol_types::SolInterface;
use sha2::{Digest, Sha256};
use windlass_contracts::{Artifact, KeyperPayer, TestToken, test};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_artifact_file_is_listed() {
    let files: BTreeSet<String> = std::fs::read_dir(root().join("artifacts"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".json").to_owned())
        .collect();
    let listed: BTreeSet<String> = Artifact::ALL.iter().map(|artifact| artifact.name.to_owned()).collect();
    assert_eq!(files, listed);
}

#[test]
fn bindings_and_artifacts_agree() {
    let bindings: [(&str, &Bytes, &Bytes); 7] = [
        ("FalseToken", &test::FalseToken::BYTECODE, &test::FalseToken::DEPLOYED_BYTECODE),
        ("FeeToken", &test::FeeToken::BYTECODE, &test::FeeToken::DEPLOYED_BYTECODE),
        ("HookToken", &test::HookToken::BYTECODE, &test::HookToken::DEPLOYED_BYTECODE),
        ("KeyperPayer", &KeyperPayer::BYTECODE, &KeyperPayer::DEPLOYED_BYTECODE),
        ("NoReturnToken", &test::NoReturnToken::BYTECODE, &test::NoReturnToken::DEPLOYED_BYTECODE),
        ("ReentrantAccount", &test::ReentrantAccount::BYTECODE, &test::ReentrantAccount::DEPLOYED_BYTECODE),
        ("TestToken", &TestToken::BYTECODE, &TestToken::DEPLOYED_BYTECODE),
    ];
    assert_eq!(bindings.len(), Artifact::ALL.len());
    for (name, bytecode, deployed) in bindings {
        let artifact = Artifact::by_name(name).unwrap();
        assert_eq!(artifact.bytecode().unwrap(), *bytecode, "{name}");
        assert_eq!(artifact.deployed_bytecode().unwrap(), *deployed, "{name}");
        assert!(!deployed.is_empty(), "{name}");
    }
    assert_eq!(Artifact::by_name("Unheard"), None);
    let functions = Artifact::by_name("KeyperPayer").unwrap().abi().unwrap().functions().count();
    assert_eq!(functions, KeyperPayer::KeyperPayerCalls::selectors().count());
}

/// The file and everything it imports.
fn sources_of(path: &Path, found: &mut BTreeSet<PathBuf>) {
    if !found.insert(path.to_owned()) {
        return;
    }
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    for line in text.lines().filter(|line| line.starts_with("import ")) {
        let target = line.split('"').nth(1).unwrap().trim_start_matches("./");
        sources_of(&path.parent().unwrap().join(target), found);
    }
}

/// Notices a changed source without the Solidity compiler; `node build.mjs --check` compares the code as well.
#[test]
fn artifacts_belong_to_the_sources() {
    for artifact in Artifact::ALL {
        let document = artifact.document().unwrap();
        let mut sources = BTreeSet::new();
        sources_of(Path::new(document["sourceName"].as_str().unwrap()), &mut sources);
        let mut hash = Sha256::new();
        for path in sources {
            hash.update(format!("{}\0{}\0", path.display(), std::fs::read_to_string(root().join(&path)).unwrap()));
        }
        let expected = format!("sha256:{}", hex::encode(hash.finalize()));
        assert_eq!(document["sourceHash"], expected, "{}: run `npm run build` in contracts/", artifact.name);
    }
}

#[test]
fn artifacts_come_from_the_pinned_compiler() {
    let package: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(root().join("package.json")).unwrap()).unwrap();
    let pinned = format!("{}+", package["devDependencies"]["solc"].as_str().unwrap());
    for artifact in Artifact::ALL {
        let compiler = artifact.document().unwrap()["compiler"].as_str().unwrap().to_owned();
        assert!(compiler.starts_with(&pinned), "{}: made by {compiler}, pinned is {pinned}", artifact.name);
    }
}

/// Slots 0 to 5 are part of the interface.
#[test]
fn the_storage_layout_is_the_documented_one() {
    let document = Artifact::by_name("KeyperPayer").unwrap().document().unwrap();
    let layout: Vec<(String, String)> = document["storageLayout"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["slot"].as_str().unwrap().to_owned(), entry["label"].as_str().unwrap().to_owned()))
        .collect();
    let expected = ["balances", "totalPaid", "startTimestamp", "keypers", "sptTokenAddress", "requestedRate"];
    let expected: Vec<_> = expected.iter().enumerate().map(|(slot, label)| (slot.to_string(), label.to_string())).collect();
    assert_eq!(layout, expected);
}
