//! What is known about one endpoint: pure bookkeeping, times come in as values. Also for endpoints of chains that are no EVM chains.

use windlass_store::UnixMillis;

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
pub enum Identity<Id = u64> {
    /// Not asked yet.
    Unknown,
    /// Serves the right chain, or none is prescribed.
    Verified,
    /// Serves another chain. Not used until the time is over.
    Wrong {
        /// The chain that it serves.
        found: Id,
        /// When it is looked at again.
        until: UnixMillis,
    },
}

/// Why an endpoint is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// It is not.
    None,
    /// It failed. It is asked only when no other can be.
    Failing {
        /// Until when.
        until: UnixMillis,
    },
    /// It asked for fewer requests. It is not asked at all.
    RateLimited {
        /// Until when.
        until: UnixMillis,
    },
}

/// A failure that says that the endpoint is not in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault<'a> {
    /// What happened, without secrets.
    pub text: &'a str,
    /// Whether the endpoint asks for fewer requests.
    pub rate_limited: bool,
    /// How long it asked to be left alone, milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// State of one endpoint. `Id` names a chain.
#[derive(Debug, Clone)]
pub struct Health<Id = u64> {
    /// Whether it serves the right chain.
    pub identity: Identity<Id>,
    /// Whether it is left alone; see [`pause_now`](Self::pause_now).
    pub pause: Pause,
    /// Failures since the last answer.
    pub failures_in_row: u32,
    rate_limits_in_row: u32,
    /// Smoothed time of answers, milliseconds.
    pub latency_ms: Option<u64>,
    /// Newest block seen.
    pub head: Option<u64>,
    /// When the head last changed.
    pub head_at: Option<UnixMillis>,
    lower_heads: u32,
    /// Requests made.
    pub requests: u64,
    /// Requests that failed.
    pub failures: u64,
    /// The last failure.
    pub last_error: Option<String>,
}

impl<Id: Clone + PartialEq> Health<Id> {
    /// An endpoint that was not asked anything yet.
    pub fn new(identity: Identity<Id>) -> Self {
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
    pub fn pause_now(&self, now: UnixMillis) -> Pause {
        match self.pause {
            Pause::Failing { until } | Pause::RateLimited { until } if until <= now => Pause::None,
            pause => pause,
        }
    }

    /// Whether the endpoint serves a wrong chain and is not due for another look.
    pub fn quarantined(&self, now: UnixMillis) -> Option<Id> {
        match &self.identity {
            Identity::Wrong { found, until } if *until > now => Some(found.clone()),
            _ => None,
        }
    }

    /// Whether the chain id has to be asked before anything else.
    pub fn needs_verification(&self) -> bool {
        !matches!(self.identity, Identity::Verified)
    }

    /// It serves another chain: it is left alone for some minutes, and its head is forgotten.
    pub fn wrong_chain(&mut self, found: Id, now: UnixMillis) {
        self.identity = Identity::Wrong { found, until: later(now, QUARANTINE_MS) };
        self.head = None;
    }

    /// It answered.
    pub fn succeeded(&mut self, latency_ms: u64) {
        self.requests += 1;
        self.failures_in_row = 0;
        self.rate_limits_in_row = 0;
        self.pause = Pause::None;
        self.observe_latency(latency_ms);
    }

    /// Takes note of how long an answer took.
    pub fn observe_latency(&mut self, sample_ms: u64) {
        self.latency_ms = Some(match self.latency_ms {
            None => sample_ms,
            Some(old) => (old * (LATENCY_WEIGHT - 1) + sample_ms) / LATENCY_WEIGHT,
        });
    }

    /// The endpoint answered properly, but with an error about the request: no sign of bad health.
    pub fn answered_with_error(&mut self, latency_ms: u64) {
        self.succeeded(latency_ms);
    }

    /// It failed. `can_reverify`: the expected chain id is prescribed, so it can be asked again.
    pub fn failed(&mut self, fault: Fault<'_>, now: UnixMillis, can_reverify: bool) {
        self.requests += 1;
        self.failures += 1;
        self.last_error = Some(fault.text.to_owned());
        if fault.rate_limited {
            let doubled = doubled(RATE_LIMIT_MIN_MS, self.rate_limits_in_row, RATE_LIMIT_MAX_MS);
            self.rate_limits_in_row = self.rate_limits_in_row.saturating_add(1);
            let pause_ms = fault.retry_after_ms.unwrap_or(doubled).clamp(1, RATE_LIMIT_MAX_MS);
            self.pause = Pause::RateLimited { until: later(now, pause_ms) };
            return;
        }
        let pause_ms = doubled(BACK_OFF_MIN_MS, self.failures_in_row, BACK_OFF_MAX_MS);
        let pause_ms = fault.retry_after_ms.map_or(pause_ms, |asked| asked.clamp(pause_ms, BACK_OFF_MAX_MS));
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        self.pause = Pause::Failing { until: later(now, pause_ms) };
        if can_reverify && self.failures_in_row >= REVERIFY_FAILURES && self.identity == Identity::Verified {
            self.identity = Identity::Unknown;
        }
    }

    /// Takes note of a head. It moves backwards only after several lower answers in a row.
    pub fn observe_head(&mut self, number: u64, now: UnixMillis) {
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
pub fn reference_head(heads: impl Iterator<Item = u64>) -> Option<u64> {
    let mut heads: Vec<u64> = heads.collect();
    heads.sort_unstable_by(|a, b| b.cmp(a));
    if heads.len() >= 3 { heads.get(1).copied() } else { heads.first().copied() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn late() -> Fault<'static> {
        Fault { text: "no answer within 5 ms", rate_limited: false, retry_after_ms: None }
    }

    fn limited(retry_after_ms: u64) -> Fault<'static> {
        Fault { text: "too many requests", rate_limited: true, retry_after_ms: Some(retry_after_ms) }
    }

    #[test]
    fn pauses_double_and_end() {
        let mut health = Health::<u64>::new(Identity::Verified);
        health.failed(late(), UnixMillis(0), true);
        assert_eq!(health.pause_now(UnixMillis(499)), Pause::Failing { until: UnixMillis(500) });
        assert_eq!(health.pause_now(UnixMillis(500)), Pause::None);
        health.failed(late(), UnixMillis(500), true);
        assert_eq!(health.pause, Pause::Failing { until: UnixMillis(1_500) });
        for _ in 0..80 {
            health.failed(late(), UnixMillis(0), true);
        }
        assert_eq!(health.pause, Pause::Failing { until: UnixMillis(60_000) });
        assert_eq!(health.identity, Identity::Unknown);
        health.succeeded(3);
        assert_eq!(health.pause, Pause::None);
    }

    #[test]
    fn retry_after_is_respected_within_reason() {
        let mut health = Health::<u64>::new(Identity::Verified);
        health.failed(limited(7_000), UnixMillis(0), true);
        assert_eq!(health.pause, Pause::RateLimited { until: UnixMillis(7_000) });
        health.failed(limited(u64::MAX), UnixMillis(0), true);
        assert_eq!(health.pause, Pause::RateLimited { until: UnixMillis(600_000) });
    }

    #[test]
    fn heads_go_back_only_when_insisted_on() {
        let mut health = Health::<u64>::new(Identity::Verified);
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
