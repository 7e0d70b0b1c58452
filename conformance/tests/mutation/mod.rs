//! Changes figures of the project's own vector files in memory, one at a time, and expects each change to be noticed.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use windlass_conformance::{Bench, Selection, Sheet, run_document};

/// Texts for people. Everything else in a vector file is a figure that must be checked.
const TEXT_FIELDS: [&str; 7] = ["produced_by", "note", "about", "name", "monitor_symbols", "meaning", "message"];

pub fn own_document(protocol: &str, name: &str) -> Value {
    let files = Selection::own().files().unwrap();
    files.iter().find(|file| file.protocol == protocol && file.name == name).unwrap().read().unwrap()
}

pub async fn sheet_of(bench: &Bench, protocol: &str, name: &str, document: &Value) -> Sheet {
    run_document(bench, protocol, name, document.clone()).await
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

/// The name of a custom error is a figure, and so is the type of a message; the name of a case is not.
fn is_figure_name(pointer: &str, field: &str) -> bool {
    (field == "name" && pointer.ends_with("/revert")) || (field == "message" && !pointer.ends_with("/revert"))
}

/// Changes one figure so that it stays of its kind: the last digit, the truth value.
fn mutate(value: &mut Value) {
    *value = match value {
        Value::Bool(flag) => json!(!*flag),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => json!(number + 1),
            (_, Some(number)) => json!(number + 1),
            _ => json!(number.as_f64().unwrap() * 2.0),
        },
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
    let mut focused = serde_json::Map::new();
    for (name, value) in document.as_object().unwrap() {
        let kept = match value {
            Value::Array(items) if name == list => json!([items[index]]),
            Value::Array(_) => json!([]),
            other => other.clone(),
        };
        focused.insert(name.clone(), kept);
    }
    let rest: String = parts.map(|part| format!("/{part}")).collect();
    (Value::Object(focused), format!("/{list}/0{rest}"))
}

/// Changes figures of one file, one at a time, and expects each to be noticed. `WINDLASS_SEEDS` is the number of figures
/// (default 12, `all` for all of them), `WINDLASS_SEED` chooses them. `harmless` says of a pointer into the document that the
/// figure there may change without another outcome.
pub async fn every_change_is_noticed(protocol: &str, name: &str, harmless: impl Fn(&Value, &str) -> bool) {
    let bench = Bench::default();
    let document = own_document(protocol, name);
    let sheet = sheet_of(&bench, protocol, name, &document).await;
    assert!(sheet.passed(), "{:?}", sheet.failures);
    let seed = std::env::var("WINDLASS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut pointers = figures(&document);
    pointers.retain(|pointer| !harmless(&document, pointer));
    pointers.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let wanted = std::env::var("WINDLASS_SEEDS").unwrap_or_default();
    pointers.truncate(if wanted == "all" { usize::MAX } else { wanted.parse().unwrap_or(12) });
    let mut unnoticed = Vec::new();
    for pointer in &pointers {
        let (mut changed, target) = focused(&document, pointer);
        assert!(sheet_of(&bench, protocol, name, &changed).await.passed(), "{pointer} alone fails before it is changed");
        let figure = changed.pointer_mut(&target).unwrap();
        let before = figure.clone();
        mutate(figure);
        let after = figure.clone();
        if sheet_of(&bench, protocol, name, &changed).await.passed() {
            unnoticed.push(format!("{pointer}: {before} changed to {after}"));
        }
    }
    println!("{name}: {} changed figures", pointers.len());
    assert!(unnoticed.is_empty(), "seed {seed}: not noticed in {name}:\n{}", unnoticed.join("\n"));
}

/// Documents with one changed figure each, and where it is. As many and chosen as by [`every_change_is_noticed`], for documents whose
/// cases belong together.
pub fn changes_of(document: &Value, harmless: impl Fn(&str) -> bool) -> Vec<(String, Value)> {
    let seed = std::env::var("WINDLASS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut pointers = figures(document);
    pointers.retain(|pointer| !harmless(pointer));
    pointers.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let wanted = std::env::var("WINDLASS_SEEDS").unwrap_or_default();
    pointers.truncate(if wanted == "all" { usize::MAX } else { wanted.parse().unwrap_or(12) });
    let changed = |pointer: String| {
        let mut changed = document.clone();
        mutate(changed.pointer_mut(&pointer).unwrap());
        (pointer, changed)
    };
    pointers.into_iter().map(changed).collect()
}

pub fn ends_with_any(pointer: &str, fields: &[&str]) -> bool {
    pointer.rsplit('/').next().is_some_and(|field| fields.contains(&field))
}
