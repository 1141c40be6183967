//! What the binary tells the Docker engine. Not where it comes from.

use std::ffi::OsString;
use std::path::PathBuf;

/// The socket that Docker listens on where nobody said otherwise.
pub const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// The Docker engine's configuration.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    /// Where Docker listens, as `DOCKER_HOST` has it: `unix://` or `tcp://` of this machine.
    pub host: String,
    /// The directory of `config.json`, which has the credentials of registries.
    pub credentials: Option<PathBuf>,
    /// Where programs are searched that hold credentials (`docker-credential-*`): a `PATH`.
    pub search_path: Option<OsString>,
    /// The socket of the SSH agent that builds may ask (`build.ssh`).
    pub ssh_agent: Option<PathBuf>,
    /// With fewer bytes free where Docker has its images, no release is prepared.
    pub minimum_free_bytes: u64,
    /// Who answers for the names of services in the networks that are made.
    pub names: Names,
}

/// Who answers for the names of services.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Names {
    /// Docker, with every container of a service.
    #[default]
    Docker,
    /// The router, where it can: somebody publishes what [`observe`] shows of the networks.
    ///
    /// [`observe`]: towpath_model::port::Engine::observe
    Router,
}

impl DockerConfig {
    /// Takes the defaults but for the socket.
    pub fn new(host: Option<String>) -> Self {
        Self {
            host: host.unwrap_or_else(|| DEFAULT_HOST.to_owned()),
            credentials: None,
            search_path: None,
            ssh_agent: None,
            minimum_free_bytes: 1 << 30,
            names: Names::default(),
        }
    }
}
