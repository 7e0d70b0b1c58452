//! The HTML. The templates escape every value.

use maud::{DOCTYPE, Markup, html};

use crate::alerts::ActiveAlert;
use crate::board::{ServiceView, Snapshot};
use crate::config::Severity;
use crate::events::StoredEvent;
use crate::service::{BarsView, ChainHead, EventView, OutboxView, Readiness, TableView};
use crate::supervisor::{TaskState, TaskView};

/// Mood of a badge. Each has a sign and a word beside its colour.
#[derive(Clone, Copy)]
enum Mood {
    Good,
    Quiet,
    Warn,
    Bad,
}

impl Mood {
    const fn class(self) -> &'static str {
        match self {
            Self::Good => "badge good",
            Self::Quiet => "badge quiet",
            Self::Warn => "badge warn",
            Self::Bad => "badge bad",
        }
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Quiet => "–",
            Self::Warn => "!",
            Self::Bad => "✕",
        }
    }
}

fn badge(mood: Mood, word: &str) -> Markup {
    html! { span class=(mood.class()) { span aria-hidden="true" { (mood.sign()) } " " (word) } }
}

fn frame(title: &str, refresh: bool, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/dashboard.css";
                @if refresh {
                    noscript { meta http-equiv="refresh" content="10"; }
                    script src="/assets/dashboard.js" defer {}
                }
            }
            body { (body) }
        }
    }
}

/// The whole page.
pub(super) fn page(snapshot: &Snapshot) -> Markup {
    let body = html! {
        a class="skip" href="#content" { "Skip to content" }
        header {
            h1 { "Windlass" }
            p { "Node " strong { (snapshot.node) } ", version " (snapshot.version) }
            p id="connection" role="status" { noscript { "Reloads every 10 seconds." } }
        }
        main id="content" { (content(snapshot)) }
        footer {
            nav aria-label="For programs" {
                a href="/v1/status" { "Status as JSON" } " "
                a href="/v1/events" { "Events" } " "
                a href="/metrics" { "Metrics" } " "
                a href="/health/ready" { "Readiness" } " "
                a href="/openapi.json" { "API description" }
            }
        }
    };
    frame(&format!("{} · Windlass", snapshot.node), true, &body)
}

/// What changes. Sections have ids, so that the script can exchange only those that did.
pub(super) fn content(snapshot: &Snapshot) -> Markup {
    html! {
        section id="overview" aria-label="Overview" {
            @if snapshot.ready { (badge(Mood::Good, "Ready")) } @else { (badge(Mood::Bad, "Not ready")) }
            span class="fact" { (snapshot.services.len()) @if snapshot.services.len() == 1 { " service" } @else { " services" } }
            span class="fact" { "up " (span_text(snapshot.uptime_seconds)) }
            @if !snapshot.reasons.is_empty() { ul class="reasons" { @for reason in &snapshot.reasons { li { (reason) } } } }
        }
        @if !snapshot.alerts.is_empty() { (alerts(&snapshot.alerts, snapshot.at_ms)) }
        div class="services" {
            @for view in &snapshot.services { (service(view, snapshot.at_ms)) }
            @if snapshot.services.is_empty() {
                p class="empty" { "No service is configured. Add one to windlass.toml; " code { "windlass init <service>" } " writes its section." }
            }
        }
        (events(&snapshot.events, snapshot.at_ms))
        @if snapshot.tasks.iter().any(troubled) { section id="own-tasks" { h2 { "Tasks of the node" } (tasks(&snapshot.tasks)) } }
    }
}

fn alerts(alerts: &[ActiveAlert], now_ms: i64) -> Markup {
    html! {
        section id="alerts" aria-labelledby="alerts-title" {
            h2 id="alerts-title" { "Alerts" }
            ul class="alerts" {
                @for active in alerts {
                    li {
                        @match active.alert.severity {
                            Severity::Critical => (badge(Mood::Bad, "critical")),
                            Severity::Warning => (badge(Mood::Warn, "warning")),
                            Severity::Info => (badge(Mood::Quiet, "info")),
                        }
                        " " strong { (active.alert.service) } " " (active.alert.title)
                        span class="when" { " raised " (time(active.since_ms, now_ms)) }
                        @if !active.alert.detail.is_empty() { p class="detail" { (active.alert.detail) } }
                        p class="detail" { "What to do: " code { (active.alert.runbook) } }
                    }
                }
            }
        }
    }
}

fn service(view: &ServiceView, now_ms: i64) -> Markup {
    let status = &view.status;
    // Names are letters, digits, points, - and _; anything else must not end up in an id.
    let id: String = status.name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    html! {
        article id=(format!("service-{id}")) class="card" aria-labelledby=(format!("title-{id}")) {
            div class="card-head" {
                h2 id=(format!("title-{id}")) { (status.name) }
                (state_badge(view))
            }
            p class="state" { "State: " strong { (status.state) } }
            @if let Readiness::NotReady(reasons) = &status.ready {
                ul class="reasons" aria-label="Why it is not ready" { @for reason in reasons { li { (reason) } } }
            }
            @if !status.summary.is_empty() {
                dl class="summary" { @for (label, text) in &status.summary { div { dt { (label) } dd { (text) } } } }
            }
            @if !status.chains.is_empty() { (chains(&status.chains)) }
            @for bars in &status.bars { (bar_chart(bars)) }
            @for table in &status.tables { (small_table(table)) }
            @for outbox in &status.outboxes { (outbox_counts(outbox)) }
            @if !status.events.is_empty() { (own_events(&status.events, now_ms)) }
            details id=(format!("tasks-{id}")) open[view.tasks.iter().any(troubled)] {
                summary { "Tasks (" (view.tasks.len()) ")" }
                (tasks(&view.tasks))
            }
        }
    }
}

fn state_badge(view: &ServiceView) -> Markup {
    match (view.role, view.status.ready.is_ready()) {
        ("standby", true) => badge(Mood::Quiet, "Standby"),
        (_, true) => badge(Mood::Good, "Ready"),
        (_, false) => badge(Mood::Bad, "Not ready"),
    }
}

fn chains(chains: &[ChainHead]) -> Markup {
    html! {
        div class="scroll" {
            table {
                caption { "Chains" }
                thead { tr { th scope="col" { "Chain" } th scope="col" class="number" { "Head" } th scope="col" class="number" { "Age" } th scope="col" { "Endpoints" } } }
                tbody {
                    @for head in chains {
                        tr {
                            th scope="row" { (head.chain) }
                            td class="number" { @match head.number { Some(number) => (number), None => "unknown" } }
                            td class="number" { @match head.age_seconds { Some(age) => (span_text(age)), None => "–" } }
                            td { ul class="plain" { @for endpoint in &head.endpoints {
                                li {
                                    @if endpoint.healthy { (badge(Mood::Good, "up")) } @else { (badge(Mood::Bad, "down")) }
                                    " " (endpoint.host)
                                    @if let Some(latency) = endpoint.latency_ms { span class="when" { " " (latency) " ms" } }
                                    @if let Some(note) = &endpoint.note { p class="detail" { (note) } }
                                }
                            } } }
                        }
                    }
                }
            }
        }
    }
}

/// A list of counts that wraps: eight columns would be wider than half a page.
fn outbox_counts(outbox: &OutboxView) -> Markup {
    html! {
        h3 { "Transactions of " code { (outbox.account) } " on " (outbox.chain) }
        dl class="counts" {
            @for (state, count) in &outbox.counts { div { dt { (state) } dd { (count) } } }
            div { dt { "oldest open" } dd { @match outbox.oldest_age_seconds { Some(age) => (span_text(age)), None => "–" } } }
        }
        @if let Some(held) = &outbox.held { p class="held" { (badge(Mood::Warn, "held")) " " (held) } }
    }
}

/// Width of the longest bar, in the units of its drawing.
const FULL: u64 = 1_000;

/// A list of labels and numbers; the bars between them are drawings that only repeat the numbers. Sizes are attributes, because the
/// content security policy forbids inline styles.
fn bar_chart(view: &BarsView) -> Markup {
    let longest = view.bars.iter().map(|(_, value)| *value).max().unwrap_or(0).max(1);
    html! {
        figure class="bars" {
            figcaption { (view.title) }
            @if view.bars.is_empty() { p class="empty" { "Nothing to show yet." } }
            @else {
                ul { @for (label, value) in &view.bars {
                    li {
                        span { (label) }
                        svg viewBox=(format!("0 0 {FULL} 10")) preserveAspectRatio="none" aria-hidden="true" focusable="false" {
                            rect width=(length(*value, longest)) height="10" {}
                        }
                        span class="number" { (value) }
                    }
                } }
            }
        }
    }
}

/// Length of a bar. What is there at all can be seen.
fn length(value: u64, longest: u64) -> u64 {
    let share = u128::from(value).saturating_mul(u128::from(FULL)) / u128::from(longest);
    u64::try_from(share).unwrap_or(FULL).max(if value > 0 { FULL / 100 } else { 0 })
}

fn small_table(view: &TableView) -> Markup {
    let cells = |row: &'_ [String]| -> Vec<(bool, String)> {
        // A row that is too short or too long must not shift the others.
        view.columns
            .iter()
            .enumerate()
            .map(|(place, column)| (column.number, row.get(place).cloned().unwrap_or_default()))
            .collect()
    };
    html! {
        div class="scroll" {
            table {
                caption { (view.title) }
                thead { tr { @for column in &view.columns { th scope="col" class=[column.number.then_some("number")] { (column.title) } } } }
                tbody { @for row in &view.rows {
                    tr { @for (place, (number, text)) in cells(row).into_iter().enumerate() {
                        @if place == 0 { th scope="row" class=[number.then_some("number")] { (text) } }
                        @else { td class=[number.then_some("number")] { (text) } }
                    } }
                } }
            }
        }
        @if view.rows.is_empty() { p class="empty" { "None." } }
        @if let Some(note) = &view.note { p class="detail" { (note) } }
    }
}

fn own_events(events: &[EventView], now_ms: i64) -> Markup {
    html! {
        h3 { "Latest" }
        ol class="plain" { @for event in events.iter().take(5) { li { (time(event.at_ms, now_ms)) " " (event.message) } } }
    }
}

fn tasks(tasks: &[TaskView]) -> Markup {
    html! {
        ul class="plain" { @for task in tasks {
            li {
                @match &task.state {
                    TaskState::Running => (badge(Mood::Good, "running")),
                    TaskState::BackingOff { .. } => (badge(Mood::Warn, "restarting")),
                    TaskState::Failed { .. } => (badge(Mood::Bad, "failed")),
                    TaskState::Finished => (badge(Mood::Quiet, "finished")),
                    TaskState::Stopped => (badge(Mood::Quiet, "stopped")),
                }
                " " (task.task)
                @if task.restarts > 0 { span class="when" { " restarted " (task.restarts) @if task.restarts == 1 { " time" } @else { " times" } } }
                @if let TaskState::BackingOff { error, .. } | TaskState::Failed { error } = &task.state { p class="detail" { (error) } }
            }
        } }
    }
}

fn troubled(task: &TaskView) -> bool {
    matches!(task.state, TaskState::BackingOff { .. } | TaskState::Failed { .. })
}

fn events(events: &[StoredEvent], now_ms: i64) -> Markup {
    html! {
        section id="events" aria-labelledby="events-title" class="card" {
            h2 id="events-title" { "Latest events" }
            @if events.is_empty() { p class="empty" { "Nothing has happened yet." } }
            @else {
                div class="scroll" {
                    table {
                        thead { tr { th scope="col" { "When" } th scope="col" { "Service" } th scope="col" { "Event" } th scope="col" { "What" } } }
                        tbody { @for event in events {
                            tr {
                                td class="when" { (time(event.at_ms, now_ms)) }
                                td { (event.service) }
                                td {
                                    @match event.level.as_str() {
                                        "error" => (badge(Mood::Bad, &event.kind)),
                                        "warning" => (badge(Mood::Warn, &event.kind)),
                                        _ => code { (event.kind) },
                                    }
                                }
                                td {
                                    (event.message)
                                    @if !event.fields.is_empty() {
                                        span class="fields" { @for (name, value) in &event.fields { " " span class="field" { (name) "=" (value) } } }
                                    }
                                }
                            }
                        } }
                    }
                }
            }
        }
    }
}

/// The page that asks for a token.
pub(super) fn login(problem: Option<&str>) -> Markup {
    let body = html! {
        main class="login" {
            h1 { "Windlass" }
            p { "This node asks for one of the tokens of " code { "http.tokens" } "." }
            @if let Some(problem) = problem { p class="problem" role="alert" { (badge(Mood::Bad, problem)) } }
            form method="post" action="/login" {
                label for="token" { "Token" }
                input id="token" name="token" type="password" autocomplete="current-password" required autofocus;
                button type="submit" { "Open the dashboard" }
            }
        }
    };
    frame("Token · Windlass", false, &body)
}

/// A point in time: how long ago, and exactly for whoever asks.
fn time(at_ms: i64, now_ms: i64) -> Markup {
    let exact = crate::alerts::rfc3339(at_ms);
    let seconds = u64::try_from(now_ms.saturating_sub(at_ms) / 1_000).unwrap_or(0);
    html! { time datetime=(exact) title=(exact) { (span_text(seconds)) " ago" } }
}

/// A span of time in its two largest units.
fn span_text(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, _) => format!("{hours} h {} min", minutes % 60),
        (days, ..) => format!("{days} d {} h", hours % 24),
    }
}
