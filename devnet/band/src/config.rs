//! Settings of a simulated BandChain.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use alloy_primitives::B256;
use windlass_vrf_protocol::merkle::sha256;
use windlass_vrf_protocol::multistore::Layout;

use crate::error::DevnetError;

/// The coin of BandChain.
pub const DENOM: &str = "uband";

/// Longest chain id for which the Bridge's one-byte lengths are right in every vote (section 4.10 of the protocol document).
pub const MAX_CHAIN_ID_LENGTH: usize = 17;

/// The end of the year 9999, in Unix milliseconds.
pub(crate) const LATEST_TIME_MS: u64 = 253_402_300_799_999;

/// Form of the results of an oracle script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultVersion {
    /// `{proof:[u8],result:[u8]}` with 80 and 64 bytes, as a V1 provider reads it.
    V1,
    /// `{result:[u8]}` with 32 bytes, as a V2 provider reads it.
    V2,
}

/// A validator of the genesis block.
#[derive(Clone, PartialEq, Eq)]
pub struct GenesisValidator {
    /// Private secp256k1 key of its votes. Public knowledge, as all keys here.
    pub private_key: B256,
    /// Voting power.
    pub power: u64,
}

impl std::fmt::Debug for GenesisValidator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GenesisValidator").field("power", &self.power).finish_non_exhaustive()
    }
}

impl GenesisValidator {
    /// `count` validators whose keys follow from the seed, and whose powers differ.
    pub fn many(seed: u64, count: usize) -> Vec<Self> {
        let one = |index: u64| Self {
            private_key: sha256(&[b"windlass band validator", &seed.to_be_bytes(), &index.to_be_bytes()]),
            power: 1_000_u64.saturating_add(index.wrapping_mul(7_919) % 613),
        };
        (0..count as u64).map(one).collect()
    }
}

/// Coins of the genesis block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenesisAccount {
    /// Bech32, `band1...`.
    pub address: String,
    /// Balance in uband.
    pub uband: u128,
}

/// Settings of a simulated BandChain. The defaults are those of the real chain where it has one.
#[derive(Clone, Debug)]
pub struct BandConfig {
    /// Name of the chain, 1 to 17 ASCII characters.
    pub chain_id: String,
    /// Stores of the application: v3 is the newest chain. Faults may upgrade from v2 to v3 later.
    pub layout: Layout,
    /// Whether a chain of one layout refuses the message type of the other, as the real chains do. Otherwise both are taken.
    pub strict_message_type: bool,
    /// Consensus validators.
    pub validators: Vec<GenesisValidator>,
    /// Everything that looks random follows from it.
    pub seed: u64,
    /// Time of the genesis in Unix milliseconds; block times are later.
    pub genesis_time_ms: u64,
    /// Accounts that have coins from the beginning.
    pub accounts: Vec<GenesisAccount>,
    /// Oracle scripts and the form of their results.
    pub oracle_scripts: BTreeMap<u64, ResultVersion>,
    /// Smallest gas price in uband, an exact decimal.
    pub min_gas_price: String,
    /// What the data source costs for each validator that is asked, in uband.
    pub data_source_fee: u128,
    /// Blocks from the inclusion of a request to its result; the seed decides for each request.
    pub resolve_after: RangeInclusive<u64>,
    /// Blocks after which a request without result expires.
    pub expiration_blocks: u64,
    /// Most validators that a request may ask.
    pub max_ask_count: u64,
    /// Validators that answer oracle requests. They are no more than names; the consensus validators may be fewer.
    pub oracle_validators: u64,
    /// Longest calldata in bytes.
    pub max_calldata_size: u64,
    /// Gas that each run of a script costs beside its own.
    pub base_owasm_gas: u64,
    /// Gas for each validator that is asked.
    pub per_validator_request_gas: u64,
    /// Most gas of a block: the sum of the gas limits of its transactions.
    pub max_block_gas: u64,
    /// Most transactions that wait.
    pub mempool_size: usize,
    /// Number of the first request, at least 1.
    pub first_request_id: u64,
    /// Leaves of the oracle store at the beginning; a power of two, at least 4. It doubles when it is full. A large store makes long
    /// paths, as on the real chain (17 steps for 131072), and saves the work of doubling.
    pub store_leaves: u64,
    /// How many blocks, with the state after them, are kept.
    pub keep_heights: u64,
    /// How many blocks back a transaction is found.
    pub keep_transaction_heights: u64,
    /// Round in which blocks are decided; more than 0 makes votes longer.
    pub round: u32,
    /// Time between blocks of a served chain; `None`: blocks are made only by [`BandDevnet::advance`](crate::BandDevnet::advance).
    pub block_interval: Option<Duration>,
    /// Address of all servers.
    pub listen: IpAddr,
    /// Port of gRPC; 0 picks a free one.
    pub grpc_port: u16,
    /// Port of the REST gateway; 0 picks a free one.
    pub rest_port: u16,
    /// Port of CometBFT RPC; 0 picks a free one.
    pub rpc_port: u16,
}

impl Default for BandConfig {
    fn default() -> Self {
        let oracle_scripts = [(36, ResultVersion::V1), (37, ResultVersion::V1), (43, ResultVersion::V2)];
        Self {
            chain_id: "windlass-band-1".to_owned(),
            layout: Layout::V3,
            strict_message_type: false,
            validators: GenesisValidator::many(1, 4),
            seed: 1,
            genesis_time_ms: 1_700_000_000_000,
            accounts: Vec::new(),
            oracle_scripts: oracle_scripts.into(),
            min_gas_price: "0.0025".to_owned(),
            data_source_fee: 3,
            resolve_after: 1..=3,
            expiration_blocks: 300,
            max_ask_count: 16,
            oracle_validators: 16,
            max_calldata_size: 512,
            base_owasm_gas: 50_000,
            per_validator_request_gas: 0,
            max_block_gas: 50_000_000,
            mempool_size: 5_000,
            first_request_id: 1,
            store_leaves: 64,
            keep_heights: 1_000,
            keep_transaction_heights: 20_000,
            round: 0,
            block_interval: None,
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            grpc_port: 0,
            rest_port: 0,
            rpc_port: 0,
        }
    }
}

impl BandConfig {
    /// Checks what the chain relies on.
    ///
    /// # Errors
    /// [`DevnetError::Config`] with the first setting that is out of range.
    pub fn check(&self) -> Result<(), DevnetError> {
        let price = windlass_vrf_protocol::tx::fee(1, &self.min_gas_price).is_ok();
        let delays = *self.resolve_after.start() >= 1 && !self.resolve_after.is_empty();
        let chain_id = (1..=MAX_CHAIN_ID_LENGTH).contains(&self.chain_id.len()) && self.chain_id.is_ascii();
        let leaves = self.store_leaves.is_power_of_two() && (4..=1 << 24).contains(&self.store_leaves);
        let times = (1_000 << 28)..=LATEST_TIME_MS;
        let rules = [
            (chain_id, "chain_id", "must have 1 to 17 ASCII characters"),
            (!self.validators.is_empty(), "validators", "must not be empty"),
            (self.validators.iter().all(|validator| validator.power > 0), "validators", "powers must be above zero"),
            (
                times.contains(&self.genesis_time_ms),
                "genesis_time_ms",
                "must be after mid 1978, so that a vote's time has 6 bytes",
            ),
            (price, "min_gas_price", "must be a decimal number"),
            (delays, "resolve_after", "must be a range that begins at 1 or later"),
            (self.expiration_blocks >= 1, "expiration_blocks", "must be at least 1"),
            (self.oracle_validators >= 1, "oracle_validators", "must be at least 1"),
            (self.mempool_size >= 1, "mempool_size", "must be at least 1"),
            ((1..1 << 60).contains(&self.first_request_id), "first_request_id", "must be at least 1 and far below 2^63"),
            (leaves, "store_leaves", "must be a power of two from 4 to 16777216"),
            (self.keep_heights >= 3, "keep_heights", "must be at least 3"),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, setting, reason)) => Err(DevnetError::Config { setting, reason: reason.to_owned() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_sound() {
        BandConfig::default().check().unwrap();
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let with = |change: fn(&mut BandConfig)| {
            let mut config = BandConfig::default();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(with(|c| c.chain_id = "a-name-of-18-chars".to_owned()).starts_with("chain_id"));
        assert!(with(|c| c.validators.clear()).starts_with("validators"));
        assert!(with(|c| c.genesis_time_ms = 1).starts_with("genesis_time_ms"));
        assert!(with(|c| c.min_gas_price = "cheap".to_owned()).starts_with("min_gas_price"));
        assert!(with(|c| c.resolve_after = 0..=1).starts_with("resolve_after"));
        assert!(with(|c| c.store_leaves = 100).starts_with("store_leaves"));
        assert!(with(|c| c.first_request_id = 0).starts_with("first_request_id"));
    }

    #[test]
    fn keys_are_not_printed() {
        let text = format!("{:?}", GenesisValidator::many(1, 1));
        assert_eq!(text, "[GenesisValidator { power: 1000, .. }]");
    }
}
