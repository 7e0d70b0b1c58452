//! Errors of this crate.

use alloy_primitives::Bytes;
use windlass_store::StoreError;

use crate::revert::RevertReason;
use crate::rpc::RpcError;
use crate::send_error::SendError;

/// Failure of a read, a broadcast or a round of following.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Every endpoint that could be asked failed; this is the last failure.
    #[error("{chain}: {method} failed at {endpoint}: {source}")]
    Rpc {
        /// Name of the chain.
        chain: String,
        /// Host of the endpoint.
        endpoint: String,
        /// Method asked.
        method: String,
        /// What happened.
        #[source]
        source: Box<RpcError>,
    },
    /// No endpoint can be used now; each with its reason.
    #[error("{chain}: no endpoint can be used: {}", pairs(.endpoints))]
    NoEndpoint {
        /// Name of the chain.
        chain: String,
        /// Host and reason.
        endpoints: Vec<(String, String)>,
        /// When the first of them may be asked again, milliseconds from now, where that is known.
        retry_after_ms: Option<u64>,
    },
    /// Every endpoint serves another chain than the configured one.
    #[error("{chain}: chain id {expected} is configured, but {}", found_ids(.found))]
    WrongChain {
        /// Name of the chain.
        chain: String,
        /// The configured chain id.
        expected: u64,
        /// Host and the id it serves.
        found: Vec<(String, u64)>,
    },
    /// The configuration of the endpoints cannot be used; all problems at once.
    #[error("{chain}: {}", .problems.join("; "))]
    Config {
        /// Name of the chain.
        chain: String,
        /// What is wrong, without secrets.
        problems: Vec<String>,
    },
    /// A call or a gas estimation reverted.
    #[error("{chain}: execution reverted: {reason}")]
    Reverted {
        /// Name of the chain.
        chain: String,
        /// Return data.
        data: Bytes,
        /// Their meaning.
        reason: RevertReason,
    },
    /// The node refused a signed transaction.
    #[error("{chain}: {endpoint} refused the transaction: {error}")]
    Rejected {
        /// Name of the chain.
        chain: String,
        /// Host of the endpoint.
        endpoint: String,
        /// Why.
        #[source]
        error: SendError,
    },
    /// Endpoints of a quorum read gave different answers.
    #[error("{chain}: endpoints disagree on {method}: {}", pairs(.answers))]
    Disagreement {
        /// Name of the chain.
        chain: String,
        /// Method asked.
        method: String,
        /// Host and start of its answer.
        answers: Vec<(String, String)>,
    },
    /// Fewer endpoints answered a quorum read than must agree.
    #[error("{chain}: {method} needs {wanted} agreeing endpoints, {} answered; {}", .answered.len(), pairs(.failed))]
    QuorumNotReached {
        /// Name of the chain.
        chain: String,
        /// Method asked.
        method: String,
        /// How many must agree.
        wanted: usize,
        /// Hosts that answered.
        answered: Vec<String>,
        /// Hosts that did not, and why.
        failed: Vec<(String, String)>,
    },
    /// An endpoint does not have a block that it should have.
    #[error("{chain}: block {block} is not known")]
    BlockNotFound {
        /// Name of the chain.
        chain: String,
        /// Height, hash or tag.
        block: String,
    },
    /// Answers that contradict each other: blocks that do not link, logs of other blocks, a bloom filter without its log. The
    /// chain moved while it was read, or an endpoint is broken; asking again helps in the first case.
    #[error("{chain}: inconsistent answers: {detail}")]
    Inconsistent {
        /// Name of the chain.
        chain: String,
        /// What contradicts what.
        detail: String,
    },
    /// The chain left the followed branch deeper than the follower may go back. Nothing was changed.
    #[error("{chain}: subscriber {subscriber}: reorganisation deeper than {limit} blocks below {tip}")]
    ReorgTooDeep {
        /// Name of the chain.
        chain: String,
        /// Name of the follower.
        subscriber: String,
        /// How deep it may go.
        limit: u64,
        /// Height of the last delivered block.
        tip: u64,
    },
    /// A batch was recorded that does not continue what is stored: recorded twice, or by a second process.
    #[error("{chain}: subscriber {subscriber}: the batch continues block {expected}, but block {stored} is stored")]
    StaleBatch {
        /// Name of the chain.
        chain: String,
        /// Name of the follower.
        subscriber: String,
        /// Height that the batch continues, or "nothing".
        expected: String,
        /// Height that is stored, or "nothing".
        stored: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn pairs(pairs: &[(String, String)]) -> String {
    if pairs.is_empty() {
        return "none is configured".to_owned();
    }
    pairs.iter().map(|(host, text)| format!("{host}: {text}")).collect::<Vec<_>>().join("; ")
}

fn found_ids(found: &[(String, u64)]) -> String {
    found.iter().map(|(host, id)| format!("{host} serves {id}")).collect::<Vec<_>>().join("; ")
}

impl ChainError {
    /// Whether trying again later can succeed without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Rpc { source, .. } => source.is_transient(),
            Self::Rejected { error, .. } => error.is_transient(),
            // Endpoints come back, lagging ones catch up, forks resolve.
            Self::NoEndpoint { .. }
            | Self::Disagreement { .. }
            | Self::QuorumNotReached { .. }
            | Self::BlockNotFound { .. }
            | Self::Inconsistent { .. } => true,
            Self::Store(error) => error.is_transient(),
            Self::WrongChain { .. }
            | Self::Config { .. }
            | Self::Reverted { .. }
            | Self::ReorgTooDeep { .. }
            | Self::StaleBatch { .. } => false,
        }
    }

    /// What an operator can do, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Rpc { source, .. } => source.hint(),
            Self::Rejected { error, .. } => error.hint(),
            Self::WrongChain { .. } => Some("correct the endpoint URLs or the chain id".to_owned()),
            Self::NoEndpoint { .. } => Some("check the endpoints, or add another one".to_owned()),
            Self::Disagreement { .. } => Some("compare the named endpoints with a third one and remove the wrong one".to_owned()),
            Self::ReorgTooDeep { .. } => Some(
                "make sure that the endpoints serve the right chain; then reset the subscriber to a block before the fork"
                    .to_owned(),
            ),
            Self::StaleBatch { .. } => Some("make sure that only one process runs this subscriber".to_owned()),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }

    /// The revert reason, if the error is a revert.
    pub fn revert_reason(&self) -> Option<&RevertReason> {
        match self {
            Self::Reverted { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// The failure of the last endpoint, if the error is that of a request.
    pub fn rpc_error(&self) -> Option<&RpcError> {
        match self {
            Self::Rpc { source, .. } => Some(source),
            _ => None,
        }
    }

    /// The node's refusal, if the error is one.
    pub fn send_error(&self) -> Option<&SendError> {
        match self {
            Self::Rejected { error, .. } => Some(error),
            _ => None,
        }
    }

    /// For a failed broadcast: whether some node may have the transaction nevertheless.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Rpc { source, .. } if source.outcome_unknown())
    }

    /// When to ask again, milliseconds from now, where an endpoint said so.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Rpc { source, .. } => source.retry_after_ms(),
            Self::NoEndpoint { retry_after_ms, .. } => *retry_after_ms,
            _ => None,
        }
    }
}
