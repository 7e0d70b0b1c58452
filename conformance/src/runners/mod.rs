//! One runner per file name.

mod keyper_payer;
mod vrf;

use alloy_primitives::{Address, Bytes, U256, hex};
use anyhow::{Context, ensure};
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;
use windlass_payer::protocol::parse_address;

use crate::files::runner_name;
use crate::{Bench, Sheet};

/// Checks a document and writes what it finds on the sheet. An error means that the document itself is not understood.
pub type Runner = for<'a> fn(&'a Bench, Value, &'a mut Sheet) -> BoxFuture<'a, anyhow::Result<()>>;

/// The runner of `<protocol>/<file>.json`. A trailing `-<number>` of the file name does not matter.
pub fn runner_for(protocol: &str, file: &str) -> Option<Runner> {
    let runner: Runner = match (protocol, runner_name(file)) {
        ("keyper-payer", "cli") => |bench, document, sheet| Box::pin(keyper_payer::cli::run(bench, document, sheet)),
        ("keyper-payer", "contract_sequences") => {
            |bench, document, sheet| Box::pin(keyper_payer::contract_sequences::run(bench, document, sheet))
        }
        ("keyper-payer", "encodings") => {
            |_, document, sheet| Box::pin(std::future::ready(keyper_payer::encodings::run(document, sheet)))
        }
        ("keyper-payer", "monitor_decisions") => {
            |bench, document, sheet| Box::pin(keyper_payer::monitor_decisions::run(bench, document, sheet))
        }
        ("vrf", name) => return vrf::runner_for(name),
        _ => return None,
    };
    Some(runner)
}

/// Reads a document of the expected format. Unknown and missing fields are errors.
fn read<T: DeserializeOwned>(document: Value, format: &str) -> anyhow::Result<T> {
    let found = document.get("format").and_then(Value::as_str).unwrap_or_default();
    ensure!(found == format, "the format is {found:?}, the runner knows {format:?}");
    Ok(serde_json::from_value(document)?)
}

/// Fails with both values when they differ.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: T, recorded: T) -> anyhow::Result<()> {
    ensure!(ours == recorded, "{what}: ours is {ours:?}, recorded is {recorded:?}");
    Ok(())
}

/// A recorded amount: decimal digits and nothing else.
fn amount(text: &str) -> anyhow::Result<U256> {
    ensure!(!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()), "{text:?} is not a decimal figure");
    text.parse().with_context(|| format!("{text:?} does not fit 256 bits"))
}

/// A recorded address. Its checksum must be right: a changed digit must not go unnoticed.
fn address(text: &str) -> anyhow::Result<Address> {
    parse_address(text).with_context(|| format!("{text:?}"))
}

/// Recorded bytes.
fn bytes(text: &str) -> anyhow::Result<Bytes> {
    let digits = text.strip_prefix("0x").with_context(|| format!("{text:?} does not start with 0x"))?;
    Ok(hex::decode(digits).with_context(|| format!("{text:?} is not hex"))?.into())
}
