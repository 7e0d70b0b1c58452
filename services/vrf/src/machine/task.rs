//! One request for a random value, and where it stands.

use std::fmt;

use alloy_primitives::{Address, B256, Bytes, U256};
use serde::{Deserialize, Serialize};
use windlass_store::UnixMillis;

/// Names a task of one provider. The seed binds block, caller and client seed, so a task that a reorganisation replaced is another task
/// under the same nonce, and one that comes back is the same again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskKey {
    /// Number within the provider.
    pub nonce: u64,
    /// `keccak256(abi.encode(time, caller, blockHash, chainID, nonce, clientSeed))`.
    pub seed: B256,
}

impl TaskKey {
    /// The lowest name under a number.
    pub const fn first(nonce: u64) -> Self {
        Self { nonce, seed: B256::ZERO }
    }

    /// The highest name under a number.
    pub const fn last(nonce: u64) -> Self {
        Self { nonce, seed: B256::repeat_byte(0xff) }
    }
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.nonce, self.seed)
    }
}

/// What the provider stores about a task, as far as the relay needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainTask {
    /// Number within the provider.
    pub nonce: u64,
    /// Whether a value was relayed.
    pub is_resolved: bool,
    /// Block time of the request, Unix seconds.
    pub time: u64,
    /// Who asked.
    pub caller: Address,
    /// What the relayer earns, wei.
    pub task_fee: U256,
    /// The seed.
    pub seed: B256,
    /// What the caller gave: bytes, not necessarily UTF-8.
    pub client_seed: Bytes,
}

impl ChainTask {
    /// Its name.
    pub const fn key(&self) -> TaskKey {
        TaskKey { nonce: self.nonce, seed: self.seed }
    }
}

/// Where a task stands. Named after what has happened and is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// On the client chain, not deep enough yet.
    Seen,
    /// Deep enough to act on.
    Confirmed,
    /// A Band transaction with its request is signed and stored.
    BandSigned,
    /// A Band node accepted that transaction.
    BandBroadcast,
    /// The request has an id: it is paid, and provable for ever once it is resolved.
    BandIncluded,
    /// Band's validators have answered.
    BandResolved,
    /// The relay transaction is recorded in the outbox.
    Relaying,
    /// The relay transaction is in a block and succeeded; a reorganisation may take it back.
    Mined,
    /// The value is on the client chain, at final depth. Terminal.
    Resolved,
    /// Somebody else relayed a value. Terminal.
    Foreign,
    /// A reorganisation took the request back. It comes back to life if its seed does. Terminal otherwise.
    Superseded,
    /// Given up by decision: of an operator, or by the policy for unprofitable tasks. Terminal.
    Dead,
}

impl State {
    /// All, in the order of life.
    pub const ALL: [Self; 12] = [
        Self::Seen,
        Self::Confirmed,
        Self::BandSigned,
        Self::BandBroadcast,
        Self::BandIncluded,
        Self::BandResolved,
        Self::Relaying,
        Self::Mined,
        Self::Resolved,
        Self::Foreign,
        Self::Superseded,
        Self::Dead,
    ];

    /// The name in the database, in metrics and on the dashboard.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Confirmed => "confirmed",
            Self::BandSigned => "band_signed",
            Self::BandBroadcast => "band_broadcast",
            Self::BandIncluded => "band_included",
            Self::BandResolved => "band_resolved",
            Self::Relaying => "relaying",
            Self::Mined => "mined",
            Self::Resolved => "resolved",
            Self::Foreign => "foreign",
            Self::Superseded => "superseded",
            Self::Dead => "dead",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Nothing more happens, unless a reorganisation changes what it was concluded from.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Resolved | Self::Foreign | Self::Superseded | Self::Dead)
    }

    /// What it waits for, for an operator.
    pub const fn waits_for(self) -> &'static str {
        match self {
            Self::Seen => "confirmations of the request on the client chain",
            Self::Confirmed => "a place in a Band transaction",
            Self::BandSigned => "a Band node that accepts the transaction",
            Self::BandBroadcast => "a Band block with the transaction",
            Self::BandIncluded => "the reports of Band's validators",
            Self::BandResolved => "the proof",
            Self::Relaying => "the block with the relay transaction",
            Self::Mined => "final depth of the relay transaction",
            Self::Resolved | Self::Foreign | Self::Superseded | Self::Dead => "nothing",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a task does not move although it should. A held task is looked at again by itself, with growing pauses; nothing held is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "hold", rename_all = "snake_case")]
pub enum Hold {
    /// The program is told to spend nothing.
    DryRun,
    /// The fee of the task is below what the relay is expected to cost.
    Unprofitable {
        /// Fee of the task, wei.
        fee: U256,
        /// Expected cost, wei.
        cost: U256,
    },
    /// Band did not resolve the request, as often as the limit allows.
    BandFailed {
        /// Requests paid so far.
        attempts: u32,
        /// How the last one ended: `failure`, `expired`, or why its transaction failed.
        status: String,
    },
    /// Band's nodes refuse the request itself.
    BandRefused {
        /// Code of the answer.
        code: u32,
        /// Its text.
        text: String,
    },
    /// The sequence of its transaction is used, and no node tells by which transaction. Requesting again could pay twice.
    BandUnknown {
        /// The sequence.
        sequence: u64,
    },
    /// The Bridge does not know enough of the validators that sign now.
    ValidatorsStale {
        /// Which, and how much power.
        detail: String,
    },
    /// The proof does not pass the local verification.
    ProofInvalid {
        /// The reason, in the Bridge's words.
        reason: String,
    },
    /// No node has the proof any more, or none answers.
    ProofUnavailable {
        /// What they said.
        text: String,
    },
    /// The Bridge refuses the proof that passed here.
    BridgeRefuses {
        /// Its reason.
        reason: String,
    },
    /// The consumer's own code reverts: the provider then takes everything back.
    ConsumerReverts {
        /// The decoded reason.
        reason: String,
    },
    /// The outbox gave the transaction up.
    RelayDropped {
        /// Why.
        reason: String,
    },
}

impl Hold {
    /// Short name for metrics and alert rules.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::DryRun => "dry_run",
            Self::Unprofitable { .. } => "unprofitable",
            Self::BandFailed { .. } => "band_failed",
            Self::BandRefused { .. } => "band_refused",
            Self::BandUnknown { .. } => "band_unknown",
            Self::ValidatorsStale { .. } => "validators_stale",
            Self::ProofInvalid { .. } => "proof_invalid",
            Self::ProofUnavailable { .. } => "proof_unavailable",
            Self::BridgeRefuses { .. } => "bridge_refuses",
            Self::ConsumerReverts { .. } => "consumer_reverts",
            Self::RelayDropped { .. } => "relay_dropped",
        }
    }

    /// What the operator can do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::DryRun => "set dry_run = false to relay",
            Self::Unprofitable { .. } => {
                "wait for lower gas prices, lower profit.min_margin_percent, or set profit.unprofitable = \"relay\""
            }
            Self::BandFailed { .. } => {
                "look at the request in Band's explorer; `windlass vrf retry --request-again` pays for another one"
            }
            Self::BandRefused { .. } => "compare oracle script id, counts, gas and fee limit with what the Band chain allows",
            Self::BandUnknown { .. } => {
                "use a Band node with a transaction index; `windlass vrf retry --request-again` if it surely was not paid"
            }
            Self::ValidatorsStale { .. } => {
                "the Bridge's validator powers must be updated by its updater; see `windlass vrf drift`"
            }
            Self::ProofInvalid { .. } => {
                "compare chain id and store layout of Bridge and Band node; see `windlass vrf verify-proof`"
            }
            Self::ProofUnavailable { .. } => "add a Band endpoint that keeps enough history",
            Self::BridgeRefuses { .. } => "the Bridge may expect another store layout; tell its maintainers",
            Self::ConsumerReverts { .. } => {
                "the consumer contract must be mended by its owner; the proof stays valid and is tried again"
            }
            Self::RelayDropped { .. } => "see the outbox entry; `windlass vrf retry` tries again at once",
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DryRun => f.write_str("dry run: nothing is paid"),
            Self::Unprofitable { fee, cost } => write!(f, "the fee of {fee} wei is below the expected cost of {cost} wei"),
            Self::BandFailed { attempts: 1, status } => write!(f, "Band ended its request without a value, with {status}"),
            Self::BandFailed { attempts, status } => {
                write!(f, "Band ended {attempts} requests without a value, the last with {status}")
            }
            Self::BandRefused { code, text } => write!(f, "Band refuses the request with code {code}: {text}"),
            Self::BandUnknown { sequence } => {
                write!(f, "sequence {sequence} of the Band account is used, and no node tells by which transaction")
            }
            Self::ValidatorsStale { detail } => write!(f, "the Bridge's validators do not reach two thirds: {detail}"),
            Self::ProofInvalid { reason } => write!(f, "the proof does not verify: {reason}"),
            Self::ProofUnavailable { text } => write!(f, "no proof can be had: {text}"),
            Self::BridgeRefuses { reason } => write!(f, "the Bridge refuses the proof: {reason}"),
            Self::ConsumerReverts { reason } => write!(f, "the consumer reverts: {reason}"),
            Self::RelayDropped { reason } => write!(f, "the relay transaction was given up: {reason}"),
        }
    }
}

/// A paid request on BandChain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its id.
    pub id: u64,
    /// Height of the block that executed the message.
    pub height: u64,
    /// What it was made with: the provider compares these with its own settings.
    pub terms: Terms,
    /// Height at which it was resolved, the version of its leaf; known from block results or from the proof.
    pub resolved: Option<u64>,
}

/// What a request is made with, beside seed and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Oracle script.
    pub oracle_script_id: u64,
    /// Reports needed.
    pub min_count: u64,
    /// Validators asked.
    pub ask_count: u64,
    /// Client-chain account that will relay: the provider accepts nobody else.
    pub worker: Address,
}

/// One task. Plain data: what is stored is what is decided from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What the provider says.
    pub chain: ChainTask,
    /// Where it stands.
    pub state: State,
    /// Why it does not move.
    pub hold: Option<Hold>,
    /// Block of the client chain in which it was seen, or the head when it was found by reading.
    pub seen_block: u64,
    /// Hash of that block when it came as an event; a reorganisation that removes it makes the task doubtful.
    pub seen_hash: Option<B256>,
    /// Its block was removed: nothing is paid until the provider has been read again.
    pub doubtful: bool,
    /// The Band transaction that carries it: its sequence. Bound until that sequence is settled.
    pub sequence: Option<u64>,
    /// The paid request that is used.
    pub request: Option<Request>,
    /// Requests paid so far.
    pub requests_paid: u32,
    /// Requests beyond the limit that an operator allowed.
    pub requests_allowed: u32,
    /// It goes alone into a Band transaction: one with several messages failed.
    pub alone: bool,
    /// Relay transactions recorded so far; the last of them is the current one.
    pub relays: u32,
    /// Block with the relay transaction, while `Mined`; block at which a terminal state was concluded.
    pub settled_block: Option<u64>,
    /// Attempts since the last progress, for the length of the next pause.
    pub failures: u32,
    /// Nothing is tried before this moment.
    pub retry_at: Option<UnixMillis>,
    /// When it was first seen.
    pub seen_at: UnixMillis,
    /// When it changed last.
    pub updated_at: UnixMillis,
    /// Latest thing that went wrong, for `inspect`.
    pub last_error: Option<String>,
    /// Why it is dead.
    pub reason: Option<String>,
}

impl Task {
    /// A task seen in a block, or found by a read at that block (no hash).
    pub const fn new(chain: ChainTask, block: u64, hash: Option<B256>, now: UnixMillis) -> Self {
        Self {
            chain,
            state: State::Seen,
            hold: None,
            seen_block: block,
            seen_hash: hash,
            doubtful: false,
            sequence: None,
            request: None,
            requests_paid: 0,
            requests_allowed: 0,
            alone: false,
            relays: 0,
            settled_block: None,
            failures: 0,
            retry_at: None,
            seen_at: now,
            updated_at: now,
            last_error: None,
            reason: None,
        }
    }

    /// Its name.
    pub const fn key(&self) -> TaskKey {
        self.chain.key()
    }

    /// Why it is where it is, in one sentence. Never empty: no task is left without a reason.
    pub fn why(&self) -> String {
        if let Some(hold) = &self.hold {
            return format!("held: {hold}; {}", hold.hint());
        }
        match (self.state, &self.reason) {
            (State::Dead, Some(reason)) => format!("given up: {reason}"),
            (State::Resolved, _) => "answered; the value is on the client chain".to_owned(),
            (State::Foreign, _) => "somebody else relayed a value".to_owned(),
            (State::Superseded, _) => "a reorganisation took the request back".to_owned(),
            _ if self.doubtful => "its block was reorganised away; the provider is read again".to_owned(),
            (state, _) => format!("waits for {}", state.waits_for()),
        }
    }
}
