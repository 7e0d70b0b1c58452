//! One shape for every answer that is an error.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Identifier of a request: in the header `x-request-id`, in errors and in the log. Taken from the client if it sent a usable one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub String);

/// Marks a response whose body must go out as it is, although it is an error: for interfaces that existing clients know.
#[derive(Clone, Copy, Debug)]
pub struct RawBody;

/// An error as a handler returns it. Answered as `{"request_id", "code", "message", "hint"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Status of the answer.
    pub status: StatusCode,
    /// One word with underscores, for programs.
    pub code: String,
    /// What is wrong, for people. No secrets.
    pub message: String,
    /// What can be done.
    pub hint: Option<String>,
    /// Seconds after which the same request may succeed.
    pub retry_after: Option<u64>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    request_id: &'a str,
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl ApiError {
    /// Any error.
    pub fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), hint: None, retry_after: None }
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 409: it does not fit the present state.
    pub fn conflict(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 422: it is understood but cannot be right.
    pub fn unprocessable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    /// 503: not now.
    pub fn unavailable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    /// 500. The cause belongs into the log, not into the answer.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the node could not do it because of a fault of its own")
            .hint("look for the request id in the log")
    }

    /// With what can be done.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the seconds after which the same request may succeed.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The answer with an id in it.
    pub(crate) fn respond(&self, request_id: &str) -> Response {
        let body = ErrorBody { request_id, code: &self.code, message: &self.message, hint: self.hint.as_deref() };
        let text = serde_json::to_string(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // The id is filled in by the outermost layer, which finds the error in the extensions.
        let mut response = self.respond("");
        response.extensions_mut().insert(self);
        response
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ApiError {}

impl From<windlass_store::StoreError> for ApiError {
    fn from(error: windlass_store::StoreError) -> Self {
        tracing::error!(%error, "the store failed while a request was answered");
        if error.is_transient() {
            Self::unavailable("store_unavailable", "the database does not answer at the moment").retry_after(1)
        } else {
            Self::internal()
        }
    }
}

/// The code of an error that a library answered with a bare status.
pub(crate) fn code_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "bad_request",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        405 => "method_not_allowed",
        408 => "request_timeout",
        411 => "length_required",
        413 => "body_too_large",
        414 => "uri_too_long",
        415 => "unsupported_media_type",
        422 => "unprocessable",
        _ => "internal",
    }
}
