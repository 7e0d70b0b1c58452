//! One call after the other, several at once, failed ones, and none at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use serde_json::Value;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use windlass_node::config::{HttpSection, SecretText};
use windlass_node::openapi::Operation;
use windlass_node::{NodeBuilder, PlainSecrets, RouteRule, Service, ServiceContext, ServiceError, ServiceStatus, Settings};
use windlass_store::{ManualClock, Store};
use windlass_vrf::cloud::{CloudState, Cycle, CycleReport, Trigger, load, notification, save};
use windlass_vrf::config::TriggerConfig;

use super::support::{Cloud, NOW, bearer, claims, clock, config, guarded, sign, store};

/// A relay whose cycles do as they are told.
#[derive(Default)]
struct Fake {
    cycles: AtomicU32,
    at_once: AtomicU32,
    most_at_once: AtomicU32,
    /// So many cycles fail.
    fail: AtomicU32,
    begun: Notify,
    /// Cycles wait for a permit if this is there.
    gate: Option<Semaphore>,
}

#[async_trait]
impl Cycle for Fake {
    async fn run_once(&self) -> Result<CycleReport, String> {
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        self.begun.notify_one();
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        self.cycles.fetch_add(1, Ordering::SeqCst);
        match self.fail.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Err("no endpoint answers".to_owned()),
            Err(_) => Ok(CycleReport { block: 7, ..CycleReport::default() }),
        }
    }
}

struct World {
    cloud: Arc<Cloud>,
    clock: Arc<ManualClock>,
    store: Store,
    fake: Arc<Fake>,
    trigger: Arc<Trigger>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl World {
    async fn start(fake: Fake, config: impl FnOnce(&Cloud) -> TriggerConfig) -> Self {
        let (cloud, clock) = (Cloud::start().await, clock());
        let store = store(clock.clone()).await;
        let config = config(&cloud);
        Self::on(cloud, clock, store, fake, &config)
    }

    fn on(cloud: Arc<Cloud>, clock: Arc<ManualClock>, store: Store, fake: Fake, config: &TriggerConfig) -> Self {
        let fake = Arc::new(fake);
        let trigger = Trigger::new(config, ("vrf.a", "a"), fake.clone(), store.clone()).unwrap();
        let stop = CancellationToken::new();
        let running = {
            let (trigger, stop) = (Arc::clone(&trigger), stop.clone());
            tokio::spawn(async move { trigger.run(None, stop).await.unwrap() })
        };
        Self { cloud, clock, store, fake, trigger, stop, running }
    }

    async fn call(&self) -> (u16, String) {
        call(self.trigger.router()).await
    }

    async fn state(&self) -> CloudState {
        load(&self.store, "vrf.a").await.unwrap()
    }
}

async fn call(router: Router) -> (u16, String) {
    let mut request = Request::builder().method("POST").uri("/").body(Body::from("any \u{0} body")).unwrap();
    request.headers_mut().extend(bearer(&sign(&claims(), "one", "one")));
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn success() -> (u16, String) {
    (200, "Success".to_owned())
}

fn failure() -> (u16, String) {
    (500, "<ASTAR> Error running VRF Worker".to_owned())
}

#[tokio::test]
async fn answers_are_those_of_the_former_worker() {
    let world = World::start(Fake { fail: AtomicU32::new(1), ..Fake::default() }, |cloud| guarded(cloud, "", None)).await;
    assert_eq!(world.call().await, failure());
    assert_eq!(world.call().await, success());
    // Without a token nothing is begun.
    let request = Request::builder().method("POST").uri("/").body(Body::empty()).unwrap();
    assert_eq!(world.trigger.router().oneshot(request).await.unwrap().status(), 401);
    assert_eq!(world.fake.cycles.load(Ordering::SeqCst), 2);
    world.stop.cancel();
    world.running.await.unwrap();
}

#[tokio::test]
async fn there_is_one_cycle_at_a_time_and_who_comes_meanwhile_has_its_outcome() {
    let fake = Fake { gate: Some(Semaphore::new(0)), fail: AtomicU32::new(1), ..Fake::default() };
    let world = World::start(fake, |cloud| guarded(cloud, "", Some(""))).await;
    let first = tokio::spawn(call(world.trigger.router()));
    world.fake.begun.notified().await;
    let others: Vec<_> = (0..5).map(|_| tokio::spawn(call(world.trigger.router()))).collect();
    // Until all of them wait.
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.fake.gate.as_ref().unwrap().add_permits(1);
    assert_eq!(first.await.unwrap(), failure());
    for other in others {
        assert_eq!(other.await.unwrap(), failure());
    }
    assert_eq!((world.fake.cycles.load(Ordering::SeqCst), world.fake.most_at_once.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(world.cloud.tasks().len(), 1, "one cycle makes one task, however many called");
    assert_eq!(world.state().await.failures, 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_changes_nothing() {
    let fake = Fake { gate: Some(Semaphore::new(0)), ..Fake::default() };
    let world = World::start(fake, |cloud| guarded(cloud, "", Some(""))).await;
    let caller = tokio::spawn(call(world.trigger.router()));
    world.fake.begun.notified().await;
    caller.abort();
    let _ = caller.await;
    world.fake.gate.as_ref().unwrap().add_permits(2);
    assert_eq!(world.call().await, success());
    // The first call ended in spite of all, or the second joined it: in either case there is a next task.
    assert!(!world.cloud.tasks().is_empty());
}

#[tokio::test]
async fn failed_cycles_are_counted_and_the_webhook_is_told_once_at_the_third() {
    let cloud = Cloud::start().await;
    let webhook = format!("webhook = \"{}\"", cloud.url("/webhook"));
    let clock = clock();
    let store = store(clock.clone()).await;
    let config = guarded(&cloud, &webhook, Some(""));
    let world = World::on(cloud, clock, store, Fake { fail: AtomicU32::new(5), ..Fake::default() }, &config);
    for (count, told) in [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1)] {
        assert_eq!(world.call().await, failure());
        assert_eq!((world.state().await.failures, world.cloud.requests("/webhook").len()), (count, told));
    }
    let seen = world.cloud.requests("/webhook").remove(0);
    assert_eq!((seen.method.as_str(), seen.header("content-type")), ("POST", "application/json"));
    assert_eq!(seen.body, r#"{"content":"<ASTAR> VRF Worker failed to run multiple times!"}"#);
    assert_eq!(seen.body, notification("ASTAR"));
    assert_eq!(world.call().await, success());
    assert_eq!(world.state().await.failures, 0);
    assert_eq!(world.cloud.tasks().len(), 6, "after success and after failure there is a next task");
    // A new series is told again. That the webhook does not take it does not stop the cycle.
    world.fake.fail.store(3, Ordering::SeqCst);
    world.cloud.script("/webhook", &[500]);
    for _ in 0..3 {
        assert_eq!(world.call().await, failure());
    }
    assert_eq!(world.call().await, success());
    assert_eq!(world.cloud.requests("/webhook").len(), 2);
}

#[tokio::test]
async fn the_count_outlives_the_program() {
    let world = World::start(Fake { fail: AtomicU32::new(2), ..Fake::default() }, |cloud| guarded(cloud, "", None)).await;
    world.call().await;
    world.call().await;
    world.stop.cancel();
    world.running.await.unwrap();
    let config = guarded(&world.cloud, "", None);
    let fake = Fake { fail: AtomicU32::new(1), ..Fake::default() };
    let again = World::on(world.cloud, world.clock, world.store, fake, &config);
    again.call().await;
    assert_eq!(again.state().await.failures, 3);
}

#[tokio::test]
async fn a_cycle_that_takes_too_long_has_failed() {
    let fake = Fake { gate: Some(Semaphore::new(0)), ..Fake::default() };
    let world = World::start(fake, |cloud| guarded(cloud, "cycle_limit = \"1s\"", Some(""))).await;
    assert_eq!(world.call().await, failure());
    assert_eq!((world.state().await.failures, world.cloud.tasks().len()), (1, 1));
}

#[tokio::test]
async fn a_task_that_cannot_be_made_is_a_failure_and_is_made_up_for() {
    let world = World::start(Fake::default(), |cloud| guarded(cloud, "", Some("heal_after = \"10s\""))).await;
    world.cloud.script("/v2/", &[403]);
    assert_eq!(world.call().await, failure());
    let state = world.state().await;
    assert_eq!((state.failures, state.next_due), (1, None));
    assert_eq!(world.cloud.tasks().len(), 1);
    // Somebody calls by hand: then there is a task again.
    assert_eq!(world.call().await, success());
    assert_eq!(world.state().await.next_due, Some(NOW));
}

#[tokio::test]
async fn when_no_call_comes_a_new_task_is_made() {
    let (cloud, clock) = (Cloud::start().await, clock());
    let store = store(clock.clone()).await;
    // A start with a task that was due long ago, and a clock that goes on by itself.
    let stored = CloudState { failures: 1, next_due: Some(NOW) };
    store.write("test", move |tx| Box::pin(async move { save(tx, "vrf.a", &stored).await })).await.unwrap();
    let mut config = guarded(&cloud, "", Some(""));
    config.queue.as_mut().unwrap().heal_after = Duration::from_millis(200);
    let again = World::on(cloud, clock.clone(), store, Fake::default(), &config);
    let ticking = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            clock.advance(Duration::from_millis(20));
        }
    });
    let made = async {
        while again.cloud.tasks().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), made).await.unwrap();
    ticking.abort();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let state = again.state().await;
    assert!(state.next_due.is_some_and(|due| due > NOW) && state.failures == 1, "{state:?}");
}

#[tokio::test]
async fn a_call_too_many_makes_no_second_chain_of_tasks() {
    let world = World::start(Fake::default(), |cloud| guarded(cloud, "", Some("delay = \"60s\""))).await;
    assert_eq!(world.call().await, success());
    assert_eq!(world.call().await, success());
    assert_eq!(world.cloud.tasks().len(), 1, "the first one is still to come");
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.call().await, success());
    assert_eq!(world.cloud.tasks().len(), 2);
}

#[tokio::test]
async fn a_stop_is_no_failure_and_leaves_a_task_behind() {
    let fake = Fake { gate: Some(Semaphore::new(0)), ..Fake::default() };
    let world = World::start(fake, |cloud| guarded(cloud, "", Some(""))).await;
    let caller = tokio::spawn(call(world.trigger.router()));
    world.fake.begun.notified().await;
    world.stop.cancel();
    assert_eq!(caller.await.unwrap(), failure());
    world.running.await.unwrap();
    assert_eq!(world.cloud.tasks().len(), 1);
    assert_eq!(load(&world.store, "vrf.a").await.unwrap(), CloudState { failures: 0, next_due: Some(NOW) });
}

/// The trigger in a service of a node, with all checks of the node before it.
struct Hosted {
    trigger: Arc<Trigger>,
}

#[async_trait]
impl Service for Hosted {
    fn name(&self) -> &str {
        "vrf.a"
    }
    fn kind(&self) -> &'static str {
        "vrf"
    }
    fn root_router(&self) -> Option<Router> {
        Some(self.trigger.router())
    }
    fn route_rules(&self) -> Vec<RouteRule> {
        self.trigger.rules()
    }
    fn operations(&self) -> Vec<Operation> {
        self.trigger.operations()
    }
    async fn status(&self) -> ServiceStatus {
        ServiceStatus::new("vrf.a", "vrf", "working")
    }
    async fn run(self: Arc<Self>, ctx: ServiceContext) -> Result<(), ServiceError> {
        self.trigger.run(None, ctx.shutdown).await.map_err(ServiceError::from)
    }
}

async fn hosted(config: impl FnOnce(&Cloud) -> TriggerConfig) -> (World, Router) {
    let world = World::start(Fake { fail: AtomicU32::new(1), ..Fake::default() }, config).await;
    let http = HttpSection { enabled: false, tokens: vec![SecretText::new("token-of-the-node")], ..HttpSection::default() };
    let settings = Settings { http, ..Settings::default() };
    let builder = NodeBuilder::with_store(settings, world.store.clone(), Arc::new(PlainSecrets)).await.unwrap();
    let node = builder.service(Arc::new(Hosted { trigger: Arc::clone(&world.trigger) })).build().await.unwrap();
    (world, node.router())
}

async fn ask(router: &Router, method: &str, token: Option<&str>) -> (u16, String) {
    let mut request = Request::builder().method(method).uri("/").header("host", "vrf.a.run.app").body(Body::empty()).unwrap();
    if let Some(token) = token {
        request.headers_mut().extend(bearer(token));
    }
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 100_000).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn in_a_node_the_identity_token_opens_the_trigger_and_nothing_else() {
    let (_world, router) = hosted(|cloud| guarded(cloud, "", None)).await;
    let identity = sign(&claims(), "one", "one");
    assert_eq!(ask(&router, "POST", Some(&identity)).await, failure());
    assert_eq!(ask(&router, "POST", Some(&identity)).await, success());
    assert_eq!(ask(&router, "GET", Some(&identity)).await.0, 401, "the dashboard");
    assert_eq!(ask(&router, "GET", Some("token-of-the-node")).await.0, 200);
    for (token, code) in [(None, "identity_required"), (Some("token-of-the-node"), "identity_malformed")] {
        let (status, body) = ask(&router, "POST", token).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, body["code"].as_str()), (401, Some(code)));
        assert!(body["request_id"].as_str().is_some_and(|id| !id.is_empty()));
    }
}

#[tokio::test]
async fn without_an_audience_the_token_of_the_node_opens_it() {
    let (_world, router) = hosted(|cloud| config(cloud, "", None)).await;
    assert_eq!(ask(&router, "POST", None).await.0, 401);
    assert_eq!(ask(&router, "POST", Some("token-of-the-node")).await, failure());
    assert_eq!(ask(&router, "POST", Some("token-of-the-node")).await, success());
}
