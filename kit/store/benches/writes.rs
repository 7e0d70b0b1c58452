//! Write throughput and latency of a store, with full durability.
//!
//! `cargo bench -p windlass-store` measures SQLite in a file of the present folder's disk (set `WINDLASS_BENCH_DIR` for
//! another) and, when `WINDLASS_TEST_POSTGRES` is set, PostgreSQL. `WINDLASS_BENCH_SECONDS` is the time per figure (2).
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing)]

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use windlass_store::{Migration, Migrations, Store, StoreError, StoreOptions, Synchronous, params, testing};

const TABLES: Migrations = Migrations {
    component: "bench",
    steps: &[Migration {
        number: 1,
        name: "rows",
        sql: "CREATE TABLE bench_row (id INTEGER PRIMARY KEY, a BIGINT NOT NULL, b BLOB NOT NULL);",
    }],
};

static NEXT: AtomicI64 = AtomicI64::new(1);

async fn insert(store: &Store) -> Result<u64, StoreError> {
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    store
        .write("bench", move |tx| {
            Box::pin(async move {
                tx.execute("INSERT INTO bench_row (id, a, b) VALUES ($1, $2, $3)", params![id, 7, [0_u8; 32]]).await
            })
        })
        .await
}

/// Runs `callers` loops of inserts for `time`; returns all latencies.
async fn run(store: &Store, callers: usize, time: Duration) -> (Duration, Vec<Duration>) {
    let start = Instant::now();
    let end = start + time;
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while Instant::now() < end {
                    let begin = Instant::now();
                    insert(&store).await.unwrap();
                    latencies.push(begin.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    (start.elapsed(), all)
}

async fn measure(label: &str, store: &Store, time: Duration) {
    store.migrate(&TABLES).await.unwrap();
    run(store, 64, time / 10).await;
    for callers in [1, 8, 64, 512, 2048] {
        let (took, mut latencies) = run(store, callers, time).await;
        latencies.sort();
        let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
        println!(
            "{label:<16} {callers:>5} callers  {:>8.0} jobs/s   p50 {:>9.3?}   p99 {:>9.3?}   max {:>9.3?}",
            latencies.len() as f64 / took.as_secs_f64(),
            at(0.5),
            at(0.99),
            latencies[latencies.len() - 1],
        );
    }
    let rows = store.query_optional("SELECT count(*) AS c FROM bench_row", params![]).await.unwrap().unwrap();
    println!("{label:<16} {} rows are stored", rows.get::<u64>("c").unwrap());
}

/// The physical limit: append 4 KiB to a file and flush it.
fn flush_latency(folder: &std::path::Path) -> Duration {
    let path = folder.join("flush");
    let mut file = std::fs::File::create(&path).unwrap();
    let mut latencies: Vec<Duration> = (0..200)
        .map(|_| {
            let begin = Instant::now();
            file.seek(SeekFrom::End(0)).unwrap();
            file.write_all(&[1; 4096]).unwrap();
            file.sync_data().unwrap();
            begin.elapsed()
        })
        .collect();
    latencies.sort();
    latencies[latencies.len() / 2]
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let seconds = std::env::var("WINDLASS_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2.0);
    let time = Duration::from_secs_f64(seconds);
    let folder = std::env::var_os("WINDLASS_BENCH_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let scratch = tempfile::Builder::new().prefix(".bench-").tempdir_in(folder).unwrap();
    runtime.block_on(async {
        println!("flush of 4 KiB: p50 {:.3?}", flush_latency(scratch.path()));
        for (label, synchronous) in [("sqlite full", Synchronous::Full), ("sqlite off", Synchronous::Off)] {
            let path = scratch.path().join(format!("{synchronous:?}.db"));
            let options = StoreOptions { synchronous, ..StoreOptions::default() };
            let store = Store::open_with(&format!("sqlite:{}", path.display()), options).await.unwrap();
            measure(label, &store, time).await;
            store.close().await;
        }
        let options = StoreOptions { clock: Arc::new(windlass_store::SystemClock), ..StoreOptions::default() };
        if let Some(store) = testing::postgres_with(options).await {
            measure("postgres full", &store, time).await;
        }
    });
}
