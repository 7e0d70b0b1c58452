//! `bridge_state`: one Bridge, step by step.
//!
//! Steps are named by sentences, whose first words say what is done; figures in them count. The Bridge is set up with the validators and
//! the chain id that the first steps read of it.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolCall;
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use windlass_chain::CallRequest;
use windlass_contracts::vrf::Bridge;
use windlass_contracts::vrf::bridge::{IAVL, IBridge, ValidatorPowers::ValidatorWithPower};
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::proof::{Proof, VerifyPart};
use windlass_vrf_protocol::vote::EncodedChainId;

use super::super::{bytes, same};
use super::bridge_on_chain::check_result;
use super::common::{Number, Outcome, address, document, hash};
use super::stage::{self, OWNER};
use crate::{Bench, Chain, Sheet};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    step: String,
    outcome: Option<Outcome>,
    order: Option<String>,
    args: Option<Value>,
    sender: Option<String>,
    total: Option<Number>,
    proof: Option<String>,
    receipt: Option<String>,
    #[serde(rename = "blockDetails")]
    block_details: Option<(String, Number, Number)>,
    #[serde(rename = "relayAndVerify")]
    relay_and_verify: Option<Outcome>,
    #[serde(rename = "verifyOracleResult")]
    verify_oracle_result: Option<Outcome>,
}

impl Step {
    fn outcome(&self) -> anyhow::Result<&Outcome> {
        self.outcome.as_ref().context("no outcome is recorded")
    }

    fn args<T: serde::de::DeserializeOwned>(&self) -> anyhow::Result<T> {
        Ok(serde_json::from_value(self.args.clone().context("no arguments are recorded")?)?)
    }

    fn proof(&self) -> anyhow::Result<Bytes> {
        bytes(self.proof.as_deref().context("no proof is recorded")?)
    }

    fn sender(&self) -> anyhow::Result<Address> {
        address(self.sender.as_deref().context("no sender is recorded")?)
    }
}

/// Address and power, as the contract's tuple.
type Entry = (String, Number);

/// Checks the document.
pub(crate) async fn run(bench: &Bench, json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document = document::<Step>(json, "bridge_state")?;
    let chain = bench.chain().await?;
    let mut stage = Stage::set(chain, &document.cases).await?;
    for (number, step) in document.cases.iter().enumerate() {
        sheet.case(&format!("{number} {}", step.step), stage.play(step).await);
    }
    Ok(())
}

struct Stage<'a> {
    chain: &'a Chain,
    bridge: Address,
    /// As it was set up: `V0`, `V1` and so on.
    validators: Vec<(Address, U256)>,
    chain_id: EncodedChainId,
    /// The verify part of the last relayed proof.
    verify: Option<VerifyPart>,
}

/// Whoever is given the role that changes powers.
fn updater() -> Address {
    Address::from_word(keccak256("updater of validators"))
}

impl<'a> Stage<'a> {
    async fn set(chain: &'a Chain, steps: &[Step]) -> anyhow::Result<Self> {
        let first = |name: &str| steps.iter().find(|step| step.step == name).with_context(|| format!("no step is {name:?}"));
        let value = |step: &Step| step.outcome()?.value().cloned().context("no value is recorded");
        let validators = entries(&value(first("getAllValidatorPowers")?)?)?;
        let chain_id = value(first("encodedChainID")?)?;
        let chain_id = EncodedChainId(bytes(chain_id.as_str().context("the chain id is no text")?)?);
        let bridge = chain.create(OWNER, stage::bridge_code(Layout::V3)).await?;
        let call = stage::initialize_call(validators.iter().copied(), &chain_id);
        ensure!(chain.execute(OWNER, Some(bridge), &call).await?.succeeded(), "the Bridge cannot be set up");
        Ok(Self { chain, bridge, validators, chain_id, verify: None })
    }

    async fn play(&mut self, step: &Step) -> anyhow::Result<()> {
        let text = step.step.as_str();
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["initialize", "with", "duplicate", ..] => self.initialize_with_duplicate(step).await,
            ["initialize", "twice", ..] => {
                let call = stage::initialize_call(self.validators.iter().copied(), &self.chain_id);
                self.refused(step, OWNER, call).await
            }
            ["updateValidatorPowers", "without", "role", ..] => {
                let sender = step.sender()?;
                let (changes, total) = if step.args.is_some() { changes(step)? } else { (Vec::new(), self.total()) };
                self.refused(step, sender, update_call(changes, total)).await
            }
            ["updateValidatorPowers", "wrong", "total", ..] => {
                self.grant_role().await?;
                let (changes, total) = changes(step)?;
                self.refused(step, updater(), update_call(changes, total)).await
            }
            ["after", "update", ..] => self.update(step).await,
            ["relayAndVerify", "(transaction)", ..] => self.relay(step).await,
            ["same", "block", "again", ..] => self.relay_again(step).await,
            ["verifyOracleData", "on", "unknown", "height", ..] => self.verify_unknown(step).await,
            ["updateEncodedChainID", "by", ..] => {
                let call = Bridge::updateEncodedChainIDCall { _encodedChainID: self.chain_id.0.clone() };
                self.refused(step, step.sender()?, call.abi_encode().into()).await
            }
            [getter] => self.getter(getter, step).await,
            _ => bail!("the step is not known"),
        }
    }

    async fn call(&self, from: Address, data: impl Into<Bytes>) -> anyhow::Result<Result<Bytes, Bytes>> {
        self.chain.simulate(CallRequest::new(self.bridge, data).from(from)).await
    }

    /// A call that must be refused, simulated and sent.
    async fn refused(&self, step: &Step, from: Address, data: Bytes) -> anyhow::Result<()> {
        let ours = self.call(from, data.clone()).await?;
        step.outcome()?.check_call(ours, |_, _| bail!("a success has no value here"))?;
        let receipt = self.chain.execute(from, Some(self.bridge), &data).await?;
        same("the mined transaction succeeded", receipt.succeeded(), false)
    }

    async fn initialize_with_duplicate(&self, step: &Step) -> anyhow::Result<()> {
        let fresh = self.chain.create(OWNER, stage::bridge_code(Layout::V3)).await?;
        let twice = self.validators.iter().chain(self.validators.first()).copied();
        let call = stage::initialize_call(twice, &self.chain_id);
        let ours = self.chain.simulate(CallRequest::new(fresh, call).from(OWNER)).await?;
        step.outcome()?.check_call(ours, |_, _| bail!("a success has no value here"))
    }

    async fn getter(&self, name: &str, step: &Step) -> anyhow::Result<()> {
        let data = match name {
            "getAllValidatorPowers" => {
                ensure!(
                    step.order.as_deref().is_none_or(|order| order == "insertion"),
                    "the order {:?} is not known",
                    step.order
                );
                Bridge::getAllValidatorPowersCall {}.abi_encode()
            }
            "getValidators" => {
                let (offset, size): (Number, Number) = step.args()?;
                Bridge::getValidatorsCall { offset: offset.unsigned()?, size: size.unsigned()? }.abi_encode()
            }
            "getNumberOfValidators" => Bridge::getNumberOfValidatorsCall {}.abi_encode(),
            "getValidatorPower" => {
                let (account,): (String,) = step.args()?;
                Bridge::getValidatorPowerCall { addr: address(&account)? }.abi_encode()
            }
            "totalValidatorPower" => Bridge::totalValidatorPowerCall {}.abi_encode(),
            "encodedChainID" => Bridge::encodedChainIDCall {}.abi_encode(),
            "VALIDATORS_UPDATER_ROLE" => Bridge::VALIDATORS_UPDATER_ROLECall {}.abi_encode(),
            other => bail!("the step {other} is not known"),
        };
        let ours = self.call(OWNER, data).await?;
        step.outcome()?.check_call(ours, |ours, recorded| match name {
            "getAllValidatorPowers" | "getValidators" => same("validators", returned_entries(&ours)?, entries(recorded)?),
            "encodedChainID" => {
                let ours = Bridge::encodedChainIDCall::abi_decode_returns_validate(&ours)?;
                same("value", ours, bytes(recorded.as_str().context("the value is no text")?)?)
            }
            "VALIDATORS_UPDATER_ROLE" => {
                same("value", B256::try_from(ours.as_ref())?, hash(recorded.as_str().context("the value is no text")?)?)
            }
            _ => same("value", U256::from_be_slice(&ours), Number::deserialize(recorded)?.unsigned()?),
        })
    }

    async fn grant_role(&self) -> anyhow::Result<()> {
        let role = self.call(OWNER, Bridge::VALIDATORS_UPDATER_ROLECall {}.abi_encode()).await?;
        let role = B256::try_from(role.unwrap_or_default().as_ref()).context("the role is no word")?;
        let grant = Bridge::grantRoleCall { role, account: updater() }.abi_encode();
        let receipt = self.chain.execute(OWNER, Some(self.bridge), &grant.into()).await?;
        same("the role is granted", receipt.succeeded(), true)
    }

    fn total(&self) -> U256 {
        self.validators.iter().fold(U256::ZERO, |sum, (_, power)| sum.saturating_add(*power))
    }

    /// `V0->0` in the sentence: the first validator gets power zero.
    async fn update(&self, step: &Step) -> anyhow::Result<()> {
        let mut changed = Vec::new();
        for word in step.step.split([' ', ',']) {
            let Some((name, power)) = word.split_once("->") else { continue };
            let index: usize = name.strip_prefix('V').context("no validator is named")?.parse()?;
            let (account, _) = self.validators.get(index).with_context(|| format!("there is no validator {name}"))?;
            changed.push((*account, power.parse::<U256>()?));
        }
        ensure!(!changed.is_empty(), "the sentence names no change");
        let total = step.total.as_ref().context("no total is recorded")?.unsigned()?;
        self.grant_role().await?;
        let receipt = self.chain.execute(updater(), Some(self.bridge), &update_call(changed, total)).await?;
        same("the update succeeded", receipt.succeeded(), true)?;
        let ours = self.call(OWNER, Bridge::getAllValidatorPowersCall {}.abi_encode()).await?;
        step.outcome()?.check_call(ours, |ours, recorded| same("validators", returned_entries(&ours)?, entries(recorded)?))?;
        let ours = self.call(OWNER, Bridge::totalValidatorPowerCall {}.abi_encode()).await?;
        same("total", ours, Ok(Bytes::from(total.to_be_bytes::<32>())))
    }

    async fn relay(&mut self, step: &Step) -> anyhow::Result<()> {
        let proof = step.proof()?;
        let call = Bytes::from(Bridge::relayAndVerifyCall { proof: proof.clone() }.abi_encode());
        let receipt = self.chain.execute(OWNER, Some(self.bridge), &call).await?;
        let status = if receipt.succeeded() { "0x1" } else { "0x0" };
        same("receipt", status, step.receipt.as_deref().context("no receipt is recorded")?)?;
        let verify = Proof::decode(&proof)?.verify;
        // The height is named in the sentence.
        let (_, rest) = step.step.split_once("blockDetails(").context("no height is named")?;
        let height: U256 = rest.split(')').next().unwrap_or_default().parse()?;
        same("height", height, verify.block_height)?;
        let data = Bridge::blockDetailsCall { height }.abi_encode();
        let ours = self.call(OWNER, data).await?.map_err(|data| anyhow::anyhow!("blockDetails reverts with {data}"))?;
        let ours = Bridge::blockDetailsCall::abi_decode_returns_validate(&ours)?;
        let (root, second, nano) = step.block_details.as_ref().context("no details are recorded")?;
        let recorded = (hash(root)?, second.u64()?, nano.u32()?);
        same("details", (ours.oracleState, ours.timeSecond, ours.timeNanoSecondFraction), recorded)?;
        self.verify = Some(verify);
        Ok(())
    }

    async fn relay_again(&self, step: &Step) -> anyhow::Result<()> {
        let proof = step.proof()?;
        let ours = self.call(OWNER, Bridge::relayAndVerifyCall { proof: proof.clone() }.abi_encode()).await?;
        let recorded = step.relay_and_verify.as_ref().context("no outcome of relayAndVerify is recorded")?;
        recorded.check_call(ours, check_result).context("relayAndVerify")?;
        let ours = self.call(OWNER, Bridge::verifyOracleResultCall { proof }.abi_encode()).await?;
        let recorded = step.verify_oracle_result.as_ref().context("no outcome of verifyOracleResult is recorded")?;
        recorded.check_call(ours, check_result).context("verifyOracleResult")
    }

    /// The result that was proven, at a height that was not relayed.
    async fn verify_unknown(&self, step: &Step) -> anyhow::Result<()> {
        let verify = self.verify.as_ref().context("no proof was relayed before")?;
        let result = &verify.result;
        let result = IBridge::Result {
            clientID: String::from_utf8(result.client_id.to_vec())?,
            oracleScriptID: result.oracle_script_id,
            params: result.calldata.clone(),
            askCount: result.ask_count,
            minCount: result.min_count,
            requestID: result.request_id,
            ansCount: result.ans_count,
            requestTime: result.request_time,
            resolveTime: result.resolve_time,
            resolveStatus: u8::try_from(result.resolve_status as i32)?,
            result: result.result.clone(),
        };
        let path = verify.path.iter().map(|step| IAVL::Step {
            isDataOnRight: step.is_data_on_right,
            subtreeHeight: step.subtree_height,
            subtreeSize: step.subtree_size,
            subtreeVersion: step.subtree_version,
            siblingHash: step.sibling_hash,
        });
        let call = |height: U256| {
            let (result, merkle_paths) = (result.clone(), path.clone().collect());
            Bridge::verifyOracleDataCall { blockHeight: height, result, version: verify.version, merklePaths: merkle_paths }
        };
        let known = self.call(OWNER, call(verify.block_height).abi_encode()).await?;
        ensure!(known.is_ok(), "at the height that was relayed it is refused as well");
        let ours = self.call(OWNER, call(U256::MAX).abi_encode()).await?;
        step.outcome()?.check_call(ours, check_result)
    }
}

fn update_call(changes: Vec<(Address, U256)>, total: U256) -> Bytes {
    let validators = changes.into_iter().map(|(addr, power)| ValidatorWithPower { addr, power }).collect();
    Bridge::updateValidatorPowersCall { validators, expectedTotalPower: total }.abi_encode().into()
}

fn changes(step: &Step) -> anyhow::Result<(Vec<(Address, U256)>, U256)> {
    let (changes, total): (Value, Number) = step.args()?;
    Ok((entries(&changes)?, total.unsigned()?))
}

fn entries(recorded: &Value) -> anyhow::Result<Vec<(Address, U256)>> {
    let entries: Vec<Entry> = serde_json::from_value(recorded.clone())?;
    entries.iter().map(|(account, power)| Ok((address(account)?, power.unsigned()?))).collect()
}

fn returned_entries(data: &Bytes) -> anyhow::Result<Vec<(Address, U256)>> {
    let entries = Bridge::getAllValidatorPowersCall::abi_decode_returns_validate(data)?;
    Ok(entries.into_iter().map(|entry| (entry.addr, entry.power)).collect())
}
