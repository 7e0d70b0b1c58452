//! `windlass demo`: every service at work on embedded chains, each step checked on chain.
//!
//! The demonstration takes the road of an operator: it writes a configuration file, reads it back, and runs the node that
//! `windlass run` would run. Only the chain and the guarded program are stand-ins, both real processes with real interfaces.

mod payer;
mod report;
mod stand_in;
mod vrf;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use self::report::Report;
use crate::exit::Usage;
use crate::output::{Output, note};

/// Options.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Demo {
    /// Go through every step once as fast as the chain allows, print a summary and end
    #[arg(long)]
    once: bool,
    /// Where the dashboard listens [default: 127.0.0.1:8800, with --once a free port]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Keep the database and the configuration in this new folder instead of a temporary one
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// Programs that the demonstration starts beside itself.
#[derive(Debug, Subcommand)]
enum Part {
    /// The stand-in for a keyper node: runs until it is told to stop
    #[command(hide = true)]
    StandIn(stand_in::StandIn),
}

/// Port of the dashboard while a person watches.
const DASHBOARD_PORT: u16 = 8800;

pub(crate) async fn run(options: Demo, output: Output) -> anyhow::Result<ExitCode> {
    if let Some(Part::StandIn(stand_in)) = options.part {
        stand_in::run(&stand_in).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let temporary = tempfile::tempdir()?;
    let folder = match &options.keep {
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
            // The chain is new each time; rows of an earlier one would contradict it.
            if std::fs::read_dir(folder)?.next().is_some() {
                return Err(Usage(format!("--keep {}: the folder is not empty; name a new one", folder.display())).into());
            }
            folder.canonicalize()?
        }
        None => temporary.path().to_owned(),
    };
    let port = if options.once { 0 } else { DASHBOARD_PORT };
    let listen = options.listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let mut report = Report::begin();
    let result = payer::play(&folder, listen, !options.once, &mut report).await;
    output.result(&report.finish(), report::render)?;
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            note(&format!("the step that failed: {}", report.current()));
            Err(error)
        }
    }
}
