//! `windlass status`: what a running node says of itself, over its own HTTP interface.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use url::Url;
use windlass_keys::SecretSource;

use super::config;
use crate::exit::{Unavailable, Usage};
use crate::global::Global;
use crate::output::{Output, is_interactive, note, table};
use crate::services;

/// Options.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Base URL of the node, instead of the configuration's http.listen
    #[arg(long)]
    url: Option<Url>,
    /// Bearer token of the node, instead of the configuration's first: env:NAME, file:PATH or command:PROGRAM …
    #[arg(long, value_name = "SOURCE")]
    token: Option<SecretSource>,
    /// Repeat every two seconds until interrupted
    #[arg(long)]
    watch: bool,
}

/// Pause between two readings of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// How long the node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn run(options: &Status, global: &Global, output: Output) -> anyhow::Result<()> {
    let (base, token) = target(options, global)?;
    let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
    let status = ask(&client, &base, token.as_ref()).await?;
    show(&status, options, output)?;
    if !options.watch {
        return Ok(());
    }
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        match ask(&client, &base, token.as_ref()).await {
            Ok(status) => show(&status, options, output)?,
            // Whoever watches a restart wants to see its end.
            Err(error) if error.is::<Unavailable>() => note(&format!("{error}")),
            Err(error) => return Err(error),
        }
    }
}

/// Where the node listens, and the token that it wants.
fn target(options: &Status, global: &Global) -> anyhow::Result<(Url, Option<String>)> {
    let given = options.token.as_ref().map(|token| token.resolve().map(|token| token.expose().clone())).transpose()?;
    if let Some(url) = &options.url {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Usage(format!("--url must begin with http:// or https://, not {}://", url.scheme())).into());
        }
        return Ok((url.clone(), given));
    }
    let http = config::load(global)?.http();
    let mut listen = http.listen;
    if listen.ip().is_unspecified() {
        // "Every address" is none that can be called.
        listen.set_ip(if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    let own = || http.tokens.first().map(|token| services::resolve(token).map_err(Usage)).transpose();
    let token = match given {
        Some(token) => Some(token),
        None => own()?.map(|token| token.expose().to_owned()),
    };
    Ok((Url::parse(&format!("http://{listen}"))?, token))
}

async fn ask(client: &reqwest::Client, base: &Url, token: Option<&String>) -> anyhow::Result<Value> {
    let mut request = client.get(base.join("v1/status")?);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.map_err(|error| no_answer(base, &error))?;
    let code = answer.status();
    if code == reqwest::StatusCode::UNAUTHORIZED {
        return Err(Usage(format!("the node at {} wants another token: give --token", shown(base))).into());
    }
    anyhow::ensure!(code.is_success(), "the node at {} answered HTTP {}", shown(base), code.as_u16());
    let status: Value = answer
        .json()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| format!("what answers at {} is not a windlass node", shown(base)))?;
    anyhow::ensure!(status.get("services").is_some(), "what answers at {} is not a windlass node", shown(base));
    Ok(status)
}

/// Scheme, host and port: the rest of an address may be secret.
fn shown(base: &Url) -> String {
    base.origin().ascii_serialization()
}

fn no_answer(base: &Url, error: &reqwest::Error) -> Unavailable {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let why = if error.is_timeout() { format!("nothing within {} s", TIMEOUT.as_secs()) } else { cause.to_string() };
    let hint = "start one with `windlass run`, or say where it listens: --url http://HOST:PORT";
    Unavailable { text: format!("no node answers at {}: {why}", shown(base)), hint }
}

fn show(status: &Value, options: &Status, output: Output) -> std::io::Result<()> {
    if options.watch && is_interactive() {
        // Clear the screen and go to its corner, as `watch` does.
        note("\x1b[2J\x1b[H");
    }
    output.result(status, render)
}

fn render(status: &Value) -> String {
    let services = status.get("services").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if services.is_empty() {
        return "no services".to_owned();
    }
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let rows: Vec<_> = services
        .iter()
        .map(|service| {
            let ready = service.pointer("/ready/status").and_then(Value::as_str) == Some("ready");
            let reasons = service.pointer("/ready/reasons").and_then(Value::as_array);
            let reasons: Vec<_> = reasons.into_iter().flatten().filter_map(Value::as_str).collect();
            let chains = service.get("chains").and_then(Value::as_array);
            let heads: Vec<_> = chains
                .into_iter()
                .flatten()
                .map(|head| format!("{} {}", text(head.get("chain")), text(head.get("number"))))
                .collect();
            vec![
                text(service.get("name")),
                text(service.get("state")),
                if ready { "ready".to_owned() } else { format!("not ready: {}", reasons.join("; ")) },
                heads.join(", "),
            ]
        })
        .collect();
    table(&["service", "state", "ready", "chains"], &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_says_why_a_service_is_not_ready() {
        let status = json!({ "services": [
            { "name": "payer.a", "state": "paid", "ready": { "status": "ready" }, "chains": [{ "chain": "gnosis", "number": 7 }] },
            { "name": "payer.b", "state": "unknown", "ready": { "status": "not_ready", "reasons": ["no endpoint answers"] }, "chains": [] },
        ]});
        assert_eq!(
            render(&status),
            "service  state    ready                           chains\n\
             payer.a  paid     ready                           gnosis 7\n\
             payer.b  unknown  not ready: no endpoint answers"
        );
    }
}
