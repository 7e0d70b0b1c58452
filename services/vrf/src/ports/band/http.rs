//! Questions over HTTP, for REST gateways and CometBFT RPC.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use url::Url;
use windlass_chain::{Redactor, install_crypto_provider};

use super::error::BandError;
use super::grpc::Limits;
use super::meter::{Meter, Method};
use super::site::Site;

const USER_AGENT: &str = concat!("windlass/", env!("CARGO_PKG_VERSION"));
/// REST gateways pass on the height of the answering node under this name.
const HEIGHT_HEADER: &str = "grpc-metadata-x-cosmos-block-height";

/// A base URL and the connections to it.
pub(super) struct Http {
    client: Client,
    base: Url,
    redactor: Redactor,
    limits: Limits,
    meter: Meter,
    height_seen: AtomicU64,
}

/// An answer that arrived whole, whatever its status.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    pub(super) retry_after: Option<Duration>,
}

impl Reply {
    /// The body as a JSON document of this shape.
    pub(super) fn json<T: DeserializeOwned>(&self, site: Site<'_>) -> Result<T, BandError> {
        serde_json::from_slice(&self.body).map_err(|error| site.malformed(format!("JSON: {error}")))
    }
}

impl Http {
    /// Prepares the connections; nothing is sent yet.
    pub(super) fn new(base: &Url, limits: Limits, meter: Meter) -> Result<Self, String> {
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() || base.cannot_be_a_base() {
            return Err("the URL must start with http:// or https:// and name a host".to_owned());
        }
        install_crypto_provider();
        let mut builder = Client::builder();
        if base.scheme() == "http" {
            // Loading the system's certificates takes time, and fails in a container that has none.
            builder = builder.tls_certs_only([]);
        }
        let client = builder
            .timeout(limits.timeout)
            .connect_timeout(limits.timeout)
            .user_agent(USER_AGENT)
            .tcp_nodelay(true)
            // A node that redirects is misconfigured; following would send credentials elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.without_url().to_string())?;
        let mut base = base.clone();
        base.set_fragment(None);
        let redactor = Redactor::new(&base);
        Ok(Self { client, base, redactor, limits, meter, height_seen: AtomicU64::new(0) })
    }

    pub(super) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    pub(super) fn height_seen(&self) -> u64 {
        self.height_seen.load(Ordering::Relaxed)
    }

    /// Asks for a path below the base, and reads the answer.
    pub(super) async fn get<T>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        read: impl FnOnce(Site<'_>, Reply) -> Result<T, BandError>,
    ) -> Result<T, BandError> {
        self.ask(method, self.client.get(self.url(path, query)), read).await
    }

    /// Sends a JSON document to a path below the base, and reads the answer. `slow`: it waits for a block.
    pub(super) async fn post<T>(
        &self,
        method: Method,
        path: &[&str],
        body: String,
        slow: bool,
        read: impl FnOnce(Site<'_>, Reply) -> Result<T, BandError>,
    ) -> Result<T, BandError> {
        let limit = if slow { self.limits.block_timeout } else { self.limits.timeout };
        let request = self.client.post(self.url(path, &[])).header(CONTENT_TYPE, "application/json").body(body);
        self.ask(method, request.timeout(limit), read).await
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn ask<T>(
        &self,
        method: Method,
        request: RequestBuilder,
        read: impl FnOnce(Site<'_>, Reply) -> Result<T, BandError>,
    ) -> Result<T, BandError> {
        let site = Site { redactor: &self.redactor, method };
        self.meter.sent(method);
        let start = Instant::now();
        let outcome = self.exchange(site, request).await.and_then(|reply| read(site, reply));
        self.meter.answered(method, &outcome, start.elapsed());
        outcome
    }

    async fn exchange(&self, site: Site<'_>, request: RequestBuilder) -> Result<Reply, BandError> {
        let response = request.send().await.map_err(|error| self.failure(site, error))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        if status == 429 {
            return Err(site.rate_limited(retry_after));
        }
        self.note_height(response.headers());
        let body = self.body(site, response).await?;
        Ok(Reply { status, body, retry_after })
    }

    async fn body(&self, site: Site<'_>, mut response: Response) -> Result<Vec<u8>, BandError> {
        let too_large = || site.malformed(format!("answer larger than {} bytes", self.limits.max_bytes));
        let announced = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
        if announced > self.limits.max_bytes {
            return Err(too_large());
        }
        let mut body = Vec::with_capacity(announced);
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(site, error))? {
            if body.len().saturating_add(chunk.len()) > self.limits.max_bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn failure(&self, site: Site<'_>, error: reqwest::Error) -> BandError {
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        if error.is_connect() || error.is_builder() {
            return site.not_reached(&cause.to_string());
        }
        if error.is_timeout() {
            return site.lost("no answer in time");
        }
        site.lost(&format!("connection lost before the answer came: {cause}"))
    }

    fn note_height(&self, headers: &HeaderMap) {
        let height = headers.get(HEIGHT_HEADER).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        if let Some(height) = height {
            self.height_seen.fetch_max(height, Ordering::Relaxed);
        }
    }
}

/// The `Retry-After` header in seconds. The other form, a date, would need the wall clock and is not sent by nodes.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
