//! What must hold at every moment, judged by the bytes that left the relay and by what stands on both chains, never by what the relay
//! says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use async_trait::async_trait;
use parking_lot::Mutex;
use windlass_sim::chain::SimChain;
use windlass_sim::{Checker, Violation};
use windlass_store::UnixMillis;
use windlass_vrf::protocol::events::request_ids;
use windlass_vrf::protocol::messages::oracle::ResolveStatus;
use windlass_vrf::protocol::multistore::Layout;
use windlass_vrf::protocol::obi::Calldata;
use windlass_vrf::protocol::signature::Signers;
use windlass_vrf::protocol::task::{ProviderSettings, ProviderVersion};
use windlass_vrf::protocol::tx;
use windlass_vrf::protocol::validators::ValidatorSet;
use windlass_vrf::protocol::verify::{BlockDetail, BridgeState, Verifier};

use crate::band::SimBand;
use crate::contracts::{self, Genesis};

/// What was counted in a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Requests that Band executed for the relay.
    pub(crate) paid: usize,
    /// Those of them that Band ended without a value.
    pub(crate) failed: usize,
    /// Seeds that were paid for.
    pub(crate) seeds: usize,
    /// Different Band transactions that left the relay.
    pub(crate) band_txs: usize,
    /// Relay transactions that stand on the chain and succeeded.
    pub(crate) relayed: usize,
    /// Those that stand there and reverted.
    pub(crate) reverted: usize,
    /// Tasks of callers that are served, on the canonical chain.
    pub(crate) tasks: usize,
    /// Those with a value of somebody else.
    pub(crate) foreign: usize,
}

pub(crate) type SharedTally = Arc<Mutex<Tally>>;

/// What a world allows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    /// The database was lost: what was not in a Band block then cannot be known, and may be asked for again.
    pub(crate) lost_database: bool,
    /// No request may leave for a task that is answered or gone since longer than this, milliseconds: for worlds in which the relay is up
    /// and its nodes answer.
    pub(crate) patience_ms: Option<i64>,
    /// Tasks of these callers may be open at the end.
    pub(crate) may_stay_open: Vec<Address>,
}

/// A request message that left the relay.
#[derive(Clone, Debug)]
struct Asked {
    sequence: u64,
    hash: String,
    place: usize,
    settings: ProviderSettings,
    /// Which of the settings that the provider ever had was in force when it left.
    since: usize,
}

/// One task that ever stood on the chain.
#[derive(Clone, Copy, Debug)]
struct Known {
    time: u64,
    wanted: bool,
    /// The deepest that it was seen.
    depth: u64,
    /// Since when it is answered, or not on the chain.
    gone_since: Option<UnixMillis>,
}

/// The rules of a relay.
pub(crate) struct RelayRules {
    chain: SimChain,
    band: SimBand,
    genesis: Genesis,
    worker: Address,
    callers: BTreeSet<Address>,
    confirmations: u64,
    limits: Limits,
    tally: SharedTally,
    band_seen: usize,
    client_seen: usize,
    head: B256,
    /// By seed, in the order of leaving.
    asked: BTreeMap<B256, Vec<Asked>>,
    /// Every task that ever stood in the state of a head, by nonce and seed.
    known: BTreeMap<(u64, B256), Known>,
    /// Every setting that a head ever had, in order.
    settings: Vec<ProviderSettings>,
    /// Every block of BandChain that the Bridge has relayed in the state of some head: it looks at no signature of those again.
    relayed_blocks: BTreeMap<u64, BlockDetail>,
    signers: Signers,
}

impl RelayRules {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        chain: SimChain,
        band: SimBand,
        genesis: Genesis,
        worker: Address,
        callers: BTreeSet<Address>,
        confirmations: u64,
        limits: Limits,
        tally: SharedTally,
    ) -> Self {
        Self {
            chain,
            band,
            genesis,
            worker,
            callers,
            confirmations,
            limits,
            tally,
            band_seen: 0,
            client_seen: 0,
            head: B256::ZERO,
            asked: BTreeMap::new(),
            known: BTreeMap::new(),
            settings: Vec::new(),
            relayed_blocks: BTreeMap::new(),
            signers: Signers::with_capacity(20_000),
        }
    }

    /// Whether a result of a request with these settings would be refused.
    fn misfits(&self, asked: &ProviderSettings, settings: &ProviderSettings) -> bool {
        let counts = (asked.min_count, asked.ask_count) != (settings.min_count, settings.ask_count);
        asked.oracle_script_id != settings.oracle_script_id || (self.genesis.version == ProviderVersion::V1 && counts)
    }

    /// Whether the provider would have refused it at some moment since.
    fn is_misfit(&self, asked: &ProviderSettings, since: usize) -> bool {
        self.settings.iter().skip(since).any(|settings| self.misfits(asked, settings))
    }

    /// What became of a request that left before: `None` if it is of no use and costs nothing more, otherwise why another one may not leave.
    fn still_counts(&self, asked: &Asked) -> Option<&'static str> {
        // What the provider refused at any time since may have been given up for good.
        if self.is_misfit(&asked.settings, asked.since) {
            return None;
        }
        if asked.sequence >= self.band.sequence() {
            return Some("may yet be executed");
        }
        let executed = self.band.with(|chain| {
            let included = chain.transaction(&asked.hash).filter(|included| included.code == 0)?;
            let id = *request_ids(&included.events, &included.raw_log).ok()?.get(asked.place)?;
            Some(chain.request(id).map_or(ResolveStatus::Open, |state| state.status()))
        });
        match executed {
            None | Some(ResolveStatus::Failure | ResolveStatus::Expired) => None,
            Some(ResolveStatus::Open) => Some("is executed and open"),
            Some(ResolveStatus::Success) => Some("is executed and has a value"),
        }
    }

    /// Every request is for a task that was deep enough, and none is asked for twice.
    fn look_at_band_bytes(&mut self, now: UnixMillis) -> Result<(), Violation> {
        let fresh = self.band.seen_since(self.band_seen);
        self.band_seen += fresh.len();
        for seen in fresh {
            let decoded =
                tx::decode(&seen.bytes).map_err(|error| Violation(format!("{} is no transaction: {error}", seen.hash)))?;
            for (place, request) in &decoded.requests {
                let message = &request.message;
                let calldata = Calldata::decode(&message.calldata)
                    .map_err(|refusal| Violation(format!("{} has calldata that is refused: {refusal}", seen.hash)))?;
                Violation::unless(calldata.worker == self.worker, || format!("{} names another worker", seen.hash))?;
                let known = self.known.iter().find(|((_, seed), _)| *seed == calldata.seed).map(|(_, known)| *known);
                let known = known.ok_or_else(|| Violation(format!("{} asks for a seed that no task ever had", seen.hash)))?;
                Violation::unless(known.time == calldata.time, || format!("{} has another time than its task", seen.hash))?;
                Violation::unless(known.wanted, || format!("{} pays for a caller that is not served", seen.hash))?;
                Violation::unless(known.depth >= self.confirmations, || {
                    format!("{} pays for a task at depth {}", seen.hash, known.depth)
                })?;
                if let (Some(patience), Some(since)) = (self.limits.patience_ms, known.gone_since) {
                    Violation::unless(now.0 - since.0 <= patience, || {
                        format!("{} pays for {}, which is answered or gone for {} ms", seen.hash, calldata.seed, now.0 - since.0)
                    })?;
                }
                let settings = ProviderSettings {
                    oracle_script_id: message.oracle_script_id,
                    min_count: message.min_count as u8,
                    ask_count: message.ask_count as u8,
                };
                let before = self.asked.get(&calldata.seed).cloned().unwrap_or_default();
                for other in before.iter().filter(|other| other.sequence != decoded.sequence) {
                    if let Some(why) = self.still_counts(other).filter(|_| !self.limits.lost_database) {
                        let (seed, hash, sequence) = (calldata.seed, &seen.hash, decoded.sequence);
                        return Err(Violation(format!(
                            "{hash} with sequence {sequence} asks again for {seed}, whose request {} with sequence {} {why}",
                            other.hash, other.sequence
                        )));
                    }
                }
                let twice = before.iter().any(|other| other.hash == seen.hash);
                Violation::unless(!twice, || format!("{} asks twice for {}", seen.hash, calldata.seed))?;
                let since = self.settings.len().saturating_sub(1);
                let asked = Asked { sequence: decoded.sequence, hash: seen.hash.clone(), place: *place, settings, since };
                self.asked.entry(calldata.seed).or_default().push(asked);
            }
        }
        Ok(())
    }

    /// Relays are made only of proofs that verify, for the worker and the seed of a task under that number.
    fn look_at_relays(&mut self) -> Result<(), Violation> {
        let fresh = self.chain.seen_since(self.client_seen);
        self.client_seen += fresh.len();
        for sent in fresh.iter().filter(|sent| sent.sender == self.worker) {
            let Some((proof, nonce)) = contracts::decode_relay(&sent.input) else {
                let filler = sent.to == Some(self.worker) && sent.value.is_zero();
                Violation::unless(filler, || format!("{} is no relay and fills no nonce", sent.hash))?;
                continue;
            };
            let list = self.genesis.validators.iter().map(|(address, power)| (*address, U256::from(*power)));
            let set = ValidatorSet::new(list).map_err(|error| Violation(error.to_string()))?;
            let bridge = BridgeState::new(set, self.genesis.encoded_chain_id.clone());
            let bridge = BridgeState { blocks: self.relayed_blocks.clone(), ..bridge };
            let v1 = self.genesis.version == ProviderVersion::V1;
            let verdicts = Layout::ALL.map(|layout| {
                let mut verifier = Verifier::new(layout, &bridge, &mut self.signers);
                if v1 { verifier.relay_and_verify(&proof).map(|relayed| relayed.value) } else { verifier.oracle_result(&proof) }
            });
            let result = verdicts.into_iter().flatten().next();
            let result = result.ok_or_else(|| Violation(format!("{} relays a proof that does not verify", sent.hash)))?;
            let calldata = Calldata::decode(&result.calldata).map_err(|refusal| Violation(refusal.to_string()))?;
            let status = result.resolve_status;
            Violation::unless(status == ResolveStatus::Success, || format!("{} relays a request without value", sent.hash))?;
            Violation::unless(calldata.worker == self.worker, || format!("{} relays for another worker", sent.hash))?;
            let known = self.known.contains_key(&(nonce, calldata.seed));
            Violation::unless(known, || format!("{} relays a seed that task {nonce} never had", sent.hash))?;
        }
        Ok(())
    }

    /// Notes the tasks of a new head, and that no task is relayed twice.
    fn look_at_head(&mut self, now: UnixMillis) -> Result<(), Violation> {
        let head = self.chain.head();
        if head.hash == self.head {
            return Ok(());
        }
        self.head = head.hash;
        if self.genesis.version == ProviderVersion::V1 {
            self.relayed_blocks.extend(contracts::relayed_blocks(&head.state));
        }
        let settings = contracts::settings_in(&head.state, &self.genesis);
        if self.settings.last() != Some(&settings) {
            self.settings.push(settings);
        }
        let depths: BTreeMap<u64, u64> = (0..=head.header.number)
            .rev()
            .take(200)
            .filter_map(|number| Some((self.chain.block(number)?.header.timestamp, head.header.number - number + 1)))
            .collect();
        let mut tally = Tally { tasks: 0, foreign: 0, ..*self.tally.lock() };
        for known in self.known.values_mut() {
            known.gone_since.get_or_insert(now);
        }
        for (nonce, on_chain) in contracts::tasks_of(&head.state) {
            let task = on_chain.task;
            let wanted = self.callers.contains(&task.caller);
            let known =
                self.known.entry((nonce, task.seed)).or_insert(Known { time: task.time, wanted, depth: 0, gone_since: None });
            if !task.is_resolved {
                known.gone_since = None;
            }
            known.depth = known.depth.max(depths.get(&task.time).copied().unwrap_or(200));
            tally.tasks += usize::from(wanted);
            tally.foreign += usize::from(wanted && task.is_resolved && on_chain.relayer != self.worker);
        }
        (tally.relayed, tally.reverted) = (0, 0);
        let mut relayed = BTreeSet::new();
        for landed in self.chain.landed_of(self.worker) {
            let Some((_, nonce)) = contracts::decode_relay(&landed.transaction.input) else { continue };
            if landed.success {
                tally.relayed += 1;
                Violation::unless(relayed.insert(nonce), || format!("task {nonce} is relayed twice"))?;
            } else {
                tally.reverted += 1;
            }
        }
        *self.tally.lock() = tally;
        Ok(())
    }

    /// What Band executed: at most one request per seed that has or may have a value.
    fn count_payments(&self) -> Result<(), Violation> {
        let included = self.band.with(|chain| chain.transactions_of(self.band.account(), usize::MAX));
        let mut of_seed: BTreeMap<B256, Vec<(u64, ResolveStatus, bool)>> = BTreeMap::new();
        let mut tally = *self.tally.lock();
        (tally.paid, tally.failed) = (0, 0);
        let ours: BTreeSet<String> = self.band.seen_since(0).into_iter().map(|seen| seen.hash).collect();
        for included in included.iter().filter(|included| included.code == 0 && ours.contains(&included.hash_text())) {
            let decoded = tx::decode(&included.bytes).map_err(|error| Violation(error.to_string()))?;
            let ids = request_ids(&included.events, &included.raw_log).map_err(|error| Violation(error.to_string()))?;
            for ((_, request), id) in decoded.requests.iter().zip(ids) {
                let seed = Calldata::decode(&request.message.calldata).map_err(|refusal| Violation(refusal.to_string()))?.seed;
                let status = self.band.with(|chain| chain.request(id).map_or(ResolveStatus::Open, |state| state.status()));
                tally.paid += 1;
                tally.failed += usize::from(matches!(status, ResolveStatus::Failure | ResolveStatus::Expired));
                let settings = ProviderSettings {
                    oracle_script_id: request.message.oracle_script_id,
                    min_count: request.message.min_count as u8,
                    ask_count: request.message.ask_count as u8,
                };
                let asked = self.asked.get(&seed).and_then(|asked| asked.iter().find(|asked| asked.hash == included.hash_text()));
                let misfit = asked.is_some_and(|asked| self.is_misfit(&settings, asked.since));
                of_seed.entry(seed).or_default().push((id, status, misfit));
            }
        }
        tally.seeds = of_seed.len();
        tally.band_txs = self.band_seen;
        *self.tally.lock() = tally;
        for (seed, requests) in of_seed {
            let useful = requests
                .iter()
                .filter(|(_, status, misfit)| matches!(status, ResolveStatus::Open | ResolveStatus::Success) && !misfit);
            Violation::unless(useful.count() <= 1, || format!("the seed {seed} is paid for twice: {requests:?}"))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Checker for RelayRules {
    fn name(&self) -> &str {
        "relay rules"
    }

    async fn check(&mut self, now: UnixMillis) -> Result<(), Violation> {
        self.look_at_head(now)?;
        self.look_at_band_bytes(now)?;
        self.look_at_relays()
    }

    async fn check_end(&mut self, now: UnixMillis) -> Result<(), Violation> {
        self.check(now).await?;
        self.count_payments()?;
        for (nonce, on_chain) in contracts::tasks_of(&self.chain.head().state) {
            let task = on_chain.task;
            let wanted = self.callers.contains(&task.caller) && !self.limits.may_stay_open.contains(&task.caller);
            Violation::unless(!wanted || task.is_resolved, || format!("task {nonce} ({}) has no value", task.seed))?;
        }
        let tally = *self.tally.lock();
        Violation::unless(
            tally.paid <= self.known.values().filter(|known| known.wanted).count() + tally.failed + self.changes(),
            || format!("{} requests were paid for {} tasks, {} of them failed", tally.paid, self.known.len(), tally.failed),
        )
    }
}

impl RelayRules {
    /// Requests that changes of the settings made useless: at most one per task and change.
    fn changes(&self) -> usize {
        self.settings.len().saturating_sub(1) * self.known.len()
    }
}
