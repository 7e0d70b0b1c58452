//! Why a node refused a signed transaction, read from the texts of the node programs.

use std::fmt;

/// Refusal of a signed transaction. The node has it not (except [`SendError::AlreadyKnown`]).
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The node has this very transaction already: as good as accepted.
    #[error("the node has this transaction already")]
    AlreadyKnown,
    /// The account has used this nonce in a block.
    #[error("nonce too low: {message}")]
    NonceTooLow {
        /// The node's words.
        message: String,
    },
    /// The nonce is further ahead of the account than the node keeps transactions for.
    #[error("nonce too high: {message}")]
    NonceTooHigh {
        /// The node's words.
        message: String,
    },
    /// Another transaction with this nonce waits in the pool and this one does not pay enough more.
    #[error("replacement transaction underpriced: {message}")]
    ReplacementUnderpriced {
        /// The node's words.
        message: String,
    },
    /// The fee is below what the node or the pool takes.
    #[error("transaction underpriced: {message}")]
    Underpriced {
        /// The node's words.
        message: String,
    },
    /// The maximum fee per gas is below the base fee of the block.
    #[error("fee below the base fee: {message}")]
    FeeBelowBaseFee {
        /// The node's words.
        message: String,
    },
    /// The account cannot pay value plus gas.
    #[error("insufficient funds: {message}")]
    InsufficientFunds {
        /// The node's words.
        message: String,
    },
    /// The gas limit is below what the transaction costs before its first instruction.
    #[error("gas limit too low: {message}")]
    IntrinsicGas {
        /// The node's words.
        message: String,
    },
    /// The gas limit is above that of a block, or above the chain's limit for a transaction.
    #[error("gas limit too high: {message}")]
    GasLimitExceeded {
        /// The node's words.
        message: String,
    },
    /// The pool has no room, as a whole or for this account.
    #[error("transaction pool full: {message}")]
    TxPoolFull {
        /// The node's words.
        message: String,
    },
    /// The node's own limit for the total fee of a transaction (geth: `--rpc.txfeecap`).
    #[error("fee above the node's limit: {message}")]
    FeeCapExceeded {
        /// The node's words.
        message: String,
    },
    /// Signature, chain id, type or encoding are not acceptable: the same bytes will never be.
    #[error("invalid transaction: {message}")]
    Invalid {
        /// The node's words.
        message: String,
    },
    /// The node executed the transaction before taking it, and it reverted.
    #[error("execution would revert: {message}")]
    WouldRevert {
        /// The node's words.
        message: String,
    },
    /// Any other refusal.
    #[error("refused with code {code}: {message}")]
    Other {
        /// JSON-RPC error code.
        code: i64,
        /// The node's words.
        message: String,
    },
}

type Make = fn(String) -> SendError;

/// Text parts (lower case), the first that occurs decides. Order matters: special texts come before the general ones they contain.
const TEXTS: &[(&[&str], Make)] = &[
    (
        &[
            "already known",
            "already imported",
            "alreadyknown",
            "known transaction",
            "already in the mempool",
            "already in mempool",
            "already exists in pool",
            "transaction already exists",
            "tx already in pool",
            "existing tx with same hash",
            "existing txn with same hash",
            "duplicate transaction",
        ],
        |_| SendError::AlreadyKnown,
    ),
    (
        &[
            "replacement transaction underpriced",
            "replacement transaction under-priced",
            "insufficient fee to replace",
            "could not replace existing tx",
            "could not replace existing txn",
            "replacementnotallowed",
            "replacement not allowed",
            "underpricedreplacement",
            "gas price too low to replace",
            "gas price bump",
            "there is another transaction with same nonce in the queue",
            "another transaction with the same nonce",
            "transaction with the same nonce",
            "replace existing",
        ],
        |message| SendError::ReplacementUnderpriced { message },
    ),
    (
        &[
            "nonce too low",
            "oldnonce",
            "old nonce",
            "nonce is too low",
            "nonce_too_low",
            "transaction nonce is too low",
            "invalid nonce; got",
            "nonce has already been used",
            "nonce below",
            "below sender account nonce",
        ],
        |message| SendError::NonceTooLow { message },
    ),
    (
        &[
            "nonce too high",
            "nonce is too high",
            "nonce_too_distant",
            "noncegap",
            "nonce gap",
            "nonce too far",
            "nonce_too_far_in_future",
            "transaction_nonce_too_distant",
            "exceeds max nonce gap",
            "nonce too distant",
            "nonce_too_high",
        ],
        |message| SendError::NonceTooHigh { message },
    ),
    (
        &[
            "insufficient funds",
            "insufficientfunds",
            "insufficient balance",
            "insufficient_balance",
            "upfront cost exceeds account balance",
            "upfront_cost_exceeds_balance",
            "sender doesn't have enough funds",
            "not enough funds",
            "does not have enough funds",
            "balance too low",
            "overshot",
            "lack of funds",
        ],
        |message| SendError::InsufficientFunds { message },
    ),
    (
        &[
            "max fee per gas less than block base fee",
            "fee cap less than block base fee",
            "maxfeepergas less than block base fee",
            "feecap less than base fee",
            "feecaptoolow",
            "fee cap too low",
            "less than block base fee",
            "less than current base fee",
            "below the base fee",
            "gas price below configured minimum base fee",
            "gas_price_below_current_base_fee",
            "maxfeepergas is too low",
            "max fee per gas too low",
        ],
        |message| SendError::FeeBelowBaseFee { message },
    ),
    (
        &[
            "exceeds the configured cap",
            "tx fee cap",
            "feecapexceeded",
            "fee cap exceeded",
            "exceeds the configured fee cap",
            "tx_feecap_exceeded",
            "fee exceeds",
        ],
        |message| SendError::FeeCapExceeded { message },
    ),
    (
        &[
            "txpool is full",
            "transaction pool is full",
            "pool is full",
            "txpool full",
            "discarded because the pool",
            "account limit exceeded",
            "too many pending transactions",
            "in-flight transaction limit reached",
            "txpooloverflow",
            "pool overflow",
            "txpool overflow",
            "exceeds the maximum number of pending",
            "transaction would exceed",
            "spammer",
            "pool limit",
            "address already reserved",
            "future transaction tries to replace pending",
        ],
        |message| SendError::TxPoolFull { message },
    ),
    (
        &[
            "underpriced",
            "feetoolow",
            "fee too low",
            "gas price too low",
            "gas tip cap",
            "gas_price_too_low",
            "below minimum gas price",
            "tip too low",
            "priority fee too low",
            "effective gas price too low",
            "gas price is below",
            "below configured minimum",
        ],
        |message| SendError::Underpriced { message },
    ),
    (
        &[
            "intrinsic gas",
            "intrinsicgas",
            "gas limit too low",
            "gaslimittoolow",
            "gas too low",
            "floor data gas",
            "insufficient gas for floor",
            "gas floor",
        ],
        |message| SendError::IntrinsicGas { message },
    ),
    (
        &[
            "exceeds block gas limit",
            "exceeds_block_gas_limit",
            "gaslimitexceeded",
            "gas limit exceeded",
            "gas limit too high",
            "transaction gas limit",
            "exceeds maximum gas limit",
            "max transaction gas",
            "exceeds the gas limit",
            "gas limit is too high",
            "gas limit exceeds",
            "exceeds transaction gas",
        ],
        |message| SendError::GasLimitExceeded { message },
    ),
    (&["revert"], |message| SendError::WouldRevert { message }),
    (
        &[
            "invalid sender",
            "invalid signature",
            "invalidsignature",
            "invalid transaction v, r, s",
            "chain id",
            "chainid",
            "chain_id",
            "only replay-protected",
            "replay protected",
            "replayprotected",
            "transaction type not supported",
            "tx type not supported",
            "unsupported transaction type",
            "invalid tx type",
            "invalidtxtype",
            "nottypesupported",
            "max priority fee per gas higher than max fee per gas",
            "rlp",
            "decode",
            "failed to recover",
            "oversized data",
            "initcode size",
            "max initcode",
            "sender not an eoa",
            "senderiscontract",
            "malformed",
            "tip above fee cap",
        ],
        |message| SendError::Invalid { message },
    ),
];

impl SendError {
    /// Reads a node's refusal.
    pub fn classify(code: i64, message: &str) -> Self {
        let lower = message.to_ascii_lowercase();
        TEXTS
            .iter()
            .find(|(needles, _)| needles.iter().any(|needle| lower.contains(needle)))
            .map_or_else(|| Self::Other { code, message: message.to_owned() }, |(_, make)| make(message.to_owned()))
    }

    /// Whether the very same bytes may be taken later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::AlreadyKnown
            | Self::NonceTooHigh { .. }
            | Self::InsufficientFunds { .. }
            | Self::TxPoolFull { .. }
            | Self::FeeBelowBaseFee { .. } => true,
            Self::NonceTooLow { .. }
            | Self::ReplacementUnderpriced { .. }
            | Self::Underpriced { .. }
            | Self::IntrinsicGas { .. }
            | Self::GasLimitExceeded { .. }
            | Self::FeeCapExceeded { .. }
            | Self::Invalid { .. }
            | Self::WouldRevert { .. }
            | Self::Other { .. } => false,
        }
    }

    /// What an operator can do, where there is something.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::InsufficientFunds { .. } => "send native currency to the account",
            Self::FeeCapExceeded { .. } => "lower the fee, or raise the node's limit (geth: --rpc.txfeecap)",
            Self::NonceTooLow { .. } => "if this repeats, another program signs with the same key",
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// One word for metrics.
    pub fn kind(&self) -> SendErrorKind {
        SendErrorKind(match self {
            Self::AlreadyKnown => "already_known",
            Self::NonceTooLow { .. } => "nonce_too_low",
            Self::NonceTooHigh { .. } => "nonce_too_high",
            Self::ReplacementUnderpriced { .. } => "replacement_underpriced",
            Self::Underpriced { .. } => "underpriced",
            Self::FeeBelowBaseFee { .. } => "fee_below_base_fee",
            Self::InsufficientFunds { .. } => "insufficient_funds",
            Self::IntrinsicGas { .. } => "intrinsic_gas",
            Self::GasLimitExceeded { .. } => "gas_limit_exceeded",
            Self::TxPoolFull { .. } => "txpool_full",
            Self::FeeCapExceeded { .. } => "fee_cap_exceeded",
            Self::Invalid { .. } => "invalid",
            Self::WouldRevert { .. } => "would_revert",
            Self::Other { .. } => "other",
        })
    }
}

/// The name of a [`SendError`] variant, for metrics and tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SendErrorKind(&'static str);

impl SendErrorKind {
    /// The word, in snake case.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for SendErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// (node program, text it sends, meaning)
    const TABLE: &[(&str, &str, &str)] = &[
        ("geth", "already known", "already_known"),
        ("geth", "nonce too low: next nonce 5, tx nonce 4", "nonce_too_low"),
        ("geth", "nonce too high", "nonce_too_high"),
        ("geth", "replacement transaction underpriced", "replacement_underpriced"),
        (
            "geth",
            "replacement transaction underpriced: new tx gas fee cap 10 <= 9 queued + 10% replacement penalty",
            "replacement_underpriced",
        ),
        ("geth", "transaction underpriced: gas tip cap 0, minimum needed 1", "underpriced"),
        ("geth", "insufficient funds for gas * price + value: balance 0, tx cost 21000, overshot 21000", "insufficient_funds"),
        ("geth", "intrinsic gas too low: gas 20000, minimum needed 21000", "intrinsic_gas"),
        ("geth", "exceeds block gas limit", "gas_limit_exceeded"),
        ("geth", "transaction gas limit too high (cap: 16777216, tx: 30000000)", "gas_limit_exceeded"),
        ("geth", "txpool is full", "txpool_full"),
        ("geth", "in-flight transaction limit reached for delegated accounts", "txpool_full"),
        ("geth", "address already reserved", "txpool_full"),
        ("geth", "tx fee (2.10 ether) exceeds the configured cap (1.00 ether)", "fee_cap_exceeded"),
        ("geth", "max fee per gas less than block base fee: address 0x00, maxFeePerGas: 1, baseFee: 7", "fee_below_base_fee"),
        ("geth", "invalid sender", "invalid"),
        ("geth", "invalid chain id for signer: have 1 want 5", "invalid"),
        ("geth", "only replay-protected (EIP-155) transactions allowed over RPC", "invalid"),
        ("geth", "transaction type not supported", "invalid"),
        ("geth", "max priority fee per gas higher than max fee per gas", "invalid"),
        ("geth", "future transaction tries to replace pending", "txpool_full"),
        ("erigon", "existing tx with same hash", "already_known"),
        ("erigon", "could not replace existing tx", "replacement_underpriced"),
        ("erigon", "nonce too low", "nonce_too_low"),
        ("erigon", "fee too low", "underpriced"),
        ("erigon", "insufficient funds", "insufficient_funds"),
        ("erigon", "rlp too long", "invalid"),
        ("nethermind", "AlreadyKnown", "already_known"),
        ("nethermind", "OldNonce, Current nonce: 5, nonce of rejected tx: 4", "nonce_too_low"),
        ("nethermind", "NonceGap, Future nonce. Expected nonce: 5", "nonce_too_high"),
        ("nethermind", "ReplacementNotAllowed, existing transaction pays more", "replacement_underpriced"),
        ("nethermind", "FeeTooLow, MaxFeePerGas too low. MaxFeePerGas: 1, BaseFee: 7", "underpriced"),
        ("nethermind", "FeeTooLowToCompete", "underpriced"),
        ("nethermind", "InsufficientFunds, Account balance: 0, cumulative cost: 21000", "insufficient_funds"),
        ("nethermind", "GasLimitExceeded, Gas limit: 1, gas limit of rejected tx: 2", "gas_limit_exceeded"),
        ("nethermind", "SenderIsContract", "invalid"),
        ("reth", "already known", "already_known"),
        ("reth", "replacement transaction underpriced", "replacement_underpriced"),
        ("reth", "nonce too low: next nonce 5, tx nonce 4", "nonce_too_low"),
        ("reth", "transaction underpriced", "underpriced"),
        ("reth", "insufficient funds for gas * price + value: have 0 want 21000", "insufficient_funds"),
        ("reth", "intrinsic gas too low", "intrinsic_gas"),
        ("reth", "txpool is full", "txpool_full"),
        ("reth", "account limit exceeded: 16", "txpool_full"),
        ("besu", "Known transaction", "already_known"),
        ("besu", "Nonce too low", "nonce_too_low"),
        (
            "besu",
            "Transaction nonce is too distant from current sender nonce: NONCE_TOO_FAR_IN_FUTURE_FOR_SENDER nonce too distant",
            "nonce_too_high",
        ),
        ("besu", "Upfront cost exceeds account balance", "insufficient_funds"),
        ("besu", "Replacement transaction underpriced", "replacement_underpriced"),
        ("besu", "Gas price below configured minimum gas price", "underpriced"),
        ("besu", "gasPrice is less than the current BaseFee: less than current base fee", "fee_below_base_fee"),
        ("besu", "Intrinsic gas exceeds gas limit", "intrinsic_gas"),
        ("besu", "Transaction gas limit exceeds block gas limit", "gas_limit_exceeded"),
        ("anvil", "transaction already imported", "already_known"),
        ("anvil", "nonce too low", "nonce_too_low"),
        ("anvil", "replacement transaction underpriced", "replacement_underpriced"),
        ("anvil", "Insufficient funds for gas * price + value", "insufficient_funds"),
        ("anvil", "intrinsic gas too low", "intrinsic_gas"),
        ("anvil", "max fee per gas less than block base fee", "fee_below_base_fee"),
        ("hardhat", "Nonce too low. Expected nonce to be 3 but got 2.", "nonce_too_low"),
        ("hardhat", "Sender doesn't have enough funds to send tx.", "insufficient_funds"),
        ("openethereum", "Transaction with the same hash was already imported.", "already_known"),
        (
            "openethereum",
            "Transaction gas price 1wei is too low. There is another transaction with same nonce in the queue",
            "replacement_underpriced",
        ),
        ("arbitrum", "execution reverted: paid already", "would_revert"),
        ("any", "the moon is in the wrong phase", "other"),
    ];

    #[test]
    fn refusals_of_all_nodes_are_understood() {
        for (node, text, kind) in TABLE {
            let error = SendError::classify(-32000, text);
            assert_eq!(error.kind().as_str(), *kind, "{node}: {text}");
        }
    }

    #[test]
    fn an_unknown_refusal_keeps_code_and_words() {
        assert_eq!(SendError::classify(-32123, "No."), SendError::Other { code: -32123, message: "No.".into() });
    }
}
