//! `verify-proof`: judges a proof as the Bridge would.

mod input;
mod report;

use std::io::Write as _;
use std::path::Path;

use windlass_chain::{BlockTag, CallRequest, ChainError, Endpoints};

use alloy_primitives::{Address, Bytes};
use alloy_sol_types::SolCall as _;
use windlass_contracts::vrf::Bridge;

use super::commands::VerifyArgs;
use super::failure::{FAILURE, Failure};
use super::output::Output;
use super::run::Handles;
use crate::ports::client_chain::BridgeState;
use crate::protocol::proof::{RawProof, RelayPart};
use crate::protocol::task::ProviderVersion;
use crate::protocol::validators::ValidatorSet;
use crate::protocol::vote::EncodedChainId;
use crate::service::provider_reader;

pub(super) use input::read_validators;
use report::{ChainVerdict, Report};

pub(super) async fn verify(handles: &dyn Handles, arguments: &VerifyArgs, output: &mut Output<'_>) -> Result<u8, Failure> {
    let proof = input::read_proof(&arguments.file)?;
    let layout = arguments.layout.map(Into::into);
    let report = match (&arguments.validators, &arguments.chain_id) {
        (Some(file), Some(chain_id)) => {
            let validators = ValidatorSet::new(read_validators(file)?)
                .map_err(|fault| Failure::usage(format!("{}: {fault}", file.display())))?;
            let bridge = BridgeState::new(validators, EncodedChainId::new(chain_id));
            Report::new(&proof, &bridge, layout, None)
        }
        _ => {
            let (bridge, chain) = ask(handles, arguments, &proof).await?;
            Report::new(&proof, &bridge, layout, Some(chain))
        }
    };
    if let (Some(path), Some(trimmed)) = (&arguments.trimmed, &report.trimmed_bytes) {
        write_new(path, trimmed)?;
        output.remark(format_args!("wrote {}", path.display()));
    }
    let accepted = report.accepted;
    output.result(&report, report::render);
    Ok(if accepted { 0 } else { FAILURE })
}

/// The state of the section's Bridge, and what the Bridge itself says of the proof.
async fn ask(handles: &dyn Handles, arguments: &VerifyArgs, proof: &Bytes) -> Result<(BridgeState, ChainVerdict), Failure> {
    let (_, config) = handles.section(arguments.relay.relay.as_deref()).await?;
    let endpoints = handles.chain(&config.chain).await?;
    let reader = provider_reader(endpoints.clone(), &config);
    let head = endpoints.head().await?;
    let settings = reader.settings(&head).await?;
    let mut state = reader.bridge_state(settings.bridge, &head).await?;
    // What the Bridge has relayed already it does not look at again.
    if let Some(height) = height_of(proof) {
        let detail = reader.relayed_block(settings.bridge, height, &head).await?;
        state.record((!detail.oracle_state.is_zero()).then_some((height, detail)));
    }
    let verdict = call(&endpoints, settings.bridge, settings.version, proof).await?;
    Ok((state, verdict))
}

fn height_of(proof: &[u8]) -> Option<u64> {
    let raw = RawProof::decode(proof).ok()?;
    RelayPart::decode(raw.relay).ok().map(|relay| relay.merkle_parts.height)
}

/// Runs the method that the provider would call, without a transaction.
async fn call(endpoints: &Endpoints, bridge: Address, version: ProviderVersion, proof: &Bytes) -> Result<ChainVerdict, Failure> {
    let (method, data) = match version {
        ProviderVersion::V1 => ("relayAndVerify", Bridge::relayAndVerifyCall { proof: proof.clone() }.abi_encode()),
        ProviderVersion::V2 => ("verifyOracleResult", Bridge::verifyOracleResultCall { proof: proof.clone() }.abi_encode()),
    };
    let request = CallRequest::new(bridge, data);
    let refusal = match endpoints.call_request(&request, BlockTag::Latest).await {
        Ok(_) => None,
        Err(ChainError::Reverted { reason, .. }) => Some(reason.to_string()),
        Err(error) => return Err(error.into()),
    };
    Ok(ChainVerdict { bridge, method, accepted: refusal.is_none(), refusal })
}

fn write_new(path: &Path, bytes: &Bytes) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    let created = options.write(true).create_new(true).open(path).and_then(|mut file| writeln!(file, "{bytes}"));
    created.map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))
}
