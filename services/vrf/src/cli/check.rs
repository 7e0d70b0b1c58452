//! `check`: asks both chains, and compares what they say with the section, before anything runs.

use alloy_primitives::U256;
use serde::Serialize;
use windlass_chain::{BlockRef, BlockTag, Endpoints};
use windlass_node::config::Amount;

use super::commands::RelayArgs;
use super::failure::{FAILURE, Failure, UNAVAILABLE};
use super::output::{Output, table};
use super::run::Handles;
use crate::config::VrfConfig;
use crate::error::VrfError;
use crate::ports::band::{BandApi, BandError};
use crate::ports::client_chain::{BridgeState, ProviderReader, Settings};
use crate::prove;
use crate::service::{band_key, provider_reader};
use crate::watch::describe;

/// What one question came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    Ok,
    /// Works, but an operator should know.
    Warning,
    Wrong,
    /// Nobody answered.
    Unknown,
}

#[derive(Debug, Serialize)]
struct Finding {
    mark: Mark,
    subject: &'static str,
    text: String,
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
struct CheckView {
    relay: String,
    ok: bool,
    findings: Vec<Finding>,
}

/// Collects findings.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, mark: Mark, subject: &'static str, text: impl Into<String>) {
        self.0.push(Finding { mark, subject, text: text.into(), hint: None });
    }

    fn hinted(&mut self, mark: Mark, subject: &'static str, text: impl Into<String>, hint: &str) {
        self.0.push(Finding { mark, subject, text: text.into(), hint: Some(hint.to_owned()) });
    }

    fn failed(&mut self, subject: &'static str, error: impl Into<VrfError>) {
        let error = error.into();
        let mark = if error.is_transient() { Mark::Unknown } else { Mark::Wrong };
        self.0.push(Finding { mark, subject, text: error.to_string(), hint: error.hint() });
    }
}

pub(super) async fn check(handles: &dyn Handles, relay: &RelayArgs, output: &mut Output<'_>) -> Result<u8, Failure> {
    let (name, config) = handles.section(relay.relay.as_deref()).await?;
    let mut findings = Findings::default();
    if config.callers.is_empty() {
        findings.hinted(
            Mark::Wrong,
            "callers",
            "the list is empty, so nothing is served",
            "name the contracts to serve in callers",
        );
    } else {
        findings.add(Mark::Ok, "callers", format!("{} are served", config.callers.len()));
    }
    let bridge = match handles.chain(&config.chain).await {
        Ok(endpoints) => {
            account(&config, &endpoints, &mut findings).await;
            client_chain(&config, endpoints, &mut findings).await
        }
        // A chain that does not answer must not hide what is wrong with the other.
        Err(Failure::Relay(error)) => {
            findings.failed("client chain", error);
            None
        }
        Err(failure) => return Err(failure),
    };
    match handles.band(&config).await {
        Ok(band) => band_chain(&config, &*band, bridge.as_ref(), &mut findings).await,
        Err(Failure::Relay(error)) => findings.failed("BandChain", error),
        Err(failure) => return Err(failure),
    }
    let worst = |mark: Mark| findings.0.iter().any(|finding| finding.mark == mark);
    let exit = match (worst(Mark::Wrong), worst(Mark::Unknown)) {
        (true, _) => FAILURE,
        (false, true) => UNAVAILABLE,
        (false, false) => 0,
    };
    output.result(&CheckView { relay: name, ok: exit == 0, findings: findings.0 }, render);
    Ok(exit)
}

async fn client_chain(config: &VrfConfig, endpoints: Endpoints, findings: &mut Findings) -> Option<BridgeState> {
    let answer = async { Ok::<_, VrfError>((endpoints.chain_id().await?, endpoints.head().await?)) };
    let head = match answer.await {
        Ok((chain_id, head)) => {
            findings.add(Mark::Ok, "client chain", format!("chain id {chain_id}, block {}", head.number));
            head
        }
        Err(error) => {
            findings.failed("client chain", error);
            return None;
        }
    };
    let reader = provider_reader(endpoints.clone(), config);
    let settings = match reader.settings(&head).await {
        Ok(settings) => settings,
        Err(error) => {
            findings.failed("provider", error);
            return None;
        }
    };
    provider(config, &settings, findings);
    callers(config, &endpoints, &head, findings).await;
    bridge(config, &reader, settings, &head, findings).await
}

fn provider(config: &VrfConfig, settings: &Settings, findings: &mut Findings) {
    let text = format!(
        "{} is {}: oracle script {}, fee from {}, {} tasks",
        config.provider,
        settings.version,
        settings.oracle_script_id,
        Amount(settings.minimum_fee),
        settings.task_nonce
    );
    findings.add(Mark::Ok, "provider", text);
    if let Some((min, ask)) = settings.counts
        && (u64::from(min), u64::from(ask)) != (config.band.min_count, config.band.ask_count)
    {
        let text =
            format!("the provider wants min_count {min} and ask_count {ask}; those are used instead of the configured ones");
        findings.add(Mark::Warning, "counts", text);
    }
    match config.lens {
        Some(lens) => findings.add(Mark::Ok, "lens", format!("{lens} reads this provider")),
        None => {
            findings.hinted(Mark::Warning, "lens", "none is named, so tasks are read one by one", "name the lens of the provider")
        }
    }
}

/// A caller without code is an account of a person: allowed, but more often a mistake.
async fn callers(config: &VrfConfig, endpoints: &Endpoints, head: &BlockRef, findings: &mut Findings) {
    for caller in &config.callers {
        match endpoints.code(*caller, head.hash).await {
            Ok(code) if code.is_empty() => {
                findings.add(
                    Mark::Warning,
                    "callers",
                    format!("{caller} is no contract; right only if a person asks for values"),
                );
            }
            Ok(_) => {}
            Err(error) => return findings.failed("callers", error),
        }
    }
}

async fn bridge(
    config: &VrfConfig,
    reader: &ProviderReader,
    settings: Settings,
    head: &BlockRef,
    findings: &mut Findings,
) -> Option<BridgeState> {
    if let Some(configured) = config.bridge.filter(|configured| *configured != settings.bridge) {
        let text = format!("the provider uses {}, {configured} is configured", settings.bridge);
        findings.hinted(Mark::Wrong, "bridge", text, "correct bridge in the section, or leave it out");
    }
    let state = match reader.bridge_state(settings.bridge, head).await {
        Ok(state) => state,
        Err(error) => {
            findings.failed("bridge", error);
            return None;
        }
    };
    match state.encoded_chain_id.name() {
        Some(chain) => {
            let text = format!("{}: votes of {chain}, {} validators", settings.bridge, state.validators.len());
            findings.add(Mark::Ok, "bridge", text);
        }
        None => findings.add(Mark::Wrong, "bridge", "its encoded chain id is not one: 0x32, a length and a name"),
    }
    Some(state)
}

/// The account of the client chain: opened, and funded.
async fn account(config: &VrfConfig, endpoints: &Endpoints, findings: &mut Findings) {
    let signer = match config.account.key_config().open().await {
        Ok(signer) => signer,
        Err(error) => return findings.failed("account", error),
    };
    match endpoints.balance(signer.address(), BlockTag::Latest).await {
        Ok(wei) => {
            let text = format!("{} holds {}", signer.address(), Amount(wei));
            funds("account", text, wei, config.low_balance.wei(), findings);
        }
        Err(error) => findings.failed("account", error),
    }
}

fn funds(subject: &'static str, text: String, have: U256, limit: U256, findings: &mut Findings) {
    match (have.is_zero(), have < limit) {
        (true, _) => findings.hinted(Mark::Wrong, subject, text, "send it funds"),
        (false, true) => findings.hinted(Mark::Warning, subject, format!("{text}, less than low_balance"), "send it funds"),
        (false, false) => findings.add(Mark::Ok, subject, text),
    }
}

async fn band_chain(config: &VrfConfig, band: &dyn BandApi, bridge: Option<&BridgeState>, findings: &mut Findings) {
    let block = match band.latest_block().await {
        Ok(block) => block,
        Err(error) => return findings.failed("BandChain", error),
    };
    let chain = block.chain_id.as_str();
    findings.add(Mark::Ok, "BandChain", format!("{chain}, block {}", block.height));
    for endpoint in band.status().into_iter().filter(|endpoint| !endpoint.healthy) {
        findings.add(Mark::Warning, "BandChain", format!("{}: {}", endpoint.host, endpoint.note.unwrap_or_default()));
    }
    if let Some(configured) = config.band.chain_id.as_deref().filter(|configured| *configured != chain) {
        findings.hinted(
            Mark::Wrong,
            "chain ids",
            format!("the nodes serve {chain}, {configured} is configured"),
            "correct the endpoints, or band.chain_id",
        );
    }
    match bridge.map(|bridge| bridge.encoded_chain_id.name()) {
        Some(Some(accepted)) if accepted == chain => {
            findings.add(Mark::Ok, "chain ids", format!("nodes and Bridge agree on {chain}"));
        }
        Some(accepted) => {
            let accepted = accepted.unwrap_or("none");
            let text = format!("the nodes serve {chain}, the Bridge accepts votes of {accepted}");
            findings.hinted(Mark::Wrong, "chain ids", text, "correct the endpoints, or the provider");
        }
        None => {}
    }
    band_account(config, band, findings).await;
    if let Some(bridge) = bridge {
        validators(band, bridge, findings).await;
    }
}

async fn band_account(config: &VrfConfig, band: &dyn BandApi, findings: &mut Findings) {
    let address = match band_key(config).await {
        Ok(key) => key.address,
        Err(error) => return findings.failed("Band account", error),
    };
    match band.account(&address).await {
        Ok(_) => {}
        Err(BandError::NotFound { .. }) => {
            let text = format!("{address} has never received coins");
            return findings.hinted(Mark::Wrong, "Band account", text, "send it coins: the chain does not know it before");
        }
        Err(error) => return findings.failed("Band account", error),
    }
    match band.balance(&address, &config.band.denom).await {
        Ok(balance) => {
            let text = format!("{address} holds {balance} {}", config.band.denom);
            funds("Band account", text, U256::from(balance), U256::from(config.band.low_balance), findings);
        }
        Err(error) => findings.failed("Band account", error),
    }
}

async fn validators(band: &dyn BandApi, bridge: &BridgeState, findings: &mut Findings) {
    let live = match band.validators().await {
        Ok(live) => live,
        Err(error) => return findings.failed("validators", error),
    };
    match prove::drift(&bridge.validators, &live) {
        Ok(drift) if drift.can_relay() => findings.add(Mark::Ok, "validators", describe(&drift)),
        Ok(drift) => {
            let hint = "the updater of the Bridge must give it the powers of now; see `windlass vrf drift`";
            findings.hinted(Mark::Wrong, "validators", describe(&drift), hint);
        }
        Err(fault) => findings.add(Mark::Wrong, "validators", fault),
    }
}

fn render(view: &CheckView) -> String {
    let rows: Vec<_> = view
        .findings
        .iter()
        .map(|finding| {
            let mark = match finding.mark {
                Mark::Ok => "ok",
                Mark::Warning => "warning",
                Mark::Wrong => "WRONG",
                Mark::Unknown => "no answer",
            };
            let hint = finding.hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default();
            vec![mark.to_owned(), finding.subject.to_owned(), format!("{}{hint}", finding.text)]
        })
        .collect();
    let verdict = if view.ok { "ok" } else { "NOT OK" };
    format!("relay {}: {verdict}\n\n{}", view.relay, table(&["", "what", "finding"], &rows))
}
