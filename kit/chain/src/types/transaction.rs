//! Transactions and receipts.

use alloy_primitives::{Address, B256, Bytes, U256};
use serde::Deserialize;

use super::log::Log;
use super::quantity;

/// A transaction as a node shows it. Fields that a transaction type does not have are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transaction {
    /// Hash of the signed transaction.
    pub hash: B256,
    /// Sender's nonce.
    #[serde(deserialize_with = "quantity::required")]
    pub nonce: u64,
    /// Block that included it; `None` while pending.
    #[serde(default)]
    pub block_hash: Option<B256>,
    /// Height of that block.
    #[serde(default, deserialize_with = "quantity::optional")]
    pub block_number: Option<u64>,
    /// Position in that block.
    #[serde(default, deserialize_with = "quantity::optional")]
    pub transaction_index: Option<u64>,
    /// Sender.
    pub from: Address,
    /// Receiver; `None` creates a contract.
    #[serde(default)]
    pub to: Option<Address>,
    /// Wei.
    pub value: U256,
    /// Gas limit.
    #[serde(deserialize_with = "quantity::required")]
    pub gas: u64,
    /// Wei per gas: offered (legacy) or paid (EIP-1559, once included).
    #[serde(default, deserialize_with = "quantity::optional")]
    pub gas_price: Option<u128>,
    /// Wei per gas at most, with EIP-1559.
    #[serde(default, deserialize_with = "quantity::optional")]
    pub max_fee_per_gas: Option<u128>,
    /// Wei per gas for the block's author, with EIP-1559.
    #[serde(default, deserialize_with = "quantity::optional")]
    pub max_priority_fee_per_gas: Option<u128>,
    /// Call data or creation code.
    pub input: Bytes,
    /// EIP-2718 type; 0 for legacy.
    #[serde(default, rename = "type", deserialize_with = "quantity::optional")]
    pub transaction_type: Option<u64>,
    /// Chain that it was signed for; `None` for legacy ones without replay protection.
    #[serde(default, deserialize_with = "quantity::optional")]
    pub chain_id: Option<u64>,
}

impl Transaction {
    /// First four bytes of the input: the function selector of a contract call.
    pub fn selector(&self) -> Option<[u8; 4]> {
        self.input.first_chunk::<4>().copied()
    }
}

/// What became of an included transaction.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// Hash of the transaction.
    pub transaction_hash: B256,
    /// Position in the block.
    #[serde(deserialize_with = "quantity::required")]
    pub transaction_index: u64,
    /// Block that included it.
    pub block_hash: B256,
    /// Height of that block.
    #[serde(deserialize_with = "quantity::required")]
    pub block_number: u64,
    /// Sender.
    pub from: Address,
    /// Receiver; `None` for a creation.
    #[serde(default)]
    pub to: Option<Address>,
    /// Created contract.
    #[serde(default)]
    pub contract_address: Option<Address>,
    /// 1 for success, 0 for revert; `None` on blocks before EIP-658.
    #[serde(default, deserialize_with = "quantity::optional")]
    pub status: Option<u64>,
    /// Gas used by this transaction.
    #[serde(deserialize_with = "quantity::required")]
    pub gas_used: u64,
    /// Gas used in the block up to and including this transaction.
    #[serde(default, deserialize_with = "quantity::optional")]
    pub cumulative_gas_used: Option<u64>,
    /// Wei per gas paid.
    #[serde(default, deserialize_with = "quantity::optional")]
    pub effective_gas_price: Option<u128>,
    /// EIP-2718 type.
    #[serde(default, rename = "type", deserialize_with = "quantity::optional")]
    pub transaction_type: Option<u64>,
    /// Logs, in order.
    pub logs: Vec<Log>,
}

impl Receipt {
    /// Whether the transaction did what it was sent for. A receipt without status counts as success, as it did before EIP-658.
    pub fn succeeded(&self) -> bool {
        self.status != Some(0)
    }

    /// Wei paid for gas; zero where the node does not tell the price. Data fees of rollups are not in it.
    pub fn fee(&self) -> U256 {
        U256::from(self.gas_used) * U256::from(self.effective_gas_price.unwrap_or_default())
    }
}
