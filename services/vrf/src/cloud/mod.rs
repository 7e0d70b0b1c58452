//! Deployment on the Google cloud: the HTTP trigger, its queue, and the recipe.
//!
//! The relay needs none of this where the program simply runs: it looks by itself. Here is what the former worker had in the cloud, for
//! who keeps that deployment:
//!
//! - [`Trigger`]: `POST /` works off everything that can be done now, for a queue that calls it again and again;
//! - [`IdentityCheck`]: who may call it;
//! - [`TaskQueue`], [`Schedule`]: the next call, and a new one when calls stop coming;
//! - [`CloudState`], [`Notifier`]: failed cycles are counted, and somebody is told at the third;
//! - [`recipe`](mod@recipe): the commands that set all this up.

mod access_token;
pub mod cli;
mod http;
mod identity;
mod look_now;
mod notify;
pub mod recipe;
mod schedule;
mod state;
mod tasks;
mod trigger;

pub use access_token::{AccessTokens, TokenError};
pub use identity::{IdentityCheck, IdentityError};
pub use look_now::LookNow;
pub use notify::{Notifier, NotifyError, notification};
pub use schedule::Schedule;
pub use state::{CloudState, MIGRATION, load, save};
pub use tasks::{CreatedTask, QueueError, TaskQueue, task_body};
pub use trigger::{Cycle, CycleReport, Trigger, TriggerError};
