//! Blocks: header, transactions, the state after them, and the votes, which are signed when somebody first asks for them.

use std::sync::{Arc, OnceLock};

use alloy_primitives::{B256, Bytes};
use windlass_vrf_protocol::header::{BlockId, Header};
use windlass_vrf_protocol::merkle::sha256;
use windlass_vrf_protocol::messages::tx::Event;
use windlass_vrf_protocol::multistore::{self, Layout, MultiStoreProof};
use windlass_vrf_protocol::proof::RelayPart;
use windlass_vrf_protocol::signature::TmSignature;
use windlass_vrf_protocol::vote::{Common, EncodedChainId, timestamp};

use super::index::IncludedTx;
use super::oracle::{Resolved, resolve_event};
use crate::proof::vote;
use crate::tree::Tree;
use crate::validators::ValidatorSet;

/// Parts of every block: one.
pub(crate) const PARTS_TOTAL: u32 = 1;

/// The application's stores after a block.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) layout: Layout,
    /// The oracle store.
    pub(crate) tree: Tree,
    pub(crate) multi_store: MultiStoreProof,
    pub(crate) app_hash: B256,
}

impl State {
    pub(crate) fn new(layout: Layout, tree: Tree, seed: u64, height: u64) -> Self {
        let root = tree.root();
        let (multi_store, app_hash) = multistore::build(layout, |name| store_root(name, root, seed, height));
        Self { layout, tree, multi_store, app_hash }
    }
}

/// Root of a store. Those of the other stores follow from their names and the height; nobody looks below them.
fn store_root(name: &str, oracle_root: B256, seed: u64, height: u64) -> B256 {
    if name == multistore::ORACLE {
        return oracle_root;
    }
    sha256(&[b"store", name.as_bytes(), &seed.to_be_bytes(), &height.to_be_bytes()])
}

/// One validator's part in a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// CometBFT's address of the validator.
    pub address: [u8; 20],
    /// Unix second and nanosecond of the vote.
    pub time: (u64, u32),
    /// `None`: it did not vote.
    pub signature: Option<TmSignature>,
}

/// The signatures of a block.
#[derive(Clone, Debug)]
pub struct Commit {
    /// One entry per validator, in the order of the set.
    pub votes: Vec<Vote>,
    /// Arguments of `relayBlock`.
    pub relay: RelayPart,
    /// The same as bytes.
    pub relay_bytes: Bytes,
}

/// A block with the state after it.
#[derive(Debug)]
pub struct Block {
    pub(crate) header: Header,
    pub(crate) hash: B256,
    pub(crate) time_ms: u64,
    pub(crate) round: u32,
    pub(crate) validators: ValidatorSet,
    /// The strongest so many validators did not sign.
    pub(crate) absent: usize,
    pub(crate) transactions: Vec<Arc<IncludedTx>>,
    pub(crate) resolved: Vec<Resolved>,
    /// Proof of the state before this block, to which the header commits.
    pub(crate) multi_store: MultiStoreProof,
    /// State after this block.
    pub(crate) state: State,
    commit: OnceLock<Arc<Commit>>,
}

/// What a new block is made of.
pub(crate) struct Parts {
    pub(crate) header: Header,
    pub(crate) time_ms: u64,
    pub(crate) round: u32,
    pub(crate) validators: ValidatorSet,
    pub(crate) absent: usize,
    pub(crate) transactions: Vec<Arc<IncludedTx>>,
    pub(crate) resolved: Vec<Resolved>,
    pub(crate) multi_store: MultiStoreProof,
    pub(crate) state: State,
}

impl Block {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { header, time_ms, round, validators, absent, transactions, resolved, multi_store, state } = parts;
        let hash = header.hash();
        let commit = OnceLock::new();
        Self { header, hash, time_ms, round, validators, absent, transactions, resolved, multi_store, state, commit }
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Hash of the header.
    pub fn hash(&self) -> B256 {
        self.hash
    }

    /// Time in Unix milliseconds.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Who votes for it.
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// Its transactions, in order.
    pub fn transactions(&self) -> &[Arc<IncludedTx>] {
        &self.transactions
    }

    /// Requests that it resolved.
    pub fn resolved(&self) -> &[Resolved] {
        &self.resolved
    }

    /// Their `resolve` events, which are events of the block and not of a transaction.
    pub fn resolve_events(&self) -> Vec<Event> {
        self.resolved.iter().map(resolve_event).collect()
    }

    /// Stores of the application after it.
    pub fn layout(&self) -> Layout {
        self.state.layout
    }

    /// Round in which it was decided.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// Root of its parts.
    pub fn parts_hash(&self) -> B256 {
        sha256(&[b"parts", self.hash.as_slice()])
    }

    pub(crate) fn id(&self) -> BlockId {
        BlockId { hash: self.hash.to_vec().into(), parts_total: PARTS_TOTAL, parts_hash: self.parts_hash().to_vec().into() }
    }

    /// The votes for it. They are signed at the first call, which costs about a tenth of a millisecond per validator.
    pub fn commit(&self) -> Arc<Commit> {
        self.commit.get_or_init(|| Arc::new(self.sign())).clone()
    }

    fn sign(&self) -> Commit {
        let common = Common::new(self.header.height, u64::from(self.round), PARTS_TOTAL, self.parts_hash().as_slice());
        let chain_id = EncodedChainId::new(&self.header.chain_id);
        let mut signatures = Vec::new();
        let mut votes = Vec::new();
        for (index, validator) in self.validators.validators().iter().enumerate() {
            let time = self.vote_time(index);
            let signature = (index >= self.absent).then(|| {
                let encoded = Bytes::from(timestamp(time.0, time.1));
                vote(validator, &common, &self.hash, &encoded, &chain_id)
            });
            if let Some(signature) = &signature {
                signatures.push((validator.evm_address(), signature.clone()));
            }
            votes.push(Vote { address: *validator.address(), time, signature });
        }
        signatures.sort_by_key(|(address, _)| *address);
        let relay = RelayPart {
            multi_store: self.multi_store,
            merkle_parts: self.header.merkle_parts(),
            common,
            signatures: signatures.into_iter().map(|(_, signature)| signature).collect(),
        };
        let relay_bytes = relay.encode().into();
        Commit { votes, relay, relay_bytes }
    }

    /// Validators vote some milliseconds after the block's time, each at another.
    fn vote_time(&self, index: usize) -> (u64, u32) {
        let index = index as u64;
        let milliseconds = self.time_ms.saturating_add(5 + index * 3 % 40);
        let nanos = milliseconds % 1_000 * 1_000_000 + (self.header.height % 10_007 * 7_919 + index * 104_729) % 1_000_000;
        (milliseconds / 1_000, nanos as u32)
    }
}
