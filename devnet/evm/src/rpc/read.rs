//! Methods that only read the chain.

use alloy_eips::eip2718::Encodable2718;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U64, U256, keccak256};
use alloy_rpc_types_eth::{Filter, FilterBlockOption};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::params::Params;
use super::{Outcome, fees, format, reply};
use crate::block::{Block, SignedTx};
use crate::chain::Chain;
use crate::error::JsonRpcError;

/// The name under which this chain answers `web3_clientVersion`. Tools look for `anvil` to offer its controls.
pub(crate) const CLIENT_VERSION: &str = concat!("windlass-devnet/v", env!("CARGO_PKG_VERSION"), "/anvil-compatible");

/// Blocks per epoch; "safe" is one epoch behind the head and "finalized" two.
const EPOCH: u64 = 32;

/// A place in the chain whose state can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Number(u64),
    Pending,
}

/// Answers `method`, or `None` if it is not one of these.
pub(crate) fn answer(chain: &Chain, method: &str, params: &mut Params) -> Option<Outcome> {
    Some(match method {
        "eth_chainId" => nothing(params).and_then(|()| reply(&U64::from(chain.chain_id))),
        "eth_networkId" | "net_version" => nothing(params).and_then(|()| reply(&chain.chain_id.to_string())),
        "net_listening" => nothing(params).and_then(|()| reply(&true)),
        "net_peerCount" => nothing(params).and_then(|()| reply(&U64::ZERO)),
        "web3_clientVersion" => nothing(params).and_then(|()| reply(&CLIENT_VERSION)),
        "web3_sha3" => params.required::<Bytes>(0).and_then(|data| reply(&keccak256(&data))),
        "eth_protocolVersion" => nothing(params).and_then(|()| reply(&1)),
        "eth_syncing" | "eth_mining" => nothing(params).and_then(|()| reply(&false)),
        "eth_hashrate" => nothing(params).and_then(|()| reply(&U64::ZERO)),
        "eth_coinbase" => nothing(params).and_then(|()| reply(&chain.coinbase)),
        "eth_accounts" | "eth_requestAccounts" => nothing(params).and_then(|()| reply(&chain.signers.addresses())),
        "eth_blockNumber" => nothing(params).and_then(|()| reply(&U64::from(chain.blocks.height()))),
        "eth_getBalance" => balance(chain, params),
        "eth_getTransactionCount" => transaction_count(chain, params),
        "eth_getCode" => code(chain, params),
        "eth_getStorageAt" => storage(chain, params),
        "eth_getLogs" => params.required::<Filter>(0).and_then(|filter| reply(&logs(chain, &filter)?)),
        "eth_gasPrice" => nothing(params).and_then(|()| reply(&U256::from(fees::gas_price(chain)))),
        "eth_maxPriorityFeePerGas" => nothing(params).and_then(|()| reply(&U256::from(fees::suggested_tip(chain)))),
        "eth_blobBaseFee" => nothing(params).and_then(|()| reply(&U64::from(1))),
        "eth_feeHistory" => fees::history(chain, params),
        "txpool_status" => nothing(params).and_then(|()| pool_status(chain)),
        "txpool_content" => nothing(params).and_then(|()| pool_content(chain)),
        "txpool_inspect" => nothing(params).and_then(|()| pool_inspect(chain)),
        "anvil_nodeInfo" => nothing(params).and_then(|()| node_info(chain)),
        "anvil_metadata" | "hardhat_metadata" => nothing(params).and_then(|()| metadata(chain)),
        _ => return answer_blocks(chain, method, params),
    })
}

fn answer_blocks(chain: &Chain, method: &str, params: &mut Params) -> Option<Outcome> {
    Some(match method {
        "eth_getBlockByNumber" | "eth_getBlockByHash" => block(chain, params),
        "eth_getHeaderByNumber" | "eth_getHeaderByHash" => with_block(chain, params, |block, _| Ok(Some(format::header(block)))),
        "eth_getBlockReceipts" => with_block(chain, params, |block, _| {
            let receipts = (0..block.transactions.len()).filter_map(|index| format::receipt(block, index));
            Ok(Some(receipts.collect::<Vec<_>>()))
        }),
        "eth_getBlockTransactionCountByNumber" => with_existing_block(chain, params, |block| U64::from(block.transactions.len())),
        "eth_getBlockTransactionCountByHash" => {
            with_block(chain, params, |block, _| Ok(Some(U64::from(block.transactions.len()))))
        }
        "eth_getUncleCountByBlockNumber" | "eth_getUncleCountByBlockHash" => with_existing_block(chain, params, |_| U64::ZERO),
        "eth_getUncleByBlockNumberAndIndex" | "eth_getUncleByBlockHashAndIndex" => {
            with_block(chain, params, |_, _| Ok(None::<()>))
        }
        "eth_getTransactionByBlockNumberAndIndex" | "eth_getTransactionByBlockHashAndIndex" => {
            with_block(chain, params, |block, params| {
                let index = usize::try_from(params.u64(1)?).unwrap_or(usize::MAX);
                Ok(block.transactions.get(index).map(|tx| format::mined(block, index, tx)))
            })
        }
        "eth_getRawTransactionByBlockNumberAndIndex" | "eth_getRawTransactionByBlockHashAndIndex" => {
            with_block(chain, params, |block, params| {
                let index = usize::try_from(params.u64(1)?).unwrap_or(usize::MAX);
                Ok(block.transactions.get(index).map(|tx| raw(tx)))
            })
        }
        "eth_getTransactionByHash" => params.required(0).and_then(|hash| transaction(chain, hash)),
        "eth_getRawTransactionByHash" => params.required(0).and_then(|hash| {
            let waiting = chain.pool.get(hash).map(|tx| raw(tx));
            let mined =
                || chain.blocks.transaction(hash).and_then(|(block, index)| block.transactions.get(index)).map(|tx| raw(tx));
            reply(&waiting.or_else(mined))
        }),
        "eth_getTransactionReceipt" => params.required(0).and_then(|hash| receipt(chain, hash)),
        _ => return None,
    })
}

fn nothing(params: &Params) -> Result<(), JsonRpcError> {
    params.at_most(0)
}

fn raw(tx: &SignedTx) -> Bytes {
    tx.envelope.encoded_2718().into()
}

// ---- places ----

/// The number that a tag stands for.
pub(crate) fn number_of(chain: &Chain, tag: BlockNumberOrTag) -> u64 {
    let height = chain.blocks.height();
    match tag {
        BlockNumberOrTag::Latest | BlockNumberOrTag::Pending => height,
        BlockNumberOrTag::Earliest => 0,
        BlockNumberOrTag::Number(number) => number,
        BlockNumberOrTag::Safe => height.saturating_sub(EPOCH),
        BlockNumberOrTag::Finalized => height.saturating_sub(2 * EPOCH),
    }
}

/// Finds a block whose state is to be read.
pub(crate) fn place(chain: &Chain, id: BlockId) -> Result<At, JsonRpcError> {
    match id {
        BlockId::Number(BlockNumberOrTag::Pending) => Ok(At::Pending),
        BlockId::Number(tag) => match number_of(chain, tag) {
            number if number > chain.blocks.height() => Err(JsonRpcError::block_out_of_range(chain.blocks.height(), number)),
            number => Ok(At::Number(number)),
        },
        BlockId::Hash(hash) => {
            let block = chain.blocks.by_hash(hash.block_hash);
            block.map(|block| At::Number(block.number())).ok_or_else(JsonRpcError::block_not_found)
        }
    }
}

fn block(chain: &Chain, params: &mut Params) -> Outcome {
    with_block(chain, params, |block, params| {
        let full = params.optional::<bool>(1)?.unwrap_or(false);
        Ok(Some(format::block(block, full)))
    })
}

/// Answers about the block in parameter 0; null if there is none.
fn with_block<T: Serialize>(
    chain: &Chain,
    params: &mut Params,
    answer: impl FnOnce(&Arc<Block>, &mut Params) -> Result<Option<T>, JsonRpcError>,
) -> Outcome {
    let id = params.optional_block(0)?.ok_or_else(|| JsonRpcError::invalid_params("missing value for required argument 0"))?;
    let pending;
    let found = match id {
        BlockId::Hash(hash) => chain.blocks.by_hash(hash.block_hash),
        BlockId::Number(BlockNumberOrTag::Pending) => {
            pending = chain.pending_block().0;
            Some(&pending)
        }
        BlockId::Number(tag) => chain.blocks.get(number_of(chain, tag)),
    };
    match found {
        Some(block) => reply(&answer(block, params)?),
        None => reply(&Value::Null),
    }
}

/// Answers about the block in parameter 0; an error if there is none.
fn with_existing_block<T: Serialize>(chain: &Chain, params: &mut Params, answer: impl FnOnce(&Block) -> T) -> Outcome {
    match place(chain, params.block(0)?)? {
        At::Pending => reply(&answer(&chain.pending_block().0)),
        At::Number(number) => {
            let block = chain.blocks.get(number).ok_or_else(JsonRpcError::block_not_found)?;
            reply(&answer(block))
        }
    }
}

// ---- accounts ----

fn balance(chain: &Chain, params: &mut Params) -> Outcome {
    let (address, id) = (params.required::<Address>(0)?, params.block(1)?);
    reply(&read_account(chain, address, id)?.balance)
}

fn transaction_count(chain: &Chain, params: &mut Params) -> Outcome {
    let (address, id) = (params.required::<Address>(0)?, params.block(1)?);
    let nonce = match place(chain, id)? {
        At::Pending => chain.pending_nonce(address),
        At::Number(_) => read_account(chain, address, id)?.nonce,
    };
    reply(&U64::from(nonce))
}

fn code(chain: &Chain, params: &mut Params) -> Outcome {
    let (address, id) = (params.required::<Address>(0)?, params.block(1)?);
    let account = read_account(chain, address, id)?;
    let code = match account.code {
        Some(code) => code,
        None => chain.state.code(account.code_hash),
    };
    reply(&code.original_bytes())
}

fn storage(chain: &Chain, params: &mut Params) -> Outcome {
    let (address, slot, id) = (params.required::<Address>(0)?, params.number(1)?, params.block(2)?);
    let value = match place(chain, id)? {
        At::Number(number) => chain.view(number)?.slot(address, slot),
        At::Pending => {
            use revm::Database;
            let Ok(value) = chain.pending_block().1.storage(address, slot);
            value
        }
    };
    reply(&B256::from(value))
}

fn read_account(chain: &Chain, address: Address, id: BlockId) -> Result<revm::state::AccountInfo, JsonRpcError> {
    use revm::{Database, DatabaseRef};
    let Ok(account) = match place(chain, id)? {
        At::Number(number) => chain.view(number)?.basic_ref(address),
        At::Pending => chain.pending_block().1.basic(address),
    };
    Ok(account.unwrap_or_default())
}

// ---- transactions ----

fn transaction(chain: &Chain, hash: B256) -> Outcome {
    let waiting = chain.pool.get(hash).map(|tx| format::waiting(tx, Some(chain.base_fee)));
    let mined = || {
        let (block, index) = chain.blocks.transaction(hash)?;
        block.transactions.get(index).map(|tx| format::mined(block, index, tx))
    };
    reply(&waiting.or_else(mined))
}

pub(crate) fn receipt(chain: &Chain, hash: B256) -> Outcome {
    reply(&chain.blocks.transaction(hash).and_then(|(block, index)| format::receipt(block, index)))
}

/// Logs of the blocks that `filter` names.
pub(crate) fn logs(chain: &Chain, filter: &Filter) -> Result<Vec<alloy_rpc_types_eth::Log>, JsonRpcError> {
    let mut found = Vec::new();
    match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let block = chain.blocks.by_hash(hash).ok_or_else(|| JsonRpcError::server("unknown block"))?;
            block.matching_logs(filter, |log| found.push(format::log(log, false)));
        }
        FilterBlockOption::Range { from_block, to_block } => {
            let height = chain.blocks.height();
            let from = number_of(chain, from_block.unwrap_or(BlockNumberOrTag::Latest));
            let to = number_of(chain, to_block.unwrap_or(BlockNumberOrTag::Latest)).min(height);
            if from > height {
                return Err(JsonRpcError::block_out_of_range(height, from));
            }
            for block in chain.blocks.with_logs(from, to) {
                block.matching_logs(filter, |log| found.push(format::log(log, false)));
            }
        }
    }
    Ok(found)
}

// ---- pool ----

fn pool_status(chain: &Chain) -> Outcome {
    let (pending, queued) = chain.pool.content(|sender| chain.nonce(sender));
    reply(&json!({ "pending": U64::from(pending.len()), "queued": U64::from(queued.len()) }))
}

fn by_sender<T>(list: Vec<Arc<SignedTx>>, item: impl Fn(&SignedTx) -> T) -> BTreeMap<Address, BTreeMap<String, T>> {
    use alloy_consensus::Transaction;
    let mut grouped = BTreeMap::<_, BTreeMap<_, _>>::new();
    for tx in list {
        grouped.entry(tx.from).or_default().insert(tx.envelope.nonce().to_string(), item(&tx));
    }
    grouped
}

fn pool_content(chain: &Chain) -> Outcome {
    let (pending, queued) = chain.pool.content(|sender| chain.nonce(sender));
    let item = |tx: &SignedTx| format::waiting(tx, None);
    reply(&json!({ "pending": by_sender(pending, item), "queued": by_sender(queued, item) }))
}

fn pool_inspect(chain: &Chain) -> Outcome {
    use alloy_consensus::Transaction;
    let (pending, queued) = chain.pool.content(|sender| chain.nonce(sender));
    let item = |tx: &SignedTx| {
        let envelope = &tx.envelope;
        let to = envelope.to().map_or("contract creation".to_owned(), |to| format!("{to:?}"));
        let (value, gas, price) = (envelope.value(), envelope.gas_limit(), envelope.max_fee_per_gas());
        format!("{to}: {value} wei + {gas} gas × {price} wei")
    };
    reply(&json!({ "pending": by_sender(pending, item), "queued": by_sender(queued, item) }))
}

// ---- the node ----

fn node_info(chain: &Chain) -> Outcome {
    let head = chain.blocks.head();
    reply(&json!({
        "currentBlockNumber": U64::from(head.number()),
        "currentBlockTimestamp": head.header.timestamp,
        "currentBlockHash": head.hash,
        "hardFork": "Bpo1",
        "transactionOrder": "fees",
        "environment": {
            "baseFee": U256::from(chain.base_fee),
            "chainId": chain.chain_id,
            "gasLimit": U64::from(chain.gas_limit),
            "gasPrice": U256::from(fees::gas_price(chain)),
        },
        "forkConfig": { "forkUrl": null, "forkBlockNumber": null, "forkRetryBackoff": null },
    }))
}

fn metadata(chain: &Chain) -> Outcome {
    let head = chain.blocks.head();
    let snapshots: BTreeMap<String, (u64, B256)> =
        chain.snapshots().map(|(id, number, hash)| (format!("{id:#x}"), (number, hash))).collect();
    reply(&json!({
        "clientVersion": CLIENT_VERSION,
        "chainId": chain.chain_id,
        "instanceId": chain.instance,
        "latestBlockNumber": head.number(),
        "latestBlockHash": head.hash,
        "forkedNetwork": null,
        "snapshots": snapshots,
    }))
}
