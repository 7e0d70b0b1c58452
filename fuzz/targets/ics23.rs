//! Store proofs of a node.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use windlass_vrf_protocol::ics23::{IAVL_OP, IavlProof, SIMPLE_OP, SimpleProof, StoreProof, to_ops};
use windlass_vrf_protocol::messages::tendermint::{ProofOp, ProofOps};

fuzz_target!(|data: &[u8]| {
    if let Ok(proof) = IavlProof::decode(data) {
        assert!(proof.root().is_ok());
    }
    if let Ok(proof) = SimpleProof::decode(data) {
        let root = proof.root();
        if let Ok((multi_store, layout)) = proof.multi_store() {
            assert_eq!(multi_store.app_hash(layout), root);
        }
    }
    let Ok(ops) = ProofOps::decode(data) else {
        return;
    };
    for key in ops.ops.iter().map(|op| op.key.as_slice()) {
        if let Ok(proof) = StoreProof::from_ops(&ops.ops, key) {
            let again = to_ops(key, &proof.value, &proof.existence, &proof.multi_store, proof.layout);
            assert_eq!(StoreProof::from_ops(&again, key), Ok(proof));
        }
    }
    // The same data under the types that are expected, so that the data need not guess them.
    if let [first, second, ..] = ops.ops.as_slice() {
        let typed = |kind: &str, op: &ProofOp| ProofOp { r#type: kind.to_owned(), ..op.clone() };
        let _ = StoreProof::from_ops(&[typed(IAVL_OP, first), typed(SIMPLE_OP, second)], &first.key);
    }
});
