//! The `windlass` program: parse, run, say what went wrong, exit.

mod cli;
mod commands;
mod exit;
mod global;
mod output;
mod services;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // A second provider is refused by the library; none other is compiled in.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}
