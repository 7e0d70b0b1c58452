//! `seed`: the provider's seeds.

use serde::Deserialize;
use serde_json::Value;
use windlass_vrf_protocol::seed::seed;

use super::super::same;
use super::common::{Number, address, document, hash};
use crate::Sheet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    time: Number,
    caller: String,
    block_hash: String,
    chain_id: Number,
    nonce: Number,
    client_seed: String,
    seed: String,
}

/// Checks the document.
pub(crate) fn run(json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document = document::<Case>(json, "seed")?;
    for (number, case) in document.cases.iter().enumerate() {
        sheet.case(&number.to_string(), check(case));
    }
    Ok(())
}

fn check(case: &Case) -> anyhow::Result<()> {
    let ours = seed(
        case.time.u64()?,
        address(&case.caller)?,
        hash(&case.block_hash)?,
        case.chain_id.unsigned()?,
        case.nonce.unsigned()?,
        case.client_seed.as_bytes(),
    );
    same("seed", ours, hash(&case.seed)?)
}
