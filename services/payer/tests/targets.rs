//! Targets other than containers: processes, units, HTTP programs, workloads, shell commands.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use windlass_keys::Secret;
use windlass_payer::actions::{Limits, carry_out};
use windlass_payer::machine::{ActionKind, ActionOutcome};
use windlass_payer::ports::command::CommandTarget;
use windlass_payer::ports::http::HttpTarget;
use windlass_payer::ports::kubernetes::{KubernetesTarget, Workload};
use windlass_payer::ports::signal::{PidSource, SignalTarget, is_alive};
use windlass_payer::ports::systemd::SystemdTarget;
use windlass_payer::ports::{Target, TargetError};

const LIMIT: Duration = Duration::from_secs(20);

fn limits() -> Limits {
    Limits { act: LIMIT, verify: Duration::from_secs(2), look_every: Duration::from_millis(20), settle: Duration::ZERO }
}

async fn stop(target: &dyn Target) -> ActionOutcome {
    carry_out(target, ActionKind::Stop, limits(), false).await
}

fn failure(outcome: ActionOutcome) -> String {
    match outcome {
        ActionOutcome::Failed { detail } => detail,
        other @ ActionOutcome::Verified { .. } => panic!("{other:?}"),
    }
}

fn verified(outcome: &ActionOutcome) {
    assert!(matches!(outcome, ActionOutcome::Verified { .. }), "{outcome:?}");
}

// ---- processes ----

fn child(line: &str) -> std::process::Child {
    std::process::Command::new("/bin/sh").args(["-c", line]).spawn().unwrap()
}

async fn reap(mut child: std::process::Child) -> std::process::ExitStatus {
    tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_process_takes_the_signal() {
    let program = child("exec sleep 300");
    let pid = i32::try_from(program.id()).unwrap();
    let target = SignalTarget::new(PidSource::Pid(pid), Signal::SIGTERM, None, None, LIMIT);
    assert_eq!(target.running().await.unwrap(), Some(true));
    verified(&stop(&target).await);
    assert!(!is_alive(pid), "a zombie does not count as alive");
    reap(program).await;
    assert_eq!(target.running().await.unwrap(), Some(false));
    let error = target.start().await.unwrap_err();
    assert!(error.to_string().contains("resume command"), "{error}");
}

#[tokio::test]
async fn a_deaf_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let program = child(&format!("trap '' TERM; touch {}; while :; do sleep 0.1; done", ready.display()));
    while !ready.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let pid = i32::try_from(program.id()).unwrap();
    let file = folder.path().join("pid");
    std::fs::write(&file, format!("{pid}\n")).unwrap();
    let patience = Some(Duration::from_millis(200));
    let target = SignalTarget::new(PidSource::File(file), Signal::SIGTERM, patience, None, LIMIT);
    verified(&stop(&target).await);
    use std::os::unix::process::ExitStatusExt as _;
    assert_eq!(reap(program).await.signal(), Some(9));
}

#[tokio::test]
async fn a_missing_or_bad_pid_file_is_never_a_success() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let target = SignalTarget::new(PidSource::File(file.clone()), Signal::SIGTERM, None, None, LIMIT);
    let detail = failure(stop(&target).await);
    assert!(detail.contains("pid file") && detail.contains("hint"), "{detail}");
    for bad in ["", "abc", "-1", "0", "1", "99999999999"] {
        std::fs::write(&file, bad).unwrap();
        failure(stop(&target).await);
    }
}

// ---- systemd ----

/// A stand-in for systemctl that keeps the state of one unit in a file and logs its arguments.
fn systemctl(folder: &Path, unit_state: &str) -> SystemdTarget {
    let (script, state, log) = (folder.join("systemctl"), folder.join("state"), folder.join("log"));
    std::fs::write(&state, unit_state).unwrap();
    let text = format!(
        "#!/bin/sh\necho \"$@\" >> {log}\ncase \"$1\" in\n\
         stop) if grep -q not-found {state}; then echo 'Unit not loaded.' >&2; exit 5; fi; echo inactive > {state};;\n\
         start) echo active > {state};;\n\
         show) if grep -q not-found {state}; then echo LoadState=not-found; echo ActiveState=inactive;\n\
         else echo LoadState=loaded; echo ActiveState=$(cat {state}); fi;;\nesac\n",
        log = log.display(),
        state = state.display(),
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    SystemdTarget { unit: "keyper.service".into(), user: false, systemctl: script.display().to_string(), limit: LIMIT }
}

#[tokio::test]
async fn a_unit_is_stopped_and_started() {
    let folder = tempfile::tempdir().unwrap();
    let target = systemctl(folder.path(), "active");
    verified(&stop(&target).await);
    verified(&carry_out(&target, ActionKind::Resume, limits(), false).await);
    assert_eq!(target.running().await.unwrap(), Some(true));
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("stop -- keyper.service\n") && log.contains("start -- keyper.service\n"), "{log}");
}

#[tokio::test]
async fn a_misspelt_unit_is_not_taken_for_a_stopped_one() {
    let folder = tempfile::tempdir().unwrap();
    let target = systemctl(folder.path(), "not-found");
    assert!(matches!(target.running().await, Err(TargetError::NotFound { .. })));
    let detail = failure(stop(&target).await);
    assert!(detail.contains("keyper.service") && detail.contains("list-units"), "{detail}");
}

#[tokio::test]
async fn a_unit_that_is_being_restarted_counts_as_running() {
    let folder = tempfile::tempdir().unwrap();
    for (state, running) in [("activating", true), ("deactivating", true), ("failed", false), ("inactive", false)] {
        let target = systemctl(folder.path(), state);
        assert_eq!(target.running().await.unwrap(), Some(running), "{state}");
    }
    let missing = SystemdTarget { systemctl: "/nonexistent/systemctl".into(), ..systemctl(folder.path(), "active") };
    assert!(matches!(missing.running().await, Err(TargetError::Unreachable { .. })));
}

// ---- HTTP ----

struct Keyper {
    read_only: AtomicBool,
    shutdown: tokio::sync::Notify,
    token: Option<&'static str>,
}

async fn shutdown(State(keyper): State<Arc<Keyper>>, headers: HeaderMap) -> StatusCode {
    if keyper.read_only.load(Ordering::SeqCst) {
        return StatusCode::FORBIDDEN;
    }
    let given = headers.get("authorization").and_then(|value| value.to_str().ok());
    if keyper.token.is_some_and(|token| given != Some(token)) {
        return StatusCode::UNAUTHORIZED;
    }
    keyper.shutdown.notify_one();
    StatusCode::OK
}

/// A keyper with the interface of section 4.9 of the protocol; ends on shutdown.
async fn keyper(read_only: bool, token: Option<&'static str>) -> (String, tokio::task::JoinHandle<()>) {
    let keyper = Arc::new(Keyper { read_only: AtomicBool::new(read_only), shutdown: tokio::sync::Notify::new(), token });
    let router = Router::new()
        .route("/v1/shutdown", post(shutdown))
        .route("/v1/ping", get(|| async { "pong" }))
        .with_state(keyper.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        axum::serve(listener, router).with_graceful_shutdown(async move { keyper.shutdown.notified().await }).await.unwrap();
    });
    (address, task)
}

fn http(address: &str, token: Option<&str>) -> HttpTarget {
    let url = |path: &str| format!("{address}{path}").parse().unwrap();
    let token = token.map(|token| Secret::new(token.to_owned()));
    HttpTarget::new(url("/v1/shutdown"), Some(url("/v1/ping")), None, token, Duration::from_secs(5)).unwrap()
}

#[tokio::test]
async fn a_keyper_ends_by_http() {
    let (address, task) = keyper(false, Some("Bearer s3cret")).await;
    let target = http(&address, Some("s3cret"));
    assert_eq!(target.running().await.unwrap(), Some(true));
    verified(&stop(&target).await);
    task.await.unwrap();
    assert_eq!(target.running().await.unwrap(), Some(false));
}

#[tokio::test]
async fn a_read_only_keyper_is_named_with_the_remedy_and_no_secret() {
    let (address, _task) = keyper(true, None).await;
    let detail = failure(stop(&http(&address, Some("s3cret"))).await);
    assert!(detail.contains("403") && detail.contains("HTTPReadOnly"), "{detail}");
    assert!(!detail.contains("s3cret"));
    let (address, _task) = keyper(false, Some("Bearer right")).await;
    let detail = failure(stop(&http(&address, Some("wrong"))).await);
    assert!(detail.contains("401") && detail.contains("token"), "{detail}");
}

// ---- Kubernetes ----

#[tokio::test]
async fn a_workload_is_scaled_to_zero_and_back() {
    let replicas = Arc::new(AtomicU32::new(3));
    let show =
        |replicas: u32| Json(json!({ "kind": "Scale", "spec": { "replicas": replicas }, "status": { "replicas": replicas } }));
    let read = move |State(replicas): State<Arc<AtomicU32>>| async move { show(replicas.load(Ordering::SeqCst)) };
    let patch = move |State(replicas): State<Arc<AtomicU32>>, headers: HeaderMap, body: String| async move {
        assert_eq!(headers["content-type"], "application/merge-patch+json");
        assert_eq!(headers["authorization"], "Bearer tok");
        let body: Value = serde_json::from_str(&body).unwrap();
        let wanted = u32::try_from(body["spec"]["replicas"].as_u64().unwrap()).unwrap();
        replicas.store(wanted, Ordering::SeqCst);
        show(wanted)
    };
    let path = "/apis/apps/v1/namespaces/shutter/deployments/keyper/scale";
    let router = Router::new().route(path, get(read).patch(patch)).with_state(replicas.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "tok\n").unwrap();
    let workload = ("shutter", Workload::Deployment, "keyper");
    let target = KubernetesTarget::new(&api, workload, token.clone(), None, 2, LIMIT).unwrap();
    verified(&stop(&target).await);
    assert_eq!(replicas.load(Ordering::SeqCst), 0);
    verified(&carry_out(&target, ActionKind::Resume, limits(), false).await);
    assert_eq!(replicas.load(Ordering::SeqCst), 2);
    let other = KubernetesTarget::new(&api, ("shutter", Workload::StatefulSet, "keyper"), token, None, 1, LIMIT).unwrap();
    assert!(matches!(other.running().await, Err(TargetError::NotFound { .. })));
}

// ---- commands ----

#[tokio::test]
async fn a_command_is_believed_only_as_far_as_it_can_be_checked() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("runs").display().to_string();
    std::fs::write(&mark, "").unwrap();
    let target = CommandTarget {
        stop: format!("rm -f {mark}"),
        resume: Some(format!("touch {mark}")),
        check: Some(format!("test -e {mark}")),
        limit: LIMIT,
    };
    verified(&stop(&target).await);
    verified(&carry_out(&target, ActionKind::Resume, limits(), false).await);
    let liar = CommandTarget { stop: "true".into(), ..target.clone() };
    assert!(failure(stop(&liar).await).contains("was told to stop"));
    let unchecked = CommandTarget { stop: "echo no >&2; exit 7".into(), check: None, ..target };
    let detail = failure(stop(&unchecked).await);
    assert!(detail.contains("exited with code 7") && detail.contains("no"), "{detail}");
    let blind = CommandTarget { stop: "true".into(), ..unchecked };
    verified(&stop(&blind).await);
}

#[tokio::test]
async fn a_hanging_command_is_ended_by_the_time_limit() {
    let target = CommandTarget { stop: "sleep 300".into(), resume: None, check: None, limit: Duration::from_millis(300) };
    let detail = failure(stop(&target).await);
    assert!(detail.contains("killed"), "{detail}");
}
