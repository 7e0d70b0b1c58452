//! Metrics of this crate, each with the question that it answers.
//!
//! Labels: `chain` is the configured name, `endpoint` is host and port.

use std::time::Duration;

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Requests by endpoint and outcome (`ok`, `timeout`, `connect`, `closed`, `http`, `rate_limit`, `too_large`, `malformed`, `response`).
pub const REQUESTS: &str = "chain_requests_total";
/// Time of a request.
pub const REQUEST_SECONDS: &str = "chain_request_seconds";
/// Reads that were asked of a second endpoint because the first was slow.
pub const HEDGED: &str = "chain_hedged_requests_total";
/// Quorum reads on which endpoints disagreed.
pub const DISAGREEMENTS: &str = "chain_quorum_disagreements_total";
/// Broadcasts by outcome (`accepted`, `not_sent`, `unknown`, or the kind of refusal).
pub const BROADCASTS: &str = "chain_broadcasts_total";
/// Newest block of an endpoint.
pub const HEAD: &str = "chain_head_number";
/// Last block that a follower delivered.
pub const FOLLOWED: &str = "chain_follow_number";
/// Reorganisations that a follower delivered.
pub const REORGS: &str = "chain_reorgs_total";
/// Blocks that a follower took back.
pub const REORGED_BLOCKS: &str = "chain_reorged_blocks_total";
/// Connections that a WebSocket endpoint lost.
pub const RECONNECTS: &str = "chain_websocket_reconnects_total";

/// Registers descriptions with the installed recorder. Call once at start.
pub fn describe() {
    describe_counter!(REQUESTS, "Requests to endpoints: is an endpoint failing, and how?");
    describe_histogram!(REQUEST_SECONDS, Unit::Seconds, "Time of requests: is an endpoint slow?");
    describe_counter!(HEDGED, "Reads asked of a second endpoint because the first was slow: should the order be changed?");
    describe_counter!(DISAGREEMENTS, "Quorum reads with different answers: does an endpoint lie?");
    describe_counter!(BROADCASTS, "Broadcast transactions by outcome: are transactions refused, and why?");
    describe_gauge!(HEAD, "Newest block of an endpoint: is it late or stuck?");
    describe_gauge!(FOLLOWED, "Last block delivered to a subscriber: does it keep up with the head?");
    describe_counter!(REORGS, "Reorganisations delivered to a subscriber: how often does the chain change its mind?");
    describe_counter!(REORGED_BLOCKS, "Blocks taken back: how deep are the reorganisations?");
    describe_counter!(RECONNECTS, "WebSocket connections lost: is the connection stable?");
}

pub(crate) fn request(chain: &str, endpoint: &str, outcome: &'static str, elapsed: Duration) {
    counter!(REQUESTS, "chain" => chain.to_owned(), "endpoint" => endpoint.to_owned(), "outcome" => outcome).increment(1);
    histogram!(REQUEST_SECONDS, "chain" => chain.to_owned(), "endpoint" => endpoint.to_owned()).record(elapsed);
}

pub(crate) fn hedged(chain: &str) {
    counter!(HEDGED, "chain" => chain.to_owned()).increment(1);
}

pub(crate) fn disagreement(chain: &str) {
    counter!(DISAGREEMENTS, "chain" => chain.to_owned()).increment(1);
}

pub(crate) fn broadcast(chain: &str, endpoint: &str, outcome: &'static str) {
    counter!(BROADCASTS, "chain" => chain.to_owned(), "endpoint" => endpoint.to_owned(), "outcome" => outcome).increment(1);
}

pub(crate) fn head(chain: &str, endpoint: &str, number: u64) {
    gauge!(HEAD, "chain" => chain.to_owned(), "endpoint" => endpoint.to_owned()).set(number as f64);
}

pub(crate) fn followed(chain: &str, subscriber: &str, number: u64) {
    gauge!(FOLLOWED, "chain" => chain.to_owned(), "subscriber" => subscriber.to_owned()).set(number as f64);
}

pub(crate) fn reorged(chain: &str, subscriber: &str, blocks: usize) {
    counter!(REORGS, "chain" => chain.to_owned(), "subscriber" => subscriber.to_owned()).increment(1);
    counter!(REORGED_BLOCKS, "chain" => chain.to_owned(), "subscriber" => subscriber.to_owned()).increment(blocks as u64);
}

pub(crate) fn reconnected(endpoint: &str) {
    counter!(RECONNECTS, "endpoint" => endpoint.to_owned()).increment(1);
}
