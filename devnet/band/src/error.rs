//! What can go wrong: building a proof, asking the chain, starting the servers.

use std::net::SocketAddr;

use windlass_vrf_protocol::Refusal;

/// Why a proof cannot be built from its inputs.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A store without an entry has no root.
    #[error("the oracle store is empty")]
    EmptyStore,
    /// A version, size, height or second of zero has no encoding in the contract.
    #[error("the contract cannot hash it: {0:?}")]
    Hash(Refusal),
    /// There is no entry under the key of the request's result.
    #[error("the oracle store has no result of request {request_id}")]
    NoResult {
        /// The request.
        request_id: u64,
    },
    /// The result does not encode to the value of the store.
    #[error("the result of request {request_id} is not what the oracle store holds")]
    OtherResult {
        /// The request.
        request_id: u64,
    },
    /// A store of the layout has no root.
    #[error("store {name} has no root")]
    NoStoreRoot {
        /// Name of the store.
        name: String,
    },
    /// A root of a store that the layout does not know.
    #[error("the layout has no store {name}")]
    UnknownStore {
        /// Name of the store.
        name: String,
    },
    /// Each validator that signs has a timestamp.
    #[error("{signers} validators sign, but there are {timestamps} timestamps")]
    Timestamps {
        /// Validators that sign.
        signers: usize,
        /// Timestamps given.
        timestamps: usize,
    },
    /// A private key that is zero or not below the order of the curve.
    #[error("validator {index} has no valid private key")]
    PrivateKey {
        /// Place in the list of validators.
        index: usize,
    },
}

impl From<Refusal> for BuildError {
    fn from(refusal: Refusal) -> Self {
        Self::Hash(refusal)
    }
}

/// Why a question about the chain has no answer. `Display` is the text that the real services answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The commit of the newest block may still change.
    #[error("commit is not canonical")]
    NotCanonical,
    /// The state of that height is gone, or was never there.
    #[error("Proof not found")]
    ProofNotFound,
    /// The state of that height is there and has no such key.
    #[error("IAVL existence proof not found")]
    NoExistence,
    /// A multi proof for no request.
    #[error("please provide request ids")]
    NoRequestIds,
    /// Heights begin at 1.
    #[error("height must be greater than 0, but got {height}")]
    HeightNotPositive {
        /// What was asked for.
        height: i64,
    },
    /// There is no such block yet.
    #[error("height {height} must be less than or equal to the current blockchain height {newest}")]
    FutureHeight {
        /// What was asked for.
        height: u64,
        /// The newest block.
        newest: u64,
    },
    /// The block is gone.
    #[error("height {height} is not available, lowest height is {lowest}")]
    PrunedBlock {
        /// What was asked for.
        height: u64,
        /// The oldest block.
        lowest: u64,
    },
    /// There is no such request.
    #[error("unable to get request from chain: request id ({id}) > latest expired request id ({last_expired})")]
    NoRequest {
        /// What was asked for.
        id: u64,
        /// All requests up to this one have ended.
        last_expired: u64,
    },
    /// The transaction would fail.
    #[error("{raw_log} with gas used: '{gas_used}'")]
    Simulation {
        /// Module of the code.
        codespace: String,
        /// Why it fails.
        code: u32,
        /// Why it fails, in words.
        raw_log: String,
        /// Gas used until then.
        gas_used: u64,
    },
    /// The query of transactions is not understood.
    #[error("invalid query: {0}")]
    Query(String),
    /// The simulator itself failed.
    #[error("internal: {0}")]
    Internal(String),
}

impl From<BuildError> for QueryError {
    fn from(error: BuildError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// Why the simulator cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum DevnetError {
    /// A setting is out of range.
    #[error("{setting}: {reason}")]
    Config {
        /// Name of the field of [`BandConfig`](crate::BandConfig).
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The genesis state cannot be built.
    #[error("the genesis state cannot be built")]
    Genesis(#[from] BuildError),
    /// The address could not be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

impl DevnetError {
    /// Whether trying again later may help: a port can become free.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse)
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                Some("another program listens there; choose another port, or 0 for a free one".to_owned())
            }
            Self::Listen { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("choose a port above 1023".to_owned())
            }
            _ => None,
        }
    }
}
