//! Conventions of the HTTP interface, asked through all layers without a connection.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use support::{Answer, Fake, fetch, memory, node, send, settings};
use windlass_node::config::SecretText;
use windlass_node::events::Event;
use windlass_node::{NodeBuilder, NodeError, PlainSecrets, RouteRule, Settings};

async fn router_with(settings: Settings) -> (Router, Arc<Fake>) {
    let service = Arc::new(Fake::named("fake.one"));
    (node(settings, memory().await, vec![service.clone()]).await.unwrap().router(), service)
}

async fn router() -> (Router, Arc<Fake>) {
    router_with(settings()).await
}

fn with_tokens() -> Settings {
    let mut settings = settings();
    settings.http.tokens = vec![SecretText::new("first-token-000"), SecretText::new("second-token-00")];
    settings
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Body::from(body.to_owned())).unwrap()
}

async fn post(router: &Router, path: &str, key: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    send(router, request("POST", path, &headers, &body.to_string())).await
}

#[tokio::test]
async fn health_tells_why() {
    let (router, service) = router().await;
    let live = fetch(&router, "/health/live").await;
    assert_eq!((live.status, live.json()), (200, json!({"status": "live"})));
    let ready = fetch(&router, "/health/ready").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    service.reasons.lock().push("the head is old".to_owned());
    tokio::time::sleep(Duration::from_millis(600)).await;
    let ready = fetch(&router, "/health/ready").await;
    assert_eq!(ready.status, 503);
    let wanted = json!({"ready": false, "reasons": [], "services":
        {"fake.one": {"ready": false, "state": "working", "role": "active", "reasons": ["the head is old"]}}});
    assert_eq!(ready.json(), wanted);
}

#[tokio::test]
async fn a_service_that_does_not_answer_or_panics_is_not_ready() {
    let hangs = Arc::new(Fake { status_hangs: true, ..Fake::named("fake.hangs") });
    let panics = Arc::new(Fake { status_panics: true, ..Fake::named("fake.panics") });
    let router = node(settings(), memory().await, vec![hangs, panics]).await.unwrap().router();
    tokio::time::pause();
    let ready = fetch(&router, "/health/ready").await;
    assert_eq!(ready.status, 503);
    let services = ready.json()["services"].clone();
    assert!(services["fake.hangs"]["reasons"][0].as_str().unwrap().contains("did not say within a second"));
    assert!(services["fake.panics"]["reasons"][0].as_str().unwrap().contains("panicked"));
}

#[tokio::test]
async fn every_error_has_one_shape() {
    let (router, _) = router().await;
    let json_type = [("content-type", "application/json")];
    let cases = [
        (request("GET", "/nowhere", &[], ""), 404, "not_found"),
        (request("GET", "/v1/fake/one/nowhere", &[], ""), 404, "not_found"),
        (request("GET", "/v1/fake/two/count", &[], ""), 404, "not_found"),
        (request("DELETE", "/v1/status", &[], ""), 405, "method_not_allowed"),
        (request("GET", "/v1/fake/one/count", &[], ""), 405, "method_not_allowed"),
        (request("GET", "/v1/fake/one/refuse", &[], ""), 409, "not_now"),
        (request("GET", "/v1/fake/one/panic", &[], ""), 500, "internal"),
        (request("GET", "/v1/events?limit=0", &[], ""), 400, "limit_invalid"),
        (request("GET", "/v1/events?limit=x", &[], ""), 400, "bad_request"),
        (request("GET", "/v1/events?page_token=ff", &[], ""), 400, "page_token_invalid"),
        (request("PUT", "/v1/log-level", &[], "{}"), 415, "unsupported_media_type"),
        (request("PUT", "/v1/log-level", &json_type, "{"), 400, "bad_request"),
        (request("PUT", "/v1/log-level", &json_type, "{\"level\": 1}"), 422, "unprocessable"),
        (request("PUT", "/v1/log-level", &json_type, "{\"level\": \"loud\"}"), 422, "log_level_invalid"),
        (request("POST", "/v1/fake/one/count", &json_type, &"x".repeat(1_048_577)), 413, "body_too_large"),
        (request("POST", "/v1/fake/one/count", &[("idempotency-key", "a b")], "{}"), 400, "idempotency_key_invalid"),
    ];
    for (request, status, code) in cases {
        let what = format!("{} {}", request.method(), request.uri());
        let answer = send(&router, request).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert_eq!(answer.headers["content-type"], "application/json", "{what}");
        let body = answer.json();
        assert_eq!(body["code"], code, "{what}");
        assert_eq!(body["request_id"], answer.headers["x-request-id"].as_str(), "{what}");
        assert!(!body["message"].as_str().unwrap().is_empty(), "{what}");
        assert!(body.as_object().unwrap().keys().all(|key| ["request_id", "code", "message", "hint"].contains(&key.as_str())));
    }
    assert_eq!(send(&router, request("GET", "/v1/fake/one/refuse", &[], "")).await.json()["hint"], "wait");
}

#[tokio::test]
async fn a_usable_request_id_is_kept_and_another_replaced() {
    let (router, _) = router().await;
    let with = |id: &str| request("GET", "/health/live", &[("x-request-id", id)], "");
    assert_eq!(send(&router, with("abc-123_X")).await.headers["x-request-id"], "abc-123_X");
    for id in ["", "a b", &"x".repeat(65), "a\"b"] {
        let given = send(&router, with(id)).await.headers["x-request-id"].clone();
        assert!(given != id && given.len() == 24, "{id:?} became {given:?}");
    }
}

#[tokio::test]
async fn interfaces_of_services_keep_their_own_bodies() {
    let (router, _) = router().await;
    let answer = fetch(&router, "/health/one").await;
    assert_eq!((answer.status, answer.body.as_str()), (402, "unpaid"));
}

#[tokio::test]
async fn a_service_may_let_its_own_callers_in_at_the_root() {
    let rules = vec![
        RouteRule::new(Method::POST, "/").own_access().timeout(Duration::from_secs(120)),
        RouteRule::new(Method::POST, "/limited").timeout(Duration::from_secs(120)),
        RouteRule::new(Method::GET, "/plain"),
    ];
    let service = Arc::new(Fake { rules, ..Fake::named("fake.one") });
    let router = node(with_tokens(), memory().await, vec![service]).await.unwrap().router();
    tokio::time::pause();
    // A token that only the service knows costs no more than any other request.
    for _ in 0..30 {
        let answer = send(&router, request("POST", "/", &[("authorization", "Bearer of.another.issuer")], "anything")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "done"));
    }
    assert_eq!(send(&router, request("POST", "/", &[], "")).await.status, 200);
    // Everything beside exactly this method and path is as before.
    for (method, path) in [("GET", "/"), ("HEAD", "/"), ("PUT", "/"), ("POST", "/limited"), ("GET", "/plain"), ("POST", "//")] {
        assert_eq!(send(&router, request(method, path, &[], "")).await.status, 401, "{method} {path}");
    }
    let token = [("authorization", "Bearer first-token-000")];
    assert_eq!(send(&router, request("POST", "/limited", &token, "")).await.status, 200);
    assert_eq!(
        send(&router, request("GET", "/plain", &token, "")).await.status,
        504,
        "the common limit holds where nothing is said"
    );
    // Who may not ask at all is refused all the same.
    let foreign = send(&router, request("POST", "/", &[("origin", "https://evil.example")], "")).await;
    assert_eq!((foreign.status, foreign.json()["code"].as_str()), (403, Some("cross_origin")));
}

#[tokio::test]
async fn no_service_may_open_a_route_of_the_node() {
    for (method, path) in
        [(Method::GET, "/"), (Method::GET, "/metrics"), (Method::POST, "/v1/fake/one/count"), (Method::GET, "/health/live")]
    {
        let service = Arc::new(Fake { rules: vec![RouteRule::new(method, path).own_access()], ..Fake::named("fake.one") });
        let refused = node(settings(), memory().await, vec![service]).await.unwrap_err();
        assert!(matches!(refused, NodeError::RouteConflict { .. }), "{path}: {refused}");
    }
}

#[tokio::test]
async fn tokens_are_required_everywhere_but_for_health() {
    let (router, _) = router_with(with_tokens()).await;
    for path in ["/health/live", "/health/ready", "/health/one", "/login", "/assets/dashboard.css"] {
        assert_ne!(fetch(&router, path).await.status, 401, "{path}");
    }
    for path in ["/metrics", "/openapi.json", "/v1/status", "/v1/events", "/v1/fake/one/refuse", "/", "/live", "/nowhere"] {
        let answer = fetch(&router, path).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("token_required")), "{path}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        for authorization in ["Bearer first-token-00", "Bearer ", "Basic first-token-000", "bearer second-token-00x"] {
            let refused = send(&router, request("GET", path, &[("authorization", authorization)], "")).await;
            // Wrong tokens cost ten requests each: the budget may be gone.
            assert!(matches!(refused.status, 401 | 429), "{path} with {authorization}: {refused:?}");
        }
    }
    for authorization in ["Bearer first-token-000", "bearer second-token-00"] {
        let let_in = send(&router, request("GET", "/v1/status", &[("authorization", authorization)], "")).await;
        assert_eq!(let_in.status, 200, "{authorization}");
    }
}

#[tokio::test]
async fn a_person_logs_in_and_may_look_but_not_change() {
    let (router, _) = router_with(with_tokens()).await;
    let page = send(&router, request("GET", "/", &[("accept", "text/html,*/*")], "")).await;
    assert_eq!((page.status, page.headers["location"].as_str()), (303, "/login"));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let wrong = send(&router, request("POST", "/login", &form, "token=nonsense")).await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.body.contains("not known") && !wrong.headers.contains_key("set-cookie"));
    let right = send(&router, request("POST", "/login", &form, "token=first-token-000")).await;
    assert_eq!((right.status, right.headers["location"].as_str()), (303, "/"));
    let cookie = &right.headers["set-cookie"];
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("first-token"), "the cookie is not the token");
    let cookie = cookie.split(';').next().unwrap();
    let page = send(&router, request("GET", "/", &[("cookie", cookie)], "")).await;
    assert_eq!(page.status, 200);
    let headers = [("cookie", cookie), ("content-type", "application/json")];
    let change = send(&router, request("PUT", "/v1/log-level", &headers, "{\"level\":\"debug\"}")).await;
    assert_eq!(change.status, 401);
    let forged = send(&router, request("GET", "/", &[("cookie", "windlass_session=00")], "")).await;
    assert_eq!(forged.status, 401);
}

#[tokio::test]
async fn listening_beyond_the_machine_needs_a_token() {
    let mut open = settings();
    open.http.listen = ([0, 0, 0, 0], 0).into();
    let error = node(open.clone(), memory().await, Vec::new()).await.unwrap_err();
    assert!(matches!(error, NodeError::OpenInterface { .. }), "{error}");
    assert!(error.hint().unwrap().contains("http.tokens"));
    open.http.tokens = vec![SecretText::new(" \n")];
    let error = node(open.clone(), memory().await, Vec::new()).await.unwrap_err();
    assert!(matches!(error, NodeError::Secret { .. }), "an empty token is none: {error}");
    open.http.tokens = vec![SecretText::new("env:NOBODY_RESOLVES_THIS")];
    let error = node(open.clone(), memory().await, Vec::new()).await.unwrap_err();
    assert!(matches!(error, NodeError::Secret { .. }), "a pointer is no token: {error}");
    open.http.tokens = vec![SecretText::new("a-good-token")];
    node(open, memory().await, Vec::new()).await.unwrap();
}

#[tokio::test]
async fn foreign_names_and_foreign_pages_are_refused() {
    let (router, _) = router().await;
    let ask = |host: &str| {
        let request = Request::get("/v1/status").header("host", host).body(Body::empty()).unwrap();
        let router = router.clone();
        async move { send(&router, request).await }
    };
    for host in ["localhost", "LOCALHOST:9464", "127.0.0.1:9464", "[::1]:9464", "[::1]"] {
        assert_eq!(ask(host).await.status, 200, "{host}");
    }
    for host in ["evil.example", "evil.example:9464", "127.0.0.1.evil.example", "localhost.evil.example", "", ":80"] {
        let answer = ask(host).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("host_not_allowed")), "{host:?}");
    }
    let change = |headers: &[(&str, &str)]| {
        let mut all = vec![("content-type", "application/json")];
        all.extend_from_slice(headers);
        let request = request("PUT", "/v1/log-level", &all, "{\"level\":\"info\"}");
        let router = router.clone();
        async move { send(&router, request).await }
    };
    assert_eq!(change(&[]).await.status, 200);
    assert_eq!(change(&[("origin", "http://localhost"), ("sec-fetch-site", "same-origin")]).await.status, 200);
    for headers in [
        [("origin", "http://evil.example"), ("x-a", "b")],
        [("origin", "null"), ("x-a", "b")],
        [("sec-fetch-site", "cross-site"), ("x-a", "b")],
        [("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")],
    ] {
        assert_eq!(change(&headers).await.json()["code"], "cross_origin", "{headers:?}");
    }
    // No page of another origin is ever allowed to read anything.
    let answer = send(&router, request("GET", "/v1/status", &[("origin", "http://evil.example")], "")).await;
    assert!(!answer.headers.keys().any(|name| name.starts_with("access-control")));
}

#[tokio::test]
async fn names_can_be_allowed() {
    let mut settings = with_tokens();
    settings.http.allowed_hosts = vec!["Windlass.Internal".to_owned()];
    let (router, _) = router_with(settings).await;
    let ask = |host: &'static str| Request::get("/health/live").header("host", host).body(Body::empty()).unwrap();
    assert_eq!(send(&router, ask("windlass.internal:443")).await.status, 200);
    assert_eq!(send(&router, ask("other.internal")).await.status, 403);
}

#[tokio::test]
async fn a_client_that_asks_too_much_is_told_to_wait() {
    let mut settings = settings();
    (settings.http.requests_per_second, settings.http.request_burst) = (1, 3);
    let (router, _) = router_with(settings).await;
    for _ in 0..3 {
        assert_eq!(fetch(&router, "/v1/alerts").await.status, 200);
    }
    let refused = fetch(&router, "/v1/alerts").await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (429, Some("rate_limited")));
    assert!(refused.headers["retry-after"].parse::<u64>().unwrap() >= 1);
    // Health is always answered.
    assert_eq!(fetch(&router, "/health/live").await.status, 200);
}

#[tokio::test]
async fn a_request_has_a_time_limit_and_there_are_only_so_many() {
    let mut settings = settings();
    settings.http.max_concurrent_requests = 1;
    let (router, _) = router_with(settings).await;
    tokio::time::pause();
    let slow = tokio::spawn({
        let router = router.clone();
        async move { fetch(&router, "/v1/fake/one/slow").await }
    });
    tokio::task::yield_now().await;
    let refused = fetch(&router, "/v1/alerts").await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("overloaded")));
    assert_eq!(fetch(&router, "/health/live").await.status, 200, "health is heard when everything else is too much");
    let answer = slow.await.unwrap();
    assert_eq!((answer.status, answer.json()["code"].as_str()), (504, Some("timeout")));
    assert_eq!(fetch(&router, "/v1/alerts").await.status, 200);
}

#[tokio::test]
async fn a_post_with_a_key_is_carried_out_once() {
    let (router, service) = router().await;
    let path = "/v1/fake/one/count";
    let first = post(&router, path, "key-1", &json!({"a": 1})).await;
    assert_eq!((first.status, first.json()), (200, json!({"count": 1, "key": "key-1"})));
    let again = post(&router, path, "key-1", &json!({"a": 1})).await;
    assert_eq!((again.status, again.json()), (200, first.json()));
    assert_eq!(
        (again.headers["idempotency-replayed"].as_str(), again.headers["content-type"].as_str()),
        ("true", "application/json")
    );
    let other = post(&router, path, "key-1", &json!({"a": 2})).await;
    assert_eq!((other.status, other.json()["code"].as_str()), (422, Some("idempotency_key_reused")));
    assert_eq!(service.counted.load(Ordering::SeqCst), 1);
    // Another key, and no key at all, are other requests.
    assert_eq!(post(&router, path, "key-2", &json!({"a": 1})).await.json()["count"], 2);
    let bare = send(&router, request("POST", path, &[("content-type", "application/json")], "{}")).await;
    assert_eq!(bare.json(), json!({"count": 3, "key": null}));
}

#[tokio::test]
async fn a_failed_post_may_be_tried_again_under_its_key() {
    let (router, service) = router().await;
    let path = "/v1/fake/one/count";
    for tries in 1..=2 {
        assert_eq!(post(&router, path, "k", &json!({"fail": true})).await.status, 500);
        assert_eq!(service.counted.load(Ordering::SeqCst), tries);
    }
}

#[tokio::test]
async fn two_at_once_with_one_key_are_one() {
    let (router, service) = router().await;
    let answers = futures::future::join_all((0..8).map(|_| {
        let router = router.clone();
        async move { post(&router, "/v1/fake/one/count", "same", &json!({})).await }
    }))
    .await;
    assert_eq!(service.counted.load(Ordering::SeqCst), 1);
    for answer in answers {
        assert!(answer.status == 200 || answer.json()["code"] == "idempotency_key_in_use", "{answer:?}");
    }
}

#[tokio::test]
async fn the_description_is_what_is_served() {
    let (router, _) = router().await;
    let document = fetch(&router, "/openapi.json").await.json();
    insta::assert_snapshot!("openapi", serde_json::to_string_pretty(&document).unwrap());
    let mut operations = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operations.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path} has an id twice");
            if path.ends_with("/slow") || path == "/live" {
                continue;
            }
            let method = method.to_uppercase();
            let answer = send(&router, request(&method, path, &[("content-type", "application/json")], "{}")).await;
            assert!(!matches!(answer.status, 404 | 405), "{method} {path} is described but not served");
            let described = operation["responses"].as_object().unwrap();
            let known = described.contains_key(&answer.status.to_string()) || answer.json()["code"].is_string();
            assert!(known, "{method} {path} answers {} which is not described", answer.status);
        }
        // And no method is served that is not described.
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            if methods.get(method.to_lowercase()).is_none() && path != "/login" {
                let answer = send(&router, request(method, path, &[], "")).await;
                assert!(matches!(answer.status, 405 | 404), "{method} {path} is served but not described: {answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_log_level_can_be_changed() {
    let (router, _) = router().await;
    let headers = [("content-type", "application/json")];
    let changed = send(&router, request("PUT", "/v1/log-level", &headers, "{\"level\":\"info,windlass_chain=debug\"}")).await;
    assert_eq!((changed.status, changed.json()), (200, json!({"level": "info,windlass_chain=debug"})));
}

#[tokio::test]
async fn metrics_are_served_with_their_texts() {
    let (router, _) = router().await;
    fetch(&router, "/v1/fake/one/refuse").await;
    let answer = fetch(&router, "/metrics").await;
    assert!(answer.headers["content-type"].starts_with("text/plain; version=0.0.4"));
    assert!(answer.body.contains("# HELP process_resident_memory_bytes"));
    assert!(answer.body.contains("route=\"/v1/fake/one/refuse\",status=\"409\""), "{}", answer.body);
    let memory = answer.body.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes ")).unwrap();
    assert!(memory.parse::<f64>().unwrap() > 1_000_000.0);
}

#[tokio::test]
async fn events_come_in_pages_newest_first() {
    let store = memory().await;
    let builder = NodeBuilder::with_store(settings(), store.clone(), Arc::new(PlainSecrets)).await.unwrap();
    let events = builder.events().clone();
    let node = builder.build().await.unwrap();
    for number in 0..7 {
        let event = Event::new(if number % 2 == 0 { "fake.even" } else { "fake.odd" }, "counted", format!("number {number}"));
        let (events, event) = (events.clone(), event.field("number", number));
        store.write("test", move |tx| Box::pin(async move { events.record(tx, event).await.map(|_| ()) })).await.unwrap();
    }
    let router = node.router();
    let numbers = |answer: &Answer| -> Vec<String> {
        answer.json()["events"].as_array().unwrap().iter().map(|e| e["fields"]["number"].as_str().unwrap().to_owned()).collect()
    };
    let first = fetch(&router, "/v1/events?limit=3").await;
    assert_eq!(numbers(&first), ["6", "5", "4"]);
    let token = first.json()["next_page_token"].as_str().unwrap().to_owned();
    let second = fetch(&router, &format!("/v1/events?limit=3&page_token={token}")).await;
    assert_eq!(numbers(&second), ["3", "2", "1"]);
    let token = second.json()["next_page_token"].as_str().unwrap().to_owned();
    let third = fetch(&router, &format!("/v1/events?limit=3&page_token={token}")).await;
    assert_eq!(numbers(&third), ["0"]);
    assert!(third.json().get("next_page_token").is_none());
    let even = fetch(&router, "/v1/events?service=fake.even&limit=4").await;
    assert_eq!(numbers(&even), ["6", "4", "2", "0"]);
    assert!(even.json().get("next_page_token").is_none());
    // A token of one list is no token of another.
    let mixed = fetch(&router, &format!("/v1/events?service=fake.even&page_token={token}")).await;
    assert_eq!(mixed.json()["code"], "page_token_invalid");
}
