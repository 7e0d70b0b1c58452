//! `contract_sequences`: the payment contract, step by step, on a chain.
//!
//! Every step is simulated and mined, and both must agree with each other and with the record. Accounts have their
//! recorded addresses; the chain lets them send without their keys.

use std::collections::BTreeMap;

use alloy_primitives::{Address, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use windlass_chain::{CallRequest, Log};
use windlass_contracts::test::{FalseToken, FeeToken, NoReturnToken};
use windlass_contracts::{KeyperPayer, TestToken, init_code};
use windlass_payer::protocol::abi::{self, Deployment};
use windlass_payer::protocol::storage;

use super::super::{address, amount, bytes, read, same};
use super::reverts::{self, Revert, Substitution};
use crate::{Bench, Chain, Sheet};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "format")]
    _format: String,
    #[serde(rename = "produced_by")]
    _produced_by: String,
    #[serde(rename = "note")]
    _note: String,
    actors: BTreeMap<String, String>,
    scenarios: Vec<Scenario>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    name: String,
    #[serde(rename = "about")]
    _about: Option<String>,
    keypers: Vec<String>,
    keyper_addresses: Vec<String>,
    token: TokenKind,
    fee_bps: Option<u64>,
    requested_rate: String,
    start_timestamp: String,
    deploy: Outcome,
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum TokenKind {
    Standard,
    Fee,
    ReturnsFalse,
    NoReturn,
    Eoa,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outcome {
    ok: bool,
    revert_data: Option<String>,
    revert: Option<Revert>,
}

/// `deny_unknown_fields` and `flatten` exclude each other, so the fields of [`Outcome`] are repeated.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    op: Operation,
    by: String,
    amount: Option<String>,
    ok: bool,
    revert_data: Option<String>,
    revert: Option<Revert>,
    logs: Option<Vec<RecordedLog>>,
    after: After,
}

#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Operation {
    Give,
    Approve,
    Pay,
    Withdraw,
    DirectTransfer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedLog {
    from_contract: String,
    event: String,
    args: TransferArguments,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TransferArguments {
    from: String,
    to: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    total_paid: String,
    contract_token_balance: Option<String>,
    balances: BTreeMap<String, String>,
    token_balances: Option<BTreeMap<String, String>>,
}

/// Checks the document.
pub(crate) async fn run(bench: &Bench, document: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document: Document = read(document, "keyper-payer/contract-sequences/1")?;
    let actors = document.actors.iter().map(|(name, text)| Ok((name.clone(), address(text).context(name.clone())?)));
    let actors: BTreeMap<String, Address> = actors.collect::<anyhow::Result<_>>()?;
    let chain = bench.chain().await?;
    for scenario in &document.scenarios {
        sheet.case(&scenario.name, play(chain, &actors, scenario).await);
    }
    Ok(())
}

async fn play(chain: &Chain, actors: &BTreeMap<String, Address>, scenario: &Scenario) -> anyhow::Result<()> {
    let deployer = *actors.get("deployer").context("there is no actor called deployer")?;
    let token = make_token(chain, deployer, scenario).await?;
    let lookup = |name: &String| actors.get(name).copied().with_context(|| format!("there is no actor called {name}"));
    let keypers = scenario.keypers.iter().map(lookup).collect::<anyhow::Result<Vec<_>>>()?;
    let recorded = scenario.keyper_addresses.iter().map(|text| address(text)).collect::<anyhow::Result<Vec<_>>>()?;
    same("keyper_addresses", &keypers, &recorded)?;
    let deployment = Deployment {
        token,
        keypers,
        requested_rate: amount(&scenario.requested_rate)?,
        start_timestamp: amount(&scenario.start_timestamp)?,
    };
    let mut substitution = Substitution::new(actors.values().copied(), [token]);

    let Outcome { ok, revert_data, revert } = &scenario.deploy;
    let data = deployment.creation_data();
    let simulated = chain.simulate(CallRequest { data: data.clone(), ..CallRequest::default() }.from(deployer)).await?;
    check_outcome(*ok, revert_data, revert, &simulated, &mut substitution).context("deploy")?;
    let receipt = chain.execute(deployer, None, &data).await.context("deploy")?;
    same("deploy: the mined transaction succeeded", receipt.succeeded(), *ok)?;
    if !ok {
        ensure!(scenario.steps.is_empty(), "there are steps after a deployment that failed");
        return Ok(());
    }
    let contract = receipt.contract_address.context("the receipt of the creation names no contract")?;
    substitution.add_contract(contract);
    let mut stage = Stage { chain, actors, deployer, token, contract, scenario, deployment, substitution };
    stage.check_terms().await.context("after deployment")?;
    for (number, step) in scenario.steps.iter().enumerate() {
        stage.play(step).await.with_context(|| format!("step {number} ({:?} by {})", step.op, step.by))?;
    }
    stage.check_storage().await
}

/// Creates the token and gives the deployer all of it.
async fn make_token(chain: &Chain, deployer: Address, scenario: &Scenario) -> anyhow::Result<Address> {
    let (name, symbol, decimals) = ("Test token".to_owned(), "TEST".to_owned(), 18);
    if (scenario.token == TokenKind::Fee) != scenario.fee_bps.is_some() {
        bail!("fee_bps belongs to the token kind fee, and only to it");
    }
    let code = match scenario.token {
        TokenKind::Standard => {
            let arguments = TestToken::constructorCall { name_: name, symbol_: symbol, decimals_: decimals };
            init_code(&TestToken::BYTECODE, &arguments)
        }
        TokenKind::Fee => {
            let fee = U256::from(scenario.fee_bps.unwrap_or_default());
            let arguments = FeeToken::constructorCall { name_: name, symbol_: symbol, decimals_: decimals, feeBps_: fee };
            init_code(&FeeToken::BYTECODE, &arguments)
        }
        TokenKind::ReturnsFalse => FalseToken::BYTECODE.clone(),
        TokenKind::NoReturn => NoReturnToken::BYTECODE.clone(),
        TokenKind::Eoa => return Ok(Address::from_word(keccak256("an address without code"))),
    };
    let token = chain.create(deployer, &code).await.context("the token")?;
    let mint = TestToken::mintCall { to: deployer, amount: U256::MAX }.abi_encode();
    let receipt = chain.execute(deployer, Some(token), &mint.into()).await.context("mint")?;
    ensure!(receipt.succeeded(), "mint reverted");
    Ok(token)
}

/// Compares the result of a simulation with the record. `None`s and values must be where they belong.
fn check_outcome(
    ok: bool,
    revert_data: &Option<String>,
    revert: &Option<Revert>,
    simulated: &Result<Bytes, Bytes>,
    substitution: &mut Substitution,
) -> anyhow::Result<()> {
    match (ok, revert_data, revert, simulated) {
        (true, None, None, Ok(_)) => Ok(()),
        (true, None, None, Err(data)) => bail!("reverts with {data} ({:?}), recorded is success", reverts::read(data)),
        (false, Some(recorded), Some(meaning), Err(ours)) => reverts::check(&bytes(recorded)?, meaning, ours, substitution),
        (false, Some(_), Some(meaning), Ok(_)) => bail!("succeeds, recorded is the revert {meaning:?}"),
        _ => bail!("the record is neither a success nor a revert with its data and meaning"),
    }
}

/// A deployed contract with everything around it.
struct Stage<'a> {
    chain: &'a Chain,
    actors: &'a BTreeMap<String, Address>,
    deployer: Address,
    token: Address,
    contract: Address,
    scenario: &'a Scenario,
    deployment: Deployment,
    substitution: Substitution,
}

impl Stage<'_> {
    async fn play(&mut self, step: &Step) -> anyhow::Result<()> {
        let (from, to, data) = self.transaction(step)?;
        let simulated = self.chain.simulate(CallRequest::new(to, data.clone()).from(from)).await?;
        check_outcome(step.ok, &step.revert_data, &step.revert, &simulated, &mut self.substitution)?;
        let receipt = self.chain.execute(from, Some(to), &data).await?;
        same("the mined transaction succeeded", receipt.succeeded(), step.ok)?;
        match &step.logs {
            Some(recorded) => self.check_logs(&receipt.logs, recorded)?,
            None => ensure!(!step.ok || !step.op.calls_contract(), "no logs are recorded"),
        }
        self.check_after(&step.after).await.context("after")
    }

    /// Sender, receiver and calldata of a step.
    fn transaction(&self, step: &Step) -> anyhow::Result<(Address, Address, Bytes)> {
        let by = self.named(&step.by)?;
        let transfer = |to, amount| Bytes::from(TestToken::transferCall { to, amount }.abi_encode());
        let amount = match (&step.amount, step.op) {
            (None, Operation::Withdraw) => U256::ZERO,
            (Some(_), Operation::Withdraw) => bail!("withdraw has no amount"),
            (Some(text), _) => amount(text)?,
            (None, _) => bail!("there is no amount"),
        };
        Ok(match step.op {
            Operation::Give => (self.deployer, self.token, transfer(by, amount)),
            Operation::DirectTransfer => (by, self.token, transfer(self.contract, amount)),
            Operation::Approve => (by, self.token, abi::approve(self.contract, amount)),
            Operation::Pay => (by, self.contract, abi::pay(amount)),
            Operation::Withdraw => (by, self.contract, abi::withdraw()),
        })
    }

    /// The address of an actor or contract by its name, or of an address literal.
    fn named(&self, name: &str) -> anyhow::Result<Address> {
        match name {
            "payer_contract" => Ok(self.contract),
            "token" => Ok(self.token),
            _ if name.starts_with("0x") => address(name),
            _ => self.actors.get(name).copied().with_context(|| format!("there is no actor called {name}")),
        }
    }

    fn check_logs(&self, ours: &[Log], recorded: &[RecordedLog]) -> anyhow::Result<()> {
        let ours = ours.iter().map(|log| {
            let event = TestToken::Transfer::decode_raw_log(log.topics.iter().copied(), &log.data);
            let event = event.with_context(|| format!("a log of {} is no Transfer", log.address))?;
            Ok((log.address, event.from, event.to, event.value))
        });
        let recorded = recorded.iter().map(|log| {
            ensure!(log.event == "Transfer", "the event {} is not known", log.event);
            let TransferArguments { from, to, value } = &log.args;
            Ok((self.named(&log.from_contract)?, self.named(from)?, self.named(to)?, amount(value)?))
        });
        let ours: Vec<_> = ours.collect::<anyhow::Result<_>>()?;
        let recorded: Vec<_> = recorded.collect::<anyhow::Result<_>>()?;
        same("logs", self.without_empty_burns(ours), self.without_empty_burns(recorded))
    }

    /// Whether a fee token announces a fee that rounds down to zero is the token's affair and not part of the protocol.
    fn without_empty_burns(&self, mut logs: Vec<(Address, Address, Address, U256)>) -> Vec<(Address, Address, Address, U256)> {
        if self.scenario.token == TokenKind::Fee {
            logs.retain(|(_, _, to, value)| !(to.is_zero() && value.is_zero()));
        }
        logs
    }

    async fn check_after(&self, after: &After) -> anyhow::Result<()> {
        let has_token = self.scenario.token != TokenKind::Eoa;
        ensure!(after.contract_token_balance.is_some() == has_token, "contract_token_balance is not as the token kind asks");
        ensure!(after.token_balances.is_some() == has_token, "token_balances is not as the token kind asks");
        let balance_of = |on, holder| CallRequest::new(on, abi::balance_of(holder));
        let mut what = vec![("total_paid".to_owned(), amount(&after.total_paid)?)];
        let mut calls = vec![CallRequest::new(self.contract, KeyperPayer::totalPaidCall {}.abi_encode())];
        if let Some(balance) = &after.contract_token_balance {
            what.push(("contract_token_balance".to_owned(), amount(balance)?));
            calls.push(balance_of(self.token, self.contract));
        }
        for (name, balance) in &after.balances {
            what.push((format!("balance of {name}"), amount(balance)?));
            calls.push(balance_of(self.contract, self.named(name)?));
        }
        for (name, balance) in after.token_balances.iter().flatten() {
            what.push((format!("tokens of {name}"), amount(balance)?));
            calls.push(balance_of(self.token, self.named(name)?));
        }
        let answers = self.chain.read_all(calls).await?;
        ensure!(answers.len() == what.len(), "{} answers to {} calls", answers.len(), what.len());
        for ((what, recorded), answer) in what.into_iter().zip(answers) {
            same(&what, U256::abi_decode_validate(&answer)?, recorded)?;
        }
        Ok(())
    }

    /// The getters return what the contract was made with.
    async fn check_terms(&self) -> anyhow::Result<()> {
        let Deployment { token, keypers, requested_rate, start_timestamp } = &self.deployment;
        let calls = [
            KeyperPayer::sptTokenAddressCall {}.abi_encode(),
            KeyperPayer::getKeypersCall {}.abi_encode(),
            KeyperPayer::requestedRateCall {}.abi_encode(),
            KeyperPayer::startTimestampCall {}.abi_encode(),
        ];
        let answers = self.chain.read_all(calls.map(|data| CallRequest::new(self.contract, data)).into()).await?;
        let expected = [
            Bytes::from(token.abi_encode()),
            abi::encode_keypers(keypers),
            requested_rate.abi_encode().into(),
            start_timestamp.abi_encode().into(),
        ];
        same("the getters", answers, expected.into())
    }

    /// The storage is laid out as readers of proofs expect.
    async fn check_storage(&self) -> anyhow::Result<()> {
        let Deployment { token, keypers, requested_rate, start_timestamp } = &self.deployment;
        let total_paid = self.chain.read_all(vec![CallRequest::new(self.contract, KeyperPayer::totalPaidCall {}.abi_encode())]);
        let total_paid = U256::abi_decode_validate(total_paid.await?.first().context("no answer")?)?;
        let mut expected = vec![
            (storage::slot(storage::TOTAL_PAID), total_paid),
            (storage::slot(storage::START_TIMESTAMP), *start_timestamp),
            (storage::slot(storage::KEYPERS), U256::from(keypers.len())),
            (storage::slot(storage::TOKEN), U256::from_be_bytes(token.into_word().0)),
            (storage::slot(storage::REQUESTED_RATE), *requested_rate),
        ];
        for (index, keyper) in (0..).zip(keypers) {
            expected.push((storage::keyper_slot(index), U256::from_be_bytes(keyper.into_word().0)));
            let balance = self.chain.read_all(vec![CallRequest::new(self.contract, abi::balance_of(*keyper))]).await?;
            let balance = U256::abi_decode_validate(balance.first().context("no answer")?)?;
            expected.push((storage::balance_slot(*keyper), balance));
        }
        for (slot, value) in expected {
            let stored: U256 = self.chain.ask("eth_getStorageAt", json!([self.contract, slot, "latest"])).await?;
            same(&format!("storage slot {slot}"), stored, value)?;
        }
        Ok(())
    }
}

impl Operation {
    /// Whether the step calls the payment contract, so that its logs are recorded.
    fn calls_contract(self) -> bool {
        matches!(self, Self::Pay | Self::Withdraw)
    }
}
