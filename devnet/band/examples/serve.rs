//! Serves a simulated BandChain with a block each second: `cargo run -p windlass-devnet-band --example serve -- band1... band1...`
//!
//! The accounts named on the command line get a million BAND each. gRPC is on port 9090, REST on 1317, CometBFT RPC on 26657, as
//! on a real node. It ends with Ctrl-C.

#![allow(clippy::print_stdout)]

use std::time::Duration;

use windlass_devnet_band::{BandConfig, BandDevnet, DevnetError, GenesisAccount};

#[tokio::main]
async fn main() -> Result<(), DevnetError> {
    let accounts = std::env::args().skip(1).map(|address| GenesisAccount { address, uband: 1_000_000_000_000 });
    let config = BandConfig {
        accounts: accounts.collect(),
        block_interval: Some(Duration::from_secs(1)),
        grpc_port: 9090,
        rest_port: 1317,
        rpc_port: 26657,
        ..BandConfig::default()
    };
    let chain_id = config.chain_id.clone();
    let devnet = BandDevnet::start(config).await?;
    println!("chain {chain_id}: gRPC {}, REST {}, RPC {}", devnet.grpc_url(), devnet.rest_url(), devnet.rpc_url());
    for (address, power) in devnet.validators_for_bridge() {
        println!("validator {address} {power}");
    }
    // An error means that no handler can be set: then it ends at once.
    let _ = tokio::signal::ctrl_c().await;
    devnet.shutdown().await;
    Ok(())
}
