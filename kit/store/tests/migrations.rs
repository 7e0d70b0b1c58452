//! Migrations: forward only, checked, and applied to the files of released versions.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use windlass_store::testing;
use windlass_store::{Fence, Migration, Migrations, Store, StoreError, cursor, lease, params};

const FIRST: Migration = Migration {
    number: 1,
    name: "accounts",
    sql: "CREATE TABLE bank_account (id BIGINT NOT NULL PRIMARY KEY, owner TEXT NOT NULL); -- a comment; with a semicolon\n\
          CREATE TABLE bank_entry (id BIGINT NOT NULL PRIMARY KEY, account BIGINT NOT NULL REFERENCES bank_account (id), amount BLOB);",
};
const SECOND: Migration = Migration {
    number: 2,
    name: "owner index and default",
    sql: "CREATE INDEX bank_account_owner ON bank_account (owner); ALTER TABLE bank_account ADD COLUMN note TEXT NOT NULL DEFAULT '';",
};

const ONE: Migrations = Migrations { component: "bank", steps: &[FIRST] };
const TWO: Migrations = Migrations { component: "bank", steps: &[FIRST, SECOND] };

async fn open_account(store: &Store, id: i64) -> Result<u64, StoreError> {
    store
        .write("account", move |tx| {
            Box::pin(async move { tx.execute("INSERT INTO bank_account (id, owner) VALUES ($1, 'x')", params![id]).await })
        })
        .await
}

#[tokio::test]
async fn steps_are_applied_once_and_in_order() {
    for store in testing::stores().await {
        store.migrate(&ONE).await.unwrap();
        store.migrate(&ONE).await.unwrap();
        open_account(&store, 1).await.unwrap();
        // Prepared before the column exists: must not be used with its old columns afterwards.
        let star = "SELECT * FROM bank_account";
        assert_eq!(store.query(star, params![]).await.unwrap()[0].columns().len(), 2);
        store.migrate(&TWO).await.unwrap();
        open_account(&store, 2).await.unwrap();
        let rows = store.query(star, params![]).await.unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].get::<String>("note").unwrap(), "");
        let again = store.open_again(testing::options()).await.unwrap();
        again.migrate(&TWO).await.unwrap();
    }
}

#[tokio::test]
async fn whoever_only_looks_learns_the_last_step() {
    for store in testing::stores().await {
        assert_eq!(store.newest_migration("bank").await.unwrap(), 0);
        store.migrate(&ONE).await.unwrap();
        assert_eq!(store.newest_migration("bank").await.unwrap(), 1);
        assert_eq!(store.newest_migration("other").await.unwrap(), 0);
    }
}

#[tokio::test]
async fn an_edited_migration_is_refused() {
    const EDITED: Migrations = Migrations {
        component: "bank",
        steps: &[Migration { sql: "CREATE TABLE bank_account (id BIGINT NOT NULL PRIMARY KEY);", ..FIRST }],
    };
    for store in testing::stores().await {
        store.migrate(&ONE).await.unwrap();
        let error = store.migrate(&EDITED).await.unwrap_err();
        assert!(matches!(&error, StoreError::MigrationEdited { number: 1, .. }), "{error:?}");
        assert!(error.to_string().contains("was changed after it had been applied"), "{error}");
        assert!(error.hint().is_some());
        open_account(&store, 1).await.unwrap();
    }
}

#[tokio::test]
async fn line_ends_of_a_checkout_do_not_count() {
    const WINDOWS: Migrations = Migrations {
        component: "bank",
        steps: &[Migration { number: 1, name: "a", sql: "CREATE TABLE bank_a (\r\n id BIGINT\r\n);" }],
    };
    const UNIX: Migrations = Migrations {
        component: "bank",
        steps: &[Migration { number: 1, name: "a", sql: "CREATE TABLE bank_a (\n id BIGINT\n);" }],
    };
    for store in testing::stores().await {
        store.migrate(&WINDOWS).await.unwrap();
        store.migrate(&UNIX).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    for store in testing::stores().await {
        store.migrate(&TWO).await.unwrap();
        let error = store.migrate(&ONE).await.unwrap_err();
        assert!(matches!(error, StoreError::MigrationNewer { found: 2, known: 1, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn wrong_numbering_is_refused() {
    const GAP: Migrations = Migrations { component: "gap", steps: &[FIRST, Migration { number: 3, ..SECOND }] };
    for store in testing::stores().await {
        let error = store.migrate(&GAP).await.unwrap_err();
        assert!(matches!(error, StoreError::MigrationNumbering { found: 3, expected: 2, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_failing_step_leaves_nothing_of_all_steps() {
    const BROKEN: Migrations = Migrations {
        component: "bank",
        steps: &[
            FIRST,
            Migration { number: 2, name: "broken", sql: "CREATE TABLE bank_more (id BIGINT); INSERT INTO nowhere VALUES (1);" },
        ],
    };
    for store in testing::stores().await {
        let error = store.migrate(&BROKEN).await.unwrap_err();
        assert!(matches!(&error, StoreError::MigrationFailed { number: 2, .. }), "{error:?}");
        for table in ["bank_account", "bank_more"] {
            let found = store.query(&format!("SELECT * FROM {table}"), params![]).await;
            assert!(matches!(found, Err(StoreError::Sql { .. })), "{table} must not exist: {found:?}");
        }
        // A repaired program goes on from the beginning.
        store.migrate(&TWO).await.unwrap();
    }
}

#[tokio::test]
async fn instances_that_start_together_migrate_once() {
    for store in testing::stores().await {
        let others: Vec<Store> = {
            let opened = (0..4).map(|_| store.open_again(testing::options()));
            futures::future::join_all(opened).await.into_iter().map(Result::unwrap).collect()
        };
        let outcomes = futures::future::join_all(others.iter().map(|other| other.migrate(&TWO))).await;
        for outcome in outcomes {
            outcome.unwrap();
        }
        let sql = "SELECT count(*) AS c FROM windlass_migration WHERE component = 'bank'";
        let row = store.query_optional(sql, params![]).await.unwrap().unwrap();
        assert_eq!(row.get::<u64>("c").unwrap(), 2, "{:?}", store.backend());
    }
}

#[tokio::test]
async fn foreign_keys_hold_on_both_engines() {
    for store in testing::stores().await {
        store.migrate(&TWO).await.unwrap();
        let orphan = store
            .write("orphan", |tx| {
                Box::pin(async move { tx.execute("INSERT INTO bank_entry (id, account) VALUES (1, 404)", params![]).await })
            })
            .await;
        let error = orphan.unwrap_err();
        assert!(matches!(&error, StoreError::Constraint { kind: windlass_store::ConstraintKind::ForeignKey, .. }), "{error:?}");
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Opens a copy of the file that each released version has left, with all the newest migrations.
///
/// After a release run `WINDLASS_WRITE_FIXTURE=<version> cargo test -p windlass-store --test migrations` once and commit the
/// new file.
#[tokio::test]
async fn files_of_released_versions_open() {
    if let Ok(version) = std::env::var("WINDLASS_WRITE_FIXTURE") {
        write_fixture(&fixtures().join(format!("store-{version}.db"))).await;
    }
    let mut found = 0;
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "db") {
            continue;
        }
        found += 1;
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("store.db");
        std::fs::copy(&path, &copy).unwrap();
        let store = Store::open_with(&format!("sqlite:{}", copy.display()), testing::options()).await.unwrap();
        store.migrate(&TWO).await.unwrap();
        store.check_integrity().await.unwrap();
        assert_eq!(cursor::get_number(&store, "blocks").await.unwrap(), Some(123_456), "{}", path.display());
        assert_eq!(cursor::get(&store, "page").await.unwrap(), Some(vec![0, 1, 2, 255]));
        // The fence of the old holder passes until somebody takes the lease.
        let fence = Fence { name: "payer.gnosis".into(), number: 3 };
        store.write_fenced(&fence, "still", |_tx| Box::pin(async { Ok::<_, StoreError>(()) })).await.unwrap();
        let rows = store.query("SELECT id, owner, note FROM bank_account ORDER BY id", params![]).await.unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1].get::<String>("owner").unwrap(), "grüße");
        open_account(&store, 3).await.unwrap();
    }
    assert!(found > 0, "no stored file in {}", fixtures().display());
}

async fn write_fixture(path: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    let store = Store::open_with(&url, testing::options()).await.unwrap();
    store.migrate(&ONE).await.unwrap();
    for holder in ["a", "b", "b"] {
        lease::acquire(&store, "payer.gnosis", holder, std::time::Duration::ZERO).await.unwrap().unwrap();
    }
    store
        .write("fixture", |tx| {
            Box::pin(async move {
                cursor::set(tx, "blocks", 123_456_i64).await?;
                cursor::set(tx, "page", vec![0_u8, 1, 2, 255]).await?;
                tx.execute("INSERT INTO bank_account (id, owner) VALUES (1, 'x'), (2, 'grüße')", params![]).await?;
                tx.execute("INSERT INTO bank_entry (id, account, amount) VALUES (1, 2, x'0102')", params![]).await
            })
        })
        .await
        .unwrap();
    store.backup(path).await.unwrap();
    std::fs::remove_file(path.with_extension("db.sha256")).unwrap();
}
