//! The port through which people reach into an environment: commands in its instances, one-off
//! instances of its services, and what its instances use. Not what the platform does by itself,
//! which is [`crate::port::Engine`]'s.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::id::{EnvironmentId, InstanceId, SecretName};
use crate::instance::elapsed;
use crate::port::{InstanceStart, PortError};
use crate::workload::SecretValue;

/// The exit code of a command that could not be started, as shells have it.
pub const NOT_EXECUTABLE: i32 = 126;

/// The exit code of a command that is not there, as shells have it.
pub const NOT_FOUND: i32 = 127;

/// A command that somebody wants to run in an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleCommand {
    /// The program and its arguments; nothing is expanded.
    pub words: Vec<String>,
    /// Variables beside the instance's own.
    pub variables: BTreeMap<String, String>,
    /// Where to run it; where the instance runs when absent.
    pub directory: Option<String>,
    /// Who runs it; who the instance runs as when absent.
    pub user: Option<String>,
    /// What its standard streams are.
    pub attachment: Attachment,
}

/// A one-off instance of a service: it gets no requests, is no part of the service's scale, and is
/// not started again.
#[derive(Debug, Clone, PartialEq)]
pub struct OneOff {
    /// What to start. Its number is taken from the environment's own counter, so that it is nobody
    /// else's.
    pub start: InstanceStart,
    /// What its standard streams are.
    pub attachment: Attachment,
}

/// What the standard streams of a command are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// Nobody's: it runs by itself.
    Detached,
    /// Three streams of bytes.
    Streams,
    /// A terminal.
    Terminal(WindowSize),
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// What somebody gives a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Bytes for its standard input.
    Data(Vec<u8>),
    /// The end of its standard input.
    End,
    /// Its terminal has another size.
    Resize(WindowSize),
}

/// What comes of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bytes of its standard output, or of its terminal.
    Stdout(Vec<u8>),
    /// Bytes of its standard error.
    Stderr(Vec<u8>),
    /// It ended: nothing follows.
    Ended(CommandEnd),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandEnd {
    /// The exit code as a shell has it: 128 and the number of the signal that ended it,
    /// [`NOT_FOUND`] or [`NOT_EXECUTABLE`] where it never started.
    pub code: i32,
    /// Why it never started, or what else ended it.
    pub error: Option<String>,
}

/// A command that runs for somebody. Whoever drops the output ends the command, with all that it
/// started.
pub struct Session {
    /// Takes what it is given.
    pub input: Box<dyn SessionInput>,
    /// Returns what comes of it.
    pub output: Box<dyn SessionOutput>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// The way to a command.
#[async_trait]
pub trait SessionInput: Send {
    /// Gives it something, and waits until there is room for it. What it does not read any more is
    /// lost.
    async fn give(&mut self, input: Input) -> Result<(), PortError>;
}

/// The way from a command.
#[async_trait]
pub trait SessionOutput: Send {
    /// Returns what comes next. Not called again after [`Output::Ended`]. Cancel-safe.
    async fn next(&mut self) -> Result<Output, PortError>;
}

/// The end of something that nobody was attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachedEnd {
    /// The instance that a command ran in, or the one-off instance.
    pub id: InstanceId,
    /// What ended.
    pub of: Detached,
    /// The exit code, as in [`CommandEnd`].
    pub code: i32,
}

/// What may run with nobody attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detached {
    /// A command in an instance.
    Command,
    /// A one-off instance.
    OneOff,
}

/// What is to become of one-off instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OneOffs {
    /// Those that somebody is attached to, and those that run by themselves, go on.
    Keep,
    /// All end.
    End,
}

/// What an instance uses, counted since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// When it was read.
    pub at: Timestamp,
    /// The time that it had on all CPUs together.
    pub cpu: Duration,
    /// Bytes of memory, without what the kernel only keeps for later.
    pub memory_bytes: u64,
    /// The most that it may have.
    pub memory_limit_bytes: Option<u64>,
    /// Bytes that came in over its network, and that went out; unknown where it has none of its own.
    pub network: Option<(u64, u64)>,
    /// Bytes read from disks, and written to them; unknown where the machine does not tell.
    pub disk: Option<(u64, u64)>,
    /// Processes and threads.
    pub pids: u64,
}

impl Usage {
    /// Returns how much of one CPU it had since an earlier look, in percent: 200 is two CPUs. Nothing
    /// where no time lies between, or another start.
    pub fn cpu_percent_since(&self, earlier: &Self) -> Option<f64> {
        let between = elapsed(earlier.at, self.at).as_secs_f64();
        let used = self.cpu.checked_sub(earlier.cpu)?;
        (between > 0.0).then(|| used.as_secs_f64() / between * 100.0)
    }
}

/// How people reach into an environment.
#[async_trait]
pub trait Console: Send + Sync + std::fmt::Debug {
    /// Runs a command in an instance that runs, in its surroundings and within its limits. No
    /// session when nobody is attached. Refused where the instance does not run.
    async fn exec(
        &self,
        id: &InstanceId,
        command: &ConsoleCommand,
    ) -> Result<Option<Session>, PortError>;

    /// Starts a one-off instance. No session when nobody is attached. It is never observed as an
    /// instance. One that somebody is attached to is gone when the session is.
    async fn run(
        &self,
        one: &OneOff,
        secrets: &BTreeMap<SecretName, SecretValue>,
    ) -> Result<Option<Session>, PortError>;

    /// Removes the one-off instances of an environment that ended or that nobody is attached to any
    /// more; with [`OneOffs::End`] all of them. Idempotent; called at any time. Returns the ends of what
    /// nobody was attached to, each once. What ended in an instance while no control plane looked is
    /// not known.
    async fn settle(
        &self,
        environment: &EnvironmentId,
        wanted: OneOffs,
    ) -> Result<Vec<DetachedEnd>, PortError>;

    /// Returns what each instance that runs uses.
    async fn usage(
        &self,
        environment: &EnvironmentId,
    ) -> Result<BTreeMap<InstanceId, Usage>, PortError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(at_ms: i64, cpu_ms: u64) -> Usage {
        Usage {
            at: Timestamp::from_millisecond(at_ms).unwrap(),
            cpu: Duration::from_millis(cpu_ms),
            ..Usage::default()
        }
    }

    #[test]
    fn the_share_of_a_cpu_is_that_of_the_time_between_two_looks() {
        let first = usage(1_000, 300);
        assert_eq!(usage(1_500, 1_300).cpu_percent_since(&first), Some(200.0));
        assert_eq!(usage(1_500, 300).cpu_percent_since(&first), Some(0.0));
        for (at, cpu) in [(1_000, 400), (500, 400), (2_000, 100)] {
            assert_eq!(usage(at, cpu).cpu_percent_since(&first), None, "{at} {cpu}");
        }
    }
}
