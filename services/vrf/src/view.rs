//! What people see of a relay: sections of the dashboard, and figures in words.

use std::collections::BTreeMap;

use serde::Serialize;
use windlass_node::config::Amount;
use windlass_node::{BarsView, ColumnView, TableView};
use windlass_store::UnixMillis;

use crate::config::VrfConfig;
use crate::machine::{State, Task};
use crate::shared::{Balances, DriftView};

/// Held tasks that the dashboard lists.
pub(crate) const HELD_ROWS: u32 = 8;

/// Upper bounds of the bars of latencies, milliseconds.
const BOUNDS: [u64; 9] = [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000];

/// How long the latest relays took, from the request to the relay in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Latencies {
    /// How many relays these figures are of: the latest ones since the start, at most 1,024.
    pub(crate) relays: usize,
    /// Half of them took at most so long, milliseconds.
    pub(crate) p50_ms: u64,
    /// Nine of ten.
    pub(crate) p90_ms: u64,
    /// Ninety-nine of a hundred.
    pub(crate) p99_ms: u64,
    /// The slowest.
    pub(crate) max_ms: u64,
}

impl Latencies {
    /// From sorted latencies in milliseconds; `None` if there are none.
    pub(crate) fn of(sorted: &[u64]) -> Option<Self> {
        Some(Self {
            relays: sorted.len(),
            p50_ms: percentile(sorted, 50)?,
            p90_ms: percentile(sorted, 90)?,
            p99_ms: percentile(sorted, 99)?,
            max_ms: sorted.last().copied()?,
        })
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { relays, p50_ms, p90_ms, p99_ms, .. } = self;
        write!(f, "p50 {p50_ms} ms, p90 {p90_ms} ms, p99 {p99_ms} ms of {relays} relays")
    }
}

/// The smallest value that `percent` of the values do not exceed.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100).max(1);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Unfinished tasks per state, all states, so that the bars keep their places.
pub(crate) fn state_bars(states: &BTreeMap<State, u64>) -> BarsView {
    let unfinished = State::ALL.into_iter().filter(|state| !state.is_terminal());
    let bars = unfinished.map(|state| (state.name().replace('_', " "), states.get(&state).copied().unwrap_or(0)));
    BarsView::new("Tasks by state", bars)
}

/// How many of the latest relays took how long, without the empty bars at both ends.
pub(crate) fn latency_bars(sorted: &[u64]) -> BarsView {
    let mut bars = Vec::new();
    let (mut from, mut lower) = (0, 0);
    for upper in BOUNDS.into_iter().chain([u64::MAX]) {
        let until = sorted.partition_point(|ms| *ms < upper || upper == u64::MAX);
        let count = u64::try_from(until.saturating_sub(from)).unwrap_or(u64::MAX);
        let label = match (lower, upper) {
            (0, upper) => format!("under {}", seconds(upper)),
            (lower, u64::MAX) => format!("{} and more", seconds(lower)),
            (lower, upper) => format!("{} to {}", seconds(lower), seconds(upper)),
        };
        bars.push((label, count));
        (from, lower) = (until, upper);
    }
    let first = bars.iter().position(|(_, count)| *count > 0).unwrap_or(bars.len());
    let end = bars.iter().rposition(|(_, count)| *count > 0).map_or(first, |last| last.saturating_add(1));
    BarsView::new("Time from request to relay", bars.drain(first..end).collect::<Vec<_>>())
}

fn seconds(ms: u64) -> String {
    if ms.is_multiple_of(1_000) { format!("{} s", ms / 1_000) } else { format!("{ms} ms") }
}

/// The oldest held tasks.
pub(crate) fn held_table(tasks: &[Task], counts: &BTreeMap<String, u64>, now: UnixMillis) -> TableView {
    let columns = [ColumnView::number("Task"), ColumnView::text("State"), ColumnView::number("Age"), ColumnView::text("Why")];
    let mut table = TableView::new("Held tasks", columns);
    for task in tasks {
        let age = span(now.saturating_since(task.seen_at).as_secs());
        table = table.row([task.chain.nonce.to_string(), task.state.name().replace('_', " "), age, task.why()]);
    }
    let held = counts.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
    let more = held.saturating_sub(u64::try_from(tasks.len()).unwrap_or(u64::MAX));
    if more > 0 {
        table.note = Some(format!("{more} more are held; `windlass vrf status` lists all"));
    }
    table
}

/// What both accounts hold. An account that could not be read shows so.
pub(crate) fn funds_table(config: &VrfConfig, chain: &str, balances: &Balances) -> TableView {
    let columns = [ColumnView::text("Account"), ColumnView::number("Holds"), ColumnView::number("Alert below")];
    let unknown = || "unknown".to_owned();
    let client = balances.client_wei.map_or_else(unknown, |wei| short(Amount(wei)));
    let denom = &config.band.denom;
    let band = balances.band.map_or_else(unknown, |band| format!("{band} {denom}"));
    TableView::new("Funds", columns).row([format!("relays on {chain}"), client, config.low_balance.to_string()]).row([
        "requests on BandChain".to_owned(),
        band,
        format!("{} {denom}", config.band.low_balance),
    ])
}

/// An amount to four places behind the point, cut off: nobody reads eighteen.
fn short(amount: Amount) -> String {
    let text = amount.to_string();
    match text.split_once('.').and_then(|(whole, rest)| Some((whole, rest.split_once(' ')?))) {
        Some((whole, (fraction, unit))) => format!("{whole}.{} {unit}", fraction.get(..4).unwrap_or(fraction)),
        None => text,
    }
}

/// How far the Bridge's validators are from those that sign now.
pub(crate) fn drift_table(drift: &DriftView) -> TableView {
    let spare = match drift.spare_per_mille {
        Some(spare) => format!("{}.{} %", spare / 10, spare % 10),
        None => "none".to_owned(),
    };
    let accepted = if drift.can_relay { "yes" } else { "no" };
    let mut table = TableView::new("Validators of the Bridge", [ColumnView::text("Question"), ColumnView::number("Answer")])
        .row(["Are blocks accepted that all of Band's validators sign?", accepted])
        .row(["How much of the Bridge's power may be missing?", spare.as_str()]);
    table.note = Some(drift.text.clone());
    table
}

/// A span of time in its two largest units.
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, _) => format!("{hours} h {} min", minutes % 60),
        (days, ..) => format!("{days} d {} h", hours % 24),
    }
}

/// A moment as a date in UTC, to the millisecond; the number itself where no calendar reaches.
pub(crate) fn moment(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| format!("{at:.3}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use alloy_primitives::U256;

    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        assert_eq!(Latencies::of(&[]), None);
        let one = Latencies::of(&[7]).unwrap();
        assert_eq!((one.p50_ms, one.p90_ms, one.p99_ms, one.max_ms), (7, 7, 7, 7));
        let hundred: Vec<u64> = (1..=100).collect();
        let figures = Latencies::of(&hundred).unwrap();
        assert_eq!((figures.p50_ms, figures.p90_ms, figures.p99_ms, figures.max_ms), (50, 90, 99, 100));
        assert_eq!(figures.to_string(), "p50 50 ms, p90 90 ms, p99 99 ms of 100 relays");
    }

    #[test]
    fn bars_hold_every_relay_once() {
        assert!(latency_bars(&[]).bars.is_empty());
        let view = latency_bars(&[249, 250, 999, 1_000, 1_999, 63_999, 64_000, u64::MAX]);
        let bars: Vec<_> = view.bars.iter().map(|(label, count)| (label.as_str(), *count)).collect();
        assert_eq!(
            bars,
            [
                ("under 250 ms", 1),
                ("250 ms to 500 ms", 1),
                ("500 ms to 1 s", 1),
                ("1 s to 2 s", 2),
                ("2 s to 4 s", 0),
                ("4 s to 8 s", 0),
                ("8 s to 16 s", 0),
                ("16 s to 32 s", 0),
                ("32 s to 64 s", 1),
                ("64 s and more", 2)
            ]
        );
        assert_eq!(latency_bars(&[3_000, 5_000]).bars.len(), 2);
    }

    #[test]
    fn states_keep_their_places() {
        let bars = state_bars(&BTreeMap::from([(State::BandIncluded, 3), (State::Resolved, 900)])).bars;
        assert_eq!(bars.len(), 8);
        assert!(bars.contains(&("band included".to_owned(), 3)) && bars.contains(&("seen".to_owned(), 0)));
    }

    #[test]
    fn spans_and_drift_in_words() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min"), (90_000, "1 d 1 h")] {
            assert_eq!(span(seconds), text);
        }
        let drift = DriftView { text: "x".to_owned(), can_relay: true, spare_per_mille: Some(123) };
        assert_eq!(drift_table(&drift).rows.last().unwrap(), &["How much of the Bridge's power may be missing?", "12.3 %"]);
        let refused = DriftView { can_relay: false, spare_per_mille: None, ..drift };
        assert_eq!(drift_table(&refused).rows[0][1], "no");
        for (wei, text) in
            [(5_u64, "5 wei"), (9_999_987_273_557_684_911, "9.9999 ether"), (2_500_000_000_000_000_000, "2.5 ether")]
        {
            assert_eq!(short(Amount(U256::from(wei))), text);
        }
        assert_eq!(moment(70), "1970-01-01T00:00:00.070Z");
    }
}
