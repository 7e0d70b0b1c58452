//! CometBFT RPC.

use alloy_primitives::B256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use windlass_vrf_protocol::messages::auth::{BaseAccount, QueryAccountInfoRequest, QueryAccountInfoResponse};
use windlass_vrf_protocol::oracle_result::ResolveStatus;

use super::super::{BandApi, BandClient, BandClientConfig, BandError, BroadcastMode};
use super::chain::Chain;
use super::servers::{Answered, Asked, HttpServer};
use super::{ADDRESS, CHAIN, client, settings};

pub(super) fn status(height: u64) -> Answered {
    Answered::result(&json!({
        "node_info": { "network": CHAIN },
        "sync_info": {
            "latest_block_hash": hex::encode_upper([7; 32]), "latest_block_height": height.to_string(),
            "latest_block_time": "2023-11-14T22:13:20.123456789Z", "catching_up": false,
        },
    }))
}

/// A node of the right chain at height 123; `answer` for everything but its status.
async fn comet(mut answer: impl FnMut(&Asked) -> Answered + Send + 'static) -> (HttpServer, BandClient) {
    let server = HttpServer::start(move |asked| if asked.path == "/status" { status(123) } else { answer(asked) }).await;
    let (config, _) = settings();
    let client = client(BandClientConfig { rpc: vec![server.url()], ..config });
    (server, client)
}

#[tokio::test]
async fn blocks_and_their_hashes() {
    let (server, client) = comet(|asked| match asked.path.as_str() {
        "/block?height=5" => Answered::result(&json!({
            "block_id": { "hash": hex::encode_upper([5; 32]) }, "block": { "header": {} },
        })),
        "/block?height=6" => Answered::result(&json!({ "block_id": {}, "block": { "header": {} } })),
        "/block?height=7" => Answered::result(&json!({
            "block": { "header": { "last_block_id": { "hash": hex::encode_upper([6; 32]) } } },
        })),
        "/block?height=1" => Answered::problem("height 1 is not available, lowest height is 4"),
        _ => Answered::problem("height 999 must be less than or equal to the current blockchain height 123"),
    })
    .await;
    let block = client.latest_block().await.unwrap();
    assert_eq!((block.height, block.hash, block.time_ms), (123, B256::repeat_byte(7), 1_700_000_000_123));
    assert_eq!(client.block_hash(5).await.unwrap(), B256::repeat_byte(5));
    assert_eq!(client.block_hash(6).await.unwrap(), B256::repeat_byte(6), "told by the next block");
    assert!(matches!(client.block_hash(1).await, Err(BandError::Pruned { lowest: Some(4), .. })));
    assert!(matches!(client.block_hash(999).await, Err(BandError::NotFound { .. })));
    assert!(server.paths().contains(&"/block?height=7".to_owned()));
}

#[tokio::test]
async fn events_of_blocks_of_every_version() {
    let plain = |status: &str| {
        json!([
            { "type": "transfer", "attributes": [{ "key": "amount", "value": "1uband", "index": true }] },
            { "type": "resolve", "attributes": [
                { "key": "id", "value": "7", "index": true }, { "key": "resolve_status", "value": status, "index": true },
                { "key": "mode", "value": "EndBlock", "index": false },
            ] },
        ])
    };
    let base64 = |text: &str| STANDARD.encode(text);
    let encoded = json!([{ "type": "resolve", "attributes": [
        { "key": base64("id"), "value": base64("8"), "index": true },
        { "key": base64("resolve_status"), "value": base64("3"), "index": true },
    ] }]);
    let (_server, client) = comet(move |asked| match asked.path.as_str() {
        "/block_results?height=38" => {
            Answered::result(&json!({ "height": "38", "txs_results": null, "finalize_block_events": plain("1") }))
        }
        "/block_results?height=37" => Answered::result(&json!({ "begin_block_events": [], "end_block_events": plain("2") })),
        "/block_results?height=34" => Answered::result(&json!({ "begin_block_events": null, "end_block_events": encoded })),
        "/block_results?height=30" => Answered::result(&json!({ "height": "30" })),
        _ => Answered::problem("could not find results for height #124"),
    })
    .await;
    assert_eq!(client.resolved_in(38).await.unwrap(), [(7, ResolveStatus::Success)]);
    assert_eq!(client.resolved_in(37).await.unwrap(), [(7, ResolveStatus::Failure)]);
    assert_eq!(client.resolved_in(34).await.unwrap(), [(8, ResolveStatus::Expired)]);
    assert_eq!(client.resolved_in(30).await.unwrap(), []);
    assert!(matches!(client.resolved_in(124).await, Err(BandError::NotReady { .. })));
}

fn included(tx: &[u8]) -> Value {
    json!({
        "hash": hex::encode_upper(Sha256::digest(tx)), "height": "777", "index": 0,
        "tx_result": {
            "code": 0, "data": null, "log": "", "gas_wanted": "800000", "gas_used": "600001", "codespace": "",
            "events": [
                { "type": "tx", "attributes": [{ "key": "fee", "value": "2000uband", "index": true }] },
                { "type": "request", "attributes": [{ "key": "id", "value": "9", "index": true }] },
            ],
        },
        "tx": STANDARD.encode(tx),
    })
}

#[tokio::test]
async fn transactions_by_hash_and_by_event() {
    let tx = b"signed".as_slice();
    let (server, client) = comet(move |asked| {
        if asked.path.starts_with("/tx_search") {
            return Answered::result(&json!({ "txs": [included(tx)], "total_count": "1" }));
        }
        if asked.path.ends_with(&hex::encode_upper(Sha256::digest(tx))) {
            return Answered::result(&included(tx));
        }
        Answered::problem("tx (ABCD) not found, err: %!w(<nil>)")
    })
    .await;
    let hash = hex::encode_upper(Sha256::digest(tx));
    let info = client.transaction(&hash).await.unwrap().unwrap();
    assert_eq!((info.height, info.gas_used, info.events.len()), (777, 600_001, 2));
    assert_eq!(client.transaction("ABCD").await.unwrap(), None);
    assert_eq!(client.transaction_at_sequence(ADDRESS, 7).await.unwrap().unwrap().hash, hash);
    assert_eq!(client.transactions_of(ADDRESS, 5).await.unwrap()[0].1.to_vec(), tx);
    let paths = server.paths();
    assert!(paths.contains(&format!("/tx?hash=0x{hash}")));
    let search = paths.iter().find(|path| path.contains("acc_seq")).unwrap();
    assert!(search.contains(&format!("query=%22tx.acc_seq%3D%27{ADDRESS}%2F7%27%22")), "{search}");
    assert!(search.contains("order_by=%22desc%22") && search.contains("per_page=1"), "{search}");
}

#[tokio::test]
async fn transactions_are_handed_over_in_the_body() {
    let tx = b"signed".as_slice();
    let hash = hex::encode_upper(Sha256::digest(tx));
    let told = hash.clone();
    let mut answers = vec![
        Answered::result(&json!({ "code": 0, "data": "", "log": "", "codespace": "", "hash": told })),
        Answered::result(&json!({ "code": 32, "log": "account sequence mismatch", "codespace": "sdk", "hash": told })),
        Answered::problem("tx already exists in cache"),
        Answered::problem("mempool is full: number of txs 5000 (max: 5000)"),
        Answered::problem("unexpected"),
    ]
    .into_iter();
    let (server, client) = comet(move |_| answers.next().unwrap()).await;
    assert!(client.broadcast(tx, BroadcastMode::Sync).await.unwrap().is_taken());
    assert_eq!(client.broadcast(tx, BroadcastMode::Block).await.unwrap().code, 32);
    let cached = client.broadcast(tx, BroadcastMode::Sync).await.unwrap();
    assert!(cached.is_taken() && cached.code == 19 && cached.hash == hash);
    assert_eq!(client.broadcast(tx, BroadcastMode::Sync).await.unwrap().code, 20);
    assert!(matches!(client.broadcast(tx, BroadcastMode::Sync).await, Err(BandError::Refused { .. })));
    let asked = server.asked().into_iter().find(|asked| asked.path == "/").unwrap();
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!((body["method"].as_str(), body["params"]["tx"].as_str()), (Some("broadcast_tx_sync"), Some("c2lnbmVk")));
}

#[tokio::test]
async fn the_application_is_asked_through_the_node() {
    let (_server, client) = comet(|asked| {
        let question = QueryAccountInfoRequest { address: ADDRESS.to_owned() }.encode_to_vec();
        assert!(asked.path.starts_with("/abci_query?path=%22%2Fcosmos.auth.v1beta1.Query%2FAccountInfo%22"), "{}", asked.path);
        assert!(asked.path.ends_with(&format!("data=0x{}", hex::encode(question))), "{}", asked.path);
        let info = BaseAccount { address: ADDRESS.to_owned(), pub_key: None, account_number: 3, sequence: 4 };
        let value = STANDARD.encode(QueryAccountInfoResponse { info: Some(info) }.encode_to_vec());
        Answered::result(&json!({ "response": { "code": 0, "log": "", "value": value, "height": "123", "codespace": "" } }))
    })
    .await;
    assert_eq!(client.account(ADDRESS).await.unwrap().sequence, 4);
}

#[tokio::test]
async fn failures_of_the_application_have_their_meaning() {
    let (_server, client) = comet(|_| {
        let log = "rpc error: code = NotFound desc = account band1xyz not found: key not found";
        Answered::result(&json!({ "response": { "code": 22, "log": log, "codespace": "sdk", "value": null } }))
    })
    .await;
    assert!(matches!(client.account(ADDRESS).await, Err(BandError::NotFound { .. })));
}

#[tokio::test]
async fn what_is_no_answer_at_all_is_malformed() {
    let mut answers = ["", "[]", "{\"jsonrpc\":\"2.0\"}", "{\"result\":{\"block\":7}}"].into_iter();
    let (_server, client) = comet(move |_| Answered::ok(answers.next().unwrap())).await;
    for _ in 0..4 {
        assert!(matches!(client.block_hash(5).await, Err(BandError::Malformed { .. })));
    }
}

#[tokio::test]
async fn validators_come_in_pages() {
    let chain = Chain::new(8, &[3]);
    let expected = chain.validators();
    let (server, client) = comet(move |_| Answered::result(&chain.validators_json(1, 100))).await;
    assert_eq!(client.validators().await.unwrap(), expected);
    assert_eq!(server.paths().pop().unwrap(), "/validators?page=1&per_page=100");
}
