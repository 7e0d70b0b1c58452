//! Which services there are, and how each is built from its section of the configuration.

use std::sync::Arc;

use anyhow::Context as _;
use serde::Serialize;
use windlass_chain::{ChainError, EndpointUrl, Endpoints, EndpointsConfig};
use windlass_keys::{Secret, SecretSource};
use windlass_node::config::{ChainSection, Config, Schema, SecretText};
use windlass_node::{NodeBuilder, Service};
use windlass_payer::PayerService;
use windlass_payer::config::PayerConfig;
use windlass_store::Migrations;
use windlass_vrf::{VrfConfig, VrfService};

/// All sections that the configuration may have.
pub(crate) fn schema() -> Schema {
    Schema::new().section::<PayerConfig>().section::<VrfConfig>()
}

/// The names of the configured services.
pub(crate) fn names(config: &Config) -> Vec<String> {
    let payers = config.instances::<PayerConfig>().map(|(name, _)| format!("payer.{name}"));
    payers.chain(config.instances::<VrfConfig>().map(|(name, _)| format!("vrf.{name}"))).collect()
}

/// Every table of every crate: what a backup may hold.
pub(crate) fn all_migrations() -> Vec<&'static Migrations> {
    vec![
        &windlass_node::MIGRATIONS,
        &windlass_keys::sign_once::MIGRATIONS,
        &windlass_chain::MIGRATIONS,
        &windlass_outbox::MIGRATIONS,
        &windlass_payer::tables::MIGRATIONS,
        &windlass_vrf::tables::MIGRATIONS,
    ]
}

/// Builds the configured services on the store of the node.
pub(crate) async fn build(config: &Config, mut builder: NodeBuilder) -> anyhow::Result<NodeBuilder> {
    // After the node has installed the recorder, which keeps the texts.
    windlass_chain::metrics::describe();
    windlass_store::metrics::describe();
    for (name, section) in config.instances::<PayerConfig>() {
        let endpoints = connect_for_long(config, &section.chain).await?;
        let service = PayerService::new(name, section.clone(), endpoints, builder.store().clone())
            .with_context(|| format!("cannot build payer.{name}"))?;
        builder = builder.service(Arc::new(service) as Arc<dyn Service>);
    }
    refuse_shared_band_accounts(config)?;
    for (name, section) in config.instances::<VrfConfig>() {
        let endpoints = connect_for_long(config, &section.chain).await?;
        let band = windlass_vrf::service::band_client(&section.band, section.quorum)
            .with_context(|| format!("cannot build vrf.{name}"))?;
        let service = VrfService::new(name, section.clone(), endpoints, Arc::new(band), builder.store().clone());
        let service = service.with_trigger().with_context(|| format!("cannot build vrf.{name}"))?;
        builder = builder.service(Arc::new(service) as Arc<dyn Service>);
    }
    Ok(builder)
}

/// Two relays with one Band account would sign for the same sequences: each would see the other as a stranger with its key.
fn refuse_shared_band_accounts(config: &Config) -> anyhow::Result<()> {
    let mut seen: Vec<(&str, &str, &str)> = Vec::new();
    for (name, section) in config.instances::<VrfConfig>() {
        let (phrase, path) = (section.band.mnemonic.expose(), section.band.path.as_str());
        if let Some((other, ..)) = seen.iter().find(|(_, known, known_path)| (*known, *known_path) == (phrase, path)) {
            anyhow::bail!(
                "vrf.{other} and vrf.{name} pay from the same Band account; give each a path of its own, such as m/44'/494'/0'/0/1"
            );
        }
        seen.push((name, phrase, path));
    }
    Ok(())
}

/// The endpoints of a chain. Their chain id is checked as soon as each answers; until then the services that need them are not ready.
pub(crate) async fn connect(config: &Config, chain: &str) -> anyhow::Result<Endpoints> {
    // The configuration has checked that every reference names a section.
    let section = config.chain(chain).with_context(|| format!("there is no section [chain.{chain}]"))?;
    Ok(Endpoints::connect(endpoints_config(chain, section)).await?)
}

/// As [`connect`], for a node: one wrong endpoint must not keep its other services from their work. The services on that chain are
/// not ready, with the reason, until it is right.
async fn connect_for_long(config: &Config, chain: &str) -> anyhow::Result<Endpoints> {
    match connect(config, chain).await {
        Err(error) if matches!(error.downcast_ref(), Some(ChainError::WrongChain { .. })) => {
            tracing::error!("{}; services on it are not ready", one_line(&error));
            let section = config.chain(chain).with_context(|| format!("there is no section [chain.{chain}]"))?;
            Ok(Endpoints::prepare(endpoints_config(chain, section))?)
        }
        result => result,
    }
}

fn endpoints_config(name: &str, section: &ChainSection) -> EndpointsConfig {
    let url = |url: &windlass_node::config::SecretUrl| EndpointUrl::new(url.expose().as_str());
    let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    EndpointsConfig {
        chain_id: section.chain_id,
        broadcast_urls: section.broadcast_urls.iter().map(url).collect(),
        timeout_ms: millis(section.timeout),
        hedge_after_ms: Some(millis(section.hedge_after)),
        quorum: section.quorum,
        ..EndpointsConfig::new(name, section.urls.iter().map(url))
    }
}

/// One check against the outside world.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) ok: bool,
    pub(crate) subject: String,
    pub(crate) text: String,
    /// Whether the same check may succeed later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) transient: bool,
}

/// Asks every chain and every contract that the configuration names.
pub(crate) async fn check_online(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, section) in config.instances::<ChainSection>() {
        findings.push(check_chain(name, section).await);
    }
    for (name, section) in config.instances::<PayerConfig>() {
        let subject = format!("payer.{name}");
        let (ok, text, transient) = match check_payer(config, section).await {
            Ok(text) => (true, text, false),
            Err(error) => (false, one_line(&error), is_transient(&error)),
        };
        findings.push(Finding { ok, subject, text, transient });
    }
    for (name, section) in config.instances::<VrfConfig>() {
        let subject = format!("vrf.{name}");
        let (ok, text, transient) = match check_vrf(config, section).await {
            Ok(text) => (true, text, false),
            Err(error) => (false, one_line(&error), is_transient(&error)),
        };
        findings.push(Finding { ok, subject, text, transient });
    }
    findings
}

fn is_transient(error: &anyhow::Error) -> bool {
    let chain = error.chain().find_map(|cause| cause.downcast_ref::<ChainError>());
    let payer = error.chain().find_map(|cause| cause.downcast_ref::<windlass_payer::PayerError>());
    let vrf = error.chain().find_map(|cause| cause.downcast_ref::<windlass_vrf::VrfError>());
    vrf.is_some_and(windlass_vrf::VrfError::is_transient)
        || chain.is_some_and(ChainError::is_transient)
        || payer.is_some_and(windlass_payer::PayerError::is_transient)
}

/// An error with its causes, each said once.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = if text.starts_with(&line) { text } else { format!("{line}: {text}") };
        }
    }
    line
}

async fn check_chain(name: &str, section: &ChainSection) -> Finding {
    let answer = async {
        let endpoints = Endpoints::connect(endpoints_config(name, section)).await?;
        Ok::<_, ChainError>((endpoints.chain_id().await?, endpoints.head().await?))
    };
    let subject = format!("chain.{name}");
    match answer.await {
        Ok((chain_id, head)) => {
            Finding { ok: true, subject, text: format!("chain id {chain_id}, block {}", head.number), transient: false }
        }
        Err(error) => {
            let hint = error.hint().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
            Finding { ok: false, subject, text: format!("{error}{hint}"), transient: error.is_transient() }
        }
    }
}

async fn check_payer(config: &Config, section: &PayerConfig) -> anyhow::Result<String> {
    let endpoints = connect(config, &section.chain).await?;
    let terms = windlass_payer::check_contract(&endpoints, section.contract).await?;
    Ok(format!("contract {} answers: {terms}", section.contract.to_checksum(None)))
}

async fn check_vrf(config: &Config, section: &VrfConfig) -> anyhow::Result<String> {
    let endpoints = connect(config, &section.chain).await?;
    let band = windlass_vrf::service::band_client(&section.band, section.quorum)?;
    Ok(windlass_vrf::check_contracts(&endpoints, &band, section).await?)
}

/// The URL of the database, with `env:`, `file:` and `command:` looked up.
pub(crate) fn store_url(config: &Config) -> anyhow::Result<Secret<String>> {
    let url = config.store().url_or_default(&config.node());
    resolve(&url).map(|url| Secret::new(url.expose().to_owned())).map_err(anyhow::Error::msg)
}

/// Looks a secret up as the configuration names it. What is no pointer is the secret itself.
pub(crate) fn resolve(secret: &SecretText) -> Result<SecretText, String> {
    if !secret.is_pointer() {
        return Ok(secret.clone());
    }
    let Ok(source) = secret.expose().parse::<SecretSource>();
    match source.resolve() {
        Ok(text) => Ok(SecretText::new(text.expose().clone())),
        Err(error) => Err(error.hint().map_or_else(|| error.to_string(), |hint| format!("{error} ({hint})"))),
    }
}
