//! The local verifier against blocks of a small chain: what the Bridge accepts and why it refuses.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use proptest::prelude::*;
use support::{Block, Setup, TIME, WORKER, result, seed_of};
use windlass_vrf_protocol::iavl;
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::obi::ResultV1;
use windlass_vrf_protocol::oracle_result::ResolveStatus;
use windlass_vrf_protocol::proof::{Proof, RawProof};
use windlass_vrf_protocol::refusal::reason;
use windlass_vrf_protocol::signature::Signers;
use windlass_vrf_protocol::task::{ProviderSettings, Task};
use windlass_vrf_protocol::validators::ValidatorSet;
use windlass_vrf_protocol::verify::{
    BlockDetail, BridgeState, Verifier, check_relay_v1, check_relay_v2, check_task, detect_layout, relay_and_multi_verify,
    relay_and_verify, relay_and_verify_count, relay_proof_v1, relay_proof_v2, verify_oracle_result,
};
use windlass_vrf_protocol::vote::EncodedChainId;
use windlass_vrf_protocol::{Address, B256, Bytes, Refusal, U256};

fn refuses(block: &Block, proof: &Proof) -> Refusal {
    verify_oracle_result(&proof.encode(), block.setup.layout, &block.bridge).unwrap_err()
}

fn revert(text: &'static str) -> Refusal {
    Refusal::Revert(text)
}

#[test]
fn proofs_of_both_layouts_are_accepted_by_every_method() {
    for layout in Layout::ALL {
        let block = Setup { layout, requests: vec![7, 8, 9], ..Setup::default() }.build();
        let proof = block.proof(8).encode();
        assert_eq!(verify_oracle_result(&proof, layout, &block.bridge), Ok(result(8)));
        let relayed = relay_and_verify(&proof, layout, &block.bridge).unwrap();
        assert_eq!(relayed.value, result(8));
        let detail = BlockDetail {
            oracle_state: block.tree.root().unwrap(),
            time_second: block.header.time_second,
            time_nano_second: block.header.time_nano,
        };
        assert_eq!(relayed.block, Some((51, detail)));
        let multi = relay_and_multi_verify(&block.multi_proof().encode(), layout, &block.bridge).unwrap();
        assert_eq!(multi.value, [7, 8, 9].map(result));
        let count = relay_and_verify_count(&block.count_proof().encode(), layout, &block.bridge).unwrap();
        assert_eq!(count.value, (block.header.time_second, 99));
        assert_eq!(detect_layout(&block.relay, &block.bridge), Some(layout));
    }
}

#[test]
fn the_wrong_layout_recovers_strangers() {
    let block = Setup::default().build();
    let proof = block.proof(1000).encode();
    assert_eq!(verify_oracle_result(&proof, Layout::V2, &block.bridge), Err(revert(reason::SIGNER_ORDER)));
    assert_eq!(relay_and_verify(&proof, Layout::V2, &block.bridge).unwrap_err(), revert(reason::RELAY_BLOCK_FAILED));
    let foreign = BridgeState::new(ValidatorSet::default(), block.bridge.encoded_chain_id.clone());
    assert_eq!(detect_layout(&block.relay, &foreign), None);
    let other = BridgeState::new(block.bridge.validators.clone(), EncodedChainId::new("another-chain"));
    assert_eq!(detect_layout(&block.relay, &other), None);
}

#[test]
fn signatures_are_counted_as_by_the_contract() {
    // 200 of 300 are exactly two thirds.
    let block = Setup { powers: vec![100, 100, 100], absent: vec![1], ..Setup::default() }.build();
    assert_eq!(refuses(&block, &block.proof(1000)), revert(reason::INSUFFICIENT_SIGNATURES));
    let block = Setup { powers: vec![101, 100, 100], absent: vec![1], ..Setup::default() }.build();
    assert!(verify_oracle_result(&block.proof(1000).encode(), Layout::V3, &block.bridge).is_ok());
    // Strangers count nothing and do not hurt.
    let mut block = Setup::default().build();
    block.bridge.validators = ValidatorSet::new(block.bridge.validators.iter().take(5)).unwrap();
    assert!(verify_oracle_result(&block.proof(1000).encode(), Layout::V3, &block.bridge).is_ok());
    // No signature, and no validator.
    let mut proof = block.proof(1000);
    proof.relay.signatures.clear();
    assert_eq!(refuses(&block, &proof), revert(reason::INSUFFICIENT_SIGNATURES));
    block.bridge.validators = ValidatorSet::default();
    assert_eq!(refuses(&block, &block.proof(1000)), revert(reason::INSUFFICIENT_SIGNATURES));
}

#[test]
fn signers_stand_in_ascending_order_once() {
    let block = Setup::default().build();
    let order = revert(reason::SIGNER_ORDER);
    let mut swapped = block.proof(1000);
    swapped.relay.signatures.swap(2, 3);
    assert_eq!(refuses(&block, &swapped), order);
    let mut twice = block.proof(1000);
    let again = twice.relay.signatures[2].clone();
    twice.relay.signatures.insert(3, again);
    assert_eq!(refuses(&block, &twice), order);
    // Nobody is the zero address, which is not above the zero address the contract starts from.
    let mut nobody = block.proof(1000);
    nobody.relay.signatures[0].v = 29;
    assert_eq!(refuses(&block, &nobody), order);
    // A wrong timestamp of the right size is another digest.
    let mut late = block.proof(1000);
    let timestamp = late.relay.signatures[7].encoded_timestamp.clone();
    late.relay.signatures[7].encoded_timestamp = [&timestamp[..timestamp.len() - 1], &[9]].concat().into();
    assert!(
        matches!(refuses(&block, &late), Refusal::Revert(reason::SIGNER_ORDER | reason::INSUFFICIENT_SIGNATURES)) || {
            // The stranger may happen to be the last in order; then the others suffice.
            verify_oracle_result(&late.encode(), Layout::V3, &block.bridge).is_ok()
        }
    );
}

#[test]
fn sizes_are_looked_at_in_order() {
    let block = Setup::default().build();
    let mut proof = block.proof(1000);
    proof.relay.signatures[0].encoded_timestamp = Bytes::from_static(&[8, 1, 2, 3, 4]);
    assert_eq!(refuses(&block, &proof), revert(reason::TIMESTAMP_SIZE));
    proof.relay.common.suffix = Bytes::from_static(&[0; 37]);
    assert_eq!(refuses(&block, &proof), revert(reason::SUFFIX_SIZE));
    proof.relay.common.prefix = Bytes::from_static(&[0; 16]);
    assert_eq!(refuses(&block, &proof), revert(reason::PREFIX_SIZE));
    proof.relay.merkle_parts.height = 0;
    assert_eq!(refuses(&block, &proof), Refusal::ARITHMETIC);
    // A malformed verify part is noticed before the signatures.
    let raw = RawProof { relay: &proof.relay.encode(), verify: &[0; 127] }.encode();
    assert_eq!(verify_oracle_result(&raw, Layout::V3, &block.bridge), Err(Refusal::Empty));
}

#[test]
fn the_path_must_lead_to_the_root() {
    let block = Setup::default().build();
    let data = revert(reason::DATA_PROOF);
    let change = |change: &dyn Fn(&mut Proof)| {
        let mut proof = block.proof(1000);
        change(&mut proof);
        proof
    };
    assert_eq!(refuses(&block, &change(&|proof| proof.verify.result.result = Bytes::from_static(b"x"))), data);
    assert_eq!(refuses(&block, &change(&|proof| proof.verify.result.request_id += 1)), data);
    assert_eq!(refuses(&block, &change(&|proof| proof.verify.version += U256::from(1))), data);
    assert_eq!(refuses(&block, &change(&|proof| proof.verify.path[0].is_data_on_right ^= true)), data);
    assert_eq!(refuses(&block, &change(&|proof| proof.verify.path[0].subtree_height += 1)), data);
    assert_eq!(refuses(&block, &change(&|proof| proof.verify.path.truncate(1))), data);
    for zero in [
        &(|proof: &mut Proof| proof.verify.version = U256::ZERO) as &dyn Fn(&mut Proof),
        &|proof| proof.verify.path[1].subtree_size = U256::ZERO,
        &|proof| proof.verify.path[1].subtree_version = U256::ZERO,
        &|proof| proof.verify.version = U256::MAX,
    ] {
        assert_eq!(refuses(&block, &change(zero)), Refusal::ARITHMETIC);
        let encoded = change(zero).encode();
        assert_eq!(relay_and_verify(&encoded, Layout::V3, &block.bridge).unwrap_err(), revert(reason::VERIFY_DATA_FAILED));
    }
    // Height 128 wraps to zero in the contract, and is no reason to panic.
    assert_eq!(refuses(&block, &change(&|proof| proof.verify.path[0].subtree_height = 128)), data);
}

#[test]
fn the_height_of_the_verify_part_matters_only_to_those_who_relay() {
    let block = Setup::default().build();
    let mut proof = block.proof(1000);
    for height in [U256::ZERO, U256::from(50), U256::MAX] {
        proof.verify.block_height = height;
        let encoded = proof.encode();
        assert!(verify_oracle_result(&encoded, Layout::V3, &block.bridge).is_ok());
        assert_eq!(relay_and_verify(&encoded, Layout::V3, &block.bridge).unwrap_err(), revert(reason::VERIFY_DATA_FAILED));
        let mut signers = Signers::default();
        let mut verifier = Verifier::new(Layout::V3, &block.bridge, &mut signers);
        let written = verifier.relay_block(&proof.relay.encode()).unwrap();
        assert_eq!(verifier.oracle_data(&proof.verify.encode(), written), Err(revert(reason::NO_STATE)));
    }
}

#[test]
fn a_known_block_needs_no_signatures() {
    let mut block = Setup { requests: vec![1, 2], ..Setup::default() }.build();
    let relayed = relay_and_verify(&block.proof(1).encode(), Layout::V3, &block.bridge).unwrap();
    block.bridge.record(relayed.block);
    let mut bare = block.proof(2);
    bare.relay.signatures.clear();
    bare.relay.common.prefix = Bytes::new();
    let again = relay_and_verify(&bare.encode(), Layout::V3, &block.bridge).unwrap();
    assert_eq!((again.value, again.block), (result(2), None));
    // Not even under another layout: only root and time are compared.
    assert!(relay_and_verify(&bare.encode(), Layout::V2, &block.bridge).is_ok());
    // Without state they are looked at.
    assert_eq!(refuses(&block, &bare), revert(reason::PREFIX_SIZE));
    bare.relay.merkle_parts.time_nano_second += 1;
    assert_eq!(relay_and_verify(&bare.encode(), Layout::V3, &block.bridge).unwrap_err(), revert(reason::RELAY_BLOCK_FAILED));
    // An all-zero block equals one that was never relayed, and still proves nothing.
    let mut zero = block.proof(2);
    zero.relay.multi_store.0[0] = B256::ZERO;
    (zero.relay.merkle_parts.time_second, zero.relay.merkle_parts.time_nano_second) = (0, 0);
    zero.relay.merkle_parts.height = 999;
    zero.verify.block_height = U256::from(999);
    assert_eq!(relay_and_verify(&zero.encode(), Layout::V3, &block.bridge).unwrap_err(), revert(reason::VERIFY_DATA_FAILED));
}

#[test]
fn one_bad_result_spoils_a_multi_proof() {
    let block = Setup { requests: vec![1, 2, 3], ..Setup::default() }.build();
    let mut multi = block.multi_proof();
    multi.verify[1].result.ans_count += 1;
    let refused = relay_and_multi_verify(&multi.encode(), Layout::V3, &block.bridge).unwrap_err();
    assert_eq!(refused, revert(reason::VERIFY_DATA_FAILED));
    multi.verify.clear();
    assert_eq!(relay_and_multi_verify(&multi.encode(), Layout::V3, &block.bridge).unwrap().value, []);
}

#[test]
fn a_count_keeps_its_low_64_bits() {
    let block = Setup::default().build();
    let mut count = block.count_proof();
    count.verify.count += U256::from(1) << 64;
    assert_eq!(relay_and_verify_count(&count.encode(), Layout::V3, &block.bridge).unwrap().value.1, 99);
    count.verify.count += U256::from(1);
    let refused = relay_and_verify_count(&count.encode(), Layout::V3, &block.bridge).unwrap_err();
    assert_eq!(refused, revert(reason::VERIFY_COUNT_FAILED));
}

#[test]
fn powers_beyond_a_third_of_256_bits_overflow() {
    let mut block = Setup { powers: vec![1, 1, 1], ..Setup::default() }.build();
    let list: Vec<_> = block.bridge.validators.iter().map(|(address, _)| (address, U256::MAX / U256::from(4))).collect();
    block.bridge.validators = ValidatorSet::new(list).unwrap();
    assert_eq!(refuses(&block, &block.proof(1000)), Refusal::ARITHMETIC);
}

#[test]
fn results_that_are_no_success_are_provable() {
    let block = Setup::default().build();
    for status in [ResolveStatus::Open, ResolveStatus::Failure, ResolveStatus::Expired] {
        let mut proof = block.proof(1000);
        proof.verify.result.resolve_status = status;
        proof.verify.result.client_id = Bytes::from_static(&[0xff, 0xfe]);
        proof.verify.path.clear();
        let leaf = iavl::leaf_hash(
            &windlass_vrf_protocol::oracle_result::store_key(1000),
            &proof.verify.result.hash(),
            proof.verify.version,
        );
        proof.relay.multi_store.0[0] = leaf.unwrap();
        block.sign_again(&mut proof.relay);
        let ours = verify_oracle_result(&proof.encode(), Layout::V3, &block.bridge).unwrap();
        assert_eq!((ours.resolve_status, ours.client_id), (status, Bytes::from_static(&[0xff, 0xfe])));
    }
}

#[test]
fn signatures_of_one_block_are_recovered_once() {
    let block = Setup { requests: vec![1, 2, 3, 4], ..Setup::default() }.build();
    let mut signers = Signers::default();
    for request in 1..=4 {
        let mut verifier = Verifier::new(Layout::V3, &block.bridge, &mut signers);
        verifier.oracle_result(&block.proof(request).encode()).unwrap();
    }
    assert_eq!(signers.recoveries(), 8);
}

fn task() -> Task {
    Task {
        nonce: 3,
        is_resolved: false,
        time: TIME,
        caller: Address::repeat_byte(1),
        task_fee: U256::from(1),
        seed: seed_of(1000),
        client_seed: Bytes::from_static(b"mumu"),
        proof: Bytes::new(),
        result: Bytes::new(),
    }
}

const SETTINGS: ProviderSettings = ProviderSettings { oracle_script_id: 152, min_count: 10, ask_count: 16 };

/// Everything is wrong at first; each step repairs what was complained about.
#[test]
fn the_provider_complains_in_its_order() {
    let mut task = Task { caller: Address::ZERO, is_resolved: true, seed: B256::ZERO, time: 0, ..task() };
    assert_eq!(check_task(&task), Err(revert(reason::TASK_NOT_FOUND)));
    task.caller = Address::repeat_byte(1);
    assert_eq!(check_task(&task), Err(revert(reason::TASK_RESOLVED)));
    task.is_resolved = false;
    assert_eq!(check_task(&task), Ok(()));

    let mut result = result(1000);
    let (calldata, value) = (result.calldata.clone(), result.result.clone());
    result.resolve_status = ResolveStatus::Failure;
    result.calldata = Bytes::new();
    result.result = Bytes::new();
    let mut settings = ProviderSettings { oracle_script_id: 1, min_count: 1, ask_count: 1 };
    let mut sender = Address::ZERO;
    let v1 = |task: &Task, settings: &ProviderSettings, sender, result: &_| check_relay_v1(task, settings, sender, result).err();
    let v2 = |task: &Task, settings: &ProviderSettings, sender, result: &_| check_relay_v2(task, settings, sender, result).err();
    assert_eq!(v1(&task, &settings, sender, &result), Some(revert(reason::ORACLE_SCRIPT)));
    assert_eq!(v2(&task, &settings, sender, &result), Some(revert(reason::ORACLE_SCRIPT)));
    settings.oracle_script_id = 152;
    assert_eq!(v1(&task, &settings, sender, &result), Some(revert(reason::MIN_COUNT)));
    assert_eq!(v2(&task, &settings, sender, &result), Some(revert(reason::NOT_RESOLVED)));
    settings.min_count = 10;
    assert_eq!(v1(&task, &settings, sender, &result), Some(revert(reason::ASK_COUNT)));
    settings.ask_count = 16;
    for check in [&v1 as &dyn Fn(&Task, &ProviderSettings, Address, &_) -> Option<Refusal>, &v2] {
        let (mut task, mut result) = (task.clone(), result.clone());
        sender = Address::ZERO;
        assert_eq!(check(&task, &settings, sender, &result), Some(revert(reason::NOT_RESOLVED)));
        result.resolve_status = ResolveStatus::Success;
        assert_eq!(check(&task, &settings, sender, &result), Some(revert(reason::OBI_RANGE)));
        result.calldata = calldata.clone();
        assert_eq!(check(&task, &settings, sender, &result), Some(revert(reason::SENDER)));
        sender = WORKER;
        assert_eq!(check(&task, &settings, sender, &result), Some(revert(reason::SEED)));
        task.seed = seed_of(1000);
        assert_eq!(check(&task, &settings, sender, &result), Some(revert(reason::TIME)));
        task.time = TIME;
        assert_eq!(check(&task, &settings, sender, &result), Some(revert(reason::OBI_RANGE)));
    }
    result = support::result(1000);
    assert_eq!(check_relay_v2(&self::task(), &settings, WORKER, &result), Ok(B256::from_slice(&value[4..])));
    result.result = ResultV1 { proof: Bytes::from_static(b"p"), result: Bytes::from_static(b"r") }.encode().into();
    assert_eq!(check_relay_v1(&self::task(), &settings, WORKER, &result).unwrap().result, Bytes::from_static(b"r"));
}

#[test]
fn a_whole_relay_asks_the_bridge_in_between() {
    let block = Setup::default().build();
    let mut signers = Signers::default();
    let mut verifier = Verifier::new(Layout::V3, &block.bridge, &mut signers);
    let proof = block.proof(1000).encode();
    let (ours, word) = relay_proof_v2(&task(), &SETTINGS, WORKER, &proof, &mut verifier).unwrap();
    assert_eq!((ours.request_id, word.to_vec()), (1000, result(1000).result[4..].to_vec()));
    let missing = Task { caller: Address::ZERO, ..task() };
    assert_eq!(relay_proof_v2(&missing, &SETTINGS, WORKER, &[], &mut verifier), Err(revert(reason::TASK_NOT_FOUND)));
    assert_eq!(relay_proof_v2(&task(), &SETTINGS, WORKER, &[], &mut verifier), Err(Refusal::Empty));
    // A V2 script's result is no V1 result.
    assert_eq!(relay_proof_v1(&task(), &SETTINGS, WORKER, &proof, &mut verifier).unwrap_err(), revert(reason::OBI_RANGE));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whoever votes: the verdict is that of the line.
    #[test]
    fn the_verdict_follows_the_line(powers in prop::collection::vec(1u64..100, 1..7), mask: u8) {
        let absent: Vec<usize> = (0..powers.len()).filter(|number| mask & (1 << number) != 0).collect();
        let sum: u64 = powers.iter().enumerate().filter(|(number, _)| !absent.contains(number)).map(|(_, power)| power).sum();
        let total: u64 = powers.iter().sum();
        let block = Setup { powers, absent, ..Setup::default() }.build();
        let ours = verify_oracle_result(&block.proof(1000).encode(), Layout::V3, &block.bridge);
        prop_assert_eq!(ours.is_ok(), 3 * sum > 2 * total);
        if let Err(refusal) = ours {
            prop_assert_eq!(refusal, revert(reason::INSUFFICIENT_SIGNATURES));
        }
    }

    /// No changed byte makes another result acceptable.
    #[test]
    fn a_changed_proof_proves_nothing_else(place: prop::sample::Index, change in 1u8..) {
        let block = Setup { powers: vec![3, 2, 1], ..Setup::default() }.build();
        let mut proof = block.proof(1000).encode().to_vec();
        let place = place.index(proof.len());
        proof[place] ^= change;
        if let Ok(ours) = verify_oracle_result(&proof, Layout::V3, &block.bridge) {
            prop_assert_eq!(ours, result(1000));
        }
        if let Ok(ours) = relay_and_verify(&proof, Layout::V3, &block.bridge) {
            prop_assert_eq!(ours.value, result(1000));
        }
    }
}
