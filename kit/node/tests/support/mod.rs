//! Services that can be told what to do, and a node around them.

#![allow(dead_code, unreachable_pub)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use axum::routing::{MethodFilter, get, on, post};
use axum::{Json, Router};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use windlass_node::config::HttpSection;
use windlass_node::http::{ApiError, IdempotencyKey};
use windlass_node::openapi::Operation;
use windlass_node::{
    LeaseRequest, Node, NodeBuilder, NodeError, Outcome, PlainSecrets, Readiness, RouteRule, Service, ServiceContext,
    ServiceError, ServiceStatus, Settings,
};
use windlass_store::{Store, StoreOptions};

/// A service for tests.
#[derive(Default)]
pub struct Fake {
    pub name: String,
    pub lease: Option<LeaseRequest>,
    pub reasons: parking_lot::Mutex<Vec<String>>,
    /// How often `run` was called.
    pub runs: AtomicU32,
    /// How many runs are under way.
    pub acting: AtomicU32,
    /// The first so many runs fail.
    pub fail: AtomicU32,
    /// A stop takes this long.
    pub slow_stop: Duration,
    /// How often `POST /count` was carried out.
    pub counted: Arc<AtomicU32>,
    pub status_hangs: bool,
    pub status_panics: bool,
    /// Rules for routes at the root, each of which answers after a minute.
    pub rules: Vec<RouteRule>,
}

impl Fake {
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

#[async_trait]
impl Service for Fake {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "fake"
    }

    fn router(&self) -> Option<Router> {
        let counted = self.counted.clone();
        let count = move |key: Option<axum::Extension<IdempotencyKey>>, Json(body): Json<Value>| async move {
            let count = counted.fetch_add(1, Ordering::SeqCst) + 1;
            match body.get("fail").and_then(Value::as_bool) {
                Some(true) => Err(ApiError::internal()),
                _ => Ok(Json(json!({"count": count, "key": key.map(|key| key.0.0)}))),
            }
        };
        let slow = || async {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            "done"
        };
        Some(
            Router::new()
                .route("/count", post(count))
                .route("/slow", get(slow))
                .route(
                    "/panic",
                    get(|| async {
                        if true {
                            panic!("a handler fell over")
                        }
                    }),
                )
                .route("/refuse", get(|| async { ApiError::conflict("not_now", "busy").hint("wait") })),
        )
    }

    fn root_router(&self) -> Option<Router> {
        let handler = || async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            "done"
        };
        let mut router = Router::new();
        for rule in &self.rules {
            router = router.route(&rule.path, on(MethodFilter::try_from(rule.method.clone()).unwrap(), handler));
        }
        (!self.rules.is_empty()).then_some(router)
    }

    fn route_rules(&self) -> Vec<RouteRule> {
        self.rules.clone()
    }

    fn health_router(&self) -> Option<Router> {
        Some(
            Router::new()
                .route(&format!("/{}", self.instance()), get(|| async { (axum::http::StatusCode::PAYMENT_REQUIRED, "unpaid") })),
        )
    }

    fn operations(&self) -> Vec<Operation> {
        let object = json!({"type": "object"});
        vec![
            Operation::post("/count", "Counts.").body(object.clone()).answer(200, "The count.", object.clone()),
            Operation::get("/slow", "Takes long.").answer(200, "Done.", object.clone()),
            Operation::get("/panic", "Falls over.").answer(200, "Never.", object.clone()),
            Operation::get("/refuse", "Refuses.").answer(200, "Never.", object.clone()),
            Operation::get(format!("/health/{}", self.instance()), "Whether it is paid.")
                .at_root()
                .open()
                .answer(402, "Unpaid.", object),
        ]
    }

    fn lease(&self) -> Option<LeaseRequest> {
        self.lease.clone()
    }

    async fn status(&self) -> ServiceStatus {
        if self.status_hangs {
            std::future::pending::<()>().await;
        }
        assert!(!self.status_panics, "no status today");
        let mut status = ServiceStatus::new("", "", "working");
        status.ready = Readiness::from_reasons(self.reasons.lock().clone());
        status
    }

    async fn run(self: Arc<Self>, ctx: ServiceContext) -> Result<(), ServiceError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        if self.fail.load(Ordering::SeqCst) > 0 {
            self.fail.fetch_sub(1, Ordering::SeqCst);
            return Err(ServiceError::msg("no luck today").with_hint("try tomorrow"));
        }
        self.acting.fetch_add(1, Ordering::SeqCst);
        ctx.shutdown.cancelled().await;
        tokio::time::sleep(self.slow_stop).await;
        self.acting.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

pub async fn memory() -> Store {
    Store::open_with("sqlite::memory:", StoreOptions::default()).await.unwrap()
}

pub fn settings() -> Settings {
    let http = HttpSection { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..HttpSection::default() };
    let mut settings = Settings { http, version: "0.0.0-test".to_owned(), ..Settings::default() };
    settings.node.name = Some("node-a".to_owned());
    settings
}

pub async fn node(settings: Settings, store: Store, services: Vec<Arc<Fake>>) -> Result<Node, NodeError> {
    let mut builder = NodeBuilder::with_store(settings, store, Arc::new(PlainSecrets)).await?;
    for service in services {
        builder = builder.service(service);
    }
    builder.build().await
}

/// A node that runs in a task of the test.
pub struct Running {
    pub router: Router,
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub task: tokio::task::JoinHandle<Result<Outcome, NodeError>>,
}

impl Running {
    pub async fn start(node: Node) -> Self {
        let (router, address, stop) = (node.router(), node.address().unwrap(), node.shutdown_token());
        let task = tokio::spawn(node.run_until(std::future::pending()));
        Self { router, address, stop, task }
    }

    pub async fn stop(self) -> Result<Outcome, NodeError> {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub async fn of(response: Response<Body>) -> Self {
        let status = response.status().as_u16();
        let headers =
            response.headers().iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Self { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }
}

/// Sends a request through all layers, from a client at 127.0.0.1.
pub async fn send(router: &Router, mut request: Request<Body>) -> Answer {
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5_000))));
    Answer::of(router.clone().oneshot(request).await.unwrap()).await
}

pub async fn fetch(router: &Router, path: &str) -> Answer {
    send(router, Request::get(path).header("host", "localhost:9464").body(Body::empty()).unwrap()).await
}

/// Waits until a condition holds; for things that happen in other tasks of the real clock.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited 10 s in vain: {what}");
}
