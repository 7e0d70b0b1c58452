//! Runs protocol vectors against the services' protocol code.
//!
//! A vector file holds inputs and the outcomes that the original software had for them. Files lie in
//! `<directory>/<protocol>/<file>.json`; the name of a file, without a trailing `-<number>`, says which runner checks it.
//! A runner checks every figure of a file. It never skips: a field, operation or symbol it does not know is a failure.
//!
//! Where an outcome records a defect that is repaired on purpose, the runner reports a [`Deviation`] that names both
//! outcomes and the section of the protocol document that asks for the repair.

mod chain;
mod files;
mod report;
mod runners;

pub use chain::{Bench, Chain, ChainKind};
pub use files::{Selection, VectorFile};
pub use report::{Deviation, FileReport, Report, Sheet};
pub use runners::{Runner, runner_for};

/// Runs all selected files.
///
/// Faults of the selection itself (a directory or protocol that is not there, nothing to check) are part of the report.
pub async fn run(selection: &Selection, bench: &Bench) -> Report {
    let mut report = Report::default();
    let files = match selection.files() {
        Ok(files) => files,
        Err(fault) => {
            report.faults.push(format!("{fault:#}"));
            return report;
        }
    };
    for file in files {
        let sheet = match file.read() {
            Ok(document) => run_document(bench, &file.protocol, &file.name, document).await,
            Err(fault) => Sheet::failed(format!("{fault:#}")),
        };
        report.files.push(FileReport { protocol: file.protocol, name: file.name, sheet });
    }
    if report.files.is_empty() {
        report.faults.push("no vector file was found: nothing was checked".to_owned());
    }
    report
}

/// Runs one document as if it were the file `<protocol>/<name>.json`.
pub async fn run_document(bench: &Bench, protocol: &str, name: &str, document: serde_json::Value) -> Sheet {
    let Some(runner) = runner_for(protocol, name) else {
        return Sheet::failed(format!("there is no runner for {protocol}/{name}"));
    };
    let mut sheet = Sheet::default();
    if let Err(fault) = runner(bench, document, &mut sheet).await {
        sheet.failures.push(format!("{fault:#}"));
    }
    if sheet.cases == 0 && sheet.failures.is_empty() {
        sheet.failures.push("the file has no case: nothing was checked".to_owned());
    }
    sheet
}
