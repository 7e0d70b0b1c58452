//! `deploy`: creates the payment contract from the environment and prints its address and terms.
//!
//! A drop-in for the tool it replaces: same variables, order of checks, messages, output and exit codes. It accepts what
//! that tool accepted; what is unwise about the terms is said on stderr before anything is sent.
//!
//! | Situation | Output | Exit |
//! | --- | --- | --- |
//! | deployed and mined | address and terms on stdout | 0 |
//! | bad settings, endpoint not reachable, refusal by the node, reverted: no contract was made | why, on stderr | 1 |
//! | the transaction was sent, but what became of it is not known | why, and its hash, on stderr | 3 |

mod settings;
mod transaction;

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use windlass_chain::{Endpoints, HttpRpc, HttpRpcOptions, RevertReason, Rpc, RpcError, decode_revert};
use windlass_store::clock::SystemClock;

use super::env::{Environment, Exit};
use crate::checks::{Finding, Gravity, terms_findings, token_findings};
use crate::ports::contract::token_facts;
use crate::protocol::abi::Deployment;

pub use settings::{Settings, SettingsError, VARIABLES};
pub use transaction::{Deployed, Plan};

/// What can be set beside the compatible variables.
#[derive(Debug, Clone)]
pub struct DeployOptions {
    /// Check everything and say what would be sent, but send nothing.
    pub dry_run: bool,
    /// How long the endpoint may take for one answer.
    pub timeout: Duration,
    /// How long to wait until the transaction is mined.
    pub wait: Duration,
    /// The endpoint if `RPC_URL` is not set.
    pub default_rpc_url: String,
}

impl Default for DeployOptions {
    fn default() -> Self {
        Self {
            dry_run: false,
            timeout: Duration::from_secs(20),
            wait: Duration::from_secs(600),
            default_rpc_url: "http://localhost:8545".to_owned(),
        }
    }
}

/// Why nothing was deployed, or why it is not known whether something was.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// A variable is missing or wrong.
    #[error("{0}")]
    Settings(#[from] SettingsError),
    /// The endpoint cannot be asked, or gave nothing that is an answer.
    #[error("{endpoint}: {method}: {source}")]
    Endpoint {
        /// Host of the endpoint.
        endpoint: String,
        /// The method asked.
        method: String,
        /// What happened.
        #[source]
        source: RpcError,
    },
    /// The node answered with an error.
    #[error("{endpoint} refused {method}: {source}")]
    Refused {
        /// Host of the endpoint.
        endpoint: String,
        /// The method asked.
        method: String,
        /// The node's error.
        #[source]
        source: RpcError,
    },
    /// The creation would revert, so it was not sent.
    #[error("the deployment would revert: {0}")]
    WouldRevert(RevertReason),
    /// The account cannot pay for the gas.
    #[error("{account} has {balance} wei, the deployment may cost up to {cost} wei")]
    InsufficientFunds {
        /// The deploying account.
        account: Address,
        /// What it has, in wei.
        balance: U256,
        /// Gas limit times highest gas price, in wei.
        cost: U256,
    },
    /// The key could not sign.
    #[error("signing failed: {0}")]
    Signing(#[from] windlass_keys::KeyError),
    /// The transaction was mined and reverted.
    #[error("transaction {transaction} was mined but reverted")]
    Reverted {
        /// Its hash.
        transaction: B256,
    },
    /// The transaction was sent and is not mined yet.
    #[error("transaction {transaction} was not mined within {} s; it may still create a contract at {address}", waited.as_secs())]
    NotMined {
        /// Its hash.
        transaction: B256,
        /// Where the contract will be.
        address: Address,
        /// How long was waited.
        waited: Duration,
    },
    /// The transaction was sent, and then the endpoint failed.
    #[error("transaction {transaction} was sent and may have created a contract at {address}, but then: {source}")]
    Unwatched {
        /// Its hash.
        transaction: B256,
        /// Where the contract will be.
        address: Address,
        /// What failed.
        #[source]
        source: Box<DeployError>,
    },
    /// What is on the chain afterwards is not what was sent.
    #[error("the contract at {address} is not the one that was deployed: {what} differs")]
    Mismatch {
        /// Where the contract should be.
        address: Address,
        /// What differs.
        what: &'static str,
    },
    /// The result could not be written.
    #[error("cannot write the result: {0}")]
    Output(#[from] io::Error),
}

impl DeployError {
    pub(crate) fn of_call(rpc: &dyn Rpc, method: &str, source: RpcError) -> Self {
        let (endpoint, method) = (rpc.label().to_owned(), method.to_owned());
        match source {
            RpcError::Response { .. } => Self::Refused { endpoint, method, source },
            _ => Self::Endpoint { endpoint, method, source },
        }
    }

    /// The exit code this ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotMined { .. } | Self::Unwatched { .. } => Exit::CannotTell,
            _ => Exit::Failure,
        }
    }

    /// Whether the same command may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Endpoint { source, .. } | Self::Refused { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// What the operator can do. The messages of bad settings stand alone, as they always have.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Endpoint { .. } => "check RPC_URL and that the node runs",
            Self::InsufficientFunds { .. } => "send the account some of the chain's currency, or use another PRIV_KEY",
            Self::NotMined { .. } | Self::Unwatched { .. } => {
                "do not deploy again before you know what became of it: look the transaction up"
            }
            Self::Reverted { .. } => "look the transaction up: it may have run out of gas",
            Self::Mismatch { .. } => "do not use this contract; the node may be faulty",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// Runs the deployment to its end on a small runtime of its own.
pub fn run_deploy(
    environment: &Environment,
    options: &DeployOptions,
    stdout: &mut (dyn Write + Send),
    stderr: &mut (dyn Write + Send),
) -> Exit {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(deploy(environment, options, stdout, stderr)),
        Err(error) => {
            let _ = writeln!(stderr, "cannot start: {error}");
            Exit::CannotTell
        }
    }
}

/// Runs the deployment to its end on the caller's runtime.
pub async fn deploy(
    environment: &Environment,
    options: &DeployOptions,
    stdout: &mut (dyn Write + Send),
    stderr: &mut (dyn Write + Send),
) -> Exit {
    for note in environment.conflicts(&VARIABLES) {
        let _ = writeln!(stderr, "{note}");
    }
    match try_deploy(environment, options, stdout, stderr).await {
        Ok(()) => Exit::Success,
        Err(error) => {
            let _ = writeln!(stderr, "{error}");
            if let Some(hint) = error.hint() {
                let _ = writeln!(stderr, "hint: {hint}");
            }
            error.exit()
        }
    }
}

async fn try_deploy(
    environment: &Environment,
    options: &DeployOptions,
    stdout: &mut (dyn Write + Send),
    stderr: &mut (dyn Write + Send),
) -> Result<(), DeployError> {
    let settings = Settings::read(environment, &options.default_rpc_url)?;
    let http = HttpRpcOptions { timeout: options.timeout, ..HttpRpcOptions::default() };
    let rpc = HttpRpc::new(&settings.rpc_url, http).map_err(|source| DeployError::Endpoint {
        endpoint: "RPC_URL".to_owned(),
        method: "connect".to_owned(),
        source,
    })?;
    let rpc: Arc<dyn Rpc> = Arc::new(rpc);
    let plan = Plan::make(&*rpc, &settings).await?;
    for warning in warnings(Arc::clone(&rpc), &settings.deployment, &plan).await {
        let _ = writeln!(stderr, "warning: {warning}");
    }
    if options.dry_run {
        write!(
            stdout,
            "{}",
            Summary { lead: "KeyperPayer would be deployed to", address: plan.address, terms: &settings.deployment }
        )?;
        write!(stdout, "{plan}")?;
        return Ok(());
    }
    let deployed = plan.send(&*rpc, &settings.signer, options.wait).await?;
    let verified = deployed.verify(&*rpc, &settings.deployment).await;
    verified.map_err(|source| plan.unwatched(deployed.transaction, source))?;
    let terms = &settings.deployment;
    write!(stdout, "{}", Summary { lead: "KeyperPayer deployed to", address: deployed.address, terms })?;
    Ok(())
}

/// What is unwise about the terms and the token, one sentence each. Nothing of it is refused: the command accepts what it
/// always accepted.
async fn warnings(rpc: Arc<dyn Rpc>, deployment: &Deployment, plan: &Plan) -> Vec<String> {
    let Deployment { token, keypers, requested_rate, start_timestamp } = deployment;
    let mut findings = terms_findings(*token, keypers, *requested_rate, *start_timestamp, plan.head.timestamp);
    let endpoints = Endpoints::from_rpcs("deploy", vec![rpc], Arc::new(SystemClock));
    let mut warnings = Vec::new();
    match token_facts(&endpoints, *token, &[plan.account]).await {
        Ok(facts) => findings.extend(token_findings(&facts)),
        Err(error) => warnings.push(format!("the token was not checked: {error}")),
    }
    findings.retain(|finding| finding.gravity() >= Gravity::Warning);
    warnings.extend(findings.iter().map(Finding::to_string));
    warnings
}

/// Address and terms, in the lines that scripts read.
struct Summary<'a> {
    lead: &'a str,
    address: Address,
    terms: &'a Deployment,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Deployment { token, keypers, requested_rate, start_timestamp } = self.terms;
        let keypers: Vec<String> = keypers.iter().map(Address::to_string).collect();
        writeln!(f, "{} {}.", self.lead, self.address)?;
        writeln!(f, " tokenAddress: {token},")?;
        writeln!(f, " keyperAddresses: {},", keypers.join(","))?;
        writeln!(f, " requestedRate: {requested_rate},")?;
        writeln!(f, " startTimestamp: {start_timestamp}")
    }
}

/// The reason a node gave for refusing to simulate, if it was the contract that refused.
fn revert_of(error: &RpcError) -> Option<RevertReason> {
    error.revert_data().map(|data| decode_revert(&data))
}
