//! What one channel says and when: never the same twice, never too much at once, and not lost on the first failure.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::channel::{Channel, Failure, Message};
use super::{ActiveAlert, AlertId, Notice};
use crate::metrics;
use crate::supervisor::Backoff;

/// Conditions whose message waits. Over it, messages are counted and not sent.
const MAX_WAITING: usize = 100;
/// Tries per message.
const MAX_TRIES: u32 = 10;
/// Time for the last messages when the node stops.
const FLUSH: Duration = Duration::from_secs(3);

/// Sends the notices of one channel.
pub(crate) struct Worker {
    channel: Channel,
    outbox: Outgoing,
    notices: mpsc::Receiver<Notice>,
}

impl Worker {
    /// `told`: what the channel was told before the start, and since when it lasts.
    pub(crate) fn new(channel: Channel, notices: mpsc::Receiver<Notice>, told: &[ActiveAlert]) -> Self {
        let mut outbox = Outgoing::new(&channel);
        outbox.seed(told);
        Self { channel, outbox, notices }
    }

    /// Sends until `shutdown`; then gives what still waits one last try.
    pub(crate) async fn run(&mut self, shutdown: CancellationToken) {
        loop {
            let due = self.outbox.due(Instant::now());
            let wait = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                notice = self.notices.recv() => match notice {
                    Some(notice) => self.outbox.add(notice),
                    None => break,
                },
                () = wait => {
                    if let Some(message) = self.outbox.take(Instant::now()) {
                        // A stop does not wait for a slow server; the message gets its last try below.
                        tokio::select! {
                            result = self.channel.send(&message) => self.done(message, result),
                            () = shutdown.cancelled() => self.outbox.put_back(message),
                        }
                    }
                }
            }
        }
        while let Ok(notice) = self.notices.try_recv() {
            self.outbox.add(notice);
        }
        let flush = async {
            while let Some(message) = self.outbox.take_any() {
                let sent = self.channel.send(&message).await.is_ok();
                metrics::alert(&self.channel.name, if sent { "sent" } else { "failed" });
            }
        };
        if tokio::time::timeout(FLUSH, flush).await.is_err() {
            tracing::warn!(channel = %self.channel.name, "not all alerts could be sent before the stop");
        }
    }

    fn done(&mut self, message: Message, result: Result<(), Failure>) {
        let name = &self.channel.name;
        match result {
            Ok(()) => {
                metrics::alert(name, "sent");
                self.outbox.sent(&message, Instant::now());
            }
            Err(Failure::Permanent { problem }) => {
                metrics::alert(name, "failed");
                tracing::error!(channel = %name, problem, "an alert cannot be delivered; check url and token of the channel");
                self.outbox.given_up();
            }
            Err(Failure::Transient { problem, retry_after }) => {
                let again = self.outbox.failed(message, retry_after, Instant::now());
                if again {
                    tracing::warn!(channel = %name, problem, "an alert was not delivered, will be tried again");
                } else {
                    metrics::alert(name, "failed");
                    tracing::error!(channel = %name, problem, "an alert was given up after many tries");
                }
            }
        }
    }
}

/// What waits, what was told, and when the next message may go. Pure: time is given.
struct Outgoing {
    name: String,
    min_severity: super::Severity,
    repeat_after: Duration,
    /// Time that each message uses up of its minute.
    interval: Duration,
    burst: u32,
    waiting: VecDeque<Notice>,
    told: BTreeMap<AlertId, (ActiveAlert, Instant)>,
    dropped: u64,
    tries: u32,
    backoff: Backoff,
    /// Not before, because of a failure.
    paused_until: Option<Instant>,
    /// When the budget of messages would be whole again.
    budget_full_at: Option<Instant>,
}

impl Outgoing {
    fn new(channel: &Channel) -> Self {
        let per_minute = channel.per_minute.max(1);
        Self {
            name: channel.name.clone(),
            min_severity: channel.min_severity,
            repeat_after: channel.repeat_after,
            interval: Duration::from_secs(60) / per_minute,
            burst: per_minute,
            waiting: VecDeque::new(),
            told: BTreeMap::new(),
            dropped: 0,
            tries: 0,
            backoff: Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(60), ..Backoff::default() },
            paused_until: None,
            budget_full_at: None,
        }
    }

    fn seed(&mut self, told: &[ActiveAlert]) {
        let now = Instant::now();
        let heard = told.iter().filter(|active| active.alert.severity >= self.min_severity);
        self.told.extend(heard.map(|active| (active.alert.id(), (active.clone(), now))));
    }

    /// Takes a notice. One per condition waits: the latest.
    fn add(&mut self, notice: Notice) {
        let id = notice.alert().alert.id();
        let was_waiting = self.waiting.iter().position(|waiting| waiting.alert().alert.id() == id);
        let known = self.told.contains_key(&id);
        match &notice {
            Notice::Raised(active) if active.alert.severity < self.min_severity => return,
            Notice::Resolved(_) if !known => {
                // Nobody heard of it: it need not be told that it is over.
                if let Some(index) = was_waiting {
                    self.waiting.remove(index);
                }
                metrics::alert(&self.name, "suppressed");
                return;
            }
            _ => {}
        }
        let full = self.waiting.len() >= MAX_WAITING;
        if let Some(old) = was_waiting.and_then(|index| self.waiting.get_mut(index)) {
            // Raised again before its end was told: it never ended as far as the reader is concerned.
            *old = notice;
        } else if full {
            self.dropped = self.dropped.saturating_add(1);
            metrics::alert(&self.name, "dropped");
        } else {
            self.waiting.push_back(notice);
        }
    }

    /// When [`take`](Self::take) will have something, if at all.
    fn due(&self, now: Instant) -> Option<Instant> {
        let repeat = self.told.values().map(|(_, at)| *at + self.repeat_after).min();
        let wanted = if self.waiting.is_empty() { repeat? } else { now };
        let budget = self.budget_full_at.map(|full| full.checked_sub(self.interval * (self.burst - 1)).unwrap_or(now));
        [Some(wanted), self.paused_until, budget].into_iter().flatten().max()
    }

    /// The next message, if one may go now.
    fn take(&mut self, now: Instant) -> Option<Message> {
        if self.due(now)? > now {
            return None;
        }
        let message = match self.waiting.pop_front() {
            Some(notice) => Message { notice, repeated: false, dropped: self.dropped },
            None => {
                let (active, _) = self.told.values().find(|(_, at)| *at + self.repeat_after <= now)?;
                Message { notice: Notice::Raised(active.clone()), repeated: true, dropped: self.dropped }
            }
        };
        Some(message)
    }

    /// The next message whatever the limits say.
    fn take_any(&mut self) -> Option<Message> {
        let notice = self.waiting.pop_front()?;
        Some(Message { notice, repeated: false, dropped: self.dropped })
    }

    fn sent(&mut self, message: &Message, now: Instant) {
        self.dropped = self.dropped.saturating_sub(message.dropped);
        self.given_up();
        self.budget_full_at = Some(self.budget_full_at.map_or(now, |full| full.max(now)) + self.interval);
        let active = message.notice.alert();
        match message.notice {
            Notice::Raised(_) => self.told.insert(active.alert.id(), (active.clone(), now)),
            Notice::Resolved(_) => self.told.remove(&active.alert.id()),
        };
    }

    /// The message will not be tried again.
    fn given_up(&mut self) {
        self.tries = 0;
        self.paused_until = None;
    }

    /// Whether the message will be tried again.
    fn failed(&mut self, message: Message, retry_after: Option<Duration>, now: Instant) -> bool {
        self.tries = self.tries.saturating_add(1);
        let again = self.tries < MAX_TRIES;
        let pause = self.backoff.pause(self.tries);
        let pause = retry_after.map_or(pause, |least| pause.max(least.min(Duration::from_secs(600))));
        if again {
            self.put_back(message);
        } else {
            self.tries = 0;
        }
        // Also after giving up: the other side is in trouble, the next message should not hit it at once.
        self.paused_until = Some(now + pause);
        again
    }

    /// Back to the front, unless a newer notice on the same condition came meanwhile.
    fn put_back(&mut self, message: Message) {
        let id = message.notice.alert().alert.id();
        let newer = self.waiting.iter().any(|waiting| waiting.alert().alert.id() == id);
        if !newer && !message.repeated {
            self.waiting.push_front(message.notice);
        }
    }
}

#[cfg(test)]
mod tests;
