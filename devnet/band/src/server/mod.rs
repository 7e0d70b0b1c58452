//! The chain behind gRPC, REST and CometBFT RPC. The servers only translate.

mod convert;
mod grpc;
mod json;
mod rest;
mod rpc;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;

use crate::chain::{Chain, CheckAnswer, IncludedTx};
use crate::error::{DevnetError, QueryError};
use crate::faults::CallFault;

/// How long BroadcastTx in BLOCK mode waits, as `timeout_broadcast_tx_commit` of a real node.
const BLOCK_MODE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a chain is looked at that somebody drives without telling the servers.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What all servers share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) chain: Arc<RwLock<Chain>>,
    /// Height of the newest block.
    pub(crate) heights: watch::Receiver<u64>,
    pub(crate) shutdown: CancellationToken,
}

/// Why a call was not answered, or its answer was withheld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    Unavailable,
    RateLimited {
        retry_after_seconds: u64,
    },
    Unknown(String),
    Query(QueryError),
    NotFound(String),
    Invalid(String),
    /// A chain of this version has no such call.
    Unimplemented(&'static str),
}

impl From<QueryError> for CallError {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

impl CallError {
    /// The gRPC status code, which the REST gateway writes into its body as well.
    pub(crate) fn code(&self) -> tonic::Code {
        match self {
            Self::Unavailable => tonic::Code::Unavailable,
            Self::RateLimited { .. } => tonic::Code::ResourceExhausted,
            Self::NotFound(_) | Self::Query(QueryError::NoRequest { .. }) => tonic::Code::NotFound,
            Self::Invalid(_) | Self::Query(QueryError::Query(_)) => tonic::Code::InvalidArgument,
            Self::Unimplemented(_) => tonic::Code::Unimplemented,
            // All plain errors of a node arrive so.
            Self::Unknown(_) | Self::Query(_) => tonic::Code::Unknown,
        }
    }

    pub(crate) fn message(&self) -> String {
        match self {
            Self::Unavailable => "unavailable".to_owned(),
            Self::RateLimited { .. } => "rate limit exceeded".to_owned(),
            Self::Unknown(text) | Self::NotFound(text) | Self::Invalid(text) => text.clone(),
            Self::Unimplemented(path) => format!("unknown service {path}"),
            Self::Query(error) => error.to_string(),
        }
    }
}

impl Shared {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Chain> {
        self.chain.read()
    }

    /// Answers a call, with the faults that are asked for.
    pub(crate) async fn call<T>(&self, method: &str, run: impl FnOnce() -> Result<T, CallError>) -> Result<T, CallError> {
        let lost = self.before(method).await?;
        let answer = run();
        if lost { Err(CallError::Unavailable) } else { answer }
    }

    /// What happens to a call before it is carried out. `true`: its answer is to be withheld.
    pub(crate) async fn before(&self, method: &str) -> Result<bool, CallError> {
        let fault = if self.read().faults().calls.is_empty() { None } else { self.chain.write().faults_mut().take_call(method) };
        match fault {
            None => Ok(false),
            Some(CallFault::LoseAnswer) => Ok(true),
            Some(CallFault::Unavailable) => Err(CallError::Unavailable),
            Some(CallFault::RateLimited { retry_after_seconds }) => Err(CallError::RateLimited { retry_after_seconds }),
            Some(CallFault::Unknown(text)) => Err(CallError::Unknown(text)),
            Some(CallFault::Delay(time)) => {
                tokio::time::sleep(time).await;
                Ok(false)
            }
        }
    }

    /// Checks a transaction, and in BLOCK mode waits for its block.
    pub(crate) async fn broadcast(&self, bytes: &[u8], wait: bool) -> Result<Broadcast, CallError> {
        let answer = self.chain.write().check_tx(bytes);
        if !wait || !answer.is_ok() {
            return Ok(Broadcast::Checked(answer));
        }
        let included = tokio::time::timeout(BLOCK_MODE_TIMEOUT, self.included(&answer.hash)).await;
        match included {
            Ok(transaction) => Ok(Broadcast::Included(transaction)),
            Err(_) => Err(CallError::Unknown("timed out waiting for tx to be included in a block".to_owned())),
        }
    }

    async fn included(&self, hash: &str) -> Arc<IncludedTx> {
        let mut heights = self.heights.clone();
        loop {
            if let Some(transaction) = self.read().transaction(hash) {
                return transaction;
            }
            // Whoever drives the chain by itself does not tell us: then we look again after a moment.
            let _ = tokio::time::timeout(LOOK_EVERY, heights.changed()).await;
        }
    }
}

/// A part of a URI without its escapes.
fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match (*byte, tail) {
            (b'%', [a, b, after @ ..]) => match hex::decode([*a, *b]) {
                Ok(decoded) => {
                    out.extend(decoded);
                    rest = after;
                }
                Err(_) => out.push(b'%'),
            },
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The answer to a broadcast.
pub(crate) enum Broadcast {
    Checked(CheckAnswer),
    Included(Arc<IncludedTx>),
}

/// A bound port.
pub(crate) async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), DevnetError> {
    let failed = |source| DevnetError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Serves gRPC until shutdown.
pub(crate) async fn serve_grpc(listener: TcpListener, shared: Shared) {
    let stop = shared.shutdown.clone().cancelled_owned();
    let routes = tonic::service::Routes::from(grpc::router(shared));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let served = tonic::transport::Server::builder().add_routes(routes).serve_with_incoming_shutdown(incoming, stop).await;
    if let Err(error) = served {
        tracing::warn!(%error, "the simulated chain stopped serving gRPC");
    }
}

async fn serve_http(listener: TcpListener, router: Router, shutdown: CancellationToken, what: &str) {
    let listener = listener.tap_io(|stream| {
        // Small answers must not wait for the acknowledgement of earlier ones.
        let _ = stream.set_nodelay(true);
    });
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await {
        tracing::warn!(%error, what, "the simulated chain stopped serving");
    }
}

/// Serves the REST gateway until shutdown.
pub(crate) async fn serve_rest(listener: TcpListener, shared: Shared) {
    let shutdown = shared.shutdown.clone();
    serve_http(listener, rest::router(shared), shutdown, "REST").await;
}

/// Serves CometBFT RPC until shutdown.
pub(crate) async fn serve_rpc(listener: TcpListener, shared: Shared) {
    let shutdown = shared.shutdown.clone();
    serve_http(listener, rpc::router(shared), shutdown, "CometBFT RPC").await;
}
