//! The last delivered blocks of a subscriber, in the store and in memory.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use windlass_store::{Row, Store, StoreError, Tx, Value, params};

use super::batch::Batch;
use crate::types::BlockRef;

/// Rows per INSERT statement.
const ROWS_PER_INSERT: usize = 100;

/// The position of a subscriber: its last delivered block.
pub(crate) type Position = Option<(u64, B256)>;

/// The last delivered blocks. Gaps are possible below the part that can be reorganised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Window {
    /// Where the stream began; `None` before the first batch.
    pub(crate) first_number: Option<u64>,
    blocks: BTreeMap<u64, BlockRef>,
}

impl Window {
    pub(crate) fn tip(&self) -> Option<&BlockRef> {
        self.blocks.last_key_value().map(|(_, block)| block)
    }

    pub(crate) fn position(&self) -> Position {
        self.tip().map(|tip| (tip.number, tip.hash))
    }

    pub(crate) fn at(&self, number: u64) -> Option<&BlockRef> {
        self.blocks.get(&number)
    }

    pub(crate) fn lowest(&self) -> Option<&BlockRef> {
        self.blocks.first_key_value().map(|(_, block)| block)
    }

    /// Blocks from the highest down.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &BlockRef> {
        self.blocks.values().rev()
    }

    /// The window once a batch is recorded: the same that [`Window::load`] reads then.
    pub(crate) fn after(&self, batch: &Batch) -> Self {
        let mut next = self.clone();
        if let Some(lowest_removed) = batch.removed.last() {
            next.blocks.split_off(&lowest_removed.number);
        }
        if let (Some(first), Some(tip)) = (batch.added.first(), batch.tip()) {
            next.first_number = next.first_number.or(Some(first.block.number));
            let lowest_kept = tip.number.saturating_sub(batch.origin.window);
            next.blocks.extend(batch.added.iter().map(|one| (one.block.number, one.block)));
            next.blocks = next.blocks.split_off(&lowest_kept);
        }
        next
    }

    pub(crate) async fn load(store: &Store, subscriber: &str) -> Result<Self, StoreError> {
        let first =
            store.query_optional("SELECT first_number FROM chain_follow WHERE subscriber = $1", params![subscriber]).await?;
        let rows = store
            .query(
                "SELECT number, hash, parent_hash, timestamp_seconds, base_fee_per_gas, gas_limit, gas_used \
                 FROM chain_follow_block WHERE subscriber = $1",
                params![subscriber],
            )
            .await?;
        let blocks = rows.iter().map(read_block).map(|block| block.map(|block| (block.number, block)));
        Ok(Self {
            first_number: first.map(|row| row.get("first_number")).transpose()?,
            blocks: blocks.collect::<Result<_, StoreError>>()?,
        })
    }
}

fn read_block(row: &Row) -> Result<BlockRef, StoreError> {
    Ok(BlockRef {
        number: row.get("number")?,
        hash: row.get("hash")?,
        parent_hash: row.get("parent_hash")?,
        timestamp: row.get("timestamp_seconds")?,
        base_fee_per_gas: row.get("base_fee_per_gas")?,
        gas_limit: row.get("gas_limit")?,
        gas_used: row.get("gas_used")?,
    })
}

const POSITION: &str = "SELECT number, hash FROM chain_follow_block WHERE subscriber = $1 ORDER BY number DESC LIMIT 1";

fn read_position(row: Option<Row>) -> Result<Position, StoreError> {
    row.map(|row| Ok((row.get("number")?, row.get("hash")?))).transpose()
}

/// The stored position.
pub(crate) async fn stored_position(store: &Store, subscriber: &str) -> Result<Position, StoreError> {
    read_position(store.query_optional(POSITION, params![subscriber]).await?)
}

/// The stored position as the transaction sees it.
pub(crate) async fn position_in(tx: &mut Tx<'_>, subscriber: &str) -> Result<Position, StoreError> {
    read_position(tx.query_optional(POSITION, params![subscriber]).await?)
}

/// Notes where the stream begins, the first time.
pub(crate) async fn begin(tx: &mut Tx<'_>, subscriber: &str, first_number: u64) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO chain_follow (subscriber, first_number) VALUES ($1, $2) ON CONFLICT (subscriber) DO NOTHING",
        params![subscriber, first_number],
    )
    .await?;
    Ok(())
}

/// Takes back blocks from a height upwards.
pub(crate) async fn remove_from(tx: &mut Tx<'_>, subscriber: &str, number: u64) -> Result<(), StoreError> {
    tx.execute("DELETE FROM chain_follow_block WHERE subscriber = $1 AND number >= $2", params![subscriber, number]).await?;
    Ok(())
}

/// Adds blocks.
pub(crate) async fn insert(tx: &mut Tx<'_>, subscriber: &str, blocks: &[BlockRef]) -> Result<(), StoreError> {
    for part in blocks.chunks(ROWS_PER_INSERT) {
        let mut sql = String::from(
            "INSERT INTO chain_follow_block \
             (subscriber, number, hash, parent_hash, timestamp_seconds, base_fee_per_gas, gas_limit, gas_used) VALUES ",
        );
        let mut values: Vec<Value> = Vec::with_capacity(1 + part.len() * 7);
        values.push(subscriber.into());
        for (index, block) in part.iter().enumerate() {
            let first = 2 + index * 7;
            let numbers: Vec<String> = (first..first + 7).map(|number| format!("${number}")).collect();
            sql.push_str(if index == 0 { "($1, " } else { ", ($1, " });
            sql.push_str(&numbers.join(", "));
            sql.push(')');
            values.extend(params![
                block.number,
                block.hash,
                block.parent_hash,
                block.timestamp,
                block.base_fee_per_gas,
                block.gas_limit,
                block.gas_used,
            ]);
        }
        tx.execute(&sql, values).await?;
    }
    Ok(())
}

/// Drops what is below a height, but never the position itself.
pub(crate) async fn prune_below(tx: &mut Tx<'_>, subscriber: &str, number: u64) -> Result<(), StoreError> {
    tx.execute("DELETE FROM chain_follow_block WHERE subscriber = $1 AND number < $2", params![subscriber, number]).await?;
    Ok(())
}

/// Drops everything about a subscriber.
pub(crate) async fn forget(tx: &mut Tx<'_>, subscriber: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM chain_follow_block WHERE subscriber = $1", params![subscriber]).await?;
    tx.execute("DELETE FROM chain_follow WHERE subscriber = $1", params![subscriber]).await?;
    Ok(())
}
