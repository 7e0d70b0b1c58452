//! The sender on BandChain: one account, its sequences, and the transactions signed for them.
//!
//! Invariants:
//! * What is offered to a node was committed before, and exactly those bytes are offered again.
//! * A task is in transactions of at most one sequence that is not settled. The chain executes at most one transaction per sequence, so
//!   whatever of several signed for it lands, no task is requested twice.
//! * A sequence is settled when the transaction that used it is known: one of ours, or a foreign one by positive evidence. A missing answer
//!   settles nothing.
//! * The next sequence follows from the stored rows and the chain, never from a counter in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use alloy_primitives::Bytes;
use serde::{Deserialize, Serialize};
use windlass_store::UnixMillis;

use super::task::{TaskKey, Terms};
use super::{Policy, later};

/// Account number and next sequence, as a node told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BandAccount {
    /// Number of the account.
    pub number: u64,
    /// The sequence that the next transaction must have.
    pub sequence: u64,
}

/// What is durable about a Band transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BandTxState {
    /// Stored; not known to have been accepted.
    Signed,
    /// A node accepted the bytes.
    Broadcast,
    /// In a block, executed: its requests are paid.
    Included,
    /// In a block, failed: sequence and fee are used, nothing was requested.
    Failed,
    /// Another transaction used its sequence: it can never land.
    Dead,
}

impl BandTxState {
    /// The name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Broadcast => "broadcast",
            Self::Included => "included",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Signed, Self::Broadcast, Self::Included, Self::Failed, Self::Dead].into_iter().find(|state| state.name() == name)
    }
}

/// One signed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BandTx {
    /// Its sequence.
    pub sequence: u64,
    /// Which one for this sequence, from 0.
    pub number: u32,
    /// Upper-case hexadecimal SHA-256 of the bytes.
    pub hash: String,
    /// `TxRaw`.
    pub bytes: Bytes,
    /// Its requests, in the order of the messages.
    pub tasks: Vec<TaskKey>,
    /// What they were made with.
    pub terms: Terms,
    /// Fee in the smallest unit of the fee's denomination.
    pub fee: u128,
    /// Gas limit.
    pub gas_limit: u64,
    /// What is durable.
    pub state: BandTxState,
    /// Block, once included or failed.
    pub height: Option<u64>,
    /// When it was signed.
    pub signed_at: UnixMillis,
}

/// What is to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The sequence.
    pub sequence: u64,
    /// Which transaction for this sequence, from 0.
    pub number: u32,
    /// Account number.
    pub account_number: u64,
    /// The tasks with time and seed, one message each.
    pub requests: Vec<PlannedRequest>,
    /// What the requests are made with.
    pub terms: Terms,
    /// Fee in the smallest unit.
    pub fee: u128,
    /// Gas limit of the whole transaction.
    pub gas_limit: u64,
}

/// One message of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedRequest {
    /// The task.
    pub key: TaskKey,
    /// Block time of the request on the client chain, Unix seconds.
    pub time: u64,
}

/// Why nothing is sent to BandChain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "hold", rename_all = "snake_case")]
pub enum LaneHold {
    /// The account has never received coins.
    NoAccount,
    /// The account cannot pay fee and data source fees.
    NoFunds {
        /// What the node said.
        text: String,
    },
    /// The node asks a higher fee than the configured limit allows.
    FeeTooLow {
        /// What the node said.
        text: String,
    },
    /// The node refuses the transaction for another reason.
    Refused {
        /// Code of the answer.
        code: u32,
        /// Its code space.
        codespace: String,
        /// Its text.
        text: String,
    },
}

impl LaneHold {
    /// Short name for metrics and alert rules.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoAccount => "band_no_account",
            Self::NoFunds { .. } => "band_no_funds",
            Self::FeeTooLow { .. } => "band_fee_too_low",
            Self::Refused { .. } => "band_refuses",
        }
    }

    /// What the operator can do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoAccount | Self::NoFunds { .. } => "fund the Band account; requests go on by themselves",
            Self::FeeTooLow { .. } => "raise band.gas_price and band.max_gas_price",
            Self::Refused { .. } => "compare the settings under band with what the node says",
        }
    }
}

impl fmt::Display for LaneHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAccount => f.write_str("the Band account does not exist: it has never received coins"),
            Self::NoFunds { text } => write!(f, "the Band account cannot pay: {text}"),
            Self::FeeTooLow { text } => write!(f, "the Band node asks a higher fee: {text}"),
            Self::Refused { code, codespace, text } => write!(f, "the Band node refuses with code {code} of {codespace}: {text}"),
        }
    }
}

/// What is asked beside the rows, for one sequence. Lost at a restart, and asked again then.
#[derive(Debug, Clone, Default)]
struct Asking {
    /// An offer of the newest transaction is under way.
    offering: bool,
    /// Offers that were not accepted since the last success.
    refusals: u32,
    /// Not offered before.
    offer_at: Option<UnixMillis>,
    /// When a node last took the bytes.
    accepted_at: Option<UnixMillis>,
    /// Height at which the hashes were last looked for.
    looked_at: Option<u64>,
    /// Looks that are under way.
    looking: u32,
    /// Height at which the account was first seen beyond this sequence.
    used_since: Option<(u64, UnixMillis)>,
    /// The transaction of this sequence is being searched.
    searching: bool,
    /// The search found nothing, at this height.
    searched_at: Option<u64>,
    /// Block in which it stands as failed without having used the sequence.
    failed_in: Option<u64>,
}

/// All transactions for one sequence that is not settled. The last one is the one that is offered.
#[derive(Debug, Clone)]
pub struct Slot {
    /// In the order of signing; never empty.
    pub versions: Vec<BandTx>,
    asking: Asking,
}

impl Slot {
    /// The transaction that is offered.
    pub fn newest(&self) -> Option<&BandTx> {
        self.versions.last()
    }

    /// Every task of any of its transactions.
    pub fn tasks(&self) -> impl Iterator<Item = TaskKey> + '_ {
        self.versions.iter().flat_map(|tx| tx.tasks.iter().copied())
    }

    fn newest_mut(&mut self) -> Option<&mut BandTx> {
        self.versions.last_mut()
    }
}

/// What the lane wants from a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Want {
    Account,
    Offer { hash: String, bytes: Bytes },
    Find { sequence: u64, hash: String },
    FindSequence { sequence: u64 },
}

/// How an offer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferOutcome {
    /// The node has the bytes, now or before.
    Accepted,
    /// The node answered with a code other than zero.
    Refused {
        /// The code.
        code: u32,
        /// Its code space.
        codespace: String,
        /// Its text.
        text: String,
    },
    /// Not known: no answer, or an error on the way.
    Unknown {
        /// What happened.
        text: String,
    },
}

/// What a refused offer leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AfterOffer {
    Accepted,
    Again,
    /// The sequence is not the one the node expects.
    Resync,
    /// The same requests with this fee.
    Raise {
        fee: u128,
    },
    /// Fewer requests, or others: these as they are will never be taken.
    Replace {
        code: u32,
        text: String,
    },
}

/// Codes of code space `sdk` that are worth a name (section 4.7).
const OUT_OF_FUNDS: u32 = 5;
const INSUFFICIENT_FEE: u32 = 13;
const ALREADY_IN_MEMPOOL: u32 = 19;
const MEMPOOL_FULL: u32 = 20;
const WRONG_SEQUENCE: u32 = 32;
/// Refusals in a row by which a transaction counts as one that will never be taken.
const REFUSALS: u32 = 3;
/// First and longest pause between offers that were not accepted.
const PAUSE_FIRST_MS: i64 = 500;
const PAUSE_MAX_MS: i64 = 30_000;

/// The sender.
#[derive(Debug, Clone, Default)]
pub struct Lane {
    /// Sequences that are not settled.
    pub open: BTreeMap<u64, Slot>,
    /// The account as last told, and the height of the newest block then.
    pub account: Option<BandAccount>,
    /// Why nothing is sent.
    pub hold: Option<LaneHold>,
    /// A plan is being signed.
    pub(super) signing: Option<Plan>,
    /// Sequence and number whose signature was asked for.
    pub(super) asked_to_sign: Option<(u64, u32)>,
    /// The lowest sequence that may be next: below it all are settled. A node that lags tells a lower one.
    floor: u64,
    /// A sequence was refused.
    resync: bool,
    account_asked: bool,
    account_height: Option<u64>,
    account_wanted: bool,
    account_retry_at: Option<UnixMillis>,
    /// The price of gas that nodes were seen to ask, if above the configured one: fee per million gas.
    fee_per_million_gas: Option<u128>,
}

impl Lane {
    /// From the stored transactions whose sequences are not settled.
    pub fn load(transactions: Vec<BandTx>) -> Self {
        let mut lane = Self { account_wanted: true, ..Self::default() };
        for tx in transactions {
            let slot = lane.open.entry(tx.sequence).or_insert_with(|| Slot { versions: Vec::new(), asking: Asking::default() });
            slot.versions.push(tx);
        }
        for slot in lane.open.values_mut() {
            slot.versions.sort_by_key(|tx| tx.number);
        }
        lane
    }

    /// Whether the task may not be planned: it is in a transaction that may still land, or being signed.
    pub fn is_bound(&self, key: TaskKey) -> bool {
        self.signing.as_ref().is_some_and(|plan| plan.requests.iter().any(|request| request.key == key))
            || self.open.values().any(|slot| slot.tasks().any(|task| task == key))
    }

    /// The sequence for a new transaction, if one may be signed now.
    pub(super) fn next_sequence(&self, policy: &Policy) -> Option<BandAccount> {
        let account = self.account?;
        let room = u64::try_from(self.open.len()).is_ok_and(|open| open < policy.band_max_in_flight);
        // Behind a transaction that no node takes, nothing could land.
        let blocked = self.open.values().any(|slot| slot.asking.refusals >= REFUSALS && slot.asking.accepted_at.is_none());
        if self.signing.is_some() || self.hold.is_some() || !room || blocked {
            return None;
        }
        let after_rows = self.open.keys().next_back().map_or(0, |last| last.saturating_add(1));
        Some(BandAccount { number: account.number, sequence: account.sequence.max(after_rows).max(self.floor) })
    }

    /// What a transaction with this many requests costs: the configured price, or the higher one that a node asked for.
    pub(super) fn cost(&self, policy: &Policy, requests: usize) -> (u64, u128) {
        let count = u64::try_from(requests).unwrap_or(u64::MAX);
        let gas = policy.band_gas_limit.saturating_mul(count);
        let configured = policy.band_fee(gas);
        let asked = self.fee_per_million_gas.map_or(0, |price| price.saturating_mul(u128::from(gas)).div_ceil(1_000_000));
        (gas, configured.max(asked))
    }

    /// Takes a signed transaction in: from now on its sequence is used.
    pub(super) fn signed(&mut self, tx: BandTx, height: Option<u64>) {
        let slot = self.open.entry(tx.sequence).or_insert_with(|| Slot { versions: Vec::new(), asking: Asking::default() });
        slot.versions.push(tx);
        slot.asking.refusals = 0;
        slot.asking.offer_at = None;
        slot.asking.offering = false;
        // It cannot be in a block that is there already.
        slot.asking.looked_at = height;
    }

    /// A node told the account.
    pub(super) fn told_account(&mut self, account: Option<BandAccount>, height: Option<u64>, now: UnixMillis) {
        self.account_asked = false;
        self.account_wanted = false;
        // An earlier transaction is missing where a later one was refused: it is offered again first.
        if std::mem::take(&mut self.resync)
            && let Some(account) = account
            && let Some((_, slot)) = self.open.range_mut(account.sequence..).next()
        {
            slot.asking.offer_at = Some(now);
        }
        match account {
            // The sequence never goes back: a smaller one comes from a node that lags.
            Some(account) if self.account.is_none_or(|known| account.sequence >= known.sequence) => {
                self.account = Some(account);
                self.account_height = height;
                if self.hold == Some(LaneHold::NoAccount) {
                    self.hold = None;
                }
            }
            Some(_) => {}
            None => {
                self.hold = Some(LaneHold::NoAccount);
                self.account_retry_at = Some(now.saturating_add(std::time::Duration::from_secs(10)));
                self.account_wanted = true;
            }
        }
        let Some(known) = self.account else { return };
        for (sequence, slot) in &mut self.open {
            if known.sequence > *sequence && slot.asking.used_since.is_none() {
                slot.asking.used_since = Some((height.or(self.account_height).unwrap_or(0), now));
                slot.asking.looked_at = None;
            }
        }
    }

    /// The account could not be read.
    pub(super) fn account_failed(&mut self, now: UnixMillis) {
        self.account_asked = false;
        self.account_wanted = true;
        self.account_retry_at = Some(now.saturating_add(std::time::Duration::from_secs(2)));
    }

    /// A node answered an offer of the transaction with this hash.
    pub(super) fn offered(
        &mut self,
        hash: &str,
        outcome: &OfferOutcome,
        policy: &Policy,
        now: UnixMillis,
    ) -> Option<(u64, AfterOffer)> {
        let (sequence, slot) = self.open.iter_mut().find(|(_, slot)| slot.newest().is_some_and(|tx| tx.hash == hash))?;
        let sequence = *sequence;
        slot.asking.offering = false;
        let after = match outcome {
            OfferOutcome::Accepted => AfterOffer::Accepted,
            OfferOutcome::Unknown { .. } => AfterOffer::Again,
            OfferOutcome::Refused { code, codespace, text } => refused(slot, (*code, codespace, text), policy),
        };
        match &after {
            AfterOffer::Accepted => {
                slot.asking.refusals = 0;
                slot.asking.accepted_at = Some(now);
                slot.asking.offer_at = None;
                if let Some(tx) = slot.newest_mut() {
                    tx.state = BandTxState::Broadcast;
                }
                self.hold = self.hold.take().filter(|hold| matches!(hold, LaneHold::NoAccount));
            }
            _ => {
                slot.asking.refusals = slot.asking.refusals.saturating_add(1);
                let doubled = PAUSE_FIRST_MS.saturating_mul(1_i64.checked_shl(slot.asking.refusals.min(10)).unwrap_or(i64::MAX));
                slot.asking.offer_at = Some(UnixMillis(now.0.saturating_add(doubled.min(PAUSE_MAX_MS))));
            }
        }
        if after == AfterOffer::Resync {
            self.account_wanted = true;
            self.resync = true;
        }
        self.hold_after(outcome, &after);
        Some((sequence, after))
    }

    fn hold_after(&mut self, outcome: &OfferOutcome, after: &AfterOffer) {
        let OfferOutcome::Refused { code, codespace, text } = outcome else { return };
        let sdk = codespace == "sdk";
        match (after, *code) {
            (AfterOffer::Accepted | AfterOffer::Resync | AfterOffer::Raise { .. }, _) => {}
            (_, MEMPOOL_FULL) if sdk => {}
            (_, OUT_OF_FUNDS) if sdk => self.hold = Some(LaneHold::NoFunds { text: text.clone() }),
            (_, INSUFFICIENT_FEE) if sdk => self.hold = Some(LaneHold::FeeTooLow { text: text.clone() }),
            _ => self.hold = Some(LaneHold::Refused { code: *code, codespace: codespace.clone(), text: text.clone() }),
        }
    }

    /// Remembers the price that a node asks, for the next transactions.
    pub(super) fn learn_price(&mut self, fee: u128, gas: u64) {
        if gas > 0 {
            let price = fee.saturating_mul(1_000_000).div_ceil(u128::from(gas));
            self.fee_per_million_gas = Some(self.fee_per_million_gas.map_or(price, |known| known.max(price)));
        }
    }

    /// What holds the lane was said of a transaction that waits. If none waits any more, the next one shows whether it still holds.
    pub(super) fn nothing_waits(&mut self) {
        self.hold = self.hold.take().filter(|hold| matches!(hold, LaneHold::NoAccount));
    }

    /// Lifts holds whose cause may be gone, so that the next offer shows.
    pub(super) fn try_again(&mut self, now: UnixMillis) {
        self.hold = None;
        self.account_wanted = true;
        for slot in self.open.values_mut() {
            slot.asking.offer_at = Some(now);
        }
    }

    /// A look for a hash ended.
    pub(super) fn looked(&mut self, sequence: u64) {
        if let Some(slot) = self.open.get_mut(&sequence) {
            slot.asking.looking = slot.asking.looking.saturating_sub(1);
        }
    }

    /// The search for the transaction of a sequence ended without finding any.
    pub(super) fn searched(&mut self, sequence: u64, height: Option<u64>) {
        if let Some(slot) = self.open.get_mut(&sequence) {
            slot.asking.searching = false;
            slot.asking.searched_at = height.or(Some(0));
        }
    }

    /// The sequence of this hash, and which of its transactions it is.
    pub(super) fn find(&self, hash: &str) -> Option<(u64, &BandTx)> {
        self.open.iter().find_map(|(sequence, slot)| {
            slot.versions.iter().find(|tx| tx.hash.eq_ignore_ascii_case(hash)).map(|tx| (*sequence, tx))
        })
    }

    /// Whether the chain was seen to be beyond this sequence.
    pub(super) fn is_used(&self, sequence: u64) -> bool {
        self.account.is_some_and(|account| account.sequence > sequence)
    }

    /// A transaction stands in a block as failed, and the account was not seen beyond its sequence. If its messages failed, sequence and fee
    /// are used. If it failed before them, because the account could not pay the fee any more, they are not, and the same bytes may yet
    /// land: they are offered again.
    pub(super) fn failed_in_block(&mut self, sequence: u64, height: u64, now: UnixMillis) {
        let told_since = self.account_height.is_some_and(|told| told > height);
        let Some(slot) = self.open.get_mut(&sequence) else { return };
        if !told_since {
            self.account_wanted = true;
        } else if slot.asking.failed_in != Some(height) {
            slot.asking.failed_in = Some(height);
            slot.asking.accepted_at = None;
            slot.asking.offer_at = Some(now.saturating_add(std::time::Duration::from_secs(1)));
        }
    }

    /// Sequences below this one are never signed for again.
    pub(super) fn used_below(&mut self, sequence: u64) {
        self.floor = self.floor.max(sequence);
    }

    /// Takes a settled sequence out.
    pub(super) fn settle(&mut self, sequence: u64) -> Option<Slot> {
        let slot = self.open.remove(&sequence)?;
        self.used_below(sequence.saturating_add(1));
        if let Some(account) = &mut self.account {
            account.sequence = account.sequence.max(sequence.saturating_add(1));
        }
        Some(slot)
    }

    /// Sequences that are used on the chain, whose transaction no node tells although all was asked long enough.
    pub(super) fn lost_track(&self, policy: &Policy, height: u64, now: UnixMillis) -> Vec<u64> {
        let lost = |slot: &Slot| {
            let Some((since, at)) = slot.asking.used_since else { return false };
            slot.asking.searched_at.is_some()
                && height >= since.saturating_add(policy.band_search_blocks)
                && now.saturating_since(at).as_millis() >= u128::from(policy.band_search_ms)
        };
        self.open.iter().filter(|(_, slot)| lost(slot)).map(|(sequence, _)| *sequence).collect()
    }

    /// Transactions that were offered in vain, or signed long ago, and are to be offered again now.
    pub(super) fn waiting(&self, now: UnixMillis, long_ms: u64) -> impl Iterator<Item = (u64, &BandTx)> {
        self.open.iter().filter(|(sequence, _)| !self.is_used(**sequence)).filter_map(move |(sequence, slot)| {
            let tx = slot.newest().filter(|tx| tx.state == BandTxState::Signed)?;
            let long = slot.asking.refusals > 0 || later(tx.signed_at, long_ms) <= now;
            let due = !slot.asking.offering && slot.asking.offer_at.is_none_or(|at| at <= now);
            (long && due).then_some((*sequence, tx))
        })
    }

    /// What to ask of the nodes now, but no offer of the sequences that are kept back. Marks it as asked.
    pub(super) fn wants(
        &mut self,
        policy: &Policy,
        height: Option<u64>,
        now: UnixMillis,
        kept_back: &BTreeSet<u64>,
    ) -> Vec<Want> {
        let mut wants = Vec::new();
        let due = self.account_retry_at.is_none_or(|at| at <= now);
        if (self.account.is_none() || self.account_wanted) && !self.account_asked && due {
            self.account_asked = true;
            self.account_retry_at = None;
            wants.push(Want::Account);
        }
        let known = self.account;
        // Offered in order: a later sequence is refused while an earlier one is missing.
        let mut blocked = false;
        for (sequence, slot) in &mut self.open {
            let used = known.is_some_and(|account| account.sequence > *sequence);
            if used && slot.asking.used_since.is_none() {
                // Told while it was being signed.
                slot.asking.used_since = Some((height.unwrap_or(0), now));
            }
            let Some(newest) = slot.versions.last() else { continue };
            let accepted_long_ago =
                |at: UnixMillis| now.saturating_since(at).as_millis() >= u128::from(policy.band_rebroadcast_ms);
            let due = match (slot.asking.accepted_at, slot.asking.offer_at) {
                (_, Some(at)) => at <= now,
                (Some(at), None) => accepted_long_ago(at),
                (None, None) => true,
            };
            if !used && due && !slot.asking.offering && !blocked && !kept_back.contains(sequence) {
                slot.asking.offering = true;
                slot.asking.accepted_at = None;
                wants.push(Want::Offer { hash: newest.hash.clone(), bytes: newest.bytes.clone() });
            }
            blocked |= !used && slot.asking.accepted_at.is_none();
            let new_block = height.is_some_and(|height| slot.asking.looked_at.is_none_or(|looked| height > looked));
            if new_block && slot.asking.looking == 0 {
                slot.asking.looked_at = height;
                for tx in &slot.versions {
                    slot.asking.looking = slot.asking.looking.saturating_add(1);
                    wants.push(Want::Find { sequence: *sequence, hash: tx.hash.clone() });
                }
            }
            let search =
                slot.asking.used_since.is_some_and(|(since, _)| height.is_some_and(|height| height > since.saturating_add(1)))
                    && slot.asking.searched_at.is_none_or(|at| height.is_some_and(|height| height >= at.saturating_add(5)));
            if search && !slot.asking.searching {
                slot.asking.searching = true;
                wants.push(Want::FindSequence { sequence: *sequence });
            }
            // Long in flight and nowhere to be seen: the account tells whether the sequence was used.
            let stale = slot
                .asking
                .accepted_at
                .is_some_and(|at| now.saturating_since(at).as_millis() >= u128::from(policy.band_rebroadcast_ms / 2));
            if stale && !used && self.account_height < height {
                self.account_wanted = true;
            }
        }
        wants
    }

    /// When offers and reads of the account are due.
    pub(super) fn next_timers(&self, policy: &Policy) -> impl Iterator<Item = UnixMillis> {
        let rebroadcast = policy.band_rebroadcast_ms;
        let offers = self
            .open
            .values()
            .filter(|slot| !slot.asking.offering)
            .filter_map(move |slot| slot.asking.offer_at.or(slot.asking.accepted_at.map(|at| later(at, rebroadcast))));
        offers.chain(self.account_retry_at.filter(|_| !self.account_asked))
    }
}

fn refused(slot: &Slot, (code, codespace, text): (u32, &str, &str), policy: &Policy) -> AfterOffer {
    let Some(newest) = slot.newest() else { return AfterOffer::Again };
    if codespace != "sdk" {
        return replace_after(slot, code, text);
    }
    match code {
        0 | ALREADY_IN_MEMPOOL => AfterOffer::Accepted,
        WRONG_SEQUENCE => AfterOffer::Resync,
        MEMPOOL_FULL | OUT_OF_FUNDS => AfterOffer::Again,
        INSUFFICIENT_FEE => match required_fee(text, &policy.band_denom) {
            Some(fee) if fee > newest.fee && fee <= policy.band_max_fee(newest.gas_limit) => AfterOffer::Raise { fee },
            _ => AfterOffer::Again,
        },
        _ => replace_after(slot, code, text),
    }
}

fn replace_after(slot: &Slot, code: u32, text: &str) -> AfterOffer {
    if slot.asking.refusals.saturating_add(1) >= REFUSALS {
        AfterOffer::Replace { code, text: text.to_owned() }
    } else {
        AfterOffer::Again
    }
}

/// The amount that a node asks: `insufficient fees; got: 2000uband required: 4000uband`.
fn required_fee(text: &str, denom: &str) -> Option<u128> {
    let (_, required) = text.split_once("required:")?;
    required.split([',', ':', ' ']).map(str::trim).find_map(|coin| coin.strip_suffix(denom)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_asked_fee_is_read_from_the_refusal() {
        let text = "insufficient fees; got: 2000uband required: 4000uband: insufficient fee";
        assert_eq!(required_fee(text, "uband"), Some(4_000));
        assert_eq!(required_fee("insufficient fees; got: 1uband required: 3uatom,4000uband", "uband"), Some(4_000));
        assert_eq!(required_fee("out of gas", "uband"), None);
    }
}
