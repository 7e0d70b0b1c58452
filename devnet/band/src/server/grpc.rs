//! gRPC: one route per call. The messages are the protocol crate's, so no generated code is needed.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::post;
use prost::Message;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Response, Status};
use tonic_prost::ProstCodec;
use windlass_vrf_protocol::messages::{Any, auth, bank, oracle, proof, tendermint, tx};
use windlass_vrf_protocol::multistore::Layout;

use super::{Broadcast, CallError, Shared, convert, json};
use crate::chain::Chain;
use crate::error::QueryError;

type Answer<T> = Result<T, CallError>;

/// Where nodes write their newest height into every answer.
const HEIGHT_HEADER: &str = "x-cosmos-block-height";

/// All calls. Unknown ones are answered UNIMPLEMENTED.
pub(super) fn router(shared: Shared) -> Router {
    let unknown = || async { Ok::<_, Infallible>(Status::unimplemented("").into_http::<tonic::body::Body>()) };
    let mut routes = Routes { router: Router::new().fallback(unknown), shared };
    routes.sync(auth::path::ACCOUNT_INFO, account_info);
    routes.sync(auth::path::ACCOUNT, account);
    routes.sync(bank::path::BALANCE, balance);
    routes.sync(tendermint::path::GET_LATEST_BLOCK, latest_block);
    routes.sync(tendermint::path::GET_BLOCK_BY_HEIGHT, block_by_height);
    routes.sync(tendermint::path::GET_LATEST_VALIDATOR_SET, latest_validators);
    routes.sync(tendermint::path::GET_VALIDATOR_SET_BY_HEIGHT, validators_by_height);
    routes.sync(tendermint::path::ABCI_QUERY, abci_query);
    routes.sync(tx::path::GET_TX, get_tx);
    routes.sync(tx::path::GET_TXS_EVENT, get_txs_event);
    routes.sync(tx::path::SIMULATE, simulate);
    routes.sync(oracle::path::REQUEST, |chain, question| on(Layout::V3, chain, question, request));
    routes.sync(oracle::path::REQUEST_V2, |chain, question| on(Layout::V2, chain, question, request));
    routes.sync(oracle::path::PARAMS, |chain, question| on(Layout::V3, chain, question, params));
    routes.sync(oracle::path::PARAMS_V2, |chain, question| on(Layout::V2, chain, question, params));
    routes.sync(proof::path::PROOF, single_proof);
    routes.sync(proof::path::MULTI_PROOF, multi_proof);
    routes.sync(proof::path::REQUEST_COUNT_PROOF, count_proof);
    routes.unary(tx::path::BROADCAST_TX, |shared, request| Box::pin(broadcast(shared, request)));
    routes.router
}

/// The oracle module has one name on chain v2 and another on v3.
fn on<I, O>(layout: Layout, chain: &Chain, question: I, handler: fn(&Chain, I) -> Answer<O>) -> Answer<O> {
    if chain.latest().is_some_and(|block| block.layout() != layout) {
        let service = if layout == Layout::V3 { "band.oracle.v1.Query" } else { "oracle.v1.Query" };
        return Err(CallError::Unimplemented(service));
    }
    handler(chain, question)
}

struct Routes {
    router: Router,
    shared: Shared,
}

type Handling<O> = Pin<Box<dyn Future<Output = Answer<O>> + Send>>;

impl Routes {
    /// A call that reads the chain.
    fn sync<I, O>(&mut self, path: &'static str, handler: fn(&Chain, I) -> Answer<O>)
    where
        I: Message + Default + Send + 'static,
        O: Message + Default + Send + 'static,
    {
        self.unary(path, move |shared, request| Box::pin(async move { handler(&shared.read(), request) }));
    }

    fn unary<I, O>(&mut self, path: &'static str, handler: impl Fn(Shared, I) -> Handling<O> + Send + Sync + 'static)
    where
        I: Message + Default + Send + 'static,
        O: Message + Default + Send + 'static,
    {
        let unary = Unary { shared: self.shared.clone(), method: method_name(path).into(), handler: Arc::new(handler) };
        let serve = move |request: Request| {
            let unary = unary.clone();
            async move { Grpc::new(ProstCodec::<O, I>::default()).unary(unary, request).await.into_response() }
        };
        let router = std::mem::take(&mut self.router);
        self.router = router.route(path, post(serve));
    }
}

/// The name that rules for faults use.
fn method_name(path: &str) -> String {
    format!("grpc/{}", path.rsplit('/').next().unwrap_or_default())
}

type Handler<I, O> = Arc<dyn Fn(Shared, I) -> Handling<O> + Send + Sync>;

struct Unary<I, O> {
    shared: Shared,
    method: Arc<str>,
    handler: Handler<I, O>,
}

impl<I, O> Clone for Unary<I, O> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), method: self.method.clone(), handler: self.handler.clone() }
    }
}

impl<I: Send + 'static, O: Send + 'static> UnaryService<I> for Unary<I, O> {
    type Response = O;
    type Future = Pin<Box<dyn Future<Output = Result<Response<O>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<I>) -> Self::Future {
        let Self { shared, method, handler } = self.clone();
        Box::pin(async move {
            let lost = shared.before(&method).await.map_err(status)?;
            let answer = handler(shared.clone(), request.into_inner()).await;
            if lost {
                return Err(status(CallError::Unavailable));
            }
            let mut response = answer.map(Response::new).map_err(status)?;
            response.metadata_mut().insert(HEIGHT_HEADER, shared.read().height().into());
            Ok(response)
        })
    }
}

fn status(error: CallError) -> Status {
    let mut status = Status::new(error.code(), error.message());
    if let CallError::RateLimited { retry_after_seconds } = error
        && let Ok(value) = retry_after_seconds.to_string().parse()
    {
        status.metadata_mut().insert("retry-after", value);
    }
    status
}

fn base_account(chain: &Chain, address: String) -> Answer<auth::BaseAccount> {
    let account = chain.account(&address).ok_or_else(|| CallError::NotFound(format!("account {address} not found")))?;
    Ok(auth::BaseAccount { address, pub_key: None, account_number: account.number, sequence: account.sequence })
}

fn account_info(chain: &Chain, request: auth::QueryAccountInfoRequest) -> Answer<auth::QueryAccountInfoResponse> {
    Ok(auth::QueryAccountInfoResponse { info: Some(base_account(chain, request.address)?) })
}

fn account(chain: &Chain, request: auth::QueryAccountRequest) -> Answer<auth::QueryAccountResponse> {
    let value = base_account(chain, request.address)?.encode_to_vec();
    Ok(auth::QueryAccountResponse { account: Some(Any { type_url: auth::BASE_ACCOUNT_TYPE_URL.to_owned(), value }) })
}

fn balance(chain: &Chain, request: bank::QueryBalanceRequest) -> Answer<bank::QueryBalanceResponse> {
    let amount = chain.balance(&request.address, &request.denom).to_string();
    Ok(bank::QueryBalanceResponse { balance: Some(tx::Coin { denom: request.denom, amount }) })
}

fn latest_block(chain: &Chain, _: tendermint::GetLatestBlockRequest) -> Answer<tendermint::GetLatestBlockResponse> {
    let block = chain.block(chain.height())?;
    let (block_id, block) = (Some(convert::block_id(block)), Some(convert::block(block)));
    Ok(tendermint::GetLatestBlockResponse { block_id, block, sdk_block: None })
}

/// A height of a request. The SDK refuses heights above the newest by itself, in its own words.
fn height_of(chain: &Chain, height: i64) -> Answer<u64> {
    let Some(height) = u64::try_from(height).ok().filter(|height| *height > 0) else {
        return Err(CallError::Query(QueryError::HeightNotPositive { height }));
    };
    if height > chain.height() {
        return Err(CallError::Invalid("requested block height is bigger then the chain length".to_owned()));
    }
    Ok(height)
}

fn block_by_height(chain: &Chain, request: tendermint::GetBlockByHeightRequest) -> Answer<tendermint::GetBlockByHeightResponse> {
    let block = chain.block(height_of(chain, request.height)?)?;
    let (block_id, block) = (Some(convert::block_id(block)), Some(convert::block(block)));
    Ok(tendermint::GetBlockByHeightResponse { block_id, block, sdk_block: None })
}

fn validators_of(
    chain: &Chain,
    height: u64,
    page: Option<windlass_vrf_protocol::messages::PageRequest>,
) -> Answer<tendermint::ValidatorSetResponse> {
    let all = chain.block(height)?.validators().validators();
    let page = page.unwrap_or_default();
    let (skip, most) = (page.offset as usize, if page.limit == 0 { 100 } else { page.limit as usize });
    Ok(tendermint::ValidatorSetResponse {
        block_height: convert::signed(height),
        validators: all.iter().skip(skip).take(most).map(convert::validator).collect(),
        pagination: Some(windlass_vrf_protocol::messages::PageResponse { next_key: Vec::new(), total: all.len() as u64 }),
    })
}

fn latest_validators(
    chain: &Chain,
    request: tendermint::GetLatestValidatorSetRequest,
) -> Answer<tendermint::ValidatorSetResponse> {
    validators_of(chain, chain.height(), request.pagination)
}

fn validators_by_height(
    chain: &Chain,
    request: tendermint::GetValidatorSetByHeightRequest,
) -> Answer<tendermint::ValidatorSetResponse> {
    validators_of(chain, height_of(chain, request.height)?, request.pagination)
}

/// The oracle store by key, queries of modules by their gRPC path, and simulation.
pub(super) fn abci_query(chain: &Chain, request: tendermint::AbciQueryRequest) -> Answer<tendermint::AbciQueryResponse> {
    let tendermint::AbciQueryRequest { data, path, height, prove } = request;
    let (newest, refused) = (chain.height(), |code: u32, log: String| tendermint::AbciQueryResponse {
        code,
        log,
        height,
        codespace: "sdk".to_owned(),
        ..tendermint::AbciQueryResponse::default()
    });
    if path != "/store/oracle/key" {
        let height = convert::signed(newest);
        return Ok(match module_query(chain, &path, &data) {
            Ok(value) => tendermint::AbciQueryResponse { value, height, ..tendermint::AbciQueryResponse::default() },
            Err(error) if error.code() == Code::Unimplemented => {
                refused(6, format!("unknown query path: {path}: unknown request"))
            }
            Err(error) if error.code() == Code::NotFound => refused(22, format!("{}: key not found", error.message())),
            Err(error) => refused(18, format!("{}: invalid request", error.message())),
        });
    }
    let asked = if height == 0 { newest } else { u64::try_from(height).unwrap_or_default() };
    if asked <= 1 && prove {
        let text = "cannot query with proof when height <= 1; please provide a valid height: invalid request";
        return Ok(refused(18, text.to_owned()));
    }
    match chain.store_query(&data, Some(asked)) {
        Ok(answer) => Ok(tendermint::AbciQueryResponse {
            key: data,
            value: answer.value.unwrap_or_default().to_vec(),
            proof_ops: prove.then_some(tendermint::ProofOps { ops: answer.ops }),
            height: convert::signed(answer.height),
            ..tendermint::AbciQueryResponse::default()
        }),
        Err(QueryError::ProofNotFound) => {
            let text = format!("failed to load state at height {asked}; version does not exist (latest height: {newest})");
            Ok(refused(18, format!("{text}: invalid request")))
        }
        Err(error) => Err(error.into()),
    }
}

/// What a module answers under the path of its gRPC call, encoded.
fn module_query(chain: &Chain, path: &str, data: &[u8]) -> Answer<Vec<u8>> {
    fn run<I: Message + Default, O: Message>(data: &[u8], handler: impl FnOnce(I) -> Answer<O>) -> Answer<Vec<u8>> {
        let question = I::decode(data).map_err(|error| CallError::Invalid(error.to_string()))?;
        Ok(handler(question)?.encode_to_vec())
    }
    match path {
        auth::path::ACCOUNT_INFO => run(data, |question| account_info(chain, question)),
        auth::path::ACCOUNT => run(data, |question| account(chain, question)),
        bank::path::BALANCE => run(data, |question| balance(chain, question)),
        oracle::path::REQUEST => run(data, |question| on(Layout::V3, chain, question, request)),
        oracle::path::REQUEST_V2 => run(data, |question| on(Layout::V2, chain, question, request)),
        oracle::path::PARAMS => run(data, |question| on(Layout::V3, chain, question, params)),
        oracle::path::PARAMS_V2 => run(data, |question| on(Layout::V2, chain, question, params)),
        "/app/simulate" => {
            let (wanted, used) = chain.simulate(data)?;
            Ok(json::simulation(wanted, used).to_string().into_bytes())
        }
        _ => Err(CallError::Unimplemented("")),
    }
}

async fn broadcast(shared: Shared, request: tx::BroadcastTxRequest) -> Answer<tx::BroadcastTxResponse> {
    use tx::BroadcastMode;
    let mode = BroadcastMode::try_from(request.mode).unwrap_or(BroadcastMode::Unspecified);
    if mode == BroadcastMode::Unspecified {
        return Err(CallError::Invalid("unsupported broadcast mode; supported: sync, async, block".to_owned()));
    }
    let tx_response = match shared.broadcast(&request.tx_bytes, mode == BroadcastMode::Block).await? {
        Broadcast::Included(transaction) => convert::tx_response(&transaction),
        // In ASYNC mode nobody has looked at it yet.
        Broadcast::Checked(answer) if mode == BroadcastMode::Async => {
            tx::TxResponse { txhash: answer.hash, ..Default::default() }
        }
        Broadcast::Checked(answer) => convert::check_response(answer),
    };
    Ok(tx::BroadcastTxResponse { tx_response: Some(tx_response) })
}

fn get_tx(chain: &Chain, request: tx::GetTxRequest) -> Answer<tx::GetTxResponse> {
    let hash = &request.hash;
    let transaction = chain.transaction(hash).ok_or_else(|| CallError::NotFound(format!("tx not found: {hash}")))?;
    let decoded = tx::Tx::decode(&transaction.bytes[..]).ok();
    Ok(tx::GetTxResponse { tx: decoded, tx_response: Some(convert::tx_response(&transaction)) })
}

pub(super) fn get_txs_event(chain: &Chain, request: tx::GetTxsEventRequest) -> Answer<tx::GetTxsEventResponse> {
    let query = if request.query.is_empty() { request.events.join(" AND ") } else { request.query };
    if query.is_empty() {
        return Err(CallError::Invalid("query cannot be empty".to_owned()));
    }
    let mut found = chain.search(&query)?;
    if request.order_by == tx::OrderBy::Descending as i32 {
        found.reverse();
    }
    let old_page = request.pagination.unwrap_or_default();
    let limit = [request.limit, old_page.limit, 100].into_iter().find(|limit| *limit > 0).unwrap_or(100).min(100);
    let skip = if request.page > 0 { (request.page - 1).saturating_mul(limit) } else { old_page.offset };
    let total = found.len() as u64;
    let page: Vec<_> = found.into_iter().skip(skip as usize).take(limit as usize).collect();
    Ok(tx::GetTxsEventResponse {
        txs: page.iter().filter_map(|transaction| tx::Tx::decode(&transaction.bytes[..]).ok()).collect(),
        tx_responses: page.iter().map(|transaction| convert::tx_response(transaction)).collect(),
        pagination: Some(windlass_vrf_protocol::messages::PageResponse { next_key: Vec::new(), total }),
        total,
    })
}

fn simulate(chain: &Chain, request: tx::SimulateRequest) -> Answer<tx::SimulateResponse> {
    let bytes = match request.tx {
        Some(tx) if request.tx_bytes.is_empty() => tx.encode_to_vec().into(),
        _ => request.tx_bytes,
    };
    let (gas_wanted, gas_used) = chain.simulate(&bytes)?;
    Ok(tx::SimulateResponse { gas_info: Some(tx::GasInfo { gas_wanted, gas_used }), result: None })
}

fn request(chain: &Chain, request: oracle::QueryRequestRequest) -> Answer<oracle::QueryRequestResponse> {
    Ok(convert::request_state(&chain.request(request.request_id)?))
}

fn params(chain: &Chain, _: oracle::QueryParamsRequest) -> Answer<oracle::QueryParamsResponse> {
    let config = chain.config();
    let params = oracle::Params {
        max_raw_request_count: 16,
        max_ask_count: config.max_ask_count,
        max_calldata_size: config.max_calldata_size,
        max_report_data_size: 512,
        expiration_block_count: config.expiration_blocks,
        base_owasm_gas: config.base_owasm_gas,
        per_validator_request_gas: config.per_validator_request_gas,
        sampling_try_count: 3,
        oracle_reward_percentage: 70,
        inactive_penalty_duration: 600_000_000_000,
        ibc_request_enabled: true,
    };
    Ok(oracle::QueryParamsResponse { params: Some(params) })
}

pub(super) fn single_proof(chain: &Chain, request: proof::ProofRequest) -> Answer<proof::ProofResponse> {
    let height = match request.height {
        0 => None,
        height => Some(u64::try_from(height).map_err(|_| QueryError::HeightNotPositive { height })?),
    };
    Ok(convert::single_proof(chain.proof(request.request_id, height)?))
}

pub(super) fn multi_proof(chain: &Chain, request: proof::MultiProofRequest) -> Answer<proof::MultiProofResponse> {
    Ok(convert::multi_proof(chain.multi_proof(&request.request_ids)?))
}

pub(super) fn count_proof(chain: &Chain, _: proof::RequestCountProofRequest) -> Answer<proof::RequestCountProofResponse> {
    Ok(convert::count_proof(chain.count_proof()?))
}
