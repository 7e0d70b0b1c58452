//! Blocks, transactions of every type, receipts, and what is refused.

use alloy_consensus::{TxEip2930, TxEip7702, TxLegacy};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_eips::eip7702::Authorization;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_signer::SignerSync;
use serde_json::{Value, json};

use crate::node::{
    ALICE, BOB, CAROL, EMITTER, ETHER, GWEI, Node, ONE, alice, bob, is_anvil, number, quantity, sign, transfer, word,
};

#[tokio::test]
async fn a_fresh_chain_looks_like_anvil() {
    let node = Node::start().await;
    assert_eq!(node.ok("eth_chainId", json!([])).await, "0x7a69");
    assert_eq!(node.ok("net_version", json!([])).await, "31337");
    assert_eq!(node.ok("net_listening", json!([])).await, true);
    assert_eq!(node.ok("eth_syncing", json!([])).await, false);
    assert_eq!(node.ok("eth_protocolVersion", json!([])).await, 1);
    assert_eq!(node.number("eth_gasPrice", json!([])).await, 2 * GWEI);
    assert_eq!(node.number("eth_maxPriorityFeePerGas", json!([])).await, GWEI);
    assert_eq!(node.number("eth_blobBaseFee", json!([])).await, 1);
    let accounts = node.ok("eth_accounts", json!([])).await;
    assert_eq!(accounts.as_array().unwrap().len(), 10);
    for account in accounts.as_array().unwrap() {
        assert_eq!(node.number("eth_getBalance", json!([account, "latest"])).await, 10_000 * ETHER);
    }
    let genesis = node.block("latest").await;
    assert_eq!(number(&genesis["number"]), 0);
    assert_eq!(number(&genesis["gasLimit"]), 30_000_000);
    assert_eq!(number(&genesis["baseFeePerGas"]), GWEI);
    assert_eq!(genesis["parentHash"], word(0));
    assert_eq!(genesis["transactions"], json!([]));
    for code_at in ["0x4e59b44847b379578588920cA78FbF26c0B4956C", "0x0000F90827F1C53a10cb7A02335B175320002935"] {
        assert_ne!(node.ok("eth_getCode", json!([code_at, "latest"])).await, "0x", "{code_at}");
    }
    let info = node.ok("anvil_nodeInfo", json!([])).await;
    assert_eq!(info["hardFork"], "Bpo1");
    assert_eq!(info["environment"]["chainId"], 31_337);
}

#[tokio::test]
async fn headers_link_and_hash() {
    let node = Node::start().await;
    node.transact(json!({ "from": ALICE, "to": BOB, "value": "0x1" })).await;
    node.ok("anvil_mine", json!(["0x2"])).await;
    let mut parent = node.block("0x0").await;
    for height in 1..=3u64 {
        let block = node.block(&format!("{height:#x}")).await;
        assert_eq!(block["parentHash"], parent["hash"]);
        let header: alloy_consensus::Header = serde_json::from_value(block.clone()).unwrap();
        assert_eq!(json!(header.hash_slow()), block["hash"], "the hash is that of the header");
        let expected = alloy_eips::eip1559::BaseFeeParams::ethereum().next_block_base_fee(
            number(&parent["gasUsed"]) as u64,
            number(&parent["gasLimit"]) as u64,
            number(&parent["baseFeePerGas"]) as u64,
        );
        // The first block still has the fee the chain was started with.
        let expected = if height == 1 { GWEI as u64 } else { expected };
        assert_eq!(number(&block["baseFeePerGas"]) as u64, expected);
        assert_eq!(node.ok("eth_getBlockByHash", json!([block["hash"], false])).await, block);
        parent = block;
    }
}

#[tokio::test]
async fn the_transactions_root_is_real() {
    let node = Node::start_manual().await;
    for nonce in 0..3 {
        node.send_raw(&sign(&alice(), transfer(nonce))).await;
    }
    node.ok("evm_mine", json!([])).await;
    let block: alloy_rpc_types_eth::Block =
        serde_json::from_value(node.ok("eth_getBlockByNumber", json!(["latest", true])).await).unwrap();
    let envelopes: Vec<_> = block.transactions.txns().map(|tx| tx.inner.clone().into_inner()).collect();
    assert_eq!(envelopes.len(), 3);
    assert_eq!(alloy_consensus::proofs::calculate_transaction_root(&envelopes), block.header.transactions_root);
}

#[tokio::test]
async fn every_type_is_mined() {
    let node = Node::start().await;
    let legacy = |nonce, chain_id| TxLegacy {
        chain_id,
        nonce,
        gas_price: 3 * GWEI,
        gas_limit: 21_000,
        to: TxKind::Call(CAROL),
        value: U256::from(1),
        input: Bytes::new(),
    };
    let list = AccessList(vec![AccessListItem { address: CAROL, storage_keys: vec![B256::ZERO] }]);
    let access = TxEip2930 {
        chain_id: 31_337,
        nonce: 2,
        gas_price: 3 * GWEI,
        gas_limit: 30_000,
        to: TxKind::Call(CAROL),
        access_list: list.clone(),
        ..Default::default()
    };
    let cases: Vec<(Bytes, &str, u128)> = vec![
        (sign(&alice(), legacy(0, Some(31_337))), "0x0", 21_000),
        (sign(&alice(), legacy(1, None)), "0x0", 21_000),
        (sign(&alice(), access), "0x1", 21_000 + 2_400 + 1_900),
        (sign(&alice(), transfer(3)), "0x2", 21_000),
    ];
    for (index, (raw, kind, gas)) in cases.iter().enumerate() {
        let hash = node.send_raw(raw).await;
        assert_eq!(hash, json!(keccak256(raw)));
        let receipt = node.receipt(&hash).await;
        assert_eq!((&receipt["type"], &receipt["status"]), (&json!(kind), &json!("0x1")), "case {index}");
        assert_eq!(number(&receipt["gasUsed"]), *gas);
        assert_eq!(number(&receipt["blockNumber"]), index as u128 + 1);
        assert_eq!(receipt["from"], json!(ALICE));
        assert_eq!(receipt["to"], json!(CAROL));
        assert_eq!(receipt["contractAddress"], Value::Null);
        let tx = node.mined(&hash).await;
        assert_eq!((&tx["type"], &tx["from"], &tx["blockHash"]), (&json!(kind), &json!(ALICE), &receipt["blockHash"]));
        assert_eq!(tx["gasPrice"], receipt["effectiveGasPrice"]);
        let place = json!([receipt["blockNumber"], "0x0"]);
        assert_eq!(node.ok("eth_getTransactionByBlockNumberAndIndex", place).await, tx);
        assert_eq!(node.ok("eth_getTransactionByBlockHashAndIndex", json!([receipt["blockHash"], "0x0"])).await, tx);
        assert_eq!(node.ok("eth_getRawTransactionByHash", json!([hash])).await, json!(raw));
        assert_eq!(node.ok("eth_getBlockReceipts", json!([receipt["blockNumber"]])).await, json!([receipt]));
    }
}

#[tokio::test]
async fn a_delegation_is_set_and_used() {
    let node = Node::start().await;
    let target = node.deploy(EMITTER).await;
    let address: Address = serde_json::from_value(target).unwrap();
    let authorization = Authorization { chain_id: U256::from(31_337), address, nonce: 0 };
    let signature = bob().sign_hash_sync(&authorization.signature_hash()).unwrap();
    let tx = TxEip7702 {
        chain_id: 31_337,
        nonce: 1,
        gas_limit: 200_000,
        max_fee_per_gas: 4 * GWEI,
        max_priority_fee_per_gas: GWEI,
        to: BOB,
        authorization_list: vec![authorization.into_signed(signature)],
        input: crate::node::emit(5, 6).parse().unwrap(),
        ..Default::default()
    };
    let receipt = node.receipt(&node.send_raw(&sign(&alice(), tx)).await).await;
    assert_eq!((&receipt["status"], &receipt["type"]), (&json!("0x1"), &json!("0x4")));
    assert_eq!(receipt["logs"][0]["address"], json!(BOB));
    let code = node.ok("eth_getCode", json!([BOB, "latest"])).await;
    assert_eq!(code.as_str().unwrap(), format!("0xef0100{}", alloy_primitives::hex::encode(address)));
    assert_eq!(node.number("eth_getTransactionCount", json!([BOB, "latest"])).await, 1);
}

#[tokio::test]
async fn money_moves_and_fees_are_paid() {
    let node = Node::start().await;
    let receipt = node.transact(json!({ "from": ALICE, "to": BOB, "value": quantity(ETHER) })).await;
    let price = number(&receipt["effectiveGasPrice"]);
    assert_eq!(price, 2 * GWEI);
    let balance = |who, at: &'static str| node.number("eth_getBalance", json!([who, at]));
    assert_eq!(balance(ALICE, "latest").await, 9_999 * ETHER - 21_000 * price);
    assert_eq!(balance(BOB, "latest").await, 10_001 * ETHER);
    assert_eq!(balance(ALICE, "earliest").await, 10_000 * ETHER);
    assert_eq!(balance(BOB, "0x0").await, 10_000 * ETHER);
    // The tip goes to the coinbase, the base fee is burnt.
    assert_eq!(balance(Address::ZERO, "latest").await, 21_000 * GWEI);
}

#[tokio::test]
async fn contracts_are_created_and_failures_are_mined() {
    let node = Node::start().await;
    let created = node.deploy(ONE).await;
    assert_eq!(created, json!(ALICE.create(0)));
    assert_eq!(node.ok("eth_getStorageAt", json!([created, "0x0", "latest"])).await, word(1));
    assert_eq!(node.ok("eth_getStorageAt", json!([created, "0x0", "0x0"])).await, word(0));
    assert_eq!(node.ok("eth_getCode", json!([created, "0x0"])).await, "0x");
    let failed = node.transact(json!({ "from": ALICE, "data": crate::node::reverting(b""), "gas": "0x20000" })).await;
    assert_eq!(failed["status"], "0x0");
    assert_eq!(failed["contractAddress"], json!(ALICE.create(1)));
    let starved = node.transact(json!({ "from": ALICE, "data": "0x5b600056", "gas": "0x20000" })).await;
    assert_eq!((&starved["status"], &starved["gasUsed"]), (&json!("0x0"), &json!("0x20000")));
    assert_eq!(node.number("eth_getTransactionCount", json!([ALICE, "latest"])).await, 3);
}

#[tokio::test]
async fn bad_transactions_are_refused_with_the_known_texts() {
    let node = Node::start().await;
    let mined = sign(&alice(), transfer(0));
    node.receipt(&node.send_raw(&mined).await).await;
    let poor = alloy_signer_local::PrivateKeySigner::from_slice(&[7; 32]).unwrap();
    let next = |change: fn(&mut alloy_consensus::TxEip1559)| {
        let mut tx = transfer(1);
        change(&mut tx);
        sign(&alice(), tx)
    };
    let cases: Vec<(&str, Bytes, i64, &str)> = vec![
        ("mined before", mined, -32003, "nonce too low"),
        (
            "nonce used",
            sign(&alice(), {
                let mut tx = transfer(0);
                tx.gas_limit = 22_000;
                tx
            }),
            -32003,
            "nonce too low",
        ),
        ("no money", sign(&poor, transfer(0)), -32003, "Insufficient funds for gas * price + value"),
        (
            "too much value",
            next(|tx| tx.value = U256::from(10_001 * ETHER)),
            -32003,
            "Insufficient funds for gas * price + value",
        ),
        ("little gas", next(|tx| tx.gas_limit = 20_999), -32000, "intrinsic gas too low"),
        (
            "much gas",
            next(|tx| tx.gas_limit = 30_000_001),
            -32000,
            "intrinsic gas too high -- tx.gas_limit > env.block.gas_limit",
        ),
        (
            "low cap",
            next(|tx| (tx.max_fee_per_gas, tx.max_priority_fee_per_gas) = (1, 1)),
            -32003,
            "max fee per gas less than block base fee",
        ),
        (
            "tip above cap",
            next(|tx| tx.max_priority_fee_per_gas = 5 * GWEI),
            -32003,
            "max priority fee per gas higher than max fee per gas",
        ),
        ("other chain", next(|tx| tx.chain_id = 1), -32003, "invalid chain id for signer"),
        (
            "huge init code",
            next(|tx| (tx.to, tx.input, tx.gas_limit) = (TxKind::Create, vec![0u8; 49_153].into(), 10_000_000)),
            -32003,
            "max initcode size exceeded",
        ),
        ("nothing", Bytes::new(), -32602, "Empty transaction data"),
        ("no transaction", Bytes::from_static(&[0x12, 0x34]), -32602, "Failed to decode transaction"),
        ("cut off", sign(&alice(), transfer(1)).slice(..40), -32602, "Failed to decode transaction"),
    ];
    for (name, raw, code, message) in cases {
        assert_eq!(node.fails("eth_sendRawTransaction", json!([raw])).await, (code, message.to_owned()), "{name}");
    }
    assert_eq!(node.height().await, 1);
    assert_eq!(node.ok("txpool_status", json!([])).await, json!({ "pending": "0x0", "queued": "0x0" }));
}

#[tokio::test]
async fn a_transaction_may_use_a_whole_block() {
    let node = Node::start().await;
    let mut tx = transfer(0);
    tx.gas_limit = 30_000_000;
    let receipt = node.receipt(&node.send_raw(&sign(&alice(), tx)).await).await;
    assert_eq!(receipt["gasUsed"], "0x5208");
}

#[tokio::test]
async fn unknown_things_are_null_or_known_errors() {
    let node = Node::start().await;
    let unknown = word(77);
    for method in ["eth_getTransactionByHash", "eth_getTransactionReceipt", "eth_getRawTransactionByHash", "eth_getBlockReceipts"]
    {
        assert_eq!(node.ok(method, json!([unknown])).await, Value::Null, "{method}");
    }
    assert_eq!(node.ok("eth_getBlockByHash", json!([unknown, true])).await, Value::Null);
    assert_eq!(node.ok("eth_getBlockByNumber", json!(["0xffff", true])).await, Value::Null);
    assert_eq!(node.ok("eth_getTransactionByBlockNumberAndIndex", json!(["latest", "0x5"])).await, Value::Null);
    assert_eq!(node.ok("eth_getUncleByBlockNumberAndIndex", json!(["latest", "0x0"])).await, Value::Null);
    assert_eq!(node.ok("eth_getUncleCountByBlockNumber", json!(["latest"])).await, "0x0");
    let out_of_range = (-32602, "BlockOutOfRangeError: block height is 0 but requested was 65535".to_owned());
    assert_eq!(node.fails("eth_getBalance", json!([ALICE, "0xffff"])).await, out_of_range);
    assert_eq!(node.fails("eth_call", json!([{ "to": ALICE }, "0xffff"])).await, out_of_range);
    assert_eq!(node.fails("eth_getBlockTransactionCountByNumber", json!(["0xffff"])).await, out_of_range);
    let not_found = (-32001, "Resource not found".to_owned());
    assert_eq!(node.fails("eth_getBalance", json!([ALICE, { "blockHash": unknown }])).await, not_found);
    assert_eq!(node.fails("eth_getUncleCountByBlockHash", json!([unknown])).await, not_found);
}

#[tokio::test]
async fn fee_history_tells_what_was_paid() {
    let node = Node::start_manual().await;
    for (signer, tip) in [(alice(), 3 * GWEI), (bob(), GWEI)] {
        let mut tx = transfer(0);
        tx.max_priority_fee_per_gas = tip;
        tx.max_fee_per_gas = 10 * GWEI;
        node.send_raw(&sign(&signer, tx)).await;
    }
    node.ok("evm_mine", json!([])).await;
    let history = fee_history(&node).await;
    assert_eq!(history["oldestBlock"], "0x0");
    assert_eq!(history["baseFeePerGas"].as_array().unwrap().len(), 3);
    assert_eq!(history["reward"][1], json!([quantity(GWEI), quantity(GWEI), quantity(3 * GWEI)]));
    let ratio = history["gasUsedRatio"][1].as_f64().unwrap();
    assert!((ratio - 42_000.0 / 30_000_000.0).abs() < 1e-12);
    assert_eq!(number(&history["baseFeePerGas"][0]), GWEI);
    assert_eq!(number(&history["baseFeePerGas"][2]) + GWEI, node.number("eth_gasPrice", json!([])).await);
}

/// `anvil` fills its fee history a moment after the block.
async fn fee_history(node: &Node) -> Value {
    loop {
        let history = node.ok("eth_feeHistory", json!(["0x4", "latest", [0, 40, 100]])).await;
        if history["gasUsedRatio"].as_array().unwrap().len() == 2 {
            return history;
        }
        assert!(is_anvil(), "{history}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
