//! Transactions that wait for a block, in the order of their arrival.

use std::collections::{HashSet, VecDeque};

use alloy_primitives::B256;

use super::transaction::Transaction;
use crate::faults::hit;

/// A transaction that waits.
#[derive(Debug)]
struct Waiting {
    transaction: Transaction,
    /// First block that may take it.
    ready_at: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Mempool {
    waiting: VecDeque<Waiting>,
    hashes: HashSet<B256>,
}

impl Mempool {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn contains(&self, hash: &B256) -> bool {
        self.hashes.contains(hash)
    }

    pub(crate) fn add(&mut self, transaction: Transaction, ready_at: u64) {
        self.hashes.insert(transaction.hash);
        self.waiting.push_back(Waiting { transaction, ready_at });
    }

    /// Takes what the block of this height holds: in order, up to the gas of a block. Of a sender whose transaction stays, or is dropped by
    /// the fault, all later ones stay.
    pub(crate) fn reap(&mut self, height: u64, max_gas: u64, drop: &mut u64) -> Vec<Transaction> {
        let (mut taken, mut left) = (Vec::new(), VecDeque::new());
        let mut stays: HashSet<String> = HashSet::new();
        let (mut gas, mut full) = (0u64, false);
        for waiting in std::mem::take(&mut self.waiting) {
            let Waiting { transaction, ready_at } = &waiting;
            let sum = gas.saturating_add(transaction.gas_limit);
            full = full || sum > max_gas;
            if full || *ready_at > height || stays.contains(&transaction.sender) {
                stays.insert(transaction.sender.clone());
                left.push_back(waiting);
                continue;
            }
            self.hashes.remove(&transaction.hash);
            if hit(drop) {
                stays.insert(transaction.sender.clone());
                continue;
            }
            gas = sum;
            taken.push(waiting.transaction);
        }
        self.waiting = left;
        taken
    }

    /// Keeps only what `check` accepts, asked in order.
    pub(crate) fn recheck(&mut self, mut check: impl FnMut(&Transaction) -> bool) {
        let Self { waiting, hashes } = self;
        waiting.retain(|waiting| {
            let keep = check(&waiting.transaction);
            if !keep {
                hashes.remove(&waiting.transaction.hash);
            }
            keep
        });
    }
}
