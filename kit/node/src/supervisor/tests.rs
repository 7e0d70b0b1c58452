//! The supervisor on virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const STEADY: Backoff =
    Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(8), reset_after: Duration::from_secs(60), jitter: 0.0 };

fn spawner() -> (TaskSpawner, Arc<Registry>) {
    let registry = Arc::new(Registry::default());
    (TaskSpawner::new("payer.x", registry.clone(), CancellationToken::new()), registry)
}

/// Counts runs; the n-th run does what `act` says.
fn count<Fut>(
    runs: &Arc<AtomicU32>,
    act: impl Fn(u32, CancellationToken) -> Fut + Send + Sync + 'static,
) -> impl FnMut(CancellationToken) -> Fut + Send + 'static {
    let runs = runs.clone();
    move |token| act(runs.fetch_add(1, Ordering::SeqCst) + 1, token)
}

fn state(registry: &Registry) -> TaskState {
    registry.list().first().expect("a task").state.clone()
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_is_started_again_with_growing_pauses() {
    let (tasks, registry) = spawner();
    let starts = Arc::new(Mutex::new(Vec::new()));
    let begin = Instant::now();
    let noted = starts.clone();
    tasks.spawn("t", RestartPolicy::OnFailure(STEADY), move |_| {
        noted.lock().push(begin.elapsed().as_secs());
        async { Err::<(), _>("no luck") }
    });
    tokio::time::sleep(Duration::from_secs(40)).await;
    // Pauses of 1, 2, 4, 8, 8, 8 seconds.
    assert_eq!(*starts.lock(), [0, 1, 3, 7, 15, 23, 31, 39]);
    assert!(matches!(state(&registry), TaskState::BackingOff { failures: 8, pause_ms: 8_000, .. }), "{:?}", state(&registry));
    let reasons = registry.reasons("payer.x");
    assert_eq!(reasons, ["task t failed 8 times in a row and is started again within 8s: no luck"]);
    assert!(registry.reasons("payer.y").is_empty());
    assert!(tasks.stop(Duration::from_secs(1)).await);
    assert!(registry.list().is_empty(), "a stopped task needs no place in the list");
}

#[tokio::test(start_paused = true)]
async fn a_long_good_run_forgets_old_failures() {
    let (tasks, registry) = spawner();
    let runs = Arc::new(AtomicU32::new(0));
    tasks.spawn(
        "t",
        RestartPolicy::OnFailure(STEADY),
        count(&runs, |run, _| async move {
            if run == 4 {
                tokio::time::sleep(Duration::from_secs(61)).await;
            }
            Err::<(), _>("no luck")
        }),
    );
    // Three quick failures, 1 + 2 + 4 s of pauses, 61 s of work, failure.
    tokio::time::sleep(Duration::from_millis(68_500)).await;
    assert!(matches!(state(&registry), TaskState::BackingOff { failures: 1, pause_ms: 1_000, .. }), "{:?}", state(&registry));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_caught_reported_and_followed_by_a_restart() {
    let (tasks, registry) = spawner();
    let runs = Arc::new(AtomicU32::new(0));
    tasks.spawn(
        "t",
        RestartPolicy::OnFailure(STEADY),
        count(&runs, |run, token| async move {
            assert!(run != 1, "invariant {run} does not hold");
            token.cancelled().await;
            Ok::<(), ServiceError>(())
        }),
    );
    settle().await;
    assert!(registry.reasons("payer.x")[0].contains("panicked: invariant 1 does not hold"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(state(&registry), TaskState::Running);
    assert_eq!(registry.list()[0].restarts, 1);
    assert!(registry.reasons("payer.x").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_the_first_await_is_caught_too() {
    let (tasks, registry) = spawner();
    tasks.spawn("t", RestartPolicy::Never, |_| -> std::future::Ready<Result<(), ServiceError>> { panic!("at once") });
    settle().await;
    assert_eq!(state(&registry), TaskState::Failed { error: "panicked: at once".to_owned() });
}

#[tokio::test(start_paused = true)]
async fn policies_and_permanent_errors_decide_about_restarts() {
    let (tasks, registry) = spawner();
    let ended = |policy: RestartPolicy, result: fn() -> Result<(), ServiceError>| {
        let runs = Arc::new(AtomicU32::new(0));
        tasks.spawn("t", policy, count(&runs, move |_, _| async move { result() }));
        runs
    };
    let bad = || Err(ServiceError::msg("no"));
    let cases = [
        (ended(RestartPolicy::Never, || Ok(())), 1),
        (ended(RestartPolicy::Never, bad), 1),
        (ended(RestartPolicy::OnFailure(STEADY), || Ok(())), 1),
        (ended(RestartPolicy::OnFailure(STEADY), || Err(ServiceError::msg("wrong chain").permanent())), 1),
        (ended(RestartPolicy::OnFailure(STEADY), bad), 2),
        (ended(RestartPolicy::Always(STEADY), || Ok(())), 2),
    ];
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for (index, (runs, wanted)) in cases.iter().enumerate() {
        assert_eq!(runs.load(Ordering::SeqCst), *wanted, "case {index}");
    }
    let states: Vec<TaskState> = registry.list().into_iter().map(|task| task.state).collect();
    assert!(states.contains(&TaskState::Failed { error: "wrong chain".to_owned() }), "{states:?}");
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_the_end_but_not_for_ever() {
    let (tasks, registry) = spawner();
    tasks.spawn("slow", RestartPolicy::Never, |token| async move {
        token.cancelled().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok::<(), ServiceError>(())
    });
    tasks.spawn("deaf", RestartPolicy::Never, |_| async move {
        std::future::pending::<()>().await;
        Ok::<(), ServiceError>(())
    });
    settle().await;
    let begin = Instant::now();
    assert!(!tasks.stop(Duration::from_secs(5)).await);
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    assert_eq!(registry.running(""), ["payer.x/deaf"]);
    registry.abort_all();
    assert!(tasks.stop(Duration::from_secs(1)).await);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_pause_at_once() {
    let (tasks, _) = spawner();
    let long = Backoff { initial: Duration::from_secs(600), max: Duration::from_secs(600), ..STEADY };
    let handle = tasks.spawn("t", RestartPolicy::OnFailure(long), |_| async { Err::<(), _>("no luck") });
    settle().await;
    let begin = Instant::now();
    handle.cancel();
    handle.wait().await;
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_tasks_of_a_scope_end_with_it_and_leave_the_others() {
    let (tasks, registry) = spawner();
    let wait = |token: CancellationToken| async move {
        token.cancelled().await;
        Ok::<(), ServiceError>(())
    };
    tasks.spawn("outer", RestartPolicy::on_failure(), wait);
    let scope = tasks.scope();
    scope.spawn("inner", RestartPolicy::on_failure(), wait);
    scope.spawn_once("once", std::future::pending::<Result<(), ServiceError>>());
    settle().await;
    assert_eq!(registry.list().len(), 3);
    assert!(scope.stop(Duration::from_secs(1)).await);
    assert_eq!(registry.running(""), ["payer.x/outer"]);
    assert!(tasks.stop(Duration::from_secs(1)).await);
}

#[test]
fn pauses_double_up_to_their_limit_and_jitter_only_shortens() {
    let pauses: Vec<u64> = (1..=6).map(|failures| STEADY.pause(failures).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 8, 8]);
    assert_eq!(STEADY.pause(u32::MAX), Duration::from_secs(8));
    let jittered = Backoff { jitter: 0.5, ..STEADY };
    for _ in 0..100 {
        let pause = jittered.pause(3);
        assert!((Duration::from_secs(2)..=Duration::from_secs(4)).contains(&pause), "{pause:?}");
    }
}
