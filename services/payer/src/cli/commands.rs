//! The command line of the payer service.

#![allow(rustdoc::invalid_html_tags, reason = "the comments are the help texts; a terminal shows <name> as it is")]

use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use clap::{Args, Subcommand, ValueEnum};
use windlass_keys::SecretSource;
use windlass_node::config::Amount;

use super::text;
use crate::protocol::parse_address;

fn address(text: &str) -> Result<Address, String> {
    parse_address(text).map_err(|error| error.to_string())
}

fn span(given: &str) -> Result<Duration, String> {
    text::parse_span(given).map_err(|error| error.to_string())
}

fn units(text: &str) -> Result<U256, String> {
    U256::from_str_radix(text.trim(), 10).map_err(|_| "expected a whole number of token base units".to_owned())
}

fn price(text: &str) -> Result<u128, String> {
    let amount = Amount::parse(text)?;
    u128::try_from(amount.wei()).map_err(|_| "too large for a price of gas".to_owned())
}

fn secret(text: &str) -> Result<SecretSource, std::convert::Infallible> {
    text.parse()
}

/// Which agreement is meant: one of the configuration file, or one given by contract and endpoint.
#[derive(Debug, Clone, Args, Default)]
pub struct AgreementArgs {
    /// Name of a [payer.<name>] section; may be left out when there is only one.
    #[arg(long, short = 'a', value_name = "NAME", conflicts_with = "contract")]
    pub agreement: Option<String>,
    /// Address of a payer contract, instead of a section.
    #[arg(long, value_parser = address, value_name = "ADDRESS", requires = "rpc_url")]
    pub contract: Option<Address>,
    /// Endpoint of the contract's chain; may be repeated.
    #[arg(long, value_name = "URL", requires = "contract")]
    pub rpc_url: Vec<String>,
    /// Chain id that the endpoints must serve.
    #[arg(long, value_name = "ID", requires = "contract")]
    pub chain_id: Option<u64>,
}

/// The account, when it is not the one of the section.
#[derive(Debug, Clone, Args, Default)]
pub struct KeyArgs {
    /// Private key: env:NAME, file:PATH or command:PROGRAM.
    #[arg(long, value_parser = secret, value_name = "SECRET", conflicts_with = "keystore")]
    pub key: Option<SecretSource>,
    /// Web3 Secret Storage file.
    #[arg(long, value_name = "FILE", requires = "password")]
    pub keystore: Option<PathBuf>,
    /// Password of the keystore: env:NAME, file:PATH or command:PROGRAM.
    #[arg(long, value_parser = secret, value_name = "SECRET")]
    pub password: Option<SecretSource>,
}

/// How a transaction is sent.
#[derive(Debug, Clone, Args)]
pub struct SendArgs {
    /// Check everything and show what would be sent, but send nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Highest price of gas, such as "50 gwei".
    #[arg(long, value_parser = price, value_name = "AMOUNT")]
    pub max_gas_price: Option<u128>,
    /// How many blocks deep a transaction must be before the command ends.
    #[arg(long, value_name = "BLOCKS")]
    pub confirmations: Option<u64>,
    /// How long to wait for that.
    #[arg(long, value_parser = span, default_value = "30m", value_name = "SPAN")]
    pub wait: Duration,
}

/// Arguments of `top-up`.
#[derive(Debug, Clone, Args)]
pub struct TopUpArgs {
    /// How long the agreement is to be paid in advance, such as 30d.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    pub keep: Duration,
    /// Pay only when less than this is left; half of --keep when not given.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    pub below: Option<Duration>,
    /// Check once and end.
    #[arg(long)]
    pub once: bool,
    /// How often to check.
    #[arg(long, value_parser = span, default_value = "10m", value_name = "SPAN")]
    pub every: Duration,
    /// Refuse to pay more than this at once, in token base units.
    #[arg(long, value_parser = units, value_name = "UNITS")]
    pub max_amount: Option<U256>,
}

/// Arguments of `withdraw`.
#[derive(Debug, Clone, Args)]
pub struct WithdrawArgs {
    /// Withdraw only if at least this is there, in token base units.
    #[arg(long, value_parser = units, default_value = "1", value_name = "UNITS")]
    pub min_amount: U256,
}

/// Arguments of `guard`.
#[derive(Debug, Clone, Args)]
pub struct GuardArgs {
    /// Ask this health endpoint (…/health/paid/<name>) of a running Windlass instead of a chain.
    #[arg(long, value_name = "URL", conflicts_with_all = ["agreement", "contract"])]
    pub health_url: Option<reqwest::Url>,
    /// How long the program has to end after SIGTERM before it is killed.
    #[arg(long, value_parser = span, default_value = "30s", value_name = "SPAN")]
    pub stop_limit: Duration,
    /// How often to look.
    #[arg(long, value_parser = span, default_value = "6s", value_name = "SPAN")]
    pub every: Duration,
    /// Grace time after the last paid second; that of the section when there is one.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    pub grace: Option<Duration>,
    /// Different blocks that must say "unpaid".
    #[arg(long, value_name = "BLOCKS")]
    pub confirm_blocks: Option<u32>,
    /// Time between the first and the last of them.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    pub confirm_time: Option<Duration>,
    /// The program and its arguments, after `--`.
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub program: Vec<std::ffi::OsString>,
}

/// Format of `export`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON document with sums.
    Json,
}

/// Guard agreements, pay them, withdraw from them.
#[derive(Debug, Clone, Subcommand)]
pub enum PayerCommand {
    /// Show whether an agreement is paid, until when, and what each keyper earned.
    ///
    /// Exit code 0: paid; 1: not paid; 3: cannot tell.
    Status {
        #[command(flatten)]
        #[allow(missing_docs)]
        agreement: AgreementArgs,
    },
    /// Compute what to pay so that an agreement is paid until a moment.
    Quote {
        #[command(flatten)]
        #[allow(missing_docs)]
        agreement: AgreementArgs,
        /// A date, Unix seconds, or a span from now such as +30d.
        #[arg(long, value_name = "TIME")]
        until: String,
    },
    /// Pay so that an agreement is paid until a moment; does nothing when it is.
    Pay {
        #[command(flatten)]
        #[allow(missing_docs)]
        agreement: AgreementArgs,
        #[command(flatten)]
        #[allow(missing_docs)]
        key: KeyArgs,
        #[command(flatten)]
        #[allow(missing_docs)]
        send: SendArgs,
        /// A date, Unix seconds, or a span from now such as +30d.
        #[arg(long, value_name = "TIME")]
        until: String,
        /// Refuse to pay more than this, in token base units.
        #[arg(long, value_parser = units, value_name = "UNITS")]
        max_amount: Option<U256>,
    },
    /// Keep an agreement paid in advance.
    TopUp {
        #[command(flatten)]
        #[allow(missing_docs)]
        agreement: AgreementArgs,
        #[command(flatten)]
        #[allow(missing_docs)]
        key: KeyArgs,
        #[command(flatten)]
        #[allow(missing_docs)]
        send: SendArgs,
        #[command(flatten)]
        #[allow(missing_docs)]
        top_up: TopUpArgs,
    },
    /// Withdraw what a keyper earned.
    Withdraw {
        #[command(flatten)]
        #[allow(missing_docs)]
        agreement: AgreementArgs,
        #[command(flatten)]
        #[allow(missing_docs)]
        key: KeyArgs,
        #[command(flatten)]
        #[allow(missing_docs)]
        send: SendArgs,
        #[command(flatten)]
        #[allow(missing_docs)]
        withdraw: WithdrawArgs,
    },
    /// List payments, withdrawals and stray transfers, rebuilt from the chain.
    Export {
        #[command(flatten)]
        #[allow(missing_docs)]
        agreement: AgreementArgs,
        /// Format of the list.
        #[arg(long, value_enum, default_value = "csv")]
        format: ExportFormat,
        /// First block to search; the contract's deployment when not given.
        #[arg(long, value_name = "BLOCK")]
        from_block: Option<u64>,
    },
    /// Check an agreement before relying on it: chain, contract, terms, token, guarded program.
    Check {
        #[command(flatten)]
        #[allow(missing_docs)]
        agreement: AgreementArgs,
    },
    /// Run a program only while an agreement is paid.
    ///
    /// Starts the program when the agreement is paid, stops it when it is not, starts it again when it is paid again.
    /// Signals are passed on; when the program ends by itself, its exit code is passed through.
    ///
    /// Example: windlass payer guard --contract 0x… --rpc-url http://localhost:8545 -- keyper --config /etc/keyper.toml
    Guard {
        #[command(flatten)]
        #[allow(missing_docs)]
        agreement: AgreementArgs,
        #[command(flatten)]
        #[allow(missing_docs)]
        guard: GuardArgs,
    },
    /// Do nothing until told to stop: the main process of a container whose health check is `payer monitor`.
    Wait,
    /// One check in the manner of the original: CONTRACT_ADDRESS, RPC_URL, UNPAID_COMMAND.
    Monitor,
    /// Deploy a payer contract in the manner of the original: RPC_URL, PRIV_KEY, TOKEN_ADDRESS, KEYPER_ADDRESSES, …
    Deploy {
        /// Check everything and show gas and cost, but send nothing.
        #[arg(long)]
        dry_run: bool,
    },
}
