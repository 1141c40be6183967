//! The files of an instance's secrets. Not their storage, which is the store's and encrypted.
//!
//! `<place>/<instance>/files/` is what the instance sees; `<place>/<instance>/variables/` has the
//! values of secrets that it gets as variables, so that a command beside an adopted instance can
//! have them too. The place is a tmpfs where there is one: then no value reaches a disk.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid, fchown};
use towpath_model::id::SecretName;
use towpath_model::workload::{SecretMount, SecretValue};

use crate::secret_place::{make_directory, remove};
use crate::shim::launch::Credentials;

const FILES: &str = "files";
const VARIABLES: &str = "variables";

/// Returns the directory that the instance sees.
pub(super) fn files(secrets: &Path) -> PathBuf {
    secrets.join(FILES)
}

/// Returns the name of the file that a mount makes, if it makes one.
pub(super) fn file_name(mount: &SecretMount) -> Option<String> {
    let name = Path::new(mount.file.as_ref()?).file_name()?;
    Some(name.to_str()?.to_owned())
}

/// Writes the files of all secrets. What was there before is replaced.
pub(super) fn write(
    secrets: &Path,
    mounts: &[SecretMount],
    values: &BTreeMap<SecretName, SecretValue>,
    user: Option<&Credentials>,
) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot write secrets: {error}");
    remove(secrets).map_err(failed)?;
    if mounts.is_empty() {
        return Ok(());
    }
    make_directory(secrets).map_err(failed)?;
    for directory in [FILES, VARIABLES] {
        let path = secrets.join(directory);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(failed)?;
    }
    for mount in mounts {
        let value = values
            .get(&mount.secret)
            .ok_or_else(|| format!("the value of the secret `{}` was not given", mount.secret))?;
        if let Some(name) = file_name(mount) {
            write_file(&files(secrets).join(name), value, user).map_err(failed)?;
        }
        if let Some(variable) = &mount.variable {
            if variable.is_empty() || variable.contains(['=', '/', '\0']) {
                return Err(format!("`{variable}` cannot be a variable's name"));
            }
            let text = std::str::from_utf8(value.expose())
                .ok()
                .filter(|v| !v.contains('\0'));
            if text.is_none() {
                return Err(format!(
                    "the secret `{}` is not text, so it cannot be the variable `{variable}`",
                    mount.secret
                ));
            }
            write_file(&secrets.join(VARIABLES).join(variable), value, None).map_err(failed)?;
        }
    }
    give(&fs::File::open(files(secrets)).map_err(failed)?, user).map_err(failed)
}

fn write_file(path: &Path, value: &SecretValue, user: Option<&Credentials>) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(path)?;
    file.write_all(value.expose())?;
    give(&file, user)
}

fn give(file: &fs::File, user: Option<&Credentials>) -> io::Result<()> {
    if let Some(user) = user {
        fchown(
            file,
            Some(Uid::from_raw(user.uid)),
            Some(Gid::from_raw(user.gid)),
        )?;
    }
    Ok(())
}

/// Reads the secrets that are variables.
pub(super) fn variables(secrets: &Path) -> io::Result<BTreeMap<String, String>> {
    let entries = match fs::read_dir(secrets.join(VARIABLES)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        found.insert(name, fs::read_to_string(entry.path())?);
    }
    Ok(found)
}
