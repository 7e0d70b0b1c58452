//! What the machine knows: the state of one agreement, as it is stored.

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};
use windlass_store::clock::UnixMillis;

use super::{BlockPoint, CannotTell, Terms};

/// The settings that the machine decides by. Constant for one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Remaining times at which a warning is given, in seconds; any order.
    pub warn_before_seconds: Vec<u64>,
    /// How long after the last paid second the agreement still counts as served, in block time.
    pub grace_seconds: u64,
    /// How many different blocks must say "unpaid" before the stop; 0 and 1 mean the first.
    pub confirm_blocks: u32,
    /// How long ago, by the clock, the first of them must have been seen.
    pub confirm_seconds: u64,
    /// How far the newest block may lie behind the clock.
    pub stale_after_seconds: u64,
    /// How long it may be impossible to tell before an alert.
    pub unknown_alert_after_seconds: u64,
    /// Longest time between two observations.
    pub observe_every_seconds: u64,
    /// How often a stopped target is looked at, in seconds.
    pub inspect_every_seconds: u64,
    /// Whether there is an action that stops the target.
    pub can_stop: bool,
    /// Whether the target is started again when the agreement is paid again.
    pub can_resume: bool,
    /// Wait before the second attempt of an action; doubles with each further one.
    pub retry_first_seconds: u64,
    /// Longest wait between attempts.
    pub retry_max_seconds: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            warn_before_seconds: vec![7 * 86_400, 86_400, 3_600],
            grace_seconds: 0,
            confirm_blocks: 2,
            confirm_seconds: 30,
            stale_after_seconds: 180,
            unknown_alert_after_seconds: 300,
            observe_every_seconds: 60,
            inspect_every_seconds: 60,
            can_stop: false,
            can_resume: false,
            retry_first_seconds: 5,
            retry_max_seconds: 300,
        }
    }
}

impl Policy {
    /// Wait after failed attempt number `attempt` (from 1).
    pub fn retry_wait_seconds(&self, attempt: u32) -> u64 {
        let doublings = attempt.saturating_sub(1).min(32);
        self.retry_first_seconds.max(1).saturating_mul(1_u64 << doublings).min(self.retry_max_seconds.max(1))
    }
}

/// The firm state of an agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The start of the agreement lies ahead: nothing is owed.
    NotStarted,
    /// Paid, and for longer than the longest warning time.
    Paid,
    /// Paid, but not for much longer.
    ExpiringSoon,
    /// Not paid any more, within the grace time.
    Grace,
    /// Not paid, beyond the grace time; being confirmed, or confirmed with no stop action configured.
    Unpaid,
    /// Confirmed unpaid; the stop action runs or waits for its next attempt.
    Stopping,
    /// The target was verified to stand still.
    Stopped,
    /// Paid again; the resume action runs or waits for its next attempt.
    Resuming,
}

impl Phase {
    /// All phases, for gauges.
    pub const ALL: [Self; 8] = [
        Self::NotStarted,
        Self::Paid,
        Self::ExpiringSoon,
        Self::Grace,
        Self::Unpaid,
        Self::Stopping,
        Self::Stopped,
        Self::Resuming,
    ];

    /// The name used in JSON, tables and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::Paid => "paid",
            Self::ExpiringSoon => "expiring_soon",
            Self::Grace => "grace",
            Self::Unpaid => "unpaid",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Resuming => "resuming",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The state of the contract at one block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The block that all figures are read at.
    pub block: BlockPoint,
    /// Rate and start, as the contract says.
    pub terms: Terms,
    /// Sum of all payments.
    pub total_paid: U256,
    /// What `isPaid()` answers; `None` when it reverted with an overflow.
    pub contract_says_paid: Option<bool>,
    /// Tokens the contract holds.
    pub held: U256,
    /// Tokens the contract owes to the keypers: the sum of their balances.
    pub owed: U256,
    /// The same sum at the newest finalized block, when the chain has one.
    pub finalized: Option<Finalized>,
}

/// What is beyond the reach of reorganisations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finalized {
    /// Number of the finalized block.
    pub block: u64,
    /// Sum of all payments at that block.
    pub total_paid: U256,
}

/// The last observation that was of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The observation.
    pub observation: Observation,
    /// When it arrived.
    pub at: UnixMillis,
    /// Its block was removed by a reorganisation and nothing newer is known yet.
    pub retracted: bool,
}

/// The overlay: it cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// The latest reason.
    pub cause: CannotTell,
    /// Since when.
    pub since: UnixMillis,
    /// An alert was given.
    pub alerted: bool,
}

/// Observations that agree on "unpaid".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpaidRun {
    /// When the first was made.
    pub first_at: UnixMillis,
    /// Their blocks, oldest first, each once; not more than are needed.
    pub blocks: Vec<BlockPoint>,
}

/// The last firm answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Paid, not started or within the grace time.
    Paid,
    /// Confirmed unpaid.
    Unpaid,
}

/// What an action does to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// Stops it.
    Stop,
    /// Starts it again.
    Resume,
}

impl ActionKind {
    /// The name used in JSON, tables and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Resume => "resume",
        }
    }
}

impl std::fmt::Display for ActionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A decided action that is not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Number of the decision, unique within the agreement.
    pub id: u64,
    /// What it does.
    pub kind: ActionKind,
    /// The attempt that runs or ran last, from 1.
    pub attempt: u32,
    /// Whether it runs.
    pub status: ActionStatus,
    /// How the last attempt failed.
    pub last_failure: Option<String>,
}

/// Whether an attempt runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ActionStatus {
    /// It runs.
    Running {
        /// Since when.
        since: UnixMillis,
    },
    /// The last one failed; the next begins at a time.
    Waiting {
        /// That time.
        until: UnixMillis,
    },
}

/// What the machine did to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Nothing, or it was verified to run again.
    #[default]
    Untouched,
    /// A stop was tried, and not verified.
    Touched,
    /// It was verified to stand still.
    Stopped,
}

/// The state of one agreement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Agreement {
    /// The firm state; `None` before the first observation.
    pub phase: Option<Phase>,
    /// Since when.
    pub phase_since: UnixMillis,
    /// The last firm answer; `None` before the first.
    pub verdict: Option<Verdict>,
    /// The last observation that was of use.
    pub seen: Option<Seen>,
    /// It cannot be told at the moment.
    pub unknown: Option<Unknown>,
    /// Observations that agree on "unpaid".
    pub unpaid_run: Option<UnpaidRun>,
    /// The smallest warning threshold that was announced for the present cover, in seconds.
    pub warned_seconds: Option<u64>,
    /// The action that is not finished.
    pub action: Option<Action>,
    /// Number of the last decision.
    pub last_action: u64,
    /// What was done to the target.
    pub target: Target,
    /// The contract was reported to hold less than it owes.
    pub shortfall_reported: bool,
    /// When the next observation is due.
    pub observe_at: UnixMillis,
    /// When the stopped target is looked at next.
    pub inspect_at: UnixMillis,
    /// When this run began; silence before it does not count.
    pub listening_since: UnixMillis,
}

/// The answer to "is it paid", for health checks and the start guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Serve: 200.
    Paid,
    /// Do not serve: 402.
    Unpaid,
    /// Cannot tell: 503.
    Unknown,
}

impl Agreement {
    /// The answer to "is it paid": `Unknown` while the overlay is on or nothing firm is known yet.
    pub fn health(&self) -> Health {
        match (self.unknown.is_some(), self.verdict) {
            (true, _) | (false, None) => Health::Unknown,
            (false, Some(Verdict::Paid)) => Health::Paid,
            (false, Some(Verdict::Unpaid)) => Health::Unpaid,
        }
    }

    /// Last paid second by the last observation; `None` when none was made or the cover never ends.
    pub fn paid_until_s(&self) -> Option<u64> {
        let observation = &self.seen.as_ref()?.observation;
        super::judge::paid_until_s(&observation.terms, observation.total_paid)
    }

    /// Whether an action failed and has not been verified since.
    pub fn failing_action(&self) -> Option<&Action> {
        self.action.as_ref().filter(|action| action.last_failure.is_some())
    }
}
