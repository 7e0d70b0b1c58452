//! The relay: what it knows, and what events add to that.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use alloy_primitives::{B256, Bytes};
use windlass_store::UnixMillis;

use super::adopt::Finding;
use super::lane::{BandTx, Lane};
use super::scan::{Scan, is_wanted};
use super::task::{ChainTask, Hold, Request, State, Task, TaskKey};
use super::{BridgeView, Changes, Command, Event, FoundRequest, Output, Policy, ProviderView, Record, TasksAt, later};

/// What is known of the world, as last told. Lost at a restart, and asked again.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Newest block of the client chain.
    pub client_head: Option<u64>,
    /// The provider.
    pub provider: Option<ProviderView>,
    /// Its Bridge.
    pub bridge: Option<BridgeView>,
    /// Chain id and newest height of BandChain.
    pub band: Option<(String, u64)>,
    /// Why the provider, the Bridge or BandChain could not be read, if so.
    pub provider_error: Option<String>,
    /// See `provider_error`.
    pub bridge_error: Option<String>,
    /// See `provider_error`.
    pub band_error: Option<String>,
    /// Tasks of callers that are not served, since the start.
    pub skipped: u64,
}

/// What is being asked for one task, and what is remembered of answers. Lost at a restart, and asked again then.
#[derive(Debug, Clone, Default)]
pub(super) struct Asking {
    /// Its number is in a read that is under way.
    pub(super) reading: bool,
    /// The chain reorganised while that read was under way: its answer may be of the branch that lost.
    pub(super) stale: bool,
    /// When the provider last said that it stands as it is stored here.
    pub(super) checked_at: Option<UnixMillis>,
    /// A proof is being made.
    pub(super) proving: bool,
    /// Band height at which the last attempt began.
    pub(super) proved_height: Option<u64>,
    /// A proof that verified, until the relay is recorded.
    pub(super) proof: Option<Bytes>,
    /// The proof is being run without being sent.
    pub(super) simulating: bool,
    /// It would succeed.
    pub(super) simulated: bool,
    /// The newest of its requests that turned out to be of no use.
    pub(super) useless: Option<u64>,
    /// When its request got its id, for the time limit of the answer.
    pub(super) paid_at: Option<UnixMillis>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) task: Task,
    pub(super) asking: Asking,
}

/// All live tasks of one provider, and the account that pays on BandChain.
#[derive(Debug, Clone)]
pub struct Relay {
    pub(super) policy: Policy,
    pub(super) tasks: BTreeMap<TaskKey, Entry>,
    pub(super) by_seed: HashMap<B256, TaskKey>,
    pub(super) by_request: HashMap<u64, TaskKey>,
    pub(super) lane: Lane,
    pub(super) known: Known,
    pub(super) scan: Option<Scan>,
    /// The numbers that are being read for the first time.
    scan_reading: Option<Range<u64>>,
    /// Numbers that an operator asked for.
    pub(super) asked_nonces: BTreeSet<u64>,
    pub(super) provider_asked: bool,
    pub(super) provider_at: Option<UnixMillis>,
    pub(super) provider_wanted: bool,
    pub(super) bridge_asked: bool,
    pub(super) bridge_at: Option<UnixMillis>,
    pub(super) bridge_wanted: bool,
    pub(super) read_pause_until: Option<UnixMillis>,
    pub(super) finding: Finding,
    pub(super) found: HashMap<B256, FoundRequest>,
    /// The next Band block whose results are to be read; everything below was read or is not needed.
    pub(super) results_next: Option<u64>,
    pub(super) results_again: BTreeSet<u64>,
    pub(super) results_asked: BTreeSet<u64>,
    /// No node can tell the results of a block: proofs are asked for instead.
    pub(super) results_unsupported: bool,
    /// Sequences whose transaction will never be taken as it is, with code and text.
    pub(super) replace: BTreeMap<u64, (u32, String)>,
    dirty: BTreeSet<TaskKey>,
    pub(super) dirty_txs: BTreeMap<(u64, u32), BandTx>,
    pub(super) changes: Changes,
}

impl Relay {
    /// From the stored rows: unfinished tasks, transactions of unsettled sequences, and where reading goes on. A relay without any of them
    /// has no memory, and first looks on BandChain for requests that an earlier life paid.
    pub fn load(policy: Policy, tasks: Vec<Task>, transactions: Vec<BandTx>, scan: Option<Scan>) -> Self {
        let fresh = tasks.is_empty() && transactions.is_empty() && scan.is_none();
        let mut relay = Self {
            policy,
            tasks: BTreeMap::new(),
            by_seed: HashMap::new(),
            by_request: HashMap::new(),
            lane: Lane::load(transactions),
            known: Known::default(),
            scan,
            scan_reading: None,
            asked_nonces: BTreeSet::new(),
            provider_asked: false,
            provider_at: None,
            provider_wanted: true,
            bridge_asked: false,
            bridge_at: None,
            bridge_wanted: true,
            read_pause_until: None,
            finding: if fresh { Finding::Wanted(None) } else { Finding::Done },
            found: HashMap::new(),
            results_next: None,
            results_again: BTreeSet::new(),
            results_asked: BTreeSet::new(),
            results_unsupported: false,
            replace: BTreeMap::new(),
            dirty: BTreeSet::new(),
            dirty_txs: BTreeMap::new(),
            changes: Changes::default(),
        };
        for task in tasks {
            relay.put(task);
        }
        relay
    }

    /// Takes the events in, then decides what follows.
    pub fn step(&mut self, now: UnixMillis, events: Vec<Event>) -> Output {
        for event in events {
            self.take(now, event);
        }
        let effects = self.advance(now);
        let mut changes = std::mem::take(&mut self.changes);
        for key in std::mem::take(&mut self.dirty) {
            if let Some(entry) = self.tasks.get_mut(&key) {
                entry.task.updated_at = now;
                changes.tasks.push(entry.task.clone());
            }
        }
        changes.band_txs.extend(std::mem::take(&mut self.dirty_txs).into_values());
        self.forget_settled();
        Output { changes, effects }
    }

    /// Band transactions were signed for all sequences below this one: a node that lags must not make them come again.
    pub fn signed_below(&mut self, sequence: u64) {
        self.lane.used_below(sequence);
    }

    /// The settings in force.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What is known of the world.
    pub const fn known(&self) -> &Known {
        &self.known
    }

    /// The Band account and its open sequences.
    pub const fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Where reading of task numbers goes on.
    pub const fn scan(&self) -> Option<Scan> {
        self.scan
    }

    /// The tasks in memory: all that are not finished, and those whose end a reorganisation may still change.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().map(|entry| &entry.task)
    }

    /// A task in memory.
    pub fn task(&self, key: TaskKey) -> Option<&Task> {
        self.tasks.get(&key).map(|entry| &entry.task)
    }

    /// Whether a row of this key must be loaded before an event that names it.
    pub fn knows(&self, key: TaskKey) -> bool {
        self.tasks.contains_key(&key)
    }

    /// Why nothing can be done at all now, each in a sentence.
    pub fn obstacles(&self) -> Vec<String> {
        let mut obstacles = Vec::new();
        let known = &self.known;
        match (&known.provider, &known.provider_error) {
            (None, None) => obstacles.push("the provider was not read yet".to_owned()),
            (_, Some(error)) => obstacles.push(format!("the provider cannot be read: {error}")),
            _ => {}
        }
        match (&known.bridge, &known.bridge_error) {
            (None, None) => obstacles.push("the Bridge was not read yet".to_owned()),
            (_, Some(error)) => obstacles.push(format!("the Bridge cannot be read: {error}")),
            _ => {}
        }
        match (&known.band, &known.band_error) {
            (None, None) => obstacles.push("BandChain has not answered yet".to_owned()),
            (_, Some(error)) => obstacles.push(format!("BandChain cannot be asked: {error}")),
            _ => {}
        }
        obstacles.extend(self.wrong_band_chain());
        if let Some(hold) = &self.lane.hold {
            obstacles.push(format!("{hold}; {}", hold.hint()));
        }
        if self.policy.callers.is_empty() {
            obstacles.push("the list of callers is empty: nothing is relayed; name them in callers".to_owned());
        }
        obstacles
    }

    /// The sentence about Band chain ids that do not fit each other.
    pub fn wrong_band_chain(&self) -> Option<String> {
        let (node, _) = self.known.band.as_ref()?;
        if let Some(expected) = self.policy.band_chain_id.as_ref().filter(|expected| *expected != node) {
            return Some(format!("the Band node serves chain {node}, band.chain_id is {expected}"));
        }
        let bridge = self.known.bridge.as_ref()?;
        (bridge.chain_id != *node)
            .then(|| format!("the Band node serves chain {node}, the Bridge accepts chain {}", bridge.chain_id))
    }

    fn take(&mut self, now: UnixMillis, event: Event) {
        match event {
            Event::Started => self.started(now),
            Event::Timer => {}
            Event::Loaded(tasks) => tasks.into_iter().for_each(|task| {
                if !self.knows(task.key()) {
                    self.put(task);
                }
            }),
            Event::Client { removed, head, requested, relayed, provider_changed } => {
                self.client_moved(now, &removed, head, requested, &relayed);
                self.provider_wanted |= provider_changed;
            }
            Event::ProviderRead(result) => self.provider_read(now, result),
            Event::BridgeRead(result) => self.bridge_read(now, result),
            Event::TasksRead { nonces, result } => self.tasks_read(now, &nonces, result),
            Event::BandHead(result) => self.band_head(result),
            Event::AccountRead(result) => match result {
                Ok(account) => {
                    let height = self.band_height();
                    self.lane.told_account(account, height, now);
                }
                Err(_) => self.lane.account_failed(now),
            },
            Event::Found(result) => self.requests_found(now, result),
            Event::Signed { plan, result } => self.signed(now, *plan, result),
            Event::Offered { hash, outcome } => self.offered(now, &hash, &outcome),
            Event::Looked { sequence, hash, result } => self.looked(now, sequence, &hash, result),
            Event::Searched { sequence, result } => self.searched(now, sequence, result),
            Event::BlockResults { height, result } => self.block_results(now, height, result),
            Event::Proved { key, id, outcome } => self.proved(now, key, id, outcome),
            Event::Simulated { key, result } => self.simulated(now, key, result),
            Event::Relayed { key, number, progress } => self.relayed(now, key, number, progress),
            Event::Command(command) => self.command(now, command),
        }
    }

    fn started(&mut self, now: UnixMillis) {
        self.provider_wanted = true;
        self.bridge_wanted = true;
        let heights = self.tasks.values_mut().filter_map(|entry| {
            entry.asking.paid_at = Some(now);
            waiting_request(&entry.task).map(|request| request.height)
        });
        self.results_next = heights.min().map(|height| height.saturating_add(1));
    }

    pub(super) fn band_height(&self) -> Option<u64> {
        self.known.band.as_ref().map(|(_, height)| *height)
    }

    // --- tasks in memory ---------------------------------------------------------------------------------------------------------------

    fn put(&mut self, task: Task) {
        let key = task.key();
        self.by_seed.insert(key.seed, key);
        if let Some(request) = &task.request {
            self.by_request.insert(request.id, key);
        }
        self.tasks.insert(key, Entry { task, asking: Asking::default() });
    }

    /// Changes a task, writes its row, and writes a line of history when its state changed or `text` says something.
    pub(super) fn change(&mut self, key: TaskKey, text: &str, change: impl FnOnce(&mut Task)) {
        self.alter(key, text, false, change);
    }

    /// As [`change`](Self::change), for what an operator should see.
    pub(super) fn complain(&mut self, key: TaskKey, text: &str, change: impl FnOnce(&mut Task)) {
        self.alter(key, text, true, |task| {
            if !text.is_empty() {
                task.last_error = Some(text.to_owned());
            }
            change(task);
        });
    }

    fn alter(&mut self, key: TaskKey, text: &str, bad: bool, change: impl FnOnce(&mut Task)) {
        let Some(entry) = self.tasks.get_mut(&key) else { return };
        let from = entry.task.state;
        change(&mut entry.task);
        let to = entry.task.state;
        self.dirty.insert(key);
        if from != to || !text.is_empty() {
            self.changes.records.push(Record { key, from: Some(from), to, text: text.to_owned(), bad });
        }
    }

    /// Holds a task, with a growing pause.
    pub(super) fn hold(&mut self, now: UnixMillis, key: TaskKey, hold: Hold) {
        let policy = &self.policy;
        let pauses = |failures: u32| later(now, policy.hold_ms(failures));
        let Some(entry) = self.tasks.get(&key) else { return };
        let failures = entry.task.failures.saturating_add(1);
        let retry_at = Some(pauses(failures));
        // Told once: the same hold again only moves the pause.
        let news = entry.task.hold.as_ref().map(Hold::name) != Some(hold.name());
        let text = if news { format!("held: {hold}") } else { String::new() };
        self.alter(key, &text, news, |task| {
            task.last_error = Some(hold.to_string());
            task.hold = Some(hold);
            task.failures = failures;
            task.retry_at = retry_at;
        });
    }

    /// Tries a task again after a growing pause, without holding it.
    pub(super) fn pause(&mut self, now: UnixMillis, key: TaskKey, text: &str) {
        let Some(entry) = self.tasks.get(&key) else { return };
        let failures = entry.task.failures.saturating_add(1);
        let retry_at = Some(later(now, self.policy.pause_ms(failures)));
        self.complain(key, text, |task| {
            task.failures = failures;
            task.retry_at = retry_at;
        });
    }

    pub(super) fn asking(&mut self, key: TaskKey) -> Option<&mut Asking> {
        self.tasks.get_mut(&key).map(|entry| &mut entry.asking)
    }

    /// Finished tasks leave the memory once no reorganisation can change how they ended.
    fn forget_settled(&mut self) {
        let Some(head) = self.known.client_head else { return };
        let depth = self.policy.final_depth;
        let (tasks, lane) = (&mut self.tasks, &self.lane);
        let mut gone = Vec::new();
        tasks.retain(|key, entry| {
            let task = &entry.task;
            let deep = task.settled_block.is_none_or(|block| head >= block.saturating_add(depth));
            let checked = matches!(task.state, State::Resolved | State::Dead) || entry.asking.checked_at.is_some();
            let keep = !task.state.is_terminal() || !deep || !checked || entry.asking.reading || lane.is_bound(*key);
            if !keep {
                gone.push((*key, task.request.as_ref().map(|request| request.id)));
            }
            keep
        });
        for (key, request) in gone {
            self.by_seed.remove(&key.seed);
            if let Some(id) = request {
                self.by_request.remove(&id);
            }
        }
    }

    // --- the client chain ---------------------------------------------------------------------------------------------------------------

    fn client_moved(
        &mut self,
        now: UnixMillis,
        removed: &[B256],
        head: u64,
        requested: Vec<(ChainTask, u64, B256)>,
        relayed: &[B256],
    ) {
        self.known.client_head = Some(head);
        if !removed.is_empty() {
            self.provider_wanted = true;
            let keys: Vec<TaskKey> =
                self.tasks.iter().filter(|(_, entry)| is_shaken(&entry.task, removed)).map(|(key, _)| *key).collect();
            for key in keys {
                if let Some(asking) = self.asking(key) {
                    asking.checked_at = None;
                    asking.stale = asking.reading;
                }
                self.change(key, "its block was reorganised away", |task| {
                    task.doubtful = true;
                    task.seen_hash = None;
                });
            }
        }
        for (task, block, hash) in requested {
            if let Some(scan) = &mut self.scan
                && self.scan_reading.is_none()
                && scan.next == task.nonce
            {
                scan.read(&(task.nonce..task.nonce.saturating_add(1)));
                self.changes.scan = Some(*scan);
            }
            self.seen(now, task, block, Some(hash));
        }
        for seed in relayed {
            // Ours or somebody else's: the provider and the outbox tell. Here it only means that the provider is worth a look.
            if let Some(key) = self.by_seed.get(seed).copied()
                && let Some(entry) = self.tasks.get_mut(&key)
                && entry.task.state < State::Relaying
            {
                entry.asking.checked_at = None;
                entry.task.retry_at = None;
                entry.task.doubtful = true;
                self.dirty.insert(key);
            }
        }
    }

    /// A task that stands on the chain: by an event (with hash) or by a read.
    fn seen(&mut self, now: UnixMillis, chain: ChainTask, block: u64, hash: Option<B256>) {
        let key = chain.key();
        if self.tasks.contains_key(&key) {
            self.stands(now, key, block, hash);
            return;
        }
        if !is_wanted(&chain, &self.policy.callers) {
            self.known.skipped = self.known.skipped.saturating_add(1);
            return;
        }
        let found = self.found.remove(&key.seed).filter(|found| found.time == chain.time);
        self.put(Task::new(chain, block, hash, now));
        self.dirty.insert(key);
        let text = "requested on the client chain".to_owned();
        self.changes.records.push(Record { key, from: None, to: State::Seen, text, bad: false });
        if let Some(found) = found {
            self.adopt(now, key, found.request);
        }
    }

    /// A known task is on the canonical chain.
    fn stands(&mut self, now: UnixMillis, key: TaskKey, block: u64, hash: Option<B256>) {
        let Some(entry) = self.tasks.get(&key) else { return };
        let task = &entry.task;
        if matches!(task.state, State::Superseded) {
            let state = revived(task);
            self.change(key, "its request is on the client chain again", |task| {
                task.state = state;
                task.doubtful = false;
                (task.seen_block, task.seen_hash) = (block, hash);
                (task.settled_block, task.retry_at, task.failures) = (None, None, 0);
            });
            if let Some(asking) = self.asking(key) {
                asking.paid_at = Some(now);
            }
            self.expect_results(key);
            return;
        }
        let moved = hash.is_some() && task.seen_hash != hash;
        if !task.doubtful && !moved {
            return;
        }
        let confirmed = task.state == State::Confirmed && !task.doubtful;
        self.change(key, "", |task| {
            task.doubtful = false;
            if moved || !confirmed {
                (task.seen_block, task.seen_hash) = (block, hash);
            }
            // A block that is new again must become deep enough again.
            if task.state == State::Confirmed && moved {
                task.state = State::Seen;
            }
        });
    }

    fn provider_read(&mut self, now: UnixMillis, result: Result<ProviderView, String>) {
        self.provider_asked = false;
        self.provider_at = Some(now);
        let view = match result {
            Ok(view) => view,
            Err(error) => {
                self.known.provider_error = Some(error);
                return;
            }
        };
        self.known.provider_error = None;
        self.known.client_head = Some(self.known.client_head.unwrap_or(0).max(view.head));
        if self.known.provider.as_ref().is_none_or(|known| known.bridge != view.bridge) {
            self.bridge_wanted = true;
            self.known.bridge = None;
        }
        match &mut self.scan {
            Some(scan) => {
                let before = *scan;
                scan.fell_to(view.task_nonce, self.policy.start_nonce);
                if *scan != before {
                    self.changes.scan = Some(*scan);
                }
            }
            None => {
                let scan = Scan::begin(view.task_nonce, self.policy.start_nonce, self.policy.look_back);
                self.scan = Some(scan);
                self.changes.scan = Some(scan);
            }
        }
        self.known.provider = Some(view);
    }

    /// What of the numbers that were never looked at is to be read now. Marks it as being read.
    pub(super) fn unread(&mut self) -> Option<Range<u64>> {
        if self.scan_reading.is_some() {
            return None;
        }
        self.scan_reading = self.scan?.unread(self.known.provider.as_ref()?.task_nonce);
        self.scan_reading.clone()
    }

    fn bridge_read(&mut self, now: UnixMillis, result: Result<BridgeView, String>) {
        self.bridge_asked = false;
        self.bridge_at = Some(now);
        match result {
            Ok(view) => {
                self.known.bridge_error = None;
                let changed = self.known.bridge.as_ref().is_some_and(|known| known.fingerprint != view.fingerprint);
                self.known.bridge = Some(view);
                if changed {
                    let held = |entry: &Entry| {
                        matches!(entry.task.hold, Some(Hold::ValidatorsStale { .. } | Hold::BridgeRefuses { .. }))
                    };
                    self.release("the Bridge's validators changed", held);
                }
            }
            Err(error) => self.known.bridge_error = Some(error),
        }
    }

    /// Lifts the holds of these tasks.
    pub(super) fn release(&mut self, text: &str, of: impl Fn(&Entry) -> bool) {
        let keys: Vec<TaskKey> = self.tasks.iter().filter(|(_, entry)| of(entry)).map(|(key, _)| *key).collect();
        for key in keys {
            self.change(key, text, |task| {
                (task.hold, task.retry_at, task.failures) = (None, None, 0);
            });
        }
    }

    fn tasks_read(&mut self, now: UnixMillis, nonces: &[u64], result: Result<TasksAt, String>) {
        let range = self.scan_reading.take_if(|range| nonces.iter().copied().eq(range.clone()));
        let asked: BTreeSet<u64> = nonces.iter().copied().collect();
        let mut mine: Vec<TaskKey> = self.tasks.keys().filter(|key| asked.contains(&key.nonce)).copied().collect();
        mine.retain(|key| {
            let Some(asking) = self.asking(*key) else { return false };
            // What was not asked for this task, or before a reorganisation, says nothing about it.
            let asked = std::mem::take(&mut asking.reading);
            asked && !std::mem::take(&mut asking.stale)
        });
        let TasksAt { head, tasks: found } = match result {
            Ok(answer) => answer,
            Err(error) => {
                self.read_pause_until = Some(later(now, 1_000));
                self.known.provider_error = Some(error);
                return;
            }
        };
        self.known.provider_error = None;
        self.known.client_head = Some(self.known.client_head.unwrap_or(0).max(head));
        let by_nonce: BTreeMap<u64, Option<ChainTask>> = found.into_iter().collect();
        if let Some(range) = range {
            self.scanned(range, &by_nonce);
        }
        for key in mine {
            match by_nonce.get(&key.nonce) {
                Some(Some(chain)) if chain.seed == key.seed => self.checked(now, key, head, chain.is_resolved),
                // A node behind the block in which it was seen says nothing.
                Some(_) if self.tasks.get(&key).is_some_and(|entry| !entry.task.doubtful && entry.task.seen_block > head) => {}
                Some(_) => self.superseded(now, key, head),
                None => {}
            }
        }
        for chain in by_nonce.into_values().flatten() {
            if !self.tasks.contains_key(&chain.key()) {
                self.seen(now, chain, head, None);
            }
        }
    }

    /// Numbers were read for the first time. Those that have no task were claimed by a node that knows more than the one that answered, or
    /// by one that is wrong: they are read again when the provider has told its number of tasks once more.
    fn scanned(&mut self, range: Range<u64>, found: &BTreeMap<u64, Option<ChainTask>>) {
        let missing = range.clone().find(|nonce| !matches!(found.get(nonce), Some(Some(_))));
        if let (Some(missing), Some(view)) = (missing, &mut self.known.provider) {
            view.task_nonce = view.task_nonce.min(missing);
            self.provider_wanted = true;
        }
        if let Some(scan) = &mut self.scan {
            scan.read(&(range.start..missing.unwrap_or(range.end)));
            self.changes.scan = Some(*scan);
        }
    }

    /// The provider has this task, with or without a value.
    fn checked(&mut self, now: UnixMillis, key: TaskKey, head: u64, is_resolved: bool) {
        self.stands(now, key, head, None);
        let Some(entry) = self.tasks.get_mut(&key) else { return };
        entry.asking.checked_at = Some(now);
        let state = entry.task.state;
        match (state, is_resolved) {
            // The outbox tells how ours ended.
            (State::Relaying | State::Mined | State::Resolved | State::Dead, _) | (State::Foreign, true) => {}
            (State::Foreign, false) => {
                let state = revived(&entry.task);
                self.change(key, "the foreign value was reorganised away", |task| {
                    (task.state, task.settled_block) = (state, None);
                });
                self.expect_results(key);
            }
            (_, true) => {
                entry.asking.checked_at = None;
                self.change(key, "the provider has a value that this relay did not send", |task| {
                    (task.state, task.settled_block, task.hold, task.retry_at) = (State::Foreign, Some(head), None, None);
                });
            }
            (_, false) => {}
        }
    }

    fn superseded(&mut self, now: UnixMillis, key: TaskKey, head: u64) {
        let Some(entry) = self.tasks.get_mut(&key) else { return };
        // Concluded now, it is looked at once more when no reorganisation can change it.
        entry.asking.checked_at = (entry.task.state == State::Superseded).then_some(now);
        entry.asking.proof = None;
        let ended = matches!(entry.task.state, State::Resolved | State::Superseded | State::Dead);
        // What the outbox has goes to its end there: it reverts, or lands where the task is.
        if ended || matches!(entry.task.state, State::Relaying | State::Mined) {
            return;
        }
        self.change(key, "the provider has another task under this number, or none", |task| {
            (task.state, task.settled_block, task.hold, task.retry_at) = (State::Superseded, Some(head), None, None);
            task.doubtful = false;
        });
    }

    fn command(&mut self, now: UnixMillis, command: Command) {
        match command {
            Command::Recheck => {
                self.provider_wanted = true;
                self.bridge_wanted = true;
                self.lane.try_again(now);
                for entry in self.tasks.values_mut() {
                    entry.task.retry_at = None;
                }
            }
            Command::Retry { nonce, request_again } => self.retry(now, nonce, request_again),
            Command::GiveUp { nonce, reason } => {
                for key in self.live_keys(nonce) {
                    self.change(key, &format!("given up: {reason}"), |task| {
                        (task.state, task.hold, task.reason) = (State::Dead, None, Some(reason.clone()));
                    });
                }
            }
        }
    }

    fn live_keys(&self, nonce: u64) -> Vec<TaskKey> {
        let entries =
            self.tasks.range(TaskKey::first(nonce)..=TaskKey::last(nonce)).filter(|(_, entry)| !entry.task.state.is_terminal());
        entries.map(|(key, _)| *key).collect()
    }

    fn retry(&mut self, now: UnixMillis, nonce: u64, request_again: bool) {
        let keys: Vec<TaskKey> = self.tasks.range(TaskKey::first(nonce)..=TaskKey::last(nonce)).map(|(key, _)| *key).collect();
        // Never looked at, or not of a listed caller then: it is read now.
        self.asked_nonces.insert(nonce);
        for key in keys {
            if let Some(Task { state: State::Dead, .. }) = self.task(key) {
                self.change(key, "taken up again by an operator", |task| (task.state, task.reason) = (revived(task), None));
                self.expect_results(key);
            }
            let unknown = match self.tasks.get(&key).and_then(|entry| entry.task.hold.clone()) {
                Some(Hold::BandUnknown { sequence }) => Some(sequence),
                _ => None,
            };
            self.change(key, "an operator asked to try again", |task| {
                (task.hold, task.retry_at, task.failures) = (None, None, 0);
                task.requests_allowed = task.requests_allowed.saturating_add(u32::from(request_again));
            });
            if let (true, Some(sequence)) = (request_again, unknown) {
                self.give_sequence_up(now, sequence, "an operator said that it was not paid");
            }
        }
        self.lane.try_again(now);
    }

    /// When something is due by time alone.
    ///
    /// What was due at `now` was considered by the step at `now`, and does not count.
    pub fn next_timer(&self, now: UnixMillis) -> Option<UnixMillis> {
        let retries = self.tasks.values().filter(|entry| !entry.task.state.is_terminal()).filter_map(|entry| entry.task.retry_at);
        let reconcile = self.provider_at.filter(|_| !self.provider_asked).map(|at| later(at, self.policy.reconcile_ms));
        let finding = match self.finding {
            Finding::Wanted(at) => at,
            _ => None,
        };
        retries
            .chain(reconcile)
            .chain(finding)
            .chain(self.read_pause_until)
            .chain(self.lane.next_timers(&self.policy))
            .filter(|at| *at > now)
            .min()
    }
}

/// Whether the removal of blocks puts the task in question.
fn is_shaken(task: &Task, removed: &[B256]) -> bool {
    let own = task.seen_hash.is_some_and(|hash| removed.contains(&hash));
    // Found by a read, or ended by what was read: any removed block may have been the one.
    let unsure = task.seen_hash.is_none() && !matches!(task.state, State::Resolved | State::Dead);
    own || unsure
}

/// The request whose end is waited for.
pub(super) fn waiting_request(task: &Task) -> Option<&Request> {
    task.request.as_ref().filter(|_| task.state == State::BandIncluded)
}

/// Where a task goes on that had ended and lives again.
pub(super) fn revived(task: &Task) -> State {
    match &task.request {
        Some(request) if request.resolved.is_some() => State::BandResolved,
        Some(_) => State::BandIncluded,
        None if task.sequence.is_some() => State::BandBroadcast,
        None => State::Seen,
    }
}
