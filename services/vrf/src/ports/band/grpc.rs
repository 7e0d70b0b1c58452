//! A node over gRPC.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::{B256, Bytes};
use async_trait::async_trait;
use parking_lot::Mutex;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, ConnectError, Request, Response, Status};
use tonic_prost::ProstCodec;
use url::Url;
use windlass_chain::{Redactor, install_crypto_provider};
use windlass_vrf_protocol::messages::PageRequest;
use windlass_vrf_protocol::messages::auth::{
    self, BASE_ACCOUNT_TYPE_URL, BaseAccount, QueryAccountInfoRequest, QueryAccountInfoResponse, QueryAccountRequest,
    QueryAccountResponse,
};
use windlass_vrf_protocol::messages::bank::{self, QueryBalanceRequest, QueryBalanceResponse};
use windlass_vrf_protocol::messages::oracle::{
    self, QueryParamsRequest, QueryParamsResponse, QueryRequestRequest, QueryRequestResponse,
};
use windlass_vrf_protocol::messages::proof::{self, ProofRequest, ProofResponse};
use windlass_vrf_protocol::messages::tendermint::{
    self, GetBlockByHeightRequest, GetBlockByHeightResponse, GetLatestBlockRequest, GetLatestBlockResponse,
    GetLatestValidatorSetRequest, GetValidatorSetByHeightRequest, Validator, ValidatorSetResponse,
};
use windlass_vrf_protocol::messages::tx::{
    self, BroadcastTxRequest, BroadcastTxResponse, GetTxRequest, GetTxResponse, GetTxsEventRequest, GetTxsEventResponse, OrderBy,
    SimulateRequest, SimulateResponse,
};
use windlass_vrf_protocol::tx::MessageType;

use super::convert;
use super::error::BandError;
use super::meter::{Meter, Method};
use super::node::{Kind, Node, NodeExt};
use super::site::{Site, is_unimplemented};
use super::types::{AccountState, BandBlock, BroadcastAnswer, BroadcastMode, GasInfo, RequestState, ServedProof, TxInfo};

/// The Proof service of chain v2; the messages are the same.
const PROOF_V2: &str = "/bandchain.v1.oracle.Service/Proof";
/// Where nodes write their newest height into every answer.
const HEIGHT_HEADER: &str = "x-cosmos-block-height";
const USER_AGENT: &str = concat!("windlass/", env!("CARGO_PKG_VERSION"));
/// Validators per page, the most that nodes give.
pub(super) const PAGE: u64 = 100;
/// More validators than this are not a set that anybody has seen.
pub(super) const VALIDATORS_MAX: usize = 10_000;

/// Limits of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Time for one question.
    pub(super) timeout: Duration,
    /// Time for a broadcast that waits for its block.
    pub(super) block_timeout: Duration,
    /// Largest answer.
    pub(super) max_bytes: usize,
}

/// A node behind `host:port`.
pub(super) struct GrpcNode {
    endpoint: Endpoint,
    redactor: Redactor,
    limits: Limits,
    meter: Meter,
    /// Made with the first question, and anew after one that got no answer.
    channel: Mutex<Option<Channel>>,
    height_seen: AtomicU64,
    refuses_block_mode: AtomicBool,
    /// Names of chain v2 and of SDKs before 0.47, once the newer ones were refused.
    old_names: OldNames,
}

#[derive(Default)]
struct OldNames {
    account: AtomicBool,
    oracle: AtomicBool,
    proof: AtomicBool,
}

impl GrpcNode {
    /// Prepares the endpoint; nothing is sent yet.
    pub(super) fn new(url: &Url, limits: Limits, meter: Meter) -> Result<Self, String> {
        let (Some(host), true) = (url.host_str(), matches!(url.scheme(), "http" | "https")) else {
            return Err("a gRPC endpoint is host:port, or a URL with http:// or https://".to_owned());
        };
        if !url.username().is_empty() || url.password().is_some() || !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err("a gRPC endpoint has host and port only".to_owned());
        }
        install_crypto_provider();
        let port = url.port_or_known_default().unwrap_or(443);
        let endpoint = Endpoint::from_shared(format!("{}://{host}:{port}", url.scheme())).map_err(|error| error.to_string())?;
        let mut endpoint = endpoint
            .user_agent(USER_AGENT)
            .map_err(|error| error.to_string())?
            .connect_timeout(limits.timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .http2_adaptive_window(true);
        if url.scheme() == "https" {
            let tls = ClientTlsConfig::new().with_webpki_roots();
            endpoint = endpoint.tls_config(tls).map_err(|error| error.to_string())?;
        }
        Ok(Self {
            endpoint,
            redactor: Redactor::new(url),
            limits,
            meter,
            channel: Mutex::new(None),
            height_seen: AtomicU64::new(0),
            refuses_block_mode: AtomicBool::new(false),
            old_names: OldNames::default(),
        })
    }

    fn channel(&self) -> Channel {
        self.channel.lock().get_or_insert_with(|| self.endpoint.connect_lazy()).clone()
    }

    async fn call<Q, A>(&self, method: Method, path: &'static str, question: Q) -> Result<A, BandError>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.call_within(method, path, question, self.limits.timeout).await
    }

    async fn call_within<Q, A>(&self, method: Method, path: &'static str, question: Q, limit: Duration) -> Result<A, BandError>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let site = self.site(method);
        self.meter.sent(method);
        let start = Instant::now();
        let outcome = match tokio::time::timeout(limit, self.unary(path, question)).await {
            Ok(Ok(answer)) => {
                self.note_height(answer.metadata());
                Ok(answer.into_inner())
            }
            Ok(Err(status)) => Err(status_error(site, &status)),
            Err(_) => {
                // A connection that has died without a word looks like this. The next question gets a new one.
                *self.channel.lock() = None;
                Err(site.timed_out(limit))
            }
        };
        self.meter.answered(method, &outcome, start.elapsed());
        outcome
    }

    async fn unary<Q, A>(&self, path: &'static str, question: Q) -> Result<Response<A>, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel()).max_decoding_message_size(self.limits.max_bytes);
        // Nothing is sent before the connection is ready.
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(ConnectError(Box::new(error)))))?;
        grpc.unary(Request::new(question), PathAndQuery::from_static(path), ProstCodec::<Q, A>::default()).await
    }

    fn note_height(&self, metadata: &MetadataMap) {
        let height = metadata.get(HEIGHT_HEADER).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        if let Some(height) = height {
            self.height_seen.fetch_max(height, Ordering::Relaxed);
        }
    }

    /// Asks under the new name, or under the old one if the node has shown that it knows only that.
    async fn call_either<Q, A>(
        &self,
        method: Method,
        old: &AtomicBool,
        names: [&'static str; 2],
        question: Q,
    ) -> Result<A, BandError>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let [new_name, old_name] = names;
        if old.load(Ordering::Relaxed) {
            return self.call(method, old_name, question).await;
        }
        match self.call(method, new_name, question.clone()).await {
            Err(error) if is_unimplemented(&error) => {
                let answer = self.call(method, old_name, question).await;
                old.store(answer.as_ref().err().is_none_or(|error| !is_unimplemented(error)), Ordering::Relaxed);
                answer
            }
            answer => answer,
        }
    }

    /// The account of nodes before SDK 0.47.
    async fn old_account(&self, address: &str) -> Result<BaseAccount, BandError> {
        let site = self.site(Method::Account);
        let question = QueryAccountRequest { address: address.to_owned() };
        let answer: QueryAccountResponse = self.call(Method::Account, auth::path::ACCOUNT, question).await?;
        let account = answer.account.ok_or_else(|| site.malformed("no account"))?;
        if account.type_url != BASE_ACCOUNT_TYPE_URL {
            return Err(site.malformed(format!("an account of type {}", account.type_url)));
        }
        prost::Message::decode(account.value.as_slice()).map_err(|error| site.malformed(error))
    }
}

/// The meaning of a failed call.
fn status_error(site: Site<'_>, status: &Status) -> BandError {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return site.not_reached(&innermost(error));
        }
        cause = error.source();
    }
    // Not said by the node, but by the connection to it.
    if let Some(error) = status.source()
        && matches!(status.code(), Code::Unknown | Code::Internal | Code::Unavailable)
    {
        return site.lost(&innermost(error));
    }
    if status.code() == Code::Internal && status.message().contains("decod") {
        return site.malformed(status.message());
    }
    site.status(status.code(), status.message(), retry_after(status.metadata()))
}

/// The cause that says something: "Connection refused".
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// How long the node wants to be left alone.
fn retry_after(metadata: &MetadataMap) -> Option<Duration> {
    let number = |key: &str| metadata.get(key).and_then(|value| value.to_str().ok()).and_then(|text| text.trim().parse().ok());
    number("grpc-retry-pushback-ms").map(Duration::from_millis).or_else(|| number("retry-after").map(Duration::from_secs))
}

/// Whether a node has refused to wait for the block.
pub(super) fn refuses_block_mode(error: &BandError) -> bool {
    let BandError::Refused { text, .. } = error else {
        return false;
    };
    let text = text.to_ascii_lowercase();
    text.contains("unsupported return type") || text.contains("unsupported broadcast type") || text.contains("broadcast mode")
}

#[async_trait]
impl Node for GrpcNode {
    fn kind(&self) -> Kind {
        Kind::Grpc
    }

    fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    fn height_seen(&self) -> u64 {
        self.height_seen.load(Ordering::Relaxed)
    }

    async fn account(&self, address: &str) -> Result<AccountState, BandError> {
        let site = self.site(Method::Account);
        let question = QueryAccountInfoRequest { address: address.to_owned() };
        let account = if self.old_names.account.load(Ordering::Relaxed) {
            self.old_account(address).await?
        } else {
            match self.call::<_, QueryAccountInfoResponse>(Method::Account, auth::path::ACCOUNT_INFO, question).await {
                Ok(answer) => answer.info.ok_or_else(|| site.malformed("no account"))?,
                Err(error) if is_unimplemented(&error) => {
                    let account = self.old_account(address).await?;
                    self.old_names.account.store(true, Ordering::Relaxed);
                    account
                }
                Err(error) => return Err(error),
            }
        };
        if !account.address.is_empty() && account.address != address {
            return Err(site.malformed("another account"));
        }
        Ok(AccountState { account_number: account.account_number, sequence: account.sequence })
    }

    async fn balance(&self, address: &str, denom: &str) -> Result<u128, BandError> {
        let question = QueryBalanceRequest { address: address.to_owned(), denom: denom.to_owned() };
        let answer: QueryBalanceResponse = self.call(Method::Balance, bank::path::BALANCE, question).await?;
        answer.balance.map_or(Ok(0), |coin| convert::amount(self.site(Method::Balance), denom, &coin))
    }

    async fn latest_block(&self) -> Result<BandBlock, BandError> {
        let site = self.site(Method::LatestBlock);
        let answer: GetLatestBlockResponse =
            self.call(Method::LatestBlock, tendermint::path::GET_LATEST_BLOCK, GetLatestBlockRequest {}).await?;
        let header = answer.block.and_then(|block| block.header).ok_or_else(|| site.malformed("no header"))?;
        convert::block(site, &header, &answer.block_id.unwrap_or_default().hash)
    }

    async fn block_hash(&self, height: u64) -> Result<B256, BandError> {
        let site = self.site(Method::Block);
        let question = GetBlockByHeightRequest { height: signed(site, height)? };
        let answer: GetBlockByHeightResponse = self.call(Method::Block, tendermint::path::GET_BLOCK_BY_HEIGHT, question).await?;
        convert::hash(site, &answer.block_id.unwrap_or_default().hash)
    }

    async fn broadcast(&self, tx: &[u8], mode: BroadcastMode) -> Result<BroadcastAnswer, BandError> {
        let site = self.site(Method::Broadcast);
        let wait_for_block = mode == BroadcastMode::Block && !self.refuses_block_mode.load(Ordering::Relaxed);
        let (number, limit) = match mode {
            BroadcastMode::Block if wait_for_block => (tx::BroadcastMode::Block, self.limits.block_timeout),
            BroadcastMode::Async => (tx::BroadcastMode::Async, self.limits.timeout),
            BroadcastMode::Block | BroadcastMode::Sync => (tx::BroadcastMode::Sync, self.limits.timeout),
        };
        let question = BroadcastTxRequest { tx_bytes: tx.to_vec().into(), mode: number.into() };
        let answer = self.call_within(Method::Broadcast, tx::path::BROADCAST_TX, question, limit).await;
        let answer: BroadcastTxResponse = match answer {
            Err(error) if wait_for_block && refuses_block_mode(&error) => {
                self.refuses_block_mode.store(true, Ordering::Relaxed);
                return self.broadcast(tx, BroadcastMode::Sync).await;
            }
            answer => answer?,
        };
        let answer = answer.tx_response.ok_or_else(|| site.malformed("no answer in it"))?;
        convert::broadcast_answer(site, tx, answer)
    }

    async fn transaction(&self, hash: &str) -> Result<TxInfo, BandError> {
        let site = self.site(Method::Transaction);
        let question = GetTxRequest { hash: hash.to_owned() };
        let answer: GetTxResponse = self.call(Method::Transaction, tx::path::GET_TX, question).await?;
        convert::tx_info(site, answer.tx_response.ok_or_else(|| site.malformed("no transaction in it"))?)
    }

    async fn search(&self, query: &str, limit: u32) -> Result<Vec<(TxInfo, Option<Bytes>)>, BandError> {
        let site = self.site(Method::SearchTransactions);
        let question = GetTxsEventRequest {
            // Each SDK reads its own of these fields.
            events: vec![query.to_owned()],
            query: query.to_owned(),
            pagination: Some(PageRequest { limit: limit.into(), ..PageRequest::default() }),
            page: 1,
            limit: limit.into(),
            order_by: OrderBy::Descending.into(),
        };
        let answer: GetTxsEventResponse = self.call(Method::SearchTransactions, tx::path::GET_TXS_EVENT, question).await?;
        let mut txs = answer.txs.iter();
        answer.tx_responses.into_iter().map(|found| convert::found_tx(site, found, txs.next())).collect()
    }

    async fn simulate(&self, tx: &[u8]) -> Result<GasInfo, BandError> {
        let question = SimulateRequest { tx: None, tx_bytes: tx.to_vec().into() };
        let answer: SimulateResponse = self.call(Method::Simulate, tx::path::SIMULATE, question).await?;
        let gas = answer.gas_info.ok_or_else(|| self.site(Method::Simulate).malformed("no gas in it"))?;
        Ok(GasInfo { gas_wanted: gas.gas_wanted, gas_used: gas.gas_used })
    }

    async fn request(&self, id: u64) -> Result<RequestState, BandError> {
        let names = [oracle::path::REQUEST, oracle::path::REQUEST_V2];
        let question = QueryRequestRequest { request_id: id };
        let answer: QueryRequestResponse = self.call_either(Method::Request, &self.old_names.oracle, names, question).await?;
        convert::request_state(self.site(Method::Request), id, answer)
    }

    async fn message_type(&self) -> Result<MessageType, BandError> {
        let answer = self.call::<_, QueryParamsResponse>(Method::OracleParams, oracle::path::PARAMS, QueryParamsRequest {}).await;
        match answer {
            Err(error) if is_unimplemented(&error) => {
                let question = QueryParamsRequest {};
                self.call::<_, QueryParamsResponse>(Method::OracleParams, oracle::path::PARAMS_V2, question).await?;
                Ok(MessageType::V2)
            }
            answer => answer.map(|_| MessageType::V3),
        }
    }

    async fn proof(&self, id: u64, height: Option<u64>) -> Result<ServedProof, BandError> {
        let site = self.site(Method::Proof);
        let question = ProofRequest { request_id: id, height: signed(site, height.unwrap_or(0))? };
        let names = [proof::path::PROOF, PROOF_V2];
        let answer: ProofResponse = self.call_either(Method::Proof, &self.old_names.proof, names, question).await?;
        let result = answer.result.ok_or_else(|| site.malformed("no proof in it"))?;
        convert::served_proof(site, id, result.evm_proof_bytes.to_vec())
    }

    async fn validators(&self) -> Result<Vec<Validator>, BandError> {
        let page =
            |offset: usize| Some(PageRequest { offset: offset as u64, limit: PAGE, count_total: true, ..PageRequest::default() });
        let first = GetLatestValidatorSetRequest { pagination: page(0) };
        let mut answer: ValidatorSetResponse =
            self.call(Method::Validators, tendermint::path::GET_LATEST_VALIDATOR_SET, first).await?;
        let height = answer.block_height;
        let mut validators = Vec::new();
        loop {
            let total = answer.pagination.as_ref().map_or(0, |page| page.total);
            let last = (answer.validators.len() as u64) < PAGE;
            validators.append(&mut answer.validators);
            if last || validators.len() as u64 >= total || validators.len() > VALIDATORS_MAX {
                return Ok(validators);
            }
            let next = GetValidatorSetByHeightRequest { height, pagination: page(validators.len()) };
            answer = self.call(Method::Validators, tendermint::path::GET_VALIDATOR_SET_BY_HEIGHT, next).await?;
        }
    }
}

/// Heights are signed on the wire.
fn signed(site: Site<'_>, height: u64) -> Result<i64, BandError> {
    i64::try_from(height).map_err(|_| site.not_found(&format!("there is no height {height}")))
}
