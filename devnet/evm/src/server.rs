//! HTTP and WebSocket on one port.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, RETRY_AFTER,
};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::jsonrpc::{self, Plain, Reply};
use crate::{Devnet, DevnetError, websocket};

/// Largest request body, in bytes: room for a batch of a thousand large transactions.
const BODY_LIMIT: usize = 64 * 1024 * 1024;

/// How long requests may go on after the server was told to stop.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// Browsers may ask from anywhere: this is a tool for development.
const ANY_ORIGIN: [(HeaderName, &str); 1] = [(ACCESS_CONTROL_ALLOW_ORIGIN, "*")];

/// A running server. Dropping it stops the server.
#[derive(Debug)]
pub struct DevnetServer {
    address: SocketAddr,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl DevnetServer {
    /// The address that is listened on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://host:port`
    pub fn http_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `ws://host:port`
    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Stops listening, closes all connections and waits until they are closed, for two seconds at most.
    pub async fn shutdown(mut self) {
        self.shutdown.cancel();
        let finished = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_LIMIT, finished).await.is_err() {
            tracing::debug!(address = %self.address, "requests were cut off by the end of the server");
            self.tasks.shutdown().await;
        }
    }

    /// A token that stops the server when it is cancelled.
    pub fn cancellation(&self) -> CancellationToken {
        self.shutdown.clone()
    }
}

impl Drop for DevnetServer {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[derive(Clone, Debug)]
struct Shared {
    devnet: Devnet,
    shutdown: CancellationToken,
}

pub(crate) async fn serve(devnet: Devnet, addr: SocketAddr) -> Result<DevnetServer, DevnetError> {
    let failed = |source| DevnetError::Listen { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let shutdown = CancellationToken::new();
    let shared = Shared { devnet: devnet.clone(), shutdown: shutdown.clone() };
    let router = Router::new()
        .route("/", post(http).get(upgrade).options(preflight))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(shared);

    let mut tasks = JoinSet::new();
    let (timer, stop) = (shutdown.clone(), shutdown.clone());
    tasks.spawn(async move { devnet.run_interval_mining(timer).await });
    tasks.spawn(async move {
        let listener = listener.tap_io(|stream| {
            // Small answers must not wait for the acknowledgement of earlier ones.
            let _ = stream.set_nodelay(true);
        });
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await {
            tracing::warn!(%error, "development chain stopped serving");
        }
    });
    tracing::debug!(%address, "development chain listens");
    Ok(DevnetServer { address, shutdown, tasks })
}

async fn http(State(shared): State<Shared>, body: Bytes) -> Response {
    match jsonrpc::handle(&mut Plain(shared.devnet), &body).await {
        Reply::Text(text) => (ANY_ORIGIN, [(CONTENT_TYPE, "application/json")], text).into_response(),
        Reply::Nothing => (StatusCode::NO_CONTENT, ANY_ORIGIN).into_response(),
        Reply::HttpStatus { status, retry_after_seconds } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let retry_after = retry_after_seconds.map(|seconds| [(RETRY_AFTER, seconds.to_string())]);
            match retry_after {
                Some(header) => (status, ANY_ORIGIN, header).into_response(),
                None => (status, ANY_ORIGIN).into_response(),
            }
        }
        Reply::Disconnect => cut_off(),
    }
}

/// An answer whose body fails before its first byte: the client sees the connection close.
fn cut_off() -> Response {
    let broken = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("answer withheld by a fault rule")) });
    Response::new(Body::from_stream(broken))
}

async fn upgrade(State(shared): State<Shared>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(BODY_LIMIT)
        .max_frame_size(BODY_LIMIT)
        .on_upgrade(move |socket| websocket::run(shared.devnet, socket, shared.shutdown))
}

async fn preflight() -> Response {
    let headers = [(ACCESS_CONTROL_ALLOW_METHODS, "GET,POST"), (ACCESS_CONTROL_ALLOW_HEADERS, "content-type")];
    (ANY_ORIGIN, headers).into_response()
}
