//! The service on the development chain: lapse, stop, payment, resume, restart, bad endpoints, bad contracts.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use common::{KEY, Live, Memory, World, eventually};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use windlass_chain::{Answer, Endpoints, Rpc, RpcCall, RpcError};
use windlass_node::alerts::Alerts;
use windlass_node::events::StoredEvent;
use windlass_node::metrics::Metrics;
use windlass_node::{Service, ServiceContext};
use windlass_payer::machine::{ActionKind, Phase, Record};
use windlass_payer::ports::Target;
use windlass_payer::{PayerConfig, PayerService, tables};
use windlass_store::testing::{TestStore, sqlite, stores};

struct Running {
    service: Arc<PayerService>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    alerts: Alerts,
    events: Mutex<(broadcast::Receiver<StoredEvent>, Vec<String>)>,
    _live: Live,
}

impl Running {
    async fn start(world: &World, store: &TestStore, config: PayerConfig, target: Option<Arc<Memory>>) -> Self {
        let target = target.map(|memory| memory as Arc<dyn windlass_payer::ports::Target>);
        let service = PayerService::with_target("test", config, world.endpoints.clone(), store.store.clone(), target);
        Self::run(world, store, service).await
    }

    async fn run(world: &World, store: &TestStore, service: PayerService) -> Self {
        let service = Arc::new(service);
        for set in service.migrations() {
            store.migrate(set).await.unwrap();
        }
        let ctx = ServiceContext::detached("payer.test");
        let (stop, alerts) = (ctx.shutdown.clone(), ctx.alerts.clone());
        let events = Mutex::new((ctx.events.subscribe(), Vec::new()));
        let runs = Arc::clone(&service);
        let task = tokio::spawn(async move { runs.run(ctx).await.unwrap() });
        Self { service, stop, task, alerts, events, _live: world.live() }
    }

    async fn phase(&self) -> Option<Phase> {
        self.service.agreement().await.unwrap().phase
    }

    /// Keys of the alerts that are there now.
    fn alerts(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.alerts.active().into_iter().map(|active| active.alert.key).collect();
        keys.sort();
        keys
    }

    /// Messages of the events of this kind so far.
    fn told(&self, kind: &str) -> Vec<String> {
        let (receiver, seen) = &mut *self.events.lock().unwrap();
        while let Ok(stored) = receiver.try_recv() {
            seen.push(format!("{} {}", stored.kind, stored.message));
        }
        seen.iter().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' ')).map(str::to_owned).collect()
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

fn account(world: &World, more: &str) -> PayerConfig {
    world.config(&format!("{more}[payer.test.account]\nprivate_key = \"{KEY}\"\nconfirmations = 1\n"))
}

#[tokio::test]
async fn the_sender_of_the_account_is_shown() {
    let (world, store) = (World::new().await, sqlite().await);
    world.pay(1_000_000).await;
    let running = Running::start(&world, &store, account(&world, ""), None).await;
    eventually("the outbox is shown", || async { !running.service.status().await.outboxes.is_empty() }).await;
    let status = running.service.status().await;
    let view = &status.outboxes[0];
    assert_eq!((view.chain.as_str(), view.account.as_str()), ("devnet", world.accounts[0].to_string().as_str()));
    assert_eq!(view.counts[0], ("recorded".to_owned(), 0));
    running.end().await;
}

#[tokio::test]
async fn a_key_that_cannot_be_read_hinders_only_the_sender_and_is_tried_again() {
    let (world, store) = (World::new().await, sqlite().await);
    world.pay(1_000_000).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let section = format!("[payer.test.account]\nprivate_key = \"file:{}\"\n", file.display());
    let running = Running::start(&world, &store, world.config(&section), None).await;
    running.reaches(Phase::Paid).await;
    eventually("the reason is shown", || async {
        let status = running.service.status().await;
        status.ready.reasons().iter().any(|reason| reason.starts_with("the account cannot send transactions: "))
    })
    .await;
    assert_eq!(running.health().await.0, StatusCode::OK);
    std::fs::write(&file, KEY).unwrap();
    std::fs::set_permissions(&file, <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600)).unwrap();
    eventually("the outbox is open", || async { !running.service.status().await.outboxes.is_empty() }).await;
    eventually("the reason is gone", || async { running.service.status().await.ready.is_ready() }).await;
    running.end().await;
}

#[tokio::test]
async fn an_agreement_keeps_itself_paid_once_each_time() {
    let (world, store) = (World::new().await, sqlite().await);
    let config = account(&world, "keep_paid = \"1000s\"\nkeep_paid_below = \"400s\"\n");
    let running = Running::start(&world, &store, config, None).await;
    eventually("it is paid", || async { running.told("topped_up").len() == 1 }).await;
    let first = running.total_paid_on(&world).await;
    assert!((10_000..10_600).contains(&first), "{first}");
    world.pass(300);
    world.pass(100);
    eventually("the block was seen", || async { running.sees(&world).await }).await;
    assert_eq!(running.total_paid_on(&world).await, first, "more than 400 s are left");
    world.pass(300);
    eventually("it is paid again", || async { running.told("topped_up").len() == 2 }).await;
    let second = running.total_paid_on(&world).await;
    let ahead = world.start + second / common::RATE - world.now().await;
    assert!((900..=1_000).contains(&ahead), "paid {ahead} s ahead");
    let view = &running.service.status().await.outboxes[0];
    assert_eq!(view.counts.iter().find(|(state, _)| state == "final"), Some(&("final".to_owned(), 4)), "{view:?}");
    assert_eq!(running.alerts(), ["expiring_3600", "expiring_soon"]);
    running.end().await;
}

#[tokio::test]
async fn a_payment_above_the_limit_is_an_alert_until_somebody_pays() {
    let (world, store) = (World::new().await, sqlite().await);
    let config = account(&world, "keep_paid = \"1000s\"\nkeep_paid_max_amount = \"9999\"\n");
    let running = Running::start(&world, &store, config, None).await;
    eventually("the alert", || async { running.alerts().contains(&"keep_paid_failed".to_owned()) }).await;
    assert!(running.told("top_up_failed")[0].contains("more than the limit of 9999"));
    assert_eq!(running.total_paid_on(&world).await, 0);
    world.pay(1_000_000).await;
    eventually("the alert is over", || async { !running.alerts().contains(&"keep_paid_failed".to_owned()) }).await;
    running.end().await;
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_pay_and_pays_nothing() {
    let (world, store) = (World::new().await, sqlite().await);
    let config = account(&world, "keep_paid = \"1000s\"\ndry_run = true\n");
    let running = Running::start(&world, &store, config, None).await;
    eventually("it is said", || async { !running.told("would_top_up").is_empty() }).await;
    world.pass(1);
    world.pass(1);
    eventually("the block was seen", || async { running.sees(&world).await }).await;
    assert_eq!((running.told("would_top_up").len(), running.total_paid_on(&world).await), (1, 0));
    running.end().await;
}

impl Running {
    async fn total_paid_on(&self, world: &World) -> u64 {
        let data = alloy_sol_types::SolCall::abi_encode(&windlass_contracts::KeyperPayer::totalPaidCall {});
        let head = world.endpoints.head().await.unwrap();
        let answer = world.endpoints.call(world.contract, data, head.hash).await.unwrap();
        u64::try_from(alloy_primitives::U256::from_be_slice(&answer)).unwrap()
    }

    /// Whether the newest block was observed.
    async fn sees(&self, world: &World) -> bool {
        let height = world.devnet.height();
        self.service.agreement().await.unwrap().seen.is_some_and(|seen| seen.observation.block.number + 1 >= height)
    }
}

#[tokio::test]
async fn alerts_are_raised_and_resolved_with_the_states() {
    let (world, store) = (World::new().await, sqlite().await);
    world.pay(100_000).await;
    let memory = Arc::new(Memory::default());
    let config = PayerConfig { grace: std::time::Duration::from_secs(5_000), ..resuming(&world) };
    let running = Running::start(&world, &store, config, Some(memory.clone())).await;
    running.reaches(Phase::Paid).await;
    assert_eq!(running.alerts(), Vec::<String>::new());
    world.pass(9_000);
    running.reaches(Phase::ExpiringSoon).await;
    assert_eq!(running.alerts(), ["expiring_3600", "expiring_soon"]);
    world.pass(2_000);
    running.reaches(Phase::Grace).await;
    assert_eq!(running.alerts(), ["grace"]);
    world.pass(5_000);
    running.reaches(Phase::Stopped).await;
    assert_eq!(running.alerts(), ["stopped"]);
    let severity = running.alerts.active()[0].alert.severity;
    assert_eq!(severity.as_str(), "critical");
    world.pay(500_000).await;
    running.reaches(Phase::Paid).await;
    assert_eq!(running.alerts(), Vec::<String>::new());
    running.end().await;
}

#[tokio::test]
async fn the_metrics_have_their_names() {
    let metrics = Metrics::install().unwrap();
    let (world, store) = (World::new().await, sqlite().await);
    let running = Running::start(&world, &store, world.config(""), Some(Arc::new(Memory::default()))).await;
    world.pass(500);
    running.reaches(Phase::Stopped).await;
    let page = metrics.render();
    let mut missing = Vec::new();
    for line in [
        "payer_paid_until_seconds{agreement=\"test\"} ",
        "payer_seconds_left{agreement=\"test\"} ",
        "payer_total_paid{agreement=\"test\"} ",
        "payer_owed{agreement=\"test\"} ",
        "payer_deficit{agreement=\"test\"} ",
        "payer_held_minus_owed{agreement=\"test\"} ",
        "payer_last_observation_age_seconds{agreement=\"test\"} ",
        "payer_phase{agreement=\"test\",phase=\"stopped\"} ",
        "payer_paid{agreement=\"test\"} ",
        "payer_action_failing{agreement=\"test\"} ",
        "payer_actions_total{agreement=\"test\",action=\"stop\",result=\"verified\"} ",
        "payer_transitions_total{agreement=\"test\",to=\"stopped\"} ",
        "payer_observations_total{agreement=\"test\",result=\"ok\"} ",
    ] {
        if !page.lines().any(|shown| shown.starts_with(line)) {
            missing.push(line);
        }
    }
    assert!(missing.is_empty(), "{missing:?} in\n{page}");
    running.end().await;
}

/// An endpoint that tells the truth, but says "paid" when it is asked to confirm the contrary.
struct Flatterer {
    devnet: windlass_devnet_evm::Devnet,
    name: &'static str,
    flatters: bool,
}

impl Flatterer {
    async fn truth(&self, method: &str, params: Value) -> Result<Answer, RpcError> {
        match self.devnet.request(method, params).await {
            Ok(value) => Answer::of(&value),
            Err(error) => Err(RpcError::Response { code: error.code, message: error.message, data: None }),
        }
    }
}

#[async_trait::async_trait]
impl Rpc for Flatterer {
    async fn request(&self, method: &str, params: Value) -> Result<Answer, RpcError> {
        let selector = <windlass_contracts::KeyperPayer::isPaidCall as alloy_sol_types::SolCall>::SELECTOR;
        let asked = params.to_string().contains(&alloy_primitives::hex::encode_prefixed(selector));
        if self.flatters && method == "eth_call" && asked {
            return Answer::of(&json!(alloy_primitives::B256::with_last_byte(1)));
        }
        self.truth(method, params).await
    }

    // The figures of an observation come together.
    async fn batch(&self, calls: Vec<RpcCall>) -> Result<Vec<Result<Answer, RpcError>>, RpcError> {
        let mut answers = Vec::new();
        for call in calls {
            answers.push(self.truth(&call.method, call.params).await);
        }
        Ok(answers)
    }

    fn label(&self) -> &str {
        self.name
    }
}

#[tokio::test]
async fn endpoints_that_contradict_each_other_are_no_reason_to_stop() {
    let (world, store) = (World::new().await, sqlite().await);
    world.pay(1_000).await;
    let rpc = |name, flatters| Arc::new(Flatterer { devnet: world.devnet.clone(), name, flatters }) as Arc<dyn Rpc>;
    let rpcs = vec![rpc("honest.example", false), rpc("flattering.example", true)];
    let endpoints = Endpoints::from_rpcs("devnet", rpcs, store.clock());
    let memory = Arc::new(Memory::default());
    let config = PayerConfig { quorum: 2, ..world.config("") };
    let service =
        PayerService::with_target("test", config, endpoints, store.store.clone(), Some(memory.clone() as Arc<dyn Target>));
    let running = Running::run(&world, &store, service).await;
    running.reaches(Phase::ExpiringSoon).await;
    world.pass(500);
    for _ in 0..3 {
        world.pass(10);
        let height = world.devnet.height();
        eventually("the contradiction is shown", || async {
            let reasons = running.service.status().await.ready.reasons().join(" ");
            world.devnet.height() > height && reasons.contains("endpoints contradict each other")
        })
        .await;
    }
    assert_eq!(running.health().await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert!(memory.runs());
    assert_eq!(memory.stops.load(Ordering::SeqCst), 0);
    running.end().await;
}
