//! One module per command. Each does its work in the library crates and prints one result.

pub(crate) mod config;
pub(crate) mod contracts;
pub(crate) mod demo;
pub(crate) mod devnet;
pub(crate) mod keys;
mod run;
pub(crate) mod status;
pub(crate) mod store;
mod vrf;

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use windlass_vrf::cli::VrfCommand;

use crate::cli::{Cli, Command};
use crate::output::Output;

/// Runs the command to its end.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { global, command } = cli;
    let output = Output::new(global.json);
    // A one-shot command is one request and its answer: more threads would only cost start-up time and memory.
    let runtime = match command {
        Command::Run | Command::Demo(_) | Command::Devnet(_) => many_threads(),
        Command::Vrf { command: VrfCommand::Run(_) } => many_threads(),
        _ => one_thread(),
    }
    .context("cannot start the asynchronous runtime")?;
    runtime.block_on(async {
        match command {
            Command::Demo(options) => return demo::run(options, output).await,
            Command::Payer { command } => return Ok(run::payer(command, &global, output).await),
            Command::Vrf { command } => return Ok(vrf::run(command, &global, output).await),
            Command::Init(options) => config::init(&options, output)?,
            Command::Config(command) => config::run(command, &global, output).await?,
            Command::Run => run::node(&global).await?,
            Command::Status(options) => status::run(&options, &global, output).await?,
            Command::Keys(command) => keys::run(command, &global, output).await?,
            Command::Contracts(command) => contracts::run(command, output).await?,
            Command::Devnet(options) => devnet::run(options, output, until_interrupted()?).await?,
            Command::Backup(target) => store::backup(&target, &global, output).await?,
            Command::Restore(target) => store::restore(&target, &global, output).await?,
            Command::Export(target) => store::export(&target, &global, output).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn one_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn many_threads() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

/// A token that is cancelled by Ctrl-C or SIGTERM.
fn until_interrupted() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancelled.cancel();
    });
    Ok(token)
}
