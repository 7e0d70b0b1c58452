//! The loop around the rounds: woken by commits, by new heads, and by timers as the last resort.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use windlass_store::lease;

use crate::error::OutboxError;
use crate::model::TurnReport;
use crate::outbox::Outbox;
use crate::turn::{Eyes, Looking};

/// What ended the pause between two rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// An intent was recorded, or an operator acted.
    Commit,
    /// A new head was announced, or it is time to look.
    Chain,
    /// The look is there.
    Looked,
    /// The program ends.
    Shutdown,
}

impl Outbox {
    /// Acts for the account until `shutdown`, as long as this instance holds the lease; stands by otherwise.
    ///
    /// Failures of endpoints and of the database are retried with growing pauses. Nothing is lost by ending at any moment.
    ///
    /// # Errors
    /// What cannot heal by itself: a broken invariant, a signer with the wrong key, a store that has ended.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), OutboxError> {
        let result = self.run_until(&shutdown).await;
        let mut memory = self.inner.memory.lock().await;
        if let Some(lease) = memory.lease.take()
            && let Err(error) = lease::release(&self.inner.store, lease).await
        {
            tracing::debug!(%error, "the lease was not released; it expires by itself");
        }
        result
    }

    async fn run_until(&self, shutdown: &CancellationToken) -> Result<(), OutboxError> {
        let inner = &self.inner;
        let config = &inner.config;
        let mut heads = inner.chain.endpoints.head_signal();
        let mut failures = 0u32;
        let mut next_look = Instant::now();
        let mut poll = config.head_poll_min;
        let mut looking: Option<Looking> = None;
        let mut looked = None;
        loop {
            let woken = tokio::select! {
                biased;
                () = shutdown.cancelled() => Woken::Shutdown,
                result = result_of(&mut looking) => {
                    looked = result;
                    Woken::Looked
                }
                () = tokio::time::sleep_until(next_look), if looking.is_none() => Woken::Chain,
                // After a failure the pause is kept: a busy caller must not turn it into a storm.
                () = inner.wake.notified(), if failures == 0 => Woken::Commit,
                () = changed(&mut heads), if failures == 0 && looking.is_none() => Woken::Chain,
            };
            let eyes = match woken {
                Woken::Shutdown => return Ok(()),
                // The chain is looked at beside the rounds: an intent that is recorded meanwhile is sent with what was seen last.
                Woken::Chain => {
                    looking = inner.start_look().await;
                    if looking.is_some() {
                        continue;
                    }
                    Eyes::Open
                }
                Woken::Commit => Eyes::Closed,
                Woken::Looked => {
                    looking = None;
                    match looked.take() {
                        Some(Ok(look)) => Eyes::Looked(Box::new(look)),
                        // The round asks again, and reports what is wrong.
                        Some(Err(_)) | None => Eyes::Open,
                    }
                }
            };
            let fresh = woken != Woken::Commit;
            match inner.round(inner.store.clock().now(), eyes).await {
                Ok(report) => {
                    failures = 0;
                    // After a broadcast or a new block the next head may be near: look soon, then less and less often.
                    let lively = report.broadcast > 0 || report.included > 0;
                    poll = if lively { config.head_poll_min } else { (poll * 2).min(config.head_poll) };
                    let due = Instant::now() + self.pause_after(&report, poll);
                    next_look = if fresh { due } else { next_look.min(due) };
                }
                Err(error) if is_fatal(&error) => return Err(error),
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let pause = crate::machine::backoff(config, failures);
                    next_look = Instant::now() + pause;
                    tracing::warn!(chain = %config.chain, account = %self.account(), %error, pause_ms = pause.as_millis() as u64, "round failed");
                }
            }
        }
    }

    fn pause_after(&self, report: &TurnReport, poll: Duration) -> Duration {
        let config = &self.inner.config;
        let longest = config.lease_ttl / 3;
        if report.again {
            Duration::ZERO
        } else if report.standby {
            longest.min(Duration::from_secs(1))
        } else if report.in_flight > 0 {
            poll.min(longest)
        } else if report.held > 0 {
            config.head_poll.min(longest)
        } else {
            config.idle_poll.min(longest)
        }
    }
}

async fn result_of(looking: &mut Option<Looking>) -> Option<Result<crate::observe::Look, windlass_chain::ChainError>> {
    match looking {
        Some(looking) => looking.result().await,
        None => std::future::pending().await,
    }
}

async fn changed(heads: &mut Option<windlass_chain::HeadSignal>) {
    match heads {
        Some(heads) => heads.changed().await,
        None => std::future::pending().await,
    }
}

fn is_fatal(error: &OutboxError) -> bool {
    match error {
        OutboxError::Invariant { .. } | OutboxError::WrongSigner { .. } | OutboxError::Config { .. } | OutboxError::Closed => {
            true
        }
        OutboxError::Store(error) => !error.is_transient(),
        _ => false,
    }
}
