//! Handing over transactions.

use sha2::{Digest, Sha256};
use tonic::Code;
use windlass_vrf_protocol::messages::tx::{self, BroadcastTxRequest, BroadcastTxResponse, TxResponse};

use super::super::{BandApi, BandClientConfig, BandError, BroadcastMode};
use super::servers::{Reply, closed_port, message};
use super::{client, client_of, node, settings};

const PATH: &str = tx::path::BROADCAST_TX;
const TX: &[u8] = b"a signed transaction";

fn answer(code: u32, raw_log: &str, height: i64) -> Reply {
    let response = TxResponse {
        txhash: hex::encode_upper(Sha256::digest(TX)),
        codespace: if code == 0 { String::new() } else { "sdk".to_owned() },
        code,
        raw_log: raw_log.to_owned(),
        height,
        ..TxResponse::default()
    };
    message(BroadcastTxResponse { tx_response: Some(response) })
}

#[tokio::test]
async fn one_node_gets_the_transaction() {
    let (first, second) = (node(9).await, node(9).await);
    first.on(PATH, [answer(0, "", 0)]);
    second.on(PATH, [answer(0, "", 0)]);
    let (client, _) = client_of(&[&first, &second]);
    let answer = client.broadcast(TX, BroadcastMode::Sync).await.unwrap();
    assert!(answer.is_taken() && answer.included.is_none());
    assert_eq!(answer.hash, hex::encode_upper(Sha256::digest(TX)));
    let asked: BroadcastTxRequest = first.last(PATH);
    assert_eq!((asked.tx_bytes.as_ref(), asked.mode), (TX, 2));
    assert_eq!(second.asked(PATH), 0);
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let (first, second) = (node(9).await, node(9).await);
    let text = "account sequence mismatch, expected 7, got 6: incorrect account sequence";
    first.on(PATH, [answer(32, text, 0), answer(19, "tx already in mempool", 0)]);
    let (client, _) = client_of(&[&first, &second]);
    let answer = client.broadcast(TX, BroadcastMode::Sync).await.unwrap();
    assert_eq!((answer.code, answer.codespace.as_str(), answer.raw_log.as_str()), (32, "sdk", text));
    assert!(!answer.is_taken());
    assert!(client.broadcast(TX, BroadcastMode::Sync).await.unwrap().is_taken());
    assert_eq!(second.asked(PATH), 0);
}

#[tokio::test]
async fn the_next_one_is_tried_where_the_first_certainly_did_not_take_it() {
    let second = node(9).await;
    second.on(PATH, [answer(0, "", 0)]);
    let (config, _) = settings();
    let closed = format!("http://{}", closed_port().await).parse().unwrap();
    let client_1 = client(BandClientConfig { grpc: vec![closed, second.url()], ..config });
    assert!(client_1.broadcast(TX, BroadcastMode::Sync).await.unwrap().is_taken());

    for failure in [Reply::Busy(5), answer(20, "mempool is full", 0), Reply::Fails(Code::PermissionDenied, "read only")] {
        let first = node(9).await;
        first.on(PATH, [failure]);
        let (client, _) = client_of(&[&first, &second]);
        assert!(client.broadcast(TX, BroadcastMode::Sync).await.unwrap().is_taken());
    }
}

#[tokio::test]
async fn nobody_else_is_tried_where_the_first_may_have_taken_it() {
    for failure in [Reply::Fails(Code::Unavailable, "upstream"), Reply::Silent, Reply::Bytes(vec![0x0a, 0xff]), other_hash()] {
        let (first, second) = (node(9).await, node(9).await);
        first.on(PATH, [failure]);
        let (client, _) = client_of(&[&first, &second]);
        let error = client.broadcast(TX, BroadcastMode::Sync).await.unwrap_err();
        assert!(error.outcome_unknown(), "{error}");
        assert_eq!(second.asked(PATH), 0);
    }
}

fn other_hash() -> Reply {
    let response = TxResponse { txhash: "AB".to_owned(), ..TxResponse::default() };
    message(BroadcastTxResponse { tx_response: Some(response) })
}

#[tokio::test]
async fn a_node_that_cannot_even_say_its_chain_was_given_nothing() {
    let (first, second) = (super::GrpcServer::start().await, node(9).await);
    first.on(windlass_vrf_protocol::messages::tendermint::path::GET_LATEST_BLOCK, [Reply::Fails(Code::Unavailable, "")]);
    second.on(PATH, [answer(0, "", 0)]);
    let (client, _) = client_of(&[&first, &second]);
    assert!(client.broadcast(TX, BroadcastMode::Sync).await.unwrap().is_taken());
    assert_eq!(first.asked(PATH), 0);
}

#[tokio::test]
async fn a_full_pool_everywhere_is_told() {
    let first = node(9).await;
    first.on(PATH, [answer(20, "mempool is full", 0)]);
    let (client, _) = client_of(&[&first]);
    assert_eq!(client.broadcast(TX, BroadcastMode::Sync).await.unwrap().code, 20);
}

#[tokio::test]
async fn old_chains_answer_when_the_block_is_there() {
    let server = node(9).await;
    server.on(PATH, [answer(0, "[]", 12)]);
    let (client, _) = client_of(&[&server]);
    let answer = client.broadcast(TX, BroadcastMode::Block).await.unwrap();
    assert_eq!(answer.included.unwrap().height, 12);
    assert_eq!(server.last::<BroadcastTxRequest>(PATH).mode, 1);
}

#[tokio::test]
async fn new_chains_refuse_to_wait_and_are_not_asked_to_again() {
    let server = node(9).await;
    let refusal = "unsupported return type block; supported types: sync, async";
    server.on(PATH, [Reply::Fails(Code::Unknown, refusal), answer(0, "", 0)]);
    let (client, _) = client_of(&[&server]);
    for _ in 0..2 {
        assert!(client.broadcast(TX, BroadcastMode::Block).await.unwrap().is_taken());
        assert_eq!(server.last::<BroadcastTxRequest>(PATH).mode, 2);
    }
    assert_eq!(server.asked(PATH), 3);
    client.broadcast(TX, BroadcastMode::Async).await.unwrap();
    assert_eq!(server.last::<BroadcastTxRequest>(PATH).mode, 3);
}

#[tokio::test]
async fn everybody_can_be_given_the_same_bytes() {
    let servers = [node(9).await, node(9).await, node(9).await];
    let [first, second, third] = &servers;
    first.on(PATH, [Reply::Silent]);
    second.on(PATH, [answer(0, "", 0), answer(32, "", 0)]);
    third.on(PATH, [answer(19, "", 0), answer(32, "", 0)]);
    let (client, _) = client_of(&[first, second, third]);
    assert!(client.broadcast_all(TX).await.unwrap().is_taken());
    assert_eq!(servers.each_ref().map(|server| server.asked(PATH)), [1, 1, 1]);
    let error = client.broadcast_all(TX).await.unwrap_err();
    assert!(matches!(&error, BandError::Unavailable { .. }) && error.outcome_unknown(), "the first may have taken it: {error}");
}
