//! The pure state machine of one relay: all live tasks of one provider, and the Band account that pays for them.
//!
//! It decides; it does not act. What happened comes in as [`Event`]s, a batch at a time, each batch with the time of the clock. What must be
//! written comes out as [`Changes`], committed before anything else; what must be asked or sent comes out as [`Effect`]s, each safe to
//! repeat, whose replies are events again.
//!
//! ```text
//! Seen -> Confirmed -> BandSigned -> BandBroadcast -> BandIncluded(request id) -> BandResolved(version) -> Relaying -> Mined -> Resolved
//!   any of them -> Foreign | Superseded | Dead;   any of them may be held, with a reason, and goes on by itself
//! ```
//!
//! Events only add to what is known. After them one pass over the live tasks ([`Relay::step`]) derives what to do, so that a decision
//! depends on what is known and never on the order in which it became known.
//!
//! Invariants, each checked by a test or by the simulation:
//!
//! * A task is in at most one Band sequence that is not settled, and is not requested again while its request may yet be executed: see
//!   [`lane`].
//! * A request that has an id is used for ever. Another one is made only when Band ended it without a value, or when the provider would
//!   refuse it (other script, other counts, other worker), and at most `max_requests` times.
//! * The provider is read again right before each paid step: the task must still have its seed and no value.
//! * A relay transaction exists only for a proof that passes the Bridge's and the provider's rules here.
//! * The seed names the task: one that a reorganisation takes back and brings again finds its request again.
//! * Every task has a reason at every moment: [`Task::why`].

mod adopt;
mod advance;
mod band;
pub mod classify;
pub mod lane;
mod policy;
mod relay;
mod replies;
pub mod scan;
pub mod task;
#[cfg(test)]
mod tests;
mod waiting;

use alloy_primitives::{Address, B256, Bytes, U256};
use serde::{Deserialize, Serialize};
use windlass_store::UnixMillis;

pub use classify::{RelayRefusal, Verdict};
pub use lane::{BandAccount, BandTx, BandTxState, Lane, LaneHold, OfferOutcome, Plan, PlannedRequest};
pub use policy::Policy;
pub use relay::{Known, Relay};
pub use scan::Scan;
pub use task::{ChainTask, Hold, Request, State, Task, TaskKey, Terms};

/// What the provider and the chain say at one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderView {
    /// The block.
    pub head: u64,
    /// Whether it is a V1 provider, which states its own counts.
    pub counts: Option<(u64, u64)>,
    /// Oracle script.
    pub oracle_script_id: u64,
    /// The Bridge it uses.
    pub bridge: Address,
    /// Number of tasks.
    pub task_nonce: u64,
    /// Price of gas on the client chain, wei, if it was asked.
    pub gas_price: Option<u128>,
}

/// Tasks of the provider at one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TasksAt {
    /// The block.
    pub head: u64,
    /// What the provider has under each number; `None`: there is no such task.
    pub tasks: Vec<(u64, Option<ChainTask>)>,
}

/// What matters of the Bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeView {
    /// The Band chain whose votes it accepts.
    pub chain_id: String,
    /// Changes when a power changes.
    pub fingerprint: B256,
}

/// A transaction that is in a Band block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LandedTx {
    /// Upper-case hexadecimal hash.
    pub hash: String,
    /// Height of the block.
    pub height: u64,
    /// 0 when it was executed.
    pub code: u32,
    /// What the chain said.
    pub text: String,
    /// Ids of its requests, one per message.
    pub request_ids: Vec<u64>,
}

/// How Band ended a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// With a value.
    Success,
    /// The oracle script failed.
    Failure,
    /// Too few reports in time.
    Expired,
}

impl Resolution {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Expired => "expired",
        }
    }
}

/// What came of the attempt to prove a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProofOutcome {
    /// A proof that the Bridge will accept, with the fewest signatures.
    Proven {
        /// `abi.encode(relay, verify)`, trimmed.
        proof: Bytes,
        /// Version of the leaf: height at which the request was resolved.
        version: u64,
    },
    /// It is proven that the request ended without a value.
    Ended {
        /// How.
        resolution: Resolution,
        /// Height.
        version: u64,
    },
    /// Not resolved yet, or the block is not signed yet.
    NotReady,
    /// The nodes do not have the state any more, or none answered.
    Unavailable {
        /// What they said.
        text: String,
    },
    /// The Bridge's validators do not reach two thirds in it.
    Stale {
        /// Who is missing.
        detail: String,
    },
    /// It does not verify.
    Invalid {
        /// The Bridge's reason.
        reason: String,
    },
    /// It is a good proof of a request that the provider will refuse.
    Refused {
        /// The provider's reason.
        reason: String,
    },
}

/// Where a relay transaction stands, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayProgress {
    /// Not in a block: recorded, signed, broadcast, or put back by a reorganisation.
    Pending,
    /// In a block, successfully.
    Included {
        /// Its number.
        block: u64,
    },
    /// Final.
    Final {
        /// Its number, if it is known.
        block: Option<u64>,
    },
    /// It reverts: on the chain, or in the simulation before it is sent.
    Reverted {
        /// The decoded reason.
        reason: String,
    },
    /// Given up for another reason.
    Dropped {
        /// Why.
        reason: String,
    },
}

/// A request of this account found on BandChain by a relay without memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRequest {
    /// Seed in its calldata.
    pub seed: B256,
    /// Time in its calldata.
    pub time: u64,
    /// The request.
    pub request: Request,
}

/// What an operator may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Look at everything now.
    Recheck,
    /// Go on with a held task at once.
    Retry {
        /// Its number.
        nonce: u64,
        /// Another Band request may be paid for it.
        request_again: bool,
    },
    /// Give a task up.
    GiveUp {
        /// Its number.
        nonce: u64,
        /// Why, for the history.
        reason: String,
    },
}

/// What happens to a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The machine was loaded from its rows; always the first event of a run.
    Started,
    /// A time that [`Relay::next_timer`] named has come, or some other time.
    Timer,
    /// Rows of tasks that a later event of the batch names and that are not in memory.
    Loaded(Vec<Task>),
    /// The client chain moved.
    Client {
        /// Hashes of blocks that are no longer canonical.
        removed: Vec<B256>,
        /// The newest block.
        head: u64,
        /// Requests in the new blocks, with number and hash of the block.
        requested: Vec<(ChainTask, u64, B256)>,
        /// Seeds of relayed values in the new blocks.
        relayed: Vec<B256>,
        /// The owner changed the provider.
        provider_changed: bool,
    },
    /// The provider was read.
    ProviderRead(Result<ProviderView, String>),
    /// The Bridge was read.
    BridgeRead(Result<BridgeView, String>),
    /// Tasks were read, at the newest block.
    TasksRead {
        /// Which were asked.
        nonces: Vec<u64>,
        /// The block, and what the provider has under each number.
        result: Result<TasksAt, String>,
    },
    /// BandChain has a new block, or could not be asked.
    BandHead(Result<(String, u64), String>),
    /// The Band account was read; `None` when it does not exist.
    AccountRead(Result<Option<BandAccount>, String>),
    /// Paid requests of this account that an earlier life made.
    Found(Result<Vec<FoundRequest>, String>),
    /// A plan was signed: hash and bytes.
    Signed {
        /// The plan.
        plan: Box<Plan>,
        /// Hash and bytes.
        result: Result<(String, Bytes), String>,
    },
    /// A node answered an offer.
    Offered {
        /// The transaction.
        hash: String,
        /// How.
        outcome: OfferOutcome,
    },
    /// A transaction was looked for.
    Looked {
        /// Its sequence.
        sequence: u64,
        /// Its hash.
        hash: String,
        /// Where it is; `None` when no node has it.
        result: Result<Option<LandedTx>, String>,
    },
    /// The transaction that used a sequence was looked for.
    Searched {
        /// The sequence.
        sequence: u64,
        /// Which it is.
        result: Result<Option<LandedTx>, String>,
    },
    /// The requests that ended in a Band block; `None` when no node can tell.
    BlockResults {
        /// Its height.
        height: u64,
        /// Ids and how they ended.
        result: Result<Option<Vec<(u64, Resolution)>>, String>,
    },
    /// A proof was asked for.
    Proved {
        /// The task.
        key: TaskKey,
        /// The request.
        id: u64,
        /// What came.
        outcome: ProofOutcome,
    },
    /// A relay was run without being sent.
    Simulated {
        /// The task.
        key: TaskKey,
        /// `Ok` when it would succeed, the decoded reason when it would revert, `None` when nobody answered.
        result: Result<(), Option<String>>,
    },
    /// A relay transaction moved.
    Relayed {
        /// The task.
        key: TaskKey,
        /// Which of its transactions, from 1.
        number: u32,
        /// Where it stands.
        progress: RelayProgress,
    },
    /// An operator asks for something.
    Command(Command),
}

/// What the shell does after the commit. Each may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Read the provider's settings and number of tasks.
    ReadProvider,
    /// Read the Bridge at this address.
    ReadBridge(Address),
    /// Read tasks at the newest block.
    ReadTasks(Vec<u64>),
    /// Read number and sequence of the Band account.
    ReadAccount,
    /// Find requests that this account paid before.
    FindRequests,
    /// Sign a Band transaction. Nothing leaves.
    Sign(Box<Plan>),
    /// Offer a stored transaction.
    Offer {
        /// Its hash.
        hash: String,
        /// Its bytes.
        bytes: Bytes,
    },
    /// Look for a transaction by its hash.
    Look {
        /// Its sequence.
        sequence: u64,
        /// Its hash.
        hash: String,
    },
    /// Look for the transaction that used a sequence.
    Search {
        /// The sequence.
        sequence: u64,
    },
    /// Ask which requests ended in a block.
    ReadBlockResults {
        /// Its height.
        height: u64,
    },
    /// Get the proof of a request, verify and trim it.
    Prove {
        /// The task with what the provider knows.
        task: Box<ChainTask>,
        /// The request.
        request: Box<Request>,
    },
    /// Run a relay without sending it.
    Simulate {
        /// The task.
        key: TaskKey,
        /// The proof.
        proof: Bytes,
    },
}

/// A relay transaction to be recorded in the outbox, in the commit of the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayIntent {
    /// The task.
    pub key: TaskKey,
    /// Which of its transactions, from 1: part of the idempotency key.
    pub number: u32,
    /// The proof.
    pub proof: Bytes,
}

/// One line of a task's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The task.
    pub key: TaskKey,
    /// State before; `None` for a new task.
    pub from: Option<State>,
    /// State after.
    pub to: State,
    /// What happened, in words.
    pub text: String,
    /// Whether an operator should look.
    pub bad: bool,
}

/// What a step writes, in one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Tasks as they are now.
    pub tasks: Vec<Task>,
    /// Band transactions as they are now.
    pub band_txs: Vec<BandTx>,
    /// Ids of paid requests: transaction hash, place of the message, task, id.
    pub requests: Vec<(String, u32, TaskKey, u64)>,
    /// Lines of history.
    pub records: Vec<Record>,
    /// Relay transactions to record.
    pub intents: Vec<RelayIntent>,
    /// Where reading goes on, if that changed.
    pub scan: Option<Scan>,
}

impl Changes {
    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a step asks of the shell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// To be committed first.
    pub changes: Changes,
    /// To be done then.
    pub effects: Vec<Effect>,
}

/// What a relay must earn at this price of gas, wei.
pub(crate) fn expected_cost(policy: &Policy, gas_price: u128) -> U256 {
    let gas = U256::from(gas_price).saturating_mul(U256::from(policy.expected_relay_gas));
    let percent = policy.min_margin_percent.saturating_add(100);
    gas.saturating_add(policy.request_cost).saturating_mul(U256::from(percent)) / U256::from(100_u8)
}

/// A moment this many milliseconds later.
pub(crate) const fn later(now: UnixMillis, ms: u64) -> UnixMillis {
    UnixMillis(now.0.saturating_add_unsigned(ms))
}
