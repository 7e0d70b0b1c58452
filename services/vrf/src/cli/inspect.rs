//! `inspect`: everything about one task.

use std::fmt::Write as _;

use alloy_primitives::U256;
use serde::Serialize;
use windlass_node::config::Amount;

use super::commands::RelayArgs;
use super::failure::Failure;
use super::output::{Output, pairs, table};
use super::run::{Handles, open_rows};
use crate::config::VrfConfig;
use crate::machine::State;
use crate::protocol::task::Task;
use crate::service::provider_reader;
use crate::trace::{TaskView, Trace, as_text};
use crate::view;

#[derive(Serialize)]
struct InspectView {
    relay: String,
    #[serde(flatten)]
    trace: Trace,
    /// What the provider says now; `null` if it was not asked or did not answer.
    provider: Option<ProviderSays>,
}

#[derive(Serialize)]
struct ProviderSays {
    block: u64,
    /// Whether there is such a task at all.
    exists: bool,
    /// Whether it is the stored one: a reorganisation gives it another seed.
    same_seed: bool,
    is_resolved: bool,
    #[serde(serialize_with = "as_text")]
    task_fee: U256,
    result: alloy_primitives::Bytes,
}

impl ProviderSays {
    fn new(block: u64, task: Option<&Task>, trace: &Trace) -> Self {
        Self {
            block,
            exists: task.is_some(),
            same_seed: task.is_some_and(|task| trace.main().is_some_and(|stored| stored.seed == task.seed)),
            is_resolved: task.is_some_and(|task| task.is_resolved),
            task_fee: task.map(|task| task.task_fee).unwrap_or_default(),
            result: task.map(|task| task.result.clone()).unwrap_or_default(),
        }
    }
}

pub(super) async fn inspect(
    handles: &dyn Handles,
    relay: &RelayArgs,
    nonce: u64,
    offline: bool,
    output: &mut Output<'_>,
) -> Result<u8, Failure> {
    let (name, config) = handles.section(relay.relay.as_deref()).await?;
    let (store, scope) = open_rows(handles, &config).await?;
    let Some(trace) = Trace::load(scope, &store, nonce, store.clock().now()).await? else {
        return Err(Failure::Nothing {
            text: format!("nothing is stored about task {nonce}"),
            hint: "its caller is not listed, its number lies before the look-back, or the provider has no such task; `windlass vrf retry` \
                   lets the node read it",
        });
    };
    let provider = match offline {
        true => None,
        // What is stored is worth showing when no endpoint answers.
        false => ask(handles, &config, nonce, &trace).await.map_or_else(
            |failure| {
                output.remark(format_args!("the provider was not asked: {failure}"));
                None
            },
            Some,
        ),
    };
    output.result(&InspectView { relay: name, trace, provider }, render);
    Ok(0)
}

async fn ask(handles: &dyn Handles, config: &VrfConfig, nonce: u64, trace: &Trace) -> Result<ProviderSays, Failure> {
    let endpoints = handles.chain(&config.chain).await?;
    let head = endpoints.head().await?;
    let task = provider_reader(endpoints, config).task(nonce, &head, 1).await?;
    Ok(ProviderSays::new(head.number, task.as_ref(), trace))
}

fn render(view: &InspectView) -> String {
    let trace = &view.trace;
    let mut page = format!("task {} of {}: {}\n{}\n", trace.nonce, view.relay, trace.state, trace.why);
    for task in &trace.tasks {
        let _ = write!(page, "\n{}\n", task_lines(task));
    }
    let rows: Vec<_> = trace
        .band_transactions
        .iter()
        .map(|tx| {
            let height = tx.height.map_or_else(|| "-".to_owned(), |height| height.to_string());
            let place = format!("{}/{}", tx.sequence, tx.number);
            vec![place, tx.state.to_owned(), height, tx.fee.to_string(), tx.tasks.len().to_string(), tx.hash.clone()]
        })
        .collect();
    section(&mut page, "Band transactions", &["sequence", "state", "height", "fee", "requests", "hash"], &rows);
    let rows: Vec<_> = trace
        .requests
        .iter()
        .map(|request| vec![request.id.to_string(), request.place.to_string(), request.tx_hash.clone()])
        .collect();
    section(&mut page, "Band requests", &["id", "message", "transaction"], &rows);
    let rows: Vec<_> = trace
        .relays
        .iter()
        .map(|relay| {
            let text = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
            let fee = relay.fee_paid.map_or_else(|| "-".to_owned(), |fee| Amount(fee).to_string());
            let why = relay.hold.clone().or_else(|| relay.reason.clone()).unwrap_or_default();
            let hash = relay.tx_hash.map_or_else(|| "-".to_owned(), |hash| hash.to_string());
            vec![relay.number.to_string(), relay.state.to_owned(), text(relay.nonce), text(relay.block), fee, hash, why]
        })
        .collect();
    section(&mut page, "Relays", &["number", "state", "nonce", "block", "fee", "transaction", "why"], &rows);
    let rows: Vec<_> = trace
        .history
        .iter()
        .map(|line| {
            let mark = if line.bad { "! " } else { "" };
            vec![view::moment(line.at_ms), line.to.clone(), format!("{mark}{}", line.text)]
        })
        .collect();
    section(&mut page, "History", &["when", "state", "what"], &rows);
    if let Some(says) = &view.provider {
        let _ = write!(page, "\nProvider at block {}\n{}\n", says.block, provider_line(says));
    }
    page
}

fn section(page: &mut String, title: &str, header: &[&str], rows: &[Vec<String>]) {
    if !rows.is_empty() {
        let _ = write!(page, "\n{title}\n{}\n", table(header, rows));
    }
}

fn task_lines(task: &TaskView) -> String {
    let seed_text = std::str::from_utf8(&task.client_seed).ok().filter(|text| text.chars().all(|c| !c.is_control()));
    let client_seed = match seed_text {
        Some(text) if !text.is_empty() => format!("{text:?} ({})", task.client_seed),
        _ => task.client_seed.to_string(),
    };
    let mut lines = vec![
        ("seed", task.seed.to_string()),
        ("client seed", client_seed),
        ("caller", task.caller.to_string()),
        ("fee", Amount(task.task_fee).to_string()),
        ("state", task.state.to_string()),
        ("seen", format!("{} in block {}", view::moment(task.seen_at_ms), task.seen_block)),
        ("age", view::span(task.age_seconds)),
    ];
    if task.state == State::Resolved || !task.state.is_terminal() {
        lines.push(("last change", view::moment(task.updated_at_ms)));
    }
    if let Some(id) = task.request_id {
        let end = task.resolved_height.map_or_else(|| "not resolved yet".to_owned(), |height| format!("resolved at {height}"));
        lines.push(("request", format!("{id}, made at {}, {end}", task.request_height.unwrap_or_default())));
    }
    if let Some(at) = task.retry_at_ms {
        lines.push(("next attempt", view::moment(at)));
    }
    if let Some(error) = &task.last_error {
        lines.push(("last error", error.clone()));
    }
    pairs(&lines)
}

fn provider_line(says: &ProviderSays) -> String {
    match (says.exists, says.same_seed, says.is_resolved) {
        (false, ..) => "it has no task with this number".to_owned(),
        (true, false, _) => "it has another task under this number: a reorganisation replaced it".to_owned(),
        (true, true, true) => format!("it has the value {}", says.result),
        (true, true, false) => "it waits for the value".to_owned(),
    }
}
