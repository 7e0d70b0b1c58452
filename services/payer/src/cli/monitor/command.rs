//! Runs a shell command and collects what it prints.

use std::io;
use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// How much a command may print on one stream. More makes it fail and kills it.
pub const OUTPUT_LIMIT_BYTES: usize = 1024 * 1024;

/// What a successful command printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// How a command failed. The texts are those operators know.
#[derive(Debug, thiserror::Error)]
pub enum CommandFailure {
    /// It ended with another status than 0, or by a signal.
    #[error("Error: Command failed: {command}\n{stderr}")]
    Status {
        /// The command.
        command: String,
        /// What it printed on standard error.
        stderr: String,
    },
    /// It printed more than [`OUTPUT_LIMIT_BYTES`] and was killed.
    #[error("RangeError [ERR_CHILD_PROCESS_STDIO_MAXBUFFER]: {0} maxBuffer length exceeded")]
    TooMuchOutput(&'static str),
    /// The shell did not start, or its output could not be read.
    #[error("Error: {0}")]
    Io(#[from] io::Error),
    /// This process was asked to end; the command was ended with it.
    #[error("Error: interrupted, the command was stopped")]
    Interrupted,
}

/// Why reading a stream ended early.
enum ReadError {
    TooMuch(&'static str),
    Io(io::Error),
}

/// Runs `command` with `/bin/sh -c` and waits, without a time limit, until it has ended and closed its output.
///
/// The command has this process's variables plus `additions`, no input, and a process group of its own, so that stopping
/// it stops what it started. SIGINT and SIGTERM sent to this process stop the group.
///
/// # Errors
/// [`CommandFailure`]: also when the command itself failed.
pub async fn run_command<'a>(
    command: &str,
    additions: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<CommandOutput, CommandFailure> {
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .envs(additions)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let group = Group::of(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let finished = async {
        let (stdout, stderr) = tokio::try_join!(read_limited("stdout", stdout), read_limited("stderr", stderr))?;
        let status = child.wait().await.map_err(ReadError::Io)?;
        Ok((status, stdout, stderr))
    };
    let outcome = tokio::select! {
        outcome = finished => outcome,
        () = asked_to_end() => {
            group.kill();
            return Err(CommandFailure::Interrupted);
        }
    };
    match outcome {
        Ok((status, stdout, stderr)) if status.success() => Ok(CommandOutput { stdout, stderr }),
        Ok((_, _, stderr)) => {
            Err(CommandFailure::Status { command: command.to_owned(), stderr: String::from_utf8_lossy(&stderr).into_owned() })
        }
        Err(error) => {
            group.kill();
            Err(match error {
                ReadError::TooMuch(stream) => CommandFailure::TooMuchOutput(stream),
                ReadError::Io(error) => error.into(),
            })
        }
    }
}

async fn read_limited(name: &'static str, stream: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, ReadError> {
    let mut collected = Vec::new();
    if let Some(stream) = stream {
        // One byte beyond the limit tells "exactly full" from "too much".
        let mut limited = stream.take(OUTPUT_LIMIT_BYTES as u64 + 1);
        limited.read_to_end(&mut collected).await.map_err(ReadError::Io)?;
    }
    if collected.len() > OUTPUT_LIMIT_BYTES { Err(ReadError::TooMuch(name)) } else { Ok(collected) }
}

/// Completes when this process gets SIGINT or SIGTERM; never, if they cannot be listened for.
async fn asked_to_end() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// The process group that a child leads.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// Kills every process of the group. That it is gone already is fine.
    fn kill(&self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn run(command: &str) -> Result<CommandOutput, CommandFailure> {
        run_command(command, []).await
    }

    #[tokio::test]
    async fn output_is_collected() {
        let output = run("echo out; echo problem >&2").await.unwrap();
        assert_eq!(output, CommandOutput { stdout: b"out\n".into(), stderr: b"problem\n".into() });
    }

    #[tokio::test]
    async fn additions_reach_the_command() {
        let output = run_command("printf %s \"$GREETING\"", [("GREETING", "hello")]).await.unwrap();
        assert_eq!(output.stdout, b"hello");
    }

    #[tokio::test]
    async fn a_failing_command_shows_its_complaint() {
        let failure = run("echo no such thing >&2; exit 7").await.unwrap_err();
        let expected = "Error: Command failed: echo no such thing >&2; exit 7\nno such thing\n";
        assert_eq!(failure.to_string(), expected);
        let failure = run("kill -9 $$").await.unwrap_err();
        assert_eq!(failure.to_string(), "Error: Command failed: kill -9 $$\n");
    }

    #[tokio::test]
    async fn a_mebibyte_is_kept_and_one_byte_more_fails() {
        let exact = run("head -c 1048576 /dev/zero").await.unwrap();
        assert_eq!(exact.stdout.len(), OUTPUT_LIMIT_BYTES);
        for (command, stream) in [("head -c 1048577 /dev/zero", "stdout"), ("head -c 1048577 /dev/zero >&2", "stderr")] {
            let failure = run(command).await.unwrap_err();
            let expected = format!("RangeError [ERR_CHILD_PROCESS_STDIO_MAXBUFFER]: {stream} maxBuffer length exceeded");
            assert_eq!(failure.to_string(), expected);
        }
    }

    /// The child of the shell would go on printing for ever if only the shell were killed.
    #[tokio::test]
    async fn too_much_output_ends_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("child");
        let command = format!("yes & echo $! > {}; wait", file.display());
        assert!(matches!(run(&command).await, Err(CommandFailure::TooMuchOutput("stdout"))));
        let child = std::fs::read_to_string(&file).unwrap();
        let status = format!("/proc/{}/stat", child.trim());
        // A killed process stays visible as `Z` until its new parent has collected it; when that is, is not ours to say.
        let lives = || std::fs::read_to_string(&status).is_ok_and(|status| !status.contains(") Z "));
        let gone = async {
            while lives() {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.is_ok(), "{child} still lives");
    }
}
