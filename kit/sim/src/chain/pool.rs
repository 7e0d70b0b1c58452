//! The mempool, with the rules of go-ethereum's legacy pool as far as a sender can see them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};

use super::transaction::SignedTransaction;

/// Limits of the pool. The default is that of a default go-ethereum node, with a tip floor of 1 wei.
#[derive(Clone, Debug)]
pub struct PoolRules {
    /// By how many percent both fee fields must rise to replace a transaction (`--txpool.pricebump`).
    pub price_bump_percent: u128,
    /// Lowest tip in wei that a transaction from outside may offer (`--txpool.pricelimit`).
    pub tip_floor: u128,
    /// Executable transactions that one account may have; `None` is no limit.
    pub account_slots: Option<usize>,
    /// Transactions behind a nonce gap that one account may have; those with the highest nonces are dropped (`--txpool.accountqueue`).
    pub account_queue: usize,
    /// All transactions; when full the cheapest goes or the newcomer is refused (`--txpool.globalslots` + `globalqueue`).
    pub total: usize,
    /// Highest fee in wei that a transaction may cost, `--rpc.txfeecap`; `None` is no limit.
    pub fee_cap: Option<U256>,
}

impl Default for PoolRules {
    fn default() -> Self {
        Self { price_bump_percent: 10, tip_floor: 1, account_slots: None, account_queue: 64, total: 5_120 + 1_024, fee_cap: None }
    }
}

/// Why the pool refused a transaction. The display form is what go-ethereum answers, as clients match on those words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a transaction.
    #[error("rlp: value size exceeds available input length")]
    Undecodable,
    /// Blob transactions are not simulated.
    #[error("transaction type not supported")]
    UnsupportedType,
    /// Signed for another chain.
    #[error("invalid chain id for signer: have {found} want {expected}")]
    WrongChain {
        /// Chain id of this chain.
        expected: u64,
        /// Chain id that was signed.
        found: u64,
    },
    /// The signature recovers to nobody.
    #[error("invalid sender")]
    InvalidSender,
    /// The same bytes are in the pool.
    #[error("already known")]
    AlreadyKnown,
    /// The nonce is used.
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow {
        /// Next nonce of the account by the state.
        next: u64,
        /// Nonce of the transaction.
        nonce: u64,
    },
    /// Tip under the floor of the node.
    #[error("transaction underpriced: gas tip cap {tip}, minimum needed {floor}")]
    Underpriced {
        /// Tip of the transaction in wei.
        tip: u128,
        /// Floor of the node in wei.
        floor: u128,
    },
    /// Another transaction with this nonce is there and the fees do not rise enough.
    #[error("replacement transaction underpriced")]
    ReplacementUnderpriced,
    /// The balance does not cover this transaction.
    #[error(
        "insufficient funds for gas * price + value: balance {balance}, tx cost {cost}, overshot {}",
        .cost.saturating_sub(*.balance)
    )]
    InsufficientFunds {
        /// Balance in wei.
        balance: U256,
        /// Cost of the transaction in wei.
        cost: U256,
    },
    /// The balance does not cover this transaction and those that wait already.
    #[error(
        "insufficient funds for gas * price + value: balance {balance}, queued cost {queued}, tx cost {cost}, overshot {}",
        .queued.saturating_add(*.cost).saturating_sub(*.balance)
    )]
    InsufficientFundsWithQueue {
        /// Balance in wei.
        balance: U256,
        /// Cost of the account's transactions in the pool, in wei.
        queued: U256,
        /// Cost of the transaction in wei.
        cost: U256,
    },
    /// Tip above the fee cap.
    #[error("max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: {tip}, maxFeePerGas: {cap}")]
    TipAboveFeeCap {
        /// Tip in wei.
        tip: u128,
        /// Fee cap in wei.
        cap: u128,
    },
    /// Gas limit under the intrinsic gas.
    #[error("intrinsic gas too low: gas {gas}, minimum needed {needed}")]
    IntrinsicGas {
        /// Gas limit of the transaction.
        gas: u64,
        /// Gas needed before code runs.
        needed: u64,
    },
    /// Gas limit above the block's.
    #[error("exceeds block gas limit")]
    GasLimit,
    /// The account has all its slots in use.
    #[error("account limit exceeded: pooled {pooled} txs")]
    AccountLimit {
        /// Transactions of the account in the pool.
        pooled: usize,
    },
    /// The pool is full of better transactions.
    #[error("txpool is full")]
    Full,
    /// The fee is above the cap of the node.
    #[error("tx fee exceeds the configured cap")]
    FeeCap,
}

/// What the pool needs to know of the chain to judge a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) next_nonce: u64,
    pub(crate) balance: U256,
    pub(crate) block_gas_limit: u64,
}

/// Transactions that wait, by account and nonce. Those from the account's next nonce on without a gap are executable.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    by_account: BTreeMap<Address, BTreeMap<u64, Arc<SignedTransaction>>>,
    by_hash: HashMap<B256, Arc<SignedTransaction>>,
}

impl Pool {
    pub(crate) fn get(&self, hash: &B256) -> Option<&Arc<SignedTransaction>> {
        self.by_hash.get(hash)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_hash.len()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<SignedTransaction>> {
        self.by_account.values().flat_map(BTreeMap::values)
    }

    pub(crate) fn accounts(&self) -> Vec<Address> {
        self.by_account.keys().copied().collect()
    }

    pub(crate) fn at(&self, account: Address, nonce: u64) -> Option<&Arc<SignedTransaction>> {
        self.by_account.get(&account)?.get(&nonce)
    }

    /// The transactions of `account` from `next_nonce` on, up to the first gap.
    pub(crate) fn executable(&self, account: Address, next_nonce: u64) -> Vec<Arc<SignedTransaction>> {
        let Some(list) = self.by_account.get(&account) else {
            return Vec::new();
        };
        (next_nonce..).map_while(|nonce| list.get(&nonce).cloned()).collect()
    }

    /// Adds a transaction from outside by the rules.
    pub(crate) fn add(
        &mut self,
        transaction: Arc<SignedTransaction>,
        standing: Standing,
        rules: &PoolRules,
    ) -> Result<(), Refusal> {
        if self.by_hash.contains_key(&transaction.hash) {
            return Err(Refusal::AlreadyKnown);
        }
        check_static(&transaction, standing, rules)?;
        self.check_account(&transaction, standing, rules)?;
        if self.len() >= rules.total && self.at(transaction.sender, transaction.nonce).is_none() {
            self.make_room(&transaction)?;
        }
        let account = transaction.sender;
        self.insert(transaction);
        self.trim_queue(account, standing.next_nonce, rules.account_queue);
        Ok(())
    }

    fn check_account(&self, transaction: &SignedTransaction, standing: Standing, rules: &PoolRules) -> Result<(), Refusal> {
        let cost = transaction.cost();
        if standing.balance < cost {
            return Err(Refusal::InsufficientFunds { balance: standing.balance, cost });
        }
        let replaced = self.at(transaction.sender, transaction.nonce);
        let executable = self.executable(transaction.sender, standing.next_nonce);
        let mut queued = executable.iter().fold(U256::ZERO, |sum, other| sum.saturating_add(other.cost()));
        if let Some(old) = replaced {
            let enough = |new: u128, old: u128| new > old && new >= old.saturating_mul(100 + rules.price_bump_percent) / 100;
            if !enough(transaction.max_fee_per_gas, old.max_fee_per_gas)
                || !enough(transaction.max_priority_fee_per_gas, old.max_priority_fee_per_gas)
            {
                return Err(Refusal::ReplacementUnderpriced);
            }
            if executable.iter().any(|other| other.hash == old.hash) {
                queued = queued.saturating_sub(old.cost());
            }
        } else if rules.account_slots.is_some_and(|slots| executable.len() >= slots) {
            return Err(Refusal::AccountLimit { pooled: executable.len() });
        }
        let needed = queued.saturating_add(cost);
        if standing.balance < needed {
            return Err(Refusal::InsufficientFundsWithQueue { balance: standing.balance, queued, cost });
        }
        Ok(())
    }

    /// Drops the cheapest transaction if it is cheaper than the newcomer. Only the last of its account may go.
    fn make_room(&mut self, newcomer: &SignedTransaction) -> Result<(), Refusal> {
        let cheapest = self
            .by_account
            .values()
            .filter_map(|list| list.values().next_back())
            .min_by_key(|other| (other.max_fee_per_gas, other.hash))
            .cloned();
        match cheapest {
            Some(other) if other.max_fee_per_gas < newcomer.max_fee_per_gas => {
                self.remove(&other.hash);
                Ok(())
            }
            _ => Err(Refusal::Full),
        }
    }

    fn trim_queue(&mut self, account: Address, next_nonce: u64, limit: usize) {
        let executable = self.executable(account, next_nonce).len();
        let Some(list) = self.by_account.get(&account) else {
            return;
        };
        let queued = list.len().saturating_sub(executable);
        let excess: Vec<B256> =
            list.values().rev().take(queued.saturating_sub(limit)).map(|transaction| transaction.hash).collect();
        for hash in excess {
            self.remove(&hash);
        }
    }

    /// Puts a transaction in without a check; one with the same nonce is displaced.
    pub(crate) fn insert(&mut self, transaction: Arc<SignedTransaction>) {
        let list = self.by_account.entry(transaction.sender).or_default();
        if let Some(old) = list.insert(transaction.nonce, transaction.clone()) {
            self.by_hash.remove(&old.hash);
        }
        self.by_hash.insert(transaction.hash, transaction);
    }

    pub(crate) fn remove(&mut self, hash: &B256) -> Option<Arc<SignedTransaction>> {
        let transaction = self.by_hash.remove(hash)?;
        if let Some(list) = self.by_account.get_mut(&transaction.sender) {
            list.remove(&transaction.nonce);
            if list.is_empty() {
                self.by_account.remove(&transaction.sender);
            }
        }
        Some(transaction)
    }

    /// What a new head does to an account: used nonces go, transactions that it cannot pay go, the rest of them waits behind the gap.
    pub(crate) fn settle(&mut self, account: Address, next_nonce: u64, balance: U256) {
        let Some(list) = self.by_account.get(&account) else {
            return;
        };
        let gone: Vec<B256> = list
            .values()
            .filter(|transaction| transaction.nonce < next_nonce || transaction.cost() > balance)
            .map(|transaction| transaction.hash)
            .collect();
        for hash in gone {
            self.remove(&hash);
        }
    }
}

/// The checks that need neither the pool nor the account's other transactions.
fn check_static(transaction: &SignedTransaction, standing: Standing, rules: &PoolRules) -> Result<(), Refusal> {
    if transaction.gas_limit > standing.block_gas_limit {
        return Err(Refusal::GasLimit);
    }
    if transaction.max_priority_fee_per_gas > transaction.max_fee_per_gas {
        return Err(Refusal::TipAboveFeeCap { tip: transaction.max_priority_fee_per_gas, cap: transaction.max_fee_per_gas });
    }
    let needed = transaction.intrinsic_gas();
    if transaction.gas_limit < needed {
        return Err(Refusal::IntrinsicGas { gas: transaction.gas_limit, needed });
    }
    if transaction.max_priority_fee_per_gas < rules.tip_floor {
        return Err(Refusal::Underpriced { tip: transaction.max_priority_fee_per_gas, floor: rules.tip_floor });
    }
    let fee = transaction.cost().saturating_sub(transaction.value);
    if rules.fee_cap.is_some_and(|cap| fee > cap) {
        return Err(Refusal::FeeCap);
    }
    if transaction.nonce < standing.next_nonce {
        return Err(Refusal::NonceTooLow { next: standing.next_nonce, nonce: transaction.nonce });
    }
    Ok(())
}
