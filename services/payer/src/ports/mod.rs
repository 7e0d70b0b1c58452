//! The outside world as the payer service sees it: the contract on its chain, and the program that is guarded.
//!
//! A guarded program is a [`Target`]: it can be stopped, perhaps started, and perhaps looked at. The rules of when to do
//! so live in [`crate::machine`]; how one attempt is carried out and verified lives in [`crate::actions`].

pub mod command;
pub mod contract;
pub mod docker;
pub mod http;
pub mod kubernetes;
pub mod process;
pub mod signal;
pub mod systemd;

use async_trait::async_trait;

/// Why something could not be done to a target, or it could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The other side could not be reached.
    #[error("cannot reach {place}: {detail}")]
    Unreachable {
        /// Socket, host or program.
        place: String,
        /// What the system said.
        detail: String,
    },
    /// No answer within the time limit.
    #[error("no answer from {place} within {seconds} s")]
    TimedOut {
        /// Socket, host or program.
        place: String,
        /// The limit.
        seconds: u64,
    },
    /// There is no such container, unit or process.
    #[error("{kind} \"{name}\" was not found{}", near_names(near))]
    NotFound {
        /// What kind of thing it is.
        kind: &'static str,
        /// The configured name.
        name: String,
        /// Names that exist and look alike.
        near: Vec<String>,
    },
    /// The other side refused.
    #[error("{place} refused to {request}: {status} {message}")]
    Refused {
        /// Socket, host or program.
        place: String,
        /// What was asked.
        request: String,
        /// Status or exit code.
        status: String,
        /// What it said, shortened.
        message: String,
    },
    /// A program ran and failed.
    #[error("`{command}` {how}{}", said(output))]
    CommandFailed {
        /// The command line.
        command: String,
        /// "exited with code 3", "was ended by signal 9", "was killed after 60 s".
        how: String,
        /// The end of its error output.
        output: String,
    },
    /// The answer makes no sense.
    #[error("{place} answered {request} with something else than expected: {detail}")]
    Malformed {
        /// Socket, host or program.
        place: String,
        /// What was asked.
        request: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The target was told to, but did not reach the wanted state in time.
    #[error("{target} was told to {wanted}, but {seconds} s later it has not")]
    NotVerified {
        /// The target.
        target: String,
        /// "stop" or "start".
        wanted: &'static str,
        /// How long it was watched.
        seconds: u64,
    },
    /// This target cannot do that.
    #[error("{target} cannot be {action}: {why}")]
    Impossible {
        /// The target.
        target: String,
        /// "started", "stopped".
        action: &'static str,
        /// Why not.
        why: String,
    },
}

fn near_names(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; there are: {}", near.join(", ")) }
}

fn said(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(", saying: {output}") }
}

impl TargetError {
    /// Whether the same attempt may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::NotVerified { .. } => true,
            Self::CommandFailed { .. } => true,
            Self::Refused { status, .. } => status.starts_with('5') || status.starts_with("409"),
            Self::NotFound { .. } | Self::Malformed { .. } | Self::Impossible { .. } => false,
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { place, .. } if place.contains("docker") || place.ends_with(".sock") => {
                Some("mount the engine's socket (or set `docker_host` to a socket proxy) and let this user open it".into())
            }
            Self::Unreachable { .. } => Some("check the address and that the other side is up".into()),
            Self::TimedOut { .. } => Some("raise the time limit of the action, or find out why the other side hangs".into()),
            Self::NotFound { kind: "container", near, .. } if !near.is_empty() => Some(
                "Compose names containers <project>-<service>-<n>: set `container_name` in the Compose file, or use the \
                 name shown above"
                    .into(),
            ),
            Self::NotFound { kind: "container", .. } => Some("`docker ps -a` lists the names that exist".into()),
            Self::NotFound { kind: "systemd unit", .. } => Some("`systemctl list-units --all` lists the names".into()),
            Self::NotFound { .. } => Some("check the configured name".into()),
            Self::Refused { status, .. } if status.starts_with("403") => Some(
                "a keyper refuses changes while HTTPReadOnly is true: set it to false; a socket proxy must allow POST".into(),
            ),
            Self::Refused { status, .. } if status.starts_with("401") => Some("check the token".into()),
            Self::NotVerified { .. } => {
                Some("look at the target: something may start it again, for example a restart policy".into())
            }
            _ => None,
        }
    }

    /// The whole text for a history row or an alert: what, where, remedy.
    pub fn report(&self) -> String {
        match self.hint() {
            Some(hint) => format!("{self}; hint: {hint}"),
            None => self.to_string(),
        }
    }
}

/// A program that is stopped when it is not paid.
#[async_trait]
pub trait Target: Send + Sync + 'static {
    /// What it is, for texts: `container "keyper"`.
    fn describe(&self) -> String;

    /// What stopping it would do, for a dry run.
    fn plan_stop(&self) -> String;

    /// What starting it would do, for a dry run; `None` when it cannot be started.
    fn plan_start(&self) -> Option<String>;

    /// Tells it to stop. Returns before or after it stands still. Repeating it is harmless.
    async fn stop(&self) -> Result<(), TargetError>;

    /// Tells it to start. Repeating it is harmless.
    async fn start(&self) -> Result<(), TargetError>;

    /// Looks whether it runs; `None` when this kind of target cannot be looked at.
    async fn running(&self) -> Result<Option<bool>, TargetError>;
}
