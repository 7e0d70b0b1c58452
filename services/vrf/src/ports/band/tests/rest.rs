//! REST gateways and proof URLs.

use std::time::Duration;

use alloy_primitives::B256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use windlass_vrf_protocol::oracle_result::ResolveStatus;
use windlass_vrf_protocol::tx::MessageType;

use super::super::{BandApi, BandClient, BandClientConfig, BandError, BroadcastMode, RequestState};
use super::chain::Chain;
use super::servers::{Answered, Asked, HttpServer};
use super::{ADDRESS, CHAIN, client, settings};

const LATEST: &str = "/cosmos/base/tendermint/v1beta1/blocks/latest";

/// A gateway of the right chain; `answer` for everything but the newest block.
async fn gateway(mut answer: impl FnMut(&Asked) -> Answered + Send + 'static) -> (HttpServer, BandClient) {
    let server = HttpServer::start(move |asked| if asked.path == LATEST { latest() } else { answer(asked) }).await;
    let (config, _) = settings();
    let client = client(BandClientConfig { rest: vec![server.url()], ..config });
    (server, client)
}

fn latest() -> Answered {
    let header = json!({ "chain_id": CHAIN, "height": "123", "time": "2023-11-14T22:13:20.123456789Z" });
    let answer = json!({ "block_id": { "hash": STANDARD.encode([7; 32]) }, "block": { "header": header } });
    Answered::ok(answer).header("grpc-metadata-x-cosmos-block-height", 124)
}

fn not_implemented() -> Answered {
    Answered::status(501, json!({ "code": 12, "message": "Not Implemented", "details": [] }))
}

#[tokio::test]
async fn accounts_balances_blocks_and_the_version() {
    let (server, client) = gateway(|asked| match asked.path.as_str() {
        path if path == format!("/cosmos/auth/v1beta1/account_info/{ADDRESS}") => {
            Answered::ok(json!({ "info": { "address": ADDRESS, "pub_key": null, "account_number": "362", "sequence": "631" } }))
        }
        path if path == format!("/cosmos/bank/v1beta1/balances/{ADDRESS}/by_denom?denom=uband") => {
            Answered::ok(json!({ "balance": { "denom": "uband", "amount": "17" } }))
        }
        "/cosmos/base/tendermint/v1beta1/blocks/5" => Answered::ok(json!({
            "block_id": { "hash": hex::encode_upper([9; 32]) },
            "block": { "header": { "chain_id": CHAIN, "height": 5, "time": "2023-11-14T22:13:20Z" } },
        })),
        "/cosmos/base/tendermint/v1beta1/node_info" => {
            Answered::ok(json!({ "application_version": { "name": "band", "version": "v3.1.4" } }))
        }
        path => panic!("{path}"),
    })
    .await;
    let state = client.account(ADDRESS).await.unwrap();
    assert_eq!((state.account_number, state.sequence), (362, 631));
    assert_eq!(client.balance(ADDRESS, "uband").await.unwrap(), 17);
    let block = client.latest_block().await.unwrap();
    assert_eq!((block.height, block.hash, block.time_ms), (123, B256::repeat_byte(7), 1_700_000_000_123));
    assert_eq!(client.block_hash(5).await.unwrap(), B256::repeat_byte(9));
    assert_eq!(client.message_type().await.unwrap(), MessageType::V3);
    assert_eq!(client.status()[0].head, Some(124), "mentioned in passing");
    assert_eq!(server.paths().iter().filter(|path| *path == LATEST).count(), 2);
}

#[tokio::test]
async fn accounts_of_old_chains_are_wrapped() {
    let (server, client) = gateway(|asked| {
        if asked.path.contains("account_info") {
            return not_implemented();
        }
        let base = json!({ "address": ADDRESS, "pub_key": null, "account_number": "1", "sequence": "2" });
        let vesting = json!({ "base_vesting_account": { "base_account": base, "end_time": "5" }, "start_time": "7" });
        Answered::ok(json!({ "account": vesting }))
    })
    .await;
    for _ in 0..2 {
        assert_eq!(client.account(ADDRESS).await.unwrap().sequence, 2);
    }
    assert_eq!(server.paths().iter().filter(|path| path.contains("account_info")).count(), 1);
}

#[tokio::test]
async fn transactions_are_handed_over_found_and_simulated() {
    let hash = "D5F1D4FD9E7BF7D3B0DAA4DE0D2D1F0A".repeat(2);
    let found = hash.clone();
    let (server, client) = gateway(move |asked| {
        let event = json!({ "type": "request", "attributes": [{ "key": "aWQ=", "value": "Nw==", "index": true }] });
        let response = json!({
            "height": "777", "txhash": found, "code": 0, "codespace": "", "raw_log": "[]", "gas_wanted": "1", "gas_used": "2",
            "events": [event],
        });
        match asked.path.as_str() {
            "/cosmos/tx/v1beta1/simulate" => Answered::ok(json!({ "gas_info": { "gas_wanted": "0", "gas_used": "612345" } })),
            "/cosmos/tx/v1beta1/txs" => {
                let hash = "5B9668A27FDAA1A11F8F9EEA9D21F8C15E9FE0C8E83F4D5F3B5FE2B9D0A6A1A1";
                let mine = serde_json::from_str::<serde_json::Value>(&asked.body).unwrap()["mode"] == "BROADCAST_MODE_SYNC";
                assert!(mine, "{}", asked.body);
                Answered::ok(
                    json!({ "tx_response": { "height": "0", "txhash": hash, "code": 5, "codespace": "sdk", "raw_log": "" } }),
                )
            }
            path if path.starts_with("/cosmos/tx/v1beta1/txs?") => Answered::ok(json!({ "tx_responses": [response] })),
            path if path.ends_with("0000") => Answered::status(404, json!({ "code": 5, "message": "tx not found: 0000" })),
            _ => Answered::ok(json!({ "tx": {}, "tx_response": response })),
        }
    })
    .await;
    let info = client.transaction(&hash).await.unwrap().unwrap();
    assert_eq!((info.height, info.gas_used), (777, 2));
    assert_eq!((info.events[0].attributes[0].key.as_str(), info.events[0].attributes[0].value.as_str()), ("id", "7"));
    assert_eq!(client.transaction("0000").await.unwrap(), None);
    assert_eq!(client.transaction_at_sequence(ADDRESS, 3).await.unwrap().unwrap().hash, hash);
    assert!(client.transactions_of(ADDRESS, 3).await.is_err(), "a gateway does not have the signed bytes");
    assert_eq!(client.simulate(&[1, 2]).await.unwrap().gas_used, 612_345);
    let error = client.broadcast(&[1, 2], BroadcastMode::Sync).await.unwrap_err();
    assert!(matches!(error, BandError::Malformed { .. }), "the hash of something else: {error}");
    let search = server.paths().into_iter().find(|path| path.contains("acc_seq")).unwrap();
    assert!(search.contains("order_by=ORDER_BY_DESC") && search.contains("limit=1"), "{search}");
}

#[tokio::test]
async fn requests_by_name_and_number_of_their_status() {
    let (_server, client) = gateway(|asked| match asked.path.as_str() {
        "/oracle/v1/requests/1" => Answered::ok(json!({ "request": { "client_id": "x" }, "reports": [], "result": null })),
        "/oracle/v1/requests/2" => {
            Answered::ok(json!({ "request": null, "result": { "request_id": "2", "resolve_status": "RESOLVE_STATUS_EXPIRED" } }))
        }
        "/oracle/v1/requests/3" => Answered::ok(json!({ "result": { "request_id": 3, "resolve_status": 1 } })),
        _ => Answered::status(404, json!({ "code": 5, "message": "unable to get request from chain: request id (4) > latest" })),
    })
    .await;
    assert_eq!(client.request(1).await.unwrap(), RequestState::Open);
    assert_eq!(client.request(2).await.unwrap(), RequestState::Resolved(ResolveStatus::Expired));
    assert_eq!(client.request(3).await.unwrap(), RequestState::Resolved(ResolveStatus::Success));
    assert!(matches!(client.request(4).await, Err(BandError::NotFound { .. })));
}

#[tokio::test]
async fn proofs_in_every_spelling() {
    let chain = Chain::new(8, &[3]);
    let proof = chain.proof(3);
    let spellings = [hex::encode_upper(&proof), format!("0x{}", hex::encode(&proof)), STANDARD.encode(&proof)];
    let (server, client) = gateway(move |asked| {
        let index = asked.path.rsplit('=').next().and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
        Answered::ok(json!({
            "height": "8", "result": { "proof": { "block_height": "8" }, "evm_proof_bytes": spellings[index % 3] }
        }))
    })
    .await;
    for height in 6..9 {
        let served = client.proof(3, Some(height)).await.unwrap();
        assert_eq!((served.block_height, served.evm_proof_bytes.to_vec()), (8, chain.proof(3)));
    }
    client.proof(3, None).await.unwrap();
    assert!(server.paths().contains(&"/bandchain/v1/oracle/proof/3?height=7".to_owned()));
    assert!(server.paths().contains(&"/bandchain/v1/oracle/proof/3".to_owned()));
}

#[tokio::test]
async fn a_proof_url_serves_proofs_and_nothing_else() {
    let chain = Chain::new(8, &[3]);
    let proof = hex::encode_upper(chain.proof(3));
    let server = HttpServer::start(move |asked| match asked.path.as_str() {
        "/api/oracle/proof/3" => Answered::ok(json!({ "height": "8", "result": { "jsonProof": {}, "evmProofBytes": proof } })),
        "/api/oracle/proof/4" => Answered::status(500, json!({ "code": 2, "message": "Proof not found", "details": [] })),
        path => panic!("{path}"),
    })
    .await;
    let (config, _) = settings();
    let client = client(BandClientConfig { rest: vec![server.below("/api/oracle/proof")], ..config });
    assert_eq!(client.proof(3, None).await.unwrap().block_height, 8);
    assert!(matches!(client.proof(4, None).await, Err(BandError::NotReady { .. })));
    assert!(matches!(client.account(ADDRESS).await, Err(BandError::Unsupported { .. })));
}

#[tokio::test]
async fn gateways_of_chain_v2_have_another_route() {
    let proof = hex::encode_upper(Chain::new(8, &[3]).proof(3));
    let (server, client) = gateway(move |asked| match asked.path.as_str() {
        "/oracle/proof/3" => Answered::ok(json!({ "result": { "evm_proof_bytes": proof } })),
        _ => not_implemented(),
    })
    .await;
    for _ in 0..2 {
        client.proof(3, None).await.unwrap();
    }
    let new = server.paths().into_iter().filter(|path| path.starts_with("/bandchain")).count();
    assert_eq!(new, 1, "learnt with the first refusal");
}

#[tokio::test]
async fn the_three_phases_of_the_former_worker() {
    // A proof without height, the newest block above it, and the proof at its height.
    let chain = Chain::new(120, &[3]);
    let proof = hex::encode_upper(chain.proof(3));
    let (_server, client) = gateway(move |_| Answered::ok(json!({ "result": { "evm_proof_bytes": proof } }))).await;
    let first = client.proof(3, None).await.unwrap();
    assert!(client.latest_block().await.unwrap().height > first.block_height + 1);
    assert_eq!(client.proof(3, Some(first.block_height)).await.unwrap(), first);
}

#[tokio::test]
async fn failures_of_gateways_and_proxies() {
    let (_server, client) = gateway(|asked| match asked.path.rsplit('/').next().unwrap() {
        "1" => Answered::status(429, "").header("retry-after", 3),
        "2" => Answered::status(502, "<html>bad gateway</html>"),
        "3" => Answered::status(400, json!({ "code": 3, "message": "invalid", "details": [] })),
        "4" => Answered::ok("{\"result\":{\"request_id\":"),
        "5" => Answered::ok("").after(Duration::from_secs(60)),
        "6" => Answered::status(301, "").header("location", "http://elsewhere.example/"),
        _ => Answered::status(404, "<html>no such page</html>"),
    })
    .await;
    let kind = async |id| client.request(id).await.unwrap_err().kind();
    assert_eq!(kind(2).await, "unavailable");
    assert_eq!(kind(3).await, "refused");
    assert_eq!(kind(4).await, "malformed");
    assert_eq!(kind(5).await, "unavailable");
    assert_eq!(kind(6).await, "refused");
    assert_eq!(kind(7).await, "refused");
    let error = client.request(1).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), ("rate_limit", Some(Duration::from_secs(3))));
}

#[tokio::test]
async fn answers_that_are_too_large_are_refused_while_they_arrive() {
    let server = HttpServer::start(|asked| if asked.path == LATEST { latest() } else { Answered::ok("x".repeat(5_000)) }).await;
    let (config, _) = settings();
    let client = client(BandClientConfig { rest: vec![server.url()], max_answer_bytes: 4_096, ..config });
    assert!(matches!(client.request(1).await, Err(BandError::Malformed { .. })));
}

#[tokio::test]
async fn an_answer_cut_off_in_the_middle_is_lost() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 2_048];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"block_id\":").await;
        }
    });
    let (config, _) = settings();
    let url = windlass_node::config::SecretUrl::new(format!("http://{address}").parse().unwrap());
    let client = client(BandClientConfig { rest: vec![url], ..config });
    let error = client.latest_block().await.unwrap_err();
    assert!(matches!(&error, BandError::Unavailable { .. }), "{error}");
    task.abort();
}

#[tokio::test]
async fn validators_come_in_pages() {
    let keys = Chain::new(8, &[3]).public_keys();
    let (server, client) = gateway(move |asked| {
        let first = asked.path.contains("validatorsets/latest");
        let count = if first { 100 } else { 1 };
        let validators: Vec<_> = keys
            .iter()
            .cycle()
            .take(count)
            .map(|key| {
                json!({
                    "address": "bandvalcons1x", "voting_power": "5",
                    "pub_key": { "@type": "/cosmos.crypto.secp256k1.PubKey", "key": STANDARD.encode(key) },
                })
            })
            .collect();
        Answered::ok(
            json!({ "block_height": "77", "validators": validators, "pagination": { "next_key": null, "total": "101" } }),
        )
    })
    .await;
    assert_eq!(client.validators().await.unwrap().len(), 101);
    let last = server.paths().pop().unwrap();
    assert!(last.contains("/validatorsets/77?") && last.contains("pagination.offset=100"), "{last}");
}
