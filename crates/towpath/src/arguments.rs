//! The arguments as they were typed. Not what they mean, which is each command's.

mod adopt;
mod console;
mod environment;
mod notify;
mod pipeline;
mod project;
mod repository;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use console::*;
pub(crate) use environment::*;
pub(crate) use notify::*;
pub(crate) use pipeline::*;
pub(crate) use project::*;
pub(crate) use repository::*;

pub(crate) use adopt::Adopt;

/// From one machine to isolated environments and zero-downtime releases.
#[derive(Debug, Parser)]
#[command(name = "towpath", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole story on this machine, with nothing to install, and what was measured
    Demo(Demo),
    /// Write a towpath.yaml for the Compose file of this directory
    Init(Init),
    /// Check the Compose files and towpath.yaml of this directory
    Check(Check),
    /// Print the normalised Compose project
    Config(Config),
    /// Print the JSON Schema of towpath.yaml, for editors
    Schema,
    /// Run this directory's app: make a release of it and bring it out
    Up(Up),
    /// Take over a running Docker Compose project, without stopping it
    Adopt(Adopt),
    /// Show what a deployment of this directory would change
    Plan(Plan),
    /// Bring a release to an environment
    Deploy(Deploy),
    /// Bring jobs and deployments about: list runs, begin one, follow it, read its logs
    Runs(Runs),
    /// Bring a release on to the next environment
    Promote(Promote),
    /// Bring a commit straight to an environment: its jobs run, and people approve it
    Hotfix(Hotfix),
    /// List the releases that wait for an approval, of all apps
    Approvals(Approvals),
    /// Let a release come to an environment that waits for it
    Approve(Decide),
    /// Have a release not come to an environment that waits for it
    Reject(Decide),
    /// Bring an earlier release back
    Rollback(Rollback),
    /// Stop the deployment under way and go back to the stable release
    Abort(OnEnvironment),
    /// Keep the deployment under way where it is
    Pause(OnEnvironment),
    /// Let a paused deployment go on
    Resume(OnEnvironment),
    /// Hold automatic deployment to an environment, until somebody releases it
    Hold(Hold),
    /// Let automatic deployment to an environment go on
    #[command(visible_alias = "release")]
    ReleaseHold(OnEnvironment),
    /// Have the router serve, pause or refuse all requests of an environment
    #[command(subcommand)]
    Traffic(TrafficCommand),
    /// Show what runs
    Status(OnEnvironment),
    /// List the releases of an app
    Releases(Releases),
    /// List what was brought out
    Deployments(Deployments),
    /// Show the audit trail: who did what, when and why
    Events(Events),
    /// Show what instances wrote
    Logs(Logs),
    /// Run a command in an instance
    Exec(Exec),
    /// Start a one-off instance of a service: a migration, a console
    Run(Run),
    /// Show what instances use of the machine
    Stats(Stats),
    /// Change how many instances services have
    Scale(Scale),
    /// Stop everything in an environment; its volumes and releases stay
    Down(OnEnvironment),
    /// List, make and remove environments
    #[command(subcommand)]
    Env(EnvCommand),
    /// Set, list and remove the secrets of an environment
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Set up the Git repository of an app: what it follows, what of it is delivered
    #[command(subcommand, name = "repo")]
    Repository(RepositoryCommand),
    /// List and remove the caches of an app's jobs
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Try out who is told of what happens
    #[command(subcommand)]
    Notify(NotifyCommand),
    /// Make, list and revoke tokens for the API on TCP
    #[command(subcommand)]
    Token(TokenCommand),
    /// Run the control plane
    Serve(Serve),
    /// Stop the control plane of this machine; the router and the instances go on
    Stop(Stop),
    /// Run the data plane (the control plane starts it by itself)
    Router(Data),
    /// Print the completions of a shell
    Completions(Completions),
    /// Write the manual pages to a directory
    Man(Man),
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// What the story's app runs on: a raffle as processes, or a web shop as containers
    #[arg(long, value_name = "ENGINE", value_enum, default_value_t = EngineName::Process)]
    pub(crate) engine: EngineName,
    /// Print what was measured as JSON, and nothing of the story
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep the directory when it ends, and the base images on Docker
    #[arg(long)]
    pub(crate) keep: bool,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make one, and print it: it cannot be had again
    Create(OnToken),
    /// List them
    Ls(List),
    /// Revoke one for ever
    Rm(OnToken),
}

/// Arguments of commands on one token.
#[derive(Debug, Args)]
pub(crate) struct OnToken {
    /// What it is for, of a new one; its id, of one that is there
    pub(crate) name: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of commands that list.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where the control plane keeps everything.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Data {
    /// The data directory; `TOWPATH_HOME`, or `towpath` in the user's data directory, when absent
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) data: Data,
    /// Listen on TCP too; only requests with a token are answered there
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Speak HTTPS there, with this certificate and its chain, as PEM; a renewed file is taken over
    #[arg(long, value_name = "FILE", requires_all = ["listen", "tls_key"])]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The private key of the certificate, as PEM
    #[arg(long, value_name = "FILE", requires_all = ["listen", "tls_cert"])]
    pub(crate) tls_key: Option<PathBuf>,
}

/// Arguments of `stop`.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Stop everything: all environments, the control plane, and the router; volumes and releases
    /// stay
    #[arg(long)]
    pub(crate) all: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Where to write the pages
    pub(crate) directory: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Writes the help of a command and of all below it.
    fn describe(command: &mut clap::Command, path: &str, text: &mut String) {
        text.push_str(&format!("\n## {path}\n\n```\n"));
        let help = command.render_long_help().to_string();
        let lines = help.lines().map(str::trim_end);
        text.push_str(&lines.collect::<Vec<_>>().join("\n"));
        text.push_str("\n```\n");
        let below = command.get_subcommands_mut();
        for command in below.filter(|one| !one.is_hide_set() && one.get_name() != "help") {
            let path = format!("{path} {}", command.get_name());
            describe(command, &path, text);
        }
    }

    #[test]
    fn every_command_is_documented_as_it_is() {
        let mut text = "# Commands\n\nWhat `towpath --help` and its like print. A test says when this page is not \
            up to date.\n\nThe exit codes: 0 done; 1 the operation failed; 2 bad input; 3 not found or not reachable; \
            4 not allowed.\n`exec` and `run` end with the exit code of the \
            command that they ran.\nWhat `--json` prints is in [json.md](json.md).\n"
            .to_owned();
        let mut command = Arguments::command().term_width(100);
        command.build();
        describe(&mut command, "towpath", &mut text);
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md");
        let written = std::fs::read_to_string(page).unwrap_or_default();
        if written != text {
            let made = std::env::temp_dir().join("towpath-commands.md");
            std::fs::write(&made, &text).unwrap();
            panic!(
                "docs/commands.md is not up to date: replace it with {}",
                made.display()
            );
        }
    }

    #[test]
    fn the_arguments_do_not_contradict_one_another() {
        Arguments::command().debug_assert();
    }
}
