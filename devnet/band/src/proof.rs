//! From a store, a header and votes to the bytes that the Bridge accepts: the steps of section 5.1 of the protocol document.
//!
//! The chain uses these same steps, one after the other as its blocks come; [`build_proof`] does them all from inputs that are
//! all given.

use std::collections::BTreeMap;

use alloy_primitives::{B256, Bytes};
use windlass_vrf_protocol::assemble::verify_part;
use windlass_vrf_protocol::header::Header;
use windlass_vrf_protocol::iavl::{Existence, MerklePath};
use windlass_vrf_protocol::multistore::{self, Layout, MultiStoreProof};
use windlass_vrf_protocol::oracle_result::{OracleResult, store_key};
use windlass_vrf_protocol::proof::{RawProof, RelayPart};
use windlass_vrf_protocol::signature::{TmSignature, sign};
use windlass_vrf_protocol::vote::{Common, EncodedChainId};

use crate::error::BuildError;
use crate::tree::{Leaf, StoreItem, Tree};
use crate::validators::Validator;

/// All that a proof is made of.
#[derive(Clone, Debug)]
pub struct ProofInputs {
    /// Stores of the application.
    pub layout: Layout,
    /// Who signs; any order.
    pub validators: Vec<Validator>,
    /// The oracle store, in any order; one entry is the result.
    pub oracle_store: Vec<StoreItem>,
    /// The result, whose encoding is the value in the store.
    pub result: OracleResult,
    /// Roots of all other stores of the layout.
    pub other_store_roots: BTreeMap<String, B256>,
    /// The header; its AppHash is computed.
    pub header: Header,
    /// Round of the votes.
    pub round: u64,
    /// Number of parts of the block.
    pub parts_total: u32,
    /// Root of the parts.
    pub parts_hash: B256,
    /// Encoded times of the votes, in ascending order of the signers' EVM addresses.
    pub encoded_timestamps: Vec<Bytes>,
}

/// A proof with everything on the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltProof {
    /// Root of the oracle store.
    pub oracle_root: B256,
    /// Root of all stores.
    pub app_hash: B256,
    /// Hash of the header.
    pub block_hash: B256,
    /// Block that wrote the result.
    pub version: u64,
    /// From the result to the root of the oracle store.
    pub merkle_path: Vec<MerklePath>,
    /// From there to the AppHash.
    pub multi_store: MultiStoreProof,
    /// Ascending by signer.
    pub signatures: Vec<TmSignature>,
    /// Arguments of `relayBlock`.
    pub relay: Bytes,
    /// Arguments of `verifyOracleData`.
    pub verify: Bytes,
    /// Both.
    pub evm_proof_bytes: Bytes,
}

/// Builds a proof from its inputs.
///
/// Whether the Bridge accepts what comes out is another question: sizes of votes and the power of the signers are not looked at.
///
/// # Errors
/// If the inputs contradict each other, or the store holds something that cannot be hashed.
pub fn build_proof(inputs: &ProofInputs) -> Result<BuiltProof, BuildError> {
    let (oracle_root, existence) = prove_result(&inputs.oracle_store, &inputs.result)?;
    let (multi_store, app_hash) = commit_stores(inputs.layout, oracle_root, &inputs.other_store_roots)?;
    let header = Header { app_hash: app_hash.to_vec().into(), ..inputs.header.clone() };
    let block_hash = header.hash();
    let common = Common::new(header.height, inputs.round, inputs.parts_total, inputs.parts_hash.as_slice());
    let chain_id = EncodedChainId::new(&header.chain_id);
    let mut signers: Vec<&Validator> = inputs.validators.iter().collect();
    signers.sort_by_key(|validator| validator.evm_address());
    if signers.len() != inputs.encoded_timestamps.len() {
        return Err(BuildError::Timestamps { signers: signers.len(), timestamps: inputs.encoded_timestamps.len() });
    }
    let votes = signers.into_iter().zip(&inputs.encoded_timestamps);
    let signatures = votes.map(|(validator, timestamp)| vote(validator, &common, &block_hash, timestamp, &chain_id)).collect();
    let relay = RelayPart { multi_store, merkle_parts: header.merkle_parts(), common, signatures };
    let verify = verify_part(header.height, inputs.result.clone(), &existence);
    let (relay_bytes, verify_bytes) = (Bytes::from(relay.encode()), Bytes::from(verify.encode()));
    let evm_proof_bytes = RawProof { relay: &relay_bytes, verify: &verify_bytes }.encode();
    Ok(BuiltProof {
        oracle_root,
        app_hash,
        block_hash,
        version: existence.version,
        merkle_path: existence.path,
        multi_store,
        signatures: relay.signatures,
        relay: relay_bytes,
        verify: verify_bytes,
        evm_proof_bytes,
    })
}

/// Root of the store, and proof of the result. The last of several entries with one key counts.
fn prove_result(store: &[StoreItem], result: &OracleResult) -> Result<(B256, Existence), BuildError> {
    let sorted: BTreeMap<&[u8], &StoreItem> = store.iter().map(|item| (item.key.as_ref(), item)).collect();
    let leaves: Vec<Leaf> = sorted.values().map(|item| Leaf::Item((*item).clone().into())).collect();
    let tree = Tree::build(&leaves)?;
    let request_id = result.request_id;
    let place = tree.find(&store_key(request_id)).map_err(|_| BuildError::NoResult { request_id })?;
    let (item, existence) = tree.prove(place).ok_or(BuildError::NoResult { request_id })?;
    if item.value.as_ref() != result.encode().as_slice() {
        return Err(BuildError::OtherResult { request_id });
    }
    Ok((tree.root(), existence))
}

/// The six fields and the AppHash. Every other store of the layout has a root, and no other.
fn commit_stores(
    layout: Layout,
    oracle_root: B256,
    others: &BTreeMap<String, B256>,
) -> Result<(MultiStoreProof, B256), BuildError> {
    let is_other = |name: &str| name != multistore::ORACLE && layout.stores().contains(&name);
    if let Some(name) = others.keys().find(|name| !is_other(name)) {
        return Err(BuildError::UnknownStore { name: name.clone() });
    }
    if let Some(name) = layout.stores().iter().find(|name| is_other(name) && !others.contains_key(**name)) {
        return Err(BuildError::NoStoreRoot { name: (*name).to_owned() });
    }
    let root_of =
        |name: &str| if name == multistore::ORACLE { oracle_root } else { others.get(name).copied().unwrap_or_default() };
    Ok(multistore::build(layout, root_of))
}

/// One validator's signature for a block.
pub(crate) fn vote(
    validator: &Validator,
    common: &Common,
    block_hash: &B256,
    timestamp: &Bytes,
    chain_id: &EncodedChainId,
) -> TmSignature {
    let digest = common.digest(block_hash, timestamp, chain_id);
    let (r, s, v) = sign(validator.signing_key(), &digest);
    TmSignature { r, s, v, encoded_timestamp: timestamp.clone() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::GenesisValidator;
    use windlass_vrf_protocol::oracle_result::ResolveStatus;
    use windlass_vrf_protocol::vote::timestamp;

    fn inputs(layout: Layout) -> ProofInputs {
        let validators = GenesisValidator::many(3, 3).iter().map(|v| Validator::new(&v.private_key, v.power).unwrap()).collect();
        let result = OracleResult {
            client_id: "x".into(),
            oracle_script_id: 43,
            calldata: Bytes::from_static(b"y"),
            ask_count: 3,
            min_count: 2,
            request_id: 5,
            ans_count: 2,
            request_time: 1_700_000_000,
            resolve_time: 1_700_000_001,
            resolve_status: ResolveStatus::Success,
            result: Bytes::from_static(b"z"),
        };
        let item = |id: u64, value: Vec<u8>| StoreItem { key: store_key(id).to_vec().into(), value: value.into(), version: 9 };
        ProofInputs {
            layout,
            validators,
            oracle_store: vec![item(9, vec![1]), item(5, result.encode()), item(7, vec![2])],
            result,
            other_store_roots: layout
                .stores()
                .iter()
                .filter(|name| **name != "oracle")
                .map(|name| ((*name).to_owned(), B256::repeat_byte(name.len() as u8)))
                .collect(),
            header: Header { chain_id: "c".to_owned(), height: 10, time_second: 1_700_000_002, ..Header::default() },
            round: 0,
            parts_total: 1,
            parts_hash: B256::repeat_byte(4),
            encoded_timestamps: vec![timestamp(1_700_000_003, 5).into(); 3],
        }
    }

    #[test]
    fn a_built_proof_leads_from_the_result_to_the_signers() {
        for layout in Layout::ALL {
            let inputs = inputs(layout);
            let built = build_proof(&inputs).unwrap();
            assert_eq!(built.multi_store.app_hash(layout), built.app_hash);
            let decoded = windlass_vrf_protocol::proof::Proof::decode(&built.evm_proof_bytes).unwrap();
            assert_eq!(decoded.relay.merkle_parts.block_hash(&built.app_hash).unwrap(), built.block_hash);
            assert_eq!((decoded.verify.result, decoded.verify.path), (inputs.result.clone(), built.merkle_path.clone()));
            let chain_id = EncodedChainId::new("c");
            let signers: Vec<_> = decoded
                .relay
                .signatures
                .iter()
                .map(|s| s.signer(&decoded.relay.common.digest(&built.block_hash, &s.encoded_timestamp, &chain_id)).unwrap())
                .collect();
            let mut expected: Vec<_> = inputs.validators.iter().map(Validator::evm_address).collect();
            expected.sort();
            assert_eq!(signers, expected);
        }
    }

    #[test]
    fn contradictions_are_named() {
        let with = |change: fn(&mut ProofInputs)| {
            let mut inputs = inputs(Layout::V2);
            change(&mut inputs);
            build_proof(&inputs).unwrap_err()
        };
        assert!(matches!(with(|i| i.oracle_store.clear()), BuildError::EmptyStore));
        assert!(matches!(with(|i| i.result.request_id = 6), BuildError::NoResult { request_id: 6 }));
        assert!(matches!(with(|i| i.result.ans_count = 6), BuildError::OtherResult { request_id: 5 }));
        assert!(matches!(with(|i| i.layout = Layout::V3), BuildError::NoStoreRoot { .. }));
        assert!(matches!(with(|i| i.other_store_roots.extend([("x".into(), B256::ZERO)])), BuildError::UnknownStore { .. }));
        assert!(matches!(with(|i| drop(i.encoded_timestamps.pop())), BuildError::Timestamps { signers: 3, timestamps: 2 }));
        assert!(matches!(with(|i| i.oracle_store.iter_mut().for_each(|s| s.version = 0)), BuildError::Hash(_)));
    }
}
