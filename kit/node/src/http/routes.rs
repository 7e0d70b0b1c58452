//! The routes of the node itself.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::error::ApiError;
use crate::board::Board;
use crate::events::{EventFilter, MAX_PAGE};
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::openapi::Operation;

/// Events on a page when nothing is said.
const PAGE: u32 = 50;

/// What the routes need.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) board: Arc<Board>,
    pub(crate) metrics: Metrics,
    pub(crate) logs: Logs,
    pub(crate) openapi: Arc<Value>,
}

/// Health, metrics and the API of the node.
pub(crate) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi))
        .route("/v1/status", get(status))
        .route("/v1/alerts", get(alerts))
        .route("/v1/events", get(events))
        .route("/v1/log-level", get(log_level).put(set_log_level))
        .with_state(shared)
}

/// Their descriptions.
pub(crate) fn operations() -> Vec<Operation> {
    let object = json!({"type": "object"});
    let ready = json!({"type": "object", "required": ["ready", "reasons", "services"], "properties": {
        "ready": {"type": "boolean"},
        "reasons": {"type": "array", "items": {"type": "string"}},
        "services": {"type": "object", "additionalProperties": {"type": "object", "properties": {
            "ready": {"type": "boolean"}, "state": {"type": "string"}, "role": {"type": "string", "enum": ["active", "standby"]},
            "reasons": {"type": "array", "items": {"type": "string"}}}}}}});
    let level = json!({"type": "object", "required": ["level"], "properties": {"level": {"type": "string",
        "description": "error, warn, info, debug, trace, off, or directives such as info,windlass_chain=debug"}}});
    let event = json!({"type": "object", "required": ["id", "at_ms", "service", "kind", "level", "message", "fields"], "properties": {
        "id": {"type": "string"}, "at_ms": {"type": "integer"}, "service": {"type": "string"}, "kind": {"type": "string"},
        "level": {"type": "string", "enum": ["info", "warning", "error"]}, "message": {"type": "string"},
        "fields": {"type": "object", "additionalProperties": {"type": "string"}}}});
    let page = json!({"type": "object", "required": ["events"], "properties": {
        "events": {"type": "array", "items": event}, "next_page_token": {"type": "string"}}});
    let text = json!({"type": "string"});
    vec![
        Operation::get("/health/live", "Whether the process answers.").open().answer(200, "It does.", object.clone()),
        Operation::get("/health/ready", "Whether every service does its work on fresh data, and why not.")
            .open()
            .answer(200, "All are ready.", ready.clone())
            .answer(503, "Some are not, for the reasons given.", ready),
        Operation::get("/metrics", "Metrics in the text format of Prometheus.").answer_as(
            200,
            "The metrics.",
            "text/plain",
            text.clone(),
        ),
        Operation::get("/openapi.json", "This document.").answer(200, "The document.", object.clone()),
        Operation::get("/v1/status", "What the node and each service is doing now.").answer(200, "The state.", object.clone()),
        Operation::get("/v1/alerts", "Alerts that are raised and not resolved, the worst first.").answer(
            200,
            "The alerts.",
            object,
        ),
        Operation::get("/v1/events", "What the services did, newest first.")
            .query("service", "Only those of one service.", text.clone())
            .query("limit", "At most so many.", json!({"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": PAGE}))
            .query("page_token", "next_page_token of the page before.", text.clone())
            .answer(200, "A page.", page),
        Operation::get("/v1/log-level", "How much is logged.").answer(200, "The level.", level.clone()),
        Operation::put("/v1/log-level", "Changes how much is logged, until the next start.").body(level.clone()).answer(
            200,
            "The new level.",
            level,
        ),
        Operation::get("/", "The dashboard.").answer_as(200, "A page for people.", "text/html", text.clone()),
        Operation::get("/live", "The dashboard's changes as server-sent events.").answer_as(
            200,
            "A stream.",
            "text/event-stream",
            text.clone(),
        ),
        Operation::get("/login", "Asks for a token, for the dashboard.").open().answer_as(200, "A page.", "text/html", text),
    ]
}

async fn live() -> Json<Value> {
    Json(json!({"status": "live"}))
}

async fn ready(State(shared): State<Shared>) -> Response {
    let snapshot = shared.board.snapshot().await;
    let services: serde_json::Map<String, Value> = snapshot
        .services
        .iter()
        .map(|view| {
            let status = &view.status;
            let one = json!({"ready": status.ready.is_ready(), "state": status.state, "role": view.role, "reasons": status.ready.reasons()});
            (status.name.clone(), one)
        })
        .collect();
    let code = if snapshot.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({"ready": snapshot.ready, "reasons": snapshot.reasons, "services": services}))).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render()).into_response()
}

async fn openapi(State(shared): State<Shared>) -> Json<Value> {
    Json(shared.openapi.as_ref().clone())
}

async fn status(State(shared): State<Shared>) -> Response {
    Json(&*shared.board.snapshot().await).into_response()
}

async fn alerts(State(shared): State<Shared>) -> Response {
    Json(json!({"alerts": shared.board.alerts.active()})).into_response()
}

#[derive(Debug, Deserialize)]
struct EventsQuery {
    service: Option<String>,
    limit: Option<u32>,
    page_token: Option<String>,
}

async fn events(State(shared): State<Shared>, Query(query): Query<EventsQuery>) -> Result<Json<Value>, ApiError> {
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        let error = ApiError::bad_request("limit_invalid", format!("limit must be from 1 to {MAX_PAGE}"));
        return Err(error.hint("leave it out for the default"));
    }
    let before = match &query.page_token {
        None => None,
        Some(token) => Some(page_of(token, query.service.as_deref()).ok_or_else(|| {
            let error = ApiError::bad_request("page_token_invalid", "this page token does not belong to this list");
            error.hint("use next_page_token of an answer with the same service, or leave it out")
        })?),
    };
    // One more than asked for tells whether there is a next page.
    let filter = EventFilter { service: query.service.clone(), before, limit: limit.saturating_add(1) };
    let mut events = shared.board.events.page(&filter).await?;
    let more = events.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if more {
        events.pop();
    }
    let mut answer = json!({"events": events});
    if let (true, Some(last), Some(answer)) = (more, events.last(), answer.as_object_mut()) {
        answer.insert("next_page_token".to_owned(), Value::from(token_for(last.id, query.service.as_deref())));
    }
    Ok(Json(answer))
}

/// A page token: the last id seen and a check that the list is the same.
fn token_for(id: i64, service: Option<&str>) -> String {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(list_check(id, service));
    hex::encode(bytes)
}

fn page_of(token: &str, service: Option<&str>) -> Option<i64> {
    let bytes = hex::decode(token).ok()?;
    let (id, check) = bytes.split_first_chunk::<8>()?;
    let id = i64::from_be_bytes(*id);
    (check == list_check(id, service)).then_some(id)
}

fn list_check(id: i64, service: Option<&str>) -> [u8; 4] {
    let mut hasher = Sha256::new();
    hasher.update(id.to_be_bytes());
    hasher.update(service.map_or_else(|| "all".to_owned(), |service| format!("service {service}")));
    let digest: [u8; 32] = hasher.finalize().into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogLevel {
    level: String,
}

async fn log_level(State(shared): State<Shared>) -> Json<Value> {
    Json(json!({"level": shared.logs.level()}))
}

async fn set_log_level(State(shared): State<Shared>, Json(wanted): Json<LogLevel>) -> Result<Json<Value>, ApiError> {
    shared.logs.set_level(&wanted.level).map_err(|problem| {
        ApiError::unprocessable("log_level_invalid", problem)
            .hint("one of error, warn, info, debug, trace, off, or directives such as info,windlass_chain=debug")
    })?;
    tracing::info!(level = %wanted.level, "log level changed");
    Ok(Json(json!({"level": shared.logs.level()})))
}
