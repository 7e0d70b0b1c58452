//! Transactions that are signed and that no node has taken yet: the account is empty, or no node answers.
//!
//! They may wait for hours. Before each further offer the provider is read again, and what has become needless meanwhile is left out: another
//! transaction is signed for the sequence, of which the chain executes at most one.

use std::collections::BTreeSet;

use windlass_store::UnixMillis;

use super::advance::FRESH_MS;
use super::lane::{BandTx, BandTxState, Slot};
use super::later;
use super::relay::{Entry, Relay};
use super::task::{State, TaskKey, Terms};

impl Relay {
    /// Tasks whose transaction is to be offered again now: the provider is to be read for them first.
    pub(super) fn offered_again(&self, now: UnixMillis) -> BTreeSet<TaskKey> {
        self.lane.waiting(now, FRESH_MS).flat_map(|(_, tx)| tx.tasks.iter().copied()).filter(|key| !self.is_gone(*key)).collect()
    }

    /// Sequences that are not offered now: the provider was not read for them yet, or their transaction is to be replaced.
    pub(super) fn kept_back(&self, now: UnixMillis) -> BTreeSet<u64> {
        let last = self.lane.open.keys().next_back().copied();
        let kept = |(sequence, tx): &(u64, &BandTx)| {
            if !self.is_read(tx, now) {
                return true;
            }
            // Nothing is left of the last one: it waits for a task that is to be paid. One before others must not hold them up.
            self.is_needless(tx) && (self.lane.signing.is_some() || Some(*sequence) == last)
        };
        self.lane.waiting(now, FRESH_MS).filter(kept).map(|(sequence, _)| sequence).collect()
    }

    /// Another transaction for the first sequence whose requests are not all wanted any more: with those that are, or with others.
    pub(super) fn sign_without_the_gone(&mut self, now: UnixMillis, candidates: &[TaskKey], terms: Terms) {
        if self.lane.signing.is_some() || self.policy.dry_run {
            return;
        }
        let needless = self.lane.waiting(now, FRESH_MS).find(|(_, tx)| self.is_read(tx, now) && self.is_needless(tx));
        let Some(tx) = needless.map(|(_, tx)| BandTx { terms, ..tx.clone() }) else { return };
        let mut keys: Vec<TaskKey> = tx.tasks.iter().filter(|key| !self.is_gone(**key)).copied().collect();
        if keys.is_empty() {
            let free = candidates.iter().filter(|key| !self.lane.is_bound(**key)).copied();
            let alone = |key: &TaskKey| self.tasks.get(key).is_some_and(|entry| entry.task.alone);
            keys = free.filter(|key| !alone(key)).take(self.policy.band_max_batch.max(1)).collect();
        }
        if !keys.is_empty() {
            self.sign_again(&tx, keys, tx.fee);
        }
    }

    /// Whether this sequence is to be used by what is signed for it: not if it is used, or if nothing is left of that.
    pub(super) fn is_waited_for(&self, sequence: u64, slot: &Slot) -> bool {
        let wanted = |tx: &BandTx| tx.state == BandTxState::Broadcast || tx.tasks.iter().any(|key| !self.is_gone(*key));
        !self.lane.is_used(sequence) && slot.newest().is_some_and(wanted)
    }

    /// The provider has said of every task that still counts how it stands.
    fn is_read(&self, tx: &BandTx, now: UnixMillis) -> bool {
        let read = |entry: &Entry| !entry.task.doubtful && entry.asking.checked_at.is_some_and(|at| later(at, FRESH_MS) > now);
        tx.tasks.iter().all(|key| self.is_gone(*key) || self.tasks.get(key).is_some_and(read))
    }

    /// Something of it is not to be paid any more, or would be refused by the provider.
    fn is_needless(&self, tx: &BandTx) -> bool {
        self.terms().is_some_and(|terms| terms != tx.terms) || tx.tasks.iter().any(|key| self.is_gone(*key))
    }

    fn is_gone(&self, key: TaskKey) -> bool {
        self.tasks.get(&key).is_none_or(|entry| entry.task.state != State::BandSigned)
    }
}
