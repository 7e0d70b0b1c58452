//! The REST gateway: the proof routes of both chain versions, each also under `/api`, and some of the Cosmos SDK's.

use axum::Router;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, body};
use serde_json::{Value, json};
use windlass_vrf_protocol::messages::PageRequest;
use windlass_vrf_protocol::messages::proof::{MultiProofRequest, ProofRequest, RequestCountProofRequest};
use windlass_vrf_protocol::messages::tx::{GetTxsEventRequest, OrderBy};
use windlass_vrf_protocol::multistore::Layout;

use super::{Broadcast, CallError, Shared, convert, grpc, json, percent_decoded};
use crate::chain::Chain;
use crate::config::DENOM;

type Answer = Result<Json<Value>, CallError>;

impl IntoResponse for CallError {
    fn into_response(self) -> Response {
        let status = match self.code() {
            tonic::Code::NotFound => StatusCode::NOT_FOUND,
            tonic::Code::InvalidArgument => StatusCode::BAD_REQUEST,
            tonic::Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            tonic::Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let body = Json(json!({ "code": self.code() as i32, "message": self.message(), "details": [] }));
        match self {
            Self::RateLimited { retry_after_seconds } => {
                (status, [(RETRY_AFTER, retry_after_seconds.to_string())], body).into_response()
            }
            _ => (status, body).into_response(),
        }
    }
}

pub(super) fn router(shared: Shared) -> Router {
    let routes = Router::new()
        .route("/bandchain/v1/oracle/proof/{id}", get(proof))
        .route("/oracle/proof/{id}", get(proof))
        .route("/bandchain/v1/oracle/multi_proof", get(multi_proof))
        .route("/oracle/multi_proof", get(multi_proof))
        .route("/bandchain/v1/oracle/requests_count_proof", get(count_proof))
        .route("/oracle/requests_count_proof", get(count_proof))
        .route("/oracle/v1/requests/{id}", get(request))
        .route("/cosmos/auth/v1beta1/accounts/{address}", get(account))
        .route("/cosmos/auth/v1beta1/account_info/{address}", get(account_info))
        .route("/cosmos/bank/v1beta1/balances/{address}/by_denom", get(balance))
        .route("/cosmos/base/tendermint/v1beta1/blocks/{height}", get(block))
        .route("/cosmos/base/tendermint/v1beta1/validatorsets/{height}", get(validators))
        .route("/cosmos/base/tendermint/v1beta1/node_info", get(node_info))
        .route("/cosmos/tx/v1beta1/simulate", post(simulate))
        .route("/cosmos/tx/v1beta1/txs", post(broadcast).get(search))
        .route("/cosmos/tx/v1beta1/txs/{hash}", get(transaction))
        .layer(middleware::from_fn_with_state(shared.clone(), with_height))
        .with_state(shared);
    Router::new().nest("/api", routes.clone()).merge(routes).fallback(not_implemented)
}

/// Writes the newest height into every answer, as a gateway does.
async fn with_height(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert("grpc-metadata-x-cosmos-block-height", shared.read().height().into());
    response
}

async fn not_implemented() -> Response {
    let body = Json(json!({ "code": 12, "message": "Not Implemented", "details": [] }));
    (StatusCode::NOT_IMPLEMENTED, body).into_response()
}

/// Values of a parameter, in order.
fn parameter(query: &RawQuery, name: &str) -> Vec<String> {
    let pairs = query.0.as_deref().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| percent_decoded(key) == name).map(|(_, value)| percent_decoded(value)).collect()
}

fn parse<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, CallError> {
    text.parse().map_err(|_| CallError::Invalid(format!("type mismatch, parameter: {what}, error: {text:?} is no number")))
}

fn layout(chain: &Chain) -> Layout {
    chain.latest().map_or(Layout::V3, |block| block.layout())
}

async fn proof(State(shared): State<Shared>, Path(id): Path<String>, query: RawQuery) -> Answer {
    let run = || {
        let request_id = parse(&id, "request_id")?;
        let height = parameter(&query, "height").first().map_or(Ok(0), |text| parse(text, "height"))?;
        let chain = shared.read();
        let answer = grpc::single_proof(&chain, ProofRequest { request_id, height })?;
        Ok(Json(json::single_proof(&answer, layout(&chain))))
    };
    shared.call("rest/proof", run).await
}

async fn multi_proof(State(shared): State<Shared>, query: RawQuery) -> Answer {
    let run = || {
        let ids = parameter(&query, "request_ids");
        let request_ids =
            ids.iter().flat_map(|ids| ids.split(',')).map(|id| parse(id, "request_ids")).collect::<Result<_, _>>()?;
        let chain = shared.read();
        let answer = grpc::multi_proof(&chain, MultiProofRequest { request_ids })?;
        Ok(Json(json::multi_proof(&answer, layout(&chain))))
    };
    shared.call("rest/multi_proof", run).await
}

async fn count_proof(State(shared): State<Shared>) -> Answer {
    let run = || {
        let chain = shared.read();
        let answer = grpc::count_proof(&chain, RequestCountProofRequest {})?;
        Ok(Json(json::count_proof(&answer, layout(&chain))))
    };
    shared.call("rest/requests_count_proof", run).await
}

async fn request(State(shared): State<Shared>, Path(id): Path<String>) -> Answer {
    let run = || {
        let state = convert::request_state(&shared.read().request(parse(&id, "request_id")?)?);
        let request = state.request.as_ref().map(|request| {
            json!({
                "oracle_script_id": request.oracle_script_id.to_string(),
                "calldata": json::base64(&request.calldata),
                "requested_validators": request.requested_validators,
                "min_count": request.min_count.to_string(),
                "request_height": request.request_height.to_string(),
                "request_time": request.request_time.to_string(),
                "client_id": request.client_id,
                "requester": request.requester,
            })
        });
        let result = state.result.as_ref().map(json::result);
        Ok(Json(json!({ "request": request, "reports": [], "result": result, "signing": null })))
    };
    shared.call("rest/request", run).await
}

fn base_account(chain: &Chain, address: &str) -> Result<Value, CallError> {
    let account = chain.account(address).ok_or_else(|| CallError::NotFound(format!("account {address} not found")))?;
    let (number, sequence) = (account.number.to_string(), account.sequence.to_string());
    Ok(json!({ "address": address, "pub_key": null, "account_number": number, "sequence": sequence }))
}

async fn account(State(shared): State<Shared>, Path(address): Path<String>) -> Answer {
    let run = || {
        let mut account = base_account(&shared.read(), &address)?;
        if let Some(account) = account.as_object_mut() {
            account.insert("@type".to_owned(), "/cosmos.auth.v1beta1.BaseAccount".into());
        }
        Ok(Json(json!({ "account": account })))
    };
    shared.call("rest/account", run).await
}

async fn account_info(State(shared): State<Shared>, Path(address): Path<String>) -> Answer {
    shared.call("rest/account_info", || Ok(Json(json!({ "info": base_account(&shared.read(), &address)? })))).await
}

async fn balance(State(shared): State<Shared>, Path(address): Path<String>, query: RawQuery) -> Answer {
    let run = || {
        let denom = parameter(&query, "denom").into_iter().next().unwrap_or_else(|| DENOM.to_owned());
        let amount = shared.read().balance(&address, &denom).to_string();
        Ok(Json(json!({ "balance": { "denom": denom, "amount": amount } })))
    };
    shared.call("rest/balance", run).await
}

/// Hashes are base64 here, unlike in CometBFT's own RPC.
async fn block(State(shared): State<Shared>, Path(height): Path<String>) -> Answer {
    let run = || {
        let chain = shared.read();
        let height = if height == "latest" { chain.height() } else { parse(&height, "height")? };
        let block = chain.block(height).map_err(|error| CallError::Invalid(error.to_string()))?;
        let header = block.header();
        let id = json!({
            "hash": json::base64(block.hash()),
            "part_set_header": { "total": 1, "hash": json::base64(block.parts_hash()) },
        });
        let header = json!({
            "chain_id": header.chain_id,
            "height": header.height.to_string(),
            "time": json::block_time(block.time_ms()),
            "app_hash": json::base64(&header.app_hash),
            "last_block_id": { "hash": json::base64(&header.last_block_id.hash) },
        });
        let txs: Vec<_> = block.transactions().iter().map(|transaction| json::base64(&transaction.bytes)).collect();
        Ok(Json(json!({ "block_id": id, "block": { "header": header, "data": { "txs": txs } } })))
    };
    shared.call("rest/block", run).await
}

async fn validators(State(shared): State<Shared>, Path(height): Path<String>, query: RawQuery) -> Answer {
    let run = || {
        let chain = shared.read();
        let height = if height == "latest" { chain.height() } else { parse(&height, "height")? };
        let block = chain.block(height).map_err(|error| CallError::Invalid(error.to_string()))?;
        let number = |name: &str| parameter(&query, name).first().map_or(Ok(0), |text| parse::<usize>(text, name));
        let (skip, limit) = (number("pagination.offset")?, number("pagination.limit")?);
        let all = block.validators().validators();
        let page = all.iter().skip(skip).take(if limit == 0 { 100 } else { limit });
        Ok(Json(json!({
            "block_height": height.to_string(),
            "validators": page.map(json::rest_validator).collect::<Vec<_>>(),
            "pagination": { "next_key": null, "total": all.len().to_string() },
        })))
    };
    shared.call("rest/validatorsets", run).await
}

async fn node_info(State(shared): State<Shared>) -> Answer {
    let run = || {
        let chain = shared.read();
        let version = if layout(&chain) == Layout::V3 { "3.1.4" } else { "2.5.4" };
        Ok(Json(json!({
            "default_node_info": { "network": chain.config().chain_id, "moniker": "windlass-devnet-band" },
            "application_version": { "name": "band", "app_name": "bandd", "version": version },
        })))
    };
    shared.call("rest/node_info", run).await
}

async fn simulate(State(shared): State<Shared>, body: body::Bytes) -> Answer {
    let run = || {
        let (_, bytes) = transaction_in(&body)?;
        let (wanted, used) = shared.read().simulate(&bytes)?;
        Ok(Json(json::simulation(wanted, used)))
    };
    shared.call("rest/simulate", run).await
}

async fn search(State(shared): State<Shared>, query: RawQuery) -> Answer {
    let run = || {
        let text = |name: &str| parameter(&query, name).join(" AND ");
        let number = |name: &str| parameter(&query, name).first().map_or(Ok(0), |text| parse::<u64>(text, name));
        let question = GetTxsEventRequest {
            events: parameter(&query, "events"),
            query: text("query"),
            order_by: if text("order_by") == "ORDER_BY_DESC" { OrderBy::Descending as i32 } else { 0 },
            page: number("page")?,
            limit: number("limit")?,
            pagination: Some(PageRequest { limit: number("pagination.limit")?, ..PageRequest::default() }),
        };
        let found = grpc::get_txs_event(&shared.read(), question)?;
        let responses: Vec<_> = found.tx_responses.iter().map(json::tx_response).collect();
        Ok(Json(json!({ "txs": [], "tx_responses": responses, "pagination": null, "total": found.total.to_string() })))
    };
    shared.call("rest/txs", run).await
}

/// The body of a broadcast or simulation, and the transaction in it.
fn transaction_in(body: &[u8]) -> Result<(Value, Vec<u8>), CallError> {
    let request: Value = serde_json::from_slice(body).map_err(|error| CallError::Invalid(error.to_string()))?;
    let text = request.get("tx_bytes").and_then(Value::as_str).unwrap_or_default();
    let bytes = json::from_base64(text).ok_or_else(|| CallError::Invalid("tx_bytes is not base64".to_owned()))?;
    Ok((request, bytes))
}

async fn broadcast(State(shared): State<Shared>, body: body::Bytes) -> Answer {
    let lost = shared.before("rest/broadcast").await?;
    let (request, bytes) = transaction_in(&body)?;
    let wait = match request.get("mode").and_then(Value::as_str) {
        Some("BROADCAST_MODE_SYNC" | "BROADCAST_MODE_ASYNC") => false,
        Some("BROADCAST_MODE_BLOCK") => true,
        _ => return Err(CallError::Invalid("unsupported broadcast mode; supported: sync, async, block".to_owned())),
    };
    let response = match shared.broadcast(&bytes, wait).await? {
        Broadcast::Checked(answer) => convert::check_response(answer),
        Broadcast::Included(transaction) => convert::tx_response(&transaction),
    };
    if lost {
        return Err(CallError::Unavailable);
    }
    Ok(Json(json!({ "tx_response": json::tx_response(&response) })))
}

async fn transaction(State(shared): State<Shared>, Path(hash): Path<String>) -> Answer {
    let run = || {
        let found = shared.read().transaction(&hash);
        let transaction = found.ok_or_else(|| CallError::NotFound(format!("tx not found: {hash}")))?;
        Ok(Json(json!({ "tx_response": json::tx_response(&convert::tx_response(&transaction)) })))
    };
    shared.call("rest/tx", run).await
}
