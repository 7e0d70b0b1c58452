//! The state of endpoints as the dashboard shows it.

use serde::Serialize;
use windlass_store::UnixMillis;

use super::Endpoints;
use super::health::Pause;

/// Whether and why an endpoint is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum EndpointState {
    /// Used.
    Healthy,
    /// Its chain id has not been seen yet.
    Unverified,
    /// Left alone after failures.
    Failing {
        /// Until when, Unix milliseconds.
        until: UnixMillis,
    },
    /// Asked for fewer requests.
    RateLimited {
        /// Until when, Unix milliseconds.
        until: UnixMillis,
    },
    /// Too far behind for reads of the newest state.
    Lagging {
        /// By how many blocks.
        behind: u64,
    },
    /// Not used: serves another chain.
    Quarantined {
        /// Why, for people.
        reason: String,
    },
}

/// One endpoint for the dashboard and for readiness reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointStatus {
    /// Host and port.
    pub label: String,
    /// Whether transactions are broadcast here, and nothing else is.
    pub broadcast_only: bool,
    /// Whether it is used.
    #[serde(flatten)]
    pub state: EndpointState,
    /// Newest block seen.
    pub head: Option<u64>,
    /// When the head last changed, Unix milliseconds.
    pub head_at: Option<UnixMillis>,
    /// Smoothed time of answers, milliseconds.
    pub latency_ms: Option<u64>,
    /// Requests made.
    pub requests: u64,
    /// Requests that failed.
    pub failures: u64,
    /// The last failure.
    pub last_error: Option<String>,
}

impl Endpoints {
    /// The present state of every endpoint, in configured order.
    pub fn status(&self) -> Vec<EndpointStatus> {
        let now = self.now();
        let reference = self.reference_head();
        let all = self.inner.endpoints.iter().map(|one| (one, false));
        let broadcast = self.inner.broadcast.iter().map(|one| (one, true));
        all.chain(broadcast)
            .map(|(endpoint, broadcast_only)| {
                let health = endpoint.health.lock().clone();
                let behind = health.head.zip(reference).map_or(0, |(head, best)| best.saturating_sub(head));
                let state = if let Some(found) = health.quarantined(now) {
                    EndpointState::Quarantined { reason: self.wrong_chain_reason(found) }
                } else {
                    match health.pause_now(now) {
                        Pause::RateLimited { until } => EndpointState::RateLimited { until },
                        Pause::Failing { until } => EndpointState::Failing { until },
                        Pause::None if health.needs_verification() => EndpointState::Unverified,
                        Pause::None if behind > self.inner.max_lag_blocks => EndpointState::Lagging { behind },
                        Pause::None => EndpointState::Healthy,
                    }
                };
                EndpointStatus {
                    label: endpoint.label().to_owned(),
                    broadcast_only,
                    state,
                    head: health.head,
                    head_at: health.head_at,
                    latency_ms: health.latency_ms,
                    requests: health.requests,
                    failures: health.failures,
                    last_error: health.last_error,
                }
            })
            .collect()
    }
}
