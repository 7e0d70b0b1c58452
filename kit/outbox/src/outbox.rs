//! The handle that callers hold: record, ask, wait, act as operator.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use alloy_primitives::Address;
use tokio::sync::{Mutex, Notify, broadcast};
use windlass_chain::Endpoints;
use windlass_keys::Signer;
use windlass_store::clock::UnixMillis;
use windlass_store::{Store, StoreError, Tx};

use crate::config::OutboxConfig;
use crate::error::OutboxError;
use crate::metrics::Labels;
use crate::model::{Intent, IntentId, IntentStatus, OutboxSummary, State, Transition, TurnReport, Until};
use crate::observe::Chain;
use crate::tables::{MIGRATIONS, Mark, Scope, day_of};
use crate::turn::{Eyes, Memory};

/// Transitions kept for a slow reader of [`Outbox::events`]; a reader that falls further behind is told so.
const EVENTS: usize = 4096;
/// Longest key and label in bytes.
const TEXT_LIMIT: usize = 512;
/// EIP-3860 limit of init code is 49,152 bytes and nodes refuse transactions above 128 KiB.
const DATA_LIMIT: usize = 128 * 1024;

/// Durable transactions of one account on one chain. Cheap to clone; all clones share one sender.
#[derive(Clone)]
pub struct Outbox {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) chain: Chain,
    /// Where transactions are offered, when not to `chain.endpoints`.
    pub(crate) private: Option<Endpoints>,
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) config: OutboxConfig,
    pub(crate) scope: Scope,
    pub(crate) labels: Labels,
    pub(crate) lease_name: String,
    pub(crate) events: broadcast::Sender<Transition>,
    pub(crate) wake: Arc<Notify>,
    /// Last position given out; see [`Inner::position`].
    position: AtomicI64,
    /// What a round remembers for the next; only ever a cache of rows and chain.
    pub(crate) memory: Mutex<Memory>,
    /// Last figures for [`Outbox::summary`].
    pub(crate) glance: std::sync::Mutex<Glance>,
}

/// What the last round saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Glance {
    pub(crate) balance: Option<alloy_primitives::U256>,
    pub(crate) count: Option<u64>,
    pub(crate) head: Option<u64>,
    pub(crate) leader: bool,
    pub(crate) last_error: Option<String>,
}

impl Inner {
    /// Places for `number` rows: grows always, follows the clock, needs no read. Orders rows, decides nothing else.
    pub(crate) fn position(&self, now: UnixMillis, number: usize) -> i64 {
        let wanted = now.0.saturating_mul(1 << 20);
        let number = i64::try_from(number.max(1)).unwrap_or(i64::MAX);
        let next = |last: i64| Some(wanted.max(last.saturating_add(1)).saturating_add(number - 1));
        let last = self.position.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(wanted);
        wanted.max(last.saturating_add(1))
    }

    pub(crate) fn glance(&self) -> std::sync::MutexGuard<'_, Glance> {
        self.glance.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Outbox {
    /// Opens the outbox of the signer's account on the endpoints' chain. Makes its tables, starts nothing.
    ///
    /// # Errors
    /// [`OutboxError::Config`] with all broken rules; failures of the database; no endpoint that tells its chain id.
    pub async fn open(
        store: Store,
        endpoints: Endpoints,
        signer: Arc<dyn Signer>,
        config: OutboxConfig,
    ) -> Result<Self, OutboxError> {
        Self::open_with(store, endpoints, None, signer, config).await
    }

    /// As [`Outbox::open`], offering transactions to `private` only (a builder or a node without public pool). Everything is
    /// still read from `endpoints`.
    ///
    /// # Errors
    /// As [`Outbox::open`].
    pub async fn open_with(
        store: Store,
        endpoints: Endpoints,
        private: Option<Endpoints>,
        signer: Arc<dyn Signer>,
        config: OutboxConfig,
    ) -> Result<Self, OutboxError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(OutboxError::Config { chain: config.chain, problems });
        }
        store.migrate(&MIGRATIONS).await?;
        let chain_id = endpoints.chain_id().await?;
        let account = signer.address();
        let scope = Scope { chain_id, account };
        let position = scope.last_position(&store).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                chain: Chain { endpoints, account },
                private,
                signer,
                scope,
                labels: Labels { chain: config.chain.clone(), account: account.to_string() },
                lease_name: format!("outbox/{chain_id}/{account}"),
                config,
                events: broadcast::channel(EVENTS).0,
                wake: Arc::new(Notify::new()),
                position: AtomicI64::new(position),
                memory: Mutex::new(Memory::default()),
                glance: std::sync::Mutex::new(Glance::default()),
                store,
            }),
        })
    }

    /// The account.
    pub fn account(&self) -> Address {
        self.inner.scope.account
    }

    /// The chain id.
    pub fn chain_id(&self) -> u64 {
        self.inner.scope.chain_id
    }

    /// Name of the chain in logs and metrics.
    pub fn chain(&self) -> &str {
        &self.inner.config.chain
    }

    /// The identity that an intent with this key has, recorded or not.
    pub fn id_of(&self, key: &str) -> IntentId {
        IntentId::derive(self.chain_id(), self.account(), key)
    }

    /// Records an intent in the caller's own transaction, so that it exists exactly when the caller's rows do. The sender is
    /// woken by the commit.
    ///
    /// The same key with the same content gives the same id again and changes nothing.
    ///
    /// # Errors
    /// [`OutboxError::ContentDiffers`] for the same key with another content, [`OutboxError::BadIntent`], and failures of the
    /// database.
    pub async fn record(&self, tx: &mut Tx<'_>, intent: Intent) -> Result<IntentId, OutboxError> {
        let inner = &self.inner;
        check(&intent)?;
        let id = self.id_of(&intent.key);
        let given = intent.content_hash();
        let key = intent.key.clone();
        let now = inner.store.clock().now();
        let wake = Arc::clone(&inner.wake);
        if inner.scope.insert_intent(tx, id, intent, inner.position(now, 1), now).await? {
            tx.after_commit(move || wake.notify_one());
            tracing::debug!(chain = %self.chain(), account = %self.account(), intent = %id, key, "recorded");
            return Ok(id);
        }
        match inner.scope.content(tx, id).await? {
            Some((recorded, _)) if recorded == given => Ok(id),
            Some((recorded, _)) => Err(OutboxError::ContentDiffers { key, id, recorded, given }),
            None => Err(OutboxError::Unknown { id }),
        }
    }

    /// Records an intent in a transaction of its own.
    ///
    /// # Errors
    /// As [`Outbox::record`].
    pub async fn submit(&self, intent: Intent) -> Result<IntentId, OutboxError> {
        let outbox = self.clone();
        self.inner.store.write("outbox.record", move |tx| Box::pin(async move { outbox.record(tx, intent).await })).await
    }

    /// Lets the sender look for work at once. Not needed after [`Outbox::record`].
    pub fn wake(&self) {
        self.inner.wake.notify_one();
    }

    /// All that is known about an intent; `None` when it was never recorded.
    ///
    /// # Errors
    /// Failures of the database.
    pub async fn status(&self, id: IntentId) -> Result<Option<IntentStatus>, OutboxError> {
        Ok(self.inner.scope.status(&self.inner.store, id).await?)
    }

    /// Where several intents stand, in no order; unknown ones are left out.
    ///
    /// # Errors
    /// Failures of the database.
    pub async fn statuses(&self, ids: &[IntentId]) -> Result<Vec<IntentStatus>, OutboxError> {
        Ok(self.inner.scope.statuses(&self.inner.store, ids).await?)
    }

    /// History of an intent, oldest first.
    ///
    /// # Errors
    /// Failures of the database.
    pub async fn history(&self, id: IntentId) -> Result<Vec<Transition>, OutboxError> {
        Ok(self.inner.scope.history(&self.inner.store, id).await?)
    }

    /// Newest intents first, at most `limit`; only those in the state with this [`State::name`] when one is given.
    ///
    /// # Errors
    /// Failures of the database.
    pub async fn list(&self, state: Option<&str>, limit: u64) -> Result<Vec<IntentStatus>, OutboxError> {
        Ok(self.inner.scope.list(&self.inner.store, state, limit.min(10_000)).await?)
    }

    /// Waits until an intent is included or finished.
    ///
    /// Works in every instance: transitions made by another instance are found by looking once a second.
    ///
    /// # Errors
    /// [`OutboxError::Unknown`] and failures of the database.
    pub async fn wait(&self, id: IntentId, until: Until) -> Result<IntentStatus, OutboxError> {
        let mut events = self.events();
        loop {
            let status = self.status(id).await?.ok_or(OutboxError::Unknown { id })?;
            if status.state.is_terminal() || (until == Until::Included && status.state == State::Included) {
                return Ok(status);
            }
            let concerned = async {
                loop {
                    match events.recv().await {
                        Ok(transition) if transition.id != id => {}
                        Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                        Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            tokio::select! {
                () = concerned => {}
                () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
            }
        }
    }

    /// Transitions made by this instance, each after its commit.
    pub fn events(&self) -> broadcast::Receiver<Transition> {
        self.inner.events.subscribe()
    }

    /// Counts and figures for status pages and alerts.
    ///
    /// # Errors
    /// Failures of the database.
    pub async fn summary(&self) -> Result<OutboxSummary, OutboxError> {
        let inner = &self.inner;
        let now = inner.store.clock().now();
        let counts = inner.scope.counts(&inner.store).await?;
        let oldest = inner.scope.oldest(&inner.store).await?;
        let (held, hold) = inner.scope.holds(&inner.store).await?;
        let fees_today = inner.scope.spent(&inner.store, day_of(now)).await?;
        let count = |state: &str| counts.get(state).copied().unwrap_or(0);
        let glance = inner.glance().clone();
        Ok(OutboxSummary {
            chain: inner.config.chain.clone(),
            chain_id: inner.scope.chain_id,
            account: inner.scope.account,
            recorded: count("recorded"),
            signed: count("signed"),
            broadcast: count("broadcast"),
            included: count("included"),
            finalized: count("final"),
            reverted: count("reverted"),
            dropped: count("dropped"),
            oldest_age_ms: oldest.map(|at| now.0.saturating_sub(at.0)),
            held,
            hold,
            balance: glance.balance,
            chain_nonce: glance.count,
            head: glance.head,
            fees_today,
            fee_budget_per_day: inner.config.fee.budget_per_day,
            leader: glance.leader,
            last_error: glance.last_error,
        })
    }

    /// Asks for the cancellation of an intent. Not signed: it is dropped. Signed: a replacement takes its nonce, and whichever
    /// of both is included decides how it ends.
    ///
    /// # Errors
    /// [`OutboxError::NotPossible`] once it is in a block, [`OutboxError::Unknown`], failures of the database.
    pub async fn cancel(&self, id: IntentId) -> Result<(), OutboxError> {
        self.mark(id, Mark::Cancel, "cancelled").await
    }

    /// Asks for a replacement of a signed intent with higher fees, now.
    ///
    /// # Errors
    /// [`OutboxError::NotPossible`] when nothing is in flight for it, [`OutboxError::Unknown`], failures of the database.
    pub async fn bump(&self, id: IntentId) -> Result<(), OutboxError> {
        self.mark(id, Mark::Bump, "replaced with higher fees").await
    }

    /// Looks at a held intent at once instead of after its pause.
    ///
    /// # Errors
    /// [`OutboxError::NotPossible`] when it is in a block or finished, [`OutboxError::Unknown`], failures of the database.
    pub async fn retry(&self, id: IntentId) -> Result<(), OutboxError> {
        self.mark(id, Mark::Retry, "retried").await
    }

    async fn mark(&self, id: IntentId, mark: Mark, action: &'static str) -> Result<(), OutboxError> {
        let scope = self.inner.scope;
        let now = self.inner.store.clock().now();
        let marked: Result<bool, StoreError> =
            self.inner.store.write("outbox.mark", move |tx| Box::pin(async move { scope.mark(tx, id, mark, now).await })).await;
        if marked? {
            self.wake();
            return Ok(());
        }
        match self.status(id).await? {
            Some(status) => Err(OutboxError::NotPossible { id, state: status.state.name().to_owned(), action }),
            None => Err(OutboxError::Unknown { id }),
        }
    }

    /// One deterministic round: reads rows and chain, commits what follows, offers what is signed. For simulations and tests;
    /// [`Outbox::run`] calls the same. Without the lease it does nothing and says so.
    ///
    /// # Errors
    /// Whatever ended the round. Nothing is lost by it: the next round begins from the rows.
    pub async fn turn(&self, now: UnixMillis) -> Result<TurnReport, OutboxError> {
        self.inner.round(now, Eyes::Open).await
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("chain", &self.inner.config.chain)
            .field("account", &self.inner.scope.account)
            .finish_non_exhaustive()
    }
}

/// Rules that hold on every chain.
fn check(intent: &Intent) -> Result<(), OutboxError> {
    let problem = if intent.key.is_empty() {
        "the key is empty".to_owned()
    } else if intent.key.len() > TEXT_LIMIT || intent.label.len() > TEXT_LIMIT {
        format!("key and label may have {TEXT_LIMIT} bytes")
    } else if intent.key.contains('\0') || intent.label.contains('\0') {
        "key and label may not contain NUL characters".to_owned()
    } else if intent.data.len() > DATA_LIMIT {
        format!("the data has {} bytes, nodes take {DATA_LIMIT}", intent.data.len())
    } else if intent.to.is_none() && intent.data.is_empty() {
        "a contract creation needs init code".to_owned()
    } else if intent.gas_limit.is_some_and(|gas| gas < 21_000) {
        "no transaction needs less than 21000 gas".to_owned()
    } else {
        return Ok(());
    };
    Err(OutboxError::BadIntent { key: intent.key.chars().take(64).collect(), problem })
}
