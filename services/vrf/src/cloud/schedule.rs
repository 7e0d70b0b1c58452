//! When the next call of the queue is due, and when it must be asked for again. Pure.
//!
//! Each cycle makes the task that calls the next one. If that fails, or if a task is lost, nobody would ever call again; so a task that
//! does not arrive is replaced. A replaced task may arrive all the same. Then there are two, and each would make a next one for ever:
//! so a call that arrives while another is outstanding makes none.

use std::time::Duration;

use windlass_store::UnixMillis;

/// How far the clocks of queue and relay may lie apart, if the delay between calls is long enough to tell calls from each other.
const CLOCKS: Duration = Duration::from_secs(2);
/// Longest pause between two replacements.
const LONGEST: Duration = Duration::from_secs(86_400);

/// What is known of the calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    heal_after: Duration,
    /// A call that comes so long before its time is still the one that is waited for.
    slack: Duration,
    /// When the task that was made last is due, while it has not arrived.
    outstanding: Option<UnixMillis>,
    /// The last time that something was known to be right: the start, or the end of a cycle.
    since: UnixMillis,
    /// Replacements in a row that brought nothing.
    healed: u32,
}

impl Schedule {
    /// A schedule that begins now, with `delay` from one call to the next. `outstanding` is when a task is due that was made before, if
    /// one is known.
    pub fn new(heal_after: Duration, delay: Duration, outstanding: Option<UnixMillis>, now: UnixMillis) -> Self {
        Self { heal_after, slack: CLOCKS.min(delay / 2), outstanding, since: now, healed: 0 }
    }

    /// When the task that is waited for is due.
    pub fn outstanding(&self) -> Option<UnixMillis> {
        self.outstanding
    }

    /// A call has come.
    pub fn arrived(&mut self, now: UnixMillis) {
        self.healed = 0;
        self.since = now;
        // A queue never calls before the time: an earlier call is another one, and the task is still to come.
        if self.outstanding.is_some_and(|due| due <= now.saturating_add(self.slack)) {
            self.outstanding = None;
        }
    }

    /// Whether the cycle that ends now must make the next task.
    pub fn wants_next(&self) -> bool {
        self.outstanding.is_none()
    }

    /// A cycle has ended.
    pub fn ended(&mut self, now: UnixMillis) {
        self.since = self.since.max(now);
    }

    /// The next task was made.
    pub fn made(&mut self, due: UnixMillis) {
        self.outstanding = Some(due);
    }

    /// When the task that is waited for counts as lost.
    pub fn lost_at(&self) -> UnixMillis {
        let expected = self.outstanding.map_or(self.since, |due| due.max(self.since));
        let patience = self.heal_after.saturating_mul(1 << self.healed.min(16)).min(LONGEST.max(self.heal_after));
        expected.saturating_add(patience)
    }

    /// Whether it counts as lost now.
    pub fn is_lost(&self, now: UnixMillis) -> bool {
        now >= self.lost_at()
    }

    /// A replacement was made, or tried: `due` is `None` if that failed.
    pub fn healed(&mut self, now: UnixMillis, due: Option<UnixMillis>) {
        self.since = now;
        // After a failure the next try is as soon as the first one was.
        if let Some(due) = due {
            self.healed = self.healed.saturating_add(1);
            self.outstanding = Some(due);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAL: Duration = Duration::from_secs(300);
    const DELAY: Duration = Duration::from_secs(10);

    fn at(seconds: i64) -> UnixMillis {
        UnixMillis(seconds.saturating_mul(1_000))
    }

    #[test]
    fn each_call_makes_the_next() {
        let mut schedule = Schedule::new(HEAL, DELAY, None, at(0));
        schedule.arrived(at(10));
        assert!(schedule.wants_next());
        schedule.made(at(20));
        schedule.ended(at(15));
        assert!(!schedule.is_lost(at(20)) && !schedule.is_lost(at(319)) && schedule.is_lost(at(320)));
        schedule.arrived(at(21));
        assert!(schedule.wants_next());
    }

    #[test]
    fn a_call_too_many_makes_no_next_one() {
        let mut schedule = Schedule::new(HEAL, DELAY, None, at(0));
        schedule.arrived(at(10));
        schedule.made(at(20));
        schedule.arrived(at(12));
        assert!(!schedule.wants_next(), "the task for 20 is still to come");
        schedule.arrived(at(18));
        assert!(schedule.wants_next(), "the clock of the queue is two seconds ahead");
    }

    #[test]
    fn a_lost_task_is_replaced_ever_more_seldom() {
        let mut schedule = Schedule::new(HEAL, DELAY, Some(at(5)), at(100));
        assert_eq!(schedule.lost_at(), at(400));
        schedule.healed(at(400), None);
        assert_eq!(schedule.lost_at(), at(700), "a failed try is repeated");
        schedule.healed(at(700), Some(at(700)));
        assert_eq!(schedule.lost_at(), at(1_300));
        schedule.healed(at(1_300), Some(at(1_300)));
        assert_eq!(schedule.lost_at(), at(2_500));
        for _ in 0..40 {
            let now = schedule.lost_at();
            schedule.healed(now, Some(now));
        }
        let last = schedule.lost_at();
        schedule.healed(last, Some(last));
        assert_eq!(schedule.lost_at(), last.saturating_add(LONGEST));
        schedule.arrived(last);
        schedule.made(last);
        assert_eq!(schedule.lost_at(), last.saturating_add(HEAL), "a call that comes ends the pauses");
    }

    proptest! {
        /// Whatever calls come and whichever tasks are lost: at any time one task is outstanding or will be made.
        #[test]
        fn there_is_always_a_next_call(steps in prop::collection::vec((0_u8..4, 0_i64..1_000), 1..60)) {
            let mut now = 0;
            let mut schedule = Schedule::new(HEAL, DELAY, None, at(0));
            for (kind, seconds) in steps {
                now += seconds;
                match kind {
                    0 => {
                        schedule.arrived(at(now));
                        if schedule.wants_next() {
                            schedule.made(at(now + 5));
                        }
                    }
                    // A cycle whose next task cannot be made.
                    1 => schedule.arrived(at(now)),
                    2 if schedule.is_lost(at(now)) => schedule.healed(at(now), Some(at(now))),
                    _ if schedule.is_lost(at(now)) => schedule.healed(at(now), None),
                    _ => schedule.ended(at(now)),
                }
                prop_assert!(schedule.lost_at() > at(now) || schedule.is_lost(at(now)));
                prop_assert!(schedule.lost_at().saturating_since(at(now)) <= LONGEST + Duration::from_secs(5));
            }
        }
    }
}
