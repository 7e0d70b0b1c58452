//! A process that is stopped by a signal.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;

use super::{Target, TargetError};

/// Where the process id comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PidSource {
    /// A number.
    Pid(i32),
    /// A file that holds a number.
    File(PathBuf),
}

/// One process, told apart from a later one with the same id by the time it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    started_ticks: Option<u64>,
}

/// A process that is stopped by a signal and, if it does not end in time, killed.
#[derive(Debug)]
pub struct SignalTarget {
    source: PidSource,
    signal: Signal,
    kill_after: Option<Duration>,
    start_command: Option<String>,
    limit: Duration,
    told: Mutex<Option<Process>>,
}

impl SignalTarget {
    /// `signal` is sent first; after `kill_after` comes SIGKILL. `start_command` is the shell line that starts it again.
    pub fn new(
        source: PidSource,
        signal: Signal,
        kill_after: Option<Duration>,
        start_command: Option<String>,
        limit: Duration,
    ) -> Self {
        Self { source, signal, kill_after, start_command, limit, told: Mutex::new(None) }
    }

    /// The process that is meant now; `None` when there is no pid file.
    fn process(&self) -> Result<Option<Process>, TargetError> {
        let pid = match &self.source {
            PidSource::Pid(pid) => *pid,
            PidSource::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => text.trim().parse().map_err(|_| TargetError::Malformed {
                    place: format!("pid file {}", path.display()),
                    request: "reading the process id".into(),
                    detail: format!("expected a number, found {:?}", text.chars().take(40).collect::<String>()),
                })?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => {
                    return Err(TargetError::Unreachable {
                        place: format!("pid file {}", path.display()),
                        detail: error.to_string(),
                    });
                }
            },
        };
        if pid <= 1 {
            return Err(TargetError::Impossible {
                target: format!("process {pid}"),
                action: "stopped",
                why: "ids up to 1 mean the init process or whole groups; give the id of the program itself".into(),
            });
        }
        Ok(Some(Process { pid, started_ticks: started_ticks(pid) }))
    }

    fn send(&self, process: Process, signal: Signal) -> Result<(), TargetError> {
        match kill(Pid::from_raw(process.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(TargetError::Refused {
                place: format!("process {}", process.pid),
                request: format!("take {signal}"),
                status: error.to_string(),
                message: String::new(),
            }),
        }
    }
}

/// Whether a process exists and is more than an unreaped entry in the process table.
pub fn is_alive(pid: i32) -> bool {
    match kill(Pid::from_raw(pid), None) {
        Ok(()) | Err(Errno::EPERM) => {
            stat_fields(pid).is_none_or(|fields| !matches!(fields.first().map(String::as_str), Some("Z" | "X")))
        }
        Err(_) => false,
    }
}

/// Fields of `/proc/<pid>/stat` after the name, which may itself hold blanks and brackets.
fn stat_fields(pid: i32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn started_ticks(pid: i32) -> Option<u64> {
    // Field 22 of the line, counted from 1; the first two are cut off.
    stat_fields(pid)?.get(19)?.parse().ok()
}

fn still_runs(process: Process) -> bool {
    is_alive(process.pid) && started_ticks(process.pid) == process.started_ticks
}

#[async_trait]
impl Target for SignalTarget {
    fn describe(&self) -> String {
        match &self.source {
            PidSource::Pid(pid) => format!("process {pid}"),
            PidSource::File(path) => format!("process of pid file {}", path.display()),
        }
    }

    fn plan_stop(&self) -> String {
        format!("send {} to the {}", self.signal, self.describe())
    }

    fn plan_start(&self) -> Option<String> {
        self.start_command.as_ref().map(|line| format!("run `{line}`"))
    }

    async fn stop(&self) -> Result<(), TargetError> {
        let Some(process) = self.process()? else {
            return Err(TargetError::NotFound { kind: "pid file of the process", name: self.describe(), near: Vec::new() });
        };
        *self.told.lock() = Some(process);
        self.send(process, self.signal)?;
        let Some(patience) = self.kill_after else { return Ok(()) };
        let deadline = tokio::time::Instant::now() + patience;
        while still_runs(process) {
            if tokio::time::Instant::now() >= deadline {
                return self.send(process, Signal::SIGKILL);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn start(&self) -> Result<(), TargetError> {
        let Some(line) = &self.start_command else {
            return Err(TargetError::Impossible {
                target: self.describe(),
                action: "started",
                why: "a signal cannot start a process; set a resume command".into(),
            });
        };
        super::command::run_checked(line, self.limit).await
    }

    async fn running(&self) -> Result<Option<bool>, TargetError> {
        let told = *self.told.lock();
        match (self.process()?, told) {
            (Some(process), _) if still_runs(process) => Ok(Some(true)),
            (Some(_), _) => Ok(Some(false)),
            // The program took its pid file away when it ended.
            (None, Some(process)) => Ok(Some(still_runs(process))),
            // A missing file proves nothing: its path may be wrong.
            (None, None) => Ok(None),
        }
    }
}
