//! What the nodes are asked, how often, and how it went.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::error::BandError;

/// Requests to nodes by method, endpoint and outcome (`ok` or [`BandError::kind`]).
pub const REQUESTS: &str = "vrf_band_requests_total";
/// Time of a request.
pub const REQUEST_SECONDS: &str = "vrf_band_request_seconds";
/// Newest block of an endpoint.
pub const HEAD: &str = "vrf_band_head_number";
/// Questions that decide about money on which nodes disagreed.
pub const DISAGREEMENTS: &str = "vrf_band_disagreements_total";

/// Registers descriptions with the installed recorder. Call once at start.
pub fn describe() {
    describe_counter!(REQUESTS, "Requests to BandChain's nodes: is one of them failing, and how?");
    describe_histogram!(REQUEST_SECONDS, Unit::Seconds, "Time of requests to BandChain's nodes: is one of them slow?");
    describe_gauge!(HEAD, "Newest block of a BandChain node: is it late or stuck?");
    describe_counter!(DISAGREEMENTS, "Questions with different answers: does a BandChain node lie?");
}

/// A question that can be put to a node. What one call of the relay's interface needs may be several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Number and sequence of an account.
    Account,
    /// A balance.
    Balance,
    /// The newest block.
    LatestBlock,
    /// A block by height.
    Block,
    /// Hand over a transaction.
    Broadcast,
    /// A transaction by hash.
    Transaction,
    /// Transactions by event.
    SearchTransactions,
    /// Gas of a transaction.
    Simulate,
    /// Events of a block.
    BlockResults,
    /// State of a request.
    Request,
    /// Parameters of the oracle module.
    OracleParams,
    /// The Proof service.
    Proof,
    /// Header and signatures of a block.
    Commit,
    /// A value of the oracle store with its proof.
    StoreProof,
    /// The validators.
    Validators,
}

impl Method {
    /// All methods, in the order of their declaration.
    pub const ALL: [Self; 15] = [
        Self::Account,
        Self::Balance,
        Self::LatestBlock,
        Self::Block,
        Self::Broadcast,
        Self::Transaction,
        Self::SearchTransactions,
        Self::Simulate,
        Self::BlockResults,
        Self::Request,
        Self::OracleParams,
        Self::Proof,
        Self::Commit,
        Self::StoreProof,
        Self::Validators,
    ];

    /// Its name in errors and metrics: that of the gRPC call, or of the CometBFT route where there is no such call.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Account => "AccountInfo",
            Self::Balance => "Balance",
            Self::LatestBlock => "GetLatestBlock",
            Self::Block => "GetBlockByHeight",
            Self::Broadcast => "BroadcastTx",
            Self::Transaction => "GetTx",
            Self::SearchTransactions => "GetTxsEvent",
            Self::Simulate => "Simulate",
            Self::BlockResults => "block_results",
            Self::Request => "Request",
            Self::OracleParams => "Params",
            Self::Proof => "Proof",
            Self::Commit => "commit",
            Self::StoreProof => "abci_query",
            Self::Validators => "GetLatestValidatorSet",
        }
    }
}

/// How many requests were sent, by method. A clone reads the same numbers.
#[derive(Debug, Clone, Default)]
pub struct RequestCounts(Arc<[AtomicU64; Method::ALL.len()]>);

impl RequestCounts {
    /// Requests of one method so far, repeated ones included.
    pub fn get(&self, method: Method) -> u64 {
        self.0.get(method as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// All requests so far.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Methods that were asked at least once, with their numbers.
    pub fn snapshot(&self) -> Vec<(Method, u64)> {
        Method::ALL.into_iter().map(|method| (method, self.get(method))).filter(|(_, count)| *count > 0).collect()
    }

    fn add(&self, method: Method) {
        if let Some(count) = self.0.get(method as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where one endpoint's requests are written down.
#[derive(Clone)]
pub(super) struct Meter {
    pub(super) host: String,
    pub(super) counts: RequestCounts,
}

impl Meter {
    pub(super) fn sent(&self, method: Method) {
        self.counts.add(method);
    }

    pub(super) fn answered<T>(&self, method: Method, outcome: &Result<T, BandError>, elapsed: Duration) {
        let kind = outcome.as_ref().err().map_or("ok", BandError::kind);
        let labels = [("method", method.name().to_owned()), ("endpoint", self.host.clone()), ("outcome", kind.to_owned())];
        counter!(REQUESTS, &labels).increment(1);
        histogram!(REQUEST_SECONDS, "method" => method.name(), "endpoint" => self.host.clone()).record(elapsed);
    }
}

pub(super) fn head(host: &str, height: u64) {
    gauge!(HEAD, "endpoint" => host.to_owned()).set(height as f64);
}

pub(super) fn disagreement(method: Method) {
    counter!(DISAGREEMENTS, "method" => method.name()).increment(1);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn methods_are_counted_under_their_own_number() {
        let counts = RequestCounts::default();
        for (index, method) in Method::ALL.into_iter().enumerate() {
            assert_eq!(method as usize, index);
            for _ in 0..=index {
                counts.add(method);
            }
        }
        assert_eq!(counts.get(Method::Broadcast), 5);
        assert_eq!(counts.total(), (1..=15).sum::<u64>());
        assert_eq!(counts.clone().snapshot().len(), 15);
    }
}
