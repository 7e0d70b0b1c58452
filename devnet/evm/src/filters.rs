//! Filters that clients poll (`eth_newFilter` and its kin).

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use alloy_primitives::map::DefaultHashBuilder;
use alloy_primitives::{U128, keccak256};
use alloy_rpc_types_eth::Filter;

use crate::chain::Event;

/// A filter that nobody asked for so long is removed.
const IDLE: Duration = Duration::from_secs(5 * 60);

/// After so many recorded events idle filters are looked for again.
const SWEEP_EVERY: usize = 4_096;

/// What a filter reports.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Logs(Box<Filter>),
    Blocks,
    Pending,
}

#[derive(Debug)]
struct Installed {
    kind: Kind,
    /// Position in the event log of the next event to report.
    position: u64,
    used: Instant,
}

/// All installed filters, and the events that at least one of them has not reported yet.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    installed: HashMap<U128, Installed, DefaultHashBuilder>,
    log: VecDeque<Event>,
    /// Position of the first event in `log`.
    base: u64,
    made: u64,
}

impl Filters {
    /// Installs a filter that reports what happens from now on.
    pub(crate) fn install(&mut self, kind: Kind) -> U128 {
        self.sweep();
        self.made += 1;
        let digest = keccak256([b"filter".as_slice(), &self.made.to_be_bytes()].concat());
        let id = U128::from_be_slice(digest.get(..16).unwrap_or_default());
        let position = self.base + self.log.len() as u64;
        self.installed.insert(id, Installed { kind, position, used: Instant::now() });
        id
    }

    pub(crate) fn uninstall(&mut self, id: U128) -> bool {
        let found = self.installed.remove(&id).is_some();
        self.trim();
        found
    }

    pub(crate) fn kind(&self, id: U128) -> Option<&Kind> {
        self.installed.get(&id).map(|filter| &filter.kind)
    }

    /// What happened since the last call for this filter; `None` if there is no such filter.
    pub(crate) fn take(&mut self, id: U128) -> Option<(Kind, Vec<Event>)> {
        self.sweep();
        let filter = self.installed.get_mut(&id)?;
        filter.used = Instant::now();
        let skip = usize::try_from(filter.position.saturating_sub(self.base)).ok()?;
        let events = self.log.iter().skip(skip).cloned().collect();
        filter.position = self.base + self.log.len() as u64;
        let kind = filter.kind.clone();
        self.trim();
        Some((kind, events))
    }

    pub(crate) fn record(&mut self, event: &Event) {
        if self.installed.is_empty() {
            return;
        }
        self.log.push_back(event.clone());
        if self.log.len().is_multiple_of(SWEEP_EVERY) {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        self.installed.retain(|_, filter| filter.used.elapsed() < IDLE);
        self.trim();
    }

    /// Drops events that every filter has reported.
    fn trim(&mut self) {
        let end = self.base + self.log.len() as u64;
        let oldest = self.installed.values().map(|filter| filter.position).min().unwrap_or(end);
        while self.base < oldest && self.log.pop_front().is_some() {
            self.base += 1;
        }
    }
}
