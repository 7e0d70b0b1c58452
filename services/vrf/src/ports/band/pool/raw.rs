//! Proofs from CometBFT RPC: header and votes of one block, and store proofs of the state that the header seals.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use windlass_vrf_protocol::assemble::{self, AssembleError, AssembledBlock};
use windlass_vrf_protocol::header::Header;
use windlass_vrf_protocol::ics23::{self, Ics23Error};
use windlass_vrf_protocol::oracle_result::{OracleResult, store_key};
use windlass_vrf_protocol::proof::RelayPart;
use windlass_vrf_protocol::signature::Recovered;

use super::super::error::BandError;
use super::super::meter::Method;
use super::super::node::{NodeExt, SignedBlock, StoreProof};
use super::super::site::Site;
use super::super::types::ServedProof;
use super::BandClient;
use super::ask::Freshness;

/// How many blocks are kept.
const BLOCKS_MAX: usize = 32;

/// Blocks by height, so that all requests of one block share its header, its votes and the recovery of its signers.
#[derive(Default)]
pub(super) struct Blocks(Mutex<BTreeMap<u64, Arc<Block>>>);

#[derive(Default)]
struct Block {
    /// Filled once; who comes meanwhile waits for it.
    signed: OnceCell<SignedBlock>,
    /// The relay part, once some request needed it.
    relay: Mutex<Option<Arc<Assembled>>>,
}

impl Block {
    fn is_provisional(&self) -> bool {
        self.signed.get().is_some_and(|block| !block.canonical)
    }
}

impl Blocks {
    /// The place of this height. A block whose votes were only those that a node saw first is asked for again once the next block is
    /// there, which carries more.
    fn place(&self, height: u64, newest: Option<u64>) -> Arc<Block> {
        let mut blocks = self.0.lock();
        let superseded = newest.is_some_and(|newest| newest > height);
        if superseded && blocks.get(&height).is_some_and(|block| block.is_provisional()) {
            blocks.remove(&height);
        }
        let block = Arc::clone(blocks.entry(height).or_default());
        while blocks.len() > BLOCKS_MAX {
            let Some(oldest) = blocks.keys().copied().find(|other| *other != height) else { break };
            blocks.remove(&oldest);
        }
        block
    }

    fn forget(&self, height: u64) {
        self.0.lock().remove(&height);
    }
}

impl BandClient {
    /// The proof of a request by the header of `height`.
    pub(super) async fn build_proof(&self, id: u64, height: u64) -> Result<ServedProof, BandError> {
        let Some(state) = height.checked_sub(1).filter(|state| *state > 0) else {
            let (host, method) = ("BandChain".to_owned(), Method::StoreProof.name().to_owned());
            return Err(BandError::NotReady { host, method, text: "no block seals a state before block 2".to_owned() });
        };
        let block = self.blocks.place(height, self.newest_height());
        let fetch = || self.ask(Method::Commit, Freshness::At(height), |node| node.commit(height));
        let signed = block.signed.get_or_try_init(fetch).await?;
        let relay = &block.relay;
        let proof = self.ask(Method::StoreProof, Freshness::At(height), |node| {
            Box::pin(async move {
                let store = node.store_proof(id, state).await?;
                put_together(node.site(Method::StoreProof), signed, relay, id, &store)
            })
        });
        let proof = proof.await;
        if matches!(proof, Err(BandError::Malformed { .. })) {
            // Nobody's store proof fits this block: perhaps the block is the wrong one.
            self.blocks.forget(height);
        }
        proof
    }
}

fn put_together(
    site: Site<'_>,
    signed: &SignedBlock,
    relay: &Mutex<Option<Arc<Assembled>>>,
    id: u64,
    store: &StoreProof,
) -> Result<ServedProof, BandError> {
    let proven = ics23::StoreProof::from_ops(&store.ops.ops, &store_key(id)).map_err(|error| match error {
        Ics23Error::NoExistence => site.not_ready(&error.to_string()),
        Ics23Error::UnknownLayout(_) => site.refused("unknown layout", &error.to_string()),
        error => site.malformed(error),
    })?;
    let result = OracleResult::decode(&proven.value).map_err(|error| site.malformed(error))?;
    if result.encode() != *proven.value || result.request_id != id {
        return Err(site.malformed("a result that is not spelt as BandChain spells it, or of another request"));
    }
    let assembled = {
        // Whoever needs the same block meanwhile waits: recovering its signers twice would take as long, and a core more.
        let mut kept = relay.lock();
        match kept.as_ref().filter(|kept| kept.relay.multi_store == proven.multi_store) {
            Some(kept) => Arc::clone(kept),
            None => {
                let header = Header::try_from(signed.header.clone()).map_err(|error| site.malformed(error))?;
                let assembled = assemble::relay_part(&header, &signed.commit, proven.multi_store, proven.layout);
                let fresh = Arc::new(usable(site, assembled)?);
                *kept = Some(Arc::clone(&fresh));
                fresh
            }
        }
    };
    let block_height = assembled.relay.merkle_parts.height;
    let proof = assemble::proof(assembled.relay.clone(), block_height, result, &proven.existence);
    Ok(ServedProof { block_height, evm_proof_bytes: proof.encode(), recovered: Arc::clone(&assembled.recovered) })
}

/// A relay part, and the signers that were recovered for it.
struct Assembled {
    relay: RelayPart,
    recovered: Arc<[Recovered]>,
}

fn usable(site: Site<'_>, assembled: Result<AssembledBlock, AssembleError>) -> Result<Assembled, BandError> {
    let block = assembled.map_err(|error| site.malformed(error))?;
    if block.relay.signatures.is_empty() {
        return Err(site.malformed("a block without a usable vote"));
    }
    if block.unusable > 0 {
        tracing::debug!(unusable = block.unusable, height = block.relay.merkle_parts.height, "votes without usable signature");
    }
    Ok(Assembled { relay: block.relay, recovered: block.recovered.into() })
}
