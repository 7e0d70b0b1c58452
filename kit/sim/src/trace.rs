//! What happened in a run: the last lines for a human, and a hash over all of them to compare two runs.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// Lines kept for printing.
const KEPT: usize = 200;

/// A record of steps, requests, commits and faults. Clones write to the same record.
///
/// Two runs of one seed must give the same [`Trace::hash`]; so a line may hold nothing that comes from outside of the
/// simulation, such as a path, a port or the time of day.
#[derive(Clone, Default)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    lines: VecDeque<String>,
    count: u64,
    hash: u64,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            lines: VecDeque::with_capacity(KEPT),
            count: 0,
            // Offset basis of 64-bit FNV-1a.
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }
}

impl Trace {
    /// Adds a line.
    pub fn push(&self, line: impl Into<String>) {
        let line = line.into();
        let mut inner = self.inner.lock();
        for byte in line.bytes().chain([b'\n']) {
            inner.hash = (inner.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        inner.count += 1;
        if inner.lines.len() == KEPT {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line);
    }

    /// Hash over all lines since the start.
    pub fn hash(&self) -> u64 {
        self.inner.lock().hash
    }

    /// Number of lines since the start.
    pub fn count(&self) -> u64 {
        self.inner.lock().count
    }

    /// The newest lines, at most `limit`, oldest first.
    pub fn tail(&self, limit: usize) -> Vec<String> {
        let inner = self.inner.lock();
        let skip = inner.lines.len().saturating_sub(limit);
        inner.lines.iter().skip(skip).cloned().collect()
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("count", &self.count()).field("hash", &format_args!("{:016x}", self.hash())).finish()
    }
}
