//! `utils`: varints, times and Merkle primitives of the contract's library, with its panics at zero.

use serde::Deserialize;
use serde_json::Value;
use windlass_vrf_protocol::{Refusal, merkle, varint, vote};

use super::super::bytes;
use super::common::{Number, Outcome, document, hash};
use crate::Sheet;

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Case {
    VarintUnsigned { value: Number, contract: Outcome },
    VarintSigned { value: Number, contract: Outcome },
    EncodeTime { second: Number, nanosecond: Number, contract: Outcome },
    MerkleLeaf { value: String, contract: Outcome },
    MerkleInner { left: String, right: String, contract: Outcome },
}

/// Checks the document.
pub(crate) fn run(json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document = document::<Case>(json, "utils")?;
    for (number, case) in document.cases.iter().enumerate() {
        sheet.case(&number.to_string(), check(case));
    }
    Ok(())
}

fn check(case: &Case) -> anyhow::Result<()> {
    match case {
        Case::VarintUnsigned { value, contract } => contract.check_bytes(varint::unsigned(value.unsigned()?)),
        Case::VarintSigned { value, contract } => contract.check_bytes(varint::signed(value.unsigned()?)),
        Case::EncodeTime { second, nanosecond, contract } => {
            contract.check_bytes(vote::encode_time(second.u64()?, nanosecond.u32()?))
        }
        Case::MerkleLeaf { value, contract } => contract.check_bytes(Ok::<_, Refusal>(merkle::leaf(&bytes(value)?))),
        Case::MerkleInner { left, right, contract } => {
            contract.check_bytes(Ok::<_, Refusal>(merkle::inner(&hash(left)?, &hash(right)?)))
        }
    }
}
