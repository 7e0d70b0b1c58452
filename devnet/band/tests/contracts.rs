//! Proofs of the simulator before the Bridge contracts themselves, on the embedded EVM chain.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use alloy_primitives::{Bytes, U256, hex};
use alloy_sol_types::SolCall;
use serde_json::{Value, json};
use support::{Wallet, advance, config};
use windlass_contracts::vrf::{Bridge, BridgeV2Layout, bridge};
use windlass_devnet_band::{BandConfig, Chain, Faults, GenesisValidator};
use windlass_devnet_evm::{Devnet, DevnetConfig, JsonRpcError};
use windlass_vrf_protocol::multistore::Layout;

/// A Bridge that was initialized with the chain's validators.
struct OnChain {
    evm: Devnet,
    sender: Value,
    address: Value,
}

impl OnChain {
    async fn new(chain: &Chain, layout: Layout) -> Self {
        let evm = Devnet::new(DevnetConfig::default());
        let sender = evm.request("eth_accounts", json!([])).await.unwrap()[0].clone();
        let code = if layout == Layout::V3 { &Bridge::BYTECODE } else { &BridgeV2Layout::BYTECODE };
        let mut on_chain = Self { evm, sender, address: Value::Null };
        on_chain.address = on_chain.transact(None, code).await["contractAddress"].clone();
        let powers = chain.validators_for_bridge().into_iter();
        let validators =
            powers.map(|(addr, power)| bridge::ValidatorPowers::ValidatorWithPower { addr, power: U256::from(power) }).collect();
        let call = Bridge::initializeCall { validators, _encodedChainID: chain.encoded_chain_id().0 };
        on_chain.send(&call.abi_encode()).await;
        on_chain
    }

    async fn transact(&self, to: Option<&Value>, data: &[u8]) -> Value {
        let transaction = json!({ "from": self.sender, "to": to, "data": hex::encode_prefixed(data), "gas": "0x1000000" });
        let hash = self.evm.request("eth_sendTransaction", json!([transaction])).await.unwrap();
        let receipt = self.evm.request("eth_getTransactionReceipt", json!([hash])).await.unwrap();
        assert_eq!(receipt["status"], "0x1");
        receipt
    }

    async fn send(&self, data: &[u8]) -> Value {
        self.transact(Some(&self.address), data).await
    }

    async fn call<C: SolCall>(&self, call: C) -> Result<C::Return, JsonRpcError> {
        let call = json!({ "to": self.address, "data": hex::encode_prefixed(call.abi_encode()) });
        let answer = self.evm.request("eth_call", json!([call, "latest"])).await?;
        let bytes = hex::decode(answer.as_str().unwrap()).unwrap();
        Ok(C::abi_decode_returns(&bytes).unwrap())
    }

    async fn verify(&self, proof: &Bytes) -> Result<u64, JsonRpcError> {
        let result = self.call(Bridge::verifyOracleResultCall { proof: proof.clone() }).await?;
        Ok(result.requestID)
    }
}

/// A chain with `count` results, proven by its newest canonical header.
fn with_results(layout: Layout, round: u32, validators: usize, count: u64) -> Chain {
    let mut wallet = Wallet::new(1);
    let validators = GenesisValidator::many(5, validators);
    let config = BandConfig { layout, round, validators, store_leaves: 4, ..config(&wallet) };
    let mut chain = Chain::new(config).unwrap();
    assert!(wallet.send(&mut chain, count).is_ok());
    advance(&mut chain, 6);
    chain
}

#[tokio::test]
async fn both_bridges_accept_what_is_served() {
    for (layout, round, validators) in [(Layout::V3, 0, 4), (Layout::V2, 0, 7), (Layout::V3, 2, 35)] {
        let chain = with_results(layout, round, validators, 5);
        let bridge = OnChain::new(&chain, layout).await;
        for id in 1..=5 {
            let proof = chain.proof(id, None).unwrap().evm_proof_bytes;
            assert_eq!(bridge.verify(&proof).await.unwrap(), id);
            bridge.send(&Bridge::relayAndVerifyCall { proof }.abi_encode()).await;
        }
        let multi = chain.multi_proof(&[2, 4]).unwrap().evm_proof_bytes;
        let results = bridge.call(Bridge::relayAndMultiVerifyCall { proof: multi }).await.unwrap();
        assert_eq!(results.iter().map(|result| result.requestID).collect::<Vec<_>>(), [2, 4]);
        let count = chain.count_proof().unwrap().evm_proof_bytes;
        let counted = bridge.call(Bridge::relayAndVerifyCountCall { proof: count }).await.unwrap();
        assert_eq!((counted._0, counted._1), (chain.latest().unwrap().header().time_second, 5));
    }
}

#[tokio::test]
async fn the_bridge_refuses_what_is_damaged() {
    let mut chain = with_results(Layout::V3, 0, 4, 1);
    let bridge = OnChain::new(&chain, Layout::V3).await;
    let refused = async |chain: &Chain| bridge.verify(&chain.proof(1, None).unwrap().evm_proof_bytes).await.unwrap_err().message;
    chain.set_faults(Faults { truncate_proof_bytes: 64, ..Faults::none() });
    assert_eq!(refused(&chain).await, "execution reverted");
    chain.set_faults(Faults { wrong_round: true, ..Faults::none() });
    let text = refused(&chain).await;
    assert!(text.contains("INVALID_SIGNATURE_SIGNER_ORDER") || text.contains("INSUFFICIENT_VALIDATOR_SIGNATURES"), "{text}");
    chain.set_faults(Faults { absent_validators: 2, ..Faults::none() });
    advance(&mut chain, 2);
    assert!(refused(&chain).await.contains("INSUFFICIENT_VALIDATOR_SIGNATURES"));
    chain.set_faults(Faults::none());
    chain.rotate_validators(4);
    advance(&mut chain, 4);
    assert!(refused(&chain).await.contains("INSUFFICIENT_VALIDATOR_SIGNATURES"));
    let other = OnChain::new(&chain, Layout::V2).await;
    assert!(other.verify(&chain.proof(1, None).unwrap().evm_proof_bytes).await.is_err(), "the other layout hashes another block");
}
