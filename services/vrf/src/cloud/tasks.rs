//! The queue that calls the trigger: making its next task.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use windlass_node::Backoff;
use windlass_store::{Clock, UnixMillis};

use super::access_token::{AccessTokens, TokenError};
use super::http;
use crate::config::{QueueConfig, TriggerConfig};

/// How often one task is tried to be made.
const ATTEMPTS: u32 = 4;
/// Longest text of the other side that is repeated.
const MAX_TEXT: usize = 300;

/// Why a task was not made.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// There is no token to make it with.
    #[error("the next task of {queue} cannot be made: {source}")]
    Token {
        /// The queue.
        queue: String,
        /// Why.
        source: TokenError,
    },
    /// The queue's API was not reached.
    #[error("the next task of {queue} cannot be made: {host} was not reached: {reason}")]
    Unreachable {
        /// The queue.
        queue: String,
        /// Host of the API.
        host: String,
        /// Why.
        reason: String,
    },
    /// It refused.
    #[error("the next task of {queue} cannot be made: {host} answered {status}: {message}")]
    Refused {
        /// The queue.
        queue: String,
        /// Host of the API.
        host: String,
        /// Status of the answer.
        status: u16,
        /// Its reason.
        message: String,
    },
    /// The configuration has no queue, or no account for it.
    #[error("there is no queue: {missing} is not configured")]
    NotConfigured {
        /// The key.
        missing: &'static str,
    },
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be built: {0}")]
    Client(#[source] reqwest::Error),
}

impl QueueError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Token { source, .. } => source.is_transient(),
            Self::Unreachable { .. } => true,
            // 401: a token that has just expired; the next attempt has a new one.
            Self::Refused { status, .. } => matches!(status, 401 | 408 | 429 | 500..=599),
            Self::NotConfigured { .. } | Self::Client(_) => false,
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Token { source, .. } => Some(source.hint()),
            Self::Unreachable { .. } => Some("check queue.api_url and the network of this machine"),
            Self::Refused { status: 403, .. } => Some(
                "the account needs the roles cloudtasks.enqueuer, and iam.serviceAccountUser on the account that the task names",
            ),
            Self::Refused { status: 404, .. } => {
                Some("check project, location and queue; `windlass vrf cloud recipe` makes the queue")
            }
            Self::Refused { .. } | Self::Client(_) => None,
            Self::NotConfigured { .. } => Some("add the table trigger.queue, with service_account and audience above it"),
        }
    }
}

/// A task that was made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CreatedTask {
    /// Its name, given by the queue.
    pub name: String,
    /// When it is due, Unix milliseconds.
    pub due_ms: i64,
}

/// What the API is told: a POST without body to the trigger, in the name of the service account.
pub fn task_body(queue: &QueueConfig, service_account: &str, audience: &str, due: UnixMillis) -> Value {
    let schedule = jiff::Timestamp::from_millisecond(due.0).unwrap_or_default();
    let mut task = json!({
        "httpRequest": {
            "httpMethod": "POST",
            "url": queue.url.as_str(),
            "oidcToken": {"serviceAccountEmail": service_account, "audience": audience},
        },
        "scheduleTime": schedule.to_string(),
    });
    if let (Some(deadline), Some(task)) = (queue.deadline, task.as_object_mut()) {
        task.insert("dispatchDeadline".to_owned(), json!(format!("{}s", deadline.as_secs())));
    }
    json!({ "task": task })
}

/// Makes tasks.
pub struct TaskQueue {
    config: QueueConfig,
    service_account: String,
    audience: String,
    client: reqwest::Client,
    tokens: AccessTokens,
    clock: Arc<dyn Clock>,
    pauses: Backoff,
}

impl std::fmt::Debug for TaskQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskQueue").field("queue", &self.config.parent()).finish_non_exhaustive()
    }
}

impl TaskQueue {
    /// The queue of a trigger.
    ///
    /// # Errors
    /// The configuration has none, or the HTTP client cannot be built.
    pub fn new(trigger: &TriggerConfig, clock: Arc<dyn Clock>) -> Result<Self, QueueError> {
        let config = trigger.queue.clone().ok_or(QueueError::NotConfigured { missing: "trigger.queue" })?;
        let service_account =
            trigger.service_account.clone().ok_or(QueueError::NotConfigured { missing: "trigger.service_account" })?;
        let audience = trigger.audience.clone().ok_or(QueueError::NotConfigured { missing: "trigger.audience" })?;
        let client = http::client().map_err(QueueError::Client)?;
        let tokens = AccessTokens::new(&config, client.clone(), Arc::clone(&clock));
        let pauses = Backoff { initial: Duration::from_millis(500), max: Duration::from_secs(5), ..Backoff::default() };
        Ok(Self { config, service_account, audience, client, tokens, clock, pauses })
    }

    /// With other pauses between attempts: for tests.
    #[must_use]
    pub fn with_pauses(mut self, pauses: Backoff) -> Self {
        self.pauses = pauses;
        self
    }

    /// Its settings.
    pub fn config(&self) -> &QueueConfig {
        &self.config
    }

    /// The request that makes the next task, as address and body, without sending it.
    pub fn request(&self, due: UnixMillis) -> (url::Url, Value) {
        let mut url = self.config.api_url.clone();
        url.set_path(&format!("/v2/{}/tasks", self.config.parent()));
        (url, task_body(&self.config, &self.service_account, &self.audience, due))
    }

    /// When a task made now is due.
    pub fn next_due(&self) -> UnixMillis {
        self.clock.now().saturating_add(self.config.delay)
    }

    /// Makes the next task, due after the configured delay. Tries again with growing pauses where that can help.
    ///
    /// # Errors
    /// Why it was not made, at the last attempt.
    pub async fn create(&self) -> Result<CreatedTask, QueueError> {
        let mut attempt = 1;
        loop {
            match self.try_create().await {
                Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                    tracing::debug!(%error, attempt, "the next task was not made yet");
                    tokio::time::sleep(self.pauses.pause(attempt)).await;
                    attempt = attempt.saturating_add(1);
                }
                outcome => return outcome,
            }
        }
    }

    /// Makes the next task with one attempt.
    ///
    /// # Errors
    /// Why it was not made.
    pub async fn try_create(&self) -> Result<CreatedTask, QueueError> {
        let queue = || self.config.parent();
        let token = self.tokens.get().await.map_err(|source| QueueError::Token { queue: queue(), source })?;
        let due = self.next_due();
        let (url, body) = self.request(due);
        let host = http::host(&url);
        let response = self.client.post(url).bearer_auth(token.expose()).json(&body).send().await;
        let unreachable = |reason: String| QueueError::Unreachable { queue: queue(), host: host.clone(), reason };
        let response = response.map_err(|error| unreachable(http::chain(&error.without_url())))?;
        let status = response.status();
        let body = http::body(response).await.map_err(unreachable)?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            let name = answer.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            return Ok(CreatedTask { name, due_ms: due.0 });
        }
        if status.as_u16() == 401 {
            self.tokens.forget().await;
        }
        let message = answer.pointer("/error/message").and_then(Value::as_str).unwrap_or("no reason is given");
        let message = message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TEXT).collect();
        Err(QueueError::Refused { queue: queue(), host, status: status.as_u16(), message })
    }
}
