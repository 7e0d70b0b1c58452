//! Logs and polled filters.

use serde_json::{Value, json};

use crate::node::{ALICE, BOB, EMITTER, Node, alice, emit, is_anvil, sign, transfer, word};

async fn emitted(node: &Node, contract: &Value, data: u64, topic: u64) -> Value {
    let receipt = node.transact(json!({ "from": ALICE, "to": contract, "data": emit(data, topic), "gas": "0x20000" })).await;
    assert_eq!(receipt["status"], "0x1");
    receipt
}

fn data_of(logs: &Value) -> Vec<String> {
    logs.as_array().unwrap().iter().map(|log| log["data"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn logs_are_found_by_range_address_and_topic() {
    let node = Node::start().await;
    let (one, two) = (node.deploy(EMITTER).await, node.deploy(EMITTER).await);
    emitted(&node, &one, 10, 1).await;
    node.ok("anvil_mine", json!(["0x5"])).await;
    emitted(&node, &two, 20, 1).await;
    let last = emitted(&node, &one, 30, 2).await;
    let find = async |filter: Value| data_of(&node.ok("eth_getLogs", json!([filter])).await);
    assert_eq!(find(json!({ "fromBlock": "0x0" })).await, [word(10), word(20), word(30)]);
    assert_eq!(find(json!({ "fromBlock": "earliest", "toBlock": "latest", "address": one })).await, [word(10), word(30)]);
    assert_eq!(find(json!({ "fromBlock": "0x0", "address": [one, two], "topics": [word(1)] })).await, [word(10), word(20)]);
    assert_eq!(find(json!({ "fromBlock": "0x0", "topics": [[word(2), word(9)]] })).await, [word(30)]);
    assert_eq!(find(json!({ "fromBlock": "0x0", "topics": [null, word(1)] })).await, [""; 0]);
    assert_eq!(find(json!({ "fromBlock": "0x4", "toBlock": "0x8" })).await, [""; 0]);
    assert_eq!(find(json!({})).await, [word(30)], "the default is the newest block");
    assert_eq!(find(json!({ "blockHash": last["blockHash"] })).await, [word(30)]);
    assert_eq!(find(json!({ "fromBlock": "0x2", "toBlock": "0x1" })).await, [""; 0]);

    let found = node.ok("eth_getLogs", json!([{ "blockHash": last["blockHash"] }])).await;
    assert_eq!(found, last["logs"], "the receipt has the same logs");
    let log = &found[0];
    assert_eq!((&log["address"], &log["topics"]), (&one, &json!([word(2)])));
    assert_eq!((&log["transactionHash"], &log["logIndex"]), (&last["transactionHash"], &json!("0x0")));
    assert_eq!((&log["blockNumber"], &log["removed"]), (&last["blockNumber"], &json!(false)));
    let block = node.block("latest").await;
    assert_eq!(log["blockTimestamp"], block["timestamp"]);
    assert_ne!(block["logsBloom"], node.block("0x0").await["logsBloom"]);
}

#[tokio::test]
async fn log_indexes_count_through_the_block() {
    let node = Node::start().await;
    let contract = node.deploy(EMITTER).await;
    node.ok("evm_setAutomine", json!([false])).await;
    for data in 0..3u64 {
        let request = json!({ "from": ALICE, "to": contract, "data": emit(data, 1), "gas": "0x20000" });
        node.ok("eth_sendTransaction", json!([request])).await;
    }
    node.ok("evm_mine", json!([])).await;
    let logs = node.ok("eth_getLogs", json!([{}])).await;
    let indexes: Vec<_> = logs.as_array().unwrap().iter().map(|log| (&log["transactionIndex"], &log["logIndex"])).collect();
    let expected: Vec<_> = ["0x0", "0x1", "0x2"].into_iter().map(|index| (json!(index), json!(index))).collect();
    assert_eq!(indexes, expected.iter().map(|(tx, log)| (tx, log)).collect::<Vec<_>>());
    let receipts = node.ok("eth_getBlockReceipts", json!(["latest"])).await;
    for (index, receipt) in receipts.as_array().unwrap().iter().enumerate() {
        assert_eq!(receipt["logs"][0], logs[index]);
    }
}

#[tokio::test]
async fn impossible_ranges_are_errors() {
    let node = Node::start().await;
    let refused = node.fails("eth_getLogs", json!([{ "fromBlock": "0xffff" }])).await;
    assert_eq!(refused, (-32602, "BlockOutOfRangeError: block height is 0 but requested was 65535".to_owned()));
    let unknown = node.fails("eth_getLogs", json!([{ "blockHash": word(7) }])).await;
    assert_eq!(unknown, (-32000, "unknown block".to_owned()));
    let both = node.fails("eth_getLogs", json!([{ "blockHash": word(7), "fromBlock": "0x0" }])).await;
    assert_eq!(both.0, -32602);
}

#[tokio::test]
async fn filters_report_each_thing_once() {
    let node = Node::start().await;
    let contract = node.deploy(EMITTER).await;
    let logs = node.ok("eth_newFilter", json!([{ "address": contract, "topics": [word(1)] }])).await;
    let blocks = node.ok("eth_newBlockFilter", json!([])).await;
    let pending = node.ok("eth_newPendingTransactionFilter", json!([])).await;
    let first = emitted(&node, &contract, 10, 1).await;
    let second = emitted(&node, &contract, 20, 2).await;
    let changes = async |id: Value| node.ok("eth_getFilterChanges", json!([id])).await;
    assert_eq!(changes(logs.clone()).await, first["logs"]);
    assert_eq!(changes(blocks.clone()).await, json!([first["blockHash"], second["blockHash"]]));
    assert_eq!(changes(pending.clone()).await, json!([first["transactionHash"], second["transactionHash"]]));
    for id in [&logs, &blocks, &pending] {
        assert_eq!(changes(id.clone()).await, json!([]));
    }
    let third = emitted(&node, &contract, 30, 1).await;
    assert_eq!(changes(logs.clone()).await, third["logs"]);
    assert_eq!(node.ok("eth_uninstallFilter", json!([logs])).await, true);
    assert_eq!(node.ok("eth_uninstallFilter", json!([logs])).await, false);
    assert_eq!(node.fails("eth_getFilterChanges", json!([logs])).await, (-32000, "filter not found".to_owned()));
    assert_eq!(node.fails("eth_getFilterLogs", json!([logs])).await, (-32000, "filter not found".to_owned()));
}

#[tokio::test]
async fn a_filter_lists_old_logs_too() {
    let node = Node::start().await;
    let contract = node.deploy(EMITTER).await;
    let receipt = emitted(&node, &contract, 10, 1).await;
    node.ok("anvil_mine", json!(["0x2"])).await;
    let id = node.ok("eth_newFilter", json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": contract }])).await;
    assert_eq!(node.ok("eth_getFilterLogs", json!([id])).await, receipt["logs"]);
}

#[tokio::test]
async fn a_pending_filter_sees_what_waits() {
    let node = Node::start_manual().await;
    let id = node.ok("eth_newPendingTransactionFilter", json!([])).await;
    let hash = node.send_raw(&sign(&alice(), transfer(0))).await;
    assert_eq!(node.ok("eth_getFilterChanges", json!([id])).await, json!([hash]));
}

#[tokio::test]
async fn a_reorganisation_takes_logs_back() {
    let node = Node::start().await;
    let contract = node.deploy(EMITTER).await;
    let id = node.ok("eth_newFilter", json!([{ "address": contract }])).await;
    let receipt = emitted(&node, &contract, 10, 1).await;
    assert_eq!(node.ok("eth_getFilterChanges", json!([id])).await, receipt["logs"]);
    node.ok("anvil_reorg", json!([1, []])).await;
    assert_eq!(node.ok("eth_getLogs", json!([{ "fromBlock": "0x0" }])).await, json!([]));
    assert_eq!(node.ok("eth_getTransactionReceipt", json!([receipt["transactionHash"]])).await, Value::Null);
    let unknown = node.fails("eth_getLogs", json!([{ "blockHash": receipt["blockHash"] }])).await;
    assert_eq!(unknown.1, "unknown block");
    if !is_anvil() {
        // anvil does not tell filters of removed logs; geth and this chain do.
        let mut expected = receipt["logs"].clone();
        expected[0]["removed"] = json!(true);
        assert_eq!(node.ok("eth_getFilterChanges", json!([id])).await, expected);
    }
    assert_eq!(node.number("eth_getBalance", json!([BOB, "latest"])).await, 10_000 * crate::node::ETHER);
}
