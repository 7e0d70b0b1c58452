//! The command line of the VRF relay.

#![allow(rustdoc::invalid_html_tags, reason = "the comments are the help texts; a terminal shows <name> as it is")]

use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use clap::{Args, Subcommand, ValueEnum};
use url::Url;
use windlass_keys::SecretSource;
use windlass_node::config::Amount;

use crate::cloud::cli::{CreateTaskArgs, RecipeArgs};
use crate::import::cli::ImportArgs;
use crate::protocol::multistore::Layout;
use crate::protocol::task::ProviderVersion;

fn span(given: &str) -> Result<Duration, String> {
    humantime::parse_duration(given.trim()).map_err(|_| "write a number with a unit, such as 90s or 5m".to_owned())
}

fn amount(given: &str) -> Result<U256, String> {
    Amount::parse(given).map(Amount::wei)
}

fn secret(text: &str) -> Result<SecretSource, std::convert::Infallible> {
    text.parse()
}

/// Which relay is meant.
#[derive(Debug, Clone, Args, Default)]
pub struct RelayArgs {
    /// Name of a [vrf.<name>] section; may be left out when there is only one.
    #[arg(long, short = 'r', value_name = "NAME")]
    pub relay: Option<String>,
}

/// The running node, when it is not the one of the configuration.
#[derive(Debug, Clone, Args, Default)]
pub struct NodeArgs {
    /// Base URL of the node, instead of the configuration's http.listen.
    #[arg(long, value_name = "URL")]
    pub url: Option<Url>,
    /// Bearer token of the node, instead of the configuration's first: env:NAME, file:PATH or command:PROGRAM.
    #[arg(long, value_parser = secret, value_name = "SOURCE")]
    pub token: Option<SecretSource>,
}

/// Arguments of `verify-proof`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// File with the proof: raw bytes, hexadecimal digits, or the JSON answer of the proof route; - reads standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub relay: RelayArgs,
    /// Judge without a chain: a JSON list of {"address", "power"} with the Bridge's validators.
    #[arg(long, value_name = "FILE", requires = "chain_id", conflicts_with = "relay")]
    pub validators: Option<PathBuf>,
    /// The Bridge's chain id as text, such as laozi-mainnet.
    #[arg(long, value_name = "TEXT", requires = "validators")]
    pub chain_id: Option<String>,
    /// Store layout of the Bridge; found out from the signers when not given.
    #[arg(long, value_enum, value_name = "LAYOUT")]
    pub layout: Option<LayoutArg>,
    /// Write the proof with the fewest signatures, as hexadecimal digits, into this new file.
    #[arg(long, value_name = "FILE")]
    pub trimmed: Option<PathBuf>,
}

/// Store layout of BandChain that a Bridge knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LayoutArg {
    /// BandChain 3.
    V3,
    /// BandChain 2.
    V2,
}

impl From<LayoutArg> for Layout {
    fn from(argument: LayoutArg) -> Self {
        match argument {
            LayoutArg::V3 => Self::V3,
            LayoutArg::V2 => Self::V2,
        }
    }
}

/// Generation of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VersionArg {
    /// Relays blocks through the Bridge's state, and stores proof and result.
    V1,
    /// Verifies without state, and stores 32 bytes.
    V2,
}

impl From<VersionArg> for ProviderVersion {
    fn from(argument: VersionArg) -> Self {
        match argument {
            VersionArg::V1 => Self::V1,
            VersionArg::V2 => Self::V2,
        }
    }
}

/// Arguments of `deploy-dev`.
#[derive(Debug, Clone, Args)]
pub struct DeployArgs {
    /// Name of the [chain.<name>] section of the client chain.
    #[arg(long, value_name = "NAME", conflicts_with = "rpc_url")]
    pub chain: Option<String>,
    /// Endpoint of the client chain, instead of a section.
    #[arg(long, value_name = "URL")]
    pub rpc_url: Option<String>,
    /// Private key of the deploying account: env:NAME, file:PATH or command:PROGRAM.
    #[arg(long, value_parser = secret, value_name = "SECRET")]
    pub key: SecretSource,
    /// CometBFT RPC endpoint of the Band chain whose validators the Bridge is to know.
    #[arg(long, value_name = "URL", required_unless_present = "validators")]
    pub band_rpc: Option<Url>,
    /// Instead of a Band node: a JSON list of {"address", "power"}.
    #[arg(long, value_name = "FILE", requires = "band_chain_id", conflicts_with = "band_rpc")]
    pub validators: Option<PathBuf>,
    /// Chain id of the Band chain; asked of the node when not given.
    #[arg(long, value_name = "TEXT")]
    pub band_chain_id: Option<String>,
    /// Generation of provider and lens.
    #[arg(long, value_enum, default_value = "v2", value_name = "GENERATION")]
    pub generation: VersionArg,
    /// Store layout of the Band chain.
    #[arg(long, value_enum, default_value = "v3", value_name = "LAYOUT")]
    pub layout: LayoutArg,
    /// Oracle script whose results the provider takes.
    #[arg(long, value_name = "ID", default_value_t = 1)]
    pub oracle_script_id: u64,
    /// Least fee of a request, such as "0.001 ether".
    #[arg(long, value_parser = amount, default_value = "0", value_name = "AMOUNT")]
    pub minimum_fee: U256,
    /// Reports that a V1 provider wants.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    pub min_count: u8,
    /// Validators that a V1 provider wants to be asked.
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub ask_count: u8,
    /// Name of the deployment. The same name again goes on with the same contracts; another one makes new ones.
    #[arg(long, value_name = "NAME", default_value = "dev")]
    pub name: String,
    /// How long one transaction may take to be in a block.
    #[arg(long, value_parser = span, default_value = "2m", value_name = "SPAN")]
    pub wait: Duration,
    /// Show what would be deployed, and send nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Use the variables of worker 0.1: of the environment, and of the file .env in this folder. Without it --config names the YAML file of
    /// worker 0.2, by default config.yaml.
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = ".")]
    pub env: Option<PathBuf>,
}

/// Arguments of `audit verify`.
#[derive(Debug, Clone, Args)]
pub struct AuditVerifyArgs {
    /// The log.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The account that must have signed it; without it the one that the log names.
    #[arg(long, value_name = "ADDRESS")]
    pub signer: Option<Address>,
    /// An earlier log, all of whose lines must be in this one.
    #[arg(long, value_name = "FILE")]
    pub extends: Option<PathBuf>,
}

/// Write the signed history of a relay, or check one.
#[derive(Debug, Clone, Subcommand)]
pub enum AuditCommand {
    /// Write everything that happened to every task into a new file, signed by the relaying account.
    ///
    /// Read from the database: works beside a running node and without one.
    Write {
        /// The new file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        #[allow(missing_docs)]
        relay: RelayArgs,
    },
    /// Check that nothing of a log was changed, and who signed it. Needs neither configuration nor network.
    ///
    /// Exit code 0: it holds; 1: it does not.
    Verify(AuditVerifyArgs),
}

/// Deploy a relay on the Google cloud.
#[derive(Debug, Clone, Subcommand)]
pub enum CloudCommand {
    /// Print the commands that set everything up, or carry them out.
    Recipe(Box<RecipeArgs>),
    /// Make the first task of the queue, which calls the relay.
    CreateTask(CreateTaskArgs),
}

/// Watch, understand and steer relays of random values.
#[derive(Debug, Clone, Subcommand)]
pub enum VrfCommand {
    /// Show how many tasks are in which state, and why each unfinished one is where it is.
    ///
    /// Read from the database: works beside a running node and without one.
    Status {
        #[command(flatten)]
        #[allow(missing_docs)]
        relay: RelayArgs,
        /// List at most so many unfinished tasks, the oldest first.
        #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Show everything that is known about one task: what was paid for it, where it stands, and how it came there.
    Inspect {
        /// Number of the task.
        nonce: u64,
        #[command(flatten)]
        #[allow(missing_docs)]
        relay: RelayArgs,
        /// Show only what is stored, without asking the provider.
        #[arg(long)]
        offline: bool,
    },
    /// Go on with a held task at once, or take up one that was given up. Asks the running node.
    Retry {
        /// Number of the task.
        nonce: u64,
        #[command(flatten)]
        #[allow(missing_docs)]
        relay: RelayArgs,
        /// Allow one more BandChain request for it. If an earlier one was paid after all, the task is paid for twice.
        #[arg(long)]
        request_again: bool,
        #[command(flatten)]
        #[allow(missing_docs)]
        node: NodeArgs,
    },
    /// Give a task up: nothing more is paid for it. Asks the running node.
    GiveUp {
        /// Number of the task.
        nonce: u64,
        #[command(flatten)]
        #[allow(missing_docs)]
        relay: RelayArgs,
        /// Why, for its history.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        #[allow(missing_docs)]
        node: NodeArgs,
    },
    /// Judge a proof as the Bridge would, and say what it proves.
    ///
    /// Exit code 0: accepted; 1: refused.
    VerifyProof(Box<VerifyArgs>),
    /// Compare the Bridge's validators with those that sign on BandChain now.
    ///
    /// Exit code 0: blocks are accepted; 1: they are refused.
    Drift {
        #[command(flatten)]
        #[allow(missing_docs)]
        relay: RelayArgs,
    },
    /// Write the signed history of a relay, or check one.
    Audit {
        #[command(subcommand)]
        #[allow(missing_docs)]
        command: AuditCommand,
    },
    /// Check a relay before it runs: both chains, contracts, accounts, callers.
    Check {
        #[command(flatten)]
        #[allow(missing_docs)]
        relay: RelayArgs,
    },
    /// Deploy Bridge, provider, lens and a consumer on a development chain.
    ///
    /// Not for chains where money is real: the contracts carry no audit.
    DeployDev(Box<DeployArgs>),
    /// Read the settings of the original worker and print a configuration.
    Import(Box<ImportArgs>),
    /// Run the relay with the settings of the original worker, as they are.
    Run(RunArgs),
    /// Deploy a relay on the Google cloud.
    Cloud {
        #[command(subcommand)]
        #[allow(missing_docs)]
        command: CloudCommand,
    },
}
