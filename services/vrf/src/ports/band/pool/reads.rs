//! The questions that need more than one endpoint's word, and the handing over of transactions.

use futures::future;

use super::super::error::BandError;
use super::super::meter::Method;
use super::super::node::Node;
use super::super::types::{BandBlock, BroadcastAnswer, BroadcastMode, TxInfo};
use super::ask::{Answer, Freshness, more_telling};
use super::{BandClient, Endpoint};

/// So many lower heads in a row are believed: the chain was set back, as development chains are.
const LOWER_HEADS_BELIEVED: u32 = 3;
/// The SDK's code for a full pool: the node did not take the transaction.
const POOL_FULL: u32 = 20;

impl BandClient {
    /// The newest block, never older than the one that was told before.
    pub(super) async fn newest_block(&self) -> Result<BandBlock, BandError> {
        self.probe_if_due().await;
        let (mut best, mut kept) = (None::<BandBlock>, None);
        // An endpoint that turns out to be late, or on another chain, only by this very answer is not among the candidates of the next
        // round.
        for _ in 0..=self.endpoints.len() {
            let (block, endpoint) = match self.ask_whom(Method::LatestBlock, Freshness::Latest, |node| node.latest_block()).await
            {
                Ok(answered) => answered,
                Err(error) => {
                    kept = Some(error);
                    break;
                }
            };
            let expected = self.chain_id().unwrap_or_default();
            if block.chain_id != expected {
                // Behind one URL there may be nodes of several chains.
                kept = Some(self.quarantine(endpoint, expected, block.chain_id));
                continue;
            }
            self.note_head(endpoint, block.height);
            let late = self.is_late(endpoint);
            if best.as_ref().is_none_or(|best| best.height < block.height) {
                best = Some(block);
            }
            if !late {
                break;
            }
        }
        match best {
            Some(block) => Ok(self.never_backwards(block)),
            None => Err(kept.unwrap_or_else(|| self.nobody(Method::LatestBlock, Vec::new(), None))),
        }
    }

    fn is_late(&self, endpoint: &Endpoint) -> bool {
        let reference = self.reference_head(self.config.clock.now());
        let head = endpoint.health.lock().head;
        head.zip(reference).is_some_and(|(head, best)| best.saturating_sub(head) > self.config.max_lag_blocks)
    }

    fn never_backwards(&self, block: BandBlock) -> BandBlock {
        let mut newest = self.newest.lock();
        if let Some(told) = &newest.block
            && block.height < told.height
            && newest.lower + 1 < LOWER_HEADS_BELIEVED
        {
            let told = told.clone();
            newest.lower += 1;
            return told;
        }
        *newest = super::Newest { block: Some(block.clone()), lower: 0 };
        block
    }

    /// The height of the newest block that was told, without asking.
    pub(super) fn newest_height(&self) -> Option<u64> {
        self.newest.lock().block.as_ref().map(|block| block.height)
    }

    /// Asks as many independent endpoints as must agree.
    pub(super) async fn agree<'a, T: PartialEq + std::fmt::Debug + Send>(
        &'a self,
        method: Method,
        call: impl Fn(&'a dyn Node) -> Answer<'a, T> + Send + Sync,
    ) -> Result<T, BandError> {
        if self.config.quorum <= 1 {
            return self.ask(method, Freshness::Latest, call).await;
        }
        let order = self.candidates(method, Freshness::Latest)?.order;
        let mut waiting = self.independent(&order).into_iter();
        let (mut answers, mut failed) = (Vec::new(), Vec::new());
        while answers.len() < self.config.quorum {
            let round: Vec<_> = waiting.by_ref().take(self.config.quorum - answers.len()).collect();
            if round.is_empty() {
                return Err(self.too_few(method, &answers, failed));
            }
            let asked = future::join_all(round.iter().map(|endpoint| self.attempt(endpoint, &call))).await;
            for (endpoint, outcome) in round.into_iter().zip(asked) {
                match outcome {
                    Ok(answer) => answers.push((endpoint.host().to_owned(), answer)),
                    Err(error) => failed.push((endpoint.host().to_owned(), error)),
                }
            }
        }
        let told = answers.iter().map(|(host, answer)| (host.clone(), format!("{answer:?}"))).collect();
        let mut answers = answers.into_iter().map(|(_, answer)| answer);
        match answers.next() {
            Some(first) if answers.all(|other| other == first) => Ok(first),
            _ => Err(self.disagreement(method, told)),
        }
    }

    fn too_few<T: std::fmt::Debug>(
        &self,
        method: Method,
        answers: &[(String, T)],
        failed: Vec<(String, BandError)>,
    ) -> BandError {
        let unknown = failed.iter().any(|(_, error)| matches!(error, BandError::NotFound { .. }));
        if answers.is_empty() {
            let errors = failed.into_iter().map(|(_, error)| error);
            return errors
                .fold(None, |kept, error| Some(more_telling(kept, error)))
                .unwrap_or_else(|| self.nobody(method, Vec::new(), None));
        }
        let told = answers.iter().map(|(host, answer)| (host.clone(), format!("{answer:?}")));
        let silent = failed.iter().map(|(host, error)| (host.clone(), error.to_string()));
        if unknown {
            return self.disagreement(method, told.chain(silent).collect());
        }
        let retry_after = failed.iter().filter_map(|(_, error)| error.retry_after()).min();
        self.nobody(method, silent.collect(), retry_after)
    }

    /// A transaction by its hash. That it is unknown is believed only of as many endpoints as are configured for it, or of all that are in
    /// order if those are fewer.
    pub(super) async fn find(&self, hash: &str) -> Result<Option<TxInfo>, BandError> {
        let candidates = self.candidates(Method::Transaction, Freshness::Latest)?;
        let most = candidates.healthy.max(1);
        let enough_unknown = self.config.not_found_quorum.max(self.config.quorum).clamp(1, most);
        let enough_known = self.config.quorum.clamp(1, most);
        let (mut known, mut unknown, mut kept) = (Vec::<(String, TxInfo)>::new(), Vec::new(), None);
        for endpoint in self.independent(&candidates.order) {
            match self.attempt(endpoint, &|node| node.transaction(hash)).await {
                Ok(info) if !info.hash.eq_ignore_ascii_case(hash) || info.height == 0 => {
                    let (host, method) = (endpoint.host().to_owned(), Method::Transaction.name().to_owned());
                    let reason = "another transaction, or one without block".to_owned();
                    kept = Some(more_telling(kept, BandError::Malformed { host, method, reason }));
                }
                Ok(info) => known.push((endpoint.host().to_owned(), info)),
                Err(BandError::NotFound { .. }) => unknown.push(endpoint.host().to_owned()),
                Err(error) => kept = Some(more_telling(kept, error)),
            }
            if known.len() >= enough_known || (known.is_empty() && unknown.len() >= enough_unknown) {
                break;
            }
        }
        let told = |(host, info): &(String, TxInfo)| (host.clone(), format!("height {}, code {}", info.height, info.code));
        let differ = known.windows(2).any(|pair| matches!(pair, [(_, a), (_, b)] if (a.height, a.code) != (b.height, b.code)));
        if differ || (!known.is_empty() && known.len() < enough_known && !unknown.is_empty()) {
            let silent = unknown.into_iter().map(|host| (host, "not known".to_owned()));
            return Err(self.disagreement(Method::Transaction, known.iter().map(told).chain(silent).collect()));
        }
        if known.len() >= enough_known {
            return Ok(known.into_iter().next().map(|(_, info)| info));
        }
        if known.is_empty() && unknown.len() >= enough_unknown {
            return Ok(None);
        }
        Err(kept.unwrap_or_else(|| self.nobody(Method::Transaction, Vec::new(), None)))
    }

    /// Hands the transaction to one endpoint, and to the next only where it is certain that the one before did not take it.
    pub(super) async fn hand_over(&self, tx: &[u8], mode: BroadcastMode) -> Result<BroadcastAnswer, BandError> {
        let (mut refusal, mut kept) = (None, None);
        for index in self.candidates(Method::Broadcast, Freshness::Latest)?.order {
            let Some(endpoint) = self.endpoints.get(index) else { continue };
            match self.attempt(endpoint, &|node| node.broadcast(tx, mode)).await {
                Ok(answer) if answer.code == POOL_FULL && answer.codespace == "sdk" => refusal = Some(answer),
                Ok(answer) => return Ok(answer),
                Err(error) if error.outcome_unknown() => return Err(error),
                Err(error) => kept = Some(more_telling(kept, error)),
            }
        }
        match (refusal, kept) {
            (Some(answer), _) => Ok(answer),
            (None, Some(error)) => Err(error),
            (None, None) => Err(self.nobody(Method::Broadcast, Vec::new(), None)),
        }
    }

    /// Hands the transaction to every endpoint at once.
    pub(super) async fn hand_to_all(&self, tx: &[u8]) -> Result<BroadcastAnswer, BandError> {
        let order = self.candidates(Method::Broadcast, Freshness::Latest)?.order;
        let endpoints = order.iter().filter_map(|index| self.endpoints.get(*index));
        let handed = endpoints
            .map(|endpoint| async move { self.attempt(endpoint, &|node| node.broadcast(tx, BroadcastMode::Sync)).await });
        let (mut refusal, mut unknown, mut kept) = (None::<BroadcastAnswer>, None, None);
        for outcome in future::join_all(handed).await {
            match outcome {
                Ok(answer) if answer.is_taken() => return Ok(answer),
                Ok(answer) => refusal = refusal.or(Some(answer)),
                Err(error) if error.outcome_unknown() => unknown = Some(error),
                Err(error) => kept = Some(more_telling(kept, error)),
            }
        }
        // Where one may have taken it, the refusal of another is not the whole truth.
        match (unknown, refusal, kept) {
            (Some(error), _, _) => Err(error),
            (None, Some(answer), _) => Ok(answer),
            (None, None, Some(error)) => Err(error),
            (None, None, None) => Err(self.nobody(Method::Broadcast, Vec::new(), None)),
        }
    }
}
