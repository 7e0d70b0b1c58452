//! The stand-in for a keyper node: a process of its own that works until it gets SIGTERM, or until the demonstration is gone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

/// Options.
#[derive(Debug, Args)]
pub(super) struct StandIn {
    /// Where to write the process id
    #[arg(long)]
    pid_file: PathBuf,
    /// End when this process has ended
    #[arg(long)]
    only_beside: u32,
}

/// Between two looks at the demonstration.
const LOOK: Duration = Duration::from_millis(200);

/// The arguments of the program for a stand-in beside this process.
pub(super) fn arguments(pid_file: &Path) -> Vec<OsString> {
    let beside = std::process::id().to_string();
    vec!["demo".into(), "stand-in".into(), "--pid-file".into(), pid_file.into(), "--only-beside".into(), beside.into()]
}

pub(super) async fn run(options: &StandIn) -> anyhow::Result<()> {
    // Before the file, which says that the process can be told to stop.
    let interrupted = super::super::until_interrupted()?;
    // Written beside and renamed, so that a reader never sees half a number.
    let beside = options.pid_file.with_extension("new");
    std::fs::write(&beside, format!("{}\n", std::process::id())).context("cannot write the process id")?;
    std::fs::rename(&beside, &options.pid_file).context("cannot write the process id")?;
    while runs(options.only_beside) && !interrupted.is_cancelled() {
        tokio::select! {
            () = interrupted.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    Ok(())
}

/// Whether there is such a process. One that ended and was not waited for does not run.
pub(super) fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}
