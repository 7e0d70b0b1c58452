//! Mining, time, snapshots, reorganisations, changes by hand.

use serde_json::{Value, json};

use crate::node::{ALICE, BOB, CAROL, EMITTER, ETHER, GWEI, NOBODY, Node, alice, emit, number, quantity, sign, transfer, word};

async fn time_of(node: &Node, id: &str) -> u128 {
    number(&node.block(id).await["timestamp"])
}

#[tokio::test]
async fn blocks_are_mined_on_demand() {
    let node = Node::start().await;
    assert_eq!(node.ok("evm_mine", json!([])).await, "0x0");
    assert_eq!(node.ok("anvil_mine", json!([])).await, Value::Null);
    assert_eq!(node.ok("hardhat_mine", json!(["0x3"])).await, Value::Null);
    assert_eq!(node.ok("anvil_mine", json!([2])).await, Value::Null);
    assert_eq!(node.ok("anvil_mine", json!(["0x0"])).await, Value::Null);
    assert_eq!(node.height().await, 7);
    let start = time_of(&node, "latest").await;
    node.ok("anvil_mine", json!(["0x3", "0x64"])).await;
    let end = time_of(&node, "latest").await;
    assert!((300..310).contains(&(end - start)), "{start} {end}");
    assert_eq!(number(&node.block("safe").await["number"]), 0);
    node.ok("anvil_mine", json!(["0x64"])).await;
    assert_eq!(number(&node.block("safe").await["number"]), 110 - 32);
    assert_eq!(number(&node.block("finalized").await["number"]), 110 - 64);
}

#[tokio::test]
async fn automatic_mining_can_be_switched() {
    let node = Node::start().await;
    assert_eq!(node.ok("anvil_getAutomine", json!([])).await, true);
    node.ok("evm_setAutomine", json!([false])).await;
    assert_eq!(node.ok("anvil_getAutomine", json!([])).await, false);
    node.ok("evm_setIntervalMining", json!([3_600])).await;
    assert_eq!(node.ok("anvil_getIntervalMining", json!([])).await, 3_600);
    let hash = node.send_raw(&sign(&alice(), transfer(0))).await;
    assert_eq!(node.height().await, 0);
    node.ok("evm_setIntervalMining", json!([0])).await;
    assert_eq!(node.ok("anvil_getIntervalMining", json!([])).await, Value::Null);
    node.ok("evm_mine", json!([])).await;
    assert_eq!(node.receipt(&hash).await["blockNumber"], "0x1");
    node.ok("evm_setAutomine", json!([true])).await;
    node.receipt(&node.send_raw(&sign(&alice(), transfer(1))).await).await;
}

#[tokio::test]
async fn interval_mining_makes_blocks_by_itself() {
    let node = Node::start().await;
    node.ok("evm_setIntervalMining", json!([1])).await;
    let hash = node.send_raw(&sign(&alice(), transfer(0))).await;
    assert_eq!(node.receipt(&hash).await["status"], "0x1");
}

#[tokio::test]
async fn time_can_be_moved() {
    let node = Node::start().await;
    let genesis = time_of(&node, "latest").await;
    let offset = node.ok("evm_increaseTime", json!([1_000])).await.as_i64().unwrap();
    assert!((995..=1_000).contains(&offset), "{offset}");
    node.ok("evm_mine", json!([])).await;
    let later = time_of(&node, "latest").await;
    assert!((1_000..1_010).contains(&(later - genesis)));

    let target = later + 50_000;
    node.ok("evm_setNextBlockTimestamp", json!([target as u64])).await;
    node.ok("evm_mine", json!([])).await;
    assert_eq!(time_of(&node, "latest").await, target);
    node.ok("evm_mine", json!([])).await;
    assert!((target..target + 10).contains(&time_of(&node, "latest").await), "time goes on from there");

    let refused = node.fails("evm_setNextBlockTimestamp", json!([1])).await;
    assert_eq!(refused, (-32602, "Timestamp error: 1 is lower than previous block's timestamp".to_owned()));
    node.ok("evm_mine", json!([quantity(target + 500)])).await;
    assert_eq!(time_of(&node, "latest").await, target + 500);
    node.ok("anvil_setBlockTimestampInterval", json!([12])).await;
    node.ok("anvil_mine", json!(["0x2"])).await;
    assert_eq!(time_of(&node, "latest").await, target + 524);
    assert_eq!(node.ok("anvil_removeBlockTimestampInterval", json!([])).await, true);
    let jump = node.ok("anvil_setTime", json!([(target + 100_000) as u64])).await.as_u64().unwrap();
    assert!(jump > 99_000);
    node.ok("evm_mine", json!([])).await;
    assert!((target + 100_000..target + 100_010).contains(&time_of(&node, "latest").await));
}

#[tokio::test]
async fn a_snapshot_brings_everything_back() {
    let node = Node::start().await;
    node.transact(json!({ "from": ALICE, "to": BOB, "value": "0x1" })).await;
    let before = node.block("latest").await;
    assert_eq!(node.ok("evm_snapshot", json!([])).await, "0x0");
    let contract = node.deploy(EMITTER).await;
    node.ok("anvil_setBalance", json!([BOB, "0x5"])).await;
    node.ok("anvil_setStorageAt", json!([contract, "0x0", word(9)])).await;
    let later = node.ok("evm_snapshot", json!([])).await;
    assert_eq!(later, "0x1");
    assert_eq!(node.ok("evm_revert", json!(["0x0"])).await, true);
    assert_eq!(node.block("latest").await, before);
    assert_eq!(node.number("eth_getBalance", json!([BOB, "latest"])).await, 10_000 * ETHER + 1);
    assert_eq!(node.ok("eth_getCode", json!([contract, "latest"])).await, "0x");
    assert_eq!(node.ok("eth_getStorageAt", json!([contract, "0x0", "latest"])).await, word(0));
    assert_eq!(node.number("eth_getTransactionCount", json!([ALICE, "latest"])).await, 1);
    assert_eq!(node.ok("evm_revert", json!(["0x0"])).await, false, "a snapshot is used up");
    assert_eq!(node.ok("evm_revert", json!(["0x77"])).await, false);
    // Life goes on from there.
    let again = node.transact(json!({ "from": ALICE, "to": BOB, "value": "0x1" })).await;
    assert_eq!(again["blockNumber"], "0x2");
}

#[tokio::test]
async fn accounts_can_be_rewritten() {
    let node = Node::start().await;
    for (method, params) in [
        ("anvil_setBalance", json!([NOBODY, "0x64"])),
        ("anvil_addBalance", json!([NOBODY, "0x1"])),
        ("anvil_setNonce", json!([NOBODY, "0x7"])),
        ("anvil_setCode", json!([NOBODY, "0x5f545f5260205ff3"])),
    ] {
        assert_eq!(node.ok(method, params).await, Value::Null, "{method}");
    }
    assert_eq!(node.ok("anvil_setStorageAt", json!([NOBODY, "0x0", word(42)])).await, true);
    assert_eq!(node.ok("eth_getBalance", json!([NOBODY, "latest"])).await, "0x65");
    assert_eq!(node.ok("eth_getTransactionCount", json!([NOBODY, "latest"])).await, "0x7");
    assert_eq!(node.ok("eth_call", json!([{ "to": NOBODY }])).await, word(42));
    node.ok("hardhat_setBalance", json!([NOBODY, "0x1"])).await;
    assert_eq!(node.ok("eth_getBalance", json!([NOBODY, "latest"])).await, "0x1");
    assert_eq!(node.height().await, 0, "no block is made");
    let refused = node.fails("anvil_setMinGasPrice", json!(["0x1"])).await;
    assert_eq!(refused, (-32602, "anvil_setMinGasPrice is not supported when EIP-1559 is active".to_owned()));
    assert_eq!(node.ok("anvil_setLoggingEnabled", json!([false])).await, Value::Null);
}

#[tokio::test]
async fn anybody_can_be_impersonated() {
    let node = Node::start().await;
    let request = json!({ "from": NOBODY, "to": BOB, "value": "0x1" });
    node.ok("anvil_setBalance", json!([NOBODY, quantity(ETHER)])).await;
    assert_eq!(node.fails("eth_sendTransaction", json!([request])).await, (-32602, "No Signer available".to_owned()));
    node.ok("anvil_impersonateAccount", json!([NOBODY])).await;
    let receipt = node.transact(request.clone()).await;
    assert_eq!((&receipt["from"], &receipt["status"]), (&json!(NOBODY), &json!("0x1")));
    let tx = node.mined(&receipt["transactionHash"]).await;
    assert_eq!((&tx["from"], &tx["r"], &tx["s"]), (&json!(NOBODY), &json!("0x0"), &json!("0x0")));
    node.ok("anvil_stopImpersonatingAccount", json!([NOBODY])).await;
    assert_eq!(node.fails("eth_sendTransaction", json!([request])).await.1, "No Signer available");
    node.ok("anvil_autoImpersonateAccount", json!([true])).await;
    assert_eq!(node.transact(request).await["status"], "0x1");
}

#[tokio::test]
async fn fees_of_the_next_block_can_be_set() {
    let node = Node::start().await;
    node.ok("anvil_setNextBlockBaseFeePerGas", json!([quantity(7 * GWEI)])).await;
    assert_eq!(node.number("eth_gasPrice", json!([])).await, 8 * GWEI);
    let refused = node.fails("eth_sendRawTransaction", json!([sign(&alice(), transfer(0))])).await;
    assert_eq!(refused.1, "max fee per gas less than block base fee");
    node.ok("evm_mine", json!([])).await;
    let block = node.block("latest").await;
    assert_eq!(number(&block["baseFeePerGas"]), 7 * GWEI);
    node.ok("evm_setBlockGasLimit", json!(["0x1000000"])).await;
    node.ok("anvil_setCoinbase", json!([CAROL])).await;
    node.ok("evm_mine", json!([])).await;
    let block = node.block("latest").await;
    assert_eq!((number(&block["gasLimit"]), &block["miner"]), (0x100_0000, &json!(CAROL)));
    assert_eq!(number(&block["baseFeePerGas"]), 7 * GWEI - 7 * GWEI / 8);
    assert_eq!(node.ok("eth_coinbase", json!([])).await, json!(CAROL));
}

#[tokio::test]
async fn the_chain_can_be_reorganised() {
    let node = Node::start().await;
    let first = node.transact(json!({ "from": ALICE, "to": BOB, "value": "0x1" })).await;
    let lost = node.transact(json!({ "from": ALICE, "to": BOB, "value": "0x2" })).await;
    node.ok("evm_mine", json!([])).await;
    let old = node.block("0x2").await;
    let pairs = json!([[{ "from": ALICE, "to": CAROL, "value": "0x7" }, 0], [sign(&alice(), transfer(2)), 1]]);
    assert_eq!(node.ok("anvil_reorg", json!([2, pairs])).await, Value::Null);
    assert_eq!(node.height().await, 3);
    let new = node.block("0x2").await;
    assert_ne!(new["hash"], old["hash"]);
    assert_eq!(new["parentHash"], first["blockHash"]);
    assert_eq!(node.ok("eth_getBlockByHash", json!([old["hash"], false])).await, Value::Null);
    assert_eq!(node.ok("eth_getTransactionByHash", json!([lost["transactionHash"]])).await, Value::Null);
    assert_eq!(new["transactions"].as_array().unwrap().len(), 1);
    assert_eq!(node.block("0x3").await["transactions"].as_array().unwrap().len(), 1);
    assert_eq!(node.number("eth_getBalance", json!([BOB, "latest"])).await, 10_000 * ETHER + 1);
    assert_eq!(node.number("eth_getBalance", json!([CAROL, "latest"])).await, 10_000 * ETHER + 8);
    let refused = node.fails("anvil_reorg", json!([99, []])).await;
    assert_eq!(refused, (-32602, "Reorg depth must not exceed current chain height: current height 3, depth 99".to_owned()));
    let refused = node.fails("anvil_reorg", json!([1, [[{ "from": ALICE }, 1]]])).await;
    assert_eq!(refused.0, -32602);
}

#[tokio::test]
async fn the_chain_can_be_shortened() {
    let node = Node::start().await;
    let kept = node.transact(json!({ "from": ALICE, "to": BOB, "value": "0x1" })).await;
    node.transact(json!({ "from": ALICE, "to": BOB, "value": "0x2" })).await;
    node.ok("anvil_rollback", json!([1])).await;
    assert_eq!(node.height().await, 1);
    assert_eq!(node.block("latest").await["hash"], kept["blockHash"]);
    assert_eq!(node.number("eth_getBalance", json!([BOB, "latest"])).await, 10_000 * ETHER + 1);
    let refused = node.fails("anvil_rollback", json!([9])).await;
    assert_eq!(refused, (-32602, "Rollback depth must not exceed current chain height: current height 1, depth 9".to_owned()));
}

#[tokio::test]
async fn a_reset_starts_over() {
    let node = Node::start().await;
    let contract = node.deploy(EMITTER).await;
    node.transact(json!({ "from": ALICE, "to": contract, "data": emit(1, 1), "gas": "0x20000" })).await;
    node.send_raw(&sign(&alice(), transfer(9))).await;
    assert_eq!(node.ok("anvil_reset", json!([])).await, Value::Null);
    assert_eq!(node.height().await, 0);
    assert_eq!(node.ok("eth_getCode", json!([contract, "latest"])).await, "0x");
    assert_eq!(node.number("eth_getBalance", json!([ALICE, "latest"])).await, 10_000 * ETHER);
    assert_eq!(node.ok("txpool_status", json!([])).await, json!({ "pending": "0x0", "queued": "0x0" }));
    assert_eq!(node.transact(json!({ "from": ALICE, "to": BOB })).await["blockNumber"], "0x1");
}
