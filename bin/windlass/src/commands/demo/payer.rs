//! The payer's part: an agreement is deployed, paid, lapses, and is paid again; the guarded program follows.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use anyhow::{Context as _, bail, ensure};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use windlass_chain::{BlockTag, Endpoints};
use windlass_contracts::{KeyperPayer, TestToken, init_code};
use windlass_devnet_evm::{Devnet, DevnetConfig, DevnetServer, Mining};
use windlass_keys::{LocalSigner, Signer as _};
use windlass_node::NodeBuilder;
use windlass_node::config::Sources;
use windlass_node::logs::Logs;
use windlass_outbox::{Intent, Outbox, OutboxConfig, State, Until};
use windlass_payer::payments::{self, SendOptions};
use windlass_payer::ports::contract::ContractReader;

use super::report::Report;
use super::stand_in;
use super::vrf::VrfStage;
use crate::output::note;
use crate::services;

const SERVICE: &str = "payer";
/// Token base units per second for the whole set.
const RATE: u64 = 1_000_000_000_000_000;
/// How long any single step may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(25);
/// Blocks of the live demonstration.
const LIVE_BLOCK_MS: u64 = 1_000;
/// How long each payment of the live demonstration lasts, in seconds.
const LIVE_PAID_SECONDS: u64 = 20;
/// When the agreement begins to count, in seconds after its deployment.
const START_AFTER_SECONDS: u64 = 10;
/// How long each payment of the short demonstration lasts, in seconds of the chain's time.
const PAID_SECONDS: u64 = 3_600;

/// Plays the part once, and for ever again if a person watches (`live`).
pub(super) async fn play(folder: &Path, listen: SocketAddr, live: bool, report: &mut Report) -> anyhow::Result<()> {
    let interrupted = super::super::until_interrupted()?;
    let mut stage = tokio::select! {
        stage = Stage::set(folder, listen, live, report) => stage?,
        () = interrupted.cancelled() => return ended_early(live),
    };
    let result = tokio::select! {
        result = stage.act(live, report) => result,
        () = interrupted.cancelled() => ended_early(live),
    };
    let struck = stage.strike().await;
    result.and(struck)
}

/// Whoever watches ends it when he has seen enough; who wants the whole part did not get it.
fn ended_early(live: bool) -> anyhow::Result<()> {
    ensure!(live, "interrupted before its end");
    Ok(())
}

/// Everything that stands while the part is played.
struct Stage {
    devnet: Devnet,
    server: DevnetServer,
    endpoints: Endpoints,
    outbox: Outbox,
    reader: ContractReader,
    contract: Address,
    pid_file: PathBuf,
    keyper: Keyper,
    health: reqwest::Url,
    client: reqwest::Client,
    node: JoinHandle<anyhow::Result<()>>,
    node_shutdown: CancellationToken,
    vrf: VrfStage,
}

impl Stage {
    async fn set(folder: &Path, listen: SocketAddr, live: bool, report: &mut Report) -> anyhow::Result<Self> {
        report.step(SERVICE, "start an EVM chain in this process");
        let mining = if live { Mining::Interval(LIVE_BLOCK_MS) } else { Mining::Automatic };
        let config = DevnetConfig { mining, ..DevnetConfig::default() };
        let deployer = LocalSigner::from_bytes(&config.accounts.first().context("the chain has no accounts")?.secret.0)?;
        let keypers = config
            .accounts
            .iter()
            .skip(1)
            .take(3)
            .map(|account| LocalSigner::from_bytes(&account.secret.0).map(|signer| signer.address()))
            .collect::<Result<Vec<_>, _>>()?;
        let devnet = Devnet::new(config);
        let server = devnet.serve(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let file = write_configuration(folder, listen, server.ws_url().as_str(), None, "")?;
        let config = services::schema().load(&Sources::from_system(&file, true, Vec::new())?)?;
        let endpoints = services::connect(&config, "devnet").await?;
        let chain_id = endpoints.chain_id().await?;
        report.done(format!("chain {chain_id} answers at {}", server.http_url()));

        report.step(SERVICE, "deploy a token and the agreement of three keypers");
        let store = windlass_store::Store::open(services::store_url(&config)?.expose()).await?;
        let options = OutboxConfig { chain: "devnet".to_owned(), ..OutboxConfig::default() };
        let deployer = Arc::new(deployer);
        let outbox = Outbox::open(store.clone(), endpoints.clone(), deployer.clone(), options).await?;
        let sender_shutdown = CancellationToken::new();
        let sender = tokio::spawn(send_until(outbox.clone(), sender_shutdown.clone()));
        let head = endpoints.head().await?;
        // Counted from a moment after the first payment: the part begins with an agreement that is in order.
        let start = head.timestamp.saturating_add(START_AFTER_SECONDS);
        let (token, contract) = deploy(&outbox, deployer.address(), &keypers, start).await?;
        let reader = ContractReader::new(endpoints.clone(), contract, 1);
        let listed = call(&endpoints, contract, KeyperPayer::getKeypersCall {}).await?;
        ensure!(listed == keypers, "the contract lists {listed:?}, not the keypers that it was given");
        report.done(format!("token {token}, contract {contract}, getKeypers() agrees"));
        let vrf = VrfStage::set(&outbox, live, report).await?;
        // From here on the service sends for the account; payments are only recorded here, as `windlass payer pay` does beside a node.
        sender_shutdown.cancel();
        sender.await?;

        report.step(SERVICE, "start a stand-in keyper and the node that guards it and relays");
        let pid_file = folder.join("keyper.pid");
        let keyper = Keyper::start(&pid_file)?;
        wait_for("the stand-in keyper to write its process id", || async { Ok(running_pid(&pid_file).is_some()) }).await?;
        let more = vrf.section(folder)?;
        let file = write_configuration(folder, listen, server.ws_url().as_str(), Some((contract, &pid_file)), &more)?;
        let config = services::schema().load(&Sources::from_system(&file, true, Vec::new())?)?;
        // A second demonstration in one process (tests) finds the log installed.
        let _ = Logs::install(&config.log());
        let builder = NodeBuilder::open(&config, Arc::new(services::resolve)).await?;
        let node = services::build(&config, builder).await?.build().await?;
        let address = node.address().context("the node does not listen")?;
        let node_shutdown = node.shutdown_token();
        let node = tokio::spawn(async move { node.run_until(std::future::pending()).await.map(|_| ()).map_err(Into::into) });
        let stage = Self {
            devnet,
            server,
            endpoints,
            outbox,
            reader,
            contract,
            pid_file,
            keyper,
            health: format!("http://{address}/health/").parse()?,
            client: reqwest::Client::builder().timeout(PATIENCE).build()?,
            node,
            node_shutdown,
            vrf,
        };
        stage.mine_if_idle(live, 0);
        wait_for("the service to be ready", || stage.answers("ready", 200)).await?;
        report.done(format!("ready; dashboard at http://{address}/"));
        Ok(stage)
    }

    async fn act(&mut self, live: bool, report: &mut Report) -> anyhow::Result<()> {
        loop {
            self.pay(live, report).await?;
            self.lapse(live, report).await?;
            self.pay_again(live, report).await?;
            self.vrf.act(&self.devnet, &self.endpoints, report).await?;
            if !live {
                return Ok(());
            }
            note("  one round is done; the next begins. Stop with Ctrl-C.");
        }
    }

    async fn pay(&self, live: bool, report: &mut Report) -> anyhow::Result<()> {
        let seconds = if live { LIVE_PAID_SECONDS } else { PAID_SECONDS };
        report.step(SERVICE, format!("pay for {seconds} seconds"));
        let total = self.pay_until_ahead(seconds).await?;
        self.mine_if_idle(live, 0);
        wait_for("the health check to say paid", || self.answers("paid/demo", 200)).await?;
        wait_for("the keyper to run", || async { Ok(running_pid(&self.pid_file).is_some()) }).await?;
        let pid = running_pid(&self.pid_file);
        report.done(format!("isPaid() is true, totalPaid() {total}, keyper runs as process {}", show(pid)));
        Ok(())
    }

    async fn lapse(&self, live: bool, report: &mut Report) -> anyhow::Result<()> {
        report.step(SERVICE, "let time run until the payment has lapsed");
        let before = running_pid(&self.pid_file).context("the keyper does not run before the payment lapses")?;
        self.mine_if_idle(live, PAID_SECONDS.saturating_mul(2));
        let patience = if live { Duration::from_secs(LIVE_PAID_SECONDS) + PATIENCE } else { PATIENCE };
        wait_at_most(patience, "the keyper to be stopped", || async {
            // Two further blocks say the same before anything is stopped.
            self.mine_if_idle(live, 1);
            Ok(running_pid(&self.pid_file).is_none())
        })
        .await?;
        wait_for("the health check to say unpaid", || self.answers("paid/demo", 402)).await?;
        ensure!(!self.is_paid().await?, "the keyper was stopped although isPaid() is true");
        report.done(format!("isPaid() is false, process {before} is gone, /health/paid/demo answers 402"));
        Ok(())
    }

    async fn pay_again(&self, live: bool, report: &mut Report) -> anyhow::Result<()> {
        report.step(SERVICE, "pay what is owed and more");
        let seconds = if live { LIVE_PAID_SECONDS } else { PAID_SECONDS };
        let total = self.pay_until_ahead(seconds).await?;
        wait_for("the keyper to be started again", || async {
            self.mine_if_idle(live, 1);
            Ok(running_pid(&self.pid_file).is_some())
        })
        .await?;
        wait_for("the health check to say paid", || self.answers("paid/demo", 200)).await?;
        ensure!(self.is_paid().await?, "the keyper was started although isPaid() is false");
        let pid = running_pid(&self.pid_file);
        report.done(format!("isPaid() is true, totalPaid() {total}, keyper runs again as process {}", show(pid)));
        Ok(())
    }

    /// Pays until `seconds` after the newest block, as `windlass payer pay` does, and returns what the contract has received.
    async fn pay_until_ahead(&self, seconds: u64) -> anyhow::Result<U256> {
        let until = self.endpoints.head().await?.timestamp.saturating_add(seconds);
        let before = call(&self.endpoints, self.contract, KeyperPayer::totalPaidCall {}).await?;
        let options = SendOptions { confirmations: 1, ..SendOptions::default() };
        let paid = payments::pay(&self.reader, &self.outbox, until, &options).await?;
        let total = call(&self.endpoints, self.contract, KeyperPayer::totalPaidCall {}).await?;
        let expected = before.checked_add(paid.quote.amount.0).context("more was paid than there are tokens")?;
        ensure!(total == expected, "totalPaid() is {total} after {before} and a payment of {}", paid.quote.amount.0);
        ensure!(self.is_paid().await?, "isPaid() is false right after a payment");
        Ok(total)
    }

    async fn is_paid(&self) -> anyhow::Result<bool> {
        call(&self.endpoints, self.contract, KeyperPayer::isPaidCall {}).await
    }

    /// Without a person watching, the chain has no clock: time passes by mining.
    fn mine_if_idle(&self, live: bool, seconds: u64) {
        if !live {
            self.devnet.increase_time(seconds);
            self.devnet.mine(1, 0);
        }
    }

    async fn answers(&self, path: &str, code: u16) -> anyhow::Result<bool> {
        let answer = self.client.get(self.health.join(path)?).send().await;
        Ok(answer.is_ok_and(|answer| answer.status().as_u16() == code))
    }

    /// Stops everything in order.
    async fn strike(self) -> anyhow::Result<()> {
        self.node_shutdown.cancel();
        let node = self.node.await?;
        drop(self.keyper);
        self.vrf.strike().await;
        self.server.shutdown().await;
        node
    }
}

async fn send_until(outbox: Outbox, shutdown: CancellationToken) {
    if let Err(error) = outbox.run(shutdown).await {
        note(&format!("  the outbox stopped: {error}"));
    }
}

/// Deploys token and agreement through the outbox, and gives the deployer tokens.
async fn deploy(outbox: &Outbox, deployer: Address, keypers: &[Address], start: u64) -> anyhow::Result<(Address, Address)> {
    let constructor = TestToken::constructorCall { name_: "Windlass Demo".to_owned(), symbol_: "DEMO".to_owned(), decimals_: 18 };
    let code = init_code(&TestToken::BYTECODE, &constructor);
    let token = created(outbox, Intent::create("demo/token", code)).await?;
    let mint = TestToken::mintCall { to: deployer, amount: U256::from(RATE).saturating_mul(U256::from(1_u64 << 40)) };
    let id = outbox.submit(Intent::new("demo/mint", token).with_data(mint.abi_encode())).await?;
    let constructor = KeyperPayer::constructorCall {
        _sptTokenAddress: token,
        _keypers: keypers.to_vec(),
        _requestedRate: U256::from(RATE),
        _startTimestamp: U256::from(start),
    };
    let contract = created(outbox, Intent::create("demo/agreement", init_code(&KeyperPayer::BYTECODE, &constructor))).await?;
    outbox.wait(id, Until::Included).await?;
    Ok((token, contract))
}

/// Sends a creation and returns the address of the contract.
async fn created(outbox: &Outbox, intent: Intent) -> anyhow::Result<Address> {
    let label = intent.key.clone();
    let id = outbox.submit(intent.with_confirmations(1)).await?;
    let status = tokio::time::timeout(PATIENCE, outbox.wait(id, Until::Included)).await.context("the chain made no block")??;
    let nonce = status.nonce.context("an included transaction has a nonce")?;
    ensure!(!matches!(status.state, State::Reverted(_) | State::Dropped(_)), "{label} ended as {}", status.state);
    Ok(outbox.account().create(nonce))
}

async fn call<C: SolCall>(endpoints: &Endpoints, contract: Address, call: C) -> anyhow::Result<C::Return> {
    let answer = endpoints.call(contract, call.abi_encode(), BlockTag::Latest).await?;
    Ok(C::abi_decode_returns_validate(&answer)?)
}

/// Writes the file that an operator would write; without an agreement, only its chain.
fn write_configuration(
    folder: &Path,
    listen: SocketAddr,
    ws_url: &str,
    agreement: Option<(Address, &Path)>,
    more: &str,
) -> anyhow::Result<PathBuf> {
    let data = folder.join("data");
    std::fs::create_dir_all(&data)?;
    let mut text = format!(
        "[node]\ndata_dir = {data:?}\n\n[http]\nlisten = \"{listen}\"\n\n[log]\nlevel = \"warn,windlass_node::alerts=error\"\n\n\
         [chain.devnet]\nurls = [\"{ws_url}\"]\nchain_id = 31337\n",
        data = data.display().to_string(),
    );
    if let Some((contract, pid_file)) = agreement {
        let key_file = write_key(folder)?;
        let program = std::env::current_exe()?;
        let mut resume = format!("'{}'", program.display());
        for argument in stand_in::arguments(pid_file) {
            resume.push_str(&format!(" '{}'", argument.display()));
        }
        resume.push_str(" >/dev/null 2>&1 &");
        text.push_str(&format!(
            "\n[payer.demo]\nchain = \"devnet\"\ncontract = \"{contract}\"\nconfirm_blocks = 2\nconfirm_time = \"0s\"\n\
             settle = \"0s\"\nresume = true\nwarn_before = []\n\n[payer.demo.signal]\npid_file = {pid:?}\nresume = {resume:?}\n\n\
             [payer.demo.account]\nprivate_key = {key:?}\nconfirmations = 1\n",
            pid = pid_file.display().to_string(),
            key = format!("file:{}", key_file.display()),
        ));
    }
    text.push_str(more);
    let path = folder.join("windlass.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Puts the deployer's key, which is public knowledge, where a key belongs: into a file that only its owner can read.
fn write_key(folder: &Path) -> anyhow::Result<PathBuf> {
    let key = DevnetConfig::default().accounts.first().context("the chain has no accounts")?.secret;
    write_secret(folder, "key", &key.to_string())
}

/// Writes a secret where only its owner can read it.
pub(super) fn write_secret(folder: &Path, name: &str, secret: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&path)?.write_all(secret.as_bytes())?;
    Ok(path)
}

/// The stand-in keyper: the one that was started here, or the one that the service started again.
struct Keyper {
    first: Child,
    pid_file: PathBuf,
}

impl Keyper {
    fn start(pid_file: &Path) -> anyhow::Result<Self> {
        let first = Command::new(std::env::current_exe()?)
            .args(stand_in::arguments(pid_file))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the stand-in keyper")?;
        Ok(Self { first, pid_file: pid_file.to_owned() })
    }
}

impl Drop for Keyper {
    /// None stays behind, however the demonstration ends. (One that is killed takes its keyper along: see `stand_in`.)
    fn drop(&mut self) {
        if let Some(pid) = running_pid(&self.pid_file) {
            let _ = terminate(pid);
        }
        // The first is a child of ours; the one that was started again belongs to the system.
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}

/// The process in the file, if it runs. A process that ended and was not waited for does not run.
fn running_pid(pid_file: &Path) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    stand_in::runs(pid).then_some(pid)
}

fn terminate(pid: u32) -> anyhow::Result<()> {
    use nix::sys::signal::{Signal, kill};
    kill(nix::unistd::Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
    Ok(())
}

fn show(pid: Option<u32>) -> String {
    pid.map_or_else(|| "(none)".to_owned(), |pid| pid.to_string())
}

pub(super) async fn wait_for<F: Future<Output = anyhow::Result<bool>>>(what: &str, holds: impl Fn() -> F) -> anyhow::Result<()> {
    wait_at_most(PATIENCE, what, holds).await
}

async fn wait_at_most<F: Future<Output = anyhow::Result<bool>>>(
    limit: Duration,
    what: &str,
    holds: impl Fn() -> F,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !holds().await? {
        if begun.elapsed() > limit {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
