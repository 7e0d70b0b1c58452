//! `windlass backup`, `restore` and `export`.

use std::path::{Path, PathBuf};

use clap::Args;
use windlass_store::Store;

use super::config;
use crate::exit::Usage;
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
pub(super) async fn open(store: Option<&str>, global: &Global) -> anyhow::Result<Store> {
    Ok(Store::open(&url(store, global)?).await?)
}

fn url(store: Option<&str>, global: &Global) -> anyhow::Result<String> {
    match store {
        Some(url) => Ok(url.to_owned()),
        None => Ok(services::store_url(&config::load(global)?)?.expose().clone()),
    }
}

/// As [`open`], but never makes an empty database: of nothing there is nothing to save.
pub(super) async fn open_existing(store: Option<&str>, global: &Global) -> anyhow::Result<Store> {
    let url = url(store, global)?;
    if let Some(path) = url.strip_prefix("sqlite:").and_then(|rest| rest.split('?').next()) {
        let path = path.trim_start_matches("//");
        if !path.starts_with(':') && !Path::new(path).exists() {
            return Err(
                Usage(format!("there is no database {path}: give --store or --config, or check the working folder")).into()
            );
        }
    }
    Ok(Store::open(&url).await?)
}

pub(crate) async fn backup(target: &Target, global: &Global, output: Output) -> anyhow::Result<()> {
    let store = open_existing(target.store.as_deref(), global).await?;
    let report = store.backup(&target.path).await?;
    output.result(&report, |report| {
        format!("{} tables, {} rows written to {}", report.tables, report.rows, target.path.display())
    })?;
    store.close().await;
    Ok(())
}

pub(crate) async fn restore(target: &Target, global: &Global, output: Output) -> anyhow::Result<()> {
    let store = open(target.store.as_deref(), global).await?;
    let report = store.restore(&target.path, &services::all_migrations()).await?;
    output.result(&report, |report| {
        format!("{} tables, {} rows restored from {}", report.tables, report.rows, target.path.display())
    })?;
    store.close().await;
    Ok(())
}

pub(crate) async fn export(target: &Target, global: &Global, output: Output) -> anyhow::Result<()> {
    let store = open_existing(target.store.as_deref(), global).await?;
    let report = store.export(&target.path).await?;
    output.result(&report, |report| {
        format!("{} tables, {} rows written to {}", report.tables, report.rows, target.path.display())
    })?;
    store.close().await;
    Ok(())
}
