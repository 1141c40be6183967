//! What the control plane tells a supervisor and hears from it. Not how either acts on it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::log::LogSettings;
use crate::procfs::Identity;

/// All that a supervisor is told: one line of JSON on its standard input.
#[derive(Serialize, Deserialize)]
pub(crate) struct Launch {
    /// The binary and the words before `exec` that start stage 2.
    pub(crate) stage: Vec<String>,
    /// What to run.
    pub(crate) program: Program,
    /// Whether the working directory is an instance's: it is claimed before the program starts,
    /// how it goes is written to files there, and a request to stop is taken from there.
    pub(crate) recorded: bool,
    /// Where the log goes; nowhere when absent.
    pub(crate) log: Option<(PathBuf, LogSettings)>,
    /// Whether everything is killed as soon as the standard input is closed: as it is by the
    /// kernel when the control plane dies.
    pub(crate) lifeline: bool,
}

/// What a program's standard streams are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Streams {
    /// It reads nothing, and its supervisor takes what it writes.
    #[default]
    Supervised,
    /// Those that are handed over: input, output, errors.
    Handed,
    /// A terminal that is handed over, which becomes the one that controls it.
    Terminal,
}

/// A program to become. It has secrets in it: there is no `Debug`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Program {
    /// The program and its arguments.
    pub(crate) words: Vec<String>,
    /// Whether the first word is a shell, which does not hand on signals.
    pub(crate) shell: bool,
    /// All of its environment.
    pub(crate) environment: BTreeMap<String, String>,
    /// Where it runs.
    pub(crate) directory: PathBuf,
    /// Who it runs as; whoever the supervisor runs as when absent.
    pub(crate) user: Option<Credentials>,
    /// Resource limits by Compose's names: soft and hard.
    pub(crate) rlimits: BTreeMap<String, (u64, u64)>,
    /// The control group to join.
    pub(crate) cgroup: Option<PathBuf>,
    /// What its standard streams are.
    #[serde(default)]
    pub(crate) streams: Streams,
}

/// A user as the kernel knows one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credentials {
    /// The user.
    pub(crate) uid: u32,
    /// The primary group.
    pub(crate) gid: u32,
    /// All groups.
    pub(crate) groups: Vec<u32>,
}

/// What a supervisor says on its standard output, one line of JSON each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// The program runs.
    Started(Run),
    /// It ended, and all that it left behind.
    Ended {
        /// How.
        end: End,
        /// The last lines that it wrote.
        tail: Vec<String>,
    },
}

/// The content of `run.json`: who runs. Its existence is the claim of the directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The boot of the machine in which it runs.
    pub(crate) boot: String,
    /// The supervisor, which leads the session.
    pub(crate) supervisor: Identity,
    /// The program, once it was started.
    pub(crate) program: Option<Identity>,
    /// When it was started; the claim before that.
    pub(crate) at: Timestamp,
}

/// The content of `exit.json`: how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    /// The exit code.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// Why it never started.
    pub(crate) error: Option<String>,
    /// When.
    pub(crate) at: Timestamp,
}

/// The content of `stop.json`: the request to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StopRequest {
    /// The signal's number.
    pub(crate) signal: i32,
    /// How long the program may take.
    pub(crate) grace_ms: u64,
}
