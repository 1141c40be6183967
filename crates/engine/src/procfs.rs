//! What `/proc` tells of processes, and how they are killed without hitting a stranger. Not who
//! they belong to, which is the callers' knowledge.

use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// One process among all that ever had its number since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Its number.
    pub(crate) pid: i32,
    /// When it started, in clock ticks since the boot (field 22 of `/proc/<pid>/stat`).
    pub(crate) started: u64,
}

impl Identity {
    /// Returns the identity of the process that has this number now.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        stat(pid).map(|stat| stat.identity)
    }

    /// Tells whether it still runs. One that ended and was not yet waited for does not.
    pub(crate) fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.identity == self && !stat.ended)
    }

    /// Sends it a signal, unless it ended. Tells whether there was somebody to receive it.
    pub(crate) fn signal(self, signal: Signal) -> bool {
        let Some(fd) =
            Pid::from_raw(self.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            return false;
        };
        // The descriptor now stands for one process for good: if that is ours, the signal cannot
        // reach another one that is given the number later.
        self.is_alive() && pidfd_send_signal(&fd, signal).is_ok()
    }
}

/// What `/proc/<pid>/stat` says, as far as it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Who it is.
    pub(crate) identity: Identity,
    /// Whether it ended and waits to be reaped.
    pub(crate) ended: bool,
    /// Its parent.
    pub(crate) parent: i32,
    /// Its session.
    pub(crate) session: i32,
}

/// Reads a line of `/proc/<pid>/stat`. The name in it may hold spaces and parentheses.
fn parse_stat(text: &str) -> Option<Stat> {
    let (pid, rest) = text.split_once(" (")?;
    let (_, fields) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<i32>().ok();
    Some(Stat {
        identity: Identity {
            pid: pid.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        },
        ended: matches!(*fields.first()?, "Z" | "X" | "x"),
        parent: number(1)?,
        session: number(3)?,
    })
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Returns all processes that can be seen.
pub(crate) fn processes() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(stat)
        .collect()
}

/// Returns all that descend from `ancestor` among `processes`, without itself.
pub(crate) fn descendants(processes: &[Stat], ancestor: i32) -> Vec<Stat> {
    let mut found: Vec<Stat> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for process in processes.iter().filter(|process| process.parent == parent) {
            if found.iter().all(|known| known.identity != process.identity) {
                parents.push(process.identity.pid);
                found.push(*process);
            }
        }
    }
    found
}

/// Returns what a process was started with as `name` in its environment, where it may be read.
pub(crate) fn variable(pid: i32, name: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    variable_of(&environment, name)
}

fn variable_of(environment: &[u8], name: &str) -> Option<String> {
    environment
        .split(|&byte| byte == 0)
        .filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .next()
}

/// Returns what tells one boot of the machine from another.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// Returns a fresh random name.
pub(crate) fn random_name() -> std::io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/uuid").map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_past_a_name_with_spaces_and_parentheses() {
        let line = "42 (a) R (b) S 7 42 41 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 1";
        let stat = parse_stat(line).unwrap();
        assert_eq!(
            stat.identity,
            Identity {
                pid: 42,
                started: 98765
            }
        );
        assert_eq!((stat.parent, stat.session, stat.ended), (7, 41, false));
        assert!(parse_stat("42 (zombie) Z 1 42 42 0").is_none());
    }

    #[test]
    fn the_identity_of_this_process_is_alive_and_another_start_time_is_not() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = Identity::of(pid).unwrap();
        assert!(own.is_alive());
        let earlier = Identity {
            started: own.started - 1,
            ..own
        };
        assert!(!earlier.is_alive());
    }

    #[test]
    fn descendants_are_found_through_generations() {
        let process = |pid, parent| Stat {
            identity: Identity { pid, started: 1 },
            ended: false,
            parent,
            session: 1,
        };
        let all = [process(2, 1), process(3, 2), process(4, 3), process(5, 1)];
        let pids: Vec<i32> = descendants(&all, 2)
            .iter()
            .map(|s| s.identity.pid)
            .collect();
        assert_eq!(pids, [3, 4]);
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let environment = b"XA=0\0A=1=2\0AB=3\0";
        assert_eq!(variable_of(environment, "A").as_deref(), Some("1=2"));
        assert_eq!(variable_of(environment, "B"), None);
    }
}
