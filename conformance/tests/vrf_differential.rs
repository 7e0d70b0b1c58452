//! The local verifier against the Bridge on a chain: for damaged proofs of every kind both give the same answer, byte for byte.
//!
//! `WINDLASS_SEEDS` is the number of damaged proofs (default 150), `WINDLASS_SEED` chooses them.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "../../services/vrf/protocol/tests/support/mod.rs"]
mod support;

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::SolCall;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{Block, Setup};
use windlass_chain::{CallRequest, decode_revert};
use windlass_conformance::{Bench, Chain, ChainKind};
use windlass_contracts::vrf::bridge::ValidatorPowers::ValidatorWithPower;
use windlass_contracts::vrf::{Bridge, BridgeV2Layout};
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::oracle_result::OracleResult;
use windlass_vrf_protocol::proof::{Proof, RawProof, VerifyPart};
use windlass_vrf_protocol::refusal::Refusal;
use windlass_vrf_protocol::signature::Signers;
use windlass_vrf_protocol::verify::Verifier;

const ADMIN: Address = Address::repeat_byte(0xAD);

struct Stage<'a> {
    chain: &'a Chain,
    block: Block,
    bridge: Address,
    signers: Signers,
}

impl<'a> Stage<'a> {
    async fn new(chain: &'a Chain, layout: Layout) -> Self {
        let setup = Setup { layout, powers: vec![50, 30, 20], requests: vec![1000, 1001], others: 3, ..Setup::default() };
        let block = setup.build();
        let code = if layout == Layout::V3 { &Bridge::BYTECODE } else { &BridgeV2Layout::BYTECODE };
        let bridge = chain.create(ADMIN, code).await.unwrap();
        let validators = block.bridge.validators.iter().map(|(addr, power)| ValidatorWithPower { addr, power });
        let call =
            Bridge::initializeCall { validators: validators.collect(), _encodedChainID: block.bridge.encoded_chain_id.0.clone() };
        assert!(chain.execute(ADMIN, Some(bridge), &call.abi_encode().into()).await.unwrap().succeeded());
        Self { chain, block, bridge, signers: Signers::default() }
    }

    async fn call(&self, call: impl SolCall) -> Result<Bytes, Bytes> {
        self.chain.simulate(CallRequest::new(self.bridge, call.abi_encode()).from(ADMIN)).await.unwrap()
    }

    /// Has the block relayed: the Bridge then knows it, and looks at no signature of it.
    async fn relay(&mut self, proof: &[u8]) {
        let call = Bridge::relayAndVerifyCall { proof: Bytes::copy_from_slice(proof) };
        let outcome = self.chain.execute(ADMIN, Some(self.bridge), &call.abi_encode().into()).await.unwrap();
        assert!(outcome.succeeded());
        let relayed = Verifier::new(self.block.setup.layout, &self.block.bridge, &mut self.signers).relay_and_verify(proof);
        let (height, detail) = relayed.unwrap().block.unwrap();
        self.block.bridge.blocks.insert(height, detail);
    }

    /// Both answers of every method of a single proof.
    async fn check(&mut self, what: &str, proof: &[u8]) -> bool {
        let layout = self.block.setup.layout;
        let data = Bytes::copy_from_slice(proof);
        let theirs = self.call(Bridge::verifyOracleResultCall { proof: data.clone() }).await;
        let ours = Verifier::new(layout, &self.block.bridge, &mut self.signers).oracle_result(proof);
        same(&format!("verifyOracleResult, {what}"), &theirs, &ours);
        let theirs = self.call(Bridge::relayAndVerifyCall { proof: data.clone() }).await;
        let relayed = Verifier::new(layout, &self.block.bridge, &mut self.signers).relay_and_verify(proof);
        same(&format!("relayAndVerify, {what}"), &theirs, &relayed.map(|relayed| relayed.value));
        ours.is_ok()
    }
}

/// A returned result is the verify part's struct, behind one offset.
fn same(what: &str, theirs: &Result<Bytes, Bytes>, ours: &Result<OracleResult, Refusal>) {
    match (theirs, ours) {
        (Err(theirs), Err(ours)) => {
            assert_eq!(theirs, &Bytes::from(ours.data()), "{what}: the chain says {}, we say {ours}", decode_revert(theirs));
        }
        (Ok(theirs), Ok(ours)) => {
            let part = VerifyPart { block_height: U256::ZERO, result: ours.clone(), version: U256::ZERO, path: Vec::new() };
            let encoded = part.encode();
            // Four words of head before the struct, one word of path behind it.
            let expected = [&U256::from(32).to_be_bytes::<32>()[..], &encoded[128..encoded.len() - 32]].concat();
            assert_eq!(theirs, &Bytes::from(expected), "{what}");
        }
        (theirs, ours) => panic!("{what}: the chain says {theirs:?}, we say {ours:?}"),
    }
}

/// Numbers at which decoders change their mind.
fn odd_word(random: &mut ChaCha8Rng, length: usize) -> [u8; 32] {
    let near = |base: u128, random: &mut ChaCha8Rng| base.saturating_add(random.random_range(0..5)).saturating_sub(2);
    let number = match random.random_range(0..12) {
        0 => return [0xff; 32],
        1 => return (U256::from(1) << random.random_range(64..256usize)).to_be_bytes(),
        2 => return (U256::MAX - U256::from(random.random_range(0u64..200))).to_be_bytes(),
        3 => return random.random(),
        4 => near(u128::from(u64::MAX), random),
        5 => near(1 << 59, random),
        6 => near(u128::from(u32::MAX), random),
        7 => near(256, random),
        8 => near(length as u128, random),
        9 => u128::from(random.random_range(0..=(length as u64 / 32 + 2))) * 32,
        _ => u128::from(random.random_range(0u8..5)),
    };
    U256::from(number).to_be_bytes()
}

/// Damages bytes in one of many ways. Says how.
fn damage(random: &mut ChaCha8Rng, bytes: &mut Vec<u8>) -> String {
    let words = bytes.len() / 32;
    if words == 0 {
        bytes.push(random.random());
        return "a byte more".to_owned();
    }
    let word = random.random_range(0..words);
    match random.random_range(0..8) {
        0 => {
            let place = random.random_range(0..bytes.len());
            bytes[place] ^= 1 << random.random_range(0..8);
            format!("bit in byte {place}")
        }
        1 => {
            let length = random.random_range(0..=bytes.len());
            bytes.truncate(length);
            format!("cut to {length}")
        }
        2 => {
            let more = random.random_range(1..70);
            bytes.resize(bytes.len() + more, random.random());
            format!("{more} bytes more")
        }
        3 => {
            let other = random.random_range(0..words);
            for place in 0..32 {
                bytes.swap(word * 32 + place, other * 32 + place);
            }
            format!("words {word} and {other} exchanged")
        }
        _ => {
            let length = bytes.len();
            let odd = odd_word(random, length);
            bytes[word * 32..word * 32 + 32].copy_from_slice(&odd);
            format!("word {word} is {:#x}", U256::from_be_bytes(odd))
        }
    }
}

/// A damaged proof: in the values before they were encoded, in one of the parts, in both (which tells whether the second part is read
/// before the first is judged), or in the envelope.
fn damaged(random: &mut ChaCha8Rng, block: &Block) -> (String, Vec<u8>) {
    let mut proof = block.proof(*[1000, 1001].choose(random).unwrap());
    let place = random.random_range(0..13);
    let what = if place == 0 { damage_values(random, &mut proof) } else { String::new() };
    let (mut relay, mut verify) = (proof.relay.encode(), proof.verify.encode());
    let mut twice =
        |bytes: &mut Vec<u8>| (0..random.random_range(1..3)).map(|_| format!(" {};", damage(random, bytes))).collect::<String>();
    let what = match place {
        0 => what,
        1..=4 => format!(" relay part:{}", twice(&mut relay)),
        5..=8 => format!(" verify part:{}", twice(&mut verify)),
        9 => " envelope:".to_owned(),
        _ => format!(" relay part:{} verify part:{}", twice(&mut relay), twice(&mut verify)),
    };
    let mut envelope = RawProof { relay: &relay, verify: &verify }.encode().to_vec();
    if place == 9 {
        // The two offsets and the first length, or the end.
        let mut head = envelope[..96].to_vec();
        let how = damage(random, &mut head);
        match head.len() {
            96 => envelope.splice(..96, head).for_each(drop),
            other if other < 96 => envelope.truncate(envelope.len() - other - 1),
            _ => envelope.extend_from_slice(&head[96..]),
        }
        return (format!("{what} {how};"), envelope);
    }
    (what, envelope)
}

fn damage_values(random: &mut ChaCha8Rng, proof: &mut Proof) -> String {
    let relay = &mut proof.relay;
    let name = match random.random_range(0..12) {
        0 => {
            relay.signatures.reverse();
            "signatures reversed"
        }
        1 => {
            relay.signatures.remove(random.random_range(0..3));
            "signature removed"
        }
        2 => {
            let again = relay.signatures[1].clone();
            relay.signatures.push(again);
            "signature doubled"
        }
        3 => {
            relay.signatures[0].v = *[0, 1, 26, 27, 28, 29, 255].choose(random).unwrap();
            "other v"
        }
        4 => {
            relay.signatures[2].encoded_timestamp = vec![8; random.random_range(4..15)].into();
            "other timestamp"
        }
        5 => {
            relay.common.prefix = vec![8; random.random_range(13..26)].into();
            "other prefix"
        }
        6 => {
            relay.common.suffix = vec![8; random.random_range(36..41)].into();
            "other suffix"
        }
        7 => {
            relay.merkle_parts.height = 0;
            "height 0"
        }
        8 => {
            relay.merkle_parts.time_second = 0;
            "second 0"
        }
        9 => {
            proof.verify.path.pop();
            "path shortened"
        }
        10 => {
            proof.verify.version = U256::ZERO;
            "version 0"
        }
        _ => {
            proof.verify.block_height = U256::from(1);
            "other height"
        }
    };
    format!(" {name};")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chain_and_the_local_verifier_agree_on_damaged_proofs() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (seed, count) = (number("WINDLASS_SEED").unwrap_or(1), number("WINDLASS_SEEDS").unwrap_or(150));
    let bench = Bench::new(ChainKind::from_environment().unwrap());
    let chain = bench.chain().await.unwrap();
    let mut accepted = 0;
    for layout in Layout::ALL {
        let mut stage = Stage::new(chain, layout).await;
        let whole = stage.block.proof(1000).encode();
        assert!(stage.check("undamaged", &whole).await);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for place in 0..count.div_ceil(2) {
            if place == count / 3 {
                stage.relay(&whole).await;
            }
            let (what, proof) = damaged(&mut random, &stage.block);
            let what = format!("seed {seed}, layout {layout}:{what}");
            accepted += u64::from(stage.check(&what, &proof).await);
        }
    }
    println!("{count} damaged proofs, {accepted} still accepted");
}
