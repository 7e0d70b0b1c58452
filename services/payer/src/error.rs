//! Errors of the payer service.

use alloy_primitives::{Address, U256};
use windlass_chain::ChainError;
use windlass_keys::KeyError;
use windlass_outbox::OutboxError;
use windlass_store::StoreError;

use crate::machine::CannotTell;
use crate::ports::TargetError;

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayerError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A chain read failed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A key could not be opened.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The sender of transactions failed.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The guarded program could not be prepared.
    #[error("the guarded program cannot be set up: {0}")]
    Target(#[from] TargetError),
    /// A stored row cannot be read.
    #[error("the stored {what} cannot be read: {detail}")]
    Row {
        /// Table and column.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The agreement could not be read.
    #[error("agreement {contract}: {cause}")]
    Agreement {
        /// The contract.
        contract: Address,
        /// Why.
        cause: CannotTell,
    },
    /// The amount does not fit 256 bits.
    #[error("paying until {until_s} needs an amount beyond 256 bits at this rate")]
    AmountTooLarge {
        /// The target time, Unix seconds.
        until_s: u64,
    },
    /// A payment above the limit the operator gave.
    #[error("the payment would be {amount} token units, more than the limit of {limit}")]
    AboveLimit {
        /// What would be paid.
        amount: U256,
        /// The limit.
        limit: U256,
    },
    /// Not enough tokens.
    #[error("account {account} holds {held} token units of {token}, the payment needs {needed}")]
    TooFewTokens {
        /// The paying account.
        account: Address,
        /// The token.
        token: Address,
        /// What it holds.
        held: U256,
        /// What is needed.
        needed: U256,
    },
    /// Not enough of the native coin for gas.
    #[error("account {account} holds {held} wei, the transactions may cost {needed} wei")]
    TooLittleGas {
        /// The paying account.
        account: Address,
        /// What it holds.
        held: U256,
        /// What may be needed.
        needed: U256,
    },
    /// The account is no keyper of the contract, so there is nothing it could withdraw.
    #[error("account {account} is not a keyper of {contract}")]
    NotAKeyper {
        /// The account.
        account: Address,
        /// The contract.
        contract: Address,
    },
    /// A transaction did not end well.
    #[error("{label}: {detail}")]
    Transaction {
        /// What it was for.
        label: String,
        /// How it ended.
        detail: String,
    },
    /// An attempt of an action broke off.
    #[error("work on the guarded program broke off: {detail}")]
    Work {
        /// What happened.
        detail: String,
    },
    /// A text could not be understood.
    #[error("{what} \"{given}\" is not valid: {rule}")]
    Input {
        /// Flag or field.
        what: &'static str,
        /// What was given.
        given: String,
        /// What it must be.
        rule: String,
    },
    /// Reading or writing a file failed.
    #[error("{what}: {source}")]
    File {
        /// What was to be done with which file.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// What a command needs of the program around it cannot be had.
    #[error("{detail}")]
    Setup {
        /// What and why, perhaps on several lines.
        detail: String,
    },
    /// Something is missing in the settings.
    #[error("{what} is missing")]
    Missing {
        /// What, and where to give it.
        what: String,
    },
}

impl PayerError {
    /// Whether the same thing may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Chain(error) => error.is_transient(),
            Self::Key(error) => error.is_transient(),
            Self::Outbox(error) => error.is_transient(),
            Self::Target(error) => error.is_transient(),
            Self::Agreement { cause, .. } => matches!(
                cause,
                CannotTell::Unreachable { .. }
                    | CannotTell::Stale { .. }
                    | CannotTell::Silent { .. }
                    | CannotTell::Disagreement { .. }
            ),
            _ => false,
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Chain(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::Outbox(error) => error.hint(),
            Self::Target(error) => error.hint(),
            Self::Row { .. } => Some("restore the database from a backup, or remove the row to start anew".into()),
            Self::Agreement { cause, .. } => Some(cause.hint().into()),
            Self::AmountTooLarge { .. } => Some("name an earlier time".into()),
            Self::AboveLimit { .. } => Some("name an earlier time or raise --max-amount".into()),
            Self::TooFewTokens { account, .. } => Some(format!("send tokens to {account}, or name an earlier time")),
            Self::TooLittleGas { account, .. } => Some(format!("send some of the chain's coin to {account}")),
            Self::NotAKeyper { .. } => Some("use the account that is in the keyper list".into()),
            Self::Transaction { .. } => Some("repeat the command: it pays only what is still missing".into()),
            Self::Work { .. } | Self::Setup { .. } | Self::Input { .. } | Self::File { .. } | Self::Missing { .. } => None,
        }
    }
}
