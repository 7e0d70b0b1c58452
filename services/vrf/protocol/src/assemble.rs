//! Builds proofs from their ingredients: for the simulator, and for proofs from a node's CometBFT RPC instead of its Proof
//! service.

use alloy_primitives::{Address, B256, U256};

use crate::header::Header;
use crate::iavl::Existence;
use crate::messages::tendermint::{BlockIdFlag, Commit};
use crate::multistore::{Layout, MultiStoreProof};
use crate::oracle_result::OracleResult;
use crate::proof::{CountProof, CountVerifyPart, Proof, RelayPart, VerifyPart};
use crate::signature::{Recovered, TmSignature, recover_from_commit};
use crate::vote::{self, Common, EncodedChainId};

/// Why ingredients do not make a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// A field is missing or out of range.
    #[error("the commit has no usable {0}")]
    Missing(&'static str),
    /// The commit is for another block than the header.
    #[error("the commit is for block {commit}, the header is of block {header}")]
    OtherBlock {
        /// Hash in the commit.
        commit: B256,
        /// Hash of the header.
        header: B256,
    },
    /// The store proof leads to another AppHash than the header's.
    #[error("the store proof leads to the AppHash {proof}, the header has {header}")]
    OtherState {
        /// AppHash of the store proof.
        proof: B256,
        /// AppHash of the header.
        header: B256,
    },
}

/// A block with its signatures in the Bridge's order, and how many votes could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssembledBlock {
    /// The arguments of `relayBlock`.
    pub relay: RelayPart,
    /// The signers, in the same order as the signatures.
    pub signers: Vec<Address>,
    /// What was recovered to find them, for [`Signers::learn`](crate::signature::Signers::learn).
    pub recovered: Vec<Recovered>,
    /// Votes for the block whose signature is not by the named validator's secp256k1 key.
    pub unusable: usize,
}

/// The relay part of a block, from its header, its commit and the proof of its oracle store. Votes for nothing and missing ones
/// are left out.
///
/// # Errors
/// If the ingredients do not belong together.
pub fn relay_part(
    header: &Header,
    commit: &Commit,
    multi_store: MultiStoreProof,
    layout: Layout,
) -> Result<AssembledBlock, AssembleError> {
    let proof = multi_store.app_hash(layout);
    let ours = B256::try_from(header.app_hash.as_ref()).map_err(|_| AssembleError::Missing("AppHash"))?;
    if proof != ours {
        return Err(AssembleError::OtherState { proof, header: ours });
    }
    let block_id = commit.block_id.as_ref().ok_or(AssembleError::Missing("block id"))?;
    let signed = B256::try_from(block_id.hash.as_slice()).map_err(|_| AssembleError::Missing("block hash"))?;
    let block_hash = header.hash();
    if signed != block_hash {
        return Err(AssembleError::OtherBlock { commit: signed, header: block_hash });
    }
    let parts = block_id.part_set_header.as_ref().ok_or(AssembleError::Missing("part set"))?;
    let height = u64::try_from(commit.height).map_err(|_| AssembleError::Missing("height"))?;
    let round = u64::try_from(commit.round).map_err(|_| AssembleError::Missing("round"))?;
    let common = Common::new(height, round, parts.total, &parts.hash);
    let chain_id = EncodedChainId::new(&header.chain_id);
    let mut unusable = 0;
    let mut votes = Vec::with_capacity(commit.signatures.len());
    for vote in commit.signatures.iter().filter(|vote| vote.block_id_flag == BlockIdFlag::Commit as i32) {
        let time = vote.timestamp.and_then(|time| Some((u64::try_from(time.seconds).ok()?, u32::try_from(time.nanos).ok()?)));
        let read = time.and_then(|(second, nano)| {
            let encoded_timestamp = vote::timestamp(second, nano);
            let digest = common.digest(&block_hash, &encoded_timestamp, &chain_id);
            let (r, s, v, signer) = recover_from_commit(&digest, &vote.signature, &vote.validator_address)?;
            Some((signer, TmSignature { r, s, v, encoded_timestamp: encoded_timestamp.into() }))
        });
        match read {
            Some(read) => votes.push(read),
            None => unusable += 1,
        }
    }
    let (signers, signatures) = in_order(votes);
    let recovered = signers.iter().zip(&signatures).map(|(signer, signature)| {
        let digest = common.digest(&block_hash, &signature.encoded_timestamp, &chain_id);
        Recovered { digest, r: signature.r, s: signature.s, v: signature.v, signer: *signer }
    });
    let recovered = recovered.collect();
    let relay = RelayPart { multi_store, merkle_parts: header.merkle_parts(), common, signatures };
    Ok(AssembledBlock { relay, signers, recovered, unusable })
}

/// Signatures as the Bridge wants them: ascending by signer, each signer once.
pub fn in_order(mut votes: Vec<(Address, TmSignature)>) -> (Vec<Address>, Vec<TmSignature>) {
    votes.sort_by_key(|(signer, _)| *signer);
    votes.dedup_by_key(|(signer, _)| *signer);
    votes.into_iter().unzip()
}

/// The verify part of a result: it is proven by the header of `block_height`.
pub fn verify_part(block_height: u64, result: OracleResult, existence: &Existence) -> VerifyPart {
    VerifyPart {
        block_height: U256::from(block_height),
        result,
        version: U256::from(existence.version),
        path: existence.path.clone(),
    }
}

/// The proof of one request.
pub fn proof(relay: RelayPart, block_height: u64, result: OracleResult, existence: &Existence) -> Proof {
    Proof { relay, verify: verify_part(block_height, result, existence) }
}

/// The proof of the number of requests.
pub fn count_proof(relay: RelayPart, block_height: u64, count: u64, existence: &Existence) -> CountProof {
    let verify = CountVerifyPart {
        block_height: U256::from(block_height),
        count: U256::from(count),
        version: U256::from(existence.version),
        path: existence.path.clone(),
    };
    CountProof { relay, verify }
}
