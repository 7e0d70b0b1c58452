//! Backup, restore and export.
//!
//! | | SQLite | PostgreSQL |
//! | --- | --- | --- |
//! | backup | a compact copy of the database file, with `<file>.sha256` beside it | a logical dump ([`format`]) |
//! | restore from a database file | yes | yes |
//! | restore from a logical dump | yes | yes |
//!
//! All three run while the store is in use and see one moment of it. Files appear complete and flushed, or not at all, are
//! readable by their owner only, and never replace anything.

mod files;
mod format;
mod restore;

use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use alloy_primitives::hex;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use sha2::{Digest as _, Sha256};

use self::format::{Applied, DumpWriter, FORMAT, Header, PROGRAM};
use crate::engine::{Backend, Conn, Role, RunError, Target};
use crate::error::StoreError;
use crate::params;
use crate::store::Store;
use crate::value::Row;

/// What a backup wrote.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BackupReport {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Number of tables.
    pub tables: u64,
    /// Number of rows in them.
    pub rows: u64,
    /// Hexadecimal SHA-256 of the whole file.
    pub sha256: String,
}

/// What a restore read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RestoreReport {
    /// Number of tables with rows.
    pub tables: u64,
    /// Number of rows.
    pub rows: u64,
}

/// What an export wrote.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ExportReport {
    /// The folder.
    pub folder: PathBuf,
    /// Number of tables, one file each.
    pub tables: u64,
    /// Number of rows in them.
    pub rows: u64,
}

impl Store {
    /// Writes a backup of everything to a new file. Runs beside reads and writes. The file holds all data of the store:
    /// keep it as safe as the store itself.
    ///
    /// # Errors
    /// [`StoreError::TargetExists`], [`StoreError::File`], [`StoreError::Full`]; nothing is left behind then.
    pub async fn backup(&self, to: &Path) -> Result<BackupReport, StoreError> {
        self.check_open()?;
        files::refuse_existing(to)?;
        let partial = files::partial_path(to)?;
        let written = match self.backend() {
            Backend::Sqlite => self.copy_file(&partial).await,
            Backend::Postgres => self.dump(&partial).await,
        };
        let finished = match written {
            Ok((tables, rows)) => self.finish_backup(&partial, to, tables, rows).await,
            Err(error) => Err(error),
        };
        if finished.is_err() {
            let _ = std::fs::remove_file(&partial);
        }
        finished
    }

    async fn finish_backup(&self, partial: &Path, to: &Path, tables: u64, rows: u64) -> Result<BackupReport, StoreError> {
        let (partial, path, backend) = (partial.to_owned(), to.to_owned(), self.backend());
        blocking(to, move || {
            let (sha256, bytes) = hash_file(&partial)?;
            files::publish(&partial, &path)?;
            if backend == Backend::Sqlite {
                // In the form that `sha256sum -c` reads. A logical dump carries its checksum inside.
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                write_checksum(&checksum_path(&path), &format!("{sha256}  {name}\n"))?;
            }
            Ok(BackupReport { path, bytes, tables, rows, sha256 })
        })
        .await
    }

    /// A copy of the SQLite file without free pages, through a connection of its own.
    async fn copy_file(&self, partial: &Path) -> Result<(u64, u64), StoreError> {
        // Created first, so that it is private from its first byte; SQLite accepts an empty file as target.
        drop(files::create_private(partial)?);
        let target = self.target();
        let mut conn = target.connect(Role::Writer).await?;
        let text = partial.to_str().ok_or_else(|| {
            let cause = std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path is not UTF-8");
            StoreError::file("create", partial, cause)
        })?;
        let sql = format!("VACUUM INTO '{}'", text.replace('\'', "''"));
        let copied = conn.batch(&sql).await.map_err(|error| target.error(Role::Writer, "VACUUM INTO", error));
        conn.close().await;
        copied?;
        let mut copy = restore::open_copy(partial).await?;
        let counted = count_rows(&mut copy.conn, &copy.target).await;
        copy.conn.close().await;
        counted
    }

    /// A logical dump of all tables in one read-only snapshot.
    async fn dump(&self, partial: &Path) -> Result<(u64, u64), StoreError> {
        let target = self.target();
        let mut conn = snapshot(target).await?;
        let header = Header {
            program: PROGRAM.to_owned(),
            format: FORMAT,
            engine: engine_name(conn.backend()).to_owned(),
            created_at_ms: self.clock().now().0,
            migrations: applied_migrations(&mut conn, target).await?,
        };
        let mut writer = DumpWriter::new(files::create_private(partial)?, partial, header)?;
        let tables = table_names(&mut conn, target).await?;
        for table in &tables {
            let mut announced = false;
            let mut rows = all_rows(&mut conn, table);
            while let Some(row) = rows.next().await {
                let row = row.map_err(|error| error.into_store(target, Role::Reader, table))?;
                if !announced {
                    writer.table(table, row.columns())?;
                    announced = true;
                }
                writer.row(row.values())?;
            }
        }
        conn.close().await;
        let rows = writer.finish()?;
        Ok((tables.len() as u64, rows))
    }

    /// Writes every table to `<folder>/<table>.jsonl`, one JSON object per row with bytes as 0x-prefixed hexadecimal, for
    /// other programs to read. The folder must not exist. An export cannot be restored; see [`Store::backup`].
    ///
    /// # Errors
    /// [`StoreError::TargetExists`], [`StoreError::File`]; nothing is left behind then.
    pub async fn export(&self, folder: &Path) -> Result<ExportReport, StoreError> {
        self.check_open()?;
        files::refuse_existing(folder)?;
        let partial = files::partial_path(folder)?;
        let written = self.export_tables(&partial).await;
        let finished = written.and_then(|(tables, rows)| {
            files::publish_folder(&partial, folder)?;
            Ok(ExportReport { folder: folder.to_owned(), tables, rows })
        });
        if finished.is_err() {
            let _ = std::fs::remove_dir_all(&partial);
        }
        finished
    }

    async fn export_tables(&self, folder: &Path) -> Result<(u64, u64), StoreError> {
        files::create_private_folder(folder)?;
        let target = self.target();
        let mut conn = snapshot(target).await?;
        let tables = table_names(&mut conn, target).await?;
        let mut rows: u64 = 0;
        for table in &tables {
            let path = folder.join(format!("{table}.jsonl"));
            let mut output = BufWriter::new(files::create_private(&path)?);
            let failed = |error| StoreError::file("write", &path, error);
            let mut found = all_rows(&mut conn, table);
            while let Some(row) = found.next().await {
                let row = row.map_err(|error| error.into_store(target, Role::Reader, table))?;
                writeln!(output, "{}", format::to_object(row.columns(), row.values())).map_err(failed)?;
                rows = rows.saturating_add(1);
            }
            drop(found);
            let file = output.into_inner().map_err(|error| failed(error.into_error()))?;
            file.sync_all().map_err(failed)?;
        }
        conn.close().await;
        Ok((tables.len() as u64, rows))
    }

    /// Asks SQLite to check the whole file (structure, indexes, references). Reads everything: seconds for a large file. On
    /// PostgreSQL, which checks its own pages, it only makes sure that the server answers.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the first finding.
    pub async fn check_integrity(&self) -> Result<(), StoreError> {
        match self.backend() {
            Backend::Sqlite => {
                let mut conn = self.target().connect(Role::Reader).await?;
                let checked = check_file(&mut conn, self.target()).await;
                conn.close().await;
                checked
            }
            Backend::Postgres => self.query("SELECT 1 AS one", params![]).await.map(drop),
        }
    }
}

async fn check_file(conn: &mut Conn, target: &Target) -> Result<(), StoreError> {
    let findings = run(conn, target, "PRAGMA integrity_check(1)").await?;
    let finding: String = match findings.first() {
        Some(row) => row.get("integrity_check")?,
        None => "ok".to_owned(),
    };
    if finding != "ok" {
        return Err(StoreError::Damaged { place: target.place.to_string(), detail: finding });
    }
    if let Some(row) = run(conn, target, "SELECT \"table\" AS name FROM pragma_foreign_key_check").await?.first() {
        let detail = format!("table {:?} refers to rows that do not exist", row.get::<String>("name")?);
        return Err(StoreError::Damaged { place: target.place.to_string(), detail });
    }
    Ok(())
}

/// A connection of its own with an open read-only transaction that sees one moment.
async fn snapshot(target: &Target) -> Result<Conn, StoreError> {
    let mut conn = target.connect(Role::Reader).await?;
    let sql = match target.backend() {
        Backend::Sqlite => "BEGIN",
        // The limit on idle transactions protects leases; a read-only snapshot holds none.
        Backend::Postgres => "SET idle_in_transaction_session_timeout = 0; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    };
    conn.batch(sql).await.map_err(|error| target.error(Role::Reader, sql, error))?;
    Ok(conn)
}

async fn run(conn: &mut Conn, target: &Target, sql: &str) -> Result<Vec<Row>, StoreError> {
    let outcome = conn.run("", sql, Vec::new()).await;
    outcome.map(|(rows, _)| rows).map_err(|error| error.into_store(target, Role::Reader, sql))
}

fn all_rows<'c>(conn: &'c mut Conn, table: &str) -> BoxStream<'c, Result<Row, RunError>> {
    conn.stream(&format!("SELECT * FROM {}", quoted(table)))
}

/// Our tables, in the order in which they were created: a table comes after those it refers to.
async fn table_names(conn: &mut Conn, target: &Target) -> Result<Vec<String>, StoreError> {
    let rows = run(conn, target, "SELECT name FROM windlass_table ORDER BY position").await?;
    rows.iter().map(|row| row.get("name")).collect()
}

async fn applied_migrations(conn: &mut Conn, target: &Target) -> Result<Vec<Applied>, StoreError> {
    let sql = "SELECT component, number, name, checksum FROM windlass_migration ORDER BY component, number";
    let rows = run(conn, target, sql).await?;
    rows.iter()
        .map(|row| {
            Ok(Applied {
                component: row.get("component")?,
                number: row.get("number")?,
                name: row.get("name")?,
                checksum: hex::encode(row.get::<Vec<u8>>("checksum")?),
            })
        })
        .collect()
}

async fn count_rows(conn: &mut Conn, target: &Target) -> Result<(u64, u64), StoreError> {
    let tables = table_names(conn, target).await?;
    let mut rows: u64 = 0;
    for table in &tables {
        let sql = format!("SELECT count(*) AS count FROM {}", quoted(table));
        let count: u64 = match run(conn, target, &sql).await?.first() {
            Some(row) => row.get("count")?,
            None => 0,
        };
        rows = rows.saturating_add(count);
    }
    Ok((tables.len() as u64, rows))
}

/// A name as SQL identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn engine_name(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => "sqlite",
        Backend::Postgres => "postgres",
    }
}

/// Where the checksum of a copied file is.
fn checksum_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    PathBuf::from(name)
}

fn write_checksum(path: &Path, text: &str) -> Result<(), StoreError> {
    let mut file = files::create_private(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| StoreError::file("write", path, error))
}

/// Hexadecimal SHA-256 and length of a file.
fn hash_file(path: &Path) -> Result<(String, u64), StoreError> {
    let failed = |error| StoreError::file("read", path, error);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut length: u64 = 0;
    loop {
        let count = file.read(&mut buffer).map_err(failed)?;
        let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else { break };
        hash.update(piece);
        length = length.saturating_add(count as u64);
    }
    Ok((hex::encode(hash.finalize()), length))
}

/// Runs file work that takes long away from the runtime's threads.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(StoreError::file("process", path, std::io::Error::other(error))),
    }
}
