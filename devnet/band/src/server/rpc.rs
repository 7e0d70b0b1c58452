//! CometBFT RPC: `GET /method?parameter=value` and JSON-RPC by POST. There is no WebSocket.

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Map, Value, json};
use windlass_vrf_protocol::messages::tendermint::AbciQueryRequest;
use windlass_vrf_protocol::multistore::Layout;

use super::{CallError, Shared, grpc, json, percent_decoded};
use crate::chain::{Chain, CheckAnswer};
use crate::error::QueryError;

/// What a method returns, or why it does not.
type Answer = Result<Value, Failure>;

/// A JSON-RPC error, or a fault of the transport.
#[derive(Debug)]
enum Failure {
    Rpc { code: i64, message: &'static str, data: String },
    Unavailable,
    RateLimited(u64),
}

impl Failure {
    fn internal(data: impl Into<String>) -> Self {
        Self::Rpc { code: -32603, message: "Internal error", data: data.into() }
    }

    fn invalid(data: impl Into<String>) -> Self {
        Self::Rpc { code: -32602, message: "Invalid params", data: data.into() }
    }

    fn not_found() -> Self {
        Self::Rpc { code: -32601, message: "Method not found", data: String::new() }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unavailable => Self::Unavailable,
            CallError::RateLimited { retry_after_seconds } => Self::RateLimited(retry_after_seconds),
            error => Self::internal(error.message()),
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::internal(error.to_string())
    }
}

pub(super) fn router(shared: Shared) -> Router {
    Router::new().route("/", post(json_rpc).get(index)).route("/{method}", get(uri)).with_state(shared)
}

async fn index() -> &'static str {
    "Available endpoints: /abci_query /block /block_results /broadcast_tx_async /broadcast_tx_sync /commit /health /status /tx /tx_search /validators\n"
}

async fn uri(State(shared): State<Shared>, Path(method): Path<String>, query: RawQuery) -> Response {
    let parameters = Parameters::from_uri(query.0.as_deref().unwrap_or_default());
    let answered = answer(&shared, &method, &parameters).await;
    let status = match &answered {
        Ok(_) => StatusCode::OK,
        Err(Failure::Rpc { code: -32601, .. }) => StatusCode::NOT_FOUND,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    match envelope(answered, &json!(-1)) {
        Ok(body) => (status, Json(body)).into_response(),
        Err(fault) => fault.into_response(),
    }
}

/// What happens to the whole answer rather than to one call in it.
enum TransportFault {
    Unavailable,
    RateLimited(u64),
}

impl IntoResponse for TransportFault {
    fn into_response(self) -> Response {
        match self {
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            Self::RateLimited(seconds) => (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, seconds.to_string())]).into_response(),
        }
    }
}

/// The JSON-RPC answer.
fn envelope(answered: Answer, id: &Value) -> Result<Value, TransportFault> {
    match answered {
        Ok(result) => Ok(json!({ "jsonrpc": "2.0", "id": id, "result": result })),
        Err(Failure::Unavailable) => Err(TransportFault::Unavailable),
        Err(Failure::RateLimited(seconds)) => Err(TransportFault::RateLimited(seconds)),
        Err(Failure::Rpc { code, message, data }) => {
            Ok(json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message, "data": data } }))
        }
    }
}

async fn json_rpc(State(shared): State<Shared>, body: Bytes) -> Response {
    let answered = match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Array(requests)) => batch(&shared, &requests).await,
        Ok(request) => one(&shared, &request).await,
        Err(error) => {
            let error = json!({ "code": -32700, "message": "Parse error. Invalid JSON", "data": error.to_string() });
            Ok(json!({ "jsonrpc": "2.0", "id": -1, "error": error }))
        }
    };
    answered.map(Json).into_response()
}

async fn batch(shared: &Shared, requests: &[Value]) -> Result<Value, TransportFault> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(one(shared, request).await?);
    }
    Ok(Value::Array(answers))
}

async fn one(shared: &Shared, request: &Value) -> Result<Value, TransportFault> {
    let id = request.get("id").cloned().unwrap_or(json!(-1));
    let method = request.get("method").and_then(Value::as_str).unwrap_or_default();
    let parameters = match request.get("params") {
        Some(Value::Object(values)) => Parameters::from_json(values.clone()),
        Some(Value::Array(values)) => Parameters::from_list(method, values),
        _ => Parameters::from_json(Map::new()),
    };
    envelope(answer(shared, method, &parameters).await, &id)
}

/// Names of the parameters of each method, in order.
fn parameter_names(method: &str) -> Option<&'static [&'static str]> {
    Some(match method {
        "abci_query" => &["path", "data", "height", "prove"],
        "block" | "block_results" | "commit" | "header" => &["height"],
        "broadcast_tx_sync" | "broadcast_tx_async" => &["tx"],
        "health" | "status" => &[],
        "tx" => &["hash", "prove"],
        "tx_search" => &["query", "prove", "page", "per_page", "order_by"],
        "validators" => &["height", "page", "per_page"],
        _ => return None,
    })
}

/// Parameters of a call. Bytes are hex in a URI and base64 in JSON, except where CometBFT's own type is hex in both.
struct Parameters {
    values: Map<String, Value>,
    in_uri: bool,
}

impl Parameters {
    fn from_uri(query: &str) -> Self {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let values = pairs.map(|(name, value)| (name.to_owned(), Value::String(percent_decoded(value)))).collect();
        Self { values, in_uri: true }
    }

    fn from_json(values: Map<String, Value>) -> Self {
        Self { values, in_uri: false }
    }

    fn from_list(method: &str, list: &[Value]) -> Self {
        let names = parameter_names(method).unwrap_or_default();
        Self::from_json(names.iter().zip(list).map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    fn get(&self, name: &str) -> Option<String> {
        match self.values.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// A text; in a URI it stands in quotation marks.
    fn text(&self, name: &str) -> String {
        let text = self.get(name).unwrap_or_default();
        text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).map(str::to_owned).unwrap_or(text)
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| Failure::invalid(format!("error converting http params to arguments: {name}")))
    }

    /// Bytes: `0x` hex or a quoted text in a URI, base64 in JSON.
    fn bytes(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let text = self.get(name).unwrap_or_default();
        let wrong = || Failure::invalid(format!("error converting params to arguments: {name}"));
        if !self.in_uri {
            return json::from_base64(&text).ok_or_else(wrong);
        }
        match text.strip_prefix("0x") {
            Some(digits) => hex::decode(digits).map_err(|_| wrong()),
            None => Ok(self.text(name).into_bytes()),
        }
    }

    /// CometBFT's `HexBytes`: hex also in JSON.
    fn hex_bytes(&self, name: &str) -> Result<Vec<u8>, Failure> {
        if self.in_uri {
            return self.bytes(name);
        }
        hex::decode(self.text(name)).map_err(|_| Failure::invalid(format!("error converting params to arguments: {name}")))
    }
}

async fn answer(shared: &Shared, method: &str, parameters: &Parameters) -> Answer {
    if parameter_names(method).is_none() {
        return Err(Failure::not_found());
    }
    let lost = shared.before(&format!("rpc/{method}")).await?;
    let answer = match method {
        "broadcast_tx_sync" | "broadcast_tx_async" => broadcast(shared, method, parameters),
        _ => read(&shared.read(), method, parameters),
    };
    if lost { Err(Failure::Unavailable) } else { answer }
}

fn read(chain: &Chain, method: &str, parameters: &Parameters) -> Answer {
    match method {
        "health" => Ok(json!({})),
        "status" => status(chain),
        "block" => Ok(json::block(chain.block(height(chain, parameters)?)?)),
        "header" => Ok(json!({ "header": json::header(chain.block(height(chain, parameters)?)?) })),
        "block_results" => Ok(json::block_results(chain.block(height(chain, parameters)?)?)),
        "commit" => {
            let height = height(chain, parameters)?;
            // The newest block is signed already, but no block holds its signatures yet.
            Ok(json::commit(chain.block(height)?, height < chain.height()))
        }
        "validators" => validators(chain, parameters),
        "abci_query" => abci_query(chain, parameters),
        "tx" => transaction(chain, parameters),
        "tx_search" => search(chain, parameters),
        _ => Err(Failure::not_found()),
    }
}

fn layout(chain: &Chain) -> Layout {
    chain.latest().map_or(Layout::V3, |block| block.layout())
}

fn height(chain: &Chain, parameters: &Parameters) -> Result<u64, Failure> {
    match parameters.number("height")? {
        None => Ok(chain.height()),
        Some(height @ 1..) => Ok(height.unsigned_abs()),
        Some(height) => Err(QueryError::HeightNotPositive { height }.into()),
    }
}

fn status(chain: &Chain) -> Answer {
    let newest = chain.block(chain.height())?;
    let oldest = chain.block(chain.lowest_height())?;
    Ok(json!({
        "node_info": {
            "id": "0000000000000000000000000000000000000000",
            "network": chain.config().chain_id,
            "version": "0.38.12",
            "moniker": "windlass-devnet-band",
        },
        "sync_info": {
            "latest_block_hash": json::hex(newest.hash()),
            "latest_app_hash": json::hex(&newest.header().app_hash),
            "latest_block_height": newest.header().height.to_string(),
            "latest_block_time": json::block_time(newest.time_ms()),
            "earliest_block_height": oldest.header().height.to_string(),
            "earliest_block_time": json::block_time(oldest.time_ms()),
            "catching_up": false,
        },
        "validator_info": { "address": json::hex([0; 20]), "pub_key": null, "voting_power": "0" },
    }))
}

fn page(parameters: &Parameters, most: i64) -> Result<(usize, usize), Failure> {
    let size = parameters.number("per_page")?.unwrap_or(30).clamp(1, most);
    let page = parameters.number("page")?.unwrap_or(1).max(1);
    let skip = (page - 1).saturating_mul(size);
    Ok((usize::try_from(skip).unwrap_or_default(), usize::try_from(size).unwrap_or_default()))
}

fn validators(chain: &Chain, parameters: &Parameters) -> Answer {
    let height = height(chain, parameters)?;
    let all = chain.block(height)?.validators().validators();
    let (skip, size) = page(parameters, 100)?;
    let list: Vec<_> = all.iter().skip(skip).take(size).map(json::validator).collect();
    Ok(json!({
        "block_height": height.to_string(),
        "count": list.len().to_string(),
        "total": all.len().to_string(),
        "validators": list,
    }))
}

fn abci_query(chain: &Chain, parameters: &Parameters) -> Answer {
    let request = AbciQueryRequest {
        data: parameters.hex_bytes("data")?,
        path: parameters.text("path"),
        height: parameters.number("height")?.unwrap_or_default(),
        prove: parameters.flag("prove"),
    };
    Ok(json::abci_query(&grpc::abci_query(chain, request)?))
}

fn transaction(chain: &Chain, parameters: &Parameters) -> Answer {
    let hash = hex::encode_upper(parameters.bytes("hash")?);
    let found = chain.transaction(&hash).ok_or_else(|| Failure::internal(format!("tx ({hash}) not found")))?;
    Ok(json::transaction(&found, layout(chain)))
}

fn search(chain: &Chain, parameters: &Parameters) -> Answer {
    let mut found = chain.search(&parameters.text("query"))?;
    match parameters.text("order_by").as_str() {
        "desc" => found.reverse(),
        "asc" | "" => {}
        _ => return Err(Failure::internal("expected order_by to be either `asc` or `desc` or empty")),
    }
    let (skip, size) = page(parameters, 100)?;
    let total = found.len().to_string();
    let layout = layout(chain);
    let txs: Vec<_> = found.iter().skip(skip).take(size).map(|transaction| json::transaction(transaction, layout)).collect();
    Ok(json!({ "txs": txs, "total_count": total }))
}

fn broadcast(shared: &Shared, method: &str, parameters: &Parameters) -> Answer {
    let bytes = parameters.bytes("tx")?;
    let CheckAnswer { hash, code, codespace, raw_log } = shared.chain.write().check_tx(&bytes);
    match (codespace.as_str(), code) {
        // What the mempool refuses before it asks the application is an error of the call.
        ("sdk", 19) => Err(Failure::internal("tx already exists in cache")),
        ("sdk", 20) => Err(Failure::internal("mempool is full")),
        _ if method == "broadcast_tx_async" => Ok(json!({ "code": 0, "data": "", "log": "", "codespace": "", "hash": hash })),
        _ => Ok(json!({ "code": code, "data": "", "log": raw_log, "codespace": codespace, "hash": hash })),
    }
}
