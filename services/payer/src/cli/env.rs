//! The environment of the compatible one-shot commands: process variables and a `.env` file, and their exit codes.
//!
//! The tool these commands replace let the file win over the process environment, so a stale file in an image silently
//! beat the operator's setting. Here the environment wins, and a command says on stderr when both name a different value.
//! [`PRECEDENCE_VARIABLE`]`=file` restores the old order for who relied on it.

pub use windlass_node::dotenv::{Environment, EnvironmentWarning, FILE_NAME, Origin, PRECEDENCE_VARIABLE, Precedence};

/// How a one-shot command ended. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// `monitor`: paid. `deploy`: deployed and mined.
    Success = 0,
    /// `monitor`: unpaid, or the contract gave no answer (revert, no code, error answer of the node). `deploy`: refused or
    /// failed. Bad settings.
    Failure = 1,
    /// The endpoint could not be asked, or the result did not come within the time limit: nothing is known.
    CannotTell = 3,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}
