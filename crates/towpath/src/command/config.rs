//! `towpath config`: the normalised Compose project, as `docker compose config` prints it.

use std::process::ExitCode;

use anyhow::Result;
use towpath_compose::output;

use super::print;
use super::project::load;
use crate::arguments::Config;
use crate::settings::Settings;

/// Prints it, or one of its parts.
pub(crate) fn run(config: &Config, settings: &Settings) -> Result<ExitCode> {
    let loaded = load(&config.files, None, settings)?;
    if config.quiet {
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("{:#}\n", output::to_json(&loaded.project)))
}
