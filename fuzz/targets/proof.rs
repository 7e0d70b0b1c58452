//! Proof bytes: decoded, judged by a Bridge that knows a small chain, trimmed, encoded again.

#![no_main]

#[path = "../../services/vrf/protocol/tests/support/mod.rs"]
mod support;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use support::{Block, Setup, result};
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::proof::{CountProof, CountVerifyPart, MultiProof, Proof, RawProof, RelayPart, VerifyPart};
use windlass_vrf_protocol::signature::Signers;
use windlass_vrf_protocol::trim::{BlockHash, trim};
use windlass_vrf_protocol::verify::{
    detect_layout, relay_and_multi_verify, relay_and_verify, relay_and_verify_count, verify_oracle_result,
};

static BLOCK: LazyLock<Block> = LazyLock::new(|| Setup::fuzzed().build());

fuzz_target!(|data: &[u8]| {
    let bridge = &BLOCK.bridge;
    if let Ok(proof) = Proof::decode(data) {
        assert_eq!(Proof::decode(&proof.encode()).as_ref(), Ok(&proof));
        let _ = detect_layout(&proof.relay, bridge);
    }
    if let Ok(proof) = MultiProof::decode(data) {
        assert_eq!(MultiProof::decode(&proof.encode()), Ok(proof));
    }
    if let Ok(proof) = CountProof::decode(data) {
        assert_eq!(CountProof::decode(&proof.encode()), Ok(proof));
    }
    let _ = (RelayPart::decode(data), VerifyPart::decode(data), CountVerifyPart::decode(data));
    for layout in Layout::ALL {
        // Only what the chain really resolved can be proven.
        if let Ok(proven) = verify_oracle_result(data, layout, bridge) {
            assert_eq!(proven, result(proven.request_id));
            assert!(BLOCK.setup.requests.contains(&proven.request_id));
        }
        if let Ok(relayed) = relay_and_verify(data, layout, bridge) {
            assert_eq!(relayed.value, result(relayed.value.request_id));
        }
        if let Ok(relayed) = relay_and_multi_verify(data, layout, bridge) {
            assert!(relayed.value.iter().all(|proven| *proven == result(proven.request_id)));
        }
        if let Ok(relayed) = relay_and_verify_count(data, layout, bridge) {
            assert_eq!(relayed.value, (BLOCK.header.time_second, 99));
        }
    }
    let mut signers = Signers::default();
    let trimmed = trim(data, BlockHash::Detected, &bridge.encoded_chain_id, &bridge.validators, &mut signers);
    if let Ok(trimmed) = trimmed {
        assert!(bridge.validators.exceeds_two_thirds(trimmed.power));
        let (before, after) = (RawProof::decode(data), RawProof::decode(&trimmed.bytes));
        assert_eq!(before.map(|raw| raw.verify), after.map(|raw| raw.verify));
        let again = trim(&trimmed.bytes, BlockHash::Detected, &bridge.encoded_chain_id, &bridge.validators, &mut signers);
        assert_eq!(again.map(|again| again.bytes).ok(), Some(trimmed.bytes));
    }
});
