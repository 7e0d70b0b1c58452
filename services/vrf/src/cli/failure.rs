//! Why a command did not do what it was asked, and the exit code for it.

use std::path::PathBuf;

use windlass_node::client::ClientError;

use crate::deploy::DeployError;
use crate::error::VrfError;

/// The work failed, or its answer is no.
pub(super) const FAILURE: u8 = 1;
/// The command line or the configuration is wrong.
pub(super) const USAGE: u8 = 2;
/// Something outside did not answer; the same command may succeed later.
pub(super) const UNAVAILABLE: u8 = 3;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The relay's own parts: database, chains, keys.
    #[error(transparent)]
    Relay(#[from] VrfError),
    /// The running node.
    #[error(transparent)]
    Node(#[from] ClientError),
    /// A deployment.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The command line or the configuration is wrong.
    #[error("{text}")]
    Usage {
        /// What is wrong.
        text: String,
        /// What to do.
        hint: Option<&'static str>,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is nothing to show.
    #[error("{text}")]
    Nothing {
        /// What there is not.
        text: String,
        /// What to do.
        hint: &'static str,
    },
}

impl Failure {
    /// A wrong command line or configuration.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage { text: text.into(), hint: None }
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Relay(error) => error.hint(),
            Self::Node(error) => error.hint(),
            Self::Deploy(error) => error.hint(),
            Self::Usage { hint, .. } => hint.map(str::to_owned),
            Self::File { .. } => None,
            Self::Nothing { hint, .. } => Some((*hint).to_owned()),
        }
    }

    /// Exit code of the process.
    pub fn exit(&self) -> u8 {
        let transient = match self {
            Self::Relay(error) => error.is_transient(),
            Self::Node(ClientError::Token { .. }) | Self::Usage { .. } => return USAGE,
            Self::Node(error) => error.is_transient(),
            Self::Deploy(error) => error.is_transient(),
            Self::File { .. } | Self::Nothing { .. } => false,
        };
        if transient { UNAVAILABLE } else { FAILURE }
    }
}

impl From<windlass_store::StoreError> for Failure {
    fn from(error: windlass_store::StoreError) -> Self {
        Self::Relay(VrfError::from(error))
    }
}

impl From<windlass_chain::ChainError> for Failure {
    fn from(error: windlass_chain::ChainError) -> Self {
        Self::Relay(VrfError::from(error))
    }
}

impl From<crate::ports::client_chain::ReadError> for Failure {
    fn from(error: crate::ports::client_chain::ReadError) -> Self {
        Self::Relay(VrfError::from(error))
    }
}

impl From<crate::ports::band::BandError> for Failure {
    fn from(error: crate::ports::band::BandError) -> Self {
        Self::Relay(VrfError::from(error))
    }
}
