//! The metrics of the node, and the recorder for those of everybody.

use std::sync::OnceLock;
use std::time::Instant;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::error::NodeError;

/// Seconds, for anything that waits for a network.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

static INSTALLED: OnceLock<Metrics> = OnceLock::new();

/// Renders the metrics of this process.
#[derive(Clone, Debug)]
pub struct Metrics {
    handle: PrometheusHandle,
    started: Instant,
}

impl Metrics {
    /// Installs the recorder of this process, or returns the one this function installed before.
    ///
    /// # Errors
    /// Somebody else installed a recorder.
    pub fn install() -> Result<Self, NodeError> {
        // Two threads may come here at once: the loser of the race finds the winner's.
        static GATE: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
        let _gate = GATE.lock();
        if let Some(installed) = INSTALLED.get() {
            return Ok(installed.clone());
        }
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .map_err(|_| NodeError::InstalledTwice { what: "metrics" })?;
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| NodeError::InstalledTwice { what: "metrics" })?;
        let made = Self { handle, started: Instant::now() };
        describe();
        let _ = INSTALLED.set(made.clone());
        Ok(made)
    }

    /// All metrics in the text format of Prometheus.
    pub fn render(&self) -> String {
        let process = Process::now();
        gauge!("process_resident_memory_bytes").set(process.resident_bytes);
        gauge!("process_cpu_seconds_total").set(process.cpu_seconds);
        gauge!("process_threads").set(process.threads);
        gauge!("process_open_fds").set(process.open_files);
        gauge!("process_uptime_seconds").set(self.started.elapsed().as_secs_f64());
        self.handle.run_upkeep();
        self.handle.render()
    }
}

/// Names and texts. One place, so that rules and dashboards can be checked against it.
pub const DESCRIPTIONS: &[(&str, &str)] = &[
    ("process_resident_memory_bytes", "Memory of this process that is in RAM."),
    ("process_cpu_seconds_total", "Processor time used by this process."),
    ("process_threads", "Threads of this process."),
    ("process_open_fds", "Open files and connections of this process."),
    ("process_uptime_seconds", "Time since the start."),
    ("node_service_ready", "1 if the service is ready, else 0. By service."),
    ("node_task_running", "1 if the task runs, 0 while it waits for its restart. By service and task."),
    ("node_task_restarts_total", "Restarts of tasks. By service and task."),
    ("node_task_failures_total", "Failures of tasks, panics included. By service and task."),
    ("node_task_panics_total", "Panics of tasks. By service and task."),
    ("node_lease_held", "1 if this node holds the lease, else 0. By lease."),
    ("node_http_requests_total", "HTTP requests. By method, route and status."),
    ("node_http_request_seconds", "Time to answer a request. By route."),
    ("node_http_rejected_total", "Requests that were not let in. By reason."),
    ("node_alerts_total", "Alert messages. By channel and outcome: sent, failed, suppressed, dropped."),
    ("node_alerts_active", "Conditions that were raised and not resolved."),
    ("node_events_total", "Events noted. By service and level."),
    ("node_events_dropped_total", "Events that were not stored because the queue was full or the store failed."),
];

fn describe() {
    for (name, text) in DESCRIPTIONS {
        if name.ends_with("_total") && *name != "process_cpu_seconds_total" {
            describe_counter!(*name, *text);
        } else if *name == "node_http_request_seconds" {
            describe_histogram!(*name, Unit::Seconds, *text);
        } else {
            describe_gauge!(*name, *text);
        }
    }
}

/// Holds the gauge of a running task at 1.
pub(crate) struct TaskRunning(metrics::Gauge);

impl TaskRunning {
    pub(crate) fn enter(service: &str, task: &str) -> Self {
        let gauge = gauge!("node_task_running", "service" => service.to_owned(), "task" => task.to_owned());
        gauge.set(1.0);
        Self(gauge)
    }
}

impl Drop for TaskRunning {
    fn drop(&mut self) {
        self.0.set(0.0);
    }
}

pub(crate) fn task_restarted(service: &str, task: &str) {
    counter!("node_task_restarts_total", "service" => service.to_owned(), "task" => task.to_owned()).increment(1);
}

pub(crate) fn task_failed(service: &str, task: &str) {
    counter!("node_task_failures_total", "service" => service.to_owned(), "task" => task.to_owned()).increment(1);
}

pub(crate) fn task_panicked(service: &str, task: &str) {
    counter!("node_task_panics_total", "service" => service.to_owned(), "task" => task.to_owned()).increment(1);
}

pub(crate) fn service_ready(service: &str, ready: bool) {
    gauge!("node_service_ready", "service" => service.to_owned()).set(if ready { 1.0 } else { 0.0 });
}

pub(crate) fn lease_held(lease: &str, held: bool) {
    gauge!("node_lease_held", "lease" => lease.to_owned()).set(if held { 1.0 } else { 0.0 });
}

pub(crate) fn http_request(method: &str, route: &str, status: u16, seconds: f64) {
    let labels = [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
    counter!("node_http_requests_total", &labels).increment(1);
    histogram!("node_http_request_seconds", "route" => route.to_owned()).record(seconds);
}

pub(crate) fn http_rejected(reason: &'static str) {
    counter!("node_http_rejected_total", "reason" => reason).increment(1);
}

pub(crate) fn alert(channel: &str, outcome: &'static str) {
    counter!("node_alerts_total", "channel" => channel.to_owned(), "outcome" => outcome).increment(1);
}

pub(crate) fn alerts_active(count: usize) {
    gauge!("node_alerts_active").set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
}

pub(crate) fn event(service: &str, level: &str) {
    counter!("node_events_total", "service" => service.to_owned(), "level" => level.to_owned()).increment(1);
}

pub(crate) fn events_dropped(count: u64) {
    counter!("node_events_dropped_total").increment(count);
}

/// Linux shows processor time to programs in hundredths of a second on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the operating system knows about this process. Zeros where it does not tell (not Linux).
#[derive(Debug, Default)]
struct Process {
    resident_bytes: f64,
    cpu_seconds: f64,
    threads: f64,
    open_files: f64,
}

impl Process {
    fn now() -> Self {
        let mut process = Self::default();
        if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
            let field = |name: &str| -> Option<f64> {
                status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
            };
            process.resident_bytes = field("VmRSS:").unwrap_or_default() * 1024.0;
            process.threads = field("Threads:").unwrap_or_default();
        }
        // Fields 14 and 15 of the statistics: ticks in user and kernel mode. The name of the program, field 2, may hold blanks.
        if let Ok(stat) = std::fs::read_to_string("/proc/self/stat")
            && let Some((_, after_name)) = stat.rsplit_once(')')
        {
            let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
            process.cpu_seconds = ticks / TICKS_PER_SECOND;
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            process.open_files = f64::from(u32::try_from(files.count()).unwrap_or(u32::MAX));
        }
        process
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_this_crate_has_a_text() {
        let metrics = Metrics::install().unwrap();
        drop(TaskRunning::enter("s", "t"));
        task_restarted("s", "t");
        task_failed("s", "t");
        task_panicked("s", "t");
        service_ready("s", true);
        lease_held("s", true);
        http_request("GET", "/", 200, 0.01);
        http_rejected("rate");
        alert("ops", "sent");
        alerts_active(1);
        event("s", "info");
        events_dropped(1);
        let text = metrics.render();
        let described = |name: &str| DESCRIPTIONS.iter().any(|(known, _)| *known == name);
        let mut seen = std::collections::BTreeSet::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = line.split_whitespace().next().unwrap();
            if name.starts_with("node_") || name.starts_with("process_") {
                assert!(described(name), "{name} has no text");
                seen.insert(name.to_owned());
            }
        }
        for (name, _) in DESCRIPTIONS {
            assert!(seen.contains(*name), "{name} is described but never set: {text}");
        }
    }
}
