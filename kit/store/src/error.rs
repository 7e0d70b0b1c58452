//! What can go wrong in a store: what, where, and what an operator can do about it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Kind of a violated table constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConstraintKind {
    /// Primary key or unique index.
    Unique,
    /// A referenced row is missing, or a row that is still referenced was removed.
    ForeignKey,
    /// A NULL where none may be.
    NotNull,
    /// A CHECK clause.
    Check,
    /// Any other rule of the database.
    Other,
}

/// Every failure of this crate. It can be cloned, because a failed commit is answered to every job in the group.
///
/// Messages name the database by file path or by host, port and database name; user names, passwords and other parts of a
/// URL are never in them.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store URL cannot be used.
    #[error("the store URL cannot be used: {reason}")]
    Url {
        /// Which rule it breaks.
        reason: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried: "create", "read".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Arc<io::Error>,
    },
    /// The file exists but is no SQLite database.
    #[error("{} is not an SQLite database", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The database belongs to another program.
    #[error("{place} holds tables of another program")]
    Foreign {
        /// The database.
        place: String,
    },
    /// The database content is damaged.
    #[error("{place} is damaged: {detail}")]
    Damaged {
        /// The database.
        place: String,
        /// What the database engine found.
        detail: String,
    },
    /// The database cannot be written: file or folder permissions, a read-only file system, a standby server.
    #[error("{place} cannot be written: {detail}")]
    NotWritable {
        /// The database.
        place: String,
        /// What the database engine said.
        detail: String,
    },
    /// The device is full.
    #[error("no space is left for {place}")]
    Full {
        /// The database.
        place: String,
    },
    /// Another connection held a lock for longer than the busy time limit.
    #[error("{place} is locked by another connection")]
    Busy {
        /// The database.
        place: String,
    },
    /// The database cannot be reached, or the connection broke. Nothing of the job was committed.
    #[error("{place} cannot be reached")]
    Unavailable {
        /// The database.
        place: String,
        /// The cause.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The server refuses this user, or this database does not exist.
    #[error("{place} refuses access: {detail}")]
    AccessDenied {
        /// The database.
        place: String,
        /// What the server said.
        detail: String,
    },
    /// The server is too old, or lacks something that is needed.
    #[error("{place} is not supported: {detail}")]
    Unsupported {
        /// The database.
        place: String,
        /// What is needed.
        detail: String,
    },
    /// A statement failed for a reason that is not one of the other variants: wrong SQL, a missing table.
    #[error("statement failed on {place}: {statement}")]
    Sql {
        /// The database.
        place: String,
        /// The beginning of the statement.
        statement: String,
        /// The cause.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// A statement breaks a constraint of a table.
    #[error("constraint violated ({kind:?}): {detail}")]
    Constraint {
        /// Which kind of constraint.
        kind: ConstraintKind,
        /// Constraint, table or columns, as the engine names them.
        detail: String,
        /// The cause.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The database gave way to another transaction (serialisation failure or deadlock). Repeat the job.
    #[error("{place} gave way to another transaction")]
    Conflict {
        /// The database.
        place: String,
        /// The cause.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// A statement ran for longer than the database allows.
    #[error("{place} ended a statement that took too long")]
    StatementTimeLimit {
        /// The database.
        place: String,
    },
    /// The statement uses another number of parameters than were given.
    #[error("the statement needs {needed} parameters and got {given}: {statement}")]
    ParameterCount {
        /// Highest `$n` in the statement.
        needed: usize,
        /// Number of values given.
        given: usize,
        /// The beginning of the statement.
        statement: String,
    },
    /// A parameter does not fit a 64-bit signed column, or is text with a NUL character.
    #[error("parameter ${parameter} cannot be stored: {reason}")]
    ValueRange {
        /// Number of the parameter, from 1.
        parameter: usize,
        /// Why.
        reason: String,
    },
    /// The result has no such column.
    #[error("no column {column:?} in the result; it has: {available}")]
    NoColumn {
        /// The column asked for.
        column: String,
        /// The columns of the result.
        available: String,
    },
    /// The column's value cannot be read as the type asked for.
    #[error("column {column:?}: expected {expected}, found {found}")]
    ColumnType {
        /// The column.
        column: String,
        /// What was expected.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// The result has a column of a database type this layer does not carry (such as floating point).
    #[error("column {column:?} has the database type {database_type}, which is not supported")]
    UnsupportedColumn {
        /// The column.
        column: String,
        /// The engine's name of the type.
        database_type: String,
    },
    /// A statement of the job failed and the job went on as if it had not. The whole job was rolled back.
    #[error("job {job:?} went on after a statement had failed; it was rolled back")]
    FailedStatementIgnored {
        /// The job.
        job: &'static str,
        /// The failure of the first failed statement.
        #[source]
        source: Box<StoreError>,
    },
    /// The job panicked. It was rolled back.
    #[error("job {job:?} panicked and was rolled back: {message}")]
    JobPanicked {
        /// The job.
        job: &'static str,
        /// The panic message.
        message: String,
    },
    /// The job ran for longer than allowed. It was rolled back; if it was in the middle of a statement, so was its group.
    #[error("job {job:?} took longer than {limit:?} and was rolled back")]
    JobTimeLimit {
        /// The job.
        job: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The commit failed; nothing of the group was kept.
    #[error("the commit failed on {place}; nothing was kept")]
    Commit {
        /// The database.
        place: String,
        /// The cause: a constraint that is checked at the commit, a session that the server had ended.
        #[source]
        source: Box<StoreError>,
    },
    /// The connection broke while the commit was under way: the job may or may not have been kept. Repeat it only if it
    /// recognises its own earlier success.
    #[error("the connection to {place} broke during the commit; it is not known whether the job was kept")]
    CommitUnknown {
        /// The database.
        place: String,
        /// The cause.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// A statement of a job would end or nest the transaction, which belongs to the writer.
    #[error("a job must not control its transaction: {statement}")]
    TransactionControl {
        /// The beginning of the statement.
        statement: String,
    },
    /// A job dropped a statement before its end (a time limit of its own, a `select`), so the state of the transaction is not
    /// known. Its whole group was rolled back.
    #[error("job {job:?} abandoned a statement; its group was rolled back")]
    StatementAbandoned {
        /// The job.
        job: &'static str,
    },
    /// A job called [`crate::Store::write`] of its own store. It would wait for itself.
    #[error("job {job:?} was started from inside another job of the same store")]
    NestedWrite {
        /// The inner job.
        job: &'static str,
    },
    /// The fence is stale: another holder has the lease, or it was released.
    #[error("lease {lease:?}: fencing number {held} is stale, the lease is at {current}")]
    Fenced {
        /// Name of the lease.
        lease: String,
        /// Number of the fence that was shown.
        held: u64,
        /// Number of the lease now; 0 when the lease does not exist.
        current: u64,
    },
    /// A commit hook ended this store, as in a crash. Open the database again to go on.
    #[error("the store was ended by its commit hook")]
    Crashed,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A migration that was applied earlier has another text now.
    #[error("migration {number} ({name:?}) of {component:?} was changed after it had been applied to {place}")]
    MigrationEdited {
        /// The database.
        place: String,
        /// The component.
        component: String,
        /// Its number.
        number: u32,
        /// Its name in this program.
        name: String,
    },
    /// The database has a migration that this program does not know: it was used by a newer version.
    #[error("{place} is at migration {found} of {component:?}; this program knows only {known}")]
    MigrationNewer {
        /// The database.
        place: String,
        /// The component.
        component: String,
        /// The newest migration in the database.
        found: u32,
        /// The newest migration this program knows.
        known: u32,
    },
    /// The list of migrations in this program is not numbered 1, 2, 3, ...
    #[error("the migrations of {component:?} are not numbered 1, 2, 3, ...: found {found} where {expected} must be")]
    MigrationNumbering {
        /// The component.
        component: String,
        /// The number found.
        found: u32,
        /// The number that must be there.
        expected: u32,
    },
    /// The SQL of a migration failed. Nothing of it was kept.
    #[error("migration {number} ({name:?}) of {component:?} failed; nothing of it was kept")]
    MigrationFailed {
        /// The component.
        component: String,
        /// Its number.
        number: u32,
        /// Its name.
        name: String,
        /// The cause.
        #[source]
        source: Box<StoreError>,
    },
    /// A backup or export never overwrites.
    #[error("{} exists already; nothing was written", path.display())]
    TargetExists {
        /// The file or folder.
        path: PathBuf,
    },
    /// The backup is damaged or not a backup.
    #[error("{} cannot be restored: {reason}", path.display())]
    BadBackup {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A restore needs an empty store.
    #[error("{place} is not empty: {detail}")]
    NotEmpty {
        /// The database.
        place: String,
        /// What is in it.
        detail: String,
    },
}

impl StoreError {
    /// Whether the same request can succeed later without a change by an operator.
    ///
    /// After [`StoreError::CommitUnknown`] the job may have been kept already; see [`StoreError::is_outcome_unknown`].
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Busy { .. }
            | Self::Unavailable { .. }
            | Self::Conflict { .. }
            | Self::StatementTimeLimit { .. }
            | Self::JobTimeLimit { .. }
            | Self::StatementAbandoned { .. }
            | Self::CommitUnknown { .. } => true,
            Self::FailedStatementIgnored { source, .. } | Self::MigrationFailed { source, .. } | Self::Commit { source, .. } => {
                source.is_transient()
            }
            _ => false,
        }
    }

    /// Whether the job may have been committed although an error was returned.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::CommitUnknown { .. } | Self::Crashed)
    }

    /// Whether a unique key was violated: the row exists already.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Constraint { kind: ConstraintKind::Unique, .. })
    }

    /// What an operator can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Url { .. } => "use sqlite:<path of a file>, or postgres://<user>:<password>@<host>:<port>/<database>",
            Self::NotADatabase { .. } | Self::Foreign { .. } => {
                "check store.url: it points at something that Windlass did not create; name a new file or database"
            }
            Self::Damaged { .. } => {
                "stop the program, keep a copy of the file with its -wal and -shm, and restore the newest backup into a new file"
            }
            Self::NotWritable { .. } => {
                "the user that runs Windlass must be able to write the file and its folder; a PostgreSQL server must be the primary"
            }
            Self::Full { .. } => "free space on the device, then start again; nothing that was confirmed is lost",
            Self::Busy { .. } => "another program has the database open for writing; end it, or wait until it has finished",
            Self::Unavailable { .. } | Self::CommitUnknown { .. } => {
                "check that the database server is running and reachable from this machine, or that the disk of the file works"
            }
            Self::AccessDenied { .. } => "check user, password, database name and the rights of the user in store.url",
            Self::Unsupported { .. } => "use PostgreSQL 12 or later",
            Self::MigrationEdited { .. } => {
                "this program is not the one that created the database, or was changed; use an unmodified release"
            }
            Self::MigrationNewer { .. } => "the database was used by a newer version; use that version or a later one",
            Self::TargetExists { .. } => "name a file or folder that does not exist yet",
            Self::BadBackup { .. } => "use another backup; the store was not changed",
            Self::NotEmpty { .. } => "restore into a new file or a new database",
            Self::Fenced { .. } => "another instance has taken over; this one must stop acting and may stand by",
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => "check the permissions of the file and its folder",
                io::ErrorKind::NotFound => "check the path",
                io::ErrorKind::StorageFull => "free space on the device",
                _ => return None,
            },
            Self::FailedStatementIgnored { source, .. } | Self::MigrationFailed { source, .. } | Self::Commit { source, .. } => {
                return source.hint();
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    pub(crate) fn file(action: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        Self::File { action, path: path.to_owned(), source: Arc::new(source) }
    }
}
