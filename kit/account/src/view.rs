//! What the dashboard shows of a sender and of a chain.

use windlass_chain::{EndpointState, Endpoints};
use windlass_node::{ChainHead, EndpointView, OutboxView};
use windlass_outbox::OutboxSummary;

/// A sender of transactions: its counts in the order of their life, and why it does not send.
pub fn outbox_view(summary: &OutboxSummary) -> OutboxView {
    let counts = [
        ("recorded", summary.recorded),
        ("signed", summary.signed),
        ("broadcast", summary.broadcast),
        ("included", summary.included),
        ("final", summary.finalized),
        ("reverted", summary.reverted),
        ("dropped", summary.dropped),
    ];
    let held = summary.hold.as_ref().map(|hold| format!("{hold}; {}", hold.hint()));
    OutboxView {
        chain: summary.chain.clone(),
        account: summary.account.to_string(),
        counts: counts.into_iter().map(|(state, count)| (state.to_owned(), count)).collect(),
        held: held.or_else(|| summary.last_error.clone()),
        oldest_age_seconds: summary.oldest_age_ms.map(|age| u64::try_from(age / 1_000).unwrap_or(0)),
    }
}

/// The endpoints of a chain with their health.
pub fn endpoint_views(endpoints: &Endpoints) -> Vec<EndpointView> {
    let views = endpoints.status().into_iter().map(|endpoint| EndpointView {
        host: endpoint.label,
        healthy: matches!(endpoint.state, EndpointState::Healthy | EndpointState::Unverified),
        head: endpoint.head,
        latency_ms: endpoint.latency_ms,
        note: endpoint.last_error,
    });
    views.collect()
}

/// A chain: its newest block as the service has seen it, with its age if the service knows, and its endpoints.
pub fn chain_head(endpoints: &Endpoints, number: Option<u64>, age_seconds: Option<u64>) -> ChainHead {
    ChainHead { chain: endpoints.name().to_owned(), number, age_seconds, endpoints: endpoint_views(endpoints) }
}
