//! From a driver's error to the crate's terms.

use std::path::Path;
use std::sync::Arc;

use sqlx::error::{DatabaseError, ErrorKind};

use super::{Backend, Role, Target, excerpt};
use crate::error::{ConstraintKind, StoreError};

// Primary result codes of SQLite.
const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_READONLY: u32 = 8;
const SQLITE_IOERR: u32 = 10;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_CANTOPEN: u32 = 14;
const SQLITE_CONSTRAINT: u32 = 19;
const SQLITE_NOTADB: u32 = 26;

pub(super) fn classify(target: &Target, role: Role, sql: &str, error: sqlx::Error) -> StoreError {
    let place = || target.place.to_string();
    match &error {
        sqlx::Error::Database(database) => {
            let kind = match target.backend() {
                Backend::Sqlite => sqlite(role, database.as_ref()),
                Backend::Postgres => postgres(role, database.as_ref()),
            };
            named(target, sql, kind, error)
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            StoreError::Unavailable { place: place(), source: Arc::new(error) }
        }
        _ => StoreError::Sql { place: place(), statement: excerpt(sql), source: Arc::new(error) },
    }
}

/// What the engine meant.
enum Meaning {
    Busy,
    NotWritable,
    Damaged,
    NotADatabase,
    Full,
    Unavailable,
    AccessDenied,
    Conflict,
    TimeLimit,
    Constraint(ConstraintKind),
    Statement,
}

fn named(target: &Target, sql: &str, meaning: Meaning, error: sqlx::Error) -> StoreError {
    let place = target.place.to_string();
    let detail = error.as_database_error().map(|cause| target.without_user(cause.message())).unwrap_or_default();
    match meaning {
        Meaning::Busy => StoreError::Busy { place },
        Meaning::NotWritable => StoreError::NotWritable { place, detail },
        Meaning::Damaged => StoreError::Damaged { place, detail },
        Meaning::NotADatabase => StoreError::NotADatabase { path: Path::new(&place).to_owned() },
        Meaning::Full => StoreError::Full { place },
        Meaning::Unavailable => StoreError::Unavailable { place, source: Arc::new(error) },
        Meaning::AccessDenied => StoreError::AccessDenied { place, detail },
        Meaning::Conflict => StoreError::Conflict { place, source: Arc::new(error) },
        Meaning::TimeLimit => StoreError::StatementTimeLimit { place },
        Meaning::Constraint(kind) => StoreError::Constraint { kind, detail, source: Arc::new(error) },
        Meaning::Statement => StoreError::Sql { place, statement: excerpt(sql), source: Arc::new(error) },
    }
}

fn sqlite_code(error: &dyn DatabaseError) -> u32 {
    let extended: u32 = error.code().and_then(|code| code.parse().ok()).unwrap_or(0);
    extended & 0xff
}

fn sqlite(role: Role, error: &dyn DatabaseError) -> Meaning {
    match sqlite_code(error) {
        SQLITE_BUSY | SQLITE_LOCKED => Meaning::Busy,
        // On a reading connection this is a statement that writes, not a file that cannot be written.
        SQLITE_READONLY if role == Role::Reader => Meaning::Statement,
        SQLITE_READONLY | SQLITE_CANTOPEN => Meaning::NotWritable,
        SQLITE_CORRUPT => Meaning::Damaged,
        SQLITE_IOERR => Meaning::Unavailable,
        SQLITE_FULL => Meaning::Full,
        SQLITE_NOTADB => Meaning::NotADatabase,
        SQLITE_CONSTRAINT => Meaning::Constraint(constraint(error)),
        _ => Meaning::Statement,
    }
}

/// SQLSTATE codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn postgres(role: Role, error: &dyn DatabaseError) -> Meaning {
    let code = error.code().unwrap_or_default();
    match code.as_ref() {
        "55P03" => Meaning::Busy,
        "40001" | "40P01" => Meaning::Conflict,
        "57014" => Meaning::TimeLimit,
        "25006" if role == Role::Writer => Meaning::NotWritable,
        "53100" => Meaning::Full,
        "XX001" | "XX002" => Meaning::Damaged,
        // The session was ended: idle in a transaction, shut down, starting up, too many connections.
        "25P03" | "57P01" | "57P02" | "57P03" | "57P05" | "53300" => Meaning::Unavailable,
        "3D000" | "3F000" | "42501" => Meaning::AccessDenied,
        // A migration of another process changed the columns under a prepared statement: a new connection is needed.
        "0A000" if error.message().contains("cached plan") => Meaning::Unavailable,
        other if other.starts_with("08") => Meaning::Unavailable,
        other if other.starts_with("28") => Meaning::AccessDenied,
        other if other.starts_with("23") => Meaning::Constraint(constraint(error)),
        _ => Meaning::Statement,
    }
}

fn constraint(error: &dyn DatabaseError) -> ConstraintKind {
    match error.kind() {
        ErrorKind::UniqueViolation => ConstraintKind::Unique,
        ErrorKind::ForeignKeyViolation => ConstraintKind::ForeignKey,
        ErrorKind::NotNullViolation => ConstraintKind::NotNull,
        ErrorKind::CheckViolation => ConstraintKind::Check,
        _ => ConstraintKind::Other,
    }
}

/// Whether the connection is of no use after this error.
pub(crate) fn is_lost(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { .. })
}

/// Whether a commit that failed like this may have been kept all the same.
pub(crate) fn outcome_is_unknown(backend: Backend, error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => match backend {
            // The commit record may have reached the disk although the flush was reported as failed.
            Backend::Sqlite => sqlite_code(database.as_ref()) == SQLITE_IOERR,
            Backend::Postgres => {
                let code = database.code().unwrap_or_default();
                code.starts_with("08") || code.starts_with("57P")
            }
        },
        _ => true,
    }
}
