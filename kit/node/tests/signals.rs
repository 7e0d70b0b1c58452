//! Signals. In a file of its own because a signal goes to the whole process.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use support::{Fake, memory, node, settings, until};
use windlass_node::Outcome;

fn send(signal: &str) {
    let own = std::process::id().to_string();
    assert!(Command::new("kill").args([signal, &own]).status().unwrap().success());
}

#[tokio::test]
async fn the_first_signal_stops_in_order_and_the_second_at_once() {
    for (signal, slow_stop, wanted) in [
        ("-TERM", Duration::from_millis(100), Outcome::Stopped),
        ("-INT", Duration::from_millis(100), Outcome::Stopped),
        ("-TERM", Duration::from_secs(600), Outcome::Forced),
    ] {
        let service = Arc::new(Fake { slow_stop, ..Fake::named("fake.one") });
        let node = node(settings(), memory().await, vec![service.clone()]).await.unwrap();
        let stop = node.shutdown_token();
        let running = tokio::spawn(node.run());
        until("the service runs", || service.acting.load(Ordering::SeqCst) == 1).await;
        let begin = Instant::now();
        send(signal);
        until("the first signal is heard", || stop.is_cancelled()).await;
        if wanted == Outcome::Forced {
            assert!(!running.is_finished());
            send("-INT");
        }
        assert_eq!(running.await.unwrap().unwrap(), wanted, "{signal}");
        assert!(begin.elapsed() < Duration::from_secs(5));
        let acting = service.acting.load(Ordering::SeqCst);
        assert_eq!(acting, u32::from(wanted == Outcome::Forced), "an ordered stop waits for the service");
    }
}
