//! The start guard, run as a process of its own: this test binary calls itself.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use clap::Parser as _;
use common::{World, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use windlass_payer::cli::{Handles, Output, PayerCommand, run};

#[derive(clap::Parser)]
struct Line {
    #[command(subcommand)]
    command: PayerCommand,
}

struct NoHandles;

#[async_trait::async_trait]
impl Handles for NoHandles {
    async fn section(&self, _: Option<&str>) -> Result<(String, windlass_payer::PayerConfig), windlass_payer::PayerError> {
        panic!("no section is needed")
    }

    async fn chain(&self, _: &str) -> Result<windlass_chain::Endpoints, windlass_payer::PayerError> {
        panic!("no chain section is needed")
    }

    async fn store(&self) -> Result<windlass_store::Store, windlass_payer::PayerError> {
        panic!("a guard needs no store")
    }
}

const ARGUMENTS: &str = "WINDLASS_TEST_GUARD_ARGUMENTS";

/// Not a test of its own: the process that the others start.
#[test]
fn guard_process() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let arguments: Vec<String> = serde_json::from_str(&arguments).unwrap();
    let line = Line::parse_from(std::iter::once("payer".to_owned()).chain(arguments));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let code = runtime.block_on(async {
        let (mut stdout, mut stderr) = (std::io::stdout(), std::io::stderr());
        run(line.command, &NoHandles, &mut Output { stdout: &mut stdout, stderr: &mut stderr, json: false }).await
    });
    std::process::exit(code.into());
}

struct Guard {
    process: Child,
    marks: PathBuf,
    _folder: tempfile::TempDir,
}

impl Guard {
    /// Starts a guard around a program that notes its starts, its signals and its process id.
    fn start(options: &[&str], program: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let marks = folder.path().to_owned();
        let script = format!("cd {}; echo $$ > pid; echo start >> log; {program}", marks.display());
        let mut arguments = vec!["guard"];
        arguments.extend(options);
        arguments.extend(["--every", "100ms", "--stop-limit", "1s", "--", "/bin/sh", "-c", &script]);
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "guard_process", "--nocapture"])
            .env(ARGUMENTS, serde_json::to_string(&arguments).unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { process, marks, _folder: folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.marks.join("log")).unwrap_or_default()
    }

    fn runs(&self) -> bool {
        program_runs(&self.marks)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id().unwrap()).unwrap()), signal).unwrap();
    }

    async fn code(mut self) -> Option<i32> {
        tokio::time::timeout(Duration::from_secs(20), self.process.wait()).await.expect("the guard ends").unwrap().code()
    }
}

fn program_runs(marks: &Path) -> bool {
    let pid = std::fs::read_to_string(marks.join("pid")).ok().and_then(|text| text.trim().parse().ok());
    pid.is_some_and(windlass_payer::ports::signal::is_alive)
}

/// A daemon's health endpoint whose answer can be set.
async fn health(status: u16) -> (String, Arc<AtomicU16>) {
    let answer = Arc::new(AtomicU16::new(status));
    let handler =
        |State(answer): State<Arc<AtomicU16>>| async move { StatusCode::from_u16(answer.load(Ordering::SeqCst)).unwrap() };
    let router = Router::new().route("/health/paid/test", get(handler)).with_state(answer.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/health/paid/test", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, answer)
}

const WAITS: &str = "trap 'echo term >> log; exit 0' TERM; trap 'echo usr1 >> log' USR1; while :; do sleep 0.05; done";

#[tokio::test]
async fn starts_when_paid_stops_when_not_and_starts_again() {
    let (url, answer) = health(503).await;
    let guard = Guard::start(&["--health-url", &url], WAITS);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(guard.log(), "", "not started while it cannot be told");
    answer.store(402, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(guard.log(), "", "not started while unpaid");
    answer.store(200, Ordering::SeqCst);
    eventually("it runs", || async { guard.runs() }).await;
    answer.store(503, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(guard.runs(), "not stopped because it cannot be told");
    answer.store(402, Ordering::SeqCst);
    eventually("it stands still", || async { !guard.runs() }).await;
    assert_eq!(guard.log(), "start\nterm\n");
    answer.store(200, Ordering::SeqCst);
    eventually("it runs again", || async { guard.log() == "start\nterm\nstart\n" && guard.runs() }).await;
    guard.signal(Signal::SIGTERM);
    assert_eq!(guard.code().await, Some(0));
}

#[tokio::test]
async fn passes_signals_on_and_the_exit_code_through() {
    let (url, _) = health(200).await;
    let program = "trap 'echo usr1 >> log' USR1; trap 'exit 42' TERM; while :; do sleep 0.05; done";
    let guard = Guard::start(&["--health-url", &url], program);
    eventually("it runs", || async { guard.runs() && guard.log() == "start\n" }).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    guard.signal(Signal::SIGUSR1);
    eventually("the signal arrives", || async { guard.log() == "start\nusr1\n" }).await;
    guard.signal(Signal::SIGTERM);
    assert_eq!(guard.code().await, Some(42));
}

#[tokio::test]
async fn a_program_that_ends_by_itself_ends_the_guard() {
    let (url, _) = health(200).await;
    assert_eq!(Guard::start(&["--health-url", &url], "exit 7").code().await, Some(7));
    assert_eq!(Guard::start(&["--health-url", &url], "kill -9 $$").code().await, Some(137));
}

#[tokio::test]
async fn a_deaf_program_is_killed_with_its_descendants() {
    let (url, answer) = health(200).await;
    let guard = Guard::start(
        &["--health-url", &url],
        "trap '' TERM; sleep 300 & echo $! > child; touch ready; wait; while :; do sleep 0.1; done",
    );
    eventually("it runs", || async { guard.runs() && guard.marks.join("ready").exists() }).await;
    answer.store(402, Ordering::SeqCst);
    eventually("it stands still", || async { !guard.runs() }).await;
    let child: i32 = std::fs::read_to_string(guard.marks.join("child")).unwrap().trim().parse().unwrap();
    eventually("its child too", || async { !windlass_payer::ports::signal::is_alive(child) }).await;
}

#[tokio::test]
async fn a_guard_told_to_end_before_the_start_ends_at_once() {
    let (url, _) = health(402).await;
    let guard = Guard::start(&["--health-url", &url], WAITS);
    tokio::time::sleep(Duration::from_millis(700)).await;
    guard.signal(Signal::SIGTERM);
    assert_eq!(guard.code().await, Some(0));
}

#[tokio::test]
async fn alone_it_asks_the_chain() {
    let world = World::new().await;
    let contract = world.contract.to_string();
    let url = world.server.http_url();
    let options = ["--contract", &contract, "--rpc-url", &url, "--confirm-time", "0s", "--confirm-blocks", "1"];
    world.pass(100);
    let guard = Guard::start(&options, WAITS);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(guard.log(), "", "an unpaid agreement starts nothing");
    world.pay(100_000).await;
    eventually("it runs", || async { guard.runs() }).await;
    world.pass(20_000);
    eventually("it stands still", || async { !guard.runs() }).await;
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_told() {
    let (url, _) = health(200).await;
    let arguments = ["guard", "--health-url", &url, "--every", "100ms", "--", "/nonexistent/keyper"];
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "guard_process", "--nocapture"])
        .env(ARGUMENTS, serde_json::to_string(&arguments).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await
        .unwrap();
    assert_eq!(status.code(), Some(127));
}
