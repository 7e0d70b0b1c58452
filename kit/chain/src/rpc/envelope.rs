//! JSON-RPC 2.0 on the wire: requests out, answers in, strictly checked.

use std::borrow::Cow;

use alloy_primitives::{Bytes, hex};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Answer, Redactor, RpcCall, RpcError};

#[derive(Serialize)]
struct Request<'a> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: &'a Value,
}

/// The text of one request.
pub(super) fn encode(id: u64, method: &str, params: &Value) -> Result<String, RpcError> {
    serde_json::to_string(&Request { jsonrpc: "2.0", id, method, params }).map_err(|error| RpcError::malformed(method, error))
}

/// The text of a batch; ids count up from `first_id`.
pub(super) fn encode_batch(first_id: u64, calls: &[RpcCall]) -> Result<String, RpcError> {
    let requests: Vec<_> = (first_id..)
        .zip(calls)
        .map(|(id, call)| Request { jsonrpc: "2.0", id, method: &call.method, params: &call.params })
        .collect();
    serde_json::to_string(&requests).map_err(|error| RpcError::malformed("batch", error))
}

/// One incoming message: an answer, or (over WebSocket) a notification.
#[derive(Deserialize)]
pub(super) struct Incoming<'a> {
    #[serde(default)]
    pub(super) id: Option<Id>,
    #[serde(default, borrow, deserialize_with = "present")]
    pub(super) result: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    pub(super) error: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub(super) method: Option<Cow<'a, str>>,
    #[serde(default, borrow, deserialize_with = "present")]
    pub(super) params: Option<&'a RawValue>,
}

/// Tells an explicit `null` (which is a valid result) from an absent field.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The id of an answer. Some nodes send numbers back as text.
#[derive(Deserialize, Debug, PartialEq)]
#[serde(untagged)]
pub(super) enum Id {
    Number(u64),
    Text(String),
    Other(Value),
}

impl Id {
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            Self::Other(_) => None,
        }
    }
}

#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    data: Option<Value>,
}

impl Incoming<'_> {
    /// The outcome that an answer carries.
    pub(super) fn outcome(&self, method: &str, redactor: &Redactor) -> Result<Answer, RpcError> {
        let error = self.error.filter(|error| error.get() != "null");
        match (self.result, error) {
            (_, Some(error)) => Err(read_error(method, error, redactor)),
            (Some(result), None) => Ok(Answer::from_raw(result.to_owned())),
            (None, None) => Err(RpcError::malformed(method, "neither result nor error")),
        }
    }
}

fn read_error(method: &str, raw: &RawValue, redactor: &Redactor) -> RpcError {
    let Ok(object) = serde_json::from_str::<ErrorObject>(raw.get()) else {
        // Some proxies answer `"error": "text"`.
        return match serde_json::from_str::<String>(raw.get()) {
            Ok(text) => RpcError::response(0, redactor.clean(&text)),
            Err(_) => RpcError::malformed(method, "error is no JSON-RPC error object"),
        };
    };
    let mut message = redactor.clean(object.message.as_deref().unwrap_or_default());
    let data = object.data.as_ref().and_then(|data| error_bytes(data, 0));
    if data.is_none()
        && let Some(text) = object.data.as_ref().and_then(Value::as_str)
        && !text.is_empty()
        && !message.contains(text)
    {
        // Parity-style nodes put the words that matter ("Reverted 0x...") into data.
        message = if text.starts_with("Reverted") {
            format!("{message}: {text}")
        } else {
            format!("{message}: {}", redactor.clean(text))
        };
    }
    let error = RpcError::Response { code: object.code, message, data };
    if error.is_rate_limit() { RpcError::TooManyRequests { retry_after_ms: retry_hint(object.data.as_ref()) } } else { error }
}

/// Return data inside an error: as hex text, or nested in an object as development nodes do.
fn error_bytes(data: &Value, depth: u8) -> Option<Bytes> {
    match data {
        Value::String(text) => hex::decode(text.strip_prefix("0x")?).ok().map(Bytes::from),
        Value::Object(object) if depth < 4 => ["data", "result", "return", "output", "originalError"]
            .iter()
            .find_map(|key| object.get(*key).and_then(|inner| error_bytes(inner, depth + 1)))
            // Ganache: `{"0x<tx hash>": {"return": "0x..."}}`.
            .or_else(|| object.values().filter(|inner| inner.is_object()).find_map(|inner| error_bytes(inner, depth + 1))),
        _ => None,
    }
}

/// Waiting time that providers put into the data of a rate-limit error (`{"rate": {"backoff_seconds": 30}}`).
fn retry_hint(data: Option<&Value>) -> Option<u64> {
    let seconds = data?.get("rate")?.get("backoff_seconds")?.as_f64()?;
    // Saturating by definition of `as`; negative and NaN become zero.
    Some((seconds * 1000.0).min(3_600_000.0) as u64)
}

/// Reads the answer to a single request.
pub(super) fn decode(method: &str, id: u64, body: &[u8], redactor: &Redactor) -> Result<Answer, RpcError> {
    let incoming: Incoming<'_> = serde_json::from_slice(body).map_err(|error| RpcError::malformed(method, not_json(&error)))?;
    let outcome = incoming.outcome(method, redactor);
    match (&incoming.id, &outcome) {
        (Some(found), _) if found.number() == Some(id) => outcome,
        // A node that could not read the request answers with id null; that is an error, not a mix-up.
        (None, Err(_)) => outcome,
        _ => Err(RpcError::malformed(method, "id of the answer is not that of the request")),
    }
}

/// What became of a batch.
pub(super) enum BatchOutcome {
    /// One outcome per call, in the order of the calls.
    Each(Vec<Result<Answer, RpcError>>),
    /// The endpoint answered with one error for all: refused as a whole, or batches are not offered.
    Whole(RpcError),
}

/// Reads the answer to a batch: in any order, each exactly once.
pub(super) fn decode_batch(first_id: u64, calls: &[RpcCall], body: &[u8], redactor: &Redactor) -> Result<BatchOutcome, RpcError> {
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        let incoming: Incoming<'_> =
            serde_json::from_slice(body).map_err(|error| RpcError::malformed("batch", not_json(&error)))?;
        return match incoming.outcome("batch", redactor) {
            Err(error) => Ok(BatchOutcome::Whole(error)),
            Ok(_) => Err(RpcError::malformed("batch", "one answer for many requests")),
        };
    }
    let incoming: Vec<Incoming<'_>> =
        serde_json::from_slice(body).map_err(|error| RpcError::malformed("batch", not_json(&error)))?;
    let mut outcomes: Vec<Option<Result<Answer, RpcError>>> = Vec::new();
    outcomes.resize_with(calls.len(), || None);
    for one in &incoming {
        let index = one.id.as_ref().and_then(Id::number).and_then(|id| id.checked_sub(first_id));
        let index = index.and_then(|index| usize::try_from(index).ok());
        let Some((slot, call)) = index.and_then(|index| outcomes.get_mut(index).zip(calls.get(index))) else {
            // An error without id is about the batch as a whole.
            return match (&one.id, one.outcome("batch", redactor)) {
                (None, Err(error)) => Ok(BatchOutcome::Whole(error)),
                _ => Err(RpcError::malformed("batch", "an answer with an id that was not asked")),
            };
        };
        if slot.replace(one.outcome(&call.method, redactor)).is_some() {
            return Err(RpcError::malformed(&call.method, "two answers to one request"));
        }
    }
    let each = outcomes
        .into_iter()
        .zip(calls)
        .map(|(outcome, call)| outcome.unwrap_or_else(|| Err(RpcError::malformed(&call.method, "no answer in the batch"))));
    Ok(BatchOutcome::Each(each.collect()))
}

/// Position without the offending text, which is foreign and may be long.
fn not_json(error: &serde_json::Error) -> String {
    format!("not a JSON-RPC answer (line {}, column {})", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use proptest::prelude::*;
    use serde_json::json;
    use url::Url;

    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(&Url::parse("http://localhost:1/secretsecret").unwrap())
    }

    fn one(body: Value) -> Result<Answer, RpcError> {
        decode("eth_x", 7, body.to_string().as_bytes(), &redactor())
    }

    #[test]
    fn a_result_of_null_is_a_result() {
        assert!(one(json!({"jsonrpc": "2.0", "id": 7, "result": null})).unwrap().is_null());
        assert!(one(json!({"jsonrpc": "2.0", "id": "7", "result": null, "error": null})).unwrap().is_null());
    }

    #[test]
    fn answers_to_other_requests_are_refused() {
        for body in [
            json!({"id": 8, "result": 1}),
            json!({"id": null, "result": 1}),
            json!({"result": 1}),
            json!({"id": {"a": 1}, "result": 1}),
            json!({"id": 7}),
            json!([{"id": 7, "result": 1}]),
            json!("text"),
        ] {
            assert!(matches!(one(body.clone()), Err(RpcError::Malformed { .. })), "{body}");
        }
    }

    #[test]
    fn errors_keep_code_words_and_data_but_no_secret() {
        let error = one(json!({"id": 7, "error": {"code": 3, "message": "reverted secretsecret", "data": "0x0102"}}));
        let Err(RpcError::Response { code: 3, message, data: Some(data) }) = error else { panic!("{error:?}") };
        assert_eq!((message.as_str(), data), ("reverted ***", Bytes::from_static(&[1, 2])));
        let nested = one(json!({"id": 7, "error": {"code": -32603, "message": "reverted",
            "data": {"message": "x", "txHash": "0x00", "data": "0xff"}}}));
        assert_eq!(nested.unwrap_err().revert_data(), Some(Bytes::from_static(&[0xff])));
        let parity = one(json!({"id": 7, "error": {"code": -32015, "message": "VM execution error.", "data": "Reverted 0x0a"}}));
        assert_eq!(parity.unwrap_err().revert_data(), Some(Bytes::from_static(&[0x0a])));
    }

    #[test]
    fn limits_become_too_many_requests() {
        let body = json!({"id": 7, "error": {"code": -32005, "message": "daily request count exceeded",
            "data": {"rate": {"backoff_seconds": 30}}}});
        assert!(matches!(one(body), Err(RpcError::TooManyRequests { retry_after_ms: Some(30_000) })));
    }

    #[test]
    fn a_batch_may_come_in_any_order_but_complete_and_once() {
        let calls = [RpcCall::new("a", json!([])), RpcCall::new("b", json!([]))];
        let read = |body: Value| decode_batch(10, &calls, body.to_string().as_bytes(), &redactor());
        let Ok(BatchOutcome::Each(each)) = read(json!([{"id": 11, "result": "b"}, {"id": 10, "result": "a"}])) else { panic!() };
        let texts: Vec<_> = each.iter().map(|one| one.as_ref().unwrap().as_str().to_owned()).collect();
        assert_eq!(texts, ["\"a\"", "\"b\""]);
        let Ok(BatchOutcome::Each(each)) = read(json!([{"id": 11, "result": "b"}])) else { panic!() };
        assert!(each[0].is_err() && each[1].is_ok());
        assert!(read(json!([{"id": 10, "result": 1}, {"id": 10, "result": 2}])).is_err());
        assert!(read(json!([{"id": 99, "result": 1}])).is_err());
        let whole = read(json!({"id": null, "error": {"code": -32600, "message": "batch limit 5 exceeded"}}));
        assert!(matches!(whole, Ok(BatchOutcome::Whole(_))));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let calls = [RpcCall::new("a", json!([]))];
            let _ = decode("eth_x", 7, &body, &redactor());
            let _ = decode_batch(7, &calls, &body, &redactor());
        }

        #[test]
        fn foreign_json_never_panics(
            id in prop_oneof![Just(json!(7)), Just(json!(null)), Just(json!("7")), Just(json!([1]))],
            code in any::<i64>(),
            text in ".{0,40}",
            data in prop_oneof![Just(json!(null)), Just(json!("0x1")), Just(json!({"data": {"data": "0x"}})), Just(json!([]))],
        ) {
            let body = json!({"id": id, "error": {"code": code, "message": text, "data": data}}).to_string();
            let error = decode("eth_x", 7, body.as_bytes(), &redactor()).unwrap_err();
            let _ = (error.revert_data(), error.is_transient(), error.hint(), error.is_range_too_large());
        }
    }
}
