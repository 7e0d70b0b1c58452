//! What status and interface see of a running relay, and how they ask it for something.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use tokio::sync::mpsc;
use windlass_chain::ChainError;
use windlass_store::UnixMillis;

use crate::machine::{Command, Hold, Relay, State};

/// Commands that wait for the agent; more are refused.
const INBOX: usize = 64;
/// Shortest time between two pictures of a busy relay.
const REFRESH: Duration = Duration::from_millis(200);
/// Latencies that are remembered for the dashboard.
const LATENCIES: usize = 1_024;

/// A relay at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Picture {
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// Unfinished tasks per state.
    pub states: BTreeMap<State, u64>,
    /// Held tasks per hold.
    pub holds: BTreeMap<&'static str, u64>,
    /// One sentence per hold: the oldest held task.
    pub examples: BTreeMap<&'static str, String>,
    /// When the oldest unfinished task was seen, Unix milliseconds.
    pub oldest_ms: Option<i64>,
    /// Why nothing can be done at all.
    pub obstacles: Vec<String>,
    /// Newest block of the client chain.
    pub client_head: Option<u64>,
    /// Band chain id.
    pub band_chain: Option<String>,
    /// Newest height of BandChain.
    pub band_height: Option<u64>,
    /// Number of tasks of the provider.
    pub task_nonce: Option<u64>,
    /// The next number that is read.
    pub next_nonce: Option<u64>,
    /// Tasks that are not served, since the start.
    pub skipped: u64,
    /// Band transactions whose sequence is not settled.
    pub band_open: usize,
    /// Next sequence of the Band account.
    pub band_sequence: Option<u64>,
}

impl Picture {
    /// Unfinished tasks.
    pub fn live(&self) -> u64 {
        self.states.iter().filter(|(state, _)| !state.is_terminal()).map(|(_, count)| count).sum()
    }
}

/// Shared between agent, status and interface.
#[derive(Debug, Default)]
pub struct Shared {
    picture: RwLock<Option<Picture>>,
    published_at: Mutex<Option<UnixMillis>>,
    inbox: Mutex<Option<mpsc::Sender<Command>>>,
    follow_error: RwLock<Option<String>>,
    latencies: Mutex<std::collections::VecDeque<u64>>,
    balances: RwLock<Balances>,
    drift: RwLock<Option<DriftView>>,
}

/// What both accounts hold.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Balances {
    /// Of the client chain's account, wei.
    pub client_wei: Option<alloy_primitives::U256>,
    /// Of the Band account, in the fee's denomination.
    pub band: Option<u128>,
}

/// How far the Bridge's validators are from those that sign now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DriftView {
    /// One sentence.
    pub text: String,
    /// Whether a block signed by all live validators is accepted.
    pub can_relay: bool,
    /// Power that may still be missing, in thousandths of the Bridge's total.
    pub spare_per_mille: Option<u64>,
}

impl Shared {
    pub(crate) fn open_inbox(&self) -> mpsc::Receiver<Command> {
        let (sender, receiver) = mpsc::channel(INBOX);
        *self.inbox.lock() = Some(sender);
        receiver
    }

    pub(crate) fn close(&self) {
        *self.inbox.lock() = None;
        *self.picture.write() = None;
        *self.published_at.lock() = None;
    }

    /// Hands a command to the agent; `false` when it does not run here or is too busy.
    pub fn send(&self, command: Command) -> bool {
        self.inbox.lock().as_ref().is_some_and(|inbox| inbox.try_send(command).is_ok())
    }

    /// Whether the agent runs in this process.
    pub fn runs_here(&self) -> bool {
        self.inbox.lock().is_some()
    }

    /// The relay as it was last seen; `None` while it does not run here.
    pub fn picture(&self) -> Option<Picture> {
        self.picture.read().clone()
    }

    pub(crate) fn follow_failed(&self, error: &ChainError) {
        *self.follow_error.write() = Some(error.to_string());
    }

    pub(crate) fn followed(&self) {
        if self.follow_error.read().is_some() {
            *self.follow_error.write() = None;
        }
    }

    pub(crate) fn follow_error(&self) -> Option<String> {
        self.follow_error.read().clone()
    }

    /// From request to relay, milliseconds.
    pub(crate) fn note_latency(&self, ms: u64) {
        let mut latencies = self.latencies.lock();
        if latencies.len() >= LATENCIES {
            latencies.pop_front();
        }
        latencies.push_back(ms);
    }

    /// The latest latencies from request to relay in milliseconds, sorted.
    pub fn latencies(&self) -> Vec<u64> {
        let mut sorted: Vec<u64> = self.latencies.lock().iter().copied().collect();
        sorted.sort_unstable();
        sorted
    }

    pub(crate) fn set_balances(&self, balances: Balances) {
        *self.balances.write() = balances;
    }

    /// What both accounts hold, as last read.
    pub fn balances(&self) -> Balances {
        self.balances.read().clone()
    }

    pub(crate) fn set_drift(&self, drift: Option<DriftView>) {
        *self.drift.write() = drift;
    }

    /// How far the Bridge's validators are from those that sign now.
    pub fn drift(&self) -> Option<DriftView> {
        self.drift.read().clone()
    }

    /// Shows the relay, unless it was shown a moment ago.
    pub(crate) fn publish(&self, now: UnixMillis, relay: &Relay) -> bool {
        let mut published_at = self.published_at.lock();
        if published_at.is_some_and(|at| now.saturating_since(at) < REFRESH) {
            return false;
        }
        *published_at = Some(now);
        *self.picture.write() = Some(picture(now, relay));
        true
    }
}

fn picture(now: UnixMillis, relay: &Relay) -> Picture {
    let known = relay.known();
    let mut picture = Picture {
        at_ms: now.0,
        obstacles: relay.obstacles(),
        client_head: known.client_head,
        band_chain: known.band.as_ref().map(|(chain, _)| chain.clone()),
        band_height: known.band.as_ref().map(|(_, height)| *height),
        task_nonce: known.provider.as_ref().map(|view| view.task_nonce),
        next_nonce: relay.scan().map(|scan| scan.next),
        skipped: known.skipped,
        band_open: relay.lane().open.len(),
        band_sequence: relay.lane().account.map(|account| account.sequence),
        ..Picture::default()
    };
    for task in relay.tasks() {
        let count = picture.states.entry(task.state).or_default();
        *count = count.saturating_add(1);
        if task.state.is_terminal() {
            continue;
        }
        picture.oldest_ms = Some(picture.oldest_ms.map_or(task.seen_at.0, |oldest| oldest.min(task.seen_at.0)));
        if let Some(hold) = &task.hold {
            let count = picture.holds.entry(hold.name()).or_default();
            *count = count.saturating_add(1);
            picture.examples.entry(hold.name()).or_insert_with(|| example(task.chain.nonce, hold));
        }
    }
    picture
}

fn example(nonce: u64, hold: &Hold) -> String {
    format!("task {nonce}: {hold}; {}", hold.hint())
}
