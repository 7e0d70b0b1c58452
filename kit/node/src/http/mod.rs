//! The interface to the outside: conventions that hold for every route, and the routes of the node.
//!
//! Order of the checks of a request: name of the host (against web pages that point a name of theirs at this machine), origin (no
//! changes asked for by other web sites), number of requests at a time, token, rate, size of the body, time. Every refusal and
//! every failure has one shape, see [`ApiError`]. Nothing is allowed across origins.

pub mod error;
mod guard;
pub mod idempotency;
mod limits;
mod routes;

pub use error::{ApiError, RawBody, RequestId};
pub(crate) use guard::{Access, apply};
pub use idempotency::IdempotencyKey;
pub(crate) use routes::{Shared, operations, router};
