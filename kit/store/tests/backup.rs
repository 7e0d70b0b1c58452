//! Backup, restore and export, also from one engine to the other.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::time::Duration;

use windlass_store::testing::{self, TestStore};
use windlass_store::{Backend, Migration, Migrations, Store, StoreError, Value, cursor, lease, params};

const STEPS: [Migration; 2] = [
    Migration {
        number: 1,
        name: "orders",
        sql: "CREATE TABLE shop_customer (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL);
              CREATE TABLE shop_order (id BIGINT NOT NULL PRIMARY KEY,
                  customer BIGINT NOT NULL REFERENCES shop_customer (id), amount BLOB, note TEXT);
              INSERT INTO shop_customer (name) VALUES ('seeded');",
    },
    Migration { number: 2, name: "state", sql: "ALTER TABLE shop_order ADD COLUMN state TEXT NOT NULL DEFAULT 'open';" },
];
const OLD: Migrations = Migrations { component: "shop", steps: &[STEPS[0]] };
const NEW: Migrations = Migrations { component: "shop", steps: &STEPS };

const ORDERS: i64 = 1_000;

async fn filled(store: &Store) {
    store.migrate(&OLD).await.unwrap();
    store
        .write("fill", |tx| {
            Box::pin(async move {
                tx.execute("UPDATE shop_customer SET name = 'Ann \"quoted\" O''Hara\n' WHERE id = 1", params![]).await?;
                tx.execute("INSERT INTO shop_customer (name) VALUES ('Bob')", params![]).await?;
                for id in 0..ORDERS {
                    let amount = (id % 3 > 0).then(|| vec![u8::try_from(id % 256).unwrap(); 32]);
                    let sql = "INSERT INTO shop_order (id, customer, amount, note) VALUES ($1, $2, $3, $4)";
                    tx.execute(sql, params![id - 5, id % 2 + 1, amount, format!("ö{id}")]).await?;
                }
                cursor::set(tx, "blocks", 77_u64).await
            })
        })
        .await
        .unwrap();
    lease::acquire(store, "shop", "old", Duration::from_secs(60)).await.unwrap().unwrap();
}

async fn contents(store: &Store) -> Vec<Vec<Value>> {
    let mut all = Vec::new();
    for sql in [
        "SELECT id, name FROM shop_customer ORDER BY id",
        "SELECT id, customer, amount, note FROM shop_order ORDER BY id",
        "SELECT name, number, bytes FROM windlass_cursor ORDER BY name",
    ] {
        all.extend(store.query(sql, params![]).await.unwrap().iter().map(|row| row.values().to_vec()));
    }
    all
}

#[tokio::test]
async fn a_backup_of_either_engine_restores_into_either_engine() {
    for source in testing::stores().await {
        filled(&source).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.backup");
        let report = source.backup(&path).await.unwrap();
        assert_eq!((report.tables, report.rows), (4, 1_004), "{:?}", source.backend());
        assert_eq!(report.bytes, std::fs::metadata(&path).unwrap().len());
        for target in testing::stores().await {
            let case = format!("{:?} -> {:?}", source.backend(), target.backend());
            let restored = target.restore(&path, &[&NEW]).await.unwrap();
            assert_eq!(restored.rows, 1_004, "{case}");
            assert_eq!(contents(&target).await, contents(&source).await, "{case}");
            check_goes_on(&target).await;
        }
    }
}

/// A restored store is an old store: later migrations run on it, ids go on, and no old fence passes.
async fn check_goes_on(target: &TestStore) {
    target.migrate(&NEW).await.unwrap();
    let open = target.query("SELECT id FROM shop_order WHERE state = 'open'", params![]).await.unwrap();
    assert_eq!(open.len(), 1_000);
    let id = target
        .write("next", |tx| {
            Box::pin(async move {
                let sql = "INSERT INTO shop_customer (name) VALUES ('Eve') RETURNING id";
                tx.query_optional(sql, params![]).await?.unwrap().get::<i64>("id")
            })
        })
        .await
        .unwrap();
    assert_eq!(id, 3);
    let status = lease::status(target, "shop").await.unwrap().unwrap();
    assert_eq!((status.holder.as_str(), status.number), ("", 2));
    let taken = lease::acquire(target, "shop", "new", Duration::from_secs(1)).await.unwrap().unwrap();
    assert_eq!(taken.fence().number, 3);
}

#[tokio::test]
async fn a_backup_is_private_and_never_overwrites() {
    for store in testing::stores().await {
        filled(&store).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        store.backup(&path).await.unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            for entry in std::fs::read_dir(folder.path()).unwrap() {
                let mode = entry.unwrap().metadata().unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600);
            }
        }
        let before = std::fs::read(&path).unwrap();
        let error = store.backup(&path).await.unwrap_err();
        assert!(matches!(error, StoreError::TargetExists { .. }), "{error:?}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
        let nowhere = folder.path().join("no/such/folder/b");
        assert!(matches!(store.backup(&nowhere).await, Err(StoreError::File { .. })));
        // Nothing half written stays behind.
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().contains("partial")), "{names:?}");
    }
}

#[tokio::test]
async fn a_backup_runs_beside_writes_and_sees_one_moment() {
    for store in testing::stores().await {
        store.migrate(&OLD).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        // Every job writes two rows: a backup that sees an odd number has seen half a commit.
        let writing = async {
            for n in 0..100_i64 {
                store
                    .write("pair", move |tx| {
                        Box::pin(async move {
                            let sql = "INSERT INTO shop_order (id, customer) VALUES ($1, 1)";
                            tx.execute(sql, params![2 * n]).await?;
                            tx.execute(sql, params![2 * n + 1]).await
                        })
                    })
                    .await
                    .unwrap();
            }
        };
        let (report, ()) = tokio::join!(store.backup(&path), writing);
        // One seeded customer.
        assert_eq!((report.unwrap().rows - 1) % 2, 0, "{:?}", store.backend());
        let target = testing::sqlite().await;
        target.restore(&path, &[&OLD]).await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_backup_is_refused_and_nothing_is_changed() {
    for source in testing::stores().await {
        filled(&source).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        source.backup(&path).await.unwrap();
        let good = std::fs::read(&path).unwrap();
        let mut changed = good.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        let cut = good[..good.len() - 1000].to_vec();
        for bytes in [changed, cut, Vec::new(), b"hello\n".to_vec(), b"{\"header\":{}}\n".to_vec()] {
            std::fs::write(&path, &bytes).unwrap();
            for target in testing::stores().await {
                let error = target.restore(&path, &[&NEW]).await.unwrap_err();
                assert!(matches!(&error, StoreError::BadBackup { .. }), "{:?}: {error:?}", source.backend());
                assert!(error.hint().is_some());
                // Still empty, so the good backup can be restored.
                std::fs::write(&path, &good).unwrap();
                target.restore(&path, &[&NEW]).await.unwrap();
                std::fs::write(&path, &bytes).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_restore_needs_an_empty_store_and_known_components() {
    const EDITED: Migrations = Migrations {
        component: "shop",
        steps: &[Migration { number: 1, name: "orders", sql: "CREATE TABLE shop_customer (id BIGINT);" }],
    };
    const NONE: Migrations = Migrations { component: "shop", steps: &[] };
    for source in testing::stores().await {
        filled(&source).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        source.backup(&path).await.unwrap();
        for target in testing::stores().await {
            let unknown = target.restore(&path, &[]).await.unwrap_err();
            assert!(matches!(&unknown, StoreError::BadBackup { reason, .. } if reason.contains("shop")), "{unknown:?}");
            let edited = target.restore(&path, &[&EDITED]).await.unwrap_err();
            assert!(matches!(edited, StoreError::MigrationEdited { .. }), "{edited:?}");
            let newer = target.restore(&path, &[&NONE]).await.unwrap_err();
            assert!(matches!(newer, StoreError::MigrationNewer { found: 1, known: 0, .. }), "{newer:?}");
            target.restore(&path, &[&NEW]).await.unwrap();
            let used = target.restore(&path, &[&NEW]).await.unwrap_err();
            assert!(matches!(used, StoreError::NotEmpty { .. }), "{used:?}");
        }
        let missing = source.restore(&folder.path().join("missing"), &[&NEW]).await.unwrap_err();
        assert!(matches!(missing, StoreError::File { .. }), "{missing:?}");
    }
}

#[tokio::test]
async fn a_store_file_that_is_in_use_is_no_backup() {
    let source = testing::sqlite().await;
    filled(&source).await;
    let target = testing::sqlite().await;
    let path = Path::new(source.url().strip_prefix("sqlite:").unwrap());
    let error = target.restore(path, &[&NEW]).await.unwrap_err();
    assert!(matches!(&error, StoreError::BadBackup { reason, .. } if reason.contains("running store")), "{error:?}");
}

#[tokio::test]
async fn a_sqlite_backup_opens_as_a_store() {
    let source = testing::sqlite().await;
    filled(&source).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.db");
    source.backup(&path).await.unwrap();
    let copy = Store::open_with(&format!("sqlite:{}", path.display()), testing::options()).await.unwrap();
    copy.migrate(&NEW).await.unwrap();
    copy.check_integrity().await.unwrap();
    assert_eq!(contents(&copy).await, contents(&source).await);
}

#[tokio::test]
async fn an_export_is_one_readable_file_per_table() {
    for store in testing::stores().await {
        filled(&store).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export");
        let report = store.export(&path).await.unwrap();
        assert_eq!((report.tables, report.rows), (4, 1_004));
        let text = std::fs::read_to_string(path.join("shop_order.jsonl")).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 1_000);
        assert_eq!(
            lines[1],
            serde_json::json!({"id": -4, "customer": 2, "amount": format!("0x{}", "01".repeat(32)), "note": "ö1"})
        );
        assert_eq!(lines[0]["amount"], serde_json::Value::Null);
        assert!(matches!(store.export(&path).await, Err(StoreError::TargetExists { .. })));
    }
}

#[tokio::test]
async fn others_tables_in_the_same_schema_stay_out_of_a_dump() {
    let Some(store) = testing::postgres().await else { return };
    assert_eq!(store.backend(), Backend::Postgres);
    filled(&store).await;
    store
        .write("foreign", |tx| Box::pin(async move { tx.execute("CREATE TABLE somebody_elses (price FLOAT)", params![]).await }))
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(store.backup(&folder.path().join("b")).await.unwrap().tables, 4);
}
