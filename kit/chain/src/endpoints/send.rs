//! Broadcasting signed transactions.

use alloy_primitives::{B256, hex, keccak256};
use futures::future;
use serde_json::json;

use super::ask::{Failure, Freshness, single};
use super::{Endpoint, Endpoints};
use crate::error::ChainError;
use crate::rpc::{RpcCall, RpcError};
use crate::send_error::SendError;

const METHOD: &str = "eth_sendRawTransaction";

/// What one endpoint said.
enum Sent {
    Accepted,
    Refused(SendError),
    /// The endpoint certainly does not have the transaction; another may be asked.
    Absent(Failure),
    /// The endpoint may have it.
    Unknown(RpcError),
}

impl Endpoints {
    /// Broadcasts a signed transaction (EIP-2718 bytes, or RLP for legacy ones) and returns its hash.
    ///
    /// It goes to one endpoint, preferably the one that took the last transaction, and to another one only when it certainly did not
    /// arrive. With configured broadcast endpoints it goes to all of those at once, and one acceptance suffices. Never hedged.
    ///
    /// # Errors
    /// [`ChainError::Rejected`] with the typed refusal (`AlreadyKnown` among them: the caller decides what that means).
    /// [`ChainError::Rpc`] if nothing is known, see [`ChainError::outcome_unknown`]; sending the same bytes again is harmless.
    pub async fn send_raw_transaction(&self, raw: &[u8]) -> Result<B256, ChainError> {
        let hash = keccak256(raw);
        let call = RpcCall::new(METHOD, json!([format!("0x{}", hex::encode(raw))]));
        if self.inner.broadcast.is_empty() { self.send_to_one(&call, hash).await } else { self.send_to_all(&call, hash).await }
    }

    async fn send_to_one(&self, call: &RpcCall, hash: B256) -> Result<B256, ChainError> {
        let sticky = self.inner.sticky.lock().last;
        let candidates = self.candidates_or_wait(Freshness::Latest, sticky).await?;
        let mut last: Option<(usize, Failure)> = None;
        for index in candidates.order {
            let Some(endpoint) = self.inner.endpoints.get(index) else { continue };
            match self.send_once(endpoint, call, hash).await {
                Sent::Accepted => {
                    self.inner.sticky.lock().remember(hash, index);
                    return Ok(hash);
                }
                Sent::Refused(error) => {
                    if error == SendError::AlreadyKnown {
                        self.inner.sticky.lock().remember(hash, index);
                    }
                    return Err(self.rejected(endpoint, error));
                }
                Sent::Unknown(error) => {
                    // It may be there: reads about it start there, sending again is the caller's decision.
                    self.inner.sticky.lock().remember(hash, index);
                    return Err(self.failure_to_error(METHOD, index, Failure::Rpc(error)));
                }
                Sent::Absent(failure) => last = Some((index, failure)),
            }
        }
        let (index, failure) = last.unwrap_or((0, Failure::Rpc(RpcError::connect("no endpoint"))));
        Err(self.failure_to_error(METHOD, index, failure))
    }

    async fn send_to_all(&self, call: &RpcCall, hash: B256) -> Result<B256, ChainError> {
        let all = self.inner.broadcast.iter().map(|endpoint| async move {
            let paused = endpoint.health.lock().pause_now(self.now());
            if let super::health::Pause::RateLimited { until } = paused {
                let left = until.saturating_since(self.now());
                let retry_after_ms = u64::try_from(left.as_millis()).ok();
                return (endpoint, Sent::Absent(Failure::Rpc(RpcError::TooManyRequests { retry_after_ms })));
            }
            (endpoint, self.send_once(endpoint, call, hash).await)
        });
        let outcomes = future::join_all(all).await;
        if outcomes.iter().any(|(_, sent)| matches!(sent, Sent::Accepted)) {
            return Ok(hash);
        }
        // "I have it" beats "maybe", a maybe beats a refusal (it may have arrived there), a refusal beats silence.
        let rank = |sent: &Sent| match sent {
            Sent::Accepted | Sent::Refused(SendError::AlreadyKnown) => 3,
            Sent::Unknown(_) => 2,
            Sent::Refused(_) => 1,
            Sent::Absent(_) => 0,
        };
        let best = outcomes.into_iter().max_by_key(|(_, sent)| rank(sent));
        match best {
            Some((endpoint, Sent::Refused(error))) => Err(self.rejected(endpoint, error)),
            Some((endpoint, Sent::Unknown(error) | Sent::Absent(Failure::Rpc(error)))) => {
                Err(self.rpc_to_error(METHOD, endpoint.label(), error))
            }
            Some((endpoint, Sent::Absent(Failure::WrongChain(found)))) => Err(ChainError::WrongChain {
                chain: self.inner.name.clone(),
                expected: self.expected_chain_id().unwrap_or_default(),
                found: vec![(endpoint.label().to_owned(), found)],
            }),
            Some((_, Sent::Accepted)) | None => Ok(hash),
        }
    }

    async fn send_once(&self, endpoint: &Endpoint, call: &RpcCall, hash: B256) -> Sent {
        if let Err(failure) = self.verify(endpoint).await {
            return Sent::Absent(failure);
        }
        let calls = std::slice::from_ref(call);
        let outcome = self.exchange(endpoint, calls, false, |outcomes| single(outcomes)?.parse::<B256>(METHOD)).await;
        let sent = match outcome {
            Ok(found) if found == hash => Sent::Accepted,
            Ok(_) => Sent::Unknown(RpcError::malformed(METHOD, "hash of another transaction")),
            Err(error) if error.is_rate_limit() || error.is_method_missing() => Sent::Absent(Failure::Rpc(error)),
            Err(error) if error.outcome_unknown() => Sent::Unknown(error),
            Err(RpcError::Response { code, message, .. }) => Sent::Refused(SendError::classify(code, &message)),
            Err(error) => Sent::Absent(Failure::Rpc(error)),
        };
        let kind = match &sent {
            Sent::Accepted => "accepted",
            Sent::Refused(error) => error.kind().as_str(),
            Sent::Absent(_) => "not_sent",
            Sent::Unknown(_) => "unknown",
        };
        crate::metrics::broadcast(&self.inner.name, endpoint.label(), kind);
        sent
    }

    fn rejected(&self, endpoint: &Endpoint, error: SendError) -> ChainError {
        ChainError::Rejected { chain: self.inner.name.clone(), endpoint: endpoint.label().to_owned(), error }
    }
}
