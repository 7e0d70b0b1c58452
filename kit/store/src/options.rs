//! How a store is opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::hook::CommitHook;

/// How far a commit must have got before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// On stable storage. Survives a power failure.
    #[default]
    Full,
    /// Handed to the operating system (SQLite) or the server (PostgreSQL). Survives a crash of the program only. For tests.
    Off,
}

/// How a store is opened. `Default` is right for production.
#[derive(Clone)]
pub struct StoreOptions {
    /// Time for lease expiry on SQLite and for time stamps in the store's own tables. Default: the machine's clock.
    pub clock: Arc<dyn Clock>,
    /// Crash injection. Default: none.
    pub hook: Option<Arc<dyn CommitHook>>,
    /// Durability of a commit. Default: [`Synchronous::Full`].
    pub synchronous: Synchronous,
    /// Largest number of connections for reads, opened when needed. Default: 4.
    pub read_connections: u32,
    /// Largest number of jobs in one commit. Default: 512.
    pub group_limit: usize,
    /// Number of jobs that can wait; a caller beyond that waits for a place. Default: 4096.
    pub queue_limit: usize,
    /// Longest time a job may run, so that one that hangs cannot stop all writes; `None` is no limit. Default: 30 s.
    /// Runs on tokio's timer: set it to `None` in a test with paused time.
    pub job_time_limit: Option<Duration>,
    /// How long to wait for a lock of another connection before [`crate::StoreError::Busy`]. Default: 5 s.
    pub busy_time_limit: Duration,
    /// How long the writer and a read try to reach a PostgreSQL server before they answer
    /// [`crate::StoreError::Unavailable`]. Default: 10 s.
    pub connect_time_limit: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            hook: None,
            synchronous: Synchronous::Full,
            read_connections: 4,
            group_limit: 512,
            queue_limit: 4096,
            job_time_limit: Some(Duration::from_secs(30)),
            busy_time_limit: Duration::from_secs(5),
            connect_time_limit: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("hook", &self.hook.is_some())
            .field("synchronous", &self.synchronous)
            .field("read_connections", &self.read_connections)
            .field("group_limit", &self.group_limit)
            .field("queue_limit", &self.queue_limit)
            .field("job_time_limit", &self.job_time_limit)
            .field("busy_time_limit", &self.busy_time_limit)
            .field("connect_time_limit", &self.connect_time_limit)
            .finish_non_exhaustive()
    }
}
