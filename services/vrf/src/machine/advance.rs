//! The pass over what is known: what to ask, what to pay, what to send.

use std::collections::BTreeSet;

use alloy_primitives::U256;
use windlass_store::UnixMillis;

use super::adopt::Finding;
use super::lane::{BandTx, Plan, PlannedRequest, Want};
use super::relay::{Entry, Relay, waiting_request};
use super::task::{Hold, State, TaskKey, Terms};
use super::{Effect, RelayIntent, expected_cost, later};
use crate::config::Unprofitable;

/// An answer of the provider counts for a paid step this long.
pub(super) const FRESH_MS: u64 = 5_000;
/// Task numbers in one read.
const READ: usize = 100;
/// Proofs that are made at the same time.
const PROOFS: usize = 64;
/// Block results that are read at the same time, and how far behind they are caught up one by one.
const RESULTS: usize = 8;
const RESULTS_BEHIND: u64 = 256;

impl Relay {
    /// Decides. Everything that is asked is marked as asked.
    pub(super) fn advance(&mut self, now: UnixMillis) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.read_the_world(now, &mut effects);
        self.confirm();
        self.leave_useless_requests(now);
        self.lost_sequences(now);
        if !self.lane.open.iter().any(|(sequence, slot)| self.is_waited_for(*sequence, slot)) {
            self.lane.nothing_waits();
        }
        self.request(now, &mut effects);
        self.read_results(&mut effects);
        self.prove(now, &mut effects);
        // After the proofs: what is being proven is read at the same time.
        self.read_tasks(now, &mut effects);
        self.relay(now, &mut effects);
        let (policy, height) = (self.policy.clone(), self.band_height());
        if self.wrong_band_chain().is_none() {
            let kept_back = self.kept_back(now);
            effects.extend(self.lane.wants(&policy, height, now, &kept_back).into_iter().map(|want| match want {
                Want::Account => Effect::ReadAccount,
                Want::Offer { hash, bytes } => Effect::Offer { hash, bytes },
                Want::Find { sequence, hash } => Effect::Look { sequence, hash },
                Want::FindSequence { sequence } => Effect::Search { sequence },
            }));
        }
        effects
    }

    fn read_the_world(&mut self, now: UnixMillis, effects: &mut Vec<Effect>) {
        let due = |at: Option<UnixMillis>, every: u64| at.is_none_or(|at| later(at, every) <= now);
        // A failed or wanted read is made soon, a reconciling one when it is due.
        let wanted = self.provider_wanted || self.known.provider_error.is_some();
        let provider_due = due(self.provider_at, self.policy.reconcile_ms) || (wanted && due(self.provider_at, 250));
        if !self.provider_asked && provider_due {
            self.provider_asked = true;
            self.provider_wanted = false;
            effects.push(Effect::ReadProvider);
        }
        if let Some(bridge) = self.known.provider.as_ref().map(|view| view.bridge) {
            let held = self
                .tasks
                .values()
                .any(|entry| matches!(entry.task.hold, Some(Hold::ValidatorsStale { .. } | Hold::BridgeRefuses { .. })));
            let every = if held { self.policy.reconcile_ms } else { self.policy.reconcile_ms.saturating_mul(10) };
            let soon = self.known.bridge.is_none() || self.bridge_wanted || self.known.bridge_error.is_some();
            if !self.bridge_asked && (due(self.bridge_at, every) || (soon && due(self.bridge_at, 1_000))) {
                self.bridge_asked = true;
                self.bridge_wanted = false;
                effects.push(Effect::ReadBridge(bridge));
            }
        }
        if matches!(self.finding, Finding::Wanted(at) if at.is_none_or(|at| at <= now)) {
            self.finding = Finding::Asked;
            effects.push(Effect::FindRequests);
        }
    }

    /// Requests that are deep enough.
    fn confirm(&mut self) {
        let Some(head) = self.known.client_head else { return };
        let confirmations = self.policy.confirmations.max(1);
        let deep = |entry: &&Entry| {
            let task = &entry.task;
            task.state == State::Seen && !task.doubtful && head.saturating_add(1) >= task.seen_block.saturating_add(confirmations)
        };
        let keys: Vec<TaskKey> = self.tasks.values().filter(deep).map(|entry| entry.task.key()).collect();
        for key in keys {
            self.change(key, "deep enough to act on", |task| task.state = State::Confirmed);
        }
    }

    /// What the provider would refuse is not waited for: its owner changed the script or the counts, or the account is another one now.
    fn leave_useless_requests(&mut self, now: UnixMillis) {
        let Some(terms) = self.terms() else { return };
        let v1 = self.known.provider.as_ref().is_some_and(|view| view.counts.is_some());
        let useless = |entry: &&Entry| {
            let Some(request) = &entry.task.request else { return false };
            let counts = !v1 || (request.terms.min_count, request.terms.ask_count) == (terms.min_count, terms.ask_count);
            let fits = request.terms.oracle_script_id == terms.oracle_script_id && request.terms.worker == terms.worker && counts;
            !fits && matches!(entry.task.state, State::BandIncluded | State::BandResolved)
        };
        let keys: Vec<TaskKey> = self.tasks.values().filter(useless).map(|entry| entry.task.key()).collect();
        for key in keys {
            let text = "the provider's settings or the account changed: the request is of no use any more";
            self.drop_request(now, key, text, "other terms");
        }
    }

    /// What a request must be made with now.
    pub(super) fn terms(&self) -> Option<Terms> {
        let view = self.known.provider.as_ref()?;
        let (min_count, ask_count) = view.counts.unwrap_or((self.policy.min_count, self.policy.ask_count));
        Some(Terms { oracle_script_id: view.oracle_script_id, min_count, ask_count, worker: self.policy.worker })
    }

    /// Sequences that are used by nobody knows what: their tasks wait for an operator.
    fn lost_sequences(&mut self, now: UnixMillis) {
        let Some(height) = self.band_height() else { return };
        for sequence in self.lane.lost_track(&self.policy, height, now) {
            let keys: Vec<TaskKey> = self.lane.open.get(&sequence).map(|slot| slot.tasks().collect()).unwrap_or_default();
            for key in keys {
                let held = self.tasks.get(&key).is_some_and(|entry| matches!(entry.task.hold, Some(Hold::BandUnknown { .. })));
                if !held {
                    self.hold(now, key, Hold::BandUnknown { sequence });
                }
            }
        }
    }

    /// Reads the provider for tasks that are about to cost something, or are in doubt, and for numbers that were never looked at.
    fn read_tasks(&mut self, now: UnixMillis, effects: &mut Vec<Effect>) {
        if self.read_pause_until.is_some_and(|until| until > now) {
            return;
        }
        self.read_pause_until = None;
        let head = self.known.client_head;
        let (depth, dry) = (self.policy.final_depth, self.policy.dry_run);
        let mut wanted: BTreeSet<u64> = BTreeSet::new();
        let offered_again = self.offered_again(now);
        for (key, entry) in &mut self.tasks {
            let (task, asking) = (&entry.task, &mut entry.asking);
            let due = task.retry_at.is_none_or(|at| at <= now);
            let fresh = asking.checked_at.is_some_and(|at| later(at, FRESH_MS) > now);
            let wants = match task.state {
                _ if task.doubtful => due,
                State::Confirmed => due && !fresh && !dry && !blocks_request(task.hold.as_ref()) && task.sequence.is_none(),
                State::BandSigned => !fresh && offered_again.contains(key),
                State::BandResolved => due && !fresh && (asking.proof.is_some() || asking.proving),
                State::Foreign | State::Superseded => {
                    asking.checked_at.is_none()
                        && task.settled_block.is_some_and(|block| head.is_some_and(|head| head >= block.saturating_add(depth)))
                }
                _ => false,
            };
            if wants && !asking.reading {
                asking.reading = true;
                wanted.insert(key.nonce);
            }
        }
        wanted.append(&mut self.asked_nonces);
        if let Some(range) = self.unread() {
            effects.push(Effect::ReadTasks(range.collect()));
        }
        let wanted: Vec<u64> = wanted.into_iter().collect();
        effects.extend(wanted.chunks(READ).map(|chunk| Effect::ReadTasks(chunk.to_vec())));
    }

    // --- requests on BandChain ------------------------------------------------------------------------------------------------------------

    fn request(&mut self, now: UnixMillis, effects: &mut Vec<Effect>) {
        let Some(terms) = self.terms() else { return };
        let ready = self.known.bridge.is_some() && self.known.band.is_some() && self.wrong_band_chain().is_none();
        if self.finding != Finding::Done || !ready {
            return;
        }
        let candidates = self.candidates(now);
        self.sign_replacements(now, &candidates, terms);
        self.sign_without_the_gone(now, &candidates, terms);
        if self.policy.dry_run {
            return;
        }
        let busy = |entry: &&Entry| entry.task.state >= State::BandSigned && !entry.task.state.is_terminal();
        let room = self.policy.max_in_flight.saturating_sub(self.tasks.values().filter(busy).count());
        let free = candidates.into_iter().filter(|key| !self.lane.is_bound(*key));
        let candidates: Vec<TaskKey> = free.take(room).collect();
        if let (Some(account), Some(first)) = (self.lane.next_sequence(&self.policy), candidates.first()) {
            let alone = |key: &TaskKey| self.tasks.get(key).is_some_and(|entry| entry.task.alone);
            let keys: Vec<TaskKey> = if alone(first) {
                vec![*first]
            } else {
                candidates.iter().filter(|key| !alone(key)).take(self.policy.band_max_batch.max(1)).copied().collect()
            };
            let (gas_limit, fee) = self.lane.cost(&self.policy, keys.len());
            self.lane.signing = Some(Plan {
                sequence: account.sequence,
                number: 0,
                account_number: account.number,
                requests: self.planned(&keys),
                terms,
                fee,
                gas_limit,
            });
        }
        if let Some(plan) = self.lane.signing.clone().filter(|plan| self.lane_signing_is_new(plan)) {
            effects.push(Effect::Sign(Box::new(plan)));
        }
    }

    /// Tasks that may be paid for now: confirmed, just read, wanted, worth it.
    fn candidates(&mut self, now: UnixMillis) -> Vec<TaskKey> {
        let mut ready = Vec::new();
        let mut held: Vec<(TaskKey, Hold)> = Vec::new();
        let mut skipped = Vec::new();
        for (key, entry) in &self.tasks {
            let task = &entry.task;
            if task.state != State::Confirmed || task.doubtful || task.retry_at.is_some_and(|at| at > now) {
                continue;
            }
            if self.policy.dry_run {
                if task.hold.is_none() {
                    held.push((*key, Hold::DryRun));
                }
                continue;
            }
            let fresh = entry.asking.checked_at.is_some_and(|at| later(at, FRESH_MS) > now);
            if !fresh || blocks_request(task.hold.as_ref()) {
                continue;
            }
            if !self.may_request(task) {
                held.push((*key, Hold::BandFailed { attempts: task.requests_paid, status: "the limit of requests".to_owned() }));
                continue;
            }
            match (self.policy.unprofitable, self.loss(task.chain.task_fee)) {
                (Unprofitable::Relay, _) | (_, None) => ready.push(*key),
                (Unprofitable::Wait, Some(cost)) => held.push((*key, Hold::Unprofitable { fee: task.chain.task_fee, cost })),
                (Unprofitable::Skip, Some(cost)) => skipped.push((*key, task.chain.task_fee, cost)),
            }
        }
        for (key, hold) in held {
            self.hold(now, key, hold);
        }
        for (key, fee, cost) in skipped {
            let reason = format!("its fee of {fee} wei is below the expected cost of {cost} wei");
            self.complain(key, &reason, |task| (task.state, task.reason) = (State::Dead, Some(reason.clone())));
        }
        ready
    }

    /// The cost that a fee does not cover.
    fn loss(&self, fee: U256) -> Option<U256> {
        let price = self.known.provider.as_ref()?.gas_price?;
        let cost = expected_cost(&self.policy, price);
        (fee < cost).then_some(cost)
    }

    /// Sequences whose transaction no node will take get another one: with fewer requests, or with others.
    fn sign_replacements(&mut self, now: UnixMillis, candidates: &[TaskKey], terms: Terms) {
        let Some((sequence, (code, text))) = self.replace.first_key_value().map(|(sequence, why)| (*sequence, why.clone()))
        else {
            return;
        };
        let Some(tx) = self.lane.open.get(&sequence).and_then(|slot| slot.newest()).cloned() else {
            self.replace.remove(&sequence);
            return;
        };
        if self.lane.signing.is_some() {
            return;
        }
        if tx.tasks.len() > 1 {
            self.replace.remove(&sequence);
            let half = tx.tasks.len() / 2;
            let keys = tx.tasks.iter().take(half.max(1)).copied().collect();
            self.sign_again(&tx, keys, tx.fee);
            return;
        }
        for key in &tx.tasks {
            self.hold(now, *key, Hold::BandRefused { code, text: text.clone() });
        }
        // A task that is bound to a later sequence could be paid for twice: only free ones may take the place.
        let free = candidates.iter().find(|key| !self.lane.is_bound(**key)).copied();
        self.replace.remove(&sequence);
        if let Some(key) = free {
            let other = BandTx { terms, ..tx };
            self.sign_again(&other, vec![key], other.fee);
        }
    }

    pub(super) fn planned(&self, keys: &[TaskKey]) -> Vec<PlannedRequest> {
        let time = |key: &TaskKey| self.tasks.get(key).map(|entry| entry.task.chain.time);
        keys.iter().filter_map(|key| Some(PlannedRequest { key: *key, time: time(key)? })).collect()
    }

    /// Whether the signature of this plan was not asked for yet. Marks it as asked.
    fn lane_signing_is_new(&mut self, plan: &Plan) -> bool {
        let new = self.lane.asked_to_sign.as_ref() != Some(&(plan.sequence, plan.number));
        self.lane.asked_to_sign = Some((plan.sequence, plan.number));
        new
    }

    // --- ends and proofs ------------------------------------------------------------------------------------------------------------------

    fn read_results(&mut self, effects: &mut Vec<Effect>) {
        let Some(height) = self.band_height() else { return };
        if self.results_unsupported || !self.tasks.values().any(|entry| waiting_request(&entry.task).is_some()) {
            return;
        }
        let Some(next) = self.results_next else { return };
        // After a long absence single proofs are quicker than thousands of blocks.
        let mut next = next.max(height.saturating_sub(RESULTS_BEHIND));
        let mut ask = |height: u64, asked: &mut BTreeSet<u64>| {
            if asked.len() < RESULTS && asked.insert(height) {
                effects.push(Effect::ReadBlockResults { height });
                return true;
            }
            false
        };
        let again: Vec<u64> = self.results_again.iter().copied().collect();
        for height in again {
            if ask(height, &mut self.results_asked) {
                self.results_again.remove(&height);
            }
        }
        while next <= height && ask(next, &mut self.results_asked) {
            next = next.saturating_add(1);
        }
        self.results_next = Some(next);
    }

    fn prove(&mut self, now: UnixMillis, effects: &mut Vec<Effect>) {
        let Some(height) = self.band_height() else { return };
        if self.known.bridge.is_none() || self.wrong_band_chain().is_some() {
            return;
        }
        let mut proving = self.tasks.values().filter(|entry| entry.asking.proving).count();
        let (unsupported, answer_ms, after) =
            (self.results_unsupported, self.policy.band_answer_ms, self.policy.band_proof_after);
        for entry in self.tasks.values_mut() {
            if proving >= PROOFS {
                return;
            }
            let (task, asking) = (&entry.task, &mut entry.asking);
            let Some(request) = &task.request else { continue };
            let due = task.retry_at.is_none_or(|at| at <= now) && !asking.proving && asking.proof.is_none() && !task.doubtful;
            let new_block = asking.proved_height.is_none_or(|tried| height > tried);
            let ready = match (task.state, request.resolved) {
                (State::BandResolved, Some(resolved)) => height >= resolved.saturating_add(after) && new_block,
                (State::BandResolved, None) => new_block,
                (State::BandIncluded, _) => {
                    let silent = asking.paid_at.is_none_or(|at| later(at, answer_ms) <= now);
                    let rested = asking.proved_height.is_none_or(|tried| height >= tried.saturating_add(10));
                    (unsupported && height > request.height.saturating_add(after) && new_block) || (silent && rested)
                }
                _ => false,
            };
            if due && ready {
                asking.proving = true;
                asking.proved_height = Some(height);
                proving = proving.saturating_add(1);
                effects.push(Effect::Prove { task: Box::new(task.chain.clone()), request: Box::new(request.clone()) });
            }
        }
    }

    // --- relay transactions ---------------------------------------------------------------------------------------------------------------

    fn relay(&mut self, now: UnixMillis, effects: &mut Vec<Effect>) {
        let mut send = Vec::new();
        for (key, entry) in &mut self.tasks {
            let (task, asking) = (&entry.task, &mut entry.asking);
            let fresh = asking.checked_at.is_some_and(|at| later(at, FRESH_MS) > now);
            let due = task.retry_at.is_none_or(|at| at <= now);
            let Some(proof) = &asking.proof else { continue };
            if task.state != State::BandResolved || task.doubtful || !fresh || !due {
                continue;
            }
            // What was refused once is run without being sent before it is sent again.
            if (task.relays > 0 || task.hold.is_some()) && !asking.simulated {
                if !asking.simulating {
                    asking.simulating = true;
                    effects.push(Effect::Simulate { key: *key, proof: proof.clone() });
                }
                continue;
            }
            send.push((*key, proof.clone()));
        }
        for (key, proof) in send {
            if let Some(asking) = self.asking(key) {
                (asking.proof, asking.simulated, asking.checked_at) = (None, false, None);
            }
            let mut number = 0;
            self.change(key, "relay recorded", |task| {
                task.relays = task.relays.saturating_add(1);
                number = task.relays;
                task.state = State::Relaying;
                (task.hold, task.retry_at, task.failures) = (None, None, 0);
            });
            self.changes.intents.push(RelayIntent { key, number, proof });
        }
    }
}

/// Holds that keep a confirmed task from being requested until somebody lifts them.
const fn blocks_request(hold: Option<&Hold>) -> bool {
    matches!(hold, Some(Hold::BandFailed { .. } | Hold::BandUnknown { .. }))
}
