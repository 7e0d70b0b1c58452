//! Transactions that wait for a block.
//!
//! A transaction is *pending* when its nonce continues the sender's without a gap, else *queued*. This follows from the nonces
//! alone, so it is computed when asked and never stored.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use alloy_consensus::Transaction;
use alloy_primitives::map::DefaultHashBuilder;
use alloy_primitives::{Address, B256};

use crate::block::SignedTx;
use crate::error::JsonRpcError;

type Map<K, V> = HashMap<K, V, DefaultHashBuilder>;

#[derive(Clone, Debug)]
struct Entry {
    tx: Arc<SignedTx>,
    /// Order of arrival; breaks ties between equal fees.
    arrival: u64,
}

impl Entry {
    /// The larger goes first.
    fn rank(&self) -> (u128, Reverse<u64>) {
        (self.tx.envelope.max_fee_per_gas(), Reverse(self.arrival))
    }
}

/// A fee that replaces a waiting transaction of the same sender and nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replacement {
    /// Any higher fee cap, as `anvil` does.
    AnyHigher,
    /// Fee cap and tip both higher by so many percent, as `geth` does (its default is 10).
    Percent(u64),
}

impl Replacement {
    fn allows(self, old: &SignedTx, new: &SignedTx) -> bool {
        let (old, new) = (&old.envelope, &new.envelope);
        match self {
            Self::AnyHigher => new.max_fee_per_gas() > old.max_fee_per_gas(),
            Self::Percent(percent) => {
                let enough = |old: u128, new: u128| {
                    let needed = old.saturating_mul(u128::from(percent).saturating_add(100)).div_ceil(100);
                    new > old && new >= needed
                };
                let tip = |tx: &alloy_consensus::TxEnvelope| tx.max_priority_fee_per_gas().unwrap_or(tx.max_fee_per_gas());
                enough(old.max_fee_per_gas(), new.max_fee_per_gas()) && enough(tip(old), tip(new))
            }
        }
    }
}

/// The waiting transactions.
#[derive(Debug)]
pub(crate) struct Pool {
    senders: Map<Address, BTreeMap<u64, Entry>>,
    places: Map<B256, (Address, u64)>,
    arrivals: u64,
    replacement: Replacement,
}

impl Pool {
    pub(crate) fn new(replacement: Replacement) -> Self {
        Self { senders: Map::default(), places: Map::default(), arrivals: 0, replacement }
    }

    /// Adds a validated transaction.
    pub(crate) fn add(&mut self, tx: Arc<SignedTx>) -> Result<(), JsonRpcError> {
        if self.places.contains_key(&tx.hash) {
            return Err(JsonRpcError::rejected("transaction already imported"));
        }
        let nonce = tx.envelope.nonce();
        let waiting = self.senders.entry(tx.from).or_default();
        if let Some(old) = waiting.get(&nonce) {
            if !self.replacement.allows(&old.tx, &tx) {
                return Err(JsonRpcError::rejected("replacement transaction underpriced"));
            }
            self.places.remove(&old.tx.hash);
        }
        self.places.insert(tx.hash, (tx.from, nonce));
        self.arrivals += 1;
        waiting.insert(nonce, Entry { tx, arrival: self.arrivals });
        Ok(())
    }

    pub(crate) fn get(&self, hash: B256) -> Option<&Arc<SignedTx>> {
        let (sender, nonce) = self.places.get(&hash)?;
        self.senders.get(sender)?.get(nonce).map(|entry| &entry.tx)
    }

    pub(crate) fn remove(&mut self, hash: B256) -> Option<Arc<SignedTx>> {
        let (sender, nonce) = self.places.remove(&hash)?;
        let waiting = self.senders.get_mut(&sender)?;
        let removed = waiting.remove(&nonce);
        if waiting.is_empty() {
            self.senders.remove(&sender);
        }
        removed.map(|entry| entry.tx)
    }

    pub(crate) fn remove_sender(&mut self, sender: Address) {
        for entry in self.senders.remove(&sender).unwrap_or_default().into_values() {
            self.places.remove(&entry.tx.hash);
        }
    }

    /// Removes what can no longer be mined because the sender's nonce is at `nonce`.
    pub(crate) fn forget_below(&mut self, sender: Address, nonce: u64) {
        let Some(waiting) = self.senders.get_mut(&sender) else { return };
        while let Some(first) = waiting.first_entry().filter(|first| *first.key() < nonce) {
            self.places.remove(&first.remove().tx.hash);
        }
        if waiting.is_empty() {
            self.senders.remove(&sender);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.senders.clear();
        self.places.clear();
    }

    /// The nonce after the last pending transaction of `sender`, whose account is at `nonce`.
    pub(crate) fn next_nonce(&self, sender: Address, nonce: u64) -> u64 {
        let mut next = nonce;
        for waiting in self.senders.get(&sender).into_iter().flat_map(|waiting| waiting.range(nonce..)) {
            if *waiting.0 != next {
                break;
            }
            next = next.saturating_add(1);
        }
        next
    }

    /// Pending transactions in the order in which they go into a block: highest fee cap first, the earlier one of equals, nonces
    /// of a sender in order. `nonce_of` gives the nonce of an account.
    pub(crate) fn pending(&self, nonce_of: impl Fn(Address) -> u64) -> Vec<Arc<SignedTx>> {
        let mut next = BinaryHeap::new();
        let mut ordered = Vec::new();
        for (sender, waiting) in &self.senders {
            let nonce = nonce_of(*sender);
            next.extend(waiting.get(&nonce).map(|entry| (entry.rank(), *sender, nonce)));
        }
        while let Some((_, sender, nonce)) = next.pop() {
            let Some(waiting) = self.senders.get(&sender) else { continue };
            ordered.extend(waiting.get(&nonce).map(|entry| entry.tx.clone()));
            let following = nonce.checked_add(1).and_then(|nonce| Some((waiting.get(&nonce)?.rank(), sender, nonce)));
            next.extend(following);
        }
        ordered
    }

    /// Pending and queued transactions, by sender and nonce.
    pub(crate) fn content(&self, nonce_of: impl Fn(Address) -> u64) -> (Vec<Arc<SignedTx>>, Vec<Arc<SignedTx>>) {
        let (mut pending, mut queued) = (Vec::new(), Vec::new());
        for (sender, waiting) in &self.senders {
            let gap = self.next_nonce(*sender, nonce_of(*sender));
            for (nonce, entry) in waiting {
                let list = if *nonce < gap { &mut pending } else { &mut queued };
                list.push(entry.tx.clone());
            }
        }
        (pending, queued)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloy_consensus::{Signed, TxEip1559, TxEnvelope};
    use alloy_primitives::Signature;

    fn tx(sender: u8, nonce: u64, max_fee: u128, tip: u128) -> Arc<SignedTx> {
        let inner =
            TxEip1559 { nonce, max_fee_per_gas: max_fee, max_priority_fee_per_gas: tip, gas_limit: 21_000, ..Default::default() };
        let hash = alloy_primitives::keccak256([&[sender][..], &nonce.to_be_bytes(), &max_fee.to_be_bytes()].concat());
        let envelope = TxEnvelope::from(Signed::new_unchecked(inner, Signature::test_signature(), hash));
        Arc::new(SignedTx { envelope, hash, from: Address::repeat_byte(sender) })
    }

    fn order(pool: &Pool) -> Vec<(u8, u64)> {
        pool.pending(|_| 0).iter().map(|tx| (tx.from.as_slice().first().copied().unwrap(), tx.envelope.nonce())).collect()
    }

    #[test]
    fn highest_fee_goes_first_and_nonces_stay_in_order() {
        let mut pool = Pool::new(Replacement::AnyHigher);
        for item in [tx(1, 1, 900, 1), tx(1, 0, 10, 1), tx(2, 0, 50, 1), tx(3, 0, 50, 1), tx(4, 2, 999, 1)] {
            pool.add(item).unwrap();
        }
        assert_eq!(order(&pool), [(2, 0), (3, 0), (1, 0), (1, 1)]);
        let (pending, queued) = pool.content(|_| 0);
        assert_eq!((pending.len(), queued.len()), (4, 1));
        assert_eq!(pool.next_nonce(Address::repeat_byte(1), 0), 2);
        assert_eq!(pool.next_nonce(Address::repeat_byte(4), 0), 0);
    }

    #[test]
    fn replacement_follows_the_rule() {
        let mut pool = Pool::new(Replacement::AnyHigher);
        let first = tx(1, 0, 100, 10);
        pool.add(first.clone()).unwrap();
        assert_eq!(pool.add(first.clone()).unwrap_err().message, "transaction already imported");
        assert_eq!(pool.add(tx(1, 0, 99, 99)).unwrap_err().message, "replacement transaction underpriced");
        pool.add(tx(1, 0, 101, 1)).unwrap();
        assert!(pool.get(first.hash).is_none());

        let mut pool = Pool::new(Replacement::Percent(10));
        pool.add(tx(1, 0, 100, 10)).unwrap();
        assert!(pool.add(tx(1, 0, 109, 11)).is_err());
        assert!(pool.add(tx(1, 0, 110, 10)).is_err());
        pool.add(tx(1, 0, 110, 11)).unwrap();
    }

    #[test]
    fn removal_leaves_no_trace() {
        let mut pool = Pool::new(Replacement::AnyHigher);
        let (a, b) = (tx(1, 0, 1, 1), tx(1, 1, 1, 1));
        pool.add(a.clone()).unwrap();
        pool.add(b.clone()).unwrap();
        pool.forget_below(a.from, 1);
        assert!(pool.get(a.hash).is_none() && pool.get(b.hash).is_some());
        pool.remove(b.hash).unwrap();
        assert!(pool.is_empty() && pool.senders.is_empty());
    }
}
