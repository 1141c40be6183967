//! `towpath man`: the manual pages, one for each command.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;

use crate::arguments::{Arguments, Man};

/// Writes them to a directory, which is made when it is not there.
pub(crate) fn run(man: &Man) -> Result<ExitCode> {
    let directory = &man.directory;
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), directory))
        .with_context(|| format!("cannot write the manual pages to {}", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}
