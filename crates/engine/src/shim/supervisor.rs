//! Stage 1: starts the program and watches over it to its end. Not its judge: whether it should
//! run again is decided elsewhere.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::process::{
    PidfdFlags, Signal, WaitOptions, getpid, pidfd_open, set_child_subreaper, setsid, umask, wait,
};
use rustix::time::{ClockId, clock_gettime};

use super::EXEC;
use super::files;
use super::handover;
use super::launch::{End, Launch, Report, Run, StopRequest, Streams};
use super::pump::Pump;
use crate::log::LogWriter;
use crate::procfs::{Identity, boot_id, descendants, processes};

/// Lines of output kept for the report of the end.
const TAIL_LINES: usize = 20;

/// How often orphans that ended are reaped while nothing else happens.
const IDLE: i64 = 2_000;

/// How often it is looked whether all that was killed is gone.
const ENDING: i64 = 5;

/// How often it is looked whether the rest of a program that was asked to stop is gone.
const STOPPING: i64 = 20;

/// The longest description of a program that is taken.
const LAUNCH_BYTES: usize = 16 * 1024 * 1024;

/// Supervises what the standard input describes. The exit code says nothing of the program's.
pub(super) fn main() -> ExitCode {
    match supervise() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever started this reads its standard error.
            drop(writeln!(io::stderr(), "the supervisor failed: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn supervise() -> io::Result<()> {
    let (launch, handed) = read_launch()?;
    // Fails only where this leads a session already.
    setsid().ok();
    umask(Mode::WGRP | Mode::WOTH);
    set_child_subreaper(Some(getpid()))?;
    let mut run = Run {
        boot: boot_id(),
        supervisor: Identity::of(getpid().as_raw_pid())
            .ok_or_else(|| io::Error::other("/proc does not show this process"))?,
        program: None,
        at: Timestamp::now(),
    };
    let control = if launch.recorded {
        if !files::claim(Path::new(files::RUN), &run)? {
            return Err(io::Error::other("the directory is claimed already"));
        }
        Some(files::open_control(Path::new("."))?)
    } else {
        None
    };
    let mut sink = Sink::open(&launch)?;
    if launch.recorded && read_stop().is_some() {
        return finish(
            &launch,
            &sink,
            error_end("it was stopped before it started"),
        );
    }
    let (program, pumps) = match start(&launch, handed) {
        Ok(started) => started,
        Err(error) => {
            wait(WaitOptions::empty()).ok();
            return finish(&launch, &sink, error_end(&error));
        }
    };
    run.program = Some(program);
    run.at = Timestamp::now();
    if launch.recorded {
        files::write(Path::new(files::RUN), &run)?;
    }
    report(&Report::Started(run));
    let end = Watch {
        program,
        shell: launch.program.shell,
        pumps,
        control,
        lifeline: launch.lifeline,
        deadline: None,
        end: None,
    }
    .until_the_end(&mut sink)?;
    finish(&launch, &sink, end)
}

/// Reads one line, and not what may follow it, with the descriptors that are handed over.
fn read_launch() -> io::Result<(Launch, Vec<OwnedFd>)> {
    let (mut input, mut handed) = (Vec::new(), Vec::new());
    let mut buffer = [0_u8; 8 * 1024];
    while !input.ends_with(b"\n") {
        let count = handover::receive(rustix::stdio::stdin(), &mut buffer, &mut handed)?;
        if count == 0 || input.len() > LAUNCH_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        input.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    let launch = serde_json::from_slice(&input).map_err(io::Error::from);
    input.fill(0);
    Ok((launch?, handed))
}

/// What a program's standard streams are, on its side.
struct Ends {
    /// What it is handed; it reads nothing when absent.
    stdin: Option<OwnedFd>,
    stdout: Stdio,
    stderr: Stdio,
}

impl Ends {
    fn new(streams: Streams, handed: Vec<OwnedFd>) -> Result<Self, String> {
        let missing = || "its standard streams were not handed over".to_owned();
        let mut handed = handed.into_iter();
        Ok(match streams {
            Streams::Supervised => Self {
                stdin: None,
                stdout: Stdio::piped(),
                stderr: Stdio::piped(),
            },
            Streams::Handed => Self {
                stdin: Some(handed.next().ok_or_else(missing)?),
                stdout: handed.next().ok_or_else(missing)?.into(),
                stderr: handed.next().ok_or_else(missing)?.into(),
            },
            Streams::Terminal => {
                let terminal = handed.next().ok_or_else(missing)?;
                let copy = || terminal.try_clone().map_err(|error| error.to_string());
                Self {
                    stdout: copy()?.into(),
                    stderr: copy()?.into(),
                    stdin: Some(terminal),
                }
            }
        })
    }
}

/// Starts the program. Returns when it has taken over from stage 2, or the reason why not.
fn start(launch: &Launch, handed: Vec<OwnedFd>) -> Result<(Identity, Vec<Pump>), String> {
    let failed = |error: io::Error| format!("cannot start a process: {error}");
    let (binary, words) = launch
        .stage
        .split_first()
        .ok_or("no supervisor is configured")?;
    let ends = Ends::new(launch.program.streams, handed)?;
    let (mut ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut child = Command::new(binary)
        .args(words)
        .arg(EXEC)
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(ends.stdout)
        .stderr(ends.stderr)
        .spawn()
        .map_err(failed)?;
    let description = serde_json::to_vec(&launch.program).map_err(|error| error.to_string())?;
    let mut error = String::new();
    let input: Vec<BorrowedFd<'_>> = ends.stdin.iter().map(AsFd::as_fd).collect();
    let taken = handover::send(&ours, &description, &input).map_err(failed)?;
    drop(input);
    // Only the program has it now: its end is seen.
    drop(ends.stdin);
    ours.write_all(description.get(taken..).unwrap_or_default())
        .and_then(|()| ours.shutdown(Shutdown::Write))
        .and_then(|()| ours.read_to_string(&mut error))
        .map_err(failed)?;
    if !error.is_empty() {
        return Err(error);
    }
    let pid = i32::try_from(child.id()).map_err(|error| error.to_string())?;
    let program = Identity::of(pid).ok_or("the process is gone")?;
    let pump = |(stream, pipe): (&'static str, OwnedFd)| {
        Pump::new(stream, pipe).map_err(|error| failed(error.into()))
    };
    // What was handed over is nobody's here.
    let stdout = child.stdout.take().map(|pipe| ("stdout", pipe.into()));
    let stderr = child.stderr.take().map(|pipe| ("stderr", pipe.into()));
    let pumps = stdout.into_iter().chain(stderr).map(pump);
    Ok((program, pumps.collect::<Result<_, _>>()?))
}

fn error_end(error: &str) -> End {
    End {
        code: None,
        signal: None,
        error: Some(error.to_owned()),
        at: Timestamp::now(),
    }
}

fn finish(launch: &Launch, sink: &Sink, end: End) -> io::Result<()> {
    let written = if launch.recorded {
        files::write(Path::new(files::EXIT), &end)
    } else {
        Ok(())
    };
    report(&Report::Ended {
        end,
        tail: sink.tail.iter().cloned().collect(),
    });
    written
}

/// Tells the control plane, if it still listens.
fn report(report: &Report) {
    if let Ok(line) = serde_json::to_string(report) {
        drop(writeln!(io::stdout().lock(), "{line}"));
    }
}

fn read_stop() -> Option<StopRequest> {
    files::read(Path::new(files::STOP)).ok().flatten()
}

/// Milliseconds of the clock that nobody sets.
fn now_ms() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
}

/// Whether there may be a request to stop that nobody woke this process for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    IfWoken,
    Perhaps,
}

/// Where the lines go.
struct Sink {
    log: Option<LogWriter>,
    tail: VecDeque<String>,
}

impl Sink {
    fn open(launch: &Launch) -> io::Result<Self> {
        let log = match &launch.log {
            Some((directory, settings)) => Some(LogWriter::open(directory, *settings)?),
            None => None,
        };
        Ok(Self {
            log,
            tail: VecDeque::new(),
        })
    }

    /// Writes what was taken.
    fn flush(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// Reads once from an output of the program: what comes at once was read at one time. Tells whether
    /// there may be more.
    fn read(&mut self, pump: &mut Pump) -> bool {
        let (at, stream) = (Timestamp::now(), pump.stream);
        pump.read(|line| self.take(at, stream, line))
    }

    /// Takes the line that was not ended, and reads no more.
    fn close(&mut self, pump: &mut Pump) {
        let (at, stream) = (Timestamp::now(), pump.stream);
        pump.close(|line| self.take(at, stream, line));
    }

    fn take(&mut self, at: Timestamp, stream: &str, text: &str) {
        if let Some(log) = &mut self.log {
            log.write(at, stream, text);
            return;
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(text.to_owned());
    }
}

/// The program while it runs.
struct Watch {
    program: Identity,
    shell: bool,
    pumps: Vec<Pump>,
    control: Option<std::fs::File>,
    lifeline: bool,
    /// When everything is killed: set when it was asked to stop.
    deadline: Option<i64>,
    /// How the program itself ended.
    end: Option<End>,
}

impl Watch {
    /// Returns when the program and all that it started are gone and their output is written.
    fn until_the_end(mut self, sink: &mut Sink) -> io::Result<End> {
        self.obey(Asked::Perhaps);
        loop {
            let alone = self.reap();
            if let (true, Some(end)) = (alone, &self.end) {
                let end = end.clone();
                for pump in &mut self.pumps {
                    while sink.read(pump) {}
                    sink.close(pump);
                }
                sink.flush();
                return Ok(end);
            }
            let now = now_ms();
            // What a program leaves behind that was asked to stop has the rest of the grace.
            let over = self
                .deadline
                .map_or(self.end.is_some(), |deadline| deadline <= now);
            if over {
                kill_descendants();
            }
            let wait = match (over, self.deadline, &self.end) {
                (true, _, _) => ENDING,
                (false, Some(deadline), Some(_)) => (deadline - now).min(STOPPING),
                (false, Some(deadline), None) => (deadline - now).min(IDLE),
                (false, None, _) => IDLE,
            };
            self.wait(wait, sink)?;
        }
    }

    /// Reaps all that ended. Tells whether nothing is left.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid.as_raw_pid() == self.program.pid => {
                    self.end = Some(End {
                        code: status.exit_status(),
                        signal: status.terminating_signal(),
                        error: None,
                        at: Timestamp::now(),
                    });
                }
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Waits until something happens, `timeout` milliseconds at most, and takes the output.
    fn wait(&mut self, timeout: i64, sink: &mut Sink) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: timeout / 1_000,
            tv_nsec: timeout % 1_000 * 1_000_000,
        };
        let watched = if self.end.is_none() {
            rustix::process::Pid::from_raw(self.program.pid)
                .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        } else {
            None
        };
        let stdin = rustix::stdio::stdin();
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(5);
        let outputs = self.pumps.iter().filter_map(Pump::descriptor);
        fds.extend(outputs.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        if let Some(program) = &watched {
            fds.push(PollFd::new(program, PollFlags::IN));
        }
        if let Some(control) = &self.control {
            fds.push(PollFd::from_borrowed_fd(control.as_fd(), PollFlags::IN));
        }
        // Only its end is of interest; the kernel reports that unasked.
        let lifeline = fds.len();
        if self.lifeline {
            fds.push(PollFd::new(&stdin, PollFlags::empty()));
        }
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if fds.get(lifeline).is_some_and(|fd| !fd.revents().is_empty()) {
            self.lifeline = false;
            self.deadline = Some(now_ms());
        }
        drop(fds);
        for pump in &mut self.pumps {
            sink.read(pump);
        }
        sink.flush();
        self.obey(Asked::IfWoken);
        Ok(())
    }

    /// Takes a request to stop, if there is one since the last time.
    fn obey(&mut self, asked: Asked) {
        let mut buffer = [0_u8; 64];
        let control = self.control.as_mut();
        let woken = control.is_some_and(|pipe| matches!(pipe.read(&mut buffer), Ok(n) if n > 0));
        if !woken && asked == Asked::IfWoken {
            return;
        }
        let Some(stop) = self.control.as_ref().and_then(|_| read_stop()) else {
            return;
        };
        let deadline = now_ms().saturating_add(i64::try_from(stop.grace_ms).unwrap_or(i64::MAX));
        // A second request may shorten the grace, never lengthen it.
        self.deadline = Some(self.deadline.map_or(deadline, |known| known.min(deadline)));
        if let (Some(signal), None) = (Signal::from_named_raw(stop.signal), &self.end) {
            self.signal(signal);
        }
    }

    /// Signals the program, as a container engine does, and not its children: many servers stop
    /// in good order only when their workers are not signalled too. A shell does not hand on
    /// signals: there the program is what the shell started.
    fn signal(&self, signal: Signal) {
        if self.shell && is_shell(self.program.pid) {
            let children = processes();
            let children = children
                .iter()
                .filter(|child| child.parent == self.program.pid);
            for child in children {
                child.identity.signal(signal);
            }
        }
        self.program.signal(signal);
    }
}

/// Kills the program and all that it started.
fn kill_descendants() {
    for process in descendants(&processes(), getpid().as_raw_pid()) {
        process.identity.signal(Signal::KILL);
    }
}

/// Tells whether a process is still the shell that it was started as: shells replace themselves
/// by the last program of a line.
fn is_shell(pid: i32) -> bool {
    let program = std::fs::read_link(format!("/proc/{pid}/exe"));
    matches!((program, Path::new("/bin/sh").canonicalize()), (Ok(a), Ok(b)) if a == b)
}
