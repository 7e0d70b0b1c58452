//! The dashboard: escaping, content security, live changes, and (with WINDLASS_TEST_CHROMIUM=<binary>) a real browser.

#![allow(missing_docs, clippy::print_stderr, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use support::{Answer, Running, fetch, memory, settings};
use tower::ServiceExt as _;
use windlass_node::alerts::{Alert, Severity};
use windlass_node::events::Event;
use windlass_node::{
    BarsView, ChainHead, ColumnView, EndpointView, Node, NodeBuilder, OutboxView, PlainSecrets, Readiness, Service,
    ServiceContext, ServiceError, ServiceStatus, TableView,
};

/// What an attacker could make appear in a name, an error of an endpoint or a token's symbol.
const NASTY: &str = "\"><script>document.title='owned'</script><img src=x onerror=document.title='owned'>'&";

struct Nasty;

#[async_trait]
impl Service for Nasty {
    fn name(&self) -> &str {
        "fake.nasty"
    }

    fn kind(&self) -> &'static str {
        "fake"
    }

    async fn status(&self) -> ServiceStatus {
        let text = || NASTY.to_owned();
        let mut status = ServiceStatus::new("", "", text());
        status.ready = Readiness::NotReady(vec![text()]);
        status.summary = vec![(text(), text())];
        let endpoint = EndpointView { host: text(), healthy: false, head: None, latency_ms: None, note: Some(text()) };
        status.chains = vec![ChainHead { chain: text(), number: Some(7), age_seconds: Some(90), endpoints: vec![endpoint] }];
        status.outboxes = vec![OutboxView {
            chain: text(),
            account: text(),
            counts: vec![(text(), 12_345)],
            held: Some(text()),
            oldest_age_seconds: Some(4_000),
        }];
        status.bars = vec![BarsView::new(text(), [(text(), 3), (text(), 0), (text(), u64::MAX)])];
        let columns = [ColumnView::number(text()), ColumnView::text(text()), ColumnView::text("absent")];
        status.tables = vec![TableView { note: Some(text()), ..TableView::new(text(), columns).row([text(), text()]) }];
        status
    }

    async fn run(self: Arc<Self>, ctx: ServiceContext) -> Result<(), ServiceError> {
        ctx.shutdown.cancelled().await;
        Ok(())
    }
}

async fn nasty_node() -> Node {
    let builder = NodeBuilder::with_store(settings(), memory().await, Arc::new(PlainSecrets)).await.unwrap();
    let alert = Alert::new("fake.nasty", NASTY, Severity::Critical, NASTY, NASTY).detail(NASTY);
    builder.alerts().raise(alert);
    let (events, event) = (builder.events().clone(), Event::new(NASTY, NASTY, NASTY).field(NASTY, NASTY));
    let store = builder.store().clone();
    store.write("test", move |tx| Box::pin(async move { events.record(tx, event).await.map(|_| ()) })).await.unwrap();
    builder.service(Arc::new(Nasty)).build().await.unwrap()
}

#[tokio::test]
async fn everything_is_shown_and_everything_is_escaped() {
    let page = fetch(&nasty_node().await.router(), "/").await;
    assert_eq!(page.status, 200);
    assert!(page.headers["content-type"].starts_with("text/html"));
    let body = &page.body;
    // Tags and attributes of the templates only. The escaped text is there, in every place.
    assert!(
        !body.contains("<img") && !body.contains("<script>") && !body.contains("onerror=document.title='owned'></"),
        "{body}"
    );
    let escaped = "&quot;&gt;&lt;script&gt;document.title='owned'&lt;/script&gt;";
    assert!(body.matches(escaped).count() >= 25, "{} places only", body.matches(escaped).count());
    for shown in ["fake.nasty", "12345", "1 min 30 s", "1 h 6 min", "Not ready", "critical", "node-a"] {
        assert!(body.contains(shown), "{shown} is not shown");
    }
}

#[tokio::test]
async fn nothing_inline_and_nothing_foreign_may_run() {
    let router = nasty_node().await.router();
    let page = fetch(&router, "/").await;
    let policy = &page.headers["content-security-policy"];
    assert!(
        policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    let login = fetch(&router, "/login").await;
    for body in [&page.body, &login.body] {
        // Escaped text of services may hold these words; the templates may not.
        let own = body.replace("onerror=document.title='owned'", "");
        for forbidden in [" onclick=", " onload=", " onerror=", " style=", "<style", "javascript:", "http://", "https://"] {
            assert!(!own.contains(forbidden), "{forbidden} is in the page");
        }
    }
    for (path, kind) in
        [("/assets/dashboard.css", "text/css"), ("/assets/dashboard.js", "text/javascript"), ("/assets/icon.svg", "image/svg")]
    {
        let asset = fetch(&router, path).await;
        assert!(asset.status == 200 && asset.headers["content-type"].starts_with(kind), "{path}");
        assert!(page.body.contains(path), "{path} is not used");
    }
}

#[tokio::test]
async fn a_page_can_be_read_by_everybody() {
    let page = fetch(&nasty_node().await.router(), "/").await.body;
    assert!(page.contains("<html lang=\"en\">") && page.contains("name=\"viewport\"") && page.contains("Skip to content"));
    // One heading of the first level, and no table without headings.
    assert_eq!(page.matches("<h1>").count(), 1);
    assert_eq!(page.matches("<table>").count(), page.matches("<thead>").count());
    assert_eq!(page.matches("<th ").count(), page.matches("<th scope=").count());
    // Every badge has a word beside its colour and its sign.
    for badge in page.split("class=\"badge ").skip(1) {
        let text = badge.split("</span>").nth(1).unwrap();
        assert!(text.trim().chars().count() >= 2, "{text:?}");
    }
    // Without script it renews itself.
    assert!(page.contains("<noscript><meta http-equiv=\"refresh\""));
}

#[tokio::test]
async fn bars_are_as_long_as_their_share_and_rows_keep_their_columns() {
    let page = fetch(&nasty_node().await.router(), "/").await.body;
    let widths: Vec<_> = page.split("<rect width=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    // What is there can be seen beside the largest number there is; what is not there cannot.
    assert_eq!(widths, ["10", "0", "1000"]);
    assert!(page.contains(&format!("<span class=\"number\">{}</span>", u64::MAX)), "the number stands beside its bar");
    let table = page.split("class=\"scroll\"").find(|part| part.contains(">absent</th>")).unwrap();
    let body = table.split("<tbody>").nth(1).unwrap().split("</tbody>").next().unwrap();
    assert_eq!(body.matches("<th scope=\"row\" class=\"number\">").count(), 1);
    assert_eq!(body.matches("<td>").count(), 2, "a short row is filled up: {body}");
}

#[tokio::test]
async fn a_service_without_them_says_nothing_about_bars_and_tables() {
    let status = serde_json::to_value(ServiceStatus::new("fake.one", "fake", "idle")).unwrap();
    assert!(status.get("bars").is_none() && status.get("tables").is_none(), "{status}");
}

#[tokio::test]
async fn an_idle_node_says_what_to_do() {
    let builder = NodeBuilder::with_store(settings(), memory().await, Arc::new(PlainSecrets)).await.unwrap();
    let page: Answer = fetch(&builder.build().await.unwrap().router(), "/").await;
    assert!(page.body.contains("No service is configured") && page.body.contains("windlass init"));
}

#[tokio::test]
async fn changes_are_sent_while_the_page_is_open() {
    let builder = NodeBuilder::with_store(settings(), memory().await, Arc::new(PlainSecrets)).await.unwrap();
    let alerts = builder.alerts().clone();
    let router = builder.build().await.unwrap().router();
    let request = axum::http::Request::get("/live").header("host", "localhost").body(axum::body::Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let mut next = async || {
        let mut text = String::new();
        while !text.contains("\n\n") {
            let frame = tokio::time::timeout(std::time::Duration::from_secs(10), body.frame()).await.unwrap().unwrap().unwrap();
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
        text
    };
    let first = next().await;
    assert!(first.contains("event: content") && !first.contains("the tide is out"), "{first}");
    alerts.raise(Alert::new("fake.one", "tide", Severity::Warning, "the tide is out", "runbook"));
    for _ in 0..5 {
        if next().await.contains("the tide is out") {
            return;
        }
    }
    panic!("the alert did not reach the page");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_it_and_runs_nothing_foreign() {
    let Some(chromium) = std::env::var_os("WINDLASS_TEST_CHROMIUM").filter(|path| !path.is_empty()) else {
        eprintln!("no browser test: WINDLASS_TEST_CHROMIUM is not set");
        return;
    };
    let running = Running::start(nasty_node().await).await;
    let profile = tempfile::tempdir().unwrap();
    let url = format!("http://{}/", running.address);
    let output = tokio::task::spawn_blocking(move || {
        Command::new(chromium)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"])
            .args(["--timeout=3000", "--dump-dom"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(dom.contains("data-live=\"on\""), "the script did not run: {dom}\n{log}");
    assert!(dom.contains("<title>node-a · Windlass</title>"), "a foreign script ran: {dom}");
    assert!(dom.contains("fake.nasty") && dom.contains("12345"), "{dom}");
    assert!(!log.contains("Content Security Policy") && !log.contains("Uncaught"), "{log}");
    running.stop().await.unwrap();
}
