//! `monitor`: one check of one contract, for health checks.
//!
//! A drop-in for the tool it replaces: same variables, order of checks, messages and exit codes. Two things differ. An
//! endpoint that cannot be asked ends with [`Exit::CannotTell`] and never runs the command (the other one retried for
//! ever), and the environment beats the `.env` file (see [`super::env`]).
//!
//! | Situation | stderr | Exit |
//! | --- | --- | --- |
//! | paid | nothing | 0 |
//! | bad settings | what is missing or wrong | 1 |
//! | unpaid | `Keypers are not paid sufficiently.`, the command and its output, an empty line | 1 |
//! | the contract does not answer (revert, no code, error of the node) | why | 1 |
//! | the endpoint cannot be asked | why | 3 |

mod command;

use std::io::{self, Write};
use std::time::Duration;

use alloy_primitives::Address;
use windlass_chain::{CallRequest, HttpRpc, HttpRpcOptions, RevertReason, Rpc, RpcError, decode_revert};

use super::env::{Environment, Exit};
use crate::protocol::{AddressError, abi, parse_address, parse_address_form};

pub use command::{CommandFailure, CommandOutput, OUTPUT_LIMIT_BYTES, run_command};

/// The variables `monitor` reads.
pub const VARIABLES: [&str; 3] = ["CONTRACT_ADDRESS", "RPC_URL", "UNPAID_COMMAND"];

/// What can be set beside the compatible variables.
#[derive(Debug, Clone, Copy)]
pub struct MonitorOptions {
    /// How long the endpoint may take to answer. A health check is usually killed after 60 s.
    pub timeout: Duration,
}

impl Default for MonitorOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(20) }
    }
}

/// Why the check has no answer.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// `<NAME> env variable should be set`.
    #[error("{0} env variable should be set")]
    Missing(&'static str),
    /// `CONTRACT_ADDRESS env variable is not an address`.
    #[error("CONTRACT_ADDRESS env variable is not an address")]
    NotAnAddress,
    /// An address that is recognised but in a form that cannot be used.
    #[error("CONTRACT_ADDRESS: {0}")]
    IrregularAddress(#[source] AddressError),
    /// The endpoint cannot be asked, or gave nothing that is an answer.
    #[error("cannot tell whether the keypers are paid: {endpoint}: {source}")]
    Endpoint {
        /// Host of the endpoint.
        endpoint: String,
        /// What happened.
        #[source]
        source: RpcError,
    },
    /// The node answered with an error that is no revert.
    #[error("cannot tell whether the keypers are paid: {endpoint} refused the call to {contract}: {source}")]
    Refused {
        /// Host of the endpoint.
        endpoint: String,
        /// The contract asked.
        contract: Address,
        /// The node's error.
        #[source]
        source: RpcError,
    },
    /// `isPaid()` reverted.
    #[error("cannot tell whether the keypers are paid: isPaid() of {contract} reverted: {reason}")]
    Reverted {
        /// The contract asked.
        contract: Address,
        /// Why, as far as the contract said.
        reason: RevertReason,
    },
    /// The answer is no boolean.
    #[error("cannot tell whether the keypers are paid: {contract} does not answer isPaid()")]
    NoAnswer {
        /// The contract asked.
        contract: Address,
        /// Whether the answer had no bytes at all, as from an address without code.
        empty: bool,
    },
}

impl MonitorError {
    /// The exit code this ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Endpoint { .. } => Exit::CannotTell,
            _ => Exit::Failure,
        }
    }

    /// Whether the same check may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Endpoint { source, .. } | Self::Refused { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// What the operator can do. The messages of bad settings stand alone, as they always have.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Missing(_) | Self::NotAnAddress | Self::IrregularAddress(_) => return None,
            Self::Endpoint { .. } => "check RPC_URL and that the node runs; UNPAID_COMMAND was not executed",
            Self::Refused { .. } => "check that the node offers eth_call; UNPAID_COMMAND was not executed",
            Self::Reverted { .. } => "check CONTRACT_ADDRESS; UNPAID_COMMAND was not executed",
            Self::NoAnswer { empty: true, .. } => {
                "there is probably no contract at this address on this chain: check CONTRACT_ADDRESS and RPC_URL"
            }
            Self::NoAnswer { empty: false, .. } => "this is another contract: check CONTRACT_ADDRESS",
        };
        Some(hint.to_owned())
    }
}

/// Runs the check to its end on a small runtime of its own.
///
/// `stderr` gets everything the command has to say; `stdout` of `monitor` is always empty.
pub fn run_monitor(environment: &Environment, options: MonitorOptions, stderr: &mut (dyn Write + Send)) -> Exit {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(monitor(environment, options, stderr)),
        Err(error) => {
            let _ = writeln!(stderr, "cannot start: {error}");
            Exit::CannotTell
        }
    }
}

/// Runs the check to its end on the caller's runtime.
pub async fn monitor(environment: &Environment, options: MonitorOptions, stderr: &mut (dyn Write + Send)) -> Exit {
    for note in environment.conflicts(&VARIABLES) {
        let _ = writeln!(stderr, "{note}");
    }
    // A stderr that is gone is no reason to change the outcome, so failures to write are ignored.
    match check(environment, options).await {
        Ok(true) => Exit::Success,
        Ok(false) => {
            let _ = report_unpaid(environment, stderr).await;
            Exit::Failure
        }
        Err(error) => {
            let _ = writeln!(stderr, "{error}");
            if let Some(hint) = error.hint() {
                let _ = writeln!(stderr, "hint: {hint}");
            }
            error.exit()
        }
    }
}

/// Reads the settings and asks the contract at the latest block.
///
/// # Errors
/// [`MonitorError`]: a setting is missing or wrong, or there is no answer.
pub async fn check(environment: &Environment, options: MonitorOptions) -> Result<bool, MonitorError> {
    let address = environment.get("CONTRACT_ADDRESS");
    if address.is_empty() {
        return Err(MonitorError::Missing("CONTRACT_ADDRESS"));
    }
    parse_address_form(address).map_err(|_| MonitorError::NotAnAddress)?;
    let url = environment.get("RPC_URL");
    if url.is_empty() {
        return Err(MonitorError::Missing("RPC_URL"));
    }
    let contract = parse_address(address).map_err(MonitorError::IrregularAddress)?;
    let endpoint_error = |endpoint: &str| {
        let endpoint = endpoint.to_owned();
        move |source| MonitorError::Endpoint { endpoint, source }
    };
    let rpc = HttpRpc::new(url, HttpRpcOptions { timeout: options.timeout, ..HttpRpcOptions::default() })
        .map_err(endpoint_error("RPC_URL"))?;
    ask(&rpc, contract).await
}

async fn ask(rpc: &impl Rpc, contract: Address) -> Result<bool, MonitorError> {
    let call = CallRequest::new(contract, abi::is_paid());
    let params = serde_json::json!([call.to_param(), "latest"]);
    let answer = rpc.request("eth_call", params).await.and_then(|answer| answer.parse::<alloy_primitives::Bytes>("eth_call"));
    match answer {
        Ok(output) => abi::decode_is_paid(&output).ok_or(MonitorError::NoAnswer { contract, empty: output.is_empty() }),
        Err(source) => Err(match (source.revert_data(), &source) {
            (Some(data), _) => MonitorError::Reverted { contract, reason: decode_revert(&data) },
            (None, RpcError::Response { .. }) => MonitorError::Refused { endpoint: rpc.label().to_owned(), contract, source },
            (None, _) => MonitorError::Endpoint { endpoint: rpc.label().to_owned(), source },
        }),
    }
}

async fn report_unpaid(environment: &Environment, stderr: &mut (dyn Write + Send)) -> io::Result<()> {
    writeln!(stderr, "Keypers are not paid sufficiently.")?;
    let command = environment.get("UNPAID_COMMAND");
    if command.is_empty() {
        writeln!(stderr, "UNPAID_COMMAND not specified, exiting.")?;
    } else {
        writeln!(stderr, "Executing UNPAID_COMMAND: {command}")?;
        match run_command(command, environment.additions()).await {
            Ok(output) => {
                writeln!(stderr, "UNPAID_COMMAND executed successfully.")?;
                writeln!(stderr, "stdout: {}", String::from_utf8_lossy(&output.stdout))?;
                writeln!(stderr, "stderr: {}", String::from_utf8_lossy(&output.stderr))?;
            }
            Err(failure) => writeln!(stderr, "Failed to execute unpaid command: {failure}")?,
        }
    }
    writeln!(stderr)
}
