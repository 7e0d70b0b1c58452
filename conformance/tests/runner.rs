//! The runner itself: it must not pass what it should not.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::path::PathBuf;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use windlass_conformance::{Bench, Selection, Sheet, run, run_document};

/// Texts for people. Everything else in a vector file is a figure that must be checked.
const TEXT_FIELDS: [&str; 6] = ["produced_by", "note", "about", "name", "monitor_symbols", "meaning"];

fn own_document(name: &str) -> Value {
    let files = Selection::own().files().unwrap();
    files.iter().find(|file| file.protocol == "keyper-payer" && file.name == name).unwrap().read().unwrap()
}

async fn sheet_of(bench: &Bench, name: &str, document: &Value) -> Sheet {
    run_document(bench, "keyper-payer", name, document.clone()).await
}

/// JSON pointers of all figures: scalar values that are no texts for people.
fn figures(document: &Value) -> Vec<String> {
    fn walk(value: &Value, pointer: String, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if !TEXT_FIELDS.contains(&name.as_str())
                        || (name == "note" && value.is_object())
                        || is_figure_name(&pointer, name)
                    {
                        walk(value, format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), found);
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    walk(item, format!("{pointer}/{index}"), found);
                }
            }
            Value::Null => {}
            _ => found.push(pointer),
        }
    }
    let mut found = Vec::new();
    walk(document, String::new(), &mut found);
    found
}

/// The name of a custom error is a figure; the name of a case is not.
fn is_figure_name(pointer: &str, field: &str) -> bool {
    field == "name" && pointer.ends_with("/revert")
}

/// Changes one figure so that it stays of its kind: the last digit, the truth value.
fn mutate(value: &mut Value) {
    *value = match value {
        Value::Bool(flag) => json!(!*flag),
        Value::Number(number) => json!(number.as_u64().unwrap() + 1),
        Value::String(text) => {
            let mut characters: Vec<char> = text.chars().collect();
            match characters.iter_mut().rev().find(|c| c.is_ascii_hexdigit()) {
                Some('9') => *characters.iter_mut().rev().find(|c| c.is_ascii_hexdigit()).unwrap() = '8',
                Some(digit) if digit.is_ascii_digit() => *digit = char::from(*digit as u8 + 1),
                Some(digit) => *digit = if digit.eq_ignore_ascii_case(&'a') { 'b' } else { 'a' },
                None => characters.push('1'),
            }
            json!(characters.into_iter().collect::<String>())
        }
        other => panic!("{other} is no figure"),
    };
}

/// What remains of a document when only the case that contains `pointer` matters: other cases of the same list are dropped,
/// so that a changed figure is run in milliseconds. Figures outside of lists keep the whole document.
fn focused(document: &Value, pointer: &str) -> (Value, String) {
    let mut parts = pointer.split('/').skip(1);
    let (Some(list), Some(index)) = (parts.next(), parts.next().and_then(|index| index.parse::<usize>().ok())) else {
        return (document.clone(), pointer.to_owned());
    };
    let mut focused = document.clone();
    for (name, value) in focused.as_object_mut().unwrap() {
        if let Value::Array(items) = value {
            *items = if name == list { vec![items[index].clone()] } else { Vec::new() };
        }
    }
    let rest: String = parts.map(|part| format!("/{part}")).collect();
    (focused, format!("/{list}/0{rest}"))
}

/// Changes figures of one file, one at a time, and expects each to be noticed. `WINDLASS_SEEDS` is the number of figures
/// (default 12, `all` for all of them), `WINDLASS_SEED` chooses them.
async fn every_change_is_noticed(name: &str, harmless: impl Fn(&str, &Value) -> bool) {
    let bench = Bench::default();
    let document = own_document(name);
    assert!(sheet_of(&bench, name, &document).await.passed());
    let seed = std::env::var("WINDLASS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut pointers = figures(&document);
    pointers.retain(|pointer| !harmless(pointer, document.pointer(pointer).unwrap()));
    pointers.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let wanted = std::env::var("WINDLASS_SEEDS").unwrap_or_default();
    pointers.truncate(if wanted == "all" { usize::MAX } else { wanted.parse().unwrap_or(12) });
    let mut unnoticed = Vec::new();
    for pointer in &pointers {
        let (mut changed, target) = focused(&document, pointer);
        assert!(sheet_of(&bench, name, &changed).await.passed(), "{pointer} alone fails before it is changed");
        let figure = changed.pointer_mut(&target).unwrap();
        let before = figure.clone();
        mutate(figure);
        let after = figure.clone();
        if sheet_of(&bench, name, &changed).await.passed() {
            unnoticed.push(format!("{pointer}: {before} changed to {after}"));
        }
    }
    println!("{name}: {} changed figures", pointers.len());
    assert!(unnoticed.is_empty(), "seed {seed}: not noticed in {name}:\n{}", unnoticed.join("\n"));
}

fn ends_with_any(pointer: &str, fields: &[&str]) -> bool {
    pointer.rsplit('/').next().is_some_and(|field| fields.contains(&field))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_figure_in_encodings_is_noticed() {
    every_change_is_noticed("encodings", |_, _| false).await;
}

/// Inputs are left alone where many values have the same outcome: any time before the start is paid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_figure_in_monitor_decisions_is_noticed() {
    let inputs = |pointer: &str, _: &Value| ends_with_any(pointer, &["requested_rate", "start_timestamp", "block_timestamp"]);
    every_change_is_noticed("monitor_decisions", inputs).await;
}

/// Rate and start do not matter to payments, and any sufficient allowance does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_figure_in_contract_sequences_is_noticed() {
    let inputs = |pointer: &str, _: &Value| ends_with_any(pointer, &["requested_rate", "start_timestamp", "amount"]);
    every_change_is_noticed("contract_sequences", inputs).await;
}

/// Inputs: a command that is not run, a base that a case overrides, a text that is wrong in any case. Texts of libraries need
/// not be matched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_figure_in_cli_is_noticed() {
    let inputs = |pointer: &str, value: &Value| {
        ["/env/", "/env_changes/", "/deploy_base_env/"].iter().any(|part| pointer.contains(part))
            || ends_with_any(pointer, &["text"])
            || value.as_str().is_some_and(|text| text.starts_with("Error") || text.starts_with("TypeError"))
    };
    every_change_is_noticed("cli", inputs).await;
}

#[tokio::test]
async fn unknown_fields_and_operations_are_failures() {
    let bench = Bench::default();
    let mut document = own_document("encodings");
    document["decimals"] = json!(18);
    assert!(sheet_of(&bench, "encodings", &document).await.failures[0].contains("unknown field"));
    let mut document = own_document("contract_sequences");
    document["scenarios"][0]["steps"][0]["op"] = json!("burn");
    assert!(sheet_of(&bench, "contract_sequences", &document).await.failures[0].contains("unknown variant"));
    let mut document = own_document("encodings");
    document["format"] = json!("keyper-payer/encodings/2");
    assert!(sheet_of(&bench, "encodings", &document).await.failures[0].contains("format"));
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
