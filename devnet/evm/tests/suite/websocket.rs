//! Requests and subscriptions over WebSocket.

use std::collections::VecDeque;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::node::{ALICE, EMITTER, Node, alice, emit, is_anvil, sign, transfer, word};

struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    notifications: VecDeque<Value>,
    next_id: u64,
}

impl Socket {
    async fn connect(node: &Node) -> Self {
        let (stream, _) = connect_async(&node.ws).await.unwrap();
        Self { stream, notifications: VecDeque::new(), next_id: 0 }
    }

    async fn receive(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(10), self.stream.next()).await;
            match message.expect("an answer in time").expect("an open connection").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    async fn send(&mut self, text: String) {
        self.stream.send(Message::Text(text.into())).await.unwrap();
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()).await;
        loop {
            let message = self.receive().await;
            if message["id"] == id {
                return message;
            }
            assert_eq!(message["method"], "eth_subscription", "{message}");
            self.notifications.push_back(message);
        }
    }

    async fn subscribe(&mut self, params: Value) -> Value {
        let answer = self.call("eth_subscribe", params).await;
        assert!(answer["result"].is_string(), "{answer}");
        answer["result"].clone()
    }

    /// The next notification of a subscription; others are kept.
    async fn next(&mut self, subscription: &Value) -> Value {
        if let Some(at) = self.notifications.iter().position(|it| it["params"]["subscription"] == *subscription) {
            return self.notifications.remove(at).unwrap()["params"]["result"].clone();
        }
        loop {
            let mut message = self.receive().await;
            assert_eq!((&message["jsonrpc"], &message["method"]), (&json!("2.0"), &json!("eth_subscription")));
            if message["params"]["subscription"] == *subscription {
                return message["params"]["result"].take();
            }
            self.notifications.push_back(message);
        }
    }
}

#[tokio::test]
async fn requests_and_batches_work() {
    let node = Node::start().await;
    let mut socket = Socket::connect(&node).await;
    assert_eq!(socket.call("eth_chainId", json!([])).await["result"], "0x7a69");
    // anvil calls this a wrong parameter, but only over WebSocket.
    let expected = if is_anvil() { -32602 } else { -32601 };
    assert_eq!(socket.call("no_such", json!([])).await["error"]["code"], expected);
    socket
        .send(r#"[{"jsonrpc":"2.0","id":1,"method":"net_version"},{"jsonrpc":"2.0","id":2,"method":"eth_chainId"}]"#.into())
        .await;
    let answers = socket.receive().await;
    assert_eq!((&answers[0]["result"], &answers[1]["result"]), (&json!("31337"), &json!("0x7a69")));
    socket.send("{".into()).await;
    assert_eq!(socket.receive().await["error"]["code"], -32600);
    let body = r#"{"jsonrpc":"2.0","id":9,"method":"eth_chainId"}"#;
    socket.stream.send(Message::Binary(body.as_bytes().to_vec().into())).await.unwrap();
    assert_eq!(socket.receive().await["id"], 9);
}

#[tokio::test]
async fn new_heads_come_in_order() {
    let node = Node::start().await;
    let mut socket = Socket::connect(&node).await;
    let heads = socket.subscribe(json!(["newHeads"])).await;
    node.ok("anvil_mine", json!(["0x3"])).await;
    let mut parent = node.block("0x0").await["hash"].clone();
    for number in 1..=3u64 {
        let head = socket.next(&heads).await;
        assert_eq!(head["number"], format!("{number:#x}"));
        assert_eq!(head["parentHash"], parent);
        let block = node.block(&format!("{number:#x}")).await;
        assert_eq!(head["hash"], block["hash"]);
        for field in ["timestamp", "baseFeePerGas", "gasLimit", "logsBloom", "stateRoot", "miner"] {
            assert_eq!(head[field], block[field], "{field}");
        }
        parent = head["hash"].clone();
    }
    assert_eq!(socket.call("eth_unsubscribe", json!([heads])).await["result"], true);
    assert_eq!(socket.call("eth_unsubscribe", json!([heads])).await["result"], false);
    node.ok("evm_mine", json!([])).await;
    assert_eq!(socket.call("eth_blockNumber", json!([])).await["result"], "0x4");
    assert!(socket.notifications.is_empty());
}

#[tokio::test]
async fn logs_are_pushed() {
    let node = Node::start().await;
    let contract = node.deploy(EMITTER).await;
    let mut socket = Socket::connect(&node).await;
    let all = socket.subscribe(json!(["logs", {}])).await;
    let some = socket.subscribe(json!(["logs", { "address": contract, "topics": [[word(2)]] }])).await;
    for topic in 1..=2u64 {
        node.transact(json!({ "from": ALICE, "to": contract, "data": emit(topic * 10, topic), "gas": "0x20000" })).await;
    }
    assert_eq!(socket.next(&all).await["data"], word(10));
    assert_eq!(socket.next(&all).await["data"], word(20));
    let log = socket.next(&some).await;
    assert_eq!((&log["data"], &log["removed"]), (&json!(word(20)), &json!(false)));
    assert_eq!(log, node.ok("eth_getLogs", json!([{}])).await[0]);
}

#[tokio::test]
async fn pending_transactions_are_pushed() {
    let node = Node::start_manual().await;
    let mut socket = Socket::connect(&node).await;
    let hashes = socket.subscribe(json!(["newPendingTransactions"])).await;
    let full = socket.subscribe(json!(["newPendingTransactions", true])).await;
    let hash = node.send_raw(&sign(&alice(), transfer(0))).await;
    assert_eq!(socket.next(&hashes).await, hash);
    let tx = socket.next(&full).await;
    assert_eq!((&tx["hash"], &tx["from"], &tx["blockHash"]), (&hash, &json!(ALICE), &Value::Null));
}

#[tokio::test]
async fn a_reorganisation_is_told() {
    let node = Node::start().await;
    let contract = node.deploy(EMITTER).await;
    let mut socket = Socket::connect(&node).await;
    let heads = socket.subscribe(json!(["newHeads"])).await;
    let logs = socket.subscribe(json!(["logs", { "address": contract }])).await;
    let receipt = node.transact(json!({ "from": ALICE, "to": contract, "data": emit(10, 1), "gas": "0x20000" })).await;
    assert_eq!(socket.next(&heads).await["hash"], receipt["blockHash"]);
    assert_eq!(socket.next(&logs).await, receipt["logs"][0]);
    node.ok("anvil_mine", json!(["0x1"])).await;
    socket.next(&heads).await;
    let request = json!({ "from": ALICE, "to": contract, "data": emit(20, 1), "gas": "0x20000" });
    node.ok("anvil_reorg", json!([2, [[request, 0]]])).await;
    for number in ["0x2", "0x3"] {
        let head = socket.next(&heads).await;
        assert_eq!((&head["number"], &head["hash"]), (&json!(number), &node.block(number).await["hash"]));
    }
    if !is_anvil() {
        // anvil is silent about removed logs; geth and this chain tell.
        let mut removed = receipt["logs"][0].clone();
        removed["removed"] = json!(true);
        assert_eq!(socket.next(&logs).await, removed);
    }
    assert_eq!(socket.next(&logs).await["data"], word(20));
}

#[tokio::test]
async fn wrong_subscriptions_are_refused() {
    let node = Node::start().await;
    let mut socket = Socket::connect(&node).await;
    for (params, code) in [
        (json!(["logs", true]), -32602),
        (json!(["newPendingTransactions", {}]), -32602),
        (json!(["syncing"]), -32603),
        (json!(["no_such"]), -32602),
    ] {
        assert_eq!(socket.call("eth_subscribe", params.clone()).await["error"]["code"], code, "{params}");
    }
    assert_eq!(socket.call("eth_unsubscribe", json!(["0x1"])).await["result"], false);
}
