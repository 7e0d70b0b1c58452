//! JSON-RPC over HTTP.

use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt, TryStreamExt};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::Value;
use url::Url;

use super::envelope::{self, BatchOutcome};
use super::{Answer, Redactor, Rpc, RpcCall, RpcError};

/// Settings of one HTTP connection pool.
#[derive(Debug, Clone)]
pub struct HttpRpcOptions {
    /// Time for a whole request, from connecting to the last byte.
    pub timeout: Duration,
    /// Larger answers are refused while they arrive.
    pub max_response_bytes: usize,
    /// Requests per JSON-RPC batch; 1 switches batches off.
    pub max_batch: usize,
    /// Extra request headers, for providers that take a token there.
    pub headers: Vec<(String, String)>,
}

impl Default for HttpRpcOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), max_response_bytes: 64 * 1024 * 1024, max_batch: 100, headers: Vec::new() }
    }
}

/// Parts of a batch in flight at once, and single requests where batches are not offered.
const PARALLEL: usize = 8;
const USER_AGENT: &str = concat!("windlass/", env!("CARGO_PKG_VERSION"));

/// A node behind an `http://` or `https://` URL. Connections are kept and reused.
pub struct HttpRpc {
    client: reqwest::Client,
    url: Url,
    redactor: Redactor,
    timeout: Duration,
    max_response_bytes: usize,
    max_batch: AtomicUsize,
    batches_refused: AtomicBool,
    next_id: AtomicU64,
}

/// Installs the `ring` provider of rustls for the process, once. Somebody else's earlier choice stays.
pub fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Fails only if another thread was faster, which is just as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
    });
}

impl HttpRpc {
    /// Prepares the connection; nothing is sent yet.
    ///
    /// # Errors
    /// [`RpcError::Connect`] if the URL or a header cannot be used, or TLS cannot be set up. The URL is not in the error.
    pub fn new(url: &str, options: HttpRpcOptions) -> Result<Self, RpcError> {
        let url = Url::parse(url).map_err(|error| RpcError::connect(format!("invalid URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(RpcError::connect("the URL must start with http:// or https:// and name a host"));
        }
        install_crypto_provider();
        let mut headers = HeaderMap::new();
        for (name, value) in &options.headers {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| RpcError::connect("invalid header name"))?;
            let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| RpcError::connect("invalid header value"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let mut builder = reqwest::Client::builder();
        if url.scheme() == "http" {
            // No certificates will be needed. Loading the system's takes time, and fails in a container that has none.
            builder = builder.tls_certs_only([]);
        }
        let client = builder
            .timeout(options.timeout)
            .connect_timeout(options.timeout)
            .default_headers(headers)
            .user_agent(USER_AGENT)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(PARALLEL * 2)
            // A node that redirects is misconfigured; following would send credentials elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| RpcError::Connect { source: Arc::new(error.without_url()) })?;
        Ok(Self {
            client,
            redactor: Redactor::new(&url),
            url,
            timeout: options.timeout,
            max_response_bytes: options.max_response_bytes,
            max_batch: AtomicUsize::new(options.max_batch.max(1)),
            batches_refused: AtomicBool::new(false),
            next_id: AtomicU64::new(1),
        })
    }

    /// Sends a body and returns the body of the answer.
    async fn exchange(&self, body: String) -> Result<Vec<u8>, RpcError> {
        let sent = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(body).send().await;
        let mut response = sent.map_err(|error| self.transport_error(error))?;
        let status = response.status().as_u16();
        let retry_after_ms = retry_after_ms(response.headers());
        if status == 429 {
            return Err(RpcError::TooManyRequests { retry_after_ms });
        }
        let too_large = || RpcError::TooLarge { limit_bytes: self.max_response_bytes as u64 };
        let announced = response.content_length().unwrap_or(0);
        if announced > self.max_response_bytes as u64 {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transport_error(error))? {
            if bytes.len().saturating_add(chunk.len()) > self.max_response_bytes {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        // Some nodes send JSON-RPC errors with status 400 or 500; those say more than the status does.
        if status == 200 || looks_like_answer(&bytes) {
            return Ok(bytes);
        }
        let body = self.redactor.clean(&String::from_utf8_lossy(&bytes));
        Err(RpcError::Http { status, retry_after_ms, body })
    }

    fn transport_error(&self, error: reqwest::Error) -> RpcError {
        let error = error.without_url();
        if error.is_timeout() {
            return RpcError::Timeout { after_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX) };
        }
        if error.is_connect() || error.is_builder() {
            return RpcError::Connect { source: Arc::new(error) };
        }
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            reason = format!("{reason}: {inner}");
            cause = inner.source();
        }
        RpcError::Closed { reason: self.redactor.clean(&reason) }
    }

    fn ids(&self, count: usize) -> u64 {
        self.next_id.fetch_add(count as u64, Ordering::Relaxed)
    }

    async fn batch_part(&self, calls: &[RpcCall]) -> Result<Vec<Result<Answer, RpcError>>, RpcError> {
        let first_id = self.ids(calls.len());
        let body = self.exchange(envelope::encode_batch(first_id, calls)?).await?;
        match envelope::decode_batch(first_id, calls, &body, &self.redactor)? {
            BatchOutcome::Each(each) => Ok(each),
            BatchOutcome::Whole(error) => Err(error),
        }
    }

    async fn one_by_one(&self, calls: Vec<RpcCall>) -> Vec<Result<Answer, RpcError>> {
        let requests = calls.into_iter().map(|call| async move { self.request(&call.method, call.params).await });
        stream::iter(requests).buffered(PARALLEL).collect().await
    }

    /// A part of a batch; where the endpoint refuses batches, or batches of this size, the calls go alone.
    async fn batch_part_or_single(&self, calls: Vec<RpcCall>) -> Result<Vec<Result<Answer, RpcError>>, RpcError> {
        if calls.len() == 1 || self.batches_refused.load(Ordering::Relaxed) {
            return Ok(self.one_by_one(calls).await);
        }
        match self.batch_part(&calls).await {
            Ok(each) => Ok(each),
            Err(RpcError::Response { message, .. }) => {
                // "batch limit 20 exceeded", "batch requests are not supported", -32600: come with fewer, at last with one.
                let smaller = calls.len() / 2;
                tracing::debug!(endpoint = self.redactor.label(), size = calls.len(), message, "batch refused");
                self.max_batch.fetch_min(smaller.max(1), Ordering::Relaxed);
                self.batches_refused.fetch_or(smaller <= 1, Ordering::Relaxed);
                Ok(self.one_by_one(calls).await)
            }
            Err(error) => Err(error),
        }
    }
}

/// The `Retry-After` header in seconds. The other form, a date, would need the wall clock and is not sent by nodes.
fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    seconds.checked_mul(1000)
}

/// Whether the body is JSON with an `error` or `result`, whatever the HTTP status was.
fn looks_like_answer(body: &[u8]) -> bool {
    serde_json::from_slice::<envelope::Incoming<'_>>(body)
        .is_ok_and(|incoming| incoming.id.is_some() && (incoming.result.is_some() || incoming.error.is_some()))
        || (body.first() == Some(&b'[') && serde_json::from_slice::<Vec<envelope::Incoming<'_>>>(body).is_ok())
}

#[async_trait]
impl Rpc for HttpRpc {
    async fn request(&self, method: &str, params: Value) -> Result<Answer, RpcError> {
        let id = self.ids(1);
        let body = self.exchange(envelope::encode(id, method, &params)?).await?;
        envelope::decode(method, id, &body, &self.redactor)
    }

    async fn batch(&self, calls: Vec<RpcCall>) -> Result<Vec<Result<Answer, RpcError>>, RpcError> {
        let size = self.max_batch.load(Ordering::Relaxed).max(1);
        let parts: Vec<Vec<RpcCall>> = calls.chunks(size).map(<[RpcCall]>::to_vec).collect();
        let parts = parts.into_iter().map(|part| self.batch_part_or_single(part));
        let parts: Vec<_> = stream::iter(parts).buffered(PARALLEL).try_collect().await?;
        Ok(parts.into_iter().flatten().collect())
    }

    fn label(&self) -> &str {
        self.redactor.label()
    }
}
