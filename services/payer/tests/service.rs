//! The service on the development chain: lapse, stop, payment, resume, restart, bad endpoints, bad contracts.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use common::{Live, Memory, World, eventually};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use windlass_node::{Service, ServiceContext};
use windlass_payer::machine::{ActionKind, Phase, Record};
use windlass_payer::{PayerConfig, PayerService, tables};
use windlass_store::testing::{TestStore, sqlite, stores};

struct Running {
    service: Arc<PayerService>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _live: Live,
}

impl Running {
    async fn start(world: &World, store: &TestStore, config: PayerConfig, target: Option<Arc<Memory>>) -> Self {
        let target = target.map(|memory| memory as Arc<dyn windlass_payer::ports::Target>);
        let service = Arc::new(PayerService::with_target("test", config, world.endpoints.clone(), store.store.clone(), target));
        for set in service.migrations() {
            store.migrate(set).await.unwrap();
        }
        let ctx = ServiceContext::detached("payer.test");
        let stop = ctx.shutdown.clone();
        let runs = Arc::clone(&service);
        let task = tokio::spawn(async move { runs.run(ctx).await.unwrap() });
        Self { service, stop, task, _live: world.live() }
    }

    async fn phase(&self) -> Option<Phase> {
        self.service.agreement().await.unwrap().phase
    }

    async fn reaches(&self, phase: Phase) {
        eventually(&format!("the agreement is {phase}"), || async { self.phase().await == Some(phase) }).await;
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    async fn health(&self) -> (StatusCode, Value) {
        let request = Request::get("/paid/test").body(Body::empty()).unwrap();
        let answer = self.service.health_router().unwrap().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = self.service.router().unwrap().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

/// The target is not one of the configuration, so the rule that it can be started is not asked.
fn resuming(world: &World) -> PayerConfig {
    PayerConfig { resume: true, ..world.config("") }
}

#[tokio::test]
async fn a_lapse_stops_the_program_once_and_a_payment_starts_it_again() {
    for store in stores().await {
        let world = World::new().await;
        world.pay(100_000).await;
        let memory = Arc::new(Memory::default());
        let running = Running::start(&world, &store, resuming(&world), Some(memory.clone())).await;
        running.reaches(Phase::Paid).await;
        assert_eq!(running.health().await.0, StatusCode::OK);
        assert!(running.service.status().await.ready.is_ready());

        world.pass(9_000);
        running.reaches(Phase::ExpiringSoon).await;
        world.pass(2_000);
        running.reaches(Phase::Stopped).await;
        assert!(!memory.runs());
        let (status, body) = running.health().await;
        assert_eq!(status, StatusCode::PAYMENT_REQUIRED);
        assert_eq!(body["status"], "unpaid");
        assert!(body["reasons"][0].as_str().unwrap().starts_with("not paid: "), "{body}");

        world.pass(60);
        world.pay(500_000).await;
        running.reaches(Phase::Paid).await;
        assert!(memory.runs());
        assert_eq!(running.health().await.0, StatusCode::OK);
        assert_eq!((memory.stops.load(Ordering::SeqCst), memory.starts.load(Ordering::SeqCst)), (1, 1));

        let (status, actions) = running.get("/actions").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(actions["actions"].as_array().unwrap().len(), 4, "{actions}");
        running.end().await;
    }
}

#[tokio::test]
async fn a_restart_neither_repeats_the_stop_nor_forgets_it() {
    let (world, store) = (World::new().await, sqlite().await);
    world.pay(1_000).await;
    let memory = Arc::new(Memory::default());
    let running = Running::start(&world, &store, resuming(&world), Some(memory.clone())).await;
    world.pass(500);
    running.reaches(Phase::Stopped).await;
    running.end().await;

    let running = Running::start(&world, &store, resuming(&world), Some(memory.clone())).await;
    running.reaches(Phase::Stopped).await;
    world.pass(10);
    world.pass(10);
    eventually("the new blocks were seen", || async {
        running.service.agreement().await.unwrap().seen.is_some_and(|seen| seen.observation.block.number >= world.devnet.height())
    })
    .await;
    assert_eq!(memory.stops.load(Ordering::SeqCst), 1);
    world.pay(100_000).await;
    running.reaches(Phase::Paid).await;
    assert_eq!(memory.starts.load(Ordering::SeqCst), 1);
    running.end().await;
}

#[tokio::test]
async fn a_stop_that_does_nothing_is_seen_and_retried() {
    let (world, store) = (World::new().await, sqlite().await);
    let memory = Arc::new(Memory::default());
    memory.deaf.store(1, Ordering::SeqCst);
    let config = world.config("verify_limit = \"1s\"\n");
    let running = Running::start(&world, &store, config, Some(memory.clone())).await;
    world.pass(500);
    eventually("the failure is shown", || async { running.service.agreement().await.unwrap().failing_action().is_some() }).await;
    let status = running.service.status().await;
    assert!(status.ready.reasons().iter().any(|reason| reason.contains("stop failed")), "{status:?}");
    running.reaches(Phase::Stopped).await;
    assert_eq!(memory.stops.load(Ordering::SeqCst), 2);
    let entries = tables::actions(&store, "test", 10).await.unwrap();
    assert!(entries.iter().any(|entry| entry.text.contains("FAILED") && entry.text.contains("hint")), "{entries:?}");
    running.end().await;
}

#[tokio::test]
async fn an_unreachable_endpoint_is_no_reason_to_stop() {
    let (world, store) = (World::new().await, sqlite().await);
    world.pay(1_000).await;
    let memory = Arc::new(Memory::default());
    let running = Running::start(&world, &store, world.config(""), Some(memory.clone())).await;
    running.reaches(Phase::ExpiringSoon).await;
    world.server.shutdown().await;
    eventually("it is noticed", || async { running.health().await.0 == StatusCode::SERVICE_UNAVAILABLE }).await;
    let (_, body) = running.health().await;
    assert!(body["reasons"][0].as_str().unwrap().contains("hint"), "{body}");
    assert!(!running.service.status().await.ready.is_ready());
    assert_eq!(running.phase().await, Some(Phase::ExpiringSoon), "the firm state stays");
    assert!(memory.runs());
    running.end().await;
}

#[tokio::test]
async fn wrong_addresses_are_named() {
    let (world, store) = (World::new().await, sqlite().await);
    let mut config = world.config("");
    config.contract = world.accounts[5];
    let running = Running::start(&world, &store, config.clone(), None).await;
    eventually("no code", || async { running.health().await.1["reasons"][0].to_string().contains("no code") }).await;
    running.end().await;

    config.contract = world.token;
    let running = Running::start(&world, &store, config, None).await;
    eventually("foreign", || async { running.health().await.1["reasons"][0].to_string().contains("not a payer contract") }).await;
    assert_eq!(running.health().await.0, StatusCode::SERVICE_UNAVAILABLE);
    running.end().await;
}

#[tokio::test]
async fn a_payment_that_a_reorganisation_takes_back_counts_no_more() {
    let (world, store) = (World::new().await, sqlite().await);
    world.pay(1_000).await;
    let memory = Arc::new(Memory::default());
    let running = Running::start(&world, &store, world.config(""), Some(memory.clone())).await;
    running.reaches(Phase::ExpiringSoon).await;
    let before = world.devnet.height();
    world.pay(1_000_000).await;
    running.reaches(Phase::Paid).await;
    world.devnet.reorg(world.devnet.height() - before);
    world.devnet.mine(1, 1);
    running.reaches(Phase::ExpiringSoon).await;
    let entries = tables::history(&store, "test", 50).await.unwrap();
    assert!(entries.iter().any(|entry| matches!(entry.record, Record::Retracted { .. })), "{entries:?}");
    assert!(memory.runs());
    running.end().await;
}

#[tokio::test]
async fn a_dry_run_only_says_what_it_would_do() {
    let (world, store) = (World::new().await, sqlite().await);
    let memory = Arc::new(Memory::default());
    let running = Running::start(&world, &store, world.config("dry_run = true\n"), Some(memory.clone())).await;
    world.pass(500);
    running.reaches(Phase::Stopped).await;
    assert!(memory.runs());
    assert_eq!(memory.stops.load(Ordering::SeqCst), 0);
    let entries = tables::actions(&store, "test", 10).await.unwrap();
    assert!(entries.iter().any(|entry| entry.text.contains("dry run, nothing was done: would stop the test program")));
    running.end().await;
}

#[tokio::test]
async fn a_program_that_comes_back_is_stopped_again() {
    let (world, store) = (World::new().await, sqlite().await);
    let memory = Arc::new(Memory::default());
    let running = Running::start(&world, &store, world.config("inspect_every = \"1s\"\n"), Some(memory.clone())).await;
    world.pass(500);
    running.reaches(Phase::Stopped).await;
    memory.stopped.store(false, Ordering::SeqCst);
    eventually("it stands still again", || async { !memory.runs() }).await;
    running.reaches(Phase::Stopped).await;
    let entries = tables::history(&store, "test", 50).await.unwrap();
    assert!(entries.iter().any(|entry| matches!(entry.record, Record::TargetCameBack)));
    assert!(entries.iter().any(|entry| matches!(entry.record, Record::ActionStarted { id: 2, kind: ActionKind::Stop, .. })));
    running.end().await;
}

#[tokio::test]
async fn the_interface_quotes_and_lists() {
    let (world, store) = (World::new().await, sqlite().await);
    world.pay(100).await;
    let running = Running::start(&world, &store, world.config(""), None).await;
    running.reaches(Phase::ExpiringSoon).await;
    let until = world.start + 101;
    let (status, quote) = running.get(&format!("/quote?until={until}")).await;
    assert_eq!(status, StatusCode::OK, "{quote}");
    assert_eq!((quote["needed"].as_str(), quote["amount"].as_str()), (Some("910"), Some("910")));
    assert_eq!(running.get("/quote?until=soon").await.0, StatusCode::BAD_REQUEST);
    let (status, payments) = running.get("/payments").await;
    assert_eq!(status, StatusCode::OK, "{payments}");
    assert_eq!(payments["complete"], true);
    let (status, view) = running.get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(view["total_paid"], "100");
    running.end().await;
}
