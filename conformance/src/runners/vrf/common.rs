//! What all files share: the frame of a document, figures, outcomes of a contract.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, I256, U256};
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use windlass_chain::{RevertReason, decode_revert};
use windlass_vrf_protocol::Refusal;
use windlass_vrf_protocol::iavl::MerklePath;
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::oracle_result::{OracleResult, ResolveStatus};

use super::super::{bytes, same};

/// The frame of every file. Its texts are for people.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document<T> {
    name: String,
    #[serde(rename = "produced_by")]
    _produced_by: String,
    #[serde(rename = "format")]
    _format: String,
    /// What is checked.
    pub(crate) cases: Vec<T>,
    /// Sets of validators that cases name.
    #[serde(default)]
    pub(crate) validator_sets: BTreeMap<String, Vec<Validator>>,
}

/// Reads a document of this name. Unknown and missing fields are errors.
pub(crate) fn document<T: DeserializeOwned>(document: Value, name: &str) -> anyhow::Result<Document<T>> {
    let document: Document<T> = serde_json::from_value(document)?;
    ensure!(document.name == name, "the name is {:?}, the runner knows {name:?}", document.name);
    Ok(document)
}

/// An integer: a JSON number, or decimal digits beyond 2^53.
#[derive(Deserialize, Clone, Debug)]
#[serde(untagged)]
pub(crate) enum Number {
    Figure(serde_json::Number),
    Text(String),
}

impl Number {
    fn text(&self) -> String {
        match self {
            Self::Figure(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }

    /// As it stands, for decimal fractions.
    pub(crate) fn decimal(&self) -> String {
        self.text()
    }

    pub(crate) fn unsigned(&self) -> anyhow::Result<U256> {
        super::super::amount(&self.text())
    }

    pub(crate) fn signed(&self) -> anyhow::Result<I256> {
        let text = self.text();
        text.parse().with_context(|| format!("{text:?} is no integer of 256 bits"))
    }

    pub(crate) fn u64(&self) -> anyhow::Result<u64> {
        let number = self.unsigned()?;
        u64::try_from(number).with_context(|| format!("{number} does not fit 64 bits"))
    }

    pub(crate) fn u32(&self) -> anyhow::Result<u32> {
        let number = self.unsigned()?;
        u32::try_from(number).with_context(|| format!("{number} does not fit 32 bits"))
    }

    pub(crate) fn u8(&self) -> anyhow::Result<u8> {
        let number = self.unsigned()?;
        u8::try_from(number).with_context(|| format!("{number} does not fit 8 bits"))
    }
}

/// 32 recorded bytes.
pub(crate) fn hash(text: &str) -> anyhow::Result<B256> {
    B256::try_from(bytes(text)?.as_ref()).with_context(|| format!("{text:?} has not 32 bytes"))
}

/// A recorded address. In mixed case its checksum must be right.
pub(crate) fn address(text: &str) -> anyhow::Result<Address> {
    let address = Address::try_from(bytes(text)?.as_ref()).with_context(|| format!("{text:?} has not 20 bytes"))?;
    let digits = text.trim_start_matches("0x");
    let mixed = digits.bytes().any(|b| b.is_ascii_lowercase()) && digits.bytes().any(|b| b.is_ascii_uppercase());
    ensure!(!mixed || address.to_checksum(None) == text, "{text:?} has a wrong checksum");
    Ok(address)
}

/// A recorded layout.
pub(crate) fn layout(text: &str) -> anyhow::Result<Layout> {
    Layout::ALL.into_iter().find(|layout| layout.name() == text).with_context(|| format!("the layout {text:?} is not known"))
}

/// A validator of the Bridge.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Validator {
    pub(crate) address: String,
    pub(crate) power: Number,
}

/// What a contract answered.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outcome {
    ok: bool,
    value: Option<Value>,
    result: Option<Value>,
    revert: Option<Revert>,
}

/// How a contract refused.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revert {
    kind: String,
    reason: Option<String>,
    code: Option<u64>,
    data: Option<String>,
    /// Words of the node.
    #[serde(rename = "message")]
    _message: Option<String>,
}

impl Outcome {
    /// Compares our outcome with the recorded one; the success is compared by `check`, which gets the recorded value.
    pub(crate) fn check<T: std::fmt::Debug>(
        &self,
        ours: Result<T, Refusal>,
        check: impl FnOnce(T, &Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let recorded = self.value();
        match (ours, self.ok, recorded, &self.revert) {
            (Ok(ours), true, Some(recorded), None) => check(ours, recorded),
            (Err(ours), false, None, Some(recorded)) => recorded.check(&ours),
            (Ok(ours), false, None, Some(recorded)) => bail!("ours is {ours:?}, recorded is the refusal {recorded:?}"),
            (Err(ours), true, Some(recorded), None) => bail!("ours is the refusal {ours}, recorded is {recorded}"),
            _ => bail!("the record is neither a success with its value nor a refusal: {self:?}"),
        }
    }

    /// The same for a call on a chain, which refuses with revert data.
    pub(crate) fn check_call<T: std::fmt::Debug>(
        &self,
        ours: Result<T, Bytes>,
        check: impl FnOnce(T, &Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let recorded = self.value();
        match (ours, self.ok, recorded, &self.revert) {
            (Ok(ours), true, Some(recorded), None) => check(ours, recorded),
            (Err(ours), false, None, Some(recorded)) => recorded.check_data(&ours),
            (Ok(ours), false, None, Some(recorded)) => bail!("ours is {ours:?}, recorded is the refusal {recorded:?}"),
            (Err(ours), true, Some(recorded), None) => {
                bail!("ours reverts with {ours} ({}), recorded is {recorded}", decode_revert(&ours))
            }
            _ => bail!("the record is neither a success with its value nor a refusal: {self:?}"),
        }
    }

    /// The same for a value that is bytes.
    pub(crate) fn check_bytes(&self, ours: Result<impl AsRef<[u8]>, Refusal>) -> anyhow::Result<()> {
        self.check(ours.map(|ours| Bytes::copy_from_slice(ours.as_ref())), |ours, recorded| {
            same("value", ours, bytes(recorded.as_str().context("the recorded value is no text")?)?)
        })
    }

    /// The same for a result of the oracle.
    pub(crate) fn check_result(&self, ours: Result<OracleResult, Refusal>) -> anyhow::Result<()> {
        self.check(ours, |ours, recorded| same("result", ours, contract_result(recorded)?))
    }

    /// The recorded value or result.
    pub(crate) fn value(&self) -> Option<&Value> {
        self.value.as_ref().or(self.result.as_ref())
    }

    /// Whether the call succeeded.
    pub(crate) fn succeeded(&self) -> bool {
        self.ok
    }
}

impl Revert {
    fn check(&self, ours: &Refusal) -> anyhow::Result<()> {
        self.check_data(&ours.data().into())
    }

    /// Compares revert data with the record, byte by byte, and their meaning with the recorded one.
    pub(crate) fn check_data(&self, ours: &Bytes) -> anyhow::Result<()> {
        let meaning = decode_revert(ours);
        match (self.kind.as_str(), &meaning) {
            ("Error(string)", RevertReason::Error(text)) => {
                same("reason", Some(text.as_str()), self.reason.as_deref())?;
                ensure!(self.code.is_none(), "a reason has no code");
            }
            ("Panic(uint256)", RevertReason::Panic(code)) => {
                same("code", Some(*code), self.code.map(U256::from))?;
                ensure!(self.reason.is_none(), "a panic has no reason");
            }
            ("empty", RevertReason::Empty) => {
                ensure!(self.reason.is_none() && self.code.is_none(), "an empty revert has no reason");
            }
            ("Error(string)" | "Panic(uint256)" | "empty", _) => bail!("ours is {meaning} ({ours}), recorded is {self:?}"),
            (kind, _) => bail!("the kind {kind:?} is not known"),
        }
        let data = self.data.as_deref().map(bytes).transpose()?.unwrap_or_default();
        same("revert data", ours, &data)
    }

    /// The recorded text.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The recorded data.
    pub(crate) fn data(&self) -> anyhow::Result<Bytes> {
        Ok(self.data.as_deref().map(bytes).transpose()?.unwrap_or_default())
    }
}

/// A result as the contract's struct spells it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContractResult {
    #[serde(rename = "clientID")]
    client_id: String,
    #[serde(rename = "oracleScriptID")]
    oracle_script_id: Number,
    params: String,
    #[serde(rename = "askCount")]
    ask_count: Number,
    #[serde(rename = "minCount")]
    min_count: Number,
    #[serde(rename = "requestID")]
    request_id: Number,
    #[serde(rename = "ansCount")]
    ans_count: Number,
    #[serde(rename = "requestTime")]
    request_time: Number,
    #[serde(rename = "resolveTime")]
    resolve_time: Number,
    #[serde(rename = "resolveStatus")]
    resolve_status: Number,
    result: String,
}

/// A recorded result of the contract.
pub(crate) fn contract_result(value: &Value) -> anyhow::Result<OracleResult> {
    let result = ContractResult::deserialize(value)?;
    Ok(OracleResult {
        client_id: result.client_id.into_bytes().into(),
        oracle_script_id: result.oracle_script_id.u64()?,
        calldata: bytes(&result.params)?,
        ask_count: result.ask_count.u64()?,
        min_count: result.min_count.u64()?,
        request_id: result.request_id.u64()?,
        ans_count: result.ans_count.u64()?,
        request_time: result.request_time.u64()?,
        resolve_time: result.resolve_time.u64()?,
        resolve_status: status(&result.resolve_status)?,
        result: bytes(&result.result)?,
    })
}

/// A recorded status by its number.
pub(crate) fn status(number: &Number) -> anyhow::Result<ResolveStatus> {
    ResolveStatus::try_from(i32::from(number.u8()?)).context("the status is not known")
}

/// A step of a path with names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    is_data_on_right: bool,
    subtree_height: Number,
    subtree_size: Number,
    subtree_version: Number,
    sibling_hash: String,
}

impl Step {
    pub(crate) fn read(&self) -> anyhow::Result<MerklePath> {
        Ok(MerklePath {
            is_data_on_right: self.is_data_on_right,
            subtree_height: self.subtree_height.u8()?,
            subtree_size: self.subtree_size.unsigned()?,
            subtree_version: self.subtree_version.unsigned()?,
            sibling_hash: hash(&self.sibling_hash)?,
        })
    }
}

/// Named steps of a path.
pub(crate) fn path(steps: &[Step]) -> anyhow::Result<Vec<MerklePath>> {
    steps.iter().map(Step::read).collect()
}

/// A step of a path as the contract's tuple: side, height, size, version, sibling.
#[derive(Deserialize)]
pub(crate) struct TupleStep(bool, Number, Number, Number, String);

/// Compares a path with recorded tuples.
pub(crate) fn check_path(ours: &[MerklePath], recorded: &[TupleStep]) -> anyhow::Result<()> {
    let recorded = recorded.iter().map(|TupleStep(right, height, size, version, sibling)| {
        Ok(MerklePath {
            is_data_on_right: *right,
            subtree_height: height.u8()?,
            subtree_size: size.unsigned()?,
            subtree_version: version.unsigned()?,
            sibling_hash: hash(sibling)?,
        })
    });
    same("path", ours, recorded.collect::<anyhow::Result<Vec<_>>>()?.as_slice())
}
