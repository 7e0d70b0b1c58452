//! Blocks, receipts and their JSON form. The wire types are those of `alloy`, so that a client sees what a node sends.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Eip658Value, Header, Receipt, ReceiptEnvelope, ReceiptWithBloom};
use alloy_primitives::{Address, B256, Bloom, Bytes, Log, U256};
use serde_json::{Value, json};

use super::handler::Storage;
use super::transaction::SignedTransaction;

/// One account of the state.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Next nonce.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// Slots that handlers of this address wrote.
    pub storage: Storage,
    /// What `eth_getCode` answers.
    pub code: Bytes,
}

/// All accounts after a block.
pub type State = BTreeMap<Address, Account>;

/// A change of the state that no transaction made; it belongs to the block that carried it and is applied again after a
/// reorganisation.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    SetBalance(Address, U256),
    AddBalance(Address, U256),
}

/// What a transaction did in its block.
#[derive(Clone, Debug)]
pub struct SimReceipt {
    /// Whether it succeeded.
    pub success: bool,
    /// Gas used by it.
    pub gas_used: u64,
    /// Gas used in the block up to and with it.
    pub cumulative_gas_used: u64,
    /// Price per gas in wei that was paid.
    pub effective_gas_price: u128,
    /// Logs, empty if it failed.
    pub logs: Vec<Log>,
    /// Index in the block of its first log.
    pub first_log_index: u64,
    /// Address of the contract that it created.
    pub contract_address: Option<Address>,
}

/// A block with the state after it.
#[derive(Debug)]
pub struct SimBlock {
    /// Header; its hash is [`SimBlock::hash`]. State, transaction and receipt roots are not computed.
    pub header: Header,
    /// Hash of the header.
    pub hash: B256,
    /// Transactions in order.
    pub transactions: Vec<Arc<SignedTransaction>>,
    /// Receipts in the same order.
    pub receipts: Vec<SimReceipt>,
    /// Accounts after the block.
    pub state: Arc<State>,
    pub(crate) edits: Vec<Edit>,
}

impl SimBlock {
    /// Every log with its transaction index and log index.
    pub(crate) fn logs(&self) -> impl Iterator<Item = (u64, u64, &SignedTransaction, &Log)> {
        self.transactions.iter().zip(&self.receipts).zip(0u64..).flat_map(|((transaction, receipt), index)| {
            receipt
                .logs
                .iter()
                .zip(receipt.first_log_index..)
                .map(move |(log, log_index)| (index, log_index, &**transaction, log))
        })
    }

    pub(crate) fn block_json(&self, full: bool) -> Value {
        let mut value = serde_json::to_value(alloy_rpc_types_eth::Header {
            hash: self.hash,
            inner: self.header.clone(),
            total_difficulty: None,
            size: Some(U256::from(700 + 200 * self.transactions.len())),
        })
        .unwrap_or(Value::Null);
        let transactions: Vec<Value> = (0..self.transactions.len())
            .filter_map(|index| if full { self.transaction_json(index) } else { Some(json!(self.transactions.get(index)?.hash)) })
            .collect();
        if let Some(object) = value.as_object_mut() {
            object.insert("transactions".into(), Value::Array(transactions));
            object.insert("uncles".into(), json!([]));
        }
        value
    }

    pub(crate) fn transaction_json(&self, index: usize) -> Option<Value> {
        let transaction = self.transactions.get(index)?;
        let receipt = self.receipts.get(index)?;
        Some(transaction_json(transaction, Some((self, index as u64, receipt.effective_gas_price))))
    }

    pub(crate) fn log_json(&self, index: u64, log_index: u64, transaction: &SignedTransaction, log: &Log) -> Value {
        serde_json::to_value(self.rpc_log(index, log_index, transaction, log)).unwrap_or(Value::Null)
    }

    fn rpc_log(&self, index: u64, log_index: u64, transaction: &SignedTransaction, log: &Log) -> alloy_rpc_types_eth::Log {
        alloy_rpc_types_eth::Log {
            inner: log.clone(),
            block_hash: Some(self.hash),
            block_number: Some(self.header.number),
            block_timestamp: Some(self.header.timestamp),
            transaction_hash: Some(transaction.hash),
            transaction_index: Some(index),
            log_index: Some(log_index),
            removed: false,
        }
    }

    pub(crate) fn receipt_json(&self, index: usize) -> Option<Value> {
        let transaction = self.transactions.get(index)?;
        let receipt = self.receipts.get(index)?;
        let logs: Vec<alloy_rpc_types_eth::Log> = receipt
            .logs
            .iter()
            .zip(receipt.first_log_index..)
            .map(|(log, log_index)| self.rpc_log(index as u64, log_index, transaction, log))
            .collect();
        let body = ReceiptWithBloom {
            logs_bloom: bloom(&receipt.logs),
            receipt: Receipt {
                status: Eip658Value::Eip658(receipt.success),
                cumulative_gas_used: receipt.cumulative_gas_used,
                logs,
            },
        };
        let inner = match transaction.kind {
            0 => ReceiptEnvelope::Legacy(body),
            1 => ReceiptEnvelope::Eip2930(body),
            4 => ReceiptEnvelope::Eip7702(body),
            _ => ReceiptEnvelope::Eip1559(body),
        };
        serde_json::to_value(alloy_rpc_types_eth::TransactionReceipt {
            inner,
            transaction_hash: transaction.hash,
            transaction_index: Some(index as u64),
            block_hash: Some(self.hash),
            block_number: Some(self.header.number),
            gas_used: receipt.gas_used,
            effective_gas_price: receipt.effective_gas_price,
            blob_gas_used: None,
            blob_gas_price: None,
            from: transaction.sender,
            to: transaction.to,
            contract_address: receipt.contract_address,
        })
        .ok()
    }
}

/// JSON of a transaction, in a block (with index and price paid) or waiting.
pub(crate) fn transaction_json(transaction: &SignedTransaction, place: Option<(&SimBlock, u64, u128)>) -> Value {
    serde_json::to_value(alloy_rpc_types_eth::Transaction {
        inner: Recovered::new_unchecked(transaction.envelope.clone(), transaction.sender),
        block_hash: place.map(|(block, ..)| block.hash),
        block_number: place.map(|(block, ..)| block.header.number),
        transaction_index: place.map(|(_, index, _)| index),
        effective_gas_price: place.map(|(.., price)| price),
        block_timestamp: place.map(|(block, ..)| block.header.timestamp),
    })
    .unwrap_or(Value::Null)
}

pub(crate) fn bloom<'a>(logs: impl IntoIterator<Item = &'a Log>) -> Bloom {
    let mut bloom = Bloom::ZERO;
    for log in logs {
        bloom.accrue_log(log);
    }
    bloom
}
