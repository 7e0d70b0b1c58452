//! Our contracts beside the recorded ones: functions, events, and where the storage is.
//!
//! Names of types inside of the storage are nobody's affair. What counts for readers of storage is where each value lies and how it is
//! packed, so both layouts are taken apart into values of the language with their places.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use windlass_contracts::Artifact;
use windlass_vrf_protocol::contract::{Contract, Variable};

use super::super::same;

/// A state variable of an artifact, or a member of a struct in it.
#[derive(Deserialize)]
struct Entry {
    label: String,
    slot: String,
    offset: usize,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Storage {
    storage_layout: Vec<Entry>,
    #[serde(default)]
    storage_structs: BTreeMap<String, Vec<Entry>>,
}

/// A value in storage: slot within what holds it, byte in the slot, type.
type Value = (u64, usize, String);

/// What the contracts are called that do not have the recorded name: the example is no mock.
fn our_name(recorded: &str) -> &str {
    if recorded == "MockVRFConsumer" { "VRFConsumer" } else { recorded }
}

/// Compares a contract of the protocol with our artifact of it.
pub(crate) fn check(known: &Contract) -> anyhow::Result<()> {
    let name = our_name(known.name);
    check_one(known, name)?;
    if name == "Bridge" { check_one(known, "BridgeV2Layout") } else { Ok(()) }
}

fn check_one(known: &Contract, name: &str) -> anyhow::Result<()> {
    let artifact = Artifact::by_name(name).with_context(|| format!("there is no contract {name}"))?;
    let abi = artifact.abi()?;
    let functions: BTreeSet<String> = abi.functions().map(|function| function.signature()).collect();
    let events: BTreeSet<String> = abi.events().map(|event| event.signature()).collect();
    same("functions of our contract", functions, known.functions.iter().map(|name| name.to_string()).collect())?;
    same("events of our contract", events, known.events.iter().map(|name| name.to_string()).collect())?;
    ensure!(abi.errors().next().is_none(), "our contract has custom errors");
    let storage: Storage = serde_json::from_value(artifact.document()?)?;
    let labels: Vec<&str> = storage.storage_layout.iter().map(|entry| entry.label.as_str()).collect();
    same("state variables of our contract", labels, known.storage.iter().map(|variable| variable.label).collect())?;
    let ours = storage.values(&storage.storage_layout)?;
    same("storage of our contract", ours, recorded_values(known, known.storage)?)
}

impl Storage {
    fn values(&self, entries: &[Entry]) -> anyhow::Result<Vec<Value>> {
        let mut values = Vec::new();
        for entry in entries {
            let slot: u64 = entry.slot.parse().with_context(|| format!("slot of {}", entry.label))?;
            values.extend(self.taken_apart(&entry.kind)?.into_iter().map(|(inner, offset, kind)| {
                // A struct begins at a slot of its own, anything else at the offset of the variable.
                (slot + inner, entry.offset + offset, kind)
            }));
        }
        Ok(values)
    }

    /// A type as the compiler writes it for people: `mapping(uint64 => struct VRFProviderV1.Task)`.
    fn taken_apart(&self, kind: &str) -> anyhow::Result<Vec<Value>> {
        if let Some(members) = self.storage_structs.get(kind) {
            return self.values(members);
        }
        let kind = match kind.strip_prefix("mapping(").and_then(|inner| inner.strip_suffix(')')) {
            Some(inner) => {
                let (key, value) = inner.split_once(" => ").with_context(|| format!("the mapping {kind}"))?;
                format!("{} => {:?}", elementary(key), self.taken_apart(value)?)
            }
            None => match kind.strip_suffix("[]") {
                Some(item) => format!("list of {:?}", self.taken_apart(item)?),
                None => elementary(kind).to_owned(),
            },
        };
        Ok(vec![(0, 0, kind)])
    }
}

fn elementary(kind: &str) -> &str {
    if kind.starts_with("contract ") { "address" } else { kind }
}

fn recorded_values(known: &Contract, variables: &[Variable]) -> anyhow::Result<Vec<Value>> {
    let mut values = Vec::new();
    for variable in variables {
        values.extend(
            recorded_type(known, variable.kind)?
                .into_iter()
                .map(|(inner, offset, kind)| (variable.slot + inner, variable.offset + offset, kind)),
        );
    }
    Ok(values)
}

/// A type as the compiler writes it for itself: `t_mapping(t_uint64,t_struct(Task)_storage)`.
fn recorded_type(known: &Contract, kind: &str) -> anyhow::Result<Vec<Value>> {
    if let Some(layout) = known.structs.iter().find(|layout| layout.kind == kind) {
        return recorded_values(known, layout.members);
    }
    let kind = if let Some(inner) = kind.strip_prefix("t_mapping(").and_then(|inner| inner.strip_suffix(')')) {
        let (key, value) = inner.split_once(',').with_context(|| format!("the mapping {kind}"))?;
        let key = recorded_elementary(key.trim_end_matches("_memory_ptr"))?;
        format!("{key} => {:?}", recorded_type(known, value)?)
    } else if let Some(item) = kind.strip_prefix("t_array(").and_then(|inner| inner.strip_suffix(")dyn_storage")) {
        format!("list of {:?}", recorded_type(known, item)?)
    } else {
        recorded_elementary(kind)?
    };
    Ok(vec![(0, 0, kind)])
}

fn recorded_elementary(kind: &str) -> anyhow::Result<String> {
    let name = kind.strip_prefix("t_").with_context(|| format!("the type {kind}"))?;
    let name = name.trim_end_matches("_storage");
    Ok(match name {
        _ if name.starts_with("contract(") => "address".to_owned(),
        _ if name.contains('(') => bail!("the type {kind} is not known"),
        _ => name.to_owned(),
    })
}
