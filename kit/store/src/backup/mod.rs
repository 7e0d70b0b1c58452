//! Backup, restore and export.
#![allow(unused_variables, missing_docs)]
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::migrate::Migrations;
use crate::store::Store;

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

impl Store {
    /// Writes a backup to a new file.
    pub async fn backup(&self, to: &Path) -> Result<BackupReport, StoreError> {
        Err(StoreError::Closed)
    }
    /// Fills this empty store from a backup. `sets` are the migrations of all components in the backup.
    pub async fn restore(&self, from: &Path, sets: &[&Migrations]) -> Result<RestoreReport, StoreError> {
        Err(StoreError::Closed)
    }
    /// Writes one JSON-lines file per table into a new folder.
    pub async fn export(&self, folder: &Path) -> Result<ExportReport, StoreError> {
        Err(StoreError::Closed)
    }
}
