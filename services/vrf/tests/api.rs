//! The HTTP interface over rows that the machine made, through the service's own router.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod rows;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use rows::Rows;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use windlass_node::Service as _;
use windlass_vrf::VrfService;
use windlass_vrf::service::band_client;

/// The routes of a relay that does not run here.
fn router(rows: &Rows) -> Router {
    let band = band_client(&rows.config.band, 1).unwrap();
    let service = VrfService::new("sim", rows.config.clone(), rows.endpoints.clone(), Arc::new(band), rows.store.clone());
    service.router().unwrap()
}

async fn send(router: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 4_000_000).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body).into_owned())))
}

async fn get(router: &Router, path: &str) -> (StatusCode, Value) {
    send(router, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn post(router: &Router, path: &str, body: &str) -> (StatusCode, Value) {
    send(router, Request::post(path).body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn the_first_route_shows_where_the_relay_stands() {
    let rows = Rows::filled().await;
    let (status, view) = get(&router(&rows), "/").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&view["name"], &view["acting"], &view["picture"]), (&json!("vrf.sim"), &json!(false), &Value::Null));
    assert_eq!(
        view["states"],
        json!({ "seen": 1, "confirmed": 1, "band_included": 1, "band_resolved": 1, "resolved": 1, "dead": 1 })
    );
    assert_eq!(view["holds"]["consumer_reverts"]["tasks"], 1);
    let example = view["holds"]["consumer_reverts"]["example"].as_str().unwrap();
    assert!(example.starts_with("task 2: held: the consumer reverts: Lottery: the round is over"), "{example}");
    assert_eq!(view["balances"], json!({ "client_wei": null, "band": null, "band_denom": "uband" }));
}

#[tokio::test]
async fn tasks_come_in_pages_and_every_one_has_a_reason() {
    let rows = Rows::filled().await;
    let router = router(&rows);
    let (mut seen, mut path) = (Vec::new(), "/tasks?limit=4".to_owned());
    loop {
        let (status, page) = get(&router, &path).await;
        assert_eq!(status, StatusCode::OK);
        for task in page["tasks"].as_array().unwrap() {
            assert!(!task["why"].as_str().unwrap().is_empty());
            assert!(task["age_seconds"].is_u64() && task["seed"].is_string());
            seen.push(task["nonce"].as_u64().unwrap());
        }
        match page["next_page_token"].as_str() {
            Some(token) => path = format!("/tasks?limit=4&before={token}"),
            None => break,
        }
    }
    assert_eq!(seen, [5, 4, 3, 2, 1, 0], "the newest first, each once");
    for (state, expected) in
        [("held", vec![3, 2]), ("unfinished", vec![5, 3, 2, 1]), ("resolved", vec![0]), ("dead", vec![4]), ("mined", vec![])]
    {
        let (_, page) = get(&router, &format!("/tasks?state={state}")).await;
        let found: Vec<u64> = page["tasks"].as_array().unwrap().iter().map(|task| task["nonce"].as_u64().unwrap()).collect();
        assert_eq!(found, expected, "{state}");
    }
    let (_, page) = get(&router, "/tasks?state=resolved").await;
    let task = &page["tasks"][0];
    assert_eq!((&task["request_id"], &task["task_fee"], &task["relays"]), (&json!(900), &json!("1000000000000000"), &json!(1)));
}

#[tokio::test]
async fn bad_questions_are_told_what_is_wrong() {
    let rows = Rows::filled().await;
    let router = router(&rows);
    let (_, page) = get(&router, "/tasks?state=held&limit=1").await;
    let token = page["next_page_token"].as_str().unwrap();
    let longest = "x".repeat(501);
    let cases = [
        ("GET", "/tasks?limit=0".to_owned(), String::new(), 400, "limit_invalid"),
        ("GET", "/tasks?limit=501".to_owned(), String::new(), 400, "limit_invalid"),
        ("GET", "/tasks?state=lost".to_owned(), String::new(), 400, "state_invalid"),
        ("GET", "/tasks?before=00".to_owned(), String::new(), 400, "page_token_invalid"),
        ("GET", format!("/tasks?before={token}"), String::new(), 400, "page_token_invalid"),
        ("GET", format!("/tasks?state=held&before=ff{}", &token[2..]), String::new(), 400, "page_token_invalid"),
        ("GET", "/tasks/77".to_owned(), String::new(), 404, "not_found"),
        ("GET", format!("/tasks/{}", u64::MAX), String::new(), 404, "not_found"),
        ("GET", "/statistics?days=0".to_owned(), String::new(), 400, "days_invalid"),
        ("GET", "/statistics?days=367".to_owned(), String::new(), 400, "days_invalid"),
        ("POST", "/tasks/0/retry".to_owned(), String::new(), 409, "finished"),
        ("POST", "/tasks/2/retry".to_owned(), "{\"again\":true}".to_owned(), 422, "body_invalid"),
        ("POST", format!("/tasks/{}/retry", u64::MAX), String::new(), 404, "not_found"),
        ("POST", "/tasks/77/give-up".to_owned(), "{\"reason\":\"x\"}".to_owned(), 404, "not_found"),
        ("POST", "/tasks/4/give-up".to_owned(), "{\"reason\":\"x\"}".to_owned(), 409, "finished"),
        ("POST", "/tasks/2/give-up".to_owned(), String::new(), 422, "reason_invalid"),
        ("POST", "/tasks/2/give-up".to_owned(), "{\"reason\":\"  \"}".to_owned(), 422, "reason_invalid"),
        ("POST", "/tasks/2/give-up".to_owned(), format!("{{\"reason\":\"{longest}\"}}"), 422, "reason_invalid"),
        // The relay does not run in this process.
        ("POST", "/tasks/2/retry".to_owned(), String::new(), 503, "not_acting"),
        ("POST", "/tasks/77/retry".to_owned(), "{\"request_again\":false}".to_owned(), 503, "not_acting"),
        ("POST", "/tasks/2/give-up".to_owned(), "{\"reason\":\"over\"}".to_owned(), 503, "not_acting"),
        ("POST", "/recheck".to_owned(), String::new(), 503, "not_acting"),
    ];
    for (method, path, body, status, code) in cases {
        let (told, answer) = if method == "GET" { get(&router, &path).await } else { post(&router, &path, &body).await };
        assert_eq!((told.as_u16(), &answer["code"]), (status, &json!(code)), "{method} {path} {body}: {answer}");
        assert!(!answer["message"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_trace_tells_the_whole_story() {
    let rows = Rows::filled().await;
    let (status, trace) = get(&router(&rows), "/tasks/0").await;
    assert_eq!((status, &trace["state"]), (StatusCode::OK, &json!("resolved")));
    let states: Vec<_> = trace["history"].as_array().unwrap().iter().map(|line| line["to"].as_str().unwrap()).collect();
    let life =
        ["seen", "confirmed", "band_signed", "band_broadcast", "band_included", "band_resolved", "relaying", "mined", "resolved"];
    assert_eq!(states, life);
    let tx = &trace["band_transactions"][0];
    assert_eq!((&tx["state"], &tx["fee"], &tx["tasks"]), (&json!("included"), &json!("2000"), &json!([0])));
    assert_eq!(trace["requests"], json!([{ "id": 900, "seed": trace["tasks"][0]["seed"], "tx_hash": tx["hash"], "place": 0 }]));
    let relay = &trace["relays"][0];
    assert_eq!((&relay["state"], &relay["number"], &relay["account"]), (&json!("final"), &json!(1), &json!(rows.worker)));
    assert!(relay["fee_paid"].is_string() && relay["tx_hash"].is_string(), "{relay}");
    let steps: Vec<_> = relay["history"].as_array().unwrap().iter().map(|step| step["to"].as_str().unwrap()).collect();
    assert_eq!(steps, ["signed", "broadcast", "included", "final"]);
    let (_, held) = get(&router(&rows), "/tasks/2").await;
    assert!(held["why"].as_str().unwrap().starts_with("held: the consumer reverts"));
    assert!(held["history"].as_array().unwrap().iter().any(|line| line["bad"] == true));
}

#[tokio::test]
async fn statistics_add_up() {
    let rows = Rows::filled().await;
    let (status, view) = get(&router(&rows), "/statistics?days=7").await;
    assert_eq!(status, StatusCode::OK);
    let total = &view["total"];
    assert_eq!((&total["tasks"], &total["earned"]), (&json!(1), &json!("1000000000000000")));
    assert_eq!((&total["relays"], &total["relays_failed"]), (&json!(1), &json!(0)));
    assert_eq!(
        (&total["band_transactions"], &total["band_requests"], &total["band_fees"]),
        (&json!(4), &json!(4), &json!("8000"))
    );
    let number = |value: &Value| value.as_str().unwrap().parse::<i128>().unwrap();
    // Each request costs 100 gwei by the settings.
    assert_eq!(number(&total["profit"]), number(&total["earned"]) - number(&total["gas_paid"]) - 4 * 100_000_000_000);
    assert_eq!(view["by_day"].as_array().unwrap().len(), 1);
    assert_eq!((&view["by_day"][0]["date"], &view["by_day"][0]["profit"]), (&json!("2023-11-14"), &total["profit"]));
    let forecast = &view["forecast"];
    assert_eq!((&forecast["request_fee"], &forecast["relay_cost"]), (&json!("2000"), &total["gas_paid"]));
    assert_eq!((&forecast["client_balance"], &forecast["relays_left"]), (&Value::Null, &Value::Null), "no balance was read yet");
}

#[tokio::test]
async fn an_empty_relay_has_answers_too() {
    let rows = Rows::new().await;
    let router = router(&rows);
    assert_eq!(get(&router, "/tasks").await, (StatusCode::OK, json!({ "tasks": [] })));
    let (status, view) = get(&router, "/statistics").await;
    assert_eq!((status, &view["total"]["profit"], &view["by_day"]), (StatusCode::OK, &json!("0"), &json!([])));
    let (status, view) = get(&router, "/").await;
    assert_eq!((status, &view["states"]), (StatusCode::OK, &json!({})));
}

#[tokio::test]
async fn drift_is_read_from_both_chains() {
    let rows = Rows::filled().await;
    // Nothing stands at the provider's address of this chain, and nobody answers for BandChain.
    let (status, answer) = get(&router(&rows), "/drift").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    assert!(answer["hint"].is_string(), "{answer}");
}

#[tokio::test]
async fn every_route_is_described() {
    let rows = Rows::new().await;
    let band = band_client(&rows.config.band, 1).unwrap();
    let service = VrfService::new("sim", rows.config.clone(), rows.endpoints.clone(), Arc::new(band), rows.store.clone());
    let routes: Vec<_> = service.operations().iter().map(|one| one.route("/v1/vrf/sim")).collect();
    let expected = [
        ("get", "/v1/vrf/sim"),
        ("get", "/v1/vrf/sim/tasks"),
        ("get", "/v1/vrf/sim/tasks/{nonce}"),
        ("post", "/v1/vrf/sim/tasks/{nonce}/retry"),
        ("post", "/v1/vrf/sim/tasks/{nonce}/give-up"),
        ("post", "/v1/vrf/sim/recheck"),
        ("get", "/v1/vrf/sim/drift"),
        ("get", "/v1/vrf/sim/statistics"),
    ];
    for (method, path) in expected {
        assert!(routes.contains(&(method, path.to_owned())), "{method} {path}: {routes:?}");
    }
}
