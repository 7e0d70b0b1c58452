//! Names and meaning of this crate's metrics.

use std::time::Duration;

const JOBS: &str = "store_jobs_total";
const JOBS_FAILED: &str = "store_jobs_failed_total";
const GROUP_JOBS: &str = "store_group_jobs";
const COMMIT_SECONDS: &str = "store_commit_seconds";
const QUEUE_JOBS: &str = "store_queue_jobs";
const COMMITS_FAILED: &str = "store_commits_failed_total";
const CONNECTS: &str = "store_writer_connects_total";

/// Registers the descriptions. Call it after the recorder is installed; more than once does no harm.
pub fn describe() {
    metrics::describe_counter!(JOBS, "Write jobs that were run.");
    metrics::describe_counter!(JOBS_FAILED, "Write jobs that failed and were rolled back alone.");
    metrics::describe_histogram!(GROUP_JOBS, "Jobs in one commit.");
    metrics::describe_histogram!(COMMIT_SECONDS, metrics::Unit::Seconds, "Time of one commit, with its flush.");
    metrics::describe_gauge!(QUEUE_JOBS, "Jobs that waited when the last group was taken.");
    metrics::describe_counter!(COMMITS_FAILED, "Commits that failed; nothing of their group was kept.");
    metrics::describe_counter!(CONNECTS, "Connections the writer has opened. More than one means it had to reconnect.");
}

pub(crate) fn group(jobs: usize, failed: usize, waiting: usize) {
    metrics::counter!(JOBS).increment(jobs as u64);
    if failed > 0 {
        metrics::counter!(JOBS_FAILED).increment(failed as u64);
    }
    metrics::histogram!(GROUP_JOBS).record(jobs as f64);
    metrics::gauge!(QUEUE_JOBS).set(waiting as f64);
}

pub(crate) fn commit(took: Duration) {
    metrics::histogram!(COMMIT_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn commit_failed() {
    metrics::counter!(COMMITS_FAILED).increment(1);
}

pub(crate) fn writer_connected() {
    metrics::counter!(CONNECTS).increment(1);
}
