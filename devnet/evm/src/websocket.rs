//! One WebSocket connection: requests, and subscriptions that live as long as it does.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::{U128, keccak256};
use alloy_rpc_types_eth::Filter;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::chain::Event;
use crate::devnet::{Answer, Devnet};
use crate::error::JsonRpcError;
use crate::jsonrpc::{self, Call, Handler, Plain, Reply};
use crate::rpc::params::{Params, from_value};
use crate::rpc::{Outcome, control, format, reply};

/// Makes ids of subscriptions unique in the process.
static SUBSCRIPTIONS: AtomicU64 = AtomicU64::new(0);

/// Computations of one connection at the same time.
const COMPUTING_MAX: usize = 64;

/// Whether this is a call that only runs the interpreter. The connection answers others meanwhile, as that of a node does.
fn is_computation(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Peek<'a> {
        #[serde(borrow)]
        method: Cow<'a, str>,
    }
    serde_json::from_slice::<Peek<'_>>(body).is_ok_and(|call| matches!(call.method.as_ref(), "eth_call" | "eth_estimateGas"))
}

#[derive(Debug)]
enum Kind {
    Heads,
    Logs(Box<Filter>),
    Pending { full: bool },
}

/// The subscriptions of one connection.
#[derive(Debug)]
struct Connection {
    devnet: Devnet,
    events: broadcast::Receiver<Event>,
    subscriptions: BTreeMap<U128, Kind>,
    /// Notifications that are due before the next answer.
    due: Vec<String>,
    /// Events were overwritten before they could be reported.
    lost: bool,
}

#[derive(Serialize)]
struct Notification<'a, T> {
    jsonrpc: &'static str,
    method: &'static str,
    params: NotificationParams<'a, T>,
}

#[derive(Serialize)]
struct NotificationParams<'a, T> {
    subscription: U128,
    result: &'a T,
}

/// Serves the connection until it closes or the server stops.
pub(crate) async fn run(devnet: Devnet, mut socket: WebSocket, shutdown: CancellationToken) {
    let events = devnet.events();
    let mut connection = Connection { devnet, events, subscriptions: BTreeMap::new(), due: Vec::new(), lost: false };
    let mut computing: JoinSet<Reply> = JoinSet::new();
    loop {
        let send = tokio::select! {
            () = shutdown.cancelled() => {
                close(&mut socket, close_code::AWAY, "the development chain stops").await;
                return;
            }
            message = socket.recv(), if computing.len() < COMPUTING_MAX => match message {
                Some(Ok(Message::Text(text))) if is_computation(text.as_bytes()) => {
                    let mut handler = Plain(connection.devnet.clone());
                    computing.spawn(async move { jsonrpc::handle(&mut handler, text.as_bytes()).await });
                    continue;
                }
                Some(Ok(message)) => connection.on_message(message).await,
                Some(Err(_)) | None => return,
            },
            Some(reply) = computing.join_next() => match reply {
                Ok(reply) => connection.answer(reply),
                Err(_) => return,
            },
            event = connection.events.recv() => match event {
                Ok(event) => Some(connection.on_event(&event)),
                // Nobody subscribed to what was lost.
                Err(RecvError::Lagged(_)) if connection.subscriptions.is_empty() => continue,
                Err(RecvError::Lagged(_)) => {
                    // Going on would hide a gap from the client; a new connection makes it look again.
                    close(&mut socket, close_code::POLICY, "the client reads too slowly").await;
                    return;
                }
                Err(RecvError::Closed) => return,
            },
        };
        let Some(texts) = send.filter(|_| !connection.lost) else { return };
        for text in texts {
            if socket.send(Message::Text(text.into())).await.is_err() {
                return;
            }
        }
    }
}

async fn close(socket: &mut WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code, reason: reason.into() };
    // The peer may be gone already.
    let _ = socket.send(Message::Close(Some(frame))).await;
}

impl Connection {
    /// Texts to send, or `None` to close.
    async fn on_message(&mut self, message: Message) -> Option<Vec<String>> {
        let body = match message {
            Message::Text(text) => axum::body::Bytes::from(text),
            Message::Binary(data) => data,
            Message::Close(_) => return None,
            Message::Ping(_) | Message::Pong(_) => return Some(Vec::new()),
        };
        let reply = jsonrpc::handle(self, &body).await;
        self.answer(reply)
    }

    fn answer(&mut self, reply: Reply) -> Option<Vec<String>> {
        match reply {
            Reply::Text(text) => {
                let mut texts = std::mem::take(&mut self.due);
                texts.push(text);
                Some(texts)
            }
            Reply::Nothing => Some(std::mem::take(&mut self.due)),
            // A status has no place in an open connection; the nearest thing is to close it.
            Reply::HttpStatus { .. } | Reply::Disconnect => None,
        }
    }

    fn on_event(&self, event: &Event) -> Vec<String> {
        let mut texts = Vec::new();
        for (id, kind) in &self.subscriptions {
            match (kind, event) {
                (Kind::Heads, Event::Added(blocks)) => {
                    texts.extend(blocks.iter().map(|block| notification(*id, &format::header(block))));
                }
                (Kind::Logs(filter), event) => {
                    texts.extend(control::event_logs(event, filter).iter().map(|log| notification(*id, log)));
                }
                (Kind::Pending { full: false }, Event::Pending(tx)) => texts.push(notification(*id, &tx.hash)),
                (Kind::Pending { full: true }, Event::Pending(tx)) => {
                    texts.push(notification(*id, &format::waiting(tx, Some(self.devnet.base_fee()))));
                }
                _ => {}
            }
        }
        texts
    }

    fn subscribe(&mut self, params: Value) -> Outcome {
        let mut params = Params::new(params)?;
        let name: String = params.required(0)?;
        let options = params.value(1);
        let kind = match (name.as_str(), options) {
            ("newHeads", _) => Kind::Heads,
            ("logs", None) => Kind::Logs(Box::default()),
            ("logs", Some(Value::Bool(_))) => {
                return Err(JsonRpcError::invalid_params("Expected params for logs subscription"));
            }
            ("logs", Some(filter)) => Kind::Logs(Box::new(from_value(filter)?)),
            ("newPendingTransactions", None) => Kind::Pending { full: false },
            ("newPendingTransactions", Some(Value::Bool(full))) => Kind::Pending { full },
            ("newPendingTransactions", Some(_)) => {
                return Err(JsonRpcError::invalid_params("Expected boolean parameter for newPendingTransactions"));
            }
            ("syncing", _) => return Err(JsonRpcError::internal("Not implemented")),
            (other, _) => return Err(JsonRpcError::invalid_params(format!("unknown subscription `{other}`"))),
        };
        self.report_earlier_events();
        let number = SUBSCRIPTIONS.fetch_add(1, Ordering::Relaxed);
        let digest = keccak256([b"subscription".as_slice(), &number.to_be_bytes()].concat());
        let id = U128::from_be_slice(digest.get(..16).unwrap_or_default());
        self.subscriptions.insert(id, kind);
        reply(&id)
    }

    /// What happened before a new subscription belongs to the older ones only.
    fn report_earlier_events(&mut self) {
        if self.subscriptions.is_empty() {
            self.events = self.events.resubscribe();
            return;
        }
        loop {
            match self.events.try_recv() {
                Ok(event) => {
                    let texts = self.on_event(&event);
                    self.due.extend(texts);
                }
                Err(TryRecvError::Lagged(_)) => self.lost = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn unsubscribe(&mut self, params: Value) -> Outcome {
        let id: String = Params::new(params)?.required(0)?;
        reply(&id.parse().is_ok_and(|id| self.subscriptions.remove(&id).is_some()))
    }
}

impl Handler for Connection {
    async fn call(&mut self, call: &mut Call) -> Answer {
        match call.method.as_str() {
            "eth_subscribe" => Answer::Outcome(self.subscribe(call.params.take())),
            "eth_unsubscribe" => Answer::Outcome(self.unsubscribe(call.params.take())),
            _ => self.devnet.call(&call.method, call.params.take()).await,
        }
    }

    fn devnet(&self) -> &Devnet {
        &self.devnet
    }
}

fn notification<T: Serialize>(subscription: U128, result: &T) -> String {
    let params = NotificationParams { subscription, result };
    serde_json::to_string(&Notification { jsonrpc: "2.0", method: "eth_subscription", params }).unwrap_or_default()
}
