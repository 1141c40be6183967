//! The arguments of `towpath repo`. Not what they mean.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::SignedDuration;

/// What to do with the repository of an app.
#[derive(Debug, Subcommand)]
pub(crate) enum RepositoryCommand {
    /// Show what an app's repository follows, and how that goes
    Show(OnRepository),
    /// Set up an app's repository: what it follows, and what of it is delivered
    Set(Box<RepositorySet>),
    /// Set a secret for it: a credential, what webhooks are signed with, a token for statuses,
    /// an authority to trust
    Secret(RepositorySecret),
    /// Fetch from the repository that an app follows, now
    Fetch(OnRepository),
    /// Follow no repository any more; what came of it stays
    Rm(OnRepository),
}

/// Arguments of commands on the repository of an app.
#[derive(Debug, Args)]
pub(crate) struct OnRepository {
    /// The app; that of this directory when absent
    pub(crate) app: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `repo set`. What is not given is not as it was before, but as in the beginning.
#[derive(Debug, Args)]
pub(crate) struct RepositorySet {
    /// The app
    pub(crate) app: String,
    /// The repository elsewhere that it follows: https://, ssh://, http:// or file://, or
    /// user@host:path; without one it is pushed to
    pub(crate) url: Option<String>,
    /// What it is served by, where its host does not say so: github, gitlab, bitbucket-cloud,
    /// bitbucket-data-center, gitea; it is told the statuses of commits
    #[arg(long, value_name = "FORGE", requires = "url")]
    pub(crate) forge: Option<String>,
    /// The address of the forge, where that of the repository does not say it
    #[arg(long, value_name = "URL", requires = "url")]
    pub(crate) forge_url: Option<String>,
    /// Where people read more of a run: an address with {app}, {run} and {commit} in it
    #[arg(long, value_name = "URL", requires = "url")]
    pub(crate) link: Option<String>,
    /// How often it is looked at [default: 5m]
    #[arg(long, value_name = "DURATION", requires = "url")]
    pub(crate) poll: Option<SignedDuration>,
    /// A branch that is delivered, or a pattern; all when absent
    #[arg(long, value_name = "PATTERN")]
    pub(crate) branch: Vec<String>,
    /// A tag that is delivered, or a pattern; all when absent
    #[arg(long, value_name = "PATTERN")]
    pub(crate) tag: Vec<String>,
    /// Deliver pull requests too
    #[arg(long)]
    pub(crate) pull_requests: bool,
    /// The directory of the repository that the app is in
    #[arg(long, value_name = "DIR", default_value = "")]
    pub(crate) directory: String,
    /// Deliver only pushes that change such a file
    #[arg(long, value_name = "PATTERN")]
    pub(crate) path: Vec<String>,
    /// Deliver nothing when only such files change
    #[arg(long, value_name = "PATTERN")]
    pub(crate) ignore_path: Vec<String>,
    /// A branch that never loses commits, or a pattern
    #[arg(long, value_name = "PATTERN")]
    pub(crate) protect: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `repo secret`.
#[derive(Debug, Args)]
pub(crate) struct RepositorySecret {
    /// The app
    pub(crate) app: String,
    /// What it is: `credential` (a token, or a private key for SSH), `webhook`, `status` (a token that
    /// may write statuses of commits), or `ca` (certificates of authorities to trust besides, as PEM)
    #[arg(value_parser = ["credential", "webhook", "status", "ca"])]
    pub(crate) name: String,
    /// A file whose content is the value, in place of standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
