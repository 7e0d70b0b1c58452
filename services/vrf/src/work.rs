//! Carries effects out: one question or one signature each, whose outcome is an event.

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, keccak256};
use futures::future::BoxFuture;
use k256::ecdsa::SigningKey;
use parking_lot::{Mutex, RwLock};
use windlass_chain::{BlockRef, Endpoints, HeadSignal, LogFilter};
use windlass_vrf_protocol as protocol;
use windlass_vrf_protocol::messages::oracle::MsgRequestData;
use windlass_vrf_protocol::messages::tx::Coin;
use windlass_vrf_protocol::signature::Signers;
use windlass_vrf_protocol::task::ProviderVersion;
use windlass_vrf_protocol::tx::RequestDataMsg;
use windlass_vrf_protocol::verify::{BlockDetail, BridgeState};

use crate::config::ProofSource;
use crate::machine::{
    BandAccount, BridgeView, ChainTask, Effect, Event, FoundRequest, LandedTx, OfferOutcome, Plan, ProofOutcome, ProviderView,
    Request, Resolution, TasksAt, Terms,
};
use crate::ports::band::{BandApi, BandError, BroadcastMode, ResolveStatus, TxInfo};
use crate::ports::client_chain::{self, ProviderReader, Settings};
use crate::prove;

/// Transactions of the account that are searched for requests of an earlier life.
const FOUND: u32 = 200;

/// What requests and transactions on BandChain are made of, beside what the machine decides.
#[derive(Debug, Clone)]
pub struct RequestOptions {
    /// Client id of the requests.
    pub client_id: String,
    /// Gas for preparation and execution of the script.
    pub prepare_gas: u64,
    /// See `prepare_gas`.
    pub execute_gas: u64,
    /// Most that data sources may cost.
    pub ds_fee_limit: u128,
    /// Denomination of fees.
    pub denom: String,
    /// Which message the chain understands.
    pub message: protocol::tx::MessageType,
    /// How transactions are broadcast.
    pub broadcast: BroadcastMode,
    /// Where proofs come from.
    pub proof_source: ProofSource,
    /// Whether there is a CometBFT endpoint.
    pub has_rpc: bool,
    /// Whether the price of gas on the client chain matters.
    pub wants_gas_price: bool,
    /// Endpoints of the client chain that must agree on a task.
    pub quorum: usize,
}

/// The Band account.
#[derive(Clone)]
pub struct BandKey {
    /// Its key; wiped when it is dropped.
    pub key: SigningKey,
    /// Its address, `band1...`.
    pub address: String,
}

impl std::fmt::Debug for BandKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BandKey").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Both chains, the Band account, and what is remembered between questions.
pub struct Work {
    provider: ProviderReader,
    band: Arc<dyn BandApi>,
    key: BandKey,
    worker: Address,
    options: RequestOptions,
    bridge: RwLock<Option<Arc<BridgeState>>>,
    settings: RwLock<Option<Settings>>,
    /// The Band chain that the nodes serve; `None` while they are not heard of.
    served_chain: RwLock<Option<String>>,
    signers: Mutex<Signers>,
}

impl Work {
    /// Puts the parts together. Contacts nobody.
    pub fn new(provider: ProviderReader, band: Arc<dyn BandApi>, key: BandKey, worker: Address, options: RequestOptions) -> Self {
        Self {
            provider: provider.with_agreeing(options.quorum),
            band,
            key,
            worker,
            options,
            bridge: RwLock::new(None),
            settings: RwLock::new(None),
            served_chain: RwLock::new(None),
            signers: Mutex::new(Signers::with_capacity(4_096)),
        }
    }

    /// Address of the Band account.
    pub fn band_address(&self) -> &str {
        &self.key.address
    }

    /// The client chain.
    pub fn endpoints(&self) -> &Endpoints {
        self.provider.endpoints()
    }

    /// BandChain.
    pub fn band(&self) -> &Arc<dyn BandApi> {
        &self.band
    }

    /// The Bridge as it was read last.
    pub fn bridge(&self) -> Option<Arc<BridgeState>> {
        self.bridge.read().clone()
    }

    /// The provider's events.
    pub fn filter(&self) -> LogFilter {
        client_chain::filter(self.provider.provider())
    }

    /// Announces new blocks of the client chain, if an endpoint does.
    pub fn head_signal(&self) -> Option<HeadSignal> {
        self.endpoints().head_signal()
    }

    /// The newest block of BandChain.
    pub async fn read_band_head(&self) -> Event {
        let head = self.band.latest_block().await;
        *self.served_chain.write() = head.as_ref().ok().map(|block| block.chain_id.clone());
        Event::BandHead(head.map(|block| (block.chain_id, block.height)).map_err(|error| error.to_string()))
    }

    /// Does what the machine asks for.
    ///
    /// Boxed: the compiler cannot see through the nested futures otherwise.
    pub fn perform(&self, effect: Effect) -> BoxFuture<'_, Event> {
        Box::pin(self.do_it(effect))
    }

    async fn do_it(&self, effect: Effect) -> Event {
        match effect {
            Effect::ReadProvider => Event::ProviderRead(self.read_provider().await),
            Effect::ReadBridge(bridge) => Event::BridgeRead(self.read_bridge(bridge).await),
            Effect::ReadTasks(nonces) => {
                let result = self.read_tasks(&nonces).await;
                Event::TasksRead { nonces, result }
            }
            Effect::ReadAccount => Event::AccountRead(match self.band.account(&self.key.address).await {
                Ok(state) => Ok(Some(BandAccount { number: state.account_number, sequence: state.sequence })),
                Err(BandError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error.to_string()),
            }),
            Effect::FindRequests => Event::Found(self.find_requests().await),
            Effect::Sign(plan) => {
                let result = self.sign(&plan).await;
                Event::Signed { plan, result }
            }
            Effect::Offer { hash, bytes } => {
                let outcome = self.offer(&bytes).await;
                Event::Offered { hash, outcome }
            }
            Effect::Look { sequence, hash } => {
                let result = landed(self.band.transaction(&hash).await);
                Event::Looked { sequence, hash, result }
            }
            Effect::Search { sequence } => {
                let result = landed(self.band.transaction_at_sequence(&self.key.address, sequence).await);
                Event::Searched { sequence, result }
            }
            Effect::ReadBlockResults { height } => Event::BlockResults { height, result: self.read_results(height).await },
            Effect::Prove { task, request } => {
                let outcome = self.prove(&task, &request).await;
                Event::Proved { key: task.key(), id: request.id, outcome }
            }
            Effect::Simulate { key, proof } => {
                let result = self.simulate(key.nonce, &proof).await;
                Event::Simulated { key, result }
            }
        }
    }

    // --- the client chain ---------------------------------------------------------------------------------------------------------------

    async fn head(&self) -> Result<BlockRef, String> {
        self.endpoints().head().await.map_err(|error| error.to_string())
    }

    async fn read_provider(&self) -> Result<ProviderView, String> {
        let head = self.head().await?;
        let settings = self.provider.settings(&head).await.map_err(|error| error.to_string())?;
        let gas_price = match self.options.wants_gas_price {
            true => Some(self.endpoints().gas_price().await.map_err(|error| error.to_string())?),
            false => None,
        };
        let view = ProviderView {
            head: head.number,
            counts: settings.counts.map(|(min, ask)| (u64::from(min), u64::from(ask))),
            oracle_script_id: settings.oracle_script_id,
            bridge: settings.bridge,
            task_nonce: settings.task_nonce,
            gas_price,
        };
        *self.settings.write() = Some(settings);
        Ok(view)
    }

    async fn read_bridge(&self, bridge: Address) -> Result<BridgeView, String> {
        let head = self.head().await?;
        let state = self.provider.bridge_state(bridge, &head).await.map_err(|error| error.to_string())?;
        let chain_id =
            state.encoded_chain_id.name().ok_or("its encoded chain id is not one: 0x32, a length and a name")?.to_owned();
        let powers = state.validators.iter().flat_map(|(address, power)| {
            let mut bytes = address.to_vec();
            bytes.extend_from_slice(&power.to_be_bytes::<32>());
            bytes
        });
        let fingerprint = keccak256(powers.collect::<Vec<u8>>());
        *self.bridge.write() = Some(Arc::new(state));
        Ok(BridgeView { chain_id, fingerprint })
    }

    async fn read_tasks(&self, nonces: &[u64]) -> Result<TasksAt, String> {
        let head = self.head().await?;
        let tasks = self.provider.tasks(nonces, &head, self.options.quorum).await.map_err(|error| error.to_string())?;
        let tasks = nonces.iter().copied().zip(tasks.into_iter().map(|task| task.map(chain_task))).collect();
        Ok(TasksAt { head: head.number, tasks })
    }

    async fn simulate(&self, nonce: u64, proof: &[u8]) -> Result<(), Option<String>> {
        match self.provider.simulate_relay(self.worker, proof, nonce).await {
            Ok(_gas) => Ok(()),
            Err(refusal) if refusal.is_refusal() => Err(Some(refusal.to_string())),
            Err(_) => Err(None),
        }
    }

    // --- BandChain ----------------------------------------------------------------------------------------------------------------------

    async fn sign(&self, plan: &Plan) -> Result<(String, Bytes), String> {
        // What the newest head said; it is read all the time.
        let served = self.served_chain.read().clone();
        let chain_id = match served {
            Some(chain_id) => chain_id,
            None => self.band.latest_block().await.map_err(|error| error.to_string())?.chain_id,
        };
        let bridge = self.bridge().ok_or("the Bridge was not read yet")?;
        // The machine has compared them before; a node that changes in between must not get a signature for another chain.
        if bridge.encoded_chain_id.name() != Some(chain_id.as_str()) {
            return Err(format!("the Band node serves chain {chain_id} now, which the Bridge does not accept"));
        }
        let signed = sign_plan(plan, &self.key, &self.options, &chain_id)?;
        Ok((signed.hash, signed.bytes))
    }

    async fn offer(&self, bytes: &[u8]) -> OfferOutcome {
        match self.band.broadcast(bytes, self.options.broadcast).await {
            Ok(answer) if answer.is_taken() => OfferOutcome::Accepted,
            Ok(answer) => OfferOutcome::Refused { code: answer.code, codespace: answer.codespace, text: answer.raw_log },
            Err(error) => OfferOutcome::Unknown { text: error.to_string() },
        }
    }

    async fn read_results(&self, height: u64) -> Result<Option<Vec<(u64, Resolution)>>, String> {
        match self.band.resolved_in(height).await {
            Ok(ended) => Ok(Some(ended.into_iter().filter_map(|(id, status)| Some((id, resolution(status)?))).collect())),
            Err(BandError::Unsupported { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Requests of this account in its newest transactions, by the calldata that names seed and worker.
    async fn find_requests(&self) -> Result<Vec<FoundRequest>, String> {
        let transactions = match self.band.transactions_of(&self.key.address, FOUND).await {
            Ok(transactions) => transactions,
            // What no node can tell is not known; requests are then made anew.
            Err(BandError::Unsupported { .. } | BandError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.to_string()),
        };
        let mut found = Vec::new();
        for (info, bytes) in transactions.into_iter().filter(|(info, _)| info.code == 0) {
            let Ok(decoded) = protocol::tx::decode(&bytes) else { continue };
            let Ok(ids) = protocol::events::request_ids(&info.events, &info.raw_log) else { continue };
            for ((_, request), id) in decoded.requests.into_iter().zip(ids) {
                let message = request.message;
                let Ok(calldata) = protocol::obi::Calldata::decode(&message.calldata) else { continue };
                let terms = Terms {
                    oracle_script_id: message.oracle_script_id,
                    min_count: message.min_count,
                    ask_count: message.ask_count,
                    worker: calldata.worker,
                };
                let request = Request { id, height: info.height, terms, resolved: None };
                found.push(FoundRequest { seed: calldata.seed, time: calldata.time, request });
            }
        }
        Ok(found)
    }

    async fn prove(&self, task: &ChainTask, request: &Request) -> ProofOutcome {
        let (Some(bridge), Some(settings)) = (self.bridge(), *self.settings.read()) else { return ProofOutcome::NotReady };
        let served = match self.serve(request).await {
            Ok(served) => served,
            Err(BandError::NotReady { .. } | BandError::NotFound { .. }) => return ProofOutcome::NotReady,
            Err(error) => return ProofOutcome::Unavailable { text: error.to_string() },
        };
        let version = settings.version;
        let terms = prove::Terms { bridge: &bridge, version, settings: settings.compared(), worker: self.worker };
        let outcome = {
            let mut signers = self.signers.lock();
            signers.learn(&served.recovered);
            prove::judge(&served.evm_proof_bytes, task, request, terms, &mut signers)
        };
        match outcome {
            ProofOutcome::Proven { proof, version: at } if version == ProviderVersion::V1 => {
                let proof = self.cheaper(settings.bridge, &proof).await.unwrap_or(proof);
                ProofOutcome::Proven { proof, version: at }
            }
            outcome => outcome,
        }
    }

    /// The proof without signatures, if the Bridge of a V1 provider has relayed the same block before: it then looks at none. Should a
    /// reorganisation take that block's relay back, the outbox's simulation sees it, and the proof is made anew.
    async fn cheaper(&self, bridge: Address, proof: &Bytes) -> Option<Bytes> {
        let (height, oracle_state, time_second, time_nano_second) = prove::relayed_block(proof).ok()?;
        let head = self.endpoints().head().await.ok()?;
        let stored = self.provider.relayed_block(bridge, height, &head).await.ok()?;
        let known = BlockDetail { oracle_state, time_second, time_nano_second };
        if stored == known { prove::without_signatures(proof).ok() } else { None }
    }

    /// A proof from where the settings say; with a CometBFT endpoint one block earlier than from the Proof service.
    async fn serve(&self, request: &Request) -> Result<crate::ports::band::ServedProof, BandError> {
        let raw = match self.options.proof_source {
            ProofSource::Rpc => true,
            ProofSource::Auto => self.options.has_rpc,
            ProofSource::Service | ProofSource::Rest => false,
        };
        if !raw {
            return self.band.proof(request.id, None).await;
        }
        let height = match request.resolved {
            Some(resolved) => resolved.saturating_add(1),
            None => self.band.latest_block().await?.height,
        };
        match self.band.raw_proof(request.id, height).await {
            // The state of that height is gone: any later one has the result as well.
            Err(BandError::Pruned { .. }) => {
                let newest = self.band.latest_block().await?.height;
                match self.band.raw_proof(request.id, newest).await {
                    Err(_) if self.options.proof_source == ProofSource::Auto => self.band.proof(request.id, None).await,
                    result => result,
                }
            }
            Err(error) if self.options.proof_source == ProofSource::Auto && !matches!(error, BandError::NotReady { .. }) => {
                self.band.proof(request.id, None).await.map_err(|_| error)
            }
            result => result,
        }
    }
}

/// Signs a plan. Deterministic: the same plan gives the same bytes.
///
/// # Errors
/// The plan is not a transaction that the chain takes, in words.
pub fn sign_plan(plan: &Plan, key: &BandKey, options: &RequestOptions, chain_id: &str) -> Result<protocol::tx::SignedTx, String> {
    let messages = plan.requests.iter().map(|request| {
        let calldata = protocol::obi::Calldata { seed: request.key.seed, time: request.time, worker: plan.terms.worker };
        let fee_limit = Coin { denom: options.denom.clone(), amount: options.ds_fee_limit.to_string() };
        let message = MsgRequestData {
            oracle_script_id: plan.terms.oracle_script_id,
            calldata: calldata.encode().to_vec(),
            ask_count: plan.terms.ask_count,
            min_count: plan.terms.min_count,
            client_id: options.client_id.clone(),
            fee_limit: vec![fee_limit],
            prepare_gas: options.prepare_gas,
            execute_gas: options.execute_gas,
            sender: key.address.clone(),
            ..MsgRequestData::default()
        };
        RequestDataMsg { version: options.message, message }
    });
    let input = protocol::tx::SignInput {
        messages: messages.collect(),
        memo: String::new(),
        fee: plan.fee,
        denom: options.denom.clone(),
        gas_limit: plan.gas_limit,
        sequence: plan.sequence,
        account_number: plan.account_number,
        chain_id: chain_id.to_owned(),
    };
    protocol::tx::sign(&key.key, &input).map_err(|error| error.to_string())
}

/// The port's task in the machine's words.
pub(crate) fn chain_task(task: protocol::task::Task) -> ChainTask {
    ChainTask {
        nonce: task.nonce,
        is_resolved: task.is_resolved,
        time: task.time,
        caller: task.caller,
        task_fee: task.task_fee,
        seed: task.seed,
        client_seed: task.client_seed,
    }
}

pub(crate) const fn resolution(status: ResolveStatus) -> Option<Resolution> {
    match status {
        ResolveStatus::Success => Some(Resolution::Success),
        ResolveStatus::Failure => Some(Resolution::Failure),
        ResolveStatus::Expired => Some(Resolution::Expired),
        ResolveStatus::Open => None,
    }
}

fn landed(result: Result<Option<TxInfo>, BandError>) -> Result<Option<LandedTx>, String> {
    let Some(info) = result.map_err(|error| error.to_string())? else { return Ok(None) };
    let request_ids = match info.code {
        0 => protocol::events::request_ids(&info.events, &info.raw_log).map_err(|error| error.to_string())?,
        _ => Vec::new(),
    };
    Ok(Some(LandedTx { hash: info.hash, height: info.height, code: info.code, text: info.raw_log, request_ids }))
}
