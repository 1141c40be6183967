//! The arguments of commands on a directory: its Compose files, its delivery file, releases of it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Choice;

/// The Compose files and what they are read with.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Files {
    /// A Compose file; several are merged in their order
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) compose: Vec<PathBuf>,
    /// The directory that relative paths start from
    #[arg(long, value_name = "DIR")]
    pub(crate) project_directory: Option<PathBuf>,
    /// The name of the project
    #[arg(short = 'p', long, value_name = "NAME")]
    pub(crate) project_name: Option<String>,
    /// A file of variables, in place of `.env`; several may be named
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// A profile to activate; several may be named
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Vec<String>,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Replace a towpath.yaml that is there
    #[arg(long)]
    pub(crate) force: bool,
    /// What the environments run on: docker where it answers and a service needs it, else process
    #[arg(long, value_name = "ENGINE")]
    pub(crate) engine: Option<EngineName>,
}

/// An engine, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// Plain processes on this machine
    Process,
    /// Containers of its Docker Engine
    Docker,
}

impl From<EngineName> for towpath_model::delivery::Engine {
    fn from(name: EngineName) -> Self {
        match name {
            EngineName::Process => Self::Process,
            EngineName::Docker => Self::Docker,
        }
    }
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Only this environment; all when absent
    #[arg(long, short = 'e', value_name = "NAME")]
    pub(crate) env: Option<String>,
    /// Print the findings as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `config`.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one of Docker Compose's own flags"
)]
pub(crate) struct Config {
    #[command(flatten)]
    pub(crate) files: Files,
    /// These services, and what they depend on; all when absent
    #[arg(value_name = "SERVICE")]
    pub(crate) service: Vec<String>,
    /// The form of the output [default: yaml]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Print the names of the services
    #[arg(long)]
    pub(crate) services: bool,
    /// Print the names of the volumes
    #[arg(long)]
    pub(crate) volumes: bool,
    /// Print the names of the networks
    #[arg(long)]
    pub(crate) networks: bool,
    /// Print the models that services use
    #[arg(long)]
    pub(crate) models: bool,
    /// Print the images
    #[arg(long)]
    pub(crate) images: bool,
    /// Print the profiles
    #[arg(long)]
    pub(crate) profiles: bool,
    /// Print the digest of each service, or of those named between commas
    #[arg(long, value_name = "SERVICES", num_args = 0..=1, default_missing_value = "*")]
    pub(crate) hash: Option<String>,
    /// Print the variables that the files use
    #[arg(long)]
    pub(crate) variables: bool,
    /// Print the variables that interpolation sees
    #[arg(long)]
    pub(crate) environment: bool,
    /// Leave variables as they are written
    #[arg(long)]
    pub(crate) no_interpolate: bool,
    /// Leave out what is implied: the default network, names, build contexts
    #[arg(long)]
    pub(crate) no_normalize: bool,
    /// Leave relative paths as they are written
    #[arg(long)]
    pub(crate) no_path_resolution: bool,
    /// Do not check that what is referred to is there
    #[arg(long)]
    pub(crate) no_consistency: bool,
    /// Leave the env files of services unread
    #[arg(long)]
    pub(crate) no_env_resolution: bool,
    /// Refused: it would have to ask a registry
    #[arg(long, hide = true)]
    pub(crate) resolve_image_digests: bool,
    /// Refused: it would have to ask a registry
    #[arg(long, hide = true)]
    pub(crate) lock_image_digests: bool,
    /// Write into a file, in place of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print nothing, only check
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// A form of output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// YAML
    #[default]
    Yaml,
    /// JSON
    Json,
}

/// How a release is brought out.
#[derive(Debug, Clone, Args)]
pub(crate) struct Rollout {
    /// How instances and traffic move, in place of what towpath.yaml says
    #[arg(long, value_enum)]
    strategy: Option<StrategyName>,
    /// What to wait for
    #[arg(long, value_enum, default_value_t)]
    pub(crate) wait: Wait,
    /// What to say of the release
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Print JSON, a line for each change
    #[arg(long)]
    pub(crate) json: bool,
}

impl Rollout {
    /// Returns the strategy that was typed.
    pub(crate) fn strategy(&self) -> Option<towpath_api::Strategy> {
        self.strategy.map(|strategy| match strategy {
            StrategyName::Rolling => towpath_api::Strategy::Rolling,
            StrategyName::BlueGreen => towpath_api::Strategy::BlueGreen,
            StrategyName::Canary => towpath_api::Strategy::Canary,
            StrategyName::Recreate => towpath_api::Strategy::Recreate,
        })
    }
}

/// How instances and traffic move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StrategyName {
    /// A few instances at a time
    Rolling,
    /// The whole release beside the old one, then all traffic at once
    BlueGreen,
    /// A growing share of the traffic, with a verdict at each step
    Canary,
    /// Stop, then start; requests are held meanwhile
    Recreate,
}

/// What a command waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// Nothing: the number of the deployment is printed
    None,
    /// All traffic on the release, or the deployment's end
    #[default]
    Traffic,
    /// The end of the bake
    Bake,
}

/// Arguments of `up`.
#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) files: Files,
    /// The environment; the only one, or `dev`, when absent
    #[arg(long, short = 'e', value_name = "NAME")]
    pub(crate) env: Option<String>,
    #[command(flatten)]
    pub(crate) rollout: Rollout,
}

/// Arguments of `deploy`.
#[derive(Debug, Args)]
pub(crate) struct Deploy {
    #[command(flatten)]
    pub(crate) choice: Choice,
    #[command(flatten)]
    pub(crate) files: Files,
    /// A release that was made before, by its number
    #[arg(long, value_name = "NUMBER", conflicts_with = "commit")]
    pub(crate) release: Option<u32>,
    /// A commit of this repository, in place of the working tree
    #[arg(long, value_name = "REVISION")]
    pub(crate) commit: Option<String>,
    /// Pass the gates of the environment, as its owner may, and say why
    #[arg(long = "override", value_name = "REASON")]
    pub(crate) past_gates: Option<String>,
    #[command(flatten)]
    pub(crate) rollout: Rollout,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) choice: Choice,
    #[command(flatten)]
    pub(crate) files: Files,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
