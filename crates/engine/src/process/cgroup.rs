//! Limits of memory, CPU and processes by control groups (version 2), where the machine lets this
//! process have some. Not resource limits, which the kernel keeps for each process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::geteuid;
use towpath_model::id::InstanceId;
use towpath_model::workload::Limits;

use crate::secret_place::directory_name;

/// The controllers that the limits need.
const NEEDED: [&str; 3] = ["cpu", "memory", "pids"];

/// The period in which a share of a CPU is given, in microseconds: the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;

/// The smallest share of a period that the kernel takes, in microseconds.
const CPU_QUOTA_MIN_US: u64 = 1_000;

/// A group is made so often: the one that it is in may be removed by an instance that ends.
const ATTEMPTS: usize = 10;

/// Makes groups of instances in a group for this data directory, which is there while they are.
#[derive(Debug)]
pub(super) struct Cgroups {
    parent: PathBuf,
}

impl Cgroups {
    /// Finds a place for groups and prepares it. The error is for people.
    pub(super) fn find(data_id: &str) -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mount = mount_point(&read("/proc/self/mountinfo"))
            .ok_or("this machine has no control groups of version 2")?;
        let groups = read("/proc/self/cgroup");
        let own = own_group(&groups).unwrap_or_default();
        // Root may use the whole tree, others what was given to them.
        let base = if geteuid().is_root() {
            mount
        } else {
            mount.join(own)
        };
        Self::below(&base, data_id)
    }

    fn below(base: &Path, data_id: &str) -> Result<Self, String> {
        let controllers = fs::read_to_string(base.join("cgroup.controllers")).map_err(|error| {
            format!("cannot read the control group {}: {error}", base.display())
        })?;
        let missing = missing(&controllers);
        if !missing.is_empty() {
            return Err(format!(
                "the control group {} has no controller for {}",
                base.display(),
                missing.join(", ")
            ));
        }
        let refused = |error: io::Error| {
            let base = base.display();
            format!("may not make control groups in {base}: {error}")
        };
        access(base, Access::WRITE_OK).map_err(|error| refused(error.into()))?;
        leave(base)?;
        hand_down(base).map_err(refused)?;
        Ok(Self {
            parent: base.join(format!("towpath-{data_id}")),
        })
    }

    /// Makes the group of an instance, if it has limits.
    pub(super) fn make(&self, id: &InstanceId, limits: &Limits) -> io::Result<Option<PathBuf>> {
        let settings = settings(limits);
        if settings.is_empty() {
            return Ok(None);
        }
        let group = self.parent.join(directory_name(id));
        for attempt in 1.. {
            make(&self.parent)?;
            match hand_down(&self.parent).and_then(|()| make(&group)) {
                // The last of the other instances ended just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => {}
                made => {
                    made?;
                    break;
                }
            }
        }
        for (file, value) in settings {
            fs::write(group.join(file), value)?;
        }
        Ok(Some(group))
    }
}

/// Lets the groups in `group` have limits of their own.
fn hand_down(group: &Path) -> io::Result<()> {
    let wanted = NEEDED.map(|name| format!("+{name}")).join(" ");
    fs::write(group.join("cgroup.subtree_control"), wanted)
}

/// Removes the group of an instance that ended. Tells whether the kernel killed something in it
/// because its memory was used up.
pub(super) fn remove(group: &Path) -> io::Result<bool> {
    let events = fs::read_to_string(group.join("memory.events")).unwrap_or_default();
    match fs::remove_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(parent) = group.parent() {
        // It stays as long as another instance has a group in it.
        drop(fs::remove_dir(parent));
    }
    Ok(ran_out_of_memory(&events))
}

fn ran_out_of_memory(events: &str) -> bool {
    events
        .lines()
        .filter_map(|line| line.split_once(' '))
        .any(|(name, count)| name == "oom_kill" && count.trim() != "0")
}

fn make(group: &Path) -> io::Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Moves this process out of `base`, unless that is the root of the tree: only there may a group
/// have processes and groups with limits at once.
fn leave(base: &Path) -> Result<(), String> {
    if !base.join("cgroup.type").exists() {
        return Ok(());
    }
    let own = std::process::id().to_string();
    let processes = fs::read_to_string(base.join("cgroup.procs")).unwrap_or_default();
    if processes.lines().any(|pid| pid != own) {
        return Err(format!(
            "the control group {} has other processes in it: run Towpath in one of its own \
             (systemd: Delegate=yes)",
            base.display()
        ));
    }
    if processes.is_empty() {
        return Ok(());
    }
    let leaf = base.join("towpath-control");
    make(&leaf)
        .and_then(|()| fs::write(leaf.join("cgroup.procs"), own))
        .map_err(|error| format!("may not move to {}: {error}", leaf.display()))
}

/// Returns the files to write for limits, and what to write.
fn settings(limits: &Limits) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    if let Some(bytes) = limits.memory_bytes {
        settings.push(("memory.max", bytes.to_string()));
        // Half a program is no use: all of it ends.
        settings.push(("memory.oom.group", "1".to_owned()));
    }
    if let Some(millis) = limits.cpu_millis {
        let quota = u64::from(millis) * CPU_PERIOD_US / 1_000;
        settings.push((
            "cpu.max",
            format!("{} {CPU_PERIOD_US}", quota.max(CPU_QUOTA_MIN_US)),
        ));
    }
    if let Some(pids) = limits.pids {
        settings.push(("pids.max", pids.to_string()));
    }
    settings
}

fn missing(controllers: &str) -> Vec<&'static str> {
    let has = |name: &str| {
        controllers
            .split_ascii_whitespace()
            .any(|known| known == name)
    };
    NEEDED.into_iter().filter(|name| !has(name)).collect()
}

/// Finds where the tree of version 2 is mounted, in `/proc/self/mountinfo`.
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let is_v2 = after.split(' ').next() == Some("cgroup2");
        is_v2.then(|| before.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// Returns this process's group of version 2, relative to the mount, from `/proc/self/cgroup`.
fn own_group(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_and_the_own_group_are_found() {
        let mountinfo = "\
            25 1 0:22 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            26 1 0:23 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(
            mount_point(mountinfo),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert_eq!(mount_point("26 1 0:23 / /x rw - tmpfs tmpfs rw"), None);
        assert_eq!(
            own_group("9:pids:/a\n0::/user.slice/b\n"),
            Some("user.slice/b")
        );
    }

    #[test]
    fn limits_become_what_the_kernel_takes() {
        let limits = Limits {
            memory_bytes: Some(1 << 20),
            cpu_millis: Some(1_500),
            pids: Some(7),
            ..Limits::default()
        };
        let expected = [
            ("memory.max", "1048576"),
            ("memory.oom.group", "1"),
            ("cpu.max", "150000 100000"),
            ("pids.max", "7"),
        ];
        assert_eq!(
            settings(&limits),
            expected.map(|(file, value)| (file, value.to_owned()))
        );
        let tiny = Limits {
            cpu_millis: Some(1),
            ..Limits::default()
        };
        assert_eq!(settings(&tiny), [("cpu.max", "1000 100000".to_owned())]);
        assert!(settings(&Limits::default()).is_empty());
    }

    #[test]
    fn a_place_without_the_controllers_is_refused_by_their_names() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("cgroup.controllers"), "cpuset pids\n").unwrap();
        let error = Cgroups::below(base.path(), "x").unwrap_err();
        assert!(
            error.ends_with("has no controller for cpu, memory"),
            "{error}"
        );
    }

    #[test]
    fn a_group_that_others_are_in_is_left_alone() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        fs::write(base.path().join("cgroup.type"), "domain\n").unwrap();
        fs::write(base.path().join("cgroup.procs"), "1\n").unwrap();
        let error = Cgroups::below(base.path(), "x").unwrap_err();
        assert!(error.contains("other processes"), "{error}");
    }

    #[test]
    fn an_instance_with_limits_has_a_group_and_another_none() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        let groups = Cgroups::below(base.path(), "x").unwrap();
        let id = "shop/dev/web-1".parse().unwrap();
        assert_eq!(groups.make(&id, &Limits::default()).unwrap(), None);
        let limits = Limits {
            pids: Some(7),
            ..Limits::default()
        };
        let group = groups.make(&id, &limits).unwrap().unwrap();
        assert_eq!(group, base.path().join("towpath-x/shop.dev.web-1"));
        assert_eq!(fs::read_to_string(group.join("pids.max")).unwrap(), "7");
        assert!(ran_out_of_memory("low 0\noom 1\noom_kill 2\n"));
        assert!(!ran_out_of_memory("low 0\noom_kill 0\n"));
    }
}
