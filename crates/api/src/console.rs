//! Commands in instances, one-off instances, and what instances use, on the wire. Not the bytes of
//! a command's streams ([`crate::frame`]).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A command to run in an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecRequest {
    /// The service.
    pub service: String,
    /// The instance, by its number; the one that has run longest when absent.
    #[serde(default)]
    pub instance: Option<u32>,
    /// The program and its arguments; nothing is expanded.
    pub command: Vec<String>,
    /// Variables beside the instance's own.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Where to run it; where the instance runs when absent.
    #[serde(default)]
    pub directory: Option<String>,
    /// Who runs it; who the instance runs as when absent.
    #[serde(default)]
    pub user: Option<String>,
    /// The size of its terminal; three streams of bytes when absent.
    #[serde(default)]
    pub terminal: Option<TerminalSize>,
    /// Whether it runs with nobody attached: the answer is no stream then.
    #[serde(default)]
    pub detach: bool,
}

/// A one-off instance to start: of the stable release, with its secrets, networks and volumes. It
/// gets no requests and is no part of the service's scale.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunRequest {
    /// The service.
    pub service: String,
    /// The program and its arguments, in place of the service's own; for a container what follows
    /// its entry point. Nothing is expanded.
    #[serde(default)]
    pub command: Vec<String>,
    /// The entry point, in place of the service's own; only containers have one.
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// Variables beside the service's own.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Where to run it; where the service runs when absent.
    #[serde(default)]
    pub directory: Option<String>,
    /// Who runs it; who the service runs as when absent.
    #[serde(default)]
    pub user: Option<String>,
    /// The size of its terminal; three streams of bytes when absent.
    #[serde(default)]
    pub terminal: Option<TerminalSize>,
    /// Whether it runs with nobody attached: the answer is no stream then.
    #[serde(default)]
    pub detach: bool,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TerminalSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// A command that runs with nobody attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Detached {
    /// The service.
    pub service: String,
    /// The number of the instance that it runs in, or that it is.
    pub instance: u32,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommandEnd {
    /// The exit code as a shell has it: 128 and the number of the signal that ended it, 127 where
    /// the program is not there, 126 where it cannot be executed.
    pub code: i32,
    /// Why it never started, or what else ended it.
    #[serde(default)]
    pub error: Option<String>,
}

/// What an instance uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InstanceUsage {
    /// The service.
    pub service: String,
    /// The number of the instance within the environment.
    pub instance: u32,
    /// When it was counted.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How much of one CPU it has, in percent: 200 is two CPUs. Absent until it was looked at twice.
    pub cpu_percent: Option<f64>,
    /// Bytes of memory, without what the kernel only keeps for later.
    pub memory_bytes: u64,
    /// The most that it may have; absent where nothing limits it.
    pub memory_limit_bytes: Option<u64>,
    /// Bytes that came in over its network since its start; absent where it has none of its own.
    pub network_received_bytes: Option<u64>,
    /// Bytes that went out.
    pub network_sent_bytes: Option<u64>,
    /// Bytes read from disks since its start; absent where the machine does not tell.
    pub disk_read_bytes: Option<u64>,
    /// Bytes written to them.
    pub disk_written_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
}

/// What the instances of an environment use, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Those that run, in the order of their services and numbers.
    pub instances: Vec<InstanceUsage>,
}
