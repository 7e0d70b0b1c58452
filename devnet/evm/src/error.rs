//! Errors of the chain as JSON-RPC clients see them, and errors of the server.

use std::net::SocketAddr;

use alloy_primitives::Bytes;
use revm::context::result::{EVMError, HaltReason, InvalidTransaction, OutOfGasError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::evm::StartError;

/// A JSON-RPC error object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct JsonRpcError {
    /// Error code; `-32xxx` of the JSON-RPC specification or 3 for a revert.
    pub code: i64,
    /// Text for people; texts are those of `anvil` so that clients which match on them work.
    pub message: String,
    /// Revert data as a hex string, or another payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl JsonRpcError {
    /// An error without data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The method does not exist (-32601).
    pub fn method_not_found() -> Self {
        Self::new(-32601, "Method not found")
    }

    /// The request is not a JSON-RPC request (-32600).
    pub fn invalid_request() -> Self {
        Self::new(-32600, "Invalid request")
    }

    /// The parameters do not fit the method (-32602).
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    /// The chain refuses the transaction (-32003).
    pub fn rejected(message: impl Into<String>) -> Self {
        Self::new(-32003, message)
    }

    /// Something that has no code of its own (-32603).
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(-32603, message)
    }

    /// A server error with the general code -32000.
    pub fn server(message: impl Into<String>) -> Self {
        Self::new(-32000, message)
    }

    /// The call reverted with `data` (code 3, as `geth` and `anvil` answer).
    pub fn reverted(data: &Bytes) -> Self {
        let message = match crate::revert::describe(data) {
            Some(reason) => format!("execution reverted: {reason}"),
            None => "execution reverted".to_owned(),
        };
        Self { code: 3, message, data: Some(Value::String(data.to_string())) }
    }

    /// The call stopped for another reason than a revert.
    pub(crate) fn halted(reason: &HaltReason) -> Self {
        Self::internal(format!("EVM error {}", halt_name(reason)))
    }
}

/// The name `anvil` prints for a halt.
fn halt_name(reason: &HaltReason) -> String {
    match reason {
        HaltReason::OutOfGas(kind) => match kind {
            OutOfGasError::Memory => "MemoryOOG",
            OutOfGasError::MemoryLimit => "MemoryLimitOOG",
            OutOfGasError::Precompile => "PrecompileOOG",
            OutOfGasError::InvalidOperand => "InvalidOperandOOG",
            OutOfGasError::ReentrancySentry => "ReentrancySentryOOG",
            _ => "OutOfGas",
        }
        .to_owned(),
        HaltReason::PrecompileErrorWithContext(_) => "PrecompileError".to_owned(),
        other => format!("{other:?}"),
    }
}

impl From<StartError> for JsonRpcError {
    fn from(error: StartError) -> Self {
        match error {
            EVMError::Transaction(error) => error.into(),
            other => Self::internal(other.to_string()),
        }
    }
}

impl From<InvalidTransaction> for JsonRpcError {
    fn from(error: InvalidTransaction) -> Self {
        use InvalidTransaction as Invalid;
        match error {
            Invalid::InvalidChainId => Self::rejected("invalid chain id for signer"),
            Invalid::PriorityFeeGreaterThanMaxFee => Self::rejected("max priority fee per gas higher than max fee per gas"),
            Invalid::GasPriceLessThanBasefee => Self::rejected("max fee per gas less than block base fee"),
            Invalid::CallerGasLimitMoreThanBlock => Self::server("intrinsic gas too high -- CallerGasLimitMoreThanBlock"),
            Invalid::CallGasCostMoreThanGasLimit { .. } => Self::server("intrinsic gas too high -- CallGasCostMoreThanGasLimit"),
            Invalid::GasFloorMoreThanGasLimit { .. } => Self::server("intrinsic gas too high -- GasFloorMoreThanGasLimit"),
            Invalid::RejectCallerWithCode => Self::rejected("sender not an eoa"),
            Invalid::LackOfFundForMaxFee { .. } => Self::insufficient_funds(),
            Invalid::OverflowPaymentInTransaction => Self::rejected("gas uint64 overflow"),
            Invalid::NonceOverflowInTransaction => Self::rejected("nonce has max value"),
            Invalid::CreateInitCodeSizeLimit => Self::rejected("max initcode size exceeded"),
            Invalid::NonceTooHigh { .. } => Self::rejected("Nonce too high"),
            Invalid::NonceTooLow { .. } => Self::rejected("nonce too low"),
            other => Self::rejected(other.to_string()),
        }
    }
}

impl JsonRpcError {
    pub(crate) fn insufficient_funds() -> Self {
        Self::rejected("Insufficient funds for gas * price + value")
    }

    pub(crate) fn block_out_of_range(height: u64, requested: u64) -> Self {
        Self::invalid_params(format!("BlockOutOfRangeError: block height is {height} but requested was {requested}"))
    }

    pub(crate) fn block_not_found() -> Self {
        Self::new(-32001, "Resource not found")
    }
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum DevnetError {
    /// The address could not be bound.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

impl DevnetError {
    /// Whether trying again later may help: a port can become free.
    pub fn is_transient(&self) -> bool {
        let Self::Listen { source, .. } = self;
        source.kind() == std::io::ErrorKind::AddrInUse
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let Self::Listen { source, .. } = self;
        match source.kind() {
            std::io::ErrorKind::AddrInUse => {
                Some("another program listens there; choose another port, or 0 for a free one".into())
            }
            std::io::ErrorKind::PermissionDenied => Some("choose a port above 1023".into()),
            _ => None,
        }
    }
}
