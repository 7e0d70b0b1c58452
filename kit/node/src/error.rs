//! Why a node cannot start or had to end.

use std::net::SocketAddr;
use std::time::Duration;

use windlass_store::StoreError;

/// Why a node cannot start or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The database does not do what it should.
    #[error("the store failed while {doing}")]
    Store {
        /// What was tried.
        doing: &'static str,
        /// The cause.
        #[source]
        source: StoreError,
    },
    /// The data folder cannot be made.
    #[error("cannot make the data folder {path}")]
    DataFolder {
        /// The folder.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Listening beyond this machine without tokens.
    #[error("refusing to listen on {address} without a token: everybody who can reach it could use the interface")]
    OpenInterface {
        /// The address.
        address: SocketAddr,
    },
    /// A secret of the configuration cannot be resolved.
    #[error("cannot resolve the secret {key}: {problem}")]
    Secret {
        /// Key of the configuration.
        key: String,
        /// What is wrong, without the secret.
        problem: String,
    },
    /// Two services have the same name.
    #[error("two services have the name {name:?}")]
    DuplicateService {
        /// The name.
        name: String,
    },
    /// The routes of a service are those of another one.
    #[error("a route of the service {service:?} exists already")]
    RouteConflict {
        /// The service.
        service: String,
    },
    /// Metrics were given a recorder already, or logs a subscriber.
    #[error("{what} can be installed only once in a process")]
    InstalledTwice {
        /// `metrics` or `logs`.
        what: &'static str,
    },
    /// The HTTP client for alerts cannot be built.
    #[error("cannot build the HTTP client")]
    Client(#[source] reqwest::Error),
    /// Signals cannot be listened for.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    /// The stop took longer than allowed.
    #[error("{} did not stop within {limit:?}", .tasks.join(", "))]
    StopTimedOut {
        /// The tasks that had to be ended.
        tasks: Vec<String>,
        /// The limit.
        limit: Duration,
    },
}

impl NodeError {
    /// Whether the same start can succeed later without a change.
    pub fn is_transient(&self) -> bool {
        match self {
            // A database server may not be up yet.
            Self::Store { source, .. } => source.is_transient(),
            // The process that holds the port may be the one that is about to end.
            Self::Listen { source, .. } => source.kind() == std::io::ErrorKind::AddrInUse,
            Self::StopTimedOut { .. } => true,
            _ => false,
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store { source, .. } => source.hint(),
            Self::DataFolder { .. } => Some("check node.data_dir and the permissions of the folder above it".to_owned()),
            Self::Listen { address, source } if source.kind() == std::io::ErrorKind::AddrInUse => {
                Some(format!("another program listens on port {}: stop it, or change http.listen", address.port()))
            }
            Self::Listen { .. } => Some("check http.listen: the address must be one of this machine".to_owned()),
            Self::OpenInterface { .. } => Some("give http.tokens at least one token, or listen on 127.0.0.1".to_owned()),
            Self::Secret { .. } => Some("check the variable, file or command that the value names".to_owned()),
            Self::DuplicateService { .. } => Some("give each service a name of its own".to_owned()),
            Self::RouteConflict { .. } => Some("only one instance can have routes outside its own prefix".to_owned()),
            Self::StopTimedOut { .. } => {
                Some("nothing recorded is lost; raise node.shutdown_timeout if this happens often".to_owned())
            }
            Self::InstalledTwice { .. } | Self::Client(_) | Self::Signals(_) => None,
        }
    }
}

/// An error and its causes on one line.
pub(crate) fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
