//! The HTTP interface of one agreement: translates, decides nothing.

use std::sync::Arc;

use alloy_primitives::U256;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use windlass_node::http::ApiError;
use windlass_node::openapi::Operation;

use crate::cli::text;
use crate::error::PayerError;
use crate::history;
use crate::machine::{Agreement, BlockPoint, Command, Event, Health};
use crate::protocol::Holdings;
use crate::service::{Shared, health_word, reasons};
use crate::tables;

/// What is known about an agreement, as JSON. Amounts are decimal texts in token base units.
#[derive(Debug, Clone, Serialize)]
pub struct AgreementView {
    /// Name of the instance.
    pub name: String,
    /// The contract.
    pub contract: String,
    /// `paid`, `unpaid` or `unknown`.
    pub answer: &'static str,
    /// The firm state; `null` before the first observation.
    pub phase: Option<crate::machine::Phase>,
    /// Since when, Unix milliseconds.
    pub phase_since_ms: i64,
    /// Why the answer is `unknown`, or what else is wrong.
    pub reasons: Vec<String>,
    /// Unpaid answers are being confirmed.
    pub confirming: bool,
    /// Last paid second; `null` before the first observation or when the cover never ends.
    pub paid_until: Option<u64>,
    /// The same as a date.
    pub paid_until_date: Option<String>,
    /// Seconds left at the block; negative when overdue.
    pub seconds_left: Option<i64>,
    /// Token units per second.
    pub requested_rate: Option<U256Text>,
    /// Start, Unix seconds.
    pub start_timestamp: Option<U256Text>,
    /// Sum of all payments.
    pub total_paid: Option<U256Text>,
    /// Missing at the block.
    pub deficit: Option<U256Text>,
    /// Tokens held.
    pub held: Option<U256Text>,
    /// Tokens owed to the keypers.
    pub owed: Option<U256Text>,
    /// Tokens that nobody can ever withdraw.
    pub stray: Option<U256Text>,
    /// Last paid second by the newest finalized block.
    pub paid_until_finalized: Option<u64>,
    /// The block of these figures.
    pub block: Option<BlockPoint>,
    /// When they were read, Unix milliseconds.
    pub observed_at_ms: Option<i64>,
    /// The action that is not finished.
    pub action: Option<crate::machine::Action>,
    /// The agent runs in this process.
    pub acting: bool,
}

/// A 256-bit number as decimal text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct U256Text(pub U256);

impl Serialize for U256Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

pub(crate) fn view(shared: &Shared, state: &Agreement) -> AgreementView {
    let observation = state.seen.as_ref().map(|seen| &seen.observation);
    let number = |read: fn(&crate::machine::Observation) -> U256| observation.map(|o| U256Text(read(o)));
    let paid_until = state.paid_until_s();
    let signed = |until: u64, head: u64| i64::try_from(i128::from(until) - i128::from(head)).unwrap_or(i64::MAX);
    AgreementView {
        name: shared.instance.clone(),
        contract: shared.contract.to_string(),
        answer: health_word(state.health()),
        phase: state.phase,
        phase_since_ms: state.phase_since.0,
        reasons: reasons(state),
        confirming: state.unpaid_run.is_some() && state.health() != Health::Unpaid,
        paid_until,
        paid_until_date: paid_until.map(text::time),
        seconds_left: observation.zip(paid_until).map(|(o, until)| signed(until, o.block.time_s)),
        requested_rate: number(|o| o.terms.requested_rate),
        start_timestamp: number(|o| o.terms.start_timestamp),
        total_paid: number(|o| o.total_paid),
        deficit: observation.and_then(|o| o.terms.deficit_at(o.total_paid, o.block.time_s)).map(U256Text),
        held: number(|o| o.held),
        owed: number(|o| o.owed),
        stray: number(|o| Holdings { held: o.held, owed: o.owed }.stray()),
        paid_until_finalized: observation.and_then(|o| o.terms.paid_until(o.finalized.as_ref()?.total_paid).unix_seconds()),
        block: observation.map(|o| o.block),
        observed_at_ms: state.seen.as_ref().map(|seen| seen.at.0),
        action: state.action.clone(),
        acting: shared.runs_here(),
    }
}

fn to_api_error(error: &PayerError) -> ApiError {
    let made = match error {
        PayerError::Input { .. } | PayerError::AmountTooLarge { .. } => {
            ApiError::bad_request("invalid_request", error.to_string())
        }
        error if error.is_transient() => ApiError::unavailable("unavailable", error.to_string()),
        PayerError::Agreement { .. } | PayerError::Chain(_) => ApiError::unavailable("chain", error.to_string()),
        _ => ApiError::internal(),
    };
    match error.hint() {
        Some(hint) => made.hint(hint),
        None => made,
    }
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    let state = match shared.state().await {
        Ok(state) => state,
        Err(error) => {
            let body = json!({ "status": "unknown", "reasons": [error.to_string()] });
            return (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
        }
    };
    let view = view(&shared, &state);
    let status = match state.health() {
        Health::Paid => StatusCode::OK,
        Health::Unpaid => StatusCode::PAYMENT_REQUIRED,
        Health::Unknown => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut reasons = view.reasons.clone();
    if state.health() == Health::Unpaid {
        let missing = view.deficit.map_or_else(String::new, |deficit| format!(": {} token units are missing", deficit.0));
        reasons.insert(0, format!("not paid{missing}"));
    }
    let body = json!({
        "status": view.answer,
        "name": view.name,
        "phase": view.phase,
        "reasons": reasons,
        "paid_until": view.paid_until,
        "seconds_left": view.seconds_left,
        "deficit": view.deficit,
        "confirming": view.confirming,
        "block": view.block,
        "observed_at_ms": view.observed_at_ms,
    });
    (status, Json(body)).into_response()
}

async fn status(State(shared): State<Arc<Shared>>) -> Result<Json<AgreementView>, ApiError> {
    let state = shared.state().await.map_err(|error| to_api_error(&error))?;
    Ok(Json(view(&shared, &state)))
}

#[derive(Deserialize)]
struct Page {
    limit: Option<u32>,
}

impl Page {
    fn limit(&self) -> u32 {
        self.limit.unwrap_or(50).clamp(1, 500)
    }
}

async fn list_history(State(shared): State<Arc<Shared>>, Query(page): Query<Page>) -> Result<Json<Value>, ApiError> {
    let entries = tables::history(&shared.store, &shared.instance, page.limit()).await.map_err(|e| to_api_error(&e))?;
    Ok(Json(json!({ "history": entries })))
}

async fn list_actions(State(shared): State<Arc<Shared>>, Query(page): Query<Page>) -> Result<Json<Value>, ApiError> {
    let entries = tables::actions(&shared.store, &shared.instance, page.limit()).await.map_err(|e| to_api_error(&e))?;
    Ok(Json(json!({ "actions": entries })))
}

#[derive(Deserialize)]
struct QuoteQuery {
    until: String,
}

async fn quote(State(shared): State<Arc<Shared>>, Query(query): Query<QuoteQuery>) -> Result<Json<Value>, ApiError> {
    let now = u64::try_from(shared.store.clock().now().to_seconds().0).unwrap_or(0);
    let until = text::parse_moment(&query.until, now).map_err(|error| to_api_error(&error))?;
    let quote = crate::payments::quote(&shared.reader, until).await.map_err(|error| to_api_error(&error))?;
    Ok(Json(json!(quote)))
}

#[derive(Deserialize)]
struct PaymentsQuery {
    from_block: Option<u64>,
}

async fn payments(State(shared): State<Arc<Shared>>, Query(query): Query<PaymentsQuery>) -> Result<Json<Value>, ApiError> {
    let from = query.from_block.or(shared.deployed_at_block);
    let found = history::collect(&shared.reader, from).await.map_err(|error| to_api_error(&error))?;
    Ok(Json(json!(found)))
}

fn send(shared: &Shared, command: Command) -> Result<(StatusCode, Json<Value>), ApiError> {
    if shared.send(Event::Command(command)) {
        return Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": command }))));
    }
    Err(ApiError::unavailable("not_acting", "the agent of this agreement does not run in this process, or is too busy")
        .hint("ask the instance that holds the lease"))
}

async fn recheck(State(shared): State<Arc<Shared>>) -> Result<(StatusCode, Json<Value>), ApiError> {
    send(&shared, Command::Recheck)
}

async fn retry(State(shared): State<Arc<Shared>>) -> Result<(StatusCode, Json<Value>), ApiError> {
    send(&shared, Command::RetryNow)
}

/// The routes below `/v1/payer/<instance>`.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(status))
        .route("/history", get(list_history))
        .route("/actions", get(list_actions))
        .route("/quote", get(quote))
        .route("/payments", get(payments))
        .route("/recheck", post(recheck))
        .route("/retry", post(retry))
        .with_state(shared)
}

/// The route below `/health`.
pub(crate) fn health_router(shared: Arc<Shared>) -> Router {
    Router::new().route(&format!("/paid/{}", shared.instance), get(health)).with_state(shared)
}

/// Descriptions of these routes.
pub(crate) fn operations(instance: &str) -> Vec<Operation> {
    let object = || json!({ "type": "object" });
    let limit = || json!({ "type": "integer", "minimum": 1, "maximum": 500, "default": 50 });
    vec![
        Operation::get("/", "State of the agreement").answer(200, "The state", object()),
        Operation::get("/history", "What happened, newest first").query("limit", "How many entries", limit()).answer(
            200,
            "Entries",
            object(),
        ),
        Operation::get("/actions", "Attempts of actions, newest first").query("limit", "How many entries", limit()).answer(
            200,
            "Entries",
            object(),
        ),
        Operation::get("/quote", "What to pay so that it is paid until a moment")
            .query("until", "Unix seconds, a date, or a time from now such as +30d", json!({ "type": "string" }))
            .answer(200, "The quote", object()),
        Operation::get("/payments", "Payments and withdrawals, rebuilt from the chain")
            .query("from_block", "First block to search", json!({ "type": "integer", "minimum": 0 }))
            .answer(200, "Payments, withdrawals and stray transfers", object()),
        Operation::post("/recheck", "Look at the contract now").answer(202, "Accepted", object()),
        Operation::post("/retry", "Retry a failed action now").answer(202, "Accepted", object()),
        Operation::get(format!("/health/paid/{instance}"), "Whether the agreement is paid")
            .at_root()
            .open()
            .answer(200, "Paid", object())
            .answer(402, "Not paid", object())
            .answer(503, "Cannot tell", object()),
    ]
}
