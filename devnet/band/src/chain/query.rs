//! Questions about the chain: blocks, accounts, transactions, requests, and proofs.

use std::sync::Arc;

use alloy_primitives::{B256, Bytes, U256};
use prost::Message;
use windlass_vrf_protocol::assemble::verify_part;
use windlass_vrf_protocol::iavl::Existence;
use windlass_vrf_protocol::ics23::{IAVL_OP, to_ops};
use windlass_vrf_protocol::messages::tendermint::ProofOp;
use windlass_vrf_protocol::oracle_result::{COUNT_KEY, OracleResult, ResolveStatus, store_key};
use windlass_vrf_protocol::proof::{CountVerifyPart, RawMultiProof, RawProof, RelayPart, VerifyPart};
use windlass_vrf_protocol::vote::Common;

use super::ante::{self, Mode};
use super::bank::{Account, Bank};
use super::block::{Block, PARTS_TOTAL, State};
use super::execute::Execution;
use super::index::IncludedTx;
use super::oracle::OracleRequest;
use super::transaction::Transaction;
use super::{Chain, Failure};
use crate::config::DENOM;
use crate::error::QueryError;
use crate::tree::StoreItem;

/// A proof as the Proof service serves it: in parts and as bytes for the Bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedProof<T> {
    /// Block whose header proves it.
    pub block_height: u64,
    /// From the oracle store's root to the signatures.
    pub relay: RelayPart,
    /// From what is proven to the oracle store's root.
    pub verify: T,
    /// Both, for the Bridge.
    pub evm_proof_bytes: Bytes,
}

/// State of a request. The chain forgets a request some time after it ended, but not its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestState {
    /// The request; `None` once its time is over.
    pub request: Option<OracleRequest>,
    /// There once it is resolved.
    pub result: Option<OracleResult>,
}

impl RequestState {
    /// How it ended, or `Open`.
    pub fn status(&self) -> ResolveStatus {
        self.result.as_ref().map_or(ResolveStatus::Open, |result| result.resolve_status)
    }
}

/// What the oracle store holds under a key after a block, with proof of it or of its absence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreAnswer {
    /// The block.
    pub height: u64,
    /// The value, if there is one.
    pub value: Option<Bytes>,
    /// `ics23:iavl` and `ics23:simple`.
    pub ops: Vec<ProofOp>,
}

impl Chain {
    /// The block of this height.
    ///
    /// # Errors
    /// [`QueryError::FutureHeight`] or [`QueryError::PrunedBlock`].
    pub fn block(&self, height: u64) -> Result<&Block, QueryError> {
        let newest = self.height();
        let lowest = self.blocks.front().map_or(1, |block| block.header.height);
        if height > newest {
            return Err(QueryError::FutureHeight { height, newest });
        }
        let place = height.checked_sub(lowest).and_then(|place| usize::try_from(place).ok());
        let block = place.and_then(|place| self.blocks.get(place));
        block.ok_or(QueryError::PrunedBlock { height, lowest })
    }

    /// Height of the oldest block that is kept.
    pub fn lowest_height(&self) -> u64 {
        self.blocks.front().map_or(0, |block| block.header.height)
    }

    /// Number, sequence and balance of an account after the newest block. `None`: it never received coins.
    pub fn account(&self, address: &str) -> Option<Account> {
        self.bank.get(address)
    }

    /// Balance after the newest block; zero for unknown accounts and coins.
    pub fn balance(&self, address: &str, denom: &str) -> u128 {
        if denom == DENOM { self.bank.get(address).unwrap_or_default().uband } else { 0 }
    }

    /// Whether a node has indexed the transaction already.
    fn is_indexed(&self, transaction: &IncludedTx) -> bool {
        transaction.height.saturating_add(self.faults.index_lag_blocks) <= self.height()
    }

    /// The included transaction with this hash, hexadecimal in either case.
    pub fn transaction(&self, hash: &str) -> Option<Arc<IncludedTx>> {
        let hash = hash.parse::<B256>().ok()?;
        self.index.get(&hash).filter(|transaction| self.is_indexed(transaction)).cloned()
    }

    /// The transaction that used this sequence of the account.
    pub fn transaction_at_sequence(&self, address: &str, sequence: u64) -> Option<Arc<IncludedTx>> {
        self.index.at_sequence(address, sequence).filter(|transaction| self.is_indexed(transaction)).cloned()
    }

    /// Included transactions of the sender, the newest first.
    pub fn transactions_of(&self, address: &str, limit: usize) -> Vec<Arc<IncludedTx>> {
        let all = self.index.of_sender(address).rev();
        all.filter(|transaction| self.is_indexed(transaction) && transaction.sequence.is_some()).take(limit).cloned().collect()
    }

    /// All indexed transactions that meet a query, the oldest first: conditions such as `tx.acc_seq='band1.../7'`, `message.sender='band1...'`
    /// or `tx.height>5`, joined by `AND`.
    ///
    /// # Errors
    /// [`QueryError::Query`] for a condition that is not understood.
    pub fn search(&self, query: &str) -> Result<Vec<Arc<IncludedTx>>, QueryError> {
        let mut found = self.index.search(query)?;
        found.retain(|transaction| self.is_indexed(transaction));
        Ok(found)
    }

    /// Gas limit and use of a transaction that is not sent; its signature does not matter.
    ///
    /// # Errors
    /// [`QueryError::Simulation`] if it would fail.
    pub fn simulate(&self, bytes: &[u8]) -> Result<(u64, u64), QueryError> {
        let failed = |failure: Failure, gas_used| QueryError::Simulation {
            codespace: failure.codespace.to_owned(),
            code: failure.code,
            raw_log: failure.raw_log,
            gas_used,
        };
        let transaction = Transaction::decode(bytes).map_err(|failure| failed(failure, 0))?;
        let mut bank = self.checked_copy(&transaction);
        let (height, time) = (self.height().saturating_add(1), self.latest().map_or(0, |block| block.time_ms / 1_000));
        let gas =
            ante::run(&self.config, &mut bank, &transaction, height, Mode::Simulate).map_err(|failure| failed(failure, 0))?;
        let mut faults = self.faults.clone();
        let next_id = self.oracle.next_id();
        let execution = Execution::new(&self.config, &mut faults, &mut bank, self.layout, (height, time), next_id, gas);
        let outcome = execution.run(&transaction);
        match outcome.result {
            Ok(_) => Ok((transaction.gas_limit, outcome.gas.used)),
            Err(failure) => Err(failed(failure, outcome.gas.used)),
        }
    }

    /// The accounts that a transaction may touch, as they will be once what waits is in a block.
    fn checked_copy(&self, transaction: &Transaction) -> Bank {
        let mut bank = Bank::default();
        bank.restore(&transaction.sender, self.checked.get(&transaction.sender));
        bank
    }

    /// Requests that the block of this height resolved.
    ///
    /// # Errors
    /// If there is no such block.
    pub fn resolved_in(&self, height: u64) -> Result<Vec<(u64, ResolveStatus)>, QueryError> {
        Ok(self.block(height)?.resolved.iter().map(|resolved| (resolved.id, resolved.status)).collect())
    }

    /// State of a request after the newest block.
    ///
    /// # Errors
    /// [`QueryError::NoRequest`] if there is none.
    pub fn request(&self, id: u64) -> Result<RequestState, QueryError> {
        let request = self.oracle.get(id).cloned();
        let result = self.latest().and_then(|block| stored_result(&block.state, id)).map(|(result, _)| result);
        if request.is_none() && result.is_none() {
            return Err(QueryError::NoRequest { id, last_expired: self.oracle.last_expired() });
        }
        Ok(RequestState { request, result })
    }

    /// How many requests there were, in all.
    pub fn request_count(&self) -> u64 {
        self.oracle.next_id().saturating_sub(1)
    }

    /// The proof of a request as the Proof service makes it. `height` is that of the header; `None` is the newest but one.
    ///
    /// # Errors
    /// The service's texts: see [`QueryError`].
    pub fn proof(&self, id: u64, height: Option<u64>) -> Result<ServedProof<VerifyPart>, QueryError> {
        let newest = self.height();
        let height = height.unwrap_or(newest.saturating_sub(1));
        let block = self.block(height)?;
        if height >= newest {
            return Err(QueryError::NotCanonical);
        }
        self.prove(id, block)
    }

    /// The proof of a request with a header that may be the newest: what can be built from CometBFT RPC, whose `/commit` also serves the
    /// commit that a node has seen but not yet found in a block.
    ///
    /// # Errors
    /// As [`Chain::proof`], but never [`QueryError::NotCanonical`].
    pub fn raw_proof(&self, id: u64, height: u64) -> Result<ServedProof<VerifyPart>, QueryError> {
        self.prove(id, self.block(height)?)
    }

    fn prove(&self, id: u64, block: &Block) -> Result<ServedProof<VerifyPart>, QueryError> {
        let verify = self.verify_part(id, block)?;
        let (relay, relay_bytes) = self.relay(block);
        let evm_proof_bytes = self.cut(RawProof { relay: &relay_bytes, verify: &verify.encode() }.encode());
        Ok(ServedProof { block_height: block.header.height, relay, verify, evm_proof_bytes })
    }

    /// One proof for several requests, with the newest header, as the Proof service makes it.
    ///
    /// # Errors
    /// The service's texts: see [`QueryError`].
    pub fn multi_proof(&self, ids: &[u64]) -> Result<ServedProof<Vec<VerifyPart>>, QueryError> {
        if ids.is_empty() {
            return Err(QueryError::NoRequestIds);
        }
        let block = self.block(self.height())?;
        let verify = ids.iter().map(|id| self.verify_part(*id, block)).collect::<Result<Vec<_>, _>>()?;
        let (relay, relay_bytes) = self.relay(block);
        let parts: Vec<Vec<u8>> = verify.iter().map(VerifyPart::encode).collect();
        let raw = RawMultiProof { relay: &relay_bytes, verify: parts.iter().map(Vec::as_slice).collect() };
        let evm_proof_bytes = self.cut(raw.encode());
        Ok(ServedProof { block_height: block.header.height, relay, verify, evm_proof_bytes })
    }

    /// The proof of the number of requests, with the newest header, as the Proof service makes it.
    ///
    /// # Errors
    /// The service's texts: see [`QueryError`].
    pub fn count_proof(&self) -> Result<ServedProof<CountVerifyPart>, QueryError> {
        let block = self.block(self.height())?;
        let state = self.proven_state(block)?;
        let place = state.tree.find(COUNT_KEY).map_err(|_| QueryError::NoExistence)?;
        let (item, existence) = state.tree.prove(place).ok_or(QueryError::NoExistence)?;
        let verify = CountVerifyPart {
            block_height: U256::from(block.header.height),
            count: U256::from_be_slice(&item.value),
            version: U256::from(existence.version),
            path: existence.path,
        };
        let (relay, relay_bytes) = self.relay(block);
        let evm_proof_bytes = self.cut(RawProof { relay: &relay_bytes, verify: &verify.encode() }.encode());
        Ok(ServedProof { block_height: block.header.height, relay, verify, evm_proof_bytes })
    }

    /// All entries of the oracle store after the newest block, in order.
    pub fn oracle_store(&self) -> Vec<StoreItem> {
        self.latest().map(|block| block.state.tree.items()).unwrap_or_default()
    }

    /// What the oracle store holds under a key after the block of this height; `None` is the newest.
    ///
    /// # Errors
    /// [`QueryError::ProofNotFound`] if the state is gone, or the height is 1 or less, of which no proofs are given.
    pub fn store_query(&self, key: &[u8], height: Option<u64>) -> Result<StoreAnswer, QueryError> {
        let height = height.unwrap_or(self.height());
        let state = self.state_after(height)?;
        let entry = |place: u64| {
            let (item, existence) = state.tree.prove(place)?;
            let ops = to_ops(&item.key, &item.value, &existence, &state.multi_store, state.layout);
            Some((item.value, ops))
        };
        match state.tree.find(key) {
            Ok(place) => {
                let (value, ops) = entry(place).ok_or(QueryError::NoExistence)?;
                Ok(StoreAnswer { height, value: Some(value), ops })
            }
            Err(place) => {
                let neighbour = |place: u64| entry(place).map(|(_, ops)| ops);
                let ops = absence_ops(key, place.checked_sub(1).and_then(neighbour), neighbour(place));
                Ok(StoreAnswer { height, value: None, ops })
            }
        }
    }

    /// The state after the block of this height, if it can still be proven.
    fn state_after(&self, height: u64) -> Result<&State, QueryError> {
        if height <= 1 || height < self.faults.pruned_below {
            return Err(QueryError::ProofNotFound);
        }
        self.block(height).map(|block| &block.state).map_err(|_| QueryError::ProofNotFound)
    }

    /// The state that a block's header commits to.
    fn proven_state(&self, block: &Block) -> Result<&State, QueryError> {
        self.state_after(block.header.height.saturating_sub(1))
    }

    fn verify_part(&self, id: u64, block: &Block) -> Result<VerifyPart, QueryError> {
        let (result, existence) = stored_result(self.proven_state(block)?, id).ok_or(QueryError::NoExistence)?;
        Ok(verify_part(block.header.height, result, &existence))
    }

    /// The block's relay part, damaged if a fault says so.
    fn relay(&self, block: &Block) -> (RelayPart, Bytes) {
        let commit = block.commit();
        if !self.faults.wrong_round {
            return (commit.relay.clone(), commit.relay_bytes.clone());
        }
        let round = u64::from(block.round).saturating_add(1);
        let common = Common::new(block.header.height, round, PARTS_TOTAL, block.parts_hash().as_slice());
        let relay = RelayPart { common, ..commit.relay.clone() };
        let bytes = relay.encode().into();
        (relay, bytes)
    }

    fn cut(&self, proof: Bytes) -> Bytes {
        proof.slice(..proof.len().saturating_sub(self.faults.truncate_proof_bytes))
    }
}

/// The result of a request in a state, with its proof.
fn stored_result(state: &State, id: u64) -> Option<(OracleResult, Existence)> {
    let place = state.tree.find(&store_key(id)).ok()?;
    let (item, existence) = state.tree.prove(place)?;
    Some((OracleResult::decode(&item.value).ok()?, existence))
}

/// An ICS-23 `CommitmentProof`, of which only the kinds of proof are told apart.
#[derive(Clone, PartialEq, prost::Message)]
struct CommitmentProof {
    #[prost(bytes = "vec", optional, tag = "1")]
    exist: Option<Vec<u8>>,
    #[prost(message, optional, tag = "2")]
    nonexist: Option<NonExistenceProof>,
}

/// That there is nothing between two neighbours.
#[derive(Clone, PartialEq, prost::Message)]
struct NonExistenceProof {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    left: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    right: Option<Vec<u8>>,
}

/// Proof ops of a key that is not there, from the ops of its neighbours.
fn absence_ops(key: &[u8], left: Option<Vec<ProofOp>>, right: Option<Vec<ProofOp>>) -> Vec<ProofOp> {
    let existence = |ops: &Vec<ProofOp>| CommitmentProof::decode(ops.first()?.data.as_slice()).ok()?.exist;
    let nonexist = NonExistenceProof {
        key: key.to_vec(),
        left: left.as_ref().and_then(existence),
        right: right.as_ref().and_then(existence),
    };
    let simple = left.or(right).and_then(|ops| ops.into_iter().nth(1));
    let data = CommitmentProof { exist: None, nonexist: Some(nonexist) }.encode_to_vec();
    let iavl = ProofOp { r#type: IAVL_OP.to_owned(), key: key.to_vec(), data };
    [Some(iavl), simple].into_iter().flatten().collect()
}
