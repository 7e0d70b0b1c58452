//! The three interfaces, as a client over the network sees them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]

mod support;

use std::time::{Duration, Instant};

use alloy_primitives::{Bytes, hex};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::{Value, json};
use support::{Wallet, bridge, config, judge};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use windlass_devnet_band::{BandConfig, BandDevnet, CallFault, CallRule, Faults};
use windlass_vrf_protocol::assemble;
use windlass_vrf_protocol::header::Header;
use windlass_vrf_protocol::ics23::StoreProof;
use windlass_vrf_protocol::messages::proof::{
    MultiProofRequest, MultiProofResponse, ProofRequest, ProofResponse, RequestCountProofRequest, RequestCountProofResponse,
};
use windlass_vrf_protocol::messages::tendermint::{
    Commit, CommitSig, GetBlockByHeightRequest, GetBlockByHeightResponse, GetLatestBlockRequest, GetLatestBlockResponse,
    GetLatestValidatorSetRequest, ProofOp, ValidatorSetResponse,
};
use windlass_vrf_protocol::messages::tx::{
    BroadcastMode, BroadcastTxRequest, BroadcastTxResponse, GetTxRequest, GetTxResponse, GetTxsEventRequest, GetTxsEventResponse,
    OrderBy, SimulateRequest, SimulateResponse,
};
use windlass_vrf_protocol::messages::{Timestamp, auth, bank, oracle, proof, tendermint, tx};
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::oracle_result::{OracleResult, ResolveStatus, store_key};
use windlass_vrf_protocol::verify::{relay_and_multi_verify, relay_and_verify_count};

#[derive(Clone)]
struct Grpc(tonic::client::Grpc<Channel>);

impl Grpc {
    async fn connect(devnet: &BandDevnet) -> Self {
        let channel = Endpoint::from_shared(devnet.grpc_url()).unwrap().connect().await.unwrap();
        Self(tonic::client::Grpc::new(channel))
    }

    async fn call<I, O>(&self, path: &'static str, request: I) -> Result<O, Status>
    where
        I: Message + Default + 'static,
        O: Message + Default + 'static,
    {
        let mut client = self.0.clone();
        client.ready().await.unwrap();
        let path = path.parse().unwrap();
        client.unary(Request::new(request), path, ProstCodec::<I, O>::default()).await.map(tonic::Response::into_inner)
    }

    async fn broadcast(&self, bytes: &[u8], mode: BroadcastMode) -> Result<tx::TxResponse, Status> {
        let request = BroadcastTxRequest { tx_bytes: bytes.to_vec().into(), mode: mode as i32 };
        let response: BroadcastTxResponse = self.call(tx::path::BROADCAST_TX, request).await?;
        Ok(response.tx_response.unwrap())
    }

    async fn proof(&self, request_id: u64, height: i64) -> Result<ProofResponse, Status> {
        self.call(proof::path::PROOF, ProofRequest { request_id, height }).await
    }
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

async fn get(url: String) -> (u16, Value) {
    let response = http().get(url).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
}

async fn start(wallet: &Wallet) -> BandDevnet {
    BandDevnet::start(BandConfig { resolve_after: 1..=1, ..config(wallet) }).await.unwrap()
}

/// A chain on which request 1 is resolved in block 3 and proven by block 4.
async fn with_result() -> (BandDevnet, tx::TxResponse) {
    let mut wallet = Wallet::new(1);
    let devnet = start(&wallet).await;
    let signed = wallet.next(1);
    let grpc = Grpc::connect(&devnet).await;
    let answer = grpc.broadcast(&signed.bytes, BroadcastMode::Sync).await.unwrap();
    assert_eq!((answer.code, answer.txhash.as_str()), (0, signed.hash.as_str()));
    devnet.advance_by(4);
    (devnet, answer)
}

#[tokio::test]
async fn grpc_accounts_and_blocks() {
    let wallet = Wallet::new(1);
    let devnet = start(&wallet).await;
    let grpc = Grpc::connect(&devnet).await;
    devnet.advance_by(2);
    let address = wallet.address.clone();
    let request = auth::QueryAccountInfoRequest { address: address.clone() };
    let info: auth::QueryAccountInfoResponse = grpc.call(auth::path::ACCOUNT_INFO, request).await.unwrap();
    assert_eq!(info.info.map(|info| (info.account_number, info.sequence)), Some((20, 0)));
    let request = auth::QueryAccountInfoRequest { address: "band1nobody".to_owned() };
    let missing = grpc.call::<_, auth::QueryAccountInfoResponse>(auth::path::ACCOUNT_INFO, request).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    let request = bank::QueryBalanceRequest { address, denom: "uband".to_owned() };
    let balance: bank::QueryBalanceResponse = grpc.call(bank::path::BALANCE, request).await.unwrap();
    assert_eq!(balance.balance.unwrap().amount, "1000000000000");
    let latest: GetLatestBlockResponse = grpc.call(tendermint::path::GET_LATEST_BLOCK, GetLatestBlockRequest {}).await.unwrap();
    let header = latest.block.unwrap().header.unwrap();
    assert_eq!((header.chain_id.as_str(), header.height), ("windlass-band-1", 3));
    let hash = latest.block_id.unwrap().hash;
    assert_eq!(Header::try_from(header).unwrap().hash().to_vec(), hash, "the header is the whole header");
    let by_height = |height| GetBlockByHeightRequest { height };
    let same: GetBlockByHeightResponse = grpc.call(tendermint::path::GET_BLOCK_BY_HEIGHT, by_height(3)).await.unwrap();
    assert_eq!(same.block_id.unwrap().hash, hash);
    let above = grpc.call::<_, GetBlockByHeightResponse>(tendermint::path::GET_BLOCK_BY_HEIGHT, by_height(4)).await.unwrap_err();
    assert_eq!(above.code(), Code::InvalidArgument);
    let request = GetLatestValidatorSetRequest::default();
    let set: ValidatorSetResponse = grpc.call(tendermint::path::GET_LATEST_VALIDATOR_SET, request).await.unwrap();
    assert_eq!((set.validators.len(), set.validators[0].address.starts_with("bandvalcons1")), (4, true));
    let unknown =
        grpc.call::<_, bank::QueryBalanceResponse>("/cosmos.bank.v1beta1.Query/Nothing", by_height(1)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
    devnet.shutdown().await;
}

#[tokio::test]
async fn grpc_transactions() {
    let mut wallet = Wallet::new(1);
    let devnet = start(&wallet).await;
    let grpc = Grpc::connect(&devnet).await;
    let signed = wallet.next(2);
    let tx_bytes = signed.bytes.to_vec();
    let request = SimulateRequest { tx: None, tx_bytes: tx_bytes.clone().into() };
    let simulated: SimulateResponse = grpc.call(tx::path::SIMULATE, request).await.unwrap();
    let gas = simulated.gas_info.unwrap();
    assert!(gas.gas_used > 1_200_000 && gas.gas_used < gas.gas_wanted, "{gas:?}");
    assert_eq!(grpc.broadcast(&tx_bytes, BroadcastMode::Sync).await.unwrap().code, 0);
    let request = GetTxRequest { hash: signed.hash.clone() };
    let early = grpc.call::<_, GetTxResponse>(tx::path::GET_TX, request.clone()).await.unwrap_err();
    assert_eq!(early.code(), Code::NotFound);
    let again = grpc.broadcast(&tx_bytes, BroadcastMode::Sync).await.unwrap();
    assert_eq!((again.code, again.codespace.as_str()), (19, "sdk"));
    devnet.advance();
    let found: GetTxResponse = grpc.call(tx::path::GET_TX, request).await.unwrap();
    let response = found.tx_response.unwrap();
    assert_eq!((response.height, response.code, response.raw_log.as_str()), (2, 0, ""));
    assert_eq!(response.tx.unwrap().value, tx_bytes);
    assert_eq!(windlass_vrf_protocol::events::request_ids(&response.events, "").unwrap(), [1, 2]);
    let wrong = grpc.broadcast(&wallet.sign_with(|input| input.sequence = 9).bytes, BroadcastMode::Sync).await.unwrap();
    assert_eq!((wrong.code, wrong.raw_log.contains("expected 1, got 9")), (32, true));
    let refused = grpc.broadcast(&tx_bytes, BroadcastMode::Unspecified).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    let second = wallet.next(1);
    assert_eq!(grpc.broadcast(&second.bytes, BroadcastMode::Async).await.unwrap().txhash, second.hash);
    devnet.advance();
    let search =
        |query: String| GetTxsEventRequest { query, order_by: OrderBy::Descending as i32, limit: 10, ..Default::default() };
    let query = format!("tx.acc_seq='{}/0'", wallet.address);
    let found: GetTxsEventResponse = grpc.call(tx::path::GET_TXS_EVENT, search(query)).await.unwrap();
    assert_eq!(found.tx_responses.iter().map(|tx| tx.txhash.as_str()).collect::<Vec<_>>(), [signed.hash.as_str()]);
    let query = format!("message.sender='{}'", wallet.address);
    let found: GetTxsEventResponse = grpc.call(tx::path::GET_TXS_EVENT, search(query.clone())).await.unwrap();
    assert_eq!(found.tx_responses.iter().map(|tx| tx.txhash.clone()).collect::<Vec<_>>(), [second.hash, signed.hash]);
    let old_form = GetTxsEventRequest { events: vec![query], ..Default::default() };
    let found: GetTxsEventResponse = grpc.call(tx::path::GET_TXS_EVENT, old_form).await.unwrap();
    assert_eq!((found.total, found.txs.len()), (2, 2));
}

#[tokio::test]
async fn block_mode_waits_for_the_block() {
    let mut wallet = Wallet::new(1);
    let interval = Some(Duration::from_millis(30));
    let devnet = BandDevnet::start(BandConfig { block_interval: interval, ..config(&wallet) }).await.unwrap();
    let grpc = Grpc::connect(&devnet).await;
    let answer = grpc.broadcast(&wallet.next(1).bytes, BroadcastMode::Block).await.unwrap();
    assert!(answer.height >= 2 && answer.code == 0 && !answer.events.is_empty(), "{answer:?}");
    devnet.set_block_interval(None);
    let (sent, drive) = (wallet.next(1), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = devnet.chain().latest().unwrap().time_ms() + 1;
        devnet.chain_mut().advance(now);
    });
    let (answer, ()) = tokio::join!(grpc.broadcast(&sent.bytes, BroadcastMode::Block), drive);
    assert_eq!(answer.unwrap().txhash, sent.hash, "also when somebody else drives the chain");
    devnet.shutdown().await;
}

#[tokio::test]
async fn grpc_proofs() {
    let (devnet, _) = with_result().await;
    let grpc = Grpc::connect(&devnet).await;
    let bridge = bridge(&devnet.chain());
    let served = grpc.proof(1, 0).await.unwrap();
    assert_eq!(served.height, 4);
    let result = served.result.unwrap();
    let bytes: Bytes = result.evm_proof_bytes.clone().into();
    let proven = judge(&bytes, Layout::V3, &bridge).unwrap();
    let parts = result.proof.unwrap();
    let data = parts.oracle_data_proof.unwrap();
    assert_eq!(OracleResult::try_from(data.result.unwrap()).unwrap(), proven);
    assert_eq!((parts.block_height, data.version, data.merkle_paths.len()), (4, 3, 6));
    assert_eq!(parts.block_relay_proof.unwrap().signatures.len(), 4);
    for (id, height, text) in [
        (1, 5, "commit is not canonical"),
        (1, 2, "Proof not found"),
        (1, 3, "IAVL existence proof not found"),
        (2, 0, "IAVL existence proof not found"),
        (1, 6, "height 6 must be less than or equal to the current blockchain height 5"),
        (1, -1, "height must be greater than 0, but got -1"),
    ] {
        let refused = grpc.proof(id, height).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::Unknown, text));
    }
    let request = MultiProofRequest { request_ids: vec![1] };
    let multi: MultiProofResponse = grpc.call(proof::path::MULTI_PROOF, request).await.unwrap();
    let bytes = multi.result.unwrap().evm_proof_bytes;
    assert_eq!(relay_and_multi_verify(&bytes, Layout::V3, &bridge).unwrap().value, [proven]);
    let request = RequestCountProofRequest {};
    let count: RequestCountProofResponse = grpc.call(proof::path::REQUEST_COUNT_PROOF, request).await.unwrap();
    let bytes = count.result.unwrap().evm_proof_bytes;
    assert_eq!(relay_and_verify_count(&bytes, Layout::V3, &bridge).unwrap().value.1, 1);
    let request = oracle::QueryRequestRequest { request_id: 1 };
    let state: oracle::QueryRequestResponse = grpc.call(oracle::path::REQUEST, request).await.unwrap();
    assert_eq!(state.request.unwrap().requested_validators.len(), 3);
    assert_eq!(state.result.unwrap().resolve_status, ResolveStatus::Success as i32);
    let request = oracle::QueryRequestRequest { request_id: 2 };
    let missing = grpc.call::<_, oracle::QueryRequestResponse>(oracle::path::REQUEST, request).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
}

#[tokio::test]
async fn rest_proofs_in_all_spellings() {
    let (devnet, answer) = with_result().await;
    let bridge = bridge(&devnet.chain());
    let rest = devnet.rest_url();
    for route in
        ["/bandchain/v1/oracle/proof/1", "/oracle/proof/1?height=4", "/api/oracle/proof/1", "/api/bandchain/v1/oracle/proof/1"]
    {
        let (status, body) = get(format!("{rest}{route}")).await;
        assert_eq!((status, &body["height"]), (200, &json!("4")), "{route}");
        let text = body["result"]["evm_proof_bytes"].as_str().unwrap();
        assert_eq!(text, text.to_uppercase());
        judge(&hex::decode(text).unwrap().into(), Layout::V3, &bridge).unwrap();
        let proof = &body["result"]["proof"];
        assert_eq!(proof["block_height"], "4");
        assert_eq!(proof["oracle_data_proof"]["result"]["resolve_status"], "RESOLVE_STATUS_SUCCESS");
        assert!(proof["block_relay_proof"]["multi_store_proof"]["mint_store_merkle_hash"].is_string());
        assert_eq!(proof["block_relay_proof"]["signatures"].as_array().unwrap().len(), 4);
    }
    let (status, body) = get(format!("{rest}/oracle/proof/1?height=5")).await;
    assert_eq!((status, body), (500, json!({ "code": 2, "message": "commit is not canonical", "details": [] })));
    assert_eq!(get(format!("{rest}/oracle/proof/first")).await.0, 400);
    assert_eq!(get(format!("{rest}/oracle/nothing")).await.0, 501);
    let (_, body) = get(format!("{rest}/oracle/multi_proof?request_ids=1&request_ids=1")).await;
    let bytes = hex::decode(body["result"]["evm_proof_bytes"].as_str().unwrap()).unwrap();
    assert_eq!(relay_and_multi_verify(&bytes, Layout::V3, &bridge).unwrap().value.len(), 2);
    let (_, body) = get(format!("{rest}/api/oracle/requests_count_proof")).await;
    assert_eq!(body["result"]["proof"]["count_proof"]["count"], "1");
    let (_, body) = get(format!("{rest}/oracle/v1/requests/1")).await;
    assert_eq!(body["result"]["request_id"], "1");
    let (_, body) = get(format!("{rest}/cosmos/tx/v1beta1/txs/{}", answer.txhash)).await;
    assert_eq!((body["tx_response"]["height"].as_str(), body["tx_response"]["code"].as_u64()), (Some("2"), Some(0)));
}

#[tokio::test]
async fn rest_accounts_and_broadcast() {
    let mut wallet = Wallet::new(1);
    let devnet = start(&wallet).await;
    let rest = devnet.rest_url();
    let signed = wallet.next(1);
    let body = json!({ "tx_bytes": STANDARD.encode(&signed.bytes), "mode": "BROADCAST_MODE_SYNC" });
    let response = http().post(format!("{rest}/cosmos/tx/v1beta1/txs")).json(&body).send().await.unwrap();
    let answer: Value = response.json().await.unwrap();
    assert_eq!((&answer["tx_response"]["txhash"], &answer["tx_response"]["code"]), (&json!(signed.hash), &json!(0)));
    devnet.advance();
    let (_, body) = get(format!("{rest}/cosmos/auth/v1beta1/accounts/{}", wallet.address)).await;
    assert_eq!((&body["account"]["account_number"], &body["account"]["sequence"]), (&json!("20"), &json!("1")));
    assert_eq!(get(format!("{rest}/cosmos/auth/v1beta1/accounts/band1x")).await.0, 404);
    let (_, body) = get(format!("{rest}/cosmos/bank/v1beta1/balances/{}/by_denom?denom=uband", wallet.address)).await;
    assert!(body["balance"]["amount"].as_str().unwrap().parse::<u128>().unwrap() < 1_000_000_000_000);
    let (_, body) = get(format!("{rest}/cosmos/base/tendermint/v1beta1/blocks/latest")).await;
    assert_eq!(body["block"]["header"]["height"], "2");
}

#[tokio::test]
async fn rest_searches_simulates_and_lists_validators() {
    let (devnet, answer) = with_result().await;
    let mut wallet = Wallet::new(1);
    wallet.input.sequence = 1;
    let rest = devnet.rest_url();
    let query = format!("query=tx.acc_seq%3D%27{}%2F0%27&order_by=ORDER_BY_DESC&limit=3", wallet.address);
    let response = http().get(format!("{rest}/cosmos/tx/v1beta1/txs?{query}")).send().await.unwrap();
    assert_eq!(response.headers()["grpc-metadata-x-cosmos-block-height"], "5");
    let body: Value = response.json().await.unwrap();
    assert_eq!((&body["total"], &body["tx_responses"][0]["txhash"]), (&json!("1"), &json!(answer.txhash)));
    let simulate = json!({ "tx_bytes": STANDARD.encode(wallet.next(1).bytes) });
    let response = http().post(format!("{rest}/cosmos/tx/v1beta1/simulate")).json(&simulate).send().await.unwrap();
    let gas: Value = response.json().await.unwrap();
    assert!(gas["gas_info"]["gas_used"].as_str().unwrap().parse::<u64>().unwrap() > 600_000, "{gas}");
    let base = format!("{rest}/cosmos/base/tendermint/v1beta1");
    let (_, body) = get(format!("{base}/validatorsets/latest?pagination.limit=3")).await;
    assert_eq!((body["validators"].as_array().unwrap().len(), &body["pagination"]["total"]), (3, &json!("4")));
    let (_, body) = get(format!("{base}/node_info")).await;
    assert_eq!(body["application_version"]["version"], "3.1.4");
}

#[tokio::test]
async fn modules_answer_queries_of_the_application() {
    let (devnet, _) = with_result().await;
    let address = Wallet::new(1).address;
    let query = async |path: &str, data: Vec<u8>| {
        let url = format!("{}/abci_query?path=\"{path}\"&data=0x{}", devnet.rpc_url(), hex::encode(data));
        get(url).await.1["result"]["response"].clone()
    };
    let value = |response: &Value| STANDARD.decode(response["value"].as_str().unwrap()).unwrap();
    let question = auth::QueryAccountInfoRequest { address: address.clone() }.encode_to_vec();
    let answer = query(auth::path::ACCOUNT_INFO, question).await;
    let account = auth::QueryAccountInfoResponse::decode(&value(&answer)[..]).unwrap();
    assert_eq!(account.info.unwrap().sequence, 1);
    let question = auth::QueryAccountInfoRequest { address: "band1x".to_owned() }.encode_to_vec();
    assert_eq!(query(auth::path::ACCOUNT_INFO, question).await["code"], 22);
    let question = oracle::QueryRequestRequest { request_id: 1 }.encode_to_vec();
    let state = oracle::QueryRequestResponse::decode(&value(&query(oracle::path::REQUEST, question.clone()).await)[..]).unwrap();
    assert!(state.result.is_some());
    assert_eq!(query(oracle::path::REQUEST_V2, question).await["code"], 6);
    let mut wallet = Wallet::new(1);
    wallet.input.sequence = 1;
    let simulated = query("/app/simulate", wallet.next(1).bytes.to_vec()).await;
    let gas: Value = serde_json::from_slice(&value(&simulated)).unwrap();
    assert!(gas["gas_info"]["gas_used"].is_string());
    wallet.input.sequence = 7;
    let refused = query("/app/simulate", wallet.next(1).bytes.to_vec()).await;
    assert!(refused["code"] == 18 && refused["log"].as_str().unwrap().contains("expected 1, got 7"), "{refused}");
}

/// The header of an RPC answer.
fn header_of(json: &Value) -> Header {
    let bytes = |name: &str| Bytes::from(hex::decode(json[name].as_str().unwrap()).unwrap());
    let time: jiff::Timestamp = json["time"].as_str().unwrap().parse().unwrap();
    let last = &json["last_block_id"];
    let part = |value: &Value| Bytes::from(hex::decode(value.as_str().unwrap()).unwrap());
    Header {
        version_block: json["version"]["block"].as_str().unwrap().parse().unwrap(),
        version_app: 0,
        chain_id: json["chain_id"].as_str().unwrap().to_owned(),
        height: json["height"].as_str().unwrap().parse().unwrap(),
        time_second: time.as_second() as u64,
        time_nano: time.subsec_nanosecond() as u32,
        last_block_id: windlass_vrf_protocol::header::BlockId {
            hash: part(&last["hash"]),
            parts_total: last["parts"]["total"].as_u64().unwrap() as u32,
            parts_hash: part(&last["parts"]["hash"]),
        },
        last_commit_hash: bytes("last_commit_hash"),
        data_hash: bytes("data_hash"),
        validators_hash: bytes("validators_hash"),
        next_validators_hash: bytes("next_validators_hash"),
        consensus_hash: bytes("consensus_hash"),
        app_hash: bytes("app_hash"),
        last_results_hash: bytes("last_results_hash"),
        evidence_hash: bytes("evidence_hash"),
        proposer_address: bytes("proposer_address"),
    }
}

fn commit_of(json: &Value) -> Commit {
    let decode = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
    let signature = |json: &Value| {
        let absent = json["block_id_flag"] != 2;
        let time: Option<jiff::Timestamp> = json["timestamp"].as_str().and_then(|text| text.parse().ok());
        CommitSig {
            block_id_flag: json["block_id_flag"].as_i64().unwrap() as i32,
            validator_address: decode(&json["validator_address"]),
            timestamp: time
                .filter(|_| !absent)
                .map(|time| Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }),
            signature: json["signature"].as_str().map(|text| STANDARD.decode(text).unwrap()).unwrap_or_default(),
        }
    };
    Commit {
        height: json["height"].as_str().unwrap().parse().unwrap(),
        round: json["round"].as_i64().unwrap() as i32,
        block_id: Some(tendermint::BlockId {
            hash: decode(&json["block_id"]["hash"]),
            part_set_header: Some(tendermint::PartSetHeader {
                total: json["block_id"]["parts"]["total"].as_u64().unwrap() as u32,
                hash: decode(&json["block_id"]["parts"]["hash"]),
            }),
        }),
        signatures: json["signatures"].as_array().unwrap().iter().map(signature).collect(),
    }
}

/// A proof from the seen commit of the newest block and a store query, without the Proof service.
#[tokio::test]
async fn rpc_answers_make_a_proof() {
    let (devnet, _) = with_result().await;
    devnet.set_faults(Faults { absent_validators: 1, ..Faults::none() });
    devnet.advance();
    let rpc = devnet.rpc_url();
    let height = devnet.height();
    let (_, body) = get(format!("{rpc}/commit")).await;
    let signed = &body["result"]["signed_header"];
    assert_eq!((&body["result"]["canonical"], &signed["commit"]["height"]), (&json!(false), &json!(height.to_string())));
    let (_, earlier) = get(format!("{rpc}/commit?height={}", height - 1)).await;
    assert_eq!(earlier["result"]["canonical"], true);
    let (header, commit) = (header_of(&signed["header"]), commit_of(&signed["commit"]));
    let key = store_key(1);
    let query =
        format!("{rpc}/abci_query?path=\"/store/oracle/key\"&data=0x{}&height={}&prove=true", hex::encode(key), height - 1);
    let (_, body) = get(query).await;
    let response = &body["result"]["response"];
    assert_eq!((&response["code"], &response["height"]), (&json!(0), &json!((height - 1).to_string())));
    let ops = ops_of(response);
    let store = StoreProof::from_ops(&ops, &key).unwrap();
    let block = assemble::relay_part(&header, &commit, store.multi_store, store.layout).unwrap();
    assert_eq!((block.signers.len(), block.unusable), (3, 0));
    let result = OracleResult::decode(&store.value).unwrap();
    let proof = assemble::proof(block.relay, height, result, &store.existence).encode();
    judge(&proof, Layout::V3, &bridge(&devnet.chain())).unwrap();
    assert_eq!(devnet.chain().raw_proof(1, height).unwrap().evm_proof_bytes, proof);
}

fn ops_of(response: &Value) -> Vec<ProofOp> {
    let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
    let ops = response["proofOps"]["ops"].as_array().unwrap().iter();
    ops.map(|op| ProofOp { r#type: op["type"].as_str().unwrap().to_owned(), key: bytes(&op["key"]), data: bytes(&op["data"]) })
        .collect()
}

#[tokio::test]
async fn rpc_blocks_results_and_status() {
    let (devnet, answer) = with_result().await;
    let rpc = devnet.rpc_url();
    let (_, body) = get(format!("{rpc}/status")).await;
    assert_eq!(body["result"]["node_info"]["network"], "windlass-band-1");
    assert_eq!(body["result"]["sync_info"]["latest_block_height"], "5");
    let (_, body) = get(format!("{rpc}/block?height=4")).await;
    let header = header_of(&body["result"]["block"]["header"]);
    assert_eq!(hex::encode_upper(header.hash()), body["result"]["block_id"]["hash"].as_str().unwrap());
    let (_, next) = get(format!("{rpc}/block")).await;
    assert_eq!(next["result"]["block"]["header"]["last_block_id"]["hash"], body["result"]["block_id"]["hash"]);
    let (_, body) = get(format!("{rpc}/block_results?height=3")).await;
    let event = &body["result"]["finalize_block_events"][0];
    assert_eq!((event["type"].as_str(), event["attributes"][0]["value"].as_str()), (Some("resolve"), Some("1")));
    let (_, body) = get(format!("{rpc}/block_results?height=2")).await;
    assert_eq!(body["result"]["txs_results"][0]["code"], 0);
    let (_, body) = get(format!("{rpc}/validators?per_page=3")).await;
    assert_eq!((&body["result"]["count"], &body["result"]["total"]), (&json!("3"), &json!("4")));
    assert_eq!(body["result"]["validators"][0]["pub_key"]["type"], "tendermint/PubKeySecp256k1");
    let (_, body) = get(format!("{rpc}/tx?hash=0x{}", answer.txhash)).await;
    assert_eq!(body["result"]["height"], "2");
    let (status, body) = get(format!("{rpc}/block?height=9")).await;
    assert_eq!(status, 500);
    assert_eq!(body["error"]["data"], "height 9 must be less than or equal to the current blockchain height 5");
    assert_eq!(get(format!("{rpc}/nothing")).await.0, 404);
    let query = format!("{rpc}/abci_query?path=\"/store/oracle/key\"&data=0xff0000000000000009&prove=true");
    let (_, body) = get(query).await;
    let response = &body["result"]["response"];
    assert_eq!((&response["value"], ops_of(response).len()), (&Value::Null, 2));
    assert!(StoreProof::from_ops(&ops_of(response), &store_key(9)).is_err());
}

#[tokio::test]
async fn rpc_over_post_broadcasts_and_searches() {
    let mut wallet = Wallet::new(1);
    let devnet = start(&wallet).await;
    let rpc = devnet.rpc_url();
    let post = async |body: Value| http().post(&rpc).json(&body).send().await.unwrap().json::<Value>().await.unwrap();
    let signed = wallet.next(1);
    let call = |method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
    let send = call("broadcast_tx_sync", json!({ "tx": STANDARD.encode(&signed.bytes) }));
    let answer = post(send.clone()).await;
    assert_eq!(
        (&answer["id"], &answer["result"]["code"], &answer["result"]["hash"]),
        (&json!(7), &json!(0), &json!(signed.hash))
    );
    assert_eq!(post(send).await["error"]["data"], "tx already exists in cache");
    devnet.advance();
    let search = |query: String| call("tx_search", json!({ "query": query, "order_by": "desc", "per_page": "5" }));
    let found = post(search(format!("tx.acc_seq='{}/0'", wallet.address))).await;
    assert_eq!((&found["result"]["total_count"], &found["result"]["txs"][0]["hash"]), (&json!("1"), &json!(signed.hash)));
    let found = post(search(format!("message.sender='{}'", wallet.address))).await;
    assert_eq!(STANDARD.decode(found["result"]["txs"][0]["tx"].as_str().unwrap()).unwrap(), signed.bytes);
    let uri = format!("{rpc}/tx_search?query=\"tx.acc_seq='{}/0'\"", wallet.address);
    assert_eq!(get(uri).await.1["result"]["total_count"], "1");
    let hash = STANDARD.encode(hex::decode(&signed.hash).unwrap());
    assert_eq!(post(call("tx", json!({ "hash": hash }))).await["result"]["height"], "2");
    assert_eq!(post(call("block", json!(["2"]))).await["result"]["block"]["header"]["height"], "2");
    let batch = post(json!([call("health", json!({})), call("nothing", json!({}))])).await;
    assert_eq!((&batch[0]["result"], &batch[1]["error"]["code"]), (&json!({}), &json!(-32601)));
    assert_eq!(get(format!("{rpc}/broadcast_tx_sync?tx=0x{}", hex::encode(wallet.next(1).bytes))).await.1["result"]["code"], 0);
}

#[tokio::test]
async fn calls_fail_as_asked() {
    let mut wallet = Wallet::new(1);
    let devnet = start(&wallet).await;
    let grpc = Grpc::connect(&devnet).await;
    devnet.set_faults(
        Faults::none()
            .with_call(CallRule::next(1, "grpc/GetLatestBlock", CallFault::Unavailable))
            .with_call(CallRule::next(1, "grpc/GetLatestBlock", CallFault::RateLimited { retry_after_seconds: 3 }))
            .with_call(CallRule::next(1, "grpc/GetLatestBlock", CallFault::Unknown("boom".to_owned())))
            .with_call(CallRule::next(1, "grpc/GetLatestBlock", CallFault::Delay(Duration::from_millis(80)))),
    );
    let latest = || grpc.call::<_, GetLatestBlockResponse>(tendermint::path::GET_LATEST_BLOCK, GetLatestBlockRequest {});
    assert_eq!(latest().await.unwrap_err().code(), Code::Unavailable);
    let limited = latest().await.unwrap_err();
    assert_eq!(
        (limited.code(), limited.metadata().get("retry-after").unwrap().to_str().unwrap()),
        (Code::ResourceExhausted, "3")
    );
    let unknown = latest().await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (Code::Unknown, "boom"));
    let begin = Instant::now();
    latest().await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(80));
    latest().await.unwrap();

    // The answer is lost, but the transaction is not.
    devnet.set_faults(Faults::none().with_call(CallRule::next(1, "grpc/BroadcastTx", CallFault::LoseAnswer)));
    let signed = wallet.next(1);
    assert_eq!(grpc.broadcast(&signed.bytes, BroadcastMode::Sync).await.unwrap_err().code(), Code::Unavailable);
    devnet.advance();
    assert!(devnet.chain().transaction(&signed.hash).is_some());

    devnet.set_faults(Faults::none().with_call(CallRule::always("rest/*", CallFault::Unavailable)));
    assert_eq!(get(format!("{}/oracle/proof/1", devnet.rest_url())).await.0, 503);
    let limit = CallFault::RateLimited { retry_after_seconds: 9 };
    devnet.set_faults(Faults::none().with_call(CallRule::always("rpc/block", limit)));
    let response = http().get(format!("{}/block", devnet.rpc_url())).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (429, "9"));
    assert_eq!(get(format!("{}/status", devnet.rpc_url())).await.0, 200);
}

#[tokio::test]
async fn an_old_chain_speaks_its_old_forms() {
    let mut wallet = Wallet::new(1);
    wallet.version = windlass_vrf_protocol::tx::MessageType::V2;
    let devnet = BandDevnet::start(BandConfig { layout: Layout::V2, resolve_after: 1..=1, ..config(&wallet) }).await.unwrap();
    devnet.chain_mut().check_tx(&wallet.next(1).bytes);
    devnet.advance_by(4);
    let (_, body) = get(format!("{}/oracle/proof/1", devnet.rest_url())).await;
    let store = &body["result"]["proof"]["block_relay_proof"]["multi_store_proof"];
    assert!(store["auth_to_fee_grant_stores_merkle_hash"].is_string(), "{store}");
    let bytes = hex::decode(body["result"]["evm_proof_bytes"].as_str().unwrap()).unwrap();
    judge(&bytes.into(), Layout::V2, &bridge(&devnet.chain())).unwrap();
    let (_, body) = get(format!("{}/block_results?height=3", devnet.rpc_url())).await;
    let event = &body["result"]["end_block_events"][0];
    assert_eq!((event["type"].as_str(), event["attributes"][0]["key"].as_str()), (Some("resolve"), Some("aWQ=")));
    let grpc = Grpc::connect(&devnet).await;
    let params = async |path| grpc.call::<_, oracle::QueryParamsResponse>(path, oracle::QueryParamsRequest {}).await;
    assert_eq!(params(oracle::path::PARAMS).await.unwrap_err().code(), Code::Unimplemented);
    assert_eq!(params(oracle::path::PARAMS_V2).await.unwrap().params.unwrap().max_ask_count, 16);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let wallet = Wallet::new(1);
    let first = start(&wallet).await;
    let config = BandConfig { rest_port: first.rest_address().port(), ..config(&wallet) };
    let error = BandDevnet::start(config).await.unwrap_err();
    assert!(error.is_transient() && error.hint().is_some(), "{error}");
    assert!(error.to_string().contains(&first.rest_address().to_string()));
}
