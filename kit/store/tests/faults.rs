//! Databases that are missing, foreign, damaged, locked, forbidden, or go away and come back.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use windlass_store::testing::{self, POSTGRES_VARIABLE};
use windlass_store::{Migration, Migrations, Store, StoreError, StoreOptions, params};

const TABLES: Migrations = Migrations {
    component: "test",
    steps: &[Migration {
        number: 1,
        name: "numbers",
        sql: "CREATE TABLE test_number (n BIGINT NOT NULL PRIMARY KEY, filler TEXT);",
    }],
};

fn quick() -> StoreOptions {
    StoreOptions {
        connect_time_limit: Duration::from_millis(600),
        busy_time_limit: Duration::from_millis(200),
        ..testing::options()
    }
}

fn url_of(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

async fn open(url: &str) -> Result<Store, StoreError> {
    Store::open_with(url, quick()).await
}

async fn insert(store: &Store, n: i64) -> Result<u64, StoreError> {
    store
        .write("insert", move |tx| {
            Box::pin(async move { tx.execute("INSERT INTO test_number (n) VALUES ($1)", params![n]).await })
        })
        .await
}

async fn numbers(store: &Store) -> Result<Vec<i64>, StoreError> {
    let rows = store.query("SELECT n FROM test_number ORDER BY n", params![]).await?;
    rows.iter().map(|row| row.get("n")).collect()
}

#[tokio::test]
async fn a_wrong_url_is_refused_and_not_shown() {
    for url in [
        "",
        "mysql://alice:s3cret@db/x",
        "alice:s3cret",
        "sqlite:",
        "sqlite:a.db?mode=s3cret",
        "postgres://alice:s3cret@db:99999/x",
        "postgres://alice:s3cret@db/x?sslmod=off",
        "postgres://alice:s3cret@db/x?sslmode=s3cret",
    ] {
        let error = open(url).await.unwrap_err();
        assert!(matches!(error, StoreError::Url { .. }), "{url}: {error:?}");
        assert!(!error.is_transient());
        assert!(error.hint().unwrap().contains("postgres://"));
        let text = format!("{error} {error:?} {:?}", error.hint());
        assert!(!text.contains("s3cret") && !text.contains("alice"), "{text}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn new_files_and_folders_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/store.db");
    let store = open(&url_of(&path)).await.unwrap();
    store.migrate(&TABLES).await.unwrap();
    insert(&store, 1).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut files = 0;
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
        files += 1;
    }
    assert_eq!(files, 3, "the database, its log, and the index of the log");
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "dear diary, today I mistook you for a database, which was embarrassing").unwrap();
    let error = open(&url_of(&path)).await.unwrap_err();
    assert!(matches!(&error, StoreError::NotADatabase { path: named } if *named == path), "{error:?}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("dear diary"));
    // A header alone, then rubbish.
    let mut bytes = b"SQLite format 3\0".to_vec();
    bytes.extend([0xff; 4096]);
    std::fs::write(&path, &bytes).unwrap();
    let error = open(&url_of(&path)).await.unwrap_err();
    assert!(matches!(error, StoreError::NotADatabase { .. } | StoreError::Damaged { .. }), "{error:?}");
    // A folder, and a path through a file.
    let error = open(&url_of(folder.path())).await.unwrap_err();
    assert!(matches!(error, StoreError::NotADatabase { .. }), "{error:?}");
    let error = open(&url_of(&path.join("below.db"))).await.unwrap_err();
    assert!(matches!(error, StoreError::File { .. }), "{error:?}");
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for (name, sql) in [
        ("tables.db", "CREATE TABLE bookmarks (url TEXT)"),
        ("marked.db", "PRAGMA application_id = 1234; CREATE TABLE x (y); DROP TABLE x"),
    ] {
        let path = folder.path().join(name);
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut conn = options.connect().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = open(&url_of(&path)).await.unwrap_err();
        assert!(matches!(error, StoreError::Foreign { .. }), "{name}: {error:?}");
        assert!(error.hint().unwrap().contains("store.url"));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

#[tokio::test]
async fn damage_is_reported_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&url_of(&path)).await.unwrap();
    store.migrate(&TABLES).await.unwrap();
    store
        .write("fill", |tx| {
            Box::pin(async move {
                for n in 0..2_000_i64 {
                    let sql = "INSERT INTO test_number (n, filler) VALUES ($1, $2)";
                    tx.execute(sql, params![n, "filler ".repeat(20)]).await?;
                }
                Ok::<_, StoreError>(())
            })
        })
        .await
        .unwrap();
    store.check_integrity().await.unwrap();
    store.close().await;
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    let from = 8 * 4096;
    bytes[from..from + 20 * 4096].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let store = open(&url_of(&path)).await.unwrap();
    let found = store.check_integrity().await.unwrap_err();
    assert!(matches!(&found, StoreError::Damaged { place, .. } if place.ends_with("store.db")), "{found:?}");
    let read = store.query("SELECT sum(n) AS s, max(filler) AS f FROM test_number", params![]).await.unwrap_err();
    assert!(matches!(read, StoreError::Damaged { .. }), "{read:?}");
    assert!(read.hint().unwrap().contains("backup"));
}

#[tokio::test]
async fn a_lock_of_another_process_is_waited_for_and_then_reported() {
    let folder = tempfile::tempdir().unwrap();
    let url = url_of(&folder.path().join("store.db"));
    let store = open(&url).await.unwrap();
    store.migrate(&TABLES).await.unwrap();
    let other = open(&url).await.unwrap();
    let (locked, is_locked) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let holding = tokio::spawn(async move {
        other
            .write("hold", move |tx| {
                Box::pin(async move {
                    tx.execute("INSERT INTO test_number (n) VALUES (1)", params![]).await?;
                    locked.send(()).unwrap();
                    released.await.unwrap();
                    Ok::<_, StoreError>(())
                })
            })
            .await
    });
    is_locked.await.unwrap();
    let error = insert(&store, 2).await.unwrap_err();
    assert!(matches!(&error, StoreError::Busy { place } if place.ends_with("store.db")), "{error:?}");
    assert!(error.is_transient());
    // Readers are not held up.
    assert!(numbers(&store).await.unwrap().is_empty());
    release.send(()).unwrap();
    holding.await.unwrap().unwrap();
    insert(&store, 2).await.unwrap();
    assert_eq!(numbers(&store).await.unwrap(), [1, 2]);
}

#[tokio::test]
async fn a_full_database_is_reported_and_confirmed_data_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&url_of(&folder.path().join("store.db"))).await.unwrap();
    store.migrate(&TABLES).await.unwrap();
    // SQLite treats this limit as it treats a full disk.
    let limited =
        store.write("limit", |tx| Box::pin(async move { tx.query("PRAGMA max_page_count = 40", params![]).await })).await;
    limited.unwrap();
    let outcomes = futures::future::join_all((0..50).map(|n| {
        store.write("large", move |tx| {
            Box::pin(async move {
                let sql = "INSERT INTO test_number (n, filler) VALUES ($1, $2)";
                tx.execute(sql, params![n, "x".repeat(20_000)]).await
            })
        })
    }))
    .await;
    let confirmed: Vec<i64> = (0..50).zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(n, _)| n).collect();
    for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("space"));
    }
    assert!(confirmed.len() < 50);
    assert_eq!(numbers(&store).await.unwrap(), confirmed);
    store.check_integrity().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_cannot_be_written_is_reported() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    open(&url_of(&path)).await.unwrap().close().await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    if std::fs::OpenOptions::new().write(true).open(&path).is_ok() {
        // The administrator may write everything; there is nothing to see.
        return;
    }
    let error = open(&url_of(&path)).await.unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error:?}");
}

/// Stands between a store and the server, and misbehaves when told.
struct Proxy {
    url: String,
    tasks: JoinSet<()>,
    server: (String, u16),
    port: u16,
    cut_at_commit: Arc<AtomicBool>,
}

impl Proxy {
    /// `target` is the URL of a store on the server.
    async fn start(target: &str) -> Self {
        let options = PgConnectOptions::from_str(target).unwrap();
        let server = (options.get_host().to_owned(), options.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (before, after) = target.split_once('@').unwrap();
        let path = after.split_once('/').unwrap().1;
        let url = format!("{before}@127.0.0.1:{port}/{path}");
        let mut proxy = Self { url, tasks: JoinSet::new(), server, port, cut_at_commit: Arc::new(AtomicBool::new(false)) };
        proxy.serve(listener);
        proxy
    }

    fn serve(&mut self, listener: TcpListener) {
        let (server, cut) = (self.server.clone(), Arc::clone(&self.cut_at_commit));
        self.tasks.spawn(async move {
            let mut links = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let upstream = TcpStream::connect(&server).await.unwrap();
                links.spawn(link(client, upstream, Arc::clone(&cut)));
            }
        });
    }

    /// Closes all connections and refuses new ones.
    async fn down(&mut self) {
        self.tasks.shutdown().await;
    }

    async fn up(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.serve(listener);
    }
}

/// Passes bytes on. With `cut` set, a COMMIT still reaches the server, but its answer does not come back.
async fn link(client: TcpStream, upstream: TcpStream, cut: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = upstream.into_split();
    let requests = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            let bytes = &buffer[..count];
            let cutting = cut.load(Ordering::SeqCst) && bytes.windows(7).any(|window| window == b"COMMIT\0");
            if to_server.write_all(bytes).await.is_err() {
                break;
            }
            if cutting {
                cut.store(false, Ordering::SeqCst);
                return;
            }
        }
    };
    let answers = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::select! {
        () = requests => {
            // Time for the server to work; its answer stays unread.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        _ = answers => {}
    }
}

#[tokio::test]
async fn a_server_that_goes_away_and_comes_back_is_found_again() {
    let Some(direct) = testing::postgres().await else { return };
    direct.migrate(&TABLES).await.unwrap();
    let mut proxy = Proxy::start(direct.url()).await;
    let store = open(&proxy.url).await.unwrap();
    insert(&store, 1).await.unwrap();
    assert_eq!(numbers(&store).await.unwrap(), [1]);

    // A restart between two requests is not even seen.
    proxy.down().await;
    proxy.up().await;
    insert(&store, 2).await.unwrap();
    assert_eq!(numbers(&store).await.unwrap(), [1, 2]);

    // Down for longer than the time limit: a clear error in time, for writes and reads.
    proxy.down().await;
    let start = Instant::now();
    let write = insert(&store, 3).await.unwrap_err();
    assert!(matches!(write, StoreError::Unavailable { .. }), "{write:?}");
    assert!(write.is_transient() && !write.is_outcome_unknown());
    assert!(write.to_string().contains(&format!("127.0.0.1:{}", proxy.port)), "{write}");
    let read = numbers(&store).await.unwrap_err();
    assert!(matches!(read, StoreError::Unavailable { .. }), "{read:?}");
    assert!(start.elapsed() < Duration::from_secs(5));

    // Comes back within the time limit: the caller only waits.
    let (outcome, ()) = tokio::join!(insert(&store, 4), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        proxy.up().await;
    });
    outcome.unwrap();
    assert_eq!(numbers(&store).await.unwrap(), [1, 2, 4]);
}

#[tokio::test]
async fn a_connection_that_breaks_inside_a_job_keeps_nothing_of_its_group() {
    let Some(direct) = testing::postgres().await else { return };
    direct.migrate(&TABLES).await.unwrap();
    let mut proxy = Proxy::start(direct.url()).await;
    let store = open(&proxy.url).await.unwrap();
    let (reached, is_reached) = tokio::sync::oneshot::channel();
    let (resume, resumed) = tokio::sync::oneshot::channel::<()>();
    let breaking = store.write("breaking", move |tx| {
        Box::pin(async move {
            tx.execute("INSERT INTO test_number (n) VALUES (2)", params![]).await?;
            reached.send(()).unwrap();
            resumed.await.unwrap();
            tx.execute("INSERT INTO test_number (n) VALUES (3)", params![]).await
        })
    });
    let cut = async {
        is_reached.await.unwrap();
        proxy.down().await;
        proxy.up().await;
        resume.send(()).unwrap();
    };
    // One group: a job before the break, the job that sees it, and one that has not run yet.
    let (before, breaking, after, ()) = tokio::join!(insert(&store, 1), breaking, insert(&store, 4), cut);
    assert!(matches!(before, Err(StoreError::Unavailable { .. })), "{before:?}");
    assert!(matches!(breaking, Err(StoreError::Unavailable { .. })), "{breaking:?}");
    after.unwrap();
    assert_eq!(numbers(&direct).await.unwrap(), [4]);
}

#[tokio::test]
async fn a_commit_without_an_answer_is_reported_as_unknown() {
    let Some(direct) = testing::postgres().await else { return };
    direct.migrate(&TABLES).await.unwrap();
    let proxy = Proxy::start(direct.url()).await;
    let store = open(&proxy.url).await.unwrap();
    proxy.cut_at_commit.store(true, Ordering::SeqCst);
    let error = insert(&store, 1).await.unwrap_err();
    assert!(matches!(error, StoreError::CommitUnknown { .. }), "{error:?}");
    assert!(error.is_outcome_unknown() && error.is_transient());
    // It was kept, and the writer goes on.
    assert_eq!(numbers(&direct).await.unwrap(), [1]);
    insert(&store, 2).await.unwrap();
    assert_eq!(numbers(&store).await.unwrap(), [1, 2]);
}

#[tokio::test]
async fn a_session_ended_by_the_server_is_replaced() {
    let Some(store) = testing::postgres().await else { return };
    store.migrate(&TABLES).await.unwrap();
    let other = store.open_again(quick()).await.unwrap();
    for n in 0..3 {
        let session = store
            .write("session", |tx| {
                Box::pin(async move {
                    let row = tx.query_optional("SELECT pg_backend_pid() AS pid", params![]).await?;
                    row.unwrap().get::<i64>("pid")
                })
            })
            .await
            .unwrap();
        let end = "SELECT pg_terminate_backend(CAST($1 AS INTEGER)) AS ended";
        let row = other.query_optional(end, params![session]).await.unwrap().unwrap();
        assert!(row.get::<bool>("ended").unwrap());
        insert(&store, n).await.unwrap();
    }
    assert_eq!(numbers(&store).await.unwrap(), [0, 1, 2]);
}

#[tokio::test]
async fn refused_access_names_the_database_and_no_password() {
    let Some(server) = std::env::var(POSTGRES_VARIABLE).ok().filter(|url| !url.is_empty()) else { return };
    let options = PgConnectOptions::from_str(&server).unwrap();
    let (host, port) = (options.get_host().to_owned(), options.get_port());
    let wrong = format!("postgres://{}:wr0ng@{host}:{port}/nowhere", options.get_username());
    let error = open(&wrong).await.unwrap_err();
    assert!(matches!(error, StoreError::AccessDenied { .. }), "{error:?}");
    assert!(!error.is_transient());
    assert!(error.to_string().contains(&format!("\"nowhere\" at {host}:{port}")), "{error}");
    assert!(!format!("{error:?}").contains("wr0ng"));
    // Nobody listens there.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap().port();
    drop(listener);
    let error = open(&format!("postgres://alice:s3cret@127.0.0.1:{closed}/x")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[tokio::test]
async fn an_in_memory_store_is_private_and_vanishes() {
    let first = open("sqlite::memory:").await.unwrap();
    let second = open("sqlite::memory:").await.unwrap();
    first.migrate(&TABLES).await.unwrap();
    insert(&first, 1).await.unwrap();
    // Reads work while a job is under way, as with a file.
    let reader = first.clone();
    let seen = first
        .write("read", move |tx| {
            Box::pin(async move {
                tx.execute("INSERT INTO test_number (n) VALUES (2)", params![]).await?;
                numbers(&reader).await
            })
        })
        .await
        .unwrap();
    assert_eq!(seen, [1]);
    assert!(matches!(numbers(&second).await, Err(StoreError::Sql { .. })));
    assert_eq!(first.place(), "the in-memory database");
}
