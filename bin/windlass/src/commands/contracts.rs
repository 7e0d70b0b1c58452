//! `windlass contracts deploy`: the contracts of the services, and a token for development.

use std::time::Duration;

use alloy_primitives::{Address, U256};
use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use url::Url;
use windlass_chain::{EndpointUrl, Endpoints, EndpointsConfig};
use windlass_contracts::{Artifact, TestToken, init_code};
use windlass_keys::{KeyConfig, SecretSource};
use windlass_outbox::{Intent, Outbox, OutboxConfig, State, Until};
use windlass_store::Store;

use crate::exit::Usage;
use crate::output::Output;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Deploy one contract and wait until it is mined
    #[command(subcommand)]
    Deploy(Contract),
    /// Print the ABI of a contract
    Abi {
        /// Its name: KeyperPayer, TestToken
        name: String,
    },
}

/// What can be deployed.
#[derive(Debug, Subcommand)]
pub(crate) enum Contract {
    /// A mintable ERC-20 token for development chains: anybody can mint
    Token(Token),
}

/// Options of `deploy token`.
#[derive(Debug, Args)]
pub(crate) struct Token {
    /// Endpoint of the chain
    #[arg(long, env = "RPC_URL", default_value = "http://127.0.0.1:8545")]
    rpc_url: Url,
    /// The deployer's key: env:NAME, file:PATH or command:PROGRAM …
    #[arg(long, value_name = "SOURCE")]
    key: SecretSource,
    /// Name of the token
    #[arg(long, default_value = "Test Token")]
    name: String,
    /// Its symbol
    #[arg(long, default_value = "TEST")]
    symbol: String,
    /// Its decimals
    #[arg(long, default_value_t = 18)]
    decimals: u8,
    /// Mint this many base units to the deployer
    #[arg(long, default_value = "0")]
    mint: U256,
    /// Say what would be sent, but send nothing
    #[arg(long)]
    dry_run: bool,
    /// How long to wait until it is mined
    #[arg(long, default_value = "5m", value_parser = humantime::parse_duration)]
    wait: Duration,
}

#[derive(Serialize)]
struct Deployed {
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<String>,
    deployer: Address,
    chain_id: u64,
    dry_run: bool,
}

pub(crate) async fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Deploy(Contract::Token(token)) => deploy_token(&token, output).await,
        Command::Abi { name } => {
            let artifact = Artifact::by_name(&name).ok_or_else(|| {
                let known: Vec<_> = Artifact::ALL.iter().map(|artifact| artifact.name).collect();
                Usage(format!("there is no contract `{name}`; there are: {}", known.join(", ")))
            })?;
            let abi = artifact.abi()?;
            output.result(&abi, |abi| serde_json::to_string_pretty(abi).unwrap_or_default())?;
            Ok(())
        }
    }
}

async fn deploy_token(token: &Token, output: Output) -> anyhow::Result<()> {
    if token.key.is_plain() {
        return Err(Usage("--key must not be the key itself: give file:PATH, env:NAME or command:PROGRAM".to_owned()).into());
    }
    let signer = KeyConfig::PrivateKey(token.key.clone()).open().await?;
    let endpoints = Endpoints::connect(EndpointsConfig::new("chain", [EndpointUrl::new(token.rpc_url.as_str())])).await?;
    let chain_id = endpoints.chain_id().await?;
    let constructor =
        TestToken::constructorCall { name_: token.name.clone(), symbol_: token.symbol.clone(), decimals_: token.decimals };
    let code = init_code(&TestToken::BYTECODE, &constructor);
    let mut deployed =
        Deployed { address: None, transaction: None, deployer: signer.address(), chain_id, dry_run: token.dry_run };
    if !token.dry_run {
        // One command is one deployment: a database in memory holds it as long as the command lives.
        let store = Store::open("sqlite::memory:").await?;
        let outbox = Outbox::open(store, endpoints, signer, OutboxConfig::default()).await?;
        let shutdown = CancellationToken::new();
        let sender = tokio::spawn({
            let (outbox, shutdown) = (outbox.clone(), shutdown.clone());
            async move { outbox.run(shutdown).await }
        });
        let result = tokio::time::timeout(token.wait, send(&outbox, token, code)).await;
        shutdown.cancel();
        sender.await??;
        let (address, transaction) = result.with_context(|| {
            format!("not mined within {:?}; it may still be: look at the account before trying again", token.wait)
        })??;
        deployed.address = Some(address);
        deployed.transaction = Some(transaction);
    }
    output.result(&deployed, |deployed| match deployed.address {
        Some(address) if token.mint.is_zero() => format!("TestToken deployed to {address}"),
        Some(address) => format!("TestToken deployed to {address}\nminted {} base units to {}", token.mint, deployed.deployer),
        None => format!("would deploy TestToken as {} on chain {}", deployed.deployer, deployed.chain_id),
    })?;
    Ok(())
}

async fn send(outbox: &Outbox, token: &Token, code: alloy_primitives::Bytes) -> anyhow::Result<(Address, String)> {
    let id = outbox.submit(Intent::create("token", code).with_confirmations(1).with_label("deploy the token")).await?;
    let status = outbox.wait(id, Until::Included).await?;
    ensure!(!matches!(status.state, State::Reverted(_) | State::Dropped(_)), "the deployment ended as {}", status.state);
    let address = outbox.account().create(status.nonce.context("an included transaction has a nonce")?);
    if !token.mint.is_zero() {
        let mint = TestToken::mintCall { to: outbox.account(), amount: token.mint };
        let intent = Intent::new("mint", address).with_data(alloy_sol_types::SolCall::abi_encode(&mint)).with_confirmations(1);
        let minted = outbox.wait(outbox.submit(intent).await?, Until::Included).await?;
        ensure!(!matches!(minted.state, State::Reverted(_) | State::Dropped(_)), "minting ended as {}", minted.state);
    }
    Ok((address, status.tx_hash.map(|hash| hash.to_string()).unwrap_or_default()))
}
