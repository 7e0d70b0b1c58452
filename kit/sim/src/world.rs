//! The outside world: miners, forks, fee storms, a moody mempool, endpoints that come and go, money that comes and goes, and
//! somebody else who has the key.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use async_trait::async_trait;
use parking_lot::Mutex;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use windlass_keys::{LocalSigner, Signer};
use windlass_store::UnixMillis;

use crate::chain::{Fate, GWEI, SimChain};
use crate::faults::{FaultProfile, FaultyRpc};
use crate::keys::Transfer;
use crate::simulation::{Actor, Progress, StepError};

fn seconds(now: UnixMillis) -> u64 {
    u64::try_from(now.to_seconds().0).unwrap_or_default()
}

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A switch that several parts of a world share, so that the end of the faults reaches all of them.
#[derive(Clone, Debug, Default)]
pub struct Calm(Arc<Mutex<bool>>);

impl Calm {
    /// Ends the faults.
    pub fn set(&self) {
        *self.0.lock() = true;
    }

    /// Whether the faults have ended.
    pub fn is_set(&self) -> bool {
        *self.0.lock()
    }
}

/// Mines a block about every `interval`; some are empty and some take one transaction only.
#[derive(Debug)]
pub struct Miner {
    chain: SimChain,
    interval: Duration,
    next: UnixMillis,
    rng: ChaCha8Rng,
    calm: Calm,
}

impl Miner {
    /// A miner of `chain`.
    pub fn new(chain: SimChain, interval: Duration, seed: u64, calm: Calm) -> Self {
        Self { chain, interval, next: UnixMillis(0), rng: rng(seed), calm }
    }
}

#[async_trait]
impl Actor for Miner {
    fn name(&self) -> &str {
        "miner"
    }

    async fn step(&mut self, now: UnixMillis) -> Result<Progress, StepError> {
        if now < self.next {
            return Ok(Progress::Idle);
        }
        self.next = now.saturating_add(self.interval);
        let limit = match self.rng.random_range(0..6) {
            _ if self.calm.is_set() => usize::MAX,
            0 => 0,
            1 => 1,
            _ => usize::MAX,
        };
        let block = self.chain.mine_at_most(seconds(now), limit);
        Ok(Progress::Did(format!("block {} {} with {} transactions", block.header.number, block.hash, block.transactions.len())))
    }
}

/// Reorganises the chain from time to time.
#[derive(Debug)]
pub struct Forker {
    chain: SimChain,
    probability: f64,
    depth: RangeInclusive<u64>,
    returns: f64,
    /// Head before the last reorganisation.
    left: Option<B256>,
    rng: ChaCha8Rng,
    calm: Calm,
}

impl Forker {
    /// Forks with `probability` per step, to a depth in `depth`.
    pub fn new(chain: SimChain, probability: f64, depth: RangeInclusive<u64>, seed: u64, calm: Calm) -> Self {
        Self { chain, probability, depth, returns: 0.0, left: None, rng: rng(seed), calm }
    }

    /// With this probability a fork goes back to the branch that the one before it left.
    #[must_use]
    pub fn returning(mut self, probability: f64) -> Self {
        self.returns = probability;
        self
    }
}

#[async_trait]
impl Actor for Forker {
    fn name(&self) -> &str {
        "forker"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        if self.calm.is_set() || !self.rng.random_bool(self.probability) {
            return Ok(Progress::Idle);
        }
        let head = self.chain.head().hash;
        if self.returns > 0.0
            && self.rng.random_bool(self.returns)
            && let Some(left) = self.left.replace(head)
            && self.chain.return_to(left)
        {
            return Ok(Progress::Did(format!("returned to {left}")));
        }
        self.left = Some(head);
        let depth = self.rng.random_range(self.depth.clone());
        // Mostly longer, as a node changes to the better branch; sometimes shorter, as a head may be withdrawn.
        let length = match self.rng.random_range(0..5) {
            0 => depth.saturating_sub(1),
            1 => depth,
            _ => depth + 1,
        };
        let fate = match self.rng.random_range(0..3) {
            0 => Fate::Return,
            1 => Fate::Vanish,
            _ => Fate::Random,
        };
        let done = self.chain.reorganise(depth, length, fate);
        Ok(Progress::Did(format!("reorganised {done} blocks into {length}, {fate:?}")))
    }
}

/// Lets the base fee jump.
#[derive(Debug)]
pub struct FeeStorm {
    chain: SimChain,
    probability: f64,
    /// Base fees in gwei to jump to.
    gwei: RangeInclusive<u64>,
    rng: ChaCha8Rng,
    calm: Calm,
}

impl FeeStorm {
    /// Storms with `probability` per step.
    pub fn new(chain: SimChain, probability: f64, gwei: RangeInclusive<u64>, seed: u64, calm: Calm) -> Self {
        Self { chain, probability, gwei, rng: rng(seed), calm }
    }
}

#[async_trait]
impl Actor for FeeStorm {
    fn name(&self) -> &str {
        "fee storm"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        if self.calm.is_set() || !self.rng.random_bool(self.probability) {
            return Ok(Progress::Idle);
        }
        let gwei = self.rng.random_range(self.gwei.clone());
        self.chain.set_next_base_fee(gwei * GWEI);
        Ok(Progress::Did(format!("base fee {gwei} gwei")))
    }
}

/// A mempool that forgets transactions, or never mines one of them.
#[derive(Debug)]
pub struct MoodyPool {
    chain: SimChain,
    evict: f64,
    freeze: f64,
    rng: ChaCha8Rng,
    calm: Calm,
}

impl MoodyPool {
    /// Evicts and freezes a random waiting transaction with these probabilities per step.
    pub fn new(chain: SimChain, evict: f64, freeze: f64, seed: u64, calm: Calm) -> Self {
        Self { chain, evict, freeze, rng: rng(seed), calm }
    }
}

#[async_trait]
impl Actor for MoodyPool {
    fn name(&self) -> &str {
        "pool"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        let (evict, freeze) = (self.rng.random_bool(self.evict), self.rng.random_bool(self.freeze));
        if self.calm.is_set() || !(evict || freeze) {
            return Ok(Progress::Idle);
        }
        let waiting = self.chain.pooled();
        let Some(chosen) = waiting.choose(&mut self.rng) else {
            return Ok(Progress::Idle);
        };
        if evict {
            self.chain.evict(chosen.hash);
            return Ok(Progress::Did(format!("forgot {}", chosen.hash)));
        }
        self.chain.freeze(chosen.hash);
        Ok(Progress::Did(format!("froze {}", chosen.hash)))
    }
}

/// Gives endpoints other faults from time to time. At least one endpoint stays faultless at any time if `keep_one` is set.
#[derive(Debug)]
pub struct Weather {
    nodes: Vec<FaultyRpc>,
    probability: f64,
    keep_one: bool,
    rng: ChaCha8Rng,
    calm: Calm,
}

impl Weather {
    /// Changes the weather at all `nodes` with `probability` per step.
    pub fn new(nodes: Vec<FaultyRpc>, probability: f64, keep_one: bool, seed: u64, calm: Calm) -> Self {
        Self { nodes, probability, keep_one, rng: rng(seed), calm }
    }
}

#[async_trait]
impl Actor for Weather {
    fn name(&self) -> &str {
        "weather"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        if self.calm.is_set() || !self.rng.random_bool(self.probability) || self.nodes.is_empty() {
            return Ok(Progress::Idle);
        }
        let kept = self.rng.random_range(0..self.nodes.len());
        for (index, node) in self.nodes.iter().enumerate() {
            let down = self.rng.random_bool(0.2);
            let profile = FaultProfile::mixture(&mut self.rng);
            if self.keep_one && index == kept {
                node.heal();
            } else {
                node.set_down(down);
                node.set_profile(profile);
            }
        }
        Ok(Progress::Did("changed".to_owned()))
    }
}

/// Takes an account's money away, and gives it back later.
#[derive(Debug)]
pub struct Banker {
    chain: SimChain,
    account: Address,
    full: U256,
    probability: f64,
    dry: bool,
    rng: ChaCha8Rng,
    calm: Calm,
}

impl Banker {
    /// Empties or fills `account` with `probability` per step.
    pub fn new(chain: SimChain, account: Address, full: U256, probability: f64, seed: u64, calm: Calm) -> Self {
        Self { chain, account, full, probability, dry: false, rng: rng(seed), calm }
    }
}

#[async_trait]
impl Actor for Banker {
    fn name(&self) -> &str {
        "banker"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        let calm = self.calm.is_set();
        if (calm && !self.dry) || (!calm && !self.rng.random_bool(self.probability)) {
            return Ok(Progress::Idle);
        }
        self.dry = !self.dry;
        let balance = if self.dry {
            // Nothing, or enough for some transactions only.
            U256::from(self.rng.random_range(0..=3u64)) * U256::from(50_000 * GWEI)
        } else {
            self.full
        };
        self.chain.set_balance(self.account, balance);
        Ok(Progress::Did(format!("balance {balance}")))
    }
}

/// Transactions that somebody else signed with an account's key.
pub type ForeignHashes = Arc<Mutex<BTreeSet<B256>>>;

/// Somebody else who has the key of an account and uses it.
#[derive(Debug)]
pub struct Stranger {
    chain: SimChain,
    signer: LocalSigner,
    probability: f64,
    sent: ForeignHashes,
    rng: ChaCha8Rng,
    calm: Calm,
}

impl Stranger {
    /// Sends with `probability` per step; notes the hashes in `sent`.
    pub fn new(chain: SimChain, signer: LocalSigner, probability: f64, sent: ForeignHashes, seed: u64, calm: Calm) -> Self {
        Self { chain, signer, probability, sent, rng: rng(seed), calm }
    }
}

#[async_trait]
impl Actor for Stranger {
    fn name(&self) -> &str {
        "stranger"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        if self.calm.is_set() || !self.rng.random_bool(self.probability) {
            return Ok(Progress::Idle);
        }
        let next = self.chain.nonce(self.signer.address());
        let nonce = next + self.rng.random_range(0..=2);
        let transfer = Transfer {
            // Differs every time, so that no two of them are one transaction.
            value: U256::from(self.rng.random::<u32>()),
            max_fee_per_gas: u128::from(self.rng.random_range(50..300u64) * GWEI),
            max_priority_fee_per_gas: u128::from(self.rng.random_range(2..40u64) * GWEI),
            ..Transfer::new(self.chain.chain_id(), nonce, Address::repeat_byte(0x55))
        };
        let raw = transfer.sign(&self.signer).await.map_err(StepError::fault)?;
        self.sent.lock().insert(alloy_primitives::keccak256(&raw));
        Ok(Progress::Did(match self.chain.submit(&raw) {
            Ok(hash) => format!("sent {hash} with nonce {nonce}"),
            Err(refusal) => format!("nonce {nonce} refused: {refusal}"),
        }))
    }
}

/// Nodes that remember: some signed transaction of the past is offered to the mempool again. Whatever was signed for a nonce
/// may land there as long as the nonce is free, also after its sender has given it up.
#[derive(Debug)]
pub struct Echo {
    chain: SimChain,
    probability: f64,
    rng: ChaCha8Rng,
    calm: Calm,
}

impl Echo {
    /// Offers with `probability` per step.
    pub fn new(chain: SimChain, probability: f64, seed: u64, calm: Calm) -> Self {
        Self { chain, probability, rng: rng(seed), calm }
    }
}

#[async_trait]
impl Actor for Echo {
    fn name(&self) -> &str {
        "echo"
    }

    async fn step(&mut self, _now: UnixMillis) -> Result<Progress, StepError> {
        if self.calm.is_set() || !self.rng.random_bool(self.probability) {
            return Ok(Progress::Idle);
        }
        let next = self.chain.head();
        let seen = self.chain.seen();
        let possible: Vec<_> =
            seen.iter().filter(|old| next.state.get(&old.sender).is_some_and(|account| account.nonce <= old.nonce)).collect();
        let Some(old) = possible.choose(&mut self.rng) else {
            return Ok(Progress::Idle);
        };
        Ok(Progress::Did(match self.chain.submit(&old.raw) {
            Ok(hash) => format!("{hash} is back"),
            Err(refusal) => format!("{} refused: {refusal}", old.hash),
        }))
    }
}
