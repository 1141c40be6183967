//! The arguments of commands on environments: which one, and what of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};

use super::{List, Wait};

/// The environment that a command is about, which may be left out.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Choice {
    /// The environment: a name, of the app of this directory, or `app/name`; the only one, or
    /// `dev`, when absent
    pub(crate) environment: Option<String>,
    /// The app, where it is not that of this directory
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,
}

/// The environment that a command is about, which must be named.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// The environment: a name, of the app of this directory, or `app/name`
    pub(crate) environment: String,
    /// The app, where it is not that of this directory
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// The release to bring back; the one before when absent
    #[arg(long, value_name = "NUMBER")]
    pub(crate) release: Option<u32>,
    /// Print JSON, a line for each change
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of commands that only name an environment.
#[derive(Debug, Args)]
pub(crate) struct OnEnvironment {
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `env create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Make a preview: like this environment, with the release that is stable there, with ports, host
    /// names and new volumes of its own. It goes by itself, and its volumes with it
    #[arg(long, value_name = "ENVIRONMENT")]
    pub(crate) from: Option<String>,
    /// How long the preview stays (3d, 12h); as the delivery file says when absent, else 7d
    #[arg(long, value_name = "TIME", value_parser = ttl, requires = "from")]
    pub(crate) ttl: Option<Duration>,
    /// Another release of the environment that the preview is like
    #[arg(long, value_name = "NUMBER", requires = "from")]
    pub(crate) release: Option<u32>,
    /// The environment whose secrets the preview reads; that which it is like when absent, unless
    /// releases come to that one behind approvals
    #[arg(long, value_name = "ENVIRONMENT", requires = "from")]
    pub(crate) secrets_from: Option<String>,
    /// What to wait for, of the preview's deployment
    #[arg(long, value_enum, default_value_t)]
    pub(crate) wait: Wait,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `env extend`.
#[derive(Debug, Args)]
pub(crate) struct Extend {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How long the preview stays from now on (3d, 12h), whatever was said before
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    pub(crate) ttl: Duration,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads how long a preview stays, in whole seconds.
fn ttl(text: &str) -> Result<Duration, String> {
    let time = towpath_model::delivery::duration(text).map_err(|error| error.to_string())?;
    match time.as_secs() {
        0 => Err(format!(
            "`{text}` is over before it began: write a second at least"
        )),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

/// Arguments of `hold`.
#[derive(Debug, Args)]
pub(crate) struct Hold {
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// Why, for those who find it on hold
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the router does with the requests of an environment.
#[derive(Debug, Subcommand)]
pub(crate) enum TrafficCommand {
    /// Forward requests to the instances
    Serve(OnEnvironment),
    /// Keep requests waiting, and forward them when they are served again
    Pause(TrafficPause),
    /// Answer every request 503, with a page
    Maintenance(Maintenance),
}

/// Arguments of `traffic pause`.
#[derive(Debug, Args)]
pub(crate) struct TrafficPause {
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// The longest that one request waits; then it is answered 504
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) max_wait: u32,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `traffic maintenance`.
#[derive(Debug, Args)]
pub(crate) struct Maintenance {
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// A file with the page, HTML; a plain one when absent
    #[arg(long, value_name = "FILE")]
    pub(crate) page: Option<PathBuf>,
    /// When clients are told to come back
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) retry_after: u32,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `deployments`.
#[derive(Debug, Args)]
pub(crate) struct Deployments {
    #[command(flatten)]
    pub(crate) choice: Choice,
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

/// Arguments of `releases`.
#[derive(Debug, Args)]
pub(crate) struct Releases {
    /// The app, or one of its environments; the app of this directory when absent
    #[arg(value_name = "APP")]
    pub(crate) of: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `events`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Events {
    #[command(subcommand)]
    pub(crate) command: Option<EventCommand>,
    /// Only those of this environment: a name, or `app/name`; all when absent
    pub(crate) environment: Option<String>,
    /// The same
    #[arg(long, short = 'e', value_name = "NAME", conflicts_with = "environment")]
    pub(crate) env: Option<String>,
    /// Also those of the environments in which jobs of pipelines run
    #[arg(long)]
    pub(crate) all: bool,
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
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// Only these services
    pub(crate) service: Vec<String>,
    /// Only this instance, by its number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) instance: Option<u32>,
    /// Only the last so many lines of each instance
    #[arg(long, short = 'n', value_name = "LINES")]
    pub(crate) tail: Option<usize>,
    /// Only lines from then on: a time (RFC 3339), or how long ago (10m, 1h30m)
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(crate) since: Option<Timestamp>,
    /// Print when each line was read
    #[arg(long, short)]
    pub(crate) timestamps: bool,
    /// Go on with new lines as they are written
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Print JSON, a line for each line
    #[arg(long)]
    pub(crate) json: bool,
}

fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = text.parse::<SignedDuration>() {
        let then = Timestamp::now().checked_sub(ago);
        return then.map_err(|_| format!("`{text}` ago there was no time"));
    }
    let wrong =
        |_| format!("`{text}` is neither a time (2026-01-31T12:00:00Z) nor how long ago (10m)");
    text.parse().map_err(wrong)
}

/// What to do with secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Set one, to what comes from standard input or a file
    Set(SecretSet),
    /// List them, without their values
    Ls(OnEnvironment),
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

/// What to do with environments.
#[derive(Debug, Subcommand)]
pub(crate) enum EnvCommand {
    /// List them
    Ls(List),
    /// Make one: an empty one, or with --from a preview that goes by itself
    Create(Create),
    /// Have a preview stay for longer, or go earlier
    Extend(Extend),
    /// Stop everything in one, and remove it
    Rm(Remove),
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
