//! The WebSocket connection against a small real server on the loopback interface.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use alloy_primitives::{Address, B256};
use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::any;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use windlass_chain::testing::FakeChain;
use windlass_chain::{
    Endpoints, EndpointsConfig, FollowConfig, Follower, LogEvent, LogFilter, MIGRATIONS, Rpc, RpcCall, RpcError, Start, WsRpc,
    WsRpcOptions,
};
use windlass_store::Store;

/// What the test tells all connections of the server to do.
#[derive(Clone, Debug)]
enum Order {
    Hang,
    Head,
    Log(Value),
    HangUp,
}

#[derive(Clone)]
struct Server {
    chain: FakeChain,
    orders: broadcast::Sender<Order>,
    connections: Arc<AtomicUsize>,
    url: String,
}

impl Server {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let server = Self { chain: FakeChain::new(), orders: broadcast::channel(64).0, connections: Arc::default(), url };
        let shared = server.clone();
        let router = Router::new().route(
            "/",
            any(move |upgrade: WebSocketUpgrade| {
                let server = shared.clone();
                async move { upgrade.on_upgrade(|socket| server.serve(socket)) }
            }),
        );
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        server
    }

    async fn serve(self, mut socket: WebSocket) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let mut orders = self.orders.subscribe();
        let mut hanging = false;
        let node = windlass_chain::testing::FakeNode::new("behind", &self.chain);
        loop {
            tokio::select! {
                message = socket.recv() => {
                    let Some(Ok(message)) = message else { return };
                    let Message::Text(text) = message else { continue };
                    if hanging { continue }
                    let request: Value = serde_json::from_str(&text).unwrap();
                    let method = request["method"].as_str().unwrap();
                    let mut answer = json!({ "jsonrpc": "2.0", "id": request["id"] });
                    match method {
                        "eth_subscribe" => answer["result"] = json!(format!("sub-{}", request["params"][0].as_str().unwrap())),
                        "echo" => answer["result"] = request["params"].clone(),
                        method => match node.request(method, request["params"].clone()).await {
                            Ok(result) => answer["result"] = result.parse(method).unwrap(),
                            Err(error) => answer["error"] = json!({ "code": -32000, "message": error.to_string() }),
                        },
                    }
                    socket.send(Message::text(answer.to_string())).await.unwrap();
                }
                order = orders.recv() => match order.unwrap() {
                    Order::Hang => hanging = true,
                    Order::HangUp => return,
                    Order::Head => {
                        let head = self.chain.block(self.chain.head().hash).unwrap();
                        self.notify(&mut socket, "sub-newHeads", head.to_json(false)).await;
                    }
                    Order::Log(log) => self.notify(&mut socket, "sub-logs", log).await,
                },
            }
        }
    }

    async fn notify(&self, socket: &mut WebSocket, id: &str, result: Value) {
        let note = json!({ "jsonrpc": "2.0", "method": "eth_subscription", "params": { "subscription": id, "result": result } });
        socket.send(Message::text(note.to_string())).await.unwrap();
    }

    fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
    }

    fn client(&self) -> WsRpc {
        let options = WsRpcOptions {
            timeout: Duration::from_millis(1_500),
            reconnect_after: (Duration::from_millis(10), Duration::from_millis(40)),
            ..WsRpcOptions::default()
        };
        WsRpc::new(&self.url, options).unwrap()
    }
}

/// Asks until the connection is there (again).
async fn echo(rpc: &WsRpc) {
    for _ in 0..500 {
        if rpc.request("echo", json!([1])).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no connection");
}

fn log_json(number: u64, removed: bool) -> Value {
    json!({
        "address": Address::ZERO, "topics": [], "data": "0x", "blockNumber": format!("{number:#x}"),
        "blockHash": B256::ZERO, "transactionHash": B256::ZERO, "transactionIndex": "0x0", "logIndex": "0x0", "removed": removed,
    })
}

#[tokio::test]
async fn requests_share_one_connection() {
    let server = Server::start().await;
    let rpc = server.client();
    let calls = (0..300).map(|index| RpcCall::new("echo", json!([index]))).collect();
    let answers = rpc.batch(calls).await.unwrap();
    assert_eq!(answers[299].as_ref().unwrap().as_str(), "[299]");
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    let refused = rpc.request("nonsense", json!([])).await.unwrap_err();
    assert!(matches!(refused, RpcError::Response { code: -32000, .. }));
}

#[tokio::test]
async fn a_lost_connection_fails_what_waits_and_comes_back() {
    let server = Server::start().await;
    let rpc = Arc::new(server.client());
    echo(&rpc).await;
    server.order(Order::Hang);
    let waiting = tokio::spawn({
        let rpc = Arc::clone(&rpc);
        async move { rpc.request("echo", json!([])).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.order(Order::HangUp);
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, RpcError::Closed { .. }) && error.outcome_unknown(), "{error}");
    echo(&rpc).await;
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn without_a_server_requests_fail_and_do_not_wait() {
    let rpc = WsRpc::new("ws://127.0.0.1:1/", WsRpcOptions::default()).unwrap();
    let error = rpc.request("echo", json!([])).await.unwrap_err();
    assert!(matches!(error, RpcError::Connect { .. }) && !error.outcome_unknown(), "{error}");
}

#[tokio::test]
async fn subscriptions_survive_reconnecting_and_tell_of_the_gap() {
    let server = Server::start().await;
    let rpc = server.client();
    let mut heads = rpc.new_heads().unwrap();
    let mut logs = rpc.subscribe_logs(LogFilter::any()).unwrap();
    echo(&rpc).await;
    server.chain.extend(1);
    server.order(Order::Head);
    heads.changed().await.unwrap();
    assert_eq!(heads.borrow_and_update().as_ref().unwrap().block, server.chain.head());
    server.order(Order::Log(log_json(1, false)));
    server.order(Order::Log(log_json(1, true)));
    assert!(matches!(logs.next().await, Some(LogEvent::Added(log)) if log.block_number == 1));
    assert!(matches!(logs.next().await, Some(LogEvent::Removed(_))));
    server.order(Order::HangUp);
    assert_eq!(logs.next().await, Some(LogEvent::Gap));
    echo(&rpc).await;
    server.order(Order::Log(log_json(2, false)));
    server.chain.extend(1);
    server.order(Order::Head);
    assert!(matches!(logs.next().await, Some(LogEvent::Added(log)) if log.block_number == 2));
    heads.changed().await.unwrap();
    assert_eq!(heads.borrow().as_ref().unwrap().block, server.chain.head());
}

#[tokio::test]
async fn a_follower_wakes_on_announcements_and_catches_up_after_a_gap() {
    let server = Server::start().await;
    let config = EndpointsConfig::new("test", [server.url.as_str().into()]);
    let endpoints = Endpoints::connect(config).await.unwrap();
    let store = Store::open("sqlite::memory:").await.unwrap();
    store.migrate(&MIGRATIONS).await.unwrap();
    let config = FollowConfig { start: Start::Block(0), poll_interval_ms: 3_600_000, ..FollowConfig::new("reader") };
    let mut follower = Follower::load(store.clone(), endpoints, config).await.unwrap();
    let mut seen = Vec::new();
    for round in 0..3 {
        if round > 0 {
            // Three blocks, of which only the last is announced.
            server.chain.extend(3);
            server.order(Order::Head);
        }
        let batch = tokio::time::timeout(Duration::from_secs(20), follower.next()).await.unwrap().unwrap();
        seen.extend(batch.added.iter().map(|one| one.block.number));
        store
            .write("record", move |tx| Box::pin(async move { batch.record(tx).await }))
            .await
            .map_err(|error: windlass_chain::ChainError| error)
            .unwrap();
    }
    assert_eq!(seen, (0..=6).collect::<Vec<u64>>());
}
