//! The start guard: runs a program only while an agreement is paid.
//!
//! A container engine that restarts a stopped keyper after a reboot asks nobody whether it is paid. With the guard as
//! entry point, the program does not start before that is known, is stopped when it is not paid, and is started again
//! when it is. It needs no socket and no key.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use reqwest::Url;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use windlass_store::{Clock as _, SystemClock};

use crate::cli::GuardArgs;
use crate::machine::{Agreement, Event, Health, Policy};
use crate::ports::contract::ContractReader;

/// The program was asked to end before it ran.
const EXIT_NOT_STARTED: u8 = 0;
/// The program cannot be started: as a shell says it.
const EXIT_NOT_FOUND: u8 = 127;

/// Who knows whether it is paid.
pub enum Source {
    /// The chain itself, through the same machine that the daemon runs.
    Chain {
        /// Reads the contract.
        reader: Arc<ContractReader>,
        /// The rules of grace and confirmation.
        policy: Policy,
    },
    /// The health endpoint of a daemon: 200, 402, or anything else for "cannot tell".
    Health(Url),
}

/// Keeps track of the answer.
enum Watcher {
    Chain { reader: Arc<ContractReader>, policy: Policy, machine: Box<Agreement> },
    Health { url: Url, client: reqwest::Client },
}

/// What a look said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) health: Health,
    /// Why it is not paid, or why it cannot be told.
    pub(crate) reason: String,
}

impl Watcher {
    fn new(source: Source) -> Result<Self, crate::ports::TargetError> {
        Ok(match source {
            Source::Chain { reader, policy } => {
                // The guard itself is the action: the machine only judges.
                let policy = Policy { can_stop: false, can_resume: false, ..policy };
                let mut machine = Box::<Agreement>::default();
                machine.step(SystemClock.now(), &policy, Event::Started);
                Self::Chain { reader, policy, machine }
            }
            Source::Health(url) => Self::Health { url, client: crate::ports::http::client(Duration::from_secs(10), None)? },
        })
    }

    async fn look(&mut self) -> Answer {
        match self {
            Self::Chain { reader, policy, machine } => {
                let event = match reader.observe_head().await {
                    Ok(observation) => Event::Observed(Box::new(observation)),
                    Err(cause) => Event::CannotTell(cause),
                };
                machine.step(SystemClock.now(), policy, event);
                machine.step(SystemClock.now(), policy, Event::Timer);
                let reason = match (&machine.unknown, machine.phase) {
                    (Some(unknown), _) => format!("{}; hint: {}", unknown.cause, unknown.cause.hint()),
                    (None, Some(phase)) => phase.to_string(),
                    (None, None) => "no observation yet".to_owned(),
                };
                Answer { health: machine.health(), reason }
            }
            Self::Health { url, client } => match client.get(url.clone()).send().await {
                Ok(answer) => {
                    let status = answer.status();
                    let health = match status.as_u16() {
                        200 => Health::Paid,
                        402 => Health::Unpaid,
                        _ => Health::Unknown,
                    };
                    Answer { health, reason: format!("{} answers {status}", crate::ports::http::place(url)) }
                }
                Err(error) => {
                    let reason = crate::ports::http::failed(url, Duration::from_secs(10), error).to_string();
                    Answer { health: Health::Unknown, reason }
                }
            },
        }
    }
}

/// What to do with the program after a look. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Start,
    Stop,
    Leave,
}

/// A program that runs goes on while it cannot be told; one that does not run is not started then.
pub(crate) fn verdict(health: Health, runs: bool) -> Verdict {
    match (health, runs) {
        (Health::Paid, false) => Verdict::Start,
        (Health::Unpaid, true) => Verdict::Stop,
        (Health::Paid, true) | (Health::Unpaid, false) | (Health::Unknown, _) => Verdict::Leave,
    }
}

/// The exit code that a shell would give for an end.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| status.signal().map_or(1, |signal| 128 + signal));
    u8::try_from(code).unwrap_or(1)
}

struct Program {
    child: Child,
    group: Pid,
}

impl Program {
    fn start(arguments: &GuardArgs) -> std::io::Result<Self> {
        let Some((program, rest)) = arguments.program.split_first() else {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "no program is given"));
        };
        let child = Command::new(program).args(rest).stdin(Stdio::inherit()).process_group(0).kill_on_drop(true).spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let group = group.ok_or_else(|| std::io::Error::other("the program ended at once"))?;
        Ok(Self { child, group })
    }

    fn send(&self, signal: Signal) {
        // The group may be gone already; then there is nobody to tell.
        let _ = killpg(self.group, signal);
    }

    /// SIGTERM, then SIGKILL to the whole group.
    async fn stop(&mut self, limit: Duration) -> std::io::Result<ExitStatus> {
        self.send(Signal::SIGTERM);
        let ended = match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(ended) => ended,
            Err(_) => {
                self.send(Signal::SIGKILL);
                self.child.wait().await
            }
        };
        // Descendants that outlived their parent would go on serving unpaid.
        self.send(Signal::SIGKILL);
        ended
    }
}

/// Signals that a guard passes on, as it receives them.
fn signals() -> std::io::Result<mpsc::UnboundedReceiver<Signal>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let kinds = [
        (SignalKind::terminate(), Signal::SIGTERM),
        (SignalKind::interrupt(), Signal::SIGINT),
        (SignalKind::quit(), Signal::SIGQUIT),
        (SignalKind::hangup(), Signal::SIGHUP),
        (SignalKind::user_defined1(), Signal::SIGUSR1),
        (SignalKind::user_defined2(), Signal::SIGUSR2),
    ];
    for (kind, name) in kinds {
        let mut stream = signal(kind)?;
        let sender = sender.clone();
        // Ends with the process: a guard listens for as long as it lives.
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if sender.send(name).is_err() {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn told_to_end() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// Runs the guard until the program ends by itself or the guard is told to end. Returns the exit code of the process.
pub async fn run(source: Source, arguments: &GuardArgs, stderr: &mut (dyn Write + Send)) -> u8 {
    let prepared = signals().map_err(|error| error.to_string());
    let watcher = Watcher::new(source).map_err(|error| error.report());
    match (prepared, watcher) {
        (Ok(signals), Ok(watcher)) => Guard { watcher, signals, program: None, said: None }.run(arguments, stderr).await,
        (Err(error), _) | (_, Err(error)) => {
            let _ = writeln!(stderr, "guard: cannot begin: {error}");
            1
        }
    }
}

struct Guard {
    watcher: Watcher,
    signals: mpsc::UnboundedReceiver<Signal>,
    program: Option<Program>,
    said: Option<Answer>,
}

impl Guard {
    async fn run(mut self, arguments: &GuardArgs, stderr: &mut (dyn Write + Send)) -> u8 {
        let mut looks = tokio::time::interval(arguments.every.max(Duration::from_millis(50)));
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let ended = async {
                match self.program.as_mut() {
                    Some(program) => program.child.wait().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                status = ended => return self.program_ended(status, stderr),
                received = self.signals.recv() => {
                    if let Some(code) = self.pass_on(received.unwrap_or(Signal::SIGTERM), arguments, stderr).await {
                        return code;
                    }
                }
                _ = looks.tick() => {
                    if let Some(code) = self.look(arguments, stderr).await {
                        return code;
                    }
                }
            }
        }
    }

    fn program_ended(&self, status: std::io::Result<ExitStatus>, stderr: &mut (dyn Write + Send)) -> u8 {
        if let Some(program) = &self.program {
            program.send(Signal::SIGKILL);
        }
        match status {
            Ok(status) => exit_code(status),
            Err(error) => {
                let _ = writeln!(stderr, "guard: the program cannot be waited for: {error}");
                1
            }
        }
    }

    /// Passes a signal on; one that asks to end ends the guard too.
    async fn pass_on(&mut self, received: Signal, arguments: &GuardArgs, stderr: &mut (dyn Write + Send)) -> Option<u8> {
        let ends = matches!(received, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT);
        let Some(program) = self.program.as_mut() else {
            return ends.then_some(EXIT_NOT_STARTED);
        };
        program.send(received);
        if !ends {
            return None;
        }
        let status = match tokio::time::timeout(arguments.stop_limit, program.child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                let _ = writeln!(stderr, "guard: the program did not end in time and is killed");
                program.send(Signal::SIGKILL);
                program.child.wait().await
            }
        };
        Some(self.program_ended(status, stderr))
    }

    async fn look(&mut self, arguments: &GuardArgs, stderr: &mut (dyn Write + Send)) -> Option<u8> {
        // A signal or the end of the program must not wait for a slow endpoint.
        let answer = {
            let ended = async {
                match self.program.as_mut() {
                    Some(program) => drop(program.child.wait().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = ended => return None,
                answer = self.watcher.look() => answer,
                Some(received) = self.signals.recv() => {
                    return self.pass_on(received, arguments, stderr).await;
                }
            }
        };
        if self.said.as_ref() != Some(&answer) {
            let word = crate::service::health_word(answer.health);
            let _ = writeln!(stderr, "guard: {word}: {}", answer.reason);
            self.said = Some(answer.clone());
        }
        match verdict(answer.health, self.program.is_some()) {
            Verdict::Leave => None,
            Verdict::Start => match Program::start(arguments) {
                Ok(program) => {
                    let _ = writeln!(stderr, "guard: starts the program");
                    self.program = Some(program);
                    None
                }
                Err(error) => {
                    let name = arguments.program.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                    let _ = writeln!(stderr, "guard: cannot start {name}: {error}");
                    Some(EXIT_NOT_FOUND)
                }
            },
            Verdict::Stop => {
                let _ = writeln!(stderr, "guard: stops the program");
                if let Some(mut program) = self.program.take()
                    && let Err(error) = program.stop(arguments.stop_limit).await
                {
                    let _ = writeln!(stderr, "guard: the program cannot be waited for: {error}");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_runs_only_while_it_is_known_to_be_paid() {
        let table = [
            (Health::Paid, false, Verdict::Start),
            (Health::Paid, true, Verdict::Leave),
            (Health::Unpaid, false, Verdict::Leave),
            (Health::Unpaid, true, Verdict::Stop),
            (Health::Unknown, false, Verdict::Leave),
            (Health::Unknown, true, Verdict::Leave),
        ];
        for (health, runs, expected) in table {
            assert_eq!(verdict(health, runs), expected, "{health:?}, runs: {runs}");
        }
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    }
}
