//! Every method over gRPC, and what old and broken nodes answer.

use alloy_primitives::B256;
use prost::Message as _;
use sha2::{Digest, Sha256};
use tonic::Code;
use windlass_vrf_protocol::messages::auth::{self, BaseAccount, QueryAccountInfoResponse, QueryAccountResponse};
use windlass_vrf_protocol::messages::bank::{self, QueryBalanceResponse};
use windlass_vrf_protocol::messages::oracle::{self, QueryParamsResponse, QueryRequestResponse};
use windlass_vrf_protocol::messages::proof::{self, ProofRequest, ProofResponse, SingleProofResult};
use windlass_vrf_protocol::messages::tendermint::{
    self, BlockId, GetBlockByHeightResponse, SECP256K1_TYPE_URL, Validator, ValidatorSetResponse,
};
use windlass_vrf_protocol::messages::tx::{
    self, Event, EventAttribute, GetTxResponse, GetTxsEventRequest, GetTxsEventResponse, PubKey, SimulateResponse, TxRaw,
    TxResponse,
};
use windlass_vrf_protocol::messages::{Any, Coin, PageResponse};
use windlass_vrf_protocol::oracle_result::ResolveStatus;
use windlass_vrf_protocol::tx::MessageType;

use super::super::{BandApi, BandError, Method, RequestState};
use super::chain::Chain;
use super::servers::{Reply, message};
use super::{ADDRESS, client_of, node};

const PROOF_V2: &str = "/bandchain.v1.oracle.Service/Proof";

fn account() -> BaseAccount {
    BaseAccount { address: ADDRESS.to_owned(), pub_key: None, account_number: 362, sequence: 631 }
}

#[tokio::test]
async fn accounts_balances_and_blocks() {
    let server = node(604_808).await;
    server.on(auth::path::ACCOUNT_INFO, [message(QueryAccountInfoResponse { info: Some(account()) })]);
    let coin = Coin { denom: "uband".to_owned(), amount: "340282366920938463463374607431768211455".to_owned() };
    server.on(bank::path::BALANCE, [message(QueryBalanceResponse { balance: Some(coin) })]);
    let block_id = Some(BlockId { hash: vec![9; 32], part_set_header: None });
    server.on(tendermint::path::GET_BLOCK_BY_HEIGHT, [message(GetBlockByHeightResponse { block_id, ..Default::default() })]);
    let (client, _) = client_of(&[&server]);

    let state = client.account(ADDRESS).await.unwrap();
    assert_eq!((state.account_number, state.sequence), (362, 631));
    assert_eq!(client.balance(ADDRESS, "uband").await.unwrap(), u128::MAX);
    assert!(matches!(client.balance(ADDRESS, "uatom").await, Err(BandError::Malformed { .. })), "another denomination");
    let block = client.latest_block().await.unwrap();
    assert_eq!((block.chain_id.as_str(), block.height, block.time_ms), (super::CHAIN, 604_808, 1_700_000_000_123));
    assert_eq!(client.block_hash(5).await.unwrap(), B256::repeat_byte(9));
    let asked: tendermint::GetBlockByHeightRequest = server.last(tendermint::path::GET_BLOCK_BY_HEIGHT);
    assert_eq!(asked.height, 5);

    let counts = client.counts();
    // The first question of all is the one for the chain id.
    assert_eq!((counts.get(Method::Account), counts.get(Method::Balance), counts.get(Method::LatestBlock)), (1, 2, 2));
    assert_eq!(counts.total(), 6);
}

#[tokio::test]
async fn an_account_without_coins_is_not_found_and_has_no_balance() {
    let server = node(1).await;
    server.on(auth::path::ACCOUNT_INFO, [Reply::Fails(Code::NotFound, "account band1xyz not found")]);
    server.on(bank::path::BALANCE, [message(QueryBalanceResponse::default())]);
    let (client, _) = client_of(&[&server]);
    let error = client.account(ADDRESS).await.unwrap_err();
    assert!(matches!(&error, BandError::NotFound { .. }), "{error}");
    assert!(error.hint().unwrap().contains("uband"));
    assert_eq!(client.balance(ADDRESS, "uband").await.unwrap(), 0);
    assert!(client.status()[0].healthy, "an answer is an answer");
}

#[tokio::test]
async fn nodes_of_old_chains_know_old_names() {
    let server = node(1).await;
    let any = Any { type_url: auth::BASE_ACCOUNT_TYPE_URL.to_owned(), value: account().encode_to_vec() };
    server.on(auth::path::ACCOUNT, [message(QueryAccountResponse { account: Some(any) })]);
    server.on(
        oracle::path::REQUEST_V2,
        [message(QueryRequestResponse { request: Some(Default::default()), ..Default::default() })],
    );
    server.on(oracle::path::PARAMS_V2, [message(QueryParamsResponse::default())]);
    let chain = Chain::new(8, &[3]);
    server.on(PROOF_V2, [served(&chain, 3)]);
    let (client, _) = client_of(&[&server]);
    for _ in 0..2 {
        assert_eq!(client.account(ADDRESS).await.unwrap().sequence, 631);
        assert_eq!(client.request(3).await.unwrap(), RequestState::Open);
        assert_eq!(client.proof(3, None).await.unwrap().block_height, 8);
        assert_eq!(client.message_type().await.unwrap(), MessageType::V2);
    }
    // Learnt with the first refusal.
    let asked = [auth::path::ACCOUNT_INFO, oracle::path::REQUEST, proof::path::PROOF].map(|path| server.asked(path));
    assert_eq!(asked, [1, 1, 1]);
    let counts = client.counts();
    assert_eq!([Method::Account, Method::Request, Method::Proof].map(|method| counts.get(method)), [3, 3, 3]);
}

#[tokio::test]
async fn a_chain_of_version_three_says_so() {
    let server = node(1).await;
    server.on(oracle::path::PARAMS, [message(QueryParamsResponse::default())]);
    let (client, _) = client_of(&[&server]);
    assert_eq!(client.message_type().await.unwrap(), MessageType::V3);
}

fn tx_response(hash: &str, height: i64) -> TxResponse {
    let attribute = EventAttribute { key: "id".to_owned(), value: "2046071".to_owned(), index: true };
    let event = Event { r#type: "request".to_owned(), attributes: vec![attribute] };
    TxResponse {
        height,
        txhash: hash.to_owned(),
        gas_wanted: 800_000,
        gas_used: 600_001,
        events: vec![event],
        ..TxResponse::default()
    }
}

#[tokio::test]
async fn transactions_by_hash_and_by_event() {
    let server = node(800).await;
    let raw = TxRaw { body_bytes: vec![1, 2], auth_info_bytes: vec![], signatures: vec![vec![3; 64]] }.encode_to_vec();
    let hash = hex::encode_upper(Sha256::digest(&raw));
    server.on(tx::path::GET_TX, [message(GetTxResponse { tx: None, tx_response: Some(tx_response(&hash, 777)) })]);
    let packed = TxResponse { tx: Some(Any { type_url: String::new(), value: raw.clone() }), ..tx_response(&hash, 777) };
    server.on(tx::path::GET_TXS_EVENT, [message(GetTxsEventResponse { tx_responses: vec![packed], ..Default::default() })]);
    let gas = Some(tx::GasInfo { gas_wanted: 0, gas_used: 612_345 });
    server.on(tx::path::SIMULATE, [message(SimulateResponse { gas_info: gas, result: None })]);
    let (client, _) = client_of(&[&server]);

    let info = client.transaction(&hash).await.unwrap().unwrap();
    assert_eq!((info.height, info.gas_used, info.events[0].attributes[0].value.as_str()), (777, 600_001, "2046071"));
    assert_eq!(client.transaction_at_sequence(ADDRESS, 7).await.unwrap().unwrap().hash, hash);
    let asked: GetTxsEventRequest = server.last(tx::path::GET_TXS_EVENT);
    let query = format!("tx.acc_seq='{ADDRESS}/7'");
    assert_eq!(
        (asked.query.as_str(), asked.events[0].as_str(), asked.limit, asked.order_by),
        (query.as_str(), query.as_str(), 1, 2)
    );
    let found = client.transactions_of(ADDRESS, 50).await.unwrap();
    assert_eq!(found[0].1, raw);
    assert_eq!(client.simulate(&raw).await.unwrap().gas_used, 612_345);
}

#[tokio::test]
async fn bytes_that_have_another_hash_are_not_the_signed_ones() {
    let server = node(800).await;
    let packed = TxResponse { tx: Some(Any { type_url: String::new(), value: vec![1] }), ..tx_response("AB", 777) };
    server.on(tx::path::GET_TXS_EVENT, [message(GetTxsEventResponse { tx_responses: vec![packed], ..Default::default() })]);
    let (client, _) = client_of(&[&server]);
    assert!(matches!(client.transactions_of(ADDRESS, 5).await, Err(BandError::Malformed { .. })));
    assert!(client.transaction_at_sequence(ADDRESS, 7).await.unwrap().is_some(), "which needs no bytes");
}

#[tokio::test]
async fn a_simulation_that_fails_is_refused_with_the_reason() {
    let server = node(1).await;
    server.on(tx::path::SIMULATE, [Reply::Fails(Code::Unknown, "failed to execute message; data source 7 not found")]);
    let (client, _) = client_of(&[&server]);
    let error = client.simulate(&[1]).await.unwrap_err();
    assert!(matches!(&error, BandError::Refused { text, .. } if text.contains("data source 7")), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn requests_are_open_or_resolved_or_unknown() {
    let server = node(1).await;
    let result = |status| oracle::Result { request_id: 9, resolve_status: status, ..Default::default() };
    let answer = |status| message(QueryRequestResponse { result: Some(result(status)), ..Default::default() });
    let text = "unable to get request from chain: request id (9) > latest expired request id (3)";
    server.on(oracle::path::REQUEST, [answer(1), answer(3), answer(7), Reply::Fails(Code::NotFound, text)]);
    let (client, _) = client_of(&[&server]);
    assert_eq!(client.request(9).await.unwrap(), RequestState::Resolved(ResolveStatus::Success));
    assert_eq!(client.request(9).await.unwrap(), RequestState::Resolved(ResolveStatus::Expired));
    assert!(matches!(client.request(9).await, Err(BandError::Malformed { .. })), "a status that is none");
    assert!(matches!(client.request(9).await, Err(BandError::NotFound { .. })));
}

fn served(chain: &Chain, id: u64) -> Reply {
    let result = SingleProofResult { proof: None, evm_proof_bytes: chain.proof(id).into() };
    message(ProofResponse { height: 0, result: Some(result) })
}

#[tokio::test]
async fn proofs_are_read_before_they_are_passed_on() {
    let server = node(10).await;
    let chain = Chain::new(8, &[3, 4]);
    let cut = SingleProofResult { proof: None, evm_proof_bytes: chain.proof(3)[..900].to_vec().into() };
    let cut = message(ProofResponse { height: 0, result: Some(cut) });
    server.on(proof::path::PROOF, [served(&chain, 3), served(&chain, 4), cut, Reply::Bytes(vec![0x0a, 0xff])]);
    let (client, _) = client_of(&[&server]);
    let proof = client.proof(3, Some(8)).await.unwrap();
    assert_eq!((proof.block_height, proof.evm_proof_bytes.to_vec()), (8, chain.proof(3)));
    let asked: ProofRequest = server.last(proof::path::PROOF);
    assert_eq!((asked.request_id, asked.height), (3, 8));
    for why in ["of another request", "cut short", "no message at all"] {
        assert!(matches!(client.proof(3, None).await, Err(BandError::Malformed { .. })), "{why}");
    }
}

#[tokio::test]
async fn a_proof_that_is_not_there_yet_is_no_failure_of_the_node() {
    let server = node(10).await;
    let gone = "failed to load state at height 3; version does not exist (latest height: 10)";
    server.on(
        proof::path::PROOF,
        [
            Reply::Fails(Code::Unknown, "commit is not canonical"),
            Reply::Fails(Code::Unknown, "Proof not found"),
            Reply::Fails(Code::Unknown, gone),
        ],
    );
    let (client, _) = client_of(&[&server]);
    for _ in 0..2 {
        let error = client.proof(3, None).await.unwrap_err();
        assert!(matches!(error, BandError::NotReady { .. }) && error.is_transient());
    }
    assert!(matches!(client.proof(3, Some(4)).await, Err(BandError::Pruned { .. })));
    assert!(client.status()[0].healthy);
}

#[tokio::test]
async fn validators_come_in_pages() {
    let server = node(10).await;
    let keys = Chain::new(8, &[3]).public_keys();
    let set = |keys: Vec<&Vec<u8>>, total| {
        let key =
            |key: &Vec<u8>| Any { type_url: SECP256K1_TYPE_URL.to_owned(), value: PubKey { key: key.clone() }.encode_to_vec() };
        let one = |bytes: &Vec<u8>| Validator { pub_key: Some(key(bytes)), voting_power: 5, ..Default::default() };
        let validators = keys.into_iter().map(one).collect();
        let pagination = Some(PageResponse { next_key: Vec::new(), total });
        message(ValidatorSetResponse { block_height: 77, validators, pagination })
    };
    let hundred = keys.iter().cycle().take(100).collect();
    server.on(tendermint::path::GET_LATEST_VALIDATOR_SET, [set(hundred, 102)]);
    server.on(tendermint::path::GET_VALIDATOR_SET_BY_HEIGHT, [set(keys.iter().take(2).collect(), 102)]);
    let (client, _) = client_of(&[&server]);
    let validators = client.validators().await.unwrap();
    assert_eq!((validators.len(), validators[0].1), (102, 5));
    assert_eq!(validators[0].0, Chain::new(8, &[3]).validators()[0].0);
    let asked: tendermint::GetValidatorSetByHeightRequest = server.last(tendermint::path::GET_VALIDATOR_SET_BY_HEIGHT);
    assert_eq!((asked.height, asked.pagination.unwrap().offset), (77, 100));
}
