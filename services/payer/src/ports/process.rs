//! Running programs with a time limit, in a process group of their own, with their output capped.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Most bytes that are kept of each output stream.
pub const OUTPUT_LIMIT_BYTES: usize = 1 << 20;

/// After the program has ended, how long descendants may hold its output open before the rest is given up.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal that was not ours.
    Signalled(i32),
    /// We killed its whole group because the time was up.
    TimedOut {
        /// The limit.
        seconds: u64,
    },
    /// We killed its whole group because a stream exceeded [`OUTPUT_LIMIT_BYTES`].
    TooMuchOutput,
    /// It could not be started.
    NotStarted {
        /// What the system said.
        detail: String,
    },
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Signalled(signal) => write!(f, "was ended by signal {signal}"),
            Self::TimedOut { seconds } => write!(f, "was killed after {seconds} s with all its descendants"),
            Self::TooMuchOutput => write!(f, "was killed: more than {OUTPUT_LIMIT_BYTES} bytes of output"),
            Self::NotStarted { detail } => write!(f, "could not be started: {detail}"),
        }
    }
}

/// What became of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub ending: Ending,
    /// Its standard output, at most [`OUTPUT_LIMIT_BYTES`].
    pub stdout: String,
    /// Its error output, at most [`OUTPUT_LIMIT_BYTES`].
    pub stderr: String,
}

impl Finished {
    /// It ended by itself with code 0.
    pub fn succeeded(&self) -> bool {
        self.ending == Ending::Exited(0)
    }

    /// The end of the error output, or of the output, on one line, for messages.
    pub fn tail(&self) -> String {
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let line = text.trim().lines().rev().take(3).collect::<Vec<_>>();
        let line = line.into_iter().rev().collect::<Vec<_>>().join(" | ");
        let start = line.char_indices().rev().nth(399).map_or(0, |(index, _)| index);
        line.get(start..).unwrap_or_default().to_owned()
    }
}

/// Runs `line` with `/bin/sh -c`.
pub async fn run_shell(line: &str, limit: Duration) -> Finished {
    run("/bin/sh", &["-c", line], limit).await
}

/// Runs a program without a shell and waits for its end or the limit.
///
/// The program leads a process group of its own. The whole group is killed when the time is up, when a stream exceeds its
/// limit, and when the caller drops the future.
pub async fn run(program: &str, arguments: &[&str], limit: Duration) -> Finished {
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            return Finished {
                ending: Ending::NotStarted { detail: error.to_string() },
                stdout: String::new(),
                stderr: String::new(),
            };
        }
    };
    let group = GroupGuard::of(&child);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (pipe_out, pipe_err) = (child.stdout.take(), child.stderr.take());
    let ending = {
        let reading = async { tokio::try_join!(collect(pipe_out, &mut out), collect(pipe_err, &mut err)) };
        tokio::pin!(reading);
        let work = async {
            tokio::select! {
                read = &mut reading => match read {
                    Err(TooMuch) => Ending::TooMuchOutput,
                    Ok(_) => ended(child.wait().await),
                },
                status = child.wait() => {
                    match timeout(DRAIN_LIMIT, &mut reading).await {
                        Ok(Err(TooMuch)) => Ending::TooMuchOutput,
                        _ => ended(status),
                    }
                }
            }
        };
        timeout(limit, work).await.unwrap_or(Ending::TimedOut { seconds: limit.as_secs() })
    };
    if matches!(ending, Ending::TimedOut { .. } | Ending::TooMuchOutput) {
        group.kill();
        let _ = child.wait().await;
    }
    group.disarm();
    Finished { ending, stdout: text(out), stderr: text(err) }
}

fn ended(status: std::io::Result<ExitStatus>) -> Ending {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Ending::Exited(code),
            (None, signal) => Ending::Signalled(signal.unwrap_or_default()),
        },
        Err(error) => Ending::NotStarted { detail: error.to_string() },
    }
}

struct TooMuch;

async fn collect<R: AsyncRead + Unpin>(pipe: Option<R>, into: &mut Vec<u8>) -> Result<(), TooMuch> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut chunk = [0_u8; 8192];
    loop {
        match pipe.read(&mut chunk).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(count) => {
                let room = OUTPUT_LIMIT_BYTES.saturating_sub(into.len());
                into.extend_from_slice(chunk.get(..count.min(room)).unwrap_or_default());
                if count > room {
                    return Err(TooMuch);
                }
            }
        }
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Kills the process group of a child when it is dropped while armed.
pub(crate) struct GroupGuard {
    group: std::cell::Cell<Option<i32>>,
}

// A `Cell` of a plain number is `Send`; the guard lives inside one future and is never shared.
impl GroupGuard {
    pub(crate) fn of(child: &Child) -> Self {
        Self { group: std::cell::Cell::new(child.id().and_then(|id| i32::try_from(id).ok())) }
    }

    pub(crate) fn kill(&self) {
        if let Some(group) = self.group.get() {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }

    pub(crate) fn disarm(&self) {
        self.group.set(None);
    }
}

impl Drop for GroupGuard {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn gives_code_and_both_streams() {
        let finished = run_shell("echo out; echo err >&2; exit 3", LONG).await;
        assert_eq!(finished.ending, Ending::Exited(3));
        assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("out\n", "err\n"));
        assert_eq!(finished.tail(), "err");
    }

    #[tokio::test]
    async fn kills_the_whole_group_when_the_time_is_up() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("grandchild");
        let line = format!("sleep 300 & echo $! > {}; wait", pid_file.display());
        let finished = run_shell(&line, Duration::from_millis(700)).await;
        assert_eq!(finished.ending, Ending::TimedOut { seconds: 0 });
        let grandchild: i32 = std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        for _ in 0..100 {
            if !super::super::signal::is_alive(grandchild) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the grandchild {grandchild} survived");
    }

    #[tokio::test]
    async fn refuses_endless_output() {
        let finished = run_shell("yes", LONG).await;
        assert_eq!(finished.ending, Ending::TooMuchOutput);
        assert_eq!(finished.stdout.len(), OUTPUT_LIMIT_BYTES);
    }

    #[tokio::test]
    async fn does_not_wait_for_a_descendant_that_holds_the_output_open() {
        let started = std::time::Instant::now();
        let finished = run_shell("sleep 300 & echo done", LONG).await;
        assert!(finished.succeeded());
        assert_eq!(finished.stdout, "done\n");
        assert!(started.elapsed() < LONG);
    }

    #[tokio::test]
    async fn a_missing_program_is_an_ending_not_a_panic() {
        let finished = run("/nonexistent/program", &[], LONG).await;
        assert!(matches!(finished.ending, Ending::NotStarted { .. }));
    }
}
