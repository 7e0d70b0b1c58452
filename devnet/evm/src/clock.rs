//! Block timestamps: the rules of `anvil` for time travel.

use crate::TimeSource;
use crate::error::JsonRpcError;

/// Decides the timestamp of the next block, in unix seconds.
#[derive(Debug)]
pub(crate) struct Clock {
    source: TimeSource,
    /// Added to the time of the source; grows with `evm_increaseTime`.
    offset: i128,
    last: u64,
    next_exact: Option<u64>,
    interval: Option<u64>,
}

impl Clock {
    pub(crate) fn new(source: TimeSource, start: u64) -> Self {
        let mut clock = Self { source, offset: 0, last: start, next_exact: None, interval: None };
        clock.reset(start);
        clock
    }

    /// Sets the clock to `timestamp`, from where it goes on with the source.
    pub(crate) fn reset(&mut self, timestamp: u64) {
        self.last = timestamp;
        self.offset = i128::from(timestamp) - i128::from(self.source.now());
        self.next_exact = None;
    }

    /// Jumps forward; returns the offset to the source in seconds.
    pub(crate) fn increase(&mut self, seconds: u64) -> i64 {
        self.offset = self.offset.saturating_add(i128::from(seconds));
        i64::try_from(self.offset).unwrap_or(i64::MAX)
    }

    pub(crate) fn set_next(&mut self, timestamp: u64) -> Result<(), JsonRpcError> {
        if timestamp < self.last {
            let message = format!("Timestamp error: {timestamp} is lower than previous block's timestamp");
            return Err(JsonRpcError::invalid_params(message));
        }
        self.next_exact = Some(timestamp);
        Ok(())
    }

    /// Seconds between blocks, instead of the source.
    pub(crate) fn set_interval(&mut self, seconds: Option<u64>) -> bool {
        std::mem::replace(&mut self.interval, seconds).is_some()
    }

    /// The timestamp that a block would have which is mined now.
    pub(crate) fn peek(&self) -> u64 {
        self.compute().0
    }

    /// Takes the timestamp for a block.
    pub(crate) fn advance(&mut self) -> u64 {
        let (timestamp, offset) = self.compute();
        self.next_exact = None;
        if let Some(offset) = offset {
            self.offset = offset;
        }
        self.last = timestamp;
        timestamp
    }

    fn compute(&self) -> (u64, Option<i128>) {
        let now = i128::from(self.source.now());
        let wanted = match (self.next_exact, self.interval) {
            (Some(exact), _) => exact,
            (None, Some(interval)) => self.last.saturating_add(interval),
            (None, None) => u64::try_from(now.saturating_add(self.offset)).unwrap_or_default(),
        };
        // Never before the previous block; the same second is allowed.
        let timestamp = if wanted < self.last { self.last.saturating_add(1) } else { wanted };
        (timestamp, self.next_exact.map(|_| i128::from(timestamp) - now))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn time_follows_the_source_and_the_jumps() {
        let now = Arc::new(AtomicU64::new(1_000));
        let mut clock = Clock::new(TimeSource::Manual(now.clone()), 1_000);
        assert_eq!(clock.advance(), 1_000);
        assert_eq!(clock.increase(100), 100);
        assert_eq!(clock.advance(), 1_100);
        clock.set_next(5_000).unwrap();
        assert_eq!(clock.peek(), 5_000);
        assert_eq!(clock.advance(), 5_000);
        now.store(1_010, Ordering::SeqCst);
        assert_eq!(clock.advance(), 5_010);
        assert_eq!(clock.set_next(5_009).unwrap_err().code, -32602);
        clock.set_interval(Some(12));
        assert_eq!(clock.advance(), 5_022);
    }

    #[test]
    fn time_never_runs_backwards() {
        let now = Arc::new(AtomicU64::new(1_000));
        let mut clock = Clock::new(TimeSource::Manual(now.clone()), 1_000);
        now.store(900, Ordering::SeqCst);
        assert_eq!(clock.advance(), 1_001);
        assert_eq!(clock.advance(), 1_002);
    }
}
