//! The entry: runs the vectors and prints what was checked.
//!
//! `WINDLASS_VECTORS=<directory> WINDLASS_PROTOCOLS=<list> cargo test -p windlass-conformance -- --nocapture`

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use windlass_conformance::{Bench, ChainKind, Selection, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_vectors_agree() {
    let selection = Selection::from_environment();
    let bench = Bench::new(ChainKind::from_environment().unwrap());
    let report = run(&selection, &bench).await;
    println!("{report}");
    assert!(report.passed(), "vectors in {} do not agree:\n{report}", selection.directory.display());
}
