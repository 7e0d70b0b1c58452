//! `monitor_decisions`: paid or not, three times over.
//!
//! 1. The arithmetic of the protocol module.
//! 2. The contract: `totalPaid` written into its slot, `isPaid()` called with the block's time overridden.
//! 3. The one-shot `monitor` against a chain whose latest block has that time, with a command that leaves a trace.

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::SolValue;
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use windlass_chain::CallRequest;
use windlass_contracts::KeyperPayer;
use windlass_payer::cli::env::{Environment, Precedence};
use windlass_payer::cli::monitor::{MonitorOptions, monitor};
use windlass_payer::protocol::{Terms, abi, storage};

use super::super::{amount, bytes, read, same};
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
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    requested_rate: String,
    start_timestamp: String,
    block_timestamp: String,
    total_paid: String,
    is_paid: Option<bool>,
    revert_data: Option<String>,
    revert: Option<Revert>,
    monitor_exit_code: u8,
    runs_unpaid_command: bool,
    derived: Derived,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Derived {
    required: String,
    deficit: Option<String>,
    surplus: Option<String>,
    paid_until: Option<String>,
}

/// A case, read.
struct Inputs {
    terms: Terms,
    block_timestamp: u64,
    total_paid: U256,
}

/// Where the contract is put without a transaction.
const CONTRACT: Address = Address::repeat_byte(0xC0);

/// Checks the document.
pub(crate) async fn run(bench: &Bench, document: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document: Document = read(document, "keyper-payer/monitor-decisions/1")?;
    for case in &document.cases {
        sheet.case(&case.name, check(bench, case).await);
    }
    Ok(())
}

async fn check(bench: &Bench, case: &Case) -> anyhow::Result<()> {
    let inputs = Inputs {
        terms: Terms { requested_rate: amount(&case.requested_rate)?, start_timestamp: amount(&case.start_timestamp)? },
        block_timestamp: case.block_timestamp.parse().context("block_timestamp")?,
        total_paid: amount(&case.total_paid)?,
    };
    check_arithmetic(case, &inputs).context("arithmetic")?;
    check_contract(bench.chain().await?, case, &inputs).await.context("contract")?;
    let chain = bench.chain_before(inputs.block_timestamp).await?;
    check_monitor(&chain, case, &inputs).await.context("monitor")
}

fn check_arithmetic(case: &Case, inputs: &Inputs) -> anyhow::Result<()> {
    let Inputs { terms, block_timestamp: now, total_paid } = inputs;
    same("is_paid", terms.is_paid(*total_paid, *now), case.is_paid)?;
    let text = |figure: Option<U256>| figure.map(|figure| figure.to_string());
    let required = terms.required_at(*now);
    same("required", text(required).unwrap_or_else(|| "overflow".to_owned()), case.derived.required.clone())?;
    same("deficit", text(terms.deficit_at(*total_paid, *now)), case.derived.deficit.clone())?;
    same("surplus", text(terms.surplus_at(*total_paid, *now)), case.derived.surplus.clone())?;
    // Beyond the overflow no moment is recorded, because the contract gives no answer any more.
    let paid_until = required.map(|_| terms.paid_until_exact(*total_paid).map_or("never".to_owned(), |at| at.to_string()));
    same("paid_until", paid_until, case.derived.paid_until.clone())
}

/// Deploys with the case's terms on the shared chain, whose time is another one.
async fn check_contract(chain: &Chain, case: &Case, inputs: &Inputs) -> anyhow::Result<()> {
    let Terms { requested_rate, start_timestamp } = inputs.terms;
    let keypers = vec![Address::repeat_byte(0xA1), Address::repeat_byte(0xA2)];
    let deployment = abi::Deployment { token: Address::repeat_byte(0x70), keypers, requested_rate, start_timestamp };
    let deployer = Address::repeat_byte(0xD0);
    let contract = chain.create(deployer, &deployment.creation_data()).await?;
    store(chain, contract, storage::TOTAL_PAID, inputs.total_paid).await?;
    let mut call = CallRequest::new(contract, abi::is_paid());
    call.block_override = Some(json!({ "time": format!("{:#x}", inputs.block_timestamp) }));
    match (chain.simulate(call).await?, case.is_paid, &case.revert_data, &case.revert) {
        (Ok(answer), Some(recorded), None, None) => same("isPaid()", answer, Bytes::from(recorded.abi_encode())),
        (Err(ours), None, Some(recorded), Some(meaning)) => {
            reverts::check(&bytes(recorded)?, meaning, &ours, &mut Substitution::default())
        }
        (ours, recorded, ..) => bail!("isPaid(): ours is {ours:?}, recorded is {recorded:?} or a revert"),
    }
}

/// Writes the contract into the state of a chain and mines one block at the case's time.
async fn check_monitor(chain: &Chain, case: &Case, inputs: &Inputs) -> anyhow::Result<()> {
    chain.ask::<Value>("anvil_setCode", json!([CONTRACT, KeyperPayer::DEPLOYED_BYTECODE])).await?;
    store(chain, CONTRACT, storage::TOTAL_PAID, inputs.total_paid).await?;
    store(chain, CONTRACT, storage::START_TIMESTAMP, inputs.terms.start_timestamp).await?;
    store(chain, CONTRACT, storage::REQUESTED_RATE, inputs.terms.requested_rate).await?;
    chain.mine_at(inputs.block_timestamp).await?;
    let folder = tempfile::tempdir()?;
    let trace = folder.path().join("ran");
    let variables = [
        ("CONTRACT_ADDRESS", CONTRACT.to_string()),
        ("RPC_URL", chain.url().to_owned()),
        ("UNPAID_COMMAND", format!("touch '{}'", trace.display())),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let environment = Environment::new(variables, "", Precedence::default());
    let mut stderr = Vec::new();
    let exit = monitor(&environment, MonitorOptions::default(), &mut stderr).await;
    let said = String::from_utf8_lossy(&stderr);
    ensure!(
        exit as u8 == case.monitor_exit_code,
        "exit code {}, recorded is {}; it said: {said}",
        exit as u8,
        case.monitor_exit_code
    );
    same("the command ran", trace.exists(), case.runs_unpaid_command)
}

async fn store(chain: &Chain, contract: Address, slot: u64, value: U256) -> anyhow::Result<()> {
    let word = alloy_primitives::B256::from(value);
    chain.ask::<Value>("anvil_setStorageAt", json!([contract, storage::slot(slot), word])).await?;
    Ok(())
}
