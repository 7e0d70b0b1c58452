//! Reads that several endpoints must answer alike.

use alloy_primitives::{Address, B256, Bytes, U256};
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;

use super::Endpoints;
use super::ask::{Answered, Ask, Failure, Freshness, Outcomes, is_final, more_telling, read_quantity, single};
use super::reads::{block_call, read_header, read_logs, read_receipt};
use crate::error::ChainError;
use crate::rpc::{Answer, RpcError};
use crate::types::{BlockId, BlockRef, CallRequest, Log, LogFilter, Receipt};

/// How much of an answer a disagreement shows.
const SHOWN_MAX: usize = 120;
/// Pause before endpoints that lack the pinned block are asked again.
const RETRY_AFTER: Duration = Duration::from_millis(300);

/// An answer of a quorum read: a value, or a revert, on which endpoints can agree as well.
type Voted<T> = Result<T, RpcError>;

impl Endpoints {
    /// Asks until `wanted` endpoints have answered, and compares. With `wanted` of 0 or 1 this is an ordinary read.
    async fn agree<T: PartialEq + Send>(
        &self,
        wanted: usize,
        ask: &Ask,
        decode: impl Fn(&Answer) -> Result<T, RpcError> + Sync,
    ) -> Result<T, ChainError> {
        let read = |outcomes: &Outcomes| -> Result<(Voted<T>, String), RpcError> {
            match single(outcomes) {
                Ok(answer) => Ok((Ok(decode(answer)?), shown(answer.as_str()))),
                Err(error) if error.revert_data().is_some() => {
                    let text = error.to_string();
                    Ok((Err(error), text))
                }
                Err(error) => Err(error),
            }
        };
        if wanted <= 1 {
            let answered = self.ask(ask, read).await?;
            let label = self.label_of(answered.endpoint);
            return answered.value.0.map_err(|error| self.rpc_to_error(ask.method(), &label, error));
        }
        let outcome = self.vote(wanted, ask, &read).await;
        match outcome {
            // Endpoints a moment behind do not have the block yet.
            Err(ChainError::QuorumNotReached { .. }) if self.has_timers() => {
                tokio::time::sleep(RETRY_AFTER).await;
                self.vote(wanted, ask, &read).await
            }
            outcome => outcome,
        }
    }

    async fn vote<T: PartialEq + Send>(
        &self,
        wanted: usize,
        ask: &Ask,
        read: &(impl Fn(&Outcomes) -> Result<(Voted<T>, String), RpcError> + Sync),
    ) -> Result<T, ChainError> {
        let order = self.candidates(ask.freshness, None).order;
        let mut waiting = order.into_iter();
        let attempt = |index: usize| async move { (index, self.attempt(index, ask, read).await) };
        let mut running: FuturesUnordered<_> = waiting.by_ref().take(wanted).map(attempt).collect();
        let mut votes: Vec<(usize, Voted<T>, String)> = Vec::with_capacity(wanted);
        let mut failed = Vec::new();
        while let Some((index, outcome)) = running.next().await {
            match outcome {
                Ok((vote, text)) => votes.push((index, vote, text)),
                Err(failure) => {
                    failed.push((self.label_of(index), self.describe(&failure)));
                    running.extend(waiting.next().map(attempt));
                }
            }
        }
        // The order of arrival must not decide which answer is returned.
        votes.sort_by_key(|(index, _, _)| *index);
        let alike = votes.windows(2).all(|pair| match pair {
            [(_, a, _), (_, b, _)] => same(a, b),
            _ => true,
        });
        let chain = self.inner.name.clone();
        let method = ask.method().to_owned();
        if !alike {
            let answers = votes.into_iter().map(|(index, _, text)| (self.label_of(index), text)).collect();
            crate::metrics::disagreement(&self.inner.name);
            let error = ChainError::Disagreement { chain, method, answers };
            tracing::warn!(%error, "endpoints disagree");
            return Err(error);
        }
        if votes.len() < wanted {
            let answered = votes.iter().map(|(index, _, _)| self.label_of(*index)).collect();
            return Err(ChainError::QuorumNotReached { chain, method, wanted, answered, failed });
        }
        let label = votes.first().map_or_else(String::new, |(index, _, _)| self.label_of(*index));
        match votes.pop() {
            Some((_, vote, _)) => vote.map_err(|error| self.rpc_to_error(&method, &label, error)),
            None => Err(ChainError::QuorumNotReached { chain, method, wanted, answered: Vec::new(), failed }),
        }
    }

    /// Asks as many endpoints as the configured quorum and, if they differ, the others too, until one answer has so many votes. The
    /// follower and the backfill read this way, because they must go on although one endpoint of three lies.
    pub(crate) async fn ask_majority<T: PartialEq + Send>(
        &self,
        ask: &Ask,
        decode: impl Fn(&Outcomes) -> Result<T, RpcError> + Sync,
    ) -> Result<Answered<T>, ChainError> {
        let wanted = self.inner.quorum;
        if wanted <= 1 {
            return self.ask(ask, decode).await;
        }
        let candidates = self.candidates_or_wait(ask.freshness, ask.prefer).await?;
        let mut waiting = candidates.order.into_iter();
        let read = |outcomes: &Outcomes| Ok((decode(outcomes)?, all_shown(outcomes)));
        let read = &read;
        let attempt = |index: usize| async move { (index, self.attempt(index, ask, read).await) };
        let mut running: FuturesUnordered<_> = waiting.by_ref().take(wanted).map(attempt).collect();
        let mut votes: Vec<(T, Vec<usize>)> = Vec::new();
        // Who answered what, for the operator who must find the one that is wrong.
        let mut answers: Vec<(usize, String)> = Vec::new();
        let mut failed: Vec<(String, String)> = Vec::new();
        let mut telling: Option<(usize, Failure)> = None;
        while let Some((index, outcome)) = running.next().await {
            match outcome {
                Ok((value, text)) => {
                    answers.push((index, text));
                    match votes.iter_mut().find(|(other, _)| *other == value) {
                        Some((_, voters)) => voters.push(index),
                        None => votes.push((value, vec![index])),
                    }
                }
                Err(Failure::Rpc(error)) if is_final(&error, ask.ranged) => {
                    return Err(self.failure_to_error(ask.method(), index, Failure::Rpc(error)));
                }
                Err(failure) => {
                    failed.push((self.label_of(index), self.describe(&failure)));
                    telling = Some(more_telling(telling, (index, failure)));
                }
            }
            let most = votes.iter().map(|(_, voters)| voters.len()).max().unwrap_or(0);
            if running.is_empty() && most < wanted {
                running.extend(waiting.next().map(attempt));
            }
        }
        let groups = votes.len();
        if groups > 1 {
            crate::metrics::disagreement(&self.inner.name);
        }
        let method = ask.method().to_owned();
        let enough = votes.iter().filter(|(_, voters)| voters.len() >= wanted).count();
        if enough == 1
            && let Some((value, voters)) = votes.into_iter().find(|(_, voters)| voters.len() >= wanted)
        {
            // The order of arrival must not decide anything.
            return Ok(Answered { value, endpoint: voters.into_iter().min().unwrap_or_default() });
        }
        answers.sort_unstable();
        let answers = answers.into_iter().map(|(index, text)| (self.label_of(index), text)).collect();
        self.no_majority(method, groups, answers, failed, telling)
    }

    /// Why nothing had enough votes.
    fn no_majority<T>(
        &self,
        method: String,
        groups: usize,
        answers: Vec<(String, String)>,
        failed: Vec<(String, String)>,
        telling: Option<(usize, Failure)>,
    ) -> Result<T, ChainError> {
        let (chain, wanted) = (self.inner.name.clone(), self.inner.quorum);
        match (groups, telling) {
            (0, Some((index, failure))) => Err(self.failure_to_error(&method, index, failure)),
            (0 | 1, _) => {
                let answered = answers.into_iter().map(|(label, _)| label).collect();
                Err(ChainError::QuorumNotReached { chain, method, wanted, answered, failed })
            }
            _ => Err(ChainError::Disagreement { chain, method, answers }),
        }
    }

    fn describe(&self, failure: &Failure) -> String {
        match failure {
            Failure::Rpc(error) => error.to_string(),
            Failure::WrongChain(found) => self.wrong_chain_reason(*found),
        }
    }

    /// The block that all endpoints are asked about: a tag means different blocks at different endpoints.
    async fn pin(&self, block: BlockId) -> Result<BlockId, ChainError> {
        match block {
            BlockId::Hash(_) => Ok(block),
            BlockId::Number(_) | BlockId::Tag(_) => {
                let found = self.block_ref(block).await?.ok_or_else(|| self.block_not_found(block))?;
                Ok(BlockId::Hash(found.hash))
            }
        }
    }

    /// Like [`Endpoints::call`], answered alike by `wanted` endpoints for one and the same block.
    ///
    /// # Errors
    /// [`ChainError::Disagreement`] with the hosts, [`ChainError::QuorumNotReached`], or as [`Endpoints::call`].
    pub async fn quorum_call(
        &self,
        wanted: usize,
        to: Address,
        data: impl Into<Bytes>,
        block: impl Into<BlockId>,
    ) -> Result<Bytes, ChainError> {
        let block = self.pin(block.into()).await?;
        let params = CallRequest::new(to, data).to_params(block.to_param());
        self.agree(wanted, &Ask::one("eth_call", params), |answer| answer.parse("eth_call")).await
    }

    /// Like [`Endpoints::balance`], answered alike by `wanted` endpoints for one and the same block.
    ///
    /// # Errors
    /// As [`Endpoints::quorum_call`].
    pub async fn quorum_balance(&self, wanted: usize, address: Address, block: impl Into<BlockId>) -> Result<U256, ChainError> {
        let block = self.pin(block.into()).await?;
        let ask = Ask::one("eth_getBalance", json!([address, block.to_param()]));
        self.agree(wanted, &ask, |answer| answer.parse("eth_getBalance")).await
    }

    /// Like [`Endpoints::transaction_count`], answered alike by `wanted` endpoints for one and the same block.
    ///
    /// # Errors
    /// As [`Endpoints::quorum_call`].
    pub async fn quorum_transaction_count(
        &self,
        wanted: usize,
        address: Address,
        block: impl Into<BlockId>,
    ) -> Result<u64, ChainError> {
        let block = self.pin(block.into()).await?;
        let method = "eth_getTransactionCount";
        let ask = Ask::one(method, json!([address, block.to_param()]));
        self.agree(wanted, &ask, |answer| read_quantity(&vec![Ok(answer.clone())], method)).await
    }

    /// A block by height or hash on which `wanted` endpoints agree.
    ///
    /// # Errors
    /// As [`Endpoints::quorum_call`].
    pub async fn quorum_block_ref(&self, wanted: usize, block: impl Into<BlockId>) -> Result<Option<BlockRef>, ChainError> {
        let block = match block.into() {
            BlockId::Tag(tag) => self.pin(BlockId::Tag(tag)).await?,
            other => other,
        };
        let ask = Ask::many(vec![block_call(block, false)]);
        self.agree(wanted, &ask, |answer| Ok(read_header(answer, block)?.map(|header| header.block))).await
    }

    /// The receipt of a transaction on which `wanted` endpoints agree. An endpoint without the receipt disagrees with one that has it.
    ///
    /// # Errors
    /// As [`Endpoints::quorum_call`].
    pub async fn quorum_receipt(&self, wanted: usize, hash: B256) -> Result<Option<Receipt>, ChainError> {
        let ask = Ask::one("eth_getTransactionReceipt", json!([hash])).fresh(Freshness::Latest);
        self.agree(wanted, &ask, |answer| read_receipt(answer, hash)).await
    }

    /// Logs on which `wanted` endpoints agree. Use a filter for one block hash, or for a range that cannot be reorganised any more.
    ///
    /// # Errors
    /// As [`Endpoints::quorum_call`].
    pub async fn quorum_logs(&self, wanted: usize, filter: &LogFilter) -> Result<Vec<Log>, ChainError> {
        let ask = Ask::one("eth_getLogs", json!([filter.to_param()]));
        self.agree(wanted, &ask, |answer| read_logs(answer, filter)).await
    }

    /// Any read method whose JSON answers must be equal at `wanted` endpoints. Pin it to a block hash.
    ///
    /// # Errors
    /// As [`Endpoints::quorum_call`].
    pub async fn quorum_request(&self, wanted: usize, method: &str, params: Value) -> Result<Value, ChainError> {
        self.agree(wanted, &Ask::one(method, params), |answer| answer.parse(method)).await
    }
}

/// Equal values, or reverts with equal data.
fn same<T: PartialEq>(a: &Voted<T>, b: &Voted<T>) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => a == b,
        (Err(a), Err(b)) => a.revert_data() == b.revert_data(),
        _ => false,
    }
}

/// The answers of a batch, shortened. Long ones may differ behind what is shown; their length often tells them apart.
fn all_shown(outcomes: &Outcomes) -> String {
    let mut length = 0;
    let parts: Vec<String> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(answer) => {
                length += answer.as_str().len();
                shown(answer.as_str())
            }
            Err(error) => error.to_string(),
        })
        .collect();
    format!("{} ({length} bytes in all)", shown(&parts.join("; ")))
}

fn shown(text: &str) -> String {
    if text.len() <= SHOWN_MAX {
        return text.to_owned();
    }
    let start: String = text.chars().take(SHOWN_MAX).collect();
    format!("{start}... ({} bytes)", text.len())
}
