//! The runners of `vrf`: they must not pass what they should not.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod mutation;

use mutation::{ends_with_any, every_change_is_noticed, own_document, sheet_of};
use serde_json::{Value, json};
use windlass_conformance::Bench;

const PROTOCOL: &str = "vrf";

/// The frame's description of the format is for people.
fn is_text(pointer: &str) -> bool {
    pointer == "/format"
}

/// The case that holds a figure.
fn case<'a>(document: &'a Value, pointer: &str) -> &'a Value {
    let index = pointer.split('/').nth(2).unwrap();
    document.pointer(&format!("/cases/{index}")).unwrap()
}

/// Whether a method refuses in this case. Then its inputs may change without another outcome.
fn is_refused(case: &Value) -> bool {
    case.as_object().unwrap().values().any(|value| value.get("revert").is_some())
}

/// Whether the figure belongs to an outcome.
fn is_outcome(pointer: &str) -> bool {
    let field = pointer.split('/').nth(3).unwrap_or_default();
    field.starts_with("contract") || field.starts_with("verify") || field.starts_with("relayAnd")
}

/// A figure of a case that is refused, and no outcome.
fn is_refused_input(document: &Value, pointer: &str) -> bool {
    is_text(pointer) || (is_refused(case(document, pointer)) && !is_outcome(pointer))
}

#[tokio::test]
async fn changed_figures_of_encodings_are_noticed() {
    for name in ["seed", "result_codec", "multistore", "band_tx", "grpc_messages"] {
        every_change_is_noticed(PROTOCOL, name, |_, pointer| is_text(pointer)).await;
    }
}

#[tokio::test]
async fn changed_figures_of_what_contracts_accept_are_noticed() {
    for name in ["obi", "utils", "iavl", "block_header"] {
        every_change_is_noticed(PROTOCOL, name, is_refused_input).await;
    }
}

/// No value of `v` but 27 and 28 recovers anybody.
#[tokio::test]
async fn changed_figures_of_votes_are_noticed() {
    let harmless = |document: &Value, pointer: &str| {
        is_refused_input(document, pointer) || (case(document, pointer)["kind"] == "bad_v" && pointer.ends_with("/v"))
    };
    every_change_is_noticed(PROTOCOL, "vote_sign_bytes", harmless).await;
}

/// Powers decide only by their order and their sum, and so do those who hold them.
#[tokio::test]
async fn changed_figures_of_trimmed_proofs_are_noticed() {
    let harmless = |document: &Value, pointer: &str| {
        is_text(pointer)
            || pointer.contains("/validator_powers/")
            || (case(document, pointer)["ok"] == false && ends_with_any(pointer, &["proof", "block_hash", "encoded_chain_id"]))
    };
    every_change_is_noticed(PROTOCOL, "trim_proof", harmless).await;
}

/// Validators as before. Parts and chain ids are compared also where the proof is refused.
#[tokio::test]
async fn changed_figures_of_bridge_proofs_are_noticed() {
    let harmless = |document: &Value, pointer: &str| {
        is_text(pointer)
            || pointer.contains("/validators/")
            || (is_refused(case(document, pointer)) && ends_with_any(pointer, &["proof"]))
    };
    every_change_is_noticed(PROTOCOL, "bridge_proofs", harmless).await;
}

/// Only the first id counts.
#[tokio::test]
async fn changed_request_ids_are_noticed() {
    let harmless = |_: &Value, pointer: &str| is_text(pointer) || pointer.contains("/events/");
    every_change_is_noticed(PROTOCOL, "find_request_id", harmless).await;
}

/// The numbers in the compiler's type names differ from build to build.
#[tokio::test]
async fn changed_selectors_and_slots_are_noticed() {
    let harmless = |document: &Value, pointer: &str| {
        let numbered = document
            .pointer(pointer)
            .and_then(Value::as_str)
            .is_some_and(|text| text.trim_end_matches(|c: char| c.is_ascii_digit()).ends_with(')') && !text.ends_with(')'));
        is_text(pointer) || (ends_with_any(pointer, &["type"]) && numbered)
    };
    every_change_is_noticed(PROTOCOL, "abi", harmless).await;
}

#[tokio::test]
async fn unknown_fields_kinds_and_names_are_failures() {
    let bench = Bench::default();
    for name in [
        "seed",
        "result_codec",
        "multistore",
        "band_tx",
        "grpc_messages",
        "obi",
        "utils",
        "iavl",
        "block_header",
        "vote_sign_bytes",
        "trim_proof",
        "bridge_proofs",
        "find_request_id",
    ] {
        let document = own_document(PROTOCOL, name);
        let sheet_of = |document: Value| {
            let bench = &bench;
            async move { sheet_of(bench, PROTOCOL, name, &document).await }
        };
        let mut changed = document.clone();
        changed["cases"] = json!([document["cases"][0]]);
        assert!(sheet_of(changed.clone()).await.passed(), "{name}");
        let mut unknown = changed.clone();
        unknown["cases"][0]["decimals"] = json!(18);
        assert!(sheet_of(unknown).await.failures[0].contains("unknown field"), "{name}");
        let mut unknown = changed.clone();
        unknown["decimals"] = json!(18);
        assert!(sheet_of(unknown).await.failures[0].contains("unknown field"), "{name}");
        let mut renamed = changed.clone();
        renamed["name"] = json!("another");
        assert!(sheet_of(renamed).await.failures[0].contains("name"), "{name}");
        let mut empty = changed.clone();
        empty["cases"] = json!([]);
        assert!(sheet_of(empty).await.failures[0].contains("nothing was checked"), "{name}");
        if changed["cases"][0].get("kind").is_some() {
            changed["cases"][0]["kind"] = json!("unheard_of");
            assert!(sheet_of(changed).await.failures[0].contains("unknown variant"), "{name}");
        }
    }
}
