//! The runners of `vrf` that play scenarios on a chain: they must not pass what they should not.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod mutation;

use mutation::{changes_of, ends_with_any, every_change_is_noticed, own_document, sheet_of};
use serde_json::{Value, json};
use windlass_conformance::Bench;

const PROTOCOL: &str = "vrf";

/// The step of a scenario that holds a figure, if one does.
fn step<'a>(document: &'a Value, pointer: &str) -> Option<&'a Value> {
    let parts: Vec<&str> = pointer.split('/').collect();
    (parts.get(3) == Some(&"steps")).then(|| document.pointer(&parts[..5].join("/")).unwrap())
}

/// Powers decide only by their sum. Gas is an upper bound. What a refused step would have done, had it not been refused, may change.
fn harmless_in_scenario(document: &Value, pointer: &str) -> bool {
    let refused = step(document, pointer).is_some_and(|step| step["ok"] == false);
    pointer == "/format"
        || ends_with_any(pointer, &["power", "gas"])
        || (refused && (ends_with_any(pointer, &["value", "nonce", "proof"]) || pointer.contains("/args/")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_figures_of_scenarios_are_noticed() {
    for name in ["provider_v1", "provider_v2"] {
        every_change_is_noticed(PROTOCOL, name, harmless_in_scenario).await;
    }
}

/// Whoever asked, with which client seed and which fee, is not told by the proof.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_figures_of_a_consumer_that_reverts_are_noticed() {
    let harmless = |_: &Value, pointer: &str| {
        let fields = ["/task_after/2", "/task_after/3", "/task_after/6"];
        pointer == "/format" || fields.iter().any(|field| pointer.ends_with(field))
    };
    every_change_is_noticed(PROTOCOL, "consumer_revert", harmless).await;
}

/// The steps belong together, so the whole document is run for each change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_figures_of_a_bridge_are_noticed() {
    let bench = Bench::default();
    let document = own_document(PROTOCOL, "bridge_state");
    assert!(sheet_of(&bench, PROTOCOL, "bridge_state", &document).await.passed());
    // Sentences are for people but for their first words; arguments are clipped, or belong to what is refused.
    let harmless = |pointer: &str| pointer == "/format" || ends_with_any(pointer, &["step"]) || pointer.contains("/args/");
    for (pointer, changed) in changes_of(&document, harmless) {
        let sheet = sheet_of(&bench, PROTOCOL, "bridge_state", &changed).await;
        assert!(!sheet.passed(), "{pointer} changed to {}", changed.pointer(&pointer).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_steps_and_fields_are_failures() {
    let bench = Bench::default();
    for name in ["provider_v1", "provider_v2"] {
        let mut document = own_document(PROTOCOL, name);
        document["cases"][0]["steps"][3]["decimals"] = json!(18);
        let sheet = sheet_of(&bench, PROTOCOL, name, &document).await;
        assert!(sheet.failures[0].contains("unknown field"), "{:?}", sheet.failures);
        document["cases"][0]["steps"][0]["op"] = json!("burn");
        let sheet = sheet_of(&bench, PROTOCOL, name, &document).await;
        assert!(sheet.failures[0].contains("burn is not known"), "{:?}", sheet.failures);
    }
    let mut document = own_document(PROTOCOL, "bridge_state");
    document["cases"][4]["step"] = json!("burn everything");
    let sheet = sheet_of(&bench, PROTOCOL, "bridge_state", &document).await;
    assert!(sheet.failures[0].contains("not known"), "{:?}", sheet.failures);
    document["cases"][4]["decimals"] = json!(18);
    let sheet = sheet_of(&bench, PROTOCOL, "bridge_state", &document).await;
    assert!(sheet.failures[0].contains("unknown field"), "{:?}", sheet.failures);
}
