//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{config, contracts, demo, devnet, keys, status};

/// One program for the work that block chains need done beside them.
#[derive(Debug, Parser)]
#[command(name = "windlass", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// The configuration file
    #[arg(long, global = true, env = "WINDLASS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Override one value of the configuration: section.key=value
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Print the result as one JSON document
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Global {
    /// The configuration file, and whether the user named it.
    pub(crate) fn config_path(&self) -> (PathBuf, bool) {
        match &self.config {
            Some(path) => (path.clone(), true),
            None => (PathBuf::from("windlass.toml"), false),
        }
    }
}

/// The commands, in the order in which an operator meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See everything at work on embedded chains, verified on chain
    Demo(demo::Demo),
    /// Write a commented configuration for a service
    Init(config::Init),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Run the services of the configuration
    Run,
    /// Show what each service of a running node is doing
    Status(status::Status),
    /// Recovery phrases, key files, sign-once promises
    #[command(subcommand)]
    Keys(keys::Command),
    /// Deploy contracts
    #[command(subcommand)]
    Contracts(contracts::Command),
    /// Guard services that are paid by the second
    Payer {
        #[command(subcommand)]
        command: windlass_payer::cli::PayerCommand,
    },
    /// Run only the embedded development chain
    Devnet(devnet::Devnet),
    /// Write a backup of the database to a new file, also while the node runs
    Backup(StoreTarget),
    /// Fill an empty database from a backup
    Restore(StoreTarget),
    /// Write the rows of every table as JSON lines into a new folder
    Export(StoreTarget),
}

/// A file or folder beside the database of the configuration.
#[derive(Debug, Args)]
pub(crate) struct StoreTarget {
    /// The backup file, or the folder of the export
    pub(crate) path: PathBuf,
    /// Database URL (sqlite:PATH or postgres://…) instead of the configuration's
    #[arg(long, env = "WINDLASS_STORE_URL", hide_env_values = true)]
    pub(crate) store: Option<String>,
}
