//! Forward-only numbered migrations.

/// One step of a component's tables. Never edited after a release; a change is a new step.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// 1, 2, 3, ... without gaps.
    pub number: u32,
    /// A few words, for messages.
    pub name: &'static str,
    /// One or more statements, separated by semicolons.
    pub sql: &'static str,
}

/// All migrations of one component (a crate or a service).
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    /// Name of the component, unique in the program: "outbox".
    pub component: &'static str,
    /// The steps, in order of their numbers.
    pub steps: &'static [Migration],
}
