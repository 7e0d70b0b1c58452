//! Carrying out a command: open what it needs, do it, print one result.
//!
//! stdout carries only the result; everything else goes to stderr.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use async_trait::async_trait;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use windlass_chain::{EndpointUrl, Endpoints, EndpointsConfig};
use windlass_keys::{KeyConfig, Signer};
use windlass_outbox::{Outbox, OutboxConfig};
use windlass_store::{Clock as _, Store, SystemClock};

use super::commands::{AgreementArgs, ExportFormat, KeyArgs, PayerCommand, SendArgs, TopUpArgs};
use super::deploy::{DeployOptions, deploy};
use super::env::{Environment, Exit};
use super::monitor::{MonitorOptions, monitor};
use super::text;
use crate::api::U256Text;
use crate::checks::{Finding, Gravity, terms_findings, token_findings};
use crate::config::PayerConfig;
use crate::error::PayerError;
use crate::guard;
use crate::history;
use crate::machine::{Policy, Standing, standing};
use crate::payments::{self, SendOptions};
use crate::ports::contract::{ContractReader, token_facts};
use crate::protocol::Holdings;
use crate::targets;

/// Exit code for a value that cannot be understood, the same as that of the command-line parser. `monitor` and `deploy` keep
/// their own codes.
const USAGE: u8 = 2;

/// Where results and remarks go.
pub struct Output<'w> {
    /// The result, and nothing else.
    pub stdout: &'w mut (dyn Write + Send),
    /// Everything else.
    pub stderr: &'w mut (dyn Write + Send),
    /// The result is a JSON document.
    pub json: bool,
}

impl Output<'_> {
    // A stream that is gone is no reason to change the outcome of a command.
    fn result(&mut self, text: &str) {
        let _ = writeln!(self.stdout, "{}", text.trim_end());
    }

    fn remark(&mut self, text: impl std::fmt::Display) {
        let _ = writeln!(self.stderr, "{text}");
    }

    fn json<T: Serialize>(&mut self, value: &T) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.result(&text),
            Err(error) => self.remark(format_args!("the result cannot be written as JSON: {error}")),
        }
    }
}

/// What the program around the commands provides: its configuration, chains and database.
#[async_trait]
pub trait Handles: Send + Sync {
    /// The section of an agreement by name; without a name the only one there is. With the name it has.
    async fn section(&self, name: Option<&str>) -> Result<(String, PayerConfig), PayerError>;

    /// The endpoints of a `[chain.<name>]` section.
    async fn chain(&self, name: &str) -> Result<Endpoints, PayerError>;

    /// The database, for commands that send transactions.
    async fn store(&self) -> Result<Store, PayerError>;
}

/// An agreement that a command works on.
struct Opened {
    name: String,
    config: Option<PayerConfig>,
    reader: Arc<ContractReader>,
}

async fn open(handles: &dyn Handles, arguments: &AgreementArgs) -> Result<Opened, PayerError> {
    let (name, config, endpoints, contract, quorum) = match arguments.contract {
        Some(contract) => {
            let urls = arguments.rpc_url.iter().map(EndpointUrl::new);
            let config = EndpointsConfig { chain_id: arguments.chain_id, ..EndpointsConfig::new("chain", urls) };
            (contract.to_string(), None, Endpoints::connect(config).await?, contract, 1)
        }
        None => {
            let (name, config) = handles.section(arguments.agreement.as_deref()).await?;
            let endpoints = handles.chain(&config.chain).await?;
            let (contract, quorum) = (config.contract, config.quorum);
            (name, Some(config), endpoints, contract, usize::try_from(quorum).unwrap_or(1))
        }
    };
    let reader = Arc::new(ContractReader::new(endpoints, contract, quorum));
    Ok(Opened { name, config, reader })
}

fn now_s() -> u64 {
    u64::try_from(SystemClock.now().to_seconds().0).unwrap_or(0)
}

/// Carries out a command. The result is the exit code of the process.
pub async fn run(command: PayerCommand, handles: &dyn Handles, output: &mut Output<'_>) -> u8 {
    let done = match command {
        PayerCommand::Status { agreement } => status(handles, &agreement, output).await,
        PayerCommand::Quote { agreement, until } => quote(handles, &agreement, &until, output).await,
        PayerCommand::Pay { agreement, key, send, until, max_amount } => {
            pay(handles, (&agreement, &key, &send), &until, max_amount, output).await
        }
        PayerCommand::TopUp { agreement, key, send, top_up } => {
            keep_paid(handles, (&agreement, &key, &send), &top_up, output).await
        }
        PayerCommand::Withdraw { agreement, key, send, withdraw } => {
            take(handles, (&agreement, &key, &send), withdraw.min_amount, output).await
        }
        PayerCommand::Export { agreement, format, from_block } => export(handles, &agreement, format, from_block, output).await,
        PayerCommand::Check { agreement } => check(handles, &agreement, output).await,
        PayerCommand::Guard { agreement, guard } => {
            let source = match &guard.health_url {
                Some(url) => Ok(guard::Source::Health(url.clone())),
                None => open(handles, &agreement).await.map(|opened| {
                    let mut policy = opened.config.as_ref().map_or_else(Policy::default, PayerConfig::policy);
                    policy.grace_seconds = guard.grace.map_or(policy.grace_seconds, |grace| grace.as_secs());
                    policy.confirm_blocks = guard.confirm_blocks.unwrap_or(policy.confirm_blocks);
                    policy.confirm_seconds = guard.confirm_time.map_or(policy.confirm_seconds, |time| time.as_secs());
                    guard::Source::Chain { reader: opened.reader, policy }
                }),
            };
            match source {
                Ok(source) => return guard::run(source, &guard, output.stderr).await,
                Err(error) => Err(error),
            }
        }
        PayerCommand::Wait => {
            guard::told_to_end().await;
            return Exit::Success as u8;
        }
        PayerCommand::Monitor => {
            let environment = process_environment(output);
            return monitor(&environment, MonitorOptions::default(), output.stderr).await as u8;
        }
        PayerCommand::Deploy { dry_run } => {
            let environment = process_environment(output);
            let options = DeployOptions { dry_run, ..DeployOptions::default() };
            return deploy(&environment, &options, output.stdout, output.stderr).await as u8;
        }
    };
    match done {
        Ok(exit) => exit as u8,
        Err(error) => {
            output.remark(format_args!("error: {error}"));
            if let Some(hint) = error.hint() {
                output.remark(format_args!("hint: {hint}"));
            }
            match error {
                PayerError::Input { .. } | PayerError::Missing { .. } => USAGE,
                _ if error.is_transient() => Exit::CannotTell as u8,
                _ => Exit::Failure as u8,
            }
        }
    }
}

fn process_environment(output: &mut Output<'_>) -> Environment {
    let folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let (environment, warnings) = Environment::of_process(&folder);
    for warning in warnings {
        output.remark(warning);
    }
    environment
}

/// One keyper's line in `status`.
#[derive(Debug, Clone, Serialize)]
struct ShareView {
    keyper: Address,
    /// How often it stands in the list.
    entries: usize,
    /// Earned so far: its part of everything paid.
    earned: U256Text,
    /// Taken so far.
    withdrawn: U256Text,
    /// To be withdrawn.
    held: U256Text,
}

#[derive(Debug, Clone, Serialize)]
struct StatusView {
    name: String,
    contract: Address,
    token: Address,
    /// `paid`, `unpaid`, `not_started`.
    state: &'static str,
    requested_rate: U256Text,
    start_timestamp: U256Text,
    total_paid: U256Text,
    required: Option<U256Text>,
    deficit: U256Text,
    paid_until: Option<u64>,
    paid_until_finalized: Option<u64>,
    seconds_left: Option<u64>,
    held: U256Text,
    owed: U256Text,
    stray: U256Text,
    shortfall: U256Text,
    block: u64,
    block_time: u64,
    keypers: Vec<ShareView>,
}

async fn status(handles: &dyn Handles, arguments: &AgreementArgs, output: &mut Output<'_>) -> Result<Exit, PayerError> {
    let opened = open(handles, arguments).await?;
    let reader = &opened.reader;
    let wrap = |cause| PayerError::Agreement { contract: reader.contract(), cause };
    let head = reader.endpoints().head().await?;
    let constants = reader.constants(&head).await.map_err(wrap)?;
    let seen = reader.observe(&head).await.map_err(wrap)?;
    let shares = reader.shares(&head).await.map_err(wrap)?;
    let stands =
        standing(&seen.terms, seen.total_paid, head.timestamp).ok_or_else(|| wrap(crate::machine::CannotTell::Overflow))?;
    let (state, exit) = match stands {
        Standing::NotStarted => ("not_started", Exit::Success),
        Standing::Paid { .. } => ("paid", Exit::Success),
        Standing::Lapsed { .. } => ("unpaid", Exit::Failure),
    };
    let entries = U256::from(constants.keypers.len());
    let per_entry = seen.total_paid.checked_div(entries).unwrap_or_default();
    let keypers = shares
        .into_iter()
        .map(|(keyper, count, held)| {
            let earned = per_entry.saturating_mul(U256::from(count));
            let withdrawn = U256Text(earned.saturating_sub(held));
            ShareView { keyper, entries: count, earned: U256Text(earned), withdrawn, held: U256Text(held) }
        })
        .collect();
    let until = seen.terms.paid_until(seen.total_paid);
    let finalized = seen.finalized.as_ref().map(|known| seen.terms.paid_until(known.total_paid));
    let holdings = Holdings { held: seen.held, owed: seen.owed };
    let view = StatusView {
        name: opened.name,
        contract: reader.contract(),
        token: constants.token,
        state,
        requested_rate: U256Text(seen.terms.requested_rate),
        start_timestamp: U256Text(seen.terms.start_timestamp),
        total_paid: U256Text(seen.total_paid),
        required: seen.terms.required_at(head.timestamp).map(U256Text),
        deficit: U256Text(seen.terms.deficit_at(seen.total_paid, head.timestamp).unwrap_or_default()),
        paid_until: until.unix_seconds(),
        paid_until_finalized: finalized.and_then(|until| until.unix_seconds()),
        seconds_left: until.seconds_left(head.timestamp),
        held: U256Text(seen.held),
        owed: U256Text(seen.owed),
        stray: U256Text(holdings.stray()),
        shortfall: U256Text(holdings.shortfall()),
        block: head.number,
        block_time: head.timestamp,
        keypers,
    };
    if output.json {
        output.json(&view);
    } else {
        output.result(&render_status(&view));
    }
    Ok(exit)
}

fn render_status(view: &StatusView) -> String {
    use std::fmt::Write as _;
    let mut page = String::new();
    let until = view.paid_until.map_or_else(|| "for ever".to_owned(), text::time);
    let left = view.seconds_left.map_or_else(|| "for ever".to_owned(), text::span);
    let lines = [
        ("agreement", view.name.clone()),
        ("contract", view.contract.to_string()),
        ("token", view.token.to_string()),
        ("state", view.state.replace('_', " ")),
        ("paid until", until),
        ("left", left),
        ("rate", format!("{} per second", view.requested_rate.0)),
        ("total paid", view.total_paid.0.to_string()),
        ("missing", view.deficit.0.to_string()),
        ("held", view.held.0.to_string()),
        ("owed to keypers", view.owed.0.to_string()),
        ("stray tokens", view.stray.0.to_string()),
        ("block", format!("{} ({})", view.block, text::time(view.block_time))),
    ];
    for (label, value) in lines {
        let _ = writeln!(page, "{label:<16} {value}");
    }
    if !view.shortfall.0.is_zero() {
        let _ = writeln!(page, "{:<16} {}: the token keeps a fee or changes balances", "shortfall", view.shortfall.0);
    }
    let _ = writeln!(page, "\n{:<42} {:>5} {:>24} {:>24} {:>24}", "keyper", "share", "earned", "withdrawn", "held");
    let entries: usize = view.keypers.iter().map(|keyper| keyper.entries).sum();
    for one in &view.keypers {
        let (earned, withdrawn, held) = (one.earned.0, one.withdrawn.0, one.held.0);
        let share = format!("{}/{entries}", one.entries);
        let _ = writeln!(page, "{} {share:>5} {earned:>24} {withdrawn:>24} {held:>24}", one.keyper);
    }
    page
}

async fn quote(
    handles: &dyn Handles,
    arguments: &AgreementArgs,
    until: &str,
    output: &mut Output<'_>,
) -> Result<Exit, PayerError> {
    let until = text::parse_moment(until, now_s())?;
    let opened = open(handles, arguments).await?;
    let quote = payments::quote(&opened.reader, until).await?;
    if output.json {
        output.json(&quote);
    } else {
        output.result(&quote.amount.0.to_string());
        let moment = text::time(until);
        if quote.covered {
            output.remark(format_args!("{} is paid until {moment} already", opened.name));
        } else {
            output.remark(format_args!(
                "{} token units are missing for {moment}; with {} keyper entries that is {}",
                quote.needed.0, quote.keypers, quote.amount.0
            ));
        }
    }
    Ok(Exit::Success)
}

type Sender<'a> = (&'a AgreementArgs, &'a KeyArgs, &'a SendArgs);

/// The account of a command and the task that sends its transactions.
struct Account {
    store: Store,
    outbox: Outbox,
    options: SendOptions,
    stop: CancellationToken,
    sending: Option<tokio::task::JoinHandle<()>>,
    wait: Duration,
}

impl Account {
    async fn open(handles: &dyn Handles, opened: &Opened, (_, key, send): Sender<'_>) -> Result<Self, PayerError> {
        let section = opened.config.as_ref().and_then(|config| config.account.as_ref());
        let config = match (&key.key, &key.keystore, &key.password) {
            (Some(source), ..) => KeyConfig::PrivateKey(source.clone()),
            (None, Some(path), Some(password)) => KeyConfig::Keystore { path: path.clone(), password: password.clone() },
            _ => section.map(|account| account.key.key_config()).ok_or_else(|| PayerError::Missing {
                what: "the account: give --key, --keystore with --password, or [payer.<name>.account]".into(),
            })?,
        };
        let signer: Arc<dyn Signer> = config.open().await?;
        let store = handles.store().await?;
        store.migrate(&windlass_outbox::MIGRATIONS).await?;
        let endpoints = opened.reader.endpoints().clone();
        let settings = OutboxConfig::for_chain(endpoints.name());
        let outbox = Outbox::open(store.clone(), endpoints, signer, settings).await?;
        let ceiling = section.and_then(|account| u128::try_from(account.max_fee_per_gas.wei()).ok());
        let options = SendOptions {
            dry_run: send.dry_run,
            max_fee_per_gas: send.max_gas_price.or(ceiling),
            confirmations: send.confirmations.or(section.map(|account| account.confirmations)).unwrap_or(1),
            max_amount: None,
        };
        let stop = CancellationToken::new();
        let sending = (!send.dry_run).then(|| {
            let (outbox, stop) = (outbox.clone(), stop.clone());
            tokio::spawn(async move {
                if let Err(error) = outbox.run(stop).await {
                    tracing::error!(%error, "the sender of transactions ended");
                }
            })
        });
        Ok(Self { store, outbox, options, stop, sending, wait: send.wait })
    }

    async fn limited<T>(&self, work: impl Future<Output = Result<T, PayerError>>) -> Result<T, PayerError> {
        tokio::time::timeout(self.wait, work).await.unwrap_or_else(|_| {
            Err(PayerError::Transaction {
                label: "the transaction".into(),
                detail: format!("not done within {} s; it is recorded and goes on at the next run", self.wait.as_secs()),
            })
        })
    }

    async fn pay(&self, reader: &ContractReader, until: u64) -> Result<payments::PaymentReport, PayerError> {
        self.limited(payments::pay_in_turn(&self.store, reader, &self.outbox, until, &self.options)).await
    }

    async fn close(self) {
        self.stop.cancel();
        if let Some(sending) = self.sending {
            let _ = tokio::time::timeout(Duration::from_secs(5), sending).await;
        }
    }
}

async fn pay(
    handles: &dyn Handles,
    sender: Sender<'_>,
    until: &str,
    max_amount: Option<U256>,
    output: &mut Output<'_>,
) -> Result<Exit, PayerError> {
    let until = text::parse_moment(until, now_s())?;
    let opened = open(handles, sender.0).await?;
    let mut account = Account::open(handles, &opened, sender).await?;
    account.options.max_amount = max_amount;
    let done = account.pay(&opened.reader, until).await;
    account.close().await;
    show_payment(&opened.name, &done?, output);
    Ok(Exit::Success)
}

fn show_payment(name: &str, report: &payments::PaymentReport, output: &mut Output<'_>) {
    if output.json {
        output.json(report);
        return;
    }
    let (amount, moment) = (report.quote.amount.0, text::time(report.quote.until));
    let approval = match (report.approves, report.resets) {
        (_, true) => "two approvals (the token wants the old allowance taken back first) and ",
        (true, false) => "an approval and ",
        (false, false) => "",
    };
    if report.dry_run && !report.quote.covered {
        output.remark(format_args!("gas: up to {}, {} wei at the present price", report.gas, report.gas_cost.0));
    }
    output.result(&match (report.quote.covered, report.dry_run) {
        (true, _) => format!("{name} is paid until {moment} already; nothing to pay"),
        (false, true) => format!("would send {approval}a payment of {amount} token units from {}", report.account),
        (false, false) => format!("paid {amount} token units: {name} is paid until {moment}\n{}", report.transactions.join("\n")),
    });
}

async fn keep_paid(
    handles: &dyn Handles,
    sender: Sender<'_>,
    top_up: &TopUpArgs,
    output: &mut Output<'_>,
) -> Result<Exit, PayerError> {
    let opened = open(handles, sender.0).await?;
    let mut account = Account::open(handles, &opened, sender).await?;
    account.options.max_amount = top_up.max_amount;
    let below = top_up.below.unwrap_or(top_up.keep / 2);
    let ended = loop {
        let now = now_s();
        let due = payments::quote(&opened.reader, now.saturating_add(below.as_secs())).await;
        let round = match due {
            Ok(quote) if quote.covered => {
                output.remark(format_args!("{} is paid for more than {}", opened.name, text::span(below.as_secs())));
                Ok(())
            }
            Ok(_) => {
                let until = now.saturating_add(top_up.keep.as_secs());
                account.pay(&opened.reader, until).await.map(|report| show_payment(&opened.name, &report, output))
            }
            Err(error) => Err(error),
        };
        match round {
            Err(error) if top_up.once => break Err(error),
            // The next round names the time, not the amount: it pays only what is missing then.
            Err(error) => output.remark(format_args!("error: {error}; next check in {}", text::span(top_up.every.as_secs()))),
            Ok(()) if top_up.once => break Ok(Exit::Success),
            Ok(()) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(top_up.every) => {}
            () = guard::told_to_end() => break Ok(Exit::Success),
        }
    };
    account.close().await;
    ended
}

async fn take(handles: &dyn Handles, sender: Sender<'_>, minimum: U256, output: &mut Output<'_>) -> Result<Exit, PayerError> {
    let opened = open(handles, sender.0).await?;
    let account = Account::open(handles, &opened, sender).await?;
    let done = account.limited(payments::withdraw(&opened.reader, &account.outbox, minimum, &account.options)).await;
    account.close().await;
    let report = done?;
    if output.json {
        output.json(&report);
        return Ok(Exit::Success);
    }
    let balance = report.balance.0;
    output.result(&match (&report.transaction, report.gas_price_above) {
        (Some(hash), _) => format!("withdrew {balance} token units\n{hash}"),
        (None, Some(price)) => format!("nothing withdrawn: gas costs {} wei, more than the ceiling", price.0),
        (None, None) if report.below_minimum => format!("nothing withdrawn: {balance} token units are below the minimum"),
        (None, None) => format!("would withdraw {balance} token units to {}", report.account),
    });
    Ok(Exit::Success)
}

async fn export(
    handles: &dyn Handles,
    arguments: &AgreementArgs,
    format: ExportFormat,
    from_block: Option<u64>,
    output: &mut Output<'_>,
) -> Result<Exit, PayerError> {
    let opened = open(handles, arguments).await?;
    let from = from_block.or_else(|| opened.config.as_ref().and_then(|config| config.deployed_at_block));
    let found = history::collect(&opened.reader, from).await?;
    match format {
        ExportFormat::Csv => output.result(&history::to_csv(&found)),
        ExportFormat::Json => output.json(&found),
    }
    if !found.complete {
        output.remark(format_args!(
            "warning: the payments found add up to {}, the contract counts {}; an endpoint with old states (an archive node) or an \
             earlier --from-block may tell more",
            found.payments, found.total_paid
        ));
        return Ok(Exit::Failure);
    }
    Ok(Exit::Success)
}

#[derive(Debug, Clone, Serialize)]
struct CheckView {
    name: String,
    contract: Address,
    chain_id: u64,
    /// Same code as the project's own build of the contract; another build may be just as right.
    known_code: bool,
    findings: Vec<String>,
    refusals: usize,
    target: Option<String>,
    ok: bool,
}

/// The deployed code has the constructor's values filled in; compared are length and everything outside of them.
fn is_known_code(code: &[u8]) -> bool {
    let known: &[u8] = &windlass_contracts::KeyperPayer::DEPLOYED_BYTECODE;
    code.len() == known.len() && code.iter().zip(known).all(|(found, built)| found == built || *built == 0)
}

async fn check(handles: &dyn Handles, arguments: &AgreementArgs, output: &mut Output<'_>) -> Result<Exit, PayerError> {
    let opened = open(handles, arguments).await?;
    let reader = &opened.reader;
    let contract = reader.contract();
    let wrap = |cause| PayerError::Agreement { contract, cause };
    let chain_id = reader.endpoints().chain_id().await?;
    let head = reader.endpoints().head().await?;
    let constants = reader.constants(&head).await.map_err(wrap)?;
    let seen = reader.observe(&head).await.map_err(wrap)?;
    let (rate, start) = (seen.terms.requested_rate, seen.terms.start_timestamp);
    let mut findings = terms_findings(constants.token, &constants.keypers, rate, start, head.timestamp);
    // An agreement that runs has its start behind it; whether there is a debt is the answer of `status`.
    findings.retain(|finding| !matches!(finding, Finding::StartInThePast { .. }));
    findings.extend(token_findings(&token_facts(reader.endpoints(), constants.token, &[contract]).await?));
    let mut lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let behind = now_s().saturating_sub(head.timestamp);
    let stale = opened.config.as_ref().map_or(180, |config| config.stale_after.as_secs());
    let mut refusals = findings.iter().filter(|finding| finding.gravity() == Gravity::Refusal).count();
    if behind > stale {
        refusals += 1;
        lines
            .push(format!("the newest block {} lies {behind} s behind the clock; check the endpoint and the clock", head.number));
    }
    let holdings = Holdings { held: seen.held, owed: seen.owed };
    if !holdings.shortfall().is_zero() {
        lines.push(format!("the contract holds {} token units less than it owes", holdings.shortfall()));
    }
    let mut target = None;
    if let Some(config) = &opened.config
        && let Some(described) = &config.target
    {
        let built = targets::build(described, config.limits)?;
        let looked = tokio::time::timeout(config.limits.act, built.running()).await;
        target = Some(match looked {
            Ok(Ok(Some(running))) => format!("{}: {}", built.describe(), if running { "runs" } else { "stands still" }),
            Ok(Ok(None)) => format!("{}: cannot be looked at; its stop cannot be verified", built.describe()),
            Ok(Err(error)) => {
                refusals += 1;
                error.report()
            }
            Err(_) => {
                refusals += 1;
                format!("{}: no answer", built.describe())
            }
        });
    }
    let known_code = is_known_code(&reader.endpoints().code(contract, head.hash).await?);
    let ok = refusals == 0;
    let view = CheckView { name: opened.name, contract, chain_id, known_code, findings: lines, refusals, target, ok };
    if output.json {
        output.json(&view);
    } else {
        let mut page = format!("{} on chain {chain_id}: {}\n", view.name, if ok { "ok" } else { "NOT OK" });
        let code = if known_code { "the project's own build" } else { "another build of the contract" };
        page.push_str(&format!("code: {code}\n"));
        for line in view.findings.iter().chain(&view.target) {
            page.push_str(&format!("- {line}\n"));
        }
        output.result(&page);
    }
    Ok(if ok { Exit::Success } else { Exit::Failure })
}
