//! What can go wrong between asking a node of BandChain and having its answer.

use std::time::Duration;

/// Failure of a question to BandChain. Hosts are named, never whole URLs: those may hold keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BandError {
    /// The node cannot be reached, says that it cannot answer now, or gave no answer in time.
    #[error("{host}: {method}: {reason}")]
    Unavailable {
        /// Host of the node.
        host: String,
        /// Method asked.
        method: String,
        /// What happened, without secrets.
        reason: String,
        /// Whether the node may have acted on the question all the same. False only where it certainly did not.
        outcome_unknown: bool,
    },
    /// The node wants fewer questions.
    #[error("{host}: {method}: too many requests")]
    RateLimited {
        /// Host of the node.
        host: String,
        /// Method asked.
        method: String,
        /// How long to wait, if the node said so.
        retry_after: Option<Duration>,
    },
    /// What was asked for does not exist there: account, block, transaction, request.
    #[error("{host}: {method}: not found: {text}")]
    NotFound {
        /// Host of the node.
        host: String,
        /// Method asked.
        method: String,
        /// The node's words.
        text: String,
    },
    /// There is no proof yet: the request is not resolved, or the block is not canonical. Asking again after the next block helps.
    #[error("{host}: {method}: not ready: {text}")]
    NotReady {
        /// Host of the node.
        host: String,
        /// Method asked.
        method: String,
        /// The node's words.
        text: String,
    },
    /// The node no longer has the state of this height. A newer height, or another node, may do.
    #[error("{host}: {method}: state is gone: {text}")]
    Pruned {
        /// Host of the node.
        host: String,
        /// Method asked.
        method: String,
        /// The lowest height that the node has, if it said so.
        lowest: Option<u64>,
        /// The node's words.
        text: String,
    },
    /// The node looked at the question and refused it.
    #[error("{host}: {method}: refused ({code}): {text}")]
    Refused {
        /// Host of the node.
        host: String,
        /// Method asked.
        method: String,
        /// gRPC status, HTTP status or CometBFT code, in words.
        code: String,
        /// The node's words, secrets removed.
        text: String,
    },
    /// The answer is not what the method returns.
    #[error("{host}: {method}: malformed answer: {reason}")]
    Malformed {
        /// Host of the node.
        host: String,
        /// Method asked.
        method: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No configured endpoint offers this.
    #[error("{method} needs {needs}")]
    Unsupported {
        /// Method asked.
        method: String,
        /// The kind of endpoint that is missing.
        needs: String,
    },
    /// The node serves another chain.
    #[error("{host} serves chain {found}, expected {expected}")]
    WrongChain {
        /// Host of the node.
        host: String,
        /// The configured or first seen chain id.
        expected: String,
        /// The chain id that it serves.
        found: String,
    },
    /// No endpoint can be asked now; each with its reason.
    #[error("{method}: no endpoint can be used: {}", pairs(.endpoints))]
    NoEndpoint {
        /// Method asked.
        method: String,
        /// Host and reason.
        endpoints: Vec<(String, String)>,
        /// When the first of them may be asked again, where that is known.
        retry_after: Option<Duration>,
    },
    /// Nodes gave different answers to a question that decides about money.
    #[error("{method}: nodes disagree: {}", pairs(.answers))]
    Disagreement {
        /// Method asked.
        method: String,
        /// Host and its answer in short.
        answers: Vec<(String, String)>,
    },
    /// The configuration of the endpoints cannot be used; all problems at once.
    #[error("{}", .problems.join("; "))]
    Config {
        /// What is wrong, without secrets.
        problems: Vec<String>,
    },
}

fn pairs(pairs: &[(String, String)]) -> String {
    if pairs.is_empty() {
        return "none is configured".to_owned();
    }
    pairs.iter().map(|(host, text)| format!("{host}: {text}")).collect::<Vec<_>>().join("; ")
}

impl BandError {
    /// Whether asking again later can succeed without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. }
            | Self::RateLimited { .. }
            | Self::NotReady { .. }
            | Self::Malformed { .. }
            | Self::NoEndpoint { .. }
            | Self::Disagreement { .. } => true,
            // What is not there now may come; whether it is worth waiting for is known to who asked.
            Self::NotFound { .. }
            | Self::Pruned { .. }
            | Self::Refused { .. }
            | Self::Unsupported { .. }
            | Self::WrongChain { .. }
            | Self::Config { .. } => false,
        }
    }

    /// For a failed broadcast: whether some node may have the transaction nevertheless.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Unavailable { outcome_unknown, .. } => *outcome_unknown,
            Self::Malformed { .. } => true,
            _ => false,
        }
    }

    /// When to ask again, where a node said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::NoEndpoint { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What an operator can do, where there is something.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Unavailable { .. } => "check host and port of the endpoint, and that the node is up",
            Self::RateLimited { .. } => "add endpoints, or raise the request limit at the provider",
            Self::NotFound { method, .. } if method.ends_with("AccountInfo") => {
                "send uband to the relay's Band address: an account exists from its first coins on"
            }
            Self::Pruned { .. } => "add an endpoint that keeps more heights",
            Self::Unsupported { .. } => "configure an endpoint of that kind",
            Self::WrongChain { .. } => "correct the endpoint, or the chain id of the Band section",
            Self::NoEndpoint { .. } => "check the endpoints, or add another one",
            Self::Disagreement { .. } => "compare the named endpoints with a third one and remove the wrong one",
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// One word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::RateLimited { .. } => "rate_limit",
            Self::NotFound { .. } => "not_found",
            Self::NotReady { .. } => "not_ready",
            Self::Pruned { .. } => "pruned",
            Self::Refused { .. } => "refused",
            Self::Malformed { .. } => "malformed",
            Self::Unsupported { .. } => "unsupported",
            Self::WrongChain { .. } => "wrong_chain",
            Self::NoEndpoint { .. } => "no_endpoint",
            Self::Disagreement { .. } => "disagreement",
            Self::Config { .. } => "config",
        }
    }
}
