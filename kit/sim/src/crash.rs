//! Deaths of a process at chosen moments: around a commit, around a broadcast, or from outside.

use parking_lot::Mutex;
use windlass_store::{CommitHook, HookAction};

use crate::trace::Trace;

/// A moment at which the process dies. Numbers count from 1 and from the moment of arming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CrashPoint {
    /// The commit is lost.
    BeforeCommit(u64),
    /// The commit is durable, and nobody in the process has learned of it.
    AfterCommit(u64),
    /// The signed bytes never leave.
    BeforeBroadcast(u64),
    /// The node has the bytes, and the process has no answer.
    AfterBroadcast(u64),
}

/// Whether a process that asks is still alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// Go on.
    Alive,
    /// It is dead from here on: nothing it does may have an effect.
    Dead,
}

#[derive(Debug, Default)]
struct State {
    point: Option<CrashPoint>,
    commits: u64,
    broadcasts: u64,
    dead: bool,
}

/// The life of one incarnation of a process. It is the [`CommitHook`] of the store that the process opened, and every
/// [`crate::FaultyRpc`] of the process asks it. Once dead, commits are refused and requests reach nobody, so whatever the
/// machines still do before the harness drops them is without effect.
#[derive(Debug, Default)]
pub struct CrashPlan {
    state: Mutex<State>,
    trace: Trace,
}

impl CrashPlan {
    /// A process that lives until it is killed.
    pub fn new(trace: Trace) -> Self {
        Self { state: Mutex::default(), trace }
    }

    /// Sets the moment of death, counted from now; `None` takes it back.
    pub fn arm(&self, point: Option<CrashPoint>) {
        let mut state = self.state.lock();
        state.point = point;
        state.commits = 0;
        state.broadcasts = 0;
    }

    /// Dies now.
    pub fn kill(&self) {
        self.state.lock().dead = true;
    }

    /// Whether the process is dead.
    pub fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    fn pulse(&self) -> Pulse {
        if self.is_dead() { Pulse::Dead } else { Pulse::Alive }
    }

    /// Asked before signed bytes are handed to a node.
    pub fn before_broadcast(&self) -> Pulse {
        let mut state = self.state.lock();
        if state.dead {
            return Pulse::Dead;
        }
        state.broadcasts += 1;
        self.die_at(&mut state, |state| state.point == Some(CrashPoint::BeforeBroadcast(state.broadcasts)))
    }

    /// Asked after signed bytes were handed to a node.
    pub fn after_broadcast(&self) -> Pulse {
        let mut state = self.state.lock();
        self.die_at(&mut state, |state| state.point == Some(CrashPoint::AfterBroadcast(state.broadcasts)))
    }

    /// Asked before any other request.
    pub fn before_request(&self) -> Pulse {
        self.pulse()
    }

    fn die_at(&self, state: &mut State, reached: impl Fn(&State) -> bool) -> Pulse {
        if !state.dead && reached(state) {
            state.dead = true;
            self.trace.push(format!("crash {:?}", state.point));
        }
        if state.dead { Pulse::Dead } else { Pulse::Alive }
    }
}

impl From<Pulse> for HookAction {
    fn from(pulse: Pulse) -> Self {
        match pulse {
            Pulse::Alive => Self::Proceed,
            Pulse::Dead => Self::Crash,
        }
    }
}

impl CommitHook for CrashPlan {
    fn before_commit(&self, jobs: &[&'static str]) -> HookAction {
        let mut state = self.state.lock();
        if state.dead {
            return HookAction::Crash;
        }
        state.commits += 1;
        self.trace.push(format!("commit {}", jobs.join(" ")));
        self.die_at(&mut state, |state| state.point == Some(CrashPoint::BeforeCommit(state.commits))).into()
    }

    fn after_commit(&self, _jobs: &[&'static str]) -> HookAction {
        let mut state = self.state.lock();
        self.die_at(&mut state, |state| state.point == Some(CrashPoint::AfterCommit(state.commits))).into()
    }
}
