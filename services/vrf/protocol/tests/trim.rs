//! Trimming: as few signatures as possible, and nothing else changes.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use proptest::prelude::*;
use support::{Block, Setup, key};
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::proof::{Part, Proof, RawProof};
use windlass_vrf_protocol::signature::{Signers, eth_address};
use windlass_vrf_protocol::trim::{BlockHash, TrimError, Trimmed, trim};
use windlass_vrf_protocol::validators::ValidatorSet;
use windlass_vrf_protocol::verify::{Verifier, verify_oracle_result};
use windlass_vrf_protocol::{B256, Refusal, U256};

fn trimmed(block: &Block, proof: &[u8]) -> Result<Trimmed, TrimError> {
    let hash = BlockHash::Layout(block.setup.layout);
    trim(proof, hash, &block.bridge.encoded_chain_id, &block.bridge.validators, &mut Signers::default())
}

#[test]
fn the_strongest_are_kept_in_the_order_of_addresses() {
    let block = Setup::default().build();
    let proof = block.proof(1000).encode();
    let ours = trimmed(&block, &proof).unwrap();
    // 100 + 90 + 80 + 70 = 340 of 500 is the first sum above 333.
    assert_eq!((ours.kept.len(), ours.power), (4, U256::from(340)));
    let mut expected: Vec<_> = (0..4).map(|number| eth_address(key(number).verifying_key())).collect();
    expected.sort();
    assert_eq!(ours.kept, expected);
    assert_eq!((ours.offered.signatures, ours.offered.known, ours.offered.power), (8, 8, U256::from(500)));
    assert_eq!(ours.block_hash, block.header.hash());
    assert!(verify_oracle_result(&ours.bytes, Layout::V3, &block.bridge).is_ok());
    // There is nothing more to drop.
    assert_eq!(trimmed(&block, &ours.bytes).unwrap().bytes, ours.bytes);
}

#[test]
fn equal_powers_keep_the_order_of_the_proof() {
    let block = Setup { powers: vec![5; 9], ..Setup::default() }.build();
    let proof = block.proof(1000);
    let ours = Proof::decode(&trimmed(&block, &proof.encode()).unwrap().bytes).unwrap();
    assert_eq!(ours.relay.signatures, proof.relay.signatures[..7]);
}

#[test]
fn the_verify_part_stays_byte_for_byte() {
    let block = Setup::default().build();
    let proof = block.proof(1000);
    // Not canonical: bytes are left over.
    let verify = [&proof.verify.encode()[..], b"left over"].concat();
    let odd = RawProof { relay: &proof.relay.encode(), verify: &verify }.encode();
    let ours = trimmed(&block, &odd).unwrap();
    assert_eq!(RawProof::decode(&ours.bytes).unwrap().verify, verify);
    assert!(verify_oracle_result(&ours.bytes, Layout::V3, &block.bridge).is_ok());
    // A count proof has the same envelope.
    let count = trimmed(&block, &block.count_proof().encode()).unwrap();
    assert_eq!(count.kept.len(), 4);
}

#[test]
fn the_block_hash_may_be_given_computed_or_detected() {
    for layout in Layout::ALL {
        let block = Setup { layout, ..Setup::default() }.build();
        let proof = block.proof(1000).encode();
        let with = |hash| trim(&proof, hash, &block.bridge.encoded_chain_id, &block.bridge.validators, &mut Signers::default());
        let given = with(BlockHash::Given(block.header.hash())).unwrap();
        assert_eq!(given.layout, None);
        let detected = with(BlockHash::Detected).unwrap();
        assert_eq!((detected.layout, detected.block_hash), (Some(layout), block.header.hash()));
        assert_eq!(detected.bytes, given.bytes);
        assert!(matches!(with(BlockHash::Given(B256::ZERO)), Err(TrimError::InsufficientPower { .. })));
    }
}

#[test]
fn signatures_of_nobody_strangers_and_doubles_are_skipped() {
    let mut block = Setup { powers: vec![10; 6], ..Setup::default() }.build();
    let stranger = eth_address(key(5).verifying_key());
    block.bridge.validators = ValidatorSet::new(block.bridge.validators.iter().take(5)).unwrap();
    let mut proof = block.proof(1000);
    let known = |index: usize, proof: &Proof| {
        let signature = &proof.relay.signatures[index];
        let hash = block.header.hash();
        let digest = proof.relay.common.digest(&hash, &signature.encoded_timestamp, &block.bridge.encoded_chain_id);
        signature.signer(&digest).unwrap()
    };
    let broken = (0..6).find(|index| known(*index, &proof) != stranger).unwrap();
    proof.relay.signatures[broken].v = 0;
    let doubled = (0..6).rfind(|index| known(*index, &block.proof(1000)) != stranger && *index != broken).unwrap();
    let again = proof.relay.signatures[doubled].clone();
    proof.relay.signatures.insert(doubled, again);
    let ours = trimmed(&block, &proof.encode()).unwrap();
    let offered = ours.offered;
    assert_eq!((offered.signatures, offered.known, offered.strangers, offered.unrecoverable), (7, 4, 1, 1));
    assert_eq!(ours.kept.len(), 4);
    assert!(verify_oracle_result(&ours.bytes, Layout::V3, &block.bridge).is_ok());
}

#[test]
fn too_little_power_is_told_with_figures() {
    let block = Setup { powers: vec![100, 100, 100], absent: vec![0], ..Setup::default() }.build();
    let fault = trimmed(&block, &block.proof(1000).encode()).unwrap_err();
    let TrimError::InsufficientPower { offered, needed, total } = &fault else { panic!("{fault}") };
    assert_eq!((offered.power, *needed, *total), (U256::from(200), U256::from(201), U256::from(300)));
    assert!(fault.to_string().starts_with("Accumulated power does not exceed 2/3 of total power: 200 of 300, 201 are needed"));
    let empty = trim(
        &block.proof(1000).encode(),
        BlockHash::Detected,
        &block.bridge.encoded_chain_id,
        &ValidatorSet::default(),
        &mut Signers::default(),
    );
    assert!(matches!(empty, Err(TrimError::InsufficientPower { .. })));
}

#[test]
fn malformed_proofs_are_named() {
    let block = Setup { powers: vec![1], ..Setup::default() }.build();
    let part = |proof: &[u8]| trimmed(&block, proof).unwrap_err().malformed_part();
    assert_eq!(part(&[]), Some(Part::Envelope));
    assert_eq!(part(&RawProof { relay: &[0; 100], verify: &[] }.encode()), Some(Part::Relay));
    let mut proof = block.proof(1000);
    proof.relay.merkle_parts.height = 0;
    assert_eq!(trimmed(&block, &proof.encode()).unwrap_err(), TrimError::Block(Refusal::ARITHMETIC));
}

#[test]
fn proofs_of_one_block_share_the_work() {
    let block = Setup { requests: vec![1, 2, 3], ..Setup::default() }.build();
    let mut signers = Signers::default();
    for request in 1..=3 {
        let proof = block.proof(request).encode();
        let chain_id = &block.bridge.encoded_chain_id;
        let ours = trim(&proof, BlockHash::Layout(Layout::V3), chain_id, &block.bridge.validators, &mut signers).unwrap();
        Verifier::new(Layout::V3, &block.bridge, &mut signers).oracle_result(&ours.bytes).unwrap();
    }
    assert_eq!(signers.recoveries(), 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// No smaller number of signers is enough, and the Bridge accepts what is left.
    #[test]
    fn no_fewer_would_do(powers in prop::collection::vec(0u64..50, 1..8)) {
        let mut sorted = powers.clone();
        sorted.sort_by(|a, b| b.cmp(a));
        let total: u64 = powers.iter().sum();
        let block = Setup { powers, ..Setup::default() }.build();
        let ours = trimmed(&block, &block.proof(1000).encode());
        if total == 0 {
            prop_assert!(ours.is_err());
            return Ok(());
        }
        let ours = ours.unwrap();
        let strongest: u64 = sorted[..ours.kept.len() - 1].iter().sum();
        prop_assert!(3 * strongest <= 2 * total);
        prop_assert!(verify_oracle_result(&ours.bytes, Layout::V3, &block.bridge).is_ok());
    }

    #[test]
    fn foreign_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let block = Setup { powers: vec![1], ..Setup::default() }.build();
        let _ = trimmed(&block, &bytes);
    }
}
