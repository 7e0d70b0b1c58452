//! Exit codes, the same for every command. `docs/reference/exit-codes.md` explains them; a test holds the two together.

use std::io::Write as _;
use std::process::ExitCode;

use windlass_chain::ChainError;
use windlass_keys::KeyError;
use windlass_node::NodeError;
use windlass_node::config::ConfigErrors;
use windlass_store::StoreError;

/// The command did what it was asked.
#[cfg(test)]
pub(crate) const SUCCESS: u8 = 0;
/// The work failed, or its answer is no (`payer monitor`: not paid).
pub(crate) const FAILURE: u8 = 1;
/// The command line, the environment or the configuration is wrong. Nothing was begun.
pub(crate) const USAGE: u8 = 2;
/// Something outside did not answer: an endpoint, a signer, a database. The same command may succeed later.
pub(crate) const UNAVAILABLE: u8 = 3;

/// Prints an error with its causes and hints to standard error, and chooses the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    // A reader that went away (`windlass status | head`) is no failure to speak of.
    if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
        return ExitCode::from(FAILURE);
    }
    let mut shown = String::new();
    for (depth, cause) in error.chain().enumerate() {
        let text = cause.to_string();
        // Several libraries repeat the text of their cause in their own.
        if depth == 0 {
            let _ = writeln!(stderr, "error: {text}");
        } else if !shown.contains(&text) {
            let _ = writeln!(stderr, "  because: {text}");
        }
        shown = text;
    }
    if let Some(hint) = error.chain().find_map(hint_of) {
        let _ = writeln!(stderr, "hint: {hint}");
    }
    ExitCode::from(code_of(error))
}

fn hint_of(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    None.or_else(|| cause.downcast_ref::<KeyError>().and_then(KeyError::hint))
        .or_else(|| cause.downcast_ref::<StoreError>().and_then(StoreError::hint))
        .or_else(|| cause.downcast_ref::<ChainError>().and_then(ChainError::hint))
        .or_else(|| cause.downcast_ref::<NodeError>().and_then(NodeError::hint))
        .or_else(|| cause.downcast_ref::<Unavailable>().map(|error| error.hint.to_owned()))
}

fn code_of(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        let setting = cause.downcast_ref::<NodeError>();
        let setting = setting.is_some_and(|error| matches!(error, NodeError::Secret { .. } | NodeError::OpenInterface { .. }));
        if setting || cause.is::<ConfigErrors>() || cause.is::<Usage>() {
            return USAGE;
        }
        if cause.is::<Unavailable>() {
            return UNAVAILABLE;
        }
        let transient = None
            .or_else(|| cause.downcast_ref::<KeyError>().map(KeyError::is_transient))
            .or_else(|| cause.downcast_ref::<StoreError>().map(StoreError::is_transient))
            .or_else(|| cause.downcast_ref::<ChainError>().map(ChainError::is_transient));
        if transient == Some(true) {
            return UNAVAILABLE;
        }
    }
    FAILURE
}

/// A mistake on the command line that its parser cannot see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// A program that should answer does not.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Unavailable {
    /// Who did not answer, and why.
    pub(crate) text: String,
    /// What the operator can do.
    pub(crate) hint: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_codes_are_these() {
        let page = include_str!("../../../docs/reference/exit-codes.md");
        for (code, word) in [(SUCCESS, "Success"), (FAILURE, "Failure"), (USAGE, "Usage"), (UNAVAILABLE, "Unavailable")] {
            assert!(page.contains(&format!("| {code} | {word} |")), "{code} {word}");
        }
    }

    #[test]
    fn the_code_follows_the_cause_at_any_depth() {
        let error = anyhow::Error::from(Usage("x".to_owned())).context("outer");
        assert_eq!(code_of(&error), USAGE);
        let lost = KeyError::RemoteSigner { host: "h".to_owned(), reason: "r".to_owned(), transient: true };
        assert_eq!(code_of(&anyhow::Error::from(lost).context("outer")), UNAVAILABLE);
        assert_eq!(code_of(&anyhow::Error::from(KeyError::WrongPassword)), FAILURE);
        assert_eq!(code_of(&anyhow::Error::from(Unavailable { text: "x".to_owned(), hint: "y" }).context("outer")), UNAVAILABLE);
        let secret = NodeError::Secret { key: "store.url".to_owned(), problem: "no such variable".to_owned() };
        assert!(hint_of(&secret).is_some());
        assert_eq!(code_of(&anyhow::Error::from(secret)), USAGE);
    }
}
