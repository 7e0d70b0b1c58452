//! JSON as the REST gateway and CometBFT RPC spell it: 64-bit integers are strings, hashes upper-case hex, other bytes base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use windlass_vrf_protocol::messages::oracle::ResolveStatus;
use windlass_vrf_protocol::messages::tendermint::AbciQueryResponse;
use windlass_vrf_protocol::messages::{oracle, proof, tx};
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::tx::{BandAddress, PUB_KEY_TYPE_URL};

use super::convert::{rfc3339, rfc3339_ms};
use crate::chain::{Block, IncludedTx, PARTS_TOTAL};
use crate::validators::Validator;

pub(super) fn hex(bytes: impl AsRef<[u8]>) -> String {
    hex::encode_upper(bytes)
}

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

fn number(value: impl ToString) -> String {
    value.to_string()
}

/// Attributes are base64 in RPC answers of chains before CometBFT 0.37, that is of chain v2.
pub(super) fn events(events: &[tx::Event], layout: Layout) -> Vec<Value> {
    let text = |text: &str| if layout == Layout::V2 { base64(text) } else { text.to_owned() };
    let attribute = |a: &tx::EventAttribute| json!({ "key": text(&a.key), "value": text(&a.value), "index": a.index });
    let event = |event: &tx::Event| json!({ "type": event.r#type, "attributes": event.attributes.iter().map(attribute).collect::<Vec<_>>() });
    events.iter().map(event).collect()
}

fn block_id(id: &windlass_vrf_protocol::header::BlockId) -> Value {
    json!({ "hash": hex(&id.hash), "parts": { "total": id.parts_total, "hash": hex(&id.parts_hash) } })
}

pub(super) fn header(block: &Block) -> Value {
    let header = block.header();
    let mut version = json!({ "block": number(header.version_block) });
    if let (Some(version), 1..) = (version.as_object_mut(), header.version_app) {
        version.insert("app".to_owned(), number(header.version_app).into());
    }
    json!({
        "version": version,
        "chain_id": header.chain_id,
        "height": number(header.height),
        "time": rfc3339(header.time_second, header.time_nano),
        "last_block_id": block_id(&header.last_block_id),
        "last_commit_hash": hex(&header.last_commit_hash),
        "data_hash": hex(&header.data_hash),
        "validators_hash": hex(&header.validators_hash),
        "next_validators_hash": hex(&header.next_validators_hash),
        "consensus_hash": hex(&header.consensus_hash),
        "app_hash": hex(&header.app_hash),
        "last_results_hash": hex(&header.last_results_hash),
        "evidence_hash": hex(&header.evidence_hash),
        "proposer_address": hex(&header.proposer_address),
    })
}

fn own_id(block: &Block) -> Value {
    json!({ "hash": hex(block.hash()), "parts": { "total": PARTS_TOTAL, "hash": hex(block.parts_hash()) } })
}

/// A block. The signatures of the block before are left out: they are only made for who asks for that commit.
pub(super) fn block(block: &Block) -> Value {
    let header_of = block.header();
    let txs: Vec<_> = block.transactions().iter().map(|transaction| base64(&transaction.bytes)).collect();
    let last_commit = json!({
        "height": number(header_of.height.saturating_sub(1)),
        "round": 0,
        "block_id": block_id(&header_of.last_block_id),
        "signatures": [],
    });
    json!({
        "block_id": own_id(block),
        "block": {
            "header": header(block),
            "data": { "txs": txs },
            "evidence": { "evidence": [] },
            "last_commit": last_commit,
        },
    })
}

pub(super) fn commit(block: &Block, canonical: bool) -> Value {
    let commit = block.commit();
    let vote = |vote: &crate::chain::Vote| match &vote.signature {
        Some(signature) => json!({
            "block_id_flag": 2,
            "validator_address": hex(vote.address),
            "timestamp": rfc3339(vote.time.0, vote.time.1),
            "signature": base64([signature.r.as_slice(), signature.s.as_slice()].concat()),
        }),
        None => {
            json!({ "block_id_flag": 1, "validator_address": "", "timestamp": "0001-01-01T00:00:00Z", "signature": null })
        }
    };
    json!({
        "signed_header": {
            "header": header(block),
            "commit": {
                "height": number(block.header().height),
                "round": block.round(),
                "block_id": own_id(block),
                "signatures": commit.votes.iter().map(vote).collect::<Vec<_>>(),
            },
        },
        "canonical": canonical,
    })
}

pub(super) fn validator(validator: &Validator) -> Value {
    json!({
        "address": hex(validator.address()),
        "pub_key": { "type": "tendermint/PubKeySecp256k1", "value": base64(validator.public_key()) },
        "voting_power": number(validator.power()),
        "proposer_priority": "0",
    })
}

pub(super) fn tx_result(transaction: &IncludedTx, layout: Layout) -> Value {
    json!({
        "code": transaction.code,
        "data": null,
        "log": transaction.raw_log,
        "info": "",
        "gas_wanted": number(transaction.gas_wanted),
        "gas_used": number(transaction.gas_used),
        "events": events(&transaction.events, layout),
        "codespace": transaction.codespace,
    })
}

pub(super) fn transaction(transaction: &IncludedTx, layout: Layout) -> Value {
    json!({
        "hash": transaction.hash_text(),
        "height": number(transaction.height),
        "index": transaction.index,
        "tx_result": tx_result(transaction, layout),
        "tx": base64(&transaction.bytes),
    })
}

/// `events` of chain v3 are those of the whole block; before, they were split by where they came from.
pub(super) fn block_results(block: &Block) -> Value {
    let layout = block.layout();
    let results: Vec<_> = block.transactions().iter().map(|transaction| tx_result(transaction, layout)).collect();
    let results = if results.is_empty() { Value::Null } else { results.into() };
    let of_block = events(&block.resolve_events(), layout);
    let mut answer = json!({
        "height": number(block.header().height),
        "txs_results": results,
        "validator_updates": null,
        "consensus_param_updates": null,
    });
    if let Some(answer) = answer.as_object_mut() {
        match layout {
            Layout::V3 => answer.extend([("finalize_block_events".to_owned(), of_block.into())]),
            Layout::V2 => {
                answer.extend([("begin_block_events".to_owned(), Value::Null), ("end_block_events".to_owned(), of_block.into())])
            }
        }
    }
    answer
}

pub(super) fn abci_query(answer: &AbciQueryResponse) -> Value {
    let ops = answer.proof_ops.as_ref().map(|ops| {
        let ops = ops.ops.iter();
        let ops = ops.map(|op| json!({ "type": op.r#type, "key": base64(&op.key), "data": base64(&op.data) }));
        json!({ "ops": ops.collect::<Vec<_>>() })
    });
    let or_null = |bytes: &[u8]| if bytes.is_empty() { Value::Null } else { base64(bytes).into() };
    json!({ "response": {
        "code": answer.code,
        "log": answer.log,
        "info": answer.info,
        "index": number(answer.index),
        "key": or_null(&answer.key),
        "value": or_null(&answer.value),
        "proofOps": ops,
        "height": number(answer.height),
        "codespace": answer.codespace,
    } })
}

pub(super) fn tx_response(response: &tx::TxResponse) -> Value {
    let transaction = response.tx.as_ref().map(|tx| json!({ "@type": tx.type_url, "value": base64(&tx.value) }));
    json!({
        "height": number(response.height),
        "txhash": response.txhash,
        "codespace": response.codespace,
        "code": response.code,
        "data": response.data,
        "raw_log": response.raw_log,
        "logs": [],
        "info": response.info,
        "gas_wanted": number(response.gas_wanted),
        "gas_used": number(response.gas_used),
        "tx": transaction,
        "timestamp": response.timestamp,
        "events": events(&response.events, Layout::V3),
    })
}

/// Gas of a simulated transaction.
pub(super) fn simulation(wanted: u64, used: u64) -> Value {
    json!({ "gas_info": { "gas_wanted": number(wanted), "gas_used": number(used) }, "result": null })
}

/// A validator as the REST gateway spells it.
pub(super) fn rest_validator(validator: &Validator) -> Value {
    json!({
        "address": BandAddress(*validator.address()).to_consensus(),
        "pub_key": { "@type": PUB_KEY_TYPE_URL, "key": base64(validator.public_key()) },
        "voting_power": number(validator.power()),
        "proposer_priority": "0",
    })
}

/// Time of a block as transactions carry it.
pub(super) fn block_time(time_ms: u64) -> String {
    rfc3339_ms(time_ms)
}

fn merkle_paths(paths: &[proof::IavlMerklePath]) -> Vec<Value> {
    let step = |step: &proof::IavlMerklePath| {
        json!({
            "is_data_on_right": step.is_data_on_right,
            "subtree_height": step.subtree_height,
            "subtree_size": number(step.subtree_size),
            "subtree_version": number(step.subtree_version),
            "sibling_hash": hex(&step.sibling_hash),
        })
    };
    paths.iter().map(step).collect()
}

pub(super) fn result(result: &oracle::Result) -> Value {
    let status = match ResolveStatus::try_from(result.resolve_status) {
        Ok(ResolveStatus::Success) => "RESOLVE_STATUS_SUCCESS",
        Ok(ResolveStatus::Failure) => "RESOLVE_STATUS_FAILURE",
        Ok(ResolveStatus::Expired) => "RESOLVE_STATUS_EXPIRED",
        Ok(ResolveStatus::Open) | Err(_) => "RESOLVE_STATUS_OPEN_UNSPECIFIED",
    };
    json!({
        "client_id": result.client_id,
        "oracle_script_id": number(result.oracle_script_id),
        "calldata": base64(&result.calldata),
        "ask_count": number(result.ask_count),
        "min_count": number(result.min_count),
        "request_id": number(result.request_id),
        "ans_count": number(result.ans_count),
        "request_time": number(result.request_time),
        "resolve_time": number(result.resolve_time),
        "resolve_status": status,
        "result": base64(&result.result),
    })
}

fn oracle_data(data: &proof::OracleDataProof) -> Value {
    json!({
        "result": data.result.as_ref().map(result),
        "version": number(data.version),
        "merkle_paths": merkle_paths(&data.merkle_paths),
    })
}

/// Names of the six fields, which differ between the chain versions.
const fn multi_store_names(layout: Layout) -> [&'static str; 6] {
    match layout {
        Layout::V3 => [
            "oracle_iavl_state_hash",
            "mint_store_merkle_hash",
            "params_to_restake_stores_merkle_hash",
            "rollingseed_to_transfer_stores_merkle_hash",
            "tss_to_upgrade_stores_merkle_hash",
            "auth_to_icahost_stores_merkle_hash",
        ],
        Layout::V2 => [
            "oracle_iavl_state_hash",
            "params_store_merkle_hash",
            "slashing_to_staking_stores_merkle_hash",
            "gov_to_mint_stores_merkle_hash",
            "auth_to_fee_grant_stores_merkle_hash",
            "transfer_to_upgrade_stores_merkle_hash",
        ],
    }
}

fn block_relay(relay: &proof::BlockRelayProof, layout: Layout) -> Value {
    let store = relay.multi_store_proof.clone().unwrap_or_default();
    let fields = [
        store.oracle_iavl_state_hash,
        store.mint_store_merkle_hash,
        store.params_to_restake_stores_merkle_hash,
        store.rollingseed_to_transfer_stores_merkle_hash,
        store.tss_to_upgrade_stores_merkle_hash,
        store.auth_to_icahost_stores_merkle_hash,
    ];
    let names = multi_store_names(layout).into_iter();
    let store: Map<String, Value> = names.zip(fields).map(|(name, hash)| (name.to_owned(), hex(hash).into())).collect();
    let parts = relay.block_header_merkle_parts.clone().unwrap_or_default();
    let common = relay.common_encoded_vote_part.clone().unwrap_or_default();
    let signature = |signature: &proof::TmSignature| {
        json!({
            "r": hex(&signature.r),
            "s": hex(&signature.s),
            "v": signature.v,
            "encoded_timestamp": hex(&signature.encoded_timestamp),
        })
    };
    json!({
        "multi_store_proof": store,
        "block_header_merkle_parts": {
            "version_and_chain_id_hash": hex(parts.version_and_chain_id_hash),
            "height": number(parts.height),
            "time_second": number(parts.time_second),
            "time_nano_second": parts.time_nano_second,
            "last_block_id_and_other": hex(parts.last_block_id_and_other),
            "next_validator_hash_and_consensus_hash": hex(parts.next_validator_hash_and_consensus_hash),
            "last_results_hash": hex(parts.last_results_hash),
            "evidence_and_proposer_hash": hex(parts.evidence_and_proposer_hash),
        },
        "common_encoded_vote_part": {
            "signed_data_prefix": hex(common.signed_data_prefix),
            "signed_data_suffix": hex(common.signed_data_suffix),
        },
        "signatures": relay.signatures.iter().map(signature).collect::<Vec<_>>(),
    })
}

pub(super) fn single_proof(answer: &proof::ProofResponse, layout: Layout) -> Value {
    let result = answer.result.clone().unwrap_or_default();
    let proof = result.proof.unwrap_or_default();
    json!({
        "height": number(answer.height),
        "result": {
            "proof": {
                "block_height": number(proof.block_height),
                "oracle_data_proof": proof.oracle_data_proof.as_ref().map(oracle_data),
                "block_relay_proof": proof.block_relay_proof.as_ref().map(|relay| block_relay(relay, layout)),
            },
            "evm_proof_bytes": hex(&result.evm_proof_bytes),
        },
    })
}

pub(super) fn multi_proof(answer: &proof::MultiProofResponse, layout: Layout) -> Value {
    let result = answer.result.clone().unwrap_or_default();
    let proof = result.proof.unwrap_or_default();
    json!({
        "height": number(answer.height),
        "result": {
            "proof": {
                "block_height": number(proof.block_height),
                "oracle_data_multi_proof": proof.oracle_data_multi_proof.iter().map(oracle_data).collect::<Vec<_>>(),
                "block_relay_proof": proof.block_relay_proof.as_ref().map(|relay| block_relay(relay, layout)),
            },
            "evm_proof_bytes": hex(&result.evm_proof_bytes),
        },
    })
}

pub(super) fn count_proof(answer: &proof::RequestCountProofResponse, layout: Layout) -> Value {
    let result = answer.result.clone().unwrap_or_default();
    let proof = result.proof.unwrap_or_default();
    let count = proof.count_proof.as_ref().map(|count| {
        json!({
            "count": number(count.count),
            "version": number(count.version),
            "merkle_paths": merkle_paths(&count.merkle_paths),
        })
    });
    json!({
        "height": number(answer.height),
        "result": {
            "proof": {
                "block_height": number(proof.block_height),
                "count_proof": count,
                "block_relay_proof": proof.block_relay_proof.as_ref().map(|relay| block_relay(relay, layout)),
            },
            "evm_proof_bytes": hex(&result.evm_proof_bytes),
        },
    })
}
