//! The one transaction of `deploy`: what it will cost, sending it, and checking what it made.

use std::fmt;
use std::time::Duration;

use alloy_consensus::transaction::RlpEcdsaEncodableTx;
use alloy_consensus::{SignableTransaction, TxEip1559, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_sol_types::SolCall;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use windlass_chain::{BlockRef, CallRequest, Receipt, Rpc, RpcError};
use windlass_contracts::KeyperPayer;
use windlass_keys::{LocalSigner, Signer};

use super::settings::Settings;
use super::{DeployError, revert_of};
use crate::protocol::abi::Deployment;

/// First and longest pause between two looks for the receipt.
const POLL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What a unit of gas may cost, in wei.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fee {
    Legacy { price: u128 },
    Dynamic { most: u128, priority: u128 },
}

impl Fee {
    fn most(self) -> u128 {
        match self {
            Fee::Legacy { price } => price,
            Fee::Dynamic { most, .. } => most,
        }
    }
}

/// Everything that is decided before sending.
#[derive(Debug)]
pub struct Plan {
    /// The latest block when the plan was made.
    pub head: BlockRef,
    /// Where the contract will be.
    pub address: Address,
    /// The account that pays.
    pub account: Address,
    chain_id: u64,
    nonce: u64,
    gas_limit: u64,
    fee: Fee,
    data: Bytes,
}

impl Plan {
    /// Asks the chain what is needed, simulates the creation, and checks that the account can pay for it.
    ///
    /// # Errors
    /// An endpoint that fails, a creation that would revert, an account without funds.
    pub async fn make(rpc: &dyn Rpc, settings: &Settings) -> Result<Self, DeployError> {
        let account = settings.signer.address();
        let data = settings.deployment.creation_data();
        let chain_id = ask::<U256>(rpc, "eth_chainId", json!([])).await?.saturating_to();
        let head: BlockRef = ask(rpc, "eth_getBlockByNumber", json!(["latest", false])).await?;
        let nonce = ask::<U256>(rpc, "eth_getTransactionCount", json!([account, "pending"])).await?.saturating_to();
        let fee = fee(rpc, &head).await?;
        let request = CallRequest { data: data.clone(), ..CallRequest::default() }.from(account);
        let estimate = match ask::<U256>(rpc, "eth_estimateGas", json!([request.to_param()])).await {
            Ok(estimate) => estimate.saturating_to::<u64>(),
            Err(DeployError::Refused { endpoint, method, source }) => {
                return Err(match revert_of(&source) {
                    Some(reason) => DeployError::WouldRevert(reason),
                    None => DeployError::Refused { endpoint, method, source },
                });
            }
            Err(error) => return Err(error),
        };
        // A fifth more, because the estimate is for a state that may have moved on when the transaction is mined.
        let gas_limit = estimate.saturating_add(estimate / 5);
        let balance: U256 = ask(rpc, "eth_getBalance", json!([account, "latest"])).await?;
        let cost = U256::from(gas_limit).saturating_mul(U256::from(fee.most()));
        if balance < cost {
            return Err(DeployError::InsufficientFunds { account, balance, cost });
        }
        Ok(Self { head, address: account.create(nonce), account, chain_id, nonce, gas_limit, fee, data })
    }

    /// Signs and sends the transaction and waits until it is mined.
    ///
    /// # Errors
    /// A refusal by the node; [`DeployError::Reverted`]; [`DeployError::NotMined`] when `wait` passes;
    /// [`DeployError::Unwatched`] when the endpoint fails while waiting.
    pub async fn send(&self, rpc: &dyn Rpc, signer: &LocalSigner, wait: Duration) -> Result<Deployed, DeployError> {
        let raw = self.sign(signer).await?;
        let transaction = keccak256(&raw);
        match rpc.request("eth_sendRawTransaction", json!([raw])).await {
            Ok(_) => {}
            // The node may have it all the same: look for it before giving up.
            Err(error) if error.outcome_unknown() || says_known(&error) => {}
            Err(error) => return Err(DeployError::of_call(rpc, "eth_sendRawTransaction", error)),
        }
        let receipt = match tokio::time::timeout(wait, receipt(rpc, transaction)).await {
            Ok(receipt) => receipt.map_err(|source| self.unwatched(transaction, source))?,
            Err(_) => return Err(DeployError::NotMined { transaction, address: self.address, waited: wait }),
        };
        if !receipt.succeeded() {
            return Err(DeployError::Reverted { transaction });
        }
        Ok(Deployed { address: self.address, transaction, block: receipt.block_number })
    }

    /// Says of a failure that it happened after the transaction was sent. A contract that is there and wrong stays what it is.
    pub(super) fn unwatched(&self, transaction: B256, source: DeployError) -> DeployError {
        match source {
            DeployError::Mismatch { .. } => source,
            source => DeployError::Unwatched { transaction, address: self.address, source: Box::new(source) },
        }
    }

    /// The signed transaction in its EIP-2718 encoding.
    async fn sign(&self, signer: &LocalSigner) -> Result<Bytes, DeployError> {
        match self.fee {
            Fee::Legacy { price } => {
                let transaction = TxLegacy {
                    chain_id: Some(self.chain_id),
                    nonce: self.nonce,
                    gas_price: price,
                    gas_limit: self.gas_limit,
                    to: TxKind::Create,
                    value: U256::ZERO,
                    input: self.data.clone(),
                };
                encode_signed(transaction, signer).await
            }
            Fee::Dynamic { most, priority } => {
                let transaction = TxEip1559 {
                    chain_id: self.chain_id,
                    nonce: self.nonce,
                    gas_limit: self.gas_limit,
                    max_fee_per_gas: most,
                    max_priority_fee_per_gas: priority,
                    to: TxKind::Create,
                    value: U256::ZERO,
                    access_list: Default::default(),
                    input: self.data.clone(),
                };
                encode_signed(transaction, signer).await
            }
        }
    }
}

/// What a dry run adds to the terms.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, " account: {} (nonce {}),", self.account, self.nonce)?;
        writeln!(f, " chainId: {},", self.chain_id)?;
        writeln!(f, " gasLimit: {},", self.gas_limit)?;
        writeln!(f, " highestCost: {} wei", U256::from(self.gas_limit).saturating_mul(U256::from(self.fee.most())))
    }
}

/// A contract that was created and mined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deployed {
    /// Where it is.
    pub address: Address,
    /// The transaction that created it.
    pub transaction: B256,
    /// The block that includes it.
    pub block: u64,
}

impl Deployed {
    /// Checks that the code on the chain is ours and that the contract answers with the terms it was given.
    ///
    /// # Errors
    /// [`DeployError::Mismatch`] naming the first difference.
    pub async fn verify(&self, rpc: &dyn Rpc, expected: &Deployment) -> Result<(), DeployError> {
        let same = |what, same| if same { Ok(()) } else { Err(DeployError::Mismatch { address: self.address, what }) };
        let code: Bytes = ask(rpc, "eth_getCode", json!([self.address, self.block_parameter()])).await?;
        same("the code", code == KeyperPayer::DEPLOYED_BYTECODE)?;
        let token = self.read(rpc, KeyperPayer::sptTokenAddressCall {}).await?;
        same("sptTokenAddress", token == Some(expected.token))?;
        let keypers = self.read(rpc, KeyperPayer::getKeypersCall {}).await?;
        same("getKeypers", keypers.as_ref() == Some(&expected.keypers))?;
        let rate = self.read(rpc, KeyperPayer::requestedRateCall {}).await?;
        same("requestedRate", rate == Some(expected.requested_rate))?;
        let start = self.read(rpc, KeyperPayer::startTimestampCall {}).await?;
        same("startTimestamp", start == Some(expected.start_timestamp))
    }

    /// A getter's answer. `None`: it is not encoded as the getter's type.
    async fn read<C: SolCall>(&self, rpc: &dyn Rpc, call: C) -> Result<Option<C::Return>, DeployError> {
        let request = CallRequest::new(self.address, call.abi_encode());
        let output: Bytes = ask(rpc, "eth_call", json!([request.to_param(), self.block_parameter()])).await?;
        Ok(C::abi_decode_returns_validate(&output).ok())
    }

    fn block_parameter(&self) -> String {
        format!("{:#x}", self.block)
    }
}

async fn encode_signed<T>(transaction: T, signer: &LocalSigner) -> Result<Bytes, DeployError>
where
    T: SignableTransaction<alloy_primitives::Signature> + RlpEcdsaEncodableTx,
{
    let signature = signer.sign_preimage(&transaction.encoded_for_signing()).await?;
    let mut raw = Vec::new();
    transaction.eip2718_encode(&signature, &mut raw);
    Ok(raw.into())
}

/// Twice the base fee outlasts six full blocks in a row; what is not needed is not paid.
async fn fee(rpc: &dyn Rpc, head: &BlockRef) -> Result<Fee, DeployError> {
    let Some(base) = head.base_fee_per_gas else {
        let price: U256 = ask(rpc, "eth_gasPrice", json!([])).await?;
        return Ok(Fee::Legacy { price: price.saturating_to() });
    };
    let base = u128::from(base);
    let priority = match ask::<U256>(rpc, "eth_maxPriorityFeePerGas", json!([])).await {
        Ok(priority) => priority.saturating_to(),
        // Not part of the standard: what a transaction costs at the moment contains the usual priority fee.
        Err(DeployError::Refused { .. }) => {
            ask::<U256>(rpc, "eth_gasPrice", json!([])).await?.saturating_to::<u128>().saturating_sub(base)
        }
        Err(error) => return Err(error),
    };
    Ok(Fee::Dynamic { most: base.saturating_mul(2).saturating_add(priority), priority })
}

/// Looks for the receipt until it is there. Failures that may pass are waited out; the caller sets the time limit.
async fn receipt(rpc: &dyn Rpc, transaction: B256) -> Result<Receipt, DeployError> {
    let (mut pause, longest) = POLL;
    loop {
        match ask::<Option<Receipt>>(rpc, "eth_getTransactionReceipt", json!([transaction])).await {
            Ok(Some(receipt)) => return Ok(receipt),
            Ok(None) => {}
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// Whether a node refuses a transaction because it has it already, as after a lost answer.
fn says_known(error: &RpcError) -> bool {
    matches!(error, RpcError::Response { message, .. } if message.to_ascii_lowercase().contains("already known"))
}

async fn ask<T: DeserializeOwned>(rpc: &dyn Rpc, method: &str, params: Value) -> Result<T, DeployError> {
    let answer = rpc.request(method, params).await.and_then(|answer| answer.parse(method));
    answer.map_err(|error| DeployError::of_call(rpc, method, error))
}
