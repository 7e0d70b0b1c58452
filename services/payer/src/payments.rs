//! The payer's and the keyper's tools: quotes, payments, withdrawals. Transactions go through the outbox.

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use serde::Serialize;
use windlass_chain::{BlockRef, CallRequest};
use windlass_contracts::KeyperPayer as Contract;
use windlass_outbox::{FeePolicy, Intent, IntentStatus, Outbox, State, Until};

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
    /// Nothing was sent.
    pub dry_run: bool,
    /// Hashes of the transactions that ended well.
    pub transactions: Vec<String>,
}

/// Pays until `until`. Repeating it changes nothing when the time is covered, and goes on where it stopped when an earlier
/// run was interrupted: the keys of its transactions name the payment by what had been paid before it, so two runs with
/// the same starting point are the same payment.
pub async fn pay(
    reader: &ContractReader,
    outbox: &Outbox,
    until: u64,
    options: &SendOptions,
) -> Result<PaymentReport, PayerError> {
    let account = outbox.account();
    let basis = basis(reader).await?;
    let quote = quote_of(&basis, reader.contract(), until)?;
    let mut report = PaymentReport { quote, account, approves: false, dry_run: options.dry_run, transactions: Vec::new() };
    let amount = report.quote.amount.0;
    if amount.is_zero() {
        return Ok(report);
    }
    if let Some(limit) = options.max_amount.filter(|limit| amount > *limit) {
        return Err(PayerError::AboveLimit { amount, limit });
    }
    let allowance = check_funds(reader, &basis, account, amount).await?;
    report.approves = allowance < amount;
    if options.dry_run {
        return Ok(report);
    }
    // What was paid before, not the clock, makes the name: an interrupted run finds its own transactions again.
    let name = format!("{}/{}/{}", reader.contract(), basis.observation.total_paid, amount);
    if report.approves {
        let data = abi::approve(reader.contract(), amount);
        let intent = Intent::new(format!("payer/approve/{name}"), basis.constants.token)
            .with_data(data)
            .with_label("allow the payer contract to take the payment");
        report.transactions.push(send(outbox, intent, options, Until::Included).await?);
    }
    let intent = Intent::new(format!("payer/pay/{name}"), reader.contract())
        .with_data(abi::pay(amount))
        .with_label(format!("pay until {}", crate::cli::text::time(until)));
    report.transactions.push(send(outbox, intent, options, Until::Final).await?);
    Ok(report)
}

/// Tokens, coin for gas; returns the allowance.
async fn check_funds(reader: &ContractReader, basis: &Basis, account: Address, amount: U256) -> Result<U256, PayerError> {
    let (token, endpoints) = (basis.constants.token, reader.endpoints());
    let calls = [
        CallRequest::new(token, Token::balanceOfCall { account }.abi_encode()),
        CallRequest::new(token, Token::allowanceCall { owner: account, spender: reader.contract() }.abi_encode()),
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
    let coin = endpoints.balance(account, basis.block.hash).await?;
    if coin.is_zero() {
        let needed = U256::from(basis.block.base_fee_per_gas.unwrap_or(1).max(1)).saturating_mul(U256::from(150_000));
        return Err(PayerError::TooLittleGas { account, held: coin, needed });
    }
    Ok(allowance)
}

async fn send(outbox: &Outbox, intent: Intent, options: &SendOptions, until: Until) -> Result<String, PayerError> {
    let label = intent.label.clone();
    let fee = FeePolicy { max_fee_per_gas: options.max_fee_per_gas, ..FeePolicy::default() };
    let mut intent = intent.with_fee(fee).with_confirmations(options.confirmations.max(1)).with_simulate(true);
    // An earlier attempt that failed for good must not stand in the way of a new one; one that is open or went through is
    // found under its key and not repeated.
    let first = intent.key.clone();
    for attempt in 2_u32.. {
        match outbox.status(outbox.id_of(&intent.key)).await? {
            Some(IntentStatus { state: State::Reverted(_) | State::Dropped(_), .. }) => {
                intent.key = format!("{first}#{attempt}");
            }
            _ => break,
        }
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
    report.transaction = Some(send(outbox, intent, options, Until::Final).await?);
    Ok(report)
}
