//! `towpath init`: writes a delivery file for the Compose file that is there.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use towpath_model::delivery::{FILE_NAME, scaffold};

use super::print;
use super::project::load;
use crate::arguments::Init;
use crate::exit::{Failed, Failure};
use crate::settings::Settings;

/// Writes it beside the Compose file, and never over one that is there unless told to.
pub(crate) fn run(init: &Init, settings: &Settings) -> Result<ExitCode> {
    let loaded = load(&init.files, settings)?;
    let path = loaded.directory.join(FILE_NAME);
    let mut open = std::fs::OpenOptions::new();
    open.write(true);
    if init.force {
        open.create(true).truncate(true);
    } else {
        open.create_new(true);
    }
    let mut file = match open.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let message = format!("{} is there already", path.display());
            let hint = "edit it, or replace it with --force";
            return Err(Failed::new(Failure::Input, message).hint(hint).into());
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot write {}", path.display()));
        }
    };
    file.write_all(scaffold(&loaded.project).as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    print(&format!(
        "wrote {}\nnext: towpath check, then towpath up\n",
        path.display()
    ))
}
