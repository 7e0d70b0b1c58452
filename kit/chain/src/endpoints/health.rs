//! What is known about one endpoint: pure bookkeeping, times come in as values.

use windlass_store::UnixMillis;

use crate::rpc::RpcError;

/// Shortest and longest pause after failures, milliseconds.
const BACK_OFF_MIN_MS: u64 = 500;
const BACK_OFF_MAX_MS: u64 = 60_000;
/// Pause after a "too many requests" that names no time; doubles with each further one.
const RATE_LIMIT_MIN_MS: u64 = 1_000;
/// No endpoint is left alone longer than this, whatever it asks for.
const RATE_LIMIT_MAX_MS: u64 = 10 * 60_000;
/// A quarantined endpoint is looked at again after this time: operators repair nodes behind unchanged URLs.
const QUARANTINE_MS: u64 = 5 * 60_000;
/// After so many failures in a row the endpoint must show its chain id again: something else may answer there now.
const REVERIFY_FAILURES: u32 = 5;
/// So many lower heads in a row are believed. A pool of nodes behind one URL answers from different nodes.
const LOWER_HEADS_BELIEVED: u32 = 3;
/// Weight of the newest sample in the smoothed latency: one in ...
const LATENCY_WEIGHT: u64 = 5;

/// Whether the endpoint has shown that it serves the right chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Not asked yet.
    Unknown,
    /// Serves the right chain, or none is prescribed.
    Verified,
    /// Serves another chain. Not used until the time is over.
    Wrong { found: u64, until: UnixMillis },
}

/// Why an endpoint is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    None,
    Failing { until: UnixMillis },
    RateLimited { until: UnixMillis },
}

/// State of one endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    pub(crate) identity: Identity,
    pub(crate) pause: Pause,
    pub(crate) failures_in_row: u32,
    rate_limits_in_row: u32,
    pub(crate) latency_ms: Option<u64>,
    pub(crate) head: Option<u64>,
    pub(crate) head_at: Option<UnixMillis>,
    lower_heads: u32,
    pub(crate) requests: u64,
    pub(crate) failures: u64,
    pub(crate) last_error: Option<String>,
}

impl Health {
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            identity,
            pause: Pause::None,
            failures_in_row: 0,
            rate_limits_in_row: 0,
            latency_ms: None,
            head: None,
            head_at: None,
            lower_heads: 0,
            requests: 0,
            failures: 0,
            last_error: None,
        }
    }

    /// The pause that holds now.
    pub(crate) fn pause_now(&self, now: UnixMillis) -> Pause {
        match self.pause {
            Pause::Failing { until } | Pause::RateLimited { until } if until <= now => Pause::None,
            pause => pause,
        }
    }

    /// Whether the endpoint serves a wrong chain and is not due for another look.
    pub(crate) fn quarantined(&self, now: UnixMillis) -> Option<u64> {
        match self.identity {
            Identity::Wrong { found, until } if until > now => Some(found),
            _ => None,
        }
    }

    /// Whether the chain id has to be asked before anything else.
    pub(crate) fn needs_verification(&self) -> bool {
        !matches!(self.identity, Identity::Verified)
    }

    pub(crate) fn wrong_chain(&mut self, found: u64, now: UnixMillis) {
        self.identity = Identity::Wrong { found, until: later(now, QUARANTINE_MS) };
        self.head = None;
    }

    pub(crate) fn succeeded(&mut self, latency_ms: u64) {
        self.requests += 1;
        self.failures_in_row = 0;
        self.rate_limits_in_row = 0;
        self.pause = Pause::None;
        self.observe_latency(latency_ms);
    }

    pub(crate) fn observe_latency(&mut self, sample_ms: u64) {
        self.latency_ms = Some(match self.latency_ms {
            None => sample_ms,
            Some(old) => (old * (LATENCY_WEIGHT - 1) + sample_ms) / LATENCY_WEIGHT,
        });
    }

    /// The endpoint answered properly, but with an error about the request: no sign of bad health.
    pub(crate) fn answered_with_error(&mut self, latency_ms: u64) {
        self.succeeded(latency_ms);
    }

    /// `can_reverify`: the expected chain id is prescribed, so it can be asked again.
    pub(crate) fn failed(&mut self, error: &RpcError, now: UnixMillis, can_reverify: bool) {
        self.requests += 1;
        self.failures += 1;
        self.last_error = Some(error.to_string());
        if error.is_rate_limit() {
            let doubled = doubled(RATE_LIMIT_MIN_MS, self.rate_limits_in_row, RATE_LIMIT_MAX_MS);
            self.rate_limits_in_row = self.rate_limits_in_row.saturating_add(1);
            let pause_ms = error.retry_after_ms().unwrap_or(doubled).clamp(1, RATE_LIMIT_MAX_MS);
            self.pause = Pause::RateLimited { until: later(now, pause_ms) };
            return;
        }
        let pause_ms = doubled(BACK_OFF_MIN_MS, self.failures_in_row, BACK_OFF_MAX_MS);
        let pause_ms = error.retry_after_ms().map_or(pause_ms, |asked| asked.clamp(pause_ms, BACK_OFF_MAX_MS));
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        self.pause = Pause::Failing { until: later(now, pause_ms) };
        if can_reverify && self.failures_in_row >= REVERIFY_FAILURES && self.identity == Identity::Verified {
            self.identity = Identity::Unknown;
        }
    }

    /// Takes note of a head. It moves backwards only after several lower answers in a row.
    pub(crate) fn observe_head(&mut self, number: u64, now: UnixMillis) {
        if self.head.is_some_and(|head| number < head) {
            self.lower_heads += 1;
            if self.lower_heads < LOWER_HEADS_BELIEVED {
                return;
            }
        }
        self.lower_heads = 0;
        if self.head != Some(number) {
            self.head_at = Some(now);
        }
        self.head = Some(number);
    }
}

fn doubled(start: u64, times: u32, max: u64) -> u64 {
    start.checked_shl(times.min(20)).unwrap_or(max).min(max)
}

fn later(now: UnixMillis, ms: u64) -> UnixMillis {
    now.saturating_add(std::time::Duration::from_millis(ms))
}

/// The head that others are measured against. With three or more endpoints the second highest, so that one endpoint that
/// makes up a height does not make all others look late; with two the higher.
pub(crate) fn reference_head(heads: impl Iterator<Item = u64>) -> Option<u64> {
    let mut heads: Vec<u64> = heads.collect();
    heads.sort_unstable_by(|a, b| b.cmp(a));
    if heads.len() >= 3 { heads.get(1).copied() } else { heads.first().copied() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn pauses_double_and_end() {
        let mut health = Health::new(Identity::Verified);
        let error = RpcError::Timeout { after_ms: 5 };
        health.failed(&error, UnixMillis(0), true);
        assert_eq!(health.pause_now(UnixMillis(499)), Pause::Failing { until: UnixMillis(500) });
        assert_eq!(health.pause_now(UnixMillis(500)), Pause::None);
        health.failed(&error, UnixMillis(500), true);
        assert_eq!(health.pause, Pause::Failing { until: UnixMillis(1_500) });
        for _ in 0..80 {
            health.failed(&error, UnixMillis(0), true);
        }
        assert_eq!(health.pause, Pause::Failing { until: UnixMillis(60_000) });
        assert_eq!(health.identity, Identity::Unknown);
        health.succeeded(3);
        assert_eq!(health.pause, Pause::None);
    }

    #[test]
    fn retry_after_is_respected_within_reason() {
        let mut health = Health::new(Identity::Verified);
        health.failed(&RpcError::TooManyRequests { retry_after_ms: Some(7_000) }, UnixMillis(0), true);
        assert_eq!(health.pause, Pause::RateLimited { until: UnixMillis(7_000) });
        health.failed(&RpcError::TooManyRequests { retry_after_ms: Some(u64::MAX) }, UnixMillis(0), true);
        assert_eq!(health.pause, Pause::RateLimited { until: UnixMillis(600_000) });
    }

    #[test]
    fn heads_go_back_only_when_insisted_on() {
        let mut health = Health::new(Identity::Verified);
        for (number, expected) in [(10, 10), (9, 10), (11, 11), (8, 11), (8, 11), (8, 8)] {
            health.observe_head(number, UnixMillis(0));
            assert_eq!(health.head, Some(expected));
        }
    }

    #[test]
    fn one_liar_among_three_does_not_set_the_reference() {
        assert_eq!(reference_head([100, 1_000_000, 101].into_iter()), Some(101));
        assert_eq!(reference_head([100, 90].into_iter()), Some(100));
        assert_eq!(reference_head(std::iter::empty()), None);
    }
}
