//! The durable foundation of Windlass: SQLite or PostgreSQL behind one SQL text, one grouping writer, leases with fencing.
//!
//! - [`Store`]: opened once per process; [`Store::write`] runs a job in the next commit, [`Store::query`] reads.
//! - [`Migrations`]: the numbered tables of a component, applied by [`Store::migrate`].
//! - [`lease`]: of several processes exactly one acts; [`Store::write_fenced`] refuses the one that was replaced.
//! - [`cursor`]: named positions, moved in the same commit as what was done with them.
//! - [`Store::backup`], [`Store::restore`], [`Store::export`].
//! - [`ForeignDatabase`]: the database of another program, only read.
//!
//! ```
//! use windlass_store::{Migration, Migrations, Store, StoreError, cursor, params};
//!
//! const TABLES: Migrations = Migrations {
//!     component: "shop",
//!     steps: &[Migration { number: 1, name: "orders", sql: "CREATE TABLE shop_order (id BIGINT NOT NULL PRIMARY KEY);" }],
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), StoreError> {
//! let store = Store::open("sqlite::memory:").await?;
//! store.migrate(&TABLES).await?;
//! let id = 7_u64;
//! store
//!     .write("shop.order", move |tx| {
//!         Box::pin(async move {
//!             tx.execute("INSERT INTO shop_order (id) VALUES ($1)", params![id]).await?;
//!             // What was read and what was done with it are kept together, or not at all.
//!             cursor::set(tx, "shop.block", 1_234_u64).await?;
//!             Ok::<_, StoreError>(())
//!         })
//!     })
//!     .await?;
//! let row = store.query_optional("SELECT max(id) AS newest FROM shop_order", params![]).await?;
//! assert_eq!(row.map(|row| row.get("newest")).transpose()?, Some(7_u64));
//! # Ok(())
//! # }
//! ```
//!
//! # The SQL text
//! Statements are written once for both engines: `$1` parameters, `ON CONFLICT`, `RETURNING`; the column types are `BIGINT`,
//! `TEXT` and `BLOB` (the migrator writes `BYTEA` for PostgreSQL). Numbers of 256 bits and hashes are big-endian bytes.

mod backup;
pub mod clock;
pub mod cursor;
mod engine;
mod error;
mod foreign;
mod hook;
pub mod lease;
pub mod metrics;
mod migrate;
mod options;
mod pool;
mod store;
pub mod testing;
mod tx;
mod value;
mod writer;

pub use futures::future::BoxFuture;

pub use crate::backup::{BackupReport, ExportReport, RestoreReport};
pub use crate::clock::{Clock, ManualClock, SystemClock, UnixMillis, UnixSeconds};
pub use crate::engine::Backend;
pub use crate::error::{ConstraintKind, StoreError};
pub use crate::foreign::ForeignDatabase;
pub use crate::hook::{CommitHook, HookAction};
pub use crate::lease::{Fence, Lease};
pub use crate::migrate::{Migration, Migrations};
pub use crate::options::{StoreOptions, Synchronous};
pub use crate::store::Store;
pub use crate::tx::{Query, Tx};
pub use crate::value::{FromColumn, Row, Value};
