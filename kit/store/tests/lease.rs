//! Leases, fencing, cursors.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use windlass_store::lease::{self, Loss};
use windlass_store::testing::{self, TestStore};
use windlass_store::{
    Backend, Fence, ManualClock, Migration, Migrations, Store, StoreError, StoreOptions, UnixMillis, cursor, params,
};

const TTL: Duration = Duration::from_millis(400);

const TABLES: Migrations = Migrations {
    component: "test",
    steps: &[Migration { number: 1, name: "log", sql: "CREATE TABLE test_log (n BIGINT NOT NULL, who TEXT NOT NULL);" }],
};

/// A store, a second instance on the same database, and the clock that SQLite judges leases by.
struct Pair {
    first: TestStore,
    second: Store,
    clock: Arc<ManualClock>,
}

impl Pair {
    /// Lets a lease of [`TTL`] expire: by the injected clock on SQLite, by the server's own on PostgreSQL.
    async fn expire(&self) {
        self.clock.advance(TTL + Duration::from_millis(1));
        if self.first.backend() == Backend::Postgres {
            tokio::time::sleep(TTL + Duration::from_millis(20)).await;
        }
    }
}

async fn pairs() -> Vec<Pair> {
    let clock = Arc::new(ManualClock::new(UnixMillis(1_000_000)));
    let options = StoreOptions { clock: clock.clone(), ..testing::options() };
    let mut pairs = Vec::new();
    for first in testing::stores_with(options.clone()).await {
        first.migrate(&TABLES).await.unwrap();
        let second = first.open_again(options.clone()).await.unwrap();
        pairs.push(Pair { first, second, clock: clock.clone() });
    }
    pairs
}

async fn log(store: &Store, fence: &Fence, n: i64) -> Result<u64, StoreError> {
    store
        .write_fenced(fence, "log", move |tx| {
            Box::pin(async move { tx.execute("INSERT INTO test_log (n, who) VALUES ($1, 'x')", params![n]).await })
        })
        .await
}

async fn logged(store: &Store) -> Vec<i64> {
    let rows = store.query("SELECT n FROM test_log ORDER BY n", params![]).await.unwrap();
    rows.iter().map(|row| row.get("n").unwrap()).collect()
}

#[tokio::test]
async fn only_one_holder_at_a_time() {
    for pair in pairs().await {
        let held = lease::acquire(&pair.first, "payer", "a", TTL).await.unwrap().unwrap();
        assert_eq!(held.fence(), &Fence { name: "payer".into(), number: 1 });
        assert!(lease::acquire(&pair.second, "payer", "b", TTL).await.unwrap().is_none());
        // Another name is another lease.
        assert!(lease::acquire(&pair.second, "vrf", "b", TTL).await.unwrap().is_some());
        let status = lease::status(&pair.second, "payer").await.unwrap().unwrap();
        assert_eq!((status.holder.as_str(), status.number), ("a", 1));
        assert!(lease::status(&pair.second, "nobody").await.unwrap().is_none());
    }
}

#[tokio::test]
async fn an_expired_lease_is_taken_over_and_the_old_holder_is_fenced() {
    for pair in pairs().await {
        let mut old = lease::acquire(&pair.first, "payer", "a", TTL).await.unwrap().unwrap();
        log(&pair.first, old.fence(), 1).await.unwrap();
        pair.expire().await;
        // Expired and not taken: nobody else acts, so the old holder still may.
        log(&pair.first, old.fence(), 2).await.unwrap();
        let new = lease::acquire(&pair.second, "payer", "b", TTL).await.unwrap().unwrap();
        assert!(new.fence().number > old.fence().number);
        let error = log(&pair.first, old.fence(), 3).await.unwrap_err();
        assert!(matches!(&error, StoreError::Fenced { lease, held: 1, current: 2 } if lease == "payer"), "{error:?}");
        assert!(!lease::renew(&pair.first, &mut old).await.unwrap());
        assert!(lease::acquire(&pair.first, "payer", "a", TTL).await.unwrap().is_none());
        log(&pair.second, new.fence(), 4).await.unwrap();
        assert_eq!(logged(&pair.first).await, [1, 2, 4], "{:?}", pair.first.backend());
    }
}

#[tokio::test]
async fn renewing_keeps_the_number_and_moves_the_expiry() {
    for pair in pairs().await {
        let mut held = lease::acquire(&pair.first, "payer", "a", TTL).await.unwrap().unwrap();
        let before = held.expires_at();
        for _ in 0..3 {
            pair.clock.advance(TTL / 2);
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(lease::renew(&pair.first, &mut held).await.unwrap());
        }
        assert!(held.expires_at() > before);
        assert_eq!(held.fence().number, 1);
        assert!(lease::acquire(&pair.second, "payer", "b", TTL).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_released_lease_is_free_at_once_and_its_fence_is_stale() {
    for pair in pairs().await {
        let held = lease::acquire(&pair.first, "payer", "a", TTL).await.unwrap().unwrap();
        let fence = held.fence().clone();
        lease::release(&pair.first, held).await.unwrap();
        assert!(matches!(log(&pair.first, &fence, 1).await, Err(StoreError::Fenced { held: 1, current: 2, .. })));
        let next = lease::acquire(&pair.second, "payer", "b", TTL).await.unwrap().unwrap();
        assert_eq!(next.fence().number, 3);
    }
}

#[tokio::test]
async fn releasing_a_lost_lease_does_not_disturb_the_new_holder() {
    for pair in pairs().await {
        let old = lease::acquire(&pair.first, "payer", "a", TTL).await.unwrap().unwrap();
        pair.expire().await;
        let new = lease::acquire(&pair.second, "payer", "b", TTL).await.unwrap().unwrap();
        lease::release(&pair.first, old).await.unwrap();
        log(&pair.second, new.fence(), 1).await.unwrap();
    }
}

#[tokio::test]
async fn the_same_holder_gets_a_new_number_and_its_old_fence_is_stale() {
    for pair in pairs().await {
        let before = lease::acquire(&pair.first, "payer", "a", TTL).await.unwrap().unwrap();
        let after = lease::acquire(&pair.first, "payer", "a", TTL).await.unwrap().unwrap();
        assert_eq!(after.fence().number, before.fence().number + 1);
        assert!(matches!(log(&pair.first, before.fence(), 1).await, Err(StoreError::Fenced { .. })));
        log(&pair.first, after.fence(), 2).await.unwrap();
    }
}

#[tokio::test]
async fn a_fence_of_an_unknown_lease_is_refused() {
    for pair in pairs().await {
        let fence = Fence { name: "nobody".into(), number: 1 };
        assert!(matches!(log(&pair.first, &fence, 1).await, Err(StoreError::Fenced { current: 0, .. })));
    }
}

#[tokio::test]
async fn the_fence_is_checked_again_after_a_job_of_the_group_was_rolled_back() {
    for pair in pairs().await {
        let held = lease::acquire(&pair.first, "payer", "a", TTL).await.unwrap().unwrap();
        let (fence, store) = (held.fence(), &pair.first.store);
        let outcomes = futures::future::join_all((0..6).map(|n| async move {
            if n == 2 {
                let failing: Result<u64, StoreError> = store
                    .write_fenced(fence, "fails", |tx| {
                        Box::pin(async move {
                            tx.execute("INSERT INTO test_log (n, who) VALUES (99, 'x')", params![]).await?;
                            Err(StoreError::Closed)
                        })
                    })
                    .await;
                failing
            } else {
                log(store, fence, n).await
            }
        }))
        .await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5);
        assert_eq!(logged(store).await, [0, 1, 3, 4, 5]);
    }
}

/// The heart of fencing: a holder that has passed the check and is then paused cannot commit after a takeover, because
/// there is no takeover while its transaction is open.
#[tokio::test]
async fn a_takeover_waits_for_a_write_that_has_passed_the_check() {
    for pair in pairs().await.into_iter().filter(|pair| pair.first.backend() == Backend::Postgres) {
        let old = lease::acquire(&pair.first, "payer", "a", TTL).await.unwrap().unwrap();
        let (passed, has_passed) = tokio::sync::oneshot::channel();
        let (resume, resumed) = tokio::sync::oneshot::channel::<()>();
        let (store, fence) = (pair.first.store.clone(), old.fence().clone());
        let paused = tokio::spawn(async move {
            store
                .write_fenced(&fence, "paused", move |tx| {
                    Box::pin(async move {
                        passed.send(()).unwrap();
                        resumed.await.unwrap();
                        tx.execute("INSERT INTO test_log (n, who) VALUES (1, 'old')", params![]).await
                    })
                })
                .await
        });
        has_passed.await.unwrap();
        pair.expire().await;
        assert!(lease::acquire(&pair.second, "payer", "b", TTL).await.unwrap().is_none(), "the row is locked");
        resume.send(()).unwrap();
        paused.await.unwrap().unwrap();
        let new = lease::acquire(&pair.second, "payer", "b", TTL).await.unwrap().unwrap();
        log(&pair.second, new.fence(), 2).await.unwrap();
        assert!(matches!(log(&pair.first, old.fence(), 3).await, Err(StoreError::Fenced { .. })));
        assert_eq!(logged(&pair.second).await, [1, 2]);
    }
}

/// A process that stops in the middle of a fenced write (SIGSTOP, a lost network) holds the row of its lease. The server ends
/// its session after a while, the takeover succeeds, and the process can do nothing when it wakes up.
#[tokio::test]
async fn a_holder_that_stops_inside_a_transaction_loses_it() {
    for pair in pairs().await.into_iter().filter(|pair| pair.first.backend() == Backend::Postgres) {
        let old = lease::acquire(&pair.first, "payer", "a", TTL).await.unwrap().unwrap();
        let (passed, has_passed) = tokio::sync::oneshot::channel();
        let (resume, resumed) = tokio::sync::oneshot::channel::<()>();
        let (store, fence) = (pair.first.store.clone(), old.fence().clone());
        let paused = tokio::spawn(async move {
            store
                .write_fenced(&fence, "stopped", move |tx| {
                    Box::pin(async move {
                        tx.execute("INSERT INTO test_log (n, who) VALUES (1, 'old')", params![]).await?;
                        passed.send(()).unwrap();
                        resumed.await.unwrap();
                        Ok::<_, StoreError>(())
                    })
                })
                .await
        });
        has_passed.await.unwrap();
        let start = std::time::Instant::now();
        let new = lease::wait_acquire(&pair.second, "payer", "b", TTL).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "taken over after {:?}", start.elapsed());
        log(&pair.second, new.fence(), 2).await.unwrap();
        resume.send(()).unwrap();
        let error = paused.await.unwrap().unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        assert!(matches!(log(&pair.first, old.fence(), 3).await, Err(StoreError::Fenced { .. })));
        assert_eq!(logged(&pair.second).await, [2], "nothing of the stopped holder was kept");
    }
}

#[tokio::test]
async fn many_instances_race_and_one_wins() {
    for pair in pairs().await {
        for round in 1..=5_u64 {
            let names: Vec<String> = (0..6).map(|n| format!("holder-{n}")).collect();
            let outcomes = futures::future::join_all(names.iter().enumerate().map(|(index, name)| {
                let store = if index % 2 == 0 { &pair.first.store } else { &pair.second };
                lease::acquire(store, "race", name, TTL)
            }))
            .await;
            let winners: Vec<_> = outcomes.into_iter().filter_map(Result::unwrap).collect();
            assert_eq!(winners.len(), 1, "{:?}", pair.first.backend());
            assert_eq!(winners[0].fence().number, round);
            pair.expire().await;
        }
    }
}

#[tokio::test]
async fn the_keeper_renews_until_the_lease_is_taken() {
    for pair in pairs().await {
        let mut held = lease::acquire(&pair.first, "payer", "a", TTL).await.unwrap().unwrap();
        let worked = lease::while_held(&pair.first, &mut held, tokio::time::sleep(TTL * 2)).await;
        worked.unwrap();
        // Takes the lease away under the holder, as an operator or a clock that jumped would.
        let taken = lease::acquire(&pair.second, "payer", "a", TTL).await.unwrap().unwrap();
        let lost = lease::while_held(&pair.first, &mut held, std::future::pending::<()>()).await.unwrap_err();
        assert!(matches!(lost, Loss::Replaced), "{lost:?}");
        assert_eq!(lease::status(&pair.first, "payer").await.unwrap().unwrap().number, taken.fence().number);
    }
}

#[tokio::test]
async fn the_keeper_reports_a_lease_that_it_could_not_renew_in_time() {
    for pair in pairs().await {
        let mut held = lease::acquire(&pair.first, "payer", "a", TTL).await.unwrap().unwrap();
        // A job that hangs stops the writer, as a database that does not answer would.
        let store = pair.first.store.clone();
        let (release, gate) = tokio::sync::oneshot::channel::<()>();
        let hanging = tokio::spawn(async move {
            store
                .write("hang", move |_tx| {
                    Box::pin(async move {
                        let _ = gate.await;
                        Ok::<_, StoreError>(())
                    })
                })
                .await
        });
        let start = std::time::Instant::now();
        let loss = lease::keep(&pair.first, &mut held).await;
        assert!(matches!(loss, Loss::Expired { .. }), "{loss:?}");
        assert!(start.elapsed() < TTL + Duration::from_millis(200), "{:?}", start.elapsed());
        release.send(()).unwrap();
        hanging.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_keeper_notices_that_the_store_was_closed() {
    for pair in pairs().await {
        let mut held = lease::acquire(&pair.first, "payer", "a", TTL).await.unwrap().unwrap();
        pair.first.close().await;
        let loss = lease::keep(&pair.first, &mut held).await;
        assert!(matches!(loss, Loss::StoreEnded(StoreError::Closed)), "{loss:?}");
    }
}

#[tokio::test]
async fn cursors_move_with_the_transaction() {
    for pair in pairs().await {
        let store = &pair.first.store;
        assert_eq!(cursor::get(store, "blocks").await.unwrap(), None);
        store
            .write("cursors", |tx| {
                Box::pin(async move {
                    cursor::set(tx, "blocks", 17_u64).await?;
                    cursor::set(tx, "page", vec![1_u8, 2]).await?;
                    assert_eq!(cursor::get_number(&mut *tx, "blocks").await?, Some(17));
                    cursor::set(tx, "blocks", 18_u64).await
                })
            })
            .await
            .unwrap();
        assert_eq!(cursor::get_number(store, "blocks").await.unwrap(), Some(18));
        assert_eq!(cursor::get(store, "page").await.unwrap(), Some(vec![1, 2]));
        assert!(matches!(cursor::get(store, "blocks").await, Err(StoreError::ColumnType { .. })));
        let failed: Result<(), StoreError> = store
            .write("failing", |tx| {
                Box::pin(async move {
                    cursor::set(tx, "blocks", 99_u64).await?;
                    Err(StoreError::Closed)
                })
            })
            .await;
        assert!(failed.is_err());
        assert_eq!(cursor::get_number(store, "blocks").await.unwrap(), Some(18));
        let text = store.write("text", |tx| Box::pin(async move { cursor::set(tx, "x", "text").await })).await;
        assert!(matches!(text, Err(StoreError::ValueRange { .. })));
        let removed = store.write("remove", |tx| Box::pin(async move { cursor::remove(tx, "page").await })).await;
        assert!(removed.unwrap());
        assert_eq!(cursor::get(store, "page").await.unwrap(), None);
    }
}
