//! Fee suggestions and fee history.

use alloy_eips::BlockNumberOrTag;
use alloy_rpc_types_eth::FeeHistory;

use super::params::Params;
use super::{Outcome, read, reply};
use crate::block::{Block, effective_tip};
use crate::chain::Chain;
use crate::error::JsonRpcError;

/// The least tip that is suggested, 1 gwei.
pub(crate) const LEAST_TIP: u128 = 1_000_000_000;

/// Blocks a fee history may span.
const MOST_BLOCKS: u64 = 1_024;

/// How far back a fee history may begin.
const HISTORY: u64 = 2_048;

/// A price at which a legacy transaction goes into the next block.
pub(crate) fn gas_price(chain: &Chain) -> u128 {
    u128::from(chain.base_fee).saturating_add(suggested_tip(chain))
}

/// The lowest tip that the newest block took, but at least 1 gwei.
pub(crate) fn suggested_tip(chain: &Chain) -> u128 {
    let head = chain.blocks.head();
    let lowest = head.transactions.iter().map(|tx| effective_tip(&tx.envelope, head.base_fee())).min();
    lowest.unwrap_or(LEAST_TIP).max(LEAST_TIP)
}

pub(crate) fn history(chain: &Chain, params: &mut Params) -> Outcome {
    let count = params.u64(0)?.min(MOST_BLOCKS);
    let newest = match params.block(1)? {
        alloy_eips::BlockId::Number(tag) => tag,
        alloy_eips::BlockId::Hash(_) => return Err(JsonRpcError::invalid_params("expected a block number or tag")),
    };
    let percentiles: Vec<f64> = params.optional(2)?.unwrap_or_default();
    let highest = read::number_of(chain, newest);
    let lowest = highest.saturating_sub(count.saturating_sub(1));
    if lowest < chain.blocks.height().saturating_sub(HISTORY) {
        return Err(JsonRpcError::invalid_params("requested block range is out of bounds"));
    }
    let blocks: Vec<_> = (lowest..=highest).map_while(|number| chain.blocks.get(number)).collect();
    let mut history = FeeHistory { oldest_block: lowest, ..FeeHistory::default() };
    for block in &blocks {
        history.base_fee_per_gas.push(block.base_fee().into());
        history.base_fee_per_blob_gas.push(1);
        history.gas_used_ratio.push(block.header.gas_used as f64 / block.header.gas_limit as f64);
        history.blob_gas_used_ratio.push(0.0);
    }
    let wanted = if percentiles.is_empty() { &[][..] } else { &blocks };
    history.reward = Some(wanted.iter().map(|block| rewards(block, &percentiles)).collect());
    // The fee of the block after the range is known too, because it follows from the newest one of it.
    let next = chain.blocks.get(highest.saturating_add(1)).map_or(chain.base_fee, |block| block.base_fee());
    let past_head = newest != BlockNumberOrTag::Pending && highest > chain.blocks.height();
    history.base_fee_per_gas.push(if past_head { chain.base_fee } else { next }.into());
    history.base_fee_per_blob_gas.push(1);
    reply(&history)
}

/// The tips at percentiles of the gas that the block used, by ascending tip.
fn rewards(block: &Block, percentiles: &[f64]) -> Vec<u128> {
    let mut paid: Vec<(u128, u64)> = block
        .transactions
        .iter()
        .zip(&block.receipts)
        .map(|(tx, receipt)| (effective_tip(&tx.envelope, block.base_fee()), receipt.gas_used))
        .collect();
    paid.sort_unstable();
    let at = |percentile: f64| {
        let target = (percentile.clamp(0.0, 100.0).round() * block.header.gas_used as f64 / 100.0) as u64;
        let mut gas = 0u64;
        let found = paid.iter().find(|(_, used)| {
            gas = gas.saturating_add(*used);
            target <= gas
        });
        found.map_or(0, |(tip, _)| *tip)
    };
    percentiles.iter().map(|percentile| at(*percentile)).collect()
}
