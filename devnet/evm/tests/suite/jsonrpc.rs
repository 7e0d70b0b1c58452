//! The envelope: batches, notifications, and what is malformed.

use serde_json::{Value, json};

use crate::node::{Node, alice, sign, transfer};

const INVALID: &str = r#"{"code":-32600,"message":"Invalid request"}"#;

#[tokio::test]
async fn malformed_requests_get_the_known_answers() {
    let node = Node::start().await;
    let invalid = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{INVALID}}}"#);
    let chain_id = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"0x7a69"}}"#);
    let cases = [
        ("{", invalid("null")),
        ("", invalid("null")),
        ("1", invalid("null")),
        (r#""x""#, invalid("null")),
        ("[]", invalid("null")),
        ("{}", invalid("null")),
        (r#"{"id":7}"#, invalid("7")),
        ("[{}]", format!("[{}]", invalid("null"))),
        ("[1]", invalid("null")),
        (r#"{"method":"eth_chainId","id":1}"#, invalid("1")),
        (r#"{"jsonrpc":"1.0","method":"eth_chainId","params":[],"id":1}"#, invalid("1")),
        (r#"{"jsonrpc":"2.0","method":"eth_chainId","params":[],"id":1.5}"#, invalid("null")),
        (r#"{"jsonrpc":"2.0","method":"eth_chainId","params":[],"id":1,"extra":1}"#, invalid("1")),
        (r#"{"jsonrpc":"2.0","method":"eth_chainId","id":1}"#, chain_id("1")),
        (r#"{"jsonrpc":"2.0","method":"eth_chainId","params":null,"id":2}"#, chain_id("2")),
        (r#"{"jsonrpc":"2.0","method":"eth_chainId","params":[],"id":"abc"}"#, chain_id("\"abc\"")),
        (r#"{"jsonrpc":"2.0","method":"eth_chainId","params":[],"id":null}"#, chain_id("null")),
    ];
    for (request, expected) in cases {
        let (status, text) = node.post(request).await;
        assert_eq!(status, 200);
        let (answer, expected): (Value, Value) = (serde_json::from_str(&text).unwrap(), serde_json::from_str(&expected).unwrap());
        assert_eq!(answer, expected, "{request}");
    }
}

#[tokio::test]
async fn unknown_methods_and_bad_parameters_have_codes() {
    let node = Node::start().await;
    assert_eq!(node.fails("foo_bar", json!([])).await, (-32601, "Method not found".to_owned()));
    assert_eq!(node.fails("eth_subscribe", json!(["newHeads"])).await.0, -32601, "not over HTTP");
    for (method, params) in [
        ("eth_getBalance", json!([])),
        ("eth_getBalance", json!(["0x12", "latest"])),
        ("eth_getBlockByNumber", json!(["zz", false])),
        ("eth_chainId", json!([1])),
        ("eth_chainId", json!({})),
        ("eth_getTransactionReceipt", json!(["0x1"])),
        ("eth_getStorageAt", json!([1, 2, 3])),
        ("eth_sendRawTransaction", json!([5])),
        ("eth_getLogs", json!([{ "address": "0x1" }])),
    ] {
        assert_eq!(node.fails(method, params.clone()).await.0, -32602, "{method}{params}");
    }
}

#[tokio::test]
async fn a_notification_has_no_answer() {
    let node = Node::start().await;
    let (status, text) = node.post(r#"{"jsonrpc":"2.0","method":"eth_chainId","params":[]}"#).await;
    assert_eq!((status, text.as_str()), (204, ""));
}

#[tokio::test]
async fn a_batch_is_answered_in_order() {
    let node = Node::start().await;
    let calls: Vec<_> = (0..50)
        .map(|id| {
            let method = if id % 2 == 0 { "eth_chainId" } else { "no_such" };
            json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": [] })
        })
        .collect();
    let (_, text) = node.post(&Value::Array(calls).to_string()).await;
    let answers: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(answers.len(), 50);
    for (id, answer) in answers.iter().enumerate() {
        assert_eq!(answer["id"], id);
        assert_eq!(answer.get("result").is_some(), id % 2 == 0);
    }
}

#[tokio::test]
async fn a_batch_of_broadcasts_is_mined() {
    let node = Node::start().await;
    let calls: Vec<_> = (0..20u64)
        .map(|nonce| {
            let params = json!([sign(&alice(), transfer(nonce))]);
            json!({ "jsonrpc": "2.0", "id": nonce, "method": "eth_sendRawTransaction", "params": params })
        })
        .chain([json!({ "jsonrpc": "2.0", "id": 20, "method": "eth_sendRawTransaction", "params": ["0x00"] })])
        .collect();
    let (_, text) = node.post(&Value::Array(calls).to_string()).await;
    let answers: Vec<Value> = serde_json::from_str(&text).unwrap();
    for answer in &answers[..20] {
        assert_eq!(node.receipt(&answer["result"]).await["status"], "0x1");
    }
    assert_eq!(answers[20]["error"]["code"], -32602);
    if let Some(devnet) = node.devnet() {
        assert_eq!(devnet.height(), 1, "what comes together goes into one block");
    }
}

#[tokio::test]
async fn browsers_may_call() {
    let node = Node::start().await;
    let client = reqwest::Client::new();
    let preflight = client.request(reqwest::Method::OPTIONS, &node.http).header("origin", "http://a.example");
    let preflight = preflight
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 200);
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    assert_eq!(preflight.headers()["access-control-allow-headers"], "content-type");
    assert!(preflight.headers()["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    let body = r#"{"jsonrpc":"2.0","method":"eth_chainId","params":[],"id":1}"#;
    let answer = client.post(&node.http).header("origin", "http://a.example").header("content-type", "application/json");
    let answer = answer.body(body).send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert_eq!(client.get(format!("{}/other", node.http)).send().await.unwrap().status(), 404);
    assert_eq!(client.get(&node.http).send().await.unwrap().status(), 400);
}
