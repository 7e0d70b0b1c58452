//! What the trigger keeps: failed cycles in a row, and the next task.

use windlass_store::{Migration, Store, StoreError, Tx, UnixMillis, params};

/// The table of this module, to be listed among the migrations of the service.
pub const MIGRATION: Migration = Migration { number: 2, name: "cloud", sql: include_str!("../../migrations/0002_cloud.sql") };

/// What is kept of one relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CloudState {
    /// Failed cycles in a row.
    pub failures: u32,
    /// When the task is due that was made last and has not arrived.
    pub next_due: Option<UnixMillis>,
}

impl CloudState {
    /// Whether somebody must be told at the beginning of a cycle: at exactly this many failures, so once in a row of them.
    pub fn is_told(&self, notify_at: u32) -> bool {
        self.failures == notify_at
    }

    /// The state after a cycle.
    #[must_use]
    pub fn after(self, success: bool) -> Self {
        Self { failures: if success { 0 } else { self.failures.saturating_add(1) }, ..self }
    }
}

/// What is kept of a relay; nothing of an unknown one.
///
/// # Errors
/// The database fails.
pub async fn load(store: &Store, instance: &str) -> Result<CloudState, StoreError> {
    let row = store.query_optional("SELECT failures, next_due_ms FROM vrf_cloud WHERE instance = $1", params![instance]).await?;
    match row {
        None => Ok(CloudState::default()),
        Some(row) => Ok(CloudState { failures: row.get("failures")?, next_due: row.get("next_due_ms")? }),
    }
}

/// Keeps the state of a relay.
///
/// # Errors
/// The database fails.
pub async fn save(tx: &mut Tx<'_>, instance: &str, state: &CloudState) -> Result<(), StoreError> {
    let sql = "INSERT INTO vrf_cloud (instance, failures, next_due_ms) VALUES ($1, $2, $3) \
               ON CONFLICT (instance) DO UPDATE SET failures = excluded.failures, next_due_ms = excluded.next_due_ms";
    tx.execute(sql, params![instance, state.failures, state.next_due]).await?;
    Ok(())
}
