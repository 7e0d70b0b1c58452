//! Blocks and the ways to name one.

use alloy_primitives::{Address, B256, Bloom};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::quantity;
use super::transaction::Transaction;

/// What identifies and dates one block. Small and `Copy`, so that it can be kept by the thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockRef {
    /// Height.
    #[serde(deserialize_with = "quantity::required")]
    pub number: u64,
    /// Hash of the header.
    pub hash: B256,
    /// Hash of the block before it.
    pub parent_hash: B256,
    /// Unix seconds.
    #[serde(deserialize_with = "quantity::required")]
    pub timestamp: u64,
    /// Wei per gas; absent on chains without EIP-1559.
    #[serde(default, deserialize_with = "quantity::optional")]
    pub base_fee_per_gas: Option<u64>,
    /// Gas that fits into the block; zero where a node does not tell.
    #[serde(default, deserialize_with = "quantity::required")]
    pub gas_limit: u64,
    /// Gas used by the block.
    #[serde(default, deserialize_with = "quantity::required")]
    pub gas_used: u64,
}

/// A block header as far as the stream needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Identity, time and fees.
    pub block: BlockRef,
    /// Bloom filter over the addresses and topics of all logs; absent where a node leaves it out.
    pub logs_bloom: Option<Bloom>,
    /// Account that received the fees.
    pub beneficiary: Address,
    /// Number of transactions.
    pub transaction_count: usize,
}

/// The transactions of a block, in the form that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transactions {
    /// Only their hashes.
    Hashes(Vec<B256>),
    /// Whole.
    Full(Vec<Transaction>),
}

impl Transactions {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Hashes(hashes) => hashes.len(),
            Self::Full(transactions) => transactions.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A header with its transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// The transactions.
    pub transactions: Transactions,
}

/// The wire shape of a block, both with hashes and with whole transactions.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireBlock<T> {
    #[serde(deserialize_with = "quantity::required")]
    number: u64,
    hash: B256,
    parent_hash: B256,
    #[serde(deserialize_with = "quantity::required")]
    timestamp: u64,
    #[serde(default, deserialize_with = "quantity::optional")]
    base_fee_per_gas: Option<u64>,
    #[serde(default, deserialize_with = "quantity::optional")]
    gas_limit: Option<u64>,
    #[serde(default, deserialize_with = "quantity::optional")]
    gas_used: Option<u64>,
    #[serde(default)]
    logs_bloom: Option<Bloom>,
    #[serde(default)]
    miner: Option<Address>,
    transactions: Option<Vec<T>>,
}

impl<T> WireBlock<T> {
    fn split(self) -> (Header, Vec<T>) {
        let transactions = self.transactions.unwrap_or_default();
        let header = Header {
            block: BlockRef {
                number: self.number,
                hash: self.hash,
                parent_hash: self.parent_hash,
                timestamp: self.timestamp,
                base_fee_per_gas: self.base_fee_per_gas,
                gas_limit: self.gas_limit.unwrap_or_default(),
                gas_used: self.gas_used.unwrap_or_default(),
            },
            logs_bloom: self.logs_bloom,
            beneficiary: self.miner.unwrap_or_default(),
            transaction_count: transactions.len(),
        };
        (header, transactions)
    }
}

impl<'de> Deserialize<'de> for Header {
    /// Reads an `eth_getBlockBy*` answer (with or without whole transactions) or a `newHeads` notification.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        WireBlock::<serde::de::IgnoredAny>::deserialize(deserializer).map(|wire| wire.split().0)
    }
}

impl Block {
    /// Reads a block whose transactions were asked for as hashes.
    pub(crate) fn from_hashes_json(text: &str) -> Result<Option<Self>, serde_json::Error> {
        let wire: Option<WireBlock<B256>> = serde_json::from_str(text)?;
        Ok(wire.map(|wire| {
            let (header, hashes) = wire.split();
            Self { header, transactions: Transactions::Hashes(hashes) }
        }))
    }

    /// Reads a block whose transactions were asked for whole.
    pub(crate) fn from_full_json(text: &str) -> Result<Option<Self>, serde_json::Error> {
        let wire: Option<WireBlock<Transaction>> = serde_json::from_str(text)?;
        Ok(wire.map(|wire| {
            let (header, transactions) = wire.split();
            Self { header, transactions: Transactions::Full(transactions) }
        }))
    }
}

/// Names for moving blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockTag {
    /// The newest block.
    Latest,
    /// State on top of the newest block with the pool's transactions applied.
    Pending,
    /// A block that is unlikely to be reorganised away.
    Safe,
    /// A block that consensus will not take back.
    Finalized,
    /// The first block.
    Earliest,
}

impl BlockTag {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::Pending => "pending",
            Self::Safe => "safe",
            Self::Finalized => "finalized",
            Self::Earliest => "earliest",
        }
    }
}

/// One block, by height, hash or tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockId {
    /// By height.
    Number(u64),
    /// By hash: the only name that means the same block at every endpoint.
    Hash(B256),
    /// By tag.
    Tag(BlockTag),
}

impl BlockId {
    /// The newest block.
    pub const LATEST: Self = Self::Tag(BlockTag::Latest);
    /// The pending block.
    pub const PENDING: Self = Self::Tag(BlockTag::Pending);

    /// The parameter of state-reading methods; a hash in the EIP-1898 form `{"blockHash": ...}`.
    pub fn to_param(self) -> Value {
        match self {
            Self::Number(number) => Value::String(quantity::hex(number)),
            Self::Hash(hash) => json!({ "blockHash": hash }),
            Self::Tag(tag) => Value::String(tag.as_str().to_owned()),
        }
    }
}

impl From<u64> for BlockId {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<B256> for BlockId {
    fn from(hash: B256) -> Self {
        Self::Hash(hash)
    }
}

impl From<BlockTag> for BlockId {
    fn from(tag: BlockTag) -> Self {
        Self::Tag(tag)
    }
}

impl From<&BlockRef> for BlockId {
    fn from(block: &BlockRef) -> Self {
        Self::Hash(block.hash)
    }
}

impl From<BlockRef> for BlockId {
    fn from(block: BlockRef) -> Self {
        Self::Hash(block.hash)
    }
}
