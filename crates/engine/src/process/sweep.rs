//! Finds and kills what is left of instances whose supervisor is gone. Not the regular way of
//! ending one, which is the supervisor's.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::state::MARK;
use crate::procfs::{Identity, processes, variable};

/// How often new processes may be found after all known ones were killed, before it is given up.
const ROUNDS: usize = 50;

/// How long a killed process may take to go away.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// Returns every process whose mark satisfies `marked`, or that is in the session that
/// `supervisor` led.
pub(super) fn find(marked: impl Fn(&str) -> bool, supervisor: Option<Identity>) -> Vec<Identity> {
    let all = processes();
    // The number of a session that ended may be another one's now: its leader tells.
    let session = supervisor
        .filter(|supervisor| supervisor.pid > 0)
        .filter(|supervisor| {
            let leader = all
                .iter()
                .find(|process| process.identity.pid == supervisor.pid);
            leader.is_none_or(|leader| leader.identity == *supervisor)
        });
    let of_session = |pid: i32, started: u64| {
        session.is_some_and(|leader| leader.pid == pid && leader.started <= started)
    };
    all.iter()
        .filter(|process| !process.ended)
        .filter(|process| {
            of_session(process.session, process.identity.started)
                || variable(process.identity.pid, MARK).is_some_and(|mark| marked(&mark))
        })
        .map(|process| process.identity)
        .collect()
}

/// Kills all of them, and what they start meanwhile, and waits until they are gone.
pub(super) fn kill_all(
    marked: impl Fn(&str) -> bool,
    supervisor: Option<Identity>,
) -> io::Result<()> {
    for _ in 0..ROUNDS {
        let found = find(&marked, supervisor);
        if found.is_empty() {
            return Ok(());
        }
        for process in found {
            kill(process);
        }
    }
    let left = find(&marked, supervisor);
    let pids: Vec<String> = left.iter().map(|process| process.pid.to_string()).collect();
    if pids.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "processes {} do not go away",
        pids.join(", ")
    )))
}

/// Kills one process and waits until it is gone.
pub(super) fn kill(process: Identity) {
    let fd = Pid::from_raw(process.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let (Some(fd), true) = (fd, process.signal(Signal::KILL)) else {
        return;
    };
    // It may take longer: then the next round finds it again.
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&PATIENCE)).ok();
}
