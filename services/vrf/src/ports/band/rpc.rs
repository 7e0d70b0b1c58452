//! A node's CometBFT RPC.

use alloy_primitives::{B256, Bytes};
use async_trait::async_trait;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tonic::Code;
use url::Url;
use windlass_chain::Redactor;
use windlass_vrf_protocol::events;
use windlass_vrf_protocol::messages::auth::{self, QueryAccountInfoRequest, QueryAccountInfoResponse};
use windlass_vrf_protocol::messages::bank::{self, QueryBalanceRequest, QueryBalanceResponse};
use windlass_vrf_protocol::messages::oracle::{
    self, QueryParamsRequest, QueryParamsResponse, QueryRequestRequest, QueryRequestResponse,
};
use windlass_vrf_protocol::messages::tendermint::Validator;
use windlass_vrf_protocol::messages::tx::TxResponse;
use windlass_vrf_protocol::oracle_result::{ResolveStatus, store_key};
use windlass_vrf_protocol::tx::MessageType;

use super::convert;
use super::error::BandError;
use super::grpc::{Limits, PAGE, VALIDATORS_MAX};
use super::http::{Http, Reply};
use super::json::{self, Int, to_base64};
use super::meter::{Meter, Method};
use super::node::{Kind, Node, NodeExt, SignedBlock, StoreProof};
use super::rest::SimulateAnswer;
use super::rpc_json::{
    AbciAnswer, AbciResponse, BlockAnswer, BlockResults, BroadcastResult, CommitAnswer, Status, TxAnswer, TxSearch, Validators,
};
use super::site::{Site, is_unimplemented};
use super::types::{AccountState, BandBlock, BroadcastAnswer, BroadcastMode, GasInfo, RequestState, TxInfo};

/// The oracle store in a query of the application.
const ORACLE_STORE: &str = "/store/oracle/key";
/// Codes that the SDK gives to what CometBFT says in words.
const IN_POOL_ALREADY: u32 = 19;
const POOL_FULL: u32 = 20;
const TX_TOO_LARGE: u32 = 21;

/// A node behind its CometBFT RPC.
pub(super) struct RpcNode {
    http: Http,
}

/// The envelope of every answer.
#[derive(Deserialize)]
struct Envelope<T> {
    result: Option<T>,
    error: Option<RpcProblem>,
}

#[derive(Deserialize)]
struct RpcProblem {
    #[serde(default)]
    code: Int,
    #[serde(default)]
    message: String,
    /// The reason in words; some proxies send an object.
    #[serde(default)]
    data: serde_json::Value,
}

impl RpcProblem {
    fn text(&self) -> String {
        match self.data.as_str().filter(|data| !data.is_empty()) {
            Some(data) => format!("{}: {data}", self.message),
            None => self.message.clone(),
        }
    }
}

fn read_answer<T: DeserializeOwned>(site: Site<'_>, reply: Reply) -> Result<T, BandError> {
    match read_envelope(site, &reply)? {
        Ok(result) => Ok(result),
        Err(problem) => Err(meaning(site, &problem, &reply)),
    }
}

fn read_envelope<T: DeserializeOwned>(site: Site<'_>, reply: &Reply) -> Result<Result<T, RpcProblem>, BandError> {
    match serde_json::from_slice::<Envelope<T>>(&reply.body) {
        Ok(Envelope { error: Some(problem), .. }) => Ok(Err(problem)),
        Ok(Envelope { result: Some(result), .. }) if reply.status == 200 => Ok(Ok(result)),
        Ok(_) if reply.status == 200 => Err(site.malformed("neither result nor error in it")),
        Err(error) if reply.status == 200 => Err(site.malformed(format!("JSON: {error}"))),
        _ if matches!(reply.status, 404 | 405 | 501) => {
            Err(site.status(Code::Unimplemented, &format!("HTTP status {}", reply.status), None))
        }
        _ if reply.status >= 500 || reply.status == 408 => Err(site.lost(&format!("HTTP status {}", reply.status))),
        _ => Err(site.refused(format!("HTTP status {}", reply.status), &String::from_utf8_lossy(&reply.body))),
    }
}

fn meaning(site: Site<'_>, problem: &RpcProblem, reply: &Reply) -> BandError {
    const METHOD_NOT_FOUND: i128 = -32601;
    let code = if problem.code.0 == METHOD_NOT_FOUND { Code::Unimplemented } else { Code::Unknown };
    site.status(code, &problem.text(), reply.retry_after)
}

impl RpcNode {
    /// Prepares the connections; nothing is sent yet.
    pub(super) fn new(url: &Url, limits: Limits, meter: Meter) -> Result<Self, String> {
        Ok(Self { http: Http::new(url, limits, meter)? })
    }

    async fn get<T: DeserializeOwned>(&self, method: Method, route: &str, query: &[(&str, &str)]) -> Result<T, BandError> {
        self.http.get(method, &[route], query, read_answer).await
    }

    async fn status(&self) -> Result<Status, BandError> {
        self.get(Method::LatestBlock, "status", &[]).await
    }

    async fn abci_query(
        &self,
        method: Method,
        path: &str,
        data: &[u8],
        proven_at: Option<u64>,
    ) -> Result<AbciResponse, BandError> {
        let (path, data) = (format!("\"{path}\""), format!("0x{}", hex::encode(data)));
        let height = proven_at.map(|height| height.to_string());
        let mut query = vec![("path", path.as_str()), ("data", data.as_str())];
        if let Some(height) = &height {
            query.extend([("height", height.as_str()), ("prove", "true")]);
        }
        let answer: AbciAnswer = self.get(method, "abci_query", &query).await?;
        let response = answer.response;
        if response.code.0 != 0 {
            // Codes are those of the SDK: 6 is an unknown request, 22 is "not found", and the words say the rest.
            let code = if response.code.0 == 6 && response.codespace == "sdk" && response.log.contains("unknown query path") {
                Code::Unimplemented
            } else {
                Code::Unknown
            };
            return Err(self.site(method).status(code, &response.log, None));
        }
        Ok(response)
    }

    /// A gRPC query of the application, which CometBFT passes on.
    async fn query<Q, A>(&self, method: Method, path: &str, question: &Q) -> Result<A, BandError>
    where
        Q: prost::Message,
        A: prost::Message + Default,
    {
        let answer = self.abci_query(method, path, &question.encode_to_vec(), None).await?;
        A::decode(answer.value.0.as_slice()).map_err(|error| self.site(method).malformed(error))
    }

    async fn validators_page(&self, height: Option<u64>, page: usize) -> Result<Validators, BandError> {
        let (page, per_page) = (page.to_string(), PAGE.to_string());
        let height = height.map(|height| height.to_string());
        let mut query = vec![("page", page.as_str()), ("per_page", per_page.as_str())];
        query.extend(height.as_ref().map(|height| ("height", height.as_str())));
        self.get(Method::Validators, "validators", &query).await
    }
}

/// What CometBFT says in words about a transaction that it did not even check, in the SDK's numbers.
fn pool_refusal(text: &str) -> Option<u32> {
    let text = text.to_ascii_lowercase();
    [("already exists in cache", IN_POOL_ALREADY), ("mempool is full", POOL_FULL), ("tx too large", TX_TOO_LARGE)]
        .into_iter()
        .find_map(|(words, code)| text.contains(words).then_some(code))
}

#[async_trait]
impl Node for RpcNode {
    fn kind(&self) -> Kind {
        Kind::Rpc
    }

    fn redactor(&self) -> &Redactor {
        self.http.redactor()
    }

    async fn account(&self, address: &str) -> Result<AccountState, BandError> {
        let question = QueryAccountInfoRequest { address: address.to_owned() };
        let answer: QueryAccountInfoResponse = self.query(Method::Account, auth::path::ACCOUNT_INFO, &question).await?;
        let account = answer.info.ok_or_else(|| self.site(Method::Account).malformed("no account"))?;
        Ok(AccountState { account_number: account.account_number, sequence: account.sequence })
    }

    async fn balance(&self, address: &str, denom: &str) -> Result<u128, BandError> {
        let question = QueryBalanceRequest { address: address.to_owned(), denom: denom.to_owned() };
        let answer: QueryBalanceResponse = self.query(Method::Balance, bank::path::BALANCE, &question).await?;
        answer.balance.map_or(Ok(0), |coin| convert::amount(self.site(Method::Balance), denom, &coin))
    }

    async fn latest_block(&self) -> Result<BandBlock, BandError> {
        let status = self.status().await?;
        status.read(self.site(Method::LatestBlock))
    }

    async fn block_hash(&self, height: u64) -> Result<B256, BandError> {
        let site = self.site(Method::Block);
        let block: BlockAnswer = self.get(Method::Block, "block", &[("height", &height.to_string())]).await?;
        if let Some(hash) = block.own_hash() {
            return convert::hash(site, hash);
        }
        // Old nodes leave it out; then the next block names it.
        let next = height.saturating_add(1).to_string();
        let next: BlockAnswer = self.get(Method::Block, "block", &[("height", &next)]).await?;
        convert::hash(site, next.hash_of_last())
    }

    /// CometBFT has no call that waits for the block in the way of the SDK, so every mode but `Async` is `Sync`.
    async fn broadcast(&self, tx: &[u8], mode: BroadcastMode) -> Result<BroadcastAnswer, BandError> {
        let site = self.site(Method::Broadcast);
        let name = if mode == BroadcastMode::Async { "broadcast_tx_async" } else { "broadcast_tx_sync" };
        // As a document, because a batch of requests is longer than some proxies let a URL be.
        let body =
            serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": name, "params": { "tx": to_base64(tx) } }).to_string();
        let read = |site: Site<'_>, reply: Reply| match read_envelope::<BroadcastResult>(site, &reply)? {
            Ok(result) => Ok(result.into_response()),
            Err(problem) => match pool_refusal(&problem.text()) {
                Some(code) => Ok(TxResponse {
                    txhash: convert::tx_hash(tx),
                    code,
                    codespace: "sdk".to_owned(),
                    raw_log: problem.text(),
                    ..TxResponse::default()
                }),
                None => Err(meaning(site, &problem, &reply)),
            },
        };
        let answer = self.http.post(Method::Broadcast, &[], body, false, read).await?;
        convert::broadcast_answer(site, tx, answer)
    }

    async fn transaction(&self, hash: &str) -> Result<TxInfo, BandError> {
        let answer: TxAnswer = self.get(Method::Transaction, "tx", &[("hash", &format!("0x{hash}"))]).await?;
        Ok(answer.read(self.site(Method::Transaction))?.0)
    }

    async fn search(&self, query: &str, limit: u32) -> Result<Vec<(TxInfo, Option<Bytes>)>, BandError> {
        let (query, limit) = (format!("\"{query}\""), limit.clamp(1, 100).to_string());
        let query = [("query", query.as_str()), ("page", "1"), ("per_page", &limit), ("order_by", "\"desc\"")];
        let answer: TxSearch = self.get(Method::SearchTransactions, "tx_search", &query).await?;
        let site = self.site(Method::SearchTransactions);
        answer.txs.into_iter().map(|found| found.read(site)).collect()
    }

    async fn simulate(&self, tx: &[u8]) -> Result<GasInfo, BandError> {
        let answer = self.abci_query(Method::Simulate, "/app/simulate", tx, None).await?;
        let site = self.site(Method::Simulate);
        let read: SimulateAnswer = serde_json::from_slice(&answer.value.0).map_err(|error| site.malformed(error))?;
        read.gas_info.read(site)
    }

    async fn resolved_in(&self, height: u64) -> Result<Vec<(u64, ResolveStatus)>, BandError> {
        let results: BlockResults = self.get(Method::BlockResults, "block_results", &[("height", &height.to_string())]).await?;
        Ok(json::events(results.into_events()).iter().filter_map(events::resolved).collect())
    }

    async fn request(&self, id: u64) -> Result<RequestState, BandError> {
        let question = QueryRequestRequest { request_id: id };
        let answer: QueryRequestResponse = match self.query(Method::Request, oracle::path::REQUEST, &question).await {
            Err(error) if is_unimplemented(&error) => self.query(Method::Request, oracle::path::REQUEST_V2, &question).await?,
            answer => answer?,
        };
        convert::request_state(self.site(Method::Request), id, answer)
    }

    async fn message_type(&self) -> Result<MessageType, BandError> {
        let question = QueryParamsRequest {};
        match self.query::<_, QueryParamsResponse>(Method::OracleParams, oracle::path::PARAMS, &question).await {
            Err(error) if is_unimplemented(&error) => {
                self.query::<_, QueryParamsResponse>(Method::OracleParams, oracle::path::PARAMS_V2, &question).await?;
                Ok(MessageType::V2)
            }
            answer => answer.map(|_| MessageType::V3),
        }
    }

    async fn commit(&self, height: u64) -> Result<SignedBlock, BandError> {
        let answer: CommitAnswer = self.get(Method::Commit, "commit", &[("height", &height.to_string())]).await?;
        let site = self.site(Method::Commit);
        let block = answer.read(site)?;
        if u64::try_from(block.header.height) != Ok(height) {
            return Err(site.malformed("the commit of another height"));
        }
        Ok(block)
    }

    async fn store_proof(&self, id: u64, height: u64) -> Result<StoreProof, BandError> {
        let key = store_key(id);
        let answer = self.abci_query(Method::StoreProof, ORACLE_STORE, &key, Some(height)).await?;
        let ops = answer.ops();
        if ops.ops.is_empty() {
            // A state that is there proves even that a key is not in it.
            let log = if answer.log.is_empty() { "proof not found" } else { &answer.log };
            return Err(self.site(Method::StoreProof).status(Code::Unknown, log, None));
        }
        Ok(StoreProof { value: answer.value.0, ops })
    }

    async fn validators(&self) -> Result<Vec<Validator>, BandError> {
        let site = self.site(Method::Validators);
        let mut validators = Vec::new();
        let mut height = None;
        for page in 1.. {
            let answer = self.validators_page(height, page).await?;
            height = answer.block_height.to();
            let (last, total) = ((answer.validators.len() as u64) < PAGE, answer.total.to::<usize>().unwrap_or(0));
            for validator in answer.validators {
                validators.push(validator.read(site)?);
            }
            if last || validators.len() >= total || validators.len() > VALIDATORS_MAX {
                break;
            }
        }
        Ok(validators)
    }
}
