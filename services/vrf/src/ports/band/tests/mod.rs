//! The client against nodes that answer, fail, lag and lie as a test tells them to.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod broadcast;
mod chain;
mod grpc;
mod pool;
mod raw;
mod rest;
mod rpc;
mod servers;

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use windlass_store::ManualClock;
use windlass_store::UnixMillis;
use windlass_vrf_protocol::messages::Timestamp;
use windlass_vrf_protocol::messages::tendermint::{self, Block, BlockId, GetLatestBlockResponse, Header};

use super::{BandClient, BandClientConfig};
use servers::{GrpcServer, Reply, message};

const CHAIN: &str = "band-test";
const ADDRESS: &str = "band1m5lq9u533qaya4q3nfyl6ulzqkpkhge9q8tpzs";

/// Settings for tests: short time limits, and a clock that stands still.
fn settings() -> (BandClientConfig, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(UnixMillis(1_000_000)));
    let config = BandClientConfig {
        chain_id: Some(CHAIN.to_owned()),
        timeout: Duration::from_millis(1_500),
        // One probe, at the beginning of time.
        probe_interval: Duration::from_secs(1_000_000),
        clock: clock.clone(),
        ..BandClientConfig::default()
    };
    (config, clock)
}

fn client(config: BandClientConfig) -> BandClient {
    BandClient::new(config).unwrap()
}

/// A client of these gRPC nodes.
fn client_of(servers: &[&GrpcServer]) -> (BandClient, Arc<ManualClock>) {
    let (config, clock) = settings();
    (client(BandClientConfig { grpc: servers.iter().map(|server| server.url()).collect(), ..config }), clock)
}

fn latest(chain: &str, height: i64) -> Reply {
    let header = Header {
        chain_id: chain.to_owned(),
        height,
        time: Some(Timestamp { seconds: 1_700_000_000, nanos: 123_456_789 }),
        ..Header::default()
    };
    let block_id = BlockId { hash: B256::repeat_byte(7).to_vec(), part_set_header: None };
    let block = Block { header: Some(header), ..Block::default() };
    message(GetLatestBlockResponse { block_id: Some(block_id), block: Some(block), sdk_block: None })
}

/// A gRPC node of the right chain at this height.
async fn node(height: i64) -> GrpcServer {
    let server = GrpcServer::start().await;
    server.on(tendermint::path::GET_LATEST_BLOCK, [latest(CHAIN, height)]);
    server
}
