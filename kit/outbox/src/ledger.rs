//! What is stored about transactions, for whoever only looks: no key is opened and nothing is sent.

use std::collections::BTreeMap;

use alloy_primitives::{Address, U256};
use serde::{Deserialize, Serialize};
use windlass_store::{Store, StoreError, Value};

use crate::model::{IntentId, IntentStatus, Transition};
use crate::tables::Scope;

/// The stored transactions of one account on one chain.
#[derive(Clone, Debug)]
pub struct Ledger {
    store: Store,
    scope: Scope,
}

/// What one day's transactions to a contract cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayFees {
    /// Transactions in a block.
    pub transactions: u64,
    /// Those of them that did not do what they should: reverted, or replaced by a cancellation.
    pub failed: u64,
    /// Fees paid, wei.
    pub fees: U256,
}

impl Ledger {
    /// Looks at the rows of an account. The tables must exist: see [`MIGRATIONS`](crate::MIGRATIONS).
    pub fn new(store: Store, chain_id: u64, account: Address) -> Self {
        Self { store, scope: Scope { chain_id, account } }
    }

    /// The account.
    pub const fn account(&self) -> Address {
        self.scope.account
    }

    /// Identity of the intent with this idempotency key.
    pub fn id_of(&self, key: &str) -> IntentId {
        IntentId::derive(self.scope.chain_id, self.scope.account, key)
    }

    /// All that is known about an intent; `None` when it was never recorded.
    ///
    /// # Errors
    /// Failures of the database.
    pub async fn status(&self, id: IntentId) -> Result<Option<IntentStatus>, StoreError> {
        self.scope.status(&self.store, id).await
    }

    /// History of an intent, oldest first.
    ///
    /// # Errors
    /// Failures of the database.
    pub async fn history(&self, id: IntentId) -> Result<Vec<Transition>, StoreError> {
        self.scope.history(&self.store, id).await
    }

    /// What transactions to a contract cost, from any account of this program, by day (days since 1970-01-01 UTC) from `from_day` on. Reads
    /// one row per transaction.
    ///
    /// # Errors
    /// Failures of the database.
    pub async fn fees_by_day(
        store: &Store,
        chain_id: u64,
        recipient: Address,
        from_day: i64,
    ) -> Result<BTreeMap<i64, DayFees>, StoreError> {
        let sql = "SELECT c.fee_day, c.fee_paid, c.success, c.kind FROM outbox_inclusions c JOIN outbox_intents i ON i.id = c.intent_id \
             WHERE c.chain_id = $1 AND i.recipient = $2 AND c.fee_day >= $3";
        let params = vec![Value::from(chain_id), Value::from(recipient), Value::from(from_day)];
        let mut days: BTreeMap<i64, DayFees> = BTreeMap::new();
        for row in store.query(sql, params).await? {
            let (success, kind): (bool, String) = (row.get("success")?, row.get("kind")?);
            let day = days.entry(row.get("fee_day")?).or_default();
            day.transactions = day.transactions.saturating_add(1);
            day.failed = day.failed.saturating_add(u64::from(!success || kind != "send"));
            day.fees = day.fees.saturating_add(row.get("fee_paid")?);
        }
        Ok(days)
    }
}
