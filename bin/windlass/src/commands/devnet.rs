//! `windlass devnet`: the embedded chain alone, on a fixed port, for people who develop against us.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use windlass_devnet_evm::{Devnet as Chain, DevnetConfig, Mining};
use windlass_keys::{KeyError, LocalSigner, Signer as _};

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
}

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
    let running = Running {
        http_url: server.http_url().to_string(),
        ws_url: server.ws_url().to_string(),
        chain_id: options.chain_id,
        accounts,
    };
    output.result(&running, |running| {
        let rows: Vec<_> =
            running.accounts.iter().map(|account| vec![account.address.clone(), account.private_key.clone()]).collect();
        format!(
            "chain {} at {} and {}\n\n{}",
            running.chain_id,
            running.http_url,
            running.ws_url,
            table(&["address (10000 ETH)", "private key (public knowledge: never use it elsewhere)"], &rows)
        )
    })?;
    note("Stop with Ctrl-C. The chain lives in memory and is gone then.");
    shutdown.cancelled().await;
    server.shutdown().await;
    Ok(())
}
