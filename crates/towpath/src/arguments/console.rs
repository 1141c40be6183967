//! The arguments of what people do in an environment beside deploying to it.

use clap::Args;

use super::Choice;

/// A service, and the environment that it is in, which may be left out.
#[derive(Debug, Clone, Args)]
pub(crate) struct InService {
    /// The service; before it the environment, where it is not the only one or `dev`
    #[arg(value_name = "SERVICE", num_args = 1..=2, required = true)]
    pub(crate) service: Vec<String>,
    /// The app, where it is not that of this directory
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,
}

/// How a command runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct Surroundings {
    /// A variable; without a value, the one of this shell
    #[arg(long = "var", short = 'e', value_name = "NAME[=VALUE]")]
    pub(crate) variables: Vec<String>,
    /// Where to run it, in place of the service's directory
    #[arg(long, short, value_name = "DIRECTORY")]
    pub(crate) workdir: Option<String>,
    /// Who runs it, in place of the service's user
    #[arg(long, short, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Give it no terminal, though this is one
    #[arg(long, short = 'T')]
    pub(crate) no_tty: bool,
    /// Leave it running, and print which instance it runs in
    #[arg(long, short)]
    pub(crate) detach: bool,
}

/// Arguments of `exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    #[command(flatten)]
    pub(crate) of: InService,
    /// The instance, by its number; the one that has run longest when absent
    #[arg(long, visible_alias = "index", value_name = "NUMBER")]
    pub(crate) instance: Option<u32>,
    #[command(flatten)]
    pub(crate) surroundings: Surroundings,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) of: InService,
    /// The entry point of the container, in place of the service's own
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// It is removed when it ends: said for those who are used to say it
    #[arg(long)]
    pub(crate) rm: bool,
    #[command(flatten)]
    pub(crate) surroundings: Surroundings,
    /// The program and its arguments, in place of the service's own
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

/// Arguments of `stats`.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// Only the instances of this service
    pub(crate) service: Option<String>,
    /// Look once
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Print JSON, a line for each look
    #[arg(long)]
    pub(crate) json: bool,
}
