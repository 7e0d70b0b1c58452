//! A node as a whole: start, restart of services, leases, stop in order, the dashboard over a connection.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use support::{Fake, Running, fetch, memory, node, settings, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use windlass_node::config::{Schema, Sources};
use windlass_node::{LeaseRequest, Node, NodeBuilder, NodeError, Outcome, PlainSecrets};
use windlass_store::Store;

fn shared(service: Fake) -> Arc<Fake> {
    Arc::new(service)
}

/// Sends one request over a connection and reads until `enough` or the end.
async fn talk(address: SocketAddr, path: &str, enough: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    let mut buffer = [0_u8; 16_384];
    loop {
        match tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.unwrap().unwrap() {
            0 => break,
            count => read.extend_from_slice(&buffer[..count]),
        }
        if !enough.is_empty() && String::from_utf8_lossy(&read).contains(enough) {
            break;
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}

#[tokio::test]
async fn a_node_starts_answers_and_stops_in_order() {
    let service = shared(Fake { slow_stop: Duration::from_millis(50), ..Fake::named("fake.one") });
    let running = Running::start(node(settings(), memory().await, vec![service.clone()]).await.unwrap()).await;
    until("the service runs", || service.acting.load(Ordering::SeqCst) == 1).await;
    let answer = talk(running.address, "/health/ready", "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(running.stop().await.unwrap(), Outcome::Stopped);
    assert_eq!(service.acting.load(Ordering::SeqCst), 0, "the service ended in order");
}

#[tokio::test]
async fn an_idle_node_is_ready_at_once() {
    let begin = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let text = format!("[node]\ndata_dir = {:?}\n[http]\nlisten = \"127.0.0.1:0\"\n", folder.path().join("data"));
    let config = Schema::new().load(&Sources::text("windlass.toml", &text)).unwrap();
    let node = NodeBuilder::open(&config, Arc::new(PlainSecrets)).await.unwrap().build().await.unwrap();
    let running = Running::start(node).await;
    assert!(talk(running.address, "/health/ready", "").await.starts_with("HTTP/1.1 200"));
    // The limit is ten times what it takes, so that a busy machine does not fail it.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(folder.path().join("data/windlass.db").exists());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_failing_service_is_restarted_and_the_reason_shown() {
    let service = shared(Fake { fail: 1.into(), ..Fake::named("fake.one") });
    let running = Running::start(node(settings(), memory().await, vec![service.clone()]).await.unwrap()).await;
    until("the first run has failed", || service.runs.load(Ordering::SeqCst) == 1).await;
    let ready = fetch(&running.router, "/health/ready").await;
    assert_eq!(ready.status, 503);
    let reason = ready.json()["services"]["fake.one"]["reasons"][0].as_str().unwrap().to_owned();
    assert!(reason.starts_with("task run failed 1 time in a row") && reason.ends_with("no luck today"), "{reason}");
    until("the second run goes well", || service.acting.load(Ordering::SeqCst) == 1).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(fetch(&running.router, "/health/ready").await.status, 200);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_that_takes_too_long_names_who_did_not_stop() {
    let mut settings = settings();
    settings.node.shutdown_timeout = Duration::from_millis(500);
    let service = shared(Fake { slow_stop: Duration::from_secs(600), ..Fake::named("fake.slow") });
    let running = Running::start(node(settings, memory().await, vec![service.clone()]).await.unwrap()).await;
    until("the service runs", || service.acting.load(Ordering::SeqCst) == 1).await;
    let begin = Instant::now();
    match running.stop().await.unwrap_err() {
        NodeError::StopTimedOut { tasks, .. } => assert_eq!(tasks, ["fake.slow/run"]),
        other => panic!("{other}"),
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_page_that_is_kept_up_to_date_does_not_hold_up_the_stop() {
    let running = Running::start(node(settings(), memory().await, Vec::new()).await.unwrap()).await;
    let address = running.address;
    let page = tokio::spawn(async move { talk(address, "/live", "").await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begin = Instant::now();
    assert_eq!(running.stop().await.unwrap(), Outcome::Stopped);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert!(page.await.unwrap().contains("event: content"));
}

#[tokio::test]
async fn forcing_ends_everything_at_once() {
    let service = shared(Fake { slow_stop: Duration::from_secs(600), ..Fake::named("fake.slow") });
    let node = node(settings(), memory().await, vec![service]).await.unwrap();
    let stop = node.shutdown_token();
    let force = async move {
        stop.cancel();
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(node.run_until(force).await.unwrap(), Outcome::Forced);
}

/// A node with a service under a lease, on a database of its own handle.
async fn contender(database: &Path, name: &str, ttl: Duration) -> (Arc<Fake>, Running) {
    let lease = LeaseRequest { name: "fake.one".to_owned(), ttl };
    let service = shared(Fake { lease: Some(lease), ..Fake::named("fake.one") });
    let mut settings = settings();
    settings.node.name = Some(name.to_owned());
    let store = Store::open(&format!("sqlite:{}", database.display())).await.unwrap();
    let running = Running::start(node(settings, store, vec![service.clone()]).await.unwrap()).await;
    (service, running)
}

fn acts(service: &Fake) -> bool {
    service.acting.load(Ordering::SeqCst) == 1
}

#[tokio::test]
async fn of_two_nodes_one_acts_and_the_other_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("shared.db");
    let ttl = Duration::from_millis(1_500);
    let (first, first_node) = contender(&database, "node-a", ttl).await;
    until("the first acts", || acts(&first)).await;
    let (second, second_node) = contender(&database, "node-b", ttl).await;
    tokio::time::sleep(ttl * 2).await;
    assert!(acts(&first) && !acts(&second), "only the holder acts, for longer than the lease is long");
    // Whoever stands by is ready to, and says so.
    let ready = fetch(&second_node.router, "/health/ready").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    assert_eq!(ready.json()["services"]["fake.one"]["role"], "standby");
    assert_eq!(fetch(&first_node.router, "/health/ready").await.json()["services"]["fake.one"]["role"], "active");
    // The holder vanishes without a word: the lease is not given back, it runs out.
    let begin = Instant::now();
    first_node.task.abort();
    until("the second acts", || acts(&second)).await;
    assert!(begin.elapsed() < Duration::from_secs(10));
    second_node.stop().await.unwrap();
}

#[tokio::test]
async fn a_stopped_holder_hands_over_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("shared.db");
    // Longer than the test may take: only a lease that is given back can be taken over.
    let ttl = Duration::from_secs(3_600);
    let (first, first_node) = contender(&database, "node-a", ttl).await;
    until("the first acts", || acts(&first)).await;
    let (second, second_node) = contender(&database, "node-b", ttl).await;
    assert_eq!(first_node.stop().await.unwrap(), Outcome::Stopped);
    until("the second acts", || acts(&second)).await;
    assert!(!acts(&first));
    second_node.stop().await.unwrap();
}

#[tokio::test]
async fn two_services_of_one_name_are_refused() {
    let services = vec![shared(Fake::named("fake.one")), shared(Fake::named("fake.one"))];
    let error = node(settings(), memory().await, services).await.unwrap_err();
    assert!(matches!(&error, NodeError::DuplicateService { name } if name == "fake.one"), "{error}");
}

#[tokio::test]
async fn several_services_have_their_own_routes() {
    let services = vec![shared(Fake::named("fake.one")), shared(Fake::named("fake.two"))];
    let node: Node = node(settings(), memory().await, services).await.unwrap();
    for path in ["/health/one", "/health/two"] {
        assert_eq!(fetch(&node.router(), path).await.status, 402, "{path}");
    }
    for path in ["/v1/fake/one/refuse", "/v1/fake/two/refuse"] {
        assert_eq!(fetch(&node.router(), path).await.status, 409, "{path}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_a_clear_error() {
    let first = node(settings(), memory().await, Vec::new()).await.unwrap();
    let mut settings = settings();
    settings.http.listen = first.address().unwrap();
    let error = node(settings, memory().await, Vec::new()).await.unwrap_err();
    assert!(matches!(error, NodeError::Listen { .. }) && error.is_transient());
    assert!(error.hint().unwrap().contains("http.listen"));
}
