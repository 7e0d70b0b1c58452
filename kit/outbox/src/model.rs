//! What callers hand in and get back: intents, states, reasons, statuses.
//!
//! States are named after what has happened **and is durable**. `Signed` means that the signed bytes are in the
//! database; it does not mean that anybody has seen them.

use std::fmt;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use serde::{Deserialize, Serialize};
use windlass_store::clock::UnixMillis;

/// Identity of an intent: the first 16 bytes of a hash over chain, account and idempotency key.
///
/// It is a function of what the caller knows, so that a caller that crashed between recording and remembering finds its
/// intent again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IntentId(pub [u8; 16]);

impl IntentId {
    /// The identity of the intent `key` of `account` on `chain_id`.
    pub fn derive(chain_id: u64, account: Address, key: &str) -> Self {
        let mut preimage = Vec::with_capacity(28 + key.len());
        preimage.extend_from_slice(&chain_id.to_be_bytes());
        preimage.extend_from_slice(account.as_slice());
        preimage.extend_from_slice(key.as_bytes());
        let mut id = [0u8; 16];
        for (to, from) in id.iter_mut().zip(keccak256(&preimage)) {
            *to = from;
        }
        Self(id)
    }

    /// From the 16 bytes of a row; `None` for any other length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IntentId({self})")
    }
}

impl std::str::FromStr for IntentId {
    type Err = BadIntentId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_prefix("0x").unwrap_or(text);
        if text.len() != 32 {
            return Err(BadIntentId);
        }
        let bytes = alloy_primitives::hex::decode(text).map_err(|_| BadIntentId)?;
        Self::from_slice(&bytes).ok_or(BadIntentId)
    }
}

impl TryFrom<String> for IntentId {
    type Error = BadIntentId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<IntentId> for String {
    fn from(id: IntentId) -> Self {
        id.to_string()
    }
}

/// A text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an intent id is 32 hexadecimal digits")]
pub struct BadIntentId;

/// One transaction that must reach the chain exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Idempotency key, unique per chain and account, chosen by the caller from its own protocol
    /// (for example `fulfill/<request id>`). Recording the same key and content again gives the same id.
    pub key: String,
    /// Recipient; `None` creates a contract.
    pub to: Option<Address>,
    /// Value in wei.
    pub value: U256,
    /// Call data or init code.
    pub data: Bytes,
    /// Gas limit; `None` asks the chain and adds the configured margin.
    pub gas_limit: Option<u64>,
    /// What it may cost.
    pub fee: FeePolicy,
    /// The transaction is `Final` when this many blocks, its own included, are on the chain. 0 counts as 1.
    pub confirmations: u64,
    /// After this moment it must not be sent any more. Not signed by then: dropped. Signed: cancelled by replacement.
    pub deadline: Option<UnixMillis>,
    /// Run it against the chain before a nonce is spent, and drop it with the reason when it would revert.
    pub simulate: bool,
    /// For operators; not part of the content.
    pub label: String,
}

impl Intent {
    /// An intent with the default fee policy, 12 confirmations, no deadline, and simulation on.
    pub fn new(key: impl Into<String>, to: Address) -> Self {
        Self {
            key: key.into(),
            to: Some(to),
            value: U256::ZERO,
            data: Bytes::new(),
            gas_limit: None,
            fee: FeePolicy::default(),
            confirmations: 12,
            deadline: None,
            simulate: true,
            label: String::new(),
        }
    }

    /// An intent that creates a contract from `init_code`.
    pub fn create(key: impl Into<String>, init_code: impl Into<Bytes>) -> Self {
        Self { to: None, data: init_code.into(), ..Self::new(key, Address::ZERO) }
    }

    /// Sets the value in wei.
    pub fn with_value(mut self, value: U256) -> Self {
        self.value = value;
        self
    }

    /// Sets the call data.
    pub fn with_data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = data.into();
        self
    }

    /// Sets the gas limit.
    pub fn with_gas_limit(mut self, gas_limit: u64) -> Self {
        self.gas_limit = Some(gas_limit);
        self
    }

    /// Sets the fee policy.
    pub fn with_fee(mut self, fee: FeePolicy) -> Self {
        self.fee = fee;
        self
    }

    /// Sets the number of confirmations.
    pub fn with_confirmations(mut self, confirmations: u64) -> Self {
        self.confirmations = confirmations;
        self
    }

    /// Sets the deadline.
    pub fn with_deadline(mut self, deadline: UnixMillis) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Switches the simulation before signing on or off.
    pub fn with_simulate(mut self, simulate: bool) -> Self {
        self.simulate = simulate;
        self
    }

    /// Sets the label that operators see.
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Hash of what the chain will execute: recipient, value, data, gas limit.
    ///
    /// Fees, confirmations, deadline and label are how to send, not what; a repeat may differ in them and is ignored.
    pub fn content_hash(&self) -> B256 {
        let mut preimage = Vec::with_capacity(64 + self.data.len());
        match self.to {
            Some(to) => {
                preimage.push(1);
                preimage.extend_from_slice(to.as_slice());
            }
            None => preimage.push(0),
        }
        preimage.extend_from_slice(&self.value.to_be_bytes::<32>());
        match self.gas_limit {
            Some(gas) => {
                preimage.push(1);
                preimage.extend_from_slice(&gas.to_be_bytes());
            }
            None => preimage.push(0),
        }
        preimage.extend_from_slice(&self.data);
        keccak256(&preimage)
    }
}

/// What one intent may cost; each `None` falls back to the outbox's configuration, and never above it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeePolicy {
    /// Highest fee per gas in wei (EIP-1559 `maxFeePerGas`, or the legacy gas price), replacements included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_fee_per_gas: Option<u128>,
    /// Highest priority fee per gas in wei.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_priority_fee_per_gas: Option<u128>,
    /// Highest fee of the whole transaction in wei (gas limit times fee per gas; the value is not counted).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_total_fee: Option<u128>,
    /// Replace with higher fees when not included after so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalate_after_ms: Option<u64>,
    /// Replace with higher fees when not included after so many blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalate_after_blocks: Option<u64>,
}

/// Where an intent stands. Only what is durable has a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// In the database; no nonce, no signature.
    Recorded,
    /// Nonce reserved and signed bytes stored; not known to have been accepted by a node.
    Signed,
    /// A node accepted the bytes.
    Broadcast,
    /// In a block. Whether it succeeded is [`IntentStatus::success`]; a reorganisation may take it back.
    Included,
    /// Succeeded, with the asked number of confirmations, on the canonical chain. Terminal.
    Final,
    /// Failed on chain, with the asked number of confirmations; the nonce is used. Terminal.
    Reverted(Reason),
    /// Will never be on chain. Terminal.
    Dropped(Reason),
}

impl State {
    /// Final, reverted or dropped: nothing will change any more.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Final | Self::Reverted(_) | Self::Dropped(_))
    }

    /// The name stored in the database and shown to operators.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Signed => "signed",
            Self::Broadcast => "broadcast",
            Self::Included => "included",
            Self::Final => "final",
            Self::Reverted(_) => "reverted",
            Self::Dropped(_) => "dropped",
        }
    }

    /// The reason of a terminal state that has one.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Reverted(reason) | Self::Dropped(reason) => Some(reason),
            _ => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Some(reason) => write!(f, "{}: {reason}", self.name()),
            None => f.write_str(self.name()),
        }
    }
}

/// Why an intent ended without success.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The deadline passed before it was included.
    Deadline,
    /// An operator or the caller cancelled it.
    Cancelled,
    /// The call reverts; decoded text of the contract's error.
    Reverted {
        /// The revert reason in words, for example `Error("Already fulfilled")`.
        reason: String,
    },
    /// No node would ever accept the transaction (for example its gas limit exceeds that of a block).
    Rejected {
        /// What the node said.
        message: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline => f.write_str("deadline passed"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Reverted { reason } => write!(f, "execution reverted: {reason}"),
            Self::Rejected { message } => write!(f, "rejected by the node: {message}"),
        }
    }
}

/// Why an intent that is not finished does not move. Held intents go on by themselves as soon as the cause is gone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// The account cannot pay value and worst-case fee.
    InsufficientFunds {
        /// Wei needed beside what is already committed to transactions in flight.
        needed: U256,
        /// Wei the account has beside what is already committed.
        have: U256,
    },
    /// The market asks more per gas than the cap allows.
    FeeAboveCap {
        /// Wei per gas needed now.
        needed: u128,
        /// The cap in force.
        cap: u128,
    },
    /// The worst-case fee of the whole transaction is above its cap.
    TotalFeeAboveCap {
        /// Wei needed.
        needed: u128,
        /// The cap in force.
        cap: u128,
    },
    /// Today's fee budget of the account is used up.
    BudgetSpent {
        /// Budget per day in wei.
        budget: U256,
        /// Spent and committed today in wei.
        used: U256,
    },
    /// The call would revert now; it is tried again at each new block, until its deadline.
    WouldRevert {
        /// The decoded reason.
        reason: String,
    },
    /// No answer about gas from the endpoints.
    EstimationFailed {
        /// What they said.
        message: String,
    },
    /// The nodes do not accept the bytes at the moment; they are offered again.
    BroadcastFailed {
        /// What they said.
        message: String,
    },
    /// The nonce was used by a transaction that is not ours; waiting until that one is buried.
    NonceTaken {
        /// The nonce.
        nonce: u64,
    },
    /// The chain shows fewer transactions of the account than are known to be on it: the endpoint lags far behind, or the
    /// chain was started anew. Nothing is signed until that is over.
    ChainBehind {
        /// Transaction count that the chain shows.
        count: u64,
        /// Nonces below this one are used.
        used: u64,
    },
    /// The signer did not sign.
    SignerFailed {
        /// What it said.
        message: String,
    },
}

impl Hold {
    /// Short name for metrics and alert rules.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InsufficientFunds { .. } => "insufficient_funds",
            Self::FeeAboveCap { .. } => "fee_above_cap",
            Self::TotalFeeAboveCap { .. } => "total_fee_above_cap",
            Self::BudgetSpent { .. } => "budget_spent",
            Self::WouldRevert { .. } => "would_revert",
            Self::EstimationFailed { .. } => "estimation_failed",
            Self::BroadcastFailed { .. } => "broadcast_failed",
            Self::NonceTaken { .. } => "nonce_taken",
            Self::ChainBehind { .. } => "chain_behind",
            Self::SignerFailed { .. } => "signer_failed",
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::InsufficientFunds { .. } => "fund the account; sending resumes by itself",
            Self::FeeAboveCap { .. } => "wait for lower fees, or raise max_fee_per_gas",
            Self::TotalFeeAboveCap { .. } => "raise max_total_fee of the fee policy",
            Self::BudgetSpent { .. } => "wait for the next day (UTC), or raise fee_budget_per_day",
            Self::WouldRevert { .. } => "look at the reason; cancel the intent if it is out of date",
            Self::EstimationFailed { .. } | Self::BroadcastFailed { .. } => "check the chain's endpoints",
            Self::NonceTaken { .. } => "do not use this key outside of Windlass",
            Self::ChainBehind { .. } => "check the endpoint; a development chain that was started anew needs a new database",
            Self::SignerFailed { .. } => "check the signer",
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InsufficientFunds { needed, have } => write!(f, "insufficient funds: needs {needed} wei, has {have} wei"),
            Self::FeeAboveCap { needed, cap } => write!(f, "fee above cap: needs {needed} wei per gas, cap is {cap}"),
            Self::TotalFeeAboveCap { needed, cap } => write!(f, "total fee above cap: needs {needed} wei, cap is {cap}"),
            Self::BudgetSpent { budget, used } => write!(f, "daily fee budget spent: {used} of {budget} wei"),
            Self::WouldRevert { reason } => write!(f, "would revert: {reason}"),
            Self::EstimationFailed { message } => write!(f, "no gas estimate: {message}"),
            Self::BroadcastFailed { message } => write!(f, "not accepted: {message}"),
            Self::NonceTaken { nonce } => write!(f, "nonce {nonce} was used outside of this outbox"),
            Self::ChainBehind { count, used } => {
                write!(f, "the chain shows {count} transactions of the account, {used} are known")
            }
            Self::SignerFailed { message } => write!(f, "not signed: {message}"),
        }
    }
}

/// Where a transaction is on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockPosition {
    /// Block number.
    pub number: u64,
    /// Block hash.
    pub hash: B256,
}

/// All that is known about one intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentStatus {
    /// Identity.
    pub id: IntentId,
    /// Idempotency key.
    pub key: String,
    /// The caller's label.
    pub label: String,
    /// Where it stands.
    pub state: State,
    /// Why it does not move, if it does not.
    pub hold: Option<Hold>,
    /// A cancellation was asked for, or the deadline passed after signing.
    pub cancelling: bool,
    /// Nonce, once signed.
    pub nonce: Option<u64>,
    /// Hash of the transaction in the block, else of the newest signed attempt.
    pub tx_hash: Option<B256>,
    /// Number of signed transactions for its nonce.
    pub attempts: u64,
    /// Block, while included and after.
    pub block: Option<BlockPosition>,
    /// Whether it succeeded on chain, while included and after.
    pub success: Option<bool>,
    /// Fee paid in wei, while included and after.
    pub fee_paid: Option<U256>,
    /// When it was recorded.
    pub recorded_at: UnixMillis,
    /// When its state changed last.
    pub updated_at: UnixMillis,
    /// Deadline.
    pub deadline: Option<UnixMillis>,
}

/// One change of state, published after its commit, and stored as history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// Which intent.
    pub id: IntentId,
    /// The state it left.
    pub from: State,
    /// The state it reached.
    pub to: State,
    /// When.
    pub at: UnixMillis,
    /// Transaction concerned, if one.
    pub tx_hash: Option<B256>,
    /// Nonce concerned, if one.
    pub nonce: Option<u64>,
    /// Words for an operator, for example why it was put back.
    pub note: Option<String>,
}

/// Counts and figures of one outbox, for status pages and alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxSummary {
    /// Chain name.
    pub chain: String,
    /// Chain id.
    pub chain_id: u64,
    /// Account.
    pub account: Address,
    /// Number of intents recorded and not signed.
    pub recorded: u64,
    /// Signed, not accepted by a node yet.
    pub signed: u64,
    /// Accepted, not included.
    pub broadcast: u64,
    /// Included, not final.
    pub included: u64,
    /// Ended in success.
    pub finalized: u64,
    /// Ended reverted.
    pub reverted: u64,
    /// Ended dropped.
    pub dropped: u64,
    /// Milliseconds since the oldest unfinished, not yet included intent was recorded.
    pub oldest_age_ms: Option<i64>,
    /// Number of held intents.
    pub held: u64,
    /// Why the oldest held intent is held.
    pub hold: Option<Hold>,
    /// Balance in wei as last seen.
    pub balance: Option<U256>,
    /// Next nonce of the chain (`latest`) as last seen.
    pub chain_nonce: Option<u64>,
    /// Head of the chain as last seen.
    pub head: Option<u64>,
    /// Fees paid today (UTC) in wei.
    pub fees_today: U256,
    /// Budget per day in wei.
    pub fee_budget_per_day: Option<U256>,
    /// Whether this instance holds the lease and acts.
    pub leader: bool,
    /// Why the last round failed, if it did.
    pub last_error: Option<String>,
}

/// How far [`crate::Outbox::wait`] waits. A terminal state always ends the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// In a block, or finished.
    Included,
    /// Finished.
    Final,
}

/// What one round did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TurnReport {
    /// Another instance holds the lease: nothing was done.
    pub standby: bool,
    /// Intents that were given a nonce and signed.
    pub signed: usize,
    /// Nonces without an intent that were filled with a self transfer.
    pub filled: usize,
    /// Replacements signed (higher fees, or cancellations).
    pub replaced: usize,
    /// Transactions a node accepted.
    pub broadcast: usize,
    /// Offers to a node that failed.
    pub broadcast_failed: usize,
    /// Nonces found in a block.
    pub included: usize,
    /// Nonces taken back by a reorganisation.
    pub put_back: usize,
    /// Intents that ended.
    pub finished: usize,
    /// Intents that gave up a nonce that a foreign transaction used.
    pub released: usize,
    /// Intents held at the end of the round.
    pub held: usize,
    /// More could be done at once: call again without waiting.
    pub again: bool,
    /// Something is in flight: look again soon.
    pub in_flight: usize,
    /// Head of the chain seen in this round.
    pub head: Option<u64>,
}

impl TurnReport {
    /// Whether the round changed anything.
    pub fn is_idle(&self) -> bool {
        self.signed + self.filled + self.replaced + self.broadcast + self.included + self.put_back + self.finished + self.released
            == 0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn id_is_a_function_of_chain_account_and_key() {
        let id = IntentId::derive(1, Address::repeat_byte(1), "a");
        assert_eq!(id, IntentId::derive(1, Address::repeat_byte(1), "a"));
        assert_ne!(id, IntentId::derive(2, Address::repeat_byte(1), "a"));
        assert_ne!(id, IntentId::derive(1, Address::repeat_byte(2), "a"));
        assert_ne!(id, IntentId::derive(1, Address::repeat_byte(1), "b"));
        assert_eq!(id.to_string().parse::<IntentId>().unwrap(), id);
        assert!("zz".parse::<IntentId>().is_err());
    }

    #[test]
    fn content_is_what_the_chain_executes() {
        let intent = Intent::new("k", Address::repeat_byte(1));
        let hash = intent.content_hash();
        assert_eq!(intent.clone().with_label("other").with_confirmations(1).content_hash(), hash);
        assert_ne!(intent.clone().with_value(U256::from(1)).content_hash(), hash);
        assert_ne!(intent.clone().with_data(vec![1]).content_hash(), hash);
        assert_ne!(intent.clone().with_gas_limit(1).content_hash(), hash);
        assert_ne!(Intent::create("k", vec![]).content_hash(), hash);
    }

    #[test]
    fn reasons_and_holds_survive_their_stored_form() {
        for reason in [
            Reason::Deadline,
            Reason::Cancelled,
            Reason::Reverted { reason: "x".into() },
            Reason::Rejected { message: "y".into() },
        ] {
            let text = serde_json::to_string(&reason).unwrap();
            assert_eq!(serde_json::from_str::<Reason>(&text).unwrap(), reason);
        }
        let holds = [
            Hold::InsufficientFunds { needed: U256::MAX, have: U256::ZERO },
            Hold::FeeAboveCap { needed: u128::MAX, cap: 1 },
            Hold::TotalFeeAboveCap { needed: u128::MAX, cap: 1 },
            Hold::BudgetSpent { budget: U256::MAX, used: U256::ZERO },
            Hold::WouldRevert { reason: "x".into() },
            Hold::EstimationFailed { message: "x".into() },
            Hold::BroadcastFailed { message: "x".into() },
            Hold::NonceTaken { nonce: u64::MAX },
            Hold::ChainBehind { count: 0, used: u64::MAX },
            Hold::SignerFailed { message: "x".into() },
        ];
        for hold in holds {
            let text = serde_json::to_string(&hold).unwrap();
            assert_eq!(serde_json::from_str::<Hold>(&text).unwrap(), hold);
        }
        let fee = FeePolicy { max_fee_per_gas: Some(u128::MAX), ..FeePolicy::default() };
        assert_eq!(serde_json::from_str::<FeePolicy>(&serde_json::to_string(&fee).unwrap()).unwrap(), fee);
    }
}
