//! `windlass vrf`: what the relay's own commands need of the program.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use windlass_chain::Endpoints;
use windlass_node::client::NodeClient;
use windlass_node::config::{Config, Sources};
use windlass_store::Store;
use windlass_vrf::VrfConfig;
use windlass_vrf::cli::{Failure, Handles, RunArgs, VrfCommand};
use windlass_vrf::import::{ImportFailure, Imported, from_worker_env, from_worker_yaml};
use windlass_vrf::ports::band::{BandApi, BandClient, BandClientConfig};

use super::{config, run as node, status};
use crate::global::Global;
use crate::output::{Output, note};
use crate::services;

/// Runs one of the relay's commands.
pub(super) async fn run(command: VrfCommand, global: &Global, output: Output) -> ExitCode {
    let handles = VrfHandles { global: global.clone() };
    let (mut stdout, mut stderr) = (std::io::stdout(), std::io::stderr());
    let mut streams = windlass_vrf::cli::Output { stdout: &mut stdout, stderr: &mut stderr, json: output.is_json() };
    ExitCode::from(windlass_vrf::cli::run(command, &handles, &mut streams).await)
}

/// Nothing is opened before a command asks for it.
struct VrfHandles {
    global: Global,
}

impl VrfHandles {
    fn load(&self) -> Result<Config, Failure> {
        config::load(&self.global).map_err(wrong)
    }
}

/// A wrong configuration or command line.
fn wrong(error: impl Into<anyhow::Error>) -> Failure {
    Failure::usage(format!("{:#}", error.into()))
}

#[async_trait]
impl Handles for VrfHandles {
    async fn section(&self, name: Option<&str>) -> Result<(String, VrfConfig), Failure> {
        let config = self.load()?;
        let mut all = config.instances::<VrfConfig>().map(|(name, section)| (name.to_owned(), section.clone()));
        let found = match name {
            Some(name) => all.find(|(known, _)| known == name),
            None => all.next().filter(|_| all.next().is_none()),
        };
        found.ok_or_else(|| {
            let known: Vec<_> = config.instances::<VrfConfig>().map(|(name, _)| name.to_owned()).collect();
            Failure::usage(match (name, known.is_empty()) {
                (_, true) => "the configuration has no relay; write one with `windlass init vrf`".to_owned(),
                (Some(name), false) => format!("there is no relay `{name}`; there are: {}", known.join(", ")),
                (None, false) => format!("which relay? Give --relay, one of: {}", known.join(", ")),
            })
        })
    }

    async fn chain(&self, name: &str) -> Result<Endpoints, Failure> {
        let config = self.load()?;
        services::connect(&config, name).await.map_err(|error| match error.downcast() {
            Ok(error) => Failure::Relay(windlass_vrf::VrfError::Chain(error)),
            Err(error) => wrong(error),
        })
    }

    async fn band(&self, config: &VrfConfig) -> Result<Arc<dyn BandApi>, Failure> {
        Ok(Arc::new(windlass_vrf::service::band_client(&config.band, config.quorum)?))
    }

    async fn band_at(&self, rpc: &url::Url) -> Result<Arc<dyn BandApi>, Failure> {
        let rpc = vec![windlass_node::config::SecretUrl::new(rpc.clone())];
        let client = BandClient::new(BandClientConfig { rpc, ..BandClientConfig::default() });
        Ok(Arc::new(client.map_err(windlass_vrf::VrfError::from)?))
    }

    async fn store(&self) -> Result<Store, Failure> {
        let config = self.load()?;
        std::fs::create_dir_all(&config.node().data_dir).map_err(wrong)?;
        let url = services::store_url(&config).map_err(wrong)?;
        Ok(Store::open(url.expose()).await?)
    }

    async fn node(&self) -> Result<NodeClient, Failure> {
        status::own_node(&self.global, None).map_err(wrong)
    }

    async fn serve(&self, arguments: &RunArgs) -> Result<u8, Failure> {
        let imported = match &arguments.env {
            Some(folder) => from_worker_env(folder),
            None => from_worker_yaml(&self.global.config.clone().unwrap_or_else(|| PathBuf::from("config.yaml"))),
        };
        let Imported { toml, name, notes } = match imported {
            Ok(imported) => imported,
            // The former worker ends with this sentence and code 1.
            Err(error @ ImportFailure::NotFound { .. }) => {
                note(&error.to_string());
                return Ok(1);
            }
            Err(error) => return Err(Failure::usage(error.to_string())),
        };
        for one in notes {
            note(&format!("note: {one}"));
        }
        let sources = Sources { overrides: self.global.set.clone(), ..Sources::text(&format!("settings of {name}"), &toml) };
        let config = services::schema().load(&sources).map_err(|errors| Failure::usage(errors.to_string()))?;
        node::serve(&config)
            .await
            .map_err(|error| Failure::Relay(windlass_vrf::VrfError::Work { detail: format!("{error:#}") }))?;
        Ok(0)
    }
}
