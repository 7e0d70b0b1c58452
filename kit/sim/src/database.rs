//! The database that outlives the processes of a simulation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use windlass_store::{CommitHook, ManualClock, Store, StoreError, StoreOptions, Synchronous, params};

/// Environment variable with the URL of a PostgreSQL server for tests.
pub const POSTGRES_VARIABLE: &str = "WINDLASS_TEST_POSTGRES";

static NEXT_SCHEMA: AtomicU64 = AtomicU64::new(0);

/// A database of one run.
#[derive(Debug)]
pub enum Database {
    /// A file in a folder that is removed with it.
    Sqlite(TempDir),
    /// A schema of its own on a server.
    Postgres {
        /// URL of the server.
        server: String,
        /// Name of the schema.
        schema: String,
    },
}

impl Database {
    /// A fresh SQLite file.
    pub fn sqlite() -> std::io::Result<Self> {
        // In memory where the machine has such a folder: a run makes thousands of small commits.
        let folder = tempfile::Builder::new().prefix("windlass-sim-").tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        folder.map(Self::Sqlite)
    }

    /// A fresh schema on the server that [`POSTGRES_VARIABLE`] names; `None` if it names none.
    pub async fn postgres() -> Option<Result<Self, StoreError>> {
        let server = std::env::var(POSTGRES_VARIABLE).ok()?;
        let number = NEXT_SCHEMA.fetch_add(1, Ordering::Relaxed);
        let schema = format!("windlass_sim_{}_{number}", std::process::id());
        let created = on_server(&server, format!("CREATE SCHEMA {schema}")).await;
        Some(created.map(|()| Self::Postgres { server, schema }))
    }

    /// The URL of the database.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite:{}", folder.path().join("sim.db").display()),
            Self::Postgres { server, schema } => {
                let separator = if server.contains('?') { '&' } else { '?' };
                format!("{server}{separator}options[search_path]={schema}")
            }
        }
    }

    /// Opens the database for one process.
    pub async fn open(&self, clock: Arc<ManualClock>, hook: Arc<dyn CommitHook>) -> Result<Store, StoreError> {
        let options = StoreOptions {
            clock,
            hook: Some(hook),
            synchronous: Synchronous::Off,
            read_connections: 1,
            ..StoreOptions::default()
        };
        Store::open_with(&self.url(), options).await
    }

    /// Removes the schema. A file goes by itself.
    pub async fn remove(self) {
        if let Self::Postgres { server, schema } = self {
            // A schema that stays behind on a test server hurts nobody.
            let _ = on_server(&server, format!("DROP SCHEMA {schema} CASCADE")).await;
        }
    }
}

async fn on_server(server: &str, statement: String) -> Result<(), StoreError> {
    let store = Store::open(server).await?;
    let done: Result<u64, StoreError> =
        store.write("sim schema", move |tx| Box::pin(async move { tx.execute(&statement, params![]).await })).await;
    store.close().await;
    done.map(|_| ())
}
