//! `bridge_proofs` and `bridge_real_proofs` once more: the same proofs, judged by our contracts on a chain.
//!
//! Nothing is sent: each call starts from a Bridge that has relayed nothing.

use std::collections::BTreeMap;

use alloy_primitives::{Address, Bytes};
use alloy_sol_types::SolCall;
use anyhow::{Context, bail};
use futures::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::Value;
use windlass_chain::CallRequest;
use windlass_contracts::vrf::Bridge;
use windlass_contracts::vrf::bridge::IBridge;
use windlass_vrf_protocol::oracle_result::{OracleResult, ResolveStatus};
use windlass_vrf_protocol::vote::EncodedChainId;

use super::super::{bytes, same};
use super::common::{Number, Outcome, Validator, contract_result, layout};
use super::stage;
use super::trim_proof::validators;
use crate::{Bench, Chain, Sheet};

/// Calls at a time.
const AT_A_TIME: usize = 4;

/// The fields that matter here; the other runner of the file has refused unknown ones.
#[derive(Deserialize)]
struct Document {
    cases: Vec<Case>,
    #[serde(default)]
    validator_sets: BTreeMap<String, Vec<Validator>>,
}

#[derive(Deserialize)]
struct Case {
    note: String,
    layout: String,
    encoded_chain_id: String,
    validators: Option<Vec<Validator>>,
    validator_set: Option<String>,
    proof: String,
    #[serde(rename = "verifyOracleResult")]
    verify_oracle_result: Option<Outcome>,
    #[serde(rename = "relayAndVerify")]
    relay_and_verify: Option<Outcome>,
    #[serde(rename = "relayAndMultiVerify")]
    relay_and_multi_verify: Option<Outcome>,
    #[serde(rename = "relayAndVerifyCount")]
    relay_and_verify_count: Option<Outcome>,
}

/// Checks the document.
pub(crate) async fn run(bench: &Bench, json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document: Document = serde_json::from_value(json)?;
    let chain = bench.chain().await?;
    // One Bridge for all cases with the same layout, validators and chain id.
    let mut bridges: BTreeMap<String, Address> = BTreeMap::new();
    let mut cases = Vec::new();
    for (number, case) in document.cases.into_iter().enumerate() {
        let bridge = bridge(chain, &document.validator_sets, &case, &mut bridges).await;
        cases.push((format!("{number} {} {} (on chain)", case.layout, case.note), case, bridge));
    }
    let checks = stream::iter(cases).map(|(name, case, bridge)| async move {
        let result = match bridge {
            Ok(bridge) => check(chain, bridge, &case).await,
            Err(fault) => Err(fault),
        };
        (name, result)
    });
    for (name, result) in checks.buffered(AT_A_TIME).collect::<Vec<_>>().await {
        sheet.case(&name, result);
    }
    Ok(())
}

async fn bridge(
    chain: &Chain,
    sets: &BTreeMap<String, Vec<Validator>>,
    case: &Case,
    made: &mut BTreeMap<String, Address>,
) -> anyhow::Result<Address> {
    let list = match (&case.validators, &case.validator_set) {
        (Some(list), None) => list,
        (None, Some(name)) => sets.get(name).with_context(|| format!("there is no set {name}"))?,
        _ => bail!("there must be either validators or a set"),
    };
    let (layout, validators) = (layout(&case.layout)?, validators(list)?);
    let chain_id = EncodedChainId(bytes(&case.encoded_chain_id)?);
    let key = format!("{layout:?} {chain_id:?} {:?}", validators.iter().collect::<Vec<_>>());
    if let Some(bridge) = made.get(&key) {
        return Ok(*bridge);
    }
    let bridge = stage::make_bridge(chain, layout, &validators, &chain_id).await?;
    made.insert(key, bridge);
    Ok(bridge)
}

async fn check(chain: &Chain, bridge: Address, case: &Case) -> anyhow::Result<()> {
    let proof = bytes(&case.proof)?;
    let call = async |data: Vec<u8>| chain.simulate(CallRequest::new(bridge, data)).await;
    if let Some(recorded) = &case.verify_oracle_result {
        let ours = call(Bridge::verifyOracleResultCall { proof: proof.clone() }.abi_encode()).await?;
        recorded.check_call(ours, check_result).context("verifyOracleResult")?;
    }
    if let Some(recorded) = &case.relay_and_verify {
        let ours = call(Bridge::relayAndVerifyCall { proof: proof.clone() }.abi_encode()).await?;
        recorded.check_call(ours, check_result).context("relayAndVerify")?;
    }
    if let Some(recorded) = &case.relay_and_multi_verify {
        let ours = call(Bridge::relayAndMultiVerifyCall { proof: proof.clone() }.abi_encode()).await?;
        let check = recorded.check_call(ours, |ours, recorded| {
            let ours = Bridge::relayAndMultiVerifyCall::abi_decode_returns_validate(&ours)?;
            let ours = ours.into_iter().map(oracle_result).collect::<anyhow::Result<Vec<_>>>()?;
            let recorded = recorded.as_array().context("the results are no list")?;
            same("results", ours, recorded.iter().map(contract_result).collect::<anyhow::Result<Vec<_>>>()?)
        });
        check.context("relayAndMultiVerify")?;
    }
    if let Some(recorded) = &case.relay_and_verify_count {
        let ours = call(Bridge::relayAndVerifyCountCall { proof }.abi_encode()).await?;
        let check = recorded.check_call(ours, |ours, recorded| {
            let ours = Bridge::relayAndVerifyCountCall::abi_decode_returns_validate(&ours)?;
            let (time, count) = <(Number, Number)>::deserialize(recorded)?;
            same("time and count", (ours._0, ours._1), (time.u64()?, count.u64()?))
        });
        check.context("relayAndVerifyCount")?;
    }
    Ok(())
}

/// Compares a returned result with the recorded one.
pub(super) fn check_result(ours: Bytes, recorded: &Value) -> anyhow::Result<()> {
    let ours = oracle_result(Bridge::verifyOracleResultCall::abi_decode_returns_validate(&ours)?)?;
    same("result", ours, contract_result(recorded)?)
}

/// A result in the words of the protocol.
fn oracle_result(result: IBridge::Result) -> anyhow::Result<OracleResult> {
    Ok(OracleResult {
        client_id: result.clientID.into_bytes().into(),
        oracle_script_id: result.oracleScriptID,
        calldata: result.params,
        ask_count: result.askCount,
        min_count: result.minCount,
        request_id: result.requestID,
        ans_count: result.ansCount,
        request_time: result.requestTime,
        resolve_time: result.resolveTime,
        resolve_status: ResolveStatus::try_from(i32::from(result.resolveStatus)).context("the status is not known")?,
        result: result.result,
    })
}
