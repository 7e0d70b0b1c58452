//! What a node's answers become: small, strict types read straight from JSON.

pub(crate) mod quantity;

mod block;
mod call;
mod log;
mod transaction;

pub use block::{Block, BlockId, BlockRef, BlockTag, Header, Transactions};
pub use call::{CallRequest, FeeHistory};
pub use log::{Log, LogFilter, LogSpan};
pub use transaction::{Receipt, Transaction};
