//! Errors of the VRF relay.

use windlass_chain::ChainError;
use windlass_keys::KeyError;
use windlass_outbox::OutboxError;
use windlass_store::StoreError;

use crate::ports::band::BandError;
use crate::ports::client_chain::ReadError;

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VrfError {
    /// The database failed.
    #[error(transparent)]
    Store(StoreError),
    /// A read of the client chain failed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A contract of the client chain could not be read.
    #[error(transparent)]
    Read(Box<ReadError>),
    /// A question to BandChain failed.
    #[error(transparent)]
    Band(#[from] BandError),
    /// A key could not be opened, or something else was signed for a slot.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The sender of transactions failed.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The trigger cannot be prepared.
    #[error(transparent)]
    Trigger(#[from] crate::cloud::TriggerError),
    /// A stored row cannot be read.
    #[error("the stored {what} cannot be read: {detail}")]
    Row {
        /// Table and column.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The provider, its lens or its Bridge cannot be used.
    #[error("{0}")]
    Contract(String),
    /// The settings do not fit each other or the chains.
    #[error("{problem}")]
    Setup {
        /// What does not fit.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// A task of the program itself ended wrongly.
    #[error("a part of the relay ended wrongly: {detail}")]
    Work {
        /// How.
        detail: String,
    },
}

impl VrfError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Chain(error) => error.is_transient(),
            Self::Read(error) => error.is_transient(),
            Self::Band(error) => error.is_transient(),
            Self::Outbox(error) => error.is_transient(),
            Self::Work { .. } => true,
            Self::Trigger(_) => false,
            Self::Key(_) | Self::Row { .. } | Self::Contract(_) | Self::Setup { .. } => false,
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Chain(error) => error.hint(),
            Self::Read(error) => error.hint(),
            Self::Band(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::Setup { hint, .. } => Some((*hint).to_owned()),
            Self::Row { .. } => {
                Some("the database was written by a later version or is damaged: restore a backup or upgrade".to_owned())
            }
            Self::Contract(_) => Some("compare provider, lens, bridge and chain of the section with the deployment".to_owned()),
            Self::Trigger(_) => Some("check the table trigger of the section".to_owned()),
            Self::Store(_) | Self::Outbox(_) | Self::Work { .. } => None,
        }
    }
}

impl From<ReadError> for VrfError {
    fn from(error: ReadError) -> Self {
        Self::Read(Box::new(error))
    }
}
