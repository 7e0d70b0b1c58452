//! Requests that are carried out once however often they are sent.
//!
//! A `POST` with the header `Idempotency-Key` is noted in the store before it is carried out, and its answer after. The same key
//! with the same content is answered with the first answer; with other content it is refused; while the first is still under way,
//! the second is told to come back. Answers of 500 and above are not kept: the request may be tried again under its key.
//!
//! A crash between the two notes leaves an answer unknown. The key is therefore also given to the handler ([`IdempotencyKey`] in the
//! extensions), which must make its effect idempotent under it (for example as the key of an outbox intent): after
//! [`TAKE_OVER`] the request is handed to it again.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use windlass_store::{Store, StoreError, UnixMillis, Value};

use super::error::ApiError;

/// How long answers are kept.
const KEEP: Duration = Duration::from_secs(24 * 3_600);
/// After this time without an answer, a request counts as interrupted and may be carried out again.
pub const TAKE_OVER: Duration = Duration::from_secs(120);
/// Answers above this size are sent but not kept.
const MAX_ANSWER: usize = 1_048_576;
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The key of a request, for handlers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(pub String);

#[derive(Clone, Debug)]
struct Keeper {
    store: Store,
    scope: Arc<str>,
}

/// Makes every `POST` of a router repeatable. `scope` keeps the keys of different services apart.
pub fn apply(router: Router, store: Store, scope: &str) -> Router {
    router.layer(middleware::from_fn_with_state(Keeper { store, scope: scope.into() }, layer))
}

async fn layer(State(keeper): State<Keeper>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let key = match request.headers().get(KEY).map(|value| value.to_str()) {
        None => return next.run(request).await,
        Some(Ok(key)) if (1..=128).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) => key.to_owned(),
        Some(_) => {
            let error = ApiError::bad_request("idempotency_key_invalid", "the Idempotency-Key cannot be used");
            return error.hint("1 to 128 printable ASCII characters without blanks").into_response();
        }
    };
    match keeper.once(key, request, next).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

/// What the store knows about a key.
enum Known {
    /// Nothing: it is ours to carry out.
    Fresh,
    /// It was answered.
    Answered { status: u16, content_type: Option<String>, body: Vec<u8> },
    /// Somebody is at it.
    UnderWay,
    /// It was another request.
    Other,
}

impl Keeper {
    async fn once(&self, key: String, request: Request, next: Next) -> Result<Response, ApiError> {
        let (parts, body) = request.into_parts();
        let mut hasher = Sha256::new();
        hasher.update(parts.uri.to_string().as_bytes());
        hasher.update([0]);
        // The limit of the body is that of the router.
        let body = Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await.map_err(|rejection| {
            ApiError::new(rejection.status(), super::error::code_of(rejection.status()), rejection.body_text())
        })?;
        hasher.update(&body);
        let digest = hasher.finalize().to_vec();
        match self.begin(&key, digest).await? {
            Known::Fresh => {}
            Known::Answered { status, content_type, body } => return Ok(replay(status, content_type, body)),
            Known::UnderWay => {
                let error = ApiError::conflict("idempotency_key_in_use", "the first request with this key is still under way");
                return Err(error.retry_after(1));
            }
            Known::Other => {
                let error =
                    ApiError::unprocessable("idempotency_key_reused", "this key was used for a request with other content");
                return Err(error.hint("use a new key for a new request"));
            }
        }
        let mut request = Request::from_parts(parts, Body::from(body));
        request.extensions_mut().insert(IdempotencyKey(key.clone()));
        let response = next.run(request).await;
        self.end(&key, response).await
    }

    /// Notes the request, unless it is known.
    async fn begin(&self, key: &str, digest: Vec<u8>) -> Result<Known, StoreError> {
        let UnixMillis(now) = self.store.clock().now();
        let (scope, key) = (self.scope.to_string(), key.to_owned());
        let keep_from = now.saturating_sub(millis(KEEP));
        let alive_from = now.saturating_sub(millis(TAKE_OVER));
        self.store
            .write("idempotency begin", move |tx| {
                Box::pin(async move {
                    tx.execute("DELETE FROM node_idempotency WHERE started_at_ms < $1", vec![Value::Integer(keep_from)]).await?;
                    let sql = "INSERT INTO node_idempotency (scope, request_key, digest, started_at_ms) VALUES ($1, $2, $3, $4) \
                               ON CONFLICT (scope, request_key) DO NOTHING";
                    let params = vec![
                        Value::Text(scope.clone()),
                        Value::Text(key.clone()),
                        Value::Blob(digest.clone()),
                        Value::Integer(now),
                    ];
                    if tx.execute(sql, params).await? == 1 {
                        return Ok(Known::Fresh);
                    }
                    let sql = "SELECT digest, started_at_ms, status, content_type, body FROM node_idempotency \
                               WHERE scope = $1 AND request_key = $2";
                    let id = vec![Value::Text(scope.clone()), Value::Text(key.clone())];
                    let Some(row) = tx.query_optional(sql, id).await? else { return Ok(Known::UnderWay) };
                    if row.get::<Vec<u8>>("digest")? != digest {
                        return Ok(Known::Other);
                    }
                    if let Some(status) = row.get::<Option<i64>>("status")? {
                        return Ok(Known::Answered {
                            status: u16::try_from(status).unwrap_or(500),
                            content_type: row.get("content_type")?,
                            body: row.get::<Option<Vec<u8>>>("body")?.unwrap_or_default(),
                        });
                    }
                    if row.get::<i64>("started_at_ms")? > alive_from {
                        return Ok(Known::UnderWay);
                    }
                    let sql = "UPDATE node_idempotency SET started_at_ms = $3 WHERE scope = $1 AND request_key = $2";
                    tx.execute(sql, vec![Value::Text(scope), Value::Text(key), Value::Integer(now)]).await?;
                    Ok(Known::Fresh)
                })
            })
            .await
    }

    /// Notes the answer, or takes the note of the request back if it may be tried again.
    async fn end(&self, key: &str, response: Response) -> Result<Response, ApiError> {
        let id = vec![Value::Text(self.scope.to_string()), Value::Text(key.to_owned())];
        let status = response.status();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, MAX_ANSWER).await.ok();
        let (sql, params) = match &body {
            Some(body) if !status.is_server_error() => {
                let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
                let mut params = id;
                params.push(Value::Integer(i64::from(status.as_u16())));
                params.push(content_type.map_or(Value::Null, |text| Value::Text(text.to_owned())));
                params.push(Value::Blob(body.to_vec()));
                let sql =
                    "UPDATE node_idempotency SET status = $3, content_type = $4, body = $5 WHERE scope = $1 AND request_key = $2";
                (sql, params)
            }
            _ => ("DELETE FROM node_idempotency WHERE scope = $1 AND request_key = $2", id),
        };
        let noted: Result<(), StoreError> = self
            .store
            .write("idempotency end", move |tx| Box::pin(async move { tx.execute(sql, params).await.map(|_| ()) }))
            .await;
        if let Err(error) = noted {
            // The work is done: the client should know. A repetition finds the note of the request and the handler's own guard.
            tracing::error!(%error, "the answer to a request could not be kept under its idempotency key");
        }
        match body {
            Some(body) => Ok(Response::from_parts(parts, Body::from(body))),
            None => Err(ApiError::internal()),
        }
    }
}

fn replay(status: u16, content_type: Option<String>, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(value) = content_type.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
