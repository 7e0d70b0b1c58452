//! `result_codec`: stored results, their hashes and their keys.

use alloy_primitives::Bytes;
use serde::Deserialize;
use serde_json::Value;
use windlass_vrf_protocol::oracle_result::{OracleResult, store_key};

use super::super::{bytes, same};
use super::common::{Number, document, hash, status};
use crate::Sheet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    note: Option<String>,
    result: Stored,
    encoded: String,
    sha256: String,
    store_key: String,
}

/// A stored result with the names of the protocol document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    client_id: String,
    oracle_script_id: Number,
    calldata: String,
    ask_count: Number,
    min_count: Number,
    request_id: Number,
    ans_count: Number,
    request_time: Number,
    resolve_time: Number,
    resolve_status: Number,
    result: String,
}

impl Stored {
    fn read(&self) -> anyhow::Result<OracleResult> {
        Ok(OracleResult {
            client_id: self.client_id.clone().into_bytes().into(),
            oracle_script_id: self.oracle_script_id.u64()?,
            calldata: bytes(&self.calldata)?,
            ask_count: self.ask_count.u64()?,
            min_count: self.min_count.u64()?,
            request_id: self.request_id.u64()?,
            ans_count: self.ans_count.u64()?,
            request_time: self.request_time.u64()?,
            resolve_time: self.resolve_time.u64()?,
            resolve_status: status(&self.resolve_status)?,
            result: bytes(&self.result)?,
        })
    }
}

/// Checks the document.
pub(crate) fn run(json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document = document::<Case>(json, "result_codec")?;
    for (number, case) in document.cases.iter().enumerate() {
        sheet.case(&format!("{number} {}", case.note.as_deref().unwrap_or_default()), check(case));
    }
    Ok(())
}

fn check(case: &Case) -> anyhow::Result<()> {
    let (result, encoded) = (case.result.read()?, bytes(&case.encoded)?);
    same("encoding", Bytes::from(result.encode()), encoded.clone())?;
    same("hash", result.hash(), hash(&case.sha256)?)?;
    same("key", Bytes::copy_from_slice(&store_key(result.request_id)), bytes(&case.store_key)?)?;
    // The store holds times of 63 bits; the contract hashes what it is given.
    if result.request_time.max(result.resolve_time) <= i64::MAX as u64 {
        same("decoding", OracleResult::decode(&encoded)?, result)?;
    }
    Ok(())
}
