//! Reading rows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use windlass_store::clock::UnixMillis;
use windlass_store::{Row, Store, StoreError, Value};

use super::{CHUNK, Scope, attempt_of, id_of, json_of, kind_of, live_intent, optional_id_of, places, state_in, unreadable};
use crate::machine::{Attempt, Kind, LiveIntent, Slot};
use crate::model::{BlockPosition, Hold, IntentId, IntentStatus, Transition};

/// An intent that waits for a nonce, with what is needed to estimate and to sign it.
#[derive(Debug, Clone)]
pub(crate) struct WaitingRow {
    pub(crate) intent: LiveIntent,
    pub(crate) to: Option<Address>,
    pub(crate) data: Bytes,
    pub(crate) retries: u32,
}

/// An included nonce whose final block the head has reached.
#[derive(Debug, Clone)]
pub(crate) struct DueInclusion {
    pub(crate) nonce: u64,
    pub(crate) hash: B256,
    pub(crate) intent: Option<IntentId>,
    pub(crate) kind: Kind,
    pub(crate) success: bool,
    pub(crate) revert_reason: Option<String>,
    pub(crate) block_number: u64,
    pub(crate) block_hash: B256,
}

/// What the chain executes, of one intent.
#[derive(Debug, Clone)]
pub(crate) struct RecordedIntent {
    pub(crate) to: Option<Address>,
    pub(crate) value: U256,
    pub(crate) data: Bytes,
    pub(crate) confirmations: u64,
    pub(crate) deadline: Option<UnixMillis>,
    pub(crate) cancel: bool,
}

const LIVE_COLUMNS: &str =
    "i.state, i.reason, i.value, i.fee_policy, i.gas_limit AS asked_gas, i.deadline, i.cancel, i.bump, i.simulate, i.hold";

// The reads of a round. What they cost is bounded by what is unfinished, however much is finished: `tables/tests.rs` holds
// them to it.
fn open_nonces() -> String {
    format!(
        "SELECT n.nonce, n.intent_id, {LIVE_COLUMNS} FROM outbox_nonces n LEFT JOIN outbox_intents i ON i.id = n.intent_id \
         WHERE n.chain_id = $1 AND n.account = $2 AND n.status = 'open' ORDER BY n.nonce"
    )
}
/// Without the raw bytes: they are read only for what is offered again. The nonces are named: a join leaves it to the database to
/// begin with the attempts, which means reading all that were ever signed.
fn attempts_of(nonces: usize) -> String {
    format!(
        "SELECT nonce, tx_hash, kind, max_fee, priority_fee, legacy, gas_limit, accepted_at, accepted_block, offered_at, failures, \
         rejection, rejection_message FROM outbox_attempts WHERE chain_id = $1 AND account = $2 AND nonce IN ({}) ORDER BY nonce, number",
        places(3, nonces)
    )
}
const ENDS: &str = "SELECT (SELECT MIN(nonce) FROM outbox_nonces WHERE chain_id = $1 AND account = $2) AS lowest, \
     (SELECT MAX(nonce) FROM outbox_nonces WHERE chain_id = $1 AND account = $2) AS highest";
const COVERED: &str = "SELECT nonce FROM outbox_nonces WHERE chain_id = $1 AND account = $2 AND nonce >= $3 AND nonce < $4";
fn ready() -> String {
    format!(
        "SELECT i.id, i.recipient, i.data, i.retries, {LIVE_COLUMNS} FROM outbox_intents i WHERE i.chain_id = $1 AND i.account = $2 \
         AND i.state = 'recorded' AND (i.retry_at <= $3 OR i.retry_at > $5 OR i.cancel = 1 OR i.deadline <= $3) \
         ORDER BY i.position LIMIT $4"
    )
}
const LATEST_RETRY: &str =
    "SELECT MAX(retry_at) AS retry_at FROM outbox_intents WHERE chain_id = $1 AND account = $2 AND state = 'recorded'";
const INCLUDED_BLOCKS: &str = "SELECT DISTINCT block_number, block_hash FROM outbox_inclusions \
     WHERE chain_id = $1 AND account = $2 AND settled = 0 ORDER BY block_number";
const DUE: &str = "SELECT * FROM outbox_inclusions WHERE chain_id = $1 AND account = $2 AND settled = 0 AND final_block <= $3 \
     ORDER BY final_block, nonce LIMIT $4";
/// The bound on `final_block` excludes nothing; it leads SQLite to the index of the unfinished.
const INCLUDED_IN: &str = "SELECT * FROM outbox_inclusions WHERE chain_id = $1 AND account = $2 AND settled = 0 AND block_hash = $3 \
     AND final_block >= 0 ORDER BY final_block, nonce";
const VANISHED: &str = "SELECT * FROM outbox_inclusions WHERE chain_id = $1 AND account = $2 AND settled = 1 AND nonce >= $3 ORDER BY nonce LIMIT 256";
const SPENT: &str = "SELECT fees FROM outbox_spending WHERE chain_id = $1 AND account = $2 AND day = $3";
const LAST_POSITION: &str =
    "SELECT position FROM outbox_intents WHERE chain_id = $1 AND account = $2 ORDER BY position DESC LIMIT 1";

/// The reads of a round by name, for the test of their plans.
#[cfg(test)]
pub(super) fn reads_of_a_round() -> Vec<(&'static str, String)> {
    vec![
        ("open nonces", open_nonces()),
        ("open attempts", attempts_of(2)),
        ("ends", ENDS.to_owned()),
        ("covered", COVERED.to_owned()),
        ("ready", ready()),
        ("latest retry", LATEST_RETRY.to_owned()),
        ("included blocks", INCLUDED_BLOCKS.to_owned()),
        ("due", DUE.to_owned()),
        ("included in", INCLUDED_IN.to_owned()),
        ("vanished", VANISHED.to_owned()),
        ("spent", SPENT.to_owned()),
        ("last position", LAST_POSITION.to_owned()),
        ("status", format!("{STATUS} AND i.id = $3")),
        ("list", format!("{STATUS} ORDER BY i.position DESC LIMIT $3")),
    ]
}

impl Scope {
    /// All signed nonces that are not in a block, with all their attempts, by nonce.
    pub(crate) async fn open_slots(&self, store: &Store) -> Result<Vec<Slot>, StoreError> {
        let mut of_nonce: BTreeMap<u64, Vec<Attempt>> = BTreeMap::new();
        let slots = store.query(&open_nonces(), self.params()).await?;
        if slots.is_empty() {
            return Ok(Vec::new());
        }
        let nonces = slots.iter().map(|row| row.get("nonce")).collect::<Result<Vec<u64>, _>>()?;
        for chunk in nonces.chunks(CHUNK) {
            let mut params = self.params();
            params.extend(chunk.iter().map(|nonce| Value::from(*nonce)));
            for row in store.query(&attempts_of(chunk.len()), params).await? {
                of_nonce.entry(row.get("nonce")?).or_default().push(attempt_of(&row)?);
            }
        }
        slots
            .iter()
            .map(|row| {
                let nonce: u64 = row.get("nonce")?;
                let intent = optional_id_of(row, "intent_id")?.map(|id| live_intent(row, id)).transpose()?;
                Ok(Slot { nonce, intent, attempts: of_nonce.remove(&nonce).unwrap_or_default() })
            })
            .collect()
    }

    /// Nonces from `count` on that have a row, the lowest nonce of any row, and one above the highest.
    ///
    /// Of the covered ones only those below `count + window` are read: a chain that was started anew shows a count far below
    /// all rows.
    pub(crate) async fn covered(&self, store: &Store, count: u64, window: u64) -> Result<(BTreeSet<u64>, u64, u64), StoreError> {
        let Some(ends) = store.query_optional(ENDS, self.params()).await? else { return Ok((BTreeSet::new(), 0, 0)) };
        let (Some(lowest), Some(highest)) = (ends.get::<Option<u64>>("lowest")?, ends.get::<Option<u64>>("highest")?) else {
            return Ok((BTreeSet::new(), count, 0));
        };
        let next = highest.saturating_add(1);
        if next <= count {
            return Ok((BTreeSet::new(), lowest, next));
        }
        let mut params = self.params();
        params.extend([Value::from(count), Value::from(count.saturating_add(window))]);
        let rows = store.query(COVERED, params).await?;
        let covered = rows.iter().map(|row| row.get("nonce")).collect::<Result<_, _>>()?;
        Ok((covered, lowest, next))
    }

    /// Intents to look at now: those whose turn it is, and those to be dropped (cancelled or past their deadline).
    pub(crate) async fn waiting(
        &self,
        store: &Store,
        now: UnixMillis,
        longest_pause: Duration,
        limit: u64,
    ) -> Result<Vec<WaitingRow>, StoreError> {
        // No pause is longer: what lies beyond was written by a clock that has gone back since.
        let beyond = now.saturating_add(longest_pause);
        let mut params = self.params();
        params.extend([Value::from(now), Value::from(limit), Value::from(beyond)]);
        let rows = store.query(&ready(), params).await?;
        rows.iter()
            .map(|row| {
                Ok(WaitingRow {
                    intent: live_intent(row, id_of(row, "id")?)?,
                    to: row.get("recipient")?,
                    data: row.get("data")?,
                    retries: row.get("retries")?,
                })
            })
            .collect()
    }

    /// The latest moment until which a held intent is left alone.
    pub(crate) async fn latest_retry(&self, store: &Store) -> Result<Option<UnixMillis>, StoreError> {
        let row = store.query_optional(LATEST_RETRY, self.params()).await?;
        row.map_or(Ok(None), |row| row.get("retry_at"))
    }

    /// Blocks of included, not final nonces.
    pub(crate) async fn included_blocks(&self, store: &Store) -> Result<Vec<(u64, B256)>, StoreError> {
        let rows = store.query(INCLUDED_BLOCKS, self.params()).await?;
        rows.iter().map(|row| Ok((row.get("block_number")?, row.get("block_hash")?))).collect()
    }

    /// Included nonces that are final when their block still stands.
    pub(crate) async fn due(&self, store: &Store, head: u64, limit: u64) -> Result<Vec<DueInclusion>, StoreError> {
        let mut params = self.params();
        params.extend([Value::from(head), Value::from(limit)]);
        inclusions(&store.query(DUE, params).await?)
    }

    /// Included nonces of one block.
    pub(crate) async fn included_in(&self, store: &Store, block_hash: B256) -> Result<Vec<DueInclusion>, StoreError> {
        let mut params = self.params();
        params.push(Value::from(block_hash));
        inclusions(&store.query(INCLUDED_IN, params).await?)
    }

    /// Final nonces at or above the chain's count: a reorganisation below finality took them out of the chain.
    pub(crate) async fn vanished(&self, store: &Store, count: u64) -> Result<Vec<DueInclusion>, StoreError> {
        let mut params = self.params();
        params.push(Value::from(count));
        inclusions(&store.query(VANISHED, params).await?)
    }

    /// The signed bytes of attempts, by hash.
    pub(crate) async fn raw(&self, store: &Store, hashes: &[B256]) -> Result<BTreeMap<B256, Bytes>, StoreError> {
        let mut found = BTreeMap::new();
        for chunk in hashes.chunks(CHUNK) {
            let sql = format!("SELECT tx_hash, raw FROM outbox_attempts WHERE tx_hash IN ({})", places(1, chunk.len()));
            for row in store.query(&sql, chunk.iter().map(|hash| Value::from(*hash)).collect()).await? {
                found.insert(row.get("tx_hash")?, row.get("raw")?);
            }
        }
        Ok(found)
    }

    /// What a node said when it refused the intent of this nonce for ever.
    pub(crate) async fn rejected(&self, store: &Store, nonce: u64) -> Result<Option<String>, StoreError> {
        let sql = "SELECT rejection_message FROM outbox_attempts WHERE chain_id = $1 AND account = $2 AND nonce = $3 AND kind = 'send' \
             AND rejection = 'permanent' ORDER BY number DESC LIMIT 1";
        let mut params = self.params();
        params.push(Value::from(nonce));
        store.query_optional(sql, params).await?.map_or(Ok(None), |row| row.get("rejection_message"))
    }

    /// What the chain executes, of the named intents.
    pub(crate) async fn intents(
        &self,
        store: &Store,
        ids: &[IntentId],
    ) -> Result<BTreeMap<IntentId, RecordedIntent>, StoreError> {
        let mut found = BTreeMap::new();
        for chunk in ids.chunks(CHUNK) {
            let sql = format!(
                "SELECT id, recipient, value, data, confirmations, deadline, cancel FROM outbox_intents WHERE id IN ({})",
                places(1, chunk.len())
            );
            for row in store.query(&sql, chunk.iter().map(|id| Value::from(*id)).collect()).await? {
                let intent = RecordedIntent {
                    to: row.get("recipient")?,
                    value: row.get("value")?,
                    data: row.get("data")?,
                    confirmations: row.get("confirmations")?,
                    deadline: row.get("deadline")?,
                    cancel: row.get("cancel")?,
                };
                found.insert(id_of(&row, "id")?, intent);
            }
        }
        Ok(found)
    }

    /// Fees paid on a day in wei.
    pub(crate) async fn spent(&self, store: &Store, day: i64) -> Result<U256, StoreError> {
        let mut params = self.params();
        params.push(Value::from(day));
        store.query_optional(SPENT, params).await?.map_or(Ok(U256::ZERO), |row| row.get("fees"))
    }

    /// Highest position given to a row, so that a restarted process goes on above it even when its clock went back.
    pub(crate) async fn last_position(&self, store: &Store) -> Result<i64, StoreError> {
        let row = store.query_optional(LAST_POSITION, self.params()).await?;
        row.map_or(Ok(0), |row| row.get("position"))
    }

    /// Status of one intent.
    pub(crate) async fn status(&self, store: &Store, id: IntentId) -> Result<Option<IntentStatus>, StoreError> {
        let mut params = self.params();
        params.push(Value::from(id));
        let sql = format!("{STATUS} AND i.id = $3");
        store.query_optional(&sql, params).await?.map(|row| status_of(&row)).transpose()
    }

    /// Where these intents stand. Unknown ones are left out.
    pub(crate) async fn statuses(&self, store: &Store, ids: &[IntentId]) -> Result<Vec<IntentStatus>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(CHUNK) {
            let mut params = self.params();
            params.extend(chunk.iter().map(|id| Value::from(*id)));
            let sql = format!("{STATUS} AND i.id IN ({})", places(3, chunk.len()));
            for row in store.query(&sql, params).await? {
                found.push(status_of(&row)?);
            }
        }
        Ok(found)
    }

    /// Statuses in the order of recording, newest first; only of one state when it is named.
    pub(crate) async fn list(&self, store: &Store, state: Option<&str>, limit: u64) -> Result<Vec<IntentStatus>, StoreError> {
        let mut params = self.params();
        params.push(Value::from(limit));
        let filter = if let Some(state) = state {
            params.push(Value::from(state));
            " AND i.state = $4"
        } else {
            ""
        };
        let sql = format!("{STATUS}{filter} ORDER BY i.position DESC LIMIT $3");
        store.query(&sql, params).await?.iter().map(status_of).collect()
    }

    /// Number of intents per state, held ones, and the time the oldest unfinished one was recorded.
    pub(crate) async fn counts(&self, store: &Store) -> Result<BTreeMap<String, u64>, StoreError> {
        let sql = "SELECT state, COUNT(*) AS number FROM outbox_intents WHERE chain_id = $1 AND account = $2 GROUP BY state";
        let rows = store.query(sql, self.params()).await?;
        rows.iter().map(|row| Ok((row.get("state")?, row.get("number")?))).collect()
    }

    /// When the oldest intent that is not in a block was recorded.
    pub(crate) async fn oldest(&self, store: &Store) -> Result<Option<UnixMillis>, StoreError> {
        let sql = "SELECT MIN(recorded_at) AS oldest FROM outbox_intents \
             WHERE chain_id = $1 AND account = $2 AND state IN ('recorded', 'signed', 'broadcast')";
        store.query_optional(sql, self.params()).await?.map_or(Ok(None), |row| row.get("oldest"))
    }

    /// Number of held intents, and the hold of the oldest.
    pub(crate) async fn holds(&self, store: &Store) -> Result<(u64, Option<Hold>), StoreError> {
        let filter = "FROM outbox_intents WHERE chain_id = $1 AND account = $2 AND state IN ('recorded', 'signed', 'broadcast') AND hold IS NOT NULL";
        let count = store.query_optional(&format!("SELECT COUNT(*) AS number {filter}"), self.params()).await?;
        let oldest = store.query_optional(&format!("SELECT hold {filter} ORDER BY position LIMIT 1"), self.params()).await?;
        let number = count.map_or(Ok(0), |row| row.get("number"))?;
        let hold = oldest.map(|row| json_of(&row, "hold")).transpose()?.flatten();
        Ok((number, hold))
    }

    /// History of one intent, oldest first.
    pub(crate) async fn history(&self, store: &Store, id: IntentId) -> Result<Vec<Transition>, StoreError> {
        let sql = "SELECT * FROM outbox_transitions WHERE intent_id = $1 ORDER BY position";
        let rows = store.query(sql, vec![Value::from(id)]).await?;
        rows.iter()
            .map(|row| {
                let state = |column: &str, reason| {
                    let name: String = row.get(column)?;
                    super::state_of(&name, reason).ok_or_else(|| unreadable(column, &name))
                };
                Ok(Transition {
                    id,
                    from: state("from_state", None)?,
                    to: state("to_state", json_of(row, "reason")?)?,
                    at: row.get("at")?,
                    tx_hash: row.get("tx_hash")?,
                    nonce: row.get("nonce")?,
                    note: row.get("note")?,
                })
            })
            .collect()
    }
}

/// An intent with its newest nonce, the newest attempt of that nonce, and its inclusion.
const STATUS: &str = "SELECT i.*, n.nonce AS nonce, c.tx_hash AS included_hash, c.block_number, c.block_hash, c.success, c.fee_paid, c.kind AS included_kind, \
     (SELECT COUNT(*) FROM outbox_attempts a WHERE a.chain_id = i.chain_id AND a.account = i.account AND a.nonce = n.nonce) AS attempts, \
     (SELECT a.tx_hash FROM outbox_attempts a WHERE a.chain_id = i.chain_id AND a.account = i.account AND a.nonce = n.nonce ORDER BY a.number DESC LIMIT 1) AS newest_hash, \
     (SELECT COUNT(*) FROM outbox_attempts a WHERE a.chain_id = i.chain_id AND a.account = i.account AND a.nonce = n.nonce AND a.kind = 'cancel') AS cancels \
     FROM outbox_intents i \
     LEFT JOIN outbox_nonces n ON n.intent_id = i.id AND n.status <> 'foreign' \
     LEFT JOIN outbox_inclusions c ON c.chain_id = i.chain_id AND c.account = i.account AND c.nonce = n.nonce \
     WHERE i.chain_id = $1 AND i.account = $2";

fn status_of(row: &Row) -> Result<IntentStatus, StoreError> {
    let included: Option<B256> = row.get("included_hash")?;
    let newest: Option<B256> = row.get("newest_hash")?;
    let cancel: bool = row.get("cancel")?;
    let block = match (row.get::<Option<u64>>("block_number")?, row.get::<Option<B256>>("block_hash")?) {
        (Some(number), Some(hash)) => Some(BlockPosition { number, hash }),
        _ => None,
    };
    Ok(IntentStatus {
        id: id_of(row, "id")?,
        key: row.get("intent_key")?,
        label: row.get("label")?,
        state: state_in(row)?,
        hold: json_of(row, "hold")?,
        cancelling: cancel || row.get::<u64>("cancels")? > 0,
        nonce: row.get("nonce")?,
        tx_hash: included.or(newest),
        attempts: row.get("attempts")?,
        block,
        // A cancelling self transfer that succeeded is not a success of the intent.
        success: match (row.get::<Option<bool>>("success")?, row.get::<Option<String>>("included_kind")?.as_deref()) {
            (Some(success), Some("send")) => Some(success),
            (Some(_), Some(_)) => Some(false),
            _ => None,
        },
        fee_paid: row.get("fee_paid")?,
        recorded_at: row.get("recorded_at")?,
        updated_at: row.get("updated_at")?,
        deadline: row.get("deadline")?,
    })
}

fn inclusions(rows: &[Row]) -> Result<Vec<DueInclusion>, StoreError> {
    rows.iter()
        .map(|row| {
            Ok(DueInclusion {
                nonce: row.get("nonce")?,
                hash: row.get("tx_hash")?,
                intent: optional_id_of(row, "intent_id")?,
                kind: kind_of(row, "kind")?,
                success: row.get("success")?,
                revert_reason: row.get("revert_reason")?,
                block_number: row.get("block_number")?,
                block_hash: row.get("block_hash")?,
            })
        })
        .collect()
}
