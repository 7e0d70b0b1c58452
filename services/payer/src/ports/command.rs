//! A target that is stopped and started by shell commands.

use std::time::Duration;

use async_trait::async_trait;

use super::process::run_shell;
use super::{Target, TargetError};

/// Shell commands that stop, start and check a target.
#[derive(Debug, Clone)]
pub struct CommandTarget {
    /// Stops it; must do no harm when repeated.
    pub stop: String,
    /// Starts it again.
    pub resume: Option<String>,
    /// Exits with 0 when the target runs, with 1 when it does not; anything else is a failure to tell.
    pub check: Option<String>,
    /// Time limit of each.
    pub limit: Duration,
}

/// Runs a shell line; anything but exit code 0 is an error.
pub(crate) async fn run_checked(line: &str, limit: Duration) -> Result<(), TargetError> {
    let finished = run_shell(line, limit).await;
    if finished.succeeded() {
        return Ok(());
    }
    Err(TargetError::CommandFailed { command: line.to_owned(), how: finished.ending.to_string(), output: finished.tail() })
}

#[async_trait]
impl Target for CommandTarget {
    fn describe(&self) -> String {
        format!("the target of `{}`", self.stop)
    }

    fn plan_stop(&self) -> String {
        format!("run `{}`", self.stop)
    }

    fn plan_start(&self) -> Option<String> {
        self.resume.as_ref().map(|line| format!("run `{line}`"))
    }

    async fn stop(&self) -> Result<(), TargetError> {
        run_checked(&self.stop, self.limit).await
    }

    async fn start(&self) -> Result<(), TargetError> {
        match &self.resume {
            Some(line) => run_checked(line, self.limit).await,
            None => Err(TargetError::Impossible {
                target: self.describe(),
                action: "started",
                why: "no resume command is configured".into(),
            }),
        }
    }

    async fn running(&self) -> Result<Option<bool>, TargetError> {
        let Some(line) = &self.check else { return Ok(None) };
        let finished = run_shell(line, self.limit).await;
        match finished.ending {
            super::process::Ending::Exited(0) => Ok(Some(true)),
            super::process::Ending::Exited(1) => Ok(Some(false)),
            ref other => {
                Err(TargetError::CommandFailed { command: line.clone(), how: other.to_string(), output: finished.tail() })
            }
        }
    }
}
