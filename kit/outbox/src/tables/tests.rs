//! What the reads of a round cost beside a long history.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use windlass_store::clock::UnixMillis;
use windlass_store::testing::{options, sqlite_with};
use windlass_store::{Store, Value};

use super::read::reads_of_a_round;
use super::{MIGRATIONS, Scope};
use crate::model::IntentId;

const FINAL: u64 = 100_000;
const SCOPE: Scope = Scope { chain_id: 5, account: Address::repeat_byte(0xab) };

/// 100,000 finished intents with their nonces, attempts and inclusions, made by the database itself.
async fn history(store: &Store) {
    let numbers = format!("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {})", FINAL - 1);
    // 16 and 32 bytes that differ: the number as text, filled up.
    let id = "CAST(printf('%016d', i) AS BLOB)";
    let hash = "CAST(printf('%032d', i) AS BLOB)";
    let word = "zeroblob(32)";
    let statements = [
        format!(
            "INSERT INTO outbox_intents (id, chain_id, account, position, intent_key, content_hash, label, recipient, value, data, \
             fee_policy, confirmations, simulate, state, cancel, bump, retries, retry_at, recorded_at, updated_at) {numbers} \
             SELECT {id}, $1, $2, i, 'k' || i, {word}, '', NULL, {word}, zeroblob(0), '{{}}', 1, 0, 'final', 0, 0, 0, 0, 0, 0 FROM n"
        ),
        format!(
            "INSERT INTO outbox_nonces (chain_id, account, nonce, intent_id, status, created_at) {numbers} \
             SELECT $1, $2, i, {id}, 'closed', 0 FROM n"
        ),
        format!(
            "INSERT INTO outbox_attempts (tx_hash, chain_id, account, nonce, number, intent_id, kind, raw, max_fee, priority_fee, legacy, \
             gas_limit, signed_at, offers, failures) {numbers} \
             SELECT {hash}, $1, $2, i, 0, {id}, 'send', zeroblob(110), {word}, {word}, 0, 21000, 0, 1, 0 FROM n"
        ),
        format!(
            "INSERT INTO outbox_inclusions (chain_id, account, nonce, tx_hash, intent_id, kind, success, block_number, block_hash, \
             final_block, fee_paid, fee_day, settled) {numbers} \
             SELECT $1, $2, i, {hash}, {id}, 'send', 1, i, {word}, i, {word}, 0, 1 FROM n"
        ),
    ];
    for sql in statements {
        let written: Result<u64, windlass_store::StoreError> =
            store.write("test.history", move |tx| Box::pin(async move { tx.execute(&sql, SCOPE.params()).await })).await;
        assert_eq!(written.unwrap(), FINAL);
    }
}

/// No read of a round goes through the finished rows: each begins in an index at the account, and at the unfinished rows where
/// the account alone would mean the whole history. Nothing is sorted.
#[tokio::test]
async fn the_reads_of_a_round_do_not_grow_with_the_history() {
    let store = sqlite_with(options()).await;
    store.store.migrate(&MIGRATIONS).await.unwrap();
    for (name, sql) in reads_of_a_round() {
        let places = (1..=9).filter(|number| sql.contains(&format!("${number}"))).count();
        let params = vec![Value::from(0i64); places];
        let rows = store.store.query(&format!("EXPLAIN QUERY PLAN {sql}"), params).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get("detail").unwrap()).collect();
        for step in &plan {
            assert!(!step.starts_with("SCAN") || step.contains("CONSTANT"), "{name}: {step}");
            let sorts = step.contains("TEMP B-TREE") && !step.contains("DISTINCT");
            // The few unfinished inclusions may be sorted.
            assert!(!sorts || ["included blocks", "due", "included in"].contains(&name), "{name}: {step}");
        }
        let wanted = match name {
            "open nonces" => "outbox_nonces_open",
            "open attempts" => "outbox_attempts_by_nonce (chain_id=? AND account=? AND nonce=?)",
            "ready" | "latest retry" => "outbox_intents_by_state (chain_id=? AND account=? AND state=?",
            "included blocks" | "due" | "included in" => "outbox_inclusions_due",
            "list" | "last position" => "outbox_intents_by_position",
            _ => "INDEX",
        };
        assert!(plan.iter().any(|step| step.contains(wanted)), "{name}: {plan:?} without {wanted}");
    }
}

/// The same with rows: of 100,000 finished intents a round reads none.
#[tokio::test]
async fn a_round_reads_nothing_of_100_000_finished_intents() {
    let store = sqlite_with(options()).await;
    let store = &store.store;
    store.migrate(&MIGRATIONS).await.unwrap();
    history(store).await;
    let (now, pause) = (UnixMillis(1_000), Duration::from_secs(30));
    assert!(SCOPE.open_slots(store).await.unwrap().is_empty());
    assert!(SCOPE.waiting(store, now, pause, 1_000).await.unwrap().is_empty());
    assert!(SCOPE.included_blocks(store).await.unwrap().is_empty());
    assert!(SCOPE.due(store, u64::MAX >> 1, 1_000).await.unwrap().is_empty());
    assert!(SCOPE.included_in(store, B256::ZERO).await.unwrap().is_empty());
    let (covered, lowest, next) = SCOPE.covered(store, FINAL, 16).await.unwrap();
    assert_eq!((covered.len(), lowest, next), (0, 0, FINAL));
    // A chain that was started anew shows a count of 0: the window is read, not the history.
    let (covered, _, next) = SCOPE.covered(store, 0, 16).await.unwrap();
    assert_eq!((covered.len(), next), (16, FINAL));
    assert_eq!(SCOPE.vanished(store, 0).await.unwrap().len(), 256);
    assert_eq!(SCOPE.spent(store, 0).await.unwrap(), U256::ZERO);
    assert_eq!(SCOPE.last_position(store).await.unwrap(), i64::try_from(FINAL - 1).unwrap());
    let newest = SCOPE.list(store, None, 3).await.unwrap();
    assert_eq!(newest.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["k99999", "k99998", "k99997"]);
    assert_eq!(newest[0].id, IntentId(*b"0000000000099999"));
}
