//! Mined blocks and the indexes over them.

use std::collections::HashMap;
use std::sync::Arc;

use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_consensus::{Eip658Value, Header, Receipt, ReceiptEnvelope, ReceiptWithBloom, Transaction, TxEnvelope};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::map::DefaultHashBuilder;
use alloy_primitives::{Address, B256, Bloom, Log};
use alloy_rlp::Encodable;
use alloy_rpc_types_eth::Filter;
use alloy_trie::EMPTY_ROOT_HASH;

use crate::state::Version;

type Map<K, V> = HashMap<K, V, DefaultHashBuilder>;

/// A transaction with its sender. For an impersonated sender the signature is empty and the hash is made up.
#[derive(Clone, Debug)]
pub(crate) struct SignedTx {
    pub(crate) envelope: TxEnvelope,
    pub(crate) hash: B256,
    pub(crate) from: Address,
}

/// What became of one transaction.
#[derive(Clone, Debug)]
pub(crate) struct MinedReceipt {
    pub(crate) envelope: ReceiptEnvelope<Log>,
    pub(crate) gas_used: u64,
    pub(crate) contract_address: Option<Address>,
    /// Index within the block of the first log.
    pub(crate) first_log: u64,
}

/// A block with everything that belongs to it.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) header: Header,
    pub(crate) hash: B256,
    /// Length of the RLP encoding.
    pub(crate) size: usize,
    pub(crate) transactions: Vec<Arc<SignedTx>>,
    pub(crate) receipts: Vec<MinedReceipt>,
}

impl Block {
    /// Computes roots, bloom and hash from the parts.
    pub(crate) fn seal(mut header: Header, transactions: Vec<Arc<SignedTx>>, receipts: Vec<MinedReceipt>) -> Self {
        header.ommers_hash = alloy_consensus::EMPTY_OMMER_ROOT_HASH;
        header.withdrawals_root = Some(EMPTY_ROOT_HASH);
        header.blob_gas_used = Some(0);
        header.excess_blob_gas = Some(0);
        header.parent_beacon_block_root = Some(B256::ZERO);
        header.requests_hash = Some(EMPTY_REQUESTS_HASH);
        if transactions.is_empty() {
            header.transactions_root = EMPTY_ROOT_HASH;
            header.receipts_root = EMPTY_ROOT_HASH;
        } else {
            let envelopes: Vec<&TxEnvelope> = transactions.iter().map(|tx| &tx.envelope).collect();
            let outcomes: Vec<&ReceiptEnvelope<Log>> = receipts.iter().map(|receipt| &receipt.envelope).collect();
            header.transactions_root = calculate_transaction_root(&envelopes);
            header.receipts_root = calculate_receipt_root(&outcomes);
            header.logs_bloom = receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | *receipt.envelope.logs_bloom());
        }
        let size = block_length(&header, &transactions);
        let hash = header.hash_slow();
        Self { header, hash, size, transactions, receipts }
    }

    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }

    pub(crate) fn base_fee(&self) -> u64 {
        self.header.base_fee_per_gas.unwrap_or_default()
    }

    fn has_logs(&self) -> bool {
        self.header.logs_bloom != Bloom::ZERO
    }

    /// Calls `found` for each log that passes `filter`, in order.
    pub(crate) fn matching_logs(&self, filter: &Filter, mut found: impl FnMut(FoundLog<'_>)) {
        if !self.has_logs() || !filter.matches_bloom(self.header.logs_bloom) {
            return;
        }
        for (index, receipt) in self.receipts.iter().enumerate() {
            for (log_offset, log) in receipt.envelope.logs().iter().enumerate() {
                if filter.matches_address(log.address) && filter.matches_topics(log.topics()) {
                    found(FoundLog {
                        block: self,
                        transaction_index: index,
                        log,
                        log_index: receipt.first_log + log_offset as u64,
                    });
                }
            }
        }
    }
}

/// A log and its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundLog<'a> {
    pub(crate) block: &'a Block,
    pub(crate) transaction_index: usize,
    pub(crate) log: &'a Log,
    pub(crate) log_index: u64,
}

fn block_length(header: &Header, transactions: &[Arc<SignedTx>]) -> usize {
    let list: usize = transactions.iter().map(|tx| tx.envelope.length()).sum();
    // The empty list of uncles is one byte. Like anvil, the (always empty) withdrawals are not counted.
    let payload = header.length() + list + alloy_rlp::length_of_length(list) + 1;
    payload + alloy_rlp::length_of_length(payload)
}

/// The receipt of a transaction of the type of `envelope`.
pub(crate) fn receipt_envelope(
    envelope: &TxEnvelope,
    success: bool,
    cumulative_gas_used: u64,
    logs: Vec<Log>,
) -> ReceiptEnvelope<Log> {
    let receipt: ReceiptWithBloom<Receipt<Log>> =
        Receipt { status: Eip658Value::Eip658(success), cumulative_gas_used, logs }.with_bloom();
    match envelope {
        TxEnvelope::Legacy(_) => ReceiptEnvelope::Legacy(receipt),
        TxEnvelope::Eip2930(_) => ReceiptEnvelope::Eip2930(receipt),
        TxEnvelope::Eip1559(_) => ReceiptEnvelope::Eip1559(receipt),
        TxEnvelope::Eip4844(_) => ReceiptEnvelope::Eip4844(receipt),
        TxEnvelope::Eip7702(_) => ReceiptEnvelope::Eip7702(receipt),
    }
}

/// The tip in wei per unit of gas that this transaction paid in a block with `base_fee`.
pub(crate) fn effective_tip(tx: &TxEnvelope, base_fee: u64) -> u128 {
    tx.effective_gas_price(Some(base_fee)).saturating_sub(u128::from(base_fee))
}

/// The canonical chain: blocks by number, and where to find a hash.
#[derive(Debug)]
pub(crate) struct Blocks {
    blocks: Vec<Arc<Block>>,
    /// Version of the state at the end of each block but the newest, parallel to `blocks`.
    versions: Vec<Version>,
    numbers: Map<B256, u64>,
    transactions: Map<B256, (u64, usize)>,
    /// Numbers of the blocks that have logs, ascending.
    with_logs: Vec<u64>,
    genesis: Arc<Block>,
}

impl Blocks {
    pub(crate) fn new(genesis: Block) -> Self {
        let genesis = Arc::new(genesis);
        let mut numbers = Map::default();
        numbers.insert(genesis.hash, 0);
        Self {
            blocks: vec![genesis.clone()],
            versions: Vec::new(),
            numbers,
            transactions: Map::default(),
            with_logs: Vec::new(),
            genesis,
        }
    }

    pub(crate) fn head(&self) -> &Arc<Block> {
        self.blocks.last().unwrap_or(&self.genesis)
    }

    pub(crate) fn height(&self) -> u64 {
        self.head().number()
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Arc<Block>> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    pub(crate) fn by_hash(&self, hash: B256) -> Option<&Arc<Block>> {
        self.get(*self.numbers.get(&hash)?)
    }

    pub(crate) fn hash_of(&self, number: u64) -> Option<B256> {
        self.get(number).map(|block| block.hash)
    }

    /// The block and the index within it of a mined transaction.
    pub(crate) fn transaction(&self, hash: B256) -> Option<(&Arc<Block>, usize)> {
        let (number, index) = *self.transactions.get(&hash)?;
        Some((self.get(number)?, index))
    }

    /// The version of the state after `number`; `newest` is the version after the newest block.
    pub(crate) fn version_after(&self, number: u64, newest: Version) -> Option<Version> {
        if number == self.height() {
            return Some(newest);
        }
        self.versions.get(usize::try_from(number).ok()?).copied()
    }

    /// Appends a block; `parent_version` is the version of the state before it.
    pub(crate) fn push(&mut self, block: Arc<Block>, parent_version: Version) {
        let number = block.number();
        self.versions.push(parent_version);
        self.numbers.insert(block.hash, number);
        for (index, tx) in block.transactions.iter().enumerate() {
            self.transactions.insert(tx.hash, (number, index));
        }
        if block.has_logs() {
            self.with_logs.push(number);
        }
        self.blocks.push(block);
    }

    /// Removes all blocks above `number`; returns them, newest first.
    pub(crate) fn truncate(&mut self, number: u64) -> Vec<Arc<Block>> {
        let mut removed = Vec::new();
        while self.height() > number {
            let (Some(block), Some(_)) = (self.blocks.pop(), self.versions.pop()) else { break };
            self.numbers.remove(&block.hash);
            for tx in &block.transactions {
                self.transactions.remove(&tx.hash);
            }
            removed.push(block);
        }
        let kept = self.with_logs.partition_point(|with_logs| *with_logs <= number);
        self.with_logs.truncate(kept);
        removed
    }

    /// Blocks of `from..=to` that have logs, ascending.
    pub(crate) fn with_logs(&self, from: u64, to: u64) -> impl Iterator<Item = &Arc<Block>> {
        let start = self.with_logs.partition_point(|number| *number < from);
        let end = self.with_logs.partition_point(|number| *number <= to);
        let numbers = self.with_logs.get(start..end.max(start)).unwrap_or_default();
        numbers.iter().filter_map(|number| self.get(*number))
    }
}
