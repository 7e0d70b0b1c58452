//! One connection to one of the two engines, and the translation of its values and errors.
//!
//! The enum is used instead of `sqlx::Any` because nulls without a type, blobs, and the one-round-trip savepoints of the
//! writer need what only the concrete drivers offer.

mod classify;
mod postgres;
mod sqlite;
mod statement;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::error::StoreError;
use crate::options::{StoreOptions, Synchronous};
use crate::value::{Row, Value};

pub(crate) use self::classify::{is_lost, outcome_is_unknown};
pub(crate) use self::statement::{check_parameters, excerpt, is_transaction_control, to_postgres};

/// Which engine holds the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// A file on this machine.
    Sqlite,
    /// A PostgreSQL server, or one that speaks its protocol and SQL.
    Postgres,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The one connection that writes.
    Writer,
    /// A connection of the read pool: the engine itself refuses writes on it.
    Reader,
}

/// Where the data is and how to connect to it.
pub(crate) struct Target {
    /// Names the database for people; holds no user and no password.
    pub(crate) place: Arc<str>,
    kind: Kind,
    synchronous: Synchronous,
    busy_time_limit: Duration,
    connect_time_limit: Duration,
}

enum Kind {
    Sqlite { path: PathBuf, options: Box<SqliteConnectOptions> },
    Postgres { options: Box<PgConnectOptions> },
}

/// A temporary folder of an in-memory store; removed when dropped.
pub(crate) type Scratch = Option<tempfile::TempDir>;

impl Target {
    /// Reads a store URL. Creates the temporary folder for `sqlite::memory:` and nothing else.
    pub(crate) fn parse(url: &str, options: &StoreOptions) -> Result<(Self, Scratch), StoreError> {
        let (place, kind, scratch) = if let Some(rest) = url.strip_prefix("sqlite:") {
            let (path, options, scratch) = sqlite::parse(rest, options)?;
            let place = match &scratch {
                Some(_) => "the in-memory database".to_owned(),
                None => path.display().to_string(),
            };
            (place, Kind::Sqlite { path, options: Box::new(options) }, scratch)
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let (place, options) = postgres::parse(url)?;
            (place, Kind::Postgres { options: Box::new(options) }, None)
        } else {
            // The text itself is not repeated: it may be a password that landed in the wrong variable.
            return Err(StoreError::Url { reason: "it must begin with sqlite: or postgres://".to_owned() });
        };
        // Durability of a database that nobody can open again has no meaning.
        let synchronous = if scratch.is_some() { Synchronous::Off } else { options.synchronous };
        let target = Self {
            place: place.into(),
            kind,
            synchronous,
            busy_time_limit: options.busy_time_limit,
            connect_time_limit: options.connect_time_limit,
        };
        Ok((target, scratch))
    }

    /// A SQLite file that is only read, as it is: a backup.
    pub(crate) fn of_copy(path: &Path, options: &StoreOptions) -> Self {
        let connect = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
        Self {
            place: path.display().to_string().into(),
            kind: Kind::Sqlite { path: path.to_owned(), options: Box::new(connect) },
            synchronous: Synchronous::Off,
            busy_time_limit: options.busy_time_limit,
            connect_time_limit: options.connect_time_limit,
        }
    }

    /// The same database, which must exist, with the engine refusing every change: that of another program.
    pub(crate) fn only_read(mut self) -> Result<Self, StoreError> {
        if let Kind::Sqlite { path, options } = &mut self.kind {
            sqlite::check_is_database(path)?;
            **options = SqliteConnectOptions::new().filename(&path).read_only(true).busy_timeout(self.busy_time_limit);
        }
        Ok(self)
    }

    pub(crate) fn backend(&self) -> Backend {
        match self.kind {
            Kind::Sqlite { .. } => Backend::Sqlite,
            Kind::Postgres { .. } => Backend::Postgres,
        }
    }

    /// The first connection: creates what may be missing, refuses what is not ours, and leaves a connection for the writer.
    pub(crate) async fn prepare(&self) -> Result<Conn, StoreError> {
        match &self.kind {
            Kind::Sqlite { path, .. } => sqlite::prepare(self, path).await,
            Kind::Postgres { .. } => {
                let mut conn = self.connect(Role::Writer).await?;
                postgres::check(self, &mut conn).await?;
                Ok(conn)
            }
        }
    }

    /// Connects. On PostgreSQL keeps trying for the connect time limit while the server is not there.
    pub(crate) async fn connect(&self, role: Role) -> Result<Conn, StoreError> {
        match &self.kind {
            Kind::Sqlite { options, .. } => sqlite::connect(self, options, role).await.map(Conn::Sqlite),
            Kind::Postgres { options } => postgres::connect(self, options, role).await.map(Conn::Postgres),
        }
    }

    /// Takes the user's name out of a message of the server.
    pub(crate) fn without_user(&self, message: &str) -> String {
        match &self.kind {
            Kind::Sqlite { .. } => message.to_owned(),
            Kind::Postgres { options } => message.replace(&format!("{:?}", options.get_username()), "of the URL"),
        }
    }

    /// Puts a driver's error into the crate's terms.
    pub(crate) fn error(&self, role: Role, sql: &str, error: sqlx::Error) -> StoreError {
        classify::classify(self, role, sql, error)
    }
}

/// A connection.
pub(crate) enum Conn {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Conn {
    pub(crate) fn backend(&self) -> Backend {
        match self {
            Self::Sqlite(_) => Backend::Sqlite,
            Self::Postgres(_) => Backend::Postgres,
        }
    }

    /// Runs one prepared statement: its rows and the number of rows it changed.
    /// `prefix` is run before it in the same round trip where the engine can do that, else in one of its own.
    pub(crate) async fn run(&mut self, prefix: &str, sql: &str, params: Vec<Value>) -> Result<(Vec<Row>, u64), RunError> {
        match self {
            Self::Sqlite(conn) => sqlite::run(conn, prefix, sql, params).await,
            Self::Postgres(conn) => {
                if !prefix.is_empty() {
                    postgres::batch(conn, prefix).await?;
                }
                postgres::run(conn, sql, params).await
            }
        }
    }

    /// Runs statements without parameters and without results.
    pub(crate) async fn batch(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(conn) => sqlite::batch(conn, sql).await,
            Self::Postgres(conn) => postgres::batch(conn, sql).await,
        }
    }

    /// The rows of a statement without parameters one by one, for results that do not fit memory.
    pub(crate) fn stream(&mut self, sql: &str) -> BoxStream<'_, Result<Row, RunError>> {
        match self {
            Self::Sqlite(conn) => sqlite::stream(conn, sql),
            Self::Postgres(conn) => postgres::stream(conn, sql),
        }
    }

    /// Forgets prepared statements, whose result types may have changed with a migration.
    pub(crate) async fn forget_statements(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(conn) => conn.clear_cached_statements().await,
            Self::Postgres(conn) => conn.clear_cached_statements().await,
        }
    }

    pub(crate) async fn close(self) {
        let outcome = match self {
            Self::Sqlite(conn) => conn.close().await,
            Self::Postgres(conn) => conn.close().await,
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "closing a database connection failed");
        }
    }
}

/// A statement failed in the driver, or a row could not be carried.
#[derive(Debug)]
pub(crate) enum RunError {
    Driver(sqlx::Error),
    Store(StoreError),
}

impl From<sqlx::Error> for RunError {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<StoreError> for RunError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl RunError {
    pub(crate) fn into_store(self, target: &Target, role: Role, sql: &str) -> StoreError {
        match self {
            Self::Driver(error) => target.error(role, sql, error),
            Self::Store(error) => error,
        }
    }
}
