//! What can go wrong when the contracts are read, and how they refuse a relay.

use alloy_primitives::{Address, Bytes, U256, hex};
use windlass_chain::{ChainError, RevertReason, panic_name};

use super::decode::TaskFault;
use crate::protocol::refusal::reason;
use crate::protocol::task::ProviderVersion;
use crate::protocol::validators::ValidatorSetError;

/// A contract could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The chain did not answer.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// There is no contract at the address.
    #[error("there is no contract at {contract}, which should be the {role}")]
    NoCode {
        /// The address.
        contract: Address,
        /// What should be there.
        role: &'static str,
    },
    /// A getter reverts.
    #[error("{role} {contract}: {method} reverts: {reason}")]
    Reverts {
        /// The contract.
        contract: Address,
        /// What it should be.
        role: &'static str,
        /// The function.
        method: &'static str,
        /// What it says.
        reason: RevertReason,
    },
    /// A getter answers something else than its signature says.
    #[error("{role} {contract}: {method} answers {length} bytes that are not its values: {fault}")]
    Malformed {
        /// The contract.
        contract: Address,
        /// What it should be.
        role: &'static str,
        /// The function.
        method: &'static str,
        /// Length of the answer.
        length: usize,
        /// What is wrong with it.
        fault: TaskFault,
    },
    /// The lens reads another provider.
    #[error("the lens {lens} reads the provider {found}, not {provider}")]
    ForeignLens {
        /// The lens.
        lens: Address,
        /// The provider it reads.
        found: Address,
        /// The provider it should read.
        provider: Address,
    },
    /// The provider is of another version than the configured one.
    #[error("the provider {provider} is {found}, {expected} is configured")]
    OtherVersion {
        /// The provider.
        provider: Address,
        /// What it is.
        found: ProviderVersion,
        /// What it should be.
        expected: ProviderVersion,
    },
    /// Lens and provider tell different things about one task at one block.
    #[error("task {nonce}: the lens {lens} says that its {field} is {by_lens}, the provider says {by_provider}")]
    Contradiction {
        /// The lens.
        lens: Address,
        /// The task.
        nonce: u64,
        /// What differs.
        field: &'static str,
        /// What the lens says.
        by_lens: String,
        /// What the provider says.
        by_provider: String,
    },
    /// The Bridge's validators are no set.
    #[error("bridge {bridge}: {fault}")]
    Validators {
        /// The Bridge.
        bridge: Address,
        /// What is wrong with them.
        fault: ValidatorSetError,
    },
    /// The Bridge compares signatures with a total that is not the sum of its powers.
    #[error("bridge {bridge}: totalValidatorPower() is {total}, but the powers add up to {sum}")]
    TotalPower {
        /// The Bridge.
        bridge: Address,
        /// The total.
        total: U256,
        /// The sum.
        sum: U256,
    },
}

impl ReadError {
    /// Whether asking again later can help without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Chain(error) => error.is_transient(),
            // An endpoint that gives wrong answers is replaced by another one, or comes to itself.
            Self::Malformed { .. } | Self::Contradiction { .. } => true,
            _ => false,
        }
    }

    /// What an operator can do, where there is something.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Chain(error) => return error.hint(),
            Self::NoCode { .. } => "compare the address and the chain with the deployment",
            Self::Reverts { .. } | Self::Malformed { .. } => {
                "compare the address with the deployment; if it is right, compare the endpoint with another one"
            }
            Self::OtherVersion { .. } => "correct the version in the configuration, or leave it out: it is found out",
            Self::ForeignLens { .. } => "name the lens of this provider, or none: tasks can be read without one",
            Self::Contradiction { .. } => "leave the lens out of the configuration, or correct it",
            Self::Validators { .. } | Self::TotalPower { .. } => "ask the operator of the Bridge",
        };
        Some(text.to_owned())
    }
}

/// Why a relay would not succeed. The text is the contract's own where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayRefusal {
    /// The provider refuses the result or the sender.
    #[error("{0}")]
    Provider(String),
    /// The Bridge, or the decoding of the result, refuses the proof.
    #[error("{0}")]
    Bridge(String),
    /// A text of the consumer.
    #[error("{0}")]
    Consumer(String),
    /// A custom error, which only the consumer can have raised.
    #[error("custom error 0x{}{}", hex::encode(.selector), arguments(.data))]
    Custom {
        /// First four bytes of the hash of its signature.
        selector: [u8; 4],
        /// Its arguments, encoded.
        data: Bytes,
    },
    /// A check of the compiler, in the consumer or, for a proof that is none, in the Bridge.
    #[error("panic {code:#04x} ({})", panic_name(*.code))]
    Panic {
        /// Which check, see [`panic_name`].
        code: U256,
    },
    /// No reason: out of gas, a malformed proof, or a consumer that gives none.
    #[error("no reason given")]
    Empty,
    /// Nobody could tell.
    #[error(transparent)]
    Unavailable(ChainError),
}

/// What the Bridge's texts begin with.
const BRIDGE_TEXTS: [&str; 13] = [
    reason::SIGNER_ORDER,
    reason::INSUFFICIENT_SIGNATURES,
    reason::DATA_PROOF,
    reason::NO_STATE,
    reason::RELAY_BLOCK_FAILED,
    reason::VERIFY_DATA_FAILED,
    reason::PREFIX_SIZE,
    reason::SUFFIX_SIZE,
    reason::TIMESTAMP_SIZE,
    reason::OBI_RANGE,
    reason::OBI_NOT_FINISHED,
    reason::OBI_BYTES32,
    reason::OBI_ADDRESS,
];

/// The provider's own texts.
const PROVIDER_TEXTS: [&str; 9] = [
    reason::TASK_NOT_FOUND,
    reason::TASK_RESOLVED,
    reason::ORACLE_SCRIPT,
    reason::MIN_COUNT,
    reason::ASK_COUNT,
    reason::NOT_RESOLVED,
    reason::SENDER,
    reason::SEED,
    reason::TIME,
];

impl RelayRefusal {
    /// From what a reverting call returned. A text that neither provider nor Bridge has is the consumer's.
    pub fn from_reason(reason: RevertReason) -> Self {
        match reason {
            RevertReason::Error(text) if PROVIDER_TEXTS.contains(&text.as_str()) => Self::Provider(text),
            RevertReason::Error(text) if BRIDGE_TEXTS.contains(&text.as_str()) => Self::Bridge(text),
            RevertReason::Error(text) => Self::Consumer(text),
            RevertReason::Panic(code) => Self::Panic { code },
            RevertReason::Custom { selector, data } => Self::Custom { selector, data },
            RevertReason::Empty => Self::Empty,
        }
    }

    /// Whether the contracts refuse; otherwise the chain could not be asked.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Unavailable(_))
    }

    /// Whether the refusal comes from the consumer, as far as it shows.
    pub fn is_of_consumer(&self) -> bool {
        matches!(self, Self::Consumer(_) | Self::Custom { .. })
    }
}

fn arguments(data: &Bytes) -> String {
    if data.is_empty() { String::new() } else { format!(" with {data}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_by_who_refuses() {
        let of = |text: &str| RelayRefusal::from_reason(RevertReason::Error(text.to_owned()));
        assert!(matches!(of("VRFProviderBase: Task already resolved"), RelayRefusal::Provider(_)));
        assert!(matches!(of("INSUFFICIENT_VALIDATOR_SIGNATURES"), RelayRefusal::Bridge(_)));
        assert!(matches!(of("Obi: Out of range"), RelayRefusal::Bridge(_)));
        for text in ["the game is over", "ReentrancyGuard: reentrant call", "task already resolved"] {
            assert!(of(text).is_of_consumer());
            assert_eq!(of(text).to_string(), text);
        }
        let panic = RelayRefusal::from_reason(RevertReason::Panic(U256::from(0x12)));
        assert_eq!(panic.to_string(), "panic 0x12 (division or modulo by zero)");
        let custom = RevertReason::Custom { selector: [1, 2, 3, 4], data: Bytes::from_static(&[5]) };
        assert_eq!(RelayRefusal::from_reason(custom).to_string(), "custom error 0x01020304 with 0x05");
        assert!(RelayRefusal::from_reason(RevertReason::Empty).is_refusal());
        let away = ChainError::NoEndpoint { chain: "test".into(), endpoints: Vec::new(), retry_after_ms: None };
        assert!(!RelayRefusal::Unavailable(away).is_refusal());
    }
}
