//! The follower as a process of a simulation: a consumer that writes down what it is told, in the commit in which the
//! position moves, and the rules of the stream.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, keccak256};
use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use windlass_chain::{Batch, ChainError, Delivery, Endpoints, EndpointsConfig, FollowConfig, FollowedBlock, Follower, Rpc};
use windlass_store::{FromColumn, Migration, Migrations, Row, Store, StoreError, Tx, UnixMillis, params};

use crate::chain::SimChain;
use crate::faults::FaultyRpc;
use crate::simulation::{Actor, Checker, Host, Program, Progress, StepError, Violation};
use crate::world::Calm;

const TABLES: Migrations = Migrations {
    component: "sim_follower",
    steps: &[Migration {
        number: 1,
        name: "view",
        sql: "CREATE TABLE sim_view (number BIGINT PRIMARY KEY, hash BLOB NOT NULL, parent BLOB NOT NULL, logs BLOB NOT NULL)",
    }],
};

/// Identity of a log, to compare what was delivered with what is on the chain.
fn digest<'a>(logs: impl Iterator<Item = (Address, &'a [B256], &'a Bytes, u64)>) -> B256 {
    let mut preimage = Vec::new();
    for (address, topics, data, index) in logs {
        preimage.extend_from_slice(address.as_slice());
        preimage.push(u8::try_from(topics.len()).unwrap_or(u8::MAX));
        preimage.extend(topics.iter().flat_map(|topic| topic.0));
        preimage.extend_from_slice(&data.len().to_be_bytes());
        preimage.extend_from_slice(data);
        preimage.extend_from_slice(&index.to_be_bytes());
    }
    keccak256(preimage)
}

/// A block as the consumer wrote it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Number.
    pub number: u64,
    /// Hash.
    pub hash: B256,
    /// Hash of the parent.
    pub parent: B256,
    /// Digest of the logs.
    pub logs: B256,
}

/// The view of the consumer, as last read from the database after a step of it.
pub type SharedView = Arc<Mutex<Vec<Seen>>>;

/// A process with one follower and its consumer.
#[derive(Clone)]
pub struct FollowerProgram {
    /// The chain.
    pub chain: SimChain,
    /// Its endpoints.
    pub nodes: Vec<FaultyRpc>,
    /// Settings of the follower.
    pub config: FollowConfig,
    /// How many endpoints must agree.
    pub quorum: usize,
    /// Where the view is shown to the checker.
    pub view: SharedView,
}

#[async_trait]
impl Program for FollowerProgram {
    fn name(&self) -> &str {
        "consumer"
    }

    async fn start(&self, host: &Host) -> Result<Vec<Box<dyn Actor>>, StepError> {
        let rpcs = self
            .nodes
            .iter()
            .map(|node| Arc::new(node.connect(host.process.clone(), host.trace.clone())) as Arc<dyn Rpc>)
            .collect();
        let config = EndpointsConfig {
            clock: host.clock.clone(),
            chain_id: Some(self.chain.chain_id()),
            quorum: self.quorum,
            ..EndpointsConfig::new("sim", [])
        };
        let endpoints = Endpoints::with_rpcs(&config, rpcs, Vec::new(), false);
        host.store.migrate(&windlass_chain::MIGRATIONS).await.map_err(StepError::fault)?;
        host.store.migrate(&TABLES).await.map_err(StepError::fault)?;
        let follower = Follower::load(host.store.clone(), endpoints, self.config.clone()).await.map_err(StepError::fault)?;
        Ok(vec![Box::new(Consumer {
            follower,
            store: host.store.clone(),
            sparse: self.config.sparse_catch_up,
            view: self.view.clone(),
        })])
    }
}

/// Why a batch was not written down.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Consumer {
    follower: Follower,
    store: Store,
    sparse: bool,
    view: SharedView,
}

impl Consumer {
    async fn read_view(&self) -> Result<Vec<Seen>, StoreError> {
        let rows = self.store.query("SELECT number, hash, parent, logs FROM sim_view ORDER BY number", params![]).await?;
        rows.iter().map(seen).collect()
    }
}

fn seen(row: &Row) -> Result<Seen, StoreError> {
    fn column<T: FromColumn>(row: &Row, name: &str) -> Result<T, StoreError> {
        row.get(name)
    }
    Ok(Seen {
        number: column(row, "number")?,
        hash: column(row, "hash")?,
        parent: column(row, "parent")?,
        logs: column(row, "logs")?,
    })
}

#[async_trait]
impl Actor for Consumer {
    fn name(&self) -> &str {
        "consumer"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        let Some(batch) = self.follower.poll().await.map_err(StepError::fault)? else {
            return Ok(Progress::Idle);
        };
        let what = format!("-{} +{} head {}", batch.removed.len(), batch.added.len(), batch.head.number);
        let sparse = self.sparse;
        let done: Result<(), RecordError> =
            self.store.write("sim.view", move |tx| Box::pin(async move { write_down(tx, &batch, sparse).await })).await;
        match done {
            Ok(()) => {}
            Err(RecordError::Violation(violation)) => return Err(violation.into()),
            Err(error) => return Err(StepError::fault(error)),
        }
        let view = self.read_view().await.map_err(StepError::fault)?;
        *self.view.lock() = view;
        Ok(Progress::Did(what))
    }
}

/// Applies a batch to the view: only the newest block may be taken back, only a child of the newest may be added.
async fn write_down(tx: &mut Tx<'_>, batch: &Batch, sparse: bool) -> Result<(), RecordError> {
    for block in &batch.removed {
        let newest = newest(tx).await?;
        let is_newest = newest.is_some_and(|newest| newest.hash == block.hash);
        // What was left out as uninteresting may be taken back without a row.
        Violation::unless(is_newest || sparse, || format!("block {} is taken back and is not the newest", block.number))?;
        tx.execute("DELETE FROM sim_view WHERE hash = $1", params![block.hash]).await?;
    }
    for FollowedBlock { block, logs, .. } in &batch.added {
        let newest = newest(tx).await?;
        let fits = newest
            .as_ref()
            .is_none_or(|newest| if sparse { newest.number < block.number } else { newest.hash == block.parent_hash });
        Violation::unless(fits, || format!("block {} does not follow {newest:?}", block.number))?;
        let logs = digest(logs.iter().map(|log| (log.address, log.topics.as_slice(), &log.data, log.log_index)));
        tx.execute(
            "INSERT INTO sim_view (number, hash, parent, logs) VALUES ($1, $2, $3, $4)",
            params![i64::try_from(block.number).unwrap_or(i64::MAX), block.hash, block.parent_hash, logs],
        )
        .await?;
    }
    batch.record(tx).await?;
    Ok(())
}

async fn newest(tx: &mut Tx<'_>) -> Result<Option<Seen>, StoreError> {
    let row =
        tx.query_optional("SELECT number, hash, parent, logs FROM sim_view ORDER BY number DESC LIMIT 1", params![]).await?;
    row.as_ref().map(seen).transpose()
}

/// Emits a log of `address` with `probability` per step.
#[derive(Debug)]
pub struct Emitter {
    chain: SimChain,
    address: Address,
    probability: f64,
    count: u64,
    rng: ChaCha8Rng,
    calm: Calm,
}

impl Emitter {
    /// An emitter on `chain`.
    pub fn new(chain: SimChain, address: Address, probability: f64, seed: u64, calm: Calm) -> Self {
        Self { chain, address, probability, count: 0, rng: ChaCha8Rng::seed_from_u64(seed), calm }
    }
}

#[async_trait]
impl Actor for Emitter {
    fn name(&self) -> &str {
        "emitter"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        if self.calm.is_set() || !self.rng.random_bool(self.probability) {
            return Ok(Progress::Idle);
        }
        self.count += 1;
        let data = Bytes::copy_from_slice(&self.count.to_be_bytes());
        self.chain.emit(self.address, vec![keccak256("Event(uint64)")], data);
        Ok(Progress::Did(format!("log {}", self.count)))
    }
}

/// The rules of the view of a consumer.
#[derive(Debug)]
pub struct FollowerChecker {
    chain: SimChain,
    view: SharedView,
    delivery: Delivery,
    address: Address,
    sparse: bool,
    /// Whether endpoints lie: a block that was never on the chain may then be in the view for a while.
    liars: bool,
}

impl FollowerChecker {
    /// Watches `view`, whose follower filters the logs of `address`.
    pub fn new(program: &FollowerProgram, address: Address, liars: bool) -> Self {
        Self {
            chain: program.chain.clone(),
            view: program.view.clone(),
            delivery: program.config.delivery,
            address,
            sparse: program.config.sparse_catch_up,
            liars,
        }
    }

    /// How far below the head a delivery must stay.
    fn distance(&self) -> u64 {
        match self.delivery {
            Delivery::Instant => 0,
            Delivery::Confirmed(blocks) => blocks,
            Delivery::Finalized => self.chain.head().header.number - self.chain.finalized(),
        }
    }

    fn logs_of(&self, number: u64) -> Option<(B256, bool)> {
        let block = self.chain.block(number)?;
        let mut count = 0;
        let logs = block
            .receipts
            .iter()
            .flat_map(|receipt| receipt.logs.iter().zip(receipt.first_log_index..))
            .filter(|(log, _)| log.address == self.address)
            .inspect(|_| count += 1)
            .map(|(log, index)| (log.address, log.topics(), &log.data.data, index));
        let digest = digest(logs);
        Some((digest, count > 0))
    }
}

#[async_trait]
impl Checker for FollowerChecker {
    fn name(&self) -> &str {
        "follower rules"
    }

    async fn check(&mut self, _now: UnixMillis) -> Result<(), Violation> {
        if self.liars {
            return Ok(());
        }
        let view = self.view.lock();
        let Some(newest) = view.last() else {
            return Ok(());
        };
        let existed = self.chain.block_by_hash(newest.hash);
        Violation::unless(existed.is_some(), || format!("block {} never existed", newest.number))?;
        if matches!(self.delivery, Delivery::Finalized) {
            let canonical = self.chain.block(newest.number);
            let same = canonical.is_some_and(|block| block.hash == newest.hash);
            Violation::unless(same && newest.number <= self.chain.finalized(), || {
                format!("block {} was delivered before it was final", newest.number)
            })?;
        }
        Ok(())
    }

    async fn check_end(&mut self, now: UnixMillis) -> Result<(), Violation> {
        self.check(now).await?;
        let view = self.view.lock().clone();
        for seen in &view {
            let block = self.chain.block(seen.number);
            let same = block.is_some_and(|block| block.hash == seen.hash);
            Violation::unless(same, || format!("block {} is not canonical", seen.number))?;
            let logs = self.logs_of(seen.number).map(|(digest, _)| digest);
            Violation::unless(logs == Some(seen.logs), || format!("block {} has other logs", seen.number))?;
        }
        let Some(first) = view.first() else {
            return Err(Violation("nothing was delivered".to_owned()));
        };
        let last = self.chain.head().header.number - self.distance();
        for number in first.number..=last {
            let present = view.binary_search_by_key(&number, |seen| seen.number).is_ok();
            let wanted = !self.sparse || self.logs_of(number).is_some_and(|(_, has_logs)| has_logs);
            Violation::unless(present || !wanted, || format!("block {number} is missing, the view ends at {:?}", view.last()))?;
        }
        Ok(())
    }
}
