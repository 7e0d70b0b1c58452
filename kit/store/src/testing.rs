//! Stores for the tests of this and other crates.
//!
//! ```no_run
//! # async fn example() {
//! for test in windlass_store::testing::stores().await {
//!     test.write("example", |tx| Box::pin(async move { tx.execute("SELECT 1", vec![]).await })).await.unwrap();
//! }
//! # }
//! ```

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::{ConnectOptions as _, Connection as _};

use crate::error::StoreError;
use crate::options::{StoreOptions, Synchronous};
use crate::store::Store;

/// Names the server to test on: `postgres://user:password@host:port/database`. The user must be allowed to create schemas.
pub const POSTGRES_VARIABLE: &str = "WINDLASS_TEST_POSTGRES";

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A store of its own for one test. Dereferences to the [`Store`]; the database is removed when this is dropped.
#[derive(Debug)]
pub struct TestStore {
    /// The open store.
    pub store: Store,
    url: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Folder(#[expect(dead_code, reason = "removes the folder when it is dropped")] tempfile::TempDir),
    Schema { server: String, schema: String },
}

impl Deref for TestStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl TestStore {
    /// The URL, to open the same database again: after a crash, or as a second instance.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Opens the same database once more, as another process would.
    ///
    /// # Errors
    /// As [`Store::open_with`].
    pub async fn open_again(&self, options: StoreOptions) -> Result<Store, StoreError> {
        Store::open_with(&self.url, options).await
    }
}

impl Drop for TestStore {
    fn drop(&mut self) {
        let Place::Schema { server, schema } = &self.place else { return };
        let (server, schema) = (server.clone(), schema.clone());
        // A drop cannot wait in the runtime it is in.
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|_| ()).and_then(|runtime| runtime.block_on(drop_schema(&server, &schema)).map_err(|_| ()))
        });
        // A schema that stays is harmless: the next run has another name.
        let _ = removed.join();
    }
}

async fn connect(server: &str) -> Result<sqlx::PgConnection, sqlx::Error> {
    use std::str::FromStr as _;
    sqlx::postgres::PgConnectOptions::from_str(server)?.disable_statement_logging().connect().await
}

async fn drop_schema(server: &str, schema: &str) -> Result<(), sqlx::Error> {
    let mut conn = connect(server).await?;
    let sql = format!("SET lock_timeout = 2000; SET client_min_messages = warning; DROP SCHEMA \"{schema}\" CASCADE");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut conn).await?;
    conn.close().await
}

/// Options for tests: no flush to disk, and no timers, so that a test may pause time.
pub fn options() -> StoreOptions {
    StoreOptions { synchronous: Synchronous::Off, job_time_limit: None, ..StoreOptions::default() }
}

/// A SQLite store in a temporary folder.
pub async fn sqlite() -> TestStore {
    sqlite_with(options()).await
}

/// As [`sqlite`], with options.
#[expect(clippy::panic, reason = "a test without its database has to stop")]
pub async fn sqlite_with(options: StoreOptions) -> TestStore {
    let folder = match tempfile::Builder::new().prefix("windlass-test-").tempdir() {
        Ok(folder) => folder,
        Err(error) => panic!("cannot create a temporary folder: {error}"),
    };
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    match Store::open_with(&url, options).await {
        Ok(store) => TestStore { store, url, place: Place::Folder(folder) },
        Err(error) => panic!("cannot open a temporary store: {error}"),
    }
}

/// A store in a fresh schema of the server named by [`POSTGRES_VARIABLE`]; `None` when that is not set.
pub async fn postgres() -> Option<TestStore> {
    postgres_with(options()).await
}

/// As [`postgres`], with options.
#[expect(clippy::panic, reason = "a test without its database has to stop")]
pub async fn postgres_with(options: StoreOptions) -> Option<TestStore> {
    let server = std::env::var(POSTGRES_VARIABLE).ok().filter(|url| !url.is_empty())?;
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let schema = format!("windlass_test_{}_{number}_{nanos}", std::process::id());
    let separator = if server.contains('?') { '&' } else { '?' };
    let url = format!("{server}{separator}options[search_path]={schema}");
    let opened = async {
        let mut conn = connect(&server).await.map_err(|error| error.to_string())?;
        let sql = format!("CREATE SCHEMA \"{schema}\"");
        let created = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut conn).await;
        created.map_err(|error| error.to_string())?;
        conn.close().await.map_err(|error| error.to_string())?;
        Store::open_with(&url, options).await.map_err(|error| error.to_string())
    };
    match opened.await {
        Ok(store) => Some(TestStore { store, url, place: Place::Schema { server, schema } }),
        Err(error) => panic!("cannot use the server named by {POSTGRES_VARIABLE}: {error}"),
    }
}

/// One SQLite store and, when [`POSTGRES_VARIABLE`] is set, one PostgreSQL store.
pub async fn stores() -> Vec<TestStore> {
    stores_with(options()).await
}

/// As [`stores`], with options.
pub async fn stores_with(options: StoreOptions) -> Vec<TestStore> {
    let mut stores = vec![sqlite_with(options.clone()).await];
    stores.extend(postgres_with(options).await);
    stores
}
