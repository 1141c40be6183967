//! The files of an instance's secrets. Not their storage, which is the store's and encrypted.
//!
//! `<place>/<instance>/files/` is what the instance sees; `<place>/<instance>/variables/` has the
//! values of secrets that it gets as variables, so that a command beside an adopted instance can
//! have them too. The place is a tmpfs where there is one: then no value reaches a disk.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Gid, Uid, access, fchown, statfs};
use rustix::process::geteuid;
use towpath_model::id::{InstanceId, SecretName};
use towpath_model::workload::{SecretMount, SecretValue};

use crate::shim::launch::Credentials;

/// What statfs(2) calls a file system in memory.
const TMPFS_MAGIC: i64 = 0x0102_1994;

const FILES: &str = "files";
const VARIABLES: &str = "variables";

/// Makes an instance's directory anew so often: the place may be removed by another one that ends.
const ATTEMPTS: usize = 10;

/// Finds where a place in memory can be. It is made when the first secret is written, and removed
/// with the last.
pub(super) fn place_in_memory(data_id: &str) -> Option<PathBuf> {
    ["/run", "/dev/shm"].iter().map(Path::new).find_map(|base| {
        let in_memory = statfs(base).ok()?.f_type == TMPFS_MAGIC;
        let place = base.join(format!("towpath-{}-{data_id}", geteuid().as_raw()));
        let writable = access(base, Access::WRITE_OK | Access::EXEC_OK).is_ok();
        (in_memory && writable).then_some(place)
    })
}

/// Makes an instance's directory in a place that nobody else can write to.
fn make_directory(secrets: &Path) -> io::Result<()> {
    let Some(place) = secrets.parent() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    for attempt in 1.. {
        // Whoever runs as another user must be able to pass, not to look.
        DirBuilder::new()
            .mode(0o711)
            .recursive(true)
            .create(place)?;
        let found = fs::symlink_metadata(place)?;
        if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 {
            let place = place.display();
            return Err(io::Error::other(format!("others may write to {place}")));
        }
        match DirBuilder::new().mode(0o711).create(secrets) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => {}
            made => return made,
        }
    }
    Ok(())
}

/// Returns the name of an instance's directory in such a place.
pub(super) fn directory_name(id: &InstanceId) -> String {
    format!(
        "{}.{}.{}",
        id.environment.app,
        id.environment.name,
        id.local()
    )
}

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

/// Removes all of an instance's secrets, and the place when it is empty.
pub(super) fn remove(secrets: &Path) -> io::Result<()> {
    match fs::remove_dir_all(secrets) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed?,
    }
    if let Some(place) = secrets.parent() {
        // It is not empty as long as another instance has secrets.
        drop(fs::remove_dir(place));
    }
    Ok(())
}
