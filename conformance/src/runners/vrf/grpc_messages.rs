//! `grpc_messages`: the protobuf bytes of every message that is exchanged with a Band node.

mod json;

use alloy_primitives::Bytes;
use anyhow::{Context, bail};
use prost::Message;
use serde::Deserialize;
use serde_json::Value;
use windlass_vrf_protocol::events::{find_request_id, request_ids};
use windlass_vrf_protocol::messages::{auth, proof, tendermint, tx};

use self::json::ToJson;
use super::super::{bytes, same};
use super::common::{Number, document};
use crate::Sheet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    message: String,
    bytes: String,
    fields: Value,
    #[serde(rename = "note")]
    _note: Option<String>,
    rpc: String,
    expected_request_id: Option<Number>,
}

/// Checks the document.
pub(crate) fn run(json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document = document::<Case>(json, "grpc_messages")?;
    for (number, case) in document.cases.iter().enumerate() {
        sheet.case(&format!("{number} {}", case.message), check(case));
    }
    Ok(())
}

fn check(case: &Case) -> anyhow::Result<()> {
    let (package, name) = case.message.rsplit_once('.').context("the message has no package")?;
    let method = match (package, name) {
        ("band.base.oracle.v1", "ProofRequest") => check_as::<proof::ProofRequest>(case, proof::path::PROOF),
        ("band.base.oracle.v1", "ProofResponse") => check_as::<proof::ProofResponse>(case, proof::path::PROOF),
        ("band.base.oracle.v1", "MultiProofRequest") => check_as::<proof::MultiProofRequest>(case, proof::path::MULTI_PROOF),
        ("band.base.oracle.v1", "MultiProofResponse") => check_as::<proof::MultiProofResponse>(case, proof::path::MULTI_PROOF),
        ("band.base.oracle.v1", "RequestCountProofRequest") => {
            check_as::<proof::RequestCountProofRequest>(case, proof::path::REQUEST_COUNT_PROOF)
        }
        ("band.base.oracle.v1", "RequestCountProofResponse") => {
            check_as::<proof::RequestCountProofResponse>(case, proof::path::REQUEST_COUNT_PROOF)
        }
        ("cosmos.auth.v1beta1", "QueryAccountInfoRequest") => {
            check_as::<auth::QueryAccountInfoRequest>(case, auth::path::ACCOUNT_INFO)
        }
        ("cosmos.auth.v1beta1", "QueryAccountInfoResponse") => {
            check_as::<auth::QueryAccountInfoResponse>(case, auth::path::ACCOUNT_INFO)
        }
        ("cosmos.base.tendermint.v1beta1", "GetLatestBlockRequest") => {
            check_as::<tendermint::GetLatestBlockRequest>(case, tendermint::path::GET_LATEST_BLOCK)
        }
        ("cosmos.base.tendermint.v1beta1", "GetLatestBlockResponse") => {
            check_as::<tendermint::GetLatestBlockResponse>(case, tendermint::path::GET_LATEST_BLOCK)
        }
        ("cosmos.base.tendermint.v1beta1", "GetBlockByHeightRequest") => {
            check_as::<tendermint::GetBlockByHeightRequest>(case, tendermint::path::GET_BLOCK_BY_HEIGHT)
        }
        ("cosmos.base.tendermint.v1beta1", "GetBlockByHeightResponse") => {
            check_as::<tendermint::GetBlockByHeightResponse>(case, tendermint::path::GET_BLOCK_BY_HEIGHT)
        }
        ("cosmos.tx.v1beta1", "BroadcastTxRequest") => check_as::<tx::BroadcastTxRequest>(case, tx::path::BROADCAST_TX),
        ("cosmos.tx.v1beta1", "BroadcastTxResponse") => check_as::<tx::BroadcastTxResponse>(case, tx::path::BROADCAST_TX),
        ("cosmos.tx.v1beta1", "GetTxRequest") => check_as::<tx::GetTxRequest>(case, tx::path::GET_TX),
        ("cosmos.tx.v1beta1", "GetTxResponse") => check_as::<tx::GetTxResponse>(case, tx::path::GET_TX),
        ("cosmos.tx.v1beta1", "SimulateRequest") => check_as::<tx::SimulateRequest>(case, tx::path::SIMULATE),
        ("cosmos.tx.v1beta1", "SimulateResponse") => check_as::<tx::SimulateResponse>(case, tx::path::SIMULATE),
        _ => bail!("the message {} is not known", case.message),
    };
    method?;
    check_request_id(case)
}

/// The bytes hold exactly the recorded fields, and encode to themselves.
fn check_as<M: Message + Default + ToJson>(case: &Case, path: &str) -> anyhow::Result<()> {
    same("method", path, case.rpc.as_str())?;
    let recorded = bytes(&case.bytes)?;
    let message = M::decode(recorded.as_ref()).context("the bytes are no such message")?;
    same("fields", &message.to_json()?, &case.fields)?;
    same("bytes", Bytes::from(message.encode_to_vec()), recorded)
}

fn check_request_id(case: &Case) -> anyhow::Result<()> {
    let Some(expected) = &case.expected_request_id else {
        return Ok(());
    };
    let answer = tx::GetTxResponse::decode(bytes(&case.bytes)?.as_ref())?;
    let answer = answer.tx_response.context("there is no transaction")?;
    same("request id", find_request_id(&answer.events)?, Some(expected.u64()?))?;
    same("first of all request ids", request_ids(&answer.events, &answer.raw_log)?.first().copied(), Some(expected.u64()?))
}
