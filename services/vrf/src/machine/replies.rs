//! What comes of proofs and relay transactions.

use windlass_store::UnixMillis;

use super::classify::{Verdict, verdict};
use super::relay::Relay;
use super::task::{Hold, State, TaskKey};
use super::{ProofOutcome, RelayProgress};

impl Relay {
    pub(super) fn proved(&mut self, now: UnixMillis, key: TaskKey, id: u64, outcome: ProofOutcome) {
        let Some(entry) = self.tasks.get_mut(&key) else { return };
        entry.asking.proving = false;
        let current = entry.task.request.as_ref().is_some_and(|request| request.id == id);
        if !current || !matches!(entry.task.state, State::BandIncluded | State::BandResolved) {
            return;
        }
        match outcome {
            ProofOutcome::Proven { proof, version } => {
                entry.asking.proof = Some(proof);
                let news = entry.task.state == State::BandIncluded || entry.task.hold.is_some();
                if news {
                    self.change(key, &format!("Band request {id} is proven, resolved in block {version}"), |task| {
                        task.state = State::BandResolved;
                        // A consumer that reverts is still to be tried.
                        if !matches!(
                            task.hold,
                            Some(Hold::ConsumerReverts { .. } | Hold::RelayDropped { .. } | Hold::BridgeRefuses { .. })
                        ) {
                            (task.hold, task.failures) = (None, 0);
                        }
                        task.retry_at = None;
                        if let Some(request) = &mut task.request {
                            request.resolved = Some(version);
                        }
                    });
                }
            }
            ProofOutcome::Ended { resolution, version } => self.ended(now, key, id, resolution, version),
            ProofOutcome::NotReady => {}
            ProofOutcome::Unavailable { text } => {
                // One bad answer is no news; after some the operator is told.
                if entry.task.failures >= 3 {
                    self.hold(now, key, Hold::ProofUnavailable { text });
                } else {
                    self.pause(now, key, &format!("no proof: {text}"));
                }
            }
            ProofOutcome::Stale { detail } => {
                self.bridge_wanted = true;
                self.hold(now, key, Hold::ValidatorsStale { detail });
            }
            ProofOutcome::Invalid { reason } => self.hold(now, key, Hold::ProofInvalid { reason }),
            ProofOutcome::Refused { reason } => self.refused(now, key, &reason),
        }
    }

    pub(super) fn simulated(&mut self, now: UnixMillis, key: TaskKey, result: Result<(), Option<String>>) {
        let Some(entry) = self.tasks.get_mut(&key) else { return };
        entry.asking.simulating = false;
        if entry.task.state != State::BandResolved {
            return;
        }
        match result {
            Ok(()) => {
                entry.asking.simulated = true;
                self.change(key, "the relay would succeed now", |task| (task.hold, task.retry_at) = (None, None));
            }
            Err(Some(reason)) => {
                entry.asking.proof = None;
                self.refused(now, key, &reason);
            }
            Err(None) => self.pause(now, key, "the client chain did not answer"),
        }
    }

    /// A relay transaction moved.
    pub(super) fn relayed(&mut self, now: UnixMillis, key: TaskKey, number: u32, progress: RelayProgress) {
        let Some(entry) = self.tasks.get(&key) else { return };
        if entry.task.relays != number || !matches!(entry.task.state, State::Relaying | State::Mined) {
            return;
        }
        let head = self.known.client_head.unwrap_or(0);
        match progress {
            RelayProgress::Pending if entry.task.state == State::Mined => {
                self.complain(key, "a reorganisation took the relay back; it is sent again", |task| {
                    (task.state, task.settled_block) = (State::Relaying, None);
                });
            }
            RelayProgress::Pending => {}
            RelayProgress::Included { block } => {
                if entry.task.state != State::Mined || entry.task.settled_block != Some(block) {
                    self.change(key, &format!("relayed in block {block}"), |task| {
                        (task.state, task.settled_block, task.hold) = (State::Mined, Some(block), None);
                    });
                }
            }
            RelayProgress::Final { block } => {
                self.change(key, "the relay is final", |task| {
                    task.state = State::Resolved;
                    task.settled_block = block.or(task.settled_block).or(Some(head));
                    (task.hold, task.retry_at, task.last_error) = (None, None, None);
                });
            }
            RelayProgress::Reverted { reason } => {
                self.back_to_proof(key, &format!("the relay was refused: {reason}"));
                self.refused(now, key, &reason);
            }
            RelayProgress::Dropped { reason } => {
                self.back_to_proof(key, &format!("the relay was given up: {reason}"));
                self.hold(now, key, Hold::RelayDropped { reason });
            }
        }
    }

    /// The transaction is over without success; the proof stays valid.
    fn back_to_proof(&mut self, key: TaskKey, text: &str) {
        if let Some(asking) = self.asking(key) {
            (asking.proof, asking.simulated, asking.checked_at) = (None, false, None);
            asking.proved_height = None;
        }
        self.complain(key, text, |task| {
            (task.state, task.settled_block) = (State::BandResolved, None);
        });
    }

    /// The contracts refuse, or would.
    fn refused(&mut self, now: UnixMillis, key: TaskKey, reason: &str) {
        match verdict(reason) {
            Verdict::ReadTask => {
                if let Some(asking) = self.asking(key) {
                    (asking.checked_at, asking.proof) = (None, None);
                }
                self.change(key, &format!("the provider says: {reason}"), |task| task.doubtful = true);
                self.pause(now, key, "");
            }
            Verdict::RequestAgain => {
                self.provider_wanted = true;
                self.drop_request(
                    now,
                    key,
                    &format!("the request does not fit the provider: {reason}"),
                    "terms that the provider refuses",
                );
            }
            Verdict::Bridge => {
                self.bridge_wanted = true;
                self.hold(now, key, Hold::BridgeRefuses { reason: reason.to_owned() });
            }
            Verdict::Consumer => self.hold(now, key, Hold::ConsumerReverts { reason: reason.to_owned() }),
        }
    }
}
