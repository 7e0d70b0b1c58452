//! The JSON shapes of blocks, transactions, receipts and logs, as `anvil` gives them.

use std::sync::Arc;

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Receipt, ReceiptEnvelope, ReceiptWithBloom, Sealed, Transaction as _, TxEnvelope};
use alloy_eips::eip4895::Withdrawals;
use alloy_primitives::{Log, U256};
use alloy_rpc_types_eth::{BlockTransactions, Header, Log as RpcLog, Transaction, TransactionReceipt};
use serde::Serialize;

use crate::block::{Block, FoundLog, SignedTx};

pub(crate) type RpcBlock = alloy_rpc_types_eth::Block<Transaction<TxEnvelope>, Header>;

/// A receipt with the time of its block, which `anvil` adds as a plain number.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RpcReceipt {
    #[serde(flatten)]
    receipt: TransactionReceipt<ReceiptEnvelope<RpcLog>>,
    block_timestamp: u64,
}

/// The header as subscribers to `newHeads` get it.
pub(crate) fn header(block: &Block) -> Header {
    Header {
        total_difficulty: Some(U256::ZERO),
        size: Some(U256::from(block.size)),
        ..Header::from_sealed(Sealed::new_unchecked(block.header.clone(), block.hash))
    }
}

pub(crate) fn block(block: &Block, full: bool) -> RpcBlock {
    let transactions = if full {
        let list = block.transactions.iter().enumerate();
        BlockTransactions::Full(list.map(|(index, tx)| mined(block, index, tx)).collect())
    } else {
        BlockTransactions::Hashes(block.transactions.iter().map(|tx| tx.hash).collect())
    };
    RpcBlock { header: header(block), uncles: Vec::new(), transactions, withdrawals: Some(Withdrawals::default()) }
}

/// A transaction in a block.
pub(crate) fn mined(block: &Block, index: usize, tx: &SignedTx) -> Transaction<TxEnvelope> {
    Transaction {
        inner: Recovered::new_unchecked(tx.envelope.clone(), tx.from),
        block_hash: Some(block.hash),
        block_number: Some(block.number()),
        transaction_index: Some(index as u64),
        effective_gas_price: Some(tx.envelope.effective_gas_price(block.header.base_fee_per_gas)),
        block_timestamp: Some(block.header.timestamp),
    }
}

/// A transaction in the pool.
///
/// `base_fee` is that of the next block; without it the price is the fee cap.
pub(crate) fn waiting(tx: &SignedTx, base_fee: Option<u64>) -> Transaction<TxEnvelope> {
    Transaction {
        inner: Recovered::new_unchecked(tx.envelope.clone(), tx.from),
        block_hash: None,
        block_number: None,
        transaction_index: None,
        effective_gas_price: Some(tx.envelope.effective_gas_price(base_fee)),
        block_timestamp: None,
    }
}

pub(crate) fn receipt(block: &Arc<Block>, index: usize) -> Option<RpcReceipt> {
    let (tx, mined) = (block.transactions.get(index)?, block.receipts.get(index)?);
    let logs = mined.envelope.logs().iter().enumerate().map(|(offset, item)| {
        log(FoundLog { block, transaction_index: index, log: item, log_index: mined.first_log + offset as u64 }, false)
    });
    Some(RpcReceipt {
        receipt: TransactionReceipt {
            inner: with_logs(&mined.envelope, logs.collect()),
            transaction_hash: tx.hash,
            transaction_index: Some(index as u64),
            block_hash: Some(block.hash),
            block_number: Some(block.number()),
            gas_used: mined.gas_used,
            effective_gas_price: tx.envelope.effective_gas_price(block.header.base_fee_per_gas),
            blob_gas_used: None,
            blob_gas_price: Some(1),
            from: tx.from,
            to: tx.envelope.to(),
            contract_address: mined.contract_address,
        },
        block_timestamp: block.header.timestamp,
    })
}

fn with_logs(envelope: &ReceiptEnvelope<Log>, logs: Vec<RpcLog>) -> ReceiptEnvelope<RpcLog> {
    let inner = ReceiptWithBloom {
        receipt: Receipt { status: envelope.status().into(), cumulative_gas_used: envelope.cumulative_gas_used(), logs },
        logs_bloom: *envelope.logs_bloom(),
    };
    match envelope {
        ReceiptEnvelope::Legacy(_) => ReceiptEnvelope::Legacy(inner),
        ReceiptEnvelope::Eip2930(_) => ReceiptEnvelope::Eip2930(inner),
        ReceiptEnvelope::Eip1559(_) => ReceiptEnvelope::Eip1559(inner),
        ReceiptEnvelope::Eip4844(_) => ReceiptEnvelope::Eip4844(inner),
        ReceiptEnvelope::Eip7702(_) => ReceiptEnvelope::Eip7702(inner),
    }
}

pub(crate) fn log(found: FoundLog<'_>, removed: bool) -> RpcLog {
    RpcLog {
        inner: found.log.clone(),
        block_hash: Some(found.block.hash),
        block_number: Some(found.block.number()),
        block_timestamp: Some(found.block.header.timestamp),
        transaction_hash: found.block.transactions.get(found.transaction_index).map(|tx| tx.hash),
        transaction_index: Some(found.transaction_index as u64),
        log_index: Some(found.log_index),
        removed,
    }
}
