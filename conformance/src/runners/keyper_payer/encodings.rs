//! `encodings`: selectors, calldata, constructor arguments, return values and storage slots.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use windlass_contracts::Artifact;
use windlass_payer::protocol::{abi, storage};

use super::super::{address, amount, bytes, read, same};
use crate::Sheet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "format")]
    _format: String,
    #[serde(rename = "produced_by")]
    _produced_by: String,
    selectors: BTreeMap<String, String>,
    errors: BTreeMap<String, String>,
    pay: Vec<Pay>,
    #[serde(rename = "balanceOf")]
    balance_of: Vec<BalanceOf>,
    withdraw: String,
    #[serde(rename = "isPaid")]
    is_paid: String,
    approve: Vec<Approve>,
    constructor_args: Vec<ConstructorArguments>,
    #[serde(rename = "getKeypers_return")]
    get_keypers_return: Vec<GetKeypersReturn>,
    mapping_slot_of_balance: Vec<Slot>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pay {
    amount: String,
    calldata: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BalanceOf {
    address: String,
    calldata: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Approve {
    spender: String,
    amount: String,
    calldata: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConstructorArguments {
    token: String,
    keypers: Vec<String>,
    rate: String,
    start: String,
    encoded: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetKeypersReturn {
    keypers: Vec<String>,
    encoded: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Slot {
    address: String,
    slot: String,
}

/// Checks the document.
pub(crate) fn run(document: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document: Document = read(document, "keyper-payer/encodings/1")?;
    sheet.case("selectors", check_selectors(&document));
    for case in &document.pay {
        sheet.case(&format!("pay({})", case.amount), check_pay(case));
    }
    for case in &document.balance_of {
        sheet.case(&format!("balanceOf({})", case.address), check_balance_of(case));
    }
    sheet.case("withdraw()", bytes(&document.withdraw).and_then(|recorded| same("calldata", abi::withdraw(), recorded)));
    sheet.case("isPaid()", bytes(&document.is_paid).and_then(|recorded| same("calldata", abi::is_paid(), recorded)));
    for case in &document.approve {
        sheet.case(&format!("approve({}, {})", case.spender, case.amount), check_approve(case));
    }
    for (number, case) in document.constructor_args.iter().enumerate() {
        sheet.case(&format!("constructor_args {number}"), check_constructor(case));
    }
    for (number, case) in document.get_keypers_return.iter().enumerate() {
        sheet.case(&format!("getKeypers_return {number}"), check_keypers(case));
    }
    for case in &document.mapping_slot_of_balance {
        sheet.case(&format!("slot of {}", case.address), check_slot(case));
    }
    Ok(())
}

/// The contract has exactly the recorded functions and errors, with the recorded selectors.
fn check_selectors(document: &Document) -> anyhow::Result<()> {
    let artifact = Artifact::by_name("KeyperPayer").ok_or_else(|| anyhow::anyhow!("there is no artifact"))?;
    let contract = artifact.abi()?;
    let functions = contract.functions().map(|function| (function.signature(), function.selector().to_string()));
    same("functions", functions.collect::<BTreeMap<_, _>>(), document.selectors.clone())?;
    let errors = contract.errors().map(|error| (error.signature(), error.selector().to_string()));
    same("errors", errors.collect::<BTreeMap<_, _>>(), document.errors.clone())
}

fn check_pay(case: &Pay) -> anyhow::Result<()> {
    same("calldata", abi::pay(amount(&case.amount)?), bytes(&case.calldata)?)
}

fn check_balance_of(case: &BalanceOf) -> anyhow::Result<()> {
    same("calldata", abi::balance_of(address(&case.address)?), bytes(&case.calldata)?)
}

fn check_approve(case: &Approve) -> anyhow::Result<()> {
    same("calldata", abi::approve(address(&case.spender)?, amount(&case.amount)?), bytes(&case.calldata)?)
}

fn check_constructor(case: &ConstructorArguments) -> anyhow::Result<()> {
    let deployment = abi::Deployment {
        token: address(&case.token)?,
        keypers: case.keypers.iter().map(|keyper| address(keyper)).collect::<anyhow::Result<_>>()?,
        requested_rate: amount(&case.rate)?,
        start_timestamp: amount(&case.start)?,
    };
    let recorded = bytes(&case.encoded)?;
    same("arguments", deployment.constructor_arguments(), recorded.clone())?;
    anyhow::ensure!(deployment.creation_data().ends_with(&recorded), "the creation data do not end with the arguments");
    Ok(())
}

fn check_keypers(case: &GetKeypersReturn) -> anyhow::Result<()> {
    let keypers = case.keypers.iter().map(|keyper| address(keyper)).collect::<anyhow::Result<Vec<_>>>()?;
    let recorded = bytes(&case.encoded)?;
    same("encoding", abi::encode_keypers(&keypers), recorded.clone())?;
    same("decoding", abi::decode_keypers(&recorded), Some(keypers))
}

fn check_slot(case: &Slot) -> anyhow::Result<()> {
    same("slot", storage::balance_slot(address(&case.address)?).to_string(), case.slot.clone())
}
