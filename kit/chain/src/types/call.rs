//! Requests that execute without a transaction, and fee statistics.

use alloy_primitives::{Address, Bytes, U256};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::quantity;

/// A call or an estimation. What is `None` is left to the node.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CallRequest {
    /// Sender.
    pub from: Option<Address>,
    /// Receiver; `None` executes creation code.
    pub to: Option<Address>,
    /// Wei.
    pub value: Option<U256>,
    /// Call data.
    pub data: Bytes,
    /// Gas limit.
    pub gas: Option<u64>,
    /// Wei per gas, legacy.
    pub gas_price: Option<u128>,
    /// Wei per gas at most, EIP-1559.
    pub max_fee_per_gas: Option<u128>,
    /// Wei per gas for the author, EIP-1559.
    pub max_priority_fee_per_gas: Option<u128>,
    /// Nonce of the sender.
    pub nonce: Option<u64>,
    /// Access list in its JSON form.
    pub access_list: Option<Value>,
    /// State to pretend, in the node's JSON form (`{"0xaddress": {"balance": "0x.."}}`); passed on as it is.
    pub state_override: Option<Value>,
    /// Block values to pretend (`{"time": "0x.."}`); passed on as it is. Not every node knows it.
    pub block_override: Option<Value>,
}

impl CallRequest {
    /// A plain call.
    pub fn new(to: Address, data: impl Into<Bytes>) -> Self {
        Self { to: Some(to), data: data.into(), ..Self::default() }
    }

    /// Sets the sender.
    #[must_use]
    pub fn from(mut self, from: Address) -> Self {
        self.from = Some(from);
        self
    }

    /// Sets the wei sent along.
    #[must_use]
    pub fn value(mut self, value: U256) -> Self {
        self.value = Some(value);
        self
    }

    /// The transaction object on the wire.
    pub fn to_param(&self) -> Value {
        let mut object = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                object.insert(key.to_owned(), value);
            }
        };
        put("from", self.from.map(|address| json!(address)));
        put("to", self.to.map(|address| json!(address)));
        put("value", self.value.map(|value| json!(value)));
        put("gas", self.gas.map(|gas| json!(quantity::hex(gas))));
        put("gasPrice", self.gas_price.map(|price| json!(quantity::hex(price))));
        put("maxFeePerGas", self.max_fee_per_gas.map(|price| json!(quantity::hex(price))));
        put("maxPriorityFeePerGas", self.max_priority_fee_per_gas.map(|price| json!(quantity::hex(price))));
        put("nonce", self.nonce.map(|nonce| json!(quantity::hex(nonce))));
        put("accessList", self.access_list.clone());
        // `input` is the standard's word; `data` is what nodes of every age understand.
        put("data", (!self.data.is_empty()).then(|| json!(self.data)));
        Value::Object(object)
    }

    /// All positional parameters of `eth_call` and `eth_estimateGas`: trailing overrides only where set.
    pub(crate) fn to_params(&self, block: Value) -> Value {
        let mut params = vec![self.to_param(), block];
        match (&self.state_override, &self.block_override) {
            (None, None) => {}
            (Some(state), None) => params.push(state.clone()),
            (state, Some(block)) => {
                params.push(state.clone().unwrap_or_else(|| json!({})));
                params.push(block.clone());
            }
        }
        Value::Array(params)
    }
}

/// Answer of `eth_feeHistory`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeeHistory {
    /// Height of the first block.
    #[serde(deserialize_with = "quantity::required")]
    pub oldest_block: u64,
    /// Base fees, wei per gas; one more than there are blocks, the last is that of the block to come.
    #[serde(default)]
    pub base_fee_per_gas: Vec<U256>,
    /// Used share of each block's gas, 0 to 1.
    #[serde(default)]
    pub gas_used_ratio: Vec<f64>,
    /// For each block, the priority fees at the percentiles asked for.
    #[serde(default)]
    pub reward: Option<Vec<Vec<U256>>>,
}

impl FeeHistory {
    /// Base fee of the block to come, wei per gas.
    pub fn next_base_fee(&self) -> Option<u128> {
        self.base_fee_per_gas.last().and_then(|fee| u128::try_from(*fee).ok())
    }
}
