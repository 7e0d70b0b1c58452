//! `windlass run`, and the payer's own commands.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use windlass_chain::Endpoints;
use windlass_node::config::Config;
use windlass_node::logs::Logs;
use windlass_node::{NodeBuilder, Outcome};
use windlass_payer::cli::{Handles, PayerCommand};
use windlass_payer::{PayerConfig, PayerError};
use windlass_store::Store;

use super::config;
use crate::exit::USAGE;
use crate::global::Global;
use crate::output::{Output, note};
use crate::services;

/// Runs the services of the configuration until it is told to stop.
pub(crate) async fn node(global: &Global) -> anyhow::Result<()> {
    let config = config::load(global)?;
    if services::names(&config).is_empty() {
        let (path, _) = global.config_path();
        note(&explain_empty(&path));
    }
    serve(&config).await
}

/// Runs the services of a configuration until it is told to stop.
pub(crate) async fn serve(config: &Config) -> anyhow::Result<()> {
    Logs::install(&config.log())?;
    let builder = NodeBuilder::open(config, Arc::new(services::resolve)).await?;
    let node = services::build(config, builder).await?.build().await?;
    if let Some(address) = node.address() {
        note(&format!("dashboard: http://{address}/"));
    }
    match node.run().await? {
        Outcome::Stopped => Ok(()),
        Outcome::Forced => anyhow::bail!("stopped at once by a second signal; what was recorded is not lost"),
    }
}

fn explain_empty(path: &Path) -> String {
    let begin = format!("windlass init payer --out {path}, or windlass init vrf --out {path}", path = path.display());
    if path.exists() {
        format!("{} names no service; write one with: windlass init payer, or windlass init vrf", path.display())
    } else {
        format!("There is no {}: the node runs without services. To begin: {begin}", path.display())
    }
}

/// Runs one of the payer's commands.
pub(crate) async fn payer(command: PayerCommand, global: &Global, output: Output) -> ExitCode {
    let handles = PayerHandles { global: global.clone(), usage: AtomicBool::new(false) };
    let (mut stdout, mut stderr) = (std::io::stdout(), std::io::stderr());
    let mut streams = windlass_payer::cli::Output { stdout: &mut stdout, stderr: &mut stderr, json: output.is_json() };
    let exit = windlass_payer::cli::run(command, &handles, &mut streams).await;
    // A wrong configuration has the same code here as everywhere.
    if handles.usage.load(Ordering::Relaxed) { ExitCode::from(USAGE) } else { ExitCode::from(exit) }
}

/// What the payer's commands need of the program. Nothing is opened before a command asks for it.
struct PayerHandles {
    global: Global,
    /// Whether the configuration was found wrong.
    usage: AtomicBool,
}

impl PayerHandles {
    fn load(&self) -> Result<Config, PayerError> {
        config::load(&self.global).map_err(|error| {
            self.usage.store(true, Ordering::Relaxed);
            setup(error)
        })
    }
}

#[async_trait]
impl Handles for PayerHandles {
    async fn section(&self, name: Option<&str>) -> Result<(String, PayerConfig), PayerError> {
        let config = self.load()?;
        let mut all = config.instances::<PayerConfig>().map(|(name, section)| (name.to_owned(), section.clone()));
        let found = match name {
            Some(name) => all.find(|(known, _)| known == name),
            None => all.next().filter(|_| all.next().is_none()),
        };
        found.ok_or_else(|| {
            self.usage.store(true, Ordering::Relaxed);
            let known: Vec<_> = config.instances::<PayerConfig>().map(|(name, _)| name.to_owned()).collect();
            setup(anyhow::Error::msg(match (name, known.is_empty()) {
                (_, true) => {
                    "the configuration has no agreement; write one with `windlass init payer`, or give --contract and --rpc-url"
                        .to_owned()
                }
                (Some(name), false) => format!("there is no agreement `{name}`; there are: {}", known.join(", ")),
                (None, false) => format!("which agreement? Give --agreement, one of: {}", known.join(", ")),
            }))
        })
    }

    async fn chain(&self, name: &str) -> Result<Endpoints, PayerError> {
        let config = self.load()?;
        services::connect(&config, name).await.map_err(setup)
    }

    async fn store(&self) -> Result<Store, PayerError> {
        let config = self.load()?;
        std::fs::create_dir_all(&config.node().data_dir).map_err(|error| setup(error.into()))?;
        let url = services::store_url(&config).map_err(setup)?;
        Store::open(url.expose()).await.map_err(|error| setup(error.into()))
    }
}

fn setup(error: anyhow::Error) -> PayerError {
    PayerError::Setup { detail: format!("{error:#}") }
}
