//! What instances use: counted over the processes of each, and by its control group where it has one.
//! Not what is made of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};
use towpath_model::console::Usage;
use towpath_model::id::{EnvironmentId, InstanceId};
use towpath_model::observation::InstanceState;

use super::shared::Shared;
use crate::procfs::{descendants, processes};
use crate::shim::files;
use crate::shim::launch::Run;

/// Returns what each instance that runs uses.
pub(super) fn of_environment(
    shared: &Shared,
    environment: &EnvironmentId,
) -> BTreeMap<InstanceId, Usage> {
    let running: Vec<(InstanceId, Option<PathBuf>)> = {
        let known = shared.lock();
        let instances = known.get(environment).map(|known| &known.instances);
        instances
            .into_iter()
            .flatten()
            .filter(|(_, one)| matches!(one.state, InstanceState::Running { .. }))
            .map(|(id, one)| {
                let group = one.file.as_ref().and_then(|file| file.cgroup.clone());
                (id.clone(), group)
            })
            .collect()
    };
    let all = processes();
    let mut used = BTreeMap::new();
    for (id, group) in running {
        let run: Option<Run> = files::read(&shared.layout.instance(&id).join(files::RUN))
            .ok()
            .flatten();
        let Some(run) = run else { continue };
        let own = descendants(&all, run.supervisor.pid);
        let mut usage = Usage {
            at: shared.clock.now(),
            ..Usage::default()
        };
        for process in own {
            add(&mut usage, process.identity.pid);
        }
        if let Some(group) = group {
            limited(&mut usage, &group);
        }
        used.insert(id, usage);
    }
    used
}

/// Adds what a process uses. One that ended meanwhile uses nothing.
fn add(usage: &mut Usage, pid: i32) {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    if let Some((ticks, threads)) = times(&read("stat")) {
        usage.cpu += duration(ticks);
        usage.pids += threads;
    }
    let page = u64::try_from(page_size()).unwrap_or(4_096);
    usage.memory_bytes += resident_pages(&read("statm")).unwrap_or_default() * page;
    let io = read("io");
    if let (Some(read), Some(written)) = (field(&io, "read_bytes:"), field(&io, "write_bytes:")) {
        let (before, after) = usage.disk.unwrap_or_default();
        usage.disk = Some((before + read, after + written));
    }
}

/// Takes what a control group counts, which knows also of processes that ended.
fn limited(usage: &mut Usage, group: &Path) {
    let read = |file: &str| fs::read_to_string(group.join(file)).unwrap_or_default();
    let number = |file: &str| read(file).trim().parse::<u64>().ok();
    if let Some(micros) = field(&read("cpu.stat"), "usage_usec") {
        usage.cpu = Duration::from_micros(micros);
    }
    if let Some(bytes) = number("memory.current") {
        let later = field(&read("memory.stat"), "inactive_file").unwrap_or_default();
        usage.memory_bytes = bytes.saturating_sub(later);
    }
    usage.memory_limit_bytes = number("memory.max");
    if let Some(pids) = number("pids.current") {
        usage.pids = pids;
    }
}

/// Reads the ticks that a process and the children that it waited for had, and its threads (fields
/// 14 to 17 and 20 of `/proc/<pid>/stat`).
fn times(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let mut ticks = 0;
    for index in 11..=14 {
        ticks += number(index)?;
    }
    Some((ticks, number(17)?))
}

fn duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(1_000) / clock_ticks_per_second().max(1))
}

/// Reads the second field of `/proc/<pid>/statm`.
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Reads a number from lines of a name and a number.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_process_are_its_own_and_those_of_children_that_ended() {
        let line = "42 (a) b) S 7 42 41 0 -1 4194304 1 0 0 0 1 2 4 8 20 0 3 0 98765 1 1";
        assert_eq!(times(line), Some((15, 3)));
        assert_eq!(times("42 (a) S 7"), None);
    }

    #[test]
    fn a_number_is_found_by_its_whole_name() {
        let text = "rchar: 1\nread_bytes: 20\nwrite_bytes: 30\n";
        assert_eq!(field(text, "read_bytes:"), Some(20));
        assert_eq!(field("inactive_file 7\n", "inactive_file"), Some(7));
        assert_eq!(field("", "x"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let mut usage = Usage::default();
        add(&mut usage, i32::try_from(std::process::id()).unwrap());
        assert!(usage.memory_bytes > 0 && usage.pids > 0, "{usage:?}");
    }
}
