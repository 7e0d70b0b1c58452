//! Asking: choice of the endpoint, deadline, fail-over, hedging, and the bookkeeping of health.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use tokio::time::Instant;
use windlass_store::UnixMillis;

use super::health::{Fault, Identity, Pause};
use super::{Endpoint, Endpoints};
use crate::error::ChainError;
use crate::metrics;
use crate::rpc::{Answer, RpcCall, RpcError};
use crate::types::quantity;

/// Outcomes of the calls of one question, in their order.
pub(crate) type Outcomes = Vec<Result<Answer, RpcError>>;

/// Calls per deadline: a long batch gets several.
const CALLS_PER_TIMEOUT: usize = 100;
/// Pause before everything is tried once more.
const SECOND_PASS_AFTER: Duration = Duration::from_millis(100);

/// How new the answering endpoint must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Any: the answer is pinned to a hash, or the same for ever.
    Any,
    /// Not late: the answer depends on the newest block.
    Latest,
    /// Has, as far as is known, this height.
    At(u64),
}

/// One question: one call, or several that one endpoint must answer together.
pub(crate) struct Ask {
    pub(crate) calls: Vec<RpcCall>,
    pub(crate) freshness: Freshness,
    /// The endpoint to ask first, if it is in order.
    pub(crate) prefer: Option<usize>,
    /// May be asked of two endpoints at the same time.
    pub(crate) hedge: bool,
    /// "Too much" and time-outs come back at once instead of going to the next endpoint: the caller asks for less.
    pub(crate) ranged: bool,
}

impl Ask {
    pub(crate) fn one(method: &str, params: Value) -> Self {
        Self::many(vec![RpcCall::new(method, params)])
    }

    pub(crate) fn many(calls: Vec<RpcCall>) -> Self {
        Self { calls, freshness: Freshness::Any, prefer: None, hedge: true, ranged: false }
    }

    pub(crate) fn fresh(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    pub(crate) fn preferring(mut self, endpoint: Option<usize>) -> Self {
        self.prefer = endpoint;
        self
    }

    pub(crate) fn ranged(mut self) -> Self {
        self.ranged = true;
        self.hedge = false;
        self
    }

    /// The method, for messages.
    pub(crate) fn method(&self) -> &str {
        self.calls.last().map_or("", |call| call.method.as_str())
    }
}

/// An answer and who gave it.
#[derive(Debug)]
pub(crate) struct Answered<T> {
    pub(crate) value: T,
    pub(crate) endpoint: usize,
}

/// Failure of one attempt.
pub(crate) enum Failure {
    Rpc(RpcError),
    WrongChain(u64),
}

/// What an error says about where to go from here.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// This is the answer; no endpoint will give another.
    Final,
    /// The endpoint is in order, but another one may be able to answer.
    Elsewhere,
    /// The endpoint is not in order.
    Fault,
}

fn judge(error: &RpcError, ranged: bool) -> Verdict {
    if ranged && (error.is_range_too_large() || matches!(error, RpcError::Timeout { .. })) {
        return Verdict::Final;
    }
    match error {
        RpcError::Response { .. } if error.revert_data().is_some() => Verdict::Final,
        RpcError::Response { .. } if error.is_rate_limit() => Verdict::Fault,
        RpcError::Response { .. } if error.is_internal() => Verdict::Fault,
        RpcError::Response { .. } | RpcError::TooLarge { .. } => Verdict::Elsewhere,
        _ => Verdict::Fault,
    }
}

/// Whether no endpoint will answer otherwise.
pub(super) fn is_final(error: &RpcError, ranged: bool) -> bool {
    judge(error, ranged) == Verdict::Final
}

/// Who can be asked now, best first, and who cannot.
pub(crate) struct Candidates {
    pub(crate) order: Vec<usize>,
    refused: Vec<(String, String)>,
    retry_after_ms: Option<u64>,
}

impl Endpoints {
    /// Asks until somebody answers. `decode` turns the outcomes into a value; its errors count as the endpoint's.
    pub(crate) async fn ask<T: Send>(
        &self,
        ask: &Ask,
        decode: impl Fn(&Outcomes) -> Result<T, RpcError> + Sync,
    ) -> Result<Answered<T>, ChainError> {
        let mut passes_left = if self.has_timers() { 2 } else { 1 };
        loop {
            passes_left -= 1;
            let candidates = self.candidates_or_wait(ask.freshness, ask.prefer).await?;
            let (endpoint, failure) = match self.pass(ask, &candidates.order, &decode).await {
                Ok(answered) => return Ok(answered),
                Err(failed) => failed,
            };
            let repairable = matches!(&failure, Failure::Rpc(error) if matches!(
                error,
                RpcError::Closed { .. } | RpcError::Connect { .. } | RpcError::Malformed { .. }
            ) || error.is_internal());
            if passes_left == 0 || !repairable {
                return Err(self.failure_to_error(ask.method(), endpoint, failure));
            }
            tokio::time::sleep(SECOND_PASS_AFTER).await;
        }
    }

    /// Tries the candidates in order, with a second one in parallel once the hedging time is over.
    async fn pass<T: Send>(
        &self,
        ask: &Ask,
        order: &[usize],
        decode: &(impl Fn(&Outcomes) -> Result<T, RpcError> + Sync),
    ) -> Result<Answered<T>, (usize, Failure)> {
        let hedge_after = self.inner.timing.and_then(|timing| timing.hedge_after).filter(|_| ask.hedge);
        let mut waiting = order.iter().copied();
        let mut running: FuturesUnordered<BoxFuture<'_, (usize, Result<T, Failure>)>> = FuturesUnordered::new();
        let mut started: Vec<(usize, Instant)> = Vec::new();
        let mut kept: Option<(usize, Failure)> = None;
        loop {
            if running.is_empty() {
                match waiting.next() {
                    Some(index) => {
                        started.extend(self.has_timers().then(|| (index, Instant::now())));
                        running.push(Box::pin(async move { (index, self.attempt(index, ask, decode).await) }));
                    }
                    // `order` is never empty, so something was tried and kept.
                    None => return Err(kept.unwrap_or((0, Failure::Rpc(RpcError::connect("no endpoint"))))),
                }
            }
            let hedge = async {
                match hedge_after {
                    Some(after) => tokio::time::sleep(after).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some((index, outcome)) = running.next() => match outcome {
                    Ok(value) => {
                        self.note_overtaken(&started, index);
                        return Ok(Answered { value, endpoint: index });
                    }
                    Err(Failure::Rpc(error)) if judge(&error, ask.ranged) == Verdict::Final => {
                        return Err((index, Failure::Rpc(error)));
                    }
                    Err(failure) => {
                        started.retain(|(one, _)| *one != index);
                        kept = Some(more_telling(kept, (index, failure)));
                    }
                },
                () = hedge, if running.len() < 2 && waiting.len() > 0 => {
                    if let Some(index) = waiting.next() {
                        metrics::hedged(&self.inner.name);
                        started.push((index, Instant::now()));
                        running.push(Box::pin(async move { (index, self.attempt(index, ask, decode).await) }));
                    }
                }
            }
        }
    }

    /// An endpoint that was overtaken has shown that it is slow.
    fn note_overtaken(&self, started: &[(usize, Instant)], winner: usize) {
        for (index, start) in started.iter().filter(|(index, _)| *index != winner) {
            if let Some(endpoint) = self.inner.endpoints.get(*index) {
                endpoint.health.lock().observe_latency(whole_ms(start.elapsed()));
            }
        }
    }

    /// One attempt at one endpoint, with its deadline and its entry in the books.
    pub(crate) async fn attempt<T>(
        &self,
        index: usize,
        ask: &Ask,
        decode: impl Fn(&Outcomes) -> Result<T, RpcError>,
    ) -> Result<T, Failure> {
        let Some(endpoint) = self.inner.endpoints.get(index) else {
            return Err(Failure::Rpc(RpcError::connect("no such endpoint")));
        };
        self.verify(endpoint).await?;
        let outcome = self.exchange(endpoint, &ask.calls, ask.ranged, decode).await;
        outcome.map_err(Failure::Rpc)
    }

    /// Sends the calls, waits for the answers within the deadline, decodes them and keeps the books.
    pub(super) async fn exchange<T>(
        &self,
        endpoint: &Endpoint,
        calls: &[RpcCall],
        ranged: bool,
        decode: impl Fn(&Outcomes) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let start = self.has_timers().then(Instant::now);
        let start_at = self.now();
        let outcomes = self.within_deadline(calls.len(), send(endpoint, calls)).await;
        let outcome = outcomes.and_then(|outcomes| decode(&outcomes));
        let elapsed = start.map_or_else(|| self.now().saturating_since(start_at), |start| start.elapsed());
        let latency_ms = whole_ms(elapsed);
        let kind = outcome.as_ref().err().map_or("ok", RpcError::kind);
        metrics::request(&self.inner.name, endpoint.label(), kind, elapsed);
        let mut health = endpoint.health.lock();
        match &outcome {
            Ok(_) => health.succeeded(latency_ms),
            Err(error) if judge(error, false) != Verdict::Fault => health.answered_with_error(latency_ms),
            Err(error) => {
                tracing::debug!(chain = %self.inner.name, endpoint = endpoint.label(), ranged, %error, "request failed");
                let text = error.to_string();
                let fault = Fault { text: &text, rate_limited: error.is_rate_limit(), retry_after_ms: error.retry_after_ms() };
                health.failed(fault, self.now(), self.inner.verify);
            }
        }
        drop(health);
        outcome
    }

    async fn within_deadline<T>(&self, calls: usize, answer: impl Future<Output = Result<T, RpcError>>) -> Result<T, RpcError> {
        let Some(timing) = self.inner.timing else {
            return answer.await;
        };
        let factor = u32::try_from(calls.div_ceil(CALLS_PER_TIMEOUT)).unwrap_or(u32::MAX).max(1);
        let timeout = timing.timeout.saturating_mul(factor);
        match tokio::time::timeout(timeout, answer).await {
            Ok(outcome) => outcome,
            Err(_) => Err(RpcError::Timeout { after_ms: whole_ms(timeout) }),
        }
    }

    /// Makes sure that the endpoint has shown the right chain id.
    pub(super) async fn verify(&self, endpoint: &Endpoint) -> Result<(), Failure> {
        if !endpoint.health.lock().needs_verification() {
            return Ok(());
        }
        let calls = [RpcCall::new("eth_chainId", json!([]))];
        let found = self.exchange(endpoint, &calls, false, |outcomes| read_quantity(outcomes, "eth_chainId")).await;
        let found: u64 = found.map_err(Failure::Rpc)?;
        // Without a configured id the first endpoint that answers decides.
        let known = self.inner.chain_id.compare_exchange(0, found, Ordering::AcqRel, Ordering::Acquire);
        let expected = known.map_or_else(|expected| expected, |_| found);
        let mut health = endpoint.health.lock();
        if found == expected {
            health.identity = Identity::Verified;
            return Ok(());
        }
        health.wrong_chain(found, self.now());
        drop(health);
        tracing::warn!(
            chain = %self.inner.name, endpoint = endpoint.label(), expected, found, "endpoint serves another chain; it is not used"
        );
        Err(Failure::WrongChain(found))
    }

    /// Who can be asked now. If all are only asked to be left alone for less than the deadline, waits for the first of them.
    pub(crate) async fn candidates_or_wait(&self, freshness: Freshness, prefer: Option<usize>) -> Result<Candidates, ChainError> {
        let mut candidates = self.candidates(freshness, prefer);
        if let (true, Some(wait_ms), Some(timing)) = (candidates.order.is_empty(), candidates.retry_after_ms, self.inner.timing) {
            let wait = Duration::from_millis(wait_ms);
            if wait <= timing.timeout {
                tokio::time::sleep(wait).await;
                candidates = self.candidates(freshness, prefer);
            }
        }
        if candidates.order.is_empty() {
            return Err(self.no_endpoint(candidates));
        }
        Ok(candidates)
    }

    fn no_endpoint(&self, candidates: Candidates) -> ChainError {
        let now = self.now();
        let found: Vec<_> = self
            .inner
            .endpoints
            .iter()
            .filter_map(|one| one.health.lock().quarantined(now).map(|id| (one.label().to_owned(), id)))
            .collect();
        let chain = self.inner.name.clone();
        if !found.is_empty() && found.len() == self.inner.endpoints.len() {
            return ChainError::WrongChain { chain, expected: self.expected_chain_id().unwrap_or_default(), found };
        }
        ChainError::NoEndpoint { chain, endpoints: candidates.refused, retry_after_ms: candidates.retry_after_ms }
    }

    /// The order in which to ask: working ones by speed, then those after a failure. Left out: other chains, those that asked to be left
    /// alone, and late ones where that matters.
    pub(crate) fn candidates(&self, freshness: Freshness, prefer: Option<usize>) -> Candidates {
        let now = self.now();
        let reference = self.working_reference_head(now);
        let mut candidates = Candidates { order: Vec::new(), refused: Vec::new(), retry_after_ms: None };
        let mut ranked = Vec::with_capacity(self.inner.endpoints.len());
        for (index, endpoint) in self.inner.endpoints.iter().enumerate() {
            let health = endpoint.health.lock();
            if let Some(found) = health.quarantined(now) {
                let reason = self.wrong_chain_reason(found);
                candidates.refused.push((endpoint.label().to_owned(), reason));
                continue;
            }
            let pause = health.pause_now(now);
            if let Pause::RateLimited { until } = pause {
                let wait_ms = whole_ms(until.saturating_since(now));
                candidates.refused.push((endpoint.label().to_owned(), format!("too many requests, {wait_ms} ms to wait")));
                candidates.retry_after_ms = Some(candidates.retry_after_ms.map_or(wait_ms, |least| least.min(wait_ms)));
                continue;
            }
            let behind = health.head.zip(reference).map_or(0, |(head, best)| best.saturating_sub(head));
            if freshness == Freshness::Latest && behind > self.inner.max_lag_blocks {
                candidates.refused.push((endpoint.label().to_owned(), format!("{behind} blocks behind")));
                continue;
            }
            let failing = pause != Pause::None;
            let lacks_block = matches!(freshness, Freshness::At(number) if health.head.is_some_and(|head| head < number));
            let speed = latency_class(health.latency_ms);
            let preferred = prefer == Some(index) && !failing;
            ranked.push(((failing, lacks_block, !preferred, speed, index), index));
        }
        ranked.sort_unstable_by_key(|(rank, _)| *rank);
        candidates.order = ranked.into_iter().map(|(_, index)| index).collect();
        candidates
    }

    /// The head to measure lateness by, from endpoints that work: one that has gone away must not make the others late.
    fn working_reference_head(&self, now: UnixMillis) -> Option<u64> {
        super::health::reference_head(self.inner.endpoints.iter().filter_map(|one| {
            let health = one.health.lock();
            let works = health.pause_now(now) == Pause::None && health.quarantined(now).is_none();
            health.head.filter(|_| works)
        }))
    }

    pub(crate) fn failure_to_error(&self, method: &str, index: usize, failure: Failure) -> ChainError {
        let chain = self.inner.name.clone();
        let label = self.inner.endpoints.get(index).map_or("unknown", |endpoint| endpoint.label()).to_owned();
        match failure {
            Failure::WrongChain(found) if self.inner.endpoints.len() == 1 => ChainError::WrongChain {
                chain,
                expected: self.expected_chain_id().unwrap_or_default(),
                found: vec![(label, found)],
            },
            Failure::WrongChain(found) => {
                ChainError::NoEndpoint { chain, endpoints: vec![(label, self.wrong_chain_reason(found))], retry_after_ms: None }
            }
            Failure::Rpc(error) => self.rpc_to_error(method, &label, error),
        }
    }

    /// The error for a caller; a revert becomes what it is.
    pub(crate) fn rpc_to_error(&self, method: &str, label: &str, error: RpcError) -> ChainError {
        let chain = self.inner.name.clone();
        match error.revert_data() {
            Some(data) => {
                let reason = revert_reason(&data, &error);
                ChainError::Reverted { chain, data, reason }
            }
            None => ChainError::Rpc { chain, endpoint: label.to_owned(), method: method.to_owned(), source: Box::new(error) },
        }
    }
}

/// The reason in the data, or, where a node sends only words, the words after "execution reverted: ".
fn revert_reason(data: &[u8], error: &RpcError) -> crate::RevertReason {
    let from_text = match error {
        RpcError::Response { message, .. } if data.is_empty() => {
            message.split_once("execution reverted: ").map(|(_, words)| words.trim()).filter(|words| !words.is_empty())
        }
        _ => None,
    };
    from_text.map_or_else(|| crate::decode_revert(data), |words| crate::RevertReason::Error(words.to_owned()))
}

async fn send(endpoint: &Endpoint, calls: &[RpcCall]) -> Result<Outcomes, RpcError> {
    match calls {
        [one] => Ok(vec![endpoint.rpc.request(&one.method, one.params.clone()).await]),
        many => {
            let outcomes = endpoint.rpc.batch(many.to_vec()).await?;
            if outcomes.len() == many.len() {
                Ok(outcomes)
            } else {
                Err(RpcError::malformed("batch", "another number of answers than of requests"))
            }
        }
    }
}

/// Of two failures the one that tells the caller more: words of a node about the request before "not here", "not now" and silence.
pub(super) fn more_telling(kept: Option<(usize, Failure)>, new: (usize, Failure)) -> (usize, Failure) {
    fn rank(failure: &Failure) -> u8 {
        match failure {
            Failure::WrongChain(_) => 0,
            Failure::Rpc(error) if error.is_rate_limit() => 1,
            Failure::Rpc(error) if error.is_method_missing() => 2,
            Failure::Rpc(error) if error.is_state_missing() => 4,
            Failure::Rpc(RpcError::Response { .. } | RpcError::TooLarge { .. }) => 5,
            Failure::Rpc(_) => 3,
        }
    }
    match kept {
        Some(kept) if rank(&kept.1) >= rank(&new.1) => kept,
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

/// The only outcome of a single call.
pub(crate) fn single(outcomes: &Outcomes) -> Result<&Answer, RpcError> {
    match outcomes.as_slice() {
        [one] => one.as_ref().map_err(Clone::clone),
        _ => Err(RpcError::malformed("", "not one answer")),
    }
}

/// Reads a quantity that fits into `T`.
pub(crate) fn read_quantity<T: TryFrom<u128>>(outcomes: &Outcomes, method: &str) -> Result<T, RpcError> {
    let text: String = single(outcomes)?.parse(method)?;
    let value = quantity::parse(&text).ok_or_else(|| RpcError::malformed(method, "not a hexadecimal quantity"))?;
    T::try_from(value).map_err(|_| RpcError::malformed(method, "quantity out of range"))
}
