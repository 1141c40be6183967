//! Standard input as a Compose file: what `-f -` names. Not a file that can be read twice by itself:
//! it is read whole, once, before anything is loaded.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use towpath_compose::{Files as Port, RealFiles};

use crate::arguments::Files;

/// The name under which it is a file.
pub(crate) const NAME: &str = "-";

/// The most bytes that are read.
const LARGEST: u64 = 16 << 20;

/// The files of this machine, and standard input where it is named.
#[derive(Debug)]
pub(crate) struct StandardInput(Option<Vec<u8>>);

impl StandardInput {
    /// Reads standard input if it is among `files`.
    pub(crate) fn of(files: &Files) -> Result<Self> {
        if !files.compose.iter().any(|file| file == Path::new(NAME)) {
            return Ok(Self(None));
        }
        let mut text = Vec::new();
        std::io::stdin()
            .take(LARGEST + 1)
            .read_to_end(&mut text)
            .context("cannot read standard input")?;
        Ok(Self(Some(text)))
    }

    fn named(&self, path: &Path) -> Option<&Vec<u8>> {
        self.0.as_ref().filter(|_| path == Path::new(NAME))
    }
}

impl Port for StandardInput {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        match self.named(path) {
            Some(text) if u64::try_from(text.len()).is_ok_and(|length| length > LARGEST) => {
                Err(std::io::Error::new(
                    std::io::ErrorKind::FileTooLarge,
                    format!("the file is larger than {} MiB", LARGEST >> 20),
                ))
            }
            Some(text) => Ok(text.clone()),
            None => RealFiles.read(path),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        self.named(path).is_some() || RealFiles.exists(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.named(path).is_none() && RealFiles.is_dir(path)
    }

    fn canonical(&self, path: &Path) -> PathBuf {
        RealFiles.canonical(path)
    }
}
