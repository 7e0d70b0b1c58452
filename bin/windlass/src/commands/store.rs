//! `windlass backup`, `restore` and `export`.

use windlass_store::Store;

use super::config;
use crate::cli::{Global, StoreTarget};
use crate::output::Output;
use crate::services;

/// Opens the database that the command line or the configuration names.
async fn open(target: &StoreTarget, global: &Global) -> anyhow::Result<Store> {
    let url = match &target.store {
        Some(url) => url.clone(),
        None => services::store_url(&config::load(global)?)?.expose().clone(),
    };
    Ok(Store::open(&url).await?)
}

pub(crate) async fn backup(target: &StoreTarget, global: &Global, output: Output) -> anyhow::Result<()> {
    let store = open(target, global).await?;
    let report = store.backup(&target.path).await?;
    output.result(&report, |report| {
        format!("{} tables, {} rows written to {}", report.tables, report.rows, target.path.display())
    })?;
    store.close().await;
    Ok(())
}

pub(crate) async fn restore(target: &StoreTarget, global: &Global, output: Output) -> anyhow::Result<()> {
    let store = open(target, global).await?;
    let report = store.restore(&target.path, &services::all_migrations()).await?;
    output.result(&report, |report| {
        format!("{} tables, {} rows restored from {}", report.tables, report.rows, target.path.display())
    })?;
    store.close().await;
    Ok(())
}

pub(crate) async fn export(target: &StoreTarget, global: &Global, output: Output) -> anyhow::Result<()> {
    let store = open(target, global).await?;
    let report = store.export(&target.path).await?;
    output.result(&report, |report| {
        format!("{} tables, {} rows written to {}", report.tables, report.rows, target.path.display())
    })?;
    store.close().await;
    Ok(())
}
