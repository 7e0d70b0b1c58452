//! Recorded events of provider and consumer: their bytes, and the values in them by name.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolEvent;
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use windlass_chain::Log;
use windlass_contracts::vrf::{VRFConsumer, VRFProviderV1};

use super::super::{bytes, same};
use super::common::{Number, address, hash};

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordedEvent {
    event: String,
    args: BTreeMap<String, Value>,
    raw: Raw,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Raw {
    topics: Vec<String>,
    data: String,
}

/// A value in an event.
#[derive(Debug)]
enum Argument {
    Number(U256),
    Word(B256),
    Account(Address),
    Text(String),
}

/// Compares the logs of a transaction with the record, in order.
pub(crate) fn check(ours: &[Log], recorded: &[RecordedEvent]) -> anyhow::Result<()> {
    same("number of events", ours.len(), recorded.len())?;
    for (ours, recorded) in ours.iter().zip(recorded) {
        check_one(ours, recorded).with_context(|| recorded.event.clone())?;
    }
    Ok(())
}

fn check_one(ours: &Log, recorded: &RecordedEvent) -> anyhow::Result<()> {
    let topics = recorded.raw.topics.iter().map(|topic| hash(topic)).collect::<anyhow::Result<Vec<_>>>()?;
    same("topics", &ours.topics, &topics)?;
    same("data", &ours.data, &bytes(&recorded.raw.data)?)?;
    let (name, arguments) = arguments(ours)?;
    same("name", name, recorded.event.as_str())?;
    same("number of arguments", arguments.len(), recorded.args.len())?;
    for (name, ours) in arguments {
        let recorded = recorded.args.get(name).with_context(|| format!("{name} is not recorded"))?;
        ours.check(recorded).with_context(|| name.to_owned())?;
    }
    Ok(())
}

impl Argument {
    fn check(&self, recorded: &Value) -> anyhow::Result<()> {
        let text = || recorded.as_str().with_context(|| format!("{recorded} is no text"));
        match self {
            Self::Number(ours) => same("value", *ours, Number::deserialize(recorded)?.unsigned()?),
            Self::Word(ours) => same("value", *ours, hash(text()?)?),
            Self::Account(ours) => same("value", *ours, address(text()?)?),
            Self::Text(ours) => same("value", ours.as_str(), text()?),
        }
    }
}

/// Name and values of an event of provider or consumer.
fn arguments(log: &Log) -> anyhow::Result<(&'static str, Vec<(&'static str, Argument)>)> {
    use Argument::{Account, Number, Text, Word};
    let data = log.to_log_data().context("more than four topics")?;
    let topic = log.topics.first().context("an event without a name")?;
    let uint = |value: u64| Number(U256::from(value));
    Ok(match *topic {
        VRFProviderV1::RandomDataRequested::SIGNATURE_HASH => {
            let event = VRFProviderV1::RandomDataRequested::decode_log_data_validate(&data)?;
            let arguments = vec![
                ("time", uint(event.time)),
                ("nonce", uint(event.nonce)),
                ("caller", Account(event.caller)),
                ("blockHash", Word(event.blockHash)),
                ("seed", Word(event.seed)),
                ("chainID", Number(event.chainID)),
                ("taskFee", Number(event.taskFee)),
                ("clientSeed", Text(event.clientSeed)),
            ];
            ("RandomDataRequested", arguments)
        }
        VRFProviderV1::RandomDataRelayed::SIGNATURE_HASH => {
            let event = VRFProviderV1::RandomDataRelayed::decode_log_data_validate(&data)?;
            let arguments = vec![
                ("time", uint(event.time)),
                ("bandRequestID", uint(event.bandRequestID)),
                ("to", Account(event.to)),
                ("resultHash", Word(event.resultHash)),
                ("seed", Word(event.seed)),
                ("clientSeed", Text(event.clientSeed)),
            ];
            ("RandomDataRelayed", arguments)
        }
        VRFConsumer::RandomDataRequested::SIGNATURE_HASH => {
            let event = VRFConsumer::RandomDataRequested::decode_log_data_validate(&data)?;
            let arguments =
                vec![("provider", Account(event.provider)), ("seed", Text(event.seed)), ("bounty", Number(event.bounty))];
            ("RandomDataRequested", arguments)
        }
        VRFConsumer::Consume::SIGNATURE_HASH => {
            let event = VRFConsumer::Consume::decode_log_data_validate(&data)?;
            ("Consume", vec![("seed", Text(event.seed)), ("time", uint(event.time)), ("result", Word(event.result))])
        }
        _ => owner_arguments(&data)?,
    })
}

/// Events of what an owner does.
fn owner_arguments(data: &alloy_primitives::LogData) -> anyhow::Result<(&'static str, Vec<(&'static str, Argument)>)> {
    use Argument::{Account, Number};
    let topic = data.topics().first().copied().unwrap_or_default();
    Ok(match topic {
        VRFProviderV1::SetBridge::SIGNATURE_HASH => {
            let event = VRFProviderV1::SetBridge::decode_log_data_validate(data)?;
            ("SetBridge", vec![("newBridge", Account(event.newBridge))])
        }
        VRFProviderV1::SetOracleScriptID::SIGNATURE_HASH => {
            let event = VRFProviderV1::SetOracleScriptID::decode_log_data_validate(data)?;
            ("SetOracleScriptID", vec![("newOID", Number(U256::from(event.newOID)))])
        }
        VRFProviderV1::SetMinimumFee::SIGNATURE_HASH => {
            let event = VRFProviderV1::SetMinimumFee::decode_log_data_validate(data)?;
            ("SetMinimumFee", vec![("newMinimumFee", Number(event.newMinimumFee))])
        }
        VRFProviderV1::SetMinCount::SIGNATURE_HASH => {
            let event = VRFProviderV1::SetMinCount::decode_log_data_validate(data)?;
            ("SetMinCount", vec![("newMinCount", Number(U256::from(event.newMinCount)))])
        }
        VRFProviderV1::SetAskCount::SIGNATURE_HASH => {
            let event = VRFProviderV1::SetAskCount::decode_log_data_validate(data)?;
            ("SetAskCount", vec![("newAskCount", Number(U256::from(event.newAskCount)))])
        }
        VRFProviderV1::OwnershipTransferred::SIGNATURE_HASH => {
            let event = VRFProviderV1::OwnershipTransferred::decode_log_data_validate(data)?;
            let arguments = vec![("previousOwner", Account(event.previousOwner)), ("newOwner", Account(event.newOwner))];
            ("OwnershipTransferred", arguments)
        }
        other => bail!("the event {other} is not known"),
    })
}

/// The logs of one contract, in order.
pub(crate) fn of(logs: &[Log], contract: Address) -> Vec<Log> {
    logs.iter().filter(|log| log.address == contract).cloned().collect()
}

/// Words of storage that hold a byte string: the slot itself and, if it is long, those that follow from it.
pub(crate) fn string_in_storage(slot: U256, content: &[u8]) -> anyhow::Result<Vec<(U256, U256)>> {
    let length = U256::from(content.len());
    if content.len() < 32 {
        let mut word = [0; 32];
        word.get_mut(..content.len()).context("a short string")?.copy_from_slice(content);
        return Ok(vec![(slot, U256::from_be_bytes(word) | (length << 1))]);
    }
    ensure!(content.len() < 1 << 20, "a string of {} bytes", content.len());
    let first = U256::from_be_bytes(alloy_primitives::keccak256(slot.to_be_bytes::<32>()).0);
    let mut words = vec![(slot, (length << 1) | U256::from(1))];
    for (index, chunk) in content.chunks(32).enumerate() {
        let mut word = [0; 32];
        word.get_mut(..chunk.len()).context("a chunk")?.copy_from_slice(chunk);
        words.push((first.wrapping_add(U256::from(index)), U256::from_be_bytes(word)));
    }
    Ok(words)
}

/// The slot of a value in a mapping.
pub(crate) fn mapped(key: B256, slot: U256) -> U256 {
    let preimage = [key.as_slice(), &slot.to_be_bytes::<32>()].concat();
    U256::from_be_bytes(alloy_primitives::keccak256(preimage).0)
}

/// The slot of a value in a mapping from texts or bytes.
pub(crate) fn mapped_string(key: &[u8], slot: U256) -> U256 {
    let preimage = Bytes::from([key, &slot.to_be_bytes::<32>()].concat());
    U256::from_be_bytes(alloy_primitives::keccak256(preimage).0)
}
