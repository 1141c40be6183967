//! Stage 2: sets up its own process as the program's and becomes the program. Not a parent of
//! anything.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::Mode;
use rustix::process::{
    Gid, Resource, Rlimit, Signal, Uid, getppid, ioctl_tiocsctty, set_parent_process_death_signal,
    setpgid, setrlimit, setsid, umask,
};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT};

use super::handover;
use super::launch::{Credentials, Program, Streams};

/// What is said of a program that is not there.
pub(crate) const NO_SUCH_FILE: &str = "no such file";

/// What comes before the name of a program that cannot be run.
pub(crate) const CANNOT_RUN: &str = "cannot run ";

const READ_BYTES: usize = 64 * 1024;

/// Reads a [`Program`] from the standard input, which is a socket, and becomes it. An error is
/// written back to the socket; that it closes without a word means success.
pub(super) fn main() -> ExitCode {
    // The program's own standard input replaces the socket: this copy of it, which the kernel
    // closes when the program takes over, is what an error is written to.
    let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else {
        return ExitCode::from(126);
    };
    let error = become_program();
    if let Err(error) = std::fs::File::from(socket).write_all(error.as_bytes()) {
        drop(error);
    }
    ExitCode::from(127)
}

/// Returns only when it did not work, with what was met.
fn become_program() -> String {
    let supervisor = getppid();
    let mut handed = Vec::new();
    let program: Program = match read_to_the_end(&mut handed) {
        Ok(input) => match serde_json::from_slice(&input) {
            Ok(program) => program,
            Err(error) => return format!("the program's description is not readable: {error}"),
        },
        Err(error) => return format!("the program's description does not come: {error}"),
    };
    let input = handed.into_iter().next();
    if let Err(error) = set_up(&program, input.as_ref()) {
        return error;
    }
    if let Err(error) = heed_signals() {
        return format!("cannot heed signals again: {error}");
    }
    // Set after the change of user, which clears it. If the supervisor died before it was set,
    // nobody is left to be told.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!("cannot ask to end with the supervisor: {error}");
    }
    if getppid() != supervisor {
        return "the supervisor ended".to_owned();
    }
    let Some((name, arguments)) = program.words.split_first() else {
        return "the command is empty".to_owned();
    };
    let error = Command::new(name)
        .args(arguments)
        .env_clear()
        .envs(&program.environment)
        .stdin(input.map_or_else(Stdio::null, Stdio::from))
        .exec();
    format!("{CANNOT_RUN}`{name}`: {}", describe(&error))
}

/// Reads the description, and the input that is handed over with it.
fn read_to_the_end(handed: &mut Vec<OwnedFd>) -> io::Result<Vec<u8>> {
    let mut input = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match handover::receive(rustix::stdio::stdin(), &mut buffer, handed)? {
            0 => return Ok(input),
            count => input.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
    }
}

fn set_up(program: &Program, input: Option<&OwnedFd>) -> Result<(), String> {
    match (program.streams, input) {
        // Who is controlled by a terminal leads a session.
        (Streams::Terminal, Some(terminal)) => {
            let controlled = setsid().and_then(|_| ioctl_tiocsctty(terminal));
            controlled.map_err(|error| format!("cannot be given the terminal: {error}"))?;
        }
        (Streams::Terminal | Streams::Handed, None) => {
            return Err("its standard streams were not handed over".to_owned());
        }
        // A group of its own: a program that signals its group must not hit the supervisor.
        (Streams::Supervised | Streams::Handed, _) => {
            setpgid(None, None).map_err(|error| format!("cannot lead a process group: {error}"))?;
        }
    }
    umask(Mode::WGRP | Mode::WOTH);
    if let Some(cgroup) = &program.cgroup {
        join(cgroup).map_err(|error| {
            format!(
                "cannot join the control group {}: {error}",
                cgroup.display()
            )
        })?;
    }
    for (name, (soft, hard)) in &program.rlimits {
        let resource = resource(name).ok_or_else(|| format!("`{name}` is not a known ulimit"))?;
        let limit = Rlimit {
            current: limit_value(*soft),
            maximum: limit_value(*hard),
        };
        setrlimit(resource, limit)
            .map_err(|error| format!("cannot set the ulimit `{name}` to {soft}:{hard}: {error}"))?;
    }
    if let Some(user) = &program.user {
        switch(user).map_err(|error| format!("cannot run as user {}: {error}", user.uid))?;
    }
    std::env::set_current_dir(&program.directory).map_err(|error| {
        format!(
            "cannot enter {}: {}",
            program.directory.display(),
            describe(&error)
        )
    })
}

/// Has signals do again what they do by default which whoever started the control plane ignores, as shells
/// do for what they run in the background: a program would inherit that, and no Ctrl-C and no
/// `stop_signal` would reach it. What is caught is at its default once the program takes over
/// (execve(2)); nothing of it is heard here.
fn heed_signals() -> io::Result<()> {
    let heard = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGQUIT] {
        signal_hook::flag::register(signal, Arc::clone(&heard))?;
    }
    Ok(())
}

fn join(cgroup: &Path) -> io::Result<()> {
    std::fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())
}

fn switch(user: &Credentials) -> rustix::io::Result<()> {
    let groups: Vec<Gid> = user
        .groups
        .iter()
        .map(|&group| Gid::from_raw(group))
        .collect();
    let (gid, uid) = (Gid::from_raw(user.gid), Uid::from_raw(user.uid));
    // These calls are for one thread, and this process has one.
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Compose writes -1 for no limit.
fn limit_value(value: u64) -> Option<u64> {
    (value != u64::MAX).then_some(value)
}

/// Finds a resource by its name in Compose's `ulimits`, which are those of setrlimit(2).
pub(crate) fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

/// Returns the system's words without the number behind them.
fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => NO_SUCH_FILE.to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
