//! What one proof costs: trimming it to the signatures it needs and judging the rest, cold and with signers known from another
//! proof of the same block.
//!
//! `cargo bench -p windlass-vrf-protocol` prints medians and the slowest of a hundred, for 34 votes of 35 validators and a store
//! of 100,000 entries (a path of 16 steps). `ROUNDS` sets how often.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use support::Setup;
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::proof::Proof;
use windlass_vrf_protocol::signature::Signers;
use windlass_vrf_protocol::trim::{BlockHash, trim};
use windlass_vrf_protocol::verify::Verifier;

fn main() {
    // `cargo test` runs benchmarks too, in debug mode; then once is enough.
    let testing = std::env::args().any(|argument| argument == "--test");
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(if testing { 1 } else { 200 });
    let others = if testing { 100 } else { 100_000 };
    let powers = (0..35).map(|number| 1_000_000 - 20_000 * number).collect();
    let block = Setup { powers, absent: vec![17], others, requests: (1..=10).collect(), ..Setup::default() }.build();
    let proofs: Vec<_> = (1..=10).map(|request| block.proof(request).encode()).collect();
    let (chain_id, validators) = (&block.bridge.encoded_chain_id, &block.bridge.validators);
    println!("{} bytes, path of {} steps", proofs[0].len(), block.proof(1).verify.path.len());

    let one = |signers: &mut Signers, proof: &[u8]| {
        let trimmed = trim(proof, BlockHash::Layout(Layout::V3), chain_id, validators, signers).unwrap();
        let result = Verifier::new(Layout::V3, &block.bridge, signers).oracle_result(&trimmed.bytes).unwrap();
        black_box((trimmed, result))
    };
    report("trim and verify, cold", rounds, || {
        one(&mut Signers::default(), &proofs[0]);
    });
    let mut shared = Signers::default();
    one(&mut shared, &proofs[0]);
    let mut number = 0;
    report("trim and verify, signers known", rounds * 10, || {
        number = (number + 1) % proofs.len();
        one(&mut shared, &proofs[number]);
    });
    report("decode and encode", rounds * 10, || {
        black_box(Proof::decode(&proofs[0]).unwrap().encode());
    });
}

fn report(what: &str, rounds: usize, mut run: impl FnMut()) {
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let began = Instant::now();
            run();
            began.elapsed()
        })
        .collect();
    times.sort();
    println!("{what:32} median {:>10.1?}  99 % {:>10.1?}", times[rounds / 2], times[rounds * 99 / 100]);
}
