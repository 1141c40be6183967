//! The arguments of commands on runs: which one, and what is decided.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Files, Target};

/// Arguments of `runs`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Runs {
    #[command(subcommand)]
    pub(crate) command: Option<RunsCommand>,
    /// The app; that of this directory when absent
    #[arg(value_name = "APP")]
    pub(crate) of: Option<String>,
    /// How many: the latest ones
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: u32,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to do with runs, other than list them.
#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// Begin a run of this directory as it is: its jobs, then its deployments
    Start(RunsStart),
    /// Show one run
    Show(OnRun),
    /// Follow one run to its end
    Watch(OnRun),
    /// Show what a job wrote
    Logs(RunsLogs),
    /// List the files that jobs of a run made for others, or download them
    Artifacts(RunsArtifacts),
    /// Stop a run, its jobs, and the deployment that is under way
    Cancel(OnRun),
    /// Try again what failed of a run
    Retry(OnRun),
}

/// What a command waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunWait {
    /// Nothing: the number of the run is printed
    None,
    /// The release has all the traffic where it goes by itself, or waits for a person
    #[default]
    Delivery,
    /// The end of the run
    End,
}

/// Arguments of `runs start`.
#[derive(Debug, Args)]
pub(crate) struct RunsStart {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Have it count as a push to this branch
    #[arg(long, value_name = "NAME", conflicts_with = "tag")]
    pub(crate) branch: Option<String>,
    /// Have it count as this tag
    #[arg(long, value_name = "NAME")]
    pub(crate) tag: Option<String>,
    /// What to say of the release
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// What to wait for
    #[arg(long, value_enum, default_value_t)]
    pub(crate) wait: RunWait,
    /// Print JSON, a line for each change
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of commands on one run.
#[derive(Debug, Args)]
pub(crate) struct OnRun {
    /// The run; the latest one when absent
    pub(crate) number: Option<u32>,
    /// The app, where it is not that of this directory
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `runs logs`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct RunsLogs {
    /// The run
    pub(crate) number: u32,
    /// The job, by its name; all of them when absent
    pub(crate) job: Option<String>,
    /// The app, where it is not that of this directory
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,
    /// The attempt, by its number; the last one when absent
    #[arg(long, value_name = "NUMBER")]
    pub(crate) attempt: Option<u32>,
    /// Also what the services beside the job wrote
    #[arg(long)]
    pub(crate) services: bool,
    /// Go on with new lines as they are written
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Print JSON, a line for each line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `runs artifacts`.
#[derive(Debug, Args)]
pub(crate) struct RunsArtifacts {
    /// The run
    pub(crate) number: u32,
    /// The job, by its name; all of them when absent
    pub(crate) job: Option<String>,
    /// The app, where it is not that of this directory
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,
    /// Write the files to this directory
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to do with the caches of jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List them
    Ls(CacheLs),
    /// Remove those of one name, or all: the next run does without
    Rm(CacheRm),
}

/// Arguments of `cache ls`.
#[derive(Debug, Args)]
pub(crate) struct CacheLs {
    /// The app; that of this directory when absent
    pub(crate) app: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `cache rm`.
#[derive(Debug, Args)]
pub(crate) struct CacheRm {
    /// The name, as `cache ls` has it
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) name: Option<String>,
    /// Remove all caches of the app
    #[arg(long)]
    pub(crate) all: bool,
    /// The app, where it is not that of this directory
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `promote`.
#[derive(Debug, Args)]
pub(crate) struct Promote {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The release; that of the environment which releases come from when absent
    #[arg(long, value_name = "NUMBER")]
    pub(crate) release: Option<u32>,
    /// What to wait for
    #[arg(long, value_enum, default_value_t)]
    pub(crate) wait: RunWait,
    /// Print JSON, a line for each change
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `hotfix`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["commit", "tag"])))]
pub(crate) struct Hotfix {
    /// The environment that it goes straight to: one of the app of this directory
    pub(crate) environment: String,
    /// The commit: a revision of this repository
    #[arg(long, value_name = "REVISION")]
    pub(crate) commit: Option<String>,
    /// The tag of this repository
    #[arg(long, value_name = "NAME")]
    pub(crate) tag: Option<String>,
    #[command(flatten)]
    pub(crate) files: Files,
    /// What to say of the release
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// What to wait for
    #[arg(long, value_enum, default_value_t)]
    pub(crate) wait: RunWait,
    /// Print JSON, a line for each change
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `approvals`.
#[derive(Debug, Args)]
pub(crate) struct Approvals {
    /// Also what waits for others
    #[arg(long)]
    pub(crate) all: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `approve` and `reject`.
#[derive(Debug, Args)]
pub(crate) struct Decide {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The run; the latest one that waits there when absent
    #[arg(long, value_name = "NUMBER")]
    pub(crate) run: Option<u32>,
    /// What to say of it
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
