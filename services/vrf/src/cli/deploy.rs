//! `deploy-dev`: the contracts on a development chain.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use windlass_chain::{BlockTag, Endpoints};
use windlass_keys::{KeyConfig, Signer};
use windlass_node::config::Amount;
use windlass_outbox::{Outbox, OutboxConfig};

use super::commands::DeployArgs;
use super::failure::Failure;
use super::output::{Output, pairs};
use super::run::{Handles, connect};
use super::verify::read_validators;
use crate::deploy::{Deployed, Deployment};
use crate::error::VrfError;
use crate::protocol::task::ProviderVersion;
use crate::protocol::vote::EncodedChainId;
use crate::trace::as_text;

#[derive(Debug, Serialize)]
struct DeployView {
    dry_run: bool,
    /// The deploying account.
    account: Address,
    #[serde(serialize_with = "as_text")]
    balance: U256,
    /// Of the client chain.
    chain_id: u64,
    /// Of the Band chain.
    band_chain_id: String,
    version: ProviderVersion,
    layout: &'static str,
    oracle_script_id: u64,
    #[serde(serialize_with = "as_text")]
    minimum_fee: U256,
    validators: usize,
    #[serde(serialize_with = "as_text")]
    total_power: U256,
    /// The contracts; `null` in a dry run.
    deployed: Option<Deployed>,
}

pub(super) async fn deploy(handles: &dyn Handles, arguments: &DeployArgs, output: &mut Output<'_>) -> Result<u8, Failure> {
    let endpoints = match (&arguments.rpc_url, &arguments.chain) {
        (Some(url), _) => connect(url).await?,
        (None, Some(chain)) => handles.chain(chain).await?,
        (None, None) => return Err(Failure::usage("where to deploy? Give --chain or --rpc-url")),
    };
    let (validators, band_chain_id) = band_side(handles, arguments).await?;
    let signer = KeyConfig::PrivateKey(arguments.key.clone()).open().await.map_err(VrfError::from)?;
    let account = signer.address();
    let plan = Deployment {
        version: arguments.generation.into(),
        layout: arguments.layout.into(),
        encoded_chain_id: EncodedChainId::new(&band_chain_id),
        oracle_script_id: arguments.oracle_script_id,
        minimum_fee: arguments.minimum_fee,
        counts: (arguments.min_count, arguments.ask_count),
        validators,
    };
    let mut view = DeployView {
        dry_run: arguments.dry_run,
        account,
        balance: endpoints.balance(account, BlockTag::Latest).await?,
        chain_id: endpoints.chain_id().await?,
        band_chain_id,
        version: plan.version,
        layout: plan.layout.name(),
        oracle_script_id: plan.oracle_script_id,
        minimum_fee: plan.minimum_fee,
        validators: plan.validators.len(),
        total_power: plan.validators.iter().fold(U256::ZERO, |sum, (_, power)| sum.saturating_add(*power)),
        deployed: None,
    };
    if !arguments.dry_run {
        view.deployed = Some(send(handles, endpoints, signer, arguments, &plan).await?);
    }
    output.result(&view, render);
    Ok(0)
}

/// Validators of the Bridge and the chain whose votes it accepts: from a node, or as given.
async fn band_side(handles: &dyn Handles, arguments: &DeployArgs) -> Result<(Vec<(Address, U256)>, String), Failure> {
    if let (Some(file), Some(chain_id)) = (&arguments.validators, &arguments.band_chain_id) {
        return Ok((read_validators(file)?, chain_id.clone()));
    }
    let Some(rpc) = &arguments.band_rpc else {
        return Err(Failure::usage("whose validators? Give --band-rpc, or --validators with --band-chain-id"));
    };
    let band = handles.band_at(rpc).await?;
    let validators = band.validators().await?.into_iter().map(|(address, power)| (address, U256::from(power))).collect();
    let chain_id = match &arguments.band_chain_id {
        Some(chain_id) => chain_id.clone(),
        None => band.latest_block().await?.chain_id,
    };
    Ok((validators, chain_id))
}

async fn send(
    handles: &dyn Handles,
    endpoints: Endpoints,
    signer: Arc<dyn Signer>,
    arguments: &DeployArgs,
    plan: &Deployment,
) -> Result<Deployed, Failure> {
    let store = handles.store().await?;
    store.migrate(&windlass_outbox::MIGRATIONS).await?;
    let settings = OutboxConfig::for_chain(endpoints.name());
    let outbox = Outbox::open(store, endpoints, signer, settings).await.map_err(VrfError::from)?;
    let stop = CancellationToken::new();
    let sender = (outbox.clone(), stop.clone());
    let sending = tokio::spawn(async move {
        if let Err(error) = sender.0.run(sender.1).await {
            tracing::error!(%error, "the sender of transactions ended");
        }
    });
    let done = crate::deploy::deploy(&outbox, &arguments.name, plan, arguments.wait).await;
    stop.cancel();
    let _ = tokio::time::timeout(Duration::from_secs(5), sending).await;
    Ok(done?)
}

fn render(view: &DeployView) -> String {
    let mut lines = Vec::new();
    match &view.deployed {
        Some(deployed) => lines.extend([
            ("bridge", deployed.bridge.to_string()),
            ("provider", deployed.provider.to_string()),
            ("lens", deployed.lens.to_string()),
            ("consumer", deployed.consumer.to_string()),
        ]),
        None => lines.push(("dry run", "nothing was sent".to_owned())),
    }
    lines.extend([
        ("chain id", view.chain_id.to_string()),
        ("account", format!("{}, holds {}", view.account, Amount(view.balance))),
        (
            "contracts",
            format!("{}, oracle script {}, fee from {}", view.version, view.oracle_script_id, Amount(view.minimum_fee)),
        ),
        ("Band chain", format!("{}, layout {}", view.band_chain_id, view.layout)),
        ("validators", format!("{} with a power of {}", view.validators, view.total_power)),
    ]);
    pairs(&lines)
}
