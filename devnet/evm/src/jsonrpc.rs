//! Requests, batches and notifications of JSON-RPC 2.0, with the answers of `anvil` to what is malformed.

use alloy_primitives::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::devnet::{Answer, Devnet};
use crate::error::JsonRpcError;
use crate::rpc::Outcome;
use crate::rpc::params::Params;

/// One call of a client.
#[derive(Debug)]
pub(crate) struct Call {
    /// `None` for a notification, which is not answered.
    id: Option<Value>,
    pub(crate) method: String,
    pub(crate) params: Value,
}

/// An item of a request: a call, or an id to blame for something that is none.
type Item = Result<Call, Value>;

/// What the transport has to send.
#[derive(Debug)]
pub(crate) enum Reply {
    Text(String),
    /// Only notifications: nothing is sent back.
    Nothing,
    HttpStatus {
        status: u16,
        retry_after_seconds: Option<u64>,
    },
    Disconnect,
}

#[derive(Serialize)]
struct Response<'a> {
    jsonrpc: &'static str,
    id: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a JsonRpcError>,
}

/// Writes one answer.
pub(crate) fn response(id: &Value, outcome: &Outcome) -> String {
    let (result, error) = match outcome {
        Ok(result) => (Some(result.as_ref()), None),
        Err(error) => (None, Some(error)),
    };
    serde_json::to_string(&Response { jsonrpc: "2.0", id, result, error }).unwrap_or_default()
}

fn invalid_request(id: &Value) -> String {
    response(id, &Err(JsonRpcError::invalid_request()))
}

/// Something that answers calls; a WebSocket connection knows some that HTTP does not.
pub(crate) trait Handler {
    async fn call(&mut self, call: &mut Call) -> Answer;
    fn devnet(&self) -> &Devnet;
}

/// Calls over HTTP.
#[derive(Debug)]
pub(crate) struct Plain(pub(crate) Devnet);

impl Handler for Plain {
    async fn call(&mut self, call: &mut Call) -> Answer {
        self.0.call(&call.method, call.params.take()).await
    }

    fn devnet(&self) -> &Devnet {
        &self.0
    }
}

/// Answers the body of a request.
pub(crate) async fn handle(handler: &mut impl Handler, body: &[u8]) -> Reply {
    match serde_json::from_slice(body) {
        Ok(Value::Array(items)) => batch(handler, items).await,
        Ok(Value::Object(object)) => match parse(Value::Object(object)) {
            Ok(call) => single(handler, call).await,
            Err(id) => Reply::Text(invalid_request(&id)),
        },
        Ok(_) | Err(_) => Reply::Text(invalid_request(&Value::Null)),
    }
}

async fn single(handler: &mut impl Handler, mut call: Call) -> Reply {
    match (handler.call(&mut call).await, &call.id) {
        (Answer::Outcome(outcome), Some(id)) => Reply::Text(response(id, &outcome)),
        (Answer::Outcome(_), None) => Reply::Nothing,
        (Answer::HttpStatus { status, retry_after_seconds }, _) => Reply::HttpStatus { status, retry_after_seconds },
        (Answer::Disconnect, _) => Reply::Disconnect,
    }
}

async fn batch(handler: &mut impl Handler, items: Vec<Value>) -> Reply {
    if items.is_empty() || items.iter().any(|item| !item.is_object()) {
        return Reply::Text(invalid_request(&Value::Null));
    }
    let mut answers = Vec::with_capacity(items.len());
    let mut items = items.into_iter().map(parse).peekable();
    while let Some(item) = items.next() {
        let mut call = match item {
            Ok(call) => call,
            Err(id) => {
                answers.push(invalid_request(&id));
                continue;
            }
        };
        if call.is_broadcast() && handler.devnet().is_faultless() {
            let mut together = vec![call];
            while let Some(Ok(next)) = items.next_if(|item| item.as_ref().is_ok_and(Call::is_broadcast)) {
                together.push(next);
            }
            answers.extend(broadcast(handler.devnet(), together));
            continue;
        }
        match handler.call(&mut call).await {
            Answer::Outcome(outcome) => answers.extend(call.id.map(|id| response(&id, &outcome))),
            Answer::HttpStatus { status, retry_after_seconds } => return Reply::HttpStatus { status, retry_after_seconds },
            Answer::Disconnect => return Reply::Disconnect,
        }
    }
    if answers.is_empty() {
        return Reply::Nothing;
    }
    Reply::Text(format!("[{}]", answers.join(",")))
}

/// Neighbouring broadcasts of a batch enter the pool together.
fn broadcast(devnet: &Devnet, calls: Vec<Call>) -> Vec<String> {
    let (ids, raw): (Vec<_>, Vec<_>) = calls
        .into_iter()
        .map(|call| (call.id, Params::new(call.params).and_then(|mut params| params.required::<Bytes>(0))))
        .unzip();
    let outcomes = devnet.send_raw_together(raw);
    ids.into_iter().zip(outcomes).filter_map(|(id, outcome)| id.map(|id| response(&id, &outcome))).collect()
}

impl Call {
    fn is_broadcast(&self) -> bool {
        self.method == "eth_sendRawTransaction"
    }
}

fn parse(item: Value) -> Item {
    let Value::Object(mut object) = item else { return Err(Value::Null) };
    let id = object.remove("id");
    let id_is_valid = id.as_ref().is_none_or(|id| id.is_null() || id.is_string() || id.is_i64() || id.is_u64());
    if !id_is_valid {
        return Err(Value::Null);
    }
    match parse_fields(object) {
        Some((method, params)) => Ok(Call { id, method, params }),
        None => Err(id.unwrap_or(Value::Null)),
    }
}

/// Method and parameters, if the fields are exactly those of a call.
fn parse_fields(mut object: Map<String, Value>) -> Option<(String, Value)> {
    if object.remove("jsonrpc")? != "2.0" {
        return None;
    }
    let Value::String(method) = object.remove("method")? else { return None };
    let params = object.remove("params").unwrap_or(Value::Null);
    let shaped = params.is_array() || params.is_object() || params.is_null();
    (shaped && object.is_empty()).then_some((method, params))
}
