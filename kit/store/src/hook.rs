//! A way to end a store at a chosen commit, for tests and simulations of crashes.

/// What a [`CommitHook`] wants to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookAction {
    /// Go on.
    Proceed,
    /// Behave as if the process had died here: this store answers [`crate::StoreError::Crashed`] to everybody for ever.
    Crash,
}

/// Is asked around every commit. A production store has none.
pub trait CommitHook: Send + Sync + 'static {
    /// All jobs of the group have run and nothing is committed. `Crash` leaves nothing of the group behind.
    fn before_commit(&self, jobs: &[&'static str]) -> HookAction;

    /// The group is committed and nobody was told. `Crash` leaves the group in the database, without an answer.
    fn after_commit(&self, jobs: &[&'static str]) -> HookAction;
}
