//! `windlass backup`, `restore` and `export`.

use std::path::PathBuf;

use clap::Args;
use windlass_store::Store;

use super::config;
use crate::global::Global;
use crate::output::Output;
use crate::services;

/// A file or folder beside the database of the configuration.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The backup file, or the folder of the export
    pub(crate) path: PathBuf,
    /// Database URL (sqlite:PATH or postgres://…) instead of the configuration's
    #[arg(long, env = "WINDLASS_STORE_URL", hide_env_values = true)]
    pub(crate) store: Option<String>,
}

/// Opens the database that the command line or the configuration names.
async fn open(target: &Target, global: &Global) -> anyhow::Result<Store> {
    let url = match &target.store {
        Some(url) => url.clone(),
        None => services::store_url(&config::load(global)?)?.expose().clone(),
    };
    Ok(Store::open(&url).await?)
}

pub(crate) async fn backup(target: &Target, global: &Global, output: Output) -> anyhow::Result<()> {
    let store = open(target, global).await?;
    let report = store.backup(&target.path).await?;
    output.result(&report, |report| {
        format!("{} tables, {} rows written to {}", report.tables, report.rows, target.path.display())
    })?;
    store.close().await;
    Ok(())
}

pub(crate) async fn restore(target: &Target, global: &Global, output: Output) -> anyhow::Result<()> {
    let store = open(target, global).await?;
    let report = store.restore(&target.path, &services::all_migrations()).await?;
    output.result(&report, |report| {
        format!("{} tables, {} rows restored from {}", report.tables, report.rows, target.path.display())
    })?;
    store.close().await;
    Ok(())
}

pub(crate) async fn export(target: &Target, global: &Global, output: Output) -> anyhow::Result<()> {
    let store = open(target, global).await?;
    let report = store.export(&target.path).await?;
    output.result(&report, |report| {
        format!("{} tables, {} rows written to {}", report.tables, report.rows, target.path.display())
    })?;
    store.close().await;
    Ok(())
}
