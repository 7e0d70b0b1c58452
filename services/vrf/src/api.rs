//! The HTTP interface of one relay: translates, decides nothing.
//!
//! | Route below `/v1/vrf/<instance>` | Answer |
//! | --- | --- |
//! | `GET /` | where the relay stands |
//! | `GET /tasks`, `GET /tasks/{nonce}` | tasks in pages, and everything that is stored about one |
//! | `POST /tasks/{nonce}/retry`, `POST /tasks/{nonce}/give-up`, `POST /recheck` | what an operator may ask for; 202, done by the agent |
//! | `GET /drift` | the Bridge's validators beside those that sign now |
//! | `GET /statistics` | earned, spent, and how long the balances last |

mod describe;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{B256, U256, keccak256};
use axum::body::Bytes;
use axum::extract::{Path, Query, State as AxumState};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use windlass_chain::Endpoints;
use windlass_node::http::ApiError;
use windlass_store::{Store, UnixMillis};

use crate::config::VrfConfig;
use crate::drift::DriftReport;
use crate::economics::{MAX_DAYS, Statistics};
use crate::error::VrfError;
use crate::machine::{Command, State, Task, TaskKey};
use crate::ports::band::BandApi;
use crate::ports::client_chain::ProviderReader;
use crate::shared::{DriftView, Picture, Shared};
use crate::tables::{Filter, Scope};
use crate::trace::{TaskView, Trace, as_optional_text, main_of};
use crate::view::Latencies;

pub(crate) use describe::operations;

/// Tasks on a page when nothing is said, and at most.
const PAGE: u32 = 50;
const MAX_PAGE: u32 = 500;
/// Days that are summed up when nothing is said.
const DAYS: u32 = 30;
/// Longest reason of an operator, in characters.
const MAX_REASON: usize = 500;
/// Held tasks that the first page names, per hold one.
const EXAMPLES: u32 = 50;

/// What the routes need.
pub(crate) struct Handle {
    /// Name of the service: `vrf.sepolia`.
    pub(crate) name: String,
    pub(crate) config: Arc<VrfConfig>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Store,
    pub(crate) endpoints: Endpoints,
    pub(crate) reader: ProviderReader,
    pub(crate) band: Arc<dyn BandApi>,
    pub(crate) scope: OnceCell<Scope>,
}

impl Handle {
    fn now(&self) -> UnixMillis {
        self.store.clock().now()
    }

    /// Whose rows. The chain id comes from an endpoint; while none has ever answered, from the rows if they are of one chain only.
    async fn scope(&self) -> Result<Scope, ApiError> {
        let provider = self.config.provider;
        let found = self.scope.get_or_try_init(|| async {
            let refused = match self.endpoints.chain_id().await {
                Ok(chain_id) => return Ok(Scope { chain_id, provider }),
                Err(error) => error,
            };
            match Scope::stored(&self.store, provider).await.map_err(to_api_error)?.as_slice() {
                [scope] => Ok(*scope),
                _ => Err(to_api_error(refused.into())),
            }
        });
        found.await.copied()
    }

    /// The tasks under a number, of which there must be one.
    async fn tasks_under(&self, nonce: u64) -> Result<Vec<Task>, ApiError> {
        let tasks = match i64::try_from(nonce) {
            Ok(_) => self.scope().await?.tasks_under(&self.store, nonce).await.map_err(to_api_error)?,
            // No row can have a number that the database cannot hold.
            Err(_) => Vec::new(),
        };
        if tasks.is_empty() { Err(unknown_task(nonce)) } else { Ok(tasks) }
    }

    /// Hands a command to the agent.
    fn send(&self, command: Command) -> Result<(StatusCode, Json<Value>), ApiError> {
        let accepted = json!({ "accepted": command });
        if self.shared.send(command) {
            return Ok((StatusCode::ACCEPTED, Json(accepted)));
        }
        Err(ApiError::unavailable("not_acting", "this relay does not run in this process, or is too busy")
            .hint("ask the instance that holds the lease"))
    }
}

fn unknown_task(nonce: u64) -> ApiError {
    ApiError::not_found(format!("nothing is stored about task {nonce}")).hint(
        "its caller is not listed, its number lies before the look-back, or the provider has no such task; a retry reads it again",
    )
}

fn to_api_error(error: VrfError) -> ApiError {
    let made = match &error {
        VrfError::Store(error) => return error.clone().into(),
        error if error.is_transient() => ApiError::unavailable("unavailable", error.to_string()).retry_after(1),
        VrfError::Chain(_) | VrfError::Read(_) | VrfError::Band(_) | VrfError::Contract(_) => {
            ApiError::unavailable("chain", error.to_string())
        }
        error => {
            tracing::error!(%error, "a request could not be answered");
            return ApiError::internal();
        }
    };
    match error.hint() {
        Some(hint) => made.hint(hint),
        None => made,
    }
}

/// The relay as the first route shows it.
#[derive(Serialize)]
struct RelayView<'a> {
    name: &'a str,
    provider: String,
    chain: &'a str,
    /// Whether the agent runs in this process.
    acting: bool,
    dry_run: bool,
    /// Tasks per state, all that are stored.
    states: BTreeMap<State, u64>,
    holds: BTreeMap<String, HeldView>,
    balances: BalancesView<'a>,
    drift: Option<DriftView>,
    latency: Option<Latencies>,
    /// Why the client chain cannot be followed.
    follow_error: Option<String>,
    /// What the agent saw last; `null` while it does not run here.
    picture: Option<Picture>,
}

#[derive(Serialize)]
struct HeldView {
    tasks: u64,
    /// The task with the lowest number, in one sentence.
    example: Option<String>,
}

#[derive(Serialize)]
struct BalancesView<'a> {
    #[serde(serialize_with = "as_optional_text")]
    client_wei: Option<U256>,
    #[serde(serialize_with = "as_optional_text")]
    band: Option<u128>,
    band_denom: &'a str,
}

async fn relay(AxumState(handle): AxumState<Arc<Handle>>) -> Result<Json<Value>, ApiError> {
    let scope = handle.scope().await?;
    let states = scope.counts(&handle.store).await.map_err(to_api_error)?;
    let counts = scope.holds(&handle.store).await.map_err(to_api_error)?;
    let tasks = scope.oldest(&handle.store, Filter::Held, EXAMPLES).await.map_err(to_api_error)?;
    let example = |name: &str| {
        let task = tasks.iter().find(|task| task.hold.as_ref().is_some_and(|hold| hold.name() == name))?;
        Some(format!("task {}: {}", task.chain.nonce, task.why()))
    };
    let holds = counts.into_iter().map(|(name, tasks)| {
        let example = example(&name);
        (name, HeldView { tasks, example })
    });
    let balances = handle.shared.balances();
    let view = RelayView {
        name: &handle.name,
        provider: handle.config.provider.to_string(),
        chain: handle.endpoints.name(),
        acting: handle.shared.runs_here(),
        dry_run: handle.config.dry_run,
        states,
        holds: holds.collect(),
        balances: BalancesView { client_wei: balances.client_wei, band: balances.band, band_denom: &handle.config.band.denom },
        drift: handle.shared.drift(),
        latency: Latencies::of(&handle.shared.latencies()),
        follow_error: handle.shared.follow_error(),
        picture: handle.shared.picture(),
    };
    Ok(Json(json!(view)))
}

#[derive(Deserialize)]
struct TasksQuery {
    state: Option<String>,
    limit: Option<u32>,
    before: Option<String>,
}

async fn tasks(AxumState(handle): AxumState<Arc<Handle>>, Query(query): Query<TasksQuery>) -> Result<Json<Value>, ApiError> {
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        let error = ApiError::bad_request("limit_invalid", format!("limit must be from 1 to {MAX_PAGE}"));
        return Err(error.hint("leave it out for the default"));
    }
    let name = query.state.as_deref().unwrap_or(Filter::All.name());
    let filter = Filter::from_name(name).ok_or_else(|| {
        let states = State::ALL.map(State::name).join(", ");
        ApiError::bad_request("state_invalid", format!("there is no state {name:?}"))
            .hint(format!("one of all, unfinished, held, {states}"))
    })?;
    let before = match &query.before {
        None => None,
        Some(token) => Some(page_of(token, filter).ok_or_else(|| {
            ApiError::bad_request("page_token_invalid", "this page token does not belong to this list")
                .hint("use next_page_token of an answer with the same state, or leave it out")
        })?),
    };
    // One more than asked for tells whether there is a next page.
    let scope = handle.scope().await?;
    let mut found = scope.page(&handle.store, filter, before, limit.saturating_add(1)).await.map_err(to_api_error)?;
    let more = found.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if more {
        found.pop();
    }
    let now = handle.now();
    let views: Vec<TaskView> = found.iter().map(|task| TaskView::new(task, now)).collect();
    let mut answer = json!({ "tasks": views });
    if let (true, Some(last), Some(answer)) = (more, found.last(), answer.as_object_mut()) {
        answer.insert("next_page_token".to_owned(), Value::from(token_for(last.key(), filter)));
    }
    Ok(Json(answer))
}

/// A page token: the last task seen, and a check that the list is the same.
fn token_for(key: TaskKey, filter: Filter) -> String {
    let mut bytes = key.nonce.to_be_bytes().to_vec();
    bytes.extend(key.seed);
    bytes.extend(list_check(&bytes, filter));
    hex::encode(bytes)
}

fn page_of(token: &str, filter: Filter) -> Option<TaskKey> {
    let bytes = hex::decode(token).ok()?;
    let (key, check) = bytes.split_at_checked(40)?;
    let (nonce, seed) = key.split_first_chunk::<8>()?;
    let nonce = u64::from_be_bytes(*nonce);
    // A number that no row can have would be refused by the database.
    let known = check == list_check(key, filter) && i64::try_from(nonce).is_ok();
    known.then(|| Some(TaskKey { nonce, seed: B256::try_from(seed).ok()? }))?
}

fn list_check(key: &[u8], filter: Filter) -> [u8; 4] {
    let [a, b, c, d, ..] = keccak256([key, filter.name().as_bytes()].concat()).0;
    [a, b, c, d]
}

async fn task(AxumState(handle): AxumState<Arc<Handle>>, Path(nonce): Path<u64>) -> Result<Json<Trace>, ApiError> {
    let scope = handle.scope().await?;
    let trace = Trace::load(scope, &handle.store, nonce, handle.now()).await.map_err(to_api_error)?;
    trace.map(Json).ok_or_else(|| unknown_task(nonce))
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Retry {
    #[serde(default)]
    request_again: bool,
}

/// The body as JSON; an empty one is the default.
fn body_of<T: serde::de::DeserializeOwned + Default>(body: &Bytes) -> Result<T, ApiError> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body)
        .map_err(|error| ApiError::unprocessable("body_invalid", format!("the body cannot be read: {error}")))
}

async fn retry(
    AxumState(handle): AxumState<Arc<Handle>>,
    Path(nonce): Path<u64>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let Retry { request_again } = body_of(&body)?;
    // A task that nothing is stored about may be read for the first time: its caller may have been listed since.
    let stored = match handle.tasks_under(nonce).await {
        Ok(tasks) => tasks,
        Err(error) if error.status == StatusCode::NOT_FOUND && i64::try_from(nonce).is_ok() => Vec::new(),
        Err(error) => return Err(error),
    };
    if let Some(task) = main_of(&stored).filter(|task| task.state == State::Resolved) {
        return Err(ApiError::conflict("finished", format!("task {nonce}: {}", task.why())));
    }
    handle.send(Command::Retry { nonce, request_again })
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct GiveUp {
    #[serde(default)]
    reason: String,
}

async fn give_up(
    AxumState(handle): AxumState<Arc<Handle>>,
    Path(nonce): Path<u64>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let GiveUp { reason } = body_of(&body)?;
    let reason = reason.trim().to_owned();
    if reason.is_empty() || reason.chars().count() > MAX_REASON {
        return Err(ApiError::unprocessable("reason_invalid", format!("reason must have 1 to {MAX_REASON} characters")));
    }
    let stored = handle.tasks_under(nonce).await?;
    if let Some(task) = main_of(&stored).filter(|task| task.state.is_terminal()) {
        return Err(ApiError::conflict("finished", format!("task {nonce}: {}", task.why())));
    }
    handle.send(Command::GiveUp { nonce, reason })
}

async fn recheck(AxumState(handle): AxumState<Arc<Handle>>) -> Result<(StatusCode, Json<Value>), ApiError> {
    handle.send(Command::Recheck)
}

async fn drift(AxumState(handle): AxumState<Arc<Handle>>) -> Result<Json<DriftReport>, ApiError> {
    DriftReport::read(&handle.reader, &*handle.band).await.map(Json).map_err(to_api_error)
}

#[derive(Deserialize)]
struct StatisticsQuery {
    days: Option<u32>,
}

async fn statistics(
    AxumState(handle): AxumState<Arc<Handle>>,
    Query(query): Query<StatisticsQuery>,
) -> Result<Json<Statistics>, ApiError> {
    let days = query.days.unwrap_or(DAYS);
    if !(1..=MAX_DAYS).contains(&days) {
        return Err(ApiError::bad_request("days_invalid", format!("days must be from 1 to {MAX_DAYS}")));
    }
    let (scope, balances) = (handle.scope().await?, handle.shared.balances());
    let loaded = Statistics::load(scope, &handle.store, &handle.config, &balances, days, handle.now()).await;
    loaded.map(Json).map_err(to_api_error)
}

/// The routes below `/v1/vrf/<instance>`.
pub(crate) fn router(handle: Handle) -> Router {
    Router::new()
        .route("/", get(relay))
        .route("/tasks", get(tasks))
        .route("/tasks/{nonce}", get(task))
        .route("/tasks/{nonce}/retry", post(retry))
        .route("/tasks/{nonce}/give-up", post(give_up))
        .route("/recheck", post(recheck))
        .route("/drift", get(drift))
        .route("/statistics", get(statistics))
        .with_state(Arc::new(handle))
}
