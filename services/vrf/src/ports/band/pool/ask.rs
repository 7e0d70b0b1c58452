//! Asking: who is asked, in which order, and what an answer says about who gave it.

use std::time::{Duration, Instant};

use futures::future::{self, BoxFuture};
use windlass_chain::endpoints::health::{Fault, Identity, Pause, reference_head};
use windlass_store::UnixMillis;

use super::super::error::BandError;
use super::super::meter::{self, Method};
use super::super::node::{Kind, Node, who_offers};
use super::super::site::is_unimplemented;
use super::{BandClient, Endpoint};

/// How new the answering endpoint must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Any: the answer never changes.
    Any,
    /// Not late: the answer depends on the newest block.
    Latest,
    /// Has, as far as is known, this height.
    At(u64),
}

/// Who can be asked now, best first, and who cannot.
pub(super) struct Candidates {
    pub(super) order: Vec<usize>,
    /// How many of them, from the front, are in order.
    pub(super) healthy: usize,
}

pub(super) type Answer<'a, T> = BoxFuture<'a, Result<T, BandError>>;

impl BandClient {
    /// Asks one endpoint after the other until one has an answer.
    pub(super) async fn ask<'a, T>(
        &'a self,
        method: Method,
        freshness: Freshness,
        call: impl Fn(&'a dyn Node) -> Answer<'a, T> + Send + Sync,
    ) -> Result<T, BandError> {
        let (answer, _) = self.ask_whom(method, freshness, call).await?;
        Ok(answer)
    }

    /// As [`ask`](Self::ask), and says who answered.
    pub(super) async fn ask_whom<'a, T>(
        &'a self,
        method: Method,
        freshness: Freshness,
        call: impl Fn(&'a dyn Node) -> Answer<'a, T> + Send + Sync,
    ) -> Result<(T, &'a Endpoint), BandError> {
        let mut kept: Option<BandError> = None;
        let mut above = None;
        for index in self.candidates(method, freshness)?.order {
            let Some(endpoint) = self.endpoints.get(index) else { continue };
            if above.is_some_and(|above| endpoint.health.lock().head.is_none_or(|head| head <= above)) {
                continue;
            }
            let error = match self.attempt(endpoint, &call).await {
                Ok(answer) => return Ok((answer, endpoint)),
                Err(error) => error,
            };
            match &error {
                BandError::Refused { .. } if method == Method::Simulate && !is_unimplemented(&error) => return Err(error),
                // Only one that is further can know better.
                BandError::NotReady { .. } => above = above.max(Some(endpoint.health.lock().head.unwrap_or(u64::MAX))),
                _ => {}
            }
            kept = Some(more_telling(kept, error));
        }
        Err(kept.unwrap_or_else(|| self.nobody(method, Vec::new(), None)))
    }

    /// One question at one endpoint, with its entry in the books.
    pub(super) async fn attempt<'a, T>(
        &'a self,
        endpoint: &'a Endpoint,
        call: &(impl Fn(&'a dyn Node) -> Answer<'a, T> + Sync),
    ) -> Result<T, BandError> {
        // Whatever came of this, the question itself was not sent.
        self.identify(endpoint).await.map_err(not_sent)?;
        self.exchange(endpoint, call(endpoint.node.as_ref())).await
    }

    async fn exchange<T>(&self, endpoint: &Endpoint, answer: Answer<'_, T>) -> Result<T, BandError> {
        let start = Instant::now();
        let outcome = answer.await;
        let latency_ms = whole_ms(start.elapsed());
        let now = self.config.clock.now();
        let seen = endpoint.node.height_seen();
        let can_reverify = self.expected.lock().is_some();
        let mut health = endpoint.health.lock();
        match &outcome {
            Err(error) if is_fault(error) => {
                tracing::debug!(endpoint = endpoint.host(), kind = endpoint.node.kind().name(), %error, "request failed");
                let text = error.to_string();
                let rate_limited = matches!(error, BandError::RateLimited { .. });
                let retry_after_ms = error.retry_after().map(whole_ms);
                health.failed(Fault { text: &text, rate_limited, retry_after_ms }, now, can_reverify);
            }
            Ok(_) | Err(_) => health.succeeded(latency_ms),
        }
        // Mentioned in passing, so it can be older than what is known, but never newer than what is true.
        if health.head.is_none_or(|head| head < seen) && seen > 0 {
            health.observe_head(seen, now);
        }
        outcome
    }

    /// Makes sure that the endpoint has shown the right chain id.
    pub(super) async fn identify(&self, endpoint: &Endpoint) -> Result<(), BandError> {
        let known = |endpoint: &Endpoint| !endpoint.health.lock().needs_verification();
        if known(endpoint) {
            return Ok(());
        }
        let _one = endpoint.identifying.lock().await;
        if known(endpoint) {
            return Ok(());
        }
        if endpoint.node.kind() == Kind::ProofUrl {
            // It serves proofs only. Those name their chain in every signature, and are verified before they are used.
            endpoint.health.lock().identity = Identity::Verified;
            return Ok(());
        }
        let found = self.exchange(endpoint, endpoint.node.chain_id()).await?;
        let expected = self.expected.lock().get_or_insert_with(|| found.clone()).clone();
        if found == expected {
            endpoint.health.lock().identity = Identity::Verified;
            return Ok(());
        }
        Err(self.quarantine(endpoint, expected, found))
    }

    /// An endpoint that has shown another chain is not used any more for a while.
    pub(super) fn quarantine(&self, endpoint: &Endpoint, expected: String, found: String) -> BandError {
        endpoint.health.lock().wrong_chain(found.clone(), self.config.clock.now());
        let host = endpoint.host().to_owned();
        tracing::warn!(endpoint = host, expected, found, "endpoint serves another chain; it is not used");
        BandError::WrongChain { host, expected, found }
    }

    /// The order in which to ask: working ones by kind and speed, then those after a failure. Left out: other chains, those that asked to
    /// be left alone, and late ones where that matters.
    pub(super) fn candidates(&self, method: Method, freshness: Freshness) -> Result<Candidates, BandError> {
        let now = self.config.clock.now();
        let reference = self.reference_head(now);
        let (mut ranked, mut refused, mut wrong, mut offered) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut retry_after: Option<Duration> = None;
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let Some(kind) = self.rank(endpoint.node.kind(), method) else { continue };
            offered += 1;
            let health = endpoint.health.lock();
            let host = || endpoint.host().to_owned();
            if let Some(found) = health.quarantined(now) {
                refused.push((host(), format!("serves chain {found}")));
                wrong.push((host(), found));
                continue;
            }
            let pause = health.pause_now(now);
            if let Pause::RateLimited { until } = pause {
                let wait = until.saturating_since(now);
                refused.push((host(), format!("too many requests, {} ms to wait", wait.as_millis())));
                retry_after = Some(retry_after.map_or(wait, |least| least.min(wait)));
                continue;
            }
            let behind = health.head.zip(reference).map_or(0, |(head, best)| best.saturating_sub(head));
            if freshness == Freshness::Latest && behind > self.config.max_lag_blocks {
                refused.push((host(), format!("{behind} blocks behind")));
                continue;
            }
            let failing = pause != Pause::None;
            let lacks_block = matches!(freshness, Freshness::At(height) if health.head.is_some_and(|head| head < height));
            ranked.push((failing, lacks_block, kind, latency_class(health.latency_ms), index));
        }
        if offered == 0 {
            return Err(BandError::Unsupported { method: method.name().to_owned(), needs: who_offers(method) });
        }
        if let (true, Some((host, found))) = (wrong.len() == offered, wrong.pop()) {
            let expected = self.expected.lock().clone().unwrap_or_default();
            return Err(BandError::WrongChain { host, expected, found });
        }
        if ranked.is_empty() {
            return Err(self.nobody(method, refused, retry_after));
        }
        ranked.sort_unstable();
        let healthy = ranked.iter().filter(|(failing, ..)| !failing).count();
        Ok(Candidates { order: ranked.into_iter().map(|(.., index)| index).collect(), healthy })
    }

    /// The endpoints in this order, with those of hosts not seen before to the front: two doors of one house are no two witnesses.
    pub(super) fn independent(&self, order: &[usize]) -> Vec<&Endpoint> {
        let mut seen = Vec::new();
        let all = order.iter().filter_map(|index| self.endpoints.get(*index));
        let (mut first, others): (Vec<_>, Vec<_>) = all.partition(|endpoint| {
            let host = endpoint.host().split(':').next().unwrap_or_default();
            let new = !seen.contains(&host);
            seen.push(host);
            new
        });
        first.extend(others);
        first
    }

    pub(super) fn nobody(&self, method: Method, endpoints: Vec<(String, String)>, retry_after: Option<Duration>) -> BandError {
        BandError::NoEndpoint { method: method.name().to_owned(), endpoints, retry_after }
    }

    /// The head to measure lateness by, from endpoints that work: one that has gone away must not make the others late.
    pub(super) fn reference_head(&self, now: UnixMillis) -> Option<u64> {
        reference_head(self.endpoints.iter().filter_map(|endpoint| {
            let health = endpoint.health.lock();
            let works = health.pause_now(now) == Pause::None && health.quarantined(now).is_none();
            health.head.filter(|_| works)
        }))
    }

    /// Asks every endpoint for its newest block if the last time was long enough ago. Slow ones are not waited for long.
    pub(super) async fn probe_if_due(&self) {
        use std::sync::atomic::Ordering;
        const PATIENCE: Duration = Duration::from_millis(500);
        let now = self.config.clock.now();
        let last = UnixMillis(self.probed_at.load(Ordering::Relaxed));
        if self.endpoints.len() < 2 || now.saturating_since(last) < self.config.probe_interval {
            return;
        }
        self.probed_at.store(now.0, Ordering::Relaxed);
        let idle = |endpoint: &&Endpoint| {
            let health = endpoint.health.lock();
            endpoint.node.kind() != Kind::ProofUrl && health.quarantined(now).is_none() && health.pause_now(now) == Pause::None
        };
        let probes = self.endpoints.iter().filter(idle).map(|endpoint| async move {
            if let Ok(block) = self.attempt(endpoint, &|node| node.latest_block()).await {
                self.note_head(endpoint, block.height);
            }
        });
        // One that is slower keeps its old head; the next probe asks it again.
        let _ = tokio::time::timeout(PATIENCE.min(self.config.timeout), future::join_all(probes)).await;
    }

    pub(super) fn disagreement(&self, method: Method, answers: Vec<(String, String)>) -> BandError {
        meter::disagreement(method);
        tracing::warn!(method = method.name(), ?answers, "nodes disagree");
        BandError::Disagreement { method: method.name().to_owned(), answers }
    }
}

/// Whether the endpoint is not in order.
fn is_fault(error: &BandError) -> bool {
    matches!(error, BandError::Unavailable { .. } | BandError::RateLimited { .. } | BandError::Malformed { .. })
}

/// The same error about a question that was not sent at all.
fn not_sent(error: BandError) -> BandError {
    match error {
        BandError::Unavailable { host, method, reason, .. } => {
            BandError::Unavailable { host, method, reason, outcome_unknown: false }
        }
        BandError::Malformed { host, method, reason } => {
            BandError::Unavailable { host, method, reason: format!("malformed answer: {reason}"), outcome_unknown: false }
        }
        other => other,
    }
}

/// Of two failures the one that tells the caller more: words of a node about the question before "not here", "not now" and silence.
pub(super) fn more_telling(kept: Option<BandError>, new: BandError) -> BandError {
    fn rank(error: &BandError) -> u8 {
        match error {
            BandError::WrongChain { .. } | BandError::Unsupported { .. } => 0,
            BandError::RateLimited { .. } => 1,
            _ if is_unimplemented(error) => 2,
            BandError::Unavailable { .. } => 3,
            BandError::Malformed { .. } => 4,
            BandError::Pruned { .. } => 5,
            BandError::NotFound { .. } => 6,
            BandError::NotReady { .. } => 8,
            _ => 7,
        }
    }
    match kept {
        Some(kept) if rank(&kept) >= rank(&new) => kept,
        _ => new,
    }
}

/// Speeds that differ less than this are equal, so that two good endpoints do not take turns by chance.
fn latency_class(latency_ms: Option<u64>) -> u64 {
    latency_ms.unwrap_or(0) / 50
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
