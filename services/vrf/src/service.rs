//! The relay as a service of the node: one instance serves one provider.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use async_trait::async_trait;
use axum::Router;
use parking_lot::RwLock;
use windlass_account::{chain_head, outbox_view};
use windlass_chain::{Endpoints, FollowConfig, Follower};
use windlass_keys::{Coin, Mnemonic, Secret, SecretSource};
use windlass_node::openapi::Operation;
use windlass_node::{
    ChainHead, LeaseRequest, Readiness, RestartPolicy, RouteRule, Service, ServiceContext, ServiceError, ServiceStatus,
};
use windlass_outbox::{Outbox, OutboxConfig};
use windlass_store::{Migrations, Store};
use windlass_vrf_protocol::task::ProviderVersion;
use windlass_vrf_protocol::tx::{BandAddress, MessageType};

use crate::agent::{Agent, IntentTerms, Pace, Parts};
use crate::api;
use crate::cloud::{LookNow, Trigger};
use crate::config::{BandConfig, MessageChoice, ProofSource, VersionChoice, VrfConfig};
use crate::error::VrfError;
use crate::machine::{Policy, Relay};
use crate::metrics;
use crate::ports::band::{BandApi, BandClient, BandClientConfig};
use crate::ports::client_chain::ProviderReader;
use crate::shared::{Picture, Shared};
use crate::tables::{self, Filter, Scope};
use crate::view::{self, Latencies};
use crate::watch::Watch;
use crate::work::{BandKey, RequestOptions, Work};

/// Serves one provider.
pub struct VrfService {
    name: String,
    config: Arc<VrfConfig>,
    store: Store,
    endpoints: Endpoints,
    band: Arc<dyn BandApi>,
    shared: Arc<Shared>,
    running: RwLock<Option<Running>>,
    trigger: Option<Arc<Trigger>>,
}

/// What is known while the service runs here.
#[derive(Clone)]
struct Running {
    outbox: Outbox,
    scope: Scope,
    band_address: String,
}

impl VrfService {
    /// A service for `[vrf.<instance>]`. Contacts nobody.
    pub fn new(instance: &str, config: VrfConfig, endpoints: Endpoints, band: Arc<dyn BandApi>, store: Store) -> Self {
        metrics::describe();
        crate::ports::band::meter::describe();
        Self {
            name: format!("vrf.{instance}"),
            config: Arc::new(config),
            store,
            endpoints,
            band,
            shared: Arc::new(Shared::default()),
            running: RwLock::new(None),
            trigger: None,
        }
    }

    /// With the HTTP trigger that the section may ask for.
    ///
    /// # Errors
    /// The trigger's webhook or clients cannot be prepared.
    pub fn with_trigger(mut self) -> Result<Self, VrfError> {
        if let Some(config) = &self.config.trigger {
            let cycle = Arc::new(LookNow::new(Arc::clone(&self.shared)));
            let names = (self.name.as_str(), self.config.chain.as_str());
            self.trigger = Some(Trigger::new(config, names, cycle, self.store.clone())?);
        }
        Ok(self)
    }

    /// What agent, status and interface share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whose rows, once the chain has told its id.
    ///
    /// # Errors
    /// No endpoint of the client chain answers.
    pub async fn scope(&self) -> Result<Scope, VrfError> {
        Ok(Scope { chain_id: self.endpoints.chain_id().await?, provider: self.config.provider })
    }

    fn reader(&self) -> ProviderReader {
        provider_reader(self.endpoints.clone(), &self.config)
    }

    async fn run_agent(&self, ctx: &ServiceContext) -> Result<(), VrfError> {
        let config = &self.config;
        let scope = self.scope().await?;
        let signer = config.account.key_config().open().await?;
        let key = band_key(config).await?;
        let worker = signer.address();
        let mut settings = config.account.outbox(self.endpoints.name(), config.final_depth);
        settings.lease_ttl = OutboxConfig::default().lease_ttl;
        let outbox = Outbox::open(self.store.clone(), self.endpoints.clone(), signer, settings).await?;
        let options = request_options(config, &*self.band).await?;
        let work = Arc::new(Work::new(self.reader(), Arc::clone(&self.band), key.clone(), worker, options));
        *self.running.write() = Some(Running { outbox: outbox.clone(), scope, band_address: key.address });
        if config.callers.is_empty() {
            tracing::warn!(service = %self.name, "the list of callers is empty: nothing is relayed; name the callers to serve in callers");
        }
        let sender = outbox.clone();
        ctx.tasks.spawn("outbox", RestartPolicy::on_failure(), move |token| {
            let outbox = sender.clone();
            async move { outbox.run(token).await }
        });
        let watch = Watch::new(&self.name, config, worker, Arc::clone(&work), Arc::clone(&self.shared), ctx.alerts.clone());
        ctx.tasks.spawn("watch", RestartPolicy::always(), move |token| {
            let watch = watch.clone();
            async move { watch.run(token).await }
        });
        if let Some(trigger) = &self.trigger {
            let (trigger, fence) = (Arc::clone(trigger), ctx.fence.clone());
            ctx.tasks.spawn("trigger", RestartPolicy::on_failure(), move |token| {
                let (trigger, fence) = (Arc::clone(&trigger), fence.clone());
                async move { trigger.run(fence, token).await }
            });
        }
        let agent = self.load(scope, work, outbox, ctx).await?;
        let inbox = self.shared.open_inbox();
        agent.run(ctx, inbox).await
    }

    async fn load(&self, scope: Scope, work: Arc<Work>, outbox: Outbox, ctx: &ServiceContext) -> Result<Agent, VrfError> {
        let config = &self.config;
        let policy = policy(config, outbox.account());
        let callers = tables::callers_hash(&policy.callers);
        let memory = scope.load(&self.store, callers).await?;
        let machine = Relay::load(policy, memory.tasks, memory.band_txs, memory.scan);
        let follow = FollowConfig {
            filter: Some(work.filter()),
            max_reorg_depth: config.max_reorg_depth,
            window: config.max_reorg_depth.saturating_add(1),
            ..FollowConfig::new(self.name.clone())
        };
        let follower = Follower::load(self.store.clone(), self.endpoints.clone(), follow).await?;
        let terms =
            IntentTerms { provider: config.provider, confirmations: config.final_depth, gas_limit: config.account.gas_limit };
        let pace = Pace { client_poll: config.poll_interval, band_poll: config.band.poll_interval };
        let parts = Parts {
            service: self.name.clone(),
            machine,
            scope,
            callers,
            store: self.store.clone(),
            work,
            follower,
            outbox,
            terms,
            shared: Arc::clone(&self.shared),
            pace,
        };
        Ok(Agent::new(parts, ctx))
    }

    fn client_head(&self, picture: Option<&Picture>) -> ChainHead {
        chain_head(&self.endpoints, picture.and_then(|picture| picture.client_head), None)
    }

    fn band_head(&self, picture: Option<&Picture>) -> ChainHead {
        let chain = picture.and_then(|picture| picture.band_chain.clone()).or_else(|| self.config.band.chain_id.clone());
        ChainHead {
            chain: chain.unwrap_or_else(|| "BandChain".to_owned()),
            number: picture.and_then(|picture| picture.band_height),
            age_seconds: None,
            endpoints: self.band.status(),
        }
    }
}

/// A reader of the contracts that a section names.
pub(crate) fn provider_reader(endpoints: Endpoints, config: &VrfConfig) -> ProviderReader {
    let expected = match config.version {
        VersionChoice::Auto => None,
        VersionChoice::V1 => Some(ProviderVersion::V1),
        VersionChoice::V2 => Some(ProviderVersion::V2),
    };
    ProviderReader::new(endpoints, config.provider, config.lens, expected).with_cross_check(config.quorum > 1)
}

/// The settings that decide.
pub fn policy(config: &VrfConfig, worker: Address) -> Policy {
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let band = &config.band;
    let raw = match band.proof_source {
        ProofSource::Rpc => true,
        ProofSource::Auto => !band.rpc.is_empty(),
        ProofSource::Service | ProofSource::Rest => false,
    };
    Policy {
        worker,
        callers: config.callers.iter().copied().collect(),
        start_nonce: config.start_nonce,
        look_back: Some(config.look_back),
        confirmations: config.confirmations,
        final_depth: config.final_depth,
        reconcile_ms: millis(config.reconcile_every),
        dry_run: config.dry_run,
        unprofitable: config.profit.unprofitable,
        min_margin_percent: u64::from(config.profit.min_margin_percent),
        expected_relay_gas: config.profit.expected_gas,
        request_cost: config.profit.request_cost.wei(),
        max_in_flight: usize::try_from(config.max_in_flight).unwrap_or(usize::MAX),
        min_count: band.min_count,
        ask_count: band.ask_count,
        max_requests: band.max_requests,
        pause_first_ms: millis(config.retry.0).max(1),
        pause_max_ms: millis(config.retry.1).max(1),
        hold_max_ms: millis(config.recheck_held_every).max(1),
        band_chain_id: band.chain_id.clone(),
        band_denom: band.denom.clone(),
        band_gas_limit: band.gas_limit,
        band_gas_price: band.gas_price.clone(),
        band_max_gas_price: band.max_gas_price.clone(),
        band_max_batch: usize::try_from(band.max_batch).unwrap_or(1),
        band_max_in_flight: u64::from(band.max_in_flight),
        band_rebroadcast_ms: millis(band.inclusion_timeout).max(1),
        band_search_blocks: 20,
        band_search_ms: 60_000,
        band_proof_after: if raw { 1 } else { 2 },
        band_answer_ms: millis(band.proof_timeout),
    }
}

/// The account on BandChain, from its recovery phrase.
///
/// # Errors
/// The phrase cannot be had or is none.
pub async fn band_key(config: &VrfConfig) -> Result<BandKey, VrfError> {
    let (phrase, path) = (config.band.mnemonic.clone(), config.band.path.clone());
    let derived = tokio::task::spawn_blocking(move || {
        let Ok(source) = phrase.expose().parse::<SecretSource>();
        let mnemonic = Mnemonic::parse(&source.resolve()?)?;
        mnemonic.derive_path(&path, &Secret::new(String::new()))
    });
    let signer = derived.await.map_err(|error| VrfError::Work { detail: error.to_string() })??;
    let key = k256::ecdsa::SigningKey::from_slice(signer.to_bytes().as_slice())
        .map_err(|_| VrfError::Setup { problem: "the Band key is none".to_owned(), hint: "check band.mnemonic and band.path" })?;
    let address = BandAddress::of_key(key.verifying_key()).to_string();
    debug_assert!(address.starts_with("band1"), "{:?}", Coin::Band);
    Ok(BandKey { key, address })
}

/// The nodes of BandChain that a section names; so many of them must agree on what decides about money, as far as there are so many.
///
/// # Errors
/// An endpoint cannot be used.
pub fn band_client(band: &BandConfig, quorum: u32) -> Result<BandClient, VrfError> {
    let nodes = band.grpc.len().saturating_add(band.rest.len()).saturating_add(band.rpc.len());
    Ok(BandClient::new(BandClientConfig {
        grpc: band.grpc.clone(),
        rest: band.rest.clone(),
        rpc: band.rpc.clone(),
        chain_id: band.chain_id.clone(),
        quorum: usize::try_from(quorum).unwrap_or(1).clamp(1, nodes.max(1)),
        rest_proofs_first: band.proof_source == ProofSource::Rest,
        // An endpoint that is asked for other things only must not count as late because its head was not asked for.
        probe_interval: band.poll_interval.saturating_mul(3).clamp(Duration::from_millis(50), Duration::from_secs(5)),
        ..BandClientConfig::default()
    })?)
}

/// What requests are made of.
async fn request_options(config: &VrfConfig, band: &dyn BandApi) -> Result<RequestOptions, VrfError> {
    let settings = &config.band;
    let message = match settings.message {
        MessageChoice::V3 => MessageType::V3,
        MessageChoice::V2 => MessageType::V2,
        MessageChoice::Auto => band.message_type().await.unwrap_or(MessageType::V3),
    };
    Ok(RequestOptions {
        client_id: settings.client_id.clone(),
        prepare_gas: settings.prepare_gas,
        execute_gas: settings.execute_gas,
        ds_fee_limit: settings.ds_fee_limit,
        denom: settings.denom.clone(),
        message,
        broadcast: settings.broadcast,
        proof_source: settings.proof_source,
        has_rpc: !settings.rpc.is_empty(),
        wants_gas_price: config.profit.unprofitable != crate::config::Unprofitable::Relay,
        quorum: usize::try_from(config.quorum).unwrap_or(1).max(1),
    })
}

/// One phrase for the dashboard.
fn phrase(picture: &Picture) -> String {
    let held: u64 = picture.holds.values().sum();
    match (picture.live(), held) {
        (0, _) => "waiting for requests".to_owned(),
        (1, 0) => "1 task under way".to_owned(),
        (live, 0) => format!("{live} tasks under way"),
        (live, held) => format!("{live} tasks under way, {held} held"),
    }
}

/// What an operator wants to see first.
fn summary(config: &VrfConfig, shared: &Shared, picture: Option<&Picture>) -> Vec<(String, String)> {
    let mut lines = vec![("provider".to_owned(), config.provider.to_string())];
    let mut line = |label: &str, text: String| lines.push((label.to_owned(), text));
    if let Some(picture) = picture {
        // Events tell of requests before the provider's own count is read again.
        if let Some(nonce) = picture.task_nonce.max(picture.next_nonce) {
            line("requests at the provider", nonce.to_string());
        }
        if picture.skipped > 0 {
            line("not served", format!("{}: their caller is not listed, or they were answered", picture.skipped));
        }
        line("Band transactions open", picture.band_open.to_string());
    }
    if let Some(latencies) = Latencies::of(&shared.latencies()) {
        line("request to relay", latencies.to_string());
    }
    if config.dry_run {
        line("dry run", "nothing is paid".to_owned());
    }
    lines
}

#[async_trait]
impl Service for VrfService {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "vrf"
    }

    fn migrations(&self) -> Vec<&'static Migrations> {
        crate::migrations()
    }

    fn router(&self) -> Option<Router> {
        Some(api::router(api::Handle {
            name: self.name.clone(),
            config: Arc::clone(&self.config),
            shared: Arc::clone(&self.shared),
            store: self.store.clone(),
            endpoints: self.endpoints.clone(),
            reader: self.reader(),
            band: Arc::clone(&self.band),
            scope: tokio::sync::OnceCell::new(),
        }))
    }

    fn root_router(&self) -> Option<Router> {
        self.trigger.as_ref().map(Trigger::router)
    }

    fn route_rules(&self) -> Vec<RouteRule> {
        self.trigger.as_ref().map(|trigger| trigger.rules()).unwrap_or_default()
    }

    fn operations(&self) -> Vec<Operation> {
        let trigger = self.trigger.as_ref().map(|trigger| trigger.operations()).unwrap_or_default();
        [api::operations(), trigger].concat()
    }

    fn lease(&self) -> Option<LeaseRequest> {
        Some(LeaseRequest::new(self.name.clone()))
    }

    async fn status(&self) -> ServiceStatus {
        let mut status = ServiceStatus::new(self.name.clone(), "vrf", "starting");
        let picture = self.shared.picture();
        let mut reasons = Vec::new();
        match &picture {
            Some(picture) => {
                status.state = phrase(picture);
                reasons.clone_from(&picture.obstacles);
            }
            None => reasons.push("the relay has not begun here: another instance acts, or it is starting".to_owned()),
        }
        reasons.extend(self.shared.follow_error().map(|error| format!("the client chain cannot be followed: {error}")));
        status.ready = Readiness::from_reasons(reasons);
        status.summary = summary(&self.config, &self.shared, picture.as_ref());
        status.chains = vec![self.client_head(picture.as_ref()), self.band_head(picture.as_ref())];
        if let Some(picture) = &picture {
            status.bars = vec![view::state_bars(&picture.states), view::latency_bars(&self.shared.latencies())];
            status.tables.push(view::funds_table(&self.config, self.endpoints.name(), &self.shared.balances()));
        }
        status.tables.extend(self.shared.drift().map(|drift| view::drift_table(&drift)));
        let running = self.running.read().clone();
        if let Some(running) = running {
            status.summary.push(("Band account".to_owned(), running.band_address));
            match running.outbox.summary().await {
                Ok(summary) => status.outboxes.push(outbox_view(&summary)),
                Err(error) => status.ready.push(error.to_string()),
            }
            if let Ok(holds) = running.scope.holds(&self.store).await
                && !holds.is_empty()
                && let Ok(held) = running.scope.oldest(&self.store, Filter::Held, view::HELD_ROWS).await
            {
                status.tables.insert(0, view::held_table(&held, &holds, self.store.clock().now()));
            }
            if let Ok(counts) = running.scope.counts(&self.store).await {
                let ended: Vec<String> = counts
                    .into_iter()
                    .filter(|(state, _)| state.is_terminal())
                    .map(|(state, count)| format!("{count} {state}"))
                    .collect();
                status.summary.push(("ended".to_owned(), if ended.is_empty() { "none".to_owned() } else { ended.join(", ") }));
            }
        }
        status
    }

    async fn run(self: Arc<Self>, ctx: ServiceContext) -> Result<(), ServiceError> {
        let ended = self.run_agent(&ctx).await;
        self.shared.close();
        *self.running.write() = None;
        match ended {
            Ok(()) => Ok(()),
            Err(error) => {
                let hint = error.hint();
                let permanent = matches!(error, VrfError::Setup { .. });
                let mut told = ServiceError::from(error);
                if let Some(hint) = hint {
                    told = told.with_hint(hint);
                }
                Err(if permanent { told.permanent() } else { told })
            }
        }
    }
}
