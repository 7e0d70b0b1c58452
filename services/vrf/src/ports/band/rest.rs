//! A node behind its REST gateway, and the proof route of a public site.

use std::sync::atomic::{AtomicBool, Ordering};

use alloy_primitives::{B256, Bytes};
use async_trait::async_trait;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tonic::Code;
use url::Url;
use windlass_chain::Redactor;
use windlass_vrf_protocol::messages::Any;
use windlass_vrf_protocol::messages::oracle::{self, QueryRequestResponse};
use windlass_vrf_protocol::messages::tendermint::{Header, Validator};
use windlass_vrf_protocol::messages::tx::{Coin, TxResponse};
use windlass_vrf_protocol::tx::MessageType;

use super::convert;
use super::error::BandError;
use super::grpc::{Limits, PAGE, VALIDATORS_MAX, refuses_block_mode};
use super::http::{Http, Reply};
use super::json::{self, Base64, EitherBytes, Int, Time, to_base64};
use super::meter::{Meter, Method};
use super::node::{Kind, Node, NodeExt};
use super::site::{Site, is_unimplemented};
use super::types::{AccountState, BandBlock, BroadcastAnswer, BroadcastMode, GasInfo, RequestState, ServedProof, TxInfo};

const PROOF: &[&str] = &["bandchain", "v1", "oracle", "proof"];
/// The same on chain v2, and on public sites below `/api`.
const OLD_PROOF: &[&str] = &["oracle", "proof"];
const BLOCKS: &[&str] = &["cosmos", "base", "tendermint", "v1beta1", "blocks"];
const VALIDATORS: &[&str] = &["cosmos", "base", "tendermint", "v1beta1", "validatorsets"];
const AUTH: &[&str] = &["cosmos", "auth", "v1beta1"];
const TXS: &[&str] = &["cosmos", "tx", "v1beta1", "txs"];

/// A node behind a REST gateway, or behind a URL that is only the proof route.
pub(super) struct RestNode {
    http: Http,
    proof_only: bool,
    old_account: AtomicBool,
    old_proof: AtomicBool,
    refuses_block_mode: AtomicBool,
}

impl RestNode {
    /// Prepares the connections; nothing is sent yet. A URL whose path ends with `proof` is the proof route itself.
    pub(super) fn new(url: &Url, limits: Limits, meter: Meter) -> Result<Self, String> {
        Ok(Self {
            http: Http::new(url, limits, meter)?,
            proof_only: url.path().trim_end_matches('/').ends_with("/proof"),
            old_account: AtomicBool::new(false),
            old_proof: AtomicBool::new(false),
            refuses_block_mode: AtomicBool::new(false),
        })
    }

    async fn get<T: DeserializeOwned>(
        &self,
        method: Method,
        route: &[&str],
        rest: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, BandError> {
        let path = [route, rest].concat();
        self.http.get(method, &path, query, read_answer).await
    }

    async fn proof_at(&self, route: &[&str], id: u64, height: Option<u64>) -> Result<ServedProof, BandError> {
        let (id_text, height) = (id.to_string(), height.map(|height| height.to_string()));
        let query: Vec<_> = height.iter().map(|height| ("height", height.as_str())).collect();
        let answer: ProofAnswer = self.get(Method::Proof, route, &[&id_text], &query).await?;
        convert::served_proof(self.site(Method::Proof), id, answer.result.evm_proof_bytes.0)
    }

    async fn account_info(&self, address: &str) -> Result<Account, BandError> {
        if !self.old_account.load(Ordering::Relaxed) {
            match self.get::<AccountInfoAnswer>(Method::Account, AUTH, &["account_info", address], &[]).await {
                Err(error) if is_unimplemented(&error) => {}
                answer => return answer.map(|answer| answer.info),
            }
        }
        let answer: AccountAnswer = self.get(Method::Account, AUTH, &["accounts", address], &[]).await?;
        self.old_account.store(true, Ordering::Relaxed);
        Ok(answer.account.innermost())
    }
}

/// A document of this shape, or what its error means.
fn read_answer<T: DeserializeOwned>(site: Site<'_>, reply: Reply) -> Result<T, BandError> {
    if reply.status == 200 { reply.json(site) } else { Err(problem(site, &reply)) }
}

/// What a gateway says when it has no answer: `{"code":5,"message":"..."}`, before SDK 0.40 `{"error":"..."}`; proxies send HTML.
fn problem(site: Site<'_>, reply: &Reply) -> BandError {
    #[derive(Deserialize)]
    struct Problem {
        #[serde(default)]
        code: Int,
        message: Option<String>,
        error: Option<String>,
    }
    let status = reply.status;
    let problem = serde_json::from_slice::<Problem>(&reply.body).ok();
    let text = problem.as_ref().and_then(|problem| problem.message.as_deref().or(problem.error.as_deref()));
    let missing_route = matches!(status, 404 | 405 | 501) && text.is_none_or(|text| text == "Not Found");
    if missing_route {
        return site.status(Code::Unimplemented, &format!("HTTP status {status}"), None);
    }
    match (text, &problem) {
        (Some(text), Some(problem)) => {
            let code = problem.code.to::<i32>().filter(|code| (1..=16).contains(code)).map_or(Code::Unknown, Code::from_i32);
            site.status(code, text, reply.retry_after)
        }
        _ if status >= 500 || status == 408 => site.lost(&format!("HTTP status {status}")),
        _ => site.refused(format!("HTTP status {status}"), &String::from_utf8_lossy(&reply.body)),
    }
}

#[async_trait]
impl Node for RestNode {
    fn kind(&self) -> Kind {
        if self.proof_only { Kind::ProofUrl } else { Kind::Rest }
    }

    fn redactor(&self) -> &Redactor {
        self.http.redactor()
    }

    fn height_seen(&self) -> u64 {
        self.http.height_seen()
    }

    async fn account(&self, address: &str) -> Result<AccountState, BandError> {
        let account = self.account_info(address).await?;
        let site = self.site(Method::Account);
        if !account.address.is_empty() && account.address != address {
            return Err(site.malformed("another account"));
        }
        let state = account.account_number.to().zip(account.sequence.to());
        let (account_number, sequence) = state.ok_or_else(|| site.malformed("a negative number"))?;
        Ok(AccountState { account_number, sequence })
    }

    async fn balance(&self, address: &str, denom: &str) -> Result<u128, BandError> {
        const BALANCES: &[&str] = &["cosmos", "bank", "v1beta1", "balances"];
        #[derive(Deserialize)]
        struct Answer {
            balance: Option<Amount>,
        }
        #[derive(Deserialize)]
        struct Amount {
            denom: String,
            amount: String,
        }
        let answer: Answer = self.get(Method::Balance, BALANCES, &[address, "by_denom"], &[("denom", denom)]).await?;
        let coin = answer.balance.map(|coin| Coin { denom: coin.denom, amount: coin.amount });
        coin.map_or(Ok(0), |coin| convert::amount(self.site(Method::Balance), denom, &coin))
    }

    async fn latest_block(&self) -> Result<BandBlock, BandError> {
        let answer: BlockAnswer = self.get(Method::LatestBlock, BLOCKS, &["latest"], &[]).await?;
        answer.read(self.site(Method::LatestBlock))
    }

    async fn block_hash(&self, height: u64) -> Result<B256, BandError> {
        let answer: BlockAnswer = self.get(Method::Block, BLOCKS, &[&height.to_string()], &[]).await?;
        Ok(answer.read(self.site(Method::Block))?.hash)
    }

    async fn broadcast(&self, tx: &[u8], mode: BroadcastMode) -> Result<BroadcastAnswer, BandError> {
        let wait_for_block = mode == BroadcastMode::Block && !self.refuses_block_mode.load(Ordering::Relaxed);
        let name = match mode {
            BroadcastMode::Block if wait_for_block => "BROADCAST_MODE_BLOCK",
            BroadcastMode::Async => "BROADCAST_MODE_ASYNC",
            BroadcastMode::Block | BroadcastMode::Sync => "BROADCAST_MODE_SYNC",
        };
        let body = serde_json::json!({ "tx_bytes": to_base64(tx), "mode": name }).to_string();
        let answer: Result<TxAnswer, _> = self.http.post(Method::Broadcast, TXS, body, wait_for_block, read_answer).await;
        match answer {
            Err(error) if wait_for_block && refuses_block_mode(&error) => {
                self.refuses_block_mode.store(true, Ordering::Relaxed);
                self.broadcast(tx, BroadcastMode::Sync).await
            }
            answer => {
                let site = self.site(Method::Broadcast);
                convert::broadcast_answer(site, tx, answer?.tx_response.read(site)?)
            }
        }
    }

    async fn transaction(&self, hash: &str) -> Result<TxInfo, BandError> {
        let answer: TxAnswer = self.get(Method::Transaction, TXS, &[hash], &[]).await?;
        let site = self.site(Method::Transaction);
        convert::tx_info(site, answer.tx_response.read(site)?)
    }

    async fn search(&self, query: &str, limit: u32) -> Result<Vec<(TxInfo, Option<Bytes>)>, BandError> {
        let limit = limit.to_string();
        // Each SDK reads its own of these fields.
        let query = [
            ("events", query),
            ("query", query),
            ("order_by", "ORDER_BY_DESC"),
            ("page", "1"),
            ("limit", &limit),
            ("pagination.limit", &limit),
        ];
        let answer: TxsAnswer = self.get(Method::SearchTransactions, TXS, &[], &query).await?;
        let site = self.site(Method::SearchTransactions);
        // A gateway sends transactions decoded; their bytes are not to be had.
        let found = answer.tx_responses.unwrap_or_default().into_iter();
        found.map(|one| Ok((convert::tx_info(site, one.read(site)?)?, None))).collect()
    }

    async fn simulate(&self, tx: &[u8]) -> Result<GasInfo, BandError> {
        const SIMULATE: &[&str] = &["cosmos", "tx", "v1beta1", "simulate"];
        let body = serde_json::json!({ "tx_bytes": to_base64(tx) }).to_string();
        let answer: SimulateAnswer = self.http.post(Method::Simulate, SIMULATE, body, false, read_answer).await?;
        answer.gas_info.read(self.site(Method::Simulate))
    }

    async fn request(&self, id: u64) -> Result<RequestState, BandError> {
        let answer: RequestAnswer = self.get(Method::Request, &["oracle", "v1", "requests"], &[&id.to_string()], &[]).await?;
        let site = self.site(Method::Request);
        convert::request_state(site, id, answer.read(site)?)
    }

    /// The routes of both versions are the same, so the version of the program decides.
    async fn message_type(&self) -> Result<MessageType, BandError> {
        const NODE_INFO: &[&str] = &["cosmos", "base", "tendermint", "v1beta1", "node_info"];
        #[derive(Deserialize)]
        struct Answer {
            application_version: Version,
        }
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let answer: Answer = self.get(Method::OracleParams, NODE_INFO, &[], &[]).await?;
        let version = answer.application_version.version;
        match version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok()) {
            Some(major) if major <= 2 => Ok(MessageType::V2),
            Some(_) => Ok(MessageType::V3),
            None => Err(self.site(Method::OracleParams).malformed(format!("version {version:?}"))),
        }
    }

    async fn proof(&self, id: u64, height: Option<u64>) -> Result<ServedProof, BandError> {
        if self.proof_only {
            return self.proof_at(&[], id, height).await;
        }
        if !self.old_proof.load(Ordering::Relaxed) {
            match self.proof_at(PROOF, id, height).await {
                Err(error) if is_unimplemented(&error) => {}
                answer => return answer,
            }
        }
        let answer = self.proof_at(OLD_PROOF, id, height).await;
        self.old_proof.store(answer.as_ref().err().is_none_or(|error| !is_unimplemented(error)), Ordering::Relaxed);
        answer
    }

    async fn validators(&self) -> Result<Vec<Validator>, BandError> {
        let site = self.site(Method::Validators);
        let (mut validators, mut set) = (Vec::new(), "latest".to_owned());
        loop {
            let (offset, limit) = (validators.len().to_string(), PAGE.to_string());
            let query = [("pagination.offset", offset.as_str()), ("pagination.limit", &limit)];
            let answer: ValidatorsAnswer = self.get(Method::Validators, VALIDATORS, &[&set], &query).await?;
            let last = (answer.validators.len() as u64) < PAGE;
            for validator in answer.validators {
                validators.push(validator.read(site)?);
            }
            let total = answer.pagination.and_then(|page| page.total.to::<usize>()).unwrap_or(0);
            if last || validators.len() >= total || validators.len() > VALIDATORS_MAX {
                return Ok(validators);
            }
            set = answer.block_height.0.to_string();
        }
    }
}

#[derive(Deserialize)]
struct ProofAnswer {
    result: ProofResult,
}

#[derive(Deserialize)]
struct ProofResult {
    #[serde(alias = "evmProofBytes")]
    evm_proof_bytes: EitherBytes,
}

#[derive(Deserialize)]
struct AccountInfoAnswer {
    info: Account,
}

#[derive(Deserialize)]
struct AccountAnswer {
    account: AnyAccount,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    address: String,
    #[serde(default)]
    account_number: Int,
    #[serde(default)]
    sequence: Int,
}

/// Accounts with a purpose have an ordinary one within, at any depth.
#[derive(Deserialize)]
struct AnyAccount {
    #[serde(alias = "base_vesting_account")]
    base_account: Option<Box<AnyAccount>>,
    #[serde(flatten)]
    own: Account,
}

impl AnyAccount {
    fn innermost(mut self) -> Account {
        while let Some(inner) = self.base_account {
            self = *inner;
        }
        self.own
    }
}

#[derive(Deserialize)]
struct BlockAnswer {
    block_id: BlockIdJson,
    block: BlockJson,
}

#[derive(Deserialize)]
struct BlockIdJson {
    hash: EitherBytes,
}

#[derive(Deserialize)]
struct BlockJson {
    header: HeaderJson,
}

#[derive(Deserialize)]
struct HeaderJson {
    chain_id: String,
    height: Int,
    time: Time,
}

impl BlockAnswer {
    fn read(self, site: Site<'_>) -> Result<BandBlock, BandError> {
        let header = self.block.header;
        let height = header.height.to().ok_or_else(|| site.malformed("an impossible height"))?;
        let header = Header { chain_id: header.chain_id, height, time: Some(header.time.0), ..Header::default() };
        convert::block(site, &header, &self.block_id.hash.0)
    }
}

#[derive(Deserialize)]
struct TxAnswer {
    tx_response: TxResponseJson,
}

#[derive(Deserialize)]
struct TxsAnswer {
    tx_responses: Option<Vec<TxResponseJson>>,
}

/// What became of a transaction, in JSON.
#[derive(Deserialize)]
struct TxResponseJson {
    #[serde(default)]
    height: Int,
    txhash: String,
    #[serde(default)]
    codespace: String,
    #[serde(default)]
    code: Int,
    #[serde(default)]
    raw_log: String,
    #[serde(default)]
    gas_wanted: Int,
    #[serde(default)]
    gas_used: Int,
    #[serde(default)]
    events: Option<Vec<json::Event>>,
}

impl TxResponseJson {
    fn read(self, site: Site<'_>) -> Result<TxResponse, BandError> {
        let numbers = self.height.to().zip(self.code.to());
        let (height, code) = numbers.ok_or_else(|| site.malformed("an impossible height or code"))?;
        Ok(TxResponse {
            height,
            code,
            txhash: self.txhash,
            codespace: self.codespace,
            raw_log: self.raw_log,
            gas_wanted: self.gas_wanted.to().unwrap_or(0),
            gas_used: self.gas_used.to().unwrap_or(0),
            events: json::events(self.events.unwrap_or_default()),
            ..TxResponse::default()
        })
    }
}

/// Answer to a simulation; CometBFT's query of the application gives the same document.
#[derive(Deserialize)]
pub(super) struct SimulateAnswer {
    pub(super) gas_info: GasJson,
}

#[derive(Deserialize)]
pub(super) struct GasJson {
    #[serde(default)]
    gas_wanted: Int,
    #[serde(default)]
    gas_used: Int,
}

impl GasJson {
    pub(super) fn read(&self, site: Site<'_>) -> Result<GasInfo, BandError> {
        let gas = self.gas_wanted.to().zip(self.gas_used.to());
        let (gas_wanted, gas_used) = gas.ok_or_else(|| site.malformed("impossible gas"))?;
        Ok(GasInfo { gas_wanted, gas_used })
    }
}

#[derive(Deserialize)]
struct RequestAnswer {
    request: Option<serde::de::IgnoredAny>,
    result: Option<ResultJson>,
}

#[derive(Deserialize)]
struct ResultJson {
    request_id: Int,
    resolve_status: StatusJson,
}

/// The status by name or by number.
#[derive(Deserialize)]
#[serde(untagged)]
enum StatusJson {
    Number(i32),
    Name(String),
}

impl RequestAnswer {
    fn read(self, site: Site<'_>) -> Result<QueryRequestResponse, BandError> {
        let result = self.result.map(|result| {
            let resolve_status = match &result.resolve_status {
                StatusJson::Number(number) => Some(*number),
                StatusJson::Name(name) => status_number(name),
            };
            let read = result.request_id.to().zip(resolve_status);
            let (request_id, resolve_status) = read.ok_or_else(|| site.malformed("a result that cannot be read"))?;
            Ok(oracle::Result { request_id, resolve_status, ..oracle::Result::default() })
        });
        let request = self.request.map(|_| oracle::Request::default());
        Ok(QueryRequestResponse { request, result: result.transpose()?, ..QueryRequestResponse::default() })
    }
}

fn status_number(name: &str) -> Option<i32> {
    match name {
        "RESOLVE_STATUS_OPEN_UNSPECIFIED" | "RESOLVE_STATUS_OPEN" => Some(0),
        "RESOLVE_STATUS_SUCCESS" => Some(1),
        "RESOLVE_STATUS_FAILURE" => Some(2),
        "RESOLVE_STATUS_EXPIRED" => Some(3),
        other => other.parse().ok(),
    }
}

#[derive(Deserialize)]
struct ValidatorsAnswer {
    #[serde(default)]
    block_height: Int,
    validators: Vec<ValidatorJson>,
    #[serde(default)]
    pagination: Option<Pagination>,
}

#[derive(Deserialize)]
struct Pagination {
    #[serde(default)]
    total: Int,
}

#[derive(Deserialize)]
struct ValidatorJson {
    #[serde(default)]
    address: String,
    pub_key: KeyJson,
    voting_power: Int,
}

#[derive(Deserialize)]
struct KeyJson {
    #[serde(rename = "@type")]
    kind: String,
    #[serde(alias = "value")]
    key: Base64,
}

impl ValidatorJson {
    fn read(self, site: Site<'_>) -> Result<Validator, BandError> {
        let mut pub_key = convert::secp256k1_key(self.pub_key.key.0);
        if self.pub_key.kind != pub_key.type_url {
            pub_key = Any { type_url: self.pub_key.kind, value: Vec::new() };
        }
        let voting_power = self.voting_power.to().ok_or_else(|| site.malformed("an impossible power"))?;
        Ok(Validator { address: self.address, pub_key: Some(pub_key), voting_power, proposer_priority: 0 })
    }
}
