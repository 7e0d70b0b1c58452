//! The stand-in for a keyper node: a process of its own that works until it gets SIGTERM.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

/// Options.
#[derive(Debug, Args)]
pub(super) struct StandIn {
    /// Where to write the process id
    #[arg(long)]
    pid_file: PathBuf,
}

pub(super) async fn run(options: &StandIn) -> anyhow::Result<()> {
    // Written beside and renamed, so that a reader never sees half a number.
    let beside = options.pid_file.with_extension("new");
    std::fs::write(&beside, format!("{}\n", std::process::id())).context("cannot write the process id")?;
    std::fs::rename(&beside, &options.pid_file).context("cannot write the process id")?;
    super::super::until_interrupted()?.cancelled().await;
    Ok(())
}
