//! Methods that steer the chain: mining, time, snapshots, state, impersonation, filters.

use alloy_primitives::{Address, B256, Bytes, U64, U128};
use alloy_rpc_types_eth::Filter;
use revm::bytecode::Bytecode;
use serde_json::{Value, json};

use super::params::Params;
use super::{Outcome, format, read, reply};
use crate::Mining;
use crate::chain::{Chain, Event};
use crate::error::JsonRpcError;
use crate::filters::Kind;

/// Answers `method`, or `None` if it is not one of these.
pub(crate) fn answer(chain: &mut Chain, method: &str, params: &mut Params) -> Option<Outcome> {
    answer_mining(chain, method, params)
        .or_else(|| answer_state(chain, method, params))
        .or_else(|| answer_filters(chain, method, params))
}

fn done() -> Outcome {
    reply(&Value::Null)
}

// ---- mining and time ----

fn answer_mining(chain: &mut Chain, method: &str, params: &mut Params) -> Option<Outcome> {
    Some(match method {
        "evm_mine" => evm_mine(chain, params).and_then(|_| reply(&"0x0")),
        "evm_mine_detailed" | "anvil_mine_detailed" => evm_mine(chain, params)
            .and_then(|blocks| reply(&blocks.iter().map(|block| format::block(block, true)).collect::<Vec<_>>())),
        "evm_setAutomine" | "anvil_setAutomine" => params.required(0).and_then(|enabled: bool| set_automine(chain, enabled)),
        "anvil_getAutomine" | "hardhat_getAutomine" => reply(&(chain.mining == Mining::Automatic)),
        "evm_setIntervalMining" | "anvil_setIntervalMining" => set_interval_mining(chain, params),
        "anvil_getIntervalMining" => reply(&match chain.mining {
            Mining::Interval(milliseconds) => Some(milliseconds / 1_000),
            Mining::Automatic | Mining::Manual => None,
        }),
        "evm_increaseTime" | "anvil_increaseTime" => params.u64(0).and_then(|seconds| reply(&chain.clock.increase(seconds))),
        "evm_setNextBlockTimestamp" | "anvil_setNextBlockTimestamp" => {
            params.u64(0).and_then(|timestamp| chain.clock.set_next(timestamp)).and_then(|()| done())
        }
        "evm_setTime" | "anvil_setTime" => params.u64(0).and_then(|timestamp| set_time(chain, timestamp)),
        "anvil_setBlockTimestampInterval" => params.u64(0).and_then(|seconds| {
            chain.clock.set_interval(Some(seconds));
            done()
        }),
        "anvil_removeBlockTimestampInterval" => reply(&chain.clock.set_interval(None)),
        "evm_setBlockGasLimit" | "anvil_setBlockGasLimit" => params.u64(0).and_then(|limit| {
            chain.gas_limit = limit;
            reply(&true)
        }),
        "evm_snapshot" | "anvil_snapshot" => reply(&U64::from(chain.snapshot())),
        "evm_revert" | "anvil_revert" => params.u64(0).and_then(|id| reply(&chain.revert(id))),
        "anvil_rollback" => rollback(chain, params),
        "anvil_reset" | "hardhat_reset" => reset(chain, params),
        _ => return None,
    })
}

fn evm_mine(chain: &mut Chain, params: &mut Params) -> Result<Vec<std::sync::Arc<crate::block::Block>>, JsonRpcError> {
    let (mut blocks, mut timestamp) = (1, None);
    match params.value(0) {
        None => {}
        Some(Value::Object(options)) => {
            let field = |name: &str| Params::new(json!([options.get(name)])).and_then(|mut it| it.optional_u64(0));
            blocks = field("blocks")?.unwrap_or(1);
            timestamp = field("timestamp")?;
        }
        Some(value) => timestamp = Params::new(json!([value]))?.optional_u64(0)?,
    }
    if let Some(timestamp) = timestamp {
        chain.clock.set_next(timestamp)?;
    }
    Ok(chain.mine(blocks, None))
}

fn set_automine(chain: &mut Chain, enabled: bool) -> Outcome {
    if enabled {
        chain.mining = Mining::Automatic;
        chain.mine_automatically();
    } else if chain.mining == Mining::Automatic {
        chain.mining = Mining::Manual;
    }
    done()
}

fn set_interval_mining(chain: &mut Chain, params: &mut Params) -> Outcome {
    chain.mining = match params.u64(0)? {
        0 => Mining::Manual,
        seconds => Mining::Interval(seconds.saturating_mul(1_000)),
    };
    done()
}

fn set_time(chain: &mut Chain, timestamp: u64) -> Outcome {
    // JavaScript clients give milliseconds.
    let timestamp = if timestamp > 1_000_000_000_000 { timestamp / 1_000 } else { timestamp };
    let jump = timestamp.saturating_sub(chain.clock.peek());
    chain.clock.reset(timestamp);
    reply(&jump)
}

fn rollback(chain: &mut Chain, params: &mut Params) -> Outcome {
    let depth = params.optional_u64(0)?.unwrap_or(1);
    let height = chain.blocks.height();
    let Some(number) = height.checked_sub(depth) else {
        return Err(JsonRpcError::invalid_params(format!(
            "Rollback depth must not exceed current chain height: current height {height}, depth {depth}"
        )));
    };
    chain.rollback(number);
    done()
}

fn reset(chain: &mut Chain, params: &mut Params) -> Outcome {
    let options = params.value(0).unwrap_or_default();
    let url = options.pointer("/forking/jsonRpcUrl").or_else(|| options.get("jsonRpcUrl"));
    if url.is_some_and(|url| !url.is_null()) {
        return Err(JsonRpcError::invalid_params("forking another chain is not supported"));
    }
    chain.reset();
    done()
}

// ---- state ----

fn answer_state(chain: &mut Chain, method: &str, params: &mut Params) -> Option<Outcome> {
    // Hardhat's names for the same controls.
    let name = method.strip_prefix("hardhat_").or_else(|| method.strip_prefix("anvil_"));
    let name = match (name, method) {
        (Some(name), _) => name,
        (None, "evm_setAccountNonce") => "setNonce",
        (None, "tenderly_setBalance") => "setBalance",
        (None, "tenderly_addBalance") => "addBalance",
        _ => return None,
    };
    Some(match name {
        "setLoggingEnabled" => done(),
        "setMinGasPrice" => Err(JsonRpcError::invalid_params("anvil_setMinGasPrice is not supported when EIP-1559 is active")),
        _ => return change(chain, name, params),
    })
}

fn change(chain: &mut Chain, name: &str, params: &mut Params) -> Option<Outcome> {
    let result = match name {
        "setBalance" => address(params).and_then(|(to, params)| {
            chain.set_balance(to, params.number(1)?);
            Ok(())
        }),
        "addBalance" => address(params).and_then(|(to, params)| {
            let balance = chain.state.account(to, chain.state.version()).unwrap_or_default().balance;
            chain.set_balance(to, balance.saturating_add(params.number(1)?));
            Ok(())
        }),
        "setNonce" => address(params).and_then(|(of, params)| {
            chain.set_nonce(of, params.u64(1)?);
            Ok(())
        }),
        "setCode" => address(params).and_then(|(to, params)| set_code(chain, to, params.required(1)?)),
        "setStorageAt" => address(params).and_then(|(of, params)| {
            let (slot, value) = (params.number(1)?, params.number(2)?);
            chain.edit(|state| state.set_slot(of, slot, value));
            Ok(())
        }),
        "setCoinbase" => address(params).map(|(to, _)| chain.coinbase = to),
        "setChainId" => params.u64(0).map(|id| {
            chain.chain_id = id;
            chain.signers.set_chain_id(id);
        }),
        "setNextBlockBaseFeePerGas" => params.u64(0).map(|fee| chain.base_fee = fee),
        "impersonateAccount" => address(params).map(|(of, _)| chain.signers.impersonate(of)),
        "stopImpersonatingAccount" => address(params).map(|(of, _)| chain.signers.stop_impersonating(of)),
        "autoImpersonateAccount" => params.required(0).map(|enabled| chain.signers.impersonate_anybody(enabled)),
        "dropTransaction" => return Some(drop_transaction(chain, params)),
        "dropAllTransactions" => {
            chain.pool.clear();
            Ok(())
        }
        "removePoolTransactions" => address(params).map(|(of, _)| chain.pool.remove_sender(of)),
        _ => return None,
    };
    // Hardhat and anvil answer true to this one and null to the others.
    let answer = if name == "setStorageAt" { json!(true) } else { Value::Null };
    Some(result.and_then(|()| reply(&answer)))
}

fn address(params: &mut Params) -> Result<(Address, &mut Params), JsonRpcError> {
    Ok((params.required(0)?, params))
}

fn set_code(chain: &mut Chain, address: Address, code: Bytes) -> Result<(), JsonRpcError> {
    let code = Bytecode::new_raw_checked(code).map_err(|error| JsonRpcError::invalid_params(error.to_string()))?;
    chain.edit(|state| state.set_code(address, code));
    Ok(())
}

/// Drops a transaction; those of its sender that follow it are queued then.
fn drop_transaction(chain: &mut Chain, params: &mut Params) -> Outcome {
    let hash: B256 = params.required(0)?;
    reply(&chain.pool.remove(hash).map(|_| hash))
}

// ---- filters ----

fn answer_filters(chain: &mut Chain, method: &str, params: &mut Params) -> Option<Outcome> {
    Some(match method {
        "eth_newFilter" => {
            params.required::<Filter>(0).and_then(|filter| reply(&chain.filters.install(Kind::Logs(Box::new(filter)))))
        }
        "eth_newBlockFilter" => reply(&chain.filters.install(Kind::Blocks)),
        "eth_newPendingTransactionFilter" => reply(&chain.filters.install(Kind::Pending)),
        "eth_uninstallFilter" => filter_id(params).and_then(|id| reply(&id.is_some_and(|id| chain.filters.uninstall(id)))),
        "eth_getFilterChanges" => filter_id(params).and_then(|id| changes(chain, id)),
        "eth_getFilterLogs" => filter_id(params).and_then(|id| match id.and_then(|id| chain.filters.kind(id)) {
            Some(Kind::Logs(filter)) => reply(&read::logs(chain, filter)?),
            Some(Kind::Blocks | Kind::Pending) | None => Err(JsonRpcError::server("filter not found")),
        }),
        _ => return None,
    })
}

/// A filter id; text that is no number is an id that nobody has.
fn filter_id(params: &mut Params) -> Result<Option<U128>, JsonRpcError> {
    Ok(params.required::<String>(0)?.parse().ok())
}

fn changes(chain: &mut Chain, id: Option<U128>) -> Outcome {
    let found = id.and_then(|id| chain.filters.take(id));
    let (kind, events) = found.ok_or_else(|| JsonRpcError::server("filter not found"))?;
    match kind {
        Kind::Logs(filter) => reply(&events.iter().flat_map(|event| event_logs(event, &filter)).collect::<Vec<_>>()),
        Kind::Blocks => {
            let added = events.iter().filter_map(|event| match event {
                Event::Added(blocks) => Some(blocks),
                _ => None,
            });
            reply(&added.flat_map(|blocks| blocks.iter()).map(|block| block.hash).collect::<Vec<_>>())
        }
        Kind::Pending => {
            let hashes = events.iter().filter_map(|event| match event {
                Event::Pending(tx) => Some(tx.hash),
                _ => None,
            });
            reply(&hashes.collect::<Vec<_>>())
        }
    }
}

/// The logs that an event adds, or takes back with `removed`.
pub(crate) fn event_logs(event: &Event, filter: &Filter) -> Vec<alloy_rpc_types_eth::Log> {
    let (blocks, removed) = match event {
        Event::Added(blocks) => (blocks, false),
        Event::Removed(blocks) => (blocks, true),
        Event::Pending(_) => return Vec::new(),
    };
    let mut found = Vec::new();
    for block in blocks.iter().filter(|block| in_range(filter, block)) {
        block.matching_logs(filter, |log| found.push(format::log(log, removed)));
    }
    found
}

fn in_range(filter: &Filter, block: &crate::block::Block) -> bool {
    use alloy_rpc_types_eth::FilterBlockOption;
    match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => block.hash == hash,
        FilterBlockOption::Range { from_block, to_block } => {
            let from = from_block.and_then(|tag| tag.as_number()).unwrap_or(0);
            let to = to_block.and_then(|tag| tag.as_number()).unwrap_or(u64::MAX);
            (from..=to).contains(&block.number())
        }
    }
}

/// Parameters of `anvil_mine`: number of blocks (default 1) and seconds between them.
pub(crate) fn mine_params(params: &mut Params) -> Result<(u64, Option<u64>), JsonRpcError> {
    Ok((params.optional_u64(0)?.unwrap_or(1), params.optional_u64(1)?))
}
