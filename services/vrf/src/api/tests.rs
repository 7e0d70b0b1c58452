//! What an operator asks for reaches the agent. The rest of the interface is tested from outside, in `tests/api.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use alloy_primitives::{Address, B256, Bytes as Data, U256};
use axum::body::Body;
use axum::http::Request;
use tower::ServiceExt as _;
use windlass_chain::{EndpointUrl, EndpointsConfig};
use windlass_node::config::{Schema, Sources};
use windlass_node::openapi::{Group, document};

use super::*;
use crate::machine::{ChainTask, Changes, Record};
use crate::service::band_client;
use crate::tables::BandScope;

const TEXT: &str = "[chain.sim]\nchain_id = 7\nurls = [\"http://127.0.0.1:1\"]\n[vrf.sim]\nchain = \"sim\"\n\
    provider = \"0x5FbDB2315678afecb367f032d93F642f64180aa3\"\ncallers = [\"0x70997970C51812dc3A010C7d01b50e0d17dc79C8\"]\n\
    [vrf.sim.account]\nprivate_key = \"env:KEY\"\n[vrf.sim.band]\ngrpc = [\"http://127.0.0.1:1\"]\nmnemonic = \"env:PHRASE\"\n";

/// A relay with one stored task, number 3, and an endpoint that nobody serves.
async fn handle() -> Handle {
    let store = Store::open("sqlite::memory:").await.unwrap();
    for set in crate::migrations() {
        store.migrate(set).await.unwrap();
    }
    let config = Schema::new().section::<VrfConfig>().load(&Sources::text("windlass.toml", TEXT)).unwrap();
    let config = Arc::new(config.instance::<VrfConfig>("sim").unwrap().clone());
    let scope = Scope { chain_id: 7, provider: config.provider };
    let chain = ChainTask {
        nonce: 3,
        is_resolved: false,
        time: 5,
        caller: Address::repeat_byte(1),
        task_fee: U256::from(1),
        seed: B256::repeat_byte(2),
        client_seed: Data::from_static(b"\xff\xfe"),
    };
    let task = Task::new(chain, 1, None, UnixMillis(5));
    let record = Record { key: task.key(), from: None, to: task.state, text: "found".to_owned(), bad: false };
    let scan = Some(crate::machine::Scan { next: 4 });
    let changes = Changes { tasks: vec![task], records: vec![record], scan, ..Changes::default() };
    let band = BandScope { chain: "band".to_owned(), account: "band1".to_owned() };
    let written: Result<(), VrfError> = store
        .write("test", move |tx| Box::pin(async move { scope.write(tx, &band, B256::ZERO, &changes, UnixMillis(5)).await }))
        .await;
    written.unwrap();
    let asked = EndpointsConfig { timeout_ms: 200, ..EndpointsConfig::new("sim", [EndpointUrl::new("http://127.0.0.1:1")]) };
    let endpoints = Endpoints::prepare(asked).unwrap();
    Handle {
        name: "vrf.sim".to_owned(),
        reader: ProviderReader::new(endpoints.clone(), config.provider, None, None),
        band: Arc::new(band_client(&config.band, 1).unwrap()),
        shared: Arc::new(Shared::default()),
        config,
        store,
        endpoints,
        scope: OnceCell::new(),
    }
}

async fn post(router: &Router, path: &str, body: &'static str) -> (StatusCode, Value) {
    let response = router.clone().oneshot(Request::post(path).body(Body::from(body)).unwrap()).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 100_000).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn commands_reach_the_agent_even_while_no_endpoint_answers() {
    let handle = handle().await;
    let mut inbox = handle.shared.open_inbox();
    let router = router(handle);
    let (status, answer) = post(&router, "/tasks/3/retry", "{\"request_again\":true}").await;
    assert_eq!((status, &answer), (StatusCode::ACCEPTED, &json!({"accepted": {"retry": {"nonce": 3, "request_again": true}}})));
    assert_eq!(inbox.recv().await.unwrap(), Command::Retry { nonce: 3, request_again: true });
    // Nothing is stored about this one: it is read for the first time.
    assert_eq!(post(&router, "/tasks/9/retry", "").await.0, StatusCode::ACCEPTED);
    assert_eq!(inbox.recv().await.unwrap(), Command::Retry { nonce: 9, request_again: false });
    let (status, _) = post(&router, "/tasks/3/give-up", "{\"reason\":\" the game is over \"}").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(inbox.recv().await.unwrap(), Command::GiveUp { nonce: 3, reason: "the game is over".to_owned() });
    assert_eq!(post(&router, "/recheck", "").await.0, StatusCode::ACCEPTED);
    assert_eq!(inbox.recv().await.unwrap(), Command::Recheck);
    drop(inbox);
    let (status, answer) = post(&router, "/recheck", "").await;
    assert_eq!((status, &answer["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("not_acting")));
}

#[tokio::test]
async fn seeds_that_are_no_text_are_shown() {
    let router = router(handle().await);
    let response = router.oneshot(Request::get("/tasks/3").body(Body::empty()).unwrap()).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), 100_000).await.unwrap();
    let trace: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(trace["tasks"][0]["client_seed"], "0xfffe");
}

#[test]
fn page_tokens_belong_to_their_list() {
    let key = TaskKey { nonce: 7, seed: B256::repeat_byte(3) };
    let token = token_for(key, Filter::Held);
    assert_eq!(page_of(&token, Filter::Held), Some(key));
    assert_eq!(page_of(&token, Filter::All), None);
    for bad in ["", "00", "zz", &token[..token.len() - 2], &format!("{token}00")] {
        assert_eq!(page_of(bad, Filter::Held), None, "{bad}");
    }
    let beyond = token_for(TaskKey { nonce: u64::MAX, ..key }, Filter::Held);
    assert_eq!(page_of(&beyond, Filter::Held), None, "the database cannot hold such a number");
}

#[test]
fn the_description_is_a_document() {
    let group = Group { tag: "vrf.sim".to_owned(), prefix: "/v1/vrf/sim".to_owned(), operations: operations() };
    let described = document("0", &[group], false);
    assert!(described["paths"]["/v1/vrf/sim/tasks/{nonce}/retry"]["post"]["requestBody"].is_object(), "{described:#}");
    assert_eq!(described["paths"]["/v1/vrf/sim/tasks/{nonce}"]["get"]["parameters"][0]["name"], "nonce");
}
