//! `abi`: selectors, topics and storage layouts, as the protocol knows them.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use windlass_vrf_protocol::contract::{self, Contract, Variable};

use super::super::same;
use super::artifacts;
use crate::Sheet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    #[serde(rename = "produced_by")]
    _produced_by: String,
    #[serde(rename = "format")]
    _format: String,
    contracts: BTreeMap<String, Recorded>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    functions: BTreeMap<String, String>,
    events: BTreeMap<String, String>,
    #[serde(default)]
    errors: BTreeMap<String, String>,
    storage: Vec<Entry>,
    storage_types: BTreeMap<String, Struct>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    label: String,
    slot: String,
    offset: usize,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Struct {
    bytes: String,
    members: Vec<Entry>,
}

/// Checks the document.
pub(crate) fn run(json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document: Document = serde_json::from_value(json)?;
    same("name", document.name.as_str(), "abi")?;
    for (name, recorded) in &document.contracts {
        let known = contract::ALL.into_iter().find(|known| known.name == name);
        let result = known.with_context(|| format!("the contract {name} is not known"));
        let result = result.and_then(|known| check(&known, recorded).and_then(|()| artifacts::check(&known)));
        sheet.case(name, result);
    }
    Ok(())
}

fn check(known: &Contract, recorded: &Recorded) -> anyhow::Result<()> {
    let functions = known.functions.iter().map(|signature| ((*signature).to_owned(), contract::selector(signature).to_string()));
    same("functions", functions.collect::<BTreeMap<_, _>>(), recorded.functions.clone())?;
    let events = known.events.iter().map(|signature| ((*signature).to_owned(), contract::topic(signature).to_string()));
    same("events", events.collect::<BTreeMap<_, _>>(), recorded.events.clone())?;
    same("errors", BTreeMap::new(), recorded.errors.clone())?;
    same("storage", variables(known.storage), entries(&recorded.storage))?;
    let structs = known.structs.iter().map(|layout| {
        let kind = layout.kind.to_owned();
        (kind, (layout.bytes.to_string(), variables(layout.members)))
    });
    let recorded = recorded.storage_types.iter();
    let recorded = recorded.map(|(kind, layout)| (without_numbers(kind), (layout.bytes.clone(), entries(&layout.members))));
    same("structs", structs.collect::<BTreeMap<_, _>>(), recorded.collect::<BTreeMap<_, _>>())
}

/// Label, slot, offset and type.
type Place = (String, String, usize, String);

fn variables(list: &[Variable]) -> Vec<Place> {
    list.iter().map(|known| (known.label.to_owned(), known.slot.to_string(), known.offset, known.kind.to_owned())).collect()
}

fn entries(list: &[Entry]) -> Vec<Place> {
    list.iter().map(|entry| (entry.label.clone(), entry.slot.clone(), entry.offset, without_numbers(&entry.kind))).collect()
}

/// The compiler writes the number of a syntax tree node after the closing bracket of a type's name; it differs from build to
/// build.
fn without_numbers(kind: &str) -> String {
    let mut out = String::with_capacity(kind.len());
    for part in kind.split_inclusive(')') {
        let part = if out.ends_with(')') { part.trim_start_matches(|c: char| c.is_ascii_digit()) } else { part };
        out.push_str(part);
    }
    out
}
