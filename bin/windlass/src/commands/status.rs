//! `windlass status`: what a running node says of itself, over its own HTTP interface.

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use url::Url;
use windlass_keys::SecretSource;
use windlass_node::client::{ClientError, NodeClient};
use windlass_node::config::SecretText;

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

pub(crate) async fn run(options: &Status, global: &Global, output: Output) -> anyhow::Result<()> {
    let node = client(options, global)?;
    let status = ask(&node).await?;
    show(&status, options, output)?;
    if !options.watch {
        return Ok(());
    }
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        match ask(&node).await {
            Ok(status) => show(&status, options, output)?,
            // Whoever watches a restart wants to see its end.
            Err(error) if error.is::<Unavailable>() => note(&format!("{error}")),
            Err(error) => return Err(error),
        }
    }
}

/// A client for where the node listens, with the token that it wants.
fn client(options: &Status, global: &Global) -> anyhow::Result<NodeClient> {
    let given =
        options.token.as_ref().map(|token| token.resolve().map(|token| SecretText::new(token.expose().clone()))).transpose()?;
    if let Some(url) = &options.url {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Usage(format!("--url must begin with http:// or https://, not {}://", url.scheme())).into());
        }
        return Ok(NodeClient::new(url.clone(), given)?);
    }
    own_node(global, given)
}

/// A client of the node that this configuration describes. Without a token the configuration's first is used.
pub(crate) fn own_node(global: &Global, given: Option<SecretText>) -> anyhow::Result<NodeClient> {
    let http = config::load(global)?.http();
    let token = match given {
        Some(token) => Some(token),
        None => http.tokens.first().map(|token| services::resolve(token).map_err(Usage)).transpose()?,
    };
    Ok(NodeClient::new(NodeClient::address_of(&http)?, token)?)
}

async fn ask(node: &NodeClient) -> anyhow::Result<Value> {
    let status = node.get("v1/status").await.map_err(|error| match error {
        ClientError::NoAnswer { .. } => {
            let hint = "start one with `windlass run`, or say where it listens: --url http://HOST:PORT";
            Unavailable { text: error.to_string(), hint }.into()
        }
        ClientError::Token { .. } => Usage(format!("{error}: give --token")).into(),
        error => anyhow::Error::from(error),
    })?;
    anyhow::ensure!(status.get("services").is_some(), "what answers at {} is not a windlass node", node.at());
    Ok(status)
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
