//! `windlass devnet`: the embedded chains alone, on fixed ports, for people who develop against us.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use windlass_devnet_band::{BandConfig, BandDevnet, GenesisAccount};
use windlass_devnet_evm::{Devnet as Chain, DevnetConfig, Mining};
use windlass_keys::{Coin, KeyError, LocalSigner, Mnemonic, Secret, Signer as _};

use crate::output::{Output, note, table};

/// Options.
#[derive(Debug, Args)]
pub(crate) struct Devnet {
    /// Address and port to listen on, HTTP and WebSocket alike
    #[arg(long, default_value = "127.0.0.1:8545", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Mine a block at this interval instead of one per transaction
    #[arg(long, value_name = "DURATION", value_parser = parse_interval)]
    block_time: Option<Duration>,
    /// Chain id
    #[arg(long, default_value_t = 31337)]
    chain_id: u64,
    /// Also run a BandChain, with gRPC, REST gateway and CometBFT RPC on the ports 9090, 1317 and 26657
    #[arg(long)]
    band: bool,
    /// Make a Band block at this interval
    #[arg(long, value_name = "DURATION", value_parser = parse_interval, default_value = "1s", requires = "band")]
    band_block_time: Duration,
    /// Another first port for the BandChain's three interfaces: gRPC, and the two after it for REST and RPC
    #[arg(long, value_name = "PORT", requires = "band")]
    band_port: Option<u16>,
}

/// The words of every funded account here: public knowledge.
const PHRASE: &str = "test test test test test test test test test test test junk";

fn parse_interval(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 2s or 500ms"))?;
    if duration < Duration::from_millis(1) {
        return Err("a block takes at least 1ms".to_owned());
    }
    Ok(duration)
}

#[derive(Serialize)]
struct Running {
    http_url: String,
    ws_url: String,
    chain_id: u64,
    accounts: Vec<Account>,
    #[serde(skip_serializing_if = "Option::is_none")]
    band: Option<RunningBand>,
}

#[derive(Serialize)]
struct RunningBand {
    chain_id: String,
    grpc_url: String,
    rest_url: String,
    rpc_url: String,
    account: String,
    phrase: &'static str,
}

/// Starts the BandChain that was asked for, with coins for the first Band account of the development phrase.
async fn start_band(options: &Devnet) -> anyhow::Result<Option<(BandDevnet, RunningBand)>> {
    if !options.band {
        return Ok(None);
    }
    let phrase = Mnemonic::parse(&Secret::new(PHRASE.to_owned()))?;
    let account = phrase.derive(Coin::Band, 0, &Secret::new(String::new()))?.address;
    let port = |offset: u16, usual: u16| options.band_port.map_or(usual, |first| first.saturating_add(offset));
    let config = BandConfig {
        accounts: vec![GenesisAccount { address: account.clone(), uband: 1_000_000_000_000 }],
        block_interval: Some(options.band_block_time),
        listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
        grpc_port: port(0, 9090),
        rest_port: port(1, 1317),
        rpc_port: port(2, 26657),
        ..BandConfig::default()
    };
    let chain_id = config.chain_id.clone();
    let band = BandDevnet::start(config).await.context("cannot start the BandChain; give it other ports with --band-port")?;
    let (grpc_url, rest_url, rpc_url) = (band.grpc_url(), band.rest_url(), band.rpc_url());
    Ok(Some((band, RunningBand { chain_id, grpc_url, rest_url, rpc_url, account, phrase: PHRASE })))
}

#[derive(Serialize)]
struct Account {
    address: String,
    private_key: String,
}

pub(crate) async fn run(options: Devnet, output: Output, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mining = match options.block_time {
        Some(interval) => Mining::Interval(u64::try_from(interval.as_millis())?),
        None => Mining::Automatic,
    };
    let config = DevnetConfig { chain_id: options.chain_id, mining, ..DevnetConfig::default() };
    let accounts = config
        .accounts
        .iter()
        .map(|account| {
            let signer = LocalSigner::from_bytes(&account.secret.0)?;
            Ok(Account { address: signer.address().to_checksum(None), private_key: account.secret.to_string() })
        })
        .collect::<Result<_, KeyError>>()?;
    let server = Chain::new(config)
        .serve(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}; is another chain running there?", options.listen))?;
    let (band, running_band) = start_band(&options).await?.unzip();
    let running = Running {
        http_url: server.http_url().to_string(),
        ws_url: server.ws_url().to_string(),
        chain_id: options.chain_id,
        accounts,
        band: running_band,
    };
    output.result(&running, |running| {
        let rows: Vec<_> =
            running.accounts.iter().map(|account| vec![account.address.clone(), account.private_key.clone()]).collect();
        let band = running.band.as_ref().map_or_else(String::new, |band| {
            format!(
                "\n\nBandChain {}: gRPC {}, REST {}, RPC {}\naccount {} (1000000 BAND) of the phrase: {}",
                band.chain_id, band.grpc_url, band.rest_url, band.rpc_url, band.account, band.phrase
            )
        });
        format!(
            "chain {} at {} and {}\n\n{}{band}",
            running.chain_id,
            running.http_url,
            running.ws_url,
            table(&["address (10000 ETH)", "private key (public knowledge: never use it elsewhere)"], &rows)
        )
    })?;
    note("Stop with Ctrl-C. What runs here lives in memory and is gone then.");
    shutdown.cancelled().await;
    server.shutdown().await;
    if let Some(band) = band {
        band.shutdown().await;
    }
    Ok(())
}
