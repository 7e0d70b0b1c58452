//! The Docker client against an engine that answers as a real one does: paths, status codes, chunked bodies.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use windlass_payer::actions::{Limits, carry_out};
use windlass_payer::machine::{ActionKind, ActionOutcome};
use windlass_payer::ports::docker::{Docker, DockerHost, DockerTarget};
use windlass_payer::ports::{Target, TargetError};

#[derive(Default)]
struct Engine {
    running: bool,
    restarting: bool,
    /// Status and message of the next change instead of doing it.
    refuse: Option<(u16, &'static str)>,
    /// Answers success but does nothing.
    deaf: bool,
    calls: Vec<String>,
}

type Shared = Arc<Mutex<Engine>>;

fn chunked(text: String) -> Response {
    // A body of unknown length goes out in chunks, as the engine's inspections do.
    let (first, second) = text.split_at(text.len() / 2);
    let parts = [first.to_owned(), second.to_owned()].map(|part| Ok::<_, std::io::Error>(Bytes::from(part)));
    ([("content-type", "application/json")], Body::from_stream(futures::stream::iter(parts))).into_response()
}

async fn inspect(State(engine): State<Shared>, Path(name): Path<String>) -> Response {
    let mut engine = engine.lock().unwrap();
    engine.calls.push(format!("inspect {name}"));
    if name != "keyper" {
        return (StatusCode::NOT_FOUND, json!({ "message": format!("No such container: {name}") }).to_string()).into_response();
    }
    let status = if engine.running { "running" } else { "exited" };
    chunked(
        json!({ "Id": "8dfafdbc3a40", "Name": "/keyper", "State": { "Status": status, "Running": engine.running,
            "Restarting": engine.restarting, "ExitCode": 0 }, "HostConfig": { "RestartPolicy": { "Name": "always" } } })
        .to_string(),
    )
}

async fn change(engine: Shared, verb: &str, name: String, query: Option<String>, running: bool) -> Response {
    let mut engine = engine.lock().unwrap();
    engine.calls.push(format!("{verb} {name} {}", query.unwrap_or_default()).trim().to_owned());
    if let Some((status, message)) = engine.refuse.take() {
        let body = json!({ "message": message }).to_string();
        return (StatusCode::from_u16(status).unwrap(), body).into_response();
    }
    if name != "keyper" {
        return (StatusCode::NOT_FOUND, json!({ "message": format!("No such container: {name}") }).to_string()).into_response();
    }
    if engine.running == running {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    if !engine.deaf {
        engine.running = running;
    }
    StatusCode::NO_CONTENT.into_response()
}

async fn serve(engine: Shared) -> (Docker, tempfile::TempDir) {
    let stop = |State(engine): State<Shared>, Path(name): Path<String>, RawQuery(query): RawQuery| {
        change(engine, "stop", name, query, false)
    };
    let start = |State(engine): State<Shared>, Path(name): Path<String>, RawQuery(query): RawQuery| {
        change(engine, "start", name, query, true)
    };
    let list = || async {
        chunked(
            json!([
                { "Id": "1", "Names": ["/shutter-keyper-1"], "Labels": { "com.docker.compose.service": "keyper", "com.docker.compose.project": "shutter" } },
                { "Id": "2", "Names": ["/postgres"], "Labels": {} },
                { "Id": "3", "Names": ["/keyper"], "Labels": {} }
            ])
            .to_string(),
        )
    };
    let router = Router::new()
        .route("/containers/json", get(list))
        .route("/containers/{name}/json", get(inspect))
        .route("/containers/{name}/stop", post(stop))
        .route("/containers/{name}/start", post(start))
        .with_state(engine);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Docker::new(DockerHost::Unix(path), Duration::from_secs(5)), folder)
}

fn engine(running: bool) -> Shared {
    Arc::new(Mutex::new(Engine { running, ..Engine::default() }))
}

fn target(docker: Docker) -> DockerTarget {
    DockerTarget { docker, container: "keyper".into(), patience: Duration::from_secs(3) }
}

fn limits() -> Limits {
    Limits {
        act: Duration::from_secs(5),
        verify: Duration::from_millis(300),
        look_every: Duration::from_millis(20),
        settle: Duration::ZERO,
    }
}

#[tokio::test]
async fn inspects_a_chunked_answer() {
    let (docker, _folder) = serve(engine(true)).await;
    let found = docker.inspect("keyper").await.unwrap();
    assert_eq!((found.running, found.status.as_str(), found.restart_policy.as_str()), (true, "running", "always"));
}

#[tokio::test]
async fn stops_and_starts_and_verifies() {
    let shared = engine(true);
    let (docker, _folder) = serve(shared.clone()).await;
    let target = target(docker);
    let stopped = carry_out(&target, ActionKind::Stop, limits(), false).await;
    assert!(matches!(stopped, ActionOutcome::Verified { .. }), "{stopped:?}");
    assert!(!shared.lock().unwrap().running);
    assert!(shared.lock().unwrap().calls.contains(&"stop keyper t=3".to_owned()));
    let started = carry_out(&target, ActionKind::Resume, limits(), false).await;
    assert!(matches!(started, ActionOutcome::Verified { .. }), "{started:?}");
    assert!(shared.lock().unwrap().running);
}

#[tokio::test]
async fn a_stopped_container_is_left_alone_and_304_is_success() {
    let shared = engine(false);
    let (docker, _folder) = serve(shared.clone()).await;
    docker.stop("keyper", Duration::from_secs(1)).await.unwrap();
    let again = carry_out(&target(docker), ActionKind::Stop, limits(), false).await;
    assert!(matches!(again, ActionOutcome::Verified { .. }));
    assert_eq!(shared.lock().unwrap().calls.iter().filter(|call| call.starts_with("stop")).count(), 1);
}

#[tokio::test]
async fn a_container_that_is_about_to_be_restarted_counts_as_running() {
    let shared = engine(false);
    shared.lock().unwrap().restarting = true;
    let (docker, _folder) = serve(shared).await;
    assert_eq!(target(docker).running().await.unwrap(), Some(true));
}

#[tokio::test]
async fn a_wrong_name_is_answered_with_near_names_and_the_remedy() {
    let (docker, _folder) = serve(engine(true)).await;
    let error = docker.stop("Keyper", Duration::from_secs(1)).await.unwrap_err();
    let TargetError::NotFound { near, .. } = &error else { panic!("{error}") };
    assert_eq!(near, &["keyper", "shutter-keyper-1"]);
    let text = error.report();
    assert!(text.contains("container \"Keyper\" was not found; there are: keyper, shutter-keyper-1"), "{text}");
    assert!(text.contains("container_name"), "{text}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn refusals_are_told_with_the_engines_words() {
    for (status, transient) in [(409, true), (500, true), (403, false)] {
        let shared = engine(true);
        shared.lock().unwrap().refuse = Some((status, "cannot stop container: it is being removed"));
        let (docker, _folder) = serve(shared).await;
        let error = docker.stop("keyper", Duration::from_secs(1)).await.unwrap_err();
        assert!(error.to_string().contains("it is being removed"), "{error}");
        assert_eq!(error.is_transient(), transient, "{status}");
    }
}

#[tokio::test]
async fn a_success_that_changed_nothing_is_a_failure() {
    let shared = engine(true);
    shared.lock().unwrap().deaf = true;
    let (docker, _folder) = serve(shared).await;
    let outcome = carry_out(&target(docker), ActionKind::Stop, limits(), false).await;
    let ActionOutcome::Failed { detail } = outcome else { panic!("{outcome:?}") };
    assert!(detail.contains("was told to stop") && detail.contains("restart policy"), "{detail}");
}

#[tokio::test]
async fn a_lost_answer_does_not_hide_a_success() {
    // The engine stops the container and then answers 500: the state counts.
    let shared = engine(true);
    let (docker, _folder) = serve(shared.clone()).await;
    let target = target(docker);
    {
        let mut engine = shared.lock().unwrap();
        engine.refuse = Some((500, "i/o timeout"));
    }
    let watcher = shared.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let mut engine = watcher.lock().unwrap();
            if engine.calls.iter().any(|call| call.starts_with("stop")) {
                engine.running = false;
                return;
            }
        }
    });
    let outcome = carry_out(&target, ActionKind::Stop, limits(), false).await;
    assert!(matches!(outcome, ActionOutcome::Verified { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_missing_socket_is_told_with_a_remedy() {
    let docker = Docker::new(DockerHost::Unix("/nonexistent/docker.sock".into()), Duration::from_secs(1));
    let error = docker.inspect("keyper").await.unwrap_err();
    assert!(error.report().contains("/nonexistent/docker.sock") && error.report().contains("mount"), "{}", error.report());
}

#[tokio::test]
async fn an_engine_that_hangs_or_talks_nonsense_ends_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("silent.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let docker = Docker::new(DockerHost::Unix(path), Duration::from_millis(200));
    let error = docker.inspect("keyper").await.unwrap_err();
    assert!(matches!(error, TargetError::TimedOut { .. }), "{error}");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-OpenSSH_9.6\r\n").await;
        }
    });
    let error = docker.inspect("keyper").await.unwrap_err();
    assert!(
        matches!(error, TargetError::Unreachable { .. } | TargetError::Malformed { .. } | TargetError::TimedOut { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn tcp_works_as_the_socket_does() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/containers/{name}/json", get(inspect)).with_state(engine(true));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let host: DockerHost = format!("tcp://{address}").parse().unwrap();
    assert!(Docker::new(host, Duration::from_secs(5)).inspect("keyper").await.unwrap().running);
}

#[test]
fn addresses_of_engines() {
    assert_eq!("unix:///run/docker.sock".parse(), Ok(DockerHost::Unix("/run/docker.sock".into())));
    assert_eq!("tcp://proxy:2375".parse(), Ok(DockerHost::Tcp("proxy:2375".into())));
    for bad in ["", "/var/run/docker.sock", "unix://docker.sock", "tcp://proxy", "tcp://:2375", "ssh://host", "tcp://proxy:99999"]
    {
        assert!(bad.parse::<DockerHost>().is_err(), "{bad}");
    }
}
