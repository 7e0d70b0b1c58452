//! The JSON-RPC interface of a node over the ledger: methods, parameters and error codes of go-ethereum.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};
use serde_json::{Value, json};

use super::block::{SimBlock, transaction_json};
use super::handler::CallOutcome;
use super::ledger::{Call, Ledger};
use super::transaction::intrinsic_gas;

/// How a node sees the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// How many changes of the head the node is behind. It then still answers from the old branch.
    pub behind: usize,
    /// Whether the node knows transactions of the mempool.
    pub sees_pool: bool,
}

impl Default for View {
    fn default() -> Self {
        Self { behind: 0, sees_pool: true }
    }
}

/// The `error` object of a JSON-RPC answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct NodeError {
    /// Code as go-ethereum gives it.
    pub code: i64,
    /// Message as go-ethereum gives it.
    pub message: String,
    /// Revert data.
    pub data: Option<Bytes>,
}

impl NodeError {
    fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    fn invalid(what: &str) -> Self {
        Self::new(-32602, format!("invalid argument: {what}"))
    }

    fn reverted(data: Bytes) -> Self {
        let reason = data
            .get(68..)
            .filter(|_| data.starts_with(&[0x08, 0xc3, 0x79, 0xa0]))
            .map(|text| {
                let text = String::from_utf8_lossy(text);
                format!(": {}", text.trim_end_matches('\0'))
            })
            .unwrap_or_default();
        Self { code: 3, message: format!("execution reverted{reason}"), data: Some(data) }
    }
}

type Answer = Result<Value, NodeError>;

/// The chain as one node sees it: a head, and the branch below it.
struct Branch<'a> {
    ledger: &'a Ledger,
    head: Arc<SimBlock>,
    sees_pool: bool,
}

pub(super) fn answer(ledger: &mut Ledger, view: View, method: &str, params: &Value) -> Answer {
    if method == "eth_sendRawTransaction" {
        let raw: Bytes = parameter(params, 0)?;
        return ledger.submit(&raw).map(|hash| json!(hash)).map_err(|refusal| NodeError::new(-32000, refusal.to_string()));
    }
    let newest = ledger.heads.len().saturating_sub(1);
    let head = ledger
        .heads
        .get(newest.saturating_sub(view.behind))
        .and_then(|hash| ledger.blocks.get(hash))
        .cloned()
        .unwrap_or_else(|| ledger.head());
    Branch { ledger, head, sees_pool: view.sees_pool }.answer(method, params)
}

impl Branch<'_> {
    fn answer(&self, method: &str, params: &Value) -> Answer {
        match method {
            "eth_chainId" => Ok(quantity(self.ledger.config.chain_id)),
            "net_version" => Ok(json!(self.ledger.config.chain_id.to_string())),
            "web3_clientVersion" => Ok(json!("windlass-sim")),
            "eth_syncing" => Ok(json!(false)),
            "eth_blockNumber" => Ok(quantity(self.head.header.number)),
            "eth_getBlockByNumber" | "eth_getBlockByHash" => {
                let full = params.get(1).and_then(Value::as_bool).unwrap_or_default();
                Ok(self.block(params.get(0))?.map_or(Value::Null, |block| block.block_json(full)))
            }
            "eth_getBalance" => {
                let account = self.account(params)?;
                Ok(json!(account.map_or(U256::ZERO, |account| account.balance)))
            }
            "eth_getCode" => {
                let address: Address = parameter(params, 0)?;
                let account = self.account(params)?;
                let code = account.map(|account| account.code).unwrap_or_default();
                // Whatever has a handler is a contract; its code is never looked into.
                if code.is_empty() && self.ledger.handlers.contains_key(&address) {
                    return Ok(json!("0xfe"));
                }
                Ok(json!(code))
            }
            "eth_getTransactionCount" => self.transaction_count(params),
            "eth_call" => {
                let block = self.required_block(params.get(1))?;
                let (outcome, _) = self.ledger.call(&block, &call_of(params)?);
                match outcome {
                    CallOutcome::Return(data) => Ok(json!(data)),
                    CallOutcome::Revert(data) => Err(NodeError::reverted(data)),
                }
            }
            "eth_estimateGas" => self.estimate_gas(params),
            "eth_gasPrice" => {
                let base_fee = self.ledger.base_fee_after(&self.head);
                Ok(quantity(base_fee + self.ledger.config.suggested_tip))
            }
            "eth_maxPriorityFeePerGas" => Ok(quantity(self.ledger.config.suggested_tip)),
            "eth_feeHistory" => self.fee_history(params),
            "eth_getTransactionByHash" => Ok(self.transaction(parameter(params, 0)?)),
            "eth_getTransactionReceipt" => {
                Ok(self.find(parameter(params, 0)?).and_then(|(block, index)| block.receipt_json(index)).unwrap_or(Value::Null))
            }
            "eth_getBlockReceipts" => Ok(self.block(params.get(0))?.map_or(Value::Null, |block| {
                (0..block.transactions.len()).filter_map(|index| block.receipt_json(index)).collect()
            })),
            "eth_getLogs" => self.logs(params),
            _ => Err(NodeError::new(-32601, format!("the method {method} does not exist/is not available"))),
        }
    }

    fn account(&self, params: &Value) -> Result<Option<super::Account>, NodeError> {
        let address: Address = parameter(params, 0)?;
        let block = self.required_block(params.get(1))?;
        Ok(block.state.get(&address).cloned())
    }

    fn transaction_count(&self, params: &Value) -> Answer {
        let address: Address = parameter(params, 0)?;
        let account = self.account(params)?;
        let mut nonce = account.map_or(0, |account| account.nonce);
        let pending = params.get(1).and_then(Value::as_str) == Some("pending");
        if pending && self.sees_pool {
            nonce += self.ledger.pool.executable(address, nonce).len() as u64;
        }
        Ok(quantity(nonce))
    }

    fn estimate_gas(&self, params: &Value) -> Answer {
        let block = self.required_block(params.get(1))?;
        let call = call_of(params)?;
        let balance = block.state.get(&call.from).map_or(U256::ZERO, |account| account.balance);
        if balance < call.value {
            return Err(NodeError::new(
                -32000,
                format!("insufficient funds for gas * price + value: address {} have {balance} want {}", call.from, call.value),
            ));
        }
        let (outcome, gas) = self.ledger.call(&block, &call);
        match outcome {
            CallOutcome::Return(_) => Ok(quantity(intrinsic_gas(&call.input, call.to.is_none()).saturating_add(gas))),
            CallOutcome::Revert(data) => Err(NodeError::reverted(data)),
        }
    }

    /// The block on this branch at `number`. Below the fork the branch is the canonical chain, which has an index.
    fn at(&self, number: u64) -> Option<Arc<SimBlock>> {
        let mut block = self.head.clone();
        if number > block.header.number {
            return None;
        }
        while block.header.number > number {
            if self.ledger.is_canonical(&block) {
                return self.ledger.canonical_block(number).cloned();
            }
            block = self.ledger.blocks.get(&block.header.parent_hash)?.clone();
        }
        Some(block)
    }

    /// Whether a block is on this branch.
    fn holds(&self, block: &SimBlock) -> bool {
        self.at(block.header.number).is_some_and(|found| found.hash == block.hash)
    }

    /// Resolves a tag, a number, a hash, or the object of EIP-1898. Blocks of lost branches are found by hash, as in a node.
    fn block(&self, parameter: Option<&Value>) -> Result<Option<Arc<SimBlock>>, NodeError> {
        let text = match parameter {
            None | Some(Value::Null) => return Ok(Some(self.head.clone())),
            Some(Value::String(text)) => text.as_str(),
            Some(Value::Object(object)) => object
                .get("blockHash")
                .or_else(|| object.get("blockNumber"))
                .and_then(Value::as_str)
                .ok_or_else(|| NodeError::invalid("block"))?,
            Some(_) => return Err(NodeError::invalid("block")),
        };
        let lag_safe = |number: u64| self.at(number.min(self.head.header.number));
        Ok(match text {
            "latest" | "pending" => Some(self.head.clone()),
            "earliest" => self.at(0),
            "finalized" => lag_safe(self.ledger.finalized),
            "safe" => {
                lag_safe(self.ledger.finalized.max(self.head.header.number.saturating_sub(self.ledger.config.finality_depth / 2)))
            }
            hash if hash.len() == 66 => {
                let hash: B256 = hash.parse().map_err(|_| NodeError::invalid("block"))?;
                self.ledger.blocks.get(&hash).filter(|block| block.header.number <= self.head.header.number).cloned()
            }
            number => {
                let number = number
                    .strip_prefix("0x")
                    .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                    .ok_or_else(|| NodeError::invalid("block"))?;
                self.at(number)
            }
        })
    }

    fn required_block(&self, parameter: Option<&Value>) -> Result<Arc<SimBlock>, NodeError> {
        self.block(parameter)?.ok_or_else(|| NodeError::new(-32000, "header not found"))
    }

    /// Where a transaction is on this branch.
    fn find(&self, hash: B256) -> Option<(Arc<SimBlock>, usize)> {
        let places = self.ledger.places.get(&hash)?;
        places.iter().rev().find_map(|(block, index)| {
            let block = self.ledger.blocks.get(block)?;
            self.holds(block).then(|| (block.clone(), *index))
        })
    }

    fn transaction(&self, hash: B256) -> Value {
        if let Some((block, index)) = self.find(hash) {
            return block.transaction_json(index).unwrap_or(Value::Null);
        }
        self.ledger
            .pool
            .get(&hash)
            .filter(|_| self.sees_pool)
            .map_or(Value::Null, |transaction| transaction_json(transaction, None))
    }

    fn logs(&self, params: &Value) -> Answer {
        let filter = params.get(0).ok_or_else(|| NodeError::invalid("missing filter"))?;
        let addresses: Vec<Address> = one_or_many(filter.get("address"))?.unwrap_or_default();
        let topics: Vec<Option<Vec<B256>>> = match filter.get("topics") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(list)) => list.iter().map(|position| one_or_many(Some(position))).collect::<Result<_, _>>()?,
            Some(_) => return Err(NodeError::invalid("topics")),
        };
        let blocks: Vec<Arc<SimBlock>> = if let Some(hash) = filter.get("blockHash") {
            let block = self.block(Some(hash))?.ok_or_else(|| NodeError::new(-32000, "unknown block"))?;
            vec![block]
        } else {
            let from = self.bound(filter.get("fromBlock"))?;
            let to = self.bound(filter.get("toBlock"))?;
            if from > to {
                return Err(NodeError::new(-32000, "invalid block range params"));
            }
            if let Some(limit) = self.ledger.config.log_range_limit
                && to - from >= limit
            {
                return Err(NodeError::new(-32005, format!("exceed maximum block range: {limit}")));
            }
            (from..=to.min(self.head.header.number)).filter_map(|number| self.at(number)).collect()
        };
        let found = blocks.iter().flat_map(|block| {
            block
                .logs()
                .filter(|(.., log)| {
                    let address = addresses.is_empty() || addresses.contains(&log.address);
                    address && topics_match(&topics, log.topics())
                })
                .map(|(index, log_index, transaction, log)| block.log_json(index, log_index, transaction, log))
        });
        Ok(found.collect())
    }

    /// A bound of a range: a number may lie beyond the head.
    fn bound(&self, parameter: Option<&Value>) -> Result<u64, NodeError> {
        if let Some(Value::String(text)) = parameter
            && let Some(digits) = text.strip_prefix("0x")
        {
            return u64::from_str_radix(digits, 16).map_err(|_| NodeError::invalid("block"));
        }
        Ok(self.required_block(parameter)?.header.number)
    }

    fn fee_history(&self, params: &Value) -> Answer {
        let count = match params.get(0) {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok()),
            _ => None,
        }
        .ok_or_else(|| NodeError::invalid("block count"))?;
        let newest = self.required_block(params.get(1))?;
        let percentiles: Vec<f64> = params
            .get(2)
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_f64).collect())
            .unwrap_or_default();
        let oldest = newest.header.number.saturating_sub(count.min(1_024).saturating_sub(1));
        let blocks: Vec<Arc<SimBlock>> = (oldest..=newest.header.number).filter_map(|number| self.at(number)).collect();
        let mut base_fees: Vec<Value> =
            blocks.iter().map(|block| quantity(block.header.base_fee_per_gas.unwrap_or_default())).collect();
        base_fees.push(quantity(self.ledger.base_fee_after(&newest)));
        let ratios: Vec<f64> = blocks.iter().map(|block| block.header.gas_used as f64 / block.header.gas_limit as f64).collect();
        let mut answer = json!({
            "oldestBlock": quantity(oldest),
            "baseFeePerGas": base_fees,
            "gasUsedRatio": ratios,
        });
        if let (false, Some(object)) = (percentiles.is_empty(), answer.as_object_mut()) {
            let rewards: Vec<Value> = blocks.iter().map(|block| rewards(block, &percentiles)).collect();
            object.insert("reward".into(), Value::Array(rewards));
        }
        Ok(answer)
    }
}

/// Tips at the percentiles of gas used, zero in an empty block.
fn rewards(block: &SimBlock, percentiles: &[f64]) -> Value {
    let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
    let mut tips: Vec<(u128, u64)> = block
        .transactions
        .iter()
        .zip(&block.receipts)
        .map(|(transaction, receipt)| (transaction.effective_tip(base_fee).unwrap_or_default(), receipt.gas_used))
        .collect();
    tips.sort_unstable();
    percentiles
        .iter()
        .map(|percentile| {
            let wanted = block.header.gas_used as f64 * percentile / 100.0;
            let mut sum = 0.0;
            let tip = tips
                .iter()
                .find(|(_, gas)| {
                    sum += *gas as f64;
                    sum >= wanted
                })
                .or(tips.last())
                .map_or(0, |(tip, _)| *tip);
            json!(U256::from(tip))
        })
        .collect()
}

fn topics_match(wanted: &[Option<Vec<B256>>], topics: &[B256]) -> bool {
    wanted.len() <= topics.len()
        && wanted
            .iter()
            .zip(topics)
            .all(|(wanted, topic)| wanted.as_ref().is_none_or(|list| list.is_empty() || list.contains(topic)))
}

/// A filter position: absent or null is "any", one value, or a list of alternatives.
fn one_or_many<T: serde::de::DeserializeOwned>(value: Option<&Value>) -> Result<Option<Vec<T>>, NodeError> {
    let invalid = |_| NodeError::invalid("filter");
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => {
            list.iter().map(|item| serde_json::from_value(item.clone()).map_err(invalid)).collect::<Result<Vec<T>, _>>().map(Some)
        }
        Some(one) => serde_json::from_value(one.clone()).map(|one| Some(vec![one])).map_err(invalid),
    }
}

fn call_of(params: &Value) -> Result<Call, NodeError> {
    let object = params.get(0).ok_or_else(|| NodeError::invalid("missing call"))?;
    Ok(Call {
        from: field(object, "from")?.unwrap_or_default(),
        to: field(object, "to")?,
        value: field(object, "value")?.unwrap_or_default(),
        input: match field(object, "input")? {
            Some(input) => input,
            None => field(object, "data")?.unwrap_or_default(),
        },
    })
}

fn field<T: serde::de::DeserializeOwned>(object: &Value, name: &str) -> Result<Option<T>, NodeError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value.clone()).map(Some).map_err(|_| NodeError::invalid(name)),
    }
}

fn parameter<T: serde::de::DeserializeOwned>(params: &Value, index: usize) -> Result<T, NodeError> {
    params
        .get(index)
        .and_then(|value| serde_json::from_value(value.clone()).ok())
        .ok_or_else(|| NodeError::invalid(&index.to_string()))
}

fn quantity(value: u64) -> Value {
    Value::String(format!("{value:#x}"))
}
