//! Everything that is stored about one number of the provider: where it stands, what was paid for it, and how it came there.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, Bytes};
use serde::{Serialize, Serializer};
use windlass_outbox::{IntentStatus, Ledger, Reason, Transition};
use windlass_store::{Store, UnixMillis};

use crate::agent::intent_key;
use crate::error::VrfError;
use crate::machine::{BandTx, Hold, State, Task, Terms};
use crate::tables::{HistoryLine, PaidRequest, Scope};

/// One task as it is shown. Amounts are decimal texts in wei.
#[derive(Debug, Clone, Serialize)]
pub struct TaskView {
    /// Number within the provider.
    pub nonce: u64,
    /// Its seed.
    pub seed: B256,
    /// Where it stands.
    pub state: State,
    /// Name of the hold, while it does not move.
    pub hold: Option<&'static str>,
    /// Why it is where it is, in one sentence.
    pub why: String,
    /// Who asked.
    pub caller: Address,
    /// What the relayer earns, wei.
    #[serde(serialize_with = "as_text")]
    pub task_fee: alloy_primitives::U256,
    /// What the caller gave.
    pub client_seed: Bytes,
    /// Block time of the request, Unix seconds.
    pub time: u64,
    /// Id of the paid request that is used.
    pub request_id: Option<u64>,
    /// Height of the Band block that executed it.
    pub request_height: Option<u64>,
    /// Height at which it was resolved.
    pub resolved_height: Option<u64>,
    /// Sequence of the Band transaction that carries it, while that is not settled.
    pub band_sequence: Option<u64>,
    /// Requests paid so far.
    pub requests_paid: u32,
    /// Relay transactions recorded so far.
    pub relays: u32,
    /// Block in which it was seen.
    pub seen_block: u64,
    /// Block of the relay, or at which the end was concluded.
    pub settled_block: Option<u64>,
    /// When it was first seen, Unix milliseconds.
    pub seen_at_ms: i64,
    /// When it changed last, Unix milliseconds.
    pub updated_at_ms: i64,
    /// Seconds since it was seen; for a task that has ended, until it did.
    pub age_seconds: u64,
    /// Seconds since it changed last.
    pub quiet_seconds: u64,
    /// Nothing is tried before this moment, Unix milliseconds.
    pub retry_at_ms: Option<i64>,
    /// Its block was reorganised away, and the provider was not read since.
    pub doubtful: bool,
    /// Latest thing that went wrong.
    pub last_error: Option<String>,
}

impl TaskView {
    /// A task as it is seen at `now`.
    pub fn new(task: &Task, now: UnixMillis) -> Self {
        let end = if task.state.is_terminal() { task.updated_at } else { now };
        let request = task.request.as_ref();
        Self {
            nonce: task.chain.nonce,
            seed: task.chain.seed,
            state: task.state,
            hold: task.hold.as_ref().map(Hold::name),
            why: task.why(),
            caller: task.chain.caller,
            task_fee: task.chain.task_fee,
            client_seed: task.chain.client_seed.clone(),
            time: task.chain.time,
            request_id: request.map(|request| request.id),
            request_height: request.map(|request| request.height),
            resolved_height: request.and_then(|request| request.resolved),
            band_sequence: task.sequence,
            requests_paid: task.requests_paid,
            relays: task.relays,
            seen_block: task.seen_block,
            settled_block: task.settled_block,
            seen_at_ms: task.seen_at.0,
            updated_at_ms: task.updated_at.0,
            age_seconds: end.saturating_since(task.seen_at).as_secs(),
            quiet_seconds: now.saturating_since(task.updated_at).as_secs(),
            retry_at_ms: task.retry_at.map(|at| at.0),
            doubtful: task.doubtful,
            last_error: task.last_error.clone(),
        }
    }
}

/// A transaction on BandChain that carried the task.
#[derive(Debug, Clone, Serialize)]
pub struct BandTxView {
    /// Upper-case hexadecimal hash.
    pub hash: String,
    /// Its sequence.
    pub sequence: u64,
    /// Which one for this sequence, from 0.
    pub number: u32,
    /// `signed`, `broadcast`, `included`, `failed` or `dead`.
    pub state: &'static str,
    /// Its block.
    pub height: Option<u64>,
    /// Its fee, in the smallest unit of the fee's denomination, for all its requests together.
    #[serde(serialize_with = "as_text")]
    pub fee: u128,
    /// Its gas limit.
    pub gas_limit: u64,
    /// What its requests were made with.
    pub terms: Terms,
    /// Numbers of the tasks it carries, in the order of its messages.
    pub tasks: Vec<u64>,
    /// When it was signed, Unix milliseconds.
    pub signed_at_ms: i64,
}

impl BandTxView {
    fn new(tx: &BandTx) -> Self {
        Self {
            hash: tx.hash.clone(),
            sequence: tx.sequence,
            number: tx.number,
            state: tx.state.name(),
            height: tx.height,
            fee: tx.fee,
            gas_limit: tx.gas_limit,
            terms: tx.terms,
            tasks: tx.tasks.iter().map(|key| key.nonce).collect(),
            signed_at_ms: tx.signed_at.0,
        }
    }
}

/// A request that was paid on BandChain.
#[derive(Debug, Clone, Serialize)]
pub struct RequestView {
    /// Its id.
    pub id: u64,
    /// Seed of the task it was made for.
    pub seed: B256,
    /// Hash of its transaction.
    pub tx_hash: String,
    /// Place of its message in the transaction, from 0.
    pub place: u32,
}

impl From<PaidRequest> for RequestView {
    fn from(paid: PaidRequest) -> Self {
        Self { id: paid.id, seed: paid.seed, tx_hash: paid.tx_hash, place: paid.place }
    }
}

/// A relay transaction: an entry of the outbox.
#[derive(Debug, Clone, Serialize)]
pub struct RelayView {
    /// Seed of the task it relays.
    pub seed: B256,
    /// Which of the task's transactions, from 1.
    pub number: u32,
    /// The account that sends it.
    pub account: Address,
    /// Identity within the outbox.
    pub intent: String,
    /// Where it stands: `recorded`, `signed`, `broadcast`, `included`, `final`, `reverted` or `dropped`.
    pub state: &'static str,
    /// Why it ended like that.
    pub reason: Option<String>,
    /// Why it does not move.
    pub hold: Option<String>,
    /// Its nonce.
    pub nonce: Option<u64>,
    /// Hash of the transaction in the block, else of the newest signed one.
    pub tx_hash: Option<B256>,
    /// Transactions signed for its nonce.
    pub attempts: u64,
    /// Its block.
    pub block: Option<u64>,
    /// Fee paid, wei.
    #[serde(serialize_with = "as_optional_text")]
    pub fee_paid: Option<alloy_primitives::U256>,
    /// When it was recorded, Unix milliseconds.
    pub recorded_at_ms: i64,
    /// When its state changed last, Unix milliseconds.
    pub updated_at_ms: i64,
    /// Its history, oldest first.
    pub history: Vec<RelayStep>,
}

/// One change of a relay transaction.
#[derive(Debug, Clone, Serialize)]
pub struct RelayStep {
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// The state it reached.
    pub to: &'static str,
    /// Transaction concerned.
    pub tx_hash: Option<B256>,
    /// In words.
    pub note: Option<String>,
}

impl RelayView {
    fn new(seed: B256, number: u32, account: Address, status: &IntentStatus, history: &[Transition]) -> Self {
        let steps = history.iter().map(|step| RelayStep {
            at_ms: step.at.0,
            to: step.to.name(),
            tx_hash: step.tx_hash,
            note: step.note.clone(),
        });
        Self {
            seed,
            number,
            account,
            intent: status.id.to_string(),
            state: status.state.name(),
            reason: status.state.reason().map(Reason::to_string),
            hold: status.hold.as_ref().map(|hold| format!("{hold}; {}", hold.hint())),
            nonce: status.nonce,
            tx_hash: status.tx_hash,
            attempts: status.attempts,
            block: status.block.map(|block| block.number),
            fee_paid: status.fee_paid,
            recorded_at_ms: status.recorded_at.0,
            updated_at_ms: status.updated_at.0,
            history: steps.collect(),
        }
    }
}

/// All that is stored under one number.
#[derive(Debug, Clone, Serialize)]
pub struct Trace {
    /// The number.
    pub nonce: u64,
    /// Where it stands: of several tasks, the one that is not finished, else the newest.
    pub state: State,
    /// Why.
    pub why: String,
    /// All tasks under the number, oldest first: more than one if a reorganisation replaced it.
    pub tasks: Vec<TaskView>,
    /// Transactions on BandChain that carried them, oldest first.
    pub band_transactions: Vec<BandTxView>,
    /// Requests that were paid for them, oldest first.
    pub requests: Vec<RequestView>,
    /// Their relay transactions, oldest first.
    pub relays: Vec<RelayView>,
    /// What happened to them, oldest first.
    pub history: Vec<HistoryLine>,
}

impl Trace {
    /// Reads the trace of a number; `None` when nothing is stored under it.
    ///
    /// # Errors
    /// The database fails, or holds what this version does not understand.
    pub async fn load(scope: Scope, store: &Store, nonce: u64, now: UnixMillis) -> Result<Option<Self>, VrfError> {
        // No row can have a number that the database cannot hold.
        if i64::try_from(nonce).is_err() {
            return Ok(None);
        }
        let tasks = scope.tasks_under(store, nonce).await?;
        let Some(main) = main_of(&tasks) else { return Ok(None) };
        let txs = scope.band_txs_of(store, nonce).await?;
        Ok(Some(Self {
            nonce,
            state: main.state,
            why: main.why(),
            relays: relays(scope, store, &tasks, &txs).await?,
            requests: scope.paid_requests(store, nonce).await?.into_iter().map(RequestView::from).collect(),
            history: scope.history(store, nonce).await?,
            band_transactions: txs.iter().map(BandTxView::new).collect(),
            tasks: tasks.iter().map(|task| TaskView::new(task, now)).collect(),
        }))
    }

    /// The task that its state tells of.
    pub fn main(&self) -> Option<&TaskView> {
        self.tasks.iter().rev().find(|task| !task.state.is_terminal()).or_else(|| self.tasks.last())
    }
}

/// Of several tasks under a number, the one that is not finished, else the newest.
pub fn main_of(tasks: &[Task]) -> Option<&Task> {
    tasks.iter().rev().find(|task| !task.state.is_terminal()).or_else(|| tasks.last())
}

/// The relay transactions, under whichever account the requests bound the relay to.
async fn relays(scope: Scope, store: &Store, tasks: &[Task], txs: &[BandTx]) -> Result<Vec<RelayView>, VrfError> {
    let bound = tasks.iter().filter_map(|task| task.request.as_ref()).map(|request| request.terms.worker);
    let workers: BTreeSet<Address> = bound.chain(txs.iter().map(|tx| tx.terms.worker)).collect();
    let mut found = Vec::new();
    for worker in workers {
        let ledger = Ledger::new(store.clone(), scope.chain_id, worker);
        for task in tasks {
            for number in 1..=task.relays {
                let id = ledger.id_of(&intent_key(scope.provider, task.key(), number));
                if let Some(status) = ledger.status(id).await? {
                    let history = ledger.history(id).await?;
                    found.push(RelayView::new(task.chain.seed, number, worker, &status, &history));
                }
            }
        }
    }
    found.sort_by_key(|relay| relay.recorded_at_ms);
    Ok(found)
}

/// A number as decimal text: JSON readers lose digits of large ones.
pub(crate) fn as_text<T: std::fmt::Display, S: Serializer>(number: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// The same for a number that may be missing.
pub(crate) fn as_optional_text<T: std::fmt::Display, S: Serializer>(
    number: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => serializer.collect_str(number),
        None => serializer.serialize_none(),
    }
}
