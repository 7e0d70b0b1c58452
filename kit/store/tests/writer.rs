//! The grouping writer: what is committed, what is answered, and when.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use windlass_store::testing::{self, TestStore};
use windlass_store::{CommitHook, HookAction, Migration, Migrations, Store, StoreError, StoreOptions, UnixMillis, Value, params};

const TABLES: Migrations = Migrations {
    component: "test",
    steps: &[Migration {
        number: 1,
        name: "numbers",
        sql: "CREATE TABLE test_number (n BIGINT NOT NULL PRIMARY KEY, note TEXT);",
    }],
};

async fn insert(store: &Store, n: i64) -> Result<u64, StoreError> {
    store
        .write("insert", move |tx| {
            Box::pin(async move { tx.execute("INSERT INTO test_number (n) VALUES ($1)", params![n]).await })
        })
        .await
}

async fn numbers(store: &Store) -> Vec<i64> {
    let rows = store.query("SELECT n FROM test_number ORDER BY n", params![]).await.unwrap();
    rows.iter().map(|row| row.get("n").unwrap()).collect()
}

async fn stores() -> Vec<TestStore> {
    stores_with(testing::options()).await
}

async fn stores_with(options: StoreOptions) -> Vec<TestStore> {
    let stores = testing::stores_with(options).await;
    for store in &stores {
        store.migrate(&TABLES).await.unwrap();
    }
    stores
}

/// Counts commits and remembers the sizes of groups; crashes at a chosen commit.
#[derive(Default)]
struct Recorder {
    groups: Mutex<Vec<Vec<&'static str>>>,
    crash_before: Option<usize>,
    crash_after: Option<usize>,
    commits: AtomicUsize,
}

impl CommitHook for Recorder {
    fn before_commit(&self, jobs: &[&'static str]) -> HookAction {
        let number = self.commits.fetch_add(1, Ordering::SeqCst);
        self.groups.lock().unwrap().push(jobs.to_vec());
        if self.crash_before == Some(number) { HookAction::Crash } else { HookAction::Proceed }
    }

    fn after_commit(&self, _jobs: &[&'static str]) -> HookAction {
        let number = self.commits.load(Ordering::SeqCst) - 1;
        if self.crash_after == Some(number) { HookAction::Crash } else { HookAction::Proceed }
    }
}

fn with_hook(hook: &Arc<Recorder>) -> StoreOptions {
    let hook: Arc<dyn CommitHook> = hook.clone();
    StoreOptions { hook: Some(hook), ..testing::options() }
}

#[tokio::test]
async fn a_write_is_seen_by_reads_after_its_answer() {
    for store in stores().await {
        assert_eq!(insert(&store, 7).await.unwrap(), 1);
        assert_eq!(numbers(&store).await, [7]);
        let changed = store
            .write("update", |tx| Box::pin(async move { tx.execute("UPDATE test_number SET note = $1", params!["seven"]).await }))
            .await;
        assert_eq!(changed.unwrap(), 1, "{:?}", store.backend());
    }
}

#[tokio::test]
async fn waiting_jobs_share_one_commit() {
    let hook = Arc::new(Recorder::default());
    for store in stores_with(with_hook(&hook)).await {
        hook.groups.lock().unwrap().clear();
        // All calls are queued before the writer gets its turn on this single-threaded runtime.
        let outcomes = futures::future::join_all((0..100).map(|n| insert(&store, n))).await;
        assert!(outcomes.iter().all(|outcome| *outcome.as_ref().unwrap() == 1));
        assert_eq!(numbers(&store).await.len(), 100);
        let groups = hook.groups.lock().unwrap().clone();
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [100], "{:?}", store.backend());
    }
}

/// Runs jobs in one group: all are queued before the writer gets its turn on a single-threaded runtime.
async fn in_one_group<T>(jobs: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    futures::future::join_all(jobs).await
}

#[tokio::test]
async fn a_failing_job_is_rolled_back_alone() {
    for store in stores().await {
        let outcomes = in_one_group((0..9).map(|n| {
            let store = &store;
            async move {
                store
                    .write("maybe", move |tx| {
                        Box::pin(async move {
                            tx.execute("INSERT INTO test_number (n) VALUES ($1)", params![n]).await?;
                            match n % 3 {
                                // An error of the job's own, a failed statement, and success.
                                0 => Err(StoreError::Closed),
                                1 => tx.execute("INSERT INTO test_number (n) VALUES ($1)", params![n]).await,
                                _ => Ok(1),
                            }
                        })
                    })
                    .await
            }
        }))
        .await;
        for (n, outcome) in outcomes.iter().enumerate() {
            match n % 3 {
                0 => assert!(matches!(outcome, Err(StoreError::Closed)), "{n}: {outcome:?}"),
                1 => assert!(outcome.as_ref().unwrap_err().is_unique_violation(), "{n}: {outcome:?}"),
                _ => assert!(outcome.is_ok(), "{n}: {outcome:?}"),
            }
        }
        assert_eq!(numbers(&store).await, [2, 5, 8], "{:?}", store.backend());
    }
}

#[tokio::test]
async fn a_group_in_which_all_jobs_fail_leaves_nothing() {
    for store in stores().await {
        let outcomes = in_one_group((0..3).map(|n| {
            store.write("fail", move |tx| {
                Box::pin(async move {
                    tx.execute("INSERT INTO test_number (n) VALUES ($1)", params![n]).await?;
                    Err::<(), _>(StoreError::Closed)
                })
            })
        }))
        .await;
        assert!(outcomes.iter().all(Result::is_err));
        assert!(numbers(&store).await.is_empty());
        insert(&store, 1).await.unwrap();
    }
}

#[tokio::test]
async fn a_job_that_ignores_a_failed_statement_is_rolled_back() {
    for store in stores().await {
        insert(&store, 1).await.unwrap();
        let outcome = store
            .write("ignore", |tx| {
                Box::pin(async move {
                    tx.execute("INSERT INTO test_number (n) VALUES (2)", params![]).await?;
                    let _ = tx.execute("INSERT INTO test_number (n) VALUES (1)", params![]).await;
                    Ok::<_, StoreError>(())
                })
            })
            .await;
        let error = outcome.unwrap_err();
        assert!(matches!(&error, StoreError::FailedStatementIgnored { job: "ignore", .. }), "{error:?}");
        assert_eq!(numbers(&store).await, [1]);
    }
}

#[tokio::test]
async fn a_job_that_panics_is_rolled_back_and_the_writer_goes_on() {
    for store in stores().await {
        let outcome = store
            .write("panic", |tx| {
                Box::pin(async move {
                    tx.execute("INSERT INTO test_number (n) VALUES (1)", params![]).await?;
                    if tx.query("SELECT n FROM test_number", params![]).await?.len() == 1 {
                        panic!("on purpose");
                    }
                    Ok::<_, StoreError>(())
                })
            })
            .await;
        let error = outcome.unwrap_err();
        assert!(matches!(&error, StoreError::JobPanicked { message, .. } if message == "on purpose"), "{error:?}");
        insert(&store, 2).await.unwrap();
        assert_eq!(numbers(&store).await, [2]);
    }
}

#[tokio::test]
async fn a_job_that_hangs_is_ended_and_the_writer_goes_on() {
    let options = StoreOptions { job_time_limit: Some(Duration::from_millis(500)), ..testing::options() };
    for store in stores_with(options).await {
        let outcome = store
            .write("hang", |tx| {
                Box::pin(async move {
                    tx.execute("INSERT INTO test_number (n) VALUES (1)", params![]).await?;
                    std::future::pending::<Result<(), StoreError>>().await
                })
            })
            .await;
        let error = outcome.unwrap_err();
        assert!(matches!(&error, StoreError::JobTimeLimit { job: "hang", .. }), "{error:?}");
        insert(&store, 2).await.unwrap();
        assert_eq!(numbers(&store).await, [2]);
    }
}

#[tokio::test]
async fn a_job_cannot_touch_its_transaction() {
    for store in stores().await {
        for sql in ["COMMIT", "rollback", "SAVEPOINT x", "BEGIN"] {
            let outcome = store.write("control", move |tx| Box::pin(async move { tx.execute(sql, params![]).await })).await;
            let error = outcome.unwrap_err();
            assert!(matches!(error, StoreError::TransactionControl { .. }), "{sql}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_write_inside_a_job_is_refused_instead_of_waiting_for_itself() {
    for store in stores().await {
        let inner = store.store.clone();
        let outcome = store.write("outer", move |_tx| Box::pin(async move { insert(&inner, 1).await })).await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, StoreError::NestedWrite { job: "insert" }), "{error:?}");
    }
}

#[tokio::test]
async fn a_job_runs_although_its_caller_went_away() {
    for store in stores().await {
        {
            let mut call = Box::pin(insert(&store, 1));
            assert!(futures::poll!(call.as_mut()).is_pending());
        }
        insert(&store, 2).await.unwrap();
        assert_eq!(numbers(&store).await, [1, 2]);
    }
}

#[tokio::test]
async fn the_queue_is_bounded_and_callers_wait() {
    let options = StoreOptions { queue_limit: 2, group_limit: 3, ..testing::options() };
    for store in stores_with(options).await {
        let outcomes = futures::future::join_all((0..50).map(|n| insert(&store, n))).await;
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!(numbers(&store).await.len(), 50);
    }
}

#[tokio::test]
async fn close_finishes_what_is_queued() {
    for store in stores().await {
        let mut calls: Vec<_> = (0..20).map(|n| Box::pin(insert(&store, n))).collect();
        for call in &mut calls {
            assert!(futures::poll!(call.as_mut()).is_pending());
        }
        store.close().await;
        for call in calls {
            call.await.unwrap();
        }
        assert!(matches!(insert(&store, 100).await, Err(StoreError::Closed)));
        assert!(matches!(store.query("SELECT 1 AS one", params![]).await, Err(StoreError::Closed)));
        store.close().await;
        let again = store.open_again(testing::options()).await.unwrap();
        assert_eq!(numbers(&again).await.len(), 20);
    }
}

#[tokio::test]
async fn a_crash_before_the_commit_keeps_nothing_and_ends_the_store() {
    for store in stores().await {
        store.close().await;
        // Commit 0 is the check of the store's own migrations when it is opened.
        let hook = Arc::new(Recorder { crash_before: Some(3), ..Recorder::default() });
        let open = store.open_again(with_hook(&hook)).await.unwrap();
        insert(&open, 1).await.unwrap();
        insert(&open, 2).await.unwrap();
        assert!(matches!(insert(&open, 3).await, Err(StoreError::Crashed)));
        assert!(matches!(insert(&open, 4).await, Err(StoreError::Crashed)));
        assert!(matches!(open.query("SELECT 1 AS one", params![]).await, Err(StoreError::Crashed)));
        let again = store.open_again(testing::options()).await.unwrap();
        assert_eq!(numbers(&again).await, [1, 2], "{:?}", store.backend());
    }
}

#[tokio::test]
async fn a_crash_after_the_commit_keeps_everything_and_answers_nobody() {
    for store in stores().await {
        store.close().await;
        let hook = Arc::new(Recorder { crash_after: Some(1), ..Recorder::default() });
        let open = store.open_again(with_hook(&hook)).await.unwrap();
        let outcomes = in_one_group((0..5).map(|n| insert(&open, n))).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(StoreError::Crashed))), "{outcomes:?}");
        let again = store.open_again(testing::options()).await.unwrap();
        assert_eq!(numbers(&again).await, [0, 1, 2, 3, 4], "{:?}", store.backend());
    }
}

#[tokio::test]
async fn the_names_of_failed_jobs_are_not_in_the_commit() {
    let hook = Arc::new(Recorder::default());
    for store in stores_with(with_hook(&hook)).await {
        hook.groups.lock().unwrap().clear();
        let failed: Result<(), StoreError> = store.write("fails", |_tx| Box::pin(async { Err(StoreError::Closed) })).await;
        assert!(failed.is_err());
        assert!(hook.groups.lock().unwrap().is_empty(), "nothing to commit, so no commit");
        insert(&store, 1).await.unwrap();
        assert_eq!(*hook.groups.lock().unwrap(), [["insert"]]);
    }
}

#[tokio::test]
async fn jobs_see_what_earlier_jobs_of_their_group_wrote() {
    for store in stores().await {
        let counts = in_one_group((0..5).map(|n| {
            store.write("count", move |tx| {
                Box::pin(async move {
                    let sql = "INSERT INTO test_number (n) VALUES ($1) RETURNING n";
                    assert_eq!(tx.query(sql, params![n]).await?[0].get::<i64>("n")?, n);
                    let row = tx.query_optional("SELECT count(*) AS c, sum(n) AS s FROM test_number", params![]).await?;
                    let row = row.unwrap();
                    // `sum` has another type on each engine; both are read as an integer.
                    row.get::<i64>("s")?;
                    row.get::<u64>("c")
                })
            })
        }))
        .await;
        let counts: Vec<u64> = counts.into_iter().map(Result::unwrap).collect();
        assert_eq!(counts, [1, 2, 3, 4, 5], "{:?}", store.backend());
    }
}

#[tokio::test]
async fn a_write_through_query_is_refused() {
    for store in stores().await {
        let outcome = store.query("INSERT INTO test_number (n) VALUES (1)", params![]).await;
        assert!(matches!(outcome, Err(StoreError::Sql { .. })), "{outcome:?}");
        assert!(numbers(&store).await.is_empty());
    }
}

#[tokio::test]
async fn a_null_fits_every_column() {
    for store in stores().await {
        for value in [Value::Null, Value::from("text"), Value::from(None::<UnixMillis>)] {
            let expected = value.clone();
            let found = store
                .write("null", move |tx| {
                    Box::pin(async move {
                        tx.execute("DELETE FROM test_number", params![]).await?;
                        tx.execute("INSERT INTO test_number (n, note) VALUES (1, $1)", vec![value]).await?;
                        let row = tx.query_optional("SELECT note FROM test_number", params![]).await?;
                        row.unwrap().get::<Value>("note")
                    })
                })
                .await;
            assert_eq!(found.unwrap(), expected);
        }
    }
}

#[tokio::test]
async fn what_follows_a_commit_runs_once_and_only_after_success() {
    for store in stores().await {
        let ran = Arc::new(AtomicUsize::new(0));
        let outcomes = in_one_group((0..4).map(|n| {
            let (ran, store) = (Arc::clone(&ran), &store);
            async move {
                let count = Arc::clone(&ran);
                let outcome = store
                    .write("effect", move |tx| {
                        Box::pin(async move {
                            tx.after_commit(move || {
                                count.fetch_add(1, Ordering::SeqCst);
                            });
                            assert_eq!(ran.load(Ordering::SeqCst), 0, "not before the commit");
                            // The value 0 is written twice: the second job fails.
                            tx.execute("INSERT INTO test_number (n) VALUES ($1)", params![n / 2]).await
                        })
                    })
                    .await;
                outcome.is_ok()
            }
        }))
        .await;
        assert_eq!(outcomes, [true, false, true, false]);
        assert_eq!(ran.load(Ordering::SeqCst), 2, "{:?}", store.backend());
    }
}

#[tokio::test]
async fn nothing_follows_a_commit_that_crashed() {
    for store in stores().await {
        store.close().await;
        for (crash_before, crash_after) in [(Some(1), None), (None, Some(1))] {
            let hook = Arc::new(Recorder { crash_before, crash_after, ..Recorder::default() });
            let open = store.open_again(with_hook(&hook)).await.unwrap();
            let ran = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&ran);
            let outcome: Result<(), StoreError> = open
                .write("effect", move |tx| {
                    Box::pin(async move {
                        tx.after_commit(move || {
                            count.fetch_add(1, Ordering::SeqCst);
                        });
                        Ok(())
                    })
                })
                .await;
            assert!(matches!(outcome, Err(StoreError::Crashed)));
            assert_eq!(ran.load(Ordering::SeqCst), 0);
        }
    }
}

/// Undoing must never reach back to the job before: its savepoint has another name.
#[tokio::test]
async fn failing_jobs_between_good_ones_take_nothing_with_them() {
    for store in stores().await {
        let outcomes = in_one_group((0..40).map(|n| {
            let store = &store;
            async move {
                store
                    .write("mixed", move |tx| {
                        Box::pin(async move {
                            match n % 5 {
                                // No statement at all, so no savepoint.
                                1 => return Ok(0),
                                // A statement that cannot even be prepared.
                                2 => return tx.execute("INSERT INTO nowhere (n) VALUES ($1)", params![n]).await,
                                // No statement, and an error.
                                3 => return Err(StoreError::Closed),
                                _ => {}
                            }
                            tx.execute("INSERT INTO test_number (n) VALUES ($1)", params![n]).await?;
                            if n % 5 == 4 { Err(StoreError::Closed) } else { Ok(1) }
                        })
                    })
                    .await
            }
        }))
        .await;
        let expected: Vec<i64> = (0..40).filter(|n| n % 5 == 0).collect();
        assert_eq!(numbers(&store).await, expected, "{:?}", store.backend());
        for (n, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome.is_ok(), n % 5 < 2, "{n}: {outcome:?}");
        }
    }
}

/// Runs for a second or more.
const SLOW: &str = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 8000000) \
                    SELECT count(*) AS c FROM c";

#[tokio::test]
async fn a_job_that_abandons_a_statement_is_not_trusted_and_nothing_is_kept() {
    for store in stores().await {
        let abandoning = store.write("abandon", |tx| {
            Box::pin(async move {
                tx.execute("INSERT INTO test_number (n) VALUES (2)", params![]).await?;
                {
                    let mut statement = Box::pin(tx.query(SLOW, params![]));
                    assert!(futures::poll!(statement.as_mut()).is_pending());
                }
                let after = tx.execute("INSERT INTO test_number (n) VALUES (4)", params![]).await;
                assert!(matches!(after, Err(StoreError::StatementAbandoned { job: "abandon" })), "{after:?}");
                Ok::<_, StoreError>(())
            })
        });
        let (before, abandoned, after) = tokio::join!(insert(&store, 1), abandoning, insert(&store, 5));
        assert!(matches!(before, Err(StoreError::StatementAbandoned { job: "abandon" })), "{before:?}");
        assert!(matches!(abandoned, Err(StoreError::StatementAbandoned { .. })), "{abandoned:?}");
        after.unwrap();
        assert_eq!(numbers(&store).await, [5], "{:?}", store.backend());
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_ends_its_group_and_the_writer_goes_on() {
    let options = StoreOptions { job_time_limit: Some(Duration::from_millis(500)), ..testing::options() };
    for store in stores_with(options).await {
        let slow = store.write("slow", |tx| Box::pin(async move { tx.query(SLOW, params![]).await }));
        let (before, slow, after) = tokio::join!(insert(&store, 1), slow, insert(&store, 2));
        assert!(matches!(&before, Err(error @ StoreError::JobTimeLimit { job: "slow", .. }) if error.is_transient()));
        assert!(matches!(slow, Err(StoreError::JobTimeLimit { .. })), "{slow:?}");
        after.unwrap();
        assert_eq!(numbers(&store).await, [2], "{:?}", store.backend());
    }
}
