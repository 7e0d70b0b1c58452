//! What nodes of BandChain answer: signatures, offers, inclusions, ends of requests.

use std::collections::BTreeSet;

use alloy_primitives::Bytes;
use windlass_store::UnixMillis;

use super::lane::{AfterOffer, BandTx, BandTxState, OfferOutcome, Plan, Slot};
use super::relay::{Entry, Relay, waiting_request};
use super::task::{Hold, Request, State, TaskKey};
use super::{LandedTx, Resolution};

impl Relay {
    pub(super) fn band_head(&mut self, result: Result<(String, u64), String>) {
        match result {
            Ok((chain_id, height)) => {
                self.known.band_error = None;
                // A node that lags changes nothing.
                if self.band_height().is_none_or(|known| height >= known) {
                    self.known.band = Some((chain_id, height));
                }
            }
            Err(error) => self.known.band_error = Some(error),
        }
    }

    /// A plan came back signed: its sequence is used from this commit on.
    pub(super) fn signed(&mut self, now: UnixMillis, plan: Plan, result: Result<(String, Bytes), String>) {
        if self.lane.signing.as_ref() != Some(&plan) {
            return;
        }
        self.lane.signing = None;
        self.lane.asked_to_sign = None;
        let keys: Vec<TaskKey> = plan.requests.iter().map(|request| request.key).collect();
        let (hash, bytes) = match result {
            Ok(signed) => signed,
            Err(error) => {
                for key in keys {
                    self.pause(now, key, &format!("the Band transaction was not signed: {error}"));
                }
                return;
            }
        };
        // Somebody else was quicker: the tasks are planned again.
        if self.lane.is_used(plan.sequence) {
            return;
        }
        // Another transaction for a used sequence changes nothing for its tasks; a first one must still be wanted by all.
        let bound: BTreeSet<TaskKey> = self.lane.open.get(&plan.sequence).map(|slot| slot.tasks().collect()).unwrap_or_default();
        let wanted = |key: &TaskKey| {
            let free = |entry: &Entry| entry.task.state == State::Confirmed && !entry.task.doubtful;
            bound.contains(key) || self.tasks.get(key).is_some_and(free)
        };
        if !keys.iter().all(wanted) {
            return;
        }
        let tx = BandTx {
            sequence: plan.sequence,
            number: plan.number,
            hash,
            bytes,
            tasks: keys.clone(),
            terms: plan.terms,
            fee: plan.fee,
            gas_limit: plan.gas_limit,
            state: BandTxState::Signed,
            height: None,
            signed_at: now,
        };
        let text = format!("request signed in Band transaction {} with sequence {}", tx.hash, tx.sequence);
        for key in keys {
            self.change(key, &text, |task| {
                (task.hold, task.retry_at) = (None, None);
                task.sequence = Some(plan.sequence);
                if !task.state.is_terminal() {
                    task.state = State::BandSigned;
                }
            });
            if let Some(asking) = self.asking(key) {
                asking.checked_at = None;
            }
        }
        self.note_tx(&tx);
        let height = self.band_height();
        self.lane.signed(tx, height);
    }

    fn note_tx(&mut self, tx: &BandTx) {
        self.dirty_txs.insert((tx.sequence, tx.number), tx.clone());
    }

    pub(super) fn offered(&mut self, now: UnixMillis, hash: &str, outcome: &OfferOutcome) {
        let before = self.lane.find(hash).map(|(_, tx)| tx.state);
        let policy = self.policy.clone();
        let Some((sequence, after)) = self.lane.offered(hash, outcome, &policy, now) else { return };
        let Some(tx) = self.lane.open.get(&sequence).and_then(Slot::newest).cloned() else { return };
        match after {
            AfterOffer::Accepted if before == Some(BandTxState::Signed) => {
                self.note_tx(&tx);
                for key in tx.tasks {
                    self.change(key, "a Band node took the transaction", |task| {
                        if task.state == State::BandSigned {
                            task.state = State::BandBroadcast;
                        }
                    });
                }
            }
            AfterOffer::Accepted | AfterOffer::Again | AfterOffer::Resync => {}
            AfterOffer::Raise { fee } => {
                self.lane.learn_price(fee, tx.gas_limit);
                self.sign_again(&tx, tx.tasks.clone(), fee);
            }
            AfterOffer::Replace { code, text } => {
                self.replace.insert(sequence, (code, text));
            }
        }
    }

    /// Another transaction for a sequence that is used but was never taken.
    pub(super) fn sign_again(&mut self, tx: &BandTx, keys: Vec<TaskKey>, fee: u128) {
        let Some(account) = self.lane.account else { return };
        if self.lane.signing.is_some() {
            return;
        }
        let number = self.lane.open.get(&tx.sequence).and_then(Slot::newest).map_or(0, |newest| newest.number.saturating_add(1));
        let (gas_limit, cost) = self.lane.cost(&self.policy, keys.len());
        let requests = self.planned(&keys);
        self.lane.signing = Some(Plan {
            sequence: tx.sequence,
            number,
            account_number: account.number,
            requests,
            terms: tx.terms,
            fee: if keys.len() == tx.tasks.len() { fee } else { cost },
            gas_limit,
        });
    }

    /// A transaction was looked for by its hash.
    pub(super) fn looked(&mut self, now: UnixMillis, sequence: u64, hash: &str, result: Result<Option<LandedTx>, String>) {
        self.lane.looked(sequence);
        let Ok(Some(landed)) = result else { return };
        if !landed.hash.eq_ignore_ascii_case(hash) {
            return;
        }
        // Which of both kinds of failure it is, the account tells.
        if landed.code != 0 && !self.lane.is_used(sequence) {
            self.lane.failed_in_block(sequence, landed.height, now);
            return;
        }
        self.landed(now, sequence, &landed);
    }

    /// The transaction that used a sequence was looked for.
    pub(super) fn searched(&mut self, now: UnixMillis, sequence: u64, result: Result<Option<LandedTx>, String>) {
        let height = self.band_height();
        match result {
            Ok(Some(landed)) => self.landed(now, sequence, &landed),
            Ok(None) | Err(_) => self.lane.searched(sequence, height),
        }
    }

    /// The transaction that used a sequence is known: ours, or a foreign one.
    fn landed(&mut self, now: UnixMillis, sequence: u64, landed: &LandedTx) {
        let Some(slot) = self.lane.open.get(&sequence) else { return };
        let ours = slot.versions.iter().find(|tx| tx.hash.eq_ignore_ascii_case(&landed.hash)).cloned();
        if ours.as_ref().is_some_and(|tx| landed.code == 0 && landed.request_ids.len() != tx.tasks.len()) {
            // A node that tells fewer ids than there are messages is asked again; guessing could give a task another's value.
            tracing::warn!(hash = %landed.hash, ids = landed.request_ids.len(), "a Band node told too few or too many request ids");
            self.lane.searched(sequence, None);
            return;
        }
        let Some(slot) = self.lane.settle(sequence) else { return };
        self.replace.remove(&sequence);
        if self.lane.signing.as_ref().is_some_and(|plan| plan.sequence == sequence) {
            self.lane.signing = None;
        }
        let executed = ours.as_ref().filter(|_| landed.code == 0);
        for mut tx in slot.versions.iter().cloned() {
            let is_it = ours.as_ref().is_some_and(|ours| ours.hash == tx.hash);
            tx.state = match (is_it, landed.code) {
                (true, 0) => BandTxState::Included,
                (true, _) => BandTxState::Failed,
                (false, _) => BandTxState::Dead,
            };
            tx.height = is_it.then_some(landed.height);
            self.note_tx(&tx);
        }
        let paid: Vec<TaskKey> = executed.map(|tx| tx.tasks.clone()).unwrap_or_default();
        if let Some(tx) = executed {
            for ((place, key), id) in (0_u32..).zip(&tx.tasks).zip(&landed.request_ids) {
                self.changes.requests.push((tx.hash.clone(), place, *key, *id));
                self.paid(now, *key, *id, landed.height, tx);
            }
        }
        let text = match &ours {
            Some(tx) if landed.code != 0 => {
                format!("Band transaction {} failed with code {}: {}", tx.hash, landed.code, landed.text)
            }
            Some(_) => "left out of the Band transaction that used the sequence".to_owned(),
            None => format!("sequence {sequence} of the Band account was used by {}, which this relay did not send", landed.hash),
        };
        let failed_together = ours.as_ref().is_some_and(|tx| landed.code != 0 && tx.tasks.len() > 1);
        let failed_alone = ours.as_ref().is_some_and(|tx| landed.code != 0 && tx.tasks.len() == 1);
        let mut unpaid: Vec<TaskKey> = slot.tasks().filter(|key| !paid.contains(key)).collect();
        unpaid.sort_unstable();
        unpaid.dedup();
        // The key is used elsewhere as well: perhaps by a relay that has paid for the same tasks.
        if ours.is_none() {
            self.find_again();
        }
        for key in unpaid {
            self.unbind(now, key, &text, failed_together, failed_alone);
        }
    }

    /// A request has its id.
    fn paid(&mut self, now: UnixMillis, key: TaskKey, id: u64, height: u64, tx: &BandTx) {
        self.by_request.insert(id, key);
        if let Some(asking) = self.asking(key) {
            asking.paid_at = Some(now);
        }
        let request = Request { id, height, terms: tx.terms, resolved: None };
        let text = format!("Band request {id} in block {height}");
        self.change(key, &text, |task| {
            (task.request, task.sequence) = (Some(request), None);
            (task.hold, task.retry_at, task.failures) = (None, None, 0);
            task.requests_paid = task.requests_paid.saturating_add(1);
            // One that ended meanwhile stays ended; if it comes back, its request is there.
            if !task.state.is_terminal() {
                task.state = State::BandIncluded;
            }
        });
        self.expect_results(key);
    }

    /// A task whose transaction can never land is requested anew.
    fn unbind(&mut self, now: UnixMillis, key: TaskKey, text: &str, failed_together: bool, failed_alone: bool) {
        self.complain(key, text, |task| {
            task.sequence = None;
            task.alone |= failed_together;
            if matches!(task.state, State::BandSigned | State::BandBroadcast) {
                task.state = State::Confirmed;
                task.hold = None;
            }
        });
        let Some(entry) = self.tasks.get(&key) else { return };
        if failed_alone && entry.task.failures.saturating_add(1) >= self.policy.max_requests {
            let attempts = entry.task.requests_paid;
            self.hold(now, key, Hold::BandFailed { attempts, status: text.to_owned() });
        } else if failed_alone {
            self.pause(now, key, "");
        }
    }

    /// Frees the tasks of a sequence by somebody's word.
    pub(super) fn give_sequence_up(&mut self, now: UnixMillis, sequence: u64, text: &str) {
        let Some(slot) = self.lane.settle(sequence) else { return };
        for mut tx in slot.versions.iter().cloned() {
            tx.state = BandTxState::Dead;
            self.note_tx(&tx);
        }
        let mut keys: Vec<TaskKey> = slot.tasks().collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            self.unbind(now, key, text, false, false);
        }
    }

    // --- ends of requests ---------------------------------------------------------------------------------------------------------------

    /// The block results from the one after the request's on are wanted.
    pub(super) fn expect_results(&mut self, key: TaskKey) {
        let Some(request) = self.tasks.get(&key).and_then(|entry| waiting_request(&entry.task)) else { return };
        let from = request.height.saturating_add(1);
        self.results_next = Some(self.results_next.map_or(from, |next| next.min(from)));
    }

    pub(super) fn block_results(&mut self, now: UnixMillis, height: u64, result: Result<Option<Vec<(u64, Resolution)>>, String>) {
        self.results_asked.remove(&height);
        match result {
            Ok(Some(ended)) => {
                for (id, resolution) in ended {
                    if let Some(key) = self.by_request.get(&id).copied() {
                        self.ended(now, key, id, resolution, height);
                    }
                }
            }
            Ok(None) => self.results_unsupported = true,
            Err(_) => {
                self.results_again.insert(height);
            }
        }
    }

    /// A request ended at this height.
    pub(super) fn ended(&mut self, now: UnixMillis, key: TaskKey, id: u64, resolution: Resolution, height: u64) {
        let waits = self
            .tasks
            .get(&key)
            .and_then(|entry| entry.task.request.as_ref())
            .is_some_and(|request| request.id == id && (request.resolved.is_none() || resolution != Resolution::Success));
        if !waits {
            return;
        }
        if resolution == Resolution::Success {
            self.change(key, &format!("Band resolved request {id} in block {height}"), |task| {
                if let Some(request) = &mut task.request {
                    request.resolved = Some(height);
                }
                if task.state == State::BandIncluded {
                    task.state = State::BandResolved;
                    (task.hold, task.retry_at, task.failures) = (None, None, 0);
                }
            });
            return;
        }
        let text = format!("Band ended request {id} with {} in block {height}", resolution.name());
        self.drop_request(now, key, &text, resolution.name());
    }

    /// The request is of no use any more: another one is needed, if the limit allows.
    pub(super) fn drop_request(&mut self, now: UnixMillis, key: TaskKey, text: &str, status: &str) {
        let useless = self.tasks.get(&key).and_then(|entry| entry.task.request.as_ref()).map(|request| request.id);
        if let Some(id) = useless {
            self.by_request.remove(&id);
        }
        if let Some(asking) = self.asking(key) {
            asking.proof = None;
            asking.simulated = false;
            asking.useless = useless.max(asking.useless);
        }
        self.complain(key, text, |task| {
            task.request = None;
            if matches!(task.state, State::BandIncluded | State::BandResolved | State::Relaying) {
                task.state = State::Confirmed;
            }
        });
        let Some(entry) = self.tasks.get(&key) else { return };
        if entry.task.state != State::Confirmed {
            return;
        }
        let attempts = entry.task.requests_paid;
        if self.may_request(&entry.task) {
            self.pause(now, key, "");
        } else {
            self.hold(now, key, Hold::BandFailed { attempts, status: status.to_owned() });
        }
    }

    /// Whether another request may be paid for.
    pub(super) fn may_request(&self, task: &super::Task) -> bool {
        task.requests_paid < self.policy.max_requests.saturating_add(task.requests_allowed)
    }
}
