//! Faults that a tester asks for: late, failing and lost answers, and broadcasts that never arrive.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::JsonRpcError;
use crate::rpc::params::Params;
use crate::rpc::{Outcome, reply};

/// One rule: what happens to the next calls of a method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultRule {
    /// Method name, or `*` for all but `windlass_*`.
    pub method: String,
    /// How many calls it hits; missing means all until the faults are cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// How many matching calls pass before the first hit.
    #[serde(default)]
    pub skip: u64,
    /// What happens.
    pub fault: Fault,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Fault {
    /// The call is answered normally, but so many milliseconds late.
    Delay {
        /// Milliseconds.
        milliseconds: u64,
    },
    /// The call is not carried out; the answer is this JSON-RPC error.
    Error {
        /// Error code.
        code: i64,
        /// Error text.
        message: String,
        /// Error data.
        #[serde(default)]
        data: Option<Value>,
    },
    /// The call is not carried out; the answer is an HTTP status, such as 429 or 503.
    HttpStatus {
        /// The status code.
        status: u16,
        /// Value of the `Retry-After` header, in seconds.
        #[serde(default)]
        retry_after_seconds: Option<u64>,
    },
    /// The call is carried out, but the connection closes without an answer.
    LoseAnswer,
    /// The call is carried out, but the answer is this JSON-RPC error.
    ErrorAfter {
        /// Error code.
        code: i64,
        /// Error text.
        message: String,
    },
    /// The answer of an `eth_sendRawTransaction` is its hash, but the transaction goes nowhere. Other methods are not touched.
    DropBroadcast,
}

/// The rules in force, the first matching one counts.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<FaultRule>,
}

impl Faults {
    pub(crate) fn add(&mut self, rule: FaultRule) {
        self.rules.push(rule);
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The fault for this call, if any; counts the call.
    pub(crate) fn take(&mut self, method: &str) -> Option<Fault> {
        if method.starts_with("windlass_") {
            return None;
        }
        for index in 0..self.rules.len() {
            let rule = self.rules.get_mut(index)?;
            if rule.method != "*" && rule.method != method {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            let fault = rule.fault.clone();
            if let Some(times) = &mut rule.times {
                *times = times.saturating_sub(1);
                if *times == 0 {
                    self.rules.remove(index);
                }
            }
            return Some(fault);
        }
        None
    }

    /// Answers `windlass_*` methods.
    pub(crate) fn answer(&mut self, method: &str, params: &mut Params) -> Option<Outcome> {
        Some(match method {
            "windlass_injectFault" => params.required::<FaultRule>(0).and_then(|rule| {
                if rule.times == Some(0) {
                    return Err(JsonRpcError::invalid_params("times must be at least 1"));
                }
                self.add(rule);
                reply(&true)
            }),
            "windlass_clearFaults" => {
                self.clear();
                reply(&true)
            }
            "windlass_faults" => reply(&self.rules),
            _ => return None,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rule_hits_the_calls_it_names() {
        let mut faults = Faults::default();
        let rule = json!({ "method": "eth_call", "times": 2, "skip": 1, "fault": { "kind": "delay", "milliseconds": 5 } });
        faults.add(serde_json::from_value(rule).unwrap());
        let delay = Some(Fault::Delay { milliseconds: 5 });
        let seen: Vec<_> = (0..4).map(|_| faults.take("eth_call")).collect();
        assert_eq!(seen, [None, delay.clone(), delay, None]);
        assert!(faults.is_empty());
    }

    #[test]
    fn the_star_spares_the_controls() {
        let mut faults = Faults::default();
        faults.add(serde_json::from_value(json!({ "method": "*", "fault": { "kind": "loseAnswer" } })).unwrap());
        assert_eq!(faults.take("windlass_clearFaults"), None);
        assert_eq!(faults.take("eth_chainId"), Some(Fault::LoseAnswer));
        assert_eq!(faults.take("evm_mine"), Some(Fault::LoseAnswer));
    }

    #[test]
    fn an_unknown_fault_is_refused() {
        let mut faults = Faults::default();
        let mut params = Params::new(json!([{ "method": "*", "fault": { "kind": "fire" } }])).unwrap();
        assert_eq!(faults.answer("windlass_injectFault", &mut params).unwrap().unwrap_err().code, -32602);
    }
}
