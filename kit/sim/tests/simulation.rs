//! The harness itself: it finds what it is there to find, and finds it again.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use windlass_sim::{Actor, Checker, CrashPolicy, Database, Failure, Host, Program, Progress, Simulation, StepError, Violation};
use windlass_store::{Migration, Migrations, Store, StoreError, UnixMillis, params};

const TABLES: Migrations = Migrations {
    component: "sim_test",
    steps: &[Migration {
        number: 1,
        name: "accounts",
        sql: "CREATE TABLE sim_accounts (name TEXT PRIMARY KEY, amount BIGINT NOT NULL)",
    }],
};

/// Moves one unit from one account to another, in one commit or, wrongly, in two.
struct Mover {
    store: Store,
    in_two_commits: bool,
    acknowledged: Arc<AtomicU64>,
}

async fn add(store: &Store, changes: Vec<(&'static str, i64)>) -> Result<(), StepError> {
    let done: Result<(), StoreError> = store
        .write("move", move |tx| {
            Box::pin(async move {
                for (name, amount) in changes {
                    tx.execute(
                        "INSERT INTO sim_accounts (name, amount) VALUES ($1, $2) \
                         ON CONFLICT (name) DO UPDATE SET amount = sim_accounts.amount + excluded.amount",
                        params![name, amount],
                    )
                    .await?;
                }
                Ok(())
            })
        })
        .await;
    done.map_err(StepError::fault)
}

async fn amount(store: &Store, name: &str) -> Result<i64, StepError> {
    let row =
        store.query_optional("SELECT amount FROM sim_accounts WHERE name = $1", params![name]).await.map_err(StepError::fault)?;
    row.map_or(Ok(0), |row| row.get("amount").map_err(StepError::fault))
}

#[async_trait]
impl Actor for Mover {
    fn name(&self) -> &str {
        "mover"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        if self.in_two_commits {
            add(&self.store, vec![("from", -1)]).await?;
            add(&self.store, vec![("to", 1)]).await?;
        } else {
            add(&self.store, vec![("from", -1), ("to", 1)]).await?;
        }
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
        Ok(Progress::Did("moved".to_owned()))
    }
}

struct Moving {
    in_two_commits: bool,
    acknowledged: Arc<AtomicU64>,
}

#[async_trait]
impl Program for Moving {
    fn name(&self) -> &str {
        "moving"
    }

    async fn start(&self, host: &Host) -> Result<Vec<Box<dyn Actor>>, StepError> {
        host.store.migrate(&TABLES).await.map_err(StepError::fault)?;
        let (from, to) = (amount(&host.store, "from").await?, amount(&host.store, "to").await?);
        Violation::unless(from + to == 0, || format!("after a restart: from {from}, to {to}"))?;
        let known = self.acknowledged.load(Ordering::SeqCst);
        Violation::unless(to as u64 >= known, || format!("{known} moves were acknowledged, {to} are there"))?;
        Ok(vec![Box::new(Mover {
            store: host.store.clone(),
            in_two_commits: self.in_two_commits,
            acknowledged: self.acknowledged.clone(),
        })])
    }
}

struct Forever;

#[async_trait]
impl Checker for Forever {
    fn name(&self) -> &str {
        "nothing"
    }

    async fn check(&mut self, _now: UnixMillis) -> Result<(), Violation> {
        Ok(())
    }
}

async fn run(seed: u64, in_two_commits: bool) -> (Simulation, Result<(), Failure>) {
    let mut sim = Simulation::new(seed, Database::sqlite().unwrap(), UnixMillis(0));
    sim.add_checker(Box::new(Forever));
    sim.add_process(Arc::new(Moving { in_two_commits, acknowledged: Arc::default() }));
    sim.set_crashes(Some(CrashPolicy { budget: 10, within_commits: 6, within_broadcasts: 0, down_ms: 0..=500 }));
    let outcome = sim.run(150).await;
    (sim, outcome)
}

#[tokio::test]
async fn crashes_leave_whole_commits() {
    for seed in 0..5 {
        let (sim, outcome) = run(seed, false).await;
        if let Err(failure) = outcome {
            panic!("{failure}");
        }
        assert_eq!(sim.crashes(), 10);
        sim.close().await;
    }
}

#[tokio::test]
async fn a_lost_database_is_an_empty_one() {
    let (mut sim, outcome) = run(0, false).await;
    assert!(outcome.is_ok());
    sim.set_crashes(None);
    sim.lose_database(Database::sqlite().unwrap(), Duration::from_secs(5)).await;
    let trace = sim.trace();
    // The process notices that less is there than was acknowledged, as this one must.
    let failure = sim.run(100).await.unwrap_err();
    assert!(failure.what.contains("moves were acknowledged, 0 are there"), "{failure}");
    assert!(trace.tail(80).contains(&"the database is lost".to_owned()));
    sim.close().await;
}

#[tokio::test]
async fn a_machine_that_forgets_the_transaction_is_found() {
    let mut found = None;
    for seed in 0..5 {
        let (sim, outcome) = run(seed, true).await;
        sim.close().await;
        if let Err(failure) = outcome {
            found = Some((seed, failure));
            break;
        }
    }
    let (seed, failure) = found.expect("a crash between the two commits");
    assert!(failure.what.contains("after a restart"), "{failure}");
    assert!(failure.to_string().ends_with(&format!("reproduce with WINDLASS_SEED={seed}")));
    // The same seed finds the same at the same step.
    let (sim, again) = run(seed, true).await;
    sim.close().await;
    let again = again.unwrap_err();
    assert_eq!((again.step, again.what), (failure.step, failure.what));
    assert_eq!(again.trace, failure.trace);
}
