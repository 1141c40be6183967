//! The arguments of `notify`.

use clap::{Args, Subcommand};

use super::Choice;

/// What to do with notifications.
#[derive(Debug, Subcommand)]
pub(crate) enum NotifyCommand {
    /// Send a test message, and print what the other side answered
    Test(NotifyTest),
}

/// Arguments of `notify test`.
#[derive(Debug, Args)]
pub(crate) struct NotifyTest {
    /// The target, as towpath.yaml names it under `notify`; all of them when absent
    pub(crate) target: Option<String>,
    /// The environment whose targets and secrets count: a name, of the app of this directory, or
    /// `app/name`; the only one, or `dev`, when absent
    #[arg(long, short, value_name = "ENVIRONMENT")]
    env: Option<String>,
    /// The app, where it is not that of this directory
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl NotifyTest {
    /// Returns the environment that is meant.
    pub(crate) fn choice(&self) -> Choice {
        Choice {
            environment: self.env.clone(),
            app: self.app.clone(),
        }
    }
}
