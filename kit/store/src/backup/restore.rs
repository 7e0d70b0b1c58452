//! Restore: fills an empty store from a database file or a logical dump, in one transaction.
//!
//! The tables are made by the migrations of this program, up to the numbers in the backup; then come the rows. Later
//! migrations run afterwards as on any old store. A backup of one engine can be restored into the other.

use std::collections::BTreeMap;
use std::path::Path;

use futures::StreamExt as _;
use tokio::sync::mpsc;

use super::format::{Applied, DumpReader, Line};
use super::{RestoreReport, all_rows, applied_migrations, blocking, check_file, checksum_path, hash_file, quoted, table_names};
use crate::clock::UnixMillis;
use crate::engine::{Backend, Conn, Role, Target};
use crate::error::StoreError;
use crate::migrate::{self, Migrations};
use crate::options::StoreOptions;
use crate::params;
use crate::store::Store;
use crate::tx::Tx;
use crate::value::Value;

/// Rows that are on their way from the reader to the writer.
const ROWS_IN_FLIGHT: usize = 1024;

/// Most parameters of one insert.
const PARAMETERS: usize = 400;

/// What the reader of a backup sends to the transaction that writes it.
enum Item {
    Table {
        name: String,
        columns: Vec<String>,
    },
    Row(Vec<Value>),
    /// Everything was read; the number of rows there must be.
    End {
        rows: u64,
    },
}

type Feed = mpsc::Sender<Result<Item, StoreError>>;

/// A backup file of SQLite, opened without any possibility to change it.
pub(super) struct Copy {
    pub(super) target: Target,
    pub(super) conn: Conn,
}

pub(super) async fn open_copy(path: &Path) -> Result<Copy, StoreError> {
    let target = Target::of_copy(path, &StoreOptions::default());
    let conn = target.connect(Role::Reader).await?;
    Ok(Copy { target, conn })
}

impl Store {
    /// Fills this empty store from a backup. `sets` are the migrations of all components that may be in it; the backup is
    /// refused if one is missing. Leases come back released, with a new fencing number.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`], [`StoreError::BadBackup`], [`StoreError::MigrationNewer`],
    /// [`StoreError::MigrationEdited`]; nothing is changed then.
    pub async fn restore(&self, from: &Path, sets: &[&Migrations]) -> Result<RestoreReport, StoreError> {
        let (feed, items) = mpsc::channel(ROWS_IN_FLIGHT);
        if is_sqlite(from).await? {
            verify_checksum(from).await?;
            let mut copy = open_copy(from).await?;
            let outcome = self.restore_copy(from, &mut copy, sets, feed, items).await;
            copy.conn.close().await;
            outcome
        } else {
            let path = from.to_owned();
            let (header, end) = blocking(from, move || DumpReader::open(&path)?.verify()).await?;
            let rows = end.tables.values().sum();
            let path = from.to_owned();
            let reader = blocking(from, move || read_dump(&path, &feed, rows));
            let writer = self.restore_rows(from, header.migrations, sets, items);
            finish(tokio::join!(reader, writer))
        }
    }

    async fn restore_copy(
        &self,
        from: &Path,
        copy: &mut Copy,
        sets: &[&Migrations],
        feed: Feed,
        items: mpsc::Receiver<Result<Item, StoreError>>,
    ) -> Result<RestoreReport, StoreError> {
        let bad = |error: StoreError| match error {
            StoreError::Damaged { detail, .. } => bad_backup(from, detail),
            StoreError::Sql { .. } => bad_backup(from, "it is not a backup of Windlass"),
            other => other,
        };
        check_file(&mut copy.conn, &copy.target).await.map_err(bad)?;
        let applied = applied_migrations(&mut copy.conn, &copy.target).await.map_err(bad)?;
        let reader = read_copy(copy, feed);
        let writer = self.restore_rows(from, applied, sets, items);
        finish(tokio::join!(reader, writer))
    }

    async fn restore_rows(
        &self,
        from: &Path,
        applied: Vec<Applied>,
        sets: &[&Migrations],
        mut items: mpsc::Receiver<Result<Item, StoreError>>,
    ) -> Result<RestoreReport, StoreError> {
        let steps = plan(from, &applied, sets)?;
        let (from, now) = (from.to_owned(), self.clock().now());
        let report = self
            .enqueue("store.restore", false, move |tx| {
                Box::pin(async move {
                    refuse_used(tx).await?;
                    prepare_tables(tx, &steps, now).await?;
                    let report = insert_rows(tx, &from, &mut items).await?;
                    finish_tables(tx).await?;
                    Ok::<_, StoreError>(report)
                })
            })
            .await?;
        self.forget_read_connections();
        Ok(report)
    }
}

/// The failure of the writer tells more, unless it only saw that the reader had stopped.
fn finish(outcome: (Result<(), StoreError>, Result<RestoreReport, StoreError>)) -> Result<RestoreReport, StoreError> {
    match outcome {
        (Err(reader), Err(StoreError::BadBackup { .. })) => Err(reader),
        (_, writer) => writer,
    }
}

fn bad_backup(path: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::BadBackup { path: path.to_owned(), reason: reason.into() }
}

/// Which migrations to run, up to which number; refuses what this program does not know.
fn plan(from: &Path, applied: &[Applied], sets: &[&Migrations]) -> Result<Vec<(Migrations, u32)>, StoreError> {
    let place = || from.display().to_string();
    let mut steps: BTreeMap<&str, (Migrations, u32)> = BTreeMap::new();
    for entry in applied {
        let own = [&migrate::OWN];
        let Some(set) = sets.iter().chain(&own).find(|set| set.component == entry.component) else {
            let reason = format!("it has tables of {:?}, which this program does not know", entry.component);
            return Err(bad_backup(from, reason));
        };
        let Some(step) = set.steps.iter().find(|step| step.number == entry.number) else {
            return Err(StoreError::MigrationNewer {
                place: place(),
                component: entry.component.clone(),
                found: entry.number,
                known: set.newest(),
            });
        };
        if alloy_primitives::hex::encode(step.checksum()) != entry.checksum {
            return Err(StoreError::MigrationEdited {
                place: place(),
                component: entry.component.clone(),
                number: entry.number,
                name: step.name.to_owned(),
            });
        }
        let last = steps.entry(set.component).or_insert((**set, 0));
        last.1 = last.1.max(entry.number);
    }
    // A component may refer to tables of another: run them in the order in which the program lists them.
    let order = |component: &str| sets.iter().position(|set| set.component == component);
    let mut steps: Vec<(Migrations, u32)> = steps.into_values().collect();
    steps.sort_by_key(|(set, _)| order(set.component));
    Ok(steps)
}

async fn refuse_used(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let not_empty = |tx: &Tx<'_>, detail: String| Err(StoreError::NotEmpty { place: tx.place(), detail });
    let sql = "SELECT component FROM windlass_migration WHERE component <> $1 ORDER BY component";
    if let Some(row) = tx.query_optional(sql, params![migrate::OWN.component]).await? {
        let component: String = row.get("component")?;
        return not_empty(tx, format!("it has tables of {component:?}"));
    }
    for table in ["windlass_lease", "windlass_cursor"] {
        let sql = format!("SELECT count(*) AS count FROM {table}");
        if let Some(row) = tx.query_optional(&sql, params![]).await?
            && row.get::<u64>("count")? > 0
        {
            return not_empty(tx, format!("{table} has rows"));
        }
    }
    Ok(())
}

/// Makes the tables, without the rows that migrations may have put into them.
async fn prepare_tables(tx: &mut Tx<'_>, steps: &[(Migrations, u32)], now: UnixMillis) -> Result<(), StoreError> {
    for (set, last) in steps {
        migrate::apply(tx, set, Some(*last), now).await?;
    }
    for row in tx.query("SELECT name FROM windlass_table ORDER BY position DESC", params![]).await? {
        tx.execute(&format!("DELETE FROM {}", quoted(&row.get::<String>("name")?)), params![]).await?;
    }
    Ok(())
}

async fn insert_rows(
    tx: &mut Tx<'_>,
    from: &Path,
    items: &mut mpsc::Receiver<Result<Item, StoreError>>,
) -> Result<RestoreReport, StoreError> {
    let known: Vec<String> = {
        let rows = tx.query("SELECT name FROM windlass_table", params![]).await?;
        rows.iter().map(|row| row.get("name")).collect::<Result<_, _>>()?
    };
    let mut report = RestoreReport { tables: 0, rows: 0 };
    let mut batch = Batch::default();
    while let Some(item) = items.recv().await {
        match item? {
            Item::Table { name, columns } => {
                batch.flush(tx).await?;
                if !known.contains(&name) {
                    return Err(bad_backup(from, format!("it has a table {name:?} that its migrations do not make")));
                }
                report.tables = report.tables.saturating_add(1);
                batch = Batch { table: name, columns, values: Vec::new() };
            }
            Item::Row(values) => {
                report.rows = report.rows.saturating_add(1);
                batch.push(tx, values).await?;
            }
            Item::End { rows } if rows == report.rows => {
                batch.flush(tx).await?;
                return Ok(report);
            }
            Item::End { .. } => break,
        }
    }
    Err(bad_backup(from, "it could not be read to its end"))
}

/// Rows of one table that are inserted by one statement.
#[derive(Default)]
struct Batch {
    table: String,
    columns: Vec<String>,
    values: Vec<Value>,
}

impl Batch {
    async fn push(&mut self, tx: &mut Tx<'_>, values: Vec<Value>) -> Result<(), StoreError> {
        self.values.extend(values);
        if self.values.len().saturating_add(self.columns.len()) > PARAMETERS { self.flush(tx).await } else { Ok(()) }
    }

    async fn flush(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let values = std::mem::take(&mut self.values);
        if values.is_empty() {
            return Ok(());
        }
        let mut sql = format!("INSERT INTO {} (", quoted(&self.table));
        sql.push_str(&self.columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", "));
        sql.push_str(") VALUES ");
        let width = self.columns.len().max(1);
        for first in (1..=values.len()).step_by(width) {
            sql.push_str(if first == 1 { "(" } else { ", (" });
            for column in 0..width {
                let separator = if column == 0 { "$" } else { ", $" };
                sql.push_str(separator);
                sql.push_str(&first.saturating_add(column).to_string());
            }
            sql.push(')');
        }
        tx.execute(&sql, values).await.map(drop)
    }
}

/// Nobody holds a lease of the old store here, and no fence of it may pass. Generated ids go on after the restored ones.
async fn finish_tables(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute("UPDATE windlass_lease SET holder = '', expires_at_ms = 0, number = number + 1", params![]).await?;
    if tx.backend() == Backend::Sqlite {
        return Ok(());
    }
    let identities = tx
        .query(
            "SELECT t.name AS name, a.attname AS column_name FROM windlass_table t \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = to_regclass(quote_ident(t.name)) AND a.attidentity <> ''",
            params![],
        )
        .await?;
    for row in identities {
        let (table, column): (String, String) = (row.get("name")?, row.get("column_name")?);
        let sql = format!(
            "SELECT setval(pg_get_serial_sequence(quote_ident($1), $2), \
             (SELECT coalesce(max({}), 0) + 1 FROM {}), false) AS next",
            quoted(&column),
            quoted(&table)
        );
        tx.query(&sql, params![&table, &column]).await?;
    }
    Ok(())
}

async fn is_sqlite(path: &Path) -> Result<bool, StoreError> {
    let file = path.to_owned();
    blocking(path, move || {
        use std::io::Read as _;
        let failed = |error| StoreError::file("read", &file, error);
        let mut head = Vec::new();
        std::fs::File::open(&file).map_err(failed)?.take(16).read_to_end(&mut head).map_err(failed)?;
        Ok(head.starts_with(b"SQLite format 3\0"))
    })
    .await
}

/// Compares a copied file with the checksum that its backup wrote beside it.
async fn verify_checksum(path: &Path) -> Result<(), StoreError> {
    let file = path.to_owned();
    blocking(path, move || {
        let mut log = file.as_os_str().to_owned();
        log.push("-wal");
        if std::fs::metadata(&log).is_ok_and(|metadata| metadata.len() > 0) {
            return Err(bad_backup(&file, "it is the file of a running store, not a backup; use the backup command"));
        }
        let text = match std::fs::read_to_string(checksum_path(&file)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %file.display(), "the backup has no .sha256 file; its content cannot be verified");
                return Ok(());
            }
            Err(error) => return Err(StoreError::file("read", &checksum_path(&file), error)),
        };
        let expected = text.split_whitespace().next().unwrap_or_default();
        let (found, _) = hash_file(&file)?;
        if found != expected {
            return Err(bad_backup(&file, "its checksum differs from the .sha256 file: it was changed or damaged"));
        }
        Ok(())
    })
    .await
}

/// Sends all rows of a copied file.
async fn read_copy(copy: &mut Copy, feed: Feed) -> Result<(), StoreError> {
    let outcome = send_copy(copy, &feed).await;
    if let Err(error) = &outcome {
        // Nobody listens any more when the writer has failed first.
        let _ = feed.send(Err(error.clone())).await;
    }
    outcome
}

async fn send_copy(copy: &mut Copy, feed: &Feed) -> Result<(), StoreError> {
    let mut rows: u64 = 0;
    for table in table_names(&mut copy.conn, &copy.target).await? {
        let mut announced = false;
        let mut found = all_rows(&mut copy.conn, &table);
        while let Some(row) = found.next().await {
            let row = row.map_err(|error| error.into_store(&copy.target, Role::Reader, &table))?;
            rows = rows.saturating_add(1);
            if !announced {
                announced = true;
                let item = Item::Table { name: table.clone(), columns: row.columns().to_vec() };
                if feed.send(Ok(item)).await.is_err() {
                    return Ok(());
                }
            }
            if feed.send(Ok(Item::Row(row.into_values()))).await.is_err() {
                return Ok(());
            }
        }
    }
    let _ = feed.send(Ok(Item::End { rows })).await;
    Ok(())
}

/// Sends all rows of a verified logical dump.
fn read_dump(path: &Path, feed: &Feed, rows: u64) -> Result<(), StoreError> {
    let mut reader = DumpReader::open(path)?;
    while let Some(line) = reader.next()? {
        let item = match line {
            Line::Header(_) => continue,
            Line::Table(table) => Item::Table { name: table.name, columns: table.columns },
            Line::Row(values) => Item::Row(values),
            Line::End(_) => Item::End { rows },
        };
        if feed.blocking_send(Ok(item)).is_err() {
            break;
        }
    }
    Ok(())
}
