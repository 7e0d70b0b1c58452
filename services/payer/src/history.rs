//! Payments and withdrawals of a contract, rebuilt from the chain.
//!
//! The contract emits no events. What there is: the token's `Transfer` logs with the contract on one side, and `totalPaid`
//! before and after each block. A transfer to the contract is a payment only as far as `totalPaid` grew in its block; the
//! rest was sent by mistake and is lost. Where a block holds several transfers and not all of them are payments, the
//! transactions that caused them decide, and where those are calls of other contracts, the only combination of transfers
//! that adds up does.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{SolCall, SolEvent};
use futures::StreamExt as _;
use serde::Serialize;
use windlass_chain::{BackfillOptions, BlockId, ChainError, Log, LogFilter, backfill};
use windlass_contracts::KeyperPayer as Contract;

use crate::api::U256Text;
use crate::error::PayerError;
use crate::ports::contract::{ContractReader, Token};

/// What a transfer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Credited by `pay`.
    Payment,
    /// Taken by a keyper.
    Withdrawal,
    /// A plain transfer to the contract: not credited, lost.
    Stray,
    /// To the contract, but it cannot be told what it was.
    Unclear,
}

/// One movement of tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Movement {
    /// What it was.
    pub kind: Kind,
    /// Block.
    pub block: u64,
    /// Time of the block, Unix seconds.
    pub time_s: u64,
    /// Transaction.
    pub transaction: B256,
    /// Position of the log in its block.
    pub log_index: u64,
    /// The other side: who paid, or which keyper withdrew.
    pub account: Address,
    /// Token units that the log names.
    #[serde(serialize_with = "as_text")]
    pub amount: U256,
    /// Token units credited by the contract; differs from `amount` for tokens that keep a fee.
    #[serde(serialize_with = "as_text")]
    pub credited: U256,
    /// `totalPaid` after the block, when the endpoint still has that state.
    pub total_paid_after: Option<U256Text>,
}

fn as_text<S: serde::Serializer>(value: &U256, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// All movements of a contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct History {
    /// First block searched.
    pub from_block: u64,
    /// Last block searched; all figures are of this block.
    pub to_block: u64,
    /// In the order of the chain.
    pub movements: Vec<Movement>,
    /// Sum of the payments found.
    #[serde(serialize_with = "as_text")]
    pub payments: U256,
    /// `totalPaid` of the contract.
    #[serde(serialize_with = "as_text")]
    pub total_paid: U256,
    /// Sum of the withdrawals found.
    #[serde(serialize_with = "as_text")]
    pub withdrawn: U256,
    /// Sum of what was sent by mistake.
    #[serde(serialize_with = "as_text")]
    pub stray: U256,
    /// The payments found add up to `totalPaid`, and nothing is unclear.
    pub complete: bool,
}

/// A transfer to the contract, before it is known what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) amount: U256,
    /// What the transaction that caused it says, if it says anything.
    pub(crate) hint: Hint,
}

/// What the transaction of a transfer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    /// A direct call of `pay` with this amount.
    Pay(U256),
    /// A direct call of the token: a plain transfer.
    Plain,
    /// A call of something else.
    None,
}

/// Decides what the transfers of one block were, given by how much `totalPaid` grew. Returns kind and credited amount.
///
/// Pure. `grown` is `None` when the state of the blocks is not to be had.
pub(crate) fn classify(transfers: &[Incoming], grown: Option<U256>) -> Vec<(Kind, U256)> {
    let sum = transfers.iter().fold(U256::ZERO, |sum, one| sum.saturating_add(one.amount));
    match grown {
        Some(grown) if grown == sum => return transfers.iter().map(|one| (Kind::Payment, one.amount)).collect(),
        Some(grown) if grown.is_zero() => return transfers.iter().map(|_| (Kind::Stray, U256::ZERO)).collect(),
        _ => {}
    }
    // What direct calls say is certain.
    let mut decided: Vec<Option<(Kind, U256)>> = transfers
        .iter()
        .map(|one| match one.hint {
            Hint::Pay(amount) => Some((Kind::Payment, amount)),
            Hint::Plain => Some((Kind::Stray, U256::ZERO)),
            Hint::None => None,
        })
        .collect();
    let credited = decided.iter().flatten().fold(U256::ZERO, |sum, (_, credited)| sum.saturating_add(*credited));
    let open: Vec<usize> = (0..transfers.len()).filter(|index| decided.get(*index) == Some(&None)).collect();
    if let Some(rest) = grown.and_then(|grown| grown.checked_sub(credited)) {
        let amounts: Vec<U256> = open.iter().filter_map(|index| transfers.get(*index)).map(|one| one.amount).collect();
        if let Some(chosen) = only_subset(&amounts, rest) {
            for (position, index) in open.iter().enumerate() {
                let (Some(slot), Some(one)) = (decided.get_mut(*index), transfers.get(*index)) else { continue };
                let paid = chosen >> position & 1 == 1;
                *slot = Some(if paid { (Kind::Payment, one.amount) } else { (Kind::Stray, U256::ZERO) });
            }
        }
    }
    decided.into_iter().map(|one| one.unwrap_or((Kind::Unclear, U256::ZERO))).collect()
}

/// The one subset of `amounts` with this sum, as a bit set; `None` when there is none, or more than one that differ.
fn only_subset(amounts: &[U256], sum: U256) -> Option<u32> {
    if amounts.len() > 12 {
        return None;
    }
    let add = |set: u32| {
        amounts.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1).try_fold(U256::ZERO, |s, (_, a)| s.checked_add(*a))
    };
    let mut found = (0..1_u32 << amounts.len()).filter(|set| add(*set) == Some(sum));
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// Rebuilds the history from `from_block` (found by bisection when not given) to the head.
pub async fn collect(reader: &ContractReader, from_block: Option<u64>) -> Result<History, PayerError> {
    let endpoints = reader.endpoints();
    let head = endpoints.head().await?;
    let wrap = |cause| PayerError::Agreement { contract: reader.contract(), cause };
    let constants = reader.constants(&head).await.map_err(wrap)?;
    let from = match from_block {
        Some(block) => block.min(head.number),
        None => first_block(reader, head.number).await?,
    };
    let mut logs = transfers(reader, constants.token, from, head.number).await?;
    logs.sort_by_key(Log::position);
    let mut blocks: BTreeMap<u64, Vec<Log>> = BTreeMap::new();
    for log in logs {
        blocks.entry(log.block_number).or_default().push(log);
    }
    let mut movements = Vec::new();
    for (number, logs) in blocks {
        movements.extend(movements_of_block(reader, constants.token, number, logs).await?);
    }
    let total_paid = reader.total_paid_at(head.hash).await?.unwrap_or_default();
    let sum = |kind: Kind, read: fn(&Movement) -> U256| {
        movements.iter().filter(|one| one.kind == kind).fold(U256::ZERO, |sum, one| sum.saturating_add(read(one)))
    };
    let payments = sum(Kind::Payment, |one| one.credited);
    let unclear = movements.iter().any(|one| one.kind == Kind::Unclear);
    Ok(History {
        from_block: from,
        to_block: head.number,
        payments,
        total_paid,
        withdrawn: sum(Kind::Withdrawal, |one| one.amount),
        stray: sum(Kind::Stray, |one| one.amount),
        complete: payments == total_paid && !unclear,
        movements,
    })
}

/// The first block with code at the contract, by bisection; block 0 when old states are not to be had.
async fn first_block(reader: &ContractReader, head: u64) -> Result<u64, PayerError> {
    let (mut without, mut with) = (0, head);
    if code_at(reader, 0).await?.unwrap_or(true) {
        return Ok(0);
    }
    while with - without > 1 {
        let middle = without + (with - without) / 2;
        match code_at(reader, middle).await? {
            Some(true) => with = middle,
            Some(false) => without = middle,
            None => return Ok(0),
        }
    }
    Ok(with)
}

/// Whether there was code at the contract after a block; `None` when the endpoints do not have that state.
async fn code_at(reader: &ContractReader, block: u64) -> Result<Option<bool>, PayerError> {
    match reader.endpoints().code(reader.contract(), BlockId::Number(block)).await {
        Ok(code) => Ok(Some(!code.is_empty())),
        Err(error) if error.is_transient() => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// Transfers with the contract on either side.
async fn transfers(reader: &ContractReader, token: Address, from: u64, to: u64) -> Result<Vec<Log>, PayerError> {
    let side = reader.contract().into_word();
    let base = LogFilter::address(token).events([Token::Transfer::SIGNATURE_HASH]);
    // A transfer of the contract to itself is in both.
    let mut all: BTreeMap<(u64, u64), Log> = BTreeMap::new();
    for topic in [1, 2] {
        let filter = base.clone().topic(topic, [side]);
        let mut chunks = std::pin::pin!(backfill(reader.endpoints().clone(), from..=to, filter, BackfillOptions::default()));
        while let Some(chunk) = chunks.next().await {
            let logs = chunk?.blocks.into_iter().flat_map(|block| block.logs);
            all.extend(logs.map(|log| (log.position(), log)));
        }
    }
    Ok(all.into_values().collect())
}

async fn movements_of_block(
    reader: &ContractReader,
    token: Address,
    number: u64,
    logs: Vec<Log>,
) -> Result<Vec<Movement>, PayerError> {
    let contract = reader.contract();
    let block = reader
        .endpoints()
        .block_ref(number)
        .await?
        .ok_or_else(|| ChainError::BlockNotFound { chain: reader.endpoints().name().to_owned(), block: number.to_string() })?;
    let mut movements = Vec::new();
    let mut incoming = Vec::new();
    for log in logs {
        let Some(event) = log.to_primitive().and_then(|log| Token::Transfer::decode_log(&log).ok()) else { continue };
        let (outgoing, account) = if event.to == contract { (false, event.from) } else { (true, event.to) };
        movements.push(Movement {
            kind: if outgoing { Kind::Withdrawal } else { Kind::Unclear },
            block: number,
            time_s: block.timestamp,
            transaction: log.transaction_hash,
            log_index: log.log_index,
            account,
            amount: event.value,
            credited: U256::ZERO,
            total_paid_after: None,
        });
        if !outgoing {
            incoming.push(Incoming { amount: event.value, hint: Hint::None });
        }
    }
    if incoming.is_empty() {
        return Ok(movements);
    }
    let after = reader.total_paid_at(BlockId::Hash(block.hash)).await?;
    let before = match number.checked_sub(1) {
        Some(previous) => reader.total_paid_at(BlockId::Number(previous)).await?,
        None => None,
    };
    let grown = match (before, after) {
        (Some(before), Some(after)) => after.checked_sub(before),
        // Before the deployment there is no contract, and nothing is paid.
        (None, Some(after)) if code_at(reader, number.saturating_sub(1)).await? == Some(false) => Some(after),
        _ => None,
    };
    let sum = incoming.iter().fold(U256::ZERO, |sum, one| sum.saturating_add(one.amount));
    let plain = grown.is_some_and(|grown| grown == sum || grown.is_zero());
    let to_contract = movements.iter_mut().filter(|one| one.kind == Kind::Unclear).collect::<Vec<_>>();
    if !plain {
        for (movement, one) in to_contract.iter().zip(&mut incoming) {
            one.hint = hint(reader, token, movement.transaction).await?;
        }
    }
    for (movement, (kind, credited)) in to_contract.into_iter().zip(classify(&incoming, grown)) {
        movement.kind = kind;
        movement.credited = credited;
        movement.total_paid_after = after.map(U256Text);
    }
    Ok(movements)
}

/// Asks the transaction of a transfer what it was.
async fn hint(reader: &ContractReader, token: Address, hash: B256) -> Result<Hint, PayerError> {
    let Some(transaction) = reader.endpoints().transaction(hash).await? else { return Ok(Hint::None) };
    if transaction.to == Some(reader.contract())
        && let Ok(call) = Contract::payCall::abi_decode(&transaction.input)
    {
        return Ok(Hint::Pay(call.amount));
    }
    Ok(if transaction.to == Some(token) { Hint::Plain } else { Hint::None })
}

/// The movements as comma-separated values with a header line.
pub fn to_csv(history: &History) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("kind,block,time,transaction,log_index,account,amount,credited,total_paid_after\n");
    for one in &history.movements {
        let kind = match one.kind {
            Kind::Payment => "payment",
            Kind::Withdrawal => "withdrawal",
            Kind::Stray => "stray",
            Kind::Unclear => "unclear",
        };
        let after = one.total_paid_after.map_or_else(String::new, |after| after.0.to_string());
        let time = crate::cli::text::time(one.time_s);
        let _ = writeln!(
            text,
            "{kind},{},{time},{},{},{},{},{},{after}",
            one.block, one.transaction, one.log_index, one.account, one.amount, one.credited
        );
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;

    use super::*;

    fn one(amount: u64, hint: Hint) -> Incoming {
        Incoming { amount: U256::from(amount), hint }
    }

    fn pay(amount: u64) -> (Kind, U256) {
        (Kind::Payment, U256::from(amount))
    }

    const STRAY: (Kind, U256) = (Kind::Stray, U256::ZERO);
    const UNCLEAR: (Kind, U256) = (Kind::Unclear, U256::ZERO);

    #[test]
    fn growth_decides_plain_blocks() {
        assert_eq!(classify(&[one(5, Hint::None), one(7, Hint::None)], Some(U256::from(12))), vec![pay(5), pay(7)]);
        assert_eq!(classify(&[one(5, Hint::None)], Some(U256::ZERO)), vec![STRAY]);
    }

    #[test]
    fn the_only_combination_decides_mixed_blocks() {
        let mixed = [one(5, Hint::None), one(7, Hint::None), one(11, Hint::None)];
        assert_eq!(classify(&mixed, Some(U256::from(16))), vec![pay(5), STRAY, pay(11)]);
        let twins = [one(5, Hint::None), one(5, Hint::None)];
        assert_eq!(classify(&twins, Some(U256::from(5))), vec![UNCLEAR, UNCLEAR], "either could be the payment");
    }

    #[test]
    fn direct_calls_decide_twins() {
        let twins = [one(5, Hint::Plain), one(5, Hint::Pay(U256::from(5)))];
        assert_eq!(classify(&twins, Some(U256::from(5))), vec![STRAY, pay(5)]);
        let rest = [one(5, Hint::Plain), one(5, Hint::None)];
        assert_eq!(classify(&rest, Some(U256::from(5))), vec![STRAY, pay(5)]);
    }

    #[test]
    fn a_fee_on_transfer_is_seen_as_credited_more_than_moved() {
        let fee = [one(9_900, Hint::Pay(U256::from(10_000)))];
        assert_eq!(classify(&fee, Some(U256::from(10_000))), vec![pay(10_000)]);
    }

    #[test]
    fn without_old_states_only_direct_calls_are_known() {
        let some = [one(5, Hint::Pay(U256::from(5))), one(6, Hint::Plain), one(7, Hint::None)];
        assert_eq!(classify(&some, None), vec![pay(5), STRAY, UNCLEAR]);
    }

    proptest! {
        /// Whatever is decided adds up, and what is told to be certain is right.
        #[test]
        fn decisions_add_up(block in prop::collection::vec((1_u64..50, any::<bool>(), any::<bool>()), 0..8)) {
            let transfers: Vec<Incoming> = block
                .iter()
                .map(|(amount, paid, direct)| one(*amount, match (*direct, *paid) {
                    (true, true) => Hint::Pay(U256::from(*amount)),
                    (true, false) => Hint::Plain,
                    (false, _) => Hint::None,
                }))
                .collect();
            let grown: u64 = block.iter().filter(|(_, paid, _)| *paid).map(|(amount, ..)| amount).sum();
            let decided = classify(&transfers, Some(U256::from(grown)));
            for ((amount, paid, _), (kind, credited)) in block.iter().zip(&decided) {
                match kind {
                    Kind::Payment => prop_assert!(*paid && *credited == U256::from(*amount)),
                    Kind::Stray => prop_assert!(!paid),
                    _ => {}
                }
            }
        }
    }
}
