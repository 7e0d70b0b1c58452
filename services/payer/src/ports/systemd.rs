//! A systemd unit, through `systemctl`.

use std::time::Duration;

use async_trait::async_trait;

use super::process::{Ending, Finished, run};
use super::{Target, TargetError};

/// A systemd unit.
#[derive(Debug, Clone)]
pub struct SystemdTarget {
    /// Name of the unit, with its suffix.
    pub unit: String,
    /// A unit of the user's own manager instead of the system's.
    pub user: bool,
    /// The program to call; `systemctl`, except in tests.
    pub systemctl: String,
    /// Time limit of each call.
    pub limit: Duration,
}

impl SystemdTarget {
    async fn call(&self, arguments: &[&str]) -> Result<Finished, TargetError> {
        let mut all = Vec::with_capacity(arguments.len() + 1);
        if self.user {
            all.push("--user");
        }
        all.extend_from_slice(arguments);
        let finished = run(&self.systemctl, &all, self.limit).await;
        match &finished.ending {
            Ending::NotStarted { detail } => {
                Err(TargetError::Unreachable { place: self.systemctl.clone(), detail: detail.clone() })
            }
            Ending::TimedOut { seconds } => Err(TargetError::TimedOut { place: self.systemctl.clone(), seconds: *seconds }),
            _ => Ok(finished),
        }
    }

    async fn change(&self, verb: &str) -> Result<(), TargetError> {
        let finished = self.call(&[verb, "--", &self.unit]).await?;
        match finished.ending {
            Ending::Exited(0) => Ok(()),
            Ending::Exited(5) => Err(TargetError::NotFound { kind: "systemd unit", name: self.unit.clone(), near: Vec::new() }),
            ref ending => Err(TargetError::CommandFailed {
                command: format!("{} {verb} {}", self.systemctl, self.unit),
                how: ending.to_string(),
                output: finished.tail(),
            }),
        }
    }
}

#[async_trait]
impl Target for SystemdTarget {
    fn describe(&self) -> String {
        format!("systemd unit \"{}\"", self.unit)
    }

    fn plan_stop(&self) -> String {
        format!("run `systemctl stop {}`", self.unit)
    }

    fn plan_start(&self) -> Option<String> {
        Some(format!("run `systemctl start {}`", self.unit))
    }

    async fn stop(&self) -> Result<(), TargetError> {
        self.change("stop").await
    }

    async fn start(&self) -> Result<(), TargetError> {
        self.change("start").await
    }

    /// Asks for the load state together with the active state: `is-active` alone calls a unit that does not exist
    /// "inactive", and a misspelt name would then count as stopped.
    async fn running(&self) -> Result<Option<bool>, TargetError> {
        let finished = self.call(&["show", "--property=LoadState", "--property=ActiveState", "--", &self.unit]).await?;
        let value = |key: &str| finished.stdout.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        match (value("LoadState="), value("ActiveState=")) {
            (Some("not-found"), _) => {
                Err(TargetError::NotFound { kind: "systemd unit", name: self.unit.clone(), near: Vec::new() })
            }
            (_, Some("inactive" | "failed")) => Ok(Some(false)),
            (_, Some("active" | "reloading" | "activating" | "deactivating" | "refreshing" | "maintenance")) => Ok(Some(true)),
            _ => Err(TargetError::Malformed {
                place: self.systemctl.clone(),
                request: format!("show {}", self.unit),
                detail: format!("{}; {}", finished.ending, finished.tail()),
            }),
        }
    }
}
