//! The settings that decide.

use std::collections::BTreeSet;

use alloy_primitives::{Address, U256};
use windlass_vrf_protocol::tx;

use crate::config::{GasPrice, Unprofitable};

/// Everything that decides beside the chains.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Account on the client chain that relays; part of every request.
    pub worker: Address,
    /// Whose tasks are served. Empty: nobody's.
    pub callers: BTreeSet<Address>,
    /// The first task that is ever looked at.
    pub start_nonce: u64,
    /// How many tasks back a relay without memory looks; `None`: to `start_nonce`.
    pub look_back: Option<u64>,
    /// Blocks, its own included, that a request must be deep before it is paid for.
    pub confirmations: u64,
    /// Blocks, its own included, after which a relay is final.
    pub final_depth: u64,
    /// Time between two looks at the provider beside its events.
    pub reconcile_ms: u64,
    /// Spend nothing.
    pub dry_run: bool,
    /// What to do with unprofitable tasks.
    pub unprofitable: Unprofitable,
    /// The fee must exceed the expected cost by so many percent of it.
    pub min_margin_percent: u64,
    /// Gas that a relay is expected to use.
    pub expected_relay_gas: u64,
    /// What one Band request costs, wei of the client chain.
    pub request_cost: U256,
    /// Tasks that are worked on at the same time.
    pub max_in_flight: usize,
    /// Reports needed, for providers that do not say (V2).
    pub min_count: u64,
    /// Validators asked, for providers that do not say (V2).
    pub ask_count: u64,
    /// Requests paid per task without an operator's word.
    pub max_requests: u32,
    /// First pause after a failure; doubles.
    pub pause_first_ms: u64,
    /// Longest pause between two attempts.
    pub pause_max_ms: u64,
    /// Longest pause of a held task.
    pub hold_max_ms: u64,
    /// The Band chain that is expected, if the configuration names one.
    pub band_chain_id: Option<String>,
    /// Denomination of fees.
    pub band_denom: String,
    /// Gas limit per request.
    pub band_gas_limit: u64,
    /// Price of gas.
    pub band_gas_price: GasPrice,
    /// Highest price that is paid when a node asks for more.
    pub band_max_gas_price: GasPrice,
    /// Requests in one transaction.
    pub band_max_batch: usize,
    /// Sequences that may be open at the same time.
    pub band_max_in_flight: u64,
    /// Bytes that a node took are offered again after this time without inclusion.
    pub band_rebroadcast_ms: u64,
    /// How long the transaction of a used sequence is searched, in blocks and time, before an operator is asked.
    pub band_search_blocks: u64,
    /// See `band_search_blocks`.
    pub band_search_ms: u64,
    /// Blocks after the resolving one that must stand before a proof can be had: 1 with raw proofs (the seen commit), 2 with the Proof service.
    pub band_proof_after: u64,
    /// How long a paid request may be without an answer before it is asked for by itself.
    pub band_answer_ms: u64,
}

impl Policy {
    /// The fee for this much gas at the configured price, in the smallest unit.
    pub(super) fn band_fee(&self, gas: u64) -> u128 {
        fee(gas, &self.band_gas_price)
    }

    /// The highest fee for this much gas.
    pub(super) fn band_max_fee(&self, gas: u64) -> u128 {
        fee(gas, &self.band_max_gas_price).max(self.band_fee(gas))
    }

    /// The pause after this many failures in a row.
    pub(super) fn pause_ms(&self, failures: u32) -> u64 {
        self.doubled_ms(failures).min(self.pause_max_ms)
    }

    /// The pause of a task that is held for the n-th time in a row.
    pub(super) fn hold_ms(&self, failures: u32) -> u64 {
        self.doubled_ms(failures).min(self.hold_max_ms)
    }

    fn doubled_ms(&self, failures: u32) -> u64 {
        let doubled = 1_u64.checked_shl(failures.saturating_sub(1).min(32)).unwrap_or(u64::MAX);
        self.pause_first_ms.saturating_mul(doubled)
    }
}

/// What does not fit is the largest number: no account can pay it.
fn fee(gas: u64, price: &GasPrice) -> u128 {
    tx::fee(gas, price.as_str()).unwrap_or(u128::MAX)
}
