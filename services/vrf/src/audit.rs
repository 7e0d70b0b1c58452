//! The audit log: the whole history of a relay in lines that are chained by their hashes, with a signature of the relaying account.
//!
//! ```text
//! {"audit_log":1,"chain_id":1,"provider":"0x..."}
//! {"position":1,"nonce":0,"at_ms":...,"seed":"0x...","from":null,"to":"confirmed","text":"...","bad":false}
//! ...
//! {"lines":1,"head":"0x...","signer":"0x...","signature":"0x..."}
//! ```
//!
//! The head is `h(n)` with `h(0) = keccak256(first line)` and `h(i) = keccak256(h(i-1) || keccak256(line i))`, lines without their line
//! feed. The account signs a [statement](Statement::text) with the head as an Ethereum message (EIP-191), so that every wallet can check it.
//!
//! The same rows give the same lines for ever, and rows of the history are never changed. So a later log begins with all lines of an earlier
//! one: who has kept an earlier log, or only its last line, sees whether what it said still stands.

use std::io::{BufRead, Write};

use alloy_primitives::{Address, B256, Signature, eip191_hash_message, hex, keccak256};
use serde::{Deserialize, Serialize};
use windlass_keys::{KeyError, Signer};
use windlass_store::Store;

use crate::error::VrfError;
use crate::tables::Scope;

/// Version of the format.
const VERSION: u32 = 1;
/// Rows that are read together.
const PAGE: u32 = 1_000;
/// Longest line that is read, bytes.
const LINE_MAX: u64 = 1 << 20;

/// Why a log cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The rows cannot be read.
    #[error(transparent)]
    Rows(#[from] VrfError),
    /// The account does not sign.
    #[error("the account does not sign the log: {0}")]
    Key(#[from] KeyError),
    /// The file cannot be written.
    #[error("cannot write the log: {0}")]
    File(#[from] std::io::Error),
}

/// Why a log does not hold.
#[derive(Debug, thiserror::Error)]
pub enum AuditRefusal {
    /// It cannot be read.
    #[error("cannot read line {line}: {reason}")]
    Unreadable {
        /// It is the earlier log that cannot be read.
        earlier: bool,
        /// Which line, from 1.
        line: u64,
        /// Why.
        reason: String,
    },
    /// It is none, or was cut off.
    #[error("{0}")]
    NoLog(&'static str),
    /// Something in it was changed.
    #[error("the lines lead to the head {found}, the last one says {signed}: a line was changed, added or left out")]
    Changed {
        /// What the lines lead to.
        found: B256,
        /// What was signed.
        signed: B256,
    },
    /// The number of lines differs.
    #[error("there are {found} lines of history, the last one says {signed}")]
    Count {
        /// So many there are.
        found: u64,
        /// So many were signed.
        signed: u64,
    },
    /// Nobody, or somebody else, signed.
    #[error("the signature is not by {expected}, but by {}", found.map_or("nobody".to_owned(), |found| found.to_string()))]
    Signer {
        /// Who should have signed.
        expected: Address,
        /// Who signed.
        found: Option<Address>,
    },
    /// It does not begin with the earlier log.
    #[error("line {line} is another one than in the earlier log")]
    Rewritten {
        /// The first line that differs, from 1.
        line: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstLine {
    audit_log: u32,
    chain_id: u64,
    provider: Address,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LastLine {
    lines: u64,
    head: B256,
    signer: Address,
    signature: String,
}

/// What the account signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// Chain id of the client chain.
    pub chain_id: u64,
    /// The provider.
    pub provider: Address,
    /// Lines of history.
    pub lines: u64,
    /// Hash over all of them.
    pub head: B256,
}

impl Statement {
    /// The message, without the prefix of EIP-191.
    pub fn text(&self) -> String {
        let Self { chain_id, provider, lines, head } = self;
        format!("windlass vrf audit log\nprovider {provider} on chain {chain_id}\n{lines} lines\nhead {head}")
    }
}

/// A log that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// What is signed.
    #[serde(flatten)]
    pub statement: Statement,
    /// By whom.
    pub signer: Address,
    /// Lines that an earlier log had already.
    pub earlier_lines: Option<u64>,
}

fn chained(head: B256, line: &[u8]) -> B256 {
    keccak256([head, keccak256(line)].concat())
}

/// Writes the log of a relay, signed by its account.
///
/// # Errors
/// The rows cannot be read, the account does not sign, or `out` does not take it.
pub async fn write(
    store: &Store,
    scope: Scope,
    signer: &dyn Signer,
    out: &mut (dyn Write + Send),
) -> Result<Statement, AuditError> {
    let first = to_line(&FirstLine { audit_log: VERSION, chain_id: scope.chain_id, provider: scope.provider })?;
    writeln!(out, "{first}")?;
    let mut statement = Statement { chain_id: scope.chain_id, provider: scope.provider, lines: 0, head: keccak256(&first) };
    let mut after = 0;
    loop {
        let page = scope.history_after(store, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        for line in &page {
            let line = to_line(line)?;
            writeln!(out, "{line}")?;
            statement.head = chained(statement.head, line.as_bytes());
            statement.lines += 1;
        }
    }
    let signature = signer.sign_message(statement.text().as_bytes()).await?;
    let Statement { lines, head, .. } = statement;
    let last = LastLine { lines, head, signer: signer.address(), signature: hex::encode_prefixed(signature.as_bytes()) };
    writeln!(out, "{}", to_line(&last)?)?;
    Ok(statement)
}

fn to_line<T: Serialize>(value: &T) -> Result<String, AuditError> {
    serde_json::to_string(value).map_err(|error| AuditError::File(error.into()))
}

/// The lines of a file without their line feeds. The last one, which has the signature, is held back.
struct Lines<'r> {
    input: &'r mut dyn BufRead,
    earlier: bool,
    number: u64,
    held: Option<Vec<u8>>,
}

impl<'r> Lines<'r> {
    fn open(input: &'r mut dyn BufRead, earlier: bool) -> Result<Self, AuditRefusal> {
        let mut lines = Self { input, earlier, number: 0, held: None };
        lines.held = lines.read()?;
        Ok(lines)
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, AuditRefusal> {
        use std::io::Read as _;
        self.number += 1;
        let unreadable = |reason: String| AuditRefusal::Unreadable { earlier: self.earlier, line: self.number, reason };
        let mut line = Vec::new();
        let read =
            (&mut *self.input).take(LINE_MAX).read_until(b'\n', &mut line).map_err(|error| unreadable(error.to_string()))?;
        if read == 0 {
            return Ok(None);
        }
        if line.pop() != Some(b'\n') {
            return Err(unreadable("it has no end, so the log was cut off, or is none".to_owned()));
        }
        Ok(Some(line))
    }

    /// The next line that is not the last one.
    fn next(&mut self) -> Result<Option<Vec<u8>>, AuditRefusal> {
        match self.read()? {
            Some(line) => Ok(self.held.replace(line)),
            None => Ok(None),
        }
    }
}

/// Compares a log with the beginning that it should have.
struct Earlier<'r> {
    lines: Option<Lines<'r>>,
    shared: u64,
}

impl Earlier<'_> {
    fn compare(&mut self, line: &[u8], number: u64) -> Result<(), AuditRefusal> {
        let Some(wanted) = self.next()? else { return Ok(()) };
        self.shared += 1;
        if wanted == line { Ok(()) } else { Err(AuditRefusal::Rewritten { line: number }) }
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, AuditRefusal> {
        self.lines.as_mut().map_or(Ok(None), Lines::next)
    }
}

/// Checks a log: that its lines lead to the signed head, who signed it, and that it begins with all lines of an `earlier` one, whose own
/// signature is not looked at.
///
/// # Errors
/// What does not hold.
pub fn verify(
    log: &mut dyn BufRead,
    signer: Option<Address>,
    earlier: Option<&mut dyn BufRead>,
) -> Result<Verified, AuditRefusal> {
    let mut log = Lines::open(log, false)?;
    let compared = earlier.is_some();
    let mut earlier = Earlier { lines: earlier.map(|input| Lines::open(input, true)).transpose()?, shared: 0 };
    let first = log.next()?.ok_or(AuditRefusal::NoLog("it has no history, or the last line with the signature is missing"))?;
    let FirstLine { audit_log, chain_id, provider } = parse(&first, 1)?;
    if audit_log != VERSION {
        return Err(AuditRefusal::NoLog("it is of another version of the format"));
    }
    earlier.compare(&first, 1)?;
    let mut statement = Statement { chain_id, provider, lines: 0, head: keccak256(&first) };
    while let Some(line) = log.next()? {
        statement.lines += 1;
        statement.head = chained(statement.head, &line);
        earlier.compare(&line, statement.lines + 1)?;
    }
    let last: LastLine = parse(&log.held.unwrap_or_default(), statement.lines + 2)?;
    if last.lines != statement.lines {
        return Err(AuditRefusal::Count { found: statement.lines, signed: last.lines });
    }
    if last.head != statement.head {
        return Err(AuditRefusal::Changed { found: statement.head, signed: last.head });
    }
    if earlier.next()?.is_some() {
        // The earlier one goes on where this one ends.
        return Err(AuditRefusal::Rewritten { line: statement.lines + 2 });
    }
    let expected = signer.unwrap_or(last.signer);
    let signature = hex::decode(&last.signature).ok().and_then(|bytes| Signature::from_raw(&bytes).ok());
    let found = signature.and_then(|signature| windlass_keys::recover(&eip191_hash_message(statement.text()), &signature));
    if found != Some(expected) {
        return Err(AuditRefusal::Signer { expected, found });
    }
    Ok(Verified { statement, signer: expected, earlier_lines: compared.then(|| earlier.shared.saturating_sub(1)) })
}

fn parse<'de, T: Deserialize<'de>>(line: &'de [u8], number: u64) -> Result<T, AuditRefusal> {
    serde_json::from_slice(line).map_err(|error| AuditRefusal::Unreadable {
        earlier: false,
        line: number,
        reason: error.to_string(),
    })
}
