//! SQLite: opening files safely, and values.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::ready;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow, SqliteSynchronous, SqliteValueRef};
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, ConnectOptions as _, Decode, Either, Executor as _, Row as _, Sqlite,
    TypeInfo as _, ValueRef as _,
};

use super::{Conn, Role, RunError, Scratch, Target};
use crate::error::StoreError;
use crate::options::{StoreOptions, Synchronous};
use crate::value::{Row, Value};

/// "WNDL": marks the file as ours in the header field that SQLite keeps for this.
const APPLICATION_ID: i64 = 0x574e_444c;

/// The first bytes of every SQLite database file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Prepared statements kept per connection. The program has fewer than this.
const STATEMENT_CACHE: usize = 512;

/// Switching a new file to WAL needs a moment without other connections, and SQLite does not wait for it by itself.
const JOURNAL_ATTEMPTS: u32 = 50;

pub(super) fn parse(rest: &str, options: &StoreOptions) -> Result<(PathBuf, SqliteConnectOptions, Scratch), StoreError> {
    let scratch = if rest == ":memory:" {
        // A real file in a private folder: several connections, snapshots of readers and write-ahead logging then work
        // exactly as they do in production, which SQLite's own in-memory databases do not offer.
        let folder = tempfile::Builder::new().prefix("windlass-store-").tempdir();
        Some(folder.map_err(|source| StoreError::file("create a folder in", &std::env::temp_dir(), source))?)
    } else {
        None
    };
    let path = match &scratch {
        Some(folder) => folder.path().join("memory.db"),
        None => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() {
                return Err(StoreError::Url { reason: "no file is named after sqlite:".to_owned() });
            }
            if path.contains(['?', '\0']) {
                return Err(StoreError::Url { reason: "the path after sqlite: must not contain ? or NUL".to_owned() });
            }
            PathBuf::from(path)
        }
    };
    let synchronous = match (options.synchronous, &scratch) {
        (Synchronous::Full, None) => SqliteSynchronous::Full,
        _ => SqliteSynchronous::Off,
    };
    let connect = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(false)
        .foreign_keys(true)
        .synchronous(synchronous)
        .busy_timeout(options.busy_time_limit)
        .statement_cache_capacity(STATEMENT_CACHE)
        .pragma("temp_store", "memory")
        // A log that once grew large (a long read held it) is cut back at the next checkpoint.
        .pragma("journal_size_limit", "67108864")
        .thread_name(|number| format!("sqlite-{number}"))
        .disable_statement_logging();
    Ok((path, connect, scratch))
}

pub(super) async fn connect(target: &Target, options: &SqliteConnectOptions, role: Role) -> Result<SqliteConnection, StoreError> {
    let options = match role {
        Role::Writer => options.clone(),
        Role::Reader => options.clone().pragma("query_only", "ON"),
    };
    options.connect().await.map_err(|error| target.error(role, "open", error))
}

/// Creates or checks the file, then switches it to write-ahead logging.
pub(super) async fn prepare(target: &Target, path: &Path) -> Result<Conn, StoreError> {
    create_or_check_file(path)?;
    let mut conn = target.connect(Role::Writer).await?;
    // Checked before anything is written: a file of another program must stay as it is.
    let fail = |error: RunError| error.into_store(target, Role::Writer, "check the file");
    let application = integer(&mut conn, "PRAGMA application_id").await.map_err(fail)?;
    let tables = integer(&mut conn, "SELECT count(*) AS value FROM sqlite_master").await.map_err(fail)?;
    if application != APPLICATION_ID && (application != 0 || tables != 0) {
        return Err(StoreError::Foreign { place: target.place.to_string() });
    }
    use_write_ahead_log(target, &mut conn).await?;
    if application == 0 {
        let mark = format!("PRAGMA application_id = {APPLICATION_ID}");
        conn.batch(&mark).await.map_err(|error| target.error(Role::Writer, &mark, error))?;
    }
    Ok(conn)
}

async fn use_write_ahead_log(target: &Target, conn: &mut Conn) -> Result<(), StoreError> {
    const SQL: &str = "PRAGMA journal_mode = WAL";
    let pause = target.busy_time_limit / JOURNAL_ATTEMPTS;
    let mut attempt = 0;
    loop {
        attempt += 1;
        match conn.run("", SQL, Vec::new()).await.map_err(|error| error.into_store(target, Role::Writer, SQL)) {
            Ok((rows, _)) => {
                return match rows.first().map(|row| row.values()) {
                    Some([Value::Text(mode)]) if mode.eq_ignore_ascii_case("wal") => Ok(()),
                    _ => Err(StoreError::NotWritable {
                        place: target.place.to_string(),
                        detail: "the file system does not support write-ahead logging; use a local disk".to_owned(),
                    }),
                };
            }
            Err(StoreError::Busy { .. }) if attempt < JOURNAL_ATTEMPTS => tokio::time::sleep(pause).await,
            Err(error) => return Err(error),
        }
    }
}

async fn integer(conn: &mut Conn, sql: &str) -> Result<i64, RunError> {
    let (rows, _) = conn.run("", sql, Vec::new()).await?;
    match rows.first().map(|row| row.values()) {
        Some([Value::Integer(number)]) => Ok(*number),
        _ => Ok(0),
    }
}

fn create_or_check_file(path: &Path) -> Result<(), StoreError> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(StoreError::NotADatabase { path: path.to_owned() }),
        Ok(_) => {
            warn_if_readable_by_others(path);
            check_magic(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => create_file(path),
        Err(error) => Err(StoreError::file("read", path, error)),
    }
}

/// Creates an empty file that only its owner can read; SQLite gives its log files the same permissions.
fn create_file(path: &Path) -> Result<(), StoreError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        create_folder(folder).map_err(|error| StoreError::file("create the folder", folder, error))?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        // Another process was faster: it made the same file.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::file("create", path, error)),
    }
}

fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// That a file is there and is a database.
pub(super) fn check_is_database(path: &Path) -> Result<(), StoreError> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(StoreError::NotADatabase { path: path.to_owned() }),
        Ok(_) => check_magic(path),
        Err(error) => Err(StoreError::file("read", path, error)),
    }
}

fn check_magic(path: &Path) -> Result<(), StoreError> {
    let mut file = std::fs::File::open(path).map_err(|error| StoreError::file("read", path, error))?;
    let mut head = Vec::with_capacity(MAGIC.len());
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut head).map_err(|error| StoreError::file("read", path, error))?;
    if head.is_empty() || head == MAGIC { Ok(()) } else { Err(StoreError::NotADatabase { path: path.to_owned() }) }
}

#[cfg(unix)]
fn warn_if_readable_by_others(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    if let Ok(metadata) = std::fs::metadata(path) {
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            tracing::warn!(
                path = %path.display(),
                mode = format_args!("{mode:o}"),
                "the database can be opened by other users of this machine; run chmod 600 on it"
            );
        }
    }
}

#[cfg(not(unix))]
fn warn_if_readable_by_others(_path: &Path) {}

fn arguments(params: Vec<Value>) -> Result<SqliteArguments, RunError> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(params.len(), 0);
    for (index, value) in params.into_iter().enumerate() {
        match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Integer(number) => arguments.add(number),
            Value::Text(text) => arguments.add(text),
            Value::Blob(bytes) => arguments.add(bytes),
            Value::TooLarge(number) => return Err(super::statement::too_large(index, number).into()),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// Runs the statement with `prefix` before it as one command of the connection's thread.
///
/// All parameters are written `$n`, so their numbers mean the same with and without the prefix.
pub(super) async fn run(
    conn: &mut SqliteConnection,
    prefix: &str,
    sql: &str,
    params: Vec<Value>,
) -> Result<(Vec<Row>, u64), RunError> {
    let arguments = arguments(params)?;
    let mut text = String::with_capacity(prefix.len() + sql.len());
    text.push_str(prefix);
    text.push_str(sql);
    let mut results = conn.fetch_many(sqlx::query_with(AssertSqlSafe(text), arguments));
    let mut rows = Vec::new();
    let mut columns = None;
    let mut changed = 0;
    while let Some(item) = results.try_next().await? {
        match item {
            // SQLite repeats the count of the last change for statements that change nothing: only the last one counts.
            Either::Left(done) => changed = done.rows_affected(),
            Either::Right(row) => {
                let columns = columns.get_or_insert_with(|| column_names(&row));
                rows.push(decode(&row, columns)?);
            }
        }
    }
    Ok((rows, changed))
}

pub(super) async fn batch(conn: &mut SqliteConnection, sql: &str) -> Result<(), sqlx::Error> {
    let mut results = conn.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql)));
    while results.try_next().await?.is_some() {}
    Ok(())
}

pub(super) fn stream<'c>(conn: &'c mut SqliteConnection, sql: &str) -> BoxStream<'c, Result<Row, RunError>> {
    let mut columns = None;
    conn.fetch_many(sqlx::query_with(AssertSqlSafe(sql), SqliteArguments::default()))
        .map_err(RunError::from)
        .try_filter_map(move |item| {
            ready(match item {
                Either::Left(_) => Ok(None),
                Either::Right(row) => decode(&row, columns.get_or_insert_with(|| column_names(&row))).map(Some),
            })
        })
        .boxed()
}

fn column_names(row: &SqliteRow) -> Arc<[String]> {
    row.columns().iter().map(|column| column.name().to_owned()).collect()
}

fn decode(row: &SqliteRow, columns: &Arc<[String]>) -> Result<Row, RunError> {
    let mut values = Vec::with_capacity(columns.len());
    for (index, column) in columns.iter().enumerate() {
        values.push(decode_value(row.try_get_raw(index)?, column)?);
    }
    Ok(Row::new(Arc::clone(columns), values))
}

fn decode_value(raw: SqliteValueRef<'_>, column: &str) -> Result<Value, RunError> {
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info().name().to_owned();
    let value = match kind.as_str() {
        "INTEGER" => <i64 as Decode<Sqlite>>::decode(raw).map(Value::Integer),
        "TEXT" => <String as Decode<Sqlite>>::decode(raw).map(Value::Text),
        "BLOB" => <Vec<u8> as Decode<Sqlite>>::decode(raw).map(Value::Blob),
        _ => {
            return Err(StoreError::UnsupportedColumn { column: column.to_owned(), database_type: kind }.into());
        }
    };
    value.map_err(|error| sqlx::Error::Decode(error).into())
}
