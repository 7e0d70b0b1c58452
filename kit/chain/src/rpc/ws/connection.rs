//! The task that owns one WebSocket connection.

use std::collections::HashMap;
use std::time::Duration;

use futures::SinkExt;
use futures::stream::{SplitSink, SplitStream, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::http::Request;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::{LogEvent, QUEUE_MAX, WsRpcOptions, queue_full, shared};
use crate::rpc::envelope::{self, Id, Incoming};
use crate::rpc::{Answer, Redactor, RpcError};
use crate::types::{Header, Log, LogFilter};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Sink = SplitSink<Socket, Message>;
type Reply = oneshot::Sender<Result<Answer, RpcError>>;

/// A connection that is silent for so many ping intervals is given up.
const SILENT_INTERVALS: u32 = 3;

/// What the owner asks of the task.
pub(super) enum Command {
    Request { method: String, params: Value, reply: Reply },
    SubscribeHeads,
    SubscribeLogs { filter: LogFilter, sender: mpsc::Sender<LogEvent> },
}

/// Who waits for an answer.
enum Pending {
    Caller {
        method: String,
        reply: Reply,
    },
    /// The subscription of this number.
    Subscription(u64),
}

enum Topic {
    Heads,
    Logs { filter: LogFilter, sender: mpsc::Sender<LogEvent>, gap: bool },
}

struct Active {
    topic: Topic,
    /// The node's name for it; `None` until it has answered.
    server_id: Option<String>,
}

pub(super) struct Connection {
    request: Request<()>,
    options: WsRpcOptions,
    redactor: Redactor,
    commands: mpsc::Receiver<Command>,
    heads: watch::Sender<Option<Header>>,
    next_id: u64,
    pending: HashMap<u64, Pending>,
    active: HashMap<u64, Active>,
    wants_heads: bool,
}

/// Why serving ended.
enum End {
    /// The owner is gone.
    OwnerGone,
    /// The connection is lost.
    Lost(String),
}

impl Connection {
    pub(super) fn new(
        request: Request<()>,
        options: WsRpcOptions,
        redactor: Redactor,
        commands: mpsc::Receiver<Command>,
        heads: watch::Sender<Option<Header>>,
    ) -> Self {
        let (pending, active) = (HashMap::new(), HashMap::new());
        Self { request, options, redactor, commands, heads, next_id: 1, pending, active, wants_heads: false }
    }

    /// Connects, serves, and connects again, until the owner is gone.
    pub(super) async fn run(mut self) {
        let (pause_min, pause_max) = self.options.reconnect_after;
        let mut pause = pause_min;
        loop {
            let refusal = match self.connect().await {
                Ok(socket) => {
                    let connected_at = Instant::now();
                    let End::Lost(reason) = self.serve(socket).await else { return };
                    let reason = self.redactor.clean(&reason);
                    tracing::debug!(endpoint = self.redactor.label(), reason, "WebSocket connection lost");
                    crate::metrics::reconnected(self.redactor.label());
                    self.connection_lost(&reason);
                    if connected_at.elapsed() > pause_max {
                        pause = pause_min;
                    }
                    RpcError::connect(format!("connection lost: {reason}"))
                }
                Err(error) => error,
            };
            if !self.refuse_for(pause, &refusal).await {
                return;
            }
            pause = (pause * 2).min(pause_max);
        }
    }

    async fn connect(&self) -> Result<Socket, RpcError> {
        let limit = Some(self.options.max_response_bytes);
        let config = WebSocketConfig::default().max_message_size(limit).max_frame_size(limit);
        let connecting = connect_async_with_config(self.request.clone(), Some(config), true);
        match tokio::time::timeout(self.options.timeout, connecting).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(tokio_tungstenite::tungstenite::Error::Http(response))) if response.status().as_u16() == 429 => {
                Err(RpcError::TooManyRequests { retry_after_ms: None })
            }
            Ok(Err(error)) => Err(shared(error)),
            Err(elapsed) => Err(shared(elapsed)),
        }
    }

    /// Between two connections: requests fail at once, subscriptions are remembered. `false` if the owner is gone.
    async fn refuse_for(&mut self, pause: Duration, refusal: &RpcError) -> bool {
        let over = tokio::time::sleep(pause);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return true,
                command = self.commands.recv() => match command {
                    None => return false,
                    Some(Command::Request { reply, .. }) => {
                        // The caller may have given up already.
                        let _ = reply.send(Err(refusal.clone()));
                    }
                    Some(Command::SubscribeHeads) => {
                        self.add_heads();
                    }
                    Some(Command::SubscribeLogs { filter, sender }) => {
                        self.add(Topic::Logs { filter, sender, gap: false });
                    }
                },
            }
        }
    }

    fn connection_lost(&mut self, reason: &str) {
        for (_, pending) in self.pending.drain() {
            if let Pending::Caller { reply, .. } = pending {
                let _ = reply.send(Err(RpcError::Closed { reason: reason.to_owned() }));
            }
        }
        for active in self.active.values_mut() {
            active.server_id = None;
            if let Topic::Logs { sender, gap, .. } = &mut active.topic {
                *gap = sender.try_send(LogEvent::Gap).is_err();
            }
        }
    }

    async fn serve(&mut self, socket: Socket) -> End {
        let (mut sink, mut stream): (Sink, SplitStream<Socket>) = socket.split();
        self.active.retain(|_, active| !matches!(&active.topic, Topic::Logs { sender, .. } if sender.is_closed()));
        let numbers: Vec<u64> = self.active.keys().copied().collect();
        for number in numbers {
            if let Err(end) = self.subscribe(&mut sink, number).await {
                return end;
            }
        }
        let mut ping = tokio::time::interval(self.options.ping_every);
        let mut heard_at = Instant::now();
        loop {
            let step = tokio::select! {
                command = self.commands.recv() => match command {
                    None => Err(End::OwnerGone),
                    Some(command) => self.command(&mut sink, command).await,
                },
                message = stream.next() => {
                    heard_at = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => {
                            self.message(text.as_bytes());
                            Ok(())
                        }
                        Some(Ok(Message::Binary(bytes))) => {
                            self.message(&bytes);
                            Ok(())
                        }
                        Some(Ok(Message::Close(_))) | None => Err(End::Lost("closed by the node".to_owned())),
                        Some(Ok(_)) => Ok(()),
                        Some(Err(error)) => Err(End::Lost(error.to_string())),
                    }
                }
                _ = ping.tick() => {
                    if heard_at.elapsed() > self.options.ping_every * SILENT_INTERVALS {
                        Err(End::Lost("silent".to_owned()))
                    } else {
                        self.tidy(&mut sink).await
                    }
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Now and then: a ping, gaps that could not be told before, and subscriptions that nobody holds any more.
    async fn tidy(&mut self, sink: &mut Sink) -> Result<(), End> {
        let mut abandoned = Vec::new();
        for (number, active) in &mut self.active {
            if let Topic::Logs { sender, gap, .. } = &mut active.topic {
                if sender.is_closed() {
                    abandoned.push(*number);
                } else if *gap {
                    *gap = sender.try_send(LogEvent::Gap).is_err();
                }
            }
        }
        for number in abandoned {
            let server_id = self.active.remove(&number).and_then(|active| active.server_id);
            let id = self.id();
            if let Some(server_id) = server_id
                && let Ok(text) = envelope::encode(id, "eth_unsubscribe", &json!([server_id]))
            {
                self.write(sink, Message::text(text)).await?;
            }
        }
        self.write(sink, Message::Ping(Default::default())).await
    }

    async fn write(&self, sink: &mut Sink, message: Message) -> Result<(), End> {
        match tokio::time::timeout(self.options.timeout, sink.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(End::Lost(error.to_string())),
            Err(_) => Err(End::Lost("the node takes no data".to_owned())),
        }
    }

    async fn command(&mut self, sink: &mut Sink, command: Command) -> Result<(), End> {
        match command {
            Command::Request { method, params, reply } => {
                self.pending.retain(|_, pending| !matches!(pending, Pending::Caller { reply, .. } if reply.is_closed()));
                if self.pending.len() >= QUEUE_MAX {
                    let _ = reply.send(Err(queue_full()));
                    return Ok(());
                }
                let id = self.id();
                match envelope::encode(id, &method, &params) {
                    Ok(text) => {
                        self.pending.insert(id, Pending::Caller { method, reply });
                        self.write(sink, Message::text(text)).await
                    }
                    Err(error) => {
                        let _ = reply.send(Err(error));
                        Ok(())
                    }
                }
            }
            Command::SubscribeHeads => match self.add_heads() {
                Some(number) => self.subscribe(sink, number).await,
                None => Ok(()),
            },
            Command::SubscribeLogs { filter, sender } => {
                let number = self.add(Topic::Logs { filter, sender, gap: false });
                self.subscribe(sink, number).await
            }
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Heads are subscribed to once, however many want them.
    fn add_heads(&mut self) -> Option<u64> {
        if std::mem::replace(&mut self.wants_heads, true) {
            return None;
        }
        Some(self.add(Topic::Heads))
    }

    fn add(&mut self, topic: Topic) -> u64 {
        let number = self.id();
        self.active.insert(number, Active { topic, server_id: None });
        number
    }

    async fn subscribe(&mut self, sink: &mut Sink, number: u64) -> Result<(), End> {
        let params = match self.active.get(&number).map(|active| &active.topic) {
            Some(Topic::Heads) => json!(["newHeads"]),
            Some(Topic::Logs { filter, .. }) => json!(["logs", filter.to_subscription_param()]),
            None => return Ok(()),
        };
        let id = self.id();
        let Ok(text) = envelope::encode(id, "eth_subscribe", &params) else { return Ok(()) };
        self.pending.insert(id, Pending::Subscription(number));
        self.write(sink, Message::text(text)).await
    }

    /// One message of the node. What cannot be understood is left: whoever waits for it has a deadline.
    fn message(&mut self, text: &[u8]) {
        let Ok(incoming) = serde_json::from_slice::<Incoming<'_>>(text) else {
            tracing::debug!(endpoint = self.redactor.label(), "message is not JSON-RPC");
            return;
        };
        if incoming.method.as_deref() == Some("eth_subscription") {
            if let Some(params) = incoming.params {
                self.notification(params);
            }
            return;
        }
        let Some(pending) = incoming.id.as_ref().and_then(Id::number).and_then(|id| self.pending.remove(&id)) else {
            return;
        };
        match pending {
            Pending::Caller { method, reply } => {
                let _ = reply.send(incoming.outcome(&method, &self.redactor));
            }
            Pending::Subscription(number) => {
                let outcome = incoming.outcome("eth_subscribe", &self.redactor);
                let outcome = outcome.and_then(|answer| answer.parse::<String>("eth_subscribe"));
                match (outcome, self.active.get_mut(&number)) {
                    (Ok(id), Some(active)) => active.server_id = Some(id),
                    (Ok(_), None) => {}
                    (Err(error), _) => {
                        tracing::warn!(endpoint = self.redactor.label(), %error, "node refuses a subscription; polling instead");
                    }
                }
            }
        }
    }

    fn notification(&mut self, params: &RawValue) {
        #[derive(Deserialize)]
        struct Params<'a> {
            subscription: String,
            #[serde(borrow)]
            result: &'a RawValue,
        }
        #[derive(Deserialize)]
        struct Flag {
            #[serde(default)]
            removed: bool,
        }
        let Ok(params) = serde_json::from_str::<Params<'_>>(params.get()) else { return };
        let ours = |active: &&mut Active| active.server_id.as_deref() == Some(params.subscription.as_str());
        let Some(active) = self.active.values_mut().find(ours) else { return };
        match &mut active.topic {
            Topic::Heads => {
                if let Ok(header) = serde_json::from_str::<Header>(params.result.get()) {
                    self.heads.send_replace(Some(header));
                }
            }
            Topic::Logs { sender, gap, .. } => {
                if *gap {
                    *gap = sender.try_send(LogEvent::Gap).is_err();
                }
                let log = serde_json::from_str::<Log>(params.result.get());
                let removed = serde_json::from_str::<Flag>(params.result.get()).is_ok_and(|flag| flag.removed);
                let event = match log {
                    Ok(log) if removed => LogEvent::Removed(log),
                    Ok(log) => LogEvent::Added(log),
                    Err(_) => LogEvent::Gap,
                };
                // Full: the subscriber is too slow and learns that it missed something as soon as there is room.
                *gap |= sender.try_send(event).is_err();
            }
        }
    }
}
