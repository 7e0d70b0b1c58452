//! One round of the sender: look, settle, plan, sign, commit, broadcast, write down.
//!
//! ```text
//! lease -> observe -> settle (reorganisations, inclusions, finality) -> commit
//!                  -> plan (drop, hold, replace, assign, fill) -> sign -> commit -> broadcast -> commit
//! ```
//!
//! Every commit is fenced by the lease. What is broadcast was committed before. A crash between any two steps leaves rows from
//! which the next round goes on; the worst that can happen is that the same bytes are offered twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt;
use windlass_chain::{ChainError, Endpoints};
use windlass_store::clock::UnixMillis;
use windlass_store::lease::{self, Lease};
use windlass_store::{BoxFuture, Fence, StoreError};

use crate::error::OutboxError;
use crate::machine::{self, Gas, Kind, Plan, Sign, Slot, View, Waiting};
use crate::model::{Hold, IntentId, State, Transition, TurnReport};
use crate::observe::{Canonical, Look, Observation, Suspect};
use crate::outbox::Inner;
use crate::rejection::Rejection;
use crate::sign::{Signed, Unsigned};
use crate::tables::{Broken, Changes, HoldChange, NewAttempt, OfferOutcome, Offers, WaitingRow, day_of};

/// Waiting intents looked at beside those that can get a nonce, so that deadlines and holds show early.
const LOOK_AHEAD: u64 = 16;
/// Gas estimates asked for at the same time.
const ESTIMATE_CONCURRENCY: usize = 8;
/// Most gas of one transaction on chains with EIP-7825.
const TRANSACTION_GAS_LIMIT: u64 = 1 << 24;
/// Estimates remembered before any are forgotten.
const ESTIMATES_TIDIED: usize = 1024;
/// Most estimates remembered.
const ESTIMATES_KEPT: usize = 1 << 16;
/// Signatures asked for at the same time: a remote signer answers in milliseconds.
const SIGN_CONCURRENCY: usize = 16;

/// What a round remembers for the next. Losing it costs requests, never correctness.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) lease: Option<Lease>,
    pub(crate) renewed_at: Option<UnixMillis>,
    pub(crate) seen: Option<Observation>,
    pub(crate) suspects: BTreeMap<u64, Suspect>,
    /// Included blocks are to be compared with the chain although it only grew: the last comparison could not tell of all.
    pub(crate) doubt: bool,
    /// The highest count above all rows that was confirmed.
    sure_count: Option<u64>,
    estimates: HashMap<IntentId, Estimate>,
}

/// The last answer about an intent's gas.
#[derive(Debug, Clone)]
struct Estimate {
    gas: Gas,
    head: u64,
    at: UnixMillis,
    /// The first of the reverting answers in a row: when, at which head, and the nonce below which all must be on the chain.
    reverting: Option<(UnixMillis, u64, u64)>,
}

impl Memory {
    /// Keeps the answers of this round and, as far as there is room, those that revert: an intent is dropped only after a
    /// second reverting answer, which would never come if the first were forgotten.
    fn forget_estimates(&mut self, rows: &[WaitingRow]) {
        if self.estimates.len() <= 2 * rows.len() + ESTIMATES_TIDIED {
            return;
        }
        let current: HashSet<IntentId> = rows.iter().map(|row| row.intent.id).collect();
        self.estimates.retain(|id, estimate| estimate.reverting.is_some() || current.contains(id));
        if self.estimates.len() > ESTIMATES_KEPT {
            self.estimates.retain(|id, _| current.contains(id));
        }
    }
}

/// What a round may know of the chain.
pub(crate) enum Eyes {
    /// It looks for itself.
    Open,
    /// It uses the last look where there was one.
    Closed,
    /// It uses a look that was made beside the rounds.
    Looked(Box<Look>),
}

/// What the second half of a round begins with.
struct Rows {
    open: Vec<Slot>,
    /// The chain was looked at in this round.
    looked: bool,
}

impl Inner {
    /// Begins a look at the chain beside the rounds, so that a commit that comes meanwhile does not wait for it. Without the
    /// lease there is nothing to look for.
    pub(crate) async fn start_look(self: &Arc<Self>) -> Option<Looking> {
        let memory = self.memory.lock().await;
        memory.lease.as_ref()?;
        let last = memory.seen.clone();
        let inner = Arc::clone(self);
        Some(Looking(tokio::spawn(async move { inner.chain.look(&inner.config, last.as_ref()).await })))
    }

    /// One round.
    pub(crate) async fn round(&self, now: UnixMillis, eyes: Eyes) -> Result<TurnReport, OutboxError> {
        let mut memory = self.memory.lock().await;
        let started = tokio::time::Instant::now();
        let result = self.round_with(&mut memory, now, eyes).await;
        let mut glance = self.glance();
        match &result {
            Ok(report) => {
                glance.leader = !report.standby;
                glance.last_error = None;
                self.labels.round(report, started.elapsed().as_secs_f64());
            }
            Err(error) => {
                glance.last_error = Some(error.to_string());
                self.labels.failed_round();
                if matches!(error, OutboxError::LeaseLost { .. }) {
                    glance.leader = false;
                }
            }
        }
        if let Some(seen) = &memory.seen {
            glance.balance = Some(seen.balance);
            glance.count = Some(seen.count);
            glance.head = Some(seen.head.number);
            self.labels.balance(seen.balance);
        }
        drop(glance);
        if let Err(error) = &result
            && !matches!(error, OutboxError::Chain(..))
        {
            // Whatever was remembered may contradict the rows now.
            memory.seen = None;
            memory.suspects.clear();
            if matches!(error, OutboxError::LeaseLost { .. } | OutboxError::Store(StoreError::Fenced { .. })) {
                memory.lease = None;
            }
        }
        result
    }

    async fn round_with(&self, memory: &mut Memory, now: UnixMillis, eyes: Eyes) -> Result<TurnReport, OutboxError> {
        let mut report = TurnReport::default();
        let Some(fence) = self.ensure_lease(memory, now).await? else {
            memory.seen = None;
            report.standby = true;
            return Ok(report);
        };
        let mut open = None;
        let mut looked = true;
        let seen = match (memory.seen.clone(), eyes) {
            (Some(seen), Eyes::Closed) => {
                looked = false;
                seen
            }
            (last, eyes) => {
                let mut look = match eyes {
                    // Only what continues the last look counts; the rows may have changed since another one.
                    Eyes::Looked(look) if look.follows(last.as_ref()) => *look,
                    _ => self.chain.look(&self.config, last.as_ref()).await?,
                };
                open = self.settle(memory, &fence, now, &mut look, &mut report).await?;
                let seen = look.seen;
                if last.is_none_or(|last| {
                    seen.balance > last.balance || seen.market.floor(&self.config.fee) < last.market.floor(&self.config.fee)
                }) {
                    self.wake_held(&fence).await?;
                }
                memory.seen = Some(seen.clone());
                seen
            }
        };
        report.head = Some(seen.head.number);
        let open = match open {
            Some(open) => open,
            None => self.scope.open_slots(&self.store).await?,
        };
        let offers = self.plan(memory, &fence, now, &seen, Rows { open, looked }, &mut report).await?;
        self.offer(&fence, now, &seen, offers, &mut report).await?;
        Ok(report)
    }

    /// Holds the lease, or tells that another instance does.
    async fn ensure_lease(&self, memory: &mut Memory, now: UnixMillis) -> Result<Option<Fence>, OutboxError> {
        let ttl = self.config.lease_ttl;
        if let Some(lease) = &mut memory.lease {
            let due = memory.renewed_at.is_none_or(|at| now >= at.saturating_add(ttl / 3) || now < at);
            if !due || lease::renew(&self.store, lease).await? {
                if due {
                    memory.renewed_at = Some(now);
                }
                return Ok(Some(lease.fence().clone()));
            }
            tracing::warn!(chain = %self.config.chain, account = %self.scope.account, lease = %self.lease_name, "lease lost");
            memory.lease = None;
        }
        // Another instance may have acted meanwhile: nothing remembered counts.
        memory.seen = None;
        memory.suspects.clear();
        let Some(lease) = lease::acquire(&self.store, &self.lease_name, &self.config.holder, ttl).await? else { return Ok(None) };
        tracing::info!(chain = %self.config.chain, account = %self.scope.account, lease = %self.lease_name, "acting");
        let fence = lease.fence().clone();
        memory.lease = Some(lease);
        memory.renewed_at = Some(now);
        Ok(Some(fence))
    }

    /// Decides what to do next with everything that is not in a block, signs it, and commits it. Returns what to offer.
    async fn plan(
        &self,
        memory: &mut Memory,
        fence: &Fence,
        now: UnixMillis,
        seen: &Observation,
        Rows { open, looked }: Rows,
        report: &mut TurnReport,
    ) -> Result<Vec<Offer>, OutboxError> {
        self.check_open(&open)?;
        let in_flight = open.len() as u64;
        let room = self.config.max_in_flight.saturating_sub(in_flight);
        let rows = self.scope.waiting(&self.store, now, self.config.backoff_max, room.saturating_add(LOOK_AHEAD)).await?;
        let (covered, lowest, next) = self.scope.covered(&self.store, seen.count, self.config.max_in_flight).await?;
        if seen.count > next && memory.sure_count.is_none_or(|sure| seen.count > sure) {
            // Nonces that no row has are used on the chain: true at the first start or after foreign use. A lie would make us
            // sign nonces that no block can take yet, so it takes a second answer.
            let sure = self.chain.sure_count(windlass_chain::BlockId::Number(seen.head.number)).await?;
            if sure < seen.count {
                tracing::warn!(chain = %self.config.chain, account = %self.scope.account, count = seen.count, sure, "doubtful transaction count");
                memory.seen = None;
                return Ok(Vec::new());
            }
            memory.sure_count = Some(sure);
        }
        report.in_flight = open.len();
        // Only a new look can show that something has vanished.
        let vanished = if looked && next > seen.count { self.vanished(seen).await? } else { Vec::new() };
        if open.is_empty() && rows.is_empty() && vanished.is_empty() && covered.is_empty() {
            return Ok(Vec::new());
        }
        let barrier = if open.is_empty() { seen.count } else { next };
        let waiting = self.with_gas(memory, &rows, now, seen, barrier).await;
        let view = View {
            now,
            head: seen.head.number,
            count: seen.count,
            balance: seen.balance,
            market: seen.market,
            open,
            covered,
            lowest,
            next,
            waiting,
            spent_today: self.scope.spent(&self.store, day_of(now)).await?,
        };
        let plan = machine::plan(&self.config, &view);
        for id in plan.drop.iter().map(|(id, _)| id).chain(plan.sign.iter().filter_map(|sign| sign.intent.as_ref())) {
            memory.estimates.remove(id);
        }
        let SignedPlan { signed, failed } = self.sign_all(&plan, &view, &rows).await?;
        let mut changes = self.changes_of(&plan, &view, &rows, &signed, now);
        for (id, hold) in failed {
            let retries = rows.iter().find(|row| row.intent.id == id).map_or(0, |row| row.retries);
            changes.holds.retain(|change| change.id != id);
            changes.holds.push(self.hold_change(id, Some(hold), retries, now));
        }
        self.count_plan(report, &signed, &changes, &view);
        // All that was looked at is held or dropped: what comes behind may be sendable.
        let stuck = !(plan.drop.is_empty() && changes.holds.is_empty()) && (signed.len() as u64) < room;
        report.again |= stuck && rows.len() as u64 == room.saturating_add(LOOK_AHEAD);
        let mut offers = vanished;
        let raws = self.scope.raw(&self.store, &plan.offer).await?;
        self.commit(fence, "outbox.sign", changes).await?;
        let intents: HashMap<_, _> =
            view.open.iter().flat_map(|slot| slot.attempts.iter().map(move |attempt| (attempt.hash, slot))).collect();
        for hash in &plan.offer {
            if let (Some(raw), Some(slot)) = (raws.get(hash), intents.get(hash)) {
                let intent = slot.intent.as_ref().map(|intent| (intent.id, intent.state.clone(), intent.hold.is_some()));
                offers.push(Offer { hash: *hash, nonce: slot.nonce, raw: raw.clone(), intent });
            }
        }
        for (sign, signed) in signed {
            let intent = sign.intent.map(|id| {
                let open = view.open.iter().find(|slot| slot.nonce == sign.nonce).and_then(|slot| slot.intent.as_ref());
                (id, open.map_or(State::Signed, |intent| intent.state.clone()), false)
            });
            offers.push(Offer { hash: signed.hash, nonce: sign.nonce, raw: signed.raw, intent });
        }
        offers.sort_by_key(|offer| offer.nonce);
        Ok(offers)
    }

    /// What must hold of the open nonces whatever happened before. A round that finds it broken stops before it signs.
    fn check_open(&self, open: &[Slot]) -> Result<(), OutboxError> {
        let broken = |what: String| Err(self.broken(what));
        let mut intents = std::collections::BTreeSet::new();
        for slot in open {
            if slot.attempts.is_empty() {
                return broken(format!("nonce {} is reserved without signed bytes", slot.nonce));
            }
            if let Some(intent) = &slot.intent {
                if !intents.insert(intent.id) {
                    return broken(format!("intent {} has two open nonces", intent.id));
                }
                if !matches!(intent.state, State::Signed | State::Broadcast) {
                    return broken(format!(
                        "intent {} is {} and has the open nonce {}",
                        intent.id,
                        intent.state.name(),
                        slot.nonce
                    ));
                }
            }
        }
        Ok(())
    }

    /// Final transactions that a reorganisation below their finality took out of the chain: the same bytes are offered again,
    /// so that what was promised stays true and the nonces above are not stuck.
    async fn vanished(&self, seen: &Observation) -> Result<Vec<Offer>, OutboxError> {
        let mut canonical = Canonical::default();
        let mut offers = Vec::new();
        for row in self.scope.vanished(&self.store, seen.count).await? {
            // A lagging endpoint shows a low count as well; only another block at that height is proof.
            match self.chain.hash_of(row.block_number, &mut canonical).await? {
                Some(hash) if hash != row.block_hash => {}
                _ => continue,
            }
            tracing::warn!(chain = %self.config.chain, account = %self.scope.account, nonce = row.nonce, tx_hash = %row.hash,
                "a final transaction was taken out of the chain; offering it again");
            if let Some(raw) = self.scope.raw(&self.store, &[row.hash]).await?.remove(&row.hash) {
                offers.push(Offer { hash: row.hash, nonce: row.nonce, raw, intent: None });
            }
        }
        Ok(offers)
    }

    /// Joins waiting intents with what is known about their gas, asking where it is time.
    async fn with_gas(
        &self,
        memory: &mut Memory,
        rows: &[WaitingRow],
        now: UnixMillis,
        seen: &Observation,
        barrier: u64,
    ) -> Vec<Waiting> {
        let questions: Vec<BoxFuture<'_, _>> = rows
            .iter()
            .filter(|row| !row.intent.cancel && !machine::is_past(row.intent.deadline, now))
            .filter(|row| row.intent.value <= seen.balance && self.must_ask(memory, row, now, seen))
            .map(|row| {
                let (id, to, value, data, gas) =
                    (row.intent.id, row.to, row.intent.value, row.data.clone(), row.intent.gas_limit);
                Box::pin(async move { (id, self.chain.estimate(to, value, data, gas).await) }) as BoxFuture<'_, _>
            })
            .collect();
        let asked: Vec<_> = futures::stream::iter(questions).buffered(ESTIMATE_CONCURRENCY).collect().await;
        for (id, answer) in asked {
            let previous = memory.estimates.get(&id).and_then(|estimate| estimate.reverting);
            memory.estimates.insert(id, self.judge_gas(answer, previous, now, seen, barrier));
        }
        let waiting = rows
            .iter()
            .map(|row| {
                let gas = match (row.intent.gas_limit, row.intent.simulate) {
                    (Some(limit), false) => Gas::Limit(limit),
                    (asked_limit, _) => match memory.estimates.get(&row.intent.id) {
                        Some(Estimate { gas: Gas::Limit(estimate), .. }) => Gas::Limit(asked_limit.unwrap_or(*estimate)),
                        Some(estimate) => estimate.gas.clone(),
                        None => Gas::Unknown,
                    },
                };
                Waiting { intent: row.intent.clone(), gas }
            })
            .collect();
        memory.forget_estimates(rows);
        waiting
    }

    fn must_ask(&self, memory: &Memory, row: &WaitingRow, now: UnixMillis, seen: &Observation) -> bool {
        let needed = row.intent.simulate || row.intent.gas_limit.is_none();
        needed
            && memory.estimates.get(&row.intent.id).is_none_or(|known| {
                let waited = machine::elapsed(known.at, self.config.revert_recheck, now);
                match known.gas {
                    // An estimate of an older head may no longer suffice.
                    Gas::Limit(_) => known.head != seen.head.number,
                    _ => known.head != seen.head.number || waited,
                }
            })
    }

    fn judge_gas(
        &self,
        answer: Result<u64, windlass_chain::ChainError>,
        previous: Option<(UnixMillis, u64, u64)>,
        now: UnixMillis,
        seen: &Observation,
        barrier: u64,
    ) -> Estimate {
        let head = seen.head.number;
        let error = match answer {
            Ok(gas) => {
                let limit = gas.saturating_mul(self.config.gas_margin_percent) / 100;
                // More than a block or a transaction may have (EIP-7825) would never be taken; the estimate itself fits.
                let block = if seen.head.gas_limit > 0 { seen.head.gas_limit } else { u64::MAX };
                let transaction = if gas <= TRANSACTION_GAS_LIMIT { TRANSACTION_GAS_LIMIT } else { u64::MAX };
                let limit = limit.min(block).min(transaction).max(gas);
                return Estimate { gas: Gas::Limit(limit), head, at: now, reverting: None };
            }
            Err(error) => error,
        };
        let Some(reason) = error.revert_reason() else {
            return Estimate { gas: Gas::Failed { message: error.to_string() }, head, at: now, reverting: previous };
        };
        let first = previous.unwrap_or((now, head, barrier));
        let confirmed = head > first.1 || now >= first.0.saturating_add(self.config.revert_recheck);
        let settled = seen.count >= first.2 && (confirmed && previous.is_some() || self.config.revert_recheck.is_zero());
        Estimate { gas: Gas::Reverts { reason: reason.to_string(), settled }, head, at: now, reverting: Some(first) }
    }

    /// Signs what the plan wants. After a failure no further new nonce is kept: it would leave a gap below.
    async fn sign_all(&self, plan: &Plan, view: &View, rows: &[WaitingRow]) -> Result<SignedPlan, OutboxError> {
        let bodies = self.bodies(plan, rows).await?;
        let mut signing: Vec<BoxFuture<'_, _>> = Vec::with_capacity(plan.sign.len());
        for sign in &plan.sign {
            if sign.nonce < view.count {
                return Err(self.broken(format!("nonce {} was to be signed, the chain is at {}", sign.nonce, view.count)));
            }
            let Some(unsigned) = self.unsigned(sign, &bodies) else {
                return Err(self.broken(format!("the intent of nonce {} has no row", sign.nonce)));
            };
            signing.push(Box::pin(unsigned.sign(self.signer.as_ref())));
        }
        let results: Vec<_> = futures::stream::iter(signing).buffered(SIGN_CONCURRENCY).collect().await;
        let mut done = SignedPlan::default();
        let mut stopped = false;
        for (sign, result) in plan.sign.iter().zip(results) {
            match result {
                Ok(signed) if !(stopped && sign.new_nonce) => done.signed.push((sign.clone(), signed)),
                Ok(_) => {}
                Err(error @ OutboxError::WrongSigner { .. }) => return Err(error),
                Err(error) => {
                    tracing::warn!(chain = %self.config.chain, account = %self.scope.account, nonce = sign.nonce, %error, "not signed");
                    stopped |= sign.new_nonce;
                    if let Some(id) = sign.intent {
                        done.failed.push((id, Hold::SignerFailed { message: error.to_string() }));
                    }
                }
            }
        }
        Ok(done)
    }

    fn broken(&self, what: String) -> OutboxError {
        OutboxError::Invariant { chain: self.config.chain.clone(), account: self.scope.account, what }
    }

    /// Recipient, value and data of the intents to sign: waiting rows are here already, those to replace are read.
    async fn bodies(&self, plan: &Plan, rows: &[WaitingRow]) -> Result<HashMap<IntentId, Body>, OutboxError> {
        let mut bodies: HashMap<IntentId, Body> = rows
            .iter()
            .map(|row| (row.intent.id, Body { to: row.to, value: row.intent.value, data: row.data.clone() }))
            .collect();
        let missing: Vec<IntentId> = plan
            .sign
            .iter()
            .filter(|sign| sign.kind == Kind::Send)
            .filter_map(|sign| sign.intent)
            .filter(|id| !bodies.contains_key(id))
            .collect();
        for (id, intent) in self.scope.intents(&self.store, &missing).await? {
            bodies.insert(id, Body { to: intent.to, value: intent.value, data: intent.data });
        }
        Ok(bodies)
    }

    fn unsigned(&self, sign: &Sign, bodies: &HashMap<IntentId, Body>) -> Option<Unsigned> {
        let chain_id = self.scope.chain_id;
        if sign.kind != Kind::Send {
            return Some(Unsigned::self_transfer(chain_id, self.scope.account, sign.nonce, sign.gas_limit, sign.fees));
        }
        let body = bodies.get(&sign.intent?)?;
        Some(Unsigned {
            chain_id,
            nonce: sign.nonce,
            to: body.to,
            value: body.value,
            data: body.data.clone(),
            gas_limit: sign.gas_limit,
            fees: sign.fees,
        })
    }

    /// The rows that follow from the plan and from what could be signed.
    fn changes_of(&self, plan: &Plan, view: &View, rows: &[WaitingRow], signed: &[(Sign, Signed)], now: UnixMillis) -> Changes {
        let mut changes = Changes { now, ..Changes::default() };
        for (id, reason) in &plan.drop {
            changes.transitions.push(Transition {
                id: *id,
                from: State::Recorded,
                to: State::Dropped(reason.clone()),
                at: now,
                tx_hash: None,
                nonce: None,
                note: None,
            });
        }
        for (sign, signed) in signed {
            let slot = view.open.iter().find(|slot| slot.nonce == sign.nonce);
            changes.attempts.push(NewAttempt {
                hash: signed.hash,
                nonce: sign.nonce,
                number: slot.map_or(0, |slot| slot.attempts.len() as u64),
                intent: sign.intent,
                kind: sign.kind,
                raw: signed.raw.clone(),
                fees: sign.fees,
                gas_limit: sign.gas_limit,
                new_nonce: sign.new_nonce,
            });
            match sign.intent {
                Some(id) if sign.new_nonce => changes.transitions.push(Transition {
                    id,
                    from: State::Recorded,
                    to: State::Signed,
                    at: now,
                    tx_hash: Some(signed.hash),
                    nonce: Some(sign.nonce),
                    note: None,
                }),
                Some(id) => changes.bumped.push(id),
                None => {}
            }
        }
        for (id, hold) in &plan.holds {
            let row = rows.iter().find(|row| row.intent.id == *id);
            changes.holds.push(self.hold_change(*id, hold.clone(), row.map_or(0, |row| row.retries), now));
        }
        self.keep_holding(&mut changes, view, rows, plan, now);
        changes
    }

    fn hold_change(&self, id: IntentId, hold: Option<Hold>, retries: u32, now: UnixMillis) -> HoldChange {
        if hold.is_none() {
            return HoldChange { id, hold, retries: 0, retry_at: UnixMillis(0) };
        }
        let retries = retries.saturating_add(1);
        HoldChange { id, hold, retries, retry_at: now.saturating_add(machine::backoff(&self.config, retries)) }
    }

    /// An intent that stays held for the same reason is looked at less and less often.
    fn keep_holding(&self, changes: &mut Changes, view: &View, rows: &[WaitingRow], plan: &Plan, now: UnixMillis) {
        for (waiting, row) in view.waiting.iter().zip(rows) {
            let id = waiting.intent.id;
            let moved = plan.drop.iter().any(|(other, _)| *other == id)
                || changes.attempts.iter().any(|attempt| attempt.intent == Some(id))
                || plan.holds.iter().any(|(other, _)| *other == id);
            if !moved
                && let Some(hold) = &waiting.intent.hold
                && waiting.gas != Gas::Unknown
            {
                changes.holds.push(self.hold_change(id, Some(hold.clone()), row.retries, now));
            }
        }
    }

    fn count_plan(&self, report: &mut TurnReport, signed: &[(Sign, Signed)], changes: &Changes, view: &View) {
        for (sign, _) in signed {
            match (sign.new_nonce, sign.kind) {
                (true, Kind::Filler) => report.filled += 1,
                (true, _) => report.signed += 1,
                (false, _) => report.replaced += 1,
            }
            report.in_flight += usize::from(sign.new_nonce);
        }
        report.finished += changes.transitions.iter().filter(|transition| transition.to.is_terminal()).count();
        let held_before =
            view.waiting.iter().map(|waiting| &waiting.intent).chain(view.open.iter().filter_map(|slot| slot.intent.as_ref()));
        report.held = held_before
            .filter(|intent| {
                let change = changes.holds.iter().find(|change| change.id == intent.id);
                let moved = changes.transitions.iter().any(|transition| transition.id == intent.id);
                !moved && change.map_or(intent.hold.is_some(), |change| change.hold.is_some())
            })
            .count();
    }

    /// Offers stored bytes to the nodes, in nonce order, and writes down what they said.
    async fn offer(
        &self,
        fence: &Fence,
        now: UnixMillis,
        seen: &Observation,
        offers: Vec<Offer>,
        report: &mut TurnReport,
    ) -> Result<(), OutboxError> {
        if offers.is_empty() {
            return Ok(());
        }
        let endpoints = self.private.as_ref().unwrap_or(&self.chain.endpoints);
        let offering: Vec<BoxFuture<'_, OfferOutcome>> =
            offers.iter().map(|offer| Box::pin(self.offer_one(endpoints, offer)) as BoxFuture<'_, _>).collect();
        let outcomes: Vec<OfferOutcome> =
            futures::stream::iter(offering).buffered(self.config.broadcast_concurrency.max(1)).collect().await;
        let mut written = Offers { now, head: seen.head.number, ..Offers::default() };
        for (offer, outcome) in offers.into_iter().zip(outcomes) {
            if outcome == OfferOutcome::Accepted {
                report.broadcast += 1;
                match offer.intent {
                    Some((id, State::Signed, _)) => written.transitions.push(Transition {
                        id,
                        from: State::Signed,
                        to: State::Broadcast,
                        at: now,
                        tx_hash: Some(offer.hash),
                        nonce: Some(offer.nonce),
                        note: None,
                    }),
                    Some((id, _, true)) => written.cleared_holds.push(id),
                    _ => {}
                }
            } else {
                report.broadcast_failed += 1;
            }
            written.results.push((offer.hash, outcome));
        }
        self.labels.offers("accepted", report.broadcast);
        self.labels.offers("failed", report.broadcast_failed);
        written.position = self.position(now, written.transitions.len());
        let (scope, transitions) = (self.scope, written.transitions.clone());
        self.write(fence, "outbox.offered", move |tx| Box::pin(async move { scope.record_offers(tx, &written).await })).await?;
        self.publish(transitions);
        Ok(())
    }

    async fn offer_one(&self, endpoints: &Endpoints, offer: &Offer) -> OfferOutcome {
        let Err(error) = endpoints.send_raw_transaction(&offer.raw).await else { return OfferOutcome::Accepted };
        let Some(rejection) = Rejection::of(&error) else { return OfferOutcome::Accepted };
        tracing::warn!(chain = %self.config.chain, account = %self.scope.account, nonce = offer.nonce, tx_hash = %offer.hash, %error,
            "a node did not take the transaction");
        OfferOutcome::Failed(rejection, text_for_row(&error))
    }

    /// Commits the changes of a stage and then publishes its transitions.
    pub(crate) async fn commit(&self, fence: &Fence, name: &'static str, mut changes: Changes) -> Result<(), OutboxError> {
        if changes.is_empty() {
            return Ok(());
        }
        changes.position = self.position(changes.now, changes.transitions.len());
        let (scope, transitions) = (self.scope, changes.transitions.clone());
        self.write(fence, name, move |tx| Box::pin(async move { scope.commit(tx, &changes).await })).await?;
        self.publish(transitions);
        Ok(())
    }

    async fn wake_held(&self, fence: &Fence) -> Result<(), OutboxError> {
        let scope = self.scope;
        if self.scope.latest_retry(&self.store).await?.is_none_or(|at| at.0 == 0) {
            return Ok(());
        }
        self.write(fence, "outbox.wake", move |tx| Box::pin(async move { Ok(scope.wake_held(tx).await?) })).await
    }

    async fn write<F>(&self, fence: &Fence, name: &'static str, job: F) -> Result<(), OutboxError>
    where
        F: for<'t> FnOnce(&'t mut windlass_store::Tx<'_>) -> BoxFuture<'t, Result<(), Broken>> + Send + 'static,
    {
        match self.store.write_fenced(fence, name, job).await {
            Ok(()) => Ok(()),
            Err(Broken::Store(StoreError::Fenced { .. })) => Err(OutboxError::LeaseLost { lease: self.lease_name.clone() }),
            Err(broken) => Err(broken.into_error(&self.config.chain, &self.scope)),
        }
    }

    fn publish(&self, transitions: Vec<Transition>) {
        for transition in transitions {
            self.labels.transition(&transition.to);
            tracing::info!(
                chain = %self.config.chain, account = %self.scope.account, intent = %transition.id,
                nonce = transition.nonce, tx_hash = transition.tx_hash.map(tracing::field::display),
                from = transition.from.name(), state = %transition.to, note = transition.note, "intent"
            );
            // Without a subscriber nobody is told; that is no error.
            let _ = self.events.send(transition);
        }
    }
}

/// A look at the chain that is under way; it ends with its handle.
pub(crate) struct Looking(tokio::task::JoinHandle<Result<Look, ChainError>>);

impl Looking {
    /// The look, as soon as it is there. May be dropped and called again.
    pub(crate) async fn result(&mut self) -> Option<Result<Look, ChainError>> {
        (&mut self.0).await.ok()
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What of a plan was signed, and the intents whose signature failed.
#[derive(Default)]
struct SignedPlan {
    signed: Vec<(Sign, Signed)>,
    failed: Vec<(IntentId, Hold)>,
}

struct Body {
    to: Option<alloy_primitives::Address>,
    value: alloy_primitives::U256,
    data: alloy_primitives::Bytes,
}

/// Stored bytes to offer to the nodes.
struct Offer {
    hash: alloy_primitives::B256,
    nonce: u64,
    raw: alloy_primitives::Bytes,
    /// Owner, its stored state, and whether it is held.
    intent: Option<(IntentId, State, bool)>,
}

/// A node's words, short and without characters that a text column refuses.
fn text_for_row(error: &windlass_chain::ChainError) -> String {
    error.to_string().chars().filter(|character| *character != '\0').take(500).collect()
}
