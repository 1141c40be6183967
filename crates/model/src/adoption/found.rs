//! What an engine finds of a Compose project: containers, volumes and networks with the labels of
//! Docker Compose. Not what is made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A Compose project that somebody started with `docker compose`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundProject {
    /// Its name.
    pub name: String,
    /// Its containers, the one-off ones too.
    pub containers: Vec<FoundContainer>,
    /// Its volumes: by their names in the Compose file, their names on the machine.
    pub volumes: BTreeMap<String, String>,
    /// Its networks, likewise.
    pub networks: BTreeMap<String, String>,
}

impl FoundProject {
    /// Returns the directory that it was started in, where its containers agree on one.
    pub fn working_directory(&self) -> Option<&str> {
        let mut named = self
            .containers
            .iter()
            .filter_map(|one| one.working_directory.as_deref());
        named.next()
    }

    /// Returns the Compose files that it was started from, in their order.
    pub fn config_files(&self) -> &[String] {
        let mut named = self.containers.iter().map(|one| &*one.config_files);
        named.find(|files| !files.is_empty()).unwrap_or_default()
    }
}

/// A container of a Compose project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundContainer {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The service that it is a copy of.
    pub service: String,
    /// Which copy.
    pub number: u32,
    /// It was made by `docker compose run`.
    pub one_off: bool,
    /// The directory of the project.
    pub working_directory: Option<String>,
    /// The files of the project.
    pub config_files: Vec<String>,
    /// What it does.
    pub state: FoundState,
    /// The image as it was named.
    pub image: FoundImage,
    /// What it was started with.
    pub settings: FoundSettings,
    /// What the image says where nobody says otherwise.
    pub defaults: FoundSettings,
    /// Its volumes and binds.
    pub mounts: Vec<FoundMount>,
    /// The networks that it is in, by their names on the machine.
    pub networks: BTreeSet<String>,
    /// The ports of the machine that it has.
    pub ports: BTreeSet<FoundPort>,
    /// It has the machine's own network.
    pub on_host_network: bool,
    /// Its memory limit in bytes; 0 is none.
    pub memory: u64,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundState {
    /// It runs, and its own health check, where it has one, is not failing.
    Running,
    /// It ended.
    Exited {
        /// How.
        code: i64,
    },
    /// It is in no state to be taken over, in Docker's word (`paused`, `restarting`, `unhealthy`).
    Other(String),
}

/// The image of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundImage {
    /// The reference that it was started with.
    pub reference: String,
    /// What that was then.
    pub id: String,
    /// What it is now, where it is still there.
    pub now: Option<String>,
}

/// What a container, or an image, says about the program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundSettings {
    /// The entry point.
    pub entrypoint: Vec<String>,
    /// The command.
    pub command: Vec<String>,
    /// The variables.
    pub environment: BTreeMap<String, String>,
    /// The user.
    pub user: String,
    /// The working directory.
    pub working_directory: String,
}

/// A mount of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundMount {
    /// The path in the container.
    pub target: String,
    /// The volume's name on the machine, for a volume.
    pub volume: Option<String>,
    /// The path on the machine, for a bind.
    pub path: Option<String>,
    /// Whether the volume was made without a name and goes with its container.
    pub anonymous: bool,
}

/// A port of the machine that a container has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundPort {
    /// The address on the machine; all when absent.
    pub host: Option<IpAddr>,
    /// The port on the machine.
    pub port: u16,
    /// The port in the container.
    pub target: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}
