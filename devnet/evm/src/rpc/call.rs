//! Calls that leave no trace: `eth_call`, `eth_estimateGas`, `eth_createAccessList`.

use std::collections::BTreeSet;

use alloy_eips::eip2930::{AccessList, AccessListItem, AccessListResult};
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, TxKind, U64, U256};
use alloy_rpc_types_eth::state::{AccountOverride, StateOverride};
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest};
use revm::bytecode::Bytecode;
use revm::context::either::Either;
use revm::context::result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction};
use revm::context::{BlockEnv, TxEnv};
use revm::database::CacheDB;
use revm::state::EvmState;
use revm::{Database, DatabaseRef};

use super::params::Params;
use super::read::{At, place};
use super::{Outcome, reply};
use crate::chain::{Chain, Function};
use crate::error::JsonRpcError;
use crate::evm::{self, View};

/// Gas of a plain transfer.
const TRANSFER_GAS: u64 = 21_000;

pub(crate) fn answer(chain: &Chain, method: &str, params: &mut Params) -> Option<Outcome> {
    Some(match method {
        "eth_call" => call(chain, params),
        "eth_estimateGas" => estimate_gas(chain, params),
        "eth_createAccessList" => create_access_list(chain, params),
        _ => return None,
    })
}

fn call(chain: &Chain, params: &mut Params) -> Outcome {
    let request: TransactionRequest = params.required(0)?;
    let mut scene = Scene::new(chain, params.block(1)?, params)?;
    let result = scene.run(&request)?;
    reply(&output(result)?)
}

fn output(result: ExecutionResult) -> Result<alloy_primitives::Bytes, JsonRpcError> {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(JsonRpcError::reverted(&output)),
        ExecutionResult::Halt { reason, .. } => Err(JsonRpcError::halted(&reason)),
    }
}

/// State and block environment that a call runs on, with the overrides of the request.
struct Scene<'a> {
    chain: &'a Chain,
    db: CacheDB<View<'a>>,
    block: BlockEnv,
}

impl<'a> Scene<'a> {
    /// Takes the overrides from parameters 2 (state) and 3 (block).
    fn new(chain: &'a Chain, id: BlockId, params: &mut Params) -> Result<Self, JsonRpcError> {
        let mut scene = Self::at(chain, place(chain, id)?)?;
        for (address, account) in params.optional::<StateOverride>(2)?.unwrap_or_default() {
            scene.override_account(address, account)?;
        }
        if let Some(block) = params.optional::<BlockOverrides>(3)? {
            scene.override_block(block);
        }
        Ok(scene)
    }

    fn at(chain: &'a Chain, at: At) -> Result<Self, JsonRpcError> {
        let (db, block) = match at {
            At::Pending => {
                let (block, db) = chain.pending_block();
                (db, evm::environment(&block.header))
            }
            At::Number(number) if number == chain.blocks.height() => (CacheDB::new(chain.latest()), chain.latest_environment()),
            At::Number(number) => {
                let header = chain.blocks.get(number).map(|block| &block.header).ok_or_else(JsonRpcError::block_not_found)?;
                (CacheDB::new(chain.view(number)?), evm::environment(header))
            }
        };
        Ok(Self { chain, db, block })
    }

    fn override_account(&mut self, address: Address, account: AccountOverride) -> Result<(), JsonRpcError> {
        if account.state.is_some() && account.state_diff.is_some() {
            let message = format!("State override error: state and state_diff can't be used together for account {address}");
            return Err(JsonRpcError::invalid_params(message));
        }
        let Ok(info) = self.db.basic(address);
        let mut info = info.unwrap_or_default();
        if let Some(balance) = account.balance {
            info.balance = balance;
        }
        if let Some(nonce) = account.nonce {
            info.nonce = nonce;
        }
        if let Some(code) = account.code {
            let code = Bytecode::new_raw_checked(code)
                .map_err(|error| JsonRpcError::invalid_params(format!("State override error: {error}")))?;
            info.code_hash = code.hash_slow();
            info.code = Some(code);
        }
        self.db.insert_account_info(address, info);
        let slots = |map: alloy_primitives::map::B256HashMap<B256>| {
            map.into_iter().map(|(slot, value)| (U256::from_be_bytes(slot.0), U256::from_be_bytes(value.0)))
        };
        if let Some(state) = account.state {
            let Ok(()) = self.db.replace_account_storage(address, slots(state).collect());
        }
        for (slot, value) in account.state_diff.into_iter().flat_map(slots) {
            let Ok(()) = self.db.insert_account_storage(address, slot, value);
        }
        Ok(())
    }

    fn override_block(&mut self, overrides: BlockOverrides) {
        let block = &mut self.block;
        block.number = overrides.number.unwrap_or(block.number);
        block.difficulty = overrides.difficulty.unwrap_or(block.difficulty);
        block.timestamp = overrides.time.map_or(block.timestamp, U256::from);
        block.gas_limit = overrides.gas_limit.unwrap_or(block.gas_limit);
        block.beneficiary = overrides.coinbase.unwrap_or(block.beneficiary);
        block.prevrandao = overrides.random.or(block.prevrandao);
        block.basefee = overrides.base_fee.map_or(block.basefee, |fee| fee.saturating_to());
        for (number, hash) in overrides.block_hash.unwrap_or_default() {
            self.db.cache.block_hashes.insert(U256::from(number), hash);
        }
    }

    fn transaction(&self, request: &TransactionRequest) -> Result<TxEnv, JsonRpcError> {
        let (gas_price, tip) = call_fees(request)?;
        if request.blob_versioned_hashes.is_some() || request.sidecar.is_some() {
            return Err(crate::validate::blobs_refused());
        }
        Ok(TxEnv {
            tx_type: request.minimal_tx_type() as u8,
            caller: request.from.unwrap_or_default(),
            gas_limit: request.gas.unwrap_or(self.block.gas_limit),
            gas_price,
            gas_priority_fee: tip,
            kind: request.to.unwrap_or(TxKind::Create),
            value: request.value.unwrap_or_default(),
            data: request.input.input().cloned().unwrap_or_default(),
            nonce: request.nonce.unwrap_or_default(),
            chain_id: Some(request.chain_id.unwrap_or(self.chain.chain_id)),
            access_list: request.access_list.clone().unwrap_or_default(),
            authorization_list: request.authorization_list.iter().flatten().cloned().map(Either::Left).collect(),
            ..TxEnv::default()
        })
    }

    fn run(&mut self, request: &TransactionRequest) -> Result<ExecutionResult, JsonRpcError> {
        let tx = self.transaction(request)?;
        Ok(self.run_env(tx)?.0)
    }

    fn run_env(&mut self, tx: TxEnv) -> Result<(ExecutionResult, EvmState), evm::StartError> {
        let rules = evm::call_rules(self.chain.chain_id);
        let outcome = evm::call(&mut self.db, rules, self.block.clone(), tx)?;
        Ok((outcome.result, outcome.state))
    }
}

/// Gas price and tip of a call: what the request names, else zero.
fn call_fees(request: &TransactionRequest) -> Result<(u128, Option<u128>), JsonRpcError> {
    let (price, cap, tip) = (request.gas_price, request.max_fee_per_gas, request.max_priority_fee_per_gas);
    if let (Some(cap), Some(tip)) = (cap, tip)
        && tip > cap
    {
        return Err(JsonRpcError::invalid_params("Invalid input: `max_priority_fee_per_gas` greater than `max_fee_per_gas`"));
    }
    let price = price.or(cap).unwrap_or_default();
    Ok((price, tip.map(|tip| tip.min(price))))
}

// ---- estimation ----

enum Attempt {
    /// With the gas that was spent before refunds.
    Enough(u64),
    TooLittle,
    Failed(JsonRpcError),
}

fn estimate_gas(chain: &Chain, params: &mut Params) -> Outcome {
    let request: TransactionRequest = params.required(0)?;
    let id = params.optional_block(1)?.unwrap_or(BlockId::Number(BlockNumberOrTag::Pending));
    let mut scene = Scene::new(chain, id, params)?;
    reply(&U64::from(estimate(&mut scene, &request)?))
}

/// The gas that a transaction of `request` needs on the newest block.
pub(crate) fn estimate_latest(chain: &Chain, request: &TransactionRequest) -> Result<u64, JsonRpcError> {
    let mut scene = Scene::at(chain, At::Number(chain.blocks.height()))?;
    estimate(&mut scene, request)
}

/// The least gas limit with which `request` succeeds, exact to one unit.
fn estimate(scene: &mut Scene<'_>, request: &TransactionRequest) -> Result<u64, JsonRpcError> {
    if is_plain_transfer(scene, request) {
        return Ok(TRANSFER_GAS);
    }
    let mut tx = scene.transaction(request)?;
    let mut highest = affordable(scene, &tx)?.min(request.gas.unwrap_or(scene.block.gas_limit));
    tx.gas_limit = highest;
    let spent = match attempt(scene, tx.clone()) {
        Attempt::Enough(spent) => spent,
        Attempt::TooLittle => {
            let message = format!("Out of gas: gas required exceeds allowance: {highest}");
            return Err(JsonRpcError::rejected(message));
        }
        Attempt::Failed(error) => return Err(error),
    };
    // What was spent is a lower bound of the limit: the 63/64 rule and stipends only ever ask for more. How much more was mostly
    // the same for the last call of that function, and two tries show whether it is again.
    let bound = spent.min(highest);
    let function = function_of(request);
    let usual = scene.chain.estimates.lock().get(&function).copied().unwrap_or_default();
    let mut search = Search { scene, tx, lowest: bound.saturating_sub(1), highest };
    search.try_limit(bound.saturating_add(usual));
    search.try_limit(bound.saturating_add(usual).saturating_sub(1));
    let mut step = 1u64;
    while search.highest - search.lowest > 1 {
        let middle = search.lowest + (search.highest - search.lowest) / 2;
        if !search.try_limit(search.lowest.saturating_add(step).min(middle)) {
            step = step.saturating_mul(8);
        }
    }
    highest = search.highest;
    scene.chain.estimates.lock().note(function, highest - bound);
    Ok(highest)
}

/// A limit between one that is too low and one that is enough.
struct Search<'s, 'c> {
    scene: &'s mut Scene<'c>,
    tx: TxEnv,
    lowest: u64,
    highest: u64,
}

impl Search<'_, '_> {
    /// Narrows the search; says whether this limit is enough. One outside of what is open needs no run.
    fn try_limit(&mut self, limit: u64) -> bool {
        if limit <= self.lowest || limit >= self.highest {
            return limit >= self.highest;
        }
        self.tx.gas_limit = limit;
        // It succeeded with more gas, so every failure is for want of gas.
        let enough = matches!(attempt(self.scene, self.tx.clone()), Attempt::Enough(_));
        if enough {
            self.highest = limit;
        } else {
            self.lowest = limit;
        }
        enough
    }
}

/// Recipient and selector.
fn function_of(request: &TransactionRequest) -> Function {
    let to = request.to.and_then(|to| to.to().copied()).unwrap_or_default();
    let selector = request.input.input().and_then(|data| data.first_chunk::<4>().copied()).unwrap_or_default();
    (to, selector)
}

fn is_plain_transfer(scene: &mut Scene<'_>, request: &TransactionRequest) -> bool {
    let plain = request.input.input().is_none_or(|data| data.is_empty())
        && request.authorization_list.is_none()
        && request.access_list.is_none();
    let Some(TxKind::Call(to)) = request.to.filter(|_| plain) else { return false };
    let Ok(account) = scene.db.basic(to);
    account.is_none_or(|account| account.is_empty_code_hash())
}

/// The gas that the sender can pay for at the named price.
fn affordable(scene: &mut Scene<'_>, tx: &TxEnv) -> Result<u64, JsonRpcError> {
    if tx.gas_price == 0 {
        return Ok(u64::MAX);
    }
    let Ok(account) = scene.db.basic(tx.caller);
    let balance = account.unwrap_or_default().balance;
    let rest = balance.checked_sub(tx.value).ok_or_else(JsonRpcError::insufficient_funds)?;
    Ok((rest / U256::from(tx.gas_price)).saturating_to())
}

fn attempt(scene: &mut Scene<'_>, tx: TxEnv) -> Attempt {
    match scene.run_env(tx) {
        Ok((ExecutionResult::Success { gas, .. }, _)) => Attempt::Enough(gas.total_gas_spent().max(gas.floor_gas())),
        Ok((ExecutionResult::Revert { output, .. }, _)) => Attempt::Failed(JsonRpcError::reverted(&output)),
        Ok((ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. }, _)) => Attempt::TooLittle,
        Ok((ExecutionResult::Halt { reason, .. }, _)) => Attempt::Failed(JsonRpcError::halted(&reason)),
        Err(EVMError::Transaction(
            InvalidTransaction::CallGasCostMoreThanGasLimit { .. }
            | InvalidTransaction::GasFloorMoreThanGasLimit { .. }
            | InvalidTransaction::CallerGasLimitMoreThanBlock,
        )) => Attempt::TooLittle,
        Err(error) => Attempt::Failed(error.into()),
    }
}

// ---- access lists ----

fn create_access_list(chain: &Chain, params: &mut Params) -> Outcome {
    let mut request: TransactionRequest = params.required(0)?;
    let mut scene = Scene::new(chain, params.block(1)?, params)?;
    let tx = scene.transaction(&request)?;
    let excluded = excluded_accounts(&mut scene, &tx);
    let (result, touched) = scene.run_env(tx)?;
    output(result)?;
    let list = access_list(touched, &excluded);
    request.access_list = Some(list.clone());
    let result = scene.run(&request)?;
    let gas_used = U256::from(result.tx_gas_used());
    output(result)?;
    reply(&AccessListResult { access_list: list, gas_used, error: None })
}

/// Accounts that are warm anyway.
fn excluded_accounts(scene: &mut Scene<'_>, tx: &TxEnv) -> BTreeSet<Address> {
    let mut excluded: BTreeSet<Address> = [tx.caller, scene.block.beneficiary].into();
    let created = || {
        let Ok(account) = scene.db.db.basic_ref(tx.caller);
        tx.caller.create(account.unwrap_or_default().nonce)
    };
    excluded.insert(tx.kind.to().copied().unwrap_or_else(created));
    let id = revm::precompile::PrecompileSpecId::from_spec_id(evm::SPEC);
    excluded.extend(revm::precompile::Precompiles::new(id).addresses());
    excluded
}

/// Every account and slot that the run read or wrote.
fn access_list(touched: EvmState, excluded: &BTreeSet<Address>) -> AccessList {
    let mut items: Vec<AccessListItem> = touched
        .into_iter()
        .map(|(address, account)| {
            let mut storage_keys: Vec<B256> = account.storage.keys().map(|slot| B256::from(*slot)).collect();
            storage_keys.sort_unstable();
            (account.is_created(), AccessListItem { address, storage_keys })
        })
        .filter(|(created, item)| !item.storage_keys.is_empty() || !(*created || excluded.contains(&item.address)))
        .map(|(_, item)| item)
        .collect();
    items.sort_unstable_by_key(|item| item.address);
    AccessList(items)
}
