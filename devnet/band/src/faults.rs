//! Faults that a tester asks for, settable while the chain runs.
//!
//! There are two kinds. [`CallRule`]s hit calls on their way through a server: late, refused and lost answers. The other
//! fields of [`Faults`] change what the chain itself does, so they also work without a server.

use std::time::Duration;

/// One rule: what happens to the next calls of a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRule {
    /// `grpc/BroadcastTx`, `rest/proof`, `rpc/commit`, ...; a `*` at the end stands for any rest, so `*` is all calls.
    pub method: String,
    /// How many matching calls pass before the first hit.
    pub skip: u64,
    /// How many calls it hits; `None`: all until the faults are set anew.
    pub times: Option<u64>,
    /// What happens.
    pub fault: CallFault,
}

impl CallRule {
    /// A rule that hits every call of the method.
    pub fn always(method: impl Into<String>, fault: CallFault) -> Self {
        Self { method: method.into(), skip: 0, times: None, fault }
    }

    /// A rule that hits the next calls of the method.
    pub fn next(times: u64, method: impl Into<String>, fault: CallFault) -> Self {
        Self { method: method.into(), skip: 0, times: Some(times), fault }
    }

    fn matches(&self, method: &str) -> bool {
        match self.method.strip_suffix('*') {
            Some(begin) => method.starts_with(begin),
            None => self.method == method,
        }
    }
}

/// What goes wrong with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFault {
    /// Late, but right.
    Delay(Duration),
    /// Not carried out: gRPC UNAVAILABLE, HTTP 503.
    Unavailable,
    /// Not carried out: gRPC RESOURCE_EXHAUSTED, HTTP 429 with `Retry-After` in seconds.
    RateLimited {
        /// Seconds to wait.
        retry_after_seconds: u64,
    },
    /// Not carried out: gRPC UNKNOWN, HTTP 500, with this text.
    Unknown(String),
    /// Carried out, but the answer is gRPC UNAVAILABLE, HTTP 503.
    LoseAnswer,
}

/// What goes wrong. The default is nothing. Counters count down as they hit; `u64::MAX` never ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// Late, refused and lost answers; the first rule that matches counts.
    pub calls: Vec<CallRule>,
    /// So many broadcasts are answered with code 0, but the transaction goes nowhere.
    pub lose_broadcasts: u64,
    /// So many transactions that would be in the next blocks vanish from the mempool instead.
    pub drop_from_mempool: u64,
    /// Transactions that arrive now wait so many more blocks.
    pub delay_inclusion_blocks: u64,
    /// So many broadcasts are answered with code 32, as by a node that is one transaction behind.
    pub sequence_errors: u64,
    /// Broadcasts are answered with code 20.
    pub mempool_full: bool,
    /// A transaction is not found by hash or event until so many blocks after its own.
    pub index_lag_blocks: u64,
    /// So many of the next requests end as FAILURE.
    pub fail_requests: u64,
    /// So many of the next requests end as EXPIRED.
    pub expire_requests: u64,
    /// Share of requests that end as FAILURE, 0 to 1; the chain's seed decides for each.
    pub fail_probability: f64,
    /// Share of requests that end as EXPIRED, 0 to 1; the chain's seed decides for each.
    pub expire_probability: f64,
    /// States below this height are gone: no proof can be made with a header below this height plus one.
    pub pruned_below: u64,
    /// So many bytes are cut from the end of each proof's bytes.
    pub truncate_proof_bytes: usize,
    /// The vote prefix of served proofs names the next round, which nobody signed.
    pub wrong_round: bool,
    /// So many validators, the strongest first, do not sign the blocks that are made now.
    pub absent_validators: usize,
    /// No blocks are made.
    pub halted: bool,
    /// From this height on the state has the layout v3.
    pub upgrade_to_v3_at: Option<u64>,
}

impl Faults {
    /// No faults.
    pub fn none() -> Self {
        Self::default()
    }

    /// With one more rule for calls.
    #[must_use]
    pub fn with_call(mut self, rule: CallRule) -> Self {
        self.calls.push(rule);
        self
    }

    /// The fault for this call, if any; counts the call.
    pub(crate) fn take_call(&mut self, method: &str) -> Option<CallFault> {
        for index in 0..self.calls.len() {
            let rule = self.calls.get_mut(index)?;
            if !rule.matches(method) || rule.times == Some(0) {
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
                    self.calls.remove(index);
                }
            }
            return Some(fault);
        }
        None
    }
}

/// Whether a counted fault hits now; counts down.
pub(crate) fn hit(counter: &mut u64) -> bool {
    match *counter {
        0 => false,
        u64::MAX => true,
        _ => {
            *counter -= 1;
            true
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_hits_the_calls_it_names() {
        let mut rule = CallRule::next(2, "grpc/Proof", CallFault::Unavailable);
        rule.skip = 1;
        let mut faults = Faults::none().with_call(rule);
        assert_eq!(faults.take_call("grpc/GetTx"), None);
        let seen: Vec<_> = (0..4).map(|_| faults.take_call("grpc/Proof")).collect();
        assert_eq!(seen, [None, Some(CallFault::Unavailable), Some(CallFault::Unavailable), None]);
        assert_eq!(faults, Faults::none());
    }

    #[test]
    fn a_star_stands_for_the_rest() {
        let mut faults = Faults::none().with_call(CallRule::always("rpc/*", CallFault::LoseAnswer));
        assert_eq!(faults.take_call("rpc/commit"), Some(CallFault::LoseAnswer));
        assert_eq!(faults.take_call("rest/proof"), None);
        let mut all = Faults::none().with_call(CallRule::always("*", CallFault::Unknown("x".to_owned())));
        assert!(all.take_call("rest/proof").is_some());
    }

    #[test]
    fn counters_end_unless_they_are_endless() {
        let (mut two, mut endless) = (2, u64::MAX);
        assert_eq!([hit(&mut two), hit(&mut two), hit(&mut two)], [true, true, false]);
        assert!(hit(&mut endless) && endless == u64::MAX);
    }
}
