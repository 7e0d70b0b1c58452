//! What an error of a node means, whichever way it came: gRPC, REST and CometBFT RPC pass on the same texts.

use std::time::Duration;

use tonic::Code;
use windlass_chain::Redactor;

use super::error::BandError;
use super::meter::Method;

/// One question at one node: makes the errors about it.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) redactor: &'a Redactor,
    pub(super) method: Method,
}

impl Site<'_> {
    fn host(&self) -> String {
        self.redactor.label().to_owned()
    }

    fn name(&self) -> String {
        self.method.name().to_owned()
    }

    fn clean(&self, text: &str) -> String {
        self.redactor.clean(text)
    }

    /// The node certainly has not seen the question.
    pub(super) fn not_reached(&self, reason: &str) -> BandError {
        self.unavailable(&format!("cannot connect: {reason}"), false)
    }

    /// No answer, and nobody knows what the node did.
    pub(super) fn lost(&self, reason: &str) -> BandError {
        self.unavailable(reason, true)
    }

    pub(super) fn timed_out(&self, limit: Duration) -> BandError {
        self.lost(&format!("no answer within {} ms", limit.as_millis()))
    }

    fn unavailable(&self, reason: &str, outcome_unknown: bool) -> BandError {
        BandError::Unavailable { host: self.host(), method: self.name(), reason: self.clean(reason), outcome_unknown }
    }

    pub(super) fn rate_limited(&self, retry_after: Option<Duration>) -> BandError {
        BandError::RateLimited { host: self.host(), method: self.name(), retry_after }
    }

    pub(super) fn malformed(&self, reason: impl ToString) -> BandError {
        BandError::Malformed { host: self.host(), method: self.name(), reason: self.clean(&reason.to_string()) }
    }

    pub(super) fn not_found(&self, text: &str) -> BandError {
        BandError::NotFound { host: self.host(), method: self.name(), text: self.clean(text) }
    }

    pub(super) fn not_ready(&self, text: &str) -> BandError {
        BandError::NotReady { host: self.host(), method: self.name(), text: self.clean(text) }
    }

    pub(super) fn refused(&self, code: impl ToString, text: &str) -> BandError {
        BandError::Refused { host: self.host(), method: self.name(), code: code.to_string(), text: self.clean(text) }
    }

    pub(super) fn unsupported(&self, needs: &str) -> BandError {
        BandError::Unsupported { method: self.name(), needs: needs.to_owned() }
    }

    /// The meaning of a gRPC status, or of an error text that comes without one ([`Code::Unknown`]).
    pub(super) fn status(&self, code: Code, text: &str, retry_after: Option<Duration>) -> BandError {
        match code {
            // A node whose limit is too small for the question says it with the same code.
            Code::ResourceExhausted if !text.contains("larger than max") => return self.rate_limited(retry_after),
            Code::Unavailable if text.ends_with("HTTP status code 429") => return self.rate_limited(retry_after),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => return self.lost(text),
            Code::OutOfRange if text.contains("message length too large") => return self.malformed(text),
            Code::Unknown if text.starts_with("protocol error: missing grpc-status") => return self.lost(text),
            _ => {}
        }
        // What a transaction says of itself is no statement about the question.
        if matches!(self.method, Method::Simulate | Method::Broadcast) {
            return self.refused(code_name(code), text);
        }
        match meaning(text) {
            Meaning::Gone { lowest } => {
                BandError::Pruned { host: self.host(), method: self.name(), lowest, text: self.clean(text) }
            }
            Meaning::Ahead | Meaning::Absent if self.awaits_blocks() => self.not_ready(text),
            Meaning::Ahead => self.not_found(text),
            Meaning::Absent => self.not_found(text),
            Meaning::Other if code == Code::NotFound => self.not_found(text),
            Meaning::Other => self.refused(code_name(code), text),
        }
    }

    /// Whether "not there" means "not yet".
    fn awaits_blocks(&self) -> bool {
        matches!(self.method, Method::Proof | Method::StoreProof | Method::Commit | Method::BlockResults)
    }
}

/// What a text says of heights and things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The height is below what the node keeps.
    Gone { lowest: Option<u64> },
    /// The height is above what the node has.
    Ahead,
    /// The thing does not exist, or not yet.
    Absent,
    /// Something else.
    Other,
}

fn meaning(text: &str) -> Meaning {
    let text = text.to_ascii_lowercase();
    if text.contains("is not available, lowest height is") {
        return Meaning::Gone { lowest: number_after(&text, "lowest height is") };
    }
    if text.contains("ensure height has not been pruned") {
        return Meaning::Gone { lowest: None };
    }
    if text.contains("version does not exist") || text.contains("version mismatch on immutable iavl tree") {
        // Said of heights above the newest as well.
        let (asked, newest) = (number_after(&text, "at height"), number_after(&text, "latest height:"));
        return match asked.zip(newest) {
            Some((asked, newest)) if asked > newest => Meaning::Ahead,
            _ => Meaning::Gone { lowest: None },
        };
    }
    let ahead = [
        "must be less than or equal to the current blockchain height",
        "bigger then the chain length",
        "bigger than the chain length",
        "height in the future",
        "not canonical",
        "could not find results for height",
    ];
    if ahead.iter().any(|words| text.contains(words)) {
        return Meaning::Ahead;
    }
    // "Proof not found", "IAVL existence proof not found", "account band1... not found", "tx (...) not found"
    if text.contains("not found") || text.contains("unable to get request from chain") {
        return Meaning::Absent;
    }
    Meaning::Other
}

fn number_after(text: &str, words: &str) -> Option<u64> {
    let (_, rest) = text.split_once(words)?;
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => UNIMPLEMENTED,
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

const UNIMPLEMENTED: &str = "UNIMPLEMENTED";

/// Whether the node does not know the method at all: an older one may be called something else.
pub(super) fn is_unimplemented(error: &BandError) -> bool {
    matches!(error, BandError::Refused { code, .. } if code == UNIMPLEMENTED)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use url::Url;

    use super::*;

    fn kind(method: Method, code: Code, text: &str) -> &'static str {
        let redactor = Redactor::new(&Url::parse("https://node.example:443/").unwrap());
        Site { redactor: &redactor, method }.status(code, text, None).kind()
    }

    #[test]
    fn the_proof_service_s_texts_mean_not_ready_or_pruned() {
        for text in [
            "commit is not canonical",
            "Proof not found",
            "Proof ops not found",
            "IAVL existence proof not found",
            "MultiStore existence proof not found",
            "height 100 must be less than or equal to the current blockchain height 99",
            "failed to load state at height 100; version does not exist (latest height: 99)",
            "cannot query with height in the future; please provide a valid height",
        ] {
            assert_eq!(kind(Method::Proof, Code::Unknown, text), "not_ready", "{text}");
            assert_eq!(kind(Method::StoreProof, Code::Unknown, text), "not_ready", "{text}");
        }
        for text in [
            "failed to load state at height 10; version does not exist (latest height: 99)",
            "version does not exist",
            "height 10 is not available, lowest height is 50",
            "proof is unexpectedly empty; ensure height has not been pruned: invalid request",
            "version mismatch on immutable IAVL tree; version does not exist. Version has either been pruned, or is for a future block height",
        ] {
            assert_eq!(kind(Method::Proof, Code::Unknown, text), "pruned", "{text}");
        }
        assert_eq!(kind(Method::Proof, Code::Unknown, "runtime error"), "refused");
        assert_eq!(kind(Method::Proof, Code::Unimplemented, "unknown service band.base.oracle.v1.Service"), "refused");
    }

    #[test]
    fn absent_things_are_not_found_except_where_a_block_may_bring_them() {
        assert_eq!(kind(Method::Account, Code::NotFound, "account band1xyz not found"), "not_found");
        assert_eq!(kind(Method::Account, Code::Unknown, "account band1xyz not found: key not found"), "not_found");
        assert_eq!(kind(Method::Transaction, Code::NotFound, "tx not found: AB"), "not_found");
        assert_eq!(
            kind(Method::Block, Code::InvalidArgument, "requested block height is bigger then the chain length"),
            "not_found"
        );
        assert_eq!(kind(Method::BlockResults, Code::Unknown, "could not find results for height #7"), "not_ready");
        let text = "unable to get request from chain: request id (9) > latest expired request id (3)";
        assert_eq!(kind(Method::Request, Code::NotFound, text), "not_found");
        assert_eq!(kind(Method::Simulate, Code::Unknown, "data source 7 not found"), "refused");
    }

    #[test]
    fn limits_and_silence_are_told_apart() {
        assert_eq!(kind(Method::Account, Code::ResourceExhausted, "quota"), "rate_limit");
        let mapped = "grpc-status header missing, mapped from HTTP status code 429";
        assert_eq!(kind(Method::Account, Code::Unavailable, mapped), "rate_limit");
        let too_large = "grpc: received message larger than max (5 vs. 4)";
        assert_eq!(kind(Method::Broadcast, Code::ResourceExhausted, too_large), "refused");
        assert_eq!(kind(Method::Broadcast, Code::Unavailable, "upstream"), "unavailable");
        assert_eq!(kind(Method::Proof, Code::DeadlineExceeded, "late"), "unavailable");
    }

    #[test]
    fn the_lowest_height_is_read() {
        assert_eq!(meaning("Height 1 is not available, lowest height is 4807001"), Meaning::Gone { lowest: Some(4_807_001) });
        assert_eq!(number_after("lowest height is", "lowest height is"), None);
    }
}
