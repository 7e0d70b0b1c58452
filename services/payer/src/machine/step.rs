//! The transition function.

use windlass_store::clock::UnixMillis;

use super::judge::{examine, paid_until_s, standing};
use super::{
    Action, ActionKind, ActionOutcome, ActionStatus, Agreement, BlockPoint, CannotTell, Command, Effect, Event, Observation,
    Phase, Policy, Record, Seen, Standing, Target, Unknown, UnpaidRun, Verdict,
};

/// What one step wants written down and done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// Facts for the history, to be committed together with the state.
    pub records: Vec<Record>,
    /// Work for after the commit.
    pub effects: Vec<Effect>,
}

/// `at` plus whole seconds, without overflow.
fn after(at: UnixMillis, seconds: u64) -> UnixMillis {
    let millis = i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX);
    UnixMillis(at.0.saturating_add(millis))
}

/// Whole seconds from `from` to `to`; 0 when `to` is earlier.
fn seconds_between(from: UnixMillis, to: UnixMillis) -> u64 {
    u64::try_from(to.0.saturating_sub(from.0) / 1_000).unwrap_or(0)
}

impl Agreement {
    /// Takes one event at clock time `now`. The caller commits the state and the records, then does the effects.
    pub fn step(&mut self, now: UnixMillis, policy: &Policy, event: Event) -> Output {
        let mut out = Output::default();
        match event {
            Event::Started => self.on_started(now, policy, &mut out),
            Event::Observed(observation) => self.on_observed(now, policy, *observation, &mut out),
            Event::CannotTell(cause) => self.on_cannot_tell(now, policy, cause, &mut out),
            Event::Removed(blocks) => self.on_removed(now, policy, &blocks, &mut out),
            Event::ActionDone { id, attempt, outcome } => {
                self.on_action_done(now, policy, (id, attempt), outcome, &mut out);
            }
            Event::TargetSeen { running } => self.on_target_seen(now, policy, running, &mut out),
            Event::Timer => self.on_timer(now, policy, &mut out),
            Event::Command(Command::Recheck) => self.ask(now, policy, &mut out),
            Event::Command(Command::RetryNow) => self.retry(now, &mut out),
        }
        out
    }

    /// When the machine wants [`Event::Timer`]; it may come earlier or later.
    pub fn next_timer(&self, policy: &Policy) -> UnixMillis {
        let mut next = self.observe_at;
        if self.unknown.is_none() {
            next = next.min(self.silent_at(policy));
        }
        if let Some(unknown) = self.unknown.as_ref().filter(|unknown| !unknown.alerted) {
            next = next.min(after(unknown.since, policy.unknown_alert_after_seconds));
        }
        if let Some(Action { status: ActionStatus::Waiting { until }, .. }) = self.action {
            next = next.min(until);
        }
        if self.phase == Some(Phase::Stopped) {
            next = next.min(self.inspect_at);
        }
        next
    }

    /// After a start nothing that was volatile is known to have happened: it is asked for again.
    fn on_started(&mut self, now: UnixMillis, policy: &Policy, out: &mut Output) {
        self.listening_since = now;
        self.ask(now, policy, out);
        let configured = |kind| match kind {
            ActionKind::Stop => policy.can_stop,
            ActionKind::Resume => policy.can_resume,
        };
        match &self.action {
            Some(action) if !configured(action.kind) => {
                out.records.push(Record::ActionWithdrawn {
                    id: action.id,
                    kind: action.kind,
                    reason: "it is no longer configured".into(),
                });
                let left = if action.kind == ActionKind::Stop { Phase::Unpaid } else { Phase::Paid };
                self.action = None;
                self.target = Target::Untouched;
                self.enter(now, left, out);
            }
            Some(Action { id, attempt, kind, status: ActionStatus::Running { .. }, .. }) => {
                out.effects.push(Effect::RunAction { id: *id, attempt: *attempt, kind: *kind });
            }
            _ => {}
        }
    }

    fn on_observed(&mut self, now: UnixMillis, policy: &Policy, observation: Observation, out: &mut Output) {
        if self.is_older_than_known(&observation.block) {
            return;
        }
        let standing = match examine(now, policy, self.seen.as_ref(), &observation) {
            Ok(standing) => standing,
            Err(cause) => return self.on_cannot_tell(now, policy, cause, out),
        };
        self.can_tell_again(now, out);
        self.note_shortfall(&observation, out);
        let block = observation.block;
        self.seen = Some(Seen { observation, at: now, retracted: false });
        self.apply(now, policy, standing, block, out);
        self.observe_at = self.next_observation(now, policy);
    }

    /// A lagging endpoint may answer with a block below the known one: that proves nothing about the present. A block
    /// that took the known one's place does, but then [`Event::Removed`] came first, or its number is not lower.
    fn is_older_than_known(&self, block: &BlockPoint) -> bool {
        self.seen.as_ref().is_some_and(|seen| !seen.retracted && block.number < seen.observation.block.number)
    }

    fn on_cannot_tell(&mut self, now: UnixMillis, policy: &Policy, cause: CannotTell, out: &mut Output) {
        match &mut self.unknown {
            Some(unknown) => unknown.cause = cause,
            None => self.unknown = Some(Unknown { cause, since: now, alerted: false }),
        }
        self.observe_at = after(now, policy.observe_every_seconds.clamp(1, 10));
        self.alert_unknown(now, policy, out);
    }

    fn alert_unknown(&mut self, now: UnixMillis, policy: &Policy, out: &mut Output) {
        if let Some(unknown) = self.unknown.as_mut().filter(|unknown| !unknown.alerted) {
            let seconds = seconds_between(unknown.since, now);
            if seconds >= policy.unknown_alert_after_seconds {
                unknown.alerted = true;
                out.records.push(Record::Unknown { cause: unknown.cause.clone(), seconds });
            }
        }
    }

    fn can_tell_again(&mut self, now: UnixMillis, out: &mut Output) {
        if let Some(unknown) = self.unknown.take().filter(|unknown| unknown.alerted) {
            out.records.push(Record::Known { seconds: seconds_between(unknown.since, now) });
        }
    }

    fn note_shortfall(&mut self, observation: &Observation, out: &mut Output) {
        let short = observation.held < observation.owed;
        if short && !self.shortfall_reported {
            out.records.push(Record::HeldBelowOwed { held: observation.held, owed: observation.owed });
        }
        self.shortfall_reported = short;
    }

    fn on_removed(&mut self, now: UnixMillis, policy: &Policy, blocks: &[BlockPoint], out: &mut Output) {
        let removed = |point: &BlockPoint| blocks.iter().any(|block| block.hash == point.hash);
        let mut oldest = None;
        if let Some(seen) = self.seen.as_mut().filter(|seen| removed(&seen.observation.block)) {
            seen.retracted = true;
            oldest = Some(seen.observation.block.number);
        }
        // One vanished witness makes the whole run doubtful: blocks and seconds are counted anew.
        if let Some(first) = self.unpaid_run.as_ref().filter(|run| run.blocks.iter().any(removed)) {
            oldest = first.blocks.first().map(|block| block.number);
            self.unpaid_run = None;
        }
        if let Some(block) = oldest {
            out.records.push(Record::Retracted { block });
            self.ask(now, policy, out);
        }
    }

    /// Draws the conclusions from where the agreement stands at `block`.
    fn apply(&mut self, now: UnixMillis, policy: &Policy, standing: Standing, block: BlockPoint, out: &mut Output) {
        match standing {
            Standing::NotStarted => self.on_paid(now, policy, Phase::NotStarted, out),
            Standing::Paid { left_seconds } => {
                let phase = self.warn(policy, left_seconds, out);
                self.on_paid(now, policy, phase, out);
            }
            Standing::Lapsed { lapsed_seconds, .. } if lapsed_seconds <= policy.grace_seconds => {
                self.on_grace(now, policy, out);
            }
            Standing::Lapsed { deficit, .. } => self.on_unpaid(now, policy, block, deficit, out),
        }
    }

    /// Warns once for each threshold that the remaining time fell below, the smallest only, and names the phase.
    fn warn(&mut self, policy: &Policy, left_seconds: Option<u64>, out: &mut Output) -> Phase {
        let crossed = left_seconds.and_then(|left| {
            policy.warn_before_seconds.iter().copied().filter(|threshold| left < *threshold).min().map(|low| (low, left))
        });
        if let Some((threshold_seconds, left_seconds)) = crossed
            && self.warned_seconds.is_none_or(|warned| threshold_seconds < warned)
        {
            let paid_until_s = self.paid_until_s().unwrap_or(u64::MAX);
            out.records.push(Record::Expiring { threshold_seconds, left_seconds, paid_until_s });
        }
        self.warned_seconds = crossed.map(|(threshold, _)| threshold);
        if crossed.is_some() { Phase::ExpiringSoon } else { Phase::Paid }
    }

    fn on_paid(&mut self, now: UnixMillis, policy: &Policy, phase: Phase, out: &mut Output) {
        self.unpaid_run = None;
        self.verdict = Some(Verdict::Paid);
        match &self.action {
            // The target is between two states; what is right follows when the attempt has ended.
            Some(Action { status: ActionStatus::Running { .. }, .. }) => return,
            Some(Action { kind: ActionKind::Resume, .. }) => return,
            Some(action) => {
                let (id, kind) = (action.id, action.kind);
                out.records.push(Record::ActionWithdrawn { id, kind, reason: "the agreement is paid again".into() });
                self.action = None;
            }
            None => {}
        }
        if self.target == Target::Untouched {
            return self.enter(now, phase, out);
        }
        if policy.can_resume {
            return self.begin(now, ActionKind::Resume, out);
        }
        self.target = Target::Untouched;
        out.records.push(Record::ResumeLeftToOperator);
        self.enter(now, phase, out);
    }

    /// Within the grace time a running target goes on; a stopped one stays stopped until it is really paid.
    fn on_grace(&mut self, now: UnixMillis, policy: &Policy, out: &mut Output) {
        self.unpaid_run = None;
        let stopping = matches!(self.action, Some(Action { kind: ActionKind::Stop, .. }));
        if stopping || self.target != Target::Untouched {
            return;
        }
        self.warned_seconds = policy.warn_before_seconds.iter().copied().min();
        self.verdict = Some(Verdict::Paid);
        self.enter(now, Phase::Grace, out);
    }

    fn on_unpaid(
        &mut self,
        now: UnixMillis,
        policy: &Policy,
        block: BlockPoint,
        deficit: alloy_primitives::U256,
        out: &mut Output,
    ) {
        self.warned_seconds = policy.warn_before_seconds.iter().copied().min();
        let settled = matches!(self.phase, Some(Phase::Stopping | Phase::Stopped));
        if settled && self.verdict == Some(Verdict::Unpaid) {
            return;
        }
        if !settled && self.phase != Some(Phase::Resuming) {
            self.enter(now, Phase::Unpaid, out);
        }
        if !self.confirmed(now, policy, block) {
            return;
        }
        if self.verdict != Some(Verdict::Unpaid) {
            self.verdict = Some(Verdict::Unpaid);
            out.records.push(Record::UnpaidConfirmed { deficit, block });
        }
        self.stop(now, policy, out);
    }

    /// Adds a witness and says whether there are enough.
    fn confirmed(&mut self, now: UnixMillis, policy: &Policy, block: BlockPoint) -> bool {
        let run = self.unpaid_run.get_or_insert_with(|| UnpaidRun { first_at: now, blocks: Vec::new() });
        let needed = usize::try_from(policy.confirm_blocks.max(1)).unwrap_or(usize::MAX);
        if run.blocks.len() < needed && run.blocks.iter().all(|known| known.hash != block.hash) {
            run.blocks.push(block);
        }
        run.blocks.len() >= needed && now >= after(run.first_at, policy.confirm_seconds)
    }

    /// Stops the target unless that is under way, done or impossible.
    fn stop(&mut self, now: UnixMillis, policy: &Policy, out: &mut Output) {
        match &self.action {
            Some(Action { kind: ActionKind::Stop, .. }) => return,
            Some(Action { status: ActionStatus::Running { .. }, .. }) => return,
            Some(action) => {
                let (id, kind) = (action.id, action.kind);
                out.records.push(Record::ActionWithdrawn { id, kind, reason: "the agreement is unpaid again".into() });
                self.action = None;
            }
            None => {}
        }
        if policy.can_stop {
            self.begin(now, ActionKind::Stop, out);
        } else {
            self.enter(now, Phase::Unpaid, out);
        }
    }

    fn begin(&mut self, now: UnixMillis, kind: ActionKind, out: &mut Output) {
        self.last_action = self.last_action.saturating_add(1);
        let (id, attempt) = (self.last_action, 1);
        self.action = Some(Action { id, kind, attempt, status: ActionStatus::Running { since: now }, last_failure: None });
        if kind == ActionKind::Stop {
            self.target = Target::Touched;
        }
        self.enter(now, if kind == ActionKind::Stop { Phase::Stopping } else { Phase::Resuming }, out);
        out.records.push(Record::ActionStarted { id, attempt, kind });
        out.effects.push(Effect::RunAction { id, attempt, kind });
    }

    fn on_action_done(
        &mut self,
        now: UnixMillis,
        policy: &Policy,
        (id, attempt): (u64, u32),
        outcome: ActionOutcome,
        out: &mut Output,
    ) {
        let Some(action) = self.action.as_mut().filter(|action| {
            action.id == id && action.attempt == attempt && matches!(action.status, ActionStatus::Running { .. })
        }) else {
            return; // the answer of an attempt that was answered before
        };
        let kind = action.kind;
        out.records.push(Record::ActionEnded { id, attempt, kind, outcome: outcome.clone() });
        match outcome {
            ActionOutcome::Failed { detail } => {
                action.last_failure = Some(detail);
                action.status = ActionStatus::Waiting { until: after(now, policy.retry_wait_seconds(attempt)) };
            }
            ActionOutcome::Verified { .. } => {
                self.action = None;
                match kind {
                    ActionKind::Stop => {
                        self.target = Target::Stopped;
                        self.inspect_at = after(now, policy.inspect_every_seconds);
                        self.enter(now, Phase::Stopped, out);
                    }
                    ActionKind::Resume => {
                        self.target = Target::Untouched;
                        self.enter(now, self.phase_by_last_observation(policy), out);
                    }
                }
            }
        }
        self.reconsider(now, policy, out);
    }

    /// While an action ran the firm answer may have changed: draw the conclusion that had to wait.
    fn reconsider(&mut self, now: UnixMillis, policy: &Policy, out: &mut Output) {
        match (self.verdict, self.phase) {
            (Some(Verdict::Paid), Some(Phase::Stopping | Phase::Stopped)) => {
                let phase = self.phase_by_last_observation(policy);
                self.on_paid(now, policy, phase, out);
            }
            // While it cannot be told no stop begins; the next observation that is of use will begin it.
            (Some(Verdict::Unpaid), Some(phase))
                if self.unknown.is_none() && !matches!(phase, Phase::Stopping | Phase::Stopped) =>
            {
                self.stop(now, policy, out);
            }
            _ => {}
        }
    }

    /// The phase on the paid side that the last observation implies.
    fn phase_by_last_observation(&self, policy: &Policy) -> Phase {
        let Some(seen) = &self.seen else { return Phase::Paid };
        let observation = &seen.observation;
        match standing(&observation.terms, observation.total_paid, observation.block.time_s) {
            Some(Standing::NotStarted) => Phase::NotStarted,
            Some(Standing::Paid { left_seconds: Some(left) })
                if policy.warn_before_seconds.iter().any(|threshold| left < *threshold) =>
            {
                Phase::ExpiringSoon
            }
            Some(Standing::Paid { .. }) | None => Phase::Paid,
            Some(Standing::Lapsed { lapsed_seconds, .. }) if lapsed_seconds <= policy.grace_seconds => Phase::Grace,
            Some(Standing::Lapsed { .. }) => Phase::Unpaid,
        }
    }

    fn on_target_seen(&mut self, now: UnixMillis, policy: &Policy, running: Option<bool>, out: &mut Output) {
        let firm = self.unknown.is_none() && self.verdict == Some(Verdict::Unpaid);
        if self.phase != Some(Phase::Stopped) || running != Some(true) || !firm || !policy.can_stop {
            return;
        }
        out.records.push(Record::TargetCameBack);
        self.begin(now, ActionKind::Stop, out);
    }

    fn on_timer(&mut self, now: UnixMillis, policy: &Policy, out: &mut Output) {
        if self.unknown.is_none() && now >= self.silent_at(policy) {
            let heard = self.seen.as_ref().map_or(self.listening_since, |seen| seen.at);
            self.on_cannot_tell(now, policy, CannotTell::Silent { seconds: seconds_between(heard, now) }, out);
        }
        self.alert_unknown(now, policy, out);
        if let Some(Action { status: ActionStatus::Waiting { until }, .. }) = self.action
            && now >= until
        {
            self.retry(now, out);
        }
        if self.phase == Some(Phase::Stopped) && now >= self.inspect_at {
            self.inspect_at = after(now, policy.inspect_every_seconds.max(1));
            out.effects.push(Effect::Inspect);
        }
        if now >= self.observe_at {
            self.ask(now, policy, out);
        }
    }

    /// Begins the next attempt of an action that waits for it.
    fn retry(&mut self, now: UnixMillis, out: &mut Output) {
        if let Some(action) = self.action.as_mut().filter(|a| matches!(a.status, ActionStatus::Waiting { .. })) {
            action.attempt = action.attempt.saturating_add(1);
            action.status = ActionStatus::Running { since: now };
            let (id, attempt, kind) = (action.id, action.attempt, action.kind);
            out.records.push(Record::ActionStarted { id, attempt, kind });
            out.effects.push(Effect::RunAction { id, attempt, kind });
        }
    }

    /// Asks for an observation now, and again later if none comes.
    fn ask(&mut self, now: UnixMillis, policy: &Policy, out: &mut Output) {
        self.observe_at = after(now, policy.observe_every_seconds.max(1));
        if !out.effects.contains(&Effect::Observe) {
            out.effects.push(Effect::Observe);
        }
    }

    /// Nothing heard until then means that it cannot be told any more.
    fn silent_at(&self, policy: &Policy) -> UnixMillis {
        let heard = self.seen.as_ref().map_or(self.listening_since, |seen| seen.at.max(self.listening_since));
        after(heard, policy.stale_after_seconds.saturating_add(policy.observe_every_seconds))
    }

    /// When to look again after an observation: at the next moment at which the answer can change without a
    /// payment, which is known to the second, and at the latest after the longest time between observations.
    fn next_observation(&self, now: UnixMillis, policy: &Policy) -> UnixMillis {
        let longest = after(now, policy.observe_every_seconds.max(1));
        let Some(seen) = &self.seen else { return longest };
        if let Some(run) = self.unpaid_run.as_ref().filter(|_| self.verdict != Some(Verdict::Unpaid)) {
            let confirmed_at = after(run.first_at, policy.confirm_seconds);
            let soon = after(now, policy.observe_every_seconds.clamp(1, 5));
            return if confirmed_at > now { soon.min(confirmed_at).min(longest) } else { soon.min(longest) };
        }
        let observation = &seen.observation;
        let Some(until) = paid_until_s(&observation.terms, observation.total_paid) else { return longest };
        // The chain's time now is estimated by the head's time and the seconds since it was seen.
        let head = observation.block.time_s;
        let turns = policy
            .warn_before_seconds
            .iter()
            .map(|threshold| until.saturating_sub(*threshold).saturating_add(1))
            .chain([until.saturating_add(1), until.saturating_add(policy.grace_seconds).saturating_add(1)])
            .filter(|turn| *turn > head)
            .min();
        turns.map_or(longest, |turn| after(now, turn.saturating_sub(head)).min(longest))
    }

    fn enter(&mut self, now: UnixMillis, to: Phase, out: &mut Output) {
        if self.phase != Some(to) {
            out.records.push(Record::Phase { from: self.phase, to });
            self.phase = Some(to);
            self.phase_since = now;
        }
    }
}
