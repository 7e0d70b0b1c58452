//! The meaning of JSON-RPC errors. Codes are used inconsistently by nodes and providers, so texts decide where they must.
//!
//! Codes: JSON-RPC 2.0; EIP-1474 (-32000 to -32006); geth (3 for a revert with data). Texts: geth, erigon, nethermind, reth, besu,
//! anvil and the large hosted providers.

use alloy_primitives::{Bytes, hex};

fn has(message: &str, needles: &[&str]) -> bool {
    needles.iter().any(|needle| message.contains(needle))
}

/// A query over a range of blocks that returns or scans too much.
pub(super) fn is_range_too_large(code: i64, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    has(
        &message,
        &[
            "query returned more than",
            "more than 10000 results",
            "too many results",
            "too many logs",
            "log response size exceeded",
            "response size exceed",
            "response is too big",
            "response too large",
            "response size should not",
            "response size is larger",
            "exceeds max results",
            "exceed maximum block range",
            "exceeds max block range",
            "exceeds the max block range",
            "block range is too",
            "block range too",
            "block range limit",
            "block range greater",
            "block range exceeds",
            "max block range",
            "maximum block range",
            "maximum number of blocks",
            "range is too large",
            "range too large",
            "requested too many blocks",
            "too many blocks",
            "exceeded max allowed blocks",
            "max range",
            "limited to a",
            "is limited to",
            "query timeout exceeded",
            "query exceeds max",
            "exceed max topics",
            "try with this block range",
            "you can make eth_getlogs requests with up to",
        ],
    ) || (code == -32005 && has(&message, &["results", "block range", "range"]))
}

/// Asking too often. -32005 is "limit exceeded", which providers use for ranges too, so these are excluded first.
pub(super) fn is_rate_limit(code: i64, message: &str) -> bool {
    if is_range_too_large(code, message) {
        return false;
    }
    let message = message.to_ascii_lowercase();
    matches!(code, -32005 | 429 | -32029 | -32097 | -32098)
        || has(
            &message,
            &[
                "rate limit",
                "ratelimit",
                "rate-limit",
                "too many requests",
                "request count exceeded",
                "requests per second",
                "compute units per second",
                "capacity exceeded",
                "exceeded its throughput",
                "quota exceeded",
                "request limit",
            ],
        )
}

/// Block or state is not at this node.
pub(super) fn is_state_missing(code: i64, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    code == -32001
        || code == -39001
        || has(
            &message,
            &[
                "header not found",
                "header for hash not found",
                "unknown block",
                "block not found",
                "cannot find block",
                "could not find block",
                "no block found",
                "block with number",
                "block #",
                "blockoutofrange",
                "block out of range",
                "block is out of range",
                "missing trie node",
                "state not available",
                "state is not available",
                "state unavailable",
                "historical state",
                "no state available",
                "not available, pruned",
                "history has been pruned",
                "pruned history",
                "world state unavailable",
                "block range extends beyond current head",
                "invalid block range",
                "after last accepted block",
                "requested block",
                "finalized block not found",
                "safe block not found",
                "resource not found",
                "indexing is in progress",
            ],
        )
}

/// The endpoint does not offer the method.
pub(super) fn is_method_missing(code: i64, message: &str) -> bool {
    if code == -32601 || code == -32004 {
        return true;
    }
    let message = message.to_ascii_lowercase();
    message.contains("method")
        && has(
            &message,
            &["does not exist", "not found", "not supported", "not available", "unsupported", "not allowed", "not whitelisted"],
        )
}

/// The node failed by itself.
pub(super) fn is_internal(code: i64, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    if message.contains("revert") {
        return false;
    }
    // -32603 is "internal error" in JSON-RPC, but some nodes use it for every refusal; only what sounds like a fault counts.
    (code == -32603 && (message.is_empty() || has(&message, &["internal"])))
        || has(
            &message,
            &[
                "internal error",
                "internal server error",
                "context deadline exceeded",
                "request timed out",
                "execution timeout",
                "timeout",
                "temporarily unavailable",
                "upstream",
                "service unavailable",
                "connection refused",
                "no backend",
                "syncing",
                "shutting down",
            ],
        )
}

/// Return data of a reverted execution, found in the places where nodes put them.
pub(super) fn revert_data(code: i64, message: &str, data: Option<&Bytes>) -> Option<Bytes> {
    let lower = message.to_ascii_lowercase();
    let says_revert = code == 3
        || has(&lower, &["execution reverted", "reverted", "vm execution error", "revert", "invalid opcode", "out of gas: "]);
    if !says_revert {
        return None;
    }
    if let Some(data) = data {
        return Some(data.clone());
    }
    // Texts that end with the data: "Reverted 0x08c379a0...", "execution reverted: 0x...".
    let tail = message.rsplit(|c: char| c.is_whitespace() || c == ',').next().unwrap_or_default();
    let from_text = tail.strip_prefix("0x").and_then(|digits| hex::decode(digits).ok());
    Some(from_text.map(Bytes::from).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[derive(Debug, PartialEq)]
    enum Meaning {
        Range,
        Rate,
        State,
        Method,
        Internal,
        Revert,
        Plain,
    }

    fn meaning(code: i64, message: &str) -> Meaning {
        let found = [
            (is_range_too_large(code, message), Meaning::Range),
            (is_rate_limit(code, message), Meaning::Rate),
            (revert_data(code, message, None).is_some(), Meaning::Revert),
            (is_method_missing(code, message), Meaning::Method),
            (is_state_missing(code, message), Meaning::State),
            (is_internal(code, message), Meaning::Internal),
        ];
        found.into_iter().find(|(is, _)| *is).map_or(Meaning::Plain, |(_, meaning)| meaning)
    }

    #[test]
    fn texts_of_nodes_and_providers_are_understood() {
        let table = [
            (-32005, "query returned more than 10000 results", Meaning::Range),
            (-32005, "query returned more than 10000 results. Try with this block range [0x1, 0x2].", Meaning::Range),
            (-32602, "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range", Meaning::Range),
            (-32600, "eth_getLogs is limited to a 10,000 range", Meaning::Range),
            (-32000, "exceed maximum block range: 5000", Meaning::Range),
            (-32602, "query exceeds max block range 100000", Meaning::Range),
            (-32602, "query exceeds max results 20000, retry with the range 1-5", Meaning::Range),
            (-32000, "requested too many blocks from 1 to 5000, maximum is set to 2048", Meaning::Range),
            (-32005, "limit exceeded", Meaning::Rate),
            (-32005, "daily request count exceeded, request rate limited", Meaning::Rate),
            (429, "Your app has exceeded its compute units per second capacity.", Meaning::Rate),
            (-32007, "50/second request limit reached", Meaning::Rate),
            (-32000, "header not found", Meaning::State),
            (-32000, "missing trie node 0011 (path ) state 0x00 is not available", Meaning::State),
            (-32001, "resource not found", Meaning::State),
            (-32000, "transaction indexing is in progress", Meaning::State),
            (-39001, "Unknown block", Meaning::State),
            (-32000, "finalized block not found", Meaning::State),
            (-32602, "BlockOutOfRangeError: block height is 5 but requested was 9", Meaning::State),
            (-32601, "the method eth_foo does not exist/is not available", Meaning::Method),
            (-32601, "Method not found", Meaning::Method),
            (-32603, "Internal error", Meaning::Internal),
            (-32000, "execution aborted (timeout = 5s)", Meaning::Internal),
            (3, "execution reverted: paid already", Meaning::Revert),
            (-32000, "execution reverted", Meaning::Revert),
            (-32015, "VM execution error.", Meaning::Revert),
            (-32603, "VM Exception while processing transaction: reverted with reason string 'x'", Meaning::Revert),
            (-32000, "insufficient funds for gas * price + value", Meaning::Plain),
            (-32000, "nonce too low", Meaning::Plain),
            (-32602, "invalid argument 0: hex string has length 3", Meaning::Plain),
        ];
        for (code, message, expected) in table {
            assert_eq!(meaning(code, message), expected, "{code} {message}");
        }
    }

    #[test]
    fn revert_data_are_found_in_field_and_text() {
        let data = Bytes::from_static(&[1, 2]);
        assert_eq!(revert_data(3, "execution reverted", Some(&data)), Some(data));
        let in_text = revert_data(-32015, "VM execution error: Reverted 0x0102ff", None);
        assert_eq!(in_text, Some(Bytes::from_static(&[1, 2, 0xff])));
        assert_eq!(revert_data(-32000, "execution reverted", None), Some(Bytes::new()));
        assert_eq!(revert_data(-32000, "nonce too low", None), None);
    }
}
