//! Values survive the database unchanged, on both engines.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use alloy_primitives::{Address, B256, Bytes, U256};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use windlass_store::testing::{self, TestStore};
use windlass_store::{Migration, Migrations, Store, StoreError, UnixMillis, UnixSeconds, Value, params};

const TABLES: Migrations = Migrations {
    component: "test",
    steps: &[Migration {
        number: 1,
        name: "values",
        sql: "CREATE TABLE test_value (id INTEGER PRIMARY KEY AUTOINCREMENT, i BIGINT, t TEXT, b BLOB DEFAULT x'00ff');",
    }],
};

async fn stores() -> Vec<TestStore> {
    let stores = testing::stores().await;
    for store in &stores {
        store.migrate(&TABLES).await.unwrap();
    }
    stores
}

/// Writes the row, and reads it inside the job and from the pool.
async fn round_trip(store: &Store, i: Value, t: Value, b: Value) -> [Value; 3] {
    let written = vec![i, t, b];
    let inside = store
        .write("values", move |tx| {
            Box::pin(async move {
                tx.execute("DELETE FROM test_value", params![]).await?;
                let sql = "INSERT INTO test_value (i, t, b) VALUES ($1, $2, $3) RETURNING i, t, b";
                let row = tx.query_optional(sql, written).await?.unwrap();
                Ok::<[Value; 3], StoreError>([row.get("i")?, row.get("t")?, row.get("b")?])
            })
        })
        .await
        .unwrap();
    let row = store.query_optional("SELECT i, t, b FROM test_value", params![]).await.unwrap().unwrap();
    let outside: [Value; 3] = [row.get("i").unwrap(), row.get("t").unwrap(), row.get("b").unwrap()];
    assert_eq!(inside, outside);
    outside
}

#[test]
fn any_value_survives() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stores = runtime.block_on(stores());
    let values = (
        prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::Integer)],
        // PostgreSQL has no NUL in text; the layer refuses it on both engines.
        prop_oneof![Just(Value::Null), any::<String>().prop_map(|text| Value::Text(text.replace('\0', "")))],
        prop_oneof![Just(Value::Null), any::<Vec<u8>>().prop_map(Value::Blob)],
    );
    // A failure prints the values; WINDLASS_SEED chooses others.
    let seed: u64 = std::env::var("WINDLASS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    runner
        .run(&values, |(i, t, b)| {
            for store in &stores {
                let found = runtime.block_on(round_trip(store, i.clone(), t.clone(), b.clone()));
                prop_assert_eq!(&found, &[i.clone(), t.clone(), b.clone()], "{:?}", store.backend());
            }
            Ok(())
        })
        .unwrap();
    runtime.block_on(async { drop(stores) });
}

#[tokio::test]
async fn edges_survive() {
    for store in stores().await {
        for i in [i64::MIN, -1, 0, 1, i64::MAX] {
            assert_eq!(round_trip(&store, i.into(), "".into(), vec![].into()).await[0], Value::Integer(i));
        }
        let long = "ö".repeat(100_000);
        let found = round_trip(&store, Value::Null, long.clone().into(), vec![0; 1 << 20].into()).await;
        assert_eq!(found[1], Value::Text(long));
        assert_eq!(found[2], Value::Blob(vec![0; 1 << 20]));
        // Empty is not null.
        let found = round_trip(&store, Value::Null, "".into(), Vec::<u8>::new().into()).await;
        assert_eq!(found, [Value::Null, Value::Text(String::new()), Value::Blob(vec![])]);
    }
}

#[tokio::test]
async fn typed_values_are_read_as_they_were_written() {
    let address = Address::repeat_byte(0xab);
    let hash = B256::repeat_byte(0xcd);
    let number = U256::from(1_u64) << 200_usize;
    for store in stores().await {
        let row = store
            .write("typed", move |tx| {
                Box::pin(async move {
                    let sql = "SELECT CAST($1 AS BIGINT) AS small, CAST($2 AS BIGINT) AS yes, CAST($3 AS BIGINT) AS at_ms, \
                               CAST($4 AS BIGINT) AS at_s, CAST($5 AS TEXT) AS missing";
                    let params = params![7_u32, true, UnixMillis(1_500), UnixSeconds(2), None::<String>];
                    Ok::<_, StoreError>(tx.query_optional(sql, params).await?.unwrap())
                })
            })
            .await
            .unwrap();
        assert_eq!(row.get::<u32>("small").unwrap(), 7);
        assert_eq!(row.get::<u64>("small").unwrap(), 7);
        assert!(row.get::<bool>("yes").unwrap());
        assert_eq!(row.get::<UnixMillis>("at_ms").unwrap(), UnixMillis(1_500));
        assert_eq!(row.get::<UnixSeconds>("at_s").unwrap(), UnixSeconds(2));
        assert_eq!(row.get::<Option<String>>("missing").unwrap(), None);
        assert_eq!(row.get::<Option<u32>>("small").unwrap(), Some(7));

        let [_, _, stored] = round_trip(&store, 1.into(), "".into(), address.into()).await;
        assert_eq!(stored, Value::Blob(address.to_vec()));
        let row = store.query_optional("SELECT b FROM test_value", params![]).await.unwrap().unwrap();
        assert_eq!(row.get::<Address>("b").unwrap(), address);
        let error = row.get::<B256>("b").unwrap_err().to_string();
        assert_eq!(error, "column \"b\": expected 32 bytes, found blob of 20 bytes");

        round_trip(&store, 1.into(), "".into(), hash.into()).await;
        let row = store.query_optional("SELECT b FROM test_value", params![]).await.unwrap().unwrap();
        assert_eq!(row.get::<B256>("b").unwrap(), hash);
        assert_eq!(row.get::<Bytes>("b").unwrap(), Bytes::from(hash.to_vec()));

        round_trip(&store, 1.into(), "".into(), number.into()).await;
        let row = store.query_optional("SELECT b FROM test_value", params![]).await.unwrap().unwrap();
        assert_eq!(row.get::<U256>("b").unwrap(), number);
    }
}

#[tokio::test]
async fn numbers_of_256_bits_sort_as_numbers() {
    for store in stores().await {
        let numbers = [U256::from(300), U256::MAX, U256::from(5), U256::from(1) << 255_usize];
        for number in numbers {
            store
                .write("insert", move |tx| {
                    Box::pin(async move { tx.execute("INSERT INTO test_value (b) VALUES ($1)", params![number]).await })
                })
                .await
                .unwrap();
        }
        let rows = store.query("SELECT b FROM test_value ORDER BY b", params![]).await.unwrap();
        let found: Vec<U256> = rows.iter().map(|row| row.get("b").unwrap()).collect();
        let mut sorted = numbers.to_vec();
        sorted.sort();
        assert_eq!(found, sorted);
    }
}

#[tokio::test]
async fn wrong_reads_say_what_is_wrong() {
    for store in stores().await {
        round_trip(&store, (-5).into(), "text".into(), vec![1, 2].into()).await;
        let row = store.query_optional("SELECT i, t, b FROM test_value", params![]).await.unwrap().unwrap();
        let cases = [
            (row.get::<u64>("i").unwrap_err(), "column \"i\": expected an integer from 0, found integer -5"),
            (row.get::<bool>("i").unwrap_err(), "column \"i\": expected 0 or 1, found integer -5"),
            (row.get::<String>("i").map(drop).unwrap_err(), "column \"i\": expected text, found integer -5"),
            (row.get::<i64>("t").map(drop).unwrap_err(), "column \"t\": expected an integer, found text of 4 bytes"),
            (row.get::<i64>("x").map(drop).unwrap_err(), "no column \"x\" in the result; it has: i, t, b"),
        ];
        for (error, expected) in cases {
            assert_eq!(error.to_string(), expected);
        }
        round_trip(&store, Value::Null, Value::Null, Value::Null).await;
        let row = store.query_optional("SELECT i FROM test_value", params![]).await.unwrap().unwrap();
        let error = row.get::<i64>("i").unwrap_err();
        assert_eq!(error.to_string(), "column \"i\": expected an integer, found null");
    }
}

#[tokio::test]
async fn a_number_that_does_not_fit_is_refused_before_anything_runs() {
    for store in stores().await {
        let outcome = store
            .write("large", |tx| {
                Box::pin(async move { tx.execute("INSERT INTO test_value (i) VALUES ($1)", params![u64::MAX]).await })
            })
            .await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, StoreError::ValueRange { parameter: 1, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn floating_point_is_refused() {
    for store in stores().await {
        let error = store.query("SELECT 1.5 AS half", params![]).await.unwrap_err();
        assert!(matches!(&error, StoreError::UnsupportedColumn { column, .. } if column == "half"), "{error:?}");
    }
}

#[tokio::test]
async fn keys_are_generated_and_defaults_translated() {
    for store in stores().await {
        let ids = store
            .write("generate", |tx| {
                Box::pin(async move {
                    let mut ids = Vec::new();
                    for _ in 0..3 {
                        let sql = "INSERT INTO test_value (t) VALUES ('x') RETURNING id, b";
                        let row = tx.query_optional(sql, params![]).await?.unwrap();
                        assert_eq!(row.get::<Vec<u8>>("b")?, [0x00, 0xff]);
                        ids.push(row.get::<i64>("id")?);
                    }
                    Ok::<_, StoreError>(ids)
                })
            })
            .await
            .unwrap();
        assert_eq!(ids, [1, 2, 3]);
    }
}
