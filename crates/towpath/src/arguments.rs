//! The arguments as they were typed. Not what they mean, which is each command's.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Show what a deployment of this directory would change
    Plan(Plan),
    /// Bring a release to an environment
    Deploy(Deploy),
    /// Bring an earlier release back
    Rollback(Rollback),
    /// Stop the deployment under way and go back to the stable release
    Abort(OnDeployment),
    /// Keep the deployment under way where it is
    Pause(OnDeployment),
    /// Let a paused deployment go on
    Resume(OnDeployment),
    /// Show what runs
    Status(OnDeployment),
    /// List the releases of an app
    Releases(Releases),
    /// List what was brought out
    Deployments(Deployments),
    /// Show the audit trail: who did what, when and why
    Events(Events),
    /// Show what instances wrote
    Logs(Logs),
    /// Change how many instances services have
    Scale(Scale),
    /// Stop everything in an environment; its volumes and releases stay
    Down(OnDeployment),
    /// List, make and remove environments
    #[command(subcommand)]
    Env(EnvCommand),
    /// Set, list and remove the secrets of an environment
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Make, list and revoke tokens for the API on TCP
    #[command(subcommand)]
    Token(TokenCommand),
    /// Run the control plane
    Serve(Serve),
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
    /// Print what was measured as JSON, and nothing of the story
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep the directory when it ends
    #[arg(long)]
    pub(crate) keep: bool,
}

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
    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Print the names of the services
    #[arg(long)]
    pub(crate) services: bool,
    /// Print the names of the volumes
    #[arg(long)]
    pub(crate) volumes: bool,
    /// Print the names of the networks
    #[arg(long)]
    pub(crate) networks: bool,
    /// Print the images
    #[arg(long)]
    pub(crate) images: bool,
    /// Print the profiles
    #[arg(long)]
    pub(crate) profiles: bool,
    /// Print the digest of each service, or of one
    #[arg(long, value_name = "SERVICE", num_args = 0..=1, default_missing_value = "*")]
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

/// The environment that a command is about.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// The environment: a name, of the app of this directory, or `app/name`
    pub(crate) environment: String,
    /// The app, where it is not that of this directory
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,
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
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) files: Files,
    /// A release that was made before, by its number
    #[arg(long, value_name = "NUMBER", conflicts_with = "commit")]
    pub(crate) release: Option<u32>,
    /// A commit of this repository, in place of the working tree
    #[arg(long, value_name = "REVISION")]
    pub(crate) commit: Option<String>,
    #[command(flatten)]
    pub(crate) rollout: Rollout,
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The release to bring back; the one before when absent
    #[arg(long, value_name = "NUMBER")]
    pub(crate) release: Option<u32>,
    /// Print JSON, a line for each change
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of commands that only name an environment.
#[derive(Debug, Args)]
pub(crate) struct OnDeployment {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `deployments`.
#[derive(Debug, Args)]
pub(crate) struct Deployments {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How many, newest first
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: u32,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `scale`.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    #[command(flatten)]
    pub(crate) target: Target,
    /// A service and its number of instances
    #[arg(value_name = "SERVICE=COUNT", required = true, value_parser = count)]
    pub(crate) counts: Vec<(String, u32)>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn count(text: &str) -> Result<(String, u32), String> {
    let (service, count) = text.split_once('=').ok_or("write service=count")?;
    let count = count
        .parse()
        .map_err(|_| format!("`{count}` is not a number of instances"))?;
    Ok((service.to_owned(), count))
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) files: Files,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `releases`.
#[derive(Debug, Args)]
pub(crate) struct Releases {
    /// The app; that of this directory when absent
    pub(crate) app: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `events`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Events {
    #[command(subcommand)]
    pub(crate) command: Option<EventCommand>,
    /// Only those of this environment: a name, or `app/name`
    #[arg(long, short = 'e', value_name = "NAME")]
    pub(crate) env: Option<String>,
    /// How many: the latest ones
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: u32,
    /// Go on with new lines as they are written
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to do with the audit trail, other than read it.
#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// Check that no line was changed, removed or added by another hand
    Verify(List),
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Only these services
    pub(crate) service: Vec<String>,
    /// Only this instance, by its number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) instance: Option<u32>,
    /// Only the last so many lines of each instance
    #[arg(long, short = 'n', value_name = "LINES")]
    pub(crate) tail: Option<usize>,
    /// Go on with new lines as they are written
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Print JSON, a line for each line
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to do with secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Set one, to what comes from standard input or a file
    Set(SecretSet),
    /// List them, without their values
    Ls(OnDeployment),
    /// Remove one
    Rm(SecretRemove),
}

/// Arguments of `secret set`.
#[derive(Debug, Args)]
pub(crate) struct SecretSet {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The secret
    pub(crate) name: String,
    /// A file whose content is the value, in place of standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `secret rm`.
#[derive(Debug, Args)]
pub(crate) struct SecretRemove {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The secret
    pub(crate) name: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
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

/// What to do with environments.
#[derive(Debug, Subcommand)]
pub(crate) enum EnvCommand {
    /// List them
    Ls(List),
    /// Make one
    Create(OnDeployment),
    /// Stop everything in one, and remove it
    Rm(Remove),
}

/// Arguments of commands that list.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `env rm`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Remove {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Delete its volumes too, for ever
    #[arg(long)]
    pub(crate) volumes: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
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
            4 not allowed.\nWhat `--json` prints is in [json.md](json.md).\n"
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
