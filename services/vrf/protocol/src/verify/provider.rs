//! The provider's checks, in its order.

use alloy_primitives::{Address, B256};

use super::{Relayed, Verifier};
use crate::Refusal;
use crate::obi::{Calldata, ResultV1, ResultV2};
use crate::oracle_result::{OracleResult, ResolveStatus};
use crate::refusal::reason;
use crate::task::{ProviderSettings, Task};

/// What the provider looks at before it asks the Bridge.
///
/// # Errors
/// The provider's reason.
pub fn check_task(task: &Task) -> Result<(), Refusal> {
    require(task.exists(), reason::TASK_NOT_FOUND)?;
    require(!task.is_resolved, reason::TASK_RESOLVED)
}

/// What a V1 provider looks at after the Bridge has verified the result: what it stores.
///
/// # Errors
/// The provider's reason.
pub fn check_relay_v1(
    task: &Task,
    settings: &ProviderSettings,
    sender: Address,
    result: &OracleResult,
) -> Result<ResultV1, Refusal> {
    require(result.oracle_script_id == settings.oracle_script_id, reason::ORACLE_SCRIPT)?;
    require(result.min_count == u64::from(settings.min_count), reason::MIN_COUNT)?;
    require(result.ask_count == u64::from(settings.ask_count), reason::ASK_COUNT)?;
    check_request(task, sender, result)?;
    ResultV1::decode(&result.result)
}

/// What a V2 provider looks at after the Bridge has verified the result: the word it stores.
///
/// # Errors
/// The provider's reason.
pub fn check_relay_v2(task: &Task, settings: &ProviderSettings, sender: Address, result: &OracleResult) -> Result<B256, Refusal> {
    require(result.oracle_script_id == settings.oracle_script_id, reason::ORACLE_SCRIPT)?;
    check_request(task, sender, result)?;
    ResultV2::decode(&result.result).map(|result| result.word())
}

fn check_request(task: &Task, sender: Address, result: &OracleResult) -> Result<(), Refusal> {
    require(result.resolve_status == ResolveStatus::Success, reason::NOT_RESOLVED)?;
    let request = Calldata::decode(&result.calldata)?;
    require(request.worker == sender, reason::SENDER)?;
    require(request.seed == task.seed, reason::SEED)?;
    require(request.time == task.time, reason::TIME)
}

/// `relayProof(proof, taskNonce)` of a V1 provider up to the callback: the result, what is stored of it, and the block that is
/// relayed on the way.
///
/// # Errors
/// The provider's or the Bridge's reason.
pub fn relay_proof_v1(
    task: &Task,
    settings: &ProviderSettings,
    sender: Address,
    proof: &[u8],
    verifier: &mut Verifier<'_>,
) -> Result<(Relayed<OracleResult>, ResultV1), Refusal> {
    check_task(task)?;
    let relayed = verifier.relay_and_verify(proof)?;
    let stored = check_relay_v1(task, settings, sender, &relayed.value)?;
    Ok((relayed, stored))
}

/// `relayProof(proof, taskNonce)` of a V2 provider up to the callback: the result and the word that is stored.
///
/// # Errors
/// The provider's or the Bridge's reason.
pub fn relay_proof_v2(
    task: &Task,
    settings: &ProviderSettings,
    sender: Address,
    proof: &[u8],
    verifier: &mut Verifier<'_>,
) -> Result<(OracleResult, B256), Refusal> {
    check_task(task)?;
    let result = verifier.oracle_result(proof)?;
    let stored = check_relay_v2(task, settings, sender, &result)?;
    Ok((result, stored))
}

fn require(condition: bool, text: &'static str) -> Result<(), Refusal> {
    if condition { Ok(()) } else { Err(Refusal::Revert(text)) }
}
