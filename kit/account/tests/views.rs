//! What the dashboard shows of a sender and of a chain.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use alloy_primitives::{Address, U256};
use windlass_account::{chain_head, outbox_view};
use windlass_chain::{EndpointUrl, Endpoints, EndpointsConfig};
use windlass_outbox::{Hold, OutboxSummary};

fn summary() -> OutboxSummary {
    OutboxSummary {
        chain: "gnosis".into(),
        chain_id: 100,
        account: Address::repeat_byte(7),
        recorded: 1,
        signed: 0,
        broadcast: 2,
        included: 0,
        finalized: 3,
        reverted: 0,
        dropped: 0,
        oldest_age_ms: Some(61_500),
        held: 0,
        hold: None,
        balance: None,
        chain_nonce: None,
        head: None,
        fees_today: U256::ZERO,
        fee_budget_per_day: None,
        leader: true,
        last_error: None,
    }
}

#[test]
fn the_view_counts_in_the_order_of_life_and_says_what_holds() {
    let view = outbox_view(&summary());
    let counts: Vec<_> = view.counts.iter().map(|(state, count)| (state.as_str(), *count)).collect();
    let expected =
        [("recorded", 1), ("signed", 0), ("broadcast", 2), ("included", 0), ("final", 3), ("reverted", 0), ("dropped", 0)];
    assert_eq!(counts, expected);
    assert_eq!((view.oldest_age_seconds, view.held), (Some(61), None));
    let failing = OutboxSummary { last_error: Some("no endpoint answered".into()), ..summary() };
    assert_eq!(outbox_view(&failing).held.as_deref(), Some("no endpoint answered"));
    let hold = Hold::FeeAboveCap { needed: 9, cap: 5 };
    let held = OutboxSummary { hold: Some(hold), ..failing };
    assert!(outbox_view(&held).held.unwrap().starts_with("fee above cap: needs 9 wei per gas, cap is 5; wait"));
}

#[tokio::test]
async fn a_chain_shows_hosts_and_no_secrets() {
    let url = EndpointUrl::new("http://127.0.0.1:1/v2/secret-key");
    let endpoints = Endpoints::prepare(EndpointsConfig::new("gnosis", [url])).unwrap();
    let head = chain_head(&endpoints, Some(7), Some(3));
    assert_eq!((head.chain.as_str(), head.number, head.age_seconds), ("gnosis", Some(7), Some(3)));
    assert!(head.endpoints[0].healthy && head.endpoints[0].host.contains("127.0.0.1"), "{head:?}");
    assert!(!format!("{head:?}").contains("secret-key"));
}
