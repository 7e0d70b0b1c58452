//! JSON-RPC over WebSocket: requests multiplexed on one connection, subscriptions that survive reconnecting.
//!
//! One task owns the connection; it ends when the [`WsRpc`] is dropped. Everything is bounded: at most [`QUEUE_MAX`] requests wait, a
//! head that nobody took is replaced by the next, and a log subscriber that does not keep up gets [`LogEvent::Gap`] instead of a
//! growing queue.

mod connection;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use futures::future;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Request;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::http::install_crypto_provider;
use super::{Answer, Redactor, Rpc, RpcCall, RpcError};
use crate::types::{Header, Log, LogFilter};
use connection::{Command, Connection};

/// Requests that may wait to be sent, and that may wait for their answers.
pub const QUEUE_MAX: usize = 1024;
/// Events of a log subscription that may wait.
const EVENTS_MAX: usize = 1024;

/// Settings of a WebSocket connection.
#[derive(Debug, Clone)]
pub struct WsRpcOptions {
    /// Time for connecting, and for a request.
    pub timeout: Duration,
    /// Larger messages end the connection.
    pub max_response_bytes: usize,
    /// Extra headers of the handshake.
    pub headers: Vec<(String, String)>,
    /// First and longest pause between two attempts to connect.
    pub reconnect_after: (Duration, Duration),
    /// A ping is sent this often; a connection that is silent for three times as long is given up.
    pub ping_every: Duration,
}

impl Default for WsRpcOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            max_response_bytes: 64 * 1024 * 1024,
            headers: Vec::new(),
            reconnect_after: (Duration::from_millis(250), Duration::from_secs(10)),
            ping_every: Duration::from_secs(20),
        }
    }
}

/// A node behind a `ws://` or `wss://` URL. Connects by itself, and again when the connection is lost; requests fail at once while
/// there is no connection, so that another endpoint can be asked.
pub struct WsRpc {
    commands: mpsc::Sender<Command>,
    heads: watch::Receiver<Option<Header>>,
    label: String,
    timeout: Duration,
    _task: AbortOnDropHandle<()>,
}

/// What a log subscription delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    /// A log of a new canonical block.
    Added(Log),
    /// A log whose block is no longer canonical.
    Removed(Log),
    /// Events may be missing from here on back to the last one: the connection was lost, or the subscriber was too slow. Read the logs.
    Gap,
}

/// A log subscription. Dropping it ends it.
pub struct Subscription {
    events: mpsc::Receiver<LogEvent>,
}

impl Subscription {
    /// The next event; `None` when the connection's owner is gone. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<LogEvent> {
        self.events.recv().await
    }
}

impl WsRpc {
    /// Starts connecting. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`RpcError::Connect`] if the URL or a header cannot be used. The URL is not in the error.
    pub fn new(url: &str, options: WsRpcOptions) -> Result<Self, RpcError> {
        let url = Url::parse(url).map_err(|error| RpcError::connect(format!("invalid URL: {error}")))?;
        if !matches!(url.scheme(), "ws" | "wss") || url.host_str().is_none() {
            return Err(RpcError::connect("the URL must start with ws:// or wss:// and name a host"));
        }
        install_crypto_provider();
        let redactor = Redactor::new(&url);
        let request = handshake(url, &options.headers)?;
        let (commands, receiver) = mpsc::channel(QUEUE_MAX);
        let (head_sender, heads) = watch::channel(None);
        let label = redactor.label().to_owned();
        let timeout = options.timeout;
        let connection = Connection::new(request, options, redactor, receiver, head_sender);
        let task = AbortOnDropHandle::new(tokio::spawn(connection.run()));
        Ok(Self { commands, heads, label, timeout, _task: task })
    }

    /// Subscribes to the logs that a filter selects (its span is ignored).
    ///
    /// # Errors
    /// [`RpcError::Connect`] if too much is waiting already.
    pub fn subscribe_logs(&self, filter: LogFilter) -> Result<Subscription, RpcError> {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        self.commands.try_send(Command::SubscribeLogs { filter, sender }).map_err(|_| queue_full())?;
        Ok(Subscription { events })
    }
}

fn queue_full() -> RpcError {
    RpcError::connect("too many requests are waiting for this connection")
}

/// The opening request. Credentials of the URL go into a header, where servers expect them.
fn handshake(mut url: Url, headers: &[(String, String)]) -> Result<Request<()>, RpcError> {
    let user = (url.username().to_owned(), url.password().map(str::to_owned));
    // Fails only for URLs without a host, which were refused before.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let request = url.as_str().into_client_request();
    let mut request = request.map_err(|_| RpcError::connect("the URL cannot be used for a WebSocket"))?;
    if let (true, (name, password)) = (!user.0.is_empty() || user.1.is_some(), user) {
        let pair = format!("{name}:{}", password.unwrap_or_default());
        let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        let value = HeaderValue::try_from(value).map_err(|_| RpcError::connect("invalid credentials in the URL"))?;
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    for (name, value) in headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| RpcError::connect("invalid header name"))?;
        let value = HeaderValue::try_from(value.as_str()).map_err(|_| RpcError::connect("invalid header value"))?;
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

#[async_trait]
impl Rpc for WsRpc {
    async fn request(&self, method: &str, params: Value) -> Result<Answer, RpcError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Request { method: method.to_owned(), params, reply };
        self.commands.try_send(command).map_err(|_| queue_full())?;
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(RpcError::Closed { reason: "the connection was given up".to_owned() }),
            Err(_) => Err(RpcError::Timeout { after_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX) }),
        }
    }

    async fn batch(&self, calls: Vec<RpcCall>) -> Result<Vec<Result<Answer, RpcError>>, RpcError> {
        // One connection carries many requests anyway; a batch would only make its answers wait for each other.
        let mut outcomes = Vec::with_capacity(calls.len());
        let mut calls = calls.into_iter().peekable();
        while calls.peek().is_some() {
            let part: Vec<RpcCall> = calls.by_ref().take(QUEUE_MAX / 4).collect();
            let asked = part.into_iter().map(|call| async move { self.request(&call.method, call.params).await });
            outcomes.extend(future::join_all(asked).await);
        }
        Ok(outcomes)
    }

    fn label(&self) -> &str {
        &self.label
    }

    fn new_heads(&self) -> Option<watch::Receiver<Option<Header>>> {
        // If the queue is full the connection is in trouble; polling carries on meanwhile.
        let _ = self.commands.try_send(Command::SubscribeHeads);
        Some(self.heads.clone())
    }
}

/// A cause that can be kept.
fn shared(error: impl std::error::Error + Send + Sync + 'static) -> RpcError {
    RpcError::Connect { source: Arc::new(error) }
}
