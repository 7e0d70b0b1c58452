//! What turns services into one program that is boring to operate.
//!
//! - [`Service`] is what a service implements; [`Node`] runs services: supervisor, HTTP interface, signals, leases.
//! - [`config`]: one file, typed sections, every error at once.
//! - [`supervisor`]: tasks with names, restart policies, metrics and a place in readiness.
//! - [`http`], [`openapi`], [`dashboard`]: the interface to the outside.
//! - [`client`]: how commands ask a running node.
//! - [`dotenv`]: the environment of programs that are started the way an older tool was.
//! - [`alerts`], [`events`], [`logs`], [`metrics`]: what the node tells about itself.
//!
//! The node knows no service, no chain and no key: it is given services that hold those.

pub mod alerts;
mod board;
pub mod client;
pub mod config;
pub mod dashboard;
pub mod dotenv;
pub mod error;
pub mod events;
pub mod http;
mod leading;
pub mod logs;
pub mod metrics;
mod migrations;
pub mod node;
pub mod openapi;
pub mod service;
pub mod supervisor;

pub use board::{ServiceView, Snapshot};
pub use error::NodeError;
pub use migrations::MIGRATIONS;
pub use node::{Node, NodeBuilder, Outcome, PlainSecrets, SecretResolver, Settings};
pub use service::{
    BarsView, ChainHead, ColumnView, EndpointView, EventView, LeaseRequest, OutboxView, Readiness, RouteRule, Service,
    ServiceContext, ServiceError, ServiceStatus, TableView,
};
pub use supervisor::{Backoff, RestartPolicy, TaskSpawner};
