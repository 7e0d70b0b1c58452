//! The payer's and the keyper's tools: quotes, payments, withdrawals. Transactions go through the outbox.

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::SolCall;
use serde::Serialize;
use windlass_chain::{BlockRef, CallRequest, ChainError};
use windlass_contracts::KeyperPayer as Contract;
use windlass_outbox::{FeePolicy, Intent, IntentStatus, Outbox, OutboxConfig, State, Until};
use windlass_store::{Store, lease};

use crate::api::U256Text;
use crate::error::PayerError;
use crate::machine::Observation;
use crate::ports::contract::{Constants, ContractReader, Token};
use crate::protocol::abi;

/// What to pay so that an agreement is paid until a moment.
#[derive(Debug, Clone, Serialize)]
pub struct QuoteView {
    /// The contract.
    pub contract: Address,
    /// The token.
    pub token: Address,
    /// The target time, Unix seconds.
    pub until: u64,
    /// Missing at that time, to the base unit.
    pub needed: U256Text,
    /// What to pay: `needed` rounded up to a multiple of the number of keyper entries. Zero when the time is covered.
    pub amount: U256Text,
    /// The time is covered already.
    pub covered: bool,
    /// Last paid second after paying `amount`; `null` when the cover never ends.
    pub paid_until_after: Option<u64>,
    /// Sum of payments before.
    pub total_paid: U256Text,
    /// Number of keyper entries.
    pub keypers: usize,
    /// The block of the figures.
    pub block: u64,
}

/// Everything a payment is computed from, at one block.
struct Basis {
    block: BlockRef,
    constants: Constants,
    observation: Observation,
}

async fn basis(reader: &ContractReader) -> Result<Basis, PayerError> {
    let wrap = |cause| PayerError::Agreement { contract: reader.contract(), cause };
    let block = reader.endpoints().head().await?;
    let constants = reader.constants(&block).await.map_err(wrap)?;
    let observation = reader.observe(&block).await.map_err(wrap)?;
    Ok(Basis { block, constants, observation })
}

fn quote_of(basis: &Basis, contract: Address, until: u64) -> Result<QuoteView, PayerError> {
    let (terms, total_paid) = (basis.observation.terms, basis.observation.total_paid);
    let keypers = basis.constants.keypers.len();
    let too_large = || PayerError::AmountTooLarge { until_s: until };
    let quote = terms.quote(total_paid, until, keypers).ok_or_else(too_large)?;
    let after = total_paid.checked_add(quote.amount).ok_or_else(too_large)?;
    Ok(QuoteView {
        contract,
        token: basis.constants.token,
        until,
        needed: U256Text(quote.needed),
        amount: U256Text(quote.amount),
        covered: quote.amount.is_zero(),
        paid_until_after: terms.paid_until(after).unix_seconds(),
        total_paid: U256Text(total_paid),
        keypers,
        block: basis.block.number,
    })
}

/// Computes what to pay so that the agreement is paid until `until`.
pub async fn quote(reader: &ContractReader, until: u64) -> Result<QuoteView, PayerError> {
    let basis = basis(reader).await?;
    quote_of(&basis, reader.contract(), until)
}

/// Settings of one payment or withdrawal.
#[derive(Debug, Clone, Default)]
pub struct SendOptions {
    /// Check and show, send nothing.
    pub dry_run: bool,
    /// Highest price of gas, wei.
    pub max_fee_per_gas: Option<u128>,
    /// Blocks that a transaction must be deep.
    pub confirmations: u64,
    /// Refuse to pay more than this.
    pub max_amount: Option<U256>,
}

/// What a payment did or would do.
#[derive(Debug, Clone, Serialize)]
pub struct PaymentReport {
    /// The quote that was paid.
    pub quote: QuoteView,
    /// The paying account.
    pub account: Address,
    /// The allowance had to be raised.
    pub approves: bool,
    /// The token takes a new allowance only after the old one was set to zero.
    pub resets: bool,
    /// What the transactions may use together, in gas.
    pub gas: u64,
    /// The same at the present price, in wei.
    pub gas_cost: U256Text,
    /// Nothing was sent.
    pub dry_run: bool,
    /// Hashes of the transactions that ended well.
    pub transactions: Vec<String>,
}

/// Gas of one call of `approve`, when it cannot be estimated: the dearest known tokens need less.
const APPROVE_GAS: u64 = 80_000;
/// Gas of `pay` beside what each keyper costs, with room for a token that does more than it must.
const PAY_GAS: u64 = 150_000;
/// Gas of `pay` for each keyper: a first entry in its storage, and the loop around it.
const PAY_GAS_PER_KEYPER: u64 = 26_000;
/// Transactions looked at for payments that are not finished; an account has far fewer open ones.
const OPEN_LIMIT: u64 = 1_000;

/// As [`pay`], one payment of a contract at a time among all that share the database `store`: a second run waits, and then
/// pays only what is still missing.
pub async fn pay_in_turn(
    store: &Store,
    reader: &ContractReader,
    outbox: &Outbox,
    until: u64,
    options: &SendOptions,
) -> Result<PaymentReport, PayerError> {
    if options.dry_run {
        return pay(reader, outbox, until, options).await;
    }
    let name = format!("payer/pay/{}/{}", outbox.chain_id(), reader.contract());
    // Unique for each run, so that two in one process are two.
    let holder = OutboxConfig::default().holder;
    let mut turn = lease::wait_acquire(store, &name, &holder, lease::DEFAULT_TTL).await?;
    let done = tokio::select! {
        done = pay(reader, outbox, until, options) => done,
        loss = lease::keep(store, &mut turn) => Err(PayerError::Transaction {
            label: "the payment".into(),
            detail: format!("{loss}; what was recorded goes on"),
        }),
    };
    if let Err(error) = lease::release(store, turn).await {
        tracing::debug!(%error, "the turn was not given back; it ends by itself");
    }
    done
}

/// Pays until `until`. Repeating it changes nothing when the time is covered. Transactions that an earlier, interrupted run
/// left open are waited for first, and what they paid counts. Runs at the same time must use [`pay_in_turn`].
pub async fn pay(
    reader: &ContractReader,
    outbox: &Outbox,
    until: u64,
    options: &SendOptions,
) -> Result<PaymentReport, PayerError> {
    let finished = if options.dry_run { Vec::new() } else { finish_open(reader.contract(), outbox).await? };
    let account = outbox.account();
    let basis = basis(reader).await?;
    let quote = quote_of(&basis, reader.contract(), until)?;
    let amount = quote.amount.0;
    let mut report = PaymentReport {
        quote,
        account,
        approves: false,
        resets: false,
        gas: 0,
        gas_cost: U256Text(U256::ZERO),
        dry_run: options.dry_run,
        transactions: finished,
    };
    if amount.is_zero() {
        return Ok(report);
    }
    if let Some(limit) = options.max_amount.filter(|limit| amount > *limit) {
        return Err(PayerError::AboveLimit { amount, limit });
    }
    let needs = check_funds(reader, &basis, account, amount).await?;
    (report.approves, report.resets) = (needs.approves, needs.resets);
    (report.gas, report.gas_cost) = (needs.gas, U256Text(needs.cost));
    if options.dry_run {
        return Ok(report);
    }
    let before = format!("{}/{}", reader.contract(), basis.observation.total_paid);
    refuse_old_view(outbox, &format!("payer/pay/{before}/")).await?;
    // What was paid before, not the clock, makes the name: the same starting point and amount are the same payment.
    let name = format!("{before}/{amount}");
    let token = basis.constants.token;
    if report.resets {
        let intent = Intent::new(format!("payer/approve/{name}/reset"), token)
            .with_data(abi::approve(reader.contract(), U256::ZERO))
            .with_label("take back the old allowance, which the token asks for");
        report.transactions.push(send(outbox, intent, options, Until::Included, Finished::Repeat).await?);
    }
    if report.approves {
        let intent = Intent::new(format!("payer/approve/{name}"), token)
            .with_data(abi::approve(reader.contract(), amount))
            .with_label("allow the payer contract to take the payment");
        report.transactions.push(send(outbox, intent, options, Until::Included, Finished::Repeat).await?);
    }
    let intent = Intent::new(format!("payer/pay/{name}"), reader.contract())
        .with_data(abi::pay(amount))
        .with_label(format!("pay until {}", crate::cli::text::time(until)));
    report.transactions.push(send(outbox, intent, options, Until::Final, Finished::Keep).await?);
    Ok(report)
}

/// Waits until no payment of the contract, and no approval for one, is open. Hashes of the payments that ended well.
///
/// Their amounts belong to the target time of the run that recorded them: paying beside them would pay the same seconds twice.
async fn finish_open(contract: Address, outbox: &Outbox) -> Result<Vec<String>, PayerError> {
    let (payments, approvals) = (format!("payer/pay/{contract}/"), format!("payer/approve/{contract}/"));
    let mut finished = Vec::new();
    for state in ["recorded", "signed", "broadcast", "included"] {
        for open in outbox.list(Some(state), OPEN_LIMIT).await? {
            let pays = open.key.starts_with(&payments);
            if !pays && !open.key.starts_with(&approvals) {
                continue;
            }
            tracing::info!(id = %open.id, label = %open.label, "waiting for a transaction of an earlier run");
            let ended = outbox.wait(open.id, Until::Final).await?;
            if pays && ended.state == State::Final {
                finished.extend(ended.tx_hash.map(|hash| hash.to_string()));
            }
        }
    }
    Ok(finished)
}

/// A payment from this very starting point is final: the endpoint that told the sum does not know of it.
async fn refuse_old_view(outbox: &Outbox, prefix: &str) -> Result<(), PayerError> {
    let known = outbox.list(Some("final"), OPEN_LIMIT).await?;
    match known.into_iter().find(|status| status.key.starts_with(prefix)) {
        None => Ok(()),
        Some(status) => Err(PayerError::Transaction {
            label: status.label,
            detail: "is final, but the endpoint does not show it yet; nothing more was sent".into(),
        }),
    }
}

/// What a payment needs beside the tokens.
struct Needs {
    approves: bool,
    resets: bool,
    gas: u64,
    cost: U256,
}

/// Looks at tokens, allowance, and coin for gas at the present price.
async fn check_funds(reader: &ContractReader, basis: &Basis, account: Address, amount: U256) -> Result<Needs, PayerError> {
    let (token, contract, endpoints) = (basis.constants.token, reader.contract(), reader.endpoints());
    let calls = [
        CallRequest::new(token, Token::balanceOfCall { account }.abi_encode()),
        CallRequest::new(token, Token::allowanceCall { owner: account, spender: contract }.abi_encode()),
    ];
    let mut answers = endpoints.call_many(&calls, basis.block.hash).await?.into_iter();
    let mut word = || -> Result<U256, PayerError> {
        let answer = answers.next().transpose()?.unwrap_or_default();
        Token::balanceOfCall::abi_decode_returns_validate(&answer).map_err(|error| PayerError::Agreement {
            contract: token,
            cause: crate::machine::CannotTell::ForeignContract { detail: format!("the token answers badly: {error}") },
        })
    };
    let (held, allowance) = (word()?, word()?);
    if held < amount {
        return Err(PayerError::TooFewTokens { account, token, held, needed: amount });
    }
    let approves = allowance < amount;
    // Some tokens change an allowance only from or to zero.
    let resets = approves && !allowance.is_zero() && refuses(reader, basis, account, abi::approve(contract, amount)).await?;
    let approvals = u64::from(approves) + u64::from(resets);
    let gas = approvals.saturating_mul(APPROVE_GAS).saturating_add(pay_gas(reader, basis, account, amount, approves).await?);
    let price = endpoints.gas_price().await?;
    let cost = U256::from(price).saturating_mul(U256::from(gas));
    let coin = endpoints.balance(account, basis.block.hash).await?;
    if coin < cost {
        return Err(PayerError::TooLittleGas { account, held: coin, needed: cost });
    }
    Ok(Needs { approves, resets, gas, cost })
}

/// Whether the token reverts this call of the account.
async fn refuses(reader: &ContractReader, basis: &Basis, account: Address, data: Bytes) -> Result<bool, PayerError> {
    let mut request = CallRequest::new(basis.constants.token, data);
    request.from = Some(account);
    match reader.endpoints().call_request(&request, basis.block.hash).await {
        Ok(_) => Ok(false),
        Err(ChainError::Reverted { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Gas of the payment: as estimated when the allowance is there, else the bound that follows from the number of keypers.
async fn pay_gas(
    reader: &ContractReader,
    basis: &Basis,
    account: Address,
    amount: U256,
    approves: bool,
) -> Result<u64, PayerError> {
    let keypers = u64::try_from(basis.constants.keypers.len()).unwrap_or(u64::MAX);
    let bound = keypers.saturating_mul(PAY_GAS_PER_KEYPER).saturating_add(PAY_GAS);
    if approves {
        return Ok(bound);
    }
    let mut request = CallRequest::new(reader.contract(), abi::pay(amount));
    request.from = Some(account);
    match reader.endpoints().estimate_gas(&request).await {
        Ok(gas) => Ok(gas),
        Err(error) if error.is_transient() => Err(error.into()),
        // An account without any coin cannot be estimated on some nodes; a revert is told by the simulation before sending.
        Err(_) => Ok(bound),
    }
}

/// What an intent that ended well under the same key means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finished {
    /// The work is done.
    Keep,
    /// What it did has been undone since: do it again.
    Repeat,
}

async fn send(
    outbox: &Outbox,
    intent: Intent,
    options: &SendOptions,
    until: Until,
    finished: Finished,
) -> Result<String, PayerError> {
    let label = intent.label.clone();
    let fee = FeePolicy { max_fee_per_gas: options.max_fee_per_gas, ..FeePolicy::default() };
    let mut intent = intent.with_fee(fee).with_confirmations(options.confirmations.max(1)).with_simulate(true);
    // An earlier attempt that failed for good must not stand in the way of a new one; one that is open or went through is
    // found under its key and not repeated.
    let first = intent.key.clone();
    for attempt in 2_u32.. {
        match outbox.status(outbox.id_of(&intent.key)).await?.map(|status| status.state) {
            Some(State::Reverted(_) | State::Dropped(_)) => {}
            Some(State::Final) if finished == Finished::Repeat => {}
            _ => break,
        }
        intent.key = format!("{first}#{attempt}");
    }
    let id = outbox.submit(intent).await?;
    tracing::info!(%id, %label, "recorded");
    let status: IntentStatus = outbox.wait(id, until).await?;
    let hash = status.tx_hash.map_or_else(String::new, |hash| hash.to_string());
    match &status.state {
        State::Final => Ok(hash),
        State::Included if status.success != Some(false) => Ok(hash),
        other => Err(PayerError::Transaction { label, detail: format!("{other} {hash}").trim().to_owned() }),
    }
}

/// What a withdrawal did or would do.
#[derive(Debug, Clone, Serialize)]
pub struct WithdrawalReport {
    /// The keyper.
    pub account: Address,
    /// What it can withdraw.
    pub balance: U256Text,
    /// Nothing was sent because the balance is below the minimum.
    pub below_minimum: bool,
    /// Nothing was sent because gas costs more than the ceiling; the price in wei.
    pub gas_price_above: Option<U256Text>,
    /// Nothing was sent.
    pub dry_run: bool,
    /// Hash of the transaction that ended well.
    pub transaction: Option<String>,
}

/// Withdraws the whole balance of the account if it is at least `minimum`.
pub async fn withdraw(
    reader: &ContractReader,
    outbox: &Outbox,
    minimum: U256,
    options: &SendOptions,
) -> Result<WithdrawalReport, PayerError> {
    let account = outbox.account();
    let basis = basis(reader).await?;
    if !basis.constants.keypers.contains(&account) {
        return Err(PayerError::NotAKeyper { account, contract: reader.contract() });
    }
    let data = Contract::balanceOfCall { keyperAddress: account }.abi_encode();
    let answer = reader.endpoints().call(reader.contract(), data, basis.block.hash).await?;
    let balance = Contract::balanceOfCall::abi_decode_returns_validate(&answer).unwrap_or_default();
    let mut report = WithdrawalReport {
        account,
        balance: U256Text(balance),
        below_minimum: balance < minimum.max(U256::ONE),
        gas_price_above: None,
        dry_run: options.dry_run,
        transaction: None,
    };
    let price = reader.endpoints().gas_price().await?;
    if options.max_fee_per_gas.is_some_and(|ceiling| U256::from(price) > U256::from(ceiling)) {
        report.gas_price_above = Some(U256Text(U256::from(price)));
    }
    if report.below_minimum || report.gas_price_above.is_some() || options.dry_run {
        return Ok(report);
    }
    // The block distinguishes this withdrawal from an earlier one of the same amount; an open one is found by its prefix.
    let open = outbox.list(None, 100).await?;
    let prefix = format!("payer/withdraw/{}/{account}/", reader.contract());
    let unfinished = open.into_iter().find(|status| status.key.starts_with(&prefix) && !status.state.is_terminal());
    let key = unfinished.map_or_else(|| format!("{prefix}{}", basis.block.number), |status| status.key);
    let intent = Intent::new(key, reader.contract()).with_data(abi::withdraw()).with_label("withdraw");
    report.transaction = Some(send(outbox, intent, options, Until::Final, Finished::Keep).await?);
    Ok(report)
}
