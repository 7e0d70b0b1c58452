//! `windlass status`: what a running node says of itself, over its own HTTP interface.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use url::Url;
use windlass_keys::SecretSource;

use super::config;
use crate::global::Global;
use crate::output::{Output, is_interactive, table};

/// Options.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Base URL of the node, instead of the configuration's http.listen
    #[arg(long)]
    url: Option<Url>,
    /// Bearer token of the node: env:NAME, file:PATH or command:PROGRAM …
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
    let base = match &options.url {
        Some(url) => url.clone(),
        None => Url::parse(&format!("http://{}", config::load(global)?.http().listen))?,
    };
    let url = base.join("v1/status")?;
    let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
    loop {
        let mut request = client.get(url.clone());
        if let Some(token) = &options.token {
            request = request.bearer_auth(token.resolve()?.expose());
        }
        let answer = request
            .send()
            .await
            .map_err(reqwest::Error::without_url)
            .with_context(|| format!("no node answers at {base}; is `windlass run` up?"))?;
        let code = answer.status();
        anyhow::ensure!(code.is_success(), "the node at {base} answered HTTP {}", code.as_u16());
        let status: Value = answer.json().await.context("the answer is not the status of a windlass node")?;
        if options.watch && is_interactive() {
            // Clear the screen and go to its corner, as `watch` does.
            crate::output::note("\x1b[2J\x1b[H");
        }
        output.result(&status, render)?;
        if !options.watch {
            return Ok(());
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
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
