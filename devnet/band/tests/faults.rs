//! What is refused, and what goes wrong when a tester asks for it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]

mod support;

use support::{Wallet, advance, bridge, chain, config, ids, judge};
use windlass_devnet_band::{BandConfig, Chain, Faults, QueryError};
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::oracle_result::ResolveStatus;
use windlass_vrf_protocol::refusal::reason;
use windlass_vrf_protocol::tx::{RequestDataMsg, SignInput};
use windlass_vrf_protocol::verify::Refusal;

type Change = fn(&mut SignInput);

#[test]
fn transactions_are_refused_as_by_a_real_node() {
    let wallet = Wallet::new(1);
    let table: [(&str, Change, &str, u32, &str); 17] = [
        (
            "wrong chain",
            |i| i.chain_id = "x".into(),
            "sdk",
            4,
            "signature verification failed; please verify account number (20), sequence (0) and chain-id (windlass-band-1): (unable to verify single signer signature): unauthorized",
        ),
        ("wrong account", |i| i.account_number = 21, "sdk", 4, "signature verification failed"),
        (
            "sequence ahead",
            |i| i.sequence = 3,
            "sdk",
            32,
            "account sequence mismatch, expected 0, got 3: incorrect account sequence",
        ),
        ("fee", |i| i.fee = 1_999, "sdk", 13, "insufficient fees; got: 1999uband required: 2000uband: insufficient fee"),
        ("no fee", |i| i.fee = 0, "sdk", 13, "insufficient fees; got:  required: 2000uband: insufficient fee"),
        (
            "other coin",
            |i| i.denom = "uatom".into(),
            "sdk",
            13,
            "insufficient fees; got: 2000uatom required: 2000uband: insufficient fee",
        ),
        ("funds", |i| i.fee = u128::MAX, "sdk", 5, "spendable balance 1000000000000uband is smaller than"),
        ("no message", |i| i.messages.clear(), "sdk", 18, "must contain at least one message: invalid request"),
        (
            "memo",
            |i| i.memo = "m".repeat(257),
            "sdk",
            12,
            "maximum number of characters is 256 but received 257 characters: memo too large",
        ),
        (
            "block gas",
            |i| (i.gas_limit, i.fee) = (60_000_000, 150_000),
            "sdk",
            41,
            "tx gas limit 60000000 exceeds block max gas 50000000: invalid gas limit",
        ),
        ("little gas", |i| i.gas_limit = 1_000, "sdk", 11, "out of gas in location: txSize; gasWanted: 1000, gasUsed:"),
        ("min count", |i| first(i).message.min_count = 0, "oracle", 24, "got: 0: invalid min count"),
        ("ask below min", |i| first(i).message.ask_count = 1, "oracle", 25, "got: 1, min count: 2: invalid ask count"),
        ("client id", |i| first(i).message.client_id = "c".repeat(129), "oracle", 27, "got: 129, max: 128: too long client id"),
        ("prepare gas", |i| first(i).message.prepare_gas = 0, "oracle", 44, "invalid prepare gas: 0: invalid owasm gas"),
        (
            "owasm gas",
            |i| first(i).message.execute_gas = 7_900_001,
            "oracle",
            44,
            "sum of prepare gas and execute gas (8000001) exceed 8000000: invalid owasm gas",
        ),
        ("other sender", |i| first(i).message.sender = Wallet::new(2).address, "sdk", 9, "fee payer address: "),
    ];
    for (name, change, codespace, code, log) in table {
        let mut chain = chain(&wallet);
        let answer = chain.check_tx(&wallet.sign_with(change).bytes);
        assert_eq!((answer.codespace.as_str(), answer.code), (codespace, code), "{name}: {}", answer.raw_log);
        assert!(answer.raw_log.starts_with(log), "{name}: {}", answer.raw_log);
        assert_eq!(chain.waiting(), 0);
        advance(&mut chain, 1);
        assert_eq!(chain.account(&wallet.address).unwrap().sequence, 0, "{name}: nothing happened");
    }
    let mut chain = chain(&wallet);
    chain.fund(&Wallet::new(2).address, 10_000);
    let other_key = chain.check_tx(&wallet.sign_with(|i| first(i).message.sender = Wallet::new(2).address).bytes);
    assert_eq!(other_key.code, 8, "{}", other_key.raw_log);
    for garbage in [&b"no transaction"[..], &[0xff; 40], &[]] {
        assert!(matches!(chain.check_tx(garbage).code, 2 | 18), "{garbage:?}");
    }
}

fn first(input: &mut SignInput) -> &mut RequestDataMsg {
    input.messages.first_mut().unwrap()
}

#[test]
fn failing_messages_cost_fee_and_sequence() {
    let table: [(&str, Change, &str, u32, &str); 8] = [
        (
            "calldata",
            |i| first(i).message.calldata = vec![0; 513],
            "oracle",
            26,
            "failed to execute message; message index: 0: got: 513, max: 512: too large calldata",
        ),
        (
            "ask count",
            |i| first(i).message.ask_count = 17,
            "oracle",
            25,
            "failed to execute message; message index: 0: got: 17, max: 16: invalid ask count",
        ),
        (
            "script",
            |i| first(i).message.oracle_script_id = 1,
            "oracle",
            4,
            "failed to execute message; message index: 0: id: 1: oracle script not found",
        ),
        (
            "wasm",
            |i| first(i).message.calldata = vec![1, 2],
            "oracle",
            2,
            "failed to execute message; message index: 0: runtime error",
        ),
        (
            "fee limit",
            |i| first(i).message.fee_limit.clear(),
            "oracle",
            43,
            "failed to execute message; message index: 0: require: 9uband, max: 0uband: not enough fee",
        ),
        (
            "gas",
            |i| (i.gas_limit, i.fee) = (500_000, 1_250),
            "sdk",
            11,
            "out of gas in location: OWASM_EXECUTE_FEE; gasWanted: 500000, gasUsed: ",
        ),
        (
            "gas for prepare",
            |i| (i.gas_limit, i.fee) = (150_000, 375),
            "sdk",
            11,
            "out of gas in location: OWASM_PREPARE_FEE; gasWanted: 150000, gasUsed: ",
        ),
        (
            "second message",
            |i| {
                let mut m = i.messages[0].clone();
                m.message.calldata.clear();
                (i.gas_limit, i.fee) = (2_000_000, 5_000);
                i.messages.push(m);
            },
            "oracle",
            2,
            "failed to execute message; message index: 1: ",
        ),
    ];
    for (name, change, codespace, code, log) in table {
        let wallet = Wallet::new(1);
        let mut chain = chain(&wallet);
        let signed = wallet.sign_with(change);
        assert!(chain.check_tx(&signed.bytes).is_ok(), "{name}");
        let before = chain.account(&wallet.address).unwrap();
        advance(&mut chain, 1);
        let included = chain.transaction(&signed.hash).unwrap();
        assert_eq!((included.codespace.as_str(), included.code), (codespace, code), "{name}: {}", included.raw_log);
        assert!(included.raw_log.starts_with(log), "{name}: {}", included.raw_log);
        assert!(included.events.iter().all(|event| event.r#type == "tx"), "{name}: no events of messages");
        let after = chain.account(&wallet.address).unwrap();
        let fee = wallet.sign_with(change).bytes;
        let paid: u128 = windlass_vrf_protocol::tx::decode(&fee).unwrap().fee[0].amount.parse().unwrap();
        assert_eq!((after.sequence, before.uband - after.uband), (1, paid), "{name}: the fee and nothing else");
        assert_eq!(chain.request_count(), 0, "{name}");
        assert_eq!(chain.transaction_at_sequence(&wallet.address, 0).unwrap().hash, included.hash);
    }
}

#[test]
fn consecutive_sequences_wait_together() {
    let mut wallet = Wallet::new(1);
    let mut chain = chain(&wallet);
    let transactions: Vec<_> = (0..4).map(|_| wallet.next(1)).collect();
    let ahead = chain.check_tx(&transactions[1].bytes);
    assert_eq!((ahead.code, ahead.raw_log.contains("expected 0, got 1")), (32, true));
    for signed in &transactions {
        assert!(chain.check_tx(&signed.bytes).is_ok());
    }
    let again = chain.check_tx(&transactions[2].bytes);
    assert_eq!((again.codespace.as_str(), again.code, again.hash), ("sdk", 19, transactions[2].hash.clone()));
    assert_eq!(chain.account(&wallet.address).unwrap().sequence, 0, "queries see the state of the block");
    advance(&mut chain, 1);
    assert_eq!(chain.account(&wallet.address).unwrap().sequence, 4);
    assert_eq!(transactions.iter().map(|signed| ids(&chain, &signed.hash)[0]).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(chain.check_tx(&transactions[0].bytes).code, 19, "still in the cache");
    let listed = chain.transactions_of(&wallet.address, 3);
    assert_eq!(listed.iter().map(|included| included.sequence.unwrap()).collect::<Vec<_>>(), [3, 2, 1]);
}

#[test]
fn blocks_and_mempool_have_bounds() {
    let mut wallet = Wallet::new(1);
    let mut chain = Chain::new(BandConfig { max_block_gas: 2_000_000, mempool_size: 5, ..config(&wallet) }).unwrap();
    for _ in 0..5 {
        assert!(wallet.send(&mut chain, 1).is_ok());
    }
    assert_eq!(wallet.send(&mut chain, 1).code, 20);
    wallet.input.sequence -= 1;
    advance(&mut chain, 1);
    assert_eq!((chain.waiting(), chain.request_count()), (3, 2), "two fit into a block");
    assert!(wallet.send(&mut chain, 1).is_ok());
    advance(&mut chain, 2);
    assert_eq!((chain.waiting(), chain.request_count()), (0, 6));
    chain.faults_mut().mempool_full = true;
    let full = wallet.send(&mut chain, 1);
    assert_eq!((full.codespace.as_str(), full.code), ("sdk", 20));
}

#[test]
fn simulation_tells_the_gas_and_the_reason() {
    let wallet = Wallet::new(1);
    let mut chain = chain(&wallet);
    let signed = wallet.sign_with(|_| {});
    let (wanted, used) = chain.simulate(&signed.bytes).unwrap();
    assert_eq!(wanted, 800_000);
    assert!(chain.check_tx(&signed.bytes).is_ok());
    advance(&mut chain, 1);
    assert_eq!(chain.transaction(&signed.hash).unwrap().gas_used, used);
    let refused = chain.simulate(&signed.bytes).unwrap_err();
    assert!(refused.to_string().contains("expected 1, got 0"), "{refused}");
    let little = wallet.sign_with(|input| (input.sequence, input.gas_limit) = (1, 1));
    assert_eq!(chain.simulate(&little.bytes).unwrap().1, used);
}

#[test]
fn lost_dropped_and_delayed_transactions() {
    let mut wallet = Wallet::new(1);
    let mut chain = chain(&wallet);
    chain.set_faults(Faults { lose_broadcasts: 1, ..Faults::none() });
    let lost = wallet.next(1);
    assert!(chain.check_tx(&lost.bytes).is_ok());
    assert_eq!(chain.waiting(), 0);
    advance(&mut chain, 3);
    assert!(chain.transaction(&lost.hash).is_none());
    assert!(chain.check_tx(&lost.bytes).is_ok(), "the same bytes arrive the second time");
    advance(&mut chain, 1);
    assert!(chain.transaction(&lost.hash).is_some());

    chain.set_faults(Faults { drop_from_mempool: 1, ..Faults::none() });
    let (dropped, follower) = (wallet.next(1), wallet.next(1));
    assert!(chain.check_tx(&dropped.bytes).is_ok() && chain.check_tx(&follower.bytes).is_ok());
    advance(&mut chain, 3);
    assert!(chain.transaction(&dropped.hash).is_none() && chain.transaction(&follower.hash).is_none());
    assert_eq!(chain.waiting(), 0, "what followed is dropped when the mempool is looked through");
    for signed in [&dropped, &follower] {
        assert!(chain.check_tx(&signed.bytes).is_ok());
    }
    advance(&mut chain, 1);
    assert!(chain.transaction(&follower.hash).is_some());

    chain.set_faults(Faults { delay_inclusion_blocks: 3, ..Faults::none() });
    let late = wallet.next(1);
    assert!(chain.check_tx(&late.bytes).is_ok());
    advance(&mut chain, 3);
    assert!(chain.transaction(&late.hash).is_none());
    advance(&mut chain, 1);
    assert!(chain.transaction(&late.hash).is_some());
}

#[test]
fn sequence_errors_and_index_lag() {
    let mut wallet = Wallet::new(1);
    let mut chain = chain(&wallet);
    assert!(wallet.send(&mut chain, 1).is_ok());
    advance(&mut chain, 1);
    chain.set_faults(Faults { sequence_errors: 1, index_lag_blocks: 2, ..Faults::none() });
    let signed = wallet.next(1);
    let refused = chain.check_tx(&signed.bytes);
    assert_eq!(
        (refused.code, refused.raw_log.as_str()),
        (32, "account sequence mismatch, expected 0, got 1: incorrect account sequence")
    );
    assert!(chain.check_tx(&signed.bytes).is_ok());
    advance(&mut chain, 2);
    assert!(chain.transaction(&signed.hash).is_none());
    assert!(chain.transaction_at_sequence(&wallet.address, 1).is_none());
    assert_eq!(chain.account(&wallet.address).unwrap().sequence, 2, "but it is included");
    advance(&mut chain, 1);
    assert!(chain.transaction(&signed.hash).is_some());
}

#[test]
fn drained_accounts_lose_what_waits() {
    let mut wallet = Wallet::new(1);
    let mut chain = chain(&wallet);
    chain.set_faults(Faults { delay_inclusion_blocks: 1, ..Faults::none() });
    let signed = wallet.next(1);
    assert!(chain.check_tx(&signed.bytes).is_ok());
    chain.drain(&wallet.address, u128::MAX);
    advance(&mut chain, 3);
    assert_eq!((chain.waiting(), chain.transaction(&signed.hash)), (0, None));
    assert_eq!(wallet.send(&mut chain, 1).code, 5);
    chain.fund(&wallet.address, 100_000);
    assert!(chain.check_tx(&signed.bytes).is_ok());
}

#[test]
fn requests_fail_and_expire_on_demand() {
    let mut wallet = Wallet::new(1);
    let mut chain = Chain::new(BandConfig { expiration_blocks: 10, ..config(&wallet) }).unwrap();
    chain.set_faults(Faults { fail_requests: 1, expire_requests: 1, ..Faults::none() });
    assert!(wallet.send(&mut chain, 3).is_ok());
    advance(&mut chain, 15);
    let statuses: Vec<_> = (1..=3).map(|id| chain.request(id).unwrap().status()).collect();
    assert_eq!(statuses, [ResolveStatus::Failure, ResolveStatus::Expired, ResolveStatus::Success]);
    chain.set_faults(Faults { expire_probability: 1.0, ..Faults::none() });
    assert!(wallet.send(&mut chain, 2).is_ok());
    advance(&mut chain, 12);
    assert_eq!(chain.request(5).unwrap().status(), ResolveStatus::Expired);
}

/// A chain with one result.
fn with_result() -> (Wallet, Chain) {
    let mut wallet = Wallet::new(1);
    let mut chain = chain(&wallet);
    assert!(wallet.send(&mut chain, 1).is_ok());
    advance(&mut chain, 6);
    (wallet, chain)
}

#[test]
fn damaged_proofs_are_refused() {
    let (_, mut chain) = with_result();
    let bridge = bridge(&chain);
    let proof = |chain: &Chain| chain.proof(1, None).unwrap().evm_proof_bytes;
    judge(&proof(&chain), Layout::V3, &bridge).unwrap();
    chain.set_faults(Faults { truncate_proof_bytes: 100, ..Faults::none() });
    assert_eq!(judge(&proof(&chain), Layout::V3, &bridge).unwrap_err(), Refusal::Empty);
    chain.set_faults(Faults { wrong_round: true, ..Faults::none() });
    let refusal = judge(&proof(&chain), Layout::V3, &bridge).unwrap_err();
    assert!(matches!(refusal, Refusal::Revert(reason::SIGNER_ORDER | reason::INSUFFICIENT_SIGNATURES)), "{refusal}");
    chain.set_faults(Faults::none());
    judge(&proof(&chain), Layout::V3, &bridge).unwrap();
}

#[test]
fn pruned_states_have_no_proofs() {
    let (_, mut chain) = with_result();
    let newest = chain.height();
    chain.set_faults(Faults { pruned_below: newest - 1, ..Faults::none() });
    assert_eq!(chain.proof(1, Some(newest - 1)).unwrap_err(), QueryError::ProofNotFound);
    assert!(chain.raw_proof(1, newest).is_ok());
    advance(&mut chain, 1);
    assert!(chain.proof(1, Some(newest)).is_ok());
}

#[test]
fn absent_validators_lose_the_majority() {
    let (_, mut chain) = with_result();
    let bridge = bridge(&chain);
    for (absent, enough) in [(1, true), (2, false), (4, false)] {
        chain.set_faults(Faults { absent_validators: absent, ..Faults::none() });
        advance(&mut chain, 2);
        let served = chain.proof(1, None).unwrap();
        assert_eq!(served.relay.signatures.len(), 4 - absent);
        let judged = judge(&served.evm_proof_bytes, Layout::V3, &bridge);
        assert_eq!(judged.is_ok(), enough, "{absent}");
        if !enough {
            assert_eq!(judged.unwrap_err(), Refusal::Revert(reason::INSUFFICIENT_SIGNATURES));
        }
    }
    chain.set_faults(Faults::none());
    advance(&mut chain, 2);
    judge(&chain.proof(1, None).unwrap().evm_proof_bytes, Layout::V3, &bridge).unwrap();
}

#[test]
fn rotated_validators_are_strangers_until_the_bridge_is_updated() {
    let (_, mut chain) = with_result();
    let old = bridge(&chain);
    chain.rotate_validators(2);
    let from = chain.height() + 2;
    advance(&mut chain, 4);
    let last_known = chain.proof(1, Some(from - 1)).unwrap().evm_proof_bytes;
    judge(&last_known, Layout::V3, &old).unwrap();
    let fresh = chain.proof(1, Some(from)).unwrap().evm_proof_bytes;
    assert_eq!(judge(&fresh, Layout::V3, &old).unwrap_err(), Refusal::Revert(reason::INSUFFICIENT_SIGNATURES));
    judge(&fresh, Layout::V3, &bridge(&chain)).unwrap();
    assert_ne!(bridge(&chain), old);
    let (before, after) = (chain.block(from - 1).unwrap(), chain.block(from).unwrap());
    assert_ne!(before.header().validators_hash, after.header().validators_hash);
    assert_eq!(before.header().next_validators_hash, after.header().validators_hash);
    chain.rotate_validators(4);
    advance(&mut chain, 3);
    assert!(old.validators.iter().all(|(address, _)| !bridge(&chain).validators.contains(&address)));
}

#[test]
fn an_upgrade_changes_the_layout_for_good() {
    let mut wallet = Wallet::new(1);
    let mut chain = Chain::new(BandConfig { layout: Layout::V2, ..config(&wallet) }).unwrap();
    assert!(wallet.send(&mut chain, 1).is_ok());
    advance(&mut chain, 6);
    let bridge = bridge(&chain);
    let upgrade = chain.height() + 1;
    chain.set_faults(Faults { upgrade_to_v3_at: Some(upgrade), ..Faults::none() });
    advance(&mut chain, 1);
    chain.set_faults(Faults::none());
    advance(&mut chain, 2);
    let at = |height: u64| chain.proof(1, Some(height)).unwrap().evm_proof_bytes;
    judge(&at(upgrade), Layout::V2, &bridge).unwrap();
    judge(&at(upgrade), Layout::V3, &bridge).unwrap_err();
    judge(&at(upgrade + 1), Layout::V3, &bridge).unwrap();
    judge(&at(upgrade + 1), Layout::V2, &bridge).unwrap_err();
}

#[test]
fn a_halted_chain_goes_on_where_it_was() {
    let mut wallet = Wallet::new(1);
    let mut chain = chain(&wallet);
    chain.faults_mut().halted = true;
    assert!(wallet.send(&mut chain, 1).is_ok());
    assert_eq!(chain.advance(u64::MAX / 2), None);
    assert_eq!(chain.height(), 1);
    chain.faults_mut().halted = false;
    assert_eq!(chain.advance(0), Some(2), "time never goes back");
    assert_eq!(chain.request_count(), 1);
}
