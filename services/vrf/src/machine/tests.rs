//! Tables of events and effects: each test feeds the machine what the world says and looks at what it wants.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use alloy_primitives::{Address, B256, Bytes, U256};
use windlass_store::UnixMillis;

use super::*;
use crate::config::Unprofitable;

const CALLER: Address = Address::repeat_byte(0xca);
const BRIDGE: Address = Address::repeat_byte(0xb1);
const WORKER: Address = Address::repeat_byte(0x77);

fn policy() -> Policy {
    Policy {
        worker: WORKER,
        callers: [CALLER].into(),
        start_nonce: 0,
        look_back: Some(100),
        confirmations: 2,
        final_depth: 10,
        reconcile_ms: 30_000,
        dry_run: false,
        unprofitable: Unprofitable::Relay,
        min_margin_percent: 0,
        expected_relay_gas: 400_000,
        request_cost: U256::ZERO,
        max_in_flight: 256,
        min_count: 2,
        ask_count: 3,
        max_requests: 3,
        pause_first_ms: 1_000,
        pause_max_ms: 300_000,
        hold_max_ms: 600_000,
        band_chain_id: None,
        band_denom: "uband".to_owned(),
        band_gas_limit: 800_000,
        band_gas_price: "0.0025".parse().unwrap(),
        band_max_gas_price: "0.025".parse().unwrap(),
        band_max_batch: 10,
        band_max_in_flight: 4,
        band_rebroadcast_ms: 30_000,
        band_search_blocks: 20,
        band_search_ms: 60_000,
        band_proof_after: 1,
        band_answer_ms: 60_000,
    }
}

fn chain_task(nonce: u64, salt: u8) -> ChainTask {
    let mut seed = B256::repeat_byte(salt);
    seed.0[..8].copy_from_slice(&nonce.to_be_bytes());
    ChainTask {
        nonce,
        is_resolved: false,
        time: 1_700_000_000 + nonce,
        caller: CALLER,
        task_fee: U256::from(10_u64.pow(15)),
        seed,
        client_seed: Bytes::from(vec![0xff, 0xfe, salt]),
    }
}

/// The machine with a clock, and all that it wrote: enough to load another one.
struct Rig {
    relay: Relay,
    now: UnixMillis,
    rows: BTreeMap<TaskKey, Task>,
    txs: BTreeMap<(u64, u32), BandTx>,
    scan: Option<Scan>,
    records: Vec<Record>,
    intents: Vec<RelayIntent>,
    band_height: u64,
}

use std::collections::BTreeMap;

impl Rig {
    fn new(policy: Policy) -> Self {
        let relay = Relay::load(policy, Vec::new(), Vec::new(), None);
        let mut rig = Self {
            relay,
            now: UnixMillis(1_700_000_000_000),
            rows: BTreeMap::new(),
            txs: BTreeMap::new(),
            scan: None,
            records: Vec::new(),
            intents: Vec::new(),
            band_height: 100,
        };
        rig.start();
        rig
    }

    fn start(&mut self) {
        let first = self.step(vec![Event::Started]);
        assert!(first.contains(&Effect::ReadProvider));
        if first.contains(&Effect::FindRequests) {
            self.step(vec![Event::Found(Ok(Vec::new()))]);
        }
        self.step(vec![Event::ProviderRead(Ok(provider(10, 0)))]);
        self.step(vec![Event::BridgeRead(Ok(bridge("band", 1)))]);
        self.band(self.band_height);
        self.step(vec![Event::AccountRead(Ok(Some(BandAccount { number: 7, sequence: 5 })))]);
    }

    /// A new process over the same rows.
    fn restart(&mut self) {
        let live = self.rows.values().filter(|task| !task.state.is_terminal() || task.sequence.is_some()).cloned().collect();
        let open =
            self.txs.values().filter(|tx| matches!(tx.state, BandTxState::Signed | BandTxState::Broadcast)).cloned().collect();
        self.relay = Relay::load(self.relay.policy().clone(), live, open, self.scan);
        self.start();
    }

    fn step(&mut self, events: Vec<Event>) -> Vec<Effect> {
        self.now = UnixMillis(self.now.0 + 1);
        let output = self.relay.step(self.now, events);
        for task in output.changes.tasks {
            self.rows.insert(task.key(), task);
        }
        for tx in output.changes.band_txs {
            self.txs.insert((tx.sequence, tx.number), tx);
        }
        self.scan = output.changes.scan.or(self.scan);
        self.records.extend(output.changes.records);
        self.intents.extend(output.changes.intents);
        output.effects
    }

    fn wait(&mut self, ms: i64) -> Vec<Effect> {
        self.now = UnixMillis(self.now.0 + ms);
        self.step(vec![Event::Timer])
    }

    fn band(&mut self, height: u64) -> Vec<Effect> {
        self.band_height = height;
        self.step(vec![Event::BandHead(Ok(("band".to_owned(), height)))])
    }

    fn request(&mut self, tasks: &[ChainTask], block: u64) -> Vec<Effect> {
        let requested = tasks.iter().map(|task| (task.clone(), block, hash(block))).collect();
        self.step(vec![Event::Client { removed: vec![], head: block, requested, relayed: vec![], provider_changed: false }])
    }

    fn head(&mut self, head: u64) -> Vec<Effect> {
        self.step(vec![Event::Client { removed: vec![], head, requested: vec![], relayed: vec![], provider_changed: false }])
    }

    fn read(&mut self, head: u64, tasks: &[ChainTask]) -> Vec<Effect> {
        let nonces = tasks.iter().map(|task| task.nonce).collect();
        let found = tasks.iter().map(|task| (task.nonce, Some(task.clone()))).collect();
        self.step(vec![Event::TasksRead { nonces, result: Ok(TasksAt { head, tasks: found }) }])
    }

    fn sign(&mut self, effects: &[Effect]) -> (Plan, String, Vec<Effect>) {
        let plan = effects.iter().find_map(|effect| match effect {
            Effect::Sign(plan) => Some(plan.as_ref().clone()),
            _ => None,
        });
        let plan = plan.unwrap_or_else(|| panic!("nothing is to be signed: {effects:?}"));
        let hash = format!("TX{}N{}", plan.sequence, plan.number);
        let bytes = Bytes::from(hash.clone().into_bytes());
        let effects = self.step(vec![Event::Signed { plan: Box::new(plan.clone()), result: Ok((hash.clone(), bytes)) }]);
        (plan, hash, effects)
    }

    fn accept(&mut self, hash: &str) -> Vec<Effect> {
        self.step(vec![Event::Offered { hash: hash.to_owned(), outcome: OfferOutcome::Accepted }])
    }

    fn refuse(&mut self, hash: &str, code: u32, text: &str) -> Vec<Effect> {
        let outcome = OfferOutcome::Refused { code, codespace: "sdk".to_owned(), text: text.to_owned() };
        self.step(vec![Event::Offered { hash: hash.to_owned(), outcome }])
    }

    fn land(&mut self, sequence: u64, hash: &str, code: u32, ids: &[u64]) -> Vec<Effect> {
        let landed = LandedTx {
            hash: hash.to_owned(),
            height: self.band_height,
            code,
            text: "out of gas".to_owned(),
            request_ids: ids.to_vec(),
        };
        self.step(vec![Event::Looked { sequence, hash: hash.to_owned(), result: Ok(Some(landed)) }])
    }

    /// From the request to the paid Band request.
    fn pay(&mut self, task: &ChainTask, id: u64) -> String {
        self.request(std::slice::from_ref(task), 11);
        self.head(12);
        let effects = self.read(12, std::slice::from_ref(task));
        let (plan, hash, effects) = self.sign(&effects);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Offer { hash: offered, .. } if *offered == hash)));
        self.accept(&hash);
        self.band(self.band_height + 1);
        self.land(plan.sequence, &hash, 0, &[id]);
        assert_eq!(self.state(task), State::BandIncluded);
        hash
    }

    fn end(&mut self, id: u64, resolution: Resolution) -> Vec<Effect> {
        let height = self.band_height + 1;
        self.band(height);
        self.step(vec![Event::BlockResults { height, result: Ok(Some(vec![(id, resolution)])) }])
    }

    /// From the paid request to a proof that was asked for.
    fn resolve(&mut self, task: &ChainTask, id: u64) {
        self.end(id, Resolution::Success);
        assert_eq!(self.state(task), State::BandResolved);
        let effects = self.band(self.band_height + 1);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Prove { request, .. } if request.id == id)), "{effects:?}");
    }

    fn prove(&mut self, task: &ChainTask, id: u64, outcome: ProofOutcome) -> Vec<Effect> {
        self.step(vec![Event::Proved { key: task.key(), id, outcome }])
    }

    fn proven(&mut self, task: &ChainTask, id: u64) -> Vec<Effect> {
        let version = self.band_height - 1;
        self.prove(task, id, ProofOutcome::Proven { proof: Bytes::from_static(b"proof"), version })
    }

    fn relayed(&mut self, task: &ChainTask, number: u32, progress: RelayProgress) -> Vec<Effect> {
        self.step(vec![Event::Relayed { key: task.key(), number, progress }])
    }

    fn task(&self, task: &ChainTask) -> Task {
        self.relay.task(task.key()).cloned().unwrap_or_else(|| self.rows[&task.key()].clone())
    }

    fn state(&self, task: &ChainTask) -> State {
        self.task(task).state
    }

    fn hold(&self, task: &ChainTask) -> &'static str {
        self.task(task).hold.as_ref().map_or("", Hold::name)
    }

    fn executed(&self) -> usize {
        self.txs.values().filter(|tx| tx.state == BandTxState::Included).map(|tx| tx.tasks.len()).sum()
    }
}

fn hash(block: u64) -> B256 {
    B256::from(U256::from(block))
}

fn provider(head: u64, task_nonce: u64) -> ProviderView {
    ProviderView { head, counts: None, oracle_script_id: 43, bridge: BRIDGE, task_nonce, gas_price: None }
}

fn bridge(chain: &str, fingerprint: u8) -> BridgeView {
    BridgeView { chain_id: chain.to_owned(), fingerprint: B256::repeat_byte(fingerprint) }
}

fn signs(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Sign(_)))
}

fn offers(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Offer { .. }))
}

fn reads(effects: &[Effect], nonce: u64) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::ReadTasks(nonces) if nonces.contains(&nonce)))
}

#[test]
fn a_request_becomes_a_relay() {
    let mut rig = Rig::new(policy());
    let task = chain_task(0, 1);
    rig.request(std::slice::from_ref(&task), 11);
    assert_eq!(rig.state(&task), State::Seen);
    let effects = rig.head(12);
    assert_eq!(rig.state(&task), State::Confirmed);
    assert!(reads(&effects, 0) && !signs(&effects), "the provider is read before anything is paid: {effects:?}");
    let effects = rig.read(12, std::slice::from_ref(&task));
    let (plan, hash, _) = rig.sign(&effects);
    assert_eq!((plan.sequence, plan.account_number, plan.fee, plan.gas_limit), (5, 7, 2_000, 800_000));
    assert_eq!(plan.terms, Terms { oracle_script_id: 43, min_count: 2, ask_count: 3, worker: WORKER });
    assert_eq!(rig.state(&task), State::BandSigned);
    rig.accept(&hash);
    assert_eq!(rig.state(&task), State::BandBroadcast);
    let effects = rig.band(101);
    assert!(effects.contains(&Effect::Look { sequence: 5, hash: hash.clone() }));
    let effects = rig.land(5, &hash, 0, &[900]);
    assert!(effects.is_empty(), "{effects:?}");
    let effects = rig.band(102);
    assert!(effects.contains(&Effect::ReadBlockResults { height: 102 }));
    rig.step(vec![Event::BlockResults {
        height: 102,
        result: Ok(Some(vec![(899, Resolution::Failure), (900, Resolution::Success)])),
    }]);
    let effects = rig.band(103);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Prove { .. })), "{effects:?}");
    assert!(reads(&effects, 0), "read while the proof is made: {effects:?}");
    rig.read(13, std::slice::from_ref(&task));
    rig.prove(&task, 900, ProofOutcome::Proven { proof: Bytes::from_static(b"proof"), version: 102 });
    assert_eq!(rig.intents, vec![RelayIntent { key: task.key(), number: 1, proof: Bytes::from_static(b"proof") }]);
    assert_eq!(rig.state(&task), State::Relaying);
    rig.relayed(&task, 1, RelayProgress::Included { block: 14 });
    assert_eq!(rig.state(&task), State::Mined);
    rig.relayed(&task, 1, RelayProgress::Pending);
    assert_eq!(rig.state(&task), State::Relaying, "a reorganisation took it back");
    rig.relayed(&task, 1, RelayProgress::Included { block: 15 });
    rig.relayed(&task, 1, RelayProgress::Final { block: Some(15) });
    assert_eq!(rig.state(&task), State::Resolved);
    rig.head(30);
    assert_eq!(rig.relay.tasks().count(), 0, "finished and final: forgotten");
    assert_eq!(rig.executed(), 1);
}

#[test]
fn many_requests_share_one_transaction() {
    let mut rig = Rig::new(policy());
    let tasks: Vec<ChainTask> = (0..25).map(|nonce| chain_task(nonce, 1)).collect();
    rig.request(&tasks, 11);
    rig.head(12);
    let effects = rig.read(12, &tasks);
    let (plan, hash, effects) = rig.sign(&effects);
    assert_eq!((plan.requests.len(), plan.gas_limit, plan.fee), (10, 8_000_000, 20_000));
    // The next ones do not wait for its block.
    let (second, ..) = rig.sign(&effects);
    assert_eq!((second.sequence, second.requests.len()), (6, 10));
    rig.accept(&hash);
    let ids: Vec<u64> = (500..510).collect();
    rig.land(5, &hash, 0, &ids);
    let paid: Vec<u64> = tasks[..10].iter().map(|task| rig.task(task).request.unwrap().id).collect();
    assert_eq!(paid, ids, "ids belong to the messages in order");
}

#[test]
fn who_is_not_listed_is_skipped_and_counted() {
    let mut rig = Rig::new(policy());
    let mut stranger = chain_task(0, 1);
    stranger.caller = Address::repeat_byte(9);
    let mut nobody = chain_task(1, 1);
    nobody.caller = Address::ZERO;
    rig.request(&[stranger, nobody], 11);
    assert_eq!((rig.relay.tasks().count(), rig.relay.known().skipped), (0, 2));
    assert_eq!(rig.scan, Some(Scan { next: 2 }), "they are not read again");
    let empty = Rig::new(Policy { callers: Default::default(), ..policy() });
    assert!(empty.relay.obstacles().iter().any(|text| text.contains("the list of callers is empty")));
}

#[test]
fn tasks_without_events_are_read_from_the_start_and_after_a_gap() {
    let mut rig = Rig::new(Policy { look_back: Some(100), ..policy() });
    let effects = rig.step(vec![Event::ProviderRead(Ok(provider(20, 3)))]);
    assert!(effects.contains(&Effect::ReadTasks(vec![0, 1, 2])), "{effects:?}");
    // The answer fails: the same numbers are asked for again.
    let failed = Event::TasksRead { nonces: vec![0, 1, 2], result: Err("down".to_owned()) };
    assert!(!reads(&rig.step(vec![failed]), 0));
    assert!(rig.wait(1_500).contains(&Effect::ReadTasks(vec![0, 1, 2])));
    let tasks: Vec<ChainTask> = (0..3).map(|nonce| chain_task(nonce, 1)).collect();
    rig.read(20, &tasks);
    assert_eq!((rig.relay.tasks().count(), rig.scan), (3, Some(Scan { next: 3 })));
}

#[test]
fn a_restart_at_any_point_goes_on_with_the_same_bytes_and_the_same_request() {
    let mut rig = Rig::new(policy());
    let task = chain_task(0, 1);
    rig.request(std::slice::from_ref(&task), 11);
    rig.restart();
    rig.head(12);
    let effects = rig.read(12, std::slice::from_ref(&task));
    let (_, hash, _) = rig.sign(&effects);
    rig.restart();
    assert_eq!(rig.state(&task), State::BandSigned);
    let effects = rig.wait(1);
    assert!(!signs(&effects));
    assert_eq!(rig.relay.lane().open[&5].newest().unwrap().hash, hash);
    rig.accept(&hash);
    rig.restart();
    rig.land(5, &hash, 0, &[900]);
    rig.restart();
    assert_eq!(rig.task(&task).request.unwrap().id, 900);
    assert!(!signs(&rig.wait(100_000)));
    assert_eq!(rig.executed(), 1);
}

#[test]
fn a_reorganisation_before_the_payment_costs_nothing() {
    let mut rig = Rig::new(policy());
    let (old, new) = (chain_task(0, 1), chain_task(0, 2));
    rig.request(std::slice::from_ref(&old), 11);
    rig.head(12);
    let requested = vec![(new.clone(), 11, B256::repeat_byte(0xee))];
    let removed = vec![hash(11)];
    let effects = rig.step(vec![Event::Client { removed, head: 11, requested, relayed: vec![], provider_changed: false }]);
    assert!(!signs(&effects));
    // The answer of a read that began before the reorganisation proves nothing.
    let effects = rig.read(12, std::slice::from_ref(&old));
    assert!(reads(&effects, 0) && !signs(&effects), "{effects:?}");
    let effects = rig.read(12, std::slice::from_ref(&new));
    assert_eq!(rig.state(&old), State::Superseded);
    let (plan, ..) = rig.sign(&effects);
    assert_eq!(plan.requests.iter().map(|request| request.key).collect::<Vec<_>>(), vec![new.key()]);
}

#[test]
fn a_seed_that_comes_back_finds_its_request_again() {
    let mut rig = Rig::new(policy());
    let (old, new) = (chain_task(0, 1), chain_task(0, 2));
    rig.pay(&old, 900);
    let requested = vec![(new.clone(), 11, B256::repeat_byte(0xee))];
    rig.step(vec![Event::Client { removed: vec![hash(11)], head: 12, requested, relayed: vec![], provider_changed: false }]);
    rig.read(12, std::slice::from_ref(&new));
    assert_eq!(rig.state(&old), State::Superseded);
    // Long after, it is not even in memory any more.
    rig.head(40);
    rig.read(40, std::slice::from_ref(&new));
    let row = rig.rows[&old.key()].clone();
    assert_eq!(row.request.as_ref().unwrap().id, 900);
    let back = vec![(old.clone(), 39, hash(39))];
    let mut events = if rig.relay.knows(old.key()) { Vec::new() } else { vec![Event::Loaded(vec![row])] };
    events.push(Event::Client { removed: vec![], head: 41, requested: back, relayed: vec![], provider_changed: false });
    rig.step(events);
    assert_eq!((rig.state(&old), rig.task(&old).request.unwrap().id), (State::BandIncluded, 900));
}

#[test]
fn what_somebody_else_answered_is_not_paid_for() {
    let mut rig = Rig::new(policy());
    let task = chain_task(0, 1);
    rig.request(std::slice::from_ref(&task), 11);
    rig.head(12);
    let answered = ChainTask { is_resolved: true, ..task.clone() };
    let effects = rig.read(12, std::slice::from_ref(&answered));
    assert!(!signs(&effects));
    assert_eq!(rig.state(&task), State::Foreign);
    // The foreign relay is reorganised away before it is final: the task lives again.
    rig.head(22);
    rig.read(22, std::slice::from_ref(&task));
    assert_eq!(rig.state(&task), State::Confirmed);
}

#[test]
fn a_relayed_event_makes_the_provider_be_read_before_the_payment() {
    let mut rig = Rig::new(policy());
    let task = chain_task(0, 1);
    rig.request(std::slice::from_ref(&task), 11);
    let relayed = vec![task.seed];
    let effects =
        rig.step(vec![Event::Client { removed: vec![], head: 12, requested: vec![], relayed, provider_changed: false }]);
    assert!(reads(&effects, 0));
}

#[test]
fn a_lost_transaction_is_offered_again_and_never_signed_anew() {
    let mut rig = Rig::new(policy());
    let task = chain_task(0, 1);
    rig.request(std::slice::from_ref(&task), 11);
    rig.head(12);
    let effects = rig.read(12, std::slice::from_ref(&task));
    let (_, hash, _) = rig.sign(&effects);
    rig.accept(&hash);
    for _ in 0..5 {
        let effects = rig.wait(31_000);
        let offers: Vec<&Effect> = effects.iter().filter(|effect| matches!(effect, Effect::Offer { .. })).collect();
        assert_eq!(offers, vec![&Effect::Offer { hash: hash.clone(), bytes: Bytes::from(hash.clone().into_bytes()) }]);
        assert!(!signs(&effects));
        rig.accept(&hash);
        rig.step(vec![Event::Looked { sequence: 5, hash: hash.clone(), result: Ok(None) }]);
    }
}

#[test]
fn a_wrong_sequence_reads_the_account_and_offers_the_missing_one_first() {
    let mut rig = Rig::new(policy());
    let tasks: Vec<ChainTask> = (0..11).map(|nonce| chain_task(nonce, 1)).collect();
    rig.request(&tasks, 11);
    rig.head(12);
    let effects = rig.read(12, &tasks);
    let (_, first, effects) = rig.sign(&effects);
    let (_, second, _) = rig.sign(&effects);
    let effects = rig.accept(&first);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Offer { hash, .. } if *hash == second)), "{effects:?}");
    let effects = rig.refuse(&second, 32, "account sequence mismatch, expected 5, got 6");
    assert!(effects.contains(&Effect::ReadAccount), "{effects:?}");
    let effects = rig.step(vec![Event::AccountRead(Ok(Some(BandAccount { number: 7, sequence: 5 })))]);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Offer { hash, .. } if *hash == first)), "{effects:?}");
    assert!(!signs(&effects));
}

#[test]
fn a_sequence_used_by_another_is_settled_by_evidence_only() {
    let mut rig = Rig::new(policy());
    let task = chain_task(0, 1);
    rig.request(std::slice::from_ref(&task), 11);
    rig.head(12);
    let effects = rig.read(12, std::slice::from_ref(&task));
    let (_, hash, _) = rig.sign(&effects);
    rig.refuse(&hash, 32, "account sequence mismatch, expected 6, got 5");
    rig.step(vec![Event::AccountRead(Ok(Some(BandAccount { number: 7, sequence: 6 })))]);
    rig.band(101);
    let effects = rig.band(103);
    assert!(effects.contains(&Effect::Search { sequence: 5 }), "{effects:?}");
    assert!(!signs(&effects), "a missing answer settles nothing");
    let foreign = LandedTx { hash: "FOREIGN".to_owned(), height: 101, code: 0, text: String::new(), request_ids: vec![] };
    let effects = rig.step(vec![Event::Searched { sequence: 5, result: Ok(Some(foreign)) }]);
    assert_eq!(rig.state(&task), State::Confirmed);
    // Whoever has the key may have paid for the same tasks: that is looked for before anything is paid again.
    assert!(effects.contains(&Effect::FindRequests), "{effects:?}");
    assert!(!signs(&rig.read(13, std::slice::from_ref(&task))));
    let effects = rig.step(vec![Event::Found(Ok(Vec::new()))]);
    let (plan, ..) = rig.sign(&effects);
    assert_eq!(plan.sequence, 6);
    assert_eq!(rig.executed(), 0);
}

#[test]
fn a_used_sequence_that_nobody_can_explain_is_held_for_an_operator() {
    let mut rig = Rig::new(policy());
    let task = chain_task(0, 1);
    rig.request(std::slice::from_ref(&task), 11);
    rig.head(12);
    let effects = rig.read(12, std::slice::from_ref(&task));
    let (_, hash, _) = rig.sign(&effects);
    rig.accept(&hash);
    rig.wait(16_000);
    rig.step(vec![Event::AccountRead(Ok(Some(BandAccount { number: 7, sequence: 6 })))]);
    for height in 101..130 {
        rig.now = UnixMillis(rig.now.0 + 3_000);
        let effects = rig.band(height);
        assert!(!signs(&effects));
        rig.step(vec![
            Event::Looked { sequence: 5, hash: hash.clone(), result: Ok(None) },
            Event::Searched { sequence: 5, result: Ok(None) },
        ]);
    }
    assert_eq!(rig.hold(&task), "band_unknown");
    rig.step(vec![Event::Command(Command::Retry { nonce: 0, request_again: true })]);
    let effects = rig.read(14, std::slice::from_ref(&task));
    let (plan, ..) = rig.sign(&effects);
    assert_eq!(plan.sequence, 6);
}

#[test]
fn a_higher_fee_is_paid_for_the_same_requests_up_to_the_limit() {
    let mut rig = Rig::new(policy());
    let task = chain_task(0, 1);
    rig.request(std::slice::from_ref(&task), 11);
    rig.head(12);
    let effects = rig.read(12, std::slice::from_ref(&task));
    let (first, hash, _) = rig.sign(&effects);
    let effects = rig.refuse(&hash, 13, "insufficient fees; got: 2000uband required: 4000uband: insufficient fee");
    let (second, hash, _) = rig.sign(&effects);
    assert_eq!((second.sequence, second.number, second.fee), (5, 1, 4_000));
    assert_eq!(first.requests, second.requests);
    let effects = rig.refuse(&hash, 13, "insufficient fees; got: 4000uband required: 400000uband: insufficient fee");
    assert!(!signs(&effects));
    assert!(matches!(rig.relay.lane().hold, Some(LaneHold::FeeTooLow { .. })));
    assert!(rig.relay.obstacles().iter().any(|text| text.contains("higher fee")));
    // Either of the two may be the one that lands.
    rig.land(5, "TX5N0", 0, &[900]);
    assert_eq!((rig.state(&task), rig.executed()), (State::BandIncluded, 1));
    assert_eq!(rig.txs[&(5, 1)].state, BandTxState::Dead);
}

#[test]
fn an_account_without_coins_holds_everything_and_goes_on_when_funded() {
    let mut rig = Rig::new(policy());
    let task = chain_task(0, 1);
    rig.request(std::slice::from_ref(&task), 11);
    rig.head(12);
    let effects = rig.read(12, std::slice::from_ref(&task));
    let (_, hash, _) = rig.sign(&effects);
    rig.refuse(&hash, 5, "spendable balance 0uband is smaller than 2000uband: insufficient funds");
    assert!(matches!(rig.relay.lane().hold, Some(LaneHold::NoFunds { .. })));
    let effects = rig.wait(31_000);
    assert!(reads(&effects, 0) && !offers(&effects), "the provider is read before each offer: {effects:?}");
    let effects = rig.read(12, std::slice::from_ref(&task));
    assert!(offers(&effects), "the same bytes again: {effects:?}");
    rig.accept(&hash);
    assert_eq!(rig.relay.lane().hold, None);
}

#[test]
fn what_was_answered_while_there_were_no_coins_is_left_out() {
    let mut rig = Rig::new(policy());
    let [answered, open, later] = [0, 1, 2].map(|nonce| chain_task(nonce, 1));
    rig.request(&[answered.clone(), open.clone()], 11);
    rig.head(12);
    let effects = rig.read(12, &[answered.clone(), open.clone()]);
    let (_, hash, _) = rig.sign(&effects);
    let refusal = "spendable balance 0uband is smaller than 4000uband: insufficient funds";
    rig.refuse(&hash, 5, refusal);
    rig.wait(31_000);
    let with_value = ChainTask { is_resolved: true, ..answered.clone() };
    let effects = rig.read(13, &[with_value, open.clone()]);
    assert_eq!(rig.state(&answered), State::Foreign);
    assert!(!offers(&effects), "{effects:?}");
    let (plan, hash, effects) = rig.sign(&effects);
    assert_eq!((plan.sequence, plan.number, plan.requests.len()), (5, 1, 1));
    assert!(offers(&effects));

    // Nothing is left of it: it waits for a task that is to be paid, and the account stays as it is until then.
    rig.refuse(&hash, 5, refusal);
    rig.wait(31_000);
    let effects = rig.read(14, &[ChainTask { is_resolved: true, ..open.clone() }]);
    assert!(!offers(&effects) && !signs(&effects), "{effects:?}");
    let effects = rig.wait(31_000);
    assert!(!offers(&effects) && !signs(&effects), "{effects:?}");
    rig.restart();
    let effects = rig.wait(31_000);
    assert!(!offers(&effects) && !signs(&effects), "{effects:?}");
    rig.request(std::slice::from_ref(&later), 15);
    rig.head(16);
    let effects = rig.read(16, std::slice::from_ref(&later));
    let (plan, ..) = rig.sign(&effects);
    assert_eq!((plan.sequence, plan.number, plan.requests.len()), (5, 2, 1));
    assert_eq!(plan.requests[0].key, later.key());
}

#[test]
fn a_failed_batch_is_taken_apart() {
    let mut rig = Rig::new(policy());
    let tasks: Vec<ChainTask> = (0..3).map(|nonce| chain_task(nonce, 1)).collect();
    rig.request(&tasks, 11);
    rig.head(12);
    let effects = rig.read(12, &tasks);
    let (plan, hash, _) = rig.sign(&effects);
    assert_eq!(plan.requests.len(), 3);
    rig.accept(&hash);
    // Whether it failed with or without using its sequence, the account tells.
    let effects = rig.land(5, &hash, 11, &[]);
    assert!(effects.contains(&Effect::ReadAccount) && !signs(&effects), "{effects:?}");
    rig.step(vec![Event::AccountRead(Ok(Some(BandAccount { number: 7, sequence: 6 })))]);
    let effects = rig.land(5, &hash, 11, &[]);
    assert!(!signs(&effects));
    let effects = rig.read(12, &tasks);
    let (plan, _, effects) = rig.sign(&effects);
    assert_eq!((plan.sequence, plan.requests.len()), (6, 1), "one bad request must not take others with it");
    let (plan, ..) = rig.sign(&effects);
    assert_eq!((plan.sequence, plan.requests.len()), (7, 1));
}

#[test]
fn a_request_that_no_node_takes_is_held_and_its_sequence_goes_to_another() {
    let mut rig = Rig::new(policy());
    let (bad, good) = (chain_task(0, 1), chain_task(1, 1));
    rig.request(std::slice::from_ref(&bad), 11);
    rig.head(12);
    let effects = rig.read(12, std::slice::from_ref(&bad));
    let (_, hash, _) = rig.sign(&effects);
    for _ in 0..3 {
        rig.refuse(&hash, 18, "invalid request");
        rig.wait(31_000);
    }
    assert_eq!(rig.hold(&bad), "band_refused");
    rig.step(vec![Event::Command(Command::Recheck)]);
    rig.request(std::slice::from_ref(&good), 13);
    rig.head(14);
    rig.read(14, std::slice::from_ref(&good));
    for _ in 0..3 {
        let effects = rig.refuse(&hash, 18, "invalid request");
        if signs(&effects) {
            let (plan, ..) = rig.sign(&effects);
            assert_eq!((plan.sequence, plan.number), (5, 1));
            assert_eq!(plan.requests[0].key, good.key());
            return;
        }
        rig.wait(31_000);
        rig.read(15, std::slice::from_ref(&good));
    }
    panic!("the sequence stays blocked: {:?}", rig.relay.lane());
}

#[test]
fn failing_requests_are_repeated_within_the_limit_then_held() {
    let mut rig = Rig::new(policy());
    let task = chain_task(0, 1);
    let mut id = 900;
    rig.pay(&task, id);
    for round in 1..=3 {
        rig.end(id, if round == 2 { Resolution::Expired } else { Resolution::Failure });
        if round == 3 {
            break;
        }
        assert_eq!(rig.state(&task), State::Confirmed);
        rig.wait(20_000);
        let effects = rig.read(20, std::slice::from_ref(&task));
        let (plan, hash, _) = rig.sign(&effects);
        id += 1;
        rig.land(plan.sequence, &hash, 0, &[id]);
    }
    assert_eq!((rig.hold(&task), rig.task(&task).requests_paid), ("band_failed", 3));
    assert!(!signs(&rig.wait(10_000_000)));
    rig.read(20, std::slice::from_ref(&task));
    rig.step(vec![Event::Command(Command::Retry { nonce: 0, request_again: true })]);
    let effects = rig.read(20, std::slice::from_ref(&task));
    assert!(signs(&effects), "an operator may allow one more: {effects:?}");
}

#[test]
fn a_reverting_consumer_is_held_and_costs_neither_gas_nor_requests() {
    let mut rig = Rig::new(policy());
    let task = chain_task(0, 1);
    rig.pay(&task, 900);
    rig.resolve(&task, 900);
    rig.read(13, std::slice::from_ref(&task));
    rig.proven(&task, 900);
    rig.relayed(&task, 1, RelayProgress::Reverted { reason: "Error(\"lottery is closed\")".to_owned() });
    assert_eq!((rig.state(&task), rig.hold(&task)), (State::BandResolved, "consumer_reverts"));
    let paid = rig.intents.len();
    let effects = rig.wait(60_000);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Prove { .. })), "{effects:?}");
    rig.read(14, std::slice::from_ref(&task));
    let effects = rig.proven(&task, 900);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Simulate { .. })), "{effects:?}");
    rig.step(vec![Event::Simulated { key: task.key(), result: Err(Some("lottery is closed".to_owned())) }]);
    assert_eq!((rig.intents.len(), rig.hold(&task)), (paid, "consumer_reverts"));
    // Mended.
    rig.wait(700_000);
    rig.read(15, std::slice::from_ref(&task));
    rig.proven(&task, 900);
    rig.step(vec![Event::Simulated { key: task.key(), result: Ok(()) }]);
    if rig.intents.len() == paid {
        rig.read(15, std::slice::from_ref(&task));
    }
    assert_eq!((rig.intents.len(), rig.state(&task), rig.executed()), (paid + 1, State::Relaying, 1));
}

#[test]
fn old_validators_hold_the_task_until_the_bridge_changes() {
    let mut rig = Rig::new(policy());
    let task = chain_task(0, 1);
    rig.pay(&task, 900);
    rig.resolve(&task, 900);
    rig.prove(&task, 900, ProofOutcome::Stale { detail: "60 of 100".to_owned() });
    assert_eq!(rig.hold(&task), "validators_stale");
    let effects = rig.wait(2_000);
    assert!(effects.contains(&Effect::ReadBridge(BRIDGE)), "{effects:?}");
    rig.step(vec![Event::BridgeRead(Ok(bridge("band", 1)))]);
    assert_eq!(rig.hold(&task), "validators_stale");
    rig.wait(31_000);
    rig.step(vec![Event::BridgeRead(Ok(bridge("band", 2)))]);
    assert_eq!(rig.hold(&task), "");
    let effects = rig.band(rig.band_height + 1);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Prove { .. })));
    assert_eq!(rig.executed(), 1, "the same request is proven again");
}

#[test]
fn other_settings_of_the_provider_need_another_request() {
    let mut rig = Rig::new(policy());
    let task = chain_task(0, 1);
    rig.pay(&task, 900);
    rig.step(vec![Event::ProviderRead(Ok(ProviderView { oracle_script_id: 44, ..provider(13, 1) }))]);
    assert_eq!(rig.state(&task), State::Confirmed);
    rig.wait(20_000);
    let effects = rig.read(20, std::slice::from_ref(&task));
    let (plan, ..) = rig.sign(&effects);
    assert_eq!(plan.terms.oracle_script_id, 44);
}

#[test]
fn a_provider_of_the_first_generation_states_its_own_counts() {
    let mut rig = Rig::new(policy());
    rig.step(vec![Event::ProviderRead(Ok(ProviderView { counts: Some((3, 5)), ..provider(10, 0) }))]);
    let task = chain_task(0, 1);
    rig.request(std::slice::from_ref(&task), 11);
    rig.head(12);
    let effects = rig.read(12, std::slice::from_ref(&task));
    let (plan, ..) = rig.sign(&effects);
    assert_eq!((plan.terms.min_count, plan.terms.ask_count), (3, 5));
}

#[test]
fn nothing_is_paid_on_the_wrong_chain_or_in_a_dry_run() {
    let mut wrong = Rig::new(policy());
    wrong.step(vec![Event::BridgeRead(Ok(bridge("other", 1)))]);
    let mut dry = Rig::new(Policy { dry_run: true, ..policy() });
    for rig in [&mut wrong, &mut dry] {
        let task = chain_task(0, 1);
        rig.request(std::slice::from_ref(&task), 11);
        rig.head(12);
        let effects = rig.read(12, std::slice::from_ref(&task));
        assert!(!signs(&effects) && !signs(&rig.wait(100_000)));
    }
    assert!(wrong.relay.obstacles().iter().any(|text| text.contains("the Bridge accepts chain other")));
    assert_eq!(dry.hold(&chain_task(0, 1)), "dry_run");
    let named = Rig::new(Policy { band_chain_id: Some("laozi-mainnet".to_owned()), ..policy() });
    assert!(named.relay.obstacles().iter().any(|text| text.contains("band.chain_id is laozi-mainnet")));
}

#[test]
fn unprofitable_tasks_wait_or_end_as_the_policy_says() {
    for (unprofitable, hold, state) in [
        (Unprofitable::Wait, "unprofitable", State::Confirmed),
        (Unprofitable::Skip, "", State::Dead),
        (Unprofitable::Relay, "", State::Confirmed),
    ] {
        let mut rig = Rig::new(Policy { unprofitable, ..policy() });
        rig.step(vec![Event::ProviderRead(Ok(ProviderView { gas_price: Some(10_u128.pow(12)), ..provider(10, 0) }))]);
        let task = chain_task(0, 1);
        rig.request(std::slice::from_ref(&task), 11);
        rig.head(12);
        let effects = rig.read(12, std::slice::from_ref(&task));
        assert_eq!(signs(&effects), unprofitable == Unprofitable::Relay);
        assert_eq!((rig.hold(&task), rig.state(&task)), (hold, state), "{unprofitable:?}");
    }
}

#[test]
fn requests_of_an_earlier_life_are_used_and_nothing_is_paid_before_they_are_known() {
    let mut relay = Relay::load(policy(), Vec::new(), Vec::new(), None);
    let effects = relay.step(UnixMillis(1), vec![Event::Started]).effects;
    assert!(effects.contains(&Effect::FindRequests));
    let task = chain_task(0, 1);
    let requested = vec![(task.clone(), 11, hash(11))];
    let events = vec![
        Event::ProviderRead(Ok(provider(10, 1))),
        Event::BridgeRead(Ok(bridge("band", 1))),
        Event::BandHead(Ok(("band".to_owned(), 100))),
        Event::AccountRead(Ok(Some(BandAccount { number: 7, sequence: 5 }))),
        Event::Client { removed: vec![], head: 12, requested, relayed: vec![], provider_changed: false },
        Event::TasksRead { nonces: vec![0], result: Ok(TasksAt { head: 12, tasks: vec![(0, Some(task.clone()))] }) },
    ];
    assert!(!signs(&relay.step(UnixMillis(2), events).effects));
    let terms = Terms { oracle_script_id: 43, min_count: 2, ask_count: 3, worker: WORKER };
    let request = Request { id: 900, height: 90, terms, resolved: None };
    let found = vec![FoundRequest { seed: task.seed, time: task.time, request }];
    let effects = relay.step(UnixMillis(3), vec![Event::Found(Ok(found))]).effects;
    assert!(!signs(&effects));
    assert_eq!(relay.task(task.key()).unwrap().state, State::BandIncluded);
    assert!(effects.contains(&Effect::ReadBlockResults { height: 91 }), "{effects:?}");
}

#[test]
fn without_block_results_proofs_are_asked_for_at_each_block() {
    let mut rig = Rig::new(Policy { band_proof_after: 2, ..policy() });
    let task = chain_task(0, 1);
    rig.pay(&task, 900);
    rig.band(102);
    rig.step(vec![Event::BlockResults { height: 102, result: Ok(None) }]);
    rig.band(103);
    let effects = rig.band(104);
    let proves = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Prove { .. }));
    assert!(proves(&effects), "{effects:?}");
    rig.prove(&task, 900, ProofOutcome::NotReady);
    assert!(!proves(&rig.wait(100)), "not twice at one block");
    assert!(proves(&rig.band(105)));
    rig.prove(&task, 900, ProofOutcome::Ended { resolution: Resolution::Expired, version: 104 });
    assert_eq!(rig.state(&task), State::Confirmed);
}

#[test]
fn every_state_and_hold_has_a_reason_and_survives_its_stored_form() {
    let holds = [
        Hold::DryRun,
        Hold::Unprofitable { fee: U256::MAX, cost: U256::ZERO },
        Hold::BandFailed { attempts: 3, status: "expired".into() },
        Hold::BandRefused { code: 18, text: "x".into() },
        Hold::BandUnknown { sequence: u64::MAX },
        Hold::ValidatorsStale { detail: "x".into() },
        Hold::ProofInvalid { reason: "x".into() },
        Hold::ProofUnavailable { text: "x".into() },
        Hold::BridgeRefuses { reason: "x".into() },
        Hold::ConsumerReverts { reason: "x".into() },
        Hold::RelayDropped { reason: "x".into() },
    ];
    assert_eq!(holds.iter().map(Hold::name).collect::<Vec<_>>(), crate::metrics::HOLDS);
    let mut task = Task::new(chain_task(0, 1), 1, None, UnixMillis(1));
    for state in State::ALL {
        task.state = state;
        assert_eq!(State::from_name(state.name()), Some(state));
        for hold in holds.iter().cloned().map(Some).chain([None]) {
            task.hold = hold;
            assert!(!task.why().is_empty());
            let stored = serde_json::to_string(&task).unwrap();
            assert_eq!(serde_json::from_str::<Task>(&stored).unwrap(), task);
        }
    }
}
