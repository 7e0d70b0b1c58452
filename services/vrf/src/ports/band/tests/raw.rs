//! Proofs from CometBFT RPC.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::proof::Proof;
use windlass_vrf_protocol::verify::verify_oracle_result;

use super::super::{BandApi, BandClient, BandClientConfig, BandError, Method};
use super::chain::Chain;
use super::rpc::status;
use super::servers::{Answered, HttpServer};
use super::{client, settings};

/// What a node says next to `/commit` and `/abci_query`.
#[derive(Default)]
struct Script {
    commit: Value,
    store: Option<Answered>,
    height: u64,
}

async fn comet(chain: Arc<Chain>) -> (HttpServer, BandClient, Arc<Mutex<Script>>) {
    let script = Script { commit: chain.commit(false, 0), store: None, height: chain.height() };
    let script = Arc::new(Mutex::new(script));
    let told = script.clone();
    let server = HttpServer::start(move |asked| {
        let script = told.lock();
        let (route, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        match route {
            "/status" => status(script.height),
            "/commit" => {
                assert_eq!(query, format!("height={}", chain.height()));
                Answered::result(&script.commit)
            }
            _ => {
                let state = chain.height() - 1;
                assert!(query.starts_with("path=%22%2Fstore%2Foracle%2Fkey%22&data=0xff"), "{query}");
                assert!(query.ends_with(&format!("&height={state}&prove=true")), "{query}");
                let id = query.split("data=0xff").nth(1).and_then(|rest| u64::from_str_radix(&rest[..16], 16).ok()).unwrap();
                script.store.clone().unwrap_or_else(|| Answered::result(&chain.store(id)))
            }
        }
    })
    .await;
    let (config, _) = settings();
    let client = client(BandClientConfig { rpc: vec![server.url()], ..config });
    (server, client, script)
}

#[tokio::test]
async fn a_proof_of_the_newest_block_is_what_the_proof_service_would_serve() {
    let chain = Arc::new(Chain::new(50, &[3, 4, 9]));
    let (_server, client, _) = comet(chain.clone()).await;
    for id in [3, 4, 9] {
        let proof = client.raw_proof(id, 50).await.unwrap();
        assert_eq!(proof.block_height, 50);
        assert_eq!(proof.evm_proof_bytes.to_vec(), chain.proof(id));
        let result = verify_oracle_result(&proof.evm_proof_bytes, Layout::V3, &chain.bridge()).unwrap();
        assert_eq!(result.request_id, id);
    }
    assert_eq!(client.counts().get(Method::Commit), 1, "one block, one commit");
    assert_eq!(client.counts().get(Method::StoreProof), 3);
}

#[tokio::test]
async fn many_requests_at_once_fetch_the_block_once() {
    let chain = Arc::new(Chain::new(50, &[3, 4, 9]));
    let (_server, client, _) = comet(chain).await;
    let all = futures::future::join_all([3, 4, 9, 3, 4, 9].map(|id| client.raw_proof(id, 50))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(client.counts().get(Method::Commit), 1);
}

#[tokio::test]
async fn votes_seen_first_are_replaced_by_those_of_the_next_block() {
    let chain = Arc::new(Chain::new(50, &[3]));
    let (_server, client, script) = comet(chain.clone()).await;
    script.lock().commit = chain.commit(false, 2);
    let signatures = |bytes: &[u8]| Proof::decode(bytes).unwrap().relay.signatures.len();
    client.latest_block().await.unwrap();
    assert_eq!(signatures(&client.raw_proof(3, 50).await.unwrap().evm_proof_bytes), 2);
    script.lock().commit = chain.commit(true, 0);
    assert_eq!(signatures(&client.raw_proof(3, 50).await.unwrap().evm_proof_bytes), 2, "nothing newer is known");
    script.lock().height = 51;
    client.latest_block().await.unwrap();
    for _ in 0..3 {
        assert_eq!(signatures(&client.raw_proof(3, 50).await.unwrap().evm_proof_bytes), 4);
    }
    assert_eq!(client.counts().get(Method::Commit), 2);
}

#[tokio::test]
async fn a_request_that_is_not_resolved_has_no_proof_yet() {
    let chain = Arc::new(Chain::new(50, &[3]));
    let (_server, client, script) = comet(chain).await;
    assert!(matches!(client.raw_proof(8, 50).await, Err(BandError::NotReady { .. })));
    for text in
        ["height 60 must be less than or equal to the current blockchain height 50", "cannot query with height in the future"]
    {
        script.lock().store = Some(Answered::problem(text));
        assert!(matches!(client.raw_proof(3, 50).await, Err(BandError::NotReady { .. })), "{text}");
    }
    assert!(matches!(client.raw_proof(3, 1).await, Err(BandError::NotReady { .. })));
    assert!(client.status()[0].healthy);
}

#[tokio::test]
async fn a_state_that_was_pruned_is_said_to_be() {
    let chain = Arc::new(Chain::new(50, &[3]));
    let (_server, client, script) = comet(chain).await;
    for (code, log) in [
        (38, "failed to load state at height 49; version does not exist (latest height: 9000)"),
        (18, "proof is unexpectedly empty; ensure height has not been pruned: invalid request"),
        (0, "version does not exist"),
    ] {
        let answer = json!({ "response": { "code": code, "log": log, "codespace": "sdk", "value": null } });
        script.lock().store = Some(Answered::result(&answer));
        assert!(matches!(client.raw_proof(3, 50).await, Err(BandError::Pruned { .. })), "{log}");
    }
}

#[tokio::test]
async fn parts_that_do_not_belong_together_make_no_proof() {
    let chain = Arc::new(Chain::new(50, &[3, 4]));
    let (_server, client, script) = comet(chain.clone()).await;
    let other = Chain::new(50, &[3, 4, 5]);
    assert_ne!(other.app_hash(), chain.app_hash());
    for (answer, why) in [
        (other.store(3), "another state"),
        (chain.store(4), "another key"),
        (
            json!({ "response": { "code": 0, "value": "AA==", "proofOps": { "ops": [{ "type": "x", "key": "", "data": "AA==" }] } } }),
            "other operations",
        ),
    ] {
        script.lock().store = Some(Answered::result(&answer));
        let error = client.raw_proof(3, 50).await.unwrap_err();
        assert!(matches!(&error, BandError::Malformed { .. }), "{why}: {error}");
    }
    // The block may have been the wrong part, so it was asked for again each time.
    assert_eq!(client.counts().get(Method::Commit), 3);
    script.lock().store = None;
    script.lock().commit = other.commit(true, 0);
    assert!(matches!(client.raw_proof(3, 50).await, Err(BandError::Malformed { .. })), "the block of another state");
    script.lock().commit = chain.commit(true, 4);
    assert!(matches!(client.raw_proof(3, 50).await, Err(BandError::Malformed { .. })), "nobody voted");
    script.lock().commit = chain.commit(true, 0);
    assert!(client.raw_proof(3, 50).await.is_ok());
}

#[tokio::test]
async fn the_block_of_one_node_and_the_state_of_another_fit_together() {
    let chain = Arc::new(Chain::new(50, &[3]));
    let (first, _, script) = comet(chain.clone()).await;
    let (second, _, _) = comet(chain.clone()).await;
    script.lock().store = Some(Answered::status(502, "bad gateway"));
    let (config, _) = settings();
    let client = client(BandClientConfig { rpc: vec![first.url(), second.url()], ..config });
    assert_eq!(client.raw_proof(3, 50).await.unwrap().evm_proof_bytes.to_vec(), chain.proof(3));
}
