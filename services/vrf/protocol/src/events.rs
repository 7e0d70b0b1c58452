//! What a Band transaction or block tells in its events.

use serde::Deserialize;

use crate::messages::tx::{Event, StringEvent};
use crate::oracle_result::ResolveStatus;

/// Type of the event that names a request's id.
const REQUEST: &str = "request";
/// Type of the event that a block's end emits for each resolved request.
const RESOLVE: &str = "resolve";
/// Attribute that names a request's id.
const ID: &str = "id";
/// Attribute that tells how a request was resolved.
const STATUS: &str = "resolve_status";

/// An attribute that names a request is no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the request id {0:?} is no number")]
pub struct RequestIdError(pub String);

/// The ids of all requests of a transaction: one per request message, in order.
///
/// They are taken from `events`; if there is none, from `raw_log`, where chains before SDK 0.50 put them as JSON. Events of
/// other types (`raw_request`, `report`, `resolve`) are ignored.
///
/// # Errors
/// If an id is no number.
pub fn request_ids(events: &[Event], raw_log: &str) -> Result<Vec<u64>, RequestIdError> {
    let found: Vec<u64> = events.iter().filter_map(request_id).collect::<Result<_, _>>()?;
    if !found.is_empty() {
        return Ok(found);
    }
    logged_ids(raw_log)
}

/// The id that the first worker of this kind would find: the first attribute `id` of the first event `request` that has one.
///
/// # Errors
/// If it is no number.
pub fn find_request_id(events: &[Event]) -> Result<Option<u64>, RequestIdError> {
    events.iter().find_map(request_id).transpose()
}

/// The id in an event, if it is one that names it.
fn request_id(event: &Event) -> Option<Result<u64, RequestIdError>> {
    if event.r#type != REQUEST {
        return None;
    }
    event.attributes.iter().find(|attribute| attribute.key == ID).map(|attribute| number(&attribute.value))
}

fn number(text: &str) -> Result<u64, RequestIdError> {
    let fault = || RequestIdError(text.chars().take(80).collect());
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault());
    }
    text.parse().map_err(|_| fault())
}

/// One entry of the JSON in `raw_log`.
#[derive(Deserialize)]
struct Log {
    #[serde(default)]
    events: Vec<LogEvent>,
}

#[derive(Deserialize)]
struct LogEvent {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    attributes: Vec<LogAttribute>,
}

#[derive(Deserialize)]
struct LogAttribute {
    key: String,
    #[serde(default)]
    value: String,
}

/// In a log, one event `request` holds the attributes of all request events of its message, so that each `id` counts.
fn logged_ids(raw_log: &str) -> Result<Vec<u64>, RequestIdError> {
    // The text of an error and an empty log are no JSON lists, and name nothing.
    let logs: Vec<Log> = serde_json::from_str(raw_log).unwrap_or_default();
    let events = logs.iter().flat_map(|log| &log.events).filter(|event| event.kind == REQUEST);
    let attributes = events.flat_map(|event| &event.attributes).filter(|attribute| attribute.key == ID);
    attributes.map(|attribute| number(&attribute.value)).collect()
}

/// The request that an event of a block's end resolves, and how. `None` for other events, and for one that is not understood.
pub fn resolved(event: &Event) -> Option<(u64, ResolveStatus)> {
    if event.r#type != RESOLVE {
        return None;
    }
    let value = |wanted: &str| event.attributes.iter().find(|attribute| attribute.key == wanted).map(|a| a.value.as_str());
    let id = number(value(ID)?).ok()?;
    Some((id, status(value(STATUS)?)?))
}

/// A status as events spell it: its number; some versions write the name.
fn status(text: &str) -> Option<ResolveStatus> {
    if let Ok(number) = text.parse::<i32>() {
        return ResolveStatus::try_from(number).ok();
    }
    match text.trim_start_matches("RESOLVE_STATUS_") {
        "OPEN" | "OPEN_UNSPECIFIED" => Some(ResolveStatus::Open),
        "SUCCESS" => Some(ResolveStatus::Success),
        "FAILURE" => Some(ResolveStatus::Failure),
        "EXPIRED" => Some(ResolveStatus::Expired),
        _ => None,
    }
}

/// The same event as logs spell it, for simulators of old chains.
pub fn to_string_event(event: &Event) -> StringEvent {
    use crate::messages::tx::Attribute;
    let attributes = event.attributes.iter().map(|a| Attribute { key: a.key.clone(), value: a.value.clone() }).collect();
    StringEvent { r#type: event.r#type.clone(), attributes }
}

/// An event with these attributes, for simulators and tests.
pub fn event<K: Into<String>, V: Into<String>>(kind: &str, attributes: impl IntoIterator<Item = (K, V)>) -> Event {
    use crate::messages::tx::EventAttribute;
    let attributes =
        attributes.into_iter().map(|(key, value)| EventAttribute { key: key.into(), value: value.into(), index: true }).collect();
    Event { r#type: kind.to_owned(), attributes }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_id_per_message_in_order() {
        let events = [
            event("tx", [("fee", "2000uband")]),
            event("request", [("id", "7"), ("client_id", "vrf_worker"), ("msg_index", "0")]),
            event("raw_request", [("id", "1"), ("data_source_id", "9")]),
            event("request", [("client_id", "vrf_worker"), ("id", "8"), ("msg_index", "1")]),
            event("request", [("client_id", "no id")]),
            event("report", [("id", "3")]),
        ];
        assert_eq!(request_ids(&events, ""), Ok(vec![7, 8]));
        assert_eq!(find_request_id(&events), Ok(Some(7)));
        assert_eq!(find_request_id(&[]), Ok(None));
    }

    #[test]
    fn ids_are_decimal_numbers() {
        for bad in ["", "abc", "-1", "+1", "1.0", "0x1", " 1", "18446744073709551616"] {
            let events = [event("request", [("id", bad)])];
            assert_eq!(request_ids(&events, ""), Err(RequestIdError(bad.into())));
        }
        let events = [event("request", [("id", "18446744073709551615")])];
        assert_eq!(request_ids(&events, ""), Ok(vec![u64::MAX]));
    }

    #[test]
    fn old_chains_log_them_as_json() {
        let log = r#"[{"msg_index":0,"log":"","events":[{"type":"raw_request","attributes":[{"key":"id","value":"1"}]},
            {"type":"request","attributes":[{"key":"id","value":"41"},{"key":"client_id"}]}]},
            {"events":[{"type":"request","attributes":[{"key":"id","value":"42"}]}]},{}]"#;
        assert_eq!(request_ids(&[], log), Ok(vec![41, 42]));
        // Events are preferred.
        assert_eq!(request_ids(&[event("request", [("id", "5")])], log), Ok(vec![5]));
        for other in ["", "out of gas in location: x", "{}", "[1]"] {
            assert_eq!(request_ids(&[], other), Ok(vec![]));
        }
    }

    #[test]
    fn resolutions_are_read() {
        let of = |status| resolved(&event("resolve", [("id", "9"), ("resolve_status", status)]));
        assert_eq!(of("1"), Some((9, ResolveStatus::Success)));
        assert_eq!(of("2"), Some((9, ResolveStatus::Failure)));
        assert_eq!(of("RESOLVE_STATUS_EXPIRED"), Some((9, ResolveStatus::Expired)));
        assert_eq!(of("4"), None);
        assert_eq!(of("?"), None);
        assert_eq!(resolved(&event("request", [("id", "9"), ("resolve_status", "1")])), None);
        assert_eq!(resolved(&event("resolve", [("id", "9")])), None);
    }

    proptest! {
        #[test]
        fn foreign_logs_do_no_harm(log in ".{0,60}") {
            let _ = request_ids(&[], &log);
        }
    }
}
