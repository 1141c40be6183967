//! What the binary tells the process engine. Not where it comes from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

pub use crate::log::LogSettings;

/// The process engine's configuration.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    /// The binary that plays the supervisor's role ([`crate::shim::main`]), and the words that ask
    /// it to.
    pub shim: (PathBuf, Vec<OsString>),
    /// The variables that every instance and build gets, under all others: `PATH`, `HOME`, `LANG`.
    /// Never the control plane's whole environment.
    pub base_environment: BTreeMap<String, String>,
    /// How much log is kept of each instance.
    pub log: LogSettings,
    /// Where secrets are put.
    pub secrets: SecretPlace,
}

impl ProcessConfig {
    /// Takes the defaults but for the supervisor.
    pub fn new(program: PathBuf, words: Vec<OsString>) -> Self {
        Self {
            shim: (program, words),
            base_environment: BTreeMap::new(),
            log: LogSettings::default(),
            secrets: SecretPlace::Memory,
        }
    }
}

/// Where the values of secrets are while an instance has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretPlace {
    /// In memory (`/run` or `/dev/shm`, where they are a tmpfs), else in the instance's directory.
    Memory,
    /// In the instance's directory.
    InstanceDirectory,
}
