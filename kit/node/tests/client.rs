//! How commands ask a running node.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::Arc;

use serde_json::json;
use support::{Fake, Running, memory, node, settings};
use url::Url;
use windlass_node::client::{ClientError, NodeClient};
use windlass_node::config::{HttpSection, SecretText};

fn client(running: &Running, token: Option<&str>) -> NodeClient {
    let base = Url::parse(&format!("http://{}", running.address)).unwrap();
    NodeClient::new(base, token.map(SecretText::new)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_commands_and_refusals() {
    let service = Arc::new(Fake::named("fake.one"));
    let running = Running::start(node(settings(), memory().await, vec![service]).await.unwrap()).await;
    let client = client(&running, None);
    let status = client.get("v1/status").await.unwrap();
    assert_eq!(status["services"][0]["name"], "fake.one");
    let counted = client.post("v1/fake/one/count", &json!({})).await.unwrap();
    assert_eq!(counted["count"], 1);
    match client.get("v1/fake/one/refuse").await.unwrap_err() {
        ClientError::Refused { status, code, message, hint } => {
            assert_eq!((status, code.as_str(), message.as_str(), hint.as_deref()), (409, "not_now", "busy", Some("wait")));
        }
        other => panic!("{other}"),
    }
    assert!(!client.get("v1/nothing").await.unwrap_err().is_transient());
    running.stop().await.unwrap();
    let gone = client.get("v1/status").await.unwrap_err();
    assert!(gone.is_transient() && gone.to_string().starts_with("no node answers at http://127.0.0.1:"), "{gone}");
    assert!(gone.hint().unwrap().contains("windlass run"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_told_and_the_right_one_is_not() {
    let mut settings = settings();
    settings.http.tokens = vec![SecretText::new("open-sesame-open-sesame")];
    let running = Running::start(node(settings, memory().await, Vec::new()).await.unwrap()).await;
    for wrong in [None, Some("abracadabra-abracadabra")] {
        let error = client(&running, wrong).get("v1/status").await.unwrap_err();
        assert!(matches!(error, ClientError::Token { .. }) && !error.is_transient(), "{error}");
    }
    let client = client(&running, None).with_token(SecretText::new("open-sesame-open-sesame"));
    client.get("v1/status").await.unwrap();
    assert!(!format!("{client:?}").contains("sesame"));
    running.stop().await.unwrap();
}

#[test]
fn every_address_is_called_at_home() {
    for (listen, called) in
        [("0.0.0.0:9464", "http://127.0.0.1:9464/"), ("[::]:80", "http://[::1]/"), ("10.0.0.7:1", "http://10.0.0.7:1/")]
    {
        let http = HttpSection { listen: listen.parse().unwrap(), ..HttpSection::default() };
        assert_eq!(NodeClient::address_of(&http).unwrap().as_str(), called);
    }
}
