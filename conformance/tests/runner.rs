//! The runner itself: it must not pass what it should not.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod mutation;

use std::path::PathBuf;

use mutation::{ends_with_any, every_change_is_noticed, own_document, sheet_of};
use serde_json::{Value, json};
use windlass_conformance::{Bench, Selection, run, run_document};

const PROTOCOL: &str = "keyper-payer";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_figure_in_encodings_is_noticed() {
    every_change_is_noticed(PROTOCOL, "encodings", |_, _| false).await;
}

/// Inputs are left alone where many values have the same outcome: any time before the start is paid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_figure_in_monitor_decisions_is_noticed() {
    let inputs = |_: &Value, pointer: &str| ends_with_any(pointer, &["requested_rate", "start_timestamp", "block_timestamp"]);
    every_change_is_noticed(PROTOCOL, "monitor_decisions", inputs).await;
}

/// Rate and start do not matter to payments, and any sufficient allowance does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_figure_in_contract_sequences_is_noticed() {
    let inputs = |_: &Value, pointer: &str| ends_with_any(pointer, &["requested_rate", "start_timestamp", "amount"]);
    every_change_is_noticed(PROTOCOL, "contract_sequences", inputs).await;
}

/// Inputs: a command that is not run, a base that a case overrides, a text that is wrong in any case. Texts of libraries need
/// not be matched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_figure_in_cli_is_noticed() {
    let inputs = |document: &Value, pointer: &str| {
        let value = document.pointer(pointer).unwrap();
        ["/env/", "/env_changes/", "/deploy_base_env/"].iter().any(|part| pointer.contains(part))
            || ends_with_any(pointer, &["text"])
            || value.as_str().is_some_and(|text| text.starts_with("Error") || text.starts_with("TypeError"))
    };
    every_change_is_noticed(PROTOCOL, "cli", inputs).await;
}

#[tokio::test]
async fn unknown_fields_and_operations_are_failures() {
    let bench = Bench::default();
    let mut document = own_document(PROTOCOL, "encodings");
    document["decimals"] = json!(18);
    assert!(sheet_of(&bench, PROTOCOL, "encodings", &document).await.failures[0].contains("unknown field"));
    let mut document = own_document(PROTOCOL, "contract_sequences");
    document["scenarios"][0]["steps"][0]["op"] = json!("burn");
    assert!(sheet_of(&bench, PROTOCOL, "contract_sequences", &document).await.failures[0].contains("unknown variant"));
    let mut document = own_document(PROTOCOL, "encodings");
    document["format"] = json!("keyper-payer/encodings/2");
    assert!(sheet_of(&bench, PROTOCOL, "encodings", &document).await.failures[0].contains("format"));
}

#[tokio::test]
async fn a_file_without_a_runner_or_a_case_is_a_failure() {
    let bench = Bench::default();
    let sheet = run_document(&bench, "keyper-payer", "unheard-of-7", json!({})).await;
    assert!(sheet.failures[0].contains("no runner"), "{sheet:?}");
    let empty = json!({ "format": "keyper-payer/monitor-decisions/1", "produced_by": "", "note": "", "cases": [] });
    let sheet = run_document(&bench, "keyper-payer", "monitor_decisions-3", empty).await;
    assert!(sheet.failures[0].contains("nothing was checked"), "{sheet:?}");
}

#[tokio::test]
async fn a_run_that_checks_nothing_fails() {
    let bench = Bench::default();
    let directory = tempfile::tempdir().unwrap();
    let selection = |directory: PathBuf, protocols: &[&str]| Selection {
        directory,
        protocols: protocols.iter().map(|name| name.to_string()).collect(),
    };
    let empty = run(&selection(directory.path().to_owned(), &[]), &bench).await;
    assert!(!empty.passed() && empty.to_string().contains("nothing was checked"), "{empty}");
    let missing = run(&selection(Selection::own().directory, &["keyper-payer", "unheard-of"]), &bench).await;
    assert!(!missing.passed() && missing.to_string().contains("no protocol unheard-of"), "{missing}");
    let nowhere = run(&selection(directory.path().join("nowhere"), &[]), &bench).await;
    assert!(!nowhere.passed(), "{nowhere}");
}
