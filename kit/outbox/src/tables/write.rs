//! Writing rows: what one round changes, in one transaction.

use std::collections::BTreeMap;

use alloy_primitives::{B256, Bytes, U256};
use windlass_store::clock::UnixMillis;
use windlass_store::{StoreError, Tx, Value};

use super::{CHUNK, Scope, json, places, rows_of, wei};
use crate::error::OutboxError;
use crate::fees::Fees;
use crate::machine::{Inclusion, Kind};
use crate::model::{Hold, Intent, IntentId, State, Transition};
use crate::rejection::Rejection;

/// A transaction signed in this round.
#[derive(Debug, Clone)]
pub(crate) struct NewAttempt {
    pub(crate) hash: B256,
    pub(crate) nonce: u64,
    /// Place among the attempts of the nonce, from 0.
    pub(crate) number: u64,
    pub(crate) intent: Option<IntentId>,
    pub(crate) kind: Kind,
    pub(crate) raw: Bytes,
    pub(crate) fees: Fees,
    pub(crate) gas_limit: u64,
    pub(crate) new_nonce: bool,
}

/// A nonce found in a block.
#[derive(Debug, Clone)]
pub(crate) struct NewInclusion {
    pub(crate) nonce: u64,
    pub(crate) intent: Option<IntentId>,
    pub(crate) kind: Kind,
    pub(crate) final_block: u64,
    pub(crate) inclusion: Inclusion,
}

/// Everything a round changes before it broadcasts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    pub(crate) now: UnixMillis,
    /// Place of the first transition in the history.
    pub(crate) position: i64,
    pub(crate) included: Vec<NewInclusion>,
    /// Nonces taken back by a reorganisation.
    pub(crate) put_back: Vec<u64>,
    /// Nonces whose inclusion is final.
    pub(crate) settled: Vec<u64>,
    /// Nonces used by a foreign transaction for good.
    pub(crate) foreign: Vec<u64>,
    pub(crate) attempts: Vec<NewAttempt>,
    /// Changes of state, in order.
    pub(crate) transitions: Vec<Transition>,
    /// Holds that changed, and when to look again.
    pub(crate) holds: Vec<HoldChange>,
    /// Intents whose asked replacement was signed.
    pub(crate) bumped: Vec<IntentId>,
}

/// A hold that begins, changes or ends.
#[derive(Debug, Clone)]
pub(crate) struct HoldChange {
    pub(crate) id: IntentId,
    pub(crate) hold: Option<Hold>,
    pub(crate) retries: u32,
    pub(crate) retry_at: UnixMillis,
}

/// What a node said to an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OfferOutcome {
    Accepted,
    Failed(Rejection, String),
}

/// Results of the offers of a round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offers {
    pub(crate) now: UnixMillis,
    /// Place of the first transition in the history.
    pub(crate) position: i64,
    pub(crate) head: u64,
    pub(crate) results: Vec<(B256, OfferOutcome)>,
    pub(crate) transitions: Vec<Transition>,
    pub(crate) cleared_holds: Vec<IntentId>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.included.is_empty()
            && self.put_back.is_empty()
            && self.settled.is_empty()
            && self.foreign.is_empty()
            && self.attempts.is_empty()
            && self.transitions.is_empty()
            && self.holds.is_empty()
            && self.bumped.is_empty()
    }
}

impl Scope {
    /// Inserts an intent; false when its id is there already.
    pub(crate) async fn insert_intent(
        &self,
        tx: &mut Tx<'_>,
        id: IntentId,
        intent: Intent,
        position: i64,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let content = intent.content_hash();
        let mut params = vec![Value::from(id)];
        params.extend(self.params());
        params.extend([
            Value::from(position),
            Value::from(intent.key),
            Value::from(content),
            Value::from(intent.label),
            Value::from(intent.to),
            Value::from(intent.value),
            Value::from(intent.data.to_vec()),
            Value::from(intent.gas_limit),
            json(&intent.fee),
            Value::from(intent.confirmations.min(i64::MAX.unsigned_abs())),
            Value::from(intent.deadline),
            Value::from(intent.simulate),
            Value::from(now),
        ]);
        let sql = "INSERT INTO outbox_intents (id, chain_id, account, position, intent_key, content_hash, label, recipient, value, data, \
             gas_limit, fee_policy, confirmations, deadline, simulate, recorded_at, updated_at, state, cancel, bump, retries, retry_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $16, 'recorded', 0, 0, 0, 0) \
             ON CONFLICT (id) DO NOTHING";
        Ok(tx.execute(sql, params).await? == 1)
    }

    /// Content hash and key of a recorded intent.
    pub(crate) async fn content(&self, tx: &mut Tx<'_>, id: IntentId) -> Result<Option<(B256, String)>, StoreError> {
        let sql = "SELECT content_hash, intent_key FROM outbox_intents WHERE id = $1";
        tx.query_optional(sql, vec![Value::from(id)])
            .await?
            .map(|row| Ok((row.get("content_hash")?, row.get("intent_key")?)))
            .transpose()
    }

    /// Marks an unfinished intent for cancellation or for a replacement; false when it is finished or unknown.
    pub(crate) async fn mark(&self, tx: &mut Tx<'_>, id: IntentId, column: Mark, now: UnixMillis) -> Result<bool, StoreError> {
        let set = match column {
            Mark::Cancel => "cancel = 1",
            Mark::Bump => "bump = 1",
            Mark::Retry => "retry_at = 0, retries = 0",
        };
        let states = match column {
            Mark::Cancel | Mark::Retry => "'recorded', 'signed', 'broadcast'",
            Mark::Bump => "'signed', 'broadcast'",
        };
        let sql = format!(
            "UPDATE outbox_intents SET {set}, updated_at = $4 WHERE chain_id = $1 AND account = $2 AND id = $3 AND state IN ({states})"
        );
        let mut params = self.params();
        params.extend([Value::from(id), Value::from(now)]);
        Ok(tx.execute(&sql, params).await? == 1)
    }

    /// Writes the changes of a round. Every statement that must touch a known number of rows is checked for it: a
    /// difference means that somebody else wrote these rows, and the whole round is rolled back.
    pub(crate) async fn commit(&self, tx: &mut Tx<'_>, changes: &Changes) -> Result<(), Broken> {
        self.put_back(tx, changes).await?;
        self.set_status(tx, &changes.foreign, "open", "foreign").await?;
        self.include(tx, changes).await?;
        self.settle(tx, changes).await?;
        self.insert_attempts(tx, changes).await?;
        self.move_states(tx, &changes.transitions, changes.now, changes.position).await?;
        self.clear_bumps(tx, &changes.bumped).await?;
        for hold in &changes.holds {
            let sql = "UPDATE outbox_intents SET hold = $2, retries = $3, retry_at = $4 WHERE id = $1";
            let text = hold.hold.as_ref().map_or(Value::Null, json);
            let params = vec![Value::from(hold.id), text, Value::from(hold.retries), Value::from(hold.retry_at)];
            tx.execute(sql, params).await?;
        }
        Ok(())
    }

    /// Writes what the nodes said.
    pub(crate) async fn record_offers(&self, tx: &mut Tx<'_>, offers: &Offers) -> Result<(), Broken> {
        let mut failed: BTreeMap<(&'static str, &str), Vec<B256>> = BTreeMap::new();
        let mut accepted = Vec::new();
        for (hash, outcome) in &offers.results {
            match outcome {
                OfferOutcome::Accepted => accepted.push(*hash),
                OfferOutcome::Failed(rejection, message) => failed.entry((rejection.name(), message)).or_default().push(*hash),
            }
        }
        for chunk in accepted.chunks(CHUNK) {
            let sql = format!(
                "UPDATE outbox_attempts SET accepted_at = COALESCE(accepted_at, $1), accepted_block = COALESCE(accepted_block, $2), \
                 offered_at = $1, offers = offers + 1, failures = 0, rejection = NULL, rejection_message = NULL WHERE tx_hash IN ({})",
                places(3, chunk.len())
            );
            let mut params = vec![Value::from(offers.now), Value::from(offers.head)];
            params.extend(chunk.iter().map(|hash| Value::from(*hash)));
            tx.execute(&sql, params).await?;
        }
        for ((name, message), hashes) in failed {
            for chunk in hashes.chunks(CHUNK) {
                let sql = format!(
                    "UPDATE outbox_attempts SET offered_at = $1, offers = offers + 1, failures = failures + 1, rejection = $2, \
                     rejection_message = $3 WHERE tx_hash IN ({})",
                    places(4, chunk.len())
                );
                let mut params = vec![Value::from(offers.now), Value::from(name), Value::from(message)];
                params.extend(chunk.iter().map(|hash| Value::from(*hash)));
                tx.execute(&sql, params).await?;
            }
        }
        self.move_states(tx, &offers.transitions, offers.now, offers.position).await?;
        for chunk in offers.cleared_holds.chunks(CHUNK) {
            let sql = format!("UPDATE outbox_intents SET hold = NULL WHERE id IN ({})", places(1, chunk.len()));
            tx.execute(&sql, chunk.iter().map(|id| Value::from(*id)).collect()).await?;
        }
        Ok(())
    }

    /// Makes held intents due at once: what held them may be gone.
    pub(crate) async fn wake_held(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql =
            "UPDATE outbox_intents SET retry_at = 0 WHERE chain_id = $1 AND account = $2 AND state = 'recorded' AND retry_at > 0";
        tx.execute(sql, self.params()).await?;
        Ok(())
    }

    async fn put_back(&self, tx: &mut Tx<'_>, changes: &Changes) -> Result<(), Broken> {
        for chunk in changes.put_back.chunks(CHUNK) {
            let filter = format!("chain_id = $1 AND account = $2 AND nonce IN ({})", places(3, chunk.len()));
            let mut params = self.params();
            params.extend(chunk.iter().map(|nonce| Value::from(*nonce)));
            let rows =
                tx.query(&format!("SELECT fee_day, fee_paid FROM outbox_inclusions WHERE {filter}"), params.clone()).await?;
            let mut refunds: BTreeMap<i64, U256> = BTreeMap::new();
            for row in &rows {
                let fee: U256 = row.get("fee_paid")?;
                let sum = refunds.entry(row.get("fee_day")?).or_default();
                *sum = sum.saturating_add(fee);
            }
            for (day, fee) in refunds {
                self.spend(tx, day, fee, false).await?;
            }
            let deleted =
                tx.execute(&format!("DELETE FROM outbox_inclusions WHERE settled = 0 AND {filter}"), params.clone()).await?;
            expect_rows("inclusions to take back", deleted, chunk.len())?;
            // The bytes are offered again at once, and the time to escalate begins anew.
            let forget = "SET offered_at = NULL, accepted_at = NULL, accepted_block = NULL, failures = 0";
            tx.execute(&format!("UPDATE outbox_attempts {forget} WHERE {filter}"), params).await?;
        }
        self.set_status(tx, &changes.put_back, "included", "open").await
    }

    async fn include(&self, tx: &mut Tx<'_>, changes: &Changes) -> Result<(), Broken> {
        const WIDTH: usize = 14;
        let day = day_of(changes.now);
        let mut fees = U256::ZERO;
        for chunk in changes.included.chunks(CHUNK) {
            let mut params = Vec::with_capacity(chunk.len() * WIDTH);
            for new in chunk {
                let found = &new.inclusion;
                fees = fees.saturating_add(found.fee_paid);
                params.extend(self.params());
                params.extend([
                    Value::from(new.nonce),
                    Value::from(found.hash),
                    new.intent.map_or(Value::Null, Value::from),
                    Value::from(new.kind.name()),
                    Value::from(found.success),
                    found.revert_reason.as_deref().map_or(Value::Null, Value::from),
                    Value::from(found.block_number),
                    Value::from(found.block_hash),
                    Value::from(new.final_block.min(i64::MAX.unsigned_abs())),
                    Value::from(found.fee_paid),
                    Value::from(day),
                    Value::from(false),
                ]);
            }
            let sql = format!(
                "INSERT INTO outbox_inclusions (chain_id, account, nonce, tx_hash, intent_id, kind, success, revert_reason, block_number, \
                 block_hash, final_block, fee_paid, fee_day, settled) VALUES {}",
                rows_of(chunk.len(), WIDTH)
            );
            tx.execute(&sql, params).await?;
        }
        if !fees.is_zero() {
            self.spend(tx, day, fees, true).await?;
        }
        let nonces: Vec<u64> = changes.included.iter().map(|new| new.nonce).collect();
        self.set_status(tx, &nonces, "open", "included").await
    }

    async fn settle(&self, tx: &mut Tx<'_>, changes: &Changes) -> Result<(), Broken> {
        for chunk in changes.settled.chunks(CHUNK) {
            let sql = format!(
                "UPDATE outbox_inclusions SET settled = 1 WHERE settled = 0 AND chain_id = $1 AND account = $2 AND nonce IN ({})",
                places(3, chunk.len())
            );
            let mut params = self.params();
            params.extend(chunk.iter().map(|nonce| Value::from(*nonce)));
            expect_rows("inclusions to settle", tx.execute(&sql, params).await?, chunk.len())?;
        }
        self.set_status(tx, &changes.settled, "included", "closed").await
    }

    /// The reservation of nonces and the signed bytes, in the same transaction. The primary key of `outbox_nonces` is the
    /// guard: two instances, or one with stale rows, cannot both pass it.
    async fn insert_attempts(&self, tx: &mut Tx<'_>, changes: &Changes) -> Result<(), Broken> {
        const WIDTH: usize = 14;
        let new: Vec<&NewAttempt> = changes.attempts.iter().filter(|attempt| attempt.new_nonce).collect();
        for chunk in new.chunks(CHUNK) {
            let mut params = Vec::new();
            for attempt in chunk {
                params.extend(self.params());
                params.extend([
                    Value::from(attempt.nonce),
                    attempt.intent.map_or(Value::Null, Value::from),
                    Value::from("open"),
                    Value::from(changes.now),
                ]);
            }
            let sql = format!(
                "INSERT INTO outbox_nonces (chain_id, account, nonce, intent_id, status, created_at) VALUES {} ON CONFLICT DO NOTHING",
                rows_of(chunk.len(), 6)
            );
            expect_rows("nonces to reserve", tx.execute(&sql, params).await?, chunk.len())?;
        }
        for chunk in changes.attempts.chunks(CHUNK) {
            let mut params = Vec::with_capacity(chunk.len() * WIDTH);
            for attempt in chunk {
                params.push(Value::from(attempt.hash));
                params.extend(self.params());
                params.extend([
                    Value::from(attempt.nonce),
                    Value::from(attempt.number),
                    attempt.intent.map_or(Value::Null, Value::from),
                    Value::from(attempt.kind.name()),
                    Value::from(attempt.raw.to_vec()),
                    wei(attempt.fees.max_fee),
                    wei(attempt.fees.priority_fee),
                    Value::from(attempt.fees.legacy),
                    Value::from(attempt.gas_limit),
                    Value::from(changes.now),
                    Value::from(0i64),
                ]);
            }
            let sql = format!(
                "INSERT INTO outbox_attempts (tx_hash, chain_id, account, nonce, number, intent_id, kind, raw, max_fee, priority_fee, legacy, \
                 gas_limit, signed_at, failures, offers) VALUES {}",
                rows_of_with(chunk.len(), WIDTH, "0")
            );
            tx.execute(&sql, params).await?;
        }
        let replaced: Vec<u64> =
            changes.attempts.iter().filter(|attempt| !attempt.new_nonce).map(|attempt| attempt.nonce).collect();
        // A replacement belongs to a nonce that is still open: the row is touched so that a change since the read shows.
        self.set_status(tx, &replaced, "open", "open").await
    }

    async fn clear_bumps(&self, tx: &mut Tx<'_>, ids: &[IntentId]) -> Result<(), Broken> {
        for chunk in ids.chunks(CHUNK) {
            let sql = format!("UPDATE outbox_intents SET bump = 0 WHERE id IN ({})", places(1, chunk.len()));
            tx.execute(&sql, chunk.iter().map(|id| Value::from(*id)).collect()).await?;
        }
        Ok(())
    }

    /// Moves the nonces from one status to another; each must be in the first.
    async fn set_status(&self, tx: &mut Tx<'_>, nonces: &[u64], from: &str, to: &str) -> Result<(), Broken> {
        for chunk in nonces.chunks(CHUNK) {
            let sql = format!(
                "UPDATE outbox_nonces SET status = $3 WHERE chain_id = $1 AND account = $2 AND status = $4 AND nonce IN ({})",
                places(5, chunk.len())
            );
            let mut params = self.params();
            params.extend([Value::from(to), Value::from(from)]);
            params.extend(chunk.iter().map(|nonce| Value::from(*nonce)));
            expect_rows("nonces to move", tx.execute(&sql, params).await?, chunk.len())?;
        }
        Ok(())
    }

    /// Changes states, group by group, and writes the history.
    async fn move_states(
        &self,
        tx: &mut Tx<'_>,
        transitions: &[Transition],
        now: UnixMillis,
        position: i64,
    ) -> Result<(), Broken> {
        let mut groups: Vec<((&State, &State), Vec<IntentId>)> = Vec::new();
        for transition in transitions {
            let key = (&transition.from, &transition.to);
            match groups.iter_mut().find(|(other, _)| *other == key) {
                Some((_, ids)) => ids.push(transition.id),
                None => groups.push((key, vec![transition.id])),
            }
        }
        for ((from, to), ids) in groups {
            for chunk in ids.chunks(CHUNK) {
                let sql = format!(
                    "UPDATE outbox_intents SET state = $1, reason = $2, updated_at = $3, hold = NULL, retries = 0, retry_at = 0 \
                     WHERE state = $4 AND id IN ({})",
                    places(5, chunk.len())
                );
                let reason = to.reason().map_or(Value::Null, json);
                let mut params = vec![Value::from(to.name()), reason, Value::from(now), Value::from(from.name())];
                params.extend(chunk.iter().map(|id| Value::from(*id)));
                expect_rows("intents to move", tx.execute(&sql, params).await?, chunk.len())?;
            }
        }
        self.insert_history(tx, transitions, position).await
    }

    /// `position` keeps the order of an intent's changes, also of those in the same millisecond.
    async fn insert_history(&self, tx: &mut Tx<'_>, transitions: &[Transition], position: i64) -> Result<(), Broken> {
        const WIDTH: usize = 9;
        let mut position = position;
        for chunk in transitions.chunks(CHUNK) {
            let mut params = Vec::with_capacity(chunk.len() * WIDTH);
            for transition in chunk {
                params.extend([
                    Value::from(transition.id),
                    Value::from(position),
                    Value::from(transition.from.name()),
                    Value::from(transition.to.name()),
                    transition.to.reason().map_or(Value::Null, json),
                    transition.tx_hash.map_or(Value::Null, Value::from),
                    transition.nonce.map_or(Value::Null, Value::from),
                    transition.note.as_deref().map_or(Value::Null, Value::from),
                    Value::from(transition.at),
                ]);
                position = position.saturating_add(1);
            }
            let sql = format!(
                "INSERT INTO outbox_transitions (intent_id, position, from_state, to_state, reason, tx_hash, nonce, note, at) VALUES {}",
                rows_of(chunk.len(), WIDTH)
            );
            tx.execute(&sql, params).await?;
        }
        Ok(())
    }

    /// Adds to, or takes from, the fees of a day.
    async fn spend(&self, tx: &mut Tx<'_>, day: i64, fee: U256, add: bool) -> Result<(), Broken> {
        let mut params = self.params();
        params.push(Value::from(day));
        let sql = "SELECT fees FROM outbox_spending WHERE chain_id = $1 AND account = $2 AND day = $3";
        let old: U256 = tx.query_optional(sql, params.clone()).await?.map_or(Ok(U256::ZERO), |row| row.get("fees"))?;
        params.push(Value::from(if add { old.saturating_add(fee) } else { old.saturating_sub(fee) }));
        let sql = "INSERT INTO outbox_spending (chain_id, account, day, fees) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (chain_id, account, day) DO UPDATE SET fees = excluded.fees";
        tx.execute(sql, params).await?;
        Ok(())
    }
}

/// What can be asked for an unfinished intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Cancel,
    Bump,
    Retry,
}

/// Why a round could not be written.
#[derive(Debug)]
pub(crate) enum Broken {
    Store(StoreError),
    /// Rows are not as they were read.
    Rows(String),
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Broken {
    /// As an error of the outbox of this scope.
    pub(crate) fn into_error(self, chain: &str, scope: &Scope) -> OutboxError {
        match self {
            Self::Store(error) => OutboxError::Store(error),
            Self::Rows(what) => OutboxError::Invariant { chain: chain.to_owned(), account: scope.account, what },
        }
    }
}

/// Day of a moment, counted from 1970-01-01 UTC.
pub(crate) fn day_of(now: UnixMillis) -> i64 {
    now.0.div_euclid(86_400_000)
}

fn expect_rows(what: &str, touched: u64, wanted: usize) -> Result<(), Broken> {
    if u64::try_from(wanted).is_ok_and(|wanted| wanted == touched) {
        return Ok(());
    }
    Err(Broken::Rows(format!("{what}: {wanted} expected, {touched} found")))
}

/// As [`rows_of`] with a constant at the end of each row.
fn rows_of_with(rows: usize, width: usize, last: &str) -> String {
    (0..rows).map(|row| format!("({}, {last})", places(row * width + 1, width))).collect::<Vec<_>>().join(", ")
}
