//! The event log on both engines.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use support::{Running, node, settings};
use windlass_node::events::{Event, EventFilter, EventLog, Level};
use windlass_node::{NodeBuilder, PlainSecrets};
use windlass_store::testing::stores;

async fn messages(log: &EventLog, limit: u32) -> Vec<String> {
    let filter = EventFilter { limit, ..EventFilter::default() };
    log.page(&filter).await.unwrap().into_iter().map(|event| event.message).collect()
}

#[tokio::test]
async fn emitted_events_are_stored_in_order_also_those_that_wait_at_the_stop() {
    for test in stores().await {
        let builder = NodeBuilder::with_store(settings(), test.store.clone(), std::sync::Arc::new(PlainSecrets)).await.unwrap();
        let log = builder.events().clone();
        let mut live = log.subscribe();
        let running = Running::start(builder.build().await.unwrap()).await;
        for number in 0..200 {
            log.emit(Event::new("fake.one", "counted", number.to_string()).level(Level::Warning).field("n", number));
        }
        assert_eq!(live.recv().await.unwrap().message, "0");
        running.stop().await.unwrap();
        // The node has closed its store.
        let again = test.open_again(windlass_store::testing::options()).await.unwrap();
        let builder = NodeBuilder::with_store(settings(), again, std::sync::Arc::new(PlainSecrets)).await.unwrap();
        let stored = messages(builder.events(), 500).await;
        assert_eq!(stored.len(), 200);
        assert_eq!((stored[0].as_str(), stored[199].as_str()), ("199", "0"));
    }
}

#[tokio::test]
async fn a_recorded_event_lives_and_dies_with_its_transaction() {
    for test in stores().await {
        let builder = NodeBuilder::with_store(settings(), test.store.clone(), std::sync::Arc::new(PlainSecrets)).await.unwrap();
        let log = builder.events().clone();
        for (message, fails) in [("kept", false), ("taken back", true)] {
            let log = log.clone();
            let written: Result<(), anyhow_like::Error> = test
                .store
                .write("test", move |tx| {
                    Box::pin(async move {
                        log.record(tx, Event::new("fake.one", "changed", message)).await?;
                        if fails { Err(anyhow_like::Error) } else { Ok(()) }
                    })
                })
                .await;
            assert_eq!(written.is_err(), fails);
        }
        assert_eq!(messages(&log, 10).await, ["kept"]);
    }
}

mod anyhow_like {
    #[derive(Debug)]
    pub(crate) struct Error;

    impl From<windlass_store::StoreError> for Error {
        fn from(error: windlass_store::StoreError) -> Self {
            panic!("{error}")
        }
    }
}

#[tokio::test]
async fn old_events_go_and_long_ones_are_cut() {
    for test in stores().await {
        let mut settings = settings();
        settings.node.events_kept = 10;
        let first =
            NodeBuilder::with_store(settings.clone(), test.store.clone(), std::sync::Arc::new(PlainSecrets)).await.unwrap();
        let log = first.events().clone();
        for number in 0..25 {
            let (log, event) = (log.clone(), Event::new("fake.one", "counted", format!("{number} {}", "é".repeat(3_000))));
            test.store.write("test", move |tx| Box::pin(async move { log.record(tx, event).await.map(|_| ()) })).await.unwrap();
        }
        let running = Running::start(node(settings, test.store.clone(), Vec::new()).await.unwrap()).await;
        for _ in 0..1_000 {
            if messages(&log, 500).await.len() == 10 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let left = messages(&log, 500).await;
        assert_eq!(left.len(), 10, "the oldest are removed");
        assert!(left[0].starts_with("24 ") && left[0].len() < 2_010 && left[0].ends_with('…'));
        running.stop().await.unwrap();
    }
}
