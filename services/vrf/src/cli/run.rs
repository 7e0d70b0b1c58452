//! Carrying out a command: open what it needs, do it, print one result.

use std::sync::Arc;

use async_trait::async_trait;
use url::Url;
use windlass_chain::{EndpointUrl, Endpoints, EndpointsConfig};
use windlass_node::client::NodeClient;
use windlass_node::config::SecretUrl;
use windlass_store::{Store, SystemClock};

use super::commands::{CloudCommand, RunArgs, VrfCommand};
use super::failure::Failure;
use super::output::Output;
use super::{act, audit, check, deploy, drift, inspect, status, verify};
use crate::cloud::cli::{self as cloud, CreateTaskArgs};
use crate::config::VrfConfig;
use crate::ports::band::{BandApi, BandClient, BandClientConfig};
use crate::service::band_client;
use crate::tables::{MIGRATIONS, Scope};

/// What the program around the commands provides. Nothing is opened before a command asks for it.
#[async_trait]
pub trait Handles: Send + Sync {
    /// The section of a relay by name; without a name the only one there is. With the name it has.
    async fn section(&self, name: Option<&str>) -> Result<(String, VrfConfig), Failure>;

    /// The endpoints of a `[chain.<name>]` section.
    async fn chain(&self, name: &str) -> Result<Endpoints, Failure>;

    /// A client of the Band chain of a section.
    async fn band(&self, config: &VrfConfig) -> Result<Arc<dyn BandApi>, Failure> {
        Ok(Arc::new(band_client(&config.band, config.quorum)?))
    }

    /// A client of the Band chain behind one CometBFT RPC endpoint.
    async fn band_at(&self, rpc: &Url) -> Result<Arc<dyn BandApi>, Failure> {
        let config = BandClientConfig { rpc: vec![SecretUrl::new(rpc.clone())], ..BandClientConfig::default() };
        Ok(Arc::new(BandClient::new(config)?))
    }

    /// The database.
    async fn store(&self) -> Result<Store, Failure>;

    /// The node of the configuration, with the token that it wants.
    async fn node(&self) -> Result<NodeClient, Failure>;

    /// Runs a node with the settings of the original worker until it is told to stop. The result is the exit code.
    async fn serve(&self, arguments: &RunArgs) -> Result<u8, Failure>;
}

/// Carries out a command. The result is the exit code of the process.
pub async fn run(command: VrfCommand, handles: &dyn Handles, output: &mut Output<'_>) -> u8 {
    let done = match command {
        VrfCommand::Status { relay, limit } => status::status(handles, &relay, limit, output).await,
        VrfCommand::Inspect { nonce, relay, offline } => inspect::inspect(handles, &relay, nonce, offline, output).await,
        VrfCommand::Retry { nonce, relay, request_again, node } => {
            act::retry(handles, (&relay, &node), nonce, request_again, output).await
        }
        VrfCommand::GiveUp { nonce, relay, reason, node } => act::give_up(handles, (&relay, &node), nonce, &reason, output).await,
        VrfCommand::VerifyProof(arguments) => verify::verify(handles, &arguments, output).await,
        VrfCommand::Drift { relay } => drift::drift(handles, &relay, output).await,
        VrfCommand::Audit { command } => audit::audit(handles, &command, output).await,
        VrfCommand::Check { relay } => check::check(handles, &relay, output).await,
        VrfCommand::DeployDev(arguments) => deploy::deploy(handles, &arguments, output).await,
        VrfCommand::Import(arguments) => {
            return crate::import::cli::import(&arguments, output.stdout, output.stderr, output.json).await;
        }
        VrfCommand::Run(arguments) => handles.serve(&arguments).await,
        VrfCommand::Cloud { command: CloudCommand::Recipe(arguments) } => {
            return cloud::recipe_command(&arguments, output.stdout, output.stderr, output.json).await;
        }
        VrfCommand::Cloud { command: CloudCommand::CreateTask(arguments) } => create_task(handles, &arguments, output).await,
    };
    done.unwrap_or_else(|failure| {
        output.remark(format_args!("error: {failure}"));
        if let Some(hint) = failure.hint() {
            output.remark(format_args!("hint: {hint}"));
        }
        failure.exit()
    })
}

async fn create_task(handles: &dyn Handles, arguments: &CreateTaskArgs, output: &mut Output<'_>) -> Result<u8, Failure> {
    let trigger = match &arguments.from_env {
        Some(folder) => cloud::trigger_of_env(folder).map_err(Failure::usage)?,
        None => {
            let (name, config) = handles.section(arguments.relay.as_deref()).await?;
            config.trigger.ok_or_else(|| Failure::usage(format!("vrf.{name} has no trigger, so there is no queue")))?
        }
    };
    let clock = Arc::new(SystemClock);
    Ok(cloud::create_task(arguments, &trigger, clock, output.stdout, output.stderr, output.json).await)
}

/// Endpoints of one URL, without a section.
pub(super) async fn connect(url: &str) -> Result<Endpoints, Failure> {
    Ok(Endpoints::connect(EndpointsConfig::new("chain", [EndpointUrl::new(url)])).await?)
}

/// The database with the rows of a relay. No endpoint is asked while the rows themselves tell the chain id.
pub(super) async fn open_rows(handles: &dyn Handles, config: &VrfConfig) -> Result<(Store, Scope), Failure> {
    const HINT: &str = "start it with `windlass run`; what it sees is stored and can be shown from then on";
    let store = handles.store().await?;
    match store.newest_migration(MIGRATIONS.component).await? {
        0 => return Err(Failure::Nothing { text: format!("no relay has run on {} yet", store.place()), hint: HINT }),
        number if number < MIGRATIONS.newest() => {
            return Err(Failure::Nothing {
                text: format!("{} was made by an earlier version of this program", store.place()),
                hint: "start the node once with this version: it brings the tables up to date",
            });
        }
        _ => {}
    }
    let scope = match Scope::stored(&store, config.provider).await?.as_slice() {
        [scope] => *scope,
        [] => {
            let text = format!("nothing is stored about the provider {}", config.provider);
            return Err(Failure::Nothing { text, hint: HINT });
        }
        // One address on several chains: only the chain itself tells which is meant.
        _ => Scope { chain_id: handles.chain(&config.chain).await?.chain_id().await?, provider: config.provider },
    };
    Ok((store, scope))
}
