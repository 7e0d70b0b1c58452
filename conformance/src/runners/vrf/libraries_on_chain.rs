//! The files about bytes once more: what the libraries of our contracts make of the same inputs on a chain.

use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_sol_types::SolCall;
use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;
use windlass_chain::CallRequest;
use windlass_contracts::init_code;
use windlass_contracts::test::VRFLibraries;
use windlass_contracts::test::vrf_libraries::IBridge;
use windlass_contracts::vrf::VRFProviderV2;

use super::super::{bytes, same};
use super::common::{Number, Outcome, address, hash};
use super::stage::OWNER;
use crate::{Bench, Chain, Sheet};

/// The cases of a document. The other runner of the file has refused unknown fields.
#[derive(Deserialize)]
struct Document {
    name: String,
    cases: Vec<Value>,
}

/// Cases of `utils` and `obi`.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Kind {
    VarintUnsigned {
        value: Number,
        contract: Outcome,
    },
    VarintSigned {
        value: Number,
        contract: Outcome,
    },
    EncodeTime {
        second: Number,
        nanosecond: Number,
        contract: Outcome,
    },
    MerkleLeaf {
        value: String,
        contract: Outcome,
    },
    MerkleInner {
        left: String,
        right: String,
        contract: Outcome,
    },
    #[serde(alias = "calldata_invalid")]
    Calldata {
        encoded: String,
        contract_decode: Outcome,
    },
    #[serde(alias = "result_v1_invalid")]
    ResultV1 {
        encoded: String,
        contract_decode: Outcome,
    },
    #[serde(alias = "result_v2_invalid")]
    ResultV2 {
        encoded: String,
        contract_decode: Outcome,
    },
    Generic {},
}

#[derive(Deserialize)]
struct Seed {
    time: Number,
    caller: String,
    block_hash: String,
    chain_id: Number,
    nonce: Number,
    client_seed: String,
    seed: String,
}

#[derive(Deserialize)]
struct Codec {
    result: Stored,
    encoded: String,
}

#[derive(Deserialize)]
struct Stored {
    client_id: String,
    oracle_script_id: Number,
    calldata: String,
    ask_count: Number,
    min_count: Number,
    request_id: Number,
    ans_count: Number,
    request_time: Number,
    resolve_time: Number,
    resolve_status: Number,
    result: String,
}

/// A contract and the chain it is on.
struct Libraries<'a> {
    chain: &'a Chain,
    contract: Address,
}

/// Checks a document of one of the files `obi`, `result_codec`, `seed` and `utils`.
pub(crate) async fn run(bench: &Bench, json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document: Document = serde_json::from_value(json)?;
    let chain = bench.chain().await?;
    let code = if document.name == "seed" {
        let arguments = VRFProviderV2::constructorCall { _oracleScriptID: 1, _bridge: OWNER, _minimumFee: Default::default() };
        init_code(&VRFProviderV2::BYTECODE, &arguments)
    } else {
        VRFLibraries::BYTECODE.clone()
    };
    let libraries = Libraries { chain, contract: chain.create(OWNER, &code).await? };
    for (number, case) in document.cases.iter().enumerate() {
        let result = match document.name.as_str() {
            "seed" => libraries.seed(Seed::deserialize(case)?).await,
            "result_codec" => libraries.result_codec(Codec::deserialize(case)?).await,
            "utils" | "obi" => match Kind::deserialize(case)? {
                // Generic schemas are no matter of the contracts.
                Kind::Generic {} => continue,
                kind => libraries.kind(kind).await,
            },
            other => bail!("the file {other} is not about a library"),
        };
        sheet.case(&format!("{number} (on chain)"), result);
    }
    Ok(())
}

impl Libraries<'_> {
    async fn call(&self, call: impl SolCall) -> anyhow::Result<Result<Bytes, Bytes>> {
        self.chain.simulate(CallRequest::new(self.contract, call.abi_encode())).await
    }

    async fn kind(&self, kind: Kind) -> anyhow::Result<()> {
        match kind {
            Kind::VarintUnsigned { value, contract } => {
                let ours = self.call(VRFLibraries::varintUnsignedCall { value: value.unsigned()? }).await?;
                contract.check_call(ours, check_bytes)
            }
            Kind::VarintSigned { value, contract } => {
                let ours = self.call(VRFLibraries::varintSignedCall { value: value.unsigned()? }).await?;
                contract.check_call(ours, check_bytes)
            }
            Kind::EncodeTime { second, nanosecond, contract } => {
                let call = VRFLibraries::encodeTimeCall { second: second.u64()?, nanoSecond: nanosecond.u32()? };
                contract.check_call(self.call(call).await?, check_bytes)
            }
            Kind::MerkleLeaf { value, contract } => {
                contract.check_call(self.call(VRFLibraries::merkleLeafCall { item: bytes(&value)? }).await?, check_word)
            }
            Kind::MerkleInner { left, right, contract } => {
                let call = VRFLibraries::merkleInnerCall { left: hash(&left)?, right: hash(&right)? };
                contract.check_call(self.call(call).await?, check_word)
            }
            Kind::Calldata { encoded, contract_decode } => {
                let ours = self.call(VRFLibraries::decodeParamsCall { params: bytes(&encoded)? }).await?;
                contract_decode.check_call(ours, check_params)
            }
            Kind::ResultV1 { encoded, contract_decode } => {
                let ours = self.call(VRFLibraries::decodeResultV1Call { encoded: bytes(&encoded)? }).await?;
                contract_decode.check_call(ours, check_result_v1)
            }
            Kind::ResultV2 { encoded, contract_decode } => {
                let ours = self.call(VRFLibraries::decodeResultV2Call { encoded: bytes(&encoded)? }).await?;
                contract_decode.check_call(ours, check_word)
            }
            Kind::Generic {} => Ok(()),
        }
    }

    async fn seed(&self, case: Seed) -> anyhow::Result<()> {
        let call = VRFProviderV2::getSeedCall {
            time: case.time.u64()?,
            caller: address(&case.caller)?,
            blockHash: hash(&case.block_hash)?,
            chainID: case.chain_id.unsigned()?,
            nonce: case.nonce.unsigned()?,
            clientSeed: case.client_seed,
        };
        let ours = self.call(call).await?.map_err(|data| anyhow::anyhow!("getSeed reverts with {data}"))?;
        same("seed", B256::try_from(ours.as_ref())?, hash(&case.seed)?)
    }

    async fn result_codec(&self, case: Codec) -> anyhow::Result<()> {
        let stored = case.result;
        let result = IBridge::Result {
            clientID: stored.client_id,
            oracleScriptID: stored.oracle_script_id.u64()?,
            params: bytes(&stored.calldata)?,
            askCount: stored.ask_count.u64()?,
            minCount: stored.min_count.u64()?,
            requestID: stored.request_id.u64()?,
            ansCount: stored.ans_count.u64()?,
            requestTime: stored.request_time.u64()?,
            resolveTime: stored.resolve_time.u64()?,
            resolveStatus: stored.resolve_status.u8()?,
            result: bytes(&stored.result)?,
        };
        let ours = self.call(VRFLibraries::encodeResultCall { result }).await?;
        let ours = ours.map_err(|data| anyhow::anyhow!("encodeResult reverts with {data}"))?;
        same("encoding", VRFLibraries::encodeResultCall::abi_decode_returns_validate(&ours)?, bytes(&case.encoded)?)
    }
}

fn text(recorded: &Value) -> anyhow::Result<&str> {
    recorded.as_str().with_context(|| format!("{recorded} is no text"))
}

fn check_bytes(ours: Bytes, recorded: &Value) -> anyhow::Result<()> {
    same("value", VRFLibraries::varintUnsignedCall::abi_decode_returns_validate(&ours)?, bytes(text(recorded)?)?)
}

fn check_word(ours: Bytes, recorded: &Value) -> anyhow::Result<()> {
    same("value", B256::try_from(ours.as_ref())?, hash(text(recorded)?)?)
}

/// Time, worker, seed.
fn check_params(ours: Bytes, recorded: &Value) -> anyhow::Result<()> {
    let ours = VRFLibraries::decodeParamsCall::abi_decode_returns_validate(&ours)?;
    let (time, worker, seed) = <(Number, String, String)>::deserialize(recorded)?;
    same("value", (ours.time, ours.worker, ours.seed), (time.u64()?, address(&worker)?, hash(&seed)?))
}

/// Proof, result, and the hash of the result.
fn check_result_v1(ours: Bytes, recorded: &Value) -> anyhow::Result<()> {
    let ours = VRFLibraries::decodeResultV1Call::abi_decode_returns_validate(&ours)?;
    let (proof, result, result_hash) = <(String, String, String)>::deserialize(recorded)?;
    let result_of_ours = keccak256(&ours.result);
    same("value", (ours.proof, ours.result, result_of_ours), (bytes(&proof)?, bytes(&result)?, hash(&result_hash)?))
}
