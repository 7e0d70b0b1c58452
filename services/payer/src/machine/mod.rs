//! The pure state machine of one payment agreement.
//!
//! It decides; it does not act. Observations of the contract, results of actions, timers and commands
//! come in as [`Event`]s, each with the time of the clock. What must be written down comes out as
//! [`Record`]s and in the state itself, what must be done comes out as [`Effect`]s, and
//! [`Agreement::next_timer`] says when the machine wants to be woken.
//!
//! ```text
//! NotStarted -> Paid -> ExpiringSoon -> Grace -> Unpaid -> Stopping -> Stopped -> (payment) -> Resuming -> Paid
//!       any state --cannot tell--> Unknown: an overlay, it keeps the last firm state and its timers
//! ```
//!
//! Invariants, each checked by a test:
//!
//! * A stop is decided only on an observation, never on a timer and never while the overlay `Unknown` lies over the state.
//! * A stop is decided only after `confirm_blocks` different blocks, all still canonical, said "unpaid" beyond the
//!   grace time, the first of them at least `confirm_seconds` ago.
//! * At most one action runs at a time; each decision has its own number and runs until it is verified or withdrawn.
//! * A warning is given once for each threshold that the remaining time falls below; a payment arms it again.
//! * The state is plain data. Loading it from its row and going on gives the same decisions as never having stopped.

mod judge;
mod state;
mod step;
#[cfg(test)]
mod tests;

pub use judge::{Standing, standing};
pub use state::{
    Action, ActionKind, ActionStatus, Agreement, Finalized, Health, Observation, Phase, Policy, Seen, Target, Unknown, UnpaidRun,
    Verdict,
};
pub use step::Output;

use serde::{Deserialize, Serialize};

pub use crate::protocol::Terms;

/// A block, as far as a decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockPoint {
    /// Height.
    pub number: u64,
    /// Hash; the reads of one observation are pinned to it.
    pub hash: alloy_primitives::B256,
    /// Time of the block, Unix seconds.
    pub time_s: u64,
}

/// Why the machine cannot tell whether the agreement is paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum CannotTell {
    /// No endpoint gave an answer.
    Unreachable {
        /// What the endpoints said, without secrets.
        detail: String,
    },
    /// The newest block is older than the limit.
    Stale {
        /// Number of that block.
        block: u64,
        /// How far its time lies behind the clock.
        behind_seconds: u64,
    },
    /// No observation arrived for longer than the limit.
    Silent {
        /// How long ago the last one was made.
        seconds: u64,
    },
    /// The endpoint serves another chain than the configured one.
    WrongChain {
        /// Chain id of the configuration.
        expected: u64,
        /// Chain id the endpoint reports.
        found: u64,
    },
    /// There is no code at the contract address.
    NoCode,
    /// The contract does not answer as a payer contract does.
    ForeignContract {
        /// Which getter failed, and how.
        detail: String,
    },
    /// An answer could not be decoded.
    Malformed {
        /// What was asked and what came back.
        detail: String,
    },
    /// `requestedRate * elapsed` does not fit 256 bits; the contract's own `isPaid` reverts for ever.
    Overflow,
    /// `isPaid()` of the contract and our arithmetic differ at the same block.
    CrossCheck {
        /// What the terms and the sum paid say.
        computed: bool,
        /// What the contract said.
        contract: bool,
        /// Number of the block.
        block: u64,
    },
    /// Rate or start differ from those recorded before; both are constants of the contract.
    TermsChanged,
    /// Endpoints contradict each other about a decision that must be made by several.
    Disagreement {
        /// What each said.
        detail: String,
    },
}

impl CannotTell {
    /// One word for metrics and JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Stale { .. } => "stale",
            Self::Silent { .. } => "silent",
            Self::WrongChain { .. } => "wrong_chain",
            Self::NoCode => "no_code",
            Self::ForeignContract { .. } => "foreign_contract",
            Self::Malformed { .. } => "malformed",
            Self::Overflow => "overflow",
            Self::CrossCheck { .. } => "cross_check",
            Self::TermsChanged => "terms_changed",
            Self::Disagreement { .. } => "disagreement",
        }
    }

    /// What the operator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } => {
                "check that the endpoints of the chain are up and reachable; add a second one"
            }
            Self::Stale { .. } => {
                "the endpoint lags behind or the clock of this machine is ahead; check both, add a second endpoint"
            }
            Self::WrongChain { .. } => "correct the endpoint or the chain id of this agreement's chain",
            Self::NoCode => "correct the contract address, or the chain it is looked up on",
            Self::ForeignContract { .. } => "the address belongs to another contract; correct the contract address",
            Self::Malformed { .. } => "the endpoint answers outside the standard; use another one",
            Self::Overflow => "the requested rate is too large to be of use; deploy a new agreement",
            Self::CrossCheck { .. } => "an endpoint mixes states of different blocks; use another one",
            Self::TermsChanged => {
                "rate and start cannot change on one contract: an endpoint lies, or the address was reused on another chain"
            }
            Self::Disagreement { .. } => "find out which endpoint is wrong and remove it",
        }
    }
}

impl std::fmt::Display for CannotTell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable { detail } => write!(f, "no endpoint answered: {detail}"),
            Self::Stale { block, behind_seconds } => {
                write!(f, "the newest block {block} lies {behind_seconds} s behind the clock")
            }
            Self::Silent { seconds } => write!(f, "no observation for {seconds} s"),
            Self::WrongChain { expected, found } => {
                write!(f, "the endpoint serves chain {found}, expected chain {expected}")
            }
            Self::NoCode => write!(f, "no code at the contract address"),
            Self::ForeignContract { detail } => write!(f, "not a payer contract: {detail}"),
            Self::Malformed { detail } => write!(f, "malformed answer: {detail}"),
            Self::Overflow => write!(f, "rate times elapsed seconds does not fit 256 bits, isPaid reverts"),
            Self::CrossCheck { computed, contract, block } => {
                write!(f, "isPaid() answers {contract} at block {block}, the contract's own figures say {computed}")
            }
            Self::TermsChanged => write!(f, "rate or start differ from those recorded before"),
            Self::Disagreement { detail } => write!(f, "endpoints contradict each other: {detail}"),
        }
    }
}

/// How one attempt of an action ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ActionOutcome {
    /// The target was seen in the wanted state.
    Verified {
        /// How, for the history.
        detail: String,
    },
    /// The action failed, or the target is not in the wanted state.
    Failed {
        /// What failed and what to do, for the alert.
        detail: String,
    },
}

/// What happens to an agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The machine was loaded from its row; always the first event of a run.
    Started,
    /// The contract was read at one block.
    Observed(Box<Observation>),
    /// It could not be read, or the answer is of no use.
    CannotTell(CannotTell),
    /// Blocks are no longer canonical, newest first.
    Removed(Vec<BlockPoint>),
    /// An attempt of an action ended.
    ActionDone {
        /// Number of the decision.
        id: u64,
        /// Attempt within it, from 1.
        attempt: u32,
        /// How it ended.
        outcome: ActionOutcome,
    },
    /// The stopped target was looked at; `running` is `None` when that could not be found out.
    TargetSeen {
        /// Whether it runs.
        running: Option<bool>,
    },
    /// A time that [`Agreement::next_timer`] named has come, or some other time; early timers do nothing.
    Timer,
    /// An operator asks for something.
    Command(Command),
}

/// What an operator may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Observe now.
    Recheck,
    /// Retry a failed action now instead of after its back-off.
    RetryNow,
}

/// What the shell has to do after the commit. Each may be repeated safely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Read the contract at the newest block and report it.
    Observe,
    /// Run one attempt of an action and report how it ended.
    RunAction {
        /// Number of the decision.
        id: u64,
        /// Attempt within it, from 1.
        attempt: u32,
        /// What to do.
        kind: ActionKind,
    },
    /// Look whether the stopped target still stands still.
    Inspect,
}

/// How loud a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the history only.
    Quiet,
    /// Good or neutral news.
    Info,
    /// Will need attention.
    Warning,
    /// Needs attention now.
    Critical,
}

/// A fact for the history of the agreement; written with the state, announced after the commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The firm state changed.
    Phase {
        /// Before; `None` at the first observation.
        from: Option<Phase>,
        /// After.
        to: Phase,
    },
    /// The remaining time fell below a threshold.
    Expiring {
        /// The threshold.
        threshold_seconds: u64,
        /// What was left.
        left_seconds: u64,
        /// Last paid second.
        paid_until_s: u64,
    },
    /// Enough blocks agree: the agreement is not paid.
    UnpaidConfirmed {
        /// How much is missing at the block.
        deficit: alloy_primitives::U256,
        /// The block.
        block: BlockPoint,
    },
    /// It cannot be told for longer than the limit.
    Unknown {
        /// Why.
        cause: CannotTell,
        /// For how long.
        seconds: u64,
    },
    /// It can be told again, after an alert said that it could not.
    Known {
        /// How long it could not be told.
        seconds: u64,
    },
    /// An attempt of an action begins.
    ActionStarted {
        /// Number of the decision.
        id: u64,
        /// Attempt.
        attempt: u32,
        /// What is done.
        kind: ActionKind,
    },
    /// An attempt of an action ended.
    ActionEnded {
        /// Number of the decision.
        id: u64,
        /// Attempt.
        attempt: u32,
        /// What was done.
        kind: ActionKind,
        /// How it ended.
        outcome: ActionOutcome,
    },
    /// A decided action is no longer wanted.
    ActionWithdrawn {
        /// Number of the decision.
        id: u64,
        /// What was to be done.
        kind: ActionKind,
        /// Why not any more.
        reason: String,
    },
    /// The stopped target runs again although nothing was paid.
    TargetCameBack,
    /// The agreement is paid again, but starting the target is left to the operator.
    ResumeLeftToOperator,
    /// Observations were taken back by a reorganisation.
    Retracted {
        /// The oldest of them.
        block: u64,
    },
    /// The contract holds fewer tokens than it owes to the keypers.
    HeldBelowOwed {
        /// Tokens held.
        held: alloy_primitives::U256,
        /// Tokens owed.
        owed: alloy_primitives::U256,
    },
}

impl Record {
    /// One word for metrics and the history table.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Phase { .. } => "phase",
            Self::Expiring { .. } => "expiring",
            Self::UnpaidConfirmed { .. } => "unpaid_confirmed",
            Self::Unknown { .. } => "unknown",
            Self::Known { .. } => "known",
            Self::ActionStarted { .. } => "action_started",
            Self::ActionEnded { .. } => "action_ended",
            Self::ActionWithdrawn { .. } => "action_withdrawn",
            Self::TargetCameBack => "target_came_back",
            Self::ResumeLeftToOperator => "resume_left_to_operator",
            Self::Retracted { .. } => "retracted",
            Self::HeldBelowOwed { .. } => "held_below_owed",
        }
    }

    /// How loud it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Phase { to, .. } => match to {
                Phase::Grace | Phase::Unpaid => Severity::Warning,
                Phase::Stopping | Phase::Stopped => Severity::Critical,
                _ => Severity::Info,
            },
            Self::Expiring { .. } => Severity::Warning,
            Self::UnpaidConfirmed { .. } | Self::Unknown { .. } | Self::TargetCameBack | Self::HeldBelowOwed { .. } => {
                Severity::Critical
            }
            Self::Known { .. } => Severity::Info,
            Self::ActionEnded { outcome: ActionOutcome::Failed { .. }, .. } => Severity::Critical,
            Self::ActionEnded { .. } | Self::ActionStarted { .. } | Self::Retracted { .. } => Severity::Quiet,
            Self::ActionWithdrawn { .. } => Severity::Info,
            Self::ResumeLeftToOperator => Severity::Warning,
        }
    }
}

impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Phase { from: None, to } => write!(f, "first observation: {to}"),
            Self::Phase { from: Some(from), to } => write!(f, "{from} -> {to}"),
            Self::Expiring { threshold_seconds, left_seconds, paid_until_s } => write!(
                f,
                "paid for {left_seconds} s more (until {paid_until_s}), less than the warning time of {threshold_seconds} s"
            ),
            Self::UnpaidConfirmed { deficit, block } => {
                write!(f, "not paid: {deficit} token units missing at block {}", block.number)
            }
            Self::Unknown { cause, seconds } => {
                write!(f, "cannot tell for {seconds} s whether it is paid: {cause}; hint: {}", cause.hint())
            }
            Self::Known { seconds } => write!(f, "can tell again, after {seconds} s"),
            Self::ActionStarted { id, attempt, kind } => write!(f, "{kind} #{id}, attempt {attempt}: begins"),
            Self::ActionEnded { id, attempt, kind, outcome: ActionOutcome::Verified { detail } } => {
                write!(f, "{kind} #{id}, attempt {attempt}: verified: {detail}")
            }
            Self::ActionEnded { id, attempt, kind, outcome: ActionOutcome::Failed { detail } } => {
                write!(f, "{kind} #{id}, attempt {attempt}: FAILED: {detail}")
            }
            Self::ActionWithdrawn { id, kind, reason } => write!(f, "{kind} #{id} withdrawn: {reason}"),
            Self::TargetCameBack => write!(
                f,
                "the stopped target runs again although nothing was paid; it is stopped again. hint: something else restarts it, \
                 for example a restart policy"
            ),
            Self::ResumeLeftToOperator => {
                write!(f, "paid again; no resume action is configured: start the target yourself")
            }
            Self::Retracted { block } => write!(f, "observations from block {block} on were taken back by a reorganisation"),
            Self::HeldBelowOwed { held, owed } => write!(
                f,
                "the contract holds {held} token units but owes {owed} to the keypers; hint: the token takes a fee on transfer or changes balances"
            ),
        }
    }
}
