//! Which endpoint is asked, and what the client makes of several answers.

use std::time::Duration;

use alloy_primitives::B256;
use tonic::Code;
use windlass_vrf_protocol::messages::auth::{self, BaseAccount, QueryAccountInfoResponse};
use windlass_vrf_protocol::messages::bank;
use windlass_vrf_protocol::messages::tendermint;
use windlass_vrf_protocol::messages::tx::{self, GetTxResponse, TxResponse};

use super::super::{BandApi, BandClient, BandClientConfig, BandError, Method};
use super::servers::{Answered, GrpcServer, HttpServer, Reply, closed_port, message};
use super::{ADDRESS, CHAIN, client, client_of, latest, node, settings};

const ACCOUNT: &str = auth::path::ACCOUNT_INFO;
const LATEST: &str = tendermint::path::GET_LATEST_BLOCK;

fn account(sequence: u64) -> Reply {
    let info = BaseAccount { address: ADDRESS.to_owned(), pub_key: None, account_number: 1, sequence };
    message(QueryAccountInfoResponse { info: Some(info) })
}

async fn sequence(client: &BandClient) -> Result<u64, BandError> {
    client.account(ADDRESS).await.map(|account| account.sequence)
}

#[tokio::test]
async fn what_one_cannot_answer_the_next_is_asked() {
    for failure in [
        Reply::Fails(Code::Unavailable, "upstream"),
        Reply::Fails(Code::Internal, "oops"),
        Reply::Fails(Code::Unauthenticated, "key"),
        Reply::Silent,
        Reply::Bytes(vec![0x0a, 0xff, 0xff]),
        Reply::Busy(5),
    ] {
        let (bad, good) = (node(9).await, node(9).await);
        bad.on(ACCOUNT, [failure]);
        good.on(ACCOUNT, [account(4)]);
        let (client, _) = client_of(&[&bad, &good]);
        assert_eq!(sequence(&client).await.unwrap(), 4);
    }
}

#[tokio::test]
async fn an_endpoint_that_failed_is_asked_last_for_a_while() {
    let (first, second) = (node(9).await, node(9).await);
    first.on(ACCOUNT, [Reply::Fails(Code::Unavailable, "restarting"), account(1)]);
    second.on(ACCOUNT, [account(2)]);
    let (client, clock) = client_of(&[&first, &second]);
    assert_eq!(sequence(&client).await.unwrap(), 2);
    assert_eq!(sequence(&client).await.unwrap(), 2, "still in its pause");
    assert_eq!(first.asked(ACCOUNT), 1);
    let status = client.status();
    assert!(!status[0].healthy && status[1].healthy);
    assert!(status[0].note.as_ref().unwrap().contains("restarting"));
    clock.advance(Duration::from_millis(600));
    assert_eq!(sequence(&client).await.unwrap(), 1);
}

#[tokio::test]
async fn a_node_that_is_not_there_is_unavailable() {
    let (config, _) = settings();
    let url = format!("http://{}", closed_port().await).parse().unwrap();
    let client = client(BandClientConfig { grpc: vec![url], ..config });
    let error = sequence(&client).await.unwrap_err();
    assert!(matches!(&error, BandError::Unavailable { reason, .. } if reason.contains("cannot connect")), "{error}");
    assert!(error.is_transient() && !error.outcome_unknown());
}

#[tokio::test]
async fn a_node_comes_back_on_the_same_connection() {
    let (config, _) = settings();
    let server = node(9).await;
    server.on(ACCOUNT, [Reply::Silent, account(1)]);
    let config = BandClientConfig { timeout: Duration::from_millis(200), grpc: vec![server.url()], ..config };
    let client = client(config);
    let error = sequence(&client).await.unwrap_err();
    assert!(matches!(&error, BandError::Unavailable { reason, .. } if reason.contains("200 ms")), "{error}");
    assert_eq!(sequence(&client).await.unwrap(), 1, "the only endpoint is asked even in its pause");
}

#[tokio::test]
async fn who_asks_for_fewer_requests_gets_none() {
    let server = node(9).await;
    server.on(ACCOUNT, [Reply::Busy(7_000), account(1)]);
    let (client, clock) = client_of(&[&server]);
    let error = sequence(&client).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert!(matches!(error, BandError::RateLimited { .. }));
    clock.advance(Duration::from_secs(6));
    let error = sequence(&client).await.unwrap_err();
    assert!(matches!(error, BandError::NoEndpoint { .. }));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    assert_eq!(server.asked(ACCOUNT), 1);
    clock.advance(Duration::from_secs(1));
    assert_eq!(sequence(&client).await.unwrap(), 1);
}

#[tokio::test]
async fn an_endpoint_of_another_chain_is_not_used() {
    let (wrong, right) = (GrpcServer::start().await, node(9).await);
    wrong.on(LATEST, [latest("laozi-mainnet", 100)]).on(ACCOUNT, [account(99)]);
    right.on(ACCOUNT, [account(1)]);
    let (client, clock) = client_of(&[&wrong, &right]);
    assert_eq!(sequence(&client).await.unwrap(), 1);
    assert_eq!(client.latest_block().await.unwrap().height, 9);
    assert_eq!((wrong.asked(ACCOUNT), wrong.asked(LATEST)), (0, 1));
    assert_eq!(client.status()[0].note.as_deref(), Some("serves chain laozi-mainnet"));

    // Operators repair nodes behind unchanged addresses.
    wrong.on(LATEST, [latest(CHAIN, 9)]);
    clock.advance(Duration::from_secs(301));
    assert_eq!(sequence(&client).await.unwrap(), 99);
}

#[tokio::test]
async fn only_endpoints_of_another_chain_are_an_error_of_their_own() {
    let wrong = GrpcServer::start().await;
    wrong.on(LATEST, [latest("laozi-mainnet", 100)]);
    let (client, _) = client_of(&[&wrong]);
    for _ in 0..2 {
        let error = sequence(&client).await.unwrap_err();
        let BandError::WrongChain { expected, found, .. } = &error else { panic!("{error}") };
        assert_eq!((expected.as_str(), found.as_str()), (CHAIN, "laozi-mainnet"));
        assert!(!error.is_transient());
    }
    assert_eq!(wrong.asked(LATEST), 1);
    let outcomes = client.identify_all().await;
    assert!(matches!(&outcomes[..], [(_, "gRPC", Err(BandError::WrongChain { .. }))]));
}

#[tokio::test]
async fn an_endpoint_that_changes_its_chain_is_found_out() {
    let server = GrpcServer::start().await;
    server.on(LATEST, [latest(CHAIN, 5), latest(CHAIN, 5), latest("other", 6)]);
    let (client, _) = client_of(&[&server]);
    assert_eq!(client.latest_block().await.unwrap().height, 5);
    assert!(matches!(client.latest_block().await, Err(BandError::WrongChain { .. })));
}

#[tokio::test]
async fn without_a_configured_chain_the_first_answer_decides() {
    let (first, second) = (node(9).await, GrpcServer::start().await);
    first.on(ACCOUNT, [Reply::Fails(Code::Unavailable, "")]);
    second.on(LATEST, [latest("other", 9)]).on(ACCOUNT, [account(1)]);
    let (config, _) = settings();
    let client = client(BandClientConfig { chain_id: None, grpc: vec![first.url(), second.url()], ..config });
    assert!(sequence(&client).await.is_err());
    assert_eq!(client.chain_id().as_deref(), Some(CHAIN));
    assert_eq!(second.asked(ACCOUNT), 0);
}

#[tokio::test]
async fn many_questions_at_once_ask_the_chain_id_once() {
    let server = node(9).await;
    server.on(ACCOUNT, [account(1)]);
    let (client, _) = client_of(&[&server]);
    let all = futures::future::join_all((0..20).map(|_| sequence(&client))).await;
    assert!(all.into_iter().all(|one| one.is_ok()));
    assert_eq!((server.asked(LATEST), client.counts().get(Method::Account)), (1, 20));
}

#[tokio::test]
async fn a_late_node_is_not_asked_about_the_newest_state() {
    let (late, good) = (node(50).await, node(100).await);
    late.on(ACCOUNT, [account(1)]).on(tendermint::path::GET_BLOCK_BY_HEIGHT, [block(3)]);
    good.on(ACCOUNT, [account(2)]);
    let (client, _) = client_of(&[&late, &good]);
    assert_eq!(client.latest_block().await.unwrap().height, 100);
    assert_eq!(sequence(&client).await.unwrap(), 2);
    assert_eq!(late.asked(ACCOUNT), 0);
    assert_eq!(client.status()[0].note.as_deref(), Some("50 blocks behind"));
    // What it has it may still be asked for.
    assert_eq!(client.block_hash(40).await.unwrap(), B256::repeat_byte(3));
}

fn block(byte: u8) -> Reply {
    let block_id = Some(tendermint::BlockId { hash: vec![byte; 32], part_set_header: None });
    message(tendermint::GetBlockByHeightResponse { block_id, ..Default::default() })
}

#[tokio::test]
async fn heights_mentioned_in_passing_count() {
    let (first, second) = (node(50).await, node(50).await);
    first.on(ACCOUNT, [account(1)]);
    let Reply::Bytes(bytes) = account(2) else { panic!() };
    second.on(ACCOUNT, [Reply::At(90, bytes)]);
    first.on(bank::path::BALANCE, [Reply::Fails(Code::Unavailable, "")]);
    let (config, _) = settings();
    // Both are asked, so both have shown a head.
    let config = BandClientConfig { quorum: 2, grpc: vec![first.url(), second.url()], ..config };
    let client = client(config);
    assert!(matches!(sequence(&client).await, Err(BandError::Disagreement { .. })));
    assert_eq!(client.status()[1].head, Some(90));
}

#[tokio::test]
async fn the_newest_block_never_goes_back_by_accident() {
    let server = GrpcServer::start().await;
    let heights = [10, 10, 9, 11, 8, 8, 8];
    server.on(LATEST, heights.map(|height| latest(CHAIN, height)));
    let (client, _) = client_of(&[&server]);
    // The first answer was for the chain id. A chain that insists on being lower was set back.
    for expected in [10, 10, 11, 11, 11, 8] {
        assert_eq!(client.latest_block().await.unwrap().height, expected);
    }
}

#[tokio::test]
async fn money_decisions_ask_two() {
    let (first, second, third) = (node(9).await, node(9).await, node(9).await);
    let (config, _) = settings();
    let config = BandClientConfig { quorum: 2, grpc: [&first, &second, &third].map(GrpcServer::url).to_vec(), ..config };
    let client = client(config);
    first.on(ACCOUNT, [account(7)]);
    second.on(ACCOUNT, [account(7), account(8), Reply::Fails(Code::Unavailable, "")]);
    third.on(ACCOUNT, [account(7), Reply::Fails(Code::Unavailable, "")]);
    assert_eq!(sequence(&client).await.unwrap(), 7);
    let error = sequence(&client).await.unwrap_err();
    let BandError::Disagreement { answers, .. } = &error else { panic!("{error}") };
    assert!(answers.len() == 2 && answers[1].1.contains('8') && error.is_transient());
    assert_eq!(sequence(&client).await.unwrap(), 7, "the third takes the place of the one that fails");
    let error = sequence(&client).await.unwrap_err();
    assert!(matches!(&error, BandError::NoEndpoint { endpoints, .. } if !endpoints.is_empty()), "{error}");
}

const HASH: &str = "ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB";

fn found(height: i64) -> Reply {
    message(GetTxResponse { tx: None, tx_response: Some(TxResponse { height, txhash: HASH.to_owned(), ..Default::default() }) })
}

fn unknown() -> Reply {
    Reply::Fails(Code::NotFound, "tx not found")
}

#[tokio::test]
async fn a_transaction_is_unknown_only_if_two_say_so() {
    let servers = [node(9).await, node(9).await, node(9).await];
    let [first, second, third] = &servers;
    let (client, clock) = client_of(&[first, second, third]);
    first.on(tx::path::GET_TX, [unknown()]);
    second.on(tx::path::GET_TX, [found(5)]);
    third.on(tx::path::GET_TX, [unknown()]);
    assert_eq!(client.transaction(HASH).await.unwrap().unwrap().height, 5);

    second.on(tx::path::GET_TX, [unknown()]);
    assert_eq!(client.transaction(HASH).await.unwrap(), None);
    assert_eq!(third.asked(tx::path::GET_TX), 0, "two are enough");

    // Those that fail say nothing. Once they are known to, the one that is in order is believed alone.
    second.on(tx::path::GET_TX, [Reply::Fails(Code::Unavailable, "")]);
    third.on(tx::path::GET_TX, [Reply::Fails(Code::Unavailable, "")]);
    assert!(matches!(client.transaction(HASH).await, Err(BandError::Unavailable { .. })));
    assert_eq!(client.transaction(HASH).await.unwrap(), None);
    clock.advance(Duration::from_secs(3_600));
    assert!(client.transaction(HASH).await.is_err(), "all are in order again, as far as is known");
}

#[tokio::test]
async fn an_included_transaction_can_need_two_witnesses() {
    let (first, second) = (node(9).await, node(9).await);
    let (config, _) = settings();
    let client = client(BandClientConfig { quorum: 2, grpc: vec![first.url(), second.url()], ..config });
    first.on(tx::path::GET_TX, [found(5)]);
    second.on(tx::path::GET_TX, [found(5), unknown(), found(6)]);
    assert_eq!(client.transaction(HASH).await.unwrap().unwrap().height, 5);
    for why in ["only one knows it", "two heights"] {
        assert!(matches!(client.transaction(HASH).await, Err(BandError::Disagreement { .. })), "{why}");
    }
}

#[tokio::test]
async fn another_transaction_is_no_answer() {
    let server = node(9).await;
    let (client, _) = client_of(&[&server]);
    server.on(tx::path::GET_TX, [found(5)]);
    let other = HASH.replace("AB", "CD");
    assert!(matches!(client.transaction(&other).await, Err(BandError::Malformed { .. })));
}

#[tokio::test]
async fn what_no_endpoint_offers_is_unsupported() {
    let server = node(9).await;
    let (client, _) = client_of(&[&server]);
    for error in [client.raw_proof(1, 9).await.unwrap_err(), client.resolved_in(9).await.unwrap_err()] {
        assert!(matches!(&error, BandError::Unsupported { needs, .. } if needs == "a CometBFT RPC endpoint"), "{error}");
        assert!(error.hint().is_some() && !error.is_transient());
    }
}

#[tokio::test]
async fn errors_and_views_name_hosts_and_keep_secrets() {
    let server = HttpServer::start(|asked| {
        assert!(asked.path.starts_with("/v1/0123456789abcdef/"), "{}", asked.path);
        Answered::status(403, "no such key 0123456789abcdef, user hunter2hunter2")
    })
    .await;
    let (config, _) = settings();
    let url = server.below("/v1/0123456789abcdef").expose().to_string().replace("http://", "http://user:hunter2hunter2@");
    let url = windlass_node::config::SecretUrl::new(url.parse().unwrap());
    let client = client(BandClientConfig { rest: vec![url.clone()], rpc: vec![url], ..config });
    let mut texts = vec![format!("{:?}", client.status())];
    texts.push(format!("{:?}", sequence(&client).await.unwrap_err()));
    texts.push(format!("{:?}", client.transaction(HASH).await.unwrap_err()));
    texts.push(format!("{:?} {:?}", client.status(), client.resolved_in(4).await.unwrap_err()));
    for text in texts {
        assert!(text.contains("127.0.0.1:") && !text.contains("0123456789abcdef") && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn all_problems_of_the_settings_come_at_once() {
    let error = BandClient::new(BandClientConfig { quorum: 3, ..BandClientConfig::default() }).err().unwrap();
    let BandError::Config { problems } = error else { panic!() };
    assert_eq!(problems.len(), 2);
    let grpc = ["ftp://a.example", "https://user:pw@b.example", "https://c.example/path"];
    let grpc = grpc.map(|url| url.parse().unwrap()).to_vec();
    let error = BandClient::new(BandClientConfig { grpc, ..BandClientConfig::default() }).err().unwrap();
    assert!(!error.to_string().contains("pw"), "{error}");
    let BandError::Config { problems } = error else { panic!() };
    assert_eq!(problems.len(), 3);
}
