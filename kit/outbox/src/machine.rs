//! The decisions of the outbox, as pure functions: no IO, no clock, no randomness.
//!
//! [`settle`] compares open nonces with what was found on the chain; [`plan`] decides what to sign, what to offer to the
//! nodes, what to drop and what to hold. The shell (`turn.rs`) reads rows and chain into a [`View`], calls them, signs, commits
//! everything in one transaction, and only then broadcasts.
//!
//! Invariants, checked by the property tests in `machine/tests.rs`:
//! - a nonce is given to an intent at most once, and only one that no row has;
//! - nothing is signed for a nonce below the chain's count, nor at or beyond count + `max_in_flight`;
//! - a first attempt carries the intent; every later attempt of the nonce beats the fees of all before it;
//! - after a plan no nonce between the chain's count and the highest signed one is without a row, as far as the window
//!   reaches and the account can pay;
//! - worst-case cost of everything in flight never exceeds balance or the day's budget by what a plan adds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alloy_primitives::{B256, U256};
use windlass_store::clock::UnixMillis;

use crate::config::{Limits, OutboxConfig};
use crate::fees::{self, Fees, Market};
use crate::model::{FeePolicy, Hold, IntentId, Reason, State};
use crate::rejection::Rejection;

/// What a signed transaction does with its nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Carries the intent.
    Send,
    /// Zero-value self transfer that takes the place of the intent.
    Cancel,
    /// Zero-value self transfer for a nonce that no intent has.
    Filler,
}

impl Kind {
    /// The name stored in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Cancel => "cancel",
            Self::Filler => "filler",
        }
    }

    /// Reverse of [`Kind::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Send, Self::Cancel, Self::Filler].into_iter().find(|kind| kind.name() == name)
    }
}

/// One signed transaction of a nonce, and what became of it at the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its hash.
    pub hash: B256,
    /// What it does.
    pub kind: Kind,
    /// What it offers per gas.
    pub fees: Fees,
    /// Its gas limit.
    pub gas_limit: u64,
    /// When a node accepted it first.
    pub accepted_at: Option<UnixMillis>,
    /// Head when a node accepted it first.
    pub accepted_block: Option<u64>,
    /// When it was offered last; `None` also after a reorganisation, so that it is offered at once.
    pub offered_at: Option<UnixMillis>,
    /// Failed offers in a row.
    pub failures: u32,
    /// Why the last offer failed.
    pub rejection: Option<(Rejection, String)>,
}

/// The part of an intent that decisions need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveIntent {
    /// Identity.
    pub id: IntentId,
    /// Stored state.
    pub state: State,
    /// Value in wei.
    pub value: U256,
    /// Fee policy.
    pub fee: FeePolicy,
    /// Gas limit asked for by the caller.
    pub gas_limit: Option<u64>,
    /// Deadline.
    pub deadline: Option<UnixMillis>,
    /// A cancellation was asked for.
    pub cancel: bool,
    /// An operator asked for a replacement with higher fees.
    pub bump: bool,
    /// Drop it when its simulation reverts.
    pub simulate: bool,
    /// The hold stored with it.
    pub hold: Option<Hold>,
}

/// A nonce that is signed and not in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The nonce.
    pub nonce: u64,
    /// The intent that owns it; `None` for a filler.
    pub intent: Option<LiveIntent>,
    /// All signed transactions of the nonce, oldest first. Never empty.
    pub attempts: Vec<Attempt>,
}

impl Slot {
    /// Highest value of each fee field over all attempts: what a replacement must beat.
    pub fn beaten(&self) -> Fees {
        let first = Fees { max_fee: 0, priority_fee: 0, legacy: self.attempts.last().is_some_and(|a| a.fees.legacy) };
        self.attempts.iter().fold(first, |highest, attempt| Fees {
            max_fee: highest.max_fee.max(attempt.fees.max_fee),
            priority_fee: highest.priority_fee.max(attempt.fees.priority_fee),
            legacy: highest.legacy,
        })
    }

    /// Worst-case wei that this nonce can cost: the dearest of its attempts.
    pub fn commitment(&self) -> U256 {
        let value = self.intent.as_ref().map_or(U256::ZERO, |intent| intent.value);
        let cost = |attempt: &Attempt| match attempt.kind {
            Kind::Send => value.saturating_add(fee_of(attempt.fees, attempt.gas_limit)),
            Kind::Cancel | Kind::Filler => fee_of(attempt.fees, attempt.gas_limit),
        };
        self.attempts.iter().map(cost).max().unwrap_or(U256::ZERO)
    }

    /// Worst-case fee in wei of this nonce.
    pub fn fee_commitment(&self) -> U256 {
        self.attempts.iter().map(|attempt| fee_of(attempt.fees, attempt.gas_limit)).max().unwrap_or(U256::ZERO)
    }
}

/// What is known about the gas of an intent that waits for a nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gas {
    /// Not asked, or asked too recently: leave the intent alone in this round.
    Unknown,
    /// Gas limit to sign with.
    Limit(u64),
    /// The call reverts on the state the endpoint saw. `settled`: no transaction of ours that could change this was in
    /// flight at that time, so the verdict counts.
    Reverts {
        /// Decoded reason.
        reason: String,
        /// Whether the verdict counts.
        settled: bool,
    },
    /// No endpoint answered.
    Failed {
        /// What they said.
        message: String,
    },
}

/// An intent that waits for a nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The intent.
    pub intent: LiveIntent,
    /// Its gas.
    pub gas: Gas,
}

/// What was found on the chain about a nonce below the account's transaction count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// One of our attempts is in a canonical block.
    Ours(Inclusion),
    /// A transaction that is not ours used the nonce. `buried`: at finality depth.
    Foreign {
        /// Its hash, when it was found.
        hash: Option<B256>,
        /// Whether it can be taken as unchangeable.
        buried: bool,
    },
    /// Nothing certain: an endpoint lags or did not answer.
    Unclear,
}

/// A transaction of ours in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inclusion {
    /// Transaction hash.
    pub hash: B256,
    /// Block number.
    pub block_number: u64,
    /// Block hash.
    pub block_hash: B256,
    /// Receipt status.
    pub success: bool,
    /// Fee paid in wei.
    pub fee_paid: U256,
    /// Why it reverted, if it did.
    pub revert_reason: Option<String>,
}

/// Everything that a round knows.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Time of the round.
    pub now: UnixMillis,
    /// Number of the head.
    pub head: u64,
    /// Transaction count of the account at the head.
    pub count: u64,
    /// Balance of the account in wei.
    pub balance: U256,
    /// What the chain asks per gas.
    pub market: Market,
    /// Signed and not included, by nonce.
    pub open: Vec<Slot>,
    /// Nonces from `count` on that have a row of any kind.
    pub covered: BTreeSet<u64>,
    /// Lowest nonce of any row: below it the account was used before this outbox existed, and nothing is a gap.
    pub lowest: u64,
    /// One above the highest nonce of any row; 0 without rows.
    pub next: u64,
    /// Intents that wait for a nonce, in the order of recording.
    pub waiting: Vec<Waiting>,
    /// Fees paid today in wei.
    pub spent_today: U256,
}

/// What follows from a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The nonce is in a block.
    Included {
        /// The nonce.
        nonce: u64,
        /// Where and how.
        inclusion: Inclusion,
    },
    /// A buried foreign transaction used the nonce: its intent goes back to `Recorded`, or is dropped when it was to be
    /// cancelled anyway.
    Released {
        /// The nonce.
        nonce: u64,
        /// The foreign transaction.
        foreign: Option<B256>,
    },
    /// The nonce seems to be used by a foreign transaction that may still go away.
    Taken {
        /// The nonce.
        nonce: u64,
    },
}

/// Decides what the findings mean for the open nonces.
///
/// An unclear finding decides nothing: that a receipt is missing is never taken as proof that a transaction failed.
pub fn settle(open: &[Slot], findings: &BTreeMap<u64, Finding>) -> Vec<Settlement> {
    open.iter()
        .filter_map(|slot| {
            let nonce = slot.nonce;
            match findings.get(&nonce)? {
                // Only hashes that we signed for this very nonce count.
                Finding::Ours(inclusion) if slot.attempts.iter().any(|a| a.hash == inclusion.hash) => {
                    Some(Settlement::Included { nonce, inclusion: inclusion.clone() })
                }
                Finding::Foreign { hash, buried: true } => Some(Settlement::Released { nonce, foreign: *hash }),
                Finding::Foreign { buried: false, .. } => Some(Settlement::Taken { nonce }),
                Finding::Ours(_) | Finding::Unclear => None,
            }
        })
        .collect()
}

/// Something to sign, and its nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// The nonce.
    pub nonce: u64,
    /// The intent that owns the nonce; `None` for a filler.
    pub intent: Option<IntentId>,
    /// What to sign.
    pub kind: Kind,
    /// What to offer per gas.
    pub fees: Fees,
    /// Gas limit.
    pub gas_limit: u64,
    /// The nonce has no row yet.
    pub new_nonce: bool,
}

/// What a round wants done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Intents without a nonce that end here.
    pub drop: Vec<(IntentId, Reason)>,
    /// Holds that changed: `None` ends a hold.
    pub holds: Vec<(IntentId, Option<Hold>)>,
    /// What to sign, in nonce order within new nonces.
    pub sign: Vec<Sign>,
    /// Stored bytes to offer to the nodes, in nonce order.
    pub offer: Vec<B256>,
}

/// Decides what to sign, offer, hold and drop.
pub fn plan(config: &OutboxConfig, view: &View) -> Plan {
    let mut planner = Planner::new(config, view);
    for slot in &view.open {
        planner.tend(slot);
    }
    planner.assign();
    planner.plan
}

/// How long to wait after so many failures in a row.
pub fn backoff(config: &OutboxConfig, failures: u32) -> Duration {
    let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    config.backoff_min.saturating_mul(factor).min(config.backoff_max)
}

/// Worst-case fee in wei.
pub(crate) fn fee_of(fees: Fees, gas_limit: u64) -> U256 {
    U256::from(fees.max_fee).saturating_mul(U256::from(gas_limit))
}

struct Planner<'a> {
    config: &'a OutboxConfig,
    view: &'a View,
    /// Balance not committed to anything in flight.
    free_balance: U256,
    /// Today's budget not spent and not committed.
    free_budget: Option<U256>,
    budget_used: U256,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(config: &'a OutboxConfig, view: &'a View) -> Self {
        let sum = |total: U256, part: U256| total.saturating_add(part);
        let committed = view.open.iter().map(Slot::commitment).fold(U256::ZERO, sum);
        let fees = view.open.iter().map(Slot::fee_commitment).fold(view.spent_today, sum);
        Self {
            config,
            view,
            free_balance: view.balance.saturating_sub(committed),
            free_budget: config.fee.budget_per_day.map(|budget| budget.saturating_sub(fees)),
            budget_used: fees,
            plan: Plan::default(),
        }
    }

    /// Looks after one open nonce: cancel it, raise its fees, or offer its bytes again.
    fn tend(&mut self, slot: &Slot) {
        // Used on the chain: `settle` decides about it, and offering bytes would be useless.
        if slot.nonce < self.view.count {
            return;
        }
        let Some(newest) = slot.attempts.last() else { return };
        let cancelled = slot.attempts.iter().any(|attempt| attempt.kind == Kind::Cancel);
        let hold = match &slot.intent {
            Some(intent) if !cancelled && self.must_cancel(slot, intent) => {
                self.replace(slot, Kind::Cancel, &self.config.fee.limits(&FeePolicy::default()))
            }
            Some(intent) if self.must_escalate(slot, newest, &self.limits(intent, cancelled)) => {
                self.replace(slot, newest.kind, &self.limits(intent, cancelled))
            }
            None if self.must_escalate(slot, newest, &self.config.fee.limits(&FeePolicy::default())) => {
                self.replace(slot, newest.kind, &self.config.fee.limits(&FeePolicy::default()))
            }
            _ => {
                self.offer(newest);
                self.offer_hold(slot, newest)
            }
        };
        if let Some(intent) = &slot.intent {
            self.hold(intent, hold);
        }
    }

    /// A cancellation may cost what the account allows: an intent's own caps must not keep it from being stopped.
    fn limits(&self, intent: &LiveIntent, cancelled: bool) -> Limits {
        let policy = FeePolicy::default();
        self.config.fee.limits(if cancelled { &policy } else { &intent.fee })
    }

    fn must_cancel(&self, slot: &Slot, intent: &LiveIntent) -> bool {
        intent.cancel || is_past(intent.deadline, self.view.now) || permanent_rejection(slot).is_some()
    }

    fn must_escalate(&self, slot: &Slot, newest: &Attempt, limits: &Limits) -> bool {
        let view = self.view;
        if slot.intent.as_ref().is_some_and(|intent| intent.bump) {
            return true;
        }
        if let Some((Rejection::Underpriced, _)) = newest.rejection {
            return newest.offered_at.is_none_or(|at| elapsed(at, backoff(self.config, newest.failures), view.now));
        }
        let waited_time = newest.accepted_at.is_some_and(|at| elapsed(at, limits.escalate_after, view.now));
        let waited_blocks = match (limits.escalate_after_blocks, newest.accepted_block) {
            (Some(blocks), Some(block)) => view.head >= block.saturating_add(blocks),
            _ => false,
        };
        // What waits behind a lower nonce is not stuck because of its own fees.
        let first_in_line = slot.nonce == view.count;
        let below_market = newest.fees.max_fee < view.market.floor(&self.config.fee);
        (waited_time || waited_blocks) && (first_in_line || below_market)
    }

    /// Signs a transaction that beats all attempts of the nonce, or tells why not and goes on offering what there is.
    fn replace(&mut self, slot: &Slot, kind: Kind, limits: &Limits) -> Option<Hold> {
        let gas_limit = match kind {
            Kind::Send => {
                slot.attempts.iter().rev().find(|a| a.kind == Kind::Send).map_or(self.config.filler_gas_limit, |a| a.gas_limit)
            }
            Kind::Cancel | Kind::Filler => self.config.filler_gas_limit,
        };
        let beaten = slot.beaten();
        let result = fees::replacement(&self.view.market, &self.config.fee, limits, gas_limit, beaten).and_then(|fees| {
            let value = match (kind, &slot.intent) {
                (Kind::Send, Some(intent)) => intent.value,
                _ => U256::ZERO,
            };
            let fee = fee_of(fees, gas_limit);
            let more = value.saturating_add(fee).saturating_sub(slot.commitment());
            self.pay(more, fee.saturating_sub(slot.fee_commitment()))?;
            Ok(fees)
        });
        match result {
            Ok(fees) => {
                let intent = slot.intent.as_ref().map(|intent| intent.id);
                self.plan.sign.push(Sign { nonce: slot.nonce, intent, kind, fees, gas_limit, new_nonce: false });
                None
            }
            Err(hold) => {
                // A transaction that must be stopped is not offered again; one that is too cheap is.
                if let Some(newest) = slot.attempts.last()
                    && (kind != Kind::Cancel || newest.kind == Kind::Cancel)
                {
                    self.offer(newest);
                }
                Some(hold)
            }
        }
    }

    fn offer(&mut self, attempt: &Attempt) {
        let pause = if attempt.failures > 0 { backoff(self.config, attempt.failures) } else { self.config.rebroadcast_after };
        if attempt.offered_at.is_none_or(|at| elapsed(at, pause, self.view.now)) {
            self.plan.offer.push(attempt.hash);
        }
    }

    /// The hold that a failing offer means to an operator; one failure is not worth one.
    fn offer_hold(&self, slot: &Slot, attempt: &Attempt) -> Option<Hold> {
        match &attempt.rejection {
            Some((Rejection::InsufficientFunds, _)) => {
                Some(Hold::InsufficientFunds { needed: slot.commitment(), have: self.view.balance })
            }
            Some((_, message)) if attempt.failures >= 2 => Some(Hold::BroadcastFailed { message: message.clone() }),
            _ => None,
        }
    }

    /// Takes wei from what is free, or tells what is missing.
    fn pay(&mut self, total: U256, fee: U256) -> Result<(), Hold> {
        if total > self.free_balance {
            return Err(Hold::InsufficientFunds { needed: total, have: self.free_balance });
        }
        if let (Some(free), Some(budget)) = (self.free_budget, self.config.fee.budget_per_day) {
            if fee > free {
                return Err(Hold::BudgetSpent { budget, used: self.budget_used });
            }
            self.free_budget = Some(free.saturating_sub(fee));
        }
        self.budget_used = self.budget_used.saturating_add(fee);
        self.free_balance = self.free_balance.saturating_sub(total);
        Ok(())
    }

    fn hold(&mut self, intent: &LiveIntent, hold: Option<Hold>) {
        if intent.hold != hold {
            self.plan.holds.push((intent.id, hold));
        }
    }

    /// Gives nonces to waiting intents, lowest free nonce first, and fills the gaps that remain.
    fn assign(&mut self) {
        let view = self.view;
        let start = view.next.max(view.count);
        let end = view.count.saturating_add(self.config.max_in_flight);
        let in_window = view.open.iter().filter(|slot| slot.nonce >= view.count).count() as u64;
        let mut room = self.config.max_in_flight.saturating_sub(in_window);
        let gaps: BTreeSet<u64> =
            (view.count.max(view.lowest)..start.min(end)).filter(|nonce| !view.covered.contains(nonce)).collect();
        let mut free = gaps.iter().copied().chain(start..end.max(start));
        let mut used = BTreeSet::new();
        let mut nonce = free.next();
        // Room, but every nonce of the window has a row already: the chain shows less than it did before.
        let behind = room > 0 && nonce.is_none();
        for waiting in &view.waiting {
            let intent = &waiting.intent;
            if intent.cancel {
                self.plan.drop.push((intent.id, Reason::Cancelled));
                continue;
            }
            if is_past(intent.deadline, view.now) {
                self.plan.drop.push((intent.id, Reason::Deadline));
                continue;
            }
            match self.admit(waiting) {
                Ok(Some(gas_limit)) if room > 0 && nonce.is_some() => {
                    let Some(given) = nonce else { continue };
                    let limits = self.config.fee.limits(&intent.fee);
                    let paid = fees::first(&view.market, &self.config.fee, &limits, gas_limit).and_then(|fees| {
                        let fee = fee_of(fees, gas_limit);
                        self.pay(intent.value.saturating_add(fee), fee).map(|()| fees)
                    });
                    match paid {
                        Ok(fees) => {
                            let intent = Some(intent.id);
                            self.plan.sign.push(Sign {
                                nonce: given,
                                intent,
                                kind: Kind::Send,
                                fees,
                                gas_limit,
                                new_nonce: true,
                            });
                            used.insert(given);
                            nonce = free.next();
                            room -= 1;
                        }
                        Err(hold) => self.hold(intent, Some(hold)),
                    }
                }
                Ok(Some(_)) if behind => self.hold(intent, Some(Hold::ChainBehind { count: view.count, used: view.next })),
                Ok(_) => {}
                Err(Refusal::Hold(hold)) => self.hold(intent, Some(hold)),
                Err(Refusal::Drop(reason)) => self.plan.drop.push((intent.id, reason)),
            }
        }
        for nonce in gaps.difference(&used).copied() {
            self.fill(nonce);
        }
    }

    /// Gas limit to sign with; `None` when nothing is known yet.
    fn admit(&self, waiting: &Waiting) -> Result<Option<u64>, Refusal> {
        // Nodes do not estimate what the account cannot pay.
        let value = waiting.intent.value;
        if value > self.view.balance {
            return Err(Refusal::Hold(Hold::InsufficientFunds { needed: value, have: self.free_balance }));
        }
        match &waiting.gas {
            Gas::Unknown => Ok(None),
            Gas::Limit(limit) => Ok(Some(*limit)),
            Gas::Reverts { reason, settled: true } if waiting.intent.simulate => {
                Err(Refusal::Drop(Reason::Reverted { reason: reason.clone() }))
            }
            Gas::Reverts { reason, .. } => Err(Refusal::Hold(Hold::WouldRevert { reason: reason.clone() })),
            Gas::Failed { message } => Err(Refusal::Hold(Hold::EstimationFailed { message: message.clone() })),
        }
    }

    /// Closes a gap with a self transfer. Without money the gap stays until there is some.
    fn fill(&mut self, nonce: u64) {
        let gas_limit = self.config.filler_gas_limit;
        let limits = self.config.fee.limits(&FeePolicy::default());
        let fees = fees::first(&self.view.market, &self.config.fee, &limits, gas_limit)
            .and_then(|fees| self.pay(fee_of(fees, gas_limit), fee_of(fees, gas_limit)).map(|()| fees));
        if let Ok(fees) = fees {
            self.plan.sign.push(Sign { nonce, intent: None, kind: Kind::Filler, fees, gas_limit, new_nonce: true });
        }
    }
}

enum Refusal {
    Hold(Hold),
    Drop(Reason),
}

/// Why the nodes will never take the transaction of this nonce, when that is so and none ever took it.
pub fn permanent_rejection(slot: &Slot) -> Option<&str> {
    let never_accepted = slot.attempts.iter().all(|attempt| attempt.accepted_at.is_none());
    let newest = slot.attempts.iter().rev().find(|attempt| attempt.kind == Kind::Send)?;
    match &newest.rejection {
        Some((Rejection::Permanent, message)) if never_accepted => Some(message),
        _ => None,
    }
}

/// Whether `span` has gone by since `at`. A moment further ahead than the span was written by a clock that has gone back
/// since: waiting for that clock to come again could take days.
pub fn elapsed(at: UnixMillis, span: Duration, now: UnixMillis) -> bool {
    now >= at.saturating_add(span) || at > now.saturating_add(span)
}

/// Whether a deadline has passed.
pub fn is_past(deadline: Option<UnixMillis>, now: UnixMillis) -> bool {
    deadline.is_some_and(|deadline| deadline <= now)
}

/// Whether an included block is still on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The canonical block of that number has that hash.
    Canonical,
    /// The canonical block of that number has another hash: what was in it is put back.
    Orphaned,
    /// The endpoint has no block of that number (it lags, or the chain is shorter for now): wait.
    Unknown,
}

/// Judges a stored block against the canonical hash of its number.
pub fn standing(stored: B256, canonical: Option<B256>) -> Standing {
    match canonical {
        Some(hash) if hash == stored => Standing::Canonical,
        Some(_) => Standing::Orphaned,
        None => Standing::Unknown,
    }
}

/// Number of the block at which a transaction included in `block` is final: `confirmations` counts its own block.
pub fn final_block(block: u64, confirmations: u64) -> u64 {
    block.saturating_add(confirmations.max(1) - 1)
}

#[cfg(test)]
mod tests;
