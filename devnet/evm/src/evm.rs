//! Running transactions and calls on `revm`.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

use alloy_consensus::{Header, Transaction, TxEnvelope, Typed2718};
use alloy_eips::eip2935::HISTORY_STORAGE_ADDRESS;
use alloy_primitives::map::AddressMap;
use alloy_primitives::{Address, B256, U256};
use revm::bytecode::Bytecode;
use revm::context::either::Either;
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction, ResultAndState};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::primitives::hardfork::SpecId;
use revm::state::{Account, AccountInfo};
use revm::{Context, Database, DatabaseCommit, DatabaseRef, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext};

use crate::block::{Blocks, MinedReceipt, SignedTx, receipt_envelope};
use crate::state::{State, Version};

/// The rules: Osaka, which `anvil` 1.7.1 calls by its blob schedule "Bpo1".
pub(crate) const SPEC: SpecId = SpecId::OSAKA;

/// Blob parameter of EIP-4844 for the current schedule; there are no blobs, so it only decides that the price is 1 wei.
const BLOB_UPDATE_FRACTION: u64 = 8_346_193;

/// Slots of the ring of old block hashes (EIP-2935).
const HISTORY_WINDOW: u64 = 8_191;

/// Why a transaction or call could not start.
pub(crate) type StartError = EVMError<Infallible>;

/// The state and the block hashes at one point, read only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) state: &'a State,
    pub(crate) blocks: &'a Blocks,
    pub(crate) version: Version,
    /// Number of the block that runs, or after which the state is read: hashes of earlier blocks are visible.
    pub(crate) number: u64,
}

impl View<'_> {
    pub(crate) fn slot(&self, address: Address, slot: U256) -> U256 {
        read_slot(self.state, self.blocks, self.version, self.number, address, slot)
    }
}

/// Storage, with the hashes of old blocks in the history contract answered from the blocks themselves (EIP-2935): that saves one
/// write per block.
fn read_slot(state: &State, blocks: &Blocks, version: Version, number: u64, address: Address, slot: U256) -> U256 {
    if address != HISTORY_STORAGE_ADDRESS {
        return state.slot(address, slot, version);
    }
    let Ok(slot) = u64::try_from(slot) else { return U256::ZERO };
    let Some(newest) = number.checked_sub(1).filter(|_| slot < HISTORY_WINDOW) else { return U256::ZERO };
    let back = (newest % HISTORY_WINDOW + HISTORY_WINDOW - slot) % HISTORY_WINDOW;
    let hash = newest.checked_sub(back).and_then(|number| blocks.hash_of(number));
    hash.map_or(U256::ZERO, |hash| U256::from_be_bytes(hash.0))
}

impl DatabaseRef for View<'_> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.state.info(address, self.version))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.state.code(code_hash))
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        Ok(self.slot(address, slot))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(self.blocks.hash_of(number).filter(|_| number < self.number).unwrap_or_default())
    }
}

/// The newest state, which transactions of a block write to.
pub(crate) struct Writer<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) blocks: &'a Blocks,
    pub(crate) number: u64,
}

impl Database for Writer<'_> {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.state.info(address, self.state.version()))
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.state.code(code_hash))
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Infallible> {
        Ok(read_slot(self.state, self.blocks, self.state.version(), self.number, address, slot))
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        Ok(self.blocks.hash_of(number).filter(|_| number < self.number).unwrap_or_default())
    }
}

impl DatabaseCommit for Writer<'_> {
    fn commit(&mut self, changes: AddressMap<Account>) {
        self.state.commit(changes);
    }
}

/// The rules for transactions in blocks.
pub(crate) fn rules(chain_id: u64) -> CfgEnv {
    let mut cfg = CfgEnv::new_with_spec(SPEC).with_chain_id(chain_id);
    // Like anvil: contracts may send (impersonation), and a transaction may use a whole block.
    cfg.disable_eip3607 = true;
    cfg.tx_gas_limit_cap = Some(u64::MAX);
    cfg
}

/// The environment of a block with this header.
pub(crate) fn environment(header: &Header) -> BlockEnv {
    BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or_default(),
        difficulty: header.difficulty,
        prevrandao: Some(header.mix_hash),
        blob_excess_gas_and_price: Some(BlobExcessGasAndPrice::new(0, BLOB_UPDATE_FRACTION)),
        ..Default::default()
    }
}

/// The interpreter's form of a signed transaction.
pub(crate) fn transaction(tx: &SignedTx) -> TxEnv {
    let envelope = &tx.envelope;
    TxEnv {
        tx_type: envelope.ty(),
        caller: tx.from,
        gas_limit: envelope.gas_limit(),
        gas_price: envelope.max_fee_per_gas(),
        kind: envelope.kind(),
        value: envelope.value(),
        data: envelope.input().clone(),
        nonce: envelope.nonce(),
        chain_id: envelope.chain_id(),
        access_list: envelope.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: envelope.max_priority_fee_per_gas(),
        authorization_list: envelope.authorization_list().unwrap_or_default().iter().cloned().map(Either::Left).collect(),
        ..Default::default()
    }
}

/// What the transactions of a block did.
#[derive(Debug, Default)]
pub(crate) struct Executed {
    pub(crate) transactions: Vec<Arc<SignedTx>>,
    pub(crate) receipts: Vec<MinedReceipt>,
    pub(crate) gas_used: u64,
    /// Transactions that can not be mined on this state.
    pub(crate) invalid: Vec<B256>,
}

/// Runs `candidates` in order as one block and commits each to `db`. A transaction that does not fit is left out, and with it the
/// later ones of its sender.
pub(crate) fn run_block<DB>(db: DB, mut cfg: CfgEnv, env: BlockEnv, candidates: &[Arc<SignedTx>]) -> Executed
where
    DB: Database<Error = Infallible> + DatabaseCommit,
{
    // A base fee of zero is only ever set by hand; it means that fees do not matter.
    cfg.disable_base_fee |= env.basefee == 0;
    let gas_limit = env.gas_limit;
    let mut executed = Executed::default();
    let mut left_out = HashSet::new();
    let mut logs = 0u64;
    let mut evm = Context::mainnet().with_db(db).with_cfg(cfg).with_block(env).build_mainnet();
    for tx in candidates {
        let fits = executed.gas_used.saturating_add(tx.envelope.gas_limit()) <= gas_limit;
        if !fits || left_out.contains(&tx.from) {
            left_out.insert(tx.from);
            continue;
        }
        match evm.transact_commit(transaction(tx)) {
            Ok(result) => {
                executed.gas_used = executed.gas_used.saturating_add(result.tx_gas_used());
                let receipt = receipt(&tx.envelope, tx.from, result, executed.gas_used, logs);
                logs += receipt.envelope.logs().len() as u64;
                executed.receipts.push(receipt);
                executed.transactions.push(tx.clone());
            }
            Err(error) => {
                left_out.insert(tx.from);
                if !matches!(error, EVMError::Transaction(InvalidTransaction::NonceTooHigh { .. })) {
                    tracing::debug!(tx_hash = %tx.hash, %error, "transaction left the pool");
                    executed.invalid.push(tx.hash);
                }
            }
        }
    }
    executed
}

fn receipt(envelope: &TxEnvelope, from: Address, result: ExecutionResult, cumulative: u64, first_log: u64) -> MinedReceipt {
    let gas_used = result.tx_gas_used();
    let success = result.is_success();
    // Only a successful transaction leaves logs.
    let logs = if success { result.into_logs() } else { Vec::new() };
    MinedReceipt {
        envelope: receipt_envelope(envelope, success, cumulative, logs),
        gas_used,
        contract_address: envelope.is_create().then(|| from.create(envelope.nonce())),
        first_log,
    }
}

/// Runs one call without keeping what it changes.
pub(crate) fn call<DB>(db: DB, cfg: CfgEnv, env: BlockEnv, tx: TxEnv) -> Result<ResultAndState, StartError>
where
    DB: Database<Error = Infallible>,
{
    Context::mainnet().with_db(db).with_cfg(cfg).with_block(env).build_mainnet().transact(tx)
}

/// The rules for calls: no limits of the block, no nonce check, fees only where the request names them.
pub(crate) fn call_rules(chain_id: u64) -> CfgEnv {
    let mut cfg = rules(chain_id);
    cfg.disable_block_gas_limit = true;
    cfg.disable_base_fee = true;
    cfg.disable_nonce_check = true;
    cfg
}
