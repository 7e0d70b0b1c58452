//! The chain without servers: requests from broadcast to proof.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]

mod support;

use std::collections::BTreeSet;

use support::{Wallet, advance, bridge, chain, config, ids, judge, roll, seed};
use windlass_devnet_band::{BandConfig, Chain, GenesisValidator, QueryError};
use windlass_vrf_protocol::events::request_ids;
use windlass_vrf_protocol::ics23::StoreProof;
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::obi::{ResultV1, ResultV2};
use windlass_vrf_protocol::oracle_result::{ResolveStatus, store_key};
use windlass_vrf_protocol::tx::MessageType;
use windlass_vrf_protocol::verify::{relay_and_multi_verify, relay_and_verify_count};
use windlass_vrf_protocol::{iavl, tx};

#[test]
fn a_request_becomes_a_proof_that_the_bridge_accepts() {
    let mut wallet = Wallet::new(1);
    let mut chain = Chain::new(BandConfig { resolve_after: 1..=1, ..config(&wallet) }).unwrap();
    let signed = wallet.next(1);
    let answer = chain.check_tx(&signed.bytes);
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(answer.hash, signed.hash);
    assert_eq!(chain.transaction(&signed.hash), None);
    advance(&mut chain, 1);
    let included = chain.transaction(&signed.hash).unwrap();
    assert_eq!((included.code, included.height, included.sequence), (0, 2, Some(0)));
    assert_eq!(chain.account(&wallet.address).unwrap().sequence, 1);
    let [id] = ids(&chain, &signed.hash)[..] else { panic!("one request") };
    assert_eq!(chain.request(id).unwrap().status(), ResolveStatus::Open);
    assert_eq!(chain.proof(id, None).unwrap_err(), QueryError::ProofNotFound);

    // Block 3 writes the result, the header of block 4 commits to it, block 5 makes that canonical.
    advance(&mut chain, 1);
    assert_eq!(chain.resolved_in(3).unwrap(), [(id, ResolveStatus::Success)]);
    assert_eq!(chain.request(id).unwrap().status(), ResolveStatus::Success);
    assert_eq!(chain.raw_proof(id, 3).unwrap_err(), QueryError::NoExistence);
    advance(&mut chain, 1);
    assert_eq!(chain.proof(id, Some(4)).unwrap_err(), QueryError::NotCanonical);
    let early = chain.raw_proof(id, 4).unwrap();
    advance(&mut chain, 1);
    let served = chain.proof(id, None).unwrap();
    assert_eq!(served, early);
    assert_eq!((served.block_height, served.verify.version.to::<u64>()), (4, 3));
    let result = judge(&served.evm_proof_bytes, Layout::V3, &bridge(&chain)).unwrap();
    assert_eq!(Some(&result), chain.request(id).unwrap().result.as_ref());
    assert_eq!(result.calldata, tx::decode(&signed.bytes).unwrap().requests[0].1.message.calldata);
    assert_eq!(ResultV2::decode(&result.result).unwrap().result.len(), 32);
}

#[test]
fn results_have_the_form_of_their_script() {
    let mut wallet = Wallet::new(1);
    wallet.script = 37;
    let mut chain = chain(&wallet);
    assert!(wallet.send(&mut chain, 1).is_ok());
    advance(&mut chain, 6);
    let result = chain.request(1).unwrap().result.unwrap();
    let ResultV1 { proof, result } = ResultV1::decode(&result.result).unwrap();
    assert_eq!((proof.len(), result.len()), (80, 64));
}

#[test]
fn one_transaction_carries_many_requests() {
    let mut wallet = Wallet::new(1);
    let mut chain = chain(&wallet);
    let signed = wallet.next(20);
    assert!(chain.check_tx(&signed.bytes).is_ok());
    advance(&mut chain, 1);
    assert_eq!(ids(&chain, &signed.hash), (1..=20).collect::<Vec<_>>());
    let included = chain.transaction(&signed.hash).unwrap();
    let requests: Vec<_> = included.events.iter().filter(|event| event.r#type == "request").collect();
    let index_of = |place: usize| requests[place].attributes.iter().find(|a| a.key == "msg_index").unwrap().value.clone();
    assert_eq!((index_of(0), index_of(19)), ("0".to_owned(), "19".to_owned()));
    let raw = included.events.iter().find(|event| event.r#type == "raw_request").unwrap();
    let asked = &raw.attributes.iter().find(|a| a.key == "calldata").unwrap().value;
    assert!(asked.ends_with(" 1700000000") && asked.len() == 64 + 11, "{asked}");
    advance(&mut chain, 5);
    assert_eq!((chain.open_requests(), chain.request_count()), (0, 20));
    let bridge = bridge(&chain);
    for id in 1..=20 {
        judge(&chain.proof(id, None).unwrap().evm_proof_bytes, Layout::V3, &bridge).unwrap();
    }
    let all: Vec<u64> = (1..=20).collect();
    let multi = chain.multi_proof(&all).unwrap();
    let results = relay_and_multi_verify(&multi.evm_proof_bytes, Layout::V3, &bridge).unwrap().value;
    assert_eq!(results.iter().map(|result| result.request_id).collect::<Vec<_>>(), all);
    let count = chain.count_proof().unwrap();
    let (second, number) = relay_and_verify_count(&count.evm_proof_bytes, Layout::V3, &bridge).unwrap().value;
    assert_eq!((second, number), (chain.latest().unwrap().header().time_second, 20));
}

#[test]
fn an_old_chain_has_logs_and_the_other_layout() {
    let mut wallet = Wallet::new(1);
    wallet.version = MessageType::V2;
    let mut chain = Chain::new(BandConfig { layout: Layout::V2, strict_message_type: true, ..config(&wallet) }).unwrap();
    let signed = wallet.next(2);
    assert!(chain.check_tx(&signed.bytes).is_ok());
    advance(&mut chain, 6);
    let included = chain.transaction(&signed.hash).unwrap();
    assert!(included.raw_log.starts_with('['), "{}", included.raw_log);
    assert_eq!(request_ids(&[], &included.raw_log).unwrap(), [1, 2]);
    assert_eq!(request_ids(&included.events, "").unwrap(), [1, 2]);
    let proof = chain.proof(2, None).unwrap().evm_proof_bytes;
    judge(&proof, Layout::V2, &bridge(&chain)).unwrap();
    judge(&proof, Layout::V3, &bridge(&chain)).unwrap_err();
    wallet.version = MessageType::V3;
    let refused = chain.check_tx(&wallet.next(1).bytes);
    assert_eq!((refused.code, refused.codespace.as_str()), (2, "sdk"));
}

#[test]
fn blocks_are_chained_and_commit_to_the_state_before() {
    let mut wallet = Wallet::new(1);
    let mut chain = chain(&wallet);
    assert!(wallet.send(&mut chain, 3).is_ok());
    advance(&mut chain, 8);
    for height in 2..=chain.height() {
        let (before, block) = (chain.block(height - 1).unwrap(), chain.block(height).unwrap());
        assert_eq!(block.header().last_block_id.hash, before.hash().to_vec());
        assert_eq!(block.header().last_block_id.parts_hash, before.parts_hash().to_vec());
        assert_eq!(block.header().validators_hash, before.header().next_validators_hash);
        assert!(block.time_ms() > before.time_ms());
        assert_eq!(block.hash(), block.header().hash());
    }
    let app_hashes: BTreeSet<_> =
        (1..=chain.height()).map(|height| chain.block(height).unwrap().header().app_hash.clone()).collect();
    assert_eq!(app_hashes.len() as u64, chain.height(), "every block changes the state");
}

#[test]
fn the_store_is_the_tree_of_its_entries() {
    let mut wallet = Wallet::new(1);
    let mut chain = Chain::new(BandConfig { store_leaves: 4, first_request_id: 1_000, ..config(&wallet) }).unwrap();
    for round in 0..12 {
        assert!(wallet.send(&mut chain, 1 + round % 4).is_ok());
        advance(&mut chain, 1);
        let items = chain.oracle_store();
        assert!(items.is_sorted_by(|a, b| a.key < b.key));
        let leaves = items.into_iter().map(|item| iavl::Leaf::new(item.key, &item.value, item.version).unwrap());
        let tree = iavl::Tree::new(leaves).unwrap();
        advance(&mut chain, 1);
        let relay = &chain.block(chain.height()).unwrap().commit().relay;
        assert_eq!(Some(relay.multi_store.oracle_root()), tree.root());
    }
    advance(&mut chain, 5);
    let bridge = bridge(&chain);
    for id in 1_000..=chain.request_count() {
        judge(&chain.proof(id, None).unwrap().evm_proof_bytes, Layout::V3, &bridge).unwrap();
    }
    assert_eq!(chain.proof(999, None).unwrap_err(), QueryError::NoExistence);
}

#[test]
fn every_kept_height_proves_a_result() {
    let mut wallet = Wallet::new(1);
    let mut chain = Chain::new(BandConfig { keep_heights: 10, resolve_after: 1..=1, ..config(&wallet) }).unwrap();
    assert!(wallet.send(&mut chain, 1).is_ok());
    advance(&mut chain, 30);
    let (newest, lowest) = (chain.height(), chain.lowest_height());
    assert_eq!((newest, lowest), (31, 22));
    let bridge = bridge(&chain);
    // The header of the oldest block commits to a state that is gone.
    for height in lowest + 1..newest {
        let served = chain.proof(1, Some(height)).unwrap();
        assert_eq!(served.block_height, height);
        judge(&served.evm_proof_bytes, Layout::V3, &bridge).unwrap();
    }
    assert_eq!(chain.proof(1, Some(lowest)).unwrap_err(), QueryError::ProofNotFound);
    assert_eq!(chain.proof(1, Some(5)).unwrap_err(), QueryError::PrunedBlock { height: 5, lowest });
    assert_eq!(chain.proof(1, Some(40)).unwrap_err(), QueryError::FutureHeight { height: 40, newest });
}

#[test]
fn store_queries_prove_presence_and_absence() {
    let mut wallet = Wallet::new(1);
    let mut chain = chain(&wallet);
    assert!(wallet.send(&mut chain, 2).is_ok());
    advance(&mut chain, 6);
    let height = chain.height() - 1;
    let header = chain.block(height + 1).unwrap().header().clone();
    let answer = chain.store_query(&store_key(2), Some(height)).unwrap();
    let proven = StoreProof::from_ops(&answer.ops, &store_key(2)).unwrap();
    assert_eq!(Some(&proven.value), answer.value.as_ref());
    assert_eq!(header.app_hash, proven.multi_store.app_hash(proven.layout).to_vec());
    let absent = chain.store_query(&store_key(3), Some(height)).unwrap();
    assert_eq!((absent.value.clone(), absent.ops.len()), (None, 2));
    assert!(StoreProof::from_ops(&absent.ops, &store_key(3)).is_err());
    assert_eq!(chain.store_query(&store_key(2), Some(1)).unwrap_err(), QueryError::ProofNotFound);
}

#[test]
fn requests_that_are_not_answered_expire() {
    let mut wallet = Wallet::new(1);
    let mut chain = Chain::new(BandConfig { expiration_blocks: 5, ..config(&wallet) }).unwrap();
    chain.faults_mut().expire_requests = 1;
    assert!(wallet.send(&mut chain, 2).is_ok());
    advance(&mut chain, 5);
    assert_eq!(chain.request(1).unwrap().status(), ResolveStatus::Open);
    advance(&mut chain, 1);
    let state = chain.request(1).unwrap();
    assert_eq!((state.status(), state.request), (ResolveStatus::Expired, None));
    assert_eq!(chain.resolved_in(chain.height()).unwrap(), [(1, ResolveStatus::Expired)]);
    let state = chain.request(2).unwrap();
    assert_eq!((state.status(), state.request), (ResolveStatus::Success, None), "forgotten as well, but not its result");
    assert_eq!(chain.request(3).unwrap_err(), QueryError::NoRequest { id: 3, last_expired: 2 });
    advance(&mut chain, 2);
    let result = judge(&chain.proof(1, None).unwrap().evm_proof_bytes, Layout::V3, &bridge(&chain)).unwrap();
    assert_eq!((result.resolve_status, result.result.len()), (ResolveStatus::Expired, 0));
}

#[test]
fn other_software_with_the_same_key_uses_sequences_too() {
    let mut wallet = Wallet::new(1);
    let mut chain = chain(&wallet);
    let (paid, request) = (wallet.pay("band1other", 5_000), wallet.next(1));
    assert!(chain.check_tx(&paid.bytes).is_ok());
    assert_eq!(chain.check_tx(&request.bytes).code, 32, "the sequence is gone before the block");
    advance(&mut chain, 1);
    let included = chain.transaction_at_sequence(&wallet.address, 0).unwrap();
    assert_eq!((included.hash_text(), included.code), (paid.hash, 0));
    assert_eq!(request_ids(&included.events, &included.raw_log).unwrap(), [0u64; 0]);
    assert_eq!(chain.balance("band1other", "uband"), 5_000);
    let too_much = wallet.pay("band1other", u128::MAX);
    assert!(chain.check_tx(&too_much.bytes).is_ok());
    advance(&mut chain, 1);
    assert_eq!(chain.transaction(&too_much.hash).unwrap().code, 5);
    assert_eq!(chain.balance("band1other", "uband"), 5_000);
}

#[test]
fn the_same_calls_make_the_same_chain() {
    let run = |seed: u64| {
        let mut wallet = Wallet::new(1);
        let mut chain = Chain::new(BandConfig { seed, ..config(&wallet) }).unwrap();
        for _ in 0..10 {
            assert!(wallet.send(&mut chain, 2).is_ok());
            advance(&mut chain, 1);
        }
        advance(&mut chain, 3);
        (chain.latest().unwrap().hash(), chain.proof(7, None).unwrap().evm_proof_bytes)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn a_longer_round_and_many_validators_are_accepted() {
    let mut wallet = Wallet::new(1);
    let config = BandConfig {
        chain_id: "seventeen-letters".to_owned(),
        validators: GenesisValidator::many(9, 35),
        round: 3,
        ..config(&wallet)
    };
    wallet.input.chain_id = config.chain_id.clone();
    let mut chain = Chain::new(config).unwrap();
    assert!(wallet.send(&mut chain, 1).is_ok());
    advance(&mut chain, 6);
    let served = chain.proof(1, None).unwrap();
    assert_eq!((served.relay.signatures.len(), served.relay.common.prefix.len()), (35, 24));
    judge(&served.evm_proof_bytes, Layout::V3, &bridge(&chain)).unwrap();
}

/// Random transactions, delays and heights: whatever is served is accepted by the Bridge, and nothing is lost.
#[test]
fn any_served_proof_verifies() {
    let seed = seed();
    println!("WINDLASS_SEED={seed}");
    let mut wallets: Vec<Wallet> = (1..=3).map(Wallet::new).collect();
    let accounts: Vec<_> = wallets.iter().map(Wallet::genesis).collect();
    let layout = if seed.is_multiple_of(2) { Layout::V2 } else { Layout::V3 };
    let config = BandConfig { seed, layout, accounts, resolve_after: 1..=4, store_leaves: 8, ..BandConfig::default() };
    let mut chain = Chain::new(config).unwrap();
    for (wallet, number) in wallets.iter_mut().zip(20..) {
        wallet.input.account_number = number;
    }
    chain.faults_mut().fail_probability = 0.1;
    for step in 0..60 {
        for (place, wallet) in wallets.iter_mut().enumerate() {
            let count = roll(seed, step * 10 + place as u64) % 6;
            if count > 0 {
                assert!(wallet.send(&mut chain, count).is_ok());
            }
        }
        advance(&mut chain, roll(seed, step * 10 + 9) % 3);
    }
    advance(&mut chain, 7);
    assert_eq!(chain.open_requests(), 0);
    let bridge = bridge(&chain);
    let mut failed = 0;
    for id in 1..=chain.request_count() {
        let height = chain.height() - 1 - roll(seed, 10_000 + id) % 2;
        let served = chain.proof(id, Some(height)).unwrap();
        let result = judge(&served.evm_proof_bytes, layout, &bridge).unwrap();
        assert_eq!(result.request_id, id);
        failed += u64::from(result.resolve_status == ResolveStatus::Failure);
    }
    assert!(failed > 0 && failed < chain.request_count() / 2, "{failed} of {}", chain.request_count());
    assert!(chain.request_count() > 300);
}
