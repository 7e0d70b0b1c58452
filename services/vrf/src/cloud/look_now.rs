//! One cycle of the relay that runs by itself: look now, and wait until nothing more can be done now.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Cycle, CycleReport};
use crate::machine::{Command, State};
use crate::shared::{Picture, Shared};

/// Between two looks at the relay.
const LOOK: Duration = Duration::from_millis(50);
/// How long what is in the way may be in the way before the cycle has failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks the running relay to look.
#[derive(Debug)]
pub struct LookNow {
    shared: Arc<Shared>,
}

impl LookNow {
    /// Asks the relay behind `shared`.
    pub const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// Whether everything that can be done now was done: all numbers are read, and what is unfinished is held or only has to become deeper.
fn is_done(picture: &Picture) -> bool {
    let read = picture.next_nonce.zip(picture.task_nonce).is_some_and(|(next, count)| next >= count);
    let held: u64 = picture.holds.values().sum();
    let deepening = picture.states.get(&State::Mined).copied().unwrap_or(0);
    read && picture.live() <= held.saturating_add(deepening)
}

#[async_trait]
impl Cycle for LookNow {
    async fn run_once(&self) -> Result<CycleReport, String> {
        const ELSEWHERE: &str = "the relay does not run here: another instance acts, or it is starting";
        let before = self.shared.picture().ok_or(ELSEWHERE)?;
        if !self.shared.send(Command::Recheck) {
            return Err(ELSEWHERE.to_owned());
        }
        let begun = tokio::time::Instant::now();
        let mut seen_after = false;
        loop {
            tokio::time::sleep(LOOK).await;
            let picture = self.shared.picture().ok_or(ELSEWHERE)?;
            // Two newer pictures: the first may have been taken before the command was.
            let newer = picture.at_ms > before.at_ms && begun.elapsed() >= LOOK * 5;
            seen_after |= newer;
            if let Some(obstacle) = picture.obstacles.first() {
                if begun.elapsed() >= PATIENCE {
                    return Err(obstacle.clone());
                }
            } else if seen_after && is_done(&picture) {
                return Ok(report(&before, &picture));
            }
        }
    }
}

fn report(before: &Picture, after: &Picture) -> CycleReport {
    let count = |picture: &Picture, wanted: fn(State) -> bool| -> u64 {
        picture.states.iter().filter(|(state, _)| wanted(**state)).map(|(_, count)| count).sum()
    };
    let held: u64 = after.holds.values().sum();
    let nonces = |picture: &Picture| picture.next_nonce.unwrap_or(0);
    CycleReport {
        block: after.client_head.unwrap_or(0),
        found: nonces(after).saturating_sub(nonces(before)),
        requested: after.band_sequence.unwrap_or(0).saturating_sub(before.band_sequence.unwrap_or(0)),
        relayed: count(after, |state| matches!(state, State::Mined | State::Resolved)),
        waiting: after.live().saturating_sub(held),
        held,
    }
}
