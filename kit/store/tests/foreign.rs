//! The database of another program is read as it is, and stays as it is.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use windlass_store::{ForeignDatabase, Store, StoreError, params, testing};

#[tokio::test]
async fn a_file_of_another_program_is_read_and_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("worker.db");
    let url = format!("sqlite:{}", path.display());
    {
        use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut other = options.connect().await.unwrap();
        other
            .execute(
                "CREATE TABLE provider_tasks (nonce INTEGER NOT NULL PRIMARY KEY, is_resolve BOOLEAN, caller VARCHAR, height INTEGER);\
                 INSERT INTO provider_tasks VALUES (7, 1, '0xAB', NULL), (8, 0, '0xCD', 12);",
            )
            .await
            .unwrap();
        other.close().await.unwrap();
    }
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(Store::open(&url).await, Err(StoreError::Foreign { .. })));
    let mut foreign = ForeignDatabase::open(&url).await.unwrap();
    let rows = foreign.query("SELECT * FROM provider_tasks WHERE nonce >= $1 ORDER BY nonce", params![7]).await.unwrap();
    let read: Vec<(u64, bool, String, Option<u64>)> = rows
        .iter()
        .map(|row| {
            (row.get("nonce").unwrap(), row.get("is_resolve").unwrap(), row.get("caller").unwrap(), row.get("height").unwrap())
        })
        .collect();
    assert_eq!(read, [(7, true, "0xAB".to_owned(), None), (8, false, "0xCD".to_owned(), Some(12))]);
    for sql in ["DELETE FROM provider_tasks", "CREATE TABLE mine (id INTEGER)"] {
        assert!(foreign.query(sql, params![]).await.is_err(), "{sql}");
    }
    assert!(matches!(foreign.query("SELECT $1", params![]).await, Err(StoreError::ParameterCount { .. })));
    foreign.close().await;
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn what_is_no_database_is_told_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.db");
    let error = ForeignDatabase::open(&format!("sqlite:{}", missing.display())).await.unwrap_err();
    assert!(error.to_string().contains("missing.db") && !missing.exists(), "{error}");
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "something that is longer than sixteen bytes").unwrap();
    let error = ForeignDatabase::open(&format!("sqlite:{}", text.display())).await.unwrap_err();
    assert!(matches!(error, StoreError::NotADatabase { .. }), "{error}");
    assert!(ForeignDatabase::open("mysql://user:secret@host/db").await.is_err_and(|error| !error.to_string().contains("secret")));
}

#[tokio::test]
async fn either_engine_refuses_to_write() {
    for store in testing::stores().await {
        let mut foreign = ForeignDatabase::open(store.url()).await.unwrap();
        assert_eq!(foreign.query("SELECT 1 AS one", params![]).await.unwrap()[0].get::<i64>("one").unwrap(), 1);
        assert!(foreign.query("CREATE TABLE mine (id BIGINT)", params![]).await.is_err(), "{}", foreign.place());
        foreign.close().await;
    }
}
