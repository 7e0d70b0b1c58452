//! What can go wrong, as data.

use alloy_primitives::{Address, B256};
use windlass_chain::ChainError;
use windlass_keys::KeyError;
use windlass_store::StoreError;

use crate::model::IntentId;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The settings cannot be used; all broken rules.
    #[error("outbox {chain}: {}", .problems.join("; "))]
    Config {
        /// Name of the chain.
        chain: String,
        /// The rules that are broken.
        problems: Vec<String>,
    },
    /// The intent itself cannot be recorded.
    #[error("intent {key:?}: {problem}")]
    BadIntent {
        /// Idempotency key.
        key: String,
        /// Which rule it breaks.
        problem: String,
    },
    /// The key was recorded before with another content.
    #[error("intent {key:?} was recorded before with another content (id {id}, content {recorded}, now {given})")]
    ContentDiffers {
        /// Idempotency key.
        key: String,
        /// Identity of the recorded intent.
        id: IntentId,
        /// Content hash of the recorded intent.
        recorded: B256,
        /// Content hash of the one given now.
        given: B256,
    },
    /// No such intent.
    #[error("no intent {id}")]
    Unknown {
        /// The identity asked for.
        id: IntentId,
    },
    /// The operator's action does not fit the state.
    #[error("intent {id} is {state}: it cannot be {action}")]
    NotPossible {
        /// The intent.
        id: IntentId,
        /// Its state.
        state: String,
        /// What was asked, as a participle.
        action: &'static str,
    },
    /// The signer signed for another account, or something else than it was given. Nothing was stored or sent.
    #[error("the signer of {expected} returned a signature of {recovered}")]
    WrongSigner {
        /// Account of the outbox.
        expected: Address,
        /// Account the signature belongs to.
        recovered: Address,
    },
    /// The stored rows contradict each other. The outbox stops before it costs money.
    #[error("invariant broken on {chain} for {account}: {what}")]
    Invariant {
        /// Name of the chain.
        chain: String,
        /// Account.
        account: Address,
        /// What does not hold.
        what: String,
    },
    /// Another instance took the lease over.
    #[error("the lease {lease} is held by another instance")]
    LeaseLost {
        /// Name of the lease.
        lease: String,
    },
    /// The chain's endpoints failed.
    #[error(transparent)]
    Chain(Box<ChainError>),
    /// The signer failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Waiting ended because the outbox was dropped.
    #[error("the outbox was closed")]
    Closed,
}

impl From<ChainError> for OutboxError {
    fn from(error: ChainError) -> Self {
        Self::Chain(Box::new(error))
    }
}

impl OutboxError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Chain(error) => error.is_transient(),
            Self::Key(error) => error.is_transient(),
            Self::Store(error) => error.is_transient(),
            Self::LeaseLost { .. } => true,
            _ => false,
        }
    }

    /// What an operator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Chain(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::ContentDiffers { .. } => Some("an idempotency key names one transaction for ever; use another key".to_owned()),
            Self::WrongSigner { .. } => Some("check which key the signer holds for this account".to_owned()),
            Self::Invariant { .. } => Some(
                "stop all instances, keep the database, and check that only one program uses this database and key".to_owned(),
            ),
            _ => None,
        }
    }
}
