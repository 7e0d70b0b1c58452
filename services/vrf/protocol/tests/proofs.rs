//! Proof bytes: canonical ones, odd ones that the contracts accept, and hostile ones.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use alloy_sol_types::{SolValue, sol};
use proptest::prelude::*;
use support::Setup;
use windlass_vrf_protocol::header::MerkleParts;
use windlass_vrf_protocol::iavl::MerklePath;
use windlass_vrf_protocol::multistore::MultiStoreProof;
use windlass_vrf_protocol::oracle_result::{OracleResult, ResolveStatus};
use windlass_vrf_protocol::proof::{
    CountProof, CountVerifyPart, MultiProof, Part, Proof, ProofError, RawMultiProof, RawProof, RelayPart, VerifyPart,
};
use windlass_vrf_protocol::signature::TmSignature;
use windlass_vrf_protocol::vote::Common;
use windlass_vrf_protocol::{B256, Bytes, Refusal, U256};

sol! {
    struct MultiStore { bytes32[6] fields; }
    struct Parts { bytes32 a; uint64 height; uint64 second; uint32 nano; bytes32 b; bytes32 c; bytes32 d; bytes32 e; }
    struct VotePart { bytes prefix; bytes suffix; }
    struct Signature { bytes32 r; bytes32 s; uint8 v; bytes timestamp; }
    struct Stored {
        bytes clientID; uint64 oracleScriptID; bytes params; uint64 askCount; uint64 minCount; uint64 requestID; uint64 ansCount;
        uint64 requestTime; uint64 resolveTime; uint8 resolveStatus; bytes result;
    }
    struct Step { bool right; uint8 height; uint256 size; uint256 version; bytes32 sibling; }
}

fn hash() -> impl Strategy<Value = B256> {
    any::<[u8; 32]>().prop_map(B256::new)
}

fn number() -> impl Strategy<Value = U256> {
    prop_oneof![any::<u64>().prop_map(U256::from), hash().prop_map(|hash| U256::from_be_bytes(hash.0))]
}

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn signature() -> impl Strategy<Value = TmSignature> {
    (hash(), hash(), any::<u8>(), bytes(40)).prop_map(|(r, s, v, encoded_timestamp)| TmSignature { r, s, v, encoded_timestamp })
}

fn relay() -> impl Strategy<Value = RelayPart> {
    let parts = (prop::array::uniform5(hash()), any::<(u64, u64, u32)>());
    let parts = parts.prop_map(|([a, b, c, d, e], (height, time_second, time_nano_second))| MerkleParts {
        version_and_chain_id_hash: a,
        height,
        time_second,
        time_nano_second,
        last_block_id_and_other: b,
        next_validator_hash_and_consensus_hash: c,
        last_results_hash: d,
        evidence_and_proposer_hash: e,
    });
    let store = prop::array::uniform6(hash()).prop_map(MultiStoreProof);
    (store, parts, bytes(40), bytes(70), prop::collection::vec(signature(), 0..5)).prop_map(
        |(multi_store, merkle_parts, prefix, suffix, signatures)| RelayPart {
            multi_store,
            merkle_parts,
            common: Common { prefix, suffix },
            signatures,
        },
    )
}

fn path() -> impl Strategy<Value = Vec<MerklePath>> {
    let step = (any::<bool>(), any::<u8>(), number(), number(), hash());
    let step = step.prop_map(|(is_data_on_right, subtree_height, subtree_size, subtree_version, sibling_hash)| MerklePath {
        is_data_on_right,
        subtree_height,
        subtree_size,
        subtree_version,
        sibling_hash,
    });
    prop::collection::vec(step, 0..5)
}

fn verify() -> impl Strategy<Value = VerifyPart> {
    let result = (bytes(40), bytes(100), bytes(100), any::<[u64; 7]>(), 0i32..4);
    let result = result.prop_map(|(client_id, calldata, result, n, status)| OracleResult {
        client_id,
        oracle_script_id: n[0],
        calldata,
        ask_count: n[1],
        min_count: n[2],
        request_id: n[3],
        ans_count: n[4],
        request_time: n[5],
        resolve_time: n[6],
        resolve_status: ResolveStatus::try_from(status).unwrap(),
        result,
    });
    (number(), result, number(), path()).prop_map(|(block_height, result, version, path)| VerifyPart {
        block_height,
        result,
        version,
        path,
    })
}

/// The encoding by another library.
fn reference_relay(part: &RelayPart) -> Vec<u8> {
    let parts = part.merkle_parts;
    (
        MultiStore { fields: part.multi_store.0 },
        Parts {
            a: parts.version_and_chain_id_hash,
            height: parts.height,
            second: parts.time_second,
            nano: parts.time_nano_second,
            b: parts.last_block_id_and_other,
            c: parts.next_validator_hash_and_consensus_hash,
            d: parts.last_results_hash,
            e: parts.evidence_and_proposer_hash,
        },
        VotePart { prefix: part.common.prefix.clone(), suffix: part.common.suffix.clone() },
        part.signatures
            .iter()
            .map(|s| Signature { r: s.r, s: s.s, v: s.v, timestamp: s.encoded_timestamp.clone() })
            .collect::<Vec<_>>(),
    )
        .abi_encode_params()
}

fn reference_path(path: &[MerklePath]) -> Vec<Step> {
    let step = |step: &MerklePath| Step {
        right: step.is_data_on_right,
        height: step.subtree_height,
        size: step.subtree_size,
        version: step.subtree_version,
        sibling: step.sibling_hash,
    };
    path.iter().map(step).collect()
}

fn reference_verify(part: &VerifyPart) -> Vec<u8> {
    let result = part.result.clone();
    let stored = Stored {
        clientID: result.client_id,
        oracleScriptID: result.oracle_script_id,
        params: result.calldata,
        askCount: result.ask_count,
        minCount: result.min_count,
        requestID: result.request_id,
        ansCount: result.ans_count,
        requestTime: result.request_time,
        resolveTime: result.resolve_time,
        resolveStatus: result.resolve_status as u8,
        result: result.result,
    };
    (part.block_height, stored, part.version, reference_path(&part.path)).abi_encode_params()
}

proptest! {
    #[test]
    fn parts_are_read_back_and_encoded_as_by_another_library(relay in relay(), verify in verify()) {
        let (encoded_relay, encoded_verify) = (relay.encode(), verify.encode());
        prop_assert_eq!(&encoded_relay, &reference_relay(&relay));
        prop_assert_eq!(&encoded_verify, &reference_verify(&verify));
        prop_assert_eq!(RelayPart::decode(&encoded_relay), Ok(relay.clone()));
        prop_assert_eq!(VerifyPart::decode(&encoded_verify), Ok(verify.clone()));
        let proof = Proof { relay, verify };
        let encoded = proof.encode();
        prop_assert_eq!(encoded.to_vec(), (encoded_relay, encoded_verify).map_bytes().abi_encode_params());
        prop_assert_eq!(Proof::decode(&encoded), Ok(proof));
    }

    #[test]
    fn multi_proofs_are_read_back(relay in relay(), verify in prop::collection::vec(verify(), 0..4)) {
        let proof = MultiProof { relay, verify };
        let parts: Vec<Bytes> = proof.verify.iter().map(|part| part.encode().into()).collect();
        let encoded = proof.encode();
        prop_assert_eq!(encoded.to_vec(), (Bytes::from(proof.relay.encode()), parts).abi_encode_params());
        prop_assert_eq!(MultiProof::decode(&encoded), Ok(proof));
    }

    #[test]
    fn count_proofs_are_read_back(relay in relay(), numbers in any::<[u64; 3]>(), path in path()) {
        let [block_height, count, version] = numbers.map(U256::from);
        let verify = CountVerifyPart { block_height, count, version, path };
        let reference = (block_height, count, version, reference_path(&verify.path)).abi_encode_params();
        prop_assert_eq!(verify.encode(), reference);
        let proof = CountProof { relay, verify };
        prop_assert_eq!(CountProof::decode(&proof.encode()), Ok(proof));
    }

    #[test]
    fn foreign_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        decode_all(&bytes);
    }

    /// Words of small numbers look like offsets and lengths.
    #[test]
    fn foreign_words_do_no_harm(words in prop::collection::vec(prop_oneof![0u64..1024, any::<u64>()], 0..60)) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| U256::from(*word).to_be_bytes::<32>()).collect();
        decode_all(&bytes);
    }

    /// What is accepted encodes to something that reads the same.
    #[test]
    fn a_changed_byte_is_refused_or_read_again(place: prop::sample::Index, change in 1u8..) {
        let mut proof = Setup { powers: vec![3, 2, 1], ..Setup::default() }.build().proof(1000).encode().to_vec();
        let place = place.index(proof.len());
        proof[place] ^= change;
        if let Ok(read) = Proof::decode(&proof) {
            prop_assert_eq!(Proof::decode(&read.encode()), Ok(read));
        }
    }

    #[test]
    fn a_shortened_proof_is_refused_or_the_same(cut: prop::sample::Index) {
        let proof = Setup { powers: vec![3, 2, 1], ..Setup::default() }.build().proof(1000);
        let encoded = proof.encode();
        let length = cut.index(encoded.len());
        if let Ok(read) = Proof::decode(&encoded[..length]) {
            prop_assert_eq!(read, proof);
        }
    }
}

trait MapBytes {
    fn map_bytes(self) -> (Bytes, Bytes);
}

impl MapBytes for (Vec<u8>, Vec<u8>) {
    fn map_bytes(self) -> (Bytes, Bytes) {
        (self.0.into(), self.1.into())
    }
}

fn decode_all(bytes: &[u8]) {
    let _ = (Proof::decode(bytes), MultiProof::decode(bytes), CountProof::decode(bytes));
    let _ = (RelayPart::decode(bytes), VerifyPart::decode(bytes), CountVerifyPart::decode(bytes));
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| U256::from(*word).to_be_bytes::<32>()).collect()
}

#[test]
fn gaps_and_trailing_bytes_are_accepted_as_by_the_contract() {
    let raw = RawProof { relay: b"relay", verify: b"verify" };
    let canonical = raw.encode();
    let mut trailing = canonical.to_vec();
    trailing.push(7);
    assert_eq!(RawProof::decode(&trailing), Ok(raw));
    // Tails in the other order, with a gap, without padding at the end.
    let mut odd = words(&[160, 96, 0, 6]);
    odd.extend_from_slice(b"verify");
    odd.resize(160, 0xff);
    odd.extend_from_slice(&words(&[5]));
    odd.extend_from_slice(b"relay");
    assert_eq!(RawProof::decode(&odd), Ok(raw));
    assert_eq!(RawProof::decode(&odd).unwrap().encode(), canonical);
    odd.pop();
    assert!(RawProof::decode(&odd).is_err());
}

#[test]
fn faults_name_the_part_and_what_the_contract_does() {
    let proof = Setup { powers: vec![3], ..Setup::default() }.build().proof(1000);
    let (relay, verify) = (proof.relay.encode(), proof.verify.encode());
    let broken = |relay: &[u8], verify: &[u8]| Proof::decode(&RawProof { relay, verify }.encode()).unwrap_err();
    let fault = |part, refusal| ProofError { part, refusal };
    assert_eq!(broken(&relay[..511], &verify), fault(Part::Relay, Refusal::Empty));
    assert_eq!(broken(&relay, &verify[..127]), fault(Part::Verify, Refusal::Empty));
    assert_eq!(Proof::decode(&[]), Err(fault(Part::Envelope, Refusal::Empty)));
    let mut huge = relay.clone();
    let signatures = U256::from_be_slice(&relay[15 * 32..16 * 32]).to::<usize>();
    huge[signatures..signatures + 32].copy_from_slice(&U256::MAX.to_be_bytes::<32>());
    assert_eq!(broken(&huge, &verify), fault(Part::Relay, Refusal::MEMORY));
    // The enumeration has four values.
    let mut unknown = verify.clone();
    unknown[128 + 9 * 32 + 31] = 4;
    assert_eq!(broken(&relay, &unknown), fault(Part::Verify, Refusal::Empty));
    // A boolean of two.
    let mut odd = verify.clone();
    let path = U256::from_be_slice(&verify[96..128]).to::<usize>();
    odd[path + 63] = 2;
    assert_eq!(broken(&relay, &odd), fault(Part::Verify, Refusal::Empty));
    // v beyond eight bits.
    let mut wide = relay.clone();
    let first = signatures + 32 + U256::from_be_slice(&relay[signatures + 32..signatures + 64]).to::<usize>();
    wide[first + 64 + 30] = 1;
    assert_eq!(broken(&wide, &verify), fault(Part::Relay, Refusal::Empty));
}

/// Many elements may share one tail; that costs the contract gas, and here it must not cost memory.
#[test]
fn shared_tails_are_bounded() {
    let elements = 3000;
    let mut list = words(&[64, 96, 0, elements]);
    for _ in 0..elements {
        list.extend_from_slice(&words(&[32 * elements]));
    }
    let large = vec![0x55; 64 * 1024];
    list.extend_from_slice(&words(&[large.len() as u64]));
    list.extend_from_slice(&large);
    assert_eq!(RawMultiProof::decode(&list).unwrap_err().refusal, Refusal::MEMORY);
    // Sharing within reason is fine.
    let mut shared = words(&[64, 96, 0, 4, 128, 128, 128, 128, 33]);
    shared.extend_from_slice(&[7; 33]);
    assert_eq!(RawMultiProof::decode(&shared).unwrap().verify, vec![&[7; 33][..]; 4]);
}
