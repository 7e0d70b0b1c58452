//! Calls, estimates, overrides and the words for reverts.

use serde_json::{Value, json};

use crate::node::{ALICE, BOB, EMITTER, ETHER, GWEI, NOBODY, Node, ONE, emit, number, quantity, reverting, word};

#[tokio::test]
async fn reverts_are_explained() {
    let node = Node::start().await;
    let error_text = alloy_primitives::hex!(
        "08c379a0"
        "0000000000000000000000000000000000000000000000000000000000000020"
        "0000000000000000000000000000000000000000000000000000000000000002"
        "6869000000000000000000000000000000000000000000000000000000000000"
    );
    let panic = alloy_primitives::hex!("4e487b710000000000000000000000000000000000000000000000000000000000000011");
    let custom = alloy_primitives::hex!("ff34567800000000000000000000000000000000000000000000000000000000000000ff");
    let cases: [(&[u8], &str); 5] = [
        (&error_text, "execution reverted: hi"),
        (&panic, "execution reverted: panic: arithmetic underflow or overflow (0x11)"),
        (
            &custom,
            "execution reverted: custom error 0xff345678: 00000000000000000000000000000000000000000000000000000000000000ff",
        ),
        (b"hi", "execution reverted: hi"),
        (b"", "execution reverted"),
    ];
    for (data, message) in cases {
        for method in ["eth_call", "eth_estimateGas"] {
            let failure = node.rpc(method, json!([{ "from": ALICE, "data": reverting(data) }])).await.unwrap_err();
            assert_eq!((failure.code, failure.message.as_str()), (3, message), "{method}");
            assert_eq!(failure.data, Some(json!(alloy_primitives::Bytes::copy_from_slice(data))));
        }
    }
}

#[tokio::test]
async fn other_failures_are_named() {
    let node = Node::start().await;
    let cases = [
        ("0xfe", -32603, "EVM error InvalidFEOpcode"),
        ("0x5b600056", -32603, "EVM error OutOfGas"),
        ("0x50", -32603, "EVM error StackUnderflow"),
        ("0x0c", -32603, "EVM error OpcodeNotFound"),
        ("0x600056", -32603, "EVM error InvalidJump"),
    ];
    for (data, code, message) in cases {
        assert_eq!(node.fails("eth_call", json!([{ "data": data }])).await, (code, message.to_owned()), "{data}");
    }
    let refused = node.fails("eth_call", json!([{ "from": NOBODY, "to": BOB, "value": "0x1" }])).await;
    assert_eq!(refused, (-32003, "Insufficient funds for gas * price + value".to_owned()));
    let endless = node.fails("eth_estimateGas", json!([{ "data": "0x5b600056" }])).await;
    assert_eq!(endless, (-32003, "Out of gas: gas required exceeds allowance: 30000000".to_owned()));
}

#[tokio::test]
async fn calls_read_the_state_of_the_block_they_name() {
    let node = Node::start().await;
    let contract = node.deploy(ONE).await;
    node.ok("anvil_mine", json!(["0x1"])).await;
    let hash = node.block("0x1").await["hash"].clone();
    for id in [json!("latest"), json!("0x1"), json!({ "blockNumber": "0x1" }), json!({ "blockHash": hash }), Value::Null] {
        assert_eq!(node.ok("eth_call", json!([{ "to": contract }, id])).await, word(1), "{id}");
    }
    assert_eq!(node.ok("eth_call", json!([{ "to": contract }, "earliest"])).await, "0x");
    assert_eq!(node.ok("eth_call", json!([{ "to": contract }, "0x0"])).await, "0x");
}

#[tokio::test]
async fn state_can_be_overridden() {
    let node = Node::start().await;
    let contract = node.deploy(ONE).await;
    let address = contract.as_str().unwrap();
    let call = |overrides: Value| json!([{ "to": contract }, "latest", overrides]);
    let diff = node.ok("eth_call", call(json!({ address: { "stateDiff": { word(0): word(7) } } }))).await;
    assert_eq!(diff, word(7));
    let whole = node.ok("eth_call", call(json!({ address: { "state": { word(1): word(7) } } }))).await;
    assert_eq!(whole, word(0), "the other slots are gone");
    // Returns the balance of the caller: CALLER BALANCE PUSH0 MSTORE PUSH1 20 PUSH0 RETURN.
    let code = "0x33315f5260205ff3";
    let overrides = json!({ address: { "code": code }, NOBODY.to_string(): { "balance": "0x2a" } });
    let balance = node.ok("eth_call", json!([{ "from": NOBODY, "to": contract }, "latest", overrides])).await;
    assert_eq!(balance, word(42));
    assert_eq!(node.ok("eth_call", json!([{ "to": contract }])).await, word(1), "nothing stays");
    let both = json!({ address: { "stateDiff": { word(0): word(7) }, "state": { word(0): word(7) } } });
    assert_eq!(node.fails("eth_call", call(both)).await.0, -32602);
}

#[tokio::test]
async fn the_block_can_be_overridden() {
    let node = Node::start().await;
    node.ok("evm_mine", json!([])).await;
    // NUMBER, TIMESTAMP, BASEFEE, CHAINID as four words.
    let code = "0x435f5242602052486040524660605260805ff3";
    let state = json!({ NOBODY.to_string(): { "code": code } });
    let block = json!({ "number": "0x64", "time": "0x65", "baseFee": "0x7" });
    let output = node.ok("eth_call", json!([{ "to": NOBODY }, "latest", state, block])).await;
    let words: Vec<u64> = output.as_str().unwrap().as_bytes()[2..]
        .chunks(64)
        .map(|word| u64::from_str_radix(std::str::from_utf8(&word[48..]).unwrap(), 16).unwrap())
        .collect();
    assert_eq!(words, [100, 101, 7, 31_337]);
    // Without overrides the newest block is seen, also its time.
    let head = node.block("latest").await;
    let output = node.ok("eth_call", json!([{ "to": NOBODY }, "latest", state])).await;
    assert_eq!(&output.as_str().unwrap()[2 + 64 + 48..2 + 128], format!("{:016x}", number(&head["timestamp"])));
}

#[tokio::test]
async fn block_hashes_are_visible_to_contracts() {
    let node = Node::start().await;
    node.ok("anvil_mine", json!(["0x3"])).await;
    // BLOCKHASH of the number in the call data.
    let state = json!({ NOBODY.to_string(): { "code": "0x5f35405f5260205ff3" } });
    for (number, visible) in [(1u64, true), (2, true), (3, false), (9, false)] {
        let output = node.ok("eth_call", json!([{ "to": NOBODY, "data": word(number) }, "latest", state])).await;
        let expected = if visible { node.block(&format!("{number:#x}")).await["hash"].clone() } else { json!(word(0)) };
        assert_eq!(output, expected, "block {number}");
    }
    let history = "0x0000F90827F1C53a10cb7A02335B175320002935";
    for number in 0..=2u64 {
        let expected = node.block(&format!("{number:#x}")).await["hash"].clone();
        let slot = node.ok("eth_getStorageAt", json!([history, format!("{number:#x}"), "latest"])).await;
        assert_eq!(slot, expected, "slot {number}");
        assert_eq!(node.ok("eth_call", json!([{ "to": history, "data": word(number) }])).await, expected);
    }
    assert_eq!(node.ok("eth_getStorageAt", json!([history, "0x3", "latest"])).await, word(0));
}

#[tokio::test]
async fn an_estimate_is_enough_and_not_one_too_much() {
    let node = Node::start().await;
    let emitter = node.deploy(EMITTER).await;
    let requests = [
        json!({ "from": ALICE, "to": emitter, "data": emit(1, 2) }),
        json!({ "from": ALICE, "data": ONE }),
        json!({ "from": ALICE, "to": BOB, "data": "0x1234" }),
    ];
    for mut request in requests {
        let estimate = node.number("eth_estimateGas", json!([request])).await;
        request["gas"] = json!(quantity(estimate));
        assert_eq!(node.transact(request.clone()).await["status"], "0x1", "{request}");
        request["gas"] = json!(quantity(estimate - 1));
        assert!(node.rpc("eth_call", json!([request])).await.is_err(), "{request}");
    }
    assert_eq!(node.number("eth_estimateGas", json!([{ "from": ALICE, "to": BOB, "value": "0x1" }])).await, 21_000);
}

#[tokio::test]
async fn an_estimate_respects_the_purse() {
    let node = Node::start().await;
    let emitter = node.deploy(EMITTER).await;
    let request = |price: u128, value: u128| json!([{ "from": ALICE, "to": emitter, "data": emit(1, 2), "gasPrice": quantity(price), "value": quantity(value) }]);
    assert!(node.rpc("eth_estimateGas", request(2 * GWEI, 0)).await.is_ok());
    let refused = node.fails("eth_estimateGas", request(2 * GWEI, 20_000 * ETHER)).await;
    assert_eq!(refused, (-32003, "Insufficient funds for gas * price + value".to_owned()));
}

#[tokio::test]
async fn access_lists_name_what_is_touched() {
    let node = Node::start().await;
    let contract = node.deploy(ONE).await;
    let result = node.ok("eth_createAccessList", json!([{ "from": ALICE, "to": contract }])).await;
    assert_eq!(result["accessList"], json!([{ "address": contract, "storageKeys": [word(0)] }]));
    assert!(number(&result["gasUsed"]) > 21_000 + 2_400 + 1_900);
    let plain = node.ok("eth_createAccessList", json!([{ "from": ALICE, "to": BOB }])).await;
    assert_eq!(plain, json!({ "accessList": [], "gasUsed": "0x5208" }));
    assert_eq!(node.fails("eth_createAccessList", json!([{ "from": ALICE, "data": reverting(b"") }])).await.0, 3);
}

#[tokio::test]
async fn dev_accounts_sign() {
    let node = Node::start().await;
    let signature = node.ok("eth_sign", json!([ALICE, "0xdead"])).await;
    assert_eq!(node.ok("personal_sign", json!(["0xdead", ALICE])).await, signature);
    let signature =
        alloy_primitives::Signature::try_from(signature.as_str().unwrap().parse::<alloy_primitives::Bytes>().unwrap().as_ref())
            .unwrap();
    assert_eq!(signature.recover_address_from_msg([0xde, 0xad]).unwrap(), ALICE);
    assert_eq!(node.fails("eth_sign", json!([NOBODY, "0x"])).await, (-32602, "No Signer available".to_owned()));
    let request = json!({
        "from": ALICE, "to": BOB, "gas": "0x5208", "nonce": "0x0", "maxFeePerGas": "0x77359400", "maxPriorityFeePerGas": "0x1"
    });
    let raw = node.ok("eth_signTransaction", json!([request])).await;
    let hash = node.ok("eth_sendRawTransaction", json!([raw])).await;
    assert_eq!(node.receipt(&hash).await["from"], json!(ALICE));
}

#[tokio::test]
async fn hashes_are_keccak() {
    let node = Node::start().await;
    let expected = alloy_primitives::keccak256("hello");
    assert_eq!(node.ok("web3_sha3", json!(["0x68656c6c6f"])).await, json!(expected));
}
