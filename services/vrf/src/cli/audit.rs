//! `audit`: writes the signed history of a relay, and checks one.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::path::Path;

use serde::Serialize;

use super::commands::{AuditCommand, AuditVerifyArgs, RelayArgs};
use super::failure::{FAILURE, Failure};
use super::output::{Output, pairs};
use super::run::{Handles, open_rows};
use crate::audit::{self, AuditError, AuditRefusal, Statement, Verified};
use crate::error::VrfError;

pub(super) async fn audit(handles: &dyn Handles, command: &AuditCommand, output: &mut Output<'_>) -> Result<u8, Failure> {
    match command {
        AuditCommand::Write { file, relay } => write(handles, file, relay, output).await,
        AuditCommand::Verify(arguments) => verify(arguments, output),
    }
}

async fn write(handles: &dyn Handles, file: &Path, relay: &RelayArgs, output: &mut Output<'_>) -> Result<u8, Failure> {
    let (_, config) = handles.section(relay.relay.as_deref()).await?;
    let (store, scope) = open_rows(handles, &config).await?;
    let signer = config.account.key_config().open().await.map_err(VrfError::from)?;
    let refused = |error: std::io::Error| Failure::usage(format!("cannot write {}: {error}", file.display()));
    let created = OpenOptions::new().write(true).create_new(true).open(file).map_err(refused)?;
    let mut out = BufWriter::new(created);
    let written = audit::write(&store, scope, signer.as_ref(), &mut out).await;
    let finished = written.and_then(|statement| {
        out.flush()?;
        out.get_ref().sync_all()?;
        Ok(statement)
    });
    let statement = finished.map_err(|error| {
        // Half a log would only look like a forged one.
        let _ = std::fs::remove_file(file);
        match error {
            AuditError::Rows(error) => error.into(),
            AuditError::Key(error) => VrfError::from(error).into(),
            AuditError::File(error) => refused(error),
        }
    })?;
    output.result(&statement, |statement| rows(statement, &[]));
    output.remark(format_args!("wrote {}; keep it, or its last line: a later log must begin with all of it", file.display()));
    Ok(0)
}

fn verify(arguments: &AuditVerifyArgs, output: &mut Output<'_>) -> Result<u8, Failure> {
    let mut log = open(&arguments.file)?;
    let mut earlier = arguments.extends.as_deref().map(open).transpose()?;
    let earlier = earlier.as_mut().map(|reader| reader as &mut dyn BufRead);
    match audit::verify(&mut log, arguments.signer, earlier) {
        Ok(verified) => {
            output.result(&Verdict { holds: true, verified: Some(verified), reason: None }, render);
            Ok(0)
        }
        Err(refusal @ AuditRefusal::Unreadable { earlier, .. }) => {
            let file = arguments.extends.as_ref().filter(|_| earlier).unwrap_or(&arguments.file);
            Err(Failure::usage(format!("{}: {refusal}", file.display())))
        }
        Err(refusal) => {
            output.result(&Verdict { holds: false, verified: None, reason: Some(refusal.to_string()) }, render);
            Ok(FAILURE)
        }
    }
}

#[derive(Serialize)]
struct Verdict {
    holds: bool,
    #[serde(flatten)]
    verified: Option<Verified>,
    reason: Option<String>,
}

fn render(verdict: &Verdict) -> String {
    let (Some(verified), None) = (&verdict.verified, &verdict.reason) else {
        return format!("the log does not hold: {}", verdict.reason.as_deref().unwrap_or_default());
    };
    let mut more = vec![("signer", verified.signer.to_string())];
    if let Some(lines) = verified.earlier_lines {
        more.push(("earlier log", format!("all of its {lines} lines are in this one")));
    }
    format!("the log holds\n{}", rows(&verified.statement, &more))
}

fn rows(statement: &Statement, more: &[(&str, String)]) -> String {
    let mut shown = vec![
        ("provider", format!("{} on chain {}", statement.provider, statement.chain_id)),
        ("lines", statement.lines.to_string()),
        ("head", statement.head.to_string()),
    ];
    shown.extend_from_slice(more);
    pairs(&shown)
}

fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    let opened = File::open(path).map_err(|error| Failure::File { path: path.to_owned(), reason: error.to_string() })?;
    Ok(BufReader::new(opened))
}
