//! `status`: from the rows, beside a running node or without one.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use serde::Serialize;

use super::commands::RelayArgs;
use super::failure::Failure;
use super::output::{Output, table};
use super::run::{Handles, open_rows};
use crate::machine::State;
use crate::tables::Filter;
use crate::trace::TaskView;
use crate::view;

#[derive(Serialize)]
struct StatusView {
    relay: String,
    provider: Address,
    chain_id: u64,
    /// All that are stored, by state.
    states: BTreeMap<State, u64>,
    /// Held tasks, by hold.
    holds: BTreeMap<String, u64>,
    unfinished: u64,
    /// The oldest of them.
    tasks: Vec<TaskView>,
}

pub(super) async fn status(handles: &dyn Handles, relay: &RelayArgs, limit: u32, output: &mut Output<'_>) -> Result<u8, Failure> {
    let (name, config) = handles.section(relay.relay.as_deref()).await?;
    let (store, scope) = open_rows(handles, &config).await?;
    let now = store.clock().now();
    let states = scope.counts(&store).await?;
    let unfinished = states.iter().filter(|(state, _)| !state.is_terminal()).map(|(_, count)| *count).sum();
    let tasks = scope.oldest(&store, Filter::Unfinished, limit).await?;
    let view = StatusView {
        relay: name,
        provider: config.provider,
        chain_id: scope.chain_id,
        states,
        holds: scope.holds(&store).await?,
        unfinished,
        tasks: tasks.iter().map(|task| TaskView::new(task, now)).collect(),
    };
    output.result(&view, render);
    let shown = u64::try_from(view.tasks.len()).unwrap_or(u64::MAX);
    if unfinished > shown && !output.json {
        output.remark(format_args!("{} more unfinished tasks; --limit shows more", unfinished - shown));
    }
    Ok(0)
}

fn render(view: &StatusView) -> String {
    let mut page = format!("relay {} for {} on chain {}\n", view.relay, view.provider, view.chain_id);
    if view.states.is_empty() {
        page.push_str("\nno task was seen yet");
        return page;
    }
    let rows: Vec<_> = view.states.iter().map(|(state, count)| vec![state.name().to_owned(), count.to_string()]).collect();
    page.push_str(&format!("\n{}\n", table(&["state", "tasks"], &rows)));
    if view.tasks.is_empty() {
        page.push_str("\nnothing is unfinished");
        return page;
    }
    let rows: Vec<_> = view
        .tasks
        .iter()
        .map(|task| vec![task.nonce.to_string(), task.state.name().to_owned(), view::span(task.age_seconds), task.why.clone()])
        .collect();
    page.push_str(&format!("\n{}", table(&["task", "state", "age", "why"], &rows)));
    page
}
