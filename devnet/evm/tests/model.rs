//! Random sequences of blocks, changes by hand, snapshots, rollbacks and reorganisations, compared with a simple model: the balances
//! after every block must be right at any time.
//!
//! `WINDLASS_SEED` runs one seed, `WINDLASS_SEEDS` so many (default 20).

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use alloy_primitives::Address;
use serde_json::{Value, json};
use windlass_devnet_evm::{Devnet, DevnetConfig, TimeSource};

const STEPS: usize = 120;
const ALICE: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// What the model knows after a block.
#[derive(Clone, Debug, Default, PartialEq)]
struct Facts {
    balances: BTreeMap<Address, u64>,
    nonce: u64,
}

struct Run {
    seed: u64,
    random: Random,
    devnet: Devnet,
    /// Facts after each block.
    blocks: Vec<Facts>,
    snapshots: BTreeMap<u64, Vec<Facts>>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let time = TimeSource::Manual(Arc::new(AtomicU64::new(1_000_000)));
        let devnet = Devnet::new(DevnetConfig { time, ..DevnetConfig::default() });
        Self { seed, random: Random(seed), devnet, blocks: vec![Facts::default()], snapshots: BTreeMap::new() }
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        let shown = format!("seed {}: {method}{params}", self.seed);
        self.devnet.request(method, params).await.unwrap_or_else(|error| panic!("{shown}: {error}"))
    }

    fn somebody(&mut self) -> Address {
        Address::with_last_byte(200 + self.random.below(4) as u8)
    }

    fn head(&mut self) -> &mut Facts {
        self.blocks.last_mut().unwrap()
    }

    fn height(&self) -> u64 {
        self.blocks.len() as u64 - 1
    }

    async fn step(&mut self) {
        match self.random.below(10) {
            0..=3 => self.transfer().await,
            4 => {
                let count = 1 + self.random.below(3);
                self.ask("anvil_mine", json!([count])).await;
                let last = self.head().clone();
                self.blocks.extend((0..count).map(|_| last.clone()));
            }
            5 => {
                let (who, balance) = (self.somebody(), 1 + self.random.below(1_000_000));
                self.ask("anvil_setBalance", json!([who, format!("{balance:#x}")])).await;
                self.head().balances.insert(who, balance);
            }
            6 => {
                let id = self.ask("evm_snapshot", json!([])).await;
                let id = u64::from_str_radix(&id.as_str().unwrap()[2..], 16).unwrap();
                self.snapshots.insert(id, self.blocks.clone());
            }
            7 => self.revert().await,
            8 => {
                let depth = self.random.below(self.height() + 1);
                self.ask("anvil_rollback", json!([depth])).await;
                self.shorten(depth);
            }
            _ => {
                let depth = self.random.below(self.height() + 1);
                self.ask("anvil_reorg", json!([depth, []])).await;
                self.shorten(depth);
                let last = self.head().clone();
                self.blocks.extend((0..depth).map(|_| last.clone()));
            }
        }
    }

    async fn transfer(&mut self) {
        let (who, value) = (self.somebody(), 1 + self.random.below(1_000));
        let request = json!([{ "from": ALICE, "to": who, "value": format!("{value:#x}"), "gas": "0x5208" }]);
        self.ask("eth_sendTransaction", request).await;
        let mut facts = self.head().clone();
        *facts.balances.entry(who).or_default() += value;
        facts.nonce += 1;
        self.blocks.push(facts);
    }

    async fn revert(&mut self) {
        let ids: Vec<u64> = self.snapshots.keys().copied().collect();
        let known = !ids.is_empty() && self.random.below(4) > 0;
        let id = if known { ids[self.random.below(ids.len() as u64) as usize] } else { 1_000_000 };
        let reverted = self.ask("evm_revert", json!([format!("{id:#x}")])).await;
        assert_eq!(reverted, known, "seed {}", self.seed);
        if known {
            self.blocks = self.snapshots[&id].clone();
            self.snapshots.retain(|other, _| *other < id);
        }
    }

    /// Removes `depth` blocks, and the snapshots that were taken on them.
    fn shorten(&mut self, depth: u64) {
        let kept = self.blocks.len() - depth as usize;
        self.blocks.truncate(kept);
        self.snapshots.retain(|_, blocks| blocks.len() <= kept);
    }

    async fn check(&mut self) {
        assert_eq!(self.devnet.height(), self.height(), "seed {}", self.seed);
        let somewhere = self.random.below(self.height() + 1);
        for height in [self.height(), somewhere] {
            let at = format!("{height:#x}");
            let facts = self.blocks[height as usize].clone();
            for (who, balance) in &facts.balances {
                let seen = self.ask("eth_getBalance", json!([who, at])).await;
                assert_eq!(seen, format!("{balance:#x}"), "seed {}, {who} after block {height}", self.seed);
            }
            let nonce = self.ask("eth_getTransactionCount", json!([ALICE, at])).await;
            assert_eq!(nonce, format!("{:#x}", facts.nonce), "seed {}, nonce after block {height}", self.seed);
        }
    }
}

#[tokio::test]
async fn every_block_keeps_its_state() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("WINDLASS_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("WINDLASS_SEEDS").unwrap_or(20),
    };
    for seed in seeds {
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step().await;
            run.check().await;
        }
    }
}
