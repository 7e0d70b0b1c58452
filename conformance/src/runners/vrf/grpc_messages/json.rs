//! Messages in the JSON form of proto3: names in camel case, 64-bit integers as text, bytes in base64, defaults left out.

use anyhow::{Context, ensure};
use base64::Engine;
use serde_json::{Map, Value, json};
use windlass_vrf_protocol::messages::oracle::{ResolveStatus, Result as OracleResult};
use windlass_vrf_protocol::messages::proof::{
    BlockHeaderMerkleParts, BlockRelayProof, CommonEncodedVotePart, CountProof, CountProofResult, IavlMerklePath, MultiProof,
    MultiProofRequest, MultiProofResponse, MultiProofResult, MultiStoreProof, OracleDataProof, ProofRequest, ProofResponse,
    RequestCountProofRequest, RequestCountProofResponse, RequestsCountProof, SingleProof, SingleProofResult, TmSignature,
};
use windlass_vrf_protocol::messages::tendermint::{
    Block, BlockId, Commit, CommitSig, Consensus, Data, GetBlockByHeightRequest, GetBlockByHeightResponse, GetLatestBlockRequest,
    GetLatestBlockResponse, Header, PartSetHeader,
};
use windlass_vrf_protocol::messages::tx::{
    AbciMessageLog, Attribute, AuthInfo, BroadcastMode, BroadcastTxRequest, BroadcastTxResponse, Event, EventAttribute, Fee,
    GasInfo, GetTxRequest, GetTxResponse, ModeInfo, SignerInfo, SimulateRequest, SimulateResponse, SimulationResult, StringEvent,
    Tx, TxBody, TxResponse,
};
use windlass_vrf_protocol::messages::{Any, Coin, Timestamp, auth};

/// A message in JSON.
pub(super) trait ToJson {
    fn to_json(&self) -> anyhow::Result<Value>;
}

/// The fields of a message, defaults left out.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(mut self, name: &str, value: Value) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    fn long(self, name: &str, value: impl Into<i128>) -> Self {
        let value = value.into();
        if value == 0 { self } else { self.put(name, json!(value.to_string())) }
    }

    fn short(self, name: &str, value: impl Into<i64>) -> Self {
        let value = value.into();
        if value == 0 { self } else { self.put(name, json!(value)) }
    }

    fn flag(self, name: &str, value: bool) -> Self {
        if value { self.put(name, json!(true)) } else { self }
    }

    fn text(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.put(name, json!(value)) }
    }

    fn bytes(self, name: &str, value: &[u8]) -> Self {
        if value.is_empty() { self } else { self.put(name, base64(value)) }
    }

    fn message<M: ToJson>(self, name: &str, value: &Option<M>) -> anyhow::Result<Self> {
        match value {
            Some(message) => Ok(self.put(name, message.to_json()?)),
            None => Ok(self),
        }
    }

    fn list<M: ToJson>(self, name: &str, values: &[M]) -> anyhow::Result<Self> {
        let values = values.iter().map(ToJson::to_json).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(if values.is_empty() { self } else { self.put(name, Value::Array(values)) })
    }

    fn bytes_list(self, name: &str, values: &[Vec<u8>]) -> Self {
        if values.is_empty() { self } else { self.put(name, values.iter().map(|value| base64(value)).collect()) }
    }

    /// A message that nobody looks into must not be there: its fields could not be compared.
    fn opaque(self, name: &str, value: &Option<Vec<u8>>) -> anyhow::Result<Self> {
        ensure!(value.is_none(), "the field {name} is not known in detail");
        Ok(self)
    }

    fn done(self) -> anyhow::Result<Value> {
        Ok(Value::Object(self.0))
    }
}

fn base64(bytes: &[u8]) -> Value {
    json!(base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// Implements [`ToJson`] by a chain of fields.
macro_rules! to_json {
    ($($message:ty: |$self:ident| $fields:expr;)*) => {
        $(impl ToJson for $message {
            fn to_json(&self) -> anyhow::Result<Value> {
                let $self = self;
                $fields.done()
            }
        })*
    };
}

fn fields() -> Fields {
    Fields::default()
}

to_json! {
    ProofRequest: |m| fields().long("requestId", m.request_id).long("height", m.height);
    ProofResponse: |m| fields().long("height", m.height).message("result", &m.result)?;
    MultiProofRequest: |m| {
        let ids: Vec<Value> = m.request_ids.iter().map(|id| json!(id.to_string())).collect();
        if ids.is_empty() { fields() } else { fields().put("requestIds", Value::Array(ids)) }
    };
    MultiProofResponse: |m| fields().long("height", m.height).message("result", &m.result)?;
    RequestCountProofRequest: |_m| fields();
    RequestCountProofResponse: |m| fields().long("height", m.height).message("result", &m.result)?;
    SingleProofResult: |m| fields().message("proof", &m.proof)?.bytes("evmProofBytes", &m.evm_proof_bytes);
    MultiProofResult: |m| fields().message("proof", &m.proof)?.bytes("evmProofBytes", &m.evm_proof_bytes);
    CountProofResult: |m| fields().message("proof", &m.proof)?.bytes("evmProofBytes", &m.evm_proof_bytes);
    SingleProof: |m| fields()
        .long("blockHeight", m.block_height)
        .message("oracleDataProof", &m.oracle_data_proof)?
        .message("blockRelayProof", &m.block_relay_proof)?;
    MultiProof: |m| fields()
        .long("blockHeight", m.block_height)
        .list("oracleDataMultiProof", &m.oracle_data_multi_proof)?
        .message("blockRelayProof", &m.block_relay_proof)?;
    CountProof: |m| fields()
        .long("blockHeight", m.block_height)
        .message("countProof", &m.count_proof)?
        .message("blockRelayProof", &m.block_relay_proof)?;
    OracleDataProof: |m| fields()
        .message("result", &m.result)?
        .long("version", m.version)
        .list("merklePaths", &m.merkle_paths)?;
    RequestsCountProof: |m| fields()
        .long("count", m.count)
        .long("version", m.version)
        .list("merklePaths", &m.merkle_paths)?;
    OracleResult: |m| fields()
        .text("clientId", &m.client_id)
        .long("oracleScriptId", m.oracle_script_id)
        .bytes("calldata", &m.calldata)
        .long("askCount", m.ask_count)
        .long("minCount", m.min_count)
        .long("requestId", m.request_id)
        .long("ansCount", m.ans_count)
        .long("requestTime", m.request_time)
        .long("resolveTime", m.resolve_time)
        .text("resolveStatus", resolve_status(m.resolve_status)?)
        .bytes("result", &m.result);
    IavlMerklePath: |m| fields()
        .flag("isDataOnRight", m.is_data_on_right)
        .short("subtreeHeight", m.subtree_height)
        .long("subtreeSize", m.subtree_size)
        .long("subtreeVersion", m.subtree_version)
        .bytes("siblingHash", &m.sibling_hash);
    BlockRelayProof: |m| fields()
        .message("multiStoreProof", &m.multi_store_proof)?
        .message("blockHeaderMerkleParts", &m.block_header_merkle_parts)?
        .message("commonEncodedVotePart", &m.common_encoded_vote_part)?
        .list("signatures", &m.signatures)?;
    MultiStoreProof: |m| fields()
        .bytes("oracleIavlStateHash", &m.oracle_iavl_state_hash)
        .bytes("mintStoreMerkleHash", &m.mint_store_merkle_hash)
        .bytes("paramsToRestakeStoresMerkleHash", &m.params_to_restake_stores_merkle_hash)
        .bytes("rollingseedToTransferStoresMerkleHash", &m.rollingseed_to_transfer_stores_merkle_hash)
        .bytes("tssToUpgradeStoresMerkleHash", &m.tss_to_upgrade_stores_merkle_hash)
        .bytes("authToIcahostStoresMerkleHash", &m.auth_to_icahost_stores_merkle_hash);
    BlockHeaderMerkleParts: |m| fields()
        .bytes("versionAndChainIdHash", &m.version_and_chain_id_hash)
        .long("height", m.height)
        .long("timeSecond", m.time_second)
        .short("timeNanoSecond", m.time_nano_second)
        .bytes("lastBlockIdAndOther", &m.last_block_id_and_other)
        .bytes("nextValidatorHashAndConsensusHash", &m.next_validator_hash_and_consensus_hash)
        .bytes("lastResultsHash", &m.last_results_hash)
        .bytes("evidenceAndProposerHash", &m.evidence_and_proposer_hash);
    CommonEncodedVotePart: |m| fields()
        .bytes("signedDataPrefix", &m.signed_data_prefix)
        .bytes("signedDataSuffix", &m.signed_data_suffix);
    TmSignature: |m| fields()
        .bytes("r", &m.r)
        .bytes("s", &m.s)
        .short("v", m.v)
        .bytes("encodedTimestamp", &m.encoded_timestamp);

    auth::QueryAccountInfoRequest: |m| fields().text("address", &m.address);
    auth::QueryAccountInfoResponse: |m| fields().message("info", &m.info)?;
    auth::BaseAccount: |m| fields()
        .text("address", &m.address)
        .message("pubKey", &m.pub_key)?
        .long("accountNumber", m.account_number)
        .long("sequence", m.sequence);
    Any: |m| fields().text("typeUrl", &m.type_url).bytes("value", &m.value);
    Coin: |m| fields().text("denom", &m.denom).text("amount", &m.amount);

    GetLatestBlockRequest: |_m| fields();
    GetLatestBlockResponse: |m| fields()
        .message("blockId", &m.block_id)?
        .message("block", &m.block)?
        .opaque("sdkBlock", &m.sdk_block)?;
    GetBlockByHeightRequest: |m| fields().long("height", m.height);
    GetBlockByHeightResponse: |m| fields()
        .message("blockId", &m.block_id)?
        .message("block", &m.block)?
        .opaque("sdkBlock", &m.sdk_block)?;
    BlockId: |m| fields().bytes("hash", &m.hash).message("partSetHeader", &m.part_set_header)?;
    PartSetHeader: |m| fields().short("total", m.total).bytes("hash", &m.hash);
    Block: |m| fields()
        .message("header", &m.header)?
        .message("data", &m.data)?
        .opaque("evidence", &m.evidence)?
        .message("lastCommit", &m.last_commit)?;
    Data: |m| fields().bytes_list("txs", &m.txs);
    Consensus: |m| fields().long("block", m.block).long("app", m.app);
    Header: |m| fields()
        .message("version", &m.version)?
        .text("chainId", &m.chain_id)
        .long("height", m.height)
        .text("time", &time(&m.time)?)
        .message("lastBlockId", &m.last_block_id)?
        .bytes("lastCommitHash", &m.last_commit_hash)
        .bytes("dataHash", &m.data_hash)
        .bytes("validatorsHash", &m.validators_hash)
        .bytes("nextValidatorsHash", &m.next_validators_hash)
        .bytes("consensusHash", &m.consensus_hash)
        .bytes("appHash", &m.app_hash)
        .bytes("lastResultsHash", &m.last_results_hash)
        .bytes("evidenceHash", &m.evidence_hash)
        .bytes("proposerAddress", &m.proposer_address);
    Commit: |m| fields()
        .long("height", m.height)
        .short("round", m.round)
        .message("blockId", &m.block_id)?
        .list("signatures", &m.signatures)?;
    CommitSig: |m| fields()
        .text("blockIdFlag", ["", "ABSENT", "COMMIT", "NIL"].get(usize::try_from(m.block_id_flag)?).context("block id flag")?)
        .bytes("validatorAddress", &m.validator_address)
        .text("timestamp", &time(&m.timestamp)?)
        .bytes("signature", &m.signature);

    BroadcastTxRequest: |m| fields().bytes("txBytes", &m.tx_bytes).text("mode", mode(m.mode)?);
    BroadcastTxResponse: |m| fields().message("txResponse", &m.tx_response)?;
    GetTxRequest: |m| fields().text("hash", &m.hash);
    GetTxResponse: |m| fields().message("tx", &m.tx)?.message("txResponse", &m.tx_response)?;
    SimulateRequest: |m| fields().message("tx", &m.tx)?.bytes("txBytes", &m.tx_bytes);
    SimulateResponse: |m| fields().message("gasInfo", &m.gas_info)?.message("result", &m.result)?;
    GasInfo: |m| fields().long("gasWanted", m.gas_wanted).long("gasUsed", m.gas_used);
    SimulationResult: |m| fields()
        .bytes("data", &m.data)
        .text("log", &m.log)
        .list("events", &m.events)?
        .list("msgResponses", &m.msg_responses)?;
    TxResponse: |m| fields()
        .long("height", m.height)
        .text("txhash", &m.txhash)
        .text("codespace", &m.codespace)
        .short("code", m.code)
        .text("data", &m.data)
        .text("rawLog", &m.raw_log)
        .list("logs", &m.logs)?
        .text("info", &m.info)
        .long("gasWanted", m.gas_wanted)
        .long("gasUsed", m.gas_used)
        .message("tx", &m.tx)?
        .text("timestamp", &m.timestamp)
        .list("events", &m.events)?;
    AbciMessageLog: |m| fields().short("msgIndex", m.msg_index).text("log", &m.log).list("events", &m.events)?;
    StringEvent: |m| fields().text("type", &m.r#type).list("attributes", &m.attributes)?;
    Attribute: |m| fields().text("key", &m.key).text("value", &m.value);
    Event: |m| fields().text("type", &m.r#type).list("attributes", &m.attributes)?;
    EventAttribute: |m| fields().text("key", &m.key).text("value", &m.value).flag("index", m.index);
    Tx: |m| fields()
        .message("body", &m.body)?
        .message("authInfo", &m.auth_info)?
        .bytes_list("signatures", &m.signatures);
    TxBody: |m| fields()
        .list("messages", &m.messages)?
        .text("memo", &m.memo)
        .long("timeoutHeight", m.timeout_height)
        .list("extensionOptions", &m.extension_options)?
        .list("nonCriticalExtensionOptions", &m.non_critical_extension_options)?;
    AuthInfo: |m| fields().list("signerInfos", &m.signer_infos)?.message("fee", &m.fee)?;
    SignerInfo: |m| fields()
        .message("publicKey", &m.public_key)?
        .message("modeInfo", &m.mode_info)?
        .long("sequence", m.sequence);
    ModeInfo: |m| match &m.single {
        Some(single) => {
            ensure!(single.mode == 1, "the sign mode {} is not known", single.mode);
            fields().put("single", json!({ "mode": "DIRECT" })).opaque("multi", &m.multi)?
        }
        None => fields().opaque("multi", &m.multi)?,
    };
    Fee: |m| fields()
        .list("amount", &m.amount)?
        .long("gasLimit", m.gas_limit)
        .text("payer", &m.payer)
        .text("granter", &m.granter);
}

fn resolve_status(number: i32) -> anyhow::Result<&'static str> {
    Ok(match ResolveStatus::try_from(number)? {
        ResolveStatus::Open => "",
        ResolveStatus::Success => "SUCCESS",
        ResolveStatus::Failure => "FAILURE",
        ResolveStatus::Expired => "EXPIRED",
    })
}

fn mode(number: i32) -> anyhow::Result<&'static str> {
    Ok(match BroadcastMode::try_from(number)? {
        BroadcastMode::Unspecified => "",
        BroadcastMode::Block => "BLOCK",
        BroadcastMode::Sync => "SYNC",
        BroadcastMode::Async => "ASYNC",
    })
}

/// RFC 3339 in UTC, the fraction in groups of three digits.
fn time(timestamp: &Option<Timestamp>) -> anyhow::Result<String> {
    let Some(timestamp) = timestamp else {
        return Ok(String::new());
    };
    let (days, second) = (timestamp.seconds.div_euclid(86_400), timestamp.seconds.rem_euclid(86_400));
    // Days since March of the year 0, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let nanos = u32::try_from(timestamp.nanos).context("nanoseconds")?;
    let fraction = match nanos {
        0 => String::new(),
        _ if nanos % 1_000_000 == 0 => format!(".{:03}", nanos / 1_000_000),
        _ if nanos % 1000 == 0 => format!(".{:06}", nanos / 1000),
        _ => format!(".{nanos:09}"),
    };
    Ok(format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, nanos, expected) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_399, 500_000_000, "2000-02-28T23:59:59.500Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (1_700_000_000, 123_456_789, "2023-11-14T22:13:20.123456789Z"),
            (-1, 1000, "1969-12-31T23:59:59.000001Z"),
        ] {
            assert_eq!(time(&Some(Timestamp { seconds, nanos })).unwrap(), expected);
        }
        assert_eq!(time(&None).unwrap(), "");
    }
}
