//! What can go wrong between asking a node and having its answer.

use std::sync::Arc;

use alloy_primitives::Bytes;

use super::classify;

/// Failure of one request at one endpoint.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The deadline passed. The node may have executed the request.
    #[error("no answer within {after_ms} ms")]
    Timeout {
        /// The deadline, milliseconds.
        after_ms: u64,
    },
    /// No connection came about; the node has not seen the request.
    #[error("cannot connect: {}", root_cause(.source.as_ref()))]
    Connect {
        /// Cause, without the URL.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The connection broke before the answer was complete. The node may have executed the request.
    #[error("connection lost before the answer came: {reason}")]
    Closed {
        /// Cause, without the URL.
        reason: String,
    },
    /// An HTTP status other than 200 and 429, whose body is no JSON-RPC answer.
    #[error("HTTP status {status}: {body}")]
    Http {
        /// The status code.
        status: u16,
        /// From the `Retry-After` header.
        retry_after_ms: Option<u64>,
        /// Start of the body, secrets removed.
        body: String,
    },
    /// The endpoint wants fewer requests: HTTP 429, or the JSON-RPC codes and texts that mean the same.
    #[error("too many requests")]
    TooManyRequests {
        /// How long to wait, if the endpoint said so.
        retry_after_ms: Option<u64>,
    },
    /// The answer is larger than is accepted.
    #[error("answer larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The answer is not what the method returns.
    #[error("malformed answer to {method}: {reason}")]
    Malformed {
        /// The method asked.
        method: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A JSON-RPC error object.
    #[error("error {code}: {message}")]
    Response {
        /// Its code.
        code: i64,
        /// Its message, secrets removed.
        message: String,
        /// Its data, if they are bytes: the return data of a reverted call.
        data: Option<Bytes>,
    },
}

/// The innermost cause, which is the one that says something ("Connection refused").
fn root_cause(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

impl RpcError {
    /// A connection that did not come about, from a text.
    pub fn connect(reason: impl Into<String>) -> Self {
        Self::Connect { source: Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(reason.into())) }
    }

    /// A malformed answer.
    pub fn malformed(method: &str, reason: impl ToString) -> Self {
        Self::Malformed { method: method.to_owned(), reason: reason.to_string() }
    }

    /// A JSON-RPC error object without data.
    pub fn response(code: i64, message: impl Into<String>) -> Self {
        Self::Response { code, message: message.into(), data: None }
    }

    /// Whether the same request may succeed later or elsewhere without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. }
            | Self::Connect { .. }
            | Self::Closed { .. }
            | Self::TooManyRequests { .. }
            | Self::Malformed { .. } => true,
            // 401, 403, 404 and their like need an operator; 408 and 5xx do not.
            Self::Http { status, .. } => *status >= 500 || *status == 408,
            Self::TooLarge { .. } => false,
            Self::Response { .. } => self.is_rate_limit() || self.is_state_missing() || self.is_internal(),
        }
    }

    /// Whether the node may have acted on the request although there is no answer. Decides what a failed broadcast means.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Closed { .. } | Self::Malformed { .. } | Self::TooLarge { .. } => true,
            Self::Http { status, .. } => *status >= 500 || *status == 408,
            Self::Connect { .. } | Self::TooManyRequests { .. } => false,
            Self::Response { .. } => self.is_internal(),
        }
    }

    /// Whether the endpoint asks for fewer requests.
    pub fn is_rate_limit(&self) -> bool {
        match self {
            Self::TooManyRequests { .. } => true,
            Self::Response { code, message, .. } => classify::is_rate_limit(*code, message),
            _ => false,
        }
    }

    /// How long the endpoint asked to be left alone, milliseconds.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::TooManyRequests { retry_after_ms } | Self::Http { retry_after_ms, .. } => *retry_after_ms,
            _ => None,
        }
    }

    /// Whether a smaller range of blocks may succeed where this request failed.
    pub fn is_range_too_large(&self) -> bool {
        match self {
            Self::TooLarge { .. } => true,
            Self::Http { status, .. } => *status == 413,
            Self::Response { code, message, .. } => classify::is_range_too_large(*code, message),
            _ => false,
        }
    }

    /// Whether the endpoint does not have the block or its state (lagging or pruned), while another may.
    pub fn is_state_missing(&self) -> bool {
        matches!(self, Self::Response { code, message, .. } if classify::is_state_missing(*code, message))
    }

    /// Whether the endpoint does not offer the method.
    pub fn is_method_missing(&self) -> bool {
        matches!(self, Self::Response { code, message, .. } if classify::is_method_missing(*code, message))
    }

    /// Whether the node reports a fault of its own.
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Response { code, message, .. } if classify::is_internal(*code, message))
    }

    /// The return data, if this error says that execution reverted. Empty bytes for a revert without data.
    pub fn revert_data(&self) -> Option<Bytes> {
        match self {
            Self::Response { code, message, data } => classify::revert_data(*code, message, data.as_ref()),
            _ => None,
        }
    }

    /// What an operator can do, where there is something.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Http { status: 401 | 403, .. } => "check the key or the password in the endpoint's URL",
            Self::Http { status: 404 | 405, .. } => "check the path of the endpoint's URL",
            Self::Connect { .. } => "check host and port of the endpoint, and that the node is up",
            Self::TooManyRequests { .. } => "add endpoints, or raise the request limit at the provider",
            Self::TooLarge { .. } => "raise max_response_bytes if the node is trusted",
            _ if self.is_method_missing() => "use an endpoint that offers this method",
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// One word for metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::Connect { .. } => "connect",
            Self::Closed { .. } => "closed",
            Self::Http { .. } => "http",
            Self::TooManyRequests { .. } => "rate_limit",
            Self::TooLarge { .. } => "too_large",
            Self::Malformed { .. } => "malformed",
            Self::Response { .. } => "response",
        }
    }
}
