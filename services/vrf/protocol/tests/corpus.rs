//! The first inputs of the fuzz targets. `WINDLASS_FUZZ_CORPUS=<folder>` writes them to one folder per target; without it they
//! are only made and looked at.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::path::PathBuf;

use prost::Message;
use support::{Block, Setup, result};
use windlass_vrf_protocol::events::event;
use windlass_vrf_protocol::ics23::to_ops;
use windlass_vrf_protocol::messages::oracle::{MsgRequestData, QueryRequestResponse, Result as StoredResult};
use windlass_vrf_protocol::messages::proof::{OracleDataProof, ProofResponse, SingleProof, SingleProofResult};
use windlass_vrf_protocol::messages::tendermint::{self, GetLatestBlockResponse, ProofOps};
use windlass_vrf_protocol::messages::tx::{Coin, GetTxResponse, TxResponse};
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::obi::{CALLDATA_SCHEMA, RESULT_V1_SCHEMA, ResultV1};
use windlass_vrf_protocol::oracle_result::store_key;
use windlass_vrf_protocol::proof::Proof;
use windlass_vrf_protocol::tx::{BandAddress, MessageType, RequestDataMsg, SignInput, decode, sign};

/// Target, name, bytes.
type Seed = (&'static str, String, Vec<u8>);

fn proofs(block: &Block) -> Vec<Seed> {
    let mut seeds = vec![
        ("proof", "single".into(), block.proof(1000).encode().to_vec()),
        ("proof", "multi".into(), block.multi_proof().encode().to_vec()),
        ("proof", "count".into(), block.count_proof().encode().to_vec()),
    ];
    let mut damaged: Vec<(&str, Proof)> = Vec::new();
    let mut change = |name, change: &dyn Fn(&mut Proof)| {
        let mut proof = block.proof(1001);
        change(&mut proof);
        damaged.push((name, proof));
    };
    change("no-signature", &|proof| proof.relay.signatures.clear());
    change("order", &|proof| proof.relay.signatures.reverse());
    change("short-path", &|proof| proof.verify.path.truncate(1));
    change("prefix", &|proof| proof.relay.common.prefix = vec![0; 16].into());
    change("height", &|proof| proof.relay.merkle_parts.height = 0);
    change("nobody", &|proof| proof.relay.signatures[0].v = 1);
    seeds.extend(damaged.into_iter().map(|(name, proof)| ("proof", name.into(), proof.encode().to_vec())));
    let v2 = Setup { layout: Layout::V2, ..Setup::fuzzed() }.build();
    seeds.push(("proof", "v2".into(), v2.proof(1000).encode().to_vec()));
    seeds
}

fn store_proofs(block: &Block) -> Vec<Seed> {
    let existence = block.tree.prove(&store_key(1000)).unwrap();
    let ops = to_ops(&store_key(1000), &result(1000).encode(), &existence, &block.multi_store, Layout::V3);
    let mut seeds: Vec<Seed> = ops.iter().map(|op| ("ics23", op.r#type.replace(':', "-"), op.data.clone())).collect();
    seeds.push(("ics23", "ops".into(), ProofOps { ops }.encode_to_vec()));
    seeds
}

fn obi() -> Vec<Seed> {
    let of = |name: &str, schema: &str, bytes: &[u8]| ("obi", name.to_owned(), [schema.as_bytes(), &[0], bytes].concat());
    let v1 = ResultV1 { proof: vec![7; 80].into(), result: vec![8; 64].into() };
    vec![
        of("calldata", CALLDATA_SCHEMA, &result(1000).calldata),
        of("result-v1", RESULT_V1_SCHEMA, &v1.encode()),
        of("result-v2", "{result:[u8]}", &result(1000).result),
        of("nested", "{a:u8,b:[string],c:{d:bool,e:[i256;2]},f:bytes}", &[4, 0, 0, 0, 1, 0, 0, 0, 1, b'x', 1]),
        of("lists", "[[u16]]", &[0, 0, 0, 2, 0, 0, 0, 1, 0, 9, 0, 0, 0, 0]),
    ]
}

fn transactions(block: &Block) -> Vec<Seed> {
    let key = &block.keys[0];
    let message = MsgRequestData {
        oracle_script_id: 152,
        calldata: result(1000).calldata.to_vec(),
        ask_count: 16,
        min_count: 10,
        client_id: "vrf_worker".into(),
        fee_limit: vec![Coin { denom: "uband".into(), amount: "48".into() }],
        prepare_gas: 100_000,
        execute_gas: 400_000,
        sender: BandAddress::of_key(key.verifying_key()).to_string(),
        tss_encoder: 0,
    };
    let message = RequestDataMsg { version: MessageType::V3, message };
    let input = SignInput {
        messages: vec![message.clone(), message],
        memo: "memo".into(),
        fee: 2000,
        denom: "uband".into(),
        gas_limit: 800_000,
        sequence: 3,
        account_number: 7,
        chain_id: "bandchain-sim".into(),
    };
    let signed = sign(key, &input).unwrap();
    assert!(decode(&signed.bytes).unwrap().verify("bandchain-sim", 7));
    let log = r#"[{"msg_index":0,"events":[{"type":"request","attributes":[{"key":"id","value":"41"}]}]}]"#;
    vec![
        ("band_tx", "signed".into(), signed.bytes.to_vec()),
        ("band_tx", "price".into(), b"0.0025".to_vec()),
        ("band_tx", "exponent".into(), b"25e-4".to_vec()),
        ("band_tx", "log".into(), log.as_bytes().to_vec()),
        ("band_tx", "address".into(), BandAddress::of_key(key.verifying_key()).to_string().into_bytes()),
    ]
}

fn messages(block: &Block) -> Vec<Seed> {
    let of = |kind: u8, name: &str, bytes: Vec<u8>| ("messages", name.to_owned(), [vec![kind], bytes].concat());
    let stored = StoredResult::from(&result(1000));
    let proof = SingleProof {
        block_height: 51,
        oracle_data_proof: Some(OracleDataProof { result: Some(stored.clone()), version: 50, merkle_paths: Vec::new() }),
        block_relay_proof: None,
    };
    let proof = SingleProofResult { proof: Some(proof), evm_proof_bytes: block.proof(1000).encode().0 };
    let header = tendermint::Header::from(&block.header);
    let full = tendermint::Block { header: Some(header), last_commit: Some(block.commit.clone()), ..Default::default() };
    let events = vec![event("request", [("id", "41")]), event("resolve", [("id", "41"), ("resolve_status", "1")])];
    let transaction = TxResponse { height: 50, events, ..TxResponse::default() };
    vec![
        of(3, "request", QueryRequestResponse { result: Some(stored.clone()), ..Default::default() }.encode_to_vec()),
        of(5, "proof", ProofResponse { height: 51, result: Some(proof) }.encode_to_vec()),
        of(13, "block", GetLatestBlockResponse { block: Some(full), ..Default::default() }.encode_to_vec()),
        of(14, "transaction", GetTxResponse { tx: None, tx_response: Some(transaction) }.encode_to_vec()),
        of(15, "stored", stored.encode_to_vec()),
    ]
}

#[test]
fn the_corpus_can_be_made() {
    let block = Setup::fuzzed().build();
    let seeds = [proofs(&block), store_proofs(&block), obi(), transactions(&block), messages(&block)].concat();
    assert!(seeds.iter().all(|(_, _, bytes)| !bytes.is_empty()));
    let Some(folder) = std::env::var_os("WINDLASS_FUZZ_CORPUS").map(PathBuf::from) else {
        return;
    };
    for (target, name, bytes) in seeds {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}
