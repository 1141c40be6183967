//! Processes of this machine as `/proc` shows them: which belong to a test. Not how they started.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

/// A living process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) id: i32,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<String>,
}

impl Process {
    /// Tells whether it is the program in this role: `serve`, `router`, `__shim`, `__launches`.
    pub(crate) fn has_role(&self, role: &str) -> bool {
        self.arguments.get(1).is_some_and(|word| word == role)
    }

    /// Returns a variable of the environment that it was started with.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .iter()
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// Kills it, if it is still there.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Asks it to end, as a service manager does.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Makes it hang: it lives, and does nothing.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = Pid::from_raw(self.id) {
            // It may have ended by itself.
            kill_process(id, signal).ok();
        }
    }

    pub(crate) fn words(&self) -> String {
        format!("{}: {}", self.id, self.arguments.join(" "))
    }
}

/// Returns every living process, but this one, that names `directory` in its arguments or its
/// environment, or that runs in it.
pub(crate) fn belonging_to(directory: &Path) -> Vec<Process> {
    let needle = directory.to_str().unwrap();
    let own = i32::try_from(std::process::id()).unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // A process may end at any moment: what cannot be read is not there. One that has ended and
        // that nobody has waited for has no arguments.
        let arguments = words(&entry.path().join("cmdline"));
        let environment = words(&entry.path().join("environ"));
        let runs_in =
            std::fs::read_link(entry.path().join("cwd")).unwrap_or_else(|_| PathBuf::new());
        let named = arguments
            .iter()
            .chain(&environment)
            .any(|word| word.contains(needle));
        if id != own && !arguments.is_empty() && (named || runs_in.starts_with(directory)) {
            found.push(Process {
                id,
                arguments,
                environment,
            });
        }
    }
    found
}

/// Returns every living process whose arguments have this word.
pub(crate) fn with_argument(word: &str) -> Vec<Process> {
    belonging_to(Path::new(word))
        .into_iter()
        .filter(|process| process.arguments.iter().any(|argument| argument == word))
        .collect()
}

fn words(path: &Path) -> Vec<String> {
    std::fs::read(path)
        .unwrap_or_default()
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}
