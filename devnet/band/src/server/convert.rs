//! From the chain's types to the messages of the Cosmos SDK, CometBFT and BandChain.

use alloy_primitives::U256;
use jiff::Timestamp as Time;
use windlass_vrf_protocol::iavl::MerklePath;
use windlass_vrf_protocol::messages::{Any, oracle, proof, tendermint, tx};
use windlass_vrf_protocol::proof::{CountVerifyPart, RelayPart, VerifyPart};
use windlass_vrf_protocol::tx::{BandAddress, PUB_KEY_TYPE_URL};

use prost::Message;
use prost::bytes::Bytes;

use crate::chain::{Block, CheckAnswer, IncludedTx, OracleRequest, RequestState, ServedProof};
use crate::validators::Validator;

/// Type URL of a transaction in a `TxResponse`.
const TX_TYPE_URL: &str = "/cosmos.tx.v1beta1.Tx";

pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn low_bits(value: U256) -> u64 {
    value.wrapping_to()
}

/// RFC 3339 with as many digits after the point as are needed, as Go writes it.
pub(crate) fn rfc3339(second: u64, nano: u32) -> String {
    let time = Time::new(signed(second), nano.try_into().unwrap_or_default());
    time.map(|time| time.to_string()).unwrap_or_default()
}

pub(crate) fn rfc3339_ms(time_ms: u64) -> String {
    rfc3339(time_ms / 1_000, (time_ms % 1_000 * 1_000_000) as u32)
}

pub(crate) fn block_id(block: &Block) -> tendermint::BlockId {
    let header = tendermint::PartSetHeader { total: crate::chain::PARTS_TOTAL, hash: block.parts_hash().to_vec() };
    tendermint::BlockId { hash: block.hash().to_vec(), part_set_header: Some(header) }
}

/// The block without the commit of the one before: nobody asks for it in this form, and it would have to be signed.
pub(crate) fn block(block: &Block) -> tendermint::Block {
    let txs = block.transactions().iter().map(|transaction| transaction.bytes.to_vec()).collect();
    tendermint::Block {
        header: Some(block.header().into()),
        data: Some(tendermint::Data { txs }),
        ..tendermint::Block::default()
    }
}

pub(crate) fn validator(validator: &Validator) -> tendermint::Validator {
    let key = tx::PubKey { key: validator.public_key().to_vec() };
    tendermint::Validator {
        address: BandAddress(*validator.address()).to_consensus(),
        pub_key: Some(Any { type_url: PUB_KEY_TYPE_URL.to_owned(), value: key.encode_to_vec() }),
        voting_power: signed(validator.power()),
        proposer_priority: 0,
    }
}

pub(crate) fn check_response(answer: CheckAnswer) -> tx::TxResponse {
    let CheckAnswer { hash, code, codespace, raw_log } = answer;
    tx::TxResponse { txhash: hash, code, codespace, raw_log, ..tx::TxResponse::default() }
}

pub(crate) fn tx_response(transaction: &IncludedTx) -> tx::TxResponse {
    tx::TxResponse {
        height: signed(transaction.height),
        txhash: transaction.hash_text(),
        codespace: transaction.codespace.clone(),
        code: transaction.code,
        raw_log: transaction.raw_log.clone(),
        gas_wanted: signed(transaction.gas_wanted),
        gas_used: signed(transaction.gas_used),
        // Encoded the same, except that body and signers are bytes there.
        tx: Some(Any { type_url: TX_TYPE_URL.to_owned(), value: transaction.bytes.to_vec() }),
        timestamp: rfc3339_ms(transaction.time_ms / 1_000 * 1_000),
        events: transaction.events.clone(),
        ..tx::TxResponse::default()
    }
}

fn merkle_path(step: &MerklePath) -> proof::IavlMerklePath {
    proof::IavlMerklePath {
        is_data_on_right: step.is_data_on_right,
        subtree_height: step.subtree_height.into(),
        subtree_size: low_bits(step.subtree_size),
        subtree_version: low_bits(step.subtree_version),
        sibling_hash: step.sibling_hash.to_vec(),
    }
}

pub(crate) fn oracle_data(part: &VerifyPart) -> proof::OracleDataProof {
    proof::OracleDataProof {
        result: Some((&part.result).into()),
        version: low_bits(part.version),
        merkle_paths: part.path.iter().map(merkle_path).collect(),
    }
}

pub(crate) fn block_relay(relay: &RelayPart) -> proof::BlockRelayProof {
    let [oracle, a, b, c, d, e] = relay.multi_store.0.map(|hash| hash.to_vec());
    let parts = &relay.merkle_parts;
    let signature = |signature: &windlass_vrf_protocol::signature::TmSignature| proof::TmSignature {
        r: signature.r.to_vec(),
        s: signature.s.to_vec(),
        v: signature.v.into(),
        encoded_timestamp: signature.encoded_timestamp.to_vec(),
    };
    proof::BlockRelayProof {
        multi_store_proof: Some(proof::MultiStoreProof {
            oracle_iavl_state_hash: oracle,
            mint_store_merkle_hash: a,
            params_to_restake_stores_merkle_hash: b,
            rollingseed_to_transfer_stores_merkle_hash: c,
            tss_to_upgrade_stores_merkle_hash: d,
            auth_to_icahost_stores_merkle_hash: e,
        }),
        block_header_merkle_parts: Some(proof::BlockHeaderMerkleParts {
            version_and_chain_id_hash: parts.version_and_chain_id_hash.to_vec(),
            height: parts.height,
            time_second: parts.time_second,
            time_nano_second: parts.time_nano_second,
            last_block_id_and_other: parts.last_block_id_and_other.to_vec(),
            next_validator_hash_and_consensus_hash: parts.next_validator_hash_and_consensus_hash.to_vec(),
            last_results_hash: parts.last_results_hash.to_vec(),
            evidence_and_proposer_hash: parts.evidence_and_proposer_hash.to_vec(),
        }),
        common_encoded_vote_part: Some(proof::CommonEncodedVotePart {
            signed_data_prefix: relay.common.prefix.to_vec(),
            signed_data_suffix: relay.common.suffix.to_vec(),
        }),
        signatures: relay.signatures.iter().map(signature).collect(),
    }
}

pub(crate) fn single_proof(served: ServedProof<VerifyPart>) -> proof::ProofResponse {
    let proof = proof::SingleProof {
        block_height: served.block_height,
        oracle_data_proof: Some(oracle_data(&served.verify)),
        block_relay_proof: Some(block_relay(&served.relay)),
    };
    let evm_proof_bytes = Bytes::from(served.evm_proof_bytes);
    let result = Some(proof::SingleProofResult { proof: Some(proof), evm_proof_bytes });
    proof::ProofResponse { height: signed(served.block_height), result }
}

/// The real service answers height 0 here, because it never fills the field in.
pub(crate) fn multi_proof(served: ServedProof<Vec<VerifyPart>>) -> proof::MultiProofResponse {
    let proof = proof::MultiProof {
        block_height: served.block_height,
        oracle_data_multi_proof: served.verify.iter().map(oracle_data).collect(),
        block_relay_proof: Some(block_relay(&served.relay)),
    };
    let evm_proof_bytes = Bytes::from(served.evm_proof_bytes);
    proof::MultiProofResponse { height: 0, result: Some(proof::MultiProofResult { proof: Some(proof), evm_proof_bytes }) }
}

/// As [`multi_proof`], with height 0.
pub(crate) fn count_proof(served: ServedProof<CountVerifyPart>) -> proof::RequestCountProofResponse {
    let proof = proof::CountProof {
        block_height: served.block_height,
        count_proof: Some(proof::RequestsCountProof {
            count: low_bits(served.verify.count),
            version: low_bits(served.verify.version),
            merkle_paths: served.verify.path.iter().map(merkle_path).collect(),
        }),
        block_relay_proof: Some(block_relay(&served.relay)),
    };
    let evm_proof_bytes = Bytes::from(served.evm_proof_bytes);
    proof::RequestCountProofResponse { height: 0, result: Some(proof::CountProofResult { proof: Some(proof), evm_proof_bytes }) }
}

pub(crate) fn request_state(state: &RequestState) -> oracle::QueryRequestResponse {
    oracle::QueryRequestResponse {
        request: state.request.as_ref().map(request),
        reports: Vec::new(),
        result: state.result.as_ref().map(Into::into),
        signing: None,
    }
}

fn request(request: &OracleRequest) -> oracle::Request {
    let message = &request.message;
    oracle::Request {
        oracle_script_id: message.oracle_script_id,
        calldata: message.calldata.clone(),
        requested_validators: request.validators.clone(),
        min_count: message.min_count,
        request_height: signed(request.height),
        request_time: signed(request.time),
        client_id: message.client_id.clone(),
        raw_requests: vec![oracle::RawRequest {
            external_id: 1,
            data_source_id: crate::chain::DATA_SOURCE_ID,
            calldata: request.raw_calldata.clone().into_bytes(),
        }],
        ibc_channel: None,
        execute_gas: message.execute_gas,
        tss_encoder: message.tss_encoder,
        requester: message.sender.clone(),
        fee_limit: message.fee_limit.clone(),
    }
}
