//! What a transaction must fulfil to enter the pool. Order and texts of the errors are those of `anvil`; the exact intrinsic gas
//! is checked here as `geth` does, where `anvil` accepts the transaction and drops it later.

use alloy_consensus::Transaction;
use alloy_primitives::U256;
use revm::context_interface::cfg::gas_params::GasParams;
use revm::primitives::eip3860::MAX_INITCODE_SIZE;

use crate::block::SignedTx;
use crate::chain::Chain;
use crate::error::JsonRpcError;
use crate::evm;

/// Blob transactions need KZG proofs, which this chain does not verify.
pub(crate) fn blobs_refused() -> JsonRpcError {
    JsonRpcError::invalid_params(
        "EIP-4844 blob transactions are not supported by this development chain: it does not verify KZG proofs",
    )
}

/// Checks `tx` against the newest state and the next block.
pub(crate) fn transaction(chain: &Chain, tx: &SignedTx) -> Result<(), JsonRpcError> {
    let envelope = &tx.envelope;
    if envelope.chain_id().is_some_and(|id| id != chain.chain_id) {
        return Err(JsonRpcError::rejected("invalid chain id for signer"));
    }
    let account = chain.state.account(tx.from, chain.state.version()).unwrap_or_default();
    if envelope.nonce() < account.nonce {
        return Err(JsonRpcError::rejected("nonce too low"));
    }
    if envelope.nonce() == u64::MAX {
        return Err(JsonRpcError::rejected("nonce has max value"));
    }
    if envelope.is_create() && envelope.input().len() > MAX_INITCODE_SIZE {
        return Err(JsonRpcError::rejected("max initcode size exceeded"));
    }
    if envelope.is_eip7702() && envelope.authorization_list().is_none_or(<[_]>::is_empty) {
        return Err(JsonRpcError::rejected("empty authorization list"));
    }
    gas(chain, tx)?;
    let max_fee = envelope.max_fee_per_gas();
    if max_fee < u128::from(chain.base_fee) {
        return Err(JsonRpcError::rejected("max fee per gas less than block base fee"));
    }
    if envelope.max_priority_fee_per_gas().is_some_and(|tip| tip > max_fee) {
        return Err(JsonRpcError::rejected("max priority fee per gas higher than max fee per gas"));
    }
    let cost = U256::from(envelope.gas_limit()).saturating_mul(U256::from(max_fee)).saturating_add(envelope.value());
    if account.balance < cost {
        return Err(JsonRpcError::insufficient_funds());
    }
    Ok(())
}

fn gas(chain: &Chain, tx: &SignedTx) -> Result<(), JsonRpcError> {
    let limit = tx.envelope.gas_limit();
    let needed = GasParams::new_spec(evm::SPEC).initial_tx_gas_for_tx(evm::transaction(tx), None);
    if limit < needed.initial_regular_gas.max(needed.floor_gas) {
        return Err(JsonRpcError::server("intrinsic gas too low"));
    }
    if limit > chain.gas_limit {
        return Err(JsonRpcError::server("intrinsic gas too high -- tx.gas_limit > env.block.gas_limit"));
    }
    Ok(())
}
