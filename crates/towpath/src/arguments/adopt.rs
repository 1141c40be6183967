//! The arguments of `adopt`. Not what they mean.

use clap::Args;

use super::Files;

/// Arguments of `adopt`.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own on the command line"
)]
pub(crate) struct Adopt {
    /// The Compose project; the one of this directory, or the only one, when absent
    pub(crate) project: Option<String>,
    #[command(flatten)]
    pub(crate) files: Files,
    /// The environment that it becomes
    #[arg(long, short = 'e', value_name = "NAME", default_value = "production")]
    pub(crate) env: String,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Leave the published ports, and their traffic, with the containers
    #[arg(long)]
    pub(crate) keep_ports: bool,
    /// Let go of what was taken over: everything is as it was before
    #[arg(long, conflicts_with_all = ["dry_run", "keep_ports"])]
    pub(crate) undo: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
