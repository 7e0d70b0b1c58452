//! A node with services that only pretend, to look at the dashboard and for the browser test.
//!
//! `cargo run -p windlass-node --example dashboard -- [port]` prints its address on standard error and runs until it is stopped.

#![allow(clippy::print_stderr)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use windlass_node::alerts::{Alert, Severity};
use windlass_node::config::{HttpSection, LogSection};
use windlass_node::events::{Event, Level};
use windlass_node::logs::Logs;
use windlass_node::{
    BarsView, ChainHead, ColumnView, EndpointView, NodeBuilder, OutboxView, PlainSecrets, Readiness, RestartPolicy, Service,
    ServiceContext, ServiceError, ServiceStatus, Settings, TableView,
};
use windlass_store::Store;

/// A service that is well, or not.
struct Pretend {
    name: &'static str,
    well: bool,
}

fn endpoint(host: &str, healthy: bool, note: Option<&str>) -> EndpointView {
    let note = note.map(str::to_owned);
    EndpointView { host: host.to_owned(), healthy, head: Some(38_112_004), latency_ms: healthy.then_some(42), note }
}

fn counts(figures: [u64; 7]) -> Vec<(String, u64)> {
    let states = ["Recorded", "Signed", "Broadcast", "Included", "Final", "Reverted", "Dropped"];
    states.iter().zip(figures).map(|(state, count)| ((*state).to_owned(), count)).collect()
}

#[async_trait]
impl Service for Pretend {
    fn name(&self) -> &str {
        self.name
    }

    fn kind(&self) -> &'static str {
        "payer"
    }

    async fn status(&self) -> ServiceStatus {
        let mut status = ServiceStatus::new(self.name, "payer", if self.well { "paid" } else { "cannot tell" });
        let pairs =
            [("Paid until", "2027-01-04 12:00 UTC"), ("Rate", "0.25 SPT/s"), ("Keyper", "running"), ("Contract", "0x5FbD…0aa3")];
        status.summary = pairs.iter().map(|(label, text)| ((*label).to_owned(), (*text).to_owned())).collect();
        if !self.well {
            status.ready = Readiness::NotReady(vec![
                "the head of chain sepolia is 4 min 10 s old: all endpoints lag".to_owned(),
                "<script>alert('never run')</script> is shown as text".to_owned(),
            ]);
        }
        status.chains = vec![ChainHead {
            chain: if self.well { "gnosis" } else { "sepolia" }.to_owned(),
            number: Some(38_112_004),
            age_seconds: Some(if self.well { 3 } else { 250 }),
            endpoints: vec![
                endpoint("rpc.example.org", self.well, (!self.well).then_some("lags 21 blocks behind")),
                endpoint("two.example.net:8546", false, Some("429: too many requests, again in 30 s")),
            ],
        }];
        status.outboxes = vec![OutboxView {
            chain: status.chains.first().map(|head| head.chain.clone()).unwrap_or_default(),
            account: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".to_owned(),
            counts: counts(if self.well { [0, 0, 1, 2, 1_204, 1, 0] } else { [3, 0, 0, 0, 17, 0, 2] }),
            held: (!self.well).then(|| "the fee is over its limit of 100 gwei".to_owned()),
            oldest_age_seconds: Some(if self.well { 11 } else { 640 }),
        }];
        if self.well {
            status.bars = vec![BarsView::new("Payments by hour", [("09:00", 4), ("10:00", 11), ("11:00", 0), ("12:00", 7)])];
        } else {
            let columns = [ColumnView::number("Payment"), ColumnView::number("Age"), ColumnView::text("Why")];
            let rows = TableView::new("Held payments", columns)
                .row(["17", "10 min 40 s", "the fee is over its limit of 100 gwei; wait, or raise max_fee_per_gas"])
                .row(["18", "9 min 2 s", "the fee is over its limit of 100 gwei; wait, or raise max_fee_per_gas"]);
            status.tables = vec![TableView { note: Some("1 more is held".to_owned()), ..rows }];
        }
        status
    }

    async fn run(self: Arc<Self>, ctx: ServiceContext) -> Result<(), ServiceError> {
        let well = self.well;
        ctx.tasks.spawn("follow", RestartPolicy::on_failure(), move |token| async move {
            if !well {
                return Err("the endpoint answered with something that is no block");
            }
            token.cancelled().await;
            Ok(())
        });
        ctx.events.emit(Event::new(self.name, "started", "Began to watch the contract").field("contract", "0x5FbD…0aa3"));
        if !well {
            ctx.events.emit(Event::new(self.name, "head_stale", "The head of sepolia is old").level(Level::Warning));
            let alert = Alert::new(
                self.name,
                "head",
                Severity::Critical,
                "cannot tell whether it is paid",
                "operations/runbook.html#stale-head",
            );
            ctx.alerts.raise(alert.detail("head of sepolia is 250 s old\nlimit: 120 s"));
        }
        let mut ticks = tokio::time::interval(Duration::from_secs(5));
        let mut block = 38_112_004_u64;
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    block = block.saturating_add(1);
                    if well {
                        ctx.events.emit(Event::new(self.name, "paid", format!("Paid at block {block}")).field("block", block));
                    }
                }
                () = ctx.shutdown.cancelled() => return Ok(()),
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    Logs::install(&LogSection { level: "warn".to_owned(), ..LogSection::default() })?;
    let http = HttpSection { listen: ([127, 0, 0, 1], port).into(), ..HttpSection::default() };
    let mut settings = Settings { http, version: env!("CARGO_PKG_VERSION").to_owned(), ..Settings::default() };
    settings.node.name = Some("harbour-1".to_owned());
    let store = Store::open("sqlite::memory:").await?;
    let node = NodeBuilder::with_store(settings, store, Arc::new(PlainSecrets))
        .await?
        .service(Arc::new(Pretend { name: "payer.gnosis", well: true }))
        .service(Arc::new(Pretend { name: "payer.sepolia", well: false }))
        .build()
        .await?;
    if let Some(address) = node.address() {
        eprintln!("http://{address}/");
    }
    node.run().await?;
    Ok(())
}
