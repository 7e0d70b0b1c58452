//! Proofs from a node's commit and store proofs, in place of its Proof service.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use proptest::prelude::*;
use prost::Message;
use support::{Setup, result};
use windlass_vrf_protocol::assemble::{AssembleError, proof, relay_part};
use windlass_vrf_protocol::iavl;
use windlass_vrf_protocol::ics23::{IavlProof, Ics23Error, SimpleProof, StoreProof, to_ops};
use windlass_vrf_protocol::messages::tendermint::{BlockIdFlag, ProofOp};
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::oracle_result::{COUNT_KEY, OracleResult, store_key};
use windlass_vrf_protocol::verify::verify_oracle_result;
use windlass_vrf_protocol::{B256, U256};

#[test]
fn commit_and_store_proof_make_the_proof_that_the_service_would_serve() {
    for layout in Layout::ALL {
        let block = Setup { layout, requests: (1..40).collect(), absent: vec![7], round: 2, ..Setup::default() }.build();
        for request in [1, 20, 39] {
            let existence = block.tree.prove(&store_key(request)).unwrap();
            let ops = to_ops(&store_key(request), &result(request).encode(), &existence, &block.multi_store, layout);
            let read = StoreProof::from_ops(&ops, &store_key(request)).unwrap();
            assert_eq!((read.layout, read.multi_store, &read.existence), (layout, block.multi_store, &existence));
            assert_eq!(read.multi_store.app_hash(layout).as_slice(), &block.header.app_hash[..]);
            let stored = OracleResult::decode(&read.value).unwrap();
            let assembled = relay_part(&block.header, &block.commit, read.multi_store, read.layout).unwrap();
            assert_eq!((assembled.signers.len(), assembled.unusable), (7, 0));
            assert!(assembled.signers.is_sorted());
            let ours = proof(assembled.relay, block.setup.height, stored, &read.existence);
            assert_eq!(ours.encode(), block.proof(request).encode());
            assert_eq!(verify_oracle_result(&ours.encode(), layout, &block.bridge), Ok(result(request)));
        }
    }
}

#[test]
fn ingredients_of_another_block_are_refused() {
    let block = Setup::default().build();
    let other = Setup { height: 52, ..Setup::default() }.build();
    let fault = relay_part(&block.header, &other.commit, block.multi_store, Layout::V3).unwrap_err();
    assert_eq!(fault, AssembleError::OtherBlock { commit: other.header.hash(), header: block.header.hash() });
    let fault = relay_part(&block.header, &block.commit, block.multi_store, Layout::V2).unwrap_err();
    assert!(matches!(fault, AssembleError::OtherState { .. }));
    let mut commit = block.commit.clone();
    commit.block_id = None;
    assert_eq!(relay_part(&block.header, &commit, block.multi_store, Layout::V3), Err(AssembleError::Missing("block id")));
    let mut commit = block.commit.clone();
    commit.round = -1;
    assert_eq!(relay_part(&block.header, &commit, block.multi_store, Layout::V3), Err(AssembleError::Missing("round")));
}

#[test]
fn votes_that_cannot_be_used_are_counted() {
    let block = Setup::default().build();
    let mut commit = block.commit.clone();
    commit.signatures[0].signature[5] ^= 1;
    commit.signatures[1].signature.pop();
    commit.signatures[2].timestamp = None;
    commit.signatures[3].timestamp.as_mut().unwrap().nanos = -1;
    commit.signatures[4].validator_address[0] ^= 1;
    // Votes for nothing are no votes for the block.
    commit.signatures[5].block_id_flag = BlockIdFlag::Nil as i32;
    let assembled = relay_part(&block.header, &commit, block.multi_store, Layout::V3).unwrap();
    assert_eq!((assembled.signers.len(), assembled.unusable), (2, 5));
}

#[test]
fn a_proof_of_something_else_is_refused() {
    let block = Setup { requests: (1..9).collect(), ..Setup::default() }.build();
    let ops = |request: u64| {
        let existence = block.tree.prove(&store_key(request)).unwrap();
        to_ops(&store_key(request), &result(request).encode(), &existence, &block.multi_store, Layout::V3)
    };
    assert_eq!(StoreProof::from_ops(&ops(1), &store_key(2)), Err(Ics23Error::OtherKey));
    let lie = block.tree.prove(&store_key(1)).unwrap();
    let lie = to_ops(&store_key(1), &result(2).encode(), &lie, &block.multi_store, Layout::V3);
    assert_eq!(StoreProof::from_ops(&lie, &store_key(1)), Err(Ics23Error::OtherRoot));
    assert!(matches!(StoreProof::from_ops(&ops(1)[..1], &store_key(1)), Err(Ics23Error::Ops(_))));
    let mut swapped = ops(1);
    swapped.swap(0, 1);
    assert!(matches!(StoreProof::from_ops(&swapped, &store_key(1)), Err(Ics23Error::Ops(_))));
    let mut malformed = ops(1);
    malformed[0].data = vec![0xff];
    assert_eq!(StoreProof::from_ops(&malformed, &store_key(1)), Err(Ics23Error::Malformed));
    // A proof of absence has another field.
    malformed[0].data = vec![0x12, 0];
    assert_eq!(StoreProof::from_ops(&malformed, &store_key(1)), Err(Ics23Error::NoExistence));
}

#[test]
fn other_chains_have_siblings_on_other_sides() {
    let block = Setup::default().build();
    let existence = block.tree.prove(COUNT_KEY).unwrap();
    let ops = to_ops(COUNT_KEY, &99u64.to_be_bytes(), &existence, &block.multi_store, Layout::V3);
    let read = SimpleProof::decode(&ops[1].data).unwrap();
    assert_eq!(read.root().as_slice(), &block.header.app_hash[..]);
    let sides: Vec<bool> = read.siblings.iter().map(|sibling| sibling.on_left).collect();
    let mut other = read.clone();
    other.siblings.reverse();
    other.siblings.push(other.siblings[0]);
    assert!(matches!(other.multi_store(), Err(Ics23Error::UnknownLayout(found)) if found.len() == sides.len() + 1));
    other.key = "bank".as_bytes().to_vec().into();
    assert_eq!(other.multi_store(), Err(Ics23Error::OtherKey));
}

#[test]
fn the_hashing_rules_of_the_trees_are_asked_for() {
    let block = Setup::default().build();
    let existence = block.tree.prove(COUNT_KEY).unwrap();
    let ops = to_ops(COUNT_KEY, &99u64.to_be_bytes(), &existence, &block.multi_store, Layout::V3);
    let good = IavlProof::decode(&ops[0].data).unwrap();
    assert_eq!(good.root(), Ok(block.tree.root().unwrap()));
    // Every changed byte is refused or leads to another root, key or value.
    for op in &ops {
        for place in 0..op.data.len() {
            let mut changed = op.data.clone();
            changed[place] ^= 1;
            if let Ok(read) = IavlProof::decode(&changed) {
                assert!(read != good || op.key == b"oracle", "byte {place}");
                assert!(read.root().is_ok());
            }
            if let Ok(read) = SimpleProof::decode(&changed) {
                let other = read.root().as_slice() != &block.header.app_hash[..];
                assert!(other, "byte {place} of {}", op.r#type);
            }
        }
    }
}

proptest! {
    #[test]
    fn foreign_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = (IavlProof::decode(&bytes), SimpleProof::decode(&bytes));
        if let Ok(op) = ProofOp::decode(&bytes[..]) {
            let _ = StoreProof::from_ops(&[op.clone(), op], b"");
        }
    }

    /// Numbers of any size survive.
    #[test]
    fn steps_are_read_back(steps in prop::collection::vec((any::<bool>(), 1u8..64, 1..=i64::MAX as u64, 1..=i64::MAX as u64), 0..6)) {
        let path: Vec<iavl::MerklePath> = steps
            .into_iter()
            .map(|(is_data_on_right, subtree_height, size, version)| iavl::MerklePath {
                is_data_on_right,
                subtree_height,
                subtree_size: U256::from(size),
                subtree_version: U256::from(version),
                sibling_hash: B256::repeat_byte(subtree_height),
            })
            .collect();
        let block = Setup { powers: vec![1], ..Setup::default() }.build();
        let leaf = iavl::Leaf::new(b"key".to_vec().into(), b"value", 9).unwrap();
        let existence = iavl::Existence { version: 9, leaf_hash: leaf.hash, path };
        let ops = to_ops(b"key", b"value", &existence, &block.multi_store, Layout::V3);
        prop_assert_eq!(IavlProof::decode(&ops[0].data).unwrap().existence, existence);
    }
}
