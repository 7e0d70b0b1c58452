//! Forward-only numbered migrations.
//!
//! Every applied step is recorded with a checksum of its text. A store is refused when a recorded step has another text in
//! this program (it was edited) or is not known to it (the store was used by a newer version).

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::clock::UnixMillis;
use crate::engine::{self, Backend};
use crate::error::StoreError;
use crate::params;
use crate::tx::Tx;

/// One step of a component's tables. Never edited after a release; a change is a new step.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// 1, 2, 3, ... without gaps.
    pub number: u32,
    /// A few words, for messages.
    pub name: &'static str,
    /// One or more statements, separated by semicolons, in the dialect described at the top of this crate. A referenced
    /// table must be created before the table that refers to it.
    pub sql: &'static str,
}

/// All migrations of one component (a crate or a service).
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    /// Name of the component, unique in the program: "outbox". Its tables begin with this name.
    pub component: &'static str,
    /// The steps, in order of their numbers.
    pub steps: &'static [Migration],
}

impl Migrations {
    /// The number of the last step; 0 when there is none.
    pub fn newest(&self) -> u32 {
        self.steps.last().map_or(0, |step| step.number)
    }

    fn check_numbering(&self) -> Result<(), StoreError> {
        for (step, expected) in self.steps.iter().zip(1..) {
            if step.number != expected {
                let component = self.component.to_owned();
                return Err(StoreError::MigrationNumbering { component, found: step.number, expected });
            }
        }
        Ok(())
    }
}

impl Migration {
    /// SHA-256 of the text. Line ends do not count: a checkout may have changed them.
    pub(crate) fn checksum(&self) -> [u8; 32] {
        Sha256::digest(self.sql.replace("\r\n", "\n").as_bytes()).into()
    }
}

/// The tables of this crate.
pub(crate) const OWN: Migrations = Migrations {
    component: "store",
    steps: &[Migration { number: 1, name: "leases and cursors", sql: include_str!("../migrations/0001-leases-and-cursors.sql") }],
};

/// The record of migrations, and the tables they made in the order of their creation. Exists before any migration, and its
/// shape never changes.
const BOOTSTRAP: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS windlass_migration (component TEXT NOT NULL, number BIGINT NOT NULL, name TEXT NOT NULL, \
     checksum BLOB NOT NULL, applied_at_ms BIGINT NOT NULL, PRIMARY KEY (component, number))",
    "CREATE TABLE IF NOT EXISTS windlass_table (position BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL UNIQUE, \
     component TEXT NOT NULL)",
];

/// Makes several instances that start at the same time on one server migrate one after the other.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1464353868, hashtext(current_schema())) IS NULL AS locked";

/// Brings the tables of a component up to date, or up to step `last` when given.
pub(crate) async fn apply(tx: &mut Tx<'_>, set: &Migrations, last: Option<u32>, now: UnixMillis) -> Result<(), StoreError> {
    set.check_numbering()?;
    if tx.backend() == Backend::Postgres {
        tx.query(LOCK, params![]).await?;
    }
    for sql in BOOTSTRAP {
        tx.batch(&translate(tx.backend(), sql)).await?;
    }
    let applied = check_applied(tx, set).await?;
    let last = last.unwrap_or(u32::MAX);
    let mut changed = false;
    for step in set.steps.iter().filter(|step| step.number > applied && step.number <= last) {
        run_step(tx, set, step, now).await?;
        tracing::info!(component = set.component, number = step.number, name = step.name, "migration applied");
        changed = true;
    }
    if changed { tx.forget_statements().await } else { Ok(()) }
}

/// Compares the record with the program and returns the number of the last applied step.
async fn check_applied(tx: &mut Tx<'_>, set: &Migrations) -> Result<u32, StoreError> {
    let rows = tx
        .query("SELECT number, checksum FROM windlass_migration WHERE component = $1 ORDER BY number", params![set.component])
        .await?;
    let mut applied = 0;
    for row in rows {
        let number: u32 = row.get("number")?;
        let Some(step) = set.steps.iter().find(|step| step.number == number) else {
            return Err(StoreError::MigrationNewer {
                place: tx.place(),
                component: set.component.to_owned(),
                found: number,
                known: set.newest(),
            });
        };
        if row.get::<[u8; 32]>("checksum")? != step.checksum() {
            return Err(StoreError::MigrationEdited {
                place: tx.place(),
                component: set.component.to_owned(),
                number,
                name: step.name.to_owned(),
            });
        }
        applied = number;
    }
    Ok(applied)
}

async fn run_step(tx: &mut Tx<'_>, set: &Migrations, step: &Migration, now: UnixMillis) -> Result<(), StoreError> {
    let before = existing_tables(tx).await?;
    let sql = translate(tx.backend(), step.sql);
    tx.batch(&sql).await.map_err(|source| match source {
        lost if engine::is_lost(&lost) => lost,
        source => StoreError::MigrationFailed {
            component: set.component.to_owned(),
            number: step.number,
            name: step.name.to_owned(),
            source: Box::new(source),
        },
    })?;
    record_tables(tx, set.component, &before).await?;
    tx.execute(
        "INSERT INTO windlass_migration (component, number, name, checksum, applied_at_ms) VALUES ($1, $2, $3, $4, $5)",
        params![set.component, step.number, step.name, step.checksum(), now],
    )
    .await?;
    Ok(())
}

fn translate(backend: Backend, sql: &str) -> String {
    match backend {
        Backend::Sqlite => sql.to_owned(),
        Backend::Postgres => engine::to_postgres(sql),
    }
}

/// Remembers which tables a step made, so that a backup knows ours from those of others in the same database.
async fn record_tables(tx: &mut Tx<'_>, component: &str, before: &[String]) -> Result<(), StoreError> {
    let after = existing_tables(tx).await?;
    let known: BTreeSet<&String> = before.iter().collect();
    let remaining: BTreeSet<&String> = after.iter().collect();
    for name in before.iter().filter(|name| !remaining.contains(name)) {
        tx.execute("DELETE FROM windlass_table WHERE name = $1", params![name]).await?;
    }
    for name in after.iter().filter(|name| !known.contains(name)) {
        tx.execute(
            "INSERT INTO windlass_table (position, name, component) \
             SELECT coalesce(max(position), 0) + 1, $1, $2 FROM windlass_table",
            params![name, component],
        )
        .await?;
    }
    Ok(())
}

/// Tables in the store's schema, oldest first.
async fn existing_tables(tx: &mut Tx<'_>) -> Result<Vec<String>, StoreError> {
    let sql = match tx.backend() {
        Backend::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY rowid"
        }
        Backend::Postgres => {
            "SELECT relname AS name FROM pg_catalog.pg_class \
             WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace ORDER BY oid"
        }
    };
    tx.query(sql, params![]).await?.iter().map(|row| row.get("name")).collect()
}
