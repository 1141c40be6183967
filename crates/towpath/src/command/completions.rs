//! `towpath completions`: the completions of a shell.

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory as _;

use super::print;
use crate::arguments::{Arguments, Completions};

/// Prints them.
pub(crate) fn run(completions: &Completions) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(
        completions.shell,
        &mut Arguments::command(),
        "towpath",
        &mut script,
    );
    print(&String::from_utf8_lossy(&script))
}
