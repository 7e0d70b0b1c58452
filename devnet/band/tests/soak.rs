//! Many requests over gRPC while blocks are made: each is paid once, resolved and proven.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

mod support;

use std::time::{Duration, Instant};

use prost::Message;
use support::{Wallet, bridge, config, judge};
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;
use windlass_devnet_band::{BandConfig, BandDevnet, GenesisValidator};
use windlass_vrf_protocol::messages::proof::{self, ProofRequest, ProofResponse};
use windlass_vrf_protocol::messages::tx::{self, BroadcastMode, BroadcastTxRequest, BroadcastTxResponse};
use windlass_vrf_protocol::multistore::Layout;

async fn call<I, O>(client: &tonic::client::Grpc<Channel>, path: &'static str, request: I) -> Result<O, tonic::Status>
where
    I: Message + Default + 'static,
    O: Message + Default + 'static,
{
    let mut client = client.clone();
    client.ready().await.unwrap();
    let codec = ProstCodec::<I, O>::default();
    client.unary(tonic::Request::new(request), path.parse().unwrap(), codec).await.map(tonic::Response::into_inner)
}

/// `WINDLASS_SOAK_REQUESTS` says how many (default 300), in transactions of ten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_requests_are_served() {
    let wanted = std::env::var("WINDLASS_SOAK_REQUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(300u64);
    let mut wallet = Wallet::new(1);
    let config = BandConfig {
        validators: GenesisValidator::many(1, 35),
        block_interval: Some(Duration::from_millis(50)),
        store_leaves: 4_096,
        ..config(&wallet)
    };
    let devnet = BandDevnet::start(config).await.unwrap();
    let channel = Endpoint::from_shared(devnet.grpc_url()).unwrap().connect().await.unwrap();
    let client = tonic::client::Grpc::new(channel);
    let begin = Instant::now();
    for _ in 0..wanted / 10 {
        let tx_bytes = wallet.next(10).bytes.to_vec().into();
        let request = BroadcastTxRequest { tx_bytes, mode: BroadcastMode::Sync as i32 };
        let answer: BroadcastTxResponse = call(&client, tx::path::BROADCAST_TX, request).await.unwrap();
        assert_eq!(answer.tx_response.unwrap().code, 0);
    }
    let bridge = bridge(&devnet.chain());
    let mut tries = 0u64;
    for request_id in 1..=wanted {
        loop {
            tries += 1;
            let served = call::<_, ProofResponse>(&client, proof::path::PROOF, ProofRequest { request_id, height: 0 }).await;
            if let Ok(served) = served {
                let bytes = served.result.unwrap().evm_proof_bytes;
                // Verifying 35 signatures each time would measure the verifier.
                if request_id % 50 == 1 {
                    let result = judge(&bytes.into(), Layout::V3, &bridge).unwrap();
                    assert_eq!(result.request_id, request_id);
                }
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    println!("{wanted} requests proven in {:?}, {tries} calls, {} blocks", begin.elapsed(), devnet.height());
    let chain = devnet.chain();
    assert_eq!((chain.request_count(), chain.open_requests(), chain.waiting()), (wanted, 0, 0));
    assert_eq!(chain.account(&wallet.address).unwrap().sequence, wanted / 10);
}
