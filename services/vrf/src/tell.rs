//! What is told of a step: log, events, metrics, alerts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use windlass_node::ServiceContext;
use windlass_node::alerts::{Alert, Alerts, Severity};
use windlass_node::events::{Event as NodeEvent, EventLog, Level};
use windlass_store::UnixMillis;

use crate::machine::{Changes, Record, Relay, State, TaskKey};
use crate::metrics;
use crate::shared::{Picture, Shared};

/// Page of the book that says what to do about the alerts of this service.
pub(crate) const RUNBOOK: &str = "operations/runbook.html#vrf";
/// How long something may be in the way before an alert says so.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a task that was given up is told of.
const TOLD: Duration = Duration::from_secs(600);

/// Holds with the alert's severity and sentence.
const HELD: [(&str, Severity, &str); 10] = [
    ("unprofitable", Severity::Info, "tasks wait because their fee does not cover the cost"),
    ("band_failed", Severity::Critical, "BandChain does not resolve requests"),
    ("band_refused", Severity::Critical, "BandChain refuses requests"),
    ("band_unknown", Severity::Critical, "it is not known whether a Band request was paid"),
    ("validators_stale", Severity::Critical, "the Bridge's validators are too old"),
    ("proof_invalid", Severity::Critical, "proofs do not verify"),
    ("proof_unavailable", Severity::Warning, "proofs cannot be had"),
    ("bridge_refuses", Severity::Critical, "the Bridge refuses proofs"),
    ("consumer_reverts", Severity::Warning, "a consumer contract reverts"),
    ("relay_dropped", Severity::Warning, "a relay transaction was given up"),
];

/// Tells.
pub(crate) struct Teller {
    service: String,
    alerts: Alerts,
    events: EventLog,
    shared: Arc<Shared>,
    in_the_way_since: Option<UnixMillis>,
    /// When a task was last given up because its fee does not cover the cost.
    skipped_at: Option<(UnixMillis, String)>,
}

impl Teller {
    pub(crate) fn new(service: String, ctx: &ServiceContext, shared: &Arc<Shared>) -> Self {
        Self {
            service,
            alerts: ctx.alerts.clone(),
            events: ctx.events.clone(),
            shared: Arc::clone(shared),
            in_the_way_since: None,
            skipped_at: None,
        }
    }

    fn relay(&self) -> &str {
        self.service.strip_prefix("vrf.").unwrap_or(&self.service)
    }

    /// Tells of a committed step.
    pub(crate) fn tell(&mut self, now: UnixMillis, relay: &Relay, changes: &Changes) {
        for record in &changes.records {
            self.record(record, relay);
            if record.bad && record.to == State::Dead {
                self.skipped_at = Some((now, format!("task {}: {}", record.key.nonce, record.text)));
            }
        }
        self.note_latencies(now, changes);
        if self.shared.publish(now, relay)
            && let Some(picture) = self.shared.picture()
        {
            metrics::publish(self.relay(), &picture, now.0);
            self.raise(now, &picture, relay);
        }
    }

    /// From request to relay. A relay that is found final at once leaves the state `Mined` within the same step, so the records count, not
    /// the states.
    fn note_latencies(&self, now: UnixMillis, changes: &Changes) {
        let mined = changes.records.iter().filter(|record| record.to == State::Mined && record.from != Some(State::Mined));
        let mut mined: BTreeSet<TaskKey> = mined.map(|record| record.key).collect();
        for task in changes.tasks.iter().filter(|task| mined.remove(&task.key())) {
            let ms = u64::try_from(now.saturating_since(task.seen_at).as_millis()).unwrap_or(u64::MAX);
            metrics::relayed(self.relay(), ms);
            self.shared.note_latency(ms);
        }
    }

    fn record(&self, record: &Record, relay: &Relay) {
        metrics::count(self.relay(), record);
        let (nonce, state, text) = (record.key.nonce, record.to.name(), record.text.as_str());
        let request = relay.task(record.key).and_then(|task| task.request.as_ref()).map(|request| request.id);
        if record.bad {
            tracing::warn!(relay = self.relay(), nonce, seed = %record.key.seed, request_id = request, state, "{text}");
        } else {
            tracing::info!(relay = self.relay(), nonce, seed = %record.key.seed, request_id = request, state, "{text}");
        }
        if record.bad || record.to.is_terminal() {
            let level = if record.bad { Level::Warning } else { Level::Info };
            let text = if text.is_empty() { state } else { text };
            let event =
                NodeEvent::new(self.service.as_str(), format!("task_{state}"), format!("task {nonce}: {text}")).level(level);
            self.events.emit(event.field("nonce", nonce).field("seed", record.key.seed));
        }
    }

    /// Conditions are derived from the picture, so that a restart neither forgets nor repeats them.
    fn raise(&mut self, now: UnixMillis, picture: &Picture, relay: &Relay) {
        let name = self.relay().to_owned();
        for (hold, severity, sentence) in HELD {
            let raised = picture.holds.get(hold).map(|count| {
                let detail = picture.examples.get(hold).cloned().unwrap_or_default();
                self.alert(hold, severity, format!("{name}: {sentence} ({count} held)")).detail(detail)
            });
            self.alerts.set(&self.service, hold, raised);
        }
        for key in ["band_no_account", "band_no_funds", "band_fee_too_low", "band_refuses"] {
            let raised = relay.lane().hold.as_ref().filter(|hold| hold.name() == key).map(|hold| {
                self.alert(key, Severity::Critical, format!("{name}: nothing is requested: {hold}")).detail(hold.hint())
            });
            self.alerts.set(&self.service, key, raised);
        }
        let skipped = self.skipped_at.as_ref().filter(|(at, _)| now.saturating_since(*at) < TOLD).map(|(_, text)| {
            self.alert("unprofitable_skipped", Severity::Info, format!("{name}: tasks are given up because of their fee"))
                .detail(text.clone())
        });
        self.alerts.set(&self.service, "unprofitable_skipped", skipped);
        let known = relay.known();
        let errors = [&known.provider_error, &known.bridge_error, &known.band_error];
        let error = errors.into_iter().flatten().next().cloned().or_else(|| self.shared.follow_error());
        self.in_the_way_since = error.as_ref().map(|_| self.in_the_way_since.unwrap_or(now));
        let long = self.in_the_way_since.is_some_and(|since| now.saturating_since(since) >= PATIENCE);
        let raised = error
            .filter(|_| long)
            .map(|error| self.alert("unreadable", Severity::Critical, format!("{name}: a chain cannot be read")).detail(error));
        self.alerts.set(&self.service, "unreadable", raised);
        let wrong =
            relay.wrong_band_chain().map(|text| self.alert("wrong_band_chain", Severity::Critical, format!("{name}: {text}")));
        self.alerts.set(&self.service, "wrong_band_chain", wrong);
    }

    fn alert(&self, key: &str, severity: Severity, title: String) -> Alert {
        Alert::new(self.service.as_str(), key, severity, title, RUNBOOK)
    }
}
