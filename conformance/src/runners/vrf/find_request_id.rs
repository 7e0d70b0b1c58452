//! `find_request_id`: the request id in the events of a transaction.

use anyhow::{bail, ensure};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use windlass_vrf_protocol::events::{find_request_id, request_ids};
use windlass_vrf_protocol::messages::tx;

use super::super::same;
use super::common::document;
use crate::Sheet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    note: String,
    events: Vec<Event>,
    /// Absent beside an error; `null` if there is none.
    #[serde(default, deserialize_with = "present")]
    request_id: Option<Option<String>>,
    error: Option<String>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attribute {
    key: String,
    value: String,
    #[serde(default)]
    index: bool,
}

/// Checks the document.
pub(crate) fn run(json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document = document::<Case>(json, "find_request_id")?;
    for case in &document.cases {
        sheet.case(&case.note, check(case));
    }
    Ok(())
}

fn check(case: &Case) -> anyhow::Result<()> {
    let attribute = |a: &Attribute| tx::EventAttribute { key: a.key.clone(), value: a.value.clone(), index: a.index };
    let event =
        |event: &Event| tx::Event { r#type: event.kind.clone(), attributes: event.attributes.iter().map(attribute).collect() };
    let events: Vec<tx::Event> = case.events.iter().map(event).collect();
    match (&case.request_id, case.error.as_deref(), find_request_id(&events)) {
        (Some(recorded), None, Ok(ours)) => {
            same("request id", ours.map(|id| id.to_string()), recorded.clone())?;
            // Of a transaction with several messages the same id is the first.
            same("first of all ids", request_ids(&events, "")?.first().copied(), ours)
        }
        (None, Some("ValueError"), Err(_)) => {
            ensure!(request_ids(&events, "").is_err(), "the list of all ids hides the fault");
            Ok(())
        }
        (recorded, error, ours) => bail!("ours is {ours:?}, recorded is {recorded:?} with the error {error:?}"),
    }
}
