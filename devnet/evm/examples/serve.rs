//! Serves a development chain: `cargo run -p windlass-devnet-evm --example serve -- 127.0.0.1:8545`.

use std::io::Write;
use std::net::SocketAddr;

use windlass_devnet_evm::{Devnet, DevnetConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: SocketAddr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8545".to_owned()).parse()?;
    let server = Devnet::new(DevnetConfig::default()).serve(address).await?;
    writeln!(std::io::stdout(), "{}", server.http_url())?;
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
