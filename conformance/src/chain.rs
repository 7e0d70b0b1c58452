//! The chain that contract vectors run on: the embedded one, or a real `anvil`.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use alloy_primitives::{Address, Bytes, U256};
use anyhow::{Context, anyhow, bail, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;
use windlass_chain::{BlockRef, CallRequest, HttpRpc, HttpRpcOptions, Receipt, Rpc, RpcError};
use windlass_devnet_evm::{Devnet, DevnetConfig, DevnetServer};

/// Which node runs the contracts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ChainKind {
    /// `windlass-devnet-evm`, in this process.
    #[default]
    Embedded,
    /// The program at this path, started anew for each chain.
    Anvil(PathBuf),
}

impl ChainKind {
    /// `WINDLASS_E2E_CHAIN=anvil` asks for anvil, at `WINDLASS_ANVIL` or else from the search path.
    ///
    /// # Errors
    /// If `WINDLASS_E2E_CHAIN` names a chain that is not known.
    pub fn from_environment() -> anyhow::Result<Self> {
        match std::env::var("WINDLASS_E2E_CHAIN").unwrap_or_default().as_str() {
            "" | "embedded" => Ok(Self::Embedded),
            "anvil" => Ok(Self::Anvil(std::env::var_os("WINDLASS_ANVIL").unwrap_or_else(|| "anvil".into()).into())),
            other => bail!("WINDLASS_E2E_CHAIN={other}: must be embedded or anvil"),
        }
    }
}

/// What runners need beside their document: chains. One is shared, because contracts do not disturb each other.
#[derive(Debug, Default)]
pub struct Bench {
    kind: ChainKind,
    shared: OnceCell<Chain>,
}

impl Bench {
    /// A bench whose chains are of this kind. Nothing is started yet.
    pub fn new(kind: ChainKind) -> Self {
        Self { kind, shared: OnceCell::new() }
    }

    /// The chain that all runners share.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn chain(&self) -> anyhow::Result<&Chain> {
        self.shared.get_or_try_init(|| Chain::start(&self.kind, None)).await
    }

    /// A fresh chain, for contracts that must stand at given addresses.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn fresh_chain(&self) -> anyhow::Result<Chain> {
        Chain::start(&self.kind, None).await
    }

    /// A fresh chain whose first block lies before this time, so that a block can be mined at it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn chain_before(&self, timestamp: u64) -> anyhow::Result<Chain> {
        Chain::start(&self.kind, Some(timestamp.saturating_sub(1))).await
    }
}

/// A development chain, asked over HTTP. It ends when this is dropped.
pub struct Chain {
    url: String,
    rpc: HttpRpc,
    /// Accounts that may send and have money.
    ready: Mutex<BTreeSet<Address>>,
    _node: Node,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What keeps the chain alive.
enum Node {
    Embedded { _server: DevnetServer },
    Anvil { _process: Process },
}

/// Gas for every transaction, so that one that reverts is mined all the same. Below the limit of EIP-7825.
const GAS: u64 = 16_000_000;
/// How long anvil may take to listen.
const START: Duration = Duration::from_secs(30);

impl Chain {
    async fn start(kind: &ChainKind, timestamp: Option<u64>) -> anyhow::Result<Self> {
        let (url, node) = match kind {
            ChainKind::Embedded => {
                let config = DevnetConfig { genesis_timestamp: timestamp, ..DevnetConfig::default() };
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let server = Devnet::new(config).serve(address).await.context("cannot start the embedded chain")?;
                (server.http_url(), Node::Embedded { _server: server })
            }
            ChainKind::Anvil(program) => {
                let started = tokio::time::timeout(START, Process::start(program, timestamp)).await;
                let (process, url) = started.map_err(|_| anyhow!("anvil does not listen after {START:?}"))??;
                (url, Node::Anvil { _process: process })
            }
        };
        let options = HttpRpcOptions { timeout: Duration::from_secs(60), ..HttpRpcOptions::default() };
        let rpc = HttpRpc::new(&url, options).context("cannot connect to the chain")?;
        Ok(Self { url, rpc, ready: Mutex::default(), _node: node })
    }

    /// Its HTTP address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks one method.
    ///
    /// # Errors
    /// Any error of the node, or an answer of another type.
    pub async fn ask<T: DeserializeOwned>(&self, method: &str, params: Value) -> anyhow::Result<T> {
        let answer = self.rpc.request(method, params).await.with_context(|| method.to_owned())?;
        Ok(answer.parse(method)?)
    }

    /// Executes a call at the latest block without sending it. The inner error is the revert data.
    ///
    /// # Errors
    /// Any error of the node that is no revert.
    pub async fn simulate(&self, request: CallRequest) -> anyhow::Result<Result<Bytes, Bytes>> {
        let mut params = vec![request.to_param(), json!("latest")];
        if let Some(block) = &request.block_override {
            params.push(json!({}));
            params.push(block.clone());
        }
        match self.rpc.request("eth_call", Value::Array(params)).await {
            Ok(answer) => Ok(Ok(answer.parse("eth_call")?)),
            Err(error) => revert_data(error).map(Err),
        }
    }

    /// Sends a transaction from any account and waits for its receipt.
    ///
    /// # Errors
    /// Any error of the node. A transaction that reverts is no error: see the receipt.
    pub async fn execute(&self, from: Address, to: Option<Address>, data: &Bytes) -> anyhow::Result<Receipt> {
        self.execute_with_value(from, to, data, U256::ZERO).await
    }

    /// As [`execute`](Self::execute), with money.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn execute_with_value(
        &self,
        from: Address,
        to: Option<Address>,
        data: &Bytes,
        value: U256,
    ) -> anyhow::Result<Receipt> {
        self.make_ready(from).await?;
        let transaction = json!({ "from": from, "to": to, "data": data, "value": value, "gas": format!("{GAS:#x}") });
        let hash: Value = self.ask("eth_sendTransaction", json!([transaction])).await?;
        for _ in 0..1000 {
            if let Some(receipt) = self.ask::<Option<Receipt>>("eth_getTransactionReceipt", json!([hash])).await? {
                return Ok(receipt);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("transaction {hash} is not mined")
    }

    /// Creates a contract and returns its address.
    ///
    /// # Errors
    /// If the creation reverts.
    pub async fn create(&self, from: Address, data: &Bytes) -> anyhow::Result<Address> {
        let receipt = self.execute(from, None, data).await?;
        ensure!(receipt.succeeded(), "the creation reverted");
        receipt.contract_address.context("the receipt of the creation names no contract")
    }

    /// Several calls at the latest block, none of which may revert.
    ///
    /// # Errors
    /// The first that fails.
    pub async fn read_all(&self, calls: Vec<CallRequest>) -> anyhow::Result<Vec<Bytes>> {
        let calls = calls.iter().map(|call| windlass_chain::RpcCall::new("eth_call", json!([call.to_param(), "latest"])));
        let answers = self.rpc.batch(calls.collect()).await?;
        answers.into_iter().map(|answer| Ok(answer?.parse("eth_call")?)).collect()
    }

    /// Mines a block with this time and makes sure that it is the latest.
    ///
    /// # Errors
    /// Any error of the node, or a block with another time.
    pub async fn mine_at(&self, timestamp: u64) -> anyhow::Result<()> {
        self.ask::<Value>("evm_setNextBlockTimestamp", json!([timestamp])).await?;
        self.ask::<Value>("evm_mine", json!([])).await?;
        let latest: BlockRef = self.ask("eth_getBlockByNumber", json!(["latest", false])).await?;
        ensure!(latest.timestamp == timestamp, "the latest block has time {}, wanted is {timestamp}", latest.timestamp);
        Ok(())
    }

    /// Lets the chain accept transactions from `account` without its key, and gives it money, once.
    ///
    /// # Errors
    /// Any error of the node.
    pub async fn make_ready(&self, account: Address) -> anyhow::Result<()> {
        if self.ready.lock().map_err(|_| anyhow!("poisoned"))?.contains(&account) {
            return Ok(());
        }
        self.ask::<Value>("anvil_impersonateAccount", json!([account])).await?;
        let money = U256::from(10).pow(U256::from(24));
        self.ask::<Value>("anvil_setBalance", json!([account, money])).await?;
        self.ready.lock().map_err(|_| anyhow!("poisoned"))?.insert(account);
        Ok(())
    }
}

fn revert_data(error: RpcError) -> anyhow::Result<Bytes> {
    error.revert_data().ok_or_else(|| anyhow::Error::from(error).context("eth_call"))
}

/// A running anvil with everything it started.
struct Process {
    group: Option<Pid>,
    _child: Child,
}

impl Process {
    async fn start(program: &PathBuf, timestamp: Option<u64>) -> anyhow::Result<(Self, String)> {
        let mut command = Command::new(program);
        command.args(["--port", "0", "--host", "127.0.0.1"]);
        if let Some(timestamp) = timestamp {
            command.args(["--timestamp", &timestamp.to_string()]);
        }
        // An own group: the program found in the search path may be a script that starts the real one.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let stdout = child.stdout.take().context("no output")?;
        let process = Self { group, _child: child };
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            if let Some(address) = line.trim().strip_prefix("Listening on ") {
                let url = format!("http://{address}");
                // Its log would block it once the pipe is full.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok((process, url));
            }
        }
        bail!("{} ended before it listened", program.display())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}
