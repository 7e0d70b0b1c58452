//! Methods that bring transactions, or sign.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_consensus::TypedTransaction;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind};
use alloy_rpc_types_eth::TransactionRequest;
use serde_json::Value;

use super::params::{Params, from_value};
use super::{Outcome, call, fees, reply};
use crate::block::SignedTx;
use crate::chain::{Chain, decode_transaction};
use crate::error::JsonRpcError;
use crate::lock::Locked;

/// Answers `method`, or `None` if it is not one of these.
pub(crate) fn answer(chain: &Locked, method: &str, params: &mut Params) -> Option<Outcome> {
    Some(match method {
        "eth_sendRawTransaction" | "eth_sendRawTransactionSync" => send_raw(chain, params),
        "eth_sendTransaction" | "eth_sendTransactionSync" => send(chain, params, false),
        "eth_sendUnsignedTransaction" => send(chain, params, true),
        "eth_sign" => sign(&chain.read(), params, 0, 1),
        "personal_sign" => sign(&chain.read(), params, 1, 0),
        "eth_signTransaction" => sign_transaction(&chain.read(), params),
        "anvil_reorg" => reorg(chain, params),
        _ => return None,
    })
}

fn send_raw(chain: &Locked, params: &mut Params) -> Outcome {
    let raw: Bytes = params.required(0)?;
    // Recovering the sender is the expensive part; it needs no lock.
    let tx = decode_transaction(&raw)?;
    submit(&mut chain.write(), tx)
}

/// Takes several raw transactions at once, so that automatic mining puts them into one block.
pub(crate) fn send_raw_together(chain: &Locked, raw: Vec<Result<Bytes, JsonRpcError>>) -> Vec<Outcome> {
    let decoded: Vec<_> = raw.into_iter().map(|raw| raw.and_then(|raw| decode_transaction(&raw))).collect();
    let mut chain = chain.write();
    let added: Vec<_> = decoded.into_iter().map(|tx| tx.and_then(|tx| chain.add_transaction(tx))).collect();
    chain.mine_automatically();
    added.into_iter().map(|hash| reply(&hash?)).collect()
}

fn submit(chain: &mut Chain, tx: SignedTx) -> Outcome {
    let hash = chain.add_transaction(tx)?;
    chain.mine_automatically();
    reply(&hash)
}

fn send(chain: &Locked, params: &mut Params, without_signature: bool) -> Outcome {
    let request: TransactionRequest = params.required(0)?;
    let chain = &mut *chain.write();
    let from = sender(chain, &request)?;
    let nonce = request.nonce.unwrap_or_else(|| chain.pending_nonce(from));
    let typed = build(chain, request, from, nonce)?;
    let tx = if without_signature { chain.signers.unsigned(from, typed) } else { chain.signers.authorize(from, typed)? };
    submit(chain, tx)
}

fn sender(chain: &Chain, request: &TransactionRequest) -> Result<Address, JsonRpcError> {
    let first = || chain.signers.first().ok_or_else(|| JsonRpcError::invalid_params("No Signer available"));
    request.from.map_or_else(first, Ok)
}

/// Fills in what the request leaves out.
fn build(chain: &Chain, mut request: TransactionRequest, from: Address, nonce: u64) -> Result<TypedTransaction, JsonRpcError> {
    if request.has_eip4844_fields() || request.transaction_type == Some(3) {
        return Err(crate::validate::blobs_refused());
    }
    request.from = Some(from);
    request.chain_id.get_or_insert(chain.chain_id);
    request.nonce = Some(nonce);
    request.to.get_or_insert(TxKind::Create);
    request.normalize_input();
    if request.gas.is_none() {
        // A transaction that cannot be estimated is sent all the same, and fails on chain.
        request.gas = Some(call::estimate_latest(chain, &request).unwrap_or(chain.gas_limit));
    }
    let legacy = matches!(request.transaction_type, Some(0 | 1));
    if request.gas_price.is_none() && legacy {
        request.gas_price = Some(fees::gas_price(chain));
    }
    if request.gas_price.is_none() {
        let cap = *request.max_fee_per_gas.get_or_insert(fees::gas_price(chain));
        request.max_priority_fee_per_gas.get_or_insert(fees::LEAST_TIP.min(cap));
    }
    request
        .build_consensus_tx()
        .map_err(|error| JsonRpcError::invalid_params(format!("Invalid transaction request: {}", error.error)))
}

fn sign(chain: &Chain, params: &mut Params, address: usize, message: usize) -> Outcome {
    let (address, message): (Address, Bytes) = (params.required(address)?, params.required(message)?);
    let signature = chain.signers.sign_message(address, &message)?;
    reply(&Bytes::from(signature.as_bytes()))
}

fn sign_transaction(chain: &Chain, params: &mut Params) -> Outcome {
    let request: TransactionRequest = params.required(0)?;
    let from = sender(chain, &request)?;
    let nonce = request.nonce.unwrap_or_else(|| chain.pending_nonce(from));
    let tx = chain.signers.sign(from, build(chain, request, from, nonce)?)?;
    reply(&Bytes::from(tx.envelope.encoded_2718()))
}

// ---- reorganisation ----

/// `[depth, [[transaction, block], ...]]`: a transaction is raw bytes or a request, a block counts from the first new one.
fn reorg(chain: &Locked, params: &mut Params) -> Outcome {
    let (depth, pairs) = match params.value(0) {
        Some(Value::Object(mut options)) => {
            let depth = options.remove("depth").unwrap_or_default();
            (from_value(depth)?, from_value(options.remove("txBlockPairs").unwrap_or_else(|| Value::Array(Vec::new())))?)
        }
        Some(depth) => (from_value::<u64>(depth)?, params.optional::<Vec<(Value, u64)>>(1)?.unwrap_or_default()),
        None => return Err(JsonRpcError::invalid_params("missing value for required argument 0")),
    };
    let chain = &mut *chain.write();
    let height = chain.blocks.height();
    let Some(common) = height.checked_sub(depth) else {
        return Err(JsonRpcError::invalid_params(format!(
            "Reorg depth must not exceed current chain height: current height {height}, depth {depth}"
        )));
    };
    let blocks = reorg_transactions(chain, depth, common, pairs)?;
    chain.reorg(depth, blocks);
    reply(&Value::Null)
}

fn reorg_transactions(
    chain: &Chain,
    depth: u64,
    common: u64,
    mut pairs: Vec<(Value, u64)>,
) -> Result<BTreeMap<u64, Vec<Arc<SignedTx>>>, JsonRpcError> {
    if let Some((_, number)) = pairs.iter().find(|(_, number)| *number >= depth) {
        return Err(JsonRpcError::invalid_params(format!(
            "Block number for reorg tx will exceed the reorged chain height. Block number {number} must not exceed (depth-1) {}",
            depth.saturating_sub(1)
        )));
    }
    pairs.sort_by_key(|(_, number)| *number);
    let mut nonces = BTreeMap::new();
    let mut blocks = BTreeMap::<u64, Vec<_>>::new();
    for (data, number) in pairs {
        let tx = if data.is_string() {
            decode_transaction(&from_value::<Bytes>(data)?)?
        } else {
            let request: TransactionRequest = from_value(data)?;
            let from = sender(chain, &request)?;
            let version = chain.view(common)?.version;
            let first = || chain.state.account(from, version).map_or(0, |account| account.nonce);
            let nonce = nonces.entry(from).or_insert_with(first);
            let typed = build(chain, request, from, *nonce)?;
            *nonce += 1;
            chain.signers.authorize(from, typed)?
        };
        blocks.entry(number).or_default().push(Arc::new(tx));
    }
    Ok(blocks)
}

/// Whether the transaction of a `…Sync` method is mined.
pub(crate) fn mined_receipt(chain: &Chain, hash: B256) -> Option<Outcome> {
    chain.blocks.transaction(hash).map(|_| super::read::receipt(chain, hash))
}
