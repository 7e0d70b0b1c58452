//! Nodes that answer as a test tells them to: one over gRPC, one over HTTP.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Bytes;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use prost::bytes::{Buf, BufMut};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status};
use url::Url;
use windlass_node::config::SecretUrl;

/// What a node does with one question.
#[derive(Clone)]
pub(super) enum Reply {
    /// Answers with these bytes.
    Bytes(Vec<u8>),
    /// Answers with these bytes and the height in the header.
    At(u64, Vec<u8>),
    /// Fails.
    Fails(Code, &'static str),
    /// Fails, and asks to be left alone for so many milliseconds.
    Busy(u64),
    /// Never answers.
    Silent,
}

pub(super) fn message(message: impl prost::Message) -> Reply {
    Reply::Bytes(message.encode_to_vec())
}

type Answers = Arc<Mutex<HashMap<&'static str, VecDeque<Reply>>>>;
type Questions = Arc<Mutex<Vec<(String, Bytes)>>>;

/// A node over gRPC without TLS. Each path has its answers; the last one is repeated. Unknown paths are not implemented.
pub(super) struct GrpcServer {
    address: SocketAddr,
    answers: Answers,
    questions: Questions,
    task: JoinHandle<()>,
}

impl GrpcServer {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answers, questions) = (Answers::default(), Questions::default());
        let router = Router::new().fallback(answer_grpc).with_state((answers.clone(), questions.clone()));
        let serving = Server::builder().add_routes(Routes::from(router)).serve_with_incoming(TcpIncoming::from(listener));
        let task = tokio::spawn(async move { serving.await.unwrap() });
        Self { address, answers, questions, task }
    }

    pub(super) fn url(&self) -> Url {
        format!("http://{}", self.address).parse().unwrap()
    }

    /// What is answered from now on.
    pub(super) fn on(&self, path: &'static str, replies: impl IntoIterator<Item = Reply>) -> &Self {
        self.answers.lock().insert(path, replies.into_iter().collect());
        self
    }

    /// How often a path was asked.
    pub(super) fn asked(&self, path: &str) -> usize {
        self.questions.lock().iter().filter(|(asked, _)| asked == path).count()
    }

    /// The last question that a path was asked.
    pub(super) fn last<Q: prost::Message + Default>(&self, path: &str) -> Q {
        let questions = self.questions.lock();
        let (_, bytes) = questions.iter().rfind(|(asked, _)| asked == path).unwrap();
        Q::decode(bytes.as_ref()).unwrap()
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn answer_grpc(State((answers, questions)): State<(Answers, Questions)>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let reply = {
        let mut answers = answers.lock();
        let queue = answers.get_mut(path.as_str());
        queue.and_then(|queue| if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() })
    };
    let reply = reply.unwrap_or(Reply::Fails(Code::Unimplemented, "unknown service"));
    let respond = tower::service_fn(move |question: tonic::Request<Bytes>| {
        questions.lock().push((path.clone(), question.into_inner()));
        let reply = reply.clone();
        async move { give(reply).await }
    });
    let request = request.map(tonic::body::Body::new);
    tonic::server::Grpc::new(RawCodec).unary(respond, request).await.map(Body::new)
}

async fn give(reply: Reply) -> Result<tonic::Response<Bytes>, Status> {
    match reply {
        Reply::Bytes(bytes) => Ok(tonic::Response::new(bytes.into())),
        Reply::At(height, bytes) => {
            let mut response = tonic::Response::new(bytes.into());
            response.metadata_mut().insert("x-cosmos-block-height", height.to_string().parse().unwrap());
            Ok(response)
        }
        Reply::Fails(code, text) => Err(Status::new(code, text)),
        Reply::Busy(ms) => {
            let mut status = Status::new(Code::ResourceExhausted, "slow down");
            status.metadata_mut().insert("grpc-retry-pushback-ms", ms.to_string().parse().unwrap());
            Err(status)
        }
        Reply::Silent => std::future::pending().await,
    }
}

/// Messages as they are, so that a test can send what is none.
#[derive(Clone, Copy, Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length).into()))
    }
}

/// One HTTP question: path with query, and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) body: String,
}

/// One HTTP answer.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    status: u16,
    body: String,
    headers: Vec<(&'static str, String)>,
    pause: Option<Duration>,
}

impl Answered {
    pub(super) fn ok(body: impl ToString) -> Self {
        Self::status(200, body)
    }

    pub(super) fn status(status: u16, body: impl ToString) -> Self {
        Self { status, body: body.to_string(), headers: Vec::new(), pause: None }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(super) fn after(mut self, pause: Duration) -> Self {
        self.pause = Some(pause);
        self
    }

    /// A result of CometBFT RPC.
    pub(super) fn result(result: &serde_json::Value) -> Self {
        Self::ok(serde_json::json!({ "jsonrpc": "2.0", "id": -1, "result": result }))
    }

    /// A failure of CometBFT RPC.
    pub(super) fn problem(data: &str) -> Self {
        let error = serde_json::json!({ "code": -32603, "message": "Internal error", "data": data });
        Self::status(500, serde_json::json!({ "jsonrpc": "2.0", "id": -1, "error": error }))
    }
}

type Handler = Arc<Mutex<Box<dyn FnMut(&Asked) -> Answered + Send>>>;

/// A node over HTTP, with one function for all its answers.
pub(super) struct HttpServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl HttpServer {
    pub(super) async fn start(answer: impl FnMut(&Asked) -> Answered + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let handler: Handler = Arc::new(Mutex::new(Box::new(answer)));
        let router = Router::new().fallback(answer_http).with_state((handler, asked.clone()));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, asked, task }
    }

    pub(super) fn url(&self) -> SecretUrl {
        self.below("")
    }

    /// A URL with more than the host.
    pub(super) fn below(&self, rest: &str) -> SecretUrl {
        SecretUrl::new(format!("http://{}{rest}", self.address).parse().unwrap())
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.path).collect()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer_http(State((handler, log)): State<(Handler, Arc<Mutex<Vec<Asked>>>)>, request: Request) -> Response {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let asked = Asked { path, body: String::from_utf8_lossy(&body).into_owned() };
    let answered = (handler.lock())(&asked);
    log.lock().push(asked);
    if let Some(pause) = answered.pause {
        tokio::time::sleep(pause).await;
    }
    let mut response = (axum::http::StatusCode::from_u16(answered.status).unwrap(), answered.body).into_response();
    for (name, value) in answered.headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

/// A port that nobody listens on.
pub(super) async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
