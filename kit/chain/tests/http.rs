//! The HTTP connection against a small real server on the loopback interface.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use windlass_chain::{ChainError, Endpoints, EndpointsConfig, HttpRpc, HttpRpcOptions, Rpc, RpcCall, RpcError};

/// Starts a server that answers every POST with `reply(body, headers)`, and returns its address.
async fn serve(reply: impl Fn(Value, HeaderMap) -> Response + Clone + Send + Sync + 'static) -> String {
    let handler = move |headers: HeaderMap, body: Bytes| {
        let reply = reply.clone();
        async move { reply(serde_json::from_slice(&body).unwrap(), headers) }
    };
    let router = Router::new().route("/{*path}", post(handler.clone())).route("/", post(handler));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

fn result_for(request: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": request["id"], "result": request["method"] })
}

fn json_response(value: Value) -> Response {
    (StatusCode::OK, value.to_string()).into_response()
}

fn client(url: &str) -> HttpRpc {
    HttpRpc::new(url, HttpRpcOptions { timeout: Duration::from_millis(500), ..HttpRpcOptions::default() }).unwrap()
}

#[tokio::test]
async fn requests_and_batches_are_answered() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let url = serve(move |body, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        json_response(match &body {
            Value::Array(many) => many.iter().rev().map(result_for).collect(),
            one => result_for(one),
        })
    })
    .await;
    let rpc = client(&url);
    assert_eq!(rpc.request("eth_a", json!([])).await.unwrap().as_str(), "\"eth_a\"");
    let calls: Vec<RpcCall> = (0..250).map(|index| RpcCall::new(format!("m{index}"), json!([]))).collect();
    let answers = rpc.batch(calls).await.unwrap();
    assert_eq!(answers.len(), 250);
    assert_eq!(answers[249].as_ref().unwrap().as_str(), "\"m249\"");
    assert_eq!(requests.load(Ordering::Relaxed), 1 + 3);
}

#[tokio::test]
async fn an_endpoint_without_batches_is_asked_one_by_one() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let url = serve(move |body, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        json_response(match &body {
            Value::Array(_) => {
                json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32600, "message": "batch requests are not supported" } })
            }
            one => result_for(one),
        })
    })
    .await;
    let rpc = client(&url);
    let calls = || vec![RpcCall::new("a", json!([])), RpcCall::new("b", json!([]))];
    assert_eq!(rpc.batch(calls()).await.unwrap()[1].as_ref().unwrap().as_str(), "\"b\"");
    assert_eq!(rpc.batch(calls()).await.unwrap()[0].as_ref().unwrap().as_str(), "\"a\"");
    assert_eq!(requests.load(Ordering::Relaxed), 3 + 2, "the refusal is remembered");
}

#[tokio::test]
async fn http_failures_are_told_apart() {
    let url = serve(|body, _| match body["method"].as_str().unwrap() {
        "busy" => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")], "slow down").into_response(),
        "down" => (StatusCode::SERVICE_UNAVAILABLE, "<html>").into_response(),
        "forbidden" => (StatusCode::FORBIDDEN, "no such key: s3cr3ts3cr3t").into_response(),
        "html" => (StatusCode::OK, "<html>").into_response(),
        "empty" => (StatusCode::OK, "").into_response(),
        "error400" => (
            StatusCode::BAD_REQUEST,
            json!({ "jsonrpc": "2.0", "id": body["id"], "error": { "code": -32602, "message": "bad" } }).to_string(),
        )
            .into_response(),
        _ => json_response(json!({ "jsonrpc": "2.0", "id": 999_999, "result": 1 })),
    })
    .await;
    let rpc = client(&format!("{url}/s3cr3ts3cr3t"));
    let ask = |method: &'static str| {
        let rpc = &rpc;
        async move { rpc.request(method, json!([])).await.unwrap_err() }
    };
    assert!(matches!(ask("busy").await, RpcError::TooManyRequests { retry_after_ms: Some(7_000) }));
    let down = ask("down").await;
    assert!(matches!(down, RpcError::Http { status: 503, .. }) && down.is_transient() && down.outcome_unknown());
    let forbidden = ask("forbidden").await;
    assert!(!forbidden.is_transient() && forbidden.hint().is_some());
    assert!(!format!("{forbidden} {forbidden:?}").contains("s3cr3t"), "{forbidden}");
    assert!(matches!(ask("html").await, RpcError::Malformed { .. }));
    assert!(matches!(ask("empty").await, RpcError::Malformed { .. }));
    assert!(matches!(ask("error400").await, RpcError::Response { code: -32602, .. }));
    assert!(matches!(ask("wrong id").await, RpcError::Malformed { .. }));
}

#[tokio::test]
async fn large_answers_are_refused_while_they_arrive() {
    let url = serve(|body, _| json_response(json!({ "jsonrpc": "2.0", "id": body["id"], "result": "x".repeat(100_000) }))).await;
    let options = HttpRpcOptions { max_response_bytes: 10_000, ..HttpRpcOptions::default() };
    let error = HttpRpc::new(&url, options).unwrap().request("a", json!([])).await.unwrap_err();
    assert!(matches!(error, RpcError::TooLarge { limit_bytes: 10_000 }) && error.is_range_too_large());
}

#[tokio::test]
async fn connections_are_reused_and_carry_the_given_headers() {
    let url = serve(|body, headers| {
        let token = headers.get("x-token").map(|value| value.to_str().unwrap().to_owned());
        json_response(json!({ "jsonrpc": "2.0", "id": body["id"], "result": token }))
    })
    .await;
    let options = HttpRpcOptions { headers: vec![("x-token".into(), "abc".into())], ..HttpRpcOptions::default() };
    let rpc = HttpRpc::new(&url, options).unwrap();
    assert_eq!(rpc.request("a", json!([])).await.unwrap().as_str(), "\"abc\"");
}

#[tokio::test]
async fn nobody_there_and_nobody_answering() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let error = client(&format!("http://user:geheim12@{address}/key12345678")).request("a", json!([])).await.unwrap_err();
    assert!(matches!(error, RpcError::Timeout { after_ms: 500 }), "{error}");
    drop(listener);
    let error = client(&format!("http://user:geheim12@{address}/key12345678")).request("a", json!([])).await.unwrap_err();
    assert!(matches!(error, RpcError::Connect { .. }) && !error.outcome_unknown());
    assert!(error.to_string().contains("refused"), "{error}");
    let cause = std::error::Error::source(&error).unwrap();
    assert!(!format!("{error:?} {cause}").contains("key12345678"), "{error:?}");
}

#[tokio::test]
async fn connect_checks_urls_all_at_once_and_chain_ids() {
    let config = EndpointsConfig::new("test", ["ftp://x".into(), "http://".into(), "ws//broken".into()]);
    let Err(ChainError::Config { problems, .. }) = Endpoints::connect(config).await else { panic!() };
    assert_eq!(problems.len(), 3, "{problems:?}");

    let url = |id: &'static str| serve(move |body, _| json_response(json!({ "jsonrpc": "2.0", "id": body["id"], "result": id })));
    let (one, five) = (url("0x1").await, url("0x5").await);
    let config = |urls: Vec<&str>, chain_id| EndpointsConfig {
        chain_id,
        timeout_ms: 500,
        ..EndpointsConfig::new("test", urls.into_iter().map(Into::into))
    };
    let endpoints = Endpoints::connect(config(vec![&one, &five], None)).await.unwrap();
    assert_eq!(endpoints.chain_id().await.unwrap(), 1, "the first that answers decides");
    assert!(Endpoints::connect(config(vec![&five, &one], Some(1))).await.is_ok());
    let wrong = Endpoints::connect(config(vec![&five], Some(1))).await;
    assert!(matches!(wrong, Err(ChainError::WrongChain { expected: 1, .. })));
    let unreachable = Endpoints::connect(config(vec!["http://127.0.0.1:1"], Some(1))).await.unwrap();
    assert!(unreachable.gas_price().await.unwrap_err().is_transient(), "it may come back");
}
