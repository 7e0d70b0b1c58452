//! What is said and when, and what goes over the wire.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use windlass_store::{ManualClock, Store};

use super::super::{Alert, Alerts, Severity};
use super::*;
use crate::config::{AlertChannel, AlertSection, SecretText};

const SECRET_PATH: &str = "/services/T000/B000/verysecretkey";

/// What a request brought.
#[derive(Clone, Debug)]
struct Received {
    path: String,
    authorization: Option<String>,
    body: Value,
}

/// A server that notes what it is sent and answers as it was told, then with 200.
#[derive(Clone, Default)]
struct Place {
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
}

impl Place {
    async fn open(answers: &[(u16, Value)]) -> (Self, String) {
        let place = Self::default();
        place.answers.lock().extend(answers.iter().cloned());
        let router = Router::new().fallback(take).with_state(place.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (place, url)
    }

    async fn wait(&self, count: usize) -> Vec<Received> {
        for _ in 0..1_000 {
            let received = self.received.lock().clone();
            if received.len() >= count {
                return received;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("only {:?} of {count} messages came", self.received.lock());
    }
}

async fn take(State(place): State<Place>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(request.into_body(), 100_000).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap();
    place.received.lock().push(Received { path, authorization, body });
    let (status, body) = place.answers.lock().pop_front().unwrap_or((200, json!({})));
    (axum::http::StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

fn section(channel: AlertChannel) -> AlertSection {
    AlertSection {
        channel,
        url: None,
        token: None,
        chat_id: Some("-100".to_owned()),
        min_severity: Severity::Warning,
        per_minute: 60,
        repeat_after: Duration::from_secs(3_600),
    }
}

fn channel_of(section: &AlertSection, url: &str, token: Option<&str>) -> Channel {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let book = Some("https://docs.example.org/book/".parse().unwrap());
    let url = Some(SecretText::new(url));
    Channel::new("ops", section, url, token.map(SecretText::new), "node-a", book, reqwest::Client::new()).unwrap()
}

fn alert(key: &str, severity: Severity) -> Alert {
    Alert::new("payer.x", key, severity, "not paid & <sad>", "operations/runbook.html#unpaid").detail("owed: 5 SPT")
}

/// Alerts with one running channel.
fn alerts_with(channel: Channel, told: &[ActiveAlert]) -> (Alerts, CancellationToken, tokio::task::JoinHandle<()>) {
    let clock = ManualClock::new(windlass_store::UnixMillis(1_700_000_000_000));
    let alerts = Alerts::new(Arc::new(clock));
    let mut worker = Worker::new(channel, alerts.add_channel("ops"), told);
    worker.outbox.backoff = Backoff { initial: Duration::from_millis(20), max: Duration::from_millis(40), ..Backoff::default() };
    let stop = CancellationToken::new();
    let token = stop.clone();
    let task = tokio::spawn(async move { worker.run(token).await });
    (alerts, stop, task)
}

#[tokio::test]
async fn each_channel_gets_its_own_form() {
    let cases = [
        (AlertChannel::Webhook, "/hook", None),
        (AlertChannel::Slack, SECRET_PATH, None),
        (AlertChannel::Discord, "/api/webhooks/1/key", None),
        (AlertChannel::Telegram, "", Some("123:token")),
    ];
    let mut bodies = Vec::new();
    for (kind, path, token) in cases {
        let (place, url) = Place::open(&[]).await;
        let token = token.or((kind == AlertChannel::Webhook).then_some("bearer-me"));
        let (alerts, ..) = alerts_with(channel_of(&section(kind), &format!("{url}{path}"), token), &[]);
        alerts.raise(alert("unpaid", Severity::Critical));
        let received = place.wait(1).await.remove(0);
        assert_eq!(received.path, if kind == AlertChannel::Telegram { "/bot123:token/sendMessage" } else { path });
        let wanted = (kind == AlertChannel::Webhook).then(|| "Bearer bearer-me".to_owned());
        assert_eq!(received.authorization, wanted, "a token goes only where it belongs");
        bodies.push(received.body);
    }
    let text = "[CRITICAL] payer.x: not paid & <sad>\nowed: 5 SPT\nsince 2023-11-14T22:13:20Z, node node-a\n\
                what to do: https://docs.example.org/book/operations/runbook.html#unpaid";
    assert_eq!(
        bodies[0],
        json!({"event": "raised", "node": "node-a", "service": "payer.x", "key": "unpaid", "severity": "critical",
            "title": "not paid & <sad>", "detail": "owed: 5 SPT", "since": "2023-11-14T22:13:20Z", "not_sent": 0,
            "runbook": "https://docs.example.org/book/operations/runbook.html#unpaid"})
    );
    assert_eq!(bodies[1], json!({"text": text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")}));
    assert_eq!(bodies[2], json!({"content": text, "allowed_mentions": {"parse": []}}));
    assert_eq!(bodies[3], json!({"chat_id": "-100", "text": text, "link_preview_options": {"is_disabled": true}}));
}

#[tokio::test]
async fn a_condition_is_told_once_and_its_end_once() {
    let (place, url) = Place::open(&[]).await;
    let (alerts, stop, task) = alerts_with(channel_of(&section(AlertChannel::Webhook), &url, None), &[]);
    for _ in 0..5 {
        alerts.raise(alert("unpaid", Severity::Warning));
    }
    place.wait(1).await;
    // Other words for the same condition are no news; a higher severity is.
    alerts.raise(alert("unpaid", Severity::Warning).detail("owed: 6 SPT"));
    alerts.raise(alert("unpaid", Severity::Critical));
    place.wait(2).await;
    alerts.resolve("payer.x", "unpaid");
    alerts.resolve("payer.x", "unpaid");
    alerts.resolve("payer.x", "never raised");
    place.wait(3).await;
    // What the channel does not want to hear, it does not hear the end of either.
    alerts.raise(alert("small", Severity::Info));
    alerts.resolve("payer.x", "small");
    stop.cancel();
    task.await.unwrap();
    let events: Vec<(String, String)> = place
        .received
        .lock()
        .iter()
        .map(|r| (r.body["event"].as_str().unwrap().to_owned(), r.body["severity"].as_str().unwrap().to_owned()))
        .collect();
    let wanted = [("raised", "warning"), ("raised", "critical"), ("resolved", "critical")];
    assert_eq!(events, wanted.map(|(event, severity)| (event.to_owned(), severity.to_owned())));
    assert!(alerts.active().is_empty());
}

#[tokio::test]
async fn failures_are_tried_again_unless_that_cannot_help() {
    let slow_down = json!({"parameters": {"retry_after": 0.05}});
    let (place, url) = Place::open(&[(500, json!({})), (429, slow_down), (200, json!({})), (404, json!({}))]).await;
    let (alerts, stop, task) = alerts_with(channel_of(&section(AlertChannel::Webhook), &url, None), &[]);
    alerts.raise(alert("first", Severity::Warning));
    place.wait(3).await;
    alerts.raise(alert("gone", Severity::Warning));
    place.wait(4).await;
    alerts.raise(alert("third", Severity::Warning));
    place.wait(5).await;
    stop.cancel();
    task.await.unwrap();
    let keys: Vec<String> = place.received.lock().iter().map(|r| r.body["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(keys, ["first", "first", "first", "gone", "third"]);
}

#[tokio::test]
async fn what_waits_at_the_stop_is_sent_before_the_end() {
    let (place, url) = Place::open(&[]).await;
    let (alerts, stop, task) = alerts_with(channel_of(&section(AlertChannel::Webhook), &url, None), &[]);
    stop.cancel();
    alerts.raise(alert("last words", Severity::Critical));
    task.await.unwrap();
    assert_eq!(place.received.lock().len(), 1);
}

#[tokio::test]
async fn no_error_holds_the_url() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{SECRET_PATH}", listener.local_addr().unwrap());
    drop(listener);
    let message = Message {
        notice: Notice::Raised(ActiveAlert { alert: alert("unpaid", Severity::Critical), since_ms: 0 }),
        repeated: false,
        dropped: 0,
    };
    let failure = channel_of(&section(AlertChannel::Slack), &url, None).send(&message).await.unwrap_err();
    let text = format!("{failure:?}");
    assert!(!text.contains("verysecretkey") && !text.contains("B000"), "{text}");
    assert!(matches!(failure, Failure::Transient { .. }), "{text}");
    let (_, url) = Place::open(&[(403, json!({}))]).await;
    let failure =
        channel_of(&section(AlertChannel::Slack), &format!("{url}{SECRET_PATH}"), None).send(&message).await.unwrap_err();
    assert_eq!(failure, Failure::Permanent { problem: "127.0.0.1 answered 403 Forbidden".to_owned() });
    let bad = SecretText::new("not a url with verysecretkey");
    let bad = Channel::new("ops", &section(AlertChannel::Slack), Some(bad), None, "n", None, reqwest::Client::new());
    assert!(!bad.err().unwrap().contains("verysecretkey"));
}

#[tokio::test]
async fn a_restart_neither_repeats_nor_forgets() {
    let store = Store::open("sqlite::memory:").await.unwrap();
    store.migrate(&crate::migrations::MIGRATIONS).await.unwrap();
    let services = ["payer.x".to_owned()];
    let before = Alerts::new(store.clock());
    before.raise(alert("unpaid", Severity::Critical));
    before.raise(Alert { service: "payer.removed".to_owned(), ..alert("unpaid", Severity::Critical) });
    let done = CancellationToken::new();
    done.cancel();
    before.keep(store.clone(), done.clone()).await.unwrap();
    // The next start.
    let (place, url) = Place::open(&[]).await;
    let after = Alerts::new(store.clock());
    let told = after.load(&store, &services).await.unwrap();
    assert_eq!(
        told.iter().map(|a| a.alert.service.as_str()).collect::<Vec<_>>(),
        ["payer.x"],
        "services that are gone are forgotten"
    );
    let mut worker = Worker::new(channel_of(&section(AlertChannel::Webhook), &url, None), after.add_channel("ops"), &told);
    let stop = CancellationToken::new();
    let token = stop.clone();
    let task = tokio::spawn(async move { worker.run(token).await });
    after.raise(alert("unpaid", Severity::Critical));
    after.resolve("payer.x", "unpaid");
    let received = place.wait(1).await;
    stop.cancel();
    task.await.unwrap();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].body["event"], "resolved");
    after.keep(store.clone(), done).await.unwrap();
    assert!(Alerts::new(store.clock()).load(&store, &services).await.unwrap().is_empty());
}

// From here on without a network: what is due when.

fn outgoing(per_minute: u32) -> Outgoing {
    let mut section = section(AlertChannel::Webhook);
    section.per_minute = per_minute;
    let mut made = Outgoing::new(&channel_of(&section, "http://localhost/", None));
    made.backoff.jitter = 0.0;
    made
}

fn raised(key: &str) -> Notice {
    Notice::Raised(ActiveAlert { alert: alert(key, Severity::Warning), since_ms: 0 })
}

fn resolved(key: &str) -> Notice {
    Notice::Resolved(ActiveAlert { alert: alert(key, Severity::Warning), since_ms: 0 })
}

#[test]
fn a_channel_sends_its_budget_and_then_at_its_rate() {
    let mut outgoing = outgoing(3);
    let start = Instant::now();
    for number in 0..5 {
        outgoing.add(raised(&number.to_string()));
    }
    let mut sent = Vec::new();
    for second in 0..60 {
        let now = start + Duration::from_secs(second);
        while let Some(message) = outgoing.take(now) {
            sent.push(second);
            outgoing.sent(&message, now);
        }
    }
    assert_eq!(sent, [0, 0, 0, 20, 40]);
}

#[test]
fn what_comes_and_goes_while_it_waits_is_not_told() {
    let mut outgoing = outgoing(60);
    outgoing.add(raised("a"));
    outgoing.add(resolved("a"));
    assert!(outgoing.take(Instant::now()).is_none());
    // Told, over, and there again before the end was told: nothing to say but that it is there.
    outgoing.add(raised("b"));
    let message = outgoing.take(Instant::now()).unwrap();
    outgoing.sent(&message, Instant::now());
    outgoing.add(resolved("b"));
    outgoing.add(raised("b"));
    assert_eq!(outgoing.waiting, [raised("b")]);
}

#[test]
fn a_flood_is_bounded_and_counted() {
    let mut outgoing = outgoing(60);
    for number in 0..MAX_WAITING + 7 {
        outgoing.add(raised(&number.to_string()));
    }
    assert_eq!(outgoing.waiting.len(), MAX_WAITING);
    let message = outgoing.take(Instant::now()).unwrap();
    assert_eq!(message.dropped, 7);
    outgoing.sent(&message, Instant::now());
    assert_eq!(outgoing.dropped, 0);
}

#[test]
fn a_condition_that_lasts_is_told_again() {
    let mut outgoing = outgoing(60);
    let start = Instant::now();
    outgoing.add(raised("a"));
    let message = outgoing.take(start).unwrap();
    outgoing.sent(&message, start);
    let hour = Duration::from_secs(3_600);
    assert!(outgoing.take(start + hour - Duration::from_secs(1)).is_none());
    let again = outgoing.take(start + hour).unwrap();
    assert!(again.repeated);
    outgoing.sent(&again, start + hour);
    assert!(outgoing.take(start + hour + Duration::from_secs(1)).is_none());
}

#[test]
fn a_failing_channel_waits_longer_each_time_and_gives_up() {
    let mut outgoing = outgoing(60);
    let mut now = Instant::now();
    outgoing.add(raised("a"));
    let mut waits = Vec::new();
    loop {
        let message = outgoing.take(now).unwrap();
        let again = outgoing.failed(message, None, now);
        let due = outgoing.paused_until.unwrap();
        waits.push((due - now).as_secs());
        now = due;
        if !again {
            break;
        }
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
    assert!(outgoing.take(now).is_none());
    // The next message may go again.
    outgoing.add(raised("b"));
    assert!(outgoing.take(now).is_some());
    // The other side may ask for more time, within reason.
    outgoing.failed(Message { notice: raised("c"), repeated: false, dropped: 0 }, Some(Duration::from_secs(90)), now);
    assert_eq!(outgoing.paused_until.unwrap() - now, Duration::from_secs(90));
}
