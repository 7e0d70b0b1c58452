//! The chain through `alloy`, the client that the services use.

use alloy_network::{EthereumWallet, TransactionBuilder};
use alloy_primitives::U256;
use alloy_provider::{Provider, ProviderBuilder};
use alloy_rpc_types_eth::{BlockNumberOrTag, Filter, TransactionRequest};

use crate::node::{ALICE, CAROL, EMITTER, ETHER, Node, alice, emit};

#[tokio::test]
async fn alloy_deploys_calls_and_reads() {
    let node = Node::start().await;
    let wallet = EthereumWallet::from(alice());
    let provider = ProviderBuilder::new().wallet(wallet).connect_http(node.http.parse().unwrap());
    assert_eq!(provider.get_chain_id().await.unwrap(), 31_337);

    // The fillers ask for nonce, gas, fees and chain id.
    let transfer = TransactionRequest::default().with_to(CAROL).with_value(U256::from(5));
    let receipt = provider.send_transaction(transfer).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
    assert_eq!(receipt.from, ALICE);
    assert_eq!(provider.get_balance(CAROL).await.unwrap(), U256::from(10_000 * ETHER + 5));

    let deployment = TransactionRequest::default().with_deploy_code(EMITTER.parse::<alloy_primitives::Bytes>().unwrap());
    let deployed = provider.send_transaction(deployment).await.unwrap().get_receipt().await.unwrap();
    let contract = deployed.contract_address.unwrap();
    assert_eq!(contract, ALICE.create(1));

    let call = TransactionRequest::default().with_to(contract).with_input(emit(7, 8).parse::<alloy_primitives::Bytes>().unwrap());
    let receipt = provider.send_transaction(call).await.unwrap().get_receipt().await.unwrap();
    let logs = provider.get_logs(&Filter::new().address(contract).from_block(0)).await.unwrap();
    assert_eq!(logs, receipt.logs());

    let block = provider.get_block_by_number(BlockNumberOrTag::Latest).full().await.unwrap().unwrap();
    assert_eq!(Some(block.header.hash), receipt.block_hash);
    assert_eq!(block.transactions.as_transactions().unwrap().len(), 1);
    let receipts = provider.get_block_receipts(BlockNumberOrTag::Latest.into()).await.unwrap().unwrap();
    assert_eq!(receipts, [receipt]);
    let fees = provider.estimate_eip1559_fees().await.unwrap();
    assert!(fees.max_fee_per_gas >= fees.max_priority_fee_per_gas);
    let history = provider.get_fee_history(2, BlockNumberOrTag::Latest, &[50.0]).await.unwrap();
    assert_eq!(history.base_fee_per_gas.len(), 3);
}

#[tokio::test]
async fn alloy_sees_refusals_as_error_responses() {
    let node = Node::start().await;
    let provider = ProviderBuilder::new().connect_http(node.http.parse().unwrap());
    let call =
        TransactionRequest::default().with_deploy_code(crate::node::reverting(b"no").parse::<alloy_primitives::Bytes>().unwrap());
    let error = provider.call(call).await.unwrap_err();
    let payload = error.as_error_resp().unwrap();
    assert_eq!((payload.code, payload.message.as_ref()), (3, "execution reverted: no"));
    assert_eq!(payload.as_revert_data().unwrap().as_ref(), b"no");
}
