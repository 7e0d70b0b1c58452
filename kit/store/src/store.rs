//! stub
#![allow(clippy::todo, unused_variables, missing_docs)]
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::clock::Clock;
use crate::error::StoreError;
use crate::lease::Fence;
use crate::migrate::Migrations;
use crate::options::StoreOptions;
use crate::value::{Row, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    Sqlite,
    Postgres,
}

#[derive(Debug, Clone)]
pub struct BackupReport {
    pub path: PathBuf,
    pub rows: u64,
}
#[derive(Debug, Clone)]
pub struct RestoreReport {
    pub rows: u64,
}
#[derive(Debug, Clone)]
pub struct ExportReport {
    pub rows: u64,
}

#[derive(Clone, Debug)]
pub struct Store {}

pub struct Tx<'c> {
    conn: PhantomData<&'c mut ()>,
}

/// Anything that can be read from: `&Store` (committed rows) and `&mut Tx` (also what the job wrote).
pub trait Query: Send {
    fn query(self, sql: &str, params: Vec<Value>) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send;
}

impl Query for &Store {
    async fn query(self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        Store::query(self, sql, params).await
    }
}

impl Query for &mut Tx<'_> {
    async fn query(self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        Tx::query(self, sql, params).await
    }
}

impl Store {
    pub async fn open(url: &str) -> Result<Store, StoreError> {
        todo!()
    }
    pub async fn open_with(url: &str, options: StoreOptions) -> Result<Store, StoreError> {
        todo!()
    }
    pub fn backend(&self) -> Backend {
        todo!()
    }
    pub fn clock(&self) -> Arc<dyn Clock> {
        todo!()
    }
    /// Names the database for people, without user and password.
    pub fn place(&self) -> &str {
        todo!()
    }
    pub async fn migrate(&self, set: &Migrations) -> Result<(), StoreError> {
        todo!()
    }
    pub async fn write<T, E, F>(&self, name: &'static str, job: F) -> Result<T, E>
    where
        F: for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        todo!()
    }
    pub async fn write_fenced<T, E, F>(&self, fence: &Fence, name: &'static str, job: F) -> Result<T, E>
    where
        F: for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        todo!()
    }
    pub async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        todo!()
    }
    pub async fn query_optional(&self, sql: &str, params: Vec<Value>) -> Result<Option<Row>, StoreError> {
        todo!()
    }
    pub async fn close(&self) {
        todo!()
    }
    /// Writes a backup to a new file.
    pub async fn backup(&self, to: &Path) -> Result<BackupReport, StoreError> {
        todo!()
    }
    /// Fills this empty store from a backup. `sets` are the migrations of all components in the backup.
    pub async fn restore(&self, from: &Path, sets: &[&Migrations]) -> Result<RestoreReport, StoreError> {
        todo!()
    }
    /// Writes one JSON-lines file per table into a new folder.
    pub async fn export(&self, folder: &Path) -> Result<ExportReport, StoreError> {
        todo!()
    }
    /// Asks the engine to check the whole database.
    pub async fn check(&self) -> Result<(), StoreError> {
        todo!()
    }
}

impl Tx<'_> {
    pub fn backend(&self) -> Backend {
        todo!()
    }
    pub async fn execute(&mut self, sql: &str, params: Vec<Value>) -> Result<u64, StoreError> {
        todo!()
    }
    pub async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        todo!()
    }
    pub async fn query_optional(&mut self, sql: &str, params: Vec<Value>) -> Result<Option<Row>, StoreError> {
        todo!()
    }
}
