//! The committed artifacts are whole, belong to the committed sources, and are what the bindings were made from.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use alloy_primitives::{Bytes, hex};
use alloy_sol_types::SolInterface;
use sha2::{Digest, Sha256};
use windlass_contracts::{Artifact, KeyperPayer, TestToken, test, vrf};

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
    let bindings: [(&str, &Bytes, &Bytes); 18] = [
        ("Bridge", &vrf::Bridge::BYTECODE, &vrf::Bridge::DEPLOYED_BYTECODE),
        ("BridgeV2Layout", &vrf::BridgeV2Layout::BYTECODE, &vrf::BridgeV2Layout::DEPLOYED_BYTECODE),
        ("FailingConsumer", &test::FailingConsumer::BYTECODE, &test::FailingConsumer::DEPLOYED_BYTECODE),
        ("FalseToken", &test::FalseToken::BYTECODE, &test::FalseToken::DEPLOYED_BYTECODE),
        ("FeeToken", &test::FeeToken::BYTECODE, &test::FeeToken::DEPLOYED_BYTECODE),
        ("FixedProviderV1", &test::FixedProviderV1::BYTECODE, &test::FixedProviderV1::DEPLOYED_BYTECODE),
        ("FixedProviderV2", &test::FixedProviderV2::BYTECODE, &test::FixedProviderV2::DEPLOYED_BYTECODE),
        ("HookToken", &test::HookToken::BYTECODE, &test::HookToken::DEPLOYED_BYTECODE),
        ("KeyperPayer", &KeyperPayer::BYTECODE, &KeyperPayer::DEPLOYED_BYTECODE),
        ("NoReturnToken", &test::NoReturnToken::BYTECODE, &test::NoReturnToken::DEPLOYED_BYTECODE),
        ("ReentrantAccount", &test::ReentrantAccount::BYTECODE, &test::ReentrantAccount::DEPLOYED_BYTECODE),
        ("TestToken", &TestToken::BYTECODE, &TestToken::DEPLOYED_BYTECODE),
        ("VRFConsumer", &vrf::VRFConsumer::BYTECODE, &vrf::VRFConsumer::DEPLOYED_BYTECODE),
        ("VRFLensV1", &vrf::VRFLensV1::BYTECODE, &vrf::VRFLensV1::DEPLOYED_BYTECODE),
        ("VRFLensV2", &vrf::VRFLensV2::BYTECODE, &vrf::VRFLensV2::DEPLOYED_BYTECODE),
        ("VRFLibraries", &test::VRFLibraries::BYTECODE, &test::VRFLibraries::DEPLOYED_BYTECODE),
        ("VRFProviderV1", &vrf::VRFProviderV1::BYTECODE, &vrf::VRFProviderV1::DEPLOYED_BYTECODE),
        ("VRFProviderV2", &vrf::VRFProviderV2::BYTECODE, &vrf::VRFProviderV2::DEPLOYED_BYTECODE),
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

/// `folder` and a path relative to it, without `.` and `..`.
fn joined(folder: &Path, target: &str) -> PathBuf {
    target.split('/').fold(folder.to_owned(), |path, part| match part {
        "." => path,
        ".." => path.parent().unwrap().to_owned(),
        name => path.join(name),
    })
}

/// The file and everything it imports.
fn sources_of(path: &Path, found: &mut BTreeSet<PathBuf>) {
    if !found.insert(path.to_owned()) {
        return;
    }
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    for line in text.lines().filter(|line| line.starts_with("import ")) {
        let target = line.split('"').nth(1).unwrap();
        sources_of(&joined(path.parent().unwrap(), target), found);
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

/// Slot, offset in the slot, and name of every state variable. Readers of storage proofs rely on it.
fn layout(name: &str) -> Vec<(u64, u64, String)> {
    let document = Artifact::by_name(name).unwrap().document().unwrap();
    let entries = document["storageLayout"].as_array().unwrap().iter();
    entries
        .map(|entry| {
            let slot = entry["slot"].as_str().unwrap().parse().unwrap();
            (slot, entry["offset"].as_u64().unwrap(), entry["label"].as_str().unwrap().to_owned())
        })
        .collect()
}

#[test]
fn the_storage_layouts_are_the_documented_ones() {
    let whole_slots = |labels: &[&str]| (0..).zip(labels).map(|(slot, label)| (slot, 0, label.to_string())).collect::<Vec<_>>();
    let keyper_payer = whole_slots(&["balances", "totalPaid", "startTimestamp", "keypers", "sptTokenAddress", "requestedRate"]);
    assert_eq!(layout("KeyperPayer"), keyper_payer);
    for bridge in ["Bridge", "BridgeV2Layout"] {
        let expected = [
            (0, 0, "_initialized"),
            (0, 1, "_initializing"),
            (1, 0, "_roles"),
            (2, 0, "blockDetails"),
            (3, 0, "validatorPowers"),
            (6, 0, "totalValidatorPower"),
            (7, 0, "encodedChainID"),
        ];
        assert_eq!(layout(bridge), expected.map(|(slot, offset, label)| (slot, offset, label.to_owned())), "{bridge}");
    }
    for (provider, counts) in [("VRFProviderV1", true), ("VRFProviderV2", false)] {
        let mut expected =
            vec![(0, 0, "_owner"), (1, 0, "_status"), (2, 0, "bridge"), (2, 20, "oracleScriptID"), (3, 0, "taskNonce")];
        expected.extend([(4, 0, "minimumFee"), (5, 0, "hasClientSeed"), (6, 0, "tasks")]);
        if counts {
            expected.splice(4..4, [(2, 28, "minCount"), (2, 29, "askCount")]);
        }
        let expected: Vec<_> = expected.into_iter().map(|(slot, offset, label)| (slot, offset, label.to_owned())).collect();
        assert_eq!(layout(provider), expected, "{provider}");
    }
    for lens in ["VRFLensV1", "VRFLensV2"] {
        assert_eq!(layout(lens), whole_slots(&["_owner", "provider"]), "{lens}");
    }
    assert_eq!(layout("VRFConsumer"), whole_slots(&["latestSeed", "latestTime", "latestResult"]));
}
