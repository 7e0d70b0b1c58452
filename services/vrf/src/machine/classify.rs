//! What a refused relay means for its task.

/// Why the client chain refuses a relay, decoded by the port.
pub type RelayRefusal = String;

/// What follows from a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The provider must be read: the task was answered by somebody, or is not the same any more.
    ReadTask,
    /// The provider's settings do not fit the request: another request is needed.
    RequestAgain,
    /// The Bridge does not accept the proof.
    Bridge,
    /// The consumer's code.
    Consumer,
}

/// Texts of the provider by which the task itself is in question (section 4.4, steps 1, 2, 8, 9).
const TASK: [&str; 4] = ["Task not found", "Task already resolved", "Seed is mismatched", "Time is mismatched"];
/// Texts of the provider by which the request does not fit (steps 4 and 7, and the counts of V1).
const TERMS: [&str; 4] =
    ["Oracle Script ID not match", "Min Count not match", "Ask Count not match", "The sender must be the task worker"];
/// Prefix of the provider's own texts.
const PROVIDER: &str = "VRFProviderBase: ";
/// Texts of Bridge and decoders (sections 4.4, 4.10 and 4.12).
const BRIDGE: [&str; 12] = [
    "INVALID_SIGNATURE_SIGNER_ORDER",
    "INSUFFICIENT_VALIDATOR_SIGNATURES",
    "INVALID_ORACLE_DATA_PROOF",
    "NO_ORACLE_ROOT_STATE_DATA",
    "RELAY_BLOCK_FAILED",
    "VERIFY_ORACLE_DATA_FAILED",
    "CommonEncodedVotePart: ",
    "TMSignature: ",
    "Obi: ",
    "DATA_DECODE_",
    "Request not successfully resolved",
    "MultiStore",
];

/// Sorts a refusal by its text. What is not known as the provider's or the Bridge's comes out of the consumer, whose revert data passes
/// through unchanged.
pub fn verdict(reason: &str) -> Verdict {
    let provider = reason.contains(PROVIDER);
    let any = |texts: &[&str]| texts.iter().any(|text| reason.contains(text));
    if provider && any(&TASK) {
        Verdict::ReadTask
    } else if provider && any(&TERMS) {
        Verdict::RequestAgain
    } else if any(&BRIDGE) {
        Verdict::Bridge
    } else {
        Verdict::Consumer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_of_the_contracts_has_its_meaning() {
        for (reason, expected) in [
            ("Error(\"VRFProviderBase: Task already resolved\")", Verdict::ReadTask),
            ("VRFProviderBase: Task not found", Verdict::ReadTask),
            ("VRFProviderBase: Seed is mismatched", Verdict::ReadTask),
            ("VRFProviderBase: Oracle Script ID not match", Verdict::RequestAgain),
            ("VRFProviderBase: Min Count not match", Verdict::RequestAgain),
            ("VRFProviderBase: The sender must be the task worker", Verdict::RequestAgain),
            ("INSUFFICIENT_VALIDATOR_SIGNATURES", Verdict::Bridge),
            ("RELAY_BLOCK_FAILED", Verdict::Bridge),
            ("Obi: Out of range", Verdict::Bridge),
            ("lottery: round is closed", Verdict::Consumer),
            ("Task already resolved", Verdict::Consumer),
            ("panic 0x11", Verdict::Consumer),
            ("", Verdict::Consumer),
        ] {
            assert_eq!(verdict(reason), expected, "{reason}");
        }
    }
}
