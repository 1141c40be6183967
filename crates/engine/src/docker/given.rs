//! The files that an instance is given: its secrets and configs. Not their mounting.
//!
//! Secrets are in a directory of the machine that only its owner may enter, in memory where there
//! is a file system for it; each file is mounted by itself. So a file may be read by whoever runs in
//! the container, and by nobody on the machine.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{Gid, Uid, fchown};
use towpath_model::container::{Container, FileOwner};
use towpath_model::id::SecretName;
use towpath_model::workload::{SecretValue, WorkloadSpec};

use super::mounts::GivenFile;
use super::naming::RESOLV_CONF;
use crate::secret_place;

/// Where a secret is in a container that names no path for it.
const SECRETS: &str = "/run/secrets";

/// What everybody in the container may do with a file for which Compose says nothing.
const MODE: u32 = 0o444;

/// Variables by name.
type Variables = Vec<(String, String)>;

/// Writes the secrets of an instance. Returns the files, and the secrets that are variables.
pub(super) fn secrets(
    directory: &Path,
    spec: &WorkloadSpec,
    container: &Container,
    values: &BTreeMap<SecretName, SecretValue>,
) -> Result<(Vec<GivenFile>, Variables), String> {
    let failed = |error: io::Error| format!("cannot write secrets: {error}");
    secret_place::remove(directory).map_err(failed)?;
    let (mut given, mut variables) = (Vec::new(), Vec::new());
    if spec.secrets.is_empty() {
        return Ok((given, variables));
    }
    secret_place::make_directory(directory).map_err(failed)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    for (index, mount) in spec.secrets.iter().enumerate() {
        let value = values
            .get(&mount.secret)
            .ok_or_else(|| format!("the value of the secret `{}` was not given", mount.secret))?;
        if let Some(file) = &mount.file {
            let target = if file.starts_with('/') {
                file.clone()
            } else {
                format!("{SECRETS}/{file}")
            };
            let path = directory.join(index.to_string());
            write(&path, value.expose(), &owner(container, &target))
                .map_err(|error| format!("cannot write the secret `{}`: {error}", mount.secret))?;
            given.push(file_at(&path, target)?);
        }
        if let Some(variable) = &mount.variable {
            let text = variable_text(value).ok_or_else(|| {
                format!(
                    "the secret `{}` is not text, so it cannot be the variable `{variable}`",
                    mount.secret
                )
            })?;
            variables.push((variable.clone(), text));
        }
    }
    Ok((given, variables))
}

fn variable_text(value: &SecretValue) -> Option<String> {
    let text = std::str::from_utf8(value.expose()).ok()?;
    (!text.contains('\0')).then(|| text.to_owned())
}

/// Writes the configs of an instance.
pub(super) fn configs(
    directory: &Path,
    spec: &WorkloadSpec,
    container: &Container,
) -> Result<Vec<GivenFile>, String> {
    if spec.configs.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |error: io::Error| format!("cannot write configuration files: {error}");
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(directory)
        .map_err(failed)?;
    let mut given = Vec::new();
    for (index, config) in spec.configs.iter().enumerate() {
        let target = if config.target.starts_with('/') {
            config.target.clone()
        } else {
            format!("/{}", config.target)
        };
        let path = directory.join(index.to_string());
        write(&path, config.content.as_bytes(), &owner(container, &target))
            .map_err(|error| format!("cannot write the config `{}`: {error}", config.name))?;
        given.push(file_at(&path, target)?);
    }
    Ok(given)
}

/// Writes the list of resolvers of an instance, beside its configs.
pub(super) fn resolvers(configs: &Path, text: &str) -> Result<GivenFile, String> {
    let failed = |error: io::Error| format!("cannot write the resolvers: {error}");
    let path = configs.with_file_name("resolv.conf");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    write(&path, text.as_bytes(), &FileOwner::default()).map_err(failed)?;
    file_at(&path, RESOLV_CONF.to_owned())
}

fn owner(container: &Container, target: &str) -> FileOwner {
    container
        .file_owners
        .get(target)
        .cloned()
        .unwrap_or_default()
}

fn file_at(path: &Path, target: String) -> Result<GivenFile, String> {
    let source = path
        .to_str()
        .ok_or_else(|| format!("the path {} is not UTF-8", path.display()))?;
    Ok(GivenFile {
        source: source.to_owned(),
        target,
    })
}

fn write(path: &Path, content: &[u8], owner: &FileOwner) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(path)?;
    file.write_all(content)?;
    if owner.uid.is_some() || owner.gid.is_some() {
        let (uid, gid) = (owner.uid.map(Uid::from_raw), owner.gid.map(Gid::from_raw));
        fchown(&file, uid, gid)?;
    }
    file.set_permissions(fs::Permissions::from_mode(owner.mode.unwrap_or(MODE)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use towpath_model::id::SecretVersion;
    use towpath_model::workload::SecretMount;

    use super::*;
    use crate::docker::testing::spec;

    #[test]
    fn a_secret_is_a_file_that_only_its_own_container_can_reach() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("place/web-1");
        let name = SecretName::new("key").unwrap();
        let mut spec = spec();
        let mount = |file: &str| SecretMount {
            secret: name.clone(),
            version: SecretVersion(1),
            file: Some(file.to_owned()),
            variable: None,
        };
        spec.secrets = vec![mount("key"), mount("/etc/key")];
        let values = BTreeMap::from([(name.clone(), SecretValue::new(b"v".to_vec()))]);
        let container = Container::default();
        let (given, variables) = secrets(&directory, &spec, &container, &values).unwrap();
        let targets: Vec<_> = given.iter().map(|file| file.target.as_str()).collect();
        assert_eq!(targets, ["/run/secrets/key", "/etc/key"]);
        assert_eq!(variables, []);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        for file in given {
            assert_eq!(mode(Path::new(&file.source)), 0o444);
            assert_eq!(fs::read(file.source).unwrap(), b"v");
        }
    }
}
