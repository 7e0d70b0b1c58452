//! Which task numbers are read next, beside the events.

use std::collections::BTreeSet;
use std::ops::Range;

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

use super::task::ChainTask;

/// Numbers that are read together at the most.
const AT_ONCE: u64 = 500;

/// Reads every task number exactly once, whatever is down in between.
///
/// The provider counts its tasks; everything from `next` to below that count has not been looked at. A count that falls (a
/// reorganisation) makes the fallen numbers unread again: other tasks will take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// The first number that was not looked at.
    pub next: u64,
}

impl Scan {
    /// Where a relay without memory begins: at `start_nonce`, but at most `look_back` tasks back when there is such a limit (section 3.2:
    /// `max(taskNonce - 100, start_nonce)`).
    pub fn begin(task_nonce: u64, start_nonce: u64, look_back: Option<u64>) -> Self {
        let back = look_back.map_or(0, |span| task_nonce.saturating_sub(span));
        Self { next: back.max(start_nonce) }
    }

    /// What to read next now that the provider has `task_nonce` tasks: a bounded part, since a node may claim any number.
    pub const fn unread(&self, task_nonce: u64) -> Option<Range<u64>> {
        if task_nonce <= self.next {
            return None;
        }
        let end = self.next.saturating_add(AT_ONCE);
        Some(self.next..if task_nonce < end { task_nonce } else { end })
    }

    /// Those numbers were read.
    pub const fn read(&mut self, range: &Range<u64>) {
        if range.start <= self.next && range.end > self.next {
            self.next = range.end;
        }
    }

    /// The provider has fewer tasks than were read: those above are new when they come.
    pub const fn fell_to(&mut self, task_nonce: u64, floor: u64) {
        if task_nonce < self.next {
            self.next = if task_nonce > floor { task_nonce } else { floor };
        }
    }
}

/// Whether a task is to be relayed at all: asked by a caller of the list, and not answered. Addresses are compared as 20 bytes, whatever
/// their spelling was, and the zero address (what a lens answers for an unknown number) is never wanted.
pub fn is_wanted(task: &ChainTask, callers: &BTreeSet<Address>) -> bool {
    !task.is_resolved && is_listed(task, callers)
}

/// Whether the caller of a task is served.
pub fn is_listed(task: &ChainTask, callers: &BTreeSet<Address>) -> bool {
    !task.caller.is_zero() && callers.contains(&task.caller)
}
