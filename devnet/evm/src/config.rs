//! Settings of a development chain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::{B256, U256, b256};

/// When blocks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mining {
    /// As soon as a transaction is executable.
    Automatic,
    /// Every so many milliseconds, also when the pool is empty. The timer runs only while the chain is served.
    Interval(u64),
    /// Only when asked (`evm_mine`, `anvil_mine`, [`crate::Devnet::mine`]).
    Manual,
}

/// Where block timestamps come from.
#[derive(Clone, Debug, Default)]
pub enum TimeSource {
    /// The machine's clock.
    #[default]
    System,
    /// A number of unix seconds that a test sets.
    Manual(Arc<AtomicU64>),
}

impl TimeSource {
    /// Now, in unix seconds.
    pub fn now(&self) -> u64 {
        match self {
            Self::System => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            Self::Manual(seconds) => seconds.load(Ordering::SeqCst),
        }
    }
}

/// An account that has money in the genesis block and whose key the chain holds.
#[derive(Clone, Debug)]
pub struct DevAccount {
    /// The private key. These keys are public knowledge: never use them on a real chain.
    pub secret: B256,
    /// Balance in wei in the genesis block.
    pub balance: U256,
}

/// Settings of a development chain. The default is what `anvil` does when it is started without flags.
#[derive(Clone, Debug)]
pub struct DevnetConfig {
    /// Chain id, 31337.
    pub chain_id: u64,
    /// When blocks are made.
    pub mining: Mining,
    /// Funded accounts with keys.
    pub accounts: Vec<DevAccount>,
    /// Gas limit of each block.
    pub gas_limit: u64,
    /// Base fee of the genesis block, in wei.
    pub base_fee: u64,
    /// Timestamp of the genesis block in unix seconds; `None`: now.
    pub genesis_timestamp: Option<u64>,
    /// Clock for block timestamps.
    pub time: TimeSource,
    /// By how many percent fee cap and tip must rise to replace a waiting transaction (`geth`: 10). `None`: any higher fee cap
    /// replaces, as with `anvil`.
    pub replacement_percent: Option<u64>,
    /// Whether transactions of removed blocks go back into the pool, as on a real network. `anvil` drops them.
    pub reorg_returns_transactions: bool,
}

impl Default for DevnetConfig {
    fn default() -> Self {
        Self {
            chain_id: 31337,
            mining: Mining::Automatic,
            accounts: dev_accounts(),
            gas_limit: 30_000_000,
            base_fee: 1_000_000_000,
            genesis_timestamp: None,
            time: TimeSource::System,
            replacement_percent: None,
            reorg_returns_transactions: false,
        }
    }
}

/// Keys `m/44'/60'/0'/0/0..9` of the mnemonic "test test test test test test test test test test test junk".
const DEV_KEYS: [B256; 10] = [
    b256!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"),
    b256!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
    b256!("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"),
    b256!("7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"),
    b256!("47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a"),
    b256!("8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"),
    b256!("92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"),
    b256!("4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"),
    b256!("dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97"),
    b256!("2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"),
];

fn dev_accounts() -> Vec<DevAccount> {
    let balance = U256::from(10_000u64) * U256::from(10u64).pow(U256::from(18u64));
    DEV_KEYS.iter().map(|secret| DevAccount { secret: *secret, balance }).collect()
}
