//! Random histories against simple models. A failure names its seed: `WINDLASS_SEED=<seed>` repeats it,
//! `WINDLASS_SEEDS=<count>` runs more.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use windlass_store::lease::{self, Lease};
use windlass_store::testing::{self, TestStore};
use windlass_store::{CommitHook, HookAction, Migration, Migrations, Store, StoreError, StoreOptions, params};

const TABLES: Migrations = Migrations {
    component: "test",
    steps: &[Migration { number: 1, name: "numbers", sql: "CREATE TABLE test_number (n BIGINT NOT NULL PRIMARY KEY);" }],
};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn seeds(default: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("WINDLASS_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("WINDLASS_SEEDS").unwrap_or(default)).collect(),
    }
}

/// Crashes at a commit that was chosen beforehand.
struct CrashAt {
    left: AtomicU64,
    before: bool,
}

impl CrashAt {
    fn action(&self, before: bool) -> HookAction {
        if before != self.before {
            return HookAction::Proceed;
        }
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left == 0 { HookAction::Crash } else { HookAction::Proceed }
    }
}

impl CommitHook for CrashAt {
    fn before_commit(&self, _jobs: &[&'static str]) -> HookAction {
        self.action(true)
    }

    fn after_commit(&self, _jobs: &[&'static str]) -> HookAction {
        self.action(false)
    }
}

/// What a job does. The numbers that it inserts are its own.
#[derive(Clone, Copy)]
enum Plan {
    Keep,
    Fail,
    Collide,
}

async fn run_job(store: &Store, first: i64, plan: Plan) -> Result<(), StoreError> {
    store
        .write("job", move |tx| {
            Box::pin(async move {
                let sql = "INSERT INTO test_number (n) VALUES ($1)";
                tx.execute(sql, params![first]).await?;
                tx.execute(sql, params![first + 1]).await?;
                match plan {
                    Plan::Keep => Ok(()),
                    Plan::Fail => Err(StoreError::Closed),
                    Plan::Collide => tx.execute(sql, params![first]).await.map(drop),
                }
            })
        })
        .await
}

/// Whatever happens: an answer of `Ok` is in the database, an error other than a crash is not, and a job that got no answer
/// is there whole or not at all.
async fn crash_history(store: &TestStore, seed: u64) {
    let mut random = Random(seed);
    let mut next: i64 = 1;
    let (mut kept, mut refused, mut open): (BTreeSet<i64>, BTreeSet<i64>, BTreeSet<i64>) = Default::default();
    for _ in 0..4 {
        // The first commit belongs to the opening of the store.
        let hook = CrashAt { left: AtomicU64::new(1 + random.below(6)), before: random.below(2) == 0 };
        let options = StoreOptions {
            hook: Some(Arc::new(hook)),
            group_limit: 1 + usize::try_from(random.below(8)).unwrap(),
            ..testing::options()
        };
        let live = store.open_again(options).await.unwrap();
        let jobs = (0..random.below(40)).map(|_| {
            let first = next;
            next += 2;
            let plan = [Plan::Keep, Plan::Keep, Plan::Fail, Plan::Collide][usize::try_from(random.below(4)).unwrap()];
            let live = &live;
            async move { (first, run_job(live, first, plan).await) }
        });
        for (first, outcome) in futures::future::join_all(jobs.collect::<Vec<_>>()).await {
            match outcome {
                Ok(()) => kept.insert(first),
                Err(StoreError::Crashed) => open.insert(first),
                Err(_) => refused.insert(first),
            };
        }
        live.close().await;
        let stored: BTreeSet<i64> = {
            let rows = store.query("SELECT n FROM test_number", params![]).await.unwrap();
            rows.iter().map(|row| row.get("n").unwrap()).collect()
        };
        let at = format!("seed {seed} on {:?}", store.backend());
        for first in &kept {
            assert!(stored.contains(first) && stored.contains(&(first + 1)), "{first} was confirmed and is lost; {at}");
        }
        for first in &refused {
            assert!(!stored.contains(first) && !stored.contains(&(first + 1)), "{first} was refused and is kept; {at}");
        }
        for first in &open {
            assert_eq!(stored.contains(first), stored.contains(&(first + 1)), "{first} is there in part; {at}");
        }
    }
}

#[tokio::test]
async fn random_jobs_survive_random_crashes() {
    for seed in seeds(20) {
        for store in testing::stores().await {
            store.migrate(&TABLES).await.unwrap();
            crash_history(&store, seed).await;
        }
    }
}

/// A lease that never expires during the test, or at once: so the model needs no clock, and holds for PostgreSQL too.
const LONG: Duration = Duration::from_secs(3_600);

struct Model {
    holder: Option<usize>,
    number: u64,
    expired: bool,
}

async fn lease_history(stores: [&Store; 2], seed: u64) {
    let mut random = Random(seed);
    let mut model = Model { holder: None, number: 0, expired: true };
    // Every lease that was ever given out, with the store it was given to.
    let mut given: Vec<(usize, Lease)> = Vec::new();
    let mut next: i64 = 1;
    for step in 0..60 {
        let at = format!("seed {seed} step {step} on {:?}", stores[0].backend());
        let who = usize::try_from(random.below(2)).unwrap();
        let pick = random.below(given.len().max(1) as u64) as usize;
        match random.below(6) {
            0 | 1 => {
                let ttl = if random.below(2) == 0 { LONG } else { Duration::ZERO };
                let free = model.expired || model.holder == Some(who);
                let got = lease::acquire(stores[who], "x", ["a", "b"][who], ttl).await.unwrap();
                assert_eq!(got.is_some(), free, "{at}");
                if let Some(lease) = got {
                    assert!(lease.fence().number > model.number, "the number must grow; {at}");
                    model = Model { holder: Some(who), number: lease.fence().number, expired: ttl.is_zero() };
                    given.push((who, lease));
                }
            }
            2 if !given.is_empty() => {
                let (owner, lease) = &mut given[pick];
                let valid = lease.fence().number == model.number;
                assert_eq!(lease::renew(stores[*owner], lease).await.unwrap(), valid, "{at}");
            }
            3 if !given.is_empty() => {
                let (owner, lease) = &given[pick];
                let valid = lease.fence().number == model.number;
                lease::release(stores[*owner], lease.clone()).await.unwrap();
                if valid {
                    model = Model { holder: None, number: model.number + 1, expired: true };
                }
            }
            _ if !given.is_empty() => {
                let (owner, lease) = &given[pick];
                let valid = lease.fence().number == model.number;
                let n = next;
                next += 1;
                let outcome = stores[*owner]
                    .write_fenced(lease.fence(), "write", move |tx| {
                        Box::pin(async move { tx.execute("INSERT INTO test_number (n) VALUES ($1)", params![n]).await })
                    })
                    .await;
                match outcome {
                    Ok(1) => assert!(valid, "a stale holder has written; {at}"),
                    Err(StoreError::Fenced { current, .. }) => {
                        assert!(!valid, "{at}");
                        assert_eq!(current, model.number, "{at}");
                    }
                    other => panic!("{other:?}; {at}"),
                }
            }
            _ => {}
        }
        if let Some(status) = lease::status(stores[0], "x").await.unwrap() {
            assert_eq!(status.number, model.number, "{at}");
        }
    }
}

#[tokio::test]
async fn random_leases_follow_the_model() {
    for seed in seeds(10) {
        for store in testing::stores().await {
            store.migrate(&TABLES).await.unwrap();
            let second = store.open_again(testing::options()).await.unwrap();
            lease_history([&store.store, &second], seed).await;
        }
    }
}
