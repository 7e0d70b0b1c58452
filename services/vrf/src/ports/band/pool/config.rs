//! Settings of the client.

use std::sync::Arc;
use std::time::Duration;

use url::Url;
use windlass_node::config::SecretUrl;
use windlass_store::{Clock, SystemClock};

/// Endpoints of BandChain and how they are used.
#[derive(Clone)]
pub struct BandClientConfig {
    /// gRPC: `https://host:port` with TLS, `http://host:port` without.
    pub grpc: Vec<Url>,
    /// REST gateways. A URL whose path ends with `/proof` is the proof route itself and serves nothing else.
    pub rest: Vec<SecretUrl>,
    /// CometBFT RPC.
    pub rpc: Vec<SecretUrl>,
    /// The chain that every endpoint must serve. Without it the first one that answers decides.
    pub chain_id: Option<String>,
    /// Time for one request.
    pub timeout: Duration,
    /// Time for a broadcast that waits for its block.
    pub block_timeout: Duration,
    /// Largest answer that is read.
    pub max_answer_bytes: usize,
    /// How many endpoints must agree on the account and on an included transaction. 1 trusts the one that answered.
    pub quorum: usize,
    /// How many must say that they do not know a transaction, where so many can be asked.
    pub not_found_quorum: usize,
    /// An endpoint further behind than this is not asked about the newest state, in blocks.
    pub max_lag_blocks: u64,
    /// How often all endpoints are asked for their newest block.
    pub probe_interval: Duration,
    /// Ask REST for proofs before gRPC.
    pub rest_proofs_first: bool,
    /// Clock of back-off and health.
    pub clock: Arc<dyn Clock>,
}

impl Default for BandClientConfig {
    /// No endpoints, and limits that suit public nodes.
    fn default() -> Self {
        Self {
            grpc: Vec::new(),
            rest: Vec::new(),
            rpc: Vec::new(),
            chain_id: None,
            timeout: Duration::from_secs(10),
            block_timeout: Duration::from_secs(30),
            max_answer_bytes: 32 * 1024 * 1024,
            quorum: 1,
            not_found_quorum: 2,
            max_lag_blocks: 5,
            probe_interval: Duration::from_secs(15),
            rest_proofs_first: false,
            clock: Arc::new(SystemClock),
        }
    }
}

impl BandClientConfig {
    /// What cannot be used, as far as it is seen without the URLs.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let endpoints = self.grpc.len() + self.rest.len() + self.rpc.len();
        if endpoints == 0 {
            problems.push("no BandChain endpoint is given".to_owned());
        }
        if self.quorum > endpoints.max(1) {
            problems.push(format!("a quorum of {} needs as many endpoints, there are {endpoints}", self.quorum));
        }
        if self.timeout.is_zero() {
            problems.push("the time for a request is zero".to_owned());
        }
        problems
    }
}
