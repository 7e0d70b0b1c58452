//! Waiting transactions.

use serde_json::{Value, json};

use crate::node::{ALICE, BOB, CAROL, GWEI, Node, alice, bob, number, quantity, sign, transfer};

#[tokio::test]
async fn pending_and_queued_are_told_apart() {
    let node = Node::start_manual().await;
    let first = node.send_raw(&sign(&alice(), transfer(0))).await;
    let third = node.send_raw(&sign(&alice(), transfer(2))).await;
    assert_eq!(node.ok("txpool_status", json!([])).await, json!({ "pending": "0x1", "queued": "0x1" }));
    let content = node.ok("txpool_content", json!([])).await;
    let sender = format!("{ALICE:#x}");
    assert_eq!(content["pending"][&sender]["0"]["hash"], first);
    assert_eq!(content["queued"][&sender]["2"]["hash"], third);
    let inspect = node.ok("txpool_inspect", json!([])).await;
    let line = format!("{CAROL:#x}: 1 wei + 21000 gas × 4000000000 wei");
    assert_eq!(inspect["pending"][&sender]["0"], json!(line));

    let tx = node.ok("eth_getTransactionByHash", json!([first])).await;
    assert_eq!((&tx["blockHash"], &tx["blockNumber"], &tx["from"]), (&Value::Null, &Value::Null, &json!(ALICE)));
    assert_eq!(node.ok("eth_getTransactionReceipt", json!([first])).await, Value::Null);
    assert_eq!(node.number("eth_getTransactionCount", json!([ALICE, "latest"])).await, 0);
    assert_eq!(node.number("eth_getTransactionCount", json!([ALICE, "pending"])).await, 1);

    // Closing the gap makes all of them pending, and one block takes all.
    node.send_raw(&sign(&alice(), transfer(1))).await;
    assert_eq!(node.ok("txpool_status", json!([])).await, json!({ "pending": "0x3", "queued": "0x0" }));
    assert_eq!(node.number("eth_getTransactionCount", json!([ALICE, "pending"])).await, 3);
    node.ok("evm_mine", json!([])).await;
    let block = node.block("latest").await;
    assert_eq!(block["transactions"].as_array().unwrap().len(), 3);
    assert_eq!(block["transactions"][2], third);
    assert_eq!(node.ok("txpool_status", json!([])).await, json!({ "pending": "0x0", "queued": "0x0" }));
}

#[tokio::test]
async fn a_gap_stops_automatic_mining_until_it_is_closed() {
    let node = Node::start().await;
    let late = node.send_raw(&sign(&alice(), transfer(1))).await;
    assert_eq!(node.height().await, 0);
    let early = node.send_raw(&sign(&alice(), transfer(0))).await;
    let (early, late) = (node.receipt(&early).await, node.receipt(&late).await);
    assert!(number(&early["blockNumber"]) <= number(&late["blockNumber"]));
}

#[tokio::test]
async fn only_a_better_price_replaces() {
    let node = Node::start_manual().await;
    let raw = sign(&alice(), transfer(0));
    let replaced = node.send_raw(&raw).await;
    let refused = node.fails("eth_sendRawTransaction", json!([raw])).await;
    assert_eq!(refused, (-32003, "transaction already imported".to_owned()));
    let mut other = transfer(0);
    other.value = alloy_primitives::U256::from(2);
    let refused = node.fails("eth_sendRawTransaction", json!([sign(&alice(), other.clone())])).await;
    assert_eq!(refused, (-32003, "replacement transaction underpriced".to_owned()));
    other.max_fee_per_gas *= 2;
    other.max_priority_fee_per_gas *= 2;
    let winner = node.send_raw(&sign(&alice(), other)).await;
    assert_eq!(node.ok("eth_getTransactionByHash", json!([replaced])).await, Value::Null);
    node.ok("evm_mine", json!([])).await;
    assert_eq!(node.block("latest").await["transactions"], json!([winner]));
}

#[tokio::test]
async fn the_highest_fee_cap_goes_first() {
    let node = Node::start_manual().await;
    let low = node.send_raw(&sign(&alice(), transfer(0))).await;
    let mut dear = transfer(0);
    dear.max_fee_per_gas = 9 * GWEI;
    let high = node.send_raw(&sign(&bob(), dear)).await;
    let pending = node.ok("eth_getBlockByNumber", json!(["pending", false])).await;
    assert_eq!(pending["transactions"], json!([high, low]));
    assert_eq!(number(&pending["number"]), 1);
    node.ok("evm_mine", json!([])).await;
    assert_eq!(node.block("latest").await["transactions"], json!([high, low]));
}

#[tokio::test]
async fn the_pending_state_can_be_read() {
    let node = Node::start_manual().await;
    node.ok("eth_sendTransaction", json!([{ "from": ALICE, "to": BOB, "value": "0x5" }])).await;
    let (latest, pending) = (
        node.number("eth_getBalance", json!([BOB, "latest"])).await,
        node.number("eth_getBalance", json!([BOB, "pending"])).await,
    );
    assert_eq!(pending, latest + 5);
    assert_eq!(node.ok("eth_getBlockTransactionCountByNumber", json!(["pending"])).await, "0x1");
}

#[tokio::test]
async fn transactions_can_be_dropped() {
    let node = Node::start_manual().await;
    let first = node.send_raw(&sign(&alice(), transfer(0))).await;
    assert_eq!(node.ok("anvil_dropTransaction", json!([first])).await, first);
    assert_eq!(node.ok("anvil_dropTransaction", json!([first])).await, Value::Null);
    assert_eq!(node.ok("eth_getTransactionByHash", json!([first])).await, Value::Null);
    node.send_raw(&sign(&alice(), transfer(0))).await;
    node.send_raw(&sign(&bob(), transfer(0))).await;
    node.ok("anvil_removePoolTransactions", json!([ALICE])).await;
    assert_eq!(node.ok("txpool_status", json!([])).await["pending"], "0x1");
    node.ok("anvil_dropAllTransactions", json!([])).await;
    node.ok("evm_mine", json!([])).await;
    assert_eq!(node.block("latest").await["transactions"], json!([]));
}

#[tokio::test]
async fn a_full_block_leaves_the_rest_for_the_next() {
    let node = Node::start_manual().await;
    let heavy = |nonce: u64| json!([{ "from": ALICE, "to": BOB, "nonce": quantity(nonce.into()), "gas": quantity(20_000_000) }]);
    node.ok("eth_sendTransaction", heavy(0)).await;
    let mut other = transfer(0);
    other.gas_limit = 20_000_000;
    other.max_fee_per_gas = 10 * GWEI;
    let first = node.send_raw(&sign(&bob(), other)).await;
    node.ok("evm_mine", json!([])).await;
    // 21000 gas used, but the limits of both did not have to fit at once: gas used counts, not gas limits.
    let block = node.block("latest").await;
    assert_eq!(block["transactions"][0], first);
    let mined = block["transactions"].as_array().unwrap().len();
    node.ok("evm_mine", json!([])).await;
    let rest = node.block("latest").await["transactions"].as_array().unwrap().len();
    assert_eq!(mined + rest, 2);
}
