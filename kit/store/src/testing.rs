//! Stores for tests of this and other crates.
#![allow(clippy::todo, unused_variables, missing_docs)]
use crate::options::StoreOptions;
use crate::store::Store;

/// A store that is removed when it is dropped.
#[derive(Debug)]
pub struct TestStore {
    pub store: Store,
}

impl TestStore {
    /// The URL, to open the same database again.
    pub fn url(&self) -> &str {
        todo!()
    }
}

/// A temporary SQLite store and, when `WINDLASS_TEST_POSTGRES` is set, a fresh PostgreSQL schema.
pub async fn stores() -> Vec<TestStore> {
    todo!()
}

/// As [`stores`] with options.
pub async fn stores_with(options: StoreOptions) -> Vec<TestStore> {
    todo!()
}
