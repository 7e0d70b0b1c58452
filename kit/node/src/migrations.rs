//! The tables of the node itself.

use windlass_store::{Migration, Migrations};

/// Events, alerts that were raised, answers to requests with an idempotency key.
pub static MIGRATIONS: Migrations = Migrations {
    component: "node",
    steps: &[Migration { number: 1, name: "events, alerts, idempotency", sql: include_str!("../migrations/0001_node.sql") }],
};
