//! `obi`: calldata and results with the contracts' reasons, and generic schemas.

use alloy_primitives::{Bytes, U256, keccak256};
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::Value as Json;
use windlass_vrf_protocol::obi::{Calldata, ResultV1, ResultV2, Schema, Value};

use super::super::{bytes, same};
use super::common::{Number, Outcome, address, document, hash};
use crate::{Deviation, Sheet};

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Case {
    Calldata {
        note: Option<String>,
        seed: String,
        time: Number,
        worker: String,
        encoded: String,
        contract_decode: Outcome,
    },
    CalldataInvalid {
        note: Option<String>,
        encoded: String,
        contract_decode: Outcome,
    },
    ResultV1 {
        note: Option<String>,
        proof: String,
        result: String,
        encoded: String,
        contract_decode_fields: Option<Vec<String>>,
        contract_decode: Outcome,
    },
    ResultV1Invalid {
        note: Option<String>,
        encoded: String,
        contract_decode_fields: Option<Vec<String>>,
        contract_decode: Outcome,
    },
    ResultV2 {
        note: Option<String>,
        result: String,
        encoded: String,
        contract_decode: Outcome,
    },
    ResultV2Invalid {
        note: Option<String>,
        encoded: String,
        contract_decode: Outcome,
    },
    Generic {
        note: Option<String>,
        schema: String,
        value: Json,
        encoded: String,
    },
}

/// Checks the document.
pub(crate) fn run(json: Json, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document = document::<Case>(json, "obi")?;
    for (number, case) in document.cases.iter().enumerate() {
        let name = format!("{number} {}", describe(case));
        let result = check(case, &name).map(|deviation| sheet.deviations.extend(deviation));
        sheet.case(&name, result);
    }
    Ok(())
}

fn describe(case: &Case) -> String {
    let (kind, note) = match case {
        Case::Calldata { note, .. } => ("calldata", note),
        Case::CalldataInvalid { note, .. } => ("calldata_invalid", note),
        Case::ResultV1 { note, .. } => ("result_v1", note),
        Case::ResultV1Invalid { note, .. } => ("result_v1_invalid", note),
        Case::ResultV2 { note, .. } => ("result_v2", note),
        Case::ResultV2Invalid { note, .. } => ("result_v2_invalid", note),
        Case::Generic { note, schema, .. } => (schema.as_str(), note),
    };
    format!("{kind} {}", note.as_deref().unwrap_or_default())
}

fn check(case: &Case, name: &str) -> anyhow::Result<Option<Deviation>> {
    if let Case::Generic { schema, value, encoded, .. } = case {
        return check_generic(name, schema, value, &bytes(encoded)?);
    }
    check_fixed(case).map(|()| None)
}

/// Values of any schema. The original writes the number of characters before a text where the protocol wants the number of
/// bytes; both are the same for ASCII.
fn check_generic(name: &str, schema: &str, value: &Json, recorded: &Bytes) -> anyhow::Result<Option<Deviation>> {
    let schema = Schema::parse(schema)?;
    let value = read_value(&schema, value)?;
    let ours = Bytes::from(schema.encode(&value)?);
    same("decoding", plain(schema.decode(&ours)?), plain(value.clone()))?;
    let counted = Bytes::from(with_counted_characters(&schema, &value)?);
    same("encoding", &counted, recorded)?;
    let deviation = Deviation {
        case: name.to_owned(),
        recorded: recorded.to_string(),
        ours: ours.to_string(),
        section: "4.6: the length of a text is that of its bytes",
    };
    Ok((ours != counted).then_some(deviation))
}

/// The encoding with the number of characters before each text.
fn with_counted_characters(schema: &Schema, value: &Value) -> anyhow::Result<Vec<u8>> {
    let joined = |items: &mut dyn Iterator<Item = anyhow::Result<Vec<u8>>>| items.collect::<anyhow::Result<Vec<_>>>();
    Ok(match (schema, value) {
        (Schema::String, Value::String(text)) => {
            let length = u32::try_from(text.chars().count())?;
            [&length.to_be_bytes(), text.as_bytes()].concat()
        }
        (Schema::List(item), Value::List(items)) => {
            let encoded = joined(&mut items.iter().map(|value| with_counted_characters(item, value)))?;
            [&u32::try_from(items.len())?.to_be_bytes()[..], &encoded.concat()].concat()
        }
        (Schema::Array(item, _), Value::List(items)) => {
            joined(&mut items.iter().map(|value| with_counted_characters(item, value)))?.concat()
        }
        (Schema::Struct(fields), Value::Struct(values)) => {
            let pairs = fields.iter().zip(values);
            joined(&mut pairs.map(|((_, field), (_, value))| with_counted_characters(field, value)))?.concat()
        }
        _ => schema.encode(value)?,
    })
}

fn check_fixed(case: &Case) -> anyhow::Result<()> {
    match case {
        Case::Calldata { seed, time, worker, encoded, contract_decode, .. } => {
            let calldata = Calldata { seed: hash(seed)?, time: time.u64()?, worker: address(worker)? };
            let recorded = bytes(encoded)?;
            same("encoding", Bytes::copy_from_slice(&calldata.encode()), recorded.clone())?;
            ensure!(contract_decode.succeeded(), "the contract refuses the encoding");
            check_calldata(&recorded, contract_decode)
        }
        Case::CalldataInvalid { encoded, contract_decode, .. } => check_calldata(&bytes(encoded)?, contract_decode),
        Case::ResultV1 { proof, result, encoded, contract_decode_fields, contract_decode, .. } => {
            let value = ResultV1 { proof: bytes(proof)?, result: bytes(result)? };
            same("encoding", Bytes::from(value.encode()), bytes(encoded)?)?;
            ensure!(contract_decode.succeeded(), "the contract refuses the encoding");
            check_v1(encoded, contract_decode_fields.as_deref(), contract_decode)
        }
        Case::ResultV1Invalid { encoded, contract_decode_fields, contract_decode, .. } => {
            check_v1(encoded, contract_decode_fields.as_deref(), contract_decode)
        }
        Case::ResultV2 { result, encoded, contract_decode, .. } => {
            same("encoding", Bytes::from(ResultV2 { result: bytes(result)? }.encode()), bytes(encoded)?)?;
            ensure!(contract_decode.succeeded(), "the contract refuses the encoding");
            contract_decode.check_bytes(ResultV2::decode(&bytes(encoded)?).map(|value| value.word()))
        }
        Case::ResultV2Invalid { encoded, contract_decode, .. } => {
            contract_decode.check_bytes(ResultV2::decode(&bytes(encoded)?).map(|value| value.word()))
        }
        Case::Generic { .. } => Ok(()),
    }
}

/// The contract gives time, worker and seed.
fn check_calldata(encoded: &[u8], outcome: &Outcome) -> anyhow::Result<()> {
    outcome.check(Calldata::decode(encoded), |ours, recorded| {
        let (time, worker, seed) = <(Number, String, String)>::deserialize(recorded)?;
        same("time", ours.time, time.u64()?)?;
        same("worker", ours.worker, address(&worker)?)?;
        same("seed", ours.seed, hash(&seed)?)
    })
}

fn check_v1(encoded: &str, fields: Option<&[String]>, outcome: &Outcome) -> anyhow::Result<()> {
    let order = ["proof", "result", "keccak256(result)"];
    ensure!(fields.is_none_or(|fields| *fields == order), "the fields {fields:?} are not the known ones");
    outcome.check(ResultV1::decode(&bytes(encoded)?), |ours, recorded| {
        let (proof, result, hashed) = <(String, String, String)>::deserialize(recorded)?;
        same("hash", ours.hash(), hash(&hashed)?)?;
        same("hash of the recorded result", keccak256(&ours.result), hash(&hashed)?)?;
        same("proof", ours.proof, bytes(&proof)?)?;
        same("result", ours.result, bytes(&result)?)
    })
}

/// A value of a schema in JSON. Bytes are hex, also where the schema says `[u8]`.
fn read_value(schema: &Schema, json: &Json) -> anyhow::Result<Value> {
    Ok(match (schema, json) {
        (Schema::Unsigned(_), _) => Value::Unsigned(Number::deserialize(json)?.unsigned()?),
        (Schema::Signed(_), _) => Value::Signed(Number::deserialize(json)?.signed()?),
        (Schema::Bool, Json::Bool(flag)) => Value::Bool(*flag),
        (Schema::String, Json::String(text)) => Value::String(text.clone()),
        (Schema::Bytes | Schema::List(_) | Schema::Array(_, _), Json::String(text)) => Value::Bytes(bytes(text)?),
        (Schema::List(item) | Schema::Array(item, _), Json::Array(items)) => {
            Value::List(items.iter().map(|json| read_value(item, json)).collect::<anyhow::Result<_>>()?)
        }
        (Schema::Struct(fields), Json::Object(members)) => {
            ensure!(fields.len() == members.len(), "the value has {} fields, the schema {}", members.len(), fields.len());
            let read = fields.iter().map(|(name, field)| {
                let json = members.get(name).with_context(|| format!("there is no field {name}"))?;
                Ok((name.clone(), read_value(field, json)?))
            });
            Value::Struct(read.collect::<anyhow::Result<_>>()?)
        }
        _ => bail!("{json} is no value of {schema}"),
    })
}

/// Bytes of a list are its items.
fn plain(value: Value) -> Value {
    match value {
        Value::Bytes(bytes) => Value::List(bytes.iter().map(|byte| Value::Unsigned(U256::from(*byte))).collect()),
        Value::List(items) => Value::List(items.into_iter().map(plain).collect()),
        Value::Struct(fields) => Value::Struct(fields.into_iter().map(|(name, value)| (name, plain(value))).collect()),
        other => other,
    }
}
