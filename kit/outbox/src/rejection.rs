//! What a refused offer means for the sender, grouped by what to do next.
//!
//! The words of the nodes are read in `windlass-chain` ([`SendError`]); here they become few classes. What is not understood
//! is transient: offering the same bytes again is always safe.

use windlass_chain::{ChainError, SendError};

/// Meaning of a refused `eth_sendRawTransaction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// The nonce is used on the chain the node sees. Look at the chain; never a fault of the endpoint.
    NonceTooLow,
    /// A nonce below is missing at this node, or it keeps no future nonces. Offer the ones below first.
    NonceTooHigh,
    /// The pool holds another transaction of this nonce that these fees do not beat, or they are below its minimum.
    Underpriced,
    /// The account cannot pay it now.
    InsufficientFunds,
    /// No node will ever take these bytes: offering them again is useless.
    Permanent,
    /// Anything else: pool full, rate limit, time-out, unknown words. Offer again later.
    Transient,
}

impl Rejection {
    /// Reads a failed offer; `None` when the node has the transaction nevertheless.
    pub fn of(error: &ChainError) -> Option<Self> {
        match error.send_error() {
            Some(SendError::AlreadyKnown) => None,
            Some(SendError::NonceTooLow { .. }) => Some(Self::NonceTooLow),
            Some(SendError::NonceTooHigh { .. }) => Some(Self::NonceTooHigh),
            Some(
                SendError::ReplacementUnderpriced { .. } | SendError::Underpriced { .. } | SendError::FeeBelowBaseFee { .. },
            ) => Some(Self::Underpriced),
            Some(SendError::InsufficientFunds { .. }) => Some(Self::InsufficientFunds),
            Some(
                SendError::IntrinsicGas { .. }
                | SendError::GasLimitExceeded { .. }
                | SendError::Invalid { .. }
                | SendError::WouldRevert { .. },
            ) => Some(Self::Permanent),
            // The node's own fee limit is a setting of the node: another node, or the operator, may change it.
            _ => Some(Self::Transient),
        }
    }

    /// The name stored with an attempt.
    pub fn name(self) -> &'static str {
        match self {
            Self::NonceTooLow => "nonce_too_low",
            Self::NonceTooHigh => "nonce_too_high",
            Self::Underpriced => "underpriced",
            Self::InsufficientFunds => "insufficient_funds",
            Self::Permanent => "permanent",
            Self::Transient => "transient",
        }
    }

    /// Reverse of [`Rejection::name`]; unknown names are transient.
    pub fn from_name(name: &str) -> Self {
        [Self::NonceTooLow, Self::NonceTooHigh, Self::Underpriced, Self::InsufficientFunds, Self::Permanent]
            .into_iter()
            .find(|kind| kind.name() == name)
            .unwrap_or(Self::Transient)
    }
}

#[cfg(test)]
mod tests {
    use super::Rejection::{self, *};
    use super::*;

    fn rejected(error: SendError) -> ChainError {
        ChainError::Rejected { chain: "test".to_owned(), endpoint: "node".to_owned(), error }
    }

    #[test]
    fn refusals_are_grouped_by_what_to_do() {
        let message = String::new;
        for (error, meaning) in [
            (SendError::AlreadyKnown, None),
            (SendError::NonceTooLow { message: message() }, Some(NonceTooLow)),
            (SendError::NonceTooHigh { message: message() }, Some(NonceTooHigh)),
            (SendError::ReplacementUnderpriced { message: message() }, Some(Underpriced)),
            (SendError::FeeBelowBaseFee { message: message() }, Some(Underpriced)),
            (SendError::InsufficientFunds { message: message() }, Some(InsufficientFunds)),
            (SendError::GasLimitExceeded { message: message() }, Some(Permanent)),
            (SendError::TxPoolFull { message: message() }, Some(Transient)),
            (SendError::Other { code: -32603, message: "internal error".to_owned() }, Some(Transient)),
        ] {
            assert_eq!(Rejection::of(&rejected(error)), meaning);
        }
    }

    #[test]
    fn names_are_read_back() {
        for kind in [NonceTooLow, NonceTooHigh, Underpriced, InsufficientFunds, Permanent, Transient] {
            assert_eq!(Rejection::from_name(kind.name()), kind);
        }
        assert_eq!(Rejection::from_name("a name of a later version"), Transient);
    }
}
