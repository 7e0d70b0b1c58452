//! Requests that were paid for by somebody who does not remember: an earlier life of a relay that has lost its rows, or another relay with
//! the same Band account. They are found by the seed in their calldata, and used instead of paying again.

use std::collections::HashMap;

use alloy_primitives::B256;
use windlass_store::UnixMillis;

use super::relay::Relay;
use super::task::{Request, State, TaskKey};
use super::{FoundRequest, later};

/// Whether such requests were looked for. Nothing is requested before that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// Not needed, or done.
    Done,
    /// To be asked, not before this moment.
    Wanted(Option<UnixMillis>),
    /// Under way.
    Asked,
    /// Under way, and to be asked once more: something happened meanwhile.
    AskedAgain,
}

impl Relay {
    /// Somebody else pays with this account: whether for the same tasks, the chain tells.
    pub(super) fn find_again(&mut self) {
        self.finding = match self.finding {
            Finding::Asked | Finding::AskedAgain => Finding::AskedAgain,
            Finding::Done | Finding::Wanted(_) => Finding::Wanted(None),
        };
    }

    pub(super) fn requests_found(&mut self, now: UnixMillis, result: Result<Vec<FoundRequest>, String>) {
        let Ok(found) = result else {
            self.finding = Finding::Wanted(Some(later(now, 5_000)));
            return;
        };
        self.finding = if self.finding == Finding::AskedAgain { Finding::Wanted(None) } else { Finding::Done };
        // The newest first: one that was made after another was made because that one was of no use.
        let mut newest: HashMap<B256, FoundRequest> = HashMap::new();
        for found in found {
            newest.entry(found.seed).or_insert(found);
        }
        self.found = newest;
        let lacking = self.tasks.values().filter(|entry| entry.task.request.is_none() && entry.task.state <= State::Confirmed);
        let keys: Vec<TaskKey> = lacking.map(|entry| entry.task.key()).collect();
        for key in keys {
            if let Some(found) = self.found.remove(&key.seed) {
                self.adopt(now, key, found.request);
            }
        }
    }

    /// Uses a request that somebody paid for, unless it turned out to be of no use before.
    pub(super) fn adopt(&mut self, now: UnixMillis, key: TaskKey, request: Request) {
        let Some(asking) = self.asking(key) else { return };
        if asking.useless.is_some_and(|useless| request.id <= useless) {
            return;
        }
        asking.paid_at = Some(now);
        self.by_request.insert(request.id, key);
        let text = format!("Band request {} was paid for it before: it is used", request.id);
        self.change(key, &text, |task| {
            task.request = Some(request);
            task.requests_paid = task.requests_paid.max(1);
            task.state = State::BandIncluded;
        });
        self.expect_results(key);
    }
}
