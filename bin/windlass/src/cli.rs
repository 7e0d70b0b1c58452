//! The command line.

use clap::{Parser, Subcommand};

use crate::commands::{config, contracts, demo, devnet, keys, status, store};
use crate::global::Global;

/// One program for the work that block chains need done beside them.
#[derive(Debug, Parser)]
#[command(name = "windlass", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
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
    /// Relay random values that BandChain has proven
    Vrf {
        #[command(subcommand)]
        command: windlass_vrf::cli::VrfCommand,
    },
    /// Run only the embedded development chains
    Devnet(devnet::Devnet),
    /// Write a backup of the database to a new file, also while the node runs
    Backup(store::Target),
    /// Fill an empty database from a backup
    Restore(store::Target),
    /// Write the rows of every table as JSON lines into a new folder
    Export(store::Target),
}
