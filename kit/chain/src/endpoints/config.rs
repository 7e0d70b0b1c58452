//! Settings of a chain's endpoints.

use std::fmt;
use std::sync::Arc;

use windlass_store::{Clock, SystemClock};

use crate::rpc::Redactor;

/// One endpoint: where it is and what it wants in its headers. `Debug` shows the host only.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct EndpointUrl {
    /// `http://`, `https://`, `ws://` or `wss://`. May carry `user:password@` and secret path parts.
    pub url: String,
    /// Extra request headers, for providers that take a token there.
    pub headers: Vec<(String, String)>,
}

impl EndpointUrl {
    /// An endpoint without extra headers.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), headers: Vec::new() }
    }

    /// Host and port, for messages.
    pub fn label(&self) -> String {
        url::Url::parse(&self.url).map_or_else(|_| "unreadable URL".to_owned(), |url| Redactor::new(&url).label().to_owned())
    }
}

impl<T: Into<String>> From<T> for EndpointUrl {
    fn from(url: T) -> Self {
        Self::new(url)
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EndpointUrl").field("host", &self.label()).finish_non_exhaustive()
    }
}

/// Settings of the endpoints of one chain. Start from [`EndpointsConfig::new`]; the defaults are safe for main networks.
#[derive(Clone)]
pub struct EndpointsConfig {
    /// Name of the chain, for messages and metrics.
    pub name: String,
    /// The chain id that every endpoint must serve. `None`: that of the first endpoint which answers.
    pub chain_id: Option<u64>,
    /// The endpoints; the order decides between equally good ones.
    pub urls: Vec<EndpointUrl>,
    /// Where signed transactions go. Empty: to one of `urls`. Otherwise to all of these at once, and to none of `urls`.
    pub broadcast_urls: Vec<EndpointUrl>,
    /// Time for one request at one endpoint, milliseconds.
    pub timeout_ms: u64,
    /// A read that has no answer after this time is asked of a second endpoint too, milliseconds. `None`: never.
    pub hedge_after_ms: Option<u64>,
    /// How many endpoints must agree in reads that decide about money; used by callers of the `quorum_*` reads.
    pub quorum: usize,
    /// An endpoint this many blocks behind the best one is not asked about the newest state.
    pub max_lag_blocks: u64,
    /// How often all endpoints are asked for their head, milliseconds.
    pub probe_interval_ms: u64,
    /// How far below the head a block counts as final on chains whose nodes know no `finalized` tag, blocks.
    pub finality_depth: u64,
    /// Larger answers are refused, bytes.
    pub max_response_bytes: usize,
    /// Requests per JSON-RPC batch.
    pub max_batch: usize,
    /// Time source of back-off and health.
    pub clock: Arc<dyn Clock>,
}

impl EndpointsConfig {
    /// The defaults, with the machine's clock.
    pub fn new(name: impl Into<String>, urls: impl IntoIterator<Item = EndpointUrl>) -> Self {
        Self {
            name: name.into(),
            chain_id: None,
            urls: urls.into_iter().collect(),
            broadcast_urls: Vec::new(),
            timeout_ms: 10_000,
            hedge_after_ms: Some(1_500),
            quorum: 1,
            max_lag_blocks: 5,
            probe_interval_ms: 15_000,
            finality_depth: 64,
            max_response_bytes: 64 * 1024 * 1024,
            max_batch: 100,
            clock: Arc::new(SystemClock),
        }
    }
}

impl fmt::Debug for EndpointsConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EndpointsConfig")
            .field("name", &self.name)
            .field("chain_id", &self.chain_id)
            .field("urls", &self.urls)
            .field("broadcast_urls", &self.broadcast_urls)
            .field("timeout_ms", &self.timeout_ms)
            .field("hedge_after_ms", &self.hedge_after_ms)
            .field("quorum", &self.quorum)
            .finish_non_exhaustive()
    }
}
